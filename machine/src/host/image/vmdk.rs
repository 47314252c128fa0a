//! VMware's disk images (VMDK): sparse, stream-optimised, and flat or sparse extents behind a
//! descriptor file; read only.

use super::file::Backing;
use super::{FormatError, check_range};
use devices::storage::{Storage, StorageError};

/// First bytes of a sparse extent.
pub(super) const MAGIC: &[u8] = b"KDMV";
/// First bytes of a descriptor file.
pub(super) const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";
const SECTOR: u64 = 512;
/// Bytes of a grain directory and of a descriptor that are accepted.
const LARGEST_DIRECTORY: u64 = 16 << 20;
const LARGEST_DESCRIPTOR: u64 = 64 << 10;
const MOST_EXTENTS: usize = 512;
/// Grain tables in memory.
const TABLES: usize = 64;

fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}
fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}
fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
fn damaged<T>(field: &'static str, value: u64, problem: &'static str) -> Result<T, FormatError> {
    Err(FormatError::Damaged { field, value, problem })
}

/// Opens an extent by its name.
pub type OpenExtent<'a> = dyn FnMut(&str) -> Result<Box<dyn Backing>, FormatError> + 'a;

/// A sparse extent.
struct Sparse {
    file: Box<dyn Backing>,
    size: u64,
    /// Bytes of a grain.
    grain: u64,
    /// Entries of a grain table.
    per_table: u64,
    directory: Vec<u32>,
    compressed: bool,
    /// Zero grains are marked by the entry 1.
    zero_grains: bool,
    tables: Vec<(u32, Vec<u32>)>,
    /// The grain that was inflated last: where it is, and its bytes.
    inflated: Option<(u32, Vec<u8>)>,
}

impl Sparse {
    fn open(mut file: Box<dyn Backing>) -> Result<(Sparse, Option<String>), FormatError> {
        let length = file.len();
        let mut head = [0; 512];
        file.read_at(0, &mut head)?;
        // A stream ends in a footer that is a header with the directory's position.
        if le64(&head, 56) == u64::MAX {
            let mut footer = [0; 512];
            file.read_at(length.saturating_sub(2 * SECTOR), &mut footer)?;
            if !footer.starts_with(MAGIC) {
                return damaged(
                    "grain directory offset",
                    u64::MAX,
                    "the footer that should give it is missing; is the file truncated?",
                );
            }
            head = footer;
        }
        let version = le32(&head, 4);
        if !(1..=3).contains(&version) {
            return Err(FormatError::Unsupported(format!("version {version} is not supported")));
        }
        let flags = le32(&head, 8);
        let capacity = le64(&head, 12);
        let grain = le64(&head, 20);
        let (descriptor_at, descriptor_sectors) = (le64(&head, 28), le64(&head, 36));
        let per_table = u64::from(le32(&head, 44));
        let directory_at = le64(&head, 56);
        if !grain.is_power_of_two() || !(8..=0x1_0000).contains(&grain) {
            return damaged("grain size", grain, "must be a power of two from 8 to 65536 sectors");
        }
        if !per_table.is_power_of_two() || !(1..=0x1_0000).contains(&per_table) {
            return damaged("grain table entries", per_table, "must be a power of two up to 65536");
        }
        if capacity > 1 << 44 {
            return damaged("capacity", capacity, "larger than any disk");
        }
        let tables = capacity.div_ceil(grain * per_table);
        let at = directory_at.saturating_mul(SECTOR);
        if tables * 4 > LARGEST_DIRECTORY || directory_at == 0 || at.saturating_add(tables * 4) > length {
            return damaged(
                "grain directory offset",
                directory_at,
                "the directory does not end within the file; is it truncated?",
            );
        }
        let mut bytes = vec![0; tables as usize * 4];
        file.read_at(at, &mut bytes)?;
        let directory: Vec<u32> = bytes.chunks_exact(4).map(|entry| le32(entry, 0)).collect();
        for entry in &directory {
            if *entry > 1 && u64::from(*entry) * SECTOR + per_table * 4 > length.next_multiple_of(SECTOR) {
                return damaged(
                    "grain directory entry",
                    (*entry).into(),
                    "points behind the end of the file; is it truncated?",
                );
            }
        }
        let method = le16(&head, 77);
        let compressed = flags & 1 << 16 != 0;
        if compressed && method != 1 {
            return Err(FormatError::Unsupported(format!("compression method {method} is not supported")));
        }
        let mut descriptor = None;
        if descriptor_at != 0 && descriptor_sectors <= LARGEST_DESCRIPTOR / SECTOR {
            let mut text = vec![0; (descriptor_sectors * SECTOR) as usize];
            file.read_at(descriptor_at.saturating_mul(SECTOR), &mut text)?;
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            descriptor = Some(String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned());
        }
        let sparse = Sparse {
            file,
            size: capacity * SECTOR,
            grain: grain * SECTOR,
            per_table,
            directory,
            compressed,
            zero_grains: flags & 4 != 0,
            tables: Vec::new(),
            inflated: None,
        };
        Ok((sparse, descriptor))
    }

    /// Looks at every entry of the tables; `Err` is the first that cannot be right.
    fn check(&mut self) -> Result<(), FormatError> {
        let directory = self.directory.clone();
        let mut tables: Vec<u64> = directory.iter().filter(|at| **at > 1).map(|at| u64::from(*at)).collect();
        tables.sort_unstable();
        for pair in tables.windows(2) {
            let [one, other] = pair else { continue };
            if (other - one) * SECTOR < self.per_table * 4 {
                return damaged("grain directory entry", *other, "two grain tables overlap");
            }
        }
        let grains = self.size.div_ceil(self.grain);
        for (index, _) in directory.iter().enumerate().filter(|(_, at)| **at > 1) {
            let first = index as u64 * self.per_table;
            for number in first..(first + self.per_table).min(grains) {
                let at = u64::from(self.grain(number)?) * SECTOR;
                let used = if self.compressed { 12 } else { self.grain.min(self.size - number * self.grain) };
                if at > SECTOR && at + used > self.file.len() {
                    return damaged("grain table entry", at, "points behind the end of the file; is it truncated?");
                }
            }
        }
        Ok(())
    }

    /// First sector of a grain in the file; 0 is none, 1 may be zeros.
    fn grain(&mut self, number: u64) -> Result<u32, FormatError> {
        let at = self.directory.get((number / self.per_table) as usize).copied().unwrap_or(0);
        if at <= 1 {
            return Ok(0);
        }
        let slot = match self.tables.iter().position(|(known, _)| *known == at) {
            Some(slot) => slot,
            None => {
                let mut bytes = vec![0; self.per_table as usize * 4];
                self.file.read_at(u64::from(at) * SECTOR, &mut bytes)?;
                if self.tables.len() >= TABLES {
                    self.tables.remove(0);
                }
                self.tables.push((at, bytes.chunks_exact(4).map(|entry| le32(entry, 0)).collect()));
                self.tables.len() - 1
            }
        };
        let entries = self.tables.get(slot).map(|(_, entries)| entries.as_slice()).unwrap_or_default();
        Ok(entries.get((number % self.per_table) as usize).copied().unwrap_or(0))
    }

    fn inflate(&mut self, at: u32) -> Result<&[u8], FormatError> {
        if self.inflated.as_ref().is_none_or(|(known, _)| *known != at) {
            let start = u64::from(at) * SECTOR;
            // The marker before the data: sector on the disk, bytes of data.
            let mut marker = [0; 12];
            self.file.read_at(start, &mut marker)?;
            let length = u64::from(le32(&marker, 8));
            if length > self.grain * 2 || start.saturating_add(12 + length) > self.file.len() {
                return damaged("compressed grain", start, "does not end within the file; is it truncated?");
            }
            let mut packed = vec![0; length as usize];
            self.file.read_at(start + 12, &mut packed)?;
            let mut out = vec![0; self.grain as usize];
            let mut engine = flate2::Decompress::new(true);
            let status = engine.decompress(&packed, &mut out, flate2::FlushDecompress::Finish);
            // The last grain may be cut to the size of the disk.
            if !matches!(status, Ok(flate2::Status::StreamEnd)) && engine.total_out() != out.len() as u64 {
                return damaged("compressed grain", start, "cannot be decompressed");
            }
            self.inflated = Some((at, out));
        }
        Ok(self.inflated.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default())
    }

    fn read(&mut self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), FormatError> {
        while !buf.is_empty() {
            let inside = offset % self.grain;
            let n = usize::try_from(self.grain - inside).unwrap_or(usize::MAX).min(buf.len());
            let (part, rest) = buf.split_at_mut(n);
            match self.grain(offset / self.grain)? {
                0 => part.fill(0),
                1 if self.zero_grains => part.fill(0),
                at if self.compressed => {
                    let bytes = self.inflate(at)?;
                    part.copy_from_slice(bytes.get(inside as usize..inside as usize + n).unwrap_or_default());
                }
                at => {
                    let at = u64::from(at) * SECTOR;
                    if at + inside + n as u64 > self.file.len() {
                        return damaged("grain table entry", at, "points behind the end of the file; is it truncated?");
                    }
                    self.file.read_at(at + inside, part)?;
                }
            }
            buf = rest;
            offset += n as u64;
        }
        Ok(())
    }
}

enum Extent {
    Sparse(Box<Sparse>),
    /// A file and where the extent begins in it.
    Flat(Box<dyn Backing>, u64),
    Zero,
}

/// A VMDK image.
pub struct Vmdk {
    /// Extents and their lengths in bytes.
    extents: Vec<(Extent, u64)>,
    size: u64,
    kind: String,
}

/// A value of `key=value` in a descriptor, without quotation marks.
fn value<'a>(descriptor: &'a str, key: &str) -> Option<&'a str> {
    descriptor.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim().eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"'))
    })
}

impl Vmdk {
    /// Opens an image. `extents` is asked for the files that a descriptor names, which are plain
    /// names without folders.
    ///
    /// # Errors
    /// When it is damaged, or a difference to another image.
    pub fn open(mut file: Box<dyn Backing>, extents: &mut OpenExtent<'_>) -> Result<Vmdk, FormatError> {
        let mut head = [0; 32];
        file.read_at(0, &mut head)?;
        if head.starts_with(MAGIC) {
            let (sparse, descriptor) = Sparse::open(file)?;
            let descriptor = descriptor.unwrap_or_default();
            no_parent(&descriptor)?;
            let kind = value(&descriptor, "createType").unwrap_or("sparse").to_owned();
            let size = sparse.size;
            return Ok(Vmdk { extents: vec![(Extent::Sparse(Box::new(sparse)), size)], size, kind });
        }
        let mut text = vec![0; file.len().min(LARGEST_DESCRIPTOR) as usize];
        file.read_at(0, &mut text)?;
        if !text.starts_with(DESCRIPTOR) {
            return Err(FormatError::Unsupported("neither a sparse extent nor a descriptor".into()));
        }
        let descriptor = String::from_utf8_lossy(&text).into_owned();
        no_parent(&descriptor)?;
        let mut image = Vmdk {
            extents: Vec::new(),
            size: 0,
            kind: value(&descriptor, "createType").unwrap_or("unknown").to_owned(),
        };
        for line in descriptor.lines() {
            let mut words = line.split_whitespace();
            if !matches!(words.next(), Some("RW" | "RDONLY" | "NOACCESS")) {
                continue;
            }
            let sectors = words.next().and_then(|word| word.parse::<u64>().ok()).filter(|sectors| *sectors < 1 << 44);
            let (Some(sectors), Some(kind)) = (sectors, words.next()) else {
                return Err(FormatError::Unsupported(format!("this line of the descriptor is wrong: {line}")));
            };
            if image.extents.len() >= MOST_EXTENTS {
                return damaged("extents", MOST_EXTENTS as u64, "more than 512");
            }
            let length = sectors * SECTOR;
            let quoted = line.split('"');
            let name = quoted.clone().nth(1).unwrap_or_default();
            let extent = match kind {
                "ZERO" => Extent::Zero,
                "FLAT" | "VMFS" => {
                    let start = quoted.clone().nth(2).and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0);
                    let file = extents(name)?;
                    let start = start.saturating_mul(SECTOR);
                    if start.saturating_add(length) > file.len() {
                        return damaged("extent length", sectors, "longer than its file; is it truncated?");
                    }
                    Extent::Flat(file, start)
                }
                "SPARSE" => {
                    let (sparse, _) = Sparse::open(extents(name)?)?;
                    if sparse.size < length {
                        return damaged("extent length", sectors, "longer than the extent says");
                    }
                    Extent::Sparse(Box::new(sparse))
                }
                other => return Err(FormatError::Unsupported(format!("extents of type {other} are not supported"))),
            };
            image.size = image.size.saturating_add(length);
            image.extents.push((extent, length));
        }
        if image.extents.is_empty() {
            return Err(FormatError::Unsupported("the descriptor names no extent".into()));
        }
        Ok(image)
    }

    /// Looks at all tables of the image, which opening does not.
    ///
    /// # Errors
    /// The first entry that cannot be right.
    pub fn check(&mut self) -> Result<(), FormatError> {
        self.extents.iter_mut().try_for_each(|(extent, _)| match extent {
            Extent::Sparse(sparse) => sparse.check(),
            Extent::Flat(..) | Extent::Zero => Ok(()),
        })
    }

    /// Reads like [`Storage::read`], and tells what was wrong.
    ///
    /// # Errors
    /// Damage, or what the host said.
    pub fn read_or_say(&mut self, mut offset: u64, mut buf: &mut [u8]) -> Result<(), FormatError> {
        check_range(self.size, offset, buf.len())
            .map_err(|_| FormatError::Unsupported(format!("byte {offset} lies behind the end of the disk")))?;
        for (extent, length) in &mut self.extents {
            if buf.is_empty() {
                break;
            }
            if offset >= *length {
                offset -= *length;
                continue;
            }
            let n = usize::try_from(*length - offset).unwrap_or(usize::MAX).min(buf.len());
            let (part, rest) = buf.split_at_mut(n);
            match extent {
                Extent::Sparse(sparse) => sparse.read(offset, part)?,
                Extent::Flat(file, start) => file.read_at(*start + offset, part)?,
                Extent::Zero => part.fill(0),
            }
            buf = rest;
            offset = 0;
        }
        Ok(())
    }

    /// The kind of image as its descriptor names it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

fn no_parent(descriptor: &str) -> Result<(), FormatError> {
    match value(descriptor, "parentCID") {
        None | Some("ffffffff") => Ok(()),
        Some(_) => {
            Err(FormatError::Unsupported("differences to another image are not supported; merge it first".into()))
        }
    }
}

impl Storage for Vmdk {
    fn len(&self) -> u64 {
        self.size
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        check_range(self.size, offset, buf.len())?;
        self.read_or_say(offset, buf).map_err(|_| StorageError::Host)
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), StorageError> {
        Err(StorageError::ReadOnly)
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}
