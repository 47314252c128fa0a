//! One target per chip: random accesses and steps of time, then damaged saved states. What is
//! checked stands in [`devices::conformance`].

use crate::driver::{Source, Target};
use devices::conformance::{drive, drive_damaged};
use devices::fw_cfg::{FwCfg, RangeKind};
use devices::keyboard::KeyCode;
use devices::network::{Echo, Network};
use devices::storage::MemoryStorage;
use devices::testing::Bench;
use devices::{Attention, Device, Line, Time, Width};

/// A random walk, and every third time a damaged saved state.
fn chip(data: &[u8], make: &dyn Fn() -> Box<dyn Device>) {
    match data.split_first() {
        Some((first, rest)) if first % 3 == 0 => drive_damaged(make, rest),
        _ => drive(make, data),
    }
}

macro_rules! chips {
    ($($name:literal: $make:expr,)*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[
            $(Target { name: $name, run: |data| chip(data, &|| Box::new($make)) },)*
            Target { name: "vga_render", run: vga_render },
            Target { name: "ne2000_frames", run: ne2000_frames },
        ];
    };
}

chips! {
    "debug_exit": devices::debug_exit::DebugExit::new(),
    "debugcon": devices::debugcon::DebugConsole::new(),
    "dma": devices::dma::DmaPair::new(),
    "floppy": floppy(),
    "fw_cfg": fw_cfg(),
    "i8042": i8042(),
    "ide": ide(),
    "ne2000": devices::ne2000::Ne2000::pci(Line::detached(), [0x52, 0x54, 0, 1, 2, 3], Some(Box::new(Echo::default()))),
    "ne2000_isa": devices::ne2000::Ne2000::isa(Line::detached(), [0x52, 0x54, 0, 1, 2, 3], None),
    "opl": devices::opl::Opl::new(),
    "parallel": devices::parallel::Parallel::new(Line::detached()),
    "pci_host": devices::pci::HostBridge::new(),
    "pic": devices::pic::PicPair::new(&Attention::new()),
    "piix_isa": isa_bridge(),
    "piix_power": devices::piix::PowerManagement::new(Line::detached()),
    "pit": devices::pit::Pit::new(Some(Line::detached()), Some(Line::detached()), Line::detached()),
    "port92": devices::port92::Port92::new(Line::detached(), Line::detached()),
    "post": devices::post::Post::new(),
    "rtc": devices::rtc::Rtc::new(Line::detached(), devices::rtc::DateTime::DEFAULT),
    "sb16": devices::sb16::SoundBlaster::new(std::array::from_fn(|_| Line::detached())),
    "speaker": devices::speaker::SystemControl::new(
        Line::detached(), Line::detached(), Line::detached(), &Attention::new()
    ),
    "uart": uart(),
    "vga": devices::vga::Vga::new(0x8_0000, Some(0x1_0000)),
    "vmport": devices::vmport::VmPort::new(),
}

fn floppy() -> devices::floppy::FloppyController {
    use devices::floppy::{DriveKind, FloppyController};
    let mut floppy = FloppyController::new(Line::detached());
    floppy.attach(0, DriveKind::Mb1_44);
    floppy.attach(1, DriveKind::Mb1_44);
    floppy.insert(0, Some(Box::new(MemoryStorage::new(vec![0x5a; 368_640]))));
    floppy
}

fn fw_cfg() -> FwCfg {
    let mut device = FwCfg::new();
    device.set_machine(64 << 20, 1, 1);
    device.set_e820(&[(0, 0xa_0000, RangeKind::Ram), (0xf_0000, 0x1_0000, RangeKind::Reserved)]);
    device.set_boot_order(&["/pci@i0cf8/ide@1,1/drive@0/disk@0"]);
    device
}

fn i8042() -> devices::i8042::I8042 {
    let lines = || Line::detached();
    let mut controller = devices::i8042::I8042::new(lines(), lines(), lines(), lines());
    controller.key(KeyCode::A, true);
    controller.movement(300, -300, 5, 7);
    controller
}

fn ide() -> devices::ata::IdeController {
    use devices::ata::{IdeController, Position};
    let mut ide = IdeController::new(Line::detached(), Line::detached());
    ide.attach_disk(Position::PrimaryMaster, Box::new(MemoryStorage::new(vec![0xa5; 0x1_0000])));
    ide.attach_cdrom(Position::PrimarySlave, None);
    ide.attach_cdrom(Position::SecondaryMaster, Some(Box::new(MemoryStorage::read_only(vec![3; 0x8000]))));
    ide
}

fn isa_bridge() -> devices::piix::IsaBridge {
    devices::piix::IsaBridge::new(std::array::from_fn(|_| Line::detached()), Line::detached(), &Attention::new())
}

fn uart() -> devices::uart::Uart {
    let mut uart = devices::uart::Uart::new(Line::detached());
    uart.receive(&[0x55; 40]);
    uart
}

/// Any registers, with any amount of video memory behind them, make a picture.
fn vga_render(data: &[u8]) {
    let mut source = Source::new(data);
    let mut bench = Bench::new(devices::vga::Vga::new(0x8_0000, None));
    bench.video = vec![0x5a; source.pick(&[0, 3, 0x1000, 0x4_0000, 0x8_0000])];
    for _ in 0..source.below(300) {
        let noise = source.bits();
        let (index, value) = ((noise >> 8) as u8, (noise >> 16) as u8);
        match noise & 15 {
            0 => {
                bench.write_wide(0x30, Width::Word, u32::from(index & 15));
                bench.write_wide(0x31, Width::Word, (noise >> 16) as u32 & 0xffff);
            }
            1 => bench.write(0x12, value),
            2..=4 => {
                bench.write(0x14, index & 7);
                bench.write(0x15, value);
            }
            5..=7 => {
                bench.write(0x1e, index & 15);
                bench.write(0x1f, value);
            }
            8 | 9 => bench.write(0x10, index),
            10 => {
                bench.read(0x2a);
            }
            11 => {
                bench.write(0x24, 0x11);
                bench.write(0x25, 0);
            }
            12 => bench.write(0x10 + u16::from(index & 0x1f), value),
            _ => {
                bench.write(0x24, index & 31);
                bench.write(0x25, value);
            }
        }
    }
    bench.now.0 = source.bits() >> 8;
    let Bench { device, now, video, .. } = &mut bench;
    let frame = device.frame(video, *now, &mut devices::vga::Viewer::new());
    assert!(frame.width <= 8192 && frame.height <= 8192);
    let _ = device.text_screen(video);
}

/// A cable on which anything arrives.
struct Noise(Vec<Vec<u8>>);

impl Network for Noise {
    fn send(&mut self, _now: Time, frame: &[u8]) {
        assert!(frame.len() <= 0x1_0000);
    }
    fn receive(&mut self, _now: Time) -> Option<Vec<u8>> {
        self.0.pop()
    }
}

/// Frames of any size into any ring, and remote DMA over it.
fn ne2000_frames(data: &[u8]) {
    let mut source = Source::new(data);
    let frames = (0..source.below(20))
        .map(|_| {
            let longest = source.pick(&[8, 64, 1514, 0x1_0000]);
            vec![0xff; source.below(longest + 1) as usize]
        })
        .collect();
    let mut bench =
        Bench::new(devices::ne2000::Ne2000::pci(Line::detached(), [2, 0, 0, 0, 0, 1], Some(Box::new(Noise(frames)))));
    for (register, value) in
        [(0, 0x21), (0x0e, 0x49), (1, 0x46), (2, 0x80), (3, 0x46), (0x0c, 0x1f), (0x0d, 0), (0, 0x22)]
    {
        bench.write(register, value);
    }
    for _ in 0..source.below(400) {
        let noise = source.bits();
        let (register, value) = ((noise >> 8) as u16 & 0x1f, (noise >> 16) as u8);
        match noise & 7 {
            0..=2 => bench.write(register, value),
            3 => bench.write(0, [0x22, 0x62, 0x26, 0x0a, 0x12, 0x1a, 0x21, 0x23][usize::from(value & 7)]),
            4 => {
                bench.try_read(register, [Width::Byte, Width::Word, Width::Dword][usize::from(value) % 3]);
            }
            5 => bench.write_wide(0x10, [Width::Byte, Width::Word, Width::Dword][usize::from(value) % 3], noise as u32),
            _ => bench.run(noise >> 40),
        }
    }
}
