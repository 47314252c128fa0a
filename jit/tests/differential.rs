//! Random programs on the interpreter and on the translator, which must agree on everything:
//! registers, flags, memory, exits, retired instructions, wherever the budget is cut.
//!
//! `BEIGEBOX_JIT_PROGRAMS` says how many programs are run, `BEIGEBOX_JIT_SEED` which is the first, and
//! `BEIGEBOX_JIT_LENGTH` how many instructions each runs at most, and `BEIGEBOX_JIT_THRESHOLD` how often a block is
//! interpreted before it is translated.
#![cfg(any(
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")),
    all(target_os = "macos", target_arch = "aarch64")
))]

use cpu::Model;
use cpu::bus::{Bus, Cycle};
use cpu::engine::{Engine, Exit};
use cpu::interpreter::Interpreter;
use cpu::memory::GuestMemory;
use cpu::state::{Attributes, CpuState, Seg, Segment, Table, Width, cr0, cr4, gpr};
use jit::{Settings, Translator};

const RAM: u64 = 1 << 20;
const CODE: u64 = 0x4000;
const IDT: u64 = 0x1000;
const GDT: u64 = 0x1800;
const HANDLER: u64 = 0x2000;
const TSS: u64 = 0x3000;
const STACK_0: u64 = 0x3f00;
const PAGES: u64 = 0x10_000;

struct Nobody;
impl Bus for Nobody {
    fn port_read(&mut self, cycle: Cycle<'_>, port: u16, width: Width) -> u32 {
        (cycle.ticks as u32).wrapping_mul(31).wrapping_add(u32::from(port)) & width.mask() as u32
    }
    fn port_write(&mut self, _cycle: Cycle<'_>, _port: u16, _width: Width, _value: u32) {}
    fn mmio_read(&mut self, cycle: Cycle<'_>, address: u64, width: Width) -> u64 {
        let ticks = if (0xa_0000..0xc_0000).contains(&address) { 0 } else { cycle.ticks };
        (ticks ^ address.wrapping_mul(0x9e37_79b9)) & width.mask()
    }
    fn mmio_write(&mut self, _cycle: Cycle<'_>, _address: u64, _width: Width, _value: u64) {}
    fn acknowledge_interrupt(&mut self, _cycle: Cycle<'_>) -> Option<u8> {
        Some(0x20)
    }
    fn attention(&self) -> bool {
        false
    }
}

struct Random(u64);
impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A ModRM byte with what follows it.
fn operand(r: &mut Random, reg: u8, wide: bool) -> Vec<u8> {
    let reg = reg << 3;
    match r.below(10) {
        0..=4 => vec![0xc0 | reg | r.byte() & 7],
        _ if !wide => vec![r.pick(&[0x44, 0x45, 0x47]) | reg, r.byte() & 0x7f],
        5 => {
            let at = 0x8000 + r.below(0x3ffe) as u32;
            let mut v = vec![0x05 | reg];
            v.extend(at.to_le_bytes());
            v
        }
        6 | 7 => vec![0x40 | reg | r.pick(&[3, 5, 6, 7]), r.byte()],
        8 => vec![0x44 | reg, 0x24, r.byte() & 0x3f],
        _ => vec![0x04 | reg, r.pick(&[0x0b, 0x4b, 0x93, 0xd6, 0x3e])],
    }
}

fn instruction(r: &mut Random, wide: bool, vectors: bool, here: usize, length: usize) -> Vec<u8> {
    let mut v = Vec::new();
    if r.below(8) == 0 {
        v.push(0x66);
    }
    if r.below(40) == 0 {
        v.push(r.pick(&[0x26, 0x2e, 0x36, 0x64, 0x65]));
    }
    let small = wide == (v.first() == Some(&0x66));
    let imm = |r: &mut Random, v: &mut Vec<u8>| {
        let value = r.pick(&[r.0 as u32, r.0 as u32 & 0xff, 1, 0x7fff_ffff, 0x8000, u32::MAX]);
        v.extend(&value.to_le_bytes()[..if small { 2 } else { 4 }]);
    };
    let reg = r.byte() & 7;
    match r.below(if vectors { 50 } else { 46 }) {
        46..=49 => {
            v = vector_instruction(r, wide);
        }
        0..=9 => {
            v.push((r.byte() & 7) << 3 | r.byte() & 3);
            v.extend(operand(r, reg, wide));
        }
        10..=12 => {
            let op = r.pick(&[0x80, 0x81, 0x83]);
            v.push(op);
            v.extend(operand(r, reg, wide));
            if op == 0x81 { imm(r, &mut v) } else { v.push(r.byte()) }
        }
        13 | 14 => {
            v.push(r.pick(&[0x88, 0x89, 0x8a, 0x8b, 0x84, 0x85, 0x86, 0x87]));
            v.extend(operand(r, reg, wide));
        }
        15 => {
            v.push(0xb8 | reg);
            imm(r, &mut v);
        }
        16 | 17 => v.push(0x40 | r.byte() & 15),
        18..=20 => {
            v.push(r.pick(&[0xc0, 0xc1]));
            v.extend(operand(r, reg, wide));
            v.push(r.byte() & 0x3f);
        }
        21..=23 => {
            v.push(r.pick(&[0xd0, 0xd1, 0xd2, 0xd3]));
            v.extend(operand(r, reg, wide));
        }
        24 | 25 => {
            let op = r.pick(&[0xf6, 0xf7]);
            v.push(op);
            let reg = if r.below(12) == 0 { reg } else { reg & 3 | reg & 4 * u8::from(reg & 2 == 0) };
            v.extend(operand(r, reg, wide));
            if reg < 2 {
                if op == 0xf6 { v.push(r.byte()) } else { imm(r, &mut v) }
            }
        }
        26 => {
            v.extend([0x0f, r.pick(&[0xaf, 0xb6, 0xb7, 0xbe, 0xbf, 0xb0, 0xb1, 0xc0, 0xc1, 0xbc, 0xbd])]);
            v.extend(operand(r, reg, wide));
        }
        27 => {
            v.extend([0x0f, r.pick(&[0x40, 0x90]) | r.byte() & 15]);
            v.extend(operand(r, reg, wide));
        }
        28 => {
            v.extend([0x0f, r.pick(&[0xa3, 0xab, 0xb3, 0xbb])]);
            v.extend([0xc0 | reg << 3 | r.byte() & 7]);
        }
        29 => {
            v.extend([0x0f, 0xba]);
            v.extend(operand(r, 4 | reg & 3, wide));
            v.push(r.byte());
        }
        30 => {
            let op = r.pick(&[0xa4, 0xa5, 0xac, 0xad]);
            v.extend([0x0f, op]);
            v.extend(operand(r, reg, wide));
            if op & 1 == 0 {
                v.push(r.byte());
            }
        }
        31 => {
            let op = r.pick(&[0x69, 0x6b]);
            v.push(op);
            v.extend(operand(r, reg, wide));
            if op == 0x69 { imm(r, &mut v) } else { v.push(r.byte()) }
        }
        32 | 33 => v.push(0x50 | r.byte() & 15),
        34 => {
            v.push(0x8d);
            v.extend(operand(r, reg, wide));
            let at = v.len() - 1;
            if v[at] >= 0xc0 && v.len() < 4 {
                v[at] = 0x40 | v[at] & 0x3f & !7 | 6;
                v.push(r.byte());
            }
        }
        35 => v.push(r.pick(&[0x98, 0x99, 0x9e, 0x9f, 0xf5, 0xf8, 0xf9, 0xfc, 0xfc, 0xfd, 0x9c, 0x27, 0x37, 0xd6])),
        36 => v.push(r.pick(&[0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xa6, 0xa7])),
        37 => v.extend([r.pick(&[0xf2, 0xf3]), r.pick(&[0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xae, 0xa6])]),
        38 => {
            v.push(0xff);
            let reg = r.pick(&[0, 1, 6]);
            v.extend(operand(r, reg, wide));
        }
        39 => {
            v.extend([0x0f, 0xc8 | reg]);
        }
        40..=43 => {
            // A jump inside the program, mostly forwards.
            let to = if r.below(3) == 0 { r.below(length as u64) as i64 } else { here as i64 + r.below(40) as i64 };
            let back = to - here as i64 - v.len() as i64 - 2;
            if (-128..128).contains(&back) {
                v.extend([r.pick(&[0x70, 0x70, 0x70, 0xe0]), back as u8]);
                let at = v.len() - 2;
                v[at] = if v[at] == 0x70 { 0x70 | r.byte() & 15 } else { 0xe0 | r.byte() & 3 };
                if r.below(6) == 0 {
                    v[at] = 0xeb;
                }
            }
        }
        44 => {
            // A call and, somewhere, a return.
            if r.below(2) == 0 {
                v.push(0xc3);
            } else if v.is_empty() {
                let to = r.below(length as u64) as i32;
                let back = to - here as i32 - if wide { 5 } else { 3 };
                v.push(0xe8);
                v.extend(&back.to_le_bytes()[..if wide { 4 } else { 2 }]);
            }
        }
        _ => match r.below(14) {
            10 => {
                let some: [&[u8]; 6] = [&[0x06], &[0x0e], &[0x16], &[0x1e], &[0x0f, 0xa0], &[0x0f, 0xa8]];
                v.extend_from_slice(r.pick(&some));
            }
            11 => {
                v.push(0x8c);
                let reg = r.below(6) as u8;
                v.extend(operand(r, reg, wide));
            }
            12 => {
                let some: [&[u8]; 4] = [&[0x06, 0x07], &[0x1e, 0x1f], &[0x1e, 0x07], &[0x0f, 0xa0, 0x0f, 0xa9]];
                v.extend_from_slice(r.pick(&some));
            }
            13 => v.extend([0x9c, 0x9d]),
            0 => v.extend([0xe4, r.byte()]),
            1 => v.push(r.pick(&[0xfa, 0xfb])),
            2 => v.extend([0x0f, 0x31]),
            3 => v.extend([0xd9, r.pick(&[0xe8, 0xee, 0xeb, 0xe0])]),
            4 => v.extend([0xd8 | r.byte() & 6, 0xc0 | r.byte() & 0x3f]),
            5 => v.extend([0xdf, 0xe0]),
            // A store into the program itself.
            6 if wide => {
                v.extend([0xc6, 0x05]);
                v.extend((CODE as u32 + r.below(length as u64) as u32).to_le_bytes());
                v.push(r.pick(&[0x90, 0x40, 0xf8, 0x48, 0x91]));
            }
            7 | 8 if wide => v.extend([0xcd, 0x30]),
            _ => v.push(0x60 | r.byte() & 1),
        },
    }
    v
}

/// SSE2, with and without prefixes.
fn vector_instruction(r: &mut Random, wide: bool) -> Vec<u8> {
    let mut v = Vec::new();
    let reg = r.byte() & 7;
    let prefix = r.pick(&[0, 0x66, 0xf2, 0xf3]);
    if prefix != 0 {
        v.push(prefix);
    }
    let op = match r.below(4) {
        0 => r.pick(&[0x51, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x5b, 0x5c, 0x5e, 0x2a, 0x2c, 0x2d]),
        1 => r.pick(&[0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x28, 0x29, 0x2e, 0x2f, 0x5d, 0x5f]),
        2 => 0x60 + r.below(0xa0) as u8,
        _ => r.pick(&[0x6e, 0x7e, 0xd6, 0x6f, 0x7f, 0x50, 0xd7, 0xc2, 0xc6, 0x70, 0x71, 0x72, 0x73, 0xe7, 0xfa]),
    };
    // Jumps, system instructions and the like have their own place.
    let op = if matches!(op, 0x77..=0x7b | 0x80..=0xc1 | 0xc3 | 0xc7..=0xcf | 0xff) { 0xef } else { op };
    v.extend([0x0f, op]);
    let reg = if matches!(op, 0x71..=0x73) { r.pick(&[2, 4, 6]) } else { reg };
    v.extend(operand(r, reg, wide));
    if matches!(op, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) {
        v.push(r.byte() & if op == 0xc2 { 7 } else { 0xff });
    }
    v
}

/// Control words in memory, most of them with all exceptions masked.
const CONTROL: u64 = 0xcfe0;

/// An x87 instruction, or one that goes with them.
fn x87_instruction(r: &mut Random, wide: bool) -> Vec<u8> {
    match r.below(40) {
        0 if wide => {
            let mut v = vec![0xd9, 0x2d];
            v.extend((CONTROL as u32 + 2 * r.below(12) as u32).to_le_bytes());
            v
        }
        1 => vec![0xdf, 0xe0, 0x9e],
        2 => vec![0xdb, r.pick(&[0xe2, 0xe2, 0xe3])],
        3 => vec![0x9b],
        4 => vec![0xd9, r.pick(&[0xe4, 0xe5, 0xf0, 0xf1, 0xf2, 0xf8, 0xfa, 0xfb, 0xfc, 0xfd])],
        5 | 6 => vec![r.pick(&[0xda, 0xdb]), 0xc0 | r.byte() & 0x1f],
        7 | 8 => vec![r.pick(&[0xdb, 0xdf]), 0xe8 | r.byte() & 0x17],
        9..=11 => vec![0xd9, 0xe8 | r.byte() & 7],
        _ => {
            let (first, mut number) = (0xd8 | r.byte() & 7, r.byte() & 7);
            // Not too many environments, and few unmasked exceptions from there.
            if matches!((first, number), (0xd9, 4 | 5) | (0xdd, 4)) && r.below(12) != 0 {
                number = 0;
            }
            let mut v = vec![first];
            v.extend(operand(r, number, wide));
            v
        }
    }
}

/// An x87 state of every kind.
fn x87_state(r: &mut Random, cpu: &mut CpuState) {
    let fpu = &mut cpu.fpu;
    for value in &mut fpu.regs {
        let exponent = match r.below(4) {
            0 => r.pick(&[0u16, 0, 1, 2, 0x3f80, 0x3c00, 0x43ff, 0x407f, 0x403e, 0x7ffe, 0x7fff, 0x7fff]),
            1 => r.next() as u16 & 0x7fff,
            _ => 0x3fff - 20 + r.below(60) as u16,
        };
        value.sign_exponent = exponent | r.pick(&[0, 0x8000]);
        value.mantissa = match r.below(5) {
            0 => r.pick(&[0, 1, 1 << 63, 3 << 62, u64::MAX, !0 << 11, (1 << 63) | (1 << 10), 1 << 62, (1 << 63) | 1]),
            1 => r.next(),
            2 => 1 << 63 | r.next() << 11,
            _ => 1 << 63 | r.next(),
        };
        if exponent == 0 && r.below(2) == 0 {
            value.mantissa = 0;
        }
    }
    fpu.control = r.pick(&[0x37f, 0x37f, 0x27f, 0x27f, 0x7f, 0xf7f, 0x77f, 0xb7f, 0xe7f, 0x37b, 0x340]);
    fpu.top = r.byte() & 7;
    fpu.empty = r.pick(&[0xff, 0xff, 0, 0x1f, 0xf0, r.0 as u8]);
    fpu.status = r.next() as u16 & 0x477f;
    fpu.opcode = r.next() as u16 & 0x7ff;
    (fpu.ip, fpu.cs, fpu.dp, fpu.ds) = (r.next() & 0xffff_ffff, 0x1234, r.next() & 0xffff_ffff, 0x4321);
    if r.below(2) == 0 {
        cpu.cr0 |= cr0::NE;
    }
    cpu::helpers::coprocessor::summarize(cpu);
}

struct Case {
    memory: Vec<u8>,
    cpu: CpuState,
    total: u64,
}

/// What the instructions are that a program has beside all others.
#[derive(Clone, Copy, PartialEq)]
enum Flavour {
    All,
    /// x87 instructions, in 32-bit code.
    X87,
    /// SSE instructions, in 32-bit code.
    Vectors,
}

fn case(r: &mut Random, flavour: Flavour) -> Case {
    let x87 = flavour == Flavour::X87;
    let kind = r.below(if flavour == Flavour::All { 4 } else { 3 });
    let wide = kind != 3;
    let user = wide && r.below(2) == 0;
    let vectors = r.below(2) == 0;
    let mut memory = vec![0; RAM as usize];
    for chunk in memory[0x8000..0xd000].chunks_exact_mut(8) {
        chunk.copy_from_slice(&r.next().to_le_bytes());
    }
    for chunk in memory[CONTROL as usize..CONTROL as usize + 24].chunks_exact_mut(2) {
        let word: u16 = r.pick(&[0x37f, 0x27f, 0x7f, 0xf7f, 0xc7f, 0x77f, 0xb7f, 0xff, 0xffff, 0x37f, 0x27f, 0x37d]);
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    let length = 40 + r.below(300) as usize;
    let mut code = Vec::new();
    while code.len() < length {
        let here = code.len();
        match flavour {
            Flavour::X87 if r.below(4) != 0 => code.extend(x87_instruction(r, wide)),
            Flavour::Vectors if r.below(4) != 0 => code.extend(vector_instruction(r, wide)),
            _ => code.extend(instruction(r, wide, vectors, here, length)),
        }
    }
    code.push(0xf4);
    // Now and then the program lies across a page boundary.
    let start = if r.below(3) == 0 { CODE + 0x1000 - r.below(length as u64) } else { CODE + r.below(64) };
    memory[start as usize..start as usize + code.len()].copy_from_slice(&code);
    let mut cpu = CpuState::new(Model::PentiumM);
    for seg in Seg::ALL {
        let mut limit = if wide { u32::MAX } else { 0xffff };
        let mut base = 0;
        if matches!(seg, Seg::Fs | Seg::Gs) {
            (base, limit) = (0x8000, 0x2fff);
        }
        if seg == Seg::Cs && wide && r.below(6) == 0 {
            limit = start as u32 + r.below(length as u64) as u32;
        }
        if seg == Seg::Ds && r.below(6) == 0 {
            limit = limit.min(0xa7ff);
        }
        let attributes = match (wide, seg) {
            (false, _) => Attributes::REAL_DATA,
            (_, Seg::Cs) => Attributes(if user { 0xcfb } else { 0xc9b }),
            _ => Attributes(if user { 0xcf3 } else { 0xc93 }),
        };
        let selector = if !wide {
            0
        } else {
            match (seg, user) {
                (Seg::Cs, false) => 8,
                (_, false) => 16,
                (Seg::Cs, true) => 0x1b,
                (_, true) => 0x23,
            }
        };
        cpu.seg[seg as usize] = Segment::new(selector, base, limit, attributes, true);
    }
    if wide {
        cpu.cr0 |= cr0::PE;
        // Exceptions and interrupts count, skip a byte of the program and return.
        for vector in 0..256u64 {
            let at = (IDT + 8 * vector) as usize;
            let handler = HANDLER + if matches!(vector, 8 | 10..=14 | 17) { 0x40 } else { 0 };
            memory[at..at + 2].copy_from_slice(&(handler as u16).to_le_bytes());
            memory[at + 2..at + 8].copy_from_slice(&[8, 0, 0, 0xee, 0, 0]);
        }
        let descriptors: [u64; 4] =
            [0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00cf_fb00_0000_ffff, 0x00cf_f300_0000_ffff];
        for (n, d) in (1usize..).zip(descriptors) {
            memory[GDT as usize + 8 * n..GDT as usize + 8 * n + 8].copy_from_slice(&d.to_le_bytes());
        }
        // inc dword [0xf000]; inc dword [esp]; iretd
        let plain = [0x2e, 0xff, 0x05, 0, 0xf0, 0, 0, 0xff, 0x04, 0x24, 0xcf];
        let plain = if r.below(2) == 0 { &plain[7..] } else { &plain[1..] };
        // Loads CR3; or maps a page, or not any more, and says so.
        let first: &[u8] = match r.below(if kind >= 1 { 4 } else { 2 }) {
            0 | 1 => &[],
            2 => &[0x50, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0x58],
            _ => &[0x80, 0x35, 0x24, 0x10, 0x01, 0x00, 0x01, 0x0f, 0x01, 0x3d, 0x00, 0x90, 0x00, 0x00],
        };
        let plain = &[first, plain].concat()[..];
        memory[HANDLER as usize..HANDLER as usize + plain.len()].copy_from_slice(plain);
        // add esp, 4 first.
        memory[HANDLER as usize + 0x40..HANDLER as usize + 0x43].copy_from_slice(&[0x83, 0xc4, 4]);
        memory[HANDLER as usize + 0x43..HANDLER as usize + 0x43 + plain.len()].copy_from_slice(plain);
        cpu.idtr = Table { base: IDT, limit: 0x7ff };
        cpu.gdtr = Table { base: GDT, limit: 0x27 };
        if user {
            memory[TSS as usize + 4..TSS as usize + 8].copy_from_slice(&(STACK_0 as u32).to_le_bytes());
            memory[TSS as usize + 8] = 16;
            cpu.tr = Segment::new(0x28, TSS, 0x67, Attributes(0x8b), true);
            cpu.cpl = 3;
        }
    }
    if kind >= 1 && wide {
        // Identical pages, a few of them missing or read-only.
        memory[PAGES as usize..PAGES as usize + 4].copy_from_slice(&(PAGES as u32 + 0x1007).to_le_bytes());
        for n in 0..256u64 {
            let rights = if (9..12).contains(&n) && r.below(4) == 0 { r.pick(&[0, 1, 5]) } else { 7 };
            let at = (PAGES + 0x1000 + 4 * n) as usize;
            memory[at..at + 4].copy_from_slice(&((n * 4096) as u32 | rights).to_le_bytes());
        }
        cpu.cr3 = PAGES;
        cpu.cr0 |= cr0::PG | cr0::WP;
    }
    for n in 0..8 {
        cpu.gpr.set(n, u64::from(r.next() as u32) & r.pick(&[0xffff_ffff, 0xff, 0x1f]));
    }
    for n in [gpr::BX, gpr::BP, gpr::SI, gpr::DI] {
        cpu.gpr.set(n, 0x8000 + r.below(0x4000));
    }
    cpu.gpr.set(gpr::SP, 0xe000 + (r.below(0x200) & !3));
    // Numbers that make trouble, and others.
    let number = |r: &mut Random| {
        let double = r.pick(&[
            0,
            1 << 63,
            0x3ff0_0000_0000_0000,
            0xbfe8_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0x7ff8_0000_0000_0123,
            0xfff8_0000_0000_0456,
            0x7ff0_0000_0000_0789,
            0x0000_0000_0000_0001,
            0x0010_0000_0000_0000,
            0x7fef_ffff_ffff_ffff,
            0x41df_ffff_ffc0_0000,
            0xc1e0_0000_0000_0000,
            0x4024_cccc_cccc_cccd,
        ]);
        let single = |r: &mut Random| {
            u64::from(r.pick(&[0u32, 0x3f80_0000, 0xbf40_0000, 0x7f80_0000, 0x7fc0_0001, 0x7f80_0002, 1, 0x7f7f_ffff]))
        };
        match r.below(3) {
            0 => double,
            1 => single(r) | single(r) << 32,
            _ => r.next(),
        }
    };
    for n in 0..8 {
        cpu.xmm[n] = u128::from(number(r)) | u128::from(number(r)) << 64;
    }
    if r.below(4) != 0 {
        for chunk in memory[0x8000..0x9000].chunks_exact_mut(8) {
            chunk.copy_from_slice(&number(r).to_le_bytes());
        }
    }
    if r.below(8) != 0 {
        cpu.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT;
    }
    cpu.mxcsr = r.pick(&[0x1f80, 0x1f80, 0x1fa0, 0x3f80, 0x5fc0, 0xff80, 0x1f00]);
    if r.below(12) == 0 {
        cpu.cr0 |= r.pick(&[cr0::TS, cr0::EM]);
    }
    if x87 || r.below(4) == 0 {
        x87_state(r, &mut cpu);
    }
    cpu.set_eflags(r.next() & 0x8d5 | r.pick(&[0, 0x200]));
    cpu.intr = wide && r.below(3) == 0;
    cpu.rip = start;
    cpu.update_mode();
    Case { memory, cpu, total: 1 + r.below(setting("LENGTH", 3000)) }
}

/// What is to be equal.
#[derive(PartialEq, Debug)]
struct Outcome {
    exits: Vec<(Exit, u64)>,
    cpu: String,
    memory: u64,
}

/// Where a run is interrupted: after so many instructions more; whether the interrupt line rises there.
type Cut = (u64, bool);

/// The same interrupts without the other cuts.
fn only_interrupts(cuts: &[Cut]) -> Vec<Cut> {
    let mut all = Vec::new();
    let mut sum = 0;
    for &(cut, interrupts) in cuts {
        sum += cut;
        if interrupts {
            all.push((std::mem::take(&mut sum), true));
        }
    }
    all
}

fn run(engine: &mut dyn Engine, case: &Case, cuts: &[Cut]) -> (Outcome, Vec<u8>) {
    let mut memory = GuestMemory::new(RAM, 0, 0).unwrap();
    let ram = memory.ram();
    memory.map(0, 0xa_0000, ram, 0, false);
    memory.write(0, &case.memory[..0xa_0000]);
    let mut cpu = case.cpu.clone();
    engine.forget();
    let mut left = case.total;
    let mut exits = Vec::new();
    for &(cut, interrupts) in cuts.iter().chain(&[(u64::MAX, false)]) {
        let budget = cut.min(left);
        if budget == 0 {
            break;
        }
        let (exit, done) = engine.run(&mut cpu, &mut memory, &mut Nobody, budget);
        left -= budget;
        if exit != Exit::BudgetSpent {
            exits.push((exit, cpu.retired));
            break;
        }
        assert_eq!(done, budget, "{} at {:x} {exit:?} {:x?}", engine.name(), cpu.rip, cpu.fpu);
        cpu.intr |= interrupts;
    }
    cpu.lazy.settle();
    let mut bytes = vec![0; 0xa_0000];
    memory.read(0, &mut bytes);
    let sum = bytes.iter().fold(0u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (Outcome { exits, cpu: format!("{cpu:x?}"), memory: sum }, bytes)
}

/// Says which program it was when something panics.
struct Number(u64);
impl Drop for Number {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in program {}", self.0);
        }
    }
}

fn differ(a: &str, b: &str) -> String {
    let at = a.bytes().zip(b.bytes()).position(|(x, y)| x != y).unwrap_or(0);
    if std::env::var_os("BEIGEBOX_JIT_WHOLE").is_some() {
        return format!("{a}\n{b}");
    }
    let from = at.saturating_sub(300);
    format!("…{}\n…{}", &a[from..(at + 60).min(a.len())], &b[from..(at + 60).min(b.len())])
}

#[test]
fn random_programs_run_as_on_the_interpreter() {
    compare(Flavour::All);
}
#[test]
fn x87_programs_run_as_on_the_interpreter() {
    compare(Flavour::X87);
}
#[test]
fn sse_programs_run_as_on_the_interpreter() {
    compare(Flavour::Vectors);
}

/// With code from the cache on disk, which the first translator has made.
#[test]
fn programs_run_the_same_with_code_from_the_cache() {
    for flavour in [Flavour::All, Flavour::X87, Flavour::Vectors] {
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
            compare_on(flavour, &mut translator);
            let counters = translator.counters();
            if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
                assert_eq!(counters.loaded > 10, warm, "{counters:?}");
                assert!(warm || counters.kept > 10, "{counters:?}");
            }
        }
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(format!("BEIGEBOX_JIT_{name}")).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

fn compare(flavour: Flavour) {
    let threshold = setting("THRESHOLD", 1) as u32;
    let settings = Settings { threshold, memory: 8 << 20, background: Some(false), cache: None, ..Settings::default() };
    compare_on(flavour, &mut Translator::new(&settings).unwrap());
}
fn compare_on(flavour: Flavour, translator: &mut Translator) {
    let (programs, seed) = (setting("PROGRAMS", 30), setting("SEED", 1));
    let mut interpreter = Interpreter::new();
    let mut instructions = 0;
    for n in seed..seed + programs {
        let mut r = Random(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        r.next();
        let case = case(&mut r, flavour);
        let _number = Number(n);
        let interrupts = case.cpu.cr0 & cr0::PE != 0 && r.below(2) == 0;
        let cuts: Vec<Cut> = (0..r.below(12)).map(|_| (1 + r.below(60), interrupts && r.below(2) == 0)).collect();
        let plain = only_interrupts(&cuts);
        let (want, _) = run(&mut interpreter, &case, &plain);
        let (got, _) = run(translator, &case, &cuts);
        instructions += case.total;
        // Code that is fetched from a device depends on when that is, and so on the cuts.
        if want != got && run(&mut interpreter, &case, &cuts).0 == want {
            // The shortest run that shows it.
            let (mut low, mut high) = (0, case.total);
            while low + 1 < high {
                let middle = (low + high) / 2;
                let short = Case { memory: case.memory.clone(), cpu: case.cpu.clone(), total: middle };
                let same = run(&mut interpreter, &short, &plain).0 == run(translator, &short, &cuts).0;
                if same { low = middle } else { high = middle }
            }
            let short = Case { memory: case.memory.clone(), cpu: case.cpu.clone(), total: high };
            let (want, expected) = run(&mut interpreter, &short, &plain);
            let (got, bytes) = run(translator, &short, &cuts);
            let before = Case { memory: case.memory.clone(), cpu: case.cpu.clone(), total: high.max(2) - 1 };
            let mut memory = GuestMemory::new(RAM, 0, 0).unwrap();
            let ram = memory.ram();
            memory.map(0, 0xa_0000, ram, 0, false);
            memory.write(0, &case.memory[..0xa_0000]);
            let mut cpu = case.cpu.clone();
            interpreter.forget();
            interpreter.run(&mut cpu, &mut memory, &mut Nobody, before.total);
            let mut code = [0; 16];
            memory.read(cpu.segment(Seg::Cs).base + cpu.rip, &mut code);
            let at: Vec<_> = (0..bytes.len())
                .filter(|&n| expected[n] != bytes[n])
                .map(|n| (n, expected[n], bytes[n]))
                .take(8)
                .collect();
            panic!(
                "program {n} after {high} instructions; then at {:x}: {code:02x?}\n{:x?}\nexits {:?} {:?}\nmemory {at:x?}\n{}",
                cpu.rip,
                cpu.fpu,
                want.exits,
                got.exits,
                differ(&want.cpu, &got.cpu)
            );
        }
    }
    let native = translator.counters().native;
    assert!(native > instructions / 50, "{native} of {instructions} instructions were native");
    println!("{instructions} instructions, {native} native");
}
