//! Keys from a terminal, as bytes.
//!
//! Not `crossterm::event`: its epoll is edge-triggered and it handles one event per call, so that a key that comes
//! together with a change of the size waits for the next one, and it blocks on a sequence that it does not know.
//! Here `poll(2)` says whether there are bytes, and nothing ever waits. The bytes mean what xterm, rxvt and the Linux
//! console mean by them.

use crossterm::event::{KeyCode as Key, KeyEvent, KeyModifiers};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// How long the rest of a sequence may take to come before its Escape is the key: over a network it comes in pieces.
const REST: Duration = Duration::from_millis(50);
/// No sequence that means a key is longer.
const LONGEST: usize = 32;

/// The terminal's line into the program.
pub(crate) struct Typed {
    /// The terminal, when standard input is something else.
    terminal: Option<File>,
    parser: Parser,
    /// Nothing will come any more.
    ended: bool,
}

impl Typed {
    /// # Errors
    /// When there is no terminal.
    pub(crate) fn open() -> io::Result<Typed> {
        let terminal = match rustix::termios::isatty(rustix::stdio::stdin()) {
            true => None,
            false => Some(File::open("/dev/tty")?),
        };
        Ok(Typed { terminal, parser: Parser::default(), ended: false })
    }
    fn line(&self) -> BorrowedFd<'_> {
        match &self.terminal {
            Some(terminal) => terminal.as_fd(),
            None => rustix::stdio::stdin(),
        }
    }
    /// Readable when something was typed; `None` when the terminal is gone.
    pub(crate) fn open_line(&self) -> Option<BorrowedFd<'_>> {
        (!self.ended).then(|| self.line())
    }
    /// What has been typed since the last call. Never waits.
    ///
    /// # Errors
    /// When the terminal cannot be read; one that is gone is not an error.
    pub(crate) fn read(&mut self) -> io::Result<Vec<KeyEvent>> {
        let mut keys = Vec::new();
        let mut bytes = [0; 1024];
        // At most so much in one go: the guest wants to run, too.
        for _ in 0..4 {
            let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
            let count = {
                let line = self.line();
                let mut lines = [PollFd::from_borrowed_fd(line, PollFlags::IN)];
                if self.ended || again(|| rustix::event::poll(&mut lines, Some(&nothing)))? == 0 {
                    break;
                }
                again(|| rustix::io::read(line, &mut bytes))
            };
            match count {
                // A terminal that was closed says either.
                Ok(0) | Err(rustix::io::Errno::IO) => self.ended = true,
                Ok(count) => self.parser.feed(bytes.get(..count).unwrap_or(&bytes), Instant::now(), &mut keys),
                Err(error) => return Err(error.into()),
            }
        }
        self.parser.wait(Instant::now(), &mut keys);
        Ok(keys)
    }
}

/// What a call says once no signal comes between.
fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Turns bytes into keys, however they are cut into pieces.
#[derive(Debug, Default)]
struct Parser {
    /// A character or sequence that has begun, and when its last byte came.
    begun: Vec<u8>,
    since: Option<Instant>,
}

/// What bytes are.
#[derive(Debug, PartialEq)]
enum Meaning {
    Key(KeyEvent),
    /// Whole, but no key.
    Nothing,
    /// The beginning of something.
    Part,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8], now: Instant, keys: &mut Vec<KeyEvent>) {
        self.wait(now, keys);
        for byte in bytes {
            // An Escape in a sequence ends it.
            if *byte == 0x1b && !self.begun.is_empty() {
                self.give_up(keys);
            }
            self.begun.push(*byte);
            match meaning(&self.begun) {
                Meaning::Key(key) => keys.push(key),
                Meaning::Nothing => {}
                Meaning::Part if self.begun.len() >= LONGEST => {}
                Meaning::Part => continue,
            }
            self.begun.clear();
        }
        self.since = (!self.begun.is_empty()).then_some(now);
    }
    /// Takes what has begun for what it is when its rest has not come in time.
    fn wait(&mut self, now: Instant, keys: &mut Vec<KeyEvent>) {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) >= REST) {
            self.give_up(keys);
        }
    }
    fn give_up(&mut self, keys: &mut Vec<KeyEvent>) {
        let begun = std::mem::take(&mut self.begun);
        self.since = None;
        match begun.as_slice() {
            [0x1b] => keys.push(plain(Key::Esc)),
            [0x1b, letter @ (b'O' | b'[')] => keys.push(with(Key::Char((*letter).into()), KeyModifiers::ALT)),
            _ => {}
        }
    }
}

fn plain(code: Key) -> KeyEvent {
    with(code, KeyModifiers::NONE)
}
fn with(code: Key, modifiers: KeyModifiers) -> KeyEvent {
    KeyEvent::new(code, modifiers)
}

fn meaning(bytes: &[u8]) -> Meaning {
    match bytes {
        [0x1b] | [0x1b, b'O' | b'['] => Meaning::Part,
        [0x1b, b'[', b'[', rest @ ..] => match rest {
            [] => Meaning::Part,
            // The Linux console's first five.
            [letter @ b'A'..=b'E'] => Meaning::Key(plain(Key::F(letter - b'A' + 1))),
            _ => Meaning::Nothing,
        },
        [0x1b, b'[', middle @ .., last] | [0x1b, b'O', middle @ .., last] => match last {
            b'@'..=b'~' => sequence(middle, *last).map_or(Meaning::Nothing, Meaning::Key),
            b' '..=b'?' => Meaning::Part,
            _ => Meaning::Nothing,
        },
        [0x1b, rest @ ..] => match meaning(rest) {
            Meaning::Key(key) => Meaning::Key(with(key.code, key.modifiers | KeyModifiers::ALT)),
            other => other,
        },
        _ => character(bytes),
    }
}

/// A byte of the control characters, or one character of UTF-8.
fn character(bytes: &[u8]) -> Meaning {
    let control = |letter: u8| with(Key::Char(letter.into()), KeyModifiers::CONTROL);
    Meaning::Key(match bytes {
        [b'\r' | b'\n'] => plain(Key::Enter),
        [b'\t'] => plain(Key::Tab),
        [0x7f] => plain(Key::Backspace),
        [0] => control(b' '),
        [byte @ 0x01..=0x1a] => control(byte - 1 + b'a'),
        [byte @ 0x1c..=0x1f] => control(byte - 0x1c + b'\\'),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => match text.chars().next() {
                Some(character) => plain(Key::Char(character)),
                None => return Meaning::Nothing,
            },
            Err(error) if error.error_len().is_none() => return Meaning::Part,
            Err(_) => return Meaning::Nothing,
        },
    })
}

/// `ESC [` or `ESC O`, numbers, a letter.
fn sequence(middle: &[u8], last: u8) -> Option<KeyEvent> {
    let text = std::str::from_utf8(middle).ok()?;
    let mut numbers = text.split(';').map(|number| number.parse::<u32>().ok());
    let (first, second, third) = (numbers.next().flatten(), numbers.next().flatten(), numbers.next().flatten());
    // After `ESC O` the only number is the modifiers'.
    let modifiers = second.or(first.filter(|_| last.is_ascii_uppercase())).unwrap_or(1);
    let code = match (last, first) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'F', _) => Key::End,
        (b'H', _) => Key::Home,
        (b'M', None) => Key::Enter,
        (b'P'..=b'S', _) => Key::F(last - b'P' + 1),
        (b'Z', _) => Key::BackTab,
        // The number pad.
        (b'j'..=b'y', None) => Key::Char((last - b'j' + b'*').into()),
        (b'~', Some(1 | 7)) => Key::Home,
        (b'~', Some(2)) => Key::Insert,
        (b'~', Some(3)) => Key::Delete,
        (b'~', Some(4 | 8)) => Key::End,
        (b'~', Some(5)) => Key::PageUp,
        (b'~', Some(6)) => Key::PageDown,
        (b'~', Some(number @ 11..=15)) => Key::F(number as u8 - 10),
        (b'~', Some(number @ 17..=21)) => Key::F(number as u8 - 11),
        (b'~', Some(number @ 23..=24)) => Key::F(number as u8 - 12),
        // A character with modifiers: xterm's modifyOtherKeys and its other form.
        (b'~', Some(27)) => return character_with(third?, modifiers),
        (b'u', Some(character)) => return character_with(character, modifiers),
        _ => return None,
    };
    Some(with(code, held(modifiers)))
}

fn character_with(character: u32, modifiers: u32) -> Option<KeyEvent> {
    let code = match char::from_u32(character)? {
        '\r' => Key::Enter,
        '\t' => Key::Tab,
        '\u{1b}' => Key::Esc,
        '\u{7f}' => Key::Backspace,
        character if character.is_control() => return None,
        character => Key::Char(character),
    };
    Some(with(code, held(modifiers)))
}

/// One more than the sum of 1 for Shift, 2 for Alt, 4 for Ctrl.
fn held(number: u32) -> KeyModifiers {
    let bits = number.saturating_sub(1);
    let modifiers = [(1, KeyModifiers::SHIFT), (2, KeyModifiers::ALT), (4, KeyModifiers::CONTROL)];
    modifiers.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, modifier)| modifier).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::fmt::Write as _;

    fn names(keys: &[KeyEvent]) -> String {
        let mut text = String::new();
        for key in keys {
            let mut modifiers = String::new();
            for (modifier, letter) in
                [(KeyModifiers::SHIFT, "S-"), (KeyModifiers::ALT, "A-"), (KeyModifiers::CONTROL, "C-")]
            {
                modifiers.push_str(if key.modifiers.contains(modifier) { letter } else { "" });
            }
            let code = match key.code {
                Key::Char(character) => character.to_string(),
                Key::F(number) => format!("F{number}"),
                other => format!("{other:?}"),
            };
            write!(text, "{modifiers}{code} ").unwrap();
        }
        text.trim_end().to_owned()
    }
    /// All at once, then byte by byte, then as it is after a pause.
    fn typed(bytes: &[u8]) -> String {
        let now = Instant::now();
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        let mut parser = Parser::default();
        parser.feed(bytes, now, &mut whole);
        parser.wait(now + REST, &mut whole);
        for byte in bytes {
            parser.feed(&[*byte], now, &mut pieces);
        }
        parser.wait(now + REST, &mut pieces);
        assert_eq!(whole, pieces, "{bytes:?}");
        assert!(parser.begun.is_empty());
        names(&whole)
    }

    #[test]
    fn bytes_are_keys_however_they_are_cut() {
        let cases: &[(&str, &str)] = &[
            ("aZ\u{e9}\u{20ac}", "a Z \u{e9} \u{20ac}"),
            ("\r\t\x7f\x08\0", "Enter Tab Backspace C-h C- "),
            ("\x01\x1a\x1c\x1d\x1e\x1f", "C-a C-z C-\\ C-] C-^ C-_"),
            ("\x1bOP\x1bOQ\x1bOR\x1bOS\x1b[15~\x1b[17~\x1b[21~\x1b[23~\x1b[24~", "F1 F2 F3 F4 F5 F6 F10 F11 F12"),
            ("\x1b[11~\x1b[14~\x1b[[A\x1b[[E", "F1 F4 F1 F5"),
            ("\x1b[A\x1bOB\x1b[C\x1b[D\x1b[H\x1bOF\x1b[1~\x1b[8~", "Up Down Right Left Home End Home End"),
            ("\x1b[2~\x1b[3~\x1b[5~\x1b[6~\x1b[Z", "Insert Delete PageUp PageDown BackTab"),
            ("\x1b[1;5A\x1b[1;2P\x1b[3;3~\x1bO5P", "C-Up S-F1 A-Delete C-F1"),
            ("\x1bx\x1b\r\x1b\x01\x1b\u{e9}", "A-x A-Enter A-C-a A-\u{e9}"),
            ("\x1bOM\x1bOj\x1bOy", "Enter * 9"),
            ("\x1b[27;6;68~\x1b[97;5u\x1b[13;2u", "S-C-D C-a S-Enter"),
            // Escape alone, twice, before a sequence, before a letter of sequences.
            ("\x1b", "Esc"),
            ("\x1b\x1b", "Esc Esc"),
            ("\x1b\x1b[A", "Esc Up"),
            ("\x1bO", "A-O"),
            ("\x1b[", "A-["),
            // What is no key changes nothing: focus, unknown sequences, bytes that are not UTF-8.
            ("\x1b[Ia\x1b[?62;4cb\x1b[99~c\x1b[1;2;3;4;5Xd", "a b c d"),
        ];
        for (bytes, keys) in cases {
            assert_eq!(&typed(bytes.as_bytes()), keys.trim_end(), "{bytes:?}");
        }
        assert_eq!(typed(b"\xffa\xc3(b\x1b[\x07c"), "a b c");
        let long = [b"\x1b[".to_vec(), vec![b'1'; 1000], b"A".to_vec()].concat();
        assert!(typed(&long).ends_with('A'));
    }

    #[test]
    fn an_escape_is_a_key_only_when_nothing_follows() {
        let (now, mut keys, mut parser) = (Instant::now(), Vec::new(), Parser::default());
        parser.feed(b"\x1b", now, &mut keys);
        parser.wait(now + REST / 2, &mut keys);
        assert_eq!(names(&keys), "");
        parser.feed(b"O", now + REST / 2, &mut keys);
        parser.feed(b"P", now + REST, &mut keys);
        assert_eq!(names(&keys), "F1");
        parser.feed(b"\x1b", now, &mut keys);
        parser.feed(b"P", now + REST, &mut keys);
        assert_eq!(names(&keys), "F1 Esc P");
    }
}
