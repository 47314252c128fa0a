//! Running until a text appears.

use crate::run::{Machine, Stop};

/// Guest time between two looks at the serial line and the debug console.
const LOOK: u64 = 1_000_000;
/// The same for the text screen.
const SCREEN_LOOK: u64 = 5_000_000;

/// How [`Machine::run_until_text`] went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Whether the text was seen.
    pub found: bool,
    /// Why the run ended: [`Stop::Done`] when the text was found or the time is used up.
    pub stop: Stop,
    /// What came over the first serial port meanwhile.
    pub serial: Vec<u8>,
    /// What came to the debug console meanwhile.
    pub debug: Vec<u8>,
}

impl Waited {
    /// What came over the first serial port, as text.
    #[must_use]
    pub fn serial_text(&self) -> String {
        String::from_utf8_lossy(&self.serial).into_owned()
    }
}

/// Whether `text` ends in the last bytes of `output`, of which `looked` were looked at before.
fn has(output: &[u8], looked: &mut usize, text: &[u8]) -> bool {
    let from = looked.saturating_sub(text.len().saturating_sub(1));
    *looked = output.len();
    output[from..].windows(text.len()).any(|window| window == text)
}

impl Machine {
    /// Runs until `text` has come over the first serial port or to the debug console, or stands on the text
    /// screen; for `nanoseconds` of guest time at most.
    ///
    /// ```no_run
    /// # fn f(mut pc: beigebox::Machine) {
    /// let boot = pc.run_until_text(60_000_000_000, "login:");
    /// assert!(boot.found, "{:?}: {}", boot.stop, boot.serial_text());
    /// pc.serial_input(0, b"root\r");
    /// # }
    /// ```
    pub fn run_until_text(&mut self, nanoseconds: u64, text: &str) -> Waited {
        let until = self.now().plus(nanoseconds);
        let text = if text.is_empty() { "\0" } else { text };
        let mut waited = Waited { found: false, stop: Stop::Done, serial: Vec::new(), debug: Vec::new() };
        let (mut serial, mut debug, mut next_look) = (0, 0, self.now());
        loop {
            let last = waited.stop != Stop::Done || self.now() >= until;
            waited.serial.extend(self.serial_output(0));
            if last {
                waited.serial.extend(self.serial_unsent(0));
            }
            waited.debug.extend(self.debug_output());
            waited.found =
                has(&waited.serial, &mut serial, text.as_bytes()) || has(&waited.debug, &mut debug, text.as_bytes());
            if !waited.found && (last || self.now() >= next_look) {
                next_look = self.now().plus(SCREEN_LOOK);
                waited.found = self.screen_text().contains(text);
            }
            if waited.found || last {
                return waited;
            }
            waited.stop = self.run_for(until.since(self.now()).min(LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn texts_are_found_across_pieces() {
        let mut looked = 0;
        assert!(!has(b"log", &mut looked, b"login:"));
        assert!(!has(b"login", &mut looked, b"login:"));
        assert!(has(b"login: ", &mut looked, b"login:"));
        assert!(!has(b"login: x", &mut looked, b"login:"));
    }
}
