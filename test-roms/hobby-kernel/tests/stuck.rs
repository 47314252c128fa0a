//! Loads an empty interrupt table and divides by zero, on purpose: a triple fault.

#![no_std]
#![no_main]

use core::arch::asm;
use hobby_kernel as _;

#[no_mangle]
extern "C" fn kernel_main() -> ! {
    let table = [0u16; 3];
    // SAFETY: there is nothing that would still want its interrupts.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) table.as_ptr(), options(noreturn)) }
}
