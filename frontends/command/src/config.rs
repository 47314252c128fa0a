//! `beigebox config`: prints the machine that options, preset and machine file come to.

use crate::Failure;
use crate::options::Run;
use crate::presets::PRESETS;
use crate::settings::{self, Setting, Value};
use clap::Args;
use std::fmt::Write as _;
use std::io::Write as _;

/// Prints the machine that the options come to, as a machine file.
#[derive(Args, Debug)]
pub(crate) struct Config {
    /// Print every option, with its value, who set it, and what it does.
    #[arg(long)]
    explain: bool,
    /// Print the presets.
    #[arg(long)]
    presets: bool,
    #[command(flatten)]
    run: Box<Run>,
}

/// A value as TOML.
fn toml(text: &str) -> String {
    if text.contains('\'') || text.chars().any(char::is_control) {
        let mut quoted = String::from("\"");
        for character in text.chars() {
            match character {
                '"' | '\\' => {
                    quoted.push('\\');
                    quoted.push(character);
                }
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                c if c.is_control() => {
                    let _ = write!(quoted, "\\u{:04X}", u32::from(c));
                }
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        quoted
    } else {
        format!("'{text}'")
    }
}

fn value(setting: &Setting) -> String {
    match &setting.value {
        Value::On => "true".into(),
        Value::Off => "false".into(),
        Value::Text(text) => toml(&text.to_string_lossy()),
    }
}

/// The settings that are in force for one option.
fn in_force<'s>(all: &'s [Setting], known: &settings::Known) -> Vec<&'s Setting> {
    let mut kept: Vec<&Setting> = Vec::new();
    for setting in all.iter().filter(|setting| setting.name == known.name) {
        if !known.repeats || setting.value == Value::Off {
            kept.clear();
        }
        kept.push(setting);
    }
    kept
}

fn text(all: &[Setting], explain: bool) -> String {
    let mut out = String::new();
    let mut heading = "";
    for known in settings::known() {
        if ["preset"].contains(&known.name) {
            continue;
        }
        let kept = in_force(all, known);
        if !explain && kept.is_empty() {
            continue;
        }
        if explain && known.heading != heading {
            heading = known.heading;
            let _ = writeln!(out, "\n# --- {heading} ---");
        }
        if explain {
            let help: Vec<&str> = known.help.split_whitespace().collect();
            let _ = writeln!(out, "# {}", help.join(" "));
        }
        let line = if known.repeats && !kept.is_empty() {
            let values: Vec<String> = kept.iter().map(|setting| value(setting)).collect();
            format!("{} = [{}]", known.name, values.join(", "))
        } else if let Some(setting) = kept.first() {
            format!("{} = {}", known.name, value(setting))
        } else if let Some(default) = &known.default {
            format!("{} = {}", known.name, toml(default))
        } else if known.is_switch {
            format!("{} = false", known.name)
        } else {
            format!("# {} is not set", known.name)
        };
        let mut origins: Vec<String> = kept.iter().map(|setting| setting.origin.to_string()).collect();
        origins.dedup();
        match (explain, origins.is_empty()) {
            (true, true) if line.starts_with('#') => _ = writeln!(out, "{line}"),
            (true, true) => _ = writeln!(out, "{line}  # default"),
            (true, false) => _ = writeln!(out, "{line}  # {}", origins.join(", ")),
            (false, _) => _ = writeln!(out, "{line}"),
        }
    }
    out
}

/// Prints it. Returns the exit code.
pub(crate) fn config(options: &Config, given: Vec<Setting>) -> Result<u8, Failure> {
    let text = if options.presets {
        PRESETS.iter().map(|preset| format!("{:9} {}\n", preset.name, preset.about)).collect()
    } else {
        let all = settings::layers(given)?;
        settings::resolve(&all)?;
        text(&all, options.explain)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::file("standard output".as_ref(), "written", &error))
        }
        _ => Ok(crate::code::PASS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Origin;

    #[test]
    fn what_is_printed_can_be_read_again() {
        let given = vec![
            Setting::new("preset", "dos", Origin::CommandLine),
            Setting::new("disk", "/a'b.img", Origin::CommandLine),
            Setting::new("disk", "/c.img", Origin::CommandLine),
            Setting::new("memory", "8M", Origin::CommandLine),
        ];
        let all = settings::layers(given).unwrap();
        for explain in [false, true] {
            let printed = text(&all, explain);
            let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
            std::fs::write(file.path(), &printed).unwrap();
            let read = settings::resolve(&settings::machine_file(file.path()).unwrap()).unwrap();
            let wanted = settings::resolve(&all).unwrap();
            assert_eq!((read.memory, read.disk, read.cpu), (wanted.memory, wanted.disk, wanted.cpu), "{printed}");
        }
        let explained = text(&all, true);
        assert!(explained.contains("cpu = '486'  # preset dos"), "{explained}");
        assert!(explained.contains("memory = '8M'  # command line"), "{explained}");
    }
}
