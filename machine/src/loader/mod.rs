//! Direct boot: kernels that are loaded without a boot sector.
//!
//! The firmware runs its power-on self-test as always. A small option ROM hooks INT 19h, the
//! call by which firmware boots; its handler touches a private port, and at that instruction the
//! machine loads the image and sets the processor up exactly as the boot protocol says a boot
//! loader leaves it. Linux kernels (and everything that dresses up as one: memtest86+, iPXE) are
//! entered at their 16-bit entry point, because their set-up code asks the BIOS; multiboot
//! kernels and ELF files in flat 32-bit protected mode.

mod elf;
mod linux;
mod multiboot;

use crate::pc::{self, map};
use cpu::memory::GuestMemory;
use cpu::state::{Attributes, CpuState, Seg, Segment, Table, cr0, gpr};

/// What a file is, as far as booting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// Linux kernel (boot protocol 2.04 or later).
    Linux,
    /// Multiboot (version 1) kernel.
    Multiboot,
    /// Multiboot 2 kernel.
    Multiboot2,
    /// ELF executable without a multiboot header.
    Elf,
    /// ISO 9660 file system with an El Torito boot catalogue.
    BootableIso,
    /// ISO 9660 file system without one.
    Iso,
    /// A floppy image by its size.
    Floppy,
    /// A hard disk: whole sectors with a boot signature, or of a size that only a disk has.
    Disk,
    /// None of these.
    Unknown,
}

/// Sizes of raw floppy images, in KiB.
pub const FLOPPY_KIB: [u64; 11] = [160, 180, 320, 360, 640, 720, 1200, 1440, 1680, 1722, 2880];

/// Bytes of a file that [`recognise`] wants to see.
pub const HEAD: usize = 0x9000;

/// Says what a file is from its first bytes ([`HEAD`] of them, or all) and its length.
#[must_use]
pub fn recognise(head: &[u8], length: u64) -> ImageKind {
    if linux::Header::parse(head).is_ok() {
        return ImageKind::Linux;
    }
    if head.get(0x8001..0x8006) == Some(b"CD001") {
        let torito = head.get(0x8801..0x8806) == Some(b"CD001")
            && head.get(0x8800) == Some(&0)
            && head.get(0x8807..0x8807 + 23) == Some(b"EL TORITO SPECIFICATION");
        return if torito { ImageKind::BootableIso } else { ImageKind::Iso };
    }
    let signature = head.get(510..512) == Some(&[0x55, 0xaa]);
    if FLOPPY_KIB.contains(&(length / 1024)) && length.is_multiple_of(1024) {
        return ImageKind::Floppy;
    }
    if multiboot::find2(head).is_some() {
        return ImageKind::Multiboot2;
    }
    if multiboot::find1(head).is_some() {
        return ImageKind::Multiboot;
    }
    if head.starts_with(b"\x7fELF") {
        return ImageKind::Elf;
    }
    if signature && length <= 2880 * 1024 {
        // A short floppy image, or a bare boot sector.
        return ImageKind::Floppy;
    }
    if signature || length.is_multiple_of(512) && length >= 1 << 20 {
        return ImageKind::Disk;
    }
    ImageKind::Unknown
}

/// A file handed to a multiboot kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Contents.
    pub bytes: Vec<u8>,
    /// Its command line.
    pub command_line: String,
}

/// What to boot directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The kernel file.
    pub kernel: Vec<u8>,
    /// Its command line.
    pub command_line: String,
    /// Initial RAM disk (Linux).
    pub initrd: Option<Vec<u8>>,
    /// Modules (multiboot).
    pub modules: Vec<Module>,
    /// Load the file as it is at this address and jump to its first byte: in real mode below
    /// 1 MiB, in flat 32-bit protected mode above.
    pub flat: Option<u64>,
}

/// Why an image cannot be booted directly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file is no kernel.
    #[error(
        "the kernel is neither a Linux bzImage nor multiboot nor ELF; give `--load ADDRESS:FILE` for a flat binary"
    )]
    Unrecognised,
    /// A header field makes no sense.
    #[error("the {header} header is damaged: {field} is {value:#x}, {problem}")]
    Damaged {
        /// Which header.
        header: &'static str,
        /// Which field.
        field: &'static str,
        /// What stands there.
        value: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The kernel follows an older boot protocol.
    #[error("the kernel follows boot protocol {major}.{minor:02}; 2.04 or later is needed")]
    OldProtocol {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// Not enough guest memory.
    #[error("{what} needs memory up to {end:#x}, the machine has {have:#x}; give it more with `--memory`")]
    TooBig {
        /// What does not fit.
        what: &'static str,
        /// Where it would end.
        end: u64,
        /// Where RAM ends.
        have: u64,
    },
    /// The kernel wants something that this loader does not do.
    #[error("the kernel asks for {0}, which this loader does not offer")]
    Unsupported(&'static str),
    /// The command line is too long.
    #[error("the command line has {length} bytes, the kernel takes at most {most}")]
    CommandLine {
        /// Its length.
        length: usize,
        /// The limit.
        most: usize,
    },
    /// An initial RAM disk for a kernel that takes none, or modules for Linux.
    #[error("{0}")]
    Combination(&'static str),
}

/// Bytes to be put into guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    address: u64,
    bytes: Vec<u8>,
    /// Zero bytes behind them.
    zeros: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// Real mode: CS, IP, the other segments, SP.
    Real { cs: u16, ip: u16, segments: u16, sp: u16 },
    /// Flat protected mode: EIP, EAX, EBX.
    Flat { eip: u32, eax: u32, ebx: u32 },
}

/// An image laid out in guest memory, and how it is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    chunks: Vec<Chunk>,
    entry: Entry,
}

/// Ranges of RAM that firmware leaves to a boot loader, and what it says about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLayout {
    /// End of RAM below 4 GiB.
    pub low_end: u64,
    /// End of RAM above 4 GiB, 0 when there is none.
    pub high_end: u64,
}

impl MemoryLayout {
    /// That of a machine with `bytes` of RAM.
    #[must_use]
    pub fn of(bytes: u64) -> MemoryLayout {
        let low_end = bytes.min(map::LOW_RAM_END);
        MemoryLayout { low_end, high_end: if bytes > low_end { map::HIGH_RAM + bytes - low_end } else { 0 } }
    }
    /// Start, end and kind (1 RAM, 2 reserved) of each range.
    fn ranges(&self) -> Vec<(u64, u64, u32)> {
        let mut ranges = vec![
            (0, CONVENTIONAL_END.min(self.low_end), 1),
            (CONVENTIONAL_END, map::VIDEO, 2),
            (map::SYSTEM_BIOS, map::EXTENDED, 2),
        ];
        if self.low_end > map::EXTENDED {
            ranges.push((map::EXTENDED, self.low_end, 1));
        }
        ranges.push((0xfffc_0000, map::HIGH_RAM, 2));
        if self.high_end != 0 {
            ranges.push((map::HIGH_RAM, self.high_end, 1));
        }
        ranges
    }
    /// Checks that `start .. start + size` is RAM that may be loaded to.
    fn check(&self, what: &'static str, start: u64, size: u64) -> Result<(), LoadError> {
        let end = start.saturating_add(size);
        let conventional = end <= CONVENTIONAL_END;
        let extended = start >= map::EXTENDED && end <= self.low_end;
        if conventional || extended {
            return Ok(());
        }
        if start < map::EXTENDED {
            return Err(LoadError::Damaged {
                header: "kernel",
                field: "load address",
                value: start,
                problem: "where the video memory and the BIOS are",
            });
        }
        Err(LoadError::TooBig { what, end, have: self.low_end })
    }
}

/// The extended BIOS data area begins here.
const CONVENTIONAL_END: u64 = 0x9_fc00;

impl Payload {
    /// Lays the payload out for a machine with `memory`.
    ///
    /// # Errors
    /// See [`LoadError`]. Whatever the file holds, nothing worse happens.
    pub fn plan(&self, memory: MemoryLayout) -> Result<Plan, LoadError> {
        if let Some(address) = self.flat {
            return flat(&self.kernel, address, memory);
        }
        match linux::Header::parse(&self.kernel) {
            Ok(header) => return linux::plan(self, &header, memory),
            Err(LoadError::Unrecognised) => {}
            Err(other) => return Err(other),
        }
        if self.initrd.is_some() {
            return Err(LoadError::Combination(
                "`--initrd` belongs to a Linux kernel; give a multiboot kernel its files with `--module`",
            ));
        }
        if let Some(at) = multiboot::find2(&self.kernel) {
            return multiboot::plan2(self, at, memory);
        }
        if let Some(at) = multiboot::find1(&self.kernel) {
            return multiboot::plan1(self, at, memory);
        }
        if self.kernel.starts_with(b"\x7fELF") {
            let image = elf::load(&self.kernel, memory)?;
            return Ok(Plan { chunks: image.chunks, entry: Entry::Flat { eip: image.entry, eax: 0, ebx: 0 } });
        }
        Err(LoadError::Unrecognised)
    }
}

fn flat(bytes: &[u8], address: u64, memory: MemoryLayout) -> Result<Plan, LoadError> {
    memory.check("the flat binary", address, bytes.len() as u64)?;
    let chunks = vec![Chunk { address, bytes: bytes.to_vec(), zeros: 0 }];
    let entry = if address < map::EXTENDED {
        // A boot sector's address gets the form that boot sectors expect.
        let (cs, ip) = if address == 0x7c00 { (0, 0x7c00) } else { ((address >> 4) as u16, (address & 15) as u16) };
        Entry::Real { cs, ip, segments: cs, sp: 0x7c00 }
    } else {
        Entry::Flat { eip: address as u32, eax: 0, ebx: 0 }
    };
    Ok(Plan { chunks, entry })
}

impl Plan {
    /// Puts the image into memory and the processor at its entry point. Returns whether the
    /// interrupt flag and the like are those of a fresh processor.
    pub(crate) fn enter(&self, cpu: &mut CpuState, memory: &mut GuestMemory) {
        const ZEROS: [u8; 4096] = [0; 4096];
        for chunk in &self.chunks {
            memory.write(chunk.address, &chunk.bytes);
            let (mut at, mut left) = (chunk.address + chunk.bytes.len() as u64, chunk.zeros);
            while left > 0 {
                let n = left.min(ZEROS.len() as u64);
                memory.write(at, &ZEROS[..n as usize]);
                at += n;
                left -= n;
            }
        }
        for register in 0..16 {
            cpu.gpr.set(register, 0);
        }
        cpu.cpl = 0;
        cpu.msr.efer = 0;
        cpu.cr3 = 0;
        cpu.cr4 = 0;
        cpu.activity = cpu::state::Activity::Running;
        cpu.shadow = cpu::state::Shadow::None;
        match self.entry {
            Entry::Real { cs, ip, segments, sp } => {
                cpu.cr0 &= !(cr0::PE | cr0::PG);
                for seg in Seg::ALL {
                    cpu.seg[seg as usize] = Segment::real(segments);
                }
                cpu.seg[Seg::Cs as usize] = Segment::real(cs);
                cpu.idtr = Table { base: 0, limit: 0x3ff };
                cpu.rip = u64::from(ip);
                cpu.gpr.set(gpr::SP, u64::from(sp));
                cpu.gpr.set(gpr::DX, 0x80);
            }
            Entry::Flat { eip, eax, ebx } => {
                cpu.cr0 = cpu.cr0 & !cr0::PG | cr0::PE;
                let data = Segment::new(0x18, 0, u32::MAX, Attributes(0xc93), true);
                for seg in Seg::ALL {
                    cpu.seg[seg as usize] = data;
                }
                cpu.seg[Seg::Cs as usize] = Segment::new(0x10, 0, u32::MAX, Attributes(0xc9b), true);
                cpu.rip = u64::from(eip);
                cpu.gpr.set(gpr::AX, u64::from(eax));
                cpu.gpr.set(gpr::BX, u64::from(ebx));
                cpu.gpr.set(gpr::SP, 0x7c00);
            }
        }
        cpu.set_eflags(2);
        cpu.update_mode();
    }
}

/// The option ROM: hooks INT 19h, whose handler touches the private port and waits.
#[must_use]
pub(crate) fn option_rom() -> Vec<u8> {
    let mut rom = vec![0u8; 512];
    let [port_low, port_high] = pc::DIRECT_BOOT.to_le_bytes();
    #[rustfmt::skip]
    let code = [
        0x55, 0xaa, 1,              // signature, length in 512 bytes
        // initialize:
        0x1e,                       // push ds
        0x50,                       // push ax
        0x31, 0xc0,                 // xor ax,ax
        0x8e, 0xd8,                 // mov ds,ax
        0xc7, 0x06, 0x64, 0x00, 0x20, 0x00, // mov word [19h*4],boot
        0x8c, 0x0e, 0x66, 0x00,     // mov [19h*4+2],cs
        0x58,                       // pop ax
        0x1f,                       // pop ds
        0xcb,                       // retf
    ];
    #[rustfmt::skip]
    let boot = [
        0xba, port_low, port_high,  // mov dx,port
        0xee,                       // out dx,al
        0xeb, 0xfd,                 // wait: jmp wait+1 bytes back to out
    ];
    rom[..code.len()].copy_from_slice(&code);
    rom[0x20..0x20 + boot.len()].copy_from_slice(&boot);
    let sum = rom.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    rom[511] = sum.wrapping_neg();
    rom
}

/// Little-endian fields of untrusted bytes.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let end = at.checked_add(2)?;
    bytes.get(at..end)?.try_into().ok().map(u16::from_le_bytes)
}
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    bytes.get(at..end)?.try_into().ok().map(u32::from_le_bytes)
}
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let end = at.checked_add(8)?;
    bytes.get(at..end)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEMORY: MemoryLayout = MemoryLayout { low_end: 64 << 20, high_end: 0 };

    #[test]
    fn option_rom_is_sound() {
        let rom = option_rom();
        assert_eq!(rom.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        assert_eq!(rom.len(), 512);
    }

    #[test]
    fn images_are_told_apart() {
        let mut sector = vec![0; 512];
        assert_eq!(recognise(&sector, 512), ImageKind::Unknown);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(recognise(&sector, 512), ImageKind::Floppy);
        assert_eq!(recognise(&sector, 1_474_560), ImageKind::Floppy);
        assert_eq!(recognise(&sector, 100 << 20), ImageKind::Disk);
        let mut iso = vec![0; HEAD];
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        assert_eq!(recognise(&iso, 1 << 30), ImageKind::Iso);
        assert_eq!(recognise(b"\x7fELF", 4), ImageKind::Elf);
        assert_eq!(recognise(b"", 0), ImageKind::Unknown);
    }

    fn multiboot_flat(load: u32, end: u32, bss: u32, entry: u32) -> Vec<u8> {
        let flags = 1u32 << 16 | 3;
        let words = [0x1bad_b002, flags, 0u32.wrapping_sub(0x1bad_b002 + flags), load, load, end, bss, entry];
        let mut file: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        file.resize(4096, 0x90);
        file
    }

    #[test]
    fn multiboot_kernel_is_laid_out() {
        let kernel = multiboot_flat(0x10_0000, 0, 0x10_4000, 0x10_0020);
        let modules = vec![Module { bytes: vec![7; 100], command_line: "one".into() }];
        let payload = Payload { kernel, modules, command_line: "x=1".into(), ..Payload::default() };
        let plan = payload.plan(MEMORY).unwrap();
        let Entry::Flat { eip, eax, ebx } = plan.entry else { panic!() };
        assert_eq!((eip, eax), (0x10_0020, 0x2bad_b002));
        assert!(plan.chunks.iter().any(|chunk| chunk.address == u64::from(ebx)));
        assert!(plan.chunks.iter().any(|chunk| chunk.bytes == vec![7; 100] && chunk.address % 4096 == 0));
    }

    #[test]
    fn flat_binaries_go_where_asked() {
        let payload = Payload { kernel: vec![0xf4], flat: Some(0x7c00), ..Payload::default() };
        let plan = payload.plan(MEMORY).unwrap();
        assert_eq!(plan.entry, Entry::Real { cs: 0, ip: 0x7c00, segments: 0, sp: 0x7c00 });
        let payload = Payload { kernel: vec![0xf4], flat: Some(0xa_0000), ..Payload::default() };
        assert!(payload.plan(MEMORY).is_err());
        let payload = Payload { kernel: vec![0xf4; 2], flat: Some(u64::MAX), ..Payload::default() };
        assert!(payload.plan(MEMORY).is_err());
    }

    fn hostile(kernel: Vec<u8>) {
        let payload = Payload { initrd: None, kernel, command_line: "c".into(), ..Payload::default() };
        let _ = recognise(&payload.kernel, payload.kernel.len() as u64);
        if let Ok(plan) = payload.plan(MEMORY) {
            let mut memory = GuestMemory::new(64 << 20, 0, 0).unwrap();
            let ram = memory.ram();
            memory.map(0, 64 << 20, ram, 0, false);
            plan.enter(&mut CpuState::new(cpu::Model::PentiumM), &mut memory);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn damaged_linux_never_panics(setup in any::<[u8; 128]>(), length in 0usize..40_000) {
            let mut kernel = vec![0; length];
            if kernel.len() > 0x1f1 + setup.len() {
                kernel[0x1f1..0x1f1 + setup.len()].copy_from_slice(&setup);
                kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
                kernel[0x202..0x206].copy_from_slice(b"HdrS");
                kernel[0x207] = 2;
            }
            hostile(kernel);
        }

        #[test]
        fn damaged_multiboot_never_panics(words in proptest::array::uniform5(any::<u32>()), flags in any::<u32>(), small in any::<bool>()) {
            let mut kernel = multiboot_flat(0x10_0000, 0, 0, 0x10_0000);
            let mask = if small { 0x1f_ffff } else { u32::MAX };
            for (index, word) in words.iter().enumerate() {
                kernel[12 + 4 * index..16 + 4 * index].copy_from_slice(&(word & mask).to_le_bytes());
            }
            kernel[4..8].copy_from_slice(&flags.to_le_bytes());
            kernel[8..12].copy_from_slice(&0u32.wrapping_sub(0x1bad_b002u32.wrapping_add(flags)).to_le_bytes());
            hostile(kernel);
        }

        #[test]
        fn damaged_multiboot2_never_panics(tags in proptest::collection::vec(any::<u8>(), 0..200)) {
            let length = 16 + tags.len() as u32;
            let words = [0xe852_50d6u32, 0, length, 0u32.wrapping_sub(0xe852_50d6u32.wrapping_add(length))];
            let mut kernel: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            kernel.extend(tags);
            hostile(kernel);
        }

        #[test]
        fn damaged_elf_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), class in 1u8..3) {
            let mut kernel = b"\x7fELF".to_vec();
            kernel.push(class);
            kernel.extend([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0]);
            kernel.extend(bytes);
            hostile(kernel);
        }
    }
}
