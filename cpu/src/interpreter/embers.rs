//! What is remembered of blocks that were dropped because there were too many.

use super::tier::Place;
use crate::hash::hash_of;

/// Entries of the table.
const ENTRIES: usize = 1 << 16;

/// How hot dropped blocks were, by a hash of their place and with some more of that hash, so that what comes round
/// rarely is translated in the end, with all that has run around it. One that takes another's for its own is
/// translated too soon, which nobody sees.
#[derive(Default)]
pub(super) struct Embers {
    /// Name and heat. Empty until something is asked for: an interpreter without a tier above it remembers nothing.
    table: Box<[(u16, u16)]>,
}

/// Which entry is that of the block at `place`, and the name that stands there if it is its own.
fn find(place: &Place) -> (usize, u16) {
    let hash = hash_of(place);
    // No place is called 0, which is what stands where nothing is remembered.
    (hash as usize % ENTRIES, (hash >> 48) as u16 | 1)
}

impl Embers {
    /// The block at `place` is dropped.
    pub(super) fn keep(&mut self, place: &Place, heat: u32) {
        let (at, name) = find(place);
        if let Some(entry) = self.table.get_mut(at) {
            *entry = (name, u16::try_from(heat).unwrap_or(u16::MAX));
        }
    }
    /// Whether a block at `place` was dropped.
    pub(super) fn has(&self, place: &Place) -> bool {
        let (at, name) = find(place);
        self.table.get(at).is_some_and(|entry| entry.0 == name)
    }
    /// How hot the block at `place` was. It counts once: what has become native since must not be hot again at once
    /// when that code is dropped.
    pub(super) fn take(&mut self, place: &Place) -> u32 {
        if self.table.is_empty() {
            self.table = vec![(0, 0); ENTRIES].into_boxed_slice();
        }
        let (at, name) = find(place);
        let entry = &mut self.table[at];
        if entry.0 == name { std::mem::take(&mut entry.1).into() } else { 0 }
    }
}
