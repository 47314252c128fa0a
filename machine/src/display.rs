//! The screen: what a window, a server of remote screens or a recorder needs.
//!
//! # Pictures
//!
//! A frontend keeps a [`Viewer`] and asks for a [`Frame`] as often as it wants to draw, for
//! instance 60 times a second, between two calls of [`Machine::run_for`]:
//!
//! ```no_run
//! # use beigebox::Machine;
//! # use beigebox::display::Viewer;
//! # fn resize(width: usize, height: usize, shown: (usize, usize)) {}
//! # fn blit(x: usize, y: usize, pixels: &[u32]) {}
//! # fn redraw(machine: &mut Machine, viewer: &mut Viewer) {
//! let frame = machine.frame(viewer);
//! if frame.resized {
//!     resize(frame.width, frame.height, frame.display_size());
//! }
//! for part in frame.damage() {
//!     for y in part.y..part.y + part.height {
//!         blit(part.x, y, &frame.row(y)[part.x..part.x + part.width]);
//!     }
//! }
//! # }
//! ```
//!
//! * **Any number of viewers** may look at one machine, each at its own pace. Nobody misses a
//!   change, and looking changes nothing in the guest: neither its state hash nor its timing.
//! * **An idle screen costs nothing**: the machine knows what was written and draws only that. A
//!   frontend that finds [`Frame::changed`] false has nothing to do.
//! * **A pixel** is `00RRGGBBh`. A frame has one row per scan line of the monitor and one pixel per
//!   dot, so 320 by 200 comes as 640 by 400. Sizes go from 640 by 480 (black, before the firmware
//!   has set a mode) to what the guest asks for: text is 720 by 400, and a frontend must survive
//!   anything from 8 by 1 to 4608 by 1024 and 2560 by 1600, and a change in every frame.
//! * **Proportions**: [`Frame::pixel_aspect`] and [`Frame::display_size`]. A frontend that likes
//!   its pixels sharp scales rows and columns by whole numbers and ignores them.
//! * A **frame borrows the machine**. Who draws in another thread copies the damage.
//!
//! # Text
//!
//! In text modes [`Machine::text_screen`] has the characters, colours and cursor, for terminals and
//! for whoever looks for words. It is made afresh by each call, from about 8 KiB of video memory;
//! two of them can be compared.

use crate::run::Machine;
pub use devices::vga::{Frame, Rectangle, TextScreen, Viewer, unicode};

/// Bytes in a page of video memory, by which the processor's writes to it are noted.
const PAGE: usize = cpu::memory::PAGE as usize;

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
    /// What the monitor shows now, and what of it `viewer` has not seen yet. See the
    /// [module](self).
    pub fn frame(&mut self, viewer: &mut Viewer) -> Frame<'_> {
        let now = self.now();
        let vga = &mut self.board.chips.vga;
        self.memory.take_video_dirty(|page| vga.note_written(page * PAGE, PAGE));
        vga.frame(self.memory.block(self.memory.video()), now, viewer)
    }
    /// A copy of what the monitor shows now.
    pub fn picture(&mut self) -> Picture {
        let frame = self.frame(&mut Viewer::new());
        Picture { width: frame.width, height: frame.height, pixels: frame.pixels.to_vec() }
    }
}
