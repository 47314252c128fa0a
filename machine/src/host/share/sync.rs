//! A shared folder that the guest writes: what changes in the file system changes in the folder.
//!
//! The disk is looked at when the guest flushes it, when it has not written for a second of the host's
//! time (Linux flushes a FAT disk for `fsync`, not for `sync`), and at the end. Files that have changed
//! are written anew beside the old ones and take their names then, so that each is whole at any time.
//! What disappears from the disk is removed at the second look that misses it (a file may be about to
//! be renamed), after a few seconds without a write, or at the end. None of this changes what the guest
//! reads. The guest's folders are not believed: names that would lead
//! elsewhere, loops and clusters that do not exist are passed over, and nothing is written or
//! removed in the host's folder that was not shared with the guest or made by it.

use super::fat::{FatFolder, Geometry, Known, PLACES, is_long_name, short_checksum};
use super::{DEEPEST, ShareError};
use crate::host::image::Overlay;
use devices::storage::{Storage, StorageError};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Most files and folders that one look finds.
const MOST: usize = 131_072;
/// Longest folder, in entries.
const LONGEST: usize = 65_536;
/// Without a write for so long, the disk is looked at.
const QUIET: Duration = Duration::from_secs(1);
/// And for so long, what is missing counts as removed.
const SETTLED: Duration = Duration::from_secs(4);
/// Between two thoughts about that.
const TICK: Duration = Duration::from_millis(500);

/// A folder of the host as a disk that the guest writes.
pub struct SharedFolder {
    mirror: Arc<Mutex<Mirror>>,
    /// From the first write on.
    watch: Option<Watch>,
}

/// The thread that waits for the guest to have done with writing.
struct Watch {
    end: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// The disk, and how far the folder follows it.
struct Mirror {
    view: Overlay<FatFolder>,
    geometry: Geometry,
    root: PathBuf,
    /// What is in the host's folder, as far as the guest knows it.
    known: BTreeMap<PathBuf, Known>,
    /// Clusters that were written since the last look.
    dirty: BTreeSet<u32>,
    is_touched: bool,
    /// What the last look missed.
    missed: BTreeSet<PathBuf>,
    written: Instant,
    /// A look of the watch has failed; it waits for the next write.
    gives_up: bool,
}

/// A file or folder on the disk.
struct Found {
    path: PathBuf,
    is_folder: bool,
    size: u64,
    first: u32,
    modified: u64,
}

impl SharedFolder {
    /// Looks at the folder.
    ///
    /// # Errors
    /// It cannot be read, or holds too much.
    pub fn new(root: &Path) -> Result<SharedFolder, ShareError> {
        let disk = FatFolder::new(root)?;
        let mirror = Mirror {
            geometry: disk.geometry,
            root: disk.root(),
            known: disk.known().clone(),
            view: Overlay::new(disk),
            dirty: BTreeSet::new(),
            is_touched: false,
            missed: BTreeSet::new(),
            written: Instant::now(),
            gives_up: false,
        };
        Ok(SharedFolder { mirror: Arc::new(Mutex::new(mirror)), watch: None })
    }
    /// What is in the folder and not on the disk, because of its name or its size.
    #[must_use]
    pub fn left_out(&self) -> Vec<PathBuf> {
        self.lock().view.base().left_out().to_vec()
    }

    #[cfg(test)]
    pub(super) fn geometry(&self) -> Geometry {
        self.lock().geometry
    }

    fn lock(&self) -> MutexGuard<'_, Mirror> {
        lock(&self.mirror)
    }
    /// Begins to wait for quiet. Without a thread, flushes and the end are what there is.
    fn watch(&mut self) {
        let (end, ended) = mpsc::channel();
        let mirror = self.mirror.clone();
        let waits = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                lock(&mirror).rest();
            }
        };
        let thread = std::thread::Builder::new().name("share".into()).spawn(waits);
        self.watch = thread.ok().map(|thread| Watch { end, thread });
    }
}

impl Mirror {
    /// Looks at the disk when the guest has done with writing.
    fn rest(&mut self) {
        let quiet = self.written.elapsed();
        let last = quiet >= SETTLED && !self.is_touched;
        if quiet >= QUIET && !self.gives_up {
            self.gives_up = self.look(last).is_err();
        }
    }
    /// Brings the host's folder up to date. What cannot be read now is left for the next time.
    fn look(&mut self, last: bool) -> io::Result<()> {
        if !self.is_touched && (!last || self.missed.is_empty()) {
            return Ok(());
        }
        let (at, length) = self.geometry.table();
        let mut table = vec![0; length];
        self.read(at, &mut table).map_err(io::Error::other)?;
        let Some(found) = self.tree(&table)? else { return Ok(()) };
        self.is_touched = false;
        let mut unfinished = false;
        let mut dirty = std::mem::take(&mut self.dirty);
        for file in &found {
            let runs = if file.is_folder { Some(Vec::new()) } else { self.runs(&table, file.first, file.size) };
            let Some(runs) = runs else {
                // Written half: its folder says more than the table.
                unfinished = true;
                continue;
            };
            let is_same = self.known.get(&file.path).is_some_and(|known| {
                known.is_folder == file.is_folder
                    && (file.is_folder
                        || known.size == file.size
                            && known.runs == runs
                            && !runs.iter().any(|(first, count)| dirty.range(*first..first + count).next().is_some()))
            });
            if !is_same && let Err(error) = self.store(file, runs) {
                // Somebody else's file is in the way: it stays, whatever the guest wants.
                if !matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::InvalidInput) {
                    self.is_touched = true;
                    self.dirty.append(&mut dirty);
                    return Err(error);
                }
            }
        }
        if unfinished {
            self.is_touched = true;
            self.dirty.append(&mut dirty);
        }
        let found: BTreeSet<&PathBuf> = found.iter().map(|file| &file.path).collect();
        let gone: Vec<PathBuf> = self.known.keys().filter(|path| !found.contains(path)).cloned().collect();
        // What is in a folder comes behind it in the order of paths.
        for path in gone.iter().rev() {
            if last || self.missed.contains(path) {
                self.remove(path)?;
            }
        }
        self.missed = gone.into_iter().filter(|path| self.known.contains_key(path)).collect();
        Ok(())
    }

    /// All files and folders, or `None` when the disk cannot be what it seems.
    fn tree(&mut self, table: &[u8]) -> io::Result<Option<Vec<Found>>> {
        let mut all: Vec<Found> = Vec::new();
        let mut seen = BTreeSet::new();
        let root = match self.geometry.root() {
            Some((at, length)) => {
                let mut bytes = vec![0; length];
                self.read(at, &mut bytes).map_err(io::Error::other)?;
                bytes
            }
            None => match self.folder(table, 2, &mut seen)? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        let mut waiting = vec![(PathBuf::new(), root, 0)];
        while let Some((path, bytes, depth)) = waiting.pop() {
            for entry in entries(&path, &bytes) {
                if all.len() >= MOST {
                    return Ok(None);
                }
                if entry.is_folder {
                    if depth + 1 >= DEEPEST {
                        continue;
                    }
                    // A folder that cannot be read must not look as if it were empty.
                    let Some(bytes) = self.folder(table, entry.first, &mut seen)? else { return Ok(None) };
                    waiting.push((entry.path.clone(), bytes, depth + 1));
                }
                all.push(entry);
            }
        }
        Ok(Some(all))
    }
    /// The bytes of a folder; `None` for one that is damaged.
    fn folder(&mut self, table: &[u8], first: u32, seen: &mut BTreeSet<u32>) -> io::Result<Option<Vec<u8>>> {
        let cluster = self.geometry.cluster_bytes() as usize;
        let (mut bytes, mut number) = (Vec::new(), first);
        loop {
            let Some(place) = self.geometry.place(number) else { return Ok(None) };
            if !seen.insert(number) || bytes.len() >= LONGEST * 32 {
                return Ok(None);
            }
            let start = bytes.len();
            bytes.resize(start + cluster, 0);
            self.read(place, &mut bytes[start..]).map_err(io::Error::other)?;
            match self.next(table, number) {
                Some(next) => number = next,
                None => return Ok(Some(bytes)),
            }
        }
    }
    /// The cluster behind another; `None` at the end.
    fn next(&self, table: &[u8], number: u32) -> Option<u32> {
        let at = number as usize;
        let (entry, end) = if self.geometry.is_fat32 {
            let cell = table.get(at * 4..)?.first_chunk::<4>()?;
            (u32::from_le_bytes(*cell) & 0x0fff_ffff, 0x0fff_fff8)
        } else {
            (u32::from(u16::from_le_bytes(*table.get(at * 2..)?.first_chunk::<2>()?)), 0xfff8)
        };
        (entry < end).then_some(entry)
    }
    /// The clusters of a file in runs; `None` when there are fewer than it needs.
    fn runs(&self, table: &[u8], first: u32, size: u64) -> Option<Vec<(u32, u32)>> {
        let needed = size.div_ceil(self.geometry.cluster_bytes());
        let (mut runs, mut number) = (Vec::<(u32, u32)>::new(), Some(first));
        if needed > u64::from(self.geometry.clusters) {
            return None;
        }
        for _ in 0..needed {
            let at = number.filter(|at| self.geometry.place(*at).is_some())?;
            match runs.last_mut() {
                Some((first, count)) if *first + *count == at => *count += 1,
                _ => runs.push((at, 1)),
            }
            number = self.next(table, at);
        }
        Some(runs)
    }

    /// Makes sure that no part of the way to `path` is a link, and that nobody else's file is there.
    fn check(&self, path: &Path) -> io::Result<PathBuf> {
        let mut here = self.root.clone();
        for part in path.parent().into_iter().flat_map(Path::components) {
            here.push(part);
            if !here.symlink_metadata()?.is_dir() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
        let whole = self.root.join(path);
        match whole.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(metadata) => match self.known.get(path) {
                Some(known) if metadata.is_dir() == known.is_folder && !metadata.is_symlink() => {}
                _ => return Err(io::ErrorKind::AlreadyExists.into()),
            },
        }
        Ok(whole)
    }
    fn store(&mut self, file: &Found, runs: Vec<(u32, u32)>) -> io::Result<()> {
        let target = self.check(&file.path)?;
        if self.known.get(&file.path).is_some_and(|known| known.is_folder != file.is_folder) {
            self.remove(&file.path)?;
        }
        if file.is_folder {
            std::fs::create_dir(&target)?;
        } else {
            let mut copy =
                tempfile::Builder::new().prefix(".beigebox-").tempfile_in(target.parent().unwrap_or(&self.root))?;
            let (cluster, mut left) = (self.geometry.cluster_bytes(), file.size);
            let mut buffer = vec![0; 256 << 10];
            for (first, count) in &runs {
                let start = self.geometry.place(*first).unwrap_or_default();
                let length = (u64::from(*count) * cluster).min(left);
                let mut done = 0;
                while done < length {
                    let part = ((length - done) as usize).min(buffer.len());
                    self.read(start + done, &mut buffer[..part]).map_err(io::Error::other)?;
                    copy.write_all(&buffer[..part])?;
                    done += part as u64;
                }
                left -= length;
            }
            // A date that the host cannot have is no reason to lose the file.
            let _ = copy.as_file().set_modified(UNIX_EPOCH + Duration::from_secs(file.modified));
            let is_known = self.known.contains_key(&file.path);
            let rights = if is_known { target.metadata().ok().map(|old| old.permissions()) } else { None };
            if let Some(rights) = rights.or_else(usual_rights) {
                let _ = copy.as_file().set_permissions(rights);
            }
            if is_known {
                self.part_with(&file.path)?;
                copy.persist(&target).map_err(|error| error.error)?;
            } else {
                copy.persist_noclobber(&target).map_err(|error| error.error)?;
            }
        }
        let known = Known { is_folder: file.is_folder, size: file.size, runs, number: None };
        self.known.insert(file.path.clone(), known);
        Ok(())
    }
    /// The host's file goes: what the disk still shows of it must stay readable.
    fn part_with(&mut self, path: &Path) -> io::Result<()> {
        let Some(known) = self.known.get_mut(path) else { return Ok(()) };
        let Some(number) = known.number.take() else { return Ok(()) };
        if self.view.base_mut().hold(number).is_ok() {
            return Ok(());
        }
        let cluster = self.geometry.cluster_bytes();
        let mut buffer = vec![0; cluster as usize];
        for (first, count) in known.runs.clone() {
            for number in first..first + count {
                let Some(place) = self.geometry.place(number) else { continue };
                self.view.read(place, &mut buffer).map_err(io::Error::other)?;
                self.view.write(place, &buffer).map_err(io::Error::other)?;
            }
        }
        Ok(())
    }
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let gone = match self.check(path) {
            Ok(target) => {
                self.part_with(path)?;
                let is_folder = self.known.get(path).is_some_and(|known| known.is_folder);
                if is_folder { std::fs::remove_dir(target) } else { std::fs::remove_file(target) }
            }
            Err(error) => Err(error),
        };
        self.known.remove(path);
        match gone {
            // Somebody was faster, or has put something of his own there, or into it.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

/// A thread that panicked leaves a mirror that is as right as any in the middle of the guest's writes.
fn lock(mirror: &Mutex<Mirror>) -> MutexGuard<'_, Mirror> {
    mirror.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
fn usual_rights() -> Option<std::fs::Permissions> {
    Some(std::os::unix::fs::PermissionsExt::from_mode(0o644))
}
#[cfg(not(unix))]
fn usual_rights() -> Option<std::fs::Permissions> {
    None
}

/// The files and folders that the entries of a folder name.
fn entries(path: &Path, bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    // The long name that is being put together, its sum, and the number that comes next.
    let mut long: (Vec<u16>, u8, u8) = (Vec::new(), 0, 0);
    for entry in bytes.chunks_exact(32) {
        let Some(short) = entry.first_chunk::<11>() else { break };
        match (entry[0], entry[11]) {
            (0, _) => break,
            (0xe5, _) => long = Default::default(),
            (order, 0x0f) => {
                if order & 0x40 != 0 {
                    long = (vec![0; usize::from(order & 0x1f) * 13], entry[13], order & 0x1f);
                }
                if order & 0x1f != long.2 || long.2 == 0 || entry[13] != long.1 {
                    long.2 = 0;
                    long.0.clear();
                    continue;
                }
                long.2 -= 1;
                let start = usize::from(long.2) * 13;
                for (unit, at) in long.0[start..start + 13].iter_mut().zip(PLACES) {
                    *unit = u16::from_le_bytes([entry[at], entry[at + 1]]);
                }
            }
            // A label.
            (_, attributes) if attributes & 0x08 != 0 => long = Default::default(),
            (_, attributes) => {
                let (units, sum, left) = std::mem::take(&mut long);
                let is_whole = !units.is_empty() && left == 0 && sum == short_checksum(short);
                let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
                let name = match String::from_utf16(&units[..end]) {
                    Ok(name) if is_whole => name,
                    _ => short_name(short, entry[12]),
                };
                if !is_long_name(&name) || name.starts_with(".beigebox-") || short[0] == b'.' {
                    continue;
                }
                let word = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
                found.push(Found {
                    path: path.join(name),
                    is_folder: attributes & 0x10 != 0,
                    size: u64::from(word(28)) | u64::from(word(30)) << 16,
                    first: u32::from(word(26)) | u32::from(word(20)) << 16,
                    modified: unix_time(word(24), word(22)),
                });
            }
        }
    }
    found
}

/// A short name as text; Windows NT marks which of its parts are in small letters.
fn short_name(short: &[u8; 11], case: u8) -> String {
    let part = |bytes: &[u8], small: bool| -> String {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let text = text.trim_end_matches(' ').to_owned();
        if small { text.to_ascii_lowercase() } else { text }
    };
    let mut base = short[..8].to_owned();
    // E5h marks deleted entries; a name that begins so is written with 05h.
    if base[0] == 5 {
        base[0] = 0xe5;
    }
    let (base, extension) = (part(&base, case & 0x08 != 0), part(&short[8..], case & 0x10 != 0));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// Seconds since 1970 for a date of FAT's.
fn unix_time(date: u16, time: u16) -> u64 {
    let (year, month, day) = (u64::from(date >> 9) + 1980, u64::from(date >> 5 & 15), u64::from(date & 31));
    // Days since 1 March of the year 0.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let seconds = u64::from(time >> 11) * 3600 + u64::from(time >> 5 & 63) * 60 + u64::from(time & 31) * 2;
    days.saturating_sub(719_469) * 86_400 + seconds
}

impl Mirror {
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        self.view.read(offset, buf)
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError> {
        self.view.write(offset, data)?;
        if !data.is_empty() {
            self.dirty.extend(self.geometry.clusters_of(offset, data.len()));
            self.is_touched = true;
            self.gives_up = false;
            self.written = Instant::now();
        }
        Ok(())
    }
}

impl Storage for SharedFolder {
    fn len(&self) -> u64 {
        self.lock().view.len()
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        self.lock().read(offset, buf)
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError> {
        if self.watch.is_none() {
            self.watch();
        }
        self.lock().write(offset, data)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        self.lock().look(false).map_err(|_| StorageError::Host)
    }
}

impl Drop for SharedFolder {
    fn drop(&mut self) {
        if let Some(Watch { end, thread }) = self.watch.take() {
            drop(end);
            let _ = thread.join();
        }
        // Nobody is left to be told.
        let _ = self.lock().look(true);
    }
}
