//! The engine dies at every append and at every effect of every ending; the next one finishes the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Append, AppendError, Cursor, EventStore, ReadError, RunQuery};
use landfall_engine::{Engine, Parts};
use landfall_store::MemoryStore;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::world::{Answer, Moment, NoOutput, World, digest_of, push};

/// A store whose engine dies at the nth append: before it is recorded, or after, with no answer. Its other answers
/// come late by `lag`.
#[derive(Debug)]
struct DyingStore {
    lag: Duration,
    inner: Arc<MemoryStore>,
    left: AtomicU32,
    moment: Moment,
    died: Notify,
}

#[async_trait]
impl EventStore for DyingStore {
    async fn append(&self, append: Append) -> Result<Vec<Envelope>, AppendError> {
        let dies = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if dies && self.moment == Moment::Before {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        let appended = self.inner.append(append).await;
        tokio::time::sleep(self.lag).await;
        if dies {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        appended
    }

    async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, ReadError> {
        self.inner.events(run_id).await
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
        self.inner.lane(lane).await
    }

    async fn lanes(&self) -> Result<Vec<(LaneId, Lane)>, ReadError> {
        self.inner.lanes().await
    }

    async fn claimed(&self, claim: &str) -> Result<Option<RunId>, ReadError> {
        self.inner.claimed(claim).await
    }

    async fn near_end(&self, events: u64) -> Cursor {
        self.inner.near_end(events).await
    }

    fn follow(&self, from: Cursor) -> BoxStream<'static, Result<(Cursor, Envelope), ReadError>> {
        self.inner.follow(from)
    }

    fn log_id(&self) -> Uuid {
        self.inner.log_id()
    }

    async fn failed(&self) -> String {
        self.inner.failed().await
    }
}

/// The endings that are crashed into.
const SCENARIOS: [(Option<Stage>, RunState); 8] = [
    (None, RunState::Live),
    (Some(Stage::Checkout), RunState::Failed),
    (Some(Stage::Test), RunState::Failed),
    (Some(Stage::Build), RunState::Failed),
    (Some(Stage::PushImage), RunState::Failed),
    (Some(Stage::Deploy), RunState::RolledBack),
    (Some(Stage::Smoke), RunState::RolledBack),
    (Some(Stage::PublicSmoke), RunState::RolledBack),
];

pub async fn engine(store: Arc<dyn EventStore>, world: &Arc<World>) -> Engine {
    let clock = world.clock.clone();
    let parts = Parts { store, executor: world.clone(), outputs: Arc::new(NoOutput), clock };
    Engine::start(parts).await.unwrap()
}

/// Makes a first release live, so that there is something to roll back to.
pub async fn with_a_live_release(world: &Arc<World>) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let first = engine(store.clone(), world).await;
    let run = first.trigger(push('a'), "ada", None).await.unwrap().run_id;
    assert_eq!(first.settled(run).await.unwrap().state, RunState::Live);
    first.shutdown().await;
    store
}

/// What must hold once the run has ended, however often the engine died.
async fn check(store: &Arc<MemoryStore>, world: &Arc<World>, ending: RunState, what: &str) {
    let second = engine(store.clone(), world).await;
    for run in store.open_runs().await.unwrap() {
        second.settled(run).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let newest = store.runs(RunQuery::default()).await.unwrap().remove(0);
    if newest.commit.sha.starts_with('b') {
        assert_eq!(newest.state, ending, "{what}");
        let expected = if ending == RunState::Live { 'b' } else { 'a' };
        assert_eq!(world.serves(), Some(digest_of(&expected.to_string().repeat(40))), "{what}");
    }
    let audit = landfall_engine::audit::replay(&store.events(newest.id).await.unwrap(), None);
    assert_eq!(audit.problems, Vec::<String>::new(), "{what}");
    second.shutdown().await;
    let things = world.things();
    assert_eq!(things.violations, Vec::<String>::new(), "{what}");
    // The live release, and after a switch the former one that is kept warm.
    let containers = if ending == RunState::Live && newest.commit.sha.starts_with('b') { 2 } else { 1 };
    assert_eq!(things.containers.len(), containers, "{what}: {:?}", things.containers);
    assert!(things.notices.values().all(|times| *times <= 2), "{what}");
}

/// Pushes, and ends the engine when it is told to die or the run has ended. Returns whether it died.
///
/// Stopping is crashing: nothing is undone, nothing is recorded.
async fn push_and_die(engine: &Engine, dies: &Notify) -> bool {
    let run = async {
        let run = engine.trigger(push('b'), "ada", None).await.unwrap().run_id;
        engine.settled(run).await.unwrap();
    };
    let died = tokio::select! {
        biased;
        () = dies.notified() => true,
        () = run => false,
    };
    engine.shutdown().await;
    died
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_at_any_append_is_replaced_by_one_that_ends_the_run_as_it_would_have() {
    let mut points = 0;
    for (red, ending) in SCENARIOS {
        for moment in [Moment::Before, Moment::After] {
            for nth in 1.. {
                let world = World::new();
                let store = with_a_live_release(&world).await;
                if let Some(stage) = red {
                    world.answer(stage, Some(Answer::Red));
                }
                let dying = Arc::new(DyingStore {
                    inner: store.clone(),
                    lag: Duration::ZERO,
                    left: AtomicU32::new(nth),
                    moment,
                    died: Notify::new(),
                });
                let first = engine(dying.clone(), &world).await;
                let died = push_and_die(&first, &dying.died).await;
                check(&store, &world, ending, &format!("{red:?} {moment:?} append {nth}")).await;
                if !died {
                    break;
                }
                points += 1;
            }
        }
    }
    assert!(points > 100, "only {points} points were crashed at");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_at_any_effect_is_replaced_by_one_that_ends_the_run_as_it_would_have() {
    let mut points = 0;
    for (red, ending) in SCENARIOS {
        for moment in [Moment::Before, Moment::After] {
            for nth in 1.. {
                let world = World::new();
                let store = with_a_live_release(&world).await;
                if let Some(stage) = red {
                    world.answer(stage, Some(Answer::Red));
                }
                world.stop_at(nth, moment);
                let first = engine(store.clone(), &world).await;
                let died = push_and_die(&first, &world.stopped).await;
                world.go_on();
                check(&store, &world, ending, &format!("{red:?} {moment:?} effect {nth}")).await;
                if !died {
                    break;
                }
                points += 1;
            }
        }
    }
    assert!(points > 50, "only {points} points were crashed at");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_down_past_a_deadline_takes_nobody_for_red() {
    for stage in [Stage::Test, Stage::Build, Stage::Smoke, Stage::PublicSmoke] {
        let world = World::new();
        let store = with_a_live_release(&world).await;
        world.answer(stage, Some(Answer::Hang));
        let first = engine(store.clone(), &world).await;
        let run = first.trigger(push('b'), "ada", None).await.unwrap().run_id;
        let mut events = first.watch(run);
        while let Some(envelope) = events.next().await {
            if matches!(envelope.unwrap().event, Event::StageStarted { stage: started, .. } if started == stage)
            {
                break;
            }
        }
        first.shutdown().await;
        world.answer(stage, None);
        tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
        check(&store, &world, RunState::Live, &format!("down for a day in {stage}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_while_its_push_is_recorded_leaves_a_run_that_is_driven() {
    let world = World::new();
    let store = with_a_live_release(&world).await;
    let slow = Arc::new(DyingStore {
        inner: store.clone(),
        lag: Duration::from_millis(10),
        left: AtomicU32::new(u32::MAX),
        moment: Moment::After,
        died: Notify::new(),
    });
    let engine = engine(slow, &world).await;
    let hung_up =
        tokio::time::timeout(Duration::from_millis(5), engine.trigger(push('b'), "ada", None)).await;
    assert!(hung_up.is_err(), "the answer came before the client had gone");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let run = store.runs(RunQuery::default()).await.unwrap().remove(0);
    assert!(run.commit.sha.starts_with('b'), "the push was not recorded");
    assert_eq!((run.state, run.open), (RunState::Live, false), "the run stands still");
    engine.shutdown().await;
}
