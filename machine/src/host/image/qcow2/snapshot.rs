//! Internal snapshots: older states of the disk in the same file.

use super::header::be32;
use super::*;

/// Bytes of the snapshot table that are accepted.
const LARGEST_TABLE: u64 = 64 << 20;

/// An internal snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its number, as text.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Seconds since 1970 when it was made.
    pub seconds: u32,
    /// Size of the disk.
    pub disk_size: u64,
    /// Bytes of machine state that belong to it.
    pub state_size: u64,
    pub(super) l1_offset: u64,
    pub(super) l1_entries: u32,
    /// The entry as it stands in the file, but for the table's position.
    raw: Vec<u8>,
}

impl Qcow2 {
    /// The snapshots, and how many bytes their table has.
    pub(super) fn read_snapshots(&mut self) -> Result<(Vec<SnapshotInfo>, u64)> {
        let start = self.header.snapshots_offset;
        let mut at = start;
        let mut all = Vec::new();
        for _ in 0..self.header.snapshots {
            let mut head = [0; 40];
            self.file.read_at(at, &mut head)?;
            let short = |at: usize| {
                usize::from(head.get(at).copied().unwrap_or(0)) << 8
                    | usize::from(head.get(at + 1).copied().unwrap_or(0))
            };
            let (id, name, extra) = (short(12), short(14), be32(&head, 36) as usize);
            if extra > 1024 {
                return damaged("snapshot extra data", extra as u64, "more than 1024 bytes");
            }
            let length = 40 + extra + id + name;
            if at + length as u64 > self.file.len().max(self.cluster()) || at - start > LARGEST_TABLE {
                return damaged("snapshot table", at, "does not end within the file");
            }
            let mut raw = vec![0; length];
            self.file.read_at(at, &mut raw)?;
            let text = |from: usize, length: usize| {
                String::from_utf8_lossy(raw.get(from..from + length).unwrap_or_default()).into_owned()
            };
            let snapshot = SnapshotInfo {
                id: text(40 + extra, id),
                name: text(40 + extra + id, name),
                seconds: be32(&head, 16),
                disk_size: if extra >= 16 { be64(&raw, 48) } else { self.header.size },
                state_size: if extra >= 8 { be64(&raw, 40) } else { be32(&head, 32).into() },
                l1_offset: be64(&head, 0),
                l1_entries: be32(&head, 8),
                raw,
            };
            if snapshot.l1_entries > 4 << 20 {
                return damaged("snapshot L1 size", snapshot.l1_entries.into(), "the L1 table is larger than 32 MiB");
            }
            if snapshot.l1_entries != 0 {
                check_table("snapshot L1 offset", snapshot.l1_offset, self.cluster(), self.file.len())?;
            }
            at += (length as u64).next_multiple_of(8);
            all.push(snapshot);
        }
        Ok((all, at - start))
    }

    /// The internal snapshots.
    ///
    /// # Errors
    /// When their table is damaged.
    pub fn snapshots(&mut self) -> Result<Vec<SnapshotInfo>> {
        Ok(self.read_snapshots()?.0)
    }

    fn named(&mut self, name: &str) -> Result<(usize, SnapshotInfo)> {
        let all = self.snapshots()?;
        let at = all.iter().position(|one| one.name == name).or_else(|| all.iter().position(|one| one.id == name));
        at.and_then(|at| Some((at, all.get(at)?.clone()))).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
            FormatError::Unsupported(format!(
                "there is no snapshot `{name}`; there {}",
                match names.as_slice() {
                    [] => "is none at all".to_owned(),
                    names => format!("are: {}", names.join(", ")),
                }
            ))
        })
    }

    /// Shows the disk as the snapshot called `name` has kept it, read-only.
    ///
    /// # Errors
    /// When there is none of that name, or it is damaged.
    pub fn show_snapshot(&mut self, name: &str) -> Result<()> {
        let (_, snapshot) = self.named(name)?;
        let l1 = self.read_l1(snapshot.l1_offset, snapshot.l1_entries)?;
        if (l1.len() as u64) < Header::l1_needed(snapshot.disk_size, self.bits()) {
            return damaged("snapshot L1 size", l1.len() as u64, "too small for the size of the disk");
        }
        for entry in &l1 {
            if entry & OFFSET != 0 {
                check_table("L1 entry", entry & OFFSET, self.cluster(), self.file.len())?;
            }
        }
        self.flush_all()?;
        self.writable = false;
        self.l1 = l1;
        self.size = snapshot.disk_size;
        Ok(())
    }

    /// Writes a snapshot table to free clusters and lets the header in memory point to it.
    fn place_table(&mut self, all: &[SnapshotInfo]) -> Result<()> {
        let mut bytes = Vec::new();
        for snapshot in all {
            let mut raw = snapshot.raw.clone();
            raw.splice(0..8, snapshot.l1_offset.to_be_bytes());
            bytes.extend(raw);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        self.header.snapshots = all.len() as u32;
        self.header.snapshots_offset = 0;
        if !bytes.is_empty() {
            let offset = self.allocate((bytes.len() as u64).div_ceil(self.cluster()))?;
            self.file.write_at(offset, &bytes)?;
            self.header.snapshots_offset = offset;
        }
        Ok(())
    }

    fn place_l1(&mut self, l1: &[u64]) -> Result<u64> {
        let mut bytes: Vec<u8> = l1.iter().flat_map(|entry| (entry & !COPIED).to_be_bytes()).collect();
        bytes.resize((bytes.len() as u64).next_multiple_of(self.cluster()).max(self.cluster()) as usize, 0);
        let offset = self.allocate(bytes.len() as u64 >> self.bits())?;
        self.file.write_at(offset, &bytes)?;
        self.unsynced = true;
        Ok(offset)
    }

    /// Keeps the disk as it is under `name`. `seconds` since 1970 is the date that it gets.
    ///
    /// # Errors
    /// When the name is taken or too long, or the host cannot write. The change is made whole or
    /// not at all.
    pub fn create_snapshot(&mut self, name: &str, seconds: u32) -> Result<()> {
        self.begin()?;
        self.flush_all()?;
        let mut all = self.snapshots()?;
        if name.is_empty() || name.len() > 1000 || all.iter().any(|one| one.name == name) {
            return Err(FormatError::Unsupported(format!(
                "`{name}` is no name for a new snapshot: empty, long, or taken"
            )));
        }
        if self.header.refcount_order == 0 {
            return Err(FormatError::Unsupported("refcounts of one bit allow no snapshots".into()));
        }
        let id = all.iter().filter_map(|one| one.id.parse::<u64>().ok()).max().unwrap_or(0) + 1;
        let id = id.to_string();
        let l1_offset = self.place_l1(&self.l1.clone())?;
        let l1_entries = self.l1.len() as u32;
        let mut raw = vec![0; 8];
        raw.extend(l1_entries.to_be_bytes());
        raw.extend((id.len() as u16).to_be_bytes());
        raw.extend((name.len() as u16).to_be_bytes());
        raw.extend(seconds.to_be_bytes());
        raw.extend([0; 16]);
        raw.extend(24u32.to_be_bytes());
        raw.extend([0; 8]);
        raw.extend(self.size.to_be_bytes());
        // No instruction count.
        raw.extend(u64::MAX.to_be_bytes());
        raw.extend(id.bytes());
        raw.extend(name.bytes());
        all.push(SnapshotInfo { l1_offset, l1_entries, raw, ..SnapshotInfo::default() });
        self.place_table(&all)?;
        self.rebuild()
    }

    /// Forgets the snapshot called `name`.
    ///
    /// # Errors
    /// When there is none, or the host cannot write.
    pub fn delete_snapshot(&mut self, name: &str) -> Result<()> {
        self.begin()?;
        self.flush_all()?;
        let (at, _) = self.named(name)?;
        let mut all = self.snapshots()?;
        all.remove(at);
        self.place_table(&all)?;
        self.rebuild()
    }

    /// Makes the disk what it was when the snapshot called `name` was made.
    ///
    /// # Errors
    /// When there is none, or the host cannot write.
    pub fn apply_snapshot(&mut self, name: &str) -> Result<()> {
        self.begin()?;
        self.flush_all()?;
        let (_, snapshot) = self.named(name)?;
        let mut l1 = self.read_l1(snapshot.l1_offset, snapshot.l1_entries)?;
        let needed = Header::l1_needed(snapshot.disk_size, self.bits()) as usize;
        if l1.len() < needed {
            return damaged("snapshot L1 size", l1.len() as u64, "too small for the size of the disk");
        }
        for entry in &mut l1 {
            *entry &= !COPIED;
            if *entry & OFFSET != 0 {
                check_table("L1 entry", *entry & OFFSET, self.cluster(), self.file.len())?;
            }
        }
        self.header.l1_offset = self.place_l1(&l1)?;
        self.header.l1_entries = l1.len() as u32;
        self.header.size = snapshot.disk_size;
        self.size = snapshot.disk_size;
        self.l1 = l1;
        self.inflated.clear();
        self.rebuild()
    }
}
