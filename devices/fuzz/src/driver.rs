//! Feeds fuzz targets with random bytes where no fuzzer is installed. Shared by all fuzz crates
//! and by the tests that run each target for a moment.

#![allow(dead_code, unreachable_pub, reason = "every user needs another part of it")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Seconds after which one case counts as a hang.
const HANG: u64 = 60;

/// Something that takes any bytes, and panics when it finds a mistake.
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Carries out one case.
    pub run: fn(&[u8]),
}

/// Random numbers: those in the input first, then a sequence that depends on the input alone, so
/// that short inputs make whole cases and a fuzzer can still steer them.
pub struct Source<'a> {
    data: &'a [u8],
    state: u64,
}

impl<'a> Source<'a> {
    /// Numbers from `data`.
    pub fn new(data: &'a [u8]) -> Source<'a> {
        let hash = data
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        Source { data, state: hash | 1 }
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        if let Some((first, rest)) = self.data.split_first_chunk() {
            self.data = rest;
            return u64::from_le_bytes(*first);
        }
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.bits() >> 11).checked_rem(bound).unwrap_or(0)
    }
    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// The bytes of case `number`.
fn input(number: u64) -> Vec<u8> {
    let seed = number.to_le_bytes();
    let mut source = Source::new(&seed);
    source.bits();
    let longest = source.pick(&[16, 64, 512, 2048, 8192]);
    let length = source.below(longest) as usize;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(source.bits().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Runs cases from number `seed` on until `time` is over or `most` are done; returns how many.
/// A failing case panics with its number, which as a seed brings it back as the first.
pub fn storm(target: &Target, seed: u64, time: Duration, most: u64) -> u64 {
    let start = Instant::now();
    let mut done = 0;
    while done < most && (done == 0 || start.elapsed() < time) {
        let number = seed.wrapping_add(done);
        CASE.store(number, Relaxed);
        BEATS.fetch_add(1, Relaxed);
        let bytes = input(number);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))) {
            eprintln!("target {} failed in case {number}", target.name);
            std::panic::resume_unwind(panic);
        }
        done += 1;
    }
    done
}

static CASE: AtomicU64 = AtomicU64::new(0);
static BEATS: AtomicU64 = AtomicU64::new(0);

/// Ends the process when a case takes longer than any may.
fn watch() {
    std::thread::spawn(|| {
        let mut seen = BEATS.load(Relaxed);
        loop {
            std::thread::sleep(Duration::from_secs(HANG));
            let now = BEATS.load(Relaxed);
            if now == seen {
                eprintln!("hang: case {} takes longer than {HANG} seconds", CASE.load(Relaxed));
                std::process::abort();
            }
            seen = now;
        }
    });
}

/// The command line: `TARGET|all SECONDS [SEED]`.
pub fn main(targets: &[Target]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = targets.iter().map(|target| target.name).collect();
    let (Some(name), Some(Ok(seconds))) = (arguments.first(), arguments.get(1).map(|text| text.parse::<u64>())) else {
        eprintln!("usage: fuzz TARGET|all SECONDS [SEED]\ntargets: {}", names.join(" "));
        std::process::exit(2);
    };
    let seed = match arguments.get(2).map(|text| text.parse()) {
        None => std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64),
        Some(Ok(seed)) => seed,
        Some(Err(_)) => {
            eprintln!("fuzz: the seed is no number");
            std::process::exit(2);
        }
    };
    let chosen: Vec<&Target> = targets.iter().filter(|target| name == "all" || name == target.name).collect();
    if chosen.is_empty() {
        eprintln!("fuzz: no target `{name}`; there are: {}", names.join(" "));
        std::process::exit(2);
    }
    watch();
    for target in chosen {
        let start = Instant::now();
        let cases = storm(target, seed, Duration::from_secs(seconds), u64::MAX);
        println!("{}: {cases} cases from {seed} in {:.1} s", target.name, start.elapsed().as_secs_f32());
    }
}
