//! Moves, MXCSR, and the instructions that only hint or order.

use super::*;
use crate::helpers::coprocessor::{enter_mmx, sse_mmx_ready};
use crate::helpers::fxsave::mxcsr_mask;
use crate::helpers::{mmx, packed};

pub(super) fn lookup(mnemonic: Mnemonic, code: Code) -> Option<Helper> {
    match mnemonic {
        Mnemonic::Pause
        | Mnemonic::Lfence
        | Mnemonic::Mfence
        | Mnemonic::Sfence
        | Mnemonic::Prefetch
        | Mnemonic::Prefetchw
        | Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2 => return Some(nothing),
        _ => {}
    }
    Some(match code {
        Code::Movaps_xmm_xmmm128 | Code::Movapd_xmm_xmmm128 | Code::Movdqa_xmm_xmmm128 => load::<true>,
        Code::Movups_xmm_xmmm128 | Code::Movupd_xmm_xmmm128 | Code::Movdqu_xmm_xmmm128 | Code::Lddqu_xmm_m128 => {
            load::<false>
        }
        Code::Movaps_xmmm128_xmm
        | Code::Movapd_xmmm128_xmm
        | Code::Movdqa_xmmm128_xmm
        | Code::Movntps_m128_xmm
        | Code::Movntpd_m128_xmm
        | Code::Movntdq_m128_xmm => store::<true>,
        Code::Movups_xmmm128_xmm | Code::Movupd_xmmm128_xmm | Code::Movdqu_xmmm128_xmm => store::<false>,
        Code::Movss_xmm_xmmm32 => load_scalar::<4>,
        Code::Movsd_xmm_xmmm64 => load_scalar::<8>,
        Code::Movss_xmmm32_xmm => store_scalar::<4>,
        Code::Movsd_xmmm64_xmm => store_scalar::<8>,
        Code::Movlps_xmm_m64 | Code::Movlpd_xmm_m64 => load_half::<0>,
        Code::Movhps_xmm_m64 | Code::Movhpd_xmm_m64 => load_half::<64>,
        Code::Movlps_m64_xmm | Code::Movlpd_m64_xmm => store_half::<0>,
        Code::Movhps_m64_xmm | Code::Movhpd_m64_xmm => store_half::<64>,
        Code::Movhlps_xmm_xmm => high_to_low,
        Code::Movlhps_xmm_xmm => low_to_high,
        Code::Movsldup_xmm_xmmm128 => duplicate_even,
        Code::Movshdup_xmm_xmmm128 => duplicate_odd,
        Code::Movddup_xmm_xmmm64 => duplicate_double,
        Code::Movq_xmm_xmmm64 => load_quadword,
        Code::Movq_xmmm64_xmm => store_quadword,
        Code::Movd_xmm_rm32 => from_general::<4>,
        Code::Movq_xmm_rm64 => from_general::<8>,
        Code::Movd_rm32_xmm => to_general::<4>,
        Code::Movq_rm64_xmm => to_general::<8>,
        Code::Movnti_m32_r32 => store_general::<4>,
        Code::Movnti_m64_r64 => store_general::<8>,
        Code::Movdq2q_mm_xmm => to_mmx,
        Code::Movq2dq_xmm_mm => from_mmx,
        Code::Maskmovdqu_rDI_xmm_xmm => masked_store,
        Code::Movmskps_r32_xmm | Code::Movmskps_r64_xmm => signs::<32>,
        Code::Movmskpd_r32_xmm | Code::Movmskpd_r64_xmm => signs::<64>,
        Code::Ldmxcsr_m32 => load_mxcsr,
        Code::Stmxcsr_m32 => store_mxcsr,
        Code::Clflush_m8 => flush_line,
        _ => return None,
    })
}

const fn width(bytes: u8) -> Width {
    if bytes == 4 { Width::Dword } else { Width::Qword }
}

/// PAUSE, the fences and the prefetches: there is nothing to wait for and no cache to fill.
fn nothing(_: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    Ok(())
}
/// CLFLUSH: checked like a load of one byte.
fn flush_line(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let offset = core.offset(&i.mem);
    let linear = core.linear(i.mem.seg, offset, 1, Access::Read)?;
    core.probe_linear(linear, 1, Access::Read, core.cpu.cpl == 3)
}
fn load<const ALIGNED: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = if i.ops[1].kind == OperandKind::Xmm {
        xmm(core, i.ops[1])
    } else {
        let offset = core.offset(&i.mem);
        load_vector::<ALIGNED>(core, i.mem.seg, offset)?
    };
    set_xmm(core, i.ops[0], value);
    Ok(())
}
fn store<const ALIGNED: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = xmm(core, i.ops[1]);
    if i.ops[0].kind == OperandKind::Xmm {
        set_xmm(core, i.ops[0], value);
        return Ok(());
    }
    let offset = core.offset(&i.mem);
    store_vector::<ALIGNED>(core, i.mem.seg, offset, value)
}
/// MOVSS and MOVSD: from memory the rest becomes zero, from a register it stays.
fn load_scalar<const BYTES: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = source_low(core, i, width(BYTES))?;
    if i.ops[1].kind == OperandKind::Xmm {
        set_low(core, i.ops[0], width(BYTES), value);
    } else {
        set_xmm(core, i.ops[0], u128::from(value));
    }
    Ok(())
}
fn store_scalar<const BYTES: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = xmm(core, i.ops[1]) as u64 & width(BYTES).mask();
    if i.ops[0].kind == OperandKind::Xmm {
        set_low(core, i.ops[0], width(BYTES), value);
        return Ok(());
    }
    let offset = core.offset(&i.mem);
    core.store(i.mem.seg, offset, width(BYTES), value)
}
/// MOVLPS, MOVHPS and the PD forms from memory.
fn load_half<const SHIFT: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let offset = core.offset(&i.mem);
    let value = core.load(i.mem.seg, offset, Width::Qword)?;
    let old = xmm(core, i.ops[0]);
    set_xmm(core, i.ops[0], old & !(u128::from(u64::MAX) << SHIFT) | u128::from(value) << SHIFT);
    Ok(())
}
fn store_half<const SHIFT: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = (xmm(core, i.ops[1]) >> SHIFT) as u64;
    let offset = core.offset(&i.mem);
    core.store(i.mem.seg, offset, Width::Qword, value)
}
/// MOVHLPS.
fn high_to_low(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = (xmm(core, i.ops[1]) >> 64) as u64;
    set_low(core, i.ops[0], Width::Qword, value);
    Ok(())
}
/// MOVLHPS.
fn low_to_high(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = xmm(core, i.ops[0]) & u128::from(u64::MAX) | xmm(core, i.ops[1]) << 64;
    set_xmm(core, i.ops[0], value);
    Ok(())
}
/// MOVSLDUP.
fn duplicate_even(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = source(core, i)?;
    set_xmm(core, i.ops[0], packed::shuffle_doublewords(value, 0b10_10_00_00));
    Ok(())
}
/// MOVSHDUP.
fn duplicate_odd(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = source(core, i)?;
    set_xmm(core, i.ops[0], packed::shuffle_doublewords(value, 0b11_11_01_01));
    Ok(())
}
/// MOVDDUP.
fn duplicate_double(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = u128::from(source_low(core, i, Width::Qword)?);
    set_xmm(core, i.ops[0], value | value << 64);
    Ok(())
}
/// MOVQ xmm, xmm/m64.
fn load_quadword(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = source_low(core, i, Width::Qword)?;
    set_xmm(core, i.ops[0], u128::from(value));
    Ok(())
}
/// MOVQ xmm/m64, xmm.
fn store_quadword(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = xmm(core, i.ops[1]) as u64;
    if i.ops[0].kind == OperandKind::Xmm {
        set_xmm(core, i.ops[0], u128::from(value));
        return Ok(());
    }
    let offset = core.offset(&i.mem);
    core.store(i.mem.seg, offset, Width::Qword, value)
}
/// MOVD and MOVQ xmm, r/m.
fn from_general<const BYTES: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = core.read_operand(i, i.ops[1], width(BYTES))?;
    set_xmm(core, i.ops[0], u128::from(value));
    Ok(())
}
/// MOVD and MOVQ r/m, xmm.
fn to_general<const BYTES: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = xmm(core, i.ops[1]) as u64 & width(BYTES).mask();
    core.write_operand(i, i.ops[0], width(BYTES), value)
}
/// MOVNTI: no SSE state is touched, so CR0 and CR4 do not matter.
fn store_general<const BYTES: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let value = core.read_operand(i, i.ops[1], width(BYTES))?;
    core.write_operand(i, i.ops[0], width(BYTES), value)
}
/// MOVDQ2Q.
fn to_mmx(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_mmx_ready(core)?;
    let value = xmm(core, i.ops[1]) as u64;
    enter_mmx(core.cpu);
    mmx::set_register(core.cpu, i.ops[0].index, value);
    Ok(())
}
/// MOVQ2DQ.
fn from_mmx(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_mmx_ready(core)?;
    enter_mmx(core.cpu);
    let value = mmx::register(core.cpu, i.ops[1].index);
    set_xmm(core, i.ops[0], u128::from(value));
    Ok(())
}
/// MASKMOVDQU.
fn masked_store(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let (data, mask) = mmx::masked_store_operands(i);
    let (data, mask) = (core.cpu.xmm[usize::from(data & 15)], core.cpu.xmm[usize::from(mask & 15)]);
    mmx::store_masked_bytes(core, i, &data.to_le_bytes(), packed::byte_signs(mask))
}
/// MOVMSKPS and MOVMSKPD.
fn signs<const BITS: u8>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = xmm(core, i.ops[1]);
    let count = 128 / u32::from(BITS);
    let mask = (0..count).fold(0, |m, n| m | (value >> (u32::from(BITS) * (n + 1) - 1) & 1) << n);
    core.cpu.gpr.write(i.ops[0].index, Width::Dword, mask as u64);
    Ok(())
}
/// LDMXCSR.
fn load_mxcsr(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let offset = core.offset(&i.mem);
    let value = core.load(i.mem.seg, offset, Width::Dword)? as u32;
    if value & !mxcsr_mask(core.cpu.model) != 0 {
        return Err(core.protection(0));
    }
    core.cpu.mxcsr = value;
    Ok(())
}
/// STMXCSR.
fn store_mxcsr(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = u64::from(core.cpu.mxcsr);
    let offset = core.offset(&i.mem);
    core.store(i.mem.seg, offset, Width::Dword, value)
}
