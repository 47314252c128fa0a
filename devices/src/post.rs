//! The diagnostics port of a BIOS (port 80h): a card that keeps the last codes.
//!
//! Register 0 is the port; a read gives the last code, as the spare page register at that port
//! does.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Width};

/// Number of codes that are kept.
const KEPT: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    codes: VecDeque<u8>,
}

/// Port 80h.
#[derive(Debug, Default)]
pub struct Post {
    state: State,
}

impl Post {
    /// A card that has seen no code.
    #[must_use]
    pub fn new() -> Post {
        Post::default()
    }
    /// The last codes, oldest first; a code written several times in a row counts once.
    #[must_use]
    pub fn codes(&self) -> Vec<u8> {
        self.state.codes.iter().copied().collect()
    }
    /// The code that is displayed.
    #[must_use]
    pub fn last(&self) -> Option<u8> {
        self.state.codes.back().copied()
    }
}

impl PortIo for Post {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        (register == 0 && width == Width::Byte).then(|| u32::from(self.last().unwrap_or(0)))
    }
    fn write(&mut self, _cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if register != 0 || width != Width::Byte {
            return None;
        }
        // Software writes here over and over to pass time.
        if self.last() != Some(value as u8) {
            if self.state.codes.len() >= KEPT {
                self.state.codes.pop_front();
            }
            self.state.codes.push_back(value as u8);
        }
        Some(())
    }
}

impl Device for Post {
    fn name(&self) -> &'static str {
        "post"
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
        let state: State = state.decode()?;
        if state.codes.len() > KEPT {
            return Err(RestoreError::OutOfRange("codes"));
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, Post::new());

    #[test]
    fn keeps_the_last_codes() {
        let mut bench = Bench::new(Post::new());
        for code in [1, 2, 2, 3] {
            bench.write(0, code);
        }
        assert_eq!(bench.device.codes(), [1, 2, 3]);
        assert_eq!(bench.read(0), 3);
        for code in 0..100 {
            bench.write(0, code);
        }
        assert_eq!(bench.device.codes().len(), KEPT);
    }
}
