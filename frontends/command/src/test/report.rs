//! Reports of tests: lines for a reader, JUnit XML, annotations for GitHub, and what is kept of
//! tests that failed.

use super::case::Case;
use super::execute::{Evidence, Outcome, Verdict};
use super::{guest, picture, replay};
use crate::{Failure, code};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The line that tells how a test came out.
pub(crate) fn line(case: &Case, outcome: &Outcome) -> String {
    let word = match outcome.verdict {
        Verdict::Pass if !outcome.earlier.is_empty() => "FLAKY",
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Error => "ERROR",
        Verdict::Skip => "SKIP",
        Verdict::Interrupted => "STOP",
    };
    let mut text = format!("{word:>5} [{:>8.3}s] {}", outcome.wall.as_secs_f64(), case.name);
    if !outcome.guest.is_empty() {
        let passed = outcome.guest.iter().filter(|test| test.result == guest::Result::Pass).count();
        let _ = write!(text, " ({passed} of {} in the guest)", outcome.guest.len());
    }
    if !outcome.reason.is_empty() {
        let _ = write!(text, ": {}", outcome.reason);
    }
    for earlier in &outcome.earlier {
        let _ = write!(text, "\n                  before: {earlier}");
    }
    text
}

/// Whether a test counts as failed.
pub(crate) fn failed(outcome: &Outcome, allow_flaky: bool) -> bool {
    match outcome.verdict {
        Verdict::Pass => !outcome.earlier.is_empty() && !allow_flaky,
        Verdict::Skip => false,
        Verdict::Fail | Verdict::Error | Verdict::Interrupted => true,
    }
}

// --- JUnit -------------------------------------------------------------------------------------

/// The bytes of a log that go into the XML, from its end.
const LOG: usize = 64 << 10;

fn last(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG)..]).into_owned();
    // Of the control characters XML knows only these.
    text.chars().map(|c| if c < ' ' && !matches!(c, '\n' | '\t') { ' ' } else { c }).collect()
}

fn status(outcome: &Outcome, allow_flaky: bool) -> TestCaseStatus {
    let mut status = match outcome.verdict {
        Verdict::Skip => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(outcome.reason.as_str());
            return status;
        }
        Verdict::Pass if !failed(outcome, allow_flaky) => TestCaseStatus::success(),
        Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Pass | Verdict::Fail | Verdict::Interrupted => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    if !matches!(status, TestCaseStatus::Success { .. }) {
        let flaky = outcome.verdict == Verdict::Pass;
        let message = if flaky { "passes only sometimes" } else { outcome.reason.as_str() };
        status.set_message(message).set_type(format!("exit code {}", outcome.code));
        if let Some(evidence) = &outcome.evidence {
            status.set_description(format!("{message}\n\n{}", evidence.processor));
        }
    }
    for earlier in &outcome.earlier {
        let mut rerun = TestRerun::new(NonSuccessKind::Failure);
        rerun.set_message(earlier.as_str());
        status.add_rerun(rerun);
    }
    status
}

/// The report of all tests as JUnit XML.
pub(crate) fn junit(results: &[(&Case, &Outcome)], wall: Duration, allow_flaky: bool) -> Result<String, Failure> {
    let mut report = Report::new("beigebox");
    report.set_time(wall);
    let mut suite = TestSuite::new("beigebox");
    for (case, outcome) in results {
        let mut test = TestCase::new(case.name.as_str(), status(outcome, allow_flaky));
        test.set_classname("beigebox").set_time(outcome.wall);
        if let Some((path, line)) = &case.place {
            test.extra.insert("file".into(), path.display().to_string().as_str().into());
            test.extra.insert("line".into(), line.to_string().as_str().into());
        }
        test.add_property(("instructions", outcome.instructions.to_string().as_str()));
        test.add_property(("guest-nanoseconds", outcome.guest_time.to_string().as_str()));
        if let Some(hash) = outcome.hash {
            test.add_property(("state-hash", format!("{hash:032x}").as_str()));
        }
        if let Some(evidence) = &outcome.evidence {
            test.set_system_out(last(&evidence.serial));
            test.set_system_err(last(&evidence.debugcon));
        }
        suite.add_test_case(test);
        for inner in &outcome.guest {
            let status = match inner.result {
                guest::Result::Pass => TestCaseStatus::success(),
                guest::Result::Skip => TestCaseStatus::skipped(),
                guest::Result::Fail => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message("failed in the guest").set_description(last(inner.detail.as_bytes()));
                    status
                }
            };
            let mut test = TestCase::new(format!("{}::{}", case.name, last(inner.name.as_bytes())), status);
            test.set_classname(case.name.as_str());
            suite.add_test_case(test);
        }
    }
    report.add_test_suite(suite);
    report.to_string().map_err(|error| Failure::new(code::IO, format!("the JUnit report: {error}")))
}

// --- GitHub ------------------------------------------------------------------------------------

/// The annotation that shows a failed test beside its line in the manifest.
pub(crate) fn annotation(case: &Case, outcome: &Outcome) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let mut text = String::from("::error ");
    if let Some((path, line)) = &case.place {
        let _ = write!(text, "file={},line={line},", property(&path.display().to_string()));
    }
    let reason = if outcome.verdict == Verdict::Pass { "passes only sometimes" } else { &outcome.reason };
    let _ = write!(text, "title={}::{}", property(&case.name), escape(reason));
    text
}

// --- what is kept ------------------------------------------------------------------------------

/// A folder name for a test.
fn folder_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let safe: String = name.chars().take(100).map(safe).collect();
    // `.` and `..` are no names.
    if safe.trim_matches('.').is_empty() { format!("test{safe}") } else { safe }
}

/// Writes what is kept of a test below `folder`. Returns the test's own folder.
pub(crate) fn keep(folder: &Path, case: &Case, outcome: &Outcome) -> Result<PathBuf, Failure> {
    let own = folder.join(folder_name(&case.name));
    let failure = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Failure::file(&path, "written", &error)
    };
    std::fs::create_dir_all(&own).map_err(failure(&own))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = own.join(name);
        std::fs::write(&path, bytes).map_err(failure(&path))
    };
    let mut text = format!("{}\n", line(case, outcome));
    if let Some((path, line)) = &case.place {
        let _ = writeln!(text, "manifest: {}:{line}", path.display());
    }
    let _ = writeln!(text, "instructions: {}", outcome.instructions);
    let _ = writeln!(text, "guest time: {:.6} s", outcome.guest_time as f64 / 1e9);
    if let Some(hash) = outcome.hash {
        let _ = writeln!(text, "state hash: {hash:032x}");
    }
    let _ = writeln!(text, "machine: beigebox {}", replay::machine(case));
    if let Some(evidence) = &outcome.evidence {
        let Evidence { serial, debugcon, screen_text, picture: screen, wanted, processor, unknown_ports } = &**evidence;
        let _ = writeln!(text, "\n{processor}\n\n{unknown_ports}");
        write("serial.log", serial)?;
        write("debugcon.log", debugcon)?;
        write("screen.txt", screen_text.as_bytes())?;
        picture::write(&own.join("screen.png"), screen)?;
        if let Some(wanted) = wanted {
            picture::write(&own.join("wanted.png"), wanted)?;
        }
    }
    write("report.txt", text.as_bytes())?;
    write(replay::MANIFEST, replay::manifest(case).as_bytes())?;
    write("replay.sh", replay::script(case, &own).as_bytes())?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_hides_no_failure() {
        let mut outcome = Outcome::without_run(Verdict::Pass, 0, String::new());
        assert!(!failed(&outcome, false));
        outcome.earlier.push("the limit of real time is used up".into());
        assert!(failed(&outcome, false) && !failed(&outcome, true));
        assert!(matches!(status(&outcome, false), TestCaseStatus::NonSuccess { .. }));
        assert!(matches!(status(&outcome, true), TestCaseStatus::Success { .. }));
    }

    #[test]
    fn names_and_annotations_cannot_break_out() {
        assert_eq!(folder_name("a/../b c"), "a-..-b-c");
        assert_eq!(folder_name(".."), "test..");
        let case = Case {
            name: "a,b".into(),
            settings: Vec::new(),
            expected: super::super::case::Expected::default(),
            retries: 0,
            skip: None,
            place: Some(("m.toml".into(), 3)),
        };
        let outcome = Outcome::without_run(Verdict::Fail, 4, "50%\n::error::x".into());
        assert_eq!(annotation(&case, &outcome), "::error file=m.toml,line=3,title=a%2Cb::50%25%0A::error::x");
        let xml = junit(&[(&case, &outcome)], Duration::ZERO, false).unwrap();
        assert!(xml.contains("failures=\"1\"") && xml.contains("line=\"3\""), "{xml}");
    }
}
