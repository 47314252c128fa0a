//! Settings: options of `beigebox run` by name, gathered from presets, files and the command line.
//!
//! A key in a machine file or manifest is the long name of an option, so what the command can do,
//! files can say. Later layers win; options that may be repeated add up.

use crate::document::{Document, kind, nearest};
use crate::options::Run;
use crate::presets::{self, Preset};
use crate::{Failure, code};
use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use toml::Spanned;
use toml::de::DeValue;

/// What a setting is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A switch that is on.
    On,
    /// Takes back what earlier layers say.
    Off,
    Text(OsString),
}

/// Who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Preset(&'static str),
    File(PathBuf, usize),
    CommandLine,
    /// Follows from what kind of run it is.
    Kind(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Preset(name) => write!(f, "preset {name}"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Kind(what) => f.write_str(what),
        }
    }
}

/// One option with its value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Setting {
    /// A setting that the program makes; `name` must be an option or it is left out of the run.
    pub(crate) fn new(name: &'static str, value: impl Into<OsString>, origin: Origin) -> Setting {
        Setting { name, value: Value::Text(value.into()), origin }
    }
    pub(crate) fn on(name: &'static str, origin: Origin) -> Setting {
        Setting { name, value: Value::On, origin }
    }
}

/// An option of `beigebox run`.
pub(crate) struct Known {
    /// Its long name; `image` for the positional.
    pub(crate) name: &'static str,
    /// The name by which clap knows it.
    id: &'static str,
    pub(crate) is_switch: bool,
    pub(crate) repeats: bool,
    is_path: bool,
    pub(crate) heading: &'static str,
    pub(crate) help: String,
    pub(crate) default: Option<String>,
}

#[derive(Parser)]
#[command(name = "beigebox run", disable_help_flag = true)]
struct Parsed {
    #[command(flatten)]
    run: Run,
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// All options, once.
pub(crate) fn known() -> &'static [Known] {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let path: ValueParser = clap::value_parser!(PathBuf);
        let command = Parsed::command();
        command
            .get_arguments()
            .filter(|argument| argument.get_id() != "help" && argument.get_id() != "version")
            .map(|argument| Known {
                name: leak(argument.get_long().unwrap_or(argument.get_id().as_str())),
                id: leak(argument.get_id().as_str()),
                is_switch: matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::SetFalse),
                repeats: matches!(argument.get_action(), ArgAction::Append),
                is_path: argument.get_value_parser().type_id() == path.type_id()
                    || argument.get_value_parser().type_id() == TypeId::of::<PathBuf>(),
                heading: argument.get_help_heading().map_or("", leak),
                help: argument.get_help().map(ToString::to_string).unwrap_or_default(),
                default: argument
                    .get_default_values()
                    .first()
                    .filter(|_| !matches!(argument.get_action(), ArgAction::SetTrue))
                    .map(|value| value.to_string_lossy().into_owned()),
            })
            .collect()
    })
}

/// The option of a name.
pub(crate) fn find(name: &str) -> Option<&'static Known> {
    known().iter().find(|known| known.name == name)
}

/// Whether tests and manifests may set it: what makes the machine, not where a person sees it.
pub(crate) fn is_of_machine(known: &Known) -> bool {
    let machine = !matches!(known.heading, "Input and output" | "Looking inside" | "");
    let input = ["image", "preset", "on-text", "script", "debugcon-port", "debug-exit"].contains(&known.name);
    (machine || input) && !["exit-on-text", "exit-on-picture", "clock"].contains(&known.name)
}

/// What was given on a command line that has the options of `run`, or some of them.
pub(crate) fn from_matches(matches: &ArgMatches) -> Vec<Setting> {
    let mut settings = Vec::new();
    for known in known() {
        if matches.try_contains_id(known.id).is_err()
            || matches.value_source(known.id) != Some(ValueSource::CommandLine)
        {
            continue;
        }
        if known.is_switch {
            settings.push(Setting::on(known.name, Origin::CommandLine));
            continue;
        }
        for value in matches.get_raw(known.id).into_iter().flatten() {
            settings.push(Setting::new(known.name, value, Origin::CommandLine));
        }
    }
    settings
}

/// The arguments for clap that say the same.
fn arguments(settings: &[Setting]) -> Vec<OsString> {
    let mut kept: Vec<&Setting> = Vec::new();
    for setting in settings {
        let repeats = find(setting.name).is_some_and(|known| known.repeats);
        if setting.value == Value::Off || !repeats {
            kept.retain(|earlier| earlier.name != setting.name);
        }
        if setting.value != Value::Off {
            kept.push(setting);
        }
    }
    let mut arguments = Vec::new();
    let mut image = None;
    for setting in kept {
        match &setting.value {
            Value::Text(value) if setting.name == "image" => image = Some(value.clone()),
            Value::Text(value) => {
                let mut argument = OsString::from(format!("--{}=", setting.name));
                argument.push(value);
                arguments.push(argument);
            }
            Value::On => arguments.push(format!("--{}", setting.name).into()),
            Value::Off => {}
        }
    }
    if let Some(image) = image {
        arguments.push("--".into());
        arguments.push(image);
    }
    arguments
}

/// A command line for a shell that says the same.
pub(crate) fn shell(settings: &[Setting]) -> String {
    let quoted = |argument: &OsString| {
        let text = argument.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
        if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    arguments(settings).iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The first line of what clap says.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}

/// The options that the settings come to. A machine file or preset among them is laid underneath.
pub(crate) fn resolve(settings: &[Setting]) -> Result<Run, Failure> {
    let mut command = vec![OsString::from("beigebox run")];
    command.extend(arguments(settings));
    Parsed::try_parse_from(command).map(|parsed| parsed.run).map_err(|error| Failure::new(2, reason(&error)))
}

/// Puts the layers below the settings that ask for them: a preset, and a machine file that stands
/// in the place of the image.
pub(crate) fn layers(given: Vec<Setting>) -> Result<Vec<Setting>, Failure> {
    let text = |settings: &[Setting], name: &str| {
        settings.iter().rev().find_map(|setting| match &setting.value {
            Value::Text(text) if setting.name == name => Some(text.clone()),
            _ => None,
        })
    };
    let mut settings = given;
    if let Some(image) = text(&settings, "image")
        && Path::new(&image).extension() == Some(OsStr::new("toml"))
    {
        settings.retain(|setting| setting.name != "image");
        let mut file = machine_file(Path::new(&image))?;
        file.extend(settings);
        settings = file;
    }
    if let Some(name) = text(&settings, "preset") {
        settings.retain(|setting| setting.name != "preset");
        let mut all = presets::find(&name.to_string_lossy()).map(Preset::settings)?;
        all.extend(settings);
        settings = all;
    }
    Ok(settings)
}

/// Reads a machine file.
pub(crate) fn machine_file(path: &Path) -> Result<Vec<Setting>, Failure> {
    let document = Document::read(path)?;
    let mut settings = Vec::new();
    for (key, value) in &document.parse()? {
        let Some(known) = find(key.get_ref()) else {
            return Err(document.unknown_key(key, known().iter().map(|known| known.name)));
        };
        settings.extend(read(&document, document.folder(), known, key.span().start, value)?);
    }
    Ok(settings)
}

/// Reads the value of one key. Each value is tried alone, so that its error points at it.
pub(crate) fn read(
    document: &Document,
    folder: &Path,
    known: &'static Known,
    key_at: usize,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<Setting>, Failure> {
    let origin = Origin::File(document.path.clone(), document.line(key_at));
    if known.is_switch {
        let Some(on) = value.get_ref().as_bool() else {
            let problem = format!("`{}` is true or false, not {}", known.name, kind(value.get_ref()));
            return Err(document.error(value.span(), &problem, None));
        };
        return Ok(vec![Setting { name: known.name, value: if on { Value::On } else { Value::Off }, origin }]);
    }
    if !known.repeats && value.get_ref().is_array() {
        let problem = format!("`{}` takes one value, not a list", known.name);
        return Err(document.error(value.span(), &problem, None));
    }
    let mut settings = Vec::new();
    for element in document.list(value) {
        let text = match element.get_ref() {
            DeValue::String(text) => text.clone().into_owned(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Datetime(date) => date.to_string().trim_end_matches('Z').to_owned(),
            other => {
                let problem = format!("`{}` takes text or a number, not {}", known.name, kind(other));
                return Err(document.error(element.span(), &problem, None));
            }
        };
        let setting = Setting::new(known.name, rebased(folder, known, &text), origin.clone());
        let alone = match known.name {
            "preset" => presets::find(&text).map(|_| ()).map_err(|failure| failure.text),
            _ => resolve(std::slice::from_ref(&setting)).map(|_| ()).map_err(|failure| failure.text),
        };
        alone.map_err(|problem| document.error(element.span(), &problem, None))?;
        settings.push(setting);
    }
    Ok(settings)
}

/// The value with file names in it counted from the folder of the file that they stand in.
fn rebased(folder: &Path, known: &Known, text: &str) -> OsString {
    let join = |path: &str| folder.join(path).into_os_string();
    let behind = |prefix: &str, path: &str| {
        let mut all = OsString::from(prefix);
        all.push(join(path));
        all
    };
    if text.is_empty() || text == "-" {
        return text.into();
    }
    match known.name {
        "load" => match text.split_once(':') {
            Some((address, path)) => behind(&format!("{address}:"), path),
            None => text.into(),
        },
        // `file=F,OPTION`: a comma within a value is written twice.
        "floppy" | "disk" | "cdrom" if text.starts_with("file=") || text.contains(",file=") => {
            let part = |part: &str| match part.split_once('=') {
                Some((key @ ("file" | "backing"), value)) => {
                    let path = folder.join(value.replace('\0', ","));
                    format!("{key}={}", path.to_string_lossy().replace(',', ",,"))
                }
                _ => part.replace('\0', ",,"),
            };
            text.replace(",,", "\0").split(',').map(part).collect::<Vec<_>>().join(",").into()
        }
        "image" | "module" | "floppy" | "disk" | "cdrom" => join(text),
        "on-text" => rebased_rule(folder, text).into(),
        _ if known.is_path => join(text),
        _ => match ["file:", "wav:"].iter().find_map(|prefix| Some((prefix, text.strip_prefix(prefix)?))) {
            Some((prefix, path)) => behind(prefix, path),
            None => text.into(),
        },
    }
}

/// The same for a rule: its picture, and the file that it names.
fn rebased_rule(folder: &Path, text: &str) -> String {
    let Some((when, action)) = text.split_once("=>") else { return text.to_owned() };
    let behind = |text: &str, prefixes: &[&str]| {
        let found = prefixes.iter().find_map(|prefix| Some((prefix, text.strip_prefix(prefix)?)));
        match found {
            Some((prefix, path)) if !path.is_empty() && path != "none" => {
                format!("{prefix}{}", folder.join(path).to_string_lossy())
            }
            _ => text.to_owned(),
        }
    };
    format!("{}=>{}", behind(when, &["picture:"]), behind(action, &["screenshot:", "floppy:", "disc:"]))
}

/// The options of `run` that make the machine, as arguments of another command.
#[derive(Clone, Debug, Default)]
pub(crate) struct MachineArguments(pub(crate) Vec<Setting>);

impl FromArgMatches for MachineArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(MachineArguments(from_matches(matches)))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = from_matches(matches);
        Ok(())
    }
}

impl Args for MachineArguments {
    fn augment_args(command: clap::Command) -> clap::Command {
        let wanted = |argument: &&Arg| {
            argument.get_long().and_then(find).is_some_and(|known| is_of_machine(known) && known.name != "image")
        };
        let arguments: Vec<Arg> = Parsed::command().get_arguments().filter(wanted).cloned().collect();
        command.args(arguments)
    }
    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// An error about a word that is none of the `known` ones.
pub(crate) fn unknown_word<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Failure {
    let all: Vec<&str> = known.clone().collect();
    let near = nearest(word, known).map(|near| format!("; the nearest is `{near}`")).unwrap_or_default();
    Failure::new(code::CONFIGURATION, format!("there is no {what} `{word}`{near}; there are {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &'static str, value: &str) -> Setting {
        Setting::new(name, value, Origin::CommandLine)
    }

    #[test]
    fn later_layers_win_and_lists_add_up() {
        let run = resolve(&[
            set("memory", "16M"),
            set("disk", "a"),
            Setting::on("snapshot", Origin::CommandLine),
            set("memory", "32M"),
            set("disk", "b"),
            Setting { name: "snapshot", value: Value::Off, origin: Origin::CommandLine },
        ])
        .unwrap();
        assert_eq!(run.memory, 32 << 20);
        assert_eq!(run.disk.len(), 2);
        assert!(!run.snapshot);
    }

    #[test]
    fn a_machine_file_says_what_options_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        std::fs::write(
            &path,
            "preset = 'dos'\nmemory = '8M'\ndisk = ['a.img', 'file=b,,c.img,format=raw']\nload = '0x7c00:x.bin'\nsnapshot = true\n",
        )
        .unwrap();
        let all = layers(vec![set("image", path.to_str().unwrap()), set("debug-exit", "0x501")]).unwrap();
        let run = resolve(&all).unwrap();
        assert_eq!(run.memory, 8 << 20);
        assert_eq!(run.disk[0].path, folder.path().join("a.img"));
        assert_eq!(run.disk[1].path, folder.path().join("b,c.img"));
        assert_eq!(run.load.unwrap().path, folder.path().join("x.bin"));
        assert_eq!(run.cpu, beigebox::Model::I486);
        assert_eq!(run.debug_exit, 0x501);
        for (text, line, words) in [
            ("memory = '8M'\nmemry = 1\n", 2, "memory"),
            ("\n\nmemory = '8Q'\n", 3, "unit"),
            ("snapshot = 'yes'\n", 1, "true or false"),
            ("preset = 'win97'\n", 1, "win98"),
            ("cpu = ['486']\n", 1, "one value"),
            ("a = \n", 1, "^"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = machine_file(&path).unwrap_err();
            assert!(error.text.contains(&format!("m.toml:{line}: ")), "{}", error.text);
            assert!(error.text.contains(words) && error.code == 78, "{}", error.text);
        }
    }

    #[test]
    fn a_replay_can_be_pasted_into_a_shell() {
        let text = shell(&[set("append", "a 'b'"), set("memory", "8M"), set("image", "x y")]);
        assert_eq!(text, r"'--append=a '\''b'\''' --memory=8M -- 'x y'");
    }
}
