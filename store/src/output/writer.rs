//! Writes the output of one attempt: collects lines, hashes them, and lets followers look on.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
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

/// Lines are written when this many bytes are collected.
const COLLECT_BYTES: usize = 64 * 1024;

/// Lines are written when the last write is this long ago: a crash loses no more than the newest.
const COLLECT_FOR: Duration = Duration::from_millis(100);

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
    /// True once the disk refused: the rest is dropped, and the output never counts as whole.
    is_broken: bool,
    finished: Option<OutputRef>,
}

/// How much an attempt may print.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    /// Once it is in use, what is left of the disk is for the log alone.
    pub(super) reserve: Option<Arc<Reserve>>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes_max: Options::default().output_bytes_max, reserve: None }
    }
}

/// What was printed beyond the bounds.
#[derive(Clone, Copy, Debug, Default)]
struct Dropped {
    lines: u64,
    bytes: u64,
}

/// Takes the output of an attempt that began on a full disk.
#[derive(Debug)]
pub(super) struct Nowhere;

impl OutputWriter for Nowhere {
    fn line(&mut self, _: &str) -> Result<(), BoxError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        Err("the disk was full when the attempt began, so nothing of what it printed was kept".into())
    }
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
        let len = {
            let mut pen = locked(&self.live.pen);
            pen.line(text)?;
            pen.len
        };
        self.live.progress.send_replace(Progress { len, done: false });
        Ok(())
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
            is_broken: false,
            finished: None,
        };
        Ok(Self { pen: Mutex::new(pen), progress: watch::channel(Progress::default()).0 })
    }

    /// Writes what is collected, and lets followers end.
    fn end(&self) {
        let mut pen = locked(&self.pen);
        if let Err(error) = pen.write_end() {
            tracing::warn!(%error, "the last lines of an output could not be written");
        }
        self.progress.send_replace(Progress { len: pen.written(), done: true });
    }
}

impl Pen {
    fn line(&mut self, text: &str) -> io::Result<()> {
        if self.finished.is_some() {
            return Err(io::Error::other("the output is finished and takes no more lines"));
        }
        if self.is_broken {
            // Said once; a stage that prints a million lines is no reason to say it a million times.
            return Ok(());
        }
        let bytes = text.len() as u64 + 1;
        // What comes later is dropped too, however short it is: an output with a hole in it misleads.
        if self.dropped.lines > 0 || self.len + bytes > self.bounds.bytes_max {
            self.dropped = Dropped { lines: self.dropped.lines + 1, bytes: self.dropped.bytes + bytes };
            return Ok(());
        }
        self.collect(text);
        if self.collected.len() >= COLLECT_BYTES || self.written_at.elapsed() >= COLLECT_FOR {
            self.write_out()?;
        }
        Ok(())
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
        let Dropped { lines, bytes } = std::mem::take(&mut self.dropped);
        if lines > 0 && !self.is_broken {
            let max = self.bounds.bytes_max;
            self.collect(&format!(
                "landfall: the rest was dropped ({lines} {}, {bytes} bytes): an attempt may print {max} bytes",
                if lines == 1 { "line" } else { "lines" }
            ));
        }
        self.write_out()
    }

    /// Writes what is collected.
    pub(super) fn write_out(&mut self) -> io::Result<()> {
        if self.collected.is_empty() {
            return Ok(());
        }
        let outcome = match self.bounds.reserve.as_ref().is_some_and(|reserve| reserve.is_in_use()) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.file.write_all(&self.collected),
        };
        self.collected.clear();
        self.written_at = Instant::now();
        self.is_broken |= outcome.is_err();
        outcome
    }

    /// Returns how much of it can be read.
    fn written(&self) -> u64 {
        if self.is_broken { self.file.metadata().map_or(0, |metadata| metadata.len()) } else { self.len }
    }

    fn finish(&mut self, path: &Path) -> io::Result<OutputRef> {
        if let Some(finished) = &self.finished {
            return Ok(finished.clone());
        }
        self.write_end()?;
        if self.is_broken {
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
