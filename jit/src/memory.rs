//! Memory for code: one file in memory, mapped twice. One mapping can be written, the other can be
//! executed; no address is ever both.
#![allow(unsafe_code, reason = "memory that is executed")]

use cranelift_jit::{BranchProtection, JITMemoryKind, JITMemoryProvider};
use cranelift_module::ModuleResult;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::sync::Arc;

/// Bytes of a segment: the unit in which code is thrown away.
pub(crate) const SEGMENT: usize = 1 << 20;

/// The two mappings.
pub(crate) struct Arena {
    writable: *mut u8,
    executable: *mut u8,
    bytes: usize,
}

// SAFETY: the mappings are plain memory; who writes where is settled by the segments, each of
// which has one owner.
unsafe impl Send for Arena {}
// SAFETY: as for Send.
unsafe impl Sync for Arena {}

impl Arena {
    /// Reserves `bytes`, rounded up to whole segments.
    pub(crate) fn new(bytes: usize) -> io::Result<Arena> {
        let bytes = bytes.max(SEGMENT).next_multiple_of(SEGMENT);
        let file = memfd_create("beigebox-code", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, bytes as u64)?;
        let map = |rights| {
            // SAFETY: a new mapping at an address of the kernel's choice.
            unsafe { mmap(std::ptr::null_mut(), bytes, rights, MapFlags::SHARED, &file, 0) }
        };
        let writable = map(ProtFlags::READ | ProtFlags::WRITE)?.cast::<u8>();
        let executable = match map(ProtFlags::READ | ProtFlags::EXEC) {
            Ok(at) => at.cast::<u8>(),
            Err(error) => {
                // SAFETY: mapped above, and nothing refers to it.
                let _ = unsafe { munmap(writable.cast(), bytes) };
                return Err(error.into());
            }
        };
        Ok(Arena { writable, executable, bytes })
    }
    /// Number of segments.
    pub(crate) fn segments(&self) -> usize {
        self.bytes / SEGMENT
    }
    /// Where the code at `writable` can be executed.
    pub(crate) fn executable(&self, writable: *const u8) -> *const u8 {
        let offset = writable as usize - self.writable as usize;
        assert!(offset < self.bytes);
        self.executable.wrapping_add(offset)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: both were mapped with this size, and no code of an arena outlives it.
        let _ = unsafe { (munmap(self.writable.cast(), self.bytes), munmap(self.executable.cast(), self.bytes)) };
    }
}

/// One segment, as a Cranelift module takes its memory from it.
pub(crate) struct Segment {
    arena: Arc<Arena>,
    start: usize,
    used: usize,
}

impl Segment {
    pub(crate) fn new(arena: Arc<Arena>, number: usize) -> Segment {
        assert!(number < arena.segments());
        Segment { arena, start: number * SEGMENT, used: 0 }
    }
}

impl JITMemoryProvider for Segment {
    fn allocate(&mut self, size: usize, align: u64, kind: JITMemoryKind) -> io::Result<*mut u8> {
        if !matches!(kind, JITMemoryKind::Executable) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "translated code has no data"));
        }
        let at = self.used.next_multiple_of((align as usize).max(32));
        if size > SEGMENT || at > SEGMENT - size {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "the segment is full"));
        }
        self.used = at + size;
        Ok(self.arena.writable.wrapping_add(self.start + at))
    }
    unsafe fn free_memory(&mut self) {}
    fn finalize(&mut self, _protection: BranchProtection) -> ModuleResult<()> {
        Ok(())
    }
}
