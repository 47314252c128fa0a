//! FXSAVE and FXRSTOR: x87, MMX and SSE state in 512 bytes (SDM vol. 1, section 10.5).

use super::coprocessor::{summarize, x87_available};
use super::x87::{abridged_tags, load_status, status_word};
use crate::core::{Access, Core, Fault};
use crate::insn::{Code, Helper, Insn, Mnemonic};
use crate::model::Model;
use crate::softfloat::F80;
use crate::state::{Mode, cr4};

/// Bits of MXCSR that exist: denormals-are-zero came after the Pentium III.
#[must_use]
pub fn mxcsr_mask(model: Model) -> u32 {
    if model > Model::Pentium3 { 0xffff } else { 0xffbf }
}
/// Whether the image has MXCSR and XMM registers.
fn with_sse(core: &Core<'_, '_>) -> bool {
    core.cpu.cr4 & cr4::OSFXSR != 0 && core.cpu.model >= Model::Pentium3
}

const IMAGE: usize = 512;
const REGISTERS: usize = 32;
const XMM: usize = 160;

/// The function for FXSAVE and FXRSTOR.
#[must_use]
pub fn lookup(mnemonic: Mnemonic, code: Code) -> Option<Helper> {
    let _ = mnemonic;
    Some(match code {
        Code::Fxsave_m512byte => save::<false>,
        Code::Fxsave64_m512byte => save::<true>,
        Code::Fxrstor_m512byte => restore::<false>,
        Code::Fxrstor64_m512byte => restore::<true>,
        _ => return None,
    })
}

/// The checks before either instruction; returns the offset of the operand.
fn operand(core: &mut Core<'_, '_>, i: &Insn, access: Access) -> Result<u64, Fault> {
    x87_available(core)?;
    let offset = core.offset(&i.mem);
    let linear = core.linear(i.mem.seg, offset, IMAGE as u64, access)?;
    if linear & 15 != 0 {
        return Err(core.protection(0));
    }
    Ok(offset)
}
/// XMM registers that the mode can name.
fn xmm_count(core: &Core<'_, '_>) -> usize {
    if core.cpu.mode.has(Mode::LONG) { 16 } else { 8 }
}

fn save<const WIDE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let offset = operand(core, i, Access::Write)?;
    core.probe_store(i.mem.seg, offset, IMAGE as u64)?;
    let mut image = [0; IMAGE];
    let f = &core.cpu.fpu;
    image[0..2].copy_from_slice(&f.control.to_le_bytes());
    image[2..4].copy_from_slice(&status_word(f).to_le_bytes());
    image[4] = abridged_tags(f);
    image[6..8].copy_from_slice(&(f.opcode & 0x7ff).to_le_bytes());
    if WIDE {
        image[8..16].copy_from_slice(&f.ip.to_le_bytes());
        image[16..24].copy_from_slice(&f.dp.to_le_bytes());
    } else {
        image[8..12].copy_from_slice(&(f.ip as u32).to_le_bytes());
        image[12..14].copy_from_slice(&f.cs.to_le_bytes());
        image[16..20].copy_from_slice(&(f.dp as u32).to_le_bytes());
        image[20..22].copy_from_slice(&f.ds.to_le_bytes());
    }
    for n in 0..8 {
        let at = REGISTERS + 16 * n;
        let value = f.regs[(usize::from(f.top) + n) & 7];
        image[at..at + 10].copy_from_slice(&value.to_bytes());
    }
    if !with_sse(core) {
        // MXCSR and the XMM registers are left alone in memory.
        core.store_bytes(i.mem.seg, offset, &image[..24])?;
        return core.store_bytes(i.mem.seg, offset.wrapping_add(REGISTERS as u64), &image[REGISTERS..XMM]);
    }
    image[24..28].copy_from_slice(&core.cpu.mxcsr.to_le_bytes());
    // The Pentium III stores 0, which stands for its mask.
    let mask = if core.cpu.model > Model::Pentium3 { mxcsr_mask(core.cpu.model) } else { 0 };
    image[28..32].copy_from_slice(&mask.to_le_bytes());
    let count = xmm_count(core);
    for n in 0..count {
        let at = XMM + 16 * n;
        image[at..at + 16].copy_from_slice(&core.cpu.xmm[n].to_le_bytes());
    }
    core.store_bytes(i.mem.seg, offset, &image[..XMM + 16 * count])
}

fn restore<const WIDE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let offset = operand(core, i, Access::Read)?;
    let mut image = [0; IMAGE];
    core.load_bytes(i.mem.seg, offset, &mut image)?;
    let with_sse = with_sse(core);
    let u16_at = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let mxcsr = u32_at(24);
    if with_sse && mxcsr & !mxcsr_mask(core.cpu.model) != 0 {
        return Err(core.protection(0));
    }
    let f = &mut core.cpu.fpu;
    f.control = u16_at(0) & 0x1f3f | 0x40;
    load_status(f, u16_at(2));
    f.empty = !image[4];
    f.opcode = u16_at(6) & 0x7ff;
    if WIDE {
        f.ip = u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32;
        f.dp = u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32;
    } else {
        f.ip = u64::from(u32_at(8));
        f.cs = u16_at(12);
        f.dp = u64::from(u32_at(16));
        f.ds = u16_at(20);
    }
    for n in 0..8 {
        let at = REGISTERS + 16 * n;
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&image[at..at + 10]);
        f.regs[(usize::from(f.top) + n) & 7] = F80::from_bytes(bytes);
    }
    summarize(core.cpu);
    if with_sse {
        core.cpu.mxcsr = mxcsr;
        for n in 0..xmm_count(core) {
            let at = XMM + 16 * n;
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&image[at..at + 16]);
            core.cpu.xmm[n] = u128::from_le_bytes(bytes);
        }
    }
    Ok(())
}
