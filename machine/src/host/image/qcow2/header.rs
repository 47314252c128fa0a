//! The header of a qcow2 image and its extensions.

use super::super::FormatError;
use super::super::file::Backing;

/// `QFI\xfb`.
pub(super) const MAGIC: u32 = 0x5146_49fb;
/// Incompatible features.
pub(super) mod incompatible {
    /// Refcounts may be wrong: the image was not closed.
    pub const DIRTY: u64 = 1;
    /// The image was found damaged.
    pub const CORRUPT: u64 = 2;
    /// Guest data lies in another file.
    pub const DATA_FILE: u64 = 4;
    /// The header names a compression method other than deflate.
    pub const COMPRESSION: u64 = 8;
    /// L2 entries have 16 bytes.
    pub const EXTENDED_L2: u64 = 16;
}
/// Compatible feature: refcounts may be written late.
pub(super) const LAZY_REFCOUNTS: u64 = 1;

/// Bytes of a version 2 header.
pub(super) const V2_LENGTH: usize = 72;
/// Bytes of the version 3 header that is written here.
pub(super) const V3_LENGTH: usize = 112;
/// The largest L1 table that is accepted, in bytes.
const LARGEST_L1: u64 = 32 << 20;
/// The largest refcount table that is accepted, in bytes.
pub(super) const LARGEST_REFTABLE: u64 = 8 << 20;
const MOST_SNAPSHOTS: u32 = 65_536;
/// Header extensions: format of the backing file, names of features, and the end.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub version: u32,
    pub backing: Option<BackingName>,
    pub cluster_bits: u32,
    pub size: u64,
    pub l1_entries: u32,
    pub l1_offset: u64,
    pub reftable_offset: u64,
    pub reftable_clusters: u32,
    pub snapshots: u32,
    pub snapshots_offset: u64,
    pub incompatible: u64,
    pub compatible: u64,
    pub autoclear: u64,
    pub refcount_order: u32,
    pub zstd: bool,
}

/// The backing file as an image names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackingName {
    /// The file, as written in the image.
    pub name: String,
    /// Its format, if the image says so.
    pub format: Option<String>,
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}
pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

fn damaged<T>(field: &'static str, value: u64, problem: &'static str) -> Result<T, FormatError> {
    Err(FormatError::Damaged { field, value, problem })
}

impl Header {
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }
    /// Entries of an L1 table that a disk of `size` bytes needs.
    pub fn l1_needed(size: u64, cluster_bits: u32) -> u64 {
        size.div_ceil(1 << (2 * cluster_bits - 3))
    }

    /// Reads and checks a header; nothing of the file but its first cluster is looked at.
    pub fn read(file: &mut dyn Backing) -> Result<Header, FormatError> {
        let length = file.len();
        let mut head = [0; V3_LENGTH];
        file.read_at(0, &mut head)?;
        if be32(&head, 0) != MAGIC {
            return Err(FormatError::Unsupported("it does not begin with the signature of qcow2".into()));
        }
        let version = be32(&head, 4);
        if !(2..=3).contains(&version) {
            return Err(FormatError::Unsupported(format!("version {version} is not supported; 2 and 3 are")));
        }
        let mut header = Header {
            version,
            backing: None,
            cluster_bits: be32(&head, 20),
            size: be64(&head, 24),
            l1_entries: be32(&head, 36),
            l1_offset: be64(&head, 40),
            reftable_offset: be64(&head, 48),
            reftable_clusters: be32(&head, 56),
            snapshots: be32(&head, 60),
            snapshots_offset: be64(&head, 64),
            incompatible: 0,
            compatible: 0,
            autoclear: 0,
            refcount_order: 4,
            zstd: false,
        };
        if length < V2_LENGTH as u64 {
            return damaged("file length", length, "shorter than the header; is the file truncated?");
        }
        if !(9..=21).contains(&header.cluster_bits) {
            return damaged("cluster_bits", header.cluster_bits.into(), "must be from 9 to 21");
        }
        if be32(&head, 32) != 0 {
            return Err(FormatError::Unsupported("encrypted images are not supported".into()));
        }
        let mut header_length = V2_LENGTH as u64;
        if version == 3 {
            header.incompatible = be64(&head, 72);
            header.compatible = be64(&head, 80);
            header.autoclear = be64(&head, 88);
            header.refcount_order = be32(&head, 96);
            header_length = be32(&head, 100).into();
            if !(104..=header.cluster()).contains(&header_length) || !header_length.is_multiple_of(8) {
                return damaged("header_length", header_length, "must be a multiple of 8 and lie in the first cluster");
            }
            if header.refcount_order > 6 {
                return damaged("refcount_order", header.refcount_order.into(), "must be from 0 to 6");
            }
        }
        use incompatible as i;
        let unknown = header.incompatible & !(i::DIRTY | i::CORRUPT | i::COMPRESSION);
        for (bit, what) in [
            (i::DATA_FILE, "guest data in an external file is not supported"),
            (i::EXTENDED_L2, "subclusters (extended L2 entries) are not supported"),
            (!0, "it needs a feature that is not known"),
        ] {
            if unknown & bit != 0 {
                let text = format!("{what} (incompatible features {unknown:#x}); convert it with `qemu-img convert`");
                return Err(FormatError::Unsupported(text));
            }
        }
        if header.incompatible & i::COMPRESSION != 0 {
            header.zstd = match head.get(104) {
                Some(0) if header_length > 104 => false,
                Some(1) if header_length > 104 => true,
                other => return damaged("compression_type", other.map_or(0, |v| u64::from(*v)), "must be 0 or 1"),
            };
        }
        if header.size > 1 << 62 {
            return damaged("size", header.size, "larger than any disk");
        }
        let cluster = header.cluster();
        let needed = Header::l1_needed(header.size, header.cluster_bits);
        let l1_bytes = u64::from(header.l1_entries) * 8;
        if u64::from(header.l1_entries) < needed {
            return damaged("l1_size", header.l1_entries.into(), "too small for the size of the disk");
        }
        if l1_bytes > LARGEST_L1 {
            return damaged("l1_size", header.l1_entries.into(), "the L1 table is larger than 32 MiB");
        }
        if header.l1_entries != 0 {
            check_table("l1_table_offset", header.l1_offset, cluster, length)?;
        }
        check_table("refcount_table_offset", header.reftable_offset, cluster, length)?;
        let reftable_bytes = u64::from(header.reftable_clusters) << header.cluster_bits;
        if header.reftable_clusters == 0 || reftable_bytes > LARGEST_REFTABLE.max(cluster) {
            return damaged("refcount_table_clusters", header.reftable_clusters.into(), "must give 1 byte to 8 MiB");
        }
        if header.snapshots > MOST_SNAPSHOTS {
            return damaged("nb_snapshots", header.snapshots.into(), "more than 65536");
        }
        if header.snapshots != 0 {
            check_table("snapshots_offset", header.snapshots_offset, cluster, length)?;
        }
        header.read_names(file, &head, header_length)?;
        Ok(header)
    }

    /// The backing file's name, and its format out of the header extensions.
    fn read_names(&mut self, file: &mut dyn Backing, head: &[u8], header_length: u64) -> Result<(), FormatError> {
        let (name_offset, name_length) = (be64(head, 8), be32(head, 16));
        let mut end = self.cluster();
        if name_offset != 0 {
            if name_length == 0 || name_length > 1023 {
                return damaged("backing_file_size", name_length.into(), "must be from 1 to 1023");
            }
            if name_offset < header_length || name_offset.saturating_add(name_length.into()) > end {
                return damaged(
                    "backing_file_offset",
                    name_offset,
                    "the name must lie behind the header in the first cluster",
                );
            }
            let mut name = vec![0; name_length as usize];
            file.read_at(name_offset, &mut name)?;
            let name = String::from_utf8(name).ok().filter(|name| !name.contains('\0'));
            let Some(name) = name else {
                return damaged("backing_file_offset", name_offset, "the name there is no text");
            };
            self.backing = Some(BackingName { name, format: None });
            end = name_offset;
        }
        let mut at = header_length;
        while at + 8 <= end {
            let mut entry = [0; 8];
            file.read_at(at, &mut entry)?;
            let (kind, length) = (be32(&entry, 0), be32(&entry, 4));
            if kind == 0 {
                break;
            }
            if u64::from(length) > end - at - 8 {
                return damaged("header extension", kind.into(), "does not end in the first cluster");
            }
            if kind == BACKING_FORMAT && length <= 16 {
                let mut text = vec![0; length as usize];
                file.read_at(at + 8, &mut text)?;
                if let (Some(backing), Ok(text)) = (&mut self.backing, String::from_utf8(text)) {
                    backing.format = Some(text);
                }
            }
            at += 8 + u64::from(length).next_multiple_of(8);
        }
        Ok(())
    }

    /// The first cluster of a new image.
    pub fn first_cluster(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let name = self.backing.as_ref().map(|backing| backing.name.as_bytes()).unwrap_or_default();
        let header_length = if self.version == 3 { V3_LENGTH } else { V2_LENGTH };
        let mut extensions = Vec::new();
        if let Some(format) = self.backing.as_ref().and_then(|backing| backing.format.as_ref()) {
            extensions.extend(BACKING_FORMAT.to_be_bytes());
            extensions.extend((format.len() as u32).to_be_bytes());
            extensions.extend(format.bytes());
            extensions.resize(extensions.len().next_multiple_of(8), 0);
        }
        extensions.extend([0; 8]);
        out.extend(MAGIC.to_be_bytes());
        out.extend(self.version.to_be_bytes());
        let name_offset = if name.is_empty() { 0 } else { header_length + extensions.len() };
        out.extend((name_offset as u64).to_be_bytes());
        out.extend((name.len() as u32).to_be_bytes());
        out.extend(self.cluster_bits.to_be_bytes());
        out.extend(self.size.to_be_bytes());
        out.extend(0u32.to_be_bytes());
        out.extend(self.l1_entries.to_be_bytes());
        out.extend(self.l1_offset.to_be_bytes());
        out.extend(self.reftable_offset.to_be_bytes());
        out.extend(self.reftable_clusters.to_be_bytes());
        out.extend(self.snapshots.to_be_bytes());
        out.extend(self.snapshots_offset.to_be_bytes());
        if self.version == 3 {
            out.extend(self.incompatible.to_be_bytes());
            out.extend(self.compatible.to_be_bytes());
            out.extend(self.autoclear.to_be_bytes());
            out.extend(self.refcount_order.to_be_bytes());
            out.extend((V3_LENGTH as u32).to_be_bytes());
            out.extend([u8::from(self.zstd), 0, 0, 0, 0, 0, 0, 0]);
        }
        out.extend(extensions);
        out.extend(name);
        out
    }
}

/// Checks where a table begins: at a cluster, behind the header, inside of the file.
pub(super) fn check_table(field: &'static str, offset: u64, cluster: u64, length: u64) -> Result<(), FormatError> {
    if offset == 0 || !offset.is_multiple_of(cluster) {
        return damaged(field, offset, "must be a multiple of the cluster size and not 0");
    }
    if offset >= length {
        return damaged(field, offset, "lies behind the end of the file; is it truncated?");
    }
    Ok(())
}
