//! The kernel: says hello on the serial line and on the screen.

#![no_std]
#![no_main]

use hobby_kernel::{exit, println, Verdict};

/// Called by the entry point.
#[no_mangle]
pub extern "C" fn kernel_main() -> ! {
    println!("hello from a kernel in Rust");
    let screen = 0xb8000 as *mut u16;
    for (at, byte) in b"hello from a kernel in Rust".iter().enumerate() {
        // SAFETY: the text screen of a PC.
        unsafe { screen.add(at).write_volatile(0x0f00 | u16::from(*byte)) };
    }
    exit(Verdict::Success)
}
