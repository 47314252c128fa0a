//! Where native code stands when budgets end: samples in guest time, which cost native code nothing and are the same in
//! each run.

use cpu::hash::Map;
use cpu::state::Mode;

/// A region that was found running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotRegion {
    /// Linear address of its first instruction.
    pub address: u64,
    /// The mode of the processor that it is for.
    pub mode: Mode,
    /// Guest instructions in it, when it was translated last.
    pub instructions: u32,
    /// Bytes of host code.
    pub bytes: u32,
    /// How many samples fell on it.
    pub samples: u64,
}

/// Samples, and how many there were in all, those outside of native code included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hottest {
    /// The regions with most samples, most first.
    pub regions: Vec<HotRegion>,
    /// All samples.
    pub samples: u64,
    /// Those that fell on native code.
    pub native: u64,
}

/// Most regions that are told apart: a guest cannot make this large.
const MAX_REGIONS: usize = 1 << 16;

#[derive(Default)]
pub(crate) struct Profile {
    samples: u64,
    native: u64,
    regions: Map<(u64, Mode), HotRegion>,
}

impl Profile {
    /// A budget has ended, in this region if it was in native code.
    pub(crate) fn note(&mut self, region: Option<HotRegion>) {
        self.samples += 1;
        let Some(region) = region else { return };
        self.native += 1;
        let key = (region.address, region.mode);
        if self.regions.len() < MAX_REGIONS || self.regions.contains_key(&key) {
            let samples = self.regions.get(&key).map_or(0, |r| r.samples) + 1;
            self.regions.insert(key, HotRegion { samples, ..region });
        }
    }
    /// The regions with most samples.
    pub(crate) fn hottest(&self, most: usize) -> Hottest {
        let mut regions: Vec<HotRegion> = self.regions.values().copied().collect();
        regions.sort_by_key(|r| (std::cmp::Reverse(r.samples), r.address, r.mode.0));
        regions.truncate(most);
        Hottest { regions, samples: self.samples, native: self.native }
    }
}

#[cfg(test)]
mod tests {
    use super::{HotRegion, Profile};
    use cpu::state::Mode;

    #[test]
    fn the_hottest_come_first() {
        let mut profile = Profile::default();
        let region = |address, mode| HotRegion { address, mode: Mode(mode), instructions: 3, bytes: 40, samples: 0 };
        profile.note(None);
        for (address, mode) in [(1, 0), (2, 0), (2, 0), (2, 8), (3, 0), (3, 0), (3, 0)] {
            profile.note(Some(region(address, mode)));
        }
        let hottest = profile.hottest(3);
        assert_eq!((hottest.samples, hottest.native), (8, 7));
        let found: Vec<_> = hottest.regions.iter().map(|r| (r.address, r.mode.0, r.samples)).collect();
        assert_eq!(found, [(3, 0, 3), (2, 0, 2), (1, 0, 1)]);
    }
}
