//! What an instruction reads, writes and may do, found by running its semantics on nothing.

use crate::quick;
use crate::sse;
use cpu::core::Fault;
use cpu::flags::{Cond, FlagsOf};
use cpu::insn::{Address, Insn};
use cpu::micro::Micro;
use cpu::semantics::{self, Opcode};
use cpu::state::{Mode, Width, gpr};
use std::collections::HashMap;

/// Liveness bit: CF.
pub(crate) const CARRY: u8 = 1;
/// Liveness bit: the other five status flags.
pub(crate) const REST: u8 = 2;
/// All six.
pub(crate) const ALL: u8 = CARRY | REST;

/// What is known about an instruction.
#[derive(Clone, Copy)]
pub(crate) struct Survey {
    /// General-purpose registers that are written.
    pub(crate) written: u32,
    /// Flags that are needed before the instruction.
    pub(crate) needs: u8,
    /// Flags that it defines whatever they were.
    pub(crate) defines: u8,
    /// It may fault or be left, so that all state must be exact before it.
    pub(crate) leaves: bool,
    /// Registers whose old value it needs before it writes them.
    pub(crate) reads: u32,
    /// Registers that it writes whole.
    pub(crate) replaces: u32,
    /// It computes with flags that were there before.
    pub(crate) consumes: bool,
}

const NOTHING: Survey =
    Survey { written: 0, needs: 0, defines: 0, leaves: false, reads: 0, replaces: 0, consumes: false };

/// A value, as far as it is known: a constant, something unknown plus a constant, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Known {
    /// A constant.
    C(u64),
    /// The unknown with this number, plus a constant.
    R(u32, u32),
    /// Nothing is known.
    U,
}
use Known::{C, R, U};

/// What one check covers: bytes around an access that other accesses of the block touch as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Bytes before the access.
    pub(crate) back: u32,
    /// Bytes in all.
    pub(crate) bytes: u32,
    /// One of them writes.
    pub(crate) write: bool,
    /// There are others.
    pub(crate) shared: bool,
    /// The same number for accesses with one check.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for the quick translator"))]
    pub(crate) group: u32,
}

/// Most bytes that one check covers where the address is not constant: the more, the more often
/// they lie in two pages.
const MAX_SPAN: u32 = 256;

struct Seen {
    group: usize,
    offset: u32,
}

struct Group {
    low: u32,
    bytes: u32,
    write: bool,
    members: u32,
}

type Key = (Known, Known, u8, u32);

/// Surveys the instructions of a block one after the other: the instance of [`Micro`] whose
/// values are what is known about them.
pub(crate) struct Surveyor {
    mode: Mode,
    /// For the quick translator.
    quick: bool,
    survey: Survey,
    registers: [Known; 8],
    unknowns: u32,
    seen: Vec<Seen>,
    groups: Vec<Group>,
    open: HashMap<Key, usize>,
    /// Rises where nothing that was checked holds any more.
    era: u32,
    modified: bool,
}

impl Surveyor {
    pub(crate) fn new(mode: Mode, quick: bool) -> Surveyor {
        let mut s = Surveyor {
            mode,
            quick,
            survey: NOTHING,
            registers: [U; 8],
            unknowns: 0,
            seen: Vec::new(),
            groups: Vec::new(),
            open: HashMap::new(),
            era: 0,
            modified: false,
        };
        s.forget();
        s
    }
    fn forget(&mut self) {
        for n in 0..8 {
            self.registers[n] = self.unknown();
        }
        self.era += 1;
    }
    fn unknown(&mut self) -> Known {
        self.unknowns += 1;
        R(self.unknowns, 0)
    }
    /// Surveys `i`.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }
    pub(crate) fn step(&mut self, i: &Insn) -> Survey {
        self.survey = NOTHING;
        self.modified = false;
        match semantics::function::<Surveyor>(i.op) {
            Some(run) => {
                let _ = run(self, i);
            }
            None if self.quick && quick::survey(self, i) => {}
            None if !self.quick && sse::is_native(i) => {
                sse::survey(self, i);
            }
            None => {
                debug_assert_eq!(i.op, Opcode::Helper);
                self.survey.written = 0xffff;
                self.survey.leaves = true;
                self.forget();
            }
        }
        if self.survey.leaves {
            self.survey.needs = ALL;
        }
        self.survey
    }
    /// Number of memory accesses so far.
    pub(crate) fn accesses(&self) -> usize {
        self.seen.len()
    }
    /// One for each memory access of the block, in order.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let span = |s: &Seen| {
            let g = &self.groups[s.group];
            let back = s.offset.wrapping_sub(g.low);
            Span { back, bytes: g.bytes, write: g.write, shared: g.members > 1, group: s.group as u32 }
        };
        self.seen.iter().map(span).collect()
    }
    pub(crate) fn vector(&mut self, needs: u8, defines: u8) {
        self.survey.leaves = true;
        self.survey.needs |= needs;
        self.survey.defines |= defines;
    }
    fn uses(&mut self, index: u8) {
        self.survey.reads |= (1 << (index & 15)) & !self.survey.replaces;
    }
    fn need(&mut self, flags: u8) {
        self.survey.consumes = true;
        self.survey.needs |= flags & !self.survey.defines;
    }
    /// Notes an access of `size` bytes.
    pub(crate) fn access(&mut self, at: &Address, size: u64, write: bool) {
        self.address(at);
        let base = if at.base == gpr::NONE { C(0) } else { self.registers[usize::from(at.base & 7)] };
        let index = if at.index == gpr::NONE { C(0) } else { self.registers[usize::from(at.index & 7)] };
        let disp = at.disp as u32;
        let (base, offset) = match base {
            R(n, o) => (R(n, 0), disp.wrapping_add(o)),
            _ => (C(0), disp),
        };
        let (index, offset) = match index {
            R(n, o) => (R(n, 0), offset.wrapping_add(o << (at.shift & 3))),
            _ => (C(0), offset),
        };
        let groups = at.flat && at.width == Width::Dword;
        self.note((base, index, at.shift & 3, 0), offset, size as u32, write, groups);
    }
    fn address(&mut self, at: &Address) {
        for register in [at.base, at.index] {
            if register != gpr::NONE {
                self.uses(register);
            }
        }
    }
    fn stack(&mut self, offset: Known, width: Width, write: bool) {
        let flat = self.mode.has(Mode::FLAT);
        let (base, at) = match offset {
            R(n, o) => (R(n, 0), o),
            C(c) => (C(0), c as u32),
            U => return self.note((U, U, 0, 0), 0, width.bytes() as u32, write, false),
        };
        self.note((base, C(0), 0, 0), at, width.bytes() as u32, write, flat);
    }
    fn note(&mut self, mut key: Key, offset: u32, size: u32, write: bool, groups: bool) {
        self.survey.leaves = true;
        key.3 = self.era;
        let constant = key.0 == C(0) && key.1 == C(0);
        if groups && let Some(&n) = self.open.get(&key) {
            let g = &mut self.groups[n];
            let from = offset.wrapping_sub(g.low) as i32;
            let low = from.min(0);
            let high = (i64::from(from) + i64::from(size)).max(i64::from(g.bytes));
            let bytes = high - i64::from(low);
            let start = g.low.wrapping_add(low as u32);
            let fits = if constant {
                u64::from(start) / 4096 == (u64::from(start) + bytes as u64 - 1) / 4096
            } else {
                bytes <= i64::from(MAX_SPAN)
            };
            if fits {
                g.low = start;
                g.bytes = bytes as u32;
                g.write |= write;
                g.members += 1;
                self.seen.push(Seen { group: n, offset });
                return;
            }
        }
        self.groups.push(Group { low: offset, bytes: size, write, members: 1 });
        let n = self.groups.len() - 1;
        if groups {
            self.open.insert(key, n);
        }
        self.seen.push(Seen { group: n, offset });
    }
}

impl Micro for Surveyor {
    type V = Known;

    fn mode(&self) -> Mode {
        self.mode
    }
    fn imm(&mut self, value: u64) -> Self::V {
        C(value)
    }
    fn reg(&mut self, index: u8, width: Width) -> Self::V {
        self.uses(index);
        if width == Width::Dword { self.registers[usize::from(index & 7)] } else { U }
    }
    fn set_reg(&mut self, index: u8, width: Width, value: Self::V) {
        if width == Width::Dword {
            self.survey.replaces |= 1 << (index & 15);
        } else {
            self.uses(index);
        }
        self.survey.written |= 1 << (index & 15);
        let value = match value {
            R(..) if width == Width::Dword => value,
            _ => self.unknown(),
        };
        self.registers[usize::from(index & 7)] = value;
    }
    fn reg_high(&mut self, index: u8) -> Self::V {
        self.uses(index);
        U
    }
    fn set_reg_high(&mut self, index: u8, _value: Self::V) {
        self.uses(index);
        self.survey.written |= 1 << (index & 15);
        self.registers[usize::from(index & 7)] = self.unknown();
    }
    fn selector(&mut self, _index: u8) -> Self::V {
        U
    }
    fn add(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V {
        match (a, b) {
            (R(n, o), C(c)) | (C(c), R(n, o)) if width == Width::Dword => R(n, o.wrapping_add(c as u32)),
            _ => U,
        }
    }
    fn sub(&mut self, width: Width, a: Self::V, b: Self::V) -> Self::V {
        match (a, b) {
            (R(n, o), C(c)) if width == Width::Dword => R(n, o.wrapping_sub(c as u32)),
            _ => U,
        }
    }
    fn and(&mut self, a: Self::V, b: Self::V) -> Self::V {
        match (a, b) {
            (C(a), C(b)) => C(a & b),
            _ => U,
        }
    }
    fn or(&mut self, _a: Self::V, _b: Self::V) -> Self::V {
        U
    }
    fn xor(&mut self, _a: Self::V, _b: Self::V) -> Self::V {
        U
    }
    fn not(&mut self, _width: Width, _a: Self::V) -> Self::V {
        U
    }
    fn shl(&mut self, _width: Width, _a: Self::V, _count: Self::V) -> Self::V {
        U
    }
    fn shr(&mut self, _width: Width, _a: Self::V, _count: Self::V) -> Self::V {
        U
    }
    fn sar(&mut self, _width: Width, _a: Self::V, _count: Self::V) -> Self::V {
        U
    }
    fn rol(&mut self, _width: Width, _a: Self::V, _count: Self::V) -> Self::V {
        U
    }
    fn mul(&mut self, _width: Width, _a: Self::V, _b: Self::V) -> Self::V {
        U
    }
    fn mul_high(&mut self, _width: Width, _a: Self::V, _b: Self::V) -> Self::V {
        U
    }
    fn mul_high_signed(&mut self, _width: Width, _a: Self::V, _b: Self::V) -> Self::V {
        U
    }
    fn sign_extend(&mut self, _from: Width, _to: Width, _a: Self::V) -> Self::V {
        U
    }
    fn truncate(&mut self, to: Width, a: Self::V) -> Self::V {
        if to == Width::Dword { a } else { U }
    }
    fn byte_swap(&mut self, _width: Width, _a: Self::V) -> Self::V {
        U
    }
    fn equal(&mut self, _a: Self::V, _b: Self::V) -> Self::V {
        U
    }
    fn select(&mut self, _cond: Self::V, _yes: Self::V, _no: Self::V) -> Self::V {
        U
    }
    fn load(&mut self, at: &Address, width: Width) -> Result<Self::V, Fault> {
        self.access(at, width.bytes(), false);
        Ok(U)
    }
    fn load_to_modify(&mut self, at: &Address, width: Width) -> Result<Self::V, Fault> {
        self.access(at, width.bytes(), true);
        self.modified = true;
        Ok(U)
    }
    fn store(&mut self, at: &Address, width: Width, _value: Self::V) -> Result<(), Fault> {
        if !std::mem::take(&mut self.modified) {
            self.access(at, width.bytes(), true);
        }
        Ok(())
    }
    fn offset(&mut self, at: &Address) -> Self::V {
        self.address(at);
        let full = at.width == Width::Dword && at.index == gpr::NONE && at.base != gpr::NONE;
        match self.registers[usize::from(at.base & 7)] {
            R(n, o) if full => R(n, o.wrapping_add(at.disp as u32)),
            _ => U,
        }
    }
    fn load_stack(&mut self, offset: Self::V, width: Width) -> Result<Self::V, Fault> {
        self.stack(offset, width, false);
        Ok(U)
    }
    fn store_stack(&mut self, offset: Self::V, width: Width, _value: Self::V) -> Result<(), Fault> {
        self.stack(offset, width, true);
        Ok(())
    }
    fn flags(&mut self, of: FlagsOf, _width: Width, _a: Self::V, _b: Self::V, _r: Self::V) {
        self.survey.defines |= if matches!(of, FlagsOf::Inc | FlagsOf::Dec) { REST } else { ALL };
    }
    fn flags_if(&mut self, cond: Self::V, _of: FlagsOf, _w: Width, _a: Self::V, _b: Self::V, _r: Self::V) {
        if matches!(cond, C(c) if c != 0) {
            self.survey.defines = ALL;
        } else {
            self.survey.consumes = true;
        }
    }
    fn cond(&mut self, cond: Cond) -> Self::V {
        self.need(match cond {
            Cond::B | Cond::Ae => CARRY,
            Cond::E | Cond::Ne | Cond::S | Cond::Ns | Cond::P | Cond::Np => REST,
            _ => ALL,
        });
        U
    }
    fn status(&mut self) -> Self::V {
        self.need(ALL);
        U
    }
    fn set_carry(&mut self, _cf: Self::V) {
        // OF of a shift to the left follows from its CF.
        self.need(REST);
        self.survey.defines |= CARRY;
    }
    fn set_carry_overflow_if(&mut self, cond: Self::V, _cf: Self::V, _of: Self::V) {
        self.survey.consumes = true;
        if matches!(cond, C(c) if c != 0) {
            self.survey.defines |= CARRY;
        }
    }
    fn set_direction(&mut self, _down: bool) {}
    fn jump(&mut self, _i: &Insn, _target: Self::V) -> Result<(), Fault> {
        self.survey.leaves = true;
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
            self.survey.leaves = true;
        }
        Ok(())
    }
}
