//! What instructions do, written once over [`Micro`].
//!
//! Rules: all that may fault comes before all that commits; no Rust `if` on a guest value; `if`
//! on decoded facts (operand kinds, widths, mode) is free, because engines specialise on them.

use crate::core::Fault;
use crate::flags::{Cond, FlagsOf};
use crate::insn::{Insn, Operand};
use crate::micro::Micro;
use crate::state::{Width, gpr};

/// An instruction as a type, so that engines can specialise its one semantics function.
pub trait Semantics {
    /// Carries it out.
    ///
    /// # Errors
    /// The fault that was recorded; nothing has been committed.
    fn run<M: Micro>(m: &mut M, i: &Insn) -> Result<(), Fault>;
}

/// The type of a semantics function in engine `M`.
pub type Function<M> = fn(&mut M, &Insn) -> Result<(), Fault>;

macro_rules! semantics {
    ($($(#[$doc:meta])* $name:ident = |$m:ident, $i:ident| $body:expr;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;
            impl Semantics for $name {
                #[inline(always)]
                fn run<M: Micro>($m: &mut M, $i: &Insn) -> Result<(), Fault> {
                    $body
                }
            }
        )*
        /// The instructions that are expressed over [`Micro`], and `Helper` for all others.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the names are the manual's")]
        pub enum Opcode { Helper, $($name),* }

        /// The semantics function of `op`; `None` for [`Opcode::Helper`].
        #[must_use]
        pub fn function<M: Micro>(op: Opcode) -> Option<Function<M>> {
            match op {
                Opcode::Helper => None,
                $(Opcode::$name => Some($name::run::<M>)),*
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alu {
    Add,
    Sub,
    And,
    Or,
    Xor,
}

#[inline(always)]
fn compute<M: Micro>(m: &mut M, alu: Alu, width: Width, a: M::V, b: M::V) -> M::V {
    match alu {
        Alu::Add => m.add(width, a, b),
        Alu::Sub => m.sub(width, a, b),
        Alu::And => m.and(a, b),
        Alu::Or => m.or(a, b),
        Alu::Xor => m.xor(a, b),
    }
}

fn flags_of(alu: Alu) -> FlagsOf {
    match alu {
        Alu::Add => FlagsOf::Add,
        Alu::Sub => FlagsOf::Sub,
        _ => FlagsOf::Logic,
    }
}

/// ADD, SUB, AND, OR, XOR: read both, compute, write, record flags.
#[inline(always)]
fn binary<M: Micro>(m: &mut M, i: &Insn, alu: Alu) -> Result<(), Fault> {
    let b = m.read(i, i.ops[1], i.width)?;
    let a = m.read_to_modify(i, i.ops[0], i.width)?;
    let r = compute(m, alu, i.width, a, b);
    m.write(i, i.ops[0], i.width, r)?;
    m.flags(flags_of(alu), i.width, a, b, r);
    Ok(())
}

/// CMP, TEST: as `binary`, without the write.
#[inline(always)]
fn compare<M: Micro>(m: &mut M, i: &Insn, alu: Alu) -> Result<(), Fault> {
    let a = m.read(i, i.ops[0], i.width)?;
    let b = m.read(i, i.ops[1], i.width)?;
    let r = compute(m, alu, i.width, a, b);
    m.flags(flags_of(alu), i.width, a, b, r);
    Ok(())
}

/// ADC, SBB.
#[inline(always)]
fn with_carry<M: Micro>(m: &mut M, i: &Insn, alu: Alu) -> Result<(), Fault> {
    let b = m.read(i, i.ops[1], i.width)?;
    let a = m.read_to_modify(i, i.ops[0], i.width)?;
    let carry = m.cond(Cond::B);
    let r = compute(m, alu, i.width, a, b);
    let r = compute(m, alu, i.width, r, carry);
    m.write(i, i.ops[0], i.width, r)?;
    m.flags(if alu == Alu::Add { FlagsOf::Adc } else { FlagsOf::Sbb }, i.width, a, b, r);
    Ok(())
}

/// INC, DEC: CF stays.
#[inline(always)]
fn step<M: Micro>(m: &mut M, i: &Insn, alu: Alu) -> Result<(), Fault> {
    let a = m.read_to_modify(i, i.ops[0], i.width)?;
    let one = m.imm(1);
    let r = compute(m, alu, i.width, a, one);
    m.write(i, i.ops[0], i.width, r)?;
    m.flags(if alu == Alu::Add { FlagsOf::Inc } else { FlagsOf::Dec }, i.width, a, one, r);
    Ok(())
}

/// The count of a shift or rotate: masked to 5 bits (6 for 64-bit operands). The 8086 does not
/// mask; its decoder asks for a helper instead.
#[inline(always)]
fn shift_count<M: Micro>(m: &mut M, i: &Insn) -> Result<M::V, Fault> {
    let count = m.read(i, i.ops[1], Width::Byte)?;
    let mask = m.imm(if i.width == Width::Qword { 63 } else { 31 });
    Ok(m.and(count, mask))
}

/// SHL, SHR, SAR.
#[inline(always)]
fn shift<M: Micro>(m: &mut M, i: &Insn, of: FlagsOf) -> Result<(), Fault> {
    let count = shift_count(m, i)?;
    let a = m.read_to_modify(i, i.ops[0], i.width)?;
    let r = match of {
        FlagsOf::Shl => m.shl(i.width, a, count),
        FlagsOf::Shr => m.shr(i.width, a, count),
        _ => m.sar(i.width, a, count),
    };
    m.write(i, i.ops[0], i.width, r)?;
    m.flags_if(count, of, i.width, a, count, r);
    Ok(())
}

/// ROL, ROR: only CF and OF change, and only when the masked count is not 0.
#[inline(always)]
fn rotate<M: Micro>(m: &mut M, i: &Insn, left: bool) -> Result<(), Fault> {
    let count = shift_count(m, i)?;
    let a = m.read_to_modify(i, i.ops[0], i.width)?;
    let bits = m.imm(u64::from(i.width.bits()));
    let by = if left { count } else { m.sub(Width::Byte, bits, count) };
    let r = m.rol(i.width, a, by);
    m.write(i, i.ops[0], i.width, r)?;
    let top = m.imm(u64::from(i.width.bits() - 1));
    let high = m.shr(i.width, r, top);
    let (cf, of) = if left {
        (r, m.xor(r, high))
    } else {
        let below = m.imm(u64::from(i.width.bits() - 2));
        let below = m.shr(i.width, r, below);
        (high, m.xor(high, below))
    };
    m.set_carry_overflow_if(count, cf, of);
    Ok(())
}

/// SHLD, SHRD for 32- and 64-bit operands (and 16-bit with counts up to 16).
#[inline(always)]
fn double_shift<M: Micro>(m: &mut M, i: &Insn, left: bool) -> Result<(), Fault> {
    let count = m.read(i, i.ops[2], Width::Byte)?;
    let mask = m.imm(if i.width == Width::Qword { 63 } else { 31 });
    let count = m.and(count, mask);
    let b = m.read(i, i.ops[1], i.width)?;
    let a = m.read_to_modify(i, i.ops[0], i.width)?;
    let bits = m.imm(u64::from(i.width.bits()));
    let rest = m.sub(Width::Byte, bits, count);
    let one = m.imm(1);
    // A zero count, for which `rest` is the whole width, changes nothing: see `select`.
    let (r, out) = if left {
        let x = m.shl(i.width, a, count);
        let y = m.shr(i.width, b, rest);
        (m.or(x, y), m.shr(i.width, a, rest))
    } else {
        let x = m.shr(i.width, a, count);
        let y = m.shl(i.width, b, rest);
        let before = m.sub(Width::Byte, count, one);
        (m.or(x, y), m.shr(i.width, a, before))
    };
    let r = m.select(count, r, a);
    m.write(i, i.ops[0], i.width, r)?;
    // CF is the last bit shifted out; OF says whether the sign changed.
    let cf = m.and(out, one);
    let top = m.imm(u64::from(i.width.bits() - 1));
    let changed = m.xor(a, r);
    let changed = m.shr(i.width, changed, top);
    let eleven = m.imm(11);
    let of = m.shl(Width::Qword, changed, eleven);
    let bits = m.or(cf, of);
    m.flags_if(count, FlagsOf::Partial, i.width, bits, cf, r);
    Ok(())
}

/// CF and OF as multiplications set them: when the high half is not the extension of the low one.
#[inline(always)]
fn multiply_flags<M: Micro>(m: &mut M, width: Width, low: M::V, fits: M::V) {
    let none = m.imm(0);
    let both = m.imm(crate::flags::bits::CF | crate::flags::bits::OF);
    let bits = m.select(fits, none, both);
    m.flags(FlagsOf::Partial, width, bits, none, low);
}

/// MUL and the one-operand IMUL: AX, DX:AX, EDX:EAX = accumulator × operand.
#[inline(always)]
fn multiply<M: Micro>(m: &mut M, i: &Insn, signed: bool) -> Result<(), Fault> {
    let b = m.read(i, i.ops[0], i.width)?;
    let a = m.reg(gpr::AX, i.width);
    let low = m.mul(i.width, a, b);
    let high = if signed { m.mul_high_signed(i.width, a, b) } else { m.mul_high(i.width, a, b) };
    if i.width == Width::Byte {
        m.set_reg(gpr::AX, Width::Byte, low);
        m.set_reg_high(gpr::AX, high);
    } else {
        m.set_reg(gpr::AX, i.width, low);
        m.set_reg(gpr::DX, i.width, high);
    }
    let extension = if signed {
        let top = m.imm(u64::from(i.width.bits() - 1));
        m.sar(i.width, low, top)
    } else {
        m.imm(0)
    };
    let fits = m.equal(high, extension);
    multiply_flags(m, i.width, low, fits);
    Ok(())
}

/// IMUL with two or three operands.
#[inline(always)]
fn multiply_signed<M: Micro>(m: &mut M, i: &Insn, a: Operand, b: Operand) -> Result<(), Fault> {
    let a = m.read(i, a, i.width)?;
    let b = m.read(i, b, i.width)?;
    let low = m.mul(i.width, a, b);
    let high = m.mul_high_signed(i.width, a, b);
    m.write(i, i.ops[0], i.width, low)?;
    let top = m.imm(u64::from(i.width.bits() - 1));
    let extension = m.sar(i.width, low, top);
    let fits = m.equal(high, extension);
    multiply_flags(m, i.width, low, fits);
    Ok(())
}

/// BT, BTS, BTR, BTC with a register destination or an immediate bit number: the bit number is
/// taken modulo the width. ZF and the others stay.
#[inline(always)]
fn bit<M: Micro>(m: &mut M, i: &Insn, change: Option<Alu>) -> Result<(), Fault> {
    let n = m.read(i, i.ops[1], i.width)?;
    let mask = m.imm(u64::from(i.width.bits() - 1));
    let n = m.and(n, mask);
    let a = match change {
        Some(_) => m.read_to_modify(i, i.ops[0], i.width)?,
        None => m.read(i, i.ops[0], i.width)?,
    };
    if let Some(alu) = change {
        let one = m.imm(1);
        let single = m.shl(i.width, one, n);
        let r = match alu {
            // BTR: AND with the complement.
            Alu::And => {
                let rest = m.not(i.width, single);
                m.and(a, rest)
            }
            other => compute(m, other, i.width, a, single),
        };
        m.write(i, i.ops[0], i.width, r)?;
    }
    let cf = m.shr(i.width, a, n);
    m.set_carry(cf);
    Ok(())
}

/// A loop counter or JCXZ test: CX or ECX, as the address size says.
#[inline(always)]
fn counter<M: Micro>(m: &mut M, i: &Insn) -> M::V {
    m.reg(gpr::CX, i.src_width)
}

/// LOOP, LOOPE, LOOPNE.
#[inline(always)]
fn count_down<M: Micro>(m: &mut M, i: &Insn, and: Option<Cond>) -> Result<(), Fault> {
    let one = m.imm(1);
    let c = counter(m, i);
    let c = m.sub(i.src_width, c, one);
    let taken = match and {
        None => c,
        Some(cond) => {
            let cond = m.cond(cond);
            let zero = m.imm(0);
            m.select(cond, c, zero)
        }
    };
    let target = m.imm(i.imm);
    let here = m.imm(0);
    let target = m.select(taken, target, here);
    m.check_target(target)?;
    m.set_reg(gpr::CX, i.src_width, c);
    m.branch(i, taken)
}

semantics! {
    /// ADD.
    Add = |m, i| binary(m, i, Alu::Add);
    /// OR.
    Or = |m, i| binary(m, i, Alu::Or);
    /// ADC.
    Adc = |m, i| with_carry(m, i, Alu::Add);
    /// SBB.
    Sbb = |m, i| with_carry(m, i, Alu::Sub);
    /// AND.
    And = |m, i| binary(m, i, Alu::And);
    /// SUB.
    Sub = |m, i| binary(m, i, Alu::Sub);
    /// XOR.
    Xor = |m, i| binary(m, i, Alu::Xor);
    /// CMP.
    Cmp = |m, i| compare(m, i, Alu::Sub);
    /// TEST.
    Test = |m, i| compare(m, i, Alu::And);
    /// INC.
    Inc = |m, i| step(m, i, Alu::Add);
    /// DEC.
    Dec = |m, i| step(m, i, Alu::Sub);
    /// NEG: CF is set unless the operand was 0.
    Neg = |m, i| {
        let b = m.read_to_modify(i, i.ops[0], i.width)?;
        let zero = m.imm(0);
        let r = m.sub(i.width, zero, b);
        m.write(i, i.ops[0], i.width, r)?;
        m.flags(FlagsOf::Sub, i.width, zero, b, r);
        Ok(())
    };
    /// NOT: no flags.
    Not = |m, i| {
        let a = m.read_to_modify(i, i.ops[0], i.width)?;
        let r = m.not(i.width, a);
        m.write(i, i.ops[0], i.width, r)
    };
    /// MOV between general-purpose registers, memory and immediates.
    Mov = |m, i| {
        let v = m.read(i, i.ops[1], i.width)?;
        m.write(i, i.ops[0], i.width, v)
    };
    /// MOVZX.
    Movzx = |m, i| {
        let v = m.read(i, i.ops[1], i.src_width)?;
        m.write(i, i.ops[0], i.width, v)
    };
    /// MOVSX.
    Movsx = |m, i| {
        let v = m.read(i, i.ops[1], i.src_width)?;
        let v = m.sign_extend(i.src_width, i.width, v);
        m.write(i, i.ops[0], i.width, v)
    };
    /// LEA.
    Lea = |m, i| {
        let v = m.offset(&i.mem);
        let v = m.truncate(i.width, v);
        m.write(i, i.ops[0], i.width, v)
    };
    /// XCHG.
    Xchg = |m, i| {
        let a = m.read_to_modify(i, i.ops[0], i.width)?;
        let b = m.read(i, i.ops[1], i.width)?;
        m.write(i, i.ops[0], i.width, b)?;
        m.write(i, i.ops[1], i.width, a)
    };
    /// XADD.
    Xadd = |m, i| {
        let a = m.read_to_modify(i, i.ops[0], i.width)?;
        let b = m.read(i, i.ops[1], i.width)?;
        let r = m.add(i.width, a, b);
        if i.ops[0].is_mem() {
            m.write(i, i.ops[0], i.width, r)?;
            m.write(i, i.ops[1], i.width, a)?;
        } else {
            // XADD of a register with itself leaves the sum.
            m.write(i, i.ops[1], i.width, a)?;
            m.write(i, i.ops[0], i.width, r)?;
        }
        m.flags(FlagsOf::Add, i.width, a, b, r);
        Ok(())
    };
    /// CMPXCHG: the destination is always written, with its own value when the comparison fails.
    Cmpxchg = |m, i| {
        let a = m.reg(gpr::AX, i.width);
        let d = m.read_to_modify(i, i.ops[0], i.width)?;
        let s = m.read(i, i.ops[1], i.width)?;
        let same = m.equal(a, d);
        let stored = m.select(same, s, d);
        m.write(i, i.ops[0], i.width, stored)?;
        // On success the accumulator keeps its value, which then equals the old destination;
        // the destination may be the accumulator itself.
        let old = m.reg(gpr::AX, i.width);
        let accumulator = m.select(same, old, d);
        m.set_reg(gpr::AX, i.width, accumulator);
        let r = m.sub(i.width, a, d);
        m.flags(FlagsOf::Sub, i.width, a, d, r);
        Ok(())
    };
    /// BSWAP.
    Bswap = |m, i| {
        let v = m.read(i, i.ops[0], i.width)?;
        let v = m.byte_swap(i.width, v);
        m.write(i, i.ops[0], i.width, v)
    };
    /// SHL, SAL.
    Shl = |m, i| shift(m, i, FlagsOf::Shl);
    /// SHR.
    Shr = |m, i| shift(m, i, FlagsOf::Shr);
    /// SAR.
    Sar = |m, i| shift(m, i, FlagsOf::Sar);
    /// ROL.
    Rol = |m, i| rotate(m, i, true);
    /// ROR.
    Ror = |m, i| rotate(m, i, false);
    /// SHLD.
    Shld = |m, i| double_shift(m, i, true);
    /// SHRD.
    Shrd = |m, i| double_shift(m, i, false);
    /// MUL.
    Mul = |m, i| multiply(m, i, false);
    /// IMUL with one operand.
    Imul1 = |m, i| multiply(m, i, true);
    /// IMUL with two operands.
    Imul2 = |m, i| multiply_signed(m, i, i.ops[0], i.ops[1]);
    /// IMUL with three operands.
    Imul3 = |m, i| multiply_signed(m, i, i.ops[1], i.ops[2]);
    /// BT.
    Bt = |m, i| bit(m, i, None);
    /// BTS.
    Bts = |m, i| bit(m, i, Some(Alu::Or));
    /// BTR.
    Btr = |m, i| bit(m, i, Some(Alu::And));
    /// BTC.
    Btc = |m, i| bit(m, i, Some(Alu::Xor));
    /// CBW, CWDE: sign-extends the accumulator in place.
    Cbw = |m, i| {
        let v = m.reg(gpr::AX, i.src_width);
        let v = m.sign_extend(i.src_width, i.width, v);
        m.set_reg(gpr::AX, i.width, v);
        Ok(())
    };
    /// CWD, CDQ: spreads the sign of the accumulator over DX.
    Cwd = |m, i| {
        let v = m.reg(gpr::AX, i.width);
        let top = m.imm(u64::from(i.width.bits() - 1));
        let v = m.sar(i.width, v, top);
        m.set_reg(gpr::DX, i.width, v);
        Ok(())
    };
    /// PUSH of a register, immediate or memory operand.
    Push = |m, i| {
        let v = m.read(i, i.ops[0], i.width)?;
        m.push(i.width, v)
    };
    /// POP to a register.
    PopReg = |m, i| {
        let sp = m.stack_pointer(0);
        let v = m.load_stack(sp, i.width)?;
        let sp = m.stack_pointer(i.width.bytes() as i64);
        m.set_stack_pointer(sp);
        m.write(i, i.ops[0], i.width, v)
    };
    /// CALL to a constant target.
    CallNear = |m, i| {
        let target = m.imm(i.imm);
        m.check_target(target)?;
        let back = m.imm(i.next_ip());
        m.push(i.width, back)?;
        m.goto(i)
    };
    /// CALL through a register or memory.
    CallIndirect = |m, i| {
        let target = m.read(i, i.ops[0], i.width)?;
        m.check_target(target)?;
        let back = m.imm(i.next_ip());
        m.push(i.width, back)?;
        m.jump(i, target)
    };
    /// RET, with the bytes to release in `imm`.
    Ret = |m, i| {
        let sp = m.stack_pointer(0);
        let target = m.load_stack(sp, i.width)?;
        m.check_target(target)?;
        let sp = m.stack_pointer(i.width.bytes() as i64 + i.imm as i64);
        m.set_stack_pointer(sp);
        m.jump(i, target)
    };
    /// JMP to a constant target.
    JmpNear = |m, i| m.goto(i);
    /// JMP through a register or memory.
    JmpIndirect = |m, i| {
        let target = m.read(i, i.ops[0], i.width)?;
        m.jump(i, target)
    };
    /// Jcc.
    Jcc = |m, i| {
        let c = m.cond(i.cond);
        m.branch(i, c)
    };
    /// JCXZ, JECXZ.
    Jcxz = |m, i| {
        let c = counter(m, i);
        let zero = m.imm(0);
        let c = m.equal(c, zero);
        m.branch(i, c)
    };
    /// LOOP.
    Loop = |m, i| count_down(m, i, None);
    /// LOOPE.
    Loope = |m, i| count_down(m, i, Some(Cond::E));
    /// LOOPNE.
    Loopne = |m, i| count_down(m, i, Some(Cond::Ne));
    /// SETcc.
    Setcc = |m, i| {
        let c = m.cond(i.cond);
        m.write(i, i.ops[0], Width::Byte, c)
    };
    /// CMOVcc: the source is read, and may fault, whatever the condition. In 64-bit mode a 32-bit
    /// destination is zero-extended even when the condition is false.
    Cmovcc = |m, i| {
        let new = m.read(i, i.ops[1], i.width)?;
        let old = m.read(i, i.ops[0], i.width)?;
        let c = m.cond(i.cond);
        let v = m.select(c, new, old);
        m.write(i, i.ops[0], i.width, v)
    };
    /// CLC.
    Clc = |m, _i| {
        let v = m.imm(0);
        m.set_carry(v);
        Ok(())
    };
    /// STC.
    Stc = |m, _i| {
        let v = m.imm(1);
        m.set_carry(v);
        Ok(())
    };
    /// CMC.
    Cmc = |m, _i| {
        let v = m.cond(Cond::Ae);
        m.set_carry(v);
        Ok(())
    };
    /// CLD.
    Cld = |m, _i| { m.set_direction(false); Ok(()) };
    /// STD.
    Std = |m, _i| { m.set_direction(true); Ok(()) };
    /// LAHF: bit 1 reads as 1.
    Lahf = |m, _i| {
        let f = m.status();
        let mask = m.imm(0xd5);
        let f = m.and(f, mask);
        let one = m.imm(2);
        let f = m.or(f, one);
        m.set_reg_high(gpr::AX, f);
        Ok(())
    };
    /// SAHF.
    Sahf = |m, _i| {
        let f = m.reg_high(gpr::AX);
        let mask = m.imm(0xd5);
        let f = m.and(f, mask);
        let old = m.status();
        let overflow = m.imm(crate::flags::bits::OF);
        let old = m.and(old, overflow);
        let f = m.or(f, old);
        let zero = m.imm(0);
        m.flags(FlagsOf::All, Width::Dword, f, zero, zero);
        Ok(())
    };
    /// LEAVE: the frame pointer becomes the stack pointer, then is popped.
    Leave = |m, i| {
        let stack = m.mode().stack_width();
        let bp = m.reg(gpr::BP, stack);
        let v = m.load_stack(bp, i.width)?;
        let size = m.imm(i.width.bytes());
        let sp = m.add(stack, bp, size);
        m.set_stack_pointer(sp);
        m.set_reg(gpr::BP, i.width, v);
        Ok(())
    };
    /// NOP, and hints that do nothing.
    Nop = |_m, _i| Ok(());
}
