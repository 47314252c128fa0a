//! Translated code on disk, for the next run of the same guest.
//!
//! A folder of the user's own holds pairs of files: `NAME.code` with records of code, one behind the other, and
//! `NAME.index` with one entry for each. Each run writes a pair of its own, records first, while it holds a lock on its
//! index; nothing that is written is ever changed or cut, so that others read meanwhile, and what a killed run leaves is
//! good up to its end. When there are many pairs, [`tidy`] makes one of those that nobody writes, and drops the oldest
//! records when all are too large.
//!
//! Native code from a file is as good as the emulator itself: only files are read that belong to the user and that
//! nobody else can write, in a folder of which the same is true. A record that was damaged is known by its sum. What
//! belongs to another build of the emulator is not read.

use crate::piece::Piece;
use cpu::Model;
use cpu::hash::Map;
use cpu::interpreter::tier::Place;
use cpu::memory::GuestMemory;
use rustix::fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Where translated code is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// The folder; it is made if it is not there.
    pub folder: PathBuf,
    /// About how many bytes the files may take.
    pub limit: u64,
}

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder cannot be made or read.
    #[error("{0}: {1}")]
    Folder(PathBuf, io::Error),
    /// Somebody else could have put code there.
    #[error("{0}: code is taken only from a folder of your own that nobody else can write (chmod 700)")]
    Others(PathBuf),
    /// The file of the emulator cannot be told from others.
    #[error("the emulator's own file is not to be found")]
    Build,
}

const MAGIC: [u8; 8] = *b"BBX-jit1";
/// Bytes of a file's header: magic, build, check.
const HEADER: usize = 24;
/// Bytes of an index entry: key, print, sum, offset, length, first, check.
const ENTRY: usize = 48;
/// Largest record.
const MAX_RECORD: u32 = 1 << 20;
/// Bytes that are collected before they are written.
const CHUNK: usize = 256 << 10;
/// Pairs of files before they are made one.
const MANY: usize = 4;
/// Most pairs that are looked at.
const MOST: usize = 64;
/// Attempts to use a record that are made whenever its code is met, and those that are made at all: bytes far from its
/// beginning may differ.
const EAGER: u8 = 4;
const PATIENT: u8 = 64;

/// A record, in the index.
#[derive(Clone, Copy)]
struct Candidate {
    print: u64,
    sum: u64,
    offset: u64,
    length: u32,
    /// Number of bytes of guest code of which the print was taken.
    first: u16,
    file: u16,
    tries: u8,
    /// The next with the same key, + 1.
    next: u32,
}

/// See the module documentation.
pub(crate) struct Cache {
    folder: Arc<OwnedFd>,
    build: u64,
    files: Vec<File>,
    candidates: Vec<Candidate>,
    /// The first candidate for a key, + 1.
    keys: Map<u64, u32>,
    buffer: Vec<u8>,
    writer: Writer,
}

#[derive(Default)]
struct Writer {
    files: Option<(File, File)>,
    code: Vec<u8>,
    index: Vec<u8>,
    offset: u64,
    /// How much more may be written.
    left: u64,
    failed: bool,
}

/// What code for a place is found by, wherever its page is mapped; with the first bytes there, as many places have the
/// same offset.
pub(crate) fn key(place: &Place, model: Model, memory: &GuestMemory) -> u64 {
    let mut bytes = [0; 17];
    let code = &memory.page(place.page)[usize::from(place.offset)..];
    let n = code.len().min(8);
    bytes[..n].copy_from_slice(&code[..n]);
    bytes[8..12].copy_from_slice(&place.limit.to_le_bytes());
    bytes[12..14].copy_from_slice(&place.mode.0.to_le_bytes());
    bytes[14..16].copy_from_slice(&place.offset.to_le_bytes());
    bytes[16] = model as u8;
    xxh3_64(&bytes)
}
/// By what the first bytes of guest code are told from others.
pub(crate) fn print(guest: &[u8]) -> u64 {
    xxh3_64(guest)
}

/// A number for the emulator that runs: another file, or the same file with other contents, has another one.
pub(crate) fn build() -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let here = build as *const () as usize;
    // A program that has the emulator in a shared library is not what is asked for.
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let (inode, path) = maps.lines().find_map(|line| {
        let mut words = line.splitn(6, ' ');
        let (from, to) = words.next()?.split_once('-')?;
        let range = usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?;
        if !range.contains(&here) {
            return None;
        }
        let inode: u64 = words.nth(3)?.parse().ok()?;
        Some((inode, words.next()?.trim_start().to_owned()))
    })?;
    let m = std::fs::metadata(&path).ok()?;
    if m.ino() != inode {
        return None;
    }
    let times = [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()].map(|t| t as u64);
    let all = [m.dev(), m.ino(), m.size(), times[0], times[1], times[2], times[3]];
    let mut bytes = env!("CARGO_PKG_VERSION").as_bytes().to_vec();
    all.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    Some(xxh3_64(&bytes))
}

/// Whether nobody but the user can have written it.
fn is_own(stat: &fs::Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
}

fn header(build: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&build.to_le_bytes());
    let check = xxh3_64(&bytes[..16]);
    bytes[16..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// A name of its own for a pair of files, in the order of age.
fn stem() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    format!("{now:016x}-{:x}-{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn create(folder: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}
/// Opens a file for reading, if it can be trusted.
fn open(folder: &OwnedFd, name: &str) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = fs::openat(folder, name, flags, Mode::empty()).ok()?;
    let stat = fs::fstat(&file).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && is_own(&stat)).then(|| file.into())
}
fn remove(folder: &OwnedFd, name: &str) {
    // One that cannot be removed is there the next time.
    let _ = fs::unlinkat(folder, name, AtFlags::empty());
}

/// Names in the folder.
fn names(folder: &OwnedFd) -> Vec<String> {
    let Ok(dir) = Dir::read_from(folder) else { return Vec::new() };
    dir.flatten().filter_map(|entry| CString::from(entry.file_name()).into_string().ok()).collect()
}
/// Names of pairs without what they end in, oldest first.
fn stems(names: &[String]) -> Vec<String> {
    let mut all: Vec<String> = names.iter().filter_map(|name| name.strip_suffix(".index").map(str::to_owned)).collect();
    all.sort_unstable();
    all.drain(..all.len().saturating_sub(MOST));
    all
}

/// An entry of an index as it is in the file.
#[derive(Clone, Copy)]
struct Entry {
    key: u64,
    print: u64,
    sum: u64,
    offset: u64,
    length: u32,
    first: u16,
}

impl Entry {
    fn write(&self, to: &mut Vec<u8>, build: u64) {
        let from = to.len();
        for v in [self.key, self.print, self.sum, self.offset, u64::from(self.length) | u64::from(self.first) << 32] {
            to.extend_from_slice(&v.to_le_bytes());
        }
        let check = xxh3_64_with_seed(&to[from..], build);
        to.extend_from_slice(&check.to_le_bytes());
    }
    fn read(bytes: &[u8; ENTRY], build: u64) -> Option<Entry> {
        let word = |n: usize| bytes[8 * n..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let (length, first) = (word(4) as u32, (word(4) >> 32) as u16);
        let is_good = xxh3_64_with_seed(&bytes[..ENTRY - 8], build) == word(5) && length <= MAX_RECORD;
        is_good.then(|| Entry { key: word(0), print: word(1), sum: word(2), offset: word(3), length, first })
    }
}

/// A pair of files that can be read: the entries and the code.
struct Pair {
    index: File,
    code: File,
    entries: Vec<Entry>,
}

/// What a pair is.
enum Found {
    Good(Pair),
    /// It belongs to another build, is damaged or cannot be trusted.
    Other,
}

fn read_pair(folder: &OwnedFd, stem: &str, build: u64, limit: u64) -> Found {
    let pair = || {
        let index = open(folder, &format!("{stem}.index"))?;
        let code = open(folder, &format!("{stem}.code"))?;
        let mut begin = [0; HEADER];
        for file in [&index, &code] {
            file.read_exact_at(&mut begin, 0).ok()?;
            if begin != header(build) {
                return None;
            }
        }
        let length = index.metadata().ok()?.len().saturating_sub(HEADER as u64).min(limit);
        let mut bytes = vec![0; length as usize / ENTRY * ENTRY];
        index.read_exact_at(&mut bytes, HEADER as u64).ok()?;
        // What is behind damage was written as well as what is before it.
        let entries = bytes.as_chunks().0.iter().filter_map(|entry| Entry::read(entry, build)).collect();
        Some(Pair { index, code, entries })
    };
    pair().map_or(Found::Other, Found::Good)
}

impl Cache {
    /// Opens or makes the folder.
    pub(crate) fn open(settings: &CacheSettings, build: u64) -> Result<Cache, CacheError> {
        let CacheSettings { folder: path, limit } = settings;
        let limit = (*limit).max(1 << 20);
        let error = |e: io::Error| CacheError::Folder(path.clone(), e);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(error)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = fs::open(path, flags, Mode::empty()).map_err(|e| error(e.into()))?;
        if !is_own(&fs::fstat(&folder).map_err(|e| error(e.into()))?) {
            return Err(CacheError::Others(path.clone()));
        }
        let folder = Arc::new(folder);
        let (mut all, mut sizes) = (names(&folder), 0);
        all.retain(|name| !name.starts_with('.'));
        for name in &all {
            sizes += fs::statat(&folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).map_or(0, |s| s.st_size as u64);
        }
        let stems = stems(&all);
        let left = limit.saturating_sub(sizes).max(limit / 4);
        let mut cache = Cache {
            folder: folder.clone(),
            build,
            files: Vec::new(),
            candidates: Vec::new(),
            keys: Map::default(),
            buffer: Vec::new(),
            writer: Writer { left, ..Writer::default() },
        };
        for stem in &stems {
            if let Found::Good(pair) = read_pair(&folder, stem, build, limit) {
                let file = cache.files.len() as u16;
                cache.files.push(pair.code);
                cache.candidates.reserve(pair.entries.len());
                cache.keys.reserve(pair.entries.len());
                pair.entries.iter().for_each(|entry| cache.enter(entry, file));
            }
        }
        if stems.len() > MANY || sizes > limit {
            // Without it there are more files, which is no harm.
            let _ = std::thread::Builder::new().name("cache".into()).spawn(move || {
                tidy(&folder, build, limit, FlockOperation::NonBlockingLockExclusive);
            });
        }
        Ok(cache)
    }
    fn enter(&mut self, entry: &Entry, file: u16) {
        let Entry { key, print, sum, offset, length, first } = *entry;
        let head = self.keys.entry(key).or_insert(0);
        self.candidates.push(Candidate { print, sum, offset, length, first, file, tries: 0, next: *head });
        *head = self.candidates.len() as u32;
    }
    /// Whether there may be code for this key.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.keys.contains_key(&key)
    }
    /// Looks for code for a place that passes `fits`, which gets the code and the guest's bytes. `print` is that of so
    /// many bytes of guest code there.
    pub(crate) fn find<T>(
        &mut self,
        key: u64,
        is_patient: bool,
        print: impl Fn(usize) -> Option<u64>,
        mut fits: impl FnMut(Piece, &[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut next = *self.keys.get(&key)?;
        while let Some(n) = (next as usize).checked_sub(1) {
            let c = self.candidates[n];
            next = c.next;
            let tries = if is_patient { PATIENT } else { EAGER };
            if c.tries >= tries || print(usize::from(c.first)) != Some(c.print) {
                continue;
            }
            self.buffer.resize(c.length as usize, 0);
            let Some(file) = self.files.get(usize::from(c.file)) else { continue };
            let is_there = file.read_exact_at(&mut self.buffer, c.offset).is_ok();
            if !is_there || xxh3_64(&self.buffer) != c.sum {
                self.candidates[n].tries = u8::MAX;
                continue;
            }
            if let Some(found) = Piece::read(&self.buffer).and_then(|(piece, guest)| fits(piece, guest)) {
                self.candidates[n].tries = 0;
                return Some(found);
            }
            self.candidates[n].tries += 1;
        }
        None
    }
    /// Keeps a piece of code; `first` bytes of its guest code have this print.
    pub(crate) fn add(&mut self, key: u64, print: u64, first: u16, record: &[u8]) -> bool {
        let length = record.len() as u32;
        let total = (record.len() + ENTRY) as u64;
        if self.writer.failed || length > MAX_RECORD || total > self.writer.left {
            return false;
        }
        let sum = xxh3_64(record);
        let mut next = self.keys.get(&key).copied().unwrap_or(0);
        while let Some(n) = (next as usize).checked_sub(1) {
            let c = &self.candidates[n];
            if c.print == print && c.sum == sum && c.tries != u8::MAX {
                return false;
            }
            next = c.next;
        }
        let w = &mut self.writer;
        w.left -= total;
        let offset = HEADER as u64 + w.offset + w.code.len() as u64;
        w.code.extend_from_slice(record);
        Entry { key, print, sum, offset, length, first }.write(&mut w.index, self.build);
        if w.code.len() >= CHUNK {
            self.flush();
        }
        true
    }
    /// Writes what has been collected.
    pub(crate) fn flush(&mut self) {
        if self.writer.index.is_empty() || self.writer.failed {
            return;
        }
        if self.write().is_err() {
            self.writer.failed = true;
        }
        self.writer.code.clear();
        self.writer.index.clear();
    }
    fn write(&mut self) -> io::Result<()> {
        let w = &mut self.writer;
        if w.files.is_none() {
            let stem = stem();
            // The index first: code without one is what was left of tidying.
            let mut index = create(&self.folder, &format!("{stem}.index"))?;
            fs::flock(&index, FlockOperation::NonBlockingLockExclusive)?;
            let mut code = create(&self.folder, &format!("{stem}.code"))?;
            code.write_all(&header(self.build))?;
            index.write_all(&header(self.build))?;
            w.files = Some((code, index));
        }
        if let Some((code, index)) = &mut w.files {
            code.write_all(&w.code)?;
            w.offset += w.code.len() as u64;
            index.write_all(&w.index)?;
        }
        Ok(())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Makes one pair of all that nobody writes, without the oldest records when there is too much. `lock` says whether to
/// wait for somebody else who does so.
fn tidy(folder: &OwnedFd, build: u64, limit: u64, lock: FlockOperation) {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(file) = fs::openat(folder, ".lock", flags, Mode::RUSR | Mode::WUSR) else { return };
    if fs::flock(&file, lock).is_err() {
        return;
    }
    let all = names(folder);
    for name in &all {
        // Of one that was killed while it tidied.
        let orphan = name.strip_suffix(".code").is_some_and(|stem| !all.contains(&format!("{stem}.index")));
        if name.starts_with("new-") || orphan {
            remove(folder, name);
        }
    }
    let (mut sources, mut others) = (Vec::new(), Vec::new());
    for stem in stems(&all) {
        match read_pair(folder, &stem, build, limit) {
            Found::Good(pair) => {
                if is_free(&pair.index) {
                    sources.push((stem, pair));
                }
            }
            Found::Other => {
                let index = open(folder, &format!("{stem}.index"));
                if index.is_none_or(|index| is_free(&index)) {
                    others.push(stem);
                }
            }
        }
    }
    let size = |stem: &String| {
        let of = |end: &str| fs::statat(folder, format!("{stem}{end}"), AtFlags::SYMLINK_NOFOLLOW);
        [".code", ".index"].iter().map(|end| of(end).map_or(0, |s| s.st_size as u64)).sum::<u64>()
    };
    let remove_pair = |stem: &String| {
        remove(folder, &format!("{stem}.index"));
        remove(folder, &format!("{stem}.code"));
    };
    let mut total = sources.iter().map(|(stem, _)| size(stem)).sum::<u64>() + others.iter().map(size).sum::<u64>();
    for stem in &others {
        if total <= limit {
            break;
        }
        total -= size(stem);
        remove_pair(stem);
    }
    if sources.len() < 2 && total <= limit {
        return;
    }
    let Some((name, _)) = sources.last() else { return };
    // As old as the newest, and unlike any other.
    let name = format!("{}-{}", name.get(..16).unwrap_or(name), stem());
    if join(folder, build, limit / 4 * 3, &sources, &name).is_ok() {
        sources.iter().for_each(|(stem, _)| remove_pair(stem));
    }
}

fn is_free(index: &File) -> bool {
    fs::flock(index, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Writes the newest records of all into a new pair.
fn join(folder: &OwnedFd, build: u64, most: u64, sources: &[(String, Pair)], name: &str) -> io::Result<()> {
    let mut wanted = Vec::new();
    let (mut sum, mut seen) = (0, Map::<(u64, u64, u64), ()>::default());
    'all: for (n, (_, pair)) in sources.iter().enumerate().rev() {
        for entry in pair.entries.iter().rev() {
            if seen.insert((entry.key, entry.print, entry.sum), ()).is_none() {
                sum += u64::from(entry.length) + ENTRY as u64;
                if sum > most {
                    break 'all;
                }
                wanted.push((n, entry));
            }
        }
    }
    let (code_name, index_name) = (format!("new-{name}.code"), format!("new-{name}.index"));
    let mut code = BufWriter::with_capacity(CHUNK, create(folder, &code_name)?);
    code.write_all(&header(build))?;
    let (mut index, mut offset, mut record) = (header(build).to_vec(), HEADER as u64, Vec::new());
    for &(n, entry) in wanted.iter().rev() {
        record.resize(entry.length as usize, 0);
        // A record that is not there any more is left out.
        if sources[n].1.code.read_exact_at(&mut record, entry.offset).is_err() || xxh3_64(&record) != entry.sum {
            continue;
        }
        code.write_all(&record)?;
        Entry { offset, ..*entry }.write(&mut index, build);
        offset += u64::from(entry.length);
    }
    code.flush()?;
    create(folder, &index_name)?.write_all(&index)?;
    fs::renameat(folder.as_fd(), code_name, folder.as_fd(), format!("{name}.code"))?;
    fs::renameat(folder.as_fd(), index_name, folder.as_fd(), format!("{name}.index"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::{Fixup, Target, Way};

    const BUILD: u64 = 7;

    fn piece(n: u32, bytes: usize) -> Piece {
        Piece {
            ip: 0x1000 + n,
            mode: cpu::state::Mode(0x117),
            limit: u32::MAX,
            model: Model::PentiumM,
            instructions: 3,
            pages: vec![1],
            ranges: vec![(0, n as u16, 4)],
            entries: vec![Way { ip: 0x1000 + n, page: 0, second: None, code: 0, quick: 8 }],
            exits: vec![9, 10],
            ops: vec![(0x1001 + n, 1)],
            fixups: vec![Fixup { at: 2, of: Target::Exit(1) }, Fixup { at: 20, of: Target::Op(0) }],
            ips: vec![30],
            code: vec![n as u8; bytes],
        }
    }
    fn guest(n: u32) -> [u8; 4] {
        n.to_le_bytes()
    }
    fn add(cache: &mut Cache, n: u32, bytes: usize) -> bool {
        let guest = guest(n);
        cache.add(u64::from(n), print(&guest), 4, &piece(n, bytes).write(&guest))
    }
    fn find(cache: &mut Cache, n: u32) -> Option<Piece> {
        cache.find(u64::from(n), false, |_| Some(print(&guest(n))), |piece, bytes| (bytes == guest(n)).then_some(piece))
    }
    fn open_at(folder: &std::path::Path, limit: u64, build: u64) -> Cache {
        Cache::open(&CacheSettings { folder: folder.to_owned(), limit }, build).unwrap()
    }
    fn sizes(folder: &std::path::Path) -> u64 {
        std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum()
    }
    /// Makes one of many files at once, as the thread does.
    fn tidy_now(cache: &Cache, limit: u64) {
        tidy(&cache.folder, cache.build, limit, FlockOperation::LockExclusive);
    }

    #[test]
    fn what_is_kept_is_found_by_the_same_build_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = open_at(folder.path(), 1 << 20, BUILD);
        assert!((0..50).all(|n| add(&mut cache, n, 100)));
        cache.flush();
        assert_eq!(find(&mut open_at(folder.path(), 1 << 20, BUILD), 3), Some(piece(3, 100)));
        assert_eq!(find(&mut open_at(folder.path(), 1 << 20, BUILD + 1), 3), None);
        // Guest code that begins in another way.
        let mut cache = open_at(folder.path(), 1 << 20, BUILD);
        let other = cache.find(3, false, |_| Some(print(&guest(4))), |piece, _| Some(piece));
        assert_eq!(other, None);
        // What is there is not written again.
        assert!(!add(&mut cache, 3, 100));
    }
    #[test]
    fn many_files_become_one_that_others_go_on_reading() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..3 {
            assert!(add(&mut open_at(folder.path(), 8 << 20, BUILD), n, 1000));
        }
        let mut reader = open_at(folder.path(), 8 << 20, BUILD);
        let mut writer = open_at(folder.path(), 8 << 20, BUILD);
        add(&mut writer, 3, 1000);
        writer.flush();
        tidy_now(&reader, 8 << 20);
        assert_eq!(stems(&names(&reader.folder)).len(), 2, "the one that is being written, and all others");
        add(&mut writer, 4, 1000);
        drop(writer);
        let mut all = open_at(folder.path(), 8 << 20, BUILD);
        for n in 0..5 {
            assert_eq!(find(&mut all, n), Some(piece(n, 1000)));
        }
        assert_eq!(find(&mut reader, 2), Some(piece(2, 1000)));
    }
    #[test]
    fn the_oldest_goes_when_the_folder_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let limit = 1 << 20;
        for n in 0..12 {
            let mut cache = open_at(folder.path(), limit, BUILD);
            // No run writes more than there is place for, or a quarter.
            let _ = (0..100).all(|m| add(&mut cache, n * 100 + m, 8000));
            drop(cache);
            tidy_now(&open_at(folder.path(), limit, BUILD), limit);
            assert!(sizes(folder.path()) <= limit + limit / 4, "{}", sizes(folder.path()));
        }
        let mut cache = open_at(folder.path(), limit, BUILD);
        assert_eq!(find(&mut cache, 0), None);
        assert!(find(&mut cache, 1100).is_some());
        // Another build's files go first.
        let other = open_at(folder.path(), limit, BUILD + 1);
        tidy_now(&other, limit / 2);
        assert!(sizes(folder.path()) <= limit / 2);
    }
    #[test]
    fn what_was_left_by_killed_runs_goes() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["new-1.code", "new-1.index", "0-1-1.code"] {
            std::fs::write(folder.path().join(name), b"half").unwrap();
        }
        let cache = open_at(folder.path(), 1 << 20, BUILD);
        tidy_now(&cache, 1 << 20);
        assert_eq!(names(&cache.folder).iter().filter(|name| !name.starts_with('.')).count(), 0);
    }
    #[test]
    fn damaged_records_are_none() {
        let good = piece(5, 64).write(&guest(5));
        assert!(Piece::read(&good) == Some((piece(5, 64), &guest(5)[..])));
        for n in 0..good.len() {
            assert!(Piece::read(&good[..n]).is_none());
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[n] ^= 1 << bit;
                // It may still be one, but nothing in it leads outside.
                let _ = Piece::read(&bad);
            }
        }
    }
}
