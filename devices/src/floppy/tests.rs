use super::*;
use crate::storage::MemoryStorage;
use crate::testing::{Bench, Random};

const IMAGE: usize = 1_474_560;

static CONTENT: std::sync::LazyLock<Vec<u8>> =
    std::sync::LazyLock::new(|| (0..IMAGE).map(|at| (at / 512) as u8 ^ (at % 253) as u8).collect());

fn image() -> Vec<u8> {
    CONTENT.clone()
}

fn controller(interrupt: Line) -> FloppyController {
    let mut floppy = FloppyController::new(interrupt);
    floppy.attach(0, DriveKind::Mb1_44);
    floppy.attach(1, DriveKind::Mb1_44);
    floppy.insert(0, Some(Box::new(MemoryStorage::new(image()))));
    floppy
}

// The data of the disk is not part of the state, so a restored device may read other data.
crate::device_conformance!(conforms, controller(Line::detached()), replay: false);

struct Rig {
    bench: Bench<FloppyController>,
    irq: Line,
}

impl Rig {
    fn new() -> Rig {
        let irq = Line::detached();
        let mut rig = Rig { bench: Bench::new(controller(irq.share())), irq };
        rig.bench.write(2, 0x1c);
        rig.bench.write(7, 0);
        rig.wait();
        for index in 0..4 {
            assert_eq!(rig.run(&[8]), [0xc0 | index, 0]);
        }
        rig.run(&[3, 0xaf, 0x02]);
        rig
    }
    fn wait(&mut self) {
        self.bench.run(500_000_000);
    }
    /// Sends a command, waits, and collects its result.
    fn run(&mut self, command: &[u8]) -> Vec<u8> {
        let _ = self.irq.take_edge();
        for byte in command {
            assert_eq!(self.bench.read(4) & 0xc0, 0x80, "ready for {byte:02x} of {command:02x?}");
            self.bench.write(5, *byte);
        }
        self.wait();
        self.result()
    }
    fn result(&mut self) -> Vec<u8> {
        let mut result = Vec::new();
        while self.bench.read(4) & 0xf0 == 0xd0 {
            result.push(self.bench.read(5));
            assert!(result.len() <= 10);
        }
        result
    }
    fn seek(&mut self, cylinder: u8) {
        self.run(&[0x0f, 0, cylinder]);
        assert!(self.irq.take_edge());
        assert_eq!(self.run(&[8]), [0x20, cylinder]);
    }
}

#[test]
fn reset_reports_four_drives_by_one_interrupt() {
    let mut rig = Rig::new();
    rig.bench.write(2, 0x18);
    assert_eq!(rig.bench.read(4), 0);
    let _ = rig.irq.take_edge();
    rig.bench.write(2, 0x1c);
    assert!(!rig.irq.is_high());
    rig.wait();
    assert!(rig.irq.take_edge());
    assert_eq!(rig.run(&[8]), [0xc0, 0]);
    assert!(!rig.irq.is_high());
    for index in 1..4 {
        assert_eq!(rig.run(&[8]), [0xc0 | index, 0]);
    }
    assert_eq!(rig.run(&[8]), [0x80], "nothing more to report");
    assert_eq!(rig.run(&[0x10]), [0x90]);
}

#[test]
fn reads_over_dma_until_terminal_count() {
    let mut rig = Rig::new();
    rig.seek(2);
    rig.bench.dma.arm_isa(vec![0; 1024]);
    // Cylinder 2, head 1, from sector 17, both sides not asked for.
    let result = rig.run(&[0xe6, 4, 2, 1, 17, 2, 18, 0x1b, 0xff]);
    assert_eq!(result, [0x04, 0, 0, 3, 0, 1, 2]);
    let start = ((2 * 2 + 1) * 18 + 16) * 512;
    assert_eq!(rig.bench.dma.isa, image()[start..start + 1024]);
    // Multi-track from head 0 to head 1.
    rig.bench.dma.arm_isa(vec![0; 1024]);
    let result = rig.run(&[0xe6, 0, 2, 0, 18, 2, 18, 0x1b, 0xff]);
    assert_eq!(result, [0x04, 0, 0, 2, 1, 2, 2]);
    let start = (2 * 2 * 18 + 17) * 512;
    assert_eq!(rig.bench.dma.isa, image()[start..start + 1024]);
    // Without terminal count the end of the cylinder is an error.
    rig.bench.dma.arm_isa(vec![0; 4096]);
    let result = rig.run(&[0x66, 0, 2, 0, 18, 2, 18, 0x1b, 0xff]);
    assert_eq!(result[..3], [0x40, 0x80, 0]);
}

#[test]
fn writes_reads_back_and_formats() {
    let mut rig = Rig::new();
    rig.seek(0);
    rig.bench.dma.arm_isa(vec![0x3c; 512]);
    assert_eq!(rig.run(&[0x45, 0, 0, 0, 5, 2, 18, 0x1b, 0xff])[..3], [0, 0, 0]);
    rig.bench.dma.arm_isa(vec![0; 512]);
    assert_eq!(rig.run(&[0x46, 0, 0, 0, 5, 2, 18, 0x1b, 0xff]), [0, 0, 0, 0, 0, 6, 2]);
    assert_eq!(rig.bench.dma.isa, [0x3c; 512]);
    // Scan for what was written.
    rig.bench.dma.arm_isa(vec![0x3c; 512]);
    assert_eq!(rig.run(&[0x51, 0, 0, 0, 5, 2, 5, 0x1b, 1])[..3], [0, 0, 0x08]);
    rig.bench.dma.arm_isa(vec![0x3d; 512]);
    assert_eq!(rig.run(&[0x51, 0, 0, 0, 5, 2, 5, 0x1b, 1])[..3], [0, 0, 0x04]);
    let ids: Vec<u8> = (1..=18).flat_map(|sector| [0, 0, sector, 2]).collect();
    rig.bench.dma.arm_isa(ids);
    assert_eq!(rig.run(&[0x4d, 0, 2, 18, 0x54, 0xf6])[..3], [0, 0, 0]);
    rig.bench.dma.arm_isa(vec![0; 512]);
    rig.run(&[0x46, 0, 0, 0, 18, 2, 18, 0x1b, 0xff]);
    assert_eq!(rig.bench.dma.isa, [0xf6; 512]);
}

#[test]
fn programmed_input_moves_bytes() {
    let mut rig = Rig::new();
    rig.run(&[3, 0xaf, 0x03]);
    rig.seek(0);
    rig.run(&[0x46, 0, 0, 0, 1, 2, 1, 0x1b, 0xff]);
    assert!(rig.irq.is_high());
    let mut data = Vec::new();
    while rig.bench.read(4) & 0xf0 == 0xf0 {
        data.push(rig.bench.read(5));
    }
    assert_eq!(data, image()[..512]);
    rig.wait();
    assert_eq!(rig.result()[..3], [0x40, 0x80, 0]);
}

#[test]
fn errors_are_told_apart() {
    let mut rig = Rig::new();
    rig.seek(0);
    rig.bench.dma.arm_isa(vec![0; 512]);
    assert_eq!(rig.run(&[0x46, 0, 5, 0, 1, 2, 18, 0x1b, 0xff])[..3], [0x40, 0x04, 0x10], "wrong cylinder");
    assert_eq!(rig.run(&[0x46, 0, 0, 0, 19, 2, 19, 0x1b, 0xff])[..3], [0x40, 0x04, 0], "no such sector");
    rig.bench.write(7, 2);
    assert_eq!(rig.run(&[0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff])[..3], [0x40, 0x01, 0], "wrong data rate");
    assert_eq!(rig.run(&[0x4a, 0])[..2], [0x40, 0x01]);
    rig.bench.write(7, 0);
    assert_eq!(rig.run(&[0x4a, 4]), [0x04, 0, 0, 0, 1, 1, 2]);
    rig.bench.dma.arm_isa(Vec::new());
    assert_eq!(rig.run(&[0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff])[..3], [0x40, 0x10, 0], "no DMA");
    assert_eq!(rig.run(&[0x46, 1, 0, 0, 1, 2, 18, 0x1b, 0xff])[..3], [0x41, 0x01, 0], "no disk");
    rig.bench.device.insert(0, Some(Box::new(MemoryStorage::read_only(image()))));
    rig.bench.dma.arm_isa(vec![0; 512]);
    assert_eq!(rig.run(&[0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff])[..3], [0x40, 0x02, 0], "write-protected");
    assert_eq!(rig.run(&[4, 0]), [0x78]);
}

#[test]
fn change_line_ends_with_a_step() {
    let mut rig = Rig::new();
    assert_eq!(rig.bench.read(7) & 0x80, 0x80);
    rig.seek(1);
    assert_eq!(rig.bench.read(7) & 0x80, 0);
    assert!(rig.bench.device.insert(0, None).is_some());
    assert_eq!(rig.bench.read(7) & 0x80, 0x80);
    rig.seek(0);
    assert_eq!(rig.bench.read(7) & 0x80, 0x80, "stays without a disk");
    // A drive that is not there never finds track 0.
    rig.run(&[7, 2]);
    assert_eq!(rig.run(&[8])[0], 0x72);
}

#[test]
fn configuration_is_dumped_and_locked() {
    let mut rig = Rig::new();
    rig.run(&[0x13, 0, 0x57, 9]);
    assert_eq!(rig.run(&[0x94]), [0x10]);
    rig.run(&[0x12, 0x84]);
    assert_eq!(rig.run(&[0x0e]), [0, 0, 0, 0, 0xaf, 0x02, 0, 0x84, 0x57, 9]);
    rig.bench.write(4, 0x80);
    rig.wait();
    assert_eq!(rig.run(&[0x0e])[8..], [0x57, 9]);
    assert_eq!(rig.run(&[0x14]), [0]);
    // Implied seek is on.
    rig.bench.dma.arm_isa(vec![0; 512]);
    rig.bench.write(7, 0);
    assert_eq!(rig.run(&[0x46, 0, 7, 0, 1, 2, 18, 0x1b, 0xff])[..4], [0, 0, 0, 7]);
}

#[test]
fn every_command_with_every_parameter_count_ends() {
    let mut random = Random::new(3);
    for disk in [false, true] {
        for first in 0..=255u8 {
            for dma_bytes in [0, 511, 1025] {
                let mut rig = Rig::new();
                if !disk {
                    rig.bench.device.insert(0, None);
                }
                rig.bench.dma.arm_isa(vec![0x11; dma_bytes]);
                let count = random.below(12);
                rig.bench.write(5, first);
                for _ in 0..count {
                    rig.bench.write(5, random.below(256) as u8);
                }
                rig.wait();
                for _ in 0..520 {
                    rig.bench.read(5);
                    rig.bench.write(5, 0xff);
                }
                // A reset always helps.
                rig.bench.write(2, 0);
                rig.bench.write(2, 0x0c);
                rig.wait();
                assert_eq!(rig.bench.read(4), 0x80);
                assert_eq!(rig.run(&[0x10]), [0x90]);
            }
        }
    }
}

#[test]
fn formats_by_size() {
    let format = |bytes| Format::of_image(bytes);
    assert_eq!(format(163_840), Format { tracks: 40, heads: 1, sectors: 8 });
    assert_eq!(format(368_640), Format { tracks: 40, heads: 2, sectors: 9 });
    assert_eq!(format(655_360), Format { tracks: 80, heads: 2, sectors: 8 });
    assert_eq!(format(737_280), Format { tracks: 80, heads: 2, sectors: 9 });
    assert_eq!(format(1_228_800), Format { tracks: 80, heads: 2, sectors: 15 });
    assert_eq!(format(1_474_560), Format { tracks: 80, heads: 2, sectors: 18 });
    assert_eq!(format(2_949_120), Format { tracks: 80, heads: 2, sectors: 36 });
    assert_eq!(format(512), Format { tracks: 40, heads: 1, sectors: 9 });
    assert_eq!(format(1_400_000), Format { tracks: 80, heads: 2, sectors: 18 });
}
