//! Yamaha YMF262 (OPL3) FM synthesizer, as on a Sound Blaster 16: register interface and timers
//! after the YMF262 data sheet; the sound itself is made by the crate `oplon`.
//!
//! Registers: 0 and 2 address of bank 0 and 1 (reading 0: status), 1 and 3 data. A board puts them
//! at 220h–223h and 388h–38Bh, and 0 and 1 at 228h too.
//! Not emulated: the test register, composite sine mode, the interrupt (no PC wires it). After a
//! restore, notes that sounded begin anew.

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Time, Width};
use crate::sound::{Output, RATE, Sample};

/// Operators run at the crystal's 14.318180 MHz divided by 288.
const NATIVE_RATE: u32 = 49_716;
/// One voice at its loudest is an eighth of full level, as on the chip; `oplon` makes it a quarter of
/// that.
const GAIN: i32 = 4;
/// Nanoseconds of a tick of timer 1; those of timer 2 are four times as long.
const TIMER_TICK: u64 = 80_000;

const TIMER_1_EXPIRED: u8 = 0x40;
const TIMER_2_EXPIRED: u8 = 0x20;
const INTERRUPT: u8 = 0x80;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Selected register; bit 8 is the bank.
    address: u16,
    /// Both banks.
    registers: Vec<u8>,
    /// When the timers that run began to count.
    started: [Option<Time>; 2],
    /// Flags that timers have set.
    flags: u8,
}

impl Default for State {
    fn default() -> State {
        State { address: 0, registers: vec![0; 0x200], started: [None; 2], flags: 0 }
    }
}

/// The synthesizer.
pub struct Opl {
    state: State,
    synthesizer: oplon::Opl3,
    output: Output,
}

impl std::fmt::Debug for Opl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opl").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Default for Opl {
    fn default() -> Opl {
        Opl::new()
    }
}

fn synthesizer() -> oplon::Opl3 {
    oplon::Opl3::with_native_rate(NATIVE_RATE, RATE as u32)
}

impl Opl {
    /// A silent synthesizer.
    #[must_use]
    pub fn new() -> Opl {
        Opl { state: State::default(), synthesizer: synthesizer(), output: Output::default() }
    }
    /// Begins or ends to make samples.
    pub fn listen(&mut self, listening: bool, now: Time) {
        if listening && !self.output.is_listening() {
            self.tune();
        }
        self.output.listen(listening, now);
    }
    /// Takes the samples up to `now`.
    pub fn take(&mut self, now: Time) -> (u64, Vec<Sample>) {
        self.play(now);
        self.output.take()
    }
    fn play(&mut self, now: Time) {
        let synthesizer = &mut self.synthesizer;
        self.output.make(now, |_| {
            let (left, right) = synthesizer.render_frame();
            [left * GAIN, right * GAIN]
        });
    }
    /// Gives the synthesizer all registers: modes first, keys last.
    fn tune(&mut self) {
        self.synthesizer = synthesizer();
        let modes = [0x105, 0x104, 0x0bd];
        let keys = 0xb0..=0xb8;
        let rest = (0..0x200u16).filter(|at| !modes.contains(at) && !keys.contains(&(at & 0xff)));
        let order: Vec<u16> =
            modes.into_iter().chain(rest).chain(keys.clone()).chain(keys.clone().map(|at| at | 0x100)).collect();
        for at in order {
            if let Some(value) = self.state.registers.get(usize::from(at)).copied() {
                self.tell(at, value);
            }
        }
    }
    fn tell(&mut self, at: u16, value: u8) {
        let [low, high] = at.to_le_bytes();
        // 02h to 04h of bank 0 are the timers'; oplon has no use for them.
        if high == 0 { self.synthesizer.write_reg(low, value) } else { self.synthesizer.write_reg_high(low, value) }
    }

    /// Timers count from their register's value up to 256, set their flag and begin again.
    fn update_timers(&mut self, now: Time) {
        let State { registers, started, flags, .. } = &mut self.state;
        let control = registers.get(4).copied().unwrap_or(0);
        let timers = [TIMER_1_EXPIRED, TIMER_2_EXPIRED].into_iter().zip(started).enumerate();
        for (timer, (flag, started)) in timers {
            let Some(start) = started else { continue };
            let preset = registers.get(2 + timer).copied().unwrap_or(0);
            let period = (256 - u64::from(preset)) * (TIMER_TICK << (2 * timer));
            let times = now.since(*start) / period;
            if times != 0 {
                *start = start.plus(times * period);
                // A masked timer sets no flag.
                *flags |= if control & flag == 0 { flag } else { 0 };
            }
        }
    }
    fn status(&self) -> u8 {
        self.state.flags | if self.state.flags != 0 { INTERRUPT } else { 0 }
    }

    fn write_data(&mut self, now: Time, value: u8) {
        self.update_timers(now);
        let at = self.state.address;
        // Only bank 0 until the chip is told that it is an OPL3.
        let is_opl3 = self.state.registers.get(0x105).is_some_and(|mode| mode & 1 != 0);
        if at == 4 && value & 0x80 != 0 {
            // Resets the flags and nothing else.
            self.state.flags = 0;
            return;
        }
        if at >= 0x100 && !is_opl3 && at != 0x105 {
            return;
        }
        if at == 4 {
            for (timer, started) in self.state.started.iter_mut().enumerate() {
                let runs = value >> timer & 1 != 0;
                *started = if runs { started.or(Some(now)) } else { None };
            }
        }
        if let Some(register) = self.state.registers.get_mut(usize::from(at)) {
            *register = value;
        }
        if self.output.is_listening() {
            self.play(now);
            self.tell(at, value);
        }
    }
}

impl PortIo for Opl {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        match (register, width) {
            (0..=3, Width::Byte) => {
                self.update_timers(cx.now);
                Some(u32::from(self.status()))
            }
            _ => None,
        }
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        match (register, width) {
            (0, Width::Byte) => self.state.address = value as u16 & 0xff,
            (2, Width::Byte) => self.state.address = value as u16 & 0xff | 0x100,
            (1 | 3, Width::Byte) => self.write_data(cx.now, value as u8),
            _ => return None,
        }
        Some(())
    }
}

impl Device for Opl {
    fn name(&self) -> &'static str {
        "opl"
    }
    fn reset(&mut self) {
        self.state = State::default();
        self.synthesizer = synthesizer();
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { state, synthesizer: _, output: _ } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        if state.registers.len() != 0x200 || state.address > 0x1ff {
            return Err(RestoreError::OutOfRange("registers"));
        }
        if state.flags & !(TIMER_1_EXPIRED | TIMER_2_EXPIRED) != 0 {
            return Err(RestoreError::OutOfRange("flags"));
        }
        self.state = state;
        self.tune();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, Random};

    crate::device_conformance!(conforms, Opl::new());

    fn set(bench: &mut Bench<Opl>, at: u16, value: u8) {
        bench.write(if at < 0x100 { 0 } else { 2 }, at as u8);
        bench.write(1, value);
    }

    #[test]
    fn timers_tell_an_opl3_from_nothing() {
        let mut bench = Bench::new(Opl::new());
        // The detection that every driver does (Ad Lib programmer's manual).
        set(&mut bench, 4, 0x60);
        set(&mut bench, 4, 0x80);
        assert_eq!(bench.read(0) & 0xe0, 0);
        set(&mut bench, 2, 0xff);
        set(&mut bench, 4, 0x21);
        bench.run(70_000);
        assert_eq!(bench.read(0), 0);
        bench.run(20_000);
        assert_eq!(bench.read(0), 0xc0, "bits 1 and 2 clear: an OPL3");
        set(&mut bench, 4, 0x80);
        assert_eq!(bench.read(0), 0);
        bench.run(80_000);
        assert_eq!(bench.read(0), 0xc0, "it goes on counting");
        set(&mut bench, 4, 0x60);
        set(&mut bench, 4, 0x80);
        assert_eq!(bench.read(0), 0);
        set(&mut bench, 3, 0xfe);
        set(&mut bench, 4, 0x22);
        bench.run(1_000_000);
        assert_eq!(bench.read(0), 0, "timer 2 is masked");
    }

    #[test]
    fn a_note_has_its_pitch_and_ends() {
        let mut bench = Bench::new(Opl::new());
        bench.device.listen(true, Time::ZERO);
        let note = [
            (0x20, 0x01),
            (0x23, 0x21),
            (0x40, 0x3f),
            (0x43, 0x00),
            (0x63, 0xf0),
            (0x83, 0x0f),
            (0xc0, 0x31),
            (0xa0, 0x41),
            (0xb0, 0x32),
        ];
        for (at, value) in note {
            set(&mut bench, at, value);
        }
        bench.now = Time(500_000_000);
        let (first, samples) = bench.device.take(bench.now);
        assert_eq!((first, samples.len()), (0, 24_000));
        assert!(samples.iter().skip(20_000).any(|sample| sample[0] > 3_000), "sustained");
        let rises = samples.windows(2).filter(|pair| pair[0][0] < 0 && pair[1][0] >= 0).count();
        // F-number 241h, block 4: 577 * 49716 / 2^16 = 437.7 Hz.
        assert!((216..=221).contains(&rises), "{rises} periods in half a second");
        set(&mut bench, 0xb0, 0x12);
        bench.now = Time(1_000_000_000);
        let (_, samples) = bench.device.take(bench.now);
        assert!(samples.iter().rev().take(1000).all(|sample| sample[0].abs() < 8), "released");
    }

    #[test]
    fn any_registers_make_bounded_sound() {
        let mut random = Random::new(3);
        let mut bench = Bench::new(Opl::new());
        bench.device.listen(true, Time::ZERO);
        set(&mut bench, 0x105, 1);
        for _ in 0..400 {
            for _ in 0..20 {
                let bits = random.bits();
                set(&mut bench, bits as u16 & 0x1ff, (bits >> 16) as u8);
            }
            bench.run(500_000);
        }
        let (_, samples) = bench.device.take(bench.now);
        assert!(!samples.is_empty() && samples.iter().all(|sample| sample[0].abs() < 1 << 20));
    }
}
