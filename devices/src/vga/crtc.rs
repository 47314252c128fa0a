//! CRT controller: timing, start address, cursor.

use serde::{Deserialize, Serialize};

/// Number of registers, 00h–18h.
const REGISTERS: usize = 0x19;

/// The CRT controller's registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Crtc {
    pub index: u8,
    registers: [u8; REGISTERS],
}

impl Crtc {
    pub fn get(&self, index: u8) -> u8 {
        self.registers.get(usize::from(index)).copied().unwrap_or(0)
    }
    pub fn read(&self) -> u8 {
        self.get(self.index & 0x3f)
    }
    /// All registers.
    pub fn registers(&self) -> &[u8; REGISTERS] {
        &self.registers
    }
    /// Whether the monitor gets synchronisation: without, it stays dark.
    pub fn synchronises(&self) -> bool {
        self.get(0x17) & 0x80 != 0
    }
    /// Writes the selected register; registers 0–7 are protected by bit 7 of register 11h, all but
    /// the line compare bit of register 7.
    pub fn write(&mut self, value: u8) {
        let index = self.index & 0x3f;
        let protected = self.get(0x11) & 0x80 != 0;
        let Some(register) = self.registers.get_mut(usize::from(index)) else { return };
        match index {
            7 if protected => *register = *register & !0x10 | value & 0x10,
            0..=7 if protected => {}
            _ => *register = value,
        }
    }

    fn overflow(&self, low: u8, bit8: u8, bit9: u8) -> u32 {
        let overflow = u32::from(self.get(7));
        u32::from(self.get(low)) | (overflow >> bit8 & 1) << 8 | (overflow >> bit9 & 1) << 9
    }
    /// Character clocks per line.
    pub fn horizontal_total(&self) -> u32 {
        u32::from(self.get(0)) + 5
    }
    /// Displayed character clocks per line.
    pub fn columns(&self) -> u32 {
        u32::from(self.get(1)) + 1
    }
    /// Lines per frame.
    pub fn vertical_total(&self) -> u32 {
        self.overflow(6, 0, 5) + 2
    }
    /// Displayed lines.
    pub fn lines(&self) -> u32 {
        self.overflow(0x12, 1, 6) + 1
    }
    /// First line of vertical retrace.
    pub fn retrace_start(&self) -> u32 {
        self.overflow(0x10, 2, 7)
    }
    /// Lines of vertical retrace: the end register holds the low four bits of the line count.
    pub fn retrace_lines(&self) -> u32 {
        match (u32::from(self.get(0x11)).wrapping_sub(self.retrace_start())) & 0x0f {
            0 => 16,
            lines => lines,
        }
    }
    /// Line after which the display address starts again from 0.
    pub fn line_compare(&self) -> u32 {
        self.overflow(0x18, 4, 9) & 0x1ff | u32::from(self.get(9) >> 6 & 1) << 9
    }
    /// Scan lines per row.
    pub fn row_height(&self) -> u32 {
        u32::from(self.get(9) & 0x1f) + 1
    }
    /// Address of the first displayed character.
    pub fn start(&self) -> u32 {
        u32::from(self.get(0x0c)) << 8 | u32::from(self.get(0x0d))
    }
    /// Addresses from one row to the next.
    pub fn pitch(&self) -> u32 {
        u32::from(self.get(0x13)) * 2
    }
    /// Bytes of each plane by which the picture is moved to the left, on top of the start address.
    pub fn byte_panning(&self) -> u32 {
        u32::from(self.get(8) >> 5 & 3)
    }
    /// Scan line of its row with which the frame begins.
    pub fn preset_row_scan(&self) -> u32 {
        u32::from(self.get(8) & 0x1f)
    }
    /// Whether every scan line is shown twice.
    pub fn double_scan(&self) -> bool {
        self.get(9) & 0x80 != 0
    }
    /// By how many bits the count of characters in a line is divided before it is added to the
    /// address: the address counter runs at half or a quarter of the character clock.
    pub fn count_shift(&self) -> u32 {
        match (self.get(0x14) & 0x20 != 0, self.get(0x17) & 0x08 != 0) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        }
    }
    /// Whether scan line bits stand in for address bits, so that lines lie interleaved in memory.
    pub fn interleaves(&self) -> bool {
        self.get(0x17) & 3 != 3
    }
    /// Plane address that is fetched when the address counter is at `counter`, in scan line `scan`
    /// of a row: byte, word or doubleword addressing, and the scan line bits of the CGA's and the
    /// Hercules card's layouts ("VGA and XGA Video Subsystem", CRT mode control register).
    pub fn plane_address(&self, counter: u32, scan: u32) -> u32 {
        let mode = self.get(0x17);
        let mut address = if self.get(0x14) & 0x40 != 0 {
            counter << 2 | counter >> 12 & 3
        } else if mode & 0x40 == 0 {
            counter << 1 | counter >> (if mode & 0x20 != 0 { 15 } else { 13 }) & 1
        } else {
            counter
        };
        if mode & 1 == 0 {
            address = address & !0x2000 | (scan & 1) << 13;
        }
        if mode & 2 == 0 {
            address = address & !0x4000 | (scan & 2) << 13;
        }
        address & 0xffff
    }
    /// Address of the cursor.
    pub fn cursor(&self) -> u32 {
        u32::from(self.get(0x0e)) << 8 | u32::from(self.get(0x0f))
    }
    /// First and last scan line of the cursor, or `None` when it is off.
    pub fn cursor_shape(&self) -> Option<(u32, u32)> {
        let (start, end) = (self.get(0x0a), self.get(0x0b) & 0x1f);
        (start & 0x20 == 0 && start & 0x1f <= end).then(|| (u32::from(start & 0x1f), u32::from(end)))
    }
}
