//! Every ROM on every engine.

use beigebox::host::net::{UserConfig, UserNetwork};
use beigebox::{EngineKind, Machine, MemoryStorage, NetworkCard, NetworkSlot, Stop};

/// More guest time than any ROM needs.
const LIMIT: u64 = 20_000_000_000;

fn run(rom: &test_roms::Rom, engine: EngineKind) -> (Stop, String) {
    let mut builder = Machine::builder().bios(rom.image.to_vec()).memory(64 << 20).engine(engine);
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
    (stop, text)
}

#[test]
fn all_pass_on_the_interpreter() {
    let mut bad = Vec::new();
    for rom in test_roms::all() {
        let (stop, text) = run(rom, EngineKind::Interpreter);
        let wanted = if rom.powers_off { Stop::PowerOff } else { Stop::Exit(test_roms::SUCCESS) };
        if stop != wanted || !text.lines().any(|line| line.starts_with(rom.expect)) {
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
