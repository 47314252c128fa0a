//! The command `beigebox`.

mod console;
mod drives;
mod image;
mod options;
mod run;
mod screens;
mod script;
mod sink;
mod sound;
mod terminal;
mod values;

use clap::Parser;
use std::process::ExitCode;

/// Exit codes that are not the guest's own; all even, as a guest's verdict is always odd.
mod code {
    pub(crate) const PASS: u8 = 0;
    pub(crate) const EXPECTATION: u8 = 4;
    pub(crate) const TRIPLE_FAULT: u8 = 8;
    pub(crate) const HANG: u8 = 10;
    pub(crate) const MISSING: u8 = 66;
    pub(crate) const INTERNAL: u8 = 70;
    pub(crate) const IO: u8 = 74;
    pub(crate) const CONFIGURATION: u8 = 78;
    pub(crate) const TIME_OUT: u8 = 124;
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
    let options = options::Options::parse();
    // A bug in the emulator must not look like a verdict of the guest.
    let result = std::panic::catch_unwind(|| match options.command {
        Some(options::Command::Run(run)) => run::run(*run),
        Some(options::Command::Image(command)) => image::run(*command),
        None => run::run(options.run),
    });
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
