//! Copies what is about to be pruned into a file of its own: the histories and outputs of single runs.
//!
//! ```text
//! <run>/events.jsonl              each event with its place and hash, one a line
//! <run>/<name>-<attempt>.log      what it printed
//! ```
//!
//! It is a plain tar for people and `sha256sum`, and no backup: the log keeps every event of these runs, so there
//! is nothing to restore. Each output is held against the hash in its event when the file is read back.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use landfall_engine::core::event::{Envelope, OutputRef};
use landfall_engine::core::run::RunId;

use super::write::{draft_of, parent_of, put};
use super::{BackupError, disk, refused};
use crate::disk::sync_folder;
use crate::output::{parse, said, sum};

/// What an archive has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// How many outputs.
    pub outputs: u64,
    /// How long they are together, in bytes.
    pub output_bytes: u64,
}

/// What an archive must have when it is read back.
type Wanted = HashMap<String, OutputRef>;

/// Archives runs with their histories, and verifies the file before it gets its name. A file of that name is never
/// replaced: it may be the only copy of what was pruned before.
///
/// # Errors
///
/// [`BackupError`]. There is no archive then, and nothing may be pruned.
pub fn archive_runs(
    data: &Path,
    runs: impl IntoIterator<Item = Result<(RunId, Vec<Envelope>), BackupError>>,
    file: &Path,
    now_ms: u64,
) -> Result<Archived, BackupError> {
    if file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { file: file.to_owned() });
    }
    let draft = draft_of(file);
    let made = make(data, runs, &draft, now_ms).and_then(|archived| {
        // Never over a file that came meanwhile.
        fs::hard_link(&draft, file).map_err(disk(format!("naming {}", file.display())))?;
        sync_folder(parent_of(file)).map_err(disk("syncing the archive's folder"))?;
        Ok(archived)
    });
    _ = fs::remove_file(&draft);
    made
}

fn make(
    data: &Path,
    runs: impl IntoIterator<Item = Result<(RunId, Vec<Envelope>), BackupError>>,
    draft: &Path,
    now_ms: u64,
) -> Result<Archived, BackupError> {
    let writing = || disk(format!("writing {}", draft.display()));
    let mut open = OpenOptions::new();
    let out = open.write(true).create_new(true).mode(0o600).open(draft).map_err(writing())?;
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(1024 * 1024, out));
    let (mut archived, mut wanted) = (Archived::default(), Wanted::new());
    for run in runs {
        let (run, events) = run?;
        add_run(&mut tar, data, run, &events, now_ms / 1_000, &mut archived, &mut wanted)?;
    }
    let out = tar.into_inner().map_err(writing())?;
    let out = out.into_inner().map_err(|error| writing()(error.into_error()))?;
    out.sync_all().map_err(writing())?;
    read_back(draft, wanted)?;
    Ok(archived)
}

fn add_run<W: Write>(
    tar: &mut tar::Builder<W>,
    data: &Path,
    run: RunId,
    events: &[Envelope],
    at_s: u64,
    archived: &mut Archived,
    wanted: &mut Wanted,
) -> Result<(), BackupError> {
    let mut text = Vec::new();
    for event in events {
        serde_json::to_writer(&mut text, event).map_err(|error| disk("writing a history")(error.into()))?;
        text.push(b'\n');
    }
    let path = format!("{run}/events.jsonl");
    put(tar, &path, text.len() as u64, at_s, &mut &text[..])?;
    wanted.insert(
        path,
        OutputRef { len: text.len() as u64, sha256: sum(&text[..]).map_err(disk("hashing"))?.1 },
    );
    let folder = data.join("output").join(run.to_string());
    let said = said(events);
    for entry in fs::read_dir(&folder).map_err(disk(format!("listing {}", folder.display())))? {
        let entry = entry.map_err(disk(format!("listing {}", folder.display())))?;
        let Some((name, attempt)) = entry.file_name().to_str().and_then(parse) else { continue };
        let path = format!("{run}/{name}-{attempt}.log");
        let copying = || disk(format!("copying {}", entry.path().display()));
        let (len, sha256) = File::open(entry.path()).and_then(sum).map_err(copying())?;
        put(tar, &path, len, at_s, &mut File::open(entry.path()).map_err(copying())?.take(len))?;
        // What the log does not know the hash of, or what is not as the log says, must come back as it was.
        let own = OutputRef { len, sha256 };
        if said.get(&(name, attempt)).is_some_and(|said| *said != own) {
            return Err(refused(format!(
                "output/{path} is not what the log says that was printed: it is evidence, and not pruned; move it \
                 away first"
            )));
        }
        wanted.insert(path, own);
        archived.outputs += 1;
        archived.output_bytes += len;
    }
    Ok(())
}

fn read_back(file: &Path, mut wanted: Wanted) -> Result<(), BackupError> {
    let reading = || disk("reading the archive back");
    let mut tar = tar::Archive::new(io::BufReader::new(File::open(file).map_err(reading())?));
    for entry in tar.entries().map_err(reading())? {
        let entry = entry.map_err(reading())?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (len, sha256) = sum(entry).map_err(reading())?;
        if wanted.remove(&path) != Some(OutputRef { len, sha256 }) {
            return Err(refused(format!("the archive does not read back as it was written, at {path}")));
        }
    }
    match wanted.keys().next() {
        None => Ok(()),
        Some(path) => Err(refused(format!("the archive does not read back as it was written: no {path}"))),
    }
}
