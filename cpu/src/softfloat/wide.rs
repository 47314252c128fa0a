//! 128-bit fixed point for the transcendental functions: products, quotients and series.

/// The high 128 bits of the 256-bit product.
#[inline(always)]
pub(super) fn mul_high(a: u128, b: u128) -> u128 {
    let (ah, al) = ((a >> 64) as u64 as u128, a as u64 as u128);
    let (bh, bl) = ((b >> 64) as u64 as u128, b as u64 as u128);
    let (x, y) = (ah * bl, al * bh);
    let middle = (x as u64 as u128 + y as u64 as u128 + ((al * bl) >> 64)) >> 64;
    ah * bh + (x >> 64) + (y >> 64) + middle
}

/// First approximations of 2^19 / d for the nine highest bits of a divisor.
const RECIPROCALS: [u16; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = (((1 << 19) - (3 << 8)) / (i as u32 + 256)) as u16;
        i += 1;
    }
    table
};

/// `floor((2^128 - 1) / d) - 2^64` for `d` with bit 63 set (Möller and Granlund, "Improved division by invariant
/// integers", algorithm 3).
///
/// Not the host's division: that is slow on many hosts and absent, for 128 by 64 bits, on others.
#[inline(always)]
fn reciprocal(d: u64) -> u64 {
    let high = |a: u64, b: u64| ((a as u128 * b as u128) >> 64) as u64;
    let odd = d & 1;
    let (d40, d63) = ((d >> 24) + 1, (d >> 1) + odd);
    let v0 = RECIPROCALS[(d >> 55) as usize & 0xff] as u64;
    let v1 = (v0 << 11) - ((v0 * v0 * d40) >> 40) - 1;
    let v2 = (v1 << 13) + ((v1 * ((1 << 60) - v1 * d40)) >> 47);
    let e = ((v2 >> 1) & odd.wrapping_neg()).wrapping_sub(v2.wrapping_mul(d63));
    let v3 = (v2 << 31).wrapping_add(high(v2, e) >> 1);
    let step = v3 as u128 * d as u128 + d as u128;
    v3.wrapping_sub(((step >> 64) as u64).wrapping_add(d))
}

/// Quotient and remainder of `high.low` by `d` with its reciprocal `v`, for `high < d` (algorithm 4 there).
#[inline(always)]
fn divide_by(high: u64, low: u64, d: u64, v: u64) -> (u64, u64) {
    let q = (v as u128 * high as u128).wrapping_add((high as u128) << 64 | low as u128);
    let mut digit = ((q >> 64) as u64).wrapping_add(1);
    let mut rest = low.wrapping_sub(digit.wrapping_mul(d));
    if rest > q as u64 {
        digit = digit.wrapping_sub(1);
        rest = rest.wrapping_add(d);
    }
    if rest >= d {
        digit = digit.wrapping_add(1);
        rest -= d;
    }
    (digit, rest)
}

/// Quotient and remainder of `n` by `d` with bit 63 set, for `n < d * 2^64`.
#[inline(always)]
pub(super) fn divide_128(n: u128, d: u64) -> (u64, u64) {
    divide_by((n >> 64) as u64, n as u64, d, reciprocal(d))
}

/// `floor(n * 2^128 / d)` for `n < d` and `d` with bit 127 set.
pub(super) fn divide(n: u128, d: u128) -> u128 {
    let (dh, dl) = ((d >> 64) as u64, d as u64 as u128);
    let v = reciprocal(dh);
    let step = |n: u128| -> (u128, u128) {
        // One 64-bit digit of the quotient of n * 2^64 by d, at most two too large at first.
        let high = (n >> 64) as u64;
        let (mut q, mut rest) = if high < dh {
            let (q, rest) = divide_by(high, n as u64, dh, v);
            (q as u128, rest as u128)
        } else {
            (u64::MAX as u128, n - u64::MAX as u128 * dh as u128)
        };
        // A rest of more than 64 bits means that the digit is right already.
        while rest >> 64 == 0 && q * dl > rest << 64 {
            q -= 1;
            rest += dh as u128;
        }
        (q, (rest << 64).wrapping_sub(q * dl))
    };
    let (high, rest) = step(n);
    let (low, _) = step(rest);
    high << 64 | low
}

/// First approximations of 2^14 / sqrt(a) for the nine highest bits of 1/4 <= a < 1.
const RECIPROCAL_ROOTS: [u16; 384] = {
    let mut table = [0; 384];
    let mut i = 0;
    while i < 384 {
        table[i] = ((1u64 << 38) / (2 * i as u64 + 257)).isqrt() as u16;
        i += 1;
    }
    table
};

/// The integer square root of `n >= 2^126` and the remainder: two Newton steps for 1/√n, one for √n, and a last
/// correction that makes it exact.
pub(super) fn square_root(n: u128) -> (u64, u128) {
    let high = |a: u64, b: u64| ((a as u128 * b as u128) >> 64) as u64;
    // n * 2^-128 is a; comments give the scale of r, which approaches 1/√a.
    let a = (n >> 64) as u64;
    let r0 = RECIPROCAL_ROOTS[((a >> 55) as usize).saturating_sub(128)] as u64;
    let t = (3 << 60) - (a >> 32) * (r0 * r0);
    let r1 = (r0 * (t >> 14)) >> 31; // 2^30, 17 bits right
    let t = (3 << 60) - high(a, r1 * r1);
    let r2 = high(r1 << 30, t); // 2^57, 33 bits right
    let near = high(a, r2) << 7;
    let rest = n.wrapping_sub(near as u128 * near as u128) as i128;
    let root = (near as i128 + (((rest >> 32) * r2 as i128) >> 90)).clamp(0, u64::MAX as i128);
    let mut root = root as u128;
    while root * root > n {
        root -= 1;
    }
    let mut rest = n - root * root;
    while rest > 2 * root {
        rest -= 2 * root + 1;
        root += 1;
    }
    (root as u64, rest)
}

/// `c[0] - c[1] z + c[2] z^2 - …` (or all plus) with `c` scaled by 2^127 and `z < 1` by 2^128, by Horner's rule.
#[inline(always)]
pub(super) fn series(coefficients: impl DoubleEndedIterator<Item = u128>, z: u128, alternate: bool) -> u128 {
    coefficients.rev().fold(0, |sum, c| {
        let term = mul_high(sum, z);
        if alternate { c - term } else { c + term }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> impl Iterator<Item = u128> {
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        let mut next = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        (0..200_000).map(move |i| {
            let n = (next() as u128) << 64 | next() as u128;
            match i % 5 {
                0 => n << (next() & 127),
                1 => u128::MAX << (next() & 127),
                2 => u128::MAX >> (next() & 127),
                3 => (next() as u128).pow(2).wrapping_sub(i & 1),
                _ => n,
            }
        })
    }

    #[test]
    fn roots() {
        for n in samples() {
            let n = n | 1 << (126 + (n & 1));
            let root = n.isqrt();
            assert_eq!(square_root(n), (root as u64, n - root * root), "{n:x}");
        }
    }

    #[test]
    fn quotients() {
        let mut previous = 1;
        for n in samples() {
            let d = (previous >> 64) as u64 | 1 << 63;
            let small = n % ((d as u128) << 64);
            assert_eq!(divide_128(small, d), ((small / d as u128) as u64, (small % d as u128) as u64));
            let (d, n) = (previous | 1 << 127, n % (previous | 1 << 127));
            let quotient = divide(n, d);
            // n * 2^128 = quotient * d + rest, modulo 2^128.
            assert!(0u128.wrapping_sub(quotient.wrapping_mul(d)) < d, "{n:x} {d:x}");
            assert!(mul_high(quotient, d) <= n && n - mul_high(quotient, d) <= 1);
            previous = n;
        }
    }

    #[test]
    fn products() {
        assert_eq!(mul_high(u128::MAX, u128::MAX), u128::MAX - 1);
        assert_eq!(mul_high(1 << 127, 1 << 127), 1 << 126);
        assert_eq!(mul_high(1 << 64, 1 << 64), 1);
    }
}
