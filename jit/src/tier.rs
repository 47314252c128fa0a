//! The engine: the interpreter with native code above it.
#![allow(unsafe_code, reason = "enters native code, and writes the words that it reads")]

use crate::compile::{Compiler, Glue, Ready, StartError, Unit};
use crate::context::{self as cx, Cell, Op, Slot};
use crate::host::fetch_anew;
use crate::memory::{Arena, SEGMENT};
use crate::quick::{self, stubs};
use crate::region::{Region, explore};
#[cfg(target_arch = "x86_64")]
use cpu::core::{Access, Core};
use cpu::core::{Env, INDIRECT, LEFT, Leave, SLOW};
use cpu::engine::{Engine, Exit};
use cpu::hash::Map;
use cpu::interpreter::Interpreter;
use cpu::interpreter::tier::{Boundary, Native, Place, Tier};
use cpu::memory::{CodeWrite, GuestMemory, HostPage, PAGE};
#[cfg(target_arch = "x86_64")]
use cpu::state::Seg;
use cpu::state::{CpuState, Mode};
use cpu::{Bus, Model};
use crossbeam::channel::{Receiver, Sender, unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How the translator is to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many instructions a block must have been found running for before it is translated;
    /// 1 translates everything at once, whether it has run or not.
    pub threshold: u32,
    /// Bytes of memory for code, 4 MiB at least.
    pub memory: usize,
    /// Whether translation happens on a thread of its own; `None` decides by the number of
    /// processors.
    pub background: Option<bool>,
}

impl Default for Settings {
    fn default() -> Settings {
        // For tests of everything with code that is translated at once.
        let asked = std::env::var("BEIGEBOX_JIT_THRESHOLD").ok().and_then(|text| text.parse().ok());
        Settings { threshold: asked.unwrap_or(250), memory: 64 << 20, background: None }
    }
}

/// What the translator has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Regions translated.
    pub regions: u64,
    /// Regions that could not be translated.
    pub failed: u64,
    /// Guest instructions in them.
    pub translated: u64,
    /// Bytes of host code made.
    pub bytes: u64,
    /// Time that translation took.
    pub time: Duration,
    /// Regions dropped because their code changed.
    pub invalidated: u64,
    /// Regions dropped because memory for code was short.
    pub evicted: u64,
    /// Entries into native code from the engine's loop.
    pub entries: u64,
    /// Instructions retired in native code.
    pub native: u64,
    /// Exits linked to other regions.
    pub links: u64,
}

/// Most pages whose validity is remembered before everything is forgotten: a guest that maps the
/// same code at ever new addresses uses no more memory than this.
const MAX_CELLS: usize = 1 << 16;
/// Numbers of entries up to here are those of regions of the code generator. Larger ones are
/// addresses of quick code for quick code.
const MAX_NUMBER: u64 = 0xffff;
/// How many times hotter code must be that is for the code generator, and how hot is enough.
const PATIENCE: u32 = 64;
const HOT: u32 = 16_000;

enum Work {
    Translate(u32, Arc<Unit>),
    Release(usize),
}

/// Where translation happens.
enum Workshop {
    Here(Box<Compiler>, Vec<Ready>),
    There { work: Sender<Work>, ready: Receiver<Ready>, waiting: Arc<AtomicUsize> },
}

impl Workshop {
    fn send(&mut self, work: Work) {
        match (self, work) {
            (Workshop::Here(compiler, ready), Work::Translate(id, unit)) => ready.push(compiler.compile(id, &unit)),
            (Workshop::Here(compiler, _), Work::Release(segment)) => compiler.release(segment),
            (Workshop::There { work: to, .. }, work) => {
                // When the thread is gone nothing is translated any more, which is no error.
                let _ = to.send(work);
            }
        }
    }
    #[inline]
    fn has_ready(&self) -> bool {
        match self {
            Workshop::Here(_, ready) => !ready.is_empty(),
            Workshop::There { waiting, .. } => waiting.load(Ordering::Acquire) != 0,
        }
    }
    fn take(&mut self) -> Option<Ready> {
        match self {
            Workshop::Here(_, ready) => ready.pop(),
            Workshop::There { ready, waiting, .. } => {
                let one = ready.try_recv().ok()?;
                waiting.fetch_sub(1, Ordering::AcqRel);
                Some(one)
            }
        }
    }
}

/// A way into a region.
struct Entry {
    region: u32,
    /// Its number in the region.
    index: u64,
    place: Place,
    world: u64,
    code: usize,
    /// The validity word of its page, and of the page that its first block runs over into.
    cell: usize,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for quick code"))]
    second: Option<usize>,
}

struct State {
    unit: Arc<Unit>,
    slots: Box<[Slot]>,
    /// Numbers of its entries, once there is code.
    numbers: Vec<u32>,
    segment: usize,
    /// Exits of regions that are linked to it.
    incoming: Vec<(u32, u32)>,
}

/// Trouble with a page whose code keeps changing.
#[derive(Clone, Copy, Default)]
struct Trouble {
    kills: u32,
    /// Not to be translated again before this tick.
    until: u64,
}

/// Memory for quick code, filled round and round.
struct Space {
    arena: Arc<Arena>,
    /// The segment that is being filled, and how far.
    at: usize,
    used: usize,
    /// Regions in each segment.
    segments: Vec<Vec<u32>>,
}

impl Space {
    fn new(bytes: usize) -> Result<Space, StartError> {
        let arena = Arc::new(Arena::new(bytes)?);
        let segments = vec![Vec::new(); arena.segments()];
        Ok(Space { arena, at: 0, used: 0, segments })
    }
    /// Gives code its place: where, in which segment, and the regions that were there before.
    fn place(&mut self, code: &[u8]) -> Option<(usize, usize, Vec<u32>)> {
        let mut dropped = Vec::new();
        if code.len() > SEGMENT {
            return None;
        }
        if self.used + code.len() > SEGMENT {
            self.at = (self.at + 1) % self.segments.len();
            self.used = 0;
            dropped = std::mem::take(&mut self.segments[self.at]);
        }
        let at = self.arena.fill(self.at * SEGMENT + self.used, code);
        self.used = (self.used + code.len()).next_multiple_of(32);
        Some((at as usize, self.at, dropped))
    }
}

/// What has to go from the table of jumps before it is used again.
enum Stale {
    All,
    /// What leads to these.
    Some(Vec<u64>),
}

impl Stale {
    fn add(&mut self, ip: u64) {
        match self {
            Stale::All => {}
            Stale::Some(list) if list.len() < cx::JUMPS / 8 => list.push(ip),
            Stale::Some(_) => *self = Stale::All,
        }
    }
}

/// All about native code.
pub(crate) struct Upper {
    threshold: u32,
    /// Lives as long as anything may run in it.
    _arena: Arc<Arena>,
    glue: Glue,
    workshop: Workshop,
    regions: Map<u32, State>,
    next_region: u32,
    /// By number; no number is used twice, because blocks of the interpreter may still name it.
    entries: Map<u32, Entry>,
    next_entry: u32,
    places: Map<Place, u32>,
    /// How many times code that is for the code generator is still to be found hot.
    warm: Map<Place, u32>,
    /// Regions that are being translated.
    wanted: Map<Place, u32>,
    /// Regions that have bytes in a page, wanted ones included.
    pages: Map<HostPage, Vec<u32>>,
    /// In which epoch a page was last known to be mapped so: linear page, memory, user.
    cells: Map<(u64, HostPage, bool), Box<Cell>>,
    worlds: Map<(Mode, u64, u32), u64>,
    /// The one that was asked for last.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for quick code"))]
    last_world: Option<(Mode, u64, u32, u64)>,
    /// The epoch in which the interpreter entered code last.
    at: u64,
    /// About the present tick.
    now: u64,
    /// What has to go from the table of jumps.
    stale: Stale,
    /// The exit that was taken last, and the world in which it was.
    pending: Option<(u32, u32, u64)>,
    /// The last exit could not tell whether its target is still mapped.
    unsure: bool,
    trouble: Map<HostPage, Trouble>,
    /// Regions in segments, oldest segment first.
    segments: Vec<(usize, Vec<u32>)>,
    counters: Counters,
    map: Option<std::fs::File>,
    /// Quick code.
    space: Space,
    /// Quick code that is ready.
    done: Vec<Ready>,
    /// A folder for what is made, for people to look at.
    dump: Option<std::path::PathBuf>,
}

impl Upper {
    fn new(settings: &Settings) -> Result<Upper, StartError> {
        let arena = Arc::new(Arena::new((settings.memory / 2).max(4 << 20))?);
        let mut compiler = Compiler::new(arena.clone())?;
        let glue = compiler.glue()?;
        let several = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
        let background = settings.background.unwrap_or(several && settings.threshold > 1);
        let workshop = if background {
            let (work, orders) = unbounded::<Work>();
            let (done, ready) = unbounded();
            let waiting = Arc::new(AtomicUsize::new(0));
            let count = waiting.clone();
            std::thread::Builder::new().name("translator".into()).spawn(move || {
                // What was asked for last is what runs now.
                let mut stack = Vec::new();
                loop {
                    let mut next = orders.try_recv().ok();
                    if stack.is_empty() && next.is_none() {
                        match orders.recv() {
                            Ok(order) => next = Some(order),
                            Err(_) => return,
                        }
                    }
                    while let Some(order) = next {
                        match order {
                            Work::Translate(id, unit) => stack.push((id, unit)),
                            Work::Release(segment) => compiler.release(segment),
                        }
                        next = orders.try_recv().ok();
                    }
                    let Some((id, unit)) = stack.pop() else { continue };
                    let ready = compiler.compile(id, &unit);
                    if done.send(ready).is_err() {
                        return;
                    }
                    count.fetch_add(1, Ordering::AcqRel);
                }
            })?;
            Workshop::There { work, ready, waiting }
        } else {
            Workshop::Here(Box::new(compiler), Vec::new())
        };
        let map = std::env::var_os("BEIGEBOX_PERF_MAP")
            .and_then(|_| std::fs::File::create(format!("/tmp/perf-{}.map", std::process::id())).ok());
        Ok(Upper {
            threshold: settings.threshold.max(1),
            _arena: arena,
            glue,
            workshop,
            regions: Map::default(),
            next_region: 1,
            entries: Map::default(),
            next_entry: 1,
            places: Map::default(),
            warm: Map::default(),
            wanted: Map::default(),
            pages: Map::default(),
            cells: Map::default(),
            worlds: Map::default(),
            last_world: None,
            at: 0,
            now: 0,
            stale: Stale::All,
            pending: None,
            unsure: false,
            trouble: Map::default(),
            segments: Vec::new(),
            counters: Counters::default(),
            map,
            space: Space::new((settings.memory / 2).max(2 << 20))?,
            done: Vec::new(),
            dump: std::env::var_os("BEIGEBOX_JIT_DUMP").map(Into::into),
        })
    }

    fn cell(&mut self, linear_page: u64, page: HostPage, user: bool) -> usize {
        let fresh = || Box::new(Cell { epoch: 0, linear: linear_page, page, user });
        let cell = self.cells.entry((linear_page, page, user)).or_insert_with(fresh);
        std::ptr::from_mut::<Cell>(cell) as usize
    }
    fn world(&mut self, place: &Place) -> u64 {
        let next = self.worlds.len() as u64;
        let world = *self.worlds.entry((place.mode, place.base, place.limit)).or_insert(next);
        // More worlds than fit in a tag: they share numbers only after all jumps are forgotten.
        if world >= 255 {
            self.worlds.clear();
            self.last_world = None;
            self.stale = Stale::All;
            for entry in self.entries.values_mut() {
                let next = self.worlds.len() as u64;
                let p = &entry.place;
                entry.world = *self.worlds.entry((p.mode, p.base, p.limit)).or_insert(next);
            }
            let next = self.worlds.len() as u64;
            return *self.worlds.entry((place.mode, place.base, place.limit)).or_insert(next);
        }
        world
    }

    /// The number of the mode and code segment of now, if there has been native code for them.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn find_world(&mut self, cpu: &CpuState) -> Option<u64> {
        let cs = cpu.segment(Seg::Cs);
        let (mode, base, limit) = (cpu.mode, cs.base, cs.limit);
        if let Some((m, b, l, world)) = self.last_world
            && (m, b, l) == (mode, base, limit)
        {
            return Some(world);
        }
        let world = self.worlds.get(&(mode, base, limit)).copied()?;
        self.last_world = Some((mode, base, limit, world));
        Some(world)
    }

    /// Finds native code for `ip` in the mode and code segment of now, enters it into the table of jumps and lets
    /// `exit`, if it is one, lead there. `is_unsure`: its page may not be mapped any more, and it is for the
    /// one who goes there to find out. The answer is the entry's offset in the words.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn seek(
        &mut self,
        ip: u64,
        exit: Option<(u32, u32)>,
        is_unsure: bool,
        boundary: &mut Boundary,
        core: &mut Core<'_, '_>,
    ) -> Option<usize> {
        let cs = core.cpu.segment(Seg::Cs);
        let (mode, base, limit) = (core.cpu.mode, cs.base, cs.limit);
        if ip > u64::from(limit) || mode.has(Mode::LONG) {
            return None;
        }
        let linear = base.wrapping_add(ip) & 0xffff_ffff;
        let user = core.cpu.cpl == 3;
        let mut find = |linear| {
            boundary.note_entry(linear);
            let known = core.env.tlb.execute(linear, user);
            if known.is_some() || !is_unsure {
                return known;
            }
            // If it faults, it does so again in the interpreter.
            core.translate(linear, Access::Execute, user).ok()?;
            core.env.tlb.execute(linear, user)
        };
        let page = find(linear)?;
        let place = Place { page, offset: (linear % PAGE) as u16, mode, limit, ip, base };
        let number = *self.places.get(&place)?;
        let entry = self.entries.get(&number)?;
        let (code, index, world, cell) = (entry.code, entry.index, entry.world, entry.cell);
        if let Some(second) = entry.second {
            // SAFETY: cells live as long as the entries that name them.
            let second = unsafe { &mut *(second as *mut Cell) };
            if find(second.linear * PAGE) != Some(second.page) {
                return None;
            }
            second.epoch = boundary.epoch();
        }
        // SAFETY: as above.
        unsafe { (*(cell as *mut Cell)).epoch = boundary.epoch() };
        let at = cx::jump(ip);
        core.env.tlb.tables().engine[at / 8..at / 8 + 4].copy_from_slice(&[
            world << 32 | ip,
            code as u64,
            index,
            cell as u64,
        ]);
        if let Some((region, exit)) = exit {
            self.pending = Some((region, exit, world));
            self.link(number);
        }
        Some(at)
    }

    /// Drops a region: nothing leads to it any more.
    fn kill(&mut self, id: u32) {
        let Some(state) = self.regions.remove(&id) else { return };
        for number in &state.numbers {
            let entry = self.entries.remove(number);
            if let Some(entry) = entry {
                self.stale.add(entry.place.ip);
                if self.places.get(&entry.place) == Some(number) {
                    self.places.remove(&entry.place);
                }
            }
        }
        for (region, exit) in &state.incoming {
            if let Some(from) = self.regions.get_mut(region) {
                let slot = &mut from.slots[*exit as usize];
                slot.code = self.glue.unlinked as u64;
                slot.quick = stubs::link();
            }
        }
        self.pending = None;
    }

    fn order(&mut self, region: Region, memory: &mut GuestMemory, epoch: u64, user: bool) {
        let id = self.next_region;
        self.next_region += 1;
        let unlinked = self.glue.unlinked as u64;
        let slots: Box<[Slot]> = region
            .exits
            .iter()
            .enumerate()
            .map(|(n, &ip)| Slot {
                code: unlinked,
                number: 0,
                cell: 0,
                ip,
                region: id,
                exit: n as u32,
                quick: stubs::link(),
            })
            .collect();
        let nowhere = self.cell(u64::MAX, region.place.page, user);
        let mut slots = slots;
        for slot in &mut slots {
            slot.cell = nowhere as u64;
        }
        let addresses = slots.iter().map(|s| std::ptr::from_ref(s) as usize).collect();
        let cells = region.pages.iter().map(|p| self.cell(p.linear, p.page, user)).collect();
        if let Some(first) = region.pages.first()
            && let Some(cell) = self.cells.get_mut(&(first.linear, first.page, user))
        {
            // The interpreter is there at this moment.
            cell.epoch = epoch;
        }
        let ops = region
            .blocks
            .iter()
            .map(|b| b.steps.iter().map(|s| Op { insn: s.insn, later: s.later }).collect())
            .collect();
        for &(page, offset, length) in &region.bytes {
            memory.mark_code(page, u64::from(offset), u64::from(length));
            let list = self.pages.entry(page).or_default();
            if list.last() != Some(&id) {
                list.push(id);
            }
        }
        self.wanted.insert(region.place, id);
        let unit = Arc::new(Unit { region, ops, slots: addresses, cells });
        let state = State { unit: unit.clone(), slots, numbers: Vec::new(), segment: usize::MAX, incoming: Vec::new() };
        self.regions.insert(id, state);
        if !unit.region.is_quick {
            self.workshop.send(Work::Translate(id, unit));
        } else if !self.translate_quickly(id, &unit) {
            let (segment, free, time) = (usize::MAX, usize::MAX, Duration::ZERO);
            self.done.push(Ready { id, code: None, bytes: 0, segment, free, time });
        }
    }

    /// Makes quick code of a region, if that succeeds.
    fn translate_quickly(&mut self, id: u32, unit: &Unit) -> bool {
        let parts = quick::Parts { region: &unit.region, ops: &unit.ops, slots: &unit.slots, cells: &unit.cells };
        let Some(made) = quick::translate(&parts) else { return false };
        let Some((at, segment, dropped)) = self.space.place(&made.code) else { return false };
        for id in dropped {
            if self.regions.contains_key(&id) {
                self.counters.evicted += 1;
                self.kill(id);
            }
        }
        self.space.segments[segment].push(id);
        if let Some(dump) = &self.dump {
            let name = format!("{:x}-{:x}-{at:x}.bin", unit.region.place.base, unit.region.place.ip);
            let _ = std::fs::write(dump.join(name), &made.code);
        }
        let code = made.entries.iter().map(|&(code, quick)| (at + code, (at + quick) as u64)).collect();
        let bytes = made.code.len();
        let (segment, time) = (usize::MAX, Duration::ZERO);
        self.done.push(Ready { id, code: Some(code), bytes, segment, free: usize::MAX, time });
        true
    }

    #[cold]
    fn accept(&mut self, ready: Ready, install: &mut impl FnMut(&Place, u32)) {
        self.counters.time += ready.time;
        if ready.free <= 1 && self.segments.len() > 1 {
            let (segment, regions) = self.segments.remove(0);
            for id in regions {
                if self.regions.contains_key(&id) {
                    self.counters.evicted += 1;
                    self.kill(id);
                }
            }
            self.workshop.send(Work::Release(segment));
        }
        let Some(code) = ready.code else {
            self.counters.failed += 1;
            if let Some(state) = self.regions.get(&ready.id) {
                self.wanted.remove(&state.unit.region.place);
            }
            self.kill(ready.id);
            return;
        };
        match self.segments.iter_mut().find(|(s, _)| *s == ready.segment) {
            _ if ready.segment == usize::MAX => {}
            Some((_, list)) => list.push(ready.id),
            None => self.segments.push((ready.segment, vec![ready.id])),
        }
        let Some(state) = self.regions.get_mut(&ready.id) else { return };
        state.segment = ready.segment;
        let unit = state.unit.clone();
        self.counters.regions += 1;
        self.counters.translated += unit.region.instructions as u64;
        self.counters.bytes += ready.bytes as u64;
        if let Some(map) = &mut self.map {
            use std::io::Write as _;
            let place = &unit.region.place;
            let code = code.first().map_or(0, |c| c.0);
            let _ = writeln!(map, "{code:x} {:x} guest_{:x}_{:x}", ready.bytes, place.base, place.ip);
        }
        let world = self.world(&unit.region.place);
        self.wanted.remove(&unit.region.place);
        let mut numbers = Vec::new();
        for (index, &block) in unit.region.entries.iter().enumerate() {
            let place = unit.region.place_of(block);
            if index > 0 && self.places.contains_key(&place) {
                continue;
            }
            let linear = (place.ip.wrapping_add(place.base) & 0xffff_ffff) / PAGE;
            let cell = self.cell(linear, place.page, place.mode.has(Mode::USER));
            let (code, index) = code[index];
            let second = unit.region.blocks[block].second.map(|page| unit.cells[page]);
            let entry = Entry { region: ready.id, index, place, world, code, cell, second };
            let number = self.next_entry;
            self.next_entry += 1;
            self.entries.insert(number, entry);
            self.places.insert(place, number);
            numbers.push(number);
            install(&place, number);
        }
        if let Some(state) = self.regions.get_mut(&ready.id) {
            state.numbers = numbers;
        }
    }

    /// Lets the exit that was taken last lead straight to the entry `number`.
    fn link(&mut self, number: u32) {
        let Some((region, exit, world)) = self.pending.take() else { return };
        let Some(entry) = self.entries.get(&number) else { return };
        let (place, code, index, to) = (entry.place, entry.code, entry.index, entry.region);
        let Some(from) = self.regions.get(&region) else { return };
        let slot = &from.slots[exit as usize];
        if slot.ip != place.ip || world != entry.world || slot.code != self.glue.unlinked as u64 {
            return;
        }
        let linear = (place.ip.wrapping_add(place.base) & 0xffff_ffff) / PAGE;
        // A way inside a page is followed without a check: it must be the same page.
        if from.unit.region.pages.iter().any(|p| p.linear == linear && p.page != place.page) {
            return;
        }
        let cell = self.cell(linear, place.page, place.mode.has(Mode::USER));
        if let Some(from) = self.regions.get_mut(&region) {
            let slot = &mut from.slots[exit as usize];
            slot.cell = cell as u64;
            slot.number = index;
            slot.code = code as u64;
            if index > MAX_NUMBER {
                slot.quick = index;
            }
            self.counters.links += 1;
        }
        if let Some(to) = self.regions.get_mut(&to) {
            to.incoming.push((region, exit));
        }
    }
}

impl Tier for Upper {
    const ACTIVE: bool = true;

    fn threshold(&self) -> u32 {
        self.threshold
    }
    fn find(&mut self, place: &Place) -> u32 {
        self.places.get(place).copied().unwrap_or(0)
    }
    fn hot(&mut self, place: &Place, known: &dyn Fn(&Place) -> bool, cpu: &mut CpuState, env: &mut Env<'_>) {
        // What processors before the 386 do differently with addresses is the interpreter's.
        if cpu.model < Model::I386 {
            return;
        }
        let ticks = env.end_ticks.wrapping_sub(env.remaining as u64);
        if let Some(trouble) = self.trouble.get(&place.page)
            && ticks < trouble.until
        {
            return;
        }
        if self.wanted.get(place).is_some_and(|id| self.regions.contains_key(id)) {
            return;
        }
        let mut is_ready = false;
        if let Some(times) = self.warm.get_mut(place) {
            *times -= 1;
            if *times != 0 {
                return;
            }
            self.warm.remove(place);
            is_ready = true;
        }
        if self.cells.len() >= MAX_CELLS {
            self.forget_all();
            self.cells.clear();
        }
        let epoch = self.at;
        let start = Instant::now();
        if let Some(region) = explore(place, known, self.threshold == 1, cpu, env) {
            if self.threshold > 1 && !region.is_quick && !is_ready {
                // The code generator takes its time.
                if self.warm.len() >= MAX_CELLS {
                    self.warm.clear();
                }
                self.warm.insert(*place, (HOT / self.threshold).clamp(1, PATIENCE));
                self.counters.time += start.elapsed();
                return;
            }
            self.order(region, env.memory, epoch, cpu.cpl == 3);
        }
        self.counters.time += start.elapsed();
    }
    fn collect(&mut self, mut install: impl FnMut(&Place, u32)) {
        while let Some(ready) = self.done.pop() {
            self.accept(ready, &mut install);
        }
        if !self.workshop.has_ready() {
            return;
        }
        fetch_anew();
        while self.workshop.has_ready() {
            match self.workshop.take() {
                Some(ready) => self.accept(ready, &mut install),
                None => break,
            }
        }
    }
    fn run(&mut self, number: u32, boundary: &mut Boundary, cpu: &mut CpuState, env: &mut Env<'_>) -> Native {
        if self.pending.is_some() {
            self.link(number);
        }
        let Some(entry) = self.entries.get(&number) else { return Native::None };
        let (code, index, world, ip, cell) = (entry.code, entry.index, entry.world, entry.place.ip, entry.cell);
        let words = &mut env.tlb.tables().engine;
        match &mut self.stale {
            Stale::All => {
                words[cx::JUMP_TABLE / 8..cx::JUMP_TABLE / 8 + 4 * cx::JUMPS].fill(u64::MAX);
                self.stale = Stale::Some(Vec::new());
            }
            Stale::Some(list) => {
                for ip in list.drain(..) {
                    words[cx::jump(ip) / 8] = u64::MAX;
                }
            }
        }
        if words[cx::READ / 8] == 0 {
            cx::set_functions(words);
            words[cx::UNLINKED / 8] = self.glue.unlinked as u64;
        }
        stubs::entered(words, env.memory);
        let tag = world << 32;
        words[cx::TAG / 8] = tag;
        words[cx::EPOCH / 8] = boundary.epoch();
        words[cx::EXIT / 8] = 0;
        words[cx::UNSURE / 8] = 0;
        let at = cx::jump(ip) / 8;
        words[at] = tag | ip;
        words[at + 1] = code as u64;
        words[at + 2] = index;
        words[at + 3] = cell as u64;
        let words = words.as_mut_ptr();
        let before = env.remaining;
        // SAFETY: the code is that of a region that is alive, made for the place where the
        // processor stands, and the words and both states live until it returns. No reference to
        // any of them is used before that.
        let how = unsafe {
            let cpu: *mut CpuState = cpu;
            let env = std::ptr::from_mut(env).cast::<Env<'static>>();
            words.add(cx::ENV / 8).write(env as u64);
            words.add(cx::CPU / 8).write(cpu as u64);
            type Enter = unsafe extern "C" fn(*mut u64, *mut CpuState, u64, i64, usize) -> u64;
            let enter: Enter = std::mem::transmute(self.glue.enter);
            words.add(cx::UPPER / 8).write(std::ptr::from_mut(self) as u64);
            words.add(cx::BOUNDARY / 8).write(std::ptr::from_mut(boundary) as u64);
            let how = enter(words, cpu, index, before, code);
            cx::returned(words);
            how
        };
        self.counters.entries += 1;
        self.counters.native += before.saturating_sub(env.remaining).max(0) as u64;
        match how {
            cx::LEFT => {
                if env.leave == Leave::Step {
                    env.remaining += 1;
                }
                env.successor = LEFT;
                Native::Ran
            }
            cx::SLOW => {
                env.successor = SLOW;
                Native::Ran
            }
            cx::SHORT => Native::Short,
            cx::STEP => Native::Step,
            _ => {
                env.successor = INDIRECT;
                let words = &env.tlb.tables().engine;
                self.unsure = words[cx::UNSURE / 8] != 0;
                let exit = words[cx::EXIT / 8] as *const Slot;
                self.pending = if exit.is_null() {
                    None
                } else {
                    // SAFETY: an exit of a region that was alive a moment ago, and nothing has
                    // been dropped since.
                    let slot = unsafe { &*exit };
                    Some((slot.region, slot.exit, words[cx::TAG / 8] >> 32))
                };
                Native::Ran
            }
        }
    }
    fn is_unsure(&mut self) -> bool {
        std::mem::take(&mut self.unsure)
    }
    fn entered(&mut self, place: &Place, second: Option<HostPage>, epoch: u64) {
        let linear = (place.ip.wrapping_add(place.base) & 0xffff_ffff) / PAGE;
        let user = place.mode.has(Mode::USER);
        self.at = epoch;
        if let Some(cell) = self.cells.get_mut(&(linear, place.page, user)) {
            cell.epoch = epoch;
        }
        if let Some(second) = second
            && let Some(cell) = self.cells.get_mut(&((linear + 1) & 0xf_ffff, second, user))
        {
            cell.epoch = epoch;
        }
    }
    fn overwritten(&mut self, write: CodeWrite, marked: bool, memory: &mut GuestMemory) {
        let CodeWrite { page, offset, length } = write;
        if marked && !self.is_hit(write) {
            return;
        }
        let Some(list) = self.pages.remove(&page) else { return };
        let mut kept = Vec::with_capacity(list.len());
        for id in list {
            let Some(state) = self.regions.get(&id) else { continue };
            let unit = state.unit.clone();
            let mut parts = unit.region.bytes.iter().filter(|(p, ..)| *p == page);
            let hit = |(_, first, n): &(HostPage, u16, u16)| {
                u32::from(*first) < offset + length && offset < u32::from(*first) + u32::from(*n)
            };
            if parts.clone().any(hit) {
                self.counters.invalidated += 1;
                self.kill(id);
                let trouble = self.trouble.entry(page).or_default();
                trouble.kills += 1;
                trouble.until = self.now.wrapping_add(100_000 << trouble.kills.min(14));
            } else {
                kept.push(id);
                for (_, first, n) in parts.by_ref() {
                    memory.mark_code(page, u64::from(*first), u64::from(*n));
                }
            }
        }
        if !kept.is_empty() {
            self.pages.insert(page, kept);
        }
    }
    fn forget(&mut self, memory: &mut GuestMemory) {
        for page in self.pages.keys() {
            memory.clear_code(*page);
        }
        self.forget_all();
    }
}

impl Upper {
    /// Whether a region holds some of what was overwritten.
    fn is_hit(&self, write: CodeWrite) -> bool {
        let CodeWrite { page, offset, length } = write;
        let list = self.pages.get(&page).into_iter().flatten();
        list.filter_map(|id| self.regions.get(id)).flat_map(|state| &state.unit.region.bytes).any(|(p, first, n)| {
            *p == page && u32::from(*first) < offset + length && offset < u32::from(*first) + u32::from(*n)
        })
    }
    fn forget_all(&mut self) {
        let all: Vec<u32> = self.regions.keys().copied().collect();
        for id in all {
            self.kill(id);
        }
        self.pages.clear();
        self.wanted.clear();
        self.trouble.clear();
    }
}

/// The translating engine.
pub struct Translator {
    interpreter: Interpreter,
    upper: Upper,
}

impl Translator {
    /// An engine that knows no code yet.
    ///
    /// # Errors
    /// When the host cannot run it.
    pub fn new(settings: &Settings) -> Result<Translator, StartError> {
        Ok(Translator { interpreter: Interpreter::new(), upper: Upper::new(settings)? })
    }
    /// The tier in which code starts.
    #[must_use]
    pub fn interpreter(&self) -> &Interpreter {
        &self.interpreter
    }
    /// The tier in which code starts.
    pub fn interpreter_mut(&mut self) -> &mut Interpreter {
        &mut self.interpreter
    }
    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.upper.counters
    }
}

impl Engine for Translator {
    fn name(&self) -> &'static str {
        "jit"
    }
    fn run(&mut self, cpu: &mut CpuState, memory: &mut GuestMemory, bus: &mut dyn Bus, budget: u64) -> (Exit, u64) {
        self.upper.now = cpu.ticks;
        self.interpreter.run_with(&mut self.upper, cpu, memory, bus, budget)
    }
    fn forget(&mut self) {
        self.interpreter.forget();
        self.upper.forget_all();
    }
}
