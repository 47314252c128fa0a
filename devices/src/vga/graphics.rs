//! Graphics controller: the paths between processor and planes.

use serde::{Deserialize, Serialize};

/// The graphics controller's registers and latches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Graphics {
    pub index: u8,
    registers: [u8; 9],
    /// One byte per plane, plane 0 lowest.
    pub latch: u32,
}

const MASKS: [u8; 9] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];

/// FFh in each byte whose bit is set in the low four bits of `planes`.
pub(super) fn spread(planes: u8) -> u32 {
    (0..4).map(|plane| u32::from(planes >> plane & 1) * (0xff << (8 * plane))).sum()
}

impl Graphics {
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
    /// Whether the lowest address bit selects between planes, and so is no part of the plane
    /// address.
    pub fn chains_odd_even(&self) -> bool {
        self.get(6) & 0x02 != 0
    }
    /// Whether a read comes from planes 0 and 2 at even addresses, 1 and 3 at odd ones.
    pub fn odd_even(&self) -> bool {
        self.get(5) & 0x10 != 0
    }
    pub fn shift_interleave(&self) -> bool {
        self.get(5) & 0x20 != 0
    }
    pub fn shift_256(&self) -> bool {
        self.get(5) & 0x40 != 0
    }
    pub fn is_graphics(&self) -> bool {
        self.get(6) & 1 != 0
    }
    pub fn read_plane(&self) -> u8 {
        self.get(4) & 3
    }
    /// Start in A0000h–BFFFFh and size of the window in which memory answers.
    pub fn window(&self) -> (u32, u32) {
        match self.get(6) >> 2 & 3 {
            0 => (0, 0x2_0000),
            1 => (0, 0x1_0000),
            2 => (0x1_0000, 0x8000),
            _ => (0x1_8000, 0x8000),
        }
    }

    /// Whether the processor's bytes reach memory as they are, and come back so: write and read
    /// mode 0, no rotation, no logic function, no set/reset, all bits.
    pub fn passes_through(&self) -> bool {
        self.get(5) & 0x0b == 0 && self.get(3) == 0 && self.get(1) == 0 && self.get(8) == 0xff
    }

    /// What the four planes get when the processor writes `data`.
    pub fn compose(&self, data: u8) -> u32 {
        let rotated = data.rotate_right(u32::from(self.get(3) & 7));
        let repeat = |byte: u8| u32::from(byte) * 0x0101_0101;
        let set_reset = spread(self.get(0));
        let (value, bits) = match self.get(5) & 3 {
            0 => {
                let enable = spread(self.get(1));
                (repeat(rotated) & !enable | set_reset & enable, self.get(8))
            }
            1 => return self.latch,
            2 => (spread(data), self.get(8)),
            _ => (set_reset, self.get(8) & rotated),
        };
        let value = match self.get(3) >> 3 & 3 {
            0 => value,
            1 => value & self.latch,
            2 => value | self.latch,
            _ => value ^ self.latch,
        };
        let bits = repeat(bits);
        value & bits | self.latch & !bits
    }

    /// What read mode 1 gives for the latched planes: a bit for each pixel of the compared colour.
    pub fn compare(&self) -> u8 {
        let care = spread(self.get(7));
        let differs = (self.latch ^ spread(self.get(2))) & care;
        let [a, b, c, d] = differs.to_le_bytes();
        !(a | b | c | d)
    }
}
