//! Boot sectors of our own, in the manner of DOS programs: BIOS services, interrupt handlers and
//! hardware used directly. Both firmwares must make the same of them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod guests;

use guests::{Boot, Firmware, Outcome};
use std::io::Write;

/// A floppy that begins with the boot sector; each other sector begins with its number.
fn floppy(name: &str) -> tempfile::NamedTempFile {
    let mut image = vec![0u8; 1_474_560];
    for (number, sector) in image.chunks_exact_mut(512).enumerate() {
        sector[..2].copy_from_slice(&(number as u16).to_le_bytes());
    }
    image[..512].copy_from_slice(test_roms::boot_sector(name).unwrap());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&image).unwrap();
    file
}

/// Boots the sector to its end; `None` without guest images.
fn run(firmware: Firmware, name: &str, rules: &[(&str, &str)]) -> Option<Outcome> {
    let floppy = floppy(name);
    let mut boot = Boot::new(firmware).with(&["--floppy", floppy.path().to_str().unwrap()]);
    for (text, keys) in rules {
        boot = boot.on(text, keys);
    }
    boot.with(&["--memory", "8M", "--time-limit", "60s", "--success-code", "33"]).passes()
}

/// Boots the sector and compares rows of the screen.
fn screen(firmware: Firmware, name: &str, rules: &[(&str, &str)], expected: &[(usize, &str)]) {
    let Some(outcome) = run(firmware, name, rules) else { return };
    for (row, text) in expected {
        let line = outcome.screen.lines().nth(*row).unwrap_or_default();
        assert_eq!(line.trim_end(), *text, "row {row}: {}", outcome.report());
    }
}

fn text(firmware: Firmware) {
    let expected = [
        (2, "     Hello from a boot sector"),
        (4, "     By INT 10h, AH = 13h"),
        (9, "AAAAAAAAAA"),
        (10, ""),
        (12, "1E42 0419 5003 0001"),
    ];
    screen(firmware, "text", &[], &expected);
}

fn keys(firmware: Firmware) {
    let rules = [("Name?", "beigepo<backspace><backspace>box<enter>"), ("Keys:", "<f1><up>A<ctrl-c>")];
    let expected = [(0, "Name? beigebox"), (1, "Backwards: xobegieb"), (2, "Keys: 3B00 4800 1E41 2E03 04")];
    screen(firmware, "keys", &rules, &expected);
}

fn timer(firmware: Firmware) {
    screen(firmware, "timer", &[], &[(0, "Ticks: 0012 0012"), (1, "1000 interrupts in a second")]);
}

fn scancodes(firmware: Firmware) {
    let expected = [(0, "Press keys: 1E 9E 2A 30 B0 AA 1C 9C 01")];
    screen(firmware, "scancodes", &[("Press keys:", "aB<enter><esc>")], &expected);
}

fn direct(firmware: Firmware) {
    let expected = [
        (0, "second page"),
        (4, "          ╔══════════════════════╗"),
        (5, "          ║ straight to B800h    ║"),
        (6, "          ╚══════════════════════╝"),
        (8, "          ████████████████"),
    ];
    screen(firmware, "direct", &[], &expected);
}

fn music(firmware: Firmware) {
    let Some(outcome) = run(firmware, "music", &[]) else { return };
    assert_eq!(outcome.screen.matches("in tune").count(), 4, "{}", outcome.report());
    assert!(!outcome.screen.contains("out of"), "{}", outcome.report());
}

fn disk(firmware: Firmware) {
    screen(firmware, "disk", &[], &[(0, "4F12 01"), (1, "sectors are right"), (2, "no sector 60")]);
}

fn life(firmware: Firmware) {
    let expected = [(10, "           *"), (11, "            *"), (12, "          ***"), (24, "40 generations")];
    screen(firmware, "life", &[], &expected);
}

/// The picture, and the sum that the program has made of it.
fn mode13(firmware: Firmware) {
    let folder = tempfile::tempdir().unwrap();
    let (path, floppy) = (folder.path().join("screen.png"), floppy("mode13"));
    let boot = Boot::new(firmware)
        .with(&["--floppy", floppy.path().to_str().unwrap(), "--memory", "8M", "--time-limit", "60s"])
        .with(&["--success-code", "33", "--screenshot", path.to_str().unwrap()]);
    let Some(outcome) = boot.passes() else { return };
    let mut sum = 0u16;
    for (x, y) in (0..200u16).flat_map(|y| (0..320u16).map(move |x| (x, y))) {
        sum = sum.wrapping_mul(31).wrapping_add((x ^ y) & 0xff);
    }
    assert!(outcome.serial.ends_with(&format!("{sum:04X}")), "{sum:04X}: {}", outcome.report());

    let picture = beigebox::host::read_png(&path).unwrap();
    // Dots may be doubled.
    let (columns, rows) = (picture.width / 320, picture.height / 200);
    assert_eq!((picture.width % 320, picture.height % 200), (0, 0));
    let wide = |six: u32| six << 2 | six >> 4;
    for (x, y) in [(0, 0), (1, 0), (319, 0), (0, 199), (100, 57), (255, 128), (319, 199)] {
        let colour = (x ^ y) as u32 & 0xff;
        let expected = wide(colour >> 2) << 16 | wide(63 ^ colour >> 2) << 8 | wide(colour & 63);
        assert_eq!(picture.pixels[y * rows * picture.width + x * columns], expected, "pixel {x}, {y}");
    }
}

under_both_firmwares!(text, keys, timer, scancodes, direct, music, disk, life, mode13);
