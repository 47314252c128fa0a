//! F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS.
//!
//! Every function is computed to more than 100 bits in fixed point and rounded once as the rounding control says, so
//! results are within one unit in the last place of the hardware's and nearly always correctly rounded. Arguments of
//! the trigonometric functions are reduced with the 66-bit π of the hardware (SDM volume 1, 8.3.8). Precision
//! control does not apply.

use super::tables::{ATAN, EXP2, FACTORIAL, LN2, LOG2, LOG2E, ODD, PI};
use super::wide::{divide, mul_high, series};
use super::*;

/// One, scaled by 2^127.
const ONE: u128 = 1 << 127;

/// A positive number `mantissa * 2^(exponent - 127)`, bit 127 set, or zero.
#[derive(Clone, Copy)]
struct Wide {
    mantissa: u128,
    exponent: i32,
}

impl Wide {
    /// `value * 2^-scale`.
    #[inline]
    fn fixed(value: u128, scale: i32) -> Wide {
        if value == 0 {
            return Wide { mantissa: 0, exponent: 0 };
        }
        let zeros = value.leading_zeros();
        Wide { mantissa: value << zeros, exponent: 127 - zeros as i32 - scale }
    }

    /// The magnitude of a finite non-zero operand.
    #[inline]
    fn of(x: F80) -> Wide {
        let (exponent, mantissa) = normalize(x);
        Wide { mantissa: (mantissa as u128) << 64, exponent: exponent - BIAS }
    }

    /// Scaled by 2^`scale` and truncated; the caller knows that it fits.
    #[inline]
    fn to_fixed(self, scale: i32) -> u128 {
        let shift = 127 - scale - self.exponent;
        if shift > 127 { 0 } else { self.mantissa >> shift }
    }

    #[inline]
    fn times(self, other: Wide) -> Wide {
        let product = mul_high(self.mantissa, other.mantissa);
        let exponent = self.exponent + other.exponent;
        if product >> 127 != 0 {
            Wide { mantissa: product, exponent: exponent + 1 }
        } else {
            Wide { mantissa: product << 1, exponent }
        }
    }

    /// Times a factor close to one, scaled by 2^127; below one even when it was rounded up to one.
    #[inline]
    fn times_below_one(self, factor: u128) -> Wide {
        self.times(Wide::fixed(factor.min(ONE - 1), 127))
    }

    #[inline]
    fn over(self, other: Wide) -> Wide {
        let exponent = self.exponent - other.exponent;
        if self.mantissa >= other.mantissa {
            Wide { mantissa: divide(self.mantissa >> 1, other.mantissa) | ONE, exponent }
        } else {
            Wide { mantissa: divide(self.mantissa, other.mantissa), exponent: exponent - 1 }
        }
    }

    /// The square of a number below one, scaled by 2^128.
    #[inline]
    fn square(self) -> u128 {
        let shift = -2 - 2 * self.exponent;
        if shift > 127 { 0 } else { mul_high(self.mantissa, self.mantissa) >> shift }
    }

    /// Rounds an inexact result.
    fn finish(self, negative: bool, env: Env, flags: &mut Flags) -> F80 {
        self.finish_with(negative, 1, env, flags)
    }

    /// Rounds what happens to be exact, or so close that the hardware does not look further: the value is the exact
    /// one, but the hardware calls it inexact all the same.
    fn finish_exact(self, negative: bool, env: Env, flags: &mut Flags) -> F80 {
        let result = self.finish_with(negative, 0, env, flags);
        flags.raise(Flags::PE);
        if result.exponent() == 0 {
            flags.raise(Flags::UE);
        }
        result
    }

    fn finish_with(self, negative: bool, sticky: u64, env: Env, flags: &mut Flags) -> F80 {
        let (hi, lo) = ((self.mantissa >> 64) as u64, self.mantissa as u64 | sticky);
        round_pack((negative as u16) << 15, self.exponent + BIAS, hi, lo, env.extended(), flags)
    }
}

/// π/2 with the 66 bits of the hardware, scaled by 2^65.
const HALF_PI_66: u128 = 0x3_243f_6a88_85a3_08d3;

/// 2^193 over that, rounded down.
const HALF_PI_66_RECIPROCAL: u128 = 0xa2f9836e_4e44152a_00062bc4_0da276be;

/// `|x| = quadrant * π/2 ± rest`, `rest` at most π/4.
struct Angle {
    quadrant: u32,
    negative: bool,
    rest: Wide,
}

impl Angle {
    /// `None` when the magnitude is 2^63 or more.
    fn reduce(x: F80) -> Option<Angle> {
        let w = Wide::of(x);
        if w.exponent >= 63 {
            return None;
        }
        if w.exponent < -1 || (w.exponent == -1 && x.mantissa <= 0xc90f_daa2_2168_c234) {
            return Some(Angle { quadrant: 0, negative: false, rest: w });
        }
        let scaled = (x.mantissa as u128) << (w.exponent + 2);
        let mut quotient = mul_high(scaled, HALF_PI_66_RECIPROCAL) >> 65;
        let mut rest = scaled - quotient * HALF_PI_66;
        while rest >= HALF_PI_66 {
            quotient += 1;
            rest -= HALF_PI_66;
        }
        let negative = rest > HALF_PI_66 / 2;
        let rest = if negative { HALF_PI_66 - rest } else { rest };
        Some(Angle { quadrant: (quotient as u32).wrapping_add(negative as u32), negative, rest: Wide::fixed(rest, 65) })
    }

    /// sin(rest).
    fn rest_sine(&self) -> Wide {
        let odd = (0..14).map(|i| FACTORIAL[2 * i]);
        self.rest.times_below_one(series(odd, self.rest.square(), true))
    }

    /// cos(rest).
    fn rest_cosine(&self) -> Wide {
        let even = core::iter::once(ONE).chain((0..13).map(|i| FACTORIAL[2 * i + 1]));
        Wide::fixed(series(even, self.rest.square(), true).min(ONE - 1), 127)
    }

    /// Sign and magnitude of sin(|x|).
    fn sine(&self) -> (bool, Wide) {
        let negative = self.quadrant & 2 != 0;
        if self.quadrant & 1 == 0 {
            (negative ^ self.negative, self.rest_sine())
        } else {
            (negative, self.rest_cosine())
        }
    }

    /// Sign and magnitude of cos(|x|).
    fn cosine(&self) -> (bool, Wide) {
        let negative = (self.quadrant + 1) & 2 != 0;
        if self.quadrant & 1 == 0 {
            (negative, self.rest_cosine())
        } else {
            (negative ^ self.negative, self.rest_sine())
        }
    }
}

/// Below 2^-64 the hardware takes sin(x) = tan(x) = atan(x) = x and cos(x) = 1.
const TINY: i32 = -64;

/// What comes before a trigonometric computation.
enum Trigonometric {
    /// The result of both functions (NaN).
    Both(F80),
    Zero,
    Tiny(Wide),
    Reduced(Angle),
    OutOfRange,
}

fn trigonometric(a: F80, env: Env, flags: &mut Flags) -> Trigonometric {
    if let Some(nan) = special_operand(a, flags) {
        return Trigonometric::Both(nan);
    }
    match a.class() {
        Class::Zero => return Trigonometric::Zero,
        Class::Infinity => return Trigonometric::Both(invalid(flags)),
        _ => {}
    }
    if denormal_operand(a, env, flags) {
        return Trigonometric::Both(F80::ZERO);
    }
    let w = Wide::of(a);
    if w.exponent < TINY {
        return Trigonometric::Tiny(w);
    }
    match Angle::reduce(a) {
        Some(angle) => Trigonometric::Reduced(angle),
        None => Trigonometric::OutOfRange,
    }
}

/// FSIN; `None` when `|a| >= 2^63`: C2 is set and nothing else changes.
pub fn sine(a: F80, env: Env, flags: &mut Flags) -> Option<F80> {
    Some(match trigonometric(a, env, flags) {
        Trigonometric::Both(nan) => nan,
        Trigonometric::Zero => a,
        Trigonometric::Tiny(w) => w.finish_exact(a.is_negative(), env, flags),
        Trigonometric::OutOfRange => return None,
        Trigonometric::Reduced(angle) => {
            let (negative, sine) = angle.sine();
            sine.finish(negative ^ a.is_negative(), env, flags)
        }
    })
}

/// FCOS; `None` when `|a| >= 2^63`: C2 is set and nothing else changes.
pub fn cosine(a: F80, env: Env, flags: &mut Flags) -> Option<F80> {
    Some(match trigonometric(a, env, flags) {
        Trigonometric::Both(nan) => nan,
        Trigonometric::Zero => F80::ONE,
        Trigonometric::Tiny(_) => {
            flags.raise(Flags::PE);
            F80::ONE
        }
        Trigonometric::OutOfRange => return None,
        Trigonometric::Reduced(angle) => {
            let (negative, cosine) = angle.cosine();
            cosine.finish(negative, env, flags)
        }
    })
}

/// FSINCOS: `(sine, cosine)`; the sine replaces ST(0), the cosine is pushed. `None` as for [`sine`].
pub fn sine_cosine(a: F80, env: Env, flags: &mut Flags) -> Option<(F80, F80)> {
    Some(match trigonometric(a, env, flags) {
        Trigonometric::Both(nan) => (nan, nan),
        Trigonometric::Zero => (a, F80::ONE),
        Trigonometric::Tiny(w) => (w.finish_exact(a.is_negative(), env, flags), F80::ONE),
        Trigonometric::OutOfRange => return None,
        Trigonometric::Reduced(angle) => {
            let ((sign, sine), (cosine_sign, cosine)) = (angle.sine(), angle.cosine());
            let mut cosine_flags = Flags::new();
            let cosine = cosine.finish(cosine_sign, env, &mut cosine_flags);
            flags.raise(cosine_flags.exceptions());
            (sine.finish(sign ^ a.is_negative(), env, flags), cosine)
        }
    })
}

/// FPTAN: `(tangent, pushed)`; the tangent replaces ST(0), then 1.0 (or the same NaN) is pushed. `None` as for
/// [`sine`].
pub fn tangent(a: F80, env: Env, flags: &mut Flags) -> Option<(F80, F80)> {
    Some(match trigonometric(a, env, flags) {
        Trigonometric::Both(nan) => (nan, nan),
        Trigonometric::Zero => (a, F80::ONE),
        Trigonometric::Tiny(w) => (w.finish_exact(a.is_negative(), env, flags), F80::ONE),
        Trigonometric::OutOfRange => return None,
        Trigonometric::Reduced(angle) => {
            let (sine, cosine) = (angle.rest_sine(), angle.rest_cosine());
            let odd = angle.quadrant & 1 != 0;
            let tangent = if odd { cosine.over(sine) } else { sine.over(cosine) };
            (tangent.finish(odd ^ angle.negative ^ a.is_negative(), env, flags), F80::ONE)
        }
    })
}

/// FPATAN: the angle of the point (`x`, `y`), `x` in ST(0) and `y` in ST(1).
pub fn arctangent(x: F80, y: F80, env: Env, flags: &mut Flags) -> F80 {
    if let Some(nan) = special_operands(x, y, flags) {
        return nan;
    }
    if denormal_operand(x, env, flags) | denormal_operand(y, env, flags) {
        return F80::ZERO;
    }
    let negative = y.is_negative();
    // A multiple of π/4, scaled by 2^126.
    let eighth = |n: u128| Wide::fixed((PI >> 2) * n, 126);
    let (x_infinite, y_infinite) = (x.class() == Class::Infinity, y.class() == Class::Infinity);
    if y.is_zero() || (x_infinite && !y_infinite) {
        return if x.is_negative() { eighth(4).finish(negative, env, flags) } else { F80::zero(y.sign()) };
    }
    if x.is_zero() || (y_infinite && !x_infinite) {
        return eighth(2).finish(negative, env, flags);
    }
    if x_infinite {
        return eighth(if x.is_negative() { 3 } else { 1 }).finish(negative, env, flags);
    }
    let (wx, wy) = (Wide::of(x), Wide::of(y));
    let steep = (wy.exponent, wy.mantissa) > (wx.exponent, wx.mantissa);
    let (small, large) = if steep { (wx, wy) } else { (wy, wx) };
    let angle = arctangent_of_quotient(small, large);
    if !steep && !x.is_negative() {
        return if angle.exponent < TINY {
            angle.finish_exact(negative, env, flags)
        } else {
            angle.finish(negative, env, flags)
        };
    }
    let angle = angle.to_fixed(126);
    let angle = match (steep, x.is_negative()) {
        (true, false) => PI / 2 - angle,
        (true, true) => PI / 2 + angle,
        _ => PI - angle,
    };
    Wide::fixed(angle, 126).finish(negative, env, flags)
}

/// atan(a / b) for 0 < a <= b, both with 64 significant bits.
fn arctangent_of_quotient(a: Wide, b: Wide) -> Wide {
    let distance = b.exponent - a.exponent;
    // atan(a / b) = atan(c) + atan((a - cb) / (b + ca)) with c = k / 32 close to a / b.
    let k = if distance > 6 {
        0
    } else {
        let ratio = ((a.mantissa >> 96) << 6 >> distance) / (b.mantissa >> 96);
        ratio.div_ceil(2).min(32)
    };
    let (rest, below) = if k == 0 {
        (a.over(b), false)
    } else {
        let (a, b) = ((a.mantissa >> 64 << 7) >> distance, (b.mantissa >> 64) << 7);
        let (product, scaled) = (k * b, a << 5);
        let numerator = Wide::fixed(scaled.abs_diff(product), 0);
        (numerator.over(Wide::fixed((b << 5) + k * a, 0)), scaled < product)
    };
    if rest.exponent < TINY && k == 0 {
        return rest;
    }
    let odd = ODD[..10].iter().copied();
    let rest = rest.times_below_one(series(odd, rest.square(), true));
    if k == 0 {
        return rest;
    }
    let base = ATAN[k as usize];
    let rest = if rest.mantissa == 0 { 0 } else { rest.to_fixed(127) };
    Wide::fixed(if below { base - rest } else { base + rest }, 127)
}

/// log2 of a positive number: sign, magnitude and whether it is exact.
fn log2(x: Wide) -> (bool, Wide, bool) {
    // log2(m) = log2(c) + 2 atanh((m - c) / (m + c)) / ln 2 with c = 1 + k / 64 close to m.
    let k = ((x.mantissa >> 120 & 0x7f) + 1) >> 1;
    let c = (64 + k) << 120;
    let m = x.mantissa >> 1;
    let below = m < c;
    let numerator = m.abs_diff(c);
    let near = if numerator == 0 {
        Wide { mantissa: 0, exponent: 0 }
    } else {
        log2_of_ratio(Wide::fixed(numerator, 126), Wide::fixed((m >> 1) + (c >> 1), 125))
    };
    let whole = x.exponent + (k == 64) as i32;
    if whole == 0 && k & 63 == 0 {
        return (below, near, numerator == 0);
    }
    let exact = numerator == 0 && k == 0;
    let rest = if numerator == 0 { 0 } else { near.to_fixed(112) as i128 };
    let base = ((x.exponent as i128) << 112) + (LOG2[k as usize] >> 15) as i128;
    let sum = if below { base - rest } else { base + rest };
    (sum < 0, Wide::fixed(sum.unsigned_abs(), 112), exact)
}

/// log2((1 + s) / (1 - s)) for s = `numerator / denominator`, at most about 2^-7.
fn log2_of_ratio(numerator: Wide, denominator: Wide) -> Wide {
    let s = numerator.over(denominator);
    let sum = series(ODD[..9].iter().copied(), s.square(), false);
    let product = s.times(Wide::fixed(sum, 127)).times(Wide { mantissa: LOG2E, exponent: 0 });
    Wide { exponent: product.exponent + 1, ..product }
}

/// FYL2X: `y * log2(x)`, `x` in ST(0) and `y` in ST(1).
pub fn log2_times(x: F80, y: F80, env: Env, flags: &mut Flags) -> F80 {
    if let Some(nan) = special_operands(x, y, flags) {
        return nan;
    }
    let y_infinite = y.class() == Class::Infinity;
    let is_one = x == F80::ONE;
    if (x.is_negative() && !x.is_zero())
        || (x.is_zero() && y.is_zero())
        || (x.class() == Class::Infinity && y.is_zero())
        || (is_one && y_infinite)
    {
        return invalid(flags);
    }
    if x.is_zero() && !y_infinite {
        flags.raise(Flags::ZE);
        return F80::infinity(y.sign() ^ 0x8000);
    }
    if denormal_operand(x, env, flags) | denormal_operand(y, env, flags) {
        return F80::ZERO;
    }
    let below_one = if x.exponent() < BIAS as u16 { 0x8000 } else { 0 };
    if x.class() == Class::Infinity || y_infinite {
        return F80::infinity(y.sign() ^ below_one);
    }
    if y.is_zero() || is_one {
        return F80::zero(y.sign() ^ below_one);
    }
    let (negative, logarithm, exact) = log2(Wide::of(x));
    finish_product(y, negative, logarithm, exact, env, flags)
}

fn finish_product(y: F80, negative: bool, logarithm: Wide, exact: bool, env: Env, flags: &mut Flags) -> F80 {
    let product = Wide::of(y).times(logarithm);
    let negative = negative ^ y.is_negative();
    if exact { product.finish_exact(negative, env, flags) } else { product.finish(negative, env, flags) }
}

/// FYL2XP1: `y * log2(x + 1)`, `x` in ST(0) and `y` in ST(1).
///
/// The manual promises an accurate result for `|x| <= 1 - √2/2` only; like the hardware this gives one for every
/// `x > -1`, and `x` itself for a finite `x <= -1`.
pub fn log2_plus_1_times(x: F80, y: F80, env: Env, flags: &mut Flags) -> F80 {
    if let Some(nan) = special_operands(x, y, flags) {
        return nan;
    }
    let sign = x.sign() ^ y.sign();
    let (x_infinite, y_infinite) = (x.class() == Class::Infinity, y.class() == Class::Infinity);
    let too_low = x.is_negative() && x.exponent() >= BIAS as u16;
    if (x_infinite && (too_low || y.is_zero())) || (x.is_zero() && y_infinite) {
        return invalid(flags);
    }
    if denormal_operand(x, env, flags) | denormal_operand(y, env, flags) {
        return F80::ZERO;
    }
    if x_infinite || y_infinite {
        return F80::infinity(sign);
    }
    if x.is_zero() || y.is_zero() {
        return F80::zero(sign);
    }
    if too_low {
        flags.raise(Flags::PE);
        return x;
    }
    let w = Wide::of(x);
    let (negative, logarithm, exact) = if w.exponent < -7 {
        // (m - 1) / (m + 1) = x / (2 + x).
        let two = 1u128 << 126;
        let part = w.to_fixed(125);
        let sum = if x.is_negative() { two - part } else { two + part };
        (x.is_negative(), log2_of_ratio(w, Wide::fixed(sum, 125)), false)
    } else if w.exponent > 62 {
        log2(w)
    } else {
        let one = 1u128 << 63;
        // Exact: the last bit of x stands for 2^-70 at least.
        let sum = if w.exponent <= 0 {
            let part = w.to_fixed(125);
            let one = 1u128 << 125;
            Wide::fixed(if x.is_negative() { one - part } else { one + part }, 125)
        } else {
            Wide::fixed(w.to_fixed(63) + one, 63)
        };
        log2(sum)
    };
    finish_product(y, negative, logarithm, exact, env, flags)
}

/// F2XM1: `2^x - 1` for `-1 <= x <= 1`. Outside, where the manual promises nothing, `x` comes back unchanged, as it
/// does from the hardware.
pub fn exp2_minus_1(x: F80, env: Env, flags: &mut Flags) -> F80 {
    if let Some(nan) = special_operand(x, flags) {
        return nan;
    }
    match x.class() {
        Class::Zero => return x,
        Class::Infinity if x.is_negative() => return F80::ONE.negate(),
        Class::Infinity => return x,
        _ => {}
    }
    if denormal_operand(x, env, flags) {
        return F80::ZERO;
    }
    let w = Wide::of(x);
    if w.exponent >= 0 {
        // The hardware calls even these inexact.
        flags.raise(Flags::PE);
        return if x == F80::ONE.negate() { F80::new(0xbffe, INTEGER_BIT) } else { x };
    }
    if w.exponent < -6 {
        let t = w.times(Wide { mantissa: LN2, exponent: -1 });
        let sum = series(FACTORIAL[..14].iter().copied(), t.to_fixed(128), x.is_negative());
        return t.times(Wide::fixed(sum, 127)).finish(x.is_negative(), env, flags);
    }
    let one = 1u128 << 126;
    let scaled = w.to_fixed(126);
    // 2^x = 2^(1 + x) / 2 for a negative x.
    let scaled = if x.is_negative() { one - scaled } else { scaled };
    let k = ((scaled >> 120) + 1) >> 1;
    let below = scaled < k << 121;
    let t = mul_high(scaled.abs_diff(k << 121), LN2);
    let sum = series(FACTORIAL[..14].iter().copied(), t << 2, below);
    let part = mul_high(EXP2[k as usize], mul_high(t, sum) << 1) << 2;
    let power = if below { EXP2[k as usize] - part } else { EXP2[k as usize] + part };
    let result = if x.is_negative() { one - power / 2 } else { power - one };
    Wide::fixed(result, 126).finish(x.is_negative(), env, flags)
}
