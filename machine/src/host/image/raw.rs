//! Raw images: the bytes of the medium and nothing else.

use super::file::Backing;
use super::{Format, check_range};
use devices::storage::{Storage, StorageError};

/// A raw image.
pub struct RawImage {
    file: Box<dyn Backing>,
    length: u64,
    read_only: bool,
    through: bool,
    /// Nobody said that it is raw: it must not come to look like another format.
    guarded: bool,
}

impl RawImage {
    /// All of `file`, or its first `length` bytes.
    #[must_use]
    pub fn new(file: Box<dyn Backing>, length: Option<u64>, read_only: bool) -> RawImage {
        let length = length.unwrap_or(u64::MAX).min(file.len());
        RawImage { file, length, read_only, through: false, guarded: false }
    }
    /// Makes every write wait for its flush.
    pub fn set_writethrough(&mut self, through: bool) {
        self.through = through;
    }
    /// Refuses writes after which the beginning would be taken for another format: a guest must not
    /// choose what its disk is opened as next time.
    pub fn set_guarded(&mut self, guarded: bool) {
        self.guarded = guarded;
    }

    /// Cuts off or adds zeros.
    ///
    /// # Errors
    /// When the host cannot.
    pub fn set_len(&mut self, length: u64) -> std::io::Result<()> {
        self.file.set_len(length)?;
        self.length = length;
        self.file.sync()
    }

    fn disguises(&mut self, offset: u64, data: &[u8]) -> bool {
        let mut head = vec![0; Format::HEAD.min(self.length) as usize];
        if offset >= head.len() as u64 || self.file.read_at(0, &mut head).is_err() {
            return false;
        }
        let at = offset as usize;
        let n = data.len().min(head.len() - at);
        head[at..at + n].copy_from_slice(&data[..n]);
        Format::of_head(&head).is_some()
    }
}

impl Storage for RawImage {
    fn len(&self) -> u64 {
        self.length
    }
    fn read_only(&self) -> bool {
        self.read_only
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        check_range(self.length, offset, buf.len())?;
        self.file.read_at(offset, buf).map_err(|_| StorageError::Host)
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError> {
        check_range(self.length, offset, data.len())?;
        if self.read_only {
            return Err(StorageError::ReadOnly);
        }
        if self.guarded && offset < Format::HEAD && self.disguises(offset, data) {
            return Err(StorageError::Host);
        }
        self.file.write_at(offset, data).map_err(|_| StorageError::Host)?;
        if self.through { self.flush() } else { Ok(()) }
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        if self.read_only { Ok(()) } else { self.file.sync().map_err(|_| StorageError::Host) }
    }
}
