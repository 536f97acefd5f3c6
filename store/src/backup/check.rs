//! Holds what a backup has against what its log says.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use uuid::Uuid;

use super::entry::{Part, Unsound};
use super::read::Had;
use super::survey::{Survey, survey};
use super::{BackupError, Contents, disk, refused};
use crate::data_dir::parse_log_id;
use crate::disk::{Disk, DiskFile};
use crate::segment::files::{Segments, name, parse};
use crate::segment::verify::verify;

/// Verifies a backup that was read to its end; its log is on this disk.
///
/// # Errors
///
/// [`BackupError::Refused`], which says what is wrong.
pub(super) fn check(had: &Had, log: Arc<dyn Disk>) -> Result<Contents, BackupError> {
    let log_id = had.start.log_id;
    if parse_log_id(&had.meta) != Some(log_id) {
        return Err(refused("the backup is damaged: META is that of another log, or can't be read"));
    }
    let segments = Segments::new(log);
    let pruned: HashSet<_> = had.pruned.keys().copied().collect();
    let survey = survey(&segments, log_id, &pruned).map_err(|error| match error {
        BackupError::Damaged { damage } => refused(format!("the backup is damaged: {damage}")),
        other => other,
    })?;
    let (seq, hash) = (survey.mark.seq, survey.mark.hash);
    if (seq, hash) != (had.end.head_seq, had.end.head_hash) {
        return Err(refused(format!(
            "the backup is damaged: its log ends with event {seq} ({hash}), and event {} ({}) is the one that it \
             should end with",
            had.end.head_seq, had.end.head_hash
        )));
    }
    outputs_are_as_said(had, &survey)?;
    // Everything that has a hash in the log was held against it by now, so that what is wrong could be named.
    if (had.sha256, had.entries) != (had.end.sha256, had.end.entries) {
        return Err(refused(
            "the backup is damaged: its files are not those that were put into it (none of the log or of the \
             outputs that the log knows)",
        ));
    }
    let mut unsound: Vec<String> = had.end.unsound.iter().map(Unsound::to_string).collect();
    let verified = verify(segments, log_id).map_err(disk("reading the log"))?;
    unsound.extend(verified.problems.iter().map(|problem| match (problem.run, problem.seq) {
        (Some(run), Some(seq)) => format!("run {run}, event {seq}: {}", problem.what),
        _ => problem.what.clone(),
    }));
    Ok(contents(had, log_id, survey, unsound))
}

fn outputs_are_as_said(had: &Had, survey: &Survey) -> Result<(), BackupError> {
    let known: HashSet<&str> = had.end.unsound.iter().map(|unsound| unsound.path.as_str()).collect();
    for (run, attempts) in &survey.attempts {
        for ((name, attempt), said) in attempts {
            let Some(said) = said else { continue };
            let part = Part::Output { run: *run, name: (*name).to_owned(), attempt: *attempt };
            let is_as_said = had.outputs.get(&(*run, (*name).to_owned(), *attempt)) == Some(said);
            if !is_as_said && !known.contains(part.path().as_str()) {
                return Err(refused(format!(
                    "the backup is damaged: {} is not what the log says that was printed, or missing",
                    part.path()
                )));
            }
        }
    }
    Ok(())
}

fn contents(had: &Had, log_id: Uuid, survey: Survey, unsound: Vec<String>) -> Contents {
    Contents {
        log_id,
        created_ms: had.start.created_ms,
        head_seq: survey.mark.seq,
        head_hash: survey.mark.hash,
        runs: survey.runs,
        open_runs: survey.open.into_iter().collect(),
        outputs: had.outputs.len() as u64,
        output_bytes: had.outputs.values().map(|output| output.len).sum(),
        pruned_runs: had.pruned.len() as u64,
        checkpoints: had.checkpoints,
        keys: had.keys,
        unsound,
    }
}

/// The log inside a backup, read where it lies.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) file: Arc<File>,
    pub(super) segments: std::collections::BTreeMap<u64, (u64, u64)>,
}

#[derive(Debug)]
struct Window {
    file: Arc<File>,
    at: u64,
    len: u64,
}

impl Disk for Inside {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.segments.keys().map(|first| name(*first)).collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let found = parse(name).and_then(|first| self.segments.get(&first));
        let (at, len) = *found.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Window { file: Arc::clone(&self.file), at, len }))
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl DiskFile for Window {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let mut done = 0;
        while done < wanted {
            match self.file.read_at(&mut buffer[done..wanted], self.at + offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
