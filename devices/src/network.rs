//! What a network adapter is plugged into.

use std::collections::VecDeque;

use crate::device::Time;

/// The other end of the cable. Frames have no checksum and may be shorter than 60 bytes.
///
/// Adapters call this from within one access of the guest, or when their time has come, so an
/// implementation never waits. `now` is the guest's time and never goes back, except when a saved
/// state is restored.
pub trait Network: Send {
    /// A frame from the adapter.
    fn send(&mut self, now: Time, frame: &[u8]);
    /// The next frame for the adapter, if one has come. An adapter asks when it has room for it,
    /// once in a millisecond at least while it listens: frames may wait here until then.
    fn receive(&mut self, now: Time) -> Option<Vec<u8>>;
}

/// A cable that gives back every frame: for tests.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    frames: VecDeque<Vec<u8>>,
}

impl Network for Echo {
    fn send(&mut self, _now: Time, frame: &[u8]) {
        // A guest that never listens must not fill the host's memory.
        if self.frames.len() < 256 {
            self.frames.push_back(frame.to_vec());
        }
    }
    fn receive(&mut self, _now: Time) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }
}
