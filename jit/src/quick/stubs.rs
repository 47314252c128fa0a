//! What quick code shares: the ways to the engine's functions and back, and the ways out.
//!
//! In quick code the guest's registers are in host registers (see [`host`]), RBP holds the
//! processor, R14 the words, R15 the budget; flags that are not in [`LazyFlags`] are in the words
//! from [`FLAGS`] on. All of that becomes the state in memory here.
#![allow(unsafe_code, reason = "called by native code with pointers to the state of the run")]

#[cfg(doc)]
use super::assembler::host;
use crate::context::{self as cx, Cell, Op, Slot};
use crate::tier::Upper;
use cpu::core::{Env, Leave};
use cpu::flags::{Cond, FlagsOf, LazyFlags, bits};
use cpu::interpreter::tier::Boundary;
use cpu::memory::{GuestMemory, PAGE};
use cpu::micro::Direct;
use cpu::semantics;
use cpu::state::{Activity, CpuState, Seg, Shadow, Width};
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
    debug_assert!(later < 128 && debt < 1 << 13);
    let again = u32::from(flat && how < MODIFY) << 31;
    seg as u32 | size.trailing_zeros() << 3 | how << 6 | later << 8 | debt << 15 | (size as u32 - 1) << 28 | again
}

/// Recorded flags: operation, form << 8, bytes of the width << 16, [`STALE_CARRY`], overlay << 24.
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
const SETTLE_FUNCTION: usize = 440;
pub(crate) const LEAVE_DONE: usize = 448;
pub(crate) const REVALIDATE: usize = 456;
/// Epochs of memory.
const SEEN: usize = 464;
const _: () = assert!(GROUPS + 8 * MAX_GROUPS <= ACCESS && SEEN + 16 <= cx::UNLINKED);

/// CF of the record is not the one in [`LazyFlags::cf`].
pub(crate) const STALE_CARRY: u32 = 1 << 23;

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
}
const _: () =
    assert!(offset_of!(Words, kind) == FLAGS && offset_of!(Words, offset) == OFFSET && offset_of!(Words, seen) == SEEN);

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
        let lazy = &mut cpu.lazy;
        if kind & 0xff00 != 0 {
            complete(lazy, kind, words.x, words.y);
        }
        let r = words.r as u32;
        match kind >> 24 {
            overlay::ROL => lazy.set_cf_of(r & 1 != 0, (r ^ r >> 31) & 1 != 0),
            overlay::ROR => lazy.set_cf_of(r >> 31 != 0, (r ^ r << 1) >> 31 != 0),
            overlay::CARRY => lazy.set_cf(r & 1 != 0),
            _ => {}
        }
    }
}

/// Completes the state when native code has returned.
///
/// # Safety
/// As for [`settle`].
pub(crate) unsafe fn returned(words: *mut u64) {
    // SAFETY: the caller's words.
    unsafe {
        if (*words.cast::<Words>()).kind != 0 {
            settle(words);
        }
    }
}

const OPERATIONS: [FlagsOf; 12] = {
    use FlagsOf as F;
    [F::All, F::Partial, F::Add, F::Sub, F::Adc, F::Sbb, F::Shl, F::Shr, F::Sar, F::Logic, F::Inc, F::Dec]
};

fn complete(lazy: &mut LazyFlags, kind: u32, x: u64, y: u64) {
    let of = OPERATIONS[(kind & 0xff) as usize % 12];
    let width = match kind >> 16 & 7 {
        1 => Width::Byte,
        2 => Width::Word,
        _ => Width::Dword,
    };
    let mask = width.mask();
    let (x, y) = (if kind >> 8 & 0xff == form::BITS { x } else { x & mask }, y & mask);
    match (kind >> 8 & 0xff, of) {
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

/// # Safety
/// As for [`settle`].
unsafe extern "sysv64" fn access(words: *mut u64, offset: u64, info: u32, ip: u32, rem: i64) -> u64 {
    // SAFETY: the caller's words; no reference outlives the block.
    unsafe {
        let mut core = cx::core(words.cast());
        let w = words.cast::<Words>();
        core.env.remaining = rem - i64::from(info >> 15 & 0x1fff);
        let seg = Seg::ALL[(info & 7) as usize % 6];
        let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][(info >> 3 & 3) as usize];
        let bounce = words.add(cx::BOUNCE / 8);
        let done = match info >> 6 & 3 {
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
                bounce as u64
            }
            Err(_) => {
                core.cpu.rip = u64::from(ip);
                core.env.remaining += i64::from(info >> 8 & 127);
                settle(words);
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
        if (*words.cast::<Words>()).kind != 0 {
            settle(words);
        }
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

/// Whether a page of code is known to be mapped as `cell` says. The interpreter, which is asked if it is not, would
/// look into the same table first, so that nothing that the guest sees depends on who looks.
///
/// # Safety
/// As for [`settle`]; `cell` is one of the translator's.
unsafe extern "sysv64" fn revalidate(words: *mut u64, cell: *mut Cell) -> u64 {
    // SAFETY: the caller's words and cell.
    unsafe {
        let core = cx::core(words.cast());
        let cell = &mut *cell;
        let is_mapped = cell.linear < 1 << 20 && core.env.tlb.execute(cell.linear * PAGE, cell.user) == Some(cell.page);
        if is_mapped {
            cell.epoch = *words.add(cx::EPOCH / 8);
        }
        u64::from(is_mapped)
    }
}

/// Whether there is nothing to look at between the instruction that has just ended its block and the next, so that
/// native code may go on: all that the interpreter looks at, and there is native code for the mode and code segment.
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
        let (tag, epoch) = (world << 32, boundary.epoch());
        if (tag, epoch) != (*words.add(cx::TAG / 8), *words.add(cx::EPOCH / 8)) {
            *words.add(cx::TAG / 8) = tag;
            *words.add(cx::EPOCH / 8) = epoch;
            boundary.set_moved();
        }
        cpu.shadow = Shadow::None;
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
        let exit = (!exit.is_null()).then(|| ((*exit).region, (*exit).exit));
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

// R8: offset, R9D: description, R10D: IP. R8 becomes the host address.
stub!(access_stub,
    "mov [r14 + {r11}], r11
     test r9d, r9d
     jns 5f
     mov [r14 + {saved}], r9
     mov r11d, r9d
     shr r11d, 28
     and r11d, 7
     add r11, r8
     and r11, -4096
     mov r9d, r8d
     shr r9d, 12
     xor r9d, [rbp + {half}]
     and r9d, {mask}
     shl r9d, 4
     test byte ptr [r14 + {saved}], 0x40
     jnz 3f
     or r11, [r14 + {read_generation}]
     cmp r11, [r14 + r9 + {read}]
     jne 4f
     and r8d, 0xfff
     add r8, [r14 + r9 + {read} + 8]
     mov r11, [r14 + {r11}]
     ret
     3:
     or r11, [r14 + {write_generation}]
     cmp r11, [r14 + r9 + {write}]
     jne 4f
     and r8d, 0xfff
     add r8, [r14 + r9 + {write} + 8]
     mov r11, [r14 + {r11}]
     ret
     4:
     mov r9, [r14 + {saved}]
     5:",
    flush!(),
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
    reload!(),
    "mov r11, [r14 + {r11}]
     ret
     2:
     add rsp, 8
     mov rdi, r14
     call {caught}
     test rax, rax
     jz {resume}",
    pop!(),
    "ret";
    g = const GPR, r11 = const SAVED_R11, caught = sym caught, resume = sym resume_stub, f = sym access, saved = const SAVED,
    half = const offset_of!(CpuState, tlb_half), mask = const 2 * Tables::HALF - 1, read = const Tables::READ,
    write = const Tables::WRITE, read_generation = const Tables::READ_GENERATION,
    write_generation = const Tables::WRITE_GENERATION
);
// R9: operation, R10: debt.
stub!(one_stub,
    flush!(),
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
    "ret
     2:
     add rsp, 8
     mov rdi, r14
     call {caught}
     test rax, rax
     jz {resume}",
    pop!(),
    "ret";
    g = const GPR, env = const cx::ENV, remaining = const REMAINING, caught = sym caught, resume = sym resume_stub,
    f = sym one
);
// R9: condition; whether it holds.
stub!(cond_stub,
    flush!(),
    "push r8
     push r11
     mov rdi, r14
     mov rsi, r9
     sub rsp, 8
     call {f}
     add rsp, 8
     mov r9, rax
     pop r11
     pop r8",
    reload!(),
    "ret";
    g = const GPR, f = sym cond
);
stub!(settle_stub,
    flush!(),
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
    reload!(),
    "ret";
    g = const GPR, f = sym settle
);
// R9: a cell; R10: whether it is valid now.
stub!(revalidate_stub,
    flush!(),
    "push r8
     push r11
     mov rdi, r14
     mov rsi, r9
     sub rsp, 8
     call {f}
     add rsp, 8
     mov r10, rax
     pop r11
     pop r8",
    reload!(),
    "ret";
    g = const GPR, f = sym revalidate
);
stub!(load_stub, reload!(), reload_rest!(), "ret"; g = const GPR);
// R8: how, R9: what is left of the budget, R10: IP.
stub!(leave_stub,
    flush!(),
    "mov [rbp + {rip}], r10
     mov rcx, [r14 + {env}]
     mov [rcx + {remaining}], r9
     mov qword ptr [r14 + {exit}], 0
     mov eax, r8d",
    pop!(),
    "ret";
    g = const GPR, rip = const RIP, env = const cx::ENV, remaining = const REMAINING, exit = const cx::EXIT
);
// A target is looked for that may not be mapped any more. R8: the exit, 0 when there is none.
stub!(leave_unsure_stub,
    flush!(),
    "mov [rbp + {rip}], r10
     mov rcx, [r14 + {env}]
     mov [rcx + {remaining}], r9
     mov r15, r9
     mov r12, r8
     mov rdi, r14
     mov rsi, r10
     mov rdx, r8
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
    unsure = const cx::UNSURE, indirect = const cx::INDIRECT, seek = sym seek, found = sym found_stub
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
    "mov rdi, r14
     call {f}
     test rax, rax
     jnz {resume}
     mov eax, {slow}",
    pop!(),
    "ret";
    slow = const cx::SLOW, f = sym goes_on, resume = sym resume_stub
);
// The same, to the IP in memory.
stub!(leave_done_stub,
    "mov qword ptr [r14 + {exit}], 0
     mov eax, {indirect}",
    pop!(),
    "ret";
    exit = const cx::EXIT, indirect = const cx::INDIRECT
);
// R8: an exit that leads to no quick code.
stub!(link_stub,
    flush!(),
    "cmp qword ptr [r14 + {flags}], 0
     je 2f
     mov r12, r8
     mov rdi, r14
     call [r14 + {settle}]
     mov r8, r12
     2:
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
    g = const GPR, flags = const FLAGS, settle = const SETTLE_FUNCTION, exit = const cx::EXIT, rip = const RIP,
    ip = const offset_of!(Slot, ip), number = const offset_of!(Slot, number), code = const offset_of!(Slot, code),
    unlinked = const cx::UNLINKED, seek = sym seek, found = sym found_stub
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
     jne 3f
     mov r10, [r9 + {table} + 24]
     mov r10, [r10]
     cmp r10, [r14 + {epoch}]
     jne 4f
     mov r10, [r9 + {table} + 16]
     cmp r10, 0xffff
     jbe {enter}
     jmp r10
     3:",
    flush!(),
    "mov [rbp + {rip}], r8
     mov rdi, r14
     mov rsi, r8
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
    table = const cx::JUMP_TABLE, epoch = const cx::EPOCH, rip = const RIP, env = const cx::ENV,
    remaining = const REMAINING, exit = const cx::EXIT, indirect = const cx::INDIRECT, seek = sym seek,
    found = sym found_stub, enter = sym enter_stub, leave_unsure = sym leave_unsure_stub,
    revalidate = sym revalidate_stub
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
     mov r13, r10
     cmp qword ptr [r14 + {flags}], 0
     je 5f
     mov rdi, r14
     call [r14 + {settle}]
     5:
     mov rdi, r14
     mov rsi, rbp
     mov rdx, r13
     mov rcx, r15
     mov rax, r12",
    pop!(),
    "jmp rax";
    g = const GPR, table = const cx::JUMP_TABLE, rip = const RIP, flags = const FLAGS,
    settle = const SETTLE_FUNCTION
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
        (LEAVE_DONE, leave_done_stub as *const () as usize),
        (SETTLE_FUNCTION, settle as *const () as usize),
    ] {
        words[offset / 8] = function as u64;
    }
}
