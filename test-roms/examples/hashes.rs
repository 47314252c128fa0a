//! Prints what must be the same on every host and engine: the state hash of each test ROM at its end, and of a
//! kernel at several moments of its boot.
//!
//! ```sh
//! cargo run --release -p beigebox-test-roms --example hashes -- interpreter
//! cargo run --release -p beigebox-test-roms --example hashes -- jit KERNEL INITRD MILLIONS...
//! ```
//!
//! The numbers count millions of instructions. What the kernel prints goes to standard error.

use beigebox::loader::Payload;
use beigebox::{EngineKind, JitSettings, Machine, MemoryStorage, Stop};
use std::error::Error;
use std::io::Write as _;
use std::time::Instant;
use std::{env, fs, io};

/// Guest time that neither a ROM nor a boot takes.
const LONG: u64 = 1 << 40;

fn roms(engine: EngineKind) -> Result<(), Box<dyn Error>> {
    for rom in test_roms::all() {
        let mut builder = Machine::builder().bios(rom.image.to_vec()).memory(64 << 20).engine(engine);
        // ROMs are short: what runs a few times is translated.
        builder = builder.jit(JitSettings { threshold: Some(100), ..JitSettings::default() });
        if rom.name == "devices/ide" {
            builder = builder.disk(Box::new(MemoryStorage::new(test_roms::demo())));
        }
        let mut machine = builder.reset_on_triple_fault(rom.resets).build()?;
        let start = Instant::now();
        let stop = machine.run_for(20_000_000_000);
        eprintln!("{} took {:.2} s", rom.name, start.elapsed().as_secs_f64());
        println!("{} {stop:?} {} {:032x}", rom.name, machine.counters().instructions, machine.state_hash());
    }
    Ok(())
}

fn boot(engine: EngineKind, kernel: &str, initrd: &str, millions: &[String]) -> Result<(), Box<dyn Error>> {
    let payload = Payload {
        kernel: fs::read(kernel)?,
        initrd: Some(fs::read(initrd)?),
        command_line: "console=ttyS0,115200 cryptomgr.notests".into(),
        ..Payload::default()
    };
    let mut machine = Machine::builder().memory(128 << 20).engine(engine).direct_boot(payload).build()?;
    let mut done = 0;
    for number in millions {
        let moment = number.parse::<u64>()? * 1_000_000;
        let start = Instant::now();
        let mut stop = Stop::Done;
        // In slices, because the serial port keeps a bounded amount of text.
        while done < moment {
            stop = machine.run_limited(LONG, (moment - done).min(50_000_000));
            io::stderr().write_all(&machine.serial_output(0))?;
            done = machine.counters().instructions;
            if !matches!(stop, Stop::Done | Stop::Instructions) {
                break;
            }
        }
        eprintln!("\n{number} million: {:.1} s", start.elapsed().as_secs_f64());
        println!("boot {stop:?} {done} {:032x}", machine.state_hash());
    }
    eprint!("{}", machine.engine_statistics());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (engine, rest) = match arguments.split_first() {
        Some((name, rest)) if name == "interpreter" => (EngineKind::Interpreter, rest),
        Some((name, rest)) if name == "jit" => (EngineKind::Jit, rest),
        _ => return Err("usage: hashes interpreter|jit [KERNEL INITRD MILLIONS...]".into()),
    };
    match rest {
        [] => roms(engine),
        [kernel, initrd, millions @ ..] => boot(engine, kernel, initrd, millions),
        _ => Err("an initramfs and numbers belong to a kernel".into()),
    }
}
