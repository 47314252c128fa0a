//! The bus master half of one channel (82371SB "PIIX3", 2.4; Programming Interface for Bus Master
//! IDE Controllers 1.0): registers and physical region descriptors.

use serde::{Deserialize, Serialize};

use crate::device::{Dma, RestoreError};

const START: u8 = 0x01;
const ACTIVE: u8 = 0x01;
const INTERRUPT: u8 = 0x04;
const CAPABLE: u8 = 0x60;
const LAST: u8 = 0x80;
/// A descriptor table is at most 64 KiB long.
const MAX_DESCRIPTORS: u32 = 0x1_0000 / 8;

/// Registers of one channel and the place in its descriptor table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BusMaster {
    command: u8,
    status: u8,
    table: u32,
    /// Descriptors already fetched in this transfer.
    fetched: u32,
    address: u32,
    /// Bytes left in the current descriptor.
    left: u32,
    last: bool,
}

impl BusMaster {
    pub fn is_started(&self) -> bool {
        self.command & START != 0 && self.status & ACTIVE != 0
    }
    /// The IDE interrupt line went high.
    pub fn interrupted(&mut self) {
        self.status |= INTERRUPT;
    }
    /// The transfer was broken off.
    pub fn stop(&mut self) {
        self.status &= !ACTIVE;
    }
    /// The drive has no more data. Active stays set while the table has room left.
    pub fn finish(&mut self) {
        if self.left == 0 && self.last {
            self.status &= !ACTIVE;
        }
    }

    /// Reads `bytes` bytes at `offset`; reserved bytes are zero.
    pub fn read(&self, offset: u16, bytes: u32) -> u32 {
        let all = u64::from(self.command) | u64::from(self.status) << 16 | u64::from(self.table) << 32;
        (all >> (u32::from(offset & 7) * 8)) as u32 & (u32::MAX >> (32 - 8 * bytes.clamp(1, 4)))
    }

    /// Writes `bytes` bytes at `offset`.
    pub fn write(&mut self, offset: u16, bytes: u32, value: u32) {
        for index in 0..bytes.min(4) {
            let byte = (value >> (8 * index)) as u8;
            match u32::from(offset & 7) + index {
                0 => self.write_command(byte),
                2 => {
                    self.status = self.status & !CAPABLE | byte & CAPABLE;
                    self.status &= !(byte & 0x06);
                }
                at @ 4..=7 => {
                    let shift = 8 * (at - 4);
                    self.table = (self.table & !(0xff << shift) | u32::from(byte) << shift) & !3;
                }
                _ => {}
            }
        }
    }

    fn write_command(&mut self, value: u8) {
        let rises = value & START != 0 && self.command & START == 0;
        self.command = value & 0x09;
        if rises {
            self.fetched = 0;
            self.left = 0;
            self.last = false;
            self.status |= ACTIVE;
        } else if value & START == 0 {
            self.status &= !ACTIVE;
        }
    }

    /// Moves `data` to or from memory as the descriptors say; returns the number of bytes that
    /// found room. The number of descriptors is bounded by the size of a table.
    pub fn transfer(&mut self, dma: &mut dyn Dma, data: &mut [u8], to_memory: bool) -> usize {
        let mut moved = 0;
        while moved < data.len() {
            if self.left == 0 && !self.fetch(dma) {
                break;
            }
            let part = (self.left as usize).min(data.len() - moved);
            let piece = &mut data[moved..moved + part];
            if to_memory {
                dma.write(u64::from(self.address), piece);
            } else {
                dma.read(u64::from(self.address), piece);
            }
            moved += part;
            self.address = self.address.wrapping_add(part as u32);
            self.left -= part as u32;
        }
        moved
    }

    fn fetch(&mut self, dma: &mut dyn Dma) -> bool {
        if self.last || self.fetched >= MAX_DESCRIPTORS {
            return false;
        }
        let mut entry = [0; 8];
        dma.read(u64::from(self.table.wrapping_add(self.fetched * 8)), &mut entry);
        let [a, b, c, d, low, high, _, flags] = entry;
        self.fetched += 1;
        self.address = u32::from_le_bytes([a, b, c, d]);
        let count = u32::from(u16::from_le_bytes([low, high])) & !1;
        self.left = if count == 0 { 0x1_0000 } else { count };
        self.last = flags & LAST != 0;
        true
    }

    pub fn check(&self) -> Result<(), RestoreError> {
        if self.left > 0x1_0000 || self.fetched > MAX_DESCRIPTORS {
            return Err(RestoreError::OutOfRange("descriptor"));
        }
        Ok(())
    }
}
