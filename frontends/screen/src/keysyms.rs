//! Keysyms: what X and VNC clients send for keys (X11 `keysymdef.h`, RFC 6143 section 7.5.4).
//!
//! A keysym names what is printed on the key, after the person's own layout and modifiers, not
//! where the key is. [`Typist`] presses the keys of a US keyboard that give the same character,
//! and holds or lifts Shift where the layouts disagree.

use crate::{Event, Held, KeyCode};
use beigebox::input::text_to_keys;

/// The key that a keysym without a character stands for.
#[must_use]
pub fn special(keysym: u32) -> Option<KeyCode> {
    use KeyCode::*;
    Some(match keysym {
        0xff08 => Backspace,
        // ISO_Left_Tab is what Shift makes of Tab.
        0xff09 | 0xfe20 => Tab,
        0xff0a | 0xff0d => Enter,
        0xff13 | 0xff6b => Pause,
        0xff14 => ScrollLock,
        0xff15 | 0xff61 => PrintScreen,
        0xff1b => Escape,
        0xff23 => Convert,
        0xff22 => NonConvert,
        0xff24..=0xff27 => KanaMode,
        0xff50 => Home,
        0xff51 => Left,
        0xff52 => Up,
        0xff53 => Right,
        0xff54 => Down,
        0xff55 => PageUp,
        0xff56 => PageDown,
        0xff57 => End,
        0xff63 => Insert,
        0xff67 => Menu,
        0xff7f => NumLock,
        0xff8d => KeypadEnter,
        0xff80 => Space,
        0xff89 => Tab,
        0xff95 | 0xffb7 => Keypad7,
        0xff96 | 0xffb4 => Keypad4,
        0xff97 | 0xffb8 => Keypad8,
        0xff98 | 0xffb6 => Keypad6,
        0xff99 | 0xffb2 => Keypad2,
        0xff9a | 0xffb9 => Keypad9,
        0xff9b | 0xffb3 => Keypad3,
        0xff9c | 0xffb1 => Keypad1,
        0xff9d | 0xffb5 => Keypad5,
        0xff9e | 0xffb0 => Keypad0,
        0xff9f | 0xffae => KeypadPeriod,
        0xffaa => KeypadMultiply,
        0xffab => KeypadPlus,
        0xffac => KeypadComma,
        0xffad => KeypadMinus,
        0xffaf => KeypadDivide,
        0xffbd => Equal,
        0xffbe => F1,
        0xffbf => F2,
        0xffc0 => F3,
        0xffc1 => F4,
        0xffc2 => F5,
        0xffc3 => F6,
        0xffc4 => F7,
        0xffc5 => F8,
        0xffc6 => F9,
        0xffc7 => F10,
        0xffc8 => F11,
        0xffc9 => F12,
        0xffe1 => LeftShift,
        0xffe2 => RightShift,
        0xffe3 => LeftControl,
        0xffe4 => RightControl,
        0xffe5 | 0xffe6 => CapsLock,
        // Meta is Alt on keyboards without a Meta key.
        0xffe7 | 0xffe9 => LeftAlt,
        0xffe8 | 0xffea => RightAlt,
        0xffeb | 0xffed => LeftMeta,
        0xffec | 0xffee => RightMeta,
        0xffff => Delete,
        0x1008_ff2a => Power,
        0x1008_ff2f => Sleep,
        0x1008_ff2b => Wake,
        _ => return None,
    })
}

/// The character of a keysym; dead keys give their accent.
#[must_use]
pub fn character(keysym: u32) -> Option<char> {
    match keysym {
        0x20..=0x7e | 0xa0..=0xff => char::from_u32(keysym),
        0x0100_0100..=0x0110_ffff => char::from_u32(keysym - 0x0100_0000),
        0xfe50 => Some('`'),
        0xfe51 => Some('\''),
        0xfe52 => Some('^'),
        0xfe53 => Some('~'),
        0xfe57 => Some('"'),
        _ => None,
    }
}

/// Turns keysyms that go down and up into keys that do.
#[derive(Clone, Debug, Default)]
pub struct Typist {
    held: Held,
    /// The keysyms that are down with the key that each of them pressed.
    down: Vec<(u32, KeyCode)>,
    /// Whether Caps Lock was pressed an odd number of times.
    capitals: bool,
}

/// More keys than anybody has fingers for; a client that holds more is not believed.
const MOST_HELD: usize = 32;

impl Typist {
    /// Nobody holds anything.
    #[must_use]
    pub fn new() -> Typist {
        Typist::default()
    }
    /// A key whose place on the keyboard is known goes down or up.
    pub fn key(&mut self, key: KeyCode, down: bool, events: &mut Vec<Event>) {
        if key == KeyCode::CapsLock && down && !self.held.has(key) {
            self.capitals = !self.capitals;
        }
        self.held.note(key, down);
        events.push(Event::Key(key, down));
    }
    /// A keysym goes down or up. What a US keyboard cannot type is left out.
    pub fn keysym(&mut self, keysym: u32, down: bool, events: &mut Vec<Event>) {
        if !down {
            if let Some(place) = self.down.iter().position(|(other, _)| *other == keysym) {
                let (_, key) = self.down.remove(place);
                self.key(key, false, events);
            } else if let Some(place) = self.partner(keysym) {
                // Shift went up first, and the client names the key by its other character.
                let (_, key) = self.down.remove(place);
                self.key(key, false, events);
            } else if let Some(key) = special(keysym) {
                self.key(key, false, events);
            }
            return;
        }
        if self.down.len() >= MOST_HELD {
            return;
        }
        if let Some(key) = special(keysym) {
            self.press(keysym, key, events);
            return;
        }
        let Some(keys) = character(keysym).and_then(text_to_keys) else { return };
        let Some(&key) = keys.last() else { return };
        let is_letter = character(keysym).is_some_and(|character| character.is_ascii_alphabetic());
        let wanted = (keys.len() > 1) != (is_letter && self.capitals);
        let (left, right) = (self.held.has(KeyCode::LeftShift), self.held.has(KeyCode::RightShift));
        // Ctrl and Alt make commands of letters, which do not care for case: there the person's
        // own Shift counts.
        let commands = [KeyCode::LeftControl, KeyCode::RightControl, KeyCode::LeftAlt, KeyCode::RightAlt];
        let is_command = commands.iter().any(|key| self.held.has(*key));
        // Shift with a small letter is either Caps Lock's doing or that of a client that names keys
        // and means the capital: in both cases Shift stays.
        if wanted == (left || right) || is_command || is_letter && (left || right) {
            self.press(keysym, key, events);
        } else if wanted {
            events.push(Event::Key(KeyCode::LeftShift, true));
            self.press(keysym, key, events);
            events.push(Event::Key(KeyCode::LeftShift, false));
        } else {
            let shifts = [(KeyCode::LeftShift, left), (KeyCode::RightShift, right)];
            let held = || shifts.iter().filter(|(_, held)| *held);
            events.extend(held().map(|(shift, _)| Event::Key(*shift, false)));
            self.press(keysym, key, events);
            events.extend(held().map(|(shift, _)| Event::Key(*shift, true)));
        }
    }
    /// Lets every key go: the person left.
    pub fn release(&mut self, events: &mut Vec<Event>) {
        self.down.clear();
        self.held.release(events);
    }
    fn press(&mut self, keysym: u32, key: KeyCode, events: &mut Vec<Event>) {
        self.down.retain(|(other, _)| *other != keysym);
        self.down.push((keysym, key));
        self.key(key, true, events);
    }
    /// The keysym that is down on the same key of a US keyboard.
    fn partner(&self, keysym: u32) -> Option<usize> {
        let keys = character(keysym).and_then(text_to_keys)?;
        self.down.iter().position(|(_, key)| keys.last() == Some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use KeyCode::{A, Digit2, LeftControl, LeftShift, Slash};

    fn typed(keysyms: &[(u32, bool)]) -> Vec<Event> {
        let (mut typist, mut events) = (Typist::new(), Vec::new());
        for (keysym, down) in keysyms {
            typist.keysym(*keysym, *down, &mut events);
        }
        events
    }
    fn key(key: KeyCode, down: bool) -> Event {
        Event::Key(key, down)
    }

    #[test]
    fn every_character_of_a_us_keyboard_has_a_key() {
        for keysym in 0x20..=0x7e {
            assert!(!typed(&[(keysym, true)]).is_empty(), "{keysym:x}");
        }
        assert!(typed(&[(0x0100_20ac, true), (0x0100_20ac, false)]).is_empty(), "the euro has none");
    }

    #[test]
    fn shift_follows_the_character() {
        let capital = [(0x41, true), (0x41, false)];
        assert_eq!(typed(&capital), [key(LeftShift, true), key(A, true), key(LeftShift, false), key(A, false)]);
        // Shift-7 is the slash of a German keyboard.
        let slash = [(0xffe1, true), (0x2f, true), (0x2f, false), (0xffe1, false)];
        let expected = [
            key(LeftShift, true),
            key(LeftShift, false),
            key(Slash, true),
            key(LeftShift, true),
            key(Slash, false),
            key(LeftShift, false),
        ];
        assert_eq!(typed(&slash), expected);
        let at = [(0xffe1, true), (0x40, true), (0xffe1, false), (0x32, false)];
        assert_eq!(typed(&at), [key(LeftShift, true), key(Digit2, true), key(LeftShift, false), key(Digit2, false)]);
        assert_eq!(typed(&[(0xffe1, true), (0x61, true)]), [key(LeftShift, true), key(A, true)]);
        let capitals = [(0xffe5, true), (0xffe5, false), (0x41, true), (0x41, false)];
        assert_eq!(typed(&capitals)[2..], [key(A, true), key(A, false)]);
        assert_eq!(typed(&[(0xffe3, true), (0x41, true)]), [key(LeftControl, true), key(A, true)]);
    }

    #[test]
    fn who_leaves_holds_nothing() {
        let (mut typist, mut events) = (Typist::new(), Vec::new());
        typist.keysym(0xffe1, true, &mut events);
        typist.keysym(0x41, true, &mut events);
        events.clear();
        typist.release(&mut events);
        assert_eq!(events, [key(A, false), key(LeftShift, false)]);
    }
}
