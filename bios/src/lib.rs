//! The machine's firmware: a PC BIOS and a VGA BIOS, as the bytes of two ROMs.
//!
//! Both are guest code in `src/asm/*.asm`, assembled by the build script with the crate in `assembler/`;
//! the fonts are drawn by `src/font.rs`. Nothing here runs on the host and nothing is hidden from the guest:
//! the code drives the registers of the real chips, needs an 80386 and works under any machine with an i440FX,
//! a PIIX3/PIIX4 and a VGA with the Bochs display interface (QEMU's `pc` machine, for one).
//!
//! # Memory map
//! | address | what |
//! |---|---|
//! | 00000-003FF | interrupt vectors; 60h-67h are left empty |
//! | 00400-00500 | BIOS data area; 40:BA holds the current VBE mode |
//! | 07A00 down | stack while starting |
//! | 9FC00-9FFFF | extended BIOS data area (INT 12h tells 639 KiB): mouse packet, drive table, El Torito state, PCI allocation; offsets are at the top of `post.asm` |
//! | C0000-C7FFF | [`VGA`], decoded there by the board or behind the expansion ROM register of the PCI display; the start-up code puts RAM under it |
//! | C8000-EFFFF | RAM; option ROMs found there are started in steps of 2 KiB |
//! | F0000-FFFFF | [`SYSTEM`], copied into the RAM behind it from FFFF0000 |
//!
//! Fixed entry points lie where the first PCs had them: reset FFF0, POST E05B, INT 13h E3FE, INT 40h EC59, INT 19h
//! E6F2, INT 14h E739, INT 16h E82E, IRQ 1 E987, diskette table EFC7, INT 17h EFD2, INT 12h F841, INT 11h F84D,
//! INT 15h F859, 8x8 font FA6E, INT 1Ah FE6E, IRQ 0 FEA5, IRET FF53, date FFF5, model FFFE.
//!
//! PCI: I/O from C000h, memory from E0000000h to FEC00000h, bus 0 only. PIRQA/B are IRQ 10, PIRQC/D IRQ 11, both
//! level-triggered; PIIX4 power management at B000h (IRQ 9), SMBus at B100h. `$PIR`, `_32_` and `$PnP` lie on
//! 16-byte borders; F0000-FDFFF has room for `_MP_` and RSDP.
//!
//! # How it waits
//! Keyboard, diskette and timed waits are HLT with interrupts on (in virtual-8086 mode a polling loop, since a
//! monitor may refuse HLT). Disks, the 8042 and start-up delays poll with time-outs counted by the refresh bit of
//! port 61h. A drive that is not there costs microseconds.
//!
//! # What is not here
//! No ACPI, MP or SMBIOS tables. No network boot and no expansion ROMs of PCI cards other than the display
//! (order digit 4 is skipped). PCI buses behind bridges are not set up. The `bootorder` file of fw_cfg is not read.
//! Disks move data by PIO, never by bus-master DMA; INT 13h refuses the 64-bit buffer address of EDD 3. Plug and Play
//! answers "not supported" to every function. APM has no events and knows standby as an immediate success. INT 10h:
//! the light pen and EGA-only display combinations are absent; the scan-line choice of 12h/30h is remembered but text
//! modes always have 400 lines; character output in VBE modes is not drawn. CMOS set-up screens do not exist: the
//! machine writes CMOS.

/// The system BIOS: 64 KiB that end at 1 MiB (and again at 4 GiB).
pub static SYSTEM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/system.bin"));

/// The VGA BIOS: an option ROM of 32 KiB for C0000.
pub static VGA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vga.bin"));

/// The display's font: sixteen bytes for each character of code page 437, the topmost row first.
pub static FONT: &[u8; 4096] = include_bytes!(concat!(env!("OUT_DIR"), "/font.bin"));

#[cfg(test)]
mod tests {
    use super::{SYSTEM, VGA};

    const SYMBOLS: &[(&str, usize)] = &include!(concat!(env!("OUT_DIR"), "/symbols.rs"));

    fn symbol(name: &str) -> usize {
        SYMBOLS.iter().find(|s| s.0 == name).map(|s| s.1).expect("listed by the build script")
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, b| sum.wrapping_add(*b))
    }

    fn word(at: usize) -> usize {
        usize::from(SYSTEM[at]) | usize::from(SYSTEM[at + 1]) << 8
    }

    #[test]
    fn the_reset_vector_jumps_to_the_start() {
        assert_eq!(SYSTEM.len(), 0x1_0000);
        assert_eq!(SYSTEM[0xfff0..0xfff5], [0xea, 0x5b, 0xe0, 0x00, 0xf0]);
        assert_eq!(SYSTEM[0xfff7], b'/');
        assert_eq!(SYSTEM[0xfffe], 0xfc);
    }

    #[test]
    fn historical_entries_hold_jumps() {
        for at in [
            0xe05b, 0xe3fe, 0xe6f2, 0xe739, 0xe82e, 0xe987, 0xec59, 0xef57, 0xefd2, 0xf841, 0xf84d, 0xf859, 0xfe6e,
            0xfea5, 0xff54,
        ] {
            assert!(matches!(SYSTEM[at], 0xe9 | 0xeb), "{at:#x}: {:#x}", SYSTEM[at]);
        }
        for at in [0xff53, 0xf065, 0xe2c3] {
            assert_eq!(SYSTEM[at], 0xcf, "{at:#x}");
        }
    }

    #[test]
    fn tables_lie_where_software_looks() {
        assert_eq!(SYSTEM[0xefc7 + 3..0xefc7 + 5], [2, 18], "diskette table: 512 bytes, 18 sectors");
        assert_eq!(word(0xe6f5), 8, "configuration table");
        assert_eq!(SYSTEM[0xe6f7], 0xfc);
        assert_eq!(word(0xe729), 1047, "divisor of 110 bit/s");
        let a = &SYSTEM[0xfa6e + 8 * usize::from(b'A')..][..8];
        assert!(a[0] != 0 && a[7] == 0, "{a:?}");
        assert_eq!(SYSTEM[0xfa6e..0xfa6e + 8], [0; 8]);
    }

    #[test]
    fn signatures_are_aligned_and_sum_to_zero() {
        let pir = symbol("pir_table");
        assert_eq!(&SYSTEM[pir..pir + 4], b"$PIR");
        assert_eq!(pir % 16, 0);
        assert_eq!(word(pir + 6), symbol("pir_slots_end") - pir);
        assert_eq!(sum(&SYSTEM[pir..pir + word(pir + 6)]), 0);
        let directory = symbol("bios32_header");
        assert_eq!(&SYSTEM[directory..directory + 4], b"_32_");
        assert_eq!(directory % 16, 0);
        assert_eq!(sum(&SYSTEM[directory..directory + 16]), 0);
        let pnp = symbol("pnp_header");
        assert_eq!(&SYSTEM[pnp..pnp + 4], b"$PnP");
        assert_eq!(pnp % 16, 0);
        assert_eq!(sum(&SYSTEM[pnp..pnp + 33]), 0);
    }

    #[test]
    fn keys_have_their_codes() {
        let key = |scan: usize| symbol("key_table") + 8 * scan;
        assert_eq!(word(key(0x1e)), 0x1e61, "a");
        assert_eq!(word(key(0x1e) + 2), 0x1e41, "A");
        assert_eq!(word(key(0x1e) + 4), 0x1e01, "Ctrl-A");
        assert_eq!(word(key(0x1e) + 6), 0x1e00, "Alt-A");
        assert_eq!(word(key(0x1c)), 0x1c0d, "Enter");
        assert_eq!(word(key(0x39)), 0x3920, "space");
        assert_eq!(word(key(0x3b)), 0x3b00, "F1");
        assert_eq!(word(key(0x53)), 0x5300, "Del");
        assert_eq!(word(key(0x58)), 0x8600, "F12");
    }

    #[test]
    fn the_display_rom_is_an_option_rom() {
        assert_eq!(VGA.len(), 0x8000);
        assert_eq!(VGA[..3], [0x55, 0xaa, 64]);
        assert_eq!(sum(VGA), 0);
        let pci = usize::from(VGA[0x18]) | usize::from(VGA[0x19]) << 8;
        assert_eq!(&VGA[pci..pci + 4], b"PCIR");
        assert_eq!(VGA[pci + 4..pci + 8], [0x34, 0x12, 0x11, 0x11]);
        assert_eq!(&VGA[0x1e..0x21], b"IBM");
    }
}
