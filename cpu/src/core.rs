//! The processor at work: state, memory and bus together, and the accesses that every engine and
//! every helper goes through.

use crate::bus::{Bus, Cycle};
use crate::insn::{Address, Insn, Operand, OperandKind};
use crate::interpreter::Ways;
use crate::memory::{Backing, GuestMemory, HostPage, PAGE};
use crate::mmu;
use crate::model::Model;
use crate::state::{CpuState, Exception, Mode, Seg, Width};
use crate::tlb::Tlb;

/// Proof that [`Env::leave`] says why the current instruction cannot go on.
// Small on purpose: `Result<u64, Fault>` travels in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Fault(());

impl Fault {
    /// Not a fault but a try that needs the long way; see [`crate::micro::Direct`].
    #[inline(always)]
    pub(crate) fn miss() -> Fault {
        Fault(())
    }
}

/// Why an instruction was left before it committed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The exception is to be delivered.
    Exception(Exception),
    /// The instruction touches a device or translated code, and must be run again alone
    /// ([`Env::stepping`]), with exact time and with the rest of its block forgotten.
    Step,
    /// A REP instruction has used up the budget in mid-run: `rip` stays, the rest comes later.
    Again,
}

/// How memory is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Data read.
    Read,
    /// Data write (or the read half of a read-modify-write).
    Write,
    /// Instruction fetch.
    Execute,
}

/// What surrounds the processor state during a run.
pub struct Env<'e> {
    /// Guest memory.
    pub memory: &'e mut GuestMemory,
    /// The board.
    pub bus: &'e mut dyn Bus,
    /// Linear to host page.
    pub tlb: &'e mut Tlb,
    /// Set together with every [`Fault`].
    pub leave: Leave,
    /// Exactly one instruction is being run: accesses to devices and stores to code may be made.
    pub stepping: bool,
    /// `ticks` when the run began, plus the whole budget: `end_ticks - remaining` is now.
    pub end_ticks: u64,
    /// Instructions left in the budget, those of the current block already taken off.
    pub remaining: i64,
    /// Address-translation state changed (CR0, CR3, CR4, A20…): the engine drops what it
    /// derived from it before the next instruction. Set by helpers.
    pub flush_code: bool,
    /// That concerns this linear address only (INVLPG).
    pub flushed_page: Option<u64>,
    /// Stores to translated code may be made at any time: the engine looks at
    /// [`GuestMemory::has_code_writes`] behind each instruction that took a slow path.
    pub code_stores: bool,
    /// Where the block that just ran goes on: 0 its jump target, 1 the instruction behind it,
    /// [`INDIRECT`] somewhere else, [`LEFT`] nowhere because an operation was left (`leave` says
    /// why), [`SLOW`] where `rip` says after a look at the world.
    pub successor: u8,
    /// Ways from block to block, for the interpreter.
    pub ways: &'e mut Ways,
}

impl<'e> Env<'e> {
    /// Surroundings without a budget, at the beginning of time.
    pub fn new(memory: &'e mut GuestMemory, bus: &'e mut dyn Bus, tlb: &'e mut Tlb, ways: &'e mut Ways) -> Env<'e> {
        Env {
            memory,
            bus,
            tlb,
            leave: Leave::Again,
            stepping: false,
            end_ticks: 0,
            remaining: 0,
            flush_code: false,
            flushed_page: None,
            code_stores: false,
            successor: INDIRECT,
            ways,
        }
    }
}

/// See [`Env::successor`].
pub const INDIRECT: u8 = 2;
/// See [`Env::successor`].
pub const LEFT: u8 = 3;
/// See [`Env::successor`].
pub const SLOW: u8 = 4;

/// Processor state and surroundings, as helpers see them.
pub struct Core<'c, 'e> {
    /// Architectural state.
    pub cpu: &'c mut CpuState,
    /// Memory, bus, TLB and the run's bookkeeping.
    pub env: &'c mut Env<'e>,
}

impl<'e> Core<'_, 'e> {
    // --- faults ------------------------------------------------------------------------------

    /// Records an exception; to be returned as `Err`.
    #[cold]
    pub fn raise(&mut self, vector: u8, error: Option<u32>) -> Fault {
        self.env.leave = Leave::Exception(Exception { vector, error, cr2: None, is_trap: false });
        Fault(())
    }
    /// #DE.
    pub fn divide_error(&mut self) -> Fault {
        self.raise(0, None)
    }
    /// #UD.
    pub fn undefined(&mut self) -> Fault {
        self.raise(6, None)
    }
    /// #NM.
    pub fn no_math(&mut self) -> Fault {
        self.raise(7, None)
    }
    /// #TS with a selector error code.
    pub fn invalid_tss(&mut self, error: u32) -> Fault {
        self.raise(10, Some(error))
    }
    /// #NP with a selector error code.
    pub fn not_present(&mut self, error: u32) -> Fault {
        self.raise(11, Some(error))
    }
    /// #SS.
    pub fn stack_fault(&mut self, error: u32) -> Fault {
        self.raise(12, Some(error))
    }
    /// An access beyond the limit of SS: #SS, in real mode of the 286 the same interrupt 13 as for
    /// the other segments.
    pub fn stack_overrun(&mut self, error: u32) -> Fault {
        if self.cpu.model == Model::I286 && !self.cpu.protected() {
            return self.protection(error);
        }
        self.stack_fault(error)
    }
    /// #GP.
    pub fn protection(&mut self, error: u32) -> Fault {
        self.raise(13, Some(error))
    }
    /// #PF at `linear`.
    pub fn page_fault(&mut self, linear: u64, error: u32) -> Fault {
        self.env.leave =
            Leave::Exception(Exception { vector: 14, error: Some(error), cr2: Some(linear), is_trap: false });
        Fault(())
    }
    /// #MF.
    pub fn math_fault(&mut self) -> Fault {
        self.raise(16, None)
    }
    /// #AC.
    pub fn alignment_fault(&mut self) -> Fault {
        self.raise(17, Some(0))
    }
    /// #XM.
    pub fn simd_fault(&mut self) -> Fault {
        self.raise(19, None)
    }
    /// The instruction must be run again alone.
    #[cold]
    pub fn step(&mut self) -> Fault {
        self.env.leave = Leave::Step;
        Fault(())
    }
    /// The REP instruction stops here and is run again later; whole iterations are committed.
    #[cold]
    pub fn again(&mut self) -> Fault {
        self.env.leave = Leave::Again;
        Fault(())
    }
    /// Guest time now, in ticks. Exact in instructions that end a block and in single-step mode.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.env.end_ticks.wrapping_sub(self.env.remaining as u64).wrapping_sub(1)
    }
    /// The surroundings of a bus access made now.
    pub fn cycle(&mut self) -> (&mut (dyn Bus + 'e), Cycle<'_>) {
        let ticks = self.ticks();
        (&mut *self.env.bus, Cycle { memory: &mut *self.env.memory, ticks })
    }

    // --- linear memory -------------------------------------------------------------------------

    /// Wraps a linear address to the width that the mode has.
    #[inline(always)]
    #[must_use]
    pub fn wrap_linear(&self, linear: u64) -> u64 {
        if self.cpu.mode.has(Mode::LONG) { linear } else { linear & 0xffff_ffff }
    }

    /// Loads at a linear address with the current privilege.
    #[inline(always)]
    pub fn read_linear(&mut self, linear: u64, width: Width) -> Result<u64, Fault> {
        let user = self.cpu.cpl == 3;
        if let Some(page) = self.env.tlb.read(linear, width.bytes(), user) {
            return Ok(load(self.env.memory, page, linear, width));
        }
        self.read_slow(linear, width, user)
    }
    /// Stores at a linear address with the current privilege.
    #[inline(always)]
    pub fn write_linear(&mut self, linear: u64, width: Width, value: u64) -> Result<(), Fault> {
        let user = self.cpu.cpl == 3;
        if let Some(page) = self.env.tlb.write(linear, width.bytes(), user) {
            store(self.env.memory, page, linear, width, value);
            return Ok(());
        }
        self.write_slow(linear, width, value, user)
    }
    /// Loads at a linear address what a store will replace: faults as the store would.
    #[inline(always)]
    pub fn read_linear_to_modify(&mut self, linear: u64, width: Width) -> Result<u64, Fault> {
        let user = self.cpu.cpl == 3;
        if let Some(page) = self.env.tlb.write(linear, width.bytes(), user) {
            return Ok(load(self.env.memory, page, linear, width));
        }
        self.modify_slow(linear, width, user)
    }
    #[cold]
    #[inline(never)]
    fn modify_slow(&mut self, linear: u64, width: Width, user: bool) -> Result<u64, Fault> {
        if linear % PAGE + width.bytes() <= PAGE
            && let Some((page, true)) = self.env.tlb.known(linear, user)
            && self.may_store(page, linear, width.bytes())
        {
            return Ok(load(self.env.memory, page, linear, width));
        }
        self.check_alignment(linear, width.bytes(), user)?;
        self.probe_linear(linear, width.bytes(), Access::Write, user)?;
        self.read_linear(linear, width)
    }
    /// Loads as the processor itself does (descriptor tables, TSS): supervisor privilege.
    pub fn read_system(&mut self, linear: u64, width: Width) -> Result<u64, Fault> {
        let linear = self.wrap_linear(linear);
        if let Some(page) = self.env.tlb.read(linear, width.bytes(), false) {
            return Ok(load(self.env.memory, page, linear, width));
        }
        self.read_slow(linear, width, false)
    }
    /// Stores as the processor itself does: supervisor privilege.
    pub fn write_system(&mut self, linear: u64, width: Width, value: u64) -> Result<(), Fault> {
        let linear = self.wrap_linear(linear);
        if let Some(page) = self.env.tlb.write(linear, width.bytes(), false) {
            store(self.env.memory, page, linear, width, value);
            return Ok(());
        }
        self.write_slow(linear, width, value, false)
    }

    /// Translates a linear address for `access`, entering the TLB where it may be entered.
    /// Returns the guest-physical address.
    ///
    /// # Errors
    /// A page fault. Accessed and dirty bits are set as the access demands.
    pub fn translate(&mut self, linear: u64, access: Access, user: bool) -> Result<u64, Fault> {
        mmu::translate(self, linear, access, user)
    }
    /// Checks that `size` ≥ 1 bytes at `linear` may be accessed, page faults included, so that a
    /// later access of the same kind cannot fault.
    pub fn probe_linear(&mut self, linear: u64, size: u64, access: Access, user: bool) -> Result<(), Fault> {
        let hit = match access {
            Access::Write => self.env.tlb.write(linear, size, user).is_some(),
            _ => self.env.tlb.read(linear, size, user).is_some(),
        };
        if hit {
            return Ok(());
        }
        let mut at = linear;
        let last = linear.wrapping_add(size - 1);
        loop {
            let upto = (PAGE - at % PAGE).min(last.wrapping_sub(at).wrapping_add(1));
            let place = self.wrap_linear(at);
            // What a real access would not walk for must not walk here either: the tables may
            // have changed since.
            match self.env.tlb.known(place, user).filter(|(_, is_writable)| *is_writable || access == Access::Read) {
                Some((page, _)) => self.may_touch_page(page, place, upto, access)?,
                None => {
                    let physical = self.translate(place, access, user)?;
                    self.may_touch(place, physical, upto, access)?;
                }
            }
            if last.wrapping_sub(at) < PAGE - at % PAGE {
                return Ok(());
            }
            at = (at | (PAGE - 1)).wrapping_add(1);
        }
    }
    /// Outside single-step mode, devices with side effects, watched bytes and stores to translated
    /// code are left to it.
    fn may_touch(&mut self, linear: u64, physical: u64, size: u64, access: Access) -> Result<(), Fault> {
        if !self.env.tlb.watches.is_empty() && self.env.tlb.watches.covers(linear, size, access) {
            if !self.env.stepping {
                return Err(self.step());
            }
            self.env.tlb.watches.note(linear, size, access);
        }
        if self.env.stepping {
            return Ok(());
        }
        match self.env.memory.backing(physical) {
            Backing::Mmio if is_passive(physical) => Ok(()),
            Backing::Mmio => Err(self.step()),
            Backing::Ram(page) => self.may_touch_page(page, physical, size, access),
            Backing::Rom(_) => Ok(()),
        }
    }
    /// As [`Core::may_touch`], for plain memory.
    fn may_touch_page(&mut self, page: HostPage, address: u64, size: u64, access: Access) -> Result<(), Fault> {
        if access == Access::Write && !self.may_store(page, address, size) {
            return Err(self.step());
        }
        Ok(())
    }
    /// Whether a store to plain memory may be done here: single-step mode takes those to translated code.
    fn may_store(&self, page: HostPage, address: u64, size: u64) -> bool {
        self.env.stepping || self.env.code_stores || !self.env.memory.holds_code(page, address, size)
    }

    #[cold]
    #[inline(never)]
    fn read_slow(&mut self, linear: u64, width: Width, user: bool) -> Result<u64, Fault> {
        let size = width.bytes();
        if linear % PAGE + size <= PAGE
            && let Some((page, _)) = self.env.tlb.known(linear, user)
        {
            self.env.tlb.fill_read(linear, user, page);
            return Ok(load(self.env.memory, page, linear, width));
        }
        self.env.tlb.misses += 1;
        self.check_alignment(linear, size, user)?;
        mmu::note_data_access(self, linear, size, Access::Read);
        if linear % PAGE + size <= PAGE {
            let physical = self.translate(linear, Access::Read, user)?;
            self.may_touch(linear, physical, size, Access::Read)?;
            return Ok(self.physical_read(physical, width));
        }
        // The access crosses into the next page: translate both before reading either.
        let first = PAGE - linear % PAGE;
        let next = self.wrap_linear(linear.wrapping_add(first));
        let low = self.translate(linear, Access::Read, user)?;
        let high = self.translate(next, Access::Read, user)?;
        self.may_touch(linear, low, first, Access::Read)?;
        self.may_touch(next, high, size - first, Access::Read)?;
        let mut value = 0;
        for i in 0..size {
            let at = if i < first { low + i } else { high + (i - first) };
            value |= self.physical_read(at, Width::Byte) << (8 * i);
        }
        Ok(value)
    }

    #[cold]
    #[inline(never)]
    fn write_slow(&mut self, linear: u64, width: Width, value: u64, user: bool) -> Result<(), Fault> {
        let size = width.bytes();
        if linear % PAGE + size <= PAGE
            && let Some((page, true)) = self.env.tlb.known(linear, user)
        {
            if self.env.memory.may_write_freely(page) {
                self.env.tlb.fill_write(linear, user, page);
                store(self.env.memory, page, linear, width, value);
                return Ok(());
            }
            if self.may_store(page, linear, size) {
                store(self.env.memory, page, linear, width, value);
                self.env.memory.note_write(page, linear, size);
                return Ok(());
            }
        }
        self.env.tlb.misses += 1;
        self.check_alignment(linear, size, user)?;
        mmu::note_data_access(self, linear, size, Access::Write);
        if linear % PAGE + size <= PAGE {
            let physical = self.translate(linear, Access::Write, user)?;
            self.may_touch(linear, physical, size, Access::Write)?;
            self.physical_write(physical, width, value);
            return Ok(());
        }
        let first = PAGE - linear % PAGE;
        let next = self.wrap_linear(linear.wrapping_add(first));
        let low = self.translate(linear, Access::Write, user)?;
        let high = self.translate(next, Access::Write, user)?;
        self.may_touch(linear, low, first, Access::Write)?;
        self.may_touch(next, high, size - first, Access::Write)?;
        for i in 0..size {
            let at = if i < first { low + i } else { high + (i - first) };
            self.physical_write(at, Width::Byte, value >> (8 * i) & 0xff);
        }
        Ok(())
    }

    /// #AC for a misaligned data access of CPL 3 when alignment checks are on. Such accesses never
    /// hit the TLB's fast path because [`mmu`] does not fill it in that mode.
    fn check_alignment(&mut self, linear: u64, size: u64, user: bool) -> Result<(), Fault> {
        if user && self.cpu.mode.has(Mode::ALIGN) && linear & (size.min(8) - 1) != 0 {
            return Err(self.alignment_fault());
        }
        Ok(())
    }

    /// Reads guest-physical memory or a device.
    pub fn physical_read(&mut self, physical: u64, width: Width) -> u64 {
        match self.env.memory.backing(physical) {
            Backing::Ram(page) | Backing::Rom(page) => load(self.env.memory, page, physical, width),
            Backing::Mmio => {
                let (bus, cycle) = self.cycle();
                bus.mmio_read(cycle, physical, width) & width.mask()
            }
        }
    }
    /// Writes guest-physical memory or a device; reports overwritten code.
    pub fn physical_write(&mut self, physical: u64, width: Width, value: u64) {
        match self.env.memory.backing(physical) {
            Backing::Ram(page) => {
                store(self.env.memory, page, physical, width, value);
                self.env.memory.note_write(page, physical, width.bytes());
            }
            Backing::Rom(_) => {}
            Backing::Mmio => {
                let (bus, cycle) = self.cycle();
                bus.mmio_write(cycle, physical, width, value & width.mask());
            }
        }
    }

    // --- segmented memory ----------------------------------------------------------------------

    /// The linear address of `size` ≥ 1 bytes at `seg:offset`, limits and type checked.
    ///
    /// # Errors
    /// #SS(0) for SS, #GP(0) for the other segments.
    #[inline(always)]
    pub fn linear(&mut self, seg: Seg, offset: u64, size: u64, access: Access) -> Result<u64, Fault> {
        let s = &self.cpu.seg[seg as usize];
        let end = if access == Access::Write { s.write_end } else { s.read_end };
        if offset.wrapping_add(size) <= end && offset < end {
            return Ok(self.wrap_linear(s.base.wrapping_add(offset)));
        }
        self.linear_slow(seg, offset, size, access)
    }
    #[cold]
    #[inline(never)]
    fn linear_slow(&mut self, seg: Seg, offset: u64, size: u64, access: Access) -> Result<u64, Fault> {
        let s = self.cpu.seg[seg as usize];
        if self.cpu.mode.has(Mode::LONG) {
            let base = if matches!(seg, Seg::Fs | Seg::Gs) { s.base } else { 0 };
            let linear = base.wrapping_add(offset);
            let canonical = |a: u64| a.wrapping_add(1 << 47) >> 48 == 0;
            if canonical(linear) && canonical(linear.wrapping_add(size - 1)) {
                return Ok(linear);
            }
        } else {
            let a = s.attributes;
            let type_ok = s.usable && a.present() && if access == Access::Write { a.writable() } else { a.readable() };
            let first = offset & 0xffff_ffff;
            let last = first + (size - 1);
            let limit = u64::from(s.limit);
            let inside = if a.expand_down() {
                let top = if a.big() { 0xffff_ffff } else { 0xffff };
                first > limit && last <= top
            } else {
                // A 4 GiB segment wraps around at its end.
                last <= limit || limit == 0xffff_ffff
            };
            if type_ok && inside {
                return Ok(self.wrap_linear(s.base.wrapping_add(first)));
            }
        }
        Err(if seg == Seg::Ss { self.stack_overrun(0) } else { self.protection(0) })
    }
    /// Loads from `seg:offset`.
    #[inline(always)]
    pub fn load(&mut self, seg: Seg, offset: u64, width: Width) -> Result<u64, Fault> {
        match self.linear(seg, offset, width.bytes(), Access::Read) {
            Ok(linear) => self.read_linear(linear, width),
            Err(fault) => self.load_around(seg, offset, width, fault),
        }
    }
    /// Loads from `seg:offset` what a store will replace: faults as the store would.
    #[inline(always)]
    pub fn load_to_modify(&mut self, seg: Seg, offset: u64, width: Width) -> Result<u64, Fault> {
        match self.linear(seg, offset, width.bytes(), Access::Write) {
            Ok(linear) => self.read_linear_to_modify(linear, width),
            Err(fault) => self.load_around(seg, offset, width, fault),
        }
    }
    /// Stores to `seg:offset`.
    #[inline(always)]
    pub fn store(&mut self, seg: Seg, offset: u64, width: Width, value: u64) -> Result<(), Fault> {
        match self.linear(seg, offset, width.bytes(), Access::Write) {
            Ok(linear) => self.write_linear(linear, width, value),
            Err(fault) => self.store_around(seg, offset, width, value, fault),
        }
    }
    /// On the 8086 a word at the last offset goes on at the first one; later processors fault.
    #[cold]
    #[inline(never)]
    fn load_around(&mut self, seg: Seg, offset: u64, width: Width, fault: Fault) -> Result<u64, Fault> {
        if self.cpu.model != Model::I8086 || width != Width::Word {
            return Err(fault);
        }
        let base = self.cpu.segment(seg).base;
        let low = self.read_linear(base + (offset & 0xffff), Width::Byte)?;
        let high = self.read_linear(base + ((offset + 1) & 0xffff), Width::Byte)?;
        Ok(low | high << 8)
    }
    #[cold]
    #[inline(never)]
    fn store_around(&mut self, seg: Seg, offset: u64, width: Width, value: u64, fault: Fault) -> Result<(), Fault> {
        if self.cpu.model != Model::I8086 || width != Width::Word {
            return Err(fault);
        }
        let (low, high) = (offset & 0xffff, (offset + 1) & 0xffff);
        // Both halves before either is written.
        self.probe_store(seg, low, 1)?;
        self.probe_store(seg, high, 1)?;
        self.store(seg, low, Width::Byte, value & 0xff)?;
        self.store(seg, high, Width::Byte, value >> 8 & 0xff)
    }
    /// Checks a later store to `seg:offset` of `size` bytes, without making it.
    pub fn probe_store(&mut self, seg: Seg, offset: u64, size: u64) -> Result<(), Fault> {
        if self.cpu.model == Model::I8086 && offset + size > 0x1_0000 {
            // The part that wraps is checked by the store itself.
            return self.probe_store(seg, offset, 1);
        }
        let linear = self.linear(seg, offset, size, Access::Write)?;
        self.probe_linear(linear, size, Access::Write, self.cpu.cpl == 3)
    }
    /// Whether translated code is among `size` bytes of one page at `seg:offset`, which [`Core::probe_store`] has found
    /// writable.
    ///
    /// # Errors
    /// As [`Core::probe_store`].
    pub fn overwrites_code(&mut self, seg: Seg, offset: u64, size: u64) -> Result<bool, Fault> {
        let linear = self.linear(seg, offset, size, Access::Write)?;
        let user = self.cpu.cpl == 3;
        if self.env.tlb.write(linear, size, user).is_some() {
            return Ok(false);
        }
        let page = match self.env.tlb.known(linear, user) {
            Some((page, _)) => page,
            None => {
                let physical = self.translate(linear, Access::Write, user)?;
                let Backing::Ram(page) = self.env.memory.backing(physical) else { return Ok(false) };
                page
            }
        };
        Ok(self.env.memory.holds_code(page, linear, size))
    }
    /// [`Core::probe_store`] for one operand: its alignment is checked too.
    pub fn probe_word(&mut self, seg: Seg, offset: u64, width: Width) -> Result<(), Fault> {
        if self.cpu.mode.has(Mode::ALIGN) {
            let linear = self.linear(seg, offset, width.bytes(), Access::Write)?;
            self.check_alignment(linear, width.bytes(), self.cpu.cpl == 3)?;
        }
        self.probe_store(seg, offset, width.bytes())
    }
    /// #AC for the operands of several words: extended precision and BCD count as 8 bytes, images of the x87 as words
    /// or dwords (SDM vol. 3, table 6-7).
    fn check_block_alignment(&mut self, linear: u64, size: u64, user: bool) -> Result<(), Fault> {
        let unit = match size {
            10 => 8,
            14 | 94 => 2,
            28 | 108 => 4,
            _ => 1,
        };
        self.check_alignment(linear, unit, user)
    }
    /// Loads `buf.len()` (1–512) bytes from `seg:offset`; nothing is read when a part would fault.
    pub fn load_bytes(&mut self, seg: Seg, offset: u64, buf: &mut [u8]) -> Result<(), Fault> {
        let size = buf.len() as u64;
        let linear = self.linear(seg, offset, size, Access::Read)?;
        let user = self.cpu.cpl == 3;
        if let Some(page) = self.env.tlb.read(linear, size, user) {
            let at = (linear % PAGE) as usize;
            buf.copy_from_slice(&self.env.memory.page(page)[at..at + buf.len()]);
            return Ok(());
        }
        self.check_block_alignment(linear, size, user)?;
        self.probe_linear(linear, size, Access::Read, user)?;
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte = self.read_linear(self.wrap_linear(linear.wrapping_add(i as u64)), Width::Byte)? as u8;
        }
        Ok(())
    }
    /// [`Core::load_bytes`] when that needs nothing but memory that was read before; else nothing happens.
    pub fn load_known(&mut self, seg: Seg, offset: u64, buf: &mut [u8]) -> bool {
        let size = buf.len() as u64;
        let user = self.cpu.cpl == 3;
        let Ok(linear) = self.linear(seg, offset, size, Access::Read) else { return false };
        let Some(page) = self.env.tlb.read(linear, size, user) else { return false };
        let at = (linear % PAGE) as usize;
        buf.copy_from_slice(&self.env.memory.page(page)[at..at + buf.len()]);
        true
    }
    /// Stores `buf.len()` (1–512) bytes at `seg:offset`; nothing is written when a part would fault.
    pub fn store_bytes(&mut self, seg: Seg, offset: u64, buf: &[u8]) -> Result<(), Fault> {
        let size = buf.len() as u64;
        let linear = self.linear(seg, offset, size, Access::Write)?;
        let user = self.cpu.cpl == 3;
        if let Some(page) = self.env.tlb.write(linear, size, user) {
            let at = (linear % PAGE) as usize;
            self.env.memory.page_mut(page)[at..at + buf.len()].copy_from_slice(buf);
            return Ok(());
        }
        self.check_block_alignment(linear, size, user)?;
        self.probe_linear(linear, size, Access::Write, user)?;
        for (i, byte) in buf.iter().enumerate() {
            self.write_linear(self.wrap_linear(linear.wrapping_add(i as u64)), Width::Byte, u64::from(*byte))?;
        }
        Ok(())
    }

    // --- operands --------------------------------------------------------------------------------

    /// Offset of the memory operand, wrapped to the address width.
    #[inline(always)]
    #[must_use]
    pub fn offset(&self, mem: &Address) -> u64 {
        let g = &self.cpu.gpr;
        g.get(mem.base).wrapping_add(g.get(mem.index) << (mem.shift & 3)).wrapping_add(mem.disp) & mem.width.mask()
    }
    /// Value of a general-purpose, immediate or memory operand, zero-extended from `width`.
    #[inline(always)]
    pub fn read_operand(&mut self, i: &Insn, operand: Operand, width: Width) -> Result<u64, Fault> {
        Ok(match operand.kind {
            OperandKind::Reg => self.cpu.gpr.read(operand.index, width),
            OperandKind::RegHigh => self.cpu.gpr.read_high(operand.index),
            OperandKind::Mem => {
                let offset = self.offset(&i.mem);
                self.load(i.mem.seg, offset, width)?
            }
            OperandKind::Seg => u64::from(self.cpu.seg[usize::from(operand.index.min(5))].selector),
            _ => i.imm & width.mask(),
        })
    }
    /// Writes a general-purpose register or memory operand.
    #[inline(always)]
    pub fn write_operand(&mut self, i: &Insn, operand: Operand, width: Width, value: u64) -> Result<(), Fault> {
        match operand.kind {
            OperandKind::Reg => self.cpu.gpr.write(operand.index, width, value),
            OperandKind::RegHigh => self.cpu.gpr.write_high(operand.index, value),
            OperandKind::Mem => {
                let offset = self.offset(&i.mem);
                self.store(i.mem.seg, offset, width, value)?;
            }
            _ => {}
        }
        Ok(())
    }
    /// Checks that the memory operand can be written (read-modify-write instructions do this
    /// before they change anything else).
    pub fn probe_operand(&mut self, i: &Insn, operand: Operand, width: Width) -> Result<(), Fault> {
        if operand.is_mem() {
            let offset = self.offset(&i.mem);
            self.probe_word(i.mem.seg, offset, width)?;
        }
        Ok(())
    }
    /// The stack pointer, cut to the stack's width.
    #[inline(always)]
    #[must_use]
    pub fn sp(&self) -> u64 {
        self.cpu.gpr.read(crate::state::gpr::SP, self.cpu.mode.stack_width())
    }
    /// Replaces the stack pointer, as wide as the stack is.
    #[inline(always)]
    pub fn set_sp(&mut self, value: u64) {
        let width = self.cpu.mode.stack_width();
        let keep = if width == Width::Word { self.cpu.gpr.get(4) & !0xffff } else { 0 };
        self.cpu.gpr.set(4, keep | value & width.mask());
    }
    /// PUSH: stores, then moves the stack pointer.
    #[inline(always)]
    pub fn push(&mut self, width: Width, value: u64) -> Result<(), Fault> {
        let sp = self.sp().wrapping_sub(width.bytes()) & self.cpu.mode.stack_width().mask();
        self.store(Seg::Ss, sp, width, value)?;
        self.set_sp(sp);
        Ok(())
    }
    /// POP.
    #[inline(always)]
    pub fn pop(&mut self, width: Width) -> Result<u64, Fault> {
        let sp = self.sp();
        let value = self.load(Seg::Ss, sp, width)?;
        self.set_sp(sp.wrapping_add(width.bytes()));
        Ok(value)
    }
}

/// Bit in [`CpuState::pending_debug`] beside the DR6 bits: at least one of the conditions is enabled.
pub const DEBUG_ENABLED: u64 = 1 << 63;

/// Whether a device window has no side effects beyond its own contents, so that it may be
/// accessed in the middle of a block: the legacy video window.
fn is_passive(physical: u64) -> bool {
    (0xa_0000..0xc_0000).contains(&physical)
}

#[inline(always)]
pub(crate) fn load(memory: &GuestMemory, page: HostPage, offset: u64, width: Width) -> u64 {
    match width {
        Width::Byte => u64::from(memory.load::<1>(page, offset)[0]),
        Width::Word => u64::from(u16::from_le_bytes(memory.load(page, offset))),
        Width::Dword => u64::from(u32::from_le_bytes(memory.load(page, offset))),
        Width::Qword => u64::from_le_bytes(memory.load(page, offset)),
    }
}

#[inline(always)]
pub(crate) fn store(memory: &mut GuestMemory, page: HostPage, offset: u64, width: Width, value: u64) {
    match width {
        Width::Byte => memory.store::<1>(page, offset, [value as u8]),
        Width::Word => memory.store(page, offset, (value as u16).to_le_bytes()),
        Width::Dword => memory.store(page, offset, (value as u32).to_le_bytes()),
        Width::Qword => memory.store(page, offset, value.to_le_bytes()),
    }
}
