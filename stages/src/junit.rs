//! Reads a JUnit report: what failed, and how many.
//!
//! Lenient, because every test tool writes its own dialect: unknown elements are passed over, attributes may be
//! missing. A report that breaks off still names the failures in it, but its counts are not believed.

use std::borrow::Cow;

use landfall_engine::core::facts::{TestCounts, TestFailure};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::lines::clip;

/// How many failing tests an event names.
const FAILURES_MAX: usize = 20;
/// What the name of a test may weigh in an event.
const NAME_BYTES_MAX: usize = 200;
/// What the message of a test may weigh in an event.
const MESSAGE_BYTES_MAX: usize = 300;
/// How much of what a failing test printed is looked at for its message.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// What a report says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// None: the report breaks off.
    pub(crate) counts: Option<TestCounts>,
    /// The first failing tests.
    pub(crate) failures: Vec<TestFailure>,
}

/// Reads a report. None: it is none.
pub(crate) fn read(xml: &[u8]) -> Option<Report> {
    let xml = String::from_utf8_lossy(xml);
    let mut reader = Reader::from_str(&xml);
    reader.config_mut().check_end_names = false;
    let mut reading = Reading::default();
    loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => reading.open(&element),
            Ok(Event::Empty(element)) => {
                reading.open(&element);
                reading.close(element.local_name().as_ref());
            }
            Ok(Event::End(element)) => reading.close(element.local_name().as_ref()),
            Ok(Event::Text(text)) => reading.text(&text),
            Ok(Event::CData(text)) => reading.text(&text),
            Ok(Event::GeneralRef(name)) => reading.text(reference(&name)),
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(_) => {
                reading.is_broken = true;
                break;
            }
        }
    }
    reading.finish()
}

/// How a test ended; worse wins, since a test can fail and then break while it is cleared away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    #[default]
    Passed,
    Skipped,
    Failed,
}

#[derive(Debug, Default)]
struct Case {
    name: String,
    verdict: Verdict,
    /// What the first `<failure>` or `<error>` has in its attribute.
    message: Option<String>,
    /// What stands inside it.
    text: String,
}

#[derive(Debug, Default)]
struct Reading {
    has_suite: bool,
    depth: i64,
    is_broken: bool,
    counts: TestCounts,
    failures: Vec<TestFailure>,
    case: Option<Case>,
    in_failure: bool,
}

impl Reading {
    fn open(&mut self, element: &BytesStart<'_>) {
        self.depth += 1;
        match element.local_name().as_ref() {
            "testsuite" | "testsuites" => self.has_suite = true,
            "testcase" => {
                self.has_suite = true;
                self.case = Some(Case { name: name_of(element), ..Case::default() });
            }
            "failure" | "error" => {
                let Some(case) = &mut self.case else { return };
                if case.verdict != Verdict::Failed {
                    case.verdict = Verdict::Failed;
                    case.message = attribute(element, "message");
                    self.in_failure = true;
                }
            }
            "skipped" => {
                if let Some(case) = &mut self.case {
                    case.verdict = case.verdict.max(Verdict::Skipped);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        self.depth -= 1;
        match name {
            "failure" | "error" => self.in_failure = false,
            "testcase" => {
                self.in_failure = false;
                if let Some(case) = self.case.take() {
                    self.count(case);
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(case) = self.case.as_mut().filter(|_| self.in_failure)
            && case.text.len() + text.len() <= TEXT_BYTES_MAX
        {
            case.text.push_str(text);
        }
    }

    fn count(&mut self, case: Case) {
        match case.verdict {
            Verdict::Passed => self.counts.passed += 1,
            Verdict::Skipped => self.counts.skipped += 1,
            Verdict::Failed => {
                self.counts.failed += 1;
                if self.failures.len() < FAILURES_MAX {
                    let message = clip(&message_of(&case), MESSAGE_BYTES_MAX);
                    self.failures.push(TestFailure { name: clip(&case.name, NAME_BYTES_MAX), message });
                }
            }
        }
    }

    fn finish(mut self) -> Option<Report> {
        let is_whole = !self.is_broken && self.depth == 0;
        if let Some(case) = self.case.take().filter(|case| case.verdict == Verdict::Failed) {
            self.count(case);
        }
        self.has_suite.then(|| Report { counts: is_whole.then_some(self.counts), failures: self.failures })
    }
}

/// Returns `class::name`, or whichever of the two there is.
fn name_of(element: &BytesStart<'_>) -> String {
    let name = attribute(element, "name").unwrap_or_default();
    let place = attribute(element, "classname").or_else(|| attribute(element, "file")).unwrap_or_default();
    match (place.is_empty(), name.is_empty()) {
        (true, _) => name,
        (false, true) => place,
        (false, false) => format!("{place}::{name}"),
    }
}

/// Returns one line: the attribute's first, unless the text knows better.
fn message_of(case: &Case) -> String {
    let first = |text: &str| text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
    // Pytest marks the lines of the error itself with an E. Of a module that can't be imported the attribute says
    // only that, and the last such line says why.
    let marked = case.text.lines().filter_map(|line| line.strip_prefix("E  ")).map(str::trim);
    let mut marked = marked.filter(|line| !line.is_empty());
    match case.message.as_deref() {
        Some("collection failure") => marked.next_back().map(str::to_owned).or_else(|| first(&case.text)),
        Some(message) => first(message).or_else(|| first(&case.text)),
        None => marked.next_back().map(str::to_owned).or_else(|| first(&case.text)),
    }
    .unwrap_or_default()
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = element.attributes();
    let mut readable = attributes.with_checks(false).flatten();
    let value = readable.find(|attribute| attribute.key.local_name().as_ref() == name)?.value;
    Some(quick_xml::escape::unescape(&value).map_or_else(|_| value.to_string(), Cow::into_owned))
}

fn reference(name: &str) -> &'static str {
    match name {
        "lt" => "<",
        "gt" => ">",
        "amp" => "&",
        "quot" => "\"",
        "apos" => "'",
        "#10" => "\n",
        _ => "\u{fffd}",
    }
}

#[cfg(test)]
#[path = "junit_tests.rs"]
mod tests;
