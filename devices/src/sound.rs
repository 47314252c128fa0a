//! From what chips do at moments of guest time to samples at even distances.
//!
//! Every source of sound makes [`RATE`] samples a second of guest time: sample `n` belongs to the
//! moment `n / RATE`. A source makes none until somebody listens, and never waits for who listens:
//! what is not taken in time is dropped, oldest first. Samples are no part of a chip's state.

use std::collections::VecDeque;

use crate::device::Time;
use crate::speaker::SpeakerEdge;

/// Samples a second.
pub const RATE: u64 = 48_000;
/// Left and right. Several sources are added, so that one has room above 16 bits.
pub type Sample = [i32; 2];
/// Samples that are kept for who listens: a second.
const KEPT: usize = RATE as usize;

/// The samples that one source has made and nobody has taken yet.
#[derive(Debug, Default)]
pub struct Output {
    listening: bool,
    /// Number of the next sample to be made.
    next: u64,
    samples: VecDeque<Sample>,
}

impl Output {
    /// Begins or ends to make samples.
    pub fn listen(&mut self, listening: bool, now: Time) {
        if listening != self.listening {
            self.listening = listening;
            self.samples.clear();
            self.next = now.ticks(RATE);
        }
    }
    /// Whether anybody listens.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.listening
    }
    /// Moment of the next sample.
    #[must_use]
    pub fn next_at(&self) -> Time {
        Time::of_tick(self.next, RATE)
    }
    /// Makes every sample whose moment lies before `until`. Of those that would be dropped at once
    /// none are made.
    pub fn make(&mut self, until: Time, mut sample: impl FnMut(Time) -> Sample) {
        if !self.listening {
            return;
        }
        let end = until.ticks(RATE);
        self.next = self.next.max(end.saturating_sub(KEPT as u64));
        while self.next < end {
            if self.samples.len() >= KEPT {
                self.samples.pop_front();
            }
            self.samples.push_back(sample(self.next_at()));
            self.next += 1;
        }
    }
    /// Takes what has been made: the number of its first sample, and the samples.
    pub fn take(&mut self) -> (u64, Vec<Sample>) {
        let samples: Vec<Sample> = std::mem::take(&mut self.samples).into();
        (self.next - samples.len() as u64, samples)
    }
}

/// The speaker's membrane as samples: each is the mean position over its time, so that pulses
/// faster than the samples come out as the loudness that an ear hears.
#[derive(Debug, Default)]
pub struct Membrane {
    output: Output,
    high: bool,
    /// Where the sample that is being made begins, and for how long the membrane was out in it.
    at: u64,
    out: u64,
    /// The mean position of the last moments, which a speaker does not keep.
    rest: i64,
}

/// How loud the speaker is.
const MEMBRANE_LEVEL: u64 = 12_000;

impl Membrane {
    /// Begins or ends to make samples.
    pub fn listen(&mut self, listening: bool, now: Time, high: bool) {
        self.output.listen(listening, now);
        (self.high, self.at, self.out, self.rest) = (high, now.0, 0, 0);
    }
    /// The membrane moved as in `edges` and stayed until `now`.
    pub fn follow(&mut self, edges: &[SpeakerEdge], now: Time) {
        if !self.output.is_listening() {
            return;
        }
        for edge in edges {
            self.stay(edge.at);
            self.high = edge.high;
        }
        self.stay(now);
    }
    fn stay(&mut self, until: Time) {
        // What nobody took for so long is gone anyway.
        let oldest = until.0.saturating_sub(1_000_000_000);
        if self.at < oldest {
            (self.at, self.out) = (oldest, 0);
        }
        let (high, at, out, rest) = (self.high, &mut self.at, &mut self.out, &mut self.rest);
        self.output.make(until, |moment| {
            // It ends where the next one begins.
            let end = Time::of_tick(moment.ticks(RATE) + 1, RATE).0.max(*at);
            *out += if high { end - *at } else { 0 };
            *at = end;
            let period = 1_000_000_000 / RATE;
            let position = ((*out).min(period) * MEMBRANE_LEVEL * 256 / period) as i64;
            *out = 0;
            *rest += (position - *rest) / 512;
            [((position - *rest) / 256) as i32; 2]
        });
        if until.0 > self.at {
            self.out += if self.high { until.0 - self.at } else { 0 };
            self.at = until.0;
        }
    }
    /// Takes what has been made.
    pub fn take(&mut self) -> (u64, Vec<Sample>) {
        self.output.take()
    }
}

/// `level` of 16 bits times a volume of 65536ths.
#[must_use]
pub fn scaled(level: i32, volume: u32) -> i32 {
    ((i64::from(level) * i64::from(volume)) >> 16) as i32
}

/// The volume, in 65536ths, that is `steps` steps of 2 dB below full.
#[must_use]
pub fn attenuated(steps: u32) -> u32 {
    // 10^(-2/20) in 65536ths.
    (0..steps.min(64)).fold(0x1_0000, |volume: u64, _| volume * 52_057 >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_at_even_distances_and_the_oldest_go_first() {
        let mut output = Output::default();
        output.make(Time(1_000_000), |_| [1, 1]);
        assert_eq!(output.take(), (0, vec![]));
        output.listen(true, Time(1_000_000));
        output.make(Time(2_000_000), |_| [1, 2]);
        assert_eq!(output.take(), (48, vec![[1, 2]; 48]));
        output.make(Time(2_000_000 + 1_500_000_000), |_| [3, 3]);
        let (first, samples) = output.take();
        assert_eq!((first, samples.len()), (96 + 24_000, 48_000));
        output.make(Time(u64::MAX), |_| [4, 4]);
        output.make(Time(0), |_| [5, 5]);
        assert_eq!(output.take().1.len(), 48_000);
    }

    #[test]
    fn steps_are_two_decibels() {
        assert_eq!((attenuated(0), attenuated(31) / 41), (65536, 1));
        assert!(attenuated(5).abs_diff(20_724) < 5, "{}", attenuated(5));
        assert_eq!(scaled(-20_000, 0x8000), -10_000);
    }

    #[test]
    fn a_square_wave_has_its_frequency_and_no_offset() {
        let mut membrane = Membrane::default();
        membrane.listen(true, Time(0), false);
        let edges: Vec<SpeakerEdge> =
            (0..1000).map(|n| SpeakerEdge { at: Time(n * 500_000), high: n % 2 == 0 }).collect();
        membrane.follow(&edges, Time(500_000_000));
        let (_, samples) = membrane.take();
        assert_eq!(samples.len(), 24_000);
        let tail = &samples[12_000..];
        assert!(tail.iter().map(|sample| i64::from(sample[0])).sum::<i64>().abs() < 12_000 * 200);
        let rises = tail.windows(2).filter(|pair| pair[0][0] < 0 && pair[1][0] >= 0).count();
        assert!((249..=251).contains(&rises), "{rises} periods in a quarter of a second");
    }

    #[test]
    fn when_samples_are_taken_is_not_heard() {
        let edges: Vec<SpeakerEdge> =
            (1..200).map(|n| SpeakerEdge { at: Time(n * 499_925), high: n % 2 == 0 }).collect();
        let heard = |step: u64| {
            let mut membrane = Membrane::default();
            membrane.listen(true, Time(0), true);
            let (mut samples, mut now) = (Vec::new(), 0);
            while now < 100_000_000 {
                let until = (now + step).min(100_000_000);
                let moved: Vec<_> = edges.iter().copied().filter(|edge| (now..until).contains(&edge.at.0)).collect();
                membrane.follow(&moved, Time(until));
                samples.extend(membrane.take().1);
                now = until;
            }
            samples
        };
        let at_once = heard(100_000_000);
        for step in [1_000_000, 1_234_567, 7_777, 20_833, 31_250] {
            assert_eq!(heard(step), at_once, "{step}");
        }
    }
}
