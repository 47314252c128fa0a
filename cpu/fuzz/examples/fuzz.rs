//! Runs fuzz targets on random bytes: `fuzz TARGET|all SECONDS [SEED]`.

fn main() {
    cpu_fuzz::driver::main(cpu_fuzz::targets::TARGETS);
}
