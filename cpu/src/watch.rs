//! An embedder's watchpoints: they stop the engine behind an access and leave no trace in the guest.
//!
//! Pages with a watchpoint are kept out of the TLB, as those of the guest's own debug registers are,
//! so a processor that nobody watches pays nothing. Every access to such a page takes the slow
//! path; one that touches a watched byte is made by its instruction alone, after which the engine
//! returns [`crate::Exit::Breakpoint`].

use crate::core::Access;
use crate::memory::PAGE;

/// Which accesses a watchpoint means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchKind {
    /// Loads.
    Read,
    /// Stores.
    Write,
    /// Both.
    Access,
}

impl WatchKind {
    fn means(self, access: Access) -> bool {
        match access {
            Access::Read => self != WatchKind::Write,
            Access::Write => self != WatchKind::Read,
            Access::Execute => false,
        }
    }
}

/// A range of linear addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
    /// Which accesses are meant.
    pub kind: WatchKind,
}

/// An access to watched bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchHit {
    /// Linear address of the first byte accessed.
    pub address: u64,
    /// Bytes accessed: those of one operand, or of a part of a wider one.
    pub bytes: u64,
    /// Whether it was a store.
    pub is_write: bool,
}

/// Accesses of one instruction that are remembered; more are dropped.
const MOST_HITS: usize = 16;

/// The watchpoints of one processor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    ranges: Vec<Watch>,
    hits: Vec<WatchHit>,
}

impl Watches {
    pub(crate) fn set(&mut self, ranges: Vec<Watch>) {
        self.ranges = ranges;
        self.hits.clear();
    }
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
    /// Whether a watched byte lies in the page of `linear`.
    pub(crate) fn in_page(&self, linear: u64) -> bool {
        let page = linear / PAGE;
        self.ranges.iter().any(|watch| (watch.first / PAGE..=watch.last / PAGE).contains(&page))
    }
    /// Whether `size` ≥ 1 bytes at `linear` touch a watched byte in a watched way.
    pub(crate) fn covers(&self, linear: u64, size: u64, access: Access) -> bool {
        let last = linear.saturating_add(size - 1);
        let meets = |watch: &Watch| watch.kind.means(access) && linear <= watch.last && watch.first <= last;
        self.ranges.iter().any(meets)
    }
    pub(crate) fn note(&mut self, linear: u64, size: u64, access: Access) {
        if self.hits.len() < MOST_HITS {
            self.hits.push(WatchHit { address: linear, bytes: size, is_write: access == Access::Write });
        }
    }
    #[inline]
    pub(crate) fn has_hits(&self) -> bool {
        !self.hits.is_empty()
    }
    pub(crate) fn take_hits(&mut self) -> Vec<WatchHit> {
        std::mem::take(&mut self.hits)
    }
}
