//! Where the guest's output goes, and what has been seen in it.

use crate::Failure;
use crate::values::Stream;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;

/// One stream of bytes out of the machine.
pub(crate) struct Sink {
    target: Target,
    /// What was written since the last rule fired, for searching.
    seen: Vec<u8>,
    /// How many bytes came before those in `seen`.
    gone: usize,
    /// Texts that are not among so many of the first bytes: they are looked for all the time, and
    /// mostly nothing new has come.
    missing: RefCell<HashMap<String, usize>>,
}

enum Target {
    Stdout,
    File(File, std::path::PathBuf),
    Null,
}

/// Bytes kept for searching.
const KEPT: usize = 1 << 16;

impl Sink {
    pub(crate) fn open(stream: &Stream) -> Result<Sink, Failure> {
        let target = match stream {
            Stream::Stdio => Target::Stdout,
            Stream::Null => Target::Null,
            Stream::File(path) => {
                let file = File::create(path).map_err(|error| Failure::file(path, "written", &error))?;
                Target::File(file, path.clone())
            }
        };
        Ok(Sink { target, seen: Vec::new(), gone: 0, missing: RefCell::default() })
    }
    /// Passes bytes on. With `raw` the terminal is in raw mode and `quiet` suppresses stdout.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.seen.extend_from_slice(bytes);
        if self.seen.len() > 2 * KEPT {
            self.drop_first(self.seen.len() - KEPT);
        }
        match &mut self.target {
            Target::Null => Ok(()),
            Target::File(file, path) => file.write_all(bytes).map_err(|error| Failure::file(path, "written", &error)),
            Target::Stdout => {
                let mut out = std::io::stdout().lock();
                let result = out.write_all(bytes).and_then(|()| out.flush());
                match result {
                    // The reader has gone: nothing more to tell it.
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                        self.target = Target::Null;
                        Ok(())
                    }
                    other => other.map_err(|error| Failure::file("standard output".as_ref(), "written", &error)),
                }
            }
        }
    }
    /// Whether `text` has been seen since the last [`Sink::forget_through`].
    pub(crate) fn has(&self, text: &str) -> bool {
        let mut missing = self.missing.borrow_mut();
        let all = self.gone + self.seen.len();
        // It may have begun before the end of what was searched.
        let searched = missing.get(text).map_or(0, |searched| searched.saturating_sub(text.len().saturating_sub(1)));
        let rest = self.seen.get(searched.saturating_sub(self.gone)..).unwrap_or_default();
        let found = position(rest, text.as_bytes()).is_some();
        if !found && missing.get(text) != Some(&all) {
            missing.insert(text.to_owned(), all);
        }
        found
    }
    fn drop_first(&mut self, count: usize) {
        self.seen.drain(..count);
        self.gone += count;
    }
    /// What comes up to and with `text` is not looked at again.
    pub(crate) fn forget_through(&mut self, text: &str) {
        if let Some(at) = position(&self.seen, text.as_bytes()) {
            self.drop_first(at + text.len());
        }
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_however_they_come() {
        let mut sink = Sink::open(&Stream::Null).unwrap_or_else(|failure| panic!("{}", failure.text));
        let write = |sink: &mut Sink, text: &str| sink.write(text.as_bytes()).is_ok();
        assert!(!sink.has("login:") && !sink.has("# "));
        for (at, letter) in "x login: ".char_indices() {
            assert!(!sink.has("login:") || at > 7, "{at}");
            assert!(write(&mut sink, &letter.to_string()));
        }
        assert!(sink.has("login:") && sink.has("login:") && !sink.has("# "));
        // What was before a text that was used is not found again; what comes after is.
        sink.forget_through("login:");
        assert!(!sink.has("login:") && sink.has(" "));
        assert!(write(&mut sink, "log") && !sink.has("login:"));
        assert!(write(&mut sink, "in:") && sink.has("login:"));
        // Only the last of much is kept, and a text across the border of two pieces is seen.
        for _ in 0..5 {
            assert!(write(&mut sink, &"y".repeat(KEPT)) && !sink.has("end#"));
        }
        assert!(write(&mut sink, "en") && !sink.has("end#"));
        assert!(write(&mut sink, "d#") && sink.has("end#") && !sink.has("login:"));
    }
}
