use super::*;
use crate::storage::MemoryStorage;
use crate::testing::Bench;

fn pattern(sectors: usize) -> Vec<u8> {
    (0..sectors * 512).map(|at| (at / 512) as u8 ^ (at % 251) as u8).collect()
}

fn controller() -> IdeController {
    let mut ide = IdeController::new(Line::detached(), Line::detached());
    ide.attach_disk(Position::PrimaryMaster, Box::new(MemoryStorage::new(pattern(2048))));
    let disc: Vec<u8> = (0..40 * 2048).map(|at| (at / 2048) as u8 ^ at as u8).collect();
    ide.attach_cdrom(Position::SecondaryMaster, Some(Box::new(MemoryStorage::read_only(disc))));
    ide
}

// The data of the disk is not part of the state, so a restored device may read other data.
crate::device_conformance!(conforms, controller(), replay: false);

struct Rig {
    bench: Bench<IdeController>,
    irq: [Line; 2],
}

impl Rig {
    fn new() -> Rig {
        let irq = [Line::detached(), Line::detached()];
        let mut ide = controller();
        let [first, second] = &mut ide.channels;
        *first = Channel::new(irq[0].share());
        *second = Channel::new(irq[1].share());
        let mut with_drives = controller();
        for position in Position::ALL {
            std::mem::swap(ide.slot(position), with_drives.slot(position));
        }
        Rig { bench: Bench::new(ide), irq }
    }
    fn command(&mut self, base: u16, registers: [u8; 6], command: u8) {
        for (index, value) in registers.into_iter().enumerate().rev() {
            self.bench.write(base + 1 + index as u16, value);
        }
        self.bench.write(base + 7, command);
        assert_eq!(self.bench.read(base + 7) & 0x80, 0x80, "BSY right after the command");
    }
    fn wait(&mut self) {
        self.bench.run(100_000_000);
    }
    fn read_data(&mut self, base: u16, bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < bytes {
            let word = self.bench.try_read(base, Width::Word).unwrap_or(0) as u16;
            out.extend(word.to_le_bytes());
        }
        out.truncate(bytes);
        out
    }
    fn packet(&mut self, packet: [u8; 12], limit: u16, features: u8) {
        self.command(0x10, [features, 0, 0, limit as u8, (limit >> 8) as u8, 0xa0], 0xa0);
        self.wait();
        assert_eq!((self.bench.read(0x17), self.bench.read(0x12)), (0x58, 1));
        for pair in packet.chunks(2) {
            let word = u32::from(pair[0]) | u32::from(pair[1]) << 8;
            self.bench.write_wide(0x10, Width::Word, word);
        }
        let _ = self.irq[1].take_edge();
        self.wait();
    }
    /// Collects the data phases of a packet command, in the sizes the drive announces.
    fn packet_data(&mut self) -> (Vec<u8>, Vec<usize>) {
        let (mut data, mut sizes) = (Vec::new(), Vec::new());
        while self.bench.read(0x18) & 8 != 0 {
            assert!(self.irq[1].take_edge());
            assert_eq!(self.bench.read(0x12), 2);
            let size = usize::from(self.bench.read(0x14)) | usize::from(self.bench.read(0x15)) << 8;
            sizes.push(size);
            data.extend(self.read_data(0x10, size));
            self.bench.read(0x17);
            self.wait();
        }
        assert!(self.irq[1].take_edge());
        assert_eq!(self.bench.read(0x12), 3);
        (data, sizes)
    }
    fn sense(&mut self) -> (u8, u8) {
        self.packet([3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0], 0xfffe, 0);
        let (data, _) = self.packet_data();
        (data[2], data[12])
    }
}

#[test]
fn signatures_after_power_on_and_software_reset() {
    let mut rig = Rig::new();
    for _ in 0..2 {
        rig.bench.write(6, 0xa0);
        let signature: Vec<u8> = (1..=5).map(|r| rig.bench.read(r)).collect();
        assert_eq!(signature, [1, 1, 1, 0, 0]);
        assert_eq!(rig.bench.read(7), 0x50);
        rig.bench.write(6, 0xb0);
        assert_eq!(rig.bench.read(7), 0, "the absent slave reads status 0");
        rig.bench.write(0x16, 0xa0);
        assert_eq!((rig.bench.read(0x14), rig.bench.read(0x15)), (0x14, 0xeb));
        for control in [0x08, 0x18] {
            rig.bench.write(control, 4);
            rig.bench.run(10_000);
            rig.bench.write(control, 0);
        }
        assert_eq!(rig.bench.read(7), 0x80);
        rig.wait();
    }
    assert!(!rig.irq[0].is_high());
}

#[test]
fn identify_is_complete_and_checked() {
    let mut rig = Rig::new();
    rig.command(0, [0, 0, 0, 0, 0, 0xa0], 0xec);
    rig.wait();
    assert!(rig.irq[0].is_high());
    assert_eq!(rig.bench.read(8), 0x58);
    assert!(rig.irq[0].is_high(), "the alternate status leaves the interrupt");
    assert_eq!(rig.bench.read(7), 0x58);
    assert!(!rig.irq[0].is_high());
    let data = rig.read_data(0, 512);
    assert_eq!(data.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)), 0);
    let word = |at: usize| u16::from_le_bytes([data[2 * at], data[2 * at + 1]]);
    assert_eq!((word(60), word(100), word(1), word(3), word(6)), (2048, 2048, 2, 16, 63));
    assert_eq!(&data[54..58], b"eBgi");
    assert_eq!(rig.bench.read(7), 0x50);
}

#[test]
fn reads_by_lba_and_chs_one_interrupt_per_sector() {
    let mut rig = Rig::new();
    let disk = pattern(2048);
    rig.command(0, [0, 2, 65, 0, 0, 0xe0], 0x20);
    for sector in 65..67 {
        rig.wait();
        assert!(rig.irq[0].take_edge());
        assert_eq!(rig.bench.read(7), 0x58);
        assert_eq!(rig.read_data(0, 512), disk[sector * 512..][..512]);
    }
    rig.wait();
    assert!(!rig.irq[0].take_edge(), "no interrupt after the last sector");
    assert_eq!((rig.bench.read(7), rig.bench.read(2), rig.bench.read(3)), (0x50, 0, 66));
    // Cylinder 1, head 0, sector 3 of 16 heads and 63 sectors is sector 1010.
    rig.command(0, [0, 1, 3, 1, 0, 0xa0], 0x20);
    rig.wait();
    assert_eq!(rig.read_data(0, 512), disk[1010 * 512..][..512]);
    // With 4 heads of 17 sectors the same address is sector 70.
    rig.command(0, [0, 17, 0, 0, 0, 0xa3], 0x91);
    rig.wait();
    rig.command(0, [0, 1, 3, 1, 0, 0xa0], 0x20);
    rig.wait();
    assert_eq!(rig.read_data(0, 512), disk[70 * 512..][..512]);
}

#[test]
fn multiple_and_48_bit_writes_and_reads() {
    let mut rig = Rig::new();
    rig.command(0, [0, 4, 0, 0, 0, 0xe0], 0xc6);
    rig.wait();
    assert_eq!(rig.bench.read(7), 0x50);
    assert!(rig.irq[0].take_edge());
    // Previous content first: 0006h sectors from 000000000100h.
    for (register, value) in [(2, 0), (3, 0), (4, 0), (5, 0)] {
        rig.bench.write(register, value);
    }
    rig.command(0, [0, 6, 0, 1, 0, 0xe0], 0x39);
    rig.bench.run(2_000);
    assert_eq!(rig.bench.read(7), 0x58);
    assert!(!rig.irq[0].take_edge(), "no interrupt before the first block");
    let data = vec![0xc3; 6 * 512];
    let taken = rig.bench.with(|ide, cx| ide.data_write_block(cx, 0, &data));
    assert_eq!(taken, 4 * 512);
    rig.wait();
    assert!(rig.irq[0].take_edge());
    assert_eq!(rig.bench.read(7), 0x58);
    let taken = rig.bench.with(|ide, cx| ide.data_write_block(cx, 0, &data[taken..]));
    assert_eq!(taken, 2 * 512);
    rig.wait();
    assert!(rig.irq[0].take_edge());
    assert_eq!(rig.bench.read(7), 0x50);
    for (register, value) in [(2, 0), (3, 0), (4, 0), (5, 0)] {
        rig.bench.write(register, value);
    }
    rig.command(0, [0, 7, 0, 1, 0, 0xe0], 0x29);
    let mut got = vec![0; 7 * 512];
    for (start, size) in [(0, 2048), (2048, 1536)] {
        rig.wait();
        assert!(rig.irq[0].take_edge());
        assert_eq!(rig.bench.read(7), 0x58);
        let n = rig.bench.with(|ide, cx| ide.data_read_block(cx, 0, &mut got[start..]));
        assert_eq!(n, size);
    }
    assert_eq!(got[..6 * 512], data);
    assert_eq!(got[6 * 512..], pattern(2048)[0x106 * 512..][..512]);
}

#[test]
fn addresses_past_the_end_and_unknown_commands_fail() {
    let mut rig = Rig::new();
    for command in [0x20, 0x30, 0xc8, 0xca, 0x40] {
        rig.command(0, [0, 2, 0xff, 7, 0, 0xe0], command);
        rig.wait();
        assert!(rig.irq[0].take_edge());
        assert_eq!((rig.bench.read(7), rig.bench.read(1)), (0x51, 0x10));
    }
    for command in [0x00, 0xa0, 0xa1, 0xb0, 0xf1, 0x08, 0xff] {
        rig.command(0, [0, 1, 0, 0, 0, 0xe0], command);
        rig.wait();
        assert_eq!((rig.bench.read(7), rig.bench.read(1)), (0x51, 0x04), "command {command:02x}");
    }
}

#[test]
fn disabled_interrupts_appear_when_enabled() {
    let mut rig = Rig::new();
    rig.bench.write(8, 2);
    rig.command(0, [0, 1, 0, 0, 0, 0xe0], 0x20);
    rig.wait();
    assert!(!rig.irq[0].is_high());
    rig.bench.write(8, 0);
    assert!(rig.irq[0].is_high());
}

fn descriptor(rig: &mut Rig, at: usize, address: u32, count: u16, last: bool) {
    rig.bench.dma.ram[at..at + 4].copy_from_slice(&address.to_le_bytes());
    rig.bench.dma.ram[at + 4..at + 6].copy_from_slice(&count.to_le_bytes());
    rig.bench.dma.ram[at + 6..at + 8].copy_from_slice(&[0, if last { 0x80 } else { 0 }]);
}

#[test]
fn bus_master_reads_through_scattered_descriptors() {
    let mut rig = Rig::new();
    descriptor(&mut rig, 0x100, 0x2002, 100, false);
    descriptor(&mut rig, 0x108, 0x4001, 924, true);
    rig.bench.write_wide(0x24, Width::Dword, 0x100);
    rig.bench.write(0x22, 0x66);
    rig.bench.write(0x20, 0x08);
    rig.command(0, [0, 2, 9, 0, 0, 0xe0], 0xc8);
    rig.wait();
    assert!(!rig.irq[0].is_high(), "the drive waits for the bus master");
    rig.bench.write(0x20, 0x09);
    assert_eq!(rig.bench.read(0x22), 0x61);
    rig.wait();
    assert!(rig.irq[0].take_edge());
    assert_eq!(rig.bench.read(0x22), 0x64);
    assert_eq!(rig.bench.read(7), 0x50);
    rig.bench.write(0x22, 0x04);
    assert_eq!(rig.bench.read(0x22), 0x00);
    let disk = pattern(2048);
    assert_eq!(rig.bench.dma.ram[0x2002..0x2066], disk[9 * 512..][..100]);
    assert_eq!(rig.bench.dma.ram[0x4001..0x4001 + 924], disk[9 * 512 + 100..][..924]);
}

#[test]
fn bus_master_writes_and_zero_length_means_64k() {
    let mut rig = Rig::new();
    descriptor(&mut rig, 0x100, 0, 0, true);
    rig.bench.dma.ram[0x200] = 0x77;
    rig.bench.write_wide(0x24, Width::Dword, 0x100);
    rig.bench.write(0x20, 0x01);
    rig.command(0, [0, 128, 0, 0, 0, 0xe0], 0xca);
    rig.wait();
    assert!(rig.irq[0].take_edge());
    assert_eq!(rig.bench.read(0x22) & 5, 4);
    rig.command(0, [0, 1, 1, 0, 0, 0xe0], 0x20);
    rig.wait();
    assert_eq!(rig.read_data(0, 512)[0], 0x77);
}

#[test]
fn bad_descriptor_tables_end() {
    let mut rig = Rig::new();
    // Too short: idle without an interrupt.
    descriptor(&mut rig, 0x100, 0x1000, 512, true);
    rig.bench.write_wide(0x24, Width::Dword, 0x100);
    rig.bench.write(0x20, 0x09);
    rig.command(0, [0, 2, 0, 0, 0, 0xe0], 0xc8);
    rig.wait();
    assert_eq!(rig.bench.read(0x22) & 7, 0);
    assert!(!rig.irq[0].is_high());
    // Two-byte descriptors without an end, over all of memory and beyond.
    rig.bench.dma.ram.fill(2);
    for at in (0..0x1_0000).step_by(8) {
        descriptor(&mut rig, at, 0x8000_0000, 2, false);
    }
    rig.bench.write(0x20, 0);
    rig.bench.write_wide(0x24, Width::Dword, 0);
    rig.bench.write(0x20, 0x09);
    rig.command(0, [0, 0, 0, 0, 0, 0xe0], 0xc8);
    rig.wait();
    assert_eq!(rig.bench.read(0x22) & 7, 0);
    // Longer than the transfer: interrupt with the bus master still active.
    descriptor(&mut rig, 0x100, 0x1000, 4096, true);
    rig.bench.write(0x20, 0);
    rig.bench.write_wide(0x24, Width::Dword, 0x100);
    rig.bench.write(0x20, 0x09);
    rig.command(0, [0, 1, 0, 0, 0, 0xe0], 0xc8);
    rig.wait();
    assert_eq!(rig.bench.read(0x22) & 7, 5);
}

struct Broken;
impl Storage for Broken {
    fn len(&self) -> u64 {
        1 << 20
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), crate::storage::StorageError> {
        Err(crate::storage::StorageError::Host)
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), crate::storage::StorageError> {
        Err(crate::storage::StorageError::ReadOnly)
    }
    fn flush(&mut self) -> Result<(), crate::storage::StorageError> {
        Err(crate::storage::StorageError::Host)
    }
}

#[test]
fn storage_errors_become_error_status() {
    let mut rig = Rig::new();
    rig.bench.device.attach_disk(Position::PrimaryMaster, Box::new(Broken));
    rig.command(0, [0, 1, 5, 0, 0, 0xe0], 0x20);
    rig.wait();
    assert_eq!((rig.bench.read(7), rig.bench.read(1), rig.bench.read(3)), (0x51, 0x40, 5));
    rig.command(0, [0, 1, 5, 0, 0, 0xe0], 0x30);
    rig.bench.run(2_000);
    rig.bench.with(|ide, cx| ide.data_write_block(cx, 0, &[0; 512]));
    rig.wait();
    assert_eq!((rig.bench.read(7), rig.bench.read(1)), (0x51, 0x04));
    rig.command(0, [0, 0, 0, 0, 0, 0xe0], 0xe7);
    rig.wait();
    assert_eq!(rig.bench.read(7) & 0x21, 0x21);
}

#[test]
fn packet_device_identifies_itself() {
    let mut rig = Rig::new();
    rig.command(0x10, [0, 0, 0, 0, 0, 0xa0], 0xec);
    rig.wait();
    assert_eq!((rig.bench.read(0x17) & 1, rig.bench.read(0x14), rig.bench.read(0x15)), (1, 0x14, 0xeb));
    rig.command(0x10, [0, 0, 0, 0, 0, 0xa0], 0xa1);
    rig.wait();
    let data = rig.read_data(0x10, 512);
    assert_eq!(u16::from_le_bytes([data[0], data[1]]), 0x85c0);
    assert_eq!(data.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)), 0);
}

#[test]
fn packet_reads_keep_the_byte_count_limit() {
    let mut rig = Rig::new();
    rig.packet([0x28, 0, 0, 0, 0, 7, 0, 0, 2, 0, 0, 0], 1501, 0);
    let (data, sizes) = rig.packet_data();
    assert_eq!(sizes, [1500, 1500, 1096]);
    let expected: Vec<u8> = (7 * 2048..9 * 2048).map(|at: usize| (at / 2048) as u8 ^ at as u8).collect();
    assert_eq!(data, expected);
    // An odd reply is one odd piece.
    rig.packet([0x12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0], 0xfffe, 0);
    let (data, sizes) = rig.packet_data();
    assert_eq!((data.len(), sizes), (7, vec![7]));
    assert_eq!(data[..2], [5, 0x80]);
}

#[test]
fn packet_reads_by_bus_master() {
    let mut rig = Rig::new();
    descriptor(&mut rig, 0x100, 0x1000, 2048, true);
    rig.bench.write_wide(0x2c, Width::Dword, 0x100);
    rig.bench.write(0x28, 0x09);
    rig.packet([0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0], 0, 1);
    assert!(rig.irq[1].take_edge());
    assert_eq!((rig.bench.read(0x17), rig.bench.read(0x12), rig.bench.read(0x2a) & 7), (0x50, 3, 4));
    assert_eq!(rig.bench.dma.ram[0x1005], 3 ^ 5);
}

#[test]
fn packet_errors_and_sense() {
    let mut rig = Rig::new();
    rig.packet([0x28, 0, 0, 0, 0, 39, 0, 0, 2, 0, 0, 0], 0xfffe, 0);
    assert_eq!((rig.bench.read(0x17) & 1, rig.bench.read(0x11)), (1, 0x54));
    assert_eq!(rig.sense(), (5, 0x21));
    assert_eq!(rig.sense(), (0, 0));
    rig.packet([0xff; 12], 0xfffe, 0);
    assert_eq!(rig.sense(), (5, 0x20));
}

#[test]
fn every_packet_command_ends() {
    for features in [0, 1] {
        for op in 0..=255u8 {
            for fill in [0, 1, 0xff] {
                let mut rig = Rig::new();
                let mut packet = [fill; 12];
                packet[0] = op;
                rig.packet(packet, 0x1235, features);
                for _ in 0..200 {
                    let mut sink = [0; 4096];
                    rig.bench.with(|ide, cx| ide.data_read_block(cx, 1, &mut sink));
                    rig.bench.with(|ide, cx| ide.data_write_block(cx, 1, &sink));
                    rig.bench.run(100_000);
                    if rig.bench.read(0x18) & 0x88 == 0 {
                        break;
                    }
                }
                if features == 0 {
                    assert_eq!(rig.bench.read(0x18) & 0x80, 0, "op {op:02x}");
                }
            }
        }
    }
}

#[test]
fn disc_changes_are_reported_once() {
    let mut rig = Rig::new();
    assert!(rig.bench.device.insert(Position::SecondaryMaster, None).is_some());
    rig.packet([0; 12], 0xfffe, 0);
    assert_eq!(rig.bench.read(0x11) >> 4, 6);
    rig.packet([0; 12], 0xfffe, 0);
    assert_eq!(rig.sense(), (2, 0x3a));
    let disc = Box::new(MemoryStorage::read_only(vec![0; 4 * 2048]));
    assert!(rig.bench.device.insert(Position::SecondaryMaster, Some(disc)).is_none());
    rig.packet([0; 12], 0xfffe, 0);
    assert_eq!(rig.sense(), (6, 0x28));
    rig.packet([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0, 0, 0], 0xfffe, 0);
    assert_eq!(rig.packet_data().0, [0, 6, 4, 0x10, 2, 2, 0, 0]);
    rig.packet([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0xfffe, 0);
    assert_eq!(rig.packet_data().0, [0, 0, 0, 3, 0, 0, 8, 0]);
}

#[test]
fn table_of_contents_in_all_formats() {
    let mut rig = Rig::new();
    rig.packet([0x43, 2, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0], 0xfffe, 0);
    let (data, _) = rig.packet_data();
    assert_eq!(data, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x14, 0xaa, 0, 0, 0, 2, 40]);
    rig.packet([0x43, 0, 1, 0, 0, 0, 0, 0, 12, 0, 0, 0], 0xfffe, 0);
    assert_eq!(rig.packet_data().0, [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
    rig.packet([0x43, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0], 0xfffe, 0);
    assert_eq!(rig.packet_data().0.len(), 48);
}

#[test]
fn every_command_ends_on_every_drive() {
    // Disk, absent slave, CD-ROM drive, absent slave.
    for (base, drive) in [(0, 0xe0), (0, 0xf0), (0x10, 0xa0), (0x10, 0xb0)] {
        for command in 0..=255u8 {
            let mut rig = Rig::new();
            for (register, value) in [(6, drive), (1, 0xff), (2, 3), (3, 0xff), (4, 0xff), (5, 0xff), (7, command)] {
                rig.bench.write(base + register, value);
            }
            rig.wait();
            let channel = usize::from(base / 0x10);
            for _ in 0..8 {
                let mut data = [0; 4096];
                rig.bench.with(|ide, cx| ide.data_write_block(cx, channel, &data));
                rig.bench.with(|ide, cx| ide.data_read_block(cx, channel, &mut data));
                rig.wait();
            }
            // A software reset always helps.
            rig.bench.write(base + 8, 4);
            rig.bench.run(10_000);
            rig.bench.write(base + 8, 0);
            rig.wait();
            rig.bench.write(base + 6, 0xa0);
            assert_eq!(rig.bench.read(base + 7) & 0x89, 0, "command {command:02x} on drive {drive:02x} at {base:x}");
        }
    }
}
