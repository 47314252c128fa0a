//! SSE, SSE2 and SSE3.
//!
//! Floating-point instructions use host operations where the result is certainly the same and no flag of MXCSR can
//! change (see `float.rs`); all else goes through [`crate::softfloat::sse`]. Nothing depends on the host.

mod convert;
mod float;
mod integer;
mod moves;

use super::coprocessor::sse_ready;
use crate::core::{Access, Core, Fault};
use crate::insn::{Code, Helper, Insn, Mnemonic, Operand, OperandKind};
use crate::softfloat::Flags;
use crate::softfloat::sse::SseEnv;
use crate::state::{Seg, Width, cr4};

/// The function for an SSE, SSE2 or SSE3 instruction (FISTTP is an x87 instruction, FXSAVE has its own file).
#[must_use]
pub fn lookup(mnemonic: Mnemonic, code: Code) -> Option<Helper> {
    moves::lookup(mnemonic, code)
        .or_else(|| float::lookup(code))
        .or_else(|| convert::lookup(code))
        .or_else(|| integer::lookup(code))
}

/// Loads 16 bytes from `seg:offset`; #GP(0) when they must be aligned and are not.
#[inline(always)]
pub fn load_vector<const ALIGNED: bool>(core: &mut Core<'_, '_>, seg: Seg, offset: u64) -> Result<u128, Fault> {
    let linear = core.linear(seg, offset, 16, Access::Read)?;
    if ALIGNED && linear & 15 != 0 {
        return Err(core.protection(0));
    }
    if let Some(page) = core.env.tlb.read(linear, 16, core.cpu.cpl == 3) {
        return Ok(u128::from_le_bytes(core.env.memory.load(page, linear)));
    }
    let mut bytes = [0; 16];
    core.load_bytes(seg, offset, &mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}
/// Stores 16 bytes at `seg:offset`; #GP(0) when they must be aligned and are not.
#[inline(always)]
pub fn store_vector<const ALIGNED: bool>(
    core: &mut Core<'_, '_>,
    seg: Seg,
    offset: u64,
    value: u128,
) -> Result<(), Fault> {
    let linear = core.linear(seg, offset, 16, Access::Write)?;
    if ALIGNED && linear & 15 != 0 {
        return Err(core.protection(0));
    }
    if let Some(page) = core.env.tlb.write(linear, 16, core.cpu.cpl == 3) {
        core.env.memory.store(page, linear, value.to_le_bytes());
        return Ok(());
    }
    core.store_bytes(seg, offset, &value.to_le_bytes())
}

#[inline(always)]
fn xmm(core: &Core<'_, '_>, operand: Operand) -> u128 {
    core.cpu.xmm[usize::from(operand.index & 15)]
}
#[inline(always)]
fn set_xmm(core: &mut Core<'_, '_>, operand: Operand, value: u128) {
    core.cpu.xmm[usize::from(operand.index & 15)] = value;
}
/// Replaces the low 32 or 64 bits.
#[inline(always)]
fn set_low(core: &mut Core<'_, '_>, operand: Operand, width: Width, value: u64) {
    let old = xmm(core, operand);
    set_xmm(core, operand, old & !u128::from(width.mask()) | u128::from(value));
}
/// An XMM register, or an aligned memory operand.
#[inline(always)]
fn source(core: &mut Core<'_, '_>, i: &Insn) -> Result<u128, Fault> {
    if i.ops[1].kind == OperandKind::Xmm {
        return Ok(xmm(core, i.ops[1]));
    }
    let offset = core.offset(&i.mem);
    load_vector::<true>(core, i.mem.seg, offset)
}
/// The low part of an XMM register, or a memory operand of that width.
#[inline(always)]
fn source_low(core: &mut Core<'_, '_>, i: &Insn, width: Width) -> Result<u64, Fault> {
    if i.ops[1].kind == OperandKind::Xmm {
        return Ok(xmm(core, i.ops[1]) as u64 & width.mask());
    }
    let offset = core.offset(&i.mem);
    core.load(i.mem.seg, offset, width)
}

/// The end of a computation: flags go into MXCSR; an unmasked one is #XM, or #UD where the system does not know #XM.
fn conclude(core: &mut Core<'_, '_>, env: SseEnv, flags: Flags) -> Result<(), Fault> {
    let mut raised = flags.exceptions();
    if env.traps_before_computation(flags) {
        raised &= Flags::IE | Flags::DE | Flags::ZE;
    }
    core.cpu.mxcsr |= u32::from(raised);
    if !env.traps(flags) {
        return Ok(());
    }
    Err(if core.cpu.cr4 & cr4::OSXMMEXCPT != 0 { core.simd_fault() } else { core.undefined() })
}

/// MXCSR: rounding control.
const ROUNDING: u32 = 3 << 13;
/// MXCSR: the precision exception, its flag and its mask.
const PRECISION: u32 = 1 << 5 | 1 << 12;

/// Whether MXCSR rounds to nearest.
#[inline(always)]
fn is_nearest(mxcsr: u32) -> bool {
    mxcsr & ROUNDING == 0
}
/// Whether an inexact result changes nothing: its flag is set already and it is masked.
#[inline(always)]
fn may_be_inexact(mxcsr: u32) -> bool {
    mxcsr & PRECISION == PRECISION
}
