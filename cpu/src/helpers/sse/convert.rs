//! Conversions between integers, singles and doubles.

use super::float::Element;
use super::*;
use crate::helpers::coprocessor::{enter_mmx, no_pending_exception, sse_mmx_ready};
use crate::helpers::mmx;
use crate::softfloat::sse as exact;
use crate::softfloat::sse::{F32, F64};

pub(super) fn lookup(code: Code) -> Option<Helper> {
    Some(match code {
        Code::Cvtsi2ss_xmm_rm32 => from_general::<F32, 4>,
        Code::Cvtsi2ss_xmm_rm64 => from_general::<F32, 8>,
        Code::Cvtsi2sd_xmm_rm32 => from_general::<F64, 4>,
        Code::Cvtsi2sd_xmm_rm64 => from_general::<F64, 8>,
        Code::Cvtss2si_r32_xmmm32 => to_general::<F32, 4, false>,
        Code::Cvtss2si_r64_xmmm32 => to_general::<F32, 8, false>,
        Code::Cvtsd2si_r32_xmmm64 => to_general::<F64, 4, false>,
        Code::Cvtsd2si_r64_xmmm64 => to_general::<F64, 8, false>,
        Code::Cvttss2si_r32_xmmm32 => to_general::<F32, 4, true>,
        Code::Cvttss2si_r64_xmmm32 => to_general::<F32, 8, true>,
        Code::Cvttsd2si_r32_xmmm64 => to_general::<F64, 4, true>,
        Code::Cvttsd2si_r64_xmmm64 => to_general::<F64, 8, true>,
        Code::Cvtss2sd_xmm_xmmm32 => single_to_double,
        Code::Cvtsd2ss_xmm_xmmm64 => double_to_single,
        Code::Cvtps2pd_xmm_xmmm64 => singles_to_doubles,
        Code::Cvtpd2ps_xmm_xmmm128 => doubles_to_singles,
        Code::Cvtdq2ps_xmm_xmmm128 => integers_to_singles,
        Code::Cvtdq2pd_xmm_xmmm64 => integers_to_doubles,
        Code::Cvtps2dq_xmm_xmmm128 => singles_to_integers::<false>,
        Code::Cvttps2dq_xmm_xmmm128 => singles_to_integers::<true>,
        Code::Cvtpd2dq_xmm_xmmm128 => doubles_to_integers::<false>,
        Code::Cvttpd2dq_xmm_xmmm128 => doubles_to_integers::<true>,
        Code::Cvtpi2ps_xmm_mmm64 => mmx_to_singles,
        Code::Cvtpi2pd_xmm_mmm64 => mmx_to_doubles,
        Code::Cvtps2pi_mm_xmmm64 => singles_to_mmx::<false>,
        Code::Cvttps2pi_mm_xmmm64 => singles_to_mmx::<true>,
        Code::Cvtpd2pi_mm_xmmm128 => doubles_to_mmx::<false>,
        Code::Cvttpd2pi_mm_xmmm128 => doubles_to_mmx::<true>,
        _ => return None,
    })
}

#[inline(always)]
fn environment(core: &Core<'_, '_>) -> SseEnv {
    SseEnv::from_mxcsr(core.cpu.mxcsr)
}
/// A rounded integer in the low half of the result.
fn to_i32<F: Element, const TRUNCATE: bool>(a: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    let value = if TRUNCATE { exact::to_i32_truncate::<F>(a, env, flags) } else { exact::to_i32::<F>(a, env, flags) };
    u64::from(value as u32)
}
fn to_i64<F: Element, const TRUNCATE: bool>(a: u64, env: SseEnv, flags: &mut Flags) -> u64 {
    (if TRUNCATE { exact::to_i64_truncate::<F>(a, env, flags) } else { exact::to_i64::<F>(a, env, flags) }) as u64
}
/// The value of a plain element as a double, which is exact.
#[inline(always)]
fn wide<F: Element>(bits: u64) -> f64 {
    if F::WIDTH == Width::Dword { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits) }
}

/// CVTSI2SS, CVTSI2SD.
fn from_general<F: Element, const BYTES: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let width = if BYTES == 4 { Width::Dword } else { Width::Qword };
    let value = core.read_operand(i, i.ops[1], width)?;
    let value = width.sign_extend(value);
    let bits = if F::WIDTH == Width::Qword && BYTES == 4 {
        (value as f64).to_bits()
    } else {
        let env = environment(core);
        let mut flags = Flags::new();
        let bits = exact::from_i64::<F>(value, env, &mut flags);
        conclude(core, env, flags)?;
        bits
    };
    set_low(core, i.ops[0], F::WIDTH, bits);
    Ok(())
}
/// CVTSS2SI, CVTSD2SI and the truncating forms.
fn to_general<F: Element, const BYTES: u8, const TRUNCATE: bool>(
    core: &mut Core<'_, '_>,
    i: &Insn,
) -> Result<(), Fault> {
    sse_ready(core)?;
    let a = source_low(core, i, F::WIDTH)?;
    let width = if BYTES == 4 { Width::Dword } else { Width::Qword };
    let mxcsr = core.cpu.mxcsr;
    if F::is_plain(a) && (TRUNCATE || is_nearest(mxcsr)) {
        let value = wide::<F>(a);
        let whole = if TRUNCATE { value.trunc() } else { value.round_ties_even() };
        if whole.abs() < f64::from(1u32 << 31) && (may_be_inexact(mxcsr) || whole == value) {
            core.cpu.gpr.write(i.ops[0].index, width, whole as i64 as u64);
            return Ok(());
        }
    }
    let env = environment(core);
    let mut flags = Flags::new();
    let value =
        if BYTES == 4 { to_i32::<F, TRUNCATE>(a, env, &mut flags) } else { to_i64::<F, TRUNCATE>(a, env, &mut flags) };
    conclude(core, env, flags)?;
    core.cpu.gpr.write(i.ops[0].index, width, value);
    Ok(())
}
/// CVTSS2SD.
fn single_to_double(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let a = source_low(core, i, Width::Dword)?;
    let bits = if F32::is_plain(a) {
        wide::<F32>(a).to_bits()
    } else {
        let env = environment(core);
        let mut flags = Flags::new();
        let bits = exact::single_to_double(a as u32, env, &mut flags);
        conclude(core, env, flags)?;
        bits
    };
    set_low(core, i.ops[0], Width::Qword, bits);
    Ok(())
}
/// CVTSD2SS.
fn double_to_single(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let a = source_low(core, i, Width::Qword)?;
    let mxcsr = core.cpu.mxcsr;
    if F64::is_plain(a) && is_nearest(mxcsr) {
        let value = f64::from_bits(a);
        let single = value as f32;
        let taken = (single.is_normal() && single.abs() > f32::MIN_POSITIVE) || value == 0.0;
        if taken && (may_be_inexact(mxcsr) || f64::from(single) == value) {
            set_low(core, i.ops[0], Width::Dword, u64::from(single.to_bits()));
            return Ok(());
        }
    }
    let env = environment(core);
    let mut flags = Flags::new();
    let bits = exact::double_to_single(a, env, &mut flags);
    conclude(core, env, flags)?;
    set_low(core, i.ops[0], Width::Dword, u64::from(bits));
    Ok(())
}

/// Converts `count` elements of `from` bits to elements of `to` bits.
#[inline(always)]
fn each(v: u128, count: u32, from: Width, to: Width, mut f: impl FnMut(u64) -> u64) -> u128 {
    (0..count).fold(0, |r, n| {
        let element = (v >> (n * from.bits())) as u64 & from.mask();
        r | u128::from(f(element)) << (n * to.bits())
    })
}
const D: Width = Width::Dword;
const Q: Width = Width::Qword;

/// CVTPS2PD.
fn singles_to_doubles(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let v = u128::from(source_low(core, i, Q)?);
    let env = environment(core);
    let mut flags = Flags::new();
    let r = each(v, 2, D, Q, |a| exact::single_to_double(a as u32, env, &mut flags));
    conclude(core, env, flags)?;
    set_xmm(core, i.ops[0], r);
    Ok(())
}
/// CVTPD2PS.
fn doubles_to_singles(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let v = source(core, i)?;
    let env = environment(core);
    let mut flags = Flags::new();
    let r = each(v, 2, Q, D, |a| u64::from(exact::double_to_single(a, env, &mut flags)));
    conclude(core, env, flags)?;
    set_xmm(core, i.ops[0], r);
    Ok(())
}
/// CVTDQ2PS.
fn integers_to_singles(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let v = source(core, i)?;
    let env = environment(core);
    let mut flags = Flags::new();
    let r = each(v, 4, D, D, |a| exact::from_i64::<F32>(D.sign_extend(a), env, &mut flags));
    conclude(core, env, flags)?;
    set_xmm(core, i.ops[0], r);
    Ok(())
}
/// CVTDQ2PD, always exact.
fn integers_to_doubles(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let v = u128::from(source_low(core, i, Q)?);
    let r = each(v, 2, D, Q, |a| (D.sign_extend(a) as f64).to_bits());
    set_xmm(core, i.ops[0], r);
    Ok(())
}
/// CVTPS2DQ, CVTTPS2DQ.
fn singles_to_integers<const TRUNCATE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let v = source(core, i)?;
    let env = environment(core);
    let mut flags = Flags::new();
    let r = each(v, 4, D, D, |a| to_i32::<F32, TRUNCATE>(a, env, &mut flags));
    conclude(core, env, flags)?;
    set_xmm(core, i.ops[0], r);
    Ok(())
}
/// CVTPD2DQ, CVTTPD2DQ.
fn doubles_to_integers<const TRUNCATE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let v = source(core, i)?;
    let env = environment(core);
    let mut flags = Flags::new();
    let r = each(v, 2, Q, D, |a| to_i32::<F64, TRUNCATE>(a, env, &mut flags));
    conclude(core, env, flags)?;
    set_xmm(core, i.ops[0], r);
    Ok(())
}
/// CVTPI2PS. From memory it leaves the x87 state alone.
fn mmx_to_singles(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let v = mmx_operand(core, i)?;
    let env = environment(core);
    let mut flags = Flags::new();
    let r = each(v, 2, D, D, |a| exact::from_i64::<F32>(D.sign_extend(a), env, &mut flags));
    conclude(core, env, flags)?;
    set_low(core, i.ops[0], Q, r as u64);
    Ok(())
}
/// The source of CVTPI2PS and CVTPI2PD; a register makes it an MMX instruction.
fn mmx_operand(core: &mut Core<'_, '_>, i: &Insn) -> Result<u128, Fault> {
    sse_ready(core)?;
    if i.ops[1].kind == OperandKind::Mm {
        no_pending_exception(core)?;
        enter_mmx(core.cpu);
    }
    Ok(u128::from(mmx::source(core, i, i.ops[1], Q)?))
}
/// CVTPI2PD, always exact. From memory it leaves the x87 state alone.
fn mmx_to_doubles(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let v = mmx_operand(core, i)?;
    let r = each(v, 2, D, Q, |a| (D.sign_extend(a) as f64).to_bits());
    set_xmm(core, i.ops[0], r);
    Ok(())
}
/// CVTPS2PI, CVTTPS2PI.
fn singles_to_mmx<const TRUNCATE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_mmx_ready(core)?;
    let v = u128::from(source_low(core, i, Q)?);
    let env = environment(core);
    let mut flags = Flags::new();
    let r = each(v, 2, D, D, |a| to_i32::<F32, TRUNCATE>(a, env, &mut flags));
    conclude(core, env, flags)?;
    enter_mmx(core.cpu);
    mmx::set_register(core.cpu, i.ops[0].index, r as u64);
    Ok(())
}
/// CVTPD2PI, CVTTPD2PI.
fn doubles_to_mmx<const TRUNCATE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_mmx_ready(core)?;
    let v = source(core, i)?;
    let env = environment(core);
    let mut flags = Flags::new();
    let r = each(v, 2, Q, D, |a| to_i32::<F64, TRUNCATE>(a, env, &mut flags));
    conclude(core, env, flags)?;
    enter_mmx(core.cpu);
    mmx::set_register(core.cpu, i.ops[0].index, r as u64);
    Ok(())
}
