//! Raw disk images.

use crate::loader::FLOPPY_KIB;
use devices::storage::{Storage, StorageError};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How an image is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Writes go to the file.
    #[default]
    Write,
    /// Writes are refused.
    ReadOnly,
    /// Writes go to memory and are forgotten.
    Snapshot,
}

/// Why an image cannot be used. Every text names the file and the mend.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be opened.
    #[error("{}: cannot be opened {how}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// For what.
        how: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Not a regular file or block device.
    #[error("{}: is a {what}, not an image file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Nothing in it.
    #[error("{}: the image is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The size fits no such medium.
    #[error("{}: {size} bytes: {problem}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Another process has it.
    #[error("{}: another machine is using this image; stop it, or open the image with `--snapshot`", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A format that is not raw.
    #[error("{}: this is a {format} image, and only raw images are supported; convert it with `qemu-img convert -O raw`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: &'static str,
    },
}

/// A raw image: the bytes of the medium and nothing else.
#[derive(Debug)]
pub struct RawImage {
    file: File,
    length: u64,
    read_only: bool,
    position: Option<u64>,
}

impl RawImage {
    fn seek(&mut self, offset: u64) -> Result<(), StorageError> {
        if self.position != Some(offset) {
            self.position = None;
            self.file.seek(SeekFrom::Start(offset)).map_err(|_| StorageError::Host)?;
            self.position = Some(offset);
        }
        Ok(())
    }
    fn check(&self, offset: u64, length: usize) -> Result<(), StorageError> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(StorageError::OutOfRange),
        }
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
        self.check(offset, buf.len())?;
        self.seek(offset)?;
        let result = self.file.read_exact(buf);
        self.position = result.is_ok().then_some(offset + buf.len() as u64);
        result.map_err(|_| StorageError::Host)
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError> {
        self.check(offset, data.len())?;
        if self.read_only {
            return Err(StorageError::ReadOnly);
        }
        self.seek(offset)?;
        let result = self.file.write_all(data);
        self.position = result.is_ok().then_some(offset + data.len() as u64);
        result.map_err(|_| StorageError::Host)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        if self.read_only { Ok(()) } else { self.file.sync_data().map_err(|_| StorageError::Host) }
    }
}

const CLUSTER: u64 = 4096;

/// A medium whose writes stay in memory, over one that is only read.
pub struct Overlay<S> {
    base: S,
    clusters: BTreeMap<u64, Box<[u8; CLUSTER as usize]>>,
}

impl<S: Storage> Overlay<S> {
    /// Nothing written yet.
    #[must_use]
    pub fn new(base: S) -> Overlay<S> {
        Overlay { base, clusters: BTreeMap::new() }
    }
    fn check(&self, offset: u64, length: usize) -> Result<(), StorageError> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.base.len() => Ok(()),
            _ => Err(StorageError::OutOfRange),
        }
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
        self.check(offset, buf.len())?;
        self.base.read(offset, buf)?;
        if buf.is_empty() {
            return Ok(());
        }
        let end = offset + buf.len() as u64;
        for (number, cluster) in self.clusters.range(offset / CLUSTER..=(end - 1) / CLUSTER) {
            let start = number * CLUSTER;
            let (from, to) = (start.max(offset), (start + CLUSTER).min(end));
            buf[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&cluster[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError> {
        self.check(offset, data.len())?;
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (number, inside) = (at / CLUSTER, (at % CLUSTER) as usize);
            let n = (CLUSTER as usize - inside).min(data.len() - done);
            if !self.clusters.contains_key(&number) {
                let mut fresh = Box::new([0; CLUSTER as usize]);
                let whole = CLUSTER.min(self.base.len() - number * CLUSTER) as usize;
                if n < whole {
                    self.base.read(number * CLUSTER, &mut fresh[..whole])?;
                }
                self.clusters.insert(number, fresh);
            }
            if let Some(cluster) = self.clusters.get_mut(&number) {
                cluster[inside..inside + n].copy_from_slice(&data[done..done + n]);
            }
            done += n;
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

fn format_of(head: &[u8]) -> Option<&'static str> {
    match head {
        [b'Q', b'F', b'I', 0xfb, ..] => Some("qcow2"),
        [b'K', b'D', b'M', b'V', ..] => Some("VMDK"),
        _ if head.starts_with(b"# Disk DescriptorFile") => Some("VMDK descriptor"),
        _ if head.starts_with(b"conectix") => Some("VHD"),
        _ if head.starts_with(b"vhdxfile") => Some("VHDX"),
        _ if head.get(0x40..0x44) == Some(&[0x7f, 0x10, 0xda, 0xbe]) => Some("VDI"),
        _ => None,
    }
}

fn open_raw(path: &Path, mode: Mode) -> Result<RawImage, ImageError> {
    let how = if mode == Mode::Write { "for reading and writing" } else { "for reading" };
    let open_error = |source| ImageError::Open { path: path.to_owned(), how, source };
    let metadata = std::fs::metadata(path).map_err(open_error)?;
    if metadata.is_dir() {
        return Err(ImageError::NotAFile { path: path.to_owned(), what: "directory" });
    }
    let mut file = OpenOptions::new().read(true).write(mode == Mode::Write).open(path).map_err(open_error)?;
    let lock = if mode == Mode::Write { file.try_lock() } else { file.try_lock_shared() };
    match lock {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) if mode == Mode::Snapshot => {
            // A reader of a moving image sees torn data: refuse that, too.
            return Err(ImageError::Locked { path: path.to_owned() });
        }
        Err(TryLockError::WouldBlock) => return Err(ImageError::Locked { path: path.to_owned() }),
        // File systems without locks: nothing to protect with.
        Err(TryLockError::Error(_)) => {}
    }
    let length = file.seek(SeekFrom::End(0)).map_err(open_error)?;
    file.seek(SeekFrom::Start(0)).map_err(open_error)?;
    if length == 0 {
        return Err(ImageError::Empty { path: path.to_owned() });
    }
    let mut head = Vec::new();
    (&mut file).take(512).read_to_end(&mut head).map_err(open_error)?;
    if let Some(format) = format_of(&head) {
        return Err(ImageError::Format { path: path.to_owned(), format });
    }
    Ok(RawImage { file, length, read_only: mode == Mode::ReadOnly, position: None })
}

fn finish(image: RawImage, mode: Mode) -> Box<dyn Storage> {
    if mode == Mode::Snapshot { Box::new(Overlay::new(image)) } else { Box::new(image) }
}

fn size_error(path: &Path, size: u64, problem: impl Into<String>) -> ImageError {
    ImageError::Size { path: path.to_owned(), size, problem: problem.into() }
}

/// Opens a hard disk image: whole sectors of 512 bytes.
///
/// # Errors
/// See [`ImageError`].
pub fn open_disk(path: &Path, mode: Mode) -> Result<Box<dyn Storage>, ImageError> {
    let image = open_raw(path, mode)?;
    let size = image.length;
    if size % 512 != 0 {
        return Err(size_error(
            path,
            size,
            "a hard disk image has whole sectors of 512 bytes; is it truncated? Pad it with `truncate -s %512`",
        ));
    }
    if size / 512 > 1 << 48 {
        return Err(size_error(path, size, "an IDE disk has at most 2^48 sectors"));
    }
    Ok(finish(image, mode))
}

/// Opens a floppy image of one of the usual sizes. A shorter one that starts with a boot sector
/// is taken as the beginning of a 1440 KiB disk, whose rest stays empty and is not kept.
///
/// # Errors
/// See [`ImageError`].
pub fn open_floppy(path: &Path, mode: Mode) -> Result<Box<dyn Storage>, ImageError> {
    let mut image = open_raw(path, mode)?;
    let size = image.length;
    if size % 1024 == 0 && FLOPPY_KIB.contains(&(size / 1024)) {
        return Ok(finish(image, mode));
    }
    if size > 2880 * 1024 {
        return Err(size_error(path, size, "larger than the largest floppy disk (2880 KiB); is it a `--disk`?"));
    }
    let mut bytes = vec![0; size as usize];
    image.read(0, &mut bytes).map_err(|_| {
        let source = io::Error::other("the file became shorter while it was read");
        ImageError::Open { path: path.to_owned(), how: "for reading", source }
    })?;
    if bytes.get(510..512) != Some(&[0x55, 0xaa]) {
        let sizes: Vec<String> = FLOPPY_KIB.iter().map(u64::to_string).collect();
        return Err(size_error(
            path,
            size,
            format!("no floppy disk has this size; right are {} KiB. Is it truncated?", sizes.join(", ")),
        ));
    }
    let capacity = if size <= 1440 * 1024 { 1440 * 1024 } else { 2880 * 1024 };
    bytes.resize(capacity, 0);
    if mode == Mode::ReadOnly {
        return Ok(Box::new(devices::storage::MemoryStorage::read_only(bytes)));
    }
    Ok(Box::new(Overlay::new(devices::storage::MemoryStorage::read_only(bytes))))
}

/// Opens a compact disc image: whole sectors of 2048 bytes, always read-only.
///
/// # Errors
/// See [`ImageError`].
pub fn open_cdrom(path: &Path) -> Result<Box<dyn Storage>, ImageError> {
    let image = open_raw(path, Mode::ReadOnly)?;
    let size = image.length;
    if size % 2048 != 0 {
        let problem = if size % 2352 == 0 {
            "this looks like a raw image with 2352-byte sectors; convert it to an ISO image with 2048-byte sectors"
        } else {
            "a disc image has whole sectors of 2048 bytes; is it truncated?"
        };
        return Err(size_error(path, size, problem));
    }
    Ok(Box::new(image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devices::storage::MemoryStorage;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn overlay_keeps_writes_to_itself() {
        let mut overlay = Overlay::new(MemoryStorage::read_only((0..=255).cycle().take(10_000).collect()));
        overlay.write(4090, &[9; 20]).unwrap();
        overlay.write(9990, &[8; 10]).unwrap();
        let mut buf = [0; 24];
        overlay.read(4088, &mut buf).unwrap();
        assert_eq!(buf[..3], [248, 249, 9]);
        assert_eq!(buf[21..], [9, 14, 15]);
        overlay.read(9989, &mut buf[..11]).unwrap();
        assert_eq!(buf[..2], [5, 8]);
        assert_eq!(overlay.write(9999, &[0; 2]), Err(StorageError::OutOfRange));
        assert_eq!(overlay.read(u64::MAX, &mut buf), Err(StorageError::OutOfRange));
    }

    #[test]
    fn writes_reach_the_file_and_snapshots_do_not() {
        let image = file(&[0; 1024]);
        let mut disk = open_disk(image.path(), Mode::Write).unwrap();
        disk.write(512, &[7; 4]).unwrap();
        disk.flush().unwrap();
        drop(disk);
        let mut disk = open_disk(image.path(), Mode::Snapshot).unwrap();
        disk.write(0, &[6]).unwrap();
        drop(disk);
        let bytes = std::fs::read(image.path()).unwrap();
        assert_eq!((bytes[0], bytes[512]), (0, 7));
        let mut disk = open_disk(image.path(), Mode::ReadOnly).unwrap();
        assert_eq!(disk.write(0, &[1]), Err(StorageError::ReadOnly));
    }

    #[test]
    fn two_writers_are_kept_apart() {
        let image = file(&[0; 1024]);
        let first = open_disk(image.path(), Mode::Write).unwrap();
        assert!(matches!(open_disk(image.path(), Mode::Write), Err(ImageError::Locked { .. })));
        drop(first);
        assert!(open_disk(image.path(), Mode::Write).is_ok());
    }

    #[test]
    fn odd_images_are_refused() {
        let check = |bytes: &[u8]| open_disk(file(bytes).path(), Mode::Snapshot).err().unwrap().to_string();
        assert!(check(&[]).contains("empty"));
        assert!(check(&[0; 513]).contains("513 bytes"));
        assert!(check(b"QFI\xfb").contains("qcow2"));
        assert!(open_floppy(file(&[0; 1000]).path(), Mode::Snapshot).is_err());
        assert!(open_cdrom(file(&[0; 2352 * 3]).path()).err().unwrap().to_string().contains("2352"));
        let mut sector = vec![0; 700];
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(open_floppy(file(&sector).path(), Mode::Snapshot).unwrap().len(), 1_474_560);
        assert!(open_disk("/nonexistent/x.img".as_ref(), Mode::Write).is_err());
        assert!(open_disk("/tmp".as_ref(), Mode::Write).is_err());
    }
}
