//! A copy of a data folder in one file, made beside a running server, and its restore.
//!
//! ```text
//! landfall-backup.json       whose log, when, by which version
//! META
//! checkpoints/…              before the log: none of them speaks of an event that is not in it
//! log/<first-seq>.seg        up to the last event that was durable
//! output/<run>/…             of the attempts that had ended by then
//! landfall-backup-end.json   the head of the log, and a hash over all before
//! ```
//!
//! It is a plain tar. The lock, the index, the ballast, the token, the git repositories and the routes of the
//! proxy are not in it: they are another process's, made anew, or a secret. Signing keys (`*.key`) are in it only
//! when asked for.
//!
//! **Invariant:** no lock is taken and nothing is written to the folder. What is in a backup was durable in the
//! log before it was copied, and a backup that does not verify when it is read back is none.

mod archive;
mod check;
mod entry;
mod read;
mod restore;
mod survey;
mod write;

use std::io;
use std::path::PathBuf;

use landfall_engine::core::event::EventHash;
use landfall_engine::core::run::RunId;
use serde::Serialize;
use uuid::Uuid;

use crate::data_dir::OpenError;
pub use archive::Archived;
pub use archive::archive_runs;
pub use restore::check_file;
pub use restore::restore;
pub use write::BackupOptions;
pub use write::backup_to_file;
pub use write::backup_to_stream;

/// What a backup has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// The log that it is of.
    pub log_id: Uuid,
    /// When it was begun, in milliseconds since 1970.
    pub created_ms: u64,
    /// The last event, by its place in the log; 0 for an empty log.
    pub head_seq: u64,
    /// The hash of the last event, which covers all before it.
    pub head_hash: EventHash,
    /// How many runs the events are of.
    pub runs: u64,
    /// The runs that go on where the log is driven next.
    pub open_runs: Vec<RunId>,
    /// How many outputs.
    pub outputs: u64,
    /// How long they are together, in bytes.
    pub output_bytes: u64,
    /// How many runs had their outputs pruned before.
    pub pruned_runs: u64,
    /// How many signed heads of the log.
    pub checkpoints: u64,
    /// How many signing keys.
    pub keys: u64,
    /// What is not as the log says. It was so in the folder, and is so in the copy.
    pub unsound: Vec<String>,
}

/// Why there is no backup, or nothing is restored. A variant per reaction.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder can't be read. **See what it says.**
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log is damaged, and a copy would be too. **Copy the folder as it is, and page a person.**
    #[error("the log is damaged, so there is nothing whole to copy: {damage}")]
    Damaged {
        /// Where and how.
        damage: String,
    },
    /// The file is no backup, or not as it was written. **Take another.**
    #[error("{reason}")]
    Refused {
        /// What is wrong with it.
        reason: String,
    },
    /// There is something where it would go. **Name another place.**
    #[error("{} is not empty; name a folder that does not exist yet, or an empty one", folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
    },
    /// There is a file where an archive would go. **Name another.**
    #[error("{} is there already, and may be the only copy of what was pruned before; name another file", file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// The disk refused. **Look at the disk.**
    #[error("{doing} failed")]
    Disk {
        /// What was being done.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn disk(doing: impl Into<String>) -> impl FnOnce(io::Error) -> BackupError {
    let doing = doing.into();
    move |source| BackupError::Disk { doing, source }
}

fn refused(reason: impl Into<String>) -> BackupError {
    BackupError::Refused { reason: reason.into() }
}
