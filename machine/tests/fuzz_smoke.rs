//! Each fuzz target for a moment, with inputs that are always the same.

#[path = "../../devices/fuzz/src/driver.rs"]
mod driver;
#[path = "../fuzz/src/images.rs"]
mod images;
#[path = "../fuzz/src/targets.rs"]
mod targets;

#[test]
fn every_target_takes_random_bytes() {
    for target in targets::TARGETS {
        assert!(driver::storm(target, 1, std::time::Duration::from_secs(2), 60) > 0);
    }
}
