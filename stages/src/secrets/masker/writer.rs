//! An output that shows no secret, however its lines are cut.
//!
//! **Invariant:** a line leaves only when nothing that may still come can turn it into a part of a secret.

use std::fmt;

use landfall_engine::core::event::OutputRef;
use landfall_engine::ports::{BoxError, OutputWriter};

use super::{MASK, Masker};

/// A line at least this long may have been cut by a reader's limit, perhaps inside a secret.
pub(super) const CUT_LINE_BYTES: usize = 4_096;

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
        if self.masker.is_empty() {
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
