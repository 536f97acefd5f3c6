//! The candidate goes, the former release serves: with containers that really stop and start.

use landfall_engine::core::command::RollbackOutcome;
use landfall_engine::core::facts::Candidate;
use landfall_engine::core::run::Run;
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::Settings;
use landfall_engine::ports::StageExecutor;
use landfall_stages::proxy::Route;
use uuid::Uuid;

use crate::world::Lines;
use crate::world::World;
use crate::world::docker;

/// Returns a run that went live over a former release.
fn live_over_former(world: &World) -> (Run, Candidate) {
    let mut run = world.run(Settings::default());
    let former_run = RunId(Uuid::now_v7());
    let former = world.start(former_run);
    let candidate = world.start(run.id);
    world.proxy.set(Some(Route {
        app: "shop".into(),
        env: "production".into(),
        host: None,
        mount: None,
        generation: 7,
        target: Some(candidate.address),
        release: "sha256:new".into(),
        run: run.id.to_string(),
        drain_ms: 1_000,
    }));
    run.candidate = Some(candidate);
    run.entry.as_mut().unwrap().replaces = Some(world.release(former_run, former.clone()));
    (run, former)
}

async fn roll_back(world: &World, run: &Run) -> RollbackOutcome {
    world.stages.rollback(&world.rollback_order(run), &Lines::default().output()).await
}

#[tokio::test]
async fn the_candidate_is_removed_and_the_former_container_serves_on() {
    let world = World::new().await;
    let (run, former) = live_over_former(&world);
    let first = roll_back(&world, &run).await;
    let RollbackOutcome::Succeeded { serving, .. } = &first else { panic!("{first:?}") };
    assert_eq!(serving.as_deref(), Some("sha256:former"));
    assert_eq!(world.containers(), [format!("{}+", former.container)]);
    assert_eq!(world.proxy.route().unwrap().target, Some(former.address));
    assert_eq!(roll_back(&world, &run).await, first);
}

#[tokio::test]
async fn a_former_container_that_was_stopped_is_started_at_its_own_address() {
    let world = World::new().await;
    let (run, former) = live_over_former(&world);
    docker(&["stop", "-t", "1", &former.container]);
    let outcome = roll_back(&world, &run).await;
    assert!(matches!(outcome, RollbackOutcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!(world.containers(), [format!("{}+", former.container)]);
}

#[tokio::test]
async fn a_former_container_that_is_gone_keeps_the_candidate_serving() {
    let world = World::new().await;
    let (run, former) = live_over_former(&world);
    docker(&["rm", "-f", &former.container]);
    let outcome = roll_back(&world, &run).await;
    let RollbackOutcome::Errored { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("is gone: deploy 127.0.0.1:5000/edge@sha256:former again"), "{reason}");
    assert_eq!(world.containers(), [format!("landfall-edge-{}+", run.id.short())]);
    assert_eq!(world.proxy.route().unwrap().generation, 7);
}
