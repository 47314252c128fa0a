//! Images of disks, discs and floppies in the host's files.
//!
//! | format | |
//! |---|---|
//! | raw | the bytes of the medium |
//! | [`qcow2`] | read and written; backing files, compressed clusters, internal snapshots |
//! | [`vmdk`], [`vdi`], [`vhd`] | read |
//!
//! **What may be opened.** The user names one file. An image can name others: a backing file, or
//! the extents of a VMDK descriptor. Who made the image chose that name, so it is not followed
//! wherever it points. Extents are files of the same folder. A backing file, and its backing file
//! in turn, must lie (after all links are resolved) in the folder of the image that the user
//! named or below it, or in one of the places that [`ImageOptions::backing`] names. It is a regular
//! file and only ever read. When its format is not stated, it is recognised, and may then have no
//! backing file of its own: what a guest wrote to a raw base must not become a file name.
//!
//! **Formats are recognised** by the first bytes when nobody states them. A medium that was taken
//! for raw this way refuses writes after which it would be taken for something else.
//!
//! **Locks.** An image that is written is locked against everybody, one that is read against
//! writers, backing files included; the locks are advisory ones on whole files (`flock`), and
//! end with the process.

pub mod file;
mod overlay;
pub mod qcow2;
mod raw;
pub mod vdi;
pub mod vhd;
pub mod vmdk;

pub use file::{Backing, Cache};
pub use overlay::Overlay;
pub use raw::RawImage;

use super::share::{IsoFolder, ShareError};
use crate::loader::FLOPPY_KIB;
use devices::storage::{Storage, StorageError};
use file::FileBacking;
use qcow2::{BackingName, Qcow2};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use vdi::Vdi;
use vhd::Vhd;
use vmdk::Vmdk;

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

/// Most files in a chain of backing files.
const LONGEST_CHAIN: usize = 64;

/// Format of an image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the medium.
    Raw,
    /// QEMU's.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// VirtualBox's.
    Vdi,
    /// Virtual PC's.
    Vhd,
}

impl Format {
    /// Names on the command line; the first of each format is its own.
    pub const NAMES: [(&'static str, Format); 6] = [
        ("raw", Format::Raw),
        ("qcow2", Format::Qcow2),
        ("vmdk", Format::Vmdk),
        ("vdi", Format::Vdi),
        ("vhd", Format::Vhd),
        ("vpc", Format::Vhd),
    ];
    /// Bytes of a file that tell formats apart.
    pub const HEAD: u64 = 512;

    /// The format called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Format> {
        Format::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Format::NAMES.iter().find(|(_, format)| *format == self).map_or("raw", |(name, _)| name)
    }
    /// The format that the first bytes of a file ([`Format::HEAD`] of them, or all) are the mark
    /// of; none is that of a raw image.
    #[must_use]
    pub fn of_head(head: &[u8]) -> Option<Format> {
        match head {
            _ if head.starts_with(b"QFI\xfb") => Some(Format::Qcow2),
            _ if head.starts_with(vmdk::MAGIC) || head.starts_with(vmdk::DESCRIPTOR) => Some(Format::Vmdk),
            _ if head.starts_with(vhd::COOKIE) => Some(Format::Vhd),
            _ if head.get(0x40..0x44) == Some(&vdi::SIGNATURE) => Some(Format::Vdi),
            _ => None,
        }
    }
}

/// How an image is opened, in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// What becomes of writes.
    pub mode: Mode,
    /// Its format; recognised unless said.
    pub format: Option<Format>,
    /// How writes reach the host's disk.
    pub cache: Cache,
    /// Files and folders from which backing files may be taken, besides the image's own folder.
    pub backing: Vec<PathBuf>,
    /// The internal snapshot to be shown, read-only.
    pub snapshot: Option<String>,
}

impl ImageOptions {
    /// All as usual but for the mode.
    #[must_use]
    pub fn new(mode: Mode) -> ImageOptions {
        ImageOptions { mode, ..ImageOptions::default() }
    }
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
    #[error("{}: another machine {}", path.display(),
        if *is_written { "writes this image; stop it first" } else { "reads this image; stop it, or open the image with `--snapshot`" })]
    Locked {
        /// The file.
        path: PathBuf,
        /// Whether the other one writes it; it can be read otherwise.
        is_written: bool,
    },
    /// The format cannot be used like this, or the image is damaged.
    #[error("{}: {format} image: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: &'static str,
        /// What is wrong.
        problem: FormatError,
    },
    /// A folder cannot be made a medium.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// A new file is in the way of an old one.
    #[error("{}: there is a file of this name already; remove it, or choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

/// What is wrong inside of an image.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A field that cannot be right.
    #[error("{field} is {value:#x}: {problem}")]
    Damaged {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something that is not supported or not allowed, as a sentence.
    #[error("{0}")]
    Unsupported(String),
    /// The host could not read or write.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl FormatError {
    /// For what was refused after an earlier error.
    fn internal() -> FormatError {
        FormatError::Unsupported("the image is not open for writing any more".into())
    }
}

/// Whether `length` bytes at `offset` lie within `size` bytes.
pub(crate) fn check_range(size: u64, offset: u64, length: usize) -> Result<(), StorageError> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(StorageError::OutOfRange),
    }
}

/// An open image.
pub enum Image {
    /// Raw.
    Raw(RawImage),
    /// qcow2.
    Qcow2(Box<Qcow2>),
    /// VMDK.
    Vmdk(Vmdk),
    /// VDI.
    Vdi(Vdi),
    /// VHD.
    Vhd(Vhd),
}

impl Image {
    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Image::Raw(_) => Format::Raw,
            Image::Qcow2(_) => Format::Qcow2,
            Image::Vmdk(_) => Format::Vmdk,
            Image::Vdi(_) => Format::Vdi,
            Image::Vhd(_) => Format::Vhd,
        }
    }
    /// Reads like [`Storage::read`], and tells what was wrong.
    ///
    /// # Errors
    /// Damage, or what the host said.
    pub fn read_or_say(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        match self {
            Image::Qcow2(image) if check_range(image.len(), offset, buf.len()).is_ok() => image.read_range(offset, buf),
            Image::Vmdk(image) => image.read_or_say(offset, buf),
            other => other.storage_mut().read(offset, buf).map_err(|error| {
                FormatError::Unsupported(format!(
                    "bytes {offset} to {} cannot be read: {error}",
                    offset + buf.len() as u64
                ))
            }),
        }
    }
    fn storage(&self) -> &dyn Storage {
        match self {
            Image::Raw(image) => image,
            Image::Qcow2(image) => &**image,
            Image::Vmdk(image) => image,
            Image::Vdi(image) => image,
            Image::Vhd(image) => image,
        }
    }
    fn storage_mut(&mut self) -> &mut dyn Storage {
        match self {
            Image::Raw(image) => image,
            Image::Qcow2(image) => &mut **image,
            Image::Vmdk(image) => image,
            Image::Vdi(image) => image,
            Image::Vhd(image) => image,
        }
    }
    fn boxed(self) -> Box<dyn Storage> {
        match self {
            Image::Raw(image) => Box::new(image),
            Image::Qcow2(image) => image,
            Image::Vmdk(image) => Box::new(image),
            Image::Vdi(image) => Box::new(image),
            Image::Vhd(image) => Box::new(image),
        }
    }
}

impl Storage for Image {
    fn len(&self) -> u64 {
        self.storage().len()
    }
    fn read_only(&self) -> bool {
        self.storage().read_only()
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        self.storage_mut().read(offset, buf)
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError> {
        self.storage_mut().write(offset, data)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        self.storage_mut().flush()
    }
}

/// Opens a file and locks it: against everybody to write, against writers to read.
fn open_file(path: &Path, write: bool, cache: Cache) -> Result<FileBacking, ImageError> {
    let how = if write { "for reading and writing" } else { "for reading" };
    let open_error = |source| ImageError::Open { path: path.to_owned(), how, source };
    let metadata = std::fs::metadata(path).map_err(open_error)?;
    if metadata.is_dir() {
        return Err(ImageError::NotAFile { path: path.to_owned(), what: "directory" });
    }
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    #[cfg(target_os = "linux")]
    if cache.is_direct() {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed());
    }
    let mut file = options.open(path).map_err(open_error)?;
    lock(&file, path, write)?;
    let length = file.seek(SeekFrom::End(0)).map_err(open_error)?;
    Ok(FileBacking::new(file, length, cache))
}

fn lock(file: &File, path: &Path, write: bool) -> Result<(), ImageError> {
    match if write { file.try_lock() } else { file.try_lock_shared() } {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let is_written = !write || matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
            Err(ImageError::Locked { path: path.to_owned(), is_written })
        }
        // File systems without locks: nothing to protect with.
        Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Makes a new file for an image, or takes an existing one when it may be `replaced`.
///
/// # Errors
/// When there is one already, somebody uses it, or the host refuses.
pub fn create_file(path: &Path, replace: bool) -> Result<Box<dyn Backing>, ImageError> {
    let open_error = |source| ImageError::Open { path: path.to_owned(), how: "for writing", source };
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if replace {
        options.create(true).truncate(false)
    } else {
        options.create_new(true)
    };
    let file = options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => ImageError::Exists { path: path.to_owned() },
        _ => open_error(source),
    })?;
    lock(&file, path, true)?;
    file.set_len(0).map_err(open_error)?;
    Ok(Box::new(FileBacking::new(file, 0, Cache::Writeback)))
}

/// What is known while a chain of files is opened.
struct Chain<'a> {
    options: &'a ImageOptions,
    /// Where backing files may come from.
    places: Vec<PathBuf>,
    /// The files so far.
    files: Vec<PathBuf>,
    /// The first file is opened to be repaired.
    repairs: bool,
}

impl Chain<'_> {
    /// Opens the backing file that the image at `path` names.
    fn backing(&mut self, path: &Path, name: &BackingName, stated: bool) -> Result<Box<dyn Storage>, FormatError> {
        let refuse = |text: String| Err(FormatError::Unsupported(text));
        let text = &name.name;
        if !stated {
            return refuse(format!(
                "it names the backing file `{text}`, but no image says that it is qcow2; state its format in the image above it (`qemu-img rebase -u -F qcow2`)"
            ));
        }
        if text.split('/').next().is_some_and(|first| first.contains(':')) {
            return refuse(format!("the backing file `{text}` is no plain file name"));
        }
        if self.files.len() >= LONGEST_CHAIN {
            return refuse(format!("the chain of backing files has more than {LONGEST_CHAIN} files"));
        }
        let named = path.parent().unwrap_or(Path::new(".")).join(text);
        let real = named.canonicalize().map_err(|error| {
            FormatError::Unsupported(format!("the backing file {} cannot be opened: {error}", named.display()))
        })?;
        if !self.places.iter().any(|place| real.starts_with(place)) {
            return refuse(format!(
                "the backing file {} lies outside of the image's folder; allow it with `backing=PATH` behind the image's name",
                real.display()
            ));
        }
        if self.files.contains(&real) {
            return refuse(format!("the backing file {} is part of its own chain", real.display()));
        }
        if !real.is_file() {
            return refuse(format!("the backing file {} is no regular file", real.display()));
        }
        let format = match name.format.as_deref() {
            None => None,
            Some(format) => match Format::from_name(format) {
                Some(format) => Some(format),
                None => return refuse(format!("the format `{format}` of the backing file is not known")),
            },
        };
        self.files.push(real.clone());
        let image = self.open(&real, false, format, format.is_some());
        Ok(image.map_err(|error| FormatError::Unsupported(format!("backing file {error}")))?.boxed())
    }

    /// Opens one file. `stated` allows it a backing file of its own.
    fn open(&mut self, path: &Path, write: bool, format: Option<Format>, stated: bool) -> Result<Image, ImageError> {
        let mut file: Box<dyn Backing> = Box::new(open_file(path, write, self.options.cache)?);
        if file.is_empty() {
            return Err(ImageError::Empty { path: path.to_owned() });
        }
        let recognised = format.is_none();
        let format = match format {
            Some(format) => format,
            None => recognise(&mut *file, path).map_err(|source| ImageError::Open {
                path: path.to_owned(),
                how: "for reading",
                source,
            })?,
        };
        let fail = |problem| ImageError::Format { path: path.to_owned(), format: format.name(), problem };
        if write && !matches!(format, Format::Raw | Format::Qcow2) {
            return Err(fail(FormatError::Unsupported(
                "images of this format can only be read; use `--snapshot`, or `beigebox image convert` to qcow2".into(),
            )));
        }
        let through = self.options.cache.writes_through();
        Ok(match format {
            Format::Raw => {
                let mut image = RawImage::new(file, None, !write);
                image.set_guarded(recognised);
                image.set_writethrough(through);
                Image::Raw(image)
            }
            Format::Qcow2 => {
                let repairs = self.repairs && write;
                let mut backing = |name: &BackingName| self.backing(path, name, stated).map(Some);
                let mut image = if repairs {
                    Qcow2::open_to_repair(file, &mut backing).map_err(fail)?
                } else {
                    Qcow2::open(file, write, &mut backing).map_err(fail)?
                };
                image.set_writethrough(through);
                Image::Qcow2(Box::new(image))
            }
            Format::Vdi => Image::Vdi(Vdi::open(file).map_err(fail)?),
            Format::Vhd => Image::Vhd(Vhd::open(file).map_err(fail)?),
            Format::Vmdk => {
                let cache = self.options.cache;
                let folder = path.parent().unwrap_or(Path::new("."));
                let mut extents = |name: &str| -> Result<Box<dyn Backing>, FormatError> {
                    let refuse = |text: &str| Err(FormatError::Unsupported(format!("extent `{name}`: {text}")));
                    if name.is_empty() || name.contains(['/', '\\']) || name == ".." {
                        return refuse("extents are files of the same folder");
                    }
                    let path = folder.join(name);
                    if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
                        return refuse("there is no such regular file beside the descriptor");
                    }
                    match open_file(&path, false, cache) {
                        Ok(file) => Ok(Box::new(file)),
                        Err(error) => Err(FormatError::Unsupported(format!("extent {error}"))),
                    }
                };
                Image::Vmdk(Vmdk::open(file, &mut extents).map_err(fail)?)
            }
        })
    }
}

/// The format of a file by its first bytes; fixed VHD images have their mark at the end, where
/// it counts only if the name ends in `.vhd`.
fn recognise(file: &mut dyn Backing, path: &Path) -> io::Result<Format> {
    let mut head = vec![0; Format::HEAD.min(file.len()) as usize];
    file.read_at(0, &mut head)?;
    let named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vhd"));
    Ok(match Format::of_head(&head) {
        Some(format) => format,
        None if named && vhd::is_fixed(file) => Format::Vhd,
        None => Format::Raw,
    })
}

/// Opens an image of any format. In the mode [`Mode::Snapshot`] it is opened for reading: the
/// caller puts an [`Overlay`] over it.
///
/// # Errors
/// See [`ImageError`].
pub fn open_image(path: &Path, options: &ImageOptions) -> Result<Image, ImageError> {
    open_chain(path, options, false)
}

/// Opens a qcow2 image for [`Qcow2::repair`]; nothing else may be done to it before.
///
/// # Errors
/// See [`ImageError`].
pub fn open_to_repair(path: &Path, options: &ImageOptions) -> Result<Box<Qcow2>, ImageError> {
    let options = ImageOptions { format: Some(Format::Qcow2), ..options.clone() };
    match open_chain(path, &options, true)? {
        Image::Qcow2(image) => Ok(image),
        _ => Err(ImageError::NotAFile { path: path.to_owned(), what: "file of another format" }),
    }
}

fn open_chain(path: &Path, options: &ImageOptions, repairs: bool) -> Result<Image, ImageError> {
    let write = options.mode == Mode::Write && options.snapshot.is_none();
    let canonical = |path: &PathBuf| path.canonicalize().ok();
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut places: Vec<PathBuf> = options.backing.iter().filter_map(canonical).collect();
    places.extend(real.parent().map(Path::to_owned));
    let mut chain = Chain { options, places, files: vec![real], repairs };
    let mut image = chain.open(path, write, options.format, true)?;
    if let Some(name) = &options.snapshot {
        let problem = match &mut image {
            Image::Qcow2(image) => image.show_snapshot(name).err(),
            _ => Some(FormatError::Unsupported("only qcow2 images have internal snapshots".into())),
        };
        if let Some(problem) = problem {
            return Err(ImageError::Format { path: path.to_owned(), format: image.format().name(), problem });
        }
    }
    Ok(image)
}

fn finish(image: Image, mode: Mode) -> Box<dyn Storage> {
    if mode == Mode::Snapshot { Box::new(Overlay::new(image)) } else { image.boxed() }
}

fn size_error(path: &Path, size: u64, problem: impl Into<String>) -> ImageError {
    ImageError::Size { path: path.to_owned(), size, problem: problem.into() }
}

/// Opens a hard disk image: whole sectors of 512 bytes.
///
/// # Errors
/// See [`ImageError`].
pub fn open_disk(path: &Path, mode: Mode) -> Result<Box<dyn Storage>, ImageError> {
    open_disk_with(path, &ImageOptions::new(mode))
}

/// Opens a hard disk image with all options.
///
/// # Errors
/// See [`ImageError`].
pub fn open_disk_with(path: &Path, options: &ImageOptions) -> Result<Box<dyn Storage>, ImageError> {
    let image = open_image(path, options)?;
    let size = image.len();
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
    if size == 0 {
        return Err(ImageError::Empty { path: path.to_owned() });
    }
    Ok(finish(image, options.mode))
}

/// Opens a floppy image of one of the usual sizes. A shorter one that starts with a boot sector
/// is taken as the beginning of a 1440 KiB disk, whose rest stays empty and is not kept.
///
/// # Errors
/// See [`ImageError`].
pub fn open_floppy(path: &Path, mode: Mode) -> Result<Box<dyn Storage>, ImageError> {
    open_floppy_with(path, &ImageOptions::new(mode))
}

/// Opens a floppy image with all options.
///
/// # Errors
/// See [`ImageError`].
pub fn open_floppy_with(path: &Path, options: &ImageOptions) -> Result<Box<dyn Storage>, ImageError> {
    let mut image = open_image(path, options)?;
    let mode = options.mode;
    let size = image.len();
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
    open_cdrom_with(path, &ImageOptions::new(Mode::ReadOnly))
}

/// Opens a compact disc image with all options; the mode is taken to be [`Mode::ReadOnly`]. A folder
/// becomes a disc that holds what is in it.
///
/// # Errors
/// See [`ImageError`].
pub fn open_cdrom_with(path: &Path, options: &ImageOptions) -> Result<Box<dyn Storage>, ImageError> {
    if path.is_dir() {
        return Ok(Box::new(IsoFolder::new(path)?));
    }
    let image = open_image(path, &ImageOptions { mode: Mode::ReadOnly, ..options.clone() })?;
    let size = image.len();
    if size % 2048 != 0 {
        let problem = if size % 2352 == 0 {
            "this looks like a raw image with 2352-byte sectors; convert it to an ISO image with 2048-byte sectors"
        } else {
            "a disc image has whole sectors of 2048 bytes; is it truncated?"
        };
        return Err(size_error(path, size, problem));
    }
    Ok(image.boxed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
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
        let is_written = |mode| match open_disk(image.path(), mode) {
            Err(ImageError::Locked { is_written, .. }) => Some(is_written),
            _ => None,
        };
        let first = open_disk(image.path(), Mode::Write).unwrap();
        assert_eq!((is_written(Mode::Write), is_written(Mode::Snapshot)), (Some(true), Some(true)));
        drop(first);
        let first = open_disk(image.path(), Mode::Snapshot).unwrap();
        assert_eq!((is_written(Mode::Write), is_written(Mode::ReadOnly)), (Some(false), None));
        drop(first);
        assert!(open_disk(image.path(), Mode::Write).is_ok());
    }

    /// What was taken for raw stays raw, however the guest writes the mark of another format; when the
    /// format is stated, a guest may write what it likes.
    #[test]
    fn a_guest_does_not_make_raw_another_format() {
        let image = file(&[0; 4096]);
        for (at, mark) in [
            (0, &b"QFI\xfb"[..]),
            (0, b"KDMV"),
            (0, b"# Disk DescriptorFile\nRW 8 FLAT \"/etc/passwd\" 0\n"),
            (0, b"conectix"),
            (0x40, &[0x7f, 0x10, 0xda, 0xbe]),
        ] {
            let mut disk = open_disk(image.path(), Mode::Write).unwrap();
            assert!(disk.write(at, mark).is_err());
            // In two writes, the later part first.
            let middle = mark.len() / 2;
            disk.write(at + middle as u64, &mark[middle..]).unwrap();
            assert!(disk.write(at, &mark[..middle]).is_err());
            disk.write(0, &[0; 512]).unwrap();
            drop(disk);
            assert!(matches!(open_image(image.path(), &ImageOptions::new(Mode::ReadOnly)), Ok(Image::Raw(_))));
            let stated = ImageOptions { format: Some(Format::Raw), ..ImageOptions::new(Mode::Write) };
            let mut disk = open_disk_with(image.path(), &stated).unwrap();
            disk.write(at, mark).unwrap();
            disk.write(0, &[0; 512]).unwrap();
        }
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
