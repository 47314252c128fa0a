//! System control port A of a PS/2 (port 92h): the fast A20 gate and the fast reset.
//!
//! Register 0 is the port. Not emulated: the security lock (bit 3) and the disk lamps (bits 6 and
//! 7) read back and do nothing.

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Width};
use crate::line::Line;

const FAST_RESET: u8 = 0x01;
const GATE_A20: u8 = 0x02;
const WRITABLE: u8 = 0xcb;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    control: u8,
}

/// Port 92h.
#[derive(Debug)]
pub struct Port92 {
    a20: Line,
    reset: Line,
    state: State,
}

impl Port92 {
    /// Drives one end of the A20 gate and pulses the processor's reset. A20 is open when any of
    /// its ends is high.
    #[must_use]
    pub fn new(a20: Line, reset: Line) -> Port92 {
        Port92 { a20, reset, state: State::default() }
    }
}

impl PortIo for Port92 {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        (register == 0 && width == Width::Byte).then_some(u32::from(self.state.control))
    }
    fn write(&mut self, _cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if register != 0 || width != Width::Byte {
            return None;
        }
        let value = value as u8 & WRITABLE;
        let rises = value & !self.state.control;
        self.state.control = value;
        self.a20.set(value & GATE_A20 != 0);
        if rises & FAST_RESET != 0 {
            self.reset.pulse();
        }
        Some(())
    }
}

impl Device for Port92 {
    fn name(&self) -> &'static str {
        "port92"
    }
    fn reset(&mut self) {
        self.state = State::default();
        self.a20.set(false);
        self.reset.set(false);
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { a20: _, reset: _, state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        if state.control & !WRITABLE != 0 {
            return Err(RestoreError::OutOfRange("control"));
        }
        self.state = state;
        self.a20.restore_level(self.state.control & GATE_A20 != 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, Port92::new(Line::detached(), Line::detached()));

    #[test]
    fn gates_a20_and_resets_once_per_rise() {
        let (a20, reset) = (Line::detached(), Line::detached());
        let mut bench = Bench::new(Port92::new(a20.share(), reset.share()));
        bench.write(0, 0x02);
        assert!(a20.is_high() && !reset.take_edge());
        assert_eq!(bench.read(0), 0x02);
        bench.write(0, 0x01);
        assert!(!a20.is_high() && reset.take_edge());
        bench.write(0, 0x01);
        assert!(!reset.take_edge());
    }
}
