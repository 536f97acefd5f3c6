//! What is wrong with a configuration, shown where it is wrong.

use std::fmt;
use std::ops::Range;

/// A quoted line is cut here: it is there to be recognized.
const QUOTED_CHARS_MAX: usize = 120;
/// Ten problems are enough for one round of mending.
const SHOWN_MAX: usize = 10;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes. None: it is about the file as a whole.
    pub at: Option<Range<usize>>,
    /// What was expected, and what was found.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The place may hold a secret, and is not quoted.
    pub hidden: bool,
}

impl Problem {
    /// Returns a problem at a place.
    pub(super) fn at(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at: Some(at), message: message.into(), help: None, hidden: false }
    }

    /// Returns a problem of the file as a whole.
    pub(super) fn of_file(message: impl Into<String>) -> Self {
        Self { at: None, message: message.into(), help: None, hidden: false }
    }

    /// Returns what the TOML parser said.
    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let quoted = error.span().map(|at| Place::of(text, &at).quoted.to_ascii_lowercase());
        let telling = ["password", "secret", "slack:", "discord:", "teams:", "webhook:"];
        let tells = |line: String| telling.iter().any(|word| line.contains(word));
        Self { at: error.span(), message, help: None, hidden: quoted.is_some_and(tells) }
    }

    /// Adds what to do.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Keeps the place from being quoted.
    pub(super) fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// Every problem of one file. The first line of its text says the first problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, from the app's root.
    pub file: String,
    /// The problems, in the order of their places.
    pub problems: Vec<Problem>,
    text: String,
}

impl ConfigError {
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at.as_ref().map_or(0, |at| at.start));
        let line = |problem: &Problem| problem.at.as_ref().map(|at| Place::of(text, at).line);
        let hidden: Vec<_> = problems.iter().filter(|problem| problem.hidden).filter_map(line).collect();
        for problem in &mut problems {
            problem.hidden |= line(problem).is_some_and(|line| hidden.contains(&line));
        }
        Self { file: file.to_owned(), problems, text: text.to_owned() }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.problems.iter().take(SHOWN_MAX).enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            self.show(problem, f)?;
        }
        match self.problems.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n{}: {more} more", self.file),
        }
    }
}

impl ConfigError {
    fn show(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &problem.at {
            None => write!(f, "{}: {}", self.file, problem.message)?,
            Some(at) => {
                let place = Place::of(&self.text, at);
                write!(f, "{}:{}:{}: {}", self.file, place.line, place.column, problem.message)?;
                place.quote(problem.hidden, f)?;
            }
        }
        problem.help.iter().try_for_each(|help| write!(f, "\n  {help}"))
    }
}

/// A place as people count: lines and characters from 1.
struct Place<'a> {
    line: usize,
    column: usize,
    quoted: &'a str,
    width: usize,
}

impl<'a> Place<'a> {
    fn of(text: &'a str, at: &Range<usize>) -> Self {
        let start = floor_boundary(text, at.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let quoted = text[line_start..].lines().next().unwrap_or("");
        let line_end = line_start + quoted.len();
        let marked =
            &text[start.min(line_end)..floor_boundary(text, at.end).clamp(start, line_end.max(start))];
        Self {
            line: 1 + text[..start].matches('\n').count(),
            column: 1 + text[line_start..start].chars().count(),
            quoted,
            width: marked.chars().count().max(1),
        }
    }

    fn quote(&self, hidden: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, quoted, width } = *self;
        if column + width > QUOTED_CHARS_MAX {
            return Ok(());
        }
        let plain = |char: char| if char.is_control() { ' ' } else { char };
        let mut shown: String = quoted.chars().map(plain).take(QUOTED_CHARS_MAX).collect();
        let mut width = width;
        if hidden {
            // Not even its length is shown, and nothing of a line that may go on with it.
            let before = shown.find(['"', '\'']).map_or(column - 1, |at| shown[..at].chars().count());
            shown = shown.chars().take(before.min(column - 1)).chain(['…']).collect();
            width = 1;
        }
        let indent = (column - 1).min(shown.chars().count().saturating_sub(usize::from(hidden)));
        write!(f, "\n{line:>5} | {}\n      | {}{}", shown.trim_end(), " ".repeat(indent), "^".repeat(width))
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
