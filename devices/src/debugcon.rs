//! The debug console of Bochs and its followers (port E9h): every byte written goes to the host,
//! a read says that it is there.
//!
//! Register 0 is the port.

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Width};

/// What a read answers, by which guests find the console.
const PRESENT: u32 = 0xe9;

/// Port E9h.
#[derive(Debug, Default)]
pub struct DebugConsole {
    output: Vec<u8>,
}

impl DebugConsole {
    /// A console without output yet.
    #[must_use]
    pub fn new() -> DebugConsole {
        DebugConsole::default()
    }
    /// What the guest has written since the last call.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
}

impl PortIo for DebugConsole {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        (register == 0 && width == Width::Byte).then_some(PRESENT)
    }
    fn write(&mut self, _cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        (register == 0 && width == Width::Byte).then(|| self.output.push(value as u8))
    }
}

impl Device for DebugConsole {
    fn name(&self) -> &'static str {
        "debugcon"
    }
    fn reset(&mut self) {}
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { output: _ } = self;
        Saved::of(&())
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        state.decode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, DebugConsole::new());

    #[test]
    fn captures_bytes() {
        let mut bench = Bench::new(DebugConsole::new());
        for byte in b"hello" {
            bench.write(0, *byte);
        }
        assert_eq!(bench.read(0), 0xe9);
        assert_eq!(bench.device.take_output(), b"hello");
        assert!(bench.device.take_output().is_empty());
    }
}
