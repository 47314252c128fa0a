//! The Bochs display interface: resolutions beyond the VGA, version B0C5h.

use serde::{Deserialize, Serialize};

pub(super) const ENABLED: u16 = 0x01;
const GET_CAPABILITIES: u16 = 0x02;
const WIDE_DAC: u16 = 0x20;
const KEEP_MEMORY: u16 = 0x80;

pub(super) const MAX_WIDTH: u16 = 2560;
pub(super) const MAX_HEIGHT: u16 = 1600;

/// The interface's registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dispi {
    pub index: u16,
    id: u16,
    width: u16,
    height: u16,
    depth: u16,
    enable: u16,
    bank: u16,
    virtual_width: u16,
    virtual_height: u16,
    x: u16,
    y: u16,
}

impl Default for Dispi {
    fn default() -> Dispi {
        Dispi {
            index: 0,
            id: 0xb0c5,
            width: 0,
            height: 0,
            depth: 8,
            enable: 0,
            bank: 0,
            virtual_width: 0,
            virtual_height: 0,
            x: 0,
            y: 0,
        }
    }
}

/// Where the picture lies in video memory while the interface is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub width: usize,
    pub height: usize,
    pub depth: u16,
    /// Byte (4 bits per pixel: plane address) of the first pixel, and of one line to the next.
    pub start: usize,
    pub pitch: usize,
}

impl Dispi {
    pub fn enabled(&self) -> bool {
        self.enable & ENABLED != 0
    }
    pub fn wide_dac(&self) -> bool {
        self.enable & WIDE_DAC != 0
    }
    pub fn planar(&self) -> bool {
        self.depth == 4
    }
    /// Start in video memory of the 64 KiB window at A0000h.
    pub fn bank_offset(&self) -> usize {
        usize::from(self.bank) << 16
    }
    pub fn is_valid(&self) -> bool {
        self.width <= MAX_WIDTH
            && self.height <= MAX_HEIGHT
            && matches!(self.depth, 4 | 8 | 15 | 16 | 24 | 32)
            && (!self.enabled() || (self.width >= 8 && self.height >= 1 && self.virtual_width >= self.width))
    }

    fn line_bytes(&self, width: u16) -> usize {
        match self.depth {
            // Per plane.
            4 => usize::from(width) / 8,
            depth => usize::from(width) * usize::from(depth.div_ceil(8)),
        }
    }
    /// Bytes of video memory that one line takes.
    fn line_footprint(&self, width: u16) -> usize {
        self.line_bytes(width) * if self.planar() { 4 } else { 1 }
    }

    pub fn layout(&self) -> Layout {
        let pitch = self.line_bytes(self.virtual_width);
        let start = usize::from(self.y) * pitch + self.line_bytes(self.x);
        Layout { width: self.width.into(), height: self.height.into(), depth: self.depth, start, pitch }
    }

    pub fn read(&self, index: u16, video_bytes: usize) -> Option<u16> {
        let capabilities = self.enable & GET_CAPABILITIES != 0;
        Some(match index {
            0 => self.id,
            1 if capabilities => MAX_WIDTH,
            2 if capabilities => MAX_HEIGHT,
            3 if capabilities => 32,
            1 => self.width,
            2 => self.height,
            3 => self.depth,
            4 => self.enable,
            5 => self.bank,
            6 => self.virtual_width,
            7 => self.virtual_height,
            8 => self.x,
            9 => self.y,
            0x0a => (video_bytes >> 16).min(0xffff) as u16,
            _ => return None,
        })
    }

    /// Writes register `index`. Returns whether the interface was just enabled.
    pub fn write(&mut self, index: u16, value: u16, video: &mut [u8]) -> bool {
        match index {
            0 if (0xb0c0..=0xb0c5).contains(&value) => self.id = value,
            // The mode is fixed while it is shown.
            1 if !self.enabled() => self.width = value.min(MAX_WIDTH) & !7,
            2 if !self.enabled() => self.height = value.min(MAX_HEIGHT),
            3 if !self.enabled() => {
                self.depth = match value {
                    0 => 8,
                    4 | 8 | 15 | 16 | 24 | 32 => value,
                    _ => self.depth,
                }
            }
            4 => return self.switch(value, video),
            5 => self.bank = value.min((video.len() >> 16).saturating_sub(1).min(0xffff) as u16),
            6 if self.enabled() => self.set_virtual_width(value, video.len()),
            8 if self.enabled() => {
                self.x = value.min(self.virtual_width.saturating_sub(self.width));
            }
            9 if self.enabled() => {
                self.y = value.min(self.virtual_height.saturating_sub(self.height));
            }
            _ => {}
        }
        false
    }

    fn set_virtual_width(&mut self, value: u16, video_bytes: usize) {
        let width = value.max(self.width) & !7;
        let lines = video_bytes.checked_div(self.line_footprint(width)).unwrap_or(0);
        if lines < usize::from(self.height) {
            return;
        }
        self.virtual_width = width;
        self.virtual_height = lines.min(0xffff) as u16;
        self.x = self.x.min(width - self.width);
        self.y = self.y.min(self.virtual_height - self.height);
    }

    fn switch(&mut self, value: u16, video: &mut [u8]) -> bool {
        let was_enabled = self.enabled();
        let fits = self.width >= 8
            && self.height >= 1
            && self.line_footprint(self.width) * usize::from(self.height) <= video.len();
        let wanted = value & ENABLED != 0;
        self.enable = if wanted && !was_enabled && !fits { value & !ENABLED } else { value };
        let rises = self.enabled() && !was_enabled;
        if rises {
            (self.x, self.y, self.bank) = (0, 0, 0);
            self.virtual_width = self.width;
            self.set_virtual_width(self.width, video.len());
            if value & KEEP_MEMORY == 0 {
                let bytes = self.line_footprint(self.width) * usize::from(self.height);
                video.get_mut(..bytes).unwrap_or_default().fill(0);
            }
        }
        if !self.enabled() {
            self.bank = 0;
        }
        rises
    }
}
