//! What an engine takes on, and what it says beyond.

use std::sync::Arc;

use landfall_engine::core::command::Rejected;
use landfall_engine::core::event::Decision;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_engine::core::ways::{Way, ways_on};
use landfall_engine::limits::Busy;
use landfall_engine::{Engine, EngineError, Limits, Parts};
use landfall_store::MemoryStore;

use crate::lifecycle::Rig;
use crate::world::{Answer, NoOutput, World, push};

async fn within(world: Arc<World>, limits: Limits) -> Rig {
    let parts = Parts {
        store: Arc::new(MemoryStore::new()),
        executor: world.clone(),
        outputs: Arc::new(NoOutput),
        clock: world.clock.clone(),
    };
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
