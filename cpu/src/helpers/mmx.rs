//! MMX, and the MMX instructions that came with SSE and SSE2.
//!
//! MM0–MM7 are the significands of the physical x87 registers R0–R7. Every instruction but EMMS makes all registers
//! valid with TOP 0; a write sets the exponent to all ones (SDM vol. 3, section 12.2).

use super::coprocessor::{enter_mmx, mmx_ready};
use super::packed as p;
use super::packed::{Binary, Shift};
use crate::core::{Core, Fault};
use crate::insn::{Code, Helper, Insn, Mnemonic, Operand, OperandKind};
use crate::state::{CpuState, Seg, Width, gpr};

/// The function for an instruction whose operands are MMX registers (and general-purpose registers or memory).
#[must_use]
pub fn lookup(mnemonic: Mnemonic, code: Code) -> Option<Helper> {
    let _ = mnemonic;
    macro_rules! table {
        (
            binary { $($b:ident $bop:ident;)* }
            unpack_low { $($l:ident $lop:ident;)* }
            unpack_high { $($h:ident $hop:ident;)* }
            pack { $($k:ident $kop:ident;)* }
            shift { $($s:ident $si:ident $sop:ident;)* }
            other { $($o:ident $(| $o2:ident)* => $f:expr;)* }
        ) => {
            match code {
                $(Code::$b => binary::<p::$bop>,)*
                $(Code::$l => unpack_low::<p::$lop>,)*
                $(Code::$h => unpack_high::<p::$hop>,)*
                $(Code::$k => pack::<p::$kop>,)*
                $(Code::$s => shift::<p::$sop>, Code::$si => shift_immediate::<p::$sop>,)*
                $(Code::$o $(| Code::$o2)* => $f,)*
                _ => return None,
            }
        };
    }
    Some(table! {
        binary {
            Paddb_mm_mmm64 AddB;
            Paddw_mm_mmm64 AddW;
            Paddd_mm_mmm64 AddD;
            Paddq_mm_mmm64 AddQ;
            Psubb_mm_mmm64 SubB;
            Psubw_mm_mmm64 SubW;
            Psubd_mm_mmm64 SubD;
            Psubq_mm_mmm64 SubQ;
            Paddsb_mm_mmm64 AddSB;
            Paddsw_mm_mmm64 AddSW;
            Paddusb_mm_mmm64 AddUsB;
            Paddusw_mm_mmm64 AddUsW;
            Psubsb_mm_mmm64 SubSB;
            Psubsw_mm_mmm64 SubSW;
            Psubusb_mm_mmm64 SubUsB;
            Psubusw_mm_mmm64 SubUsW;
            Pcmpeqb_mm_mmm64 EqualB;
            Pcmpeqw_mm_mmm64 EqualW;
            Pcmpeqd_mm_mmm64 EqualD;
            Pcmpgtb_mm_mmm64 GreaterB;
            Pcmpgtw_mm_mmm64 GreaterW;
            Pcmpgtd_mm_mmm64 GreaterD;
            Pminub_mm_mmm64 MinUB;
            Pmaxub_mm_mmm64 MaxUB;
            Pminsw_mm_mmm64 MinSW;
            Pmaxsw_mm_mmm64 MaxSW;
            Pavgb_mm_mmm64 AverageB;
            Pavgw_mm_mmm64 AverageW;
            Pmullw_mm_mmm64 MultiplyLowW;
            Pmulhw_mm_mmm64 MultiplyHighW;
            Pmulhuw_mm_mmm64 MultiplyHighUW;
            Pmuludq_mm_mmm64 MultiplyUDQ;
            Pmaddwd_mm_mmm64 MultiplyAddW;
            Psadbw_mm_mmm64 SumDifferences;
            Pand_mm_mmm64 And;
            Pandn_mm_mmm64 AndNot;
            Por_mm_mmm64 Or;
            Pxor_mm_mmm64 Xor;
        }
        unpack_low {
            Punpcklbw_mm_mmm32 UnpackLowB;
            Punpcklwd_mm_mmm32 UnpackLowW;
            Punpckldq_mm_mmm32 UnpackLowD;
        }
        unpack_high {
            Punpckhbw_mm_mmm64 UnpackLowB;
            Punpckhwd_mm_mmm64 UnpackLowW;
            Punpckhdq_mm_mmm64 UnpackLowD;
        }
        pack {
            Packsswb_mm_mmm64 PackSW;
            Packuswb_mm_mmm64 PackUsW;
            Packssdw_mm_mmm64 PackSD;
        }
        shift {
            Psllw_mm_mmm64 Psllw_mm_imm8 LeftW;
            Pslld_mm_mmm64 Pslld_mm_imm8 LeftD;
            Psllq_mm_mmm64 Psllq_mm_imm8 LeftQ;
            Psrlw_mm_mmm64 Psrlw_mm_imm8 RightW;
            Psrld_mm_mmm64 Psrld_mm_imm8 RightD;
            Psrlq_mm_mmm64 Psrlq_mm_imm8 RightQ;
            Psraw_mm_mmm64 Psraw_mm_imm8 ArithmeticW;
            Psrad_mm_mmm64 Psrad_mm_imm8 ArithmeticD;
        }
        other {
            Movd_mm_rm32 => load_general;
            Movq_mm_rm64 => load_general_wide;
            Movd_rm32_mm => store_general;
            Movq_rm64_mm => store_general_wide;
            Movq_mm_mmm64 => move_to_register;
            Movq_mmm64_mm | Movntq_m64_mm => move_from_register;
            Pshufw_mm_mmm64_imm8 => shuffle;
            Pinsrw_mm_r32m16_imm8 | Pinsrw_mm_r64m16_imm8 => insert_word;
            Pextrw_r32_mm_imm8 | Pextrw_r64_mm_imm8 => extract_word;
            Pmovmskb_r32_mm | Pmovmskb_r64_mm => byte_signs;
            Maskmovq_rDI_mm_mm => masked_store;
            Emms => empty_state;
        }
    })
}

/// MM`index`.
#[inline(always)]
#[must_use]
pub fn register(cpu: &CpuState, index: u8) -> u64 {
    cpu.fpu.regs[usize::from(index & 7)].mantissa
}
/// Writes MM`index`.
#[inline(always)]
pub fn set_register(cpu: &mut CpuState, index: u8, value: u64) {
    let r = &mut cpu.fpu.regs[usize::from(index & 7)];
    r.mantissa = value;
    r.sign_exponent = 0xffff;
}
/// An MMX register or a memory operand of `width`, zero-extended.
#[inline(always)]
pub fn source(core: &mut Core<'_, '_>, i: &Insn, operand: Operand, width: Width) -> Result<u64, Fault> {
    if operand.kind == OperandKind::Mm {
        return Ok(register(core.cpu, operand.index));
    }
    let offset = core.offset(&i.mem);
    core.load(i.mem.seg, offset, width)
}
/// Ends an instruction with an MMX destination.
#[inline(always)]
fn finish(core: &mut Core<'_, '_>, i: &Insn, value: u64) -> Result<(), Fault> {
    enter_mmx(core.cpu);
    set_register(core.cpu, i.ops[0].index, value);
    Ok(())
}

fn binary<O: Binary>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let b = source(core, i, i.ops[1], Width::Qword)?;
    let a = register(core.cpu, i.ops[0].index);
    finish(core, i, O::apply(u128::from(a), u128::from(b)) as u64)
}
/// The low halves interleave to 8 bytes: the low half of what the 16-byte form makes. Memory operands have 4 bytes.
fn unpack_low<O: Binary>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let b = source(core, i, i.ops[1], Width::Dword)?;
    let a = register(core.cpu, i.ops[0].index);
    finish(core, i, O::apply(u128::from(a), u128::from(b)) as u64)
}
/// The high halves: the high half of what the 16-byte form for the low half makes.
fn unpack_high<O: Binary>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let b = source(core, i, i.ops[1], Width::Qword)?;
    let a = register(core.cpu, i.ops[0].index);
    finish(core, i, (O::apply(u128::from(a), u128::from(b)) >> 64) as u64)
}
/// Both operands together are the first operand of the 16-byte form.
fn pack<O: Binary>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let b = source(core, i, i.ops[1], Width::Qword)?;
    let a = register(core.cpu, i.ops[0].index);
    finish(core, i, O::apply(u128::from(a) | u128::from(b) << 64, 0) as u64)
}
fn shift<O: Shift>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let count = source(core, i, i.ops[1], Width::Qword)?;
    let a = register(core.cpu, i.ops[0].index);
    finish(core, i, O::apply(u128::from(a), count) as u64)
}
fn shift_immediate<O: Shift>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let a = register(core.cpu, i.ops[0].index);
    finish(core, i, O::apply(u128::from(a), i.imm & 0xff) as u64)
}

/// MOVD mm, r/m32.
fn load_general(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let value = core.read_operand(i, i.ops[1], Width::Dword)?;
    finish(core, i, value)
}
/// MOVQ mm, r/m64.
fn load_general_wide(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let value = core.read_operand(i, i.ops[1], Width::Qword)?;
    finish(core, i, value)
}
/// MOVD r/m32, mm.
fn store_general(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let value = register(core.cpu, i.ops[1].index) & 0xffff_ffff;
    core.write_operand(i, i.ops[0], Width::Dword, value)?;
    enter_mmx(core.cpu);
    Ok(())
}
/// MOVQ r/m64, mm.
fn store_general_wide(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let value = register(core.cpu, i.ops[1].index);
    core.write_operand(i, i.ops[0], Width::Qword, value)?;
    enter_mmx(core.cpu);
    Ok(())
}
/// MOVQ mm, mm/m64.
fn move_to_register(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let value = source(core, i, i.ops[1], Width::Qword)?;
    finish(core, i, value)
}
/// MOVQ mm/m64, mm and MOVNTQ.
fn move_from_register(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let value = register(core.cpu, i.ops[1].index);
    if i.ops[0].kind == OperandKind::Mm {
        return finish(core, i, value);
    }
    let offset = core.offset(&i.mem);
    core.store(i.mem.seg, offset, Width::Qword, value)?;
    enter_mmx(core.cpu);
    Ok(())
}
/// PSHUFW.
fn shuffle(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let value = source(core, i, i.ops[1], Width::Qword)?;
    finish(core, i, p::shuffle_words(value, i.imm as u8))
}
/// PINSRW mm.
fn insert_word(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    let word = core.read_operand(i, i.ops[1], Width::Word)?;
    let shift = 16 * (i.imm & 3);
    let a = register(core.cpu, i.ops[0].index);
    finish(core, i, a & !(0xffff << shift) | word << shift)
}
/// PEXTRW r32, mm.
fn extract_word(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    enter_mmx(core.cpu);
    let value = register(core.cpu, i.ops[1].index) >> (16 * (i.imm & 3)) & 0xffff;
    core.cpu.gpr.write(i.ops[0].index, Width::Dword, value);
    Ok(())
}
/// PMOVMSKB r32, mm.
fn byte_signs(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    enter_mmx(core.cpu);
    let value = p::byte_signs(u128::from(register(core.cpu, i.ops[1].index)));
    core.cpu.gpr.write(i.ops[0].index, Width::Dword, u64::from(value));
    Ok(())
}
/// MASKMOVQ: the bytes whose mask byte has its sign bit set go to the segment and rDI.
fn masked_store(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    // Register operands come last whether or not the implicit memory operand is listed.
    let (data, mask) = masked_store_operands(i);
    let (data, mask) = (register(core.cpu, data), register(core.cpu, mask));
    store_masked_bytes(core, i, &data.to_le_bytes(), p::byte_signs(u128::from(mask)))?;
    enter_mmx(core.cpu);
    Ok(())
}
/// The data and mask registers of MASKMOVQ and MASKMOVDQU, whether or not the implicit memory operand comes first.
#[must_use]
pub fn masked_store_operands(i: &Insn) -> (u8, u8) {
    let is_vector = |o: &Operand| matches!(o.kind, OperandKind::Mm | OperandKind::Xmm);
    let mut vectors = i.ops.iter().filter(|o| is_vector(o)).map(|o| o.index);
    (vectors.next().unwrap_or(0), vectors.next().unwrap_or(0))
}
/// Stores the bytes selected by `mask` at the segment and rDI; faults, if any, come before the first store. An all-zero mask
/// touches nothing.
pub fn store_masked_bytes(core: &mut Core<'_, '_>, i: &Insn, bytes: &[u8], mask: u32) -> Result<(), Fault> {
    let width = i.mem.width;
    let start = core.cpu.gpr.read(gpr::DI, width);
    let seg: Seg = i.mem.seg;
    let chosen = |n: &usize| mask >> n & 1 != 0;
    for n in (0..bytes.len()).filter(chosen) {
        core.probe_store(seg, start.wrapping_add(n as u64) & width.mask(), 1)?;
    }
    for n in (0..bytes.len()).filter(chosen) {
        core.store(seg, start.wrapping_add(n as u64) & width.mask(), Width::Byte, u64::from(bytes[n]))?;
    }
    Ok(())
}
/// EMMS: all registers are empty; TOP becomes 0.
fn empty_state(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    mmx_ready(core)?;
    core.cpu.fpu.top = 0;
    core.cpu.fpu.empty = 0xff;
    Ok(())
}
