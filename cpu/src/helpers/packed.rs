//! Packed integer operations on 16 bytes: what PADDB and its relatives compute.
//!
//! The MMX forms use the same operations on zero-extended 8-byte operands; where an operation is not the same for each
//! 8 bytes the MMX form says how it follows from the 16-byte one.

/// An operation on two vectors.
pub trait Binary {
    /// `a` is the destination operand, `b` the source.
    fn apply(a: u128, b: u128) -> u128;
}
/// A shift of all lanes by one count.
pub trait Shift {
    /// Counts at least as large as the lane shift everything out.
    fn apply(a: u128, count: u64) -> u128;
}

/// A vector as an array of lanes.
trait Lanes: Copy {
    fn split(v: u128) -> Self;
    fn join(self) -> u128;
}
macro_rules! lanes {
    ($($t:ty, $n:literal, $bytes:literal;)*) => {$(
        impl Lanes for [$t; $n] {
            #[inline(always)]
            fn split(v: u128) -> Self {
                let b = v.to_le_bytes();
                std::array::from_fn(|i| {
                    <$t>::from_le_bytes(std::array::from_fn(|k| b[i * $bytes + k]))
                })
            }
            #[inline(always)]
            fn join(self) -> u128 {
                let mut b = [0u8; 16];
                for (i, lane) in self.into_iter().enumerate() {
                    b[i * $bytes..(i + 1) * $bytes].copy_from_slice(&lane.to_le_bytes());
                }
                u128::from_le_bytes(b)
            }
        }
    )*};
}
lanes! {
    u8, 16, 1; i8, 16, 1;
    u16, 8, 2; i16, 8, 2;
    u32, 4, 4; i32, 4, 4;
    u64, 2, 8;
}

#[inline(always)]
fn each<T: Copy, const N: usize>(a: u128, b: u128, f: impl Fn(T, T) -> T) -> u128
where
    [T; N]: Lanes,
{
    let (a, b) = (<[T; N]>::split(a), <[T; N]>::split(b));
    std::array::from_fn::<T, N, _>(|i| f(a[i], b[i])).join()
}

macro_rules! lane_wise {
    ($($(#[$doc:meta])* $name:ident: $t:ty, $n:literal, $f:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;
        impl Binary for $name {
            #[inline(always)]
            fn apply(a: u128, b: u128) -> u128 {
                each::<$t, $n>(a, b, $f)
            }
        }
    )*};
}
lane_wise! {
    /// PADDB.
    AddB: u8, 16, u8::wrapping_add;
    /// PADDW.
    AddW: u16, 8, u16::wrapping_add;
    /// PADDD.
    AddD: u32, 4, u32::wrapping_add;
    /// PADDQ.
    AddQ: u64, 2, u64::wrapping_add;
    /// PSUBB.
    SubB: u8, 16, u8::wrapping_sub;
    /// PSUBW.
    SubW: u16, 8, u16::wrapping_sub;
    /// PSUBD.
    SubD: u32, 4, u32::wrapping_sub;
    /// PSUBQ.
    SubQ: u64, 2, u64::wrapping_sub;
    /// PADDSB.
    AddSB: i8, 16, i8::saturating_add;
    /// PADDSW.
    AddSW: i16, 8, i16::saturating_add;
    /// PADDUSB.
    AddUsB: u8, 16, u8::saturating_add;
    /// PADDUSW.
    AddUsW: u16, 8, u16::saturating_add;
    /// PSUBSB.
    SubSB: i8, 16, i8::saturating_sub;
    /// PSUBSW.
    SubSW: i16, 8, i16::saturating_sub;
    /// PSUBUSB.
    SubUsB: u8, 16, u8::saturating_sub;
    /// PSUBUSW.
    SubUsW: u16, 8, u16::saturating_sub;
    /// PCMPEQB.
    EqualB: u8, 16, |a, b| if a == b { u8::MAX } else { 0 };
    /// PCMPEQW.
    EqualW: u16, 8, |a, b| if a == b { u16::MAX } else { 0 };
    /// PCMPEQD.
    EqualD: u32, 4, |a, b| if a == b { u32::MAX } else { 0 };
    /// PCMPGTB.
    GreaterB: i8, 16, |a, b| if a > b { -1 } else { 0 };
    /// PCMPGTW.
    GreaterW: i16, 8, |a, b| if a > b { -1 } else { 0 };
    /// PCMPGTD.
    GreaterD: i32, 4, |a, b| if a > b { -1 } else { 0 };
    /// PMINUB.
    MinUB: u8, 16, u8::min;
    /// PMAXUB.
    MaxUB: u8, 16, u8::max;
    /// PMINSW.
    MinSW: i16, 8, i16::min;
    /// PMAXSW.
    MaxSW: i16, 8, i16::max;
    /// PAVGB.
    AverageB: u8, 16, |a, b| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8;
    /// PAVGW.
    AverageW: u16, 8, |a, b| ((u32::from(a) + u32::from(b) + 1) >> 1) as u16;
    /// PMULLW.
    MultiplyLowW: u16, 8, u16::wrapping_mul;
    /// PMULHW.
    MultiplyHighW: i16, 8, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16;
    /// PMULHUW.
    MultiplyHighUW: u16, 8, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16;
    /// PMULUDQ.
    MultiplyUDQ: u64, 2, |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff);
}

macro_rules! whole {
    ($($(#[$doc:meta])* $name:ident: |$a:ident, $b:ident| $f:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;
        impl Binary for $name {
            #[inline(always)]
            fn apply($a: u128, $b: u128) -> u128 {
                $f
            }
        }
    )*};
}
whole! {
    /// PAND, ANDPS, ANDPD.
    And: |a, b| a & b;
    /// PANDN, ANDNPS, ANDNPD.
    AndNot: |a, b| !a & b;
    /// POR, ORPS, ORPD.
    Or: |a, b| a | b;
    /// PXOR, XORPS, XORPD.
    Xor: |a, b| a ^ b;
    /// PMADDWD.
    MultiplyAddW: |a, b| multiply_add(a, b);
    /// PSADBW.
    SumDifferences: |a, b| sum_differences(a, b);
    /// PUNPCKLBW.
    UnpackLowB: |a, b| unpack::<u8, 16, 0>(a, b);
    /// PUNPCKLWD.
    UnpackLowW: |a, b| unpack::<u16, 8, 0>(a, b);
    /// PUNPCKLDQ, UNPCKLPS.
    UnpackLowD: |a, b| unpack::<u32, 4, 0>(a, b);
    /// PUNPCKLQDQ, UNPCKLPD, MOVLHPS.
    UnpackLowQ: |a, b| unpack::<u64, 2, 0>(a, b);
    /// PUNPCKHBW.
    UnpackHighB: |a, b| unpack::<u8, 16, 1>(a, b);
    /// PUNPCKHWD.
    UnpackHighW: |a, b| unpack::<u16, 8, 1>(a, b);
    /// PUNPCKHDQ, UNPCKHPS.
    UnpackHighD: |a, b| unpack::<u32, 4, 1>(a, b);
    /// PUNPCKHQDQ, UNPCKHPD.
    UnpackHighQ: |a, b| unpack::<u64, 2, 1>(a, b);
    /// PACKSSWB.
    PackSW: |a, b| pack_words(a, b, |w| w.clamp(-128, 127) as u8);
    /// PACKUSWB.
    PackUsW: |a, b| pack_words(a, b, |w| w.clamp(0, 255) as u8);
    /// PACKSSDW.
    PackSD: |a, b| pack_doublewords(a, b);
}

#[inline(always)]
fn multiply_add(a: u128, b: u128) -> u128 {
    let (a, b) = (<[i16; 8]>::split(a), <[i16; 8]>::split(b));
    let product = |i: usize| i32::from(a[i]) * i32::from(b[i]);
    std::array::from_fn::<i32, 4, _>(|i| product(2 * i).wrapping_add(product(2 * i + 1))).join()
}
#[inline(always)]
fn sum_differences(a: u128, b: u128) -> u128 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    std::array::from_fn::<u64, 2, _>(|half| (0..8).map(|i| u64::from(a[half * 8 + i].abs_diff(b[half * 8 + i]))).sum())
        .join()
}
/// Interleaves the lanes of one half of `a` and `b`.
#[inline(always)]
fn unpack<T: Copy, const N: usize, const HIGH: usize>(a: u128, b: u128) -> u128
where
    [T; N]: Lanes,
{
    let (a, b) = (<[T; N]>::split(a), <[T; N]>::split(b));
    std::array::from_fn::<T, N, _>(|i| {
        let from = HIGH * (N / 2) + i / 2;
        if i & 1 == 0 { a[from] } else { b[from] }
    })
    .join()
}
#[inline(always)]
fn pack_words(a: u128, b: u128, f: impl Fn(i16) -> u8) -> u128 {
    let (a, b) = (<[i16; 8]>::split(a), <[i16; 8]>::split(b));
    std::array::from_fn::<u8, 16, _>(|i| f(if i < 8 { a[i] } else { b[i - 8] })).join()
}
#[inline(always)]
fn pack_doublewords(a: u128, b: u128) -> u128 {
    let (a, b) = (<[i32; 4]>::split(a), <[i32; 4]>::split(b));
    std::array::from_fn::<i16, 8, _>(|i| (if i < 4 { a[i] } else { b[i - 4] }).clamp(-32768, 32767) as i16).join()
}

macro_rules! shifts {
    ($($(#[$doc:meta])* $name:ident: $t:ty, $n:literal, |$a:ident, $c:ident| $f:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;
        impl Shift for $name {
            #[inline(always)]
            fn apply(v: u128, count: u64) -> u128 {
                let $c = count.min(u64::from(<$t>::BITS)) as u32;
                <[$t; $n]>::split(v).map(|$a| $f).join()
            }
        }
    )*};
}
shifts! {
    /// PSLLW.
    LeftW: u16, 8, |a, c| a.checked_shl(c).unwrap_or(0);
    /// PSLLD.
    LeftD: u32, 4, |a, c| a.checked_shl(c).unwrap_or(0);
    /// PSLLQ.
    LeftQ: u64, 2, |a, c| a.checked_shl(c).unwrap_or(0);
    /// PSRLW.
    RightW: u16, 8, |a, c| a.checked_shr(c).unwrap_or(0);
    /// PSRLD.
    RightD: u32, 4, |a, c| a.checked_shr(c).unwrap_or(0);
    /// PSRLQ.
    RightQ: u64, 2, |a, c| a.checked_shr(c).unwrap_or(0);
    /// PSRAW.
    ArithmeticW: i16, 8, |a, c| a >> c.min(15);
    /// PSRAD.
    ArithmeticD: i32, 4, |a, c| a >> c.min(31);
}

/// PSLLDQ: by whole bytes.
pub struct LeftBytes;
impl Shift for LeftBytes {
    #[inline(always)]
    fn apply(v: u128, count: u64) -> u128 {
        if count > 15 { 0 } else { v << (8 * count) }
    }
}
/// PSRLDQ: by whole bytes.
pub struct RightBytes;
impl Shift for RightBytes {
    #[inline(always)]
    fn apply(v: u128, count: u64) -> u128 {
        if count > 15 { 0 } else { v >> (8 * count) }
    }
}

/// PMOVMSKB: the sign bits of all bytes.
#[inline(always)]
#[must_use]
pub fn byte_signs(v: u128) -> u32 {
    v.to_le_bytes().into_iter().enumerate().fold(0, |mask, (i, b)| mask | u32::from(b >> 7) << i)
}
/// PSHUFW and the halves of PSHUFLW, PSHUFHW: four words picked by the pairs of bits in `order`.
#[inline(always)]
#[must_use]
pub fn shuffle_words(v: u64, order: u8) -> u64 {
    let word = |n: u32| v >> (16 * u32::from(order >> (2 * n) & 3)) & 0xffff;
    word(0) | word(1) << 16 | word(2) << 32 | word(3) << 48
}
/// PSHUFD: four doublewords picked by the pairs of bits in `order`.
#[inline(always)]
#[must_use]
pub fn shuffle_doublewords(v: u128, order: u8) -> u128 {
    let lane = |n: u32| v >> (32 * u32::from(order >> (2 * n) & 3)) & 0xffff_ffff;
    lane(0) | lane(1) << 32 | lane(2) << 64 | lane(3) << 96
}
