//! The PS/2 mouse (IBM PS/2 Hardware Interface Technical Reference, Mouse) with the wheel and
//! five-button extensions of the IntelliMouse and IntelliMouse Explorer.
//!
//! It has no registers: the keyboard controller ([`I8042`](crate::i8042::I8042)) sends it command
//! bytes and fetches what it says. Not emulated: the serial protocol on the wire; the resolution
//! setting is reported but does not scale what the host feeds in.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::device::{RestoreError, Time};

const ACKNOWLEDGE: u8 = 0xfa;
const RESEND: u8 = 0xfe;
/// Time between a reset command and the end of the self test.
const SELF_TEST_TIME: u64 = 2_000_000;
/// Movement that waits for a packet; more than a guest can ever mean.
const MOVEMENT_LIMIT: i32 = 0x7fff;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    Stream,
    Remote,
    Wrap { from_remote: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Parameter {
    Resolution,
    SampleRate,
}

/// The mouse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mouse {
    mode: Mode,
    reporting: bool,
    scaling: bool,
    resolution: u8,
    sample_rate: u8,
    /// 0 plain, 3 with wheel, 4 with wheel and five buttons.
    id: u8,
    /// The last three sample rates, by which drivers ask for the extensions.
    knock: [u8; 3],
    parameter: Option<Parameter>,
    /// Bit 0 left, 1 right, 2 middle, 3 and 4 the side buttons.
    buttons: u8,
    reported_buttons: u8,
    x: i32,
    y: i32,
    wheel: i32,
    answers: VecDeque<u8>,
    packet: VecDeque<u8>,
    last_sent: u8,
    testing: Option<Time>,
    /// No stream packet before this moment.
    next_sample: Time,
    now: Time,
}

impl Default for Mouse {
    fn default() -> Mouse {
        Mouse::new()
    }
}

impl Mouse {
    /// A mouse after its power-on self test: stream mode, silent.
    #[must_use]
    pub fn new() -> Mouse {
        Mouse {
            mode: Mode::Stream,
            reporting: false,
            scaling: false,
            resolution: 2,
            sample_rate: 100,
            id: 0,
            knock: [0; 3],
            parameter: None,
            buttons: 0,
            reported_buttons: 0,
            x: 0,
            y: 0,
            wheel: 0,
            answers: VecDeque::new(),
            packet: VecDeque::new(),
            last_sent: 0,
            testing: None,
            next_sample: Time::ZERO,
            now: Time::ZERO,
        }
    }
    /// The user moves the mouse: `dx` to the right, `dy` down, `wheel` towards the user, all in
    /// counts; `buttons` as they are held now (bit 0 left, 1 right, 2 middle, 3 and 4 the sides).
    pub fn movement(&mut self, dx: i32, dy: i32, wheel: i32, buttons: u8) {
        let add = |sum: i32, step: i32| sum.saturating_add(step).clamp(-MOVEMENT_LIMIT, MOVEMENT_LIMIT);
        if self.listens() {
            self.x = add(self.x, dx);
            self.y = add(self.y, dy.saturating_neg());
            self.wheel = add(self.wheel, wheel);
        }
        self.buttons = buttons & 0x1f;
    }
    /// Whether a driver has turned reporting on.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.reporting || self.mode == Mode::Remote
    }

    fn set_defaults(&mut self) {
        self.mode = Mode::Stream;
        self.reporting = false;
        self.scaling = false;
        self.resolution = 2;
        self.sample_rate = 100;
        self.parameter = None;
        self.clear_movement();
    }
    fn clear_movement(&mut self) {
        (self.x, self.y, self.wheel) = (0, 0, 0);
        self.packet.clear();
    }
    fn visible_buttons(&self) -> u8 {
        if self.id == 4 { self.buttons } else { self.buttons & 7 }
    }
    fn has_change(&self) -> bool {
        let wheel = self.id != 0 && self.wheel != 0;
        self.x != 0 || self.y != 0 || wheel || self.visible_buttons() != self.reported_buttons
    }
    /// What 2:1 scaling makes of a count.
    fn scaled(count: i32) -> i32 {
        let magnitude = match count.abs() {
            0 => 0,
            1 | 2 => 1,
            3 => 3,
            4 => 6,
            5 => 9,
            more => 2 * more,
        };
        magnitude * count.signum()
    }
    /// Takes what has gathered into a packet.
    fn make_packet(&mut self, scale: bool) -> Vec<u8> {
        let take = |sum: &mut i32, limit: i32| {
            let part = (*sum).clamp(-limit, limit - 1);
            *sum -= part;
            part
        };
        let (mut x, mut y) = (take(&mut self.x, 0x100), take(&mut self.y, 0x100));
        if scale {
            (x, y) = (Mouse::scaled(x), Mouse::scaled(y));
        }
        let overflow = |count: i32| !(-0x100..0x100).contains(&count);
        let first = self.buttons & 7
            | 0x08
            | u8::from(x < 0) << 4
            | u8::from(y < 0) << 5
            | u8::from(overflow(x)) << 6
            | u8::from(overflow(y)) << 7;
        let (x, y) = (x.clamp(-0x100, 0xff), y.clamp(-0x100, 0xff));
        let mut packet = vec![first, x as u8, y as u8];
        if self.id != 0 {
            let wheel = take(&mut self.wheel, 8) as u8;
            packet.push(if self.id == 4 { wheel & 0x0f | (self.buttons & 0x18) << 1 } else { wheel });
        } else {
            self.wheel = 0;
        }
        self.reported_buttons = self.visible_buttons();
        packet
    }
    fn status(&self) -> [u8; 3] {
        let first = (self.buttons & 1) << 2
            | (self.buttons & 2) >> 1
            | (self.buttons & 4) >> 1
            | u8::from(self.scaling) << 4
            | u8::from(self.reporting) << 5
            | u8::from(self.mode == Mode::Remote) << 6;
        [first, self.resolution, self.sample_rate]
    }

    /// The controller sends a byte.
    pub fn command(&mut self, byte: u8, now: Time) {
        self.now = now.max(self.now);
        if let Mode::Wrap { from_remote } = self.mode {
            match byte {
                0xec => {
                    self.mode = if from_remote { Mode::Remote } else { Mode::Stream };
                    self.answers.push_back(ACKNOWLEDGE);
                    return;
                }
                0xff => {}
                _ => {
                    self.answers.clear();
                    self.answers.push_back(byte);
                    return;
                }
            }
        }
        self.answers.clear();
        // A command interrupts a packet that is on its way.
        self.packet.clear();
        if let Some(parameter) = self.parameter.take() {
            self.take_parameter(parameter, byte);
            return;
        }
        self.answers.push_back(ACKNOWLEDGE);
        match byte {
            0xe6 => self.scaling = false,
            0xe7 => self.scaling = true,
            0xe8 => self.parameter = Some(Parameter::Resolution),
            0xe9 => self.answers.extend(self.status()),
            0xea => {
                self.mode = Mode::Stream;
                self.clear_movement();
            }
            0xeb => {
                let packet = self.make_packet(false);
                self.answers.extend(packet);
            }
            // Leaving wrap mode without having entered it.
            0xec => {}
            0xee => self.mode = Mode::Wrap { from_remote: self.mode == Mode::Remote },
            0xf0 => {
                self.mode = Mode::Remote;
                self.clear_movement();
            }
            0xf2 => self.answers.push_back(self.id),
            0xf3 => self.parameter = Some(Parameter::SampleRate),
            0xf4 => {
                self.reporting = true;
                self.clear_movement();
            }
            0xf5 => {
                self.reporting = false;
                self.clear_movement();
            }
            0xf6 => self.set_defaults(),
            0xfe => {
                self.answers.clear();
                self.answers.push_back(self.last_sent);
            }
            0xff => {
                self.set_defaults();
                self.id = 0;
                self.knock = [0; 3];
                self.testing = Some(self.now.plus(SELF_TEST_TIME));
            }
            _ => {
                self.answers.clear();
                self.answers.push_back(RESEND);
            }
        }
    }

    fn take_parameter(&mut self, parameter: Parameter, byte: u8) {
        match parameter {
            Parameter::Resolution if byte <= 3 => self.resolution = byte,
            Parameter::SampleRate if matches!(byte, 10 | 20 | 40 | 60 | 80 | 100 | 200) => {
                self.sample_rate = byte;
                let [_, second, third] = self.knock;
                self.knock = [second, third, byte];
                match self.knock {
                    [200, 100, 80] if self.id == 0 => self.id = 3,
                    [200, 200, 80] => self.id = 4,
                    _ => {}
                }
            }
            _ => {
                self.answers.push_back(RESEND);
                self.parameter = Some(parameter);
                return;
            }
        }
        self.answers.push_back(ACKNOWLEDGE);
    }

    fn streams(&self) -> bool {
        self.mode == Mode::Stream && self.reporting && self.testing.is_none() && self.parameter.is_none()
    }

    /// Moves on to `now`: the self test, the next packet.
    pub fn advance(&mut self, now: Time) {
        self.now = now.max(self.now);
        if self.testing.is_some_and(|end| end <= self.now) {
            self.testing = None;
            self.answers.extend([0xaa, 0x00]);
        }
        if self.streams() && self.packet.is_empty() && self.has_change() && self.next_sample <= self.now {
            let packet = self.make_packet(self.scaling);
            self.packet.extend(packet);
            self.next_sample = self.now.plus(1_000_000_000 / u64::from(self.sample_rate.max(1)));
        }
    }
    /// When `advance` must run.
    #[must_use]
    pub fn next_event(&self) -> Option<Time> {
        let sample = (self.streams() && self.packet.is_empty() && self.has_change()).then_some(self.next_sample);
        [self.testing, sample].into_iter().flatten().min()
    }
    /// Whether the mouse has a byte to send.
    #[must_use]
    pub fn has_data(&self) -> bool {
        !self.answers.is_empty() || !self.packet.is_empty()
    }
    /// The next byte it sends.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.answers.pop_front().or_else(|| self.packet.pop_front())?;
        self.last_sent = byte;
        Some(byte)
    }
    /// Checks a decoded state.
    pub(crate) fn validate(&self) -> Result<(), RestoreError> {
        let sane = |count: i32| (-MOVEMENT_LIMIT..=MOVEMENT_LIMIT).contains(&count);
        let counts = sane(self.x) && sane(self.y) && sane(self.wheel);
        let queues = self.answers.len() <= 16 && self.packet.len() <= 4;
        let settings = matches!(self.id, 0 | 3 | 4) && self.resolution <= 3 && self.sample_rate != 0;
        if counts && queues && settings { Ok(()) } else { Err(RestoreError::OutOfRange("mouse")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mouse: &mut Mouse) -> Vec<u8> {
        std::iter::from_fn(|| mouse.take()).collect()
    }
    fn command(mouse: &mut Mouse, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for byte in bytes {
            let now = mouse.now;
            mouse.command(*byte, now);
            answers.extend(drain(mouse));
        }
        answers
    }
    fn packets(mouse: &mut Mouse) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..20 {
            let Some(event) = mouse.next_event() else { break };
            let now = event.max(mouse.now);
            mouse.advance(now);
            bytes.extend(drain(mouse));
        }
        bytes
    }

    #[test]
    fn reset_and_identity() {
        let mut mouse = Mouse::new();
        assert_eq!(command(&mut mouse, &[0xff]), [0xfa]);
        mouse.advance(Time(SELF_TEST_TIME));
        assert_eq!(drain(&mut mouse), [0xaa, 0x00]);
        assert_eq!(command(&mut mouse, &[0xf2]), [0xfa, 0x00]);
        assert_eq!(command(&mut mouse, &[0xe9]), [0xfa, 0x00, 2, 100]);
        assert_eq!(command(&mut mouse, &[0x55]), [0xfe]);
        assert_eq!(command(&mut mouse, &[0xf3, 77, 80]), [0xfa, 0xfe, 0xfa]);
        assert_eq!(command(&mut mouse, &[0xfe]), [0xfa]);
    }

    #[test]
    fn streams_movement_in_packets() {
        let mut mouse = Mouse::new();
        mouse.movement(5, 5, 0, 0);
        assert!(packets(&mut mouse).is_empty(), "reporting is off");
        command(&mut mouse, &[0xf4]);
        mouse.movement(3, 2, 0, 1);
        assert_eq!(packets(&mut mouse), [0x29, 3, 0xfe]);
        mouse.movement(300, 0, 0, 0);
        assert_eq!(packets(&mut mouse), [0x08, 255, 0, 0x08, 45, 0]);
        command(&mut mouse, &[0xe7]);
        mouse.movement(-5, 0, 0, 0);
        assert_eq!(packets(&mut mouse), [0x18, 0xf7, 0]);
    }

    #[test]
    fn wheel_and_side_buttons() {
        let mut mouse = Mouse::new();
        command(&mut mouse, &[0xf3, 200, 0xf3, 100, 0xf3, 80]);
        assert_eq!(command(&mut mouse, &[0xf2]), [0xfa, 3]);
        command(&mut mouse, &[0xf4]);
        mouse.movement(0, 0, -1, 4);
        assert_eq!(packets(&mut mouse), [0x0c, 0, 0, 0xff]);
        command(&mut mouse, &[0xf3, 200, 0xf3, 200, 0xf3, 80]);
        assert_eq!(command(&mut mouse, &[0xf2]), [0xfa, 4]);
        mouse.movement(0, 0, 1, 0x18);
        assert_eq!(packets(&mut mouse), [0x08, 0, 0, 0x31]);
    }

    #[test]
    fn remote_and_wrap_modes() {
        let mut mouse = Mouse::new();
        command(&mut mouse, &[0xf0]);
        mouse.movement(1, 0, 0, 2);
        assert_eq!(mouse.next_event(), None);
        assert_eq!(command(&mut mouse, &[0xeb]), [0xfa, 0x0a, 1, 0]);
        assert_eq!(command(&mut mouse, &[0xee, 0x12, 0xeb, 0xec]), [0xfa, 0x12, 0xeb, 0xfa]);
        assert_eq!(command(&mut mouse, &[0xe9]), [0xfa, 0x41, 2, 100]);
    }

    #[test]
    fn packets_keep_the_sample_rate() {
        let mut mouse = Mouse::new();
        command(&mut mouse, &[0xf3, 10, 0xf4]);
        mouse.movement(1, 0, 0, 0);
        mouse.advance(Time(1));
        assert_eq!(drain(&mut mouse), [0x08, 1, 0]);
        mouse.movement(1, 0, 0, 0);
        mouse.advance(Time(50_000_000));
        assert!(drain(&mut mouse).is_empty());
        assert_eq!(mouse.next_event(), Some(Time(100_000_001)));
    }
}
