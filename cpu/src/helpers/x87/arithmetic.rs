//! Arithmetic, comparison and transcendental instructions.

use super::*;
use crate::flags::bits;
use crate::helpers::coprocessor::CONDITIONS;
use crate::softfloat as sf;
use crate::softfloat::Ordering;

// Operations of the generic functions below.
const ADD: u8 = 0;
const MUL: u8 = 1;
const SUB: u8 = 4;
const SUBR: u8 = 5;
const DIV: u8 = 6;
const DIVR: u8 = 7;

// Formats of memory operands.
const F32: u8 = 0;
const F64: u8 = 1;
const I16: u8 = 2;
const I32: u8 = 3;

macro_rules! op_table {
    ($code:expr, $($name:ident $add:ident $mul:ident $sub:ident $subr:ident $div:ident $divr:ident => $f:ident <$($p:tt),*>;)*) => {
        match $code {
            $(Code::$add => Some($f::<ADD, $($p),*> as Helper),
            Code::$mul => Some($f::<MUL, $($p),*> as Helper),
            Code::$sub => Some($f::<SUB, $($p),*> as Helper),
            Code::$subr => Some($f::<SUBR, $($p),*> as Helper),
            Code::$div => Some($f::<DIV, $($p),*> as Helper),
            Code::$divr => Some($f::<DIVR, $($p),*> as Helper),)*
            _ => None,
        }
    };
}

pub(super) fn lookup(code: Code) -> Option<Helper> {
    let binary = op_table! { code,
        m32 Fadd_m32fp Fmul_m32fp Fsub_m32fp Fsubr_m32fp Fdiv_m32fp Fdivr_m32fp => memory<F32>;
        m64 Fadd_m64fp Fmul_m64fp Fsub_m64fp Fsubr_m64fp Fdiv_m64fp Fdivr_m64fp => memory<F64>;
        i16 Fiadd_m16int Fimul_m16int Fisub_m16int Fisubr_m16int Fidiv_m16int Fidivr_m16int => memory<I16>;
        i32 Fiadd_m32int Fimul_m32int Fisub_m32int Fisubr_m32int Fidiv_m32int Fidivr_m32int => memory<I32>;
        st0 Fadd_st0_sti Fmul_st0_sti Fsub_st0_sti Fsubr_st0_sti Fdiv_st0_sti Fdivr_st0_sti => register<false, false>;
        sti Fadd_sti_st0 Fmul_sti_st0 Fsub_sti_st0 Fsubr_sti_st0 Fdiv_sti_st0 Fdivr_sti_st0 => register<true, false>;
        pop Faddp_sti_st0 Fmulp_sti_st0 Fsubp_sti_st0 Fsubrp_sti_st0 Fdivp_sti_st0 Fdivrp_sti_st0 => register<true, true>;
    };
    if binary.is_some() {
        return binary;
    }
    Some(match code {
        Code::Fcom_m32fp => compare_memory::<F32, 0>,
        Code::Fcom_m64fp => compare_memory::<F64, 0>,
        Code::Ficom_m16int => compare_memory::<I16, 0>,
        Code::Ficom_m32int => compare_memory::<I32, 0>,
        Code::Fcomp_m32fp => compare_memory::<F32, 1>,
        Code::Fcomp_m64fp => compare_memory::<F64, 1>,
        Code::Ficomp_m16int => compare_memory::<I16, 1>,
        Code::Ficomp_m32int => compare_memory::<I32, 1>,
        Code::Fcom_st0_sti | Code::Fcom_st0_sti_DCD0 => compare_register::<false, 0>,
        Code::Fcomp_st0_sti | Code::Fcomp_st0_sti_DCD8 | Code::Fcomp_st0_sti_DED0 => compare_register::<false, 1>,
        Code::Fcompp => compare_register::<false, 2>,
        Code::Fucom_st0_sti => compare_register::<true, 0>,
        Code::Fucomp_st0_sti => compare_register::<true, 1>,
        Code::Fucompp => compare_register::<true, 2>,
        Code::Fcomi_st0_sti => compare_to_eflags::<false, false>,
        Code::Fcomip_st0_sti => compare_to_eflags::<false, true>,
        Code::Fucomi_st0_sti => compare_to_eflags::<true, false>,
        Code::Fucomip_st0_sti => compare_to_eflags::<true, true>,
        Code::Ftst => test,
        Code::Ftstp => test_pop,
        Code::Fxam => examine,
        Code::Fchs => sign::<true>,
        Code::Fabs => sign::<false>,
        Code::Fsqrt => unary::<SQRT>,
        Code::Frndint => unary::<ROUND>,
        Code::F2xm1 => unary::<EXP2>,
        Code::Fscale => scale,
        Code::Fxtract => extract,
        Code::Fprem => remainder::<false>,
        Code::Fprem1 => remainder::<true>,
        Code::Fyl2x => two_to_one::<LOG>,
        Code::Fyl2xp1 => two_to_one::<LOG_PLUS_1>,
        Code::Fpatan => two_to_one::<ARCTANGENT>,
        Code::Fptan => tangent,
        Code::Fsin => trigonometric::<false>,
        Code::Fcos => trigonometric::<true>,
        Code::Fsincos => sine_cosine,
        _ => return None,
    })
}

#[inline(always)]
fn compute<const OP: u8>(a: F80, b: F80, env: Env, flags: &mut Flags) -> F80 {
    match OP {
        ADD => sf::add(a, b, env, flags),
        MUL => sf::mul(a, b, env, flags),
        SUB => sf::sub(a, b, env, flags),
        SUBR => sf::sub(b, a, env, flags),
        DIV => sf::div(a, b, env, flags),
        _ => sf::div(b, a, env, flags),
    }
}

/// FADD ST(0), ST(i); FADD ST(i), ST(0); FADDP and the others like them.
fn register<const OP: u8, const TO_I: bool, const POP: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let n = index(i);
    let (destination, source) = if TO_I { (n, 0) } else { (0, n) };
    let mut flags = Flags::new();
    let result = if is_empty(core, 0) || is_empty(core, n) {
        flags.raise(UNDERFLOW);
        F80::INDEFINITE
    } else {
        compute::<OP>(st(core, destination), st(core, source), env, &mut flags)
    };
    if !flags.suppresses(env) {
        set(core, destination, result);
        if POP {
            pop(core);
        }
    }
    finish(core, i, 0, flags.bits());
    Ok(())
}

/// A memory operand as it enters arithmetic: a signalling NaN stays one, so that the operation sees it.
#[inline(always)]
fn operand<const FORMAT: u8>(core: &mut Core<'_, '_>, i: &Insn, flags: &mut Flags) -> Result<F80, Fault> {
    Ok(match FORMAT {
        F32 => {
            let bits = load(core, i, Width::Dword)? as u32;
            let mut value = sf::from_f32(bits, flags);
            if value.is_nan() && bits & 1 << 22 == 0 {
                value.mantissa &= !(1 << 62);
            }
            value
        }
        F64 => {
            let bits = load(core, i, Width::Qword)?;
            let mut value = sf::from_f64(bits, flags);
            if value.is_nan() && bits & 1 << 51 == 0 {
                value.mantissa &= !(1 << 62);
            }
            value
        }
        I16 => sf::from_i16(load(core, i, Width::Word)? as i16),
        _ => sf::from_i32(load(core, i, Width::Dword)? as i32),
    })
}

/// FADD m32 and the others like it.
fn memory<const OP: u8, const FORMAT: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let b = operand::<FORMAT>(core, i, &mut flags)?;
    let result = if is_empty(core, 0) {
        flags = Flags::new();
        flags.raise(UNDERFLOW);
        F80::INDEFINITE
    } else {
        let a = st(core, 0);
        let converting = std::mem::take(&mut flags);
        let result = compute::<OP>(a, b, env, &mut flags);
        // A NaN and a division by zero go before a denormal operand, which goes before all else.
        let first = a.is_nan() || a.is_unsupported() || flags.has(Flags::ZE);
        if converting.has(Flags::DE) && !first {
            if converting.suppresses(env) {
                flags = Flags::new();
            }
            flags.raise(Flags::DE);
        }
        result
    };
    if !flags.suppresses(env) {
        set(core, 0, result);
    }
    finish_memory(core, i, 0, flags.bits());
    Ok(())
}

#[inline(always)]
fn compare<const UNORDERED: bool>(a: F80, b: F80, env: Env, flags: &mut Flags) -> Ordering {
    if UNORDERED { sf::compare_unordered(a, b, env, flags) } else { sf::compare(a, b, env, flags) }
}

fn compare_memory<const FORMAT: u8, const POPS: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let b = operand::<FORMAT>(core, i, &mut flags)?;
    let order = if is_empty(core, 0) {
        flags = Flags::new();
        flags.raise(UNDERFLOW);
        Ordering::Unordered
    } else {
        let a = st(core, 0);
        if a.is_nan() || a.is_unsupported() {
            flags = Flags::new();
        }
        compare::<false>(a, b, env, &mut flags)
    };
    if POPS > 0 && !flags.suppresses(env) {
        pop(core);
    }
    finish_memory(core, i, CONDITIONS, flags.bits() | order.condition_bits());
    Ok(())
}

fn compare_register<const UNORDERED: bool, const POPS: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    // FCOMPP and FUCOMPP name no register: ST(1).
    let n = if POPS == 2 { 1 } else { index(i) };
    let mut flags = Flags::new();
    let order = if is_empty(core, 0) || is_empty(core, n) {
        flags.raise(UNDERFLOW);
        Ordering::Unordered
    } else {
        compare::<UNORDERED>(st(core, 0), st(core, n), env, &mut flags)
    };
    if !flags.suppresses(env) {
        for _ in 0..POPS {
            pop(core);
        }
    }
    finish(core, i, CONDITIONS, flags.bits() | order.condition_bits());
    Ok(())
}

/// FCOMI, FUCOMI and their popping forms. OF, SF and AF are cleared.
fn compare_to_eflags<const UNORDERED: bool, const POP: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let n = index(i);
    let mut flags = Flags::new();
    let order = if is_empty(core, 0) || is_empty(core, n) {
        flags.raise(UNDERFLOW);
        Ordering::Unordered
    } else {
        compare::<UNORDERED>(st(core, 0), st(core, n), env, &mut flags)
    };
    core.cpu.lazy.set_all(u64::from(order.eflags()) & bits::STATUS);
    if POP && !flags.suppresses(env) {
        pop(core);
    }
    let c1 = if flags.has(STACK_FAULT) { 0 } else { core.cpu.fpu.status & Flags::C1 };
    finish(core, i, 0, flags.bits() | c1);
    Ok(())
}

fn test_and_pop(core: &mut Core<'_, '_>, i: &Insn, pops: bool) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let order = if is_empty(core, 0) {
        flags.raise(UNDERFLOW);
        Ordering::Unordered
    } else {
        sf::compare(st(core, 0), F80::ZERO, env, &mut flags)
    };
    if pops && !flags.suppresses(env) {
        pop(core);
    }
    finish(core, i, CONDITIONS, flags.bits() | order.condition_bits());
    Ok(())
}
/// FTST.
fn test(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    test_and_pop(core, i, false)
}
/// FTSTP, an undocumented form.
fn test_pop(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    test_and_pop(core, i, true)
}

/// FXAM.
fn examine(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    let value = st(core, 0);
    let conditions = if is_empty(core, 0) {
        Flags::C3 | Flags::C0 | if value.is_negative() { Flags::C1 } else { 0 }
    } else {
        value.examine()
    };
    finish(core, i, CONDITIONS, conditions);
    Ok(())
}

/// FCHS and FABS.
fn sign<const CHANGE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    ready(core)?;
    if is_empty(core, 0) {
        if invalid_masked(core) {
            set(core, 0, F80::INDEFINITE);
        }
        finish(core, i, 0, UNDERFLOW);
        return Ok(());
    }
    let value = st(core, 0);
    set(core, 0, if CHANGE { value.negate() } else { value.abs() });
    finish(core, i, 0, 0);
    Ok(())
}

const SQRT: u8 = 0;
const ROUND: u8 = 1;
const EXP2: u8 = 2;

/// FSQRT, FRNDINT, F2XM1.
fn unary<const OP: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let result = if is_empty(core, 0) {
        flags.raise(UNDERFLOW);
        F80::INDEFINITE
    } else {
        let a = st(core, 0);
        match OP {
            SQRT => sf::sqrt(a, env, &mut flags),
            ROUND => sf::round_to_integer(a, env, &mut flags),
            _ => sf::exp2_minus_1(a, env, &mut flags),
        }
    };
    if !flags.suppresses(env) {
        set(core, 0, result);
    }
    finish(core, i, 0, flags.bits());
    Ok(())
}

/// FSCALE.
fn scale(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let result = if is_empty(core, 0) || is_empty(core, 1) {
        flags.raise(UNDERFLOW);
        F80::INDEFINITE
    } else {
        sf::scale(st(core, 0), st(core, 1), env, &mut flags)
    };
    if !flags.suppresses(env) {
        set(core, 0, result);
    }
    finish(core, i, 0, flags.bits());
    Ok(())
}

/// The stack faults of an instruction that reads ST(0) and pushes.
fn push_fault(core: &Core<'_, '_>) -> Option<u16> {
    if is_empty(core, 0) {
        Some(UNDERFLOW)
    } else if !is_empty(core, 7) {
        Some(OVERFLOW)
    } else {
        None
    }
}

/// FXTRACT.
fn extract(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let (exponent, significand) = match push_fault(core) {
        Some(fault) => {
            flags.raise(fault);
            (F80::INDEFINITE, F80::INDEFINITE)
        }
        None => sf::extract(st(core, 0), env, &mut flags),
    };
    if !flags.suppresses(env) {
        set(core, 0, exponent);
        push(core, significand);
    }
    finish(core, i, 0, flags.bits());
    Ok(())
}

/// FPREM and FPREM1.
fn remainder<const NEAREST: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let mut conditions = 0;
    let mut clear = Flags::C2;
    let value = if is_empty(core, 0) || is_empty(core, 1) {
        flags.raise(UNDERFLOW);
        F80::INDEFINITE
    } else {
        let (a, b) = (st(core, 0), st(core, 1));
        let r =
            if NEAREST { sf::remainder_nearest(a, b, env, &mut flags) } else { sf::remainder(a, b, env, &mut flags) };
        if !r.value.is_nan() && !flags.suppresses(env) {
            conditions = r.conditions;
            clear = CONDITIONS;
        }
        r.value
    };
    if !flags.suppresses(env) {
        set(core, 0, value);
    }
    finish(core, i, clear, flags.bits() | conditions);
    Ok(())
}

const LOG: u8 = 0;
const LOG_PLUS_1: u8 = 1;
const ARCTANGENT: u8 = 2;

/// FYL2X, FYL2XP1, FPATAN: the result replaces ST(1), then ST(0) is popped.
fn two_to_one<const OP: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    let result = if is_empty(core, 0) || is_empty(core, 1) {
        flags.raise(UNDERFLOW);
        F80::INDEFINITE
    } else {
        let (x, y) = (st(core, 0), st(core, 1));
        match OP {
            LOG => sf::log2_times(x, y, env, &mut flags),
            LOG_PLUS_1 => sf::log2_plus_1_times(x, y, env, &mut flags),
            _ => sf::arctangent(x, y, env, &mut flags),
        }
    };
    if !flags.suppresses(env) {
        set(core, 1, result);
        pop(core);
    }
    finish(core, i, 0, flags.bits());
    Ok(())
}

/// FPTAN: the tangent replaces ST(0), then 1.0 is pushed; C2 when the operand is out of range.
fn tangent(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    if let Some(fault) = push_fault(core) {
        if invalid_masked(core) {
            set(core, 0, F80::INDEFINITE);
            push(core, F80::INDEFINITE);
        }
        finish(core, i, Flags::C2, fault);
        return Ok(());
    }
    let result = sf::tangent(st(core, 0), env, &mut flags);
    let mut conditions = 0;
    match result {
        None => conditions = Flags::C2,
        Some((value, pushed)) => {
            if !flags.suppresses(env) {
                set(core, 0, value);
                push(core, pushed);
            }
        }
    }
    finish(core, i, Flags::C2, flags.bits() | conditions);
    Ok(())
}

/// FSIN and FCOS.
fn trigonometric<const COSINE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    if is_empty(core, 0) {
        if invalid_masked(core) {
            set(core, 0, F80::INDEFINITE);
        }
        finish(core, i, Flags::C2, UNDERFLOW);
        return Ok(());
    }
    let a = st(core, 0);
    let result = if COSINE { sf::cosine(a, env, &mut flags) } else { sf::sine(a, env, &mut flags) };
    let mut conditions = 0;
    match result {
        None => conditions = Flags::C2,
        Some(value) => {
            if !flags.suppresses(env) {
                set(core, 0, value);
            }
        }
    }
    finish(core, i, Flags::C2, flags.bits() | conditions);
    Ok(())
}

/// FSINCOS: the sine replaces ST(0), then the cosine is pushed.
fn sine_cosine(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let env = ready(core)?;
    let mut flags = Flags::new();
    if let Some(fault) = push_fault(core) {
        if invalid_masked(core) {
            set(core, 0, F80::INDEFINITE);
            push(core, F80::INDEFINITE);
        }
        finish(core, i, Flags::C2, fault);
        return Ok(());
    }
    let result = sf::sine_cosine(st(core, 0), env, &mut flags);
    let mut conditions = 0;
    match result {
        None => conditions = Flags::C2,
        Some((sine, cosine)) => {
            if !flags.suppresses(env) {
                set(core, 0, sine);
                push(core, cosine);
            }
        }
    }
    finish(core, i, Flags::C2, flags.bits() | conditions);
    Ok(())
}
