//! The index written down, in sled. It may be lost at any time: all of it is in the log.
//!
//! ```text
//! r/<run id>   RunEntry      every run; a UUID v7 sorts by time, so newest first is backwards
//! o/<run id>                 open runs
//! l/<lane>     Lane
//! c/<claim>    run id
//! m/through    Mark          everything up to here is in; part of every batch
//! m/log        log id and layout
//! ```
//!
//! sled panics on some damage and reports other; both come out here as [`Unusable`], and the answer to both is
//! to build the index anew. It does not fsync, and need not: a batch that is lost takes its mark along.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::view::{RunEntry, View};
use crate::segment::reader::Mark;

/// Raised when the shape of anything in here changes. Old indexes are thrown away, not read.
const LAYOUT: u32 = 1;

/// An index up to this size is read as a whole when it is opened, so that damage is found then.
const CHECKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

const THROUGH: &[u8] = b"m/through";
const LOG: &[u8] = b"m/log";

/// Why the written index can't be used. **Build it anew.**
#[derive(Debug, thiserror::Error)]
#[error("the index can't be used: {0}")]
pub(crate) struct Unusable(pub(crate) String);

impl From<sled::Error> for Unusable {
    fn from(error: sled::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for Unusable {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The index written down.
#[derive(Debug)]
pub(crate) struct Shelf {
    db: sled::Db,
    folder: PathBuf,
}

/// What changed in the index since it was written last.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) runs: Vec<(RunId, RunEntry)>,
    pub(crate) lanes: Vec<(LaneId, Lane)>,
    pub(crate) claims: Vec<(String, RunId)>,
    pub(crate) through: Option<Mark>,
}

impl Shelf {
    /// Opens an index that is there and was made from this log.
    pub(crate) fn open(folder: &Path, log_id: Uuid, cache_bytes: u64) -> Result<Self, Unusable> {
        if !folder.is_dir() {
            return Err(Unusable("there is none".into()));
        }
        // sled leaves this when it is killed while it writes, and takes it for corruption ever after.
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "generating") {
                return Err(Unusable(format!("{} was left by a crash", path.display())));
            }
        }
        let shelf = Self::open_or_create(folder, cache_bytes)?;
        match shelf.get::<(Uuid, u32)>(LOG)? {
            Some(there) if there == (log_id, LAYOUT) => {}
            Some(_) => return Err(Unusable("it was made from another log, or by another version".into())),
            None => return Err(Unusable("it is empty".into())),
        }
        shelf.check()?;
        Ok(shelf)
    }

    /// Removes what is there and makes an empty index.
    pub(crate) fn create(folder: &Path, log_id: Uuid, cache_bytes: u64) -> Result<Self, Unusable> {
        Self::remove(folder)?;
        let shelf = Self::open_or_create(folder, cache_bytes)?;
        let made_from = serde_json::to_vec(&(log_id, LAYOUT))?;
        guarded(|| shelf.db.insert(LOG, made_from))?;
        Ok(shelf)
    }

    /// Removes an index.
    pub(crate) fn remove(folder: &Path) -> Result<(), Unusable> {
        let removed = match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(folder),
            removed => removed,
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Returns where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns how far into the log it reaches.
    pub(crate) fn through(&self) -> Result<Option<Mark>, Unusable> {
        self.get(THROUGH)
    }

    /// Returns a run.
    pub(crate) fn run(&self, run_id: RunId) -> Result<Option<RunEntry>, Unusable> {
        self.get(&run_key(b'r', run_id))
    }

    /// Returns who claimed a name.
    pub(crate) fn claimed(&self, claim: &str) -> Result<Option<RunId>, Unusable> {
        self.get(&claim_key(claim))
    }

    /// Returns what is kept in memory all the time: lanes and open runs.
    pub(crate) fn warm(&self) -> Result<View, Unusable> {
        let mut view = View::default();
        for item in self.items(b"o/") {
            let (key, _) = item?;
            let run_id = run_of(&key)?;
            let entry = self.run(run_id)?.ok_or_else(|| Unusable(format!("run {run_id} is not in it")))?;
            view.runs.insert(run_id, entry);
        }
        for item in self.items(b"l/") {
            let (key, lane) = item?;
            let id = key.get(2..).unwrap_or_default();
            view.lanes.insert(serde_json::from_slice(id)?, serde_json::from_slice(&lane)?);
        }
        Ok(view)
    }

    /// Returns runs older than `before`, newest first, as they are asked for.
    pub(crate) fn runs_before(
        &self,
        before: Option<RunId>,
    ) -> impl Iterator<Item = Result<(RunId, RunEntry), Unusable>> {
        let end = before.map_or_else(|| b"r0".to_vec(), |before| run_key(b'r', before));
        let mut items = self.db.range(b"r/".to_vec()..end);
        std::iter::from_fn(move || guarded(|| items.next_back().transpose()).transpose()).map(|item| {
            let (key, entry) = item?;
            Ok((run_of(&key)?, serde_json::from_slice(&entry)?))
        })
    }

    /// Writes changes down, all or none.
    pub(crate) fn save(&self, changes: &Changes) -> Result<(), Unusable> {
        let mut batch = sled::Batch::default();
        for (run_id, entry) in &changes.runs {
            batch.insert(run_key(b'r', *run_id), serde_json::to_vec(entry)?);
            if entry.is_open() {
                batch.insert(run_key(b'o', *run_id), Vec::new());
            } else {
                batch.remove(run_key(b'o', *run_id));
            }
        }
        for (id, lane) in &changes.lanes {
            let key = [b"l/".as_slice(), &serde_json::to_vec(id)?].concat();
            batch.insert(key, serde_json::to_vec(lane)?);
        }
        for (claim, run_id) in &changes.claims {
            batch.insert(claim_key(claim), serde_json::to_vec(run_id)?);
        }
        if let Some(through) = changes.through {
            batch.insert(THROUGH, serde_json::to_vec(&through)?);
        }
        guarded(|| self.db.apply_batch(batch))
    }

    /// Damages a run's entry, as a disk might.
    #[cfg(test)]
    pub(crate) fn spoil(&self, run_id: RunId) {
        self.db.insert(run_key(b'r', run_id), b"noise").unwrap();
    }

    /// Writes out what sled still holds back, as at a clean end.
    pub(crate) fn flush(&self) -> Result<(), Unusable> {
        guarded(|| self.db.flush()).map(|_| ())
    }

    fn open_or_create(folder: &Path, cache_bytes: u64) -> Result<Self, Unusable> {
        fs::create_dir_all(folder)?;
        wait_for_former_owner(folder)?;
        let db = guarded(|| sled::Config::new().path(folder).cache_capacity(cache_bytes).open())?;
        Ok(Self { db, folder: folder.to_owned() })
    }

    /// Reads everything, unless that would take long: sled finds damage only where it looks.
    fn check(&self) -> Result<(), Unusable> {
        if guarded(|| self.db.size_on_disk())? <= CHECKED_BYTES_MAX {
            for item in self.items(b"") {
                item?;
            }
        }
        Ok(())
    }

    fn items(&self, prefix: &[u8]) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), Unusable>> {
        let mut items = self.db.scan_prefix(prefix);
        std::iter::from_fn(move || guarded(|| items.next().transpose()).transpose())
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Unusable> {
        let value = guarded(|| self.db.get(key))?;
        value.map(|value| serde_json::from_slice(&value)).transpose().map_err(Unusable::from)
    }
}

/// sled holds a lock on its file until its last background task is done, which may be a moment after it was
/// dropped. Our own lock on the data folder says that nobody else can be holding it, so this ends.
fn wait_for_former_owner(folder: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().read(true).write(true).open(folder.join("db")) {
        Ok(file) => file.lock(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Calls sled, and takes a panic for what it is.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Unusable> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Unusable("sled panicked on it".into())),
    }
}

fn run_key(kind: u8, run_id: RunId) -> Vec<u8> {
    [&[kind, b'/'], run_id.0.as_bytes().as_slice()].concat()
}

fn claim_key(claim: &str) -> Vec<u8> {
    [b"c/", claim.as_bytes()].concat()
}

fn run_of(key: &[u8]) -> Result<RunId, Unusable> {
    let id = Uuid::from_slice(key.get(2..).unwrap_or_default());
    id.map(RunId).map_err(|_| Unusable("a key of it makes no sense".into()))
}
