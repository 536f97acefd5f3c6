//! Text as a terminal sees it: how wide it is, where it is cut, and in which tone it is said.

use owo_colors::OwoColorize;

/// How a piece of text is said. Colour only underlines what the words and marks say already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// What the eye should find first.
    Strong,
    /// What may be overlooked.
    Dim,
    /// Green.
    Good,
    /// Red.
    Bad,
    /// Neither: it waits, or it was undone.
    Warn,
}

/// A line in pieces of different tone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Tone, String)>);

impl Line {
    /// Returns a line in one tone.
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self::default().and(tone, text)
    }

    /// Adds a piece.
    #[must_use]
    pub fn and(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.0.push((tone, text.into()));
        self
    }

    /// Returns the line cut to a width in columns, with `…` where something is missing.
    #[must_use]
    pub fn cut(self, width: usize) -> Self {
        let whole: usize = self.0.iter().map(|(_, text)| width_of(text)).sum();
        if whole <= width {
            return self;
        }
        let mut left = width.saturating_sub(1);
        let mut pieces = Vec::new();
        for (tone, text) in self.0 {
            let kept = take_columns(&text, left);
            left -= width_of(kept);
            let is_whole = kept.len() == text.len();
            pieces.push((tone, kept.to_owned()));
            if !is_whole {
                break;
            }
        }
        if width > 0 {
            pieces.push((Tone::Dim, "…".into()));
        }
        Self(pieces)
    }

    /// Returns the line as text, in colour or not.
    pub fn paint(&self, colour: bool) -> String {
        let mut text: String = self.0.iter().map(|(tone, text)| paint(*tone, text, colour)).collect();
        if !colour {
            text.truncate(text.trim_end().len());
        }
        text
    }
}

fn paint(tone: Tone, text: &str, colour: bool) -> String {
    match tone {
        _ if !colour || text.trim().is_empty() => text.to_owned(),
        Tone::Plain => text.to_owned(),
        Tone::Strong => text.bold().to_string(),
        Tone::Dim => text.dimmed().to_string(),
        Tone::Good => text.green().to_string(),
        Tone::Bad => text.red().to_string(),
        Tone::Warn => text.yellow().to_string(),
    }
}

/// Returns a line of foreign output without what would move the cursor: escapes, control characters.
pub fn harmless(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => skip_escape(&mut chars),
            '\t' => plain.push_str("  "),
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain
}

fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        // CSI: parameters, then one final byte.
        Some('[') => while chars.next().is_some_and(|char| !('@'..='~').contains(&char)) {},
        // OSC: up to BEL or ST.
        Some(']') => {
            while let Some(char) = chars.next() {
                if char == '\u{7}' || (char == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// Returns how many columns a text takes.
pub fn width_of(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn take_columns(text: &str, width: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, char)| {
        used += columns(*char);
        used > width
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// The blocks that terminals draw two columns wide or not at all. Being wrong here costs a wrapped line.
const fn columns(char: char) -> usize {
    match char as u32 {
        0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1F64F
        | 0x1F680..=0x1F6FF
        | 0x1F900..=0x1F9FF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_width_and_says_so() {
        let line = || Line::new(Tone::Plain, "abc").and(Tone::Dim, "defgh");
        assert_eq!(line().cut(8).paint(false), "abcdefgh");
        assert_eq!(line().cut(6).paint(false), "abcde…");
        assert_eq!(line().cut(3).paint(false), "ab…");
        assert_eq!(line().cut(1).paint(false), "…");
        assert_eq!(line().cut(0).paint(false), "");
    }

    #[test]
    fn wide_characters_count_twice_and_are_never_halved() {
        assert_eq!(width_of("日本"), 4);
        assert_eq!(Line::new(Tone::Plain, "日本語").cut(4).paint(false), "日…");
    }

    #[test]
    fn foreign_output_cannot_move_the_cursor() {
        assert_eq!(harmless("\u{1b}[32mok\u{1b}[0m\r"), "ok");
        assert_eq!(harmless("a\u{1b}]0;title\u{7}b\tc"), "ab  c");
        assert_eq!(harmless("\u{1b}]8;;x\u{1b}\\link"), "link");
        assert_eq!(harmless("cut off \u{1b}[3"), "cut off ");
    }

    #[test]
    fn without_colour_there_is_not_one_escape() {
        let line = Line::new(Tone::Good, "✓").and(Tone::Bad, "✗");
        assert_eq!(line.paint(false), "✓✗");
        assert!(line.paint(true).contains('\u{1b}'));
    }
}
