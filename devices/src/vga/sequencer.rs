//! Sequencer: clocking, plane mask, character maps, memory mode.

use serde::{Deserialize, Serialize};

/// The sequencer's registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sequencer {
    pub index: u8,
    registers: [u8; 5],
}

const MASKS: [u8; 5] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e];

impl Sequencer {
    pub fn get(&self, index: u8) -> u8 {
        self.registers.get(usize::from(index)).copied().unwrap_or(0)
    }
    pub fn read(&self) -> u8 {
        self.get(self.index)
    }
    pub fn write(&mut self, value: u8) {
        self.set(self.index, value);
    }
    pub fn set(&mut self, index: u8, value: u8) {
        let at = usize::from(index);
        if let Some((register, mask)) = self.registers.get_mut(at).zip(MASKS.get(at)) {
            *register = value & mask;
        }
    }
    /// Whether characters are 8 dots wide rather than 9.
    pub fn eight_dots(&self) -> bool {
        self.get(1) & 0x01 != 0
    }
    /// Whether the dot clock is halved.
    pub fn half_clock(&self) -> bool {
        self.get(1) & 0x08 != 0
    }
    pub fn screen_off(&self) -> bool {
        self.get(1) & 0x20 != 0
    }
    pub fn plane_mask(&self) -> u8 {
        self.get(2)
    }
    /// Whether a write reaches planes 0 and 2 at even addresses, 1 and 3 at odd ones.
    pub fn odd_even(&self) -> bool {
        self.get(4) & 0x04 == 0
    }
    pub fn chain_four(&self) -> bool {
        self.get(4) & 0x08 != 0
    }
    /// Offset in plane 2 of the character maps for attribute bit 3 clear and set.
    pub fn character_maps(&self) -> (u32, u32) {
        let select = u32::from(self.get(3));
        let map = |low: u32, high: u32| (select >> low & 3) << 14 | (select >> high & 1) << 13;
        (map(0, 4), map(2, 5))
    }
}
