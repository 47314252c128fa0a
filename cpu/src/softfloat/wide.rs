//! 128-bit fixed point for the transcendental functions: products, quotients and series.

/// The high 128 bits of the 256-bit product, a last-place error below 3.
#[inline(always)]
pub(super) fn mul_high(a: u128, b: u128) -> u128 {
    let (ah, al) = ((a >> 64) as u64 as u128, a as u64 as u128);
    let (bh, bl) = ((b >> 64) as u64 as u128, b as u64 as u128);
    let (x, y) = (ah * bl, al * bh);
    let middle = (x as u64 as u128 + y as u64 as u128 + ((al * bl) >> 64)) >> 64;
    ah * bh + (x >> 64) + (y >> 64) + middle
}

/// `floor(n * 2^128 / d)` for `n < d` and `d` with bit 127 set, a last-place error below 2.
pub(super) fn divide(n: u128, d: u128) -> u128 {
    let (dh, dl) = (d >> 64, d as u64 as u128);
    let step = |n: u128| -> (u128, u128) {
        // One 64-bit digit of the quotient of n * 2^64 by d, at most two too large at first.
        let mut q = (n / dh).min(u64::MAX as u128);
        let rest = n - q * dh;
        // rest may exceed 64 bits only after the clamp; then the digit is right already.
        let (mut rest, mut over) = (rest, rest >> 64 != 0);
        while !over && q * dl > rest << 64 {
            q -= 1;
            rest += dh;
            over = rest >> 64 != 0;
        }
        (q, (rest << 64).wrapping_sub(q * dl))
    };
    let (high, rest) = step(n);
    let (low, _) = step(rest);
    high << 64 | low
}

/// `c[0] - c[1] z + c[2] z^2 - …` (or all plus) with `c` scaled by 2^127 and `z < 1` by 2^128, by Horner's rule.
#[inline(always)]
pub(super) fn series(coefficients: impl DoubleEndedIterator<Item = u128>, z: u128, alternate: bool) -> u128 {
    coefficients.rev().fold(0, |sum, c| {
        let term = mul_high(sum, z);
        if alternate { c - term } else { c + term }
    })
}
