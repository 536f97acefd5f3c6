//! Hides secrets in what a run prints: as they are, in base64, URL-encoded, and as JSON text.
//!
//! ```text
//! values ─▶ forms ─▶ their beginnings in one automaton ─▶ candidates ─▶ those that go on as a form does ─▶ ***
//! ```
//!
//! A secret of several lines is hidden whole and not line by line: the lines of one key are found in other keys,
//! too. Overlapping finds are hidden as one, so that no end of a secret sticks out beside another one.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::AhoCorasick;

mod forms;
mod writer;

#[cfg(test)]
pub(crate) use forms::percent_decoded;
pub use writer::MaskedWriter;

/// Where a text was cut short.
const CUT: char = '…';
/// What stands in the place of a secret.
const MASK: &str = "***";
/// Shorter values are words and numbers that appear everywhere: masking them would hide the output.
pub const SECRET_CHARS_MIN: usize = 4;
/// Parts of a secret (the path of a webhook, what a cut left) are hidden by themselves from this length on.
const PART_CHARS_MIN: usize = 8;
/// So much of a form is looked for by the automaton, whose memory grows with what it knows; the rest is compared.
const BEGINNING_BYTES: usize = 128;

/// Knows the forms of some secrets. `Debug` shows how many. A clone shares them.
#[derive(Clone, Default)]
pub struct Masker {
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    finder: Option<AhoCorasick>,
    /// Sorted: those that begin alike stand together, and whether one begins with some text is soon found.
    forms: Vec<String>,
    /// Which forms have each beginning that the finder knows.
    begun: Vec<Range<usize>>,
    /// The length of the longest form.
    longest: usize,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("forms", &self.known.forms.len()).finish()
    }
}

impl Masker {
    /// Returns what hides these values.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms: Vec<String> = values.into_iter().flat_map(forms::of).collect();
        forms.sort_unstable();
        forms.dedup();
        let begun = alike(&forms);
        let beginnings: Vec<&[u8]> = begun.iter().map(|range| beginning(&forms[range.start])).collect();
        // Some hundred short texts are far below the automaton's limits. Should somebody's be above them, forms
        // are searched for one by one: slow is better than shown.
        let finder = if forms.is_empty() { None } else { AhoCorasick::new(&beginnings).ok() };
        let longest = forms.iter().map(String::len).max().unwrap_or(0);
        Self { known: Arc::new(Known { finder, forms, begun, longest }) }
    }

    /// Tells whether there is nothing to hide.
    pub(super) fn is_empty(&self) -> bool {
        self.known.forms.is_empty()
    }

    /// Tells whether a text has something in it that would be hidden.
    pub fn hides(&self, text: &str) -> bool {
        !self.ranges(text).is_empty()
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
        if self.is_empty() || !masked.contains(CUT) { masked } else { self.without_cut_secrets(&masked) }
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

    /// Returns the last lines of some output with every secret in them replaced, those that span lines too, and the
    /// rest of one that began before them.
    pub fn mask_lines(&self, lines: &[String]) -> Vec<String> {
        if lines.is_empty() {
            return Vec::new();
        }
        let text = lines.join("\n");
        let rest = self.known.rest_of_a_form(&text);
        let masked = self.mask(&text[rest..]);
        let masked = if rest == 0 { masked } else { format!("{MASK}{masked}") };
        masked.split('\n').map(str::to_owned).collect()
    }

    /// Returns the places of secrets, in order, those that overlap as one.
    fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = self.known.finds(text);
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
        let first = text.len().saturating_sub(self.known.longest.saturating_sub(1));
        (first..text.len())
            .find(|at| text.is_char_boundary(*at) && self.known.begins_a_form(&text[*at..]))
            .unwrap_or(text.len())
    }
}

impl Known {
    /// Returns every place of every form, in no order.
    fn finds(&self, text: &str) -> Vec<Range<usize>> {
        let Some(finder) = &self.finder else {
            let places = |form: &String| {
                text.match_indices(form.as_str()).map(|(at, form)| at..at + form.len()).collect::<Vec<_>>()
            };
            return self.forms.iter().flat_map(places).collect();
        };
        let begun = finder.find_overlapping_iter(text);
        begun.flat_map(|begun| self.complete(text, begun.start(), begun.pattern().as_usize())).collect()
    }

    /// Returns the places of those forms that begin alike and are at `at` from their beginning to their end.
    fn complete<'a>(
        &'a self,
        text: &'a str,
        at: usize,
        nth: usize,
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        let forms = &self.forms[self.begun[nth].clone()];
        let whole = forms.iter().filter(move |form| text.as_bytes()[at..].starts_with(form.as_bytes()));
        whole.map(move |form| at..at + form.len())
    }

    /// Returns the length of the last lines of a form with which a text begins, when they tell something.
    fn rest_of_a_form(&self, text: &str) -> usize {
        let rests = |form: &str| -> usize {
            let mut rests = form.match_indices('\n').map(|(at, _)| &form[at + 1..]);
            rests.find(|rest| text.starts_with(rest)).map_or(0, str::len)
        };
        let longest = self.forms.iter().map(|form| rests(form)).max().unwrap_or(0);
        if text[..longest].chars().count() >= PART_CHARS_MIN { longest } else { 0 }
    }

    fn begins_a_form(&self, start: &str) -> bool {
        let at = self.forms.partition_point(|form| form.as_str() <= start);
        self.forms.get(at).is_some_and(|form| form.starts_with(start))
    }
}

/// Returns the places of sorted forms that have the same beginning.
fn alike(forms: &[String]) -> Vec<Range<usize>> {
    let mut end = 0;
    let groups = forms.chunk_by(|a, b| beginning(a) == beginning(b));
    groups
        .map(|group| {
            let start = end;
            end += group.len();
            start..end
        })
        .collect()
}

fn beginning(form: &str) -> &[u8] {
    &form.as_bytes()[..form.len().min(BEGINNING_BYTES)]
}

#[cfg(test)]
#[path = "masker/tests.rs"]
mod tests;
