//! A kernel's first steps: a serial line to print on, tests that run in the machine, and a way to
//! tell their verdict.
//!
//! `cargo run` boots the kernel and `cargo test` its tests, each a program of its own, by
//! `beigebox cargo-runner`. A write of 10h to port F4h is success, 11h is failure.

#![no_std]

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};

// The multiboot header; the entry point sets up a stack, lets SSE instructions work (the compiler
// uses them on this target) and calls `kernel_main`.
global_asm!(
    r#"
    .section .multiboot, "a"
    .align 4
    .long 0x1badb002, 0, -0x1badb002

    .section .bss
    .align 16
stack:
    .skip 65536
stack_top:

    .section .text
    .global _start
_start:
    mov esp, offset stack_top
    mov eax, cr0
    and eax, ~4
    or eax, 2
    mov cr0, eax
    mov eax, cr4
    or eax, 0x600
    mov cr4, eax
    call kernel_main
1:
    cli
    hlt
    jmp 1b
"#
);

/// Writes a byte to a port.
pub fn outb(port: u16, value: u8) {
    // SAFETY: the machine is all this program's; the ports used here change no memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads a byte from a port.
pub fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", out("al") value, in("dx") port, options(nomem, nostack, preserves_flags)) };
    value
}

/// The first serial port.
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while inb(0x3fd) & 0x20 == 0 {}
            outb(0x3f8, byte);
        }
        Ok(())
    }
}

/// Prints a line on the serial port.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        let _ = writeln!($crate::Serial, $($argument)*);
    }};
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// All is well.
    Success = 0x10,
    /// Something is not.
    Failure = 0x11,
}

/// Ends the run.
pub fn exit(verdict: Verdict) -> ! {
    outb(0xf4, verdict as u8);
    loop {
        // SAFETY: halting with interrupts off touches nothing.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// A test and its name.
pub type Test = (&'static str, fn());

/// Runs tests, one after the other, in the words of Rust's own test runner. A test fails by a panic,
/// which ends the run.
pub fn run(tests: &[Test]) -> ! {
    println!("running {} tests", tests.len());
    for (name, test) in tests {
        let _ = write!(Serial, "test {name} ... ");
        test();
        println!("ok");
    }
    println!("\ntest result: ok. {} passed; 0 failed", tests.len());
    exit(Verdict::Success)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("FAILED\n{info}");
    exit(Verdict::Failure)
}

// `core` calls these; without a C library the kernel brings them. Volatile, or the compiler would
// turn each into a call of itself.

/// # Safety
/// As C's.
#[no_mangle]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: the caller vouches for both areas.
        unsafe { to.add(at).write_volatile(from.add(at).read()) };
    }
    to
}

/// # Safety
/// As C's.
#[no_mangle]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize) <= from as usize {
        // SAFETY: the caller vouches for both areas; upwards reads nothing that was written.
        return unsafe { memcpy(to, from, count) };
    }
    for at in (0..count).rev() {
        // SAFETY: the same, downwards.
        unsafe { to.add(at).write_volatile(from.add(at).read()) };
    }
    to
}

/// # Safety
/// As C's.
#[no_mangle]
pub unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: the caller vouches for the area.
        unsafe { to.add(at).write_volatile(value as u8) };
    }
    to
}

/// # Safety
/// As C's.
#[no_mangle]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    for at in 0..count {
        // SAFETY: the caller vouches for both areas.
        let (a, b) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}
