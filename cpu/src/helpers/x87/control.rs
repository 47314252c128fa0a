//! Control and environment instructions.

use super::*;
use crate::helpers::coprocessor::{summarize, wait_ready, x87_available, x87_ready};
use crate::state::{CpuState, Fpu, Mode};

pub(super) fn lookup(code: Code) -> Option<Helper> {
    Some(match code {
        Code::Wait => wait,
        Code::Fnop => nop,
        Code::Fneni | Code::Feni | Code::Fndisi | Code::Fdisi => ignored,
        Code::Fnsetpm | Code::Fsetpm | Code::Frstpm => ignored,
        Code::Fninit => initialize::<false>,
        Code::Finit => initialize::<true>,
        Code::Fnclex => clear_exceptions::<false>,
        Code::Fclex => clear_exceptions::<true>,
        Code::Fldcw_m2byte => load_control,
        Code::Fnstcw_m2byte => store_control::<false>,
        Code::Fstcw_m2byte => store_control::<true>,
        Code::Fnstsw_m2byte => store_status::<false>,
        Code::Fstsw_m2byte => store_status::<true>,
        Code::Fnstsw_AX => store_status_ax::<false>,
        Code::Fstsw_AX => store_status_ax::<true>,
        Code::Fldenv_m14byte => load_environment::<false>,
        Code::Fldenv_m28byte => load_environment::<true>,
        Code::Fnstenv_m14byte => store_environment::<false, false>,
        Code::Fstenv_m14byte => store_environment::<false, true>,
        Code::Fnstenv_m28byte => store_environment::<true, false>,
        Code::Fstenv_m28byte => store_environment::<true, true>,
        Code::Frstor_m94byte => restore::<false>,
        Code::Frstor_m108byte => restore::<true>,
        Code::Fnsave_m94byte => save::<false, false>,
        Code::Fsave_m94byte => save::<false, true>,
        Code::Fnsave_m108byte => save::<true, false>,
        Code::Fsave_m108byte => save::<true, true>,
        _ => return None,
    })
}

/// The status word with TOP.
#[must_use]
pub fn status_word(fpu: &Fpu) -> u16 {
    fpu.status & !0x3800 | u16::from(fpu.top & 7) << 11
}
/// Replaces the status word. [`summarize`] must follow.
pub fn load_status(fpu: &mut Fpu, status: u16) {
    fpu.status = status & !0x3800;
    fpu.top = (status >> 11 & 7) as u8;
}
/// The tag byte of FXSAVE: a set bit for each physical register that is not empty.
#[must_use]
pub fn abridged_tags(fpu: &Fpu) -> u8 {
    !fpu.empty
}
/// The tag word: 0 valid, 1 zero, 2 special, 3 empty.
pub fn tag_word(fpu: &Fpu) -> u16 {
    let mut word = 0;
    for (n, value) in fpu.regs.iter().enumerate() {
        let tag = if fpu.empty >> n & 1 != 0 {
            3
        } else if value.is_zero() {
            1
        } else if value.exponent() == 0 || value.exponent() == 0x7fff || value.mantissa >> 63 == 0 {
            2
        } else {
            0
        };
        word |= tag << (2 * n);
    }
    word
}
/// Takes over a tag word: what is not empty is told apart by the registers themselves.
pub fn load_tags(fpu: &mut Fpu, word: u16) {
    fpu.empty = 0;
    for n in 0..8 {
        if word >> (2 * n) & 3 == 3 {
            fpu.empty |= 1 << n;
        }
    }
}
/// What FLDCW keeps of a control word; bit 6 reads as one.
fn control_word(value: u16) -> u16 {
    value & 0x1f3f | 0x40
}

fn available<const WAITING: bool>(core: &mut Core<'_, '_>) -> Result<(), Fault> {
    if WAITING { x87_ready(core) } else { x87_available(core) }
}

/// WAIT.
fn wait(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    wait_ready(core)
}
/// FNOP.
fn nop(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    x87_ready(core)?;
    let c1 = core.cpu.fpu.status & Flags::C1;
    finish(core, i, 0, c1);
    Ok(())
}
/// FENI, FDISI (8087), FSETPM and FRSTPM (287): nothing on later processors.
fn ignored(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    x87_available(core)
}
/// FINIT.
fn initialize<const WAITING: bool>(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    available::<WAITING>(core)?;
    reset(core.cpu);
    Ok(())
}
fn reset(cpu: &mut CpuState) {
    // The register contents stay.
    cpu.fpu = Fpu { regs: cpu.fpu.regs, ..Fpu::default() };
    cpu.ferr = false;
}
/// FCLEX.
fn clear_exceptions<const WAITING: bool>(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    available::<WAITING>(core)?;
    core.cpu.fpu.status &= !0x80ff;
    core.cpu.ferr = false;
    Ok(())
}
/// FLDCW.
fn load_control(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    x87_ready(core)?;
    core.cpu.fpu.control = control_word(load(core, i, Width::Word)? as u16);
    summarize(core.cpu);
    Ok(())
}
/// FSTCW.
fn store_control<const WAITING: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    available::<WAITING>(core)?;
    let value = u64::from(core.cpu.fpu.control);
    store(core, i, Width::Word, value)
}
/// FSTSW m16.
fn store_status<const WAITING: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    available::<WAITING>(core)?;
    let value = u64::from(status_word(&core.cpu.fpu));
    store(core, i, Width::Word, value)
}
/// FSTSW AX.
fn store_status_ax<const WAITING: bool>(core: &mut Core<'_, '_>, _: &Insn) -> Result<(), Fault> {
    available::<WAITING>(core)?;
    let value = u64::from(status_word(&core.cpu.fpu));
    core.cpu.gpr.write(crate::state::gpr::AX, Width::Word, value);
    Ok(())
}

/// Whether environments have the layout of real and virtual-8086 mode, with 20-bit linear pointers.
fn is_real_layout(cpu: &CpuState) -> bool {
    !cpu.mode.has(Mode::PROTECTED) || cpu.mode.has(Mode::VM86)
}
/// The environment in memory format (SDM vol. 1, figures 8-9 to 8-12); 14 bytes when not `WIDE`.
fn environment_image<const WIDE: bool>(cpu: &CpuState) -> [u8; 28] {
    let f = &cpu.fpu;
    let real = is_real_layout(cpu);
    let linear = |selector: u16, offset: u64| (u64::from(selector) << 4).wrapping_add(offset);
    let (ip, dp) = if real { (linear(f.cs, f.ip), linear(f.ds, f.dp)) } else { (f.ip, f.dp) };
    let opcode = u32::from(f.opcode & 0x7ff);
    let words = [f.control, status_word(f), tag_word(f)];
    let mut image = [0; 28];
    if WIDE {
        let high = 0xffff_0000;
        let pointers = if real {
            [
                ip as u32 & 0xffff | high,
                (ip as u32 >> 16 & 0xffff) << 12 | opcode,
                dp as u32 & 0xffff | high,
                (dp as u32 >> 16 & 0xffff) << 12,
            ]
        } else {
            [ip as u32, u32::from(f.cs) | opcode << 16, dp as u32, u32::from(f.ds) | high]
        };
        let all = words.into_iter().map(|w| u32::from(w) | high).chain(pointers);
        for (field, value) in image.chunks_exact_mut(4).zip(all) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    } else {
        let pointers = if real {
            let high = |linear: u64| (linear >> 16 & 15) as u16;
            [ip as u16, high(ip) << 12 | opcode as u16, dp as u16, high(dp) << 12]
        } else {
            [ip as u16, f.cs, dp as u16, f.ds]
        };
        for (field, value) in image.chunks_exact_mut(2).zip(words.into_iter().chain(pointers)) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    }
    image
}
fn load_image<const WIDE: bool>(cpu: &mut CpuState, image: &[u8]) {
    let real = is_real_layout(cpu);
    let step = if WIDE { 4 } else { 2 };
    let field = |n: usize| -> u32 {
        let mut bytes = [0; 4];
        bytes[..step].copy_from_slice(&image[n * step..(n + 1) * step]);
        u32::from_le_bytes(bytes)
    };
    let f = &mut cpu.fpu;
    f.control = control_word(field(0) as u16);
    load_status(f, field(1) as u16);
    load_tags(f, field(2) as u16);
    if real {
        // The pointers become linear ones with selector 0.
        f.ip = u64::from(field(3) & 0xffff | field(4) >> 12 << 16);
        f.dp = u64::from(field(5) & 0xffff | field(6) >> 12 << 16);
        f.cs = 0;
        f.ds = 0;
        f.opcode = field(4) as u16 & 0x7ff;
    } else {
        f.ip = u64::from(field(3));
        f.cs = field(4) as u16;
        f.dp = u64::from(field(5));
        f.ds = field(6) as u16;
        // The short image has no opcode; the hardware clears it.
        f.opcode = if WIDE { (field(4) >> 16) as u16 & 0x7ff } else { 0 };
    }
    summarize(cpu);
}
const fn environment_size(wide: bool) -> usize {
    if wide { 28 } else { 14 }
}

/// FLDENV.
fn load_environment<const WIDE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    x87_ready(core)?;
    let mut image = [0; 28];
    let offset = core.offset(&i.mem);
    let part = &mut image[..environment_size(WIDE)];
    core.load_bytes(i.mem.seg, offset, part)?;
    load_image::<WIDE>(core.cpu, part);
    Ok(())
}
/// FSTENV: afterwards all exceptions are masked.
fn store_environment<const WIDE: bool, const WAITING: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    available::<WAITING>(core)?;
    let image = environment_image::<WIDE>(core.cpu);
    let offset = core.offset(&i.mem);
    core.store_bytes(i.mem.seg, offset, &image[..environment_size(WIDE)])?;
    core.cpu.fpu.control |= 0x3f;
    summarize(core.cpu);
    Ok(())
}
/// FSAVE: the environment and the registers from ST(0) on, then FINIT.
fn save<const WIDE: bool, const WAITING: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    available::<WAITING>(core)?;
    let size = environment_size(WIDE);
    let mut image = [0; 108];
    image[..size].copy_from_slice(&environment_image::<WIDE>(core.cpu)[..size]);
    for n in 0..8 {
        let at = size + 10 * usize::from(n);
        image[at..at + 10].copy_from_slice(&st(core, n).to_bytes());
    }
    let offset = core.offset(&i.mem);
    core.store_bytes(i.mem.seg, offset, &image[..size + 80])?;
    reset(core.cpu);
    Ok(())
}
/// FRSTOR.
fn restore<const WIDE: bool>(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    x87_ready(core)?;
    let size = environment_size(WIDE);
    let mut image = [0; 108];
    let offset = core.offset(&i.mem);
    core.load_bytes(i.mem.seg, offset, &mut image[..size + 80])?;
    load_image::<WIDE>(core.cpu, &image[..size]);
    for n in 0..8 {
        let at = size + 10 * usize::from(n);
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&image[at..at + 10]);
        let p = physical(core, n);
        core.cpu.fpu.regs[p] = F80::from_bytes(bytes);
    }
    Ok(())
}
