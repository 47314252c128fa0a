//! Every ROM on every engine.

use beigebox::host::net::{UserConfig, UserNetwork};
use beigebox::{EngineKind, JitSettings, Machine, MemoryStorage, NetworkCard, NetworkSlot, Stop};

/// More guest time than any ROM needs.
const LIMIT: u64 = 20_000_000_000;

/// How it stopped, what it said, and the state that it left.
fn run(rom: &test_roms::Rom, engine: EngineKind, threshold: Option<u32>) -> (Stop, String, u128) {
    let mut builder = Machine::builder().bios(rom.image.to_vec()).memory(64 << 20).engine(engine);
    builder = builder.jit(JitSettings { threshold, ..JitSettings::default() });
    let demo = || Box::new(MemoryStorage::new(test_roms::demo()));
    match rom.name {
        "devices/ide" => builder = builder.disk(demo()),
        "devices/diskette" => builder = builder.floppy(0, Some(demo())),
        "devices/atapi" => builder = builder.cdrom(Some(demo())),
        "devices/ne2000" => {
            let cable = UserNetwork::new(UserConfig { isolated: true, ..UserConfig::default() }).expect("no folder");
            let slot = NetworkSlot::Isa { irq: 10 };
            let address = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
            builder = builder.network(NetworkCard { slot, address, cable: Box::new(cable) });
        }
        _ => {}
    }
    let mut machine = builder.reset_on_triple_fault(rom.resets).build().expect("the image is a BIOS");
    let mut text = String::new();
    let mut stop = machine.run_until(LIMIT, |machine| {
        text.push_str(&String::from_utf8_lossy(&machine.debug_output()));
        text.contains(": change the disc\n")
    });
    if stop == Stop::Done {
        machine.change_cdrom(Some(demo()));
        stop = machine.run_for(LIMIT);
    }
    text.push_str(&String::from_utf8_lossy(&machine.debug_output()));
    (stop, text, machine.state_hash())
}

#[test]
fn all_pass_on_the_interpreter() {
    let mut bad = Vec::new();
    for rom in test_roms::all() {
        let (stop, text, _) = run(rom, EngineKind::Interpreter, None);
        let wanted = if rom.powers_off { Stop::PowerOff } else { Stop::Exit(test_roms::SUCCESS) };
        if stop != wanted || !text.lines().any(|line| line.starts_with(rom.expect)) {
            bad.push(format!("{}: {stop:?}\n{text}", rom.name));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Where there is no translator, the interpreter stands in for it.
fn all_are_the_same_on_the_translator(threshold: u32) {
    let different: Vec<String> = test_roms::all()
        .iter()
        .filter_map(|rom| {
            let wanted = run(rom, EngineKind::Interpreter, None);
            let got = run(rom, EngineKind::Jit, Some(threshold));
            (got != wanted).then(|| format!("{}: {wanted:x?} and {got:x?}", rom.name))
        })
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn all_are_the_same_with_all_code_translated() {
    all_are_the_same_on_the_translator(1);
}

#[test]
fn all_are_the_same_with_hot_code_translated() {
    all_are_the_same_on_the_translator(100);
}

#[test]
fn a_run_is_repeatable() {
    let rom = &test_roms::all()[0];
    assert_eq!(run(rom, EngineKind::Interpreter, None), run(rom, EngineKind::Interpreter, None));
}
