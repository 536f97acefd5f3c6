//! Writes the output of one attempt: collects lines, hashes them, and lets followers look on.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use landfall_engine::core::event::{EventHash, OutputRef};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{BoxError, OutputWriter};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::locked;
use crate::data_dir::Options;
use crate::disk::sync_folder;
use crate::reserve::Reserve;
use crate::segment::tail::is_full;

/// Lines are written when this many bytes are collected.
const COLLECT_BYTES: usize = 64 * 1024;

/// Lines are written when the last write is this long ago: a crash loses no more than the newest.
const COLLECT_FOR: Duration = Duration::from_millis(100);

/// An output that found the disk full asks for room again after so many bytes that it could not keep: some fifty lines.
pub(super) const ASK_AGAIN_BYTES: u64 = 4 * 1024;

/// Run, name and attempt.
pub(super) type Key = (RunId, String, u32);

/// The outputs that this process writes.
pub(super) type LiveOutputs = HashMap<Key, Arc<Live>>;

/// An output that is being written.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) pen: Mutex<Pen>,
    pub(super) progress: watch::Sender<Progress>,
}

/// How far an output got.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Progress {
    pub(super) len: u64,
    pub(super) done: bool,
}

/// The file of an output, and what is still to be written to it.
#[derive(Debug)]
pub(super) struct Pen {
    pub(super) file: File,
    /// Lines that are not written yet.
    collected: Vec<u8>,
    /// Length of all lines, written or not.
    len: u64,
    hash: Sha256,
    written_at: Instant,
    bounds: Bounds,
    dropped: Dropped,
    /// What the disk had no room for, and no line in the file says so yet.
    missing: Dropped,
    /// How much at the beginning of what is collected says what is missing, and was printed by nobody.
    notice_len: usize,
    standing: Standing,
    /// True once the disk refused: the output never counts as whole.
    has_hole: bool,
    finished: Option<OutputRef>,
}

/// How much an attempt may print.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    /// While it is in use, what is left of the disk is for the log alone.
    pub(super) reserve: Option<Arc<Reserve>>,
}

impl Bounds {
    fn let_print(&self) -> bool {
        self.reserve.as_ref().is_none_or(Reserve::lets_print)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes_max: Options::default().output_bytes_max, reserve: None }
    }
}

/// What was printed and not kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dropped {
    lines: u64,
    pub(super) bytes: u64,
}

impl Dropped {
    pub(super) const fn count(&mut self, lines: u64, bytes: u64) {
        self.lines += lines;
        self.bytes += bytes;
    }

    fn in_words(self) -> String {
        let Self { lines, bytes } = self;
        format!("{lines} {}, {bytes} bytes", if lines == 1 { "line" } else { "lines" })
    }
}

/// How the disk takes what is printed.
#[derive(Clone, Copy, Debug)]
enum Standing {
    Writing,
    /// It had no room for this. Once it has, the output goes on behind a line that says so.
    Full {
        /// How many bytes were missing when room was last asked for.
        asked_at: u64,
    },
    /// It failed otherwise; the rest is dropped.
    Broken,
}

/// The writer of one output.
#[derive(Debug)]
pub(super) struct Writer {
    live: Arc<Live>,
    path: PathBuf,
    key: Key,
    others: Arc<Mutex<LiveOutputs>>,
}

impl OutputWriter for Writer {
    fn line(&mut self, text: &str) -> Result<(), BoxError> {
        let mut pen = locked(&self.live.pen);
        let outcome = pen.line(text);
        self.live.tell(&pen);
        Ok(outcome?)
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        let whole = locked(&self.live.pen).finish(&self.path);
        self.leave();
        Ok(whole?)
    }
}

impl Writer {
    /// Starts an output in a new file, where readers in this process find it.
    pub(super) fn create(
        path: PathBuf,
        key: Key,
        bounds: Bounds,
        others: Arc<Mutex<LiveOutputs>>,
    ) -> io::Result<Self> {
        let live = Arc::new(Live::create(&path, bounds)?);
        if let Some(former) = locked(&others).insert(key.clone(), Arc::clone(&live)) {
            former.end();
        }
        Ok(Self { live, path, key, others })
    }

    /// Begins behind what was printed before there was room for the file.
    pub(super) fn miss(&self, missing: Dropped) {
        locked(&self.live.pen).miss(missing);
    }

    fn leave(&self) {
        let mut others = locked(&self.others);
        if others.get(&self.key).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            others.remove(&self.key);
        }
        drop(others);
        self.live.end();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Live {
    /// Starts an output in a new file.
    fn create(path: &Path, bounds: Bounds) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create_new(true).open(path)?;
        let pen = Pen {
            file,
            collected: Vec::new(),
            len: 0,
            hash: Sha256::new(),
            written_at: Instant::now(),
            bounds,
            dropped: Dropped::default(),
            missing: Dropped::default(),
            notice_len: 0,
            standing: Standing::Writing,
            has_hole: false,
            finished: None,
        };
        Ok(Self { pen: Mutex::new(pen), progress: watch::channel(Progress::default()).0 })
    }

    /// Writes what is collected, for somebody who wants to read. What the disk refuses is no reason to refuse what is
    /// there; the output itself says what is missing.
    pub(super) fn bring_up_to_date(&self) {
        let mut pen = locked(&self.pen);
        if let Err(error) = pen.write_out() {
            tracing::warn!(%error, "lines of an output could not be written");
        }
        self.tell(&pen);
    }

    /// Tells followers how long it is: longer, or shorter where the disk refused. Told while the pen is held, so that
    /// the last word is the newest.
    fn tell(&self, pen: &Pen) {
        self.progress.send_modify(|progress| progress.len = pen.len);
    }

    /// Writes what is collected, and lets followers end.
    fn end(&self) {
        let mut pen = locked(&self.pen);
        if let Err(error) = pen.write_end() {
            tracing::warn!(%error, "the last lines of an output could not be written");
        }
        self.progress.send_replace(Progress { len: pen.len, done: true });
    }
}

impl Pen {
    fn line(&mut self, text: &str) -> io::Result<()> {
        if self.finished.is_some() {
            return Err(io::Error::other("the output is finished and takes no more lines"));
        }
        let bytes = text.len() as u64 + 1;
        if !self.goes_on_with(bytes) {
            // Said once; a stage that prints a million lines is no reason to say it a million times.
            return Ok(());
        }
        // What comes later is dropped too, however short it is: an output with a hole in it misleads.
        if self.dropped.lines > 0 || self.len + bytes > self.bounds.bytes_max {
            self.dropped.count(1, bytes);
            return Ok(());
        }
        self.collect(text);
        if self.collected.len() >= COLLECT_BYTES || self.written_at.elapsed() >= COLLECT_FOR {
            self.write_out()?;
        }
        Ok(())
    }

    /// Tells whether the disk takes a line of so many bytes. Where it was full, it is asked for room now and then.
    fn goes_on_with(&mut self, bytes: u64) -> bool {
        let Standing::Full { asked_at } = self.standing else {
            return matches!(self.standing, Standing::Writing);
        };
        let asks = self.missing.bytes + bytes >= asked_at + ASK_AGAIN_BYTES;
        if asks && self.go_on_after_full() {
            return true;
        }
        self.missing.count(1, bytes);
        if asks {
            self.standing = Standing::Full { asked_at: self.missing.bytes };
        }
        false
    }

    fn miss(&mut self, missing: Dropped) {
        if missing.lines > 0 {
            self.missing = missing;
            self.has_hole = true;
            // Nothing was asked for yet.
            self.standing = Standing::Full { asked_at: 0 };
        }
    }

    /// Goes on where the disk was full and has room again: first with a line about what is missing.
    fn go_on_after_full(&mut self) -> bool {
        if !matches!(self.standing, Standing::Full { .. }) || !self.bounds.let_print() {
            return false;
        }
        self.standing = Standing::Writing;
        if self.ends_within_a_line() {
            self.collect("");
        }
        self.collect(&format!("landfall: the disk was full: {} are missing here", self.missing.in_words()));
        self.notice_len = self.collected.len();
        true
    }

    fn ends_within_a_line(&self) -> bool {
        let mut last = [0];
        self.len > 0
            && self.file.read_at(&mut last, self.len - 1).is_ok_and(|read| read == 1 && last != *b"\n")
    }

    fn collect(&mut self, text: &str) {
        for part in [text.as_bytes(), b"\n"] {
            self.hash.update(part);
            self.collected.extend_from_slice(part);
            self.len += part.len() as u64;
        }
    }

    /// Writes what is collected, and how much was dropped.
    fn write_end(&mut self) -> io::Result<()> {
        self.go_on_after_full();
        let dropped = std::mem::take(&mut self.dropped);
        if dropped.lines > 0 && matches!(self.standing, Standing::Writing) {
            let max = self.bounds.bytes_max;
            let dropped = dropped.in_words();
            self.collect(&format!(
                "landfall: the rest was dropped ({dropped}): an attempt may print {max} bytes"
            ));
        }
        self.write_out()
    }

    /// Writes what is collected.
    pub(super) fn write_out(&mut self) -> io::Result<()> {
        if self.collected.is_empty() {
            return Ok(());
        }
        let outcome = match self.bounds.let_print() {
            true => self.file.write_all(&self.collected),
            false => Err(io::ErrorKind::StorageFull.into()),
        };
        match &outcome {
            Ok(()) if self.notice_len > 0 => self.missing = Dropped::default(),
            Ok(()) => {}
            Err(error) => self.lose_what_is_collected(is_full(error)),
        }
        self.collected.clear();
        self.notice_len = 0;
        self.written_at = Instant::now();
        outcome
    }

    fn lose_what_is_collected(&mut self, is_full: bool) {
        let before = self.len - self.collected.len() as u64;
        // A part of it may have found room.
        self.len = self.file.metadata().map_or(before, |metadata| metadata.len());
        self.has_hole = true;
        if !is_full {
            self.standing = Standing::Broken;
            return;
        }
        let written = usize::try_from(self.len.saturating_sub(before)).unwrap_or(usize::MAX);
        if self.notice_len > 0 && written >= self.notice_len {
            self.missing = Dropped::default();
        }
        let lost = self.collected.get(written.max(self.notice_len)..).unwrap_or_default();
        let lines = lost.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.missing.count(lines, lost.len() as u64);
        self.standing = Standing::Full { asked_at: self.missing.bytes };
    }

    fn finish(&mut self, path: &Path) -> io::Result<OutputRef> {
        if let Some(finished) = &self.finished {
            return Ok(finished.clone());
        }
        self.write_end()?;
        if self.has_hole {
            return Err(io::Error::other("the disk refused some of the lines"));
        }
        self.file.sync_data()?;
        // The file's name, and the name of its folder.
        path.ancestors().skip(1).take(2).try_for_each(sync_folder)?;
        let hash: [u8; 32] = self.hash.clone().finalize().into();
        let whole = OutputRef { len: self.len, sha256: EventHash(hash).to_string() };
        self.finished = Some(whole.clone());
        Ok(whole)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
