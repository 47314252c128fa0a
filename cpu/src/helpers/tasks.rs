//! Task state segments: hardware task switches, inner stacks, the I/O and interrupt bitmaps.
//!
//! Intel SDM vol. 3, chapter 8 ("Task Management").

use crate::core::{Access, Core, DEBUG_ENABLED, Fault, Leave};
use crate::flags::bits;
use crate::mmu;
use crate::model::Model;
use crate::state::{Attributes, Exception, Seg, Segment, Width, cr0, cr4, gpr};

use super::control::{task_data_segment, v86_segment};
use super::debug::DR6_BT;
use super::interrupts;
use super::segments::{
    self, Bad, Descriptor, descriptor, fetch, is_null, mark_accessed, null_segment, selector_error, stack_segment,
};
use super::stack::Stack;

/// What causes a task switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// JMP to a TSS or task gate.
    Jump,
    /// CALL: nests.
    Call,
    /// An interrupt or exception through a task gate: nests.
    Interrupt,
    /// IRET with NT set: back to the task in the link field.
    Return,
}

/// The rest of the circumstances of a task switch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Details {
    /// Error code to push in the new task.
    pub error: Option<u32>,
    /// EXT bit of error codes.
    pub ext: u32,
    /// Save RF set: the old task stopped at a fault.
    pub resume: bool,
}

const TSS_BUSY: u16 = 2;

fn is_wide(a: Attributes) -> bool {
    a.kind() & 8 != 0
}

/// SS and stack pointer for privilege `level` from the current TSS.
///
/// # Errors
/// #TS(TR) when the TSS is too short; page faults.
pub(super) fn inner_stack(core: &mut Core<'_, '_>, level: u8, ext: u32) -> Result<(u16, u64), Fault> {
    let tr = core.cpu.tr;
    let (width, offset) = if is_wide(tr.attributes) {
        (Width::Dword, 4 + 8 * u64::from(level))
    } else {
        (Width::Word, 2 + 4 * u64::from(level))
    };
    if offset + width.bytes() + 1 > u64::from(tr.limit) {
        return Err(core.invalid_tss(selector_error(tr.selector, ext)));
    }
    let sp = core.read_system(tr.base.wrapping_add(offset), width)?;
    let ss = core.read_system(tr.base.wrapping_add(offset + width.bytes()), Width::Word)?;
    Ok((ss as u16, sp))
}

/// The two bytes of the I/O permission bitmap that hold the bits of `port` and the ports after
/// it; `None` when they lie outside the TSS or there is no 32-bit TSS.
pub(super) fn io_bitmap(core: &mut Core<'_, '_>, port: u16) -> Result<Option<u64>, Fault> {
    let tr = core.cpu.tr;
    if !tr.usable || !is_wide(tr.attributes) || tr.limit < 103 {
        return Ok(None);
    }
    let map = core.read_system(tr.base.wrapping_add(0x66), Width::Word)?;
    let at = map + u64::from(port >> 3);
    if at + 1 > u64::from(tr.limit) {
        return Ok(None);
    }
    core.read_system(tr.base.wrapping_add(at), Width::Word).map(Some)
}

/// Whether the interrupt redirection bitmap sends `INT vector` in virtual-8086 mode to the 8086
/// program's own handler.
pub(super) fn redirects(core: &mut Core<'_, '_>, vector: u8) -> Result<bool, Fault> {
    let tr = core.cpu.tr;
    if !tr.usable || !is_wide(tr.attributes) || tr.limit < 103 {
        return Err(core.protection(0));
    }
    let map = core.read_system(tr.base.wrapping_add(0x66), Width::Word)?;
    let at = map.wrapping_sub(32).wrapping_add(u64::from(vector >> 3));
    if map < 32 || at > u64::from(tr.limit) {
        return Err(core.protection(0));
    }
    let byte = core.read_system(tr.base.wrapping_add(at), Width::Byte)?;
    Ok(byte >> (vector & 7) & 1 == 0)
}

/// The descriptor of an available TSS that JMP, CALL or an interrupt goes to.
pub(super) fn available(core: &mut Core<'_, '_>, selector: u16, ext: u32) -> Result<(u64, Descriptor), Fault> {
    let error = selector_error(selector, ext);
    if is_null(selector) || selector & 4 != 0 {
        return Err(core.protection(error));
    }
    let (address, d) = fetch(core, selector, ext)?;
    let a = d.attributes();
    let known = a.kind() == 1 || a.kind() == 9 && core.cpu.model != Model::I286;
    if a.is_code_or_data() || !known {
        return Err(core.protection(error));
    }
    if !a.present() {
        return Err(core.not_present(error));
    }
    Ok((address, d))
}

/// A far JMP or CALL to the TSS `selector`; privilege is checked already.
pub(super) fn enter(core: &mut Core<'_, '_>, selector: u16, reason: Reason) -> Result<(), Fault> {
    let (address, d) = available(core, selector, 0)?;
    finish(core, selector, address, d, reason)
}

/// IRET with NT set.
pub(super) fn leave(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    let tr = core.cpu.tr;
    let selector = core.read_system(tr.base, Width::Word)? as u16;
    let error = selector_error(selector, 0);
    if is_null(selector) || selector & 4 != 0 {
        return Err(core.invalid_tss(error));
    }
    let Some((address, d)) = descriptor(core, selector)? else {
        return Err(core.invalid_tss(error));
    };
    let a = d.attributes();
    if a.is_code_or_data() || a.kind() & !8 != 3 {
        return Err(core.invalid_tss(error));
    }
    if !a.present() {
        return Err(core.not_present(error));
    }
    finish(core, selector, address, d, Reason::Return)?;
    core.cpu.nmi_blocked = false;
    Ok(())
}

/// Switches, and delivers in the new task what goes wrong there.
fn finish(core: &mut Core<'_, '_>, selector: u16, address: u64, d: Descriptor, reason: Reason) -> Result<(), Fault> {
    if let Some(late) = switch(core, selector, address, d, reason, Details::default())? {
        interrupts::deliver(core, late);
    }
    Ok(())
}

/// What a TSS holds, whichever its size.
struct Image {
    cr3: u64,
    ip: u64,
    flags: u64,
    registers: [u64; 8],
    /// ES, CS, SS, DS, FS, GS.
    selectors: [u16; 6],
    ldt: u16,
    trap: bool,
}

fn read_image(core: &mut Core<'_, '_>, base: u64, wide: bool) -> Result<Image, Fault> {
    let mut read = |offset: u64, width: Width| core.read_system(base.wrapping_add(offset), width);
    let mut image = Image { cr3: 0, ip: 0, flags: 0, registers: [0; 8], selectors: [0; 6], ldt: 0, trap: false };
    if wide {
        image.cr3 = read(0x1c, Width::Dword)?;
        image.ip = read(0x20, Width::Dword)?;
        image.flags = read(0x24, Width::Dword)?;
        for (n, r) in (0u64..).zip(image.registers.iter_mut()) {
            *r = read(0x28 + 4 * n, Width::Dword)?;
        }
        for (n, s) in (0u64..).zip(image.selectors.iter_mut()) {
            *s = read(0x48 + 4 * n, Width::Word)? as u16;
        }
        image.ldt = read(0x60, Width::Word)? as u16;
        image.trap = read(0x64, Width::Byte)? & 1 != 0;
    } else {
        image.ip = read(0x0e, Width::Word)?;
        image.flags = read(0x10, Width::Word)?;
        for (n, r) in (0u64..).zip(image.registers.iter_mut()) {
            // The upper halves are undefined after a 16-bit task switch; ours are all ones.
            *r = read(0x12 + 2 * n, Width::Word)? | 0xffff_0000;
        }
        for (n, s) in (0u64..4).zip(image.selectors.iter_mut()) {
            *s = read(0x22 + 2 * n, Width::Word)? as u16;
        }
        image.ldt = read(0x2a, Width::Word)? as u16;
    }
    Ok(image)
}

/// Saves the state of the running task to its TSS, which is known to be writable.
fn save(core: &mut Core<'_, '_>, flags: u64) -> Result<(), Fault> {
    let tr = core.cpu.tr;
    let (ip_at, step, width) = if is_wide(tr.attributes) { (0x20, 4, Width::Dword) } else { (0x0e, 2, Width::Word) };
    let mut at = tr.base.wrapping_add(ip_at);
    let mut put = |core: &mut Core<'_, '_>, value: u64, width: Width| {
        let result = core.write_system(at, width, value & width.mask());
        at = at.wrapping_add(step);
        result
    };
    put(core, core.cpu.rip, width)?;
    put(core, flags, width)?;
    for n in 0..8 {
        put(core, core.cpu.gpr.get(n), width)?;
    }
    let segments = if is_wide(tr.attributes) { 6 } else { 4 };
    for n in 0..segments {
        put(core, u64::from(core.cpu.seg[n].selector), Width::Word)?;
    }
    Ok(())
}

/// Switches to the TSS that `d` at `address` describes; type, presence and privilege are checked.
/// `cpu.rip` is what the old task resumes at. `Err`: nothing has happened. `Ok(Some(_))`: the
/// switch is made, and the new task begins with this exception.
pub(super) fn switch(
    core: &mut Core<'_, '_>,
    selector: u16,
    address: u64,
    d: Descriptor,
    reason: Reason,
    details: Details,
) -> Result<Option<Exception>, Fault> {
    if !core.env.stepping {
        return Err(core.step());
    }
    let wide = is_wide(d.attributes());
    let last = if wide { 0x67 } else { 0x2b };
    if d.limit() < last {
        return Err(core.invalid_tss(selector_error(selector, details.ext)));
    }
    let old = core.cpu.tr;
    let (save_at, save_end) = if is_wide(old.attributes) { (0x20, 0x5f) } else { (0x0e, 0x29) };
    if !old.usable || u64::from(old.limit) < save_end {
        return Err(core.invalid_tss(selector_error(old.selector, details.ext)));
    }
    // All that may fault in the old task.
    let at = core.wrap_linear(old.base.wrapping_add(save_at));
    core.probe_linear(at, save_end + 1 - save_at, Access::Write, false)?;
    let base = d.base();
    let nests = matches!(reason, Reason::Call | Reason::Interrupt);
    core.probe_linear(base, u64::from(last) + 1, Access::Read, false)?;
    if nests {
        core.probe_linear(base, 2, Access::Write, false)?;
    }
    let access_at = core.wrap_linear(address.wrapping_add(5));
    core.probe_linear(access_at, 1, Access::Write, false)?;
    let old_access_at = core.cpu.gdtr.base.wrapping_add(u64::from(old.selector & 0xfff8) + 5);
    let old_access_at = core.wrap_linear(old_access_at);
    core.probe_linear(old_access_at, 1, Access::Write, false)?;

    // The old task.
    let mut flags = core.cpu.eflags();
    if reason == Reason::Return {
        flags &= !bits::NT;
    }
    if details.resume && core.cpu.model >= Model::I386 {
        flags |= bits::RF;
    }
    save(core, flags)?;
    if !nests {
        let access = core.read_system(old_access_at, Width::Byte)?;
        core.write_system(old_access_at, Width::Byte, access & !u64::from(TSS_BUSY))?;
    }
    // The new task.
    let mut image = read_image(core, base, wide)?;
    if nests {
        core.write_system(base, Width::Word, u64::from(old.selector))?;
        image.flags |= bits::NT;
    }
    let attributes = Attributes(d.attributes().0 | TSS_BUSY);
    core.write_system(access_at, Width::Byte, u64::from(attributes.0 & 0xff))?;
    core.cpu.tr = Segment::new(selector, base, d.limit(), attributes, true);
    core.cpu.cr0 |= cr0::TS;
    let mut late = Ok(());
    if wide && core.cpu.paging() {
        core.cpu.cr3 = image.cr3;
        if core.cpu.cr4 & cr4::PAE != 0 {
            late = mmu::load_pdptes(core, image.cr3).map(|entries| core.cpu.pdpte = entries);
        }
        core.env.tlb.flush();
        core.env.flush_code = true;
    }
    let flag_mask = core.cpu.model.eflags_mask() & if wide { u64::MAX } else { 0xffff };
    core.cpu.lazy.set_all(image.flags);
    core.cpu.system_flags = image.flags & flag_mask & !(bits::STATUS | bits::RESERVED_ONE);
    for (n, value) in (0u8..).zip(image.registers) {
        core.cpu.gpr.write(n, Width::Dword, value);
    }
    core.cpu.rip = image.ip;
    core.env.flush_code = true;
    // Local breakpoints belong to the old task.
    core.cpu.dr[7] &= !0x155;
    for (slot, selector) in core.cpu.seg.iter_mut().zip(image.selectors) {
        *slot = null_segment(selector);
    }
    core.cpu.ldtr = null_segment(image.ldt);
    core.cpu.cpl = if core.cpu.v86() { 3 } else { (image.selectors[Seg::Cs as usize] & 3) as u8 };
    if image.trap {
        core.cpu.pending_debug |= DR6_BT | DEBUG_ENABLED;
    }
    segments::refresh(core);
    let late = late.and_then(|()| load_context(core, &image, wide, details));
    segments::refresh(core);
    Ok(match late {
        Ok(()) => None,
        Err(_) => match core.env.leave {
            Leave::Exception(e) => Some(e),
            // Single-step mode never asks for single-step mode.
            Leave::Step | Leave::Again => None,
        },
    })
}

/// Loads what the selectors of the new task name; faults belong to the new task.
fn load_context(core: &mut Core<'_, '_>, image: &Image, wide: bool, details: Details) -> Result<(), Fault> {
    let ext = details.ext;
    if !is_null(image.ldt) {
        let error = selector_error(image.ldt, ext);
        let found = if image.ldt & 4 == 0 { descriptor(core, image.ldt)? } else { None };
        let Some((_, d)) = found.filter(|(_, d)| d.attributes().0 & 0x9f == 0x82) else {
            return Err(core.invalid_tss(error));
        };
        core.cpu.ldtr = d.segment(image.ldt);
    }
    if core.cpu.v86() {
        for (slot, selector) in core.cpu.seg.iter_mut().zip(image.selectors) {
            *slot = v86_segment(selector);
        }
    } else {
        let [es, cs, ss, ds, fs, gs] = image.selectors;
        let error = selector_error(cs, ext);
        let found = if is_null(cs) { None } else { descriptor(core, cs)? };
        let cpl = core.cpu.cpl;
        let suitable = found.filter(|(_, d)| {
            let a = d.attributes();
            a.is_code() && if a.conforming() { a.dpl() <= cpl } else { a.dpl() == cpl }
        });
        let Some((address, d)) = suitable else {
            return Err(core.invalid_tss(error));
        };
        if !d.attributes().present() {
            return Err(core.not_present(error));
        }
        core.cpu.seg[Seg::Cs as usize] = mark_accessed(core, address, d)?.segment(cs);
        core.cpu.seg[Seg::Ss as usize] = stack_segment(core, ss, cpl, ext, Bad::Tss)?;
        for (seg, selector) in [(Seg::Es, es), (Seg::Ds, ds), (Seg::Fs, fs), (Seg::Gs, gs)] {
            core.cpu.seg[seg as usize] = task_data_segment(core, selector, ext)?;
        }
    }
    segments::refresh(core);
    if image.ip > u64::from(core.cpu.segment(Seg::Cs).limit) {
        return Err(core.protection(ext));
    }
    if let Some(error) = details.error {
        let width = if wide { Width::Dword } else { Width::Word };
        let mut stack = Stack::current(core, ext);
        stack.push(core, width, u64::from(error))?;
        core.cpu.gpr.write(gpr::SP, core.cpu.mode.stack_width(), stack.sp);
    }
    Ok(())
}
