//! The VGA text screen in a terminal.

use crate::console;
use beigebox::display::TextScreen;
use beigebox::{KeyCode, Machine, input};
use crossterm::event::{Event, KeyCode as Key, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Color, Print, SetBackgroundColor, SetForegroundColor};
use crossterm::{cursor, event, queue, terminal};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Shows the screen and takes keys. Dropping it gives the terminal back.
pub(crate) struct Terminal {
    shown: Vec<(char, u8)>,
    columns: usize,
    last: Instant,
    message: String,
}

/// What the person did.
pub(crate) enum Action {
    Chord(Vec<KeyCode>),
    Quit,
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
        console::raw_mode()?;
        console::screen_mode();
        crossterm::execute!(io::stdout(), terminal::EnterAlternateScreen, terminal::Clear(terminal::ClearType::All))?;
        Ok(Terminal { shown: Vec::new(), columns: 0, last: Instant::now() - FRAME, message: String::new() })
    }

    /// Draws what has changed, if it is time for it.
    pub(crate) fn draw(&mut self, machine: &mut Machine) -> io::Result<()> {
        if self.last.elapsed() < FRAME {
            return Ok(());
        }
        self.last = Instant::now();
        match machine.text_screen() {
            Some(screen) => self.draw_text(&screen),
            None => {
                let picture = machine.picture();
                let message = format!("graphics mode, {}x{}; Ctrl-] quits", picture.width, picture.height);
                if message != self.message {
                    let mut out = io::stdout().lock();
                    queue!(out, SetForegroundColor(Color::Grey), SetBackgroundColor(Color::Black))?;
                    queue!(out, terminal::Clear(terminal::ClearType::All), cursor::MoveTo(0, 0), Print(&message))?;
                    out.flush()?;
                    self.message = message;
                    self.shown.clear();
                }
                Ok(())
            }
        }
    }

    fn draw_text(&mut self, screen: &TextScreen) -> io::Result<()> {
        self.message.clear();
        let (width, height) = terminal::size().unwrap_or((80, 25));
        let mut out = io::stdout().lock();
        let cells: Vec<(char, u8)> =
            screen.cells.iter().map(|(code, attribute)| (input_char(*code), *attribute)).collect();
        if self.columns != screen.columns || self.shown.len() != cells.len() {
            queue!(out, SetBackgroundColor(Color::Black), terminal::Clear(terminal::ClearType::All))?;
            self.shown = vec![('\0', 0); cells.len()];
            self.columns = screen.columns;
        }
        let (mut at, mut colour) = (None, None);
        for (index, cell) in cells.iter().enumerate() {
            let (row, column) = (index / screen.columns.max(1), index % screen.columns.max(1));
            if self.shown.get(index) == Some(cell) || row >= usize::from(height) || column >= usize::from(width) {
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
        match screen.cursor {
            Some((column, row)) if row < usize::from(height) && column < usize::from(width) => {
                queue!(out, cursor::MoveTo(column as u16, row as u16), cursor::Show)?;
            }
            _ => queue!(out, cursor::Hide)?,
        }
        out.flush()?;
        self.shown = cells;
        Ok(())
    }

    /// What the person typed since the last call, waiting for it at most so long.
    pub(crate) fn poll(&mut self, wait: Duration) -> io::Result<Option<Action>> {
        if !event::poll(wait)? {
            return Ok(None);
        }
        Ok(match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => translate(key),
            Event::Resize(..) => {
                self.shown.clear();
                None
            }
            _ => None,
        })
    }
}

fn input_char(code: u8) -> char {
    match beigebox::display::unicode(code) {
        '\0' => ' ',
        character => character,
    }
}

fn translate(event: KeyEvent) -> Option<Action> {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    // Terminals send Ctrl-] as Ctrl-5 as well: both are byte 1Dh.
    if control && matches!(event.code, Key::Char(']' | '5')) {
        return Some(Action::Quit);
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
    if event.modifiers.contains(KeyModifiers::ALT) {
        keys.insert(0, input::key_named("alt")?);
    }
    if control {
        keys.insert(0, input::key_named("ctrl")?);
    }
    Some(Action::Chord(keys))
}
