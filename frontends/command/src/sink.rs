//! Where the guest's output goes, and what has been seen in it.

use crate::Failure;
use crate::values::Stream;
use std::fs::File;
use std::io::Write;

/// One stream of bytes out of the machine.
pub(crate) struct Sink {
    target: Target,
    /// What was written since the last rule fired, for searching.
    seen: Vec<u8>,
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
        Ok(Sink { target, seen: Vec::new() })
    }
    /// Passes bytes on. With `raw` the terminal is in raw mode and `quiet` suppresses stdout.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.seen.extend_from_slice(bytes);
        if self.seen.len() > 2 * KEPT {
            self.seen.drain(..self.seen.len() - KEPT);
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
        position(&self.seen, text.as_bytes()).is_some()
    }
    /// What comes up to and with `text` is not looked at again.
    pub(crate) fn forget_through(&mut self, text: &str) {
        if let Some(at) = position(&self.seen, text.as_bytes()) {
            self.seen.drain(..at + text.len());
        }
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle)
}
