//! Fuzz targets for the whole machine.
//!
//! With cargo-fuzz: `cargo fuzz run -s none TARGET` in `machine`. Without:
//! `cargo run --release --example fuzz -- TARGET|all SECONDS [SEED]` in `machine/fuzz`.

#[path = "../../../devices/fuzz/src/driver.rs"]
pub mod driver;
pub mod images;
pub mod targets;

#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// The target called `name`.
pub fn run(name: &str, data: &[u8]) {
    for target in targets::TARGETS.iter().filter(|target| target.name == name) {
        (target.run)(data);
    }
}

/// Makes a program for cargo-fuzz of the target called `$name`.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::run($name, data));

        #[cfg(not(fuzzing))]
        fn main() {
            eprintln!("to be built by cargo-fuzz; without it: cargo run --release --example fuzz -- {} 60", $name);
            std::process::exit(2);
        }
    };
}
