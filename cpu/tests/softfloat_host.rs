//! Compares the software floating point with the host's own x87 and SSE, values and status flags alike.
//!
//! `SOFTFLOAT_ROUNDS=n` multiplies the number of random operands.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "the host's x87 and SSE are reached through inline assembly")]

use core::arch::asm;
use cpu::softfloat::*;

const EXCEPTIONS: u16 = 0x3f;
const CONDITIONS: u16 = 0x4700;

/// What the host left behind: ST(0), ST(1) and the status word.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Host {
    top: F80,
    next: F80,
    status: u16,
}

#[repr(C, align(16))]
struct Area {
    a: [u8; 16],
    b: [u8; 16],
    top: [u8; 16],
    next: [u8; 16],
    memory: [u8; 16],
    control: u16,
    status: u16,
}

impl Area {
    fn new(a: F80, b: F80, control: u16) -> Area {
        let pad = |x: F80| {
            let mut bytes = [0; 16];
            bytes[..10].copy_from_slice(&x.to_bytes());
            bytes
        };
        Area { a: pad(a), b: pad(b), top: [0; 16], next: [0; 16], memory: [0x55; 16], control, status: 0 }
    }
    fn with_memory(mut self, bytes: &[u8]) -> Area {
        self.memory[..bytes.len()].copy_from_slice(bytes);
        self
    }
    fn host(&self) -> Host {
        let value = |b: &[u8; 16]| F80::from_bytes(b[..10].try_into().unwrap());
        Host { top: value(&self.top), next: value(&self.next), status: self.status }
    }
    fn bytes<const N: usize>(&self) -> [u8; N] {
        self.memory[..N].try_into().unwrap()
    }
}

/// Runs one instruction with ST(0) = `a`, ST(1) = `b` under `control`.
///
/// FNSTSW and FNCLEX do not wait, so an unmasked exception is read and cleared before it could be delivered.
macro_rules! host {
    ($area:expr, $instruction:expr) => {{
        let mut area: Area = $area;
        // SAFETY: the assembly reads and writes only `area`, whose fields it addresses at their `repr(C)` offsets;
        // the x87 stack is empty on entry and FNINIT leaves it empty with the default control word.
        unsafe {
            asm!(
                "fninit",
                "fld tbyte ptr [{p} + 16]",
                "fld tbyte ptr [{p}]",
                "fldcw word ptr [{p} + 80]",
                $instruction,
                "fnstsw word ptr [{p} + 82]",
                "fnclex",
                "fstp tbyte ptr [{p} + 32]",
                "fnclex",
                "fstp tbyte ptr [{p} + 48]",
                "fninit",
                p = in(reg) &mut area,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            );
        }
        area
    }};
}

/// xorshift64*, and operands weighted towards the edges.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn mantissa(&mut self) -> u64 {
        let r = self.next();
        (match self.below(10) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (r % 64),
            3 => u64::MAX << (r % 64),
            4 => u64::MAX >> (r % 64),
            5 => (r & !0x7ff) | [0, 1, 0x3ff, 0x400, 0x401, 0x7ff][self.below(6) as usize],
            6 => (r & !0xff_ffff_ffff) | [0, 1, 0x7f_ffff_ffff, 0x80_0000_0000, 0x80_0000_0001][self.below(5) as usize],
            7 => r & self.next() & self.next(),
            _ => r,
        }) | 1 << 63
    }
    fn exponent(&mut self) -> u16 {
        let d = self.below(140) as i32 - 70;
        (match self.below(8) {
            0 => self.below(0x8000) as i32,
            1 => d.abs(),
            2 => 0x7fff - d.abs(),
            3 => 0x1fff + d,
            4 => 0x5fff + d,
            5 => 0x3fff + [-1074, -1022, 1023, 1024, -149, -126, 127, 128][self.below(8) as usize] + d / 20,
            _ => 0x3fff + d,
        }) as u16
    }
    fn f80(&mut self) -> F80 {
        let sign = (self.next() >> 33) as u16 & 0x8000;
        let m = self.mantissa();
        match self.below(32) {
            0 => F80::new(sign, 0),
            1 => F80::new(sign | 0x7fff, 1 << 63),
            2 => F80::new(sign | 0x7fff, m | 3 << 62),
            3 => F80::new(sign | 0x7fff, (m & !(1 << 62)) | 1),
            4 => F80::new(sign, m & !(1 << 63)),
            5 => F80::new(sign, m),
            6 => F80::new(sign | self.exponent(), m & !(1 << 63)),
            7 => F80::new(self.next() as u16, self.next()),
            8 => from_i64(self.next() as i64 >> self.below(64)),
            _ => F80::new(sign | self.exponent(), m),
        }
    }
    fn pair(&mut self) -> (F80, F80) {
        let (a, mut b) = (self.f80(), self.f80());
        match self.below(8) {
            0 => b = F80::new((b.sign_exponent & 0x8000) | a.exponent(), b.mantissa),
            1 => {
                let e = a.exponent() as i32 + self.below(140) as i32 - 70;
                b = F80::new(b.sign() | e.clamp(0, 0x7fff) as u16, b.mantissa);
            }
            2 => b = F80::new(b.sign() | a.exponent(), a.mantissa ^ self.below(3)),
            _ => {}
        }
        (a, b)
    }
    fn control(&mut self) -> u16 {
        let masks = if self.below(2) == 0 { 0x3f } else { self.next() as u16 & 0x3f };
        let precision = [0, 0x200, 0x300, 0x300][self.below(4) as usize];
        (self.next() as u16 & 0xc00) | precision | masks | 0x40
    }
}

fn rounds(n: u64) -> u64 {
    n * std::env::var("SOFTFLOAT_ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}

/// Collects differences and fails with a sample of them.
#[derive(Default)]
struct Report {
    seen: u64,
    lines: Vec<String>,
}

impl Report {
    fn check<T: PartialEq + core::fmt::Debug>(&mut self, ours: T, host: T, context: impl FnOnce() -> String) {
        if ours != host {
            self.seen += 1;
            if self.lines.len() < 12 {
                self.lines.push(format!("{}\n   ours {ours:x?}\n   host {host:x?}", context()));
            }
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.seen != 0 && !std::thread::panicking() {
            panic!("{} differences\n{}", self.seen, self.lines.join("\n"));
        }
    }
}

type Binary = fn(F80, F80, Env, &mut Flags) -> F80;

fn binary(seed: u64, n: u64, ours: Binary, host: impl Fn(Area) -> Area) {
    let (mut r, mut report) = (Random(seed), Report::default());
    for _ in 0..rounds(n) {
        let ((a, b), control) = (r.pair(), r.control());
        let env = Env::from_control_word(control);
        let mut flags = Flags::new();
        let value = ours(a, b, env, &mut flags);
        let value = if flags.suppresses(env) { a } else { value };
        let h = host(Area::new(a, b, control)).host();
        report.check((value, flags.bits()), (h.top, h.status & (EXCEPTIONS | Flags::C1)), || {
            format!("{a:x?} {b:x?} control {control:04x}")
        });
    }
}

#[test]
fn addition() {
    binary(1, 400_000, add, |a| host!(a, "fadd st, st(1)"));
}

#[test]
fn subtraction() {
    binary(2, 300_000, sub, |a| host!(a, "fsub st, st(1)"));
    binary(3, 100_000, sub_reversed, |a| host!(a, "fsubr st, st(1)"));
}

#[test]
fn multiplication() {
    binary(4, 400_000, mul, |a| host!(a, "fmul st, st(1)"));
}

#[test]
fn division() {
    binary(5, 400_000, div, |a| host!(a, "fdiv st, st(1)"));
    binary(6, 100_000, div_reversed, |a| host!(a, "fdivr st, st(1)"));
}

#[test]
fn scaling() {
    binary(7, 300_000, scale, |a| host!(a, "fscale"));
}

#[test]
fn square_root() {
    binary(8, 400_000, |a, _, e, f| sqrt(a, e, f), |a| host!(a, "fsqrt"));
}

#[test]
fn rounding_to_integer() {
    binary(9, 300_000, |a, _, e, f| round_to_integer(a, e, f), |a| host!(a, "frndint"));
}

#[test]
fn remainders() {
    type Step = fn(F80, F80, Env, &mut Flags) -> Remainder;
    let run = |seed, ours: Step, host: &dyn Fn(Area) -> Area| {
        let (mut r, mut report) = (Random(seed), Report::default());
        for _ in 0..rounds(200_000) {
            let ((a, b), control) = (r.pair(), r.control());
            let env = Env::from_control_word(control);
            let mut flags = Flags::new();
            let mut step = ours(a, b, env, &mut flags);
            if flags.suppresses(env) {
                step.value = a;
            }
            let h = host(Area::new(a, b, control)).host();
            let status = h.status & (EXCEPTIONS | CONDITIONS);
            report.check((step.value, flags.bits() | step.conditions), (h.top, status), || {
                format!("{a:x?} {b:x?} control {control:04x}")
            });
        }
    };
    run(10, remainder, &|a| host!(a, "fprem"));
    run(11, remainder_nearest, &|a| host!(a, "fprem1"));
}

#[test]
fn comparisons() {
    let (mut r, mut report) = (Random(12), Report::default());
    for _ in 0..rounds(300_000) {
        let ((a, b), control) = (r.pair(), r.control());
        let env = Env::from_control_word(control);
        let context = |s| format!("{s} {a:x?} {b:x?} control {control:04x}");
        let mut flags = Flags::new();
        let ours = compare(a, b, env, &mut flags).condition_bits();
        let h = host!(Area::new(a, b, control), "fcom st(1)").host();
        report.check(ours | flags.bits(), h.status & (EXCEPTIONS | CONDITIONS), || context("fcom"));
        let mut flags = Flags::new();
        let ours = compare_unordered(a, b, env, &mut flags).condition_bits();
        let h = host!(Area::new(a, b, control), "fucom st(1)").host();
        report.check(ours | flags.bits(), h.status & (EXCEPTIONS | CONDITIONS), || context("fucom"));
        let h = host!(Area::new(a, b, control), "fxam").host();
        report.check(a.examine(), h.status & (EXCEPTIONS | CONDITIONS), || context("fxam"));
    }
}

#[test]
fn comparison_to_eflags() {
    let (mut r, mut report) = (Random(13), Report::default());
    for _ in 0..rounds(100_000) {
        let ((a, b), control) = (r.pair(), r.control());
        let env = Env::from_control_word(control);
        let mut flags = Flags::new();
        let ours = compare(a, b, env, &mut flags);
        // All of CF, PF, ZF stand in AH through LAHF, kept in the memory field.
        let area = host!(
            Area::new(a, b, control),
            "fcomi st, st(1)\n setc byte ptr [{p} + 64]\n setp byte ptr [{p} + 65]\n setz byte ptr [{p} + 66]"
        );
        let m: [u8; 3] = area.bytes();
        let eflags = m[0] as u32 | (m[1] as u32) << 2 | (m[2] as u32) << 6;
        report.check((ours.eflags(), flags.bits()), (eflags, area.status & EXCEPTIONS), || {
            format!("{a:x?} {b:x?} control {control:04x}")
        });
    }
}

#[test]
fn extraction() {
    let (mut r, mut report) = (Random(14), Report::default());
    for _ in 0..rounds(200_000) {
        let (a, control) = (r.f80(), r.control());
        let b = F80::ONE;
        let env = Env::from_control_word(control);
        let mut flags = Flags::new();
        let (exponent, significand) = extract(a, env, &mut flags);
        let h = host!(Area::new(a, b, control), "fxtract").host();
        let ours = if flags.suppresses(env) { (a, b) } else { (significand, exponent) };
        report.check((ours, flags.bits()), ((h.top, h.next), h.status & (EXCEPTIONS | Flags::C1)), || {
            format!("{a:x?} control {control:04x}")
        });
    }
}

#[test]
fn constants() {
    for rounding in [Rounding::Nearest, Rounding::Down, Rounding::Up, Rounding::Zero] {
        let area = || Area::new(F80::ONE, F80::ONE, (rounding as u16) << 10 | 0x7f);
        assert_eq!(Constant::Log2Of10.load(rounding), host!(area(), "fldl2t").host().top);
        assert_eq!(Constant::Log2OfE.load(rounding), host!(area(), "fldl2e").host().top);
        assert_eq!(Constant::Pi.load(rounding), host!(area(), "fldpi").host().top);
        assert_eq!(Constant::Log10Of2.load(rounding), host!(area(), "fldlg2").host().top);
        assert_eq!(Constant::LnOf2.load(rounding), host!(area(), "fldln2").host().top);
    }
    assert_eq!(F80::ONE, host!(Area::new(F80::ZERO, F80::ZERO, 0x37f), "fld1").host().top);
    assert_eq!(F80::ZERO, host!(Area::new(F80::ONE, F80::ZERO, 0x37f), "fldz").host().top);
}

#[test]
fn stores() {
    let (mut r, mut report) = (Random(15), Report::default());
    for _ in 0..rounds(200_000) {
        let (a, control) = (r.f80(), r.control());
        let env = Env::from_control_word(control);
        macro_rules! one {
            ($instruction:literal, $n:literal, $ours:expr) => {{
                let mut flags = Flags::new();
                #[allow(clippy::redundant_closure_call)]
                let value: [u8; $n] = ($ours)(&mut flags);
                let value = if flags.suppresses_store(env) { [0x55; $n] } else { value };
                let area = host!(Area::new(a, F80::ONE, control), $instruction);
                let host: [u8; $n] = area.bytes();
                report.check((value, flags.bits()), (host, area.status & (EXCEPTIONS | Flags::C1)), || {
                    format!("{} {a:x?} control {control:04x}", $instruction)
                });
            }};
        }
        one!("fst dword ptr [{p} + 64]", 4, |f: &mut Flags| to_f32(a, env, f).to_le_bytes());
        one!("fst qword ptr [{p} + 64]", 8, |f: &mut Flags| to_f64(a, env, f).to_le_bytes());
        one!("fist word ptr [{p} + 64]", 2, |f: &mut Flags| to_i16(a, env, f).to_le_bytes());
        one!("fist dword ptr [{p} + 64]", 4, |f: &mut Flags| to_i32(a, env, f).to_le_bytes());
        one!("fld st\n fistp qword ptr [{p} + 64]", 8, |f: &mut Flags| to_i64(a, env, f).to_le_bytes());
        one!("fld st\n fisttp word ptr [{p} + 64]", 2, |f: &mut Flags| to_i16_truncate(a, f).to_le_bytes());
        one!("fld st\n fisttp dword ptr [{p} + 64]", 4, |f: &mut Flags| to_i32_truncate(a, f).to_le_bytes());
        one!("fld st\n fisttp qword ptr [{p} + 64]", 8, |f: &mut Flags| to_i64_truncate(a, f).to_le_bytes());
        one!("fld st\n fbstp tbyte ptr [{p} + 64]", 10, |f: &mut Flags| to_bcd(a, env, f));
    }
}

#[test]
fn loads() {
    let (mut r, mut report) = (Random(16), Report::default());
    for _ in 0..rounds(200_000) {
        let control = r.control();
        let env = Env::from_control_word(control);
        let special = [0, 1, 0x7f80_0000, 0x7f80_0001, 0x7fc0_0000, 0x7f_ffff, 0x80_0000][r.below(7) as usize];
        let single = if r.below(3) == 0 { special | (r.next() as u32 & 0x8000_0001) } else { r.next() as u32 };
        let double = match r.below(4) {
            0 => (single as u64) << 32,
            1 => (r.next() & 0x800f_ffff_ffff_ffff) | 0x7ff0_0000_0000_0000,
            2 => r.next() & 0x800f_ffff_ffff_ffff,
            _ => r.next(),
        };
        let mut bcd = [0u8; 10];
        bcd[..9].iter_mut().for_each(|b| *b = (r.below(10) << 4 | r.below(10)) as u8);
        bcd[9] = (r.next() & 0x80) as u8;
        macro_rules! one {
            ($instruction:literal, $bytes:expr, $ours:expr) => {{
                let mut flags = Flags::new();
                #[allow(clippy::redundant_closure_call)]
                let value: F80 = ($ours)(&mut flags);
                let value = if flags.suppresses_load(env) { F80::ONE } else { value };
                let h = host!(Area::new(F80::ONE, F80::ONE, control).with_memory($bytes), $instruction).host();
                report.check((value, flags.bits()), (h.top, h.status & (EXCEPTIONS | Flags::C1)), || {
                    format!("{} {:x?} control {control:04x}", $instruction, $bytes)
                });
            }};
        }
        one!("fld dword ptr [{p} + 64]", &single.to_le_bytes(), |f: &mut Flags| from_f32(single, f));
        one!("fld qword ptr [{p} + 64]", &double.to_le_bytes(), |f: &mut Flags| from_f64(double, f));
        one!("fild word ptr [{p} + 64]", &single.to_le_bytes()[..2], |_: &mut Flags| from_i16(single as i16));
        one!("fild dword ptr [{p} + 64]", &single.to_le_bytes(), |_: &mut Flags| from_i32(single as i32));
        one!("fild qword ptr [{p} + 64]", &double.to_le_bytes(), |_: &mut Flags| from_i64(double as i64));
        one!("fbld tbyte ptr [{p} + 64]", &bcd, |_: &mut Flags| from_bcd(bcd));
    }
}

/// The distance of two results in units in the last place, `None` when they are not comparable finite numbers.
fn distance(a: F80, b: F80) -> Option<u64> {
    let line = |x: F80| {
        let magnitude = ((x.exponent().max(1) as i128) << 63) + (x.mantissa & !(1 << 63)) as i128
            - if x.mantissa >> 63 == 0 { 1i128 << 63 } else { 0 };
        if x.is_negative() { -magnitude } else { magnitude }
    };
    let plain = |x: F80| matches!(x.class(), Class::Zero | Class::Normal | Class::Denormal);
    if !plain(a) || !plain(b) {
        return None;
    }
    u64::try_from((line(a) - line(b)).unsigned_abs()).ok()
}

/// Compares a transcendental function: flags exactly except C1, finite inexact results within one unit.
struct Transcendental {
    name: &'static str,
    report: Report,
    maximum: u64,
    different: u64,
    total: u64,
}

impl Transcendental {
    fn new(name: &'static str) -> Transcendental {
        Transcendental { name, report: Report::default(), maximum: 0, different: 0, total: 0 }
    }
    fn check(&mut self, ours: (F80, u16), host: (F80, u16), context: impl Fn() -> String) {
        let c1 = !Flags::C1;
        // At the smallest normal number and at the largest the last bit decides about underflow and overflow.
        let edge = (ours.0.mantissa, host.0.mantissa);
        if (ours.1 ^ host.1) & (Flags::UE | Flags::OE) != 0
            && (edge == (1 << 63, u64::MAX) || edge == (u64::MAX, 1 << 63) || ours.0.abs() == F80::new(1, 1 << 63))
        {
            return;
        }
        if ours.0 != host.0
            && let Some(d) = distance(ours.0, host.0)
            && ours.1 & Flags::PE != 0
        {
            self.maximum = self.maximum.max(d);
            self.different += 1;
            if d <= 1 {
                self.report.check(ours.1 & c1, host.1 & c1, context);
                return;
            }
        }
        self.total += 1;
        self.report.check((ours.0, ours.1 & c1), (host.0, host.1 & c1), context);
    }
    fn finish(self) {
        println!("{}: maximum {} ulp, {} of {} differ", self.name, self.maximum, self.different, self.total);
    }
}

impl Random {
    /// An angle, from tiny to beyond 2^63, often close to a multiple of π/2.
    fn angle(&mut self) -> F80 {
        match self.below(8) {
            0 => self.f80(),
            1 => F80::new(self.next() as u16 & 0x8000 | (0x3fff + self.below(67) as u16), self.mantissa()),
            2 => {
                let n = from_i64(self.next() as i64 >> (1 + self.below(63)));
                let half = F80::new(0x3fff, 0xc90f_daa2_2168_c235);
                let near = mul(n, half, Env::default(), &mut Flags::new());
                F80::new(near.sign_exponent, near.mantissa.wrapping_add(self.below(5)).wrapping_sub(2))
            }
            3 => F80::new(self.next() as u16 & 0x8000 | (0x3fff - self.below(70) as u16), self.mantissa()),
            _ => F80::new(self.next() as u16 & 0x8000 | (0x3ff8 + self.below(16) as u16), self.mantissa()),
        }
    }
    fn near_one(&mut self) -> F80 {
        match self.below(8) {
            0 => self.f80(),
            1 => F80::new(0x3fff, 1 << 63 | self.next() >> (1 + self.below(63))),
            2 => F80::new(0x3ffe, !(self.next() >> (1 + self.below(63)))),
            3 => F80::new(0x3fff - 8 + self.below(16) as u16, 1 << 63),
            _ => F80::new(0x3fff - 8 + self.below(16) as u16, self.mantissa()),
        }
    }
}

#[test]
fn trigonometric_functions() {
    let mut r = Random(20);
    let (mut s, mut c, mut t, mut both) = (
        Transcendental::new("fsin"),
        Transcendental::new("fcos"),
        Transcendental::new("fptan"),
        Transcendental::new("fsincos"),
    );
    for _ in 0..rounds(60_000) {
        let (a, control) = (r.angle(), r.control());
        let b = F80::ONE;
        let env = Env::from_control_word(control);
        let context = || format!("{a:x?} control {control:04x}");
        let host_of = |h: Host| h.status & (EXCEPTIONS | Flags::C1 | Flags::C2);
        let one = |f: fn(F80, Env, &mut Flags) -> Option<F80>| {
            let mut flags = Flags::new();
            match f(a, env, &mut flags) {
                _ if flags.suppresses(env) => (a, flags.bits()),
                Some(value) => (value, flags.bits()),
                None => (a, Flags::C2),
            }
        };
        let h = host!(Area::new(a, b, control), "fsin").host();
        s.check(one(sine), (h.top, host_of(h)), context);
        let h = host!(Area::new(a, b, control), "fcos").host();
        c.check(one(cosine), (h.top, host_of(h)), context);
        let two = |f: fn(F80, Env, &mut Flags) -> Option<(F80, F80)>| {
            let mut flags = Flags::new();
            match f(a, env, &mut flags) {
                _ if flags.suppresses(env) => (b, a, flags.bits()),
                Some((value, pushed)) => (value, pushed, flags.bits()),
                None => (b, a, Flags::C2),
            }
        };
        let h = host!(Area::new(a, b, control), "fptan").host();
        let (value, pushed, flags) = two(tangent);
        t.check((value, flags), (h.next, host_of(h)), context);
        t.check((pushed, flags), (h.top, host_of(h)), context);
        let h = host!(Area::new(a, b, control), "fsincos").host();
        let (value, pushed, flags) = two(sine_cosine);
        both.check((value, flags), (h.next, host_of(h)), context);
        both.check((pushed, flags), (h.top, host_of(h)), context);
    }
    for f in [s, c, t, both] {
        f.finish();
    }
}

fn transcendental(
    name: &'static str,
    seed: u64,
    n: u64,
    next: fn(&mut Random) -> (F80, F80),
    ours: Binary,
    host: fn(Area) -> Area,
) {
    let (mut r, mut f) = (Random(seed), Transcendental::new(name));
    for _ in 0..rounds(n) {
        let ((a, b), control) = (next(&mut r), r.control());
        let env = Env::from_control_word(control);
        let mut flags = Flags::new();
        let value = ours(a, b, env, &mut flags);
        let value = if flags.suppresses(env) { a } else { value };
        let h = host(Area::new(a, b, control)).host();
        f.check((value, flags.bits()), (h.top, h.status & (EXCEPTIONS | Flags::C1)), || {
            format!("{name} {a:x?} {b:x?} control {control:04x}")
        });
    }
    f.finish();
}

#[test]
fn arctangents() {
    transcendental("fpatan", 21, 150_000, Random::pair, arctangent, |a| host!(a, "fpatan"));
}

#[test]
fn logarithms() {
    transcendental("fyl2x", 22, 75_000, |r| (r.near_one(), r.f80()), log2_times, |a| host!(a, "fyl2x"));
    transcendental("fyl2x, any", 23, 75_000, Random::pair, log2_times, |a| host!(a, "fyl2x"));
    let small = |r: &mut Random| {
        let x = r.angle();
        let limit = F80::new(0x3ffd, 0x95f6_1998_0c43_36f7);
        let outside = x.class() == Class::Normal && (x.exponent(), x.mantissa) > (limit.exponent(), limit.mantissa);
        (if outside { F80::new(x.sign() | (0x3fd0 + x.exponent() % 0x2c), x.mantissa) } else { x }, r.f80())
    };
    transcendental("fyl2xp1", 24, 100_000, small, log2_plus_1_times, |a| host!(a, "fyl2xp1"));
}

#[test]
fn exponentials() {
    let small = |r: &mut Random| {
        let x = r.near_one();
        let outside = x.class() == Class::Normal && x.exponent() >= 0x3fff;
        let x = if outside { F80::new(0x3ff0 + x.exponent() % 15, x.mantissa) } else { x };
        (if r.below(2) == 0 { x.negate() } else { x }, F80::ONE)
    };
    transcendental("f2xm1", 25, 150_000, small, |a, _, e, f| exp2_minus_1(a, e, f), |a| host!(a, "f2xm1"));
}

mod sse_host {
    use super::*;
    use cpu::softfloat::sse::{self, F32, F64, SseEnv};

    /// Runs one SSE instruction on xmm0 = `a`, xmm1 = `b` with all exceptions masked: result and exception flags.
    macro_rules! xmm {
        ($a:expr, $b:expr, $mxcsr:expr, $instruction:expr) => {{
            let (a, b): (u64, u64) = ($a, $b);
            let (mut r, mut status, usual) = (0u64, $mxcsr, 0x1f80u32);
            // SAFETY: reads and writes only the named locals; MXCSR is put back to its default.
            unsafe {
                asm!(
                    "movq xmm0, {a}",
                    "movq xmm1, {b}",
                    "ldmxcsr dword ptr [{s}]",
                    $instruction,
                    "stmxcsr dword ptr [{s}]",
                    "ldmxcsr dword ptr [{u}]",
                    a = in(reg) a,
                    b = in(reg) b,
                    s = in(reg) &mut status,
                    u = in(reg) &usual,
                    inout("rax") r,
                    out("xmm0") _,
                    out("xmm1") _,
                );
            }
            (r, status as u16 & EXCEPTIONS)
        }};
    }

    impl Random {
        fn ieee(&mut self, fraction: u32, exponent: u32) -> u64 {
            let (r, max) = (self.next(), (1u64 << exponent) - 1);
            let sign = (r & 1) << (fraction + exponent);
            let mask = (1u64 << fraction) - 1;
            let e = match self.below(12) {
                0 => 0,
                1 => max,
                2 => 1 + self.below(fraction as u64 + 3),
                3 => max - 1 - self.below(fraction as u64 + 3),
                4 => max / 4 + self.below(8),
                5 => max / 4 * 3 + self.below(8),
                6 => self.below(max),
                _ => max / 2 - 35 + self.below(70),
            };
            let m = match self.below(8) {
                0 => 0,
                1 => mask,
                2 => 1 << ((r >> 8) % fraction as u64),
                3 => mask >> ((r >> 8) % fraction as u64),
                4 => mask & (u64::MAX << ((r >> 8) % fraction as u64)),
                _ => self.next() & mask,
            };
            sign | e.min(max) << fraction | m
        }
        fn mxcsr(&mut self) -> u32 {
            0x1f80 | (self.next() as u32 & 0xe040)
        }
    }

    fn check(
        report: &mut Report,
        name: &str,
        a: u64,
        b: u64,
        mxcsr: u32,
        ours: impl FnOnce(SseEnv, &mut Flags) -> u64,
        host: (u64, u16),
    ) {
        let mut flags = Flags::new();
        let value = ours(SseEnv::from_mxcsr(mxcsr), &mut flags);
        report.check((value, flags.exceptions()), host, || format!("{name} {a:x} {b:x} mxcsr {mxcsr:x}"));
    }

    macro_rules! suite {
        ($name:ident, $format:ty, $fraction:literal, $exponent:literal, $suffix:literal, $single:literal, $seed:literal) => {
            #[test]
            fn $name() {
                let (mut r, mut report) = (Random($seed), Report::default());
                for _ in 0..rounds(200_000) {
                    let (a, mut b) = (r.ieee($fraction, $exponent), r.ieee($fraction, $exponent));
                    if r.below(8) == 0 {
                        b = a ^ r.below(4);
                    }
                    let m = r.mxcsr();
                    macro_rules! one {
                        ($op:literal, $ours:expr) => {
                            check(
                                &mut report,
                                concat!($op, $suffix),
                                a,
                                b,
                                m,
                                $ours,
                                xmm!(a, b, m, concat!($op, $suffix, " xmm0, xmm1\n movq rax, xmm0")),
                            );
                        };
                    }
                    one!("add", |e, f| sse::add::<$format>(a, b, e, f));
                    one!("sub", |e, f| sse::sub::<$format>(a, b, e, f));
                    one!("mul", |e, f| sse::mul::<$format>(a, b, e, f));
                    one!("div", |e, f| sse::div::<$format>(a, b, e, f));
                    one!("min", |e, f| sse::min::<$format>(a, b, e, f));
                    one!("max", |e, f| sse::max::<$format>(a, b, e, f));
                    check(
                        &mut report,
                        "sqrt",
                        a,
                        b,
                        m,
                        |e, f| sse::sqrt::<$format>(a, e, f),
                        xmm!(a, b, m, concat!("sqrt", $suffix, " xmm0, xmm0\n movq rax, xmm0")),
                    );
                    check(
                        &mut report,
                        "comi",
                        a,
                        b,
                        m,
                        |e, f| sse::compare::<$format>(a, b, e, f).eflags() as u64,
                        xmm!(
                            a,
                            b,
                            m,
                            concat!("comi", $suffix, " xmm0, xmm1\n mov eax, 0\n lahf\n shr eax, 8\n and eax, 0x45")
                        ),
                    );
                    check(
                        &mut report,
                        "ucomi",
                        a,
                        b,
                        m,
                        |e, f| sse::compare_quiet::<$format>(a, b, e, f).eflags() as u64,
                        xmm!(
                            a,
                            b,
                            m,
                            concat!("ucomi", $suffix, " xmm0, xmm1\n mov eax, 0\n lahf\n shr eax, 8\n and eax, 0x45")
                        ),
                    );
                    check(
                        &mut report,
                        "cvt2si",
                        a,
                        b,
                        m,
                        |e, f| sse::to_i32::<$format>(a, e, f) as u32 as u64,
                        xmm!(a, b, m, concat!("cvt", $suffix, "2si eax, xmm0")),
                    );
                    check(
                        &mut report,
                        "cvtt2si",
                        a,
                        b,
                        m,
                        |e, f| sse::to_i32_truncate::<$format>(a, e, f) as u32 as u64,
                        xmm!(a, b, m, concat!("cvtt", $suffix, "2si eax, xmm0")),
                    );
                    check(
                        &mut report,
                        "cvt2si 64",
                        a,
                        b,
                        m,
                        |e, f| sse::to_i64::<$format>(a, e, f) as u64,
                        xmm!(a, b, m, concat!("cvt", $suffix, "2si rax, xmm0")),
                    );
                    check(
                        &mut report,
                        "cvtt2si 64",
                        a,
                        b,
                        m,
                        |e, f| sse::to_i64_truncate::<$format>(a, e, f) as u64,
                        xmm!(a, b, m, concat!("cvtt", $suffix, "2si rax, xmm0")),
                    );
                    let i = r.next() as i64 >> r.below(64);
                    check(
                        &mut report,
                        "cvtsi2",
                        i as u64,
                        0,
                        m,
                        |e, f| sse::from_i64::<$format>(i, e, f),
                        xmm!(
                            i as u64,
                            0,
                            m,
                            concat!(
                                "movq rax, xmm0\n pxor xmm0, xmm0\n cvtsi2",
                                $suffix,
                                " xmm0, rax\n movq rax, xmm0"
                            )
                        ),
                    );
                    if $single {
                        check(
                            &mut report,
                            "cvtss2sd",
                            a,
                            b,
                            m,
                            |e, f| sse::single_to_double(a as u32, e, f),
                            xmm!(a, b, m, "cvtss2sd xmm0, xmm0\n movq rax, xmm0"),
                        );
                    } else {
                        check(
                            &mut report,
                            "cvtsd2ss",
                            a,
                            b,
                            m,
                            |e, f| sse::double_to_single(a, e, f) as u64,
                            xmm!(a, b, m, "cvtsd2ss xmm0, xmm0\n movd eax, xmm0"),
                        );
                    }
                }
            }
        };
    }

    suite!(singles, F32, 23, 8, "ss", true, 30);
    suite!(doubles, F64, 52, 11, "sd", false, 31);

    /// Doubles whose values crowd around what a single can hold.
    #[test]
    fn narrowing() {
        let (mut r, mut report) = (Random(32), Report::default());
        for _ in 0..rounds(200_000) {
            let single = r.ieee(23, 8) as u32;
            let exact = sse::single_to_double(single, SseEnv::default(), &mut Flags::new());
            let a = exact.wrapping_add([0, 1, 0x0fff_ffff, 0x1000_0000, 0x1000_0001, u64::MAX][r.below(6) as usize]);
            let m = r.mxcsr();
            check(
                &mut report,
                "cvtsd2ss",
                a,
                0,
                m,
                |e, f| sse::double_to_single(a, e, f) as u64,
                xmm!(a, 0, m, "cvtsd2ss xmm0, xmm0\n movd eax, xmm0"),
            );
        }
    }
}

#[test]
fn memory_operands() {
    let (mut r, mut report) = (Random(17), Report::default());
    for _ in 0..rounds(150_000) {
        let (a, control) = (r.f80(), r.control());
        let env = Env::from_control_word(control);
        let edge = [0, 1, 0x7f80_0000, 0x7f80_0001, 0x7fbf_ffff, 0x7fc0_0000, 0x7f_ffff][r.below(7) as usize];
        let single = if r.below(2) == 0 { edge | (r.next() as u32 & 0x8000_0001) } else { r.next() as u32 };
        // The same classes as a double.
        let double = match single & 0x7f80_0000 {
            0 => (single as u64 & 0x8000_0000) << 32 | (single as u64 & 0x7f_ffff),
            0x7f80_0000 => (single as u64 & 0x8000_0000) << 32 | 0x7ff << 52 | (single as u64 & 0x7f_ffff) << 29,
            _ => r.next(),
        };
        macro_rules! one {
            ($instruction:literal, $operation:expr) => {
                let m = MemoryOperand::from_f32(single);
                one!(concat!($instruction, " dword ptr [{p} + 64]"), &single.to_le_bytes(), m, $operation);
                let m = MemoryOperand::from_f64(double);
                one!(concat!($instruction, " qword ptr [{p} + 64]"), &double.to_le_bytes(), m, $operation);
            };
            ($instruction:expr, $bytes:expr, $m:expr, $operation:expr) => {{
                let mut flags = Flags::new();
                let value = $m.apply($operation, a, env, &mut flags);
                let value = if flags.suppresses(env) { a } else { value };
                let h = host!(Area::new(a, F80::ONE, control).with_memory($bytes), $instruction).host();
                report.check((value, flags.bits()), (h.top, h.status & (EXCEPTIONS | Flags::C1)), || {
                    format!("{} {a:x?} {:x?} control {control:04x}", $instruction, $bytes)
                });
            }};
        }
        one!("fadd", add);
        one!("fsub", sub);
        one!("fsubr", sub_reversed);
        one!("fmul", mul);
        one!("fdiv", div);
        one!("fdivr", div_reversed);
        let mut flags = Flags::new();
        let ours = MemoryOperand::from_f64(double).apply(compare, a, env, &mut flags).condition_bits();
        let area = Area::new(a, F80::ONE, control).with_memory(&double.to_le_bytes());
        let h = host!(area, "fcom qword ptr [{p} + 64]").host();
        report.check(ours | flags.bits(), h.status & (EXCEPTIONS | CONDITIONS), || {
            format!("fcom {a:x?} {double:x} control {control:04x}")
        });
    }
}
