//! The second test fails, on purpose.

#![no_std]
#![no_main]

use hobby_kernel::run;

fn fine() {
    assert_eq!(1 + 1, 2);
}

fn wrong() {
    assert_eq!(core::hint::black_box(2) + 2, 5, "arithmetic is off");
}

#[no_mangle]
extern "C" fn kernel_main() -> ! {
    run(&[("fine", fine), ("wrong", wrong)])
}
