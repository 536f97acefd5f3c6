//! Where a person finds what an attempt made, when the engine can't tell what became of it.

use std::sync::Arc;

use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::run::{Run, RunId};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::Order;
use uuid::Uuid;

use crate::plan;

/// Returns what an attempt at a stage makes or uses: the kind of thing, and its name.
pub fn things_of(run: &Run, stage: Stage, attempt: u32) -> Vec<(&'static str, String)> {
    let order = Order {
        run: Arc::new(run.clone()),
        stage,
        attempt,
        key: EffectKey::stage(run.id, stage, attempt),
        deadline_ms: 0,
        // No name has the log's id in it.
        log_id: Uuid::nil(),
    };
    let container = |name: Result<String, String>| name.ok().map(|name| ("container", name));
    let image = || plan::image_name(&order).ok().map(|image| ("image", image.to_string()));
    let candidate = || {
        container(match &run.candidate {
            Some(candidate) => Ok(candidate.container.clone()),
            None => plan::candidate_name(&order),
        })
    };
    let folder = || Some(("folder", format!("work/{} in the data folder", run.id)));
    let on_host = run.settings.as_deref().is_some_and(|settings| settings.test.host);
    let things = match stage {
        Stage::Checkout => [folder(), None],
        Stage::Test if on_host => [folder(), None],
        Stage::Test => [container(plan::one_shot_name("test", &order)), folder()],
        Stage::Build | Stage::PushImage => [image(), None],
        Stage::ReleaseCommand => [container(plan::one_shot_name("release", &order)), image()],
        Stage::Deploy | Stage::Smoke | Stage::GoLive | Stage::PublicSmoke => [candidate(), image()],
    };
    things.into_iter().flatten().collect()
}

/// Returns the command that lists every container of a run, running or not.
pub fn containers_of(run: RunId) -> String {
    format!("docker ps --all --filter label={}={run}", plan::LABEL_RUN)
}
