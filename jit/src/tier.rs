//! The engine: the interpreter with native code above it.
#![allow(unsafe_code, reason = "enters native code, and writes the words that it reads")]

use crate::cache::{self, Cache, CacheError, CacheSettings};
use crate::compile::{Compiler, Glue, Ready, StartError, Unit};
use crate::context::{self as cx, Cell, Op, Slot};
use crate::dump::DumpSettings;
use crate::host::fetch_anew;
use crate::memory::{Arena, SEGMENT};
use crate::piece::{Piece, Target, Way};
use crate::profile::{HotRegion, Hottest, Profile};
use crate::quick::{self, stubs};
use crate::region::{Bytes, Known, Page, Region, explore};
use crate::space::Space;
#[cfg(target_arch = "x86_64")]
use cpu::core::{Access, Core};
use cpu::core::{Env, INDIRECT, LEFT, Leave, SLOW};
use cpu::engine::{Engine, Exit};
use cpu::hash::{Map, hash_of};
use cpu::interpreter::Interpreter;
use cpu::interpreter::tier::{Boundary, Native, Place, Tier};
use cpu::memory::{Backing, CodeWrite, GuestMemory, HostPage, PAGE};
use cpu::mmu;
#[cfg(target_arch = "x86_64")]
use cpu::state::Seg;
use cpu::state::{CpuState, Mode};
use cpu::{Bus, Model};
use crossbeam::channel::{Receiver, Sender, unbounded};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How the translator is to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many instructions a block must have been found running for before it is translated;
    /// 1 translates everything at once, whether it has run or not.
    pub threshold: u32,
    /// Bytes of memory for code, 4 MiB at least.
    pub memory: usize,
    /// Whether translation happens on a thread of its own; `None` decides by the number of
    /// processors.
    pub background: Option<bool>,
    /// Where code is kept for the next run; `None`: nowhere.
    pub cache: Option<CacheSettings>,
    /// Where regions are written down for people; by default the folder that `BEIGEBOX_JIT_DUMP` names.
    pub dump: Option<DumpSettings>,
    /// Whether `perf` is told what is where, in `/tmp/perf-PID.map`; by default if `BEIGEBOX_PERF_MAP` is set.
    pub perf_map: bool,
    /// Whether it is noted where native code stands when budgets end, see [`Translator::hottest`].
    pub profile: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        // For tests of everything with code that is translated at once.
        let asked = std::env::var("BEIGEBOX_JIT_THRESHOLD").ok().and_then(|text| text.parse().ok());
        let dump = std::env::var_os("BEIGEBOX_JIT_DUMP");
        Settings {
            threshold: asked.unwrap_or(250),
            memory: 128 << 20,
            background: None,
            cache: None,
            dump: dump.map(|folder| DumpSettings { folder: folder.into(), address: None }),
            perf_map: std::env::var_os("BEIGEBOX_PERF_MAP").is_some(),
            profile: false,
        }
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
    /// Regions that came from the cache on disk.
    pub loaded: u64,
    /// Regions that went there.
    pub kept: u64,
    /// Regions made of others for other linear addresses of the same memory.
    pub twins: u64,
}

/// Most pages whose validity is remembered before everything is forgotten: a guest that maps the
/// same code at ever new addresses uses no more memory than this.
const MAX_CELLS: usize = 1 << 16;
/// Numbers of entries up to here are those of regions of the code generator. Larger ones are
/// addresses of quick code for quick code.
const MAX_NUMBER: u64 = 0xffff;
/// How many times hotter code must be that is for the code generator, and how hot is enough.
const PATIENCE: u32 = if cfg!(target_arch = "x86_64") { 64 } else { 8 };
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
    world: u32,
    code: usize,
    /// The validity word of its page, and of the page that its first block runs over into.
    cell: usize,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for quick code"))]
    second: Option<NonZeroUsize>,
}

struct State {
    place: Place,
    /// Guest instructions, and bytes of host code.
    size: (u32, u32),
    pages: Box<[Page]>,
    /// What it is made of, if it is the code generator's.
    unit: Option<Arc<Unit>>,
    /// Quick code as it can lie anywhere, but for the code itself.
    shape: Option<Shape>,
    /// What quick code refers to.
    _ops: Box<[Op]>,
    slots: Box<[Slot]>,
    /// Numbers of its entries, once there is code.
    numbers: Vec<u32>,
    /// Exits of regions that are linked to it.
    incoming: Vec<(u32, u32)>,
}

impl State {
    /// The guest code of which it is made.
    fn bytes(&self) -> impl Iterator<Item = Bytes> {
        let quick = self.shape.iter().flat_map(|shape| shape.piece.bytes(&self.pages));
        quick.chain(self.unit.iter().flat_map(|unit| unit.region.bytes.iter().copied()))
    }
    /// Whether some of that was overwritten.
    fn holds(&self, write: CodeWrite) -> bool {
        let CodeWrite { page, offset, length } = write;
        let meets = |first: u16, n: u16| u32::from(first) < offset + length && offset < u32::from(first) + u32::from(n);
        let quick = self.shape.as_ref().map_or(&[][..], |shape| &shape.piece.ranges);
        let other = self.unit.as_ref().map_or(&[][..], |unit| &unit.region.bytes);
        quick.iter().any(|&(n, first, length)| meets(first, length) && self.pages[usize::from(n)].page == page)
            || other.iter().any(|&(p, first, length)| meets(first, length) && p == page)
    }
}

/// What quick code was made of.
struct Shape {
    piece: Arc<Piece>,
    /// How far behind the place that it was made for the region is.
    by: u32,
    /// Where its code is.
    at: usize,
}

/// A place of code that does not depend on where its page is mapped.
type Spot = (HostPage, u16, Mode, u32);

/// Code that is to be kept on disk if it proves to last.
struct Lasting {
    region: u32,
    /// When it was made.
    at: u64,
    key: u64,
    print: u64,
    first: u16,
    record: Vec<u8>,
}

/// How many ticks code must last to be kept on disk.
const LASTING: u64 = 20_000_000;
/// Bytes that may wait for that.
const MAX_WAITING: usize = 8 << 20;
/// So many changes of translations ago a page of code was entered last that is likely to be a process's that has ended.
const LONG_AGO: u64 = 16;
/// Room that quick code of the supervisor and of user programs takes before there is need of more.
const SYSTEM_CODE: usize = 10 << 20;
const USER_CODE: usize = 5 << 20;

/// Trouble with a page whose code keeps changing.
#[derive(Clone, Copy, Default)]
struct Trouble {
    kills: u32,
    /// Not to be translated again before this tick.
    until: u64,
}

/// When code is looked for in the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// The interpreter has come to it for the first time.
    Met,
    /// It would be translated now.
    Hot,
    /// Native code wants to go there, so nothing must be dropped.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for quick code"))]
    Running,
}

/// The page of code at `linear`, where control goes now.
#[cfg(target_arch = "x86_64")]
pub(crate) fn page_of(
    linear: u64,
    user: bool,
    is_unsure: bool,
    boundary: &mut Boundary,
    core: &mut Core<'_, '_>,
) -> Option<HostPage> {
    boundary.note_entry(linear);
    let known = core.env.tlb.execute(linear, user);
    if known.is_some() || !is_unsure {
        return known;
    }
    // If it faults, it does so again in the interpreter.
    core.translate(linear, Access::Execute, user).ok()?;
    core.env.tlb.execute(linear, user)
}

fn spot(place: &Place) -> Spot {
    (place.page, place.offset, place.mode, place.limit)
}

/// The memory that is mapped at `linear`. Whether that is still so when code there is run is looked at then.
fn mapped(linear: u64, cpu: &CpuState, memory: &GuestMemory) -> Option<HostPage> {
    match memory.backing(mmu::look_up(cpu, memory, linear)?) {
        Backing::Ram(page) | Backing::Rom(page) => Some(page),
        Backing::Mmio => None,
    }
}

/// What a region is known by after it was dropped.
fn name(place: &Place) -> u64 {
    hash_of(&spot(place))
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
    regions: Map<u32, Box<State>>,
    next_region: u32,
    /// By number; no number is used twice, because blocks of the interpreter may still name it.
    entries: Map<u32, Entry>,
    next_entry: u32,
    places: Map<Place, u32>,
    /// Regions of quick code that can be entered there, wherever that is mapped.
    spots: Map<Spot, u32>,
    /// How many times code that is for the code generator is still to be found hot.
    warm: Map<Place, u32>,
    /// Regions that are being translated.
    wanted: Map<Place, u32>,
    /// Regions that have bytes in a page, wanted ones included.
    pages: Map<HostPage, Vec<u32>>,
    /// In which epoch a page was last known to be mapped so: linear page, memory, user.
    cells: Map<(u64, HostPage, bool), Box<Cell>>,
    worlds: Map<(Mode, u64, u32), u32>,
    /// The one that was asked for last.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for quick code"))]
    last_world: Option<(Mode, u64, u32, u32)>,
    /// The epoch in which the interpreter entered code last.
    at: u64,
    /// About the present tick.
    now: u64,
    /// What has to go from the table of jumps.
    stale: Stale,
    /// The exit that was taken last, and the world in which it was.
    pending: Option<(u32, u32, u32)>,
    /// The last exit could not tell whether its target is still mapped.
    unsure: bool,
    trouble: Map<HostPage, Trouble>,
    /// Regions in segments, oldest segment first.
    segments: Vec<(usize, Vec<u32>)>,
    counters: Counters,
    map: Option<std::fs::File>,
    /// Quick code of the supervisor, which stays where it is, and of user programs, which come and go.
    /// Each may take what the other does not.
    spaces: [Space; 2],
    /// Entries that the interpreter has not heard of, and with 0 other blocks.
    fresh: Vec<(Place, u32)>,
    /// Code on disk, and what is to go there.
    cache: Option<Cache>,
    waiting: VecDeque<Lasting>,
    waiting_bytes: usize,
    /// Why there is no cache.
    cache_error: Option<CacheError>,
    /// A folder for what is made, for people to look at.
    dump: Option<DumpSettings>,
    /// Where budgets end.
    profile: Option<Box<Profile>>,
    /// The address in native code at which the present one has.
    short: Option<u64>,
}

impl Upper {
    fn new(settings: &Settings) -> Result<Upper, StartError> {
        let arena = Arc::new(Arena::new((settings.memory / 2).max(4 << 20))?);
        let quick = (settings.memory / 2).max(2 << 20);
        let room = quick / SEGMENT * SEGMENT;
        let mut compiler = Compiler::new(arena.clone(), settings.dump.clone())?;
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
        let (mut kept, mut cache_error) = (None, None);
        if let Some(settings) = &settings.cache {
            let open = |build| Cache::open(settings, build);
            match cache::build().ok_or(CacheError::Build).and_then(open) {
                Ok(cache) => kept = Some(cache),
                Err(error) => cache_error = Some(error),
            }
        }
        let map = settings
            .perf_map
            .then(|| std::fs::File::create(format!("/tmp/perf-{}.map", std::process::id())).ok())
            .flatten();
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
            spots: Map::default(),
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
            spaces: [
                Space::new(room, SYSTEM_CODE.min(quick / 8 * 5))?,
                Space::new(room, USER_CODE.min(quick / 8 * 3))?,
            ],
            fresh: Vec::new(),
            cache: kept,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            cache_error,
            dump: settings.dump.clone(),
            profile: settings.profile.then(Box::default),
            short: None,
        })
    }

    /// Notes where the budget has ended.
    #[cold]
    fn sample(&mut self, cpu: &CpuState, memory: &GuestMemory) {
        let region = self.short.take().and_then(|ip| {
            let linear = ip & 0xffff_ffff;
            let (Backing::Ram(page) | Backing::Rom(page)) = memory.backing(mmu::look_up(cpu, memory, linear)?) else {
                return None;
            };
            let offset = (linear % PAGE) as u16;
            let is_in = |(p, first, n): Bytes| p == page && offset.wrapping_sub(first) < n;
            let here = Page { linear: linear / PAGE, page };
            let region =
                self.pages.get(&page)?.iter().rev().filter_map(|id| self.regions.get(id)).find(|state| {
                    !state.numbers.is_empty() && state.pages.contains(&here) && state.bytes().any(is_in)
                })?;
            let address = region.place.ip.wrapping_add(region.place.base) & 0xffff_ffff;
            let (instructions, bytes) = region.size;
            Some(HotRegion { address, mode: region.place.mode, instructions, bytes, samples: 0 })
        });
        if let Some(profile) = &mut self.profile {
            profile.note(region);
        }
    }

    /// Where quick code of user programs or of the supervisor lies.
    fn space(&self, user: bool) -> &Space {
        &self.spaces[usize::from(user)]
    }
    fn space_mut(&mut self, user: bool) -> &mut Space {
        &mut self.spaces[usize::from(user)]
    }
    fn cell(&mut self, linear_page: u64, page: HostPage, user: bool) -> usize {
        let fresh = || Box::new(Cell { epoch: 0, linear: linear_page, page, user });
        let cell = self.cells.entry((linear_page, page, user)).or_insert_with(fresh);
        std::ptr::from_mut::<Cell>(cell) as usize
    }
    fn world(&mut self, place: &Place) -> u32 {
        fn number(worlds: &mut Map<(Mode, u64, u32), u32>, place: &Place) -> u32 {
            let next = worlds.len() as u32;
            *worlds.entry((place.mode, place.base, place.limit)).or_insert(next)
        }
        let world = number(&mut self.worlds, place);
        // More worlds than fit in a tag: they share numbers only after all jumps are forgotten.
        if world >= 255 {
            self.worlds.clear();
            self.last_world = None;
            self.stale = Stale::All;
            for entry in self.entries.values_mut() {
                entry.world = number(&mut self.worlds, &entry.place);
            }
            return number(&mut self.worlds, place);
        }
        world
    }

    /// The number of the mode and code segment of now, if there has been native code for them.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn find_world(&mut self, cpu: &CpuState) -> Option<u32> {
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
        let page = page_of(linear, user, is_unsure, boundary, core)?;
        let place = Place { page, offset: (linear % PAGE) as u16, mode, limit, ip, base };
        let number = match self.places.get(&place) {
            Some(&number) => number,
            None => {
                let before = core.env.memory.write_epoch();
                let number = self.load(&place, When::Running, core.cpu, core.env)?;
                if core.env.memory.write_epoch() != before {
                    core.env.tlb.flush_writes();
                    stubs::flushed(&mut core.env.tlb.tables().engine, core.env.memory);
                }
                number
            }
        };
        let entry = self.entries.get(&number)?;
        let (code, index, world, cell) = (entry.code, entry.index, entry.world, entry.cell);
        if let Some(second) = entry.second {
            // SAFETY: cells live as long as the entries that name them.
            let second = unsafe { &mut *(second.get() as *mut Cell) };
            if page_of(second.linear * PAGE, user, is_unsure, boundary, core) != Some(second.page) {
                return None;
            }
            second.epoch = boundary.epoch();
        }
        // SAFETY: as above.
        unsafe { (*(cell as *mut Cell)).epoch = boundary.epoch() };
        let jump = [cx::tag(world) | ip, code as u64, index, cell as u64];
        let at = cx::enter_jump(&mut core.env.tlb.tables().engine, ip, jump);
        if let Some((region, exit)) = exit {
            self.pending = Some((region, exit, world));
            self.link(number);
        }
        Some(at)
    }

    /// Drops a region: nothing leads to it any more.
    fn kill(&mut self, id: u32) {
        let Some(state) = self.regions.remove(&id) else { return };
        for (page, ..) in state.bytes() {
            if let Some(list) = self.pages.get_mut(&page) {
                list.retain(|&other| other != id);
            }
        }
        for number in &state.numbers {
            let entry = self.entries.remove(number);
            if let Some(entry) = entry {
                self.stale.add(entry.place.ip);
                if self.places.get(&entry.place) == Some(number) {
                    self.places.remove(&entry.place);
                }
                if state.shape.is_some() && self.spots.get(&spot(&entry.place)) == Some(&id) {
                    self.spots.remove(&spot(&entry.place));
                }
            }
        }
        for (region, exit) in &state.incoming {
            if let Some(from) = self.regions.get_mut(region) {
                let slot = &mut from.slots[*exit as usize];
                slot.code = self.glue.unlinked as u64;
                slot.number = std::ptr::from_ref(slot) as u64;
                slot.quick = stubs::link();
            }
        }
        self.pending = None;
    }

    /// Exits of region `id` that lead nowhere yet.
    fn exits(&mut self, id: u32, targets: impl Iterator<Item = u64>, page: HostPage, user: bool) -> Box<[Slot]> {
        let cell = self.cell(u64::MAX, page, user) as u64;
        let (code, quick) = (self.glue.unlinked as u64, stubs::link());
        let slot = |(n, ip)| Slot { code, number: 0, cell, ip, region: id, exit: n as u32, quick };
        let mut slots: Box<[Slot]> = targets.enumerate().map(slot).collect();
        for slot in &mut slots {
            slot.number = std::ptr::from_ref(slot) as u64;
        }
        slots
    }
    /// Watches the bytes of a region.
    fn mark(&mut self, id: u32, bytes: impl Iterator<Item = Bytes>, memory: &mut GuestMemory) {
        for (page, offset, length) in bytes {
            memory.mark_code(page, u64::from(offset), u64::from(length));
            let list = self.pages.entry(page).or_default();
            if list.last() != Some(&id) {
                list.push(id);
            }
        }
    }
    /// The interpreter is in this page at this moment.
    fn touch(&mut self, page: &Page, user: bool) {
        if let Some(cell) = self.cells.get_mut(&(page.linear, page.page, user)) {
            cell.epoch = self.at;
        }
    }

    fn order(&mut self, region: Region, memory: &mut GuestMemory, user: bool) {
        let id = self.next_region;
        self.next_region += 1;
        let slots = self.exits(id, region.exits.iter().copied(), region.place.page, user);
        let addresses = slots.iter().map(|s| std::ptr::from_ref(s) as usize).collect();
        let cells = region.pages.iter().map(|p| self.cell(p.linear, p.page, user)).collect();
        if let Some(first) = region.pages.first() {
            self.touch(first, user);
        }
        let ops = region.blocks.iter().map(|b| b.steps.iter().map(|s| Op::new(s.insn, s.later)).collect()).collect();
        self.mark(id, region.bytes.iter().copied(), memory);
        self.wanted.insert(region.place, id);
        let (place, pages) = (region.place, region.pages.clone().into());
        let unit = Arc::new(Unit { region, ops, slots: addresses, cells, pool: cx::Pool::default() });
        let to_do = unit.clone();
        let (numbers, incoming) = (Vec::new(), Vec::new());
        let (_ops, unit, shape) = (Box::default(), Some(unit), None);
        let state = State { place, size: (0, 0), pages, unit, shape, _ops, slots, numbers, incoming };
        self.regions.insert(id, Box::new(state));
        self.workshop.send(Work::Translate(id, to_do));
    }

    /// Makes quick code of a region, if that succeeds.
    fn order_quickly(&mut self, region: &Region, cpu: &CpuState, memory: &mut GuestMemory) {
        let Some(made) = quick::translate(region) else {
            self.counters.failed += 1;
            return;
        };
        let op = |&(block, number): &(usize, usize)| {
            let step = &region.blocks[block].steps[number];
            Op::new(step.insn, step.later)
        };
        let ops = made.ops.iter().map(op).collect();
        let mut piece = Piece::new(region, cpu.model, made);
        let home = self.cache.as_ref().and_then(|_| piece.at_home());
        let record = home.map(|piece| {
            let guest = piece.guest(&region.pages, memory);
            let first = piece.ranges.first().map_or(0, |&(.., length)| length);
            let print = cache::print(&guest[..usize::from(first)]);
            (print, first, piece.write(&guest))
        });
        let code = std::mem::take(&mut piece.code);
        let bytes = code.len() as u64;
        let Some(id) = self.place_piece(&region.place, Arc::new(piece), 0, code, &region.pages, ops, None, memory)
        else {
            self.counters.failed += 1;
            return;
        };
        let inside = region.blocks.iter().enumerate().filter(|(_, block)| !block.is_entry);
        self.fresh.extend(inside.map(|(number, _)| (region.place_of(number), 0)));
        self.touch(&region.pages[0], region.place.mode.has(Mode::USER));
        self.counters.regions += 1;
        self.counters.translated += region.instructions as u64;
        self.counters.bytes += bytes;
        if let Some((print, first, record)) = record {
            let key = cache::key(&region.place, cpu.model, memory);
            self.waiting_bytes += record.len();
            self.waiting.push_back(Lasting { region: id, at: self.now, key, print, first, record });
            while self.waiting_bytes > MAX_WAITING {
                self.keep_one();
            }
        }
    }

    /// Puts quick code into memory, `over` that of a region that was dropped if there is one, for guest code that is `by`
    /// bytes behind where the piece was made for; the number of the region. It is entered at `asked`, and where there
    /// is no other code yet.
    #[allow(clippy::too_many_arguments, reason = "all of one region")]
    fn place_piece(
        &mut self,
        asked: &Place,
        piece: Arc<Piece>,
        by: u32,
        mut code: Vec<u8>,
        pages: &[Page],
        ops: Box<[Op]>,
        over: Option<(usize, u32)>,
        memory: &mut GuestMemory,
    ) -> Option<u32> {
        let ip = u64::from(piece.ip.wrapping_add(by));
        let place = &Place { page: pages.first()?.page, offset: (ip % PAGE) as u16, ip, ..*asked };
        let user = place.mode.has(Mode::USER);
        let id = self.next_region;
        self.next_region += 1;
        let exits = piece.exits.iter().map(|&ip| u64::from(ip.wrapping_add(by)));
        let slots = self.exits(id, exits, place.page, user);
        let cells: Vec<usize> = pages.iter().map(|p| self.cell(p.linear, p.page, user)).collect();
        for fixup in &piece.fixups {
            let address = match fixup.of {
                Target::Op(n) => std::ptr::from_ref(&ops[n as usize]) as usize,
                Target::Exit(n) => std::ptr::from_ref(&slots[n as usize]) as usize,
                Target::Cell(n) => cells[n as usize],
            };
            code[fixup.at as usize..][..8].copy_from_slice(&(address as u64).to_le_bytes());
        }
        let others = self.space(!user).segments();
        let space = self.space_mut(user);
        let most = space.room().saturating_sub(others);
        let (at, dropped) = match over {
            Some((at, old)) => {
                space.replace(at, &code, old, id);
                (at, Vec::new())
            }
            None => space.place(&code, id, name(place), most)?,
        };
        for id in dropped {
            if let Some(region) = self.regions.get(&id) {
                let name = name(&region.place);
                self.space_mut(user).note_dropped(name);
                self.counters.evicted += 1;
                self.kill(id);
            }
        }
        if let Some(dump) = &self.dump {
            dump.write_quick(place, pages, &piece.ranges, memory, (at, &code));
        }
        self.mark(id, piece.bytes(pages), memory);
        self.note_code(place, at, code.len());
        let world = self.world(place);
        let mut numbers = Vec::new();
        for way in &piece.entries {
            let page = pages[usize::from(way.page)];
            let ip = u64::from(way.ip.wrapping_add(by));
            let place = Place { page: page.page, offset: (ip % PAGE) as u16, ip, ..*place };
            if place != *asked && self.places.contains_key(&place) {
                continue;
            }
            let second = way.second.and_then(|page| NonZeroUsize::new(cells[usize::from(page)]));
            let cell = cells[usize::from(way.page)];
            let index = (at + way.quick as usize) as u64;
            let entry = Entry { region: id, index, place, world, code: at + way.code as usize, cell, second };
            let number = self.next_entry;
            self.next_entry += 1;
            self.entries.insert(number, entry);
            self.places.insert(place, number);
            self.spots.insert(spot(&place), id);
            self.fresh.push((place, number));
            numbers.push(number);
        }
        let (pages, incoming) = (pages.into(), Vec::new());
        let size = (piece.instructions, code.len() as u32);
        let shape = Some(Shape { piece, by, at });
        let state = State { place: *place, size, pages, unit: None, shape, _ops: ops, slots, numbers, incoming };
        self.regions.insert(id, Box::new(state));
        Some(id)
    }

    /// Looks for code of `place`, where the processor is, in the cache; the number of its entry.
    fn load(&mut self, place: &Place, when: When, cpu: &CpuState, env: &mut Env<'_>) -> Option<u32> {
        let cache = self.cache.as_ref()?;
        let user = place.mode.has(Mode::USER);
        // Most of what a process comes to is run once.
        if user && when != When::Hot {
            return None;
        }
        let key = cache::key(place, cpu.model, env.memory);
        if !cache.has(key) || !quick::takes(place.mode, place.base) || self.cells.len() >= MAX_CELLS {
            return None;
        }
        if when == When::Running && !self.worlds.contains_key(&(place.mode, place.base, place.limit)) {
            return None;
        }
        let ticks = env.end_ticks.wrapping_sub(env.remaining as u64);
        if self.trouble.get(&place.page).is_some_and(|trouble| ticks < trouble.until) {
            return None;
        }
        let mut cache = self.cache.take()?;
        let memory = &*env.memory;
        let code = &memory.page(place.page)[usize::from(place.offset)..];
        let print = |n: usize| code.get(..n).map(cache::print);
        let found = cache.find(key, when == When::Hot, print, |piece, guest| {
            let by = piece.by(place, cpu.model)?;
            if when == When::Running && !self.space(user).has_place(piece.code.len()) {
                return None;
            }
            let pages = piece.pages(by, place.page, |linear| mapped(linear, cpu, memory))?;
            if !piece.matches(guest, &pages, memory) {
                return None;
            }
            let ops = piece.decode(by, &pages, memory)?;
            Some((piece, by, pages, ops))
        });
        self.cache = Some(cache);
        let (mut piece, by, pages, ops) = found?;
        let mut code = std::mem::take(&mut piece.code);
        piece.move_code(&mut code, by);
        let id = self.place_piece(place, Arc::new(piece), by, code, &pages, ops, None, env.memory)?;
        self.counters.loaded += 1;
        self.regions.get(&id)?.numbers.first().copied()
    }

    /// Makes a region once more that was made of the same memory where that is mapped elsewhere, for `place`; whether
    /// there is one.
    fn twin(&mut self, place: &Place, cpu: &CpuState, env: &mut Env<'_>) -> Option<()> {
        if place.base != 0 || place.limit != u32::MAX {
            return None;
        }
        let user = place.mode.has(Mode::USER);
        let id = *self.spots.get(&spot(place))?;
        let state = self.regions.get(&id)?;
        let Shape { piece, by: old, at } = state.shape.as_ref()?;
        let is_here = |way: &&Way| {
            let page = state.pages.get(usize::from(way.page));
            page.is_some_and(|page| page.page == place.page) && way.ip as u16 % PAGE as u16 == place.offset
        };
        let way = piece.entries.iter().find(is_here)?;
        let by = (place.ip as u32).wrapping_sub(way.ip);
        let pages = piece.pages(by, state.place.page, |linear| mapped(linear, cpu, env.memory))?;
        if pages.iter().zip(&state.pages).any(|(new, old)| new.page != old.page) {
            return None;
        }
        let ops = piece.decode(by, &pages, env.memory)?;
        let mut code = self.space(user).read(*at, state.size.1 as usize);
        piece.move_code(&mut code, by.wrapping_sub(*old));
        let piece = piece.clone();
        // What no process has come to for long gives its place up: most of those are no more.
        let first = state.pages.first()?;
        let cell = self.cells.get(&(first.linear, first.page, user));
        let is_old = cell.is_none_or(|cell| self.at.saturating_sub(cell.epoch) > LONG_AGO);
        let over = is_old.then_some((*at, id));
        if is_old {
            self.kill(id);
        }
        let new = self.place_piece(place, piece, by, code, &pages, ops, over, env.memory)?;
        if is_old {
            for lasting in self.waiting.iter_mut().filter(|lasting| lasting.region == id) {
                lasting.region = new;
            }
        }
        self.counters.twins += 1;
        Some(())
    }

    /// Hands the code that has waited longest to the cache, if it is still there.
    fn keep_one(&mut self) {
        let Some(one) = self.waiting.pop_front() else { return };
        self.waiting_bytes -= one.record.len();
        if let Some(cache) = &mut self.cache
            && self.regions.contains_key(&one.region)
            && cache.add(one.key, one.print, one.first, &one.record)
        {
            self.counters.kept += 1;
        }
    }
    /// Hands code that has lasted to the cache.
    fn keep(&mut self) {
        while self.waiting.front().is_some_and(|one| self.now.wrapping_sub(one.at) > LASTING) {
            self.keep_one();
            if self.waiting.is_empty()
                && let Some(cache) = &mut self.cache
            {
                cache.flush();
            }
        }
    }

    /// Tells who looks from outside where a region's code is.
    fn note_code(&mut self, place: &Place, at: usize, bytes: usize) {
        if let Some(map) = &mut self.map {
            use std::io::Write as _;
            let _ = writeln!(map, "{at:x} {bytes:x} guest_{:x}_{:x}", place.base, place.ip);
        }
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
                self.wanted.remove(&state.place);
            }
            self.kill(ready.id);
            return;
        };
        match self.segments.iter_mut().find(|(s, _)| *s == ready.segment) {
            Some((_, list)) => list.push(ready.id),
            None => self.segments.push((ready.segment, vec![ready.id])),
        }
        let Some(unit) = self.regions.get(&ready.id).and_then(|state| state.unit.clone()) else { return };
        self.counters.regions += 1;
        self.counters.translated += unit.region.instructions as u64;
        self.counters.bytes += ready.bytes as u64;
        self.note_code(&unit.region.place, code.first().map_or(0, |c| c.0), ready.bytes);
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
            let second = unit.region.blocks[block].second.and_then(|page| NonZeroUsize::new(unit.cells[page]));
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
            state.size = (unit.region.instructions as u32, ready.bytes as u32);
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
        if from.pages.iter().any(|p| p.linear == linear && p.page != place.page) {
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
    fn find(&mut self, place: &Place, cpu: &CpuState, env: &mut Env<'_>) -> u32 {
        let number = self.places.get(place).copied();
        number.or_else(|| self.load(place, When::Met, cpu, env)).unwrap_or(0)
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
        let start = Instant::now();
        if self.twin(place, cpu, env).is_some() || self.load(place, When::Hot, cpu, env).is_some() {
            self.counters.time += start.elapsed();
            return;
        }
        let known = |place: &Place| match self.places.contains_key(place) {
            true => Known::Native,
            false if known(place) => Known::Ran,
            false => Known::No,
        };
        if let Some(region) = explore(place, &known, self.threshold == 1, cpu, env) {
            if self.threshold > 1 && !region.is_quick && !is_ready {
                // The code generator takes its time.
                if self.warm.len() >= MAX_CELLS {
                    self.warm.clear();
                }
                self.warm.insert(*place, (HOT / self.threshold).clamp(1, PATIENCE));
                self.counters.time += start.elapsed();
                return;
            }
            if region.is_quick {
                self.order_quickly(&region, cpu, env.memory);
            } else {
                self.order(region, env.memory, cpu.cpl == 3);
            }
        }
        self.counters.time += start.elapsed();
    }
    fn collect(&mut self, mut install: impl FnMut(&Place, u32)) {
        for (place, number) in self.fresh.drain(..) {
            install(&place, number);
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
                    let at = cx::jump(ip);
                    words[at / 8] = u64::MAX;
                    words[(at ^ cx::JUMP_BESIDE) / 8] = u64::MAX;
                }
            }
        }
        if words[cx::READ / 8] == 0 {
            cx::set_functions(words);
            words[cx::UNLINKED / 8] = self.glue.unlinked as u64;
        }
        stubs::entered(words, env.memory);
        let tag = cx::tag(world);
        words[cx::TAG / 8] = tag;
        words[cx::EPOCH / 8] = boundary.epoch();
        words[cx::EXIT / 8] = 0;
        words[cx::UNSURE / 8] = 0;
        cx::enter_jump(words, ip, [tag | ip, code as u64, index, cell as u64]);
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
            cx::SHORT => {
                if self.profile.is_some() && self.short.is_none() {
                    self.short = Some(cpu.rip.wrapping_add(cpu.segment(cpu::state::Seg::Cs).base));
                }
                Native::Short
            }
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
                    Some((slot.region, slot.exit, (words[cx::TAG / 8] >> 32) as u32))
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
        let page = write.page;
        if marked && !self.is_hit(write) {
            return;
        }
        let Some(list) = self.pages.remove(&page) else { return };
        let mut kept = Vec::with_capacity(list.len());
        for id in list {
            let Some(state) = self.regions.get(&id) else { continue };
            if state.holds(write) {
                self.counters.invalidated += 1;
                self.kill(id);
                let trouble = self.trouble.entry(page).or_default();
                trouble.kills += 1;
                trouble.until = self.now.wrapping_add(100_000 << trouble.kills.min(14));
            } else {
                kept.push(id);
                for (_, first, n) in state.bytes().filter(|(p, ..)| *p == page) {
                    memory.mark_code(page, u64::from(first), u64::from(n));
                }
            }
        }
        if !kept.is_empty() {
            self.pages.insert(page, kept);
        }
    }
}

impl Upper {
    /// Whether a region holds some of what was overwritten.
    fn is_hit(&self, write: CodeWrite) -> bool {
        let list = self.pages.get(&write.page).into_iter().flatten();
        list.filter_map(|id| self.regions.get(id)).any(|state| state.holds(write))
    }
    fn forget_all(&mut self) {
        // It is not the code that was bad.
        while !self.waiting.is_empty() {
            self.keep_one();
        }
        self.pages.clear();
        let all: Vec<u32> = self.regions.keys().copied().collect();
        for id in all {
            self.kill(id);
        }
        self.wanted.clear();
        self.trouble.clear();
    }
}

impl Drop for Upper {
    fn drop(&mut self) {
        while !self.waiting.is_empty() {
            self.keep_one();
        }
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
    /// Why there is no cache, if one was asked for.
    #[must_use]
    pub fn cache_error(&self) -> Option<&CacheError> {
        self.upper.cache_error.as_ref()
    }
    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.upper.counters
    }
    /// The regions in which budgets have ended most often, if that is noted.
    #[must_use]
    pub fn hottest(&self, most: usize) -> Option<Hottest> {
        self.upper.profile.as_ref().map(|profile| profile.hottest(most))
    }
}

impl Engine for Translator {
    fn name(&self) -> &'static str {
        "jit"
    }
    fn run(&mut self, cpu: &mut CpuState, memory: &mut GuestMemory, bus: &mut dyn Bus, budget: u64) -> (Exit, u64) {
        self.upper.now = cpu.ticks;
        self.upper.keep();
        self.upper.short = None;
        let (exit, done) = self.interpreter.run_with(&mut self.upper, cpu, memory, bus, budget);
        if exit == Exit::BudgetSpent && self.upper.profile.is_some() {
            self.upper.sample(cpu, memory);
        }
        (exit, done)
    }
    fn forget(&mut self) {
        self.interpreter.forget();
        self.upper.forget_all();
    }
}
