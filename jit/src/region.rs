//! What is translated together: blocks that reach one another by direct jumps.

use crate::quick;
use crate::sse;
use crate::survey::{ALL, Span, Survey, Surveyor};
use cpu::core::Env;
use cpu::decode::{Decoded, Lowered, decode};
use cpu::insn::{Insn, Mnemonic};
use cpu::interpreter::tier::Place;
use cpu::memory::{HostPage, PAGE};
use cpu::semantics::Opcode;
use cpu::state::{CpuState, Mode};
use cpu::tlb::Tables;
use std::collections::{BTreeMap, BTreeSet};

/// Most instructions in a block.
const MAX_BLOCK: usize = 64;
/// Most instructions in a region.
const MAX_INSTRUCTIONS: usize = 200;
/// The same where everything is translated, and most blocks become regions of their own.
const MAX_OF_EVERYTHING: usize = 24;
/// Most pages that a region lies in.
const MAX_PAGES: usize = 4;
/// Most places that the end of a function compares its return address with.
const MAX_GUESSES: usize = 3;
/// Most places where a region can be entered.
const MAX_ENTRIES: usize = 8;

/// An instruction and its place in its block.
pub(crate) struct Step {
    pub(crate) insn: Insn,
    /// Instructions of the block behind this one.
    pub(crate) later: u32,
    /// Number of its first memory access.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for the quick translator"))]
    pub(crate) access: usize,
    pub(crate) survey: Survey,
    /// Flags that are needed behind it.
    pub(crate) live: u8,
}

/// Where control goes from the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// To a block of the region.
    Block(usize),
    /// Out of the region by the exit with this number.
    Exit(usize),
    /// There is no such edge.
    None,
}

/// A block of a region.
pub(crate) struct Block {
    pub(crate) ip: u64,
    pub(crate) steps: Vec<Step>,
    /// What the check of each of its memory accesses covers.
    pub(crate) spans: Vec<Span>,
    /// Where a return at its end may lead.
    pub(crate) guesses: Vec<usize>,
    /// The last instruction may have changed anything.
    pub(crate) slow_end: bool,
    /// Which of the region's pages it lies in, and which page its last instruction runs over into.
    pub(crate) page: usize,
    pub(crate) second: Option<usize>,
    /// Where a direct jump at the end leads, and where it goes on without one.
    pub(crate) taken: Edge,
    pub(crate) fall: Edge,
    /// Number of edges that lead to it from inside the region.
    pub(crate) ways_in: usize,
    /// It can be entered from outside.
    pub(crate) is_entry: bool,
    /// Flags that are needed at its beginning.
    pub(crate) live: u8,
    /// Registers that may differ from their place in memory at its beginning.
    pub(crate) dirty: u32,
}

/// A page of linear addresses that a region lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Number of the linear page.
    pub(crate) linear: u64,
    pub(crate) page: HostPage,
}

/// Code bytes: page, offset, length.
pub(crate) type Bytes = (HostPage, u16, u16);

/// A region as it is to be translated.
pub(crate) struct Region {
    /// Where it begins.
    pub(crate) place: Place,
    /// The first is the one that became hot; the order is that of translation.
    pub(crate) blocks: Vec<Block>,
    /// Blocks that can be entered from outside, the first being block 0.
    pub(crate) entries: Vec<usize>,
    /// Targets of the exits.
    pub(crate) exits: Vec<u64>,
    pub(crate) pages: Vec<Page>,
    pub(crate) bytes: Vec<Bytes>,
    /// Number of instructions.
    pub(crate) instructions: usize,
    /// It is for the quick translator, and surveyed so.
    pub(crate) is_quick: bool,
}

impl Region {
    /// Where the words have the first entry of the TLB for its accesses, of sixteen bytes each.
    pub(crate) fn tlb(&self, write: bool) -> usize {
        const { assert!(Tables::ENTRY == 16) };
        let half = if self.place.mode.has(Mode::USER) { Tables::HALF * Tables::ENTRY } else { 0 };
        half + if write { Tables::WRITE } else { Tables::READ }
    }
    /// The place of a block of this region.
    pub(crate) fn place_of(&self, block: usize) -> Place {
        let b = &self.blocks[block];
        let linear = b.ip.wrapping_add(self.place.base) & 0xffff_ffff;
        Place { page: self.pages[b.page].page, offset: (linear % PAGE) as u16, ip: b.ip, ..self.place }
    }
}

/// What there is of a place before it is explored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It has not run yet.
    No,
    /// It has.
    Ran,
    /// There is native code for it.
    Native,
}

/// What is found while exploring.
struct Found {
    lowered: Lowered,
    page: usize,
    second: Option<usize>,
}

struct Explorer<'a, 'e> {
    cpu: &'a CpuState,
    env: &'a mut Env<'e>,
    place: Place,
    known: &'a dyn Fn(&Place) -> Known,
    everything: bool,
    pages: Vec<Page>,
}

impl Explorer<'_, '_> {
    /// The page of the region that holds `ip`, and the offset in it; nothing that the guest could
    /// see happens.
    fn locate(&mut self, ip: u64) -> Option<(usize, usize)> {
        let linear = ip.wrapping_add(self.place.base) & 0xffff_ffff;
        let number = linear / PAGE;
        let offset = (linear % PAGE) as usize;
        if let Some(n) = self.pages.iter().position(|p| p.linear == number) {
            return Some((n, offset));
        }
        if self.pages.len() >= MAX_PAGES {
            return None;
        }
        let user = self.cpu.cpl == 3;
        let page = self.env.tlb.read(linear, 1, user).or_else(|| self.env.tlb.execute(linear, user))?;
        self.pages.push(Page { linear: number, page });
        Some((self.pages.len() - 1, offset))
    }
    /// Decodes the instruction at `ip` if all of it is at hand.
    fn decode(&mut self, ip: u64) -> Option<Found> {
        let limit = u64::from(self.place.limit);
        if ip > limit {
            return None;
        }
        let (page, offset) = self.locate(ip)?;
        let here = (PAGE as usize - offset).min(15).min((limit - ip + 1) as usize);
        let mut bytes = [0; 15];
        bytes[..here].copy_from_slice(&self.env.memory.page(self.pages[page].page)[offset..offset + here]);
        let (mode, model) = (self.place.mode, self.cpu.model);
        match decode(&bytes[..here], ip, mode, model) {
            Decoded::Insn(lowered) => Some(Found { lowered, page, second: None }),
            Decoded::Incomplete if offset + here == PAGE as usize => {
                let (second, zero) = self.locate(ip.wrapping_add(here as u64))?;
                if zero != 0 {
                    return None;
                }
                let more = (15 - here).min((limit - ip + 1) as usize - here);
                bytes[here..here + more].copy_from_slice(&self.env.memory.page(self.pages[second].page)[..more]);
                match decode(&bytes[..here + more], ip, mode, model) {
                    Decoded::Insn(lowered) => Some(Found { lowered, page, second: Some(second) }),
                    Decoded::Incomplete => None,
                }
            }
            Decoded::Incomplete => None,
        }
    }
    /// What there is of code at `ip`: what has not run is not worth translating.
    fn known(&mut self, ip: u64) -> Known {
        let Some((page, offset)) = self.locate(ip) else { return Known::No };
        let place = Place { page: self.pages[page].page, offset: offset as u16, ip, ..self.place };
        match (self.known)(&place) {
            Known::No if self.everything => Known::Ran,
            known => known,
        }
    }
}

/// Explores from `place`. `None`: there is nothing to translate.
pub(crate) fn explore(
    place: &Place,
    known: &dyn Fn(&Place) -> Known,
    everything: bool,
    cpu: &CpuState,
    env: &mut Env<'_>,
) -> Option<Region> {
    if place.mode.has(Mode::LONG) {
        return None;
    }
    let linear = place.ip.wrapping_add(place.base) & 0xffff_ffff;
    let pages = vec![Page { linear: linear / PAGE, page: place.page }];
    let most = if everything { MAX_OF_EVERYTHING } else { MAX_INSTRUCTIONS };
    let is_quick = quick::takes(place.mode, place.base);
    let mut x = Explorer { cpu, env, place: *place, known, everything, pages };
    let mut found: BTreeMap<u64, Found> = BTreeMap::new();
    let mut leaders = BTreeSet::from([place.ip]);
    // An interrupt's return may lead into the middle of a loop, which stays whole then: code from there to the end of
    // its block is there twice.
    let mut is_cut = false;
    let mut returns = BTreeSet::new();
    let mut heads = BTreeSet::new();
    let mut work = std::collections::VecDeque::from([place.ip]);
    while let Some(start) = work.pop_front() {
        let mut ip = start;
        loop {
            if found.contains_key(&ip) || found.len() >= most {
                break;
            }
            let Some(f) = x.decode(ip) else { break };
            let (i, ends, slow) = (f.lowered.insn, f.lowered.ends_block, f.lowered.slow_end);
            let crosses = f.second.is_some();
            found.insert(ip, f);
            let next = i.next_ip();
            if ends {
                let mut targets = Vec::new();
                match i.op {
                    _ if slow => targets.extend((is_quick && goes_on_behind(&i)).then_some(next)),
                    Opcode::Jcc | Opcode::Loop | Opcode::Loope | Opcode::Loopne | Opcode::Jcxz => {
                        targets.extend([next, i.imm]);
                    }
                    Opcode::JmpNear => targets.push(i.imm),
                    Opcode::CallNear => {
                        // Quick code of a function is made once, not in each region that calls it.
                        targets.extend((!is_quick).then_some(i.imm));
                        targets.push(next);
                        returns.insert(next);
                    }
                    Opcode::CallIndirect => {
                        targets.push(next);
                        returns.insert(next);
                    }
                    _ => {}
                }
                for target in targets {
                    if target <= ip && i.op != Opcode::CallNear {
                        heads.insert(target);
                    }
                    is_cut |= target == place.ip;
                    if target > u64::from(place.limit) || leaders.contains(&target) {
                        continue;
                    }
                    let is_wanted = match x.known(target) {
                        Known::No => false,
                        Known::Ran => true,
                        // Nor is quick code of anything else made again, where an exit that leads to it does as well:
                        // not on a way ahead over a jump, nor behind calls, to which this region's returns lead.
                        Known::Native => !is_quick || returns.contains(&target) || target > next,
                    };
                    if is_wanted {
                        leaders.insert(target);
                        work.push_back(target);
                    }
                }
                break;
            }
            // Where the interpreter begins a new block as well.
            if crosses || next.wrapping_add(place.base).is_multiple_of(PAGE) {
                is_cut |= next == place.ip;
                if next > ip && x.known(next) != Known::No && leaders.insert(next) {
                    work.push_back(next);
                }
                break;
            }
            if next <= ip {
                break;
            }
            ip = next;
        }
    }
    if !found.contains_key(&place.ip) {
        return None;
    }
    let Explorer { pages, .. } = x;
    // Cut into blocks at the leaders.
    let mut blocks: Vec<Block> = Vec::new();
    let mut index: BTreeMap<u64, usize> = BTreeMap::new();
    let starts: Vec<u64> = leaders.iter().copied().filter(|ip| found.contains_key(ip)).collect();
    let mut queue: std::collections::VecDeque<u64> = starts.into();
    let mut ends: Vec<(u64, Option<Lowered>)> = Vec::new();
    let mut bytes = Vec::new();
    while let Some(start) = queue.pop_front() {
        if index.contains_key(&start) {
            continue;
        }
        let (page, mut second) = (found[&start].page, None);
        let mut insns: Vec<Insn> = Vec::new();
        let mut ip = start;
        let mut last = None;
        while let Some(f) = found.get(&ip) {
            let is_leader = leaders.contains(&ip) && (is_cut || ip != place.ip);
            if ip != start && (is_leader || f.page != page || f.second.is_some()) {
                break;
            }
            insns.push(f.lowered.insn);
            second = f.second;
            ip = f.lowered.insn.next_ip();
            if f.lowered.ends_block {
                last = Some(f.lowered);
                break;
            }
            if insns.len() == MAX_BLOCK || second.is_some() {
                break;
            }
        }
        if last.is_none() && found.contains_key(&ip) && leaders.insert(ip) {
            queue.push_back(ip);
        }
        let end = insns.last().map_or(start, |i| i.ip.wrapping_add(u64::from(i.len)));
        let offset = (start.wrapping_add(place.base) & 0xfff) as u16;
        let total = end.wrapping_sub(start) as u16;
        let here = total.min(PAGE as u16 - offset);
        bytes.push((pages[page].page, offset, here));
        if let Some(second) = second {
            bytes.push((pages[second].page, 0, total - here));
        }
        index.insert(start, blocks.len());
        ends.push((ip, last));
        let (steps, spans) = steps(&insns, place.mode, is_quick);
        blocks.push(Block {
            ip: start,
            steps,
            spans,
            guesses: Vec::new(),
            slow_end: last.is_some_and(|l| l.slow_end),
            page,
            second,
            taken: Edge::None,
            fall: Edge::None,
            ways_in: 0,
            is_entry: false,
            live: ALL,
            dirty: 0,
        });
    }
    let mut exits = Vec::new();
    let mut edge = |ip: u64| match index.get(&ip) {
        Some(&block) => Edge::Block(block),
        None => {
            exits.push(ip);
            Edge::Exit(exits.len() - 1)
        }
    };
    for (block, (next, last)) in blocks.iter_mut().zip(&ends) {
        let Some(last) = last else {
            block.fall = edge(*next);
            continue;
        };
        if last.slow_end {
            if is_quick && goes_on_behind(&last.insn) {
                block.fall = edge(*next);
            }
            continue;
        }
        match last.insn.op {
            Opcode::Jcc | Opcode::Loop | Opcode::Loope | Opcode::Loopne | Opcode::Jcxz => {
                block.taken = edge(last.insn.imm);
                block.fall = edge(last.insn.next_ip());
            }
            Opcode::JmpNear | Opcode::CallNear => block.taken = edge(last.insn.imm),
            _ => {}
        }
    }
    guess(&mut blocks, &index);
    let order = order(&blocks, index[&place.ip], returns.iter().chain(&heads).filter_map(|ip| index.get(ip).copied()));
    let mut region = Region {
        place: *place,
        blocks: Vec::new(),
        entries: Vec::new(),
        exits,
        pages,
        bytes,
        instructions: blocks.iter().map(|b| b.steps.len()).sum(),
        is_quick,
    };
    let mut number = vec![usize::MAX; blocks.len()];
    for (n, &old) in order.iter().enumerate() {
        number[old] = n;
    }
    let mut slots: Vec<Option<Block>> = blocks.into_iter().map(Some).collect();
    for old in order {
        let Some(mut block) = slots[old].take() else { continue };
        for edge in [&mut block.taken, &mut block.fall] {
            if let Edge::Block(to) = edge {
                *to = number[*to];
            }
        }
        for to in &mut block.guesses {
            *to = number[*to];
        }
        region.blocks.push(block);
    }
    region.entries.push(0);
    for ip in returns.iter().chain(&heads) {
        if let Some(&old) = index.get(ip)
            && !region.entries.contains(&number[old])
            && region.entries.len() < MAX_ENTRIES
        {
            region.entries.push(number[old]);
        }
    }
    for n in region.entries.clone() {
        region.blocks[n].is_entry = true;
    }
    settle(&mut region);
    Some(region)
}

/// Whether control mostly goes on behind an instruction that may change anything, in the same mode.
fn goes_on_behind(i: &Insn) -> bool {
    use Mnemonic as M;
    let is = matches!(
        i.mnemonic,
        M::Mov
            | M::Pop
            | M::Popf
            | M::Popfd
            | M::Sti
            | M::In
            | M::Out
            | M::Rdtsc
            | M::Cpuid
            | M::Rdmsr
            | M::Wrmsr
            | M::Invlpg
            | M::Clts
            | M::Verr
            | M::Verw
            | M::Lar
            | M::Lsl
            | M::Lds
            | M::Les
            | M::Lfs
            | M::Lgs
    );
    is && i.next_ip() > i.ip
}

fn steps(insns: &[Insn], mode: Mode, is_quick: bool) -> (Vec<Step>, Vec<Span>) {
    let n = insns.len();
    let mut surveyor = Surveyor::new(mode, is_quick);
    let steps = insns
        .iter()
        .enumerate()
        .map(|(at, insn)| {
            let access = surveyor.accesses();
            Step { insn: *insn, later: (n - 1 - at) as u32, access, survey: surveyor.step(insn), live: ALL }
        })
        .collect();
    (steps, surveyor.spans())
}

/// Finds out where returns probably lead: behind the calls from which they are reached.
fn guess(blocks: &mut [Block], index: &BTreeMap<u64, usize>) {
    let calls: Vec<(usize, usize)> = blocks
        .iter()
        .filter_map(|b| {
            let last = &b.steps.last()?.insn;
            match (last.op, b.taken, index.get(&last.next_ip())) {
                (Opcode::CallNear, Edge::Block(callee), Some(&back)) => Some((callee, back)),
                _ => None,
            }
        })
        .collect();
    for (callee, back) in calls {
        let mut seen = vec![false; blocks.len()];
        let mut work = vec![callee];
        while let Some(at) = work.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let Some(last) = blocks[at].steps.last() else { continue };
            match last.insn.op {
                Opcode::Ret => {
                    let guesses = &mut blocks[at].guesses;
                    if guesses.len() < MAX_GUESSES && !guesses.contains(&back) {
                        guesses.push(back);
                    }
                }
                Opcode::CallNear | Opcode::CallIndirect => work.extend(index.get(&last.insn.next_ip())),
                _ => {
                    for edge in [blocks[at].taken, blocks[at].fall] {
                        if let Edge::Block(to) = edge {
                            work.push(to);
                        }
                    }
                }
            }
        }
    }
}

/// Reverse postorder from `first`, then from the other entries; blocks that are never reached from
/// there are none.
fn order(blocks: &[Block], first: usize, others: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut seen = vec![false; blocks.len()];
    let mut parts = Vec::new();
    for root in std::iter::once(first).chain(others).chain(0..blocks.len()) {
        if seen[root] {
            continue;
        }
        seen[root] = true;
        let mut post = Vec::new();
        let mut stack = vec![(root, 0)];
        while let Some((at, step)) = stack.pop() {
            // The way without a jump last, so that it comes next in the order.
            let next = match step {
                0 => blocks[at].taken,
                1 => blocks[at].fall,
                _ => {
                    post.push(at);
                    continue;
                }
            };
            stack.push((at, step + 1));
            if let Edge::Block(to) = next
                && !seen[to]
            {
                seen[to] = true;
                stack.push((to, 0));
            }
        }
        post.reverse();
        parts.extend(post);
    }
    parts
}

/// Works out which flags are needed and which registers may be dirty where.
fn settle(region: &mut Region) {
    for n in 0..region.blocks.len() {
        for edge in [region.blocks[n].taken, region.blocks[n].fall] {
            if let Edge::Block(to) = edge {
                region.blocks[to].ways_in += 1;
            }
        }
        for to in region.blocks[n].guesses.clone() {
            region.blocks[to].ways_in += 1;
        }
    }
    // Every edge between blocks may be where the budget ends: all flags are needed there.
    for block in &mut region.blocks {
        let mut live = ALL;
        for step in block.steps.iter_mut().rev() {
            step.live = live;
            live = live & !step.survey.defines | step.survey.needs;
        }
        block.live = live;
    }
    loop {
        let mut changed = false;
        for n in 0..region.blocks.len() {
            let block = &region.blocks[n];
            let mut dirty = block.dirty;
            for step in &block.steps {
                if step.insn.op == Opcode::Helper && !sse::is_native(&step.insn) {
                    dirty = 0;
                } else {
                    dirty |= step.survey.written;
                }
            }
            let ways = block.guesses.iter().map(|&to| Edge::Block(to));
            for edge in [block.taken, block.fall].into_iter().chain(ways).collect::<Vec<_>>() {
                if let Edge::Block(to) = edge {
                    let there = &mut region.blocks[to].dirty;
                    changed |= *there | dirty != *there;
                    *there |= dirty;
                }
            }
        }
        if !changed {
            break;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use cpu::Model;
    use cpu::bus::Bus;
    use cpu::interpreter::Ways;
    use cpu::memory::{Backing, GuestMemory};
    use cpu::state::{Attributes, Seg, Segment, cr0};
    use cpu::tlb::Tlb;

    pub(crate) struct Nobody;
    impl Bus for Nobody {}

    /// A processor in flat 32-bit mode.
    pub(crate) fn flat() -> CpuState {
        let mut cpu = CpuState::new(Model::PentiumM);
        cpu.cr0 |= cr0::PE;
        for seg in Seg::ALL {
            let attributes = Attributes(if seg == Seg::Cs { 0xc9b } else { 0xc93 });
            cpu.seg[seg as usize] = Segment::new(8, 0, u32::MAX, attributes, true);
        }
        cpu.update_mode();
        cpu
    }

    #[test]
    fn a_loop_entered_in_its_middle_stays_whole() {
        // 1000: inc ecx; mov eax, [esi]; cmp eax, ecx; jl 1000; hlt
        const CODE: [u8; 8] = [0x41, 0x8b, 0x06, 0x39, 0xc8, 0x7c, 0xf9, 0xf4];
        const BRANCH: u64 = 0x1005;
        let mut memory = GuestMemory::new(1 << 20, 0, 0).unwrap();
        let ram = memory.ram();
        memory.map(0, 1 << 20, ram, 0, false);
        memory.write(0x1000, &CODE);
        let Backing::Ram(page) = memory.backing(0x1000) else { panic!("no RAM") };
        let cpu = flat();
        let (mut bus, mut tlb, mut ways) = (Nobody, Tlb::new(), Ways::default());
        let mut env = Env::new(&mut memory, &mut bus, &mut tlb, &mut ways);
        // Where an interrupt returns to.
        let place = Place { page, offset: 5, mode: cpu.mode, limit: u32::MAX, ip: BRANCH, base: 0 };
        let region = explore(&place, &|_| Known::Ran, false, &cpu, &mut env).expect("there is something to translate");
        let steps = |ip| region.blocks.iter().find(|b| b.ip == ip).map(|b| b.steps.len());
        assert_eq!(steps(BRANCH), Some(1));
        assert_eq!(steps(0x1000), Some(4));
    }
}
