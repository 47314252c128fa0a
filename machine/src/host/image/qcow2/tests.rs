//! Images in memory against a model of the disk, through closing, power failures and damage.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// A host disk that can lose power: what was not synced may be there, in part, or not.
#[derive(Default)]
struct Platter {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync; without data: a new length.
    pending: Vec<(u64, Option<Vec<u8>>)>,
    /// Writes and syncs until the power goes.
    left: Option<u64>,
}

impl Platter {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    fn holding(bytes: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new(Platter { live: bytes.clone(), durable: bytes, ..Platter::default() })))
    }
    fn get(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }
    fn bytes(&self) -> Vec<u8> {
        self.get().live.clone()
    }
    /// What the disk holds after a power failure now: each sector of a write alone decides.
    fn after_power_failure(&self, dice: &mut Dice) -> Vec<u8> {
        let platter = self.get();
        let mut bytes = platter.durable.clone();
        for (at, data) in &platter.pending {
            match data {
                None => Backing::set_len(&mut bytes, *at).unwrap(),
                Some(data) => {
                    let mut done = 0;
                    let lost = dice.below(3) == 0;
                    while done < data.len() {
                        let n = (512 - (*at as usize + done) % 512).min(data.len() - done);
                        if !lost && dice.below(8) != 0 {
                            bytes.write_at(*at + done as u64, &data[done..done + n]).unwrap();
                        }
                        done += n;
                    }
                }
            }
        }
        bytes
    }
}

impl Backing for Disk {
    fn len(&self) -> u64 {
        self.get().live.len() as u64
    }
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.get().live.read_at(offset, buf)
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.get();
        platter.step()?;
        platter.live.write_at(offset, data)?;
        platter.pending.push((offset, Some(data.to_vec())));
        Ok(())
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut platter = self.get();
        Backing::set_len(&mut platter.live, length)?;
        platter.pending.push((length, None));
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        let mut platter = self.get();
        platter.step()?;
        platter.pending.clear();
        platter.durable = platter.live.clone();
        Ok(())
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 33
    }
    fn below(&mut self, limit: u64) -> u64 {
        (self.roll() >> 11) % limit
    }
}

fn open(disk: &Disk, writable: bool) -> Qcow2 {
    try_open(disk, writable).unwrap()
}
fn try_open(disk: &Disk, writable: bool) -> Result<Qcow2> {
    Qcow2::open(Box::new(disk.clone()), writable, &mut |_| Ok(None))
}
fn create(settings: &CreateQcow2) -> Disk {
    let mut disk = Disk::default();
    settings.write(&mut disk).unwrap();
    disk
}
fn clean(image: &mut Qcow2) {
    let report = image.check().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

fn kinds() -> Vec<CreateQcow2> {
    let mut kinds = Vec::new();
    for (cluster_bits, version, refcount_order) in
        [(9, 3, 4), (9, 2, 4), (9, 3, 6), (9, 3, 1), (12, 3, 3), (12, 2, 4), (16, 3, 4), (16, 3, 5), (10, 3, 2)]
    {
        kinds.push(CreateQcow2 { cluster_bits, version, refcount_order, ..CreateQcow2::new(900_000 + 512) });
    }
    kinds
}

#[test]
fn disks_remember_through_closing() {
    for (seed, settings) in kinds().into_iter().enumerate() {
        let disk = create(&settings);
        let mut dice = Dice(seed as u64);
        let mut model = vec![0u8; settings.size as usize];
        for _ in 0..4 {
            let mut image = open(&disk, true);
            for _ in 0..60 {
                let at = dice.below(settings.size);
                let n = (dice.below(30_000).min(settings.size - at) >> dice.below(8)) as usize;
                let data: Vec<u8> = (0..n).map(|_| dice.roll() as u8).collect();
                image.write(at, &data).unwrap();
                model[at as usize..at as usize + n].copy_from_slice(&data);
                let at = dice.below(settings.size);
                let n = dice.below(70_000).min(settings.size - at) as usize;
                let mut buf = vec![1; n];
                image.read(at, &mut buf).unwrap();
                assert!(buf == model[at as usize..at as usize + n]);
            }
            clean(&mut image);
        }
        let mut all = vec![0; model.len()];
        open(&disk, false).read(0, &mut all).unwrap();
        assert!(all == model, "{settings:?}");
    }
}

/// Sectors are filled with the number of the write that they come from.
fn stamp(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(128)
}

#[test]
fn power_failures_leak_at_worst() {
    let mut leaks = 0;
    for seed in 0..60u64 {
        let kinds = kinds();
        let settings = &kinds[seed as usize % kinds.len()];
        let mut disk = create(settings);
        let mut dice = Dice(seed + 1000);
        let sectors = settings.size / 512;
        // What each sector may hold: what was flushed, and all that came after.
        let mut held: Vec<Vec<u32>> = vec![vec![0]; sectors as usize];
        let mut number = 0;
        for _ in 0..6 {
            let mut image = open(&disk, true);
            if settings.version == 3 && settings.refcount_order > 1 && dice.below(3) == 0 {
                number += 1;
                image.create_snapshot(&format!("snapshot {number}"), 0).unwrap();
            }
            disk.get().left = Some(dice.below(150));
            loop {
                let first = dice.below(sectors);
                let count = (1 + dice.below(200)).min(sectors - first) >> dice.below(6);
                let mut data = Vec::new();
                for sector in first..first + count {
                    number += 1;
                    data.extend(stamp(number));
                    held[sector as usize].push(number);
                }
                if image.write(first * 512, &data).is_err() {
                    break;
                }
                if dice.below(6) == 0 {
                    if image.flush().is_err() {
                        break;
                    }
                    for possible in &mut held {
                        possible.drain(..possible.len() - 1);
                    }
                }
            }
            let bytes = disk.after_power_failure(&mut dice);
            // The image must not write when it goes: the machine is off.
            std::mem::forget(image);
            disk = Disk::holding(bytes);
            let mut image = open(&disk, false);
            let report = image.check().unwrap();
            assert_eq!(report.corruptions, 0, "seed {seed}: {report:?}");
            leaks += report.leaks;
            let mut sector = vec![0; 512];
            for (at, possible) in held.iter_mut().enumerate() {
                image.read(at as u64 * 512, &mut sector).unwrap();
                let found = u32::from_le_bytes(sector[..4].try_into().unwrap());
                assert!(sector == stamp(found), "seed {seed}: a torn sector");
                assert!(possible.contains(&found), "seed {seed}: sector {at} holds {found}, not {possible:?}");
                *possible = vec![found];
            }
            if dice.below(3) == 0 {
                let mut image = open(&disk, true);
                image.repair().unwrap();
                clean(&mut image);
            }
        }
    }
    assert!(leaks > 0, "nothing was ever at stake");
}

#[test]
fn snapshots_keep_old_states() {
    for settings in kinds() {
        if settings.refcount_order == 1 {
            continue;
        }
        let disk = create(&settings);
        let mut image = open(&disk, true);
        image.write(1000, &[1; 50_000]).unwrap();
        image.create_snapshot("one", 7).unwrap();
        clean(&mut image);
        image.write(20_000, &[2; 50_000]).unwrap();
        clean(&mut image);
        image.create_snapshot("two", 8).unwrap();
        image.write(0, &[3; 30_000]).unwrap();
        clean(&mut image);
        let names: Vec<String> = image.snapshots().unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["one", "two"]);
        assert!(image.create_snapshot("two", 8).is_err());
        drop(image);
        let at = |name: &str, offset: u64| {
            let mut image = open(&disk, false);
            image.show_snapshot(name).unwrap();
            let mut byte = [9];
            image.read(offset, &mut byte).unwrap();
            byte[0]
        };
        assert_eq!([at("one", 25_000), at("two", 25_000), at("one", 0), at("two", 60_000)], [1, 2, 0, 2]);
        let mut image = open(&disk, true);
        image.apply_snapshot("one").unwrap();
        clean(&mut image);
        let mut byte = [9];
        image.read(60_000, &mut byte).unwrap();
        assert_eq!(byte, [0]);
        image.delete_snapshot("one").unwrap();
        image.delete_snapshot("two").unwrap();
        clean(&mut image);
        assert!(image.delete_snapshot("two").is_err());
        image.read(50_999, &mut byte).unwrap();
        assert_eq!(byte, [1]);
        drop(image);
        clean(&mut open(&disk, false));
    }
}

#[test]
fn backing_shows_where_nothing_was_written() {
    let base = devices::storage::MemoryStorage::read_only(vec![7; 100_000]);
    let backing = Some(BackingName { name: "base".into(), format: Some("raw".into()) });
    let disk = create(&CreateQcow2 { backing, ..CreateQcow2::new(200_000) });
    let open = |writable| {
        Qcow2::open(Box::new(disk.clone()), writable, &mut |name| {
            assert_eq!((name.name.as_str(), name.format.as_deref()), ("base", Some("raw")));
            Ok(Some(Box::new(base.clone())))
        })
        .unwrap()
    };
    let mut image = open(true);
    image.write(70_000, &[1; 10]).unwrap();
    image.grow(400_000).unwrap();
    drop(image);
    let mut all = vec![0; 400_000];
    open(false).read(0, &mut all).unwrap();
    assert!(all[..70_000].iter().all(|byte| *byte == 7));
    assert_eq!(all[70_009..70_011], [1, 7]);
    assert!(all[100_000..].iter().all(|byte| *byte == 0));
    clean(&mut open(false));
    // A base that is longer than the disk is not shown when the disk grows.
    let backing = Some(BackingName { name: "base".into(), format: Some("raw".into()) });
    let disk = create(&CreateQcow2 { backing, ..CreateQcow2::new(5_000) });
    let mut image = Qcow2::open(Box::new(disk.clone()), true, &mut |_| Ok(Some(Box::new(base.clone())))).unwrap();
    image.grow(150_000).unwrap();
    let mut all = vec![1; 150_000];
    image.read(0, &mut all).unwrap();
    assert!(all[..5_000].iter().all(|byte| *byte == 7) && all[5_000..].iter().all(|byte| *byte == 0));
}

#[test]
fn compressed_clusters_are_read_and_replaced() {
    for zstd in [false, true] {
        let settings = CreateQcow2 { zstd, ..CreateQcow2::new(1 << 20) };
        let disk = create(&settings);
        let mut image = open(&disk, true);
        let mut dice = Dice(5);
        let mut model = Vec::new();
        for cluster in 0..16u64 {
            let spread = 1 + cluster * cluster;
            let data: Vec<u8> = (0..65_536).map(|_| dice.below(spread) as u8).collect();
            image.write_compressed(cluster << 16, &data).unwrap();
            model.extend(data);
        }
        clean(&mut image);
        image.write(100_000, &[5; 1000]).unwrap();
        model[100_000..101_000].fill(5);
        clean(&mut image);
        drop(image);
        let mut image = open(&disk, false);
        let report = image.check().unwrap();
        assert!(report.is_clean() && report.compressed > 8, "{report:?}");
        let mut all = vec![0; 1 << 20];
        image.read(0, &mut all).unwrap();
        assert!(all == model);
    }
}

#[test]
fn full_refcount_tables_move() {
    // Clusters of 512 bytes with refcounts of 64 bits: a table cluster covers 2 MiB.
    let settings = CreateQcow2 { cluster_bits: 9, refcount_order: 6, ..CreateQcow2::new(20 << 20) };
    let disk = create(&settings);
    let mut image = open(&disk, true);
    let before = image.header.reftable_offset;
    for at in (0..20u64 << 20).step_by(1 << 20) {
        image.write(at, &vec![(at >> 20) as u8 + 1; 1 << 20]).unwrap();
    }
    assert_ne!(image.header.reftable_offset, before);
    clean(&mut image);
    drop(image);
    let mut image = open(&disk, true);
    let mut byte = [0];
    image.read((7 << 20) + 5, &mut byte).unwrap();
    assert_eq!(byte, [8]);
    clean(&mut image);
}

fn flags(disk: &Disk, bits: u64) {
    disk.clone().write_at(72, &bits.to_be_bytes()).unwrap();
}

#[test]
fn dirty_images_are_mended_and_corrupt_ones_only_read() {
    let disk = create(&CreateQcow2::new(10 << 20));
    let mut image = open(&disk, true);
    image.write(0, &[1; 200_000]).unwrap();
    let block = image.reftable[0];
    drop(image);
    // Refcounts that were never written.
    disk.clone().write_at(block, &[0; 64]).unwrap();
    flags(&disk, incompatible::DIRTY);
    assert!(open(&disk, false).check().unwrap().corruptions > 0);
    let mut image = open(&disk, true);
    clean(&mut image);
    assert!(!image.facts().dirty);
    drop(image);
    clean(&mut open(&disk, false));
    flags(&disk, incompatible::CORRUPT);
    let before = disk.bytes();
    assert!(try_open(&disk, true).is_err());
    let mut image = open(&disk, false);
    let mut byte = [0];
    image.read(199_999, &mut byte).unwrap();
    assert_eq!((byte, image.write(0, &[1])), ([1], Err(StorageError::ReadOnly)));
    drop(image);
    assert!(disk.bytes() == before);
}

#[test]
fn leaks_are_found_and_freed() {
    let disk = create(&CreateQcow2::new(10 << 20));
    let mut image = open(&disk, true);
    image.write(0, &[1; 200_000]).unwrap();
    image.allocate(3).unwrap();
    image.flush().unwrap();
    assert_eq!(image.check().unwrap().leaks, 3);
    image.repair().unwrap();
    clean(&mut image);
    drop(image);
    clean(&mut open(&disk, false));
}

/// Damage of every kind gets an error, and the image stays as it is.
#[test]
fn damage_is_refused_and_untouched() {
    let disk = create(&CreateQcow2::new(10 << 20));
    let mut image = open(&disk, true);
    image.write(0, &[1; 200_000]).unwrap();
    let (l1, l2, reftable) = (image.header.l1_offset, image.l1[0] & OFFSET, image.header.reftable_offset);
    drop(image);
    let good = disk.bytes();
    let refused = [
        (20, 8u64 << 32 | 5),
        (24, u64::MAX),
        (36, 5),
        (40, 12_345),
        (40, 1 << 50),
        (48, 0),
        (56, 0),
        (56, 0xffff_ffff_0000_0000),
        (60, u64::MAX),
        (8, 104),
        (72, 4),
        (72, 16),
        (72, 1 << 40),
        (96, 7u64 << 32 | 104),
        (100, 5u64 << 32),
        (32, 1u64 << 32 | 1),
        (l1, 1 << 63 | reftable),
        (l1, 1 << 63 | l1),
        (l1, 1 << 63 | 1 << 40),
        (reftable, reftable),
        (reftable, l2),
    ];
    for (at, value) in refused {
        let mut bytes = good.clone();
        bytes.write_at(at, &value.to_be_bytes()).unwrap();
        let disk = Disk::holding(bytes.clone());
        let error = try_open(&disk, true).err().unwrap_or_else(|| panic!("{at:#x} = {value:#x} was taken"));
        assert!(!error.to_string().is_empty());
        assert!(disk.bytes() == bytes, "{at:#x} = {value:#x} changed the image");
    }
    // What shows when it is used: the guest gets an error, the tables stay whole.
    for value in [1 << 63 | l1, 1 << 63 | l2, 1 << 63, 1 << 63 | 0x200, 1 << 63 | 1 << 50, COMPRESSED | 1 << 50] {
        let mut bytes = good.clone();
        bytes.write_at(l2, &u64::to_be_bytes(value)).unwrap();
        let disk = Disk::holding(bytes.clone());
        let mut image = open(&disk, true);
        if value != 1 << 63 {
            assert!(image.write(0, &[2; 512]).is_err(), "{value:#x}");
        }
        drop(image);
        let after = disk.bytes();
        assert!(after[reftable as usize..][..0x1_0000] == bytes[reftable as usize..][..0x1_0000]);
        assert!(after[l1 as usize..][..8] == bytes[l1 as usize..][..8]);
    }
    for length in [0, 4, 71, 80, 0x1_0000, 0x2_0000, 0x3_0000, good.len() - 0x1_0000] {
        let bytes = good[..length].to_vec();
        let disk = Disk::holding(bytes.clone());
        let readable = try_open(&disk, true).and_then(|mut image| image.read_range(0, &mut vec![0; 200_000]));
        assert!(readable.is_err(), "{length}");
        assert!(disk.bytes() == bytes);
    }
}

/// A cluster of zeros that claims a place far behind the end of the file: refcounts that would reach so
/// far are refused, not computed.
#[test]
fn places_beyond_all_refcounts_are_refused() {
    for place in [1u64 << 40, 1 << 50, OFFSET & !0xffff] {
        let disk = create(&CreateQcow2 { cluster_bits: 9, ..CreateQcow2::new(300_000) });
        let mut image = open(&disk, true);
        image.write(0, &[1; 4000]).unwrap();
        let l2 = image.l1[0] & OFFSET;
        drop(image);
        let mut bytes = disk.bytes();
        bytes.write_at(l2, &(COPIED | ZERO | place).to_be_bytes()).unwrap();
        let disk = Disk::holding(bytes);
        assert!(open(&disk, true).create_snapshot("one", 0).is_err(), "{place:#x}");
        let mut none = |_: &BackingName| Ok(None);
        assert!(Qcow2::open_to_repair(Box::new(disk.clone()), &mut none).unwrap().repair().is_err());
        let mut sector = [7; 512];
        open(&disk, false).read(0, &mut sector).unwrap();
        assert_eq!(sector, [0; 512]);
    }
}
