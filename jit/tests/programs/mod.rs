//! Random programs, and the states in which they are begun.
#![allow(missing_docs, dead_code, reason = "shared by tests")]

use cpu::Model;
use cpu::bus::{Bus, Cycle};
use cpu::state::{Attributes, CpuState, Seg, Segment, Table, Width, cr0, cr4, gpr};

/// Bytes of memory; above them a device answers.
pub const RAM: u64 = 0x2_0000;
/// Where programs are.
pub const CODE: u64 = 0x4000;
/// What they compute with.
pub const DATA: std::ops::Range<usize> = 0x8000..0xd000;
const IDT: u64 = 0x1000;
const GDT: u64 = 0x1800;
const HANDLER: u64 = 0x2000;
const TSS: u64 = 0x3000;
const STACK_0: u64 = 0x3f00;
const STACK: u64 = 0xe000;
const PAGES: u64 = 0x10_000;

/// A board on which every address and port answers something.
pub struct Nobody;
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

pub struct Random(pub u64);
impl Random {
    pub fn new(seed: u64) -> Random {
        let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        r.next();
        r
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    pub fn byte(&mut self) -> u8 {
        self.next() as u8
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
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

/// Sometimes a comparison with memory comes once more: now it goes well.
fn again(r: &mut Random, v: &mut Vec<u8>) {
    if r.below(2) == 0 {
        v.extend_from_within(..);
    }
}

fn instruction(r: &mut Random, wide: bool, vectors: bool, here: usize, length: usize, start: u32) -> Vec<u8> {
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
            let op = r.pick(&[0xaf, 0xb6, 0xb7, 0xbe, 0xbf, 0xb0, 0xb1, 0xc0, 0xc1, 0xbc, 0xbd]);
            v.extend([0x0f, op]);
            v.extend(operand(r, reg, wide));
            if op & 0xfe == 0xb0 {
                again(r, &mut v);
            }
        }
        27 => {
            v.extend([0x0f, r.pick(&[0x40, 0x90]) | r.byte() & 15]);
            v.extend(operand(r, reg, wide));
        }
        28 => {
            let op = r.pick(&[0xa3, 0xab, 0xb3, 0xbb]);
            if r.below(2) == 0 {
                v.extend([0x0f, op, 0xc0 | reg << 3 | r.byte() & 7]);
            } else {
                // Of memory that is not far away.
                let prefixes = v.clone();
                let is_behind = r.below(2) == 0;
                v.extend([0x81, if is_behind { 0xe0 } else { 0xc8 } | reg]);
                let mask = if is_behind { 0xfff_u32 } else { 0xffff_f000 };
                v.extend(&mask.to_le_bytes()[..if small { 2 } else { 4 }]);
                v.extend(prefixes);
                v.extend([0x0f, op]);
                v.extend(operand(r, reg, wide));
            }
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
        39 => match r.below(4) {
            0 => {
                v.extend([0x0f, 0xc7]);
                v.extend(operand(r, 1, wide));
                again(r, &mut v);
            }
            1 => {
                v.extend([0x0f, r.pick(&[0xb1, 0xc1])]);
                v.extend(operand(r, reg, wide));
                again(r, &mut v);
            }
            2 => {
                // The flags are set by what follows.
                v.extend([0x0f, r.pick(&[0xa5, 0xad]), 0xc0 | reg << 3 | r.byte() & 7, 0x85, 0xc0]);
            }
            _ => v.extend([0x0f, 0xc8 | reg]),
        },
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
        _ => match r.below(17) {
            13 => {
                let some: [&[u8]; 6] = [&[0x06], &[0x0e], &[0x16], &[0x1e], &[0x0f, 0xa0], &[0x0f, 0xa8]];
                v.extend_from_slice(r.pick(&some));
            }
            14 => {
                v.push(0x8c);
                let reg = r.below(6) as u8;
                v.extend(operand(r, reg, wide));
            }
            15 => {
                let some: [&[u8]; 4] = [&[0x06, 0x07], &[0x1e, 0x1f], &[0x1e, 0x07], &[0x0f, 0xa0, 0x0f, 0xa9]];
                v.extend_from_slice(r.pick(&some));
            }
            16 => v.extend([0x9c, 0x9d]),
            // An indirect jump or call to somewhere in the program, or a long conditional one.
            10 | 11 => {
                let to = r.below(length as u64);
                if r.below(2) == 0 {
                    let far = to as i32 - (here + v.len()) as i32 - if small { 4 } else { 6 };
                    v.extend([0x0f, 0x80 | r.byte() & 15]);
                    v.extend(&far.to_le_bytes()[..if small { 2 } else { 4 }]);
                } else {
                    let reg = r.pick(&[0, 1, 2]);
                    v = vec![0xb8 | reg];
                    v.extend(&(start + to as u32).to_le_bytes()[..if wide { 4 } else { 2 }]);
                    v.extend([0xff, r.pick(&[0xd0, 0xe0]) | reg]);
                }
            }
            12 => {
                let reg = reg & 3;
                v = vec![r.pick(&[0xc8, 0xc9, 0xd4, 0xd5, 0xd7, 0x2f, 0x3f, 0x62, 0xce, 0xc2])];
                match v[0] {
                    0xc8 => v.extend([r.byte() & 0x3f, 0, r.byte() & 3]),
                    0xd4 | 0xd5 => v.push(r.byte()),
                    0x62 => v.extend([0x44 | reg << 3, if wide { 0x24 } else { 0x10 }, 0x10]),
                    0xc2 => v.extend([r.byte() & 12, 0]),
                    _ => {}
                }
            }
            0 => v.extend([0xe4, r.byte()]),
            1 => v.push(r.pick(&[0xfa, 0xfb])),
            2 => v.extend([0x0f, 0x31]),
            3 => v.extend([0xd9, r.pick(&[0xe8, 0xee, 0xeb, 0xe0])]),
            4 => v.extend([0xd8 | r.byte() & 6, 0xc0 | r.byte() & 0x3f]),
            5 => v.extend([0xdf, 0xe0]),
            // A store into the program itself.
            6 if wide => {
                v.extend([0xc6, 0x05]);
                v.extend((start + r.below(length as u64) as u32).to_le_bytes());
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

/// Selectors, all with RPL 3 where that is their level: see [`DESCRIPTORS`].
const CODE_16: u16 = 0x30;
const CODE_16_USER: u16 = 0x3b;
const SELECTORS: [u16; 16] =
    [0, 0x10, 0x20, 0x23, 0x43, 0x43, 0x48, 0x53, 0x5b, 0x63, 0x8, 0x1b, 0x6b, 0x73, CODE_16, CODE_16_USER];
const DESCRIPTORS: [u64; 14] = [
    0x00cf_9b00_0000_ffff, // 08 code, flat, level 0
    0x00cf_9300_0000_ffff, // 10 data, flat, level 0
    0x00cf_fb00_0000_ffff, // 18 code, flat, level 3
    0x00cf_f300_0000_ffff, // 20 data, flat, level 3
    0,                     // 28
    0x0000_9b00_0000_ffff, // 30 code of 16 bits, level 0
    0x0000_fb00_0000_ffff, // 38 code of 16 bits, level 3
    0x0000_f300_8000_3fff, // 40 data at 8000h, 16 KiB, level 3
    0x0000_9300_0000_ffff, // 48 data of 64 KiB, level 0
    0x0000_f700_0000_8fff, // 50 data from 9000h on, growing down, level 3
    0x0000_f300_0000_ffff, // 58 data of 64 KiB, level 3
    0x00cf_f100_0000_ffff, // 60 data, read-only
    0x00cf_9f00_0000_ffff, // 68 conforming code
    0x00cf_7300_0000_ffff, // 70 not present
];

/// The segment register that has loaded this.
fn segment(selector: u16) -> Segment {
    let Some(d) = usize::from(selector >> 3).checked_sub(1).and_then(|n| DESCRIPTORS.get(n)).filter(|d| **d != 0)
    else {
        return Segment::new(selector & 3, 0, 0, Attributes(0), false);
    };
    let base = d >> 16 & 0xff_ffff | d >> 32 & 0xff00_0000;
    let limit = (d & 0xffff | d >> 32 & 0xf_0000) as u32;
    let attributes = Attributes((d >> 40 & 0xff | d >> 44 & 0xf00) as u16);
    let limit = if attributes.granular() { limit << 12 | 0xfff } else { limit };
    Segment::new(selector, base, limit, attributes, true)
}

/// An instruction that looks at the mode, or changes it. `wide` becomes that of the code behind it.
fn system_instruction(r: &mut Random, wide: &mut bool, user: bool, start: u32, here: usize) -> Vec<u8> {
    // What makes an operand or an immediate of 32 bits of one of 16, or the reverse.
    let long: &[u8] = if *wide { &[] } else { &[0x66] };
    let short: &[u8] = if *wide { &[0x66] } else { &[] };
    let selector = r.pick(&SELECTORS).to_le_bytes();
    match r.below(16) {
        // A jump or a call to the next instruction, in code of the other size.
        0..=3 => {
            let flat = if user { 0x1bu16 } else { 8 };
            let other = if user { CODE_16_USER } else { CODE_16 };
            let to = if *wide { other } else { flat };
            let op = if r.below(4) == 0 { 0x9a } else { 0xea };
            let size = if *wide { 7 } else { 5 };
            let mut v = vec![op];
            let next = start + (here + size) as u32;
            v.extend(&next.to_le_bytes()[..if *wide { 4 } else { 2 }]);
            v.extend(to.to_le_bytes());
            *wide = !*wide;
            v
        }
        // A segment register.
        4..=6 => [short, &[0xb8], &selector, &[0x8e, r.pick(&[0xc0, 0xd8, 0xe0, 0xe8])]].concat(),
        7 => [&[0x8c][..], &[r.pick(&[0xc0, 0xc8, 0xd0, 0xd8, 0xe3])]].concat(),
        8 => r.pick(&[[0x06, 0x07], [0x16, 0x17], [0x1e, 0x1f], [0x0e, 0x07], [0x16, 0x1f]]).to_vec(),
        // CR0: WP, AM, NE, TS, MP, and seldom PG or PE.
        9 | 10 => {
            let bit = match r.below(24) {
                0 => cr0::PG as u32,
                1 => cr0::PE as u32,
                _ => r.pick(&[cr0::WP, cr0::WP, cr0::AM, cr0::NE, cr0::TS, cr0::MP]) as u32,
            };
            [&[0x0f, 0x20, 0xc0][..], long, &[0x35], &bit.to_le_bytes(), &[0x0f, 0x22, 0xc0]].concat()
        }
        // EFLAGS, seldom with TF.
        11 => {
            let mut flags = r.pick(&[0x4_0000u32, 0x200, 0x3000, 0x400, 0x8d5, 0x20_0000]) | r.0 as u32 & 0x8d5;
            if r.below(40) == 0 {
                flags |= 0x100;
            }
            [long, &[0x68], &flags.to_le_bytes(), long, &[0x9d]].concat()
        }
        12 => r.pick(&[[0x0f, 0x06], [0x0f, 0xa2], [0x0f, 0x09], [0x0f, 0x31], [0xfa, 0xfb], [0x9c, 0x9d]]).to_vec(),
        // SLDT, STR, VERR, VERW, SMSW, LMSW, INVLPG, LAR, LSL
        13 => {
            let mut v = vec![0x0f, r.pick(&[0, 0, 1])];
            let number = if v[1] == 0 { r.pick(&[0, 1, 4, 5]) } else { r.pick(&[4, 6, 7]) };
            v.extend(operand(r, number, *wide));
            v
        }
        14 => [&[0x0f, r.pick(&[2, 3])][..], &[0xc0 | r.byte() & 0x3f]].concat(),
        _ => vec![0xcd, r.pick(&[0x30, 0x31, 3, 4])],
    }
}

/// Whether an instruction leaves pointers alone and goes only where they lead: programs of such ones hardly ever fault.
fn is_tame(bytes: &[u8], wide: bool) -> bool {
    use iced_x86::{Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, OpAccess, Register};
    let decoder = Decoder::new(if wide { 32 } else { 16 }, bytes, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    decoder.into_iter().all(|i| {
        let pointers = [Register::EBX, Register::ESP, Register::EBP, Register::ESI, Register::EDI];
        let writes =
            |access| !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::None | OpAccess::NoMemAccess);
        let steers = info.info(&i).used_registers().iter().any(|used| {
            let pointer = used.register().full_register32();
            writes(used.access())
                && pointers.contains(&pointer)
                && !(pointer == Register::ESP && i.is_stack_instruction())
        });
        !i.is_invalid()
            && !steers
            && !i.is_privileged()
            && i.memory_index() == Register::None
            && (i.memory_base() != Register::None || i.memory_displacement32() < 0xc000)
            && i.segment_prefix() == Register::None
            && !i.has_lock_prefix()
            && !matches!(i.flow_control(), FlowControl::Return | FlowControl::Exception | FlowControl::Interrupt)
    })
}

/// A program, and the state in which it is begun.
#[derive(Clone)]
pub struct Case {
    pub memory: Vec<u8>,
    pub cpu: CpuState,
    pub kind: Kind,
    /// First byte and number of bytes.
    pub code: (u64, usize),
}

/// What the instructions are that a program has beside all others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Flavour {
    All,
    X87,
    Vectors,
}

/// What the processor is like.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// Flat segments of 32 bits.
    Flat,
    /// The same with paging.
    Paged,
    Real,
    /// A virtual 8086, with or without paging.
    Virtual,
    /// Segments that are not flat, or of 16 bits.
    Segments,
}
pub const KINDS: [Kind; 5] = [Kind::Flat, Kind::Paged, Kind::Real, Kind::Virtual, Kind::Segments];

/// Whether a program ends, or begins again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Shape {
    Ends,
    Repeats,
}

/// Numbers that make trouble, and others.
fn number(r: &mut Random) -> u64 {
    let single = |r: &mut Random| {
        u64::from(r.pick(&[0u32, 0x3f80_0000, 0xbf40_0000, 0x7f80_0000, 0x7fc0_0001, 0x7f80_0002, 1, 0x7f7f_ffff]))
    };
    match r.below(3) {
        0 => r.pick(&[
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
        ]),
        1 => single(r) | single(r) << 32,
        _ => r.next(),
    }
}

/// What is to be computed with, in [`DATA`].
pub fn data(r: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0; DATA.len()];
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&r.next().to_le_bytes());
    }
    if r.below(4) != 0 {
        for chunk in bytes[..0x1000].chunks_exact_mut(8) {
            chunk.copy_from_slice(&number(r).to_le_bytes());
        }
    }
    for chunk in bytes[CONTROL as usize - DATA.start..][..24].chunks_exact_mut(2) {
        let word: u16 = r.pick(&[0x37f, 0x27f, 0x7f, 0xf7f, 0xc7f, 0x77f, 0xb7f, 0xff, 0xffff, 0x37f, 0x27f, 0x37d]);
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Registers of every kind, as programs want them.
pub fn registers(r: &mut Random, cpu: &mut CpuState, x87: bool) {
    for n in 0..8 {
        cpu.gpr.set(n, u64::from(r.next() as u32) & r.pick(&[0xffff_ffff, 0xff, 0x1f]));
    }
    for n in [gpr::BX, gpr::BP, gpr::SI, gpr::DI] {
        cpu.gpr.set(n, 0x8000 + r.below(0x4000));
    }
    cpu.gpr.set(gpr::SP, STACK + (r.below(0x200) & !3));
    for n in 0..8 {
        cpu.xmm[n] = u128::from(number(r)) | u128::from(number(r)) << 64;
    }
    cpu.mxcsr = r.pick(&[0x1f80, 0x1f80, 0x1fa0, 0x3f80, 0x5fc0, 0xff80, 0x1f00]);
    if x87 || r.below(4) == 0 {
        x87_state(r, cpu);
    }
    cpu.lazy.set_all(r.next() & 0x8d5);
}

pub fn case(r: &mut Random, flavour: Flavour, kind: Kind, shape: Shape) -> Case {
    let x87 = flavour == Flavour::X87;
    let (is_real, is_virtual) = (kind == Kind::Real, kind == Kind::Virtual);
    let mut wide = !is_real && !is_virtual && (kind != Kind::Segments || r.below(2) == 0);
    let user = is_virtual || !is_real && r.below(2) == 0;
    let is_paged = kind == Kind::Paged || !is_real && kind != Kind::Flat && r.below(2) == 0;
    let vectors = r.below(2) == 0;
    let mut memory = vec![0; RAM as usize];
    memory[DATA].copy_from_slice(&data(r));

    let length = match (shape, r.below(6)) {
        (Shape::Repeats, 0) => 400 + r.below(3500) as usize,
        (_, 1 | 2) => 20 + r.below(60) as usize,
        _ => 40 + r.below(300) as usize,
    };
    // Now and then the program lies across a page boundary.
    let start = if r.below(3) == 0 { CODE + 0x1000 - r.below(length.min(0xfff) as u64) } else { CODE + r.below(64) };
    let first_is_wide = wide;
    // Programs that overwrite themselves again and again are hardly translated.
    let overwrites = shape == Shape::Ends || r.below(8) == 0;
    let mode = if shape == Shape::Ends { r.pick(&[0, 0, 30, 100]) } else { r.pick(&[0, 0, 0, 0, 0, 60, 150]) };
    let tame = shape == Shape::Repeats && r.below(3) != 0;
    let mut code = Vec::new();
    if shape == Shape::Repeats {
        // Pointers that lead into the data.
        for reg in [3, 5, 6, 7] {
            let at = 0x8000 + r.below(0x4000) as u32;
            code.push(0xb8 | reg);
            code.extend(&at.to_le_bytes()[..if wide { 4 } else { 2 }]);
        }
        code.push(0xbc);
        code.extend(&(STACK as u32 + (r.below(0x200) as u32 & !3)).to_le_bytes()[..if wide { 4 } else { 2 }]);
        if x87 && r.below(2) == 0 {
            code.extend([0xdb, 0xe3]);
        }
    }
    let again = code.len();
    while code.len() < length {
        let here = code.len();
        if mode != 0 && r.below(mode) == 0 {
            code.extend(system_instruction(r, &mut wide, user, start as u32, here));
            continue;
        }
        let v = match flavour {
            Flavour::X87 if r.below(4) != 0 => x87_instruction(r, wide),
            Flavour::Vectors if r.below(4) != 0 => vector_instruction(r, wide),
            _ => instruction(r, wide, vectors, here, length, start as u32),
        };
        if (overwrites || !v.starts_with(&[0xc6, 0x05])) && (!tame || is_tame(&v, wide)) {
            code.extend(v);
        }
    }
    match shape {
        Shape::Ends => code.push(0xf4),
        Shape::Repeats => {
            if wide != first_is_wide {
                code.push(0xea);
                let next = start as u32 + code.len() as u32 + if wide { 6 } else { 4 };
                code.extend(&next.to_le_bytes()[..if wide { 4 } else { 2 }]);
                let to = match (first_is_wide, user) {
                    (true, true) => 0x1b,
                    (true, false) => 8,
                    (false, true) => CODE_16_USER,
                    (false, false) => CODE_16,
                };
                code.extend(to.to_le_bytes());
            }
            // Mostly all of it, sometimes without new pointers.
            let to = if r.below(4) == 0 { again } else { 0 };
            code.push(0xe9);
            let back = to as i32 - code.len() as i32 - if first_is_wide { 4 } else { 2 };
            code.extend(&back.to_le_bytes()[..if first_is_wide { 4 } else { 2 }]);
        }
    }
    memory[start as usize..start as usize + code.len()].copy_from_slice(&code);

    let mut cpu = CpuState::new(Model::PentiumM);
    let wide = first_is_wide;
    for seg in Seg::ALL {
        cpu.seg[seg as usize] = match (kind, seg) {
            (Kind::Real | Kind::Virtual, _) => {
                let selector = if matches!(seg, Seg::Fs | Seg::Gs) { 0x800 } else { 0 };
                let attributes = if is_real { Attributes::REAL_DATA } else { Attributes::V86 };
                Segment::new(selector, u64::from(selector) << 4, 0xffff, attributes, true)
            }
            (_, Seg::Cs) => segment(match (wide, user) {
                (true, false) => 8,
                (true, true) => 0x1b,
                (false, false) => CODE_16,
                (false, true) => CODE_16_USER,
            }),
            (Kind::Segments, Seg::Ss) if user => segment(r.pick(&[0x23, 0x5b])),
            (Kind::Segments, Seg::Ss) => segment(r.pick(&[0x10, 0x48])),
            (Kind::Segments, _) => segment(r.pick(&[0x43, 0x53, 0x5b, 0x23, 0x63])),
            (_, Seg::Fs | Seg::Gs) => segment(0x43),
            _ => segment(if user { 0x23 } else { 0x10 }),
        };
        let s = &mut cpu.seg[seg as usize];
        // Segments that are not flat take long to translate; those of programs that end are this often so.
        let odd = if shape == Shape::Ends { 6 } else { 24 };
        if seg == Seg::Cs && s.limit == u32::MAX && r.below(odd) == 0 {
            s.limit = start as u32 + r.below(length as u64) as u32;
        }
        if seg == Seg::Ds && s.limit == u32::MAX && r.below(odd) == 0 {
            s.limit = 0xa7ff;
        }
        s.derive();
    }

    // Exceptions and interrupts count, skip a byte of the program and return. 32 bits:
    // inc dword ss:[0xf000]; inc dword [esp]; iretd
    let plain = [0x36, 0xff, 0x05, 0, 0xf0, 0, 0, 0xff, 0x04, 0x24, 0xcf];
    let plain = if r.below(2) == 0 { &plain[7..] } else { &plain[..] };
    // Loads CR3; or maps a page, or not any more, and says so.
    let may_map = kind == Kind::Paged && cpu.segment(Seg::Ss).is_flat();
    let first: &[u8] = match r.below(if may_map {
        4
    } else if is_paged {
        3
    } else {
        2
    }) {
        0 | 1 => &[],
        2 => &[0x50, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0x58],
        _ => &[0x36, 0x80, 0x35, 0x24, 0x10, 0x01, 0x00, 0x01, 0x36, 0x0f, 0x01, 0x3d, 0x00, 0x90, 0x00, 0x00],
    };
    let plain = [first, plain].concat();
    let mut put = |at: u64, bytes: &[u8]| memory[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    put(HANDLER, &plain);
    // add esp, 4 first.
    put(HANDLER + 0x40, &[0x83, 0xc4, 4]);
    put(HANDLER + 0x43, &plain);
    // Interrupts may go back to where they came from: inc dword ss:[0xf004]; iretd
    let is_gentle = tame || r.below(2) == 0;
    put(HANDLER + 0xa0, &[0x36, 0xff, 0x05, 4, 0xf0, 0, 0, 0xcf]);
    put(HANDLER + 0x120, &[0xcf]);
    for vector in 0..256u64 {
        let handler = HANDLER
            + match vector {
                2 | 0x20 if is_gentle => 0xa0,
                8 | 10..=14 | 17 => 0x40,
                _ => 0,
            };
        put(IDT + 8 * vector, &(handler as u16).to_le_bytes());
        put(IDT + 8 * vector + 2, &[8, 0, 0, 0xee, 0, 0]);
    }
    // In real mode the halves of these gates are vectors: 0008:handler and 0000:EE00.
    // push bp; mov bp, sp; inc word [bp + 2]; pop bp; iret
    for at in [HANDLER + 0x80, HANDLER + 0xc0, 0xee00] {
        put(at, &[0x55, 0x89, 0xe5, 0xff, 0x46, 2, 0x5d, 0xcf]);
    }
    for (n, d) in (1u64..).zip(DESCRIPTORS) {
        put(GDT + 8 * n, &d.to_le_bytes());
    }
    cpu.idtr = Table { base: IDT, limit: 0x7ff };
    cpu.gdtr = Table { base: GDT, limit: 0x7f };
    put(TSS + 4, &(STACK_0 as u32).to_le_bytes());
    put(TSS + 8, &[16]);
    cpu.tr = Segment::new(0x28, TSS, 0x67, Attributes(0x8b), true);
    if !is_real {
        cpu.cr0 |= cr0::PE;
    }
    if user {
        cpu.cpl = 3;
    }
    // Identical pages, a few of them missing or read-only.
    put(PAGES, &(PAGES as u32 + 0x1007).to_le_bytes());
    for n in 0..256u64 {
        let rights = if (9..12).contains(&n) && r.below(4) == 0 { r.pick(&[0, 1, 5]) } else { 7 };
        put(PAGES + 0x1000 + 4 * n, &((n * 4096) as u32 | rights).to_le_bytes());
    }
    cpu.cr3 = PAGES;
    if is_paged {
        cpu.cr0 |= cr0::PG | cr0::WP;
    }
    registers(r, &mut cpu, x87);
    if r.below(8) != 0 {
        cpu.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT;
    }
    if is_virtual && r.below(4) == 0 {
        cpu.cr4 |= cr4::VME;
    }
    if r.below(12) == 0 {
        cpu.cr0 |= r.pick(&[cr0::TS, cr0::EM]);
    }
    let level = r.pick(&[0, 0x3000]);
    let machine = if is_virtual { 0x2_0000 | level } else { 0 };
    cpu.set_eflags(r.next() & 0x8d5 | r.pick(&[0, 0x200, 0x200]) | machine);
    cpu.intr = r.below(3) == 0;
    cpu.rip = start;
    cpu.update_mode();
    Case { memory, cpu, kind, code: (start, code.len()) }
}
