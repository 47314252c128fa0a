//! `beigebox test`: runs machines headless, several at once, and tells what came of them.

mod case;
mod channel;
mod execute;
mod guest;
mod picture;
mod replay;
mod report;

use crate::settings::{MachineArguments, Origin, Setting};
use crate::{Failure, code};
use case::{Case, Ends, Expected, Format, Golden, Mailbox, Pattern, Shard};
use clap::Args;
use execute::{Manner, Outcome, Verdict, execute};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Stack of a worker, the same as that of a main thread.
const STACK: usize = 8 << 20;
/// More workers than this help nobody.
const MOST_JOBS: usize = 1024;

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Images and kernels to run, one test each. What one expects is said by the options below.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Tests from a manifest (TOML); may be repeated.
    #[arg(long, value_name = "FILE", help_heading = "Which tests")]
    manifest: Vec<PathBuf>,
    /// Folder from which the files named in manifests count, instead of the manifest's own.
    #[arg(long, value_name = "FOLDER", help_heading = "Which tests")]
    images: Option<PathBuf>,
    /// Only tests with TEXT in their names; may be repeated.
    #[arg(long, value_name = "TEXT", help_heading = "Which tests")]
    filter: Vec<String>,
    /// Only the Ith of N parts of the tests, from 1/N to N/N; auto/N takes I from a Slurm array or
    /// an indexed Kubernetes Job.
    #[arg(long, value_name = "I/N", value_parser = Shard::parse, help_heading = "Which tests")]
    shard: Option<Shard>,
    /// Print the names of the tests and end.
    #[arg(long, help_heading = "Which tests")]
    list: bool,

    /// Text that must be seen on serial line, debug console or screen; may be repeated.
    #[arg(long, value_name = "TEXT", value_parser = Pattern::text, allow_hyphen_values = true, help_heading = "Verdict")]
    expect: Vec<Pattern>,
    /// Regular expression that must match a line.
    #[arg(long, value_name = "REGEX", value_parser = Pattern::expression, allow_hyphen_values = true, help_heading = "Verdict")]
    expect_regex: Vec<Pattern>,
    /// Text that must not be seen: ends the test with code 6.
    #[arg(long, value_name = "TEXT", value_parser = Pattern::text, allow_hyphen_values = true, help_heading = "Verdict")]
    reject: Vec<Pattern>,
    /// Regular expression that must match no line.
    #[arg(long, value_name = "REGEX", value_parser = Pattern::expression, allow_hyphen_values = true, help_heading = "Verdict")]
    reject_regex: Vec<Pattern>,
    /// Picture (PNG) that the screen must show.
    #[arg(long, value_name = "FILE", help_heading = "Verdict")]
    picture: Option<PathBuf>,
    /// How far a colour channel of a pixel may be off, 0 to 255.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "picture", help_heading = "Verdict")]
    tolerance: u8,
    /// Doubleword in memory by which the guest tells its verdict: ADDRESS=PASS or ADDRESS=PASS:FAIL.
    #[arg(long, value_name = "MAILBOX", value_parser = Mailbox::parse, help_heading = "Verdict")]
    mailbox: Option<Mailbox>,
    /// How the run must end: seen, exit, power-off, reset, hang, triple-fault or time-limit.
    #[arg(long, value_name = "HOW", value_parser = Ends::parse, help_heading = "Verdict")]
    ends: Option<Ends>,
    /// Hash that the machine's state must have at the end.
    #[arg(long, value_name = "HASH", value_parser = case::hash, help_heading = "Verdict")]
    state_hash: Option<u128>,
    /// Tests that the guest prints become test cases: auto, tap, ktap, libtest or off.
    #[arg(long, value_name = "FORMAT", value_parser = Format::parse, default_value = "auto", help_heading = "Verdict")]
    guest_tests: Format,

    /// Machines at once; as many as there are cores unless said.
    #[arg(long, short = 'j', value_name = "N", help_heading = "Running")]
    jobs: Option<usize>,
    /// Run a failed test so often again. One that then passes is reported as flaky, and failed.
    #[arg(long, value_name = "N", help_heading = "Running")]
    retries: Option<u32>,
    /// Let flaky tests count as passed.
    #[arg(long, help_heading = "Running")]
    allow_flaky: bool,
    /// Begin no more tests after the first failure.
    #[arg(long, help_heading = "Running")]
    fail_fast: bool,
    /// Write the pictures that tests name, from what the screen shows.
    #[arg(long, help_heading = "Running")]
    bless: bool,

    /// Write a JUnit report.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    junit: Option<PathBuf>,
    /// Print annotations for GitHub; done without asking where GITHUB_ACTIONS is true.
    #[arg(long, help_heading = "Reports")]
    github: bool,
    /// Write the state hash of each test's machine at its end.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    hashes: Option<PathBuf>,
    /// Folder for screens, logs, reports and replay commands of failed tests.
    #[arg(long, value_name = "FOLDER", default_value = "beigebox-failures", help_heading = "Reports")]
    artifacts: PathBuf,
    /// Keep them of passed tests too.
    #[arg(long, help_heading = "Reports")]
    keep_all: bool,
    /// Print failures and the summary only.
    #[arg(long, short = 'q', help_heading = "Reports")]
    quiet: bool,

    #[command(flatten)]
    machine: MachineArguments,
}

/// Runs the tests. Returns the exit code.
pub(crate) fn test(options: &Test) -> Result<u8, Failure> {
    let cases = cases(options)?;
    if options.list {
        let mut out = std::io::stdout().lock();
        for case in &cases {
            if writeln!(out, "{}", case.name).is_err() {
                break;
            }
        }
        return Ok(code::PASS);
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    crate::signals::raise(&interrupted)?;
    let started = Instant::now();
    let (outcomes, trouble) = run_all(&cases, options, &interrupted);
    let wall = started.elapsed();
    let results: Vec<(&Case, &Outcome)> = cases.iter().zip(&outcomes).collect();
    // The report is written whatever else goes wrong.
    if let Some(path) = &options.junit {
        let xml = report::junit(&results, wall, options.allow_flaky)?;
        write(path, xml.as_bytes())?;
    }
    if let Some(path) = &options.hashes {
        let line = |(case, outcome): &(&Case, &Outcome)| {
            outcome.hash.map(|hash| format!("{hash:032x}  {}\n", case.name)).unwrap_or_default()
        };
        write(path, results.iter().map(line).collect::<String>().as_bytes())?;
    }
    summary(&results, wall, options);
    if let Some(failure) = trouble {
        return Err(failure);
    }
    Ok(exit_code(&results, options.allow_flaky))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::file(path, "written", &error))
}

/// All tests that are asked for, in order.
fn cases(options: &Test) -> Result<Vec<Case>, Failure> {
    if options.files.is_empty() && options.manifest.is_empty() {
        return Err(Failure::new(2, "nothing to test; give FILEs or --manifest"));
    }
    let says = !options.expect.is_empty()
        || !options.expect_regex.is_empty()
        || !options.reject.is_empty()
        || !options.reject_regex.is_empty()
        || options.picture.is_some()
        || options.mailbox.is_some()
        || options.ends.is_some()
        || options.state_hash.is_some();
    if says && options.files.is_empty() {
        return Err(case::usage("what tests of a manifest expect is said there, not by options".into()));
    }
    let mut cases = Vec::new();
    for path in &options.manifest {
        cases.extend(case::read(path, options.images.as_deref())?);
    }
    let picture = options.picture.clone().map(|path| Golden { path, tolerance: options.tolerance, pixels: 0.0 });
    let expected = Expected {
        expect: [&options.expect[..], &options.expect_regex].concat(),
        reject: [&options.reject[..], &options.reject_regex].concat(),
        picture,
        mailbox: options.mailbox,
        ends: options.ends,
        state_hash: options.state_hash,
        guest_tests: options.guest_tests,
    };
    for path in &options.files {
        cases.push(Case {
            name: path.display().to_string(),
            settings: vec![Setting::new("image", path, Origin::CommandLine)],
            expected: expected.clone(),
            retries: 0,
            skip: None,
            place: None,
        });
    }
    for case in &mut cases {
        case.settings.extend(options.machine.0.iter().cloned());
        case.retries = options.retries.unwrap_or(case.retries).min(100);
    }
    let mut names = BTreeMap::new();
    for case in &cases {
        if names.insert(case.name.as_str(), ()).is_some() {
            return Err(case::usage(format!("there are two tests `{}`", case.name)));
        }
    }
    let chosen =
        |case: &Case| options.filter.is_empty() || options.filter.iter().any(|text| case.name.contains(text.as_str()));
    let all = cases.len();
    let cases: Vec<Case> = cases.into_iter().filter(chosen).collect();
    if cases.is_empty() {
        return Err(case::usage(format!("none of {all} tests has {} in its name", options.filter.join(" or "))));
    }
    let mut index = 0..;
    let here = |_: &Case| options.shard.is_none_or(|shard| index.next().is_some_and(|index| shard.has(index)));
    Ok(cases.into_iter().filter(here).collect())
}

/// Runs all tests on as many threads as there are to be. Outcomes are in the order of the tests.
fn run_all(cases: &[Case], options: &Test, interrupted: &AtomicBool) -> (Vec<Outcome>, Option<Failure>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or(cores).clamp(1, MOST_JOBS).min(cases.len().max(1));
    let manner = Manner { hashes: options.hashes.is_some(), bless: options.bless, keep_all: options.keep_all };
    let progress = progress(cases.len());
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    let mut outcomes: Vec<Option<Outcome>> = cases.iter().map(|_| None).collect();
    let mut trouble = None;
    std::thread::scope(|scope| {
        for worker in 0..jobs {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            let work = move || {
                while !interrupted.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { break };
                    if sender.send((index, attempts(case, manner, interrupted))).is_err() {
                        break;
                    }
                }
            };
            let spawned =
                std::thread::Builder::new().name(format!("test {worker}")).stack_size(STACK).spawn_scoped(scope, work);
            if let Err(error) = spawned {
                // The threads that there are do the work.
                if worker == 0 {
                    trouble = Some(Failure::new(code::IO, format!("no thread can be started: {error}")));
                }
                break;
            }
        }
        drop(sender);
        while let Ok((index, outcome)) = receiver.recv() {
            let mut outcome: Outcome = outcome;
            let Some(case) = cases.get(index) else { continue };
            let failed = report::failed(&outcome, options.allow_flaky);
            if failed && options.fail_fast {
                stop.store(true, Ordering::Relaxed);
            }
            tell(case, &outcome, options, &progress);
            if outcome.evidence.is_some() {
                match report::keep(&options.artifacts, case, &outcome) {
                    Ok(folder) if failed => {
                        say(&progress, &format!("                  see {}", folder.display()));
                    }
                    Ok(_) => {}
                    Err(failure) => trouble = Some(failure),
                }
                if let Some(evidence) = &mut outcome.evidence {
                    // The report shows the logs' ends; the pictures are on disk.
                    evidence.picture.pixels = Vec::new();
                    evidence.wanted = None;
                }
            }
            progress.inc(1);
            if let Some(slot) = outcomes.get_mut(index) {
                *slot = Some(outcome);
            }
        }
    });
    progress.finish_and_clear();
    let missing = || {
        if interrupted.load(Ordering::Relaxed) {
            Outcome::without_run(Verdict::Interrupted, code::INTERRUPTED, "not begun when a signal came".into())
        } else {
            Outcome::without_run(Verdict::Skip, code::PASS, "not begun after a failure".into())
        }
    };
    (outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect(), trouble)
}

/// Runs a test until it passes or its retries are used up.
fn attempts(case: &Case, manner: Manner, interrupted: &AtomicBool) -> Outcome {
    if let Some(reason) = &case.skip {
        return Outcome::without_run(Verdict::Skip, code::PASS, reason.clone());
    }
    let mut earlier = Vec::new();
    loop {
        let run = std::panic::AssertUnwindSafe(|| execute(case, manner, interrupted));
        let mut outcome = std::panic::catch_unwind(run).unwrap_or_else(|_| {
            let text = "this is a bug in the emulator; please report it with the text on standard error";
            Outcome::without_run(Verdict::Error, code::INTERNAL, text.into())
        });
        let again = matches!(outcome.verdict, Verdict::Fail | Verdict::Error);
        if again && earlier.len() < case.retries as usize && !interrupted.load(Ordering::Relaxed) {
            earlier.push(outcome.reason);
            continue;
        }
        outcome.earlier = earlier;
        return outcome;
    }
}

// --- telling -----------------------------------------------------------------------------------

/// A bar on standard error, on a terminal only.
fn progress(count: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed_precise} {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn say(progress: &ProgressBar, text: &str) {
    // A reader that has gone does not stop the tests.
    progress.suspend(|| {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    });
}

fn tell(case: &Case, outcome: &Outcome, options: &Test, progress: &ProgressBar) {
    let failed = report::failed(outcome, options.allow_flaky);
    if failed || !options.quiet {
        say(progress, &report::line(case, outcome));
    }
    let github = options.github || std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    if failed && github {
        say(progress, &report::annotation(case, outcome));
    }
}

fn summary(results: &[(&Case, &Outcome)], wall: Duration, options: &Test) {
    let count = |wanted: fn(&Outcome) -> bool| results.iter().filter(|(_, outcome)| wanted(outcome)).count();
    let passed = count(|outcome| outcome.verdict == Verdict::Pass && outcome.earlier.is_empty());
    let mut parts = vec![format!("{passed} passed")];
    for (number, word) in [
        (count(|outcome| outcome.verdict == Verdict::Fail), "failed"),
        (count(|outcome| outcome.verdict == Verdict::Error), "could not run"),
        (count(|outcome| outcome.verdict == Verdict::Pass && !outcome.earlier.is_empty()), "flaky"),
        (count(|outcome| outcome.verdict == Verdict::Skip), "skipped"),
        (count(|outcome| outcome.verdict == Verdict::Interrupted), "stopped"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    let shard =
        options.shard.map(|shard| format!(" (part {} of {})", shard.index + 1, shard.count)).unwrap_or_default();
    say(
        &ProgressBar::hidden(),
        &format!("{} tests{shard} in {:.3} s: {}", results.len(), wall.as_secs_f64(), parts.join(", ")),
    );
}

/// 0, or the code that all failed tests share, or 4.
fn exit_code(results: &[(&Case, &Outcome)], allow_flaky: bool) -> u8 {
    if results.iter().any(|(_, outcome)| outcome.verdict == Verdict::Interrupted) {
        return code::INTERRUPTED;
    }
    let failed = results.iter().map(|(_, outcome)| *outcome).filter(|outcome| report::failed(outcome, allow_flaky));
    let code = |outcome: &Outcome| if outcome.code == code::PASS { code::EXPECTATION } else { outcome.code };
    let mut codes: Vec<u8> = failed.map(code).collect();
    codes.sort_unstable();
    codes.dedup();
    match codes[..] {
        [] => code::PASS,
        [code] => code,
        _ => code::EXPECTATION,
    }
}
