//! What the index has in memory, and what of it is not written down yet.

use std::collections::HashSet;
use std::sync::Arc;

use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;

use super::shelf::{Changes, Shelf};
use super::view::{Fact, View};
use crate::segment::reader::Mark;

/// The index in memory.
#[derive(Debug)]
pub(super) struct State {
    /// With a shelf: every lane, every open run, and whatever is not on the shelf yet. Without: everything.
    pub(super) view: View,
    pub(super) through: Mark,
    pub(super) shelf: Option<Arc<Shelf>>,
    pub(super) unsaved: Unsaved,
    pub(super) closing: bool,
}

/// What changed since the index was written down last.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) runs: HashSet<RunId>,
    pub(super) lanes: HashSet<LaneId>,
    pub(super) claims: Vec<(String, RunId)>,
    pub(super) events: usize,
}

impl State {
    pub(super) fn new(shelf: Option<Arc<Shelf>>, view: View, through: Mark) -> Self {
        Self { view, through, shelf, unsaved: Unsaved::default(), closing: false }
    }

    /// Takes in one event whose run is in the view, if it was anywhere.
    pub(super) fn apply(&mut self, fact: &Fact<'_>) {
        let lane = self.view.apply(fact);
        if self.shelf.is_some() {
            self.unsaved.runs.insert(fact.run_id);
            self.unsaved.lanes.extend(lane);
            self.unsaved.claims.extend(fact.claim.map(|claim| (claim.to_owned(), fact.run_id)));
            self.unsaved.events += 1;
        }
    }

    /// Returns what is not written down yet, and takes it for written.
    pub(super) fn changes(&mut self) -> Changes {
        let Unsaved { runs, lanes, claims, events: _ } = std::mem::take(&mut self.unsaved);
        let entry = |run_id: RunId| Some((run_id, self.view.runs.get(&run_id)?.clone()));
        let lane = |id: LaneId| self.view.lanes.get(&id).cloned().map(|lane| (id, lane));
        Changes {
            runs: runs.into_iter().filter_map(entry).collect(),
            lanes: lanes.into_iter().filter_map(lane).collect(),
            claims,
            through: Some(self.through),
        }
    }

    /// Drops from memory what is on the shelf, closed, and not changed since.
    pub(super) fn forget(&mut self, saved: &Changes) {
        for (run_id, entry) in &saved.runs {
            if !entry.is_open() && !self.unsaved.runs.contains(run_id) {
                self.view.runs.remove(run_id);
            }
        }
        for (claim, _) in &saved.claims {
            self.view.claims.remove(claim);
        }
    }
}
