//! Attribute controller: the 16-entry palette between planes and DAC.

use serde::{Deserialize, Serialize};

/// The attribute controller's registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attribute {
    /// Index with the palette address source in bit 5.
    index: u8,
    registers: [u8; 21],
    /// The next write goes to the selected register, not to the index.
    expects_data: bool,
}

impl Attribute {
    pub fn get(&self, index: u8) -> u8 {
        self.registers.get(usize::from(index)).copied().unwrap_or(0)
    }
    pub fn read_index(&self) -> u8 {
        self.index
    }
    pub fn read(&self) -> u8 {
        self.get(self.index & 0x1f)
    }
    pub fn write(&mut self, value: u8) {
        self.expects_data = !self.expects_data;
        if self.expects_data {
            self.index = value & 0x3f;
            return;
        }
        let index = self.index & 0x1f;
        // The palette is the display's while bit 5 is set.
        if index < 16 && self.index & 0x20 != 0 {
            return;
        }
        let mask = match index {
            0..=15 | 0x12 => 0x3f,
            0x10 => 0xef,
            0x13 | 0x14 => 0x0f,
            _ => 0xff,
        };
        if let Some(register) = self.registers.get_mut(usize::from(index)) {
            *register = value & mask;
        }
    }
    /// Input status 1 was read: the next write is an index.
    pub fn reset_flip_flop(&mut self) {
        self.expects_data = false;
    }
    pub fn expects_data(&self) -> bool {
        self.expects_data
    }
    pub fn display_on(&self) -> bool {
        self.index & 0x20 != 0
    }
    /// All registers.
    pub fn registers(&self) -> &[u8; 21] {
        &self.registers
    }
    /// Whether two dots make one pixel of eight bits.
    pub fn eight_bits(&self) -> bool {
        self.get(0x10) & 0x40 != 0
    }
    pub fn blink(&self) -> bool {
        self.get(0x10) & 0x08 != 0
    }
    pub fn line_graphics(&self) -> bool {
        self.get(0x10) & 0x04 != 0
    }
    pub fn monochrome(&self) -> bool {
        self.get(0x10) & 0x02 != 0
    }
    /// Whether panning stops at the line compare.
    pub fn pan_top_only(&self) -> bool {
        self.get(0x10) & 0x20 != 0
    }
    /// DAC index of a four-bit colour, of which the bits `flip` are inverted behind the plane
    /// enable register.
    pub fn color(&self, color: u8, flip: u8) -> u8 {
        let palette = self.get((color & self.get(0x12) ^ flip) & 0x0f) & 0x3f;
        let select = self.get(0x14);
        if self.get(0x10) & 0x80 != 0 { palette & 0x0f | (select & 0x0f) << 4 } else { palette | (select & 0x0c) << 4 }
    }
}
