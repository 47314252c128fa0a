//! Presets: settings that suit a guest.

use crate::Failure;
use crate::settings::{Origin, Setting, Value, unknown_word};

/// A named set of settings.
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Options of `run`; an empty value switches one on.
    settings: &'static [(&'static str, &'static str)],
}

/// Software of the time resets by a triple fault, so presets for it let the board do that.
const RESETS: (&str, &str) = ("reset-on-triple-fault", "");

/// All presets.
pub(crate) static PRESETS: &[Preset] = &[
    Preset {
        name: "dos",
        about: "DOS and its games: a 486 with 16 MiB, at a speed that timing loops survive",
        settings: &[("cpu", "486"), ("memory", "16M"), ("ips", "40000000"), RESETS],
    },
    Preset {
        name: "win3",
        about: "Windows 3.x on DOS: a 486 with 16 MiB",
        settings: &[("cpu", "486"), ("memory", "16M"), ("ips", "60000000"), RESETS],
    },
    Preset {
        name: "win95",
        about: "Windows 95: a Pentium slow enough for its timing loops, 64 MiB",
        settings: &[("cpu", "pentium"), ("memory", "64M"), ("ips", "100000000"), RESETS],
    },
    Preset {
        name: "win98",
        about: "Windows 98 and ME: a Pentium II with 128 MiB (above 512 they fail)",
        settings: &[("cpu", "pentium2"), ("memory", "128M"), RESETS],
    },
    Preset {
        name: "nt4",
        about: "Windows NT 4: a Pentium with 128 MiB",
        settings: &[("cpu", "pentium"), ("memory", "128M"), RESETS],
    },
    Preset {
        name: "win2000",
        about: "Windows 2000: a Pentium III with 256 MiB",
        settings: &[("cpu", "pentium3"), ("memory", "256M"), RESETS],
    },
    Preset {
        name: "xp",
        about: "Windows XP: a Pentium M with 512 MiB",
        settings: &[("cpu", "pentium-m"), ("memory", "512M"), RESETS],
    },
    Preset {
        name: "linux",
        about: "Linux of any age for 32 bits: a Pentium M with 512 MiB",
        settings: &[("cpu", "pentium-m"), ("memory", "512M"), ("hypervisor", "kvm"), RESETS],
    },
    Preset {
        name: "hobby-os",
        about: "a kernel under development: deterministic, stops at resets and triple faults, exit code 33 is success",
        settings: &[
            ("cpu", "pentium-m"),
            ("memory", "128M"),
            ("clock", "instructions"),
            ("no-reboot", ""),
            ("success-code", "33"),
        ],
    },
    Preset {
        name: "ci",
        about: "a run without a person: no screen, serial line on standard output, deterministic, limited to 5 minutes",
        settings: &[
            ("display", "none"),
            ("serial", "stdio"),
            ("clock", "instructions"),
            ("no-reboot", ""),
            ("success-code", "33"),
            ("snapshot", ""),
            ("wall-limit", "300s"),
        ],
    },
];

/// The preset of a name.
pub(crate) fn find(name: &str) -> Result<&'static Preset, Failure> {
    PRESETS
        .iter()
        .find(|preset| preset.name == name)
        .ok_or_else(|| unknown_word("preset", name, PRESETS.iter().map(|preset| preset.name)))
}

impl Preset {
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let setting = |(name, value): &(&'static str, &'static str)| Setting {
            name,
            value: if value.is_empty() { Value::On } else { Value::Text(value.into()) },
            origin: Origin::Preset(self.name),
        };
        self.settings.iter().map(setting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_makes_a_machine() {
        for preset in PRESETS {
            assert!(crate::settings::resolve(&preset.settings()).is_ok(), "{}", preset.name);
        }
        assert!(find("dos").is_ok() && find("dso").is_err());
    }
}
