//! What an instruction reads, writes and may do, found by running its semantics on nothing.

use cpu::core::Fault;
use cpu::flags::{Cond, FlagsOf};
use cpu::insn::{Address, Insn};
use cpu::micro::Micro;
use cpu::semantics::{self, Opcode};
use cpu::state::{Mode, Width};

/// Liveness bit: CF.
pub(crate) const CARRY: u8 = 1;
/// Liveness bit: the other five status flags.
pub(crate) const REST: u8 = 2;
/// All six.
pub(crate) const ALL: u8 = CARRY | REST;

/// See the module documentation. The values are constants where they are known.
#[derive(Clone, Copy)]
pub(crate) struct Survey {
    mode: Mode,
    /// General-purpose registers that are written.
    pub(crate) written: u32,
    /// Flags that are needed before the instruction.
    pub(crate) needs: u8,
    /// Flags that it defines whatever they were.
    pub(crate) defines: u8,
    /// It may fault or be left, so that all state must be exact before it.
    pub(crate) leaves: bool,
}

impl Survey {
    /// Surveys `i`.
    pub(crate) fn of(i: &Insn, mode: Mode) -> Survey {
        let mut s = Survey { mode, written: 0, needs: 0, defines: 0, leaves: false };
        match semantics::function::<Survey>(i.op) {
            Some(run) => {
                let _ = run(&mut s, i);
            }
            None => {
                debug_assert_eq!(i.op, Opcode::Helper);
                s.written = 0xffff;
                s.needs = ALL;
                s.leaves = true;
            }
        }
        if s.leaves {
            s.needs = ALL;
        }
        s
    }
    fn need(&mut self, flags: u8) {
        self.needs |= flags & !self.defines;
    }
}

impl Micro for Survey {
    type V = Option<u64>;

    fn mode(&self) -> Mode {
        self.mode
    }
    fn imm(&mut self, value: u64) -> Self::V {
        Some(value)
    }
    fn reg(&mut self, _index: u8, _width: Width) -> Self::V {
        None
    }
    fn set_reg(&mut self, index: u8, _width: Width, _value: Self::V) {
        self.written |= 1 << (index & 15);
    }
    fn reg_high(&mut self, _index: u8) -> Self::V {
        None
    }
    fn set_reg_high(&mut self, index: u8, _value: Self::V) {
        self.written |= 1 << (index & 15);
    }
    fn selector(&mut self, _index: u8) -> Self::V {
        None
    }
    fn add(&mut self, _width: Width, _a: Self::V, _b: Self::V) -> Self::V {
        None
    }
    fn sub(&mut self, _width: Width, _a: Self::V, _b: Self::V) -> Self::V {
        None
    }
    fn and(&mut self, a: Self::V, b: Self::V) -> Self::V {
        Some(a? & b?)
    }
    fn or(&mut self, _a: Self::V, _b: Self::V) -> Self::V {
        None
    }
    fn xor(&mut self, _a: Self::V, _b: Self::V) -> Self::V {
        None
    }
    fn not(&mut self, _width: Width, _a: Self::V) -> Self::V {
        None
    }
    fn shl(&mut self, _width: Width, _a: Self::V, _count: Self::V) -> Self::V {
        None
    }
    fn shr(&mut self, _width: Width, _a: Self::V, _count: Self::V) -> Self::V {
        None
    }
    fn sar(&mut self, _width: Width, _a: Self::V, _count: Self::V) -> Self::V {
        None
    }
    fn rol(&mut self, _width: Width, _a: Self::V, _count: Self::V) -> Self::V {
        None
    }
    fn mul(&mut self, _width: Width, _a: Self::V, _b: Self::V) -> Self::V {
        None
    }
    fn mul_high(&mut self, _width: Width, _a: Self::V, _b: Self::V) -> Self::V {
        None
    }
    fn mul_high_signed(&mut self, _width: Width, _a: Self::V, _b: Self::V) -> Self::V {
        None
    }
    fn sign_extend(&mut self, _from: Width, _to: Width, _a: Self::V) -> Self::V {
        None
    }
    fn truncate(&mut self, _to: Width, _a: Self::V) -> Self::V {
        None
    }
    fn byte_swap(&mut self, _width: Width, _a: Self::V) -> Self::V {
        None
    }
    fn equal(&mut self, _a: Self::V, _b: Self::V) -> Self::V {
        None
    }
    fn select(&mut self, _cond: Self::V, _yes: Self::V, _no: Self::V) -> Self::V {
        None
    }
    fn load(&mut self, _at: &Address, _width: Width) -> Result<Self::V, Fault> {
        self.leaves = true;
        Ok(None)
    }
    fn load_to_modify(&mut self, _at: &Address, _width: Width) -> Result<Self::V, Fault> {
        self.leaves = true;
        Ok(None)
    }
    fn store(&mut self, _at: &Address, _width: Width, _value: Self::V) -> Result<(), Fault> {
        self.leaves = true;
        Ok(())
    }
    fn offset(&mut self, _at: &Address) -> Self::V {
        None
    }
    fn load_stack(&mut self, _offset: Self::V, _width: Width) -> Result<Self::V, Fault> {
        self.leaves = true;
        Ok(None)
    }
    fn store_stack(&mut self, _offset: Self::V, _width: Width, _value: Self::V) -> Result<(), Fault> {
        self.leaves = true;
        Ok(())
    }
    fn flags(&mut self, of: FlagsOf, _width: Width, _a: Self::V, _b: Self::V, _r: Self::V) {
        self.defines |= if matches!(of, FlagsOf::Inc | FlagsOf::Dec) { REST } else { ALL };
    }
    fn flags_if(&mut self, cond: Self::V, _of: FlagsOf, _w: Width, _a: Self::V, _b: Self::V, _r: Self::V) {
        if cond.is_some_and(|c| c != 0) {
            self.defines = ALL;
        }
    }
    fn cond(&mut self, cond: Cond) -> Self::V {
        self.need(match cond {
            Cond::B | Cond::Ae => CARRY,
            Cond::E | Cond::Ne | Cond::S | Cond::Ns | Cond::P | Cond::Np => REST,
            _ => ALL,
        });
        None
    }
    fn status(&mut self) -> Self::V {
        self.need(ALL);
        None
    }
    fn set_carry(&mut self, _cf: Self::V) {
        // OF of a shift to the left follows from its CF.
        self.need(REST);
        self.defines |= CARRY;
    }
    fn set_carry_overflow_if(&mut self, cond: Self::V, _cf: Self::V, _of: Self::V) {
        if cond.is_some_and(|c| c != 0) {
            self.defines |= CARRY;
        }
    }
    fn set_direction(&mut self, _down: bool) {}
    fn jump(&mut self, _i: &Insn, _target: Self::V) -> Result<(), Fault> {
        self.leaves = true;
        Ok(())
    }
    fn branch(&mut self, _i: &Insn, _cond: Self::V) -> Result<(), Fault> {
        Ok(())
    }
    fn goto(&mut self, _i: &Insn) -> Result<(), Fault> {
        Ok(())
    }
    fn check_target(&mut self, _target: Self::V) -> Result<(), Fault> {
        if !self.mode.has(Mode::FLAT_CODE) {
            self.leaves = true;
        }
        Ok(())
    }
}
