//! What every front end is made of.
//!
//! A front end is a place where the machine's screen is shown and a person acts: a window, a
//! terminal, the clients of a server. It implements [`FrontEnd`] and knows nothing of the machine:
//! it is shown a [`Screen`] and reports [`Event`]s. Whoever owns the run loop applies them, with
//! [`Hands`] for what needs memory between two events.
//!
//! [`keysyms`] and [`evdev`] turn what hosts call keys into keys of a PC, [`hotkeys`] finds the
//! chords meant for the emulator, [`scale`] fits a picture into a window, [`overlay`] puts a line of text over it.

pub mod evdev;
pub mod hands;
pub mod hotkeys;
pub mod keysyms;
pub mod overlay;
pub mod scale;

pub use beigebox::KeyCode;
use beigebox::Machine;
pub use beigebox::display::{Frame, Picture, Rectangle, TextScreen, Viewer, unicode};
pub use hands::Hands;
use std::io;

/// Mouse buttons, as bits of a mask of those held.
pub mod button {
    /// Left.
    pub const LEFT: u8 = 1;
    /// Right.
    pub const RIGHT: u8 = 2;
    /// Middle.
    pub const MIDDLE: u8 = 4;
}

/// What a front end is shown. [`Machine`] is one.
pub trait Screen {
    /// What the monitor shows, and what of it is new to `viewer`.
    fn frame(&mut self, viewer: &mut Viewer) -> Frame<'_>;
    /// The text, in a text mode.
    fn text(&self) -> Option<TextScreen>;
}

impl Screen for Machine {
    fn frame(&mut self, viewer: &mut Viewer) -> Frame<'_> {
        Machine::frame(self, viewer)
    }
    fn text(&self) -> Option<TextScreen> {
        self.text_screen()
    }
}

/// A place where the screen is shown and a person acts.
///
/// The owner of the run loop calls [`show`](FrontEnd::show) about sixty times a second and
/// [`poll`](FrontEnd::poll) between any two slices of the run. Neither may block.
pub trait FrontEnd {
    /// Shows what the machine shows.
    ///
    /// # Errors
    /// Only when the front end cannot go on: then the run ends.
    fn show(&mut self, screen: &mut dyn Screen, status: &Status) -> io::Result<()>;
    /// What was done since the last call, in order, put behind what is in `events` already.
    ///
    /// # Errors
    /// As for [`show`](FrontEnd::show).
    fn poll(&mut self, events: &mut Vec<Event>) -> io::Result<()>;
    /// What becomes readable when [`poll`](FrontEnd::poll) has most kinds of events to tell, so that the owner of the run
    /// loop may wait for it while the guest is idle. It must ask all the same every few dozen milliseconds.
    #[cfg(unix)]
    fn line(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

/// What the guest does with the mouse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mouse {
    /// Nothing.
    #[default]
    Ignored,
    /// A driver takes movements.
    Relative,
    /// A driver takes positions.
    Absolute,
}

/// What is told beside the screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// What is running, in a few words.
    pub name: String,
    /// Guest time per real time, in percent.
    pub speed: u32,
    /// Instructions per second, in millions.
    pub mips: u32,
    /// Drives by name, and whether they were busy a moment ago.
    pub drives: Vec<(String, bool)>,
    /// What the guest does with the mouse.
    pub mouse: Mouse,
    /// A line for the person, for a few seconds.
    pub message: Option<String>,
}

impl Status {
    /// One line with everything, for a title bar.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("{} — {} %, {} MIPS", self.name, self.speed, self.mips);
        for (name, busy) in &self.drives {
            line.push_str(if *busy { "  ●" } else { "  ○" });
            line.push_str(name);
        }
        if let Some(message) = &self.message {
            line.push_str(" — ");
            line.push_str(message);
        }
        line
    }
}

/// What somebody did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key goes down or up.
    Key(KeyCode, bool),
    /// Keys are struck together, at the speed of a typist.
    Chord(Vec<KeyCode>),
    /// The pointer stands at (`x`, `y`) of the screen, 0 and FFFFh being its edges.
    Pointer {
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
        /// Steps of the wheel towards the person.
        wheel: i8,
        /// Buttons held, see [`button`].
        buttons: u8,
    },
    /// The mouse moves by so many counts, right and down, because it is grabbed.
    Motion {
        /// To the right.
        dx: i32,
        /// Down.
        dy: i32,
        /// Steps of the wheel towards the person.
        wheel: i8,
        /// Buttons held, see [`button`].
        buttons: u8,
    },
    /// Something for the emulator itself.
    Command(Command),
}

/// What a person asks of the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ends the run.
    Quit,
    /// Presses the reset button.
    Reset,
    /// Types Ctrl-Alt-Del.
    CtrlAltDelete,
    /// Writes a picture of the screen to a file.
    Screenshot,
    /// Puts the next floppy of the list into drive A.
    NextFloppy,
    /// Puts the next disc of the list into the CD-ROM drive.
    NextDisc,
}

/// The keys that somebody holds, so that they can be let go when he leaves.
#[derive(Clone, Debug, Default)]
pub struct Held(Vec<KeyCode>);

impl Held {
    /// Notes that a key went down or up.
    pub fn note(&mut self, key: KeyCode, down: bool) {
        self.0.retain(|held| *held != key);
        if down {
            self.0.push(key);
        }
    }
    /// Whether the key is down.
    #[must_use]
    pub fn has(&self, key: KeyCode) -> bool {
        self.0.contains(&key)
    }
    /// Lets everything go.
    pub fn release(&mut self, events: &mut Vec<Event>) {
        events.extend(self.0.drain(..).rev().map(|key| Event::Key(key, false)));
    }
}
