//! The pair of interrupt controllers: two Intel 8259A (data sheet 231468) cascaded as in an AT,
//! with the edge/level control registers of the PIIX3 (data sheet 290550).
//!
//! Registers: 0, 1 the master (ports 20h, 21h), 2, 3 the slave (A0h, A1h), 4, 5 the edge/level
//! control of master and slave (4D0h, 4D1h).
//!
//! Not emulated: the MCS-80/85 mode (vectors are always those of the 8086 mode) and the buffered
//! mode (no bus buffers to steer). ICW3 is kept, but the cascade is wired to input 2.

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Width};
use crate::line::{Attention, Line};

/// The master's input to which the slave's output is wired.
const CASCADE: u8 = 2;

/// Which initialization word a chip waits for at its odd register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Expects {
    Mask,
    Icw2,
    Icw3,
    Icw4,
}

/// One 8259A.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Chip {
    request: u8,
    in_service: u8,
    mask: u8,
    /// Levels at the inputs when last sampled.
    levels: u8,
    edge_level_control: u8,
    expects: Expects,
    wants_icw4: bool,
    single: bool,
    level_triggered: bool,
    vector_base: u8,
    icw3: u8,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_mask: bool,
    special_fully_nested: bool,
    poll: bool,
    read_in_service: bool,
    /// The input that has the lowest priority now; the next one has the highest.
    lowest: u8,
}

impl Chip {
    /// All inputs masked until software initializes the chip.
    fn new() -> Chip {
        Chip {
            request: 0,
            in_service: 0,
            mask: 0xff,
            levels: 0,
            edge_level_control: 0,
            expects: Expects::Mask,
            wants_icw4: false,
            single: false,
            level_triggered: false,
            vector_base: 0,
            icw3: 0,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_mask: false,
            special_fully_nested: false,
            poll: false,
            read_in_service: false,
            lowest: 7,
        }
    }

    /// Inputs that are level triggered.
    fn by_level(&self) -> u8 {
        if self.level_triggered { 0xff } else { self.edge_level_control }
    }

    /// Takes the inputs' levels and which of them rose since the last sample.
    ///
    /// An edge-triggered request is dropped when its input falls before it is acknowledged: an
    /// acknowledge that comes too late gets the spurious vector.
    fn sample(&mut self, levels: u8, rose: u8) {
        let by_level = self.by_level();
        self.request = levels & (by_level | self.request | rose);
        self.levels = levels;
    }

    /// How far below the highest priority the highest bit of `set` stands; 8 for none.
    fn rank(&self, set: u8) -> u8 {
        set.rotate_right(u32::from(self.lowest) + 1).trailing_zeros() as u8
    }

    fn at_rank(&self, rank: u8) -> u8 {
        (self.lowest + 1 + rank) & 7
    }

    /// The input whose interrupt the chip asks for.
    fn output(&self) -> Option<u8> {
        let requests = self.rank(self.request & !self.mask);
        let mut blocking = self.in_service;
        if self.special_mask {
            blocking &= !self.mask;
        }
        let blocked = self.rank(blocking);
        if requests < blocked {
            return Some(self.at_rank(requests));
        }
        // In the special fully nested mode a slave may interrupt its own service.
        let nested = self.special_fully_nested && requests == blocked && requests < 8;
        (nested && self.at_rank(requests) == CASCADE).then_some(CASCADE)
    }

    /// The interrupt of `input` is taken.
    fn acknowledge(&mut self, input: u8) {
        let bit = 1 << input;
        if self.by_level() & bit == 0 {
            self.request &= !bit;
        }
        if !self.auto_eoi {
            self.in_service |= bit;
        } else if self.rotate_on_auto_eoi {
            self.lowest = input;
        }
    }

    fn write_even(&mut self, value: u8) {
        if value & 0x10 != 0 {
            *self = Chip {
                mask: 0,
                // The edge sense is reset: an input must rise again to be seen.
                request: self.levels & self.edge_level_control,
                levels: self.levels,
                edge_level_control: self.edge_level_control,
                expects: Expects::Icw2,
                wants_icw4: value & 1 != 0,
                single: value & 2 != 0,
                level_triggered: value & 8 != 0,
                vector_base: self.vector_base,
                icw3: self.icw3,
                ..Chip::new()
            };
        } else if value & 8 != 0 {
            if value & 0x40 != 0 {
                self.special_mask = value & 0x20 != 0;
            }
            self.poll = value & 4 != 0;
            if value & 2 != 0 {
                self.read_in_service = value & 1 != 0;
            }
        } else {
            self.command(value >> 5, value & 7);
        }
    }

    /// OCW2: `code` is the three bits rotate, specific, end of interrupt.
    fn command(&mut self, code: u8, level: u8) {
        match code {
            // End of interrupt, not specific; with and without rotation.
            0b001 | 0b101 => {
                let mut candidates = self.in_service;
                if self.special_mask {
                    candidates &= !self.mask;
                }
                if candidates != 0 {
                    let input = self.at_rank(self.rank(candidates));
                    self.in_service &= !(1 << input);
                    if code == 0b101 {
                        self.lowest = input;
                    }
                }
            }
            0b011 => self.in_service &= !(1 << level),
            0b111 => {
                self.in_service &= !(1 << level);
                self.lowest = level;
            }
            0b110 => self.lowest = level,
            0b000 => self.rotate_on_auto_eoi = false,
            0b100 => self.rotate_on_auto_eoi = true,
            _ => {}
        }
    }

    fn write_odd(&mut self, value: u8) {
        let after_icw3 = if self.wants_icw4 { Expects::Icw4 } else { Expects::Mask };
        match self.expects {
            Expects::Mask => self.mask = value,
            Expects::Icw2 => {
                self.vector_base = value & 0xf8;
                self.expects = if self.single { after_icw3 } else { Expects::Icw3 };
            }
            Expects::Icw3 => {
                self.icw3 = value;
                self.expects = after_icw3;
            }
            Expects::Icw4 => {
                self.special_fully_nested = value & 0x10 != 0;
                self.auto_eoi = value & 2 != 0;
                self.expects = Expects::Mask;
            }
        }
    }

    fn read(&mut self, odd: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            let Some(input) = self.output() else { return 0 };
            self.acknowledge(input);
            return 0x80 | input;
        }
        match (odd, self.read_in_service) {
            (true, _) => self.mask,
            (false, true) => self.in_service,
            (false, false) => self.request,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    master: Chip,
    slave: Chip,
    /// Level of the wire from the slave's output to the master.
    cascade: bool,
}

/// Both controllers and their sixteen inputs.
///
/// Inputs are sampled by `advance`: the board calls it whenever the [`Attention`] of the inputs
/// was raised, before it asks [`has_interrupt`](PicPair::has_interrupt).
#[derive(Debug)]
pub struct PicPair {
    inputs: [Line; 16],
    pair: Pair,
}

impl PicPair {
    /// Two controllers whose inputs are new wires that raise `attention`.
    #[must_use]
    pub fn new(attention: &Attention) -> PicPair {
        let pair = Pair { master: Chip::new(), slave: Chip::new(), cascade: false };
        PicPair { inputs: std::array::from_fn(|_| Line::on(attention)), pair }
    }
    /// Another end of input `number` (0–15) for a device to drive. Input 2 carries the cascade
    /// and ignores what is wired to it.
    #[must_use]
    pub fn irq(&self, number: u8) -> Line {
        let [first, ..] = &self.inputs;
        self.inputs.get(usize::from(number)).unwrap_or(first).share()
    }
    /// Requests, interrupts in service, masked inputs, level-triggered inputs and the vectors of inputs 0 of both
    /// controllers, master first.
    #[must_use]
    pub fn registers(&self) -> [[u8; 5]; 2] {
        [&self.pair.master, &self.pair.slave]
            .map(|chip| [chip.request, chip.in_service, chip.mask, chip.edge_level_control, chip.vector_base])
    }
    /// Whether the processor's INTR pin is high.
    #[must_use]
    pub fn has_interrupt(&self) -> bool {
        self.pair.master.output().is_some()
    }
    /// The processor's interrupt acknowledge cycle: the vector. When the request has gone, that
    /// of input 7 of the chip that answers, without a bit in service there.
    pub fn acknowledge(&mut self) -> u8 {
        self.sample();
        let Pair { master, slave, .. } = &mut self.pair;
        let vector = match master.output() {
            Some(CASCADE) if !master.single => {
                master.acknowledge(CASCADE);
                let input = slave.output();
                if let Some(input) = input {
                    slave.acknowledge(input);
                }
                // The slave's output falls during the acknowledge, so that its next request
                // makes an edge at the master.
                self.pair.cascade = false;
                self.pair.slave.vector_base | input.unwrap_or(7)
            }
            Some(input) => {
                master.acknowledge(input);
                master.vector_base | input
            }
            None => master.vector_base | 7,
        };
        self.sample();
        vector
    }

    /// Takes the levels and edges of all inputs and carries the slave's output to the master.
    fn sample(&mut self) {
        let (mut levels, mut rose) = (0u16, 0u16);
        for (number, line) in self.inputs.iter().enumerate() {
            levels |= u16::from(line.is_high()) << number;
            rose |= u16::from(line.take_edge()) << number;
        }
        let [low_levels, high_levels] = levels.to_le_bytes();
        let [low_rose, high_rose] = rose.to_le_bytes();
        let Pair { master, slave, cascade } = &mut self.pair;
        slave.sample(high_levels, high_rose);
        let output = slave.output().is_some();
        let cascade_rose = output && !*cascade;
        *cascade = output;
        let with_cascade = |inputs: u8, bit: bool| inputs & !(1 << CASCADE) | u8::from(bit) << CASCADE;
        master.sample(with_cascade(low_levels, output), with_cascade(low_rose, cascade_rose));
    }
}

impl PortIo for PicPair {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if width != Width::Byte {
            return None;
        }
        let Pair { master, slave, .. } = &mut self.pair;
        let value = match register {
            0 | 1 => master.read(register == 1),
            2 | 3 => slave.read(register == 3),
            4 => master.edge_level_control,
            5 => slave.edge_level_control,
            _ => return None,
        };
        self.sample();
        Some(u32::from(value))
    }

    fn write(&mut self, _cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if width != Width::Byte {
            return None;
        }
        let value = value as u8;
        let Pair { master, slave, .. } = &mut self.pair;
        match register {
            0 => {
                master.write_even(value);
                // A cleared edge sense must see the slave's standing request again.
                if value & 0x10 != 0 {
                    self.pair.cascade = false;
                }
            }
            1 => master.write_odd(value),
            2 => slave.write_even(value),
            3 => slave.write_odd(value),
            // Timer, keyboard and cascade, and the clock and the coprocessor error, are always
            // edge triggered.
            4 => master.edge_level_control = value & 0xf8,
            5 => slave.edge_level_control = value & 0xde,
            _ => return None,
        }
        self.sample();
        Some(())
    }
}

impl Device for PicPair {
    fn name(&self) -> &'static str {
        "pic"
    }
    fn reset(&mut self) {
        self.pair = Pair { master: Chip::new(), slave: Chip::new(), cascade: false };
        for line in &self.inputs {
            let _ = line.take_edge();
        }
    }
    fn advance(&mut self, _cx: &mut Access<'_>) {
        self.sample();
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { inputs: _, pair } = self;
        Saved::of(pair)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let pair: Pair = state.decode()?;
        if pair.master.lowest > 7 || pair.slave.lowest > 7 {
            return Err(RestoreError::OutOfRange("lowest"));
        }
        self.pair = pair;
        for line in &self.inputs {
            let _ = line.take_edge();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(conforms, PicPair::new(&Attention::new()));

    /// Initialized as a PC's BIOS does: bases 08h and 70h, everything unmasked.
    fn pair(icw4: u8) -> (Bench<PicPair>, Vec<Line>) {
        let pic = PicPair::new(&Attention::new());
        let lines = (0..16).map(|number| pic.irq(number)).collect();
        let mut bench = Bench::new(pic);
        for (register, value) in
            [(0, 0x11), (1, 0x08), (1, 0x04), (1, icw4), (2, 0x11), (3, 0x70), (3, 0x02), (3, icw4 & !0x10)]
        {
            bench.write(register, value);
        }
        (bench, lines)
    }

    fn take(bench: &mut Bench<PicPair>) -> Option<u8> {
        bench.advance();
        bench.device.has_interrupt().then(|| bench.device.acknowledge())
    }

    #[test]
    fn fixed_priorities_nest() {
        let (mut bench, lines) = pair(1);
        lines[4].set(true);
        lines[1].set(true);
        assert_eq!(take(&mut bench), Some(0x09));
        assert_eq!(take(&mut bench), None, "4 waits for the end of 1");
        lines[0].set(true);
        assert_eq!(take(&mut bench), Some(0x08));
        bench.write(0, 0x0b);
        assert_eq!(bench.read(0), 0x03);
        bench.write(0, 0x20);
        bench.write(0, 0x20);
        assert_eq!(take(&mut bench), Some(0x0c));
        bench.write(0, 0x64);
        assert_eq!(bench.read(0), 0, "a specific end of interrupt");
        assert_eq!(take(&mut bench), None, "high inputs make no second edge");
    }

    #[test]
    fn slave_goes_through_the_cascade() {
        let (mut bench, lines) = pair(1);
        lines[12].set(true);
        lines[9].set(true);
        assert_eq!(take(&mut bench), Some(0x71));
        assert_eq!(take(&mut bench), None);
        bench.write(2, 0x20);
        assert_eq!(take(&mut bench), None, "the master still serves the slave");
        bench.write(0, 0x20);
        assert_eq!(take(&mut bench), Some(0x74));
        bench.write(0, 0x0b);
        assert_eq!(bench.read(0), 0x04);
    }

    #[test]
    fn request_that_falls_is_spurious() {
        let (mut bench, lines) = pair(1);
        lines[3].set(true);
        bench.advance();
        assert!(bench.device.has_interrupt());
        lines[3].set(false);
        assert_eq!(bench.device.acknowledge(), 0x0f);
        bench.write(0, 0x0b);
        assert_eq!(bench.read(0), 0);
        lines[3].pulse();
        assert_eq!(take(&mut bench), None, "too short to be seen");
        lines[10].set(true);
        bench.advance();
        bench.write(3, 0x04);
        // Masked between request and acknowledge; the master drops its request with the slave's.
        assert_eq!(bench.device.acknowledge(), 0x0f);
    }

    #[test]
    fn pulse_train_between_samples_is_one_request() {
        let (mut bench, lines) = pair(1);
        lines[0].set(true);
        lines[0].set(false);
        lines[0].set(true);
        assert_eq!(take(&mut bench), Some(0x08));
        bench.write(0, 0x20);
        assert_eq!(take(&mut bench), None);
        lines[0].set(false);
        lines[0].set(true);
        assert_eq!(take(&mut bench), Some(0x08));
    }

    #[test]
    fn level_triggered_input_asks_again() {
        let (mut bench, lines) = pair(1);
        bench.write(5, 0xff);
        assert_eq!(bench.read(5), 0xde);
        bench.write(5, 0x08);
        lines[11].set(true);
        for _ in 0..3 {
            assert_eq!(take(&mut bench), Some(0x73));
            bench.write(2, 0x20);
            bench.write(0, 0x20);
        }
        lines[11].set(false);
        assert_eq!(take(&mut bench), None);
    }

    #[test]
    fn automatic_end_of_interrupt_and_rotation() {
        let (mut bench, lines) = pair(3);
        bench.write(0, 0x80);
        lines[1].set(true);
        lines[4].set(true);
        assert_eq!(take(&mut bench), Some(0x09));
        lines[1].set(false);
        lines[1].set(true);
        assert_eq!(take(&mut bench), Some(0x0c), "1 has gone to the end of the line");
        assert_eq!(take(&mut bench), Some(0x09));
        for input in [8, 10] {
            lines[input].set(true);
        }
        assert_eq!(take(&mut bench), Some(0x70));
        assert_eq!(take(&mut bench), Some(0x72), "the slave's output falls between its requests");
    }

    #[test]
    fn specific_rotation_sets_the_lowest() {
        let (mut bench, lines) = pair(1);
        bench.write(0, 0xc4);
        lines[5].set(true);
        lines[0].set(true);
        assert_eq!(take(&mut bench), Some(0x0d));
        bench.write(0, 0xa0);
        assert_eq!(take(&mut bench), Some(0x08));
        bench.write(0, 0xe0);
        bench.write(0, 0x0b);
        assert_eq!(bench.read(0), 0);
    }

    #[test]
    fn special_mask_mode_lets_lower_priorities_in() {
        let (mut bench, lines) = pair(1);
        lines[1].set(true);
        assert_eq!(take(&mut bench), Some(0x09));
        lines[6].set(true);
        assert_eq!(take(&mut bench), None);
        bench.write(1, 0x02);
        bench.write(0, 0x68);
        assert_eq!(take(&mut bench), Some(0x0e));
        bench.write(0, 0x20);
        bench.write(0, 0x0b);
        assert_eq!(bench.read(0), 0x02, "a masked level is not ended unspecifically");
    }

    #[test]
    fn special_fully_nested_mode_nests_in_the_slave() {
        for (icw4, expected) in [(0x01, None), (0x11, Some(0x70))] {
            let (mut bench, lines) = pair(icw4);
            lines[12].set(true);
            assert_eq!(take(&mut bench), Some(0x74));
            lines[8].set(true);
            assert_eq!(take(&mut bench), expected);
        }
    }

    #[test]
    fn poll_acknowledges() {
        let (mut bench, lines) = pair(1);
        bench.write(0, 0x0c);
        assert_eq!(bench.read(0), 0x00);
        lines[5].set(true);
        bench.write(0, 0x0c);
        assert_eq!(bench.read(0), 0x85);
        bench.write(0, 0x0b);
        assert_eq!(bench.read(0), 0x20);
        bench.write(0, 0x0a);
        assert_eq!(bench.read(0), 0x00);
    }

    #[test]
    fn initialization_forgets_edges() {
        let (mut bench, lines) = pair(1);
        lines[3].set(true);
        bench.advance();
        bench.write(0, 0x13);
        bench.write(1, 0x20);
        bench.write(1, 0x01);
        assert_eq!(take(&mut bench), None);
        lines[3].set(false);
        lines[3].set(true);
        assert_eq!(take(&mut bench), Some(0x23));
        bench.write(1, 0xa5);
        assert_eq!(bench.read(1), 0xa5);
    }
}
