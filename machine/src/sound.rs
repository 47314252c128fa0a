//! What is to be heard: the PC speaker, and the sound card's samples and synthesizer.
//!
//! Sound follows guest time: a second of it has [`RATE`] samples, whether it took the host a second
//! or not. Nobody waits for a listener, and listening changes nothing in the guest.

use crate::pc::Chip;
use crate::run::Machine;
use devices::sound::{self, Sample};

/// Samples a second of guest time.
pub const RATE: u32 = sound::RATE as u32;

impl Machine {
    /// Begins or ends to make samples. A machine to which nobody listens spends nothing on them.
    pub fn listen(&mut self, listening: bool) {
        let now = self.now();
        self.catch_up_sound();
        let chips = &mut self.board.chips;
        self.membrane.listen(listening, now, chips.system_control.speaker_level());
        let _ = chips.system_control.take_edges();
        chips.sound.listen(listening, now);
        chips.opl.listen(listening, now);
    }
    /// The samples since the last call, left and right, up to now. To be called at least once in a
    /// second of guest time: what is older is dropped, oldest first. Nothing comes before
    /// [`Machine::listen`].
    pub fn take_sound(&mut self) -> Vec<[i16; 2]> {
        let now = self.now();
        self.catch_up_sound();
        let chips = &mut self.board.chips;
        self.membrane.follow(&chips.system_control.take_edges(), now);
        let volume = chips.sound.synthesizer_volume();
        let (first, mut mixed) = self.membrane.take();
        add(&mut mixed, first, &chips.sound.take(), [0x1_0000; 2]);
        add(&mut mixed, first, &chips.opl.take(now), volume);
        let clip = |level: i32| level.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
        mixed.into_iter().map(|sample| sample.map(clip)).collect()
    }
    fn catch_up_sound(&mut self) {
        for chip in [Chip::Pit, Chip::SystemControl, Chip::Sound, Chip::Opl] {
            self.board.changed(chip, &mut self.memory, self.cpu.ticks);
        }
    }
}

/// Adds samples, of which the first has a number of its own.
fn add(mixed: &mut [Sample], first: u64, (from, samples): &(u64, Vec<Sample>), volume: [u32; 2]) {
    let (skip_mixed, skip) = (from.saturating_sub(first) as usize, first.saturating_sub(*from) as usize);
    for (sum, sample) in mixed.iter_mut().skip(skip_mixed).zip(samples.iter().skip(skip)) {
        for ((sum, level), volume) in sum.iter_mut().zip(sample).zip(volume) {
            *sum = sum.saturating_add(sound::scaled(*level, volume));
        }
    }
}
