//! Hardware key codes as Linux and, eight higher, X servers number them.

use crate::KeyCode;

/// The key of a Linux key code (`linux/input-event-codes.h`). Up to 88 they are scan codes of
/// set 1.
#[must_use]
pub fn key(code: u8) -> Option<KeyCode> {
    use KeyCode::*;
    Some(match code {
        1..=83 | 86..=88 => return KeyCode::of_scan_code(u16::from(code)),
        89 => InternationalRo,
        92 => Convert,
        93 => KanaMode,
        94 => NonConvert,
        96 => KeypadEnter,
        97 => RightControl,
        98 => KeypadDivide,
        99 => PrintScreen,
        100 => RightAlt,
        102 => Home,
        103 => Up,
        104 => PageUp,
        105 => Left,
        106 => Right,
        107 => End,
        108 => Down,
        109 => PageDown,
        110 => Insert,
        111 => Delete,
        116 => Power,
        119 => Pause,
        121 => KeypadComma,
        124 => Yen,
        125 => LeftMeta,
        126 => RightMeta,
        127 => Menu,
        142 => Sleep,
        143 => Wake,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_code() {
        let mut keys: Vec<KeyCode> = (0..=255).filter_map(key).collect();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
        assert_eq!(all, KeyCode::ALL.len());
        assert_eq!(key(30), Some(KeyCode::A));
        assert_eq!(key(86), Some(KeyCode::International102));
    }
}
