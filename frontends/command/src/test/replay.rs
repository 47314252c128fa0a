//! What runs a failed test again: a manifest with this test alone, and a script around it.

use super::case::{Case, Format, Pattern, Place, What};
use super::execute::complete;
use crate::settings::{self, Setting, Value};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The name of the manifest in a test's folder.
pub(super) const MANIFEST: &str = "test.toml";

/// The command that runs a test's machine by itself, to be looked at: without the limit of real time, and with the
/// clock of instructions that the test had.
pub(super) fn machine(case: &Case) -> String {
    let Ok(mut all) = complete(case) else { return String::new() };
    all.retain(|setting| setting.name != "wall-limit");
    format!("run --serial stdio --stats {}", settings::shell(&all))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => _ = write!(out, "\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn patterns(all: &[Pattern], expression: bool) -> Vec<String> {
    let element = |pattern: &Pattern| {
        let text = match &pattern.what {
            What::Text(text) if !expression => text.as_str(),
            What::Expression(regex) if expression => regex.as_str(),
            _ => return None,
        };
        let place = match pattern.place {
            Place::Any => "any",
            Place::Serial => "serial",
            Place::Debugcon => "debugcon",
            Place::Screen => "screen",
        };
        Some(format!("{{ text = {}, on = \"{place}\" }}", quoted(text)))
    };
    all.iter().filter_map(element).collect()
}

/// The test as a manifest of its own. Paths in it count from the folder in which the tests were run.
pub(super) fn manifest(case: &Case) -> String {
    let mut out = format!("[[test]]\nname = {}\n", quoted(&case.name));
    let mut line = |key: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{key} = {value}");
    };
    let names: BTreeSet<&str> = case.settings.iter().map(|Setting { name, .. }| *name).collect();
    for name in names {
        let same: Vec<&Value> =
            case.settings.iter().filter(|other| other.name == name).map(|other| &other.value).collect();
        let texts: Vec<String> = same
            .iter()
            .filter_map(|value| match value {
                Value::Text(text) => Some(quoted(&text.to_string_lossy())),
                _ => None,
            })
            .collect();
        match (same.last(), texts.last()) {
            (Some(Value::On), _) => line(name, "true".into()),
            (Some(Value::Off), _) => line(name, "false".into()),
            _ if settings::find(name).is_some_and(|known| known.repeats) => {
                line(name, format!("[{}]", texts.join(", ")));
            }
            (_, Some(text)) => line(name, text.clone()),
            _ => {}
        }
    }
    let expected = &case.expected;
    for (key, all, expression) in [
        ("expect", &expected.expect, false),
        ("expect-regex", &expected.expect, true),
        ("reject", &expected.reject, false),
        ("reject-regex", &expected.reject, true),
    ] {
        let all = patterns(all, expression);
        if !all.is_empty() {
            line(key, format!("[{}]", all.join(", ")));
        }
    }
    if let Some(golden) = &expected.picture {
        line("picture", quoted(&golden.path.to_string_lossy()));
        line("tolerance", golden.tolerance.to_string());
        line("different-pixels", format!("{:?}", golden.pixels));
    }
    if let Some(mailbox) = expected.mailbox {
        let fail = mailbox.fail.map(|fail| format!(", fail = {fail:#x}")).unwrap_or_default();
        line("mailbox", format!("{{ address = {:#x}, pass = {:#x}{fail} }}", mailbox.address, mailbox.pass));
    }
    if let Some(ends) = expected.ends {
        line("ends", quoted(ends.name()));
    }
    if let Some(hash) = expected.state_hash {
        line("state-hash", quoted(&format!("{hash:032x}")));
    }
    let format = match expected.guest_tests {
        Format::Auto => "auto",
        Format::Tap => "tap",
        Format::Ktap => "ktap",
        Format::Libtest => "libtest",
        Format::Off => "off",
    };
    line("guest-tests", quoted(format));
    out
}

/// The script that replays a test which is kept in `own`; it can be started anywhere on this host. `BEIGEBOX` may
/// name another program.
pub(super) fn script(case: &Case, own: &Path) -> String {
    let quoted = |path: std::io::Result<PathBuf>, other: &Path| {
        let path = path.unwrap_or_else(|_| other.to_owned());
        format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
    };
    let folder = quoted(std::env::current_dir(), ".".as_ref());
    let program = quoted(std::env::current_exe(), "beigebox".as_ref());
    let absolute = |name: &str| quoted(std::path::absolute(own.join(name)), &own.join(name));
    let (manifest, again) = (absolute(MANIFEST), absolute("again"));
    let machine = machine(case);
    format!(
        "#!/bin/sh\n\
         # Runs this test again, with all that it expects; `replay.sh look` only runs its machine, to be looked at.\n\
         cd {folder} || exit\n\
         program={program}\n\
         if [ \"$1\" = look ]; then\n    \
             shift\n    \
             exec \"${{BEIGEBOX:-$program}}\" {machine}\n\
         fi\n\
         exec \"${{BEIGEBOX:-$program}}\" test --manifest {manifest} --images . --artifacts {again} \"$@\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::case;
    use super::*;

    /// What a kept manifest says is what the first one said.
    #[test]
    fn a_kept_test_expects_what_the_test_expected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suite.toml");
        let text = r#"
[defaults]
memory = "32M"
reject = "panic"
[[test]]
name = "a \"b\"	c"
bios = "x.bin"
memory = "8M"
disk = ["a.img", "file=b,,c.img,format=raw"]
on-text = ["ok=>disc:d.iso", "picture:p.png~3=>serial:y\n", "z=><enter>"]
no-reboot = false
snapshot = true
expect = ["one", { text = "two\\", on = "screen" }]
expect-regex = "a+b$"
reject-regex = { text = "(?i)oops", on = "serial" }
picture = "g.png"
tolerance = 7
different-pixels = 1.5
mailbox = { address = 0x500, pass = 1, fail = 2 }
ends = "power-off"
state-hash = "00000000000000000000000000000abc"
guest-tests = "tap"
"#;
        std::fs::write(&path, text).unwrap();
        let first = case::read(&path, None).unwrap();
        let again = folder.path().join("again.toml");
        let written = manifest(&first[0]);
        std::fs::write(&again, &written).unwrap();
        let second = case::read(&again, Some("/elsewhere".as_ref())).unwrap();
        assert_eq!(manifest(&second[0]), written);
        let said = |case: &Case| {
            let machine = settings::resolve(&complete(case).unwrap()).unwrap();
            let Case { name, expected, .. } = case;
            (name.clone(), format!("{machine:?}"), format!("{expected:?}"))
        };
        assert_eq!(said(&first[0]), said(&second[0]));
        let disc = format!("ok=>disc:{}", folder.path().join("d.iso").display());
        assert!(written.contains(&disc), "{written}");
        assert!(script(&first[0], folder.path()).contains("--memory=8M"));
    }
}
