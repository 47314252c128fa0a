//! What a test is: a machine, and what must come of it.

use crate::document::{Document, kind};
use crate::settings::{self, Setting};
use crate::{Failure, code, values};
use regex::{Regex, RegexBuilder};
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a text may stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Anywhere.
    #[default]
    Any,
    Serial,
    Debugcon,
    Screen,
}

impl Place {
    fn named(name: &str) -> Option<Place> {
        match name {
            "any" => Some(Place::Any),
            "serial" => Some(Place::Serial),
            "debugcon" => Some(Place::Debugcon),
            "screen" => Some(Place::Screen),
            _ => None,
        }
    }
}

/// A text or regular expression to be seen.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) what: What,
    pub(crate) place: Place,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Text(String),
    /// Held against single lines of the serial line and debug console, and the whole screen.
    Expression(Regex),
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Text(text) => write!(f, "`{}`", text.escape_debug())?,
            What::Expression(expression) => write!(f, "/{expression}/")?,
        }
        match self.place {
            Place::Any => Ok(()),
            Place::Serial => f.write_str(" on the serial line"),
            Place::Debugcon => f.write_str(" on the debug console"),
            Place::Screen => f.write_str(" on the screen"),
        }
    }
}

impl Pattern {
    pub(crate) fn text(text: &str) -> Result<Pattern, String> {
        if text.is_empty() {
            return Err("the text is empty".into());
        }
        Ok(Pattern { what: What::Text(text.to_owned()), place: Place::Any })
    }
    pub(crate) fn expression(text: &str) -> Result<Pattern, String> {
        let expression = RegexBuilder::new(text)
            .multi_line(true)
            .size_limit(1 << 22)
            .build()
            .map_err(|error| format!("no regular expression: {error}"))?;
        Ok(Pattern { what: What::Expression(expression), place: Place::Any })
    }
}

/// A picture that the screen must show.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Golden {
    pub(crate) path: PathBuf,
    /// How far a colour channel of a pixel may be off.
    pub(crate) tolerance: u8,
    /// How many pixels may be further off, in per cent.
    pub(crate) pixels: f64,
}

/// A doubleword in guest-physical memory by which the guest tells its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mailbox {
    pub(crate) address: u64,
    pub(crate) pass: u32,
    /// The guest has failed when this stands there.
    pub(crate) fail: Option<u32>,
}

impl Mailbox {
    /// `ADDRESS=PASS` or `ADDRESS=PASS:FAIL`.
    pub(crate) fn parse(text: &str) -> Result<Mailbox, String> {
        let bad = || format!("`{text}` is no mailbox; write ADDRESS=PASS or ADDRESS=PASS:FAIL, as 0x500=0x600d:0xbad");
        let (address, values) = text.split_once('=').ok_or_else(bad)?;
        let (pass, fail) = match values.split_once(':') {
            Some((pass, fail)) => (pass, Some(fail)),
            None => (values, None),
        };
        let value = |text: &str| values::number(text).ok().and_then(|value| u32::try_from(value).ok()).ok_or_else(bad);
        Ok(Mailbox {
            address: values::number(address).map_err(|_| bad())?,
            pass: value(pass)?,
            fail: fail.map(value).transpose()?,
        })
    }
}

/// How the run must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// As soon as all that is expected was seen.
    Seen,
    /// By the success code on the exit port.
    Exit,
    PowerOff,
    Reset,
    Hang,
    TripleFault,
    /// At the limit of guest time.
    TimeLimit,
}

impl Ends {
    pub(crate) const NAMES: [(&'static str, Ends); 7] = [
        ("seen", Ends::Seen),
        ("exit", Ends::Exit),
        ("power-off", Ends::PowerOff),
        ("reset", Ends::Reset),
        ("hang", Ends::Hang),
        ("triple-fault", Ends::TripleFault),
        ("time-limit", Ends::TimeLimit),
    ];
    pub(crate) fn parse(text: &str) -> Result<Ends, String> {
        Ends::NAMES.iter().find(|(name, _)| *name == text).map(|(_, ends)| *ends).ok_or_else(|| {
            let names: Vec<_> = Ends::NAMES.iter().map(|(name, _)| *name).collect();
            format!("`{text}` is no end; there are {}", names.join(", "))
        })
    }
    pub(crate) fn name(self) -> &'static str {
        Ends::NAMES.iter().find(|(_, ends)| *ends == self).map_or("", |(name, _)| name)
    }
}

/// Which report of tests the guest prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Whichever it begins.
    #[default]
    Auto,
    Tap,
    Ktap,
    Libtest,
    /// None.
    Off,
}

impl Format {
    pub(crate) fn parse(text: &str) -> Result<Format, String> {
        match text {
            "auto" => Ok(Format::Auto),
            "tap" => Ok(Format::Tap),
            "ktap" => Ok(Format::Ktap),
            "libtest" => Ok(Format::Libtest),
            "off" => Ok(Format::Off),
            _ => Err(format!("`{text}` is no format of tests; there are auto, tap, ktap, libtest, off")),
        }
    }
}

/// What must come of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) expect: Vec<Pattern>,
    pub(crate) reject: Vec<Pattern>,
    pub(crate) picture: Option<Golden>,
    pub(crate) mailbox: Option<Mailbox>,
    pub(crate) ends: Option<Ends>,
    pub(crate) state_hash: Option<u128>,
    pub(crate) guest_tests: Format,
}

/// A test.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The machine.
    pub(crate) settings: Vec<Setting>,
    pub(crate) expected: Expected,
    pub(crate) retries: u32,
    /// Why it is left out.
    pub(crate) skip: Option<String>,
    /// The manifest and the line in it.
    pub(crate) place: Option<(PathBuf, usize)>,
}

/// A hash as `--stats` prints it.
pub(crate) fn hash(text: &str) -> Result<u128, String> {
    u128::from_str_radix(text, 16).map_err(|_| format!("`{text}` is no state hash; `--stats` and `--hashes` print it"))
}

// --- manifests ---------------------------------------------------------------------------------

/// Keys of a test that are not options of `run`.
const KEYS: [&str; 14] = [
    "name",
    "expect",
    "expect-regex",
    "reject",
    "reject-regex",
    "picture",
    "tolerance",
    "mailbox",
    "ends",
    "state-hash",
    "guest-tests",
    "retries",
    "skip",
    "different-pixels",
];

/// Reads a manifest: `[defaults]`, and a `[[test]]` for each test. Paths count from `images`, or
/// from the folder of the manifest.
pub(crate) fn read(path: &Path, images: Option<&Path>) -> Result<Vec<Case>, Failure> {
    parse(&Document::read(path)?, images)
}

fn parse(document: &Document, images: Option<&Path>) -> Result<Vec<Case>, Failure> {
    let table = document.parse()?;
    let folder = images.unwrap_or_else(|| document.folder());
    let reader = Reader { document, folder };
    let blank = Case {
        name: String::new(),
        settings: Vec::new(),
        expected: Expected::default(),
        retries: 0,
        skip: None,
        place: None,
    };
    let mut defaults = blank;
    let mut tests = None;
    for (key, value) in &table {
        match key.get_ref().as_ref() {
            "defaults" => {
                let DeValue::Table(table) = value.get_ref() else {
                    return Err(document.error(value.span(), "`defaults` is a table: write [defaults]", None));
                };
                reader.table(&mut defaults, table)?;
            }
            "test" => tests = Some(value),
            _ => return Err(document.unknown_key(key, ["defaults", "test"].into_iter())),
        }
    }
    let Some(tests) = tests else {
        return Err(document.error(0..0, "the manifest has no test", Some("write [[test]] before each".into())));
    };
    let mut cases: Vec<Case> = Vec::new();
    for test in document.list(tests) {
        let DeValue::Table(table) = test.get_ref() else {
            return Err(document.error(test.span(), "a test is a table: write [[test]]", None));
        };
        let mut case = defaults.clone();
        case.place = Some((document.path.clone(), document.line(test.span().start)));
        reader.table(&mut case, table)?;
        if case.name.is_empty() {
            let image = case.settings.iter().find(|setting| setting.name == "image");
            match image.map(|image| &image.value) {
                Some(settings::Value::Text(path)) => case.name = stem(Path::new(path)),
                _ => return Err(document.error(test.span(), "the test has neither `name` nor `image`", None)),
            }
        }
        if cases.iter().any(|other| other.name == case.name) {
            let problem = format!("there is a test `{}` before", case.name);
            return Err(document.error(test.span(), &problem, Some("give it another `name`".into())));
        }
        cases.push(case);
    }
    Ok(cases)
}

/// A test's name from the name of its file.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

struct Reader<'d> {
    document: &'d Document,
    folder: &'d Path,
}

impl Reader<'_> {
    fn table(&self, case: &mut Case, table: &DeTable<'_>) -> Result<(), Failure> {
        let document = self.document;
        let (mut tolerance, mut pixels) = (None, None);
        for (key, value) in table {
            let text = |wanted: fn(&str) -> Result<Pattern, String>| self.patterns(value, wanted);
            let parsed =
                |result: Result<(), String>| result.map_err(|problem| document.error(value.span(), &problem, None));
            match key.get_ref().as_ref() {
                "name" => {
                    case.name = document.string(value)?;
                    parsed(if case.name.trim().is_empty() { Err("the name is empty".into()) } else { Ok(()) })?;
                }
                "expect" => case.expected.expect.extend(text(Pattern::text)?),
                "expect-regex" => case.expected.expect.extend(text(Pattern::expression)?),
                "reject" => case.expected.reject.extend(text(Pattern::text)?),
                "reject-regex" => case.expected.reject.extend(text(Pattern::expression)?),
                "picture" => {
                    let path = self.folder.join(document.string(value)?);
                    case.expected.picture = Some(Golden { path, tolerance: 0, pixels: 0.0 });
                }
                "tolerance" => {
                    let number = u8::try_from(document.number(value)?);
                    tolerance = Some(number.map_err(|_| document.error(value.span(), "0 to 255 is wanted", None))?);
                }
                "different-pixels" => {
                    let number = match value.get_ref() {
                        DeValue::Float(number) => number.as_str().parse().ok(),
                        DeValue::Integer(number) => number.as_str().parse().ok(),
                        _ => None,
                    };
                    let number = number.filter(|number| (0.0..=100.0).contains(number));
                    pixels =
                        Some(number.ok_or_else(|| document.error(value.span(), "0 to 100 per cent is wanted", None))?);
                }
                "mailbox" => case.expected.mailbox = Some(self.mailbox(value)?),
                "ends" => {
                    let name = document.string(value)?;
                    parsed(Ends::parse(&name).map(|ends| case.expected.ends = Some(ends)))?;
                }
                "state-hash" => {
                    let text = document.string(value)?;
                    parsed(hash(&text).map(|hash| case.expected.state_hash = Some(hash)))?;
                }
                "guest-tests" => {
                    let name = document.string(value)?;
                    parsed(Format::parse(&name).map(|format| case.expected.guest_tests = format))?;
                }
                "retries" => {
                    let number = document.number(value)?.min(100);
                    case.retries = u32::try_from(number).unwrap_or(100);
                }
                "skip" => case.skip = Some(document.string(value)?),
                name => {
                    let Some(known) = settings::find(name).filter(|known| settings::is_of_machine(known)) else {
                        let machine = settings::known().iter().filter(|known| settings::is_of_machine(known));
                        return Err(document.unknown_key(key, machine.map(|known| known.name).chain(KEYS)));
                    };
                    case.settings.extend(settings::read(document, self.folder, known, key.span().start, value)?);
                }
            }
        }
        if let Some(picture) = &mut case.expected.picture {
            picture.tolerance = tolerance.unwrap_or(picture.tolerance);
            picture.pixels = pixels.unwrap_or(picture.pixels);
        }
        Ok(())
    }

    /// A text, a `{ text = "...", on = "serial" }`, or a list of such.
    fn patterns(
        &self,
        value: &Spanned<DeValue<'_>>,
        make: fn(&str) -> Result<Pattern, String>,
    ) -> Result<Vec<Pattern>, Failure> {
        let document = self.document;
        let mut patterns = Vec::new();
        for element in document.list(value) {
            let bad = |problem: &str| document.error(element.span(), problem, None);
            let pattern = match element.get_ref() {
                DeValue::String(text) => make(text).map_err(|problem| bad(&problem))?,
                DeValue::Table(table) => {
                    let (mut text, mut place) = (None, Place::Any);
                    for (key, value) in table {
                        match key.get_ref().as_ref() {
                            "text" => text = Some(document.string(value)?),
                            "on" => {
                                place = Place::named(&document.string(value)?).ok_or_else(|| {
                                    document.error(value.span(), "`on` is any, serial, debugcon or screen", None)
                                })?;
                            }
                            _ => return Err(document.unknown_key(key, ["text", "on"].into_iter())),
                        }
                    }
                    let text = text.ok_or_else(|| bad("`text` is missing"))?;
                    let mut pattern = make(&text).map_err(|problem| bad(&problem))?;
                    pattern.place = place;
                    pattern
                }
                other => return Err(bad(&format!("a text is wanted, not {}", kind(other)))),
            };
            patterns.push(pattern);
        }
        Ok(patterns)
    }

    fn mailbox(&self, value: &Spanned<DeValue<'_>>) -> Result<Mailbox, Failure> {
        let document = self.document;
        let DeValue::Table(table) = value.get_ref() else {
            let text = document.string(value)?;
            return Mailbox::parse(&text).map_err(|problem| document.error(value.span(), &problem, None));
        };
        let (mut address, mut pass, mut fail) = (None, None, None);
        for (key, value) in table {
            let number = document.number(value)?;
            let word =
                || u32::try_from(number).map_err(|_| document.error(value.span(), "it is more than 32 bits", None));
            match key.get_ref().as_ref() {
                "address" => address = Some(number),
                "pass" => pass = Some(word()?),
                "fail" => fail = Some(word()?),
                _ => return Err(document.unknown_key(key, ["address", "pass", "fail"].into_iter())),
            }
        }
        match (address, pass) {
            (Some(address), Some(pass)) => Ok(Mailbox { address, pass, fail }),
            _ => Err(document.error(value.span(), "a mailbox has `address` and `pass`", None)),
        }
    }
}

/// Which part of the tests runs here: the `index`th of `count`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

impl Shard {
    /// `2/5`; or `auto` and `auto/5`, which take the number from the batch system.
    pub(crate) fn parse(text: &str) -> Result<Shard, String> {
        Shard::parse_in(text, |name| std::env::var(name).ok())
    }
    fn parse_in(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
        let bad = || format!("`{text}` is no shard; write I/N from 1/N to N/N, or auto/N");
        let number = |name: &str| variable(name).and_then(|value| value.parse::<usize>().ok());
        let (part, count) = match text.split_once('/') {
            Some((part, count)) => (part, Some(count.parse::<usize>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let (index, count) = if part == "auto" {
            if let Some(id) = number("SLURM_ARRAY_TASK_ID") {
                let first = number("SLURM_ARRAY_TASK_MIN").unwrap_or(0);
                let step = number("SLURM_ARRAY_TASK_STEP").unwrap_or(1).max(1);
                (id.saturating_sub(first) / step, count.or_else(|| number("SLURM_ARRAY_TASK_COUNT")))
            } else if let Some(index) = number("JOB_COMPLETION_INDEX") {
                (index, count)
            } else {
                return Err("--shard auto: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set".into());
            }
        } else {
            (part.parse::<usize>().ok().and_then(|part| part.checked_sub(1)).ok_or_else(bad)?, count)
        };
        let count = count.ok_or_else(bad)?;
        if index < count { Ok(Shard { index, count }) } else { Err(bad()) }
    }
    pub(crate) fn has(self, test: usize) -> bool {
        test % self.count == self.index
    }
}

/// Errors of the command line about what tests expect.
pub(crate) fn usage(problem: String) -> Failure {
    Failure::new(code::CONFIGURATION, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read() {
        let document = Document::from_text(
            "[defaults]\nmemory = '8M'\nreject = 'panic'\n\
             [[test]]\nimage = 'a.bin'\nexpect = ['one', { text = 'two', on = 'serial' }]\n\
             mailbox = { address = 0x500, pass = 0x600d }\n\
             [[test]]\nname = 'b'\nbios = 'b.bin'\nends = 'exit'\nexpect-regex = 'x+'\nmemory = '4M'\n",
        );
        let cases = parse(&document, Some(Path::new("/roms"))).unwrap();
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0].name, "a");
        assert_eq!(cases[0].expected.expect[1].place, Place::Serial);
        assert_eq!(cases[0].expected.mailbox, Some(Mailbox { address: 0x500, pass: 0x600d, fail: None }));
        assert_eq!(cases[0].place.as_ref().unwrap().1, 4);
        assert_eq!(cases[1].expected.ends, Some(Ends::Exit));
        assert_eq!(cases[1].expected.reject.len(), 1);
        let run = settings::resolve(&cases[1].settings).unwrap();
        assert_eq!(run.memory, 4 << 20);
        assert_eq!(run.bios.unwrap(), Path::new("/roms/b.bin"));
    }

    #[test]
    fn errors_point_at_the_line() {
        for (text, line, words) in [
            ("[[test]]\nname = 'a'\nexpct = 'x'\n", 3, "`expect`"),
            ("[[test]]\nname = 'a'\ndisplay = 'none'\n", 3, "no key"),
            ("[[test]]\nname = 'a'\nends = 'badly'\n", 3, "power-off"),
            ("[[test]]\nname = 'a'\nexpect-regex = '('\n", 3, "regular expression"),
            ("[[test]]\nname = 'a'\n[[test]]\nname = 'a'\n", 3, "another"),
            ("[[test]]\nexpect = 'a'\n", 1, "name"),
            ("[[test]]\nname = 'a'\ntime-limit = 'soon'\n", 3, "duration"),
            ("[default]\n", 1, "defaults"),
            ("", 1, "no test"),
        ] {
            let error = parse(&Document::from_text(text), None).unwrap_err();
            assert!(error.text.starts_with(&format!("test.toml:{line}: ")), "{}", error.text);
            assert!(error.text.contains(words), "{}", error.text);
        }
    }

    #[test]
    fn shards_cover_all_tests_once() {
        for count in 1..6 {
            for test in 0..20 {
                assert_eq!((0..count).filter(|index| Shard { index: *index, count }.has(test)).count(), 1);
            }
        }
        let slurm = |name: &str| match name {
            "SLURM_ARRAY_TASK_ID" => Some("3".to_owned()),
            "SLURM_ARRAY_TASK_MIN" => Some("1".to_owned()),
            "SLURM_ARRAY_TASK_COUNT" => Some("4".to_owned()),
            _ => None,
        };
        assert_eq!(Shard::parse_in("auto", slurm), Ok(Shard { index: 2, count: 4 }));
        let job = |name: &str| (name == "JOB_COMPLETION_INDEX").then(|| "0".to_owned());
        assert_eq!(Shard::parse_in("auto/8", job), Ok(Shard { index: 0, count: 8 }));
        assert!(Shard::parse_in("auto", job).is_err() && Shard::parse_in("auto/8", |_| None).is_err());
        assert_eq!(Shard::parse("2/3"), Ok(Shard { index: 1, count: 3 }));
        for bad in ["0/3", "4/3", "1", "a/b", "1/0"] {
            assert!(Shard::parse(bad).is_err(), "{bad}");
        }
        assert!(Mailbox::parse("0x500=1:2").is_ok() && Mailbox::parse("x").is_err());
    }
}
