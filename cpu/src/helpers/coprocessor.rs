//! Whether x87, MMX and SSE instructions may run now: #UD, #NM and the x87 exception that waits, in one place.
//!
//! Facts: Intel SDM vol. 3, tables 2-2, 12-1 and 13-1 to 13-4. Every check comes before the instruction does anything.

use crate::core::{Core, Fault};
use crate::softfloat::Flags;
use crate::state::{CpuState, cr0, cr4};

/// Status word: stack fault.
pub const STACK_FAULT: u16 = 0x40;
/// Status word: an unmasked exception waits (error summary).
pub const ERROR_SUMMARY: u16 = 0x80;
/// Status word: busy; since the 387 a copy of [`ERROR_SUMMARY`].
pub const BUSY: u16 = 0x8000;

/// x87 instructions that do not wait for exceptions.
#[inline(always)]
pub fn x87_available(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    if core.cpu.cr0 & (cr0::EM | cr0::TS) != 0 {
        return Err(core.no_math());
    }
    Ok(())
}
/// x87 instructions that wait.
#[inline(always)]
pub fn x87_ready(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    x87_available(core)?;
    no_pending_exception(core)
}
/// WAIT.
pub fn wait_ready(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    if !core.cpu.cr0 & (cr0::MP | cr0::TS) == 0 {
        return Err(core.no_math());
    }
    no_pending_exception(core)
}
/// MMX instructions.
#[inline(always)]
pub fn mmx_ready(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    if core.cpu.cr0 & (cr0::EM | cr0::TS) != 0 {
        return Err(if core.cpu.cr0 & cr0::EM != 0 { core.undefined() } else { core.no_math() });
    }
    no_pending_exception(core)
}
/// SSE instructions.
#[inline(always)]
pub fn sse_ready(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    if core.cpu.cr0 & (cr0::EM | cr0::TS) != 0 || core.cpu.cr4 & cr4::OSFXSR == 0 {
        return Err(sse_refused(core));
    }
    Ok(())
}
#[cold]
fn sse_refused(core: &mut Core<'_, '_>) -> Fault {
    let undefined = core.cpu.cr0 & cr0::EM != 0 || core.cpu.cr4 & cr4::OSFXSR == 0;
    if undefined { core.undefined() } else { core.no_math() }
}
/// SSE instructions that also touch MMX registers.
#[inline(always)]
pub fn sse_mmx_ready(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    sse_ready(core)?;
    no_pending_exception(core)
}
/// Delivers the x87 exception that waits, if one does.
#[inline(always)]
pub fn no_pending_exception(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    if core.cpu.fpu.status & ERROR_SUMMARY != 0 { pending_exception(core) } else { Ok(()) }
}
/// With CR0.NE #MF; without it FERR# goes on, which the board turns into IRQ 13. As on a 486, it goes on before the
/// next instruction that waits, and that instruction waits a tick for the interrupt. If none comes (it is masked, or
/// its handler has left the exception waiting) the instruction runs as if IGNNE# were on; hardware would freeze.
#[cold]
#[inline(never)]
fn pending_exception(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    if core.cpu.cr0 & cr0::NE != 0 {
        return Err(core.math_fault());
    }
    if core.cpu.ferr {
        return Ok(());
    }
    if !core.env.stepping {
        return Err(core.step());
    }
    core.cpu.ferr = true;
    let (bus, cycle) = core.cycle();
    bus.numeric_error(cycle);
    if core.env.bus.attention() { Err(core.again()) } else { Ok(()) }
}
/// Recomputes the error summary and the busy bit, and takes FERR# back if nothing waits, after a change of the status or control word.
pub fn summarize(cpu: &mut CpuState) {
    let fpu = &mut cpu.fpu;
    let pending = fpu.status & !fpu.control & 0x3f != 0;
    fpu.status &= !(ERROR_SUMMARY | BUSY);
    if pending {
        fpu.status |= ERROR_SUMMARY | BUSY;
    }
    cpu.ferr &= pending;
}
/// What every MMX instruction but EMMS does to the x87 state: TOP is 0 and no register is empty.
#[inline(always)]
pub fn enter_mmx(cpu: &mut CpuState) {
    cpu.fpu.top = 0;
    cpu.fpu.empty = 0;
}

/// Condition bits C0–C3 of the status word.
pub const CONDITIONS: u16 = Flags::C0 | Flags::C1 | Flags::C2 | Flags::C3;
