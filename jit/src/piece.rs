//! Quick code of a region as it can lie anywhere: in memory for code, or in a file.
//!
//! Host addresses are put into it last, and addresses of guest code are changed when that lies in other linear pages, as
//! a library does in each process. All else that it depends on is the offset in the page, the mode, the guest's bytes, the
//! processor's model and the emulator itself.

use crate::context::Op;
use crate::region::{Bytes, Page, Region};
use cpu::Model;
use cpu::decode::{Decoded, decode};
use cpu::interpreter::tier::Place;
use cpu::memory::{GuestMemory, HostPage, PAGE};
use cpu::state::Mode;

/// What an address in the code is that of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An operation, by its number among those that the code refers to.
    Op(u32),
    /// An exit.
    Exit(u32),
    /// The validity word of one of the region's pages.
    Cell(u32),
}

/// Eight bytes of the code that are to become an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fixup {
    pub(crate) at: u32,
    pub(crate) of: Target,
}

/// What the quick translator makes of a region.
pub(crate) struct Made {
    pub(crate) code: Vec<u8>,
    pub(crate) fixups: Vec<Fixup>,
    /// Where four bytes of the code are the address of guest code.
    pub(crate) ips: Vec<u32>,
    /// The operations that the code refers to: block, and number in the block.
    pub(crate) ops: Vec<(usize, usize)>,
    /// For each entry: where it begins for the engine, and for quick code.
    pub(crate) entries: Vec<(usize, usize)>,
}

/// A way into the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) ip: u32,
    /// Number of its page, and of the one that its first block runs over into.
    pub(crate) page: u8,
    pub(crate) second: Option<u8>,
    /// Offset in the code, for the engine and for quick code.
    pub(crate) code: u32,
    pub(crate) quick: u32,
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) ip: u32,
    pub(crate) mode: Mode,
    pub(crate) limit: u32,
    pub(crate) model: Model,
    /// Number of guest instructions.
    pub(crate) instructions: u32,
    /// Numbers of linear pages.
    pub(crate) pages: Vec<u32>,
    /// Guest code: number of the page, offset, length.
    pub(crate) ranges: Vec<(u8, u16, u16)>,
    /// The first begins at `ip`.
    pub(crate) entries: Vec<Way>,
    /// Targets of the exits.
    pub(crate) exits: Vec<u32>,
    /// The operations that the code refers to: IP, and instructions of the block behind it.
    pub(crate) ops: Vec<(u32, u8)>,
    pub(crate) fixups: Vec<Fixup>,
    /// Where four bytes of the code are the address of guest code.
    pub(crate) ips: Vec<u32>,
    pub(crate) code: Vec<u8>,
}

/// Most guest bytes in a piece of code; what is longer is damaged.
const MAX_LENGTH: usize = 1 << 16;
const NO_PAGE: u8 = 0xff;
/// The number of the first page of what is kept in files.
const HOME: u32 = 1 << 19;

impl Piece {
    /// What was made of a region in flat code.
    pub(crate) fn new(region: &Region, model: Model, mut made: Made) -> Piece {
        made.fixups.shrink_to_fit();
        made.ips.shrink_to_fit();
        let mut ranges = Vec::with_capacity(region.blocks.len());
        for b in &region.blocks {
            let end = b.steps.last().map_or(b.ip, |s| s.insn.ip.wrapping_add(u64::from(s.insn.len)));
            let (offset, total) = ((b.ip % PAGE) as u16, end.wrapping_sub(b.ip) as u16);
            let here = total.min(PAGE as u16 - offset);
            ranges.push((b.page as u8, offset, here));
            if let Some(second) = b.second {
                ranges.push((second as u8, 0, total - here));
            }
        }
        let entries = region.entries.iter().zip(&made.entries).map(|(&block, &(code, quick))| {
            let b = &region.blocks[block];
            let second = b.second.map(|page| page as u8);
            Way { ip: b.ip as u32, page: b.page as u8, second, code: code as u32, quick: quick as u32 }
        });
        let ops = made.ops.iter().map(|&(block, number)| {
            let step = &region.blocks[block].steps[number];
            (step.insn.ip as u32, step.later as u8)
        });
        Piece {
            ip: region.place.ip as u32,
            mode: region.place.mode,
            limit: region.place.limit,
            model,
            instructions: region.instructions as u32,
            pages: region.pages.iter().map(|page| page.linear as u32).collect(),
            ranges,
            entries: entries.collect(),
            exits: region.exits.iter().map(|&ip| ip as u32).collect(),
            ops: ops.collect(),
            fixups: made.fixups,
            ips: made.ips,
            code: made.code,
        }
    }
    /// The numbers of its pages when it begins `by` bytes, which are whole pages, behind where it was made for. `None`:
    /// not in one piece.
    fn numbers(&self, by: u32) -> Option<Vec<u32>> {
        let old = i64::from(*self.pages.first()?);
        let new = i64::from(self.ip.wrapping_add(by)) / PAGE as i64;
        let one = |&page: &u32| u32::try_from(i64::from(page) - old + new).ok().filter(|&page| page < 1 << 20);
        self.pages.iter().map(one).collect()
    }
    /// The same for guest code that begins in page [`HOME`]: what is made of the same code anywhere is the same there.
    pub(crate) fn at_home(&self) -> Option<Piece> {
        let by = HOME.wrapping_sub(*self.pages.first()?) * PAGE as u32;
        let mut piece = Piece { ip: self.ip.wrapping_add(by), pages: self.numbers(by)?, ..self.clone() };
        piece.entries.iter_mut().for_each(|way| way.ip = way.ip.wrapping_add(by));
        piece.exits.iter_mut().for_each(|ip| *ip = ip.wrapping_add(by));
        piece.ops.iter_mut().for_each(|(ip, _)| *ip = ip.wrapping_add(by));
        self.move_code(&mut piece.code, by);
        Some(piece)
    }
    /// Where its pages are when it begins `by` bytes, which are whole pages, behind where it was made for: the first at
    /// `first`, the others as `find` says of their linear addresses. `None`: not there.
    pub(crate) fn pages(
        &self,
        by: u32,
        first: HostPage,
        mut find: impl FnMut(u64) -> Option<HostPage>,
    ) -> Option<Vec<Page>> {
        let one = |(n, page): (usize, u32)| {
            let linear = u64::from(page);
            Some(Page { linear, page: if n == 0 { first } else { find(linear * PAGE)? } })
        };
        self.numbers(by)?.into_iter().enumerate().map(one).collect()
    }
    /// Its code for guest code that lies `by` bytes, which are whole pages, behind where `code` has it.
    pub(crate) fn move_code(&self, code: &mut [u8], by: u32) {
        for &at in &self.ips {
            if let Some(bytes) = code.get_mut(at as usize..).and_then(<[u8]>::first_chunk_mut) {
                *bytes = u32::from_le_bytes(*bytes).wrapping_add(by).to_le_bytes();
            }
        }
    }
    /// The guest code that it is made of, whose pages are these.
    pub(crate) fn bytes(&self, pages: &[Page]) -> impl Iterator<Item = Bytes> {
        self.ranges.iter().map(|&(page, offset, length)| (pages[usize::from(page)].page, offset, length))
    }
    /// The operations of the code, whose pages are these, decoded again.
    pub(crate) fn decode(&self, by: u32, pages: &[Page], memory: &GuestMemory) -> Option<Box<[Op]>> {
        let find = |linear: u64| pages.iter().find(|page| page.linear == linear).map(|page| page.page);
        let one = |&(ip, later): &(u32, u8)| {
            let ip = u64::from(ip.wrapping_add(by));
            let offset = (ip % PAGE) as usize;
            let here = (PAGE as usize - offset).min(15);
            let mut bytes = [0; 15];
            bytes[..here].copy_from_slice(&memory.page(find(ip / PAGE)?)[offset..offset + here]);
            let lowered = match decode(&bytes[..here], ip, self.mode, self.model) {
                Decoded::Insn(lowered) => lowered,
                Decoded::Incomplete => {
                    let second = find((ip / PAGE + 1) & 0xf_ffff)?;
                    bytes[here..].copy_from_slice(&memory.page(second)[..15 - here]);
                    match decode(&bytes, ip, self.mode, self.model) {
                        Decoded::Insn(lowered) => lowered,
                        Decoded::Incomplete => return None,
                    }
                }
            };
            Some(Op::new(lowered.insn, u32::from(later)))
        };
        self.ops.iter().map(one).collect()
    }
    /// The bytes of guest code as they are now.
    pub(crate) fn guest(&self, pages: &[Page], memory: &GuestMemory) -> Vec<u8> {
        let mut all = Vec::new();
        for (page, offset, length) in self.bytes(pages) {
            all.extend_from_slice(&memory.page(page)[usize::from(offset)..][..usize::from(length)]);
        }
        all
    }
    /// Writes everything down, with the bytes of guest code.
    pub(crate) fn write(&self, guest: &[u8]) -> Vec<u8> {
        let mut w = Vec::with_capacity(self.code.len() + guest.len() + 512);
        let mut word = |v: u32| w.extend_from_slice(&v.to_le_bytes());
        word(self.ip);
        word(u32::from(self.mode.0));
        word(self.limit);
        word(self.model as u32);
        word(self.instructions);
        let counts = [self.pages.len(), self.ranges.len(), self.entries.len(), self.exits.len(), self.ops.len()];
        for count in counts.into_iter().chain([self.fixups.len(), self.ips.len(), self.code.len(), guest.len()]) {
            word(count as u32);
        }
        self.pages.iter().for_each(|&page| word(page));
        for &(page, offset, length) in &self.ranges {
            word(u32::from(page));
            word(u32::from(offset) | u32::from(length) << 16);
        }
        for way in &self.entries {
            word(way.ip);
            word(u32::from(way.page) | u32::from(way.second.unwrap_or(NO_PAGE)) << 8);
            word(way.code);
            word(way.quick);
        }
        self.exits.iter().for_each(|&ip| word(ip));
        for &(ip, later) in &self.ops {
            word(ip);
            word(u32::from(later));
        }
        for fixup in &self.fixups {
            let (kind, n) = match fixup.of {
                Target::Op(n) => (0, n),
                Target::Exit(n) => (1, n),
                Target::Cell(n) => (2, n),
            };
            word(fixup.at);
            word(kind << 30 | n);
        }
        self.ips.iter().for_each(|&at| word(at));
        w.extend_from_slice(guest);
        w.extend_from_slice(&self.code);
        w
    }
    /// Reads what [`Piece::write`] has written, and the bytes of guest code. `None`: it is not that.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Piece, &[u8])> {
        let mut r = Reader(bytes);
        let (ip, mode, limit, model, instructions) = (r.word()?, r.word()?, r.word()?, r.word()?, r.word()?);
        let mode = Mode(u16::try_from(mode).ok()?);
        let model = *Model::ALL.iter().find(|m| **m as u32 == model)?;
        let mut counts = [0; 9];
        for count in &mut counts {
            *count = r.word()? as usize;
        }
        let [n_pages, n_ranges, n_entries, n_exits, n_ops, n_fixups, n_ips, n_code, n_guest] = counts;
        let pages = r.list(n_pages, |r| r.word().filter(|&page| page < 1 << 20))?;
        let is_page = |page: u8| usize::from(page) < n_pages;
        let ranges = r.list(n_ranges, |r| {
            let (page, range) = (u8::try_from(r.word()?).ok()?, r.word()?);
            let (offset, length) = (range as u16, (range >> 16) as u16);
            (is_page(page) && u64::from(offset) + u64::from(length) <= PAGE).then_some((page, offset, length))
        })?;
        let entries = r.list(n_entries, |r| {
            let (ip, pages, code, quick) = (r.word()?, r.word()?, r.word()?, r.word()?);
            let (page, second) = (pages as u8, (pages >> 8) as u8);
            let second = (second != NO_PAGE).then_some(second);
            let is_good =
                is_page(page) && second.is_none_or(is_page) && (code as usize) < n_code && (quick as usize) < n_code;
            is_good.then_some(Way { ip, page, second, code, quick })
        })?;
        let exits = r.list(n_exits, Reader::word)?;
        let ops = r.list(n_ops, |r| Some((r.word()?, u8::try_from(r.word()?).ok()?)))?;
        let fixups = r.list(n_fixups, |r| {
            let (at, of) = (r.word()?, r.word()?);
            let n = of & 0x3fff_ffff;
            let (of, count) = match of >> 30 {
                0 => (Target::Op(n), n_ops),
                1 => (Target::Exit(n), n_exits),
                _ => (Target::Cell(n), n_pages),
            };
            ((n as usize) < count && at as usize + 8 <= n_code).then_some(Fixup { at, of })
        })?;
        let ips = r.list(n_ips, |r| r.word().filter(|&at| at as usize + 4 <= n_code))?;
        let guest = r.bytes(n_guest)?;
        let code = r.bytes(n_code)?.to_vec();
        let sum: usize = ranges.iter().map(|&(.., length)| usize::from(length)).sum();
        let is_good = r.0.is_empty()
            && sum == n_guest
            && n_guest <= MAX_LENGTH
            && entries.first().is_some_and(|way| way.ip == ip)
            && pages.first() == Some(&(ip >> 12))
            && ranges.first().is_some_and(|&(page, offset, _)| page == 0 && u32::from(offset) == ip & 0xfff)
            && entries.iter().all(|way| pages[usize::from(way.page)] == way.ip >> 12);
        let piece =
            Piece { ip, mode, limit, model, instructions, pages, ranges, entries, exits, ops, fixups, ips, code };
        is_good.then_some((piece, guest))
    }
    /// How far behind where it was made for this place is; `None`: it is not for this place and model.
    pub(crate) fn by(&self, place: &Place, model: Model) -> Option<u32> {
        let is_for = place.base == 0
            && self.limit == u32::MAX
            && (self.mode, self.limit, self.model) == (place.mode, place.limit, model)
            && self.ip % PAGE as u32 == u32::from(place.offset);
        is_for.then_some((place.ip as u32).wrapping_sub(self.ip))
    }
    /// Whether the guest's code is still this.
    pub(crate) fn matches(&self, guest: &[u8], pages: &[Page], memory: &GuestMemory) -> bool {
        let mut rest = guest;
        self.ranges.iter().all(|&(page, offset, length)| {
            let Some((want, more)) = rest.split_at_checked(usize::from(length)) else { return false };
            rest = more;
            let Some(&page) = pages.get(usize::from(page)) else { return false };
            memory.page(page.page)[usize::from(offset)..].starts_with(want)
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(bytes)
    }
    fn word(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }
    /// No more memory is taken than there are bytes.
    fn list<T>(&mut self, n: usize, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        if n > self.0.len() {
            return None;
        }
        (0..n).map(|_| one(self)).collect()
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::quick;
    use crate::region::tests::{Nobody, flat};
    use crate::region::{Known, explore};
    use cpu::core::{Access, Core, Env};
    use cpu::interpreter::Ways;
    use cpu::memory::Backing;
    use cpu::state::cr4;
    use cpu::tlb::Tlb;

    /// What is in the code at two places, which is likely to be translated: a page and a half of random instructions, of
    /// which a few kinds come more often.
    fn program(seed: u64) -> Vec<u8> {
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 24) as u8
        };
        let mut code = Vec::new();
        while code.len() < 0x1800 {
            match random() % 16 {
                // CALL, JMP, Jcc, and PUSH of a constant, not far.
                0 => code.extend_from_slice(&[0xe8, random(), random() & 1, 0, 0]),
                1 => code.extend_from_slice(&[0x70 | random() & 15, random()]),
                2 => code.extend_from_slice(&[0x0f, 0x80 | random() & 15, random(), random() & 3, 0, 0]),
                3 => code.extend_from_slice(&[0x68, random(), random(), random(), random()]),
                // Indirect calls, returns, loops.
                4 => code.extend_from_slice(&[0xff, 0xd0 | random() & 7]),
                5 => code.push(if random() < 64 { 0xc3 } else { 0x50 | random() & 15 }),
                6 => code.extend_from_slice(&[0xe0 | random() & 3, random() | 0x80]),
                // x87 and SSE with memory.
                7 => code.extend_from_slice(&[0xd8 | random() & 7, 0x40 | random() & 0x3f, random()]),
                8 => code.extend_from_slice(&[0xd8 | random() & 7, 0xc0 | random() & 0x3f]),
                9 => code.extend_from_slice(&[0x0f, 0x50 | random() & 15, 0xc0 | random() & 0x3f]),
                // Arithmetic with registers, with memory, with constants.
                10 | 11 => code.extend_from_slice(&[random() & 0x3b, 0xc0 | random() & 0x3f]),
                12 => code.extend_from_slice(&[random() & 0x3b, 0x40 | random() & 0x3f, random(), random()]),
                13 => code.extend_from_slice(&[0x83, 0xc0 | random() & 0x3f, random()]),
                14 => code.extend_from_slice(&[0x0f, 0xa4 | random() & 0x1b, 0xc0 | random() & 0x3f, random()]),
                _ => code.push(random()),
            }
        }
        code
    }

    fn piece_at(ip: u64, code: &[u8], user: bool) -> Option<(Piece, HostPage)> {
        let mut memory = GuestMemory::new(1 << 20, 0, 0).ok()?;
        let ram = memory.ram();
        // The same memory everywhere.
        for start in (0..1u64 << 32).step_by(1 << 28) {
            memory.map(start, 1 << 20, ram, 0, false);
        }
        let physical = ip & 0xf_ffff;
        memory.write(physical, code);
        let mut cpu = flat();
        cpu.cr4 |= cr4::OSFXSR;
        cpu.cpl = if user { 3 } else { 0 };
        cpu.update_mode();
        let (mut bus, mut tlb, mut ways) = (Nobody, Tlb::new(), Ways::default());
        let mut env = Env::new(&mut memory, &mut bus, &mut tlb, &mut ways);
        for page in 0..4 {
            let linear = (ip & !0xfff) + page * PAGE;
            Core { cpu: &mut cpu, env: &mut env }.translate(linear, Access::Read, user).ok()?;
        }
        let Backing::Ram(page) = env.memory.backing(physical) else { return None };
        let place = Place { page, offset: (ip % PAGE) as u16, mode: cpu.mode, limit: u32::MAX, ip, base: 0 };
        let region = explore(&place, &|_| Known::Ran, false, &cpu, &mut env)?;
        let made = region.is_quick.then(|| quick::translate(&region))??;
        Some((Piece::new(&region, cpu.model, made), page))
    }

    #[test]
    fn code_that_is_moved_is_code_made_there() {
        let (mut pieces, mut addresses, mut crossing) = (0, 0, 0);
        for seed in 0..400 {
            let code = program(seed);
            let start = 0x1e00 + seed * 13 % 0x1f0;
            // There and back over the middle of the address space; the distance is in whole pages.
            let (here, there) = if seed % 2 == 0 { (start, start + 0xb000_7000) } else { (start + 0xb000_7000, start) };
            let Some((piece, first)) = piece_at(here, &code, seed % 3 == 0) else { continue };
            let (other, _) = piece_at(there, &code, seed % 3 == 0).expect("it is the same code");
            let by = (there as u32).wrapping_sub(here as u32);
            let mut moved = piece.code.clone();
            piece.move_code(&mut moved, by);
            assert!(moved == other.code, "{seed}: {here:x} moved to {there:x}");
            let shape =
                |p: &Piece| (p.ranges.clone(), p.fixups.clone(), p.ips.clone(), p.instructions, p.mode, p.limit);
            assert_eq!(shape(&piece), shape(&other));
            let far = |ips: &[u32]| ips.iter().map(|ip| ip.wrapping_add(by)).collect::<Vec<_>>();
            assert_eq!(far(&piece.exits), other.exits);
            assert_eq!(piece.ops.iter().map(|&(ip, n)| (ip.wrapping_add(by), n)).collect::<Vec<_>>(), other.ops);
            let ways = |p: &Piece, by| {
                p.entries.iter().map(|way| Way { ip: way.ip.wrapping_add(by), ..*way }).collect::<Vec<_>>()
            };
            assert_eq!(ways(&piece, by), ways(&other, 0));
            let pages = piece.pages(by, first, |_| Some(first)).expect("they are in the address space");
            assert_eq!(pages.iter().map(|page| page.linear as u32).collect::<Vec<_>>(), other.pages);
            pieces += 1;
            addresses += piece.ips.len();
            crossing += usize::from(piece.pages.len() > 1);
        }
        assert!(pieces > 200 && addresses > 20 * pieces && crossing > 20, "{pieces} {addresses} {crossing}");
    }

    #[test]
    fn pages_do_not_wrap() {
        let code = [0x40, 0x40, 0xeb, 0xfc];
        let (piece, first) = piece_at(0x5ffe, &code, false).expect("a loop");
        assert_eq!(piece.pages, [5, 6]);
        let at = |by: u32| piece.pages(by, first, |_| Some(first)).map(|pages| [pages[0].linear, pages[1].linear]);
        assert_eq!(at(0), Some([5, 6]));
        assert_eq!(at(0xffff_b000), Some([0, 1]));
        assert_eq!(at(0xd000_0000), Some([0xd0005, 0xd0006]));
        assert_eq!(at(0xffff_a000), None);
    }
}
