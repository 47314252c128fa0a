//! A folder whose files are given away over the network.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// A folder; nothing outside it can be reached, by `..` or by a link.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

/// A file in it.
pub(super) struct Open {
    file: File,
    pub(super) length: u64,
}

impl Folder {
    pub(super) fn new(path: &Path) -> std::io::Result<Folder> {
        let path = path.canonicalize()?;
        if !path.is_dir() {
            return Err(std::io::Error::other("is not a folder"));
        }
        Ok(Folder(path))
    }
    /// Opens the regular file called `name`, with or without a slash before it.
    pub(super) fn open(&self, name: &str) -> Option<Open> {
        let relative = Path::new(name.trim_start_matches('/'));
        if name.len() > 1024 || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        let path = self.0.join(relative).canonicalize().ok()?;
        if !path.starts_with(&self.0) || !path.metadata().ok()?.is_file() {
            return None;
        }
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        Some(Open { file, length })
    }
}

impl Open {
    /// Reads at `offset`: less than was asked for is the end of the file.
    pub(super) fn read(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.seek(SeekFrom::Start(offset))?;
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest)? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }
}
