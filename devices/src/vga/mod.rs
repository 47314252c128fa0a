//! A VGA with the Bochs display interface, as a PCI function (1234h:1111h).
//!
//! After IBM's "VGA and XGA Video Subsystem" (1992) and the public description of the Bochs VBE
//! interface. Video memory is the board's: the byte of plane `p` at plane address `a` lies at
//! `a * 4 + p`. Chain-4 addressing reaches byte `n` at `n`, so that it and the linear framebuffer
//! agree; the display does the same while chain-4 is on. (A VGA spreads those bytes over plane
//! addresses that are multiples of four: pixels written with chain-4 on and looked at with it off
//! are elsewhere than there.)
//!
//! Registers:
//!
//! | registers | ports | |
//! |---|---|---|
//! | 00h–2Fh | 3B0h–3DFh | VGA |
//! | 30h, 31h, 32h | 1CEh, 1CFh, 1D0h | Bochs interface: index, data, data |
//!
//! Memory windows: 0 is A0000h–BFFFFh, 1 the linear framebuffer (BAR 0), 2 the registers (BAR 2:
//! VGA ports 3C0h–3DFh at 400h, the Bochs registers at 500h).
//! Not emulated: the vertical retrace interrupt, display skew, EGA light pen, feature connector,
//! EDID, the border, mid-frame register changes (a frame shows the registers as they are when it is
//! drawn).

#![allow(clippy::precedence, reason = "shifts before masks is how register layouts are written")]

mod attribute;
mod crtc;
mod dac;
mod dispi;
mod graphics;
mod picture;
mod render;
mod sequencer;
#[cfg(test)]
mod tests;

pub use picture::{Frame, Rectangle, Viewer};
pub use render::{TextScreen, unicode};

use serde::{Deserialize, Serialize};

use crate::device::{Access, Bar, Device, Mmio, PciFunction, PortIo, RestoreError, Saved, Time, Width};
use crate::pci::{BarKind, ConfigSpace, ConfigState};
use attribute::Attribute;
use crtc::Crtc;
use dac::Dac;
use dispi::Dispi;
use graphics::{Graphics, spread};
use picture::{Picture, Written};
use render::{Look, Scratch};
use sequencer::Sequencer;

/// Number of the window at A0000h–BFFFFh.
pub const LEGACY_WINDOW: u8 = 0;
/// Number of the linear framebuffer's window (BAR 0).
pub const FRAMEBUFFER_WINDOW: u8 = 1;
/// Number of the register window (BAR 2).
pub const REGISTER_WINDOW: u8 = 2;
/// Bytes of video memory that suffice for every mode.
pub const VIDEO_BYTES: usize = 16 << 20;
/// Register number of the Bochs interface's index port.
pub const DISPI_INDEX: u16 = 0x30;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    miscellaneous: u8,
    feature: u8,
    enabled: u8,
    crtc: Crtc,
    sequencer: Sequencer,
    graphics: Graphics,
    attribute: Attribute,
    dac: Dac,
    dispi: Dispi,
}

/// The display adapter.
#[derive(Debug)]
pub struct Vga {
    config: ConfigSpace,
    state: State,
    // What follows serves the display and is no part of the state.
    written: Written,
    /// A register that may change the picture was written since it was last drawn.
    touched: bool,
    look: Look,
    picture: Picture,
    scratch: Scratch,
}

#[derive(Serialize, Deserialize)]
struct SavedState {
    config: ConfigState,
    state: State,
}

impl Vga {
    /// An adapter whose BAR 0 has the size of `video_bytes` (a power of two) and whose expansion
    /// ROM BAR, if there is a ROM, that of `rom_bytes` (a power of two).
    #[must_use]
    pub fn new(video_bytes: u32, rom_bytes: Option<u32>) -> Vga {
        let config = ConfigSpace::new(0x1234, 0x1111, 0x03_00_00, 2)
            .with_subsystem(0x1af4, 0x1100)
            .with_bar(0, BarKind::Memory { size: video_bytes, prefetchable: true })
            .with_bar(2, BarKind::Memory { size: 0x1000, prefetchable: false });
        let config = match rom_bytes {
            Some(size) => config.with_bar(6, BarKind::Rom { size }),
            None => config,
        };
        let mut vga = Vga {
            config,
            state: State::default(),
            written: Written::new(video_bytes as usize),
            touched: true,
            look: Look::default(),
            picture: Picture::default(),
            scratch: Scratch::default(),
        };
        vga.reset();
        vga
    }

    /// Whether the Bochs interface shows its own mode, so that the linear framebuffer is the
    /// picture.
    #[must_use]
    pub fn is_linear(&self) -> bool {
        self.state.dispi.enabled()
    }

    /// Offset in video memory of the 64 KiB that the processor reaches at A0000h without any work by
    /// the adapter, or `None` when it must see each access. It is there in chain-4 modes and in
    /// banks of the Bochs interface as long as nothing in the graphics controller changes what is
    /// written. Reads through it do not load the latches, which nobody uses in those modes.
    #[must_use]
    pub fn direct_window(&self) -> Option<u64> {
        let State { graphics, sequencer, dispi, miscellaneous, .. } = &self.state;
        let linear = if dispi.enabled() { !dispi.planar() } else { sequencer.chain_four() };
        let plain = graphics.passes_through() && sequencer.plane_mask() == 0x0f;
        let decoded = miscellaneous & 2 != 0 && graphics.window() == (0, 0x1_0000);
        (linear && plain && decoded).then_some(if dispi.enabled() { dispi.bank_offset() as u64 } else { 0 })
    }

    // Timing ----------------------------------------------------------------------------------

    fn dot_clock(&self) -> u64 {
        let clock = if self.state.miscellaneous & 0x0c == 0x04 { 28_322_000 } else { 25_175_000 };
        if self.state.sequencer.half_clock() { clock / 2 } else { clock }
    }
    /// Dots of a line and lines of a frame, as the CRTC is programmed.
    fn raster(&self) -> (u64, u64) {
        let dots = if self.state.sequencer.eight_dots() { 8 } else { 9 };
        let (chars, lines) = (self.state.crtc.horizontal_total(), self.state.crtc.vertical_total());
        (u64::from(chars) * dots, u64::from(lines))
    }
    /// Nanoseconds per frame, at least one.
    fn frame_time(&self) -> u64 {
        let (dots, lines) = self.raster();
        (dots * lines * 1_000_000_000 / self.dot_clock()).max(1)
    }
    /// Input status 1: display enable and vertical retrace from the place of the beam.
    fn beam_status(&self, now: Time) -> u8 {
        let (dots, lines) = self.raster();
        let crtc = &self.state.crtc;
        let beam = now.ticks(self.dot_clock()) % (dots * lines).max(1);
        let (line, dot) = (beam / dots.max(1), beam % dots.max(1));
        let shown = u64::from(crtc.columns()) * dots / u64::from(crtc.horizontal_total());
        let start = u64::from(crtc.retrace_start());
        let retrace = (start..start + u64::from(crtc.retrace_lines())).contains(&line);
        let blank = dot >= shown || line >= u64::from(crtc.lines());
        u8::from(blank || retrace) | u8::from(retrace) << 3
    }

    // Ports -----------------------------------------------------------------------------------

    /// Whether the CRTC answers at `port`: it moves between 3Bxh and 3Dxh.
    fn crtc_at(&self, port: u16) -> bool {
        let base = if self.state.miscellaneous & 1 != 0 { 0x3d0 } else { 0x3b0 };
        port & 0x3f0 == base
    }

    fn read_port(&mut self, now: Time, port: u16) -> Option<u8> {
        let state = &mut self.state;
        Some(match port {
            0x3c0 => state.attribute.read_index(),
            0x3c1 => state.attribute.read(),
            // Switch sense: a colour monitor.
            0x3c2 => 0x10,
            0x3c3 => state.enabled,
            0x3c4 => state.sequencer.index,
            0x3c5 => state.sequencer.read(),
            0x3c6 => state.dac.mask,
            0x3c7 => state.dac.state(),
            0x3c8 => state.dac.write_index(),
            0x3c9 => state.dac.read(),
            0x3ca => state.feature,
            0x3cc => state.miscellaneous,
            0x3ce => state.graphics.index,
            0x3cf => state.graphics.read(),
            0x3b4 | 0x3d4 if self.crtc_at(port) => self.state.crtc.index,
            0x3b5 | 0x3d5 if self.crtc_at(port) => match self.state.crtc.index {
                // Undocumented: the latch of the read plane, and the attribute flip-flop.
                0x22 => (self.state.graphics.latch >> (8 * self.state.graphics.read_plane())) as u8,
                0x24 => u8::from(self.state.attribute.expects_data()) << 7,
                _ => self.state.crtc.read(),
            },
            0x3ba | 0x3da if self.crtc_at(port) => {
                self.state.attribute.reset_flip_flop();
                self.beam_status(now)
            }
            _ => return None,
        })
    }

    fn write_port(&mut self, port: u16, value: u8) -> Option<()> {
        let wide = self.state.dispi.wide_dac();
        // All but the index registers.
        self.touched |= !matches!(port, 0x3c4 | 0x3c7 | 0x3c8 | 0x3ce | 0x3b4 | 0x3d4);
        let state = &mut self.state;
        match port {
            0x3c0 => state.attribute.write(value),
            0x3c2 => state.miscellaneous = value & !0x10,
            0x3c3 => state.enabled = value & 1,
            0x3c4 => state.sequencer.index = value & 0x07,
            0x3c5 => state.sequencer.write(value),
            0x3c6 => state.dac.mask = value,
            0x3c7 => state.dac.set_read_index(value),
            0x3c8 => state.dac.set_write_index(value),
            0x3c9 => state.dac.write(value, wide),
            0x3ce => state.graphics.index = value & 0x0f,
            0x3cf => state.graphics.write(value),
            0x3b4 | 0x3d4 if self.crtc_at(port) => self.state.crtc.index = value & 0x3f,
            0x3b5 | 0x3d5 if self.crtc_at(port) => self.state.crtc.write(value),
            0x3ba | 0x3da if self.crtc_at(port) => self.state.feature = value,
            // Read-only.
            0x3c1 | 0x3ca | 0x3cc => {}
            _ => return None,
        }
        Some(())
    }

    fn write_dispi(&mut self, cx: &mut Access<'_>, index: u16, value: u16) {
        self.touched = true;
        if self.state.dispi.write(index, value, cx.video) {
            self.written.note_range(0, cx.video.len());
            // The window at A0000h becomes a plain 64 KiB view of video memory.
            let (graphics, sequencer) = (&mut self.state.graphics, &mut self.state.sequencer);
            graphics.set(6, graphics.get(6) & !0x0c | 0x05);
            let chain = if self.state.dispi.planar() { 0x06 } else { 0x0e };
            sequencer.set(4, chain);
            sequencer.set(2, 0x0f);
        }
    }

    // Memory ----------------------------------------------------------------------------------

    /// Offset in the decoded window, or `None` when no memory answers at `offset` from A0000h.
    fn decode(&self, offset: u64) -> Option<usize> {
        let (start, size) = self.state.graphics.window();
        let inside = u32::try_from(offset).ok()?.checked_sub(start).filter(|at| *at < size)?;
        (self.state.miscellaneous & 2 != 0).then_some(inside as usize)
    }

    /// Place of the four planes in video memory, and which plane the address itself selects.
    fn place(&self, offset: usize) -> (usize, Option<u8>) {
        let state = &self.state;
        if state.dispi.enabled() {
            if state.dispi.planar() {
                return ((offset + state.dispi.bank_offset()) * 4, None);
            }
            let at = offset + state.dispi.bank_offset();
            return (at & !3, Some(at as u8 & 3));
        }
        if state.sequencer.chain_four() {
            let at = offset & 0x1_ffff;
            return (at & !3, Some(at as u8 & 3));
        }
        if state.graphics.chains_odd_even() {
            // The lowest address bit is replaced by the highest of a window of 128 KiB.
            let address = offset & 0xfffe | offset >> 16 & 1;
            return (address * 4, None);
        }
        ((offset & 0xffff) * 4, None)
    }

    fn read_byte(&mut self, video: &[u8], offset: u64) -> Option<u8> {
        let (place, selected) = self.place(self.decode(offset)?);
        let latch = match video.get(place..place + 4) {
            Some(&[a, b, c, d]) => [a, b, c, d],
            _ => [0xff; 4],
        };
        let graphics = &mut self.state.graphics;
        graphics.latch = u32::from_le_bytes(latch);
        if graphics.get(5) & 8 != 0 {
            return Some(graphics.compare());
        }
        let plane = match selected {
            Some(plane) => plane,
            None if self.state.dispi.enabled() || !graphics.odd_even() => graphics.read_plane(),
            None => graphics.read_plane() & 2 | offset as u8 & 1,
        };
        latch.get(usize::from(plane & 3)).copied()
    }

    fn write_byte(&mut self, video: &mut [u8], offset: u64, data: u8) -> Option<()> {
        let (place, selected) = self.place(self.decode(offset)?);
        let state = &self.state;
        let mut mask = state.sequencer.plane_mask();
        mask &= match selected {
            Some(plane) => 1 << plane,
            None if state.dispi.enabled() || !state.sequencer.odd_even() => 0x0f,
            None => 0b0101 << (offset & 1),
        };
        let new = state.graphics.compose(data);
        let cells = video.get_mut(place..place + 4)?;
        let keep = !spread(mask);
        for (lane, cell) in cells.iter_mut().enumerate() {
            let shift = 8 * lane as u32;
            *cell = *cell & (keep >> shift) as u8 | (new & !keep).wrapping_shr(shift) as u8;
        }
        self.written.note(place);
        self.written.shapes |= mask & 4 != 0;
        Some(())
    }
}

/// Splits an access into bytes; the answer is `None` when no byte was answered.
fn each_byte(width: Width, mut read: impl FnMut(u64) -> Option<u8>) -> Option<u64> {
    let (mut value, mut answered) = (0, false);
    for index in 0..u64::from(width.bytes()) {
        let byte = read(index);
        answered |= byte.is_some();
        value |= u64::from(byte.unwrap_or(0xff)) << (8 * index);
    }
    answered.then_some(value)
}

impl PortIo for Vga {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        match (register, width) {
            (0x30, Width::Word) => Some(u32::from(self.state.dispi.index)),
            (0x31 | 0x32, Width::Word) => self.state.dispi.read(self.state.dispi.index, cx.video.len()).map(u32::from),
            (0..=0x2f, _) => {
                let now = cx.now;
                each_byte(width, |index| match register + index as u16 {
                    register @ 0..=0x2f => self.read_port(now, 0x3b0 + register),
                    _ => None,
                })
                .map(|value| value as u32)
            }
            _ => None,
        }
    }

    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        match (register, width) {
            (0x30, Width::Word) => self.state.dispi.index = value as u16,
            (0x31 | 0x32, Width::Word) => self.write_dispi(cx, self.state.dispi.index, value as u16),
            (0..=0x2f, _) => {
                let mut taken = None;
                for index in 0..width.bytes().min(4) as u16 {
                    if register + index <= 0x2f {
                        taken = self.write_port(0x3b0 + register + index, (value >> (8 * index)) as u8).or(taken);
                    }
                }
                return taken;
            }
            _ => return None,
        }
        Some(())
    }
}

impl Mmio for Vga {
    fn read(&mut self, cx: &mut Access<'_>, window: u8, offset: u64, width: Width) -> Option<u64> {
        match window {
            LEGACY_WINDOW => each_byte(width, |index| self.read_byte(cx.video, offset.wrapping_add(index))),
            FRAMEBUFFER_WINDOW => {
                let at = usize::try_from(offset).ok()?;
                each_byte(width, |index| cx.video.get(at.checked_add(index as usize)?).copied())
            }
            REGISTER_WINDOW => match offset {
                0x400..=0x41f => {
                    let now = cx.now;
                    each_byte(width, |index| match offset + index {
                        at @ 0x400..=0x41f => self.read_port(now, 0x3c0 + (at - 0x400) as u16),
                        _ => None,
                    })
                }
                0x500..=0x515 if width == Width::Word && offset & 1 == 0 => {
                    self.state.dispi.read(((offset - 0x500) / 2) as u16, cx.video.len()).map(u64::from)
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn write(&mut self, cx: &mut Access<'_>, window: u8, offset: u64, width: Width, value: u64) -> Option<()> {
        let bytes = value.to_le_bytes();
        let bytes = bytes.get(..width.bytes() as usize)?;
        match window {
            LEGACY_WINDOW => {
                let mut taken = None;
                for (index, byte) in bytes.iter().enumerate() {
                    taken = self.write_byte(cx.video, offset.wrapping_add(index as u64), *byte).or(taken);
                }
                taken
            }
            FRAMEBUFFER_WINDOW => {
                let at = usize::try_from(offset).ok()?;
                cx.video.get_mut(at..at.checked_add(bytes.len())?)?.copy_from_slice(bytes);
                self.written.note_range(at, bytes.len());
                Some(())
            }
            REGISTER_WINDOW => match offset {
                0x400..=0x41f => {
                    for (port, byte) in (0x3c0 + (offset - 0x400) as u16..=0x3df).zip(bytes) {
                        self.write_port(port, *byte);
                    }
                    Some(())
                }
                0x500..=0x515 if width == Width::Word && offset & 1 == 0 => {
                    self.write_dispi(cx, ((offset - 0x500) / 2) as u16, value as u16);
                    Some(())
                }
                _ => None,
            },
            _ => None,
        }
    }
}

impl PciFunction for Vga {
    fn config_read(&mut self, offset: u8) -> u32 {
        self.config.read(offset)
    }
    fn config_write(&mut self, offset: u8, value: u32, mask: u32) {
        self.config.write(offset, value, mask);
    }
    /// BAR 0 is window 1, BAR 2 window 2; index 6 is the ROM, whose bytes the board has.
    fn bar(&self, index: u8) -> Option<Bar> {
        self.config.bar(index)
    }
}

impl Device for Vga {
    fn name(&self) -> &'static str {
        "vga"
    }
    fn reset(&mut self) {
        self.config.reset();
        self.state = State { enabled: 1, ..State::default() };
        self.touched = true;
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        Some(self)
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { config, state, written: _, touched: _, look: _, picture: _, scratch: _ } = self;
        Saved::of(&SavedState { config: config.save(), state: state.clone() })
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let SavedState { config, state } = state.decode()?;
        if !state.dac.is_valid() {
            return Err(RestoreError::OutOfRange("dac"));
        }
        if !state.dispi.is_valid() {
            return Err(RestoreError::OutOfRange("dispi"));
        }
        self.config.restore(&config)?;
        self.state = state;
        self.touched = true;
        Ok(())
    }
}
