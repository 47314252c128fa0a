//! Runs x87, MMX and SSE instructions on the host processor and through their helpers and compares everything that
//! they leave behind.
//!
//! `FP_ROUNDS=n` multiplies the number of random states per encoding.
#![cfg(all(target_arch = "x86_64", unix, feature = "mmap"))]
#![allow(unsafe_code, reason = "generated machine code runs on the host")]

mod fp_support;

use cpu::helpers::{fxsave, mmx, sse, x87};
use cpu::insn::{Code, Insn, Mnemonic};
use cpu::softfloat::F80;
use cpu::state::gpr;
use fp_support::{AT, Guest, lower};
use std::collections::BTreeMap;

/// What an instruction can see and change: an FXSAVE image, flags, two registers and a memory operand.
#[repr(C, align(64))]
#[derive(Clone, PartialEq)]
struct State {
    image: [u8; 512],
    flags: u64,
    ax: u64,
    cx: u64,
    /// What MXCSR becomes after the experiment.
    safe_mxcsr: u64,
    pad: [u64; 4],
    memory: [u8; 128],
}

impl State {
    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.image[at], self.image[at + 1]])
    }
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn top(&self) -> usize {
        usize::from(self.word(2) >> 11 & 7)
    }
}

/// Code on a page of its own.
struct Native {
    page: memmap2::Mmap,
}

impl Native {
    fn new(instruction: &[u8]) -> Native {
        let mut code = Vec::new();
        let mut emit = |bytes: &[u8]| code.extend_from_slice(bytes);
        emit(&[0x0f, 0xae, 0x0e]); // fxrstor [rsi]
        emit(&[0xff, 0xb6, 0, 2, 0, 0, 0x9d]); // push qword [rsi+512]; popfq
        emit(&[0x48, 0x8b, 0x86, 8, 2, 0, 0]); // mov rax, [rsi+520]
        emit(&[0x48, 0x8b, 0x8e, 16, 2, 0, 0]); // mov rcx, [rsi+528]
        emit(instruction);
        emit(&[0x0f, 0xae, 0x02]); // fxsave [rdx]
        emit(&[0x9c, 0x8f, 0x82, 0, 2, 0, 0]); // pushfq; pop qword [rdx+512]
        emit(&[0x48, 0x89, 0x82, 8, 2, 0, 0]); // mov [rdx+520], rax
        emit(&[0x48, 0x89, 0x8a, 16, 2, 0, 0]); // mov [rdx+528], rcx
        emit(&[0xdb, 0xe3]); // fninit
        emit(&[0x0f, 0xae, 0x96, 24, 2, 0, 0]); // ldmxcsr [rsi+536]
        emit(&[0xfc, 0xc3]); // cld; ret
        let mut page = memmap2::MmapMut::map_anon(4096).unwrap();
        page[..code.len()].copy_from_slice(&code);
        Native { page: page.make_exec().unwrap() }
    }
    fn run(&self, before: &State) -> State {
        let mut after = before.clone();
        let memory = after.memory.as_mut_ptr();
        // SAFETY: the page holds a complete function for the System V ABI. It changes rax, rcx, flags, x87, MMX and
        // SSE state, which the ABI lets it change (the control words are put back), the memory operand (at most 108
        // bytes at `memory`) and the fields of `after` at their `repr(C)` offsets. The instructions under test name
        // no other register and cannot fault: SSE exceptions are masked, and no waiting x87 instruction follows.
        unsafe {
            let f: extern "sysv64" fn(*mut u8, *const State, *mut State) = std::mem::transmute(self.page.as_ptr());
            f(memory, before, &mut after);
        }
        after
    }
}

impl Guest {
    fn load(&mut self, s: &State) {
        let f = &mut self.cpu.fpu;
        f.control = s.word(0);
        x87::load_status(f, s.word(2));
        f.empty = !s.image[4];
        for n in 0..8 {
            let at = 32 + 16 * n;
            f.regs[(s.top() + n) & 7] = F80::from_bytes(s.image[at..at + 10].try_into().unwrap());
        }
        for n in 0..8 {
            let at = 160 + 16 * n;
            self.cpu.xmm[n] = u128::from_le_bytes(s.image[at..at + 16].try_into().unwrap());
        }
        self.cpu.mxcsr = u32::from(s.word(24));
        self.cpu.lazy.set_all(s.flags);
        self.cpu.gpr.set(gpr::AX, s.ax & 0xffff_ffff);
        self.cpu.gpr.set(gpr::CX, s.cx & 0xffff_ffff);
        self.cpu.gpr.set(gpr::DI, AT);
        self.memory.write(AT, &s.memory);
    }
    /// The state after the instruction, pointers of the x87 left out.
    fn save(&self, before: &State) -> State {
        let mut s = before.clone();
        let f = &self.cpu.fpu;
        s.put(0, &f.control.to_le_bytes());
        s.put(2, &x87::status_word(f).to_le_bytes());
        s.put(4, &[!f.empty]);
        for n in 0..8 {
            s.put(32 + 16 * n, &f.regs[(usize::from(f.top) + n) & 7].to_bytes());
            s.put(160 + 16 * n, &self.cpu.xmm[n].to_le_bytes());
        }
        s.put(24, &self.cpu.mxcsr.to_le_bytes());
        s.flags = self.cpu.eflags();
        s.ax = self.cpu.gpr.get(gpr::AX);
        s.cx = self.cpu.gpr.get(gpr::CX);
        self.memory.read(AT, &mut s.memory);
        s
    }
}

/// SplitMix64: the tests are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
    fn single(&mut self) -> u32 {
        const EDGES: [u32; 20] = [
            0,
            0x8000_0000,
            0x3f80_0000,
            0xbf80_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0001,
            0xffc1_2345,
            0x7f81_2345,
            0xffa0_0000,
            1,
            0x8000_0001,
            0x007f_ffff,
            0x0080_0000,
            0x7f7f_ffff,
            0x4f00_0000,
            0xcf00_0000,
            0x4eff_ffff,
            0x3f00_0000,
            0x4020_0000,
        ];
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.next() as u32,
            2 => ((self.next() % 2000) as f32 / 8.0 - 100.0).to_bits(),
            _ => 0x3f00_0000 + (self.next() as u32 & 0x83ff_ffff),
        }
    }
    fn double(&mut self) -> u64 {
        const EDGES: [u64; 20] = [
            0,
            1 << 63,
            0x3ff << 52,
            0xbff << 52,
            0x7ff << 52,
            0xfff << 52,
            0x7ff8_0000_0000_0001,
            0xfffc_1234_0000_0000,
            0x7ff0_0000_0000_1234,
            0xfff4_0000_0000_0000,
            1,
            0x8000_0000_0000_0001,
            0x000f_ffff_ffff_ffff,
            1 << 52,
            0x7fef_ffff_ffff_ffff,
            0x41e0_0000_0000_0000,
            0xc1e0_0000_0010_0000,
            0x3690_0000_0000_0000,
            0x47ef_ffff_f000_0000,
            0x380f_ffff_ffff_ffff,
        ];
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.next(),
            2 => ((self.next() % 20000) as f64 / 8.0 - 1000.0).to_bits(),
            _ => 0x3fe0_0000_0000_0000 + (self.next() & 0x807f_ffff_ffff_ffff),
        }
    }
    fn extended(&mut self) -> F80 {
        let integer = 1 << 63;
        let sign = (self.next() as u16) << 15;
        match self.below(8) {
            0 => F80::new(sign, 0),
            1 => F80::new(sign | 0x7fff, integer | self.pick(&[0, 1, 1 << 62, 1 << 62 | 77, 3 << 60])),
            2 => F80::new(sign | self.pick(&[0, 1, 0x7ffe, 0x7fff, 0x3fff]), self.next()),
            3 => F80::new(sign | (0x3ff0 + self.below(80) as u16), integer | (self.next() % 64) << 57),
            4 => F80::new(sign | (0x3f00 + self.below(512) as u16), integer | self.next()),
            5 => F80::new(self.next() as u16, integer | self.next()),
            6 => F80::new(sign | self.pick(&[0, 1, 0x7ffe]), integer | self.next()),
            _ => F80::new(sign | (0x3ffc + self.below(8) as u16), integer | self.next()),
        }
    }
    fn vector(&mut self) -> u128 {
        match self.below(3) {
            0 => u128::from(self.next()) << 64 | u128::from(self.next()),
            1 => u128::from(self.double()) << 64 | u128::from(self.double()),
            _ => (0..4).fold(0, |v, n| v | u128::from(self.single()) << (32 * n)),
        }
    }
    fn state(&mut self, for_x87: bool) -> State {
        let mut s = State {
            image: [0; 512],
            flags: 2 | self.next() & 0x8d5,
            ax: self.next() & 0xffff_ffff,
            cx: self.next() & 0xffff_ffff,
            safe_mxcsr: 0x1f80,
            pad: [0; 4],
            memory: [0; 128],
        };
        let masks = if for_x87 && self.below(3) == 0 { self.next() as u16 & 0x3f } else { 0x3f };
        let control = 0x40 | masks | (self.next() as u16 & 0xf00);
        s.put(0, &control.to_le_bytes());
        let sticky = if self.below(2) == 0 { self.next() as u16 & masks } else { 0 };
        let status = (self.next() as u16 & 0x7f40) | sticky;
        s.put(2, &status.to_le_bytes());
        let tags = match self.below(4) {
            0 => self.next() as u8,
            1 => 0x7f_u8.rotate_left(u32::from(status >> 11 & 7)),
            2 => 0xff,
            _ => 0x1f_u8.rotate_left(u32::from(status >> 11 & 7)),
        };
        s.put(4, &[tags]);
        for n in 0..8 {
            let value = self.extended();
            s.put(32 + 16 * n, &value.to_bytes());
            let vector = self.vector();
            s.put(160 + 16 * n, &vector.to_le_bytes());
        }
        let mxcsr = 0x1f80 | (self.next() as u32 & if self.below(2) == 0 { 0xe07f } else { 0x3f });
        s.put(24, &mxcsr.to_le_bytes());
        for chunk in s.memory.chunks_exact_mut(16) {
            chunk.copy_from_slice(&self.vector().to_le_bytes());
        }
        match self.below(3) {
            0 => s.memory[..10].copy_from_slice(&self.extended().to_bytes()),
            1 => {
                for b in &mut s.memory[..10] {
                    *b = (self.below(10) << 4 | self.below(10)) as u8;
                }
            }
            _ => {}
        }
        s
    }
}

fn rounds() -> u64 {
    std::env::var("FP_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(1)
}

fn is_transcendental(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(m, M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fptan | M::Fpatan | M::Fsin | M::Fcos | M::Fsincos)
}
/// Whether two extended values are at most one unit in the last place apart.
fn is_close(a: &[u8], b: &[u8]) -> bool {
    let number = |v: &[u8]| v.iter().rev().fold(0u128, |n, &byte| n << 8 | u128::from(byte));
    // The step over a power of two skips the integer bit.
    let number = |v| (number(v) >> 64) << 63 | number(v) & (u128::from(u64::MAX) >> 1);
    number(a).abs_diff(number(b)) <= 1
}

/// Fields in which the states differ.
fn difference(insn: &Insn, host: &State, guest: &State) -> Vec<String> {
    let mut d = Vec::new();
    let mut field = |name: String, h: &[u8], g: &[u8]| {
        if h != g {
            let hex = |b: &[u8]| b.iter().rev().map(|b| format!("{b:02x}")).collect::<String>();
            d.push(format!("{name}: host {} helper {}", hex(h), hex(g)));
        }
    };
    field("control".into(), &host.image[0..2], &guest.image[0..2]);
    // Transcendental results may be one unit in the last place apart, and then rounded the other way (C1).
    let loose = is_transcendental(insn.mnemonic);
    let ignored = if loose { 0x200 } else { 0 };
    field("status".into(), &(host.word(2) & !ignored).to_le_bytes(), &(guest.word(2) & !ignored).to_le_bytes());
    field("tags".into(), &host.image[4..5], &guest.image[4..5]);
    for n in 0..8 {
        let r = 32 + 16 * n..42 + 16 * n;
        if !loose || !is_close(&host.image[r.clone()], &guest.image[r.clone()]) {
            field(format!("st{n}"), &host.image[r.clone()], &guest.image[r]);
        }
        let r = 160 + 16 * n..176 + 16 * n;
        field(format!("xmm{n}"), &host.image[r.clone()], &guest.image[r]);
    }
    field("mxcsr".into(), &host.image[24..28], &guest.image[24..28]);
    field("flags".into(), &(host.flags & 0x8d5).to_le_bytes(), &(guest.flags & 0x8d5).to_le_bytes());
    field("eax".into(), &host.ax.to_le_bytes()[..4], &guest.ax.to_le_bytes()[..4]);
    field("ecx".into(), &host.cx.to_le_bytes()[..4], &guest.cx.to_le_bytes()[..4]);
    if matches!(insn.mnemonic, Mnemonic::Fnstenv | Mnemonic::Fnsave) {
        // Pointers and opcode in between belong to the host's code.
        field("memory".into(), &host.memory[..12], &guest.memory[..12]);
        field("memory".into(), &host.memory[28..], &guest.memory[28..]);
    } else {
        field("memory".into(), &host.memory, &guest.memory);
    }
    d
}

/// Runs one encoding with random states; returns a report of at most a few differences.
fn check(bytes: &[u8], insn: &Insn, count: u64, for_x87: bool, random: &mut Random) -> Option<String> {
    let native = Native::new(&bytes[..usize::from(insn.len)]);
    let mut guest = Guest::new();
    let mut bad = 0;
    let mut first = String::new();
    for _ in 0..count {
        let before = random.state(for_x87);
        let host = native.run(&before);
        guest.load(&before);
        let fault = guest.run(insn).is_err();
        let after = guest.save(&before);
        let mut d = difference(insn, &host, &after);
        if fault {
            d.push("the helper faults".into());
        }
        if !d.is_empty() {
            bad += 1;
            if bad <= 2 {
                let st = |n: usize| {
                    format!("{:?}", F80::from_bytes(before.image[32 + 16 * n..42 + 16 * n].try_into().unwrap()))
                };
                first += &format!(
                    "\n    control {:04x} status {:04x} tags {:02x} top {} st0 {} st1 {} mxcsr {:04x} xmm0 {:02x?} xmm1 {:02x?} memory {:02x?}\n      {}",
                    before.word(0),
                    before.word(2),
                    before.image[4],
                    before.top(),
                    st(0),
                    st(1),
                    before.word(24),
                    &before.image[160..176],
                    &before.image[176..192],
                    &before.memory[..16],
                    d.join("\n      ")
                );
            }
        }
    }
    (bad > 0).then(|| format!("{:?} {:02x?}: {bad} of {count}{first}", insn.code, &bytes[..usize::from(insn.len)]))
}

fn conclude(tested: &BTreeMap<String, u64>, failures: &[String]) {
    assert!(failures.is_empty(), "{} encodings differ:\n{}", failures.len(), failures.join("\n"));
    assert!(tested.len() > 50, "only {} instructions were tested", tested.len());
}

/// Instructions whose last bits the manual does not define, or that a host may refuse.
fn is_left_out(insn: &Insn) -> bool {
    use Mnemonic as M;
    matches!(insn.mnemonic, M::Rcpps | M::Rcpss | M::Rsqrtps | M::Rsqrtss | M::Ldmxcsr | M::Fxrstor | M::Fxsave)
        || matches!(insn.code, Code::Frstpm | Code::Fnsetpm | Code::Fstdw_AX | Code::Fstsg_AX | Code::Ftstp)
}

#[test]
fn x87_instructions_agree_with_the_host() {
    let mut random = Random(1);
    let mut tested = BTreeMap::new();
    let mut failures = Vec::new();
    for escape in 0xd8..=0xdfu8 {
        let memory_forms = (0..8u8).map(|reg| reg << 3 | 7);
        for modrm in memory_forms.chain(0xc0..=0xff) {
            let bytes = [escape, modrm, 0, 0];
            let Some(insn) = lower(&bytes) else { continue };
            if x87::lookup(insn.mnemonic, insn.code).is_none() || is_left_out(&insn) {
                continue;
            }
            *tested.entry(format!("{:?}", insn.code)).or_insert(0) += 1;
            let count = if modrm < 0xc0 { 400 } else { 100 } * rounds();
            failures.extend(check(&bytes, &insn, count, true, &mut random));
        }
    }
    assert!(tested.contains_key("Fisttp_m64int"));
    conclude(&tested, &failures);
}

fn vector_instructions(memory: bool) {
    let mut random = Random(2);
    let mut tested = BTreeMap::new();
    let mut failures = Vec::new();
    for prefix in [None, Some(0x66), Some(0xf2), Some(0xf3)] {
        for opcode in 0..=0xffu8 {
            for modrm in 0..=0xffu8 {
                // Registers 0 and 1, or the memory operand at EDI; shift groups use the middle bits as opcode.
                let middle = modrm >> 3 & 7;
                let group = matches!(opcode, 0x71..=0x73 | 0x18 | 0xae | 0xc7);
                let wanted = if memory { modrm & 0xc7 == 7 } else { modrm >= 0xc0 && modrm & 7 < 2 };
                if !wanted || (middle > 1 && !group) {
                    continue;
                }
                let mut bytes = Vec::from_iter(prefix);
                bytes.extend([0x0f, opcode, modrm, random.next() as u8, 0]);
                let Some(insn) = lower(&bytes) else { continue };
                let known = [mmx::lookup, sse::lookup, fxsave::lookup]
                    .iter()
                    .any(|lookup| lookup(insn.mnemonic, insn.code).is_some());
                if !known || is_left_out(&insn) {
                    continue;
                }
                *tested.entry(format!("{:?}", insn.code)).or_insert(0) += 1;
                failures.extend(check(&bytes, &insn, 100 * rounds(), false, &mut random));
            }
        }
    }
    assert!(tested.contains_key("Haddps_xmm_xmmm128"));
    conclude(&tested, &failures);
}

#[test]
fn vector_instructions_with_registers_agree_with_the_host() {
    vector_instructions(false);
}

#[test]
fn vector_instructions_with_memory_agree_with_the_host() {
    vector_instructions(true);
}

/// RCPPS and RSQRTPS stay inside the documented error.
#[test]
fn approximations_are_close_enough() {
    let mut guest = Guest::new();
    let mut random = Random(3);
    for (opcode, root) in [(0x53, false), (0x52, true)] {
        let insn = lower(&[0xf3, 0x0f, opcode, 0xc1]).unwrap();
        for _ in 0..20_000 {
            let x = f32::from_bits(0x0100_0000 + random.next() as u32 % 0x7d00_0000);
            guest.cpu.xmm[1] = u128::from(x.to_bits());
            assert!(guest.run(&insn).is_ok());
            let r = f64::from(f32::from_bits(guest.cpu.xmm[0] as u32));
            let exact = if root { 1.0 / f64::from(x).sqrt() } else { 1.0 / f64::from(x) };
            assert!((r - exact).abs() <= exact * 1.5 / 4096.0, "{x} gives {r}");
        }
    }
}
