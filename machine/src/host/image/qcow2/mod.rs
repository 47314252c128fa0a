//! qcow2, versions 2 and 3 (QEMU's `docs/interop/qcow2.txt`).
//!
//! **What survives.** Guest data goes to the file at once, metadata into caches. A flush, and a
//! table that must leave its cache, write in this order, with a `sync` wherever the next step
//! relies on the one before: data and refcounts, L2 tables, L1 entries, and last the release of
//! clusters that nothing refers to any more. A new refcount block is on the disk before the table
//! points to it, and a new table before the header does. So whenever a process or a host dies, the
//! image is consistent, holds everything that was flushed, and has leaked clusters at worst.
//!
//! **Damaged images.** Opening looks at the header and at every first-level entry; reading looks
//! at each entry that it follows. Nothing is written to an image in which tables overlap. When
//! that shows only later, no write is made any more and the image is marked corrupt, as QEMU does.
//! An image that is marked corrupt opens for reading only. One that is marked dirty (its
//! refcounts were written late, and not all of them) gets them computed anew when it is opened
//! for writing.
//!
//! Images with lazy refcounts are written with exact ones. Not supported, and refused: encryption,
//! external data files, extended L2 entries. Persistent bitmaps become invalid, and are marked so,
//! by the first write.

mod check;
mod create;
mod header;
mod snapshot;
mod tables;
#[cfg(test)]
mod tests;

pub use check::CheckReport;
pub use create::{CreateQcow2, Qcow2Facts};
pub use header::BackingName;
pub use snapshot::SnapshotInfo;

use super::FormatError;
use super::file::Backing;
use devices::storage::{Storage, StorageError};
use header::{Header, be64, check_table, incompatible};
use std::collections::{BTreeSet, HashSet};
use std::io::Read;
use tables::{Table, Tables};

const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Memory for L2 tables: with clusters of 64 KiB, those of a disk of 256 GiB.
const L2_CACHE: usize = 32 << 20;
const REFBLOCK_CACHE: usize = 1 << 20;
/// Clusters that were inflated last.
const INFLATED: usize = 8;

type Result<T> = std::result::Result<T, FormatError>;

/// Opens the backing file that an image names, or leaves it out.
pub type OpenBacking<'a> = dyn FnMut(&BackingName) -> Result<Option<Box<dyn Storage>>> + 'a;

/// What the file holds for a cluster of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// Nothing: what the backing file has.
    Unallocated,
    /// Zeros; a cluster may be reserved for them.
    Zero(Option<u64>),
    /// The bytes at an offset.
    Normal(u64),
    /// Compressed bytes: where, and how many there may be.
    Compressed(u64, u64),
}

/// A qcow2 image.
pub struct Qcow2 {
    file: Box<dyn Backing>,
    backing: Option<Box<dyn Storage>>,
    header: Header,
    size: u64,
    writable: bool,
    /// Each write is followed by a flush.
    through: bool,

    l1: Vec<u64>,
    l1_dirty: BTreeSet<usize>,
    reftable: Vec<u64>,
    l2: Tables,
    blocks: Tables,
    inflated: Vec<(u64, Vec<u8>)>,

    /// Clusters of L2 tables and refcount blocks.
    metadata: HashSet<u64>,
    /// Start and end of the other tables.
    reserved: Vec<(u64, u64)>,
    /// No cluster below this one is free.
    search: u64,
    /// Clusters that lose a reference once the L2 tables are on the disk.
    released: Vec<u64>,
    /// Where the next compressed cluster may begin.
    packed: u64,
    /// Something was written since the last sync.
    unsynced: bool,
    started: bool,
    broken: bool,
}

fn damaged<T>(field: &'static str, value: u64, problem: &'static str) -> Result<T> {
    Err(FormatError::Damaged { field, value, problem })
}

impl Qcow2 {
    /// Opens an image. `backing` is asked for the backing file, when there is one, with its size
    /// as the image needs it.
    ///
    /// # Errors
    /// When the image is damaged, or uses what is not supported; it is unchanged then.
    pub fn open(file: Box<dyn Backing>, writable: bool, backing: &mut OpenBacking<'_>) -> Result<Qcow2> {
        let mut image = Qcow2::open_unchecked(file, writable, backing)?;
        if writable {
            image.load_refcounts()?;
            if image.header.incompatible & incompatible::DIRTY != 0 {
                image.repair()?;
            }
        }
        Ok(image)
    }

    /// Opens an image for [`Qcow2::repair`], which must be the first thing that is done to it.
    ///
    /// # Errors
    /// As [`Qcow2::open`], but a mark of corruption is no hindrance.
    pub fn open_to_repair(file: Box<dyn Backing>, backing: &mut OpenBacking<'_>) -> Result<Qcow2> {
        let mut image = Qcow2::open_unchecked(file, false, backing)?;
        image.writable = true;
        Ok(image)
    }

    fn open_unchecked(mut file: Box<dyn Backing>, writable: bool, backing: &mut OpenBacking<'_>) -> Result<Qcow2> {
        let header = Header::read(&mut *file)?;
        if writable && header.incompatible & incompatible::CORRUPT != 0 {
            return Err(FormatError::Unsupported(
                "it is marked corrupt; run `beigebox image check --repair`, or open it read-only to rescue its data"
                    .into(),
            ));
        }
        let backing = match &header.backing {
            Some(name) => backing(name)?,
            None => None,
        };
        let cluster = header.cluster();
        let mut image = Qcow2 {
            size: header.size,
            backing,
            writable,
            through: false,
            l1: Vec::new(),
            l1_dirty: BTreeSet::new(),
            reftable: Vec::new(),
            l2: Tables::new(L2_CACHE, cluster),
            blocks: Tables::new(REFBLOCK_CACHE, cluster),
            inflated: Vec::new(),
            metadata: HashSet::new(),
            reserved: Vec::new(),
            search: 0,
            released: Vec::new(),
            packed: 0,
            unsynced: false,
            started: false,
            broken: false,
            file,
            header,
        };
        image.l1 = image.read_l1(image.header.l1_offset, image.header.l1_entries)?;
        for entry in &image.l1 {
            let offset = entry & OFFSET;
            if offset != 0 {
                check_table("L1 entry", offset, cluster, image.file.len())?;
            }
        }
        Ok(image)
    }

    /// Makes every write wait for its flush.
    pub fn set_writethrough(&mut self, through: bool) {
        self.through = through;
    }

    fn cluster(&self) -> u64 {
        self.header.cluster()
    }
    fn bits(&self) -> u32 {
        self.header.cluster_bits
    }
    /// log2 of the entries of an L2 table.
    fn l2_bits(&self) -> u32 {
        self.header.cluster_bits - 3
    }
    /// log2 of the refcounts in a block.
    fn block_bits(&self) -> u32 {
        self.header.cluster_bits + 3 - self.header.refcount_order
    }

    fn read_l1(&mut self, offset: u64, entries: u32) -> Result<Vec<u64>> {
        let mut bytes = vec![0; entries as usize * 8];
        self.file.read_at(offset, &mut bytes)?;
        Ok(bytes.chunks_exact(8).map(|entry| be64(entry, 0)).collect())
    }

    /// Reads the refcount table and notes where metadata is. Overlapping tables are refused.
    fn load_refcounts(&mut self) -> Result<()> {
        let (cluster, length) = (self.cluster(), self.file.len());
        let mut table = vec![0; (u64::from(self.header.reftable_clusters) << self.bits()) as usize];
        self.file.read_at(self.header.reftable_offset, &mut table)?;
        self.reftable = table.chunks_exact(8).map(|entry| be64(entry, 0)).collect();
        self.reserved = vec![(0, cluster)];
        let claim = |offset: u64, bytes: u64, reserved: &mut Vec<(u64, u64)>| -> Result<()> {
            let end = offset.saturating_add(bytes.next_multiple_of(cluster));
            if reserved.iter().any(|(start, stop)| offset < *stop && end > *start) {
                return damaged("table offset", offset, "two tables overlap");
            }
            reserved.push((offset, end));
            Ok(())
        };
        if !self.l1.is_empty() {
            claim(self.header.l1_offset, self.l1.len() as u64 * 8, &mut self.reserved)?;
        }
        claim(self.header.reftable_offset, table.len() as u64, &mut self.reserved)?;
        let (snapshots, table_bytes) = self.read_snapshots()?;
        if !snapshots.is_empty() {
            claim(self.header.snapshots_offset, table_bytes, &mut self.reserved)?;
        }
        // A hostile image may name many; then they are not looked after one by one.
        for snapshot in snapshots.iter().take(1024) {
            if snapshot.l1_entries != 0 {
                claim(snapshot.l1_offset, u64::from(snapshot.l1_entries) * 8, &mut self.reserved)?;
            }
        }
        let blocks = self.reftable.iter().map(|entry| ("refcount table entry", *entry, *entry & !0x1ff));
        let tables = self.l1.iter().map(|entry| ("L1 entry", *entry, *entry & OFFSET));
        for (field, entry, offset) in blocks.chain(tables) {
            if offset == 0 {
                continue;
            }
            check_table(field, offset, cluster, length)?;
            let reserved = self.reserved.iter().any(|(start, stop)| (*start..*stop).contains(&offset));
            if reserved || !self.metadata.insert(offset) {
                return damaged(field, entry, "points to a cluster that another table occupies");
            }
        }
        Ok(())
    }

    fn is_metadata(&self, offset: u64) -> bool {
        self.metadata.contains(&offset) || self.reserved.iter().any(|(start, stop)| (*start..*stop).contains(&offset))
    }

    /// The image has shown damage while it was in use: nothing is written any more but the mark.
    fn corrupt<T>(&mut self, field: &'static str, value: u64, problem: &'static str) -> Result<T> {
        self.broken = true;
        if self.writable && self.started && self.header.version >= 3 {
            self.header.incompatible |= incompatible::CORRUPT;
            let _ = self.file.write_at(72, &self.header.incompatible.to_be_bytes());
        }
        damaged(field, value, problem)
    }

    // --- tables ------------------------------------------------------------------------------

    fn l2_table(&mut self, offset: u64) -> Result<&mut Table> {
        if self.l2.find(offset).is_none() {
            if self.l2.victim().is_some_and(|table| table.dirty) {
                self.write_metadata()?;
            }
            let mut bytes = vec![0; self.cluster() as usize];
            self.file.read_at(offset, &mut bytes)?;
            self.l2.insert(offset, bytes, false);
        }
        self.l2.find(offset).ok_or_else(FormatError::internal)
    }

    /// The L2 entry of cluster `index` of the disk, as it stands in the table.
    fn raw_entry(&mut self, index: u64) -> Result<u64> {
        let bits = self.l2_bits();
        let l1 = self.l1.get((index >> bits) as usize).copied().unwrap_or(0) & OFFSET;
        if l1 == 0 {
            return Ok(0);
        }
        Ok(self.l2_table(l1)?.entry((index & ((1 << bits) - 1)) as usize))
    }

    fn decode(&self, raw: u64) -> Result<Entry> {
        if raw & COMPRESSED != 0 {
            let bits = 62 - (self.bits() - 8);
            let offset = raw & ((1 << bits) - 1);
            let sectors = (raw & (COMPRESSED - 1)) >> bits;
            if offset >= self.file.len() {
                return damaged("L2 entry", raw, "compressed data behind the end of the file; is it truncated?");
            }
            return Ok(Entry::Compressed(offset, (sectors + 1) * 512 - offset % 512));
        }
        let offset = raw & OFFSET;
        if !offset.is_multiple_of(self.cluster()) {
            return damaged("L2 entry", raw, "does not point to the beginning of a cluster");
        }
        if offset != 0 && offset >= self.file.len() && raw & ZERO == 0 {
            return damaged("L2 entry", raw, "points behind the end of the file; is it truncated?");
        }
        Ok(if self.header.version >= 3 && raw & ZERO != 0 {
            Entry::Zero((offset != 0).then_some(offset))
        } else if offset != 0 {
            Entry::Normal(offset)
        } else {
            Entry::Unallocated
        })
    }

    /// Stores an L2 entry; the table becomes this disk's own if a snapshot shares it.
    fn set_entry(&mut self, index: u64, value: u64) -> Result<()> {
        let bits = self.l2_bits();
        let at = (index >> bits) as usize;
        let l1 = self.l1.get(at).copied().ok_or_else(FormatError::internal)?;
        let mut table = l1 & OFFSET;
        if l1 & COPIED == 0 {
            let bytes = match table {
                0 => vec![0; self.cluster() as usize],
                shared => self.l2_table(shared)?.bytes.clone(),
            };
            if self.l2.victim().is_some_and(|table| table.dirty) {
                self.write_metadata()?;
            }
            let fresh = self.allocate(1)?;
            self.metadata.insert(fresh);
            self.l2.insert(fresh, bytes, true);
            if table != 0 {
                self.released.push(table);
            }
            self.l1[at] = fresh | COPIED;
            self.l1_dirty.insert(at);
            table = fresh;
        }
        self.l2_table(table)?.set_entry((index & ((1 << bits) - 1)) as usize, value);
        Ok(())
    }

    // --- refcounts ---------------------------------------------------------------------------

    fn block(&mut self, offset: u64) -> Result<&mut Table> {
        if self.blocks.find(offset).is_none() {
            // A count that is too high leaks at worst, and one is lowered only when it may be:
            // blocks can be written at any time.
            if let Some(victim) = self.blocks.victim().filter(|victim| victim.dirty) {
                self.file.write_at(victim.offset, &victim.bytes)?;
                victim.dirty = false;
                self.unsynced = true;
            }
            let mut bytes = vec![0; self.cluster() as usize];
            self.file.read_at(offset, &mut bytes)?;
            self.blocks.insert(offset, bytes, false);
        }
        self.blocks.find(offset).ok_or_else(FormatError::internal)
    }

    /// The refcount of a cluster, given by its number.
    fn refcount(&mut self, number: u64) -> Result<u64> {
        let bits = self.block_bits();
        let entry = self.reftable.get((number >> bits) as usize).copied().unwrap_or(0) & !0x1ff;
        if entry == 0 {
            return Ok(0);
        }
        let order = self.header.refcount_order;
        let at = (number & ((1 << bits) - 1)) as usize;
        Ok(get_refcount(&self.block(entry)?.bytes, at, order))
    }

    fn set_refcount(&mut self, number: u64, count: u64) -> Result<()> {
        let order = self.header.refcount_order;
        if order < 6 && count >> (1 << order) != 0 {
            return Err(FormatError::Unsupported(format!(
                "a cluster cannot be shared {count} times with such refcounts"
            )));
        }
        self.ensure_block(number)?;
        let bits = self.block_bits();
        let entry = self.reftable.get((number >> bits) as usize).copied().unwrap_or(0) & !0x1ff;
        let block = self.block(entry)?;
        put_refcount(&mut block.bytes, (number & ((1 << bits) - 1)) as usize, order, count);
        block.dirty = true;
        Ok(())
    }

    /// Sees to it that there is a refcount block for a cluster.
    fn ensure_block(&mut self, number: u64) -> Result<()> {
        let bits = self.block_bits();
        let index = (number >> bits) as usize;
        if index >= self.reftable.len() {
            self.grow_reftable(index)?;
        }
        if self.reftable.get(index).is_some_and(|entry| *entry != 0) {
            return Ok(());
        }
        // Without a block, none of its clusters is in use: the first takes the block itself.
        let offset = ((index as u64) << bits) << self.bits();
        if self.is_metadata(offset) {
            return self.corrupt("refcount table entry", 0, "no refcounts where tables are");
        }
        let mut bytes = vec![0; self.cluster() as usize];
        put_refcount(&mut bytes, 0, self.header.refcount_order, 1);
        self.file.write_at(offset, &bytes)?;
        self.unsynced = true;
        self.sync()?;
        self.file.write_at(self.header.reftable_offset + index as u64 * 8, &offset.to_be_bytes())?;
        self.unsynced = true;
        if let Some(victim) = self.blocks.victim().filter(|victim| victim.dirty) {
            self.file.write_at(victim.offset, &victim.bytes)?;
            victim.dirty = false;
        }
        self.blocks.insert(offset, bytes, false);
        self.reftable[index] = offset;
        self.metadata.insert(offset);
        Ok(())
    }

    /// Moves the refcount table to behind everything it describes, where it has room for block
    /// `index`.
    fn grow_reftable(&mut self, index: usize) -> Result<()> {
        let (bits, per_block) = (self.bits(), 1u64 << self.block_bits());
        // No cluster from here on has a refcount, so all are free.
        let first = self.reftable.len() as u64 * per_block;
        let wanted = (index as u64 + 1).max(self.reftable.len() as u64 + 1) * 3 / 2;
        let mut blocks = 1;
        let clusters = loop {
            let clusters = ((wanted + blocks) * 8).div_ceil(self.cluster());
            let enough = (blocks + clusters).div_ceil(per_block);
            if enough <= blocks {
                break clusters;
            }
            blocks = enough;
        };
        if clusters << bits > header::LARGEST_REFTABLE.max(self.cluster()) {
            return Err(FormatError::Unsupported("the file cannot grow any more: its refcount table is full".into()));
        }
        if (first..first + blocks + clusters).any(|number| self.is_metadata(number << bits)) {
            return self.corrupt("refcount table", first, "no refcounts where tables are");
        }
        let mut table = self.reftable.clone();
        table.resize(((clusters << bits) / 8) as usize, 0);
        for block in 0..blocks {
            let mut bytes = vec![0; self.cluster() as usize];
            for at in 0..per_block.min((blocks + clusters).saturating_sub(block * per_block)) {
                put_refcount(&mut bytes, at as usize, self.header.refcount_order, 1);
            }
            let offset = (first + block) << bits;
            self.file.write_at(offset, &bytes)?;
            table[self.reftable.len() + block as usize] = offset;
            self.metadata.insert(offset);
        }
        let offset = (first + blocks) << bits;
        let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        self.file.write_at(offset, &bytes)?;
        self.unsynced = true;
        self.sync()?;
        let mut fields = offset.to_be_bytes().to_vec();
        fields.extend((clusters as u32).to_be_bytes());
        self.file.write_at(48, &fields)?;
        self.unsynced = true;
        self.sync()?;
        let (old, old_clusters) = (self.header.reftable_offset, u64::from(self.header.reftable_clusters));
        self.reserved.retain(|(start, _)| *start != old);
        self.reserved.push((offset, offset + (clusters << bits)));
        self.released.extend((0..old_clusters).map(|number| old + (number << bits)));
        self.header.reftable_offset = offset;
        self.header.reftable_clusters = clusters as u32;
        self.reftable = table;
        Ok(())
    }

    /// Finds `count` free clusters in a row and takes them.
    fn allocate(&mut self, count: u64) -> Result<u64> {
        let bits = self.bits();
        let (mut first, mut run) = (self.search, 0);
        while run < count {
            let number = first + run;
            self.ensure_block(number)?;
            if self.refcount(number)? == 0 {
                if self.is_metadata(number << bits) {
                    return self.corrupt("refcount", number, "a cluster with a table counts as free");
                }
                run += 1;
            } else {
                first = number + 1;
                run = 0;
            }
        }
        for number in first..first + count {
            self.set_refcount(number, 1)?;
        }
        if count == 1 || first == self.search {
            self.search = first + count;
        }
        Ok(first << bits)
    }

    /// Takes a reference from a cluster. No table on the disk may refer to it for this one.
    fn release(&mut self, offset: u64) -> Result<()> {
        let number = offset >> self.bits();
        let count = self.refcount(number)?;
        if count == 0 {
            return self.corrupt("refcount", number, "a cluster that was in use counts as free");
        }
        self.set_refcount(number, count - 1)?;
        if count == 1 {
            self.search = self.search.min(number);
            if self.metadata.remove(&offset) {
                self.l2.discard(offset);
            }
        }
        Ok(())
    }

    // --- flushing ----------------------------------------------------------------------------

    fn sync(&mut self) -> Result<()> {
        if self.unsynced {
            if let Err(error) = self.file.sync() {
                // What the host has dropped is not known: nothing can be promised any more.
                self.broken = true;
                return Err(error.into());
            }
            self.unsynced = false;
        }
        Ok(())
    }

    /// Brings the file's tables up to date, each step after what it relies on is durable.
    fn write_metadata(&mut self) -> Result<()> {
        self.unsynced |= self.blocks.write(&mut *self.file)?;
        if self.l2.any_dirty() {
            self.sync()?;
            self.unsynced |= self.l2.write(&mut *self.file)?;
        }
        if !self.l1_dirty.is_empty() {
            self.sync()?;
            while let Some(at) = self.l1_dirty.first().copied() {
                let entry = self.l1.get(at).copied().unwrap_or(0);
                self.file.write_at(self.header.l1_offset + at as u64 * 8, &entry.to_be_bytes())?;
                self.unsynced = true;
                self.l1_dirty.remove(&at);
            }
        }
        if !self.released.is_empty() {
            self.sync()?;
            for offset in std::mem::take(&mut self.released) {
                self.release(offset)?;
            }
            self.unsynced |= self.blocks.write(&mut *self.file)?;
        }
        Ok(())
    }

    fn flush_all(&mut self) -> Result<()> {
        if !self.writable {
            return Ok(());
        }
        if self.broken {
            return Err(FormatError::internal());
        }
        self.write_metadata()?;
        self.sync()
    }

    // --- guest data --------------------------------------------------------------------------

    fn read_backing(&mut self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let Some(backing) = &mut self.backing else {
            buf.fill(0);
            return Ok(());
        };
        let held = usize::try_from(backing.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (held, missing) = buf.split_at_mut(held);
        missing.fill(0);
        if !held.is_empty() {
            backing
                .read(offset, held)
                .map_err(|_| FormatError::Unsupported("the backing file cannot be read".into()))?;
        }
        Ok(())
    }

    fn inflate(&mut self, raw: u64, offset: u64, length: u64) -> Result<usize> {
        if let Some(at) = self.inflated.iter().position(|(known, _)| *known == raw) {
            return Ok(at);
        }
        let length = length.min(self.file.len() - offset);
        let mut packed = vec![0; length as usize];
        self.file.read_at(offset, &mut packed)?;
        let mut out = vec![0; self.cluster() as usize];
        let fine = if self.header.zstd {
            match ruzstd::decoding::StreamingDecoder::new(packed.as_slice()) {
                Ok(mut decoder) => decoder.read_exact(&mut out).is_ok(),
                Err(_) => false,
            }
        } else {
            inflate(&packed, &mut out)
        };
        if !fine {
            return damaged("L2 entry", raw, "the compressed cluster cannot be decompressed");
        }
        if self.inflated.len() >= INFLATED {
            self.inflated.remove(0);
        }
        self.inflated.push((raw, out));
        Ok(self.inflated.len() - 1)
    }

    pub(super) fn read_range(&mut self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        let (bits, cluster) = (self.bits(), self.cluster());
        while !buf.is_empty() {
            let inside = offset % cluster;
            let mut n = ((cluster - inside) as usize).min(buf.len());
            let raw = self.raw_entry(offset >> bits)?;
            let entry = self.decode(raw)?;
            if let Entry::Normal(host) = entry {
                // Clusters that follow each other in the file are read at once.
                while n < buf.len() {
                    let next = self.raw_entry((offset + n as u64) >> bits)?;
                    let follows = host + inside + n as u64;
                    if next & (COMPRESSED | ZERO) != 0 || next & OFFSET != follows || follows >= self.file.len() {
                        break;
                    }
                    n += (cluster as usize).min(buf.len() - n);
                }
            }
            let (part, rest) = buf.split_at_mut(n);
            match entry {
                Entry::Unallocated => self.read_backing(offset, part)?,
                Entry::Zero(_) => part.fill(0),
                Entry::Normal(host) => self.file.read_at(host + inside, part)?,
                Entry::Compressed(at, length) => {
                    let slot = self.inflate(raw, at, length)?;
                    let bytes = self.inflated.get(slot).map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
                    part.copy_from_slice(bytes.get(inside as usize..inside as usize + n).unwrap_or_default());
                }
            }
            buf = rest;
            offset += n as u64;
        }
        Ok(())
    }

    /// The first write: the image is in use from now on.
    fn begin(&mut self) -> Result<()> {
        if self.broken || !self.writable {
            return Err(FormatError::internal());
        }
        if !self.started {
            self.started = true;
            if self.header.autoclear != 0 {
                self.header.autoclear = 0;
                self.file.write_at(88, &[0; 8])?;
                self.unsynced = true;
            }
        }
        Ok(())
    }

    fn write_range(&mut self, mut offset: u64, mut data: &[u8]) -> Result<()> {
        self.begin()?;
        let (bits, cluster) = (self.bits(), self.cluster());
        while !data.is_empty() {
            let inside = (offset % cluster) as usize;
            let (part, rest) = data.split_at((cluster as usize - inside).min(data.len()));
            self.write_cluster(offset >> bits, inside, part)?;
            data = rest;
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn write_cluster(&mut self, index: u64, inside: usize, part: &[u8]) -> Result<()> {
        let raw = self.raw_entry(index)?;
        let entry = self.decode(raw)?;
        let own = raw & COPIED != 0;
        if let (Entry::Normal(host) | Entry::Zero(Some(host)), true) = (entry, own)
            && self.is_metadata(host)
        {
            return self.corrupt("L2 entry", raw, "points to a table");
        }
        self.unsynced = true;
        if let (Entry::Normal(host), true) = (entry, own) {
            return Ok(self.file.write_at(host + inside as u64, part)?);
        }
        let whole = part.len() as u64 == self.cluster();
        let host = match entry {
            Entry::Zero(Some(host)) if own => host,
            _ => self.allocate(1)?,
        };
        // Behind the end of the file are zeros already.
        let blank = match entry {
            Entry::Unallocated => self.backing.is_none(),
            Entry::Zero(_) => true,
            _ => false,
        };
        if whole || blank && host >= self.file.len() {
            self.file.write_at(host + inside as u64, part)?;
        } else {
            let mut bytes = vec![0; self.cluster() as usize];
            let start = index << self.bits();
            let held = (self.size - start).min(self.cluster()) as usize;
            if !blank {
                self.read_range(start, &mut bytes[..held])?;
            }
            bytes[inside..inside + part.len()].copy_from_slice(part);
            self.file.write_at(host, &bytes)?;
        }
        self.set_entry(index, host | COPIED)?;
        self.release_entry(entry, Some(host));
        Ok(())
    }

    /// Takes the references of an entry that was replaced, once the new one is on the disk.
    fn release_entry(&mut self, entry: Entry, kept: Option<u64>) {
        match entry {
            Entry::Normal(host) | Entry::Zero(Some(host)) if Some(host) != kept => self.released.push(host),
            Entry::Compressed(offset, length) => {
                let clusters = self.clusters_of(offset, length);
                self.released.extend(clusters);
            }
            _ => {}
        }
    }

    /// Offsets of the clusters that a compressed cluster touches.
    fn clusters_of(&self, offset: u64, length: u64) -> impl Iterator<Item = u64> + use<> {
        let bits = self.bits();
        let last = (offset + length - 1) >> bits;
        (offset >> bits..=last).map(move |number| number << bits)
    }

    /// Stores a whole cluster compressed, if that makes it smaller. For images that are being
    /// made: the cluster must be unallocated.
    ///
    /// # Errors
    /// When the host cannot write.
    pub fn write_compressed(&mut self, offset: u64, data: &[u8]) -> std::result::Result<(), FormatError> {
        self.begin()?;
        let cluster = self.cluster();
        let packed = if self.header.zstd {
            ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
        } else {
            deflate(data)
        };
        let index = offset >> self.bits();
        if !offset.is_multiple_of(cluster)
            || data.len() as u64 != cluster
            || packed.len() as u64 + 512 >= cluster
            || self.raw_entry(index)? != 0
        {
            return self.write_range(offset, data);
        }
        // Behind the last one if there is room, or the free cluster is its neighbour.
        let length = packed.len() as u64;
        let room = self.packed.next_multiple_of(cluster) - self.packed;
        let mut at = self.packed;
        let mut joins = length <= room;
        if !joins {
            let fresh = self.allocate(1)?;
            joins = room != 0 && fresh == self.packed + room;
            if !joins {
                at = fresh;
            }
        }
        if joins {
            let number = at >> self.bits();
            let count = self.refcount(number)?;
            self.set_refcount(number, count + 1)?;
        }
        let sectors = (at % 512 + length).div_ceil(512) - 1;
        self.file.write_at(at, &packed)?;
        self.unsynced = true;
        self.packed = at + length;
        let bits = 62 - (self.bits() - 8);
        self.set_entry(index, COMPRESSED | sectors << bits | at)
    }
}

impl Storage for Qcow2 {
    fn len(&self) -> u64 {
        self.size
    }
    fn read_only(&self) -> bool {
        !self.writable
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> std::result::Result<(), StorageError> {
        super::check_range(self.size, offset, buf.len())?;
        self.read_range(offset, buf).map_err(|_| StorageError::Host)
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> std::result::Result<(), StorageError> {
        super::check_range(self.size, offset, data.len())?;
        if !self.writable {
            return Err(StorageError::ReadOnly);
        }
        self.write_range(offset, data).map_err(|_| StorageError::Host)?;
        if self.through { self.flush() } else { Ok(()) }
    }
    fn flush(&mut self) -> std::result::Result<(), StorageError> {
        self.flush_all().map_err(|_| StorageError::Host)
    }
}

impl Drop for Qcow2 {
    fn drop(&mut self) {
        if self.writable && self.started {
            let _ = self.flush_all();
        }
    }
}

fn get_refcount(block: &[u8], at: usize, order: u32) -> u64 {
    match order {
        0..=2 => {
            let bits = 1usize << order;
            let byte = block.get(at * bits / 8).copied().unwrap_or(0);
            u64::from(byte >> (at * bits % 8)) & ((1 << bits) - 1)
        }
        _ => {
            let bytes = 1usize << (order - 3);
            block
                .get(at * bytes..(at + 1) * bytes)
                .unwrap_or_default()
                .iter()
                .fold(0, |all, byte| all << 8 | u64::from(*byte))
        }
    }
}

fn put_refcount(block: &mut [u8], at: usize, order: u32, count: u64) {
    match order {
        0..=2 => {
            let bits = 1usize << order;
            if let Some(byte) = block.get_mut(at * bits / 8) {
                let shift = at * bits % 8;
                let mask = ((1u16 << bits) - 1) as u8;
                *byte = *byte & !(mask << shift) | (count as u8 & mask) << shift;
            }
        }
        _ => {
            let bytes = 1usize << (order - 3);
            if let Some(place) = block.get_mut(at * bytes..(at + 1) * bytes) {
                place.copy_from_slice(&count.to_be_bytes()[8 - bytes..]);
            }
        }
    }
}

/// Raw deflate data to exactly `out`.
fn inflate(packed: &[u8], out: &mut [u8]) -> bool {
    let mut engine = flate2::Decompress::new(false);
    let _ = engine.decompress(packed, out, flate2::FlushDecompress::Finish);
    engine.total_out() == out.len() as u64
}

/// Raw deflate data whose window is the 4 KiB that readers of qcow2 keep.
fn deflate(data: &[u8]) -> Vec<u8> {
    let mut engine = flate2::Compress::new_with_window_bits(flate2::Compression::default(), false, 12);
    let mut out = Vec::with_capacity(data.len() + 1024);
    match engine.compress_vec(data, &mut out, flate2::FlushCompress::Finish) {
        Ok(flate2::Status::StreamEnd) => out,
        // Too large to be of use.
        _ => vec![0; data.len() + 1024],
    }
}
