//! Runs fuzz targets on random bytes: `fuzz TARGET|all SECONDS [SEED]`.

fn main() {
    machine_fuzz::driver::main(machine_fuzz::targets::TARGETS);
}
