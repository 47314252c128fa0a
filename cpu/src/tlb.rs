//! The soft TLB: linear page to host page, with the permission to use it.

use crate::memory::HostPage;
use crate::watch::Watches;

/// Entries of each half of a table.
pub(crate) const ENTRIES: usize = 4096;
const MASK: u64 = !0xfff;

#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    /// Linear page address | generation; the generation never matches after a flush.
    tag: u64,
    page: HostPage,
}

const EMPTY: Entry = Entry { tag: u64::MAX, page: HostPage::NOWHERE };

/// Words at the start of [`Tables`] that the tables leave to an engine.
pub const ENGINE_WORDS: usize = 128 + 4 * 4096;

/// The tables themselves, laid out for native code that reads them: the words of the engine, the
/// two generations, the entries for reading, the entries for writing. An entry is a tag (linear
/// page address | generation) and the address of the host page.
#[repr(C, align(64))]
pub struct Tables {
    /// For the engine that owns the TLB; their address does not change while it lives.
    pub engine: [u64; ENGINE_WORDS],
    read_generation: u64,
    write_generation: u64,
    read: [Entry; ENTRIES * 2],
    write: [Entry; ENTRIES * 2],
}

impl Tables {
    /// Byte offset of the generation of entries for reading.
    pub const READ_GENERATION: usize = std::mem::offset_of!(Tables, read_generation);
    /// Byte offset of the generation of entries for writing.
    pub const WRITE_GENERATION: usize = std::mem::offset_of!(Tables, write_generation);
    /// Byte offset of the entries for reading.
    pub const READ: usize = std::mem::offset_of!(Tables, read);
    /// Byte offset of the entries for writing.
    pub const WRITE: usize = std::mem::offset_of!(Tables, write);
    /// Half the number of entries of a table, and the bit of an entry's number that is the other
    /// way round for user code.
    pub const HALF: usize = ENTRIES;
    /// Bytes of an entry.
    pub const ENTRY: usize = std::mem::size_of::<Entry>();
}

/// Entries of the tables behind the fast ones, a power of two.
const SECOND: usize = 2048;
/// Entries of the table for instruction fetches, a power of two.
const CODE: usize = 512;

/// A translation that outlives the fast tables: they forget all permissions to write whenever a
/// page becomes code, and all of everything when CR3 is loaded.
#[derive(Clone, Copy)]
struct Lasting {
    /// As in [`Entry`]; for global pages with the generation of those.
    tag: u64,
    page: HostPage,
    is_writable: bool,
    is_global: bool,
}

const NEVER: Lasting = Lasting { tag: u64::MAX, page: HostPage::NOWHERE, is_writable: false, is_global: false };

/// Translations of linear pages to host pages: separate for reading and writing, and for user and
/// supervisor. Only plain memory is in it; pages with device registers, translated code (for
/// writes) or watchpoints never are.
pub struct Tlb {
    tables: Box<Tables>,
    second: Box<[Lasting; SECOND]>,
    code: Box<[Lasting; CODE]>,
    global_generation: u64,
    /// One bit for each 4 MiB of the low 4 GiB: a page larger than 4 KiB was used there.
    large: [u64; 16],
    /// Hits cannot be counted on the fast path; misses are.
    pub misses: u64,
    /// Number of flushes.
    pub flushes: u64,
    /// Pages with these never get in.
    pub(crate) watches: Watches,
}

impl Default for Tlb {
    fn default() -> Self {
        Tlb::new()
    }
}

fn table<T: Copy, const N: usize>(empty: T) -> Box<[T; N]> {
    let v = vec![empty; N].into_boxed_slice();
    match v.try_into() {
        Ok(b) => b,
        Err(_) => unreachable!("the length is that of the array"),
    }
}

impl Tlb {
    /// An empty TLB.
    #[must_use]
    pub fn new() -> Tlb {
        Tlb {
            tables: Box::new(Tables {
                engine: [0; ENGINE_WORDS],
                read_generation: 0,
                write_generation: 0,
                read: [EMPTY; ENTRIES * 2],
                write: [EMPTY; ENTRIES * 2],
            }),
            second: table(NEVER),
            code: table(NEVER),
            global_generation: 0,
            large: [0; 16],
            misses: 0,
            flushes: 0,
            watches: Watches::default(),
        }
    }
    /// Whether an access has touched a watched byte.
    #[must_use]
    pub fn has_watch_hits(&self) -> bool {
        self.watches.has_hits()
    }
    /// The tables, for native code and for the engine's own words.
    pub fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }
    /// The page number's low bits, the highest of them the other way round for `half`, so that
    /// user and supervisor never find one another's entries and either can use all of the table.
    #[inline(always)]
    fn index(linear: u64, half: usize) -> usize {
        ((linear >> 12) as usize ^ half) & (ENTRIES * 2 - 1)
    }
    fn slot(linear: u64, user: bool) -> usize {
        Tlb::index(linear, usize::from(user) * ENTRIES)
    }
    /// The host page for reading `size` bytes at `linear`; `None` also when they cross into the
    /// next page.
    #[inline(always)]
    #[must_use]
    pub fn read(&self, linear: u64, size: u64, user: bool) -> Option<HostPage> {
        self.read_in(linear, size, usize::from(user) * ENTRIES)
    }
    /// The host page for writing `size` bytes at `linear`.
    #[inline(always)]
    #[must_use]
    pub fn write(&self, linear: u64, size: u64, user: bool) -> Option<HostPage> {
        self.write_in(linear, size, usize::from(user) * ENTRIES)
    }
    /// As `read`, in the half of the table that [`crate::CpuState::tlb_half`] names.
    #[inline(always)]
    #[must_use]
    pub fn read_in(&self, linear: u64, size: u64, half: usize) -> Option<HostPage> {
        let e = &self.tables.read[Tlb::index(linear, half)];
        if e.tag == (linear.wrapping_add(size - 1) & MASK) | self.tables.read_generation { Some(e.page) } else { None }
    }
    /// As `write`, in the half of the table that [`crate::CpuState::tlb_half`] names.
    #[inline(always)]
    #[must_use]
    pub fn write_in(&self, linear: u64, size: u64, half: usize) -> Option<HostPage> {
        let e = &self.tables.write[Tlb::index(linear, half)];
        if e.tag == (linear.wrapping_add(size - 1) & MASK) | self.tables.write_generation { Some(e.page) } else { None }
    }
    /// Enters a translation for reading.
    pub fn fill_read(&mut self, linear: u64, user: bool, page: HostPage) {
        self.tables.read[Self::slot(linear, user)] = Entry { tag: (linear & MASK) | self.tables.read_generation, page };
    }
    /// Enters a translation for writing.
    pub fn fill_write(&mut self, linear: u64, user: bool, page: HostPage) {
        self.tables.write[Self::slot(linear, user)] =
            Entry { tag: (linear & MASK) | self.tables.write_generation, page };
    }
    fn lasting_slot<const N: usize>(linear: u64, user: bool) -> usize {
        ((linear >> 12) as usize ^ usize::from(user) * N / 2) & (N - 1)
    }
    fn lasting(&self, e: &Lasting, linear: u64) -> Option<HostPage> {
        let generation = if e.is_global { self.global_generation } else { self.tables.read_generation };
        (e.tag == (linear & MASK) | generation).then_some(e.page)
    }
    /// The host page at `linear` as far as it is known without a walk, and whether it may be
    /// written to as far as paging is concerned. Pages with watchpoints never are in it.
    #[must_use]
    pub fn known(&self, linear: u64, user: bool) -> Option<(HostPage, bool)> {
        let e = &self.second[Tlb::lasting_slot::<SECOND>(linear, user)];
        self.lasting(e, linear).map(|page| (page, e.is_writable))
    }
    /// Remembers a translation for [`Tlb::known`]; `is_global` lets it outlive a load of CR3.
    pub fn learn(&mut self, linear: u64, user: bool, page: HostPage, is_writable: bool, is_global: bool) {
        // A read must not take away what a write has found out.
        let is_writable = is_writable || self.known(linear, user) == Some((page, true));
        let generation = if is_global { self.global_generation } else { self.tables.read_generation };
        self.second[Tlb::lasting_slot::<SECOND>(linear, user)] =
            Lasting { tag: (linear & MASK) | generation, page, is_writable, is_global };
    }
    /// The host page from which the instruction at `linear` is fetched, as far as it is known.
    #[must_use]
    pub fn execute(&self, linear: u64, user: bool) -> Option<HostPage> {
        self.lasting(&self.code[Tlb::lasting_slot::<CODE>(linear, user)], linear)
    }
    /// Remembers a translation for [`Tlb::execute`].
    pub fn fill_execute(&mut self, linear: u64, user: bool, page: HostPage, is_global: bool) {
        let generation = if is_global { self.global_generation } else { self.tables.read_generation };
        self.code[Tlb::lasting_slot::<CODE>(linear, user)] =
            Lasting { tag: (linear & MASK) | generation, page, is_writable: false, is_global };
    }
    /// Forgets everything.
    pub fn flush(&mut self) {
        self.global_generation += 1;
        if self.global_generation > 0xffe {
            self.second.fill(NEVER);
            self.code.fill(NEVER);
            self.global_generation = 0;
        }
        self.large = [0; 16];
        self.flush_local();
    }
    /// Forgets everything but global pages (a load of CR3 with CR4.PGE set).
    pub fn flush_local(&mut self) {
        self.flushes += 1;
        self.tables.read_generation += 1;
        if self.tables.read_generation > 0xffe {
            self.tables.read.fill(EMPTY);
            self.second.fill(NEVER);
            self.code.fill(NEVER);
            self.tables.read_generation = 0;
        }
        self.flush_writes();
    }
    /// Remembers that a page larger than 4 KiB maps `linear`.
    pub fn note_large(&mut self, linear: u64) {
        let region = (linear >> 22) as usize & 1023;
        self.large[region / 64] |= 1 << (region % 64);
    }
    /// Whether [`Tlb::flush_page`] may be too little for `linear`: a large page has been used
    /// near it since the last flush.
    #[must_use]
    pub fn is_large(&self, linear: u64) -> bool {
        let region = (linear >> 22) as usize & 1023;
        self.large[region / 64] >> (region % 64) & 1 != 0
    }
    /// Forgets all permissions to write.
    pub fn flush_writes(&mut self) {
        self.tables.write_generation += 1;
        if self.tables.write_generation > 0xffe {
            self.tables.write.fill(EMPTY);
            self.tables.write_generation = 0;
        }
    }
    /// Forgets the page of `linear` (INVLPG).
    pub fn flush_page(&mut self, linear: u64) {
        for user in [false, true] {
            self.tables.read[Self::slot(linear, user)] = EMPTY;
            self.tables.write[Self::slot(linear, user)] = EMPTY;
            self.second[Tlb::lasting_slot::<SECOND>(linear, user)] = NEVER;
            self.code[Tlb::lasting_slot::<CODE>(linear, user)] = NEVER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Backing, GuestMemory};

    #[test]
    fn hits_only_inside_the_page_and_generation() {
        let mut m = GuestMemory::new(1 << 20, 0, 0).unwrap();
        let ram = m.ram();
        m.map(0, 1 << 20, ram, 0, false);
        let Backing::Ram(page) = m.backing(0x5000) else { panic!() };
        let mut t = Tlb::new();
        t.fill_read(0x1234_5000, true, page);
        assert_eq!(t.read(0x1234_5ffc, 4, true), Some(page));
        assert_eq!(t.read(0x1234_5ffd, 4, true), None);
        assert_eq!(t.read(0x1234_5000, 4, false), None);
        assert_eq!(t.write(0x1234_5000, 4, true), None);
        for _ in 0..5000 {
            t.flush();
            assert_eq!(t.read(0x1234_5000, 4, true), None);
        }
    }
}
