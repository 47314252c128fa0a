//! Linux boot protocol 2.04 and later, 16-bit entry (Documentation/arch/x86/boot.rst).

use super::{Chunk, Entry, LoadError, MemoryLayout, Payload, Plan, u16_at, u32_at};
use crate::pc::map;

/// Set-up code of a kernel that loads high goes here.
const SETUP: u64 = 0x1_0000;
/// Set-up code of a kernel that loads low goes here, the kernel itself to 10000h.
const SETUP_OF_LOW_KERNEL: u64 = 0x9_0000;
/// Where an initial RAM disk may end when the kernel does not say.
const INITRD_MAX: u64 = 0x37ff_ffff;
/// What firmware may keep for itself at the end of RAM.
const FIRMWARE_TABLES: u64 = 0x4_0000;

/// The fields of the set-up header that a loader reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    setup_bytes: usize,
    version: u16,
    loads_high: bool,
    initrd_max: u64,
    command_line_max: usize,
    init_size: u64,
}

impl Header {
    /// The header of a bzImage; `Unrecognised` when the file is something else.
    pub(super) fn parse(file: &[u8]) -> Result<Header, LoadError> {
        if file.get(0x202..0x206) != Some(b"HdrS") || u16_at(file, 0x1fe) != Some(0xaa55) {
            return Err(LoadError::Unrecognised);
        }
        let truncated = LoadError::Damaged {
            header: "Linux set-up",
            field: "file size",
            value: file.len() as u64,
            problem: "too short for the header",
        };
        let version = u16_at(file, 0x206).ok_or_else(|| truncated.clone())?;
        if version < 0x204 {
            let [minor, major] = version.to_le_bytes();
            return Err(LoadError::OldProtocol { major, minor });
        }
        let sectors = match file.get(0x1f1) {
            Some(0) | None => 4,
            Some(sectors) => usize::from(*sectors),
        };
        let field = |at| u32_at(file, at).ok_or_else(|| truncated.clone());
        let loadflags = file.get(0x211).copied().unwrap_or(0);
        Ok(Header {
            setup_bytes: (sectors + 1) * 512,
            version,
            loads_high: loadflags & 1 != 0,
            initrd_max: u64::from(field(0x22c)?),
            command_line_max: if version >= 0x206 { field(0x238)? as usize } else { 255 },
            init_size: if version >= 0x20a { u64::from(field(0x260)?) } else { 0 },
        })
    }
}

pub(super) fn plan(payload: &Payload, header: &Header, memory: MemoryLayout) -> Result<Plan, LoadError> {
    if !payload.modules.is_empty() {
        return Err(LoadError::Combination("`--module` belongs to a multiboot kernel; Linux takes one `--initrd`"));
    }
    let file = &payload.kernel;
    let (Some(setup), Some(kernel)) = (file.get(..header.setup_bytes), file.get(header.setup_bytes..)) else {
        return Err(LoadError::Damaged {
            header: "Linux set-up",
            field: "setup_sects",
            value: header.setup_bytes as u64 / 512 - 1,
            problem: "more than the file holds: is it truncated?",
        });
    };
    let base = if header.loads_high { SETUP } else { SETUP_OF_LOW_KERNEL };
    // Set-up code, heap and stack share a segment; the command line follows.
    let heap_end: u64 = if header.loads_high { 0xe000 } else { 0x9800 };
    let line_at = base + heap_end.max((header.setup_bytes as u64).next_multiple_of(16));
    let kernel_at = if header.loads_high { map::EXTENDED } else { SETUP };
    let line = payload.command_line.as_bytes();
    let most = header.command_line_max.min((super::CONVENTIONAL_END - 1).saturating_sub(line_at) as usize);
    if line.len() > most {
        return Err(LoadError::CommandLine { length: line.len(), most });
    }
    let kernel_size = (kernel.len() as u64).max(if header.loads_high { header.init_size } else { 0 });
    memory.check("the kernel", kernel_at, kernel_size)?;
    if !header.loads_high && kernel_at + kernel.len() as u64 > base {
        return Err(LoadError::TooBig { what: "the low kernel", end: kernel_at + kernel.len() as u64, have: base });
    }

    let mut setup = setup.to_vec();
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(target) = setup.get_mut(at..at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
    };
    // A loader without an assigned number.
    put(0x210, &[0xff]);
    put(0x224, &((heap_end - 0x200) as u16).to_le_bytes());
    put(0x228, &(line_at as u32).to_le_bytes());
    put(0x1fa, &video_mode(&payload.command_line)?.to_le_bytes());
    let mut chunks = Vec::new();
    if let Some(initrd) = &payload.initrd {
        let size = initrd.len() as u64;
        let limit = if header.version >= 0x203 { header.initrd_max } else { INITRD_MAX };
        let end = limit.saturating_add(1).min(memory.low_end.saturating_sub(FIRMWARE_TABLES));
        let start = end.saturating_sub(size) & !0xfff;
        let kernel_end = (kernel_at + kernel_size).max(map::EXTENDED);
        if start < kernel_end {
            let need = kernel_end + size + FIRMWARE_TABLES;
            return Err(LoadError::TooBig { what: "the initial RAM disk", end: need, have: memory.low_end });
        }
        put(0x218, &(start as u32).to_le_bytes());
        put(0x21c, &(size as u32).to_le_bytes());
        chunks.push(Chunk { address: start, bytes: initrd.clone(), zeros: 0 });
    }
    if let Some(loadflags) = setup.get_mut(0x211) {
        *loadflags |= 0x80;
    }
    chunks.push(Chunk { address: base, bytes: setup, zeros: 0 });
    chunks.push(Chunk { address: kernel_at, bytes: kernel.to_vec(), zeros: 0 });
    let mut terminated = line.to_vec();
    terminated.push(0);
    chunks.push(Chunk { address: line_at, bytes: terminated, zeros: 0 });
    let segment = (base >> 4) as u16;
    let entry = Entry::Real { cs: segment + 0x20, ip: 0, segments: segment, sp: heap_end as u16 };
    Ok(Plan { chunks, entry })
}

/// The video mode that `vga=` in the command line asks for: the word is meant for the loader, as
/// the kernel's set-up code looks at its header alone (Documentation/admin-guide/svga.rst).
fn video_mode(command_line: &str) -> Result<u16, LoadError> {
    let Some(mode) = command_line.split_ascii_whitespace().filter_map(|word| word.strip_prefix("vga=")).next_back()
    else {
        return Ok(0xffff);
    };
    let number = match mode.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => mode.parse().ok(),
    };
    match mode {
        "normal" => Ok(0xffff),
        "ext" => Ok(0xfffe),
        "ask" => Ok(0xfffd),
        _ => number.ok_or(LoadError::Combination(
            "`vga=` in the kernel's command line takes a number such as 788 or 0x314, `normal`, `ext` or `ask`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_video_mode_is_in_the_command_line() {
        let cases = [("", 0xffff), ("a vga=788 quiet", 788), ("vga=0x314", 0x314), ("vga=1 vga=ask", 0xfffd)];
        for (line, mode) in cases {
            assert_eq!(video_mode(line), Ok(mode));
        }
        assert!(matches!(video_mode("vga=big"), Err(LoadError::Combination(_))));
    }

    const MEMORY: MemoryLayout = MemoryLayout { low_end: 64 << 20, high_end: 0 };

    fn kernel() -> Vec<u8> {
        let mut file = vec![0x90; 512 * 5 + 10_000];
        file[0x1f1] = 4;
        file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
        file[0x211] = 1;
        file[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        file[0x238..0x23c].copy_from_slice(&2047u32.to_le_bytes());
        file[0x260..0x264].copy_from_slice(&0x10_0000u32.to_le_bytes());
        file
    }

    #[test]
    fn kernel_initrd_and_command_line_are_placed() {
        let payload = Payload {
            kernel: kernel(),
            initrd: Some(vec![5; 5000]),
            command_line: "console=ttyS0".into(),
            ..Payload::default()
        };
        let plan = payload.plan(MEMORY).unwrap();
        assert_eq!(plan.entry, Entry::Real { cs: 0x1020, ip: 0, segments: 0x1000, sp: 0xe000 });
        let setup = &plan.chunks.iter().find(|chunk| chunk.address == 0x1_0000).unwrap().bytes;
        let initrd = u64::from(u32_at(setup, 0x218).unwrap());
        assert!(initrd % 4096 == 0 && initrd + 5000 <= (64 << 20) - FIRMWARE_TABLES);
        assert_eq!(u32_at(setup, 0x21c), Some(5000));
        let line = u64::from(u32_at(setup, 0x228).unwrap());
        assert!(plan.chunks.iter().any(|chunk| chunk.address == line && chunk.bytes == b"console=ttyS0\0"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let small = MemoryLayout { low_end: 2 << 20, high_end: 0 };
        let mut payload = Payload { kernel: kernel(), initrd: Some(vec![0; 1 << 20]), ..Payload::default() };
        assert!(matches!(payload.plan(small), Err(LoadError::TooBig { .. })));
        payload.initrd = None;
        payload.command_line = "x".repeat(3000);
        assert_eq!(payload.plan(MEMORY), Err(LoadError::CommandLine { length: 3000, most: 2047 }));
        payload.kernel[0x206] = 3;
        assert_eq!(payload.plan(MEMORY), Err(LoadError::OldProtocol { major: 2, minor: 3 }));
        payload.kernel = kernel()[..1000].to_vec();
        assert!(matches!(payload.plan(MEMORY), Err(LoadError::Damaged { field: "setup_sects", .. })));
    }
}
