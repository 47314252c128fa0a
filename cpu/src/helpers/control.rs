//! Far control transfers: JMP, CALL, RET and IRET between segments, privileges and modes.
//!
//! Order and kind of the checks follow the pseudo-code of the Intel SDM, vol. 2.

use crate::core::{Core, Fault};
use crate::flags::bits;
use crate::insn::{Code, Insn, Mnemonic};
use crate::model::Model;
use crate::state::{Attributes, Mode, Seg, Segment, Width, cr4};

use super::segments::{
    self, Bad, Descriptor, data_segment, fetch, is_null, mark_accessed, real_segment, selector_error, stack_segment,
};
use super::stack::{Stack, peek, set_pointer};
use super::tasks::{self, Reason};
use crate::insn::Helper;

/// Whether the mode has no descriptors: real or virtual-8086.
pub(super) fn is_flat_mode(core: &Core<'_, '_>) -> bool {
    !core.cpu.protected() || core.cpu.v86()
}

fn check_ip(core: &mut Core<'_, '_>, cs: &Segment, ip: u64, ext: u32) -> Result<(), Fault> {
    if ip > u64::from(cs.limit) { Err(core.protection(ext)) } else { Ok(()) }
}

/// Replaces the flags in `changeable` that the model has by those of `value`.
pub(super) fn load_flags(core: &mut Core<'_, '_>, value: u64, changeable: u64) {
    let mut mask = changeable & core.cpu.model.eflags_mask();
    if core.cpu.model == Model::I286 && !core.cpu.protected() {
        // In real mode of the 286 these stay clear.
        mask &= !(bits::IOPL | bits::NT);
    }
    let flags = core.cpu.eflags() & !mask | value & mask;
    core.cpu.lazy.set_all(flags);
    core.cpu.system_flags = flags & !(bits::STATUS | bits::RESERVED_ONE);
    segments::refresh(core);
}

/// The code segment of a direct JMP or CALL.
fn direct_code(core: &mut Core<'_, '_>, selector: u16, address: u64, d: Descriptor) -> Result<Segment, Fault> {
    let (a, cpl, error) = (d.attributes(), core.cpu.cpl, selector_error(selector, 0));
    let allowed = if a.conforming() { a.dpl() <= cpl } else { a.dpl() == cpl && (selector & 3) as u8 <= cpl };
    if !a.is_code() || !allowed {
        return Err(core.protection(error));
    }
    if !a.present() {
        return Err(core.not_present(error));
    }
    Ok(mark_accessed(core, address, d)?.segment(selector & !3 | u16::from(cpl)))
}

/// The system descriptors that a far JMP or CALL may name.
enum System {
    CallGate,
    TaskGate,
    Tss,
}

/// Classifies a system descriptor and checks its privilege; #GP(selector) otherwise.
fn system_target(core: &mut Core<'_, '_>, selector: u16, d: Descriptor) -> Result<System, Fault> {
    let a = d.attributes();
    let error = selector_error(selector, 0);
    let target = match a.kind() {
        4 => System::CallGate,
        5 => System::TaskGate,
        1 => System::Tss,
        12 if core.cpu.model != Model::I286 => System::CallGate,
        9 if core.cpu.model != Model::I286 => System::Tss,
        _ => return Err(core.protection(error)),
    };
    if a.dpl() < core.cpu.cpl.max((selector & 3) as u8) {
        return Err(core.protection(error));
    }
    if !a.present() {
        return Err(core.not_present(error));
    }
    Ok(target)
}

/// The code segment behind a call gate: selector, address, descriptor.
fn gate_code(core: &mut Core<'_, '_>, gate: Descriptor) -> Result<(u16, u64, Descriptor), Fault> {
    let selector = gate.gate_selector();
    if is_null(selector) {
        return Err(core.protection(0));
    }
    let (address, d) = fetch(core, selector, 0)?;
    let a = d.attributes();
    if !a.is_code() || a.dpl() > core.cpu.cpl {
        return Err(core.protection(selector_error(selector, 0)));
    }
    Ok((selector, address, d))
}

fn commit_code(core: &mut Core<'_, '_>, cs: Segment, ip: u64) {
    segments::set_code(core, cs);
    core.cpu.rip = ip;
    segments::refresh(core);
}

fn jump(core: &mut Core<'_, '_>, selector: u16, offset: u64) -> Result<(), Fault> {
    if is_flat_mode(core) {
        let cs = real_segment(core, Seg::Cs, selector);
        check_ip(core, &cs, offset, 0)?;
        commit_code(core, cs, offset);
        return Ok(());
    }
    if is_null(selector) {
        return Err(core.protection(0));
    }
    let (address, d) = fetch(core, selector, 0)?;
    if d.attributes().is_code_or_data() {
        let cs = direct_code(core, selector, address, d)?;
        check_ip(core, &cs, offset, 0)?;
        commit_code(core, cs, offset);
        return Ok(());
    }
    match system_target(core, selector, d)? {
        System::CallGate => {
            let (selector, address, code) = gate_code(core, d)?;
            let (a, cpl) = (code.attributes(), core.cpu.cpl);
            if !a.conforming() && a.dpl() != cpl {
                return Err(core.protection(selector_error(selector, 0)));
            }
            if !a.present() {
                return Err(core.not_present(selector_error(selector, 0)));
            }
            let cs = mark_accessed(core, address, code)?.segment(selector & !3 | u16::from(cpl));
            check_ip(core, &cs, d.gate_offset(), 0)?;
            commit_code(core, cs, d.gate_offset());
            Ok(())
        }
        System::TaskGate => tasks::enter(core, d.gate_selector(), Reason::Jump),
        System::Tss => tasks::enter(core, selector, Reason::Jump),
    }
}

/// Pushes CS and IP of the next instruction and goes to `cs:ip`.
fn call_same(core: &mut Core<'_, '_>, cs: Segment, ip: u64, width: Width) -> Result<(), Fault> {
    let mut stack = Stack::current(core, 0);
    stack.reserve(core, 2, width)?;
    check_ip(core, &cs, ip, 0)?;
    let (old_cs, old_ip) = (core.cpu.segment(Seg::Cs).selector, core.cpu.rip);
    stack.push(core, width, u64::from(old_cs))?;
    stack.push(core, width, old_ip & width.mask())?;
    stack.commit(core);
    commit_code(core, cs, ip);
    Ok(())
}

/// A call through gate `gate` to the more privileged code segment `code`.
fn call_inner(core: &mut Core<'_, '_>, gate: Descriptor, cs: Segment, width: Width) -> Result<(), Fault> {
    let cpl = cs.attributes.dpl();
    let (selector, sp) = tasks::inner_stack(core, cpl, 0)?;
    let segment = stack_segment(core, selector, cpl, 0, Bad::Tss)?;
    let count = gate.gate_parameters();
    let mut parameters = [0u32; 32];
    for n in 0..count {
        parameters[n as usize] = peek(core, n * width.bytes(), width)? as u32;
    }
    let mut stack = Stack::inner(segment, sp, 0);
    stack.reserve(core, 4 + count, width)?;
    check_ip(core, &cs, gate.gate_offset(), 0)?;
    let cpu = &core.cpu;
    let (old_ss, old_sp) = (cpu.segment(Seg::Ss).selector, cpu.gpr.read(crate::state::gpr::SP, Width::Dword));
    let (old_cs, old_ip) = (cpu.segment(Seg::Cs).selector, cpu.rip);
    stack.push(core, width, u64::from(old_ss))?;
    stack.push(core, width, old_sp & width.mask())?;
    for n in (0..count).rev() {
        stack.push(core, width, u64::from(parameters[n as usize]))?;
    }
    stack.push(core, width, u64::from(old_cs))?;
    stack.push(core, width, old_ip & width.mask())?;
    core.cpu.cpl = cpl;
    stack.commit(core);
    commit_code(core, cs, gate.gate_offset());
    Ok(())
}

fn call(core: &mut Core<'_, '_>, width: Width, selector: u16, offset: u64) -> Result<(), Fault> {
    if is_flat_mode(core) {
        let cs = real_segment(core, Seg::Cs, selector);
        return call_same(core, cs, offset, width);
    }
    if is_null(selector) {
        return Err(core.protection(0));
    }
    let (address, d) = fetch(core, selector, 0)?;
    if d.attributes().is_code_or_data() {
        let cs = direct_code(core, selector, address, d)?;
        return call_same(core, cs, offset, width);
    }
    match system_target(core, selector, d)? {
        System::CallGate => {
            let (selector, address, code) = gate_code(core, d)?;
            let (a, cpl) = (code.attributes(), core.cpu.cpl);
            if !a.present() {
                return Err(core.not_present(selector_error(selector, 0)));
            }
            let code = mark_accessed(core, address, code)?;
            let width = if d.attributes().kind() & 8 != 0 { Width::Dword } else { Width::Word };
            if !a.conforming() && a.dpl() < cpl {
                call_inner(core, d, code.segment(selector & !3 | u16::from(a.dpl())), width)
            } else {
                call_same(core, code.segment(selector & !3 | u16::from(cpl)), d.gate_offset(), width)
            }
        }
        System::TaskGate => tasks::enter(core, d.gate_selector(), Reason::Call),
        System::Tss => tasks::enter(core, selector, Reason::Call),
    }
}

/// The code segment that RETF or IRET goes back to.
fn return_code(core: &mut Core<'_, '_>, selector: u16) -> Result<Segment, Fault> {
    if is_null(selector) {
        return Err(core.protection(0));
    }
    let error = selector_error(selector, 0);
    let (address, d) = fetch(core, selector, 0)?;
    let (a, rpl) = (d.attributes(), (selector & 3) as u8);
    let allowed = if a.conforming() { a.dpl() <= rpl } else { a.dpl() == rpl };
    if rpl < core.cpu.cpl || !a.is_code() || !allowed {
        return Err(core.protection(error));
    }
    if !a.present() {
        return Err(core.not_present(error));
    }
    Ok(mark_accessed(core, address, d)?.segment(selector))
}

/// RETF and RETF imm16.
fn retf(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let width = i.width;
    let w = width.bytes();
    let released = if matches!(i.code, Code::Retfw_imm16 | Code::Retfd_imm16) { i.imm & 0xffff } else { 0 };
    let ip = peek(core, 0, width)?;
    let selector = peek(core, w, width)? as u16;
    let sp = core.sp();
    if is_flat_mode(core) {
        let cs = real_segment(core, Seg::Cs, selector);
        check_ip(core, &cs, ip, 0)?;
        core.set_sp(sp.wrapping_add(2 * w + released));
        commit_code(core, cs, ip);
        return Ok(());
    }
    let cs = return_code(core, selector)?;
    let rpl = (selector & 3) as u8;
    if rpl == core.cpu.cpl {
        check_ip(core, &cs, ip, 0)?;
        core.set_sp(sp.wrapping_add(2 * w + released));
        commit_code(core, cs, ip);
        return Ok(());
    }
    let new_sp = peek(core, 2 * w + released, width)?;
    let new_ss = peek(core, 3 * w + released, width)? as u16;
    outer_return(core, cs, ip, new_ss, new_sp.wrapping_add(released))
}

/// The part of RETF and IRET that changes to a less privileged level.
fn outer_return(core: &mut Core<'_, '_>, cs: Segment, ip: u64, new_ss: u16, new_sp: u64) -> Result<(), Fault> {
    let cpl = (cs.selector & 3) as u8;
    if is_null(new_ss) {
        return Err(core.protection(0));
    }
    let ss = stack_segment(core, new_ss, cpl, 0, Bad::Protection)?;
    check_ip(core, &cs, ip, 0)?;
    core.cpu.cpl = cpl;
    core.cpu.seg[Seg::Ss as usize] = ss;
    set_pointer(core, new_sp);
    segments::drop_inner(core, cpl);
    commit_code(core, cs, ip);
    Ok(())
}

const LOW: u64 = bits::STATUS | bits::TF | bits::DF | bits::NT;

/// IRET and IRETD.
fn iret(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let width = i.width;
    let wide = if width == Width::Dword { bits::RF | bits::AC | bits::ID } else { 0 };
    if core.cpu.protected() && !core.cpu.v86() {
        return protected_iret(core, width, wide);
    }
    let w = width.bytes();
    let vme = core.cpu.v86() && core.cpu.iopl() < 3;
    if vme && (width != Width::Word || core.cpu.cr4 & cr4::VME == 0) {
        return Err(core.protection(0));
    }
    let ip = peek(core, 0, width)?;
    let selector = peek(core, w, width)? as u16;
    let mut flags = peek(core, 2 * w, width)?;
    let cs = real_segment(core, Seg::Cs, selector);
    check_ip(core, &cs, ip, 0)?;
    let mut mask = LOW | wide;
    if vme {
        if flags & bits::TF != 0 || flags & bits::IF != 0 && core.cpu.flag(bits::VIP) {
            return Err(core.protection(0));
        }
        flags = flags & !bits::VIF | if flags & bits::IF != 0 { bits::VIF } else { 0 };
        mask |= bits::VIF;
    } else {
        mask |= bits::IF;
        if !core.cpu.v86() {
            mask |= bits::IOPL;
        }
    }
    let sp = core.sp();
    core.set_sp(sp.wrapping_add(3 * w));
    core.cpu.nmi_blocked = false;
    commit_code(core, cs, ip);
    load_flags(core, flags, mask);
    Ok(())
}

fn protected_iret(core: &mut Core<'_, '_>, width: Width, wide: u64) -> Result<(), Fault> {
    if core.cpu.flag(bits::NT) {
        return tasks::leave(core);
    }
    let w = width.bytes();
    let ip = peek(core, 0, width)?;
    let selector = peek(core, w, width)? as u16;
    let flags = peek(core, 2 * w, width)?;
    let cpl = core.cpu.cpl;
    if width == Width::Dword && flags & bits::VM != 0 && cpl == 0 && core.cpu.model >= Model::I386 {
        return iret_to_v86(core, ip, selector, flags);
    }
    let mut mask = LOW | wide;
    if cpl <= core.cpu.iopl() {
        mask |= bits::IF;
    }
    if cpl == 0 {
        mask |= bits::IOPL;
        if width == Width::Dword {
            mask |= bits::VIF | bits::VIP;
        }
    }
    let cs = return_code(core, selector)?;
    if (selector & 3) as u8 == cpl {
        check_ip(core, &cs, ip, 0)?;
        let sp = core.sp();
        core.set_sp(sp.wrapping_add(3 * w));
        commit_code(core, cs, ip);
    } else {
        let sp = peek(core, 3 * w, width)?;
        let ss = peek(core, 4 * w, width)? as u16;
        outer_return(core, cs, ip, ss, sp)?;
    }
    core.cpu.nmi_blocked = false;
    load_flags(core, flags, mask);
    Ok(())
}

fn iret_to_v86(core: &mut Core<'_, '_>, ip: u64, selector: u16, flags: u64) -> Result<(), Fault> {
    let mut rest = [0u64; 6];
    for (n, slot) in (3u64..).zip(rest.iter_mut()) {
        *slot = peek(core, 4 * n, Width::Dword)?;
    }
    if ip > 0xffff {
        return Err(core.protection(0));
    }
    let [sp, ss, es, ds, fs, gs] = rest;
    let all = bits::STATUS | bits::RESERVED_ONE | core.cpu.model.eflags_mask();
    core.cpu.lazy.set_all(flags);
    core.cpu.system_flags = flags & all & !(bits::STATUS | bits::RESERVED_ONE);
    core.cpu.cpl = 3;
    let selectors = [(Seg::Ss, ss), (Seg::Es, es), (Seg::Ds, ds), (Seg::Fs, fs), (Seg::Gs, gs)];
    for (seg, value) in selectors {
        core.cpu.seg[seg as usize] = v86_segment(value as u16);
    }
    core.cpu.gpr.write(crate::state::gpr::SP, Width::Dword, sp);
    core.cpu.nmi_blocked = false;
    commit_code(core, v86_segment(selector), ip);
    Ok(())
}

/// A segment of virtual-8086 mode.
pub(super) fn v86_segment(selector: u16) -> Segment {
    Segment::new(selector, u64::from(selector) << 4, 0xffff, Attributes::V86, true)
}

fn jump_immediate(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    jump(core, (i.imm >> 32) as u16, i.imm & 0xffff_ffff)
}
fn jump_memory(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let (selector, offset) = segments::far_pointer(core, i)?;
    jump(core, selector, offset)
}
fn call_immediate(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    call(core, i.width, (i.imm >> 32) as u16, i.imm & 0xffff_ffff)
}
fn call_memory(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let (selector, offset) = segments::far_pointer(core, i)?;
    call(core, i.width, selector, offset)
}

/// SYSENTER: to ring 0 through the three MSRs.
fn sysenter(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    let [cs, esp, eip] = core.cpu.msr.sysenter;
    let cs = cs as u16;
    if !core.cpu.protected() || is_null(cs) {
        return Err(core.protection(0));
    }
    core.cpu.system_flags &= !(bits::VM | bits::IF | bits::RF);
    core.cpu.cpl = 0;
    let cs = cs & 0xfffc;
    core.cpu.seg[Seg::Ss as usize] = Segment::new(cs.wrapping_add(8), 0, u32::MAX, Attributes(0xc93), true);
    core.cpu.gpr.write(crate::state::gpr::SP, Width::Dword, esp);
    commit_code(core, Segment::new(cs, 0, u32::MAX, Attributes(0xc9b), true), eip & 0xffff_ffff);
    Ok(())
}

/// SYSEXIT: back to ring 3, EIP from EDX and ESP from ECX.
fn sysexit(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    let cs = core.cpu.msr.sysenter[0] as u16;
    if !core.cpu.protected() || is_null(cs) || core.cpu.cpl != 0 {
        return Err(core.protection(0));
    }
    let gpr = &core.cpu.gpr;
    let (eip, esp) = (gpr.read(crate::state::gpr::DX, Width::Dword), gpr.read(crate::state::gpr::CX, Width::Dword));
    core.cpu.cpl = 3;
    let selector = |offset: u16| cs.wrapping_add(offset) | 3;
    core.cpu.seg[Seg::Ss as usize] = Segment::new(selector(24), 0, u32::MAX, Attributes(0xcf3), true);
    core.cpu.gpr.write(crate::state::gpr::SP, Width::Dword, esp);
    commit_code(core, Segment::new(selector(16), 0, u32::MAX, Attributes(0xcfb), true), eip);
    Ok(())
}

/// Whether the processor is in virtual-8086 mode with IOPL below 3: IF-sensitive instructions
/// fault or work on VIF.
pub(super) fn is_restricted_v86(core: &Core<'_, '_>) -> bool {
    core.cpu.mode.has(Mode::VM86) && core.cpu.iopl() < 3
}

/// Loads a data segment during a task switch: #TS for what other loads answer with #GP.
pub(super) fn task_data_segment(core: &mut Core<'_, '_>, selector: u16, ext: u32) -> Result<Segment, Fault> {
    data_segment(core, selector, ext, Bad::Tss)
}

pub(super) fn lookup(mnemonic: Mnemonic, code: Code) -> Option<Helper> {
    Some(match (mnemonic, code) {
        (_, Code::Jmp_ptr1616 | Code::Jmp_ptr1632) => jump_immediate,
        (_, Code::Jmp_m1616 | Code::Jmp_m1632 | Code::Jmp_m1664) => jump_memory,
        (_, Code::Call_ptr1616 | Code::Call_ptr1632) => call_immediate,
        (_, Code::Call_m1616 | Code::Call_m1632 | Code::Call_m1664) => call_memory,
        (Mnemonic::Retf, _) => retf,
        (Mnemonic::Iret | Mnemonic::Iretd, _) => iret,
        (Mnemonic::Sysenter, _) => sysenter,
        (Mnemonic::Sysexit, _) => sysexit,
        _ => return None,
    })
}
