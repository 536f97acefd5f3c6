//! Holds a log against its checkpoints: those in its folder, and those that were kept elsewhere.
//!
//! **Invariant:** a checkpoint that was given from elsewhere is believed, and nothing else is: its key is the one
//! that all others must be signed by, unless more keys are named.

use std::collections::{BTreeSet, HashMap};
use std::io;

use landfall_engine::core::event::EventHash;
use landfall_engine::core::run::RunId;
use serde::Serialize;
use uuid::Uuid;

use super::note::{Checkpoint, CheckpointFile, Ended, Reached};
use crate::segment::files::Segments;
use crate::segment::verify::{Followed, Passed, Problem, Verification, follow};
use crate::segment::walk::TornTail;

/// What a log is held against.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Checkpoints that were kept elsewhere.
    pub given: Vec<CheckpointFile>,
    /// Fingerprints of keys, in hex. Empty, and nothing given: whoever signed is listed and not judged.
    pub keys: Vec<String>,
}

/// What an audit of a log with its checkpoints found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Audit {
    /// Which log.
    pub log_id: Uuid,
    /// What was read. Its problems are those of the log and those of the checkpoints.
    pub log: Verification,
    /// The place in the log of the last event that can be read.
    pub last_seq: u64,
    /// Remains of an unfinished write behind the last event: no event that anybody was told of.
    pub unfinished: Option<TornTail>,
    /// The checkpoints, oldest first, those that were given last.
    pub checkpoints: Vec<Seen>,
    /// Events up to here are covered by a checkpoint that fits.
    pub covered: u64,
}

/// A checkpoint, and whether the log fits to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// Its name, as it was found or given.
    pub name: String,
    /// True when it was kept elsewhere.
    pub given: bool,
    /// The place in the log that it covers; None when it can't be read.
    pub global_seq: Option<u64>,
    /// The fingerprint of the key that signed it; None when it can't be read.
    pub key: Option<String>,
    /// Whether all that it says holds.
    pub fits: bool,
}

/// Audits a log. The checkpoints are those that were in its folder before the log was read.
pub(crate) fn audit(
    segments: Segments,
    log_id: Uuid,
    own: Vec<CheckpointFile>,
    trust: &Trust,
) -> io::Result<Audit> {
    let files = own.iter().map(|file| (file, false)).chain(trust.given.iter().map(|file| (file, true)));
    let checkpoints: Vec<_> = files.map(|(file, given)| (file, given, file.parse())).collect();
    let wanted: BTreeSet<u64> =
        checkpoints.iter().filter_map(|(.., parsed)| parsed.as_ref().ok()).flat_map(places).collect();
    let mut passed: HashMap<u64, Passed> = HashMap::new();
    let mut followed = follow(segments, log_id, |event| {
        if wanted.contains(&event.global_seq) {
            passed.insert(event.global_seq, event);
        }
    })?;
    let of_given = checkpoints.iter().filter(|(_, given, _)| *given);
    let of_given = of_given.filter_map(|(.., parsed)| Some(parsed.as_ref().ok()?.public_key.fingerprint()));
    let keys: BTreeSet<String> = trust.keys.iter().cloned().chain(of_given).collect();
    let mut judge =
        Judge { log_id, keys, passed, followed: &followed, covered: 0, proved: 0, told: BTreeSet::new() };
    let is_given = !trust.given.is_empty();
    let (mut seen, mut problems) = (Vec::new(), Vec::new());
    for (file, given, parsed) in &checkpoints {
        let found = match parsed {
            Ok(checkpoint) => judge.judge(&file.name, checkpoint),
            Err(error) => vec![about(&file.name, error.to_string())],
        };
        let checkpoint = parsed.as_ref().ok();
        if let Some(fits) = checkpoint.filter(|_| found.is_empty() && (*given || !is_given)) {
            judge.proved = judge.proved.max(fits.global_seq);
        }
        seen.push(Seen {
            name: file.name.clone(),
            given: *given,
            global_seq: checkpoint.map(|checkpoint| checkpoint.global_seq),
            key: checkpoint.map(|checkpoint| checkpoint.public_key.fingerprint()),
            fits: found.is_empty(),
        });
        problems.extend(found);
    }
    let covered = judge.covered;
    // Where there are other problems they say more: another key, another log, another end.
    if problems.is_empty() && !trust.keys.is_empty() && followed.last_seq > 0 {
        let is_theirs =
            |seen: &Seen| seen.fits && seen.key.as_ref().is_some_and(|key| trust.keys.contains(key));
        if !seen.iter().any(is_theirs) {
            let keys: Vec<String> = trust.keys.iter().map(|key| format!("sha256:{key}")).collect();
            problems.push(about(
                "checkpoints",
                format!(
                    "none is signed by {}: that this is the log of that key can't be told",
                    keys.join(" or ")
                ),
            ));
        }
    }
    followed.found.problems.extend(problems);
    let Followed { found, last_seq, torn, .. } = followed;
    Ok(Audit { log_id, log: found, last_seq, unfinished: torn, checkpoints: seen, covered })
}

/// Returns the places in the log that a checkpoint speaks of.
fn places(checkpoint: &Checkpoint) -> impl Iterator<Item = u64> {
    checkpoint.runs.iter().map(|ended| ended.global_seq).chain([checkpoint.global_seq])
}

/// Holds checkpoints against what was read, oldest first.
struct Judge<'a> {
    log_id: Uuid,
    /// Empty: any.
    keys: BTreeSet<String>,
    passed: HashMap<u64, Passed>,
    followed: &'a Followed,
    /// The newest place at which a checkpoint fits.
    covered: u64,
    /// The same of those that were given, where any were: whoever writes a log anew signs it anew.
    proved: u64,
    /// Runs whose lost end was told.
    told: BTreeSet<RunId>,
}

impl Judge<'_> {
    fn judge(&mut self, name: &str, checkpoint: &Checkpoint) -> Vec<Problem> {
        let Checkpoint { log_id, global_seq, head, public_key, .. } = checkpoint;
        if *log_id != self.log_id {
            let what = format!("it is of another log: of {log_id}, and this one is {}", self.log_id);
            return vec![about(name, what)];
        }
        let mut problems = Vec::new();
        if !self.keys.is_empty() && !self.keys.contains(&public_key.fingerprint()) {
            let keys: Vec<String> = self.keys.iter().map(|key| format!("sha256:{key}")).collect();
            let what = format!("it is signed by another key: {public_key}, and not {}", keys.join(" or "));
            problems.push(about(name, what));
        }
        match self.head(*global_seq, *head) {
            None if problems.is_empty() => self.covered = self.covered.max(*global_seq),
            None => {}
            Some(what) => {
                problems.push(Problem { global_seq: Some(*global_seq), ..about(name, what) });
            }
        }
        for ended in &checkpoint.runs {
            problems.extend(self.ended(name, ended));
        }
        for Reached { run, seq } in &checkpoint.open {
            problems.extend(self.gone(name, *run, *seq, "the run was open"));
        }
        problems
    }

    /// Says what is wrong with the head of a checkpoint, if something is.
    fn head(&self, global_seq: u64, head: EventHash) -> Option<String> {
        let last = self.followed.last_seq;
        if let Some(changed) = self.followed.changed.filter(|changed| *changed > last && global_seq > last) {
            return Some(format!(
                "the log went on to event {global_seq}, all of it durable, and can't be read from event {changed} on: \
                 it was changed"
            ));
        }
        if global_seq > last {
            let n = global_seq - last;
            return Some(format!(
                "the log went on to event {global_seq}, and the one that is here ends with event {last}: {}",
                if n == 1 {
                    "its last event was cut off".into()
                } else {
                    format!("its last {n} events were cut off")
                }
            ));
        }
        let Some(found) = self.passed.get(&global_seq) else {
            return Some(format!("event {global_seq} can't be read any more"));
        };
        let since = match self.proved {
            proved if proved > 0 && proved < global_seq => {
                format!("an event from {} to {global_seq}", proved + 1)
            }
            _ => format!("an event up to {global_seq}"),
        };
        (found.hash != head).then(|| {
            format!("the log was written anew: {since} is another; event {global_seq} had the hash {head} and has {}", found.hash)
        })
    }

    /// Says what is wrong with the end of a run, if something is.
    fn ended(&mut self, name: &str, ended: &Ended) -> Option<Problem> {
        let Ended { run, state, seq, global_seq, hash } = *ended;
        if self.followed.last_of(run) < seq {
            return self.gone(name, run, seq, &format!("the run was {state}"));
        }
        let of_run = |what| Problem {
            run: Some(run),
            seq: Some(seq),
            global_seq: Some(global_seq),
            ..about(name, what)
        };
        let found = self.passed.get(&global_seq);
        let is_it = |found: &Passed| found.run == run && found.seq == seq && found.hash == hash;
        let Some(found) = found.filter(|found| is_it(found)) else {
            let what = format!("another event stands where the run was {state}; its hash was {hash}");
            return Some(of_run(what));
        };
        let other = found.state.filter(|found| *found != state)?;
        Some(of_run(format!("the run was {state}, and by its events it is {other}")))
    }

    /// Says which events of a run's end are gone, if some are: once a run.
    fn gone(&mut self, name: &str, run: RunId, seq: u64, was: &str) -> Option<Problem> {
        let last = self.followed.last_of(run);
        if last >= seq || !self.told.insert(run) {
            return None;
        }
        let gone = match seq - last {
            1 => format!("event {seq} of the run is gone"),
            _ => format!("events {} to {seq} of the run are gone", last + 1),
        };
        Some(Problem { run: Some(run), seq: Some(last + 1), ..about(name, format!("{gone}; {was}")) })
    }
}

fn about(name: &str, what: String) -> Problem {
    Problem { run: None, seq: None, global_seq: None, file: name.to_owned(), what }
}
