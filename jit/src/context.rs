//! What native code and the engine share: words at the start of the TLB's tables, and the
//! functions that native code calls.
#![allow(unsafe_code, reason = "called by native code with pointers to the state of the run")]

use crate::host::{self, keeping_registers};
use crate::quick::stubs;
use cpu::core::{Core, Env, Leave};
use cpu::flags::{Cond, FlagsOf};
use cpu::insn::{Insn, Mnemonic, OperandKind};
use cpu::memory::HostPage;
use cpu::semantics::Opcode;
use cpu::state::{CpuState, Seg, Width, cr0, cr4, gpr};
use cpu::tlb::ENGINE_WORDS;
use std::sync::atomic::{AtomicU32, Ordering};

/// Byte offsets of the words.
pub(crate) const ENV: usize = 0;
/// Host address that an access found, 0 when the instruction has to be left; results of the
/// simple functions.
pub(crate) const HOST: usize = 8;
/// Stands in for memory where an access was made by a function.
pub(crate) const BOUNCE: usize = 16;
/// The exit by which a region was left, 0 when it was none that can be linked.
pub(crate) const EXIT: usize = 32;
/// Upper half: what an entry of the table of jumps must carry.
pub(crate) const TAG: usize = 40;
/// The epoch of translations.
pub(crate) const EPOCH: usize = 48;
pub(crate) const CPU: usize = 56;
/// Addresses of functions.
pub(crate) const READ: usize = 64;
pub(crate) const WRITE: usize = 72;
pub(crate) const MODIFY: usize = 80;
pub(crate) const HELPER: usize = 88;
pub(crate) const COND: usize = 96;
pub(crate) const STATUS: usize = 104;
pub(crate) const SETTLE: usize = 112;
/// Not 0 when code was left because its target may not be mapped any more.
pub(crate) const UNSURE: usize = 120;
/// Whether SSE instructions may run with the guest's MXCSR in the host's: 0 not, else what [`host`] says.
pub(crate) const VECTORS: usize = 128;
pub(crate) const BEGIN_VECTORS: usize = 136;
/// What the flags follow from, as [`flags`] has it: kind (0: they are in [`cpu::flags::LazyFlags`]), operands.
pub(crate) const FLAG_KIND: usize = 144;
pub(crate) const FLAG_A: usize = 152;
pub(crate) const FLAG_B: usize = 160;
/// A function that does so at once.
pub(crate) const RECORD: usize = 168;
/// The pool that the kind refers to.
pub(crate) const FLAG_POOL: usize = JUMP_TABLE - 8;
/// Numbers that kinds of flags refer to.
pub(crate) type Pool = [AtomicU32; 8];
/// The state of the engine's upper tier, and of its lower one between instructions.
pub(crate) const UPPER: usize = 496;
pub(crate) const BOUNDARY: usize = 488;
/// Where exits lead that lead nowhere yet.
pub(crate) const UNLINKED: usize = 480;
/// The table of jumps: key, code, number of the entry, validity word of its page. What is not in its own place may be in
/// the one beside it, [`JUMP_BESIDE`] away.
pub(crate) const JUMP_TABLE: usize = 1024;
/// Its entries.
pub(crate) const JUMPS: usize = 8192;
/// By how many bits an IP is shifted for what it is mixed with, for functions that begin at round addresses.
pub(crate) const JUMP_FOLD: u32 = 12;
const _: () = assert!(JUMP_TABLE / 8 + 4 * JUMPS <= ENGINE_WORDS);

/// Byte offset of the entry of the table of jumps for `ip`.
pub(crate) fn jump(ip: u64) -> usize {
    JUMP_TABLE + 32 * ((ip ^ ip >> JUMP_FOLD) as usize & (JUMPS - 1))
}

/// A mode and code segment in keys of the table: above the IP.
pub(crate) fn tag(world: u32) -> u64 {
    u64::from(world) << 32
}

pub(crate) const JUMP_BESIDE: usize = 32;
const _: () = assert!(JUMP_TABLE.is_multiple_of(2 * JUMP_BESIDE));

/// Enters `jump` for `ip` into the table; the byte offset of its entry. What was there moves aside.
pub(crate) fn enter_jump(words: &mut [u64], ip: u64, jump: [u64; 4]) -> usize {
    let at = self::jump(ip) / 8;
    if words[at] != jump[0] && words[at] != u64::MAX {
        words.copy_within(at..at + 4, at ^ JUMP_BESIDE / 8);
    }
    words[at..at + 4].copy_from_slice(&jump);
    at * 8
}

/// The validity of a page of code. Native code reads the first word.
#[repr(C)]
pub(crate) struct Cell {
    /// In which epoch of translations the page was last known to be mapped so.
    pub(crate) epoch: u64,
    /// Number of the linear page.
    pub(crate) linear: u64,
    pub(crate) page: HostPage,
    pub(crate) user: bool,
}

/// An exit of a region, as native code sees it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    /// Where to go on.
    pub(crate) code: u64,
    /// With which number of an entry; where it leads nowhere yet, its own address.
    pub(crate) number: u64,
    /// The validity word of the target's page.
    pub(crate) cell: u64,
    /// IP of the target.
    pub(crate) ip: u64,
    /// Which region the exit belongs to, and which of its exits it is.
    pub(crate) region: u32,
    pub(crate) exit: u32,
    /// Where quick code goes on.
    pub(crate) quick: u64,
}
#[cfg(target_arch = "x86_64")]
pub(crate) const SLOT_QUICK: usize = std::mem::offset_of!(Slot, quick);
pub(crate) const SLOT_CODE: usize = 0;
pub(crate) const SLOT_NUMBER: usize = 8;
pub(crate) const SLOT_CELL: usize = 16;
pub(crate) const SLOT_IP: usize = 24;
const _: () = assert!(std::mem::offset_of!(Slot, ip) == SLOT_IP);

/// How native code returns: the engine goes on at `rip`.
pub(crate) const INDIRECT: u64 = 0;
/// The operation was left: `env.leave` says why.
pub(crate) const LEFT: u64 = 1;
/// As [`INDIRECT`], after a look at the world.
pub(crate) const SLOW: u64 = 2;
/// The budget does not cover the block at `rip`.
pub(crate) const SHORT: u64 = 3;
/// The instruction at `rip` is one for the interpreter.
pub(crate) const STEP: u64 = 4;

/// An instruction as helpers get it.
pub(crate) struct Op {
    pub(crate) insn: Insn,
    /// Instructions of its block behind it.
    pub(crate) later: u32,
    /// See [`beside_flags`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for quick code"))]
    pub(crate) beside_flags: Option<u32>,
}

impl Op {
    pub(crate) fn new(insn: Insn, later: u32) -> Op {
        Op { insn, later, beside_flags: beside_flags(&insn) }
    }
}

/// The general-purpose registers that an instruction changes, if it neither asks for status flags nor sets them;
/// `None`: it may, or nobody has looked.
pub(crate) fn beside_flags(i: &Insn) -> Option<u32> {
    use Mnemonic as M;
    if i.op != Opcode::Helper || i.ops.iter().any(|o| o.kind == OperandKind::Xmm) {
        return None;
    }
    let bit = |n: u8| 1u32 << n;
    let string = bit(gpr::AX) | bit(gpr::CX) | bit(gpr::SI) | bit(gpr::DI);
    match i.mnemonic {
        M::Movsb | M::Movsw | M::Movsd | M::Stosb | M::Stosw | M::Stosd | M::Lodsb | M::Lodsw | M::Lodsd => {
            Some(string)
        }
        M::Mov if i.dst().kind == OperandKind::Seg => Some(0),
        M::Pop if i.dst().kind == OperandKind::Seg => Some(bit(gpr::SP)),
        M::In => Some(bit(gpr::AX)),
        M::Out | M::Sti | M::Cli | M::Invlpg => Some(0),
        M::Rdtsc => Some(bit(gpr::AX) | bit(gpr::DX)),
        _ => None,
    }
}

/// The words as the functions use them.
#[repr(C)]
pub(crate) struct Words {
    env: *mut Env<'static>,
    host: u64,
    bounce: [u64; 2],
    exit: u64,
    tag: u64,
    epoch: u64,
    cpu: *mut CpuState,
    functions: [u64; 8],
    vectors: u64,
    _begin_vectors: u64,
    flag_kind: u32,
    _none: u32,
    flag_a: u32,
    _none_a: u32,
    flag_b: u32,
}
const _: () = assert!(std::mem::offset_of!(Words, flag_b) == FLAG_B);
const _: () = assert!(std::mem::offset_of!(Words, vectors) == VECTORS);

/// The state of the run.
///
/// # Safety
/// `words` are those of a run that goes on, and no reference to its state is held.
pub(crate) unsafe fn core<'a>(words: *mut Words) -> Core<'a, 'static> {
    // SAFETY: the engine has put both pointers there for the time of the run; native code, which
    // has called us, holds none but raw pointers.
    unsafe { Core { cpu: &mut *(*words).cpu, env: &mut *(*words).env } }
}

const WIDTHS: [Width; 9] = {
    let mut all = [Width::Byte; 9];
    all[2] = Width::Word;
    all[4] = Width::Dword;
    all[8] = Width::Qword;
    all
};

fn operand(info: u64) -> (Seg, Width) {
    (Seg::ALL[(info & 7) as usize % 6], WIDTHS[(info >> 8 & 15) as usize % 9])
}
/// 16 bytes.
fn is_vector(info: u64) -> bool {
    info >> 8 & 16 != 0
}

/// Native code is about to run vector instructions. The answer is 0 when it must not.
///
/// # Safety
/// As for [`core`].
unsafe extern "C" fn begin_vectors(words: *mut Words, _none: u64) {
    // SAFETY: as for `read`.
    unsafe {
        let cpu = &mut *(*words).cpu;
        let may = cpu.cr0 & (cr0::EM | cr0::TS) == 0 && cpu.cr4 & cr4::OSFXSR != 0;
        let state = if may { host::begin_floats(cpu.mxcsr) } else { 0 };
        (*words).vectors = state;
        (*words).host = state;
    }
}
/// Native code has been left, or a helper runs: the guest's MXCSR gets what has collected.
///
/// # Safety
/// As for [`core`].
pub(crate) unsafe fn end_vectors(words: *mut Words) {
    // SAFETY: as for `read`.
    unsafe {
        if std::mem::take(&mut (*words).vectors) == host::ALL_VECTORS {
            host::end_floats(&mut (*(*words).cpu).mxcsr);
        }
    }
}
/// Whether the host has the guest's MXCSR.
///
/// # Safety
/// As for [`core`].
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn has_floats(words: *mut Words) -> bool {
    // SAFETY: as for `read`.
    unsafe { (*words).vectors == host::ALL_VECTORS }
}
/// Sees to it that it has, if it may.
///
/// # Safety
/// As for [`core`].
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn begin_floats(words: *mut Words) -> bool {
    // SAFETY: as for `read`.
    unsafe {
        if (*words).vectors != host::ALL_VECTORS {
            (*words).vectors = host::begin_floats((*(*words).cpu).mxcsr);
        }
        (*words).vectors == host::ALL_VECTORS
    }
}
/// Completes the state when native code has returned.
///
/// # Safety
/// `words` are those of the run that has just ended.
pub(crate) unsafe fn returned(words: *mut u64) {
    let all = words;
    let words = words.cast::<Words>();
    // SAFETY: the caller's words.
    unsafe {
        end_vectors(words);
        stubs::returned(all);
        if (*words).flag_kind != 0 {
            record(words, 0);
        }
    }
}
/// Records the flags that native code has put into the words.
///
/// # Safety
/// As for [`core`].
unsafe extern "C" fn record(words: *mut Words, _none: u64) {
    // SAFETY: as for `read`.
    unsafe {
        let kind = std::mem::take(&mut (*words).flag_kind);
        let cpu = &mut *(*words).cpu;
        let pool = *words.cast::<*const Pool>().add(FLAG_POOL / 8);
        let gpr = |index: u32| cpu.gpr.read((index & 7) as u8, Width::Dword);
        let Some((of, width)) = flags::operation(kind) else { return };
        let x = if kind & flags::X_IN_REGISTER != 0 { gpr(kind >> flags::X) } else { u64::from((*words).flag_a) };
        let y = match kind >> flags::Y_HOW & 3 {
            flags::Y_IN_REGISTER => gpr(kind >> flags::Y),
            flags::Y_NUMBER => flags::number(kind),
            flags::Y_IN_POOL => u64::from((*pool)[(kind >> flags::Y & 7) as usize].load(Ordering::Relaxed)),
            _ => u64::from((*words).flag_b),
        };
        let (mask, bits) = (width.mask(), (y & 63) as u32);
        let (x, y) = (x & mask, y & mask);
        let is_result = kind & flags::RESULT != 0;
        let (a, b, r) = match of {
            FlagsOf::Add if is_result => (x.wrapping_sub(y) & mask, y, x),
            FlagsOf::Sub if is_result => (x.wrapping_add(y) & mask, y, x),
            FlagsOf::Add => (x, y, x.wrapping_add(y) & mask),
            FlagsOf::Sub => (x, y, x.wrapping_sub(y) & mask),
            FlagsOf::Shl => (x, u64::from(bits), x << bits & mask),
            FlagsOf::Shr => (x, u64::from(bits), x >> bits),
            FlagsOf::Sar => (x, u64::from(bits), (width.sign_extend(x) >> bits) as u64 & mask),
            _ => (0, 0, x),
        };
        cpu.lazy.record(of, width, a, b, r);
    }
}

/// How native code writes down of what the flags are: a kind, in 16 bits so that one instruction makes it, and two words,
/// unless the kind says that the operand is in a guest register or which number it is.
pub(crate) mod flags {
    use cpu::flags::FlagsOf;
    use cpu::state::Width;

    const OPERATIONS: [FlagsOf; 6] =
        [FlagsOf::Sub, FlagsOf::Add, FlagsOf::Logic, FlagsOf::Shl, FlagsOf::Shr, FlagsOf::Sar];
    const WIDTHS: [Width; 3] = [Width::Byte, Width::Word, Width::Dword];
    /// The first operand is the result.
    pub(crate) const RESULT: u32 = 1 << 3;
    pub(crate) const X_IN_REGISTER: u32 = 1 << 9;
    /// Where the number of its register is.
    pub(crate) const X: u32 = 6;
    pub(crate) const Y_HOW: u32 = 10;
    pub(crate) const Y_IN_REGISTER: u32 = 1;
    pub(crate) const Y_NUMBER: u32 = 2;
    pub(crate) const Y_IN_POOL: u32 = 3;
    /// Where the number of its register is, or the number itself, or its place in the pool.
    pub(crate) const Y: u32 = 12;

    /// The kind without its operands; `None`: there is none.
    pub(crate) fn kind(of: FlagsOf, width: Width) -> Option<u32> {
        let of = OPERATIONS.iter().position(|o| *o == of)? as u32 + 1;
        let width = WIDTHS.iter().position(|w| *w == width)? as u32;
        Some(of | width << 4)
    }
    pub(crate) fn operation(kind: u32) -> Option<(FlagsOf, Width)> {
        let of = (kind & 7).checked_sub(1)?;
        Some((*OPERATIONS.get(of as usize)?, *WIDTHS.get((kind >> 4 & 3) as usize)?))
    }
    /// A number as part of a kind, if it is small enough: -1 to 6.
    pub(crate) fn small(number: u32) -> Option<u32> {
        let short = if number == u32::MAX { 7 } else { number };
        ((0..7).contains(&number) || number == u32::MAX).then_some(Y_NUMBER << Y_HOW | short << Y)
    }
    pub(crate) fn number(kind: u32) -> u64 {
        match kind >> Y & 7 {
            7 => 0xffff_ffff,
            n => u64::from(n),
        }
    }
}

/// # Safety
/// As for [`core`].
unsafe extern "C" fn read(words: *mut Words, offset: u64, info: u64, remaining: i64, _value: u64) {
    let (seg, width) = operand(info);
    // SAFETY: the caller's words; no reference outlives the block.
    unsafe {
        let mut core = core(words);
        core.env.remaining = remaining;
        if is_vector(info) {
            let mut bytes = [0; 16];
            (*words).host = match core.load_bytes(seg, offset, &mut bytes) {
                Ok(()) => &raw const (*words).bounce as u64,
                Err(_) => 0,
            };
            let value = u128::from_le_bytes(bytes);
            (*words).bounce = [value as u64, (value >> 64) as u64];
            return;
        }
        match core.load(seg, offset, width) {
            Ok(value) => {
                (*words).bounce[0] = value;
                (*words).host = &raw const (*words).bounce as u64;
            }
            Err(_) => (*words).host = 0,
        }
    }
}
/// # Safety
/// As for [`core`].
unsafe extern "C" fn modify(words: *mut Words, offset: u64, info: u64, remaining: i64, _value: u64) {
    let (seg, width) = operand(info);
    // SAFETY: as for `read`.
    unsafe {
        let mut core = core(words);
        core.env.remaining = remaining;
        match core.load_to_modify(seg, offset, width) {
            Ok(value) => {
                (*words).bounce[0] = value;
                (*words).host = &raw const (*words).bounce as u64;
            }
            Err(_) => (*words).host = 0,
        }
    }
}
/// # Safety
/// As for [`core`].
unsafe extern "C" fn write(words: *mut Words, offset: u64, info: u64, remaining: i64, value: u64) {
    let (seg, width) = operand(info);
    // SAFETY: as for `read`.
    unsafe {
        let mut core = core(words);
        core.env.remaining = remaining;
        let done = if is_vector(info) {
            let [low, high] = (*words).bounce;
            core.store_bytes(seg, offset, &(u128::from(high) << 64 | u128::from(low)).to_le_bytes())
        } else {
            core.store(seg, offset, width, value & width.mask())
        };
        (*words).host = match done {
            Ok(()) => &raw const (*words).bounce as u64,
            Err(_) => 0,
        };
    }
}
/// Runs an instruction's helper. 0 when it went well.
///
/// # Safety
/// As for [`core`]; `op` is an operation of the region that is being run.
pub(crate) unsafe extern "C" fn helper(words: *mut Words, op: *const Op, remaining: i64) -> u64 {
    // SAFETY: the caller's words and operation.
    unsafe {
        let op = &*op;
        end_vectors(words);
        record(words, 0);
        let mut core = core(words);
        core.env.remaining = remaining;
        core.cpu.rip = op.insn.next_ip();
        if (op.insn.helper)(&mut core, &op.insn).is_ok() {
            return 0;
        }
        core.env.remaining += i64::from(op.later);
        match core.env.leave {
            Leave::Exception(e) if e.is_trap => {}
            _ => core.cpu.rip = op.insn.ip,
        }
        1
    }
}
/// # Safety
/// As for [`core`].
unsafe extern "C" fn cond(words: *mut Words, cond: u64) {
    // SAFETY: as for `read`.
    unsafe {
        record(words, 0);
        let core = core(words);
        (*words).host = u64::from(core.cpu.lazy.cond(Cond::ALL[cond as usize & 15]));
    }
}
/// # Safety
/// As for [`core`].
unsafe extern "C" fn status(words: *mut Words, _none: u64) {
    // SAFETY: as for `read`.
    unsafe {
        record(words, 0);
        let core = core(words);
        (*words).host = core.cpu.lazy.bits();
    }
}
/// # Safety
/// As for [`core`].
unsafe extern "C" fn settle(words: *mut Words, _none: u64) {
    // SAFETY: as for `read`.
    unsafe {
        record(words, 0);
        let core = core(words);
        core.cpu.lazy.settle();
        (*words).host = 0;
    }
}

keeping_registers!(read_keeping, read);
keeping_registers!(write_keeping, write);
keeping_registers!(modify_keeping, modify);
keeping_registers!(cond_keeping, cond);
keeping_registers!(status_keeping, status);
keeping_registers!(settle_keeping, settle);
keeping_registers!(record_keeping, record);
keeping_registers!(begin_vectors_keeping, begin_vectors);

/// Puts the addresses of the functions into the words.
pub(crate) fn set_functions(words: &mut [u64]) {
    for (offset, function) in [
        (READ, read_keeping as *const () as usize),
        (WRITE, write_keeping as *const () as usize),
        (MODIFY, modify_keeping as *const () as usize),
        (HELPER, helper as *const () as usize),
        (COND, cond_keeping as *const () as usize),
        (STATUS, status_keeping as *const () as usize),
        (SETTLE, settle_keeping as *const () as usize),
        (RECORD, record_keeping as *const () as usize),
        (BEGIN_VECTORS, begin_vectors_keeping as *const () as usize),
    ] {
        words[offset / 8] = function as u64;
    }
    stubs::set_functions(words);
}
