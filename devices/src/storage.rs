//! What a drive keeps its data in.
//!
//! The data of a drive lives outside of the saved state of a device: a snapshot of a machine
//! saves its media on its own terms.

/// Why a medium could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The range does not lie within the medium.
    #[error("the range lies outside of the medium")]
    OutOfRange,
    /// The medium cannot be written.
    #[error("the medium is write-protected")]
    ReadOnly,
    /// The host failed to read or write.
    #[error("the host could not read or write the medium")]
    Host,
}

/// A medium of fixed size: a hard disk, a floppy, a compact disc.
///
/// Drives call this from within one access of the guest, so an implementation answers without
/// waiting for anything but the host's file system. An error becomes the error status of the
/// drive that met it.
pub trait Storage: Send {
    /// Size in bytes.
    fn len(&self) -> u64;
    /// Whether the medium has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether writes are refused.
    fn read_only(&self) -> bool;
    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// When the range is not wholly inside, or the host fails. `buf` may then hold anything.
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError>;
    /// Stores `data` at `offset`.
    ///
    /// # Errors
    /// When the range is not wholly inside, the medium is read-only, or the host fails.
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError>;
    /// Makes all earlier writes durable.
    ///
    /// # Errors
    /// When the host fails.
    fn flush(&mut self) -> Result<(), StorageError>;
}

/// A medium in host memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    bytes: Vec<u8>,
    read_only: bool,
}

impl MemoryStorage {
    /// A writable medium that holds `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> MemoryStorage {
        MemoryStorage { bytes, read_only: false }
    }
    /// A write-protected medium that holds `bytes`.
    #[must_use]
    pub fn read_only(bytes: Vec<u8>) -> MemoryStorage {
        MemoryStorage { bytes, read_only: true }
    }
    /// The contents.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    fn range(&self, offset: u64, len: usize) -> Result<std::ops::Range<usize>, StorageError> {
        let start = usize::try_from(offset).map_err(|_| StorageError::OutOfRange)?;
        let end = start.checked_add(len).ok_or(StorageError::OutOfRange)?;
        if end > self.bytes.len() { Err(StorageError::OutOfRange) } else { Ok(start..end) }
    }
}

impl Storage for MemoryStorage {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_only(&self) -> bool {
        self.read_only
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        let range = self.range(offset, buf.len())?;
        buf.copy_from_slice(self.bytes.get(range).ok_or(StorageError::OutOfRange)?);
        Ok(())
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError> {
        let range = self.range(offset, data.len())?;
        if self.read_only {
            return Err(StorageError::ReadOnly);
        }
        self.bytes.get_mut(range).ok_or(StorageError::OutOfRange)?.copy_from_slice(data);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        let mut s = MemoryStorage::new(vec![1, 2, 3, 4]);
        let mut two = [0; 2];
        assert_eq!(s.read(2, &mut two), Ok(()));
        assert_eq!(two, [3, 4]);
        assert_eq!(s.read(3, &mut two), Err(StorageError::OutOfRange));
        assert_eq!(s.read(u64::MAX, &mut two), Err(StorageError::OutOfRange));
        assert_eq!(s.write(0, &[9]), Ok(()));
        assert_eq!(MemoryStorage::read_only(vec![0]).write(0, &[9]), Err(StorageError::ReadOnly));
    }
}
