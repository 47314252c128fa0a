//! The interpreter: pre-decoded blocks of specialised handlers.
//!
//! It is the reference for every other engine and the tier in which code starts.

mod embers;
mod handlers;
pub mod tier;

use crate::bus::{Bus, Cycle};
use crate::core::{Access, Core, Env, Fault, INDIRECT, LEFT, Leave, SLOW};
use crate::decode::{Decoded, Lowered, MAX_LENGTH, decode};
use crate::engine::{Engine, Exit};
use crate::flags::bits;
use crate::hash::Map;
use crate::helpers::{debug, interrupts, string};
use crate::insn::Mnemonic;
use crate::memory::{Backing, CodeWrite, GuestMemory, HostPage, PAGE};
use crate::model::Model;
use crate::state::{Activity, CpuState, Exception, Mode, Seg, Shadow};
use crate::tlb::Tlb;
use crate::watch::{Watch, WatchHit};
use embers::Embers;
pub use handlers::Ways;
use handlers::{Chain, FUEL, Spare, Target, run_chains};
use tier::{Alone, Boundary, Native, Place, Tier};

/// Most operations in a block; bounds the depth of the handler chain.
const MAX_BLOCK: usize = 64;
/// Chains of dropped blocks kept before all links are given up.
const MAX_RETIRED: usize = 1024;
/// Entries of the table of contexts.
const CONTEXTS: usize = 64;
/// Blocks kept before the oldest are dropped. One is about a kilobyte.
const MAX_BLOCKS: usize = 28 << 10;
/// The same below a tier that has what is hot.
const MAX_COLD: usize = 9 << 10;
/// Ticks for which a block has run that is not kept for them.
const HARDLY: u32 = 16;

struct Block {
    /// `None` when it is no more.
    chain: Option<Chain>,
    /// The instruction runs over into this page, which must be checked at every entry.
    second: Option<HostPage>,
    key: Place,
    /// Bytes in the first page, and in the second.
    bytes: [u16; 2],
    /// How hot it was when there were too many blocks last.
    seen: u32,
}

impl Block {
    /// Offsets and numbers of the bytes that the block has in `page`, in up to two parts: both of
    /// a crossing instruction may lie in one page that is mapped twice.
    fn parts_in(&self, page: HostPage) -> impl Iterator<Item = (u32, u32)> {
        let first = (self.key.page == page).then_some((u32::from(self.key.offset), u32::from(self.bytes[0])));
        let second = (self.second == Some(page)).then_some((0, u32::from(self.bytes[1])));
        first.into_iter().chain(second)
    }
}

/// Bytes `first..end` of a page that a block was made of.
#[derive(Clone, Copy)]
struct Part {
    index: u32,
    first: u16,
    end: u16,
}

impl Part {
    /// Whether the block still is what it was: its number may have been given to another since.
    fn is_live(self, blocks: &[Block], page: HostPage) -> bool {
        let block = &blocks[self.index as usize];
        block.chain.is_some() && block.parts_in(page).any(|part| part == self.range())
    }
    fn range(self) -> (u32, u32) {
        (u32::from(self.first), u32::from(self.end - self.first))
    }
    fn meets(self, first: u32, end: u32) -> bool {
        u32::from(self.first) < end && first < u32::from(self.end)
    }
}

/// A code segment and mode, and the numbers that stand for it in links.
#[derive(Clone, Copy)]
struct Context {
    base: u64,
    limit: u32,
    mode: Mode,
    /// Void in another epoch of the code.
    epoch: u64,
    inside: u64,
    /// Void in another epoch of the translations.
    translations: u64,
    across: u64,
}

/// What an interpreter has done, for `--stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Blocks decoded.
    pub blocks: u64,
    /// Instructions decoded.
    pub decoded: u64,
    /// Blocks dropped because their code changed.
    pub invalidated: u64,
    /// Writes to code that blocks have taken over in place.
    pub patched: u64,
    /// Instructions run alone: shadows, traps, devices, self-modification, ends of budgets.
    pub stepped: u64,
    /// Exceptions and interrupts delivered.
    pub interrupts: u64,
}

/// A call before each instruction, for traces; see [`Interpreter::set_tracer`].
pub type Tracer = Box<dyn FnMut(&CpuState, &GuestMemory, TraceEvent) + Send>;

/// What a tracer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// The instruction at CS:RIP is about to be run.
    Instruction {
        /// Its bytes; the first `len` are valid.
        bytes: [u8; MAX_LENGTH],
        /// Its length.
        len: u8,
    },
    /// An exception is about to be delivered.
    Exception(Exception),
    /// An external interrupt is about to be delivered.
    Interrupt(u8),
}

/// The interpreting engine.
pub struct Interpreter {
    tlb: Option<Tlb>,
    blocks: Vec<Block>,
    free: Vec<u32>,
    /// The block that is dropped next when there are too many: round and round, about the oldest.
    oldest: usize,
    embers: Embers,
    map: Map<Place, u32>,
    pages: Map<HostPage, Vec<Part>>,
    ways: Option<Ways>,
    contexts: Box<[Context]>,
    /// The number that the next new context gets.
    next_context: u64,
    /// Rises when a block is dropped: no way to any block holds then.
    epoch: u64,
    /// The budget ends inside the block at hand: what is left is run one by one.
    is_short: bool,
    /// Chains of dropped blocks that links may still lead to.
    retired: Vec<Chain>,
    spare: Spare,
    /// For decoding, to keep the allocation.
    scratch: Vec<Lowered>,
    seen_map: u64,
    seen_writes: u64,
    counters: Counters,
    boundary: Boundary,
    tracer: Option<Tracer>,
    /// Linear addresses of the embedder's breakpoints, sorted. No block goes over one or begins at one.
    breakpoints: Vec<u64>,
    /// The breakpoint that was reported last, and when: at that moment it is passed.
    passed: (u64, u64),
}

impl Default for Interpreter {
    fn default() -> Self {
        Interpreter::new()
    }
}

/// What to do after looking at the world.
enum Next {
    Run,
    Step,
    Return(Exit),
}

fn linear_ip(cpu: &CpuState, ip: u64) -> u64 {
    let linear = cpu.segment(Seg::Cs).base.wrapping_add(ip);
    if cpu.mode.has(Mode::LONG) { linear } else { linear & 0xffff_ffff }
}

fn is_software_interrupt(mnemonic: Mnemonic) -> bool {
    matches!(mnemonic, Mnemonic::Int | Mnemonic::Int3 | Mnemonic::Into | Mnemonic::Int1)
}

impl Interpreter {
    /// An interpreter that knows no code yet.
    #[must_use]
    pub fn new() -> Interpreter {
        let void = Context { base: 0, limit: 0, mode: Mode(0), epoch: 0, inside: 0, translations: 0, across: 0 };
        Interpreter {
            tlb: Some(Tlb::new()),
            blocks: Vec::new(),
            free: Vec::new(),
            oldest: 0,
            embers: Embers::default(),
            map: Map::default(),
            pages: Map::default(),
            ways: Some(Ways::default()),
            contexts: vec![void; CONTEXTS].into_boxed_slice(),
            next_context: 1,
            epoch: 1,
            is_short: false,
            retired: Vec::new(),
            spare: Spare::default(),
            scratch: Vec::new(),
            seen_map: 0,
            seen_writes: 0,
            counters: Counters::default(),
            boundary: Boundary::default(),
            tracer: None,
            breakpoints: Vec::new(),
            passed: (0, u64::MAX),
        }
    }
    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { interrupts: self.boundary.delivered(), ..self.counters }
    }
    /// TLB misses and flushes so far.
    #[must_use]
    pub fn tlb_counters(&self) -> (u64, u64) {
        self.tlb.as_ref().map_or((0, 0), |t| (t.misses, t.flushes))
    }
    /// Runs one instruction at a time and tells `tracer` about each; `None` goes back to full speed.
    pub fn set_tracer(&mut self, tracer: Option<Tracer>) {
        self.tracer = tracer;
    }
    /// Stops before each instruction at one of these linear addresses: [`Engine::run`] returns
    /// [`Exit::Breakpoint`], and passes that instruction when it is called again at the same moment.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) {
        self.breakpoints = addresses.to_vec();
        self.breakpoints.sort_unstable();
        self.forget();
    }
    /// Stops behind each instruction that touches one of these ranges.
    pub fn set_watches(&mut self, ranges: Vec<Watch>) {
        self.tlb.get_or_insert_default().watches.set(ranges);
        self.forget();
    }
    /// What the last instructions have touched of the watched ranges.
    pub fn take_watch_hits(&mut self) -> Vec<WatchHit> {
        self.tlb.as_mut().map(|tlb| tlb.watches.take_hits()).unwrap_or_default()
    }
    fn is_breakpoint(&self, cpu: &CpuState, ip: u64) -> bool {
        !self.breakpoints.is_empty() && self.breakpoints.binary_search(&linear_ip(cpu, ip)).is_ok()
    }
    /// Whether to stop before the instruction at hand.
    fn meets_breakpoint(&mut self, cpu: &CpuState, ticks: u64) -> bool {
        let now = (linear_ip(cpu, cpu.rip), ticks);
        if now == self.passed || !self.is_breakpoint(cpu, cpu.rip) {
            return false;
        }
        self.passed = now;
        true
    }
    /// The last control transfers that were not direct jumps between known blocks: CS selector and
    /// IP of the code that was entered, oldest first.
    #[must_use]
    pub fn trail(&self) -> Vec<(u16, u64)> {
        self.boundary.trail()
    }
    /// The last exceptions delivered: vector, error code, CS and IP, oldest first.
    #[must_use]
    pub fn exceptions(&self) -> &[(u8, Option<u32>, u16, u64)] {
        self.boundary.exceptions()
    }

    /// Drops the oldest block that has hardly been run since the last time.
    fn drop_one(&mut self, ways: &mut Ways) {
        for _ in 0..=2 * self.blocks.len() {
            let at = self.oldest % self.blocks.len();
            self.oldest = at + 1;
            let block = &mut self.blocks[at];
            let Some(chain) = &block.chain else { continue };
            let heat = chain.heat();
            if heat <= block.seen.saturating_add(HARDLY) {
                return self.lay_by(at as u32, ways);
            }
            block.seen = heat;
        }
    }

    /// Drops a block that is right, but not needed.
    fn lay_by(&mut self, index: u32, ways: &mut Ways) {
        let block = &self.blocks[index as usize];
        if let Some(chain) = &block.chain {
            self.embers.keep(&block.key, chain.heat());
            self.retire(index, ways);
        }
    }

    /// Drops a block that is not right any more.
    fn kill(&mut self, index: u32, ways: &mut Ways) {
        self.counters.invalidated += u64::from(self.retire(index, ways));
    }

    /// Drops a block; false when it was dropped before.
    fn retire(&mut self, index: u32, ways: &mut Ways) -> bool {
        let block = &mut self.blocks[index as usize];
        let Some(mut chain) = block.chain.take() else { return false };
        self.map.remove(&block.key);
        self.free.push(index);
        chain.retire(ways);
        self.retired.push(chain);
        if self.retired.len() >= MAX_RETIRED {
            // Nothing leads to them any more in a new epoch.
            self.epoch += 1;
            for chain in self.retired.drain(..) {
                self.spare.put(chain);
            }
        }
        true
    }

    /// Remembers that a block has bytes in `page`.
    fn note_part(&mut self, page: HostPage, part: Part) {
        let list = self.pages.entry(page).or_default();
        if list.len() == list.capacity() {
            // Before it grows: blocks that ended because of another page are still in it, some of
            // which have come back.
            list.retain(|part| part.is_live(&self.blocks, page));
            list.sort_unstable_by_key(|part| (part.index, part.first));
            list.dedup_by_key(|part| (part.index, part.first));
            list.shrink_to(2 * list.len() + 4);
            list.reserve(list.len() + 4);
        }
        list.push(part);
    }

    /// Changes blocks in place whose code was overwritten, if they are all that a write has hit and
    /// their instructions are still the same but for immediates and the like.
    fn patch(&mut self, write: CodeWrite, model: Model, memory: &GuestMemory) -> bool {
        let CodeWrite { page, offset, length } = write;
        let Some(list) = self.pages.get(&page) else { return false };
        let mut is_hit = false;
        for part in list.iter().filter(|part| part.meets(offset, offset + length)) {
            let is_live = part.is_live(&self.blocks, page);
            let block = &mut self.blocks[part.index as usize];
            let Some(chain) = block.chain.as_mut().filter(|_| is_live && block.second.is_none()) else { return false };
            let code = &memory.page(page)[usize::from(part.first)..usize::from(part.end)];
            let first = offset.saturating_sub(u32::from(part.first));
            let end = offset + length - u32::from(part.first);
            if !chain.patch(code, u64::from(first), u64::from(end), block.key.mode, model) {
                return false;
            }
            is_hit = true;
        }
        is_hit
    }

    /// Drops or changes the blocks whose code was overwritten.
    fn apply_code_writes<T: Tier>(&mut self, tier: &mut T, model: Model, memory: &mut GuestMemory, ways: &mut Ways) {
        while let Some(write) = memory.take_code_write() {
            if self.patch(write, model, memory) {
                self.counters.patched += 1;
                tier.overwritten(write, true, memory);
                continue;
            }
            let CodeWrite { page, offset, length } = write;
            let mut list = self.pages.get_mut(&page).map(std::mem::take).unwrap_or_default();
            // The bytes whose marks are looked at again.
            let (mut first, mut end) = (offset, offset + length);
            let mut is_hit = false;
            list.retain(|part| {
                if !part.meets(offset, offset + length) {
                    return true;
                }
                if part.is_live(&self.blocks, page) {
                    self.kill(part.index, ways);
                    is_hit = true;
                }
                first = first.min(u32::from(part.first));
                end = end.max(u32::from(part.end));
                false
            });
            if !is_hit {
                // Marks of blocks that have gone another way: none of those may stay.
                list.retain(|part| part.is_live(&self.blocks, page));
                (first, end) = (0, PAGE as u32);
            }
            if list.is_empty() {
                memory.unmark_code(page);
            } else {
                memory.unmark_bytes(page, u64::from(first), u64::from(end - first));
                for part in list.iter().filter(|part| part.meets(first, end)) {
                    let (first, length) = part.range();
                    memory.mark_code(page, u64::from(first), u64::from(length));
                }
            }
            if let Some(place) = self.pages.get_mut(&page) {
                *place = list;
            }
            tier.overwritten(write, false, memory);
        }
    }
}

/// Bytes of code at an IP, and where they come from.
struct Fetched {
    bytes: [u8; MAX_LENGTH],
    len: usize,
    /// Host page and offset of the first byte; `None` when it is not memory.
    first: Option<(HostPage, u16)>,
}

/// Fetches up to 15 bytes at `ip`, but not beyond the page.
fn fetch(core: &mut Core<'_, '_>, ip: u64) -> Result<Fetched, Fault> {
    let cs = core.cpu.segment(Seg::Cs);
    let long = core.cpu.mode.has(Mode::LONG);
    if !long && ip > u64::from(cs.limit) {
        return Err(core.protection(0));
    }
    let in_segment = if long { u64::MAX } else { u64::from(cs.limit) - ip + 1 };
    let linear = core.wrap_linear(cs.base.wrapping_add(ip));
    let user = core.cpu.cpl == 3;
    if let Some(page) = core.env.tlb.execute(linear, user) {
        let offset = (linear % PAGE) as usize;
        let len = (PAGE as usize - offset).min(MAX_LENGTH);
        let len = (len as u64).min(in_segment) as usize;
        let mut bytes = [0; MAX_LENGTH];
        bytes[..len].copy_from_slice(&core.env.memory.page(page)[offset..offset + len]);
        return Ok(Fetched { bytes, len, first: Some((page, offset as u16)) });
    }
    let physical = core.translate(linear, Access::Execute, user)?;
    let len = (PAGE - linear % PAGE).min(in_segment).min(MAX_LENGTH as u64) as usize;
    let mut bytes = [0; MAX_LENGTH];
    let first = match core.env.memory.backing(physical) {
        Backing::Ram(page) | Backing::Rom(page) => {
            let offset = (physical % PAGE) as usize;
            bytes[..len].copy_from_slice(&core.env.memory.page(page)[offset..offset + len]);
            Some((page, offset as u16))
        }
        Backing::Mmio => {
            for (n, byte) in bytes[..len].iter_mut().enumerate() {
                *byte = core.physical_read(physical + n as u64, crate::state::Width::Byte) as u8;
            }
            None
        }
    };
    Ok(Fetched { bytes, len, first })
}

/// Decodes the one instruction at `ip`. The second value is the page that it runs over into.
fn fetch_one(core: &mut Core<'_, '_>, ip: u64) -> Result<(Lowered, Fetched, Option<HostPage>), Fault> {
    let mut f = fetch(core, ip)?;
    let (mode, model) = (core.cpu.mode, core.cpu.model);
    if let Decoded::Insn(lowered) = decode(&f.bytes[..f.len], ip, mode, model) {
        return Ok((lowered, f, None));
    }
    // The instruction goes on in the next page, or the segment ends inside it.
    let mask = match model {
        // IP wraps.
        Model::I8086 => 0xffff,
        _ if mode.has(Mode::LONG) => u64::MAX,
        _ => 0xffff_ffff,
    };
    let more = fetch(core, ip.wrapping_add(f.len as u64) & mask)?;
    let n = more.len.min(MAX_LENGTH - f.len);
    f.bytes[f.len..f.len + n].copy_from_slice(&more.bytes[..n]);
    f.len += n;
    match decode(&f.bytes[..f.len], ip, mode, model) {
        Decoded::Insn(lowered) => Ok((lowered, f, more.first.map(|(page, _)| page))),
        Decoded::Incomplete => Err(core.protection(0)),
    }
}

impl Interpreter {
    /// Finds or decodes the block at the current IP.
    fn block_at<T: Tier>(&mut self, tier: &mut T, cpu: &mut CpuState, env: &mut Env<'_>) -> Result<Option<u32>, Fault> {
        let (ip, mode) = (cpu.rip, cpu.mode);
        let mut core = Core { cpu, env };
        let linear = core.wrap_linear(core.cpu.segment(Seg::Cs).base.wrapping_add(ip));
        let f = fetch(&mut core, ip)?;
        let Some((page, offset)) = f.first else { return Ok(None) };
        if self.is_breakpoint(core.cpu, ip) {
            return Ok(None);
        }
        let cs = core.cpu.segment(Seg::Cs);
        let key = Place { page, offset, mode, limit: cs.limit, ip, base: cs.base };
        if let Some(&index) = self.map.get(&key) {
            if let Some(second) = self.blocks[index as usize].second {
                // Check that the code still goes on in the same page.
                let next = fetch(&mut core, ip.wrapping_add(PAGE - linear % PAGE))?;
                if next.first.map(|(page, _)| page) != Some(second) {
                    self.kill(index, core.env.ways);
                    return self.block_at(tier, core.cpu, core.env);
                }
            }
            return Ok(Some(index));
        }
        if self.map.len() >= if T::ACTIVE { MAX_COLD } else { MAX_BLOCKS } {
            self.drop_one(core.env.ways);
        }
        // Of what the upper tier has code for, the block is but the first instruction.
        let native = if T::ACTIVE { tier.find(&key, core.cpu, core.env) } else { 0 };
        let mut ops = std::mem::take(&mut self.scratch);
        ops.clear();
        let mut at = ip;
        let mut left = PAGE - linear % PAGE;
        let mut second = None;
        let model = core.cpu.model;
        let segment_left = u64::from(core.cpu.segment(Seg::Cs).limit).wrapping_sub(ip).wrapping_add(1);
        let in_segment = if mode.has(Mode::LONG) { left } else { left.min(segment_left) };
        let start = usize::from(offset);
        loop {
            let used = at.wrapping_sub(ip);
            let bytes = &core.env.memory.page(page)[start + used as usize..start + in_segment as usize];
            let lowered = match decode(bytes, at, mode, model) {
                Decoded::Insn(lowered) => lowered,
                // It may wrap around its segment: not a block.
                Decoded::Incomplete if ops.is_empty() && model == Model::I8086 => return Ok(None),
                Decoded::Incomplete if ops.is_empty() => {
                    let (lowered, _, page) = fetch_one(&mut core, ip)?;
                    second = page;
                    lowered
                }
                Decoded::Incomplete => break,
            };
            ops.push(lowered);
            let len = u64::from(lowered.insn.len);
            at = lowered.insn.next_ip();
            if lowered.ends_block || native != 0 {
                break;
            }
            left = left.saturating_sub(len);
            // The 8086 wraps IP, and a fresh block looks at limits and pages anew.
            if ops.len() == MAX_BLOCK || left == 0 || second.is_some() || at != ip.wrapping_add(used).wrapping_add(len)
            {
                break;
            }
            if at.wrapping_sub(ip) >= in_segment || self.is_breakpoint(core.cpu, at) {
                break;
            }
        }
        self.counters.blocks += 1;
        self.counters.decoded += ops.len() as u64;
        let total = at.wrapping_sub(ip).max(1);
        let here = total.min(PAGE - u64::from(offset));
        let beyond = if second.is_some() { total - here } else { 0 };
        core.env.memory.mark_code(page, u64::from(offset), here);
        if let Some(second) = second {
            core.env.memory.mark_code(second, 0, beyond);
        }
        let bytes = [here as u16, beyond as u16];
        let mut chain = Chain::new(&ops, second.is_some(), &mut self.spare);
        self.scratch = ops;
        if T::ACTIVE
            && let Some(chain) = &mut chain
        {
            match native {
                0 => _ = chain.target().warm(self.embers.take(&key)),
                native => chain.set_native(native),
            }
        }
        let seen = chain.as_ref().map_or(0, Chain::heat);
        let block = Block { chain, second, key, bytes, seen };
        let index = match self.free.pop() {
            Some(index) => {
                self.blocks[index as usize] = block;
                index
            }
            None => {
                self.blocks.push(block);
                (self.blocks.len() - 1) as u32
            }
        };
        self.map.insert(key, index);
        self.note_part(page, Part { index, first: offset, end: offset + here as u16 });
        if let Some(second) = second {
            self.note_part(second, Part { index, first: 0, end: beyond as u16 });
        }
        if core.env.memory.write_epoch() != self.seen_writes {
            self.seen_writes = core.env.memory.write_epoch();
            core.env.tlb.flush_writes();
        }
        Ok(Some(index))
    }

    /// Delivers what `env.leave` says, or asks for a single step.
    fn resolve(&mut self, cpu: &mut CpuState, env: &mut Env<'_>) -> Option<Next> {
        match env.leave {
            Leave::Exception(exception) => {
                self.deliver(cpu, env, exception);
                None
            }
            Leave::Step => Some(Next::Step),
            Leave::Again => None,
        }
    }

    fn deliver(&mut self, cpu: &mut CpuState, env: &mut Env<'_>, exception: Exception) {
        if let Some(t) = &mut self.tracer {
            t(cpu, env.memory, TraceEvent::Exception(exception));
        }
        self.boundary.deliver(cpu, env, exception);
    }

    /// Looks at everything that can stand between two instructions.
    fn look<T: Tier>(&mut self, tier: &mut T, cpu: &mut CpuState, env: &mut Env<'_>) -> Next {
        loop {
            if env.tlb.watches.has_hits() {
                return Next::Return(Exit::Breakpoint);
            }
            self.boundary.settle(env);
            if env.memory.map_epoch() != self.seen_map {
                self.seen_map = env.memory.map_epoch();
                env.tlb.flush();
                self.boundary.changed();
            }
            if env.memory.write_epoch() != self.seen_writes {
                self.seen_writes = env.memory.write_epoch();
                env.tlb.flush_writes();
            }
            if env.memory.has_code_writes() {
                self.apply_code_writes(tier, cpu.model, env.memory, env.ways);
            }
            if env.bus.attention() {
                return Next::Return(Exit::Attention);
            }
            if cpu.activity == Activity::Shutdown {
                return Next::Return(Exit::TripleFault);
            }
            if env.remaining <= 0 {
                return Next::Return(Exit::BudgetSpent);
            }
            if cpu.nmi_pending && !cpu.nmi_blocked && cpu.shadow != Shadow::MovSs {
                cpu.nmi_pending = false;
                cpu.nmi_blocked = true;
                self.external(cpu, env, 2);
                continue;
            }
            if cpu.intr && cpu.flag(bits::IF) && cpu.shadow == Shadow::None {
                let ticks = env.end_ticks.wrapping_sub(env.remaining as u64);
                if let Some(vector) = env.bus.acknowledge_interrupt(Cycle { memory: env.memory, ticks }) {
                    self.external(cpu, env, vector);
                }
                // The board's request line may have changed with the acknowledge.
                if env.bus.attention() {
                    return Next::Return(Exit::Attention);
                }
                cpu.intr = false;
                continue;
            }
            if cpu.activity == Activity::Halted {
                return Next::Return(Exit::Halted);
            }
            if !self.breakpoints.is_empty()
                && self.meets_breakpoint(cpu, env.end_ticks.wrapping_sub(env.remaining as u64))
            {
                return Next::Return(Exit::Breakpoint);
            }
            if cpu.shadow != Shadow::None || debug::needs_stepping(cpu) || self.tracer.is_some() {
                return Next::Step;
            }
            return Next::Run;
        }
    }

    fn external(&mut self, cpu: &mut CpuState, env: &mut Env<'_>, vector: u8) {
        if let Some(t) = &mut self.tracer {
            t(cpu, env.memory, TraceEvent::Interrupt(vector));
        }
        cpu.activity = Activity::Running;
        env.stepping = true;
        interrupts::external(&mut Core { cpu, env }, vector);
        env.stepping = false;
        self.boundary.count(cpu);
    }

    /// Runs exactly one instruction, with all that can only be done that way: traps,
    /// breakpoints, shadows, devices, stores to code.
    fn step(&mut self, cpu: &mut CpuState, env: &mut Env<'_>) {
        self.counters.stepped += 1;
        let shadow = std::mem::take(&mut cpu.shadow);
        let mut trap = cpu.flag(bits::TF);
        if shadow != Shadow::MovSs
            && let Some(exception) = debug::code_breakpoint(&mut Core { cpu, env })
        {
            env.remaining -= 1;
            return self.deliver(cpu, env, exception);
        }
        env.stepping = true;
        env.remaining -= 1;
        let ip = cpu.rip;
        // The table of fetches learns the pages of this instruction, so they count as entered.
        let linear = linear_ip(cpu, ip);
        self.boundary.note_entry(linear);
        self.boundary.note_entry(linear.wrapping_add(MAX_LENGTH as u64 - 1));
        let fetched = fetch_one(&mut Core { cpu, env }, ip);
        match fetched {
            Ok((lowered, f, second)) => {
                if string::may_overwrite_itself(&lowered.insn) {
                    self.mark_instruction(&lowered, &f, second, env);
                }
                if let Some(t) = &mut self.tracer {
                    t(cpu, env.memory, TraceEvent::Instruction { bytes: f.bytes, len: lowered.insn.len });
                }
                let rf = cpu.flag(bits::RF);
                Chain::run_alone(&lowered, cpu, env);
                if env.successor != LEFT {
                    // A software interrupt has cleared TF, and with it the trap.
                    trap &= !is_software_interrupt(lowered.insn.mnemonic) || cpu.flag(bits::TF);
                    // RF lasts for one instruction; IRET and task switches set it anew.
                    if rf && !lowered.slow_end {
                        cpu.system_flags &= !bits::RF;
                    }
                }
            }
            Err(_) => env.successor = LEFT,
        }
        env.stepping = false;
        if env.successor == LEFT {
            match env.leave {
                Leave::Exception(exception) => return self.deliver(cpu, env, exception),
                Leave::Again | Leave::Step => {}
            }
        }
        self.trap(cpu, env, trap);
    }

    /// Marks the bytes of an instruction that is about to run outside a block as code, so that it is told of stores
    /// to them.
    fn mark_instruction(&mut self, lowered: &Lowered, f: &Fetched, second: Option<HostPage>, env: &mut Env<'_>) {
        let Some((page, offset)) = f.first else { return };
        let (offset, length) = (u64::from(offset), u64::from(lowered.insn.len));
        let here = length.min(PAGE - offset);
        env.memory.mark_code(page, offset, here);
        if let Some(second) = second {
            env.memory.mark_code(second, 0, length - here);
        }
        if env.memory.write_epoch() != self.seen_writes {
            self.seen_writes = env.memory.write_epoch();
            env.tlb.flush_writes();
        }
    }

    /// Delivers the debug traps that the instruction just run has left; `single_step` says that TF
    /// was set when it began.
    fn trap(&mut self, cpu: &mut CpuState, env: &mut Env<'_>, single_step: bool) {
        if (single_step || cpu.pending_debug != 0)
            && cpu.shadow != Shadow::MovSs
            && let Some(exception) = debug::after_instruction(&mut Core { cpu, env }, single_step)
        {
            self.deliver(cpu, env, exception);
        }
    }

    fn loop_<T: Tier>(&mut self, tier: &mut T, cpu: &mut CpuState, env: &mut Env<'_>) -> Exit {
        loop {
            match self.look(tier, cpu, env) {
                Next::Run if !self.is_short => {}
                Next::Run | Next::Step => {
                    self.step(cpu, env);
                    continue;
                }
                Next::Return(exit) => {
                    self.is_short = false;
                    return exit;
                }
            }
            // From here on only plain code runs, until something makes us look again.
            if T::ACTIVE {
                tier.collect(|place, native| self.install(place, native, env.ways));
            }
            self.set_context(cpu, env);
            let mut target = match self.enter(tier, cpu, env) {
                Ok(Some(target)) => target,
                Ok(None) => {
                    self.step(cpu, env);
                    continue;
                }
                Err(_) => {
                    env.remaining -= 1;
                    if let Some(Next::Step) = self.resolve(cpu, env) {
                        self.step(cpu, env);
                    }
                    continue;
                }
            };
            let mut before = env.remaining;
            loop {
                if T::ACTIVE {
                    let ticks = before.saturating_sub(env.remaining).clamp(1, FUEL) as u32;
                    before = env.remaining;
                    if target.native() == 0 && target.warm(ticks) >= tier.threshold() {
                        self.heat_up(tier, target, cpu, env);
                    }
                    let native = target.native();
                    if native != 0 {
                        match self.run_native(tier, native, cpu, env) {
                            Native::Ran if env.successor == SLOW => {
                                self.trap(cpu, env, false);
                                break;
                            }
                            Native::Ran if env.successor == LEFT => {
                                if let Some(Next::Step) = self.resolve(cpu, env) {
                                    self.step(cpu, env);
                                }
                                break;
                            }
                            Native::Short => {
                                self.is_short = env.remaining > 0;
                                break;
                            }
                            Native::Step => {
                                self.step(cpu, env);
                                break;
                            }
                            ran @ (Native::Ran | Native::None) => {
                                before = env.remaining;
                                let next = if tier.is_unsure() {
                                    self.enter_anew(tier, cpu, env)
                                } else {
                                    self.enter(tier, cpu, env)
                                };
                                let Ok(Some(next)) = next else { break };
                                target = next;
                                // There may be other native code now. No chain has been left that leads there.
                                if ran == Native::Ran || target.native() != 0 {
                                    continue;
                                }
                            }
                        }
                    }
                }
                if env.remaining < target.cost() {
                    self.is_short = env.remaining > 0;
                    break;
                }
                run_chains(target, cpu, env);
                let exit = env.successor;
                if exit > INDIRECT {
                    if exit == SLOW {
                        self.trap(cpu, env, false);
                    } else if let Some(Next::Step) = self.resolve(cpu, env) {
                        self.step(cpu, env);
                    }
                    break;
                }
                let epoch = self.epoch;
                let Ok(Some(next)) = self.enter(tier, cpu, env) else { break };
                // Decoding may have dropped the block that was left.
                if epoch == self.epoch {
                    let base = cpu.seg[Seg::Cs as usize].base;
                    let page = |ip: u64| ip.wrapping_add(base) / PAGE;
                    env.ways.link(next, |from| !next.crosses() && page(from) == page(cpu.rip));
                }
                target = next;
            }
        }
    }

    /// Runs the upper tier's code `native` for the current block.
    fn run_native<T: Tier>(&mut self, tier: &mut T, native: u32, cpu: &mut CpuState, env: &mut Env<'_>) -> Native {
        // Native code does not look behind each helper: stores to code are the interpreter's.
        env.code_stores = false;
        let ran = tier.run(native, &mut self.boundary, cpu, env);
        env.code_stores = true;
        if self.boundary.take_moved() {
            self.set_context(cpu, env);
        }
        if ran == Native::None {
            // That code is no more: the block is decoded anew.
            if let Ok(Some(index)) = self.block_at(tier, cpu, env) {
                self.kill(index, env.ways);
            }
            self.set_context(cpu, env);
        }
        ran
    }

    /// Asks the upper tier for code for the current block, which is hot.
    #[cold]
    #[inline(never)]
    fn heat_up<T: Tier>(&mut self, tier: &mut T, target: Target, cpu: &mut CpuState, env: &mut Env<'_>) {
        target.cool();
        // The block has been entered before in this context, so this does nothing but look.
        let Ok(Some(index)) = self.block_at(tier, cpu, env) else { return };
        let place = self.blocks[index as usize].key;
        let known = |place: &Place| self.map.contains_key(place) || self.embers.has(place);
        tier.hot(&place, &known, cpu, env);
        if env.memory.write_epoch() != self.seen_writes {
            self.seen_writes = env.memory.write_epoch();
            env.tlb.flush_writes();
        }
        tier.collect(|place, native| self.install(place, native, env.ways));
        // No link may be followed to a chain that was dropped.
        self.set_context(cpu, env);
    }

    /// There is native code at `place`, with this number, or it is inside such code and cannot be entered there.
    fn install(&mut self, place: &Place, native: u32, ways: &mut Ways) {
        let Some(&index) = self.map.get(place) else { return };
        let Some(chain) = &mut self.blocks[index as usize].chain else { return };
        if native != 0 {
            chain.set_native(native);
        } else if chain.target().native() == 0 {
            self.lay_by(index, ways);
        }
    }

    /// Puts the numbers that stand for the code segment, mode and epochs of now into the ways.
    fn set_context(&mut self, cpu: &CpuState, env: &mut Env<'_>) {
        let cs = &cpu.seg[Seg::Cs as usize];
        let (base, limit, mode) = (cs.base, cs.limit, cpu.mode);
        let hash = base ^ u64::from(limit) ^ u64::from(mode.0) << 3;
        let context = &mut self.contexts[(hash ^ hash >> 6 ^ hash >> 12 ^ hash >> 20) as usize % CONTEXTS];
        let known = context.base == base && context.limit == limit && context.mode == mode;
        if !known || context.epoch != self.epoch {
            let (inside, across) = (self.next_context, self.next_context + 1);
            self.next_context += 2;
            let (epoch, translations) = (self.epoch, self.boundary.epoch());
            *context = Context { base, limit, mode, epoch, inside, translations, across };
        } else if context.translations != self.boundary.epoch() {
            context.translations = self.boundary.epoch();
            context.across = self.next_context;
            self.next_context += 1;
        }
        env.ways.inside = context.inside;
        env.ways.context = context.across;
    }

    /// The block at the current IP, by the short way if possible. The context is the one of now
    /// before and after.
    fn enter<T: Tier>(&mut self, tier: &mut T, cpu: &mut CpuState, env: &mut Env<'_>) -> Result<Option<Target>, Fault> {
        if let Some(target) = env.ways.find(cpu.rip) {
            return Ok(Some(target));
        }
        self.enter_anew(tier, cpu, env)
    }

    /// As `enter`, by the long way.
    fn enter_anew<T: Tier>(
        &mut self,
        tier: &mut T,
        cpu: &mut CpuState,
        env: &mut Env<'_>,
    ) -> Result<Option<Target>, Fault> {
        self.boundary.note(cpu);
        let linear = cpu.seg[Seg::Cs as usize].base.wrapping_add(cpu.rip);
        let linear = Core { cpu, env }.wrap_linear(linear);
        self.boundary.note_entry(linear);
        if let Some(page) = env.tlb.execute(linear, cpu.cpl == 3)
            && let Some(target) = env.ways.renew(cpu.rip, page)
        {
            if T::ACTIVE {
                let cs = cpu.segment(Seg::Cs);
                let offset = (linear % PAGE) as u16;
                let place = Place { page, offset, mode: cpu.mode, limit: cs.limit, ip: cpu.rip, base: cs.base };
                tier.entered(&place, None, self.boundary.epoch());
            }
            return Ok(Some(target));
        }
        let Some(index) = self.block_at(tier, cpu, env)? else { return Ok(None) };
        if T::ACTIVE {
            let block = &self.blocks[index as usize];
            tier.entered(&block.key, block.second, self.boundary.epoch());
        }
        // Decoding may have dropped blocks.
        self.set_context(cpu, env);
        let block = &self.blocks[index as usize];
        let Some(chain) = &block.chain else { return Ok(None) };
        let target = chain.target();
        let page = if block.second.is_none() { Some(block.key.page) } else { None };
        if page.is_none() {
            self.boundary.note_entry(linear.wrapping_add(PAGE));
        }
        env.ways.remember(cpu.rip, target, page);
        Ok(Some(target))
    }
}

impl Interpreter {
    /// As [`Engine::run`], with a tier above this one.
    pub fn run_with<T: Tier>(
        &mut self,
        tier: &mut T,
        cpu: &mut CpuState,
        memory: &mut GuestMemory,
        bus: &mut dyn Bus,
        budget: u64,
    ) -> (Exit, u64) {
        let budget = budget.min(i64::MAX as u64 / 4) as i64;
        // The TLB moves out, so that the engine and the surroundings can be borrowed apart.
        let mut tlb = self.tlb.take().unwrap_or_default();
        let mut ways = self.ways.take().unwrap_or_default();
        let mut env = Env::new(memory, bus, &mut tlb, &mut ways);
        env.end_ticks = cpu.ticks.wrapping_add(budget as u64);
        env.remaining = budget;
        env.code_stores = true;
        let exit = self.loop_(tier, cpu, &mut env);
        let done = (budget - env.remaining).max(0) as u64;
        self.tlb = Some(tlb);
        self.ways = Some(ways);
        cpu.ticks = cpu.ticks.wrapping_add(done);
        cpu.retired = cpu.retired.wrapping_add(done);
        (exit, done)
    }
}

impl Engine for Interpreter {
    fn name(&self) -> &'static str {
        "interpreter"
    }

    fn run(&mut self, cpu: &mut CpuState, memory: &mut GuestMemory, bus: &mut dyn Bus, budget: u64) -> (Exit, u64) {
        self.run_with(&mut Alone, cpu, memory, bus, budget)
    }

    fn forget(&mut self) {
        if let Some(tlb) = &mut self.tlb {
            tlb.flush();
        }
        self.boundary.changed();
        self.epoch += 1;
        self.map.clear();
        self.blocks.clear();
        self.free.clear();
        self.retired.clear();
        self.pages.clear();
    }
}
