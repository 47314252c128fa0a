//! The machine's screen in a window.
//!
//! minifb opens the window and shows the picture. What it does not do is done, where the window is
//! one of X11, over a connection of our own ([`x11`]): keys by their place on the keyboard, the
//! mouse taken by the window, full screen. Elsewhere keys are those of minifb, by what is printed
//! on them, and the mouse cannot be taken.

mod keys;
#[cfg(all(unix, not(target_os = "macos")))]
mod x11;
#[cfg(not(all(unix, not(target_os = "macos"))))]
#[path = "nothing.rs"]
mod x11;

use keys::Keys;
use minifb::{MouseButton, MouseMode, Scale, ScaleMode, WindowOptions};
use screen::hotkeys::{HotKeys, Local};
use screen::scale::{self, Area, Scaler};
use screen::{Command, Event, Frame, FrontEnd, Held, KeyCode, Mouse, Screen, Status, Viewer, button, overlay};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};
use x11::{Happening, X11};

/// A picture that did not change is shown again after so long where nobody tells that a window that was covered has lost
/// it.
const AGAIN: Duration = Duration::from_millis(500);
/// Between two changes of the title.
const TITLE: Duration = Duration::from_millis(250);
/// How long the status line is shown after the window has filled the screen.
const GREETING: Duration = Duration::from_secs(4);

/// A window. It belongs to the thread that opened it, which on some systems must be the first.
pub struct Window {
    window: minifb::Window,
    x11: Option<X11>,
    keys: Keys,
    hot_keys: HotKeys,
    held: Held,

    viewer: Viewer,
    scaler: Scaler,
    buffer: Vec<u32>,
    /// The window's size that the buffer was made for.
    size: (usize, usize),
    /// Where in the window the screen is.
    area: Area,
    /// The size that the window was last given by itself; `None` once a person chose another.
    own_size: Option<(usize, usize)>,
    shown: Instant,
    /// The X server has lost what was shown.
    uncovered: bool,
    sharp: bool,
    full: bool,
    /// When the window last filled the screen.
    filled: Instant,
    /// The status line is to be shown over the picture.
    told: bool,
    /// The line over the picture.
    line: Option<String>,

    title: String,
    titled: Instant,
    mouse: Mouse,
    grabbed: bool,
    hidden: bool,
    /// Position in the window and buttons that were last reported.
    pointer: Option<(u16, u16, u8)>,
    grabbed_buttons: u8,
    /// The click that took the mouse is not for the guest.
    click_took: bool,
}

impl Window {
    /// Opens a window.
    ///
    /// # Errors
    /// There is no display, or it refuses.
    pub fn open(title: &str) -> io::Result<Window> {
        let options =
            WindowOptions { resize: true, scale: Scale::X1, scale_mode: ScaleMode::UpperLeft, ..Default::default() };
        let size = (640, 480);
        let mut window = minifb::Window::new(title, size.0, size.1, options).map_err(|error| {
            let display = std::env::var("DISPLAY").unwrap_or_default();
            io::Error::other(format!("no window can be opened on the display `{display}`: {error}"))
        })?;
        // It would sleep; whoever owns the run loop does that.
        window.set_target_fps(0);
        let x11 = X11::beside(&window);
        let mut keys = Keys::new();
        if x11.is_none() {
            keys.listen(&mut window);
        }
        Ok(Window {
            window,
            x11,
            keys,
            hot_keys: HotKeys::new(),
            held: Held::default(),
            viewer: Viewer::new(),
            scaler: Scaler::new(),
            buffer: Vec::new(),
            size: (0, 0),
            area: Area::default(),
            own_size: Some(size),
            shown: Instant::now(),
            uncovered: false,
            sharp: false,
            full: false,
            filled: Instant::now(),
            told: false,
            line: None,
            title: title.to_owned(),
            titled: Instant::now(),
            mouse: Mouse::Ignored,
            grabbed: false,
            hidden: false,
            pointer: None,
            grabbed_buttons: 0,
            click_took: false,
        })
    }

    fn key(&mut self, key: KeyCode, down: bool, events: &mut Vec<Event>) {
        self.held.note(key, down);
        match self.hot_keys.key(key, down, events) {
            None => {}
            Some(Local::Grab) => self.grab(!self.grabbed, events),
            Some(Local::FullScreen) => {
                if let Some(x11) = &mut self.x11 {
                    self.full = !self.full;
                    self.filled = Instant::now();
                    x11.full_screen(self.full);
                }
            }
            Some(Local::Sharp) => {
                self.sharp = !self.sharp;
                self.viewer.forget();
            }
            Some(Local::StatusLine) => self.told = !self.told,
        }
    }

    fn grab(&mut self, take: bool, events: &mut Vec<Event>) {
        let Some(x11) = &mut self.x11 else { return };
        if take {
            self.grabbed = x11.grab();
        } else {
            x11.release();
            self.grabbed = false;
        }
        if self.grabbed_buttons != 0 {
            self.grabbed_buttons = 0;
            events.push(Event::Motion { dx: 0, dy: 0, wheel: 0, buttons: 0 });
        }
        self.pointer = None;
        self.titled = Instant::now() - TITLE;
    }

    fn release_all(&mut self, events: &mut Vec<Event>) {
        self.hot_keys.release();
        self.held.release(events);
        self.keys.release(events);
        if self.grabbed {
            self.grab(false, events);
        }
    }

    /// What X11 tells.
    fn happenings(&mut self, events: &mut Vec<Event>) {
        let Some(x11) = &mut self.x11 else { return };
        for happening in x11.poll() {
            match happening {
                Happening::Key(key, down) => self.key(key, down, events),
                Happening::Uncovered => (self.uncovered, self.shown) = (true, Instant::now() - AGAIN),
                Happening::Left => self.release_all(events),
                Happening::Motion(dx, dy) if self.grabbed => {
                    events.push(Event::Motion { dx, dy, wheel: 0, buttons: self.grabbed_buttons });
                }
                Happening::Button(number, down) if self.grabbed => {
                    let bit = match number {
                        1 => button::LEFT,
                        2 => button::MIDDLE,
                        3 => button::RIGHT,
                        _ => 0,
                    };
                    self.grabbed_buttons = if down { self.grabbed_buttons | bit } else { self.grabbed_buttons & !bit };
                    let wheel = match number {
                        4 if down => -1,
                        5 if down => 1,
                        _ => 0,
                    };
                    events.push(Event::Motion { dx: 0, dy: 0, wheel, buttons: self.grabbed_buttons });
                }
                Happening::Motion(..) | Happening::Button(..) => {}
            }
        }
    }

    /// The pointer while the mouse is not taken.
    fn point(&mut self, events: &mut Vec<Event>) {
        let mut buttons = 0;
        let all = [
            (MouseButton::Left, button::LEFT),
            (MouseButton::Right, button::RIGHT),
            (MouseButton::Middle, button::MIDDLE),
        ];
        for (name, bit) in all {
            if self.window.get_mouse_down(name) {
                buttons |= bit;
            }
        }
        if self.click_took {
            // Only now: while a button is held, the X server has lent the pointer to minifb.
            if buttons == 0 {
                self.click_took = false;
                self.grab(true, events);
            }
            return;
        }
        let held = self.pointer.is_some_and(|(_, _, buttons)| buttons != 0);
        let mode = if held { MouseMode::Clamp } else { MouseMode::Discard };
        let Some((mut x, mut y)) = self.window.get_unscaled_mouse_pos(mode) else { return };
        // minifb asks for the position first and hears of buttons later: a click is where the pointer is now.
        if self.pointer.is_none_or(|(_, _, last)| last != buttons)
            && let Some(place) = self.x11.as_ref().and_then(X11::pointer)
        {
            (x, y) = place;
        }
        let wheel = match self.window.get_scroll_wheel() {
            Some((_, away)) if away > 0.0 => -1,
            Some((_, away)) if away < 0.0 => 1,
            _ => 0,
        };
        // One's pointer and the guest's would drift apart: a click takes the mouse.
        if self.mouse == Mouse::Relative && self.x11.is_some() && buttons != 0 && !held {
            self.click_took = true;
            return;
        }
        let (x, y) = self.area.position(x, y);
        if self.pointer != Some((x, y, buttons)) || wheel != 0 {
            self.pointer = Some((x, y, buttons));
            events.push(Event::Pointer { x, y, wheel, buttons });
        }
    }

    /// The line over the picture: when it is asked for; and in full screen, where there is no title, for a while and with
    /// what must be said.
    fn overlay(&self, status: &Status) -> Option<String> {
        let greets = self.full && self.filled.elapsed() < GREETING;
        if !(self.told || greets || self.full && status.message.is_some()) {
            return None;
        }
        let mut line = status.line();
        if self.grabbed {
            line.push_str(" — Ctrl-Alt-G releases the mouse");
        }
        if greets {
            line.push_str(" — Ctrl-Alt-F leaves full screen, Ctrl-Alt-T keeps this line");
        }
        Some(line)
    }

    /// The window follows the picture's size as long as nobody has chosen another one.
    fn follow(&mut self, natural: (usize, usize)) {
        let Some(x11) = &mut self.x11 else { return };
        if self.full || self.own_size.is_none() {
            return;
        }
        let (wide, high) = x11.screen_size();
        // As large as it can be by a whole factor and leave a third of the screen.
        let most = (wide * 2 / 3 / natural.0.max(1)).min(high * 2 / 3 / natural.1.max(1));
        let factor = most.clamp(1, 3);
        let size = (natural.0 * factor, natural.1 * factor);
        if self.own_size != Some(size) {
            self.own_size = Some(size);
            x11.resize(size);
        }
    }
}

/// The rows from the first to the last that changed.
fn changed_rows(frame: &Frame<'_>) -> Range<usize> {
    let first = frame.damage().map(|part| part.y).min().unwrap_or(0);
    let end = frame.damage().map(|part| part.y + part.height).max().unwrap_or(0);
    first..end
}

impl FrontEnd for Window {
    fn show(&mut self, screen: &mut dyn Screen, status: &Status) -> io::Result<()> {
        if self.titled.elapsed() >= TITLE {
            self.titled = Instant::now();
            let mut title = status.line();
            if self.grabbed {
                title.push_str(" — Ctrl-Alt-G releases the mouse");
            }
            if title != self.title {
                self.window.set_title(&title);
                self.title = title;
            }
        }
        self.mouse = status.mouse;
        // A guest that takes positions draws the pointer itself.
        let hides = self.mouse == Mouse::Absolute;
        if hides != self.hidden {
            self.hidden = hides;
            self.window.set_cursor_visibility(!hides);
        }
        let size = self.window.get_size();
        if size.0 == 0 || size.1 == 0 {
            return Ok(());
        }
        if size != self.size {
            if self.own_size != Some(size) && self.size == self.own_size.unwrap_or_default() && !self.full {
                self.own_size = None;
            }
            self.size = size;
            self.viewer.forget();
            self.buffer.clear();
            self.buffer.resize(size.0 * size.1, 0);
        }
        let line = self.overlay(status);
        let lined = self.line != line;
        let frame = screen.frame(&mut self.viewer);
        let natural = frame.display_size();
        // Rows of the window that are to be shown.
        let mut shown = 0..size.1;
        if frame.changed() || lined {
            let area = scale::fit((frame.width, frame.height), natural, size, self.sharp);
            let all = lined || line.is_some() || frame.resized || self.area != area;
            let rows = if all { 0..frame.height } else { changed_rows(&frame) };
            self.area = area;
            if !all && !self.uncovered {
                shown = area.rows(frame.height, &rows);
            }
            self.scaler.draw_rows((frame.width, frame.height), frame.pixels, rows, area, size, &mut self.buffer);
            if let Some(text) = &line {
                overlay::draw(text, bios::FONT, size, &mut self.buffer);
            }
            self.line = line;
        } else if self.x11.is_some() && !self.uncovered || self.shown.elapsed() < AGAIN {
            return Ok(());
        }
        self.uncovered = false;
        let resized = frame.resized;
        self.shown = Instant::now();
        if !self.x11.as_mut().is_some_and(|x11| x11.put(&self.buffer, size.0, shown)) {
            self.window
                .update_with_buffer(&self.buffer, size.0, size.1)
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
        if resized {
            self.follow(natural);
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.window.update();
        if !self.window.is_open() {
            events.push(Event::Command(Command::Quit));
            return Ok(());
        }
        if self.x11.is_some() {
            self.happenings(events);
        } else {
            for (key, down) in self.keys.take() {
                self.key(key, down, events);
            }
            if !self.window.is_active() {
                self.release_all(events);
            }
        }
        if !self.grabbed {
            self.point(events);
        }
        Ok(())
    }

    #[cfg(unix)]
    fn line(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.x11.as_ref().map(X11::line)
    }
}
