//! What is counted as it is recorded.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::{RunId, RunState};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::AppendError;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// How many lanes are told apart; a server with more of them has the rest under one name.
pub(super) const LANES_MAX: usize = 500;

/// An append waits for one `fdatasync`: a tenth of a millisecond on a good disk, seconds on a drowning one.
const APPEND_BUCKETS_S: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// A stage takes from a blink (a switch) to its limit, which is 20 minutes for a build.
const STAGE_BUCKETS_S: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1200.0];

/// Names and values of labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// The counters and histograms of a process.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    append_seconds: Histogram,
    append_failures: Family<Labels, Counter>,
    events: Family<Labels, Counter>,
    runs_started: Family<Labels, Counter>,
    runs_ended: Family<Labels, Counter>,
    stage_seconds: Family<Labels, Histogram, fn() -> Histogram>,
    stage_errors: Family<Labels, Counter>,
    parkings: Family<Labels, Counter>,
    notices: Family<Labels, Counter>,
    lanes: std::sync::Arc<Mutex<Lanes>>,
}

/// Which lane a run is of, while it is open; and the lanes that have a label of their own.
#[derive(Debug, Default)]
struct Lanes {
    of_runs: HashMap<RunId, LaneId>,
    labelled: std::collections::HashSet<LaneId>,
}

impl Counted {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let stage_histogram: fn() -> Histogram = || Histogram::new(STAGE_BUCKETS_S);
        let counted = Self {
            append_seconds: Histogram::new(APPEND_BUCKETS_S),
            append_failures: Family::default(),
            events: Family::default(),
            runs_started: Family::default(),
            runs_ended: Family::default(),
            stage_seconds: Family::new_with_constructor(stage_histogram),
            stage_errors: Family::default(),
            parkings: Family::default(),
            notices: Family::default(),
            lanes: Default::default(),
        };
        let help = "How long the event log took to make events durable";
        registry.register_with_unit("log_append", help, Unit::Seconds, counted.append_seconds.clone());
        let help = "Appends that the event log refused, by reason";
        registry.register("log_append_failures", help, counted.append_failures.clone());
        registry.register("log_events", "Events that were recorded, by type", counted.events.clone());
        let help = "Runs that were started, by app and environment";
        registry.register("runs_started", help, counted.runs_started.clone());
        let help = "Runs that came to their end, by app, environment and state";
        registry.register("runs_ended", help, counted.runs_ended.clone());
        let help = "How long attempts at a stage took, from the intent to the outcome";
        registry.register_with_unit("stage_duration", help, Unit::Seconds, counted.stage_seconds.clone());
        let help = "Attempts at a stage that gave no answer, by stage; those that are tried again, too";
        registry.register("stage_errors", help, counted.stage_errors.clone());
        let help = "Runs that were parked for a person, by app and environment";
        registry.register("run_parkings", help, counted.parkings.clone());
        let help = "Notices by outcome: sent, errored (to be tried again), abandoned";
        registry.register("notices", help, counted.notices.clone());
        counted
    }

    /// Counts an append that was acknowledged.
    pub(super) fn appended(&self, took: Duration) {
        self.append_seconds.observe(took.as_secs_f64());
    }

    /// Counts an append that was not.
    pub(super) fn refused(&self, error: &AppendError) {
        let reason = match error {
            // Somebody else was first: how several writers live together, and no failure.
            AppendError::Conflict { .. } | AppendError::Claimed { .. } => return,
            AppendError::Fenced => "fenced",
            AppendError::Full => "full",
            AppendError::Unknown { .. } => "unknown",
            AppendError::Refused { .. } => "refused",
            AppendError::Corrupt { .. } => "corrupt",
        };
        self.append_failures.get_or_create(&vec![("reason", reason.into())]).inc();
    }

    /// Tells whether the lane of a run is known, so that its events can be counted by it.
    pub(super) fn knows(&self, run: RunId) -> bool {
        self.lanes().of_runs.contains_key(&run)
    }

    /// Notes the lane of a run.
    pub(super) fn learn(&self, run: RunId, lane: LaneId) {
        self.lanes().of_runs.insert(run, lane);
    }

    /// Counts an event that is durable.
    pub(super) fn note(&self, envelope: &Envelope) {
        let run = envelope.run_id;
        self.events.get_or_create(&vec![("type", envelope.event.name().into())]).inc();
        match &envelope.event {
            Event::RunStarted { lane, .. } => {
                self.learn(run, lane.clone());
                self.runs_started.get_or_create(&self.lane_of(run)).inc();
            }
            Event::StageSucceeded { stage, took_ms, .. } => self.stage(*stage, "succeeded", *took_ms),
            Event::StageFailed { stage, took_ms, .. } => self.stage(*stage, "failed", *took_ms),
            Event::StageErrored { stage, .. } => {
                self.stage_errors.get_or_create(&vec![("stage", stage.name().into())]).inc();
            }
            Event::RollbackSucceeded { took_ms, .. } => {
                self.duration("rollback", "succeeded", *took_ms);
                self.ended(run, RunState::RolledBack);
            }
            Event::RollbackErrored { .. } => {
                self.stage_errors.get_or_create(&vec![("stage", "rollback".into())]).inc();
            }
            Event::RunLive { .. } => self.ended(run, RunState::Live),
            Event::RunFailed { .. } => self.ended(run, RunState::Failed),
            Event::RunParked { .. } => {
                self.parkings.get_or_create(&self.lane_of(run)).inc();
            }
            Event::NoticeSent { .. } => self.notice("sent"),
            Event::NoticeErrored { retry_due_ms: Some(_), .. } => self.notice("errored"),
            Event::NoticeErrored { retry_due_ms: None, .. } => self.notice("abandoned"),
            Event::RunClosed => {
                self.lanes().of_runs.remove(&run);
            }
            _ => {}
        }
    }

    fn stage(&self, stage: Stage, outcome: &str, took_ms: u64) {
        self.duration(stage.name(), outcome, took_ms);
    }

    fn duration(&self, stage: &str, outcome: &str, took_ms: u64) {
        let labels = vec![("stage", stage.into()), ("outcome", outcome.into())];
        self.stage_seconds.get_or_create(&labels).observe(Duration::from_millis(took_ms).as_secs_f64());
    }

    fn ended(&self, run: RunId, state: RunState) {
        let mut labels = self.lane_of(run);
        labels.push(("state", state_name(state).into()));
        self.runs_ended.get_or_create(&labels).inc();
    }

    fn notice(&self, outcome: &str) {
        self.notices.get_or_create(&vec![("outcome", outcome.into())]).inc();
    }

    /// Returns the labels of a run's lane.
    fn lane_of(&self, run: RunId) -> Labels {
        let mut lanes = self.lanes();
        let Lanes { of_runs, labelled } = &mut *lanes;
        let known = of_runs.get(&run).filter(|lane| {
            labelled.contains(*lane) || (labelled.len() < LANES_MAX && labelled.insert((*lane).clone()))
        });
        known.map_or_else(|| labels("other", "other"), |lane| labels(&lane.app, &lane.env))
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the labels of an app in an environment.
pub(super) fn labels(app: &str, env: &str) -> Labels {
    vec![("app", app.to_owned()), ("env", env.to_owned())]
}

/// Returns the stored name of a state, which is also its label.
pub(super) const fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Pushed => "pushed",
        RunState::Tested => "tested",
        RunState::Built => "built",
        RunState::ImagePushed => "image_pushed",
        RunState::Deployed => "deployed",
        RunState::Smoked => "smoked",
        RunState::Live => "live",
        RunState::Failed => "failed",
        RunState::RolledBack => "rolled_back",
    }
}
