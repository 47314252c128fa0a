//! What quick code shares: the ways to the engine's functions and back, and the ways out.
//!
//! In quick code the guest's registers are in host registers (see [`host`]), RBP holds the
//! processor, R14 the words, R15 the budget; flags that are not in [`LazyFlags`] are in the words
//! from [`FLAGS`] on. All of that becomes the state in memory here.
#![allow(unsafe_code, reason = "called by native code with pointers to the state of the run")]

#[cfg(doc)]
use super::assembler::host;
use crate::context::{self as cx, Cell, Op, Slot};
use crate::tier::{Upper, page_of};
use cpu::core::{Env, Leave};
use cpu::flags::{Cond, FlagsOf, LazyFlags, bits};
use cpu::helpers::coprocessor::ERROR_SUMMARY;
use cpu::helpers::x87::{load_status, load_tags, status_word};
use cpu::interpreter::tier::Boundary;
use cpu::memory::{GuestMemory, PAGE};
use cpu::micro::Direct;
use cpu::semantics;
use cpu::state::{Activity, CpuState, Gprs, Seg, Shadow, Width, cr0, cr4};
use cpu::tlb::Tables;
use std::mem::offset_of;

/// How an access is made, in its description.
pub(crate) const READ: u32 = 0;
pub(crate) const WRITE: u32 = 1;
pub(crate) const MODIFY: u32 = 2;
/// The second half of [`MODIFY`], for which the offset is known and the value in the bounce words.
pub(crate) const WRITE_BACK: u32 = 3;

/// An access: segment, size, way, instructions of the block behind it, debt. Those to flat segments that only read or
/// only write are tried once more: a check of several may have failed because of another.
pub(crate) fn describe(seg: Seg, flat: bool, size: u64, how: u32, later: u32, debt: u32) -> u32 {
    debug_assert!(later < 128 && debt < 1 << 13 && matches!(size, 1 | 2 | 4 | 8 | 10 | 16));
    let again = u32::from(flat && how < MODIFY) << 31;
    let size = match size {
        10 => LARGE,
        16 => LARGE | 1 << 3,
        _ => size.trailing_zeros() << 3 | (size as u32 - 1) << 28,
    };
    seg as u32 | size | how << 6 | later << 8 | debt << 15 | again
}
/// In a description: ten bytes, or sixteen.
const LARGE: u32 = 1 << 5;
/// In a description of sixteen: the address must be a multiple of that.
pub(crate) const ALIGNED: u32 = 1 << 29;

/// Recorded flags: operation, form << 8, bytes of the width << 16, [`STALE_CARRY`], overlay << 24, and where the two
/// words beside the kind are, see [`operands`].
pub(crate) const FLAGS: usize = 176;
pub(crate) const FLAGS_X: usize = 184;
pub(crate) const FLAGS_Y: usize = 192;
/// For the overlay.
pub(crate) const FLAGS_R: usize = 200;
/// The value that is to be stored.
pub(crate) const VALUE: usize = 208;
/// The offset of an access.
pub(crate) const OFFSET: usize = 216;
/// The host's flags over a call.
pub(crate) const SAVED: usize = 224;
const SAVED_R11: usize = 232;
/// Host addresses of groups.
pub(crate) const GROUPS: usize = 240;
/// How many.
pub(crate) const MAX_GROUPS: usize = 16;
/// Addresses of the stubs.
pub(crate) const ACCESS: usize = 368;
pub(crate) const ONE: usize = 376;
pub(crate) const COND: usize = 384;
pub(crate) const SETTLE: usize = 392;
pub(crate) const LOAD: usize = 400;
pub(crate) const LEAVE: usize = 408;
pub(crate) const LEAVE_UNSURE: usize = 416;
pub(crate) const LEAVE_SLOW: usize = 424;
pub(crate) const INDIRECT: usize = 432;
pub(crate) const GO_ON: usize = 440;
pub(crate) const LEAVE_DONE: usize = 448;
pub(crate) const REVALIDATE: usize = 456;
/// Epochs of memory.
const SEEN: usize = 464;
const _: () = assert!(GROUPS + 8 * MAX_GROUPS <= ACCESS && SEEN + 16 <= cx::UNLINKED);
/// Where the guest's x87 state is: 0: in the processor's state, [`LOADED`]: in the host's x87 unit, [`KEPT`]: in the
/// words from [`IMAGE`] on. Whoever calls functions that may use the unit sees to it that it is not loaded then.
pub(crate) const X87: usize = 512;
pub(crate) const LOADED: u32 = 1;
const KEPT: u32 = 2;
/// Not 0 while the guest's XMM registers are in the host's: 1, or 2 when MXCSR is too.
pub(crate) const VECTORS: usize = 516;
/// As FNSAVE stores it, in 108 bytes.
const IMAGE: usize = 528;
/// A value of ten or sixteen bytes that is to be stored.
pub(crate) const WIDE: usize = 640;
/// IP of the last x87 instruction; all ones when there was none since the state was loaded.
pub(crate) const X87_IP: usize = 656;
/// Offset of the last x87 operand, and behind it the segment; all ones when there was none.
pub(crate) const X87_DP: usize = 664;
/// Addresses of stubs.
pub(crate) const BRING: usize = 672;
pub(crate) const KEEP: usize = 680;
pub(crate) const TRY: usize = 688;
pub(crate) const BRING_VECTORS: usize = 696;
const _: () = assert!(X87 > cx::UNLINKED && BRING_VECTORS + 8 <= cx::JUMP_TABLE);
const _: () = assert!(WIDE.is_multiple_of(16) && cx::BOUNCE.is_multiple_of(16) && align_of::<Tables>() >= 16);

/// CF of the record is not the one in [`LazyFlags::cf`].
pub(crate) const STALE_CARRY: u32 = 1 << 23;

/// In a kind: the first word is this guest register.
pub(crate) fn from_register(index: u8) -> u32 {
    u32::from(index & 7) << 4 | 1 << 7
}
/// In a kind: the second word is this guest register.
pub(crate) fn second_from_register(index: u8) -> u32 {
    1 << 11 | u32::from(index & 7) << 13
}
/// In a kind: the second word is this number, if it is small enough.
pub(crate) fn second_number(value: u32) -> Option<u32> {
    (-64..64).contains(&(value as i32)).then_some(2 << 11 | (value & 7) << 13 | (value >> 3 & 15) << 19)
}
/// The two words.
fn operands(kind: u32, words: &Words, gpr: &Gprs) -> (u64, u64) {
    let x = if kind >> 7 & 1 != 0 { gpr.get((kind >> 4 & 7) as u8) } else { words.x };
    let y = match kind >> 11 & 3 {
        1 => gpr.get((kind >> 13 & 7) as u8),
        2 => {
            let number = kind >> 13 & 7 | (kind >> 19 & 15) << 3;
            (((number << 25) as i32) >> 25) as u32 as u64
        }
        _ => words.y,
    };
    (x, y)
}

/// What the two words beside the kind are.
pub(crate) mod form {
    /// Both operands.
    pub(crate) const OPERANDS: u32 = 1;
    /// Result and second operand.
    pub(crate) const RESULT: u32 = 2;
    /// The result; for operations whose CF is in place already.
    pub(crate) const ALONE: u32 = 3;
    /// EFLAGS, but for CF, which is in place already.
    pub(crate) const BITS: u32 = 4;
    /// The low half of a product, and whether it is not all of it.
    pub(crate) const PRODUCT: u32 = 5;
    /// The result of a subtraction from 0.
    pub(crate) const NEGATED: u32 = 6;
}
/// What has changed since.
pub(crate) mod overlay {
    /// ROL by a constant has given the word.
    pub(crate) const ROL: u32 = 1;
    pub(crate) const ROR: u32 = 2;
    /// CF is the lowest bit of the word.
    pub(crate) const CARRY: u32 = 3;
    /// All but OF is in the second byte of the word.
    pub(crate) const SAHF: u32 = 4;
    /// ZF is the lowest bit of the word.
    pub(crate) const ZERO: u32 = 5;
}

#[repr(C)]
struct Words {
    before: [u64; FLAGS / 8],
    kind: u64,
    x: u64,
    y: u64,
    r: u64,
    value: u64,
    offset: u64,
    between: [u64; (SEEN - OFFSET) / 8 - 1],
    seen: [u64; 2],
    others: [u64; (X87 - SEEN) / 8 - 2],
    x87: u32,
    vectors: u32,
    none: [u32; 2],
    image: [u8; 112],
    wide: [u8; 16],
    ip: u64,
    dp: u32,
    ds: u32,
}
const _: () = {
    assert!(offset_of!(Words, kind) == FLAGS && offset_of!(Words, offset) == OFFSET && offset_of!(Words, seen) == SEEN);
    assert!(offset_of!(Words, x87) == X87 && offset_of!(Words, image) == IMAGE && offset_of!(Words, wide) == WIDE);
    assert!(offset_of!(Words, vectors) == VECTORS && VECTORS == X87 + 4);
    assert!(offset_of!(Words, ip) == X87_IP && offset_of!(Words, dp) == X87_DP);
};

/// Completes the flags: no more is recorded in the words then.
///
/// # Safety
/// `words` are those of a run; no reference to its state is held.
pub(crate) unsafe extern "sysv64" fn settle(words: *mut u64) {
    // SAFETY: the caller's words, and the processor they name.
    unsafe {
        let cpu = &mut **words.add(cx::CPU / 8).cast::<*mut CpuState>();
        let words = &mut *words.cast::<Words>();
        let kind = std::mem::take(&mut words.kind) as u32;
        let (x, y) = operands(kind, words, &cpu.gpr);
        let lazy = &mut cpu.lazy;
        if kind & 0x700 != 0 {
            complete(lazy, kind, x, y);
        }
        let r = words.r as u32;
        match kind >> 24 {
            overlay::ROL => lazy.set_cf_of(r & 1 != 0, (r ^ r >> 31) & 1 != 0),
            overlay::ROR => lazy.set_cf_of(r >> 31 != 0, (r ^ r << 1) >> 31 != 0),
            overlay::CARRY => lazy.set_cf(r & 1 != 0),
            overlay::SAHF => {
                let overflow = lazy.bits() & bits::OF;
                lazy.set_all(u64::from(r >> 8) & 0xd5 | overflow);
            }
            overlay::ZERO => {
                let others = lazy.bits() & !bits::ZF;
                lazy.set_all(others | u64::from(r & 1) * bits::ZF);
            }
            _ => {}
        }
    }
}

/// Completes the state when native code has returned.
///
/// # Safety
/// As for [`settle`].
pub(crate) unsafe extern "sysv64" fn returned(words: *mut u64) {
    // SAFETY: the caller's words.
    unsafe {
        if (*words.cast::<Words>()).kind != 0 {
            settle(words);
        }
        end_units(words);
    }
}
/// Completes the state but for the flags.
///
/// # Safety
/// As for [`settle`].
unsafe fn end_units(words: *mut u64) {
    // SAFETY: the caller's words.
    unsafe {
        if (*words.cast::<Words>()).x87 != 0 {
            put_away(words);
        }
        if std::mem::take(&mut (*words.cast::<Words>()).vectors) != 0 {
            cx::end_vectors(words.cast());
        }
    }
}
/// The guest registers that a kind names.
fn named(kind: u32) -> u32 {
    let x = if kind >> 7 & 1 != 0 { 1 << (kind >> 4 & 7) } else { 0 };
    let y = if kind >> 11 & 3 == 1 { 1 << (kind >> 13 & 7) } else { 0 };
    x | y
}

/// Prepares the host for SSE instructions: all but arithmetic, or with `level` 2 arithmetic too. 0 when it must not run
/// them now.
///
/// # Safety
/// As for [`settle`].
unsafe extern "sysv64" fn bring_vectors(words: *mut u64, level: u64) -> u64 {
    // SAFETY: the caller's words, and the processor they name.
    unsafe {
        let cpu = &**words.add(cx::CPU / 8).cast::<*mut CpuState>();
        if cpu.cr0 & (cr0::EM | cr0::TS) != 0 || cpu.cr4 & cr4::OSFXSR == 0 {
            return 0;
        }
        if level > 1 && !cx::begin_floats(words.cast()) {
            return 0;
        }
        (*words.cast::<Words>()).vectors = level as u32;
        1
    }
}

/// Prepares the guest's x87 state for the host's unit. 0 when the host must not run x87 instructions now.
///
/// # Safety
/// As for [`settle`].
unsafe extern "sysv64" fn bring(words: *mut u64) -> u64 {
    // SAFETY: the caller's words, and the processor they name.
    unsafe {
        let cpu = &**words.add(cx::CPU / 8).cast::<*mut CpuState>();
        let w = &mut *words.cast::<Words>();
        let fpu = &cpu.fpu;
        let all = 0x3f;
        if w.x87 != 0
            || cpu.cr0 & (cr0::EM | cr0::TS) != 0
            || fpu.control & all != all
            || fpu.status & ERROR_SUMMARY != 0
        {
            return u64::from(w.x87 != 0);
        }
        let mut tags = 0u16;
        for n in 0..8 {
            if fpu.empty >> n & 1 != 0 {
                tags |= 3 << (2 * n);
            }
        }
        let image = &mut w.image;
        image[..28].fill(0);
        image[0..2].copy_from_slice(&fpu.control.to_le_bytes());
        image[4..6].copy_from_slice(&status_word(fpu).to_le_bytes());
        image[8..10].copy_from_slice(&tags.to_le_bytes());
        for (n, bytes) in image[28..108].chunks_exact_mut(10).enumerate() {
            let value = fpu.regs[(usize::from(fpu.top) + n) & 7];
            bytes[..8].copy_from_slice(&value.mantissa.to_le_bytes());
            bytes[8..].copy_from_slice(&value.sign_exponent.to_le_bytes());
        }
        w.ip = u64::MAX;
        (w.dp, w.ds) = (u32::MAX, u32::MAX);
        w.x87 = KEPT;
        1
    }
}

/// The guest's x87 state, which is kept in the words, becomes the processor's.
///
/// # Safety
/// As for [`settle`].
unsafe fn put_away(words: *mut u64) {
    // SAFETY: the caller's words, and the processor they name.
    unsafe {
        let cpu = &mut **words.add(cx::CPU / 8).cast::<*mut CpuState>();
        let w = &mut *words.cast::<Words>();
        debug_assert_eq!(w.x87, KEPT);
        w.x87 = 0;
        let half = |at: usize| u16::from_le_bytes([w.image[at], w.image[at + 1]]);
        let fpu = &mut cpu.fpu;
        // The control word is where it was: loads of it go there too.
        load_status(fpu, half(4));
        load_tags(fpu, half(8));
        for (n, bytes) in w.image[28..108].chunks_exact(10).enumerate() {
            let (mut mantissa, mut rest) = ([0; 8], [0; 2]);
            mantissa.copy_from_slice(&bytes[..8]);
            rest.copy_from_slice(&bytes[8..]);
            let value = &mut fpu.regs[(usize::from(fpu.top) + n) & 7];
            value.mantissa = u64::from_le_bytes(mantissa);
            value.sign_exponent = u16::from_le_bytes(rest);
        }
        if w.ip != u64::MAX {
            fpu.ip = w.ip & 0xffff_ffff;
            fpu.cs = cpu.seg[Seg::Cs as usize].selector;
        }
        if let Some(segment) = cpu.seg.get(w.ds as usize) {
            fpu.dp = u64::from(w.dp);
            fpu.ds = segment.selector;
        }
    }
}

const OPERATIONS: [FlagsOf; 12] = {
    use FlagsOf as F;
    [F::All, F::Partial, F::Add, F::Sub, F::Adc, F::Sbb, F::Shl, F::Shr, F::Sar, F::Logic, F::Inc, F::Dec]
};

fn complete(lazy: &mut LazyFlags, kind: u32, x: u64, y: u64) {
    let of = OPERATIONS[(kind & 15) as usize % 12];
    let width = match kind >> 16 & 7 {
        1 => Width::Byte,
        2 => Width::Word,
        _ => Width::Dword,
    };
    let mask = width.mask();
    let form = kind >> 8 & 7;
    let (x, y) = (if form == form::BITS { x } else { x & mask }, y & mask);
    match (form, of) {
        (form::OPERANDS, FlagsOf::Logic) => lazy.record(of, width, 0, 0, x & y),
        (form::OPERANDS, _) => lazy.record(of, width, x, y, x.wrapping_sub(y) & mask),
        (form::RESULT, FlagsOf::Add) => lazy.record(of, width, x.wrapping_sub(y) & mask, y, x),
        (form::RESULT, _) => lazy.record(of, width, x.wrapping_add(y) & mask, y, x),
        (form::NEGATED, _) => lazy.record(FlagsOf::Sub, width, 0, x.wrapping_neg() & mask, x),
        (form::PRODUCT, _) => {
            let bits = if y != 0 { bits::CF | bits::OF } else { 0 };
            lazy.record(FlagsOf::Partial, width, bits, 0, x);
        }
        (form::BITS, _) => {
            let cf = lazy.cf;
            let undefined = if of == FlagsOf::Logic { bits::AF } else { 0 };
            lazy.set_all(x & bits::STATUS & !bits::CF & !undefined);
            lazy.cf = cf;
        }
        // The carry stays where it is.
        _ => *lazy = LazyFlags { of, width, over: 0, cf: of != FlagsOf::Logic && lazy.cf, a: 0, b: 0, r: x },
    }
}

fn large(info: u32) -> usize {
    if info >> 3 & 1 != 0 { 16 } else { 10 }
}

/// # Safety
/// As for [`settle`].
unsafe extern "sysv64" fn access(words: *mut u64, offset: u64, info: u32, ip: u32, rem: i64) -> u64 {
    // SAFETY: the caller's words; no reference outlives the block.
    unsafe {
        let floats = cx::has_floats(words.cast());
        if floats {
            cx::end_vectors(words.cast());
        }
        let mut core = cx::core(words.cast());
        let w = words.cast::<Words>();
        core.env.remaining = rem - i64::from(info >> 15 & 0x1fff);
        let seg = Seg::ALL[(info & 7) as usize % 6];
        let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][(info >> 3 & 3) as usize];
        let bounce = words.add(cx::BOUNCE / 8);
        let done = match info >> 6 & 3 {
            // What comes of it is the interpreter's.
            _ if info & (LARGE | ALIGNED) == LARGE | ALIGNED && offset & 15 != 0 => Err(core.step()),
            READ if info & LARGE != 0 => {
                let mut bytes = [0; 16];
                let n = large(info);
                let done = core.load_bytes(seg, offset, &mut bytes[..n]);
                let value = u128::from_le_bytes(bytes);
                bounce.add(1).write((value >> 64) as u64);
                done.map(|()| value as u64)
            }
            WRITE if info & LARGE != 0 => {
                let bytes = (*w).wide;
                core.store_bytes(seg, offset, &bytes[..large(info)]).map(|()| 0)
            }
            READ => core.load(seg, offset, width),
            MODIFY => {
                (*w).offset = offset;
                core.load_to_modify(seg, offset, width)
            }
            WRITE => core.store(seg, offset, width, (*w).value & width.mask()).map(|()| 0),
            _ => core.store(seg, (*w).offset, width, *bounce & width.mask()).map(|()| 0),
        };
        match done {
            Ok(value) => {
                *bounce = value;
                if floats {
                    cx::begin_floats(words.cast());
                }
                bounce as u64
            }
            Err(_) => {
                core.cpu.rip = u64::from(ip);
                core.env.remaining += i64::from(info >> 8 & 127);
                returned(words);
                0
            }
        }
    }
}

/// Runs one instruction that is no jump. 0 when it went well.
///
/// # Safety
/// As for [`settle`]; `op` is an operation of the region that is being run.
unsafe extern "sysv64" fn one(words: *mut u64, op: *const Op, remaining: i64) -> u64 {
    // SAFETY: the caller's words and operation.
    unsafe {
        if let Some(changed) = (*op).beside_flags
            && named((*words.cast::<Words>()).kind as u32) & changed == 0
        {
            // Flags that are recorded stay so.
            end_units(words);
            let left = cx::helper(words.cast(), op, remaining);
            if left != 0 {
                returned(words);
            }
            return left;
        }
        returned(words);
        let Some(run) = semantics::function::<Direct<'_, '_, false>>((*op).insn.op) else {
            return cx::helper(words.cast(), op, remaining);
        };
        let op = &*op;
        let core = cx::core(words.cast());
        core.env.remaining = remaining;
        if run(&mut Direct { cpu: core.cpu, env: core.env }, &op.insn).is_ok() {
            return 0;
        }
        let core = cx::core(words.cast());
        core.env.remaining += i64::from(op.later);
        core.cpu.rip = op.insn.ip;
        1
    }
}

/// Whether a page of code is mapped as `cell` says. Control is on its way there: the interpreter would look for the page
/// now, and if that faults, it does so again. `remaining` is what is left of the budget.
///
/// # Safety
/// As for [`settle`]; `cell` is one of the translator's.
unsafe extern "sysv64" fn revalidate(words: *mut u64, cell: *mut Cell, remaining: i64) -> u64 {
    // SAFETY: the caller's words and cell.
    unsafe {
        let boundary = &mut **words.add(cx::BOUNDARY / 8).cast::<*mut Boundary>();
        let cell = &mut *cell;
        let mut core = cx::core(words.cast());
        core.env.remaining = remaining;
        let (linear, user) = (cell.linear * PAGE, cell.user);
        let is_mapped = cell.linear < 1 << 20 && page_of(linear, user, true, boundary, &mut core) == Some(cell.page);
        if is_mapped {
            cell.epoch = *words.add(cx::EPOCH / 8);
        }
        u64::from(is_mapped)
    }
}

/// Whether there is nothing to look at between the instruction that has just ended its block and the next, so that
/// native code may go on: all that the interpreter looks at, and there is native code for the mode and code segment.
/// 0: no; 1: in another mode, code segment or epoch of translations than before; 2: in the same.
///
/// # Safety
/// As for [`settle`].
unsafe extern "sysv64" fn goes_on(words: *mut u64) -> u64 {
    // SAFETY: the caller's words.
    unsafe {
        let core = cx::core(words.cast());
        let (cpu, env) = (core.cpu, core.env);
        let seen = &(*words.cast::<Words>()).seen;
        // Behind STI with nothing to hold off: the next instruction, for which there is budget, ends the shadow.
        let ends_shadow = cpu.shadow == Shadow::Sti && !cpu.intr && !cpu.nmi_pending;
        let goes_on = env.memory.map_epoch() == seen[0]
            && env.memory.write_epoch() == seen[1]
            && env.remaining > 0
            && (cpu.shadow == Shadow::None || ends_shadow)
            && cpu.activity == Activity::Running
            && cpu.pending_debug == 0
            && (!cpu.nmi_pending || cpu.nmi_blocked)
            && !(cpu.intr && cpu.flag(bits::IF))
            && !cpu::helpers::debug::needs_stepping(cpu)
            && !env.memory.has_code_writes()
            && !env.bus.attention()
            && !env.tlb.has_watch_hits();
        if !goes_on {
            return 0;
        }
        let Some(world) = (**words.add(cx::UPPER / 8).cast::<*mut Upper>()).find_world(cpu) else { return 0 };
        let boundary = &mut **words.add(cx::BOUNDARY / 8).cast::<*mut Boundary>();
        boundary.settle(env);
        let (tag, epoch) = (cx::tag(world), boundary.epoch());
        cpu.shadow = Shadow::None;
        if (tag, epoch) == (*words.add(cx::TAG / 8), *words.add(cx::EPOCH / 8)) {
            return 2;
        }
        *words.add(cx::TAG / 8) = tag;
        *words.add(cx::EPOCH / 8) = epoch;
        boundary.set_moved();
        1
    }
}

/// An instruction was left. Exceptions are delivered here. 0: native code may go on; else how it returns.
///
/// # Safety
/// As for [`settle`].
unsafe extern "sysv64" fn caught(words: *mut u64) -> u64 {
    // SAFETY: the caller's words.
    unsafe {
        let core = cx::core(words.cast());
        let Leave::Exception(exception) = core.env.leave else { return cx::LEFT };
        cx::end_vectors(words.cast());
        let boundary = &mut **words.add(cx::BOUNDARY / 8).cast::<*mut Boundary>();
        boundary.deliver(core.cpu, core.env, exception);
        core.env.leave = Leave::Again;
        if goes_on(words) != 0 { 0 } else { cx::LEFT }
    }
}

/// Finds native code for quick code; 0: there is none, or it is for the interpreter to find it. Else the address of its
/// entry in the table of jumps.
///
/// # Safety
/// `words` are those of a run; no reference to its state is held. `exit` is null or an exit of the region that is
/// being run.
unsafe extern "sysv64" fn seek(words: *mut u64, ip: u64, exit: *const Slot, is_unsure: u64) -> u64 {
    // SAFETY: the caller's words and exit.
    unsafe {
        let upper = &mut **words.add(cx::UPPER / 8).cast::<*mut Upper>();
        let boundary = &mut **words.add(cx::BOUNDARY / 8).cast::<*mut Boundary>();
        // One that leads somewhere already is left as it is.
        let is_free = !exit.is_null() && (*exit).code == *words.add(cx::UNLINKED / 8);
        let exit = is_free.then(|| ((*exit).region, (*exit).exit));
        match upper.seek(ip, exit, is_unsure != 0, boundary, &mut cx::core(words.cast())) {
            // The stubs count from the words.
            Some(at) => words as u64 + (at - cx::JUMP_TABLE) as u64,
            None => 0,
        }
    }
}

/// What [`goes_on`] compares with, as it is when native code is entered.
pub(crate) fn entered(words: &mut [u64], memory: &GuestMemory) {
    words[SEEN / 8..SEEN / 8 + 2].copy_from_slice(&[memory.map_epoch(), memory.write_epoch()]);
}

/// The TLB has forgotten writes as memory wants it to.
pub(crate) fn flushed(words: &mut [u64], memory: &GuestMemory) {
    words[SEEN / 8 + 1] = memory.write_epoch();
}

/// # Safety
/// As for [`settle`].
unsafe extern "sysv64" fn cond(words: *mut u64, cond: u64) -> u64 {
    // SAFETY: the caller's words.
    unsafe {
        settle(words);
        u64::from(cx::core(words.cast()).cpu.lazy.cond(Cond::ALL[cond as usize & 15]))
    }
}

const GPR: usize = offset_of!(CpuState, gpr);
const RIP: usize = offset_of!(CpuState, rip);
const REMAINING: usize = offset_of!(Env<'static>, remaining);

macro_rules! stub {
    ($name:ident, $($line:expr),* ; $($more:tt)*) => {
        #[unsafe(naked)]
        unsafe extern "sysv64" fn $name() {
            std::arch::naked_asm!($($line),*, $($more)*)
        }
    };
}

/// The guest's registers to memory.
macro_rules! flush {
    () => {
        "mov [rbp + {g}], rax
         mov [rbp + {g} + 8], rcx
         mov [rbp + {g} + 16], rdx
         mov [rbp + {g} + 24], rbx
         mov [rbp + {g} + 32], r12
         mov [rbp + {g} + 40], r13
         mov [rbp + {g} + 48], rsi
         mov [rbp + {g} + 56], rdi"
    };
}
/// Those that a function may change.
macro_rules! reload {
    () => {
        "mov rax, [rbp + {g}]
         mov rcx, [rbp + {g} + 8]
         mov rdx, [rbp + {g} + 16]
         mov rsi, [rbp + {g} + 48]
         mov rdi, [rbp + {g} + 56]"
    };
}
/// Before functions: what of the guest is in the host's x87 unit and XMM registers goes to memory, and the unit becomes
/// empty, as functions expect it.
macro_rules! park {
    () => {
        "cmp qword ptr [r14 + {x87}], 0
         je 97f
         call {park}
         97:"
    };
}
/// What was there before is there again.
macro_rules! unpark {
    () => {
        "cmp qword ptr [r14 + {x87}], 0
         je 98f
         call {unpark}
         98:"
    };
}
/// The same before functions that are known to leave the x87 unit alone.
macro_rules! park_vectors {
    () => {
        "cmp dword ptr [r14 + {vectors}], 0
         je 95f
         call {store_vectors}
         95:"
    };
}
macro_rules! unpark_vectors {
    () => {
        "cmp dword ptr [r14 + {vectors}], 0
         je 96f
         call {load_vectors}
         96:"
    };
}
/// R8: an offset, R9: description, in memory as well; R8 becomes the host address, or `4:` is next.
macro_rules! again {
    () => {
        "mov r11d, r9d
         shr r11d, 28
         and r11d, 7
         test r9d, 0x20
         jz 7f
         mov r11d, 15
         7:
         mov r9d, r8d
         shr r9d, 12
         and r9d, {mask}
         or r9d, [rbp + {half}]
         shl r9d, 4
         test byte ptr [r14 + {saved}], 0x40
         jnz 3f
         sub r8, [r14 + r9 + {read}]
         cmp r8, 4096
         jae 9f
         add r11, r8
         cmp r11, 4096
         jae 9f
         add r8, [r14 + r9 + {read} + 8]
         mov r11, [r14 + {r11}]
         mov r10d, 1
         ret
         9:
         add r8, [r14 + r9 + {read}]
         jmp 4f
         3:
         sub r8, [r14 + r9 + {write}]
         cmp r8, 4096
         jae 9f
         add r11, r8
         cmp r11, 4096
         jae 9f
         add r8, [r14 + r9 + {write} + 8]
         mov r11, [r14 + {r11}]
         mov r10d, 1
         ret
         9:
         add r8, [r14 + r9 + {write}]
         4:"
    };
}
macro_rules! reload_rest {
    () => {
        "mov rbx, [rbp + {g} + 24]
         mov r12, [rbp + {g} + 32]
         mov r13, [rbp + {g} + 40]"
    };
}
/// Back to where the code was called from.
macro_rules! pop {
    () => {
        "add rsp, 8
         pop r15
         pop r14
         pop r13
         pop r12
         pop rbx
         pop rbp"
    };
}

/// 2: what was called has raised an exception. It is delivered, and native code goes on or is left.
macro_rules! caught {
    () => {
        "2:
         add rsp, 8
         mov rdi, r14
         call {caught}
         test rax, rax
         jz {resume}"
    };
}
/// A stub that asks a function something about R9 and R10, and has its answer in the register that is named; R8 and R11 stay.
macro_rules! asking_stub {
    ($name:ident, $answer:literal, $f:path) => {
        stub!($name,
            flush!(),
            park_vectors!(),
            "push r8
             push r11
             mov rdi, r14
             mov rsi, r9
             mov rdx, r10
             sub rsp, 8
             call {f}
             add rsp, 8",
            concat!("mov ", $answer, ", rax"),
            "pop r11
             pop r8",
            unpark_vectors!(),
            reload!(),
            "ret";
            g = const GPR, f = sym $f, vectors = const VECTORS, store_vectors = sym store_vectors,
            load_vectors = sym load_vectors
        );
    };
}

// R8: offset, R9D: description, R10D: IP. R8 becomes the host address.
stub!(access_stub,
    "mov [r14 + {r11}], r11
     test r9d, r9d
     jns 5f
     mov [r14 + {saved}], r9",
    again!(),
    "mov r9, [r14 + {saved}]
     5:",
    flush!(),
    park!(),
    "mov rdi, r14
     mov rsi, r8
     mov edx, r9d
     mov ecx, r10d
     mov r8, r15
     sub rsp, 8
     call {f}
     add rsp, 8
     test rax, rax
     jz 2f
     mov r8, rax",
    unpark!(),
    reload!(),
    "mov r11, [r14 + {r11}]
     ret",
    caught!(),
    pop!(),
    "ret";
    g = const GPR, r11 = const SAVED_R11, caught = sym caught, resume = sym resume_stub, f = sym access, saved = const SAVED,
    half = const offset_of!(CpuState, tlb_half), mask = const Tables::HALF - 1, read = const Tables::READ,
    write = const Tables::WRITE, x87 = const X87, park = sym park, unpark = sym unpark
);
// R8: offset, R9D: description. R10 becomes 0, or R8 the host address.
stub!(try_stub,
    "xor r10d, r10d
     test r9d, r9d
     jns 5f
     mov [r14 + {r11}], r11
     mov [r14 + {saved}], r9",
    again!(),
    "mov r11, [r14 + {r11}]
     xor r10d, r10d
     5:
     ret";
    r11 = const SAVED_R11, saved = const SAVED,
    half = const offset_of!(CpuState, tlb_half), mask = const Tables::HALF - 1, read = const Tables::READ,
    write = const Tables::WRITE
);
stub!(park,
    "cmp dword ptr [r14 + {x87}], {loaded}
     jb 3f
     je 2f
     fninit
     jmp 3f
     2:
     fnsave [r14 + {image}]
     mov dword ptr [r14 + {x87}], {kept}
     3:
     cmp dword ptr [r14 + {vectors}], 0
     jne {store_vectors}
     ret";
    x87 = const X87, loaded = const LOADED, kept = const KEPT, image = const IMAGE, vectors = const VECTORS,
    store_vectors = sym store_vectors
);
stub!(unpark,
    "cmp dword ptr [r14 + {x87}], {kept}
     jne 3f
     frstor [r14 + {image}]
     mov dword ptr [r14 + {x87}], {loaded}
     3:
     cmp dword ptr [r14 + {vectors}], 0
     jne {load_vectors}
     ret";
    x87 = const X87, loaded = const LOADED, kept = const KEPT, image = const IMAGE, vectors = const VECTORS,
    load_vectors = sym load_vectors
);
stub!(store_vectors,
    "movups [rbp + {xmm}], xmm0
     movups [rbp + {xmm} + 16], xmm1
     movups [rbp + {xmm} + 32], xmm2
     movups [rbp + {xmm} + 48], xmm3
     movups [rbp + {xmm} + 64], xmm4
     movups [rbp + {xmm} + 80], xmm5
     movups [rbp + {xmm} + 96], xmm6
     movups [rbp + {xmm} + 112], xmm7
     ret";
    xmm = const offset_of!(CpuState, xmm)
);
stub!(load_vectors,
    "movups xmm0, [rbp + {xmm}]
     movups xmm1, [rbp + {xmm} + 16]
     movups xmm2, [rbp + {xmm} + 32]
     movups xmm3, [rbp + {xmm} + 48]
     movups xmm4, [rbp + {xmm} + 64]
     movups xmm5, [rbp + {xmm} + 80]
     movups xmm6, [rbp + {xmm} + 96]
     movups xmm7, [rbp + {xmm} + 112]
     ret";
    xmm = const offset_of!(CpuState, xmm)
);
// The state is copied before an instruction that may have to be taken back.
stub!(keep_stub,
    "fnsave [r14 + {image}]
     frstor [r14 + {image}]
     mov dword ptr [r14 + {x87}], {kept}
     ret";
    x87 = const X87, kept = const KEPT, image = const IMAGE
);
// R10 becomes 0 when the x87 unit must not be used.
stub!(bring_stub,
    flush!(),
    park_vectors!(),
    "push r8
     push r11
     mov rdi, r14
     sub rsp, 8
     call {f}
     add rsp, 8
     mov r10, rax
     pop r11
     pop r8",
    unpark!(),
    reload!(),
    "ret";
    g = const GPR, f = sym bring, x87 = const X87, unpark = sym unpark, vectors = const VECTORS,
    store_vectors = sym store_vectors
);
// R9: level. R10 becomes 0 when SSE instructions must not run.
asking_stub!(bring_vectors_stub, "r10", bring_vectors);
// R9: operation, R10: debt.
stub!(one_stub,
    flush!(),
    park!(),
    "sub r15, r10
     mov rdi, r14
     mov rsi, r9
     mov rdx, r15
     sub rsp, 8
     call {f}
     add rsp, 8
     test rax, rax
     jnz 2f
     mov r15, [r14 + {env}]
     mov r15, [r15 + {remaining}]",
    reload!(),
    reload_rest!(),
    "ret",
    caught!(),
    pop!(),
    "ret";
    g = const GPR, env = const cx::ENV, remaining = const REMAINING, caught = sym caught, resume = sym resume_stub,
    f = sym one, x87 = const X87, park = sym park
);
// R9: condition; whether it holds.
asking_stub!(cond_stub, "r9", cond);
stub!(settle_stub,
    flush!(),
    park_vectors!(),
    "push r8
     push r9
     push r10
     push r11
     mov rdi, r14
     sub rsp, 8
     call {f}
     add rsp, 8
     pop r11
     pop r10
     pop r9
     pop r8",
    unpark_vectors!(),
    reload!(),
    "ret";
    g = const GPR, f = sym settle, vectors = const VECTORS, store_vectors = sym store_vectors,
    load_vectors = sym load_vectors
);
// R9: a cell; R10: whether it is valid now.
asking_stub!(revalidate_stub, "r10", revalidate);
stub!(load_stub, reload!(), reload_rest!(), "ret"; g = const GPR);
// R8: how, R9: what is left of the budget, R10: IP.
stub!(leave_stub,
    flush!(),
    park!(),
    "mov [rbp + {rip}], r10
     mov rcx, [r14 + {env}]
     mov [rcx + {remaining}], r9
     mov qword ptr [r14 + {exit}], 0
     mov eax, r8d",
    pop!(),
    "ret";
    g = const GPR, rip = const RIP, env = const cx::ENV, remaining = const REMAINING, exit = const cx::EXIT,
    x87 = const X87, park = sym park
);
// A target is looked for that may not be mapped any more. R8: the exit, 0 when there is none.
stub!(leave_unsure_stub,
    flush!(),
    park!(),
    "mov [rbp + {rip}], r10
     mov rcx, [r14 + {env}]
     mov [rcx + {remaining}], r9
     mov r15, r9
     mov r12, r8
     mov rdi, r14
     call {returned}
     mov rdi, r14
     mov rsi, [rbp + {rip}]
     mov rdx, r12
     mov ecx, 1
     call {seek}
     test rax, rax
     jnz {found}
     mov [r14 + {exit}], r12
     mov qword ptr [r14 + {unsure}], 1
     mov eax, {indirect}",
    pop!(),
    "ret";
    g = const GPR, rip = const RIP, env = const cx::ENV, remaining = const REMAINING, exit = const cx::EXIT,
    unsure = const cx::UNSURE, indirect = const cx::INDIRECT, seek = sym seek, found = sym found_stub,
    x87 = const X87, park = sym park, returned = sym returned
);
// All is in memory. RAX: an entry of the table of jumps for the IP in memory.
stub!(found_stub,
    "mov r9, rax
     mov r8, [rbp + {rip}]",
    reload!(),
    reload_rest!(),
    "jmp {enter}";
    g = const GPR, rip = const RIP, enter = sym enter_stub
);
// All is in memory: goes on there.
stub!(resume_stub,
    "mov r8, [rbp + {rip}]
     mov rax, [r14 + {env}]
     mov r15, [rax + {remaining}]",
    reload!(),
    reload_rest!(),
    "jmp {indirect}";
    g = const GPR, rip = const RIP, env = const cx::ENV, remaining = const REMAINING, indirect = sym indirect_stub
);
// Behind an instruction that has completed all by itself.
stub!(leave_slow_stub,
    park!(),
    "mov rdi, r14
     call {returned}
     mov rdi, r14
     call {f}
     test rax, rax
     jnz {resume}
     mov eax, {slow}",
    pop!(),
    "ret";
    slow = const cx::SLOW, f = sym goes_on, resume = sym resume_stub, x87 = const X87,
    park = sym park, returned = sym returned
);
// The same, from code that goes on with the next instruction, whose IP is R8, if it may. All is in memory and in the
// registers.
stub!(go_on_stub,
    "push r8
     mov rdi, r14
     call {f}
     pop r8
     cmp eax, 1
     jb 2f
     je 3f
     cmp r8, [rbp + {rip}]
     jne 3f",
    reload!(),
    "ret
     3:
     add rsp, 8
     jmp {resume}
     2:
     add rsp, 8
     mov rdi, r14
     call {returned}
     mov eax, {slow}",
    pop!(),
    "ret";
    g = const GPR, rip = const RIP, slow = const cx::SLOW, f = sym goes_on, resume = sym resume_stub,
    returned = sym returned
);
// The same, to the IP in memory.
stub!(leave_done_stub,
    park!(),
    "mov qword ptr [r14 + {exit}], 0
     mov eax, {indirect}",
    pop!(),
    "ret";
    exit = const cx::EXIT, indirect = const cx::INDIRECT, x87 = const X87, park = sym park
);
// R8: an exit that leads to no quick code.
stub!(link_stub,
    flush!(),
    park!(),
    "mov r12, r8
     mov rdi, r14
     call {returned}
     mov r8, r12
     mov rax, [r8 + {ip}]
     mov [rbp + {rip}], rax
     mov rcx, [r8 + {code}]
     cmp rcx, [r14 + {unlinked}]
     jne 3f
     mov r12, r8
     mov rdi, r14
     mov rsi, rax
     mov rdx, r8
     xor ecx, ecx
     call {seek}
     test rax, rax
     jnz {found}
     mov r8, r12
     3:
     mov [r14 + {exit}], r8
     mov rdi, r14
     mov rsi, rbp
     mov rdx, [r8 + {number}]
     mov rcx, r15
     mov rax, [r8 + {code}]",
    pop!(),
    "jmp rax";
    g = const GPR, exit = const cx::EXIT, rip = const RIP, ip = const offset_of!(Slot, ip), returned = sym returned,
    number = const offset_of!(Slot, number), code = const offset_of!(Slot, code), unlinked = const cx::UNLINKED,
    seek = sym seek, found = sym found_stub, x87 = const X87, park = sym park
);
// R8: the target.
stub!(indirect_stub,
    "mov r10, [r14 + {tag}]
     or r10, r8
     mov r9d, r8d
     shr r9d, {fold}
     xor r9d, r8d
     and r9d, {mask}
     shl r9d, 5
     add r9, r14
     cmp r10, [r9 + {table}]
     jne 5f
     6:
     mov r10, [r9 + {table} + 24]
     mov r10, [r10]
     cmp r10, [r14 + {epoch}]
     jne 4f
     mov r10, [r9 + {table} + 16]
     cmp r10, 0xffff
     jbe {enter}
     jmp r10
     5:
     sub r9, r14
     xor r9, {beside}
     add r9, r14
     cmp r10, [r9 + {table}]
     je 6b",
    flush!(),
    park!(),
    "mov [rbp + {rip}], r8
     mov rdi, r14
     call {returned}
     mov rdi, r14
     mov rsi, [rbp + {rip}]
     xor edx, edx
     xor ecx, ecx
     call {seek}
     test rax, rax
     jnz {found}
     mov rcx, [r14 + {env}]
     mov [rcx + {remaining}], r15
     mov qword ptr [r14 + {exit}], 0
     mov eax, {indirect}",
    pop!(),
    "ret
     4:
     push r9
     sub rsp, 8
     mov r9, [r9 + {table} + 24]
     mov r10, r15
     call {revalidate}
     add rsp, 8
     pop r9
     test r10, r10
     jnz {enter}
     mov r10, r8
     mov r9, r15
     xor r8d, r8d
     jmp {leave_unsure}";
    g = const GPR, tag = const cx::TAG, mask = const cx::JUMPS - 1, fold = const cx::JUMP_FOLD,
    table = const cx::JUMP_TABLE, beside = const cx::JUMP_BESIDE, epoch = const cx::EPOCH, rip = const RIP, env = const cx::ENV,
    remaining = const REMAINING, exit = const cx::EXIT, indirect = const cx::INDIRECT, seek = sym seek,
    found = sym found_stub, enter = sym enter_stub, leave_unsure = sym leave_unsure_stub,
    revalidate = sym revalidate_stub, x87 = const X87, park = sym park, returned = sym returned
);
// R8: the target, R9: its entry of the table of jumps, which is valid.
stub!(enter_stub,
    "mov r10, [r9 + {table} + 16]
     cmp r10, 0xffff
     jbe 2f
     jmp r10
     2:",
    flush!(),
    "mov [rbp + {rip}], r8
     mov r12, [r9 + {table} + 8]
     mov r13, r10",
    park!(),
    "mov rdi, r14
     call {returned}
     mov rdi, r14
     mov rsi, rbp
     mov rdx, r13
     mov rcx, r15
     mov rax, r12",
    pop!(),
    "jmp rax";
    g = const GPR, table = const cx::JUMP_TABLE, rip = const RIP, returned = sym returned, x87 = const X87,
    park = sym park
);

/// Where an exit leads that does not lead to quick code.
pub(crate) fn link() -> u64 {
    link_stub as *const () as u64
}

/// Puts the addresses of the stubs into the words.
pub(crate) fn set_functions(words: &mut [u64]) {
    for (offset, function) in [
        (ACCESS, access_stub as *const () as usize),
        (ONE, one_stub as *const () as usize),
        (COND, cond_stub as *const () as usize),
        (SETTLE, settle_stub as *const () as usize),
        (LOAD, load_stub as *const () as usize),
        (LEAVE, leave_stub as *const () as usize),
        (LEAVE_UNSURE, leave_unsure_stub as *const () as usize),
        (LEAVE_SLOW, leave_slow_stub as *const () as usize),
        (INDIRECT, indirect_stub as *const () as usize),
        (REVALIDATE, revalidate_stub as *const () as usize),
        (GO_ON, go_on_stub as *const () as usize),
        (LEAVE_DONE, leave_done_stub as *const () as usize),
        (BRING, bring_stub as *const () as usize),
        (KEEP, keep_stub as *const () as usize),
        (TRY, try_stub as *const () as usize),
        (BRING_VECTORS, bring_vectors_stub as *const () as usize),
    ] {
        words[offset / 8] = function as u64;
    }
}
