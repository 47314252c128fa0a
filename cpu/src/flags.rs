//! EFLAGS, kept lazily: the last flag-setting operation is recorded and its flags are computed
//! when somebody asks.

use crate::state::Width;
use serde::{Deserialize, Serialize};

/// EFLAGS bit positions as masks (Intel SDM vol. 1, section 3.4.3).
#[allow(missing_docs, reason = "the names are the manual's")]
pub mod bits {
    pub const CF: u64 = 1 << 0;
    pub const RESERVED_ONE: u64 = 1 << 1;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
    pub const VIF: u64 = 1 << 19;
    pub const VIP: u64 = 1 << 20;
    pub const ID: u64 = 1 << 21;
    /// The six flags that arithmetic sets.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
}
use bits::*;

/// Which operation the recorded operands and result belong to. Values are zero-extended from the
/// recorded width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum FlagsOf {
    /// `a` holds all six status flags as EFLAGS bits.
    All,
    /// SF, ZF and PF from `r`; CF, AF and OF are the EFLAGS bits in `a`.
    Partial,
    /// `r = a + b`.
    Add,
    /// `r = a - b`.
    Sub,
    /// `r = a + b + carry`; the carry follows from the other three.
    Adc,
    /// `r = a - b - borrow`; the borrow follows from the other three.
    Sbb,
    /// `r = a << b`, `b` ≥ 1 and possibly beyond the width.
    Shl,
    /// `r = a >> b`, `b` ≥ 1, unsigned.
    Shr,
    /// `r = a >> b`, `b` ≥ 1, signed.
    Sar,
    /// A bitwise operation: CF = OF = 0. AF, which the manual leaves undefined, is 0.
    Logic,
    /// `r = a + 1`; CF stays.
    Inc,
    /// `r = a - 1`; CF stays.
    Dec,
}

/// A condition code, numbered as in the opcodes of Jcc, SETcc and CMOVcc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the manual's")]
pub enum Cond {
    O,
    No,
    B,
    Ae,
    E,
    Ne,
    Be,
    A,
    S,
    Ns,
    P,
    Np,
    L,
    Ge,
    Le,
    G,
}

impl Cond {
    /// All sixteen in opcode order.
    pub const ALL: [Cond; 16] = [
        Cond::O,
        Cond::No,
        Cond::B,
        Cond::Ae,
        Cond::E,
        Cond::Ne,
        Cond::Be,
        Cond::A,
        Cond::S,
        Cond::Ns,
        Cond::P,
        Cond::Np,
        Cond::L,
        Cond::Ge,
        Cond::Le,
        Cond::G,
    ];
}

/// The status flags of the last operation that set any.
// The layout is fixed because native code writes it: the four bytes go in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C)]
pub struct LazyFlags {
    /// Which operation.
    pub of: FlagsOf,
    /// Its operand width.
    pub width: Width,
    /// OF where a later instruction changed only CF and OF: bit 0 the value, bit 1 whether it holds.
    pub over: u8,
    /// CF, which is computed at once: INC, DEC, ADC, rotates and bit tests then cost little.
    pub cf: bool,
    /// First operand, or flag bits (see [`FlagsOf`]).
    pub a: u64,
    /// Second operand.
    pub b: u64,
    /// Result.
    pub r: u64,
}

impl Default for LazyFlags {
    fn default() -> Self {
        LazyFlags { of: FlagsOf::All, width: Width::Dword, over: 0, cf: false, a: 0, b: 0, r: 0 }
    }
}

impl LazyFlags {
    /// Records an operation.
    #[inline(always)]
    pub fn record(&mut self, of: FlagsOf, width: Width, a: u64, b: u64, r: u64) {
        let cf = self.carry_of(of, width, a, b, r);
        *self = LazyFlags { of, width, over: 0, cf, a, b, r };
    }
    /// Sets all six status flags from EFLAGS bits.
    #[inline]
    pub fn set_all(&mut self, bits: u64) {
        let cf = bits & CF != 0;
        *self = LazyFlags { of: FlagsOf::All, width: Width::Dword, over: 0, cf, a: bits & STATUS & !CF, b: 0, r: 0 };
    }
    /// Changes only CF.
    #[inline(always)]
    pub fn set_cf(&mut self, cf: bool) {
        // SHL's OF follows from its CF: keep it.
        if self.of == FlagsOf::Shl && self.over == 0 {
            self.over = 2 | u8::from(self.of());
        }
        self.cf = cf;
    }
    /// Changes only CF and OF.
    #[inline(always)]
    pub fn set_cf_of(&mut self, cf: bool, of: bool) {
        self.cf = cf;
        self.over = 2 | u8::from(of);
    }
    /// Carry.
    #[inline(always)]
    #[must_use]
    pub fn cf(&self) -> bool {
        self.cf
    }
    /// The carry of an operation; that of INC and DEC is the old one.
    #[inline(always)]
    fn carry_of(&self, of: FlagsOf, width: Width, a: u64, b: u64, r: u64) -> bool {
        match of {
            FlagsOf::Add => r < a,
            FlagsOf::Sub => a < b,
            FlagsOf::Logic => false,
            FlagsOf::Inc | FlagsOf::Dec => self.cf,
            FlagsOf::All | FlagsOf::Partial => a & CF != 0,
            FlagsOf::Adc => {
                let carry = r.wrapping_sub(a).wrapping_sub(b) & 1 != 0;
                r < a || carry && r == a
            }
            FlagsOf::Sbb => {
                let borrow = a.wrapping_sub(b).wrapping_sub(r) & 1 != 0;
                a < b || borrow && a == b
            }
            FlagsOf::Shl => {
                let bits = u64::from(width.bits());
                b <= bits && a >> (bits.wrapping_sub(b) & 63) & 1 != 0
            }
            FlagsOf::Shr => a >> (b.wrapping_sub(1) & 63) & 1 != 0,
            FlagsOf::Sar => width.sign_extend(a) >> (b.wrapping_sub(1) & 63) & 1 != 0,
        }
    }
    /// Zero.
    #[inline(always)]
    #[must_use]
    pub fn zf(&self) -> bool {
        match self.of {
            FlagsOf::All => self.a & ZF != 0,
            _ => self.r == 0,
        }
    }
    /// Sign.
    #[inline(always)]
    #[must_use]
    pub fn sf(&self) -> bool {
        match self.of {
            FlagsOf::All => self.a & SF != 0,
            _ => self.r >> (self.width.bits() - 1) & 1 != 0,
        }
    }
    /// Parity of the low byte: set when even.
    #[inline(always)]
    #[must_use]
    pub fn pf(&self) -> bool {
        match self.of {
            FlagsOf::All => self.a & PF != 0,
            _ => (self.r as u8).count_ones() & 1 == 0,
        }
    }
    /// Overflow.
    #[inline(always)]
    #[must_use]
    pub fn of(&self) -> bool {
        if self.over != 0 {
            return self.over & 1 != 0;
        }
        let top = self.width.bits() - 1;
        match self.of {
            FlagsOf::Add | FlagsOf::Adc => ((self.a ^ self.r) & (self.b ^ self.r)) >> top & 1 != 0,
            FlagsOf::Sub | FlagsOf::Sbb => ((self.a ^ self.b) & (self.a ^ self.r)) >> top & 1 != 0,
            FlagsOf::Logic | FlagsOf::Sar => false,
            FlagsOf::Inc => self.r == 1 << top,
            FlagsOf::Dec => self.r == (1 << top) - 1,
            FlagsOf::All | FlagsOf::Partial => self.a & OF != 0,
            FlagsOf::Shl => (self.r >> top & 1 != 0) != self.cf,
            FlagsOf::Shr => (self.r ^ self.r << 1) >> top & 1 != 0,
        }
    }
    /// Auxiliary carry.
    #[inline(always)]
    #[must_use]
    pub fn af(&self) -> bool {
        match self.of {
            FlagsOf::Add | FlagsOf::Sub | FlagsOf::Adc | FlagsOf::Sbb => (self.a ^ self.b ^ self.r) & 0x10 != 0,
            FlagsOf::Logic | FlagsOf::Shl | FlagsOf::Shr | FlagsOf::Sar => false,
            FlagsOf::Inc => self.r & 0xf == 0,
            FlagsOf::Dec => self.r & 0xf == 0xf,
            FlagsOf::All | FlagsOf::Partial => self.a & AF != 0,
        }
    }
    /// Whether condition `cond` holds.
    #[inline(always)]
    #[must_use]
    pub fn cond(&self, cond: Cond) -> bool {
        match cond {
            Cond::O => self.of(),
            Cond::No => !self.of(),
            Cond::B => self.cf(),
            Cond::Ae => !self.cf(),
            Cond::E => self.zf(),
            Cond::Ne => !self.zf(),
            Cond::Be => self.cf() | self.zf(),
            Cond::A => !(self.cf() | self.zf()),
            Cond::S => self.sf(),
            Cond::Ns => !self.sf(),
            Cond::P => self.pf(),
            Cond::Np => !self.pf(),
            Cond::L => self.less(),
            Cond::Ge => !self.less(),
            Cond::Le => self.zf() | self.less(),
            Cond::G => !(self.zf() | self.less()),
        }
    }
    #[inline(always)]
    fn less(&self) -> bool {
        match self.of {
            FlagsOf::Sub if self.over == 0 => self.width.sign_extend(self.a) < self.width.sign_extend(self.b),
            FlagsOf::Logic if self.over == 0 => self.sf(),
            _ => self.sf() != self.of(),
        }
    }
    /// The six status flags as EFLAGS bits.
    #[inline]
    #[must_use]
    pub fn bits(&self) -> u64 {
        if self.of == FlagsOf::All && self.over == 0 {
            return self.a & STATUS & !CF | u64::from(self.cf) * CF;
        }
        u64::from(self.cf()) * CF
            | u64::from(self.pf()) * PF
            | u64::from(self.af()) * AF
            | u64::from(self.zf()) * ZF
            | u64::from(self.sf()) * SF
            | u64::from(self.of()) * OF
    }
    /// Computes the flags now, so that equal states have equal representations.
    pub fn settle(&mut self) {
        let bits = self.bits();
        self.set_all(bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_and_sub_flags_match_wide_arithmetic() {
        for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
            let edges = [
                0u64,
                1,
                0xf,
                0x10,
                0x7f,
                0x80,
                0xff,
                0x7fff,
                0x8000,
                0x7fff_ffff,
                0x8000_0000,
                u64::MAX >> 1,
                1 << 63,
                u64::MAX,
            ];
            for a in edges {
                for b in edges {
                    let (a, b) = (a & width.mask(), b & width.mask());
                    let mut f = LazyFlags::default();
                    f.record(FlagsOf::Add, width, a, b, a.wrapping_add(b) & width.mask());
                    assert_eq!(f.cf(), u128::from(a) + u128::from(b) > u128::from(width.mask()));
                    let signed = i128::from(width.sign_extend(a)) + i128::from(width.sign_extend(b));
                    assert_eq!(f.of(), signed != i128::from(width.sign_extend(f.r)));
                    assert_eq!(f.af(), (a & 15) + (b & 15) > 15);
                    f.record(FlagsOf::Sub, width, a, b, a.wrapping_sub(b) & width.mask());
                    assert_eq!(f.cond(Cond::L), width.sign_extend(a) < width.sign_extend(b));
                    assert_eq!(f.cond(Cond::Be), a <= b);
                    assert_eq!(f.af(), a & 15 < b & 15);
                    let signed = i128::from(width.sign_extend(a)) - i128::from(width.sign_extend(b));
                    assert_eq!(f.of(), signed != i128::from(width.sign_extend(f.r)));
                    let bits = f.bits();
                    f.settle();
                    assert_eq!(f.bits(), bits);
                    for carry in [0u64, 1] {
                        let wide = u128::from(a) + u128::from(b) + u128::from(carry);
                        f.record(FlagsOf::Adc, width, a, b, wide as u64 & width.mask());
                        assert_eq!(f.cf(), wide > u128::from(width.mask()), "{a:x}+{b:x}+{carry}");
                        let r = a.wrapping_sub(b).wrapping_sub(carry) & width.mask();
                        f.record(FlagsOf::Sbb, width, a, b, r);
                        assert_eq!(f.cf(), u128::from(a) < u128::from(b) + u128::from(carry));
                    }
                }
            }
        }
    }
}
