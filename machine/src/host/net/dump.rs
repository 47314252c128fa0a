//! All frames in a file that Wireshark and tcpdump read: pcap with nanoseconds, in guest time.

use devices::Time;
use devices::network::Network;
use std::io::{self, Write};

/// A cable that is written down.
pub struct Dump<W> {
    inner: Box<dyn Network>,
    sink: W,
    failed: bool,
}

impl<W: Write + Send> Dump<W> {
    /// Writes what goes over `inner` to `sink`. A sink that fails later ends the dump, not the run.
    ///
    /// # Errors
    /// The head of the file cannot be written.
    pub fn new(inner: Box<dyn Network>, mut sink: W) -> io::Result<Dump<W>> {
        let words: [u32; 6] = [0xa1b2_3c4d, 4 << 16 | 2, 0, 0, 0x1_0000, 1];
        for word in words {
            sink.write_all(&word.to_le_bytes())?;
        }
        sink.flush()?;
        Ok(Dump { inner, sink, failed: false })
    }
    fn note(&mut self, now: Time, frame: &[u8]) {
        if self.failed {
            return;
        }
        let length = frame.len() as u32;
        let mut record = Vec::with_capacity(16 + frame.len());
        for word in [(now.0 / 1_000_000_000) as u32, (now.0 % 1_000_000_000) as u32, length, length] {
            record.extend(word.to_le_bytes());
        }
        record.extend(frame);
        // Whole records at once, so that a run that is ended from outside leaves a readable file.
        self.failed = self.sink.write_all(&record).and_then(|()| self.sink.flush()).is_err();
    }
}

impl<W: Write + Send> Network for Dump<W> {
    fn send(&mut self, now: Time, frame: &[u8]) {
        self.note(now, frame);
        self.inner.send(now, frame);
    }
    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        let frame = self.inner.receive(now)?;
        self.note(now, &frame);
        Some(frame)
    }
}
