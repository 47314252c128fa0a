//! Pushing onto a stack that may not be the current one yet.

use crate::core::{Access, Core, Fault};
use crate::model::Model;
use crate::state::{Seg, Segment, Width, gpr};

/// A stack during a control transfer. Nothing reaches the registers before [`Stack::commit`].
pub(super) struct Stack {
    /// SS as it is or will be.
    pub segment: Segment,
    /// Stack pointer.
    pub sp: u64,
    /// Whether accesses are made with user privilege.
    user: bool,
    /// Error code of a stack fault.
    error: u32,
}

impl Stack {
    /// The current stack.
    pub fn current(core: &Core<'_, '_>, ext: u32) -> Stack {
        Stack { segment: *core.cpu.segment(Seg::Ss), sp: core.sp(), user: core.cpu.cpl == 3, error: ext }
    }
    /// An inner stack, which the supervisor uses.
    pub fn inner(segment: Segment, sp: u64, ext: u32) -> Stack {
        let error = super::segments::selector_error(segment.selector, ext);
        let mut stack = Stack { segment, sp, user: false, error };
        stack.sp &= stack.mask();
        stack
    }
    fn mask(&self) -> u64 {
        if self.segment.attributes.big() { 0xffff_ffff } else { 0xffff }
    }
    fn linear(&self, core: &mut Core<'_, '_>, offset: u64, size: u64) -> Result<u64, Fault> {
        let s = &self.segment;
        let last = offset + (size - 1);
        let inside = if last < s.write_end {
            true
        } else if !s.usable || !s.attributes.writable() {
            false
        } else if s.attributes.expand_down() {
            offset > u64::from(s.limit) && last <= self.mask()
        } else {
            s.limit == u32::MAX
        };
        if inside { Ok(core.wrap_linear(s.base.wrapping_add(offset))) } else { Err(core.stack_overrun(self.error)) }
    }
    /// Makes sure that `count` pushes of `width` will not fault.
    pub fn reserve(&self, core: &mut Core<'_, '_>, count: u64, width: Width) -> Result<(), Fault> {
        let (mask, bytes) = (self.mask(), count * width.bytes());
        if self.sp >= bytes && self.sp <= self.segment.write_end {
            let low = core.wrap_linear(self.segment.base.wrapping_add(self.sp - bytes));
            if core.env.tlb.write(low, bytes, self.user).is_some() {
                return Ok(());
            }
        }
        if core.cpu.model == Model::I8086 {
            // Its stacks wrap and nothing faults.
            return Ok(());
        }
        let mut sp = self.sp;
        for _ in 0..count {
            sp = sp.wrapping_sub(width.bytes()) & mask;
            let linear = self.linear(core, sp, width.bytes())?;
            core.probe_linear(linear, width.bytes(), Access::Write, self.user)?;
        }
        Ok(())
    }
    /// Pushes a value.
    pub fn push(&mut self, core: &mut Core<'_, '_>, width: Width, value: u64) -> Result<(), Fault> {
        let sp = self.sp.wrapping_sub(width.bytes()) & self.mask();
        if core.cpu.model == Model::I8086 {
            core.store(Seg::Ss, sp, width, value)?;
            self.sp = sp;
            return Ok(());
        }
        let linear = self.linear(core, sp, width.bytes())?;
        if self.user {
            core.write_linear(linear, width, value)?;
        } else {
            core.write_system(linear, width, value)?;
        }
        self.sp = sp;
        Ok(())
    }
    /// Moves SS and the stack pointer to the registers. The caller refreshes the mode.
    pub fn commit(&self, core: &mut Core<'_, '_>) {
        core.cpu.seg[Seg::Ss as usize] = self.segment;
        set_pointer(core, self.sp);
    }
}

/// Replaces ESP or SP as the segment now in SS says.
pub(super) fn set_pointer(core: &mut Core<'_, '_>, sp: u64) {
    let width = if core.cpu.segment(Seg::Ss).attributes.big() { Width::Dword } else { Width::Word };
    core.cpu.gpr.write(gpr::SP, width, sp & width.mask());
}

/// The value `bytes` above the top of the current stack.
pub(super) fn peek(core: &mut Core<'_, '_>, bytes: u64, width: Width) -> Result<u64, Fault> {
    let at = core.sp().wrapping_add(bytes) & core.cpu.mode.stack_width().mask();
    core.load(Seg::Ss, at, width)
}
