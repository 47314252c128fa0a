//! The serial port: National 16550A (data sheet PC16550D), as wired in a PC (OUT2 gates the
//! interrupt).
//!
//! Registers 0–7 as in the data sheet (ports 3F8h–3FFh).
//!
//! The line beyond the chip never loses a byte: what the host sends waits until there is room in
//! the receiver. Not emulated: the effect of parity and word length on what the host sees beyond
//! masking, the DMA signalling pins, and the baud clock output.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Time, Width};
use crate::line::Line;

const FIFO_SIZE: usize = 16;
/// The crystal divided by 16: the rate for divisor 1.
const BASE_BAUD: u64 = 115_200;

const ENABLE_RECEIVED: u8 = 1;
const ENABLE_TRANSMITTER: u8 = 2;
const ENABLE_LINE_STATUS: u8 = 4;
const ENABLE_MODEM: u8 = 8;

const LINE_DATA_READY: u8 = 0x01;
const LINE_OVERRUN: u8 = 0x02;
const LINE_FRAMING: u8 = 0x08;
const LINE_BREAK: u8 = 0x10;
const LINE_HOLDING_EMPTY: u8 = 0x20;
const LINE_TRANSMITTER_EMPTY: u8 = 0x40;
const LINE_FIFO_ERROR: u8 = 0x80;

const CONTROL_BREAK: u8 = 0x40;
const CONTROL_DIVISOR_ACCESS: u8 = 0x80;
const MODEM_OUT2: u8 = 0x08;
const MODEM_LOOP: u8 = 0x10;

/// How long one character takes in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many nanoseconds whatever the divisor says: interrupts still come one after the other,
    /// but a console is not as slow as a wire.
    Fixed(u64),
    /// What divisor and frame format ask for.
    Line,
}

impl Pace {
    /// The pace of a port that nobody configured: 2 µs per character.
    pub const DEFAULT: Pace = Pace::Fixed(2_000);
}

/// One character in the receiver with its error bits of the line status register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Received {
    byte: u8,
    errors: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    interrupt_enable: u8,
    fifo_enabled: bool,
    /// Characters in the receive FIFO that raise the interrupt.
    trigger: u8,
    line_control: u8,
    modem_control: u8,
    overrun: bool,
    /// BREAK, framing and parity errors of the character at the head were already read.
    head_errors_read: bool,
    /// Levels in the upper half, changes since the last read in the lower.
    modem_status: u8,
    /// Levels of CTS, DSR, RI, DCD that the other side drives, in bits 4–7.
    modem_inputs: u8,
    scratch: u8,
    divisor: u16,
    receive: VecDeque<Received>,
    transmit: VecDeque<u8>,
    /// The character that is being shifted out.
    shifting: Option<(u8, Time)>,
    transmitter_interrupt: bool,
    /// The receive FIFO was last touched then.
    receive_activity: Time,
    /// Characters on their way from the host, and when the next arrives.
    incoming: VecDeque<u8>,
    incoming_at: Option<Time>,
    now: Time,
}

impl State {
    fn new(modem_inputs: u8, incoming: VecDeque<u8>, now: Time) -> State {
        State {
            interrupt_enable: 0,
            fifo_enabled: false,
            trigger: 1,
            line_control: 0,
            modem_control: 0,
            overrun: false,
            head_errors_read: false,
            modem_status: modem_inputs,
            modem_inputs,
            scratch: 0,
            divisor: 12,
            receive: VecDeque::new(),
            transmit: VecDeque::new(),
            shifting: None,
            transmitter_interrupt: false,
            receive_activity: now,
            incoming,
            incoming_at: None,
            now,
        }
    }
    fn is_looped(&self) -> bool {
        self.modem_control & MODEM_LOOP != 0
    }
    fn capacity(&self) -> usize {
        if self.fifo_enabled { FIFO_SIZE } else { 1 }
    }
    fn data_mask(&self) -> u8 {
        0xff >> (3 - (self.line_control & 3))
    }
    fn character_time(&self, pace: Pace) -> u64 {
        match pace {
            Pace::Fixed(nanoseconds) => nanoseconds.clamp(1, 1_000_000_000),
            Pace::Line => {
                let parity = u64::from(self.line_control >> 3 & 1);
                let bits = 7 + u64::from(self.line_control & 3) + parity + u64::from(self.line_control >> 2 & 1);
                bits * u64::from(self.divisor.max(1)) * 1_000_000_000 / BASE_BAUD
            }
        }
    }
    fn head_errors(&self) -> u8 {
        self.receive.front().map_or(0, |head| if self.head_errors_read { 0 } else { head.errors })
    }
    fn line_status(&self) -> u8 {
        let mut status = self.head_errors();
        if !self.receive.is_empty() {
            status |= LINE_DATA_READY;
        }
        if self.overrun {
            status |= LINE_OVERRUN;
        }
        if self.transmit.is_empty() {
            status |= LINE_HOLDING_EMPTY;
            if self.shifting.is_none() {
                status |= LINE_TRANSMITTER_EMPTY;
            }
        }
        let later = self.receive.iter().skip(usize::from(self.head_errors_read));
        if self.fifo_enabled && later.into_iter().any(|received| received.errors != 0) {
            status |= LINE_FIFO_ERROR;
        }
        status
    }
    fn timeout_at(&self, pace: Pace) -> Option<Time> {
        let waits = self.fifo_enabled && !self.receive.is_empty();
        waits.then(|| self.receive_activity.plus(4 * self.character_time(pace)))
    }
    /// The interrupt identification register without the FIFO bits.
    fn identification(&self, pace: Pace) -> u8 {
        let enabled = |bit: u8| self.interrupt_enable & bit != 0;
        if enabled(ENABLE_LINE_STATUS) && (self.overrun || self.head_errors() != 0) {
            0x06
        } else if enabled(ENABLE_RECEIVED) && self.receive.len() >= usize::from(self.trigger) {
            0x04
        } else if enabled(ENABLE_RECEIVED) && self.timeout_at(pace).is_some_and(|at| at <= self.now) {
            0x0c
        } else if enabled(ENABLE_TRANSMITTER) && self.transmitter_interrupt {
            0x02
        } else if enabled(ENABLE_MODEM) && self.modem_status & 0x0f != 0 {
            0x00
        } else {
            0x01
        }
    }
    fn update_modem_status(&mut self) {
        let levels = if self.is_looped() {
            let control = self.modem_control;
            (control & 2) << 3 | (control & 1) << 5 | (control & 0x0c) << 4
        } else {
            self.modem_inputs
        };
        let changed = (self.modem_status ^ levels) & 0xf0;
        // Of the ring indicator only the end counts.
        let counted = changed & (0xb0 | !levels & 0x40);
        self.modem_status = levels & 0xf0 | self.modem_status & 0x0f | counted >> 4;
    }
    /// A character arrives in the receiver.
    fn take_in(&mut self, byte: u8, errors: u8, at: Time) {
        if self.receive.len() >= self.capacity() {
            self.overrun = true;
            // The FIFO keeps what it has, the single buffer is overwritten.
            if self.fifo_enabled {
                return;
            }
            self.receive.clear();
        }
        if self.receive.is_empty() {
            self.head_errors_read = false;
        }
        self.receive.push_back(Received { byte: byte & self.data_mask(), errors });
        self.receive_activity = at;
    }
    /// The next character from the host starts on its way when there is room for it.
    fn schedule_incoming(&mut self, pace: Pace) {
        let room = self.receive.len() < self.capacity() && !self.is_looped();
        if self.incoming_at.is_none() && room && !self.incoming.is_empty() {
            self.incoming_at = Some(self.now.plus(self.character_time(pace)));
        }
    }
    fn load_shift_register(&mut self, at: Time, pace: Pace) {
        if self.shifting.is_some() {
            return;
        }
        if let Some(byte) = self.transmit.pop_front() {
            self.shifting = Some((byte, at.plus(self.character_time(pace))));
            if self.transmit.is_empty() {
                self.transmitter_interrupt = true;
            }
        }
    }
}

/// The serial port.
///
/// The host's side is [`take_output`](Uart::take_output) and [`receive`](Uart::receive).
#[derive(Debug)]
pub struct Uart {
    interrupt: Line,
    pace: Pace,
    output: Vec<u8>,
    state: State,
}

impl Uart {
    /// A port that drives `interrupt`; the other side is ready (CTS, DSR, DCD).
    #[must_use]
    pub fn new(interrupt: Line) -> Uart {
        Uart {
            interrupt,
            pace: Pace::DEFAULT,
            output: Vec::new(),
            state: State::new(0xb0, VecDeque::new(), Time::ZERO),
        }
    }
    /// Sets how long characters take.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Uart {
        self.pace = pace;
        self
    }
    /// What the guest has sent since the last call.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
    /// What the guest has written and the port has not sent yet. A machine that stops for good will
    /// never send it.
    #[must_use]
    pub fn unsent(&self) -> Vec<u8> {
        let state = &self.state;
        if state.is_looped() {
            return Vec::new();
        }
        let waiting = state.shifting.iter().map(|(byte, _)| byte).chain(&state.transmit);
        waiting.map(|byte| byte & state.data_mask()).collect()
    }
    /// Sends bytes to the guest. They arrive one after the other as guest time passes; ask
    /// `next_event` again afterwards.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.state.incoming.extend(bytes);
        self.state.schedule_incoming(self.pace);
    }
    /// Bytes from the host that the guest's receiver has not taken yet.
    #[must_use]
    pub fn pending_input(&self) -> usize {
        self.state.incoming.len()
    }
    /// Sends a break to the guest.
    pub fn receive_break(&mut self) {
        let now = self.state.now;
        self.state.take_in(0, LINE_BREAK | LINE_FRAMING, now);
        self.drive();
    }
    /// Sets the levels the other side drives.
    pub fn set_modem_lines(&mut self, clear_to_send: bool, data_set_ready: bool, ring: bool, carrier: bool) {
        let bit = |on: bool, shift: u8| u8::from(on) << shift;
        self.state.modem_inputs = bit(clear_to_send, 4) | bit(data_set_ready, 5) | bit(ring, 6) | bit(carrier, 7);
        self.state.update_modem_status();
        self.drive();
    }
    /// Whether the guest asserts data terminal ready and request to send.
    #[must_use]
    pub fn modem_outputs(&self) -> (bool, bool) {
        let out = if self.state.is_looped() { 0 } else { self.state.modem_control };
        (out & 1 != 0, out & 2 != 0)
    }

    fn level(&self) -> bool {
        self.state.modem_control & MODEM_OUT2 != 0 && self.state.identification(self.pace) & 1 == 0
    }
    fn drive(&self) {
        self.interrupt.set(self.level());
    }

    fn catch_up(&mut self, now: Time) {
        let pace = self.pace;
        let now = now.max(self.state.now);
        self.state.now = now;
        while let Some((byte, at)) = self.state.shifting.filter(|(_, at)| *at <= now) {
            self.state.shifting = None;
            if self.state.is_looped() {
                self.state.take_in(byte, 0, at);
            } else {
                self.output.push(byte & self.state.data_mask());
            }
            self.state.load_shift_register(at, pace);
        }
        while let Some(at) = self.state.incoming_at.filter(|at| *at <= now) {
            self.state.incoming_at = None;
            if self.state.receive.len() >= self.state.capacity() || self.state.is_looped() {
                break;
            }
            let Some(byte) = self.state.incoming.pop_front() else { break };
            self.state.take_in(byte, 0, at);
            if !self.state.incoming.is_empty() {
                self.state.incoming_at = Some(at.plus(self.state.character_time(pace)));
            }
        }
        self.state.schedule_incoming(pace);
    }

    fn read_register(&mut self, register: u16) -> Option<u8> {
        let state = &mut self.state;
        let divisor = state.line_control & CONTROL_DIVISOR_ACCESS != 0;
        let [divisor_low, divisor_high] = state.divisor.to_le_bytes();
        Some(match register {
            0 if divisor => divisor_low,
            1 if divisor => divisor_high,
            0 => {
                let received = state.receive.pop_front();
                state.head_errors_read = false;
                state.receive_activity = state.now;
                state.schedule_incoming(self.pace);
                received.map_or(0, |received| received.byte)
            }
            1 => state.interrupt_enable,
            2 => {
                let identification = state.identification(self.pace);
                if identification == 0x02 {
                    state.transmitter_interrupt = false;
                }
                identification | if state.fifo_enabled { 0xc0 } else { 0 }
            }
            3 => state.line_control,
            4 => state.modem_control,
            5 => {
                let status = state.line_status();
                state.overrun = false;
                state.head_errors_read = true;
                status
            }
            6 => {
                let status = state.modem_status;
                state.modem_status &= 0xf0;
                status
            }
            7 => state.scratch,
            _ => return None,
        })
    }

    fn write_register(&mut self, register: u16, value: u8) -> Option<()> {
        let state = &mut self.state;
        let divisor = state.line_control & CONTROL_DIVISOR_ACCESS != 0;
        let [divisor_low, divisor_high] = state.divisor.to_le_bytes();
        match register {
            0 if divisor => state.divisor = u16::from_le_bytes([value, divisor_high]),
            1 if divisor => state.divisor = u16::from_le_bytes([divisor_low, value]),
            0 => {
                state.transmitter_interrupt = false;
                if state.transmit.len() >= state.capacity() {
                    state.transmit.pop_back();
                }
                state.transmit.push_back(value);
                state.load_shift_register(state.now, self.pace);
            }
            1 => {
                let newly = value & !state.interrupt_enable;
                state.interrupt_enable = value & 0x0f;
                if newly & ENABLE_TRANSMITTER != 0 && state.transmit.is_empty() {
                    state.transmitter_interrupt = true;
                }
            }
            2 => {
                let enable = value & 1 != 0;
                if enable != state.fifo_enabled || value & 2 != 0 && enable {
                    state.receive.clear();
                    state.head_errors_read = false;
                }
                if (enable != state.fifo_enabled || value & 4 != 0 && enable) && !state.transmit.is_empty() {
                    state.transmit.clear();
                    state.transmitter_interrupt = true;
                }
                state.fifo_enabled = enable;
                state.trigger = match (enable, value >> 6) {
                    (false, _) | (true, 0) => 1,
                    (true, 1) => 4,
                    (true, 2) => 8,
                    (true, _) => 14,
                };
                state.schedule_incoming(self.pace);
            }
            3 => {
                let breaks = value & !state.line_control & CONTROL_BREAK != 0;
                state.line_control = value;
                if breaks && state.is_looped() {
                    state.take_in(0, LINE_BREAK | LINE_FRAMING, state.now);
                }
            }
            4 => {
                state.modem_control = value & 0x1f;
                state.update_modem_status();
                state.schedule_incoming(self.pace);
            }
            // Line and modem status are for reading; factory tests write them.
            5 | 6 => {}
            7 => state.scratch = value,
            _ => return None,
        }
        Some(())
    }
}

impl PortIo for Uart {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if width != Width::Byte {
            return None;
        }
        self.catch_up(cx.now);
        let value = self.read_register(register);
        self.drive();
        value.map(u32::from)
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if width != Width::Byte {
            return None;
        }
        self.catch_up(cx.now);
        let taken = self.write_register(register, value as u8);
        self.drive();
        taken
    }
}

impl Device for Uart {
    fn name(&self) -> &'static str {
        "uart"
    }
    /// What the host has sent stays on its way.
    fn reset(&mut self) {
        let incoming = std::mem::take(&mut self.state.incoming);
        self.state = State::new(self.state.modem_inputs, incoming, self.state.now);
        self.interrupt.set(false);
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        self.catch_up(cx.now);
        self.drive();
    }
    fn next_event(&self) -> Option<Time> {
        let state = &self.state;
        let shifted = state.shifting.map(|(_, at)| at);
        let waits = state.interrupt_enable & ENABLE_RECEIVED != 0;
        let timeout = state.timeout_at(self.pace).filter(|at| waits && *at > state.now);
        [shifted, state.incoming_at, timeout].into_iter().flatten().min()
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { interrupt: _, pace: _, output: _, state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        let capacity = state.capacity();
        if state.receive.len() > capacity || state.transmit.len() > capacity {
            return Err(RestoreError::OutOfRange("fifo"));
        }
        if !matches!(state.trigger, 1 | 4 | 8 | 14) {
            return Err(RestoreError::OutOfRange("trigger"));
        }
        self.state = state;
        self.interrupt.restore_level(self.level());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, {
        let mut uart = Uart::new(Line::detached());
        uart.receive(b"some bytes that were typed ahead");
        uart
    });
    crate::device_conformance!(conforms_at_line_pace, Uart::new(Line::detached()).with_pace(Pace::Line));

    const CHARACTER: u64 = 2_000;

    fn rig() -> (Bench<Uart>, Line) {
        let irq = Line::detached();
        let mut bench = Bench::new(Uart::new(irq.share()));
        bench.write(4, 0x0b);
        bench.read(6);
        (bench, irq)
    }

    #[test]
    fn transmits_and_interrupts_when_empty() {
        let (mut bench, irq) = rig();
        bench.write(3, 0x03);
        bench.write(1, ENABLE_TRANSMITTER);
        assert!(irq.is_high());
        assert_eq!((bench.read(2), bench.read(2)), (0x02, 0x01));
        assert!(!irq.is_high());
        bench.write(0, b'a');
        bench.write(0, b'b');
        assert_eq!(bench.read(5), 0x00);
        bench.run(CHARACTER);
        assert!(irq.is_high());
        assert_eq!(bench.read(5), LINE_HOLDING_EMPTY);
        bench.run(CHARACTER);
        assert_eq!(bench.read(5), 0x60);
        assert_eq!(bench.device.take_output(), b"ab");
        assert_eq!(bench.device.take_output(), b"");
    }

    #[test]
    fn single_buffer_waits_for_the_guest() {
        let (mut bench, irq) = rig();
        bench.write(3, 0x03);
        bench.write(1, ENABLE_RECEIVED);
        bench.device.receive(b"xyz");
        bench.run(10 * CHARACTER);
        for byte in b"xyz" {
            assert!(irq.is_high());
            assert_eq!((bench.read(2), bench.read(5) & 0x83), (0x04, LINE_DATA_READY));
            assert_eq!(bench.read(0), *byte);
            assert!(!irq.is_high());
            bench.run(CHARACTER);
        }
        assert_eq!(bench.device.pending_input(), 0);
    }

    #[test]
    fn fifo_trigger_and_timeout() {
        let (mut bench, irq) = rig();
        bench.write(3, 0x03);
        bench.write(2, 0x41);
        bench.write(1, ENABLE_RECEIVED);
        bench.device.receive(b"abc");
        bench.run(3 * CHARACTER);
        assert!(!irq.is_high());
        bench.run(4 * CHARACTER - 1);
        assert!(!irq.is_high());
        bench.run(1);
        assert_eq!(bench.read(2), 0xcc);
        assert_eq!(bench.read(0), b'a');
        assert!(!irq.is_high(), "a read starts the time-out again");
        bench.device.receive(&[0; 30]);
        bench.run(2 * CHARACTER);
        assert_eq!(bench.read(2), 0xc4);
        bench.run(100 * CHARACTER);
        assert_eq!(bench.device.pending_input(), 16);
        bench.write(2, 0x47);
        assert_eq!(bench.read(5), 0x60);
    }

    #[test]
    fn fifo_detection_as_drivers_do_it() {
        let (mut bench, _) = rig();
        bench.write(2, 0x01);
        assert_eq!(bench.read(2), 0xc1);
        bench.write(2, 0x00);
        assert_eq!(bench.read(2), 0x01);
        bench.write(7, 0xa5);
        assert_eq!(bench.read(7), 0xa5);
        bench.write(1, 0xff);
        assert_eq!(bench.read(1), 0x0f);
    }

    #[test]
    fn loopback_data_modem_and_overrun() {
        let (mut bench, _) = rig();
        bench.write(3, 0x03);
        bench.write(4, 0x1a);
        assert_eq!(bench.read(6) & 0xf0, 0x90, "RTS and OUT2 come back as CTS and DCD");
        bench.write(0, 0x41);
        bench.run(CHARACTER);
        assert_eq!(bench.read(5) & 1, 1);
        bench.write(0, 0x42);
        bench.run(CHARACTER);
        assert_eq!(bench.read(5) & 3, 3);
        assert_eq!(bench.read(0), 0x42);
        bench.write(3, 0x43);
        assert_eq!(bench.read(5) & 0x19, 0x19);
        assert_eq!(bench.read(5) & 0x19, 0x01);
        assert!(bench.device.take_output().is_empty());
    }

    #[test]
    fn line_status_and_modem_interrupts_by_priority() {
        let (mut bench, irq) = rig();
        bench.write(1, 0x0d);
        bench.device.set_modem_lines(false, true, true, true);
        assert_eq!((bench.read(2), bench.read(6)), (0x00, 0xe1));
        bench.device.set_modem_lines(false, true, false, true);
        assert_eq!(bench.read(6), 0xa4, "only the end of a ring counts");
        bench.device.receive_break();
        assert_eq!(bench.read(2), 0x06);
        bench.read(5);
        assert_eq!(bench.read(2), 0x04);
        bench.read(0);
        assert!(!irq.is_high());
        bench.write(4, 0x03);
        bench.device.receive_break();
        assert!(!irq.is_high(), "OUT2 gates the interrupt");
    }

    #[test]
    fn divisor_sets_the_pace_when_asked() {
        let mut bench = Bench::new(Uart::new(Line::detached()).with_pace(Pace::Line));
        bench.write(3, 0x83);
        bench.write(0, 0x0c);
        bench.write(1, 0x00);
        assert_eq!((bench.read(0), bench.read(1)), (0x0c, 0x00));
        bench.write(3, 0x03);
        bench.write(0, b'!');
        bench.run(1_041_000);
        assert!(bench.device.take_output().is_empty());
        bench.run(1_000);
        assert_eq!(bench.device.take_output(), b"!", "9600 baud, ten bits");
    }
}
