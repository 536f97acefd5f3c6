//! The store as a simulated engine has it: the real one, with points of the engine's fate around each append, and a
//! book of all that was acknowledged or shown.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fastrand::Rng;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Append, AppendError, Clock, Cursor, EventStore, ReadError, RunQuery};
use landfall_store::SegmentStore;
use uuid::Uuid;

use crate::book::Book;
use crate::clock::SimClock;
use crate::fate::Fate;
use crate::world::World;

/// The store of one engine's life.
#[derive(Debug)]
pub struct SimStore {
    pub inner: SegmentStore,
    pub book: Arc<Book>,
    pub world: Arc<World>,
    pub clock: Arc<SimClock>,
    pub fate: Arc<Fate>,
    pub dice: Mutex<Rng>,
    /// Appends of this life that were not answered: they may still arrive in a later one.
    pub unanswered: Arc<Mutex<Vec<Append>>>,
}

impl SimStore {
    fn up_to(&self, ms: u64) -> u64 {
        self.dice.lock().unwrap().u64(0..=ms)
    }

    /// An append that arrives twice is recorded once; another one in its place is refused.
    async fn append_again(&self, append: Append, first: &[Envelope]) {
        let again = self.inner.append(append.clone()).await;
        if self.fate.is_dead() {
            return;
        }
        self.book.count("faults: duplicate reports");
        // A disk that fails in between is no answer.
        let is_silent = matches!(
            again,
            Err(AppendError::Full | AppendError::Unknown { .. } | AppendError::Corrupt { .. })
        );
        if !is_silent && again.as_deref().ok() != Some(first) {
            let what = format!("an append of {} is not known when it is repeated: {again:?}", append.run_id);
            self.book.pages().violation("I2", what);
        }
        let mut other = append;
        other.events.iter_mut().for_each(|draft| draft.event_id = self.clock.uuid());
        let stale = self.inner.append(other.clone()).await;
        if stale.is_ok() && !self.fate.is_dead() {
            self.book
                .pages()
                .violation("I2", format!("seq {} of {} has two winners", other.expected + 1, other.run_id));
        }
    }

    /// A report of an engine that is dead arrives late: it is recorded if nothing else was, or refused.
    pub async fn append_late(&self, append: Append) {
        self.book.count("faults: late reports of a dead engine");
        let _ = self.inner.append(append).await;
    }

    /// What the log is about to say of the world is so at this moment.
    async fn check_claims(&self, append: &Append) {
        let says_something = |event: &Event| {
            matches!(event, Event::RunLive { .. } | Event::RollbackSucceeded { .. } | Event::RunFailed { .. })
        };
        if !append.events.iter().any(|draft| says_something(&draft.event)) {
            return;
        }
        let Ok(events) = self.inner.events(append.run_id).await else { return };
        let started = events.first().and_then(|first| match &first.event {
            Event::RunStarted { lane, .. } => Some(lane.clone()),
            _ => None,
        });
        let Some(lane) = started else { return };
        let mut things = self.world.at(self.clock.true_ms());
        let serves = things.routes.get(&lane).and_then(|route| route.target.clone());
        let digest = serves.as_ref().map(|(digest, _)| digest.clone());
        let runs = serves.and_then(|(_, name)| things.containers.get(&name).map(|c| c.digest.clone()));
        let run = append.run_id;
        for draft in &append.events {
            let wrong = match &draft.event {
                Event::RunLive { release } => {
                    let ours = Some(release.image.digest.clone());
                    (digest != ours || runs != ours)
                        .then(|| format!("{run} is Live with {ours:?}; {digest:?} is routed, {runs:?} runs"))
                }
                Event::RollbackSucceeded { serving, .. } => {
                    let replaced = events.iter().find_map(|envelope| match &envelope.event {
                        Event::DeploymentStarted { replaces, .. } => Some(replaces.clone()),
                        _ => None,
                    });
                    let former = replaced.flatten().map(|release| release.image.digest.clone());
                    (digest != former || *serving != former)
                        .then(|| format!("{run} is RolledBack to {former:?}; {digest:?} is routed"))
                }
                Event::RunFailed { .. } => {
                    let switched = things.switches.iter().any(|(_, route)| route.run == Some(run));
                    switched.then(|| format!("{run} is Failed, and switched the traffic"))
                }
                _ => None,
            };
            if let Some(what) = wrong {
                things.violation("I5", what);
            }
        }
    }
}

#[async_trait]
impl EventStore for SimStore {
    async fn append(&self, append: Append) -> Result<Vec<Envelope>, AppendError> {
        self.fate.pass("before an append").await;
        self.clock.pass_ms(self.up_to(3)).await;
        self.check_claims(&append).await;
        self.unanswered.lock().unwrap().push(append.clone());
        let answer = self.inner.append(append.clone()).await;
        self.fate.pass("after an append").await;
        self.clock.pass_ms(self.up_to(3)).await;
        self.unanswered.lock().unwrap().retain(|other| *other != append);
        if let Ok(envelopes) = &answer {
            self.book.acknowledged(envelopes);
            self.fate.pass("after an acknowledgement").await;
            if self.up_to(15) == 0 {
                self.append_again(append, envelopes).await;
            }
        }
        answer
    }

    async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, ReadError> {
        self.clock.pass_ms(self.up_to(1)).await;
        let events = self.inner.events(run_id).await;
        if !self.fate.is_dead() {
            events.iter().for_each(|events| self.book.shown(events));
        }
        events
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<RunSummary>, ReadError> {
        self.inner.runs(query).await
    }

    async fn run(&self, run_id: RunId) -> Result<Option<RunSummary>, ReadError> {
        self.inner.run(run_id).await
    }

    async fn open_runs(&self) -> Result<Vec<RunId>, ReadError> {
        self.inner.open_runs().await
    }

    async fn lane(&self, lane: &LaneId) -> Result<Lane, ReadError> {
        self.clock.pass_ms(self.up_to(1)).await;
        self.inner.lane(lane).await
    }

    async fn lanes(&self) -> Result<Vec<(LaneId, Lane)>, ReadError> {
        self.inner.lanes().await
    }

    async fn claimed(&self, claim: &str) -> Result<Option<RunId>, ReadError> {
        self.clock.pass_ms(self.up_to(1)).await;
        self.inner.claimed(claim).await
    }

    async fn near_end(&self, events: u64) -> Cursor {
        self.inner.near_end(events).await
    }

    fn follow(&self, from: Cursor) -> BoxStream<'static, Result<(Cursor, Envelope), ReadError>> {
        self.inner.follow(from).boxed()
    }

    fn log_id(&self) -> Uuid {
        self.inner.log_id()
    }

    async fn failed(&self) -> String {
        self.inner.failed().await
    }
}
