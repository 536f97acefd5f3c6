//! How long the steps of a run usually take in its lane: so that who waits knows whether to wait.
//!
//! ```text
//! the last green runs of a lane ──▶ each step's time, as the picture shows it ──▶ the median of each
//! ```
//!
//! The median, because one slow build must not make the next ten look quick.

use std::collections::BTreeMap;

use landfall_engine::core::event::Envelope;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{EventStore, ReadError, RunQuery};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::picture::model::{Mark, Picture};

/// How many green runs are looked at: enough that one slow night does not count, few enough to follow an app
/// that grows.
pub const RUNS_MAX: usize = 20;

/// How many runs of the app are gone through for them. Another environment may have had most.
const LOOKED_AT_MAX: usize = 200;

/// The stage that stands for each of the eight steps. The trigger of the deploy waits for others, and no time is usual
/// for that.
const STAGES: [Option<Stage>; 8] = [
    None,
    Some(Stage::Test),
    Some(Stage::Build),
    Some(Stage::PushImage),
    None,
    Some(Stage::Deploy),
    Some(Stage::Smoke),
    Some(Stage::GoLive),
];

/// The usual time of each step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usual {
    /// Milliseconds, by the stage that the step is named after: `test` has the checkout in it, `deploy` the release
    /// command, `go_live` the check of the public address.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub steps: BTreeMap<Stage, u64>,
}

impl Usual {
    /// Returns the usual time of one of the eight steps, counted from 0, in milliseconds.
    pub fn of_step(&self, step: usize) -> Option<u64> {
        let stage = (*STAGES.get(step)?)?;
        self.steps.get(&stage).copied()
    }
}

/// Returns the usual times of a lane's steps, by its last green runs; of those before `before`, if it is given.
///
/// # Errors
///
/// [`ReadError`] when the log can't be read.
pub async fn usual_ms(
    store: &dyn EventStore,
    lane: &LaneId,
    before: Option<RunId>,
) -> Result<Usual, ReadError> {
    let query =
        RunQuery { app: Some(lane.app.clone()), state: Some(RunState::Live), before, ..RunQuery::default() };
    let green = store.runs(RunQuery { limit: LOOKED_AT_MAX, ..query }).await?;
    let mut histories = Vec::new();
    for run in green.into_iter().filter(|run| run.lane == *lane).take(RUNS_MAX) {
        histories.push(store.events(run.id).await?);
    }
    Ok(usual(&histories))
}

/// Returns the median of each step over these runs. A step that a run did not do itself is not counted.
pub fn usual(histories: &[Vec<Envelope>]) -> Usual {
    let mut times: BTreeMap<Stage, Vec<u64>> = BTreeMap::new();
    for history in histories {
        let mut picture = Picture::default();
        history.iter().for_each(|envelope| picture.take(envelope));
        for (step, stage) in picture.steps.iter().zip(STAGES) {
            if let (Mark::Done, Some(stage), Some(began_ms), Some(ended_ms)) =
                (step.mark, stage, step.began_ms, step.ended_ms)
            {
                times.entry(stage).or_default().push(ended_ms.saturating_sub(began_ms));
            }
        }
    }
    Usual { steps: times.into_iter().map(|(stage, times)| (stage, median(times))).collect() }
}

/// The lower one of two in the middle: a time that was really seen.
fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use landfall_engine::core::event::{Commit, Event, EventHash, Origin};
    use landfall_engine::core::facts::{Facts, PushedImage, TestReport};
    use uuid::Uuid;

    use super::*;

    /// A history in which the tests took so long; None: they were another run's.
    fn history(test_ms: Option<u64>) -> Vec<Envelope> {
        let commit = Commit {
            sha: "c0ffee".into(),
            branch: None,
            subject: String::new(),
            author: "Ada".into(),
            email: String::new(),
        };
        let origin = Origin::Push { commit, repository: "/src/shop".into(), release_hold: false };
        let started =
            Event::RunStarted { lane: LaneId::production("shop"), origin, trigger: "git push".into() };
        let began = |stage| Event::StageStarted { stage, attempt: 1, deadline_ms: 0 };
        let green = |facts: Facts, took_ms| Event::StageSucceeded {
            stage: facts.stage(),
            attempt: 1,
            facts,
            took_ms,
            output: None,
        };
        let mut events = vec![(0, started)];
        if let Some(test_ms) = test_ms {
            events.push((0, began(Stage::Test)));
            events.push((test_ms, green(Facts::Test(TestReport::default()), test_ms)));
        }
        let image = PushedImage { repository: "r/shop".into(), tag: "t".into(), digest: "sha256:00".into() };
        events.push((0, began(Stage::PushImage)));
        events.push((7, green(Facts::PushImage(image), 7)));
        let mut now_ms = 0;
        let envelopes = events.into_iter().zip(1..).map(|((later_ms, event), seq)| {
            now_ms += later_ms;
            Envelope {
                run_id: RunId(Uuid::from_u128(7)),
                seq,
                global_seq: seq,
                event_id: Uuid::nil(),
                schema: 1,
                recorded_at_ms: now_ms,
                actor: "ada".into(),
                engine: String::new(),
                effect_key: None,
                event,
                hash: EventHash::default(),
            }
        });
        envelopes.collect()
    }

    #[test]
    fn the_usual_time_is_the_median_and_one_slow_night_does_not_move_it() {
        let times = [Some(900), Some(3_900), Some(4_100), Some(90_000), None];
        let usual = usual(&times.map(history));
        assert_eq!(usual.steps, BTreeMap::from([(Stage::Test, 3_900), (Stage::PushImage, 7)]));
        assert_eq!((usual.of_step(1), usual.of_step(3), usual.of_step(4)), (Some(3_900), Some(7), None));
        assert_eq!(serde_json::to_string(&usual).unwrap(), r#"{"steps":{"test":3900,"push_image":7}}"#);
    }

    #[test]
    fn without_a_green_run_nothing_is_usual() {
        assert_eq!(usual(&[]), Usual::default());
        assert_eq!((0..9).filter_map(|step| Usual::default().of_step(step)).count(), 0);
    }
}
