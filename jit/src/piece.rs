//! Quick code of a region as it can lie anywhere: in memory for code, or in a file.
//!
//! Host addresses are put into it last. All else that it depends on is the place, the guest's bytes, the processor's
//! model and the emulator itself.

use crate::context::Op;
use crate::region::{Page, Region};
use cpu::Model;
use cpu::decode::{Decoded, decode};
use cpu::interpreter::tier::Place;
use cpu::memory::{GuestMemory, PAGE};
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
    pub(crate) code: Vec<u8>,
}

/// Most guest bytes in a piece of code; what is longer is damaged.
const MAX_LENGTH: usize = 1 << 16;
const NO_PAGE: u8 = 0xff;

impl Piece {
    /// What was made of a region in flat code.
    pub(crate) fn new(region: &Region, model: Model, made: Made) -> Piece {
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
            code: made.code,
        }
    }
    /// The operations of the code, whose page are these, decoded again.
    pub(crate) fn decode(&self, pages: &[Page], memory: &GuestMemory) -> Option<Box<[Op]>> {
        let find = |linear: u64| pages.iter().find(|page| page.linear == linear).map(|page| page.page);
        let one = |&(ip, later): &(u32, u8)| {
            let ip = u64::from(ip);
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
        for &(page, offset, length) in &self.ranges {
            let (offset, length) = (usize::from(offset), usize::from(length));
            all.extend_from_slice(&memory.page(pages[usize::from(page)].page)[offset..offset + length]);
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
        for count in counts.into_iter().chain([self.fixups.len(), self.code.len(), guest.len()]) {
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
        let mut counts = [0; 8];
        for count in &mut counts {
            *count = r.word()? as usize;
        }
        let [n_pages, n_ranges, n_entries, n_exits, n_ops, n_fixups, n_code, n_guest] = counts;
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
        let piece = Piece { ip, mode, limit, model, instructions, pages, ranges, entries, exits, ops, fixups, code };
        is_good.then_some((piece, guest))
    }
    /// Whether it is for this place and model.
    pub(crate) fn is_for(&self, place: &Place, model: Model) -> bool {
        place.base == 0
            && u64::from(self.ip) == place.ip
            && self.mode == place.mode
            && self.limit == place.limit
            && self.model == model
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
