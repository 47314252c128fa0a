//! The colour look-up table and its index registers.

use serde::{Deserialize, Serialize};

/// 256 colours of three components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dac {
    pub mask: u8,
    read_index: u8,
    write_index: u8,
    component: u8,
    reading: bool,
    pending: [u8; 3],
    colors: Vec<[u8; 3]>,
}

impl Default for Dac {
    fn default() -> Dac {
        Dac {
            mask: 0xff,
            read_index: 0,
            write_index: 0,
            component: 0,
            reading: false,
            pending: [0; 3],
            colors: vec![[0; 3]; 256],
        }
    }
}

impl Dac {
    pub fn is_valid(&self) -> bool {
        self.colors.len() == 256 && self.component < 3
    }
    pub fn state(&self) -> u8 {
        if self.reading { 3 } else { 0 }
    }
    pub fn write_index(&self) -> u8 {
        self.write_index
    }
    pub fn set_read_index(&mut self, index: u8) {
        (self.read_index, self.write_index) = (index, index.wrapping_add(1));
        (self.component, self.reading) = (0, true);
    }
    pub fn set_write_index(&mut self, index: u8) {
        (self.read_index, self.write_index) = (index, index);
        (self.component, self.reading) = (0, false);
    }
    pub fn read(&mut self) -> u8 {
        let color = self.colors.get(usize::from(self.read_index)).copied().unwrap_or_default();
        let value = color.get(usize::from(self.component)).copied().unwrap_or(0);
        self.component += 1;
        if self.component >= 3 {
            self.component = 0;
            self.read_index = self.read_index.wrapping_add(1);
        }
        value
    }
    /// Components take effect together with the third.
    pub fn write(&mut self, value: u8, wide: bool) {
        if let Some(component) = self.pending.get_mut(usize::from(self.component)) {
            *component = if wide { value } else { value & 0x3f };
        }
        self.component += 1;
        if self.component >= 3 {
            self.component = 0;
            if let Some(color) = self.colors.get_mut(usize::from(self.write_index)) {
                *color = self.pending;
            }
            self.write_index = self.write_index.wrapping_add(1);
        }
    }
    /// Colour `index` as 00RRGGBB.
    pub fn rgb(&self, index: u8, wide: bool) -> u32 {
        let [r, g, b] = self.colors.get(usize::from(index & self.mask)).copied().unwrap_or_default();
        let full = |c: u8| u32::from(if wide { c } else { c << 2 | c >> 4 & 3 });
        full(r) << 16 | full(g) << 8 | full(b)
    }
}
