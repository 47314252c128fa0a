//! ARM64 instructions that are executed for each instruction of the guest, by the ARM64 build and by Debian's ARM64 build
//! of QEMU, counted by a plugin of QEMU's emulation of user programs, as a Markdown table.
//!
//! ```text
//! scripts/setup --arm64-counts
//! cargo run --release -p beigebox-benches --bin arm64 -- --build [--groups int,mem.stream]
//!     [--scale 0.03] [--on beigebox,jit,qemu] [--serial FILE] [--guests FOLDER]
//! ```
//!
//! Each benchmark runs three times in one boot, twice with a little work and once with more, and the table shows the
//! difference of the last two: all is translated before them, the start of processes and the kernel's own work cancel.
//! The emulated program sees one processor, so that translation comes before what is measured. The guest's instructions
//! are those that the ARM64 build retires; the same binary does the same work on QEMU. Checksums must be equal everywhere.
//! The machine must have nothing else to do: QEMU's guest lives in the host's time, and sees a processor that is too slow
//! for its timer.
//!
//! `--build` makes the program that boots the kernel (`--example serial`) for ARM64, in the folder `arm64` beside
//! the one of this program, as `scripts/test --arm64` does; otherwise it is there already, or `--serial` says where.

#[allow(dead_code, reason = "this measures no time")]
#[path = "../measure.rs"]
mod measure;
#[path = "../suite.rs"]
mod suite;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

type Error = Box<dyn std::error::Error>;

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The larger run does this many times the work of the smaller.
const LARGER: u64 = 4;

struct Plan {
    groups: Vec<String>,
    scale: f64,
    on: Vec<String>,
    serial: PathBuf,
    build: bool,
    guests: PathBuf,
}

fn plan() -> Result<Plan, Error> {
    // target/release/arm64 is this program.
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(Path::parent).ok_or("this program lies in no target folder")?.join("arm64");
    let mut plan = Plan {
        groups: vec!["int".into()],
        scale: 0.03,
        on: ["jit", "qemu"].map(str::to_owned).to_vec(),
        serial: target.join(TARGET).join("release/examples/serial"),
        build: false,
        guests: fs::canonicalize(measure::guests())?,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--build" {
            plan.build = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--groups" => plan.groups = value.split(',').map(str::to_owned).collect(),
            "--scale" => plan.scale = value.parse()?,
            "--on" => plan.on = value.split(',').map(str::to_owned).collect(),
            "--serial" => plan.serial = value.into(),
            "--guests" => plan.guests = fs::canonicalize(value)?,
            _ => return Err(format!("unknown word {word}; see the top of benches/src/bin/arm64.rs").into()),
        }
    }
    if plan.scale <= 0.0 || plan.scale.is_nan() {
        return Err("--scale must be greater than 0".into());
    }
    if plan.build {
        build(&plan.guests, &target)?;
    }
    for (file, how) in [
        (plan.serial.clone(), "say --build"),
        (counting(&plan.guests), "run scripts/setup --arm64-counts"),
        (system(&plan.guests), "run scripts/setup --arm64-counts"),
    ] {
        if !file.is_file() {
            return Err(format!("{} is not there: {how}", file.display()).into());
        }
    }
    Ok(plan)
}

/// QEMU's emulation of user programs, with plugins.
fn counting(guests: &Path) -> PathBuf {
    guests.join("qemu-counting/qemu-aarch64")
}
/// QEMU's emulation of a PC, for ARM64, with its libraries below the same folder.
fn system(guests: &Path) -> PathBuf {
    guests.join("qemu-system-arm64/usr/bin/qemu-system-i386")
}

fn build(guests: &Path, target: &Path) -> Result<(), Error> {
    let done = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET, "-p", "beigebox-benches", "--example", "serial"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTC", guests.join("rust-arm64/bin/rustc"))
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
        .status()?;
    if done.success() { Ok(()) } else { Err("building for ARM64 failed".into()) }
}

/// Benchmarks of the chosen groups, each with a little work and with more.
fn selection(plan: &Plan) -> Result<Vec<(String, u64)>, Error> {
    let mut all = Vec::new();
    for (name, units) in suite::units(&plan.guests, &plan.groups)? {
        let few = ((units as f64 * plan.scale) as u64).max(1);
        all.extend([(name.clone(), few), (name.clone(), few), (name, few * LARGER)]);
    }
    if all.is_empty() { Err("no benchmark is in these groups".into()) } else { Ok(all) }
}

/// Counts between the two markers of a run of a benchmark.
#[derive(Clone, Default)]
struct Run {
    host: u64,
    guest: u64,
    checksum: String,
}

/// What one emulator did.
#[derive(Default)]
struct Outcome {
    runs: BTreeMap<String, Vec<Run>>,
    booted: u64,
    code: String,
}

/// What the plugin has written: each text with the number of instructions that were executed before it.
fn records(log: &[u8]) -> Vec<(u64, &[u8])> {
    let (mut all, mut rest) = (Vec::new(), log);
    while let Some((head, more)) = rest.split_first_chunk::<16>() {
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
        let Some((text, more)) = more.split_at_checked(word(8) as usize) else { break };
        all.push((word(0), text));
        rest = more;
    }
    all
}

/// Lines, each with the number of host instructions at its end.
fn lines(log: &[u8]) -> Vec<(u64, String)> {
    let (mut all, mut line) = (Vec::new(), Vec::new());
    for (count, text) in records(log) {
        for &byte in text {
            if byte == b'\n' {
                all.push((count, String::from_utf8_lossy(&line).trim().to_owned()));
                line.clear();
            } else {
                line.push(byte);
            }
        }
    }
    all
}

fn outcome(log: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut begun, mut open, mut name) = (Run::default(), false, String::new());
    for (count, line) in lines(log) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["BOOTED"] => outcome.booted = count,
            ["@@B", ..] => (begun, open) = (Run { host: count, ..Run::default() }, true),
            ["@@E", of, _, checksum, ..] => {
                name = of.to_owned();
                let run = Run { host: count - begun.host, guest: 0, checksum: checksum.to_owned() };
                outcome.runs.entry(name.clone()).or_default().push(run);
                open = false;
            }
            ["@@I", guest] => {
                let guest = guest.parse().unwrap_or(0);
                if open {
                    begun.guest = guest;
                } else if let Some(run) = outcome.runs.get_mut(&name).and_then(|all| all.last_mut())
                    && run.guest == 0
                {
                    run.guest = guest - begun.guest;
                }
            }
            _ => {}
        }
    }
    outcome
}

fn measure(plan: &Plan, selection: &[(String, u64)], on: &str, folder: &Path) -> Result<Outcome, Error> {
    let list: Vec<String> = selection.iter().map(|(n, u)| format!("{n}:{u}")).collect();
    let append = format!("console=ttyS0,115200 quiet mitigations=off cryptomgr.notests bench={}", list.join(","));
    let (log, monitor) = (folder.join(format!("{on}.log")), folder.join("monitor"));
    let errors = folder.join(format!("{on}.errors"));
    let (kernel, initrd) = (plan.guests.join("vmlinuz-686"), plan.guests.join("bench.cpio.gz"));
    let mut plugin = folder.join("counter.so").into_os_string();
    plugin.push(",log=");
    plugin.push(&log);
    let mut command = Command::new("taskset");
    // One processor: which one is the host's affair, but it must be one that this process may use.
    let status = fs::read_to_string("/proc/self/status")?;
    let allowed = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap_or("0").trim();
    let processor = allowed.rsplit([',', '-']).next().unwrap_or("0");
    command.args(["-c", processor]).arg(counting(&plan.guests)).args(["-cpu", "max,pauth-impdef=on", "-plugin"]);
    command.arg(plugin).arg("-L");
    if on == "qemu" {
        let tree = plan.guests.join("qemu-system-arm64");
        command.arg(&tree).arg(system(&plan.guests));
        for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            command.arg("-L").arg(tree.join(data));
        }
        command.args(["-accel", "tcg,thread=single", "-m", "256", "-display", "none", "-no-reboot", "-no-shutdown"]);
        command.args(["-nic", "none", "-serial", "stdio", "-monitor"]);
        command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).arg("-append").arg(append);
    } else {
        let engine = if on == "jit" { "jit" } else { "interpreter" };
        command.arg("/usr/aarch64-linux-gnu").arg(&plan.serial).arg(engine).arg(kernel).arg(initrd).arg(append);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?).spawn()?;
    let mut code = String::new();
    loop {
        std::thread::sleep(Duration::from_millis(250));
        let gone = child.try_wait()?.is_some();
        let text = lines(&fs::read(&log).unwrap_or_default());
        let done = text.iter().any(|(_, line)| line == "@@DONE");
        if done && on == "qemu" && !gone {
            let mut socket = UnixStream::connect(&monitor)?;
            socket.write_all(b"info jit\nquit\n")?;
            let _ = socket.read_to_string(&mut code);
            child.wait()?;
        }
        if gone || done && on == "qemu" {
            break;
        }
    }
    if on != "qemu" {
        code = fs::read_to_string(&errors)?;
    }
    let mut outcome = outcome(&fs::read(&log)?);
    outcome.code = code;
    if outcome.runs.is_empty() {
        return Err(format!("{on} ran no benchmark: {}", fs::read_to_string(&errors)?.trim()).into());
    }
    Ok(outcome)
}

fn run() -> Result<(), Error> {
    let plan = plan()?;
    let selection = selection(&plan)?;
    let folder = std::env::temp_dir().join(format!("beigebox-arm64-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = table(&plan, &selection, &folder);
    let _ = fs::remove_dir_all(&folder);
    result
}

fn table(plan: &Plan, selection: &[(String, u64)], folder: &Path) -> Result<(), Error> {
    let made = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o"])
        .arg(folder.join("counter.so"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/arm64/counter.c"))
        .status()?;
    if !made.success() {
        return Err("the plugin could not be compiled".into());
    }
    let mut outcomes = BTreeMap::new();
    // At the same time: instructions are counted, not time.
    std::thread::scope(|scope| -> Result<(), Error> {
        let threads: Vec<_> = plan
            .on
            .iter()
            .map(|on| (on, scope.spawn(move || measure(plan, selection, on, folder).map_err(|e| e.to_string()))))
            .collect();
        for (on, thread) in threads {
            outcomes.insert(on.clone(), thread.join().map_err(|_| "a measurement failed")??);
        }
        Ok(())
    })?;
    // Guest instructions are known from the emulators of ours.
    let mut guest = BTreeMap::new();
    let mut differ = Vec::new();
    let mut checksums: BTreeMap<(String, usize), String> = BTreeMap::new();
    for (on, outcome) in &outcomes {
        for (name, runs) in &outcome.runs {
            for (n, run) in runs.iter().enumerate() {
                let expected = checksums.entry((name.clone(), n)).or_insert_with(|| run.checksum.clone());
                if *expected != run.checksum {
                    differ.push(format!("{name} on {on}"));
                }
            }
            if let [.., few, many] = &runs[..]
                && many.guest > few.guest
            {
                guest.insert(name.clone(), many.guest - few.guest);
            }
        }
    }
    let host = |on: &str, name: &str| match outcomes[on].runs.get(name).map(Vec::as_slice) {
        Some([.., few, many]) => many.host.saturating_sub(few.host) as f64,
        _ => f64::NAN,
    };
    print!("| benchmark | guest instructions, M |");
    for on in &plan.on {
        print!(" {on}: ARM64 instructions for one |");
    }
    let ours = plan.on.iter().find(|on| *on != "qemu");
    let both = ours.filter(|_| plan.on.iter().any(|on| on == "qemu"));
    if let Some(ours) = both {
        print!(" {ours} : qemu |");
    }
    println!("\n|---|--:|{}", "--:|".repeat(plan.on.len() + usize::from(both.is_some())));
    let (mut columns, mut ratios): (BTreeMap<&str, Vec<f64>>, Vec<f64>) = (BTreeMap::new(), Vec::new());
    let mut names: Vec<&str> = selection.iter().map(|(n, _)| n.as_str()).collect();
    names.dedup();
    for name in names {
        let instructions = guest.get(name).map_or(f64::NAN, |n| *n as f64);
        print!("| {name} | {:.1} |", instructions / 1e6);
        for on in &plan.on {
            let each = host(on, name) / instructions;
            columns.entry(on).or_default().push(each);
            print!(" {each:.2} |");
        }
        if let Some(ours) = both {
            let ratio = host(ours, name) / host("qemu", name);
            ratios.push(ratio);
            print!(" {ratio:.2} |");
        }
        println!();
    }
    print!("| **geometric mean** | |");
    for on in &plan.on {
        print!(" {:.2} |", suite::geometric_mean(&columns[on.as_str()]));
    }
    if both.is_some() {
        print!(" **{:.2}** |", suite::geometric_mean(&ratios));
    }
    println!();
    print!("| start to BOOTED, 10⁹ ARM64 instructions | |");
    for on in &plan.on {
        print!(" {:.2} |", outcomes[on].booted as f64 / 1e9);
    }
    println!("{}\n", if both.is_some() { " |" } else { "" });
    for on in &plan.on {
        println!("{on}, code made over the whole run:");
        let wanted = ["translated", "gen code size", "TB count", "TB avg", "TB flush count"];
        for line in outcomes[on].code.lines().map(str::trim).filter(|l| wanted.iter().any(|w| l.contains(w))) {
            println!("    {line}");
        }
    }
    if differ.is_empty() { Ok(()) } else { Err(format!("checksums differ: {}", differ.join("; ")).into()) }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("arm64: {e}");
            ExitCode::FAILURE
        }
    }
}
