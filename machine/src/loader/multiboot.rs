//! Multiboot 0.6.96 and Multiboot 2 (version 2.0).

use super::{CONVENTIONAL_END, Chunk, Entry, LoadError, MemoryLayout, Payload, Plan, elf, u16_at, u32_at};
use crate::pc::map;

const MAGIC1: u32 = 0x1bad_b002;
const MAGIC2: u32 = 0xe852_50d6;
/// What a kernel finds in EAX.
const LOADED1: u32 = 0x2bad_b002;
const LOADED2: u32 = 0x36d7_6289;
const NAME: &str = "Beigebox";
/// Where the information goes when the kernel leaves that place free.
const INFORMATION: u64 = 0x1_0000;

/// Offset of a version 1 header: in the first 8192 bytes, 4-byte aligned, checksum right.
pub(super) fn find1(file: &[u8]) -> Option<usize> {
    (0..file.len().min(8192)).step_by(4).find(|&at| {
        u32_at(file, at) == Some(MAGIC1)
            && match (u32_at(file, at + 4), u32_at(file, at + 8)) {
                (Some(flags), Some(sum)) => MAGIC1.wrapping_add(flags).wrapping_add(sum) == 0,
                _ => false,
            }
    })
}

/// Offset of a version 2 header: in the first 32768 bytes, 8-byte aligned, checksum right, i386.
pub(super) fn find2(file: &[u8]) -> Option<usize> {
    (0..file.len().min(32768)).step_by(8).find(|&at| {
        let word = |index: usize| u32_at(file, at + 4 * index);
        match (word(0), word(1), word(2), word(3)) {
            (Some(MAGIC2), Some(0), Some(length), Some(sum)) => {
                MAGIC2.wrapping_add(length).wrapping_add(sum) == 0 && length >= 16
            }
            _ => false,
        }
    })
}

fn damaged(field: &'static str, value: u32, problem: &'static str) -> LoadError {
    LoadError::Damaged { header: "multiboot", field, value: u64::from(value), problem }
}

/// The addresses of the "a.out kludge": a kernel that is no ELF file says itself where it goes.
struct Addresses {
    header: u32,
    load: u32,
    load_end: u32,
    bss_end: u32,
}

impl Addresses {
    fn load(&self, file: &[u8], header_at: usize, memory: MemoryLayout) -> Result<Vec<Chunk>, LoadError> {
        // A load address of all ones means: the whole file, from its start.
        let before = if self.load == u32::MAX {
            header_at as u64
        } else {
            self.header.checked_sub(self.load).map(u64::from).ok_or(damaged(
                "load address",
                self.load,
                "above the header's address",
            ))?
        };
        let load = u64::from(self.header).checked_sub(before).ok_or(damaged(
            "header address",
            self.header,
            "too low for its place in the file",
        ))?;
        let start = (header_at as u64).checked_sub(before).ok_or(damaged(
            "load address",
            self.load,
            "asks for bytes before the file's start",
        ))?;
        let rest = file.len() as u64 - start;
        let size = match self.load_end {
            0 => rest,
            end => {
                u64::from(end).checked_sub(load).ok_or(damaged("load end address", end, "below the load address"))?
            }
        };
        if size > rest {
            return Err(damaged("load end address", self.load_end, "beyond the end of the file: is it truncated?"));
        }
        let zeros = match self.bss_end {
            0 => 0,
            end => u64::from(end).checked_sub(load + size).ok_or(damaged(
                "bss end address",
                end,
                "below the end of the data",
            ))?,
        };
        memory.check("the kernel", load, size + zeros)?;
        let bytes = file.get(start as usize..(start + size) as usize).unwrap_or_default().to_vec();
        Ok(vec![Chunk { address: load, bytes, zeros }])
    }
}

fn end_of(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| chunk.address + chunk.bytes.len() as u64 + chunk.zeros).max().unwrap_or(0)
}

/// Puts modules behind the kernel; returns their ranges.
fn place_modules(
    payload: &Payload,
    chunks: &mut Vec<Chunk>,
    memory: MemoryLayout,
) -> Result<Vec<(u32, u32)>, LoadError> {
    let mut at = end_of(chunks).max(map::EXTENDED).next_multiple_of(4096);
    let mut places = Vec::new();
    for module in &payload.modules {
        let size = module.bytes.len() as u64;
        memory.check("a module", at, size)?;
        places.push((at as u32, (at + size) as u32));
        chunks.push(Chunk { address: at, bytes: module.bytes.clone(), zeros: 0 });
        at = (at + size).next_multiple_of(4096);
    }
    Ok(places)
}

/// A free place for `size` bytes of information: in conventional memory, or behind all else.
fn place_information(chunks: &[Chunk], size: u64, memory: MemoryLayout) -> Result<u64, LoadError> {
    let end = INFORMATION + size;
    let free = end <= CONVENTIONAL_END
        && chunks
            .iter()
            .all(|chunk| chunk.address >= end || chunk.address + chunk.bytes.len() as u64 + chunk.zeros <= INFORMATION);
    if free {
        return Ok(INFORMATION);
    }
    let at = end_of(chunks).max(map::EXTENDED).next_multiple_of(4096);
    memory.check("the boot information", at, size)?;
    Ok(at)
}

fn upper_kib(memory: MemoryLayout) -> u32 {
    (memory.low_end.saturating_sub(map::EXTENDED) / 1024) as u32
}

pub(super) fn plan1(payload: &Payload, at: usize, memory: MemoryLayout) -> Result<Plan, LoadError> {
    let file = &payload.kernel;
    let field = |index: usize| {
        u32_at(file, at + 4 * index).ok_or(damaged("file size", file.len() as u32, "too short for the header"))
    };
    let flags = field(1)?;
    // Bits 0-15 must be understood; 0-2 are defined.
    if flags & 0xfff8 != 0 {
        return Err(damaged("flags", flags, "asks for unknown features"));
    }
    let (mut chunks, eip) = if flags & 1 << 16 != 0 {
        let addresses = Addresses { header: field(3)?, load: field(4)?, load_end: field(5)?, bss_end: field(6)? };
        (addresses.load(file, at, memory)?, field(7)?)
    } else {
        let image = elf::load(file, memory)?;
        (image.chunks, image.entry)
    };
    let modules = place_modules(payload, &mut chunks, memory)?;

    // Information structure, module list, memory map and strings in one piece.
    let strings: Vec<&str> = std::iter::once(payload.command_line.as_str())
        .chain(std::iter::once(NAME))
        .chain(payload.modules.iter().map(|module| module.command_line.as_str()))
        .collect();
    let ranges = memory.ranges();
    let (list_at, map_at) = (128, 128 + 16 * modules.len());
    let strings_at = map_at + 24 * ranges.len();
    let size = strings_at + strings.iter().map(|text| text.len() + 1).sum::<usize>();
    let base = place_information(&chunks, size as u64, memory)?;
    let mut block = vec![0; size];
    let mut text_at = Vec::new();
    let mut next = strings_at;
    for text in &strings {
        block[next..next + text.len()].copy_from_slice(text.as_bytes());
        text_at.push((base + next as u64) as u32);
        next += text.len() + 1;
    }
    let mut put = |at: usize, value: u32| block[at..at + 4].copy_from_slice(&value.to_le_bytes());
    // Memory sizes, command line, modules, memory map, loader's name.
    put(0, 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
    put(4, (CONVENTIONAL_END / 1024) as u32);
    put(8, upper_kib(memory));
    put(16, text_at[0]);
    put(20, modules.len() as u32);
    put(24, (base + list_at as u64) as u32);
    put(44, 24 * ranges.len() as u32);
    put(48, (base + map_at as u64) as u32);
    put(64, text_at[1]);
    for (index, (start, end)) in modules.iter().enumerate() {
        put(list_at + 16 * index, *start);
        put(list_at + 16 * index + 4, *end);
        put(list_at + 16 * index + 8, text_at[2 + index]);
    }
    for (index, (start, end, kind)) in ranges.iter().enumerate() {
        let at = map_at + 24 * index;
        let length = end - start;
        put(at, 20);
        put(at + 4, *start as u32);
        put(at + 8, (*start >> 32) as u32);
        put(at + 12, length as u32);
        put(at + 16, (length >> 32) as u32);
        put(at + 20, *kind);
    }
    chunks.push(Chunk { address: base, bytes: block, zeros: 0 });
    Ok(Plan { chunks, entry: Entry::Flat { eip, eax: LOADED1, ebx: base as u32 } })
}

/// The tags of a version 2 information block.
#[derive(Default)]
struct Tags(Vec<u8>);

impl Tags {
    fn add(&mut self, kind: u32, content: &[u8]) {
        self.0.extend(kind.to_le_bytes());
        self.0.extend((8 + content.len() as u32).to_le_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }
}

pub(super) fn plan2(payload: &Payload, at: usize, memory: MemoryLayout) -> Result<Plan, LoadError> {
    let file = &payload.kernel;
    let short = || damaged("file size", file.len() as u32, "too short for the header");
    let length = u32_at(file, at + 8).ok_or_else(short)?;
    let end = at.checked_add(length as usize).filter(|end| *end <= file.len()).ok_or_else(short)?;
    let header = &file[at..end];
    let (mut addresses, mut entry) = (None, None);
    let mut tag = 16;
    while let (Some(kind), Some(flags), Some(size)) =
        (u16_at(header, tag), u16_at(header, tag + 2), u32_at(header, tag + 4))
    {
        if kind == 0 {
            break;
        }
        if size < 8 {
            return Err(damaged("tag size", size, "below 8"));
        }
        let word = |index: usize| u32_at(header, tag + 4 * index).ok_or_else(short);
        match kind {
            2 => {
                addresses = Some(Addresses { header: word(2)?, load: word(3)?, load_end: word(4)?, bss_end: word(5)? });
            }
            3 => entry = Some(word(2)?),
            // Information request, console, framebuffer, module alignment, EFI, relocation: what
            // is offered is offered anyway, or the kernel can do without.
            1 | 4..=10 => {}
            _ if flags & 1 == 0 => return Err(LoadError::Unsupported("an unknown multiboot 2 feature")),
            _ => {}
        }
        tag = match tag.checked_add((size as usize).next_multiple_of(8)) {
            Some(next) if next < header.len() => next,
            _ => break,
        };
    }
    let (mut chunks, eip) = match addresses {
        Some(addresses) => {
            let eip = entry.ok_or(damaged("entry tag", 0, "missing beside the address tag"))?;
            (addresses.load(file, at, memory)?, eip)
        }
        None => {
            let image = elf::load(file, memory)?;
            (image.chunks, entry.unwrap_or(image.entry))
        }
    };
    let modules = place_modules(payload, &mut chunks, memory)?;
    let mut tags = Tags::default();
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    tags.add(1, &text(&payload.command_line));
    tags.add(2, &text(NAME));
    for ((start, end), module) in modules.iter().zip(&payload.modules) {
        tags.add(3, &[&start.to_le_bytes()[..], &end.to_le_bytes(), &text(&module.command_line)].concat());
    }
    let sizes = [(CONVENTIONAL_END / 1024) as u32, upper_kib(memory)];
    tags.add(4, &sizes.map(u32::to_le_bytes).concat());
    let mut ranges = [24u32, 0].map(u32::to_le_bytes).concat();
    for (start, end, kind) in memory.ranges() {
        ranges.extend(start.to_le_bytes());
        ranges.extend((end - start).to_le_bytes());
        ranges.extend(kind.to_le_bytes());
        ranges.extend([0; 4]);
    }
    tags.add(6, &ranges);
    // The EGA text screen: 80 × 25 at B8000h, 160 bytes per row, type 2.
    let mut screen = 0xb_8000u64.to_le_bytes().to_vec();
    screen.extend([160u32, 80, 25].map(u32::to_le_bytes).concat());
    screen.extend([16, 2, 0, 0]);
    tags.add(8, &screen);
    tags.add(0, &[]);
    let size = 8 + tags.0.len() as u64;
    let base = place_information(&chunks, size, memory)?;
    let mut block = (size as u32).to_le_bytes().to_vec();
    block.extend([0; 4]);
    block.extend(tags.0);
    chunks.push(Chunk { address: base, bytes: block, zeros: 0 });
    Ok(Plan { chunks, entry: Entry::Flat { eip, eax: LOADED2, ebx: base as u32 } })
}
