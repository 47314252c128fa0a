//! What a person does to the machine: keys, typed text, mouse.
//!
//! Typed keys and scripted movements of the mouse are queued and carried out one after the other
//! in guest time, because a keyboard and the software behind it hold only a few.

use crate::run::Machine;
use devices::Time;
pub use devices::keyboard::{KeyCode, text_to_keys};
use std::collections::VecDeque;

/// Guest time between two movements of typed keys: 12 ms.
const STROKE: u64 = 12_000_000;
/// Guest time between two things a scripted mouse does: 60 ms, as drivers take shorter presses for
/// bouncing contacts.
const MOUSE_STROKE: u64 = 60_000_000;
/// Guest time for a movement through the whole screen, at 100 packets of 255 counts a second.
const LONG_WAY: u64 = 400_000_000;
/// More counts than any screen has pixels.
const WHOLE_SCREEN: i32 = 8192;

/// A button of the mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Button {
    /// The left one.
    Left,
    /// The right one.
    Right,
    /// The middle one, or the wheel.
    Middle,
}

impl Button {
    const fn bit(self) -> u8 {
        match self {
            Button::Left => 1,
            Button::Right => 2,
            Button::Middle => 4,
        }
    }
}

/// One movement of a finger or a hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stroke {
    /// A key goes down or up.
    Key(KeyCode, bool),
    /// The pointer moves to a pixel.
    Move(i32, i32),
    /// These buttons are held from now on.
    Buttons(u8),
    /// The wheel turns by so many steps towards the user.
    Wheel(i8),
}

/// Strokes that wait to be carried out.
#[derive(Debug, Default)]
pub(crate) struct Typing {
    queue: VecDeque<(Stroke, u64)>,
    next: Time,
    /// Where the pointer was put last, in pixels; `None` before the first movement.
    place: Option<(i32, i32)>,
    buttons: u8,
}

impl Typing {
    /// Queues a stroke, after which so much guest time passes before the next.
    fn push(&mut self, stroke: Stroke, pause: u64, now: Time) {
        if self.queue.is_empty() {
            self.next = self.next.max(now);
        }
        self.queue.push_back((stroke, pause));
    }
    /// Queues the movements of a chord: all down, then all up in the opposite order.
    pub(crate) fn chord(&mut self, keys: &[KeyCode], now: Time) {
        for key in keys {
            self.push(Stroke::Key(*key, true), STROKE, now);
        }
        for key in keys.iter().rev() {
            self.push(Stroke::Key(*key, false), STROKE, now);
        }
    }
    /// When the next stroke is due.
    pub(crate) fn next_event(&self) -> Option<Time> {
        (!self.queue.is_empty()).then_some(self.next)
    }
    /// The stroke that is due at `now`.
    pub(crate) fn take(&mut self, now: Time) -> Option<Stroke> {
        if self.next > now {
            return None;
        }
        let (stroke, pause) = self.queue.pop_front()?;
        self.next = now.plus(pause);
        Some(stroke)
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
    #[cfg(feature = "host")]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// The mouse, scripted: movements and presses wait in the same queue as typed keys and are carried
/// out in guest time. Positions are pixels of the picture from its upper left corner.
///
/// Where a driver in the guest takes absolute positions, they are exact. Elsewhere the pointer is
/// first pushed into the upper left corner, and then moved by one count of the PS/2 mouse per
/// pixel: exact when the guest's driver does not accelerate the pointer.
impl Machine {
    /// Whether a driver in the guest has asked the PS/2 mouse to report. Where
    /// [`takes_absolute_pointer`](Machine::takes_absolute_pointer) holds as well, it wants
    /// positions.
    #[must_use]
    pub fn takes_mouse(&self) -> bool {
        self.board.chips.i8042.mouse().listens()
    }
    /// Queues a movement of the pointer.
    pub fn move_to(&mut self, x: usize, y: usize) {
        let now = self.now();
        let pixel = |at: usize| at.min(WHOLE_SCREEN as usize) as i32;
        let pause = if self.takes_absolute_pointer() { MOUSE_STROKE } else { LONG_WAY };
        if pause == LONG_WAY && self.typing.place.is_none() {
            self.typing.push(Stroke::Move(-WHOLE_SCREEN, -WHOLE_SCREEN), pause, now);
        }
        self.typing.push(Stroke::Move(pixel(x), pixel(y)), pause, now);
    }
    /// Queues a press of a button where the pointer is.
    pub fn press_button(&mut self, button: Button) {
        let now = self.now();
        self.typing.push(Stroke::Buttons(button.bit()), MOUSE_STROKE, now);
    }
    /// Queues that all buttons are let go.
    pub fn release_buttons(&mut self) {
        let now = self.now();
        self.typing.push(Stroke::Buttons(0), MOUSE_STROKE, now);
    }
    /// Queues a movement of the pointer and a click there.
    pub fn click(&mut self, x: usize, y: usize, button: Button) {
        self.move_to(x, y);
        self.press_button(button);
        self.release_buttons();
    }
    /// Queues a movement of the pointer with the left button held.
    pub fn drag(&mut self, from: (usize, usize), to: (usize, usize)) {
        self.move_to(from.0, from.1);
        self.press_button(Button::Left);
        self.move_to(to.0, to.1);
        self.release_buttons();
    }
    /// Queues steps of the wheel, towards the user where positive.
    pub fn turn_wheel(&mut self, steps: i8) {
        let now = self.now();
        for _ in 0..steps.unsigned_abs() {
            self.typing.push(Stroke::Wheel(steps.signum()), MOUSE_STROKE, now);
        }
    }

    /// Carries out what is due.
    pub(crate) fn perform(&mut self, stroke: Stroke) {
        let (mut counts, mut turn) = ((0, 0), 0);
        match stroke {
            Stroke::Key(key, down) => return self.key(key, down),
            Stroke::Move(x, y) => {
                let (from_x, from_y) = self.typing.place.unwrap_or((0, 0));
                counts = if x < 0 { (x, y) } else { (x - from_x, y - from_y) };
                self.typing.place = Some((x.max(0), y.max(0)));
            }
            Stroke::Buttons(buttons) => self.typing.buttons = buttons,
            Stroke::Wheel(steps) => turn = steps,
        }
        let buttons = self.typing.buttons;
        if self.takes_absolute_pointer() {
            let picture = self.picture();
            let (x, y) = self.typing.place.unwrap_or((0, 0));
            self.pointer(edge_to_edge(x, picture.width), edge_to_edge(y, picture.height), turn, buttons);
        } else {
            self.mouse(counts.0, counts.1, turn.into(), buttons);
        }
    }
}

/// A pixel's place on a side of `length` pixels, 0 and FFFFh being its edges.
fn edge_to_edge(pixel: i32, length: usize) -> u16 {
    let last = length.clamp(2, WHOLE_SCREEN as usize) as i64 - 1;
    // Rounded up, because drivers round down when they scale back.
    ((i64::from(pixel) * 65535 + last - 1) / last).clamp(0, 65535) as u16
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
        assert_eq!(typing.take(Time(5)), Some(Stroke::Key(KeyCode::A, true)));
        assert_eq!(typing.take(Time(6)), None);
        assert_eq!(typing.take(Time(5 + STROKE)), Some(Stroke::Key(KeyCode::A, false)));
        assert!(typing.is_empty());
    }

    #[test]
    fn positions_survive_the_way_to_the_guest_and_back() {
        for length in [320, 640, 1024, 2560] {
            for pixel in 0..length {
                let sent = i64::from(edge_to_edge(pixel, length as usize));
                assert_eq!(sent * (i64::from(length) - 1) / 65535, i64::from(pixel));
                assert_eq!(sent * i64::from(length) / 65536, i64::from(pixel), "{pixel} of {length}");
            }
        }
    }
}
