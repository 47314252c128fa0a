//! ARM64.

/// A function around another one that keeps all registers but the link register: x19 to x28 and the lower halves of
/// v8 to v15 are kept by every function (AAPCS64), x18 belongs to the system.
macro_rules! keeping_registers {
    ($name:ident, $function:ident) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            std::arch::naked_asm!(
                "stp x29, x30, [sp, #-16]!",
                "mov x29, sp",
                "sub sp, sp, #656",
                "stp x0, x1, [sp, #0]",
                "stp x2, x3, [sp, #16]",
                "stp x4, x5, [sp, #32]",
                "stp x6, x7, [sp, #48]",
                "stp x8, x9, [sp, #64]",
                "stp x10, x11, [sp, #80]",
                "stp x12, x13, [sp, #96]",
                "stp x14, x15, [sp, #112]",
                "stp x16, x17, [sp, #128]",
                "stp q0, q1, [sp, #144]",
                "stp q2, q3, [sp, #176]",
                "stp q4, q5, [sp, #208]",
                "stp q6, q7, [sp, #240]",
                "stp q8, q9, [sp, #272]",
                "stp q10, q11, [sp, #304]",
                "stp q12, q13, [sp, #336]",
                "stp q14, q15, [sp, #368]",
                "stp q16, q17, [sp, #400]",
                "stp q18, q19, [sp, #432]",
                "stp q20, q21, [sp, #464]",
                "stp q22, q23, [sp, #496]",
                "stp q24, q25, [sp, #528]",
                "stp q26, q27, [sp, #560]",
                "stp q28, q29, [sp, #592]",
                "stp q30, q31, [sp, #624]",
                "bl {f}",
                "ldp x0, x1, [sp, #0]",
                "ldp x2, x3, [sp, #16]",
                "ldp x4, x5, [sp, #32]",
                "ldp x6, x7, [sp, #48]",
                "ldp x8, x9, [sp, #64]",
                "ldp x10, x11, [sp, #80]",
                "ldp x12, x13, [sp, #96]",
                "ldp x14, x15, [sp, #112]",
                "ldp x16, x17, [sp, #128]",
                "ldp q0, q1, [sp, #144]",
                "ldp q2, q3, [sp, #176]",
                "ldp q4, q5, [sp, #208]",
                "ldp q6, q7, [sp, #240]",
                "ldp q8, q9, [sp, #272]",
                "ldp q10, q11, [sp, #304]",
                "ldp q12, q13, [sp, #336]",
                "ldp q14, q15, [sp, #368]",
                "ldp q16, q17, [sp, #400]",
                "ldp q18, q19, [sp, #432]",
                "ldp q20, q21, [sp, #464]",
                "ldp q22, q23, [sp, #496]",
                "ldp q24, q25, [sp, #528]",
                "ldp q26, q27, [sp, #560]",
                "ldp q28, q29, [sp, #592]",
                "ldp q30, q31, [sp, #624]",
                "mov sp, x29",
                "ldp x29, x30, [sp], #16",
                "ret",
                f = sym $function,
            )
        }
    };
}
pub(crate) use keeping_registers;

/// MXCSR: the six masks; flush to zero and denormals are zeros; rounding.
const MASKS: u32 = 0x1f80;
const ZEROS: u32 = 0x8040;
const ROUNDING: u32 = 13;

fn set_control(value: u64) {
    // SAFETY: rounding and nothing else differs from what Rust expects, and that is set back before Rust computes.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) value, options(nomem, nostack)) };
}
fn status() -> u64 {
    let value;
    // SAFETY: reads what has collected.
    unsafe { std::arch::asm!("mrs {}, fpsr", out(reg) value, options(nomem, nostack)) };
    value
}

/// The host computes as the guest's MXCSR says, if it can: it does not trap, and takes tiny numbers for zeros in
/// other ways than x86. The answer is what the word about vectors is to say.
pub(crate) fn begin_floats(guest: u32) -> u64 {
    if guest & MASKS != MASKS || guest & !0xffff != 0 || guest & ZEROS != 0 {
        return super::MOVES_ONLY;
    }
    // Nearest, down, up, to zero; Arm has up before down.
    let rounding = [0, 2, 1, 3][(guest >> ROUNDING & 3) as usize];
    set_control(rounding << 22);
    // SAFETY: forgets what has collected.
    unsafe { std::arch::asm!("msr fpsr, xzr", options(nomem, nostack)) };
    super::ALL_VECTORS
}
/// The host computes for itself again; the guest's MXCSR gets what has collected: IE, ZE, OE and PE. DE does not
/// exist here, and UE means something else (tiny before rounding): what could raise one of them is never done natively.
pub(crate) fn end_floats(guest: &mut u32) {
    let seen = status() as u32;
    *guest |= seen & 1 | (seen >> 1 & 1) << 2 | (seen >> 2 & 1) << 3 | (seen >> 4 & 1) << 5;
    set_control(0);
}

/// Makes code that was written at `written` what is executed at `executed`, by all processors (Arm ARM, B2.7.4):
/// the stores go where caches of code are filled from, then those caches forget.
#[cfg(not(target_os = "macos"))]
pub(crate) fn publish(written: *const u8, executed: *const u8, bytes: usize) {
    let types: u64;
    // SAFETY: the register that describes the caches; Linux lets programs read it.
    unsafe { std::arch::asm!("mrs {}, ctr_el0", out(reg) types, options(nomem, nostack, preserves_flags)) };
    let lines = |first: *const u8, shift: u32| {
        let line = 4usize << (types >> shift & 15);
        (first as usize & !(line - 1)..first as usize + bytes).step_by(line)
    };
    for at in lines(written, 16) {
        // SAFETY: writes a line of our own memory back; changes nothing.
        unsafe { std::arch::asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { std::arch::asm!("dsb ish", options(nostack, preserves_flags)) };
    for at in lines(executed, 0) {
        // SAFETY: drops a line of code of our own; changes nothing.
        unsafe { std::arch::asm!("ic ivau, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { std::arch::asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
/// The same with what the system offers for it.
#[cfg(target_os = "macos")]
pub(crate) fn publish(_written: *const u8, executed: *const u8, bytes: usize) {
    unsafe extern "C" {
        fn sys_icache_invalidate(start: *const std::ffi::c_void, bytes: usize);
    }
    // SAFETY: our own memory.
    unsafe { sys_icache_invalidate(executed.cast(), bytes) };
}
/// The processor that calls this has not begun with code that was published before: it may have fetched what stood
/// there earlier.
pub(crate) fn fetch_anew() {
    // SAFETY: a barrier.
    unsafe { std::arch::asm!("isb", options(nostack, preserves_flags)) };
}
