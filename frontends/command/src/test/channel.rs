//! A stream of text from the guest: kept for the report, cut into lines, searched.

use super::case::{Pattern, Place, What};

/// The most bytes of a stream that are kept: its beginning and its end, half of this each.
const KEPT: usize = 4 << 20;
/// A line that is longer is cut here.
const LONGEST_LINE: usize = 1 << 16;

/// What came over one line.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    head: Vec<u8>,
    tail: Vec<u8>,
    dropped: usize,
    /// The line that has no end yet.
    line: Vec<u8>,
    /// The last bytes before those that come next, for texts that lie across both.
    before: Vec<u8>,
}

/// A pattern and whether it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) pattern: Pattern,
    pub(crate) seen: bool,
}

impl Channel {
    /// Takes bytes, marks the patterns seen in them, and gives the lines that are complete now.
    pub(crate) fn take(&mut self, bytes: &[u8], place: Place, watched: &mut [&mut Watched]) -> Vec<String> {
        if bytes.is_empty() {
            return Vec::new();
        }
        self.keep(bytes);
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' || self.line.len() == LONGEST_LINE {
                let line = std::mem::take(&mut self.line);
                lines.push(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
        let open = String::from_utf8_lossy(&self.line).into_owned();
        let longest = watched.iter().map(|watched| text_length(&watched.pattern)).max().unwrap_or(0);
        self.before.extend_from_slice(bytes);
        for watched in watched.iter_mut().filter(|watched| !watched.seen) {
            if ![Place::Any, place].contains(&watched.pattern.place) {
                continue;
            }
            watched.seen = match &watched.pattern.what {
                What::Text(text) => contains(&self.before, text.as_bytes()),
                What::Expression(expression) => {
                    lines.iter().any(|line| expression.is_match(line)) || expression.is_match(&open)
                }
            };
        }
        let keep = self.before.len().min(longest.saturating_sub(1));
        self.before.drain(..self.before.len() - keep);
        lines
    }
    fn keep(&mut self, mut bytes: &[u8]) {
        let free = (KEPT / 2).saturating_sub(self.head.len()).min(bytes.len());
        let (first, rest) = bytes.split_at(free);
        self.head.extend_from_slice(first);
        if rest.len() > KEPT / 2 {
            let (lost, last) = rest.split_at(rest.len() - KEPT / 2);
            self.dropped += lost.len();
            bytes = last;
        } else {
            bytes = rest;
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > KEPT {
            let surplus = self.tail.len() - KEPT / 2;
            self.tail.drain(..surplus);
            self.dropped += surplus;
        }
    }
    /// The line that has no end.
    pub(crate) fn open_line(&self) -> String {
        String::from_utf8_lossy(&self.line).trim_end_matches('\r').to_owned()
    }
    /// All that was kept.
    pub(crate) fn log(&self) -> Vec<u8> {
        let mut all = self.head.clone();
        if self.dropped > 0 {
            all.extend_from_slice(format!("\n[{} bytes are left out]\n", self.dropped).as_bytes());
        }
        all.extend_from_slice(&self.tail);
        all
    }
}

fn text_length(pattern: &Pattern) -> usize {
    match &pattern.what {
        What::Text(text) => text.len(),
        What::Expression(_) => 0,
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len().max(1)).any(|window| window == needle)
}

/// Marks the patterns seen on the screen.
pub(crate) fn look_at_screen(screen: &str, watched: &mut [Watched]) {
    for watched in watched.iter_mut().filter(|watched| !watched.seen) {
        if [Place::Any, Place::Screen].contains(&watched.pattern.place) {
            watched.seen = match &watched.pattern.what {
                What::Text(text) => screen.contains(text.as_str()),
                What::Expression(expression) => expression.is_match(screen),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(patterns: &[Pattern]) -> Vec<Watched> {
        patterns.iter().map(|pattern| Watched { pattern: pattern.clone(), seen: false }).collect()
    }
    fn take(channel: &mut Channel, bytes: &[u8], watched: &mut [Watched]) -> Vec<String> {
        channel.take(bytes, Place::Serial, &mut watched.iter_mut().collect::<Vec<_>>())
    }

    #[test]
    fn texts_are_seen_across_writes() {
        let mut watched = watch(&[Pattern::text("hello\nworld").unwrap(), Pattern::expression("^w.*d$").unwrap()]);
        let mut channel = Channel::default();
        assert!(take(&mut channel, b"hel", &mut watched).is_empty());
        assert_eq!(take(&mut channel, b"lo\nwor", &mut watched), ["hello"]);
        assert!(!watched[0].seen && !watched[1].seen);
        take(&mut channel, b"ld", &mut watched);
        assert!(watched[0].seen && watched[1].seen);
        assert_eq!(channel.open_line(), "world");
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut channel = Channel::default();
        for _ in 0..40 {
            take(&mut channel, &vec![b'x'; 1 << 20], &mut []);
        }
        assert!(channel.log().len() <= KEPT * 2 && channel.line.len() <= LONGEST_LINE);
        assert!(String::from_utf8_lossy(&channel.log()).contains("left out"));
    }
}
