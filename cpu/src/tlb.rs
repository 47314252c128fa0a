//! The soft TLB: linear page to host page, with the permission to use it.

use crate::memory::{HostPage, PAGE};
use crate::watch::Watches;

/// Entries of each half of a table.
pub(crate) const ENTRIES: usize = 8192;
const MASK: u64 = !0xfff;

#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    /// Linear page address: what lies less than a page above it is in the page.
    tag: u64,
    page: HostPage,
}

/// No canonical address is less than a page above the tag.
const EMPTY: Entry = Entry { tag: 1 << 63, page: HostPage::NOWHERE };

/// Words at the start of [`Tables`] that the tables leave to an engine.
pub const ENGINE_WORDS: usize = 128 + 4 * 8192;

/// The tables themselves, laid out for native code that reads them: the words of the engine, the
/// entries for reading, the entries for writing; in each the supervisor's half first. An entry is a
/// tag, which is the linear page's address or no address, and the address of the host page.
#[repr(C, align(64))]
pub struct Tables {
    /// For the engine that owns the TLB; their address does not change while it lives.
    pub engine: [u64; ENGINE_WORDS],
    read: [Entry; ENTRIES * 2],
    write: [Entry; ENTRIES * 2],
}

impl Tables {
    /// Byte offset of the entries for reading.
    pub const READ: usize = std::mem::offset_of!(Tables, read);
    /// Byte offset of the entries for writing.
    pub const WRITE: usize = std::mem::offset_of!(Tables, write);
    /// Half the number of entries of a table, and the number of the first one for user code.
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
    /// Linear page address | generation, for global pages that of those; it never matches after a flush.
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
    /// Which entries have been filled since they were forgotten last.
    read_filled: Filled,
    write_filled: Filled,
    generation: u64,
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

/// Most entries that are forgotten one by one.
const FEW: usize = 512;

/// Numbers of entries that are not empty, as long as there are few.
#[derive(Default)]
struct Filled {
    entries: Vec<u16>,
    are_many: bool,
}

impl Filled {
    fn add(&mut self, entry: usize) {
        const { assert!(ENTRIES * 2 <= 1 << 16) };
        if self.entries.len() < FEW {
            self.entries.push(entry as u16);
        } else {
            self.are_many = true;
        }
    }
    fn clear(&mut self, table: &mut [Entry; ENTRIES * 2]) {
        if std::mem::take(&mut self.are_many) {
            table.fill(EMPTY);
        } else {
            for entry in &self.entries {
                table[usize::from(*entry)] = EMPTY;
            }
        }
        self.entries.clear();
    }
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
                read: [EMPTY; ENTRIES * 2],
                write: [EMPTY; ENTRIES * 2],
            }),
            second: table(NEVER),
            code: table(NEVER),
            read_filled: Filled::default(),
            write_filled: Filled::default(),
            generation: 0,
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
    /// User and supervisor never find one another's entries.
    #[inline(always)]
    fn index(linear: u64, half: usize) -> usize {
        ((linear >> 12) as usize & (ENTRIES - 1) | half) & (ENTRIES * 2 - 1)
    }
    fn slot(linear: u64, user: bool) -> usize {
        Tlb::index(linear, usize::from(user) * ENTRIES)
    }
    #[inline(always)]
    fn find(e: &Entry, linear: u64, size: u64) -> Option<HostPage> {
        (size <= PAGE && linear.wrapping_sub(e.tag) <= PAGE - size).then_some(e.page)
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
        Tlb::find(&self.tables.read[Tlb::index(linear, half)], linear, size)
    }
    /// As `write`, in the half of the table that [`crate::CpuState::tlb_half`] names.
    #[inline(always)]
    #[must_use]
    pub fn write_in(&self, linear: u64, size: u64, half: usize) -> Option<HostPage> {
        Tlb::find(&self.tables.write[Tlb::index(linear, half)], linear, size)
    }
    /// Enters a translation for reading.
    pub fn fill_read(&mut self, linear: u64, user: bool, page: HostPage) {
        let slot = Tlb::slot(linear, user);
        self.read_filled.add(slot);
        self.tables.read[slot] = Entry { tag: linear & MASK, page };
    }
    /// Enters a translation for writing.
    pub fn fill_write(&mut self, linear: u64, user: bool, page: HostPage) {
        let slot = Tlb::slot(linear, user);
        self.write_filled.add(slot);
        self.tables.write[slot] = Entry { tag: linear & MASK, page };
    }
    fn lasting_slot<const N: usize>(linear: u64, user: bool) -> usize {
        ((linear >> 12) as usize ^ usize::from(user) * N / 2) & (N - 1)
    }
    fn lasting(&self, e: &Lasting, linear: u64) -> Option<HostPage> {
        let generation = if e.is_global { self.global_generation } else { self.generation };
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
        let generation = if is_global { self.global_generation } else { self.generation };
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
        let generation = if is_global { self.global_generation } else { self.generation };
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
        self.generation += 1;
        if self.generation > 0xffe {
            self.second.fill(NEVER);
            self.code.fill(NEVER);
            self.generation = 0;
        }
        self.read_filled.clear(&mut self.tables.read);
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
        self.write_filled.clear(&mut self.tables.write);
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
    fn hits_only_inside_the_page_until_a_flush() {
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
