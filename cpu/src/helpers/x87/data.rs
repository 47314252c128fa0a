//! Loads, stores, exchanges and constants.

use super::*;
use crate::flags::Cond;
use crate::softfloat as sf;
use crate::softfloat::Constant;

const F32: u8 = 0;
const F64: u8 = 1;

pub(super) fn lookup(code: Code) -> Option<Helper> {
    Some(match code {
        Code::Fld_m32fp => load_float::<F32>,
        Code::Fld_m64fp => load_float::<F64>,
        Code::Fld_m80fp => load_extended,
        Code::Fld_sti => load_register,
        Code::Fild_m16int => load_integer::<16>,
        Code::Fild_m32int => load_integer::<32>,
        Code::Fild_m64int => load_integer::<64>,
        Code::Fbld_m80bcd => load_bcd,
        Code::Fst_m32fp => store_float::<F32, false>,
        Code::Fstp_m32fp => store_float::<F32, true>,
        Code::Fst_m64fp => store_float::<F64, false>,
        Code::Fstp_m64fp => store_float::<F64, true>,
        Code::Fstp_m80fp => store_extended,
        Code::Fst_sti => store_register::<false>,
        Code::Fstp_sti | Code::Fstp_sti_DFD0 | Code::Fstp_sti_DFD8 => store_register::<true>,
        Code::Fstpnce_sti => store_register_unchecked,
        Code::Fist_m16int => store_integer::<16, false, false>,
        Code::Fistp_m16int => store_integer::<16, false, true>,
        Code::Fisttp_m16int => store_integer::<16, true, true>,
        Code::Fist_m32int => store_integer::<32, false, false>,
        Code::Fistp_m32int => store_integer::<32, false, true>,
        Code::Fisttp_m32int => store_integer::<32, true, true>,
        Code::Fistp_m64int => store_integer::<64, false, true>,
        Code::Fisttp_m64int => store_integer::<64, true, true>,
        Code::Fbstp_m80bcd => store_bcd,
        Code::Fxch_st0_sti | Code::Fxch_st0_sti_DDC8 | Code::Fxch_st0_sti_DFC8 => exchange,
        Code::Fld1 => load_constant::<ONE>,
        Code::Fldl2t => load_constant::<L2T>,
        Code::Fldl2e => load_constant::<L2E>,
        Code::Fldpi => load_constant::<PI>,
        Code::Fldlg2 => load_constant::<LG2>,
        Code::Fldln2 => load_constant::<LN2>,
        Code::Fldz => load_constant::<ZERO>,
        Code::Ffree_sti => free::<false>,
        Code::Ffreep_sti => free::<true>,
        Code::Fincstp => rotate::<1>,
        Code::Fdecstp => rotate::<7>,
        Code::Fcmovb_st0_sti => conditional_move::<{ Cond::B as u8 }>,
        Code::Fcmove_st0_sti => conditional_move::<{ Cond::E as u8 }>,
        Code::Fcmovbe_st0_sti => conditional_move::<{ Cond::Be as u8 }>,
        Code::Fcmovu_st0_sti => conditional_move::<{ Cond::P as u8 }>,
        Code::Fcmovnb_st0_sti => conditional_move::<{ Cond::Ae as u8 }>,
        Code::Fcmovne_st0_sti => conditional_move::<{ Cond::Ne as u8 }>,
        Code::Fcmovnbe_st0_sti => conditional_move::<{ Cond::A as u8 }>,
        Code::Fcmovnu_st0_sti => conditional_move::<{ Cond::Np as u8 }>,
        _ => return None,
    })
}

/// Pushes `value`, or answers a stack overflow; returns the status bits to raise.
#[inline(always)]
fn push_checked(core: &mut Core<'_, '_>, value: F80) -> u16 {
    if is_empty(core, 7) {
        push(core, value);
        return 0;
    }
    if invalid_masked(core) {
        push(core, F80::INDEFINITE);
    }
    OVERFLOW
}

/// FLD m32 and m64.
fn load_float<const FORMAT: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let value = if FORMAT == F32 {
        sf::from_f32(load(core, i, Width::Dword)? as u32, &mut flags)
    } else {
        sf::from_f64(load(core, i, Width::Qword)?, &mut flags)
    };
    let raised = if !is_empty(core, 7) {
        push_checked(core, value)
    } else {
        if !flags.suppresses_load(env) {
            push(core, value);
        }
        flags.bits()
    };
    finish_memory(core, i, 0, raised);
    Ok(())
}
/// FLD m80.
fn load_extended(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let value = F80::from_bytes(load_ten(core, i)?);
    let raised = push_checked(core, value);
    finish_memory(core, i, 0, raised);
    Ok(())
}
/// FILD.
fn load_integer<const BITS: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let value = match BITS {
        16 => sf::from_i16(load(core, i, Width::Word)? as i16),
        32 => sf::from_i32(load(core, i, Width::Dword)? as i32),
        _ => sf::from_i64(load(core, i, Width::Qword)? as i64),
    };
    let raised = push_checked(core, value);
    finish_memory(core, i, 0, raised);
    Ok(())
}
/// FBLD.
fn load_bcd(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let value = sf::from_bcd(load_ten(core, i)?);
    let raised = push_checked(core, value);
    finish_memory(core, i, 0, raised);
    Ok(())
}
/// FLD ST(i).
fn load_register(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let n = index(i);
    let raised = if is_empty(core, n) {
        if invalid_masked(core) {
            push(core, F80::INDEFINITE);
        }
        UNDERFLOW
    } else {
        let value = st(core, n);
        push_checked(core, value)
    };
    finish(core, i, 0, raised);
    Ok(())
}

const ONE: u8 = 0;
const L2T: u8 = 1;
const L2E: u8 = 2;
const PI: u8 = 3;
const LG2: u8 = 4;
const LN2: u8 = 5;
const ZERO: u8 = 6;

/// FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ.
fn load_constant<const WHICH: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let rounding = ready(core)?.rounding();
    let value = match WHICH {
        ONE => F80::ONE,
        L2T => Constant::Log2Of10.load(rounding),
        L2E => Constant::Log2OfE.load(rounding),
        PI => Constant::Pi.load(rounding),
        LG2 => Constant::Log10Of2.load(rounding),
        LN2 => Constant::LnOf2.load(rounding),
        _ => F80::ZERO,
    };
    let raised = push_checked(core, value);
    finish(core, i, 0, raised);
    Ok(())
}

/// FST and FSTP m32, m64.
fn store_float<const FORMAT: u8, const POP: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let value = if is_empty(core, 0) {
        flags.raise(UNDERFLOW);
        if FORMAT == F32 { 0xffc0_0000 } else { 0xfff8 << 48 }
    } else if FORMAT == F32 {
        u64::from(sf::to_f32(st(core, 0), env, &mut flags))
    } else {
        sf::to_f64(st(core, 0), env, &mut flags)
    };
    if !flags.suppresses_store(env) {
        store(core, i, if FORMAT == F32 { Width::Dword } else { Width::Qword }, value)?;
        if POP {
            pop(core);
        }
    }
    finish_memory(core, i, 0, flags.bits());
    Ok(())
}
/// FSTP m80.
fn store_extended(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let (value, raised) = if is_empty(core, 0) { (F80::INDEFINITE, UNDERFLOW) } else { (st(core, 0), 0) };
    if raised == 0 || invalid_masked(core) {
        store_ten(core, i, value.to_bytes())?;
        pop(core);
    }
    finish_memory(core, i, 0, raised);
    Ok(())
}
/// FIST, FISTP and FISTTP.
fn store_integer<const BITS: u8, const TRUNCATE: bool, const POP: bool>(
    core: &mut Core<'_, '_>,
    i: &Insn,
) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let a = st(core, 0);
    let value = if is_empty(core, 0) {
        flags.raise(UNDERFLOW);
        1 << (BITS - 1)
    } else {
        match (BITS, TRUNCATE) {
            (16, false) => sf::to_i16(a, env, &mut flags) as u64,
            (32, false) => sf::to_i32(a, env, &mut flags) as u64,
            (_, false) => sf::to_i64(a, env, &mut flags) as u64,
            (16, true) => sf::to_i16_truncate(a, &mut flags) as u64,
            (32, true) => sf::to_i32_truncate(a, &mut flags) as u64,
            (_, true) => sf::to_i64_truncate(a, &mut flags) as u64,
        }
    };
    if !flags.suppresses_store(env) {
        let width = match BITS {
            16 => Width::Word,
            32 => Width::Dword,
            _ => Width::Qword,
        };
        store(core, i, width, value & width.mask())?;
        if POP {
            pop(core);
        }
    }
    finish_memory(core, i, 0, flags.bits());
    Ok(())
}
/// FBSTP.
fn store_bcd(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let bytes = if is_empty(core, 0) {
        flags.raise(UNDERFLOW);
        sf::BCD_INDEFINITE
    } else {
        sf::to_bcd(st(core, 0), env, &mut flags)
    };
    if !flags.suppresses_store(env) {
        store_ten(core, i, bytes)?;
        pop(core);
    }
    finish_memory(core, i, 0, flags.bits());
    Ok(())
}
/// FST and FSTP ST(i).
fn store_register<const POP: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let n = index(i);
    let (value, raised) = if is_empty(core, 0) { (F80::INDEFINITE, UNDERFLOW) } else { (st(core, 0), 0) };
    if raised == 0 || invalid_masked(core) {
        set(core, n, value);
        if POP {
            pop(core);
        }
    }
    finish(core, i, 0, raised);
    Ok(())
}
/// FSTPNCE ST(i), undocumented: FSTP that takes an empty ST(0) without complaint, and then only pops.
fn store_register_unchecked(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    if !is_empty(core, 0) {
        let value = st(core, 0);
        set(core, index(i), value);
    }
    pop(core);
    finish(core, i, 0, 0);
    Ok(())
}
/// FXCH.
fn exchange(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let n = index(i);
    let mut raised = 0;
    if is_empty(core, 0) || is_empty(core, n) {
        raised = UNDERFLOW;
        if invalid_masked(core) {
            for r in [0, n] {
                if is_empty(core, r) {
                    set(core, r, F80::INDEFINITE);
                }
            }
        }
    }
    if raised == 0 || invalid_masked(core) {
        let (a, b) = (physical(core, 0), physical(core, n));
        core.cpu.fpu.regs.swap(a, b);
    }
    finish(core, i, 0, raised);
    Ok(())
}
/// FFREE and the undocumented FFREEP.
fn free<const POP: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let p = physical(core, index(i));
    core.cpu.fpu.empty |= 1 << p;
    if POP {
        pop(core);
    }
    finish(core, i, 0, 0);
    Ok(())
}
/// FINCSTP and FDECSTP.
fn rotate<const BY: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    core.cpu.fpu.top = core.cpu.fpu.top.wrapping_add(BY) & 7;
    finish(core, i, 0, 0);
    Ok(())
}
/// FCMOVcc. Empty registers are an underflow whatever the condition; otherwise C1 stays.
fn conditional_move<const COND: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let n = index(i);
    let mut raised = core.cpu.fpu.status & Flags::C1;
    if is_empty(core, 0) || is_empty(core, n) {
        raised = UNDERFLOW;
        if invalid_masked(core) {
            set(core, 0, F80::INDEFINITE);
        }
    } else if core.cpu.lazy.cond(Cond::ALL[usize::from(COND & 15)]) {
        let value = st(core, n);
        set(core, 0, value);
    }
    finish(core, i, 0, raised);
    Ok(())
}
