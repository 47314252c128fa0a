//! Chords that are meant for the emulator: Ctrl and Alt with a letter.

use crate::{Command, Event, KeyCode};

/// What a chord asks of the window it was pressed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Takes the mouse, or gives it back.
    Grab,
    /// Fills the screen, or no longer does.
    FullScreen,
    /// Scales by whole numbers only, or as large as it fits.
    Sharp,
    /// Shows the status line over the picture, or no longer does.
    StatusLine,
}

/// What is pressed with Ctrl and Alt, and what it does; as help shows it.
pub const HELP: &[(&str, &str)] = &[
    ("Ctrl-Alt-G", "takes the mouse or gives it back"),
    ("Ctrl-Alt-F", "full screen"),
    ("Ctrl-Alt-I", "scales by whole numbers only"),
    ("Ctrl-Alt-T", "status line over the picture"),
    ("Ctrl-Alt-S", "writes a screenshot"),
    ("Ctrl-Alt-D", "types Ctrl-Alt-Del"),
    ("Ctrl-Alt-R", "presses the reset button"),
    ("Ctrl-Alt-A", "next floppy in drive A"),
    ("Ctrl-Alt-C", "next disc in the CD-ROM drive"),
    ("Ctrl-Alt-Q", "quits"),
];

/// Finds the chords in a stream of keys.
#[derive(Clone, Debug, Default)]
pub struct HotKeys {
    control: u8,
    alt: u8,
    /// Letters whose press was a hot key: their release is not for the guest either.
    swallowed: Vec<KeyCode>,
}

impl HotKeys {
    /// Nothing is pressed.
    #[must_use]
    pub fn new() -> HotKeys {
        HotKeys::default()
    }
    /// A key goes down or up. It is put into `events` unless it completes a chord; then what the
    /// chord asks of the emulator is, and what it asks of the window is the answer.
    pub fn key(&mut self, key: KeyCode, down: bool, events: &mut Vec<Event>) -> Option<Local> {
        let bit = |held: u8, bit: u8| if down { held | bit } else { held & !bit };
        match key {
            KeyCode::LeftControl => self.control = bit(self.control, 1),
            KeyCode::RightControl => self.control = bit(self.control, 2),
            KeyCode::LeftAlt => self.alt = bit(self.alt, 1),
            KeyCode::RightAlt => self.alt = bit(self.alt, 2),
            _ => {}
        }
        if !down && let Some(place) = self.swallowed.iter().position(|other| *other == key) {
            self.swallowed.swap_remove(place);
            return None;
        }
        if down && self.control != 0 && self.alt != 0 {
            let command = match key {
                KeyCode::Q => Some(Command::Quit),
                KeyCode::R => Some(Command::Reset),
                KeyCode::D => Some(Command::CtrlAltDelete),
                KeyCode::S => Some(Command::Screenshot),
                KeyCode::A => Some(Command::NextFloppy),
                KeyCode::C => Some(Command::NextDisc),
                _ => None,
            };
            let local = match key {
                KeyCode::G => Some(Local::Grab),
                KeyCode::F => Some(Local::FullScreen),
                KeyCode::I => Some(Local::Sharp),
                KeyCode::T => Some(Local::StatusLine),
                _ => None,
            };
            if command.is_some() || local.is_some() {
                // A held key repeats.
                if self.swallowed.contains(&key) {
                    return None;
                }
                self.swallowed.push(key);
                events.extend(command.map(Event::Command));
                return local;
            }
        }
        events.push(Event::Key(key, down));
        None
    }
    /// Everything was let go.
    pub fn release(&mut self) {
        *self = HotKeys::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chords_are_kept_from_the_guest() {
        let (mut keys, mut events) = (HotKeys::new(), Vec::new());
        let mut press = |key, down| keys.key(key, down, &mut events);
        assert_eq!(press(KeyCode::G, true), None);
        press(KeyCode::G, false);
        press(KeyCode::LeftControl, true);
        press(KeyCode::RightAlt, true);
        assert_eq!(press(KeyCode::G, true), Some(Local::Grab));
        assert_eq!(press(KeyCode::G, true), None);
        press(KeyCode::R, true);
        press(KeyCode::R, false);
        press(KeyCode::LeftControl, false);
        press(KeyCode::G, false);
        press(KeyCode::RightAlt, false);
        let expected = [
            Event::Key(KeyCode::G, true),
            Event::Key(KeyCode::G, false),
            Event::Key(KeyCode::LeftControl, true),
            Event::Key(KeyCode::RightAlt, true),
            Event::Command(Command::Reset),
            Event::Key(KeyCode::LeftControl, false),
            Event::Key(KeyCode::RightAlt, false),
        ];
        assert_eq!(events, expected);
    }
}
