//! `--sound`: where what the guest plays goes.

use crate::{Failure, code};
use beigebox::Machine;
use beigebox::host::sound::{SoundSink, WavFile};
use std::path::PathBuf;

/// What `--sound` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum SoundTo {
    #[default]
    None,
    Wav(PathBuf),
    Host,
}

pub(crate) fn parse(text: &str) -> Result<SoundTo, String> {
    match text {
        "none" | "null" => Ok(SoundTo::None),
        "host" => Ok(SoundTo::Host),
        _ => match text.strip_prefix("wav:") {
            Some(path) if !path.is_empty() => Ok(SoundTo::Wav(path.into())),
            _ => Err(format!("`{text}` is neither none, wav:FILE nor host")),
        },
    }
}

/// Carries samples from the machine to their sink.
pub(crate) struct Sound(Option<(Box<dyn SoundSink>, String)>);

impl Sound {
    pub(crate) fn open(to: &SoundTo, machine: &mut Machine) -> Result<Sound, Failure> {
        let opened: (Box<dyn SoundSink>, String) = match to {
            SoundTo::None => return Ok(Sound(None)),
            SoundTo::Wav(path) => {
                let file = WavFile::create(path).map_err(|error| Failure::file(path, "written", &error))?;
                (Box::new(file), path.display().to_string())
            }
            SoundTo::Host => (host()?, "the host's sound output".into()),
        };
        machine.listen(true);
        Ok(Sound(Some(opened)))
    }
    /// Hands over what has been played since the last call. Returns what a person should know now.
    pub(crate) fn play(&mut self, machine: &mut Machine) -> Result<Option<String>, Failure> {
        let Some((sink, name)) = &mut self.0 else { return Ok(None) };
        sink.play(&machine.take_sound()).map_err(|error| Failure::new(code::IO, format!("{name}: {error}")))
    }
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let Some((sink, name)) = &mut self.0 else { return Ok(()) };
        if let Some(note) = sink.finish().map_err(|error| Failure::new(code::IO, format!("{name}: {error}")))? {
            eprintln!("beigebox: {note}");
        }
        Ok(())
    }
}

#[cfg(feature = "sound")]
fn host() -> Result<Box<dyn SoundSink>, Failure> {
    match beigebox::host::sound::Loudspeakers::open() {
        Ok(speakers) => Ok(Box::new(speakers)),
        Err(error) => Err(Failure::new(code::IO, format!("--sound host: {error}; try `--sound wav:FILE`"))),
    }
}

#[cfg(not(feature = "sound"))]
fn host() -> Result<Box<dyn SoundSink>, Failure> {
    let text = "--sound host: this binary was built without it: `cargo build --release --features sound` (on Linux with \
                the package libasound2-dev), or use `--sound wav:FILE`";
    Err(Failure::new(code::CONFIGURATION, text))
}
