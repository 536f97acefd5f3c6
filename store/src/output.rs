//! What stages print: a file an attempt, and its length and hash in the log.
//!
//! ```text
//! DATA/output/<run>/<name>-<attempt>.log
//! ```
//!
//! Lines are collected in memory and written when there are enough of them, when some time has passed, or when
//! somebody in this process wants to read them. Output is not an event: losing the last lines in a crash is
//! allowed, blocking a stage because somebody reads slowly is not.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream};
use landfall_engine::core::event::{EventHash, OutputRef};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{BoxError, OutputLog, OutputWriter};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::disk::sync_folder;

/// Lines are written when this many bytes are collected.
const COLLECT_BYTES: usize = 64 * 1024;

/// Lines are written when the last write is this long ago: a crash loses no more than the newest.
const COLLECT_FOR: Duration = Duration::from_millis(100);

/// How much a follower reads at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The outputs of a data folder.
#[derive(Debug)]
pub struct OutputDir {
    folder: PathBuf,
    live: Arc<Mutex<LiveOutputs>>,
}

/// Some whole lines of an output; one that is very long comes in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputChunk {
    /// The text, with line ends.
    pub text: String,
    /// The offset behind it: where to follow on after a hang-up.
    pub next: u64,
}

/// The output of an attempt, in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Of which stage, or whatever else printed it.
    pub name: String,
    /// Which try.
    pub attempt: u32,
    /// Its length so far, in bytes.
    pub len: u64,
    /// True while this process writes to it.
    pub live: bool,
}

type Key = (RunId, String, u32);
type LiveOutputs = HashMap<Key, Arc<Live>>;

/// An output that is being written.
#[derive(Debug)]
struct Live {
    pen: Mutex<Pen>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Progress {
    len: u64,
    done: bool,
}

#[derive(Debug)]
struct Pen {
    file: File,
    /// Lines that are not written yet.
    collected: Vec<u8>,
    /// Length of all lines, written or not.
    len: u64,
    hash: Sha256,
    written_at: Instant,
    /// True once the disk refused: the rest is dropped, and the output never counts as whole.
    is_broken: bool,
    finished: Option<OutputRef>,
}

impl OutputDir {
    /// Returns the outputs in a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), live: Arc::default() }
    }

    /// Returns the output of an attempt so far; None when there is none.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub async fn read(&self, run_id: RunId, name: &str, attempt: u32) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(run_id, name, attempt)?;
        let live = self.live_one(run_id, name, attempt);
        blocking(move || {
            if let Some(live) = live {
                locked(&live.pen).write_out()?;
            }
            found(fs::read(path))
        })
        .await
    }

    /// Returns the outputs of a run, by name and attempt.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub async fn list(&self, run_id: RunId) -> io::Result<Vec<OutputFile>> {
        let folder = self.run_folder(run_id);
        let lens: HashMap<(String, u32), u64> = locked(&self.live)
            .iter()
            .filter(|((run, ..), _)| *run == run_id)
            .map(|((_, name, attempt), live)| ((name.clone(), *attempt), live.progress.borrow().len))
            .collect();
        blocking(move || {
            let Some(entries) = found(fs::read_dir(folder))? else { return Ok(Vec::new()) };
            let mut files = Vec::new();
            for entry in entries {
                let entry = entry?;
                let Some((name, attempt)) = entry.file_name().to_str().and_then(parse) else { continue };
                let live = lens.get(&(name.clone(), attempt)).copied();
                let len = live.map_or_else(|| entry.metadata().map(|metadata| metadata.len()), Ok)?;
                files.push(OutputFile { name, attempt, len, live: live.is_some() });
            }
            files.sort_unstable_by(|a, b| (&a.name, a.attempt).cmp(&(&b.name, b.attempt)));
            Ok(files)
        })
        .await
    }

    /// Follows the output of an attempt from an offset on: what is there, then what comes, until the writer
    /// is done. Where nobody in this process writes, it ends with the file; where there is none, at once.
    pub fn follow(
        &self,
        run_id: RunId,
        name: &str,
        attempt: u32,
        offset: u64,
    ) -> BoxStream<'static, io::Result<OutputChunk>> {
        let follower = match self.follower(run_id, name, attempt, offset) {
            Ok(Some(follower)) => follower,
            Ok(None) => return Box::pin(stream::empty()),
            Err(error) => return Box::pin(stream::iter([Err(error)])),
        };
        Box::pin(stream::unfold(Some(follower), |follower| async move {
            match follower?.next().await {
                Ok(next) => next.map(|(chunk, follower)| (Ok(chunk), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    fn follower(&self, run: RunId, name: &str, attempt: u32, offset: u64) -> io::Result<Option<Follower>> {
        let path = self.path(run, name, attempt)?;
        if let Some(live) = self.live_one(run, name, attempt) {
            let file = locked(&live.pen).file.try_clone()?;
            let progress = Some(live.progress.subscribe());
            return Ok(Some(Follower { file, live: Some(live), progress, offset }));
        }
        let file = found(File::open(path))?;
        Ok(file.map(|file| Follower { file, live: None, progress: None, offset }))
    }

    fn live_one(&self, run_id: RunId, name: &str, attempt: u32) -> Option<Arc<Live>> {
        locked(&self.live).get(&(run_id, name.to_owned(), attempt)).cloned()
    }

    fn run_folder(&self, run_id: RunId) -> PathBuf {
        self.folder.join(run_id.to_string())
    }

    fn path(&self, run_id: RunId, name: &str, attempt: u32) -> io::Result<PathBuf> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > 100 || !name.bytes().all(is_plain) {
            let reason = format!("{name:?} can't name an output: letters, digits, - and _ go");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        Ok(self.run_folder(run_id).join(format!("{name}-{attempt}.log")))
    }
}

impl OutputLog for OutputDir {
    fn open(&self, run_id: RunId, name: &str, attempt: u32) -> Result<Box<dyn OutputWriter>, BoxError> {
        let path = self.path(run_id, name, attempt)?;
        fs::create_dir_all(self.run_folder(run_id))?;
        // A new file, not an emptied one: whoever follows the old one reads it to its end.
        _ = found(fs::remove_file(&path))?;
        let file = OpenOptions::new().read(true).append(true).create_new(true).open(&path)?;
        let pen = Pen {
            file,
            collected: Vec::new(),
            len: 0,
            hash: Sha256::new(),
            written_at: Instant::now(),
            is_broken: false,
            finished: None,
        };
        let (progress, _) = watch::channel(Progress::default());
        let live = Arc::new(Live { pen: Mutex::new(pen), progress });
        let key = (run_id, name.to_owned(), attempt);
        if let Some(former) = locked(&self.live).insert(key.clone(), Arc::clone(&live)) {
            former.end();
        }
        Ok(Box::new(Writer { live, path, key, others: Arc::clone(&self.live) }))
    }
}

/// The writer of one output.
#[derive(Debug)]
struct Writer {
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
    /// Writes what is collected, and lets followers end.
    fn end(&self) {
        let mut pen = locked(&self.pen);
        if let Err(error) = pen.write_out() {
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
        for part in [text.as_bytes(), b"\n"] {
            self.hash.update(part);
            self.collected.extend_from_slice(part);
            self.len += part.len() as u64;
        }
        if self.collected.len() >= COLLECT_BYTES || self.written_at.elapsed() >= COLLECT_FOR {
            self.write_out()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.collected.is_empty() {
            return Ok(());
        }
        let outcome = self.file.write_all(&self.collected);
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
        self.write_out()?;
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

/// A reader that goes along with an output.
#[derive(Debug)]
struct Follower {
    file: File,
    live: Option<Arc<Live>>,
    progress: Option<watch::Receiver<Progress>>,
    offset: u64,
}

impl Follower {
    async fn next(mut self) -> io::Result<Option<(OutputChunk, Self)>> {
        if let Some(progress) = &mut self.progress {
            let offset = self.offset;
            let moved = progress.wait_for(|progress| progress.done || progress.len > offset).await;
            if moved.is_ok_and(|progress| progress.len <= offset) {
                return Ok(None);
            }
        }
        blocking(move || self.read()).await
    }

    fn read(mut self) -> io::Result<Option<(OutputChunk, Self)>> {
        if let Some(live) = &self.live {
            locked(&live.pen).write_out()?;
        }
        let mut bytes = vec![0; CHUNK_BYTES];
        let read = self.file.read_at(&mut bytes, self.offset)?;
        if read == 0 {
            return Ok(None);
        }
        let whole_lines = bytes[..read].iter().rposition(|byte| *byte == b'\n').map_or(read, |end| end + 1);
        self.offset += whole_lines as u64;
        let text = String::from_utf8_lossy(&bytes[..whole_lines]).into_owned();
        Ok(Some((OutputChunk { text, next: self.offset }, self)))
    }
}

fn parse(file_name: &str) -> Option<(String, u32)> {
    let (name, attempt) = file_name.strip_suffix(".log")?.rsplit_once('-')?;
    Some((name.to_owned(), attempt.parse().ok()?))
}

/// Takes "there is none" for an answer.
fn found<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
