//! Restores a backup into a folder: all of it, verified, or nothing.
//!
//! ```text
//! PARENT/.<name>.<id>.tmp/  unpacked ─▶ verified ─▶ synced ─▶ renamed to PARENT/<name>/
//! ```
//!
//! A restored log is the same log, under the same id, as the one that it is a copy of. Two engines on copies of one
//! log would undo each other's work: each sweeps containers of runs that it does not know, and goes on with the
//! same open runs. So a restored folder is marked, and no engine starts on it until somebody says that the other
//! one is gone for good: see [`take_over`](crate::DataDir::take_over). Reading needs nobody's word.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::{Inside, check};
use super::entry::Part;
use super::read::{Nowhere, Sink, read};
use super::write::{draft_of, parent_of};
use super::{BackupError, Contents, disk};
use crate::data_dir::{RESTORED_FILE, Restored};
use crate::disk::{RealDisk, sync_folder};

/// Verifies a backup, and restores nothing.
///
/// # Errors
///
/// [`BackupError::Refused`] says what is wrong with it.
pub fn check_file(file: &Path) -> Result<Contents, BackupError> {
    let opening = || disk(format!("opening {}", file.display()));
    let opened = File::open(file).map_err(opening())?;
    let len = opened.metadata().map_err(opening())?.len();
    let had = read(io::BufReader::new(&opened), Some(len), &mut Nowhere)?;
    let inside = Inside { file: Arc::new(opened), segments: had.segments.clone() };
    check(&had, Arc::new(inside))
}

/// Restores a backup into a folder that is empty, or not there yet. `limit`: how many bytes the input has, where
/// that is known. `take_over`: the caller knows that no other engine works on this log any more.
///
/// # Errors
///
/// [`BackupError`]. Nothing is in the folder then.
pub fn restore(
    input: impl Read,
    limit: Option<u64>,
    folder: &Path,
    now_ms: u64,
    take_over: bool,
) -> Result<Contents, BackupError> {
    refuse_occupied(folder)?;
    let making = || disk(format!("making {}", folder.display()));
    let parent = parent_of(folder);
    fs::create_dir_all(parent).map_err(making())?;
    let draft = draft_of(folder);
    DirBuilder::new().mode(0o700).create(&draft).map_err(making())?;
    let restored = fill(input, limit, &draft, now_ms, take_over).and_then(|contents| {
        fs::rename(&draft, folder).map_err(disk(format!(
            "giving the restored folder its name, {} (a mount point takes none; name a folder below it),",
            folder.display()
        )))?;
        sync_folder(parent).map_err(making())?;
        Ok(contents)
    });
    if restored.is_err() {
        _ = fs::remove_dir_all(&draft);
    }
    restored
}

fn refuse_occupied(folder: &Path) -> Result<(), BackupError> {
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(disk(format!("looking at {}", folder.display()))(error)),
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(BackupError::Occupied { folder: folder.to_owned() }),
    }
}

fn fill(
    input: impl Read,
    limit: Option<u64>,
    draft: &Path,
    now_ms: u64,
    take_over: bool,
) -> Result<Contents, BackupError> {
    let syncing = || disk("syncing the restored folder");
    for name in ["log", "output"] {
        make_folder(&draft.join(name))?;
    }
    let mut unpacking = Unpacking { folder: draft.to_owned(), file: None };
    let had = read(input, limit, &mut unpacking)?;
    let contents = check(&had, Arc::new(RealDisk::read_only(draft.join("log"))))?;
    if !take_over {
        let note =
            Restored { restored_ms: now_ms, created_ms: had.start.created_ms, head_seq: contents.head_seq };
        let text = serde_json::to_vec(&note).map_err(|error| syncing()(error.into()))?;
        let mut file = create(&draft.join(RESTORED_FILE))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(syncing())?;
    }
    sync_folders(draft).map_err(syncing())?;
    Ok(contents)
}

/// Makes the names in a folder, and in all folders below it, durable.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(folder)
}

fn make_folder(folder: &Path) -> Result<(), BackupError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(disk(format!("making {}", folder.display())))
}

fn create(path: &Path) -> Result<File, BackupError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.map_err(disk(format!("making {}", path.display())))
}

/// Writes the parts of a backup into a folder. Paths are those of [`Part`], so none of them leads out.
struct Unpacking {
    folder: PathBuf,
    /// None between parts, and for one that tells of the backup alone.
    file: Option<(File, PathBuf)>,
}

impl Sink for Unpacking {
    fn begin(&mut self, part: &Part, len: u64) -> Result<(), BackupError> {
        if matches!(part, Part::Start | Part::End) {
            return Ok(());
        }
        let path = self.folder.join(part.path());
        make_folder(parent_of(&path))?;
        let room =
            rustix::fs::statvfs(&self.folder).map_err(|error| disk("asking for free space")(error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if len > free {
            return Err(disk(format!(
                "restoring {} of {len} bytes where {free} are free (make room, or restore elsewhere)",
                part.path()
            ))(io::ErrorKind::StorageFull.into()));
        }
        self.file = Some((create(&path)?, path));
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).map_err(disk(format!("writing {}", path.display())))
    }

    fn end(&mut self) -> Result<(), BackupError> {
        let Some((file, path)) = self.file.take() else { return Ok(()) };
        file.sync_all().map_err(disk(format!("syncing {}", path.display())))
    }
}
