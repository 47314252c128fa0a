//! A drive on the command line: `FILE`, or `file=FILE` with options behind it.

use crate::Failure;
use crate::code;
use beigebox::Storage;
use beigebox::host::{Cache, FatFolder, Format, ImageError, ImageOptions, Mode, Overlay, ShareError, SharedFolder};
use std::path::{Path, PathBuf};

/// An image and how it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drive {
    pub(crate) path: PathBuf,
    format: Option<Format>,
    cache: Cache,
    readonly: bool,
    snapshot: bool,
    backing: Vec<PathBuf>,
    internal: Option<String>,
}

impl From<PathBuf> for Drive {
    fn from(path: PathBuf) -> Drive {
        Drive { path, ..Drive::default() }
    }
}

impl Drive {
    /// How the image is opened when the whole machine is run with or without `--snapshot`.
    pub(crate) fn options(&self, snapshot: bool) -> ImageOptions {
        let mode = match (snapshot || self.snapshot, self.readonly) {
            (true, _) => Mode::Snapshot,
            (_, true) => Mode::ReadOnly,
            _ => Mode::Write,
        };
        ImageOptions {
            mode,
            format: self.format,
            cache: self.cache,
            backing: self.backing.clone(),
            snapshot: self.internal.clone(),
        }
    }
}

/// Parses a drive. A comma within a value is written twice.
pub(crate) fn drive(text: &str) -> Result<Drive, String> {
    if !text.starts_with("file=") && !text.contains(",file=") {
        return Ok(PathBuf::from(text).into());
    }
    let mut drive = Drive::default();
    for part in text.replace(",,", "\0").split(',') {
        let part = part.replace('\0', ",");
        let (key, value) = part.split_once('=').unwrap_or((&part, "on"));
        let switch = || match value {
            "on" | "true" | "yes" => Ok(true),
            "off" | "false" | "no" => Ok(false),
            _ => Err(format!("`{key}={value}`: write on or off")),
        };
        match key {
            "file" => drive.path = value.into(),
            "format" => drive.format = Some(format(value)?),
            "cache" => {
                drive.cache = Cache::from_name(value).ok_or_else(|| {
                    let names: Vec<&str> = Cache::NAMES.iter().map(|(name, _)| *name).collect();
                    format!("there is no cache mode `{value}`; there are {}", names.join(", "))
                })?;
            }
            "readonly" => drive.readonly = switch()?,
            "snapshot" => drive.snapshot = switch()?,
            "backing" => drive.backing.push(value.into()),
            "state" => drive.internal = Some(value.to_owned()),
            _ => {
                return Err(format!(
                    "`{key}` is no option of a drive; there are file, format, cache, readonly, snapshot, backing, state"
                ));
            }
        }
    }
    if drive.path.as_os_str().is_empty() {
        return Err("file= needs a file".into());
    }
    Ok(drive)
}

/// The format of an image by its name.
pub(crate) fn format(name: &str) -> Result<Format, String> {
    Format::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Format::NAMES.iter().map(|(name, _)| *name).collect();
        format!("there is no format `{name}`; there are {}", names.join(", "))
    })
}

/// A folder as a disk; `,write` behind its name lets the guest write.
pub(crate) fn share(text: &Path, snapshot: bool) -> Result<Box<dyn Storage>, Failure> {
    let words = text.to_str().and_then(|text| text.rsplit_once(',')).filter(|_| !text.is_dir());
    let (folder, write) = match words {
        None => (text, false),
        Some((folder, "write")) => (Path::new(folder), true),
        Some((_, word)) => {
            let problem = format!("--share: `{word}` is no option of a shared folder; there is write");
            return Err(Failure::new(2, problem));
        }
    };
    let fail = |error: ShareError| image_failure(error.into());
    let (disk, left_out): (Box<dyn Storage>, Vec<PathBuf>) = if write && !snapshot {
        let disk = SharedFolder::new(folder).map_err(fail)?;
        let left_out = disk.left_out();
        (Box::new(disk), left_out)
    } else {
        let disk = FatFolder::new(folder).map_err(fail)?;
        let left_out = disk.left_out().to_vec();
        if write { (Box::new(Overlay::new(disk)), left_out) } else { (Box::new(disk), left_out) }
    };
    if let Some(first) = left_out.first() {
        let more = if left_out.len() > 1 { format!(" and {} more", left_out.len() - 1) } else { String::new() };
        eprintln!("beigebox: --share leaves out {}{more}: FAT has no such names, or no such sizes", first.display());
    }
    Ok(disk)
}

pub(crate) fn image_failure(error: ImageError) -> Failure {
    let code = match &error {
        ImageError::Open { source, .. } | ImageError::Share(ShareError::Read { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            code::MISSING
        }
        ImageError::Share(ShareError::Read { .. }) => code::IO,
        ImageError::Open { .. } | ImageError::Locked { .. } => code::IO,
        _ => code::CONFIGURATION,
    };
    Failure::new(code, error.to_string())
}

/// Whether the first bytes of a file are those of an image format.
pub(crate) fn is_image(path: &Path, head: &[u8]) -> bool {
    let head = head.get(..512).unwrap_or(head);
    Format::of_head(head).is_some() || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vhd"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_parse() {
        assert_eq!(drive("a,b").unwrap(), PathBuf::from("a,b").into());
        let one = drive("file=a,,b,format=qcow2,cache=unsafe,readonly,backing=/base").unwrap();
        assert_eq!((one.path.to_str(), one.format, one.cache), (Some("a,b"), Some(Format::Qcow2), Cache::Unsafe));
        assert_eq!(one.options(false).mode, Mode::ReadOnly);
        assert_eq!(one.options(true).mode, Mode::Snapshot);
        for bad in ["file=", "file=x,format=y", "file=x,cache=z", "file=x,readonly=maybe", "format=raw,file=x,what"] {
            assert!(drive(bad).is_err(), "{bad}");
        }
    }
}
