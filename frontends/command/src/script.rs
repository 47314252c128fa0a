//! Scripted input: once a text stands somewhere, keys are typed.

use crate::{Failure, values};

/// When a rule fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// The text has appeared.
    Text(String),
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
}

/// One `TEXT=>KEYS`.
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

pub(crate) fn parse(text: &str) -> Result<Rule, Failure> {
    let bad = |problem: String| Failure::new(2, format!("`--on-text {text}`: {problem}"));
    let (when, keys) =
        text.split_once("=>").ok_or_else(|| bad("write TEXT=>KEYS, for instance 'login:=>root<enter>'".into()))?;
    let when = match when.strip_prefix('@') {
        Some(time) => When::After(values::duration(time).map_err(bad)?),
        None if when.is_empty() => return Err(bad("the text before `=>` is empty".into())),
        None => When::Text(unescape(when)),
    };
    let action = match keys.strip_prefix("serial:") {
        Some(keys) => Action::Serial(serial_bytes(&unescape(keys))),
        None => {
            let keys = unescape(keys);
            beigebox::input::parse_keys(&keys).map_err(|error| bad(error.to_string()))?;
            Action::Keys(keys)
        }
    };
    Ok(Rule { when, action })
}

/// Rules from a file: one per line, `#` begins a comment line.
pub(crate) fn parse_file(text: &str) -> Result<Vec<Rule>, Failure> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(parse).collect()
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
}
