//! Debug registers, breakpoints and single-stepping. Intel SDM vol. 3, chapter 18.

use crate::core::{Core, DEBUG_ENABLED, Fault};
use crate::flags::bits;
use crate::insn::{Code, Insn, Mnemonic};
use crate::model::Model;
use crate::state::{CpuState, Exception, Seg, Shadow, Width, cr4};

use super::system::{PrivilegeCheck as _, target_register};
use crate::insn::Helper;

/// DR6: a debug register was touched with general detection on.
pub const DR6_BD: u64 = 1 << 13;
/// DR6: single step.
pub const DR6_BS: u64 = 1 << 14;
/// DR6: task switch to a TSS with the T bit.
pub const DR6_BT: u64 = 1 << 15;
/// DR7: general detection.
const DR7_GD: u64 = 1 << 13;

/// Whether the next instruction must be run alone, between [`code_breakpoint`] and
/// [`after_instruction`].
#[inline]
#[must_use]
pub fn needs_stepping(cpu: &CpuState) -> bool {
    cpu.system_flags & (bits::TF | bits::RF) != 0 || cpu.dr[7] & 0xff != 0 || cpu.pending_debug & DEBUG_ENABLED != 0
}

fn debug_exception(core: &mut Core<'_, '_>, dr6: u64, is_trap: bool) -> Exception {
    core.cpu.dr[6] |= dr6;
    // The handler may use the debug registers.
    core.cpu.dr[7] &= !DR7_GD;
    Exception { vector: 1, error: None, cr2: None, is_trap }
}

/// To be called before an instruction that is run alone: a trap left over from a task switch, or
/// an execution breakpoint at `cs:rip`. Uses up EFLAGS.RF. Conditions are recorded in DR6.
pub fn code_breakpoint(core: &mut Core<'_, '_>) -> Option<Exception> {
    if core.cpu.pending_debug & DR6_BT != 0 {
        let dr6 = std::mem::take(&mut core.cpu.pending_debug) & (DR6_BT | 15);
        return Some(debug_exception(core, dr6, true));
    }
    if core.cpu.flag(bits::RF) {
        // An instruction that faults again sets RF in the saved flags again.
        core.cpu.system_flags &= !bits::RF;
        return None;
    }
    let dr7 = core.cpu.dr[7];
    if dr7 & 0xff == 0 || core.cpu.shadow == Shadow::MovSs {
        return None;
    }
    let at = core.wrap_linear(core.cpu.segment(Seg::Cs).base.wrapping_add(core.cpu.rip));
    let (mut hit, mut enabled) = (0, false);
    for n in 0..4 {
        if dr7 >> (16 + 4 * n) & 3 == 0 && core.cpu.dr[n] == at {
            hit |= 1 << n;
            enabled |= dr7 >> (2 * n) & 3 != 0;
        }
    }
    enabled.then(|| debug_exception(core, hit, false))
}

/// To be called after an instruction that was run alone and did not fault: the debug trap that
/// follows it, if any. `tf_before` is EFLAGS.TF before the instruction.
pub fn after_instruction(core: &mut Core<'_, '_>, tf_before: bool) -> Option<Exception> {
    if core.cpu.shadow == Shadow::MovSs {
        // Debug traps wait for the instruction after a load of SS; its single-step trap is lost.
        return None;
    }
    if core.cpu.pending_debug & DR6_BT != 0 {
        // This trap comes before the first instruction of the new task; see `code_breakpoint`.
        return None;
    }
    let pending = std::mem::take(&mut core.cpu.pending_debug);
    let mut dr6 = if pending & DEBUG_ENABLED != 0 { pending & 15 } else { 0 };
    if tf_before {
        dr6 |= DR6_BS;
    }
    (dr6 != 0).then(|| debug_exception(core, dr6, true))
}

/// Collects I/O breakpoints (CR4.DE) on an access to `port`.
pub fn note_io(core: &mut Core<'_, '_>, port: u16, width: Width) {
    let dr7 = core.cpu.dr[7];
    if dr7 & 0xff == 0 || core.cpu.cr4 & cr4::DE == 0 {
        return;
    }
    let (port, size) = (u64::from(port), width.bytes());
    for n in 0..4 {
        if dr7 >> (16 + 4 * n) & 3 == 2 {
            let length = [1u64, 2, 8, 4][(dr7 >> (18 + 4 * n) & 3) as usize];
            let first = core.cpu.dr[n] & !(length - 1);
            if port < first.saturating_add(length) && first < port + size {
                core.cpu.pending_debug |= 1 << n;
                if dr7 >> (2 * n) & 3 != 0 {
                    core.cpu.pending_debug |= DEBUG_ENABLED;
                }
            }
        }
    }
}

/// The debug register that an instruction means, after the checks for all of them.
fn select(core: &mut Core<'_, '_>, index: u8) -> Result<usize, Fault> {
    let index = match index {
        4 | 5 if core.cpu.cr4 & cr4::DE == 0 => index + 2,
        0..=3 | 6 | 7 => index,
        _ => return Err(core.undefined()),
    };
    core.require_ring_0()?;
    if core.cpu.dr[7] & DR7_GD != 0 {
        core.cpu.dr[6] |= DR6_BD;
        core.cpu.dr[7] &= !DR7_GD;
        return Err(core.raise(1, None));
    }
    Ok(usize::from(index))
}

fn mov_from(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let index = select(core, i.src().index)?;
    let value = core.cpu.dr[index];
    core.cpu.gpr.write(i.dst().index, Width::Dword, value);
    Ok(())
}

fn mov_to(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let index = select(core, i.dst().index)?;
    let value = core.cpu.gpr.read(i.src().index, Width::Dword);
    core.cpu.dr[index] = match index {
        6 => value & 0xe00f | 0xffff_0ff0,
        7 => value & 0xffff_23ff | 0x400,
        _ => value,
    };
    // Watched pages must leave the TLB.
    core.env.tlb.flush();
    Ok(())
}

/// MOV to and from the test registers of the 386 (TR6, TR7) and 486 (TR3–TR7). The registers test
/// the TLB and the cache, which have no counterpart here: reads give zero.
fn test_registers(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let reads = i.code == Code::Mov_r32_tr;
    let index = if reads { i.src().index } else { i.dst().index };
    let exists = match core.cpu.model {
        Model::I386 => matches!(index, 6 | 7),
        Model::I486 => matches!(index, 3..=7),
        _ => false,
    };
    if !exists {
        return Err(core.undefined());
    }
    core.require_ring_0()?;
    if reads {
        core.cpu.gpr.write(target_register(i), Width::Dword, 0);
    }
    Ok(())
}

pub(super) fn lookup(_: Mnemonic, code: Code) -> Option<Helper> {
    Some(match code {
        Code::Mov_r32_dr => mov_from,
        Code::Mov_dr_r32 => mov_to,
        Code::Mov_r32_tr | Code::Mov_tr_r32 => test_registers,
        _ => return None,
    })
}
