//! `beigebox run`: builds the machine the options describe and drives it to its end.

use crate::drives::{self, image_failure};
use crate::monitor::{Desk, Place};
use crate::options::{ClockMode, Display, Engine, Hypervisor, Run, Trace, Vga};
use crate::screens::{Screens, Stack};
use crate::script::{self, Action, Rule, When};
use crate::sink::Sink;
use crate::sound::{Sound, SoundTo};
use crate::values::{Date, Stream, Vnc};
use crate::{Failure, code, console, signals};
use beigebox::clock::Pace;
use beigebox::gdb::{self, Ran};
use beigebox::golden::Golden;
use beigebox::host::{self, Mode};
use beigebox::loader::{self, ImageKind, Module, Payload};
use beigebox::trace::TraceOptions;
use beigebox::{
    BootDevice, Builder, DateTime, EngineKind, JitCache, JitSettings, Machine, MemoryStorage, Model, Stop, VideoAdapter,
};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Real time between two looks at the outside world while the machine stands still.
const STANDING: std::time::Duration = std::time::Duration::from_millis(5);
/// Guest time between two looks at the outside world.
const SLICE: u64 = 1_000_000;
/// Guest time between two looks at the text screen for texts that are waited for.
const SCREEN_LOOK: u64 = 5_000_000;
/// The same for pictures.
const PICTURE_LOOK: u64 = 20_000_000;

pub(crate) fn run(mut options: Run) -> Result<u8, Failure> {
    recognise(&mut options)?;
    check(&options)?;
    let rules = rules(&options)?;
    let pictures = pictures(&options)?;
    let places = Places::choose(&options, !rules.is_empty());
    let is_taken = [&options.monitor, &options.qmp].contains(&&Some(Place::Stdio));
    let serial =
        options.serial.clone().unwrap_or(if places.is_shown() || is_taken { Stream::Null } else { Stream::Stdio });
    let debugcon = options.debugcon.clone().unwrap_or(Stream::Null);
    let scripted = !rules.is_empty() || !options.exit_on_text.is_empty() || !pictures.is_empty();
    let follows_host = match options.clock {
        ClockMode::Host => true,
        ClockMode::Instructions => false,
        ClockMode::Auto => {
            let heard = options.sound == SoundTo::Host;
            let attended = std::io::stdin().is_terminal() || places.is_shown() || options.vnc.is_some() || heard;
            options.net.is_live() || attended && !scripted
        }
    };
    let changes_discs = rules.iter().any(|rule| matches!(rule.action, Action::Disc(_)));
    let mut machine = build(&options, follows_host, changes_discs)?;
    trace(&mut machine, &options)?;
    let screens = screens(&options, &places, &serial)?;
    let mut session = Session {
        serial: Sink::open(&serial)?,
        debug: Sink::open(&debugcon)?,
        rules: rules.into(),
        pictures,
        rule_since: 0,
        screens,
        pace: None,
        next_look: 0,
        sound: Sound::open(&options.sound, &mut machine)?,
        next_picture: 0,
        mode: mode(&options),
        gdb: None,
        desk: Desk::open(options.monitor.as_ref(), options.qmp.as_ref(), !options.paused, mode(&options))?,
        interrupted: Arc::default(),
    };
    signals::raise(&session.interrupted)?;
    if follows_host {
        session.pace = Some(Pace::starting(machine.now()));
    }
    session.gdb = serve_gdb(&options)?;
    let started = Instant::now();
    let outcome = session.drive(&mut machine, &options, started);
    if let Ok(end) = &outcome {
        session.desk.finish(&mut machine, end);
    }
    console::restore();
    let ended = outcome?;
    session.sound.finish()?;
    finish(&mut machine, &options, started)?;
    Ok(match ended {
        End::Text => code::PASS,
        End::Quit => code::PASS,
        End::Panic(text) => {
            eprintln!("beigebox: the guest says `{text}` (--panic-text)");
            code::PANIC
        }
        End::Signal => {
            eprintln!("beigebox: stopped by a signal");
            code::INTERRUPTED
        }
        End::Limit(limit) => {
            eprintln!("beigebox: {limit} is used up");
            code::TIME_OUT
        }
        End::Stop(stop) => verdict(&stop, &options),
    })
}

/// The front ends of this machine's own screen and terminal.
struct Places {
    window: bool,
    terminal: bool,
    /// Nobody asked for the window by name: without it the run goes on.
    by_itself: bool,
}

impl Places {
    fn choose(options: &Run, has_rules: bool) -> Places {
        let has = |display| options.display.contains(&display);
        let auto = has(Display::Auto) || options.display.is_empty() && options.vnc.is_none();
        let mut places = Places { window: has(Display::Window), terminal: has(Display::Terminal), by_itself: false };
        if !auto || places.is_shown() || has(Display::None) {
            return places;
        }
        let free = options.serial != Some(Stream::Stdio)
            && options.debugcon != Some(Stream::Stdio)
            && ![&options.monitor, &options.qmp].contains(&&Some(Place::Stdio))
            && options.trace.is_empty()
            && options.exit_on_text.is_empty()
            && options.exit_on_picture.is_empty()
            && options.vga != Vga::None;
        // What runs by itself and ends by itself needs no window.
        let bounded =
            options.time_limit.is_some() || options.wall_limit.is_some() || options.max_instructions.is_some();
        let display = ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        if free && display && !bounded && !has_rules && cfg!(feature = "window") {
            places.window = true;
            places.by_itself = true;
        } else {
            places.terminal = free && Places::has_terminal();
        }
        places
    }
    fn has_terminal() -> bool {
        cfg!(unix) && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }
    fn is_shown(&self) -> bool {
        self.window || self.terminal
    }
}

fn mode(options: &Run) -> Mode {
    if options.snapshot { Mode::Snapshot } else { Mode::Write }
}

/// Opens the front ends.
fn screens(options: &Run, places: &Places, serial: &Stream) -> Result<Screens, Failure> {
    let terminal_error = |error: std::io::Error| Failure::new(code::IO, format!("the terminal: {error}"));
    let drives = options.floppy.iter().chain(&options.disk).chain(&options.cdrom).map(|drive| &drive.path);
    let name = drives.chain(&options.kernel).chain(&options.bios).next().and_then(|path| path.file_name());
    let name = name.map_or("Beigebox".into(), |name| format!("{} — Beigebox", name.to_string_lossy()));
    let mut screens = Screens::new(name.clone(), mode(options));
    screens.floppies = Stack::new(options.next_floppy.clone());
    screens.discs = Stack::new(options.next_disc.clone());
    // One that is in a drive already was opened, and may be the machine's own to write.
    let is_in = |image: &PathBuf| options.floppy.iter().any(|drive| drive.path == *image);
    for image in options.next_floppy.iter().filter(|image| !is_in(image)) {
        host::open_floppy(image, Mode::Snapshot).map_err(image_failure)?;
    }
    for image in &options.next_disc {
        host::open_cdrom(image).map_err(image_failure)?;
    }
    let mut terminal = places.terminal;
    if places.window {
        match open_window(&name) {
            Ok(window) => screens.add(window),
            Err(error) if places.by_itself => {
                terminal = Places::has_terminal();
                eprintln!("beigebox: {error}; going on without a window");
            }
            Err(error) => return Err(Failure::new(code::CONFIGURATION, format!("--display window: {error}"))),
        }
    }
    if let Some(vnc) = &options.vnc {
        screens.add(Box::new(serve(vnc, &name)?));
    }
    if terminal {
        screens.terminal().map_err(terminal_error)?;
    } else if *serial == Stream::Stdio {
        screens.console().map_err(terminal_error)?;
    }
    Ok(screens)
}

#[cfg(feature = "window")]
fn open_window(name: &str) -> std::io::Result<Box<dyn screen::FrontEnd>> {
    Ok(Box::new(window::Window::open(name)?))
}
#[cfg(not(feature = "window"))]
fn open_window(_name: &str) -> std::io::Result<Box<dyn screen::FrontEnd>> {
    Err(std::io::Error::other("this binary was built without the feature `window`"))
}

fn serve(vnc: &Vnc, name: &str) -> Result<vnc::Server, Failure> {
    let password = match &vnc.password_file {
        Some(path) => {
            let bytes = read_file(path)?;
            let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default().to_vec();
            if line.is_empty() || line.len() > 8 {
                let text = format!("{}: the first line must be a password of 1 to 8 bytes", path.display());
                return Err(Failure::new(code::CONFIGURATION, text));
            }
            Some(line)
        }
        None => vnc.password.as_ref().map(|password| password.as_bytes().to_vec()),
    };
    let web_socket = vnc.web_socket.map(|port| std::net::SocketAddr::new(vnc.address.ip(), port));
    let server = vnc::Server::listen(vnc::Config {
        address: Some(vnc.address),
        web_socket,
        origins: vnc::socket::Origins { any: password.is_some(), allowed: vnc.origins.clone() },
        settings: vnc::protocol::Settings { name: name.to_owned(), password },
    })
    .map_err(|error| Failure::new(code::IO, format!("--vnc: {error}")))?;
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    eprintln!("beigebox: VNC on {}", addresses.join(", WebSocket on "));
    Ok(server)
}

fn serve_gdb(options: &Run) -> Result<Option<gdb::Server>, Failure> {
    let Some(address) = &options.gdb else { return Ok(None) };
    let failure = |error: std::io::Error| Failure::new(code::IO, format!("--gdb {address}: {error}"));
    let mut server = gdb::Server::listen(address).map_err(failure)?;
    let place = server.address().map_err(failure)?.to_string();
    eprintln!(
        "beigebox: GDB on {place}: `target remote {}`",
        place.trim_start_matches("tcp:").trim_start_matches("unix:")
    );
    if options.gdb_wait {
        server.wait_for_debugger();
    }
    Ok(Some(server))
}

fn pictures(options: &Run) -> Result<Vec<Golden>, Failure> {
    let bad = |text: &str, problem| Failure::new(code::MISSING, format!("`--exit-on-picture {text}`: {problem}"));
    options.exit_on_picture.iter().map(|text| script::picture(text).map_err(|problem| bad(text, problem))).collect()
}

/// How a run ended.
pub(crate) enum End {
    /// The text that was waited for stands there.
    Text,
    /// A text that means failure stands there.
    Panic(String),
    /// The person at the terminal ended it.
    Quit,
    Limit(&'static str),
    Signal,
    Stop(Stop),
}

fn verdict(stop: &Stop, options: &Run) -> u8 {
    let waits = !options.exit_on_text.is_empty() || !options.exit_on_picture.is_empty();
    let quiet = if waits { code::EXPECTATION } else { code::PASS };
    match stop {
        Stop::Exit(value) => {
            let verdict = (value << 1 | 1) as u8;
            if options.success_code == Some(verdict) { code::PASS } else { verdict }
        }
        Stop::TripleFault(report) => {
            eprintln!("beigebox: triple fault: {report}");
            code::TRIPLE_FAULT
        }
        Stop::Hang => {
            eprintln!("beigebox: the guest has halted with interrupts off: nothing will happen any more");
            code::HANG
        }
        Stop::Instructions => {
            eprintln!("beigebox: --max-instructions is used up");
            code::TIME_OUT
        }
        Stop::Reset if quiet == code::PASS && options.success_code.is_some() => {
            eprintln!("beigebox: the guest reset the machine and gave no verdict");
            code::EXPECTATION
        }
        Stop::PowerOff | Stop::Reset | Stop::Done | Stop::Breakpoint(_) => {
            if quiet != code::PASS {
                let what = if *stop == Stop::Reset { "reset the machine" } else { "switched the machine off" };
                eprintln!("beigebox: the guest {what} before what it should show appeared");
            }
            quiet
        }
    }
}

// --- options to machine ------------------------------------------------------------------------

/// Sorts a bare IMAGE into the option it means.
pub(crate) fn recognise(options: &mut Run) -> Result<(), Failure> {
    let Some(path) = options.image.take() else { return Ok(()) };
    let metadata = std::fs::metadata(&path).map_err(|error| Failure::file(&path, "opened", &error))?;
    if metadata.is_dir() {
        let text = format!(
            "{0}: is a directory, not an image; `--share {0}` makes a disk of it, `--cdrom {0}` a disc",
            path.display()
        );
        return Err(Failure::new(code::MISSING, text));
    }
    let mut head = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(loader::HEAD as u64).read_to_end(&mut head))
        .map_err(|error| Failure::file(&path, "read", &error))?;
    if metadata.len() == 0 && metadata.is_file() {
        return Err(Failure::new(code::CONFIGURATION, format!("{}: the image is empty", path.display())));
    }
    let kind = if drives::is_image(&path, &head) { ImageKind::Disk } else { loader::recognise(&head, metadata.len()) };
    match kind {
        ImageKind::Floppy => {
            options.floppy.insert(0, path.into());
            options.boot.get_or_insert(crate::values::BootOrder(vec![BootDevice::Floppy, BootDevice::Disk]));
        }
        ImageKind::BootableIso | ImageKind::Iso => {
            // Hybrid images boot as discs; as disks they are given with `--disk`.
            options.cdrom.insert(0, path.into());
            options.boot.get_or_insert(crate::values::BootOrder(vec![BootDevice::Cdrom, BootDevice::Disk]));
        }
        ImageKind::Disk => {
            options.disk.insert(0, path.into());
            options.boot.get_or_insert(crate::values::BootOrder(vec![BootDevice::Disk, BootDevice::Cdrom]));
        }
        ImageKind::Linux | ImageKind::Multiboot | ImageKind::Multiboot2 | ImageKind::Elf => {
            if let Some(other) = &options.kernel {
                let text =
                    format!("{} is a kernel, and so is `--kernel {}`; give one", path.display(), other.display());
                return Err(Failure::new(code::CONFIGURATION, text));
            }
            options.kernel = Some(path);
        }
        ImageKind::Unknown => {
            return Err(Failure::new(
                code::CONFIGURATION,
                format!(
                    "{}: this is no image that can be recognised ({} bytes); say what it is with --floppy, --disk, --cdrom, --kernel or --load ADDRESS:FILE",
                    path.display(),
                    metadata.len()
                ),
            ));
        }
    }
    Ok(())
}

pub(crate) fn check(options: &Run) -> Result<(), Failure> {
    let bad = |text: &str| Err(Failure::new(code::CONFIGURATION, text));
    if options.kernel.is_some() && options.load.is_some() {
        return bad("--kernel and --load both say what to boot; give one");
    }
    if options.bios.is_none() && options.cpu < Model::I386 {
        let model = options.cpu.name();
        return Err(Failure::new(
            code::CONFIGURATION,
            format!(
                "--cpu {model}: the built-in BIOS needs a 386 or later; give a BIOS for the {model} with --bios FILE"
            ),
        ));
    }
    let direct = options.kernel.is_some() || options.load.is_some();
    if options.initrd.is_some() && options.kernel.is_none() {
        return bad("--initrd needs --kernel");
    }
    if options.append.is_some() && options.kernel.is_none() {
        return bad("--append needs --kernel");
    }
    if !options.module.is_empty() && options.kernel.is_none() {
        return bad("--module needs --kernel");
    }
    if options.floppy.len() > 2 {
        return bad("more than two --floppy: the controller has two drives");
    }
    if options.disk.len() + options.share.len() + options.cdrom.len() > 4 {
        return bad("more than four of --disk, --share and --cdrom: the two IDE channels carry two drives each");
    }
    let has_drive = options.demo || !(options.floppy.is_empty() && options.disk.is_empty() && options.cdrom.is_empty());
    let boots_network = options.net.has_card() && options.boot.is_some();
    if !direct && !has_drive && !boots_network && options.bios.is_none() {
        return Err(Failure::new(2, "nothing to boot; give an IMAGE, --disk, --cdrom, --floppy, --kernel or --load"));
    }
    let terminal = options.display.contains(&Display::Terminal);
    if options.display.contains(&Display::None) && options.display.len() > 1 {
        return bad("--display none goes with no other display");
    }
    if terminal && !std::io::stdout().is_terminal() {
        return bad("--display terminal needs standard output to be a terminal");
    }
    if terminal && options.serial == Some(Stream::Stdio) {
        return bad("--display terminal and --serial stdio both want the terminal; send one of them elsewhere");
    }
    let is_shown = |display: &Display| matches!(display, Display::Terminal | Display::Window);
    let wants_screen = options.vnc.is_some() || options.display.iter().any(is_shown);
    if options.vga == Vga::None && (wants_screen || options.video_bios.is_some()) {
        return bad("--vga none leaves no display adapter for --display, --vnc and --video-bios");
    }
    let ports = [options.debugcon_port, options.debug_exit];
    if ports[0] >= ports[1] && ports[0] - ports[1] < 4 {
        return bad("--debugcon-port lies within the four ports of --debug-exit");
    }
    if options.gdb_wait && options.gdb.is_none() {
        return bad("--gdb-wait needs --gdb");
    }
    let on_stdio = |place: &Option<Place>| *place == Some(Place::Stdio);
    let serial_on_stdio = options.serial == Some(Stream::Stdio) || options.debugcon == Some(Stream::Stdio);
    if [on_stdio(&options.monitor), on_stdio(&options.qmp), serial_on_stdio || terminal]
        .iter()
        .filter(|on| **on)
        .count()
        > 1
    {
        return bad(
            "standard input and output are for one of --monitor, --qmp, --serial, --debugcon and the terminal's screen",
        );
    }
    if options.paused && options.monitor.is_none() && options.qmp.is_none() {
        return bad("--paused needs --monitor or --qmp, or nothing could let the machine go on");
    }
    if options.ips.is_some_and(|rate| !(1000..=1_000_000_000_000).contains(&rate)) {
        return bad("--ips must be from 1000 to 1000000000000");
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::file(path, "read", &error))?;
    if bytes.is_empty() {
        return Err(Failure::new(code::CONFIGURATION, format!("{}: the file is empty", path.display())));
    }
    Ok(bytes)
}

pub(crate) fn rules(options: &Run) -> Result<Vec<Rule>, Failure> {
    let mut rules = Vec::new();
    if let Some(path) = &options.script {
        let bytes = read_file(path)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Failure::new(code::CONFIGURATION, format!("{}: the script is not UTF-8 text", path.display()))
        })?;
        rules = script::parse_file(&text)?;
    }
    for rule in &options.on_text {
        rules.push(script::parse(rule)?);
    }
    Ok(rules)
}

fn payload(options: &Run) -> Result<Option<Payload>, Failure> {
    if let Some(load) = &options.load {
        let kernel = read_file(&load.path)?;
        return Ok(Some(Payload { kernel, flat: Some(load.address), ..Payload::default() }));
    }
    let Some(kernel) = &options.kernel else { return Ok(None) };
    let mut modules = Vec::new();
    for module in &options.module {
        let (path, _) = module.split_once(' ').unwrap_or((module, ""));
        modules.push(Module { bytes: read_file(path.as_ref())?, command_line: module.clone() });
    }
    Ok(Some(Payload {
        kernel: read_file(kernel)?,
        command_line: options.append.clone().unwrap_or_default(),
        initrd: options.initrd.as_deref().map(read_file).transpose()?,
        modules,
        flat: None,
    }))
}

pub(crate) fn build(options: &Run, follows_host: bool, changes_discs: bool) -> Result<Machine, Failure> {
    let bios = match &options.bios {
        Some(path) => read_file(path)?,
        None => bios::SYSTEM.to_vec(),
    };
    let video_bios = match &options.video_bios {
        Some(path) => read_file(path)?,
        None => bios::VGA.to_vec(),
    };
    let date = match options.rtc {
        Some(Date::Fixed(date)) => date,
        Some(Date::Host) => host_date(),
        None if follows_host => host_date(),
        None => DateTime::DEFAULT,
    };
    let mut builder: Builder = Machine::builder()
        .memory(options.memory)
        .cpu(options.cpu)
        .hypervisor(options.hypervisor == Hypervisor::Kvm)
        .engine(match options.engine {
            // Elsewhere translating takes longer than most guests run.
            Engine::Auto if cfg!(all(target_os = "linux", target_arch = "x86_64")) => EngineKind::Jit,
            Engine::Auto => EngineKind::Auto,
            Engine::Interpreter => EngineKind::Interpreter,
            Engine::Jit => EngineKind::Jit,
        })
        .jit(JitSettings {
            threshold: options.jit_threshold,
            memory: options.jit_memory,
            cache: jit_cache(options).map(|folder| JitCache { folder, limit: options.jit_cache_size }),
            dump: options.jit_dump.as_deref().map(jit_dump).transpose()?,
            perf_map: options.perf_map,
            profile: options.stats,
        })
        .bios(bios)
        .video(match options.vga {
            Vga::Std => VideoAdapter::Pci,
            Vga::Isa => VideoAdapter::Isa,
            Vga::None => VideoAdapter::None,
        })
        .video_bios(video_bios)
        .debug_console(Some(options.debugcon_port))
        .debug_exit(Some(options.debug_exit))
        .date(date)
        .no_reboot(options.no_reboot)
        .reset_on_triple_fault(options.reset_on_triple_fault);
    if let Some(rate) = options.ips {
        builder = builder.rate(rate);
    }
    if let Some(order) = &options.boot {
        builder = builder.boot_order(&order.0);
    }
    if options.demo {
        builder = builder.floppy(0, Some(Box::new(MemoryStorage::new(test_roms::demo()))));
    } else if options.floppy.is_empty() {
        builder = builder.floppy(0, None);
    }
    let how = |drive: &drives::Drive| drive.options(options.snapshot);
    for (number, drive) in options.floppy.iter().enumerate() {
        let disk = host::open_floppy_with(&drive.path, &how(drive)).map_err(image_failure)?;
        builder = builder.floppy(number, Some(disk));
    }
    for drive in &options.disk {
        builder = builder.disk(host::open_disk_with(&drive.path, &how(drive)).map_err(image_failure)?);
    }
    for folder in &options.share {
        builder = builder.disk(drives::share(folder, options.snapshot)?);
    }
    for drive in &options.cdrom {
        builder = builder.cdrom(Some(host::open_cdrom_with(&drive.path, &how(drive)).map_err(image_failure)?));
    }
    if options.cdrom.is_empty() && (changes_discs || !options.next_disc.is_empty()) {
        builder = builder.cdrom(None);
    }
    if let Some(payload) = payload(options)? {
        builder = builder.direct_boot(payload);
    }
    builder = crate::net::fit(builder, options)?;
    let machine = builder.build().map_err(|error| {
        let file = options.kernel.as_ref().or(options.load.as_ref().map(|load| &load.path));
        let text = match (&error, file) {
            (beigebox::BuildError::Load(error), Some(file)) => format!("{}: {error}", file.display()),
            (beigebox::BuildError::BiosSize(_), _) => match &options.bios {
                Some(path) => format!("{}: {error}", path.display()),
                None => error.to_string(),
            },
            _ => error.to_string(),
        };
        Failure::new(code::CONFIGURATION, text)
    })?;
    match machine.jit_cache_error() {
        Some(error) if options.jit_cache.as_os_str() != "on" => {
            return Err(Failure::new(code::CONFIGURATION, format!("--jit-cache: {error}")));
        }
        Some(error) => eprintln!("beigebox: translated code is not kept: {error}"),
        None => {}
    }
    Ok(machine)
}

/// Where translated code is written down, and which.
fn jit_dump(text: &str) -> Result<(PathBuf, Option<u64>), Failure> {
    let address = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let (folder, address) = match text.rsplit_once(':').and_then(|(folder, at)| Some((folder, address(at)?))) {
        Some((folder, address)) => (PathBuf::from(folder), Some(address)),
        None => (PathBuf::from(text), None),
    };
    std::fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, "made", &error))?;
    Ok((folder, address))
}

/// The folder for translated code.
fn jit_cache(options: &Run) -> Option<PathBuf> {
    match options.jit_cache.to_str() {
        Some("off") => None,
        Some("on") => {
            let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
            let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
            caches.map(|folder| folder.join("beigebox"))
        }
        _ => Some(options.jit_cache.clone()),
    }
}

fn host_date() -> DateTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    DateTime::from_unix(since.map_or(0, |since| since.as_secs()))
}

fn trace(machine: &mut Machine, options: &Run) -> Result<(), Failure> {
    if options.trace.is_empty() {
        return Ok(());
    }
    let sink: Box<dyn Write + Send> = match &options.trace_file {
        Some(path) => {
            Box::new(BufWriter::new(File::create(path).map_err(|error| Failure::file(path, "written", &error))?))
        }
        None => Box::new(std::io::stderr()),
    };
    let sink = Shared(Arc::new(Mutex::new(sink)));
    if options.trace.contains(&Trace::Io) {
        let mut sink = sink.clone();
        machine.watch_io(Some(Box::new(move |event| {
            let space = if event.is_port { "port" } else { "memory" };
            let direction = if event.is_write { "write" } else { "read" };
            let digits = usize::from(event.bytes) * 2;
            // A closed pipe must not stop the machine.
            let _ = writeln!(
                sink,
                "{:14} {space} {direction} {:04x} {:0digits$x}",
                event.time.0, event.address, event.value
            );
        })));
    }
    let trace = TraceOptions {
        instructions: options.trace.contains(&Trace::Insn),
        interrupts: options.trace.contains(&Trace::Int),
    };
    if trace != TraceOptions::default() {
        machine.trace(trace, Box::new(sink));
    }
    Ok(())
}

/// One sink for all traces, so that their lines stand in order.
#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn Write + Send>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.lock() {
            Ok(mut sink) => sink.write(bytes),
            Err(_) => Ok(bytes.len()),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().map_or(Ok(()), |mut sink| sink.flush())
    }
}

// --- the run -----------------------------------------------------------------------------------

struct Session {
    serial: Sink,
    debug: Sink,
    rules: std::collections::VecDeque<Rule>,
    /// Guest time at which the rule before fired.
    rule_since: u64,
    /// Pictures that end the run.
    pictures: Vec<Golden>,
    screens: Screens,
    pace: Option<Pace>,
    next_look: u64,
    sound: Sound,
    next_picture: u64,
    mode: Mode,
    gdb: Option<gdb::Server>,
    desk: Desk,
    /// A signal asks for the end.
    interrupted: Arc<AtomicBool>,
}

impl Session {
    fn drive(&mut self, machine: &mut Machine, options: &Run, started: Instant) -> Result<End, Failure> {
        let most = options.max_instructions.unwrap_or(u64::MAX);
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(End::Signal);
            }
            let now = machine.now().0;
            let left = options.time_limit.map_or(SLICE, |limit| limit.saturating_sub(now).min(SLICE));
            if left == 0 {
                return Ok(End::Limit("--time-limit"));
            }
            if options.wall_limit.is_some_and(|limit| started.elapsed().as_nanos() >= u128::from(limit)) {
                return Ok(End::Limit("--wall-limit"));
            }
            if !self.desk.turn(machine) {
                return Ok(End::Quit);
            }
            if !self.desk.is_running() {
                // A debugger is answered all the same; the host's clock goes on without the guest.
                if let Some(gdb) = &mut self.gdb
                    && gdb.run(machine, 0, 0) == Ran::Quit
                {
                    return Ok(End::Quit);
                }
                self.pace = self.pace.map(|_| Pace::starting(machine.now()));
                if self.screens.turn(machine, None)? {
                    return Ok(End::Quit);
                }
                std::thread::sleep(STANDING);
                continue;
            }
            let instructions = most.saturating_sub(machine.counters().instructions);
            let stop = match &mut self.gdb {
                None => machine.run_limited(left, instructions),
                Some(gdb) => match gdb.run(machine, left, instructions) {
                    Ran::Stop(stop) => stop,
                    Ran::Quit => return Ok(End::Quit),
                    Ran::Paused => {
                        // The host's clock went on without the guest.
                        self.pace = self.pace.map(|_| Pace::starting(machine.now()));
                        if self.screens.turn(machine, None)? {
                            return Ok(End::Quit);
                        }
                        continue;
                    }
                },
            };
            if let Some(text) = self.sound.play(machine)? {
                self.screens.tell(text);
            }
            self.serial.write(&machine.serial_output(0))?;
            if !matches!(stop, Stop::Done | Stop::Breakpoint(_)) {
                self.serial.write(&machine.serial_unsent(0))?;
            }
            self.debug.write(&machine.debug_output())?;
            // What the guest printed last may be what is waited for, even when it stopped then.
            if let Some(end) = self.texts(machine, options, stop != Stop::Done)? {
                return Ok(end);
            }
            if stop != Stop::Done {
                return Ok(End::Stop(stop));
            }
            if self.screens.turn(machine, self.pace.as_ref())? {
                return Ok(End::Quit);
            }
        }
    }

    /// Fires rules and looks for the texts that end the run.
    fn texts(&mut self, machine: &mut Machine, options: &Run, last: bool) -> Result<Option<End>, Failure> {
        let none = options.exit_on_text.is_empty() && options.panic_text.is_empty();
        if none && self.rules.is_empty() && self.pictures.is_empty() {
            return Ok(None);
        }
        let now = machine.now().0;
        let looks = now >= self.next_picture || last;
        if looks {
            self.next_picture = now + PICTURE_LOOK;
        }
        let mut screen = None;
        if now >= self.next_look || last {
            self.next_look = now + SCREEN_LOOK;
            screen = Some(machine.screen_text());
        }
        let stands = |session: &Session, text: &String| {
            session.serial.has(text)
                || session.debug.has(text)
                || screen.as_ref().is_some_and(|screen| screen.contains(text.as_str()))
        };
        if let Some(text) = options.panic_text.iter().find(|text| stands(self, text)) {
            return Ok(Some(End::Panic(text.clone())));
        }
        while let Some(rule) = self.rules.front() {
            let fires = match &rule.when {
                When::Picture(golden) => looks && golden.matches(&machine.picture()),
                When::After(wait) => now.saturating_sub(self.rule_since) >= *wait,
                When::Text(text) => {
                    let seen = stands(self, text);
                    if seen {
                        self.serial.forget_through(text);
                        self.debug.forget_through(text);
                    }
                    seen
                }
            };
            // One rule's keys are all typed before the next rule is looked at.
            if !fires || machine.is_typing() {
                return Ok(None);
            }
            self.rule_since = now;
            if let Some(rule) = self.rules.pop_front() {
                rule.action.perform(machine, self.mode)?;
            }
        }
        if machine.is_typing() {
            return Ok(None);
        }
        if looks && !self.pictures.is_empty() {
            let picture = machine.picture();
            if self.pictures.iter().any(|golden| golden.matches(&picture)) {
                return Ok(Some(End::Text));
            }
        }
        Ok(options.exit_on_text.iter().any(|text| stands(self, text)).then_some(End::Text))
    }
}

// --- the end -----------------------------------------------------------------------------------

fn finish(machine: &mut Machine, options: &Run, started: Instant) -> Result<(), Failure> {
    if let Some(path) = &options.screen_text {
        write_out(path, machine.screen_text().as_bytes())?;
    }
    if let Some(path) = &options.screenshot {
        host::write_png(&machine.picture(), path).map_err(|error| Failure::new(code::IO, error.to_string()))?;
    }
    if options.stats {
        let wall = started.elapsed().as_secs_f64();
        let counters = machine.counters();
        let mips = counters.instructions as f64 / wall.max(1e-9) / 1e6;
        eprintln!("instructions: {}", counters.instructions);
        eprintln!("guest time: {:.6} s", counters.time.0 as f64 / 1e9);
        eprintln!("real time: {wall:.3} s");
        eprintln!("speed: {mips:.1} MIPS");
        eprintln!("device accesses: {}", counters.accesses);
        eprintln!("resets: {}", counters.resets);
        eprintln!("engine: {}", machine.engine_name());
        eprint!("{}", machine.engine_statistics());
        for (port, count) in machine.unknown_ports() {
            eprintln!("unknown port {port:04x}: {} reads, {} writes", count.reads, count.writes);
        }
        for (page, count) in machine.unknown_memory() {
            eprintln!("unknown memory {page:08x}: {} reads, {} writes", count.reads, count.writes);
        }
        eprintln!("state hash: {:032x}", machine.state_hash());
    }
    Ok(())
}

fn write_out(path: &PathBuf, bytes: &[u8]) -> Result<(), Failure> {
    if path.as_os_str() == "-" {
        let written = std::io::stdout().write_all(bytes);
        return written.map_err(|error| Failure::file("standard output".as_ref(), "written", &error));
    }
    std::fs::write(path, bytes).map_err(|error| Failure::file(path, "written", &error))
}
