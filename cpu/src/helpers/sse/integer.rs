//! Logic, shuffles and packed integers in XMM registers.

use super::*;
use crate::helpers::packed as p;
use crate::helpers::packed::{Binary, Shift};

pub(super) fn lookup(code: Code) -> Option<Helper> {
    macro_rules! table {
        (
            binary { $($b:ident $(| $b2:ident)* => $bop:ident;)* }
            shift { $($s:ident $si:ident $sop:ident;)* }
            other { $($o:ident $(| $o2:ident)* => $f:expr;)* }
        ) => {
            match code {
                $(Code::$b $(| Code::$b2)* => binary::<p::$bop>,)*
                $(Code::$s => shift::<p::$sop>, Code::$si => shift_immediate::<p::$sop>,)*
                $(Code::$o $(| Code::$o2)* => $f,)*
                _ => return None,
            }
        };
    }
    Some(table! {
        binary {
            Paddb_xmm_xmmm128 => AddB;
            Paddw_xmm_xmmm128 => AddW;
            Paddd_xmm_xmmm128 => AddD;
            Paddq_xmm_xmmm128 => AddQ;
            Psubb_xmm_xmmm128 => SubB;
            Psubw_xmm_xmmm128 => SubW;
            Psubd_xmm_xmmm128 => SubD;
            Psubq_xmm_xmmm128 => SubQ;
            Paddsb_xmm_xmmm128 => AddSB;
            Paddsw_xmm_xmmm128 => AddSW;
            Paddusb_xmm_xmmm128 => AddUsB;
            Paddusw_xmm_xmmm128 => AddUsW;
            Psubsb_xmm_xmmm128 => SubSB;
            Psubsw_xmm_xmmm128 => SubSW;
            Psubusb_xmm_xmmm128 => SubUsB;
            Psubusw_xmm_xmmm128 => SubUsW;
            Pcmpeqb_xmm_xmmm128 => EqualB;
            Pcmpeqw_xmm_xmmm128 => EqualW;
            Pcmpeqd_xmm_xmmm128 => EqualD;
            Pcmpgtb_xmm_xmmm128 => GreaterB;
            Pcmpgtw_xmm_xmmm128 => GreaterW;
            Pcmpgtd_xmm_xmmm128 => GreaterD;
            Pminub_xmm_xmmm128 => MinUB;
            Pmaxub_xmm_xmmm128 => MaxUB;
            Pminsw_xmm_xmmm128 => MinSW;
            Pmaxsw_xmm_xmmm128 => MaxSW;
            Pavgb_xmm_xmmm128 => AverageB;
            Pavgw_xmm_xmmm128 => AverageW;
            Pmullw_xmm_xmmm128 => MultiplyLowW;
            Pmulhw_xmm_xmmm128 => MultiplyHighW;
            Pmulhuw_xmm_xmmm128 => MultiplyHighUW;
            Pmuludq_xmm_xmmm128 => MultiplyUDQ;
            Pmaddwd_xmm_xmmm128 => MultiplyAddW;
            Psadbw_xmm_xmmm128 => SumDifferences;
            Pand_xmm_xmmm128 | Andps_xmm_xmmm128 | Andpd_xmm_xmmm128 => And;
            Pandn_xmm_xmmm128 | Andnps_xmm_xmmm128 | Andnpd_xmm_xmmm128 => AndNot;
            Por_xmm_xmmm128 | Orps_xmm_xmmm128 | Orpd_xmm_xmmm128 => Or;
            Pxor_xmm_xmmm128 | Xorps_xmm_xmmm128 | Xorpd_xmm_xmmm128 => Xor;
            Punpcklbw_xmm_xmmm128 => UnpackLowB;
            Punpcklwd_xmm_xmmm128 => UnpackLowW;
            Punpckldq_xmm_xmmm128 | Unpcklps_xmm_xmmm128 => UnpackLowD;
            Punpcklqdq_xmm_xmmm128 | Unpcklpd_xmm_xmmm128 => UnpackLowQ;
            Punpckhbw_xmm_xmmm128 => UnpackHighB;
            Punpckhwd_xmm_xmmm128 => UnpackHighW;
            Punpckhdq_xmm_xmmm128 | Unpckhps_xmm_xmmm128 => UnpackHighD;
            Punpckhqdq_xmm_xmmm128 | Unpckhpd_xmm_xmmm128 => UnpackHighQ;
            Packsswb_xmm_xmmm128 => PackSW;
            Packuswb_xmm_xmmm128 => PackUsW;
            Packssdw_xmm_xmmm128 => PackSD;
        }
        shift {
            Psllw_xmm_xmmm128 Psllw_xmm_imm8 LeftW;
            Pslld_xmm_xmmm128 Pslld_xmm_imm8 LeftD;
            Psllq_xmm_xmmm128 Psllq_xmm_imm8 LeftQ;
            Psrlw_xmm_xmmm128 Psrlw_xmm_imm8 RightW;
            Psrld_xmm_xmmm128 Psrld_xmm_imm8 RightD;
            Psrlq_xmm_xmmm128 Psrlq_xmm_imm8 RightQ;
            Psraw_xmm_xmmm128 Psraw_xmm_imm8 ArithmeticW;
            Psrad_xmm_xmmm128 Psrad_xmm_imm8 ArithmeticD;
        }
        other {
            Pslldq_xmm_imm8 => shift_immediate::<p::LeftBytes>;
            Psrldq_xmm_imm8 => shift_immediate::<p::RightBytes>;
            Pshufd_xmm_xmmm128_imm8 => shuffle_doublewords;
            Pshuflw_xmm_xmmm128_imm8 => shuffle_low_words;
            Pshufhw_xmm_xmmm128_imm8 => shuffle_high_words;
            Shufps_xmm_xmmm128_imm8 => shuffle_singles;
            Shufpd_xmm_xmmm128_imm8 => shuffle_doubles;
            Pinsrw_xmm_r32m16_imm8 | Pinsrw_xmm_r64m16_imm8 => insert_word;
            Pextrw_r32_xmm_imm8 | Pextrw_r64_xmm_imm8 => extract_word;
            Pmovmskb_r32_xmm | Pmovmskb_r64_xmm => byte_signs;
        }
    })
}

fn binary<O: Binary>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source(core, i)?;
    let a = xmm(core, i.ops[0]);
    set_xmm(core, i.ops[0], O::apply(a, b));
    Ok(())
}
fn shift<O: Shift>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    // Only the low quadword of the source counts.
    let count = source(core, i)? as u64;
    let a = xmm(core, i.ops[0]);
    set_xmm(core, i.ops[0], O::apply(a, count));
    Ok(())
}
fn shift_immediate<O: Shift>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let a = xmm(core, i.ops[0]);
    set_xmm(core, i.ops[0], O::apply(a, i.imm & 0xff));
    Ok(())
}
/// PSHUFD.
fn shuffle_doublewords(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let v = source(core, i)?;
    set_xmm(core, i.ops[0], p::shuffle_doublewords(v, i.imm as u8));
    Ok(())
}
/// PSHUFLW.
fn shuffle_low_words(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let v = source(core, i)?;
    let low = p::shuffle_words(v as u64, i.imm as u8);
    set_xmm(core, i.ops[0], v >> 64 << 64 | u128::from(low));
    Ok(())
}
/// PSHUFHW.
fn shuffle_high_words(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let v = source(core, i)?;
    let high = p::shuffle_words((v >> 64) as u64, i.imm as u8);
    set_xmm(core, i.ops[0], v & u128::from(u64::MAX) | u128::from(high) << 64);
    Ok(())
}
/// SHUFPS: two lanes of the destination below two of the source.
fn shuffle_singles(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source(core, i)?;
    let a = xmm(core, i.ops[0]);
    let (low, high) = (p::shuffle_doublewords(a, i.imm as u8), p::shuffle_doublewords(b, i.imm as u8));
    set_xmm(core, i.ops[0], low & u128::from(u64::MAX) | high >> 64 << 64);
    Ok(())
}
/// SHUFPD.
fn shuffle_doubles(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let b = source(core, i)?;
    let a = xmm(core, i.ops[0]);
    let low = a >> (64 * (i.imm & 1)) & u128::from(u64::MAX);
    let high = b >> (64 * (i.imm >> 1 & 1)) << 64;
    set_xmm(core, i.ops[0], low | high);
    Ok(())
}
/// PINSRW.
fn insert_word(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let word = core.read_operand(i, i.ops[1], Width::Word)?;
    let at = 16 * (i.imm & 7);
    let old = xmm(core, i.ops[0]);
    set_xmm(core, i.ops[0], old & !(0xffff << at) | u128::from(word) << at);
    Ok(())
}
/// PEXTRW.
fn extract_word(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = xmm(core, i.ops[1]) >> (16 * (i.imm & 7)) & 0xffff;
    core.cpu.gpr.write(i.ops[0].index, Width::Dword, value as u64);
    Ok(())
}
/// PMOVMSKB.
fn byte_signs(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    sse_ready(core)?;
    let value = p::byte_signs(xmm(core, i.ops[1]));
    core.cpu.gpr.write(i.ops[0].index, Width::Dword, u64::from(value));
    Ok(())
}
