//! The PS/2 keyboard (IBM PS/2 Hardware Interface Technical Reference, Keyboard): scan code sets
//! 1, 2 and 3, all commands.
//!
//! It has no registers: the keyboard controller ([`I8042`](crate::i8042::I8042)) sends it command
//! bytes and fetches what it says. A key that is held repeats after the typematic delay in guest
//! time. Not emulated: the serial protocol on the wire and its parity errors.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::device::{RestoreError, Time};

/// How many scan code bytes the keyboard keeps; then it says "overrun".
const BUFFER_SIZE: usize = 64;
const ACKNOWLEDGE: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;
/// Time between a reset command and the end of the self test.
const SELF_TEST_TIME: u64 = 2_000_000;

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident = $code:literal / $set3:literal),* $(,)?) => {
        /// A key of a PC keyboard (102 keys, with the ACPI and Japanese and Brazilian extras),
        /// named by what is printed on it on a US layout.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum KeyCode { $($(#[$doc])* $name),* }

        impl KeyCode {
            /// Every key.
            pub const ALL: &'static [KeyCode] = &[$(KeyCode::$name),*];

            /// The key whose make code in set 1 is `code`, with E0h in the upper byte where that is
            /// sent as a prefix; Print Screen is E037h and Pause E046h, whatever sequences they send.
            #[must_use]
            pub fn of_scan_code(code: u16) -> Option<KeyCode> {
                KeyCode::ALL.iter().copied().find(|key| key.set1() == code)
            }
            /// The make code in set 1 (E0h in the upper byte where it is sent as a prefix).
            /// Print Screen and Pause have sequences of their own.
            const fn set1(self) -> u16 {
                match self { $(KeyCode::$name => $code),* }
            }
            /// The make code in set 3; 0 when the key has none there.
            const fn set3(self) -> u8 {
                match self { $(KeyCode::$name => $set3),* }
            }
        }
    };
}

#[rustfmt::skip]
keys! {
    /// Escape.
    Escape = 0x01 / 0x08,
    /// 1.
    Digit1 = 0x02 / 0x16,
    /// 2.
    Digit2 = 0x03 / 0x1e,
    /// 3.
    Digit3 = 0x04 / 0x26,
    /// 4.
    Digit4 = 0x05 / 0x25,
    /// 5.
    Digit5 = 0x06 / 0x2e,
    /// 6.
    Digit6 = 0x07 / 0x36,
    /// 7.
    Digit7 = 0x08 / 0x3d,
    /// 8.
    Digit8 = 0x09 / 0x3e,
    /// 9.
    Digit9 = 0x0a / 0x46,
    /// 0.
    Digit0 = 0x0b / 0x45,
    /// `-`.
    Minus = 0x0c / 0x4e,
    /// `=`.
    Equal = 0x0d / 0x55,
    /// Backspace.
    Backspace = 0x0e / 0x66,
    /// Tab.
    Tab = 0x0f / 0x0d,
    /// Q.
    Q = 0x10 / 0x15,
    /// W.
    W = 0x11 / 0x1d,
    /// E.
    E = 0x12 / 0x24,
    /// R.
    R = 0x13 / 0x2d,
    /// T.
    T = 0x14 / 0x2c,
    /// Y.
    Y = 0x15 / 0x35,
    /// U.
    U = 0x16 / 0x3c,
    /// I.
    I = 0x17 / 0x43,
    /// O.
    O = 0x18 / 0x44,
    /// P.
    P = 0x19 / 0x4d,
    /// `[`.
    LeftBracket = 0x1a / 0x54,
    /// `]`.
    RightBracket = 0x1b / 0x5b,
    /// Enter.
    Enter = 0x1c / 0x5a,
    /// Left Control.
    LeftControl = 0x1d / 0x11,
    /// A.
    A = 0x1e / 0x1c,
    /// S.
    S = 0x1f / 0x1b,
    /// D.
    D = 0x20 / 0x23,
    /// F.
    F = 0x21 / 0x2b,
    /// G.
    G = 0x22 / 0x34,
    /// H.
    H = 0x23 / 0x33,
    /// J.
    J = 0x24 / 0x3b,
    /// K.
    K = 0x25 / 0x42,
    /// L.
    L = 0x26 / 0x4b,
    /// `;`.
    Semicolon = 0x27 / 0x4c,
    /// `'`.
    Quote = 0x28 / 0x52,
    /// Backquote.
    Backquote = 0x29 / 0x0e,
    /// Left Shift.
    LeftShift = 0x2a / 0x12,
    /// `\`.
    Backslash = 0x2b / 0x5c,
    /// Z.
    Z = 0x2c / 0x1a,
    /// X.
    X = 0x2d / 0x22,
    /// C.
    C = 0x2e / 0x21,
    /// V.
    V = 0x2f / 0x2a,
    /// B.
    B = 0x30 / 0x32,
    /// N.
    N = 0x31 / 0x31,
    /// M.
    M = 0x32 / 0x3a,
    /// `,`.
    Comma = 0x33 / 0x41,
    /// `.`.
    Period = 0x34 / 0x49,
    /// `/`.
    Slash = 0x35 / 0x4a,
    /// Right Shift.
    RightShift = 0x36 / 0x59,
    /// `*` on the keypad.
    KeypadMultiply = 0x37 / 0x7e,
    /// Left Alt.
    LeftAlt = 0x38 / 0x19,
    /// Space.
    Space = 0x39 / 0x29,
    /// Caps Lock.
    CapsLock = 0x3a / 0x14,
    /// F1.
    F1 = 0x3b / 0x07,
    /// F2.
    F2 = 0x3c / 0x0f,
    /// F3.
    F3 = 0x3d / 0x17,
    /// F4.
    F4 = 0x3e / 0x1f,
    /// F5.
    F5 = 0x3f / 0x27,
    /// F6.
    F6 = 0x40 / 0x2f,
    /// F7.
    F7 = 0x41 / 0x37,
    /// F8.
    F8 = 0x42 / 0x3f,
    /// F9.
    F9 = 0x43 / 0x47,
    /// F10.
    F10 = 0x44 / 0x4f,
    /// Num Lock.
    NumLock = 0x45 / 0x76,
    /// Scroll Lock.
    ScrollLock = 0x46 / 0x5f,
    /// 7 on the keypad.
    Keypad7 = 0x47 / 0x6c,
    /// 8 on the keypad.
    Keypad8 = 0x48 / 0x75,
    /// 9 on the keypad.
    Keypad9 = 0x49 / 0x7d,
    /// `-` on the keypad.
    KeypadMinus = 0x4a / 0x84,
    /// 4 on the keypad.
    Keypad4 = 0x4b / 0x6b,
    /// 5 on the keypad.
    Keypad5 = 0x4c / 0x73,
    /// 6 on the keypad.
    Keypad6 = 0x4d / 0x74,
    /// `+` on the keypad.
    KeypadPlus = 0x4e / 0x7c,
    /// 1 on the keypad.
    Keypad1 = 0x4f / 0x69,
    /// 2 on the keypad.
    Keypad2 = 0x50 / 0x72,
    /// 3 on the keypad.
    Keypad3 = 0x51 / 0x7a,
    /// 0 on the keypad.
    Keypad0 = 0x52 / 0x70,
    /// `.` on the keypad.
    KeypadPeriod = 0x53 / 0x71,
    /// The key between left Shift and Z on 102-key keyboards.
    International102 = 0x56 / 0x13,
    /// F11.
    F11 = 0x57 / 0x56,
    /// F12.
    F12 = 0x58 / 0x5e,
    /// Enter on the keypad.
    KeypadEnter = 0xe01c / 0x79,
    /// Right Control.
    RightControl = 0xe01d / 0x58,
    /// `/` on the keypad.
    KeypadDivide = 0xe035 / 0x77,
    /// Print Screen.
    PrintScreen = 0xe037 / 0x57,
    /// Right Alt.
    RightAlt = 0xe038 / 0x39,
    /// Pause.
    Pause = 0xe046 / 0x62,
    /// Home.
    Home = 0xe047 / 0x6e,
    /// Cursor up.
    Up = 0xe048 / 0x63,
    /// Page Up.
    PageUp = 0xe049 / 0x6f,
    /// Cursor left.
    Left = 0xe04b / 0x61,
    /// Cursor right.
    Right = 0xe04d / 0x6a,
    /// End.
    End = 0xe04f / 0x65,
    /// Cursor down.
    Down = 0xe050 / 0x60,
    /// Page Down.
    PageDown = 0xe051 / 0x6d,
    /// Insert.
    Insert = 0xe052 / 0x67,
    /// Delete.
    Delete = 0xe053 / 0x64,
    /// Left Windows.
    LeftMeta = 0xe05b / 0x8b,
    /// Right Windows.
    RightMeta = 0xe05c / 0x8c,
    /// Menu.
    Menu = 0xe05d / 0x8d,
    /// ACPI power.
    Power = 0xe05e / 0x00,
    /// ACPI sleep.
    Sleep = 0xe05f / 0x00,
    /// ACPI wake.
    Wake = 0xe063 / 0x00,
    /// Katakana/Hiragana (Japanese).
    KanaMode = 0x70 / 0x87,
    /// Ro (Japanese), `/` (Brazilian).
    InternationalRo = 0x73 / 0x51,
    /// Henkan (Japanese).
    Convert = 0x79 / 0x86,
    /// Muhenkan (Japanese).
    NonConvert = 0x7b / 0x85,
    /// Yen (Japanese).
    Yen = 0x7d / 0x5d,
    /// `.` on the keypad (Brazilian).
    KeypadComma = 0x7e / 0x7b,
}

/// Set 1 code to set 2 code, for the 89 codes of the basic block; 0 where there is none.
#[allow(clippy::indexing_slicing, reason = "computed while compiling")]
const SET2_OF_SET1: [u8; 128] = {
    let mut table = [0; 128];
    let mut set2 = 0;
    while set2 < 128 {
        let set1 = SET1_OF_SET2[set2];
        // Codes that have no key translate to themselves; the real ones win.
        if set1 < 0x80 && table[set1 as usize] == 0 && set2 != 0 {
            table[set1 as usize] = set2 as u8;
        }
        set2 += 1;
    }
    // F7 is the one code of set 2 above 7Fh; Print Screen's 84h is that of Alt+SysRq.
    table[0x41] = 0x83;
    table
};

/// The translation the keyboard controller does for codes below 80h (IBM PS/2 Hardware Interface
/// Technical Reference, Keyboard and Auxiliary Device Controller).
#[rustfmt::skip]
pub(crate) const SET1_OF_SET2: [u8; 128] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
];

/// The keys that type `character` on a US layout, in the order in which to press them (release in
/// the reverse order). `None` when no key has it.
#[must_use]
pub fn text_to_keys(character: char) -> Option<Vec<KeyCode>> {
    const PLAIN: &str = "1234567890-=qwertyuiop[]asdfghjkl;'`\\zxcvbnm,./ \n\t\u{8}\u{1b}";
    const SHIFTED: &str = "!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"~|ZXCVBNM<>?";
    use KeyCode::*;
    #[rustfmt::skip]
    const KEYS: [KeyCode; 52] = [
        Digit1, Digit2, Digit3, Digit4, Digit5, Digit6, Digit7, Digit8, Digit9, Digit0, Minus, Equal,
        Q, W, E, R, T, Y, U, I, O, P, LeftBracket, RightBracket,
        A, S, D, F, G, H, J, K, L, Semicolon, Quote, Backquote, Backslash,
        Z, X, C, V, B, N, M, Comma, Period, Slash, Space, Enter, Tab, Backspace, Escape,
    ];
    let character = if character == '\r' { '\n' } else { character };
    let find = |set: &str| {
        let place = set.chars().position(|candidate| candidate == character)?;
        KEYS.get(place).copied()
    };
    find(PLAIN).map(|key| vec![key]).or_else(|| find(SHIFTED).map(|key| vec![LeftShift, key]))
}

/// How a key behaves in set 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum KeyType {
    Make,
    MakeBreak,
    Typematic,
    TypematicMakeBreak,
}

impl KeyType {
    fn breaks(self) -> bool {
        matches!(self, KeyType::MakeBreak | KeyType::TypematicMakeBreak)
    }
    fn repeats(self) -> bool {
        matches!(self, KeyType::Typematic | KeyType::TypematicMakeBreak)
    }
}

/// A command that waits for its parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Parameter {
    Leds,
    ScanCodeSet,
    Typematic,
    KeyType(KeyType),
}

/// The keyboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyboard {
    /// 1, 2 or 3.
    scan_code_set: u8,
    scanning: bool,
    leds: u8,
    typematic: u8,
    /// Set 3 types that commands changed, by set 3 code.
    key_types: Vec<(u8, KeyType)>,
    /// Set 3 type of all other keys, when a command set one for all.
    all_keys: Option<KeyType>,
    parameter: Option<Parameter>,
    /// Answers to commands, which go out before scan codes.
    answers: VecDeque<u8>,
    scan_codes: VecDeque<u8>,
    last_sent: u8,
    /// When the self test ends.
    testing: Option<Time>,
    held: Vec<KeyCode>,
    repeating: Option<(KeyCode, Time)>,
}

impl Default for Keyboard {
    fn default() -> Keyboard {
        Keyboard::new()
    }
}

impl Keyboard {
    /// A keyboard after its power-on self test; it scans set 2.
    #[must_use]
    pub fn new() -> Keyboard {
        Keyboard {
            scan_code_set: 2,
            scanning: true,
            leds: 0,
            typematic: 0x2b,
            key_types: Vec::new(),
            all_keys: None,
            parameter: None,
            answers: VecDeque::new(),
            scan_codes: VecDeque::new(),
            last_sent: 0,
            testing: None,
            held: Vec::new(),
            repeating: None,
        }
    }
    /// The lamps: bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock.
    #[must_use]
    pub fn leds(&self) -> u8 {
        self.leds
    }

    /// The user presses or releases a key. A press of a held key is ignored: the keyboard repeats
    /// by itself.
    pub fn key(&mut self, key: KeyCode, pressed: bool, now: Time) {
        let place = self.held.iter().position(|held| *held == key);
        match (pressed, place) {
            (true, None) => self.held.push(key),
            (false, Some(place)) => {
                self.held.remove(place);
            }
            _ => return,
        }
        if !pressed && self.repeating.is_some_and(|(repeating, _)| repeating == key) {
            self.repeating = None;
        }
        if !self.scanning || self.testing.is_some() {
            return;
        }
        self.queue(key, pressed);
        if pressed {
            let repeats = key != KeyCode::Pause && (self.scan_code_set != 3 || self.key_type(key).repeats());
            self.repeating = repeats.then(|| (key, now.plus(self.delay())));
        }
    }

    fn delay(&self) -> u64 {
        (u64::from(self.typematic >> 5 & 3) + 1) * 250_000_000
    }
    /// Time between repeats: (8 + A) * 2^B * 4.17 ms.
    fn period(&self) -> u64 {
        (8 + u64::from(self.typematic & 7)) * (1 << (self.typematic >> 3 & 3)) * 4_170_000
    }

    fn key_type(&self, key: KeyCode) -> KeyType {
        let code = key.set3();
        if let Some((_, kind)) = self.key_types.iter().find(|(candidate, _)| *candidate == code) {
            return *kind;
        }
        if let Some(kind) = self.all_keys {
            return kind;
        }
        match key {
            KeyCode::LeftShift | KeyCode::RightShift | KeyCode::LeftControl | KeyCode::LeftAlt | KeyCode::CapsLock => {
                KeyType::MakeBreak
            }
            KeyCode::RightControl
            | KeyCode::RightAlt
            | KeyCode::PrintScreen
            | KeyCode::Pause
            | KeyCode::ScrollLock
            | KeyCode::NumLock
            | KeyCode::Insert
            | KeyCode::Home
            | KeyCode::End
            | KeyCode::PageUp
            | KeyCode::PageDown
            | KeyCode::Escape => KeyType::Make,
            _ if key.set3() < 0x10 || key.set3() & 7 == 7 => KeyType::Make,
            _ => KeyType::Typematic,
        }
    }

    /// Queues a scan code, or the overrun mark when it does not fit.
    fn queue(&mut self, key: KeyCode, pressed: bool) {
        let mut codes = Vec::with_capacity(10);
        match self.scan_code_set {
            3 => {
                let code = key.set3();
                if code == 0 || !pressed && !self.key_type(key).breaks() {
                    return;
                }
                if !pressed {
                    codes.push(0xf0);
                }
                codes.push(code);
            }
            set => self.sequence(key, pressed, set == 2, &mut codes),
        }
        if self.scan_codes.len() + codes.len() < BUFFER_SIZE {
            self.scan_codes.extend(codes);
        } else if self.scan_codes.len() < BUFFER_SIZE {
            let overrun = if self.scan_code_set == 1 { 0xff } else { 0x00 };
            if self.scan_codes.back() != Some(&overrun) {
                self.scan_codes.push_back(overrun);
            }
        }
    }

    /// The bytes of sets 1 and 2, with the shift codes that these put around some keys so that
    /// software for the 84-key keyboard understands them.
    fn sequence(&self, key: KeyCode, pressed: bool, set2: bool, codes: &mut Vec<u8>) {
        let mut push = |code: u16, make: bool| {
            let [low, prefix] = code.to_le_bytes();
            if prefix != 0 {
                codes.push(prefix);
            }
            if !set2 {
                codes.push(if make { low } else { low | 0x80 });
                return;
            }
            if !make {
                codes.push(0xf0);
            }
            codes.push(SET2_OF_SET1.get(usize::from(low)).copied().unwrap_or(0));
        };
        let holds = |key: KeyCode| self.held.contains(&key);
        let control = holds(KeyCode::LeftControl) || holds(KeyCode::RightControl);
        let alt = holds(KeyCode::LeftAlt) || holds(KeyCode::RightAlt);
        let shifts = [(KeyCode::LeftShift, 0xe02a), (KeyCode::RightShift, 0xe036)];
        let shift = shifts.iter().any(|(key, _)| holds(*key));
        match key {
            KeyCode::Pause if control => {
                // Break: pressed and released at once.
                if pressed {
                    push(0xe046, true);
                    push(0xe046, false);
                }
            }
            KeyCode::Pause => {
                if pressed {
                    if set2 {
                        codes.extend([0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77]);
                    } else {
                        codes.extend([0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]);
                    }
                }
            }
            // SysRq.
            KeyCode::PrintScreen if alt && set2 => {
                if !pressed {
                    codes.push(0xf0);
                }
                codes.push(0x84);
            }
            KeyCode::PrintScreen if alt => push(0x54, pressed),
            KeyCode::PrintScreen if control || shift => push(0xe037, pressed),
            KeyCode::PrintScreen if pressed => {
                push(0xe02a, true);
                push(0xe037, true);
            }
            KeyCode::PrintScreen => {
                push(0xe037, false);
                push(0xe02a, false);
            }
            KeyCode::Insert
            | KeyCode::Delete
            | KeyCode::Home
            | KeyCode::End
            | KeyCode::PageUp
            | KeyCode::PageDown
            | KeyCode::Up
            | KeyCode::Down
            | KeyCode::Left
            | KeyCode::Right
            | KeyCode::KeypadDivide
                if shift =>
            {
                // The shift is hidden while such a key is down.
                if pressed {
                    shifts.iter().filter(|(key, _)| holds(*key)).for_each(|(_, code)| push(*code, false));
                    push(key.set1(), true);
                } else {
                    push(key.set1(), false);
                    shifts.iter().filter(|(key, _)| holds(*key)).for_each(|(_, code)| push(*code, true));
                }
            }
            _ => push(key.set1(), pressed),
        }
    }

    fn set_defaults(&mut self) {
        self.scan_code_set = 2;
        self.typematic = 0x2b;
        self.key_types.clear();
        self.all_keys = None;
        self.parameter = None;
        self.scan_codes.clear();
        self.repeating = None;
    }

    /// The controller sends a byte.
    pub fn command(&mut self, byte: u8, now: Time) {
        self.answers.clear();
        if let Some(parameter) = self.parameter.take() {
            // A command code in place of the parameter cancels the command. The key types take
            // scan codes until then.
            if byte < 0xed {
                self.take_parameter(parameter, byte);
                return;
            }
        }
        let answer = match byte {
            0xed => self.expect(Parameter::Leds),
            // Echo.
            0xee => 0xee,
            0xf0 => self.expect(Parameter::ScanCodeSet),
            0xf2 => {
                self.answers.extend([ACKNOWLEDGE, 0xab, 0x83]);
                return;
            }
            0xf3 => self.expect(Parameter::Typematic),
            0xf4 => {
                self.scan_codes.clear();
                self.scanning = true;
                ACKNOWLEDGE
            }
            0xf5 => {
                self.set_defaults();
                self.scanning = false;
                ACKNOWLEDGE
            }
            0xf6 => {
                self.set_defaults();
                self.scanning = true;
                ACKNOWLEDGE
            }
            0xf7..=0xfa => {
                self.key_types.clear();
                self.all_keys = Some(match byte {
                    0xf7 => KeyType::Typematic,
                    0xf8 => KeyType::MakeBreak,
                    0xf9 => KeyType::Make,
                    _ => KeyType::TypematicMakeBreak,
                });
                ACKNOWLEDGE
            }
            0xfb => self.expect(Parameter::KeyType(KeyType::Typematic)),
            0xfc => self.expect(Parameter::KeyType(KeyType::MakeBreak)),
            0xfd => self.expect(Parameter::KeyType(KeyType::Make)),
            0xfe => self.last_sent,
            0xff => {
                self.set_defaults();
                self.scanning = true;
                self.leds = 0;
                self.testing = Some(now.plus(SELF_TEST_TIME));
                ACKNOWLEDGE
            }
            _ => RESEND,
        };
        self.answers.push_back(answer);
    }

    fn expect(&mut self, parameter: Parameter) -> u8 {
        self.parameter = Some(parameter);
        ACKNOWLEDGE
    }

    fn take_parameter(&mut self, parameter: Parameter, byte: u8) {
        self.answers.push_back(ACKNOWLEDGE);
        match parameter {
            Parameter::Leds if byte <= 7 => self.leds = byte,
            Parameter::ScanCodeSet if byte == 0 => self.answers.push_back(self.scan_code_set),
            Parameter::ScanCodeSet if byte <= 3 => {
                self.scan_code_set = byte;
                self.scan_codes.clear();
            }
            Parameter::Typematic if byte < 0x80 => self.typematic = byte,
            Parameter::KeyType(kind) => {
                self.key_types.retain(|(code, _)| *code != byte);
                self.key_types.push((byte, kind));
                self.parameter = Some(parameter);
            }
            _ => {
                // The value cannot be; the keyboard asks again.
                self.answers.clear();
                self.answers.push_back(RESEND);
                self.parameter = Some(parameter);
            }
        }
    }

    /// Moves on to `now`: the self test, repeats.
    pub fn advance(&mut self, now: Time) {
        if self.testing.is_some_and(|end| end <= now) {
            self.testing = None;
            self.answers.push_back(SELF_TEST_PASSED);
        }
        if let Some((key, at)) = self.repeating.filter(|(_, at)| *at <= now) {
            // Nobody reads: only one repeat waits, as if the key had been pressed late.
            if self.scanning && self.scan_codes.is_empty() {
                self.queue(key, true);
            }
            let period = self.period();
            let missed = now.since(at) / period;
            self.repeating = Some((key, at.plus(missed.saturating_add(1).saturating_mul(period))));
        }
    }
    /// When `advance` must run.
    #[must_use]
    pub fn next_event(&self) -> Option<Time> {
        [self.testing, self.repeating.map(|(_, at)| at)].into_iter().flatten().min()
    }
    /// Whether the keyboard has a byte to send.
    #[must_use]
    pub fn has_data(&self) -> bool {
        !self.answers.is_empty() || !self.scan_codes.is_empty() && self.parameter.is_none()
    }
    /// The next byte it sends.
    pub fn take(&mut self) -> Option<u8> {
        let waits = self.parameter.is_some();
        let byte = self.answers.pop_front().or_else(|| if waits { None } else { self.scan_codes.pop_front() })?;
        self.last_sent = byte;
        Some(byte)
    }
    /// Checks a decoded state.
    pub(crate) fn validate(&self) -> Result<(), RestoreError> {
        let sane = (1..=3).contains(&self.scan_code_set)
            && self.typematic < 0x80
            && self.scan_codes.len() <= BUFFER_SIZE
            && self.answers.len() <= 8
            && self.key_types.len() <= 256
            && self.held.len() <= KeyCode::ALL.len();
        if sane { Ok(()) } else { Err(RestoreError::OutOfRange("keyboard")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(keyboard: &mut Keyboard) -> Vec<u8> {
        std::iter::from_fn(|| keyboard.take()).collect()
    }
    fn command(keyboard: &mut Keyboard, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for byte in bytes {
            keyboard.command(*byte, Time::ZERO);
            answers.extend(drain(keyboard));
        }
        answers
    }
    fn tap(keyboard: &mut Keyboard, keys: &[KeyCode]) -> Vec<u8> {
        for key in keys {
            keyboard.key(*key, true, Time::ZERO);
        }
        for key in keys.iter().rev() {
            keyboard.key(*key, false, Time::ZERO);
        }
        drain(keyboard)
    }

    #[test]
    fn every_key_has_a_code_of_its_own_in_each_set() {
        for set in 1..=3 {
            let mut seen = std::collections::HashMap::new();
            for key in KeyCode::ALL {
                let mut keyboard = Keyboard::new();
                command(&mut keyboard, &[0xf0, set]);
                keyboard.key(*key, true, Time::ZERO);
                let codes = drain(&mut keyboard);
                if set == 3 && key.set3() == 0 {
                    continue;
                }
                assert!(!codes.is_empty() && !codes.contains(&0), "{key:?} in set {set}: {codes:x?}");
                assert_eq!(seen.insert(codes, *key), None, "{key:?} in set {set}");
            }
        }
    }

    #[test]
    fn known_codes() {
        use KeyCode::*;
        let mut keyboard = Keyboard::new();
        assert_eq!(tap(&mut keyboard, &[A]), [0x1c, 0xf0, 0x1c]);
        assert_eq!(tap(&mut keyboard, &[F7]), [0x83, 0xf0, 0x83]);
        assert_eq!(tap(&mut keyboard, &[Up]), [0xe0, 0x75, 0xe0, 0xf0, 0x75]);
        assert_eq!(tap(&mut keyboard, &[Pause]), [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77]);
        let print = [0xe0, 0x12, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12];
        assert_eq!(tap(&mut keyboard, &[PrintScreen]), print);
        assert_eq!(tap(&mut keyboard, &[LeftAlt, PrintScreen]), [0x11, 0x84, 0xf0, 0x84, 0xf0, 0x11]);
        assert_eq!(
            tap(&mut keyboard, &[LeftShift, Left]),
            [0x12, 0xe0, 0xf0, 0x12, 0xe0, 0x6b, 0xe0, 0xf0, 0x6b, 0xe0, 0x12, 0xf0, 0x12]
        );
        command(&mut keyboard, &[0xf0, 1]);
        assert_eq!(tap(&mut keyboard, &[RightControl]), [0xe0, 0x1d, 0xe0, 0x9d]);
        assert_eq!(tap(&mut keyboard, &[Pause]), [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]);
        assert_eq!(tap(&mut keyboard, &[LeftControl, Pause]), [0x1d, 0xe0, 0x46, 0xe0, 0xc6, 0x9d]);
    }

    #[test]
    fn commands() {
        let mut keyboard = Keyboard::new();
        assert_eq!(command(&mut keyboard, &[0xee]), [0xee]);
        assert_eq!(command(&mut keyboard, &[0xf2]), [0xfa, 0xab, 0x83]);
        assert_eq!(command(&mut keyboard, &[0xfe]), [0x83]);
        assert_eq!(command(&mut keyboard, &[0xed, 0x05]), [0xfa, 0xfa]);
        assert_eq!(keyboard.leds(), 5);
        assert_eq!(command(&mut keyboard, &[0xf0, 0x00]), [0xfa, 0xfa, 0x02]);
        assert_eq!(command(&mut keyboard, &[0xf0, 0x04, 0x03]), [0xfa, 0xfe, 0xfa]);
        assert_eq!(command(&mut keyboard, &[0x01]), [0xfe]);
        assert_eq!(command(&mut keyboard, &[0xf5]), [0xfa]);
        assert_eq!(tap(&mut keyboard, &[KeyCode::B]), []);
        assert_eq!(command(&mut keyboard, &[0xff]), [0xfa]);
        keyboard.advance(Time(SELF_TEST_TIME));
        assert_eq!(drain(&mut keyboard), [0xaa]);
        assert_eq!(tap(&mut keyboard, &[KeyCode::B]), [0x32, 0xf0, 0x32]);
    }

    #[test]
    fn set_3_key_types() {
        let mut keyboard = Keyboard::new();
        command(&mut keyboard, &[0xf0, 3]);
        assert_eq!(tap(&mut keyboard, &[KeyCode::A]), [0x1c]);
        assert_eq!(tap(&mut keyboard, &[KeyCode::LeftShift]), [0x12, 0xf0, 0x12]);
        assert_eq!(command(&mut keyboard, &[0xfc, 0x1c, 0xf4]), [0xfa, 0xfa, 0xfa]);
        assert_eq!(tap(&mut keyboard, &[KeyCode::A]), [0x1c, 0xf0, 0x1c]);
        command(&mut keyboard, &[0xf8]);
        assert_eq!(tap(&mut keyboard, &[KeyCode::B]), [0x32, 0xf0, 0x32]);
    }

    #[test]
    fn typematic_repeats() {
        let mut keyboard = Keyboard::new();
        command(&mut keyboard, &[0xf3, 0x00]);
        keyboard.key(KeyCode::A, true, Time::ZERO);
        assert_eq!(drain(&mut keyboard), [0x1c]);
        let mut repeats = 0;
        while let Some(event) = keyboard.next_event().filter(|event| *event <= Time(1_250_000_000)) {
            keyboard.advance(event);
            repeats += drain(&mut keyboard).len();
        }
        assert_eq!(repeats, 30, "after 250 ms at 30 per second");
        keyboard.key(KeyCode::A, false, Time::ZERO);
        assert_eq!(keyboard.next_event(), None);
    }

    #[test]
    fn overrun_is_marked() {
        let mut keyboard = Keyboard::new();
        for _ in 0..100 {
            keyboard.key(KeyCode::A, true, Time::ZERO);
            keyboard.key(KeyCode::A, false, Time::ZERO);
        }
        let codes = drain(&mut keyboard);
        assert!(codes.len() <= BUFFER_SIZE);
        assert!(codes.contains(&0));
    }

    #[test]
    fn text_has_keys() {
        assert_eq!(text_to_keys('a'), Some(vec![KeyCode::A]));
        assert_eq!(text_to_keys('~'), Some(vec![KeyCode::LeftShift, KeyCode::Backquote]));
        assert_eq!(text_to_keys('\r'), Some(vec![KeyCode::Enter]));
        assert_eq!(text_to_keys('é'), None);
        assert!((' '..='~').all(|character| text_to_keys(character).is_some()));
    }
}
