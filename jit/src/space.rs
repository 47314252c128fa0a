//! Where quick code lies: memory that is filled round and round.

use crate::memory::{Arena, SEGMENT};
use std::io;

/// Entries of the table of what was dropped.
const NAMES: usize = 1 << 14;

/// Memory for quick code. It takes only a part of what it may, and more of it when code that was dropped is often made
/// again: what many short processes run once needs no room, and a large program all that there is.
pub(crate) struct Space {
    arena: Arena,
    /// The segment that is being filled, and how far.
    at: usize,
    used: usize,
    /// Regions in each segment.
    segments: Vec<Vec<u32>>,
    /// How many of them are filled in turn.
    wide: usize,
    /// Regions that have come in this round, and those of them that had been dropped before.
    placed: u32,
    again: u32,
    /// Names of what was dropped, each in the entry for which its low bits stand.
    dropped: Box<[u64]>,
}

impl Space {
    /// Room for `most` bytes of code, of which it takes `first` in the beginning.
    pub(crate) fn new(most: usize, first: usize) -> io::Result<Space> {
        let arena = Arena::new(most)?;
        let segments = vec![Vec::new(); arena.segments()];
        let wide = (first / SEGMENT).clamp(1, arena.segments());
        let dropped = vec![0; NAMES].into_boxed_slice();
        Ok(Space { arena, at: 0, used: 0, segments, wide, placed: 0, again: 0, dropped })
    }
    /// Segments that it may take.
    pub(crate) fn room(&self) -> usize {
        self.segments.len()
    }
    /// Segments that it takes.
    pub(crate) fn segments(&self) -> usize {
        self.wide
    }
    fn next(&self) -> usize {
        if self.at + 1 < self.wide { self.at + 1 } else { 0 }
    }
    /// Whether there is place for so much code without dropping other.
    pub(crate) fn has_place(&self, bytes: usize) -> bool {
        self.used + bytes <= SEGMENT || self.segments[self.next()].is_empty()
    }
    /// Gives the code of a region its place, with at most `most` segments in all: where, and the regions that were there
    /// before. `name` is that of the same region after each time that it was dropped.
    pub(crate) fn place(&mut self, code: &[u8], region: u32, name: u64, most: usize) -> Option<(usize, Vec<u32>)> {
        let mut dropped = Vec::new();
        if code.len() > SEGMENT {
            return None;
        }
        self.placed += 1;
        let known = &mut self.dropped[name as usize % NAMES];
        if *known == name {
            *known = 0;
            self.again += 1;
        }
        if self.used + code.len() > SEGMENT {
            if self.at + 1 >= self.wide {
                let most = most.min(self.segments.len());
                if self.again > self.placed / 2 && self.wide < most {
                    self.wide = (self.wide + self.wide.div_ceil(2)).min(most);
                }
                (self.placed, self.again) = (0, 0);
            }
            self.at = self.next();
            self.used = 0;
            dropped = std::mem::take(&mut self.segments[self.at]);
        }
        let at = self.arena.fill(self.at * SEGMENT + self.used, code);
        self.used = (self.used + code.len()).next_multiple_of(32);
        self.segments[self.at].push(region);
        Some((at as usize, dropped))
    }
    /// The region with this name was dropped for want of room.
    pub(crate) fn note_dropped(&mut self, name: u64) {
        self.dropped[name as usize % NAMES] = name;
    }
    /// Gives the code of region `new` the place of that of `old`, which is as long and nothing leads to any more.
    pub(crate) fn replace(&mut self, at: usize, code: &[u8], old: u32, new: u32) {
        let offset = self.arena.offset(at);
        self.arena.fill(offset, code);
        if let Some(region) = self.segments[offset / SEGMENT].iter_mut().find(|region| **region == old) {
            *region = new;
        }
    }
    /// The code at `at`.
    pub(crate) fn read(&self, at: usize, bytes: usize) -> Vec<u8> {
        self.arena.read(self.arena.offset(at), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places regions with these names that are not there, each a quarter of a segment long.
    fn place(space: &mut Space, names: impl Iterator<Item = u64>, most: usize) {
        for name in names {
            if space.segments.iter().flatten().any(|&region| u64::from(region) == name) {
                continue;
            }
            let (at, dropped) = space.place(&[name as u8; SEGMENT / 4], name as u32, name, most).expect("a place");
            assert_eq!(space.read(at, 2), [name as u8; 2]);
            for region in dropped {
                space.note_dropped(region.into());
            }
        }
    }

    #[test]
    fn it_takes_more_room_when_that_helps() {
        let mut space = Space::new(8 * SEGMENT, 2 * SEGMENT).unwrap();
        // What is new each time.
        place(&mut space, 1..=100, 8);
        assert_eq!(space.segments(), 2);
        // What comes again, in turns for which two segments are not enough.
        place(&mut space, (0..200).map(|n| 1000 + n % 15), 3);
        assert_eq!(space.segments(), 3);
        place(&mut space, (0..200).map(|n| 1000 + n % 15), 8);
        assert_eq!(space.segments(), 5);
        // No more than is allowed, whatever is asked for.
        place(&mut space, (0..2000).map(|n| 2000 + n % 500), 80);
        assert_eq!(space.segments(), 8);
    }

    #[test]
    fn code_takes_the_place_of_other_code() {
        let mut space = Space::new(2 * SEGMENT, 2 * SEGMENT).unwrap();
        let (first, _) = space.place(&[1; 100], 1, 1, 2).unwrap();
        let (second, _) = space.place(&[2; 100], 2, 2, 2).unwrap();
        space.replace(first, &[3; 100], 1, 3);
        assert_eq!((space.read(first, 100), space.read(second, 100)), (vec![3; 100], vec![2; 100]));
        assert!(space.has_place(SEGMENT));
        let full = [4; SEGMENT];
        assert_eq!(space.place(&full, 4, 4, 2).unwrap().1, []);
        assert_eq!(space.place(&full, 5, 5, 2).unwrap().1, [3, 2]);
        assert!(!space.has_place(1));
        assert!(space.place(&[0; SEGMENT + 1], 6, 6, 2).is_none());
    }
}
