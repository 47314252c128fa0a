//! x86-64.

/// A function around another one that keeps all registers.
macro_rules! keeping_registers {
    ($name:ident, $function:ident) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            std::arch::naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "push rax",
                "push rcx",
                "push rdx",
                "push rsi",
                "push rdi",
                "push r8",
                "push r9",
                "push r10",
                "push r11",
                "sub rsp, 264",
                "and rsp, -16",
                "movups [rsp], xmm0",
                "movups [rsp + 16], xmm1",
                "movups [rsp + 32], xmm2",
                "movups [rsp + 48], xmm3",
                "movups [rsp + 64], xmm4",
                "movups [rsp + 80], xmm5",
                "movups [rsp + 96], xmm6",
                "movups [rsp + 112], xmm7",
                "movups [rsp + 128], xmm8",
                "movups [rsp + 144], xmm9",
                "movups [rsp + 160], xmm10",
                "movups [rsp + 176], xmm11",
                "movups [rsp + 192], xmm12",
                "movups [rsp + 208], xmm13",
                "movups [rsp + 224], xmm14",
                "movups [rsp + 240], xmm15",
                "call {f}",
                "movups xmm0, [rsp]",
                "movups xmm1, [rsp + 16]",
                "movups xmm2, [rsp + 32]",
                "movups xmm3, [rsp + 48]",
                "movups xmm4, [rsp + 64]",
                "movups xmm5, [rsp + 80]",
                "movups xmm6, [rsp + 96]",
                "movups xmm7, [rsp + 112]",
                "movups xmm8, [rsp + 128]",
                "movups xmm9, [rsp + 144]",
                "movups xmm10, [rsp + 160]",
                "movups xmm11, [rsp + 176]",
                "movups xmm12, [rsp + 192]",
                "movups xmm13, [rsp + 208]",
                "movups xmm14, [rsp + 224]",
                "movups xmm15, [rsp + 240]",
                "lea rsp, [rbp - 72]",
                "pop r11",
                "pop r10",
                "pop r9",
                "pop r8",
                "pop rdi",
                "pop rsi",
                "pop rdx",
                "pop rcx",
                "pop rax",
                "pop rbp",
                "ret",
                f = sym $function,
            )
        }
    };
}
pub(crate) use keeping_registers;

fn mxcsr() -> u32 {
    let mut value = 0u32;
    // SAFETY: stores four bytes.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
    value
}
fn set_mxcsr(value: u32) {
    // SAFETY: the value is one that the host has, with all exceptions masked.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) };
}
/// MXCSR as Rust code expects it.
const OWN_MXCSR: u32 = 0x1f80;
/// The six masks.
const MASKS: u32 = 0x1f80;

/// The host computes as the guest's MXCSR says, if it can. The answer is what the word about vectors is to say.
pub(crate) fn begin_floats(guest: u32) -> u64 {
    if guest & MASKS != MASKS || guest & !0xffff != 0 {
        return 0;
    }
    set_mxcsr(guest);
    super::ALL_VECTORS
}
/// The host computes for itself again; the guest's MXCSR gets what has collected.
pub(crate) fn end_floats(guest: &mut u32) {
    *guest = mxcsr();
    set_mxcsr(OWN_MXCSR);
}

/// Makes code that was written at `_written` what is executed at `_executed`: caches of code see every store here.
pub(crate) fn publish(_written: *const u8, _executed: *const u8, _bytes: usize) {}
/// The processor that calls this has not begun with code that was published before.
pub(crate) fn fetch_anew() {}
