//! A decoded instruction, as semantics functions, helpers and engines see it.

use crate::core::{Core, Fault};
use crate::flags::Cond;
use crate::semantics::Opcode;
use crate::state::{Seg, Width};
pub use iced_x86::{Code, Mnemonic};

/// What an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OperandKind {
    /// Not there.
    None,
    /// Low bits of general-purpose register `index`.
    Reg,
    /// Bits 15–8 of general-purpose register `index` (AH, CH, DH, BH).
    RegHigh,
    /// [`Insn::imm`].
    Imm,
    /// The memory operand, [`Insn::mem`].
    Mem,
    /// Segment register `index`.
    Seg,
    /// Control register `index`.
    Control,
    /// Debug register `index`.
    Debug,
    /// Test register `index` (386, 486).
    Test,
    /// ST(`index`).
    St,
    /// MM`index`.
    Mm,
    /// XMM`index`.
    Xmm,
}

/// One operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// What it is.
    pub kind: OperandKind,
    /// Register number, where it is one.
    pub index: u8,
}

impl Operand {
    /// No operand.
    pub const NONE: Operand = Operand { kind: OperandKind::None, index: 0 };
    /// The immediate.
    pub const IMM: Operand = Operand { kind: OperandKind::Imm, index: 0 };
    /// The memory operand.
    pub const MEM: Operand = Operand { kind: OperandKind::Mem, index: 0 };
    /// A general-purpose register.
    #[must_use]
    pub const fn reg(index: u8) -> Operand {
        Operand { kind: OperandKind::Reg, index }
    }
    /// Whether it is the memory operand.
    #[must_use]
    pub fn is_mem(self) -> bool {
        self.kind == OperandKind::Mem
    }
}

/// The address of a memory operand: `seg:[base + index * 2^shift + disp]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Segment.
    pub seg: Seg,
    /// Base register, or [`crate::state::gpr::NONE`].
    pub base: u8,
    /// Index register, or [`crate::state::gpr::NONE`].
    pub index: u8,
    /// Scale as a shift, 0–3.
    pub shift: u8,
    /// Address width: offsets wrap at it.
    pub width: Width,
    /// The segment is flat and the address 32 bits wide: the offset is the linear address.
    pub flat: bool,
    /// Displacement, sign-extended.
    pub disp: u64,
}

/// REP prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rep {
    /// None.
    No,
    /// F3: REP, REPE.
    Rep,
    /// F2: REPNE.
    Repne,
}

/// A function that carries out one instruction on the processor state. Called with `cpu.rip`
/// already at the next instruction; when it returns `Err`, the engine puts `rip` back and either
/// delivers the recorded exception or runs the instruction again in single-step mode, so nothing
/// but `rip` may have changed (REP string instructions: no more than whole iterations).
pub type Helper = fn(&mut Core<'_, '_>, &Insn) -> Result<(), Fault>;

/// A decoded instruction.
#[derive(Clone, Copy)]
pub struct Insn {
    /// Which semantics function; [`Opcode::Helper`] for those that are a helper alone.
    pub op: Opcode,
    /// Operands in the order of the Intel manual: destination first.
    pub ops: [Operand; 3],
    /// Operand width: that of the first operand where operands differ. For stack, string and
    /// branch instructions the effective operand size.
    pub width: Width,
    /// Width of the source of MOVZX, MOVSX, CVT…; else the same as `width`.
    pub src_width: Width,
    /// Condition of Jcc, SETcc, CMOVcc, FCMOVcc.
    pub cond: Cond,
    /// REP prefix, for string instructions and I/O.
    pub rep: Rep,
    /// LOCK prefix, or an XCHG with memory.
    pub lock: bool,
    /// Length in bytes.
    pub len: u8,
    /// Size of the memory operand in bytes; 0 when there is none or it varies.
    pub mem_size: u16,
    /// Encoding and mnemonic, for families that dispatch on them.
    pub code: Code,
    /// Mnemonic.
    pub mnemonic: Mnemonic,
    /// The memory operand.
    pub mem: Address,
    /// The immediate, sign- or zero-extended as the instruction defines, and cut to `width`.
    /// Near branches: the target IP. Far branches with immediate: selector << 32 | offset.
    pub imm: u64,
    /// The second immediate (ENTER).
    pub imm2: u8,
    /// How many bytes at the end of the instruction are the immediate as it is, not sign-extended;
    /// 0 when it has none like that.
    pub imm_size: u8,
    /// IP of this instruction (offset in CS).
    pub ip: u64,
    /// IP of the next instruction; the 8086 wraps it at 64 KiB.
    pub next: u64,
    /// The helper, for instructions that are not expressed over [`crate::micro::Micro`].
    pub helper: Helper,
}

impl Insn {
    /// IP of the next instruction.
    #[inline(always)]
    #[must_use]
    pub fn next_ip(&self) -> u64 {
        self.next
    }
    /// Destination operand.
    #[inline(always)]
    #[must_use]
    pub fn dst(&self) -> Operand {
        self.ops[0]
    }
    /// Source operand.
    #[inline(always)]
    #[must_use]
    pub fn src(&self) -> Operand {
        self.ops[1]
    }
}
