//! `beigebox cargo-runner`: what Cargo calls for a kernel, its tests and its boot images.
//!
//! ```toml
//! # .cargo/config.toml
//! [target.'cfg(target_os = "none")']
//! runner = "beigebox cargo-runner"
//! ```

use crate::settings::{self, Origin, Setting, Value};
use crate::{Failure, code, run};
use clap::Args;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Runs what Cargo built and gives its verdict as exit code: 0 when the guest reports success.
///
/// Defaults are bootimage's: exit port F4h, success is exit code 33 (a write of 10h), no reboot,
/// at most 300 seconds. A kernel that is in no file that can be booted wants a boot image beside it.
#[derive(Args, Debug)]
pub(crate) struct CargoRunner {
    /// The guest's exit code that means success.
    #[arg(long, value_name = "CODE", default_value_t = 33)]
    success_code: u8,
    /// Seconds of real time after which a run has failed.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Machine file (TOML) with more settings.
    #[arg(long, value_name = "FILE")]
    machine: Option<PathBuf>,
    /// More options of `beigebox run`, one a time: `--set memory=256M`, `--set display=terminal`.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The kernel or boot image.
    #[arg(value_name = "FILE")]
    kernel: PathBuf,
    /// What Cargo passes on to the program: becomes the kernel's command line.
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// The name of an option and its value.
fn setting(text: &str) -> Result<Setting, Failure> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let Some(known) = settings::find(name) else {
        return Err(settings::unknown_word("option", name, settings::known().iter().map(|known| known.name)));
    };
    let value = match value {
        "" | "true" if known.is_switch => Value::On,
        "false" if known.is_switch => Value::Off,
        _ => Value::Text(value.into()),
    };
    Ok(Setting { name: known.name, value, origin: Origin::CommandLine })
}

/// What can be booted for a kernel: itself, or the boot image that bootimage puts beside it.
fn bootable(kernel: &Path) -> Result<PathBuf, Failure> {
    let name = kernel.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = kernel.with_file_name(format!("bootimage-{name}.bin"));
    let is_newer = || {
        let time = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        time(&beside) >= time(kernel)
    };
    Ok(if beside.is_file() && is_newer() { beside } else { kernel.to_owned() })
}

/// Runs it. Returns the exit code.
pub(crate) fn runner(options: &CargoRunner) -> Result<u8, Failure> {
    let kind = || Origin::Kind("cargo-runner");
    let mut all = vec![
        Setting::new("memory", "128M", kind()),
        Setting::new("clock", "instructions", kind()),
        Setting::new("display", "none", kind()),
        Setting::new("serial", "stdio", kind()),
        Setting::on("no-reboot", kind()),
        Setting::on("snapshot", kind()),
        Setting::new("success-code", options.success_code.to_string(), kind()),
        Setting::new("wall-limit", format!("{}s", options.timeout), kind()),
    ];
    if let Some(path) = &options.machine {
        all.extend(settings::machine_file(path)?);
    }
    for text in &options.set {
        all.push(setting(text)?);
    }
    let mut all = settings::layers(all)?;
    all.push(Setting::new("image", bootable(&options.kernel)?, kind()));
    let mut resolved = settings::resolve(&all)?;
    run::recognise(&mut resolved)?;
    if resolved.kernel.is_some() && resolved.append.is_none() && !options.arguments.is_empty() {
        let words: Vec<_> = options.arguments.iter().map(|word| word.to_string_lossy()).collect();
        resolved.append = Some(words.join(" "));
    }
    let name = options.kernel.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let result = run::run(resolved)?;
    match result {
        code::PASS => {}
        code if code % 2 == 1 => eprintln!("beigebox: {name} failed: the guest ended with exit code {code}"),
        code => eprintln!("beigebox: {name} failed with code {code}"),
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_command_line() {
        assert_eq!(setting("memory=1M").unwrap().value, Value::Text("1M".into()));
        assert_eq!(setting("snapshot=false").unwrap().value, Value::Off);
        assert!(setting("memroy=1M").unwrap_err().text.contains("`memory`"));
    }

    #[test]
    fn a_boot_image_beside_the_kernel_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("os");
        std::fs::write(&kernel, "x").unwrap();
        assert_eq!(bootable(&kernel).unwrap(), kernel);
        let image = folder.path().join("bootimage-os.bin");
        std::fs::write(&image, "x").unwrap();
        assert_eq!(bootable(&kernel).unwrap(), image);
    }
}
