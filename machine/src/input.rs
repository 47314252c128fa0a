//! What a person does to the machine: keys, typed text, mouse.
//!
//! Typed keys are queued and pressed one after the other in guest time, because a keyboard and
//! the software behind it hold only a few.

use devices::Time;
pub use devices::keyboard::{KeyCode, text_to_keys};
use std::collections::VecDeque;

/// Guest time between two movements of typed keys: 12 ms.
const STROKE: u64 = 12_000_000;

/// Keys that wait to be pressed and released.
#[derive(Debug, Default)]
pub(crate) struct Typing {
    queue: VecDeque<(KeyCode, bool)>,
    next: Time,
}

impl Typing {
    /// Queues the movements of a chord: all down, then all up in the opposite order.
    pub(crate) fn chord(&mut self, keys: &[KeyCode], now: Time) {
        if self.queue.is_empty() {
            self.next = self.next.max(now);
        }
        self.queue.extend(keys.iter().map(|key| (*key, true)));
        self.queue.extend(keys.iter().rev().map(|key| (*key, false)));
    }
    /// When the next movement is due.
    pub(crate) fn next_event(&self) -> Option<Time> {
        (!self.queue.is_empty()).then_some(self.next)
    }
    /// The movement that is due at `now`.
    pub(crate) fn take(&mut self, now: Time) -> Option<(KeyCode, bool)> {
        if self.next > now {
            return None;
        }
        let movement = self.queue.pop_front()?;
        self.next = now.plus(STROKE);
        Some(movement)
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Why a key script does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A name between `<` and `>` that is no key.
    #[error("`<{0}>` names no key; try <enter>, <esc>, <tab>, <f1>, <up>, <ctrl-alt-delete>")]
    UnknownKey(String),
    /// A character that a US keyboard cannot type.
    #[error("`{0}` is on no key of a US keyboard")]
    NoKey(char),
}

/// The key of a name as key scripts spell it.
#[must_use]
pub fn key_named(name: &str) -> Option<KeyCode> {
    let lower = name.to_ascii_lowercase();
    let name = match lower.as_str() {
        "esc" => "escape",
        "ret" | "return" => "enter",
        "ctrl" | "control" => "leftcontrol",
        "alt" => "leftalt",
        "shift" => "leftshift",
        "win" | "meta" => "leftmeta",
        "del" => "delete",
        "ins" => "insert",
        "pgup" => "pageup",
        "pgdn" => "pagedown",
        "bs" => "backspace",
        "spc" => "space",
        digit if digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit() => {
            return key_named(&format!("digit{digit}"));
        }
        other => other,
    };
    KeyCode::ALL.iter().copied().find(|key| format!("{key:?}").eq_ignore_ascii_case(name))
}

/// Chords that type `script`: plain characters, `\n` for Enter, `<name>` for other keys, with
/// `-` between keys that go down together, `<lt>` for `<` itself.
///
/// # Errors
/// See [`KeysError`].
pub fn parse_keys(script: &str) -> Result<Vec<Vec<KeyCode>>, KeysError> {
    let mut chords = Vec::new();
    let mut rest = script;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        if character == '<'
            && let Some(end) = rest.find('>')
        {
            let name = &rest[..end];
            rest = &rest[end + 1..];
            if name == "lt" {
                chords.push(text_to_keys('<').ok_or(KeysError::NoKey('<'))?);
                continue;
            }
            let keys: Option<Vec<KeyCode>> = name.split('-').map(key_named).collect();
            chords.push(keys.ok_or_else(|| KeysError::UnknownKey(name.to_owned()))?);
            continue;
        }
        chords.push(text_to_keys(character).ok_or(KeysError::NoKey(character))?);
    }
    Ok(chords)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_become_chords() {
        let chords = parse_keys("a<enter><ctrl-alt-delete><f10><up>").unwrap();
        assert_eq!(chords.len(), 5);
        assert_eq!(chords[2].len(), 3);
        assert_eq!(parse_keys("<nokey>"), Err(KeysError::UnknownKey("nokey".into())));
        assert_eq!(parse_keys("€"), Err(KeysError::NoKey('€')));
        assert_eq!(parse_keys("a < b").unwrap().len(), 5);
    }

    #[test]
    fn strokes_are_spaced_in_time() {
        let mut typing = Typing::default();
        typing.chord(&[KeyCode::A], Time(5));
        assert_eq!(typing.next_event(), Some(Time(5)));
        assert_eq!(typing.take(Time(5)), Some((KeyCode::A, true)));
        assert_eq!(typing.take(Time(6)), None);
        assert_eq!(typing.take(Time(5 + STROKE)), Some((KeyCode::A, false)));
        assert!(typing.is_empty());
    }
}
