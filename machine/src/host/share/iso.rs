//! A folder of the host as a compact disc: ISO 9660 (ECMA-119) with short names, and Joliet's second
//! tree with the names as they are.
//!
//! Files of 4 GiB and more, and names of more than 103 characters, are left out.

use super::{Files, Kind, Node, ShareError, look};
use crate::host::image::check_range;
use devices::rtc::DateTime;
use devices::storage::{Storage, StorageError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const SECTOR: usize = 2048;
/// Longest name in Joliet's tree, in characters: what still leaves room in a record of 255 bytes.
const LONGEST: usize = 103;

/// A folder of the host as a disc.
pub struct IsoFolder {
    /// All before the first file.
    head: Vec<u8>,
    /// Where files begin, how long they are, and which they are.
    extents: Vec<(u64, u64, usize)>,
    files: Files,
    sectors: u64,
}

/// One of the two trees.
struct Tree<'a> {
    folders: Vec<Folder<'a>>,
    is_joliet: bool,
}

struct Folder<'a> {
    name: Vec<u8>,
    parent: usize,
    modified: u64,
    children: Vec<Child<'a>>,
    sector: u32,
    sectors: u32,
}

struct Child<'a> {
    name: Vec<u8>,
    node: &'a Node,
    /// Its number, when it is a folder.
    folder: usize,
}

impl IsoFolder {
    /// Looks at the folder.
    ///
    /// # Errors
    /// It cannot be read, or holds too much.
    pub fn new(root: &Path) -> Result<IsoFolder, ShareError> {
        let nodes = look(root)?;
        let mut trees = [Tree::new(&nodes, false), Tree::new(&nodes, true)];
        // Descriptors, then both path tables of both trees, folders, files.
        let mut sector = 19u32;
        let mut tables = Vec::new();
        for tree in &trees {
            tables.push(sector);
            sector += 2 * (tree.path_table(true).len().div_ceil(SECTOR) as u32);
        }
        for folder in trees.iter_mut().flat_map(|tree| &mut tree.folders) {
            folder.sector = sector;
            sector += folder.sectors;
        }
        let head = sector as usize * SECTOR;
        let mut disc =
            IsoFolder { head: vec![0; head], extents: Vec::new(), files: Files::new(root), sectors: u64::from(sector) };
        let mut places = BTreeMap::new();
        disc.place(&nodes, &mut places);
        if u32::try_from(disc.sectors).is_err() {
            let problem = "holds more than a disc can; share a smaller folder".into();
            return Err(ShareError::Limit { path: root.to_owned(), problem });
        }
        for (index, tree) in trees.iter().enumerate() {
            disc.write_descriptor(tree, 16 + index, tables[index]);
            for (copy, is_little) in [true, false].into_iter().enumerate() {
                let table = tree.path_table(is_little);
                let at = tables[index] as usize * SECTOR + copy * table.len().next_multiple_of(SECTOR);
                disc.head[at..at + table.len()].copy_from_slice(&table);
            }
            for number in 0..tree.folders.len() {
                let bytes = tree.records(number, &places);
                let at = tree.folders[number].sector as usize * SECTOR;
                disc.head[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        disc.head[18 * SECTOR..18 * SECTOR + 7].copy_from_slice(b"\xffCD001\x01");
        Ok(disc)
    }

    /// Gives files their sectors.
    fn place(&mut self, nodes: &[Node], places: &mut BTreeMap<PathBuf, u32>) {
        for node in nodes {
            match &node.kind {
                Kind::Folder(nodes) => self.place(nodes, places),
                Kind::File { size } if *size <= u64::from(u32::MAX) => {
                    places.insert(node.path.clone(), self.sectors as u32);
                    let number = self.files.add(&node.path);
                    if *size != 0 {
                        self.extents.push((self.sectors * SECTOR as u64, *size, number));
                    }
                    self.sectors += size.div_ceil(SECTOR as u64);
                }
                Kind::File { .. } => {}
            }
        }
    }

    fn write_descriptor(&mut self, tree: &Tree<'_>, sector: usize, table: u32) {
        let length = tree.path_table(true).len() as u32;
        let mut bytes = [0u8; SECTOR];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
        put(0, &[if tree.is_joliet { 2 } else { 1 }]);
        put(1, b"CD001\x01");
        for (at, length) in [(8, 32), (40, 32), (190, 128), (318, 128), (446, 128), (574, 128), (702, 111)] {
            let blank = if tree.is_joliet { [0, b' '] } else { [b' ', b' '] };
            put(at, &blank.iter().copied().cycle().take(length).collect::<Vec<_>>());
        }
        if tree.is_joliet {
            put(40, &wide("BEIGEBOX"));
            // UCS-2 level 3.
            put(88, b"%/E");
        } else {
            put(40, b"BEIGEBOX");
        }
        put(80, &both(self.sectors as u32));
        put(120, &[1, 0, 0, 1]);
        put(124, &[1, 0, 0, 1]);
        put(128, &[0, 8, 8, 0]);
        put(132, &both(length));
        put(140, &table.to_le_bytes());
        put(148, &(table + length.div_ceil(SECTOR as u32)).to_be_bytes());
        let root = &tree.folders[0];
        put(156, &record(&[0], root.sector, root.sectors * SECTOR as u32, true, root.modified));
        // Dates that nobody has given.
        for at in [813, 830, 847, 864] {
            put(at, b"0000000000000000");
        }
        put(881, &[1]);
        self.head[sector * SECTOR..(sector + 1) * SECTOR].copy_from_slice(&bytes);
    }
}

impl<'a> Tree<'a> {
    fn new(nodes: &'a [Node], is_joliet: bool) -> Tree<'a> {
        let root = Folder { name: vec![0], parent: 0, modified: 0, children: Vec::new(), sector: 0, sectors: 0 };
        let mut tree = Tree { folders: vec![root], is_joliet };
        let mut inside = vec![nodes];
        // Folders are numbered level by level: the order of the path table.
        let mut number = 0;
        while let Some(nodes) = inside.get(number).copied() {
            let mut children = tree.names(nodes);
            children.sort_by(|a, b| a.name.cmp(&b.name));
            let mut bytes = 2 * 34;
            for child in &mut children {
                if let Kind::Folder(nodes) = &child.node.kind {
                    child.folder = tree.folders.len();
                    tree.folders.push(Folder {
                        name: child.name.clone(),
                        parent: number,
                        modified: child.node.modified,
                        children: Vec::new(),
                        sector: 0,
                        sectors: 0,
                    });
                    inside.push(nodes);
                }
                bytes = step(bytes, record_length(&child.name));
            }
            tree.folders[number].sectors = bytes.div_ceil(SECTOR) as u32;
            tree.folders[number].children = children;
            number += 1;
        }
        tree
    }
    /// The names of files and folders in this tree; both trees leave out the same.
    fn names(&self, nodes: &'a [Node]) -> Vec<Child<'a>> {
        let mut taken = BTreeSet::new();
        let mut children = Vec::new();
        for node in nodes {
            let is_file = match node.kind {
                Kind::File { size } if size > u64::from(u32::MAX) => continue,
                Kind::File { .. } => true,
                Kind::Folder(_) => false,
            };
            let units: Vec<u16> = node.name.encode_utf16().collect();
            if units.len() > LONGEST || node.name.contains(|c: char| c < ' ' || "*/:;?\\".contains(c)) {
                continue;
            }
            let name = if self.is_joliet {
                let end = if is_file { ";1" } else { "" };
                units.into_iter().chain(end.encode_utf16()).flat_map(u16::to_be_bytes).collect()
            } else {
                let short = (0..1_000_000).map(|number| short_name(&node.name, is_file, number));
                let Some(name) = short.into_iter().find(|name| !taken.contains(name)) else { continue };
                taken.insert(name.clone());
                name
            };
            children.push(Child { name, node, folder: 0 });
        }
        children
    }
    fn path_table(&self, is_little: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for folder in &self.folders {
            bytes.extend([folder.name.len() as u8, 0]);
            let parent = (folder.parent + 1) as u16;
            if is_little {
                bytes.extend(folder.sector.to_le_bytes());
                bytes.extend(parent.to_le_bytes());
            } else {
                bytes.extend(folder.sector.to_be_bytes());
                bytes.extend(parent.to_be_bytes());
            }
            bytes.extend(&folder.name);
            if !folder.name.len().is_multiple_of(2) {
                bytes.push(0);
            }
        }
        bytes
    }
    /// The records of one folder.
    fn records(&self, number: usize, places: &BTreeMap<PathBuf, u32>) -> Vec<u8> {
        let own = |name: &[u8], folder: &Folder<'_>| {
            record(name, folder.sector, folder.sectors * SECTOR as u32, true, folder.modified)
        };
        let folder = &self.folders[number];
        let mut bytes = own(&[0], folder);
        bytes.extend(own(&[1], &self.folders[folder.parent]));
        for child in &folder.children {
            let record = match child.node.kind {
                Kind::Folder(_) => own(&child.name, &self.folders[child.folder]),
                Kind::File { size } => {
                    let at = places.get(&child.node.path).copied().unwrap_or(0);
                    record(&child.name, at, size as u32, false, child.node.modified)
                }
            };
            bytes.resize(step(bytes.len(), record.len()) - record.len(), 0);
            bytes.extend(record);
        }
        bytes
    }
}

/// Where a record of `length` bytes ends that comes behind `at` bytes: none crosses a sector's end.
fn step(at: usize, length: usize) -> usize {
    let room = SECTOR - at % SECTOR;
    if room < length { at + room + length } else { at + length }
}

fn both(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn record_length(name: &[u8]) -> usize {
    (33 + name.len()).next_multiple_of(2)
}

fn record(name: &[u8], sector: u32, length: u32, is_folder: bool, modified: u64) -> Vec<u8> {
    let mut bytes = vec![0; record_length(name)];
    bytes[0] = bytes.len() as u8;
    bytes[2..10].copy_from_slice(&both(sector));
    bytes[10..18].copy_from_slice(&both(length));
    let date = DateTime::from_unix(modified);
    let year = (date.year.clamp(1970, 2155) - 1900) as u8;
    bytes[18..24].copy_from_slice(&[year, date.month, date.day, date.hour, date.minute, date.second]);
    bytes[25] = if is_folder { 2 } else { 0 };
    bytes[28..32].copy_from_slice(&[1, 0, 0, 1]);
    bytes[32] = name.len() as u8;
    bytes[33..33 + name.len()].copy_from_slice(name);
    bytes
}

/// A name of eight characters and three: level 1. The `number`th try, when others have it already.
fn short_name(name: &str, is_file: bool, number: u32) -> Vec<u8> {
    let plain = |text: &str, most: usize| -> String {
        let kept = text.chars().map(|c| c.to_ascii_uppercase());
        kept.map(|c| if c.is_ascii_uppercase() || c.is_ascii_digit() { c } else { '_' }).take(most).collect()
    };
    let (base, extension) = match name.rsplit_once('.') {
        Some((base, extension)) if is_file && !base.is_empty() => (base, extension),
        _ => (name, ""),
    };
    let tail = if number == 0 { String::new() } else { number.to_string() };
    let base = plain(base, 8 - tail.len()) + &tail;
    match is_file {
        true => format!("{base}.{};1", plain(extension, 3)),
        false => base,
    }
    .into_bytes()
}

impl Storage for IsoFolder {
    fn len(&self) -> u64 {
        self.sectors * SECTOR as u64
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        check_range(self.len(), offset, buf.len())?;
        buf.fill(0);
        if let Some(head) = usize::try_from(offset).ok().and_then(|at| self.head.get(at..)) {
            let n = head.len().min(buf.len());
            buf[..n].copy_from_slice(&head[..n]);
        }
        let end = offset + buf.len() as u64;
        let first = self.extents.partition_point(|(start, length, _)| start + length <= offset);
        let mut at = first;
        while let Some((start, length, file)) = self.extents.get(at).copied().filter(|(start, ..)| *start < end) {
            let (from, to) = (start.max(offset), (start + length).min(end));
            let target = &mut buf[(from - offset) as usize..(to - offset) as usize];
            self.files.read(file, from - start, target).map_err(|_| StorageError::Host)?;
            at += 1;
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
