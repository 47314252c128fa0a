//! Sound Blaster 16 (CT1740 family): DSP 4.05, mixer CT1745, and the MPU-401 port in UART mode,
//! after Creative's "Sound Blaster Series Hardware Programming Guide". The synthesizer on the same
//! card is [`crate::opl`].
//!
//! Registers: 00h–0Fh the card's (ports 220h–22Fh: 4 and 5 mixer, 6 reset, A data, C command, E
//! and F status and acknowledgement), 10h and 11h the MPU-401's (330h, 331h).
//!
//! A byte that the DSP takes from DMA leaves the converter at the moment at which its rate says so;
//! interrupts come when a block has been played. Recording hears silence.
//! Not emulated: ADPCM (its bytes are played as silence, with the right timing), MIDI (bytes are
//! taken and go nowhere), CD and line inputs, tone controls and automatic gain, plug and play
//! (jumpers and the mixer set IRQ and DMA), the ASP.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Time, TransferDirection, Width};
use crate::line::Line;
use crate::sound::{Output, Sample, attenuated, scaled};

/// Register number of the MPU-401's data port; its command port follows.
pub const MPU: u16 = 0x10;
/// Interrupt requests that the card can be set to, in the order of the mixer's bits.
pub const INTERRUPTS: [u8; 4] = [2, 5, 7, 10];

const IRQ_8: u8 = 1;
const IRQ_16: u8 = 2;
const IRQ_MPU: u8 = 4;
/// Answers that are kept for the guest.
const ANSWERS_KEPT: usize = 64;

/// What the DSP does with DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Transfer {
    sixteen_bits: bool,
    stereo: bool,
    signed: bool,
    records: bool,
    automatic: bool,
    /// Bytes mean nothing that can be played: ADPCM, or silence without DMA.
    silent: bool,
    /// Without DMA: time alone passes.
    without_dma: bool,
    /// Units (bytes, or words of 16 bits) of a block.
    block: u32,
    /// Units until the block ends.
    left: u32,
    /// Units that each sample takes from the counter, in a second.
    units_per_second: u32,
    /// Moment from which units are counted, and how many have been moved since.
    origin: Time,
    moved: u64,
    paused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Reset is held.
    resetting: bool,
    command: Option<u8>,
    parameters: Vec<u8>,
    answers: VecDeque<u8>,
    last_answer: u8,
    test: u8,
    identification: (u8, u8),
    speaker: bool,
    rate: u32,
    /// The rate was set as a time constant, which counts both channels.
    by_constant: bool,
    block: u16,
    transfer: Option<Transfer>,
    /// Level that command 10h or the last sample left at the converter.
    level: Sample,
    mixer_index: u8,
    mixer: Vec<u8>,
    interrupts: u8,
    mpu_answers: VecDeque<u8>,
    now: Time,
}

impl Default for State {
    fn default() -> State {
        State {
            resetting: false,
            command: None,
            parameters: Vec::new(),
            answers: VecDeque::new(),
            last_answer: 0xff,
            test: 0,
            identification: (0xaa, 0x96),
            speaker: false,
            rate: 22_050,
            by_constant: false,
            block: 0x7ff,
            transfer: None,
            level: [0; 2],
            mixer_index: 0,
            mixer: mixer_defaults(),
            interrupts: 0,
            mpu_answers: VecDeque::new(),
            now: Time::ZERO,
        }
    }
}

/// The mixer after reset; IRQ 5, DMA 1 and 5.
fn mixer_defaults() -> Vec<u8> {
    let mut mixer = vec![0; 256];
    let defaults: [(usize, u8); 22] = [
        (0x30, 0xc0),
        (0x31, 0xc0),
        (0x32, 0xc0),
        (0x33, 0xc0),
        (0x34, 0xc0),
        (0x35, 0xc0),
        (0x3c, 0x1f),
        (0x3d, 0x15),
        (0x3e, 0x0b),
        (0x44, 0x80),
        (0x45, 0x80),
        (0x46, 0x80),
        (0x47, 0x80),
        (0x80, 0x02),
        (0x81, 0x22),
        (0x36, 0x00),
        (0x37, 0x00),
        (0x38, 0x00),
        (0x39, 0x00),
        (0x3a, 0x00),
        (0x3b, 0x00),
        (0x43, 0x00),
    ];
    for (at, value) in defaults {
        if let Some(register) = mixer.get_mut(at) {
            *register = value;
        }
    }
    mixer
}

/// The card.
#[derive(Debug)]
pub struct SoundBlaster {
    interrupts: [Line; 4],
    state: State,
    output: Output,
}

/// Parameters that a command takes.
fn parameters(command: u8) -> usize {
    match command {
        0x10 | 0x38 | 0x40 | 0xe0 | 0xe2 | 0xe4 | 0x04 | 0x0f => 1,
        0x14..=0x17 | 0x24 | 0x41 | 0x42 | 0x48 | 0x74..=0x77 | 0x80 | 0x05 | 0x0e => 2,
        0xb0..=0xcf => 3,
        _ => 0,
    }
}

impl SoundBlaster {
    /// A card with a wire to each of [`INTERRUPTS`].
    #[must_use]
    pub fn new(interrupts: [Line; 4]) -> SoundBlaster {
        SoundBlaster { interrupts, state: State::default(), output: Output::default() }
    }
    /// Begins or ends to make samples.
    pub fn listen(&mut self, listening: bool, now: Time) {
        self.output.listen(listening, now);
    }
    /// Takes the samples up to the last moment to which the card was brought.
    pub fn take(&mut self) -> (u64, Vec<Sample>) {
        self.output.take()
    }
    /// Volumes of the synthesizer, left and right, in 65536ths.
    #[must_use]
    pub fn synthesizer_volume(&self) -> [u32; 2] {
        [0x34, 0x35].map(|at| self.volume(at))
    }
    /// Volume by mixer register `at` and the master's of the same side.
    fn volume(&self, at: usize) -> u32 {
        let step = |at: usize| 31 - u32::from(self.mixer(at) >> 3);
        attenuated(step(at) + step(0x30 + (at & 1)))
    }
    fn mixer(&self, at: usize) -> u8 {
        self.state.mixer.get(at).copied().unwrap_or(0)
    }

    // --- interrupts ----------------------------------------------------------------------------

    fn drive(&self) {
        let selected = self.mixer(0x80);
        for (bit, line) in self.interrupts.iter().enumerate() {
            line.set(self.state.interrupts != 0 && selected >> bit & 1 != 0);
        }
    }
    fn interrupt(&mut self, bit: u8) {
        self.state.interrupts |= bit;
        self.drive();
    }
    fn acknowledge(&mut self, bit: u8) {
        self.state.interrupts &= !bit;
        self.drive();
    }

    // --- DMA -----------------------------------------------------------------------------------

    fn channel(&self, sixteen_bits: bool) -> Option<u8> {
        let selected = self.mixer(0x81);
        let find = |channels: &[u8]| channels.iter().copied().find(|channel| selected >> channel & 1 != 0);
        // Without a high channel, words go over the low one.
        if sixteen_bits { find(&[5, 6, 7]).or_else(|| find(&[0, 1, 3])) } else { find(&[0, 1, 3]) }
    }

    fn start(&mut self, now: Time, transfer: Transfer) {
        let units = if transfer.stereo { 2 } else { 1 };
        let rate = if self.state.by_constant && transfer.stereo { self.state.rate / 2 } else { self.state.rate };
        let transfer = Transfer {
            units_per_second: rate.max(1) * units,
            left: transfer.block,
            origin: now,
            moved: 0,
            paused: false,
            ..transfer
        };
        self.state.transfer = Some(transfer);
    }

    /// Moves what is due, plays it, and ends blocks.
    fn run(&mut self, cx: &mut Access<'_>) {
        let now = cx.now;
        while let Some(mut transfer) = self.state.transfer.filter(|transfer| !transfer.paused) {
            let elapsed = u128::from(now.since(transfer.origin));
            let due = (elapsed * u128::from(transfer.units_per_second) / 1_000_000_000) as u64;
            let due = due.saturating_sub(transfer.moved).min(u64::from(transfer.left)) as usize;
            // Stereo samples go whole.
            let due = if transfer.stereo && due as u32 != transfer.left { due & !1 } else { due };
            if due == 0 {
                break;
            }
            let moved = if transfer.without_dma {
                transfer.moved += due as u64;
                self.output.make(unit_time(&transfer, transfer.moved), |_| [0; 2]);
                due
            } else {
                self.transfer(cx, &mut transfer, due)
            };
            if moved == 0 {
                // The channel is not ready: the card waits, and time that it waited is lost.
                transfer.origin = now;
                transfer.moved = 0;
                self.state.transfer = Some(transfer);
                break;
            }
            transfer.left -= (moved as u32).min(transfer.left);
            let ends = transfer.left == 0;
            if ends {
                transfer.left = transfer.block;
            }
            self.state.transfer = if ends && !transfer.automatic { None } else { Some(transfer) };
            if ends {
                if self.state.transfer.is_none() {
                    self.state.level = [0; 2];
                }
                self.interrupt(if transfer.sixteen_bits { IRQ_16 } else { IRQ_8 });
            }
        }
        self.state.now = now;
        let level = self.mixed(self.state.level);
        self.output.make(now, |_| level);
    }

    /// Moves up to `units` units between DMA and converter; the answer is how many went.
    fn transfer(&mut self, cx: &mut Access<'_>, transfer: &mut Transfer, units: usize) -> usize {
        let Some(channel) = self.channel(transfer.sixteen_bits) else { return 0 };
        let size = if transfer.sixteen_bits { 2 } else { 1 };
        let mut buffer = [0; 1024];
        let bytes = (units * size).min(buffer.len());
        let buffer = buffer.get_mut(..bytes).unwrap_or_default();
        if transfer.records {
            let silence = if transfer.signed { 0 } else { 0x80 };
            for (index, byte) in buffer.iter_mut().enumerate() {
                *byte = if size == 2 && index & 1 == 0 { 0 } else { silence };
            }
            let moved = cx.dma.isa_transfer(channel, TransferDirection::ToMemory, buffer).bytes / size;
            transfer.moved += moved as u64;
            return moved;
        }
        let moved = cx.dma.isa_transfer(channel, TransferDirection::FromMemory, buffer).bytes / size;
        let frame = size * if transfer.stereo { 2 } else { 1 };
        let played = buffer.get(..moved * size).unwrap_or_default();
        for frame in played.chunks(frame) {
            let mut levels = frame.chunks(size).map(|unit| {
                let raw = match *unit {
                    _ if transfer.silent => return 0,
                    [byte] => i32::from(byte) << 8,
                    [low, high] => i32::from(u16::from_le_bytes([low, high])),
                    _ => 0,
                };
                if transfer.signed { i32::from(raw as i16) } else { raw - 0x8000 }
            });
            let left = levels.next().unwrap_or(0);
            let new = [left, levels.next().unwrap_or(left)];
            let (old, from) = (self.state.level, unit_time(transfer, transfer.moved));
            transfer.moved += (frame.len() / size) as u64;
            let until = unit_time(transfer, transfer.moved);
            self.state.level = new;
            if self.output.is_listening() {
                let (old, new) = (self.mixed(old), self.mixed(new));
                let span = until.since(from).max(1) as i64;
                // The converter's filter goes from one level to the next in a straight line.
                self.output.make(until, |moment| {
                    let at = (moment.since(from) as i64).min(span);
                    let between = |(old, new): (i32, i32)| old + ((i64::from(new - old) * at) / span) as i32;
                    [between((old[0], new[0])), between((old[1], new[1]))]
                });
            }
        }
        moved
    }

    fn mixed(&self, level: Sample) -> Sample {
        let [left, right] = level;
        [scaled(left, self.volume(0x32)), scaled(right, self.volume(0x33))]
    }

    fn pause(&mut self, sixteen_bits: bool) {
        if let Some(transfer) = self.state.transfer.as_mut().filter(|transfer| transfer.sixteen_bits == sixteen_bits) {
            transfer.paused = true;
        }
    }
    fn go_on(&mut self, now: Time, sixteen_bits: bool) {
        if let Some(transfer) =
            self.state.transfer.as_mut().filter(|transfer| transfer.sixteen_bits == sixteen_bits && transfer.paused)
        {
            transfer.paused = false;
            transfer.origin = now;
            transfer.moved = 0;
        }
    }

    // --- DSP commands --------------------------------------------------------------------------

    fn answer(&mut self, byte: u8) {
        if self.state.answers.len() < ANSWERS_KEPT {
            self.state.answers.push_back(byte);
        }
    }

    fn reset_dsp(&mut self) {
        let state = std::mem::take(&mut self.state);
        self.state = State {
            mixer_index: state.mixer_index,
            mixer: state.mixer,
            mpu_answers: state.mpu_answers,
            now: state.now,
            ..State::default()
        };
        self.drive();
        self.answer(0xaa);
    }

    fn take_command(&mut self, now: Time, byte: u8) {
        let command = match self.state.command {
            None => {
                self.state.parameters.clear();
                byte
            }
            Some(command) => {
                self.state.parameters.push(byte);
                command
            }
        };
        if self.state.parameters.len() < parameters(command) {
            self.state.command = Some(command);
        } else {
            self.state.command = None;
            let given = std::mem::take(&mut self.state.parameters);
            self.execute(now, command, &given);
        }
    }

    fn execute(&mut self, now: Time, command: u8, given: &[u8]) {
        let first = given.first().copied().unwrap_or(0);
        let word = match *given {
            [low, high] => u16::from_le_bytes([low, high]),
            _ => 0,
        };
        // Old commands play in stereo when the mixer of the Sound Blaster Pro says so.
        let old = Transfer {
            sixteen_bits: false,
            stereo: self.mixer(0x0e) & 2 != 0,
            signed: false,
            records: false,
            automatic: false,
            silent: false,
            without_dma: false,
            block: u32::from(self.state.block) + 1,
            left: 0,
            units_per_second: 0,
            origin: now,
            moved: 0,
            paused: false,
        };
        let once = Transfer { block: u32::from(word) + 1, ..old };
        match command {
            0x10 => self.state.level = [(i32::from(first) - 0x80) << 8; 2],
            0x14 | 0x15 => self.start(now, once),
            0x16 | 0x17 | 0x74..=0x77 => self.start(now, Transfer { silent: true, stereo: false, ..once }),
            0x1c | 0x90 => self.start(now, Transfer { automatic: true, ..old }),
            0x1f | 0x7d | 0x7f => self.start(now, Transfer { automatic: true, silent: true, stereo: false, ..old }),
            0x91 => self.start(now, old),
            0x20 => self.answer(0x80),
            0x24 => self.start(now, Transfer { records: true, ..once }),
            0x2c | 0x98 => self.start(now, Transfer { records: true, automatic: true, ..old }),
            0x99 => self.start(now, Transfer { records: true, ..old }),
            0x40 => {
                self.state.rate = (1_000_000 / (256 - u32::from(first))).clamp(4_000, 48_000);
                self.state.by_constant = true;
            }
            0x41 | 0x42 => {
                let rate = given.iter().fold(0, |rate, byte| rate << 8 | u32::from(*byte));
                self.state.rate = rate.clamp(4_000, 48_000);
                self.state.by_constant = false;
            }
            0x45 | 0x47 => {
                if let Some(transfer) = &mut self.state.transfer {
                    transfer.automatic = true;
                }
            }
            0x48 => self.state.block = word,
            0x80 => self.start(now, Transfer { without_dma: true, stereo: false, ..once }),
            0xb0..=0xcf => self.program(now, command, given, old),
            0xd0 => self.pause(false),
            0xd1 => self.state.speaker = true,
            0xd3 => self.state.speaker = false,
            0xd4 => self.go_on(now, false),
            0xd5 => self.pause(true),
            0xd6 => self.go_on(now, true),
            0xd8 => self.answer(if self.state.speaker { 0xff } else { 0 }),
            0xd9 | 0xda => {
                // The block that plays is the last.
                let sixteen_bits = command == 0xd9;
                if let Some(transfer) =
                    self.state.transfer.as_mut().filter(|transfer| transfer.sixteen_bits == sixteen_bits)
                {
                    transfer.automatic = false;
                }
            }
            0xe0 => self.answer(!first),
            0xe1 => {
                self.answer(4);
                self.answer(5);
            }
            0xe3 => b"COPYRIGHT (C) CREATIVE TECHNOLOGY LTD, 1992.\0".iter().for_each(|byte| self.answer(*byte)),
            0xe4 => self.state.test = first,
            0xe8 => self.answer(self.state.test),
            0xf2 => self.interrupt(IRQ_8),
            0xf3 => self.interrupt(IRQ_16),
            0xf8 => self.answer(0),
            // MIDI output, and what the manual does not describe: taken without effect.
            _ => {}
        }
    }

    /// Commands B0h–CFh: everything that DSP 4 can play, by command, mode and length.
    fn program(&mut self, now: Time, command: u8, given: &[u8], old: Transfer) {
        let &[mode, low, high] = given else { return };
        let transfer = Transfer {
            sixteen_bits: command < 0xc0,
            stereo: mode & 0x20 != 0,
            signed: mode & 0x10 != 0,
            records: command & 8 != 0,
            automatic: command & 4 != 0,
            block: u32::from(u16::from_le_bytes([low, high])) + 1,
            ..old
        };
        self.state.by_constant = false;
        self.start(now, transfer);
    }

    // --- mixer ---------------------------------------------------------------------------------

    fn read_mixer(&self) -> u8 {
        // Registers of the Sound Blaster Pro show the upper bits of two of this one's.
        let pair = |at: usize| self.mixer(at) & 0xf0 | self.mixer(at + 1) >> 4;
        match self.state.mixer_index {
            0x04 => pair(0x32),
            0x22 => pair(0x30),
            0x26 => pair(0x34),
            0x28 => pair(0x36),
            0x2e => pair(0x38),
            0x82 => self.state.interrupts | 0x20,
            index => self.mixer(usize::from(index)),
        }
    }
    fn write_mixer(&mut self, value: u8) {
        let mut put = |at: u8, value: u8| {
            if let Some(register) = self.state.mixer.get_mut(usize::from(at)) {
                *register = value;
            }
        };
        let mut pair = |at: u8| {
            put(at, value & 0xf0 | 8);
            put(at + 1, value << 4 | 8);
        };
        match self.state.mixer_index {
            0x00 => {
                let (irq, dma) = (self.mixer(0x80), self.mixer(0x81));
                self.state.mixer = mixer_defaults();
                // The jumpers keep their place.
                for (at, value) in [(0x80, irq), (0x81, dma)] {
                    if let Some(register) = self.state.mixer.get_mut(at) {
                        *register = value;
                    }
                }
            }
            0x04 => pair(0x32),
            0x22 => pair(0x30),
            0x26 => pair(0x34),
            0x28 => pair(0x36),
            0x2e => pair(0x38),
            index @ 0x30..=0x3a => put(index, value & 0xf8),
            0x80 => {
                put(0x80, value & 0x0f);
                // The old wire must fall, the new one may rise.
                self.drive();
            }
            0x81 => put(0x81, value & 0xeb),
            0x82 => {}
            index => put(index, value),
        }
    }
}

/// When unit `unit` of a transfer leaves the converter.
fn unit_time(transfer: &Transfer, unit: u64) -> Time {
    transfer.origin.plus(Time::of_tick(unit, u64::from(transfer.units_per_second)).0)
}

impl PortIo for SoundBlaster {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if width != Width::Byte {
            return None;
        }
        let state = &mut self.state;
        Some(u32::from(match register {
            4 => state.mixer_index,
            5 => self.read_mixer(),
            0x0a => {
                if let Some(answer) = state.answers.pop_front() {
                    state.last_answer = answer;
                }
                state.last_answer
            }
            // Ready for a command, except in reset.
            0x0c => {
                if state.resetting {
                    0xff
                } else {
                    0x7f
                }
            }
            0x0e => {
                let ready = if state.answers.is_empty() { 0x7f } else { 0xff };
                self.acknowledge(IRQ_8);
                ready
            }
            0x0f => {
                self.acknowledge(IRQ_16);
                0xff
            }
            MPU => {
                let answer = state.mpu_answers.pop_front().unwrap_or(0xfe);
                if state.mpu_answers.is_empty() {
                    self.acknowledge(IRQ_MPU);
                }
                answer
            }
            // Bit 7: nothing to read; bit 6: not ready to be written.
            0x11 => {
                if state.mpu_answers.is_empty() {
                    0x80
                } else {
                    0
                }
            }
            _ => return None,
        }))
    }

    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if width != Width::Byte && !(register == 4 && width == Width::Word) {
            return None;
        }
        let byte = value as u8;
        match register {
            4 => {
                self.state.mixer_index = byte;
                if width == Width::Word {
                    self.write_mixer((value >> 8) as u8);
                }
            }
            5 => self.write_mixer(byte),
            6 => {
                let held = byte & 1 != 0;
                if self.state.resetting && !held {
                    self.reset_dsp();
                }
                self.state.resetting = held;
            }
            0x0c if !self.state.resetting => self.take_command(cx.now, byte),
            0x0c | MPU => {}
            0x11 => {
                // FFh resets, 3Fh enters UART mode, in which the card always is.
                if matches!(byte, 0xff | 0x3f) && self.state.mpu_answers.len() < ANSWERS_KEPT {
                    self.state.mpu_answers.push_back(0xfe);
                    self.interrupt(IRQ_MPU);
                }
            }
            _ => return None,
        }
        Some(())
    }
}

impl Device for SoundBlaster {
    fn name(&self) -> &'static str {
        "sb16"
    }
    fn reset(&mut self) {
        self.state = State { now: self.state.now, ..State::default() };
        self.drive();
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        self.run(cx);
    }
    /// The end of the block that plays.
    fn next_event(&self) -> Option<Time> {
        let transfer = self.state.transfer.as_ref().filter(|transfer| !transfer.paused)?;
        let end = unit_time(transfer, transfer.moved + u64::from(transfer.left));
        Some(end.max(self.state.now.plus(1)))
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { interrupts: _, state, output: _ } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        if state.mixer.len() != 256 {
            return Err(RestoreError::OutOfRange("mixer"));
        }
        if state.parameters.len() > 3 || state.answers.len() > ANSWERS_KEPT || state.mpu_answers.len() > ANSWERS_KEPT {
            return Err(RestoreError::OutOfRange("answers"));
        }
        if !(4_000..=48_000).contains(&state.rate) || state.level.iter().any(|level| level.abs() > 0x8000) {
            return Err(RestoreError::OutOfRange("rate"));
        }
        if let Some(transfer) = &state.transfer {
            let fits = (1..=0x1_0000).contains(&transfer.block)
                && (1..=transfer.block).contains(&transfer.left)
                && (2_000..=96_000).contains(&transfer.units_per_second)
                && transfer.moved <= 1 << 40
                && transfer.origin <= state.now;
            if !fits {
                return Err(RestoreError::OutOfRange("transfer"));
            }
        }
        self.state = state;
        let selected = self.mixer(0x80);
        for (bit, line) in self.interrupts.iter().enumerate() {
            line.restore_level(self.state.interrupts != 0 && selected >> bit & 1 != 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn lines() -> [Line; 4] {
        std::array::from_fn(|_| Line::detached())
    }

    crate::device_conformance!(conforms, SoundBlaster::new(lines()));

    fn rig() -> (Bench<SoundBlaster>, Line) {
        let wires = lines();
        let irq5 = wires[1].share();
        let mut bench = Bench::new(SoundBlaster::new(wires));
        bench.write(6, 1);
        bench.run(5_000);
        bench.write(6, 0);
        assert_eq!((bench.read(0x0e), bench.read(0x0a)), (0xff, 0xaa));
        (bench, irq5)
    }
    fn command(bench: &mut Bench<SoundBlaster>, bytes: &[u8]) {
        for byte in bytes {
            assert_eq!(bench.read(0x0c) & 0x80, 0);
            bench.write(0x0c, *byte);
        }
    }

    #[test]
    fn says_what_it_is() {
        let (mut bench, irq5) = rig();
        command(&mut bench, &[0xe1]);
        assert_eq!([bench.read(0x0a), bench.read(0x0a), bench.read(0x0e)], [4, 5, 0x7f]);
        command(&mut bench, &[0xe0, 0x5a]);
        assert_eq!(bench.read(0x0a), 0xa5);
        bench.write(4, 0x80);
        assert_eq!(bench.read(5), 2);
        bench.write(4, 0x81);
        assert_eq!(bench.read(5), 0x22);
        command(&mut bench, &[0xf2]);
        bench.write(4, 0x82);
        assert!(irq5.is_high() && bench.read(5) & 7 == 1);
        bench.read(0x0e);
        assert!(!irq5.is_high());
        bench.write(MPU + 1, 0xff);
        assert_eq!((bench.read(MPU + 1), bench.read(MPU), bench.read(MPU + 1)), (0x00, 0xfe, 0x80));
    }

    #[test]
    fn a_block_of_bytes_takes_its_time() {
        let (mut bench, irq5) = rig();
        bench.dma.arm_isa(vec![0x80; 1000]);
        // 22050 Hz by time constant; 1000 bytes, once.
        command(&mut bench, &[0x40, 211, 0x14, 0xe7, 0x03]);
        bench.run(44_900_000);
        assert!(!irq5.is_high());
        bench.run(200_000);
        assert!(irq5.is_high(), "1000 / 22222 Hz = 45 ms");
        assert_eq!(bench.device.next_event(), None);
    }

    #[test]
    fn words_in_stereo_reach_the_listener() {
        let (mut bench, irq5) = rig();
        bench.device.listen(true, bench.now);
        // Left +16384, right -16384, at full volume.
        for at in [0x30, 0x31, 0x32, 0x33] {
            bench.write(4, at);
            bench.write(5, 0xff);
        }
        let frames: Vec<u8> = [0x00, 0x40, 0x00, 0xc0].repeat(4_800);
        bench.dma.arm_isa(frames);
        command(&mut bench, &[0x41, 0xbb, 0x80, 0xb6, 0x30, 0xbf, 0x12]);
        bench.run(50_100_000);
        assert!(irq5.is_high(), "a block of 2400 frames at 48 kHz");
        bench.write(4, 0x82);
        assert_eq!(bench.read(5) & 7, 2);
        bench.read(0x0f);
        assert!(!irq5.is_high());
        let (_, samples) = bench.device.take();
        assert!(samples.len() >= 2_400 && samples[1_000..2_000].iter().all(|sample| *sample == [16_384, -16_384]));
        // Paused it moves nothing, and then goes on.
        command(&mut bench, &[0xd5]);
        let position = bench.dma.isa_position;
        bench.run(100_000_000);
        assert_eq!(bench.dma.isa_position, position);
        command(&mut bench, &[0xd6]);
        bench.run(10_000_000);
        assert!(bench.dma.isa_position > position);
        // The block is the last.
        command(&mut bench, &[0xd9]);
        bench.run(100_000_000);
        assert!(irq5.is_high() && bench.device.next_event().is_none());
    }

    #[test]
    fn a_masked_channel_stalls_without_harm() {
        let (mut bench, irq5) = rig();
        command(&mut bench, &[0x48, 0xff, 0x00, 0x1c]);
        bench.run(2_000_000_000);
        assert!(!irq5.is_high());
        bench.dma.arm_isa(vec![0; 256]);
        bench.run(20_000_000);
        assert!(irq5.is_high());
        bench.write(6, 1);
        bench.write(6, 0);
        assert!(!irq5.is_high() && bench.device.next_event().is_none());
    }

    #[test]
    fn volumes_of_the_older_card_are_the_upper_bits() {
        let (mut bench, _) = rig();
        bench.write(4, 0x22);
        bench.write(5, 0xa5);
        assert_eq!(bench.read(5), 0xa5);
        bench.write(4, 0x30);
        assert_eq!(bench.read(5), 0xa8);
        bench.write_wide(4, Width::Word, 0x0000);
        bench.write(4, 0x30);
        assert_eq!(bench.read(5), 0xc0);
    }
}
