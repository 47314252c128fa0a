//! Random programs on the interpreter and on the translator, which must agree on everything:
//! registers, flags, memory, exits, retired instructions, wherever the budget is cut.
//!
//! Short programs run once, all of their code translated as it comes. Long ones go on and on with ever new data and
//! interrupts, at several thresholds. The third kind is interrupted at each of its instruction boundaries.
//!
//! `BEIGEBOX_JIT_PROGRAMS` says how many short programs are run, `BEIGEBOX_JIT_MILLIONS` how many million instructions
//! the long ones are in all, `BEIGEBOX_JIT_SEED` which program is the first, `BEIGEBOX_JIT_LENGTH` how many
//! instructions a short one runs at most, and `BEIGEBOX_JIT_THRESHOLD` how often a block is interpreted before it is
//! translated (several numbers unless said).
#![cfg(any(
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
    all(target_os = "macos", target_arch = "aarch64")
))]

mod programs;

use cpu::engine::{Engine, Exit};
use cpu::flags::bits;
use cpu::interpreter::Interpreter;
use cpu::memory::{Block, GuestMemory};
use cpu::state::{CpuState, Seg};
use jit::{Settings, Translator};
use programs::{Case, DATA, Flavour, KINDS, Kind, Nobody, RAM, Random, Shape, case, data, registers};

const FLAVOURS: [Flavour; 3] = [Flavour::All, Flavour::X87, Flavour::Vectors];

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(format!("BEIGEBOX_JIT_{name}")).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

fn translator(threshold: u32, memory: usize) -> Translator {
    let settings = Settings { threshold, memory, background: Some(false), cache: None, ..Settings::default() };
    Translator::new(&settings).unwrap()
}

/// A processor with its memory.
#[derive(Clone)]
struct Board {
    cpu: CpuState,
    bytes: Vec<u8>,
}

/// An engine, and the memory that it works on.
struct Side<'a, E> {
    engine: &'a mut E,
    memory: GuestMemory,
    ram: Block,
    cpu: CpuState,
}

impl<'a, E: Engine> Side<'a, E> {
    /// Begins with nothing translated.
    fn new(engine: &'a mut E, from: &CpuState, bytes: &[u8]) -> Side<'a, E> {
        let mut memory = GuestMemory::new(RAM, 0, 0).unwrap();
        let ram = memory.ram();
        memory.map(0, RAM, ram, 0, false);
        memory.write(0, bytes);
        engine.forget();
        Side { engine, memory, ram, cpu: from.clone() }
    }
    fn bytes(&self) -> &[u8] {
        &self.memory.block(self.ram)[..RAM as usize]
    }
    /// Runs so many instructions, in pieces. How it ended.
    fn run(&mut self, pieces: &[u64]) -> Exit {
        for &budget in pieces {
            let (exit, done) = self.engine.run(&mut self.cpu, &mut self.memory, &mut Nobody, budget);
            if exit != Exit::BudgetSpent {
                self.cpu.lazy.settle();
                return exit;
            }
            assert_eq!(done, budget, "{} at {:x}", self.engine.name(), self.cpu.rip);
        }
        self.cpu.lazy.settle();
        Exit::BudgetSpent
    }
    fn is_as<O: Engine>(&self, other: &Side<'_, O>) -> bool {
        self.cpu == other.cpu && self.bytes() == other.bytes()
    }
    /// Writes what differs, as a device would.
    fn restore(&mut self, at: usize, bytes: &[u8]) {
        const PIECE: usize = 64;
        for (n, new) in bytes.chunks(PIECE).enumerate() {
            let at = at + n * PIECE;
            if self.bytes()[at..at + new.len()] != *new {
                self.memory.write(at as u64, new);
            }
        }
    }
    /// The same processor at the beginning of the program, later.
    fn restart(&mut self, from: &CpuState) {
        let (ticks, retired, cr0) = (self.cpu.ticks, self.cpu.retired, self.cpu.cr0);
        self.cpu = from.clone();
        (self.cpu.ticks, self.cpu.retired) = (ticks, retired);
        if self.cpu.cr0 != cr0 {
            // Only a processor itself can change that.
            self.engine.forget();
        }
    }
}

/// Cuts a number of instructions into pieces.
fn pieces(r: &mut Random, total: u64, often: &[u64]) -> Vec<u64> {
    let (mut left, mut all) = (total, Vec::new());
    let usual = r.pick(often);
    while left > 0 && all.len() < 40 {
        let n = if usual == u64::MAX { left } else { (1 + r.below(usual)).min(left) };
        all.push(n);
        left -= n;
    }
    if left > 0 {
        all.push(left);
    }
    all
}

/// Says which program it was when something panics.
struct Number(String);
impl Drop for Number {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in program {}", self.0);
        }
    }
}

/// The beginning of the difference of two texts.
fn differ(a: &str, b: &str) -> String {
    let at = a.bytes().zip(b.bytes()).position(|(x, y)| x != y).unwrap_or(0);
    if std::env::var_os("BEIGEBOX_JIT_WHOLE").is_some() {
        return format!("{a}\n{b}");
    }
    let from = at.saturating_sub(300);
    format!("…{}\n…{}", &a[from..(at + 60).min(a.len())], &b[from..(at + 60).min(b.len())])
}

/// Both engines have come from `before` to different ends: reports the first instruction that shows it, with a
/// translator that knows nothing yet. `None` if what a device answered depended on when the interpreter was
/// interrupted, as instructions that are fetched from it do.
fn explain(
    before: &Board,
    cuts: &[u64],
    threshold: u32,
    want: &Side<'_, Interpreter>,
    exits: (Exit, Exit),
    got: &Side<'_, Translator>,
) -> Option<String> {
    fn run<E: Engine>(mut engine: E, before: &Board, pieces: &[u64]) -> (Exit, CpuState, Vec<u8>) {
        let mut side = Side::new(&mut engine, &before.cpu, &before.bytes);
        let exit = side.run(pieces);
        (exit, side.cpu.clone(), side.bytes().to_vec())
    }
    let total: u64 = cuts.iter().sum();
    let plain = |n: u64| run(Interpreter::new(), before, &[n]);
    if run(Interpreter::new(), before, cuts) != plain(total) {
        return None;
    }
    let shortened = |n: u64| {
        let mut left = n;
        let mut all = Vec::new();
        for &cut in cuts {
            let cut = cut.min(left);
            left -= cut;
            if cut > 0 {
                all.push(cut);
            }
        }
        all
    };
    let again = |n: u64| run(translator(threshold, 8 << 20), before, &shortened(n));
    let difference = |a: &(Exit, CpuState, Vec<u8>), b: &(Exit, CpuState, Vec<u8>)| {
        let at: Vec<_> = (0..a.2.len()).filter(|&n| a.2[n] != b.2[n]).map(|n| (n, a.2[n], b.2[n])).take(8).collect();
        let texts = differ(&format!("{:x?}", a.1), &format!("{:x?}", b.1));
        format!("exits {:?} {:?}\nmemory {at:x?}\n{texts}", a.0, b.0)
    };
    if again(total) == plain(total) {
        let a = (exits.0, want.cpu.clone(), want.bytes().to_vec());
        let b = (exits.1, got.cpu.clone(), got.bytes().to_vec());
        let old = if plain(total) == a { "translator" } else { "interpreter" };
        return Some(format!("only with an old {old}; after {total} instructions\n{}", difference(&a, &b)));
    }
    let (mut low, mut high) = (0, total);
    while low + 1 < high {
        let middle = (low + high) / 2;
        if again(middle) == plain(middle) { low = middle } else { high = middle }
    }
    let (_, cpu, bytes) = plain(low.max(1));
    let at = (cpu.segment(Seg::Cs).base + cpu.rip) as usize;
    let code = bytes.get(at..(at + 16).min(bytes.len()));
    Some(format!(
        "after {high} instructions in pieces {:?}; then at {at:x}: {code:02x?}\n{:x?}\n{}",
        shortened(high),
        cpu.mode,
        difference(&plain(high), &again(high))
    ))
}

/// How many instructions were run, and how many of them were native.
#[derive(Default, Debug)]
struct Done {
    instructions: u64,
    native: u64,
}

// --- short programs ------------------------------------------------------------------------------

fn short_programs(flavour: Flavour, translator: &mut Translator, threshold: u32, programs: u64) -> Done {
    let seed = setting("SEED", 1);
    let length = setting("LENGTH", 3000);
    let mut interpreter = Interpreter::new();
    let mut done = Done { native: translator.counters().native, ..Done::default() };
    for n in seed..seed + programs {
        let mut r = Random::new(n);
        // What the code generator translates takes a thousand times longer.
        let which = if flavour == Flavour::All { r.pick(&[0, 0, 1, 1, 1, 2, 3, 4]) } else { r.pick(&[0, 1, 1]) };
        let kind = KINDS[which];
        let case = case(&mut r, flavour, kind, Shape::Ends);
        let _number = Number(format!("{n} of {flavour:?}"));
        let mut left = 1 + r.below(length);
        let mut want = Side::new(&mut interpreter, &case.cpu, &case.memory);
        let mut got = Side::new(translator, &case.cpu, &case.memory);
        let interrupts = r.below(2) == 0;
        while left > 0 {
            let total = if interrupts { (1 + r.below(300)).min(left) } else { left };
            left -= total;
            let cuts = pieces(&mut r, total, &[1, 3, 20, 200, u64::MAX]);
            let before = Board { cpu: want.cpu.clone(), bytes: want.bytes().to_vec() };
            let exit = want.run(&[total]);
            let other = got.run(&cuts);
            if exit != other || !want.is_as(&got) {
                match explain(&before, &cuts, threshold, &want, (exit, other), &got) {
                    Some(text) => panic!("{kind:?}: {text}"),
                    None => break,
                }
            }
            if exit != Exit::BudgetSpent {
                break;
            }
            let rises = interrupts && r.below(2) == 0;
            want.cpu.intr |= rises;
            got.cpu.intr |= rises;
        }
        done.instructions += want.cpu.retired;
    }
    done.native = translator.counters().native - done.native;
    assert!(done.native > done.instructions / 50, "{done:?}");
    println!("short programs {flavour:?}: {done:?}");
    done
}

fn short(flavour: Flavour) {
    let threshold = setting("THRESHOLD", 1) as u32;
    short_programs(flavour, &mut translator(threshold, 8 << 20), threshold, setting("PROGRAMS", 40));
}
#[test]
fn random_programs_run_as_on_the_interpreter() {
    short(Flavour::All);
}
#[test]
fn x87_programs_run_as_on_the_interpreter() {
    short(Flavour::X87);
}
#[test]
fn sse_programs_run_as_on_the_interpreter() {
    short(Flavour::Vectors);
}

/// With code from the cache on disk, which the first translator has made.
#[test]
fn programs_run_the_same_with_code_from_the_cache() {
    for flavour in FLAVOURS {
        let folder = tempfile::tempdir().unwrap();
        let cache = jit::CacheSettings { folder: folder.path().join("code"), limit: 64 << 20 };
        let settings = Settings {
            threshold: 1,
            memory: 8 << 20,
            background: Some(false),
            cache: Some(cache),
            ..Settings::default()
        };
        for warm in [false, true, true] {
            let mut translator = Translator::new(&settings).unwrap();
            assert!(translator.cache_error().is_none());
            short_programs(flavour, &mut translator, 1, setting("PROGRAMS", 40) / 4);
            let counters = translator.counters();
            if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
                assert_eq!(counters.loaded > 10, warm, "{counters:?}");
                assert!(warm || counters.kept > 10, "{counters:?}");
            }
        }
    }
}

// --- long programs -------------------------------------------------------------------------------

/// One program that goes on with other data and with interrupts, `total` instructions long, or until it cannot go on.
fn long_program(
    r: &mut Random,
    flavour: Flavour,
    case: &Case,
    total: u64,
    threshold: u32,
    interpreter: &mut Interpreter,
    translator: &mut Translator,
) -> u64 {
    let stepped = |i: &Interpreter| i.counters().stepped;
    let (at_first, regions) = (stepped(interpreter), translator.counters().regions);
    let mut want = Side::new(interpreter, &case.cpu, &case.memory);
    let mut got = Side::new(translator, &case.cpu, &case.memory);
    let mut before = Board { cpu: case.cpu.clone(), bytes: case.memory.clone() };
    let code = case.code.0 as usize..case.code.0 as usize + case.code.1;
    let x87 = flavour == Flavour::X87;
    // How long it runs at a time: some are disturbed often.
    let usual = r.pick(&[300u64, 3000, 20_000, 20_000, 60_000]);
    let often: &[u64] = r.pick(&[&[1, 3, 20, 200, 1000], &[200, 1000, 10_000], &[u64::MAX, 10_000], &[u64::MAX]]);
    let mut stuck = 0;
    while want.cpu.retired < total {
        let step = 1 + r.below(usual);
        let cuts = pieces(r, step, often);
        before.cpu.clone_from(&want.cpu);
        before.bytes.copy_from_slice(want.bytes());
        let exit = want.run(&[step]);
        let other = got.run(&cuts);
        if exit != other || !want.is_as(&got) {
            match explain(&before, &cuts, threshold, &want, (exit, other), &got) {
                Some(text) => panic!("{:?}: {text}", case.kind),
                None => return want.cpu.retired,
            }
        }
        if want.cpu.retired < before.cpu.retired + step / 2 {
            stuck += 1;
        }
        if stuck > 30 || !matches!(exit, Exit::BudgetSpent | Exit::Halted) {
            return want.cpu.retired;
        }
        // What the host does with both in the meantime.
        let is_dead = exit == Exit::Halted && !want.cpu.flag(bits::IF);
        let moved = want.cpu.seg[Seg::Cs as usize] != case.cpu.seg[Seg::Cs as usize] || want.cpu.mode != case.cpu.mode;
        let restarts = is_dead || r.below(if moved { 16 } else { 4 }) == 0;
        let new_registers = restarts || !moved && r.below(3) == 0;
        let new_data = (r.below(4) == 0).then(|| data(r));
        let new_code = restarts || r.below(16) == 0;
        let interrupt = r.below(2) == 0;
        let nmi = r.below(16) == 0;
        if restarts {
            want.restart(&case.cpu);
            got.restart(&case.cpu);
        }
        if new_registers {
            registers(r, &mut want.cpu, x87);
        }
        if let Some(data) = &new_data {
            want.restore(DATA.start, data);
            got.restore(DATA.start, data);
        }
        if new_code {
            want.restore(code.start, &case.memory[code.clone()]);
            got.restore(code.start, &case.memory[code.clone()]);
        }
        want.cpu.intr |= interrupt;
        want.cpu.nmi_pending |= nmi;
        got.cpu.clone_from(&want.cpu);
        // The same code again and again is what this is about.
        let instructions = want.cpu.retired;
        let is_slow = if matches!(case.kind, Kind::Flat | Kind::Paged) { 1 } else { 8 };
        if stepped(want.engine) - at_first > 3000 + instructions / 16
            || (got.engine.counters().regions - regions) * is_slow > 200 + instructions / 8000
        {
            return instructions;
        }
    }
    want.cpu.retired
}

/// Long programs, `millions` of instructions in all.
fn long_programs(flavour: Flavour, millions: u64) {
    let seed = setting("SEED", 1);
    let thresholds: &[u32] = match setting("THRESHOLD", 0) {
        0 => &[1, 3, 10, 20, 60, 120, 250],
        n => &[n as u32],
    };
    let mut engines: Vec<_> =
        thresholds.iter().map(|&t| (t, translator(t, if t == 3 { 6 << 20 } else { 16 << 20 }))).collect();
    let mut interpreter = Interpreter::new();
    let mut done = Done::default();
    let (mut programs, mut kinds) = (0, [0; KINDS.len()]);
    let start = std::time::Instant::now();
    let mut said = 0;
    let mut times = [0.0; KINDS.len()];
    while done.instructions < millions * 1_000_000 {
        let n = seed + programs;
        programs += 1;
        let stepped = interpreter.counters().stepped;
        let mut r = Random::new(n ^ 0x5555_0000_0000);
        let which = match flavour {
            Flavour::All => r.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 4]),
            _ => r.pick(&[0, 1, 1]),
        };
        let case = case(&mut r, flavour, KINDS[which], Shape::Repeats);
        // Each place where something has ever gone on is translated at a threshold of 1.
        let most = engines.len() as u64;
        let which_engine = if most > 1 && r.below(16) != 0 { 1 + r.below(most - 1) } else { 0 };
        let (threshold, translator) = &mut engines[which_engine as usize];
        let _number = Number(format!("{n} of {flavour:?}, threshold {threshold}"));
        let total = 10_000_000;
        let began = std::time::Instant::now();
        let ran = long_program(&mut r, flavour, &case, total, *threshold, &mut interpreter, translator);
        done.instructions += ran;
        kinds[which] += ran;
        if std::env::var_os("BEIGEBOX_JIT_TALK").is_some() {
            println!(
                "{n}: {:?} threshold {threshold} {ran} {:?} stepped {}",
                case.kind,
                began.elapsed(),
                interpreter.counters().stepped - stepped
            );
        }
        times[which] += began.elapsed().as_secs_f64();
        if done.instructions / 50_000_000 > said {
            said = done.instructions / 50_000_000;
            println!("{} instructions in {programs} programs after {:?}", done.instructions, start.elapsed());
        }
    }
    done.native = engines.iter().map(|(_, e)| e.counters().native).sum();
    println!("long programs {flavour:?}: {programs} programs, {done:?}, {:?}, no difference", start.elapsed());
    for (n, kind) in KINDS.into_iter().enumerate().filter(|&(n, _)| kinds[n] != 0) {
        println!("  {kind:?}: {} instructions, {:.1} s", kinds[n], times[n]);
    }
    for (threshold, engine) in &engines {
        println!("  threshold {threshold}: {:?} {:?}", engine.counters(), engine.interpreter().counters());
    }
    assert!(done.native > done.instructions / 5, "{done:?}");
}
#[test]
fn long_random_programs_run_as_on_the_interpreter() {
    long_programs(Flavour::All, setting("MILLIONS", 8));
}
#[test]
fn long_x87_programs_run_as_on_the_interpreter() {
    long_programs(Flavour::X87, setting("MILLIONS", 8).div_ceil(4));
}
#[test]
fn long_sse_programs_run_as_on_the_interpreter() {
    long_programs(Flavour::Vectors, setting("MILLIONS", 8).div_ceil(4));
}

// --- each boundary -------------------------------------------------------------------------------

/// After each number of instructions the budget ends and an interrupt comes; code is hot then.
#[test]
fn an_interrupt_may_come_between_any_two_instructions() {
    const MOST: u64 = 400;
    const BEHIND: u64 = 50;
    let (seed, programs) = (setting("SEED", 1), setting("PROGRAMS", 40) / 4);
    let mut interpreter = Interpreter::new();
    let mut boundaries = 0;
    let mut engine = translator(1, 8 << 20);
    for n in seed..seed + programs {
        let mut r = Random::new(n ^ 0xaaaa_0000_0000);
        let flavour = r.pick(&FLAVOURS);
        let kind = if flavour == Flavour::All { r.pick(&KINDS) } else { r.pick(&[Kind::Flat, Kind::Paged]) };
        let mut case = case(&mut r, flavour, kind, Shape::Repeats);
        case.cpu.system_flags |= bits::IF;
        case.cpu.intr = false;
        let _number = Number(format!("{n} of {flavour:?}, boundaries"));
        let mut want = Side::new(&mut interpreter, &case.cpu, &case.memory);
        let mut got = Side::new(&mut engine, &case.cpu, &case.memory);
        for boundary in 1..=MOST {
            let mut ended = false;
            for (part, instructions) in [boundary, BEHIND].into_iter().enumerate() {
                let before = Board { cpu: want.cpu.clone(), bytes: want.bytes().to_vec() };
                let exit = want.run(&[instructions]);
                let other = got.run(&[instructions]);
                if exit != other || !want.is_as(&got) {
                    match explain(&before, &[instructions], 1, &want, (exit, other), &got) {
                        Some(text) => panic!("{kind:?}, boundary {boundary}, part {part}: {text}"),
                        None => ended = true,
                    }
                }
                ended |= exit != Exit::BudgetSpent;
                want.cpu.intr = part == 0;
                got.cpu.intr = part == 0;
                if ended {
                    break;
                }
            }
            boundaries += 1;
            if ended {
                break;
            }
            // The page tables stay as they have become: nothing would say that they have changed.
            want.restart(&case.cpu);
            want.restore(0, &case.memory[..0x1_0000]);
            got.restart(&case.cpu);
            got.restore(0, &case.memory[..0x1_0000]);
        }
    }
    println!("{boundaries} boundaries in {programs} programs, no difference");
}
