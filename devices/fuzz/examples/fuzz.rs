//! Runs fuzz targets on random bytes: `fuzz TARGET|all SECONDS [SEED]`.

fn main() {
    devices_fuzz::driver::main(devices_fuzz::targets::TARGETS);
}
