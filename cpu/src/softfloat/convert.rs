//! Conversions between the extended format and integers, single, double and packed BCD.

use super::*;

/// The packed BCD indefinite that FBSTP stores for an invalid operand.
pub const BCD_INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];

/// The integer part of a finite `|x| < 2^64` and its fraction scaled to 2^64, the lowest bit sticky.
pub(super) fn split(x: F80) -> (u64, u64) {
    let shift = BIAS + 63 - x.exponent() as i32;
    match shift {
        ..=0 => (x.mantissa, 0),
        1..=63 => (x.mantissa >> shift, x.mantissa << (64 - shift)),
        64 => (0, x.mantissa),
        _ => (0, (x.mantissa != 0) as u64),
    }
}

fn from_magnitude(sign: u16, magnitude: u64) -> F80 {
    if magnitude == 0 {
        return F80::zero(sign);
    }
    let zeros = magnitude.leading_zeros();
    F80::new(sign | (BIAS + 63 - zeros as i32) as u16, magnitude << zeros)
}

/// FILD m16; exact.
#[inline]
pub fn from_i16(value: i16) -> F80 {
    from_i64(value as i64)
}

/// FILD m32; exact.
#[inline]
pub fn from_i32(value: i32) -> F80 {
    from_i64(value as i64)
}

/// FILD m64; exact.
#[inline]
pub fn from_i64(value: i64) -> F80 {
    from_magnitude(if value < 0 { 0x8000 } else { 0 }, value.unsigned_abs())
}

fn to_integer(a: F80, bits: u32, rounding: Rounding, flags: &mut Flags) -> i64 {
    let indefinite = i64::MIN >> (64 - bits);
    // NaNs, infinities and unnormals of large exponent end here as well.
    if a.exponent() as i32 >= BIAS + bits as i32 || a.is_unsupported() {
        flags.raise(Flags::IE);
        return indefinite;
    }
    let (integer, rest) = split(a);
    let up = rounding.increments(a.is_negative(), integer & 1 != 0, rest);
    let magnitude = integer as u128 + up as u128;
    if magnitude > (1u128 << (bits - 1)) - !a.is_negative() as u128 {
        flags.raise(Flags::IE);
        return indefinite;
    }
    if rest != 0 {
        flags.raise(Flags::PE | (up as u16) << 9);
    }
    let magnitude = magnitude as u64 as i64;
    if a.is_negative() { magnitude.wrapping_neg() } else { magnitude }
}

/// FIST(P) m16.
pub fn to_i16(a: F80, env: Env, flags: &mut Flags) -> i16 {
    to_integer(a, 16, env.rounding(), flags) as i16
}

/// FIST(P) m32.
pub fn to_i32(a: F80, env: Env, flags: &mut Flags) -> i32 {
    to_integer(a, 32, env.rounding(), flags) as i32
}

/// FISTP m64.
pub fn to_i64(a: F80, env: Env, flags: &mut Flags) -> i64 {
    to_integer(a, 64, env.rounding(), flags)
}

/// FISTTP m16.
pub fn to_i16_truncate(a: F80, flags: &mut Flags) -> i16 {
    to_integer(a, 16, Rounding::Zero, flags) as i16
}

/// FISTTP m32.
pub fn to_i32_truncate(a: F80, flags: &mut Flags) -> i32 {
    to_integer(a, 32, Rounding::Zero, flags) as i32
}

/// FISTTP m64.
pub fn to_i64_truncate(a: F80, flags: &mut Flags) -> i64 {
    to_integer(a, 64, Rounding::Zero, flags)
}

/// An IEEE interchange format held in the low bits of a `u64`.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Bits of the fraction field.
    pub fraction: u32,
    /// Bits of the exponent field.
    pub exponent: u32,
}

pub(super) const SINGLE: Layout = Layout { fraction: 23, exponent: 8 };
pub(super) const DOUBLE: Layout = Layout { fraction: 52, exponent: 11 };

impl Layout {
    #[inline(always)]
    pub const fn sign_bit(self) -> u64 {
        1 << (self.fraction + self.exponent)
    }
    #[inline(always)]
    pub const fn exponent_max(self) -> i32 {
        (1 << self.exponent) - 1
    }
    #[inline(always)]
    pub const fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }
    #[inline(always)]
    pub const fn fraction_mask(self) -> u64 {
        (1 << self.fraction) - 1
    }
    #[inline(always)]
    pub const fn infinity(self) -> u64 {
        (self.exponent_max() as u64) << self.fraction
    }
    #[inline(always)]
    pub const fn quiet_bit(self) -> u64 {
        1 << (self.fraction - 1)
    }
    #[inline(always)]
    pub const fn indefinite(self) -> u64 {
        self.sign_bit() | self.infinity() | self.quiet_bit()
    }
}

/// How [`pack`] rounds and what it does with tiny results.
#[derive(Clone, Copy)]
pub(super) struct Packing {
    pub rounding: Rounding,
    pub underflow_masked: bool,
    pub overflow_masked: bool,
    pub flush_to_zero: bool,
}

/// Rounds and packs a non-zero value `hi.lo * 2^(exponent - 63)`, bit 63 of `hi` set, the lowest bit of `lo` sticky.
#[inline]
pub(super) fn pack(f: Layout, negative: bool, exponent: i32, hi: u64, lo: u64, p: Packing, flags: &mut Flags) -> u64 {
    let sign = if negative { f.sign_bit() } else { 0 };
    let drop = 63 - f.fraction;
    let hi_rest = |hi: u64, lo: u64| (hi >> drop, hi << (64 - drop) | lo >> drop | (lo << (64 - drop) != 0) as u64);
    let (kept, rest) = hi_rest(hi, lo);
    let up = p.rounding.increments(negative, kept & 1 != 0, rest);
    let carry = (kept + up as u64) >> (f.fraction + 1) != 0;
    let biased = exponent + f.bias() + carry as i32;
    let raise = |flags: &mut Flags, rest: u64, up: bool| {
        if rest != 0 {
            flags.raise(Flags::PE | (up as u16) << 9);
        }
    };
    if biased >= f.exponent_max() {
        flags.raise(Flags::OE);
        let away = match p.rounding {
            Rounding::Nearest => true,
            Rounding::Down => negative,
            Rounding::Up => !negative,
            Rounding::Zero => false,
        };
        if p.overflow_masked {
            flags.raise(Flags::PE | (away as u16) << 9);
        } else {
            raise(flags, rest, up);
        }
        return sign | (f.infinity() - !away as u64);
    }
    if biased > 0 && exponent + f.bias() > 0 {
        raise(flags, rest, up);
        // The integer bit of the significand adds one to the exponent field.
        let field = (exponent + f.bias() - 1) as u64;
        return sign | ((field << f.fraction) + kept + up as u64);
    }
    let tiny = biased <= 0;
    if tiny && !p.underflow_masked {
        flags.raise(Flags::UE);
        raise(flags, rest, up);
    } else if tiny && p.flush_to_zero {
        flags.raise(Flags::UE | Flags::PE);
        return sign;
    }
    let shift = (1 - f.bias() - exponent) as u32;
    let wide = (hi as u128) << 64 | lo as u128;
    let shifted = if shift > 127 { 1 } else { wide >> shift | (wide << (128 - shift) != 0) as u128 };
    let (kept, rest) = hi_rest((shifted >> 64) as u64, shifted as u64);
    let up = p.rounding.increments(negative, kept & 1 != 0, rest);
    if p.underflow_masked || !tiny {
        raise(flags, rest, up);
        if rest != 0 && tiny {
            flags.raise(Flags::UE);
        }
    }
    sign | (kept + up as u64)
}

fn widen(f: Layout, bits: u64, flags: &mut Flags) -> F80 {
    let sign = if bits & f.sign_bit() != 0 { 0x8000 } else { 0 };
    let exponent = (bits >> f.fraction) as i32 & f.exponent_max();
    let fraction = (bits & f.fraction_mask()) << (63 - f.fraction);
    if exponent == f.exponent_max() {
        if fraction == 0 {
            return F80::infinity(sign);
        }
        if fraction & QUIET_BIT == 0 {
            flags.raise(Flags::IE);
        }
        return F80::new(sign | EXPONENT_MAX, INTEGER_BIT | QUIET_BIT | fraction);
    }
    if exponent == 0 {
        if fraction == 0 {
            return F80::zero(sign);
        }
        flags.raise(Flags::DE);
        let zeros = fraction.leading_zeros();
        return F80::new(sign | (BIAS - f.bias() + 1 - zeros as i32) as u16, fraction << zeros);
    }
    F80::new(sign | (exponent + BIAS - f.bias()) as u16, INTEGER_BIT | fraction)
}

/// FLD m32: a signalling NaN raises IE and is quieted, a denormal raises DE. Push unless
/// [`Flags::suppresses_load`].
#[inline]
pub fn from_f32(bits: u32, flags: &mut Flags) -> F80 {
    widen(SINGLE, bits as u64, flags)
}

/// FLD m64; as [`from_f32`].
#[inline]
pub fn from_f64(bits: u64, flags: &mut Flags) -> F80 {
    widen(DOUBLE, bits, flags)
}

/// The m32 or m64 operand of an arithmetic or comparing instruction.
///
/// Not the same as loading it first: a signalling NaN takes part in the choice of the NaN as what it is, and a
/// denormal counts as a denormal operand only when neither a NaN nor a division by zero comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOperand {
    value: F80,
    denormal: bool,
}

impl MemoryOperand {
    /// An m32 operand.
    #[inline]
    pub fn from_f32(bits: u32) -> MemoryOperand {
        MemoryOperand::new(SINGLE, bits as u64)
    }

    /// An m64 operand.
    #[inline]
    pub fn from_f64(bits: u64) -> MemoryOperand {
        MemoryOperand::new(DOUBLE, bits)
    }

    #[inline]
    fn new(f: Layout, bits: u64) -> MemoryOperand {
        let mut flags = Flags::new();
        let mut value = widen(f, bits, &mut flags);
        if flags.has(Flags::IE) {
            value.mantissa &= !QUIET_BIT;
        }
        MemoryOperand { value, denormal: flags.has(Flags::DE) }
    }

    /// Runs an operation such as [`add`] or [`compare`] with `a` (ST(0)) and this operand.
    #[inline]
    pub fn apply<T>(
        self,
        operation: impl FnOnce(F80, F80, Env, &mut Flags) -> T,
        a: F80,
        env: Env,
        flags: &mut Flags,
    ) -> T {
        if !self.denormal {
            return operation(a, self.value, env, flags);
        }
        let mut own = Flags::new();
        let result = operation(a, self.value, env, &mut own);
        if a.is_nan() || a.is_unsupported() || own.has(Flags::ZE) {
            flags.raise(own.bits());
        } else if env.is_masked(Flags::DE) {
            flags.raise(own.bits() | Flags::DE);
        } else {
            flags.raise(Flags::DE);
        }
        result
    }
}

fn narrow(f: Layout, a: F80, env: Env, flags: &mut Flags) -> u64 {
    let sign = if a.is_negative() { f.sign_bit() } else { 0 };
    match a.class() {
        Class::Zero => sign,
        Class::Infinity => sign | f.infinity(),
        Class::Unsupported => {
            flags.raise(Flags::IE);
            f.indefinite()
        }
        Class::Nan => {
            if a.is_signalling() {
                flags.raise(Flags::IE);
            }
            sign | f.infinity() | f.quiet_bit() | (a.mantissa & !INTEGER_BIT) >> (63 - f.fraction)
        }
        Class::Normal | Class::Denormal => {
            let (exponent, mantissa) = normalize(a);
            let p = Packing {
                rounding: env.rounding(),
                underflow_masked: env.is_masked(Flags::UE),
                overflow_masked: env.is_masked(Flags::OE),
                flush_to_zero: false,
            };
            let mut own = Flags::new();
            let value = pack(f, a.is_negative(), exponent - BIAS, mantissa, 0, p, &mut own);
            // An unmasked overflow or underflow stops the store before it is found inexact.
            let unmasked = own.bits() & !env.0 & (Flags::OE | Flags::UE);
            flags.raise(if unmasked != 0 { unmasked } else { own.bits() });
            value
        }
    }
}

/// FST(P) m32. Do not store when [`Flags::suppresses_store`].
#[inline]
pub fn to_f32(a: F80, env: Env, flags: &mut Flags) -> u32 {
    narrow(SINGLE, a, env, flags) as u32
}

/// FST(P) m64. Do not store when [`Flags::suppresses_store`].
#[inline]
pub fn to_f64(a: F80, env: Env, flags: &mut Flags) -> u64 {
    narrow(DOUBLE, a, env, flags)
}

/// FBLD: 18 packed decimal digits and a sign in bit 79; digits above 9 count their face value.
pub fn from_bcd(bytes: [u8; 10]) -> F80 {
    let digits = bytes[..9].iter().rev();
    let magnitude = digits.fold(0u64, |n, &b| n * 100 + (b >> 4) as u64 * 10 + (b & 15) as u64);
    from_magnitude(if bytes[9] & 0x80 != 0 { 0x8000 } else { 0 }, magnitude)
}

/// FBSTP: rounds to an integer of at most 18 digits; beyond that IE and [`BCD_INDEFINITE`].
pub fn to_bcd(a: F80, env: Env, flags: &mut Flags) -> [u8; 10] {
    let mut own = Flags::new();
    let integer = to_integer(a, 64, env.rounding(), &mut own);
    let mut magnitude = integer.unsigned_abs();
    if own.has(Flags::IE) || magnitude > 999_999_999_999_999_999 {
        flags.raise(Flags::IE);
        return BCD_INDEFINITE;
    }
    flags.raise(own.bits());
    let mut bytes = [0; 10];
    for byte in &mut bytes[..9] {
        let pair = (magnitude % 100) as u8;
        magnitude /= 100;
        *byte = ((pair / 10) << 4) | (pair % 10);
    }
    bytes[9] = if a.is_negative() { 0x80 } else { 0 };
    bytes
}
