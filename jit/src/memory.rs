//! Memory for code: one file in memory, mapped twice. One mapping can be written, the other can be
//! executed; no address is ever both.
//!
//! macOS has no such files for code: there the one mapping (`MAP_JIT`) is both, but never for the same thread. A
//! thread can execute it, but while it holds a [`Writing`] it can write there and not execute.
#![allow(unsafe_code, reason = "memory that is executed")]

use crate::host::publish;
use cranelift_jit::{BranchProtection, JITMemoryKind, JITMemoryProvider};
use cranelift_module::ModuleResult;
use rustix::mm::{MapFlags, ProtFlags, munmap};
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

/// Bytes of a segment: the unit in which code is thrown away, and a multiple of every host's pages.
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
        let (writable, executable) = map(bytes)?;
        Ok(Arena { writable, executable, bytes })
    }
    /// Number of segments.
    pub(crate) fn segments(&self) -> usize {
        self.bytes / SEGMENT
    }
    /// Copies code to `offset`; where it can be executed.
    pub(crate) fn fill(&self, offset: usize, code: &[u8]) -> *const u8 {
        assert!(offset <= self.bytes && code.len() <= self.bytes - offset);
        let to = self.writable.wrapping_add(offset);
        let writing = Writing::new();
        // SAFETY: inside the writable mapping; who fills a segment owns it.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), to, code.len()) };
        drop(writing);
        self.publish(to, code.len())
    }
    /// The offset of what can be executed at `at`.
    pub(crate) fn offset(&self, at: usize) -> usize {
        at.wrapping_sub(self.executable as usize)
    }
    /// The code at `offset`.
    pub(crate) fn read(&self, offset: usize, bytes: usize) -> Vec<u8> {
        assert!(offset <= self.bytes && bytes <= self.bytes - offset);
        // SAFETY: inside the mapping; who asks owns the segment, and nothing is written there meanwhile.
        unsafe { std::slice::from_raw_parts(self.executable.wrapping_add(offset), bytes) }.to_vec()
    }
    /// Where `bytes` of code that were written at `writable` can be executed, now that they are complete.
    pub(crate) fn publish(&self, writable: *const u8, bytes: usize) -> *const u8 {
        let offset = writable as usize - self.writable as usize;
        assert!(offset < self.bytes && bytes <= self.bytes - offset);
        let executable = self.executable.wrapping_add(offset);
        publish(writable, executable, bytes);
        self.let_go(offset, bytes);
        executable
    }
    /// Gives the pages of the writable mapping back, which are the executable one's as well: they would count twice as
    /// what this process uses.
    #[cfg(not(target_os = "macos"))]
    fn let_go(&self, offset: usize, bytes: usize) {
        let page = rustix::param::page_size();
        let first = offset / page * page;
        let end = (offset + bytes).next_multiple_of(page).min(self.bytes);
        // SAFETY: whole pages inside a shared mapping of a file in memory: what was written stays in the file, and who
        // writes there next finds it again.
        let _ = unsafe {
            rustix::mm::madvise(
                self.writable.wrapping_add(first).cast(),
                end - first,
                rustix::mm::Advice::LinuxDontNeed,
            )
        };
    }
    #[cfg(target_os = "macos")]
    fn let_go(&self, _offset: usize, _bytes: usize) {}
}

impl Drop for Arena {
    fn drop(&mut self) {
        for mapping in [self.writable, self.executable] {
            // SAFETY: both were mapped with this size, and no code of an arena outlives it.
            let _ = unsafe { munmap(mapping.cast(), self.bytes) };
            if self.writable == self.executable {
                break;
            }
        }
    }
}

/// The mapping to write and the one to execute.
#[cfg(not(target_os = "macos"))]
fn map(bytes: usize) -> io::Result<(*mut u8, *mut u8)> {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    let file = memfd_create("beigebox-code", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, bytes as u64)?;
    let map = |rights| {
        // SAFETY: a new mapping at an address of the kernel's choice.
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, rights, MapFlags::SHARED, &file, 0) }
    };
    let writable = map(ProtFlags::READ | ProtFlags::WRITE)?.cast::<u8>();
    match map(ProtFlags::READ | ProtFlags::EXEC) {
        Ok(executable) => Ok((writable, executable.cast())),
        Err(error) => {
            // SAFETY: mapped above, and nothing refers to it.
            let _ = unsafe { munmap(writable.cast(), bytes) };
            Err(error.into())
        }
    }
}
/// The one mapping that is both (Apple: "Porting just-in-time compilers to Apple silicon"). A program with a hardened
/// runtime needs the entitlement `com.apple.security.cs.allow-jit`.
#[cfg(target_os = "macos")]
fn map(bytes: usize) -> io::Result<(*mut u8, *mut u8)> {
    const MAP_JIT: u32 = 0x800;
    let flags = MapFlags::PRIVATE | MapFlags::from_bits_retain(MAP_JIT);
    let rights = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let both = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, rights, flags)? }.cast::<u8>();
    Ok((both, both))
}

/// The time in which a thread writes code. It must run none meanwhile.
pub(crate) struct Writing(PhantomData<*const ()>);

impl Writing {
    pub(crate) fn new() -> Writing {
        protect(false);
        Writing(PhantomData)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        protect(true);
    }
}

#[cfg(not(target_os = "macos"))]
fn protect(_code: bool) {}
#[cfg(target_os = "macos")]
fn protect(code: bool) {
    unsafe extern "C" {
        fn pthread_jit_write_protect_np(enabled: std::ffi::c_int);
    }
    // SAFETY: changes what this thread may do with memory for code, which it executes only without a `Writing`.
    unsafe { pthread_jit_write_protect_np(code.into()) };
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
