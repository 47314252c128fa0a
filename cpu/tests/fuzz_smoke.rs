//! Each fuzz target for a moment, with inputs that are always the same.

#![allow(unsafe_code, reason = "the host's x87 is reached through inline assembly")]

#[path = "../../devices/fuzz/src/driver.rs"]
mod driver;
#[path = "../fuzz/src/targets.rs"]
mod targets;
#[path = "../fuzz/src/x87.rs"]
mod x87;

#[test]
fn every_target_takes_random_bytes() {
    for target in targets::TARGETS {
        assert!(driver::storm(target, 1, std::time::Duration::from_secs(2), 60) > 0);
    }
}
