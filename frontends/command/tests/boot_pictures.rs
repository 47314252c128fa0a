//! Guests that draw: what stands on the screen is looked at, not only the text.

#![allow(clippy::unwrap_used, reason = "tests")]

mod guests;

use beigebox::display::Picture;
use beigebox::input::Button;
use beigebox::loader::Payload;
use beigebox::{BootDevice, Machine, Stop};
use guests::{Firmware, guest};
use std::io::Read;
use std::path::Path;

const SECOND: u64 = 1_000_000_000;

fn read(name: &str) -> Option<Vec<u8>> {
    guest(name).map(|path| std::fs::read(path).unwrap())
}

fn builder(firmware: Firmware, memory: u64) -> Option<beigebox::Builder> {
    let (system, video) = match firmware {
        Firmware::Own => (bios::SYSTEM.to_vec(), bios::VGA.to_vec()),
        Firmware::SeaBios => (read("seabios/bios-256k.bin")?, read("seabios/vgabios-stdvga.bin")?),
    };
    Some(Machine::builder().bios(system).video_bios(video).memory(memory))
}

/// Runs until the picture is as `wanted` says.
fn run_until(machine: &mut Machine, seconds: u64, what: &str, wanted: impl Fn(&Picture) -> bool) -> Picture {
    let mut picture = machine.picture();
    for _ in 0..seconds * 2 {
        assert_eq!(machine.run_for(SECOND / 2), Stop::Done, "{what}");
        picture = machine.picture();
        if wanted(&picture) {
            return picture;
        }
    }
    let size = (picture.width, picture.height);
    panic!("{what} is not on the screen after {seconds} s: {size:?}\n{}", machine.screen_text());
}

/// Whether the pixel is that colour, give or take what rounding and dithering do.
fn is(picture: &Picture, x: usize, y: usize, color: u32) -> bool {
    let Some(pixel) = picture.pixels.get(y * picture.width + x) else { return false };
    pixel.to_le_bytes().into_iter().zip(color.to_le_bytes()).all(|(is, wanted)| is.abs_diff(wanted) <= 10)
}

fn share(picture: &Picture, color: u32) -> usize {
    picture.pixels.iter().filter(|pixel| **pixel == color).count() * 100 / picture.pixels.len().max(1)
}

/// The graphical installer on a VESA framebuffer: the language page, drawn by X and GTK. A click
/// selects another language, through the kernel's driver for VMware's pointer and libinput; then the
/// down key moves the selection.
#[test]
fn the_graphical_installer_takes_clicks_and_keys() {
    let Some(machine) = builder(Firmware::Own, 640 << 20) else { return };
    let (Some(kernel), Some(packed)) = (read("installer/gtk/linux"), read("installer/gtk/initrd.gz")) else { return };
    // Unpacked here: the kernel would take a tenth of the test for it.
    let mut initrd = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut initrd).unwrap();
    let command_line = "vga=788 priority=high modprobe.blacklist=bochs mitigations=off cryptomgr.notests quiet";
    let payload = Payload { kernel, initrd: Some(initrd), command_line: command_line.into(), ..Payload::default() };
    let mut machine = machine.hypervisor(true).direct_boot(payload).build().unwrap();
    // The dark header, the grey ground, the white list and the green bar on "English".
    let page = |picture: &Picture, bar: usize| {
        (picture.width, picture.height) == (800, 600)
            && is(picture, 20, 20, 0x00_49_5a)
            && is(picture, 5, 300, 0xef_eb_e7)
            && is(picture, 400, 450, 0xff_ff_ff)
            && is(picture, 600, bar, 0x29_86_7b)
    };
    run_until(&mut machine, 150, "the language page", |picture| page(picture, 361));
    assert!(machine.takes_absolute_pointer());
    machine.click(500, 407, Button::Left);
    run_until(&mut machine, 20, "the bar two lines down", |picture| page(picture, 407) && !page(picture, 361));
    machine.type_keys("<down>").unwrap();
    let picture = run_until(&mut machine, 20, "the bar another line down", |picture| page(picture, 430));
    if let Some(folder) = std::env::var_os("BEIGEBOX_KEEP_PICTURES") {
        beigebox::host::write_png(&picture, &Path::new(&folder).join("installer.png")).unwrap();
    }
}

/// memtest86+: its blue screen, a grey title in the upper left corner with a red plus, a grey line
/// of keys at the bottom.
fn memtest(firmware: Firmware) {
    let (Some(machine), Some(image)) = (builder(firmware, 16 << 20), read("memtest86+.iso")) else { return };
    let disc = Box::new(beigebox::MemoryStorage::new(image));
    let mut machine = machine.cdrom(Some(disc)).boot_order(&[BootDevice::Cdrom]).build().unwrap();
    let blue = 0x00_00_aa;
    let picture = run_until(&mut machine, 60, "the blue screen", |picture| share(picture, blue) > 70);
    assert_eq!((picture.width, picture.height), (720, 400));
    let (grey, red) = (0xaa_aa_aa, 0xaa_00_00);
    assert!(is(&picture, 2, 2, grey) && is(&picture, 300, 398, grey) && is(&picture, 700, 200, blue));
    let plus = (0..16).flat_map(|y| (130..150).map(move |x| (x, y))).filter(|(x, y)| is(&picture, *x, *y, red)).count();
    assert!(plus > 10, "{plus} red pixels in the title");
}

/// GRUB's menu on its graphical terminal in a VESA mode: the same picture whoever's BIOS sets it.
fn grub_gfxterm(firmware: Firmware) {
    let (Some(machine), Some(image)) = (builder(firmware, 32 << 20), read("grub-cdrom.iso")) else { return };
    let disc = Box::new(beigebox::MemoryStorage::new(image));
    // GRUB polls the keyboard all the time: a slow processor makes waiting cheap.
    let machine = machine.rate(4_000_000).cdrom(Some(disc)).boot_order(&[BootDevice::Cdrom]);
    let mut machine = machine.build().unwrap();
    machine.wait_for_text("GNU GRUB", 60 * SECOND).unwrap();
    machine.type_keys("c").unwrap();
    machine.wait_for_text("grub>", 20 * SECOND).unwrap();
    let line = "insmod vbe; insmod gfxterm; loadfont unicode; set gfxmode=640x480x32; terminal_output gfxterm";
    machine.type_keys(&format!("{line}<enter><esc>")).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures/grub-menu.png");
    let menu = beigebox::host::read_png(&path).unwrap();
    run_until(&mut machine, 60, "the menu", |picture| *picture == menu);
}

under_both_firmwares!(memtest, grub_gfxterm);
