//! What the end of a test run means. Pure, and the same for tests in a container and on the host.

use std::sync::LazyLock;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::{Facts, Failure, TestFailure, TestReport};
use landfall_engine::core::settings::TestSettings;
use regex::Regex;

use crate::junit::Report;
use crate::lines::clip;

/// How many failing tests stand in the one line that people read first.
const NAMES_MAX: usize = 3;
/// What one line quoted from the output may weigh in a reason.
const QUOTE_BYTES_MAX: usize = 300;

/// Pytest's exit code for "no tests were collected"; unittest's too, since Python 3.12.
const NO_TESTS: i64 = 5;
/// The shell's exit codes for a command that it could not run.
const NOT_EXECUTABLE: i64 = 126;
const NOT_FOUND: i64 = 127;

/// How a test run ended.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// The exit code of the command.
    pub(crate) exit_code: i64,
    /// True when something was killed for want of memory.
    pub(crate) oom: bool,
    /// True when it was ended from outside and gave no answer of its own.
    pub(crate) cut_off: bool,
    /// The last lines that it printed.
    pub(crate) tail: Vec<String>,
    /// Its report, where one could be read.
    pub(crate) report: Option<Report>,
}

/// Returns what a finished test run means: the exit code decides, the rest says why.
pub(crate) fn of(settings: &TestSettings, finished: Finished) -> Outcome {
    let Finished { exit_code, oom, cut_off, tail, report } = finished;
    let report = report.unwrap_or_default();
    let tests = TestReport { exit_code, counts: report.counts, first_failures: report.failures };
    let failed = |reason: String, tests: TestReport, tail: Vec<String>| {
        Outcome::Failed(Failure { reason, tail, tests: Some(tests) })
    };
    if found_none(settings, &tests) {
        if settings.allow_none {
            return Outcome::Succeeded(Facts::Test(tests));
        }
        let reason = format!(
            "no tests found: `{}` ran none; add a test, or opt out with `allow_none = true` below `[test]`",
            one_line(&settings.command)
        );
        return failed(reason, tests, tail);
    }
    if exit_code == 0 {
        return Outcome::Succeeded(Facts::Test(tests));
    }
    if oom {
        let reason = format!(
            "the tests ran out of memory: the limit is {} MiB; raise it with `memory = \"{}MiB\"` below `[test]`",
            settings.memory_mb,
            settings.memory_mb.saturating_mul(2)
        );
        return failed(reason, tests, tail);
    }
    // Tests that failed leave a report that says so.
    if cut_off && tests.first_failures.is_empty() {
        return Outcome::errored(format!(
            "the tests were ended from outside (exit code {exit_code}): by hand, by a restart of Docker or of this \
             machine, or because it ran out of memory"
        ));
    }
    let reason = red(settings, &tests, &tail);
    failed(reason, tests, tail)
}

/// Returns what it means that the source did not arrive in the container.
pub(crate) fn not_filled(settings: &TestSettings, tail: &[String]) -> Outcome {
    if tail.iter().any(|line| line.contains("tar: ") && line.contains("not found")) {
        return Outcome::failed(format!(
            "the image {} has no `tar`, which lays the source into it: use another image, or add tar to this one",
            settings.image
        ));
    }
    Outcome::errored(format!("the source did not arrive whole in the container: {}", tail.join("; ")))
}

/// Returns what it means that the dependencies could not be installed: the app's fault, or the network's.
pub(crate) fn not_installed(tail: Vec<String>) -> Outcome {
    let said = tail.iter().rev().find(|line| line.starts_with("ERROR") || line.starts_with("error"));
    let said = said.or(tail.last()).map_or("it said nothing", String::as_str);
    let reason = format!("dependencies could not be installed: {}", clip(said, QUOTE_BYTES_MAX));
    if tail.iter().any(|line| is_network_trouble(line)) {
        return Outcome::errored(format!("{reason} (the package index could not be reached)"));
    }
    Outcome::Failed(Failure::new(reason).with_tail(tail))
}

/// Tells whether tests were green because there were none.
pub(crate) fn is_of_nothing(settings: &TestSettings, facts: &Facts) -> bool {
    matches!(facts, Facts::Test(tests) if found_none(settings, tests))
}

fn found_none(settings: &TestSettings, tests: &TestReport) -> bool {
    let counted = tests.counts.map(|counts| counts.passed + counts.failed + counts.skipped);
    match tests.exit_code {
        0 => counted == Some(0),
        NO_TESTS => counted.map_or_else(|| is_test_tool(&settings.command), |counted| counted == 0),
        _ => false,
    }
}

fn is_test_tool(command: &str) -> bool {
    ["pytest", "py.test", "unittest"].iter().any(|tool| command.contains(tool))
}

/// Returns the one line about red tests.
fn red(settings: &TestSettings, tests: &TestReport, tail: &[String]) -> String {
    let command = one_line(&settings.command);
    let code = tests.exit_code;
    let last = tail.last().map(|line| clip(line, QUOTE_BYTES_MAX)).unwrap_or_default();
    if matches!(code, NOT_FOUND | NOT_EXECUTABLE) && tests.counts.is_none() {
        let place = if settings.host {
            "on this machine".to_owned()
        } else {
            format!("in the image {}", settings.image)
        };
        return format!(
            "the test command could not be run {place} (exit code {code}): {last}; check `command` below `[test]`"
        );
    }
    let names = names(&tests.first_failures);
    match tests.counts {
        Some(counts) if counts.failed > 0 => {
            let all = counts.passed + counts.failed + counts.skipped;
            let more = (counts.failed as usize).saturating_sub(NAMES_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{} of {all} tests failed: {names}{more}", counts.failed)
        }
        _ if !names.is_empty() => format!("tests failed: {names} (the report breaks off; exit code {code})"),
        _ => format!("the tests failed: `{command}` ended with exit code {code}: {last}"),
    }
}

/// Returns the first failing tests by their own names; the event has the long ones.
fn names(failures: &[TestFailure]) -> String {
    let short = |failure: &TestFailure| {
        let name = failure.name.rsplit("::").next().unwrap_or_default();
        clip(if name.is_empty() { "a test without a name" } else { name }, 80)
    };
    failures.iter().take(NAMES_MAX).map(short).collect::<Vec<_>>().join(", ")
}

fn one_line(command: &str) -> String {
    clip(&command.split_whitespace().collect::<Vec<_>>().join(" "), 120)
}

fn is_network_trouble(line: &str) -> bool {
    static SIGNS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)name resolution|NewConnectionError|ConnectTimeout|ReadTimeout|Read timed out|connection (refused|reset|aborted)|network is unreachable|max retries exceeded|all attempts to connect|failed to fetch|HTTP error 5\d\d|5\d\d (server error|service unavailable|bad gateway)",
        )
        .expect("the pattern is fixed")
    });
    SIGNS.is_match(line)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
