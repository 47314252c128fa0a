//! `beigebox image`: makes, converts, checks and changes disk images.

use crate::drives::{self, image_failure};
use crate::{Failure, code, values};
use beigebox::Storage;
use beigebox::host::image::qcow2::{BackingName, CreateQcow2};
use beigebox::host::image::{FormatError, create_file};
use beigebox::host::{Format, Image, ImageError, ImageOptions, Mode, RawImage, open_image};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Args, Debug)]
pub(crate) struct ImageCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Makes an image: qcow2 unless said. With a backing file, only what differs from it is kept.
    Create {
        /// raw or qcow2.
        #[arg(long, short, value_name = "FORMAT", value_parser = drives::format, default_value = "qcow2")]
        format: Format,
        /// The image that is seen where nothing has been written; it must not change any more.
        #[arg(long, short, value_name = "FILE")]
        backing: Option<PathBuf>,
        /// Its format; recognised now, and written down, unless said.
        #[arg(long, value_name = "FORMAT", value_parser = drives::format)]
        backing_format: Option<Format>,
        /// Bytes of a cluster: a power of two from 512 to 2M.
        #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "64K")]
        cluster_size: u64,
        /// Version of qcow2, 2 or 3.
        #[arg(long, value_name = "N", default_value = "3")]
        version: u32,
        /// Replace an existing file.
        #[arg(long)]
        force: bool,
        /// The new image.
        file: PathBuf,
        /// Bytes of the disk, for instance 10G; with a backing file, its size unless said.
        #[arg(value_parser = values::size)]
        size: Option<u64>,
    },
    /// Copies an image into another format.
    Convert {
        /// Format of the source; recognised unless said.
        #[arg(long, short, value_name = "FORMAT", value_parser = drives::format)]
        format: Option<Format>,
        /// Format of the copy: raw or qcow2.
        #[arg(long, short = 'O', value_name = "FORMAT", value_parser = drives::format, default_value = "qcow2")]
        output_format: Format,
        /// Compress the clusters of a qcow2 image.
        #[arg(long, short)]
        compress: bool,
        /// Compress with zstd instead of zlib.
        #[arg(long, requires = "compress")]
        zstd: bool,
        /// Copy this internal snapshot instead of the present state.
        #[arg(long, value_name = "NAME")]
        state: Option<String>,
        /// File or folder from which backing files may be taken; may be repeated.
        #[arg(long, value_name = "PATH")]
        allow_backing: Vec<PathBuf>,
        /// Replace an existing file.
        #[arg(long)]
        force: bool,
        /// The image.
        source: PathBuf,
        /// The copy.
        target: PathBuf,
    },
    /// Says what an image is.
    Info {
        /// File or folder from which backing files may be taken; may be repeated.
        #[arg(long, value_name = "PATH")]
        allow_backing: Vec<PathBuf>,
        /// The image.
        file: PathBuf,
    },
    /// Looks for leaks and damage in a qcow2 image, and for damage in VMDK, VDI and VHD images. Exit code 4
    /// when some is left in a qcow2 image.
    Check {
        /// Free leaked clusters, and mend refcounts and flags.
        #[arg(long)]
        repair: bool,
        /// File or folder from which backing files may be taken; may be repeated.
        #[arg(long, value_name = "PATH")]
        allow_backing: Vec<PathBuf>,
        /// The image.
        file: PathBuf,
    },
    /// Changes the size of a raw or qcow2 image.
    Resize {
        /// Format of the image; recognised unless said.
        #[arg(long, short, value_name = "FORMAT", value_parser = drives::format)]
        format: Option<Format>,
        /// Allow a raw image to become smaller: what is cut off is lost.
        #[arg(long)]
        shrink: bool,
        /// File or folder from which backing files may be taken; may be repeated.
        #[arg(long, value_name = "PATH")]
        allow_backing: Vec<PathBuf>,
        /// The image.
        file: PathBuf,
        /// Bytes of the disk, for instance 20G.
        #[arg(value_parser = values::size)]
        size: u64,
    },
    /// Internal snapshots of a qcow2 image; lists them when nothing else is asked for.
    Snapshot {
        /// Keep the present state under this name.
        #[arg(long, short, value_name = "NAME", group = "what")]
        create: Option<String>,
        /// Go back to the state of this name; the present one is lost.
        #[arg(long, short, value_name = "NAME", group = "what")]
        apply: Option<String>,
        /// Forget the state of this name.
        #[arg(long, short, value_name = "NAME", group = "what")]
        delete: Option<String>,
        /// File or folder from which backing files may be taken; may be repeated.
        #[arg(long, value_name = "PATH")]
        allow_backing: Vec<PathBuf>,
        /// The image.
        file: PathBuf,
    },
}

pub(crate) fn run(command: ImageCommand) -> Result<u8, Failure> {
    match command.action {
        Action::Create { format, backing, backing_format, cluster_size, version, force, file, size } => {
            let backing = backing.map(|path| Backing { path, format: backing_format });
            create(&file, format, size, backing, (cluster_size, version), force)
        }
        Action::Convert { format, output_format, compress, zstd, state, allow_backing, force, source, target } => {
            let options =
                ImageOptions { format, backing: allow_backing, snapshot: state, ..ImageOptions::new(Mode::ReadOnly) };
            convert(&source, &options, &target, output_format, compress.then_some(zstd), force)
        }
        Action::Info { allow_backing, file } => info(&file, allow_backing),
        Action::Check { repair, allow_backing, file } => check(&file, repair, allow_backing),
        Action::Resize { format, shrink, allow_backing, file, size } => {
            resize(&file, format, size, shrink, allow_backing)
        }
        Action::Snapshot { create, apply, delete, allow_backing, file } => {
            snapshot(&file, [create, apply, delete], allow_backing)
        }
    }
}

struct Backing {
    path: PathBuf,
    format: Option<Format>,
}

fn bad(file: &Path, text: &str) -> Failure {
    Failure::new(code::CONFIGURATION, format!("{}: {text}", file.display()))
}
fn io(file: &Path, error: &std::io::Error) -> Failure {
    Failure::file(file, "written", error)
}
fn wrong(file: &Path, format: Format) -> impl Fn(FormatError) -> Failure {
    move |problem| match problem {
        FormatError::Io(error) => io(file, &error),
        problem => image_failure(ImageError::Format { path: file.to_owned(), format: format.name(), problem }),
    }
}
fn failed(file: &Path, doing: &str) -> Failure {
    Failure::new(code::IO, format!("{}: could not be {doing} to the end", file.display()))
}

fn create(
    file: &Path,
    format: Format,
    size: Option<u64>,
    backing: Option<Backing>,
    (cluster, version): (u64, u32),
    force: bool,
) -> Result<u8, Failure> {
    if !matches!(format, Format::Raw | Format::Qcow2) {
        return Err(bad(file, "only raw and qcow2 images can be made"));
    }
    let mut name = None;
    let mut size = size;
    if let Some(backing) = backing {
        if format != Format::Qcow2 {
            return Err(bad(file, "only qcow2 images can have a backing file"));
        }
        let folder = backing.path.parent().map(Path::to_owned).unwrap_or_default();
        let options =
            ImageOptions { format: backing.format, backing: vec![folder], ..ImageOptions::new(Mode::ReadOnly) };
        let base = open_image(&backing.path, &options).map_err(image_failure)?;
        size = size.or(Some(base.len()));
        let format = if base.format() == Format::Vhd { "vpc" } else { base.format().name() };
        name = Some(BackingName { name: beside(file, &backing.path)?, format: Some(format.to_owned()) });
    }
    let Some(size) = size else { return Err(bad(file, "say how large the disk is, for instance 10G")) };
    if !size.is_multiple_of(512) {
        return Err(bad(file, "the size must be a multiple of 512"));
    }
    if !cluster.is_power_of_two() {
        return Err(bad(file, "the cluster size must be a power of two from 512 to 2M"));
    }
    let settings =
        CreateQcow2 { cluster_bits: cluster.trailing_zeros(), version, backing: name, ..CreateQcow2::new(size) };
    if format == Format::Qcow2 {
        // What cannot work must not leave a file behind.
        settings.write(&mut Vec::new()).map_err(wrong(file, format))?;
    }
    let mut bytes = create_file(file, force).map_err(image_failure)?;
    if format == Format::Raw {
        bytes.set_len(size).map_err(|error| io(file, &error))?;
    } else {
        settings.write(&mut *bytes).map_err(wrong(file, format))?;
    }
    Ok(code::PASS)
}

/// The name by which an image at `file` finds `base`: relative when that is in or below its
/// folder, so that both can be moved together.
fn beside(file: &Path, base: &Path) -> Result<String, Failure> {
    let base = base.canonicalize().map_err(|error| Failure::file(base, "opened", &error))?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = folder.canonicalize().map_err(|error| Failure::file(folder, "opened", &error))?;
    let name = base.strip_prefix(&folder).unwrap_or(&base);
    name.to_str().map(str::to_owned).ok_or_else(|| bad(&base, "the name of a backing file must be UTF-8"))
}

/// Bytes that are copied at a time: whole clusters of every size.
const PIECE: u64 = 2 << 20;

fn convert(
    source: &Path,
    options: &ImageOptions,
    target: &Path,
    format: Format,
    zstd: Option<bool>,
    force: bool,
) -> Result<u8, Failure> {
    let mut image = open_image(source, options).map_err(image_failure)?;
    if !matches!((format, zstd), (Format::Raw, None) | (Format::Qcow2, _)) {
        return Err(bad(target, "only raw and qcow2 images can be made, and only qcow2 be compressed"));
    }
    let existed = target.exists();
    let file = create_file(target, force).map_err(image_failure)?;
    let copied = copy(source, &mut image, target, file, format, zstd);
    if copied.is_err() && !existed {
        // Half a copy is none.
        let _ = std::fs::remove_file(target);
    }
    copied
}

fn copy(
    source: &Path,
    image: &mut Image,
    target: &Path,
    mut file: Box<dyn beigebox::host::image::Backing>,
    format: Format,
    zstd: Option<bool>,
) -> Result<u8, Failure> {
    let size = image.len().next_multiple_of(512);
    let mut copy = if format == Format::Raw {
        file.set_len(size).map_err(|error| io(target, &error))?;
        Image::Raw(RawImage::new(file, None, false))
    } else {
        let settings = CreateQcow2 { zstd: zstd == Some(true), ..CreateQcow2::new(size) };
        settings.write(&mut *file).map_err(wrong(target, format))?;
        drop(file);
        let options = ImageOptions { format: Some(format), ..ImageOptions::new(Mode::Write) };
        open_image(target, &options).map_err(image_failure)?
    };
    let mut piece = vec![0; PIECE as usize];
    let mut at = 0;
    while at < image.len() {
        let n = PIECE.min(image.len() - at) as usize;
        piece.truncate(n);
        image.read_or_say(at, &mut piece).map_err(wrong(source, image.format()))?;
        for (index, cluster) in piece.chunks(1 << 16).enumerate() {
            let at = at + ((index as u64) << 16);
            if cluster.iter().all(|byte| *byte == 0) {
                continue;
            }
            match &mut copy {
                Image::Qcow2(copy) if zstd.is_some() && cluster.len() == 1 << 16 => {
                    copy.write_compressed(at, cluster).map_err(wrong(target, format))?;
                }
                copy => copy.write(at, cluster).map_err(|_| failed(target, "written"))?,
            }
        }
        at += n as u64;
    }
    copy.flush().map_err(|_| failed(target, "written"))?;
    Ok(code::PASS)
}

fn info(file: &Path, backing: Vec<PathBuf>) -> Result<u8, Failure> {
    let options = ImageOptions { backing, ..ImageOptions::new(Mode::ReadOnly) };
    let mut image = open_image(file, &options).map_err(image_failure)?;
    let length = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    println!("image: {}", file.display());
    println!("format: {}", image.format().name());
    println!("disk size: {} bytes", image.len());
    println!("file size: {length} bytes");
    match &mut image {
        Image::Qcow2(image) => {
            let facts = image.facts();
            println!("version: {}", facts.version);
            println!("cluster size: {}", facts.cluster);
            println!("compression: {}", facts.compression);
            println!("refcount bits: {}", facts.refcount_bits);
            println!("lazy refcounts: {}", facts.lazy_refcounts);
            println!("dirty: {}", facts.dirty);
            println!("corrupt: {}", facts.corrupt);
            if let Some(backing) = facts.backing {
                println!("backing file: {}", backing.name);
                println!("backing format: {}", backing.format.as_deref().unwrap_or("not stated"));
            }
            for one in image.snapshots().map_err(wrong(file, Format::Qcow2))? {
                println!("snapshot: {} {} ({} bytes)", one.id, one.name, one.disk_size);
            }
        }
        Image::Vmdk(image) => println!("kind: {}", image.kind()),
        Image::Vhd(image) => println!("kind: {}", if image.is_fixed() { "fixed" } else { "dynamic" }),
        Image::Raw(_) | Image::Vdi(_) => {}
    }
    Ok(code::PASS)
}

fn check(file: &Path, repair: bool, backing: Vec<PathBuf>) -> Result<u8, Failure> {
    let fail = wrong(file, Format::Qcow2);
    let options = ImageOptions { backing, ..ImageOptions::new(Mode::ReadOnly) };
    let image = open_image(file, &options).map_err(image_failure)?;
    let mut image = match image {
        Image::Qcow2(image) => image,
        Image::Raw(_) => {
            println!("{}: {} images have nothing to check", file.display(), image.format().name());
            return Ok(code::PASS);
        }
        mut other => {
            // Those of VDI were checked as they were opened.
            let checked = match &mut other {
                Image::Vmdk(image) => image.check(),
                Image::Vhd(image) => image.check(),
                _ => Ok(()),
            };
            checked.map_err(wrong(file, other.format()))?;
            println!("{}: no errors", file.display());
            return Ok(code::PASS);
        }
    };
    let mut report = image.check().map_err(&fail)?;
    drop(image);
    for message in &report.messages {
        println!("{message}");
    }
    if repair && !report.is_clean() {
        let mode = ImageOptions { mode: Mode::Write, ..options };
        let mut image = beigebox::host::image::open_to_repair(file, &mode).map_err(image_failure)?;
        image.repair().map_err(&fail)?;
        println!("repaired: {} corruptions, {} leaks", report.corruptions, report.leaks);
        report = image.check().map_err(&fail)?;
    }
    println!(
        "{} corruptions, {} leaked clusters; {} of {} clusters allocated, {} of them compressed",
        report.corruptions, report.leaks, report.allocated, report.total, report.compressed
    );
    Ok(if report.is_clean() { code::PASS } else { code::EXPECTATION })
}

fn resize(file: &Path, format: Option<Format>, size: u64, shrink: bool, backing: Vec<PathBuf>) -> Result<u8, Failure> {
    if !size.is_multiple_of(512) || size == 0 {
        return Err(bad(file, "the size must be a multiple of 512, and not 0"));
    }
    let options = ImageOptions { format, backing, ..ImageOptions::new(Mode::Write) };
    match open_image(file, &options).map_err(image_failure)? {
        Image::Raw(mut image) => {
            if size < image.len() && !shrink {
                return Err(bad(file, "the image would become smaller, and lose data; say `--shrink` if it may"));
            }
            image.set_len(size).map_err(|error| io(file, &error))?;
        }
        Image::Qcow2(mut image) => image.grow(size).map_err(wrong(file, Format::Qcow2))?,
        _ => return Err(bad(file, "only raw and qcow2 images can change their size")),
    }
    Ok(code::PASS)
}

fn snapshot(file: &Path, [create, apply, delete]: [Option<String>; 3], backing: Vec<PathBuf>) -> Result<u8, Failure> {
    let fail = wrong(file, Format::Qcow2);
    let changes = create.is_some() || apply.is_some() || delete.is_some();
    let mode = if changes { Mode::Write } else { Mode::ReadOnly };
    let options = ImageOptions { backing, ..ImageOptions::new(mode) };
    let Image::Qcow2(mut image) = open_image(file, &options).map_err(image_failure)? else {
        return Err(bad(file, "only qcow2 images have internal snapshots"));
    };
    if let Some(name) = create {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        image.create_snapshot(&name, now as u32).map_err(&fail)?;
    } else if let Some(name) = apply {
        image.apply_snapshot(&name).map_err(&fail)?;
    } else if let Some(name) = delete {
        image.delete_snapshot(&name).map_err(&fail)?;
    } else {
        for one in image.snapshots().map_err(&fail)? {
            let at = beigebox::DateTime::from_unix(one.seconds.into());
            let (day, time) = ((at.year, at.month, at.day), (at.hour, at.minute, at.second));
            print!("{}\t{}\t{} bytes\t", one.id, one.name, one.disk_size);
            println!("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", day.0, day.1, day.2, time.0, time.1, time.2);
        }
    }
    Ok(code::PASS)
}
