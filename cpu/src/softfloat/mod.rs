//! Software floating point: the 80-bit arithmetic of the x87 and the exact slow path of SSE.
//!
//! Everything here is integer arithmetic on plain values, so a result never depends on the host. Nothing knows the
//! register stack, the tag word or memory; the instruction layer owns those.
//!
//! # Contract of every x87 operation
//! - An operation takes operands, an [`Env`] (the control word) and a `&mut` [`Flags`] into which it only ever *adds*
//!   bits. `Flags` has the layout of the x87 status word: IE, DE, ZE, OE, UE, PE, and C1 when the magnitude of the
//!   result was rounded up. Pass a fresh `Flags` per instruction, clear C1 in the status word, then merge.
//! - The returned value is the masked response. When [`Flags::suppresses`] says so (an unmasked invalid, denormal or
//!   zero-divide), it must be thrown away: neither the stack nor the destination changes.
//! - With overflow or underflow unmasked, results for a *register* come back rounded with the exponent moved by
//!   24576, as the hardware delivers them. Results for *memory* must not be stored when
//!   [`Flags::suppresses_store`] says so.
//! - Underflow follows the hardware's rule: masked, tiny after rounding *and* inexact; unmasked, tiny.
//! - Denormals-are-zero does not exist on the x87.
//!
//! Facts follow the Intel SDM, volume 1, chapters 4 and 8, and volume 2, and are checked against a host processor in
//! `tests/softfloat_host.rs`.

mod arith;
mod convert;
mod remainder;
pub mod sse;
mod tables;
mod transcendental;
mod wide;

pub use arith::{add, compare, compare_unordered, div, div_reversed, mul, round_to_integer, scale, sqrt, sub};
pub use arith::{extract, sub_reversed};
pub use convert::MemoryOperand;
pub use convert::{BCD_INDEFINITE, from_bcd, from_f32, from_f64, from_i16, from_i32, from_i64, to_bcd};
pub use convert::{to_f32, to_f64, to_i16, to_i16_truncate, to_i32, to_i32_truncate, to_i64, to_i64_truncate};
pub use remainder::{Remainder, remainder, remainder_nearest};
pub use transcendental::{arctangent, cosine, exp2_minus_1, log2_plus_1_times, log2_times, sine};
pub use transcendental::{sine_cosine, tangent};

use serde::{Deserialize, Serialize};

/// Bias of the 15-bit exponent.
pub const BIAS: i32 = 16383;

/// What the exponent moves by when an unmasked overflow or underflow delivers its result to a register.
pub const UNMASKED_EXPONENT_SHIFT: i32 = 24576;

const EXPONENT_MAX: u16 = 0x7fff;
const INTEGER_BIT: u64 = 1 << 63;
const QUIET_BIT: u64 = 1 << 62;

/// An 80-bit extended-precision value exactly as it stands in a register: explicit integer bit in bit 63 of
/// `mantissa`, sign in bit 15 of `sign_exponent`. `==` compares representations, not numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct F80 {
    /// The significand with its explicit integer bit.
    pub mantissa: u64,
    /// Sign (bit 15) and biased exponent.
    pub sign_exponent: u16,
}

/// What FXAM tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Unnormal, pseudo-infinity or pseudo-NaN: encodings since the 387 refused as invalid.
    Unsupported,
    /// Quiet or signalling NaN.
    Nan,
    /// Normal finite number.
    Normal,
    /// Infinity.
    Infinity,
    /// Zero.
    Zero,
    /// Denormal or pseudo-denormal.
    Denormal,
}

impl Class {
    /// C3, C2 and C0 as FXAM sets them, in status word layout (C1 is the sign; an empty register is the caller's).
    pub const fn condition_bits(self) -> u16 {
        match self {
            Class::Unsupported => 0,
            Class::Nan => Flags::C0,
            Class::Normal => Flags::C2,
            Class::Infinity => Flags::C2 | Flags::C0,
            Class::Zero => Flags::C3,
            Class::Denormal => Flags::C3 | Flags::C2,
        }
    }
}

impl F80 {
    /// +0.
    pub const ZERO: F80 = F80::new(0, 0);
    /// +1, as FLD1 loads it.
    pub const ONE: F80 = F80::new(0x3fff, INTEGER_BIT);
    /// +∞.
    pub const INFINITY: F80 = F80::new(EXPONENT_MAX, INTEGER_BIT);
    /// The real indefinite: the negative quiet NaN that masked invalid operations return.
    pub const INDEFINITE: F80 = F80::new(0xffff, 0xc000_0000_0000_0000);

    /// A value from its sign-and-exponent word and its significand.
    pub const fn new(sign_exponent: u16, mantissa: u64) -> F80 {
        F80 { mantissa, sign_exponent }
    }

    /// The ten bytes of memory format.
    pub const fn to_bytes(self) -> [u8; 10] {
        let m = self.mantissa.to_le_bytes();
        let s = self.sign_exponent.to_le_bytes();
        [m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], s[0], s[1]]
    }

    /// A value from the ten bytes of memory format; every pattern is allowed.
    pub const fn from_bytes(b: [u8; 10]) -> F80 {
        F80 {
            mantissa: u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            sign_exponent: u16::from_le_bytes([b[8], b[9]]),
        }
    }

    /// The biased exponent field.
    #[inline]
    pub const fn exponent(self) -> u16 {
        self.sign_exponent & EXPONENT_MAX
    }

    /// The sign, in place (0 or 0x8000).
    #[inline]
    pub const fn sign(self) -> u16 {
        self.sign_exponent & 0x8000
    }

    /// Whether the sign bit is set.
    #[inline]
    pub const fn is_negative(self) -> bool {
        self.sign_exponent & 0x8000 != 0
    }

    /// FABS: clears the sign; never an exception.
    #[inline]
    pub const fn abs(self) -> F80 {
        F80::new(self.exponent(), self.mantissa)
    }

    /// FCHS: flips the sign; never an exception.
    #[inline]
    pub const fn negate(self) -> F80 {
        F80::new(self.sign_exponent ^ 0x8000, self.mantissa)
    }

    /// The class FXAM reports.
    pub const fn class(self) -> Class {
        match (self.exponent(), self.mantissa) {
            (0, 0) => Class::Zero,
            (0, _) => Class::Denormal,
            (_, m) if m & INTEGER_BIT == 0 => Class::Unsupported,
            (EXPONENT_MAX, INTEGER_BIT) => Class::Infinity,
            (EXPONENT_MAX, _) => Class::Nan,
            _ => Class::Normal,
        }
    }

    /// FXAM: class in C3, C2, C0 and the sign in C1, in status word layout.
    pub const fn examine(self) -> u16 {
        self.class().condition_bits() | if self.is_negative() { Flags::C1 } else { 0 }
    }

    /// A normal number: the operands of the fast paths.
    #[inline(always)]
    const fn is_normal(self) -> bool {
        self.exponent().wrapping_sub(1) < EXPONENT_MAX - 1 && self.mantissa & INTEGER_BIT != 0
    }

    /// ±0.
    #[inline]
    pub const fn is_zero(self) -> bool {
        self.exponent() == 0 && self.mantissa == 0
    }

    /// A NaN with a clear quiet bit.
    pub const fn is_signalling(self) -> bool {
        matches!(self.class(), Class::Nan) && self.mantissa & QUIET_BIT == 0
    }

    /// Any NaN of a supported encoding.
    pub const fn is_nan(self) -> bool {
        matches!(self.class(), Class::Nan)
    }

    /// An encoding that is refused as invalid.
    pub const fn is_unsupported(self) -> bool {
        matches!(self.class(), Class::Unsupported)
    }

    const fn quieted(self) -> F80 {
        F80::new(self.sign_exponent, self.mantissa | QUIET_BIT)
    }

    const fn zero(sign: u16) -> F80 {
        F80::new(sign, 0)
    }

    const fn infinity(sign: u16) -> F80 {
        F80::new(EXPONENT_MAX | sign, INTEGER_BIT)
    }
}

/// The constants that FLDL2T, FLDL2E, FLDPI, FLDLG2 and FLDLN2 load.
///
/// Since the 387 they are rounded as the rounding control says; precision control has no effect and no flag is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// log2(10), FLDL2T.
    Log2Of10,
    /// log2(e), FLDL2E.
    Log2OfE,
    /// π, FLDPI.
    Pi,
    /// log10(2), FLDLG2.
    Log10Of2,
    /// ln(2), FLDLN2.
    LnOf2,
}

impl Constant {
    /// The constant as it is loaded under the given rounding.
    pub const fn load(self, rounding: Rounding) -> F80 {
        // The significand rounded down, and whether the nearest one is above it.
        let (exponent, down, nearest_is_up) = match self {
            Constant::Log2Of10 => (0x4000, 0xd49a_784b_cd1b_8afe, false),
            Constant::Log2OfE => (0x3fff, 0xb8aa_3b29_5c17_f0bb, true),
            Constant::Pi => (0x4000, 0xc90f_daa2_2168_c234, true),
            Constant::Log10Of2 => (0x3ffd, 0x9a20_9a84_fbcf_f798, true),
            Constant::LnOf2 => (0x3ffe, 0xb172_17f7_d1cf_79ab, true),
        };
        let up = match rounding {
            Rounding::Nearest => nearest_is_up,
            Rounding::Up => true,
            Rounding::Down | Rounding::Zero => false,
        };
        F80::new(exponent, down + up as u64)
    }
}

/// Rounding control, encoded as in the control word and in MXCSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rounding {
    /// To nearest, ties to even.
    Nearest = 0,
    /// Towards −∞.
    Down = 1,
    /// Towards +∞.
    Up = 2,
    /// Towards zero.
    Zero = 3,
}

impl Rounding {
    /// From the two bits of the control word or MXCSR; higher bits are ignored.
    #[inline]
    pub const fn from_bits(bits: u16) -> Rounding {
        match bits & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::Zero,
        }
    }

    /// Whether a value with this sign, odd last bit and remainder `rest` (fraction of one unit in the last place,
    /// scaled to 2^64) grows in magnitude.
    #[inline(always)]
    const fn increments(self, negative: bool, odd: bool, rest: u64) -> bool {
        match self {
            Rounding::Nearest => rest > INTEGER_BIT || (rest == INTEGER_BIT && odd),
            Rounding::Down => negative && rest != 0,
            Rounding::Up => !negative && rest != 0,
            Rounding::Zero => false,
        }
    }
}

/// Precision control: how many bits of significand add, subtract, multiply, divide and square root keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Precision {
    /// 24 bits.
    Single,
    /// 53 bits.
    Double,
    /// 64 bits.
    Extended,
}

/// The control word as far as arithmetic cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Env(u16);

impl Default for Env {
    fn default() -> Env {
        Env(0x37f)
    }
}

impl Env {
    /// From a control word; every value is allowed.
    #[inline]
    pub const fn from_control_word(control: u16) -> Env {
        Env(control & 0xf3f)
    }

    /// With all exceptions masked.
    pub const fn masked(rounding: Rounding, precision: Precision) -> Env {
        let p = match precision {
            Precision::Single => 0,
            Precision::Double => 0x200,
            Precision::Extended => 0x300,
        };
        Env((rounding as u16) << 10 | p | 0x3f)
    }

    /// The rounding control.
    #[inline]
    pub const fn rounding(self) -> Rounding {
        Rounding::from_bits(self.0 >> 10)
    }

    /// The precision control; the reserved encoding 01 acts as extended.
    #[inline]
    pub const fn precision(self) -> Precision {
        match self.0 >> 8 & 3 {
            0 => Precision::Single,
            2 => Precision::Double,
            _ => Precision::Extended,
        }
    }

    /// Whether the exceptions in `bits` (one of the `Flags` constants) are all masked.
    #[inline]
    pub const fn is_masked(self, bits: u16) -> bool {
        !self.0 & bits & 0x3f == 0
    }

    /// This environment with another precision; used where precision control does not apply.
    #[inline]
    const fn extended(self) -> Env {
        Env(self.0 | 0x300)
    }

    /// Round to nearest with 64 bits: the case of the fast paths.
    #[inline(always)]
    const fn is_usual(self) -> bool {
        self.0 & 0xf00 == 0x300
    }

    #[inline]
    const fn bits(self) -> u32 {
        match self.precision() {
            Precision::Single => 24,
            Precision::Double => 53,
            Precision::Extended => 64,
        }
    }
}

/// What an operation raised, in the layout of the x87 status word (and, for bits 0 to 5, of MXCSR).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flags(u16);

impl Flags {
    /// Invalid operation.
    pub const IE: u16 = 0x01;
    /// Denormal operand.
    pub const DE: u16 = 0x02;
    /// Division by zero.
    pub const ZE: u16 = 0x04;
    /// Overflow.
    pub const OE: u16 = 0x08;
    /// Underflow.
    pub const UE: u16 = 0x10;
    /// Precision: the result is inexact.
    pub const PE: u16 = 0x20;
    /// Condition bit 0.
    pub const C0: u16 = 0x100;
    /// Condition bit 1: the result was rounded up in magnitude.
    pub const C1: u16 = 0x200;
    /// Condition bit 2.
    pub const C2: u16 = 0x400;
    /// Condition bit 3.
    pub const C3: u16 = 0x4000;

    /// Nothing raised.
    pub const fn new() -> Flags {
        Flags(0)
    }

    /// All bits, in status word layout.
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The six exception bits alone.
    #[inline]
    pub const fn exceptions(self) -> u16 {
        self.0 & 0x3f
    }

    /// Whether any of `bits` is set.
    #[inline]
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    /// Adds bits.
    #[inline(always)]
    pub const fn raise(&mut self, bits: u16) {
        self.0 |= bits;
    }

    /// Whether an exception is pending that the control word does not mask.
    #[inline]
    pub const fn traps(self, env: Env) -> bool {
        self.0 & !env.0 & 0x3f != 0
    }

    /// Whether an unmasked invalid, denormal or zero-divide keeps the result from its register.
    #[inline]
    pub const fn suppresses(self, env: Env) -> bool {
        self.0 & !env.0 & (Flags::IE | Flags::DE | Flags::ZE) != 0
    }

    /// Whether FLD m32 or FLD m64 must not push: an unmasked invalid does that, an unmasked denormal does not.
    #[inline]
    pub const fn suppresses_load(self, env: Env) -> bool {
        self.0 & !env.0 & Flags::IE != 0
    }

    /// Whether an unmasked exception keeps the result from memory (everything but precision).
    #[inline]
    pub const fn suppresses_store(self, env: Env) -> bool {
        self.0 & !env.0 & 0x1f != 0
    }
}

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// First operand greater.
    Greater,
    /// First operand less.
    Less,
    /// Equal (zeros of either sign are).
    Equal,
    /// At least one operand is a NaN or unsupported.
    Unordered,
}

impl Ordering {
    /// C3, C2, C0 as FCOM and relatives set them, in status word layout.
    pub const fn condition_bits(self) -> u16 {
        match self {
            Ordering::Greater => 0,
            Ordering::Less => Flags::C0,
            Ordering::Equal => Flags::C3,
            Ordering::Unordered => Flags::C3 | Flags::C2 | Flags::C0,
        }
    }

    /// ZF, PF, CF as FCOMI, COMISS and relatives set them, in EFLAGS layout.
    pub const fn eflags(self) -> u32 {
        match self {
            Ordering::Greater => 0,
            Ordering::Less => 1,
            Ordering::Equal => 0x40,
            Ordering::Unordered => 0x45,
        }
    }
}

/// The NaN that an operation with at least one NaN (and no unsupported) operand returns: of two quiet or two
/// signalling NaNs the one with the larger significand, of one each the quiet one, always quieted.
fn propagate(a: F80, b: F80, flags: &mut Flags) -> F80 {
    let (sa, sb) = (a.is_signalling(), b.is_signalling());
    if sa || sb {
        flags.raise(Flags::IE);
    }
    let first = match (a.is_nan(), b.is_nan()) {
        (true, false) => true,
        (false, _) => false,
        _ if sa != sb => sb,
        _ if a.mantissa != b.mantissa => a.mantissa > b.mantissa,
        _ => !a.is_negative(),
    };
    if first { a.quieted() } else { b.quieted() }
}

/// The masked response to an invalid operation.
fn invalid(flags: &mut Flags) -> F80 {
    flags.raise(Flags::IE);
    F80::INDEFINITE
}

/// Rounds and packs a non-zero value: sign, biased exponent (any range), significand `hi.lo` with bit 63 of `hi`
/// set and `lo` a fraction whose lowest bit may stand for everything below it.
#[inline(always)]
fn round_pack(sign: u16, exponent: i32, hi: u64, lo: u64, env: Env, flags: &mut Flags) -> F80 {
    if (exponent - 1) as u32 >= 0x7ffd {
        return round_pack_slow(sign, exponent, hi, lo, env, flags);
    }
    if !env.is_usual() {
        return round_pack_controlled(sign, exponent, hi, lo, env, flags);
    }
    if lo == 0 {
        return F80::new(sign | exponent as u16, hi);
    }
    let up = lo > INTEGER_BIT || (lo == INTEGER_BIT && hi & 1 != 0);
    flags.raise(Flags::PE | (up as u16) << 9);
    let (sum, carry) = hi.overflowing_add(up as u64);
    F80::new(sign | (exponent + carry as i32) as u16, sum | (carry as u64) << 63)
}

/// A significand rounded to `bits` bits.
struct Rounded {
    mantissa: u64,
    carry: bool,
    inexact: bool,
    up: bool,
}

#[inline]
fn round_bits(sign: u16, hi: u64, lo: u64, bits: u32, rounding: Rounding) -> Rounded {
    let drop = 64 - bits;
    let (kept, rest) =
        if drop == 0 { (hi, lo) } else { ((hi >> drop) << drop, hi << bits | lo >> drop | (lo << bits != 0) as u64) };
    let odd = kept >> drop & 1 != 0;
    let up = rounding.increments(sign != 0, odd, rest);
    let (sum, carry) = kept.overflowing_add((up as u64) << drop);
    Rounded { mantissa: sum | (carry as u64) << 63, carry, inexact: rest != 0, up }
}

/// The case of an exponent that cannot overflow or underflow, with any control word.
#[inline(never)]
fn round_pack_controlled(sign: u16, exponent: i32, hi: u64, lo: u64, env: Env, flags: &mut Flags) -> F80 {
    let r = round_bits(sign, hi, lo, env.bits(), env.rounding());
    flags.raise((r.inexact as u16) << 5 | (r.up as u16) << 9);
    F80::new(sign | (exponent + r.carry as i32) as u16, r.mantissa)
}

#[cold]
#[inline(never)]
fn round_pack_slow(sign: u16, exponent: i32, hi: u64, lo: u64, env: Env, flags: &mut Flags) -> F80 {
    let (bits, rounding) = (env.bits(), env.rounding());
    let full = round_bits(sign, hi, lo, bits, rounding);
    let rounded_exponent = exponent + full.carry as i32;
    let raise = |flags: &mut Flags, r: &Rounded| {
        if r.inexact {
            flags.raise(Flags::PE | (r.up as u16) << 9);
        }
    };
    if rounded_exponent >= EXPONENT_MAX as i32 {
        flags.raise(Flags::OE);
        let away = match rounding {
            Rounding::Nearest => true,
            Rounding::Down => sign != 0,
            Rounding::Up => sign == 0,
            Rounding::Zero => false,
        };
        if !env.is_masked(Flags::OE) {
            let moved = rounded_exponent - UNMASKED_EXPONENT_SHIFT;
            if moved < EXPONENT_MAX as i32 {
                raise(flags, &full);
                return F80::new(sign | moved as u16, full.mantissa);
            }
            // Only FSCALE gets here; the hardware gives up whatever the rounding control.
            flags.raise(Flags::PE | Flags::C1);
            return F80::infinity(sign);
        }
        flags.raise(Flags::PE | (away as u16) << 9);
        return if away {
            F80::infinity(sign)
        } else {
            let drop = 64 - bits;
            F80::new(sign | 0x7ffe, (u64::MAX >> drop) << drop)
        };
    }
    if rounded_exponent > 0 && exponent > 0 {
        raise(flags, &full);
        return F80::new(sign | rounded_exponent as u16, full.mantissa);
    }
    let tiny = rounded_exponent <= 0;
    if tiny && !env.is_masked(Flags::UE) {
        let moved = rounded_exponent + UNMASKED_EXPONENT_SHIFT;
        flags.raise(Flags::UE);
        if moved > 0 {
            raise(flags, &full);
            return F80::new(sign | moved as u16, full.mantissa);
        }
        flags.raise(Flags::PE);
        return F80::zero(sign);
    }
    let shift = (1 - exponent) as u32;
    let wide = (hi as u128) << 64 | lo as u128;
    let shifted = if shift > 127 { 1 } else { wide >> shift | (wide << (128 - shift) != 0) as u128 };
    let r = round_bits(sign, (shifted >> 64) as u64, shifted as u64, bits, rounding);
    raise(flags, &r);
    if r.inexact && tiny {
        flags.raise(Flags::UE);
    }
    F80::new(sign | (r.mantissa >> 63) as u16, r.mantissa)
}

/// A finite non-zero operand as significand with bit 63 set and a biased exponent that may be below 1.
#[inline]
fn normalize(x: F80) -> (i32, u64) {
    let zeros = x.mantissa.leading_zeros();
    let exponent = x.exponent() as i32;
    (if exponent == 0 { 1 - zeros as i32 } else { exponent - zeros as i32 }, x.mantissa << zeros)
}

/// A value that passes through arithmetic unchanged: only a pseudo-denormal gets its proper exponent.
#[inline]
fn pass(x: F80) -> F80 {
    F80::new(x.sign_exponent | (x.exponent() == 0 && x.mantissa & INTEGER_BIT != 0) as u16, x.mantissa)
}

/// The checks that come before any two-operand computation: unsupported encodings, then NaNs.
#[inline]
fn special_operands(a: F80, b: F80, flags: &mut Flags) -> Option<F80> {
    if a.is_unsupported() || b.is_unsupported() {
        return Some(invalid(flags));
    }
    if a.is_nan() || b.is_nan() {
        return Some(propagate(a, b, flags));
    }
    None
}

/// The same for one operand.
#[inline]
fn special_operand(a: F80, flags: &mut Flags) -> Option<F80> {
    if a.is_unsupported() {
        return Some(invalid(flags));
    }
    if a.is_nan() {
        if a.is_signalling() {
            flags.raise(Flags::IE);
        }
        return Some(a.quieted());
    }
    None
}

/// Raises DE for a denormal operand; `true` when it is unmasked and the operation ends here.
#[inline]
fn denormal_operand(a: F80, env: Env, flags: &mut Flags) -> bool {
    if a.class() == Class::Denormal {
        flags.raise(Flags::DE);
        return !env.is_masked(Flags::DE);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: F80 = F80::new(0x4000, INTEGER_BIT);
    const THREE: F80 = F80::new(0x4000, 3 << 62);
    const LARGEST: F80 = F80::new(0x7ffe, u64::MAX);
    const SMALLEST_NORMAL: F80 = F80::new(1, INTEGER_BIT);

    fn run<T>(control: u16, f: impl FnOnce(Env, &mut Flags) -> T) -> (T, u16) {
        let mut flags = Flags::new();
        let value = f(Env::from_control_word(control), &mut flags);
        (value, flags.bits())
    }

    #[test]
    fn simple_sums() {
        assert_eq!(run(0x37f, |e, f| add(F80::ONE, TWO, e, f)), (THREE, 0));
        assert_eq!(run(0x37f, |e, f| sub(THREE, TWO, e, f)), (F80::ONE, 0));
        assert_eq!(run(0x37f, |e, f| mul(THREE, F80::ONE, e, f)), (THREE, 0));
        assert_eq!(run(0x37f, |e, f| sub(TWO, TWO, e, f)), (F80::ZERO, 0));
        assert_eq!(run(0x77f, |e, f| sub(TWO, TWO, e, f)), (F80::ZERO.negate(), 0));
    }

    #[test]
    fn a_third_under_each_precision_and_rounding() {
        let third = |control| run(control, |e, f| div(F80::ONE, THREE, e, f));
        let up = Flags::PE | Flags::C1;
        assert_eq!(third(0x37f), (F80::new(0x3ffd, 0xaaaa_aaaa_aaaa_aaab), up));
        assert_eq!(third(0x27f), (F80::new(0x3ffd, 0xaaaa_aaaa_aaaa_a800), Flags::PE));
        assert_eq!(third(0x07f), (F80::new(0x3ffd, 0xaaaa_ab00_0000_0000), up));
        assert_eq!(third(0xf7f), (F80::new(0x3ffd, 0xaaaa_aaaa_aaaa_aaaa), Flags::PE));
        assert_eq!(third(0xb7f), (F80::new(0x3ffd, 0xaaaa_aaaa_aaaa_aaab), up));
    }

    #[test]
    fn overflow_masked_and_unmasked() {
        let double = |control| run(control, |e, f| mul(LARGEST, TWO, e, f));
        assert_eq!(double(0x37f), (F80::INFINITY, Flags::OE | Flags::PE | Flags::C1));
        assert_eq!(double(0xf7f), (LARGEST, Flags::OE | Flags::PE));
        assert_eq!(double(0x377), (F80::new(0x1fff, u64::MAX), Flags::OE));
    }

    #[test]
    fn underflow_needs_inexactness_only_while_masked() {
        let halve = |control| run(control, |e, f| div(SMALLEST_NORMAL, TWO, e, f));
        assert_eq!(halve(0x37f), (F80::new(0, 1 << 62), 0));
        assert_eq!(halve(0x36f), (F80::new(0x6000, INTEGER_BIT), Flags::UE));
    }

    #[test]
    fn invalid_operations_return_the_indefinite() {
        let infinity = F80::INFINITY;
        assert_eq!(run(0x37f, |e, f| sub(infinity, infinity, e, f)), (F80::INDEFINITE, Flags::IE));
        assert_eq!(run(0x37f, |e, f| mul(infinity, F80::ZERO, e, f)), (F80::INDEFINITE, Flags::IE));
        assert_eq!(run(0x37f, |e, f| div(F80::ZERO, F80::ZERO, e, f)), (F80::INDEFINITE, Flags::IE));
        assert_eq!(run(0x37f, |e, f| sqrt(F80::ONE.negate(), e, f)), (F80::INDEFINITE, Flags::IE));
        let unnormal = F80::new(0x3fff, 1);
        assert_eq!(run(0x37f, |e, f| add(unnormal, F80::ONE, e, f)), (F80::INDEFINITE, Flags::IE));
        let (_, flags) = run(0x37e, |e, f| {
            add(unnormal, F80::ONE, e, f);
            assert!(f.suppresses(e));
        });
        assert_eq!(flags, Flags::IE);
    }

    #[test]
    fn the_larger_nan_wins_and_is_quieted() {
        let (quiet, signalling) = (F80::new(0x7fff, 3 << 62 | 1), F80::new(0x7fff, INTEGER_BIT | 5));
        assert_eq!(run(0x37f, |e, f| add(quiet, signalling, e, f)), (quiet, Flags::IE));
        assert_eq!(run(0x37f, |e, f| add(signalling, F80::ONE, e, f)), (signalling.quieted(), Flags::IE));
        let larger = F80::new(0xffff, 3 << 62 | 9);
        assert_eq!(run(0x37f, |e, f| mul(quiet, larger, e, f)), (larger, 0));
    }

    #[test]
    fn division_by_zero() {
        assert_eq!(run(0x37f, |e, f| div(F80::ONE, F80::ZERO.negate(), e, f)), (F80::infinity(0x8000), Flags::ZE));
        assert_eq!(run(0x37f, |e, f| extract(F80::ZERO, e, f)), ((F80::infinity(0x8000), F80::ZERO), Flags::ZE));
    }

    #[test]
    fn comparisons() {
        assert_eq!(run(0x37f, |e, f| compare(F80::ONE, TWO, e, f)), (Ordering::Less, 0));
        assert_eq!(run(0x37f, |e, f| compare(F80::ZERO, F80::ZERO.negate(), e, f)), (Ordering::Equal, 0));
        assert_eq!(run(0x37f, |e, f| compare(F80::INDEFINITE, TWO, e, f)), (Ordering::Unordered, Flags::IE));
        assert_eq!(run(0x37f, |e, f| compare_unordered(F80::INDEFINITE, TWO, e, f)), (Ordering::Unordered, 0));
    }

    #[test]
    fn integers_and_bcd() {
        assert_eq!(from_i32(-3), THREE.negate());
        assert_eq!(run(0x37f, |e, f| to_i16(from_i32(32768), e, f)), (i16::MIN, Flags::IE));
        assert_eq!(run(0x37f, |e, f| to_i64(from_i64(i64::MIN), e, f)), (i64::MIN, 0));
        let half_more = F80::new(0x4000, 5 << 61);
        assert_eq!(run(0x37f, |e, f| to_i32(half_more, e, f)), (2, Flags::PE));
        assert_eq!(run(0xb7f, |e, f| to_i32(half_more, e, f)), (3, Flags::PE | Flags::C1));
        assert_eq!(run(0xb7f, |_, f| to_i32_truncate(half_more, f)), (2, Flags::PE));
        let digits = [0x12, 0x90, 0, 0, 0, 0, 0, 0, 0, 0x80];
        assert_eq!(from_bcd(digits), from_i32(-9012));
        assert_eq!(run(0x37f, |e, f| to_bcd(from_i32(-9012), e, f)), (digits, 0));
        assert_eq!(run(0x37f, |e, f| to_bcd(LARGEST, e, f)), (BCD_INDEFINITE, Flags::IE));
    }

    #[test]
    fn single_and_double() {
        assert_eq!(run(0x37f, |_, f| from_f32(1.5f32.to_bits(), f)), (F80::new(0x3fff, 3 << 62), 0));
        assert_eq!(run(0x37f, |_, f| from_f64(1, f)), (F80::new(0x3bcd, INTEGER_BIT), Flags::DE));
        assert_eq!(run(0x37f, |e, f| to_f64(THREE, e, f)), (3f64.to_bits(), 0));
        let over = Flags::OE | Flags::PE | Flags::C1;
        assert_eq!(run(0x37f, |e, f| to_f32(LARGEST, e, f)), (f32::INFINITY.to_bits(), over));
    }

    #[test]
    fn partial_remainder_of_a_large_quotient_is_incomplete() {
        let (large, seven) = (scale(F80::ONE, from_i32(200), Env::default(), &mut Flags::new()), from_i32(7));
        let mut value = large;
        let mut steps = 0;
        let last = loop {
            let r = remainder(value, seven, Env::default(), &mut Flags::new());
            value = r.value;
            steps += 1;
            if r.conditions & Flags::C2 == 0 {
                break r;
            }
            assert!(steps < 10);
        };
        // 2^200 = 4 modulo 7.
        assert_eq!(last.value, from_i32(4));
        assert!(steps > 1);
    }

    #[test]
    fn known_transcendental_values() {
        let pi = Constant::Pi.load(Rounding::Nearest);
        let quarter = F80::new(0x3ffe, pi.mantissa);
        assert_eq!(run(0x37f, |e, f| arctangent(F80::ONE, F80::ONE, e, f)).0, quarter);
        assert_eq!(run(0x37f, |e, f| log2_times(from_i32(8), F80::ONE, e, f)).0, THREE);
        assert_eq!(run(0x37f, |e, f| cosine(F80::ZERO, e, f)), (Some(F80::ONE), 0));
        assert_eq!(run(0x37f, |e, f| sine(F80::new(0x403e, INTEGER_BIT), e, f)), (None, 0));
        // The 64-bit π is 2^-64 above the hardware's 66-bit one.
        assert_eq!(run(0x37f, |e, f| sine(pi, e, f)).0, Some(F80::new(0xbfbf, INTEGER_BIT)));
        let half = F80::new(0x3ffe, INTEGER_BIT);
        // √2 - 1
        assert_eq!(run(0x37f, |e, f| exp2_minus_1(half, e, f)).0, F80::new(0x3ffd, 0xd413_cccf_e779_9211));
    }

    #[test]
    fn no_operand_panics() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for _ in 0..20_000 {
            let (a, b) = (F80::new(next() as u16, next()), F80::new(next() as u16, next() | INTEGER_BIT));
            let env = Env::from_control_word(next() as u16);
            let mut f = Flags::new();
            for (a, b) in [(a, b), (b, a), (b, b.negate()), (F80::new(b.sign_exponent & 0xbfff, b.mantissa), b)] {
                add(a, b, env, &mut f);
                sub(a, b, env, &mut f);
                mul(a, b, env, &mut f);
                div(a, b, env, &mut f);
                scale(a, b, env, &mut f);
                sqrt(a, env, &mut f);
                extract(a, env, &mut f);
                remainder(a, b, env, &mut f);
                remainder_nearest(a, b, env, &mut f);
                round_to_integer(a, env, &mut f);
                sine_cosine(a, env, &mut f);
                tangent(a, env, &mut f);
                arctangent(a, b, env, &mut f);
                log2_times(a, b, env, &mut f);
                log2_plus_1_times(a, b, env, &mut f);
                exp2_minus_1(a, env, &mut f);
                to_f32(a, env, &mut f);
                to_f64(a, env, &mut f);
                to_i64(a, env, &mut f);
                to_bcd(a, env, &mut f);
                from_bcd(a.to_bytes());
            }
        }
    }
}
