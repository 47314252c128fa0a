//! ARM64 instructions that are executed for each instruction of the guest, by the ARM64 build and by Debian's ARM64 build
//! of QEMU, counted by a plugin of QEMU's emulation of user programs, and the code that both make, as Markdown.
//!
//! ```text
//! scripts/setup --arm64-counts
//! cargo run --release -p beigebox-benches --bin arm64 -- --build [--groups int | --groups int.fib,int.dhry]
//!     [--scale 0.05] [--on jit,interpreter,qemu] [--program FILE] [--guests FOLDER] [--suite FOLDER] [--keep FOLDER]
//! ```
//!
//! The benchmarks of the group `int` are linked with `arm64/flat.c` into a multiboot kernel of 32 bits without paging,
//! interrupts and timers: what both emulators execute for it does not depend on how fast they are. Each benchmark runs
//! three times, twice with a little work and once with more, and the table shows the difference of the last two: all
//! code is made before them, and what a run costs besides its work cancels. The emulated program sees one processor, so
//! that code is made before what is measured. The guest's instructions are those that the ARM64 build retires; the same
//! kernel does the same work on QEMU. Checksums must be equal everywhere.
//!
//! Code is compared by its bytes for each guest instruction it was made of, each instruction as often as it was
//! translated: the machine's own numbers for the ARM64 build, QEMU's log of its translation (`-d in_asm,out_asm`,
//! the kernel's addresses only) for QEMU.
//!
//! `--build` makes the program that runs the kernel (`--example flat`) for ARM64, in the folder `arm64` beside
//! the one of this program, as `scripts/test --arm64` does; otherwise it is there already, or `--program` says where.

#[allow(dead_code, reason = "this measures no time")]
#[path = "../measure.rs"]
mod measure;
#[path = "../suite.rs"]
mod suite;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

type Error = Box<dyn std::error::Error>;

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The larger run does this many times the work of the smaller.
const LARGER: u64 = 4;
/// Where the kernel lies: its header, and its code behind that.
const HEADER: &str = "0x200000";
const CODE: &str = "0x201000";
/// The addresses of all of it.
const RANGE: &str = "0x200000+0x100000";
/// As the benchmark suite itself is compiled, and then what makes it a kernel.
const FLAGS: [&str; 17] = [
    "-m32",
    "-march=i686",
    "-mno-sse",
    "-O2",
    "-fno-math-errno",
    "-fno-tree-vectorize",
    "-fno-tree-loop-distribute-patterns",
    "-fno-strict-aliasing",
    "-ffreestanding",
    "-fno-pie",
    "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector",
    "-no-pie",
    "-static",
    "-nostdlib",
    "-Wall",
    "-Wl,--build-id=none",
];

struct Plan {
    groups: Vec<String>,
    scale: f64,
    on: Vec<String>,
    program: PathBuf,
    build: bool,
    guests: PathBuf,
    suite: PathBuf,
    keep: Option<PathBuf>,
}

fn plan() -> Result<Plan, Error> {
    // target/release/arm64 is this program.
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(Path::parent).ok_or("this program lies in no target folder")?.join("arm64");
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let mut plan = Plan {
        groups: vec!["int".into()],
        scale: 0.05,
        on: ["jit", "qemu"].map(str::to_owned).to_vec(),
        program: target.join(TARGET).join("release/examples/flat"),
        build: false,
        guests: fs::canonicalize(measure::guests())?,
        suite: std::env::var_os("BEIGEBOX_SHARED").map_or_else(beside, PathBuf::from).join("guest-bench"),
        keep: None,
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
            "--program" => plan.program = value.into(),
            "--guests" => plan.guests = fs::canonicalize(value)?,
            "--suite" => plan.suite = value.into(),
            "--keep" => plan.keep = Some(value.into()),
            _ => return Err(format!("unknown word {word}; see the top of benches/src/bin/arm64.rs").into()),
        }
    }
    if plan.scale <= 0.0 || plan.scale.is_nan() {
        return Err("--scale must be greater than 0".into());
    }
    if let Some(on) = plan.on.iter().find(|on| !["jit", "interpreter", "qemu"].contains(&on.as_str())) {
        return Err(format!("--on {on}: jit, interpreter or qemu").into());
    }
    if plan.build {
        build(&plan.guests, &target)?;
    }
    for (file, how) in [
        (plan.program.clone(), "say --build"),
        (counting(&plan.guests), "run scripts/setup --arm64-counts"),
        (system(&plan.guests), "run scripts/setup --arm64-counts"),
        (plan.suite.join("int.c"), "say --suite FOLDER, where the benchmark suite is"),
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

fn finished(what: &str, command: &mut Command) -> Result<(), Error> {
    if command.status().map_err(|e| format!("{what}: {e}"))?.success() {
        Ok(())
    } else {
        Err(format!("{what} failed").into())
    }
}

fn build(guests: &Path, target: &Path) -> Result<(), Error> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--target", TARGET, "-p", "beigebox-benches", "--example", "flat"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("RUSTC", guests.join("rust-arm64/bin/rustc"))
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc");
    finished("building for ARM64", &mut cargo)
}

/// The guest, and the plugin that counts.
fn compile(plan: &Plan, folder: &Path) -> Result<(), Error> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/arm64");
    let mut plugin = Command::new("cc");
    plugin.args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o"]).arg(folder.join("counter.so"));
    finished("compiling the plugin", plugin.arg(sources.join("counter.c")))?;
    let mut guest = Command::new("cc");
    guest.args(FLAGS).arg(format!("-Wl,-Ttext={CODE},--section-start=.multiboot={HEADER}"));
    guest.arg("-I").arg(&plan.suite).arg("-o").arg(folder.join("flat"));
    finished("compiling the guest", guest.arg(plan.suite.join("int.c")).arg(sources.join("flat.c")))
}

/// Benchmarks of the chosen groups, each with a little work and with more.
fn selection(plan: &Plan) -> Result<Vec<(String, u64)>, Error> {
    let mut all = Vec::new();
    for (name, units) in suite::units(&plan.suite.join("units.qemu"), &plan.groups)? {
        if !name.starts_with("int.") {
            return Err(format!("{name} needs more than a processor: only the group int can be counted").into());
        }
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

/// Translated code, and the guest's instructions that it was made of.
#[derive(Clone, Copy, Default)]
struct Code {
    instructions: u64,
    bytes: u64,
}

/// What one emulator did.
#[derive(Default)]
struct Outcome {
    runs: BTreeMap<String, Vec<Run>>,
    /// Before the first benchmark.
    start: u64,
    code: Code,
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
            ["@@B", ..] => {
                if outcome.start == 0 {
                    outcome.start = count;
                }
                (begun, open) = (Run { host: count, ..Run::default() }, true);
            }
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

/// From the statistics of our emulators.
fn our_code(statistics: &str) -> Code {
    let number = |name: &str| {
        let line = statistics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    };
    Code { instructions: number("instructions translated"), bytes: number("bytes of translated code") }
}

/// From QEMU's log: `IN:`, a line for each instruction, and `OUT: [size=BYTES]` for each translated block.
fn qemu_code(log: &str) -> Code {
    let (mut code, mut is_guest) = (Code::default(), false);
    for line in log.lines() {
        if line.starts_with("IN:") {
            is_guest = true;
        } else if let Some(size) = line.strip_prefix("OUT: [size=") {
            is_guest = false;
            code.bytes += size.trim_end_matches(']').parse().unwrap_or(0);
        } else if is_guest && line.starts_with("0x") {
            code.instructions += 1;
        }
    }
    code
}

fn measure(plan: &Plan, selection: &[(String, u64)], on: &str, folder: &Path) -> Result<Outcome, Error> {
    let list: Vec<String> = selection.iter().map(|(n, u)| format!("{n}:{u}")).collect();
    let list = list.join(",");
    let (log, errors, code) =
        (folder.join(format!("{on}.log")), folder.join(format!("{on}.errors")), folder.join("code"));
    let kernel = folder.join("flat");
    let mut plugin = folder.join("counter.so").into_os_string();
    plugin.push(",log=");
    plugin.push(&log);
    let mut command = Command::new("taskset");
    // One processor: which one is the host's affair, but it must be one that this process may use.
    let status = fs::read_to_string("/proc/self/status")?;
    let allowed = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap_or("0").trim();
    let (first, last) = (allowed.split([',', '-']).next(), allowed.rsplit([',', '-']).next());
    let processor = if on == "qemu" { last } else { first }.unwrap_or("0");
    command.args(["-c", processor]).arg(counting(&plan.guests)).args(["-cpu", "max,pauth-impdef=on", "-plugin"]);
    command.arg(plugin).arg("-L");
    if on == "qemu" {
        let tree = plan.guests.join("qemu-system-arm64");
        command.arg(&tree).arg(system(&plan.guests));
        for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            command.arg("-L").arg(tree.join(data));
        }
        command.args(["-accel", "tcg,thread=single", "-m", "64", "-display", "none", "-nodefaults", "-no-user-config"]);
        command.args(["-no-reboot", "-debugcon", "stdio", "-d", "in_asm,out_asm", "-dfilter", RANGE, "-D"]).arg(&code);
        command.arg("-kernel").arg(kernel).arg("-append").arg(list);
    } else {
        command.arg("/usr/aarch64-linux-gnu").arg(&plan.program).arg(on).arg(kernel).arg(list);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?).spawn()?;
    loop {
        std::thread::sleep(Duration::from_millis(250));
        let is_gone = child.try_wait()?.is_some();
        // QEMU's guest halts at its end.
        if !is_gone && on == "qemu" && lines(&fs::read(&log)?).iter().any(|(_, line)| line == "@@DONE") {
            child.kill()?;
            child.wait()?;
            break;
        }
        if is_gone {
            break;
        }
    }
    let mut outcome = outcome(&fs::read(&log)?);
    let said = fs::read_to_string(&errors)?;
    if outcome.runs.values().map(Vec::len).sum::<usize>() != selection.len() {
        return Err(format!("{on} did not run all benchmarks: {}", said.trim()).into());
    }
    outcome.code = if on == "qemu" { qemu_code(&fs::read_to_string(&code)?) } else { our_code(&said) };
    Ok(outcome)
}

/// What a program says about its version.
fn version(of: &mut Command) -> String {
    let said = of.output().map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    said.lines().next().unwrap_or("").trim().to_owned()
}

fn run() -> Result<(), Error> {
    let plan = plan()?;
    let selection = selection(&plan)?;
    let folder = match &plan.keep {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("beigebox-arm64-{}", std::process::id())),
    };
    fs::create_dir_all(&folder)?;
    let folder = fs::canonicalize(folder)?;
    let result = compile(&plan, &folder).and_then(|()| table(&plan, &selection, &folder));
    if plan.keep.is_none() {
        let _ = fs::remove_dir_all(&folder);
    }
    result
}

fn table(plan: &Plan, selection: &[(String, u64)], folder: &Path) -> Result<(), Error> {
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
    println!("\n");
    println!("| code made in the whole run | {} |", plan.on.join(" | "));
    println!("|---|{}", "--:|".repeat(plan.on.len()));
    let row = |what: &str, of: &dyn Fn(&Outcome) -> String| {
        let cells: Vec<String> = plan.on.iter().map(|on| of(&outcomes[on])).collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    let each = |code: Code, of: u64| {
        if code.instructions == 0 { "–".into() } else { format!("{:.0}", of as f64 / code.instructions as f64) }
    };
    row("guest instructions translated, with repetitions", &|o| o.code.instructions.to_string());
    row("bytes of ARM64 code", &|o| o.code.bytes.to_string());
    row("bytes for each guest instruction", &|o| each(o.code, o.code.bytes));
    row("ARM64 instructions before the first benchmark, M", &|o| format!("{:.0}", o.start as f64 / 1e6));
    println!();
    println!("* {}", version(Command::new(counting(&plan.guests)).arg("--version")));
    let mut qemu = Command::new(counting(&plan.guests));
    qemu.arg("-L").arg(plan.guests.join("qemu-system-arm64")).arg(system(&plan.guests)).arg("--version");
    println!("* {}", version(&mut qemu));
    println!("* {}", version(Command::new(plan.guests.join("rust-arm64/bin/rustc")).arg("--version")));
    println!("* guest: {}", version(Command::new("cc").arg("--version")));
    println!("* work: {} of the suite's units, and {LARGER} times as much", plan.scale);
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
