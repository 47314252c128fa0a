//! System instructions: tables, control registers, flags, privilege queries; and the list of all
//! instructions of this folder's system part, [`lookup`].

use crate::core::{Core, Fault};
use crate::flags::bits;
use crate::insn::{Code, Insn, Mnemonic, OperandKind};
use crate::mmu;
use crate::model::Model;
use crate::state::{Activity, Attributes, Shadow, Table, Width, cr0, cr4, efer, gpr};

use super::control::{is_flat_mode, is_restricted_v86, load_flags};
use super::interrupts::flags_image;
use super::segments::{self, descriptor, fetch, is_null, null_segment, selector_error};
use super::stack::peek;
use super::{control, cpuid, debug, interrupts, io, msr};
use crate::insn::Helper;

/// Checks that many helpers begin with.
pub(super) trait PrivilegeCheck {
    /// #GP(0) unless at privilege 0 (real mode is).
    fn require_ring_0(&mut self) -> Result<(), Fault>;
    /// #UD in real and virtual-8086 mode.
    fn require_protected(&mut self) -> Result<(), Fault>;
}

impl PrivilegeCheck for Core<'_, '_> {
    fn require_ring_0(&mut self) -> Result<(), Fault> {
        if self.cpu.cpl != 0 { Err(self.protection(0)) } else { Ok(()) }
    }
    fn require_protected(&mut self) -> Result<(), Fault> {
        if is_flat_mode(self) { Err(self.undefined()) } else { Ok(()) }
    }
}

/// The number of the general-purpose register that is the destination.
pub(super) fn target_register(i: &Insn) -> u8 {
    i.dst().index
}

fn set_zf(core: &mut Core<'_, '_>, zf: bool) {
    let flags = core.cpu.lazy.bits() & !bits::ZF | if zf { bits::ZF } else { 0 };
    core.cpu.lazy.set_all(flags);
}

/// Everything that address translation rests on may have changed.
fn flush_all(core: &mut Core<'_, '_>) {
    core.env.tlb.flush();
    core.env.flush_code = true;
}

// --- descriptor tables -------------------------------------------------------------------------

fn load_table(core: &mut Core<'_, '_>, i: &Insn) -> Result<Table, Fault> {
    if !i.dst().is_mem() {
        return Err(core.undefined());
    }
    core.require_ring_0()?;
    let at = core.offset(&i.mem);
    let limit = core.load(i.mem.seg, at, Width::Word)? as u16;
    let mut base = core.load(i.mem.seg, at.wrapping_add(2) & i.mem.width.mask(), Width::Dword)?;
    if matches!(i.code, Code::Lgdt_m1632_16 | Code::Lidt_m1632_16) {
        base &= 0xff_ffff;
    }
    Ok(Table { base, limit })
}

/// The upper byte of the base: FFh on the 286, the base's own bits on all later processors,
/// whatever the operand size.
fn store_table(core: &mut Core<'_, '_>, i: &Insn, table: Table) -> Result<(), Fault> {
    if !i.dst().is_mem() {
        return Err(core.undefined());
    }
    let base = if core.cpu.model == Model::I286 { table.base | 0xff00_0000 } else { table.base } as u32;
    let mut bytes = [0; 6];
    bytes[..2].copy_from_slice(&table.limit.to_le_bytes());
    bytes[2..].copy_from_slice(&base.to_le_bytes());
    let at = core.offset(&i.mem);
    core.store_bytes(i.mem.seg, at, &bytes)
}

fn lgdt(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    core.cpu.gdtr = load_table(core, i)?;
    Ok(())
}
fn lidt(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    core.cpu.idtr = load_table(core, i)?;
    Ok(())
}
fn sgdt(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    store_table(core, i, core.cpu.gdtr)
}
fn sidt(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    store_table(core, i, core.cpu.idtr)
}

/// The system descriptor that LLDT or LTR names.
fn system_descriptor(
    core: &mut Core<'_, '_>,
    selector: u16,
    kinds: [u8; 2],
) -> Result<(u64, segments::Descriptor), Fault> {
    let error = selector_error(selector, 0);
    if selector & 4 != 0 {
        return Err(core.protection(error));
    }
    let (address, d) = fetch(core, selector, 0)?;
    let a = d.attributes();
    if a.is_code_or_data() || !kinds.contains(&a.kind()) {
        return Err(core.protection(error));
    }
    if !a.present() {
        return Err(core.not_present(error));
    }
    Ok((address, d))
}

fn lldt(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    core.require_protected()?;
    core.require_ring_0()?;
    let selector = core.read_operand(i, i.dst(), Width::Word)? as u16;
    core.cpu.ldtr = if is_null(selector) {
        null_segment(selector)
    } else {
        system_descriptor(core, selector, [2, 2])?.1.segment(selector)
    };
    Ok(())
}

fn ltr(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    core.require_protected()?;
    core.require_ring_0()?;
    let selector = core.read_operand(i, i.dst(), Width::Word)? as u16;
    if is_null(selector) {
        return Err(core.protection(0));
    }
    let kinds = if core.cpu.model == Model::I286 { [1, 1] } else { [1, 9] };
    let (address, d) = system_descriptor(core, selector, kinds)?;
    let busy = d.0 | 2 << 40;
    core.write_system(address.wrapping_add(5), Width::Byte, busy >> 40 & 0xff)?;
    core.cpu.tr = segments::Descriptor(busy).segment(selector);
    Ok(())
}

/// Stores a selector or machine status word: 16 bits to memory, `wide` to a 32-bit register.
fn store_word(core: &mut Core<'_, '_>, i: &Insn, wide: u64) -> Result<(), Fault> {
    let width = if i.dst().kind == OperandKind::Reg { i.width } else { Width::Word };
    core.write_operand(i, i.dst(), width, wide & width.mask())
}
fn sldt(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    core.require_protected()?;
    store_word(core, i, u64::from(core.cpu.ldtr.selector))
}
fn str(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    core.require_protected()?;
    store_word(core, i, u64::from(core.cpu.tr.selector))
}

// --- control registers ---------------------------------------------------------------------------

fn smsw(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let value = if core.cpu.model == Model::I286 { core.cpu.cr0 | 0xfff0 } else { core.cpu.cr0 };
    store_word(core, i, value)
}

/// LMSW: PE, MP, EM and TS; PE cannot be cleared.
fn lmsw(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    core.require_ring_0()?;
    let value = core.read_operand(i, i.dst(), Width::Word)?;
    let pe = core.cpu.cr0 & cr0::PE;
    let new = core.cpu.cr0 & !0xf | value & 0xf | pe;
    write_cr0(core, new)
}

fn clts(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    core.require_ring_0()?;
    core.cpu.cr0 &= !cr0::TS;
    Ok(())
}

/// Writes CR0 as MOV CR0 does.
///
/// # Errors
/// #GP(0) for combinations that do not exist.
pub fn write_cr0(core: &mut Core<'_, '_>, value: u64) -> Result<(), Fault> {
    let old = core.cpu.cr0;
    let mut value = value & core.cpu.model.cr0_mask() | old & !0xffff_ffff;
    match core.cpu.model {
        Model::I8086 => value = 0,
        Model::I286 => value |= 0xfff0,
        Model::I386 => {}
        _ => value |= cr0::ET,
    }
    if value & cr0::PG != 0 && value & cr0::PE == 0 || value & cr0::NW != 0 && value & cr0::CD == 0 {
        return Err(core.protection(0));
    }
    let changed = old ^ value;
    if value & cr0::PG != 0 && core.cpu.cr4 & cr4::PAE != 0 && changed & (cr0::PG | cr0::CD | cr0::NW) != 0 {
        core.cpu.pdpte = mmu::load_pdptes(core, core.cpu.cr3)?;
    }
    core.cpu.cr0 = value;
    // Without paging, addresses mean the same on both sides of a change of PE.
    if changed & (cr0::PG | cr0::WP) != 0 {
        flush_all(core);
    }
    segments::refresh(core);
    Ok(())
}

fn write_cr3(core: &mut Core<'_, '_>, value: u64) -> Result<(), Fault> {
    if core.cpu.paging() && core.cpu.cr4 & cr4::PAE != 0 {
        core.cpu.pdpte = mmu::load_pdptes(core, value)?;
    }
    core.cpu.cr3 = value;
    core.env.flush_code = true;
    if core.cpu.cr4 & cr4::PGE != 0 {
        core.env.tlb.flush_local();
    } else {
        core.env.tlb.flush();
    }
    Ok(())
}

fn write_cr4(core: &mut Core<'_, '_>, value: u64) -> Result<(), Fault> {
    if value & !core.cpu.model.cr4_mask() != 0 {
        return Err(core.protection(0));
    }
    let changed = core.cpu.cr4 ^ value;
    let paging_bits = cr4::PSE | cr4::PAE | cr4::PGE;
    if core.cpu.paging() && value & cr4::PAE != 0 && changed & paging_bits != 0 {
        core.cpu.pdpte = mmu::load_pdptes(core, core.cpu.cr3)?;
    }
    core.cpu.cr4 = value;
    if changed & paging_bits != 0 {
        flush_all(core);
    }
    segments::refresh(core);
    Ok(())
}

/// Whether control register `index` exists.
fn has_control(model: Model, index: u8) -> bool {
    match index {
        0 | 2 | 3 => true,
        4 => model.cr4_mask() != 0,
        _ => false,
    }
}

fn mov_from_control(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let index = i.src().index;
    if !has_control(core.cpu.model, index) {
        return Err(core.undefined());
    }
    core.require_ring_0()?;
    let value = match index {
        0 => core.cpu.cr0,
        2 => core.cpu.cr2,
        3 => core.cpu.cr3,
        _ => core.cpu.cr4,
    };
    core.cpu.gpr.write(i.dst().index, Width::Dword, value);
    Ok(())
}

fn mov_to_control(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let index = i.dst().index;
    if !has_control(core.cpu.model, index) {
        return Err(core.undefined());
    }
    core.require_ring_0()?;
    let value = core.cpu.gpr.read(i.src().index, Width::Dword);
    match index {
        0 => write_cr0(core, value),
        2 => {
            core.cpu.cr2 = value;
            Ok(())
        }
        3 => write_cr3(core, value),
        _ => write_cr4(core, value),
    }
}

fn invlpg(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    if !i.dst().is_mem() {
        return Err(core.undefined());
    }
    core.require_ring_0()?;
    let offset = core.offset(&i.mem);
    let linear = core.wrap_linear(core.cpu.segment(i.mem.seg).base.wrapping_add(offset));
    if core.cpu.cr4 & (cr4::PSE | cr4::PAE) != 0 && core.env.tlb.is_large(linear) {
        core.env.tlb.flush();
    } else {
        core.env.tlb.flush_page(linear);
        // Only when nothing else is to be looked at.
        if !core.env.flush_code {
            core.env.flushed_page = Some(linear);
        }
    }
    core.env.flush_code = true;
    Ok(())
}

/// INVD and WBINVD: there are no caches to flush.
fn flush_cache(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    core.require_ring_0()
}

fn hlt(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    core.require_ring_0()?;
    core.cpu.activity = Activity::Halted;
    Ok(())
}

/// UD0, UD1, UD2, RSM outside system management mode, MONITOR and MWAIT (no model has them).
fn undefined(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    Err(core.undefined())
}

// --- privilege queries ---------------------------------------------------------------------------

fn arpl(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    core.require_protected()?;
    let target = core.read_operand(i, i.dst(), Width::Word)?;
    let source = core.read_operand(i, i.src(), Width::Word)?;
    let raise = target & 3 < source & 3;
    if raise {
        core.write_operand(i, i.dst(), Width::Word, target & !3 | source & 3)?;
    }
    set_zf(core, raise);
    Ok(())
}

/// The descriptor that LAR, LSL, VERR or VERW asks about, when the program may see it.
fn visible(core: &mut Core<'_, '_>, selector: u16) -> Result<Option<segments::Descriptor>, Fault> {
    if is_null(selector) {
        return Ok(None);
    }
    let privilege = core.cpu.cpl.max((selector & 3) as u8);
    let found = descriptor(core, selector)?.map(|(_, d)| d);
    Ok(found.filter(|d| d.attributes().conforming() || d.attributes().dpl() >= privilege))
}

fn query(
    core: &mut Core<'_, '_>,
    i: &Insn,
    operand: crate::insn::Operand,
) -> Result<Option<segments::Descriptor>, Fault> {
    core.require_protected()?;
    let selector = core.read_operand(i, operand, Width::Word)? as u16;
    visible(core, selector)
}

fn is_system_kind(a: Attributes, kinds: u16) -> bool {
    kinds >> a.kind() & 1 != 0
}

fn lar(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    // Available and busy TSS, LDT, call gates and the task gate.
    const KINDS: u16 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12;
    let found = query(core, i, i.src())?;
    let found = found.filter(|d| d.attributes().is_code_or_data() || is_system_kind(d.attributes(), KINDS));
    if let Some(d) = found {
        let rights = d.0 >> 32 & if i.width == Width::Word { 0xff00 } else { 0x00f0_ff00 };
        core.cpu.gpr.write(i.dst().index, i.width, rights);
    }
    set_zf(core, found.is_some());
    Ok(())
}

fn lsl(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    const KINDS: u16 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;
    let found = query(core, i, i.src())?;
    let found = found.filter(|d| d.attributes().is_code_or_data() || is_system_kind(d.attributes(), KINDS));
    if let Some(d) = found {
        core.cpu.gpr.write(i.dst().index, i.width, u64::from(d.limit()) & i.width.mask());
    }
    set_zf(core, found.is_some());
    Ok(())
}

fn verr(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let found = query(core, i, i.dst())?;
    set_zf(core, found.is_some_and(|d| d.attributes().is_code_or_data() && d.attributes().readable()));
    Ok(())
}
fn verw(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let found = query(core, i, i.dst())?;
    set_zf(core, found.is_some_and(|d| d.attributes().writable()));
    Ok(())
}

// --- flags ---------------------------------------------------------------------------------------

/// What CLI and STI work on.
enum InterruptFlag {
    Real,
    Virtual,
}

fn interrupt_flag(core: &mut Core<'_, '_>) -> Result<InterruptFlag, Fault> {
    if !core.cpu.protected() || core.cpu.cpl <= core.cpu.iopl() {
        return Ok(InterruptFlag::Real);
    }
    let virtual_bit = if core.cpu.v86() { cr4::VME } else { cr4::PVI };
    if core.cpu.cr4 & virtual_bit != 0 && core.cpu.cpl == 3 {
        return Ok(InterruptFlag::Virtual);
    }
    Err(core.protection(0))
}

fn cli(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    match interrupt_flag(core)? {
        InterruptFlag::Real => core.cpu.system_flags &= !bits::IF,
        InterruptFlag::Virtual => core.cpu.system_flags &= !bits::VIF,
    }
    Ok(())
}

fn sti(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    match interrupt_flag(core)? {
        InterruptFlag::Real => {
            if !core.cpu.flag(bits::IF) {
                core.cpu.system_flags |= bits::IF;
                core.cpu.shadow = Shadow::Sti;
            }
        }
        InterruptFlag::Virtual => {
            if core.cpu.flag(bits::VIP) {
                return Err(core.protection(0));
            }
            core.cpu.system_flags |= bits::VIF;
        }
    }
    Ok(())
}

fn pushf(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let mut image = flags_image(core);
    if is_restricted_v86(core) {
        if i.width != Width::Word || core.cpu.cr4 & cr4::VME == 0 {
            return Err(core.protection(0));
        }
        let vif = image & bits::VIF != 0;
        image = image & !bits::IF | bits::IOPL | if vif { bits::IF } else { 0 };
    }
    core.push(i.width, image & !(bits::VM | bits::RF) & i.width.mask())
}

fn popf(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    const ALWAYS: u64 = bits::STATUS | bits::TF | bits::DF | bits::NT;
    let wide = i.width != Width::Word;
    let mut value = peek(core, 0, i.width)?;
    // RF is cleared, VM never changes.
    let mut mask = ALWAYS | if wide { bits::AC | bits::ID | bits::RF } else { 0 };
    value &= !bits::RF;
    if is_restricted_v86(core) {
        let blocked = value & bits::TF != 0 || value & bits::IF != 0 && core.cpu.flag(bits::VIP);
        if wide || core.cpu.cr4 & cr4::VME == 0 || blocked {
            return Err(core.protection(0));
        }
        value = value & !bits::VIF | if value & bits::IF != 0 { bits::VIF } else { 0 };
        mask |= bits::VIF;
    } else if !core.cpu.protected() || core.cpu.cpl == 0 {
        mask |= bits::IF | bits::IOPL;
        if wide {
            value &= !(bits::VIF | bits::VIP);
            mask |= bits::VIF | bits::VIP;
        }
    } else if core.cpu.cpl <= core.cpu.iopl() {
        mask |= bits::IF;
    }
    let sp = core.sp();
    core.set_sp(sp.wrapping_add(i.width.bytes()));
    load_flags(core, value, mask);
    Ok(())
}

// --- counters ------------------------------------------------------------------------------------

fn rdtsc(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    if core.cpu.cr4 & cr4::TSD != 0 && core.cpu.cpl != 0 {
        return Err(core.protection(0));
    }
    let tsc = core.cpu.tsc_at(core.ticks());
    core.cpu.gpr.write(gpr::AX, Width::Dword, tsc);
    core.cpu.gpr.write(gpr::DX, Width::Dword, tsc >> 32);
    Ok(())
}

/// RDPMC: two counters that never count.
fn rdpmc(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    let index = core.cpu.gpr.read(gpr::CX, Width::Dword);
    if core.cpu.cr4 & cr4::PCE == 0 && core.cpu.cpl != 0 || index > 1 {
        return Err(core.protection(0));
    }
    core.cpu.gpr.write(gpr::AX, Width::Dword, 0);
    core.cpu.gpr.write(gpr::DX, Width::Dword, 0);
    Ok(())
}

/// Writes EFER as WRMSR does; only NXE exists until long mode does.
pub(super) fn write_efer(core: &mut Core<'_, '_>, value: u64) -> Result<(), Fault> {
    if value & !efer::NXE != 0 {
        return Err(core.protection(0));
    }
    if core.cpu.msr.efer != value {
        core.cpu.msr.efer = value;
        flush_all(core);
    }
    Ok(())
}

/// The helper of an instruction of this folder's system part: segment loads, far transfers,
/// interrupts, port I/O, system registers, flags as a whole, processor identification.
#[must_use]
pub fn lookup(mnemonic: Mnemonic, code: Code) -> Option<Helper> {
    let helper: Helper = match (mnemonic, code) {
        (Mnemonic::Lgdt, _) => lgdt,
        (Mnemonic::Lidt, _) => lidt,
        (Mnemonic::Sgdt, _) => sgdt,
        (Mnemonic::Sidt, _) => sidt,
        (Mnemonic::Lldt, _) => lldt,
        (Mnemonic::Ltr, _) => ltr,
        (Mnemonic::Sldt, _) => sldt,
        (Mnemonic::Str, _) => str,
        (Mnemonic::Smsw, _) => smsw,
        (Mnemonic::Lmsw, _) => lmsw,
        (Mnemonic::Clts, _) => clts,
        (_, Code::Mov_r32_cr) => mov_from_control,
        (_, Code::Mov_cr_r32) => mov_to_control,
        (Mnemonic::Invlpg, _) => invlpg,
        (Mnemonic::Invd | Mnemonic::Wbinvd, _) => flush_cache,
        (Mnemonic::Hlt, _) => hlt,
        (Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2, _) => undefined,
        (Mnemonic::Rsm | Mnemonic::Monitor | Mnemonic::Mwait, _) => undefined,
        (Mnemonic::Arpl, _) => arpl,
        (Mnemonic::Lar, _) => lar,
        (Mnemonic::Lsl, _) => lsl,
        (Mnemonic::Verr, _) => verr,
        (Mnemonic::Verw, _) => verw,
        (Mnemonic::Cli, _) => cli,
        (Mnemonic::Sti, _) => sti,
        (Mnemonic::Pushf | Mnemonic::Pushfd, _) => pushf,
        (Mnemonic::Popf | Mnemonic::Popfd, _) => popf,
        (Mnemonic::Rdtsc, _) => rdtsc,
        (Mnemonic::Rdpmc, _) => rdpmc,
        _ => {
            let parts = [
                segments::lookup,
                control::lookup,
                interrupts::lookup,
                io::lookup,
                debug::lookup,
                cpuid::lookup,
                msr::lookup,
            ];
            return parts.iter().find_map(|part| part(mnemonic, code));
        }
    };
    Some(helper)
}
