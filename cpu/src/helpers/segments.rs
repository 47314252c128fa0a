//! Segment descriptors, and loading and storing segment registers.
//!
//! Facts are those of the Intel SDM, vol. 3, chapters 3 and 5, and the instruction pages of vol. 2.

use crate::core::{Core, Fault};
use crate::insn::{Code, Insn, Mnemonic, OperandKind};
use crate::model::Model;
use crate::state::{Attributes, Mode, Seg, Segment, Shadow, Width};

use crate::insn::Helper;

/// An entry of a descriptor table, as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub u64);

impl Descriptor {
    /// Type, DPL, presence and flags.
    #[must_use]
    pub const fn attributes(self) -> Attributes {
        Attributes((self.0 >> 40 & 0xff | self.0 >> 44 & 0xf00) as u16)
    }
    /// Base of a segment.
    #[must_use]
    pub const fn base(self) -> u64 {
        self.0 >> 16 & 0xff_ffff | self.0 >> 56 << 24
    }
    /// Limit of a segment in bytes, granularity applied.
    #[must_use]
    pub const fn limit(self) -> u32 {
        let limit = (self.0 & 0xffff | self.0 >> 32 & 0xf_0000) as u32;
        if self.attributes().granular() { limit << 12 | 0xfff } else { limit }
    }
    /// Selector in a gate.
    #[must_use]
    pub const fn gate_selector(self) -> u16 {
        (self.0 >> 16) as u16
    }
    /// Offset in a gate; 16-bit gates have only the lower half.
    #[must_use]
    pub const fn gate_offset(self) -> u64 {
        let offset = self.0 & 0xffff | self.0 >> 32 & 0xffff_0000;
        if self.attributes().kind() & 8 != 0 { offset } else { offset & 0xffff }
    }
    /// Number of parameters that a call gate copies.
    #[must_use]
    pub const fn gate_parameters(self) -> u64 {
        self.0 >> 32 & 31
    }
    /// The hidden part of a segment register that `selector` is loaded into.
    #[must_use]
    pub fn segment(self, selector: u16) -> Segment {
        Segment::new(selector, self.base(), self.limit(), self.attributes(), true)
    }
}

/// The error code that names `selector`; `ext` is 1 while an event from outside the program is
/// being delivered.
#[must_use]
pub const fn selector_error(selector: u16, ext: u32) -> u32 {
    (selector & 0xfffc) as u32 | ext
}

/// Whether `selector` is null.
#[must_use]
pub const fn is_null(selector: u16) -> bool {
    selector & 0xfffc == 0
}

/// A segment register after loading a null selector.
#[must_use]
pub fn null_segment(selector: u16) -> Segment {
    Segment::new(selector, 0, 0, Attributes(0), false)
}

/// Recomputes the mode after a change of segments, flags, privilege or control registers, and
/// drops what the TLB may no longer short-cut: with alignment checks on, user accesses take the
/// slow path.
#[inline]
pub fn refresh(core: &mut Core<'_, '_>) {
    let before = core.cpu.mode;
    core.cpu.update_mode();
    if core.cpu.mode.has(Mode::ALIGN) && !before.has(Mode::ALIGN) {
        core.env.tlb.flush();
    }
}

/// Puts a checked segment into CS. The caller refreshes the mode. Engines know code by its offset
/// and mode: a segment that lies elsewhere makes them look again.
#[inline]
pub fn set_code(core: &mut Core<'_, '_>, cs: Segment) {
    core.cpu.seg[Seg::Cs as usize] = cs;
}

/// Reads the descriptor that `selector` names: its linear address and itself. `None` when it lies
/// outside its table. A null selector is the caller's business.
pub fn descriptor(core: &mut Core<'_, '_>, selector: u16) -> Result<Option<(u64, Descriptor)>, Fault> {
    let offset = u64::from(selector & 0xfff8);
    let (base, limit) = if selector & 4 == 0 {
        (core.cpu.gdtr.base, u64::from(core.cpu.gdtr.limit))
    } else if core.cpu.ldtr.usable {
        (core.cpu.ldtr.base, u64::from(core.cpu.ldtr.limit))
    } else {
        return Ok(None);
    };
    if offset + 7 > limit {
        return Ok(None);
    }
    let address = core.wrap_linear(base.wrapping_add(offset));
    let mut raw = core.read_system(address, Width::Qword)?;
    if core.cpu.model == Model::I286 {
        // The last word is reserved on the 286; it has 24 base bits and 16 limit bits.
        raw &= 0xffff_ffff_ffff;
    }
    Ok(Some((address, Descriptor(raw))))
}

/// [`descriptor`], with #GP(selector) when there is none.
pub fn fetch(core: &mut Core<'_, '_>, selector: u16, ext: u32) -> Result<(u64, Descriptor), Fault> {
    match descriptor(core, selector)? {
        Some(found) => Ok(found),
        None => Err(core.protection(selector_error(selector, ext))),
    }
}

/// Sets the accessed bit of a code or data descriptor, in memory and in the copy.
pub fn mark_accessed(core: &mut Core<'_, '_>, address: u64, d: Descriptor) -> Result<Descriptor, Fault> {
    if d.0 >> 40 & 1 == 0 {
        core.write_system(address.wrapping_add(5), Width::Byte, (d.0 >> 40 | 1) & 0xff)?;
    }
    Ok(Descriptor(d.0 | 1 << 40))
}

/// What `seg` becomes when `selector` is loaded in real or virtual-8086 mode.
///
/// In real mode the limit stays (so that a limit above 64 KiB that protected mode loaded remains
/// usable); up to the 486, loading CS restores 64 KiB.
#[must_use]
pub fn real_segment(core: &Core<'_, '_>, seg: Seg, selector: u16) -> Segment {
    let base = u64::from(selector) << 4;
    if core.cpu.v86() {
        return Segment::new(selector, base, 0xffff, Attributes::V86, true);
    }
    let old = core.cpu.segment(seg);
    if !old.usable || seg == Seg::Cs && core.cpu.model <= Model::I486 {
        return Segment::new(selector, base, 0xffff, Attributes::REAL_DATA, true);
    }
    let attributes = Attributes(old.attributes.0 & 0xc00 | Attributes::REAL_DATA.0);
    Segment::new(selector, base, old.limit, attributes, true)
}

/// The fault for a selector or descriptor that will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// #GP: moves, jumps and returns.
    Protection,
    /// #TS: stacks from a TSS, and task switches.
    Tss,
}

impl Bad {
    fn raise(self, core: &mut Core<'_, '_>, error: u32) -> Fault {
        match self {
            Bad::Protection => core.protection(error),
            Bad::Tss => core.invalid_tss(error),
        }
    }
}

/// Checks loading `selector` into SS at privilege `cpl`. `bad` is the fault for
/// a selector or descriptor that will not do.
pub fn stack_segment(core: &mut Core<'_, '_>, selector: u16, cpl: u8, ext: u32, bad: Bad) -> Result<Segment, Fault> {
    let error = selector_error(selector, ext);
    if is_null(selector) {
        return Err(bad.raise(core, error));
    }
    let Some((address, d)) = descriptor(core, selector)? else {
        return Err(bad.raise(core, error));
    };
    let a = d.attributes();
    if (selector & 3) as u8 != cpl || !a.writable() || a.dpl() != cpl {
        return Err(bad.raise(core, error));
    }
    if !a.present() {
        return Err(core.stack_fault(error));
    }
    Ok(mark_accessed(core, address, d)?.segment(selector))
}

/// Checks loading `selector` into DS, ES, FS or GS at the current privilege.
pub fn data_segment(core: &mut Core<'_, '_>, selector: u16, ext: u32, bad: Bad) -> Result<Segment, Fault> {
    if is_null(selector) {
        return Ok(null_segment(selector));
    }
    let error = selector_error(selector, ext);
    let Some((address, d)) = descriptor(core, selector)? else {
        return Err(bad.raise(core, error));
    };
    let a = d.attributes();
    let readable = a.is_code_or_data() && a.readable();
    let privileged = a.conforming() || a.dpl() >= core.cpu.cpl.max((selector & 3) as u8);
    if !readable || !privileged {
        return Err(bad.raise(core, error));
    }
    if !a.present() {
        return Err(core.not_present(error));
    }
    Ok(mark_accessed(core, address, d)?.segment(selector))
}

/// What `seg` (not CS in protected mode) becomes when an instruction loads `selector`, all checks
/// made; nothing but the accessed bit of the descriptor has changed.
pub fn checked(core: &mut Core<'_, '_>, seg: Seg, selector: u16) -> Result<Segment, Fault> {
    if !core.cpu.protected() || core.cpu.v86() {
        return Ok(real_segment(core, seg, selector));
    }
    match seg {
        Seg::Ss if is_null(selector) => Err(core.protection(0)),
        Seg::Ss => {
            let cpl = core.cpu.cpl;
            stack_segment(core, selector, cpl, 0, Bad::Protection)
        }
        _ => data_segment(core, selector, 0, Bad::Protection),
    }
}

/// Puts a checked segment into its register.
pub fn commit(core: &mut Core<'_, '_>, seg: Seg, value: Segment) {
    if seg == Seg::Cs {
        set_code(core, value);
    } else {
        core.cpu.seg[seg as usize] = value;
    }
    refresh(core);
}

/// After a return to outer privilege `cpl`: data segments that it may not use become null.
pub fn drop_inner(core: &mut Core<'_, '_>, cpl: u8) {
    for seg in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
        let s = &mut core.cpu.seg[seg as usize];
        if !s.usable || !s.attributes.conforming() && s.attributes.dpl() < cpl {
            *s = null_segment(0);
        }
    }
}

/// The segment register number in an operand.
fn register(index: u8) -> Seg {
    Seg::ALL[usize::from(index.min(5))]
}

/// Whether the processor has no such segment register: FS and GS came with the 386.
fn lacks(core: &Core<'_, '_>, seg: Seg) -> bool {
    matches!(seg, Seg::Fs | Seg::Gs) && core.cpu.model == Model::I286
}

/// MOV Sreg, r/m16.
fn mov_to(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let seg = register(i.dst().index);
    if seg == Seg::Cs && core.cpu.model != Model::I8086 || lacks(core, seg) {
        return Err(core.undefined());
    }
    let selector = core.read_operand(i, i.src(), Width::Word)? as u16;
    let value = checked(core, seg, selector)?;
    commit(core, seg, value);
    if seg == Seg::Ss {
        core.cpu.shadow = Shadow::MovSs;
    }
    Ok(())
}

/// MOV r/m, Sreg: 16 bits to memory, zero-extended to a wider register.
fn mov_from(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let seg = register(i.src().index);
    if lacks(core, seg) {
        return Err(core.undefined());
    }
    let value = u64::from(core.cpu.segment(seg).selector);
    let wide = matches!(i.code, Code::Mov_r32m16_Sreg | Code::Mov_r64m16_Sreg);
    let width = if wide && i.dst().kind == OperandKind::Reg { Width::Dword } else { Width::Word };
    core.write_operand(i, i.dst(), width, value)
}

/// PUSH Sreg. A 32-bit push stores the selector zero-extended.
fn push(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let value = u64::from(core.cpu.segment(register(i.dst().index)).selector);
    core.push(i.width, value)
}

/// POP Sreg.
fn pop(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let seg = register(i.dst().index);
    let sp = core.sp();
    let selector = core.load(Seg::Ss, sp, i.width)? as u16;
    let value = checked(core, seg, selector)?;
    core.set_sp(sp.wrapping_add(i.width.bytes()));
    commit(core, seg, value);
    if seg == Seg::Ss {
        core.cpu.shadow = Shadow::MovSs;
    }
    Ok(())
}

/// LES, LDS, LSS, LFS, LGS.
fn load_far(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let seg = match i.mnemonic {
        Mnemonic::Les => Seg::Es,
        Mnemonic::Lss => Seg::Ss,
        Mnemonic::Lfs => Seg::Fs,
        Mnemonic::Lgs => Seg::Gs,
        _ => Seg::Ds,
    };
    if !i.src().is_mem() {
        return Err(core.undefined());
    }
    let (selector, offset) = far_pointer(core, i)?;
    let value = checked(core, seg, selector)?;
    core.cpu.gpr.write(i.dst().index, i.width, offset);
    commit(core, seg, value);
    Ok(())
}

/// The far pointer that the memory operand holds: selector and offset of the operand width.
pub fn far_pointer(core: &mut Core<'_, '_>, i: &Insn) -> Result<(u16, u64), Fault> {
    let at = core.offset(&i.mem);
    let next = at.wrapping_add(i.width.bytes()) & i.mem.width.mask();
    let offset = core.load(i.mem.seg, at, i.width)?;
    let selector = core.load(i.mem.seg, next, Width::Word)? as u16;
    Ok((selector, offset))
}

pub(super) fn lookup(mnemonic: Mnemonic, code: Code) -> Option<Helper> {
    Some(match (mnemonic, code) {
        (_, Code::Mov_Sreg_rm16 | Code::Mov_Sreg_r32m16 | Code::Mov_Sreg_r64m16) => mov_to,
        (_, Code::Mov_rm16_Sreg | Code::Mov_r32m16_Sreg | Code::Mov_r64m16_Sreg) => mov_from,
        (
            _,
            Code::Pushw_ES
            | Code::Pushd_ES
            | Code::Pushw_CS
            | Code::Pushd_CS
            | Code::Pushw_SS
            | Code::Pushd_SS
            | Code::Pushw_DS
            | Code::Pushd_DS
            | Code::Pushw_FS
            | Code::Pushd_FS
            | Code::Pushw_GS
            | Code::Pushd_GS,
        ) => push,
        (
            _,
            Code::Popw_ES
            | Code::Popd_ES
            | Code::Popw_CS
            | Code::Popw_SS
            | Code::Popd_SS
            | Code::Popw_DS
            | Code::Popd_DS
            | Code::Popw_FS
            | Code::Popd_FS
            | Code::Popw_GS
            | Code::Popd_GS,
        ) => pop,
        (Mnemonic::Les | Mnemonic::Lds | Mnemonic::Lss | Mnemonic::Lfs | Mnemonic::Lgs, _) => load_far,
        _ => return None,
    })
}
