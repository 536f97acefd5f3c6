//! What an engine takes on, and what it says beyond.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use landfall_engine::core::command::Rejected;
use landfall_engine::core::event::{Cause, Decision, Event};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{Blocked, Run, RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::core::ways::{Way, ways_on};
use landfall_engine::limits::Busy;
use landfall_engine::{Engine, EngineError, Limits, Parts};
use landfall_store::MemoryStore;

use crate::lifecycle::Rig;
use crate::world::{Answer, NoOutput, World, push};

/// No run of these tests goes on for longer by itself: what is not settled then never will be.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

fn events_max(run_events_max: u64) -> Limits {
    Limits { run_events_max, ..Limits::default() }
}

async fn settled(rig: &Rig, run_id: RunId) -> Run {
    tokio::time::timeout(LONG, rig.settled(run_id)).await.expect("the run comes to rest")
}

async fn holder(rig: &Rig) -> Option<RunId> {
    rig.engine.store().lane(&LaneId::production("shop")).await.unwrap().holder
}

async fn within(world: Arc<World>, limits: Limits) -> Rig {
    on(Arc::new(MemoryStore::new()), world, limits).await
}

/// Starts an engine on a log that other engines may have written.
async fn on(store: Arc<MemoryStore>, world: Arc<World>, limits: Limits) -> Rig {
    let parts =
        Parts { store, executor: world.clone(), outputs: Arc::new(NoOutput), clock: world.clock.clone() };
    Rig { engine: Engine::start_within(parts, limits).await.unwrap(), world }
}

#[tokio::test(start_paused = true)]
async fn a_lane_with_as_many_open_runs_as_it_may_have_takes_no_more_until_one_has_ended() {
    let limits = Limits { lane_runs_max: 2, ..Limits::default() };
    let rig = within(World::answering(Stage::Test, Answer::Hang), limits).await;
    let first = rig.engine.trigger(push('a'), "ada", Some("delivery-1".into())).await.unwrap().run_id;
    rig.push('b').await;
    let refused = rig.engine.trigger(push('c'), "ada", None).await.unwrap_err();
    let lane = LaneId::production("shop");
    assert!(
        matches!(&refused, EngineError::Busy(Busy::Lane { lane: full, max: 2 }) if *full == lane),
        "{refused}"
    );
    assert_eq!(
        refused.to_string(),
        "shop/production has 2 open runs, which is as many as it may have: wait until one ends, or cancel some \
         (`landfall runs --app shop --open` lists them)"
    );
    assert!(matches!(rig.engine.admits(&lane).await, Err(EngineError::Busy(_))));
    let again = rig.engine.trigger(push('a'), "ada", Some("delivery-1".into())).await.unwrap();
    assert_eq!((again.run_id, again.fresh), (first, false), "what was taken is answered for");
    let mut elsewhere = push('c');
    elsewhere.lane = LaneId { app: "shop".into(), env: "staging".into() };
    rig.engine.trigger(elsewhere, "ada", None).await.unwrap();

    rig.engine.cancel(first, "ada", "room is needed").await.unwrap();
    rig.settled(first).await;
    while rig.engine.admits(&lane).await.is_err() {
        tokio::task::yield_now().await;
    }
    rig.push('c').await;
    rig.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_with_as_many_open_runs_as_it_may_have_takes_no_push_and_still_rolls_back_by_hand() {
    let limits = Limits { open_runs_max: 1, ..Limits::default() };
    let rig = within(World::new(), limits).await;
    for sha in ['a', 'b'] {
        let run = rig.live(sha).await;
        while rig.engine.admits(&run.lane).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
    rig.world.answer(Stage::Test, Some(Answer::Hang));
    rig.push('c').await;
    let refused = rig.engine.trigger(push('d'), "ada", None).await.unwrap_err();
    assert!(matches!(refused, EngineError::Busy(Busy::Engine { max: 1 })), "{refused}");
    let back =
        rig.engine.rollback(&LaneId::production("shop"), None, "api", "ada", "it is slow").await.unwrap();
    assert_eq!(rig.settled(back).await.state, RunState::Live);
    rig.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_with_as_many_events_as_it_may_have_is_parked_and_can_be_given_up() {
    let limits = Limits { run_events_max: 8, ..Limits::default() };
    let rig = within(World::answering(Stage::Test, Answer::Silent(u32::MAX)), limits).await;
    let run_id = rig.push('a').await;
    let run = rig.settled(run_id).await;
    let reason = run.parked().unwrap().reason.clone();
    assert!(reason.starts_with("the run has 9 events and begins no more stages from 8 on"), "{reason}");
    let refused = rig.engine.resolve(run_id, Decision::Retry, "ada").await.unwrap_err();
    assert!(matches!(refused, EngineError::Rejected(Rejected::TooLong { max: 8, .. })), "{refused}");
    rig.engine.resolve(run_id, Decision::Abort { reason: "no use".into() }, "ada").await.unwrap();
    let run = rig.settled(run_id).await;
    assert_eq!((run.state, run.is_closed()), (RunState::Failed, true));
    rig.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn wherever_a_run_comes_to_its_limit_giving_it_up_leaves_nothing_and_frees_its_lane() {
    let mut parked_at = 0;
    for max in 2..24 {
        let limits = Limits { run_events_max: max, ..Limits::default() };
        let rig = within(World::new(), limits).await;
        let run_id = rig.push('a').await;
        let run = rig.settled(run_id).await;
        if run.parked().is_some() {
            parked_at += 1;
            assert_eq!(ways_on(max, &run), [Way::Abort], "{max}");
            let refused = rig.engine.resolve(run_id, Decision::Retry, "ada").await.unwrap_err();
            assert!(matches!(refused, EngineError::Rejected(Rejected::TooLong { .. })), "{max}: {refused}");
            rig.engine.resolve(run_id, Decision::Abort { reason: "no".into() }, "ada").await.unwrap();
            let run = rig.settled(run_id).await;
            let expected = if run.deploy_begun { RunState::RolledBack } else { RunState::Failed };
            assert_eq!((run.state, run.is_closed()), (expected, true), "{max}");
            assert_eq!(rig.world.serves(), None, "{max}");
        } else {
            assert_eq!(run.state, RunState::Live, "{max}");
        }
        let lane = rig.engine.store().lane(&LaneId::production("shop")).await.unwrap();
        assert_eq!(lane.holder, None, "{max}");
        rig.engine.shutdown().await;
    }
    assert!(parked_at > 10, "only {parked_at} limits were come to");
}

#[tokio::test(start_paused = true)]
async fn wherever_a_run_came_to_its_limit_an_engine_with_a_higher_one_brings_it_live_by_the_lane() {
    let decisions = [Decision::Retry, Decision::Skip { reason: "by hand".into() }];
    let (mut retried, mut skipped) = (BTreeSet::new(), BTreeSet::new());
    for (max, decision) in (2..30).flat_map(|max| decisions.clone().map(|decision| (max, decision))) {
        let (store, world) = (Arc::new(MemoryStore::new()), World::migrating());
        let rig = on(store.clone(), world.clone(), events_max(max)).await;
        let run_id = rig.push('a').await;
        let run = settled(&rig, run_id).await;
        rig.engine.shutdown().await;
        let Some(Blocked::Stage { stage, attempt: 0 }) = run.parked().map(|parked| parked.at) else {
            assert_eq!(run.state, RunState::Live, "{max}");
            continue;
        };
        let retry = decision == Decision::Retry;
        if !retry && !stage.is_skippable() {
            continue;
        }
        let what = format!("{decision:?} before {stage}, where it is parked from {max} on");
        let rig = on(store, world, Limits::default()).await;
        rig.engine.resolve(run_id, decision, "ada").await.expect(&what);
        let run = settled(&rig, run_id).await;
        assert_eq!((run.state, run.is_closed()), (RunState::Live, true), "{what}");
        let migrated = rig.engine.store().events(run_id).await.unwrap().into_iter().any(|envelope| {
            matches!(envelope.event, Event::StageSucceeded { stage: Stage::ReleaseCommand, .. })
        });
        assert_eq!(migrated, retry || stage != Stage::ReleaseCommand, "{what}");
        assert_eq!(holder(&rig).await, None, "{what}");
        let next = rig.push('b').await;
        assert_eq!(settled(&rig, next).await.state, RunState::Live, "{what}: the lane is free");
        rig.engine.shutdown().await;
        if retry {
            retried.insert(stage)
        } else {
            skipped.insert(stage)
        };
    }
    let between = |stage: &Stage| !matches!(stage, Stage::Checkout | Stage::PublicSmoke);
    assert_eq!(retried, Stage::ALL.into_iter().filter(between).collect());
    assert_eq!(skipped, retried.into_iter().filter(|stage| stage.is_skippable()).collect());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_parked_before_its_lane_does_not_deploy_over_a_newer_one() {
    let (store, world) = (Arc::new(MemoryStore::new()), World::new());
    let rig = on(store.clone(), world.clone(), events_max(9)).await;
    let older = rig.push('a').await;
    let run = settled(&rig, older).await;
    let at = Blocked::Stage { stage: Stage::Deploy, attempt: 0 };
    assert_eq!((run.parked().map(|parked| parked.at), run.holds_lane()), (Some(at), false));
    rig.engine.shutdown().await;
    let rig = on(store, world, Limits::default()).await;
    let newer = rig.push('b').await;
    assert_eq!(settled(&rig, newer).await.state, RunState::Live);
    rig.engine.resolve(older, Decision::Retry, "ada").await.unwrap();
    let run = settled(&rig, older).await;
    assert_eq!((run.state, run.cause), (RunState::Failed, Some(Cause::Superseded { by: newer })));
    assert_eq!(holder(&rig).await, None);
    rig.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_queued_run_that_is_too_long_when_its_turn_comes_is_in_nobodys_way() {
    let (store, world) = (Arc::new(MemoryStore::new()), World::new());
    let rig = on(store.clone(), world.clone(), Limits::default()).await;
    rig.live('a').await;
    rig.live('b').await;
    rig.world.answer(Stage::Deploy, Some(Answer::Hang));
    let deploying = rig.push('c').await;
    rig.until(deploying, |event| matches!(event, Event::StageStarted { stage: Stage::Deploy, .. })).await;
    let queued = rig.push('d').await;
    rig.until(queued, |event| matches!(event, Event::StageSucceeded { stage: Stage::PushImage, .. })).await;
    rig.engine.shutdown().await;

    let rig = on(store, world, events_max(9)).await;
    rig.engine.cancel(deploying, "ada", "it hangs").await.unwrap();
    assert_eq!(settled(&rig, deploying).await.state, RunState::RolledBack);
    let run = settled(&rig, queued).await;
    let at = Blocked::Stage { stage: Stage::Deploy, attempt: 0 };
    assert_eq!((run.parked().map(|parked| parked.at), run.entry), (Some(at), None));
    assert_eq!(holder(&rig).await, None);
    rig.world.answer(Stage::Deploy, None);
    let lane = LaneId::production("shop");
    let back = rig.engine.rollback(&lane, None, "api", "ada", "it is slow").await.unwrap();
    assert_eq!(settled(&rig, back).await.state, RunState::Live);
    rig.engine.shutdown().await;
}
