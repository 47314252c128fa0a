//! Keys as minifb tells them: by what is printed on them.

use minifb::{InputCallback, Key, Window};
use screen::{Event, Held, KeyCode};
use std::sync::{Arc, Mutex, PoisonError};

type Queue = Arc<Mutex<Vec<(KeyCode, bool)>>>;

/// Collects keys while minifb handles its events.
pub(crate) struct Keys {
    queue: Queue,
    held: Held,
}

struct Callback(Queue);

impl InputCallback for Callback {
    fn add_char(&mut self, _character: u32) {}
    fn set_key_state(&mut self, key: Key, down: bool) {
        if let Some(key) = translate(key) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((key, down));
        }
    }
}

impl Keys {
    pub(crate) fn new() -> Keys {
        Keys { queue: Queue::default(), held: Held::default() }
    }
    pub(crate) fn listen(&mut self, window: &mut Window) {
        window.set_input_callback(Box::new(Callback(self.queue.clone())));
    }
    /// What went down and up since the last call. minifb repeats held keys; a PC's keyboard does
    /// that by itself.
    pub(crate) fn take(&mut self) -> Vec<(KeyCode, bool)> {
        let mut keys = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        keys.retain(|(key, down)| {
            let is_new = self.held.has(*key) != *down;
            self.held.note(*key, *down);
            is_new
        });
        keys
    }
    pub(crate) fn release(&mut self, events: &mut Vec<Event>) {
        self.held.release(events);
    }
}

/// The PC's key with the same print.
fn translate(key: Key) -> Option<KeyCode> {
    use KeyCode as K;
    Some(match key {
        Key::Key0 => K::Digit0,
        Key::Key1 => K::Digit1,
        Key::Key2 => K::Digit2,
        Key::Key3 => K::Digit3,
        Key::Key4 => K::Digit4,
        Key::Key5 => K::Digit5,
        Key::Key6 => K::Digit6,
        Key::Key7 => K::Digit7,
        Key::Key8 => K::Digit8,
        Key::Key9 => K::Digit9,
        Key::A => K::A,
        Key::B => K::B,
        Key::C => K::C,
        Key::D => K::D,
        Key::E => K::E,
        Key::F => K::F,
        Key::G => K::G,
        Key::H => K::H,
        Key::I => K::I,
        Key::J => K::J,
        Key::K => K::K,
        Key::L => K::L,
        Key::M => K::M,
        Key::N => K::N,
        Key::O => K::O,
        Key::P => K::P,
        Key::Q => K::Q,
        Key::R => K::R,
        Key::S => K::S,
        Key::T => K::T,
        Key::U => K::U,
        Key::V => K::V,
        Key::W => K::W,
        Key::X => K::X,
        Key::Y => K::Y,
        Key::Z => K::Z,
        Key::F1 => K::F1,
        Key::F2 => K::F2,
        Key::F3 => K::F3,
        Key::F4 => K::F4,
        Key::F5 => K::F5,
        Key::F6 => K::F6,
        Key::F7 => K::F7,
        Key::F8 => K::F8,
        Key::F9 => K::F9,
        Key::F10 => K::F10,
        Key::F11 => K::F11,
        Key::F12 => K::F12,
        Key::Down => K::Down,
        Key::Left => K::Left,
        Key::Right => K::Right,
        Key::Up => K::Up,
        Key::Apostrophe => K::Quote,
        Key::Backquote => K::Backquote,
        Key::Backslash => K::Backslash,
        Key::Comma => K::Comma,
        Key::Equal => K::Equal,
        Key::LeftBracket => K::LeftBracket,
        Key::Minus => K::Minus,
        Key::Period => K::Period,
        Key::RightBracket => K::RightBracket,
        Key::Semicolon => K::Semicolon,
        Key::Slash => K::Slash,
        Key::Backspace => K::Backspace,
        Key::Delete => K::Delete,
        Key::End => K::End,
        Key::Enter => K::Enter,
        Key::Escape => K::Escape,
        Key::Home => K::Home,
        Key::Insert => K::Insert,
        Key::Menu => K::Menu,
        Key::PageDown => K::PageDown,
        Key::PageUp => K::PageUp,
        Key::Pause => K::Pause,
        Key::Space => K::Space,
        Key::Tab => K::Tab,
        Key::NumLock => K::NumLock,
        Key::CapsLock => K::CapsLock,
        Key::ScrollLock => K::ScrollLock,
        Key::LeftShift => K::LeftShift,
        Key::RightShift => K::RightShift,
        Key::LeftCtrl => K::LeftControl,
        Key::RightCtrl => K::RightControl,
        Key::LeftAlt => K::LeftAlt,
        Key::RightAlt => K::RightAlt,
        Key::LeftSuper => K::LeftMeta,
        Key::RightSuper => K::RightMeta,
        Key::NumPad0 => K::Keypad0,
        Key::NumPad1 => K::Keypad1,
        Key::NumPad2 => K::Keypad2,
        Key::NumPad3 => K::Keypad3,
        Key::NumPad4 => K::Keypad4,
        Key::NumPad5 => K::Keypad5,
        Key::NumPad6 => K::Keypad6,
        Key::NumPad7 => K::Keypad7,
        Key::NumPad8 => K::Keypad8,
        Key::NumPad9 => K::Keypad9,
        Key::NumPadDot => K::KeypadPeriod,
        Key::NumPadSlash => K::KeypadDivide,
        Key::NumPadAsterisk => K::KeypadMultiply,
        Key::NumPadMinus => K::KeypadMinus,
        Key::NumPadPlus => K::KeypadPlus,
        Key::NumPadEnter => K::KeypadEnter,
        _ => return None,
    })
}
