//! Folders of the host as media: a disk with a FAT file system, a disc with an ISO 9660 one.
//!
//! What lies in the folder is looked at once, when the medium is made; the bytes of files are read
//! when the guest reads them, and a file that has become shorter since reads as zeros there. Links
//! and what is neither a file nor a folder are left out, so nothing outside of the folder can be
//! reached.

mod fat;
mod iso;
mod sync;

pub use fat::{FatFolder, SharedFolder};
pub use iso::IsoFolder;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Most files and folders in a shared folder.
const MOST: usize = 65_536;
/// Deepest nesting of folders.
const DEEPEST: usize = 32;

/// Why a folder cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The folder, or something in it, cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not a folder.
    #[error("{}: is not a folder", path.display())]
    NotAFolder {
        /// What.
        path: PathBuf,
    },
    /// It has too much in it.
    #[error("{}: {problem}", path.display())]
    Limit {
        /// Where.
        path: PathBuf,
        /// What there is too much of.
        problem: String,
    },
}

/// A file or a folder of the host.
#[derive(Debug)]
struct Node {
    /// Its name in the folder above.
    name: String,
    /// Below the shared folder.
    path: PathBuf,
    /// Seconds since 1970.
    modified: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    File { size: u64 },
    Folder(Vec<Node>),
}

/// All that is in the folder at `root` and has a name that others can read, by name.
fn look(root: &Path) -> Result<Vec<Node>, ShareError> {
    if !root.is_dir() {
        return match root.metadata() {
            Err(source) => Err(ShareError::Read { path: root.to_owned(), source }),
            Ok(_) => Err(ShareError::NotAFolder { path: root.to_owned() }),
        };
    }
    let mut left = MOST;
    look_at(root, Path::new(""), 0, &mut left)
}

fn look_at(root: &Path, relative: &Path, depth: usize, left: &mut usize) -> Result<Vec<Node>, ShareError> {
    let here = root.join(relative);
    let failed = |source| ShareError::Read { path: here.clone(), source };
    let limit = |problem: String| Err(ShareError::Limit { path: here.clone(), problem });
    let mut nodes = Vec::new();
    for entry in std::fs::read_dir(&here).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // What disappears meanwhile is not there.
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        let path = relative.join(&name);
        let kind = if metadata.is_dir() {
            if depth + 1 >= DEEPEST {
                return limit(format!("folders within folders, more than {DEEPEST}"));
            }
            Kind::Folder(look_at(root, &path, depth + 1, left)?)
        } else if metadata.is_file() {
            Kind::File { size: metadata.len() }
        } else {
            continue;
        };
        *left = match left.checked_sub(1) {
            Some(left) => left,
            None => return limit(format!("more than {MOST} files and folders; share a smaller folder")),
        };
        let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        nodes.push(Node { name, path, modified: since.map_or(0, |since| since.as_secs()), kind });
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

/// The files of a folder, one of them open.
#[derive(Debug)]
struct Files {
    root: PathBuf,
    paths: Vec<PathBuf>,
    /// Files that may not be there under their name any more.
    held: std::collections::BTreeMap<usize, File>,
    open: Option<(usize, File)>,
}

impl Files {
    fn new(root: &Path) -> Files {
        Files { root: root.to_owned(), paths: Vec::new(), held: std::collections::BTreeMap::new(), open: None }
    }
    fn add(&mut self, path: &Path) -> usize {
        self.paths.push(path.to_owned());
        self.paths.len() - 1
    }
    /// Opens a file by its number.
    fn file(&mut self, number: usize) -> io::Result<&mut File> {
        if let Some(file) = self.held.get_mut(&number) {
            return Ok(file);
        }
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let path = self.paths.get(number).ok_or(io::ErrorKind::NotFound)?;
            self.open = Some((number, open_inside(&self.root, path)?));
        }
        self.open.as_mut().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    /// Reads at `offset`; behind the end are zeros.
    fn read(&mut self, number: usize, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        let file = self.file(number)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut done = 0;
        while done < buf.len() {
            match file.read(&mut buf[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buf[done..].fill(0);
        Ok(())
    }
    /// Keeps a file readable under its number although its name will go.
    fn hold(&mut self, number: usize) -> io::Result<()> {
        self.file(number)?;
        if let Some((open, file)) = self.open.take() {
            self.held.insert(open, file);
        }
        Ok(())
    }
}

/// Opens a regular file below `root` that was there when the folder was looked at: nothing on the way
/// is a link now.
fn open_inside(root: &Path, relative: &Path) -> io::Result<File> {
    let mut path = root.to_owned();
    for part in relative.components() {
        path.push(part);
        if path.symlink_metadata()?.file_type().is_symlink() {
            return Err(io::Error::other("became a link"));
        }
    }
    File::open(path)
}

/// A date and a time as FAT keeps them: years from 1980, two seconds a step.
fn dos_time(seconds: u64) -> (u16, u16) {
    let date = devices::rtc::DateTime::from_unix(seconds);
    let year = date.year.clamp(1980, 2107) - 1980;
    (
        year << 9 | u16::from(date.month) << 5 | u16::from(date.day),
        u16::from(date.hour) << 11 | u16::from(date.minute) << 5 | u16::from(date.second / 2),
    )
}

#[cfg(test)]
mod tests;
