//! System control port B of an AT (port 61h): timer gate, speaker, refresh toggle, NMI sources
//! (PIIX3 data sheet 290550, NMI status and control register).
//!
//! Register 0 is the port. Not emulated: the parity checker itself (its input is a wire).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::device::{Access, Device, PortIo, RestoreError, Saved, Time, Width};
use crate::line::{Attention, Line};
use crate::pit::PIT_HERTZ;

const TIMER_GATE: u8 = 0x01;
const SPEAKER_DATA: u8 = 0x02;
const SYSTEM_ERROR_OFF: u8 = 0x04;
const IO_CHECK_OFF: u8 = 0x08;
const REFRESH_TOGGLE: u8 = 0x10;
const TIMER_OUTPUT: u8 = 0x20;
const IO_CHECK: u8 = 0x40;
const SYSTEM_ERROR: u8 = 0x80;
/// Counter 1 asks for a refresh every 18 ticks.
const REFRESH_TICKS: u64 = 18;
/// Edges kept when nobody takes them.
const EDGES_KEPT: usize = 0x1_0000;

/// The speaker's membrane moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeakerEdge {
    /// When.
    pub at: Time,
    /// Whether it is pushed out now.
    pub high: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    control: u8,
    /// Latched IO_CHECK and SYSTEM_ERROR.
    sources: u8,
    speaker: bool,
    now: Time,
}

/// Port 61h.
///
/// The board advances it whenever the timer's output or a source of NMI changed.
#[derive(Debug)]
pub struct SystemControl {
    gate2: Line,
    output2: Line,
    nmi: Line,
    io_check: Line,
    system_error: Line,
    edges: VecDeque<SpeakerEdge>,
    state: State,
}

impl SystemControl {
    /// Drives the gate of timer counter 2 and the NMI, listens to the counter's output. The NMI
    /// still has to pass the mask in the clock chip's index register.
    #[must_use]
    pub fn new(gate2: Line, output2: Line, nmi: Line, attention: &Attention) -> SystemControl {
        SystemControl {
            gate2,
            output2,
            nmi,
            io_check: Line::on(attention),
            system_error: Line::on(attention),
            edges: VecDeque::new(),
            state: State::default(),
        }
    }
    /// An end of the wire by which an expansion card reports an error (IOCHK#).
    #[must_use]
    pub fn io_check(&self) -> Line {
        self.io_check.share()
    }
    /// An end of the wire for parity and PCI system errors (SERR#).
    #[must_use]
    pub fn system_error(&self) -> Line {
        self.system_error.share()
    }
    /// The speaker's movements since the last call, oldest first.
    pub fn take_edges(&mut self) -> Vec<SpeakerEdge> {
        std::mem::take(&mut self.edges).into()
    }
    /// Whether the speaker is pushed out.
    #[must_use]
    pub fn speaker_level(&self) -> bool {
        self.state.speaker
    }

    fn nmi_level(&self) -> bool {
        self.state.sources != 0
    }

    fn update(&mut self, now: Time) {
        let state = &mut self.state;
        state.now = now;
        if self.io_check.is_high() {
            state.sources |= IO_CHECK;
        }
        if self.system_error.is_high() {
            state.sources |= SYSTEM_ERROR;
        }
        // A disabled source is held cleared.
        if state.control & IO_CHECK_OFF != 0 {
            state.sources &= !IO_CHECK;
        }
        if state.control & SYSTEM_ERROR_OFF != 0 {
            state.sources &= !SYSTEM_ERROR;
        }
        let high = state.control & SPEAKER_DATA != 0 && self.output2.is_high();
        if high != state.speaker {
            state.speaker = high;
            if self.edges.len() >= EDGES_KEPT {
                self.edges.pop_front();
            }
            self.edges.push_back(SpeakerEdge { at: now, high });
        }
        self.gate2.set(self.state.control & TIMER_GATE != 0);
        self.nmi.set(self.nmi_level());
    }
}

impl PortIo for SystemControl {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if register != 0 || width != Width::Byte {
            return None;
        }
        self.update(cx.now);
        let mut value = self.state.control | self.state.sources;
        if (cx.now.ticks(PIT_HERTZ) / REFRESH_TICKS) & 1 != 0 {
            value |= REFRESH_TOGGLE;
        }
        if self.output2.is_high() {
            value |= TIMER_OUTPUT;
        }
        Some(u32::from(value))
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if register != 0 || width != Width::Byte {
            return None;
        }
        self.state.control = value as u8 & 0x0f;
        self.update(cx.now);
        Some(())
    }
}

impl Device for SystemControl {
    fn name(&self) -> &'static str {
        "speaker"
    }
    fn reset(&mut self) {
        self.state = State { now: self.state.now, ..State::default() };
        self.gate2.set(false);
        self.nmi.set(false);
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        self.update(cx.now);
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { gate2: _, output2: _, nmi: _, io_check: _, system_error: _, edges: _, state } = self;
        Saved::of(state)
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: State = state.decode()?;
        if state.control > 0x0f || state.sources & !(IO_CHECK | SYSTEM_ERROR) != 0 {
            return Err(RestoreError::OutOfRange("control"));
        }
        self.state = state;
        self.gate2.restore_level(self.state.control & TIMER_GATE != 0);
        self.nmi.restore_level(self.nmi_level());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    crate::device_conformance!(
        conforms,
        SystemControl::new(Line::detached(), Line::detached(), Line::detached(), &Attention::new())
    );

    fn rig() -> (Bench<SystemControl>, Line, Line, Line) {
        let (gate, output, nmi) = (Line::detached(), Line::detached(), Line::detached());
        let port = SystemControl::new(gate.share(), output.share(), nmi.share(), &Attention::new());
        (Bench::new(port), gate, output, nmi)
    }

    #[test]
    fn gate_output_and_speaker() {
        let (mut bench, gate, output, _) = rig();
        bench.write(0, 0xf3);
        assert!(gate.is_high());
        assert_eq!(bench.read(0) & 0xef, 0x03);
        output.set(true);
        bench.run(100);
        assert_eq!(bench.read(0) & 0x20, 0x20);
        output.set(false);
        bench.advance();
        let edges = bench.device.take_edges();
        assert_eq!(edges, [SpeakerEdge { at: Time(0), high: true }, SpeakerEdge { at: Time(100), high: false }]);
        output.set(true);
        bench.write(0, 0x01);
        assert!(!bench.device.speaker_level());
    }

    #[test]
    fn refresh_toggles_every_15_microseconds() {
        let (mut bench, ..) = rig();
        let mut changes = 0;
        let mut last = bench.read(0) & REFRESH_TOGGLE;
        for _ in 0..1000 {
            bench.run(1_000);
            let toggle = bench.read(0) & REFRESH_TOGGLE;
            changes += u32::from(toggle != last);
            last = toggle;
        }
        assert_eq!(changes, 66);
    }

    #[test]
    fn io_check_latches_an_nmi() {
        let (mut bench, _, _, nmi) = rig();
        let card = bench.device.io_check();
        card.set(true);
        bench.advance();
        card.set(false);
        bench.advance();
        assert!(nmi.is_high());
        assert_eq!(bench.read(0) & 0xc0, 0x40);
        bench.write(0, 0x08);
        assert!(!nmi.is_high());
        bench.write(0, 0x00);
        assert_eq!(bench.read(0) & 0xc0, 0x00);
    }
}
