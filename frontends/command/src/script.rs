//! Scripted input: once something stands on the screen or in the output, something is done.

use crate::{Failure, code, values};
use beigebox::display::Rectangle;
use beigebox::golden::Golden;
use beigebox::host::{self, Mode};
use beigebox::input::Button;
use beigebox::{Machine, host::read_png};
use std::path::PathBuf;

/// When a rule fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The text has appeared.
    Text(String),
    /// The screen looks like this.
    Picture(Box<Golden>),
    /// So many nanoseconds of guest time after the rule before.
    After(u64),
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Types on the keyboard.
    Keys(String),
    /// Sends over the first serial line.
    Serial(Vec<u8>),
    /// Moves the pointer.
    Move(usize, usize),
    /// Clicks so many times.
    Click(usize, usize, Button, u8),
    /// Moves the pointer with the left button held.
    Drag((usize, usize), (usize, usize)),
    /// Turns the wheel.
    Wheel(i8),
    /// Writes a picture of the screen.
    Screenshot(PathBuf),
    /// Puts a floppy into drive A, or takes it out.
    Floppy(Option<PathBuf>),
    /// Puts a disc into the first CD-ROM drive, or takes it out.
    Disc(Option<PathBuf>),
    /// Presses the reset button.
    Reset,
    /// Nothing: the next rule's turn.
    Nothing,
}

/// One `WHEN=>ACTION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) when: When,
    pub(crate) action: Action,
}

/// `\n`, `\r`, `\t`, `\e` and `\\`.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('e') => out.push('\u{1b}'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

/// What a terminal sends for the keys: Enter is a carriage return.
fn serial_bytes(keys: &str) -> Vec<u8> {
    let mut text = keys.to_owned();
    for (name, bytes) in [
        ("<enter>", "\r"),
        ("<esc>", "\u{1b}"),
        ("<tab>", "\t"),
        ("<up>", "\u{1b}[A"),
        ("<down>", "\u{1b}[B"),
        ("<right>", "\u{1b}[C"),
        ("<left>", "\u{1b}[D"),
        ("<ctrl-c>", "\u{3}"),
        ("<ctrl-b>", "\u{2}"),
        ("<ctrl-d>", "\u{4}"),
        ("<ctrl-x>", "\u{18}"),
        ("\n", "\r"),
        ("<lt>", "<"),
    ] {
        text = text.replace(name, bytes);
    }
    text.into_bytes()
}

/// `FILE[@X,Y,WIDTHxHEIGHT][~TOLERANCE]`.
pub(crate) fn picture(text: &str) -> Result<Golden, String> {
    let (rest, tolerance) = match text.rsplit_once('~') {
        Some((rest, number)) => {
            let tolerance = number.parse().map_err(|_| format!("`{number}` is no tolerance from 0 to 255"))?;
            (rest, tolerance)
        }
        None => (text, 0),
    };
    let (file, region) = match rest.rsplit_once('@') {
        Some((file, region)) => {
            let bad = || format!("`{region}` is no region; write X,Y,WIDTHxHEIGHT, for instance 0,0,320x200");
            let numbers: Option<Vec<usize>> = region.split([',', 'x']).map(|number| number.parse().ok()).collect();
            match numbers.as_deref() {
                Some(&[x, y, width, height]) if width != 0 && height != 0 => {
                    (file, Some(Rectangle { x, y, width, height }))
                }
                _ => return Err(bad()),
            }
        }
        None => (rest, None),
    };
    let golden = Golden::new(read_png(file.as_ref()).map_err(|error| error.to_string())?).tolerance(tolerance);
    Ok(match region {
        Some(region) => golden.within(region),
        None => golden,
    })
}

fn point(text: &str) -> Result<(usize, usize), String> {
    let bad = || format!("`{text}` is no place on the screen; write X,Y, for instance 320,240");
    let (x, y) = text.split_once(',').ok_or_else(bad)?;
    Ok((x.trim().parse().map_err(|_| bad())?, y.trim().parse().map_err(|_| bad())?))
}

fn action(text: &str) -> Result<Action, String> {
    let file = |path: &str| (path != "none").then(|| PathBuf::from(path));
    let click = |place: &str, button, times| point(place).map(|(x, y)| Action::Click(x, y, button, times));
    if text.is_empty() {
        return Ok(Action::Nothing);
    }
    let Some((name, argument)) = text.split_once(':') else { return keys(text) };
    Ok(match name {
        "serial" => Action::Serial(serial_bytes(&unescape(argument))),
        "move" => point(argument).map(|(x, y)| Action::Move(x, y))?,
        "click" => click(argument, Button::Left, 1)?,
        "double-click" => click(argument, Button::Left, 2)?,
        "right-click" => click(argument, Button::Right, 1)?,
        "middle-click" => click(argument, Button::Middle, 1)?,
        "drag" => {
            let (from, to) = argument.split_once("..").ok_or("write drag:X,Y..X,Y")?;
            Action::Drag(point(from)?, point(to)?)
        }
        "wheel" => Action::Wheel(argument.parse().map_err(|_| format!("`{argument}` is no number of steps"))?),
        "screenshot" if !argument.is_empty() => Action::Screenshot(argument.into()),
        "floppy" if !argument.is_empty() => Action::Floppy(file(argument)),
        "disc" if !argument.is_empty() => Action::Disc(file(argument)),
        "reset" if argument.is_empty() => Action::Reset,
        _ => return keys(text),
    })
}

fn keys(text: &str) -> Result<Action, String> {
    let keys = unescape(text);
    beigebox::input::parse_keys(&keys).map_err(|error| error.to_string())?;
    Ok(Action::Keys(keys))
}

pub(crate) fn parse(text: &str) -> Result<Rule, Failure> {
    let bad = |problem: String| Failure::new(2, format!("`--on-text {text}`: {problem}"));
    let (when, what) =
        text.split_once("=>").ok_or_else(|| bad("write TEXT=>KEYS, for instance 'login:=>root<enter>'".into()))?;
    let when = if let Some(time) = when.strip_prefix('@') {
        When::After(values::duration(time).map_err(bad)?)
    } else if let Some(golden) = when.strip_prefix("picture:") {
        When::Picture(Box::new(picture(golden).map_err(bad)?))
    } else if when.is_empty() {
        return Err(bad("the text before `=>` is empty".into()));
    } else {
        When::Text(unescape(when))
    };
    Ok(Rule { when, action: action(what).map_err(bad)? })
}

/// Rules from a file: one per line, `#` begins a comment line.
pub(crate) fn parse_file(text: &str) -> Result<Vec<Rule>, Failure> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(parse).collect()
}

impl Action {
    /// Does it, or queues it. Images are opened in `mode`.
    pub(crate) fn perform(self, machine: &mut Machine, mode: Mode) -> Result<(), Failure> {
        let configuration = |text: String| Failure::new(code::CONFIGURATION, text);
        match self {
            Action::Keys(keys) => machine.type_keys(&keys).map_err(|error| configuration(error.to_string()))?,
            Action::Serial(bytes) => machine.serial_input(0, &bytes),
            Action::Move(x, y) => machine.move_to(x, y),
            Action::Click(x, y, button, times) => {
                machine.click(x, y, button);
                for _ in 1..times {
                    machine.press_button(button);
                    machine.release_buttons();
                }
            }
            Action::Drag(from, to) => machine.drag(from, to),
            Action::Wheel(steps) => machine.turn_wheel(steps),
            Action::Screenshot(path) => {
                host::write_png(&machine.picture(), &path).map_err(|error| Failure::new(code::IO, error.to_string()))?
            }
            Action::Floppy(path) => {
                let open = |path: PathBuf| host::open_floppy(&path, mode);
                let disk = path.map(open).transpose().map_err(|error| configuration(error.to_string()))?;
                machine.change_floppy(0, disk);
            }
            Action::Disc(path) => {
                let open = |path: PathBuf| host::open_cdrom(&path);
                let disc = path.map(open).transpose().map_err(|error| configuration(error.to_string()))?;
                machine.change_cdrom(disc);
            }
            Action::Reset => machine.reset(),
            Action::Nothing => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_parse() {
        let rule = parse("login:=>root\\n").unwrap();
        assert_eq!(rule, Rule { when: When::Text("login:".into()), action: Action::Keys("root\n".into()) });
        let rule = parse("@1.5s=>serial:ls<enter>").unwrap();
        assert_eq!(rule, Rule { when: When::After(1_500_000_000), action: Action::Serial(b"ls\r".to_vec()) });
        assert!(parse("x").is_err() && parse("=>x").is_err() && parse("a=><nokey>").is_err());
        assert_eq!(parse_file("# a\n\na=>b\n").unwrap().len(), 1);
    }

    #[test]
    fn actions_parse() {
        let is = |text: &str, expected: Action| assert_eq!(action(text), Ok(expected), "{text}");
        is("move:1,2", Action::Move(1, 2));
        is("double-click:10, 20", Action::Click(10, 20, Button::Left, 2));
        is("right-click:10,20", Action::Click(10, 20, Button::Right, 1));
        is("drag:1,2..3,4", Action::Drag((1, 2), (3, 4)));
        is("wheel:-3", Action::Wheel(-3));
        is("floppy:none", Action::Floppy(None));
        is("disc:a:b.iso", Action::Disc(Some("a:b.iso".into())));
        is("reset:", Action::Reset);
        is("", Action::Nothing);
        is("\\move:1,2", Action::Keys("move:1,2".into()));
        is("c:\\\\dos<enter>", Action::Keys("c:\\dos<enter>".into()));
        is("floppy:", Action::Keys("floppy:".into()));
        for bad in ["move:1", "click:a,b", "drag:1,2", "wheel:x"] {
            assert!(action(bad).is_err(), "{bad}");
        }
        for bad in ["/nowhere.png", "x.png@1,2", "x.png@1,2,0x3", "x.png~300"] {
            assert!(picture(bad).is_err(), "{bad}");
        }
    }
}
