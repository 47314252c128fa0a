//! Guest-physical memory: RAM, video memory and ROM in one host allocation, and the map that says
//! what lies where.
//!
//! This module is one of the few that may use `unsafe`: a [`HostPage`] proves that 4096 bytes and
//! a little slack behind them exist, so that the processor's memory path needs no bounds check.
#![allow(unsafe_code, reason = "guest RAM: see the module documentation")]

use crate::hash::Map;
use std::fmt;
use std::ptr::NonNull;

/// Bytes in a page.
pub const PAGE: u64 = 4096;
/// Bytes behind the last page that may be touched by an access that starts in it.
const SLACK: usize = 64;

/// A page inside the host allocation. Only [`GuestMemory`] makes these, and an allocation neither
/// moves nor shrinks, so a `HostPage` stays valid as long as the memory that made it. It is to be
/// used with that memory only.
// The address itself, not an index: one addition less on the hottest path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPage(NonNull<u8>);

// SAFETY: a HostPage is only ever dereferenced through the GuestMemory that made it, whose own
// rules (`&self` to read, `&mut self` to write) hold for it.
unsafe impl Send for HostPage {}
// SAFETY: as for Send.
unsafe impl Sync for HostPage {}

impl HostPage {
    /// Stands where no page is. Never to be dereferenced: a table entry that holds it matches no
    /// address.
    pub(crate) const NOWHERE: HostPage = HostPage(NonNull::dangling());
}

/// What a page of guest-physical addresses is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Readable and writable memory.
    Ram(HostPage),
    /// Memory that ignores writes.
    Rom(HostPage),
    /// Registers of a device, or nothing: every access goes to the bus.
    Mmio,
}

/// One bit for each byte of a page: it is translated code.
// To the byte, because software keeps its variables next to its code: stores there must not cost
// more than a look.
#[derive(Clone)]
struct CodeBits {
    bits: Box<[u64; 64]>,
    /// All bits are clear: the code that was here is no more.
    is_empty: bool,
    /// Writes since then.
    writes: u8,
}

impl Default for CodeBits {
    fn default() -> Self {
        CodeBits { bits: Box::new([0; 64]), is_empty: true, writes: 0 }
    }
}

/// Writes to a page whose code is no more after which it is an ordinary page again. Not at once:
/// each change from the one to the other costs all permissions to write, and where code was, code
/// often comes again.
const QUIET: u8 = 32;

impl CodeBits {
    /// The words, and the bits in them, that stand for `length` bytes at `offset` up to the end of
    /// the page.
    fn words(offset: u64, length: u64) -> impl Iterator<Item = (usize, u64)> {
        let first = offset % PAGE;
        let last = first.saturating_add(length.saturating_sub(1)).min(PAGE - 1);
        (first / 64..=last / 64).map(move |word| {
            let low = if word == first / 64 { first % 64 } else { 0 };
            let high = if word == last / 64 { last % 64 } else { 63 };
            (word as usize, u64::MAX >> (63 - (high - low)) << low)
        })
    }
}

/// A write that hit translated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeWrite {
    /// The page.
    pub page: HostPage,
    /// Offset of the first byte written.
    pub offset: u32,
    /// Number of bytes written.
    pub length: u32,
}

/// A device window, for the bus and for the processor's decision how to treat an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    first: u64,
    last: u64,
    kind: RegionKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RegionKind {
    Ram { page: u32 },
    Rom { page: u32 },
}

/// What is there when nothing is.
const NO_REGION: Region = Region { first: 0, last: 0, kind: RegionKind::Rom { page: 0 } };

/// A contiguous part of the host allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    first_page: u32,
    pages: u32,
}

impl Block {
    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE
    }
}

enum Host {
    #[cfg(feature = "mmap")]
    Map(memmap2::MmapMut),
    #[cfg(not(feature = "mmap"))]
    Heap(Vec<u64>),
}

/// Guest-physical memory.
///
/// Bytes in it are plain memory: several virtual processors and device models may come to share
/// it, so nothing hands out `&mut [u8]` to parts that a processor may be reading, except where
/// `&mut self` proves that none runs.
pub struct GuestMemory {
    host: Host,
    bytes: usize,
    ram: Block,
    video: Block,
    rom: Block,
    rom_used: u32,
    regions: Vec<Region>,
    /// The largest region of RAM, where most accesses go.
    main: Region,
    /// Per page: whether it holds code that an engine has translated.
    has_code: Vec<bool>,
    /// Which bytes of those pages are code.
    code: Map<u32, CodeBits>,
    /// Writes that hit code, until `take_code_write`.
    code_writes: Vec<CodeWrite>,
    /// Per page of video memory: written since `take_video_dirty`.
    video_dirty: Vec<bool>,
    map_epoch: u64,
    write_epoch: u64,
}

impl fmt::Debug for GuestMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestMemory")
            .field("ram", &self.ram.bytes())
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

/// Why guest memory cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// The size is 0, not a multiple of 4096, or beyond what a host can hold.
    BadSize,
    /// The host has not enough memory.
    OutOfMemory,
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemoryError::BadSize => "guest memory must be a multiple of 4096 bytes, at least 4096 and at most 64 GiB",
            MemoryError::OutOfMemory => "the host has not enough memory for the guest's",
        })
    }
}
impl std::error::Error for MemoryError {}

impl GuestMemory {
    /// Allocates `ram` bytes of RAM, `video` of video memory and room for `rom` bytes of ROM
    /// (all multiples of 4096, zeroed). Nothing is mapped yet.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn new(ram: u64, video: u64, rom: u64) -> Result<GuestMemory, MemoryError> {
        let total = ram.checked_add(video).and_then(|t| t.checked_add(rom)).ok_or(MemoryError::BadSize)?;
        if ram == 0 || total > 64 << 30 || !(ram | video | rom).is_multiple_of(PAGE) {
            return Err(MemoryError::BadSize);
        }
        let bytes = usize::try_from(total).map_err(|_| MemoryError::BadSize)?;
        #[cfg(feature = "mmap")]
        let host = Host::Map(memmap2::MmapMut::map_anon(bytes + SLACK).map_err(|_| MemoryError::OutOfMemory)?);
        #[cfg(not(feature = "mmap"))]
        let host = Host::Heap(vec![0; (bytes + SLACK) / 8]);
        let pages = |n: u64| (n / PAGE) as u32;
        let ram = Block { first_page: 0, pages: pages(ram) };
        let video = Block { first_page: ram.pages, pages: pages(video) };
        let rom = Block { first_page: ram.pages + video.pages, pages: pages(rom) };
        Ok(GuestMemory {
            host,
            bytes,
            ram,
            video,
            rom,
            rom_used: 0,
            regions: Vec::new(),
            main: NO_REGION,
            has_code: vec![false; bytes / PAGE as usize],
            code: Map::default(),
            code_writes: Vec::new(),
            video_dirty: vec![true; video.pages as usize],
            map_epoch: 0,
            write_epoch: 0,
        })
    }

    fn base(&self) -> *mut u8 {
        match &self.host {
            #[cfg(feature = "mmap")]
            Host::Map(map) => map.as_ptr().cast_mut(),
            #[cfg(not(feature = "mmap"))]
            Host::Heap(heap) => heap.as_ptr().cast::<u8>().cast_mut(),
        }
    }

    /// The page with index `index` in the allocation.
    fn host_page(&self, index: u32) -> HostPage {
        let at = index as usize * PAGE as usize;
        assert!(at < self.bytes);
        // SAFETY: in bounds of the allocation by the assertion, hence not null.
        HostPage(unsafe { NonNull::new_unchecked(self.base().add(at)) })
    }
    /// Index of a page in the allocation.
    #[inline(always)]
    #[must_use]
    pub fn index(&self, page: HostPage) -> usize {
        (page.0.as_ptr() as usize - self.base() as usize) / PAGE as usize
    }

    // --- the map -------------------------------------------------------------------------

    /// The RAM block.
    #[must_use]
    pub fn ram(&self) -> Block {
        self.ram
    }
    /// The video memory block.
    #[must_use]
    pub fn video(&self) -> Block {
        self.video
    }
    /// Copies `bytes` into the ROM area (rounded up to whole pages, padded with FFh) and returns
    /// the block; `None` when there is no room.
    pub fn add_rom(&mut self, bytes: &[u8]) -> Option<Block> {
        let pages = (bytes.len() as u64).div_ceil(PAGE) as u32;
        if pages > self.rom.pages - self.rom_used {
            return None;
        }
        let block = Block { first_page: self.rom.first_page + self.rom_used, pages };
        self.rom_used += pages;
        let slice = self.block_mut(block);
        slice.fill(0xff);
        slice[..bytes.len()].copy_from_slice(bytes);
        Some(block)
    }
    /// The bytes of a block.
    #[must_use]
    pub fn block(&self, block: Block) -> &[u8] {
        let (start, len) = (block.first_page as usize * PAGE as usize, block.bytes() as usize);
        assert!(start + len <= self.bytes);
        // SAFETY: in bounds by the assertion; `&self` excludes writers, all of which need `&mut self`.
        unsafe { std::slice::from_raw_parts(self.base().add(start), len) }
    }
    /// The bytes of a block, writable. The caller does not change translated code through it
    /// (that is what [`GuestMemory::write`] is for).
    pub fn block_mut(&mut self, block: Block) -> &mut [u8] {
        let (start, len) = (block.first_page as usize * PAGE as usize, block.bytes() as usize);
        assert!(start + len <= self.bytes);
        // SAFETY: in bounds by the assertion; `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.base().add(start), len) }
    }
    /// Forgets the whole map: all is MMIO.
    pub fn unmap_all(&mut self) {
        self.regions.clear();
        self.main = NO_REGION;
        self.map_epoch += 1;
    }
    /// Maps `length` bytes of `block` from `block_offset` at guest-physical `address` as RAM, or
    /// as ROM when `read_only`. All multiples of 4096. A later mapping hides an earlier one.
    ///
    /// # Panics
    /// When the range is not page-aligned or not inside the block: a mistake in the board.
    pub fn map(&mut self, address: u64, length: u64, block: Block, block_offset: u64, read_only: bool) {
        assert!((address | length | block_offset).is_multiple_of(PAGE) && block_offset + length <= block.bytes());
        if length == 0 {
            return;
        }
        self.unmap(address, length);
        let page = block.first_page + (block_offset / PAGE) as u32;
        let kind = if read_only { RegionKind::Rom { page } } else { RegionKind::Ram { page } };
        let at = self.regions.partition_point(|r| r.first < address);
        self.regions.insert(at, Region { first: address, last: address + length - 1, kind });
        self.find_main();
    }
    fn find_main(&mut self) {
        let ram = self.regions.iter().filter(|r| matches!(r.kind, RegionKind::Ram { .. }));
        self.main = ram.max_by_key(|r| r.last - r.first).copied().unwrap_or(NO_REGION);
    }
    /// Makes `length` bytes at `address` MMIO (or nothing). Multiples of 4096.
    pub fn unmap(&mut self, address: u64, length: u64) {
        if length == 0 {
            return;
        }
        let (first, last) = (address, address + length - 1);
        let mut kept = Vec::with_capacity(self.regions.len() + 1);
        for r in self.regions.drain(..) {
            if r.last < first || r.first > last {
                kept.push(r);
                continue;
            }
            if r.first < first {
                kept.push(Region { last: first - 1, ..r });
            }
            if r.last > last {
                let skip = ((last + 1 - r.first) / PAGE) as u32;
                let kind = match r.kind {
                    RegionKind::Ram { page } => RegionKind::Ram { page: page + skip },
                    RegionKind::Rom { page } => RegionKind::Rom { page: page + skip },
                };
                kept.push(Region { first: last + 1, last: r.last, kind });
            }
        }
        self.regions = kept;
        self.find_main();
        self.map_epoch += 1;
    }
    /// Changes whenever the map changes; an engine then forgets its translations of addresses.
    #[inline]
    #[must_use]
    pub fn map_epoch(&self) -> u64 {
        self.map_epoch
    }
    /// Changes whenever a page that was freely writable has to be watched again: an engine then
    /// forgets its permissions to write.
    #[inline]
    #[must_use]
    pub fn write_epoch(&self) -> u64 {
        self.write_epoch
    }
    /// What lies at guest-physical `address`.
    #[must_use]
    pub fn backing(&self, address: u64) -> Backing {
        let in_main = address.wrapping_sub(self.main.first);
        if in_main <= self.main.last - self.main.first
            && let RegionKind::Ram { page } = self.main.kind
        {
            return Backing::Ram(self.host_page(page + (in_main / PAGE) as u32));
        }
        let at = self.regions.partition_point(|r| r.last < address);
        match self.regions.get(at) {
            Some(r) if r.first <= address => {
                let skip = ((address - r.first) / PAGE) as u32;
                match r.kind {
                    RegionKind::Ram { page } => Backing::Ram(self.host_page(page + skip)),
                    RegionKind::Rom { page } => Backing::Rom(self.host_page(page + skip)),
                }
            }
            _ => Backing::Mmio,
        }
    }

    // --- the processor's fast path ---------------------------------------------------------

    /// Loads a little-endian value of `SIZE` ≤ 16 bytes at `offset` (taken modulo 4096) of `page`. An access
    /// that runs over the end of the page reads what lies behind it in the host allocation: the
    /// caller has excluded that case.
    #[inline(always)]
    #[must_use]
    pub fn load<const SIZE: usize>(&self, page: HostPage, offset: u64) -> [u8; SIZE] {
        const { assert!(SIZE <= SLACK) };
        debug_assert!(self.index(page) * PAGE as usize <= self.bytes);
        // SAFETY: a HostPage lies in the allocation, the offset is masked to the page, and SLACK
        // bytes follow the last page. Alignment is not required by read_unaligned.
        unsafe { page.0.as_ptr().add((offset & (PAGE - 1)) as usize).cast::<[u8; SIZE]>().read_unaligned() }
    }
    /// Stores a little-endian value; see [`GuestMemory::load`]. Does not look for code: the caller
    /// holds a write permission for the page.
    #[inline(always)]
    pub fn store<const SIZE: usize>(&mut self, page: HostPage, offset: u64, value: [u8; SIZE]) {
        const { assert!(SIZE <= SLACK) };
        debug_assert!(self.index(page) * PAGE as usize <= self.bytes);
        // SAFETY: as in `load`; `&mut self` is exclusive.
        unsafe { page.0.as_ptr().add((offset & (PAGE - 1)) as usize).cast::<[u8; SIZE]>().write_unaligned(value) }
    }
    /// The bytes of one page from `offset` on, for decoding and bulk reads.
    #[must_use]
    pub fn page(&self, page: HostPage) -> &[u8; 4096] {
        // SAFETY: a HostPage lies in the allocation.
        unsafe { &*page.0.as_ptr().cast::<[u8; 4096]>() }
    }
    /// The bytes of one page, writable, for bulk writes. Does not look for code: the caller holds
    /// a write permission for the page.
    pub fn page_mut(&mut self, page: HostPage) -> &mut [u8; 4096] {
        // SAFETY: a HostPage lies in the allocation; `&mut self` is exclusive.
        unsafe { &mut *page.0.as_ptr().cast::<[u8; 4096]>() }
    }
    /// Copies `length` bytes from one page to another (or the same) like memmove. Ranges are cut
    /// at the ends of the pages.
    pub fn copy_within(&mut self, from: HostPage, from_offset: u64, to: HostPage, to_offset: u64, length: usize) {
        let (fo, to_off) = ((from_offset & (PAGE - 1)) as usize, (to_offset & (PAGE - 1)) as usize);
        let length = length.min(PAGE as usize - fo).min(PAGE as usize - to_off);
        // SAFETY: both ranges lie inside their pages; `copy` allows overlap.
        unsafe {
            let source = from.0.as_ptr().add(fo);
            let target = to.0.as_ptr().add(to_off);
            std::ptr::copy(source, target, length);
        }
    }

    // --- writes from outside the processor -------------------------------------------------

    /// Copies guest-physical memory to `buf`. Bytes that are not memory read as FFh.
    pub fn read(&self, address: u64, buf: &mut [u8]) {
        self.chunks(address, buf.len(), |m, backing, offset, range| match backing {
            Backing::Ram(p) | Backing::Rom(p) => {
                let n = range.len();
                buf[range].copy_from_slice(&m.page(p)[offset..offset + n]);
            }
            Backing::Mmio => buf[range].fill(0xff),
        });
    }
    /// Copies `buf` to guest-physical RAM. Bytes that fall on ROM or on no memory are dropped.
    /// Translated code that it overwrites is reported to the engines.
    pub fn write(&mut self, address: u64, buf: &[u8]) {
        let mut at = 0;
        while at < buf.len() {
            let address = address.wrapping_add(at as u64);
            let offset = (address % PAGE) as usize;
            let n = (PAGE as usize - offset).min(buf.len() - at);
            if let Backing::Ram(page) = self.backing(address) {
                self.page_mut(page)[offset..offset + n].copy_from_slice(&buf[at..at + n]);
                self.note_write(page, offset as u64, n as u64);
            }
            at += n;
        }
    }
    fn chunks(&self, address: u64, length: usize, mut f: impl FnMut(&Self, Backing, usize, std::ops::Range<usize>)) {
        let mut at = 0;
        while at < length {
            let address = address.wrapping_add(at as u64);
            let offset = (address % PAGE) as usize;
            let n = (PAGE as usize - offset).min(length - at);
            f(self, self.backing(address), offset, at..at + n);
            at += n;
        }
    }

    // --- code and dirty tracking -----------------------------------------------------------

    /// Whether any of `length` bytes at `offset` (modulo 4096) of `page` is translated code.
    #[must_use]
    pub fn holds_code(&self, page: HostPage, offset: u64, length: u64) -> bool {
        let index = self.index(page);
        if !self.has_code[index] {
            return false;
        }
        let Some(bits) = self.code.get(&(index as u32)) else { return false };
        !bits.is_empty && CodeBits::words(offset, length).any(|(word, mask)| bits.bits[word] & mask != 0)
    }
    /// Remembers that `length` bytes at `offset` of `page` are translated code. Write permissions
    /// that engines hold end when the page had none before.
    pub fn mark_code(&mut self, page: HostPage, offset: u64, length: u64) {
        let index = self.index(page);
        if !self.has_code[index] {
            self.has_code[index] = true;
            self.write_epoch += 1;
        }
        let code = self.code.entry(index as u32).or_default();
        code.is_empty = false;
        for (word, mask) in CodeBits::words(offset, length) {
            code.bits[word] |= mask;
        }
    }
    /// The engine has dropped translations of code in `page` and is about to mark what is left.
    pub fn unmark_code(&mut self, page: HostPage) {
        let index = self.index(page) as u32;
        if let Some(code) = self.code.get_mut(&index) {
            code.bits.fill(0);
            code.is_empty = true;
            code.writes = 0;
        }
    }
    /// The engine has dropped translations of `length` bytes at `offset` of `page`, but not all in
    /// that page, and is about to mark what is left of them.
    pub fn unmark_bytes(&mut self, page: HostPage, offset: u64, length: u64) {
        let index = self.index(page) as u32;
        if let Some(code) = self.code.get_mut(&index) {
            for (word, mask) in CodeBits::words(offset, length) {
                code.bits[word] &= !mask;
            }
        }
    }
    /// Nothing in `page` is code any more.
    fn clear_code(&mut self, page: HostPage) {
        let index = self.index(page);
        self.has_code[index] = false;
        self.code.remove(&(index as u32));
    }
    /// To be called after writing `length` bytes at `offset` of `page` without a write permission:
    /// reports overwritten code and marks video memory dirty.
    pub fn note_write(&mut self, page: HostPage, offset: u64, length: u64) {
        if self.holds_code(page, offset, length) {
            let (offset, length) = ((offset % PAGE) as u32, length as u32);
            match self.code_writes.last_mut() {
                Some(last) if last.page == page && last.offset + last.length == offset => last.length += length,
                _ => self.code_writes.push(CodeWrite { page, offset, length }),
            }
        }
        if let Some(v) = self.video_index(page) {
            self.video_dirty[v] = true;
        }
    }
    /// Whether engines must look at [`GuestMemory::take_code_write`].
    #[inline]
    #[must_use]
    pub fn has_code_writes(&self) -> bool {
        !self.code_writes.is_empty()
    }
    /// One of the writes that have hit code and were not asked for before.
    pub fn take_code_write(&mut self) -> Option<CodeWrite> {
        self.code_writes.pop()
    }
    fn video_index(&self, page: HostPage) -> Option<usize> {
        let index = (self.index(page) as u32).wrapping_sub(self.video.first_page);
        (index < self.video.pages).then_some(index as usize)
    }
    /// Whether a store to `page` must be noted each time: it holds code. A clean page of video
    /// memory is marked dirty by asking.
    pub fn may_write_freely(&mut self, page: HostPage) -> bool {
        if let Some(v) = self.video_index(page) {
            self.video_dirty[v] = true;
        }
        let index = self.index(page);
        if !self.has_code[index] {
            return true;
        }
        let Some(code) = self.code.get_mut(&(index as u32)) else { return false };
        code.writes = code.writes.saturating_add(1);
        if !code.is_empty || code.writes < QUIET {
            return false;
        }
        self.clear_code(page);
        true
    }
    /// Calls `f` with the index of each page of video memory written since the last call.
    pub fn take_video_dirty(&mut self, mut f: impl FnMut(usize)) {
        let mut any = false;
        for (index, dirty) in self.video_dirty.iter_mut().enumerate() {
            if std::mem::take(dirty) {
                any = true;
                f(index);
            }
        }
        if any {
            self.write_epoch += 1;
        }
    }
    /// Marks video memory as written: for the display adapter's own writes.
    pub fn mark_video_dirty(&mut self, offset: u64, length: u64) {
        let first = (offset / PAGE) as usize;
        let last = ((offset + length.max(1) - 1) / PAGE) as usize;
        for dirty in self.video_dirty.iter_mut().take(last + 1).skip(first) {
            *dirty = true;
        }
    }
    /// The video memory, and the rest of memory as one that reads and writes guest-physical RAM.
    pub fn split_video(&mut self) -> (&mut [u8], RamPort<'_>) {
        let block = self.video;
        let (start, len) = (block.first_page as usize * PAGE as usize, block.bytes() as usize);
        assert!(start + len <= self.bytes);
        // SAFETY: in bounds; RamPort refuses to touch pages of the video block, so the two
        // references never overlap.
        let video = unsafe { std::slice::from_raw_parts_mut(self.base().add(start), len) };
        (video, RamPort { memory: self })
    }
}

/// Guest RAM as a bus master sees it while the display adapter holds video memory.
pub struct RamPort<'a> {
    memory: &'a mut GuestMemory,
}

impl RamPort<'_> {
    /// Copies guest-physical RAM or ROM to `buf`; anything else reads as FFh.
    pub fn read(&self, address: u64, buf: &mut [u8]) {
        let mut at = 0;
        while at < buf.len() {
            let a = address.wrapping_add(at as u64);
            let n = ((PAGE - a % PAGE) as usize).min(buf.len() - at);
            let part = &mut buf[at..at + n];
            match self.memory.backing(a) {
                Backing::Ram(p) | Backing::Rom(p) if self.memory.video_index(p).is_none() => {
                    let offset = (a % PAGE) as usize;
                    part.copy_from_slice(&self.memory.page(p)[offset..offset + n]);
                }
                _ => part.fill(0xff),
            }
            at += n;
        }
    }
    /// Copies `buf` to guest-physical RAM; other bytes are dropped.
    pub fn write(&mut self, address: u64, buf: &[u8]) {
        let mut at = 0;
        while at < buf.len() {
            let a = address.wrapping_add(at as u64);
            let n = ((PAGE - a % PAGE) as usize).min(buf.len() - at);
            match self.memory.backing(a) {
                Backing::Ram(p) if self.memory.video_index(p).is_none() => self.memory.write(a, &buf[at..at + n]),
                _ => {}
            }
            at += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_split_and_hide() {
        let mut m = GuestMemory::new(1 << 20, 0, 8192).unwrap();
        let ram = m.ram();
        m.map(0, 1 << 20, ram, 0, false);
        let rom = m.add_rom(&[7; 100]).unwrap();
        m.map(0x2000, 4096, rom, 0, true);
        m.unmap(0x8000, 0x1000);
        m.write(0x1ffe, &[1, 2, 3, 4]);
        let mut b = [0; 4];
        m.read(0x1ffe, &mut b);
        assert_eq!(b, [1, 2, 7, 7]);
        assert_eq!(m.backing(0x8000), Backing::Mmio);
        assert_eq!(m.backing(0x9000), Backing::Ram(m.host_page(9)));
        m.read(0x7fff, &mut b);
        assert_eq!(b, [0, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn bus_masters_reach_ram_only() {
        let mut m = GuestMemory::new(1 << 20, 8192, 4096).unwrap();
        let (ram, video) = (m.ram(), m.video());
        m.map(0, 0x4000, ram, 0, false);
        m.map(0x4000, 0x1000, video, 0, false);
        let rom = m.add_rom(&[7; 100]).unwrap();
        m.map(0x5000, 4096, rom, 0, true);
        let (_, mut port) = m.split_video();
        // RAM, video memory, ROM and nothing, in one piece, and around the end of all addresses.
        port.write(0x3ff0, &[1; 0x3000]);
        port.write(u64::MAX - 7, &[2; 16]);
        let mut bytes = [0; 0x3000];
        port.read(0x3ff0, &mut bytes);
        assert!(bytes[..16].iter().all(|byte| *byte == 1) && bytes[16..0x1010].iter().all(|byte| *byte == 0xff));
        assert!(
            bytes[0x1010..0x1074].iter().all(|byte| *byte == 7) && bytes[0x2010..].iter().all(|byte| *byte == 0xff)
        );
        port.read(u64::MAX - 7, &mut bytes[..16]);
        assert_eq!(bytes[..16], [[0xff; 8], [2; 8]].concat());
        assert!(m.block(video).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn writes_over_code_are_reported() {
        let mut m = GuestMemory::new(1 << 20, 0, 0).unwrap();
        let ram = m.ram();
        m.map(0, 1 << 20, ram, 0, false);
        let Backing::Ram(page) = m.backing(0x3000) else { panic!() };
        let epoch = m.write_epoch();
        m.mark_code(page, 0x80, 4);
        assert_ne!(epoch, m.write_epoch());
        m.write(0x3000, &[0; 128]);
        m.write(0x3084, &[0; 128]);
        assert!(!m.has_code_writes());
        m.write(0x3000, &[0; 129]);
        assert_eq!(m.take_code_write(), Some(CodeWrite { page, offset: 0, length: 129 }));
        m.mark_code(page, 0xffc, 4);
        assert!(m.holds_code(page, 0xffb, 2) && !m.holds_code(page, 0xffa, 2) && m.holds_code(page, 0, 4096));
        m.clear_code(page);
        assert!(!m.holds_code(page, 0, 4096));
    }
}
