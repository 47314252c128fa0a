//! Wires between chips.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Set whenever the level of any line made with it changes, so that a board need not look at
/// every wire after every access.
#[derive(Clone, Debug, Default)]
pub struct Attention(Arc<AtomicBool>);

impl Attention {
    /// A flag that is set, so that the first look happens.
    #[must_use]
    pub fn new() -> Attention {
        Attention(Arc::new(AtomicBool::new(true)))
    }
    /// Whether a level changed since the last call; clears the flag.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.load(Relaxed) && self.0.swap(false, Relaxed)
    }
    /// Sets the flag.
    pub fn raise(&self) {
        self.0.store(true, Relaxed);
    }
}

/// One end of a wire: IRQ request, A20, NMI, speaker gate, reset.
///
/// The level is the OR of all ends. An edge from low to high latches until it is taken.
// Not `Clone`: a copied end would fight the original over one driver bit.
#[derive(Debug)]
pub struct Line {
    wire: Arc<Wire>,
    driver: u32,
}

#[derive(Debug, Default)]
struct Wire {
    drivers: AtomicU32,
    ends: AtomicU32,
    rose: AtomicBool,
    attention: Attention,
}

impl Line {
    /// A wire that leads nowhere yet.
    #[must_use]
    pub fn detached() -> Line {
        Line::on(&Attention::default())
    }
    /// A new wire whose level changes raise `attention`.
    #[must_use]
    pub fn on(attention: &Attention) -> Line {
        let wire = Wire { ends: AtomicU32::new(1), attention: attention.clone(), ..Wire::default() };
        Line { wire: Arc::new(wire), driver: 1 }
    }
    /// Another end of the same wire.
    ///
    /// # Panics
    /// When a wire gets more than 32 ends: a mistake in the board, not reachable by a guest.
    #[must_use]
    pub fn share(&self) -> Line {
        let end = self.wire.ends.fetch_add(1, Relaxed);
        assert!(end < 32, "a wire has at most 32 ends");
        Line { wire: self.wire.clone(), driver: 1 << end }
    }
    /// Drives this end high or low.
    pub fn set(&self, high: bool) {
        let before = if high {
            self.wire.drivers.fetch_or(self.driver, Relaxed)
        } else {
            self.wire.drivers.fetch_and(!self.driver, Relaxed)
        };
        if high && before == 0 {
            self.wire.rose.store(true, Relaxed);
            self.wire.attention.raise();
        } else if !high && before == self.driver {
            self.wire.attention.raise();
        }
    }
    /// Drives this end without latching an edge: for `restore`.
    pub fn restore_level(&self, high: bool) {
        if high {
            self.wire.drivers.fetch_or(self.driver, Relaxed);
        } else {
            self.wire.drivers.fetch_and(!self.driver, Relaxed);
        }
        self.wire.attention.raise();
    }
    /// Low for a moment, then high: makes an edge even when this end was high.
    pub fn pulse(&self) {
        self.set(false);
        self.set(true);
        self.set(false);
    }
    /// The level of the wire.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.wire.drivers.load(Relaxed) != 0
    }
    /// Whether the wire went from low to high since the last call.
    #[must_use]
    pub fn take_edge(&self) -> bool {
        self.wire.rose.load(Relaxed) && self.wire.rose.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_wire_is_an_or_and_latches_one_edge() {
        let a = Line::detached();
        let b = a.share();
        a.set(true);
        b.set(true);
        a.set(false);
        assert!(b.is_high());
        assert!(a.take_edge());
        assert!(!a.take_edge());
        b.set(false);
        assert!(!a.is_high());
    }

    #[test]
    fn level_changes_raise_attention() {
        let attention = Attention::new();
        let a = Line::on(&attention);
        assert!(attention.take());
        assert!(!attention.take());
        a.set(true);
        assert!(attention.take());
        a.set(true);
        assert!(!attention.take());
        a.set(false);
        assert!(attention.take());
    }
}
