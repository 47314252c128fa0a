//! Floating-point arithmetic and comparison.
//!
//! A host operation stands for the guest's when rounding is to nearest, all operands are zeros or normal numbers and
//! the result is a normal number (or an exact zero): then the only flag that can be raised is PE, and the result is
//! taken when PE would change nothing or when an error-free transformation shows that it is exact.

use super::*;
use crate::softfloat::Ordering;
use crate::softfloat::sse as exact;
use crate::softfloat::sse::{F32, F64, Format};

const ADD: u8 = 0;
const SUB: u8 = 1;
const MUL: u8 = 2;
const DIV: u8 = 3;
const SQRT: u8 = 4;
const MIN: u8 = 5;
const MAX: u8 = 6;

pub(super) fn lookup(code: Code) -> Option<Helper> {
    macro_rules! table {
        ($($op:ident $ps:ident $pd:ident $ss:ident $sd:ident;)*) => {
            match code {
                $(Code::$ps => packed::<F32, $op, $op>,
                Code::$pd => packed::<F64, $op, $op>,
                Code::$ss => scalar::<F32, $op>,
                Code::$sd => scalar::<F64, $op>,)*
                Code::Addsubps_xmm_xmmm128 => packed::<F32, SUB, ADD>,
                Code::Addsubpd_xmm_xmmm128 => packed::<F64, SUB, ADD>,
                Code::Haddps_xmm_xmmm128 => horizontal::<F32, ADD>,
                Code::Haddpd_xmm_xmmm128 => horizontal::<F64, ADD>,
                Code::Hsubps_xmm_xmmm128 => horizontal::<F32, SUB>,
                Code::Hsubpd_xmm_xmmm128 => horizontal::<F64, SUB>,
                Code::Cmpps_xmm_xmmm128_imm8 => compare_packed::<F32>,
                Code::Cmppd_xmm_xmmm128_imm8 => compare_packed::<F64>,
                Code::Cmpss_xmm_xmmm32_imm8 => compare_scalar::<F32>,
                Code::Cmpsd_xmm_xmmm64_imm8 => compare_scalar::<F64>,
                Code::Comiss_xmm_xmmm32 => compare_to_eflags::<F32, true>,
                Code::Comisd_xmm_xmmm64 => compare_to_eflags::<F64, true>,
                Code::Ucomiss_xmm_xmmm32 => compare_to_eflags::<F32, false>,
                Code::Ucomisd_xmm_xmmm64 => compare_to_eflags::<F64, false>,
                Code::Rcpps_xmm_xmmm128 => approximate_packed::<false>,
                Code::Rsqrtps_xmm_xmmm128 => approximate_packed::<true>,
                Code::Rcpss_xmm_xmmm32 => approximate_scalar::<false>,
                Code::Rsqrtss_xmm_xmmm32 => approximate_scalar::<true>,
                _ => return None,
            }
        };
    }
    Some(table! {
        ADD Addps_xmm_xmmm128 Addpd_xmm_xmmm128 Addss_xmm_xmmm32 Addsd_xmm_xmmm64;
        SUB Subps_xmm_xmmm128 Subpd_xmm_xmmm128 Subss_xmm_xmmm32 Subsd_xmm_xmmm64;
        MUL Mulps_xmm_xmmm128 Mulpd_xmm_xmmm128 Mulss_xmm_xmmm32 Mulsd_xmm_xmmm64;
        DIV Divps_xmm_xmmm128 Divpd_xmm_xmmm128 Divss_xmm_xmmm32 Divsd_xmm_xmmm64;
        SQRT Sqrtps_xmm_xmmm128 Sqrtpd_xmm_xmmm128 Sqrtss_xmm_xmmm32 Sqrtsd_xmm_xmmm64;
        MIN Minps_xmm_xmmm128 Minpd_xmm_xmmm128 Minss_xmm_xmmm32 Minsd_xmm_xmmm64;
        MAX Maxps_xmm_xmmm128 Maxpd_xmm_xmmm128 Maxss_xmm_xmmm32 Maxsd_xmm_xmmm64;
    })
}

/// A format and its host operations.
pub(super) trait Element: Format {
    const WIDTH: Width;
    /// The result of host operation `OP` on the bits of two elements, and whether it may be taken: see the module
    /// documentation. When `lenient`, an inexact one may.
    fn quick<const OP: u8>(a: u64, b: u64, lenient: bool) -> (u64, bool);
    /// Whether the bits are those of a zero or a normal number.
    fn is_plain(bits: u64) -> bool;
    /// The order of two plain numbers.
    fn order(a: u64, b: u64) -> Ordering;
}

macro_rules! element {
    ($format:ident, $float:ident, $bits:ident, $width:ident, $exact:ident) => {
        impl Element for $format {
            const WIDTH: Width = Width::$width;
            #[inline(always)]
            fn is_plain(bits: u64) -> bool {
                const MIN_NORMAL: $bits = $float::MIN_POSITIVE.to_bits();
                const INFINITY: $bits = $float::INFINITY.to_bits();
                let magnitude = bits as $bits & ($bits::MAX >> 1);
                (magnitude.wrapping_sub(MIN_NORMAL) < INFINITY - MIN_NORMAL) | (magnitude == 0)
            }
            #[inline(always)]
            fn quick<const OP: u8>(a: u64, b: u64, lenient: bool) -> (u64, bool) {
                const MIN_NORMAL: $bits = $float::MIN_POSITIVE.to_bits();
                const INFINITY: $bits = $float::INFINITY.to_bits();
                let (x, y) = ($float::from_bits(a as $bits), $float::from_bits(b as $bits));
                let plain = Self::is_plain(a) & Self::is_plain(b);
                let r = match OP {
                    ADD => x + y,
                    SUB => x - y,
                    MUL => x * y,
                    DIV => x / y,
                    SQRT => y.sqrt(),
                    MIN => {
                        if x < y {
                            x
                        } else {
                            y
                        }
                    }
                    _ => {
                        if x > y {
                            x
                        } else {
                            y
                        }
                    }
                };
                let bits = r.to_bits();
                if OP == MIN || OP == MAX {
                    return (u64::from(bits), plain);
                }
                // The smallest normal number may be a rounded tiny one.
                let magnitude = bits & ($bits::MAX >> 1);
                let normal = magnitude.wrapping_sub(MIN_NORMAL + 1) < INFINITY - (MIN_NORMAL + 1);
                let zero = (magnitude == 0)
                    & match OP {
                        ADD | SUB | SQRT => true,
                        MUL => (x == 0.0) | (y == 0.0),
                        _ => x == 0.0,
                    };
                let ok = plain & (normal | zero) && (lenient || zero || $exact::<OP>(x, y, r));
                (u64::from(bits), ok)
            }
            #[inline(always)]
            fn order(a: u64, b: u64) -> Ordering {
                let (x, y) = ($float::from_bits(a as $bits), $float::from_bits(b as $bits));
                if x < y {
                    Ordering::Less
                } else if x > y {
                    Ordering::Greater
                } else {
                    Ordering::Equal
                }
            }
        }
    };
}
element!(F32, f32, u32, Dword, exact_single);
element!(F64, f64, u64, Qword, exact_double);

/// Whether `r` is exactly `x OP y`, all of them normal. Products of singles are exact in double precision.
fn exact_single<const OP: u8>(x: f32, y: f32, r: f32) -> bool {
    let (wx, wy, wr) = (f64::from(x), f64::from(y), f64::from(r));
    match OP {
        ADD => sum_error_single(x, y, r) == 0.0,
        SUB => sum_error_single(x, -y, r) == 0.0,
        MUL => wx * wy == wr,
        DIV => wr * wy == wx,
        _ => wr * wr == wy,
    }
}
/// What rounding took from `x + y` (Knuth's TwoSum).
fn sum_error_single(x: f32, y: f32, r: f32) -> f32 {
    let part = r - x;
    (x - (r - part)) + (y - part)
}
fn sum_error_double(x: f64, y: f64, r: f64) -> f64 {
    let part = r - x;
    (x - (r - part)) + (y - part)
}
/// The same for doubles, with residues by fused multiply-add; where those could underflow the answer is no.
fn exact_double<const OP: u8>(x: f64, y: f64, r: f64) -> bool {
    const SAFE: f64 = f64::from_bits((1023 - 900) << 52);
    match OP {
        ADD => sum_error_double(x, y, r) == 0.0,
        SUB => sum_error_double(x, -y, r) == 0.0,
        MUL => r.abs() > SAFE && x.mul_add(y, -r) == 0.0,
        DIV => x.abs() > SAFE && r.mul_add(y, -x) == 0.0,
        _ => y > SAFE && r.mul_add(r, -y) == 0.0,
    }
}

fn compute<F: Element, const OP: u8>(a: u64, b: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    match OP {
        ADD => exact::add::<F>(a, b, env, flags),
        SUB => exact::sub::<F>(a, b, env, flags),
        MUL => exact::mul::<F>(a, b, env, flags),
        DIV => exact::div::<F>(a, b, env, flags),
        SQRT => exact::sqrt::<F>(b, env, flags),
        MIN => exact::min::<F>(a, b, env, flags),
        _ => exact::max::<F>(a, b, env, flags),
    }
}

#[inline(always)]
fn element<F: Element>(v: u128, n: u32) -> u64 {
    (v >> (n * F::WIDTH.bits())) as u64 & F::WIDTH.mask()
}
#[inline(always)]
fn is_quick<const OP: u8>(mxcsr: u32) -> bool {
    OP == MIN || OP == MAX || is_nearest(mxcsr)
}

/// One element; flags are raised, or the fault is the #XM.
#[inline(always)]
fn one<F: Element, const OP: u8>(core: &mut Core<'_, '_>, a: u64, b: u64) -> Result<u64, Fault> {
    let mxcsr = core.cpu.mxcsr;
    if is_quick::<OP>(mxcsr) {
        let (r, ok) = F::quick::<OP>(if OP == SQRT { b } else { a }, b, may_be_inexact(mxcsr));
        if ok {
            return Ok(r);
        }
    }
    one_exact::<F, OP>(core, a, b)
}
#[cold]
#[inline(never)]
fn one_exact<F: Element, const OP: u8>(core: &mut Core<'_, '_>, a: u64, b: u64) -> Result<u64, Fault> {
    let env = SseEnv::from_mxcsr(core.cpu.mxcsr);
    let mut flags = Flags::new();
    let r = compute::<F, OP>(a, b, env, &mut flags);
    conclude(core, env, flags)?;
    Ok(r)
}
/// All elements: `EVEN` on those with even numbers, `ODD` on the others.
#[inline(always)]
fn all<F: Element, const EVEN: u8, const ODD: u8>(core: &mut Core<'_, '_>, a: u128, b: u128) -> Result<u128, Fault> {
    let mxcsr = core.cpu.mxcsr;
    if is_quick::<EVEN>(mxcsr) {
        let lenient = may_be_inexact(mxcsr);
        let mut result = 0;
        let mut good = true;
        for n in 0..128 / F::WIDTH.bits() {
            let (x, y) = (element::<F>(a, n), element::<F>(b, n));
            let x = if EVEN == SQRT { y } else { x };
            let (r, ok) = if n & 1 == 0 { F::quick::<EVEN>(x, y, lenient) } else { F::quick::<ODD>(x, y, lenient) };
            result |= u128::from(r) << (n * F::WIDTH.bits());
            good &= ok;
        }
        if good {
            return Ok(result);
        }
    }
    all_exact::<F, EVEN, ODD>(core, a, b)
}
#[cold]
#[inline(never)]
fn all_exact<F: Element, const EVEN: u8, const ODD: u8>(
    core: &mut Core<'_, '_>,
    a: u128,
    b: u128,
) -> Result<u128, Fault> {
    let env = SseEnv::from_mxcsr(core.cpu.mxcsr);
    let mut flags = Flags::new();
    let mut result = 0;
    for n in 0..128 / F::WIDTH.bits() {
        let (x, y) = (element::<F>(a, n), element::<F>(b, n));
        let r = if n & 1 == 0 {
            compute::<F, EVEN>(x, y, env, &mut flags)
        } else {
            compute::<F, ODD>(x, y, env, &mut flags)
        };
        result |= u128::from(r) << (n * F::WIDTH.bits());
    }
    conclude(core, env, flags)?;
    Ok(result)
}

fn scalar<F: Element, const OP: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source_low(core, i, F::WIDTH)?;
    let a = element::<F>(xmm(core, i.ops[0]), 0);
    let r = one::<F, OP>(core, a, b)?;
    set_low(core, i.ops[0], F::WIDTH, r);
    Ok(())
}
fn packed<F: Element, const EVEN: u8, const ODD: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source(core, i)?;
    let a = xmm(core, i.ops[0]);
    let r = all::<F, EVEN, ODD>(core, a, b)?;
    set_xmm(core, i.ops[0], r);
    Ok(())
}
/// HADDPS, HSUBPS and the PD forms: neighbours in the destination, then in the source.
fn horizontal<F: Element, const OP: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source(core, i)?;
    let a = xmm(core, i.ops[0]);
    let half = 64 / F::WIDTH.bits();
    let (mut evens, mut odds) = (0, 0);
    for n in 0..half {
        let at = n * F::WIDTH.bits();
        let pick = |v: u128, odd: u32| u128::from(element::<F>(v, 2 * n + odd));
        evens |= pick(a, 0) << at | pick(b, 0) << (at + 64);
        odds |= pick(a, 1) << at | pick(b, 1) << (at + 64);
    }
    let r = all::<F, OP, OP>(core, evens, odds)?;
    set_xmm(core, i.ops[0], r);
    Ok(())
}

/// Whether predicate `predicate` (0–7) of CMPPS holds.
fn holds(predicate: u8, order: Ordering) -> bool {
    let unordered = order == Ordering::Unordered;
    let positive = match predicate & 3 {
        0 => order == Ordering::Equal,
        1 => order == Ordering::Less,
        2 => matches!(order, Ordering::Less | Ordering::Equal),
        _ => unordered,
    };
    positive != (predicate & 4 != 0)
}
fn compare<F: Element>(a: u64, b: u64, signalling: bool, env: SseEnv, flags: &mut Flags) -> Ordering {
    if F::is_plain(a) & F::is_plain(b) {
        F::order(a, b)
    } else if signalling {
        exact::compare::<F>(a, b, env, flags)
    } else {
        exact::compare_quiet::<F>(a, b, env, flags)
    }
}
/// LT, LE, NLT and NLE refuse quiet NaNs.
fn is_signalling(predicate: u8) -> bool {
    matches!(predicate & 3, 1 | 2)
}
fn compare_scalar<F: Element>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source_low(core, i, F::WIDTH)?;
    let a = element::<F>(xmm(core, i.ops[0]), 0);
    let env = SseEnv::from_mxcsr(core.cpu.mxcsr);
    let mut flags = Flags::new();
    let predicate = i.imm as u8 & 7;
    let order = compare::<F>(a, b, is_signalling(predicate), env, &mut flags);
    conclude(core, env, flags)?;
    set_low(core, i.ops[0], F::WIDTH, if holds(predicate, order) { F::WIDTH.mask() } else { 0 });
    Ok(())
}
fn compare_packed<F: Element>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source(core, i)?;
    let a = xmm(core, i.ops[0]);
    let env = SseEnv::from_mxcsr(core.cpu.mxcsr);
    let mut flags = Flags::new();
    let predicate = i.imm as u8 & 7;
    let mut result = 0;
    for n in 0..128 / F::WIDTH.bits() {
        let order = compare::<F>(element::<F>(a, n), element::<F>(b, n), is_signalling(predicate), env, &mut flags);
        if holds(predicate, order) {
            result |= u128::from(F::WIDTH.mask()) << (n * F::WIDTH.bits());
        }
    }
    conclude(core, env, flags)?;
    set_xmm(core, i.ops[0], result);
    Ok(())
}
/// COMISS, UCOMISS and the SD forms: ZF, PF and CF as the order says; OF, SF and AF are cleared.
fn compare_to_eflags<F: Element, const SIGNALLING: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source_low(core, i, F::WIDTH)?;
    let a = element::<F>(xmm(core, i.ops[0]), 0);
    let env = SseEnv::from_mxcsr(core.cpu.mxcsr);
    let mut flags = Flags::new();
    let order = compare::<F>(a, b, SIGNALLING, env, &mut flags);
    conclude(core, env, flags)?;
    core.cpu.lazy.set_all(u64::from(order.eflags()));
    Ok(())
}

/// RCPPS and RSQRTPS of one element. The manual asks for a relative error of at most 1.5 * 2^-12 and leaves the bits
/// to the processor; here the significand is the exact one rounded to 12 fraction bits, on every host. No flags, no
/// exceptions; denormal operands count as zeros and tiny results become zeros.
fn approximate<const ROOT: bool>(bits: u32) -> u32 {
    let sign = bits & 0x8000_0000;
    let exponent = (bits >> 23 & 0xff) as i32;
    let fraction = bits & 0x7f_ffff;
    if exponent == 0xff && fraction != 0 {
        return bits | 0x40_0000;
    }
    if exponent == 0 {
        return sign | 0x7f80_0000;
    }
    if ROOT && sign != 0 {
        return 0xffc0_0000;
    }
    if exponent == 0xff {
        return sign;
    }
    let unbiased = exponent - 127;
    let significand = u64::from(fraction | 0x80_0000);
    // The result in units of 2^-13, rounded: between one half and one.
    let (rounded, power) = if ROOT {
        let odd = unbiased & 1;
        let doubled = ((1u64 << 51) / (significand << odd)).isqrt();
        ((doubled + 1) >> 1, -((unbiased - odd) >> 1))
    } else {
        (((1u64 << 37) / significand + 1) >> 1, -unbiased)
    };
    let (power, fraction) = if rounded >= 1 << 13 { (power, 0) } else { (power - 1, (rounded as u32 & 0xfff) << 11) };
    let biased = power + 127;
    if biased <= 0 { sign } else { sign | (biased as u32) << 23 | fraction }
}
fn approximate_scalar<const ROOT: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source_low(core, i, Width::Dword)?;
    set_low(core, i.ops[0], Width::Dword, u64::from(approximate::<ROOT>(b as u32)));
    Ok(())
}
fn approximate_packed<const ROOT: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source(core, i)?;
    let r = (0..4).fold(0, |r, n| r | u128::from(approximate::<ROOT>((b >> (32 * n)) as u32)) << (32 * n));
    set_xmm(core, i.ops[0], r);
    Ok(())
}
