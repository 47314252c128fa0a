//! The screen.

use crate::run::Machine;
pub use devices::vga::{TextScreen, unicode};

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` pixels, 00RRGGBBh.
    pub pixels: Vec<u32>,
}

impl Machine {
    /// The text on the screen, or `None` in a graphics mode.
    #[must_use]
    pub fn text_screen(&self) -> Option<TextScreen> {
        let video = self.memory.block(self.memory.video());
        self.board.chips.vga.text_screen(video)
    }
    /// The text on the screen as lines without trailing blanks; empty in a graphics mode.
    #[must_use]
    pub fn screen_text(&self) -> String {
        self.text_screen().map(|screen| screen.to_string()).unwrap_or_default()
    }
    /// The picture that the monitor shows.
    pub fn picture(&mut self) -> Picture {
        let now = self.now();
        let video = self.memory.block(self.memory.video());
        let frame = self.board.chips.vga.render(video, now);
        Picture { width: frame.width, height: frame.height, pixels: frame.pixels.to_vec() }
    }
}
