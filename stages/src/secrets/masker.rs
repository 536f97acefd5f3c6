//! Hides secrets in what a run prints: as they are, in base64, URL-encoded, and as JSON text.
//!
//! Overlapping finds are hidden as one, so that no end of a secret sticks out beside another one.
//!
//! **Invariant:** a line leaves [`MaskedWriter`] only when nothing that may still come can turn it into a
//! part of a secret.

use std::fmt;
use std::ops::Range;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall_engine::core::event::OutputRef;
use landfall_engine::ports::BoxError;
use landfall_engine::ports::OutputWriter;

/// Where a text was cut short.
const CUT: char = '…';
/// What stands in the place of a secret.
const MASK: &str = "***";
/// Shorter values are words and numbers that appear everywhere: masking them would hide the output.
const SECRET_CHARS_MIN: usize = 4;
/// Parts of a secret (a line of a key, the path of a webhook) are hidden by themselves from this length on.
const PART_CHARS_MIN: usize = 8;
/// A line at least this long may have been cut by a reader's limit, perhaps inside a secret.
const CUT_LINE_BYTES: usize = 4_096;

/// Knows the forms of some secrets. `Debug` shows how many.
#[derive(Clone, Default)]
pub struct Masker {
    finder: Option<AhoCorasick>,
    /// Sorted, for the question whether one of them begins with some text.
    forms: Vec<String>,
    /// The length of the longest form.
    longest: usize,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("forms", &self.forms.len()).finish()
    }
}

impl Masker {
    /// Returns what hides these values.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms: Vec<String> = values.into_iter().flat_map(forms_of).collect();
        forms.sort_unstable();
        forms.dedup();
        // A few hundred short texts are far below the automaton's limits. Should somebody's be above them,
        // they are searched for one by one: slow is better than shown.
        let finder = if forms.is_empty() { None } else { AhoCorasick::new(&forms).ok() };
        let longest = forms.iter().map(String::len).max().unwrap_or(0);
        Self { finder, forms, longest }
    }

    /// Returns the text with every secret in it replaced, and what a cut (`…`) left of one.
    pub fn mask(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut end = 0;
        for found in self.ranges(text) {
            masked.push_str(&text[end..found.start]);
            masked.push_str(MASK);
            end = found.end;
        }
        masked.push_str(&text[end..]);
        if self.forms.is_empty() || !masked.contains(CUT) {
            masked
        } else {
            self.without_cut_secrets(&masked)
        }
    }

    fn without_cut_secrets(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        for piece in text.split_inclusive(CUT) {
            let (before, cut) = piece.strip_suffix(CUT).map_or((piece, false), |before| (before, true));
            let open = if cut { self.open_from(before) } else { before.len() };
            let told = before[open..].chars().count();
            if told >= PART_CHARS_MIN {
                masked.push_str(&before[..open]);
                masked.push_str(MASK);
            } else {
                masked.push_str(before);
            }
            if cut {
                masked.push(CUT);
            }
        }
        masked
    }

    /// Returns lines with every secret in them replaced, those that span lines too.
    pub fn mask_lines(&self, lines: &[String]) -> Vec<String> {
        if lines.is_empty() {
            return Vec::new();
        }
        self.mask(&lines.join("\n")).split('\n').map(str::to_owned).collect()
    }

    /// Returns the places of secrets, in order, those that overlap as one.
    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = match &self.finder {
            Some(finder) => finder.find_overlapping_iter(text).map(|found| found.range()).collect(),
            None => self
                .forms
                .iter()
                .flat_map(|form| text.match_indices(form.as_str()))
                .map(|(at, form)| at..at + form.len())
                .collect(),
        };
        found.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in found {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }

    /// Returns from where on the text may be the beginning of a secret that is not all there yet.
    fn open_from(&self, text: &str) -> usize {
        let first = text.len().saturating_sub(self.longest.saturating_sub(1));
        (first..text.len())
            .find(|at| text.is_char_boundary(*at) && self.begins_a_form(&text[*at..]))
            .unwrap_or(text.len())
    }

    fn begins_a_form(&self, start: &str) -> bool {
        let at = self.forms.partition_point(|form| form.as_str() <= start);
        self.forms.get(at).is_some_and(|form| form.starts_with(start))
    }
}

/// Returns the texts by which a value can be seen in some output.
fn forms_of(value: &str) -> Vec<String> {
    let value = value.trim_matches(['\r', '\n']);
    if value.chars().count() < SECRET_CHARS_MIN {
        return Vec::new();
    }
    let mut forms = encodings(value);
    forms.extend(parts(value).into_iter().filter(|part| part.chars().count() >= PART_CHARS_MIN));
    if let Some(password) = url_password(value) {
        forms.extend(encodings(&percent_decoded(password)));
        forms.extend(encodings(password));
    }
    forms.retain(|form| form.chars().count() >= SECRET_CHARS_MIN);
    forms
}

fn encodings(value: &str) -> Vec<String> {
    let quoted = serde_json::Value::from(value).to_string();
    let url = percent_encoded(value, |byte| format!("%{byte:02X}"));
    let mut forms = vec![
        value.to_owned(),
        value.replace("\r\n", "\n").replace('\n', "\r\n"),
        value.replace("\r\n", "\n"),
        quoted[1..quoted.len() - 1].to_owned(),
        url.replace("%20", "+"),
        percent_encoded(value, |byte| format!("%{byte:02x}")),
        url,
    ];
    let inner = base64_inner(value.as_bytes());
    forms.extend(inner.iter().map(|form| form.replace('+', "-").replace('/', "_")));
    forms.extend(inner);
    forms
}

/// Returns the characters of the base64 text that depend on the value alone, for each of the three places
/// that it can have in a longer text such as `user:password`.
fn base64_inner(value: &[u8]) -> Vec<String> {
    (0..3)
        .filter_map(|before| {
            let mut bytes = vec![0; before];
            bytes.extend_from_slice(value);
            let whole_bits = bytes.len() * 8;
            let first = (before * 8).div_ceil(6);
            let text = STANDARD.encode(&bytes);
            text.get(first..whole_bits / 6).map(str::to_owned)
        })
        .filter(|form| form.len() >= SECRET_CHARS_MIN)
        .collect()
}

/// Returns what gives a secret away when only a part of it is printed.
fn parts(value: &str) -> Vec<String> {
    let lines = value.lines().map(str::trim).filter(|_| value.contains('\n'));
    let path = value
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    lines.chain(path).map(str::to_owned).collect()
}

fn url_password(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user_info, _) = authority.rsplit_once('@')?;
    user_info.split_once(':').map(|(_, password)| password)
}

fn percent_encoded(value: &str, escape: impl Fn(u8) -> String) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { escape(byte) };
    value.bytes().map(encode).collect()
}

/// Returns the text with its `%20`s read; what is no escape stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An output that shows no secret, however its lines are cut.
pub struct MaskedWriter {
    masker: Masker,
    inner: Box<dyn OutputWriter>,
    /// Text that may yet turn out to be the beginning of a secret; each line with its end.
    held: String,
    /// So much of `held` belongs to a secret whose mask is in `line` already.
    masked: usize,
    /// The masked beginning of a line whose end is in `held`.
    line: String,
}

impl fmt::Debug for MaskedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskedWriter").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl MaskedWriter {
    /// Returns a writer that passes masked lines on.
    pub fn new(masker: Masker, inner: Box<dyn OutputWriter>) -> Self {
        Self { masker, inner, held: String::new(), masked: 0, line: String::new() }
    }

    /// Passes on what is settled: everything before `until`.
    fn settle(&mut self, until: usize) -> Result<(), BoxError> {
        let held = std::mem::take(&mut self.held);
        let mut at = self.masked.min(until);
        for found in self.masker.ranges(&held).into_iter().filter(|found| found.start < until) {
            // A find that begins inside the last mask only makes it longer.
            if found.start >= self.masked {
                self.text(&held[at..found.start])?;
                self.line.push_str(MASK);
            }
            self.masked = self.masked.max(found.end);
            at = at.max(self.masked.min(until));
        }
        self.text(&held[at..until])?;
        self.masked = self.masked.saturating_sub(until);
        self.held = held[until..].to_owned();
        Ok(())
    }

    /// Passes on everything: nothing more comes.
    fn release(&mut self) -> Result<(), BoxError> {
        self.settle(self.held.len())?;
        if self.line.is_empty() { Ok(()) } else { self.end_line() }
    }

    fn text(&mut self, text: &str) -> Result<(), BoxError> {
        let mut rest = text;
        while let Some((line, below)) = rest.split_once('\n') {
            self.line.push_str(line);
            self.end_line()?;
            rest = below;
        }
        self.line.push_str(rest);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), BoxError> {
        let line = std::mem::take(&mut self.line);
        self.inner.line(&line)
    }
}

/// What is held back when a stage is cut short can't go on any more.
impl Drop for MaskedWriter {
    fn drop(&mut self) {
        // The disk that refuses here has refused before, and that was said.
        let _ = self.release();
    }
}

impl OutputWriter for MaskedWriter {
    fn line(&mut self, text: &str) -> Result<(), BoxError> {
        if self.masker.forms.is_empty() {
            return self.inner.line(text);
        }
        self.held.push_str(text);
        let perhaps_cut = text.len() >= CUT_LINE_BYTES;
        if !perhaps_cut {
            self.held.push('\n');
        }
        self.settle(self.masker.open_from(&self.held))?;
        if perhaps_cut { self.end_line() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        self.release()?;
        self.inner.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use proptest::prelude::*;

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
    fn a_long_line_of_a_key_is_hidden_by_itself() {
        assert_eq!(masked(&["BEGIN\n0123456789abc\nEND"], &["  0123456789abc"]), ["  ***"]);
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
    }
}
