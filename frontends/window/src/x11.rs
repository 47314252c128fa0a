//! What minifb leaves out, over a second connection to the X server.
//!
//! X lets several clients listen to the same window's keys. So this one hears hardware key codes,
//! which say where a key is and not what is printed on it, while minifb's own handling of keys is
//! not used. A key that has no place on a PC's keyboard is typed by the character that it gives.
//! And it draws the rows that changed, where minifb draws all of them.

use screen::keysyms::Typist;
use screen::{Event, KeyCode, evdev};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use x11rb::connection::{Connection, RequestConnection as _};
use x11rb::errors::ReplyError;
use x11rb::protocol::Event as XEvent;
use x11rb::protocol::xkb::{self, ConnectionExt as _};
use x11rb::protocol::xproto::{
    Atom, ChangeWindowAttributesAux, ClientMessageEvent, ConfigureWindowAux, ConnectionExt as _, CreateGCAux,
    EventMask, Gcontext, GrabMode, GrabStatus, ImageFormat, ImageOrder, KeyButMask, KeyPressEvent, NotifyMode,
    PropMode, Window,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// What a window hears.
pub(crate) enum Happening {
    /// A key goes down or up.
    Key(KeyCode, bool),
    /// A button of the taken mouse, as X numbers them, goes down or up.
    Button(u8, bool),
    /// The taken mouse moved.
    Motion(i32, i32),
    /// Some of the window must be shown again.
    Uncovered,
    /// The keyboard belongs to somebody else now.
    Left,
}

/// For drawing in the window.
struct Canvas {
    context: Gcontext,
    depth: u8,
    bytes: Vec<u8>,
}

/// The connection.
pub(crate) struct X11 {
    connection: RustConnection,
    root: Window,
    window: Window,
    screen: (usize, usize),
    /// Keysyms of all key codes from `first_code` on, so many for each.
    keysyms: Vec<u32>,
    first_code: u8,
    per_code: usize,
    /// Whether key codes are those of Linux plus eight.
    is_evdev: bool,
    typist: Typist,
    blank: u32,
    /// What pictures are drawn with; `None` where pixels are not what they are in a picture of ours.
    canvas: Option<Canvas>,
    grabbed: bool,
    size: (u16, u16),
    /// Where the taken pointer was last.
    last: (i16, i16),
    /// Place and size before the window filled the screen without a window manager's help.
    before: (i16, i16, u16, u16),
}

/// The offset between X's key codes and Linux's.
const OFFSET: u8 = 8;
const KEYSYM_UP: u32 = 0xff52;
const CODE_UP: u8 = 103 + OFFSET;

/// Bytes of a PutImage request before its pixels, at most.
const PUT_IMAGE: usize = 64;

/// A canvas where a pixel is a word of 00RRGGBBh, the low byte first.
fn canvas(connection: &RustConnection, window: Window) -> Result<Option<Canvas>, Box<dyn std::error::Error>> {
    let depth = connection.get_geometry(window)?.reply()?.depth;
    let visual = connection.get_window_attributes(window)?.reply()?.visual;
    let setup = connection.setup();
    let is_32_bit = setup.pixmap_formats.iter().any(|format| format.depth == depth && format.bits_per_pixel == 32);
    let mut visuals = setup.roots.iter().flat_map(|screen| &screen.allowed_depths).flat_map(|depth| &depth.visuals);
    let is_ours = visuals.any(|it| it.visual_id == visual && (it.red_mask, it.blue_mask) == (0xff_0000, 0xff));
    if !is_32_bit || !is_ours || setup.image_byte_order != ImageOrder::LSB_FIRST {
        return Ok(None);
    }
    let context = connection.generate_id()?;
    connection.create_gc(context, window, &CreateGCAux::new().graphics_exposures(0))?.check()?;
    Ok(Some(Canvas { context, depth, bytes: Vec::new() }))
}

impl X11 {
    /// A connection for a window of minifb's, if it is a window of X11.
    pub(crate) fn beside(window: &minifb::Window) -> Option<X11> {
        let window = u32::try_from(window.get_window_handle() as usize).ok()?;
        X11::connect(window).ok().flatten()
    }

    fn connect(window: Window) -> Result<Option<X11>, Box<dyn std::error::Error>> {
        let (connection, number) = x11rb::connect(None)?;
        let Some(screen) = connection.setup().roots.get(number) else { return Ok(None) };
        let (root, size) = (screen.root, (screen.width_in_pixels.into(), screen.height_in_pixels.into()));
        let events = EventMask::KEY_PRESS
            | EventMask::KEY_RELEASE
            | EventMask::EXPOSURE
            | EventMask::FOCUS_CHANGE
            | EventMask::STRUCTURE_NOTIFY;
        connection.change_window_attributes(window, &ChangeWindowAttributesAux::new().event_mask(events))?.check()?;
        // A held key then repeats without being let go in between.
        connection.xkb_use_extension(1, 0)?.reply()?;
        let repeat = xkb::PerClientFlag::DETECTABLE_AUTO_REPEAT;
        let none = xkb::BoolCtrl::from(0u32);
        let keyboard = u16::from(xkb::ID::USE_CORE_KBD);
        connection.xkb_per_client_flags(keyboard, repeat, repeat, none, none, none)?.reply()?;

        let pixmap = connection.generate_id()?;
        connection.create_pixmap(1, pixmap, window, 1, 1)?;
        let context = connection.generate_id()?;
        connection.create_gc(context, pixmap, &CreateGCAux::new().foreground(0))?;
        let dot = x11rb::protocol::xproto::Rectangle { x: 0, y: 0, width: 1, height: 1 };
        connection.poly_fill_rectangle(pixmap, context, &[dot])?;
        let blank = connection.generate_id()?;
        connection.create_cursor(blank, pixmap, pixmap, 0, 0, 0, 0, 0, 0, 0, 0)?.check()?;

        let canvas = canvas(&connection, window)?;
        let mut x11 = X11 {
            connection,
            root,
            window,
            screen: size,
            keysyms: Vec::new(),
            first_code: 0,
            per_code: 1,
            is_evdev: false,
            typist: Typist::new(),
            blank,
            canvas,
            grabbed: false,
            size: (640, 480),
            last: (0, 0),
            before: (0, 0, 640, 480),
        };
        x11.learn_keys()?;
        Ok(Some(x11))
    }

    fn learn_keys(&mut self) -> Result<(), ReplyError> {
        let setup = self.connection.setup();
        let (first, last) = (setup.min_keycode, setup.max_keycode);
        let mapping = self.connection.get_keyboard_mapping(first, last - first + 1)?.reply()?;
        self.first_code = first;
        self.per_code = usize::from(mapping.keysyms_per_keycode).max(1);
        self.keysyms = mapping.keysyms;
        self.is_evdev = self.keysyms_of(CODE_UP).contains(&KEYSYM_UP);
        Ok(())
    }
    fn keysyms_of(&self, code: u8) -> &[u32] {
        let start = usize::from(code.saturating_sub(self.first_code)) * self.per_code;
        self.keysyms.get(start..start + self.per_code).unwrap_or(&[])
    }

    /// Readable when the server has told something.
    pub(crate) fn line(&self) -> BorrowedFd<'_> {
        self.connection.stream().as_fd()
    }

    /// Shows these rows of the window's picture. Whether that could be done.
    pub(crate) fn put(&mut self, pixels: &[u32], width: usize, rows: Range<usize>) -> bool {
        let room = self.connection.maximum_request_bytes().saturating_sub(PUT_IMAGE);
        let Some(canvas) = &mut self.canvas else { return false };
        let (Ok(wide), at_once) = (u16::try_from(width), room / 4 / width.max(1)) else { return false };
        let mut y = rows.start;
        while y < rows.end {
            let count = (rows.end - y).min(at_once);
            let Some(part) = pixels.get(y * width..(y + count) * width).filter(|part| !part.is_empty()) else {
                return false;
            };
            canvas.bytes.resize(part.len() * 4, 0);
            for (bytes, pixel) in canvas.bytes.chunks_exact_mut(4).zip(part) {
                bytes.copy_from_slice(&pixel.to_le_bytes());
            }
            let (format, (depth, context)) = (ImageFormat::Z_PIXMAP, (canvas.depth, canvas.context));
            let (top, high) = (y as i16, count as u16);
            let sent =
                self.connection.put_image(format, self.window, context, wide, high, 0, top, 0, depth, &canvas.bytes);
            if sent.is_err() {
                return false;
            }
            y += count;
        }
        self.connection.flush().is_ok()
    }

    /// What has happened since the last call.
    pub(crate) fn poll(&mut self) -> Vec<Happening> {
        let mut happened = Vec::new();
        let mut motion = (0, 0);
        // An error means that the server has gone; minifb finds that out by itself.
        while let Ok(Some(event)) = self.connection.poll_for_event() {
            match event {
                XEvent::KeyPress(key) => self.key(&key, true, &mut happened),
                XEvent::KeyRelease(key) => self.key(&key, false, &mut happened),
                XEvent::Expose(_) => happened.push(Happening::Uncovered),
                // Grabs of the keyboard by a window manager are no loss of it.
                XEvent::FocusOut(focus) if matches!(focus.mode, NotifyMode::NORMAL | NotifyMode::WHILE_GRABBED) => {
                    let mut events = Vec::new();
                    self.typist.release(&mut events);
                    happened.extend(events.into_iter().filter_map(|event| match event {
                        Event::Key(key, down) => Some(Happening::Key(key, down)),
                        _ => None,
                    }));
                    happened.push(Happening::Left);
                }
                XEvent::ConfigureNotify(size) => self.size = (size.width, size.height),
                XEvent::MappingNotify(_) => {
                    let _ = self.learn_keys();
                }
                XEvent::ButtonPress(button) if self.grabbed => happened.push(Happening::Button(button.detail, true)),
                XEvent::ButtonRelease(button) if self.grabbed => happened.push(Happening::Button(button.detail, false)),
                XEvent::MotionNotify(at) if self.grabbed => {
                    let (dx, dy) = (i32::from(at.event_x - self.last.0), i32::from(at.event_y - self.last.1));
                    self.last = (at.event_x, at.event_y);
                    // Being put back into the middle is no movement of the hand.
                    if self.last != self.middle() {
                        motion = (motion.0 + dx, motion.1 + dy);
                    }
                }
                _ => {}
            }
        }
        if motion != (0, 0) {
            happened.push(Happening::Motion(motion.0, motion.1));
            let (x, y) = self.middle();
            let _ = self.connection.warp_pointer(x11rb::NONE, self.window, 0, 0, 0, 0, x, y);
            let _ = self.connection.flush();
        }
        happened
    }

    fn key(&mut self, key: &KeyPressEvent, down: bool, happened: &mut Vec<Happening>) {
        let mut events = Vec::new();
        let place = if self.is_evdev { key.detail.checked_sub(OFFSET).and_then(evdev::key) } else { None };
        match place {
            Some(place) => self.typist.key(place, down, &mut events),
            None => {
                let keysyms = self.keysyms_of(key.detail);
                let plain = keysyms.first().copied().unwrap_or(0);
                let shifted = keysyms.get(1).copied().filter(|keysym| *keysym != 0).unwrap_or(plain);
                let keysym = if key.state.contains(KeyButMask::SHIFT) { shifted } else { plain };
                self.typist.keysym(keysym, down, &mut events);
            }
        }
        happened.extend(events.into_iter().filter_map(|event| match event {
            Event::Key(key, down) => Some(Happening::Key(key, down)),
            _ => None,
        }));
    }

    fn middle(&self) -> (i16, i16) {
        ((self.size.0 / 2) as i16, (self.size.1 / 2) as i16)
    }
    /// Takes the mouse: its pointer disappears and stays in the window. Whether that succeeded.
    pub(crate) fn grab(&mut self) -> bool {
        let events = EventMask::POINTER_MOTION | EventMask::BUTTON_PRESS | EventMask::BUTTON_RELEASE;
        let (mode, window) = (GrabMode::ASYNC, self.window);
        if let Ok(geometry) = self.connection.get_geometry(window).map_err(ReplyError::from).and_then(|it| it.reply()) {
            self.size = (geometry.width, geometry.height);
        }
        let status = self
            .connection
            .grab_pointer(false, window, events, mode, mode, window, self.blank, x11rb::CURRENT_TIME)
            .map_err(ReplyError::from)
            .and_then(|answer| answer.reply());
        self.grabbed = status.is_ok_and(|answer| answer.status == GrabStatus::SUCCESS);
        if self.grabbed {
            let (x, y) = self.middle();
            self.last = (x, y);
            let _ = self.connection.warp_pointer(x11rb::NONE, window, 0, 0, 0, 0, x, y);
            let _ = self.connection.flush();
        }
        self.grabbed
    }
    /// Gives the mouse back.
    pub(crate) fn release(&mut self) {
        self.grabbed = false;
        let _ = self.connection.ungrab_pointer(x11rb::CURRENT_TIME);
        let _ = self.connection.flush();
    }
    /// Where the pointer is in the window.
    pub(crate) fn pointer(&self) -> Option<(f32, f32)> {
        let answer = self.connection.query_pointer(self.window).ok()?.reply().ok()?;
        Some((answer.win_x.into(), answer.win_y.into()))
    }
    /// The screen's size.
    pub(crate) fn screen_size(&self) -> (usize, usize) {
        self.screen
    }
    /// Gives the window a size.
    pub(crate) fn resize(&mut self, size: (usize, usize)) {
        let values =
            ConfigureWindowAux::new().width(size.0.clamp(1, 32767) as u32).height(size.1.clamp(1, 32767) as u32);
        let _ = self.connection.configure_window(self.window, &values);
        let _ = self.connection.flush();
    }
    /// Makes the window fill the screen, or no longer.
    pub(crate) fn full_screen(&mut self, full: bool) {
        let _ = self.try_full_screen(full);
        let _ = self.connection.flush();
    }
    fn atom(&self, name: &str) -> Result<Atom, ReplyError> {
        Ok(self.connection.intern_atom(false, name.as_bytes())?.reply()?.atom)
    }
    fn try_full_screen(&mut self, full: bool) -> Result<(), ReplyError> {
        let (state, filling) = (self.atom("_NET_WM_STATE")?, self.atom("_NET_WM_STATE_FULLSCREEN")?);
        let (supported, kind) = (self.atom("_NET_SUPPORTED")?, self.atom("ATOM")?);
        let answer = self.connection.get_property(false, self.root, supported, kind, 0, 4096)?.reply()?;
        let is_managed = answer.value32().is_some_and(|mut atoms| atoms.any(|atom| atom == filling));
        if is_managed {
            // Extended Window Manager Hints, `_NET_WM_STATE`: 1 adds, 0 removes.
            let message = ClientMessageEvent::new(32, self.window, state, [u32::from(full), filling, 0, 1, 0]);
            let events = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
            self.connection.send_event(false, self.root, events, message)?;
            return Ok(());
        }
        // Without a window manager the window takes the screen itself.
        if full {
            self.connection.change_property32(PropMode::REPLACE, self.window, state, kind, &[filling])?;
            let geometry = self.connection.get_geometry(self.window)?.reply()?;
            self.before = (geometry.x, geometry.y, geometry.width, geometry.height);
            let values = ConfigureWindowAux::new().x(0).y(0).width(self.screen.0 as u32).height(self.screen.1 as u32);
            self.connection.configure_window(self.window, &values)?;
        } else {
            self.connection.delete_property(self.window, state)?;
            let values = ConfigureWindowAux::new()
                .x(i32::from(self.before.0))
                .y(i32::from(self.before.1))
                .width(u32::from(self.before.2))
                .height(u32::from(self.before.3));
            self.connection.configure_window(self.window, &values)?;
        }
        Ok(())
    }
}
