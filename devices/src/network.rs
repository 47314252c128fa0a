//! What a network adapter is plugged into.

use std::collections::VecDeque;

/// The other end of the cable. Frames have no checksum and may be shorter than 60 bytes.
///
/// Adapters call this from within one access of the guest, so an implementation never waits.
pub trait Network: Send {
    /// A frame from the adapter.
    fn send(&mut self, frame: &[u8]);
    /// The next frame for the adapter, if one has come.
    fn receive(&mut self) -> Option<Vec<u8>>;
}

/// A cable that gives back every frame: for tests.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    frames: VecDeque<Vec<u8>>,
}

impl Network for Echo {
    fn send(&mut self, frame: &[u8]) {
        // A guest that never listens must not fill the host's memory.
        if self.frames.len() < 256 {
            self.frames.push_back(frame.to_vec());
        }
    }
    fn receive(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }
}
