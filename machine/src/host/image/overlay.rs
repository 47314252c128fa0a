//! Writes that are kept apart from the medium and forgotten.

use super::check_range;
use super::file::{Backing, Cache, FileBacking};
use devices::storage::{Storage, StorageError};
use std::collections::BTreeMap;

const CLUSTER: u64 = 4096;
/// Clusters that stay in memory; what is written beyond goes to a nameless temporary file.
const IN_MEMORY: usize = (256 << 20) / CLUSTER as usize;

enum Slot {
    Memory(Box<[u8; CLUSTER as usize]>),
    /// Where it is in the temporary file.
    Spilled(u64),
}

/// A medium whose writes stay in memory, or in a temporary file when there are many, over one that
/// is only read.
pub struct Overlay<S> {
    base: S,
    clusters: BTreeMap<u64, Slot>,
    in_memory: usize,
    spill: Option<FileBacking>,
}

impl<S: Storage> Overlay<S> {
    /// Nothing written yet.
    #[must_use]
    pub fn new(base: S) -> Overlay<S> {
        Overlay { base, clusters: BTreeMap::new(), in_memory: IN_MEMORY, spill: None }
    }

    /// The medium below.
    pub(crate) fn base(&self) -> &S {
        &self.base
    }
    /// The medium below.
    pub(crate) fn base_mut(&mut self) -> &mut S {
        &mut self.base
    }

    /// Takes in a cluster that was not written before.
    fn add(&mut self, number: u64, bytes: Box<[u8; CLUSTER as usize]>) -> Result<(), StorageError> {
        let slot = if self.in_memory > 0 {
            self.in_memory -= 1;
            Slot::Memory(bytes)
        } else {
            if self.spill.is_none() {
                let file = tempfile::tempfile().map_err(|_| StorageError::Host)?;
                self.spill = Some(FileBacking::new(file, 0, Cache::Unsafe));
            }
            let spill = self.spill.as_mut().ok_or(StorageError::Host)?;
            let at = spill.len();
            spill.write_at(at, &*bytes).map_err(|_| StorageError::Host)?;
            Slot::Spilled(at)
        };
        self.clusters.insert(number, slot);
        Ok(())
    }
}

impl<S: Storage> Storage for Overlay<S> {
    fn len(&self) -> u64 {
        self.base.len()
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        check_range(self.base.len(), offset, buf.len())?;
        self.base.read(offset, buf)?;
        if buf.is_empty() {
            return Ok(());
        }
        let end = offset + buf.len() as u64;
        for (number, slot) in self.clusters.range(offset / CLUSTER..=(end - 1) / CLUSTER) {
            let start = number * CLUSTER;
            let (from, to) = (start.max(offset), (start + CLUSTER).min(end));
            let target = &mut buf[(from - offset) as usize..(to - offset) as usize];
            match slot {
                Slot::Memory(bytes) => target.copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]),
                Slot::Spilled(at) => {
                    let spill = self.spill.as_mut().ok_or(StorageError::Host)?;
                    spill.read_at(at + (from - start), target).map_err(|_| StorageError::Host)?;
                }
            }
        }
        Ok(())
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError> {
        check_range(self.base.len(), offset, data.len())?;
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (number, inside) = (at / CLUSTER, (at % CLUSTER) as usize);
            let n = (CLUSTER as usize - inside).min(data.len() - done);
            let part = &data[done..done + n];
            match self.clusters.get_mut(&number) {
                Some(Slot::Memory(bytes)) => bytes[inside..inside + n].copy_from_slice(part),
                Some(Slot::Spilled(at)) => {
                    let at = *at + inside as u64;
                    let spill = self.spill.as_mut().ok_or(StorageError::Host)?;
                    spill.write_at(at, part).map_err(|_| StorageError::Host)?;
                }
                None => {
                    let mut fresh = Box::new([0; CLUSTER as usize]);
                    let whole = CLUSTER.min(self.base.len() - number * CLUSTER) as usize;
                    if n < whole {
                        self.base.read(number * CLUSTER, &mut fresh[..whole])?;
                    }
                    fresh[inside..inside + n].copy_from_slice(part);
                    self.add(number, fresh)?;
                }
            }
            done += n;
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::storage::MemoryStorage;

    #[test]
    fn overlay_keeps_writes_to_itself() {
        for in_memory in [IN_MEMORY, 1, 0] {
            let base = MemoryStorage::read_only((0..=255).cycle().take(10_000).collect());
            let mut overlay = Overlay { in_memory, ..Overlay::new(base) };
            overlay.write(4090, &[9; 20]).unwrap();
            overlay.write(9990, &[8; 10]).unwrap();
            overlay.write(4091, &[9; 2]).unwrap();
            let mut buf = [0; 24];
            overlay.read(4088, &mut buf).unwrap();
            assert_eq!(buf[..3], [248, 249, 9]);
            assert_eq!(buf[21..], [9, 14, 15]);
            overlay.read(9989, &mut buf[..11]).unwrap();
            assert_eq!(buf[..2], [5, 8]);
            assert_eq!(overlay.write(9999, &[0; 2]), Err(StorageError::OutOfRange));
            assert_eq!(overlay.read(u64::MAX, &mut buf), Err(StorageError::OutOfRange));
        }
    }
}
