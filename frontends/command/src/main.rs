//! The command `beigebox`.

mod config;
mod console;
mod doctor;
mod document;
mod drives;
mod image;
mod monitor;
mod net;
mod options;
mod presets;
mod qemu;
mod run;
mod runner;
mod screens;
mod script;
mod settings;
mod signals;
mod sink;
mod sound;
#[cfg(unix)]
mod terminal;
mod test;
#[cfg(unix)]
mod typed;
mod values;

use clap::{CommandFactory, FromArgMatches};
use options::{Command, Options, Run};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// Exit codes that are not the guest's own; all even, as a guest's verdict is always odd.
mod code {
    pub(crate) const PASS: u8 = 0;
    pub(crate) const EXPECTATION: u8 = 4;
    pub(crate) const PANIC: u8 = 6;
    pub(crate) const TRIPLE_FAULT: u8 = 8;
    pub(crate) const HANG: u8 = 10;
    pub(crate) const MISSING: u8 = 66;
    pub(crate) const INTERNAL: u8 = 70;
    pub(crate) const IO: u8 = 74;
    pub(crate) const CONFIGURATION: u8 = 78;
    pub(crate) const TIME_OUT: u8 = 124;
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// A sentence for the user and the code to end with.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }
    /// For a file that cannot be opened, read or written.
    fn file(path: &std::path::Path, doing: &str, error: &std::io::Error) -> Failure {
        let code = if error.kind() == std::io::ErrorKind::NotFound { code::MISSING } else { code::IO };
        Failure::new(code, format!("{}: cannot be {doing}: {error}", path.display()))
    }
}

fn main() -> ExitCode {
    // A bug in the emulator must not look like a verdict of the guest.
    let result = std::panic::catch_unwind(dispatch);
    console::restore();
    match result {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(failure)) => {
            eprintln!("beigebox: {}", failure.text);
            ExitCode::from(failure.code)
        }
        Err(_) => {
            eprintln!("beigebox: this is a bug in the emulator; please report it with the text above");
            ExitCode::from(code::INTERNAL)
        }
    }
}

/// Does what the command line says.
fn dispatch() -> Result<u8, Failure> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.first().is_some_and(|program| qemu::is_name(Path::new(program))) {
        return qemu::qemu(&arguments[1..]);
    }
    if arguments.get(1).is_some_and(|word| word == "qemu") {
        return qemu::qemu(&arguments[2..]);
    }
    let mut command = Options::command();
    let matches = command.clone().get_matches_from(&arguments);
    let options = Options::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = settings::from_matches(matches.subcommand().map_or(&matches, |(_, matches)| matches));
    let resolved = || settings::resolve(&settings::layers(given.clone())?);
    match options.command {
        Some(Command::Test(options)) => test::test(&options),
        Some(Command::Image(command)) => image::run(*command),
        Some(Command::CargoRunner(options)) => runner::runner(&options),
        Some(Command::Qemu { flags }) => qemu::qemu(&flags),
        Some(Command::Config(options)) => config::config(&options, given.clone()),
        Some(Command::Doctor) => Ok(doctor::doctor()),
        Some(Command::Completions { shell }) => {
            // Made first: the generator does not survive a closed pipe.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "beigebox", &mut script);
            let _ = std::io::stdout().write_all(&script);
            Ok(code::PASS)
        }
        Some(Command::Demo(options)) => match &options.write {
            Some(path) => std::fs::write(path, test_roms::demo())
                .map(|()| code::PASS)
                .map_err(|error| Failure::file(path, "written", &error)),
            None => run::run(Run { demo: true, ..resolved()? }),
        },
        Some(Command::Run(_)) => run::run(resolved()?),
        // Nothing at all is asked for: something to see, where it can be seen.
        None if arguments.len() == 1 && std::io::stdout().is_terminal() => run::run(Run { demo: true, ..resolved()? }),
        None if arguments.len() == 1 => {
            eprint!("{}", command.render_help());
            Ok(2)
        }
        None => run::run(resolved()?),
    }
}
