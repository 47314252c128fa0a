//! Boots a kernel and prints its serial port, and the number of instructions until then after each text with a
//! marker (`@@`) in it: what `--bin arm64` counts the host's instructions of.
//!
//! ```text
//! serial interpreter|jit KERNEL INITRD COMMAND-LINE [SNAPSHOT]
//! ```
//!
//! SNAPSHOT is where the machine's state is written when the guest has printed `BOOTED`; if it is there already, the
//! machine begins with it, and the command line in it.

use beigebox::loader::Payload;
use beigebox::{EngineKind, Machine, Stop};
use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::{env, fs, io};

/// Guest time that nothing here takes, in nanoseconds.
const LONG: u64 = 1 << 50;
/// How many instructions late a marker may be.
const SLICE: u64 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [engine, kernel, initrd, command_line, snapshot @ ..] = &arguments[..] else {
        return Err("usage: serial interpreter|jit KERNEL INITRD COMMAND-LINE [SNAPSHOT]".into());
    };
    let engine = match engine.as_str() {
        "interpreter" => EngineKind::Interpreter,
        "jit" => EngineKind::Jit,
        other => return Err(format!("no engine `{other}`: interpreter or jit").into()),
    };
    let payload = Payload {
        kernel: fs::read(kernel)?,
        initrd: Some(fs::read(initrd)?),
        command_line: command_line.clone(),
        ..Payload::default()
    };
    let mut machine = Machine::builder().memory(256 << 20).engine(engine).direct_boot(payload).build()?;
    let mut wanted = snapshot.first().map(Path::new);
    if let Some(file) = wanted.filter(|file| file.is_file()) {
        machine.restore(&fs::read(file)?)?;
        wanted = None;
    }
    let (mut line, mut stop) = (Vec::new(), Stop::Done);
    let mut is_booted = false;
    while matches!(stop, Stop::Done | Stop::Instructions) {
        if is_booted
            && line.is_empty()
            && let Some(file) = wanted.take()
        {
            fs::write(file, machine.save())?;
        }
        stop = machine.run_limited(LONG, SLICE);
        for byte in machine.serial_output(0) {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let mut text = String::from_utf8_lossy(&line).into_owned();
            if text.starts_with("@@") {
                text = format!("{}\n@@I {}", text.trim_end(), machine.counters().instructions);
            }
            // One write for each line, so that it is known what had run until then.
            io::stdout().write_all((text + "\n").as_bytes())?;
            is_booted |= line.trim_ascii() == b"BOOTED";
            line.clear();
        }
    }
    eprint!("{stop:?}\n{}", machine.engine_statistics());
    Ok(())
}
