//! Whole runs on a world in memory: the three endings, lanes, cancels, retries, rollbacks by hand.

use std::sync::Arc;

use futures_util::StreamExt;
use landfall_engine::core::command::Rejected;
use landfall_engine::core::event::{Cause, Event};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::ledger::{Ledger, LedgerEvent, ledger_of};
use landfall_engine::core::run::{Run, RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::{Engine, EngineError, Parts};
use landfall_store::MemoryStore;

use crate::world::{Answer, NoOutput, World, digest_of, push};

/// An engine on a world in memory.
pub struct Rig {
    pub engine: Engine,
    pub world: Arc<World>,
}

impl Rig {
    pub async fn new(world: Arc<World>) -> Self {
        let parts = Parts {
            store: Arc::new(MemoryStore::new()),
            executor: world.clone(),
            outputs: Arc::new(NoOutput),
            clock: world.clock.clone(),
        };
        Self { engine: Engine::start(parts).await.unwrap(), world }
    }

    pub async fn push(&self, sha: char) -> RunId {
        self.engine.trigger(push(sha), "ada", None).await.unwrap().run_id
    }

    pub async fn settled(&self, run_id: RunId) -> Run {
        self.engine.settled(run_id).await.unwrap()
    }

    pub async fn live(&self, sha: char) -> Run {
        let run = self.push(sha).await;
        let run = self.settled(run).await;
        assert_eq!(run.state, RunState::Live);
        run
    }

    /// Waits until a run has an event of this name.
    pub async fn until(&self, run_id: RunId, wanted: impl Fn(&Event) -> bool) {
        let mut events = self.engine.watch(run_id);
        while let Some(envelope) = events.next().await {
            if wanted(&envelope.unwrap().event) {
                return;
            }
        }
        panic!("the run ended without the event");
    }
}

fn starts(stage: Stage) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::StageStarted { stage: started, .. } if *started == stage)
}

#[tokio::test(start_paused = true)]
async fn a_green_push_goes_live() {
    let rig = Rig::new(World::new()).await;
    rig.live('a').await;
    assert_eq!(rig.world.serves(), Some(digest_of(&"a".repeat(40))));
    assert_eq!(rig.world.things().containers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn red_tests_fail_the_run_tell_the_developer_and_leave_what_serves_alone() {
    let rig = Rig::new(World::new()).await;
    rig.live('a').await;
    rig.world.answer(Stage::Test, Some(Answer::Red));
    let run = rig.push('b').await;
    let run = rig.settled(run).await;
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(rig.world.serves(), Some(digest_of(&"a".repeat(40))));
    let told: Vec<String> = rig.world.things().notices.keys().cloned().collect();
    assert_eq!(told, [format!("{}/notice/failed/developer/webhook:DEV", run.id)]);
}

#[tokio::test(start_paused = true)]
async fn a_red_smoke_test_rolls_back_tells_ops_and_the_former_release_serves() {
    let rig = Rig::new(World::new()).await;
    rig.live('a').await;
    for stage in [Stage::Deploy, Stage::Smoke, Stage::GoLive, Stage::PublicSmoke] {
        rig.world.answer(stage, Some(Answer::Red));
        let mut again = push('b');
        again.release_hold = true;
        let run = rig.engine.trigger(again, "ada", None).await.unwrap().run_id;
        let run = rig.settled(run).await;
        assert_eq!(run.state, RunState::RolledBack, "{stage}");
        assert_eq!(rig.world.serves(), Some(digest_of(&"a".repeat(40))), "{stage}");
        assert_eq!(rig.world.things().containers.len(), 1, "{stage}: the candidate is gone");
        let key = format!("{}/notice/rolled_back/ops/webhook:OPS", run.id);
        assert_eq!(rig.world.things().notices.get(&key), Some(&1), "{stage}");
        rig.world.answer(stage, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_deploy_that_is_rolled_back_leaves_nothing_serving() {
    let rig = Rig::new(World::answering(Stage::PublicSmoke, Answer::Red)).await;
    let run = rig.push('a').await;
    assert_eq!(rig.settled(run).await.state, RunState::RolledBack);
    assert_eq!(rig.world.serves(), None);
    assert!(rig.world.things().containers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stage_without_an_answer_is_tried_again_until_it_has_one() {
    for stage in Stage::ALL.into_iter().filter(|stage| *stage != Stage::ReleaseCommand) {
        let rig = Rig::new(World::answering(stage, Answer::Silent(4))).await;
        let run = rig.push('a').await;
        assert_eq!(rig.settled(run).await.state, RunState::Live, "{stage}");
        assert_eq!(rig.world.things().violations, Vec::<String>::new(), "{stage}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_never_answers_parks_the_run_and_ops_are_told() {
    let rig = Rig::new(World::answering(Stage::Build, Answer::Silent(99))).await;
    let run = rig.push('a').await;
    let run = rig.settled(run).await;
    let parked = run.parked().expect("it is parked");
    assert_eq!(parked.reason, "build gave no answer in 5 tries: no reply");
    assert_eq!(rig.world.things().notices.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_hangs_is_stopped_at_its_deadline_and_leaves_nothing() {
    let rig = Rig::new(World::answering(Stage::Test, Answer::Hang)).await;
    let run = rig.push('a').await;
    let run = rig.settled(run).await;
    assert_eq!(run.state, RunState::Failed);
    let Some(Cause::StageFailed { reason, .. }) = run.cause else { panic!("it has a cause") };
    assert_eq!(reason, "the tests were stopped after 600s: make them faster, or raise `[test] timeout`");
    assert!(rig.world.things().containers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_stops_what_is_in_flight_and_fails() {
    let rig = Rig::new(World::answering(Stage::Test, Answer::Hang)).await;
    let run = rig.push('a').await;
    rig.until(run, starts(Stage::Test)).await;
    rig.engine.cancel(run, "ada", "wrong branch").await.unwrap();
    let run = rig.settled(run).await;
    assert_eq!(run.cause, Some(Cause::Cancelled { reason: "wrong branch".into() }));
    assert_eq!(run.state, RunState::Failed);
    assert!(rig.world.things().containers.is_empty());
    let refused = rig.engine.cancel(run.id, "ada", "again").await;
    assert!(matches!(refused, Err(EngineError::Rejected(Rejected::Finished(RunState::Failed)))));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_while_deploying_is_rolled_back() {
    let rig = Rig::new(World::new()).await;
    rig.live('a').await;
    rig.world.answer(Stage::Deploy, Some(Answer::Hang));
    let run = rig.push('b').await;
    rig.until(run, starts(Stage::Deploy)).await;
    rig.engine.cancel(run, "ada", "no").await.unwrap();
    assert_eq!(rig.settled(run).await.state, RunState::RolledBack);
    assert_eq!(rig.world.serves(), Some(digest_of(&"a".repeat(40))));
}

#[tokio::test(start_paused = true)]
async fn runs_of_one_lane_deploy_one_after_the_other_and_only_the_newest_waiting_one() {
    let rig = Rig::new(World::answering(Stage::Deploy, Answer::Hang)).await;
    let first = rig.push('a').await;
    rig.until(first, starts(Stage::Deploy)).await;
    let second = rig.push('b').await;
    rig.until(second, |event| matches!(event, Event::StageSucceeded { stage: Stage::PushImage, .. })).await;
    let third = rig.push('c').await;
    let second = rig.settled(second).await;
    assert_eq!(second.cause, Some(Cause::Superseded { by: third }));
    rig.world.answer(Stage::Deploy, None);
    rig.engine.cancel(first, "ada", "make way").await.unwrap();
    assert_eq!(rig.settled(third).await.state, RunState::Live);
    assert_eq!(rig.settled(first).await.state, RunState::RolledBack);
}

#[tokio::test(start_paused = true)]
async fn one_claim_starts_one_run_however_often_it_is_delivered() {
    let rig = Rig::new(World::new()).await;
    let deliveries = (0..100).map(|_| rig.engine.trigger(push('a'), "forge", Some("delivery-1".into())));
    let runs: Vec<_> =
        futures_util::future::join_all(deliveries).await.into_iter().map(Result::unwrap).collect();
    assert!(runs.iter().all(|triggered| triggered.run_id == runs[0].run_id));
    assert_eq!(runs.iter().filter(|triggered| triggered.fresh).count(), 1);
    rig.settled(runs[0].run_id).await;
    let later = rig.engine.trigger(push('a'), "forge", Some("delivery-1".into())).await.unwrap();
    assert!(!later.fresh);
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_about_the_installation_is_known_at_once_and_after_a_restart() {
    let world = World::new();
    let parts = Parts {
        store: Arc::new(MemoryStore::new()),
        executor: world.clone(),
        outputs: Arc::new(NoOutput),
        clock: world.clock.clone(),
    };
    let engine = Engine::start(parts.clone()).await.unwrap();
    let mut ledger = engine.ledger();
    let known = |app: &str| LedgerEvent::AppRegistered { app: app.into(), registration: Box::default() };
    let many = ["shop", "blog", "docs"].map(|app| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.record(known(app), "ada").await.unwrap() })
    });
    for one in many {
        one.await.unwrap();
    }
    engine.record(LedgerEvent::AppRemoved { app: "docs".into() }, "bob").await.unwrap();
    let apps = |ledger: &Ledger| ledger.apps.keys().cloned().collect::<Vec<_>>();
    assert_eq!(apps(&ledger.borrow_and_update()), ["blog", "shop"]);
    let recorded = engine.store().events(ledger_of(engine.store().log_id())).await.unwrap();
    assert_eq!(recorded.iter().map(|event| &*event.actor).collect::<Vec<_>>(), ["ada", "ada", "ada", "bob"]);
    engine.shutdown().await;
    let again = Engine::start(parts).await.unwrap();
    assert_eq!(apps(&again.ledger().borrow()), ["blog", "shop"]);
    again.record(known("docs"), "ada").await.unwrap();
    assert_eq!(apps(&again.ledger().borrow()), ["blog", "docs", "shop"]);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_by_hand_makes_the_former_release_live_without_building_it() {
    let rig = Rig::new(World::new()).await;
    rig.live('a').await;
    rig.live('b').await;
    let lane = LaneId::production("shop");
    let run = rig.engine.rollback(&lane, None, "landfall rollback", "ada", "slow").await.unwrap();
    assert_eq!(rig.settled(run).await.state, RunState::Live);
    assert_eq!(rig.world.serves(), Some(digest_of(&"a".repeat(40))));
    let builds = rig.world.things().done.iter().filter(|key| key.contains("/build/")).count();
    assert_eq!(builds, 2);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_with_nothing_to_go_back_to_says_so() {
    let rig = Rig::new(World::new()).await;
    rig.live('a').await;
    let lane = LaneId::production("shop");
    let refused = rig.engine.rollback(&lane, None, "landfall rollback", "ada", "slow").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "shop/production has no former release to go back to; `landfall runs --app shop` lists what was live"
    );
}

#[tokio::test(start_paused = true)]
async fn the_former_release_stays_warm_for_ten_minutes_and_is_then_removed() {
    let rig = Rig::new(World::new()).await;
    rig.live('a').await;
    rig.live('b').await;
    tokio::time::sleep(std::time::Duration::from_secs(9 * 60)).await;
    assert_eq!(rig.world.things().containers.len(), 2);
    tokio::time::sleep(std::time::Duration::from_secs(2 * 60)).await;
    assert_eq!(rig.world.things().containers.len(), 1);
    assert!(rig.world.things().folders.is_empty(), "the checkouts of closed runs are gone");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_each_event_once_in_order_and_then_the_end() {
    let rig = Rig::new(World::new()).await;
    let run = rig.push('a').await;
    let seen: Vec<u64> = rig.engine.watch(run).map(|envelope| envelope.unwrap().seq).collect().await;
    let all = rig.engine.store().events(run).await.unwrap();
    assert_eq!(seen, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(all.last().map(|last| last.event.clone()), Some(Event::RunClosed));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_is_too_large_to_be_recorded_parks_its_run_and_no_other() {
    let rig = Rig::new(World::answering(Stage::Test, Answer::Huge)).await;
    let run = rig.push('a').await;
    let run = rig.settled(run).await;
    let reason = &run.parked().expect("it is parked").reason;
    assert!(reason.contains("its outcome could not be recorded"), "{reason}");
    rig.world.answer(Stage::Test, None);
    rig.live('b').await;
    rig.engine.cancel(run.id, "ada", "too large").await.unwrap();
    assert_eq!(rig.settled(run.id).await.state, RunState::Failed);
}
