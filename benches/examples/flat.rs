//! Runs the guest of `--bin arm64`, and prints its lines and the number of instructions until each of them.
//!
//! ```text
//! flat interpreter|jit KERNEL COMMAND-LINE
//! ```

use beigebox::loader::Payload;
use beigebox::{EngineKind, Machine, Stop};
use std::error::Error;
use std::io::Write as _;
use std::{env, fs, io};

/// Guest time that nothing here takes, in nanoseconds.
const LONG: u64 = 1 << 50;
/// The port at which the guest waits, so to speak, until its line is printed.
const PAUSE: u16 = 0xf5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [engine, kernel, command_line] = &arguments[..] else {
        return Err("usage: flat interpreter|jit KERNEL COMMAND-LINE".into());
    };
    let engine = match engine.as_str() {
        "interpreter" => EngineKind::Interpreter,
        "jit" => EngineKind::Jit,
        other => return Err(format!("no engine `{other}`: interpreter or jit").into()),
    };
    let payload = Payload { kernel: fs::read(kernel)?, command_line: command_line.clone(), ..Payload::default() };
    let mut machine =
        Machine::builder().memory(64 << 20).engine(engine).debug_exit(Some(PAUSE)).direct_boot(payload).build()?;
    let stop = loop {
        let stop = machine.run_for(LONG);
        let line = machine.debug_output();
        // One write for each line, so that it is known what had run until then.
        let text = format!("{}@@I {}\n", String::from_utf8_lossy(&line), machine.counters().instructions);
        io::stdout().write_all(text.as_bytes())?;
        if line == b"@@DONE\n" || !matches!(stop, Stop::Exit(_)) {
            break stop;
        }
    };
    eprint!("{stop:?}\n{}", machine.engine_statistics());
    Ok(())
}
