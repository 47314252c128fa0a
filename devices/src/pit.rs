//! The interval timer: Intel 8254 (data sheet 231164).
//!
//! Registers: 0–2 the counters, 3 the control word (ports 40h–43h). All three counters run at
//! 1193182 Hz; outputs and gates are wires.
//!
//! A counter is not stepped: it keeps the tick at which its current run began and computes count
//! and output from the distance. Where the chip loads a new count one clock after it was written,
//! so does this one. Not emulated: the undefined counts a real chip shows between a write of the
//! control word and the first load; the old count stands there.

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Time, Width};
use crate::line::Line;

/// The timer's clock: a third of the NTSC colour carrier.
pub const PIT_HERTZ: u64 = 1_193_182;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Access8254 {
    Low,
    High,
    Both,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    /// 0–5.
    mode: u8,
    bcd: bool,
    access: Access8254,
    /// The low byte that was written when both are expected.
    low_written: Option<u8>,
    /// The next read gives the high byte.
    read_high: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
    /// The count register as written.
    reload: u16,
    /// A count was written that the counting element has not taken over yet.
    null_count: bool,
    /// A count was written since the control word.
    loaded: bool,
    /// Count at `start`, 1–65536 (binary value whatever the code).
    initial: u32,
    /// The tick at which `initial` stood in the counting element.
    start: u64,
    /// The counting element moves (loaded, and triggered where the mode wants that).
    running: bool,
    /// With the gate low: the ticks already run when it fell.
    paused: Option<u64>,
    /// The pending load, at this tick (modes 2 and 3: at the end of the period).
    load_at: Option<u64>,
    gate: bool,
    output: bool,
}

/// What the counting element shows after some ticks of a run.
struct Shown {
    count: u32,
    output: bool,
}

impl Counter {
    fn new() -> Counter {
        Counter {
            mode: 0,
            bcd: false,
            access: Access8254::Both,
            low_written: None,
            read_high: false,
            latched_count: None,
            latched_status: None,
            reload: 0,
            null_count: true,
            loaded: false,
            initial: 0x1_0000,
            start: 0,
            running: false,
            paused: None,
            load_at: None,
            gate: true,
            output: true,
        }
    }

    /// Number of counts of a full turn.
    fn turn(&self) -> u32 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }

    /// The count register as a number; 0 stands for a full turn.
    fn reload_value(&self) -> u32 {
        let value = if self.bcd {
            (0..4).rev().fold(0, |value, digit| value * 10 + u32::from(self.reload >> (4 * digit) & 15))
        } else {
            u32::from(self.reload)
        };
        // Codes that are no decimal digits could go beyond the turn.
        if value == 0 || value > self.turn() { self.turn() } else { value }
    }

    fn encode(&self, count: u32) -> u16 {
        let count = count % self.turn();
        if !self.bcd {
            return count as u16;
        }
        (0..4).fold((0, count), |(code, rest), digit| (code | (rest % 10) << (4 * digit), rest / 10)).0 as u16
    }

    /// Ticks of the current run at tick `now`.
    fn elapsed(&self, now: u64) -> u64 {
        self.paused.unwrap_or_else(|| now.saturating_sub(self.start))
    }

    /// Counts down from `initial`, going round.
    fn down(&self, by: u64) -> u32 {
        let turn = u64::from(self.turn());
        ((u64::from(self.initial) + turn - by % turn) % turn) as u32
    }

    fn shown(&self, now: u64) -> Shown {
        if !self.running {
            return Shown { count: self.initial, output: self.output };
        }
        let (elapsed, initial) = (self.elapsed(now), u64::from(self.initial));
        match self.mode {
            0 | 1 => Shown { count: self.down(elapsed), output: elapsed >= initial },
            2 => {
                let place = elapsed % initial;
                // Low during the last count of each period; a stopped gate forces it high.
                Shown { count: (initial - place) as u32, output: place + 1 != initial || self.paused.is_some() }
            }
            3 => {
                let high = initial.div_ceil(2);
                let place = elapsed % initial;
                let (into, output) = if place < high { (place, true) } else { (place - high, false) };
                // Even counts fall by two; an odd one loses its one first.
                let count = (initial & !1).saturating_sub(2 * into);
                Shown { count: count as u32, output: output || self.paused.is_some() }
            }
            _ => Shown { count: self.down(elapsed), output: elapsed != initial },
        }
    }

    /// First tick after `now` at which the output may change or a load takes place.
    fn next_change(&self, now: u64) -> Option<u64> {
        let elapsed = self.elapsed(now);
        let initial = u64::from(self.initial);
        let change = if !self.running || self.paused.is_some() {
            None
        } else {
            match self.mode {
                0 | 1 => (elapsed < initial).then_some(initial),
                2 => {
                    let period = elapsed - elapsed % initial;
                    let low = period + initial - 1;
                    Some(if elapsed < low { low } else { period + initial })
                }
                3 => {
                    let period = elapsed - elapsed % initial;
                    let half = period + initial.div_ceil(2);
                    Some(if elapsed < half { half } else { period + initial })
                }
                _ if elapsed < initial => Some(initial),
                _ => (elapsed == initial).then_some(initial + 1),
            }
        };
        let change = change.map(|at| self.start.saturating_add(at));
        [change, self.load_at].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// The count register goes into the counting element at tick `at`.
    fn load(&mut self, at: u64) {
        self.initial = self.reload_value();
        self.start = at;
        self.null_count = false;
        self.load_at = None;
        self.running = true;
        self.paused = (!self.gate && matches!(self.mode, 0 | 2 | 3 | 4)).then_some(0);
    }

    /// Takes over a load that has come due, and the output.
    fn advance(&mut self, now: u64) {
        if let Some(at) = self.load_at.filter(|at| *at <= now) {
            self.load(at);
        }
        self.output = self.shown(now).output;
    }

    fn control(&mut self, word: u8, now: u64) {
        self.access = match word >> 4 & 3 {
            1 => Access8254::Low,
            2 => Access8254::High,
            _ => Access8254::Both,
        };
        // Codes 6 and 7 are modes 2 and 3 again.
        let mode = word >> 1 & 7;
        let count = self.shown(now).count;
        self.mode = if mode > 5 { mode - 4 } else { mode };
        self.bcd = word & 1 != 0;
        self.low_written = None;
        self.read_high = false;
        self.latched_count = None;
        self.latched_status = None;
        self.null_count = true;
        self.loaded = false;
        self.running = false;
        self.paused = None;
        self.load_at = None;
        self.initial = count.clamp(1, self.turn());
        self.output = self.mode != 0;
    }

    fn write(&mut self, value: u8, now: u64) {
        match (self.access, self.low_written.take()) {
            (Access8254::Low, _) => self.reload = u16::from(value),
            (Access8254::High, _) => self.reload = u16::from(value) << 8,
            (Access8254::Both, None) => {
                self.low_written = Some(value);
                // In mode 0 the first byte stops the count and drops the output at once.
                if self.mode == 0 {
                    self.initial = self.shown(now).count.clamp(1, self.turn());
                    self.running = false;
                    self.output = false;
                    self.load_at = None;
                }
                return;
            }
            (Access8254::Both, Some(low)) => self.reload = u16::from_le_bytes([low, value]),
        }
        self.null_count = true;
        let first = !std::mem::replace(&mut self.loaded, true);
        match self.mode {
            0 => {
                self.output = false;
                self.running = false;
                self.load_at = Some(now + 1);
            }
            4 => self.load_at = Some(now + 1),
            2 | 3 if first || !self.running => self.load_at = Some(now + 1),
            // A running period is finished with the old count. In mode 3 the chip changes over
            // already at the end of the half period.
            2 | 3 => self.load_at = Some(self.period_end(now)),
            // Modes 1 and 5 wait for the gate to rise.
            _ => {}
        }
    }

    fn period_end(&self, now: u64) -> u64 {
        let initial = u64::from(self.initial);
        let elapsed = self.elapsed(now);
        self.start.saturating_add(elapsed - elapsed % initial + initial)
    }

    fn set_gate(&mut self, gate: bool, now: u64) {
        let rose = gate && !self.gate;
        let fell = !gate && self.gate;
        self.gate = gate;
        if !rose && !fell {
            return;
        }
        match self.mode {
            0 | 4 if fell && self.running && self.paused.is_none() => self.paused = Some(self.elapsed(now)),
            0 | 4 if rose => {
                if let Some(done) = self.paused.take() {
                    self.start = now.saturating_sub(done);
                }
            }
            1 | 5 if rose && self.loaded => {
                self.running = false;
                self.load_at = Some(now + 1);
                // The one-shot's pulse begins with the clock that loads; it is drawn from there.
                if self.mode == 5 {
                    self.output = true;
                }
            }
            2 | 3 if fell && self.running => {
                self.paused = Some(self.elapsed(now) % u64::from(self.initial));
                self.load_at = None;
            }
            2 | 3 if rose && self.loaded => self.load_at = Some(now + 1),
            _ => {}
        }
        self.output = self.shown(now).output;
    }

    /// The count that a read finds. A bus cycle is longer than the timer's clock, so that a count
    /// which the next clock loads is there before anybody can read it.
    fn count(&self, now: u64) -> u16 {
        let loads = self.load_at == now.checked_add(1) && (!self.running || matches!(self.mode, 0 | 4));
        self.encode(if loads { self.reload_value() } else { self.shown(now).count })
    }

    fn latch_count(&mut self, now: u64) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.count(now));
        }
    }

    fn latch_status(&mut self, now: u64) {
        if self.latched_status.is_none() {
            let access = match self.access {
                Access8254::Low => 1,
                Access8254::High => 2,
                Access8254::Both => 3,
            };
            let output = u8::from(self.shown(now).output);
            let status = output << 7 | u8::from(self.null_count) << 6 | access << 4 | self.mode << 1;
            self.latched_status = Some(status | u8::from(self.bcd));
        }
    }

    fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let count = self.latched_count.unwrap_or_else(|| self.count(now));
        let [low, high] = count.to_le_bytes();
        let (value, last) = match (self.access, self.read_high) {
            (Access8254::Low, _) => (low, true),
            (Access8254::High, _) => (high, true),
            (Access8254::Both, false) => (low, false),
            (Access8254::Both, true) => (high, true),
        };
        self.read_high = !last;
        if last {
            self.latched_count = None;
        }
        value
    }

    /// Whether the counter can be in this state at tick `now`.
    fn is_valid(&self, now: u64) -> bool {
        self.mode <= 5
            && (1..=self.turn()).contains(&self.initial)
            && self.start <= now
            && self.paused.is_none_or(|ticks| ticks <= now)
            && self.load_at.is_none_or(|at| at <= now.saturating_add(0x1_0001))
    }
}

/// The timer with its three counters.
#[derive(Debug)]
pub struct Pit {
    outputs: [Option<Line>; 3],
    gate2: Line,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    counters: [Counter; 3],
    now: Time,
}

impl State {
    fn new(now: Time) -> State {
        State { counters: [Counter::new(), Counter::new(), Counter::new()], now }
    }
}

impl Pit {
    /// A timer that drives `output0` (the timer interrupt) and `output2` (the speaker) and whose
    /// counter 2 is gated by `gate2`; the other gates are high. An output that is `None` is not
    /// wired and causes no events; it can still be read back.
    #[must_use]
    pub fn new(output0: Option<Line>, output2: Option<Line>, gate2: Line) -> Pit {
        Pit { outputs: [output0, None, output2], gate2, state: State::new(Time::ZERO) }
    }
    /// Level of output `counter` (0–2) at `now`, also of one that is not wired.
    #[must_use]
    pub fn output_level(&self, counter: u8, now: Time) -> bool {
        let Some(counter) = self.state.counters.get(usize::from(counter)) else { return false };
        let tick = now.ticks(PIT_HERTZ);
        let mut counter = counter.clone();
        counter.advance(tick);
        counter.output
    }
    /// The period of counter 2 in ticks while it runs as a rate generator or square wave with its
    /// gate open.
    #[must_use]
    pub fn tone(&self) -> Option<u32> {
        let [_, _, counter] = &self.state.counters;
        (matches!(counter.mode, 2 | 3) && counter.running && counter.gate).then_some(counter.initial)
    }

    fn drive(&self) {
        for (line, counter) in self.outputs.iter().zip(&self.state.counters) {
            if let Some(line) = line {
                line.set(counter.output);
            }
        }
    }

    /// Brings all counters to `now`, passing through at most one full pulse of each output, so
    /// that an edge that came and went is still seen on the wire.
    fn catch_up(&mut self, now: Time) {
        let tick = now.ticks(PIT_HERTZ);
        let last = self.state.now.ticks(PIT_HERTZ);
        let gate = self.gate2.is_high();
        let [_, _, counter] = &self.state.counters;
        if tick == last && gate == counter.gate {
            // Software that polls comes many times in a tick.
            self.state.now = now;
            return self.drive();
        }
        for (index, counter) in self.state.counters.iter_mut().enumerate() {
            let mut at = last;
            // Loads and the last edges before `tick` happen one after the other.
            for _ in 0..3 {
                let Some(next) = counter.next_change(at).filter(|next| *next <= tick) else { break };
                at = next;
                counter.advance(at);
                if let Some(line) = self.outputs.get(index).and_then(Option::as_ref) {
                    line.set(counter.output);
                }
            }
            counter.advance(tick);
            if index == 2 {
                counter.set_gate(gate, tick);
            }
        }
        self.state.now = now;
        self.drive();
    }
}

impl PortIo for Pit {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if width != Width::Byte || register > 2 {
            return None;
        }
        self.catch_up(cx.now);
        let tick = cx.now.ticks(PIT_HERTZ);
        self.state.counters.get_mut(usize::from(register)).map(|counter| u32::from(counter.read(tick)))
    }

    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if width != Width::Byte || register > 3 {
            return None;
        }
        self.catch_up(cx.now);
        let (tick, value) = (cx.now.ticks(PIT_HERTZ), value as u8);
        let counters = &mut self.state.counters;
        if let Some(counter) = counters.get_mut(usize::from(register)) {
            counter.write(value, tick);
        } else if value >> 6 == 3 {
            let chosen = counters.iter_mut().enumerate().filter(|(index, _)| value >> 1 & 1 << index != 0);
            for (_, counter) in chosen {
                if value & 0x20 == 0 {
                    counter.latch_count(tick);
                }
                if value & 0x10 == 0 {
                    counter.latch_status(tick);
                }
            }
        } else if let Some(counter) = counters.get_mut(usize::from(value >> 6)) {
            if value & 0x30 == 0 {
                counter.latch_count(tick);
            } else {
                counter.control(value, tick);
            }
        }
        self.drive();
        Some(())
    }
}

impl Device for Pit {
    fn name(&self) -> &'static str {
        "pit"
    }
    fn reset(&mut self) {
        self.state = State::new(self.state.now);
        for line in self.outputs.iter().flatten() {
            line.set(false);
        }
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        self.catch_up(cx.now);
    }
    fn next_event(&self) -> Option<Time> {
        let now = self.state.now.ticks(PIT_HERTZ);
        let wired = self.outputs.iter().zip(&self.state.counters).filter(|(line, _)| line.is_some());
        wired
            .filter_map(|(_, counter)| counter.next_change(now))
            .min()
            .map(|tick| Time::of_tick(tick, PIT_HERTZ).max(self.state.now.plus(1)))
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { outputs: _, gate2: _, state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        let now = state.now.ticks(PIT_HERTZ);
        if !state.counters.iter().all(|counter| counter.is_valid(now)) {
            return Err(RestoreError::OutOfRange("counters"));
        }
        self.state = state;
        for (line, counter) in self.outputs.iter().zip(&self.state.counters) {
            if let Some(line) = line {
                line.restore_level(counter.output);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, Pit::new(Some(Line::detached()), Some(Line::detached()), Line::detached()));

    struct Rig {
        bench: Bench<Pit>,
        out0: Line,
        out2: Line,
        gate2: Line,
        ticks: u64,
    }

    impl Rig {
        fn new() -> Rig {
            let (out0, out2, gate2) = (Line::detached(), Line::detached(), Line::detached());
            let bench = Bench::new(Pit::new(Some(out0.share()), Some(out2.share()), gate2.share()));
            Rig { bench, out0, out2, gate2, ticks: 0 }
        }
        /// Lets the clock tick.
        fn tick(&mut self, ticks: u64) {
            self.ticks += ticks;
            let target = Time::of_tick(self.ticks, PIT_HERTZ);
            self.bench.run(target.since(self.bench.now));
        }
        fn count(&mut self, counter: u16) -> u16 {
            self.bench.write(3, (counter as u8) << 6);
            u16::from_le_bytes([self.bench.read(counter), self.bench.read(counter)])
        }
    }

    #[test]
    fn mode_0_interrupts_on_terminal_count() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x30);
        assert!(!rig.out0.is_high());
        rig.bench.write(0, 4);
        rig.bench.write(0, 0);
        rig.tick(4);
        assert_eq!((rig.count(0), rig.out0.is_high()), (1, false));
        rig.tick(1);
        assert_eq!((rig.count(0), rig.out0.is_high()), (0, true), "N + 1 clocks after the write");
        rig.tick(2);
        assert_eq!((rig.count(0), rig.out0.is_high()), (0xfffe, true));
        rig.bench.write(0, 9);
        assert!(!rig.out0.is_high(), "the first byte drops the output");
    }

    #[test]
    fn mode_0_gate_holds_the_count() {
        let mut rig = Rig::new();
        rig.gate2.set(true);
        rig.bench.write(3, 0x90);
        rig.bench.write(2, 10);
        rig.tick(4);
        rig.gate2.set(false);
        rig.bench.advance();
        rig.tick(100);
        assert_eq!(rig.bench.read(2), 7);
        rig.gate2.set(true);
        rig.bench.advance();
        rig.tick(6);
        assert!(!rig.out2.is_high());
        rig.tick(1);
        assert!(rig.out2.is_high());
    }

    #[test]
    fn a_count_can_be_read_as_soon_as_it_is_written() {
        let mut rig = Rig::new();
        rig.gate2.set(true);
        rig.bench.write(3, 0xb0);
        for value in [0xff, 0x7f] {
            rig.bench.write(2, value);
        }
        assert_eq!([2, 2].map(|port| rig.bench.read(port)), [0xff, 0x7f]);
        rig.bench.write(3, 0x80);
        rig.tick(4);
        assert_eq!([2, 2].map(|port| rig.bench.read(port)), [0xff, 0x7f], "latched");
        assert_eq!([2, 2].map(|port| rig.bench.read(port)), [0xfc, 0x7f]);
    }

    #[test]
    fn mode_1_one_shot_is_triggered_by_the_gate() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x92);
        rig.bench.write(2, 3);
        assert!(rig.out2.is_high());
        rig.tick(10);
        assert!(rig.out2.is_high());
        rig.gate2.set(true);
        rig.bench.advance();
        rig.tick(1);
        assert!(!rig.out2.is_high());
        rig.tick(2);
        assert!(!rig.out2.is_high());
        rig.tick(1);
        assert!(rig.out2.is_high());
    }

    #[test]
    fn mode_2_divides_and_pulses_low_for_one_clock() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x14);
        rig.bench.write(0, 3);
        rig.tick(1);
        let mut levels = Vec::new();
        for _ in 0..6 {
            levels.push(rig.out0.is_high());
            rig.tick(1);
        }
        assert_eq!(levels, [true, true, false, true, true, false]);
    }

    #[test]
    fn mode_2_takes_a_new_count_after_the_period() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x14);
        rig.bench.write(0, 10);
        rig.tick(4);
        rig.bench.write(0, 5);
        rig.bench.write(3, 0xe2);
        assert_eq!(rig.bench.read(0) & 0x40, 0x40, "null count until it is loaded");
        let _ = rig.out0.take_edge();
        rig.tick(6);
        assert!(!rig.out0.take_edge());
        rig.tick(1);
        assert!(rig.out0.take_edge(), "the old period was finished");
        rig.tick(5);
        assert!(rig.out0.take_edge(), "the new one is five clocks");
        rig.bench.write(3, 0xe2);
        assert_eq!(rig.bench.read(0), 0x94);
    }

    #[test]
    fn mode_3_square_wave_of_odd_count() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x16);
        rig.bench.write(0, 5);
        rig.tick(1);
        let mut levels = Vec::new();
        for _ in 0..10 {
            levels.push(rig.out0.is_high());
            rig.tick(1);
        }
        assert_eq!(levels, [true, true, true, false, false, true, true, true, false, false]);
    }

    #[test]
    fn mode_4_and_5_strobe_once() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x18);
        rig.bench.write(0, 2);
        rig.tick(2);
        assert!(rig.out0.is_high());
        rig.tick(1);
        assert!(!rig.out0.is_high());
        rig.tick(1);
        assert!(rig.out0.is_high());
        rig.bench.write(3, 0x9a);
        rig.bench.write(2, 2);
        rig.tick(9);
        assert!(rig.out2.is_high());
        rig.gate2.set(true);
        rig.bench.advance();
        rig.tick(3);
        assert!(!rig.out2.is_high());
        rig.tick(1);
        assert!(rig.out2.is_high());
    }

    #[test]
    fn decimal_counting() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x31);
        rig.bench.write(0, 0x00);
        rig.bench.write(0, 0x10);
        rig.tick(2);
        assert_eq!(rig.count(0), 0x0999);
        rig.tick(1000);
        assert_eq!(rig.count(0), 0x9999);
    }

    #[test]
    fn latches_hold_until_read_and_status_comes_first() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x34);
        rig.bench.write(0, 0);
        rig.bench.write(0, 0);
        rig.tick(1);
        rig.bench.write(3, 0xc2);
        rig.tick(100);
        rig.bench.write(3, 0x00);
        assert_eq!(rig.bench.read(0), 0xb4);
        assert_eq!((rig.bench.read(0), rig.bench.read(0)), (0, 0), "latched at the full count");
        assert_eq!((rig.bench.read(0), rig.bench.read(0)), (0x9c, 0xff), "live again");
    }

    #[test]
    fn eighteen_point_two_hertz() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x36);
        rig.bench.write(0, 0);
        rig.bench.write(0, 0);
        let mut edges = 0;
        let _ = rig.out0.take_edge();
        while rig.bench.now < Time(10_000_000_000) {
            let next = rig.bench.device.next_event().expect("it runs");
            rig.bench.run(next.since(rig.bench.now));
            edges += u32::from(rig.out0.take_edge());
        }
        assert_eq!(edges, 182);
    }

    #[test]
    fn a_late_advance_still_shows_an_edge() {
        let mut rig = Rig::new();
        rig.bench.write(3, 0x34);
        rig.bench.write(0, 100);
        rig.bench.write(0, 0);
        rig.bench.advance();
        let _ = rig.out0.take_edge();
        rig.bench.now = rig.bench.now.plus(1_000_000_000);
        rig.bench.advance();
        assert!(rig.out0.take_edge());
    }

    #[test]
    fn unwired_outputs_cause_no_events() {
        let mut bench = Bench::new(Pit::new(None, None, Line::detached()));
        bench.write(3, 0x36);
        bench.write(0, 7);
        bench.write(0, 0);
        assert_eq!(bench.device.next_event(), None);
        assert!(bench.device.output_level(0, Time::of_tick(1, PIT_HERTZ)));
        assert!(!bench.device.output_level(0, Time::of_tick(6, PIT_HERTZ)));
    }
}
