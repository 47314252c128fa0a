//! VirtualBox disk images, dynamic and fixed; read only.

use super::file::Backing;
use super::{FormatError, check_range};
use devices::storage::{Storage, StorageError};

/// At offset 40h.
pub(super) const SIGNATURE: [u8; 4] = [0x7f, 0x10, 0xda, 0xbe];
/// Entries of the block map that are accepted: 2 TiB in blocks of 1 MiB, and then some.
const MOST_BLOCKS: u32 = 16 << 20;

/// A VDI image.
pub struct Vdi {
    file: Box<dyn Backing>,
    size: u64,
    data: u64,
    block: u64,
    /// Where each block is in the file, in blocks; FFFFFFFFh and FFFFFFFEh are zeros.
    map: Vec<u32>,
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

impl Vdi {
    /// Opens an image.
    ///
    /// # Errors
    /// When it is damaged, or a difference to another image.
    pub fn open(mut file: Box<dyn Backing>) -> Result<Vdi, FormatError> {
        let damaged = |field, value: u64, problem| Err(FormatError::Damaged { field, value, problem });
        let mut head = [0; 512];
        file.read_at(0, &mut head)?;
        if head.get(0x40..0x44) != Some(&SIGNATURE[..]) {
            return damaged("signature", le32(&head, 0x40).into(), "is not that of VDI");
        }
        let version = le32(&head, 0x44);
        if version >> 16 != 1 {
            return Err(FormatError::Unsupported(format!(
                "version {}.{} is not supported",
                version >> 16,
                version & 0xffff
            )));
        }
        let kind = le32(&head, 0x4c);
        if !(1..=2).contains(&kind) {
            return Err(FormatError::Unsupported(format!(
                "images of type {kind} (differences to another image) are not supported; merge it first"
            )));
        }
        let map_at = u64::from(le32(&head, 0x154));
        let data = u64::from(le32(&head, 0x158));
        let size = u64::from(le32(&head, 0x170)) | u64::from(le32(&head, 0x174)) << 32;
        let block = u64::from(le32(&head, 0x178));
        let extra = le32(&head, 0x17c);
        let blocks = le32(&head, 0x180);
        if le32(&head, 0x168) != 512 {
            return damaged("sector size", le32(&head, 0x168).into(), "must be 512");
        }
        if !block.is_power_of_two() || !(4096..=256 << 20).contains(&block) {
            return damaged("block size", block, "must be a power of two from 4 KiB to 256 MiB");
        }
        if extra != 0 {
            return Err(FormatError::Unsupported("images with extra data in each block are not supported".into()));
        }
        if size.div_ceil(block) > u64::from(blocks) {
            return damaged("blocks", blocks.into(), "too few for the size of the disk");
        }
        if blocks > MOST_BLOCKS || map_at.saturating_add(u64::from(blocks) * 4) > file.len() {
            return damaged("block map", map_at, "does not end within the file; is it truncated?");
        }
        let mut bytes = vec![0; blocks as usize * 4];
        file.read_at(map_at, &mut bytes)?;
        let map: Vec<u32> = bytes.chunks_exact(4).map(|entry| le32(entry, 0)).collect();
        for (number, entry) in map.iter().take(size.div_ceil(block) as usize).enumerate() {
            // The disk's last block may be there as far as the disk goes.
            let used = block.min(size - number as u64 * block);
            if *entry < 0xffff_fffe && data + u64::from(*entry) * block + used > file.len() {
                return damaged(
                    "block map entry",
                    (*entry).into(),
                    "points behind the end of the file; is it truncated?",
                );
            }
        }
        Ok(Vdi { file, size, data, block, map })
    }
}

impl Storage for Vdi {
    fn len(&self) -> u64 {
        self.size
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read(&mut self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), StorageError> {
        check_range(self.size, offset, buf.len())?;
        while !buf.is_empty() {
            let inside = offset % self.block;
            let n = usize::try_from(self.block - inside).unwrap_or(usize::MAX).min(buf.len());
            let (part, rest) = buf.split_at_mut(n);
            match self.map.get((offset / self.block) as usize).copied() {
                Some(entry) if entry < 0xffff_fffe => {
                    let at = self.data + u64::from(entry) * self.block + inside;
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
