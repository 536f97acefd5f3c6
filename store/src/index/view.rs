//! What the log says about runs, lanes and claims, as the fold of its events.
//!
//! A plain value: the memory store is one, a reader without a lock builds one, and the sled index is one that
//! was written down. An event that can't be understood spoils its own run's line and nothing else.

use std::collections::{BTreeMap, HashMap};

use landfall_engine::core::event::Event;
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{ReadError, RunQuery};
use serde::{Deserialize, Serialize};

use crate::segment::reader::FrameAt;

/// How many runs a listing has when nobody says.
const LIMIT: usize = 100;

/// One recorded event, as far as the index must know it.
#[derive(Debug)]
pub(crate) struct Fact<'a> {
    pub(crate) run_id: RunId,
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) actor: &'a str,
    pub(crate) claim: Option<&'a str>,
    /// What happened, or why it can't be understood.
    pub(crate) event: Result<&'a Event, &'a str>,
    pub(crate) frame: FrameAt,
}

/// A run in the index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunEntry {
    /// None: not even its first event could be understood.
    summary: Option<RunSummary>,
    /// The seq of its last event, understood or not.
    pub(crate) seq: u64,
    /// Where its events are: segment, offset, and the seq of its first event there. In order.
    frames: Vec<(u64, u64, u64)>,
    /// The first event that is missing or can't be understood, and why.
    unreadable: Option<(u64, String)>,
    /// It is no run: it is the ledger, to which nothing is ever owed.
    #[serde(default)]
    is_ledger: bool,
}

impl RunEntry {
    /// Returns the frames that have its events, with the seq of its first event in each.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (FrameAt, u64)> {
        self.frames
            .iter()
            .map(|(segment, offset, seq)| (FrameAt { segment: *segment, offset: *offset }, *seq))
    }

    /// Tells whether something is owed to the run, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_ledger && self.summary.as_ref().is_none_or(|summary| summary.open)
    }

    /// Returns the run's lane.
    pub(crate) fn lane(&self) -> Option<&LaneId> {
        self.summary.as_ref().map(|summary| &summary.lane)
    }

    /// Returns the run's line. One whose history can't be read waits for a person, and says so.
    pub(crate) fn line(&self) -> Option<RunSummary> {
        let mut line = self.summary.clone()?;
        if let Some((seq, reason)) = &self.unreadable
            && line.open
        {
            line.parked = Some(format!("event {seq} can't be read: {reason}"));
        }
        line.seq = self.seq;
        Some(line)
    }

    /// Returns the run's line, or why there is none.
    pub(crate) fn line_of(&self, run_id: RunId) -> Result<Option<RunSummary>, ReadError> {
        match (self.line(), self.unreadable(run_id)) {
            (None, Some(error)) => Err(error),
            (line, _) => Ok(line),
        }
    }

    /// Returns why the run's history can't be read, if something of it is lost.
    pub(crate) fn unreadable(&self, run_id: RunId) -> Option<ReadError> {
        let (seq, reason) = self.unreadable.clone()?;
        Some(ReadError::Unreadable { run_id, seq, reason })
    }

    /// Notes that the history has a hole.
    pub(crate) fn spoil(&mut self, seq: u64, reason: String) {
        self.unreadable.get_or_insert((seq, reason));
    }

    fn apply(&mut self, fact: &Fact<'_>) {
        if fact.seq > self.seq + 1 {
            self.spoil(self.seq + 1, "it is missing from the log".into());
        }
        self.seq = fact.seq;
        let FrameAt { segment, offset } = fact.frame;
        if self.frames.last().is_none_or(|last| (last.0, last.1) != (segment, offset)) {
            self.frames.push((segment, offset, fact.seq));
        }
        match (fact.event, &mut self.summary) {
            (Err(reason), _) => self.spoil(fact.seq, reason.to_owned()),
            (Ok(Event::Ledger(_)), _) => self.is_ledger = true,
            (Ok(event), Some(summary)) => summary.apply(fact.seq, fact.at_ms, event),
            (Ok(event), none) => *none = RunSummary::begin(fact.run_id, fact.actor, fact.at_ms, event),
        }
    }
}

/// Runs, lanes and claims.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) runs: BTreeMap<RunId, RunEntry>,
    pub(crate) lanes: BTreeMap<LaneId, Lane>,
    pub(crate) claims: HashMap<String, RunId>,
}

impl View {
    /// Takes in one event, in the order of the log; an event that is in already changes nothing. Returns the
    /// lane that it touched.
    pub(crate) fn apply(&mut self, fact: &Fact<'_>) -> Option<LaneId> {
        let entry = self.runs.entry(fact.run_id).or_default();
        if fact.seq <= entry.seq {
            return None;
        }
        entry.apply(fact);
        if let Some(claim) = fact.claim {
            self.claims.entry(claim.to_owned()).or_insert(fact.run_id);
        }
        let event = fact.event.ok()?;
        let lane = match event {
            Event::Ledger(event) => event.lane()?,
            _ => entry.lane()?,
        };
        match self.lanes.get_mut(lane) {
            Some(there) => there.apply(fact.run_id, fact.at_ms, event),
            None => self.lanes.entry(lane.clone()).or_default().apply(fact.run_id, fact.at_ms, event),
        }
        Some(lane.clone())
    }

    /// Returns the lines that a query asks for, newest first.
    pub(crate) fn query(&self, query: &RunQuery) -> Vec<RunSummary> {
        let older = match query.before {
            Some(before) => self.runs.range(..before),
            None => self.runs.range(..),
        };
        let lines = older.rev().filter_map(|(_, entry)| entry.line());
        lines.filter(|line| asks_for(query, line)).take(limit(query)).collect()
    }

    /// Returns every open run, oldest first.
    pub(crate) fn open_runs(&self) -> Vec<RunId> {
        self.runs.iter().filter(|(_, entry)| entry.is_open()).map(|(run, _)| *run).collect()
    }

    /// Returns every lane.
    pub(crate) fn lanes(&self) -> Vec<(LaneId, Lane)> {
        self.lanes.iter().map(|(id, lane)| (id.clone(), lane.clone())).collect()
    }
}

/// Tells whether a query asks for this run.
pub(crate) fn asks_for(query: &RunQuery, line: &RunSummary) -> bool {
    query.app.as_ref().is_none_or(|app| *app == line.lane.app)
        && query.state.is_none_or(|state| state == line.state)
        && (!query.open || line.open)
}

/// Returns how many runs a query asks for at most.
pub(crate) const fn limit(query: &RunQuery) -> usize {
    if query.limit == 0 { LIMIT } else { query.limit }
}
