//! Single and double arithmetic as SSE does it: the exact slow path behind host operations.
//!
//! Values travel as bits in a `u64` (a single in the low half); the format is a type parameter, [`F32`] or [`F64`].
//! Flags have the layout of MXCSR bits 0 to 5 ([`Flags::exceptions`]; C1 means nothing here) and are only added.
//!
//! A result must be thrown away when [`SseEnv::traps`] holds for the flags of the instruction. An operation that raises
//! an unmasked IE, DE or ZE raises nothing further; a packed instruction of which one element does so
//! ([`SseEnv::traps_before_computation`]) must drop OE, UE and PE of its other elements (SDM volume 1, 11.5.2).

use super::arith::{product, quotient, root, sum};
use super::convert::{DOUBLE, Layout, Packing, SINGLE, pack};
use super::{Flags, INTEGER_BIT, Ordering, Rounding};

/// A format of SSE arithmetic.
pub trait Format: sealed::Sealed {}

/// Single precision.
#[derive(Clone, Copy, Debug)]
pub struct F32;

/// Double precision.
#[derive(Clone, Copy, Debug)]
pub struct F64;

impl Format for F32 {}
impl Format for F64 {}

mod sealed {
    pub trait Sealed {
        const LAYOUT: super::Layout;
    }
    impl Sealed for super::F32 {
        const LAYOUT: super::Layout = super::SINGLE;
    }
    impl Sealed for super::F64 {
        const LAYOUT: super::Layout = super::DOUBLE;
    }
}

/// MXCSR as far as arithmetic cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEnv {
    /// Rounding control.
    pub rounding: Rounding,
    /// Denormal operands count as zeros.
    pub denormals_are_zero: bool,
    /// Tiny results become zeros while underflow is masked.
    pub flush_to_zero: bool,
    /// The masked exceptions, in the layout of [`Flags`].
    pub masks: u16,
}

impl Default for SseEnv {
    fn default() -> SseEnv {
        SseEnv::from_mxcsr(0x1f80)
    }
}

impl SseEnv {
    /// From MXCSR.
    #[inline]
    pub const fn from_mxcsr(mxcsr: u32) -> SseEnv {
        SseEnv {
            rounding: Rounding::from_bits((mxcsr >> 13) as u16),
            denormals_are_zero: mxcsr & 0x40 != 0,
            flush_to_zero: mxcsr & 0x8000 != 0,
            masks: (mxcsr >> 7) as u16 & 0x3f,
        }
    }

    /// Whether an unmasked exception was raised: #XM instead of a result.
    #[inline]
    pub const fn traps(self, flags: Flags) -> bool {
        flags.exceptions() & !self.masks != 0
    }

    /// Whether one of those found before the computation (IE, DE, ZE) is unmasked.
    #[inline]
    pub const fn traps_before_computation(self, flags: Flags) -> bool {
        flags.exceptions() & !self.masks & (Flags::IE | Flags::DE | Flags::ZE) != 0
    }

    const fn packing(self) -> Packing {
        Packing {
            rounding: self.rounding,
            underflow_masked: self.masks & Flags::UE != 0,
            overflow_masked: self.masks & Flags::OE != 0,
            flush_to_zero: self.flush_to_zero,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Zero,
    Denormal,
    Normal,
    Infinity,
    Nan,
}

/// An operand taken apart; `exponent` and `significand` (bit 63 set) are those of a finite non-zero number.
#[derive(Clone, Copy)]
struct Operand {
    bits: u64,
    kind: Kind,
    negative: bool,
    exponent: i32,
    significand: u64,
}

impl Operand {
    fn new(f: Layout, bits: u64, env: SseEnv) -> Operand {
        let negative = bits & f.sign_bit() != 0;
        let field = (bits >> f.fraction) as i32 & f.exponent_max();
        let fraction = bits & f.fraction_mask();
        let top = 63 - f.fraction;
        let mut bits = bits;
        let (kind, exponent, significand) = match (field, fraction) {
            (0, 0) => (Kind::Zero, 0, 0),
            (0, _) if env.denormals_are_zero => {
                bits &= f.sign_bit();
                (Kind::Zero, 0, 0)
            }
            (0, _) => {
                let zeros = fraction.leading_zeros();
                (Kind::Denormal, 1 - f.bias() + top as i32 - zeros as i32, fraction << zeros)
            }
            (e, 0) if e == f.exponent_max() => (Kind::Infinity, 0, 0),
            (e, _) if e == f.exponent_max() => (Kind::Nan, 0, 0),
            (e, _) => (Kind::Normal, e - f.bias(), INTEGER_BIT | fraction << top),
        };
        Operand { bits, kind, negative, exponent, significand }
    }

    fn is_signalling(&self, f: Layout) -> bool {
        self.kind == Kind::Nan && self.bits & f.quiet_bit() == 0
    }

    fn parts(&self) -> (bool, i32, u64) {
        (self.negative, self.exponent, self.significand)
    }
}

fn invalid(f: Layout, flags: &mut Flags) -> u64 {
    flags.raise(Flags::IE);
    f.indefinite()
}

/// The result when an operand is a NaN: the first one that is, quieted.
fn propagate(f: Layout, a: &Operand, b: &Operand, flags: &mut Flags) -> Option<u64> {
    if a.kind != Kind::Nan && b.kind != Kind::Nan {
        return None;
    }
    if a.is_signalling(f) || b.is_signalling(f) {
        flags.raise(Flags::IE);
    }
    Some(if a.kind == Kind::Nan { a.bits } else { b.bits } | f.quiet_bit())
}

/// Raises DE for a denormal operand; `true` when it is unmasked and the operation ends here.
fn denormal(a: &Operand, b: &Operand, env: SseEnv, flags: &mut Flags) -> bool {
    let any = a.kind == Kind::Denormal || b.kind == Kind::Denormal;
    if any {
        flags.raise(Flags::DE);
    }
    any && env.masks & Flags::DE == 0
}

const fn signed(f: Layout, negative: bool, magnitude: u64) -> u64 {
    if negative { f.sign_bit() | magnitude } else { magnitude }
}

fn add_signed(f: Layout, a: u64, b: u64, flip: bool, env: SseEnv, flags: &mut Flags) -> u64 {
    let (a, mut b) = (Operand::new(f, a, env), Operand::new(f, b, env));
    if let Some(nan) = propagate(f, &a, &b, flags) {
        return nan;
    }
    b.negative ^= flip;
    if a.kind == Kind::Infinity && b.kind == Kind::Infinity && a.negative != b.negative {
        return invalid(f, flags);
    }
    if denormal(&a, &b, env, flags) {
        return 0;
    }
    let cancelled = signed(f, env.rounding == Rounding::Down, 0);
    let (negative, exponent, hi, lo) = match (a.kind, b.kind) {
        (Kind::Infinity, _) => return signed(f, a.negative, f.infinity()),
        (_, Kind::Infinity) => return signed(f, b.negative, f.infinity()),
        (Kind::Zero, Kind::Zero) => {
            return if a.negative == b.negative { signed(f, a.negative, 0) } else { cancelled };
        }
        (Kind::Zero, _) => (b.negative, b.exponent, b.significand, 0),
        (_, Kind::Zero) => (a.negative, a.exponent, a.significand, 0),
        _ => match sum(a.parts(), b.parts()) {
            Some(parts) => parts,
            None => return cancelled,
        },
    };
    pack(f, negative, exponent, hi, lo, env.packing(), flags)
}

/// ADDSS, ADDSD and one element of their packed forms: `a + b`.
pub fn add<F: Format>(a: u64, b: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    add_signed(F::LAYOUT, a, b, false, env, flags)
}

/// SUBSS, SUBSD: `a - b`.
pub fn sub<F: Format>(a: u64, b: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    add_signed(F::LAYOUT, a, b, true, env, flags)
}

/// MULSS, MULSD: `a * b`.
pub fn mul<F: Format>(a: u64, b: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    let f = F::LAYOUT;
    let (a, b) = (Operand::new(f, a, env), Operand::new(f, b, env));
    if let Some(nan) = propagate(f, &a, &b, flags) {
        return nan;
    }
    let infinite = a.kind == Kind::Infinity || b.kind == Kind::Infinity;
    let zero = a.kind == Kind::Zero || b.kind == Kind::Zero;
    if infinite && zero {
        return invalid(f, flags);
    }
    let negative = a.negative ^ b.negative;
    if denormal(&a, &b, env, flags) || zero {
        return signed(f, negative, 0);
    }
    if infinite {
        return signed(f, negative, f.infinity());
    }
    let (short, hi, lo) = product(a.significand, b.significand);
    pack(f, negative, a.exponent + b.exponent + 1 - short, hi, lo, env.packing(), flags)
}

/// DIVSS, DIVSD: `a / b`.
pub fn div<F: Format>(a: u64, b: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    let f = F::LAYOUT;
    let (a, b) = (Operand::new(f, a, env), Operand::new(f, b, env));
    if let Some(nan) = propagate(f, &a, &b, flags) {
        return nan;
    }
    if a.kind == b.kind && matches!(a.kind, Kind::Zero | Kind::Infinity) {
        return invalid(f, flags);
    }
    let negative = a.negative ^ b.negative;
    if b.kind == Kind::Zero && a.kind != Kind::Infinity {
        flags.raise(Flags::ZE);
        return signed(f, negative, f.infinity());
    }
    if denormal(&a, &b, env, flags) {
        return 0;
    }
    if a.kind == Kind::Infinity {
        return signed(f, negative, f.infinity());
    }
    if a.kind == Kind::Zero || b.kind == Kind::Infinity {
        return signed(f, negative, 0);
    }
    let (short, hi, lo) = quotient(a.significand, b.significand);
    pack(f, negative, a.exponent - b.exponent - short, hi, lo, env.packing(), flags)
}

/// SQRTSS, SQRTSD.
pub fn sqrt<F: Format>(a: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    let f = F::LAYOUT;
    let a = Operand::new(f, a, env);
    if let Some(nan) = propagate(f, &a, &a, flags) {
        return nan;
    }
    if a.kind == Kind::Zero {
        return a.bits;
    }
    if a.negative {
        return invalid(f, flags);
    }
    if denormal(&a, &a, env, flags) || a.kind == Kind::Infinity {
        return a.bits;
    }
    let (exponent, hi, lo) = root(a.exponent, a.significand);
    pack(f, false, exponent, hi, lo, env.packing(), flags)
}

fn order(a: &Operand, b: &Operand) -> Ordering {
    use core::cmp::Ordering as Core;
    let key = |x: &Operand| match x.kind {
        Kind::Zero => (0, 0, 0),
        Kind::Infinity => (2, 0, 0),
        _ => (1, x.exponent, x.significand),
    };
    let magnitudes = match (a.negative && a.kind != Kind::Zero, b.negative && b.kind != Kind::Zero) {
        (true, true) => key(b).cmp(&key(a)),
        (true, false) => Core::Less,
        (false, true) => Core::Greater,
        (false, false) => key(a).cmp(&key(b)),
    };
    match magnitudes {
        Core::Less => Ordering::Less,
        Core::Equal => Ordering::Equal,
        Core::Greater => Ordering::Greater,
    }
}

/// COMISS, COMISD and the signalling CMPPS predicates (LT, LE, NLT, NLE): any NaN raises IE.
pub fn compare<F: Format>(a: u64, b: u64, env: SseEnv, flags: &mut Flags) -> Ordering {
    compare_in(F::LAYOUT, a, b, true, env, flags)
}

/// UCOMISS, UCOMISD and the quiet CMPPS predicates (EQ, UNORD, NEQ, ORD): only a signalling NaN raises IE.
pub fn compare_quiet<F: Format>(a: u64, b: u64, env: SseEnv, flags: &mut Flags) -> Ordering {
    compare_in(F::LAYOUT, a, b, false, env, flags)
}

fn compare_in(f: Layout, a: u64, b: u64, signalling: bool, env: SseEnv, flags: &mut Flags) -> Ordering {
    let (a, b) = (Operand::new(f, a, env), Operand::new(f, b, env));
    if propagate(f, &a, &b, flags).is_some() {
        if signalling {
            flags.raise(Flags::IE);
        }
        return Ordering::Unordered;
    }
    denormal(&a, &b, env, flags);
    order(&a, &b)
}

/// MINSS, MINSD: `a < b ? a : b`; the second operand, as it is, when either is a NaN or both are zeros.
pub fn min<F: Format>(a: u64, b: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    select(F::LAYOUT, a, b, Ordering::Less, env, flags)
}

/// MAXSS, MAXSD: `a > b ? a : b`; the second operand, as it is, when either is a NaN or both are zeros.
pub fn max<F: Format>(a: u64, b: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    select(F::LAYOUT, a, b, Ordering::Greater, env, flags)
}

fn select(f: Layout, a: u64, b: u64, wanted: Ordering, env: SseEnv, flags: &mut Flags) -> u64 {
    let first = compare_in(f, a, b, true, env, flags) == wanted;
    Operand::new(f, if first { a } else { b }, env).bits
}

fn convert(from: Layout, to: Layout, a: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    let a = Operand::new(from, a, env);
    match a.kind {
        Kind::Nan => {
            if a.is_signalling(from) {
                flags.raise(Flags::IE);
            }
            let fraction = (a.bits & from.fraction_mask()) << (63 - from.fraction) >> (63 - to.fraction);
            return signed(to, a.negative, to.infinity() | to.quiet_bit() | fraction);
        }
        Kind::Infinity => return signed(to, a.negative, to.infinity()),
        Kind::Zero => return signed(to, a.negative, 0),
        _ => {}
    }
    if denormal(&a, &a, env, flags) {
        return 0;
    }
    pack(to, a.negative, a.exponent, a.significand, 0, env.packing(), flags)
}

/// CVTSS2SD, CVTPS2PD.
pub fn single_to_double(a: u32, env: SseEnv, flags: &mut Flags) -> u64 {
    convert(SINGLE, DOUBLE, a as u64, env, flags)
}

/// CVTSD2SS, CVTPD2PS.
pub fn double_to_single(a: u64, env: SseEnv, flags: &mut Flags) -> u32 {
    convert(DOUBLE, SINGLE, a, env, flags) as u32
}

fn to_integer(f: Layout, a: u64, bits: u32, rounding: Rounding, env: SseEnv, flags: &mut Flags) -> i64 {
    let indefinite = i64::MIN >> (64 - bits);
    let a = Operand::new(f, a, env);
    let (integer, rest) = match a.kind {
        Kind::Zero => return 0,
        Kind::Nan | Kind::Infinity => {
            flags.raise(Flags::IE);
            return indefinite;
        }
        _ if a.exponent >= bits as i32 => {
            flags.raise(Flags::IE);
            return indefinite;
        }
        _ => match a.exponent {
            63 => (a.significand, 0),
            e @ 0..=62 => (a.significand >> (63 - e), a.significand << (e + 1)),
            -1 => (0, a.significand),
            _ => (0, 1),
        },
    };
    let magnitude = integer as u128 + rounding.increments(a.negative, integer & 1 != 0, rest) as u128;
    if magnitude > (1u128 << (bits - 1)) - !a.negative as u128 {
        flags.raise(Flags::IE);
        return indefinite;
    }
    if rest != 0 {
        flags.raise(Flags::PE);
    }
    let magnitude = magnitude as u64 as i64;
    if a.negative { magnitude.wrapping_neg() } else { magnitude }
}

/// CVTSS2SI, CVTPS2DQ, CVTSD2SI, CVTPD2DQ with a 32-bit result; 0x8000_0000 when it does not fit.
pub fn to_i32<F: Format>(a: u64, env: SseEnv, flags: &mut Flags) -> i32 {
    to_integer(F::LAYOUT, a, 32, env.rounding, env, flags) as i32
}

/// The same with truncation: CVTTSS2SI and others.
pub fn to_i32_truncate<F: Format>(a: u64, env: SseEnv, flags: &mut Flags) -> i32 {
    to_integer(F::LAYOUT, a, 32, Rounding::Zero, env, flags) as i32
}

/// CVTSS2SI, CVTSD2SI with a 64-bit result; 0x8000_0000_0000_0000 when it does not fit.
pub fn to_i64<F: Format>(a: u64, env: SseEnv, flags: &mut Flags) -> i64 {
    to_integer(F::LAYOUT, a, 64, env.rounding, env, flags)
}

/// The same with truncation: CVTTSS2SI, CVTTSD2SI.
pub fn to_i64_truncate<F: Format>(a: u64, env: SseEnv, flags: &mut Flags) -> i64 {
    to_integer(F::LAYOUT, a, 64, Rounding::Zero, env, flags)
}

/// CVTSI2SS, CVTSI2SD, CVTDQ2PS, CVTDQ2PD (sign-extend a 32-bit source).
pub fn from_i64<F: Format>(a: i64, env: SseEnv, flags: &mut Flags) -> u64 {
    let magnitude = a.unsigned_abs();
    if magnitude == 0 {
        return 0;
    }
    let zeros = magnitude.leading_zeros();
    pack(F::LAYOUT, a < 0, 63 - zeros as i32, magnitude << zeros, 0, env.packing(), flags)
}
