//! The text screen in a real terminal, which tmux plays.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

/// A terminal of 100 columns and 30 rows; closed when dropped.
struct Tmux {
    socket: String,
}

impl Tmux {
    fn open(script: &str) -> Tmux {
        let tmux = Tmux { socket: format!("beigebox-test-{}", std::process::id()) };
        tmux.call(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", script]);
        tmux
    }
    fn call(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-u", "-L", &self.socket])
            .args(arguments)
            .output()
            .expect("tmux runs; scripts/setup installs it");
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    /// The screen, once `text` stands on it.
    fn wait(&self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let screen = self.call(&["capture-pane", "-p"]);
            if screen.contains(text) {
                return screen;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "no `{text}` on the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}

#[test]
fn the_screen_is_shown_keys_arrive_and_the_terminal_comes_back() {
    if std::env::var_os("BEIGEBOX_WITHOUT_GUESTS").is_some_and(|value| !value.is_empty()) {
        println!("not tested: BEIGEBOX_WITHOUT_GUESTS is set, and tmux may not be there");
        return;
    }
    let mut image = test_roms::boot_sector("keys").unwrap().to_vec();
    image.resize(1_474_560, 0);
    let mut floppy = tempfile::NamedTempFile::new().unwrap();
    floppy.write_all(&image).unwrap();
    let command = format!(
        "echo as it was; stty -g >{path}.before; '{program}' run --floppy '{path}' --display terminal; echo ended with $?; stty -g | cmp - {path}.before && echo the same line settings; rm {path}.before; sleep 600",
        program = env!("CARGO_BIN_EXE_beigebox"),
        path = floppy.path().display(),
    );
    let terminal = Tmux::open(&command);
    let screen = terminal.wait("Name?");
    assert!(!screen.contains("as it was"), "{screen}");
    terminal.call(&["send-keys", "-l", "Beige+box"]);
    terminal.call(&["send-keys", "Enter"]);
    terminal.wait("Backwards: xob+egieB");
    terminal.call(&["send-keys", "F1", "Up"]);
    terminal.wait("Keys: 3B00 4800");
    terminal.call(&["send-keys", "C-]"]);
    let screen = terminal.wait("the same line settings");
    assert!(screen.contains("as it was") && screen.contains("ended with 0"), "{screen}");
    assert!(!screen.contains("Backwards"), "{screen}");
}
