//! The x87 instructions, 8087 to Pentium III.
//!
//! Arithmetic is [`crate::softfloat`]'s; here live the register stack, the exceptions and the environment. An
//! unmasked exception sets the error summary; the next waiting instruction delivers it
//! ([`super::coprocessor`]).
//!
//! The last opcode (FOP) is recorded for unmasked exceptions only, as processors since the Pentium 4 do; the
//! instruction and operand pointers always are. Differences of the 8087 and 287 in arithmetic (projective infinity,
//! unnormals) are not modelled.

mod arithmetic;
mod control;
mod data;

pub use control::{abridged_tags, load_status, load_tags, status_word, tag_word};

use super::coprocessor::{self, BUSY, ERROR_SUMMARY, STACK_FAULT};
use crate::core::{Access, Core, Fault};
use crate::insn::{Code, Helper, Insn, Mnemonic};
use crate::softfloat::{Env, F80, Flags};
use crate::state::{Seg, Width};

/// The function for an x87 instruction, FXSAVE and FXRSTOR not included.
#[must_use]
pub fn lookup(mnemonic: Mnemonic, code: Code) -> Option<Helper> {
    let _ = mnemonic;
    arithmetic::lookup(code).or_else(|| data::lookup(code)).or_else(|| control::lookup(code))
}

/// The stack register that the instruction names besides ST(0).
#[inline(always)]
fn index(i: &Insn) -> u8 {
    // The other operand, if it is there, is ST(0) or memory: index 0.
    i.ops[0].index | i.ops[1].index
}
#[inline(always)]
fn physical(core: &Core<'_, '_>, n: u8) -> usize {
    usize::from(core.cpu.fpu.top.wrapping_add(n) & 7)
}
#[inline(always)]
fn is_empty(core: &Core<'_, '_>, n: u8) -> bool {
    core.cpu.fpu.empty >> physical(core, n) & 1 != 0
}
#[inline(always)]
fn st(core: &Core<'_, '_>, n: u8) -> F80 {
    core.cpu.fpu.regs[physical(core, n)]
}
/// Writes ST(n) and marks it as not empty.
#[inline(always)]
fn set(core: &mut Core<'_, '_>, n: u8, value: F80) {
    let p = physical(core, n);
    core.cpu.fpu.regs[p] = value;
    core.cpu.fpu.empty &= !(1 << p);
}
#[inline(always)]
fn pop(core: &mut Core<'_, '_>) {
    let p = physical(core, 0);
    core.cpu.fpu.empty |= 1 << p;
    core.cpu.fpu.top = (p as u8 + 1) & 7;
}
#[inline(always)]
fn push(core: &mut Core<'_, '_>, value: F80) {
    core.cpu.fpu.top = core.cpu.fpu.top.wrapping_sub(1) & 7;
    set(core, 0, value);
}
#[inline(always)]
fn environment(core: &Core<'_, '_>) -> Env {
    Env::from_control_word(core.cpu.fpu.control)
}
/// Whether an invalid operation (a stack fault too) is masked.
#[inline(always)]
fn invalid_masked(core: &Core<'_, '_>) -> bool {
    core.cpu.fpu.control & Flags::IE != 0
}
/// The flags of a read of an empty register.
const UNDERFLOW: u16 = Flags::IE | STACK_FAULT;
/// The flags of a push onto a register that is not empty.
const OVERFLOW: u16 = Flags::IE | STACK_FAULT | Flags::C1;

/// The end of every non-control instruction: `raised` goes into the status word after C1 and the bits in `clear`
/// have left it, the instruction pointer is recorded, and unmasked exceptions begin to wait.
#[inline(always)]
fn finish(core: &mut Core<'_, '_>, i: &Insn, clear: u16, raised: u16) {
    let selector = core.cpu.seg[Seg::Cs as usize].selector;
    let fpu = &mut core.cpu.fpu;
    fpu.status = fpu.status & !(clear | Flags::C1) | raised;
    fpu.ip = i.ip;
    fpu.cs = selector;
    if raised & !fpu.control & 0x3f != 0 {
        begin_waiting(core, i);
    }
}
/// [`finish`] for an instruction with a memory operand.
#[inline(always)]
fn finish_memory(core: &mut Core<'_, '_>, i: &Insn, clear: u16, raised: u16) {
    core.cpu.fpu.dp = core.offset(&i.mem);
    core.cpu.fpu.ds = core.cpu.seg[i.mem.seg as usize].selector;
    finish(core, i, clear, raised);
}
#[cold]
#[inline(never)]
fn begin_waiting(core: &mut Core<'_, '_>, i: &Insn) {
    core.cpu.fpu.status |= ERROR_SUMMARY | BUSY;
    record_opcode(core, i);
}
/// Reads the instruction again for the 11 bits of FOP: the low bits of the first byte and the whole second.
fn record_opcode(core: &mut Core<'_, '_>, i: &Insn) {
    let user = core.cpu.cpl == 3;
    let base = core.cpu.seg[Seg::Cs as usize].base.wrapping_add(i.ip);
    let mut escape = None;
    for at in 0..u64::from(i.len) {
        let linear = core.wrap_linear(base.wrapping_add(at));
        let Ok(address) = core.translate(linear, Access::Execute, user) else { return };
        let mut byte = [0];
        core.env.memory.read(address, &mut byte);
        if let Some(first) = escape {
            core.cpu.fpu.opcode = u16::from(first & 7) << 8 | u16::from(byte[0]);
            return;
        }
        if byte[0] & 0xf8 == 0xd8 {
            escape = Some(byte[0]);
        }
    }
}

/// Loads the ten bytes of an extended or BCD operand.
fn load_ten(core: &mut Core<'_, '_>, i: &Insn) -> Result<[u8; 10], Fault> {
    let offset = core.offset(&i.mem);
    let mut bytes = [0; 10];
    core.load_bytes(i.mem.seg, offset, &mut bytes)?;
    Ok(bytes)
}
fn store_ten(core: &mut Core<'_, '_>, i: &Insn, bytes: [u8; 10]) -> Result<(), Fault> {
    let offset = core.offset(&i.mem);
    core.store_bytes(i.mem.seg, offset, &bytes)
}
#[inline(always)]
fn load(core: &mut Core<'_, '_>, i: &Insn, width: Width) -> Result<u64, Fault> {
    let offset = core.offset(&i.mem);
    core.load(i.mem.seg, offset, width)
}
#[inline(always)]
fn store(core: &mut Core<'_, '_>, i: &Insn, width: Width, value: u64) -> Result<(), Fault> {
    let offset = core.offset(&i.mem);
    core.store(i.mem.seg, offset, width, value)
}
#[inline(always)]
fn ready(core: &mut Core<'_, '_>) -> Result<Env, Fault> {
    coprocessor::x87_ready(core)?;
    Ok(environment(core))
}
