//! Add, subtract, multiply, divide, square root, compare, round, scale and extract.

use super::*;

/// FADD: `a + b`.
#[inline]
pub fn add(a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    if a.is_normal() && b.is_normal() {
        let (ea, eb) = (a.exponent() as i32, b.exponent() as i32);
        return add_finite((a.sign(), ea, a.mantissa), (b.sign(), eb, b.mantissa), env, flags);
    }
    add_special(a, b, 0, env, flags)
}

/// FSUB: `a - b`.
#[inline]
pub fn sub(a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    if a.is_normal() && b.is_normal() {
        let (ea, eb) = (a.exponent() as i32, b.exponent() as i32);
        return add_finite((a.sign(), ea, a.mantissa), (b.sign() ^ 0x8000, eb, b.mantissa), env, flags);
    }
    add_special(a, b, 0x8000, env, flags)
}

/// FSUBR: `b - a`.
#[inline]
pub fn sub_reversed(a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    sub(b, a, env, flags)
}

/// The sum of two non-zero numbers (sign, exponent, significand with bit 63 set) before rounding: sign, exponent and
/// significand `hi.lo`; `None` for an exact zero of operands of different sign.
#[inline(always)]
pub(super) fn sum<S: PartialEq + Copy>(a: (S, i32, u64), b: (S, i32, u64)) -> Option<(S, i32, u64, u64)> {
    let (x, y) = if a.1 > b.1 || (a.1 == b.1 && a.2 >= b.2) { (a, b) } else { (b, a) };
    let distance = (x.1 - y.1) as u32;
    let (wide_x, wide_y) = ((x.2 as u128) << 64, (y.2 as u128) << 64);
    // Up to a distance of 64 nothing is lost; beyond, the lowest bit stands for all that is.
    let shifted = if distance <= 64 {
        wide_y >> distance
    } else {
        let distance = distance.min(127);
        wide_y >> distance | (wide_y << (128 - distance) != 0) as u128
    };
    if x.0 == y.0 {
        let (sum, carry) = wide_x.overflowing_add(shifted);
        let sum = if carry { sum >> 1 | sum & 1 | 1 << 127 } else { sum };
        return Some((x.0, x.1 + carry as i32, (sum >> 64) as u64, sum as u64));
    }
    let difference = wide_x - shifted;
    if difference == 0 {
        return None;
    }
    let zeros = difference.leading_zeros();
    let difference = difference << zeros;
    Some((x.0, x.1 - zeros as i32, (difference >> 64) as u64, difference as u64))
}

#[inline(always)]
fn add_finite(a: (u16, i32, u64), b: (u16, i32, u64), env: Env, flags: &mut Flags) -> F80 {
    match sum(a, b) {
        Some((sign, exponent, hi, lo)) => round_pack(sign, exponent, hi, lo, env, flags),
        None => F80::zero(if env.rounding() == Rounding::Down { 0x8000 } else { 0 }),
    }
}

#[cold]
#[inline(never)]
fn add_special(a: F80, b: F80, flip: u16, env: Env, flags: &mut Flags) -> F80 {
    if let Some(nan) = special_operands(a, b, flags) {
        return nan;
    }
    let sign_b = b.sign() ^ flip;
    let (a_infinite, b_infinite) = (a.class() == Class::Infinity, b.class() == Class::Infinity);
    if a_infinite && b_infinite && a.sign() != sign_b {
        return invalid(flags);
    }
    if denormal_operand(a, env, flags) | denormal_operand(b, env, flags) {
        return F80::ZERO;
    }
    if a_infinite {
        return a;
    }
    if b_infinite {
        return F80::infinity(sign_b);
    }
    if a.is_zero() && b.is_zero() {
        let differ = if env.rounding() == Rounding::Down { 0x8000 } else { 0 };
        return F80::zero(if a.sign() == sign_b { sign_b } else { differ });
    }
    if a.is_zero() || b.is_zero() {
        let (sign, x) = if a.is_zero() { (sign_b, b) } else { (a.sign(), a) };
        let (e, m) = normalize(x);
        return round_pack(sign, e, m, 0, env, flags);
    }
    let ((ea, ma), (eb, mb)) = (normalize(a), normalize(b));
    add_finite((a.sign(), ea, ma), (sign_b, eb, mb), env, flags)
}

/// FMUL: `a * b`.
#[inline]
pub fn mul(a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    let sign = a.sign() ^ b.sign();
    if a.is_normal() && b.is_normal() {
        let exponent = a.exponent() as i32 + b.exponent() as i32;
        return mul_finite(sign, exponent, a.mantissa, b.mantissa, env, flags);
    }
    mul_special(sign, a, b, env, flags)
}

/// The product of two significands with bit 63 set: how far it falls short (0 or 1) and `hi.lo`.
#[inline(always)]
pub(super) fn product(a: u64, b: u64) -> (i32, u64, u64) {
    let product = a as u128 * b as u128;
    let (hi, lo) = ((product >> 64) as u64, product as u64);
    let short = (hi >> 63 == 0) as u32;
    (short as i32, (hi << short) | ((lo >> 63) * short as u64), lo << short)
}

#[inline(always)]
fn mul_finite(sign: u16, exponents: i32, a: u64, b: u64, env: Env, flags: &mut Flags) -> F80 {
    let (short, hi, lo) = product(a, b);
    round_pack(sign, exponents - (BIAS - 1) - short, hi, lo, env, flags)
}

#[cold]
#[inline(never)]
fn mul_special(sign: u16, a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    if let Some(nan) = special_operands(a, b, flags) {
        return nan;
    }
    let infinite = a.class() == Class::Infinity || b.class() == Class::Infinity;
    let zero = a.is_zero() || b.is_zero();
    if infinite && zero {
        return invalid(flags);
    }
    if denormal_operand(a, env, flags) | denormal_operand(b, env, flags) {
        return F80::ZERO;
    }
    if infinite {
        return F80::infinity(sign);
    }
    if zero {
        return F80::zero(sign);
    }
    let ((ea, ma), (eb, mb)) = (normalize(a), normalize(b));
    mul_finite(sign, ea + eb, ma, mb, env, flags)
}

/// FDIV: `a / b`.
#[inline]
pub fn div(a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    let sign = a.sign() ^ b.sign();
    if a.is_normal() && b.is_normal() {
        let exponent = a.exponent() as i32 - b.exponent() as i32;
        return div_finite(sign, exponent, a.mantissa, b.mantissa, env, flags);
    }
    div_special(sign, a, b, env, flags)
}

/// FDIVR: `b / a`.
#[inline]
pub fn div_reversed(a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    div(b, a, env, flags)
}

/// The quotient of two significands with bit 63 set: how far it falls short (0 or 1) and `hi.lo`, of which `lo` only
/// tells zero, below, at and above one half.
#[inline(always)]
pub(super) fn quotient(a: u64, b: u64) -> (i32, u64, u64) {
    let less = a < b;
    let numerator = (a as u128) << (63 + less as u32);
    let (quotient, rest) = wide::divide_128(numerator, b);
    let lo = if rest == 0 {
        0
    } else {
        match ((rest as u128) << 1).cmp(&(b as u128)) {
            core::cmp::Ordering::Less => 1 << 62,
            core::cmp::Ordering::Equal => INTEGER_BIT,
            core::cmp::Ordering::Greater => 3 << 62,
        }
    };
    (less as i32, quotient, lo)
}

#[inline(always)]
fn div_finite(sign: u16, exponents: i32, a: u64, b: u64, env: Env, flags: &mut Flags) -> F80 {
    let (short, hi, lo) = quotient(a, b);
    round_pack(sign, exponents + BIAS - short, hi, lo, env, flags)
}

#[cold]
#[inline(never)]
fn div_special(sign: u16, a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    if let Some(nan) = special_operands(a, b, flags) {
        return nan;
    }
    let (a_infinite, b_infinite) = (a.class() == Class::Infinity, b.class() == Class::Infinity);
    if (a_infinite && b_infinite) || (a.is_zero() && b.is_zero()) {
        return invalid(flags);
    }
    if b.is_zero() && !a_infinite {
        // Zero-divide takes precedence over a denormal dividend.
        flags.raise(Flags::ZE);
        return F80::infinity(sign);
    }
    if denormal_operand(a, env, flags) | denormal_operand(b, env, flags) {
        return F80::ZERO;
    }
    if a_infinite {
        return F80::infinity(sign);
    }
    if b_infinite || a.is_zero() {
        return F80::zero(sign);
    }
    let ((ea, ma), (eb, mb)) = (normalize(a), normalize(b));
    div_finite(sign, ea - eb, ma, mb, env, flags)
}

/// The square root of `mantissa * 2^exponent` (unbiased, bit 63 set): exponent and `hi.lo`, as for [`quotient`].
pub(super) fn root(exponent: i32, mantissa: u64) -> (i32, u64, u64) {
    let odd = exponent & 1;
    let (root, rest) = wide::square_root((mantissa as u128) << (63 + odd));
    let lo = match rest {
        0 => 0,
        _ if rest > root as u128 => 3 << 62,
        _ => 1 << 62,
    };
    ((exponent - odd) >> 1, root, lo)
}

/// FSQRT.
pub fn sqrt(a: F80, env: Env, flags: &mut Flags) -> F80 {
    if !a.is_normal() {
        if let Some(nan) = special_operand(a, flags) {
            return nan;
        }
        if a.is_zero() {
            return a;
        }
    }
    if a.is_negative() {
        return invalid(flags);
    }
    if denormal_operand(a, env, flags) {
        return F80::ZERO;
    }
    if a.class() == Class::Infinity {
        return a;
    }
    let (exponent, mantissa) = normalize(a);
    let (exponent, hi, lo) = root(exponent - BIAS, mantissa);
    round_pack(0, exponent + BIAS, hi, lo, env, flags)
}

fn compare_numbers(a: F80, b: F80) -> Ordering {
    use core::cmp::Ordering as Core;
    if a.is_zero() && b.is_zero() {
        return Ordering::Equal;
    }
    if a.sign() != b.sign() {
        return if a.is_negative() { Ordering::Less } else { Ordering::Greater };
    }
    // A pseudo-denormal has the value of exponent 1.
    let key = |x: F80| (x.exponent().max(1), x.mantissa);
    let order = key(a).cmp(&key(b));
    match if a.is_negative() { order.reverse() } else { order } {
        Core::Less => Ordering::Less,
        Core::Equal => Ordering::Equal,
        Core::Greater => Ordering::Greater,
    }
}

/// FCOM, FTST, FCOMI, FICOM: any NaN is invalid.
///
/// When [`Flags::suppresses`] holds afterwards, the condition codes (or EFLAGS) still change on the hardware.
#[inline]
pub fn compare(a: F80, b: F80, _env: Env, flags: &mut Flags) -> Ordering {
    if a.is_unsupported() || b.is_unsupported() || a.is_nan() || b.is_nan() {
        flags.raise(Flags::IE);
        return Ordering::Unordered;
    }
    if a.class() == Class::Denormal || b.class() == Class::Denormal {
        flags.raise(Flags::DE);
    }
    compare_numbers(a, b)
}

/// FUCOM, FUCOMI: quiet NaNs are unordered without an exception.
#[inline]
pub fn compare_unordered(a: F80, b: F80, env: Env, flags: &mut Flags) -> Ordering {
    let quiet = |x: F80| !x.is_unsupported() && !x.is_signalling();
    if (a.is_nan() || b.is_nan()) && quiet(a) && quiet(b) {
        return Ordering::Unordered;
    }
    compare(a, b, env, flags)
}

/// FRNDINT: to an integral value as the rounding control says; precision control does not apply.
pub fn round_to_integer(a: F80, env: Env, flags: &mut Flags) -> F80 {
    if let Some(nan) = special_operand(a, flags) {
        return nan;
    }
    if a.is_zero() || a.exponent() as i32 >= BIAS + 63 {
        return a;
    }
    if denormal_operand(a, env, flags) {
        return F80::ZERO;
    }
    let (integer, rest) = convert::split(a);
    let up = env.rounding().increments(a.is_negative(), integer & 1 != 0, rest);
    if rest != 0 {
        flags.raise(Flags::PE | (up as u16) << 9);
    }
    let value = integer + up as u64;
    if value == 0 {
        return F80::zero(a.sign());
    }
    let zeros = value.leading_zeros();
    F80::new(a.sign() | (BIAS + 63 - zeros as i32) as u16, value << zeros)
}

/// FSCALE: `a * 2^trunc(b)`.
pub fn scale(a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    if let Some(nan) = special_operands(a, b, flags) {
        return nan;
    }
    let (a_class, b_class) = (a.class(), b.class());
    if b_class == Class::Infinity {
        let grows = !b.is_negative();
        if (grows && a_class == Class::Zero) || (!grows && a_class == Class::Infinity) {
            return invalid(flags);
        }
    }
    if denormal_operand(a, env, flags) | denormal_operand(b, env, flags) {
        return F80::ZERO;
    }
    if a_class == Class::Zero || a_class == Class::Infinity {
        return a;
    }
    if b_class == Class::Infinity {
        return if b.is_negative() { F80::zero(a.sign()) } else { F80::infinity(a.sign()) };
    }
    if b_class == Class::Zero {
        return pass(a);
    }
    let (exponent, mantissa) = normalize(a);
    // Far beyond any exponent; keeps the sum in range.
    let limit = 1 << 17;
    let amount = match b.exponent() as i32 - BIAS {
        ..0 => 0,
        e @ 0..=16 => (b.mantissa >> (63 - e)) as i32,
        _ => limit,
    };
    let amount = if b.is_negative() { -amount } else { amount };
    round_pack(a.sign(), exponent + amount, mantissa, 0, env.extended(), flags)
}

/// FXTRACT: `(exponent, significand)`; the exponent replaces ST(0), the significand is pushed on top.
pub fn extract(a: F80, env: Env, flags: &mut Flags) -> (F80, F80) {
    if let Some(nan) = special_operand(a, flags) {
        return (nan, nan);
    }
    match a.class() {
        Class::Infinity => return (F80::INFINITY, a),
        Class::Zero => {
            flags.raise(Flags::ZE);
            return (F80::infinity(0x8000), a);
        }
        _ => {}
    }
    if denormal_operand(a, env, flags) {
        return (F80::ZERO, F80::ZERO);
    }
    let (exponent, mantissa) = normalize(a);
    (from_i32(exponent - BIAS), F80::new(a.sign() | BIAS as u16, mantissa))
}
