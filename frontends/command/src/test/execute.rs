//! Runs one test: drives the machine until its verdict is known.

use super::case::{Case, Ends, Expected, Format, Place};
use super::channel::{Channel, Watched, look_at_screen};
use super::{guest, picture};
use crate::options::Run;
use crate::script::{Action, Rule, When};
use crate::settings::{self, Origin, Setting};
use crate::sink::Sink;
use crate::values::Stream;
use crate::{Failure, code, run};
use beigebox::display::Picture;
use beigebox::host::Mode;
use beigebox::{Machine, Stop};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Guest time between two looks at what the machine has said.
const SLICE: u64 = 1_000_000;
/// Guest time between two looks at the text screen.
const SCREEN_LOOK: u64 = 5_000_000;
/// The same for pictures that rules wait for.
const RULE_LOOK: u64 = 20_000_000;
/// Guest time between two looks at the picture.
const PICTURE_LOOK: u64 = 50_000_000;
/// Guest time that a test has unless it says otherwise.
pub(crate) const TIME_LIMIT: &str = "60s";
/// Real time that a test has unless it says otherwise.
pub(crate) const WALL_LIMIT: &str = "300s";
/// The guest's exit code that means success unless a test says otherwise.
pub(crate) const SUCCESS: &str = "33";

/// How a test came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// It could not be run: a file is missing, or settings do not go together.
    Error,
    /// Left out.
    Skip,
    /// The whole run was stopped.
    Interrupted,
}

/// All that is known after a test.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// The exit code that says so.
    pub(crate) code: u8,
    pub(crate) reason: String,
    pub(crate) guest: Vec<guest::Test>,
    pub(crate) wall: Duration,
    pub(crate) instructions: u64,
    pub(crate) guest_time: u64,
    pub(crate) hash: Option<u128>,
    pub(crate) evidence: Option<Box<Evidence>>,
    /// Verdicts of the attempts before this one.
    pub(crate) earlier: Vec<String>,
}

/// What is kept of a test that failed.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) serial: Vec<u8>,
    pub(crate) debugcon: Vec<u8>,
    pub(crate) screen_text: String,
    pub(crate) picture: Picture,
    pub(crate) wanted: Option<Picture>,
    /// Processor and last exceptions.
    pub(crate) processor: String,
    pub(crate) unknown_ports: String,
}

impl Outcome {
    pub(crate) fn without_run(verdict: Verdict, code: u8, reason: String) -> Outcome {
        Outcome {
            verdict,
            code,
            reason,
            guest: Vec::new(),
            wall: Duration::ZERO,
            instructions: 0,
            guest_time: 0,
            hash: None,
            evidence: None,
            earlier: Vec::new(),
        }
    }
}

/// What all tests of a run share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Compute the state hash.
    pub(crate) hashes: bool,
    /// Write the pictures instead of comparing.
    pub(crate) bless: bool,
    /// Keep evidence of passed tests too.
    pub(crate) keep_all: bool,
}

/// The settings that a test's machine has beneath its own.
pub(crate) fn beneath() -> Vec<Setting> {
    let origin = || Origin::Kind("test");
    vec![
        Setting::new("clock", "instructions", origin()),
        Setting::on("snapshot", origin()),
        Setting::on("no-reboot", origin()),
        Setting::new("time-limit", TIME_LIMIT, origin()),
        Setting::new("wall-limit", WALL_LIMIT, origin()),
        Setting::new("success-code", SUCCESS, origin()),
    ]
}

/// The settings of a test's machine, complete. The clock is always that of instructions.
pub(crate) fn complete(case: &Case) -> Result<Vec<Setting>, Failure> {
    let mut all = beneath();
    all.extend(settings::layers(case.settings.clone())?);
    all.push(Setting::new("clock", "instructions", Origin::Kind("test")));
    Ok(all)
}

/// Runs a test.
pub(crate) fn execute(case: &Case, manner: Manner, interrupted: &AtomicBool) -> Outcome {
    let started = Instant::now();
    let error = |failure: Failure| Outcome::without_run(Verdict::Error, failure.code, failure.text);
    let mut options = match complete(case).and_then(|all| settings::resolve(&all)) {
        Ok(options) => options,
        Err(failure) => return error(failure),
    };
    let mut trial = match Trial::new(case, &mut options, manner) {
        Ok(trial) => trial,
        Err(failure) => return error(failure),
    };
    let (mut verdict, mut number, mut reason) = trial.drive(&options, started, interrupted);
    let machine = &mut trial.machine;
    let hash = (manner.hashes || case.expected.state_hash.is_some()).then(|| machine.state_hash());
    for channel in [&trial.serial, &trial.debugcon] {
        trial.guest.line(&channel.open_line());
    }
    let problem = trial.guest.finish();
    if verdict == Verdict::Pass {
        let failed: Vec<&str> = trial
            .guest
            .tests
            .iter()
            .filter(|test| test.result == guest::Result::Fail)
            .map(|test| test.name.as_str())
            .collect();
        let wrong = if !failed.is_empty() {
            let shown = failed.iter().take(8).copied().collect::<Vec<_>>().join(", ");
            Some(format!("{} of {} tests in the guest failed: {shown}", failed.len(), trial.guest.tests.len()))
        } else if problem.is_some() {
            problem
        } else {
            let wanted = case.expected.state_hash;
            wanted
                .filter(|wanted| Some(*wanted) != hash)
                .map(|wanted| format!("the state hash is {:032x} and must be {wanted:032x}", hash.unwrap_or_default()))
        };
        if let Some(wrong) = wrong {
            (verdict, number, reason) = (Verdict::Fail, code::EXPECTATION, wrong);
        }
    }
    if verdict == Verdict::Pass
        && manner.bless
        && let Some(golden) = &case.expected.picture
        && let Err(failure) = picture::write(&golden.path, &machine.picture())
    {
        return error(failure);
    }
    let keep = verdict == Verdict::Fail || manner.keep_all;
    let counters = machine.counters();
    let evidence = keep.then(|| {
        let ports = machine
            .unknown_ports()
            .iter()
            .map(|(port, count)| format!("port {port:04x}: {} reads, {} writes\n", count.reads, count.writes));
        Box::new(Evidence {
            unknown_ports: ports.collect(),
            serial: trial.serial.log(),
            debugcon: trial.debugcon.log(),
            screen_text: machine.screen_text(),
            picture: machine.picture(),
            wanted: trial.wanted.take(),
            processor: machine.fault_report().to_string(),
        })
    });
    Outcome {
        verdict,
        code: number,
        reason,
        guest: trial.guest.tests,
        wall: started.elapsed(),
        instructions: counters.instructions,
        guest_time: counters.time.0,
        hash,
        evidence,
        earlier: Vec::new(),
    }
}

/// A machine on trial.
struct Trial<'c> {
    expected: &'c Expected,
    machine: Machine,
    serial: Channel,
    debugcon: Channel,
    expect: Vec<Watched>,
    reject: Vec<Watched>,
    guest: guest::Reader,
    rules: VecDeque<Rule>,
    rule_since: u64,
    /// What was printed since the last rule fired.
    rule_serial: Sink,
    rule_debugcon: Sink,
    rule_screen: String,
    rule_look: u64,
    wanted: Option<Picture>,
    picture_shown: bool,
    next_screen: u64,
    next_picture: u64,
    bless: bool,
}

type Ended = (Verdict, u8, String);

fn pass() -> Ended {
    (Verdict::Pass, code::PASS, String::new())
}
fn fail(code: u8, reason: impl Into<String>) -> Ended {
    (Verdict::Fail, code, reason.into())
}

impl<'c> Trial<'c> {
    fn new(case: &'c Case, options: &mut Run, manner: Manner) -> Result<Trial<'c>, Failure> {
        run::recognise(options)?;
        run::check(options)?;
        let rules = run::rules(options)?;
        let expected = &case.expected;
        let wanted = match &expected.picture {
            Some(golden) if !manner.bless => Some(picture::read(&golden.path)?),
            _ => None,
        };
        let watch = |patterns: &[super::case::Pattern]| {
            patterns.iter().map(|pattern| Watched { pattern: pattern.clone(), seen: false }).collect()
        };
        let trial = Trial {
            expected,
            machine: run::build(options, false, rules.iter().any(|rule| matches!(rule.action, Action::Disc(_))))?,
            serial: Channel::default(),
            debugcon: Channel::default(),
            expect: watch(&expected.expect),
            reject: watch(&expected.reject),
            guest: guest::Reader::new(expected.guest_tests),
            rules: rules.into(),
            rule_since: 0,
            rule_serial: Sink::open(&Stream::Null)?,
            rule_debugcon: Sink::open(&Stream::Null)?,
            rule_screen: String::new(),
            rule_look: 0,
            wanted,
            picture_shown: false,
            next_screen: 0,
            next_picture: 0,
            bless: manner.bless,
        };
        Ok(trial)
    }

    fn drive(&mut self, options: &Run, started: Instant, interrupted: &AtomicBool) -> Ended {
        let most = options.max_instructions.unwrap_or(u64::MAX);
        let limit = options.time_limit.unwrap_or(u64::MAX);
        loop {
            if interrupted.load(Ordering::Relaxed) {
                return (Verdict::Interrupted, code::INTERRUPTED, "stopped by a signal".into());
            }
            let now = self.machine.now().0;
            let left = limit.saturating_sub(now).min(SLICE);
            if left == 0 {
                self.look(true);
                return self.at_limit("time limit of guest time", self.expected.ends == Some(Ends::TimeLimit));
            }
            if options.wall_limit.is_some_and(|limit| started.elapsed().as_nanos() >= u128::from(limit)) {
                return self.at_limit("limit of real time", false);
            }
            let instructions = most.saturating_sub(self.machine.counters().instructions);
            let stop = self.machine.run_limited(left, instructions);
            self.look(stop != Stop::Done);
            if let Some(rejected) = self.reject.iter().find(|watched| watched.seen) {
                return fail(code::PANIC, format!("{} was seen, which is rejected", rejected.pattern));
            }
            if let Some(mailbox) = self.expected.mailbox
                && mailbox.fail == Some(self.mailbox(mailbox.address))
            {
                let value = mailbox.fail.unwrap_or_default();
                return fail(
                    code::EXPECTATION,
                    format!("the mailbox at {:#x} says {value:#x}: failure", mailbox.address),
                );
            }
            if let Err(failure) = self.type_rules() {
                return (Verdict::Error, failure.code, failure.text);
            }
            if stop != Stop::Done {
                return self.at_stop(&stop, options);
            }
            // A picture that is to be written is the one at the end of the time.
            let blesses = self.bless && self.expected.picture.is_some();
            if !blesses && self.ends_when_seen() && self.missing().is_none() {
                return pass();
            }
        }
    }

    fn mailbox(&self, address: u64) -> u32 {
        let mut bytes = [0; 4];
        self.machine.read_memory(address, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Takes what the guest has printed, and looks at its screen when it is time or the last chance.
    fn look(&mut self, last: bool) {
        let mut serial = self.machine.serial_output(0);
        if last {
            serial.extend(self.machine.serial_unsent(0));
        }
        let debugcon = self.machine.debug_output();
        let now = self.machine.now().0;
        let screen = last || now >= self.next_screen;
        let wanted = !(self.expect.is_empty() && self.reject.is_empty() && self.rules.is_empty());
        let text = (screen && wanted).then(|| self.machine.screen_text());
        if screen {
            self.next_screen = now + SCREEN_LOOK;
        }
        for (channel, place, bytes) in
            [(&mut self.serial, Place::Serial, &serial), (&mut self.debugcon, Place::Debugcon, &debugcon)]
        {
            let mut watched: Vec<&mut Watched> = self.expect.iter_mut().chain(&mut self.reject).collect();
            for line in channel.take(bytes, place, &mut watched) {
                self.guest.line(&line);
            }
        }
        if !self.rules.is_empty() {
            // Nothing is written anywhere, so nothing can go wrong.
            let _ = self.rule_serial.write(&serial);
            let _ = self.rule_debugcon.write(&debugcon);
        }
        if let Some(text) = text {
            look_at_screen(&text, &mut self.expect);
            look_at_screen(&text, &mut self.reject);
            self.rule_screen = text;
        }
        if let Some(golden) = &self.expected.picture
            && let Some(wanted) = &self.wanted
            && (last || now >= self.next_picture)
        {
            self.next_picture = now + PICTURE_LOOK;
            self.picture_shown = picture::difference(&self.machine.picture(), wanted, golden).is_none();
        }
    }

    /// Fires the rule that is due. One rule's keys are all typed before the next is looked at.
    fn type_rules(&mut self) -> Result<(), Failure> {
        let now = self.machine.now().0;
        let Some(rule) = self.rules.front() else { return Ok(()) };
        let due = match &rule.when {
            When::After(wait) => now.saturating_sub(self.rule_since) >= *wait,
            When::Text(text) => {
                self.rule_serial.has(text) || self.rule_debugcon.has(text) || self.rule_screen.contains(text.as_str())
            }
            When::Picture(golden) => {
                let looks = now >= self.rule_look;
                if looks {
                    self.rule_look = now + RULE_LOOK;
                }
                looks && golden.matches(&self.machine.picture())
            }
        };
        if !due || self.machine.is_typing() {
            return Ok(());
        }
        self.rule_since = now;
        if let Some(rule) = self.rules.pop_front() {
            if let When::Text(text) = &rule.when {
                self.rule_serial.forget_through(text);
                self.rule_debugcon.forget_through(text);
                self.rule_screen.clear();
            }
            rule.action.perform(&mut self.machine, Mode::Snapshot)?;
        }
        Ok(())
    }

    /// Whether the run has passed as soon as all was seen.
    fn ends_when_seen(&self) -> bool {
        self.has_goal() && matches!(self.expected.ends, None | Some(Ends::Seen))
    }

    /// Whether anything but the end of the run can be the verdict.
    fn has_goal(&self) -> bool {
        let expected = self.expected;
        !expected.expect.is_empty()
            || expected.picture.is_some()
            || expected.mailbox.is_some()
            || !matches!(expected.guest_tests, Format::Auto | Format::Off)
    }

    /// What is expected and has not been seen.
    fn missing(&mut self) -> Option<String> {
        let mut missing: Vec<String> =
            self.expect.iter().filter(|watched| !watched.seen).map(|watched| watched.pattern.to_string()).collect();
        if let Some(mailbox) = self.expected.mailbox {
            let value = self.mailbox(mailbox.address);
            if value != mailbox.pass {
                missing.push(format!(
                    "{:#x} in the mailbox at {:#x} (there is {value:#x})",
                    mailbox.pass, mailbox.address
                ));
            }
        }
        if !matches!(self.expected.guest_tests, Format::Auto | Format::Off) && !self.guest.is_complete() {
            missing.push("the end of the guest's tests".into());
        }
        if !self.rules.is_empty() {
            missing.push(format!("what {} rules of --on-text wait for", self.rules.len()));
        }
        if let Some(golden) = &self.expected.picture
            && !self.bless
            && !self.picture_shown
        {
            missing.push(format!("the picture {}", golden.path.display()));
        }
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// What the picture lacks, for the report.
    fn picture_problem(&mut self) -> String {
        match (&self.expected.picture, &self.wanted) {
            (Some(golden), Some(wanted)) if !self.picture_shown => {
                let screen = self.machine.picture();
                picture::difference(&screen, wanted, golden).map(|text| format!("; {text}")).unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    fn unseen(&mut self, how: &str) -> Option<Ended> {
        let missing = self.missing()?;
        let picture = self.picture_problem();
        Some(fail(code::EXPECTATION, format!("{how} without {missing}{picture}")))
    }

    fn at_limit(&mut self, limit: &str, wanted: bool) -> Ended {
        if wanted || self.ends_when_seen() && self.missing().is_none() {
            return self.unseen("the time is over").unwrap_or_else(pass);
        }
        let waiting = match self.missing() {
            Some(missing) => format!("; still missing: {missing}{}", self.picture_problem()),
            None => match self.expected.ends {
                Some(ends) => format!("; the run must end by {}", ends.name()),
                None => String::new(),
            },
        };
        fail(code::TIME_OUT, format!("the {limit} is used up{waiting}"))
    }

    fn at_stop(&mut self, stop: &Stop, options: &Run) -> Ended {
        let ends = self.expected.ends.filter(|ends| *ends != Ends::Seen);
        let wrong = |how: &str| match ends {
            Some(ends) => format!("{how}; the run must end by {}", ends.name()),
            None => how.to_owned(),
        };
        let (end, how, number) = match stop {
            Stop::Exit(value) => {
                let verdict = (value << 1 | 1) as u8;
                if options.success_code != Some(verdict) {
                    return fail(
                        verdict,
                        format!("the guest ended the run with exit code {verdict} (it wrote {value:#x})"),
                    );
                }
                (Ends::Exit, "the guest reported success", code::EXPECTATION)
            }
            Stop::PowerOff => (Ends::PowerOff, "the guest switched the machine off", code::EXPECTATION),
            Stop::Reset => (Ends::Reset, "the guest reset the machine", code::EXPECTATION),
            Stop::TripleFault(_) => (Ends::TripleFault, "triple fault", code::TRIPLE_FAULT),
            Stop::Hang => (Ends::Hang, "the guest halted with interrupts off", code::HANG),
            Stop::Instructions => return self.at_limit("limit of instructions", false),
            // Nothing else stops a machine that nobody debugs.
            _ => return fail(code::INTERNAL, format!("the machine stopped by itself: {stop:?}")),
        };
        let fine = match ends {
            Some(wanted) => wanted == end,
            None => matches!(end, Ends::Exit | Ends::PowerOff),
        };
        if !fine {
            let missing = self.missing().map(|missing| format!(" without {missing}")).unwrap_or_default();
            return fail(number, wrong(&format!("{how}{missing}")));
        }
        self.unseen(how).unwrap_or_else(pass)
    }
}
