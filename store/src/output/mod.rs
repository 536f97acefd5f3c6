//! What stages print: a file an attempt, and its length and hash in the log.
//!
//! ```text
//! DATA/output/<run>/<name>-<attempt>.log
//! DATA/output/<run>/pruned.json            once they were pruned
//! ```
//!
//! Lines are collected in memory and written when there are enough of them, when some time has passed, or when
//! somebody in this process wants to read them. Output is not an event: losing the last lines in a crash is
//! allowed, blocking a stage because somebody reads slowly is not.

mod compare;
mod follow;
mod nowhere;
mod pruned;
mod writer;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, BoxStream};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{BoxError, OutputLog, OutputWriter};

pub(crate) use compare::{said, sum};
use follow::Follower;
pub use follow::OutputChunk;
use nowhere::Nowhere;
pub(crate) use pruned::PRUNED_FILE;
pub use pruned::Pruned;
pub use pruned::PrunedOutput;
use writer::{Bounds, Key, Live, LiveOutputs, Writer};

use crate::reserve::Reserve;
use crate::segment::tail::is_full;

/// The outputs of a data folder.
#[derive(Debug)]
pub struct OutputDir {
    folder: PathBuf,
    bounds: Bounds,
    live: Arc<Mutex<LiveOutputs>>,
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

impl OutputDir {
    /// Returns the outputs in a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), bounds: Bounds::default(), live: Arc::default() }
    }

    /// Returns them with a limit for each attempt, on a disk with room set aside that is not theirs.
    pub(crate) fn within(self, bytes_max: u64, reserve: Arc<Reserve>) -> Self {
        Self { bounds: Bounds { bytes_max, reserve: Some(reserve) }, ..self }
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
                live.bring_up_to_date();
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

    /// Returns what creates the file of an output.
    fn creator(&self, path: PathBuf, key: Key) -> impl FnMut() -> io::Result<Writer> + Send + use<> {
        let (folder, bounds, live) = (self.run_folder(key.0), self.bounds.clone(), Arc::clone(&self.live));
        move || {
            fs::create_dir_all(&folder)?;
            // A new file, not an emptied one: whoever follows the old one reads it to its end.
            _ = found(fs::remove_file(&path))?;
            Writer::create(path.clone(), key.clone(), bounds.clone(), Arc::clone(&live))
        }
    }

    fn follower(&self, run: RunId, name: &str, attempt: u32, offset: u64) -> io::Result<Option<Follower>> {
        let path = self.path(run, name, attempt)?;
        if let Some(live) = self.live_one(run, name, attempt) {
            return Follower::of_live(live, offset).map(Some);
        }
        let file = found(File::open(path))?;
        Ok(file.map(|file| Follower::of_file(file, offset)))
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
        let key = (run_id, name.to_owned(), attempt);
        let mut create = self.creator(path, key);
        match create() {
            Ok(writer) => Ok(Box::new(writer)),
            // Output is not an event: a stage does not wait for room to print in.
            Err(error) if is_full(&error) => Ok(Box::new(Nowhere::new(create))),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the name and attempt of an output's file; None when it is something else.
pub(crate) fn parse(file_name: &str) -> Option<(String, u32)> {
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
