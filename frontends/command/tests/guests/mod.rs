//! Boots of guest images with the built command: what the boot tests share.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which system and video BIOS a machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// The built-in ones.
    Own,
    /// SeaBIOS and its VGA BIOS.
    SeaBios,
}

/// A guest image's path, or `None` where the tests are told that there are none.
///
/// # Panics
/// The image is missing.
pub fn guest(name: &str) -> Option<PathBuf> {
    if std::env::var_os("BEIGEBOX_WITHOUT_GUESTS").is_some_and(|value| !value.is_empty()) {
        println!("{name}: not tested: BEIGEBOX_WITHOUT_GUESTS is set");
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("BEIGEBOX_GUESTS").map_or_else(|| root.join(".guests"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run scripts/setup", path.display());
    Some(path)
}

/// A machine to boot. Limits in guest time decide, the wall limit only ends what went wrong.
pub struct Boot {
    arguments: Vec<OsString>,
    missing: bool,
}

/// How a boot ended.
pub struct Outcome {
    /// The command's exit code.
    pub code: i32,
    /// What the guest wrote to the first serial port.
    pub serial: String,
    /// The text screen at the end.
    pub screen: String,
    /// Messages and numbers.
    pub messages: String,
}

impl Boot {
    pub fn new(firmware: Firmware) -> Self {
        Self::with_display(firmware, "std", "seabios/vgabios-stdvga.bin")
    }
    /// A machine whose display adapter is on the ISA bus.
    pub fn with_isa_display(firmware: Firmware) -> Self {
        Self::with_display(firmware, "isa", "seabios/vgabios-isavga.bin")
    }
    fn with_display(firmware: Firmware, display: &str, seabios: &str) -> Self {
        let mut boot = Self { arguments: vec!["run".into()], missing: false };
        boot.add(&["--display", "none", "--serial", "stdio", "--clock", "instructions", "--snapshot", "--stats"]);
        boot.add(&["--wall-limit", "600s", "--vga", display]);
        // The same guests are run on each engine.
        let engine = std::env::var("BEIGEBOX_TEST_ENGINE").unwrap_or_else(|_| "interpreter".into());
        boot.add(&["--engine", &engine]);
        if firmware == Firmware::SeaBios {
            boot = boot.image("--bios", "seabios/bios-256k.bin");
            boot = boot.image("--video-bios", seabios);
        }
        boot
    }
    fn add(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(OsString::from));
    }
    /// An option with a guest image.
    pub fn image(mut self, option: &str, name: &str) -> Self {
        match guest(name) {
            Some(path) => self.arguments.extend([option.into(), path.into()]),
            None => self.missing = true,
        }
        self
    }
    /// Any other options.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.add(arguments);
        self
    }
    /// Once `text` has appeared, `keys` are typed.
    pub fn on(self, text: &str, keys: &str) -> Self {
        let rule = format!("{text}=>{keys}");
        self.with(&["--on-text", &rule])
    }
    /// The text that must appear in the end, and the guest time that it may take.
    pub fn until(self, text: &str, limit: &str) -> Self {
        self.with(&["--exit-on-text", text, "--time-limit", limit])
    }
    /// Runs to the end; `None` without guest images.
    pub fn run(mut self) -> Option<Outcome> {
        if self.missing {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let screen = folder.path().join("screen");
        self.arguments.extend(["--screen-text".into(), screen.clone().into()]);
        let output =
            Command::new(env!("CARGO_BIN_EXE_beigebox")).args(&self.arguments).stdin(Stdio::null()).output().unwrap();
        Some(Outcome {
            code: output.status.code().unwrap_or(-1),
            serial: String::from_utf8_lossy(&output.stdout).into_owned(),
            screen: std::fs::read_to_string(&screen).unwrap_or_default(),
            messages: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
    /// Runs and expects exit code 0; `None` without guest images.
    ///
    /// # Panics
    /// Any other exit code.
    pub fn passes(self) -> Option<Outcome> {
        let outcome = self.run()?;
        assert_eq!(outcome.code, 0, "{}", outcome.report());
        Some(outcome)
    }
}

impl Outcome {
    /// Everything that is known, for a failing test.
    pub fn report(&self) -> String {
        let lines: Vec<&str> = self.screen.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let tail = self.serial.len().saturating_sub(4_000);
        let tail = (tail..).find(|at| self.serial.is_char_boundary(*at)).unwrap_or(0);
        format!(
            "exit code {}\n--- screen\n{}\n--- end of serial\n{}\n--- messages\n{}",
            self.code,
            lines.join("\n"),
            &self.serial[tail..],
            self.messages
        )
    }
    /// The state hash that `--stats` prints.
    pub fn state_hash(&self) -> &str {
        self.messages.lines().find_map(|line| line.strip_prefix("state hash: ")).expect("--stats prints a hash")
    }
}

/// Tests of both firmwares from one function.
#[macro_export]
macro_rules! under_both_firmwares {
    ($($name:ident),* $(,)?) => {
        mod own_bios {
            $(#[test] fn $name() { super::$name(super::guests::Firmware::Own); })*
        }
        mod seabios {
            $(#[test] fn $name() { super::$name(super::guests::Firmware::SeaBios); })*
        }
    };
}
