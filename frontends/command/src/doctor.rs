//! `beigebox doctor`: what this host has and lacks, and how to mend it.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::Path;

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    is_there: bool,
    /// What was found, and what it is for.
    found: String,
    /// How to get it.
    mend: &'static str,
}

fn can_open(path: &str) -> Result<(), std::io::ErrorKind> {
    OpenOptions::new().read(true).write(true).open(path).map(|_| ()).map_err(|error| error.kind())
}

fn device(what: &'static str, path: &str, purpose: &str, absent: &'static str, denied: &'static str) -> Finding {
    let (is_there, found, mend) = match can_open(path) {
        Ok(()) => (true, format!("{path} can be used; {purpose}"), ""),
        Err(std::io::ErrorKind::NotFound) => (false, format!("{path} is not there; {purpose}"), absent),
        Err(std::io::ErrorKind::PermissionDenied) => (false, format!("{path} may not be opened; {purpose}"), denied),
        Err(other) => (false, format!("{path} cannot be opened: {other}; {purpose}"), absent),
    };
    Finding { what, is_there, found, mend }
}

fn set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

fn window() -> Finding {
    let has_display = set("DISPLAY") || set("WAYLAND_DISPLAY") || cfg!(any(windows, target_os = "macos"));
    Finding {
        what: "window",
        is_there: has_display,
        found: if has_display {
            "there is a desktop to show a window on".into()
        } else {
            "neither DISPLAY nor WAYLAND_DISPLAY is set: no window can be shown".into()
        },
        mend: "run from a desktop session, or use the screen in the terminal (--display terminal)",
    }
}

fn terminal() -> Finding {
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let size = crossterm::terminal::size().unwrap_or((0, 0));
    let fits = is_terminal && size.0 >= 80 && size.1 >= 25;
    Finding {
        what: "terminal",
        is_there: fits,
        found: if !is_terminal {
            "standard input and output are no terminal: the screen cannot be shown here".into()
        } else {
            format!("a terminal of {} by {} characters; the text screen has 80 by 25", size.0, size.1)
        },
        mend: if is_terminal { "make the terminal larger" } else { "run it in a terminal" },
    }
}

fn sound() -> Finding {
    let run = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from);
    let server = ["pipewire-0", "pulse/native"]
        .into_iter()
        .find(|name| run.as_ref().is_some_and(|folder| folder.join(name).exists()));
    let card = Path::new("/dev/snd/pcmC0D0p").exists() || cfg!(any(windows, target_os = "macos"));
    Finding {
        what: "sound",
        is_there: server.is_some() || card,
        found: match (server, card) {
            (Some(server), _) => format!("a sound server listens at {server}"),
            (None, true) => "there is a sound card".into(),
            (None, false) => "there is neither a sound server nor a sound card: machines are silent".into(),
        },
        mend: "install and start pipewire or pulseaudio, or load the driver of the sound card",
    }
}

fn cores() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Finding {
        what: "cores",
        is_there: cores > 1,
        found: format!("{cores}; `beigebox test` runs as many machines at once"),
        mend: "give the container or virtual machine more processors",
    }
}

/// Memory that can be had, from the host's own account.
fn memory() -> Option<Finding> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Finding {
        what: "memory",
        is_there: kibibytes >= 512 << 10,
        found: format!("{} MiB are available; a machine needs its --memory and a little more", kibibytes >> 10),
        mend: "close other programs, or give machines less with --memory",
    })
}

fn findings() -> Vec<Finding> {
    let mut all = vec![window(), terminal(), sound()];
    if cfg!(target_os = "linux") {
        all.push(device(
            "KVM",
            "/dev/kvm",
            "for engines that use the host's processor; the built-in ones do without",
            "switch on virtualisation in the firmware set-up and load kvm_intel or kvm_amd; in a virtual machine, ask for nested virtualisation",
            "add yourself to the group kvm: usermod -aG kvm $USER, and log in again",
        ));
        all.push(device(
            "tap",
            "/dev/net/tun",
            "for a network card on a bridge of the host; user-mode networking does without",
            "load the module tun: modprobe tun",
            "let an administrator make the interface for you: ip tuntap add dev tap0 mode tap user $USER",
        ));
    }
    all.push(cores());
    all.extend(memory());
    all
}

/// Prints the findings. What is lacking is no failure: machines run without all of it.
pub(crate) fn doctor() -> u8 {
    let mut out = std::io::stdout().lock();
    for finding in findings() {
        let word = if finding.is_there { "yes" } else { "no" };
        let _ = writeln!(out, "{:9} {word:4} {}", finding.what, finding.found);
        if !finding.is_there && !finding.mend.is_empty() {
            let _ = writeln!(out, "{:14} to mend it: {}", "", finding.mend);
        }
    }
    crate::code::PASS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_comes_with_a_mend() {
        for finding in findings() {
            assert!(!finding.found.is_empty());
            assert!(finding.is_there || !finding.mend.is_empty(), "{}", finding.what);
        }
        let absent = device("x", "/nonexistent", "for nothing", "make it", "ask for it");
        assert!(!absent.is_there && absent.mend == "make it");
    }
}
