//! Tests that pass.

#![no_std]
#![no_main]

use hobby_kernel::{inb, outb, run};

fn arithmetic() {
    let numbers = [3u64, 5, 7];
    assert_eq!(numbers.iter().product::<u64>(), 105);
    assert_eq!(core::hint::black_box(1.5f32) * 2.0, 3.0);
}

fn memory_keeps_what_is_written() {
    let place = 0x20_0000 as *mut u32;
    // SAFETY: RAM above the kernel, which nobody uses.
    unsafe {
        place.write_volatile(0xdead_beef);
        assert_eq!(place.read_volatile(), 0xdead_beef);
    }
}

fn the_clock_chip_answers() {
    outb(0x70, 0x0d);
    assert_eq!(inb(0x71) & 0x80, 0x80, "the battery is good");
}

#[no_mangle]
extern "C" fn kernel_main() -> ! {
    run(&[
        ("arithmetic", arithmetic),
        ("memory_keeps_what_is_written", memory_keeps_what_is_written),
        ("the_clock_chip_answers", the_clock_chip_answers),
    ])
}
