//! A folder of the host as a hard disk with one FAT partition, after Microsoft's "FAT: General
//! Overview of On-Disk Format" 1.03. FAT16 with 504 MiB, which the oldest guests read, or FAT32 when
//! the folder holds more.
//!
//! Long names are kept, with a short one beside each. Names that FAT cannot have, or has already in
//! other case, are left out, and so are files of 4 GiB and more.

use super::{Files, Kind, Node, ShareError, dos_time, look};
use crate::host::image::check_range;
use devices::storage::{Storage, StorageError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use super::sync::SharedFolder;

/// Where the partition begins, in sectors: the second track, as old tools do it.
const START: u32 = 63;
/// Sectors of a disk of 1024 cylinders, 16 heads and 63 sectors: the largest without translation.
const SMALL: u32 = 1024 * 16 * 63;
/// Most bytes of contents on such a disk.
const SMALL_CONTENTS: u64 = 400 << 20;
/// Most bytes of contents at all: a partition has fewer than 2^32 sectors.
const MOST_CONTENTS: u64 = 1 << 40;

/// Where things are in the file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) is_fat32: bool,
    reserved: u32,
    fat_sectors: u32,
    root_entries: u32,
    /// Sectors in a cluster.
    per_cluster: u32,
    /// Clusters there are; the first is number 2.
    pub(super) clusters: u32,
}

impl Geometry {
    fn small(root_entries: u32) -> Geometry {
        let per_cluster = 16;
        let mut geometry = Geometry {
            is_fat32: false,
            reserved: 1,
            fat_sectors: 252,
            root_entries: root_entries.max(512).next_multiple_of(16),
            per_cluster,
            clusters: 0,
        };
        geometry.clusters = (SMALL - START - geometry.before_data()) / per_cluster;
        geometry
    }
    fn large(contents: u64) -> Geometry {
        let bytes = contents + contents / 4 + (256 << 20);
        let per_cluster = match bytes >> 30 {
            0..8 => 8,
            8..16 => 16,
            16..32 => 32,
            _ => 64,
        };
        // Less than 66000 clusters would be FAT16 for some.
        let clusters = ((bytes / 512).div_ceil(u64::from(per_cluster)) as u32).max(66_000);
        let fat_sectors = (clusters + 2).div_ceil(128);
        Geometry { is_fat32: true, reserved: 32, fat_sectors, root_entries: 0, per_cluster, clusters }
    }
    fn before_data(&self) -> u32 {
        self.reserved + 2 * self.fat_sectors + self.root_entries / 16
    }
    /// Sectors of the partition.
    fn sectors(&self) -> u32 {
        if self.is_fat32 { self.before_data() + self.clusters * self.per_cluster } else { SMALL - START }
    }
    pub(super) fn cluster_bytes(&self) -> u64 {
        u64::from(self.per_cluster) * 512
    }
    /// Where on the disk the first copy of the table is, and how long it is.
    pub(super) fn table(&self) -> (u64, usize) {
        (u64::from(START + self.reserved) * 512, self.fat_sectors as usize * 512)
    }
    /// The root folder, when it has a place of its own.
    pub(super) fn root(&self) -> Option<(u64, usize)> {
        let at = u64::from(START + self.reserved + 2 * self.fat_sectors) * 512;
        (!self.is_fat32).then_some((at, self.root_entries as usize * 32))
    }
    fn data_start(&self) -> u64 {
        u64::from(START + self.before_data()) * 512
    }
    /// Where a cluster is on the disk.
    pub(super) fn place(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(2).filter(|index| *index < self.clusters)?;
        Some(self.data_start() + u64::from(index) * self.cluster_bytes())
    }
    /// The clusters that bytes of the disk lie in.
    pub(super) fn clusters_of(&self, offset: u64, length: usize) -> std::ops::Range<u32> {
        let number = |at: u64| (at.saturating_sub(self.data_start()) / self.cluster_bytes()) as u32 + 2;
        let end = offset + length as u64;
        if end <= self.data_start() { 2..2 } else { number(offset)..number(end - 1) + 1 }
    }
}

/// What one run of clusters holds.
struct Extent {
    first: u32,
    count: u32,
    source: Source,
}

enum Source {
    Memory(Vec<u8>),
    File(usize),
}

/// What the disk held of a file or folder of the host at first.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) is_folder: bool,
    pub(super) size: u64,
    /// Runs of clusters: the first, and how many.
    pub(super) runs: Vec<(u32, u32)>,
    /// Which of the files it is.
    pub(super) number: Option<usize>,
}

/// A folder of the host as a read-only disk.
pub struct FatFolder {
    pub(super) geometry: Geometry,
    /// All before the first cluster.
    head: Vec<u8>,
    extents: Vec<Extent>,
    files: Files,
    known: BTreeMap<PathBuf, Known>,
    left_out: Vec<PathBuf>,
}

/// A file or folder on its way to the disk.
struct Item {
    path: PathBuf,
    short: [u8; 11],
    /// The long name; empty when the short one says it all.
    long: Vec<u16>,
    modified: u64,
    size: u64,
    children: Option<Vec<usize>>,
    parent: usize,
    first: u32,
    count: u32,
}

impl Item {
    fn entries(&self) -> usize {
        1 + self.long.len().div_ceil(13)
    }
}

impl FatFolder {
    /// Looks at the folder.
    ///
    /// # Errors
    /// It cannot be read, or holds too much.
    pub fn new(root: &Path) -> Result<FatFolder, ShareError> {
        let limit = |problem: &str| ShareError::Limit { path: root.to_owned(), problem: problem.into() };
        let mut left_out = Vec::new();
        let mut items = vec![Item {
            path: PathBuf::new(),
            short: *b"           ",
            long: Vec::new(),
            modified: 0,
            size: 0,
            children: None,
            parent: 0,
            first: 0,
            count: 0,
        }];
        items[0].children = Some(collect(&look(root)?, 0, &mut items, &mut left_out));
        let contents: u64 = items.iter().map(|item| item.size.next_multiple_of(32 << 10) + 32).sum();
        if contents > MOST_CONTENTS {
            return Err(limit("holds more than 1 TiB; share a smaller folder"));
        }
        let root_entries = 1 + folder_entries(&items, 0);
        let geometry = if contents > SMALL_CONTENTS || root_entries > 8192 {
            Geometry::large(contents)
        } else {
            Geometry::small(root_entries as u32 + 256)
        };
        let mut folder = FatFolder {
            geometry,
            head: Vec::new(),
            extents: Vec::new(),
            files: Files::new(root),
            known: BTreeMap::new(),
            left_out,
        };
        folder.lay_out(&mut items).ok_or_else(|| limit("holds too many small files; share a smaller folder"))?;
        Ok(folder)
    }
    /// What is in the folder and not on the disk, because of its name or its size.
    #[must_use]
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }
    pub(super) fn known(&self) -> &BTreeMap<PathBuf, Known> {
        &self.known
    }
    pub(super) fn root(&self) -> PathBuf {
        self.files.root.clone()
    }
    /// Keeps a file readable whose name will go. Fails when there are too many such files.
    pub(super) fn hold(&mut self, number: usize) -> std::io::Result<()> {
        if self.files.held.len() >= 256 {
            return Err(std::io::ErrorKind::QuotaExceeded.into());
        }
        self.files.hold(number)
    }

    /// Gives everything its clusters and writes tables and folders. `None` when they do not suffice.
    fn lay_out(&mut self, items: &mut [Item]) -> Option<()> {
        let geometry = self.geometry;
        let cluster = geometry.cluster_bytes();
        let mut table: Vec<u32> = vec![0x0fff_fff8, 0x0fff_ffff];
        for index in 0..items.len() {
            let bytes = match items[index].children {
                None => items[index].size,
                Some(_) if index == 0 && !geometry.is_fat32 => 0,
                // Each folder has two entries of its own, and an end.
                Some(_) => (folder_entries(items, index) as u64 + 3) * 32,
            };
            let count = u32::try_from(bytes.div_ceil(cluster)).ok()?;
            let first = table.len() as u32;
            if table.len() + count as usize > geometry.clusters as usize + 2 {
                return None;
            }
            for step in 1..=count {
                table.push(if step == count { 0x0fff_ffff } else { first + step });
            }
            items[index].first = if count == 0 { 0 } else { first };
            items[index].count = count;
        }
        let mut root = Vec::new();
        for index in 0..items.len() {
            let (first, count) = (items[index].first, items[index].count);
            let is_folder = items[index].children.is_some();
            let mut number = None;
            if is_folder {
                let bytes = self.folder(items, index);
                if count == 0 {
                    root = bytes;
                } else {
                    self.extents.push(Extent { first, count, source: Source::Memory(bytes) });
                }
            } else {
                number = Some(self.files.add(&items[index].path));
                if let Some(number) = number.filter(|_| count != 0) {
                    self.extents.push(Extent { first, count, source: Source::File(number) });
                }
            }
            if index != 0 {
                let runs = if count == 0 { Vec::new() } else { vec![(first, count)] };
                let known = Known { is_folder, size: items[index].size, runs, number };
                self.known.insert(items[index].path.clone(), known);
            }
        }
        self.head = vec![0; geometry.data_start() as usize];
        self.write_boot(table.len() as u32);
        let (at, length) = geometry.table();
        for copy in 0..2 {
            let target = &mut self.head[at as usize + copy * length..][..length];
            if geometry.is_fat32 {
                for (cell, entry) in target.chunks_exact_mut(4).zip(&table) {
                    cell.copy_from_slice(&entry.to_le_bytes());
                }
            } else {
                for (cell, entry) in target.chunks_exact_mut(2).zip(&table) {
                    cell.copy_from_slice(&(*entry as u16).to_le_bytes());
                }
            }
        }
        if let Some((at, length)) = geometry.root() {
            self.head.get_mut(at as usize..at as usize + length)?.get_mut(..root.len())?.copy_from_slice(&root);
        }
        Some(())
    }

    /// The entries of one folder.
    fn folder(&self, items: &[Item], index: usize) -> Vec<u8> {
        let folder = &items[index];
        let mut bytes = Vec::new();
        if index == 0 {
            bytes.extend(entry(b"BEIGEBOX   ", 0x08, 0, 0, 0));
        } else {
            let above = if folder.parent == 0 { 0 } else { items[folder.parent].first };
            bytes.extend(entry(b".          ", 0x10, folder.first, 0, folder.modified));
            bytes.extend(entry(b"..         ", 0x10, above, 0, folder.modified));
        }
        for child in folder.children.iter().flatten().map(|child| &items[*child]) {
            let sum = short_checksum(&child.short);
            let pieces = child.long.len().div_ceil(13);
            for (number, piece) in child.long.chunks(13).enumerate().rev() {
                let mut long = [0xff; 32];
                long[0] = (number + 1) as u8 | if number + 1 == pieces { 0x40 } else { 0 };
                (long[11], long[12], long[13], long[26], long[27]) = (0x0f, 0, sum, 0, 0);
                let end = (piece.len() < 13).then_some(&0);
                for (at, unit) in PLACES.iter().zip(piece.iter().chain(end)) {
                    long[*at..at + 2].copy_from_slice(&unit.to_le_bytes());
                }
                bytes.extend(long);
            }
            let kind = if child.children.is_some() { 0x10 } else { 0x20 };
            bytes.extend(entry(&child.short, kind, child.first, child.size as u32, child.modified));
        }
        bytes
    }

    fn write_boot(&mut self, used: u32) {
        let geometry = self.geometry;
        let heads: u16 = if geometry.is_fat32 { 255 } else { 16 };
        let mut put = |at: usize, bytes: &[u8]| self.head[at..at + bytes.len()].copy_from_slice(bytes);
        // INT 18h: nothing to boot here.
        put(0, &[0xcd, 0x18, 0xf4, 0xeb, 0xfd]);
        put(0x1b8, b"BGBX");
        let last = START + geometry.sectors() - 1;
        put(0x1be, &[0]);
        put(0x1bf, &cylinder(START, heads));
        put(0x1c2, &[if geometry.is_fat32 { 0x0c } else { 0x06 }]);
        put(0x1c3, &cylinder(last, heads));
        put(0x1c6, &START.to_le_bytes());
        put(0x1ca, &geometry.sectors().to_le_bytes());
        put(0x1fe, &[0x55, 0xaa]);
        let mut boot = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0xeb, if geometry.is_fat32 { 0x58 } else { 0x3c }, 0x90]);
        put(3, b"BEIGEBOX");
        put(11, &512u16.to_le_bytes());
        put(13, &[geometry.per_cluster as u8]);
        put(14, &(geometry.reserved as u16).to_le_bytes());
        put(16, &[2]);
        put(17, &(geometry.root_entries as u16).to_le_bytes());
        put(21, &[0xf8]);
        put(24, &63u16.to_le_bytes());
        put(26, &heads.to_le_bytes());
        put(28, &START.to_le_bytes());
        put(32, &geometry.sectors().to_le_bytes());
        let tail = if geometry.is_fat32 {
            put(36, &geometry.fat_sectors.to_le_bytes());
            put(44, &2u32.to_le_bytes());
            put(48, &[1, 0, 6, 0]);
            64
        } else {
            put(22, &(geometry.fat_sectors as u16).to_le_bytes());
            36
        };
        put(tail, &[0x80, 0, 0x29]);
        put(tail + 3, b"BGBX");
        put(tail + 7, b"BEIGEBOX   ");
        put(tail + 18, if geometry.is_fat32 { b"FAT32   " } else { b"FAT16   " });
        put(tail + 26, &[0xcd, 0x18, 0xf4, 0xeb, 0xfd]);
        put(510, &[0x55, 0xaa]);
        let start = START as usize * 512;
        self.head[start..start + 512].copy_from_slice(&boot);
        if geometry.is_fat32 {
            let mut info = [0u8; 512];
            info[..4].copy_from_slice(b"RRaA");
            info[484..488].copy_from_slice(b"rrAa");
            info[488..492].copy_from_slice(&(geometry.clusters + 2 - used).to_le_bytes());
            info[492..496].copy_from_slice(&used.to_le_bytes());
            info[510..512].copy_from_slice(&[0x55, 0xaa]);
            self.head[start + 512..start + 1024].copy_from_slice(&info);
            self.head[start + 6 * 512..start + 7 * 512].copy_from_slice(&boot);
        }
    }

    /// Reads within one extent or within a gap; returns how far.
    fn read_data(&mut self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        let cluster = self.geometry.cluster_bytes();
        let at = offset - self.geometry.data_start();
        let number = (at / cluster) as u32 + 2;
        let next = self.extents.partition_point(|extent| extent.first <= number);
        let begins = |extent: &Extent| u64::from(extent.first - 2) * cluster;
        if let Some(extent) = next.checked_sub(1).and_then(|index| self.extents.get(index))
            && number < extent.first + extent.count
        {
            let inside = at - begins(extent);
            let length = (u64::from(extent.count) * cluster - inside).min(buf.len() as u64) as usize;
            let target = &mut buf[..length];
            match &extent.source {
                Source::Memory(bytes) => {
                    let from = bytes.get(inside as usize..).unwrap_or_default();
                    let n = from.len().min(length);
                    target[..n].copy_from_slice(&from[..n]);
                    target[n..].fill(0);
                }
                Source::File(file) => self.files.read(*file, inside, target)?,
            }
            return Ok(length);
        }
        let end = self.extents.get(next).map_or(u64::MAX, begins);
        let length = (end - at).min(buf.len() as u64) as usize;
        buf[..length].fill(0);
        Ok(length)
    }
}

impl Storage for FatFolder {
    fn len(&self) -> u64 {
        // Whole cylinders, so that the partition ends where tools expect it to.
        let sectors = u64::from(START) + u64::from(self.geometry.sectors());
        if self.geometry.is_fat32 { sectors.next_multiple_of(255 * 63) * 512 } else { sectors * 512 }
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        check_range(self.len(), offset, buf.len())?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            done += match self.head.get(usize::try_from(at).unwrap_or(usize::MAX)..).filter(|rest| !rest.is_empty()) {
                Some(rest) => {
                    let n = rest.len().min(buf.len() - done);
                    buf[done..done + n].copy_from_slice(&rest[..n]);
                    n
                }
                None => self.read_data(at, &mut buf[done..]).map_err(|_| StorageError::Host)?,
            };
        }
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), StorageError> {
        Err(StorageError::ReadOnly)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Entries that the contents of a folder take.
fn folder_entries(items: &[Item], index: usize) -> usize {
    items[index].children.iter().flatten().map(|child| items[*child].entries()).sum()
}

/// Adds the nodes to the items, and returns which they are.
fn collect(nodes: &[Node], parent: usize, items: &mut Vec<Item>, left_out: &mut Vec<PathBuf>) -> Vec<usize> {
    let (mut shorts, mut names, mut children) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    // Names that are short ones already keep them.
    for node in nodes {
        shorts.extend(exact_short(&node.name));
    }
    for node in nodes {
        let size = if let Kind::File { size } = node.kind { size } else { 0 };
        let entries: usize = children.iter().map(|child: &usize| items[*child].entries()).sum();
        if !is_long_name(&node.name)
            || size > u64::from(u32::MAX)
            || entries > 65_000
            || !names.insert(node.name.to_uppercase())
        {
            left_out.push(node.path.clone());
            continue;
        }
        let (short, long) = match exact_short(&node.name) {
            Some(short) => (short, Vec::new()),
            None => {
                let Some(short) = (1..1_000_000).map(|n| alias(&node.name, n)).find(|short| !shorts.contains(short))
                else {
                    left_out.push(node.path.clone());
                    continue;
                };
                shorts.insert(short);
                (short, node.name.encode_utf16().collect())
            }
        };
        let index = items.len();
        items.push(Item {
            path: node.path.clone(),
            short,
            long,
            modified: node.modified,
            size,
            children: None,
            parent,
            first: 0,
            count: 0,
        });
        if let Kind::Folder(nodes) = &node.kind {
            items[index].children = Some(collect(nodes, index, items, left_out));
        }
        children.push(index);
    }
    children
}

/// Where the characters of a long name are in its entries.
pub(super) const PLACES: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Whether FAT can have such a name.
pub(super) fn is_long_name(name: &str) -> bool {
    let odd = |c: char| c < ' ' || c == '\x7f' || "\"*/:<>?\\|".contains(c);
    !name.is_empty()
        && name.encode_utf16().count() <= 255
        && !name.contains(odd)
        && !name.ends_with(['.', ' '])
        && !name.starts_with(' ')
}

fn is_short_character(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || "!#$%&'()-@^_`{}~".contains(c)
}

/// A name that needs no long one.
fn exact_short(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3 && !name.ends_with('.');
    if !fits || !base.chars().chain(extension.chars()).all(is_short_character) {
        return None;
    }
    let mut short = *b"           ";
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    Some(short)
}

/// The `number`th short name for a long one.
fn alias(name: &str, number: u32) -> [u8; 11] {
    let plain = |text: &str| -> String {
        let kept = text.chars().filter(|c| !" .".contains(*c)).map(|c| c.to_ascii_uppercase());
        kept.map(|c| if is_short_character(c) { c } else { '_' }).collect()
    };
    let (base, extension) = name.trim_start_matches('.').rsplit_once('.').unwrap_or((name, ""));
    let (base, extension, tail) = (plain(base), plain(extension), format!("~{number}"));
    let mut short = *b"           ";
    let kept = base.len().min(8 - tail.len());
    short[..kept].copy_from_slice(&base.as_bytes()[..kept]);
    short[kept..kept + tail.len()].copy_from_slice(tail.as_bytes());
    let n = extension.len().min(3);
    short[8..8 + n].copy_from_slice(&extension.as_bytes()[..n]);
    short
}

/// The sum by which long entries know their short one.
pub(super) fn short_checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

fn entry(name: &[u8; 11], attributes: u8, first: u32, size: u32, modified: u64) -> [u8; 32] {
    let (date, time) = dos_time(modified);
    let mut bytes = [0; 32];
    bytes[..11].copy_from_slice(name);
    bytes[11] = attributes;
    bytes[14..16].copy_from_slice(&time.to_le_bytes());
    bytes[16..18].copy_from_slice(&date.to_le_bytes());
    bytes[18..20].copy_from_slice(&date.to_le_bytes());
    bytes[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    bytes[22..24].copy_from_slice(&time.to_le_bytes());
    bytes[24..26].copy_from_slice(&date.to_le_bytes());
    bytes[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    bytes[28..].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// Head, sector and cylinder as partition tables have them; all ones' neighbours beyond their reach.
fn cylinder(sector: u32, heads: u16) -> [u8; 3] {
    let track = sector / 63;
    let (cylinder, head) = (track / u32::from(heads), track % u32::from(heads));
    if cylinder > 1023 {
        return [254, 0xff, 0xff];
    }
    [head as u8, (sector % 63 + 1) as u8 | (cylinder >> 8 << 6) as u8, cylinder as u8]
}
