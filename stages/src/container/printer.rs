//! What a container prints, as lines for people; and what it prints for us, kept apart.

use bollard::container::LogOutput;
use bollard::errors::Error;
use futures_util::{Stream, StreamExt};

use crate::docker;
use crate::lines::{LineBuffer, Tail};

/// A line after which nothing is for people any more.
pub(super) const MARK: &str = "\u{2}landfall\u{2}";

/// How a shell prints the mark: on a line of its own, whatever was printed before.
pub(crate) const SEND_MARK: &str = r"printf '\n\002landfall\002\n'";

/// Turns the pieces of two streams into lines, and keeps the last ones.
#[derive(Default)]
pub(super) struct Printer {
    stdout: LineBuffer,
    stderr: LineBuffer,
    lines: Lines,
}

/// What was printed so far.
#[derive(Default)]
struct Lines {
    tail: Tail,
    marked: Option<String>,
    /// An empty line that is held back: the one before the mark is part of it.
    blank: bool,
}

impl Printer {
    /// Takes a stream to its end.
    pub(super) async fn print(
        &mut self,
        stream: impl Stream<Item = Result<LogOutput, Error>>,
        print: &impl Fn(&str),
    ) {
        let mut stream = std::pin::pin!(stream);
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => self.take(piece, print),
                Err(error) => {
                    print(&docker::explain("(the output breaks off here)", &error));
                    return;
                }
            }
        }
    }

    /// Takes a piece.
    pub(super) fn take(&mut self, piece: LogOutput, print: &impl Fn(&str)) {
        let (buffer, message) = match &piece {
            LogOutput::StdErr { message } => (&mut self.stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                (&mut self.stdout, message)
            }
        };
        buffer.push(message, |line| self.lines.take(line, print));
    }

    /// Prints what has no line end.
    pub(super) fn finish(&mut self, print: &impl Fn(&str)) {
        for buffer in [&mut self.stdout, &mut self.stderr] {
            buffer.finish(|line| self.lines.take(line, print));
        }
        self.lines.release_blank(print);
    }

    /// Returns the last lines, and what came after the mark.
    pub(super) fn into_parts(self) -> (Vec<String>, Option<String>) {
        (self.lines.tail.into_lines(), self.lines.marked)
    }
}

impl Lines {
    fn take(&mut self, line: &str, print: &impl Fn(&str)) {
        if let Some(marked) = &mut self.marked {
            marked.push_str(line);
        } else if line == MARK {
            self.blank = false;
            self.marked = Some(String::new());
        } else {
            self.release_blank(print);
            if line.is_empty() {
                self.blank = true;
            } else {
                print(line);
                self.tail.push(line);
            }
        }
    }

    fn release_blank(&mut self, print: &impl Fn(&str)) {
        if std::mem::take(&mut self.blank) {
            print("");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[track_caller]
    fn check(pieces: &[&str], expected: &[&str], marked: Option<&str>) {
        let (mut printer, lines) = (Printer::default(), RefCell::new(Vec::new()));
        let print = |line: &str| lines.borrow_mut().push(line.to_owned());
        for piece in pieces {
            printer.take(LogOutput::StdOut { message: (*piece).to_owned().into() }, &print);
        }
        printer.finish(&print);
        assert_eq!(*lines.borrow(), expected);
        assert_eq!(printer.into_parts().1.as_deref(), marked);
    }

    #[test]
    fn what_comes_after_the_mark_is_not_printed() {
        check(&["one\n\ntwo\n\n\u{2}land", "fall\u{2}\nQUJ", "D\nRA"], &["one", "", "two"], Some("QUJDRA"));
        check(&["no end\n\u{2}landfall\u{2}\n"], &["no end"], Some(""));
    }

    #[test]
    fn without_a_mark_every_line_is_printed() {
        check(&["\n", "one\n\n"], &["", "one", ""], None);
        check(&["a \u{2}landfall\u{2}\n"], &["a \u{2}landfall\u{2}"], None);
    }
}
