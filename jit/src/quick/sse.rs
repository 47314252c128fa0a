//! SSE and SSE2 instructions as the host's own.
//!
//! The guest's XMM registers are brought into the host's registers of the same numbers where an instruction first needs
//! them, and stay there from instruction to instruction until a function of the engine runs ([`stubs::VECTORS`] says
//! whether they are there). MXCSR of the host is the guest's meanwhile, as long as that masks all exceptions; else
//! arithmetic is left to the interpreter. What hosts may do differently (approximate reciprocals) and what touches MMX
//! registers is the helper's.

use super::assembler::{At, R8, R9, Size, cc, host};
use super::stubs::{READ, WRITE};
use super::{Cold, Copying, Done, End, H_ALL, Not, Quick, stubs, word};
use crate::survey::{ALL, Known, Surveyor};
use cpu::flags::FlagsOf;
use cpu::insn::{Code, Insn, Mnemonic, OperandKind};
use cpu::micro::Micro;
use cpu::semantics::Opcode;
use cpu::state::Width;

/// What of SSE may run at a point of the code, as far as is known; a larger one includes the smaller.
pub(super) const UNKNOWN: u32 = 0;
/// All but arithmetic.
const MOVES: u32 = 1;
const FLOATS: u32 = 2;

/// Which operands an instruction has. Mandatory prefix (0: none) and opcode behind 0F.
#[derive(Clone, Copy)]
enum Form {
    /// A register and a register or memory that is read.
    Source(u8, u8),
    /// The same, and the result is in EFLAGS.
    Compare(u8, u8),
    /// A register or memory that is written, and a register.
    Store(u8, u8),
    /// A register, and a general register or memory.
    FromGeneral(u8, u8),
    /// A general register, and a register or memory.
    ToGeneral(u8, u8),
    /// A register that is shifted by a constant: opcode and number in the second byte.
    Shift(u8, u8),
    /// A hint.
    Nothing,
}
use Form::{Compare, FromGeneral, Nothing, Shift, Source, Store, ToGeneral};

/// All about an instruction.
struct Shape {
    form: Form,
    /// Bytes of a memory operand.
    bytes: u64,
    /// Its address must be a multiple of 16.
    is_aligned: bool,
    has_imm: bool,
    is_float: bool,
}

const ALIGNED: u64 = 1 << 8;
const IMM: u64 = 1 << 9;

const fn plain(form: Form, how: u64) -> Shape {
    Shape { form, bytes: how & 0xff, is_aligned: how & ALIGNED != 0, has_imm: how & IMM != 0, is_float: false }
}
const fn float(form: Form, how: u64) -> Shape {
    Shape { is_float: true, ..plain(form, how) }
}

fn shape(i: &Insn) -> Option<Shape> {
    use Code as C;
    if i.op != Opcode::Helper || i.ops.iter().any(|o| o.kind == OperandKind::Xmm && o.index >= 8) {
        return None;
    }
    if matches!(i.mnemonic, Mnemonic::Prefetchnta | Mnemonic::Prefetcht0 | Mnemonic::Prefetcht1 | Mnemonic::Prefetcht2)
    {
        return Some(plain(Nothing, 0));
    }
    Some(match i.code {
        C::Sqrtps_xmm_xmmm128 => float(Source(0x00, 0x51), 16 | ALIGNED),
        C::Sqrtpd_xmm_xmmm128 => float(Source(0x66, 0x51), 16 | ALIGNED),
        C::Sqrtss_xmm_xmmm32 => float(Source(0xf3, 0x51), 4),
        C::Sqrtsd_xmm_xmmm64 => float(Source(0xf2, 0x51), 8),
        C::Addps_xmm_xmmm128 => float(Source(0x00, 0x58), 16 | ALIGNED),
        C::Addpd_xmm_xmmm128 => float(Source(0x66, 0x58), 16 | ALIGNED),
        C::Addss_xmm_xmmm32 => float(Source(0xf3, 0x58), 4),
        C::Addsd_xmm_xmmm64 => float(Source(0xf2, 0x58), 8),
        C::Mulps_xmm_xmmm128 => float(Source(0x00, 0x59), 16 | ALIGNED),
        C::Mulpd_xmm_xmmm128 => float(Source(0x66, 0x59), 16 | ALIGNED),
        C::Mulss_xmm_xmmm32 => float(Source(0xf3, 0x59), 4),
        C::Mulsd_xmm_xmmm64 => float(Source(0xf2, 0x59), 8),
        C::Subps_xmm_xmmm128 => float(Source(0x00, 0x5c), 16 | ALIGNED),
        C::Subpd_xmm_xmmm128 => float(Source(0x66, 0x5c), 16 | ALIGNED),
        C::Subss_xmm_xmmm32 => float(Source(0xf3, 0x5c), 4),
        C::Subsd_xmm_xmmm64 => float(Source(0xf2, 0x5c), 8),
        C::Minps_xmm_xmmm128 => float(Source(0x00, 0x5d), 16 | ALIGNED),
        C::Minpd_xmm_xmmm128 => float(Source(0x66, 0x5d), 16 | ALIGNED),
        C::Minss_xmm_xmmm32 => float(Source(0xf3, 0x5d), 4),
        C::Minsd_xmm_xmmm64 => float(Source(0xf2, 0x5d), 8),
        C::Divps_xmm_xmmm128 => float(Source(0x00, 0x5e), 16 | ALIGNED),
        C::Divpd_xmm_xmmm128 => float(Source(0x66, 0x5e), 16 | ALIGNED),
        C::Divss_xmm_xmmm32 => float(Source(0xf3, 0x5e), 4),
        C::Divsd_xmm_xmmm64 => float(Source(0xf2, 0x5e), 8),
        C::Maxps_xmm_xmmm128 => float(Source(0x00, 0x5f), 16 | ALIGNED),
        C::Maxpd_xmm_xmmm128 => float(Source(0x66, 0x5f), 16 | ALIGNED),
        C::Maxss_xmm_xmmm32 => float(Source(0xf3, 0x5f), 4),
        C::Maxsd_xmm_xmmm64 => float(Source(0xf2, 0x5f), 8),
        C::Cmpps_xmm_xmmm128_imm8 => float(Source(0x00, 0xc2), 16 | ALIGNED | IMM),
        C::Cmppd_xmm_xmmm128_imm8 => float(Source(0x66, 0xc2), 16 | ALIGNED | IMM),
        C::Cmpss_xmm_xmmm32_imm8 => float(Source(0xf3, 0xc2), 4 | IMM),
        C::Cmpsd_xmm_xmmm64_imm8 => float(Source(0xf2, 0xc2), 8 | IMM),
        C::Cvtps2pd_xmm_xmmm64 => float(Source(0x00, 0x5a), 8),
        C::Cvtpd2ps_xmm_xmmm128 => float(Source(0x66, 0x5a), 16 | ALIGNED),
        C::Cvtsd2ss_xmm_xmmm64 => float(Source(0xf2, 0x5a), 8),
        C::Cvtss2sd_xmm_xmmm32 => float(Source(0xf3, 0x5a), 4),
        C::Cvtdq2ps_xmm_xmmm128 => float(Source(0x00, 0x5b), 16 | ALIGNED),
        C::Cvtps2dq_xmm_xmmm128 => float(Source(0x66, 0x5b), 16 | ALIGNED),
        C::Cvttps2dq_xmm_xmmm128 => float(Source(0xf3, 0x5b), 16 | ALIGNED),
        C::Cvttpd2dq_xmm_xmmm128 => float(Source(0x66, 0xe6), 16 | ALIGNED),
        C::Cvtpd2dq_xmm_xmmm128 => float(Source(0xf2, 0xe6), 16 | ALIGNED),
        C::Cvtdq2pd_xmm_xmmm64 => float(Source(0xf3, 0xe6), 8),
        C::Andps_xmm_xmmm128 => plain(Source(0x00, 0x54), 16 | ALIGNED),
        C::Andpd_xmm_xmmm128 => plain(Source(0x66, 0x54), 16 | ALIGNED),
        C::Andnps_xmm_xmmm128 => plain(Source(0x00, 0x55), 16 | ALIGNED),
        C::Andnpd_xmm_xmmm128 => plain(Source(0x66, 0x55), 16 | ALIGNED),
        C::Orps_xmm_xmmm128 => plain(Source(0x00, 0x56), 16 | ALIGNED),
        C::Orpd_xmm_xmmm128 => plain(Source(0x66, 0x56), 16 | ALIGNED),
        C::Xorps_xmm_xmmm128 => plain(Source(0x00, 0x57), 16 | ALIGNED),
        C::Xorpd_xmm_xmmm128 => plain(Source(0x66, 0x57), 16 | ALIGNED),
        C::Unpcklps_xmm_xmmm128 => plain(Source(0x00, 0x14), 16 | ALIGNED),
        C::Unpcklpd_xmm_xmmm128 => plain(Source(0x66, 0x14), 16 | ALIGNED),
        C::Unpckhps_xmm_xmmm128 => plain(Source(0x00, 0x15), 16 | ALIGNED),
        C::Unpckhpd_xmm_xmmm128 => plain(Source(0x66, 0x15), 16 | ALIGNED),
        C::Shufps_xmm_xmmm128_imm8 => plain(Source(0x00, 0xc6), 16 | ALIGNED | IMM),
        C::Shufpd_xmm_xmmm128_imm8 => plain(Source(0x66, 0xc6), 16 | ALIGNED | IMM),
        C::Pshufd_xmm_xmmm128_imm8 => plain(Source(0x66, 0x70), 16 | ALIGNED | IMM),
        C::Pshuflw_xmm_xmmm128_imm8 => plain(Source(0xf2, 0x70), 16 | ALIGNED | IMM),
        C::Pshufhw_xmm_xmmm128_imm8 => plain(Source(0xf3, 0x70), 16 | ALIGNED | IMM),
        C::Punpcklbw_xmm_xmmm128 => plain(Source(0x66, 0x60), 16 | ALIGNED),
        C::Punpcklwd_xmm_xmmm128 => plain(Source(0x66, 0x61), 16 | ALIGNED),
        C::Punpckldq_xmm_xmmm128 => plain(Source(0x66, 0x62), 16 | ALIGNED),
        C::Packsswb_xmm_xmmm128 => plain(Source(0x66, 0x63), 16 | ALIGNED),
        C::Pcmpgtb_xmm_xmmm128 => plain(Source(0x66, 0x64), 16 | ALIGNED),
        C::Pcmpgtw_xmm_xmmm128 => plain(Source(0x66, 0x65), 16 | ALIGNED),
        C::Pcmpgtd_xmm_xmmm128 => plain(Source(0x66, 0x66), 16 | ALIGNED),
        C::Packuswb_xmm_xmmm128 => plain(Source(0x66, 0x67), 16 | ALIGNED),
        C::Punpckhbw_xmm_xmmm128 => plain(Source(0x66, 0x68), 16 | ALIGNED),
        C::Punpckhwd_xmm_xmmm128 => plain(Source(0x66, 0x69), 16 | ALIGNED),
        C::Punpckhdq_xmm_xmmm128 => plain(Source(0x66, 0x6a), 16 | ALIGNED),
        C::Packssdw_xmm_xmmm128 => plain(Source(0x66, 0x6b), 16 | ALIGNED),
        C::Punpcklqdq_xmm_xmmm128 => plain(Source(0x66, 0x6c), 16 | ALIGNED),
        C::Punpckhqdq_xmm_xmmm128 => plain(Source(0x66, 0x6d), 16 | ALIGNED),
        C::Pcmpeqb_xmm_xmmm128 => plain(Source(0x66, 0x74), 16 | ALIGNED),
        C::Pcmpeqw_xmm_xmmm128 => plain(Source(0x66, 0x75), 16 | ALIGNED),
        C::Pcmpeqd_xmm_xmmm128 => plain(Source(0x66, 0x76), 16 | ALIGNED),
        C::Psrlw_xmm_xmmm128 => plain(Source(0x66, 0xd1), 16 | ALIGNED),
        C::Psrld_xmm_xmmm128 => plain(Source(0x66, 0xd2), 16 | ALIGNED),
        C::Psrlq_xmm_xmmm128 => plain(Source(0x66, 0xd3), 16 | ALIGNED),
        C::Paddq_xmm_xmmm128 => plain(Source(0x66, 0xd4), 16 | ALIGNED),
        C::Pmullw_xmm_xmmm128 => plain(Source(0x66, 0xd5), 16 | ALIGNED),
        C::Psubusb_xmm_xmmm128 => plain(Source(0x66, 0xd8), 16 | ALIGNED),
        C::Psubusw_xmm_xmmm128 => plain(Source(0x66, 0xd9), 16 | ALIGNED),
        C::Pminub_xmm_xmmm128 => plain(Source(0x66, 0xda), 16 | ALIGNED),
        C::Pand_xmm_xmmm128 => plain(Source(0x66, 0xdb), 16 | ALIGNED),
        C::Paddusb_xmm_xmmm128 => plain(Source(0x66, 0xdc), 16 | ALIGNED),
        C::Paddusw_xmm_xmmm128 => plain(Source(0x66, 0xdd), 16 | ALIGNED),
        C::Pmaxub_xmm_xmmm128 => plain(Source(0x66, 0xde), 16 | ALIGNED),
        C::Pandn_xmm_xmmm128 => plain(Source(0x66, 0xdf), 16 | ALIGNED),
        C::Pavgb_xmm_xmmm128 => plain(Source(0x66, 0xe0), 16 | ALIGNED),
        C::Psraw_xmm_xmmm128 => plain(Source(0x66, 0xe1), 16 | ALIGNED),
        C::Psrad_xmm_xmmm128 => plain(Source(0x66, 0xe2), 16 | ALIGNED),
        C::Pavgw_xmm_xmmm128 => plain(Source(0x66, 0xe3), 16 | ALIGNED),
        C::Pmulhuw_xmm_xmmm128 => plain(Source(0x66, 0xe4), 16 | ALIGNED),
        C::Pmulhw_xmm_xmmm128 => plain(Source(0x66, 0xe5), 16 | ALIGNED),
        C::Psubsb_xmm_xmmm128 => plain(Source(0x66, 0xe8), 16 | ALIGNED),
        C::Psubsw_xmm_xmmm128 => plain(Source(0x66, 0xe9), 16 | ALIGNED),
        C::Pminsw_xmm_xmmm128 => plain(Source(0x66, 0xea), 16 | ALIGNED),
        C::Por_xmm_xmmm128 => plain(Source(0x66, 0xeb), 16 | ALIGNED),
        C::Paddsb_xmm_xmmm128 => plain(Source(0x66, 0xec), 16 | ALIGNED),
        C::Paddsw_xmm_xmmm128 => plain(Source(0x66, 0xed), 16 | ALIGNED),
        C::Pmaxsw_xmm_xmmm128 => plain(Source(0x66, 0xee), 16 | ALIGNED),
        C::Pxor_xmm_xmmm128 => plain(Source(0x66, 0xef), 16 | ALIGNED),
        C::Psllw_xmm_xmmm128 => plain(Source(0x66, 0xf1), 16 | ALIGNED),
        C::Pslld_xmm_xmmm128 => plain(Source(0x66, 0xf2), 16 | ALIGNED),
        C::Psllq_xmm_xmmm128 => plain(Source(0x66, 0xf3), 16 | ALIGNED),
        C::Pmuludq_xmm_xmmm128 => plain(Source(0x66, 0xf4), 16 | ALIGNED),
        C::Pmaddwd_xmm_xmmm128 => plain(Source(0x66, 0xf5), 16 | ALIGNED),
        C::Psadbw_xmm_xmmm128 => plain(Source(0x66, 0xf6), 16 | ALIGNED),
        C::Psubb_xmm_xmmm128 => plain(Source(0x66, 0xf8), 16 | ALIGNED),
        C::Psubw_xmm_xmmm128 => plain(Source(0x66, 0xf9), 16 | ALIGNED),
        C::Psubd_xmm_xmmm128 => plain(Source(0x66, 0xfa), 16 | ALIGNED),
        C::Psubq_xmm_xmmm128 => plain(Source(0x66, 0xfb), 16 | ALIGNED),
        C::Paddb_xmm_xmmm128 => plain(Source(0x66, 0xfc), 16 | ALIGNED),
        C::Paddw_xmm_xmmm128 => plain(Source(0x66, 0xfd), 16 | ALIGNED),
        C::Paddd_xmm_xmmm128 => plain(Source(0x66, 0xfe), 16 | ALIGNED),
        C::Movaps_xmm_xmmm128 => plain(Source(0x00, 0x28), 16 | ALIGNED),
        C::Movapd_xmm_xmmm128 => plain(Source(0x66, 0x28), 16 | ALIGNED),
        C::Movdqa_xmm_xmmm128 => plain(Source(0x66, 0x6f), 16 | ALIGNED),
        C::Movups_xmm_xmmm128 => plain(Source(0x00, 0x10), 16),
        C::Movupd_xmm_xmmm128 => plain(Source(0x66, 0x10), 16),
        C::Movdqu_xmm_xmmm128 => plain(Source(0xf3, 0x6f), 16),
        C::Movss_xmm_xmmm32 => plain(Source(0xf3, 0x10), 4),
        C::Movsd_xmm_xmmm64 => plain(Source(0xf2, 0x10), 8),
        C::Movq_xmm_xmmm64 => plain(Source(0xf3, 0x7e), 8),
        C::Movlps_xmm_m64 => plain(Source(0x00, 0x12), 8),
        C::Movlpd_xmm_m64 => plain(Source(0x66, 0x12), 8),
        C::Movhps_xmm_m64 => plain(Source(0x00, 0x16), 8),
        C::Movhpd_xmm_m64 => plain(Source(0x66, 0x16), 8),
        C::Movhlps_xmm_xmm => plain(Source(0x00, 0x12), 0),
        C::Movlhps_xmm_xmm => plain(Source(0x00, 0x16), 0),
        C::Comiss_xmm_xmmm32 => float(Compare(0x00, 0x2f), 4),
        C::Ucomiss_xmm_xmmm32 => float(Compare(0x00, 0x2e), 4),
        C::Comisd_xmm_xmmm64 => float(Compare(0x66, 0x2f), 8),
        C::Ucomisd_xmm_xmmm64 => float(Compare(0x66, 0x2e), 8),
        C::Movaps_xmmm128_xmm => plain(Store(0x00, 0x29), 16 | ALIGNED),
        C::Movapd_xmmm128_xmm => plain(Store(0x66, 0x29), 16 | ALIGNED),
        C::Movdqa_xmmm128_xmm => plain(Store(0x66, 0x7f), 16 | ALIGNED),
        C::Movntps_m128_xmm => plain(Store(0x00, 0x2b), 16 | ALIGNED),
        C::Movntpd_m128_xmm => plain(Store(0x66, 0x2b), 16 | ALIGNED),
        C::Movntdq_m128_xmm => plain(Store(0x66, 0xe7), 16 | ALIGNED),
        C::Movups_xmmm128_xmm => plain(Store(0x00, 0x11), 16),
        C::Movupd_xmmm128_xmm => plain(Store(0x66, 0x11), 16),
        C::Movdqu_xmmm128_xmm => plain(Store(0xf3, 0x7f), 16),
        C::Movss_xmmm32_xmm => plain(Store(0xf3, 0x11), 4),
        C::Movsd_xmmm64_xmm => plain(Store(0xf2, 0x11), 8),
        C::Movq_xmmm64_xmm => plain(Store(0x66, 0xd6), 8),
        C::Movlps_m64_xmm => plain(Store(0x00, 0x13), 8),
        C::Movlpd_m64_xmm => plain(Store(0x66, 0x13), 8),
        C::Movhps_m64_xmm => plain(Store(0x00, 0x17), 8),
        C::Movhpd_m64_xmm => plain(Store(0x66, 0x17), 8),
        C::Movd_rm32_xmm => plain(Store(0x66, 0x7e), 4),
        C::Movd_xmm_rm32 => plain(FromGeneral(0x66, 0x6e), 4),
        C::Cvtsi2ss_xmm_rm32 => float(FromGeneral(0xf3, 0x2a), 4),
        C::Cvtsi2sd_xmm_rm32 => float(FromGeneral(0xf2, 0x2a), 4),
        C::Pinsrw_xmm_r32m16_imm8 => plain(FromGeneral(0x66, 0xc4), 2 | IMM),
        C::Movmskps_r32_xmm => plain(ToGeneral(0x00, 0x50), 0),
        C::Movmskpd_r32_xmm => plain(ToGeneral(0x66, 0x50), 0),
        C::Pmovmskb_r32_xmm => plain(ToGeneral(0x66, 0xd7), 0),
        C::Pextrw_r32_xmm_imm8 => plain(ToGeneral(0x66, 0xc5), IMM),
        C::Cvttss2si_r32_xmmm32 => float(ToGeneral(0xf3, 0x2c), 4),
        C::Cvttsd2si_r32_xmmm64 => float(ToGeneral(0xf2, 0x2c), 8),
        C::Cvtss2si_r32_xmmm32 => float(ToGeneral(0xf3, 0x2d), 4),
        C::Cvtsd2si_r32_xmmm64 => float(ToGeneral(0xf2, 0x2d), 8),
        C::Psrlw_xmm_imm8 => plain(Shift(0x71, 2), IMM),
        C::Psraw_xmm_imm8 => plain(Shift(0x71, 4), IMM),
        C::Psllw_xmm_imm8 => plain(Shift(0x71, 6), IMM),
        C::Psrld_xmm_imm8 => plain(Shift(0x72, 2), IMM),
        C::Psrad_xmm_imm8 => plain(Shift(0x72, 4), IMM),
        C::Pslld_xmm_imm8 => plain(Shift(0x72, 6), IMM),
        C::Psrlq_xmm_imm8 => plain(Shift(0x73, 2), IMM),
        C::Psrldq_xmm_imm8 => plain(Shift(0x73, 3), IMM),
        C::Psllq_xmm_imm8 => plain(Shift(0x73, 6), IMM),
        C::Pslldq_xmm_imm8 => plain(Shift(0x73, 7), IMM),
        _ => return None,
    })
}

fn is_memory(i: &Insn) -> bool {
    i.ops[0].is_mem() || i.ops[1].is_mem()
}

/// What [`Surveyor`] wants to know of an instruction that is made of the host's; else it answers false.
pub(crate) fn survey(s: &mut Surveyor, i: &Insn) -> bool {
    let Some(shape) = shape(i) else { return false };
    if matches!(shape.form, Nothing) {
        return true;
    }
    s.vector(0, if matches!(shape.form, Compare(..)) { ALL } else { 0 });
    if is_memory(i) {
        s.access(&i.mem, shape.bytes, i.ops[0].is_mem());
    }
    if i.ops[1].kind == OperandKind::Reg {
        let _ = s.reg(i.ops[1].index, Width::Dword);
    }
    if i.ops[0].kind == OperandKind::Reg {
        s.set_reg(i.ops[0].index, Width::Dword, Known::U);
    }
    true
}

/// Where the second operand is.
#[derive(Clone, Copy)]
pub(super) enum Rm {
    Register(u8),
    Memory(At),
}

impl Quick<'_> {
    /// Goes on when the guest's registers are in the host's.
    fn ready_vectors(&mut self, level: u32) {
        if self.path.vectors >= level {
            return;
        }
        self.host = 0;
        self.a.alu_mem_imm(Size::D, 7, word(stubs::VECTORS), level);
        let jump = self.a.jcc(cc::B);
        let back = self.a.here();
        let plus = (self.later + 1 - self.path.debt) as i32;
        let (flags, unit) = (self.path.flags, self.path.unit);
        self.cold.push(Cold::BringVectors { jump, back, level, ip: self.ip, plus, flags, unit });
        self.path.vectors = level;
    }
    pub(super) fn sse_bytes(&mut self, prefix: u8, op: u8, reg: u8, rm: Rm) {
        if prefix != 0 {
            self.a.byte(prefix);
        }
        match rm {
            Rm::Register(r) => self.a.rr(Size::D, &[0x0f, op], reg, r),
            Rm::Memory(place) => self.a.rm(Size::D, &[0x0f, op], reg, place),
        }
    }
    /// The memory operand, looked up.
    fn sse_place(&mut self, i: &Insn, shape: &Shape, how: u32) -> Result<At, Not> {
        let place = self.touch(&i.mem, shape.bytes, how, None)?;
        if let Some(Cold::Access { info, .. }) = self.cold.last_mut()
            && shape.is_aligned
        {
            *info |= stubs::ALIGNED;
        }
        if shape.is_aligned {
            // Pages of the host and the words begin at round addresses as well.
            if place.index.is_none() && place.disp & 15 == 0 {
                self.a.test_imm(Size::B, R8, 15);
            } else {
                self.a.lea(Size::D, R9, place);
                self.a.test_imm(Size::B, R9, 15);
            }
            let jump = self.a.jcc(cc::NE);
            let plus = (self.later + 1 - self.path.debt) as i32;
            let (flags, unit) = (self.path.flags, self.path.unit);
            self.cold.push(Cold::Step { jump, ip: self.ip, plus, flags, unit });
        }
        Ok(place)
    }
    /// An SSE instruction; `None` when it is none that the host runs.
    pub(super) fn sse(&mut self, i: &Insn) -> Result<Option<End>, Not> {
        let Some(shape) = shape(i) else { return Ok(None) };
        if matches!(shape.form, Nothing) {
            return Ok(Some(End::Fall));
        }
        self.ready_vectors(if shape.is_float { FLOATS } else { MOVES });
        let (d, s) = (i.ops[0], i.ops[1]);
        match shape.form {
            Source(prefix, op) | Compare(prefix, op) => {
                let rm = if s.is_mem() { Rm::Memory(self.sse_place(i, &shape, READ)?) } else { Rm::Register(s.index) };
                self.sse_bytes(prefix, op, d.index, rm);
            }
            Store(prefix, op) if d.is_mem() => self.sse_store(i, &shape, prefix, op)?,
            Store(prefix, op) => {
                let to = if d.kind == OperandKind::Reg { host(d.index) } else { d.index };
                if d.kind == OperandKind::Reg {
                    self.changes(1 << to);
                }
                self.sse_bytes(prefix, op, s.index, Rm::Register(to));
            }
            FromGeneral(prefix, op) => {
                let rm = match s.kind {
                    OperandKind::Reg => Rm::Register(host(s.index)),
                    _ => Rm::Memory(self.sse_place(i, &shape, READ)?),
                };
                self.sse_bytes(prefix, op, d.index, rm);
            }
            ToGeneral(prefix, op) => {
                let to = host(d.index);
                self.changes(1 << to);
                let rm = if s.is_mem() { Rm::Memory(self.sse_place(i, &shape, READ)?) } else { Rm::Register(s.index) };
                self.sse_bytes(prefix, op, to, rm);
            }
            Shift(op, number) => self.sse_bytes(0x66, op, number, Rm::Register(d.index)),
            Nothing => {}
        }
        if shape.has_imm {
            self.a.byte(i.imm as u8);
        }
        if matches!(shape.form, Compare(..)) {
            self.set_bits(FlagsOf::All, Size::D);
            self.host = H_ALL;
        }
        Ok(Some(End::Fall))
    }
    fn sse_store(&mut self, i: &Insn, shape: &Shape, prefix: u8, op: u8) -> Done {
        let reg = i.ops[1].index;
        let place = self.sse_place(i, shape, WRITE)?;
        let to = if shape.bytes > 8 { stubs::WIDE } else { stubs::VALUE };
        let at = self.cold.iter().rposition(|c| matches!(c, Cold::Access { .. }));
        if let Some(Cold::Access { copy, .. }) = at.and_then(|at| self.cold.get_mut(at)) {
            *copy = Some(Copying::Vector { prefix, op, reg, to });
        }
        self.sse_bytes(prefix, op, reg, Rm::Memory(place));
        Ok(())
    }
}
