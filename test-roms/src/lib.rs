//! System-level tests of the processor as ROM images, and boot sectors that use a BIOS as the
//! programs of its time do.
//!
//! Each ROM takes the place of the system BIOS, tests one subject, writes a line beginning with
//! `PASS` or `FAIL` to the debug console (port E9h) and ends by a write to the exit port (F4h).
//! The sources are in `cpu/` (the processor) and `devices/` (the board's chips), what each must print in `suite.toml`, a suite for `beigebox test`.
//! [`demo`] is a guest for people.
//!
//! The boot sectors are in `boot-sectors/`. Each ends by writing 10h to the exit port, with its
//! results on the screen; the tests of the command say what they are.

/// A ROM and its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rom {
    /// `cpu/` or `devices/`, and the subject.
    pub name: &'static str,
    /// The system BIOS image, 64 KiB.
    pub image: &'static [u8],
    /// A line that must be printed, from its beginning.
    pub expect: &'static str,
    /// The ROM resets the machine on purpose, by triple faults too, and goes on.
    pub resets: bool,
    /// It ends by switching the machine off instead of by the exit port.
    pub powers_off: bool,
}

static ROMS: &[Rom] = include!(concat!(env!("OUT_DIR"), "/roms.rs"));

/// All ROMs, in the order of the manifest.
#[must_use]
pub fn all() -> &'static [Rom] {
    ROMS
}

/// What a ROM writes to the exit port when all is well.
pub const SUCCESS: u32 = 0x10;

/// The suite that says what each ROM must print, and the demonstration.
pub const SUITE: &str = include_str!("../suite.toml");

/// The demonstration: a floppy image of 1440 KiB that boots on any PC with a 386 and a VGA.
#[must_use]
pub fn demo() -> Vec<u8> {
    let mut image = include_bytes!(concat!(env!("OUT_DIR"), "/demo.bin")).to_vec();
    image.resize(1440 << 10, 0);
    image
}

static BOOT_SECTORS: &[(&str, &[u8; 512])] = include!(concat!(env!("OUT_DIR"), "/boot_sectors.rs"));

/// The boot sector called `name`.
#[must_use]
pub fn boot_sector(name: &str) -> Option<&'static [u8; 512]> {
    BOOT_SECTORS.iter().find(|(own, _)| *own == name).map(|(_, sector)| *sector)
}
