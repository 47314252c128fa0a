//! Guest time and its unit, the tick: one instruction retired, or skipped while halted or while a slow register is read.

use devices::Time;

/// Relation of ticks to guest time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    picoseconds: u64,
}

/// Instructions per second of guest time when nobody asks for another rate.
pub const DEFAULT_RATE: u64 = 200_000_000;

impl Default for Clock {
    fn default() -> Clock {
        Clock::with_rate(DEFAULT_RATE)
    }
}

impl Clock {
    /// A clock of about `instructions` per second of guest time (1000 to 10^12).
    #[must_use]
    pub fn with_rate(instructions: u64) -> Clock {
        Clock { picoseconds: (1_000_000_000_000 / instructions.clamp(1000, 1_000_000_000_000)).max(1) }
    }
    /// Ticks per second, rounded.
    #[must_use]
    pub fn rate(self) -> u64 {
        1_000_000_000_000 / self.picoseconds
    }
    /// The guest time at `ticks`.
    #[inline]
    #[must_use]
    pub fn time(self, ticks: u64) -> Time {
        match ticks.checked_mul(self.picoseconds) {
            Some(picoseconds) => Time(picoseconds / 1000),
            None => {
                let wide = u128::from(ticks) * u128::from(self.picoseconds) / 1000;
                Time(u64::try_from(wide).unwrap_or(u64::MAX))
            }
        }
    }
    /// The first tick at which guest time has reached `time`.
    #[must_use]
    pub fn ticks_until(self, time: Time) -> u64 {
        let wide = (u128::from(time.0) * 1000).div_ceil(u128::from(self.picoseconds));
        u64::try_from(wide).unwrap_or(u64::MAX)
    }
    /// Increments of the time-stamp counter per tick, so that it runs at 0.8 GHz or more.
    #[must_use]
    pub fn tsc_per_tick(self) -> u32 {
        (800_000_000u64.div_ceil(self.rate().max(1))).clamp(1, 1 << 20) as u32
    }
}

/// Ties guest time to the host's clock.
///
/// The embedder waits for [`Pace::wait`] between short slices of a run. A guest that works is
/// never moved ahead: when the host is too slow for it, guest time falls behind, and the timers
/// that the guest compares with each other stay true. It catches up while the guest is halted,
/// because then nothing has to be carried out until the next event.
#[cfg(feature = "host")]
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start: std::time::Instant,
    origin: Time,
}

#[cfg(feature = "host")]
impl Pace {
    /// Guest time `now` is the host's present moment.
    #[must_use]
    pub fn starting(now: Time) -> Pace {
        Pace { start: std::time::Instant::now(), origin: now }
    }
    /// What guest time should be now.
    #[must_use]
    pub fn target(&self) -> Time {
        self.origin.plus(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
    /// How long the host should wait when the guest stands at `now`: as long as it is ahead, and a
    /// halted one until `wakes`, when something happens next.
    #[must_use]
    pub fn wait(&self, now: Time, wakes: Option<Time>) -> std::time::Duration {
        wait(self.target(), now, wakes)
    }
    /// Where the time of a halted guest that stands at `now` and has an event at `wakes` may be
    /// moved to at once.
    #[must_use]
    pub fn idle_until(&self, now: Time, wakes: Time) -> Time {
        idle_until(self.target(), now, wakes)
    }
}

#[cfg(feature = "host")]
fn wait(target: Time, now: Time, wakes: Option<Time>) -> std::time::Duration {
    let until = wakes.map_or(now, |wakes| wakes.max(now));
    std::time::Duration::from_nanos(until.since(target))
}

#[cfg(feature = "host")]
fn idle_until(target: Time, now: Time, wakes: Time) -> Time {
    target.min(wakes).max(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_time_agree() {
        for rate in [1000, 33_000_000, DEFAULT_RATE, 3_000_000_000] {
            let clock = Clock::with_rate(rate);
            for time in [0, 1, 7, 12_345_678_901, 1 << 50] {
                let ticks = clock.ticks_until(Time(time));
                assert!(clock.time(ticks) >= Time(time));
                assert!(ticks == 0 || clock.time(ticks - 1) < Time(time));
            }
        }
        assert_eq!(Clock::default().time(1), Time(5));
        assert_eq!(Clock::default().time(u64::MAX).0, u64::MAX);
    }

    #[cfg(feature = "host")]
    #[test]
    fn pace_follows_the_host() {
        use std::time::Duration;
        let ms = |n: u64| Time(n * 1_000_000);
        // A guest at work waits for what it is ahead, and is left alone when it is behind.
        assert_eq!(wait(ms(10), ms(11), None), Duration::from_millis(1));
        assert_eq!(wait(ms(10), ms(10), None), Duration::ZERO);
        assert_eq!(wait(ms(500), ms(10), None), Duration::ZERO);
        // A halted guest waits for its next event, or not at all when that is overdue.
        assert_eq!(wait(ms(10), ms(11), Some(ms(14))), Duration::from_millis(4));
        assert_eq!(wait(ms(10), ms(11), Some(ms(3))), Duration::from_millis(1));
        assert_eq!(wait(ms(500), ms(10), Some(ms(14))), Duration::ZERO);
        assert!(wait(ms(10), ms(11), Some(Time(u64::MAX))) > Duration::from_secs(3600));
        // It never passes an event, nor the host, nor goes back.
        assert_eq!(idle_until(ms(12), ms(11), ms(14)), ms(12));
        assert_eq!(idle_until(ms(500), ms(11), ms(14)), ms(14));
        assert_eq!(idle_until(ms(10), ms(11), ms(14)), ms(11));
        assert_eq!(idle_until(ms(500), ms(11), ms(3)), ms(11));
    }
}
