//! Audits a log: every checksum, every hash, every number, every move of every run.
//!
//! It reads all there is and trusts none of it: no index, no seal, no state of a running engine. It can't see
//! a tail that was cut off as a whole; a head kept elsewhere can.

use std::collections::HashMap;
use std::io;

use landfall_engine::core::event::{Event, EventHash};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::run::{Run, RunId};
use serde::Serialize;
use uuid::Uuid;

use super::files::{Segments, name};
use super::walk::{Walk, Walked};
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
    /// The place in that run.
    pub seq: Option<u64>,
    /// The place in the log.
    pub global_seq: Option<u64>,
    /// The file in `DATA/log`.
    pub segment: String,
    /// What is wrong.
    pub what: String,
}

/// How far a run was followed.
#[derive(Debug, Default)]
struct Followed {
    seq: u64,
    /// None before the first event, and from the first problem on: one broken move makes all others illegal.
    run: Option<Run>,
    is_broken: bool,
}

/// Audits a log to its present end. Remains of an unfinished write behind it are no problem.
pub(crate) fn verify(segments: Segments, log_id: Uuid) -> io::Result<Verification> {
    let mut found = Verification::default();
    let mut runs: HashMap<RunId, Followed> = HashMap::new();
    let mut walk = Walk::from_start(segments, log_id);
    loop {
        match walk.next()? {
            Walked::Frame(at, frame) => {
                let (mut parsed, mut expected) = (0, frame.first_seq);
                facts(at, &frame, |fact, record, hash| {
                    let problem = |what| Problem {
                        run: Some(fact.run_id),
                        seq: Some(fact.seq),
                        global_seq: Some(record.global_seq),
                        segment: name(at.segment),
                        what,
                    };
                    if record.global_seq != expected {
                        found.problems.push(problem(format!("event {expected} is expected here")));
                    }
                    expected = record.global_seq + 1;
                    parsed += 1;
                    found.head = hash;
                    let followed = runs.entry(fact.run_id).or_default();
                    let place = Place { run_id: fact.run_id, seq: fact.seq, at_ms: fact.at_ms };
                    if let Err(what) = followed.follow(place, fact.event) {
                        found.problems.push(problem(what));
                    }
                });
                found.events += parsed;
                if parsed != u64::from(frame.count) {
                    found.problems.push(Problem {
                        run: None,
                        seq: None,
                        global_seq: Some(frame.first_seq),
                        segment: name(at.segment),
                        what: format!("{} records at byte {} are no events", frame.count, at.offset),
                    });
                }
            }
            Walked::Damage(damage) => {
                let global_seq = damage.lost.map(|(first, _)| first);
                let of = |run| Problem {
                    run,
                    seq: None,
                    global_seq,
                    segment: damage.segment.clone(),
                    what: format!("byte {}: {}", damage.offset, damage.what),
                };
                found.problems.push(of(None));
                found.problems.extend(damage.runs.iter().map(|run| of(Some(*run))));
            }
            Walked::Torn(_) | Walked::End => break,
        }
    }
    found.runs = runs.len() as u64;
    Ok(found)
}

impl Followed {
    fn follow(&mut self, place: Place, event: Result<&Event, &str>) -> Result<(), String> {
        let expected = self.seq + 1;
        self.seq = place.seq;
        if place.seq != expected {
            self.is_broken = true;
            return Err(format!("event {expected} of the run is expected here"));
        }
        if self.is_broken {
            return Ok(());
        }
        let moved = event
            .map_err(str::to_owned)
            .and_then(|event| evolve(self.run.take(), place, event).map_err(|illegal| illegal.to_string()));
        match moved {
            Ok(run) => self.run = Some(run),
            Err(what) => {
                self.is_broken = true;
                return Err(what);
            }
        }
        Ok(())
    }
}
