//! Reads a backup, from a file or a stream, and believes nothing of it.
//!
//! Only plain files under our own paths are taken, each once, between a start and an end; a link, another kind of
//! entry, a path of somebody else's or a size that the input does not have is refused at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read};

use landfall_engine::core::event::{EventHash, OutputRef};
use landfall_engine::core::run::RunId;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tar::EntryType;

use super::entry::{End, FORMAT, Part, Start};
use super::write::label;
use super::{BackupError, refused};
use crate::output::Pruned;

/// What we wrote as JSON is shorter; more is an attack on our memory.
pub(super) const TEXT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How much is read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where the content of a backup goes.
pub(super) trait Sink {
    /// A part begins.
    fn begin(&mut self, part: &Part, len: u64) -> Result<(), BackupError>;
    /// More of it.
    fn take(&mut self, bytes: &[u8]) -> Result<(), BackupError>;
    /// It is whole.
    fn end(&mut self) -> Result<(), BackupError>;
}

/// Keeps nothing: the backup is only looked at.
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: &Part, _: u64) -> Result<(), BackupError> {
        Ok(())
    }

    fn take(&mut self, _: &[u8]) -> Result<(), BackupError> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), BackupError> {
        Ok(())
    }
}

/// What a backup said and had. Nothing of it is verified against the log yet.
#[derive(Debug)]
pub(super) struct Had {
    pub(super) start: Start,
    pub(super) end: End,
    pub(super) meta: Vec<u8>,
    /// Each segment: where its bytes begin in the input, and how many there are.
    pub(super) segments: BTreeMap<u64, (u64, u64)>,
    pub(super) outputs: HashMap<(RunId, String, u32), OutputRef>,
    pub(super) pruned: HashMap<RunId, Pruned>,
    pub(super) checkpoints: u64,
    pub(super) keys: u64,
    /// Over all entries, as they were read.
    pub(super) sha256: EventHash,
    /// How many they were.
    pub(super) entries: u64,
}

/// Reads a backup to its end. `limit`: how many bytes the input has, where that is known.
pub(super) fn read(input: impl Read, limit: Option<u64>, sink: &mut impl Sink) -> Result<Had, BackupError> {
    let mut tar = tar::Archive::new(input);
    // Raw: we write no long names, so an entry that brings one is refused as what it is.
    let entries = tar.entries().map_err(unreadable)?.raw(true);
    let mut reading = Reading::default();
    for entry in entries {
        let mut entry = entry.map_err(unreadable)?;
        let part = reading.admit(&entry, limit)?;
        reading.take(&part, &mut entry, sink)?;
    }
    reading.finish()
}

#[derive(Default)]
struct Reading {
    seen: HashSet<Part>,
    start: Option<Start>,
    end: Option<End>,
    meta: Option<Vec<u8>>,
    segments: BTreeMap<u64, (u64, u64)>,
    outputs: HashMap<(RunId, String, u32), OutputRef>,
    pruned: HashMap<RunId, Pruned>,
    sum: Sha256,
    entries: u64,
}

impl Reading {
    /// Tells whether an entry may be here, and which it is.
    fn admit<R: Read>(&mut self, entry: &tar::Entry<'_, R>, limit: Option<u64>) -> Result<Part, BackupError> {
        let path = entry.path_bytes();
        let shown = String::from_utf8_lossy(&path).escape_debug().to_string();
        let is_plain = entry.header().entry_type() == EntryType::Regular;
        let part = Part::parse(&path).filter(|_| is_plain).ok_or_else(|| match is_plain {
            true => refused(format!(
                "{shown:?} does not belong into a backup of Landfall; nothing of it is taken"
            )),
            false => refused(format!(
                "{shown:?} is no plain file: a backup of Landfall has no links, folders or devices"
            )),
        })?;
        if self.start.is_none() && part != Part::Start {
            return Err(refused(format!("it is no backup of Landfall: it begins with {shown:?}")));
        }
        if self.end.is_some() || !self.seen.insert(part.clone()) {
            return Err(refused(format!(
                "the backup is damaged: {shown:?} is in it twice, or behind its end"
            )));
        }
        let len = entry.size();
        let is_text = matches!(part, Part::Start | Part::Meta | Part::Pruned(_) | Part::End);
        if (is_text && len > TEXT_BYTES_MAX) || limit.is_some_and(|limit| len > limit) {
            return Err(refused(format!(
                "the backup is damaged, or cut short: {shown:?} is said to have {len} bytes"
            )));
        }
        Ok(part)
    }

    fn take<R: Read>(
        &mut self,
        part: &Part,
        entry: &mut tar::Entry<'_, R>,
        sink: &mut impl Sink,
    ) -> Result<(), BackupError> {
        let (len, at) = (entry.size(), entry.raw_file_position());
        let is_text = matches!(part, Part::Start | Part::Meta | Part::Pruned(_) | Part::End);
        if *part != Part::End {
            self.sum.update(label(part, len));
            self.entries += 1;
        }
        let (mut own, mut text, mut read) = (Sha256::new(), Vec::new(), 0);
        let mut chunk = vec![0; CHUNK_BYTES];
        sink.begin(part, len)?;
        loop {
            let bytes = match entry.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => &chunk[..count],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(error)),
            };
            read += bytes.len() as u64;
            own.update(bytes);
            if *part != Part::End {
                self.sum.update(bytes);
            }
            if is_text {
                text.extend_from_slice(bytes);
            }
            sink.take(bytes)?;
        }
        if read != len {
            return Err(refused(format!(
                "the backup is cut short: {:?} has {read} of its {len} bytes",
                part.path()
            )));
        }
        sink.end()?;
        match part {
            Part::Start => self.start = Some(start(&text)?),
            Part::End => self.end = Some(parsed(part, &text)?),
            Part::Meta => self.meta = Some(text),
            // One that can't be read was so in the folder, or the sum over all entries shows that it was not.
            Part::Pruned(run) => {
                self.pruned.extend(serde_json::from_slice(&text).ok().map(|note| (*run, note)))
            }
            Part::Segment(first) => _ = self.segments.insert(*first, (at, len)),
            Part::Output { run, name, attempt } => {
                let sha256 = EventHash(own.finalize().into()).to_string();
                self.outputs.insert((*run, name.clone(), *attempt), OutputRef { len, sha256 });
            }
            Part::Checkpoint(_) | Part::Key(_) => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Had, BackupError> {
        let count = |is: fn(&Part) -> bool| self.seen.iter().filter(|part| is(part)).count() as u64;
        let (checkpoints, keys) = (count(Part::is_signed_head), count(|part| matches!(part, Part::Key(_))));
        let start = self.start.ok_or_else(|| refused("it is no backup of Landfall: it is empty"))?;
        let end = self.end.ok_or_else(|| refused("the backup is cut short: its end is missing"))?;
        let meta = self.meta.ok_or_else(|| refused("the backup is damaged: META is missing"))?;
        let Self { segments, outputs, pruned, sum, entries, .. } = self;
        let sha256 = EventHash(sum.finalize().into());
        Ok(Had { start, end, meta, segments, outputs, pruned, checkpoints, keys, sha256, entries })
    }
}

fn start(text: &[u8]) -> Result<Start, BackupError> {
    let start: Start = parsed(&Part::Start, text)?;
    if start.format > FORMAT {
        return Err(refused(format!(
            "the backup was written by version {} in format {}, and this version knows formats up to {FORMAT}; \
             use a newer landfall",
            start.version, start.format
        )));
    }
    Ok(start)
}

fn parsed<T: DeserializeOwned>(part: &Part, text: &[u8]) -> Result<T, BackupError> {
    serde_json::from_slice(text)
        .map_err(|error| refused(format!("the backup is damaged: {} can't be read: {error}", part.path())))
}

fn unreadable(error: io::Error) -> BackupError {
    refused(format!("it is no backup of Landfall, or a damaged one: {error}"))
}
