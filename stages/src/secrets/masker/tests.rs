//! What is hidden, in every form and however it is cut; and what is not.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall_engine::core::event::OutputRef;
use landfall_engine::ports::{BoxError, OutputWriter};
use proptest::prelude::*;

use super::writer::CUT_LINE_BYTES;
use super::*;

/// Collects lines, for a look at them after the writer is gone.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl OutputWriter for Lines {
    fn line(&mut self, text: &str) -> Result<(), BoxError> {
        self.0.lock().unwrap().push(text.to_owned());
        Ok(())
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        Ok(OutputRef { len: 0, sha256: String::new() })
    }
}

fn writer(secrets: &[&str]) -> (MaskedWriter, Lines) {
    let lines = Lines::default();
    let writer = MaskedWriter::new(Masker::new(secrets.iter().copied()), Box::new(lines.clone()));
    (writer, lines)
}

fn masked(secrets: &[&str], lines: &[&str]) -> Vec<String> {
    let (mut writer, seen) = writer(secrets);
    lines.iter().for_each(|line| writer.line(line).unwrap());
    writer.finish().unwrap();
    seen.0.lock().unwrap().clone()
}

#[test]
fn a_secret_is_hidden_raw_in_base64_url_encoded_and_as_json() {
    let masker = Masker::new(["p>>>?~~ \"x"]);
    let texts = [
        "p>>>?~~ \"x",
        "p%3E%3E%3E%3F~~%20%22x",
        "p%3e%3e%3e%3f~~%20%22x",
        "p%3E%3E%3E%3F~~+%22x",
        "p>>>?~~ \\\"x",
    ]
    .map(str::to_owned);
    for text in texts {
        assert_eq!(masker.mask(&format!("a {text} b")), "a *** b");
    }
    for user in ["", "u", "us", "use", "user:"] {
        let text = STANDARD.encode(format!("{user}p>>>?~~ \"x"));
        for text in [text.replace('+', "-").replace('/', "_"), text] {
            let shown = masker.mask(&text);
            assert!(shown.contains(MASK) && shown.len() < 16, "{shown}");
        }
    }
}

#[test]
fn a_short_value_is_left_alone() {
    assert_eq!(masked(&["abc", ""], &["abc"]), ["abc"]);
}

#[test]
fn overlapping_secrets_leave_no_end_behind() {
    assert_eq!(masked(&["abcd", "cdef"], &["abcdef xabcd"]), ["*** x***"]);
}

#[test]
fn a_secret_of_several_lines_is_hidden_whole() {
    let key = "BEGIN\nx1\ny2\nEND";
    assert_eq!(masked(&[key], &["a BEGIN", "x1", "y2", "END b", "c"]), ["a *** b", "c"]);
    assert_eq!(masked(&[key], &["BEGIN", "x1", "other"]), ["BEGIN", "x1", "other"]);
    assert_eq!(masked(&[key], &["BEGIN", "x1"]), ["BEGIN", "x1"]);
}

#[test]
fn no_line_of_a_key_is_hidden_by_itself() {
    let key = "-----BEGIN PRIVATE KEY-----\n0123456789abcdef\n-----END PRIVATE KEY-----\n";
    let lines = ["-----BEGIN PRIVATE KEY-----", "0123456789abcdef", "another line"];
    assert_eq!(masked(&[key], &lines), lines);
    let whole: Vec<&str> = key.lines().chain(["after it"]).collect();
    assert_eq!(masked(&[key], &whole), ["***", "after it"]);
}

#[test]
fn a_secret_is_hidden_as_each_language_writes_it_into_a_url_or_a_json_text() {
    let masker = Masker::new(["pä/ss (w) ö$\u{1F511}"]);
    let python = "p%C3%A4/ss%20%28w%29%20%C3%B6%24%F0%9F%94%91";
    let component = "p%C3%A4%2Fss%20(w)%20%C3%B6%24%F0%9F%94%91";
    let whole = "p%C3%A4/ss%20(w)%20%C3%B6$%F0%9F%94%91";
    let form = "p%c3%a4%2fss+%28w%29+%c3%b6%24%f0%9f%94%91";
    let json = r"p\u00e4/ss (w) \u00f6$\ud83d\udd11";
    for text in [python, component, whole, form, json] {
        assert_eq!(masker.mask(&format!("a={text}&b")), "a=***&b");
    }
}

#[test]
fn base64_that_is_broken_into_lines_is_hidden() {
    let key: String = (0..40).map(|n| format!("line {n} of a key\n")).collect();
    let text = STANDARD.encode(&key);
    for length in [76, 64] {
        let lines: Vec<&str> =
            text.as_bytes().chunks(length).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let shown = masked(&[&key], &lines).join("\n");
        assert!(shown.starts_with(MASK) && shown.len() < 8, "{shown}");
    }
}

#[test]
fn long_secrets_that_begin_alike_are_told_apart_by_their_ends() {
    let same = "0123456789".repeat(30);
    let (one, other) = (format!("{same}one"), format!("{same}other"));
    let masker = Masker::new([one.as_str(), other.as_str()]);
    assert_eq!(masker.mask(&format!("{one} {other} {same}third")), format!("*** *** {same}third"));
}

#[test]
fn the_largest_secret_costs_little_memory_in_the_automaton() {
    let value: String = (0..64 * 1024).map(|n: usize| char::from(b'a' + (n * n / 7 % 26) as u8)).collect();
    let masker = Masker::new([value.as_str()]);
    let finder = masker.known.finder.as_ref().unwrap();
    assert!(finder.memory_usage() < 1024 * 1024, "{} bytes", finder.memory_usage());
    assert_eq!(masker.mask(&format!("<{value}>")), "<***>");
}

#[test]
fn a_line_that_cannot_begin_a_secret_is_passed_on_at_once() {
    let (mut writer, seen) = writer(&["first\nsecond", "single"]);
    for (line, seen_after) in [("hello s", 1), ("first", 1), ("not second", 3)] {
        writer.line(line).unwrap();
        assert_eq!(seen.0.lock().unwrap().len(), seen_after, "after {line:?}");
    }
}

#[test]
fn a_secret_that_a_line_limit_cut_in_two_is_hidden() {
    let long = format!("{}hunt", "x".repeat(CUT_LINE_BYTES));
    let lines = masked(&["hunter2!"], &[&long, "er2! and more", "next"]);
    assert_eq!(lines, [&"x".repeat(CUT_LINE_BYTES), "*** and more", "next"]);
}

#[test]
fn the_beginning_of_a_secret_before_a_cut_is_hidden() {
    let masker = Masker::new(["postgres://u:hunter2!@db"]);
    assert_eq!(masker.mask("(\"at postgres://u:hun…\") and more…"), "(\"at ***…\") and more…");
    assert_eq!(masker.mask("at postgr… more"), "at postgr… more");
}

#[test]
fn lines_of_a_tail_are_masked_together() {
    let tail = ["a first", "second b"].map(str::to_owned);
    assert_eq!(Masker::new(["first\nsecond"]).mask_lines(&tail), ["a *** b"]);
    assert_eq!(Masker::new(["first\nsecond"]).mask_lines(&[]), Vec::<String>::new());
}

#[test]
fn the_rest_of_a_secret_that_began_before_a_tail_is_hidden() {
    let masker = Masker::new(["-----BEGIN KEY-----\nfirst-line\nsecond-line\n-----END KEY-----\n"]);
    let lines =
        |lines: &[&str]| masker.mask_lines(&lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>());
    assert_eq!(lines(&["second-line", "-----END KEY-----", "and more"]), ["***", "and more"]);
    assert_eq!(lines(&["first-line", "second-line", "-----END KEY-----"]), ["***"]);
    assert_eq!(lines(&["second-line", "something else"]), ["second-line", "something else"]);
    assert_eq!(
        lines(&["before", "second-line", "-----END KEY-----"]).len(),
        3,
        "a tail is cut at its beginning"
    );
}

/// Secrets of few letters, so that they overlap, repeat and contain each other.
fn secrets() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ab\n]{4,9}", 1..4)
}

proptest! {
    #[test]
    fn no_secret_survives_however_the_output_is_cut(
        secrets in secrets(),
        noise in prop::collection::vec("[abc\n]{0,6}", 1..12),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 12),
    ) {
        let mut text = String::new();
        for (noise, pick) in noise.iter().zip(picks) {
            text.push_str(noise);
            let secret: &String = pick.get(&secrets);
            text.push_str(secret);
        }
        let lines: Vec<&str> = text.split('\n').collect();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let shown = masked(&secrets, &lines).join("\n");
        let whole = Masker::new(secrets.iter().copied()).mask(&text);
        for secret in secrets.iter().map(|s| s.trim_matches('\n')).filter(|s| s.len() >= 4) {
            prop_assert!(!shown.contains(secret), "{secret:?} is in {shown:?}");
        }
        prop_assert_eq!(shown.trim_end_matches('\n'), whole.trim_end_matches('\n'));
    }

    #[test]
    fn no_secret_survives_where_a_long_line_was_cut(
        secrets in prop::collection::vec("[ab]{4,9}", 1..4),
        pieces in prop::collection::vec("[abc]{0,14}", 2..6),
    ) {
        let filler = "x".repeat(CUT_LINE_BYTES);
        // A piece that is long enough is taken for the beginning of a line whose rest comes next.
        let long: Vec<String> = pieces.iter().map(|piece| format!("{filler}{piece}")).collect();
        let lines: Vec<&str> = long.iter().map(String::as_str).collect();
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let shown = masked(&secrets, &lines).concat();
        prop_assert_eq!(shown, Masker::new(secrets.iter().copied()).mask(&lines.concat()));
    }
}
