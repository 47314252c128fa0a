//! Image files with any damage: refused or read, never changed by being read, never a panic.

use crate::driver::Source;
use beigebox::Storage;
use beigebox::host::SharedFolder;
use beigebox::host::image::qcow2::{CreateQcow2, Qcow2};
use beigebox::host::image::vdi::Vdi;
use beigebox::host::image::vhd::Vhd;
use beigebox::host::image::vmdk::Vmdk;
use beigebox::host::image::{Backing, FormatError};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file in memory that stays when the image is closed.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn get(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backing for Shared {
    fn len(&self) -> u64 {
        Backing::len(&*self.get())
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.get().read_at(offset, buf)
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset > 64 << 20 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.get().write_at(offset, data)
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        Backing::set_len(&mut *self.get(), length.min(64 << 20))
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// A number for a field: as it should be, near it, at an edge, or noise.
fn near(source: &mut Source<'_>, right: u64) -> u64 {
    match source.below(12) {
        0 => source.bits() >> source.below(64),
        1 => source.pick(&[0, 1, 0xffff_ffff, u64::MAX, 1 << 31, 1 << 32, 1 << 62]),
        2 => right.wrapping_add(source.below(5)).wrapping_sub(2),
        3 => right.wrapping_mul(512),
        _ => right,
    }
}

/// Scatters damage over a file, most of it where the tables are.
fn damage(source: &mut Source<'_>, file: &mut Vec<u8>) {
    for _ in 0..source.below(6) {
        let reach = source.pick(&[120, 0x400, 0x4000, file.len().max(1) as u64]);
        let at = source.below(reach) as usize;
        let noise = source.bits();
        match noise & 3 {
            0 => put(file, at & !7, &near(source, noise >> 40 << 9).to_be_bytes()),
            1 => put(file, at, &[(noise >> 8) as u8]),
            2 => put(file, at & !7, &(1 << 63 | (noise >> 8 & 0x3f) << 9).to_be_bytes()),
            _ => put(file, at & !3, &(near(source, noise >> 50) as u32).to_le_bytes()),
        }
    }
    if source.once_in(6) {
        let length = source.below(file.len() as u64 + 1) as usize;
        file.truncate(length);
    }
}

fn visit(source: &mut Source<'_>, image: &mut dyn Storage) {
    let mut buf = vec![0; 9_000];
    for _ in 0..8 {
        let at = near(source, source_below(image.len()));
        let _ = image.read(at, &mut buf);
        let _ = image.read(source.below(image.len().clamp(1, 1 << 20)), &mut buf[..700]);
    }
}
fn source_below(length: u64) -> u64 {
    length / 2
}

fn open(file: &Shared, write: bool) -> Result<Qcow2, FormatError> {
    Qcow2::open(Box::new(file.clone()), write, &mut |_| Ok(None))
}

/// qcow2: what is damaged is read or refused, and only ever written when it is opened for that.
pub fn qcow2(data: &[u8]) {
    let mut source = Source::new(data);
    let version = source.pick(&[2, 3, 3]);
    let refcount_order = if version == 2 { 4 } else { source.pick(&[4, 4, 1, 6]) };
    let settings = CreateQcow2 {
        cluster_bits: source.pick(&[9, 9, 10, 12]) as u32,
        version: version as u32,
        refcount_order: refcount_order as u32,
        ..CreateQcow2::new(300_000)
    };
    let mut file = Shared::default();
    settings.write(&mut file).expect("memory takes it");
    {
        let mut image = open(&file, true).expect("a new image");
        for number in 0..source.below(6) {
            let at = source.below(290_000);
            image.write(at, &vec![1; source.below(9_000) as usize]).expect("memory takes it");
            // More than the refcounts can say ends the use of this image, and harms nothing.
            if source.once_in(4) && image.create_snapshot(&number.to_string(), 0).is_err() {
                break;
            }
        }
        let cluster = image.facts().cluster;
        let _ = image.write_compressed(200_000 / cluster * cluster, &vec![2; cluster as usize]);
    }
    damage(&mut source, &mut file.get());
    let before = file.get().clone();
    if let Ok(mut image) = open(&file, false) {
        visit(&mut source, &mut image);
        let _ = image.check();
        if let Ok(all) = image.snapshots()
            && let Some(one) = all.first()
        {
            let _ = image.show_snapshot(&one.name);
            visit(&mut source, &mut image);
        }
    }
    assert!(*file.get() == before, "reading changed the image");
    if source.once_in(4)
        && let Ok(mut image) = Qcow2::open_to_repair(Box::new(file.clone()), &mut |_| Ok(None))
    {
        let _ = image.repair();
    }
    if let Ok(mut image) = open(&file, true) {
        for _ in 0..6 {
            let at = source.below(300_000);
            let _ = image.write(at, &vec![3; source.below(5_000) as usize]);
            visit(&mut source, &mut image);
            match source.below(8) {
                0 => drop(image.flush()),
                1 => drop(image.create_snapshot("late", 0)),
                2 => drop(image.apply_snapshot("late")),
                3 => drop(image.grow(400_000)),
                4 => drop(image.delete_snapshot("0")),
                _ => {}
            }
        }
    }
}

/// VDI: only read.
pub fn vdi(data: &[u8]) {
    foreign(data, 0);
}
/// VMDK, its descriptors too: only read.
pub fn vmdk(data: &[u8]) {
    foreign(data, 1);
}
/// VHD, fixed and dynamic: only read.
pub fn vhd(data: &[u8]) {
    foreign(data, 2);
}

fn foreign(data: &[u8], kind: u32) {
    let mut source = Source::new(data);
    let mut file = vec![0; 0x8000];
    let wide = |source: &mut Source<'_>, right: u64| near(source, right).to_le_bytes();
    let word = |source: &mut Source<'_>, right: u64| (near(source, right) as u32).to_le_bytes();
    match kind {
        0 => {
            put(&mut file, 0x40, &[0x7f, 0x10, 0xda, 0xbe, 1, 0, 1, 0]);
            put(&mut file, 0x168, &512u32.to_le_bytes());
            for (at, right) in [(0x4c, 1), (0x154, 0x200), (0x158, 0x1000), (0x178, 0x1000), (0x17c, 0), (0x180, 4)] {
                put(&mut file, at, &word(&mut source, right));
            }
            put(&mut file, 0x170, &wide(&mut source, 0x3800));
            for entry in 0..4 {
                put(&mut file, 0x200 + 4 * entry, &word(&mut source, 3 - entry as u64));
            }
        }
        1 => {
            put(&mut file, 0, b"KDMV\x01\0\0\0");
            put(&mut file, 8, &source.pick(&[1u32 << 16 | 3, 3, 7]).to_le_bytes());
            for (at, right) in [(12, 64), (20, 8), (28, 1), (36, 1), (56, 4)] {
                put(&mut file, at, &wide(&mut source, right));
            }
            put(&mut file, 44, &word(&mut source, 4));
            put(&mut file, 77, &[1]);
            for entry in 0..8 {
                put(&mut file, 0x800 + 4 * entry, &word(&mut source, 5));
                put(&mut file, 0xa00 + 4 * entry, &word(&mut source, 8 + 8 * entry as u64));
            }
            if source.once_in(4) {
                file = b"# Disk DescriptorFile\nRW 16 FLAT \"a\" 0\nRW 16 SPARSE \"b\"\nRW 16 ZERO\n".to_vec();
            }
        }
        _ => {
            let mut footer = vec![0; 512];
            put(&mut footer, 0, b"conectix");
            put(&mut footer, 16, &near(&mut source, 512).to_be_bytes());
            put(&mut footer, 48, &near(&mut source, 0x5000).to_be_bytes());
            put(&mut footer, 60, &source.pick(&[3u32, 3, 2, 4]).to_be_bytes());
            let mut header = vec![0; 1024];
            put(&mut header, 0, b"cxsparse");
            put(&mut header, 16, &near(&mut source, 0x600).to_be_bytes());
            put(&mut header, 28, &(near(&mut source, 8) as u32).to_be_bytes());
            put(&mut header, 32, &(near(&mut source, 0x1000) as u32).to_be_bytes());
            for (bytes, at) in [(&mut footer, 64), (&mut header, 36)] {
                let sum = bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
                put(bytes, at, &(!sum).to_be_bytes());
            }
            put(&mut file, 0, &footer);
            put(&mut file, 512, &header);
            for entry in 0..8 {
                put(&mut file, 0x600 + 4 * entry, &(near(&mut source, 4 + 9 * entry as u64) as u32).to_be_bytes());
            }
        }
    }
    if source.once_in(2) {
        damage(&mut source, &mut file);
    }
    let bytes = file.clone();
    let boxed = Box::new(file);
    let image: Option<Box<dyn Storage>> = match kind {
        0 => Vdi::open(boxed).ok().map(|image| Box::new(image) as _),
        1 => Vmdk::open(boxed, &mut |_| Ok(Box::new(bytes.clone()))).ok().map(|image| Box::new(image) as _),
        _ => Vhd::open(boxed).ok().map(|image| Box::new(image) as _),
    };
    if let Some(mut image) = image {
        visit(&mut source, &mut *image);
        assert!(image.write(0, &[0]).is_err(), "written, though only to be read");
    }
}

/// A shared folder whose disk a guest fills with nonsense: nothing beside the folder changes.
pub fn share(data: &[u8]) {
    let mut source = Source::new(data);
    let outside = std::env::temp_dir().join(format!("beigebox-fuzz-share-{}", std::process::id()));
    let inside = outside.join("inside");
    // Where it cannot be made the case is over.
    if std::fs::create_dir_all(inside.join("folder")).is_err() {
        return;
    }
    let _ = std::fs::write(inside.join("A long name"), vec![7; 20_000]);
    let _ = std::fs::write(inside.join("folder/FILE"), b"file");
    let Ok(mut disk) = SharedFolder::new(&inside) else { return };
    let mut boot = [0; 512];
    disk.read(63 * 512, &mut boot).expect("a boot sector");
    let word = |at: usize| u64::from(boot[at]) | u64::from(boot[at + 1]) << 8;
    let table = (63 + word(14)) * 512;
    let root = table + 2 * word(22) * 512;
    let clusters = root + word(17) * 32;
    for _ in 0..source.below(60) {
        let mut entry = [0u8; 32];
        for byte in &mut entry[12..] {
            *byte = source.bits() as u8;
        }
        let name = source.pick(&[b"..         ", b"../X    TXT", b"FILE       ", b"A/..    .  ", b"ALONGN~1   "]);
        entry[..11].copy_from_slice(name);
        if source.once_in(3) {
            let noise = source.bits() as u8;
            entry[0] = source.pick(&[0x41, 0x42, 1, 0xe5, 0x05, noise]);
        }
        let noise = source.bits() as u8;
        entry[11] = source.pick(&[0x10, 0x10, 0x20, 0x20, 0x0f, 0x08, noise]);
        entry[20..22].fill(0);
        entry[26..28].copy_from_slice(&(source.below(12) as u16).to_le_bytes());
        let size = source.pick(&[0, 1, 9000, 60_000, u32::MAX]);
        entry[28..].copy_from_slice(&size.to_le_bytes());
        let folder = if source.once_in(2) { root } else { clusters + source.below(8) * 8192 };
        let _ = disk.write(folder + source.below(12) * 32, &entry);
        let link = if source.once_in(3) { source.bits() as u16 } else { source.below(12) as u16 };
        let _ = disk.write(table + source.below(12) * 2, &link.to_le_bytes());
        if source.once_in(12) {
            let _ = disk.flush();
        }
    }
    drop(disk);
    let found: Vec<_> = std::fs::read_dir(&outside).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
    assert!(found == ["inside"], "{found:?}");
    let _ = std::fs::remove_dir_all(&outside);
}
