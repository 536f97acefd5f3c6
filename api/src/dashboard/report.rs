//! What stages found out, as a page shows it: tests, guesses, what failed and why, and the end of an output.

use std::time::Duration;

use futures_util::StreamExt;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::facts::{Facts, Guess, TestReport};
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use landfall_store::{OutputDir, OutputFile};

/// So much of the end of an output stands in the page itself, for those who have no script.
const TAIL_BYTES: u64 = 12 * 1024;
/// How long the disk may take to give it.
const TAIL_TIMEOUT: Duration = Duration::from_secs(2);

/// What failed, and why.
#[derive(Debug)]
pub(super) struct Red {
    pub(super) stage: &'static str,
    pub(super) output: String,
    pub(super) reason: String,
    pub(super) tail: Vec<String>,
}

/// The result of the tests.
#[derive(Debug)]
pub(super) struct Tests {
    pub(super) exit_code: i64,
    pub(super) counts: Option<(u32, u32, u32)>,
    /// Name and message.
    pub(super) failures: Vec<(String, String)>,
    /// Failing tests beyond those that are named.
    pub(super) more: u32,
}

/// An output that there is.
#[derive(Debug)]
pub(super) struct Tab {
    /// As links name it: `test-1`.
    pub(super) key: String,
    pub(super) stage: String,
    pub(super) attempt: u32,
    pub(super) label: String,
    pub(super) len: u64,
    pub(super) live: bool,
    pub(super) shown: bool,
}

impl Tests {
    fn of(report: &TestReport) -> Self {
        let counts = report.counts.map(|counts| (counts.passed, counts.failed, counts.skipped));
        let named = u32::try_from(report.first_failures.len()).unwrap_or(u32::MAX);
        let failures = report.first_failures.iter().map(|test| (test.name.clone(), test.message.clone()));
        Self {
            exit_code: report.exit_code,
            counts,
            failures: failures.collect(),
            more: counts.map_or(0, |(_, failed, _)| failed.saturating_sub(named)),
        }
    }
}

/// Returns the test report of a history, green or red.
pub(super) fn tests<'a>(history: impl DoubleEndedIterator<Item = &'a Envelope>) -> Option<Tests> {
    history.rev().find_map(|envelope| match &envelope.event {
        Event::StageSucceeded { facts: Facts::Test(report), .. } => Some(Tests::of(report)),
        Event::StageFailed { failure, .. } => failure.tests.as_ref().map(Tests::of),
        _ => None,
    })
}

/// Returns what was guessed about the commit.
pub(super) fn guesses<'a>(history: impl DoubleEndedIterator<Item = &'a Envelope>) -> (String, Vec<Guess>) {
    let found = history.rev().find_map(|envelope| match &envelope.event {
        Event::StageSucceeded { facts: Facts::Checkout(checkout), .. } => {
            Some((checkout.configured_by.clone(), checkout.guesses.clone()))
        }
        _ => None,
    });
    found.unwrap_or_default()
}

/// Returns what failed last, if anything did since a stage was green.
pub(super) fn red<'a>(history: impl DoubleEndedIterator<Item = &'a Envelope>) -> Option<Red> {
    history.rev().find_map(|envelope| match &envelope.event {
        Event::StageSucceeded { .. } => Some(None),
        Event::StageFailed { stage, attempt, failure, .. } => Some(Some(Red {
            stage: stage.spoken(),
            output: format!("{stage}-{attempt}"),
            reason: failure.reason.clone(),
            tail: failure.tail.iter().map(|line| plain(line)).collect(),
        })),
        Event::StageErrored { stage, attempt, reason, retry_due_ms: None } => Some(Some(Red {
            stage: stage.spoken(),
            output: format!("{stage}-{attempt}"),
            reason: reason.clone(),
            tail: Vec::new(),
        })),
        _ => None,
    })?
}

/// Returns the outputs of a run in the order of its stages, and which of them to show: the one that is asked for, that
/// grows, that is red, or the last.
pub(super) fn tabs(files: Vec<OutputFile>, asked: Option<&str>, red: Option<&Red>) -> Vec<Tab> {
    let place = |name: &str| Stage::from_name(name).map_or(Stage::ALL.len(), |stage| stage as usize);
    let mut files = files;
    files.sort_by_key(|file| (place(&file.name), file.attempt));
    let is_alone = |file: &OutputFile, files: &[OutputFile]| {
        files.iter().filter(|other| other.name == file.name).count() == 1
    };
    let mut tabs: Vec<Tab> = files
        .iter()
        .map(|file| {
            let stage = label(&file.name);
            let label = match is_alone(file, &files) && file.attempt == 1 {
                true => stage.to_owned(),
                false => format!("{stage}, attempt {}", file.attempt),
            };
            let key = format!("{}-{}", file.name, file.attempt);
            Tab {
                key,
                stage: file.name.clone(),
                attempt: file.attempt,
                label,
                len: file.len,
                live: file.live,
                shown: false,
            }
        })
        .collect();
    let by = |wanted: &str| tabs.iter().position(|tab| tab.key == wanted);
    let shown = asked
        .and_then(by)
        .or_else(|| tabs.iter().rposition(|tab| tab.live))
        .or_else(|| red.and_then(|red| by(&red.output)))
        .or_else(|| tabs.iter().rposition(|tab| tab.len > 0))
        .unwrap_or(0);
    if let Some(tab) = tabs.get_mut(shown) {
        tab.shown = true;
    }
    tabs
}

fn label(name: &str) -> &'static str {
    match Stage::from_name(name) {
        Some(Stage::Checkout) => "Checkout",
        Some(Stage::Test) => "Tests",
        Some(Stage::Build) => "Build",
        Some(Stage::PushImage) => "Push image",
        Some(Stage::ReleaseCommand) => "Release command",
        Some(Stage::Deploy) => "Deploy",
        Some(Stage::Smoke) => "Smoke tests",
        Some(Stage::GoLive) => "Go live",
        Some(Stage::PublicSmoke) => "Public smoke tests",
        None => "Rollback",
    }
}

/// Returns the last lines of an output as they are now.
pub(super) async fn tail(outputs: &OutputDir, run: RunId, tab: &Tab) -> String {
    if tab.len == 0 {
        return String::new();
    }
    let offset = tab.len.saturating_sub(TAIL_BYTES);
    let mut pieces = outputs.follow(run, &tab.stage, tab.attempt, offset);
    let mut text = String::new();
    let reading = async {
        while let Some(Ok(piece)) = pieces.next().await {
            text.push_str(&piece.text);
            if piece.next >= tab.len {
                break;
            }
        }
    };
    // What is there by then is shown: the whole is a click away.
    _ = tokio::time::timeout(TAIL_TIMEOUT, reading).await;
    let whole = if offset == 0 { text.as_str() } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
    plain(whole)
}

/// Returns a text without what tells a terminal to do something.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => match chars.peek() {
                Some('[') => {
                    while chars.next().is_some_and(|char| !('@'..='~').contains(&char) || char == '[') {}
                }
                Some(']') => while chars.next().is_some_and(|char| char != '\u{7}' && char != '\u{9c}') {},
                _ => {}
            },
            '\n' | '\t' => plain.push(char),
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain
}

#[cfg(test)]
mod tests_of_text {
    use super::*;

    #[test]
    fn what_tells_a_terminal_to_do_something_is_left_out() {
        assert_eq!(plain("\u{1b}[1;31mred\u{1b}[0m\tand\u{1b}]0;title\u{7} plain\r\n"), "red\tand plain\n");
        assert_eq!(plain("\u{1b}"), "");
        assert_eq!(plain("\u{1b}[31"), "");
    }
}
