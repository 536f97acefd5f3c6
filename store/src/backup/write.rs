//! Makes a backup: copies what is durable, part by part, while a server may go on writing.
//!
//! The order is what makes it consistent. Checkpoints are copied before the log is read, so each of them speaks of
//! an event that is in the copy; outputs are copied after it, so each attempt that the copy shows ended has its
//! output, which was durable before its end was recorded. What is pruned meanwhile leaves its note.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_engine::core::event::{EventHash, OutputRef};
use landfall_engine::core::run::RunId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::entry::{End, FORMAT, Part, Start, Unsound, is_key};
use super::read::TEXT_BYTES_MAX;
use super::restore::check_file;
use super::survey::{Attempts, Survey, make_durable, survey};
use super::{BackupError, Contents, disk};
use crate::data_dir::read_log_id;
use crate::disk::{DiskFile, RealDisk, sync_folder};
use crate::output::{PRUNED_FILE, Pruned};
use crate::segment::files::Segments;

/// How a backup is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackupOptions {
    /// Copies the keys with which heads of the log are signed, too. Whoever has the backup can sign then.
    pub with_keys: bool,
}

/// Makes a backup in a file: under another name first, and under its own once it was read back and verifies.
///
/// # Errors
///
/// [`BackupError`]. A file that was there before is untouched then.
pub fn backup_to_file(
    data: &Path,
    file: &Path,
    now_ms: u64,
    options: BackupOptions,
) -> Result<Contents, BackupError> {
    let draft = draft_of(file);
    let made = make_file(data, file, &draft, now_ms, options);
    if made.is_err() {
        // What can't be removed is named so that nobody takes it for a backup.
        _ = fs::remove_file(&draft);
    }
    made
}

fn make_file(
    data: &Path,
    file: &Path,
    draft: &Path,
    now_ms: u64,
    options: BackupOptions,
) -> Result<Contents, BackupError> {
    let writing = || disk(format!("writing {}", draft.display()));
    let mut open = OpenOptions::new();
    let out = open.write(true).create_new(true).mode(0o600).open(draft).map_err(writing())?;
    let mut out = io::BufWriter::with_capacity(1024 * 1024, out);
    backup_to_stream(data, &mut out, now_ms, options)?;
    out.into_inner().map_err(|error| writing()(error.into_error()))?.sync_all().map_err(writing())?;
    let contents = check_file(draft)?;
    fs::rename(draft, file).map_err(disk(format!("naming {}", file.display())))?;
    sync_folder(parent_of(file)).map_err(disk("syncing the backup's folder"))?;
    Ok(contents)
}

/// Makes a backup as a stream. What arrives at its other end is verified by whoever restores it.
///
/// # Errors
///
/// [`BackupError`]. What was written is no backup then: it has no end.
pub fn backup_to_stream(
    data: &Path,
    to: impl Write,
    now_ms: u64,
    options: BackupOptions,
) -> Result<Contents, BackupError> {
    let log_id = read_log_id(data)?;
    let segments = Segments::new(Arc::new(RealDisk::read_only(data.join("log"))));
    let mut pack = Pack::new(to, now_ms);
    let mut contents = Contents { log_id, created_ms: now_ms, ..Contents::default() };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    pack.json(&Part::Start, &Start { format: FORMAT, version, log_id, created_ms: now_ms })?;
    let meta = fs::read(data.join("META")).map_err(disk("reading META"))?;
    pack.bytes(&Part::Meta, &meta)?;
    (contents.checkpoints, contents.keys) = copy_checkpoints(&mut pack, data, options)?;
    let mut survey = copy_log(&mut pack, &segments, log_id, &data.join("output"))?;
    let unsound = copy_outputs(&mut pack, data, &mut survey, &mut contents)?;
    (contents.head_seq, contents.head_hash, contents.runs) = (survey.mark.seq, survey.mark.hash, survey.runs);
    contents.open_runs = survey.open.into_iter().collect();
    contents.unsound = unsound.iter().map(Unsound::to_string).collect();
    pack.finish(contents.head_seq, contents.head_hash, unsound)?;
    Ok(contents)
}

fn copy_checkpoints<W: Write>(
    pack: &mut Pack<W>,
    data: &Path,
    options: BackupOptions,
) -> Result<(u64, u64), BackupError> {
    let (mut checkpoints, mut keys) = (0, 0);
    let signed = names_in(&data.join("checkpoints"))?.into_iter().map(|name| format!("checkpoints/{name}"));
    let beside = names_in(data)?.into_iter().filter(|name| is_key(name));
    for path in beside.chain(signed) {
        let part = match Part::parse(path.as_bytes()) {
            Some(Part::Key(_)) if !options.with_keys => continue,
            Some(part) if !is_draft(&path) => part,
            _ => continue,
        };
        let Some((file, len)) = open_plain(&data.join(&path))? else { continue };
        pack.add(&part, len, file)?;
        keys += u64::from(matches!(part, Part::Key(_)));
        checkpoints += u64::from(part.is_signed_head());
    }
    Ok((checkpoints, keys))
}

fn copy_log<W: Write>(
    pack: &mut Pack<W>,
    segments: &Segments,
    log_id: Uuid,
    outputs: &Path,
) -> Result<Survey, BackupError> {
    let folders = names_in(outputs)?.into_iter().filter_map(|name| name.parse::<RunId>().ok());
    let mut pruned: HashSet<RunId> = HashSet::new();
    for run in folders {
        if let Some((_, Some(_))) = read_note(&outputs.join(run.to_string()).join(PRUNED_FILE))? {
            pruned.insert(run);
        }
    }
    let survey = survey(segments, log_id, &pruned)?;
    let mark = survey.mark;
    make_durable(segments, mark).map_err(disk("making the log durable"))?;
    for first in segments.list().map_err(disk("listing the log"))? {
        if first > mark.segment {
            break;
        }
        let part = Part::Segment(first);
        let file = segments.file(first).map_err(disk(format!("opening {}", part.path())))?;
        let whole = file.len().map_err(disk(format!("reading {}", part.path())))?;
        // Those before the last are sealed and never change; of the last one only this much counts.
        let end = if first == mark.segment { mark.offset } else { whole };
        pack.add(&part, end, Span { file, at: 0, end })?;
    }
    Ok(survey)
}

fn copy_outputs<W: Write>(
    pack: &mut Pack<W>,
    data: &Path,
    survey: &mut Survey,
    contents: &mut Contents,
) -> Result<Vec<Unsound>, BackupError> {
    let outputs = data.join("output");
    let mut unsound = Vec::new();
    for name in names_in(&outputs)? {
        let Ok(run) = name.parse::<RunId>() else { continue };
        let attempts = survey.attempts.remove(&run).unwrap_or_default();
        let mut missing = Attempts::new();
        for ((name, attempt), said) in attempts {
            let part = Part::Output { run, name: name.to_owned(), attempt };
            let Some((file, len)) = open_plain(&data.join(part.path()))? else {
                missing.insert((name, attempt), said);
                continue;
            };
            let sha256 = pack.add(&part, len, file)?.to_string();
            contents.outputs += 1;
            contents.output_bytes += len;
            let is_as_said = said.is_none_or(|said| said == OutputRef { len, sha256 });
            unsound.extend((!is_as_said).then(|| Unsound::changed(&part)));
        }
        // The note is looked for after the outputs: whatever is gone by now has one.
        let note = Part::Pruned(run);
        let mut pruned = None;
        if let Some((text, parsed)) = read_note(&data.join(note.path()))? {
            // As it is: it may tell a person what it can't tell us.
            pack.bytes(&note, &text)?;
            contents.pruned_runs += u64::from(parsed.is_some());
            unsound.extend(parsed.is_none().then(|| Unsound::unreadable(&note)));
            pruned = parsed;
        }
        let is_noted = |name, attempt| pruned.as_ref().is_some_and(|note| note.of(name, attempt).is_some());
        missing.retain(|(name, attempt), _| !is_noted(name, *attempt));
        unsound.extend(not_there(run, missing));
    }
    for (run, missing) in std::mem::take(&mut survey.attempts) {
        unsound.extend(not_there(run, missing));
    }
    Ok(unsound)
}

/// Names the outputs that the log speaks of. One that it does not speak of may never have been opened.
fn not_there(run: RunId, missing: Attempts) -> impl Iterator<Item = Unsound> {
    let spoken_of = missing.into_iter().filter(|(_, said)| said.is_some());
    spoken_of.map(move |((name, attempt), _)| {
        Unsound::missing(&Part::Output { run, name: name.to_owned(), attempt })
    })
}

/// Returns the names of the files and folders in a folder, in order; none when there is no such folder.
fn names_in(folder: &Path) -> Result<Vec<String>, BackupError> {
    let listing = || disk(format!("listing {}", folder.display()));
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(listing())?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is not UTF-8 is none of ours.
        names.extend(entry.map_err(listing())?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// A note of what was pruned: its text, and what it says where it can be understood.
type Note = (Vec<u8>, Option<Pruned>);

/// Returns a note; None when there is none.
fn read_note(path: &Path) -> Result<Option<Note>, BackupError> {
    let Some((file, _)) = open_plain(path)? else { return Ok(None) };
    let mut text = Vec::new();
    // Whatever is longer is no note of ours, and a backup with more of it would not be read.
    let read = file.take(TEXT_BYTES_MAX).read_to_end(&mut text);
    read.map_err(disk(format!("reading {}", path.display())))?;
    let note = serde_json::from_slice(&text).ok();
    Ok(Some((text, note)))
}

/// Opens a file with its length as it is now; None when there is none. A link or a folder is none.
fn open_plain(path: &Path) -> Result<Option<(File, u64)>, BackupError> {
    let opened = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => File::open(path).and_then(|file| {
            let len = file.metadata()?.len();
            Ok((file, len))
        }),
        Ok(_) => return Ok(None),
        Err(error) => Err(error),
    };
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk(format!("opening {}", path.display()))(error)),
    }
}

fn is_draft(path: &str) -> bool {
    [".new", ".tmp"].iter().any(|end| path.ends_with(end))
}

/// Returns the name under which a file is made.
pub(super) fn draft_of(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.{}.tmp", Uuid::new_v4().simple()))
}

/// Returns the folder that has a file or folder.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A tar in the making, with a hash over all that is put into it.
pub(super) struct Pack<W: Write> {
    tar: tar::Builder<W>,
    sum: Sha256,
    entries: u64,
    at_s: u64,
}

impl<W: Write> Pack<W> {
    pub(super) fn new(to: W, at_ms: u64) -> Self {
        Self { tar: tar::Builder::new(to), sum: Sha256::new(), entries: 0, at_s: at_ms / 1_000 }
    }

    /// Adds `len` bytes under a path and returns the hash of them.
    fn add(&mut self, part: &Part, len: u64, content: impl Read) -> Result<EventHash, BackupError> {
        self.sum.update(label(part, len));
        let (sum, entries) = (&mut self.sum, &mut self.entries);
        let mut content = Hashing { content: content.take(len), own: Sha256::new(), sum, read: 0 };
        put(&mut self.tar, &part.path(), len, self.at_s, &mut content)?;
        if content.read != len {
            let short = io::Error::new(io::ErrorKind::UnexpectedEof, "it got shorter while it was read");
            return Err(disk(format!("copying {}", part.path()))(short));
        }
        *entries += 1;
        Ok(EventHash(content.own.finalize().into()))
    }

    fn bytes(&mut self, part: &Part, bytes: &[u8]) -> Result<(), BackupError> {
        self.add(part, bytes.len() as u64, bytes).map(drop)
    }

    fn json(&mut self, part: &Part, value: &impl serde::Serialize) -> Result<(), BackupError> {
        let text = json(value).map_err(disk(format!("writing {}", part.path())))?;
        self.bytes(part, &text)
    }

    fn finish(
        mut self,
        head_seq: u64,
        head_hash: EventHash,
        unsound: Vec<Unsound>,
    ) -> Result<(), BackupError> {
        let sha256 = EventHash(self.sum.finalize().into());
        let end = json(&End { head_seq, head_hash, entries: self.entries, sha256, unsound })
            .map_err(disk("writing the end of the backup"))?;
        put(&mut self.tar, &Part::End.path(), end.len() as u64, self.at_s, &mut &end[..])?;
        self.tar.into_inner().and_then(|mut to| to.flush()).map_err(disk("writing the end of the backup"))
    }
}

/// Puts a plain file into a tar, for its owner alone.
pub(super) fn put<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    len: u64,
    at_s: u64,
    content: &mut impl Read,
) -> Result<(), BackupError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(len);
    header.set_mode(0o600);
    header.set_mtime(at_s);
    tar.append_data(&mut header, path, content).map_err(disk(format!("copying {path}")))
}

/// Returns what goes into the hash over all entries before the content of one.
pub(super) fn label(part: &Part, len: u64) -> String {
    format!("{}\n{len}\n", part.path())
}

fn json(value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads on, and hashes what goes by.
struct Hashing<'a, R> {
    content: R,
    own: Sha256,
    sum: &'a mut Sha256,
    read: u64,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.own.update(&buffer[..read]);
        self.sum.update(&buffer[..read]);
        self.read += read as u64;
        Ok(read)
    }
}

/// A part of a segment.
struct Span {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

impl Read for Span {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(self.at, &mut buffer[..wanted])?;
        self.at += read as u64;
        Ok(read)
    }
}
