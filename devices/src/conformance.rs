//! What every chip must keep, checked by [`device_conformance!`](crate::device_conformance).
//!
//! Each check takes a constructor, so that it can compare devices of the same make.

#![allow(clippy::indexing_slicing, reason = "indices here come from this file, not from a guest")]

use crate::device::{Access, Device, Saved, Time, Width};
use crate::testing::{Random, TestDma};

/// Makes one device of the kind under test.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Device>;

const WIDTHS: [Width; 3] = [Width::Byte, Width::Word, Width::Dword];
const STORM_STEPS: usize = 3000;

/// Expands to a test module `$name` that checks the device which the expression `$make` builds.
///
/// With a third argument `replay: false` a restored device need not go on exactly as the saved
/// one would: for devices whose host resources (a disk) are not part of their state.
#[macro_export]
macro_rules! device_conformance {
    ($name:ident, $make:expr) => {
        $crate::device_conformance!($name, $make, replay: true);
    };
    ($name:ident, $make:expr, replay: $replay:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "the constructor may need nothing from outside")]
            use super::*;

            fn make() -> Box<dyn $crate::device::Device> {
                Box::new($make)
            }
            #[test]
            fn reset_is_idempotent() {
                $crate::conformance::reset_is_idempotent(&make);
            }
            #[test]
            fn state_survives_save_and_restore() {
                $crate::conformance::state_survives_save_and_restore(&make, $replay);
            }
            #[test]
            fn every_register_and_width_answers() {
                $crate::conformance::every_register_and_width_answers(&make);
            }
            #[test]
            fn next_event_lies_in_the_future() {
                $crate::conformance::next_event_lies_in_the_future(&make);
            }
            #[test]
            fn damaged_states_are_refused_or_harmless() {
                $crate::conformance::damaged_states_are_refused_or_harmless(&make);
            }
        }
    };
}

/// A device with the time, memory and randomness of one run.
struct Rig {
    device: Box<dyn Device>,
    now: Time,
    dma: TestDma,
    video: Vec<u8>,
    random: Random,
}

impl Rig {
    fn new(make: Make<'_>, seed: u64) -> Rig {
        let mut device = make();
        device.reset();
        let mut dma = TestDma::new(0x2_0000);
        let mut random = Random::new(seed);
        for bytes in dma.ram.as_chunks_mut().0 {
            *bytes = random.bits().to_le_bytes();
        }
        dma.arm_isa(vec![0x5a; 4096]);
        Rig { device, now: Time::ZERO, dma, video: vec![0; 0x8_0000], random }
    }

    fn act<R>(&mut self, action: impl FnOnce(&mut dyn Device, &mut Access<'_>) -> R) -> R {
        let mut access = Access { now: self.now, dma: &mut self.dma, video: &mut self.video };
        action(&mut *self.device, &mut access)
    }

    fn advance(&mut self) {
        self.act(|device, access| device.advance(access));
        if let Some(event) = self.device.next_event() {
            assert!(event > self.now, "next_event {event:?} is not after {:?}", self.now);
        }
    }

    fn read(&mut self, register: u16, width: Width) -> Option<u32> {
        self.act(|device, access| device.port_io()?.read(access, register, width))
    }

    fn write(&mut self, register: u16, width: Width, value: u32) {
        self.act(|device, access| device.port_io()?.write(access, register, width, value));
    }

    /// One random access or step of time; what a guest would see of it.
    fn step(&mut self) -> u64 {
        let (kind, value) = (self.random.below(20), self.random.bits());
        let width = WIDTHS[(value >> 32) as usize % 3];
        let register = match self.random.below(16) {
            0 => self.random.below(0x1_0000),
            1 => self.random.below(0x100),
            2 | 3 => self.random.below(32),
            _ => self.random.below(8),
        } as u16;
        // Guests write small numbers and single bits more often than noise.
        let value = match self.random.below(4) {
            0 => 1 << (value & 31),
            1 => value & 0x1f,
            _ => value,
        };
        self.advance();
        let seen = match kind {
            0..=6 => self.read(register, width).map_or(u64::MAX, u64::from),
            7..=13 => {
                self.write(register, width, value as u32 & width.mask() as u32);
                0
            }
            14 | 15 => self.memory_access(value),
            16 => self.config_access(value),
            17 => {
                self.now = match value & 3 {
                    0 => self.now.plus(value >> 8 & 0xff),
                    1 => self.now.plus(value >> 8 & 0xf_ffff),
                    _ => self.now.plus(value >> 8 & 0x1f_ffff_ffff),
                };
                0
            }
            _ => {
                // Follow the device's own events for a while.
                for _ in 0..8 {
                    let Some(event) = self.device.next_event() else { break };
                    if event.since(self.now) > 100_000_000_000 {
                        break;
                    }
                    self.now = event;
                    self.advance();
                }
                self.now.0
            }
        };
        self.advance();
        seen
    }

    fn memory_access(&mut self, value: u64) -> u64 {
        let (window, offset) = ((value >> 40) as u8 & 3, self.random.below(0x2_0004));
        let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][(value >> 20) as usize & 3];
        self.act(|device, access| {
            let memory = device.mmio()?;
            if value & 0x10 == 0 {
                return memory.read(access, window, offset, width);
            }
            memory.write(access, window, offset, width, value & width.mask()).map(|()| 0)
        })
        .unwrap_or(u64::MAX)
    }

    fn config_access(&mut self, value: u64) -> u64 {
        let Some(function) = self.device.pci() else { return 0 };
        let offset = (value >> 8) as u8 & 0xfc;
        if value & 1 == 0 {
            return u64::from(function.config_read(offset));
        }
        function.config_write(
            offset,
            (value >> 16) as u32,
            [0xff, 0xff00, 0xffff, u32::MAX][(value >> 2) as usize & 3],
        );
        (0..7).filter(|index| function.bar(*index).is_some()).count() as u64
    }

    fn storm(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }
}

/// A second reset changes nothing.
pub fn reset_is_idempotent(make: Make<'_>) {
    for seed in 0..4 {
        let mut rig = Rig::new(make, seed);
        rig.storm(STORM_STEPS / 4);
        rig.device.reset();
        let once = rig.device.save();
        rig.device.reset();
        assert!(once == rig.device.save(), "a second reset changed the state");
        rig.advance();
    }
}

/// A restored device saves the same bytes and, when `replay` holds, goes on as the original does.
pub fn state_survives_save_and_restore(make: Make<'_>, replay: bool) {
    for seed in 10..18 {
        let mut original = Rig::new(make, seed);
        original.storm(STORM_STEPS / 4);
        let state = original.device.save();
        let mut copy = Rig::new(make, seed);
        assert_eq!(copy.device.restore(&state), Ok(()), "its own state must be accepted");
        assert!(state == copy.device.save(), "the restored state differs");
        if !replay {
            continue;
        }
        copy.now = original.now;
        copy.dma = original.dma.clone();
        copy.video = original.video.clone();
        copy.random = original.random.clone();
        for step in 0..STORM_STEPS / 8 {
            let (expected, got) = (original.step(), copy.step());
            assert_eq!(expected, got, "the restored device answers otherwise, seed {seed} step {step}");
            assert_eq!(
                original.device.next_event(),
                copy.device.next_event(),
                "the restored device's next event differs, seed {seed} step {step}"
            );
        }
        assert!(original.device.save() == copy.device.save(), "the restored device went another way");
    }
}

/// No register number and no width makes a device panic, before and after random use.
pub fn every_register_and_width_answers(make: Make<'_>) {
    let mut rig = Rig::new(make, 20);
    for round in 0..6 {
        for register in (0..0x60).chain([0xff, 0x100, 0x1ce, 0x3ff, 0x7fff, 0x8000, 0xfffe, 0xffff]) {
            for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
                rig.advance();
                rig.read(register, width);
                if round != 0 {
                    let value = rig.random.bits() as u32 & width.mask() as u32;
                    rig.write(register, width, value);
                }
                rig.read(register, width);
                rig.advance();
                rig.now = rig.now.plus(997);
            }
        }
        for offset in (0..=0xfc).step_by(4) {
            let value = rig.random.bits() as u32;
            if let Some(function) = rig.device.pci() {
                function.config_read(offset);
                function.config_write(offset, value, u32::MAX);
                function.config_read(offset);
            }
        }
    }
}

/// After `advance` the next event is later than now; a storm of accesses and time steps ends.
pub fn next_event_lies_in_the_future(make: Make<'_>) {
    for seed in 30..34 {
        let mut rig = Rig::new(make, seed);
        rig.storm(STORM_STEPS);
        // A jump of an hour and one of three centuries are still only one call.
        rig.now = rig.now.plus(3_600_000_000_000);
        rig.advance();
        rig.now = rig.now.plus(u64::MAX / 2);
        rig.advance();
    }
}

/// A truncated or corrupted state is refused and leaves the device alone, or gives a device that
/// can be used.
pub fn damaged_states_are_refused_or_harmless(make: Make<'_>) {
    let mut original = Rig::new(make, 40);
    original.storm(STORM_STEPS / 8);
    let state = original.device.save();
    let length = state.0.len();
    let mut random = Random::new(41);
    let rounds = (40_000_000 / (length as u64 + 20_000)).min(400);
    for round in 0..rounds {
        let mut bytes = state.0.clone();
        if round % 4 == 0 {
            bytes.truncate(random.below(length as u64) as usize);
        } else {
            for _ in 0..=random.below(3) {
                let at = random.below(length as u64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = match random.below(4) {
                        0 => 0xff,
                        1 => *byte ^ 1 << random.below(8),
                        2 => byte.wrapping_add(1),
                        _ => random.bits() as u8,
                    };
                }
            }
        }
        let mut rig = Rig::new(make, round);
        let before = rig.device.save();
        match rig.device.restore(&Saved(bytes)) {
            Err(_) => assert!(before == rig.device.save(), "a refused state changed the device"),
            Ok(()) => {
                rig.now = original.now;
                rig.storm(60);
            }
        }
    }
}

impl Rig {
    /// One step out of eight bytes: kind and reach of the register, width and kind of the value,
    /// register, value.
    fn act_on(&mut self, step: [u8; 8]) {
        let [kind, width, low, high, value @ ..] = step;
        let (register, value) = (u16::from_le_bytes([low, high]), u32::from_le_bytes(value));
        let register = register & [7, 7, 0x0f, 0x1f, 0x1f, 0x3f, 0xff, 0xffff][usize::from(kind >> 4 & 7)];
        // Guests write small numbers and single bits more often than noise.
        let value = match width >> 4 & 3 {
            0 => 1 << (value & 31),
            1 => value & 0x1f,
            _ => value,
        };
        let width = WIDTHS[usize::from(width) % 3];
        self.advance();
        match kind & 15 {
            0..=3 => {
                self.read(register, width);
            }
            4..=9 => self.write(register, width, value & width.mask() as u32),
            10 | 11 => {
                self.memory_access(u64::from(value) << 16 | u64::from(register));
            }
            12 => {
                self.config_access(u64::from(value) << 16 | u64::from(register));
            }
            13 => self.now = self.now.plus(u64::from(value) << (register & 7)),
            14 => self.dma.arm_isa(vec![low; usize::from(high) * 5]),
            _ => {
                for _ in 0..8 {
                    let Some(event) = self.device.next_event() else { break };
                    self.now = event;
                    self.advance();
                }
            }
        }
        self.advance();
    }
    fn act_on_all(&mut self, data: &[u8]) {
        for step in data.as_chunks().0 {
            self.act_on(*step);
        }
    }
}

/// Lets `data` act on a device, eight bytes per step: for fuzz targets. Checks that nothing
/// panics, that `next_event` stays in the future and that the final state can be restored.
pub fn drive(make: Make<'_>, data: &[u8]) {
    let mut rig = Rig::new(make, 50);
    rig.act_on_all(data);
    let state = rig.device.save();
    assert_eq!(make().restore(&state), Ok(()), "its own state must be accepted");
}

/// Lets part of `data` act on a device, damages the saved state as the next part says, and, when
/// that is accepted, lets the rest act on the outcome: for fuzz targets. A state that is refused
/// must leave the device as it was.
pub fn drive_damaged(make: Make<'_>, data: &[u8]) {
    let (first, rest) = data.split_at(data.len() / 2 & !7);
    let (edits, rest) = rest.split_at(rest.len().min(12));
    let mut rig = Rig::new(make, 51);
    rig.act_on_all(first);
    let Saved(mut bytes) = rig.device.save();
    for [low, high, value, kind] in edits.as_chunks().0 {
        let at = usize::from(u16::from_le_bytes([*low, *high])).checked_rem(bytes.len()).unwrap_or(0);
        match (kind & 7, bytes.get_mut(at)) {
            (0, _) => bytes.truncate(at),
            (1, Some(byte)) => *byte = 0xff,
            (2..=4, Some(byte)) => *byte ^= 1 << (value & 7),
            (_, Some(byte)) => *byte = *value,
            (_, None) => {}
        }
    }
    let mut damaged = Rig::new(make, 52);
    let before = damaged.device.save();
    match damaged.device.restore(&Saved(bytes)) {
        Err(_) => assert!(before == damaged.device.save(), "a refused state changed the device"),
        Ok(()) => {
            damaged.now = rig.now;
            damaged.act_on_all(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drive_takes_any_bytes() {
        let make = || -> Box<dyn Device> { Box::new(crate::dma::DmaPair::new()) };
        let mut random = Random::new(7);
        for length in 0..200 {
            let data: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
            drive(&make, &data);
            drive_damaged(&make, &data);
        }
    }
}
