//! The vocabulary in which instruction semantics are written.
//!
//! The value type is opaque, so that one semantics function serves engines whose values are
//! integers (the interpreter) and engines whose values are names of values to come (a
//! translator). Values are zero-extended from the width that they were made with.

use crate::core::{Access, Core, Env, Fault};
use crate::flags::{Cond, FlagsOf};
use crate::insn::{Address, Insn, Operand, OperandKind};
use crate::state::{CpuState, Mode, Seg, Width, gpr};

/// See the module documentation.
pub trait Micro {
    /// A value.
    type V: Copy;

    /// The mode in which the current code was decoded.
    fn mode(&self) -> Mode;

    /// A constant.
    fn imm(&mut self, value: u64) -> Self::V;
    /// Low `width` bits of a general-purpose register.
    fn reg(&mut self, index: u8, width: Width) -> Self::V;
    /// Writes a general-purpose register; 32-bit writes clear the upper half.
    fn set_reg(&mut self, index: u8, width: Width, value: Self::V);
    /// Bits 15–8 of a general-purpose register.
    fn reg_high(&mut self, index: u8) -> Self::V;
    /// Writes bits 15–8 of a general-purpose register.
    fn set_reg_high(&mut self, index: u8, value: Self::V);
    /// Selector of a segment register.
    fn selector(&mut self, index: u8) -> Self::V;

    /// a + b.
    fn add(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// a − b.
    fn sub(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// a AND b.
    fn and(&mut self, a: Self::V, b: Self::V) -> Self::V;
    /// a OR b.
    fn or(&mut self, a: Self::V, b: Self::V) -> Self::V;
    /// a XOR b.
    fn xor(&mut self, a: Self::V, b: Self::V) -> Self::V;
    /// NOT a.
    fn not(&mut self, width: Width, a: Self::V) -> Self::V;
    /// a shifted left; `count` < 64, bits beyond the width fall off.
    fn shl(&mut self, width: Width, a: Self::V, count: Self::V) -> Self::V;
    /// a shifted right, zeros come in; `count` < 64.
    fn shr(&mut self, width: Width, a: Self::V, count: Self::V) -> Self::V;
    /// a shifted right, copies of the sign come in; `count` < 64.
    fn sar(&mut self, width: Width, a: Self::V, count: Self::V) -> Self::V;
    /// a rotated left; `count` modulo the width.
    fn rol(&mut self, width: Width, a: Self::V, count: Self::V) -> Self::V;
    /// Low half of the product.
    fn mul(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// High half of the unsigned product.
    fn mul_high(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// High half of the signed product.
    fn mul_high_signed(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V;
    /// Sign-extends from one width to another.
    fn sign_extend(&mut self, from: Width, to: Width, a: Self::V) -> Self::V;
    /// Cuts to a narrower width.
    fn truncate(&mut self, to: Width, a: Self::V) -> Self::V;
    /// Bytes in reverse order (32 or 64 bits).
    fn byte_swap(&mut self, width: Width, a: Self::V) -> Self::V;
    /// 1 when a = b, else 0.
    fn equal(&mut self, a: Self::V, b: Self::V) -> Self::V;
    /// `yes` when `cond` is not 0, else `no`.
    fn select(&mut self, cond: Self::V, yes: Self::V, no: Self::V) -> Self::V;

    /// Loads from memory.
    ///
    /// # Errors
    /// The fault is recorded; the instruction must return it without having committed anything.
    fn load(&mut self, at: &Address, width: Width) -> Result<Self::V, Fault>;
    /// Loads what a `store` to the same place will replace: faults as a write does.
    ///
    /// # Errors
    /// As for `load`.
    fn load_to_modify(&mut self, at: &Address, width: Width) -> Result<Self::V, Fault>;
    /// Stores to memory.
    ///
    /// # Errors
    /// As for `load`.
    fn store(&mut self, at: &Address, width: Width, value: Self::V) -> Result<(), Fault>;
    /// Offset of a memory operand in its segment: LEA.
    fn offset(&mut self, at: &Address) -> Self::V;
    /// Loads from the stack segment at `offset`.
    ///
    /// # Errors
    /// As for `load`.
    fn load_stack(&mut self, offset: Self::V, width: Width) -> Result<Self::V, Fault>;
    /// Stores to the stack segment at `offset`.
    ///
    /// # Errors
    /// As for `load`.
    fn store_stack(&mut self, offset: Self::V, width: Width, value: Self::V) -> Result<(), Fault>;

    /// Records the operation from which the six status flags follow.
    fn flags(&mut self, of: FlagsOf, width: Width, a: Self::V, b: Self::V, r: Self::V);
    /// The same, only when `cond` is not 0.
    fn flags_if(&mut self, cond: Self::V, of: FlagsOf, width: Width, a: Self::V, b: Self::V, r: Self::V);
    /// 1 when `cond` holds, else 0.
    fn cond(&mut self, cond: Cond) -> Self::V;
    /// The six status flags as EFLAGS bits.
    fn status(&mut self) -> Self::V;
    /// Changes only CF (bit 0 of `cf`).
    fn set_carry(&mut self, cf: Self::V);
    /// Changes only CF and OF (bits 0), and only when `cond` is not 0.
    fn set_carry_overflow_if(&mut self, cond: Self::V, cf: Self::V, of: Self::V);
    /// Changes DF.
    fn set_direction(&mut self, down: bool);

    /// Ends the block: goes on at `target`, an offset in CS.
    ///
    /// # Errors
    /// #GP when it lies outside the code segment.
    fn jump(&mut self, i: &Insn, target: Self::V) -> Result<(), Fault>;
    /// Ends the block: goes on at the constant `i.imm` when `cond` is not 0, else at the next
    /// instruction.
    ///
    /// # Errors
    /// #GP when the target lies outside the code segment.
    fn branch(&mut self, i: &Insn, cond: Self::V) -> Result<(), Fault>;
    /// Ends the block: goes on at the constant `i.imm`.
    ///
    /// # Errors
    /// #GP when it lies outside the code segment.
    fn goto(&mut self, i: &Insn) -> Result<(), Fault>;
    /// Checks that the target of a later `goto` lies inside the code segment, for instructions
    /// that commit something before they jump.
    ///
    /// # Errors
    /// #GP when it does not.
    fn check_target(&mut self, target: Self::V) -> Result<(), Fault>;

    // --- composed ------------------------------------------------------------------------------

    /// Value of an operand.
    ///
    /// # Errors
    /// As for `load`.
    #[inline(always)]
    fn read(&mut self, i: &Insn, operand: Operand, width: Width) -> Result<Self::V, Fault> {
        Ok(match operand.kind {
            OperandKind::Reg => self.reg(operand.index, width),
            OperandKind::RegHigh => self.reg_high(operand.index),
            OperandKind::Mem => self.load(&i.mem, width)?,
            OperandKind::Seg => self.selector(operand.index),
            _ => self.imm(i.imm & width.mask()),
        })
    }
    /// Value of an operand that the same instruction will write.
    ///
    /// # Errors
    /// As for `load`.
    #[inline(always)]
    fn read_to_modify(&mut self, i: &Insn, operand: Operand, width: Width) -> Result<Self::V, Fault> {
        match operand.kind {
            OperandKind::Mem => self.load_to_modify(&i.mem, width),
            _ => self.read(i, operand, width),
        }
    }
    /// Writes an operand.
    ///
    /// # Errors
    /// As for `load`.
    #[inline(always)]
    fn write(&mut self, i: &Insn, operand: Operand, width: Width, value: Self::V) -> Result<(), Fault> {
        match operand.kind {
            OperandKind::Reg => self.set_reg(operand.index, width, value),
            OperandKind::RegHigh => self.set_reg_high(operand.index, value),
            OperandKind::Mem => self.store(&i.mem, width, value)?,
            _ => {}
        }
        Ok(())
    }
    /// The stack pointer moved by `delta`, not yet written back.
    #[inline(always)]
    fn stack_pointer(&mut self, delta: i64) -> Self::V {
        let width = self.mode().stack_width();
        let sp = self.reg(gpr::SP, width);
        if delta == 0 {
            return sp;
        }
        let delta = self.imm(delta as u64 & width.mask());
        self.add(width, sp, delta)
    }
    /// Writes back the stack pointer.
    #[inline(always)]
    fn set_stack_pointer(&mut self, sp: Self::V) {
        let width = self.mode().stack_width();
        self.set_reg(gpr::SP, width, sp);
    }
    /// PUSH.
    ///
    /// # Errors
    /// As for `store`; the stack pointer is then unchanged.
    #[inline(always)]
    fn push(&mut self, width: Width, value: Self::V) -> Result<(), Fault> {
        let sp = self.stack_pointer(-(width.bytes() as i64));
        self.store_stack(sp, width, value)?;
        self.set_stack_pointer(sp);
        Ok(())
    }
}

/// The interpreter's instance: values are values.
///
/// With `FAST`, whatever is not a TLB hit inside its segment ends in `Err` with nothing recorded;
/// the caller then runs the instruction again without `FAST`, which is sound because nothing has
/// been committed. So the fast code contains no calls.
pub struct Direct<'c, 'e, const FAST: bool> {
    /// Architectural state.
    pub cpu: &'c mut CpuState,
    /// Memory, bus, TLB and the run's bookkeeping.
    pub env: &'c mut Env<'e>,
}

impl<'e, const FAST: bool> Direct<'_, 'e, FAST> {
    #[inline(always)]
    fn core(&mut self) -> Core<'_, 'e> {
        Core { cpu: self.cpu, env: self.env }
    }
    #[inline(always)]
    fn address(&self, at: &Address) -> u64 {
        let g = &self.cpu.gpr;
        // An absent index is often a constant here, and then costs nothing.
        let index = if at.index == gpr::NONE { 0 } else { g.get(at.index) << (at.shift & 3) };
        g.get(at.base).wrapping_add(index).wrapping_add(at.disp) & at.width.mask()
    }
    /// The linear address of a segmented access.
    #[inline(always)]
    fn linear(&mut self, seg: Seg, offset: u64, width: Width, access: Access) -> Result<u64, Fault> {
        if FAST {
            let s = &self.cpu.seg[seg as usize];
            let end = if access == Access::Write { s.write_end } else { s.read_end };
            if offset.wrapping_add(width.bytes()) <= end && offset < end {
                let linear = s.base.wrapping_add(offset);
                return Ok(if self.cpu.mode.has(Mode::LONG) { linear } else { linear & 0xffff_ffff });
            }
            return Err(Fault::miss());
        }
        self.core().linear(seg, offset, width.bytes(), access)
    }
    #[inline(always)]
    fn read_linear(&mut self, linear: u64, width: Width) -> Result<u64, Fault> {
        if FAST {
            return match self.env.tlb.read_in(linear, width.bytes(), self.cpu.tlb_half) {
                Some(page) => Ok(crate::core::load(self.env.memory, page, linear, width)),
                None => Err(Fault::miss()),
            };
        }
        self.core().read_linear(linear, width)
    }
    #[inline(always)]
    fn write_linear(&mut self, linear: u64, width: Width, value: u64) -> Result<(), Fault> {
        if FAST {
            return match self.env.tlb.write_in(linear, width.bytes(), self.cpu.tlb_half) {
                Some(page) => {
                    crate::core::store(self.env.memory, page, linear, width, value);
                    Ok(())
                }
                None => Err(Fault::miss()),
            };
        }
        self.core().write_linear(linear, width, value)
    }
}

impl<const FAST: bool> Micro for Direct<'_, '_, FAST> {
    type V = u64;

    #[inline(always)]
    fn mode(&self) -> Mode {
        self.cpu.mode
    }
    #[inline(always)]
    fn imm(&mut self, value: u64) -> u64 {
        value
    }
    #[inline(always)]
    fn reg(&mut self, index: u8, width: Width) -> u64 {
        self.cpu.gpr.read(index, width)
    }
    #[inline(always)]
    fn set_reg(&mut self, index: u8, width: Width, value: u64) {
        self.cpu.gpr.write(index, width, value);
    }
    #[inline(always)]
    fn reg_high(&mut self, index: u8) -> u64 {
        self.cpu.gpr.read_high(index)
    }
    #[inline(always)]
    fn set_reg_high(&mut self, index: u8, value: u64) {
        self.cpu.gpr.write_high(index, value);
    }
    #[inline(always)]
    fn selector(&mut self, index: u8) -> u64 {
        u64::from(self.cpu.seg[usize::from(index.min(5))].selector)
    }
    #[inline(always)]
    fn add(&mut self, width: Width, a: u64, b: u64) -> u64 {
        a.wrapping_add(b) & width.mask()
    }
    #[inline(always)]
    fn sub(&mut self, width: Width, a: u64, b: u64) -> u64 {
        a.wrapping_sub(b) & width.mask()
    }
    #[inline(always)]
    fn and(&mut self, a: u64, b: u64) -> u64 {
        a & b
    }
    #[inline(always)]
    fn or(&mut self, a: u64, b: u64) -> u64 {
        a | b
    }
    #[inline(always)]
    fn xor(&mut self, a: u64, b: u64) -> u64 {
        a ^ b
    }
    #[inline(always)]
    fn not(&mut self, width: Width, a: u64) -> u64 {
        !a & width.mask()
    }
    #[inline(always)]
    fn shl(&mut self, width: Width, a: u64, count: u64) -> u64 {
        a << (count & 63) & width.mask()
    }
    #[inline(always)]
    fn shr(&mut self, _width: Width, a: u64, count: u64) -> u64 {
        a >> (count & 63)
    }
    #[inline(always)]
    fn sar(&mut self, width: Width, a: u64, count: u64) -> u64 {
        (width.sign_extend(a) >> (count & 63)) as u64 & width.mask()
    }
    #[inline(always)]
    fn rol(&mut self, width: Width, a: u64, count: u64) -> u64 {
        match width {
            Width::Byte => u64::from((a as u8).rotate_left(count as u32 & 7)),
            Width::Word => u64::from((a as u16).rotate_left(count as u32 & 15)),
            Width::Dword => u64::from((a as u32).rotate_left(count as u32 & 31)),
            Width::Qword => a.rotate_left(count as u32 & 63),
        }
    }
    #[inline(always)]
    fn mul(&mut self, width: Width, a: u64, b: u64) -> u64 {
        a.wrapping_mul(b) & width.mask()
    }
    #[inline(always)]
    fn mul_high(&mut self, width: Width, a: u64, b: u64) -> u64 {
        match width {
            Width::Qword => ((u128::from(a) * u128::from(b)) >> 64) as u64,
            _ => a.wrapping_mul(b) >> width.bits(),
        }
    }
    #[inline(always)]
    fn mul_high_signed(&mut self, width: Width, a: u64, b: u64) -> u64 {
        let (a, b) = (width.sign_extend(a), width.sign_extend(b));
        match width {
            Width::Qword => ((i128::from(a) * i128::from(b)) >> 64) as u64,
            _ => (a.wrapping_mul(b) >> width.bits()) as u64 & width.mask(),
        }
    }
    #[inline(always)]
    fn sign_extend(&mut self, from: Width, to: Width, a: u64) -> u64 {
        from.sign_extend(a) as u64 & to.mask()
    }
    #[inline(always)]
    fn truncate(&mut self, to: Width, a: u64) -> u64 {
        a & to.mask()
    }
    #[inline(always)]
    fn byte_swap(&mut self, width: Width, a: u64) -> u64 {
        match width {
            Width::Qword => a.swap_bytes(),
            Width::Dword => u64::from((a as u32).swap_bytes()),
            // Undocumented: the lower half becomes zero.
            _ => 0,
        }
    }
    #[inline(always)]
    fn equal(&mut self, a: u64, b: u64) -> u64 {
        u64::from(a == b)
    }
    #[inline(always)]
    fn select(&mut self, cond: u64, yes: u64, no: u64) -> u64 {
        if cond != 0 { yes } else { no }
    }
    #[inline(always)]
    fn load(&mut self, at: &Address, width: Width) -> Result<u64, Fault> {
        let offset = self.address(at);
        if !FAST {
            return self.core().load(at.seg, offset, width);
        }
        let linear = if at.flat { offset } else { self.linear(at.seg, offset, width, Access::Read)? };
        self.read_linear(linear, width)
    }
    #[inline(always)]
    fn load_to_modify(&mut self, at: &Address, width: Width) -> Result<u64, Fault> {
        let offset = self.address(at);
        if !FAST {
            return self.core().load_to_modify(at.seg, offset, width);
        }
        let linear = if at.flat { offset } else { self.linear(at.seg, offset, width, Access::Write)? };
        match self.env.tlb.write_in(linear, width.bytes(), self.cpu.tlb_half) {
            Some(page) => Ok(crate::core::load(self.env.memory, page, linear, width)),
            None => Err(Fault::miss()),
        }
    }
    #[inline(always)]
    fn store(&mut self, at: &Address, width: Width, value: u64) -> Result<(), Fault> {
        let offset = self.address(at);
        if !FAST {
            return self.core().store(at.seg, offset, width, value);
        }
        let linear = if at.flat { offset } else { self.linear(at.seg, offset, width, Access::Write)? };
        self.write_linear(linear, width, value)
    }
    #[inline(always)]
    fn offset(&mut self, at: &Address) -> u64 {
        self.address(at)
    }
    #[inline(always)]
    fn load_stack(&mut self, offset: u64, width: Width) -> Result<u64, Fault> {
        if !FAST {
            return self.core().load(Seg::Ss, offset, width);
        }
        let linear = self.linear(Seg::Ss, offset, width, Access::Read)?;
        self.read_linear(linear, width)
    }
    #[inline(always)]
    fn store_stack(&mut self, offset: u64, width: Width, value: u64) -> Result<(), Fault> {
        if !FAST {
            return self.core().store(Seg::Ss, offset, width, value);
        }
        let linear = self.linear(Seg::Ss, offset, width, Access::Write)?;
        self.write_linear(linear, width, value)
    }
    #[inline(always)]
    fn flags(&mut self, of: FlagsOf, width: Width, a: u64, b: u64, r: u64) {
        self.cpu.lazy.record(of, width, a, b, r);
    }
    #[inline(always)]
    fn flags_if(&mut self, cond: u64, of: FlagsOf, width: Width, a: u64, b: u64, r: u64) {
        if cond != 0 {
            self.cpu.lazy.record(of, width, a, b, r);
        }
    }
    #[inline(always)]
    fn cond(&mut self, cond: Cond) -> u64 {
        u64::from(self.cpu.lazy.cond(cond))
    }
    #[inline(always)]
    fn status(&mut self) -> u64 {
        self.cpu.lazy.bits()
    }
    #[inline(always)]
    fn set_carry(&mut self, cf: u64) {
        self.cpu.lazy.set_cf(cf & 1 != 0);
    }
    #[inline(always)]
    fn set_carry_overflow_if(&mut self, cond: u64, cf: u64, of: u64) {
        if cond != 0 {
            self.cpu.lazy.set_cf_of(cf & 1 != 0, of & 1 != 0);
        }
    }
    #[inline(always)]
    fn set_direction(&mut self, down: bool) {
        let df = crate::flags::bits::DF;
        self.cpu.system_flags = self.cpu.system_flags & !df | if down { df } else { 0 };
    }
    #[inline(always)]
    fn jump(&mut self, _i: &Insn, target: u64) -> Result<(), Fault> {
        self.check_target(target)?;
        self.cpu.rip = target;
        self.env.successor = crate::core::INDIRECT;
        Ok(())
    }
    #[inline(always)]
    fn branch(&mut self, i: &Insn, cond: u64) -> Result<(), Fault> {
        if cond != 0 {
            self.check_target(i.imm)?;
            self.cpu.rip = i.imm;
            self.env.successor = 0;
        } else {
            self.cpu.rip = i.next_ip();
            self.env.successor = 1;
        }
        Ok(())
    }
    #[inline(always)]
    fn goto(&mut self, i: &Insn) -> Result<(), Fault> {
        self.check_target(i.imm)?;
        self.cpu.rip = i.imm;
        self.env.successor = 0;
        Ok(())
    }
    #[inline(always)]
    fn check_target(&mut self, target: u64) -> Result<(), Fault> {
        if self.cpu.mode.has(Mode::FLAT_CODE) || target <= u64::from(self.cpu.seg[Seg::Cs as usize].limit) {
            return Ok(());
        }
        if FAST {
            return Err(Fault::miss());
        }
        Err(self.core().protection(0))
    }
}
