//! Audits a log: every checksum, every hash, every number, every move of every run.
//!
//! It reads all there is and trusts none of it: no index, no seal, no state of a running engine. It can't see
//! a tail that was cut off as a whole; a head kept elsewhere can, and [`audit`](crate::checkpoint::audit) holds
//! what passes by here against it.

use std::collections::HashMap;
use std::io;

use landfall_engine::core::event::{Event, EventHash};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::ledger::ledger_of;
use landfall_engine::core::run::{Run, RunId, RunState};
use serde::Serialize;
use uuid::Uuid;

use super::files::{Segments, name};
use super::frame::Frame;
use super::reader::{FrameAt, Mark};
use super::remains::{Remains, look_at};
use super::walk::{Damage, TornTail, Walk, Walked};
use crate::index::facts;

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verification {
    /// How many events could be read.
    pub events: u64,
    /// Of how many runs.
    pub runs: u64,
    /// The hash of the last event, which covers all before it.
    pub head: EventHash,
    /// Everything that is not in order. Empty: the log is whole, and every run made legal moves alone.
    pub problems: Vec<Problem>,
}

/// Something that is not in order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// The run that is affected, where that can be told.
    pub run: Option<RunId>,
    /// The place in that run: of what is wrong, or of the first event that is missing.
    pub seq: Option<u64>,
    /// The place in the log.
    pub global_seq: Option<u64>,
    /// The file, from the data folder on; or the checkpoint, as it was given.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

/// One event that an audit came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) global_seq: u64,
    pub(crate) run: RunId,
    pub(crate) seq: u64,
    pub(crate) hash: EventHash,
    /// The run's state after it; None behind a broken move.
    pub(crate) state: Option<RunState>,
}

/// A log as an audit left it.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) found: Verification,
    /// The place in the log of the last event that can be read.
    pub(crate) last_seq: u64,
    /// Remains of an unfinished write behind it.
    pub(crate) torn: Option<TornTail>,
    /// The first event behind it that was there and was changed, by its place in the log.
    pub(crate) changed: Option<u64>,
    runs: HashMap<RunId, Life>,
}

/// How far a run was followed.
#[derive(Debug, Default)]
struct Life {
    seq: u64,
    /// None before the first event, and from the first problem on: one broken move makes all others illegal.
    run: Option<Run>,
    is_broken: bool,
}

/// Audits a log to its present end. Remains of an unfinished write behind it are no problem; a changed frame is.
pub(crate) fn verify(segments: Segments, log_id: Uuid) -> io::Result<Verification> {
    follow(segments, log_id, |_| {}).map(|followed| followed.found)
}

/// Audits a log to its present end, and shows every event that can be read.
pub(crate) fn follow(
    segments: Segments,
    log_id: Uuid,
    mut passed: impl FnMut(Passed),
) -> io::Result<Followed> {
    let mut followed = Followed::default();
    let mut walk = Walk::from_start(segments.clone(), log_id);
    loop {
        match walk.next()? {
            Walked::Frame(at, frame) => followed.take(at, &frame, ledger_of(log_id), &mut passed),
            Walked::Damage(damage) => followed.damaged(&damage),
            Walked::Torn(torn) => {
                let Mark { segment, offset, .. } = walk.mark();
                let at = FrameAt { segment, offset };
                match look_at(&segments, at, torn.segment.clone(), walk.next_seq())? {
                    Remains::Written => continue,
                    Remains::Torn => followed.torn = Some(torn),
                    Remains::Changed(damage) => {
                        followed.changed = damage.lost.map(|(first, _)| first);
                        followed.damaged(&damage);
                    }
                }
                break;
            }
            Walked::End => break,
        }
    }
    let has_ledger = followed.runs.contains_key(&ledger_of(log_id));
    followed.found.runs = followed.runs.len() as u64 - u64::from(has_ledger);
    Ok(followed)
}

impl Followed {
    /// Returns the place of the last event of a run that could be read; 0 when there is none.
    pub(crate) fn last_of(&self, run: RunId) -> u64 {
        self.runs.get(&run).map_or(0, |life| life.seq)
    }

    fn take(&mut self, at: FrameAt, frame: &Frame, ledger: RunId, passed: &mut impl FnMut(Passed)) {
        let Self { found, last_seq, runs, .. } = self;
        let file = in_log(&name(at.segment));
        let (mut parsed, mut expected) = (0, frame.first_seq);
        facts(at, frame, |fact, record, hash| {
            let mut wrong = |seq, what| {
                let global_seq = Some(record.global_seq);
                let (run, seq) = (Some(fact.run_id), Some(seq));
                found.problems.push(Problem { run, seq, global_seq, file: file.clone(), what });
            };
            if record.global_seq != expected {
                wrong(fact.seq, format!("event {expected} of the log is expected here"));
            }
            expected = record.global_seq + 1;
            parsed += 1;
            *last_seq = record.global_seq;
            let life = runs.entry(fact.run_id).or_default();
            let place = Place { run_id: fact.run_id, seq: fact.seq, at_ms: fact.at_ms };
            if let Err((seq, what)) = life.follow(place, fact.event, ledger) {
                wrong(seq, what);
            }
            found.head = hash;
            passed(Passed {
                global_seq: record.global_seq,
                run: fact.run_id,
                seq: fact.seq,
                hash,
                state: life.run.as_ref().map(|run| run.state),
            });
        });
        found.events += parsed;
        if parsed != u64::from(frame.count) {
            let unread = u64::from(frame.count) - parsed;
            found.problems.push(Problem {
                run: None,
                seq: None,
                global_seq: Some(frame.first_seq),
                file,
                what: format!("{unread} of the {} records at byte {} are no events", frame.count, at.offset),
            });
        }
    }

    fn damaged(&mut self, damage: &Damage) {
        let lost = match damage.lost {
            Some((first, last)) if first < last => format!("; events {first} to {last} of the log are lost"),
            Some((first, _)) => format!("; event {first} of the log is lost"),
            None => String::new(),
        };
        let of = |run, seq| Problem {
            run,
            seq,
            global_seq: damage.lost.map(|(first, _)| first),
            file: in_log(&damage.segment),
            what: format!("byte {}: {}{lost}", damage.offset, damage.what),
        };
        self.found.problems.push(of(None, None));
        // The first event of a run behind those that were read is the first that is lost.
        let of_runs = damage.runs.iter().map(|run| of(Some(*run), Some(self.last_of(*run) + 1)));
        let of_runs: Vec<Problem> = of_runs.collect();
        self.found.problems.extend(of_runs);
    }
}

impl Life {
    /// Takes in one event; or says at which place of the run what is wrong.
    fn follow(
        &mut self,
        place: Place,
        event: Result<&Event, &str>,
        ledger: RunId,
    ) -> Result<(), (u64, String)> {
        let expected = self.seq + 1;
        self.seq = place.seq;
        if place.seq != expected {
            self.is_broken = true;
            self.run = None;
            return Err(match place.seq.checked_sub(expected) {
                Some(1) => (expected, format!("event {expected} of the run is missing")),
                Some(_) => {
                    (expected, format!("events {expected} to {} of the run are missing", place.seq - 1))
                }
                None => (place.seq, format!("event {expected} of the run is expected here")),
            });
        }
        if self.is_broken {
            return Ok(());
        }
        if matches!(event, Ok(Event::Ledger(_))) && place.run_id == ledger {
            return Ok(());
        }
        let moved = event
            .map_err(str::to_owned)
            .and_then(|event| evolve(self.run.take(), place, event).map_err(|illegal| illegal.to_string()));
        match moved {
            Ok(run) => self.run = Some(run),
            Err(what) => {
                self.is_broken = true;
                return Err((place.seq, what));
            }
        }
        Ok(())
    }
}

fn in_log(segment: &str) -> String {
    format!("log/{segment}")
}
