//! Interrupts and exceptions: delivery in every mode, INT n and its relatives.
//!
//! Intel SDM vol. 3, chapter 6 and section 21.3 (virtual-8086 mode); vol. 2, INT n.

use crate::core::{Core, Fault, Leave};
use crate::flags::bits;
use crate::insn::{Code, Insn, Mnemonic};
use crate::model::Model;
use crate::state::{Activity, Exception, Seg, Shadow, Width, cr4};

use super::segments::{
    self, Bad, fetch, is_null, mark_accessed, null_segment, real_segment, selector_error, stack_segment,
};
use super::stack::Stack;
use super::tasks::{self, Details, Reason};
use crate::insn::Helper;

/// Something that goes through the interrupt table.
#[derive(Clone, Copy, Debug)]
struct Event {
    vector: u8,
    error: Option<u32>,
    /// INT n, INT3, INTO: the gate's DPL counts.
    software: bool,
    /// EXT bit of error codes.
    ext: u32,
    /// The saved flags have RF set: a fault, after which the instruction is tried again.
    resume: bool,
}

impl Event {
    fn of(e: &Exception) -> Event {
        Event { vector: e.vector, error: e.error, software: false, ext: 1, resume: !e.is_trap && e.vector != 1 }
    }
}

/// The flags as a push stores them. Bits 12 to 15 are all set on the 8086 and all clear in real
/// mode of the 286.
pub(super) fn flags_image(core: &Core<'_, '_>) -> u64 {
    let flags = core.cpu.eflags();
    match core.cpu.model {
        Model::I8086 => flags | 0xf000,
        Model::I286 if !core.cpu.protected() => flags & 0xfff,
        _ => flags,
    }
}

/// Exceptions that make a double fault with one another.
fn is_contributory(vector: u8) -> bool {
    matches!(vector, 0 | 10..=13)
}

/// Whether `second`, raised while `first` was being delivered, makes a double fault (SDM vol. 3,
/// table 6-5).
fn makes_double_fault(first: u8, second: u8) -> bool {
    match first {
        14 => second == 14 || is_contributory(second),
        _ => is_contributory(first) && is_contributory(second),
    }
}

/// Delivers an exception: `cpu.rip` is that of the faulting instruction, or of the next one for a
/// trap. Double faults are made as the manual says; a triple fault shuts the processor down.
pub fn deliver(core: &mut Core<'_, '_>, exception: Exception) {
    core.cpu.pending_debug = 0;
    if let Some(linear) = exception.cr2 {
        core.cpu.cr2 = linear;
    }
    run(core, Event::of(&exception), Some(exception.vector));
}

/// Delivers a maskable interrupt with the vector from the interrupt controller.
pub fn external(core: &mut Core<'_, '_>, vector: u8) {
    run(core, Event { vector, error: None, software: false, ext: 1, resume: false }, None);
}

/// Delivers `event`, then whatever goes wrong with that. `first` is the vector of the exception
/// that is being delivered; `None` for interrupts, which combine with nothing.
fn run(core: &mut Core<'_, '_>, mut event: Event, mut first: Option<u8>) {
    let stepping = std::mem::replace(&mut core.env.stepping, true);
    core.cpu.activity = Activity::Running;
    core.cpu.shadow = Shadow::None;
    let mut delivered = false;
    // The longest chain is a benign exception, a contributory one, a page fault, a double fault.
    for _ in 0..8 {
        let next = match dispatch(core, &event) {
            Ok(None) => {
                delivered = true;
                break;
            }
            Ok(Some(late)) => late,
            Err(_) => match core.env.leave {
                Leave::Exception(e) => e,
                // Single-step mode never asks for single-step mode.
                Leave::Step | Leave::Again => break,
            },
        };
        if let Some(linear) = next.cr2 {
            core.cpu.cr2 = linear;
        }
        if first == Some(8) {
            break;
        }
        if first.is_some_and(|first| makes_double_fault(first, next.vector)) {
            event = Event { vector: 8, error: Some(0), software: false, ext: 1, resume: event.resume };
            first = Some(8);
        } else {
            // Nothing has been executed since: whether the return address is that of a retry was
            // decided by the first event.
            event = Event::of(&next);
            first = Some(next.vector);
        }
    }
    if !delivered {
        core.cpu.activity = Activity::Shutdown;
    }
    core.env.stepping = stepping;
}

/// Takes one event through the table. `Err`: nothing has happened. `Ok(Some(_))`: a task switch
/// was made and the new task begins with this exception.
fn dispatch(core: &mut Core<'_, '_>, event: &Event) -> Result<Option<Exception>, Fault> {
    if core.cpu.protected() {
        protected(core, event)
    } else {
        through_vector_table(core, event, core.cpu.idtr.base, Some(core.cpu.idtr.limit))?;
        Ok(None)
    }
}

/// The real-mode way: far pointer from the vector table, FLAGS, CS and IP on the stack. Also
/// redirected interrupts of virtual-8086 mode, whose table (`limit` `None`) is at linear 0.
fn through_vector_table(core: &mut Core<'_, '_>, event: &Event, table: u64, limit: Option<u16>) -> Result<(), Fault> {
    let at = u64::from(event.vector) * 4;
    if limit.is_some_and(|limit| at + 3 > u64::from(limit)) {
        return Err(core.protection(0));
    }
    let redirected = limit.is_none();
    let entry = if redirected {
        core.read_linear(table + at, Width::Dword)?
    } else {
        core.read_system(table.wrapping_add(at), Width::Dword)?
    };
    let (ip, selector) = (entry & 0xffff, (entry >> 16) as u16);
    let cs = real_segment(core, Seg::Cs, selector);
    let mut stack = Stack::current(core, 0);
    stack.reserve(core, 3, Width::Word)?;
    if ip > u64::from(cs.limit) {
        return Err(core.protection(0));
    }
    let mut flags = flags_image(core);
    let mut cleared = bits::TF | bits::IF | bits::RF;
    if redirected && core.cpu.iopl() < 3 {
        // The program's IF is VIF.
        flags = flags & !bits::IF | bits::IOPL | if flags & bits::VIF != 0 { bits::IF } else { 0 };
        cleared = bits::TF | bits::VIF | bits::RF;
    }
    if !redirected {
        cleared |= bits::AC;
    }
    let (old_cs, old_ip) = (core.cpu.segment(Seg::Cs).selector, core.cpu.rip);
    stack.push(core, Width::Word, flags & 0xffff)?;
    stack.push(core, Width::Word, u64::from(old_cs))?;
    stack.push(core, Width::Word, old_ip & 0xffff)?;
    core.cpu.system_flags &= !cleared;
    stack.commit(core);
    segments::set_code(core, cs);
    core.cpu.rip = ip;
    segments::refresh(core);
    Ok(())
}

fn protected(core: &mut Core<'_, '_>, event: &Event) -> Result<Option<Exception>, Fault> {
    let ext = event.ext;
    let at = u64::from(event.vector) * 8;
    let error = at as u32 | 2 | ext;
    if at + 7 > u64::from(core.cpu.idtr.limit) {
        return Err(core.protection(error));
    }
    let mut raw = core.read_system(core.cpu.idtr.base.wrapping_add(at), Width::Qword)?;
    if core.cpu.model == Model::I286 {
        raw &= 0xffff_ffff_ffff;
    }
    let gate = segments::Descriptor(raw);
    let a = gate.attributes();
    let known = match a.kind() {
        5..=7 => true,
        14 | 15 => core.cpu.model != Model::I286,
        _ => false,
    };
    if a.is_code_or_data() || !known || event.software && a.dpl() < core.cpu.cpl {
        return Err(core.protection(error));
    }
    if !a.present() {
        return Err(core.not_present(error));
    }
    let selector = gate.gate_selector();
    if a.kind() == 5 {
        let (address, d) = tasks::available(core, selector, ext)?;
        let details = Details { error: event.error, ext, resume: event.resume };
        return tasks::switch(core, selector, address, d, Reason::Interrupt, details);
    }
    through_gate(core, event, gate)?;
    Ok(None)
}

/// An interrupt or trap gate.
fn through_gate(core: &mut Core<'_, '_>, event: &Event, gate: segments::Descriptor) -> Result<(), Fault> {
    let ext = event.ext;
    let kind = gate.attributes().kind();
    let width = if kind & 8 != 0 { Width::Dword } else { Width::Word };
    let selector = gate.gate_selector();
    if is_null(selector) {
        return Err(core.protection(ext));
    }
    let error = selector_error(selector, ext);
    let (address, d) = fetch(core, selector, ext)?;
    let (code, cpl, v86) = (d.attributes(), core.cpu.cpl, core.cpu.v86());
    if !code.is_code() || code.dpl() > cpl {
        return Err(core.protection(error));
    }
    if !code.present() {
        return Err(core.not_present(error));
    }
    let inner = !code.conforming() && code.dpl() < cpl;
    if v86 && (!inner || code.dpl() != 0) {
        return Err(core.protection(error));
    }
    let d = mark_accessed(core, address, d)?;
    let new_cpl = if inner { code.dpl() } else { cpl };
    let cs = d.segment(selector & !3 | u16::from(new_cpl));
    let ip = gate.gate_offset();
    let mut stack = if inner {
        let (ss, sp) = tasks::inner_stack(core, new_cpl, ext)?;
        let segment = stack_segment(core, ss, new_cpl, ext, Bad::Tss)?;
        Stack::inner(segment, sp, ext)
    } else {
        Stack::current(core, ext)
    };
    let count = if v86 { 9 } else { 3 + 2 * u64::from(inner) } + u64::from(event.error.is_some());
    stack.reserve(core, count, width)?;
    if ip > u64::from(cs.limit) {
        return Err(core.protection(ext));
    }
    let mut flags = core.cpu.eflags();
    if event.resume && core.cpu.model >= Model::I386 {
        flags |= bits::RF;
    }
    let mut push = |core: &mut Core<'_, '_>, value: u64| stack.push(core, width, value & width.mask());
    if v86 {
        for seg in [Seg::Gs, Seg::Fs, Seg::Ds, Seg::Es] {
            push(core, u64::from(core.cpu.segment(seg).selector))?;
        }
    }
    if inner {
        push(core, u64::from(core.cpu.segment(Seg::Ss).selector))?;
        push(core, core.cpu.gpr.get(crate::state::gpr::SP))?;
    }
    push(core, flags)?;
    push(core, u64::from(core.cpu.segment(Seg::Cs).selector))?;
    push(core, core.cpu.rip)?;
    if let Some(error) = event.error {
        push(core, u64::from(error))?;
    }
    if v86 {
        for seg in [Seg::Gs, Seg::Fs, Seg::Ds, Seg::Es] {
            core.cpu.seg[seg as usize] = null_segment(0);
        }
    }
    let interrupt_gate = if kind & 1 == 0 { bits::IF } else { 0 };
    core.cpu.system_flags &= !(bits::TF | bits::NT | bits::RF | bits::VM | interrupt_gate);
    core.cpu.cpl = new_cpl;
    stack.commit(core);
    segments::set_code(core, cs);
    core.cpu.rip = ip;
    segments::refresh(core);
    Ok(())
}

/// An interrupt that an instruction asks for; `cpu.rip` is at the next one.
fn software(core: &mut Core<'_, '_>, event: &Event) -> Result<(), Fault> {
    if let Some(late) = dispatch(core, event)? {
        deliver(core, late);
    }
    Ok(())
}

/// A software interrupt through `vector`, with the gate's DPL checked but not IOPL: INT3 and INTO.
fn trap(core: &mut Core<'_, '_>, vector: u8) -> Result<(), Fault> {
    software(core, &Event { vector, error: None, software: true, ext: 0, resume: false })
}

/// INT n.
fn int(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let vector = i.imm as u8;
    if core.cpu.v86() {
        if core.cpu.cr4 & cr4::VME != 0 && tasks::redirects(core, vector)? {
            let event = Event { vector, error: None, software: true, ext: 0, resume: false };
            return through_vector_table(core, &event, 0, None);
        }
        if core.cpu.iopl() < 3 {
            return Err(core.protection(0));
        }
    }
    trap(core, vector)
}
fn int3(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    trap(core, 3)
}
fn into(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    if core.cpu.lazy.of() { trap(core, 4) } else { Ok(()) }
}
/// INT1 (F1): a debug trap that leaves DR6 alone; no gate privilege check.
fn int1(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    software(core, &Event { vector: 1, error: None, software: false, ext: 1, resume: false })
}

/// BOUND: #BR when the signed index is outside the pair of bounds in memory.
fn bound(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    if !i.src().is_mem() {
        return Err(core.undefined());
    }
    let width = i.width;
    let at = core.offset(&i.mem);
    let lower = core.load(i.mem.seg, at, width)?;
    let upper = core.load(i.mem.seg, at.wrapping_add(width.bytes()) & i.mem.width.mask(), width)?;
    let index = width.sign_extend(core.read_operand(i, i.dst(), width)?);
    if index < width.sign_extend(lower) || index > width.sign_extend(upper) {
        return Err(core.raise(5, None));
    }
    Ok(())
}

pub(super) fn lookup(mnemonic: Mnemonic, _: Code) -> Option<Helper> {
    Some(match mnemonic {
        Mnemonic::Int => int,
        Mnemonic::Int3 => int3,
        Mnemonic::Into => into,
        Mnemonic::Int1 => int1,
        Mnemonic::Bound => bound,
        _ => return None,
    })
}
