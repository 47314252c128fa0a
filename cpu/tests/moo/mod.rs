//! Hardware-captured single-step vectors: every documented result of every instruction form.
//!
//! The vectors lie unpacked where `scripts/setup` puts them; `BEIGEBOX_GUESTS` names the folder.
//! Without them these tests say so and fail, unless `BEIGEBOX_WITHOUT_GUESTS` is set.

use crate::tested::{Tested, tested};
use cpu::bus::Bus;
use cpu::engine::Engine;
use cpu::memory::GuestMemory;
use cpu::model::Model;
use cpu::state::{CpuState, Seg, Segment};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A bus on which nobody is home.
struct Nobody;

impl Bus for Nobody {}

#[derive(Default, Clone)]
struct Side {
    regs: [Option<u16>; 14],
    ram: Vec<(u32, u8)>,
}

#[derive(Default)]
struct Test {
    index: u32,
    name: String,
    bytes: Vec<u8>,
    initial: Side,
    last: Side,
    exception: Option<(u8, u32)>,
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
}

fn chunks(mut b: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut all = Vec::new();
    while b.len() >= 8 {
        let n = u32_at(b, 4) as usize;
        all.push((&b[..4], &b[8..8 + n]));
        b = &b[8 + n..];
    }
    all
}

fn side(b: &[u8]) -> Side {
    let mut s = Side::default();
    for (tag, body) in chunks(b) {
        match tag {
            b"REGS" => {
                let mask = u16::from_le_bytes([body[0], body[1]]);
                let mut at = 2;
                for (n, slot) in s.regs.iter_mut().enumerate() {
                    if mask >> n & 1 != 0 {
                        *slot = Some(u16::from_le_bytes([body[at], body[at + 1]]));
                        at += 2;
                    }
                }
            }
            b"RAM " => {
                for entry in body[4..].chunks_exact(5) {
                    s.ram.push((u32_at(entry, 0), entry[4]));
                }
            }
            _ => {}
        }
    }
    s
}

fn tests(file: &[u8]) -> Vec<Test> {
    let mut all = Vec::new();
    for (tag, body) in chunks(file) {
        if tag != b"TEST" {
            continue;
        }
        let mut t = Test { index: u32_at(body, 0), ..Test::default() };
        for (tag, body) in chunks(&body[4..]) {
            match tag {
                b"NAME" => t.name = String::from_utf8_lossy(&body[4..]).into_owned(),
                b"BYTS" => t.bytes = body[4..].to_vec(),
                b"INIT" => t.initial = side(body),
                b"FINA" => t.last = side(body),
                b"EXCP" => t.exception = Some((body[0], u32_at(body, 1))),
                _ => {}
            }
        }
        all.push(t);
    }
    all
}

const NAMES: [&str; 14] = ["ax", "bx", "cx", "dx", "cs", "ss", "ds", "es", "sp", "bp", "si", "di", "ip", "flags"];
/// Register numbers of ax bx cx dx, then sp bp si di.
const GPRS: [(usize, u8); 8] = [(0, 0), (1, 3), (2, 1), (3, 2), (8, 4), (9, 5), (10, 6), (11, 7)];
const SEGS: [(usize, Seg); 4] = [(4, Seg::Cs), (5, Seg::Ss), (6, Seg::Ds), (7, Seg::Es)];

/// More instructions than any test takes: one REP with the highest count, each iteration counting.
const LONGEST: u64 = 0x1_0100;

struct Machine {
    cpu: CpuState,
    memory: GuestMemory,
    engine: Tested,
    model: Model,
}

impl Machine {
    fn new(model: Model) -> Machine {
        let bytes = if model == Model::I8086 { 1 << 20 } else { 16 << 20 };
        let mut memory = GuestMemory::new(bytes, 0, 0).unwrap();
        let ram = memory.ram();
        memory.map(0, bytes, ram, 0, false);
        Machine { cpu: CpuState::new(model), memory, engine: tested(), model }
    }

    fn run(&mut self, t: &Test, flags_mask: u16) -> Result<(), String> {
        let mut cpu = CpuState::new(self.model);
        for (n, g) in GPRS {
            cpu.gpr.set(g, u64::from(t.initial.regs[n].unwrap()));
        }
        for (n, seg) in SEGS {
            cpu.seg[seg as usize] = Segment::real(t.initial.regs[n].unwrap());
        }
        cpu.rip = u64::from(t.initial.regs[12].unwrap());
        cpu.set_eflags(u64::from(t.initial.regs[13].unwrap()));
        for &(at, v) in &t.initial.ram {
            self.memory.write(u64::from(at), &[v]);
        }
        self.cpu = cpu;
        // The 8086 vectors stop after one instruction, the 286's after HLT has executed.
        let budget = if self.model == Model::I8086 { 1 } else { LONGEST };
        let mut bus = Nobody;
        if self.model == Model::I8086 {
            // One instruction; REP counts one an iteration, so run on while IP stands.
            for _ in 0..LONGEST {
                let before = (self.cpu.rip, self.cpu.seg[1].selector);
                self.engine.run(&mut self.cpu, &mut self.memory, &mut bus, budget);
                let repeats = t.bytes.iter().any(|b| matches!(b, 0xf2 | 0xf3));
                if !repeats || before != (self.cpu.rip, self.cpu.seg[1].selector) {
                    break;
                }
            }
        } else {
            self.engine.run(&mut self.cpu, &mut self.memory, &mut bus, budget);
        }
        let result = self.check(t, flags_mask);
        // Memory is left as the test found it: zero.
        for &(at, _) in t.initial.ram.iter().chain(&t.last.ram) {
            self.memory.write(u64::from(at), &[0]);
        }
        result
    }

    fn address_mask(&self) -> u32 {
        if self.model == Model::I8086 { 0xf_ffff } else { 0xff_ffff }
    }

    fn check(&self, t: &Test, mask: u16) -> Result<(), String> {
        let mut wrong = Vec::new();
        let want = |n: usize| t.last.regs[n].or(t.initial.regs[n]).unwrap();
        let mut compare = |n: usize, got: u16, mask: u16| {
            if (got ^ want(n)) & mask != 0 {
                wrong.push(format!("{} {:04x} want {:04x}", NAMES[n], got, want(n)));
            }
        };
        for (n, g) in GPRS {
            compare(n, self.cpu.gpr.get(g) as u16, 0xffff);
        }
        for (n, seg) in SEGS {
            compare(n, self.cpu.segment(seg).selector, 0xffff);
        }
        compare(12, self.cpu.rip as u16, 0xffff);
        let mode_mask = if self.model == Model::I8086 { 0xffff } else { 0x0fff };
        compare(13, self.cpu.eflags() as u16, mask & mode_mask);
        // A divide error pushes flags that it leaves undefined. EXCP has their address with bit 0
        // cleared (a bus address), and the 8086 set has none, so take it from the stack pointer. In
        // that set nothing else with undefined flags moves the stack pointer.
        let moved = t.last.regs[8].is_some_and(|sp| t.initial.regs[8] == Some(sp.wrapping_add(6)));
        let faulted = t.exception.is_some() || self.model == Model::I8086 && mask != 0xffff && moved;
        let stack = |at: u16| (u32::from(want(5)) << 4) + u32::from(want(8).wrapping_add(at));
        let pushed = |at: u32| {
            if !faulted { None } else { [4, 5].into_iter().find(|&n| (stack(n) ^ at) & self.address_mask() == 0) }
        };
        for &(at, v) in &t.last.ram {
            let mut b = [0];
            self.memory.read(u64::from(at), &mut b);
            // Undefined flags may have been pushed by an exception.
            let m = match pushed(at) {
                Some(4) => mask as u8,
                Some(_) => ((mask & mode_mask) >> 8) as u8,
                None => 0xff,
            };
            if (b[0] ^ v) & m != 0 {
                wrong.push(format!("[{at:05x}] {:02x} want {v:02x}", b[0]));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
    }
}

fn guests() -> PathBuf {
    std::env::var_os("BEIGEBOX_GUESTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.guests"), PathBuf::from)
}

/// All vector files of a set.
fn files(set: &str) -> Vec<PathBuf> {
    fn walk(at: &Path, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, all);
            } else if path.extension().is_some_and(|e| e == "MOO") {
                all.push(path);
            }
        }
    }
    let mut all = Vec::new();
    let root = guests().join("vectors");
    for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(set) {
            walk(&entry.path(), &mut all);
        }
    }
    all.sort();
    if all.is_empty() {
        println!("no vectors in {}: run scripts/setup", root.display());
        assert!(
            std::env::var_os("BEIGEBOX_WITHOUT_GUESTS").is_some(),
            "the hardware vectors are missing: run scripts/setup"
        );
    }
    all
}

/// Runs a set; `flags_mask` says which flags an instruction form defines.
fn run_set(set: &str, model: Model, flags_mask: impl Fn(&str, &Test) -> Option<u16>) {
    // Names a form of which every difference is shown.
    let all = std::env::var("VECTORS_OF").ok();
    let mut machine = Machine::new(model);
    let mut failures: BTreeMap<String, (usize, usize, String)> = BTreeMap::new();
    let mut total = 0;
    for path in files(set) {
        let form = path.file_stem().unwrap().to_string_lossy().into_owned();
        for t in tests(&std::fs::read(&path).unwrap()) {
            let Some(mask) = flags_mask(&form, &t) else { continue };
            total += 1;
            let entry = failures.entry(form.clone()).or_default();
            entry.1 += 1;
            if let Err(what) = machine.run(&t, mask) {
                entry.0 += 1;
                if all.as_deref() == Some(form.as_str()) {
                    println!("#{} `{}` {:02x?}: {what}", t.index, t.name, t.bytes);
                }
                if entry.2.is_empty() {
                    entry.2 = format!("#{} `{}` {:02x?}: {what}", t.index, t.name, t.bytes);
                }
            }
        }
    }
    let failed: usize = failures.values().map(|f| f.0).sum();
    for (form, (bad, of, example)) in &failures {
        if *bad != 0 {
            println!("{form}: {bad} of {of} differ, e.g. {example}");
        }
    }
    println!("{set}: {total} vectors, {failed} differ");
    assert_eq!(failed, 0, "vectors of the {set} differ");
}

/// The flags that the 80286 manual leaves undefined, by opcode and ModRM reg field.
fn undefined_286(form: &str, t: &Test) -> u16 {
    const CF: u16 = 1;
    const PF: u16 = 4;
    const AF: u16 = 0x10;
    const ZF: u16 = 0x40;
    const SF: u16 = 0x80;
    const OF: u16 = 0x800;
    let mut parts = form.split('.');
    let opcode = u8::from_str_radix(parts.next().unwrap_or(""), 16).unwrap_or(0);
    let reg = parts.next().and_then(|r| r.parse::<u8>().ok()).unwrap_or(0);
    let _ = t;
    match opcode {
        0x08..=0x0d | 0x20..=0x25 | 0x30..=0x35 | 0x84 | 0x85 | 0xa8 | 0xa9 => AF,
        0x80..=0x83 if matches!(reg, 1 | 4 | 6) => AF,
        0x27 | 0x2f => OF,
        0x37 | 0x3f => OF | SF | ZF | PF,
        0xd4 | 0xd5 => OF | AF | CF,
        0x69 | 0x6b => SF | ZF | AF | PF,
        0xf6 | 0xf7 => match reg {
            0 | 1 => AF,
            4 | 5 => SF | ZF | AF | PF,
            6 | 7 => CF | OF | SF | ZF | AF | PF,
            _ => 0,
        },
        0xc0 | 0xc1 | 0xd2 | 0xd3 if reg < 4 => OF,
        0xc0 | 0xc1 | 0xd2 | 0xd3 => OF | AF,
        0xd0 | 0xd1 if reg >= 4 => AF,
        _ => 0,
    }
}

#[test]
fn the_80286_vectors_in_real_mode() {
    run_set("286", Model::I286, |form, t| Some(!undefined_286(form, t)));
}

#[test]
fn the_8086_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cpu/tests/8086-flags.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let masks: BTreeMap<&str, u16> = text
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_once(' '))
        .map(|(form, mask)| (form, u16::from_str_radix(mask.trim(), 16).unwrap()))
        .collect();
    run_set("8086", Model::I8086, |form, _| Some(masks.get(form).copied().unwrap_or(0xffff)));
}
