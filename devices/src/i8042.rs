//! The keyboard controller: Intel 8042 with the firmware of a PS/2 (IBM PS/2 Hardware Interface
//! Technical Reference, Keyboard and Auxiliary Device Controller), and behind it a keyboard and a
//! mouse.
//!
//! Registers: 0 data (port 60h), 1 status and command (port 64h).
//!
//! Commands take effect at once and the controller's own answers stand in the output buffer at
//! once; a byte from keyboard or mouse follows 50 µs after the last one was read (a real one
//! takes about a millisecond). Not emulated: password protection (no password is ever set) and
//! the key lock.

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Time, Width};
use crate::keyboard::{KeyCode, Keyboard, SET1_OF_SET2};
use crate::line::Line;
use crate::mouse::Mouse;

/// Time from the read of one byte to the next byte of keyboard or mouse.
const DELIVERY_TIME: u64 = 50_000;

const STATUS_OUTPUT_FULL: u8 = 0x01;
const STATUS_SYSTEM: u8 = 0x04;
const STATUS_COMMAND: u8 = 0x08;
const STATUS_NOT_LOCKED: u8 = 0x10;
const STATUS_MOUSE: u8 = 0x20;

const CONFIG_KEYBOARD_INTERRUPT: u8 = 0x01;
const CONFIG_MOUSE_INTERRUPT: u8 = 0x02;
const CONFIG_SYSTEM: u8 = 0x04;
const CONFIG_KEYBOARD_OFF: u8 = 0x10;
const CONFIG_MOUSE_OFF: u8 = 0x20;
const CONFIG_TRANSLATE: u8 = 0x40;

const OUTPUT_NOT_RESET: u8 = 0x01;
const OUTPUT_A20: u8 = 0x02;

/// Who put a byte into the output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    Keyboard,
    Mouse,
}

/// What the next byte at the data register is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Expects {
    KeyboardCommand,
    Memory(u8),
    OutputPort,
    KeyboardBuffer,
    MouseBuffer,
    MouseCommand,
    Password,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The controller's memory; byte 0 is the configuration.
    memory: Vec<u8>,
    output_port: u8,
    expects: Expects,
    last_was_command: bool,
    /// The byte in the output buffer; it can still be read when it is no longer full.
    data: u8,
    full: Option<Source>,
    /// A break prefix (F0h) of set 2 was swallowed.
    breaks: bool,
    /// No byte from keyboard or mouse before this moment.
    deliver_at: Time,
    keyboard: Keyboard,
    mouse: Mouse,
    now: Time,
}

impl State {
    fn new(now: Time) -> State {
        let mut memory = vec![0; 32];
        // As a BIOS leaves it, for systems that are started without one.
        if let Some(config) = memory.first_mut() {
            *config = CONFIG_KEYBOARD_INTERRUPT | CONFIG_MOUSE_INTERRUPT | CONFIG_TRANSLATE;
        }
        State {
            memory,
            output_port: OUTPUT_NOT_RESET | OUTPUT_A20,
            expects: Expects::KeyboardCommand,
            last_was_command: false,
            data: 0,
            full: None,
            breaks: false,
            deliver_at: now,
            keyboard: Keyboard::new(),
            mouse: Mouse::new(),
            now,
        }
    }
    fn config(&self) -> u8 {
        self.memory.first().copied().unwrap_or(0)
    }
    fn change_config(&mut self, clear: u8, set: u8) {
        if let Some(config) = self.memory.first_mut() {
            *config = *config & !clear | set;
        }
    }
    fn put(&mut self, byte: u8, source: Source) {
        self.data = byte;
        self.full = Some(source);
    }
    fn keyboard_interrupt(&self) -> bool {
        self.full == Some(Source::Keyboard) && self.config() & CONFIG_KEYBOARD_INTERRUPT != 0
    }
    fn mouse_interrupt(&self) -> bool {
        self.full == Some(Source::Mouse) && self.config() & CONFIG_MOUSE_INTERRUPT != 0
    }
    fn keyboard_ready(&self) -> bool {
        self.config() & CONFIG_KEYBOARD_OFF == 0 && self.keyboard.has_data()
    }
    fn mouse_ready(&self) -> bool {
        self.config() & CONFIG_MOUSE_OFF == 0 && self.mouse.has_data()
    }
    /// Set 2 to set 1; `None` for a prefix that is kept back.
    fn translate(&mut self, byte: u8) -> Option<u8> {
        if self.config() & CONFIG_TRANSLATE == 0 {
            self.breaks = false;
            return Some(byte);
        }
        if byte == 0xf0 {
            self.breaks = true;
            return None;
        }
        let code = match byte {
            0x83 => 0x41,
            0x84 => 0x54,
            _ => SET1_OF_SET2.get(usize::from(byte)).copied().unwrap_or(byte),
        };
        Some(if std::mem::take(&mut self.breaks) { code | 0x80 } else { code })
    }
    fn advance(&mut self, now: Time) {
        self.now = now.max(self.now);
        self.keyboard.advance(self.now);
        self.mouse.advance(self.now);
        if self.full.is_some() || self.deliver_at > self.now {
            return;
        }
        while self.keyboard_ready() {
            let Some(byte) = self.keyboard.take() else { break };
            if let Some(byte) = self.translate(byte) {
                self.put(byte, Source::Keyboard);
                return;
            }
        }
        if self.mouse_ready()
            && let Some(byte) = self.mouse.take()
        {
            self.put(byte, Source::Mouse);
        }
    }
    fn status(&self) -> u8 {
        let mut status = STATUS_NOT_LOCKED;
        match self.full {
            Some(Source::Keyboard) => status |= STATUS_OUTPUT_FULL,
            Some(Source::Mouse) => status |= STATUS_OUTPUT_FULL | STATUS_MOUSE,
            None => {}
        }
        if self.config() & CONFIG_SYSTEM != 0 {
            status |= STATUS_SYSTEM;
        }
        if self.last_was_command {
            status |= STATUS_COMMAND;
        }
        status
    }
}

/// The controller with keyboard and mouse.
#[derive(Debug)]
pub struct I8042 {
    keyboard_interrupt: Line,
    mouse_interrupt: Line,
    a20: Line,
    reset: Line,
    state: State,
}

impl I8042 {
    /// Drives the keyboard's and the mouse's interrupt (IRQ 1 and 12), one end of the A20 gate,
    /// and pulses the processor's reset.
    #[must_use]
    pub fn new(keyboard_interrupt: Line, mouse_interrupt: Line, a20: Line, reset: Line) -> I8042 {
        I8042 { keyboard_interrupt, mouse_interrupt, a20, reset, state: State::new(Time::ZERO) }
    }
    /// The user presses or releases a key. Ask `next_event` again afterwards.
    pub fn key(&mut self, key: KeyCode, pressed: bool) {
        let now = self.state.now;
        self.state.keyboard.key(key, pressed, now);
    }
    /// The user moves the mouse; see [`Mouse::movement`]. Ask `next_event` again afterwards.
    pub fn movement(&mut self, dx: i32, dy: i32, wheel: i32, buttons: u8) {
        self.state.mouse.movement(dx, dy, wheel, buttons);
    }
    /// The keyboard, for its lamps and for whether its buffer has been emptied.
    #[must_use]
    pub fn keyboard(&self) -> &Keyboard {
        &self.state.keyboard
    }
    /// The mouse.
    #[must_use]
    pub fn mouse(&self) -> &Mouse {
        &self.state.mouse
    }

    fn drive(&self) {
        self.keyboard_interrupt.set(self.state.keyboard_interrupt());
        self.mouse_interrupt.set(self.state.mouse_interrupt());
        self.a20.set(self.state.output_port & OUTPUT_A20 != 0);
    }

    fn write_output_port(&mut self, value: u8) {
        self.state.output_port = value & 0x0f;
        if value & OUTPUT_NOT_RESET == 0 {
            // Nobody holds the processor in reset for good: the reset restarts this chip too.
            self.state.output_port |= OUTPUT_NOT_RESET;
            self.reset.pulse();
        }
    }

    fn command(&mut self, command: u8) {
        let state = &mut self.state;
        state.last_was_command = true;
        state.expects = Expects::KeyboardCommand;
        match command {
            0x20..=0x3f => {
                let byte = state.memory.get(usize::from(command & 0x1f)).copied().unwrap_or(0);
                state.put(byte, Source::Keyboard);
            }
            0x60..=0x7f => state.expects = Expects::Memory(command & 0x1f),
            // No password is installed.
            0xa4 => state.put(0xf1, Source::Keyboard),
            0xa5 => state.expects = Expects::Password,
            0xa7 => state.change_config(0, CONFIG_MOUSE_OFF),
            0xa8 => state.change_config(CONFIG_MOUSE_OFF, 0),
            0xa9 | 0xab => state.put(0x00, Source::Keyboard),
            0xaa => {
                state.change_config(0, CONFIG_SYSTEM);
                state.put(0x55, Source::Keyboard);
            }
            0xad => state.change_config(0, CONFIG_KEYBOARD_OFF),
            0xae => state.change_config(CONFIG_KEYBOARD_OFF, 0),
            // The input port: not locked, no manufacturing jumper.
            0xc0 => state.put(0xa0, Source::Keyboard),
            0xd0 => {
                let full = u8::from(state.keyboard_interrupt()) << 4 | u8::from(state.mouse_interrupt()) << 5;
                let byte = state.output_port | full | 0xc0;
                state.put(byte, Source::Keyboard);
            }
            0xd1 => state.expects = Expects::OutputPort,
            0xd2 => state.expects = Expects::KeyboardBuffer,
            0xd3 => state.expects = Expects::MouseBuffer,
            0xd4 => state.expects = Expects::MouseCommand,
            0xdd => state.output_port &= !OUTPUT_A20,
            0xdf => state.output_port |= OUTPUT_A20,
            // Test inputs: both clocks idle.
            0xe0 => state.put(0x00, Source::Keyboard),
            // Pulses low the output port bits that are clear in the command.
            0xf0..=0xff if command & OUTPUT_NOT_RESET == 0 => self.reset.pulse(),
            _ => {}
        }
    }

    fn data(&mut self, value: u8) {
        let state = &mut self.state;
        state.last_was_command = false;
        let now = state.now;
        match std::mem::replace(&mut state.expects, Expects::KeyboardCommand) {
            Expects::KeyboardCommand => {
                state.change_config(CONFIG_KEYBOARD_OFF, 0);
                state.keyboard.command(value, now);
                state.deliver_at = now.plus(DELIVERY_TIME);
            }
            Expects::Memory(index) => {
                if let Some(byte) = state.memory.get_mut(usize::from(index)) {
                    *byte = value;
                }
            }
            Expects::OutputPort => self.write_output_port(value),
            Expects::KeyboardBuffer => state.put(value, Source::Keyboard),
            Expects::MouseBuffer => state.put(value, Source::Mouse),
            Expects::MouseCommand => {
                state.change_config(CONFIG_MOUSE_OFF, 0);
                state.mouse.command(value, now);
                state.deliver_at = now.plus(DELIVERY_TIME);
            }
            // A zero ends the password.
            Expects::Password if value != 0 => state.expects = Expects::Password,
            Expects::Password => {}
        }
    }
}

impl PortIo for I8042 {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if width != Width::Byte || register > 1 {
            return None;
        }
        self.state.advance(cx.now);
        let value = if register == 0 {
            if self.state.full.take().is_some() {
                self.state.deliver_at = self.state.now.plus(DELIVERY_TIME);
            }
            self.state.data
        } else {
            self.state.status()
        };
        self.drive();
        Some(u32::from(value))
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if width != Width::Byte || register > 1 {
            return None;
        }
        self.state.advance(cx.now);
        if register == 0 {
            self.data(value as u8);
        } else {
            self.command(value as u8);
        }
        self.drive();
        Some(())
    }
}

impl Device for I8042 {
    fn name(&self) -> &'static str {
        "i8042"
    }
    /// The A20 gate is open after a reset, as the first instruction is fetched from the top of
    /// memory.
    fn reset(&mut self) {
        self.state = State::new(self.state.now);
        self.reset.set(false);
        self.drive();
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        self.state.advance(cx.now);
        self.drive();
    }
    fn next_event(&self) -> Option<Time> {
        let state = &self.state;
        let ready = state.full.is_none() && (state.keyboard_ready() || state.mouse_ready());
        let delivery = ready.then_some(state.deliver_at);
        [delivery, state.keyboard.next_event(), state.mouse.next_event()].into_iter().flatten().min()
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { keyboard_interrupt: _, mouse_interrupt: _, a20: _, reset: _, state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        if state.memory.len() != 32 || matches!(state.expects, Expects::Memory(index) if index > 31) {
            return Err(RestoreError::OutOfRange("memory"));
        }
        state.keyboard.validate()?;
        state.mouse.validate()?;
        self.state = state;
        self.keyboard_interrupt.restore_level(self.state.keyboard_interrupt());
        self.mouse_interrupt.restore_level(self.state.mouse_interrupt());
        self.a20.restore_level(self.state.output_port & OUTPUT_A20 != 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, {
        let mut controller = I8042::new(Line::detached(), Line::detached(), Line::detached(), Line::detached());
        controller.key(KeyCode::A, true);
        controller
    });

    struct Rig {
        bench: Bench<I8042>,
        irq1: Line,
        irq12: Line,
        a20: Line,
        reset: Line,
    }

    impl Rig {
        fn new() -> Rig {
            let [irq1, irq12, a20, reset] = std::array::from_fn(|_| Line::detached());
            let controller = I8042::new(irq1.share(), irq12.share(), a20.share(), reset.share());
            Rig { bench: Bench::new(controller), irq1, irq12, a20, reset }
        }
        fn command(&mut self, command: u8, data: &[u8]) {
            self.bench.write(1, command);
            for byte in data {
                self.bench.write(0, *byte);
            }
        }
        /// Everything that arrives within 20 ms, with true for bytes of the mouse.
        fn receive(&mut self) -> Vec<(u8, bool)> {
            let mut bytes = Vec::new();
            for _ in 0..400 {
                self.bench.run(50_000);
                let status = self.bench.read(1);
                if status & STATUS_OUTPUT_FULL != 0 {
                    bytes.push((self.bench.read(0), status & STATUS_MOUSE != 0));
                }
            }
            bytes
        }
        fn keyboard_bytes(&mut self) -> Vec<u8> {
            self.receive().into_iter().map(|(byte, _)| byte).collect()
        }
    }

    #[test]
    fn post_sequence() {
        let mut rig = Rig::new();
        rig.command(0xaa, &[]);
        assert_eq!((rig.bench.read(1), rig.bench.read(0), rig.bench.read(1)), (0x1d, 0x55, 0x1c));
        rig.command(0xab, &[]);
        assert_eq!(rig.bench.read(0), 0x00);
        rig.command(0x60, &[0x61]);
        rig.command(0x20, &[]);
        assert_eq!(rig.bench.read(0), 0x61);
        rig.bench.write(0, 0xff);
        assert_eq!(rig.keyboard_bytes(), [0xfa, 0xaa]);
    }

    #[test]
    fn keys_are_translated_and_interrupt() {
        let mut rig = Rig::new();
        rig.bench.device.key(KeyCode::A, true);
        rig.bench.device.key(KeyCode::A, false);
        rig.bench.device.key(KeyCode::F7, true);
        rig.bench.device.key(KeyCode::F7, false);
        rig.bench.run(DELIVERY_TIME);
        assert!(rig.irq1.is_high());
        assert_eq!(rig.bench.read(0), 0x1e);
        assert!(!rig.irq1.is_high());
        assert_eq!(rig.keyboard_bytes(), [0x9e, 0x41, 0xc1]);
        rig.command(0x60, &[0x01]);
        rig.bench.device.key(KeyCode::Up, true);
        rig.bench.device.key(KeyCode::Up, false);
        assert_eq!(rig.keyboard_bytes(), [0xe0, 0x75, 0xe0, 0xf0, 0x75]);
    }

    #[test]
    fn disabled_keyboard_keeps_its_bytes() {
        let mut rig = Rig::new();
        rig.command(0xad, &[]);
        rig.bench.device.key(KeyCode::B, true);
        rig.bench.device.key(KeyCode::B, false);
        assert!(rig.receive().is_empty());
        rig.command(0xae, &[]);
        assert_eq!(rig.keyboard_bytes(), [0x30, 0xb0]);
    }

    #[test]
    fn mouse_through_the_controller() {
        let mut rig = Rig::new();
        rig.command(0xa8, &[]);
        rig.command(0xd4, &[0xf4]);
        rig.bench.run(DELIVERY_TIME);
        assert!(rig.irq12.is_high() && !rig.irq1.is_high());
        assert_eq!(rig.receive(), [(0xfa, true)]);
        rig.bench.device.movement(10, -4, 0, 1);
        assert_eq!(rig.receive(), [(0x09, true), (10, true), (4, true)]);
        rig.command(0xa7, &[]);
        rig.bench.device.movement(1, 0, 0, 0);
        assert!(rig.receive().is_empty());
    }

    #[test]
    fn output_port_a20_and_reset() {
        let mut rig = Rig::new();
        assert!(rig.a20.is_high());
        rig.command(0xd1, &[0xdd]);
        assert!(!rig.a20.is_high());
        rig.command(0xdf, &[]);
        assert!(rig.a20.is_high());
        rig.command(0xd0, &[]);
        assert_eq!(rig.bench.read(0), 0xcf);
        let _ = rig.reset.take_edge();
        rig.command(0xf0, &[]);
        assert!(rig.reset.take_edge());
        rig.command(0xff, &[]);
        assert!(!rig.reset.take_edge());
        rig.command(0xfe, &[]);
        assert!(rig.reset.take_edge());
        rig.command(0xd1, &[0x02]);
        assert!(rig.reset.take_edge());
    }

    #[test]
    fn buffers_can_be_written() {
        let mut rig = Rig::new();
        rig.command(0xd2, &[0x42]);
        assert!(rig.irq1.is_high());
        assert_eq!(rig.receive(), [(0x42, false)]);
        rig.command(0xd3, &[0x5a]);
        assert!(rig.irq12.is_high());
        assert_eq!(rig.receive(), [(0x5a, true)]);
    }
}
