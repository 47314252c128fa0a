//! The VGA text screen in a terminal.

use crate::console;
use crate::typed::Typed;
use beigebox::input;
use crossterm::event::{KeyCode as Key, KeyEvent, KeyModifiers};
use crossterm::style::{Color, Print, SetBackgroundColor, SetForegroundColor};
use crossterm::{cursor, queue, terminal};
use rustix::fd::BorrowedFd;
use screen::scale;
use screen::{Command, Event as Happening, FrontEnd, Screen, Status, TextScreen, Viewer};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Shows the screen and takes keys. Dropping it gives the terminal back.
pub(crate) struct Terminal {
    shown: Vec<(char, u8)>,
    columns: usize,
    /// The first row of the text that is shown, when the terminal is lower than the text.
    top: usize,
    last: Instant,
    viewer: Viewer,
    /// Size in characters of the terminal when something was last shown on it.
    size: (u16, u16),
    /// A picture is shown, in a graphics mode.
    is_picture: bool,
    typed: Typed,
}

const FRAME: Duration = Duration::from_millis(33);

/// VGA colours in the order of the attribute byte, as terminals have them.
const COLOURS: [Color; 16] = [
    Color::Black,
    Color::DarkBlue,
    Color::DarkGreen,
    Color::DarkCyan,
    Color::DarkRed,
    Color::DarkMagenta,
    Color::DarkYellow,
    Color::Grey,
    Color::DarkGrey,
    Color::Blue,
    Color::Green,
    Color::Cyan,
    Color::Red,
    Color::Magenta,
    Color::Yellow,
    Color::White,
];

impl Terminal {
    pub(crate) fn open() -> io::Result<Terminal> {
        let typed = Typed::open()?;
        console::raw_mode()?;
        console::screen_mode();
        crossterm::execute!(io::stdout(), terminal::EnterAlternateScreen, terminal::Clear(terminal::ClearType::All))?;
        let last = Instant::now() - FRAME;
        let (viewer, size) = (Viewer::new(), (0, 0));
        Ok(Terminal { shown: Vec::new(), columns: 0, top: 0, last, viewer, size, is_picture: false, typed })
    }

    /// Columns and rows. After a change of theirs everything is to be drawn anew.
    fn measure(&mut self) -> (usize, usize) {
        // A line without a known size says that it has none.
        let known = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok();
        let known = known.map(|size| (size.ws_col, size.ws_row)).filter(|(width, height)| *width > 0 && *height > 0);
        let size = known.unwrap_or((80, 25));
        if self.size != size {
            self.size = size;
            self.shown.clear();
            self.is_picture = false;
        }
        (size.0.into(), size.1.into())
    }

    fn draw_text(&mut self, screen: &TextScreen) -> io::Result<()> {
        let (width, height) = self.measure();
        self.is_picture = false;
        let mut out = io::stdout().lock();
        let cells: Vec<(char, u8)> =
            screen.cells.iter().map(|(code, attribute)| (input_char(*code), *attribute)).collect();
        // In a low terminal the line with the cursor is what counts.
        let cursor_row = screen.cursor.map_or(0, |(_, row)| row);
        let top = (cursor_row + 1).saturating_sub(height);
        if self.columns != screen.columns || self.shown.len() != cells.len() || self.top != top {
            queue!(out, SetBackgroundColor(Color::Black), terminal::Clear(terminal::ClearType::All))?;
            self.shown = vec![('\0', 0); cells.len()];
            self.columns = screen.columns;
            self.top = top;
        }
        let (mut at, mut colour) = (None, None);
        for (index, cell) in cells.iter().enumerate() {
            let (line, column) = (index / screen.columns.max(1), index % screen.columns.max(1));
            let Some(row) = line.checked_sub(top) else { continue };
            if self.shown.get(index) == Some(cell) || row >= height || column >= width {
                continue;
            }
            if at != Some((row, column)) {
                queue!(out, cursor::MoveTo(column as u16, row as u16))?;
            }
            if colour != Some(cell.1) {
                let (front, back) = (COLOURS[usize::from(cell.1 & 15)], COLOURS[usize::from(cell.1 >> 4 & 7)]);
                queue!(out, SetForegroundColor(front), SetBackgroundColor(back))?;
                colour = Some(cell.1);
            }
            queue!(out, Print(cell.0))?;
            at = Some((row, column + 1));
        }
        match screen.cursor.map(|(column, line)| (column, line - top)) {
            Some((column, row)) if row < height && column < width => {
                queue!(out, cursor::MoveTo(column as u16, row as u16), cursor::Show)?;
            }
            _ => queue!(out, cursor::Hide)?,
        }
        out.flush()?;
        self.shown = cells;
        Ok(())
    }

    /// A graphics mode, two pixels per character.
    fn draw_picture(&mut self, screen: &mut dyn Screen) -> io::Result<()> {
        let (columns, rows) = self.measure();
        if !self.is_picture {
            self.viewer.forget();
        }
        let frame = screen.frame(&mut self.viewer);
        if !frame.changed() {
            return Ok(());
        }
        let area = scale::fit((frame.width, frame.height), frame.display_size(), (columns, rows * 2), false);
        let mut out = io::stdout().lock();
        if !self.is_picture || frame.resized {
            queue!(out, SetBackgroundColor(Color::Black), terminal::Clear(terminal::ClearType::All), cursor::Hide)?;
        }
        let pixel = |x: usize, y: usize| {
            let (x, y) = (x.checked_sub(area.x), y.checked_sub(area.y));
            let inside = x.zip(y).filter(|(x, y)| *x < area.width && *y < area.height);
            let value = inside.and_then(|(x, y)| {
                let row = frame.row((2 * y + 1) * frame.height / (2 * area.height));
                row.get((2 * x + 1) * frame.width / (2 * area.width)).copied()
            });
            value.unwrap_or(0)
        };
        let mut colours = None;
        for row in 0..rows {
            queue!(out, cursor::MoveTo(0, row as u16))?;
            for column in 0..columns {
                let pair = (pixel(column, row * 2), pixel(column, row * 2 + 1));
                if colours != Some(pair) {
                    queue!(out, SetForegroundColor(colour(pair.0)), SetBackgroundColor(colour(pair.1)))?;
                    colours = Some(pair);
                }
                queue!(out, Print('▀'))?;
            }
        }
        out.flush()?;
        self.is_picture = true;
        self.shown.clear();
        Ok(())
    }
}

fn colour(pixel: u32) -> Color {
    let [b, g, r, _] = pixel.to_le_bytes();
    Color::Rgb { r, g, b }
}

impl FrontEnd for Terminal {
    fn show(&mut self, screen: &mut dyn Screen, _status: &Status) -> io::Result<()> {
        let is_text = screen.text();
        // A picture is many more bytes than a text.
        let pause = if is_text.is_some() { FRAME } else { 3 * FRAME };
        if self.last.elapsed() < pause {
            return Ok(());
        }
        self.last = Instant::now();
        match is_text {
            Some(text) => self.draw_text(&text),
            None => self.draw_picture(screen),
        }
    }
    fn poll(&mut self, events: &mut Vec<Happening>) -> io::Result<()> {
        events.extend(self.typed.read()?.into_iter().filter_map(translate));
        Ok(())
    }
    fn line(&self) -> Option<BorrowedFd<'_>> {
        self.typed.open_line()
    }
}

fn input_char(code: u8) -> char {
    match screen::unicode(code) {
        '\0' => ' ',
        character => character,
    }
}

fn translate(event: KeyEvent) -> Option<Happening> {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    if control && event.code == Key::Char(']') {
        return Some(Happening::Command(Command::Quit));
    }
    let named = |name: &str| input::key_named(name).map(|key| vec![key]);
    let mut keys = match event.code {
        Key::Char(character) => input::text_to_keys(character)?,
        Key::Enter => named("enter")?,
        Key::Backspace => named("backspace")?,
        Key::Tab => named("tab")?,
        Key::BackTab => vec![input::key_named("shift")?, input::key_named("tab")?],
        Key::Esc => named("escape")?,
        Key::Up => named("up")?,
        Key::Down => named("down")?,
        Key::Left => named("left")?,
        Key::Right => named("right")?,
        Key::Home => named("home")?,
        Key::End => named("end")?,
        Key::PageUp => named("pageup")?,
        Key::PageDown => named("pagedown")?,
        Key::Insert => named("insert")?,
        Key::Delete => named("delete")?,
        Key::F(number) => named(&format!("f{number}"))?,
        _ => return None,
    };
    if event.modifiers.contains(KeyModifiers::SHIFT) && !matches!(event.code, Key::Char(_) | Key::BackTab) {
        keys.insert(0, input::key_named("shift")?);
    }
    if event.modifiers.contains(KeyModifiers::ALT) {
        keys.insert(0, input::key_named("alt")?);
    }
    if control {
        keys.insert(0, input::key_named("ctrl")?);
    }
    Some(Happening::Chord(keys))
}
