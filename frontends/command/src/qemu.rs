//! The command line of QEMU: `beigebox qemu ...`, or a link named `qemu-system-i386`.
//!
//! The flags that hobby operating systems and their test scripts use, with the meaning that QEMU's
//! manual gives them. What has no meaning here and does no harm is ignored with a note; what would
//! be missed is an error.

use crate::settings::{Origin, Setting, Value};
use crate::{Failure, code, values};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

/// Names under which the program takes this command line.
pub(crate) fn is_name(program: &Path) -> bool {
    let name = program.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    matches!(name.as_str(), "qemu-system-i386" | "qemu-system-x86_64" | "qemu")
}

/// What the command line comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) settings: Vec<Setting>,
    /// What was ignored, and what is done instead, for standard error.
    pub(crate) notes: Vec<String>,
    /// `-version` or `-help`: print this and end.
    pub(crate) print: Option<String>,
}

/// Flags with a value.
const WITH_VALUE: &[&str] = &[
    "M",
    "accel",
    "append",
    "audiodev",
    "bios",
    "boot",
    "cdrom",
    "chardev",
    "cpu",
    "d",
    "D",
    "debugcon",
    "device",
    "display",
    "drive",
    "fda",
    "fdb",
    "gdb",
    "global",
    "hda",
    "hdb",
    "hdc",
    "hdd",
    "icount",
    "initrd",
    "k",
    "kernel",
    "L",
    "m",
    "machine",
    "mon",
    "monitor",
    "name",
    "net",
    "netdev",
    "nic",
    "object",
    "overcommit",
    "parallel",
    "pidfile",
    "qmp",
    "rtc",
    "serial",
    "smp",
    "soundhw",
    "uuid",
    "vga",
    "watchdog-action",
    "action",
    "msg",
    "trace",
    "usbdevice",
];

/// Flags without one.
const ALONE: &[&str] = &[
    "curses",
    "enable-kvm",
    "full-screen",
    "h",
    "help",
    "no-acpi",
    "no-fd-bootchk",
    "no-hpet",
    "no-quit",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nographic",
    "s",
    "S",
    "sdl",
    "snapshot",
    "usb",
    "version",
    "win2k-hack",
    "daemonize",
];

/// Ignored with a note that says why nothing is lost.
fn harmless(flag: &str) -> Option<&'static str> {
    Some(match flag {
        "accel" | "enable-kvm" => "the engine is chosen by itself",
        "d" | "D" => "for a log see `beigebox run --trace`",
        "name" | "uuid" | "pidfile" | "msg" | "overcommit" | "trace" => "it says nothing about the machine",
        "k" => "keys are those of a US keyboard",
        "no-acpi" | "no-hpet" => "the board has none",
        "no-fd-bootchk" | "win2k-hack" => "it is not needed",
        "no-user-config" | "nodefaults" | "L" | "no-quit" | "full-screen" => "there is nothing of that kind",
        "usb" | "usbdevice" => "the board has no USB; keyboard and mouse are PS/2",
        "object" | "icount" | "audiodev" | "soundhw" | "watchdog-action" => "it is not supported",
        _ => return None,
    })
}

fn bad(text: impl Into<String>) -> Failure {
    Failure::new(2, text.into())
}

/// `a=b,c,d=e`, where `,,` is a comma; a first word without `=` is under the name `first`.
fn properties(text: &str, first: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == ',' && characters.peek() == Some(&',') {
            characters.next();
        } else if character == ',' {
            parts.push(String::new());
            continue;
        }
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    let mut all = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        match part.split_once('=') {
            Some((name, value)) => all.push((name.to_owned(), value.to_owned())),
            None if index == 0 => all.push((first.to_owned(), part.clone())),
            None => all.push((part.clone(), "on".to_owned())),
        }
    }
    all
}

/// A character device as COM1 or the debug console takes it.
fn stream(flag: &str, text: &str, devices: &BTreeMap<String, String>) -> Result<Option<String>, Failure> {
    let text = match text.strip_prefix("chardev:") {
        Some(id) => {
            devices.get(id).ok_or_else(|| bad(format!("-{flag} chardev:{id}: there is no -chardev with id={id}")))?
        }
        None => text,
    };
    Ok(match text {
        "stdio" | "mon:stdio" => Some("stdio".into()),
        "null" | "none" | "vc" => Some("null".into()),
        _ if text.starts_with("file:") => Some(text.to_owned()),
        _ if text.starts_with("vc:") => Some("null".into()),
        _ => {
            let known = "stdio, mon:stdio, file:PATH, null, none, chardev:ID";
            return Err(bad(format!("-{flag} {text}: not supported; there are {known}")));
        }
    })
}

/// The processor here that is most like one of QEMU's.
fn processor(name: &str) -> Option<(&'static str, Option<&'static str>)> {
    let name = name.to_ascii_lowercase();
    Some(match name.as_str() {
        "486" | "486-v1" => ("486", None),
        "pentium" | "pentium-v1" => ("pentium", None),
        "pentium2" | "pentium2-v1" => ("pentium2", None),
        "pentium3" | "pentium3-v1" => ("pentium3", None),
        "pentium-m" | "qemu32" | "qemu32-v1" | "kvm32" => ("pentium-m", None),
        "8086" => ("8086", None),
        "286" => ("286", None),
        "386" => ("386", None),
        "max" | "host" | "base" | "qemu64" | "kvm64" | "coreduo" | "core2duo" | "n270" | "athlon" | "phenom"
        | "nehalem" | "westmere" | "sandybridge" | "ivybridge" | "haswell" | "broadwell" | "skylake-client"
        | "penryn" | "conroe" => ("pentium-m", Some("it is a Pentium M here: 32 bits, SSE2")),
        _ => return None,
    })
}

/// A drive with its `-drive` properties.
#[derive(Default)]
struct Drives {
    floppies: BTreeMap<usize, OsString>,
    disks: BTreeMap<usize, (bool, OsString)>,
}

struct Translation {
    parsed: Parsed,
    drives: Drives,
    chardevs: BTreeMap<String, String>,
    serials: Vec<String>,
    debugcon: Option<String>,
    graphic: Option<bool>,
    exit_device: bool,
    /// `-S`.
    stopped: bool,
}

/// Translates a command line, without the program's name.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Parsed, Failure> {
    let mut translation = Translation {
        parsed: Parsed::default(),
        drives: Drives::default(),
        chardevs: BTreeMap::new(),
        serials: Vec::new(),
        debugcon: None,
        graphic: None,
        exit_device: false,
        stopped: false,
    };
    // Character devices may be named before they are defined.
    let mut flags = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let Some(name) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).filter(|name| !name.is_empty())
        else {
            // A bare file is the first hard disk.
            flags.push(("hda".to_owned(), argument.clone()));
            continue;
        };
        if ALONE.contains(&name) {
            flags.push((name.to_owned(), OsString::new()));
        } else if WITH_VALUE.contains(&name) {
            let value = arguments.next().ok_or_else(|| bad(format!("-{name} needs a value")))?;
            flags.push((name.to_owned(), value.clone()));
        } else {
            let known = WITH_VALUE.iter().chain(ALONE).copied();
            let near = crate::document::nearest(name, known).map(|near| format!("; the nearest flag is -{near}"));
            return Err(bad(format!("-{name}: unknown flag{}", near.unwrap_or_default())));
        }
    }
    flags.sort_by_key(|(name, _)| name != "chardev");
    for (name, value) in flags {
        translation.flag(&name, value)?;
    }
    translation.finish()
}

impl Translation {
    fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.parsed.settings.push(Setting::new(name, value, Origin::CommandLine));
    }
    fn switch(&mut self, name: &'static str) {
        self.parsed.settings.push(Setting::on(name, Origin::CommandLine));
    }
    fn note(&mut self, text: String) {
        self.parsed.notes.push(text);
    }

    fn flag(&mut self, name: &str, value: OsString) -> Result<(), Failure> {
        let text = value.to_string_lossy().into_owned();
        match name {
            "m" => {
                let size = properties(&text, "size").into_iter().find(|(name, _)| name == "size").map(|(_, size)| size);
                let size = size.ok_or_else(|| bad(format!("-m {text}: no size")))?;
                // QEMU counts in MiB.
                let plain = size.chars().all(|c| c.is_ascii_digit());
                self.set("memory", if plain { format!("{size}M") } else { size });
            }
            "cpu" => {
                let model = text.split(',').next().unwrap_or_default();
                let Some((model, note)) = processor(model) else {
                    let known = "486, pentium, pentium2, pentium3, qemu32, max";
                    return Err(bad(format!("-cpu {text}: there is no such processor; there are {known}")));
                };
                self.set("cpu", model);
                if let Some(note) = note {
                    self.note(format!("-cpu {text}: {note}"));
                } else if text.contains(',') {
                    self.note(format!("-cpu {text}: single features are not switched"));
                }
            }
            "smp" => {
                let count =
                    properties(&text, "cpus").into_iter().find(|(name, _)| name == "cpus").map(|(_, count)| count);
                if count.is_some_and(|count| count != "1") {
                    self.note(format!("-smp {text}: the machine has one processor"));
                }
            }
            "M" | "machine" => {
                let machine = text.split(',').next().unwrap_or_default();
                let is_pc =
                    machine.starts_with("pc") || machine.is_empty() || machine.contains('=') || machine == "none";
                if !is_pc {
                    return Err(bad(format!("-{name} {text}: the board is an i440FX; there is `pc` only")));
                }
            }
            "hda" => self.disk(0, false, value),
            "hdb" => self.disk(1, false, value),
            "hdc" => self.disk(2, false, value),
            "hdd" => self.disk(3, false, value),
            "cdrom" => self.disk(2, true, value),
            "fda" => _ = self.drives.floppies.insert(0, value),
            "fdb" => _ = self.drives.floppies.insert(1, value),
            "drive" => self.drive(&text)?,
            "boot" => {
                let order = properties(&text, "order");
                if let Some((_, order)) = order.iter().find(|(name, _)| name == "order" || name == "once") {
                    self.set("boot", order.as_str());
                }
            }
            "kernel" => self.set("kernel", value),
            "initrd" => self.initrd(&text),
            "append" => self.set("append", value),
            "bios" => self.set("bios", value),
            "nographic" => self.graphic = Some(false),
            "display" => match text.split(',').next().unwrap_or_default() {
                "none" => self.parsed.settings.push(Setting::new("display", "none", Origin::CommandLine)),
                "curses" => self.set("display", "terminal"),
                "gtk" | "sdl" | "cocoa" | "default" => {}
                other => return Err(bad(format!("-display {other}: not supported; there are none, curses, gtk, sdl"))),
            },
            "curses" => self.set("display", "terminal"),
            "sdl" => {}
            "vga" => match text.as_str() {
                "std" => {}
                "none" => self.set("vga", "none"),
                "cirrus" | "vmware" | "qxl" | "virtio" => {
                    self.note(format!("-vga {text}: it is the standard VGA here"))
                }
                _ => return Err(bad(format!("-vga {text}: there is no such display adapter; there is std"))),
            },
            "serial" => self.serials.push(text),
            "parallel" => {
                if !matches!(text.as_str(), "none" | "null") {
                    self.note(format!("-parallel {text}: what is printed is not shown"));
                }
            }
            "monitor" => self.control("monitor", name, &text)?,
            "qmp" => self.control("qmp", name, &text)?,
            "mon" => {
                let properties = properties(&text, "chardev");
                let get = |wanted: &str| properties.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
                let Some(id) = get("chardev") else { return Err(bad(format!("-mon {text}: no chardev="))) };
                let option = if get("mode").is_some_and(|mode| mode == "control") { "qmp" } else { "monitor" };
                self.control(option, name, &format!("chardev:{id}"))?;
            }
            "chardev" => self.chardev(&text)?,
            "debugcon" => self.debugcon = Some(text),
            "global" => {
                if let Some(port) = text.strip_prefix("isa-debugcon.iobase=") {
                    values::port(port).map_err(|problem| bad(format!("-global {text}: {problem}")))?;
                    self.set("debugcon-port", port);
                } else {
                    self.note(format!("-global {text}: ignored"));
                }
            }
            "device" => self.device(&text)?,
            "no-reboot" => self.switch("no-reboot"),
            "no-shutdown" => self.note("-no-shutdown: the run ends when the guest switches off".into()),
            "action" => {
                for (event, action) in properties(&text, "") {
                    match (event.as_str(), action.as_str()) {
                        ("reboot", "shutdown") => self.switch("no-reboot"),
                        _ => self.note(format!("-action {event}={action}: ignored")),
                    }
                }
            }
            "snapshot" => self.switch("snapshot"),
            "rtc" => {
                for (name, value) in properties(&text, "base") {
                    if name == "base" {
                        let host = matches!(value.as_str(), "utc" | "localtime");
                        self.set("rtc", if host { "host".to_owned() } else { value });
                    }
                }
            }
            "nic" | "net" | "netdev" => self.network(name, &text),
            "s" => self.set("gdb", "tcp:1234"),
            "gdb" => {
                // Who listens, and that nobody waits, goes without saying here.
                let place = text.split(',').next().unwrap_or_default();
                if place == "stdio" {
                    return Err(bad("-gdb stdio: give it a socket: -gdb unix:PATH, and `target remote PATH` in GDB"));
                }
                values::gdb(place).map_err(|problem| bad(format!("-gdb {text}: {problem}")))?;
                self.set("gdb", place);
            }
            "S" => self.stopped = true,
            "daemonize" => return Err(bad("-daemonize: use the shell's `&`")),
            "version" => self.parsed.print = Some(version()),
            "h" | "help" => self.parsed.print = Some(help()),
            _ => {
                let why = harmless(name).unwrap_or("it is not supported");
                let value = if text.is_empty() { String::new() } else { format!(" {text}") };
                self.note(format!("-{name}{value}: ignored, {why}"));
            }
        }
        Ok(())
    }

    fn disk(&mut self, index: usize, is_disc: bool, path: OsString) {
        self.drives.disks.insert(index, (is_disc, path));
    }

    fn drive(&mut self, text: &str) -> Result<(), Failure> {
        let mut options = String::new();
        let (mut file, mut interface, mut media, mut index) = (None, "ide".to_owned(), "disk".to_owned(), None);
        for (name, value) in properties(text, "file") {
            match name.as_str() {
                "file" => file = Some(value),
                "if" => interface = value,
                "media" => media = value,
                "index" => {
                    let number = value.parse::<usize>().map_err(|_| bad(format!("-drive {text}: index={value}")))?;
                    index = Some(number);
                }
                "bus" | "unit" => {
                    let number = value.parse::<usize>().map_err(|_| bad(format!("-drive {text}: {name}={value}")))?;
                    index = Some(index.unwrap_or(0) + if name == "bus" { number.min(1) * 2 } else { number });
                }
                "format" => {
                    let name = if value == "vpc" { "vhd" } else { &value };
                    crate::drives::format(name).map_err(|problem| bad(format!("-drive {text}: {problem}")))?;
                    options.push_str(&format!(",format={name}"));
                }
                "snapshot" if value == "on" => options.push_str(",snapshot"),
                "readonly" | "read-only" if value == "on" => options.push_str(",readonly"),
                "id" | "cache" | "aio" | "discard" | "werror" | "rerror" | "snapshot" | "readonly" | "read-only"
                | "detect-zeroes" | "copy-on-read" | "throttling" | "locking" => {}
                _ => return Err(bad(format!("-drive {text}: there is no property `{name}`"))),
            }
        }
        let file = file.ok_or_else(|| bad(format!("-drive {text}: no file=")))?;
        let file = OsString::from(format!("file={}{options}", file.replace(',', ",,")));
        match interface.as_str() {
            "floppy" => {
                let index = index.unwrap_or(self.drives.floppies.len());
                if index > 1 {
                    return Err(bad(format!("-drive {text}: there are two floppy drives")));
                }
                self.drives.floppies.insert(index, file);
            }
            // `none` waits for a -device that takes it up; here it is the drive of that machine.
            "ide" | "none" | "virtio" | "scsi" => {
                if !matches!(interface.as_str(), "ide" | "none") {
                    self.note(format!("-drive {text}: it is an IDE drive here"));
                }
                let is_disc = media == "cdrom";
                let free = || {
                    let order = if is_disc { [2, 3, 1, 0] } else { [0, 1, 2, 3] };
                    order.into_iter().find(|index| !self.drives.disks.contains_key(index))
                };
                let index = index.or_else(free).filter(|index| *index < 4);
                let index = index.ok_or_else(|| bad(format!("-drive {text}: there are four places for IDE drives")))?;
                self.disk(index, is_disc, file);
            }
            _ => return Err(bad(format!("-drive {text}: if={interface} is not supported; there are ide and floppy"))),
        }
        Ok(())
    }

    fn initrd(&mut self, text: &str) {
        // For multiboot kernels: `file arguments,file arguments`. A Linux kernel has one file, which
        // rarely has a comma or blank in its name.
        if (text.contains(',') || text.contains(' ')) && !Path::new(text).exists() {
            for module in text.split(',').filter(|module| !module.is_empty()) {
                self.set("module", module);
            }
        } else {
            self.set("initrd", text);
        }
    }

    /// A monitor: `option` of ours, by flag `flag`.
    fn control(&mut self, option: &'static str, flag: &str, text: &str) -> Result<(), Failure> {
        let text = match text.strip_prefix("chardev:") {
            Some(id) => {
                let device = self.chardevs.get(id);
                device.ok_or_else(|| bad(format!("-{flag} {text}: there is no -chardev with id={id}")))?.clone()
            }
            None => text.to_owned(),
        };
        let place = text.split(',').next().unwrap_or_default();
        if matches!(place, "none" | "null" | "vc") || place.starts_with("vc:") {
            return Ok(());
        }
        // `server` is understood; that it waits for the first client is not imitated.
        if text.split(',').any(|word| matches!(word, "server=off" | "reconnect")) {
            return Err(bad(format!("-{flag} {text}: it listens, and connects to nobody")));
        }
        let place = place.replacen("telnet:", "tcp:", 1);
        crate::monitor::place(&place).map_err(|problem| bad(format!("-{flag} {text}: {problem}")))?;
        self.set(option, place);
        Ok(())
    }

    fn chardev(&mut self, text: &str) -> Result<(), Failure> {
        let (mut kind, mut id, mut path) = (String::new(), None, None);
        let (mut host, mut port) = (String::new(), None);
        for (name, value) in properties(text, "backend") {
            match name.as_str() {
                "backend" => kind = value,
                "id" => id = Some(value),
                "path" => path = Some(value),
                "host" => host = value,
                "port" => port = Some(value),
                _ => {}
            }
        }
        let id = id.ok_or_else(|| bad(format!("-chardev {text}: no id=")))?;
        let stream = match (kind.as_str(), path) {
            ("stdio" | "null", _) => kind,
            ("file", Some(path)) => format!("file:{path}"),
            ("socket", Some(path)) => format!("unix:{path}"),
            ("socket", None) if port.is_some() => format!("tcp:{host}:{}", port.unwrap_or_default()),
            _ => return Err(bad(format!("-chardev {text}: not supported; there are stdio, null, file and socket"))),
        };
        self.chardevs.insert(id, stream);
        Ok(())
    }

    fn device(&mut self, text: &str) -> Result<(), Failure> {
        let properties = properties(text, "driver");
        let get = |wanted: &str| properties.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        match get("driver").unwrap_or_default() {
            "isa-debug-exit" => {
                self.exit_device = true;
                let port = get("iobase").unwrap_or("0x501");
                values::port(port).map_err(|problem| bad(format!("-device {text}: {problem}")))?;
                let port = port.to_owned();
                self.set("debug-exit", port);
            }
            "isa-debugcon" => {
                let port = get("iobase").unwrap_or("0xe9");
                values::port(port).map_err(|problem| bad(format!("-device {text}: {problem}")))?;
                let stream = format!("chardev:{}", get("chardev").unwrap_or_default());
                let port = port.to_owned();
                self.set("debugcon-port", port);
                self.debugcon = Some(stream);
            }
            "isa-serial" => {
                let stream = format!("chardev:{}", get("chardev").unwrap_or_default());
                self.serials.push(stream);
            }
            "isa-vga" => self.set("vga", "isa"),
            "VGA" => self.set("vga", "std"),
            "ide-hd" | "ide-cd" | "floppy" | "piix3-ide" | "i8042" | "vmmouse" => {}
            "virtio-blk-pci" | "virtio-blk" | "ahci" | "scsi-hd" | "usb-storage" => {
                self.note(format!("-device {text}: drives are on the IDE channels"));
            }
            "usb-kbd" | "usb-mouse" | "usb-tablet" | "qemu-xhci" | "nec-usb-xhci" | "piix3-usb-uhci" | "usb-ehci" => {
                self.note(format!("-device {text}: the board has no USB; keyboard and mouse are PS/2"));
            }
            "ne2k_pci" => {}
            "e1000" | "rtl8139" | "pcnet" | "virtio-net-pci" | "virtio-net" => {
                self.note(format!("-device {text}: the network card is an ne2k_pci"));
            }
            "virtio-rng-pci" | "virtio-balloon-pci" | "pvpanic" | "i6300esb" => {
                self.note(format!("-device {text}: left out"));
            }
            other => {
                let known = ["isa-debug-exit", "isa-debugcon", "isa-serial", "VGA", "ide-hd", "ide-cd", "floppy"];
                let near = crate::document::nearest(other, known.into_iter());
                let near = near.map(|near| format!("; the nearest is {near}")).unwrap_or_default();
                return Err(bad(format!("-device {other}: the board has no such device{near}")));
            }
        }
        Ok(())
    }

    /// `-nic`, `-net` and `-netdev`: the card is always the one on the PCI bus, or the one on the ISA
    /// bus when its model is named.
    fn network(&mut self, flag: &str, text: &str) {
        let properties = properties(text, "type");
        let get = |wanted: &str| properties.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let mut card = match get("type").unwrap_or_default() {
            "none" | "nic" => return,
            "user" => "user".to_owned(),
            "socket" => match (get("connect"), get("listen")) {
                (Some(at), _) => format!("socket={at}"),
                (None, Some(at)) => format!("socket=listen:{at}"),
                (None, None) => return self.note(format!("-{flag} {text}: only sockets with connect= or listen=")),
            },
            _ => return self.note(format!("-{flag} {text}: no such network; there are user and socket")),
        };
        if matches!(get("restrict"), Some("on" | "yes" | "y")) {
            card += ",restrict";
        }
        if let Some(address) = get("mac") {
            card += &format!(",mac={address}");
        }
        match get("model") {
            Some("ne2k_isa") => card += ",model=isa",
            None | Some("ne2k_pci") => {}
            Some(model) => self.note(format!("-{flag} {text}: no {model}; the card is an ne2k_pci")),
        }
        for (name, value) in &properties {
            match name.as_str() {
                "hostfwd" => match value.split_once('-') {
                    Some((host, guest)) => {
                        let guest = guest.trim_start_matches(':');
                        self.set("forward", format!("{host}:{guest}"));
                    }
                    None => self.note(format!("-{flag} {text}: hostfwd={value} has no guest's side")),
                },
                "tftp" => self.set("tftp", value),
                "bootfile" => self.set("boot-file", value),
                _ => {}
            }
        }
        self.set("net", card);
    }

    fn finish(mut self) -> Result<Parsed, Failure> {
        // QEMU resets on a triple fault unless told not to, and its machine has no exit device unless
        // given; a port that nobody uses takes its place.
        self.parsed.settings.insert(0, Setting::on("reset-on-triple-fault", Origin::Kind("qemu")));
        if self.stopped {
            let is_set = |name: &str| self.parsed.settings.iter().any(|setting| setting.name == name);
            let name = if is_set("gdb") || !(is_set("monitor") || is_set("qmp")) { "gdb-wait" } else { "paused" };
            self.switch(name);
        }
        if !self.exit_device {
            self.parsed.settings.insert(0, Setting::new("debug-exit", "0xfff0", Origin::Kind("qemu")));
        }
        for (_, path) in std::mem::take(&mut self.drives.floppies) {
            self.set("floppy", path);
        }
        for (_, (is_disc, path)) in std::mem::take(&mut self.drives.disks) {
            self.set(if is_disc { "cdrom" } else { "disk" }, path);
        }
        if self.graphic == Some(false) {
            self.set("display", "none");
        }
        let headless = self
            .parsed
            .settings
            .iter()
            .any(|setting| setting.name == "display" && setting.value == Value::Text("none".into()));
        match self.serials.first() {
            Some(serial) => {
                if let Some(stream) = stream("serial", serial, &self.chardevs)? {
                    self.set("serial", stream);
                }
                if self.serials.iter().skip(1).any(|serial| serial != "none" && serial != "null") {
                    self.note("-serial: only the first serial port is connected".into());
                }
            }
            // `-nographic` sends COM1 here; `-display none` alone does not.
            None if self.graphic == Some(false) && self.debugcon.as_deref() != Some("stdio") => {
                self.set("serial", "stdio")
            }
            None if headless => self.set("serial", "null"),
            None => {}
        }
        if let Some(debugcon) = self.debugcon.take()
            && let Some(stream) = stream("debugcon", &debugcon, &self.chardevs)?
        {
            self.set("debugcon", stream);
        }
        Ok(self.parsed)
    }
}

fn version() -> String {
    format!("Beigebox {}, with the command line of QEMU", env!("CARGO_PKG_VERSION"))
}

fn help() -> String {
    let list = |flags: &[&str], value: &str| -> String {
        flags.iter().filter(|flag| harmless(flag).is_none()).map(|flag| format!("  -{flag}{value}\n")).collect()
    };
    format!("{}\nusage: beigebox qemu [FLAG]... [DISK]\n\n{}{}", version(), list(WITH_VALUE, " VALUE"), list(ALONE, ""))
}

/// Runs a machine by this command line. Returns the exit code, by QEMU's rules: a guest that resets
/// under `-no-reboot` ends with 0, by a triple fault too.
pub(crate) fn qemu(arguments: &[OsString]) -> Result<u8, Failure> {
    let parsed = parse(arguments)?;
    if let Some(text) = parsed.print {
        println!("{text}");
        return Ok(code::PASS);
    }
    for note in &parsed.notes {
        eprintln!("beigebox: {note}");
    }
    let code = crate::run::run(crate::settings::resolve(&parsed.settings)?)?;
    Ok(if code == code::TRIPLE_FAULT { code::PASS } else { code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Parsed, Failure> {
        parse(&text.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect::<Vec<_>>())
    }
    fn run(text: &str) -> crate::options::Run {
        crate::settings::resolve(&parsed(text).unwrap().settings).unwrap()
    }

    #[test]
    fn flags_mean_what_they_mean_to_qemu() {
        let options = run(
            "-m 512 -cpu pentium3 -hda a.img -cdrom c.iso -fda f.img -boot order=dc,menu=on -nographic -no-reboot \
             -device isa-debug-exit,iobase=0xf4,iosize=0x04 -snapshot -rtc base=utc -monitor none",
        );
        assert_eq!(options.memory, 512 << 20);
        assert_eq!(options.cpu, beigebox::Model::from_name("pentium3").unwrap());
        assert_eq!(options.disk.len() + options.cdrom.len() + options.floppy.len(), 3);
        assert_eq!(options.debug_exit, 0xf4);
        assert_eq!(options.display, [crate::options::Display::None]);
        assert_eq!(options.serial, Some(crate::values::Stream::Stdio));
        assert!(options.no_reboot && options.snapshot && options.reset_on_triple_fault);

        let options =
            run("-drive file=a,,b.img,format=raw,if=floppy -display none -drive format=raw,file=x -serial file:out");
        assert_eq!(options.floppy[0].path, Path::new("a,b.img"));
        assert_eq!(options.disk[0].path, Path::new("x"));
        assert_eq!(options.serial, Some(crate::values::Stream::File("out".into())));
        assert_eq!(options.debug_exit, 0xfff0);

        let options = run("-display none -debugcon stdio -global isa-debugcon.iobase=0x402 -kernel k -append a=b");
        assert_eq!(options.serial, Some(crate::values::Stream::Null));
        assert_eq!(options.debugcon, Some(crate::values::Stream::Stdio));
        assert_eq!(options.debugcon_port, 0x402);

        let options = run("-serial chardev:c -chardev file,id=c,path=log -device isa-debug-exit -m 1G disk.img");
        assert_eq!(options.serial, Some(crate::values::Stream::File("log".into())));
        assert_eq!(options.debug_exit, 0x501);
        assert_eq!(options.memory, 1 << 30);
        assert_eq!(options.disk[0].path, Path::new("disk.img"));
    }

    #[test]
    fn networks() {
        let options = run("-nic user,model=ne2k_isa,mac=52:54:00:00:00:09,hostfwd=tcp::2222-:22,tftp=d,bootfile=b");
        assert_eq!((options.net.net.len(), options.net.forward.len()), (1, 1));
        assert_eq!(options.net.forward, [crate::net::forward("tcp:127.0.0.1:2222:22").unwrap()]);
        assert_eq!(options.net.net, [crate::net::card("user,model=isa,mac=52:54:00:00:00:09").unwrap()]);
        let options = run("-netdev socket,id=n,connect=127.0.0.1:99 -device ne2k_pci,netdev=n");
        assert_eq!(options.net.net, [crate::net::card("socket=127.0.0.1:99").unwrap()]);
        assert!(run("-nic none").net.net.is_empty());
    }

    #[test]
    fn what_is_ignored_is_said_and_what_is_unknown_fails() {
        let parsed_flags = parsed("-accel kvm -d int -D log -smp 4 -cpu max").unwrap();
        assert_eq!(parsed_flags.notes.len(), 5, "{:?}", parsed_flags.notes);
        for (text, words) in [
            ("-serail stdio", "-serial"),
            ("-no-rebot", "-no-reboot"),
            ("-m", "needs a value"),
            ("-device isa-debug-exti", "isa-debug-exit"),
            ("-machine q35", "i440FX"),
            ("-cpu alpha", "pentium"),
            ("-drive if=ide", "no file"),
            ("-drive file=a,form=raw", "no property"),
            ("-serial chardev:x", "-chardev"),
            ("-qmp pty", "unix:PATH"),
            ("-mon mode=control", "chardev="),
            ("-monitor chardev:x", "-chardev"),
            ("-gdb stdio", "unix:PATH"),
        ] {
            let failure = parsed(text).unwrap_err();
            assert!(failure.text.contains(words) && failure.code == 2, "{text}: {}", failure.text);
        }
    }

    #[test]
    fn monitors() {
        let place = |text: &str| Some(crate::monitor::place(text).unwrap());
        let options = run("-monitor stdio -qmp unix:/tmp/q,server=on,wait=off -S");
        assert_eq!((options.monitor, options.qmp), (place("stdio"), place("unix:/tmp/q")));
        assert!(options.paused && !options.gdb_wait);
        let options = run("-monitor telnet:127.0.0.1:4444,server,nowait -s -S");
        assert_eq!(options.monitor, place("tcp:127.0.0.1:4444"));
        assert!(options.gdb_wait && !options.paused);
        let options = run("-chardev socket,id=q,path=/tmp/s,server=on,wait=off -mon chardev=q,mode=control");
        assert_eq!((options.monitor, options.qmp), (None, place("unix:/tmp/s")));
        let options = run("-chardev socket,id=q,host=localhost,port=44,server -mon q");
        assert_eq!(options.monitor, place("tcp:44"));
        assert_eq!(run("-monitor none -nographic").monitor, None);
    }

    #[test]
    fn names_of_the_program() {
        assert!(is_name(Path::new("/usr/bin/qemu-system-i386")) && !is_name(Path::new("beigebox")));
    }
}
