//! Output as lines: what a program prints comes in pieces, and people read lines.
//!
//! One [`LineBuffer`] a stream, so that stdout and stderr never meet inside a line; one [`Tail`] for the last
//! lines, which end in an event and are bounded for that.

use std::collections::VecDeque;

/// The longest line that is kept whole; what is longer goes on in the next one. Masking, terminals and
/// browsers all take lines whole.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// How many last lines a failure carries: a screen.
const TAIL_LINES: usize = 30;

/// What the tail's lines may weigh together. An event holds 64 KiB at most, and JSON escapes some bytes sixfold.
const TAIL_BYTES_MAX: usize = 6 * 1024;

/// What one line of the tail may weigh.
const TAIL_LINE_BYTES_MAX: usize = 500;

/// Collects the pieces of one stream into lines.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    pending: Vec<u8>,
}

impl LineBuffer {
    /// Takes a piece and gives out each line that it completes, without its end.
    pub(crate) fn push(&mut self, piece: &[u8], mut line: impl FnMut(&str)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.ends_with(b"\n");
            self.pending.extend_from_slice(part.strip_suffix(b"\n").unwrap_or(part));
            while self.pending.len() > LINE_BYTES_MAX {
                let rest = self.pending.split_off(char_start(&self.pending, LINE_BYTES_MAX));
                let full = std::mem::replace(&mut self.pending, rest);
                line(&String::from_utf8_lossy(&full));
            }
            if ends {
                self.give(&mut line);
            }
        }
    }

    /// Gives out what is left when the stream has ended without a line end.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            self.give(&mut line);
        }
    }

    fn give(&mut self, line: &mut impl FnMut(&str)) {
        let bytes = self.pending.strip_suffix(b"\r").unwrap_or(&self.pending);
        line(&String::from_utf8_lossy(bytes));
        self.pending.clear();
    }
}

/// Returns where the character that `at` is in begins, so that a cut spoils none.
fn char_start(bytes: &[u8], at: usize) -> usize {
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    (at.saturating_sub(3)..=at).rev().find(|at| !is_continuation(bytes[*at])).unwrap_or(at)
}

/// The last lines of some output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
}

impl Tail {
    /// Takes a line. Empty ones say nothing and are left out.
    pub(crate) fn push(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(clip(line, TAIL_LINE_BYTES_MAX));
    }

    /// Returns the last lines, as many as an event has room for.
    pub(crate) fn into_lines(self) -> Vec<String> {
        let mut room = TAIL_BYTES_MAX;
        let mut lines: Vec<String> = self
            .lines
            .into_iter()
            .rev()
            .take_while(|line| {
                let fits = line.len() <= room;
                room = room.saturating_sub(line.len());
                fits
            })
            .collect();
        lines.reverse();
        lines
    }
}

/// Returns a text of at most `bytes_max` bytes, with an ellipsis where it was longer.
pub(crate) fn clip(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[&[u8]], expected: &[&str]) {
        let (mut buffer, mut lines) = (LineBuffer::default(), Vec::new());
        for piece in pieces {
            buffer.push(piece, |line| lines.push(line.to_owned()));
        }
        buffer.finish(|line| lines.push(line.to_owned()));
        assert_eq!(lines, expected);
    }

    #[test]
    fn pieces_become_lines_wherever_they_were_cut() {
        check(&[b"one\ntw", b"o\r\n", b"\n", b"three"], &["one", "two", "", "three"]);
        check(&[b"gr\xc3", b"\xbcn\n"], &["grün"]);
        check(&[b"broken \xff\n"], &["broken \u{fffd}"]);
        check(&[], &[]);
    }

    #[test]
    fn a_very_long_line_goes_on_in_the_next_without_a_broken_character() {
        let long = "ü".repeat(LINE_BYTES_MAX);
        let (mut buffer, mut lines) = (LineBuffer::default(), Vec::new());
        for piece in long.as_bytes().chunks(1_001) {
            buffer.push(piece, |line| lines.push(line.to_owned()));
        }
        buffer.finish(|line| lines.push(line.to_owned()));
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= LINE_BYTES_MAX));
        assert_eq!(lines.concat(), long);
    }

    #[test]
    fn the_tail_keeps_the_last_lines_and_fits_into_an_event() {
        let mut tail = Tail::default();
        (0..100).for_each(|n| tail.push(&format!("line {n}")));
        tail.push("  ");
        let lines = tail.into_lines();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines.last().map(String::as_str), Some("line 99"));

        let mut tail = Tail::default();
        (0..100).for_each(|_| tail.push(&"ü".repeat(10_000)));
        let weight: usize = tail.into_lines().iter().map(String::len).sum();
        assert!(weight <= TAIL_BYTES_MAX && weight > TAIL_BYTES_MAX / 2, "{weight}");
    }

    #[test]
    fn a_clipped_text_says_so_and_keeps_its_characters_whole() {
        assert_eq!(clip("short", 10), "short");
        assert_eq!(clip("grüne Tests", 7), "grü…");
    }
}
