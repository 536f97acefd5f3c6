//! One table of the configuration. It learns its keys by being asked for them, so that the list of
//! accepted keys in a message can't differ from what is read.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::problem::Problem;

/// A value with its place.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;
/// What reads a value: it, or what is wrong with it.
pub(super) type Read<T> = Result<T, Problem>;

/// Problems, collected while the sections are read.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    pub(super) fn take(&self) -> Vec<Problem> {
        self.0.take()
    }
}

/// A table that is being read; [`Section::end`] reports the keys that nobody asked for.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// As it is written between brackets; empty at the top of the file.
    path: String,
    /// Its place in a `[[list]]`, from 1.
    nth: Option<usize>,
    at: Option<Range<usize>>,
    table: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
    /// Keys that people name, each with a table below it.
    named: Vec<&'a str>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    pub(super) fn top(table: &'a DeTable<'a>, problems: &'a Problems) -> Self {
        Self {
            path: String::new(),
            nth: None,
            at: None,
            table: Some(table),
            asked: vec![],
            named: vec![],
            problems,
        }
    }

    /// Returns the table below a key; an empty one when there is none.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let value = self.get(key);
        self.below(key, None, value)
    }

    /// Returns the tables of a `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.report(key, mismatch(&format!("tables headed [[{}]]", self.path_of(key)), value));
            return Vec::new();
        };
        array.iter().enumerate().map(|(nth, value)| self.below(key, Some(nth + 1), Some(value))).collect()
    }

    /// Returns the tables below all keys that nobody asked for, with their names.
    pub(super) fn named_sections(&mut self) -> Vec<(&'a str, Self)> {
        let Some(table) = self.table else { return Vec::new() };
        let is_named =
            |key: &str, value: &Value<'_>| value.get_ref().as_table().is_some() && !self.asked.contains(&key);
        let named: Vec<_> = table.iter().filter(|(key, value)| is_named(key.get_ref(), value)).collect();
        self.named = named.iter().map(|(key, _)| &**key.get_ref()).collect();
        named
            .into_iter()
            .map(|(key, value)| (&**key.get_ref(), self.below(key.get_ref(), None, Some(value))))
            .collect()
    }

    fn below(&self, key: &str, nth: Option<usize>, value: Option<&'a Value<'a>>) -> Self {
        let table = value.and_then(|value| value.get_ref().as_table());
        let at = value.map(Spanned::span);
        let section = Self {
            path: self.path_of(key),
            nth,
            at,
            table,
            asked: vec![],
            named: vec![],
            problems: self.problems,
        };
        if let (Some(value), None) = (value, table) {
            self.report(key, mismatch(&format!("a table headed {}", section.title()), value));
        }
        section
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Tells whether the table is there at all.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Returns the place of the table, if it is there.
    pub(super) fn place(&self) -> Option<Range<usize>> {
        self.at.clone()
    }

    /// Returns the place of a key, if it is there.
    pub(super) fn place_of(&self, key: &str) -> Option<Range<usize>> {
        self.table?.get_key_value(key).map(|(key, _)| key.span())
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        self.asked.push(key);
        self.table?.get(key)
    }

    /// Returns what is read from the value of a key.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'a Value<'a>) -> Read<T>,
    ) -> Option<T> {
        match read(self.get(key)?) {
            Ok(found) => Some(found),
            Err(problem) => {
                self.report(key, problem);
                None
            }
        }
    }

    /// Puts what is read from the value of a key in the place of its default.
    pub(super) fn set<T>(
        &mut self,
        key: &'static str,
        slot: &mut T,
        read: impl FnOnce(&'a Value<'a>) -> Read<T>,
    ) {
        if let Some(found) = self.read(key, read) {
            *slot = found;
        }
    }

    /// Reports a problem of a key.
    pub(super) fn report(&self, key: &str, mut problem: Problem) {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{key} in {}", self.title()) };
        problem.message = format!("{path}: {}", problem.message);
        self.problems.add(problem);
    }

    /// Reports a problem of the table as a whole.
    pub(super) fn complain(&self, problem: Problem) {
        self.problems.add(problem);
    }

    /// Returns the table as people write it.
    pub(super) fn title(&self) -> String {
        match self.nth {
            Some(nth) => format!("[[{}]] no. {nth}", self.path),
            None => format!("[{}]", self.path),
        }
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn end(self) {
        let Some(table) = self.table else { return };
        let is_known = |key: &str| self.asked.contains(&key) || self.named.contains(&key);
        for (key, _) in table.iter().filter(|(key, _)| !is_known(key.get_ref())) {
            let name = key.get_ref();
            let (place, owner) = if self.path.is_empty() {
                (String::new(), "the file".to_owned())
            } else {
                (format!(" in {}", self.title()), self.title())
            };
            let message = format!("unknown key `{name}`{place}");
            let accepted = format!("{owner} takes: {}", self.asked.join(", "));
            let help = match nearest(name, &self.asked) {
                Some(near) => format!("did you mean `{near}`? {accepted}"),
                None => accepted,
            };
            self.problems.add(Problem::at(key.span(), message).help(help));
        }
    }
}

/// Returns the known word that somebody probably meant.
pub(crate) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let distance = |known: &str| strsim::damerau_levenshtein(&word.to_lowercase().replace('-', "_"), known);
    let best = known.iter().map(|known| (distance(known), *known)).min()?;
    (best.0 <= word.chars().count().div_ceil(3)).then_some(best.1)
}

/// Returns the problem of a value that is of another kind.
pub(super) fn mismatch(expected: &str, value: &Value<'_>) -> Problem {
    Problem::at(value.span(), format!("expected {expected}, found {}", found(value.get_ref())))
}

/// Says what a value is.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("{:?}", text.as_ref()),
        DeValue::String(_) => "a long text".into(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => format!("the date {value}"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
