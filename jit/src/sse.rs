//! SSE and SSE2 as the host's own operations.
//!
//! The XMM registers stay in [`CpuState`]: each write goes there at once, so that state is always complete; what a
//! register was last written with is remembered, so that reads need not wait for memory.
//!
//! Arithmetic runs with the guest's MXCSR in the host's, whose flags then collect what the guest's would. That is done
//! only while the guest masks all exceptions; else, and where an operand is not what the fast code is for, the
//! instruction is left to the interpreter. Where the host's arithmetic is not that of x86,
//! operands and results are looked at: NaNs, denormals and what may be a rounded tiny number are for the interpreter.

use crate::context as cx;
use crate::emit::{Emitter, Host, How, V, guest, trusted};
use crate::host::{ALL_VECTORS, CHECKS_FLOATS};
use crate::survey::{ALL, Surveyor};
use cpu::insn::{Code, Insn, Mnemonic, OperandKind};
use cpu::micro::Micro;
use cpu::semantics::Opcode;
use cpu::state::{CpuState, Width};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8X16, I16X8, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Opcode as Clif, Type, Value, ValueDef};
use std::mem::offset_of;

/// What is known of an XMM register beside its place in memory.
#[derive(Clone, Copy, Default)]
enum Xmm {
    #[default]
    Unknown,
    /// All of it.
    Full(Value),
    /// A number in its low part, and all of it as it was before.
    Low(Value, Option<Value>),
}

/// What is known of all of them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Vectors {
    registers: [Xmm; 8],
    /// SSE instructions may run.
    ready: bool,
    /// Arithmetic as well: the host computes as the guest's MXCSR says.
    floats: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Math {
    Add,
    Sub,
    Mul,
    Div,
    Sqrt,
}

/// A lane-wise operation: destination, source.
type Lanes = fn(&mut Emitter<'_>, Value, Value) -> Value;

#[derive(Clone, Copy)]
enum Kind {
    Nothing,
    Load { aligned: bool },
    Store { aligned: bool },
    LoadScalar(Type),
    StoreScalar(Type),
    LoadHalf(usize),
    StoreHalf(usize),
    HighToLow,
    LowToHigh,
    FromGeneral,
    ToGeneral,
    Scalar(Math, Type),
    Packed(Math, Type),
    Compare(Type),
    FromInteger(Type),
    Truncate(Type),
    Convert { from: Type, to: Type },
    ComparePacked(Type),
    Both(Type, Lanes),
    Shuffle,
    ShuffleTwo(Type),
    ShuffleWords { high: bool },
    Interleave { bytes: usize, high: bool },
    Shift { ty: Type, how: u8 },
    ShiftBytes { left: bool },
    Signs(Type),
}

macro_rules! lanes {
    ($op:ident) => {
        |e, a, b| e.b.ins().$op(a, b)
    };
}

fn kind(i: &Insn) -> Option<Kind> {
    use Code as C;
    use Kind as K;
    use Math as M;
    if matches!(i.mnemonic, Mnemonic::Prefetchnta | Mnemonic::Prefetcht0 | Mnemonic::Prefetcht1 | Mnemonic::Prefetcht2)
    {
        return Some(K::Nothing);
    }
    Some(match i.code {
        C::Movaps_xmm_xmmm128 | C::Movapd_xmm_xmmm128 | C::Movdqa_xmm_xmmm128 => K::Load { aligned: true },
        C::Movups_xmm_xmmm128 | C::Movupd_xmm_xmmm128 | C::Movdqu_xmm_xmmm128 => K::Load { aligned: false },
        C::Movaps_xmmm128_xmm
        | C::Movapd_xmmm128_xmm
        | C::Movdqa_xmmm128_xmm
        | C::Movntps_m128_xmm
        | C::Movntpd_m128_xmm
        | C::Movntdq_m128_xmm => K::Store { aligned: true },
        C::Movups_xmmm128_xmm | C::Movupd_xmmm128_xmm | C::Movdqu_xmmm128_xmm => K::Store { aligned: false },
        C::Movss_xmm_xmmm32 => K::LoadScalar(F32),
        C::Movsd_xmm_xmmm64 => K::LoadScalar(F64),
        C::Movq_xmm_xmmm64 => K::LoadScalar(I64),
        C::Movss_xmmm32_xmm => K::StoreScalar(F32),
        C::Movsd_xmmm64_xmm => K::StoreScalar(F64),
        C::Movq_xmmm64_xmm => K::StoreScalar(I64),
        C::Movlps_xmm_m64 | C::Movlpd_xmm_m64 => K::LoadHalf(0),
        C::Movhps_xmm_m64 | C::Movhpd_xmm_m64 => K::LoadHalf(8),
        C::Movlps_m64_xmm | C::Movlpd_m64_xmm => K::StoreHalf(0),
        C::Movhps_m64_xmm | C::Movhpd_m64_xmm => K::StoreHalf(8),
        C::Movhlps_xmm_xmm => K::HighToLow,
        C::Movlhps_xmm_xmm => K::LowToHigh,
        C::Movd_xmm_rm32 => K::FromGeneral,
        C::Movd_rm32_xmm => K::ToGeneral,
        C::Addss_xmm_xmmm32 => K::Scalar(M::Add, F32),
        C::Subss_xmm_xmmm32 => K::Scalar(M::Sub, F32),
        C::Mulss_xmm_xmmm32 => K::Scalar(M::Mul, F32),
        C::Divss_xmm_xmmm32 => K::Scalar(M::Div, F32),
        C::Sqrtss_xmm_xmmm32 => K::Scalar(M::Sqrt, F32),
        C::Addsd_xmm_xmmm64 => K::Scalar(M::Add, F64),
        C::Subsd_xmm_xmmm64 => K::Scalar(M::Sub, F64),
        C::Mulsd_xmm_xmmm64 => K::Scalar(M::Mul, F64),
        C::Divsd_xmm_xmmm64 => K::Scalar(M::Div, F64),
        C::Sqrtsd_xmm_xmmm64 => K::Scalar(M::Sqrt, F64),
        C::Addps_xmm_xmmm128 => K::Packed(M::Add, F32X4),
        C::Subps_xmm_xmmm128 => K::Packed(M::Sub, F32X4),
        C::Mulps_xmm_xmmm128 => K::Packed(M::Mul, F32X4),
        C::Divps_xmm_xmmm128 => K::Packed(M::Div, F32X4),
        C::Sqrtps_xmm_xmmm128 => K::Packed(M::Sqrt, F32X4),
        C::Addpd_xmm_xmmm128 => K::Packed(M::Add, F64X2),
        C::Subpd_xmm_xmmm128 => K::Packed(M::Sub, F64X2),
        C::Mulpd_xmm_xmmm128 => K::Packed(M::Mul, F64X2),
        C::Divpd_xmm_xmmm128 => K::Packed(M::Div, F64X2),
        C::Sqrtpd_xmm_xmmm128 => K::Packed(M::Sqrt, F64X2),
        C::Ucomiss_xmm_xmmm32 | C::Comiss_xmm_xmmm32 => K::Compare(F32),
        C::Ucomisd_xmm_xmmm64 | C::Comisd_xmm_xmmm64 => K::Compare(F64),
        C::Cvtsi2ss_xmm_rm32 => K::FromInteger(F32),
        C::Cvtsi2sd_xmm_rm32 => K::FromInteger(F64),
        C::Cvttss2si_r32_xmmm32 => K::Truncate(F32),
        C::Cvttsd2si_r32_xmmm64 => K::Truncate(F64),
        C::Cvtss2sd_xmm_xmmm32 => K::Convert { from: F32, to: F64 },
        C::Cvtsd2ss_xmm_xmmm64 => K::Convert { from: F64, to: F32 },
        C::Cmpps_xmm_xmmm128_imm8 => K::ComparePacked(F32X4),
        C::Cmppd_xmm_xmmm128_imm8 => K::ComparePacked(F64X2),
        C::Andps_xmm_xmmm128 | C::Andpd_xmm_xmmm128 | C::Pand_xmm_xmmm128 => K::Both(I64X2, lanes!(band)),
        C::Orps_xmm_xmmm128 | C::Orpd_xmm_xmmm128 | C::Por_xmm_xmmm128 => K::Both(I64X2, lanes!(bor)),
        C::Xorps_xmm_xmmm128 | C::Xorpd_xmm_xmmm128 | C::Pxor_xmm_xmmm128 => K::Both(I64X2, lanes!(bxor)),
        C::Andnps_xmm_xmmm128 | C::Andnpd_xmm_xmmm128 | C::Pandn_xmm_xmmm128 => {
            K::Both(I64X2, |e, a, b| e.b.ins().band_not(b, a))
        }
        C::Paddb_xmm_xmmm128 => K::Both(I8X16, lanes!(iadd)),
        C::Paddw_xmm_xmmm128 => K::Both(I16X8, lanes!(iadd)),
        C::Paddd_xmm_xmmm128 => K::Both(I32X4, lanes!(iadd)),
        C::Paddq_xmm_xmmm128 => K::Both(I64X2, lanes!(iadd)),
        C::Psubb_xmm_xmmm128 => K::Both(I8X16, lanes!(isub)),
        C::Psubw_xmm_xmmm128 => K::Both(I16X8, lanes!(isub)),
        C::Psubd_xmm_xmmm128 => K::Both(I32X4, lanes!(isub)),
        C::Psubq_xmm_xmmm128 => K::Both(I64X2, lanes!(isub)),
        C::Paddsb_xmm_xmmm128 => K::Both(I8X16, lanes!(sadd_sat)),
        C::Paddsw_xmm_xmmm128 => K::Both(I16X8, lanes!(sadd_sat)),
        C::Paddusb_xmm_xmmm128 => K::Both(I8X16, lanes!(uadd_sat)),
        C::Paddusw_xmm_xmmm128 => K::Both(I16X8, lanes!(uadd_sat)),
        C::Psubsb_xmm_xmmm128 => K::Both(I8X16, lanes!(ssub_sat)),
        C::Psubsw_xmm_xmmm128 => K::Both(I16X8, lanes!(ssub_sat)),
        C::Psubusb_xmm_xmmm128 => K::Both(I8X16, lanes!(usub_sat)),
        C::Psubusw_xmm_xmmm128 => K::Both(I16X8, lanes!(usub_sat)),
        C::Pmullw_xmm_xmmm128 => K::Both(I16X8, lanes!(imul)),
        C::Pminub_xmm_xmmm128 => K::Both(I8X16, lanes!(umin)),
        C::Pmaxub_xmm_xmmm128 => K::Both(I8X16, lanes!(umax)),
        C::Pminsw_xmm_xmmm128 => K::Both(I16X8, lanes!(smin)),
        C::Pmaxsw_xmm_xmmm128 => K::Both(I16X8, lanes!(smax)),
        C::Pavgb_xmm_xmmm128 => K::Both(I8X16, lanes!(avg_round)),
        C::Pavgw_xmm_xmmm128 => K::Both(I16X8, lanes!(avg_round)),
        C::Packsswb_xmm_xmmm128 => K::Both(I16X8, lanes!(snarrow)),
        C::Packssdw_xmm_xmmm128 => K::Both(I32X4, lanes!(snarrow)),
        C::Packuswb_xmm_xmmm128 => K::Both(I16X8, lanes!(unarrow)),
        C::Pcmpeqb_xmm_xmmm128 => K::Both(I8X16, |e, a, b| e.b.ins().icmp(IntCC::Equal, a, b)),
        C::Pcmpeqw_xmm_xmmm128 => K::Both(I16X8, |e, a, b| e.b.ins().icmp(IntCC::Equal, a, b)),
        C::Pcmpeqd_xmm_xmmm128 => K::Both(I32X4, |e, a, b| e.b.ins().icmp(IntCC::Equal, a, b)),
        C::Pcmpgtb_xmm_xmmm128 => K::Both(I8X16, |e, a, b| e.b.ins().icmp(IntCC::SignedGreaterThan, a, b)),
        C::Pcmpgtw_xmm_xmmm128 => K::Both(I16X8, |e, a, b| e.b.ins().icmp(IntCC::SignedGreaterThan, a, b)),
        C::Pcmpgtd_xmm_xmmm128 => K::Both(I32X4, |e, a, b| e.b.ins().icmp(IntCC::SignedGreaterThan, a, b)),
        C::Pshufd_xmm_xmmm128_imm8 => K::Shuffle,
        C::Pshuflw_xmm_xmmm128_imm8 => K::ShuffleWords { high: false },
        C::Pshufhw_xmm_xmmm128_imm8 => K::ShuffleWords { high: true },
        C::Shufps_xmm_xmmm128_imm8 => K::ShuffleTwo(F32X4),
        C::Shufpd_xmm_xmmm128_imm8 => K::ShuffleTwo(F64X2),
        C::Unpcklps_xmm_xmmm128 | C::Punpckldq_xmm_xmmm128 => K::Interleave { bytes: 4, high: false },
        C::Unpckhps_xmm_xmmm128 | C::Punpckhdq_xmm_xmmm128 => K::Interleave { bytes: 4, high: true },
        C::Unpcklpd_xmm_xmmm128 | C::Punpcklqdq_xmm_xmmm128 => K::Interleave { bytes: 8, high: false },
        C::Unpckhpd_xmm_xmmm128 | C::Punpckhqdq_xmm_xmmm128 => K::Interleave { bytes: 8, high: true },
        C::Punpcklbw_xmm_xmmm128 => K::Interleave { bytes: 1, high: false },
        C::Punpckhbw_xmm_xmmm128 => K::Interleave { bytes: 1, high: true },
        C::Punpcklwd_xmm_xmmm128 => K::Interleave { bytes: 2, high: false },
        C::Punpckhwd_xmm_xmmm128 => K::Interleave { bytes: 2, high: true },
        C::Psrlw_xmm_imm8 => K::Shift { ty: I16X8, how: 0 },
        C::Psrld_xmm_imm8 => K::Shift { ty: I32X4, how: 0 },
        C::Psrlq_xmm_imm8 => K::Shift { ty: I64X2, how: 0 },
        C::Psllw_xmm_imm8 => K::Shift { ty: I16X8, how: 1 },
        C::Pslld_xmm_imm8 => K::Shift { ty: I32X4, how: 1 },
        C::Psllq_xmm_imm8 => K::Shift { ty: I64X2, how: 1 },
        C::Psraw_xmm_imm8 => K::Shift { ty: I16X8, how: 2 },
        C::Psrad_xmm_imm8 => K::Shift { ty: I32X4, how: 2 },
        C::Psrldq_xmm_imm8 => K::ShiftBytes { left: false },
        C::Pslldq_xmm_imm8 => K::ShiftBytes { left: true },
        C::Movmskps_r32_xmm => K::Signs(I32X4),
        C::Movmskpd_r32_xmm => K::Signs(I64X2),
        C::Pmovmskb_r32_xmm => K::Signs(I8X16),
        _ => return None,
    })
}

fn memory(i: &Insn) -> bool {
    i.ops.iter().any(|o| o.is_mem())
}

/// Whether the instruction is made of host operations.
pub(crate) fn is_native(i: &Insn) -> bool {
    if i.op != Opcode::Helper {
        return false;
    }
    match kind(i) {
        None => false,
        Some(Kind::Nothing) => true,
        // Which comparisons raise IE differs.
        Some(Kind::ComparePacked(_)) if CHECKS_FLOATS => false,
        Some(_) => {
            (!memory(i) || i.mem.flat && i.mem.width == Width::Dword)
                && i.ops.iter().all(|o| o.kind != OperandKind::Xmm || o.index < 8)
        }
    }
}

/// Whether the host's rounding, flags and NaNs matter.
fn is_arithmetic(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Scalar(..)
            | Kind::Packed(..)
            | Kind::Compare(_)
            | Kind::FromInteger(_)
            | Kind::Truncate(_)
            | Kind::Convert { .. }
            | Kind::ComparePacked(_)
    )
}

/// Bytes of the memory operand, and whether it is written.
fn access(kind: Kind) -> (u64, bool) {
    match kind {
        Kind::Store { .. } => (16, true),
        Kind::StoreScalar(ty) => (u64::from(ty.bytes()), true),
        Kind::StoreHalf(_) => (8, true),
        Kind::ToGeneral => (4, true),
        Kind::LoadScalar(ty) | Kind::Scalar(_, ty) | Kind::Compare(ty) | Kind::Truncate(ty) => {
            (u64::from(ty.bytes()), false)
        }
        Kind::Convert { from, .. } => (u64::from(from.bytes()), false),
        Kind::LoadHalf(_) => (8, false),
        Kind::FromGeneral | Kind::FromInteger(_) => (4, false),
        _ => (16, false),
    }
}

/// What [`Surveyor`] wants to know.
pub(crate) fn survey(s: &mut Surveyor, i: &Insn) {
    let Some(kind) = kind(i) else { return };
    if matches!(kind, Kind::Nothing) {
        return;
    }
    if memory(i) {
        let (size, write) = access(kind);
        s.access(&i.mem, size, write);
    }
    let defines = if matches!(kind, Kind::Compare(_)) { ALL } else { 0 };
    s.vector(ALL, defines);
    if i.ops[1].kind == OperandKind::Reg {
        let _ = s.reg(i.ops[1].index, Width::Dword);
    }
    if i.ops[0].kind == OperandKind::Reg {
        s.set_reg(i.ops[0].index, Width::Dword, crate::survey::Known::U);
    }
}

/// Makes code of an instruction that [`is_native`].
pub(crate) fn emit(e: &mut Emitter<'_>, i: &Insn) {
    let Some(kind) = kind(i) else { return };
    if matches!(kind, Kind::Nothing) {
        return;
    }
    e.ready(is_arithmetic(kind));
    e.vector_instruction(i, kind);
}

/// Numbers as integers: type, the smallest normal number, infinity.
#[derive(Clone, Copy)]
struct Raw {
    ty: Type,
    normal: u64,
    infinity: u64,
}

impl Emitter<'_> {
    /// Goes on when SSE instructions may run, with the guest's MXCSR.
    fn ready(&mut self, floats: bool) {
        let known = self.path.vectors;
        if if floats { known.floats } else { known.ready } {
            return;
        }
        let (cc, value) = if floats { (IntCC::Equal, ALL_VECTORS as i64) } else { (IntCC::NotEqual, 0) };
        let state = self.b.ins().load(I64, trusted(), self.ctx, cx::VECTORS as i32);
        let is_ready = self.b.ins().icmp_imm_u(cc, state, value);
        let (go, ask) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(is_ready, go, &[], ask, &[]);
        self.open_cold(ask);
        let answer = self.call_simple(cx::BEGIN_VECTORS, 0);
        let is_ready = self.b.ins().icmp_imm_u(cc, answer, value);
        let stop = self.b.create_block();
        self.b.ins().brif(is_ready, go, &[], stop, &[]);
        self.open_cold(stop);
        self.bail();
        self.open(go);
        self.path.vectors.ready = true;
        self.path.vectors.floats |= floats || !CHECKS_FLOATS;
    }
    fn cast(&mut self, v: Value, ty: Type) -> Value {
        if self.b.func.dfg.value_type(v) == ty {
            return v;
        }
        self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), v)
    }
    fn xmm_offset(n: usize) -> i32 {
        (offset_of!(CpuState, xmm) + 16 * n) as i32
    }
    /// All of a register.
    fn vector(&mut self, n: u8, ty: Type) -> Value {
        let n = usize::from(n & 7);
        let full = match self.path.vectors.registers[n] {
            Xmm::Full(v) => v,
            Xmm::Low(v, Some(rest)) => {
                let lanes = if self.b.func.dfg.value_type(v) == F64 { F64X2 } else { F32X4 };
                let rest = self.cast(rest, lanes);
                self.b.ins().insertlane(rest, v, 0)
            }
            _ => self.b.ins().load(ty, trusted(), self.cpu, Self::xmm_offset(n)),
        };
        self.path.vectors.registers[n] = Xmm::Full(full);
        self.cast(full, ty)
    }
    /// The low part of a register.
    fn scalar(&mut self, n: u8, ty: Type) -> Value {
        let n = usize::from(n & 7);
        match self.path.vectors.registers[n] {
            Xmm::Low(v, _) if self.b.func.dfg.value_type(v) == ty => v,
            Xmm::Full(v) => {
                let v = self.cast(v, ty.by(128 / ty.bits()).unwrap_or(F64X2));
                self.b.ins().extractlane(v, 0)
            }
            _ => self.b.ins().load(ty, trusted(), self.cpu, Self::xmm_offset(n)),
        }
    }
    fn set_vector(&mut self, n: u8, v: Value) {
        let n = usize::from(n & 7);
        self.b.ins().store(trusted(), v, self.cpu, Self::xmm_offset(n));
        self.path.vectors.registers[n] = Xmm::Full(v);
    }
    /// Replaces the low part of a register.
    fn set_scalar(&mut self, n: u8, v: Value) {
        let ty = self.b.func.dfg.value_type(v);
        let new = match self.path.vectors.registers[usize::from(n & 7)] {
            Xmm::Unknown => Xmm::Low(v, None),
            Xmm::Full(rest) => Xmm::Low(v, Some(rest)),
            Xmm::Low(old, rest) if ty == F64 || self.b.func.dfg.value_type(old) == ty => Xmm::Low(v, rest),
            Xmm::Low(..) => {
                let rest = self.vector(n, F64X2);
                Xmm::Low(v, Some(rest))
            }
        };
        let n = usize::from(n & 7);
        self.b.ins().store(trusted(), v, self.cpu, Self::xmm_offset(n));
        self.path.vectors.registers[n] = new;
    }
    /// Where the memory operand is. With `aligned`, an address that is not a multiple of 16 is
    /// one for the interpreter.
    fn place(&mut self, i: &Insn, size: u64, how: How, aligned: bool, value: Option<Value>) -> Host {
        if aligned {
            let offset = self.address(&i.mem);
            let low = self.and(offset, V::C(15));
            let ok = self.compare(IntCC::Equal, Width::Dword, low, V::C(0));
            let ok = self.bit(ok);
            self.require(ok);
        }
        self.host(&i.mem, size, how, value)
    }
    fn fetch(&mut self, host: Host, ty: Type) -> Value {
        self.b.ins().load(ty, guest(), host.at, host.disp)
    }
    /// The source operand, 16 bytes.
    fn source_vector(&mut self, i: &Insn, ty: Type, aligned: bool) -> Value {
        let operand = i.ops[1];
        if operand.kind == OperandKind::Xmm {
            return self.vector(operand.index, ty);
        }
        let host = self.place(i, 16, How::Read, aligned, None);
        self.fetch(host, ty)
    }
    /// The source operand, a number.
    fn source_scalar(&mut self, i: &Insn, ty: Type) -> Value {
        let operand = i.ops[1];
        if operand.kind == OperandKind::Xmm {
            return self.scalar(operand.index, ty);
        }
        let host = self.place(i, u64::from(ty.bytes()), How::Read, false, None);
        self.fetch(host, ty)
    }
    /// The source operand, a doubleword of memory or of a general register.
    fn source_integer(&mut self, i: &Insn) -> Value {
        let operand = i.ops[1];
        if operand.is_mem() {
            let host = self.place(i, 4, How::Read, false, None);
            return self.fetch(host, I32);
        }
        let v = self.reg(operand.index, Width::Dword);
        self.w(v)
    }
    /// The same value, but no load: the code generator swaps the operands of commutative
    /// operations to make use of one, and which of two NaNs is the result depends on the order.
    fn pin(&mut self, v: Value) -> Value {
        let is_load = match self.b.func.dfg.value_def(v) {
            ValueDef::Result(inst, _) => self.b.func.dfg.insts[inst].opcode() == Clif::Load,
            _ => false,
        };
        if !is_load {
            return v;
        }
        let ty = self.b.func.dfg.value_type(v);
        let next = self.b.create_block();
        let pinned = self.b.append_block_param(next, ty);
        self.b.ins().jump(next, &[v.into()]);
        self.open(next);
        pinned
    }
    fn math(&mut self, op: Math, a: Value, b: Value) -> Value {
        match op {
            Math::Add => {
                let a = self.pin(a);
                self.b.ins().fadd(a, b)
            }
            Math::Sub => self.b.ins().fsub(a, b),
            Math::Mul => {
                let a = self.pin(a);
                self.b.ins().fmul(a, b)
            }
            Math::Div => self.b.ins().fdiv(a, b),
            Math::Sqrt => self.b.ins().sqrt(b),
        }
    }
    /// Numbers as integers, and the constants that take them apart.
    fn raw(&mut self, v: Value) -> (Value, Raw) {
        let of = self.b.func.dfg.value_type(v);
        let double = of.lane_type() == F64;
        let fraction = if double { 52 } else { 23 };
        let lane = if double { I64 } else { I32 };
        let ty = if of.is_vector() { lane.by(of.lane_count()).unwrap_or(I64X2) } else { lane };
        let infinity = if double { 0x7ff << 52 } else { 0xff << 23 };
        (self.cast(v, ty), Raw { ty, normal: 1 << fraction, infinity })
    }
    fn raw_constant(&mut self, raw: Raw, value: u64) -> Value {
        let v = self.iconst(raw.ty.lane_type(), value);
        if raw.ty.is_vector() { self.b.ins().splat(raw.ty, v) } else { v }
    }
    fn raw_compare(&mut self, cc: IntCC, v: Value, raw: Raw, with: u64) -> Value {
        let with = self.raw_constant(raw, with);
        self.b.ins().icmp(cc, v, with)
    }
    /// Where a number is a denormal one.
    fn is_denormal(&mut self, v: Value) -> Value {
        let (v, raw) = self.raw(v);
        let v = self.b.ins().ishl_imm_u(v, 1);
        let one = self.raw_constant(raw, 1);
        let v = self.b.ins().isub(v, one);
        self.raw_compare(IntCC::UnsignedLessThan, v, raw, 2 * raw.normal - 1)
    }
    fn is_zero_number(&mut self, v: Value) -> Value {
        let (v, raw) = self.raw(v);
        let v = self.b.ins().ishl_imm_u(v, 1);
        self.raw_compare(IntCC::Equal, v, raw, 0)
    }
    /// Where a result may not be the guest's: a NaN, and if it `may_be_tiny` one that was rounded to a denormal number,
    /// a zero or the smallest normal number.
    fn is_doubtful(&mut self, v: Value, may_be_tiny: bool) -> Value {
        let (v, raw) = self.raw(v);
        let mask = self.raw_constant(raw, raw.infinity | (raw.normal - 1));
        let magnitude = self.b.ins().band(v, mask);
        if !may_be_tiny {
            return self.raw_compare(IntCC::UnsignedGreaterThan, magnitude, raw, raw.infinity);
        }
        let least = self.raw_constant(raw, raw.normal + 1);
        let above = self.b.ins().isub(magnitude, least);
        self.raw_compare(IntCC::UnsignedGreaterThan, above, raw, raw.infinity - raw.normal - 1)
    }
    fn any(&mut self, v: Value) -> Value {
        if self.b.func.dfg.value_type(v).is_vector() { self.b.ins().vany_true(v) } else { v }
    }
    /// Leaves the instruction to the interpreter where one of `denormal` is, or where the result `r` is doubtful and
    /// not a zero because one of `zeros` is one.
    fn check(&mut self, denormal: &[Value], r: Value, may_be_tiny: bool, zeros: &[Value]) {
        let doubtful = self.is_doubtful(r, may_be_tiny);
        let mut raised = None;
        for &v in denormal {
            let v = self.is_denormal(v);
            raised = Some(raised.map_or(v, |all| self.b.ins().bor(all, v)));
        }
        let bad = raised.map_or(doubtful, |raised| self.b.ins().bor(doubtful, raised));
        let bad = self.any(bad);
        let (go, look, stop) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(bad, look, &[], go, &[]);
        self.open_cold(look);
        if zeros.is_empty() {
            self.b.ins().jump(stop, &[]);
        } else {
            let mut fine = None;
            for &v in zeros {
                let v = self.is_zero_number(v);
                fine = Some(fine.map_or(v, |all| self.b.ins().bor(all, v)));
            }
            let zero = self.is_zero_number(r);
            let fine = fine.map_or(zero, |fine| self.b.ins().band(fine, zero));
            let still = self.b.ins().band_not(doubtful, fine);
            let still = raised.map_or(still, |raised| self.b.ins().bor(still, raised));
            let still = self.any(still);
            self.b.ins().brif(still, stop, &[], go, &[]);
        }
        self.open_cold(stop);
        self.bail();
        self.open(go);
    }
    /// The same for a double `v` that became the single `r`.
    fn check_narrowed(&mut self, v: Value, r: Value) {
        let doubtful = self.is_doubtful(r, true);
        let zero = self.is_zero_number(v);
        let bad = self.b.ins().band_not(doubtful, zero);
        let fine = self.b.ins().icmp_imm_u(IntCC::Equal, bad, 0);
        self.require(fine);
    }
    /// The same for `op` of `a` and `b`.
    fn check_math(&mut self, op: Math, a: Value, b: Value, r: Value) {
        if !CHECKS_FLOATS {
            return;
        }
        match op {
            // A tiny sum is exact.
            Math::Add | Math::Sub => self.check(&[a, b], r, false, &[]),
            Math::Mul => self.check(&[a, b], r, true, &[a, b]),
            Math::Div => self.check(&[a, b], r, true, &[a]),
            Math::Sqrt => self.check(&[b], r, false, &[]),
        }
    }
    /// Bytes of `a` and `b` (numbered from 16) in a new order.
    fn bytes(&mut self, a: Value, b: Value, order: [u8; 16]) -> Value {
        let (a, b) = (self.cast(a, I8X16), self.cast(b, I8X16));
        let order = self.b.func.dfg.immediates.push(order[..].into());
        self.b.ins().shuffle(a, b, order)
    }
    fn zero(&mut self) -> Value {
        let zero = self.iconst(I64, 0);
        self.b.ins().splat(I64X2, zero)
    }

    fn vector_instruction(&mut self, i: &Insn, kind: Kind) {
        let (dst, src) = (i.ops[0].index, i.ops[1].index);
        let imm = i.imm as u8;
        match kind {
            Kind::Nothing => {}
            Kind::Load { aligned } => {
                let v = self.source_vector(i, I8X16, aligned);
                self.set_vector(dst, v);
            }
            Kind::Store { aligned } => {
                let v = self.vector(src, I8X16);
                if i.ops[0].is_mem() {
                    let host = self.place(i, 16, How::Write, aligned, Some(v));
                    self.b.ins().store(guest(), v, host.at, host.disp);
                } else {
                    self.set_vector(dst, v);
                }
            }
            Kind::LoadScalar(ty) => {
                let v = self.source_scalar(i, ty);
                if i.ops[1].is_mem() || ty == I64 {
                    let v = if ty == I64 { self.cast(v, F64) } else { v };
                    let lanes = if ty == F32 { F32X4 } else { F64X2 };
                    let v = self.b.ins().scalar_to_vector(lanes, v);
                    self.set_vector(dst, v);
                } else {
                    self.set_scalar(dst, v);
                }
            }
            Kind::StoreScalar(ty) => {
                let plain = if ty == I64 { F64 } else { ty };
                let v = self.scalar(src, plain);
                if i.ops[0].is_mem() {
                    let bits = self.cast(v, if ty == F32 { I32 } else { I64 });
                    let wide = if ty == F32 { self.b.ins().uextend(I64, bits) } else { bits };
                    let host = self.place(i, u64::from(ty.bytes()), How::Write, false, Some(wide));
                    self.b.ins().store(guest(), v, host.at, host.disp);
                } else if ty == I64 {
                    let v = self.b.ins().scalar_to_vector(F64X2, v);
                    self.set_vector(dst, v);
                } else {
                    self.set_scalar(dst, v);
                }
            }
            Kind::LoadHalf(at) => {
                let host = self.place(i, 8, How::Read, false, None);
                let v = self.fetch(host, F64);
                if at == 0 {
                    self.set_scalar(dst, v);
                } else {
                    let old = self.vector(dst, F64X2);
                    let v = self.b.ins().insertlane(old, v, 1);
                    self.set_vector(dst, v);
                }
            }
            Kind::StoreHalf(at) => {
                let v = if at == 0 {
                    self.scalar(src, F64)
                } else {
                    let v = self.vector(src, F64X2);
                    self.b.ins().extractlane(v, 1)
                };
                let bits = self.cast(v, I64);
                let host = self.place(i, 8, How::Write, false, Some(bits));
                self.b.ins().store(guest(), v, host.at, host.disp);
            }
            Kind::HighToLow => {
                let (a, b) = (self.vector(dst, I64X2), self.vector(src, I64X2));
                let v = self.bytes(a, b, [24, 25, 26, 27, 28, 29, 30, 31, 8, 9, 10, 11, 12, 13, 14, 15]);
                self.set_vector(dst, v);
            }
            Kind::LowToHigh => {
                let (a, b) = (self.vector(dst, I64X2), self.vector(src, I64X2));
                let v = self.bytes(a, b, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
                self.set_vector(dst, v);
            }
            Kind::FromGeneral => {
                let v = self.source_integer(i);
                let v = self.b.ins().scalar_to_vector(I32X4, v);
                self.set_vector(dst, v);
            }
            Kind::ToGeneral => {
                let v = self.scalar(src, F32);
                let v = self.cast(v, I32);
                if i.ops[0].is_mem() {
                    let wide = self.b.ins().uextend(I64, v);
                    let host = self.place(i, 4, How::Write, false, Some(wide));
                    self.b.ins().store(guest(), v, host.at, host.disp);
                } else {
                    self.set_reg(dst, Width::Dword, V::W(v));
                }
            }
            Kind::Scalar(op, ty) => {
                let b = self.source_scalar(i, ty);
                let a = if op == Math::Sqrt { b } else { self.scalar(dst, ty) };
                let v = self.math(op, a, b);
                self.check_math(op, a, b, v);
                self.set_scalar(dst, v);
            }
            Kind::Packed(op, ty) => {
                let b = self.source_vector(i, ty, true);
                let a = if op == Math::Sqrt { b } else { self.vector(dst, ty) };
                let v = self.math(op, a, b);
                self.check_math(op, a, b, v);
                self.set_vector(dst, v);
            }
            Kind::Compare(ty) => {
                let b = self.source_scalar(i, ty);
                let a = self.scalar(dst, ty);
                // With a NaN the two kinds of comparison differ in the flags that they raise.
                let ordered = self.b.ins().fcmp(FloatCC::Ordered, a, b);
                self.require(ordered);
                if CHECKS_FLOATS {
                    let (x, y) = (self.is_denormal(a), self.is_denormal(b));
                    let raised = self.b.ins().bor(x, y);
                    let fine = self.b.ins().icmp_imm_u(IntCC::Equal, raised, 0);
                    self.require(fine);
                }
                self.set_float_flags(a, b);
            }
            Kind::FromInteger(ty) => {
                let v = self.source_integer(i);
                let v = self.b.ins().fcvt_from_sint(ty, v);
                self.set_scalar(dst, v);
            }
            Kind::Truncate(ty) => {
                let v = self.source_scalar(i, ty);
                // What fits in 32 bits whatever its fraction; a comparison would raise flags.
                let (bits, fraction, limit) = if ty == F64 { (I64, 52, 1023 + 31) } else { (I32, 23, 127 + 31) };
                let raw = self.cast(v, bits);
                let raw = self.b.ins().ushr_imm_u(raw, fraction);
                let exponent = self.b.ins().band_imm_u(raw, if ty == F64 { 0x7ff } else { 0xff });
                let ok = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, exponent, limit);
                self.require(ok);
                let v = self.b.ins().fcvt_to_sint_sat(I32, v);
                self.set_reg(dst, Width::Dword, V::W(v));
            }
            Kind::Convert { from, to } => {
                let v = self.source_scalar(i, from);
                let r = if to == F64 { self.b.ins().fpromote(F64, v) } else { self.b.ins().fdemote(F32, v) };
                if CHECKS_FLOATS {
                    if to == F64 { self.check(&[v], r, false, &[]) } else { self.check_narrowed(v, r) }
                }
                self.set_scalar(dst, r);
            }
            Kind::ComparePacked(ty) => {
                let b = self.source_vector(i, ty, true);
                let a = self.vector(dst, ty);
                let cc = match imm & 7 {
                    0 => FloatCC::Equal,
                    1 => FloatCC::LessThan,
                    2 => FloatCC::LessThanOrEqual,
                    3 => FloatCC::Unordered,
                    4 => FloatCC::NotEqual,
                    5 => FloatCC::UnorderedOrGreaterThanOrEqual,
                    6 => FloatCC::UnorderedOrGreaterThan,
                    _ => FloatCC::Ordered,
                };
                let v = self.b.ins().fcmp(cc, a, b);
                self.set_vector(dst, v);
            }
            Kind::Both(ty, op) => {
                let b = self.source_vector(i, ty, true);
                let a = self.vector(dst, ty);
                let v = op(self, a, b);
                self.set_vector(dst, v);
            }
            Kind::Shuffle => {
                let v = self.source_vector(i, I8X16, true);
                let order = std::array::from_fn(|n| (imm >> (2 * (n / 4)) & 3) * 4 + (n % 4) as u8);
                let v = self.bytes(v, v, order);
                self.set_vector(dst, v);
            }
            Kind::ShuffleTwo(ty) => {
                let b = self.source_vector(i, ty, true);
                let a = self.vector(dst, ty);
                let order = if ty == F32X4 {
                    std::array::from_fn(|n| {
                        (imm >> (2 * (n / 4)) & 3) * 4 + (n % 4) as u8 + if n >= 8 { 16 } else { 0 }
                    })
                } else {
                    std::array::from_fn(|n| (imm >> (n / 8) & 1) * 8 + (n % 8) as u8 + if n >= 8 { 16 } else { 0 })
                };
                let v = self.bytes(a, b, order);
                self.set_vector(dst, v);
            }
            Kind::ShuffleWords { high } => {
                let v = self.source_vector(i, I8X16, true);
                let order = std::array::from_fn(|n| {
                    if (n >= 8) == high {
                        let from = (n & 8) as u8;
                        from + (imm >> (2 * ((n & 7) / 2)) & 3) * 2 + (n % 2) as u8
                    } else {
                        n as u8
                    }
                });
                let v = self.bytes(v, v, order);
                self.set_vector(dst, v);
            }
            Kind::Interleave { bytes, high } => {
                let b = self.source_vector(i, I8X16, true);
                let a = self.vector(dst, I8X16);
                let order = std::array::from_fn(|n| {
                    let lane = n / bytes;
                    let from = lane / 2 * bytes + n % bytes + if high { 8 } else { 0 };
                    (from + 16 * (lane & 1)) as u8
                });
                let v = self.bytes(a, b, order);
                self.set_vector(dst, v);
            }
            Kind::Shift { ty, how } => {
                let bits = ty.lane_bits();
                let a = self.vector(dst, ty);
                let count = u32::from(imm);
                let v = if how == 2 {
                    self.b.ins().sshr_imm_u(a, i64::from(count.min(bits - 1)))
                } else if count >= bits {
                    self.zero()
                } else if how == 0 {
                    self.b.ins().ushr_imm_u(a, i64::from(count))
                } else {
                    self.b.ins().ishl_imm_u(a, i64::from(count))
                };
                self.set_vector(dst, v);
            }
            Kind::ShiftBytes { left } => {
                let a = self.vector(dst, I8X16);
                let zero = self.zero();
                let count = usize::from(imm).min(16);
                let order = std::array::from_fn(|n| {
                    let from = if left { n.checked_sub(count) } else { Some(n + count) };
                    match from {
                        Some(from) if from < 16 => from as u8,
                        _ => 16,
                    }
                });
                let v = self.bytes(a, zero, order);
                self.set_vector(dst, v);
            }
            Kind::Signs(ty) => {
                let v = self.vector(src, ty);
                let v = self.b.ins().vhigh_bits(I32, v);
                self.set_reg(dst, Width::Dword, V::W(v));
            }
        }
    }
}
