//! Runs the guest benchmark suite on several emulators and natively, interleaved, and prints the
//! median CPU times with their ratios to native as a Markdown table.
//!
//! ```text
//! cargo run --release -p beigebox-benches -- [--groups int,mem.stream] [--scale 0.3] [--repeat 3]
//!     [--on beigebox,beigebox-jit,beigebox-jit-warm,qemu,bochs] [--beigebox FILE] [--guests FOLDER]
//! ```
//!
//! `beigebox-jit-warm` has the translated code of a run before on disk; that run is not measured.
//!
//! Times are CPU seconds of the emulator's process between the markers that each benchmark prints
//! on the serial line. Checksums must be equal everywhere. A guest's own clock is not used.

mod cache;
mod measure;
mod suite;

use measure::{cpu_seconds, median};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Error = Box<dyn std::error::Error>;

/// The emulator that others are compared with.
const QEMU: &str = "qemu";
/// All groups together.
const ALL: &str = "all";

/// What to run, and how.
struct Plan {
    groups: Vec<String>,
    scale: f64,
    repeat: usize,
    on: Vec<String>,
    beigebox: PathBuf,
    guests: PathBuf,
}

fn plan() -> Result<Plan, Error> {
    let mut plan = Plan {
        groups: vec!["int".into()],
        scale: 0.3,
        repeat: 3,
        on: vec!["beigebox".into(), "qemu".into(), "bochs".into()],
        beigebox: measure::beigebox()?,
        guests: measure::guests(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let list = |text: String| text.split(',').map(str::to_owned).collect();
        match word.as_str() {
            "--groups" => plan.groups = list(value()?),
            "--scale" => plan.scale = value()?.parse()?,
            "--repeat" => plan.repeat = value()?.parse()?,
            "--on" => plan.on = list(value()?),
            "--beigebox" => plan.beigebox = value()?.into(),
            "--guests" => plan.guests = value()?.into(),
            _ => return Err(format!("unknown word {word}; see the top of benches/src/main.rs").into()),
        }
    }
    if plan.repeat == 0 || plan.scale <= 0.0 || plan.scale.is_nan() {
        return Err("--repeat and --scale must be greater than 0".into());
    }
    Ok(plan)
}

/// Benchmark names and their units of work, those of the chosen groups only.
fn selection(plan: &Plan) -> Result<Vec<(String, u64)>, Error> {
    let scaled = |(name, units)| (name, ((units as f64 * plan.scale) as u64).max(1));
    Ok(suite::units(&plan.guests.join("bench.units"), &plan.groups)?.into_iter().map(scaled).collect())
}

/// One benchmark's result: CPU seconds and checksum.
type Results = BTreeMap<String, (f64, String)>;

/// Watches the serial lines of an emulator.
struct Watch {
    pid: u32,
    started: f64,
    results: Results,
    boot: Option<f64>,
}

impl Watch {
    fn new(pid: u32) -> Watch {
        Watch { pid, started: 0.0, results: Results::new(), boot: None }
    }
    /// Takes one line; true when the run is over.
    fn line(&mut self, line: &str) -> bool {
        let line = line.trim();
        if line == "BOOTED" {
            self.boot = Some(cpu_seconds(self.pid));
        } else if line.starts_with("@@B ") {
            self.started = cpu_seconds(self.pid);
        } else if let Some(rest) = line.strip_prefix("@@E ") {
            let words: Vec<&str> = rest.split_whitespace().collect();
            if let [name, _units, checksum, ..] = words[..] {
                self.results.insert(name.to_owned(), (cpu_seconds(self.pid) - self.started, checksum.to_owned()));
            }
        }
        line == "@@DONE"
    }
}

fn command_line(selection: &[(String, u64)]) -> String {
    let list: Vec<String> = selection.iter().map(|(n, u)| format!("{n}:{u}")).collect();
    format!("console=ttyS0,115200 quiet mitigations=off cryptomgr.notests bench={}", list.join(","))
}

/// Reads the child's standard output until the end of the suite.
fn follow(mut child: Child) -> Result<Watch, Error> {
    let mut watch = Watch::new(child.id());
    let output = child.stdout.take().ok_or("no output")?;
    for line in BufReader::new(output).lines() {
        if watch.line(&line?) {
            break;
        }
    }
    let _ = child.kill();
    child.wait()?;
    Ok(watch)
}

fn beigebox(plan: &Plan, selection: &[(String, u64)], engine: &str, cache: &str) -> Result<Watch, Error> {
    let child = Command::new(&plan.beigebox)
        .args(["run", "--engine", engine, "--jit-cache", cache])
        .arg("--kernel")
        .arg(plan.guests.join("vmlinuz-686"))
        .arg("--initrd")
        .arg(plan.guests.join("bench.cpio.gz"))
        .args(["--memory", "256M", "--serial", "stdio", "--clock", "instructions", "--append"])
        .arg(command_line(selection))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("{}: {e}; build it with cargo build --release", plan.beigebox.display()))?;
    follow(child)
}

fn qemu(plan: &Plan, selection: &[(String, u64)]) -> Result<Watch, Error> {
    let child = Command::new("qemu-system-i386")
        .args(["-accel", "tcg,thread=single", "-m", "256", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(plan.guests.join("vmlinuz-686"))
        .arg("-initrd")
        .arg(plan.guests.join("bench.cpio.gz"))
        .arg("-append")
        .arg(command_line(selection))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    follow(child)
}

/// Bochs has no direct boot: an ISOLINUX disc carries kernel and initramfs.
fn bochs(plan: &Plan, selection: &[(String, u64)]) -> Result<Watch, Error> {
    let folder = std::env::temp_dir().join(format!("beigebox-bench-{}", std::process::id()));
    let tree = folder.join("tree");
    std::fs::create_dir_all(&tree)?;
    for (from, to) in [
        (plan.guests.join("vmlinuz-686"), "vmlinuz"),
        (plan.guests.join("bench.cpio.gz"), "initrd.gz"),
        (PathBuf::from("/usr/lib/ISOLINUX/isolinux.bin"), "isolinux.bin"),
        (PathBuf::from("/usr/lib/syslinux/modules/bios/ldlinux.c32"), "ldlinux.c32"),
    ] {
        std::fs::copy(&from, tree.join(to)).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    let configuration =
        format!("default b\nlabel b\nkernel vmlinuz\ninitrd initrd.gz\nappend {}\n", command_line(selection));
    std::fs::write(tree.join("isolinux.cfg"), configuration)?;
    let disc = folder.join("bench.iso");
    let made = Command::new("xorriso")
        .args([
            "-as",
            "mkisofs",
            "-quiet",
            "-b",
            "isolinux.bin",
            "-c",
            "boot.cat",
            "-no-emul-boot",
            "-boot-load-size",
            "4",
        ])
        .args(["-boot-info-table", "-o"])
        .arg(&disc)
        .arg(&tree)
        .status()?;
    if !made.success() {
        return Err("xorriso could not make the disc".into());
    }
    let serial = folder.join("serial.txt");
    std::fs::write(&serial, "")?;
    let rc = folder.join("bochsrc");
    let text = format!(
        "megs: 256\ncpu: model=p4_willamette, ips=50000000\nromimage: file=/usr/share/bochs/BIOS-bochs-latest\n\
         vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest\nata0-master: type=cdrom, path={}, status=inserted\n\
         boot: cdrom\ncom1: enabled=1, mode=file, dev={}\ndisplay_library: rfb, options=\"timeout=0\"\nlog: {}\n\
         panic: action=fatal\n",
        disc.display(),
        serial.display(),
        folder.join("log.txt").display()
    );
    std::fs::write(&rc, text)?;
    let go = folder.join("go");
    std::fs::write(&go, "c\n")?;
    let mut child = Command::new("bochs")
        .args(["-q", "-f"])
        .arg(&rc)
        .arg("-rc")
        .arg(&go)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut watch = Watch::new(child.id());
    let (mut at, mut partial) = (0, String::new());
    let deadline = Instant::now() + Duration::from_secs(3600);
    'run: while child.try_wait()?.is_none() && Instant::now() < deadline {
        let mut file = std::fs::File::open(&serial)?;
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = Vec::new();
        at += file.read_to_end(&mut bytes)? as u64;
        partial.push_str(&String::from_utf8_lossy(&bytes));
        while let Some(end) = partial.find('\n') {
            let line: String = partial.drain(..=end).collect();
            if watch.line(&line) {
                break 'run;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    child.wait()?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(watch)
}

/// The same binary on the host's own processor.
fn native(plan: &Plan, selection: &[(String, u64)]) -> Result<Results, Error> {
    let mut results = Results::new();
    for (name, units) in selection {
        let output = Command::new(plan.guests.join("bench.i386")).arg(name).arg(units.to_string()).output()?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["@@E", name, _, checksum, _, cpu] = words[..] {
                results.insert(name.to_owned(), (cpu.parse::<f64>()? / 1e9, checksum.to_owned()));
            }
        }
    }
    Ok(results)
}

fn run() -> Result<(), Error> {
    let plan = plan()?;
    let selection = selection(&plan)?;
    if selection.is_empty() {
        return Err("no benchmark is in these groups".into());
    }
    let mut samples: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let mut boots: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut checksums: BTreeMap<String, String> = BTreeMap::new();
    let mut differ = Vec::new();
    let mut take = |on: &str, results: Results| {
        for (name, (seconds, checksum)) in results {
            let expected = checksums.entry(name.clone()).or_insert_with(|| checksum.clone());
            if *expected != checksum {
                differ.push(format!("{name} on {on}: {checksum}, expected {expected}"));
            }
            samples.entry((name, on.to_owned())).or_default().push(seconds.max(0.005));
        }
    };
    let cache = cache::Cache::new();
    for round in 1..=plan.repeat {
        eprintln!("round {round} of {}", plan.repeat);
        take("native", native(&plan, &selection)?);
        for on in &plan.on {
            let watch = match on.as_str() {
                "beigebox" => beigebox(&plan, &selection, "interpreter", "off")?,
                "beigebox-jit" => beigebox(&plan, &selection, "jit", "off")?,
                "beigebox-jit-warm" => {
                    if round == 1 {
                        beigebox(&plan, &selection, "jit", &cache.folder())?;
                    }
                    beigebox(&plan, &selection, "jit", &cache.folder())?
                }
                QEMU => qemu(&plan, &selection)?,
                "bochs" => bochs(&plan, &selection)?,
                other => {
                    let known = "beigebox, beigebox-jit, beigebox-jit-warm, qemu or bochs";
                    return Err(format!("unknown emulator {other}: {known}").into());
                }
            };
            if let Some(seconds) = watch.boot {
                boots.entry(on.clone()).or_default().push(seconds);
            }
            take(on, watch.results);
        }
    }
    let of = |name: &str, on: &str| median(samples.get(&(name.to_owned(), on.to_owned())).cloned().unwrap_or_default());
    let mut table = String::from("| benchmark | native s |");
    for on in &plan.on {
        write!(table, " {on} s | × native |")?;
    }
    writeln!(table)?;
    writeln!(table, "|---|--:|{}", "--:|--:|".repeat(plan.on.len()))?;
    for (name, _) in &selection {
        write!(table, "| {name} | {:.3} |", of(name, "native"))?;
        for on in &plan.on {
            write!(table, " {:.2} | {:.1} |", of(name, on), of(name, on) / of(name, "native"))?;
        }
        writeln!(table)?;
    }
    let groups: std::collections::BTreeSet<&str> = selection.iter().filter_map(|(n, _)| n.split('.').next()).collect();
    let all = groups.len() > 1;
    let groups: Vec<&str> = groups.into_iter().chain(all.then_some(ALL)).collect();
    // How many times as long as on `base` the benchmarks of a group take.
    let ratios = |group: &str, on: &str, base: &str| -> Vec<(f64, &str)> {
        let members = selection.iter().filter(|(n, _)| group == ALL || n.split('.').next() == Some(group));
        members.map(|(n, _)| (of(n, on) / of(n, base), n.as_str())).filter(|(r, _)| r.is_finite()).collect()
    };
    let mean = |ratios: &[(f64, &str)]| suite::geometric_mean(&ratios.iter().map(|(r, _)| *r).collect::<Vec<_>>());
    for group in &groups {
        write!(table, "| **{group}, geometric mean** | |")?;
        for on in &plan.on {
            write!(table, " | {:.1} |", mean(&ratios(group, on, "native")))?;
        }
        writeln!(table)?;
    }
    write!(table, "| start to BOOTED, CPU s | |")?;
    for on in &plan.on {
        write!(table, " {:.1} | |", median(boots.get(on).cloned().unwrap_or_default()))?;
    }
    writeln!(table)?;
    if plan.on.iter().any(|on| on == QEMU) {
        writeln!(table)?;
        let others: Vec<&String> = plan.on.iter().filter(|on| *on != QEMU).collect();
        write!(table, "| times as fast as QEMU |")?;
        for on in &others {
            write!(table, " {on}, geometric mean | and the slowest |")?;
        }
        writeln!(table, "\n|---|{}", "--:|---|".repeat(others.len()))?;
        for group in &groups {
            write!(table, "| {group} |")?;
            for on in &others {
                let ratios = ratios(group, QEMU, on);
                let slowest = ratios.iter().min_by(|a, b| a.0.total_cmp(&b.0));
                let slowest = slowest.map(|(r, name)| format!("{name} {r:.2}")).unwrap_or_default();
                write!(table, " {:.2} | {slowest} |", mean(&ratios))?;
            }
            writeln!(table)?;
        }
    }
    print!("{table}");
    if differ.is_empty() { Ok(()) } else { Err(format!("checksums differ: {}", differ.join("; ")).into()) }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("guest-bench: {e}");
            ExitCode::FAILURE
        }
    }
}
