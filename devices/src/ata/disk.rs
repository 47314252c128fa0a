//! A hard disk: its geometry, its settings and the data of IDENTIFY DEVICE.

use serde::{Deserialize, Serialize};

use crate::storage::{Storage, StorageError};

/// Bytes per sector.
pub(super) const SECTOR: usize = 512;
/// Most sectors per interrupt that SET MULTIPLE MODE takes.
pub(super) const MAX_MULTIPLE: u8 = 16;

/// Settings of one disk that software can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskState {
    /// Heads and sectors per track of the current translation (INITIALIZE DEVICE PARAMETERS).
    pub heads: u8,
    pub sectors: u8,
    pub multiple: u8,
    pub write_cache: bool,
    pub look_ahead: bool,
    /// Transfer mode as SET FEATURES 03h last gave it.
    pub mode: u8,
    /// READ BUFFER and WRITE BUFFER.
    pub scratch: Vec<u8>,
}

/// A hard disk.
pub(super) struct Disk {
    pub storage: Box<dyn Storage>,
    pub state: DiskState,
    model: String,
    serial: String,
}

/// Default translation of a disk of `sectors` sectors: cylinders, heads, sectors per track.
pub(super) fn default_geometry(sectors: u64) -> (u16, u8, u8) {
    if sectors >= 16_383 * 16 * 63 {
        return (16_383, 16, 63);
    }
    let heads = if sectors < 16 * 63 { 1 } else { 16 };
    let per_track = sectors.clamp(1, 63) as u8;
    let cylinders = (sectors / (u64::from(heads) * u64::from(per_track))).clamp(1, 16_383);
    (cylinders as u16, heads, per_track)
}

impl Disk {
    pub fn new(storage: Box<dyn Storage>, index: usize) -> Disk {
        let mut disk = Disk {
            storage,
            state: DiskState {
                heads: 16,
                sectors: 63,
                multiple: 0,
                write_cache: true,
                look_ahead: true,
                mode: 0,
                scratch: vec![0; SECTOR],
            },
            model: "Beigebox Hard Disk".to_owned(),
            serial: format!("BB{index:08}"),
        };
        disk.reset();
        disk
    }

    /// Power-on settings.
    pub fn reset(&mut self) {
        let (_, heads, sectors) = default_geometry(self.total());
        self.state = DiskState {
            heads,
            sectors,
            multiple: MAX_MULTIPLE,
            write_cache: true,
            look_ahead: true,
            mode: 0x45,
            scratch: vec![0; SECTOR],
        };
    }

    /// Number of sectors; the tail of an image that is no whole sector is not reachable.
    pub fn total(&self) -> u64 {
        (self.storage.len() / SECTOR as u64).min(1 << 48)
    }

    /// Reads whole sectors. The caller has checked the range.
    pub fn read(&mut self, lba: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        self.storage.read(lba * SECTOR as u64, buf)
    }

    /// Writes whole sectors. The caller has checked the range.
    pub fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), StorageError> {
        self.storage.write(lba * SECTOR as u64, data)
    }

    /// The sector number of a cylinder, head, sector address, or `None` when it is not on the disk.
    pub fn lba_of_chs(&self, cylinder: u16, head: u8, sector: u8) -> Option<u64> {
        if sector == 0 || sector > self.state.sectors || head >= self.state.heads {
            return None;
        }
        let track = u64::from(cylinder) * u64::from(self.state.heads) + u64::from(head);
        Some(track * u64::from(self.state.sectors) + u64::from(sector) - 1)
    }

    /// The cylinder, head, sector address of a sector number.
    pub fn chs_of_lba(&self, lba: u64) -> (u16, u8, u8) {
        let sectors = u64::from(self.state.sectors.max(1));
        let heads = u64::from(self.state.heads.max(1));
        let track = lba / sectors;
        ((track / heads) as u16, (track % heads) as u8, (lba % sectors) as u8 + 1)
    }

    /// The 512 bytes of IDENTIFY DEVICE (ATA/ATAPI-6, 8.15).
    pub fn identify(&self) -> Vec<u8> {
        let total = self.total();
        let (cylinders, heads, sectors) = default_geometry(total);
        let mut w = [0u16; 256];
        w[0] = 0x0040;
        w[1] = cylinders;
        w[3] = u16::from(heads);
        w[4] = u16::from(sectors) * 512;
        w[5] = 512;
        w[6] = u16::from(sectors);
        put_text(&mut w[10..20], &self.serial);
        w[20] = 3;
        w[21] = 512;
        w[22] = 4;
        put_text(&mut w[23..27], "1.0");
        put_text(&mut w[27..47], &self.model);
        w[47] = 0x8000 | u16::from(MAX_MULTIPLE);
        w[48] = 1;
        // IORDY, LBA, DMA.
        w[49] = 0x0b00;
        w[50] = 0x4000;
        w[51] = 0x0200;
        w[52] = 0x0200;
        w[53] = 7;
        let current_heads = u64::from(self.state.heads.max(1));
        let current_sectors = u64::from(self.state.sectors.max(1));
        let current_cylinders = (total / (current_heads * current_sectors)).min(65_535);
        w[54] = current_cylinders as u16;
        w[55] = current_heads as u16;
        w[56] = current_sectors as u16;
        put_u32(&mut w, 57, (current_cylinders * current_heads * current_sectors) as u32);
        w[59] = if self.state.multiple != 0 { 0x0100 | u16::from(self.state.multiple) } else { 0 };
        put_u32(&mut w, 60, total.min(0x0fff_ffff) as u32);
        put_transfer_modes(&mut w, self.state.mode);
        w[80] = 0x00f0;
        w[81] = 0x0016;
        // Write cache, look-ahead, NOP-less; FLUSH CACHE, FLUSH CACHE EXT and LBA48.
        w[82] = 1 << 14 | 1 << 13 | 1 << 12 | 1 << 6 | 1 << 5 | 1 << 3;
        w[83] = 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10;
        w[84] = 1 << 14;
        w[85] = 1 << 14
            | 1 << 13
            | 1 << 12
            | u16::from(self.state.look_ahead) << 6
            | u16::from(self.state.write_cache) << 5
            | 1 << 3;
        w[86] = 1 << 13 | 1 << 12 | 1 << 10;
        w[87] = 1 << 14;
        w[93] = 0x6001;
        w[100] = total as u16;
        w[101] = (total >> 16) as u16;
        w[102] = (total >> 32) as u16;
        finish(&w)
    }
}

/// Words 62 to 68 and 88, shared by disks and CD-ROM drives.
pub(super) fn put_transfer_modes(w: &mut [u16; 256], mode: u8) {
    w[63] = 0x0007;
    w[64] = 0x0003;
    w[65] = 120;
    w[66] = 120;
    w[67] = 120;
    w[68] = 120;
    w[88] = 0x003f;
    let selected = 0x100u16.checked_shl(u32::from(mode & 7)).unwrap_or(0);
    match mode >> 3 {
        4 => w[63] |= selected & 0x0700,
        8 => w[88] |= selected & 0x3f00,
        _ => {}
    }
}

fn put_u32(w: &mut [u16; 256], at: usize, value: u32) {
    w[at] = value as u16;
    w[at + 1] = (value >> 16) as u16;
}

/// Text in ATA strings: padded with blanks, the first character in the high byte.
pub(super) fn put_text(words: &mut [u16], text: &str) {
    let mut bytes = text.bytes().chain(std::iter::repeat(b' '));
    for word in words {
        let high = bytes.next().unwrap_or(b' ');
        let low = bytes.next().unwrap_or(b' ');
        *word = u16::from(high) << 8 | u16::from(low);
    }
}

/// Words to bytes, with the checksum in word 255.
pub(super) fn finish(w: &[u16; 256]) -> Vec<u8> {
    let mut bytes: Vec<u8> = w.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes[510] = 0xa5;
    let sum = bytes[..511].iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
    bytes[511] = sum.wrapping_neg();
    bytes
}
