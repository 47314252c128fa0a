//! Checking an image: every reference is counted and compared with the refcounts.

use super::*;
use std::collections::HashMap;

/// Messages that a report keeps.
const MOST_MESSAGES: usize = 20;
/// Bytes of snapshots' L1 tables that are looked at.
const MOST_L1_BYTES: u64 = 256 << 20;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Clusters that count as used, or as used more often, without being so. They waste space.
    pub leaks: u64,
    /// Clusters that are used more often than they count, entries that point nowhere, flags that
    /// do not fit: writing to the image loses data.
    pub corruptions: u64,
    /// Those of them that a repair cannot mend, because data is missing.
    pub hopeless: u64,
    /// The first findings, as text.
    pub messages: Vec<String>,
    /// Clusters of the disk that the image holds.
    pub allocated: u64,
    /// Those of them that are compressed.
    pub compressed: u64,
    /// Clusters of the disk.
    pub total: u64,
}

impl CheckReport {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.leaks == 0 && self.corruptions == 0
    }
    fn say(&mut self, text: String) {
        if self.messages.len() < MOST_MESSAGES {
            self.messages.push(text);
        }
    }
    fn hopeless(&mut self, text: String) {
        self.corruptions += 1;
        self.hopeless += 1;
        self.say(text);
    }
}

/// References to each cluster, by its number.
pub(super) type References = HashMap<u64, u64>;

impl Qcow2 {
    /// Compares all references with the refcounts. Nothing is changed.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn check(&mut self) -> Result<CheckReport> {
        self.flush_all()?;
        let mut report = CheckReport::default();
        self.metadata.clear();
        if let Err(error) = self.load_refcounts() {
            let FormatError::Damaged { .. } = error else { return Err(error) };
            report.hopeless(error.to_string());
            return Ok(report);
        }
        let references = self.references(&mut report, true)?;
        let per_block = 1u64 << self.block_bits();
        let mut seen = 0;
        for block in 0..self.reftable.len() as u64 {
            if self.reftable.get(block as usize).is_none_or(|entry| *entry == 0) {
                continue;
            }
            for number in block * per_block..(block + 1) * per_block {
                let (count, used) = (self.refcount(number)?, references.get(&number).copied().unwrap_or(0));
                seen += u64::from(used != 0);
                if count > used {
                    report.leaks += 1;
                    report.say(format!("leaked cluster {number}: refcount {count}, {used} references"));
                } else if count < used {
                    report.corruptions += 1;
                    report.say(format!("cluster {number}: refcount {count}, {used} references"));
                }
            }
        }
        let uncounted = references.len() as u64 - seen;
        if uncounted != 0 {
            report.corruptions += uncounted;
            report.say(format!("{uncounted} clusters are in use without having a refcount"));
        }
        self.check_flags(&mut report)?;
        if self.header.incompatible & incompatible::CORRUPT != 0 {
            report.corruptions += 1;
            report.say("the image is marked corrupt".into());
        }
        if self.header.incompatible & incompatible::DIRTY != 0 {
            report
                .say("the image was not closed; its refcounts are computed anew when it is opened for writing".into());
        }
        Ok(report)
    }

    /// Counts every reference to a cluster. `data` counts the disk's own clusters for the report.
    pub(super) fn references(&mut self, report: &mut CheckReport, data: bool) -> Result<References> {
        let (bits, length) = (self.bits(), self.file.len());
        let mut references = References::new();
        let count = |references: &mut References, offset: u64, bytes: u64, weight: u64| {
            if bytes != 0 {
                for number in offset >> bits..=(offset + bytes - 1) >> bits {
                    *references.entry(number).or_default() += weight;
                }
            }
        };
        count(&mut references, 0, 1, 1);
        count(&mut references, self.header.l1_offset, self.l1.len() as u64 * 8, 1);
        count(&mut references, self.header.reftable_offset, self.reftable.len() as u64 * 8, 1);
        for entry in &self.reftable {
            if *entry != 0 {
                count(&mut references, entry & !0x1ff, 1, 1);
            }
        }
        let (snapshots, table) = self.read_snapshots()?;
        count(&mut references, self.header.snapshots_offset, table, 1);
        // Each table is walked once, whatever the number of references to it.
        let mut tables: HashMap<u64, (u64, bool)> = HashMap::new();
        for entry in &self.l1 {
            if entry & OFFSET != 0 {
                let (weight, active) = tables.entry(entry & OFFSET).or_default();
                *weight += 1;
                *active = true;
            }
        }
        let mut l1_bytes = 0;
        for snapshot in &snapshots {
            l1_bytes += u64::from(snapshot.l1_entries) * 8;
            if l1_bytes > MOST_L1_BYTES {
                return Err(FormatError::Unsupported("its snapshots are too large to be checked".into()));
            }
            count(&mut references, snapshot.l1_offset, u64::from(snapshot.l1_entries) * 8, 1);
            for entry in self.read_l1(snapshot.l1_offset, snapshot.l1_entries)? {
                if entry & OFFSET != 0 {
                    tables.entry(entry & OFFSET).or_default().0 += 1;
                }
            }
        }
        report.total = self.size.div_ceil(self.cluster());
        let mut order: Vec<(u64, (u64, bool))> = tables.into_iter().collect();
        order.sort_unstable();
        for (offset, (weight, active)) in order {
            if !offset.is_multiple_of(self.cluster()) || offset >= length {
                report.hopeless(format!("an L1 entry points to {offset:#x}, where no table can be"));
                continue;
            }
            count(&mut references, offset, 1, weight);
            let entries: Vec<u64> = self
                .l2_table(offset)?
                .bytes
                .chunks_exact(8)
                .map(|entry| be64(entry, 0))
                .filter(|raw| *raw != 0)
                .collect();
            for raw in entries {
                match self.decode(raw) {
                    Ok(Entry::Unallocated | Entry::Zero(None)) => {}
                    Ok(Entry::Normal(host) | Entry::Zero(Some(host))) => {
                        count(&mut references, host, 1, weight);
                        report.allocated += u64::from(data && active);
                    }
                    Ok(Entry::Compressed(at, packed)) => {
                        count(&mut references, at, packed, weight);
                        report.allocated += u64::from(data && active);
                        report.compressed += u64::from(data && active);
                    }
                    Err(error) => report.hopeless(error.to_string()),
                }
            }
        }
        Ok(references)
    }

    /// Looks whether entries say "mine alone" exactly where the refcount is 1.
    fn check_flags(&mut self, report: &mut CheckReport) -> Result<()> {
        for at in 0..self.l1.len() {
            let entry = self.l1.get(at).copied().unwrap_or(0);
            let table = entry & OFFSET;
            if table == 0 || !table.is_multiple_of(self.cluster()) || table >= self.file.len() {
                continue;
            }
            let count = self.refcount(table >> self.bits())?;
            if (count == 1) != (entry & COPIED != 0) {
                report.corruptions += 1;
                report.say(format!("L1 entry {at}: wrong copied flag for refcount {count}"));
            }
            for slot in 0..1usize << self.l2_bits() {
                let raw = self.l2_table(table)?.entry(slot);
                if raw == 0 {
                    continue;
                }
                let (host, compressed) = match self.decode(raw) {
                    Ok(Entry::Normal(host) | Entry::Zero(Some(host))) => (host, false),
                    Ok(Entry::Compressed(..)) => (0, true),
                    _ => continue,
                };
                let count = if compressed { 0 } else { self.refcount(host >> self.bits())? };
                if (count == 1) != (raw & COPIED != 0) {
                    report.corruptions += 1;
                    report.say(format!("L2 entry {raw:#x}: wrong copied flag for refcount {count}"));
                }
            }
        }
        Ok(())
    }

    /// Frees leaked clusters and mends refcounts and flags: everything is counted anew, written to
    /// the end of the file, and taken into use by one write to the header.
    ///
    /// # Errors
    /// When entries point nowhere, so that data is lost: the image is unchanged then. When the
    /// host cannot write.
    pub fn repair(&mut self) -> Result<()> {
        if !self.writable {
            return Err(FormatError::internal());
        }
        self.flush_all()?;
        self.metadata.clear();
        self.load_refcounts()?;
        self.rebuild()
    }

    /// Makes refcounts and flags fit the header and tables as they are in memory, and only then
    /// writes the header.
    pub(super) fn rebuild(&mut self) -> Result<()> {
        let (bits, cluster, order) = (self.bits(), self.cluster(), self.header.refcount_order);
        // The old refcounts are in nobody's way and refer to nothing.
        self.reftable.clear();
        self.blocks.forget();
        self.broken = true;
        let mut report = CheckReport::default();
        let mut counts = self.references(&mut report, false)?;
        if report.hopeless != 0 {
            let text = format!("it cannot be repaired: {}", report.messages.join("; "));
            return Err(FormatError::Unsupported(text));
        }
        let per_block = 1u64 << self.block_bits();
        let end = counts.keys().max().map_or(1, |last| last + 1).max(self.file.len().div_ceil(cluster));
        let mut indices: BTreeSet<u64> = counts.keys().map(|number| number / per_block).collect();
        let (mut blocks, mut clusters) = (0, 0);
        loop {
            let before = (blocks, clusters);
            blocks = indices.len() as u64;
            let last = indices.last().copied().unwrap_or(0);
            clusters = ((last + 1) * 8).div_ceil(cluster);
            // Bounds the work as well: a place far behind the end of the file is enough to come here.
            if clusters > header::LARGEST_REFTABLE.max(cluster) >> bits {
                return Err(FormatError::Unsupported("the file is too large for its refcounts".into()));
            }
            indices.extend((end / per_block)..=(end + blocks + clusters) / per_block);
            if (blocks, clusters) == before {
                break;
            }
        }
        for number in end..end + blocks + clusters {
            counts.insert(number, 1);
        }
        if let Some((number, count)) = counts.iter().find(|(_, count)| order < 6 && **count >> (1 << order) != 0) {
            let text = format!("cluster {number} is used {count} times, more than its refcount can say");
            return Err(FormatError::Unsupported(text));
        }
        let mut by_block: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
        for (number, count) in &counts {
            by_block.entry(number / per_block).or_default().push((number % per_block, *count));
        }
        let mut table = vec![0u64; ((clusters << bits) / 8) as usize];
        for (slot, index) in indices.iter().enumerate() {
            let mut bytes = vec![0; cluster as usize];
            for (at, count) in by_block.get(index).into_iter().flatten() {
                put_refcount(&mut bytes, *at as usize, order, *count);
            }
            let offset = (end + slot as u64) << bits;
            self.file.write_at(offset, &bytes)?;
            if let Some(entry) = table.get_mut(*index as usize) {
                *entry = offset;
            }
        }
        let offset = (end + blocks) << bits;
        let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        self.file.write_at(offset, &bytes)?;
        self.mend_flags(&counts, false)?;
        self.unsynced = true;
        self.sync()?;
        self.header.reftable_offset = offset;
        self.header.reftable_clusters = clusters as u32;
        if self.header.version >= 3 {
            self.header.incompatible = self.header.incompatible & !incompatible::CORRUPT | incompatible::DIRTY;
        }
        self.write_header()?;
        self.mend_flags(&counts, true)?;
        self.sync()?;
        if self.header.version >= 3 {
            self.header.incompatible &= !incompatible::DIRTY;
            self.file.write_at(72, &self.header.incompatible.to_be_bytes())?;
            self.unsynced = true;
        }
        self.sync()?;
        self.released.clear();
        self.search = 0;
        self.packed = 0;
        self.broken = false;
        self.metadata.clear();
        self.load_refcounts()
    }

    /// Writes those fields of the header that change, in one piece.
    pub(super) fn write_header(&mut self) -> Result<()> {
        let bytes = self.header.first_cluster();
        let end = if self.header.version >= 3 { 80 } else { 72 };
        self.file.write_at(24, bytes.get(24..end).unwrap_or_default())?;
        self.unsynced = true;
        self.sync()
    }

    /// Sets the flag "mine alone" where there is one reference, or takes it where there are more.
    fn mend_flags(&mut self, counts: &References, set: bool) -> Result<()> {
        let bits = self.bits();
        let right = |raw: u64, count: u64| match (set, count == 1) {
            (true, true) => raw | COPIED,
            (false, false) => raw & !COPIED,
            _ => raw,
        };
        let count = |offset: u64| counts.get(&(offset >> bits)).copied().unwrap_or(0);
        for at in 0..self.l1.len() {
            let entry = self.l1.get(at).copied().unwrap_or(0);
            let table = entry & OFFSET;
            if table == 0 {
                continue;
            }
            let wanted = right(entry, count(table));
            if wanted != entry {
                self.l1[at] = wanted;
                self.file.write_at(self.header.l1_offset + at as u64 * 8, &wanted.to_be_bytes())?;
                self.unsynced = true;
            }
            for slot in 0..1usize << self.l2_bits() {
                let raw = self.l2_table(table)?.entry(slot);
                let wanted = match if raw == 0 { Entry::Unallocated } else { self.decode(raw)? } {
                    Entry::Normal(host) | Entry::Zero(Some(host)) => right(raw, count(host)),
                    Entry::Compressed(..) => raw & !COPIED,
                    _ => raw,
                };
                if wanted != raw {
                    self.l2_table(table)?.set_entry(slot, wanted);
                }
            }
        }
        self.unsynced |= self.l2.write(&mut *self.file)?;
        Ok(())
    }
}
