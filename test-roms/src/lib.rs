//! System-level tests of the processor as ROM images.
//!
//! Each image takes the place of the system BIOS, tests one subject, writes a line beginning with
//! `PASS` or `FAIL` to the debug console (port E9h) and ends by a write to the exit port (F4h).
//! The sources are in `cpu/`, what each must print in `manifest.toml`.

/// A ROM and its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rom {
    /// `cpu/` and the subject.
    pub name: &'static str,
    /// The system BIOS image, 64 KiB.
    pub image: &'static [u8],
    /// A line that must be printed, from its beginning.
    pub expect: &'static str,
    /// The value that must be written to the exit port.
    pub exit: u32,
    /// The ROM resets the machine on purpose, by triple faults too, and goes on.
    pub resets: bool,
}

static ROMS: &[Rom] = include!(concat!(env!("OUT_DIR"), "/roms.rs"));

/// All ROMs, in the order of the manifest.
#[must_use]
pub fn all() -> &'static [Rom] {
    ROMS
}
