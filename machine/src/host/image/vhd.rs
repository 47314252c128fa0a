//! Virtual PC's disk images (VHD), fixed and dynamic; read only.

use super::file::Backing;
use super::{FormatError, check_range};
use devices::storage::{Storage, StorageError};

/// First bytes of the footer.
pub(super) const COOKIE: &[u8] = b"conectix";
const FOOTER: u64 = 512;
const MOST_BLOCKS: u32 = 16 << 20;

/// A VHD image.
pub struct Vhd {
    file: Box<dyn Backing>,
    size: u64,
    /// The block table of a dynamic image.
    dynamic: Option<Dynamic>,
}

struct Dynamic {
    block: u64,
    /// Bytes of the bitmap before each block.
    bitmap: u64,
    /// First sector of each block; FFFFFFFFh is none.
    table: Vec<u32>,
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}
fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// Whether a checksum field at `at` fits the bytes: the complement of the sum of all others.
fn sum_fits(bytes: &[u8], at: usize) -> bool {
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = bytes.get(at..at + 4).unwrap_or_default().iter().map(|byte| u32::from(*byte)).sum();
    be32(bytes, at) == !(sum - own)
}

/// Bytes of the disk as a footer gives them.
///
/// Virtual PC and those who write like it mean the geometry, the others the size in bytes.
fn disk_size(footer: &[u8]) -> u64 {
    let size = be64(footer, 48);
    let cylinders = u64::from(be32(footer, 56) >> 16);
    let (heads, sectors) =
        (u64::from(footer.get(58).copied().unwrap_or(0)), u64::from(footer.get(59).copied().unwrap_or(0)));
    let geometry = cylinders * heads * sectors;
    let creator = footer.get(28..32).unwrap_or_default();
    let by_geometry = matches!(creator, b"vpc " | b"qemu");
    if by_geometry && geometry != 0 && geometry != 65_535 * 16 * 255 { geometry * 512 } else { size }
}

/// Whether the file ends in the footer of a fixed image.
pub(super) fn is_fixed(file: &mut dyn Backing) -> bool {
    let mut footer = [0; FOOTER as usize];
    file.len() > FOOTER
        && file.read_at(file.len() - FOOTER, &mut footer).is_ok()
        && footer.starts_with(COOKIE)
        && be32(&footer, 60) == 2
        && sum_fits(&footer, 64)
}

impl Vhd {
    /// Opens an image.
    ///
    /// # Errors
    /// When it is damaged, or a difference to another image.
    pub fn open(mut file: Box<dyn Backing>) -> Result<Vhd, FormatError> {
        let damaged = |field, value: u64, problem| Err(FormatError::Damaged { field, value, problem });
        let mut footer = [0; FOOTER as usize];
        let length = file.len();
        file.read_at(0, &mut footer)?;
        if !footer.starts_with(COOKIE) {
            file.read_at(length.saturating_sub(FOOTER), &mut footer)?;
        }
        if !footer.starts_with(COOKIE) {
            return damaged("footer", length, "there is none at either end of the file; is it truncated?");
        }
        if !sum_fits(&footer, 64) {
            return damaged("footer checksum", be32(&footer, 64).into(), "does not fit");
        }
        let kind = be32(&footer, 60);
        let size = match kind {
            2 => be64(&footer, 48),
            _ => disk_size(&footer),
        };
        if kind == 2 {
            if size > length.saturating_sub(FOOTER) {
                return damaged("current size", size, "larger than the file; is it truncated?");
            }
            return Ok(Vhd { file, size, dynamic: None });
        }
        if kind != 3 {
            return Err(FormatError::Unsupported(format!(
                "images of type {kind} (differences to another image) are not supported; merge it first"
            )));
        }
        let header_at = be64(&footer, 16);
        let mut header = [0; 1024];
        if header_at.saturating_add(1024) > length {
            return damaged("data offset", header_at, "the header does not end within the file; is it truncated?");
        }
        file.read_at(header_at, &mut header)?;
        if !header.starts_with(b"cxsparse") || !sum_fits(&header, 36) {
            return damaged("dynamic header", header_at, "has no signature, or a checksum that does not fit");
        }
        let (table_at, entries, block) = (be64(&header, 16), be32(&header, 28), u64::from(be32(&header, 32)));
        if !block.is_power_of_two() || !(4096..=256 << 20).contains(&block) {
            return damaged("block size", block, "must be a power of two from 4 KiB to 256 MiB");
        }
        if size.div_ceil(block) > u64::from(entries) {
            return damaged("table entries", entries.into(), "too few for the size of the disk");
        }
        if entries > MOST_BLOCKS || table_at.saturating_add(u64::from(entries) * 4) > length {
            return damaged("table offset", table_at, "the block table does not end within the file; is it truncated?");
        }
        let mut bytes = vec![0; entries as usize * 4];
        file.read_at(table_at, &mut bytes)?;
        let table: Vec<u32> = bytes.chunks_exact(4).map(|entry| be32(entry, 0)).collect();
        let bitmap = (block / 512 / 8).next_multiple_of(512);
        for (number, entry) in table.iter().take(size.div_ceil(block) as usize).enumerate() {
            // The disk's last block may be there as far as the disk goes.
            let used = block.min(size - number as u64 * block);
            if *entry != u32::MAX && u64::from(*entry) * 512 + bitmap + used > length {
                return damaged(
                    "block table entry",
                    (*entry).into(),
                    "points behind the end of the file; is it truncated?",
                );
            }
        }
        Ok(Vhd { file, size, dynamic: Some(Dynamic { block, bitmap, table }) })
    }

    /// Looks at what nobody needs to read the image.
    ///
    /// # Errors
    /// When the footer at the end is missing: the first one says all, but something has been cut off.
    pub fn check(&mut self) -> Result<(), FormatError> {
        let mut footer = [0; FOOTER as usize];
        let at = self.file.len().saturating_sub(FOOTER);
        self.file.read_at(at, &mut footer)?;
        if footer.starts_with(COOKIE) && sum_fits(&footer, 64) {
            return Ok(());
        }
        let problem = "there is none at the end of the file, or one whose checksum does not fit; is it truncated?";
        Err(FormatError::Damaged { field: "footer", value: at, problem })
    }

    /// Whether the image is one of fixed size.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.dynamic.is_none()
    }
}

impl Storage for Vhd {
    fn len(&self) -> u64 {
        self.size
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read(&mut self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), StorageError> {
        check_range(self.size, offset, buf.len())?;
        let Some(dynamic) = &self.dynamic else {
            return self.file.read_at(offset, buf).map_err(|_| StorageError::Host);
        };
        while !buf.is_empty() {
            let inside = offset % dynamic.block;
            let n = usize::try_from(dynamic.block - inside).unwrap_or(usize::MAX).min(buf.len());
            let (part, rest) = buf.split_at_mut(n);
            match dynamic.table.get((offset / dynamic.block) as usize).copied() {
                Some(entry) if entry != u32::MAX => {
                    let at = u64::from(entry) * 512 + dynamic.bitmap + inside;
                    self.file.read_at(at, part).map_err(|_| StorageError::Host)?;
                }
                _ => part.fill(0),
            }
            buf = rest;
            offset += n as u64;
        }
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), StorageError> {
        Err(StorageError::ReadOnly)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}
