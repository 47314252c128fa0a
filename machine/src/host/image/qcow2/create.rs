//! New images, and images that grow.

use super::header::{LAZY_REFCOUNTS, V2_LENGTH, V3_LENGTH};
use super::*;

/// How a new image is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateQcow2 {
    /// Bytes of the disk.
    pub size: u64,
    /// log2 of the bytes of a cluster, 9 to 21.
    pub cluster_bits: u32,
    /// 2 or 3.
    pub version: u32,
    /// The backing file.
    pub backing: Option<BackingName>,
    /// Compressed clusters are made with zstd instead of deflate (version 3 only).
    pub zstd: bool,
    /// Other programs may write refcounts late (version 3 only).
    pub lazy_refcounts: bool,
    /// log2 of the bits of a refcount, 0 to 6; 4 in version 2.
    pub refcount_order: u32,
}

impl CreateQcow2 {
    /// The usual image of a disk of `size` bytes: version 3, clusters of 64 KiB.
    #[must_use]
    pub fn new(size: u64) -> CreateQcow2 {
        CreateQcow2 {
            size,
            cluster_bits: 16,
            version: 3,
            backing: None,
            zstd: false,
            lazy_refcounts: false,
            refcount_order: 4,
        }
    }

    /// Writes an image without data to an empty `file`.
    ///
    /// # Errors
    /// When the settings do not go together, or the host cannot write.
    pub fn write(&self, file: &mut dyn Backing) -> Result<()> {
        let refuse = |text: &str| Err(FormatError::Unsupported(text.into()));
        if !(9..=21).contains(&self.cluster_bits) {
            return refuse("the cluster size must be a power of two from 512 to 2M");
        }
        if !(2..=3).contains(&self.version) || self.refcount_order > 6 {
            return refuse("the version must be 2 or 3, and refcounts have 1 to 64 bits");
        }
        if self.version == 2 && (self.zstd || self.lazy_refcounts || self.refcount_order != 4) {
            return refuse("zstd, lazy refcounts and other refcounts than those of 16 bits need version 3");
        }
        let cluster = 1u64 << self.cluster_bits;
        let l1_entries = Header::l1_needed(self.size, self.cluster_bits);
        if l1_entries * 8 > 32 << 20 || self.size > 1 << 62 {
            return refuse("the disk is too large for clusters of this size; take larger clusters");
        }
        if let Some(backing) = &self.backing {
            let header = if self.version == 3 { V3_LENGTH } else { V2_LENGTH };
            if backing.name.is_empty() || backing.name.len() > 1023 {
                return refuse("the backing file's name must have 1 to 1023 bytes");
            }
            if (header + 32 + backing.name.len()) as u64 > cluster {
                return refuse("the backing file's name does not fit into a cluster; take larger clusters");
            }
        }
        let per_block = 1 << (self.cluster_bits + 3 - self.refcount_order);
        let l1_clusters = (l1_entries * 8).div_ceil(cluster).max(1);
        let (mut table, mut blocks) = (1, 1);
        let total = loop {
            let total = 1 + table + blocks + l1_clusters;
            let wanted = (total.div_ceil(per_block) * 8).div_ceil(cluster);
            if total.div_ceil(per_block) <= blocks && wanted <= table {
                break total;
            }
            blocks = total.div_ceil(per_block);
            table = wanted.max(table);
        };
        let header = Header {
            version: self.version,
            backing: self.backing.clone(),
            cluster_bits: self.cluster_bits,
            size: self.size,
            l1_entries: l1_entries.max(1) as u32,
            l1_offset: (1 + table + blocks) * cluster,
            reftable_offset: cluster,
            reftable_clusters: table as u32,
            snapshots: 0,
            snapshots_offset: 0,
            incompatible: if self.zstd { incompatible::COMPRESSION } else { 0 },
            compatible: if self.lazy_refcounts { LAZY_REFCOUNTS } else { 0 },
            autoclear: 0,
            refcount_order: self.refcount_order,
            zstd: self.zstd,
        };
        for block in 0..blocks {
            let mut bytes = vec![0; cluster as usize];
            for at in 0..per_block.min(total - block * per_block) {
                put_refcount(&mut bytes, at as usize, self.refcount_order, 1);
            }
            let offset = (1 + table + block) * cluster;
            file.write_at(offset, &bytes)?;
            file.write_at(cluster + block * 8, &offset.to_be_bytes())?;
        }
        file.set_len(total * cluster)?;
        file.write_at(0, &header.first_cluster())?;
        file.sync()?;
        Ok(())
    }
}

impl Qcow2 {
    /// Makes the disk larger; the new part is zeros.
    ///
    /// # Errors
    /// When it would become smaller or too large, or the host cannot write.
    pub fn grow(&mut self, size: u64) -> Result<()> {
        let old = self.size;
        if size < old {
            return Err(FormatError::Unsupported("a qcow2 image cannot be made smaller".into()));
        }
        self.begin()?;
        self.flush_all()?;
        let needed = Header::l1_needed(size, self.bits());
        if needed * 8 > 32 << 20 || size > 1 << 62 {
            return Err(FormatError::Unsupported("the disk would be too large for clusters of this size".into()));
        }
        if needed > self.l1.len() as u64 {
            let clusters = (needed * 8).div_ceil(self.cluster());
            let offset = self.allocate(clusters)?;
            let mut l1 = self.l1.clone();
            l1.resize(needed as usize, 0);
            let mut bytes: Vec<u8> = l1.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            bytes.resize((clusters << self.bits()) as usize, 0);
            self.file.write_at(offset, &bytes)?;
            self.unsynced = true;
            self.flush_all()?;
            let (from, bytes) = (self.header.l1_offset, self.l1.len() as u64 * 8);
            self.header.l1_offset = offset;
            self.header.l1_entries = needed as u32;
            self.header.size = size;
            self.write_header()?;
            self.l1 = l1;
            self.reserved.retain(|(start, _)| *start != from);
            self.reserved.push((offset, offset + (clusters << self.bits())));
            for number in 0..bytes.div_ceil(self.cluster()) {
                self.released.push(from + (number << self.bits()));
            }
        } else {
            self.header.size = size;
            self.write_header()?;
        }
        self.size = size;
        // What a longer backing file holds there was never part of the disk.
        let shown = self.backing.as_ref().map_or(0, |backing| backing.len()).min(size);
        let zeros = vec![0; self.cluster() as usize];
        let mut at = old;
        while at < shown {
            let n = (self.cluster() - at % self.cluster()).min(shown - at);
            if at.is_multiple_of(self.cluster()) && self.header.version >= 3 && self.raw_entry(at >> self.bits())? == 0
            {
                self.set_entry(at >> self.bits(), ZERO)?;
            } else {
                self.write_range(at, zeros.get(..n as usize).unwrap_or_default())?;
            }
            at += n;
        }
        self.flush_all()
    }

    /// What to say about the image: version, cluster size, compression, backing file's name.
    #[must_use]
    pub fn facts(&self) -> Qcow2Facts {
        Qcow2Facts {
            version: self.header.version,
            cluster: self.cluster(),
            compression: if self.header.zstd { "zstd" } else { "zlib" },
            lazy_refcounts: self.header.compatible & LAZY_REFCOUNTS != 0,
            refcount_bits: 1 << self.header.refcount_order,
            dirty: self.header.incompatible & incompatible::DIRTY != 0,
            corrupt: self.header.incompatible & incompatible::CORRUPT != 0,
            backing: self.header.backing.clone(),
        }
    }
}

/// What a qcow2 image says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qcow2Facts {
    /// 2 or 3.
    pub version: u32,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Method of compressed clusters.
    pub compression: &'static str,
    /// Refcounts may be written late.
    pub lazy_refcounts: bool,
    /// Bits of a refcount.
    pub refcount_bits: u32,
    /// It was not closed.
    pub dirty: bool,
    /// It is marked corrupt.
    pub corrupt: bool,
    /// The backing file as the image names it.
    pub backing: Option<BackingName>,
}
