//! Runs fuzz targets on random bytes: `fuzz TARGET|all SECONDS [SEED]`.

fn main() {
    vnc_fuzz::driver::main(vnc_fuzz::targets::TARGETS);
}
