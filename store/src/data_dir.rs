//! Opens a data folder: whose it is, what is in it, and what is in the way.
//!
//! ```text
//! DATA/LOCK          held by one process, for its life; says which
//! DATA/META          format, log id, created
//! DATA/log/          the truth
//! DATA/index.sled/   rebuildable
//! DATA/output/       what stages printed
//! DATA/reserve       room that is given back when the disk is full
//! DATA/checkpoints/  signed heads of the log, and the public key
//! DATA/checkpoint.key  the key that signs them
//! DATA/RESTORED      a backup was restored here, and no engine has had it since
//! ```

use std::error::Error as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use landfall_engine::timeline::timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::checkpoint::CheckpointPlace;
use crate::checkpoint::key::CheckpointKey;
use crate::disk::{RealDisk, sync_folder};
use crate::index::IndexPlace;
use crate::lock::{Holder, lock};
use crate::output::OutputDir;
use crate::reserve::Reserve;
use crate::segment::frame::FORMAT;
use crate::segment::{LogPlace, OpenReport, SegmentStore, Work};

const MIB: u64 = 1024 * 1024;

/// How a data folder is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment of the log that is longer gets no more events.
    pub segment_bytes: u64,
    /// How much memory the index may use for what it read.
    pub cache_bytes: u64,
    /// How much one attempt at a stage may print. The rest is dropped, and the output says so: what people read ends
    /// long before, and a loop that prints would fill the disk.
    pub output_bytes_max: u64,
    /// Nothing new is begun with less than this free on the disk: a run brings its checkout, and what it prints.
    pub disk_low_bytes: u64,
    /// What is set aside for recording what runs when the disk is full: some 30 KiB for each run that is open then.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * MIB,
            cache_bytes: 64 * MIB,
            output_bytes_max: 16 * MIB,
            disk_low_bytes: 256 * MIB,
            reserve_bytes: 64 * MIB,
        }
    }
}

/// A data folder that is open.
#[derive(Debug)]
pub struct Opened {
    /// What happened.
    pub store: Arc<SegmentStore>,
    /// What stages printed.
    pub outputs: Arc<OutputDir>,
    /// What was found and done.
    pub report: OpenReport,
}

/// Why a data folder can't be opened. A variant per reaction.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it. **Talk to that one, or stop it.**
    #[error("{} is in use by {holder}; stop that process, or use another data folder", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The file system takes no writes. **Mount it for writing, or read only.**
    #[error(
        "{} is on a read-only file system; mount it for writing, or use another data folder (replay and the other \
         commands that only read work as it is)",
        folder.display()
    )]
    ReadOnly {
        /// The folder.
        folder: PathBuf,
    },
    /// This user may not. **Run as the owner, or change the owner.**
    #[error("no permission for {}; run as its owner, or give it to this user with chown", path.display())]
    NoPermission {
        /// What could not be opened.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is something else. **Name another folder.**
    #[error("{} is no Landfall data folder: {reason}", folder.display())]
    NotLandfall {
        /// The folder.
        folder: PathBuf,
        /// What was found, and what to do.
        reason: String,
    },
    /// A newer version wrote it. **Upgrade.**
    #[error(
        "{} was written in format {found}, and this version knows formats up to {known}; use a newer landfall",
        folder.display()
    )]
    NewerFormat {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
        /// What this version knows.
        known: u32,
    },
    /// It was restored from a backup, and its log may be driven elsewhere. **Stop the other engine, then take it
    /// over.**
    #[error(
        "{} was restored from a backup of {}, and the log in it may have a server still: two of them undo each \
         other's work. Make sure that the other one is stopped for good, look at `landfall runs --open` (those go \
         on), then start once with `landfall serve --data {} --take-over`",
        folder.display(), timestamp(*created_ms), folder.display()
    )]
    Restored {
        /// The folder.
        folder: PathBuf,
        /// When the backup was made, in milliseconds since 1970.
        created_ms: u64,
    },
    /// The disk is full. **Make room.**
    #[error("no space left for {}; make room and start again", folder.display())]
    NoSpace {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk refused. **Look at the disk.**
    #[error("{doing} in {} failed", folder.display())]
    Disk {
        /// The folder.
        folder: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A folder with all that an engine remembers.
#[derive(Debug)]
pub struct DataDir;

/// The content of `META`. For ever: a new field gets a default.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    format: u32,
    log_id: Uuid,
    created_ms: u64,
}

impl DataDir {
    /// Opens a data folder, or makes one where there is nothing, and holds it until the store is dropped.
    ///
    /// A damaged log opens too, for reading: see [`OpenReport::damage`].
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is in the way and what to do.
    pub fn open(folder: impl AsRef<Path>, options: &Options) -> Result<Opened, OpenError> {
        let folder = folder.as_ref();
        let failed = |doing| move |source| classify(folder, folder, doing, source);
        make_folder(folder).map_err(failed("making the data folder"))?;
        refuse_strangers(folder)?;
        refuse_restored(folder)?;
        let held = lock(folder)?;
        let log_id = match read_meta(folder)? {
            Some(meta) => meta.log_id,
            None => make_meta(folder).map_err(failed("making META"))?,
        };
        let (log, output) = (folder.join("log"), folder.join("output"));
        let checkpoints = folder.join("checkpoints");
        for folder in [&log, &output, &checkpoints] {
            fs::create_dir_all(folder).map_err(failed("making a folder"))?;
        }
        sync_folder(folder).map_err(failed("syncing the data folder"))?;
        let reserve = Arc::new(Reserve::set_aside(
            Arc::new(RealDisk::new(folder)),
            folder.display().to_string(),
            options.reserve_bytes,
            options.disk_low_bytes,
        ));
        let outputs = OutputDir::new(output).within(options.output_bytes_max, Arc::clone(&reserve));
        let place = LogPlace {
            work: Work::Threads,
            disk: Arc::new(RealDisk::new(log)),
            log_id,
            segment_bytes: options.segment_bytes,
            reserve: Some(reserve),
            index: IndexPlace { folder: Some(folder.join("index.sled")), cache_bytes: options.cache_bytes },
            checkpoints: checkpoint_place(folder, checkpoints),
            held: Some(held),
        };
        let (store, report) =
            SegmentStore::open(place).map_err(|error| classify(folder, folder, error.doing, error.source))?;
        tracing::info!(folder = %folder.display(), "{report}");
        Ok(Opened { store: Arc::new(store), outputs: Arc::new(outputs), report })
    }

    /// Takes over a folder that was restored: whoever calls this knows that no other engine works on its log any
    /// more. A folder that was not restored is left as it is. Returns whether it was.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is in the way and what to do.
    pub fn take_over(folder: impl AsRef<Path>) -> Result<bool, OpenError> {
        let folder = folder.as_ref();
        let failed = |source| classify(folder, folder, "taking over a restored folder", source);
        if !folder.join(RESTORED_FILE).exists() {
            return Ok(false);
        }
        let held = lock(folder)?;
        fs::remove_file(folder.join(RESTORED_FILE)).map_err(failed)?;
        sync_folder(folder).map_err(failed)?;
        held.unlock().map_err(failed)?;
        Ok(true)
    }
}

/// Returns how checkpoints are signed. Without a key runs go on, and nothing is signed.
fn checkpoint_place(folder: &Path, checkpoints: PathBuf) -> Option<CheckpointPlace> {
    match CheckpointKey::open(folder) {
        Ok(key) => Some(CheckpointPlace { disk: Arc::new(RealDisk::new(checkpoints)), key }),
        Err(error) => {
            tracing::error!(%error, source = error.source().map(tracing::field::display), "there will be no checkpoints");
            None
        }
    }
}

/// The file that a restore leaves until somebody says that no other engine works on this log.
pub(crate) const RESTORED_FILE: &str = "RESTORED";

/// The content of [`RESTORED_FILE`]. For people, and for the message that names it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Restored {
    pub(crate) restored_ms: u64,
    /// When the backup was made.
    pub(crate) created_ms: u64,
    pub(crate) head_seq: u64,
}

/// Refuses a folder that was restored, until somebody takes it over.
fn refuse_restored(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(RESTORED_FILE);
    match fs::read(&path) {
        Ok(text) => {
            // What is in it is told; that it is there is what counts.
            let note: Restored = serde_json::from_slice(&text).unwrap_or_default();
            Err(OpenError::Restored { folder: folder.to_owned(), created_ms: note.created_ms })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(classify(folder, &path, "looking for the note of a restore", error)),
    }
}

/// Returns the identity of the log that a META names.
pub(crate) fn parse_log_id(meta: &[u8]) -> Option<Uuid> {
    serde_json::from_slice::<Meta>(meta).ok().map(|meta| meta.log_id)
}

/// Returns the identity of the log in a folder that nobody need hold.
pub(crate) fn read_log_id(folder: &Path) -> Result<Uuid, OpenError> {
    let no_meta = || not_landfall(folder, "it has no META; name the folder that holds META and log");
    read_meta(folder)?.map(|meta| meta.log_id).ok_or_else(no_meta)
}

/// Returns the error for what the system said about a path.
pub(crate) fn classify(folder: &Path, path: &Path, doing: &'static str, source: io::Error) -> OpenError {
    let (folder, path) = (folder.to_owned(), path.to_owned());
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { folder },
        io::ErrorKind::PermissionDenied => OpenError::NoPermission { path, source },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::NoSpace { folder },
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            not_landfall(&folder, "it is a file; name a folder")
        }
        _ => OpenError::Disk { folder, doing, source },
    }
}

/// Makes a folder that only its owner can read: what apps print is nobody else's business.
fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Refuses a folder that is somebody else's: files are there, and ours are not.
fn refuse_strangers(folder: &Path) -> Result<(), OpenError> {
    let failed = |source| classify(folder, folder, "listing the data folder", source);
    if folder.join("META").exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        match entry.map_err(failed)?.file_name().to_str() {
            // A start that was cut short leaves no more than these, and a new file system has a folder of its own. A
            // traffic proxy that is kept by systemd may have been there first.
            Some("LOCK" | "META.new" | "lost+found" | "proxy") => {}
            Some("log") => {
                let reason = "it has a log and no META; restore META from a copy of the folder";
                return Err(not_landfall(folder, reason));
            }
            _ => {
                let reason = "it has other files in it; name an empty folder, or one that does not exist yet";
                return Err(not_landfall(folder, reason));
            }
        }
    }
    Ok(())
}

fn read_meta(folder: &Path) -> Result<Option<Meta>, OpenError> {
    let path = folder.join("META");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(classify(folder, &path, "reading META", error)),
    };
    let meta: Meta = serde_json::from_slice(&text).map_err(|error| {
        not_landfall(folder, &format!("its META can't be read ({error}); restore META from a copy"))
    })?;
    if meta.format > FORMAT {
        let (found, known) = (meta.format, FORMAT);
        return Err(OpenError::NewerFormat { folder: folder.to_owned(), found, known });
    }
    Ok(Some(meta))
}

/// Gives a new folder its identity, whole or not at all.
fn make_meta(folder: &Path) -> io::Result<Uuid> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let created_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let meta = Meta { format: FORMAT, log_id: Uuid::now_v7(), created_ms };
    let mut file = File::create(folder.join("META.new"))?;
    writeln!(file, "{}", serde_json::to_string(&meta)?)?;
    file.sync_all()?;
    fs::rename(folder.join("META.new"), folder.join("META"))?;
    sync_folder(folder)?;
    Ok(meta.log_id)
}

fn not_landfall(folder: &Path, reason: &str) -> OpenError {
    OpenError::NotLandfall { folder: folder.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_becomes_what_to_do() {
        let folder = Path::new("/srv/landfall");
        let text = |kind: io::ErrorKind| classify(folder, folder, "making META", kind.into()).to_string();
        let cases = [
            (io::ErrorKind::ReadOnlyFilesystem, "mount it for writing"),
            (io::ErrorKind::PermissionDenied, "run as its owner, or give it to this user with chown"),
            (io::ErrorKind::StorageFull, "make room and start again"),
            (io::ErrorKind::QuotaExceeded, "make room and start again"),
            (io::ErrorKind::NotADirectory, "name a folder"),
            (io::ErrorKind::Other, "making META in /srv/landfall failed"),
        ];
        for (kind, advice) in cases {
            let text = text(kind);
            assert!(text.contains(advice) && text.contains("/srv/landfall"), "{kind}: {text}");
        }
    }
}
