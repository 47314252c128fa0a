//! What one client and the server say to each other: bytes in, events and bytes out.
//!
//! Nothing here waits, and nothing that a client sends makes it panic, loop or keep more than
//! about a mebibyte beside the picture.

use crate::encodings::{self, Part, PixelFormat, Zrle};
use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use screen::keysyms::Typist;
use screen::{Event, KeyCode, Picture, button};

/// What all clients of a server are told.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The name of the screen.
    pub name: String,
    /// The password, if there is one; its first eight bytes count.
    pub password: Option<Vec<u8>>,
}

/// Why a client is sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Its first words are not the protocol's.
    #[error("it speaks no RFB")]
    Version,
    /// It wants a kind of security that was not offered.
    #[error("it asked for a kind of security that was not offered")]
    Security,
    /// The password was wrong.
    #[error("the password is wrong")]
    Password,
    /// A pixel format that makes no sense.
    #[error("it asked for an impossible pixel format")]
    PixelFormat,
    /// A message that nobody knows.
    #[error("it sent a message of unknown type {0}")]
    Message(u8),
    /// It talks without listening.
    #[error("it does not read what it is sent")]
    Deaf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Version,
    Security,
    Answer,
    Start,
    Running,
    /// After an error: nothing counts any more.
    Over,
}

/// Encodings and pseudo-encodings.
mod number {
    pub(super) const RAW: i32 = 0;
    pub(super) const HEXTILE: i32 = 5;
    pub(super) const ZRLE: i32 = 16;
    pub(super) const DESKTOP_SIZE: i32 = -223;
    /// The client can be told that the pointer is relative (QEMU).
    pub(super) const POINTER_TYPE: i32 = -257;
    /// The client can send hardware key codes (QEMU).
    pub(super) const EXTENDED_KEYS: i32 = -258;
}

/// Replies that wait for a client that does not read.
const MOST_REPLIES: usize = 1 << 20;
/// Largest side of a picture; nothing larger is made.
const LARGEST: usize = 16384;
/// Stands for "whatever the client shows, it is wrong": no pixel has a fourth byte.
const UNKNOWN: u32 = u32::MAX;
/// Where a relative pointer stands still.
const REST: i32 = 0x7fff;

/// The server's side of the conversation with one client.
pub struct Session {
    settings: Settings,
    state: State,
    /// Minor version: 3, 7 or 8.
    version: u8,
    challenge: [u8; 16],
    locked: bool,
    input: Vec<u8>,
    /// Bytes of a message that are of no interest.
    skip: usize,
    output: Vec<u8>,
    format: PixelFormat,
    encoding: i32,
    zrle: Zrle,
    resizes: bool,
    relative: bool,
    extended_keys: bool,
    /// Pseudo-rectangles that must be sent: x, width, height, number.
    notices: Vec<(u16, u16, u16, i32)>,
    /// Whether the client was told that the pointer is absolute.
    told_absolute: bool,
    size: (usize, usize),
    /// What the client shows.
    shown: Vec<u32>,
    /// x, y, width, height of the last request that has not been answered.
    request: Option<[usize; 4]>,
    /// The generation that the client shows wholly.
    seen: Option<u64>,
    typist: Typist,
    buttons: u8,
}

impl Session {
    /// A client has connected and the screen has this size. `challenge` must be unpredictable
    /// when there is a password.
    #[must_use]
    pub fn new(settings: Settings, size: (usize, usize), challenge: [u8; 16]) -> Session {
        let size = (size.0.clamp(1, LARGEST), size.1.clamp(1, LARGEST));
        Session {
            settings,
            state: State::Version,
            version: 8,
            challenge,
            locked: false,
            input: Vec::new(),
            skip: 0,
            output: b"RFB 003.008\n".to_vec(),
            format: PixelFormat::DEFAULT,
            encoding: number::RAW,
            zrle: Zrle::new(),
            resizes: false,
            relative: false,
            extended_keys: false,
            notices: Vec::new(),
            told_absolute: true,
            size,
            shown: Vec::new(),
            request: None,
            seen: None,
            typist: Typist::new(),
            buttons: 0,
        }
    }
    /// Whether the client has passed security and looks at the screen.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }
    /// While locked, every password is wrong; after a wrong one, so that nobody can try many.
    pub fn lock(&mut self, locked: bool) {
        self.locked = locked;
    }
    /// The bytes to send, which are then forgotten.
    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
    /// The client has gone: its keys and buttons are let go.
    pub fn leave(&mut self, events: &mut Vec<Event>) {
        self.typist.release(events);
        if std::mem::take(&mut self.buttons) & 7 != 0 {
            events.push(Event::Motion { dx: 0, dy: 0, wheel: 0, buttons: 0 });
        }
        self.state = State::Over;
    }

    // --- from the client ----------------------------------------------------------------------

    /// Takes bytes from the client. After an error what [`output`](Session::output) has is sent,
    /// and the connection closed.
    ///
    /// # Errors
    /// See [`ProtocolError`].
    pub fn receive(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), ProtocolError> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.input.extend(&bytes[skipped..]);
        let mut input = std::mem::take(&mut self.input);
        let mut at = 0;
        let mut result = Ok(());
        while result.is_ok() {
            match self.message(&input[at..], events) {
                Ok(Some(length)) => at += length,
                Ok(None) => break,
                Err(error) => result = Err(error),
            }
            // What is to be skipped may have come already.
            let skipped = self.skip.min(input.len().saturating_sub(at));
            self.skip -= skipped;
            at += skipped;
            if self.output.len() > MOST_REPLIES {
                result = Err(ProtocolError::Deaf);
            }
        }
        input.drain(..at.min(input.len()));
        self.input = input;
        if result.is_err() {
            self.state = State::Over;
            self.input.clear();
        }
        result
    }

    /// Takes one message; how long it was, or `None` when more bytes must come.
    fn message(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<Option<usize>, ProtocolError> {
        match self.state {
            State::Over => Ok(None),
            State::Version => match bytes.first_chunk::<12>() {
                Some(version) => self.version(version).map(|()| Some(12)),
                // Whoever begins with something else is told so at once.
                None if !b"RFB 003.".starts_with(&bytes[..bytes.len().min(8)]) => Err(ProtocolError::Version),
                None => Ok(None),
            },
            State::Security => match bytes.first() {
                None => Ok(None),
                Some(1) if self.settings.password.is_none() => {
                    if self.version == 8 {
                        self.output.extend([0; 4]);
                    }
                    self.state = State::Start;
                    Ok(Some(1))
                }
                Some(2) if self.settings.password.is_some() => {
                    self.output.extend(self.challenge);
                    self.state = State::Answer;
                    Ok(Some(1))
                }
                Some(_) => {
                    self.refuse("no such security type");
                    Err(ProtocolError::Security)
                }
            },
            State::Answer => match bytes.first_chunk::<16>() {
                None => Ok(None),
                Some(answer) => {
                    if self.locked || !self.is_right(answer) {
                        self.refuse("wrong password");
                        return Err(ProtocolError::Password);
                    }
                    self.output.extend([0; 4]);
                    self.state = State::Start;
                    Ok(Some(16))
                }
            },
            // Whether it shares the screen: everybody does.
            State::Start if bytes.is_empty() => Ok(None),
            State::Start => {
                self.output.extend((self.size.0 as u16).to_be_bytes());
                self.output.extend((self.size.1 as u16).to_be_bytes());
                self.output.extend(self.format.to_bytes());
                self.output.extend((self.settings.name.len() as u32).to_be_bytes());
                self.output.extend(self.settings.name.as_bytes());
                self.forget();
                self.state = State::Running;
                Ok(Some(1))
            }
            State::Running => self.command(bytes, events),
        }
    }

    fn version(&mut self, version: &[u8; 12]) -> Result<(), ProtocolError> {
        let digits = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            text.and_then(|text| text.parse::<u16>().ok())
        };
        let [b'R', b'F', b'B', b' ', major @ .., b'\n'] = version else { return Err(ProtocolError::Version) };
        let minor = match (digits(&major[..3]), major[3], digits(&major[4..])) {
            (Some(3), b'.', Some(minor)) => minor,
            // A client of a later version is content with the last one that there is.
            (Some(4..), b'.', Some(_)) => 8,
            _ => return Err(ProtocolError::Version),
        };
        let kind = if self.settings.password.is_some() { 2 } else { 1 };
        self.version = match minor {
            ..=6 => 3,
            7 => 7,
            _ => 8,
        };
        if self.version == 3 {
            // The server decides.
            self.output.extend([0, 0, 0, kind]);
            if kind == 2 {
                self.output.extend(self.challenge);
            }
            self.state = if kind == 2 { State::Answer } else { State::Start };
        } else {
            self.output.extend([1, kind]);
            self.state = State::Security;
        }
        Ok(())
    }
    fn refuse(&mut self, reason: &str) {
        self.output.extend([0, 0, 0, 1]);
        if self.version == 8 {
            self.output.extend((reason.len() as u32).to_be_bytes());
            self.output.extend(reason.as_bytes());
        }
    }
    fn is_right(&self, answer: &[u8; 16]) -> bool {
        let expected = answer_to(&self.challenge, self.settings.password.as_deref().unwrap_or_default());
        // No early end: how long it takes must not tell how much was right.
        expected.iter().zip(answer).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }

    fn command(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<Option<usize>, ProtocolError> {
        let Some(kind) = bytes.first() else { return Ok(None) };
        match kind {
            0 => {
                let Some([_, _, _, _, format @ ..]) = bytes.first_chunk::<20>() else { return Ok(None) };
                let (format, mapped) = PixelFormat::parse(*format).ok_or(ProtocolError::PixelFormat)?;
                self.format = format;
                self.forget();
                if mapped {
                    self.send_map();
                }
                Ok(Some(20))
            }
            2 => {
                let Some([_, _, high, low]) = bytes.first_chunk::<4>() else { return Ok(None) };
                let length = 4 + usize::from(u16::from_be_bytes([*high, *low])) * 4;
                let Some(list) = bytes.get(4..length) else { return Ok(None) };
                let list: Vec<i32> = list
                    .chunks_exact(4)
                    .map(|number| i32::from_be_bytes([number[0], number[1], number[2], number[3]]))
                    .collect();
                self.encodings(&list);
                Ok(Some(length))
            }
            3 => {
                let Some([_, incremental, area @ ..]) = bytes.first_chunk::<10>() else { return Ok(None) };
                let word = |at: usize| usize::from(u16::from_be_bytes([area[at], area[at + 1]]));
                self.ask(*incremental != 0, [word(0), word(2), word(4), word(6)]);
                Ok(Some(10))
            }
            4 => {
                let Some([_, down, _, _, a, b, c, d]) = bytes.first_chunk::<8>() else { return Ok(None) };
                self.typist.keysym(u32::from_be_bytes([*a, *b, *c, *d]), *down != 0, events);
                Ok(Some(8))
            }
            5 => {
                let Some([_, buttons, x1, x0, y1, y0]) = bytes.first_chunk::<6>() else { return Ok(None) };
                self.point(*buttons, u16::from_be_bytes([*x1, *x0]), u16::from_be_bytes([*y1, *y0]), events);
                Ok(Some(6))
            }
            6 => {
                let Some([_, _, _, _, a, b, c, d]) = bytes.first_chunk::<8>() else { return Ok(None) };
                // The guest has no clipboard.
                self.skip = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                Ok(Some(8))
            }
            255 => {
                let Some([_, what, d1, d0, keysym @ .., c3, c2, c1, c0]) = bytes.first_chunk::<12>() else {
                    return Ok(None);
                };
                if *what != 0 {
                    return Err(ProtocolError::Message(255));
                }
                let down = (*d1, *d0) != (0, 0);
                match scan_code(u32::from_be_bytes([*c3, *c2, *c1, *c0])) {
                    Some(key) => self.typist.key(key, down, events),
                    None => self.typist.keysym(u32::from_be_bytes(*keysym), down, events),
                }
                Ok(Some(12))
            }
            other => Err(ProtocolError::Message(*other)),
        }
    }

    fn encodings(&mut self, list: &[i32]) {
        let known = [number::RAW, number::HEXTILE, number::ZRLE];
        self.encoding = list.iter().copied().find(|number| known.contains(number)).unwrap_or(number::RAW);
        self.resizes = list.contains(&number::DESKTOP_SIZE);
        self.relative = list.contains(&number::POINTER_TYPE);
        let extended = list.contains(&number::EXTENDED_KEYS);
        if extended && !self.extended_keys {
            self.notices.push((0, 0, 0, number::EXTENDED_KEYS));
        }
        self.extended_keys = extended;
    }
    /// The client has forgotten, or never knew, what the screen looks like.
    fn forget(&mut self) {
        self.shown.clear();
        self.shown.resize(self.size.0 * self.size.1, UNKNOWN);
        self.seen = None;
    }
    fn ask(&mut self, incremental: bool, [x, y, width, height]: [usize; 4]) {
        let x = x.min(self.size.0);
        let y = y.min(self.size.1);
        let area = [x, y, width.min(self.size.0 - x), height.min(self.size.1 - y)];
        if !incremental {
            for line in self.shown.chunks_exact_mut(self.size.0).skip(y).take(area[3]) {
                line[x..x + area[2]].fill(UNKNOWN);
            }
            self.seen = None;
        }
        self.request = Some(match self.request {
            None => area,
            Some([a, b, c, d]) => {
                let (left, top) = (a.min(x), b.min(y));
                [left, top, (a + c).max(x + area[2]) - left, (b + d).max(y + area[3]) - top]
            }
        });
    }
    fn point(&mut self, mask: u8, x: u16, y: u16, events: &mut Vec<Event>) {
        let pressed = mask & !self.buttons;
        self.buttons = mask;
        let mut buttons = 0;
        for (bit, button) in [(1, button::LEFT), (2, button::MIDDLE), (4, button::RIGHT)] {
            if mask & bit != 0 {
                buttons |= button;
            }
        }
        // A step of the wheel is a press of the fourth or fifth button.
        let wheel = i8::from(pressed & 16 != 0) - i8::from(pressed & 8 != 0);
        if self.relative && !self.told_absolute {
            let (dx, dy) = (i32::from(x) - REST, i32::from(y) - REST);
            return events.push(Event::Motion { dx, dy, wheel, buttons });
        }
        let share = |at: u16, length: usize| {
            let last = length.saturating_sub(1).max(1) as u64;
            // Rounded up, because drivers round down when they scale back.
            (u64::from(at) * 65535).div_ceil(last).min(65535) as u16
        };
        events.push(Event::Pointer { x: share(x, self.size.0), y: share(y, self.size.1), wheel, buttons });
    }

    // --- to the client ------------------------------------------------------------------------

    fn send_map(&mut self) {
        self.output.extend([1, 0, 0, 0, 1, 0]);
        let format = PixelFormat::MAPPED;
        for index in 0..256u32 {
            for (max, shift) in format.max.into_iter().zip(format.shift) {
                let level = (index >> shift & u32::from(max)) * 65535 / u32::from(max);
                self.output.extend((level as u16).to_be_bytes());
            }
        }
    }

    /// Whether the client waits for a picture newer than `generation`'s predecessor: calling
    /// [`update`](Session::update) may be worth it.
    #[must_use]
    pub fn waits(&self, generation: u64) -> bool {
        self.state == State::Running
            && (self.request.is_some() && self.seen != Some(generation) || !self.notices.is_empty())
    }

    /// Answers the client's request with what has changed, if it has asked and anything has.
    /// `generation` must differ whenever `picture` does. `absolute` says whether the guest takes
    /// absolute positions of the pointer.
    pub fn update(&mut self, picture: &Picture, generation: u64, absolute: bool) -> bool {
        if self.state != State::Running || self.request.is_none() && self.notices.is_empty() {
            return false;
        }
        if self.relative && absolute != self.told_absolute {
            self.told_absolute = absolute;
            self.notices.push((u16::from(absolute), self.size.0 as u16, self.size.1 as u16, number::POINTER_TYPE));
        }
        let size = (picture.width.clamp(1, LARGEST), picture.height.clamp(1, LARGEST));
        let mut sent = std::mem::take(&mut self.notices);
        if self.resizes && size != self.size {
            self.size = size;
            self.forget();
            // The client asks for the new picture by itself.
            self.request = None;
            sent.push((0, size.0 as u16, size.1 as u16, number::DESKTOP_SIZE));
        }
        let mut parts = Vec::new();
        if let Some(area) = self.request
            && self.seen != Some(generation)
        {
            parts = self.changes(picture, area);
            if !parts.is_empty() {
                self.request = None;
            }
            // Only when all of the screen was asked for has all of it been looked at.
            if area == [0, 0, self.size.0, self.size.1] {
                self.seen = Some(generation);
            }
        }
        if sent.is_empty() && parts.is_empty() {
            return false;
        }
        self.output.extend([0, 0]);
        self.output.extend(((sent.len() + parts.len()) as u16).to_be_bytes());
        for (x, width, height, number) in sent {
            self.header([usize::from(x), 0, usize::from(width), usize::from(height)], number);
        }
        for area in parts {
            self.header(area, self.encoding);
            let [x, y, width, height] = area;
            let part = Part { pixels: &self.shown, stride: self.size.0, x, y, width, height };
            match self.encoding {
                number::HEXTILE => encodings::hextile(part, &self.format, &mut self.output),
                number::ZRLE => self.zrle.encode(part, &self.format, &mut self.output),
                _ => encodings::raw(part, &self.format, &mut self.output),
            }
        }
        true
    }
    fn header(&mut self, area: [usize; 4], number: i32) {
        for value in area {
            self.output.extend((value as u16).to_be_bytes());
        }
        self.output.extend(number.to_be_bytes());
    }

    /// Takes over what has changed inside `area`, and says where that is. A client that cannot
    /// resize sees the upper left part of a larger picture, and black around a smaller one.
    fn changes(&mut self, picture: &Picture, [left, top, width, height]: [usize; 4]) -> Vec<[usize; 4]> {
        const WIDE: usize = 64;
        const HIGH: usize = 16;
        let mut found: Vec<[usize; 4]> = Vec::new();
        let stride = self.size.0;
        let black = [0; WIDE];
        for y in (top..top + height).step_by(HIGH) {
            let high = HIGH.min(top + height - y);
            let mut open: Option<[usize; 4]> = None;
            let mut band = Vec::new();
            for x in (left..left + width).step_by(WIDE) {
                let wide = WIDE.min(left + width - x);
                let mut differs = false;
                for line in y..y + high {
                    let theirs = &mut self.shown[line * stride + x..][..wide];
                    let in_picture = if line < picture.height { picture.width.saturating_sub(x).min(wide) } else { 0 };
                    let start = line * picture.width + x;
                    let ours = picture.pixels.get(start..start + in_picture).unwrap_or(&[]);
                    let (inside, beside) = theirs.split_at_mut(ours.len());
                    for (theirs, ours) in [(inside, ours), (beside, &black[..wide - ours.len()])] {
                        if theirs != ours {
                            theirs.copy_from_slice(ours);
                            differs = true;
                        }
                    }
                }
                match (&mut open, differs) {
                    (Some(area), true) => area[2] += wide,
                    (None, true) => open = Some([x, y, wide, high]),
                    (_, false) => band.extend(open.take()),
                }
            }
            band.extend(open);
            for area in band {
                let above = |other: &&mut [usize; 4]| {
                    other[0] == area[0] && other[2] == area[2] && other[1] + other[3] == area[1]
                };
                match found.iter_mut().rev().take(2 * stride.div_ceil(WIDE)).find(above) {
                    Some(other) => other[3] += area[3],
                    None => found.push(area),
                }
            }
        }
        found
    }
}

/// The key of a code as QEMU's extension has it: set 1, with bit 7 for the prefix E0h.
fn scan_code(code: u32) -> Option<KeyCode> {
    match code {
        // What Alt makes of Print Screen.
        0x54 => Some(KeyCode::PrintScreen),
        1..=0x7f => KeyCode::of_scan_code(code as u16),
        0x81..=0xff => KeyCode::of_scan_code(0xe000 | (code & 0x7f) as u16),
        0xe001..=0xe07f => KeyCode::of_scan_code(code as u16),
        _ => None,
    }
}

/// The challenge, encrypted with the password (RFC 6143 section 7.2.2): the bits of each byte of
/// the key are the other way round.
#[must_use]
pub fn answer_to(challenge: &[u8; 16], password: &[u8]) -> [u8; 16] {
    let mut key = [0; 8];
    for (byte, character) in key.iter_mut().zip(password) {
        *byte = character.reverse_bits();
    }
    let cipher = Des::new(&key.into());
    let mut answer = *challenge;
    for block in answer.chunks_exact_mut(8) {
        let mut encrypted = [0; 8];
        encrypted.copy_from_slice(block);
        let mut encrypted = encrypted.into();
        cipher.encrypt_block(&mut encrypted);
        block.copy_from_slice(&encrypted);
    }
    answer
}

#[cfg(test)]
mod tests;
