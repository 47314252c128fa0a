//! ELF executables, 32 and 64 bits, loaded by their physical addresses.

use super::{Chunk, LoadError, MemoryLayout, u16_at, u32_at, u64_at};

/// An ELF file laid out in memory.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) chunks: Vec<Chunk>,
    pub(super) entry: u32,
}

fn damaged(field: &'static str, value: u64, problem: &'static str) -> LoadError {
    LoadError::Damaged { header: "ELF", field, value, problem }
}

pub(super) fn load(file: &[u8], memory: MemoryLayout) -> Result<Image, LoadError> {
    let short = || damaged("file size", file.len() as u64, "too short for the header");
    let wide = match file.get(4) {
        Some(1) => false,
        Some(2) => true,
        Some(other) => return Err(damaged("class", u64::from(*other), "neither 32 nor 64 bits")),
        None => return Err(short()),
    };
    if file.get(5) != Some(&1) {
        return Err(damaged("data encoding", u64::from(file.get(5).copied().unwrap_or(0)), "not little-endian"));
    }
    let machine = u16_at(file, 18).ok_or_else(short)?;
    if machine != 3 && machine != 62 {
        return Err(damaged("machine", u64::from(machine), "not for x86"));
    }
    let address = |at: usize| if wide { u64_at(file, at) } else { u32_at(file, at).map(u64::from) };
    let pick = |narrow: usize, broad: usize| if wide { broad } else { narrow };
    let entry = address(24).ok_or_else(short)?;
    let table = address(pick(28, 32)).ok_or_else(short)?;
    let size = u16_at(file, pick(42, 54)).ok_or_else(short)?;
    let count = u16_at(file, pick(44, 56)).ok_or_else(short)?;
    if usize::from(size) < pick(32, 56) {
        return Err(damaged("program header size", u64::from(size), "too small"));
    }
    let mut chunks = Vec::new();
    let mut physical_entry = entry;
    for index in 0..u64::from(count) {
        let at = table
            .checked_add(index * u64::from(size))
            .and_then(|at| usize::try_from(at).ok())
            .ok_or_else(|| damaged("program header table", table, "outside of the file"))?;
        let kind = u32_at(file, at).ok_or_else(|| damaged("program header table", table, "outside of the file"))?;
        if kind != 1 {
            continue;
        }
        let field = |narrow: usize, broad: usize| address(at.checked_add(pick(narrow, broad))?);
        let (Some(offset), Some(virtual_address), Some(physical), Some(in_file), Some(in_memory)) =
            (field(4, 8), field(8, 16), field(12, 24), field(16, 32), field(20, 40))
        else {
            return Err(damaged("program header table", table, "outside of the file"));
        };
        if in_memory == 0 {
            continue;
        }
        if in_file > in_memory {
            return Err(damaged("segment file size", in_file, "larger than its memory size"));
        }
        memory.check("the kernel", physical, in_memory)?;
        let bytes = offset
            .checked_add(in_file)
            .and_then(|end| file.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?))
            .ok_or_else(|| damaged("segment offset", offset, "outside of the file: is it truncated?"))?;
        if entry >= virtual_address && entry - virtual_address < in_memory {
            physical_entry = physical + (entry - virtual_address);
        }
        chunks.push(Chunk { address: physical, bytes: bytes.to_vec(), zeros: in_memory - in_file });
        // More than memory holds cannot be meant; this also bounds what is copied here.
        if chunks.len() > 256 {
            return Err(damaged("program header count", u64::from(count), "more than 256 loadable segments"));
        }
    }
    if chunks.is_empty() {
        return Err(damaged("program header count", u64::from(count), "nothing to load"));
    }
    let entry = u32::try_from(physical_entry).map_err(|_| damaged("entry point", entry, "above 4 GiB"))?;
    Ok(Image { chunks, entry })
}
