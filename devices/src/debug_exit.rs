//! The exit port that test kernels write their verdict to (QEMU's `isa-debug-exit`, usually at
//! F4h, four ports wide).
//!
//! Registers 0–3, any width. The first verdict stands until it is taken: the machine stops at
//! that instruction, but nothing here depends on it.

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Width};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    verdict: Option<u32>,
}

/// The exit port.
#[derive(Debug, Default)]
pub struct DebugExit {
    state: State,
}

impl DebugExit {
    /// A port nobody has written to.
    #[must_use]
    pub fn new() -> DebugExit {
        DebugExit::default()
    }
    /// The value that was written, once. By convention the process ends with `value << 1 | 1`.
    pub fn take_exit(&mut self) -> Option<u32> {
        self.state.verdict.take()
    }
    /// Whether there is a value to take.
    #[must_use]
    pub fn has_exit(&self) -> bool {
        self.state.verdict.is_some()
    }
}

impl PortIo for DebugExit {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, _width: Width) -> Option<u32> {
        (register < 4).then_some(0)
    }
    fn write(&mut self, _cx: &mut Access<'_>, register: u16, _width: Width, value: u32) -> Option<()> {
        (register < 4).then(|| {
            self.state.verdict.get_or_insert(value);
        })
    }
}

impl Device for DebugExit {
    fn name(&self) -> &'static str {
        "debug-exit"
    }
    fn reset(&mut self) {
        self.state = State::default();
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        self.state = state.decode()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, DebugExit::new());

    #[test]
    fn first_verdict_wins() {
        let mut bench = Bench::new(DebugExit::new());
        assert_eq!(bench.device.take_exit(), None);
        bench.write_wide(0, Width::Dword, 0x10);
        bench.write(0, 0x11);
        assert_eq!((bench.device.take_exit(), bench.device.take_exit()), (Some(0x10), None));
    }
}
