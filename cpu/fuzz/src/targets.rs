//! What the processor must keep whatever memory, tables and registers hold.
//!
//! A case is a memory full of biased noise and a processor state. It must end within its budget
//! and leave a state that a processor can have. It is run three times: at once, again by an
//! engine that has run other things, and in small pieces, down to one instruction at a time. All
//! must agree: that sets the chained blocks against the single-step path.
//!
//! Page tables that are changed without a flush may be seen old or new, so where the tables, or
//! the registers that choose them, change during a case only the first two runs are compared.

use crate::driver::{Source, Target};
use cpu::bus::{Bus, Cycle};
use cpu::decode::{Decoded, MAX_LENGTH, decode};
use cpu::helpers::fxsave::mxcsr_mask;
use cpu::insn::Code;
use cpu::interpreter::Interpreter;
use cpu::state::{Activity, Attributes, Mode, Seg, Segment, Shadow, Table, Width, cr0, cr4, efer};
use cpu::{CpuState, Engine, Exit, GuestMemory, Model};
use std::cell::RefCell;

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "decode", run: decode_anything },
    Target { name: "run", run: |data| case(data, Kind::Plain) },
    Target { name: "paging", run: |data| case(data, Kind::Paging) },
    Target { name: "tables", run: |data| case(data, Kind::Tables) },
    Target { name: "x87", run: crate::x87::agree },
];

/// Any bytes in any mode on any model are an instruction of at most 15 bytes, or the start of one.
fn decode_anything(data: &[u8]) {
    let mut source = Source::new(data);
    for _ in 0..64 {
        let mut bytes = Vec::new();
        emit(&mut source, &mut bytes);
        bytes.extend(source.bits().to_le_bytes());
        bytes.truncate(source.below(20) as usize);
        let mut mode = Mode(source.bits() as u16 & 0x1ff);
        if !source.once_in(8) {
            mode.0 &= !Mode::LONG;
        }
        let model = source.pick(&Model::ALL);
        let ip = if mode.has(Mode::LONG) { source.bits() } else { number(&mut source) };
        match decode(&bytes, ip, mode, model) {
            Decoded::Insn(lowered) => {
                let len = usize::from(lowered.insn.len);
                assert!((1..=MAX_LENGTH).contains(&len) && len <= bytes.len(), "length {len} of {bytes:02x?}");
                if lowered.insn.code == Code::INVALID {
                    continue;
                }
                // What lies behind an instruction does not change it.
                let Decoded::Insn(again) = decode(&bytes[..len], ip, mode, model) else {
                    panic!("{:02x?} is complete and incomplete", &bytes[..len]);
                };
                assert_eq!((again.insn.len, again.insn.code), (lowered.insn.len, lowered.insn.code), "{bytes:02x?}");
            }
            Decoded::Incomplete => assert!(bytes.len() < MAX_LENGTH, "15 bytes and no end: {bytes:02x?}"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Tables that mostly make sense.
    Plain,
    /// Always paged where the model can, with tables of which much is noise.
    Paging,
    /// Protected mode with descriptors and task states of which much is noise.
    Tables,
}

const RAM: u64 = 0x4_0000;
const VIDEO: u64 = 0x8000;
const ROM: u64 = 0x1_0000;
const IDT: u64 = 0x400;
const GDT: u64 = 0x1000;
const LDT: u64 = 0x1400;
const TASKS: u64 = 0x2000;
const CODE: u64 = 0x4000;
const DATA: u64 = 0x2_0000;
const PAGES: u64 = 0x3_0000;

/// A board on which every port and every address answers something that depends on the question
/// alone, so that the moment of each access is part of what is compared.
struct Board {
    vector: Option<u8>,
    asks: bool,
    seen: Vec<[u64; 3]>,
    units: u64,
}

impl Board {
    fn mix(values: [u64; 3]) -> u64 {
        values.iter().fold(1, |hash: u64, value| (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    }
    fn note(&mut self, values: [u64; 3]) {
        self.seen.push(values);
    }
}

impl Bus for Board {
    fn port_read(&mut self, cycle: Cycle<'_>, port: u16, width: Width) -> u32 {
        self.note([cycle.ticks, u64::from(port), width.bytes()]);
        (Board::mix([cycle.ticks, u64::from(port), 7]) & width.mask()) as u32
    }
    fn port_write(&mut self, cycle: Cycle<'_>, port: u16, width: Width, value: u32) {
        self.note([cycle.ticks, u64::from(port), u64::from(value) << 8 | width.bytes()]);
        self.asks |= value & 7 == 1;
    }
    fn port_read_block(&mut self, _: Cycle<'_>, port: u16, width: Width, buffer: &mut [u8]) -> usize {
        // All units of one block are read at the same moment, and where blocks end is free.
        let unit = width.bytes() as usize;
        for chunk in buffer.chunks_exact_mut(unit) {
            self.units += 1;
            chunk.copy_from_slice(&Board::mix([self.units, u64::from(port), 9]).to_le_bytes()[..unit]);
        }
        buffer.len() / unit
    }
    fn mmio_read(&mut self, _: Cycle<'_>, address: u64, width: Width) -> u64 {
        Board::mix([address, 3, 7]) & width.mask()
    }
    fn mmio_write(&mut self, cycle: Cycle<'_>, address: u64, width: Width, value: u64) {
        // The window of the display adapter is the one place where engines do not tell the exact time.
        let ticks = if (0xa_0000..0xc_0000).contains(&address) { 0 } else { cycle.ticks };
        self.note([ticks ^ address << 24, value, width.bytes()]);
    }
    fn acknowledge_interrupt(&mut self, _: Cycle<'_>) -> Option<u8> {
        self.vector.take()
    }
    fn attention(&self) -> bool {
        self.asks
    }
}

struct Bench {
    memory: GuestMemory,
    engines: [Interpreter; 2],
}

impl Bench {
    fn new() -> Bench {
        let mut memory = GuestMemory::new(RAM, VIDEO, ROM).expect("a little memory");
        let (ram, video) = (memory.ram(), memory.video());
        let mut source = Source::new(b"rom");
        let mut bytes = Vec::new();
        while bytes.len() < ROM as usize {
            emit(&mut source, &mut bytes);
        }
        let rom = memory.add_rom(&bytes[..ROM as usize]).expect("room for it");
        memory.map(0, RAM, ram, 0, false);
        memory.map(0xa_0000, VIDEO, video, 0, false);
        memory.map(0xf_0000, ROM, rom, 0, true);
        memory.map(0x10_0000, RAM, ram, 0, false);
        memory.map(0xffff_0000, ROM, rom, 0, true);
        Bench { memory, engines: [Interpreter::new(), Interpreter::new()] }
    }
}

thread_local! {
    static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
}

/// Everything that a run leaves behind.
struct Outcome {
    cpu: CpuState,
    memory: Vec<u8>,
    done: u64,
    end: Option<Exit>,
    seen: Vec<[u64; 3]>,
    vector: Option<u8>,
}

struct Case {
    cpu: CpuState,
    memory: Vec<u8>,
    vector: Option<u8>,
    budget: u64,
}

fn contents(memory: &GuestMemory) -> Vec<u8> {
    [memory.block(memory.ram()), memory.block(memory.video())].concat()
}

fn go(bench: &mut Bench, engine: usize, case: &Case, piece: u64) -> Outcome {
    let Bench { memory, engines } = bench;
    let engine = &mut engines[engine];
    memory.write(0, &case.memory[..RAM as usize]);
    memory.write(0xa_0000, &case.memory[RAM as usize..]);
    engine.forget();
    let mut cpu = case.cpu.clone();
    let mut board = Board { vector: case.vector, asks: false, seen: Vec::new(), units: 0 };
    let (mut done, mut idle, mut end) = (0, 0, None);
    while done < case.budget {
        let budget = piece.min(case.budget - done);
        let before = cpu.retired;
        let (exit, n) = engine.run(&mut cpu, memory, &mut board, budget);
        assert!(n <= budget, "{n} instructions of {budget}");
        assert_eq!(cpu.retired, before + n, "the count of retired instructions");
        done += n;
        match exit {
            Exit::BudgetSpent => assert_eq!(n, budget, "the budget is not spent"),
            Exit::Attention => assert!(std::mem::take(&mut board.asks), "nobody asked"),
            Exit::Halted | Exit::TripleFault => {
                end = Some(exit);
                break;
            }
            Exit::Breakpoint => panic!("no breakpoint is set"),
        }
        idle = if n == 0 { idle + 1 } else { 0 };
        assert!(idle < 4, "no progress at {:x}", cpu.rip);
    }
    let mode = (cpu.mode, cpu.tlb_half);
    cpu.set_eflags(cpu.eflags());
    assert_eq!(mode, (cpu.mode, cpu.tlb_half), "the derived mode is out of date");
    check(&cpu);
    Outcome { memory: contents(memory), cpu, done, end, seen: board.seen, vector: board.vector }
}

/// What holds between any two instructions.
fn check(cpu: &CpuState) {
    assert!(cpu.rip <= 0xffff_ffff, "rip {:x}", cpu.rip);
    assert!(cpu.model != Model::I8086 || cpu.rip <= 0xffff, "rip {:x} on an 8086", cpu.rip);
    for index in 0..16 {
        assert!(cpu.gpr.get(index) <= 0xffff_ffff, "register {index} is {:x}", cpu.gpr.get(index));
    }
    assert_eq!(cpu.gpr.get(16), 0);
    assert!(cpu.cpl < 4 && cpu.fpu.top < 8 && cpu.fpu.status & 0x3800 == 0);
    assert!(!cpu.paging() || cpu.protected(), "paged real mode");
    assert!(!cpu.v86() || cpu.protected() && cpu.cpl == 3, "virtual-8086 mode at level {}", cpu.cpl);
    assert!(cpu.protected() || cpu.cpl == 0, "real mode at level {}", cpu.cpl);
    for seg in cpu.seg.iter().chain([&cpu.ldtr, &cpu.tr]) {
        let mut derived = *seg;
        derived.derive();
        assert_eq!(derived, *seg, "the derived limits are out of date");
    }
    // What a processor can reach can be restored.
    let adopted = CpuState::new(cpu.model).adopt(cpu.clone());
    assert!(adopted.is_ok(), "{adopted:?}");
}

fn compare(what: &str, one: &Outcome, two: &Outcome) {
    let differs = (one.done, one.end, one.vector) != (two.done, two.end, two.vector)
        || one.seen != two.seen
        || one.cpu != two.cpu
        || one.memory != two.memory;
    if !differs {
        return;
    }
    let (a, b) = (format!("{:#?}", one.cpu), format!("{:#?}", two.cpu));
    let lines: Vec<String> =
        a.lines().zip(b.lines()).filter(|(a, b)| a != b).map(|(a, b)| format!("{a} | {b}")).collect();
    let bytes: Vec<String> = one
        .memory
        .iter()
        .zip(&two.memory)
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(at, (a, b))| format!("{at:x}: {a:02x} {b:02x}"))
        .take(16)
        .collect();
    panic!(
        "{what}: done {} {}, end {:?} {:?}, accesses {:x?}, vector {:?} {:?}\n{}\nmemory {}",
        one.done,
        two.done,
        one.end,
        two.end,
        one.seen.iter().zip(&two.seen).find(|(a, b)| a != b),
        one.vector,
        two.vector,
        lines.join("\n"),
        bytes.join(", ")
    );
}

fn case(data: &[u8], kind: Kind) {
    BENCH.with_borrow_mut(|bench| {
        let bench = bench.get_or_insert_with(Bench::new);
        let mut source = Source::new(data);
        let case = make(&mut source, kind);
        let first = go(bench, 0, &case, u64::MAX);
        let again = go(bench, 1, &case, u64::MAX);
        compare("the second run", &first, &again);
        // Where a run ends, the engine may already have fetched what comes next, which marks
        // pages as accessed: that is all that pieces may change.
        let piece = source.pick(&[1, 1, 1, 2, 3, 7]);
        let mut pieces = go(bench, 0, &case, piece);
        let mut first = first;
        if first.cpu.paging() || pieces.cpu.paging() || case.cpu.paging() {
            let registers = |cpu: &CpuState| (cpu.cr0, cpu.cr3, cpu.cr4, cpu.pdpte, cpu.msr.efer);
            let tables = |outcome: &Outcome| {
                let old = &case.memory[PAGES as usize..RAM as usize];
                let new = &outcome.memory[PAGES as usize..RAM as usize];
                registers(&outcome.cpu) == registers(&case.cpu)
                    && old.iter().zip(new).all(|(old, new)| old & !0x60 == new & !0x60)
            };
            if kind != Kind::Plain || !tables(&first) || !tables(&pieces) {
                return;
            }
            for outcome in [&mut first, &mut pieces] {
                for byte in &mut outcome.memory[PAGES as usize..RAM as usize] {
                    *byte &= !0x60;
                }
            }
        }
        compare(&format!("pieces of {piece}"), &first, &pieces);
    });
}

/// Numbers as programs have them: places in memory, ends of ranges, noise.
fn number(source: &mut Source<'_>) -> u64 {
    const EDGES: [u64; 18] = [
        0,
        1,
        2,
        3,
        0x7f,
        0x80,
        0xff,
        0x100,
        0x7fff,
        0x8000,
        0xfffe,
        0xffff,
        0x1_0000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fff0,
        0xffff_fffe,
        0xffff_ffff,
    ];
    match source.below(8) {
        0..=2 => DATA + source.below(0x1_0000),
        3 => source.below(RAM),
        4 => source.pick(&EDGES),
        5 => source.below(16),
        6 => source.below(0x1_0000),
        _ => source.bits() & 0xffff_ffff,
    }
}

/// Appends one instruction, more or less.
fn emit(source: &mut Source<'_>, out: &mut Vec<u8>) {
    const PREFIXES: [u8; 12] = [0x66, 0x66, 0x66, 0x67, 0x67, 0xf0, 0xf2, 0xf3, 0xf3, 0x26, 0x36, 0x64];
    let noise = source.bits();
    let prefixes = match noise & 15 {
        0..=3 => 1,
        4 => 2,
        5 if noise >> 4 & 31 == 0 => 12,
        _ => 0,
    };
    for n in 0..prefixes {
        out.push(PREFIXES[(noise >> (8 + 4 * n)) as usize % PREFIXES.len()]);
    }
    let noise = source.bits();
    let [a, b, c, d, e, f, ..] = noise.to_le_bytes();
    // Mostly registers and memory through registers.
    let modrm = if a & 1 == 0 { b | 0xc0 } else { b & 0x3f | (a & 0x40) };
    match a >> 1 & 15 {
        0..=2 => out.extend([c & 0x3f, modrm, d]),
        3 => out.extend([0x80 | c & 0x0f, modrm, d]),
        4 => out.extend([0x0f, c, modrm, d]),
        5 => out.extend([0x0f, 0x40 | c & 0x3f, modrm]),
        6 => out.extend([0xd8 | c & 7, modrm, d]),
        7 => out.extend([[0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x6c, 0x6e][c as usize % 12]]),
        8 => out.extend([0xc0 | c & 0x33, modrm, d]),
        9 => out.extend([0x40 | c & 0x1f]),
        // Short jumps, mostly back.
        10 => out.extend([[0xeb, 0x75, 0x74, 0xe2, 0x72, 0x7c, 0xe8, 0xe3][c as usize % 8], d | 0x80]),
        11 => out.extend([0xb8 | c & 7, d, e, f & 3, 0]),
        12 => out.extend([[0x8e, 0x8c, 0xff, 0xf7, 0xf6, 0xfe, 0x8f, 0xc7][c as usize % 8], modrm]),
        13 => out.extend([
            [0x9c, 0x9d, 0xfa, 0xfb, 0xcf, 0xcd, 0xcc, 0xce, 0x60, 0x61, 0xc8, 0xc9, 0x17, 0x07, 0x1f, 0x9b]
                [c as usize & 15],
            d,
        ]),
        14 => out.extend([0x0f, [0x00, 0x01, 0x20, 0x22, 0x21, 0x23, 0xae, 0xc7][c as usize & 7], modrm]),
        _ => out.extend([c, modrm, d, e]),
    }
    // Halts end too many cases.
    if let Some(last) = out.last_mut()
        && *last == 0xf4
        && f & 7 != 0
    {
        *last = 0x90;
    }
}

/// A descriptor as its eight bytes.
fn descriptor(source: &mut Source<'_>, kind: Kind) -> u64 {
    let noise = source.bits();
    if noise & if kind == Kind::Tables { 3 } else { 31 } == 0 {
        return source.bits();
    }
    let dpl = (noise >> 8 & 3) * (noise >> 10 & 1);
    let pack = |base: u64, limit: u64, attributes: u64| {
        limit & 0xffff
            | (base & 0xff_ffff) << 16
            | (attributes & 0xff) << 40
            | (limit >> 16 & 15) << 48
            | (attributes >> 8 & 15) << 52
            | (base >> 24 & 0xff) << 56
    };
    let access = |kind: u64| kind | dpl << 5 | if noise >> 12 & 15 == 0 { 0 } else { 0x80 };
    match noise >> 16 & 15 {
        // Flat code and data of 32 and 16 bits.
        0..=2 => pack(0, 0xf_ffff, access(0x1a | noise >> 20 & 5) | 0xc00),
        3..=5 => pack(0, 0xf_ffff, access(0x12 | noise >> 20 & 1) | 0xc00),
        6 => pack(noise >> 24 & 0x3_fff0, 0xffff, access(0x1a)),
        7 => pack(noise >> 24 & 0x3_fff0, 0xffff, access(0x12)),
        // Expand-down, byte limits, read-only.
        8 => pack(noise >> 24 & 0x3_0000, noise >> 40 & 0xf_ffff, access(0x16) | noise >> 50 & 0xc00),
        9 => {
            pack(noise >> 24 & 0x3_0000, noise >> 40 & 0x1_ffff, access(0x10 | noise >> 20 & 15) | noise >> 50 & 0xc00)
        }
        // Task states.
        10 | 11 => {
            let types = [0x9, 0xb, 0x1, 0x3];
            let limit = [0x67, 0x67, 0x2b, 0xfff, 0x2fff][(noise >> 30) as usize % 5];
            pack(TASKS + (noise >> 24 & 3) * 0x400, limit, access(types[(noise >> 20) as usize & 3]))
        }
        12 => pack(LDT, 0xff, access(2)),
        _ => gate(source, kind),
    }
}

/// A gate as its eight bytes.
fn gate(source: &mut Source<'_>, kind: Kind) -> u64 {
    let noise = source.bits();
    let types = [0xe, 0xe, 0xf, 0x6, 0x7, 0xc, 0x4, 0x5];
    let chosen =
        if kind == Kind::Tables && noise & 7 == 0 { noise >> 3 & 31 } else { types[(noise >> 3) as usize & 7] };
    let offset = CODE + (noise >> 8 & 0x1_ffff);
    let offset = if chosen & 8 == 0 { offset & 0xffff } else { offset };
    let selector = (noise >> 40 & 0x7f) << 3 | noise >> 48 & 3;
    let access = chosen | (noise >> 50 & 3) << 5 | if noise >> 52 & 15 == 0 { 0 } else { 0x80 };
    offset & 0xffff | selector << 16 | (noise >> 56 & 3) << 32 | access << 40 | (offset >> 16) << 48
}

fn put(memory: &mut [u8], at: u64, value: u64, bytes: usize) {
    memory[at as usize..at as usize + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
}

/// Page tables in the last pages of RAM: the first page holds the directory (or the four pointers
/// of PAE), the others are tables.
fn page_tables(source: &mut Source<'_>, memory: &mut [u8], wide: bool, kind: Kind) {
    let wild = if kind == Kind::Paging { 4 } else { 64 };
    let entry = |source: &mut Source<'_>, frame: u64| {
        let noise = source.bits();
        let mut flags = 0x07 | noise & 0x168;
        if noise >> 16 & 15 == 0 {
            flags &= !(1 << (noise >> 20 & 3));
        }
        if (noise >> 24).is_multiple_of(wild) {
            let mask = if kind == Kind::Paging { 0xf_ffff_ffff } else { 0xffff_ffff };
            return source.bits() & if wide { mask | 1 << 63 } else { 0xffff_ffff };
        }
        let execute = if wide && noise >> 40 & 31 == 0 { 1 << 63 } else { 0 };
        frame << 12 | flags | execute
    };
    let size = if wide { 8 } else { 4 };
    let per_page = 4096 / size;
    let first_frame = PAGES >> 12;
    for at in (PAGES..RAM).step_by(size as usize) {
        let (page, index) = ((at - PAGES) >> 12, at % 4096 / size);
        let value = if page == 0 {
            if wide && index < 4 {
                // Directory pointers: only the address and the presence bit.
                (first_frame + 1 + index) << 12 | 1
            } else {
                let table = source.below(15) + 1;
                entry(source, first_frame + if index == 0 { 5 } else { table }) & !0x80
            }
        } else if wide && page <= 4 {
            let table = if index == 0 { 5 } else { source.below(10) + 5 };
            let large = if source.once_in(32) { 0x80 } else { 0 };
            entry(source, first_frame + table) & !0x80 | large
        } else {
            // Identity for the first table, so that most cases get somewhere.
            let frame = if page == 5 && index < RAM >> 12 { index } else { (index + page * per_page) % 320 };
            entry(source, frame)
        };
        put(memory, at, value, size as usize);
    }
    // Large pages stand in the directory of two levels, too.
    if !wide {
        for index in (4..1024).step_by(9) {
            if source.once_in(2) {
                put(memory, PAGES + index * 4, entry(source, 0) & 0xffff_f000 & !0x3f_f000 | 0xe7, 4);
            }
        }
    }
}

fn make(source: &mut Source<'_>, kind: Kind) -> Case {
    let model = if kind == Kind::Paging || source.once_in(2) { Model::PentiumM } else { source.pick(&Model::ALL) };
    let model = if kind == Kind::Tables && model == Model::I8086 { Model::I286 } else { model };
    let mut memory = vec![0; (RAM + VIDEO) as usize];
    fill(source, &mut memory, kind);
    let mut cpu = CpuState::new(model);
    let protected = model > Model::I8086 && (kind != Kind::Plain || !source.once_in(4));
    let v86 = protected && model > Model::I286 && source.once_in(6);
    let paged = protected && model > Model::I286 && (kind == Kind::Paging || source.once_in(3));
    let wide = paged && model >= Model::Pentium2 && source.once_in(2);
    for index in 0..8 {
        cpu.gpr.set(index, number(source));
    }
    if model < Model::I386 {
        for index in 0..8 {
            cpu.gpr.set(index, cpu.gpr.get(index) & 0xffff);
        }
    }
    let noise = source.bits();
    registers(source, &mut cpu, protected, paged, wide);
    if paged {
        page_tables(source, &mut memory, wide, kind);
        cpu.cr3 = PAGES;
        if wide {
            for index in 0..4u64 {
                cpu.pdpte[index as usize] = PAGES + (index + 1) * 4096 | 1;
            }
        }
    }
    cpu.gdtr = Table { base: GDT, limit: 0x3ff };
    let table = if protected && !v86 || noise & 1 == 0 { 0x7ff } else { 0x3ff };
    cpu.idtr = Table { base: if protected { IDT } else { 0 }, limit: table };
    if noise & 31 == 0 {
        cpu.idtr.limit = (noise >> 8) as u16;
        cpu.gdtr.limit = (noise >> 24) as u16;
    }
    segments(source, &mut cpu, protected, v86);
    let mut flags = source.bits() & 0x8d5;
    let system = source.bits();
    flags |= system & 0x200 & noise >> 5;
    flags |= system & 0x400;
    if protected {
        flags |= system & 0x3000;
        flags |= system & 0x4000 & system >> 20;
    }
    if system >> 8 & 15 == 0 {
        flags |= 0x100;
    }
    if model >= Model::I386 && system >> 24 & 31 == 0 {
        flags |= 0x1_0000;
    }
    if model >= Model::I486 {
        flags |= system & 0x4_0000;
    }
    if v86 {
        flags |= 0x2_0000;
        if model >= Model::Pentium {
            flags |= system & 0x18_0000;
        }
    }
    if model == Model::I8086 {
        flags |= 0xf000;
    }
    cpu.set_eflags(flags);
    cpu.update_mode();
    let budget = source.pick(&[1, 5, 20, 100, 400, 1500]) + source.below(8);
    let vector = (noise >> 16 & 3 == 0).then_some(noise as u8);
    cpu.intr = vector.is_some();
    cpu.nmi_pending = noise >> 20 & 15 == 0;
    cpu.nmi_blocked = noise >> 24 & 15 == 0;
    cpu.a20 = noise >> 28 & 7 != 0;
    cpu.shadow = source.pick(&[Shadow::None, Shadow::None, Shadow::None, Shadow::Sti, Shadow::MovSs]);
    if noise >> 32 & 63 == 0 {
        cpu.activity = Activity::Halted;
    }
    Case { cpu, memory, vector, budget }
}

fn fill(source: &mut Source<'_>, memory: &mut [u8], kind: Kind) {
    for chunk in memory.chunks_exact_mut(8) {
        // Data that is often zero or small.
        let noise = source.bits();
        let value = if noise & 3 == 0 { source.bits() } else { noise >> 32 & 0x3_ffff };
        chunk.copy_from_slice(&value.to_le_bytes());
    }
    for vector in 0..256 {
        let noise = source.bits();
        put(memory, vector * 4, noise >> 8 & 0xffff | (noise >> 24 & 0x1fff) << 16, 4);
    }
    for at in (IDT..IDT + 0x800).step_by(8) {
        put(memory, at, gate(source, kind), 8);
    }
    for at in (GDT..LDT + 0x100).step_by(8) {
        put(memory, at, descriptor(source, kind), 8);
    }
    for task in 0..4 {
        let at = TASKS + task * 0x400;
        if kind == Kind::Tables && source.once_in(3) {
            continue;
        }
        // A 32-bit task state; 16-bit ones see other fields in the same bytes.
        for word in 0..26 {
            put(memory, at + word * 4, number(source), 4);
        }
        for field in [0x00, 0x08, 0x10, 0x18, 0x48, 0x4c, 0x50, 0x54, 0x58, 0x5c, 0x60] {
            put(memory, at + field, source.below(0x80) << 3 | source.below(4), 4);
        }
        put(memory, at + 0x1c, PAGES, 4);
        put(memory, at + 0x20, CODE + source.below(0x1_0000), 4);
        put(memory, at + 0x24, source.bits() & 0x6_7ed7, 4);
        put(
            memory,
            at + 0x64,
            source.pick(&[0x68u64, 0x68, 0x88, 0x2000, 0xffff]) << 16 | u64::from(source.once_in(8)),
            4,
        );
    }
    let mut code = Vec::new();
    while code.len() < (DATA - CODE) as usize {
        emit(source, &mut code);
    }
    memory[CODE as usize..DATA as usize].copy_from_slice(&code[..(DATA - CODE) as usize]);
}

/// Control, debug, model-specific and floating-point registers.
fn registers(source: &mut Source<'_>, cpu: &mut CpuState, protected: bool, paged: bool, wide: bool) {
    let (noise, model) = (source.bits(), cpu.model);
    let mut control = cpu.cr0 & !(cr0::CD | cr0::NW);
    if protected {
        control |= cr0::PE;
    }
    if model >= Model::I286 && noise & 7 == 0 {
        control |= noise >> 3 & (cr0::MP | cr0::EM | cr0::TS);
    }
    if model >= Model::I486 {
        control |= noise >> 8 & (cr0::WP | cr0::AM | cr0::NE);
    }
    if paged {
        control |= cr0::PG;
    }
    cpu.cr0 = control;
    if model >= Model::Pentium {
        cpu.cr4 = noise >> 24 & (cr4::VME | cr4::PVI | cr4::TSD | cr4::DE | cr4::PSE);
    }
    if model >= Model::Pentium2 {
        cpu.cr4 |= noise >> 24 & (cr4::PGE | cr4::PCE);
    }
    if model >= Model::Pentium3 {
        cpu.cr4 |= cr4::OSFXSR | noise >> 24 & cr4::OSXMMEXCPT;
    }
    if wide {
        cpu.cr4 |= cr4::PAE;
        if model == Model::PentiumM && noise >> 40 & 1 == 0 {
            cpu.msr.efer |= efer::NXE;
        }
    }
    cpu.cr2 = number(source);
    if model >= Model::I386 && noise >> 44 & 15 == 0 {
        for index in 0..4 {
            cpu.dr[index] = if noise >> 50 & 1 == 0 { CODE + source.below(0x100) } else { number(source) };
        }
        cpu.dr[7] |= source.bits() & 0xffff_23ff;
    }
    cpu.msr.sysenter = [source.below(0x80) << 3, number(source), CODE + source.below(0x1000)];
    for register in &mut cpu.fpu.regs {
        register.mantissa = source.bits();
        register.sign_exponent = source.pick(&[0, 1, 0x3fff, 0x4000, 0x403e, 0x7fff, 0xffff, 0xbfff]);
        if source.once_in(2) {
            register.mantissa |= 1 << 63;
        }
    }
    let noise = source.bits();
    cpu.fpu.top = (noise & 7) as u8;
    cpu.fpu.empty = (noise >> 8) as u8 & (noise >> 16) as u8;
    cpu.fpu.control = 0x40 | (noise >> 24) as u16 & 0x0f3f;
    if noise >> 48 & 3 != 0 {
        cpu.fpu.control |= 0x3f;
    }
    cpu.fpu.status = (noise >> 40) as u16 & 0x4740;
    for register in cpu.xmm.iter_mut().take(8) {
        *register = u128::from(source.bits()) << 64 | u128::from(source.bits());
    }
    cpu.mxcsr = 0x1f80 | source.bits() as u32 & 0xe07f;
    if noise >> 60 == 0 {
        cpu.mxcsr &= !0x1f80;
    }
    cpu.mxcsr &= mxcsr_mask(model);
}

/// Segment registers as code in that mode may have left them.
fn segments(source: &mut Source<'_>, cpu: &mut CpuState, protected: bool, v86: bool) {
    let model = cpu.model;
    let noise = source.bits();
    let small = model < Model::I386;
    if !protected || v86 {
        for seg in Seg::ALL {
            let anywhere = source.below(0x4000) as u16;
            let selector = source.pick(&[0, 0, 0x400, 0x2000, 0x2800, 0xa000, 0xf000, 0xffff, anywhere]);
            let mut segment = Segment::real(selector);
            if v86 {
                segment = Segment::new(selector, u64::from(selector) << 4, 0xffff, Attributes::V86, true);
            } else if noise >> 8 & 7 == 0 && model >= Model::I386 {
                segment = Segment::new(selector, u64::from(selector) << 4, u32::MAX, Attributes(0x893), true);
            }
            cpu.seg[seg as usize] = segment;
        }
        let selector = source.pick(&[0, 0x400, 0x400, 0x800, 0xf000]);
        let attributes = if v86 { Attributes::V86 } else { Attributes::REAL_DATA };
        cpu.seg[Seg::Cs as usize] = Segment::new(selector, u64::from(selector) << 4, 0xffff, attributes, true);
        cpu.rip = if selector == 0 { CODE + source.below(0x8000) } else { source.below(0x3000) };
        if noise >> 16 & 31 == 0 {
            cpu.rip = 0xfff0 + source.below(16);
        }
        cpu.cpl = if v86 { 3 } else { 0 };
    } else {
        let cpl = source.pick(&[0, 0, 0, 3, 3, 1, 2]);
        cpu.cpl = cpl;
        let dpl = u16::from(cpl) << 5;
        let big = if small || noise & 3 == 0 { 0 } else { 0xc00 };
        for seg in Seg::ALL {
            let noise = source.bits();
            let flat = noise & 3 != 0 && !small;
            let base = if flat || seg == Seg::Cs { 0 } else { noise >> 8 & 0x3_fff0 };
            let limit = if flat && noise >> 30 & 7 != 0 { u32::MAX } else { 0xffff | (noise >> 40) as u32 & 0xf_0000 };
            let limit = if small { 0xffff } else { limit };
            let size = if small { 0 } else { big | (noise >> 48) as u16 & 0x400 };
            let selector = (noise >> 52) as u16 & 0x3f8 | u16::from(cpl);
            let attributes = match seg {
                Seg::Cs => 0x9b | dpl | big,
                Seg::Ss => 0x93 | dpl | size,
                _ if noise >> 32 & 15 == 0 => 0x91 | dpl | size,
                _ if noise >> 32 & 15 == 1 => 0x97 | dpl | size,
                _ if noise >> 32 & 15 == 2 => 0x9b | dpl | size,
                _ => 0x93 | dpl | size,
            };
            let usable = seg == Seg::Cs || seg == Seg::Ss || noise >> 36 & 15 != 0;
            cpu.seg[seg as usize] =
                Segment::new(if usable { selector } else { 0 }, base, limit, Attributes(attributes), usable);
        }
        cpu.rip = CODE + source.below(if big == 0 { 0xb000 } else { 0x1_8000 });
        if source.once_in(16) && big != 0 {
            cpu.rip = source.pick(&[0xf_0000, 0xf_fff0, 0xffff_fff0, 0x10_5000, 0xa_0000]) + source.below(16);
        }
    }
    if protected {
        let task = TASKS + source.below(4) * 0x400;
        let attributes = if small || source.once_in(4) { 0x83 } else { 0x8b };
        let limit = source.pick(&[0x67, 0x2b, 0x2fff, 0x87]);
        cpu.tr = Segment::new(0x50, task, limit, Attributes(attributes), true);
        cpu.ldtr = Segment::new(0x60, LDT, 0xff, Attributes(0x82), noise >> 60 != 0);
    }
}
