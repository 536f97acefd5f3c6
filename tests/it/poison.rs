//! An effect that stops every engine which begins it is not tried for ever.

use std::sync::Arc;

use landfall_engine::core::event::Event;
use landfall_engine::core::run::{Blocked, Run, RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::EventStore;
use landfall_store::MemoryStore;

use crate::crash::{engine, with_a_live_release};
use crate::world::{Answer, World, digest_of, push};

/// Starts engines until one of them survives; returns the run as that one leaves it, and how many died.
async fn engines_until_one_survives(
    store: &Arc<MemoryStore>,
    world: &Arc<World>,
    run_id: RunId,
) -> (Run, u32) {
    for died in 0..10 {
        let engine = engine(store.clone(), world).await;
        let run = tokio::select! {
            biased;
            () = world.stopped.notified() => None,
            run = engine.settled(run_id) => Some(run.unwrap()),
        };
        engine.shutdown().await;
        if let Some(run) = run {
            return (run, died);
        }
    }
    panic!("ten engines died of the same effect");
}

/// Pushes, and stops the engine where the world says so.
async fn push_until_dead(store: &Arc<MemoryStore>, world: &Arc<World>) -> RunId {
    let engine = engine(store.clone(), world).await;
    let run_id = engine.trigger(push('b'), "ada", None).await.unwrap().run_id;
    world.stopped.notified().await;
    engine.shutdown().await;
    run_id
}

async fn names(store: &Arc<MemoryStore>, run_id: RunId) -> Vec<&'static str> {
    store.events(run_id).await.unwrap().iter().map(|envelope| envelope.event.name()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_stops_every_engine_parks_its_run_and_ops_are_told() {
    let world = World::new();
    let store = with_a_live_release(&world).await;
    world.answer(Stage::Smoke, Some(Answer::Red));
    world.stop_at_each("/rollback/");
    let run_id = push_until_dead(&store, &world).await;
    let (run, died) = engines_until_one_survives(&store, &world, run_id).await;
    assert_eq!(run.parked().unwrap().at, Blocked::Rollback { attempt: 1 });
    assert_eq!(died, 2, "the third engine start that finds it unconcluded parks it");
    assert!(world.things().notices.keys().any(|key| key.contains("/notice/parked-")), "ops were not told");
    world.go_on();
    let engine = engine(store.clone(), &world).await;
    engine.resolve(run_id, landfall_engine::core::event::Decision::Retry, "ada").await.unwrap();
    assert_eq!(engine.settled(run_id).await.unwrap().state, RunState::RolledBack);
    assert_eq!(world.serves(), Some(digest_of(&"a".repeat(40))));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_stops_every_engine_is_abandoned_with_its_reason_and_the_run_closes() {
    let world = World::new();
    let store = with_a_live_release(&world).await;
    world.answer(Stage::Test, Some(Answer::Red));
    world.stop_at_each("/notice/");
    let run_id = push_until_dead(&store, &world).await;
    let (run, died) = engines_until_one_survives(&store, &world, run_id).await;
    assert_eq!((run.state, run.is_closed(), died), (RunState::Failed, true, 2));
    let events = store.events(run_id).await.unwrap();
    let reason = events.iter().find_map(|envelope| match &envelope.event {
        Event::NoticeErrored { reason, retry_due_ms: None, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.unwrap().contains("it may be what stops the engine"));
}

#[tokio::test(start_paused = true)]
async fn an_undoing_that_stops_every_engine_parks_its_run() {
    let world = World::new();
    let store = with_a_live_release(&world).await;
    world.answer(Stage::Test, Some(Answer::Hang));
    let first = engine(store.clone(), &world).await;
    let run_id = first.trigger(push('b'), "ada", None).await.unwrap().run_id;
    while !names(&store, run_id).await.ends_with(&["stage_succeeded", "stage_started"]) {
        tokio::task::yield_now().await;
    }
    world.stop_at_each("/test/");
    first.cancel(run_id, "ada", "wrong branch").await.unwrap();
    world.stopped.notified().await;
    first.shutdown().await;
    let (run, died) = engines_until_one_survives(&store, &world, run_id).await;
    assert_eq!(run.parked().unwrap().at, Blocked::Stage { stage: Stage::Test, attempt: 1 });
    assert_eq!(died, 2);
}

#[tokio::test(start_paused = true)]
async fn a_push_whose_engine_dies_before_anything_else_is_done_by_the_next_one() {
    let world = World::new();
    let store = with_a_live_release(&world).await;
    world.stop_at(1, crate::world::Moment::Before);
    let run_id = push_until_dead(&store, &world).await;
    world.go_on();
    let (run, died) = engines_until_one_survives(&store, &world, run_id).await;
    assert_eq!((run.state, died), (RunState::Live, 0));
}
