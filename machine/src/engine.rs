//! Which engine runs the processor, and what the machine asks of it beside running.

use cpu::engine::{Engine, Exit};
use cpu::interpreter::{Interpreter, Tracer};
use cpu::memory::GuestMemory;
use cpu::watch::{Watch, WatchHit};
use cpu::{Bus, CpuState};

#[cfg(all(
    feature = "jit",
    not(any(
        all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
        all(target_os = "macos", target_arch = "aarch64")
    ))
))]
#[path = "no_translator.rs"]
mod jit;

/// Which interpreter or translator runs the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// The interpreter, which has no thread of its own.
    #[default]
    Auto,
    /// The interpreter.
    Interpreter,
    /// The translator; where there is none, the interpreter.
    Jit,
}

/// How the translator is to work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JitSettings {
    /// Instructions that a piece of code must have run before it is translated; 1 translates
    /// everything at once. `None`: as many as have proved right.
    pub threshold: Option<u32>,
    /// Bytes of memory for translated code; `None`: 128 MiB.
    pub memory: Option<u64>,
    /// Where translated code is kept for the next run of the same guest; `None`: nowhere.
    pub cache: Option<JitCache>,
    /// A folder in which each piece of translated code is written down, as guest and host assembly, and a linear
    /// address if only those are wanted that hold it.
    pub dump: Option<(std::path::PathBuf, Option<u64>)>,
    /// Whether `perf` is told where translated code is.
    pub perf_map: bool,
    /// Whether it is noted in which translated code the guest spends its time, for [`Machine::engine_statistics`](crate::Machine::engine_statistics).
    pub profile: bool,
}

/// A folder for translated code. It is native code, as good as the emulator itself: the folder and its files are used
/// only if they belong to the user and nobody else can write them. What the guest sees does not depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JitCache {
    /// The folder; it is made if it is not there.
    pub folder: std::path::PathBuf,
    /// About how many bytes the files may take; the oldest go first.
    pub limit: u64,
}

/// The engine of a machine, and what an embedder wants to be told of.
pub(crate) struct Processor {
    engine: Kind,
    /// The engine stops at probes: only the interpreter knows how to.
    is_probed: bool,
}

enum Kind {
    Interpreter(Box<Interpreter>),
    #[cfg(feature = "jit")]
    Jit(Box<jit::Translator>),
}

impl Processor {
    /// The engine of `kind`. Where the host refuses memory for code it is the interpreter.
    pub(crate) fn new(kind: EngineKind, settings: JitSettings) -> Processor {
        #[cfg(feature = "jit")]
        if kind == EngineKind::Jit {
            let mut all = jit::Settings::default();
            if let Some(threshold) = settings.threshold {
                all.threshold = threshold;
            }
            if let Some(memory) = settings.memory {
                all.memory = usize::try_from(memory).unwrap_or(all.memory);
            }
            all.cache = settings.cache.clone().map(|c| jit::CacheSettings { folder: c.folder, limit: c.limit });
            if let Some((folder, address)) = settings.dump.clone() {
                all.dump = Some(jit::DumpSettings { folder, address });
            }
            all.perf_map |= settings.perf_map;
            all.profile = settings.profile;
            if let Ok(translator) = jit::Translator::new(&all) {
                return Processor { engine: Kind::Jit(Box::new(translator)), is_probed: false };
            }
        }
        let _ = (kind, settings);
        Processor { engine: Kind::Interpreter(Box::default()), is_probed: false }
    }
    fn engine(&mut self) -> &mut dyn Engine {
        match &mut self.engine {
            Kind::Interpreter(interpreter) => &mut **interpreter,
            #[cfg(feature = "jit")]
            Kind::Jit(translator) => &mut **translator,
        }
    }
    pub(crate) fn run(
        &mut self,
        cpu: &mut CpuState,
        memory: &mut GuestMemory,
        bus: &mut dyn Bus,
        budget: u64,
    ) -> (Exit, u64) {
        if self.is_probed {
            return self.interpreter_mut().run(cpu, memory, bus, budget);
        }
        self.engine().run(cpu, memory, bus, budget)
    }
    /// Stops at these linear addresses and behind accesses to these ranges from now on.
    pub(crate) fn set_probes(&mut self, breakpoints: Vec<u64>, watches: Vec<Watch>) {
        let is_probed = !breakpoints.is_empty() || !watches.is_empty();
        if !is_probed && !self.is_probed {
            return;
        }
        self.is_probed = is_probed;
        let interpreter = self.interpreter_mut();
        interpreter.set_breakpoints(&breakpoints);
        interpreter.set_watches(watches);
        // Translated code has not heard of what the interpreter alone has run, nor of probes.
        self.forget();
    }
    /// The accesses to watched ranges since the last call.
    pub(crate) fn take_watch_hits(&mut self) -> Vec<WatchHit> {
        if self.is_probed { self.interpreter_mut().take_watch_hits() } else { Vec::new() }
    }
    pub(crate) fn forget(&mut self) {
        self.engine().forget();
    }
    pub(crate) fn name(&self) -> &'static str {
        match &self.engine {
            Kind::Interpreter(interpreter) => interpreter.name(),
            #[cfg(feature = "jit")]
            Kind::Jit(translator) => translator.name(),
        }
    }
    /// The interpreter, or the translator's first tier.
    pub(crate) fn interpreter(&self) -> &Interpreter {
        match &self.engine {
            Kind::Interpreter(interpreter) => interpreter,
            #[cfg(feature = "jit")]
            Kind::Jit(translator) => translator.interpreter(),
        }
    }
    fn interpreter_mut(&mut self) -> &mut Interpreter {
        match &mut self.engine {
            Kind::Interpreter(interpreter) => interpreter,
            #[cfg(feature = "jit")]
            Kind::Jit(translator) => translator.interpreter_mut(),
        }
    }
    /// Why translated code is not kept, if that was asked for.
    pub(crate) fn cache_error(&self) -> Option<String> {
        match &self.engine {
            Kind::Interpreter(_) => None,
            #[cfg(feature = "jit")]
            Kind::Jit(translator) => translator.cache_error().map(ToString::to_string),
        }
    }
    pub(crate) fn set_tracer(&mut self, tracer: Option<Tracer>) {
        self.interpreter_mut().set_tracer(tracer);
    }
    /// What has been done so far, as lines for a reader. `retired` instructions were run in all.
    pub(crate) fn statistics(&self, retired: u64) -> String {
        let interpreter = self.interpreter();
        let counters = interpreter.counters();
        let (misses, flushes) = interpreter.tlb_counters();
        let lines = format!(
            "blocks decoded: {}\ninstructions decoded: {}\nblocks invalidated: {}\nblocks patched: {}\n\
             instructions run alone: {}\ninterrupts and exceptions: {}\n\
             TLB misses: {misses} ({:.3} in 1000 instructions)\nTLB flushes: {flushes}\n",
            counters.blocks,
            counters.decoded,
            counters.invalidated,
            counters.patched,
            counters.stepped,
            counters.interrupts,
            // A rate of accesses would have to count them.
            misses as f64 * 1000.0 / retired.max(1) as f64
        );
        match &self.engine {
            Kind::Interpreter(_) => lines,
            #[cfg(feature = "jit")]
            Kind::Jit(translator) => {
                let c = translator.counters();
                let share = 100.0 * c.native as f64 / retired.max(1) as f64;
                let lines = format!(
                    "{lines}instructions in translated code: {} ({share:.2} %)\nregions translated: {}\n\
                     instructions translated: {}\nbytes of translated code: {}\ntranslation time: {:.3} s\n\
                     regions invalidated: {}\nregions evicted: {}\nregions refused: {}\n\
                     entries into translated code: {}\nlinks between regions: {}\n\
                     regions made of others: {}\nregions from the cache: {}\nregions added to the cache: {}\n",
                    c.native,
                    c.regions,
                    c.translated,
                    c.bytes,
                    c.time.as_secs_f64(),
                    c.invalidated,
                    c.evicted,
                    c.failed,
                    c.entries,
                    c.links,
                    c.twins,
                    c.loaded,
                    c.kept
                );
                lines + &translator.hottest(10).map_or(String::new(), |found| hottest(&found))
            }
        }
    }
}

/// The regions in which budgets ended most often, as lines.
#[cfg(feature = "jit")]
fn hottest(found: &jit::Hottest) -> String {
    use cpu::state::Mode;
    use std::fmt::Write as _;
    let share = |n: u64| 100.0 * n as f64 / found.samples.max(1) as f64;
    let mut lines =
        format!("samples at ends of budgets: {}, {:.1} % in translated code\n", found.samples, share(found.native));
    for region in &found.regions {
        let mode = region.mode;
        let kind = match mode {
            _ if mode.has(Mode::VM86) => "virtual 8086",
            _ if mode.is_real() => "real",
            _ if mode.has(Mode::CODE32) && mode.has(Mode::FLAT) && mode.has(Mode::FLAT_CODE) => "32 bits, flat",
            _ if mode.has(Mode::CODE32) => "32 bits",
            _ => "16 bits",
        };
        let user = if mode.has(Mode::USER) && !mode.has(Mode::VM86) { ", user" } else { "" };
        let _ = writeln!(
            lines,
            "hot region {:08x} ({kind}{user}): {:.1} %, {} instructions, {} bytes",
            region.address,
            share(region.samples),
            region.instructions,
            region.bytes
        );
    }
    lines
}
