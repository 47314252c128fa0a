//! The parallel port of an AT with a printer on it (IBM Technical Reference, printer adapter; the
//! bidirectional bit of the PS/2).
//!
//! Registers: 0 data, 1 status, 2 control (ports 378h–37Ah). The printer takes every byte, is
//! busy for a microsecond and then acknowledges. Not emulated: EPP and ECP.

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Time, Width};
use crate::line::Line;

const CONTROL_STROBE: u8 = 0x01;
const CONTROL_NOT_INIT: u8 = 0x04;
const CONTROL_INTERRUPT: u8 = 0x10;
const CONTROL_INPUT: u8 = 0x20;
const STATUS_NOT_BUSY: u8 = 0x80;
const STATUS_NOT_ACKNOWLEDGE: u8 = 0x40;
/// Selected, no error, unused bits high.
const STATUS_FIXED: u8 = 0x1f;

const BUSY: u64 = 1_000;
const ACKNOWLEDGE: u64 = 1_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    data: u8,
    control: u8,
    /// When the printer took the last byte, while it is not ready again.
    taken: Option<Time>,
    interrupt: bool,
    now: Time,
}

/// The port and its printer.
#[derive(Debug)]
pub struct Parallel {
    interrupt: Line,
    output: Vec<u8>,
    state: State,
}

impl Parallel {
    /// A port that drives `interrupt` (IRQ 7).
    #[must_use]
    pub fn new(interrupt: Line) -> Parallel {
        Parallel { interrupt, output: Vec::new(), state: State::default() }
    }
    /// What the guest has printed since the last call.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
    fn catch_up(&mut self, now: Time) {
        let state = &mut self.state;
        state.now = now.max(state.now);
        if state.taken.is_some_and(|taken| taken.plus(BUSY + ACKNOWLEDGE) <= state.now) {
            // The interrupt comes with the end of the acknowledge pulse.
            state.taken = None;
            state.interrupt = state.control & CONTROL_INTERRUPT != 0;
        }
        self.interrupt.set(self.state.interrupt);
    }
    fn status(&self) -> u8 {
        let handshake = match self.state.taken {
            None => STATUS_NOT_BUSY | STATUS_NOT_ACKNOWLEDGE,
            Some(taken) if self.state.now.since(taken) < BUSY => STATUS_NOT_ACKNOWLEDGE,
            Some(_) => 0,
        };
        STATUS_FIXED | handshake
    }
}

impl PortIo for Parallel {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if width != Width::Byte {
            return None;
        }
        self.catch_up(cx.now);
        let value = match register {
            // Nothing drives the data pins when they are turned round.
            0 if self.state.control & CONTROL_INPUT != 0 => 0xff,
            0 => self.state.data,
            1 => {
                self.state.interrupt = false;
                self.interrupt.set(false);
                self.status()
            }
            2 => self.state.control | 0xc0,
            _ => return None,
        };
        Some(u32::from(value))
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if width != Width::Byte {
            return None;
        }
        self.catch_up(cx.now);
        let (state, value) = (&mut self.state, value as u8);
        match register {
            0 => state.data = value,
            1 => {}
            2 => {
                let rises = value & !state.control;
                state.control = value & 0x3f;
                let ready = state.taken.is_none() && value & CONTROL_NOT_INIT != 0;
                if rises & CONTROL_STROBE != 0 && ready {
                    self.output.push(state.data);
                    state.taken = Some(state.now);
                    state.interrupt = false;
                }
                if value & CONTROL_INTERRUPT == 0 {
                    state.interrupt = false;
                }
                self.interrupt.set(self.state.interrupt);
            }
            _ => return None,
        }
        Some(())
    }
}

impl Device for Parallel {
    fn name(&self) -> &'static str {
        "parallel"
    }
    fn reset(&mut self) {
        self.state = State { now: self.state.now, ..State::default() };
        self.interrupt.set(false);
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        self.catch_up(cx.now);
    }
    fn next_event(&self) -> Option<Time> {
        self.state.taken.map(|taken| taken.plus(BUSY + ACKNOWLEDGE))
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { interrupt: _, output: _, state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        if state.control > 0x3f || state.taken.is_some_and(|taken| taken > state.now) {
            return Err(RestoreError::OutOfRange("control"));
        }
        self.state = state;
        self.interrupt.restore_level(self.state.interrupt);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, Parallel::new(Line::detached()));

    fn print(bench: &mut Bench<Parallel>, byte: u8, control: u8) {
        bench.write(0, byte);
        bench.write(2, control | CONTROL_STROBE);
        bench.write(2, control);
    }

    #[test]
    fn strobe_prints_and_acknowledges() {
        let irq = Line::detached();
        let mut bench = Bench::new(Parallel::new(irq.share()));
        assert_eq!(bench.read(1), 0xdf);
        print(&mut bench, b'A', 0x1c);
        assert_eq!(bench.read(1), 0x5f);
        bench.run(BUSY);
        assert_eq!(bench.read(1), 0x1f);
        bench.run(ACKNOWLEDGE);
        assert!(irq.is_high());
        assert_eq!(bench.read(1), 0xdf);
        assert!(!irq.is_high());
        print(&mut bench, b'B', 0x0c);
        print(&mut bench, b'!', 0x0c);
        bench.run(BUSY + ACKNOWLEDGE);
        assert!(!irq.is_high());
        assert_eq!(bench.device.take_output(), b"AB", "a busy printer takes nothing");
    }

    #[test]
    fn registers_read_back() {
        let mut bench = Bench::new(Parallel::new(Line::detached()));
        bench.write(0, 0x5a);
        bench.write(2, 0x0c);
        assert_eq!((bench.read(0), bench.read(2)), (0x5a, 0xcc));
        bench.write(2, 0x2c);
        assert_eq!(bench.read(0), 0xff);
    }
}
