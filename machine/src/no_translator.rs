//! The translator on hosts that have none.

use cpu::engine::{Engine, Exit};
use cpu::interpreter::Interpreter;
use cpu::memory::GuestMemory;
use cpu::{Bus, CpuState};
use std::time::Duration;

/// How it would work.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) threshold: u32,
    pub(super) memory: usize,
    pub(super) cache: Option<CacheSettings>,
    pub(super) dump: Option<DumpSettings>,
    pub(super) perf_map: bool,
    pub(super) profile: bool,
}

/// What it would write down.
#[allow(dead_code, reason = "nobody writes anything here")]
pub(super) struct DumpSettings {
    pub(super) folder: std::path::PathBuf,
    pub(super) address: Option<u64>,
}

/// Where it would keep code.
#[allow(dead_code, reason = "nobody writes anything here")]
pub(super) struct CacheSettings {
    pub(super) folder: std::path::PathBuf,
    pub(super) limit: u64,
}

/// There is none on this host.
pub(super) struct NoTranslator;

/// A translator, of which there can be none.
pub(super) enum Translator {}

/// What it would have done.
pub(super) struct Counters {
    pub(super) native: u64,
    pub(super) regions: u64,
    pub(super) translated: u64,
    pub(super) bytes: u64,
    pub(super) time: Duration,
    pub(super) invalidated: u64,
    pub(super) evicted: u64,
    pub(super) failed: u64,
    pub(super) entries: u64,
    pub(super) links: u64,
    pub(super) loaded: u64,
    pub(super) kept: u64,
}

/// A region that would have been found running.
pub(super) struct HotRegion {
    pub(super) address: u64,
    pub(super) mode: cpu::state::Mode,
    pub(super) instructions: u32,
    pub(super) bytes: u32,
    pub(super) samples: u64,
}

/// All of them.
pub(super) struct Hottest {
    pub(super) regions: Vec<HotRegion>,
    pub(super) samples: u64,
    pub(super) native: u64,
}

impl Translator {
    pub(super) fn new(_settings: &Settings) -> Result<Translator, NoTranslator> {
        Err(NoTranslator)
    }
    pub(super) fn interpreter(&self) -> &Interpreter {
        match *self {}
    }
    pub(super) fn interpreter_mut(&mut self) -> &mut Interpreter {
        match *self {}
    }
    pub(super) fn cache_error(&self) -> Option<&String> {
        match *self {}
    }
    pub(super) fn counters(&self) -> Counters {
        match *self {}
    }
    pub(super) fn hottest(&self, _most: usize) -> Option<Hottest> {
        match *self {}
    }
}

impl Engine for Translator {
    fn name(&self) -> &'static str {
        match *self {}
    }
    fn run(&mut self, _: &mut CpuState, _: &mut GuestMemory, _: &mut dyn Bus, _: u64) -> (Exit, u64) {
        match *self {}
    }
    fn forget(&mut self) {
        match *self {}
    }
}
