//! Boots on Beigebox and on QEMU, interleaved: CPU and wall seconds until a text is there, and the
//! emulator's own memory at that moment, as a Markdown table of medians.
//!
//! ```text
//! cargo run --release -p beigebox-benches --bin boots -- [--repeat 3] [--only kernel,grub]
//!     [--on beigebox,beigebox-jit,beigebox-jit-warm,qemu] [--beigebox FILE] [--guests FOLDER]
//! ```
//!
//! `beigebox-jit-warm` has the translated code of a run before on disk; that run is not measured.
//! Own memory is what is resident of all mappings but those as large as the guest's RAM.

#[path = "../cache.rs"]
mod cache;
#[path = "../measure.rs"]
mod measure;

use measure::{cpu_seconds, median};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Error = Box<dyn std::error::Error>;

struct Plan {
    repeat: usize,
    only: Vec<String>,
    on: Vec<String>,
    beigebox: PathBuf,
    guests: PathBuf,
}

fn plan() -> Result<Plan, Error> {
    let mut plan = Plan {
        repeat: 3,
        only: Vec::new(),
        on: ["beigebox", "beigebox-jit", "qemu"].map(str::to_owned).to_vec(),
        beigebox: measure::beigebox()?,
        guests: measure::guests(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--repeat" => plan.repeat = value()?.parse::<usize>()?.max(1),
            "--only" => plan.only = value()?.split(',').map(str::to_owned).collect(),
            "--on" => plan.on = value()?.split(',').map(str::to_owned).collect(),
            "--beigebox" => plan.beigebox = value()?.into(),
            "--guests" => plan.guests = value()?.into(),
            _ => return Err(format!("unknown word {word}; see the top of benches/src/bin/boots.rs").into()),
        }
    }
    Ok(plan)
}

/// Where the text that ends a boot comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Channel {
    Serial,
    /// The text screen.
    Screen,
    /// None: the guest ends the run through the debug-exit port.
    Exit,
}

struct Guest {
    name: &'static str,
    what: &'static str,
    /// MiB of RAM.
    memory: usize,
    kernel: bool,
    image: &'static str,
    channel: Channel,
    text: &'static str,
}

const GUESTS: [Guest; 4] = [
    Guest {
        name: "start",
        what: "a boot sector that ends the run",
        memory: 16,
        kernel: false,
        image: "",
        channel: Channel::Exit,
        text: "",
    },
    Guest {
        name: "grub",
        what: "GRUB's floppy to its menu, and by `c` to the prompt",
        memory: 64,
        kernel: false,
        image: "grub-floppy.img",
        channel: Channel::Screen,
        text: "grub>",
    },
    Guest {
        name: "kernel",
        what: "Debian's kernel to init",
        memory: 128,
        kernel: true,
        image: "",
        channel: Channel::Serial,
        text: "BOOTED",
    },
    Guest {
        name: "disk",
        what: "Debian's disk to the login",
        memory: 256,
        kernel: false,
        image: "debian.img",
        channel: Channel::Serial,
        text: "login:",
    },
];

const APPEND: &str = "console=ttyS0,115200 quiet mitigations=off cryptomgr.notests";

/// A floppy whose boot sector writes 10h to port F4h: `mov al,10h; out 0f4h,al; hlt`.
fn boot_sector() -> Vec<u8> {
    let mut image = vec![0; 1_474_560];
    image[..5].copy_from_slice(&[0xb0, 0x10, 0xe6, 0xf4, 0xf4]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

fn qemu(plan: &Plan, guest: &Guest, image: &Path, serial: &Path) -> Command {
    let mut command = Command::new("qemu-system-i386");
    command.args([
        "-accel",
        "tcg,thread=single",
        "-display",
        "none",
        "-no-reboot",
        "-nic",
        "none",
        "-monitor",
        "stdio",
    ]);
    command.args(["-m", &guest.memory.to_string(), "-serial"]).arg(format!("file:{}", serial.display()));
    if guest.kernel {
        command.arg("-kernel").arg(plan.guests.join("vmlinuz-686"));
        command.arg("-initrd").arg(plan.guests.join("initramfs.cpio.gz")).args(["-append", APPEND]);
    } else {
        let kind = if guest.name == "disk" { "ide" } else { "floppy" };
        command.arg("-drive").arg(format!("file={},format=raw,if={kind},snapshot=on", image.display()));
    }
    if guest.channel == Channel::Exit {
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"]);
    }
    command
}

fn beigebox(plan: &Plan, guest: &Guest, image: &Path, serial: &Path, engine: &str, cache: &str) -> Command {
    let mut command = Command::new(&plan.beigebox);
    command.args(["run", "--engine", engine, "--jit-cache", cache]);
    command.args(["--display", "none", "--clock", "instructions", "--memory"]);
    command.arg(format!("{}M", guest.memory)).arg("--serial").arg(format!("file:{}", serial.display()));
    if guest.kernel {
        command.arg("--kernel").arg(plan.guests.join("vmlinuz-686"));
        command.arg("--initrd").arg(plan.guests.join("initramfs.cpio.gz")).args(["--append", APPEND]);
    } else {
        command.arg(if guest.name == "disk" { "--disk" } else { "--floppy" }).arg(image).arg("--snapshot");
    }
    if guest.channel == Channel::Screen {
        command.args(["--on-text", "GNU GRUB=>c", "--exit-on-text", guest.text]);
    }
    command
}

/// KiB resident beside the guest's RAM.
fn own_memory(pid: u32, guest: &Guest) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut size, mut sum) = (0.0, 0.0);
    for line in text.lines() {
        let number = || line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        if line.starts_with("Size:") {
            size = number();
        } else if line.starts_with("Rss:") && size < (guest.memory * 1024) as f64 {
            sum += number();
        }
    }
    sum
}

/// Whether a process has ended and is not waited for yet.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z')
}

/// The characters of a dump of text memory.
fn screen(dump: &Path) -> String {
    let bytes = std::fs::read(dump).unwrap_or_default();
    bytes.chunks(2).map(|cell| char::from(cell[0])).collect()
}

/// CPU seconds, wall seconds and KiB of own memory when the text is there.
fn follow(guest: &Guest, on: &str, mut child: Child, serial: &Path, dump: &Path) -> Result<[f64; 3], Error> {
    let (pid, began) = (child.id(), Instant::now());
    let mut memory = 0.0;
    let mut input = child.stdin.take().ok_or("no input")?;
    loop {
        let ended = has_ended(pid);
        let is_there = match guest.channel {
            Channel::Serial => String::from_utf8_lossy(&std::fs::read(serial).unwrap_or_default()).contains(guest.text),
            Channel::Screen if on == "qemu" => {
                let _ = writeln!(input, "pmemsave 0xb8000 4000 \"{}\"", dump.display());
                let screen = screen(dump);
                if screen.contains("GNU GRUB") && !screen.contains(guest.text) {
                    let _ = writeln!(input, "sendkey c");
                }
                screen.contains(guest.text)
            }
            Channel::Screen | Channel::Exit => ended,
        };
        if !ended {
            memory = own_memory(pid, guest);
        }
        if is_there {
            let result = [cpu_seconds(pid), began.elapsed().as_secs_f64(), memory];
            let _ = child.kill();
            child.wait()?;
            return Ok(result);
        }
        if ended || began.elapsed() > Duration::from_secs(600) {
            let _ = child.kill();
            let status = child.wait()?;
            return Err(format!("{on}: {}: `{}` did not come ({status})", guest.what, guest.text).into());
        }
        std::thread::sleep(Duration::from_millis(if guest.channel == Channel::Exit { 2 } else { 25 }));
    }
}

fn boot(plan: &Plan, guest: &Guest, on: &str, cache: &str, folder: &Path) -> Result<[f64; 3], Error> {
    let (serial, dump) = (folder.join("serial"), folder.join("screen"));
    let _ = std::fs::remove_file(&dump);
    File::create(&serial)?;
    let image = if guest.image.is_empty() { folder.join("start.img") } else { plan.guests.join(guest.image) };
    let mut command = match on {
        "qemu" => qemu(plan, guest, &image, &serial),
        "beigebox-jit" => beigebox(plan, guest, &image, &serial, "jit", "off"),
        "beigebox-jit-warm" => beigebox(plan, guest, &image, &serial, "jit", cache),
        _ => beigebox(plan, guest, &image, &serial, "interpreter", "off"),
    };
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    follow(guest, on, child.map_err(|error| format!("{on}: {error}"))?, &serial, &dump)
}

fn run() -> Result<(), Error> {
    let plan = plan()?;
    let folder = std::env::temp_dir().join(format!("beigebox-boots-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("start.img"), boot_sector())?;
    let cache = cache::Cache::new();
    println!("| boot | on | CPU s | wall s | own memory, MiB |\n|---|---|---|---|---|");
    for guest in GUESTS.iter().filter(|guest| plan.only.is_empty() || plan.only.iter().any(|name| name == guest.name)) {
        let mut results: BTreeMap<&str, Vec<[f64; 3]>> = BTreeMap::new();
        for round in 0..plan.repeat {
            for on in &plan.on {
                if round == 0 && on == "beigebox-jit-warm" {
                    boot(&plan, guest, on, &cache.folder(), &folder)?;
                }
                results.entry(on).or_default().push(boot(&plan, guest, on, &cache.folder(), &folder)?);
            }
        }
        for on in &plan.on {
            let middle = |n: usize| median(results[on.as_str()].iter().map(|result| result[n]).collect());
            let (cpu, wall, memory) = (middle(0), middle(1), middle(2) / 1024.0);
            println!("| {} | {on} | {cpu:.2} | {wall:.2} | {memory:.0} |", guest.what);
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("boots: {error}");
            ExitCode::FAILURE
        }
    }
}
