//! What the bytes of an image file are kept in.

use std::fs::File;
use std::io;

/// Bytes with positions, as an image format needs them: a file, or memory.
///
/// What was written is there for later reads at once, and survives a killed process; only
/// [`Backing::sync`] makes it survive a power failure.
pub trait Backing: Send {
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills `buf` from `offset`; bytes behind the end are zeros.
    ///
    /// # Errors
    /// When the host cannot read.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Stores `data` at `offset`; the end moves when it must, and a gap reads as zeros.
    ///
    /// # Errors
    /// When the host cannot write.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts off or adds zeros.
    ///
    /// # Errors
    /// When the host cannot.
    fn set_len(&mut self, length: u64) -> io::Result<()>;
    /// All that was written before will be there after a power failure.
    ///
    /// # Errors
    /// When the host cannot promise that.
    fn sync(&mut self) -> io::Result<()>;
}

/// What becomes of writes on their way to the host's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// The host caches; a flush by the guest reaches the disk.
    #[default]
    Writeback,
    /// Each write reaches the disk before the guest hears of its end.
    Writethrough,
    /// As write-back, past the host's page cache.
    None,
    /// As write-through, past the host's page cache.
    Directsync,
    /// Flushes are ignored: for images that may be lost.
    Unsafe,
}

impl Cache {
    /// Name on the command line.
    pub const NAMES: [(&'static str, Cache); 5] = [
        ("writeback", Cache::Writeback),
        ("writethrough", Cache::Writethrough),
        ("none", Cache::None),
        ("directsync", Cache::Directsync),
        ("unsafe", Cache::Unsafe),
    ];
    /// The mode called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Cache> {
        Cache::NAMES.iter().find(|(known, _)| *known == name).map(|(_, cache)| *cache)
    }
    /// Whether every write is followed by a flush.
    pub(super) fn writes_through(self) -> bool {
        matches!(self, Cache::Writethrough | Cache::Directsync)
    }
    pub(super) fn is_direct(self) -> bool {
        matches!(self, Cache::None | Cache::Directsync)
    }
}

/// Position and length that file systems want where the page cache is left out.
const ALIGN: usize = 4096;

/// A file.
#[derive(Debug)]
pub(super) struct FileBacking {
    file: File,
    length: u64,
    syncs: bool,
    /// Where the page cache is left out: a buffer that holds an aligned window.
    bounce: Option<Vec<u8>>,
}

impl FileBacking {
    pub fn new(file: File, length: u64, cache: Cache) -> FileBacking {
        FileBacking {
            file,
            length,
            syncs: cache != Cache::Unsafe,
            bounce: cache.is_direct().then(|| vec![0; (64 << 10) + 2 * ALIGN]),
        }
    }
}

#[cfg(unix)]
fn read_some(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}
#[cfg(unix)]
fn write_some(file: &File, offset: u64, data: &[u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, data, offset)
}
#[cfg(not(unix))]
fn read_some(mut file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    use std::io::{Read, Seek};
    file.seek(io::SeekFrom::Start(offset))?;
    file.read(buf)
}
#[cfg(not(unix))]
fn write_some(mut file: &File, offset: u64, data: &[u8]) -> io::Result<usize> {
    use std::io::{Seek, Write};
    file.seek(io::SeekFrom::Start(offset))?;
    file.write(data)
}

fn read_full(file: &File, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match read_some(file, offset, buf) {
            Ok(0) => {
                buf.fill(0);
                return Ok(());
            }
            Ok(n) => {
                offset += n as u64;
                buf = buf.get_mut(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_full(file: &File, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match write_some(file, offset, data) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                offset += n as u64;
                data = data.get(n..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The part of `bounce` that begins at an aligned address.
fn aligned(bounce: &mut [u8]) -> &mut [u8] {
    let start = bounce.as_ptr().align_offset(ALIGN).min(bounce.len());
    let room = (bounce.len() - start) & !(ALIGN - 1);
    &mut bounce[start..start + room]
}

impl Backing for FileBacking {
    fn len(&self) -> u64 {
        self.length
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let Some(bounce) = &mut self.bounce else { return read_full(&self.file, offset, buf) };
        let window = aligned(bounce);
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let inside = (at % ALIGN as u64) as usize;
            let n = (window.len() - inside).min(buf.len() - done);
            let whole = (inside + n).next_multiple_of(ALIGN);
            read_full(&self.file, at - inside as u64, &mut window[..whole])?;
            buf[done..done + n].copy_from_slice(&window[inside..inside + n]);
            done += n;
        }
        Ok(())
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(data.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        let Some(bounce) = &mut self.bounce else {
            write_full(&self.file, offset, data)?;
            self.length = self.length.max(end);
            return Ok(());
        };
        let window = aligned(bounce);
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let inside = (at % ALIGN as u64) as usize;
            let n = (window.len() - inside).min(data.len() - done);
            let (start, whole) = (at - inside as u64, (inside + n).next_multiple_of(ALIGN));
            if inside != 0 || n != whole {
                read_full(&self.file, start, &mut window[..whole])?;
            }
            window[inside..inside + n].copy_from_slice(&data[done..done + n]);
            write_full(&self.file, start, &window[..whole])?;
            done += n;
            let length = self.length.max(at + n as u64);
            if start + whole as u64 > length {
                self.file.set_len(length)?;
            }
            self.length = length;
        }
        Ok(())
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.length = length;
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        if self.syncs { self.file.sync_data() } else { Ok(()) }
    }
}

/// Bytes in memory.
impl Backing for Vec<u8> {
    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(Vec::len(self));
        let held = buf.len().min(Vec::len(self) - start);
        buf[..held].copy_from_slice(&self[start..start + held]);
        buf[held..].fill(0);
        Ok(())
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(data.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        // Nothing that belongs into memory is larger; a wild offset must not take all of it.
        if end > 1 << 32 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if end > Vec::len(self) {
            self.resize(end, 0);
        }
        self[start..end].copy_from_slice(data);
        Ok(())
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.resize(usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?, 0);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_page_cache_every_byte_arrives() {
        let file = tempfile::tempfile().unwrap();
        // Any file system takes aligned accesses; whether the cache is left out is its business.
        let mut direct = FileBacking::new(file, 0, Cache::None);
        let mut model = Vec::new();
        let mut state = 1u64;
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (offset, length) = (state >> 40 & 0x3_ffff, (state >> 20 & 0x1_ffff) as usize);
            let data = vec![(state >> 8) as u8; length];
            direct.write_at(offset, &data).unwrap();
            model.write_at(offset, &data).unwrap();
        }
        let mut all = vec![1; model.len() + 10];
        direct.read_at(0, &mut all).unwrap();
        assert_eq!(direct.len(), Backing::len(&model));
        model.resize(all.len(), 0);
        assert!(all == model);
    }
}
