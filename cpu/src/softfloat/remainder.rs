//! FPREM and FPREM1.

use super::*;

/// Outcome of one FPREM or FPREM1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remainder {
    /// What goes to ST(0).
    pub value: F80,
    /// C0, C3, C1 (quotient bits 2, 1, 0) and C2 (set while the reduction is incomplete), in status word layout.
    pub conditions: u16,
}

const fn quotient_bits(quotient: u128) -> u16 {
    let q = quotient as u16;
    (if q & 4 != 0 { Flags::C0 } else { 0 })
        | (if q & 2 != 0 { Flags::C3 } else { 0 })
        | (if q & 1 != 0 { Flags::C1 } else { 0 })
}

/// FPREM: the remainder of the division that truncates.
pub fn remainder(a: F80, b: F80, env: Env, flags: &mut Flags) -> Remainder {
    reduce(a, b, false, env, flags)
}

/// FPREM1: the IEEE remainder, of the division that rounds to nearest even.
pub fn remainder_nearest(a: F80, b: F80, env: Env, flags: &mut Flags) -> Remainder {
    reduce(a, b, true, env, flags)
}

fn reduce(a: F80, b: F80, nearest: bool, env: Env, flags: &mut Flags) -> Remainder {
    let plain = |value| Remainder { value, conditions: 0 };
    if let Some(nan) = special_operands(a, b, flags) {
        return plain(nan);
    }
    if a.class() == Class::Infinity || b.is_zero() {
        return plain(invalid(flags));
    }
    if denormal_operand(a, env, flags) | denormal_operand(b, env, flags) {
        return plain(F80::ZERO);
    }
    if a.is_zero() {
        return plain(a);
    }
    let env = env.extended();
    if b.class() == Class::Infinity {
        return plain(pass(a));
    }
    let (ea, ma) = normalize(a);
    let (eb, mb) = normalize(b);
    let distance = ea - eb;
    if distance < -1 || (distance == -1 && !nearest) {
        return plain(round_pack(a.sign(), ea, ma, 0, env, flags));
    }
    if distance >= 64 {
        // One step takes 32 to 63 bits off the exponent difference, like the hardware's.
        let step = (distance & 31 | 32) as u32;
        let rest = (((ma as u128) << step) % mb as u128) as u64;
        return Remainder { value: pack(a.sign(), ea - step as i32, rest, env, flags), conditions: Flags::C2 };
    }
    // In units of half the divisor's last bit when the dividend is the smaller one.
    let (numerator, divisor, unit) =
        if distance < 0 { (ma as u128, (mb as u128) << 1, ea) } else { ((ma as u128) << distance, mb as u128, eb) };
    let mut quotient = numerator / divisor;
    let mut rest = numerator - quotient * divisor;
    let mut sign = a.sign();
    if nearest {
        let doubled = rest << 1;
        if doubled > divisor || (doubled == divisor && quotient & 1 != 0) {
            quotient += 1;
            rest = divisor - rest;
            sign ^= 0x8000;
        }
    }
    let value = if rest == 0 { F80::zero(a.sign()) } else { pack(sign, unit, rest as u64, env, flags) };
    Remainder { value, conditions: quotient_bits(quotient) }
}

fn pack(sign: u16, exponent: i32, rest: u64, env: Env, flags: &mut Flags) -> F80 {
    if rest == 0 {
        return F80::zero(sign);
    }
    let zeros = rest.leading_zeros();
    round_pack(sign, exponent - zeros as i32, rest << zeros, 0, env, flags)
}
