//! Every ROM on every engine.

use beigebox::{EngineKind, Machine, MemoryStorage, Stop};

/// More guest time than any ROM needs.
const LIMIT: u64 = 20_000_000_000;

fn run(rom: &test_roms::Rom, engine: EngineKind) -> (Stop, String) {
    let mut builder = Machine::builder().bios(rom.image.to_vec()).memory(64 << 20).engine(engine);
    if rom.name == "devices/ide" {
        builder = builder.disk(Box::new(MemoryStorage::new(test_roms::demo())));
    }
    let mut machine = builder.reset_on_triple_fault(rom.resets).build().expect("the image is a BIOS");
    let stop = machine.run_for(LIMIT);
    (stop, String::from_utf8_lossy(&machine.debug_output()).into_owned())
}

#[test]
fn all_pass_on_the_interpreter() {
    let mut bad = Vec::new();
    for rom in test_roms::all() {
        let (stop, text) = run(rom, EngineKind::Interpreter);
        if stop != Stop::Exit(test_roms::SUCCESS) || !text.lines().any(|line| line.starts_with(rom.expect)) {
            bad.push(format!("{}: {stop:?}\n{text}", rom.name));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn a_run_is_repeatable() {
    let rom = &test_roms::all()[0];
    assert_eq!(run(rom, EngineKind::Interpreter), run(rom, EngineKind::Interpreter));
}
