//! The real-time clock and CMOS memory: Motorola MC146818A (data sheet MC146818A/D) with 128
//! bytes, and a second bank of 128 bytes as in a PIIX4.
//!
//! Registers: 0 index (port 70h; bit 7 masks the NMI), 1 data (71h), 2 and 3 index and data of
//! the second bank (72h, 73h).
//!
//! The clock runs on guest time from the date it is made with. Not emulated: daylight saving, the
//! square-wave pin, the square-wave-only divider settings, and the clock inputs of 4 MHz and 1 MHz
//! (they run like 32768 Hz).

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Time, Width};
use crate::line::Line;

const SECOND: u64 = 1_000_000_000;
/// The clock crystal, from which the periodic interrupt is divided.
const CRYSTAL_HERTZ: u64 = 32768;
/// How long before an update the update-in-progress bit rises (tBUC).
const UPDATE_WARNING: u64 = 244_000;
/// How long an update cycle takes (tUC with a 32768 Hz crystal).
const UPDATE_LENGTH: u64 = 1_984_000;

const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_C: u8 = 0x0c;
const STATUS_D: u8 = 0x0d;
/// Where PC software keeps the century.
const CENTURY: u8 = 0x32;

const A_UPDATE_IN_PROGRESS: u8 = 0x80;
const B_SET: u8 = 0x80;
const B_BINARY: u8 = 0x04;
const B_24_HOURS: u8 = 0x02;
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATE_ENDED: u8 = 0x10;
const C_INTERRUPT: u8 = 0x80;

/// A date and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateTime {
    /// Year; the chip's bytes can say 0–9999.
    pub year: u16,
    /// Month, 1–12.
    pub month: u8,
    /// Day of the month, 1–31.
    pub day: u8,
    /// Hour, 0–23.
    pub hour: u8,
    /// Minute, 0–59.
    pub minute: u8,
    /// Second, 0–59.
    pub second: u8,
}

impl DateTime {
    /// The date of a clock that nobody set: 1 January 2000, midnight.
    pub const DEFAULT: DateTime = DateTime { year: 2000, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

    /// The date `seconds` after 1 January 1970, UTC.
    #[must_use]
    pub fn from_unix(seconds: u64) -> DateTime {
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // Days since 1 March of the year 0, in eras of 400 years.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = (year_of_era + era * 400 + u64::from(month <= 2)).min(0xffff);
        DateTime {
            year: year as u16,
            month: month as u8,
            day: day as u8,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }

    /// Seconds since 1 March of the year 0, counting every field as it stands.
    fn seconds(self) -> u64 {
        let month = u64::from(self.month.clamp(1, 12));
        let year = u64::from(self.year) + 400 - u64::from(month <= 2);
        let shifted = (month + 9) % 12;
        let day = (153 * shifted + 2) / 5 + u64::from(self.day.max(1)) - 1;
        let days = year * 365 + year / 4 - year / 100 + year / 400 + day;
        days * 86_400 + u64::from(self.hour) * 3600 + u64::from(self.minute) * 60 + u64::from(self.second)
    }

    /// The reverse of [`seconds`](DateTime::seconds).
    fn of_seconds(seconds: u64) -> DateTime {
        // 1 January 1970 on the same scale.
        let epoch = DateTime { year: 1970, ..DateTime::DEFAULT }.seconds();
        let cycle = 146_097 * 86_400;
        // Dates before 1970 are computed five Gregorian cycles later.
        let date = DateTime::from_unix(seconds + 5 * cycle - epoch);
        DateTime { year: date.year.saturating_sub(2000), ..date }
    }

    /// 1 for Sunday to 7 for Saturday.
    #[must_use]
    pub fn weekday(self) -> u8 {
        // 1 January 2000 was a Saturday.
        let days = self.seconds() / 86_400 + 7 - DateTime::DEFAULT.seconds() / 86_400 % 7;
        ((days + 6) % 7 + 1) as u8
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Both banks; the time bytes of the first are only filled in while SET stops the clock.
    memory: Vec<u8>,
    index: u8,
    index_high: u8,
    status_b: u8,
    status_a: u8,
    /// Flags of register C without the interrupt bit.
    flags: u8,
    /// Second the clock showed at `base_time`, on the scale of `DateTime::seconds`.
    base: u64,
    /// When the clock showed `base`; its seconds begin at whole seconds from here.
    base_time: Time,
    /// The weekday byte is free-running: what must be added to the calendar's.
    weekday_offset: u8,
    now: Time,
}

/// The clock.
#[derive(Debug)]
pub struct Rtc {
    interrupt: Line,
    state: State,
}

impl Rtc {
    /// A clock that shows `date` at power-on and drives `interrupt` (IRQ 8).
    #[must_use]
    pub fn new(interrupt: Line, date: DateTime) -> Rtc {
        let state = State {
            memory: vec![0; 256],
            index: 0,
            index_high: 0,
            status_a: 0x26,
            status_b: B_24_HOURS,
            flags: 0,
            base: date.seconds(),
            base_time: Time::ZERO,
            weekday_offset: 0,
            now: Time::ZERO,
        };
        Rtc { interrupt, state }
    }
    /// Sets a byte of CMOS memory from the board, with no effect on the clock: for the
    /// configuration that a BIOS expects. Index 0–7Fh is the first bank, 80h–FFh the second; the
    /// bytes of the clock itself (0–0Dh, 32h) are derived and not settable this way.
    pub fn set_cmos(&mut self, index: u8, value: u8) {
        if let Some(byte) = self.state.memory.get_mut(usize::from(index)) {
            *byte = value;
        }
    }
    /// A byte of CMOS memory, as the board may look at it without side effects.
    #[must_use]
    pub fn cmos(&self, index: u8) -> u8 {
        self.state.memory.get(usize::from(index)).copied().unwrap_or(0)
    }
    /// Whether bit 7 of the index register masks the NMI.
    #[must_use]
    pub fn nmi_masked(&self) -> bool {
        self.state.index & 0x80 != 0
    }
    /// The date the clock shows.
    #[must_use]
    pub fn date(&self) -> DateTime {
        self.state.date()
    }
}

impl State {
    /// The divider runs: one of the three crystal settings.
    fn divides(&self) -> bool {
        self.status_a >> 4 & 7 <= 2
    }
    /// The seconds advance.
    fn runs(&self) -> bool {
        self.divides() && self.status_b & B_SET == 0
    }
    /// Whole seconds from `base_time`.
    fn seconds_run(&self, now: Time) -> u64 {
        now.since(self.base_time) / SECOND
    }
    fn current_second(&self) -> u64 {
        if self.runs() { self.base.saturating_add(self.seconds_run(self.now)) } else { self.base }
    }
    fn date(&self) -> DateTime {
        DateTime::of_seconds(self.current_second())
    }
    /// Makes the present moment the base, keeping the phase of the second.
    fn rebase(&mut self) {
        if self.runs() {
            let run = self.seconds_run(self.now);
            self.base = self.base.saturating_add(run);
            self.base_time = self.base_time.plus(run * SECOND);
        }
    }
    /// Ticks of the crystal between periodic interrupts; `None` when off.
    fn period(&self) -> Option<u64> {
        match self.status_a & 15 {
            0 => None,
            // The two fastest settings repeat those of 3.9 and 7.8 ms.
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
        .filter(|_| self.divides())
    }
    fn encode(&self, value: u8) -> u8 {
        if self.status_b & B_BINARY != 0 { value } else { ((value / 10 % 10) << 4) | (value % 10) }
    }
    fn decode(&self, value: u8) -> u8 {
        if self.status_b & B_BINARY != 0 { value } else { (value >> 4).wrapping_mul(10).wrapping_add(value & 15) }
    }
    fn encode_hour(&self, hour: u8) -> u8 {
        if self.status_b & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        let afternoon = if hour >= 12 { 0x80 } else { 0 };
        self.encode(if hour.is_multiple_of(12) { 12 } else { hour % 12 }) | afternoon
    }
    fn decode_hour(&self, value: u8) -> u8 {
        if self.status_b & B_24_HOURS != 0 {
            return self.decode(value);
        }
        self.decode(value & 0x7f) % 12 + if value & 0x80 != 0 { 12 } else { 0 }
    }
    fn byte(&self, index: u8) -> u8 {
        self.memory.get(usize::from(index)).copied().unwrap_or(0)
    }
    fn set_byte(&mut self, index: u8, value: u8) {
        if let Some(byte) = self.memory.get_mut(usize::from(index)) {
            *byte = value;
        }
    }
    /// A byte of the clock, in the format that register B asks for.
    fn clock_byte(&self, index: u8) -> u8 {
        let date = self.date();
        match index {
            0 => self.encode(date.second),
            2 => self.encode(date.minute),
            4 => self.encode_hour(date.hour),
            6 => self.encode((date.weekday() + 6 + self.weekday_offset % 7) % 7 + 1),
            7 => self.encode(date.day),
            8 => self.encode(date.month),
            9 => self.encode((date.year % 100) as u8),
            // The century is kept by the BIOS in BCD whatever register B says.
            _ => {
                let century = (date.year / 100 % 100) as u8;
                ((century / 10) << 4) | (century % 10)
            }
        }
    }
    /// The guest sets a byte of the clock. Bytes that make no date carry over into the next
    /// larger unit, so the clock always holds a real date.
    fn set_clock_byte(&mut self, index: u8, value: u8) {
        self.rebase();
        let mut date = self.date();
        let number = self.decode(value);
        match index {
            // Setting the seconds does not reset the divider; only register A does.
            0 => date.second = number.min(59),
            2 => date.minute = number.min(59),
            4 => date.hour = self.decode_hour(value).min(23),
            6 => {
                self.weekday_offset = (number % 7 + 7 + 7 - date.weekday() % 7) % 7;
                return;
            }
            7 => date.day = number.clamp(1, 31),
            8 => date.month = number.clamp(1, 12),
            9 => date.year = date.year / 100 * 100 + u16::from(number % 100),
            _ => {
                let century = u16::from((value >> 4) * 10 + (value & 15)) % 100;
                date.year = century * 100 + date.year % 100;
            }
        }
        // Setting the date leaves the weekday's register alone.
        let shown = self.date().weekday() + self.weekday_offset % 7;
        self.base = date.seconds();
        self.weekday_offset = (shown % 7 + 7 - self.date().weekday() % 7) % 7;
    }
    fn is_clock_byte(index: u8) -> bool {
        matches!(index, 0 | 2 | 4 | 6..=9 | CENTURY)
    }
    /// The update of the current second is under way, or so near that the time must not be read.
    fn update_in_progress(&self) -> bool {
        if !self.runs() {
            return false;
        }
        let phase = self.now.since(self.base_time) % SECOND;
        phase >= SECOND - UPDATE_WARNING - UPDATE_LENGTH
    }
    /// Seconds from the current one (exclusive) to the next that matches the alarm.
    fn seconds_to_alarm(&self) -> Option<u64> {
        let wild = |value: u8| value & 0xc0 == 0xc0;
        let valid = |value: u8, limit: u8| {
            let number = self.decode(value);
            (number < limit && self.encode(number) == value).then_some(u64::from(number))
        };
        let want = |index: u8, limit: u8| match self.byte(index) {
            value if wild(value) => Some(None),
            value => valid(value, limit).map(Some),
        };
        let second = want(1, 60)?;
        let minute = want(3, 60)?;
        let hour = match self.byte(5) {
            value if wild(value) => None,
            value => {
                let hour = self.decode_hour(value);
                (hour < 24 && self.encode_hour(hour) == value).then_some(())?;
                Some(u64::from(hour))
            }
        };
        // Walk the fields instead of the seconds of a day.
        let start = self.current_second() + 1;
        let mut at = start;
        for _ in 0..200 {
            let (s, m, h) = (at % 60, at / 60 % 60, at / 3600 % 24);
            if hour.is_some_and(|hour| hour != h) {
                at = (at / 3600 + 1) * 3600;
            } else if minute.is_some_and(|minute| minute != m) {
                at = (at / 60 + 1) * 60;
            } else if second.is_some_and(|second| second != s) {
                at += 1;
            } else {
                return Some(at + 1 - start);
            }
        }
        None
    }
    /// Moves on to `now` and sets the flags of what happened on the way.
    fn advance(&mut self, now: Time) {
        let before = self.now;
        let now = now.max(before);
        if let Some(period) = self.period() {
            let count = |time: Time| time.since(Time::ZERO).min(u64::MAX / 2);
            let ticks = |time: Time| Time(count(time)).ticks(CRYSTAL_HERTZ) / period;
            if ticks(now) != ticks(before) {
                self.flags |= PERIODIC;
            }
        }
        if self.runs() {
            let (from, to) = (self.seconds_run(before), self.seconds_run(now));
            if to != from {
                self.flags |= UPDATE_ENDED;
                if self.seconds_to_alarm().is_some_and(|seconds| seconds <= to - from) {
                    self.flags |= ALARM;
                }
            }
        }
        self.now = now;
    }
    fn interrupt(&self) -> bool {
        self.flags & self.status_b & (PERIODIC | ALARM | UPDATE_ENDED) != 0
    }

    fn read(&mut self, index: u8) -> u8 {
        match index {
            STATUS_A => self.status_a | if self.update_in_progress() { A_UPDATE_IN_PROGRESS } else { 0 },
            STATUS_B => self.status_b,
            STATUS_C => {
                let interrupt = if self.interrupt() { C_INTERRUPT } else { 0 };
                std::mem::take(&mut self.flags) | interrupt
            }
            // The battery is good.
            STATUS_D => 0x80,
            _ if State::is_clock_byte(index) => self.clock_byte(index),
            _ => self.byte(index),
        }
    }
    fn write(&mut self, index: u8, value: u8) {
        match index {
            STATUS_A => {
                let ran = self.divides();
                self.rebase();
                self.status_a = value & 0x7f;
                if !ran && self.divides() {
                    // Released from reset, the first update comes half a second later.
                    self.base_time = Time(self.now.0.saturating_sub(SECOND / 2));
                }
            }
            STATUS_B => {
                self.rebase();
                let stopped = self.status_b & B_SET != 0;
                // Setting SET clears the update-ended enable (data sheet, register B).
                self.status_b = if value & B_SET != 0 { value & !UPDATE_ENDED } else { value };
                if stopped && self.runs() {
                    // The divider ran on while the clock was stopped: keep its phase.
                    let run = self.seconds_run(self.now);
                    self.base_time = self.base_time.plus(run * SECOND);
                }
            }
            STATUS_C | STATUS_D => {}
            _ if State::is_clock_byte(index) => self.set_clock_byte(index, value),
            _ => self.set_byte(index, value),
        }
    }

    fn next_event(&self) -> Option<Time> {
        let enabled = self.status_b & !self.flags;
        let periodic = self.period().filter(|_| enabled & PERIODIC != 0).map(|period| {
            let now = Time(self.now.0.min(u64::MAX / 2));
            Time::of_tick((now.ticks(CRYSTAL_HERTZ) / period + 1) * period, CRYSTAL_HERTZ)
        });
        let second = |count: u64| {
            let total = self.seconds_run(self.now).saturating_add(count).saturating_mul(SECOND);
            self.base_time.plus(total)
        };
        let update = (self.runs() && enabled & UPDATE_ENDED != 0).then(|| second(1));
        let alarm = (self.runs() && enabled & ALARM != 0).then(|| self.seconds_to_alarm().map(second)).flatten();
        [periodic, update, alarm].into_iter().flatten().filter(|event| *event > self.now).min()
    }
}

impl PortIo for Rtc {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if width != Width::Byte {
            return None;
        }
        self.state.advance(cx.now);
        let value = match register {
            // The index register is write-only on an AT; the bus floats.
            0 => 0xff,
            1 => self.state.read(self.state.index & 0x7f),
            2 => self.state.index_high,
            3 => self.state.byte(self.state.index_high | 0x80),
            _ => return None,
        };
        self.interrupt.set(self.state.interrupt());
        Some(u32::from(value))
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if width != Width::Byte {
            return None;
        }
        self.state.advance(cx.now);
        let value = value as u8;
        match register {
            0 => self.state.index = value,
            1 => self.state.write(self.state.index & 0x7f, value),
            2 => self.state.index_high = value & 0x7f,
            3 => self.state.set_byte(self.state.index_high | 0x80, value),
            _ => return None,
        }
        self.interrupt.set(self.state.interrupt());
        Some(())
    }
}

impl Device for Rtc {
    fn name(&self) -> &'static str {
        "rtc"
    }
    /// The battery keeps time, memory and formats; interrupts are disabled and forgotten.
    fn reset(&mut self) {
        self.state.index = 0;
        self.state.index_high = 0;
        self.state.flags = 0;
        self.state.status_b &= !(PERIODIC | ALARM | UPDATE_ENDED | 0x08);
        self.interrupt.set(false);
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        self.state.advance(cx.now);
        self.interrupt.set(self.state.interrupt());
    }
    fn next_event(&self) -> Option<Time> {
        self.state.next_event()
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { interrupt: _, state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        if state.memory.len() != 256 {
            return Err(RestoreError::OutOfRange("memory"));
        }
        // No date before the year 0 can be set, and twenty thousand years in seconds bound every
        // later sum.
        let first = DateTime { year: 0, ..DateTime::DEFAULT }.seconds();
        if !(first..=20_000 * 366 * 86_400).contains(&state.base) {
            return Err(RestoreError::OutOfRange("base"));
        }
        self.state = state;
        self.interrupt.restore_level(self.state.interrupt());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, Rtc::new(Line::detached(), DateTime::DEFAULT));

    const NEW_YEARS_EVE: DateTime = DateTime { year: 1999, month: 12, day: 31, hour: 23, minute: 59, second: 58 };

    fn rig(date: DateTime) -> (Bench<Rtc>, Line) {
        let irq = Line::detached();
        (Bench::new(Rtc::new(irq.share(), date)), irq)
    }
    fn get(bench: &mut Bench<Rtc>, index: u8) -> u8 {
        bench.write(0, index);
        bench.read(1)
    }
    fn put(bench: &mut Bench<Rtc>, index: u8, value: u8) {
        bench.write(0, index);
        bench.write(1, value);
    }
    fn clock(bench: &mut Bench<Rtc>) -> [u8; 8] {
        [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| get(bench, index))
    }

    #[test]
    fn rolls_over_the_century() {
        let (mut bench, _) = rig(NEW_YEARS_EVE);
        assert_eq!(clock(&mut bench), [0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x58]);
        bench.run(2 * SECOND);
        assert_eq!(clock(&mut bench), [0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00]);
    }

    #[test]
    fn binary_and_twelve_hours() {
        let (mut bench, _) = rig(NEW_YEARS_EVE);
        put(&mut bench, STATUS_B, B_BINARY);
        assert_eq!((get(&mut bench, 4), get(&mut bench, 0)), (0x80 | 11, 58));
        put(&mut bench, 4, 12);
        put(&mut bench, STATUS_B, B_24_HOURS);
        assert_eq!(get(&mut bench, 4), 0x00);
        put(&mut bench, STATUS_B, 0);
        assert_eq!(get(&mut bench, 4), 0x12);
        put(&mut bench, 4, 0x92);
        put(&mut bench, STATUS_B, B_24_HOURS);
        assert_eq!(get(&mut bench, 4), 0x12);
    }

    #[test]
    fn set_stops_the_clock_and_takes_a_date() {
        let (mut bench, _) = rig(DateTime::DEFAULT);
        put(&mut bench, STATUS_B, 0x92);
        assert_eq!(get(&mut bench, STATUS_B), 0x82);
        for (index, value) in [(0x32, 0x20), (9, 0x24), (8, 2), (7, 0x29), (6, 5), (4, 0x12), (2, 0x34), (0, 0x56)] {
            put(&mut bench, index, value);
        }
        bench.run(5 * SECOND / 2);
        let set = [0x20, 0x24, 0x02, 0x29, 5, 0x12, 0x34, 0x56];
        assert_eq!(clock(&mut bench), set);
        put(&mut bench, STATUS_B, B_24_HOURS);
        assert_eq!(clock(&mut bench), set);
        bench.run(SECOND / 2);
        assert_eq!(get(&mut bench, 0), 0x57, "the divider kept its phase");
        bench.run(86_400 * SECOND);
        assert_eq!(clock(&mut bench)[..5], [0x20, 0x24, 0x03, 0x01, 6]);
    }

    #[test]
    fn update_in_progress_precedes_the_second() {
        let (mut bench, _) = rig(DateTime::DEFAULT);
        assert_eq!(get(&mut bench, STATUS_A), 0x26);
        bench.run(SECOND - 1_000_000);
        assert_eq!(get(&mut bench, STATUS_A), 0xa6);
        bench.run(1_000_000);
        assert_eq!(get(&mut bench, STATUS_A), 0x26);
        assert_eq!(get(&mut bench, 0), 0x01);
    }

    #[test]
    fn periodic_interrupt_at_1024_hertz() {
        let (mut bench, irq) = rig(DateTime::DEFAULT);
        put(&mut bench, STATUS_B, 0x42);
        let mut count = 0;
        while let Some(event) = bench.device.next_event().filter(|event| *event <= Time(SECOND)) {
            bench.run(event.since(bench.now));
            assert!(irq.is_high());
            assert_eq!(get(&mut bench, STATUS_C) & 0xc0, 0xc0);
            assert!(!irq.is_high());
            count += 1;
        }
        assert_eq!(count, 1024);
    }

    #[test]
    fn alarm_and_update_ended() {
        let (mut bench, irq) = rig(DateTime::DEFAULT);
        for (index, value) in [(1, 0x05), (3, 0xff), (5, 0xc0), (STATUS_B, 0x22)] {
            put(&mut bench, index, value);
        }
        assert_eq!(bench.device.next_event(), Some(Time(5 * SECOND)));
        bench.run(4 * SECOND);
        assert!(!irq.is_high());
        bench.run(SECOND);
        assert!(irq.is_high());
        assert_eq!(get(&mut bench, STATUS_C), 0xf0, "periodic and update flags without their enables");
        assert_eq!(bench.device.next_event(), Some(Time(65 * SECOND)));
        put(&mut bench, STATUS_B, 0x12);
        bench.run(SECOND);
        assert!(irq.is_high());
        bench.device.reset();
        assert!(!irq.is_high());
    }

    #[test]
    fn memory_and_second_bank() {
        let (mut bench, _) = rig(DateTime::DEFAULT);
        put(&mut bench, 0x80 | 0x40, 0x5a);
        assert!(bench.device.nmi_masked());
        assert_eq!(get(&mut bench, 0x40), 0x5a);
        assert!(!bench.device.nmi_masked());
        bench.write(2, 0x40);
        bench.write(3, 0xa5);
        assert_eq!((bench.read(3), bench.device.cmos(0xc0), bench.device.cmos(0x40)), (0xa5, 0xa5, 0x5a));
        assert_eq!(get(&mut bench, STATUS_D), 0x80);
    }

    #[test]
    fn calendar_is_gregorian() {
        for (unix, year, month, day, weekday) in [
            (0, 1970, 1, 1, 5),
            (951_782_400, 2000, 2, 29, 3),
            (4_107_542_400, 2100, 3, 1, 2),
            (1_700_000_000, 2023, 11, 14, 3),
        ] {
            let date = DateTime::from_unix(unix);
            assert_eq!((date.year, date.month, date.day, date.weekday()), (year, month, day, weekday));
            assert_eq!(DateTime::of_seconds(date.seconds()), date);
        }
        for year in [0, 1] {
            let old = DateTime { year, ..DateTime::DEFAULT };
            assert_eq!(DateTime::of_seconds(old.seconds()), old);
        }
    }

    #[test]
    fn a_saved_clock_before_the_year_0_is_refused() {
        let mut rtc = Rtc::new(Line::detached(), DateTime::DEFAULT);
        let state = State { base: 1_000_000, ..rtc.state.clone() };
        assert_eq!(rtc.restore(&Saved::of(&state)), Err(RestoreError::OutOfRange("base")));
    }
}
