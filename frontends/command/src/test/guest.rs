//! Tests that the guest reports itself: TAP, KTAP and libtest lines.

use super::case::Format;
use regex::Regex;
use std::sync::LazyLock;

/// The most tests of one guest that are kept; more are counted.
const MOST: usize = 10_000;

/// How a test in the guest came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Result {
    Pass,
    Fail,
    Skip,
}

/// A test in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) result: Result,
    /// Lines printed about it.
    pub(crate) detail: String,
}

/// Reads lines and gathers tests.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    format: Format,
    pub(crate) tests: Vec<Test>,
    /// Tests beyond those that are kept.
    pub(crate) surplus: usize,
    /// Tests that the guest has announced, at the top level.
    plan: Option<usize>,
    /// Top-level results seen.
    top: usize,
    /// Names of the KTAP groups that are open.
    groups: Vec<String>,
    /// A libtest line without its result yet.
    pending: Option<String>,
    detail: String,
    complete: bool,
    /// "Bail out!" with its reason.
    pub(crate) bailed: Option<String>,
}

static RESULT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^( *)(not ok|ok)(?: +(\d+))?(?: +-)?(?: +([^#]*))?(?:# *(.*))?$").ok());
static KERNEL_TIME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^(?:<\d+>)?\[ *\d+\.\d+\] ?").ok());
static PLAN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^1\.\.(\d{1,6})(?: |$)").ok());
static RUNNING: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[Rr]unning (\d{1,6}) tests?$").ok());
/// Also the form of the Rust tutorials on writing kernels: `name...\t[ok]`.
static LIBTEST: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"^(?:test )?(\S+)(?: - should panic)?(?: \.\.\.\s*|\.\.\.(?:\s+|$))(?:\[?(ok|FAILED|failed|ignored)\]?\b.*)?$",
    )
    .ok()
});

fn captures<'t>(expression: &LazyLock<Option<Regex>>, line: &'t str) -> Option<regex::Captures<'t>> {
    expression.as_ref().and_then(|expression| expression.captures(line))
}

impl Reader {
    pub(crate) fn new(format: Format) -> Reader {
        Reader { format, ..Reader::default() }
    }

    /// Takes a line.
    pub(crate) fn line(&mut self, line: &str) {
        let mut line = line.trim_end();
        if let Some(stamp) = KERNEL_TIME.as_ref().and_then(|expression| expression.find(line)) {
            line = &line[stamp.end()..];
        }
        if self.format == Format::Auto {
            self.format = if line.starts_with("TAP version ") {
                Format::Tap
            } else if line.starts_with("KTAP version ") {
                Format::Ktap
            } else if captures(&RUNNING, line).is_some() {
                Format::Libtest
            } else {
                return;
            };
        }
        match self.format {
            Format::Auto | Format::Off => {}
            Format::Tap | Format::Ktap => self.tap(line),
            Format::Libtest => self.libtest(line),
        }
    }

    fn add(&mut self, name: String, result: Result) {
        let detail = std::mem::take(&mut self.detail);
        if self.tests.len() < MOST {
            self.tests.push(Test { name, result, detail: if result == Result::Fail { detail } else { String::new() } });
        } else {
            self.surplus += 1;
        }
    }

    fn tap(&mut self, line: &str) {
        let text = line.trim_start();
        let depth = (line.len() - text.len()) / 4;
        if let Some(reason) = text.strip_prefix("Bail out!") {
            self.bailed = Some(reason.trim().to_owned());
            self.complete = true;
            return;
        }
        if depth == 0
            && let Some(plan) = captures(&PLAN, text)
        {
            self.plan = plan[1].parse().ok();
        } else if let Some(name) = text.strip_prefix("# Subtest:") {
            let depth = depth.min(8).max(usize::from(line.starts_with(' ')));
            self.groups.truncate(depth.saturating_sub(1));
            self.groups.push(name.trim().to_owned());
        } else if let Some(found) = captures(&RESULT, line) {
            let passed = &found[2] == "ok";
            let number = found.get(3).map_or("", |number| number.as_str());
            let mut name = found.get(4).map_or("", |name| name.as_str()).trim().to_owned();
            if name.is_empty() {
                name = format!("test {number}");
            }
            let directive = found.get(5).map_or("", |text| text.as_str()).to_ascii_uppercase();
            let result = if directive.starts_with("SKIP") || directive.starts_with("TODO") && !passed {
                Result::Skip
            } else if passed {
                Result::Pass
            } else {
                Result::Fail
            };
            let is_group = self.groups.len() > depth && self.groups.get(depth) == Some(&name);
            self.groups.truncate(depth);
            if depth == 0 {
                self.top += 1;
            }
            // A group's own line only repeats what its tests said, unless they said nothing bad.
            let prefix = format!("{name}/");
            let told = is_group && self.tests.iter().any(|test| test.name.contains(&prefix));
            let failed_inside =
                self.tests.iter().any(|test| test.name.contains(&prefix) && test.result == Result::Fail);
            if !told || result == Result::Fail && !failed_inside {
                let path: Vec<&str> = self.groups.iter().map(String::as_str).chain([name.as_str()]).collect();
                let path = path.join("/");
                self.add(path, result);
            }
        } else if self.detail.len() < 1 << 16 {
            self.detail.push_str(text);
            self.detail.push('\n');
        }
        if self.plan.is_some_and(|plan| self.top >= plan) {
            self.complete = true;
        }
    }

    fn libtest(&mut self, line: &str) {
        if let Some(running) = captures(&RUNNING, line) {
            // Several test programs one after the other add up.
            self.plan = running[1].parse::<usize>().ok().map(|more| self.plan.unwrap_or(0) + more);
            self.complete = false;
            return;
        }
        if line.starts_with("test result:") {
            self.complete = true;
            return;
        }
        if let Some(name) = self.pending.take() {
            let result = match line.trim().trim_start_matches('[').trim_end_matches(']') {
                "ok" => Some(Result::Pass),
                "FAILED" | "failed" => Some(Result::Fail),
                "ignored" => Some(Result::Skip),
                _ => None,
            };
            if let Some(result) = result {
                self.top += 1;
                self.add(name, result);
                return;
            }
            self.pending = Some(name);
        }
        if let Some(found) = captures(&LIBTEST, line) {
            // A test that began and never ended has failed.
            if let Some(name) = self.pending.take() {
                self.top += 1;
                self.add(name, Result::Fail);
            }
            let name = found[1].trim_end_matches("...").to_owned();
            match found.get(2).map(|result| result.as_str()) {
                None => self.pending = Some(name),
                Some(result) => {
                    let result = match result {
                        "ok" => Result::Pass,
                        "ignored" => Result::Skip,
                        _ => Result::Fail,
                    };
                    self.top += 1;
                    self.add(name, result);
                }
            }
        } else if self.detail.len() < 1 << 16 {
            self.detail.push_str(line);
            self.detail.push('\n');
        }
    }

    /// Whether the guest has reported all that it announced.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Ends the reading: what began and has no result has failed, as have announced tests that
    /// never came. Returns what is wrong apart from tests that failed.
    pub(crate) fn finish(&mut self) -> Option<String> {
        if let Some(name) = self.pending.take() {
            self.top += 1;
            self.add(name, Result::Fail);
        }
        if let Some(reason) = &self.bailed {
            return Some(format!("the guest bailed out: {reason}"));
        }
        match self.plan {
            Some(plan) if plan != self.top => {
                Some(format!("the guest announced {plan} tests and reported {}", self.top))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, text: &str) -> (Reader, Option<String>) {
        let mut reader = Reader::new(format);
        text.lines().for_each(|line| reader.line(line));
        let problem = reader.finish();
        (reader, problem)
    }
    fn results(reader: &Reader) -> Vec<(&str, Result)> {
        reader.tests.iter().map(|test| (test.name.as_str(), test.result)).collect()
    }

    #[test]
    fn tap() {
        let (reader, problem) = read(
            Format::Auto,
            "boot\nTAP version 13\n1..4\nok 1 - one\nwhy\nnot ok 2 - two\nok 3 # SKIP later\nnot ok 4 four # TODO\n",
        );
        assert_eq!(problem, None);
        assert_eq!(
            results(&reader),
            [("one", Result::Pass), ("two", Result::Fail), ("test 3", Result::Skip), ("four", Result::Skip)]
        );
        assert!(reader.tests[1].detail.contains("why"));
        assert!(reader.is_complete());
        let (reader, problem) = read(Format::Auto, "TAP version 14\n1..3\nok 1 a\n");
        assert_eq!(problem.unwrap(), "the guest announced 3 tests and reported 1");
        assert!(!reader.is_complete());
        assert!(read(Format::Tap, "Bail out! no disk").1.unwrap().contains("no disk"));
    }

    #[test]
    fn ktap_with_times_of_the_kernel() {
        let (reader, problem) = read(
            Format::Auto,
            "[    1.000000] KTAP version 1\n[    1.0] 1..2\n\
             [    1.1]     KTAP version 1\n[    1.1]     # Subtest: list\n[    1.1]     1..2\n\
             [    1.2]     ok 1 add\n[    1.2]     not ok 2 del\n[    1.3] not ok 1 list\n[    1.4] ok 2 math\n",
        );
        assert_eq!(problem, None);
        assert_eq!(results(&reader), [("list/add", Result::Pass), ("list/del", Result::Fail), ("math", Result::Pass)]);
    }

    #[test]
    fn libtest_and_its_relatives() {
        let (reader, problem) = read(
            Format::Auto,
            "running 4 tests\ntest a::b ... ok\ntest c ... FAILED\ntest d ... ignored\ntest e ... \nnoise\nok\n\ntest result: FAILED.\n",
        );
        assert_eq!(problem, None);
        assert_eq!(
            results(&reader),
            [("a::b", Result::Pass), ("c", Result::Fail), ("d", Result::Skip), ("e", Result::Pass)]
        );
        assert!(reader.is_complete());
        let (reader, problem) =
            read(Format::Auto, "Running 3 tests\nos::one...\t[ok]\nos::two...\t[failed]\nos::three...\t");
        assert_eq!(problem, None);
        assert_eq!(
            results(&reader),
            [("os::one", Result::Pass), ("os::two", Result::Fail), ("os::three", Result::Fail)]
        );
    }

    #[test]
    fn nothing_is_read_into_other_text() {
        let (reader, problem) = read(Format::Auto, "ok 1 - no\ntest x ... ok\n1..3\n");
        assert!(reader.tests.is_empty() && problem.is_none());
    }
}
