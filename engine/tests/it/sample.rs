//! Values that tests speak in.

use landfall_engine::core::command::{Command, Outcome, Push, RollbackOutcome};
use landfall_engine::core::decide::decide;
use landfall_engine::core::effect::{Effect, next_effect};
use landfall_engine::core::event::{Commit, Event};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, PushedImage, SmokeReport, Switched, TestReport,
};
use landfall_engine::core::lane::{Lane, LaneId, Release};
use landfall_engine::core::ledger::LedgerEvent;
use landfall_engine::core::run::{Run, RunId};
use landfall_engine::core::settings::{DeploySettings, NotifySettings, ReleaseSettings, Settings};
use landfall_engine::core::stage::Stage;
use uuid::Uuid;

/// A moment. Tests that need another one add to it.
pub const NOW_MS: u64 = 1_700_000_000_000;

pub fn run_id(n: u128) -> RunId {
    RunId(Uuid::from_u128(n))
}

pub fn commit() -> Commit {
    Commit {
        sha: "c0ffee0000000000000000000000000000000000".into(),
        branch: Some("main".into()),
        subject: "Sell more".into(),
        author: "Ada".into(),
        email: "ada@example.com".into(),
    }
}

pub fn push() -> Push {
    Push {
        lane: LaneId::production("shop"),
        commit: commit(),
        repository: "/srv/git/shop.git".into(),
        trigger: "git push".into(),
        release_hold: false,
    }
}

pub fn settings() -> Settings {
    Settings {
        service: "shop".into(),
        notify: NotifySettings { developer: vec!["webhook:DEVELOPER".into()], ops: vec!["slack:OPS".into()] },
        ..Settings::default()
    }
}

pub fn image() -> PushedImage {
    PushedImage { repository: "127.0.0.1:5000/shop".into(), tag: "run-1".into(), digest: "sha256:d1".into() }
}

pub fn candidate() -> Candidate {
    Candidate {
        container: "landfall-shop-1".into(),
        container_id: "c1".into(),
        address: "127.0.0.1:20001".parse().expect("an address"),
        healthy_after_ms: 120,
    }
}

pub fn release(n: u128) -> Release {
    Release { run: run_id(n), commit: commit(), image: image(), candidate: candidate(), live_at_ms: NOW_MS }
}

/// What each stage finds out when all is well.
pub fn facts(stage: Stage, settings: Settings) -> Facts {
    let report = SmokeReport { address: "http://127.0.0.1:20001".into(), checks: Vec::new() };
    match stage {
        Stage::Checkout => Facts::Checkout(Checkout {
            tree: "7ree".into(),
            settings: Box::new(settings),
            configured_by: "landfall.toml".into(),
            guesses: vec![],
        }),
        Stage::Test => Facts::Test(TestReport::default()),
        Stage::Build => Facts::Build(BuiltImage {
            image_id: "sha256:b1".into(),
            reference: "127.0.0.1:5000/shop:run-1".into(),
            generated_dockerfile: false,
        }),
        Stage::PushImage => Facts::PushImage(image()),
        Stage::ReleaseCommand => Facts::ReleaseCommand,
        Stage::Deploy => Facts::Deploy(candidate()),
        Stage::Smoke => Facts::Smoke(report),
        Stage::GoLive => Facts::GoLive(Switched { generation: 1, address: "http://127.0.0.1:8080".into() }),
        Stage::PublicSmoke => Facts::PublicSmoke(report),
    }
}

pub fn report(stage: Stage, attempt: u32, outcome: Outcome) -> Command {
    Command::Report { stage, attempt, outcome, took_ms: 5, output: None }
}

pub fn green(stage: Stage) -> Command {
    report(stage, 1, Outcome::Succeeded(facts(stage, settings())))
}

pub fn red(stage: Stage, reason: &str) -> Command {
    report(stage, 1, Outcome::failed(reason))
}

pub fn silent(stage: Stage, attempt: u32) -> Command {
    report(stage, attempt, Outcome::errored("Docker did not reply"))
}

pub fn rolled_back() -> Command {
    let outcome = RollbackOutcome::Succeeded { serving: None, proof: "nothing serves".into() };
    Command::ReportRollback { attempt: 1, outcome, took_ms: 5 }
}

/// A run, the lane it deploys to, and the time: what `given(...)` returns.
#[derive(Clone, Debug)]
pub struct Story {
    pub lane: Lane,
    pub run: Option<Run>,
    pub now_ms: u64,
    pub last: Vec<Event>,
    pub all: Vec<Event>,
    /// The run after each event.
    pub runs: Vec<Run>,
}

/// Begins a story before the run has started.
pub fn nothing() -> Story {
    Story {
        lane: Lane::default(),
        run: None,
        now_ms: NOW_MS,
        last: Vec::new(),
        all: Vec::new(),
        runs: Vec::new(),
    }
}

/// Begins a story with a run that works on a stage, all before it being green.
#[track_caller]
pub fn running(stage: Stage) -> Story {
    let mut story = nothing().when(Command::Push(push()));
    while let Some(before) = story.stage_in_flight().filter(|before| *before != stage) {
        story = story.when(green(before));
        if before == Stage::PushImage {
            story = story.when(Command::EnterLane);
        }
    }
    assert_eq!(story.stage_in_flight(), Some(stage), "the story did not come to {stage}");
    story
}

/// How long the deploy of a gated run may wait to be approved.
pub const PATIENCE_MS: u64 = 3_600_000;

/// Settings by which a person approves each deploy.
pub fn gated_settings() -> Settings {
    let deploy = DeploySettings { approval_ms: Some(PATIENCE_MS), ..DeploySettings::default() };
    Settings { deploy, ..settings() }
}

/// Begins a story with a run that pushes its image, and whose deploy must be approved.
#[track_caller]
pub fn gated() -> Story {
    let facts = facts(Stage::Checkout, gated_settings());
    let story =
        nothing().when(Command::Push(push())).when(report(Stage::Checkout, 1, Outcome::Succeeded(facts)));
    [Stage::Test, Stage::Build].into_iter().fold(story, |story, stage| story.when(green(stage)))
}

/// Begins a story with a run that pushes its image, and has a release command.
#[track_caller]
pub fn migrating() -> Story {
    let release = ReleaseSettings { command: "flask db upgrade".into(), timeout_ms: 60_000 };
    let settings = Settings { release: Some(release), ..settings() };
    let checked_out = report(Stage::Checkout, 1, Outcome::Succeeded(facts(Stage::Checkout, settings)));
    let story = nothing().when(Command::Push(push())).when(checked_out);
    [Stage::Test, Stage::Build].into_iter().fold(story, |story, stage| story.when(green(stage)))
}

impl Story {
    pub fn stage_in_flight(&self) -> Option<Stage> {
        match self.run.as_ref().and_then(next_effect) {
            Some(Effect::RunStage { stage, .. }) => Some(stage),
            _ => None,
        }
    }

    pub fn run(&self) -> &Run {
        self.run.as_ref().expect("the run has started")
    }

    pub fn later(mut self, ms: u64) -> Self {
        self.now_ms += ms;
        self
    }

    /// Decides and believes.
    #[track_caller]
    pub fn when(self, command: Command) -> Self {
        let name = format!("{command:?}");
        let events = decide(&self.lane, self.run.as_ref(), command, self.now_ms)
            .unwrap_or_else(|refused| panic!("{name} was refused: {refused}"));
        self.then_recorded(events)
    }

    /// Believes what was decided elsewhere.
    #[track_caller]
    pub fn then_recorded(mut self, events: Vec<Event>) -> Self {
        for event in &events {
            let seq = self.run.as_ref().map_or(1, |run| run.seq + 1);
            let place = Place { run_id: run_id(1), seq, at_ms: self.now_ms };
            self.run = Some(evolve(self.run.take(), place, event).expect("what is decided is legal"));
            self.lane.apply(run_id(1), self.now_ms, event);
            self.runs.extend(self.run.clone());
        }
        self.all.extend(events.clone());
        self.last = events;
        self
    }

    /// Compares the names of the events that the last command led to.
    #[track_caller]
    pub fn then<const N: usize>(self, names: [&str; N]) -> Self {
        let found: Vec<&str> = self.last.iter().map(Event::name).collect();
        assert_eq!(found, names);
        self
    }

    #[track_caller]
    pub fn and_next(self, effect: Option<Effect>) -> Self {
        assert_eq!(next_effect(self.run()), effect);
        self
    }

    #[track_caller]
    pub fn refuses(self, command: Command) -> String {
        let refused = decide(&self.lane, self.run.as_ref(), command, self.now_ms);
        refused.expect_err("it should be refused").to_string()
    }
}

/// Every kind of event, with values that fit a run in its first attempt at the stages named.
pub fn every_event() -> Vec<Event> {
    use landfall_engine::core::event::{Cause, Decision, Found, HeldCommit, Origin, OutputRef};
    use landfall_engine::core::facts::{Failure, TestCounts, TestFailure};
    use landfall_engine::core::notice::{Audience, NoticeId, Occasion};
    use landfall_engine::core::run::Blocked;

    let notice = NoticeId {
        occasion: Occasion::Failed,
        audience: Audience::Developer,
        channel: "webhook:DEVELOPER".into(),
    };
    let output = Some(OutputRef { len: 12, sha256: "ab".repeat(32) });
    let origin =
        Origin::Push { commit: commit(), repository: "/srv/git/shop.git".into(), release_hold: false };
    let report = TestReport {
        exit_code: 1,
        counts: Some(TestCounts { passed: 2, failed: 1, skipped: 0 }),
        first_failures: vec![TestFailure { name: "test_pay".into(), message: "assert 1 == 2".into() }],
    };
    let failure = Failure { reason: "red".into(), tail: vec!["last line".into()], tests: Some(report) };
    let cause = Cause::StageFailed { stage: Stage::Smoke, reason: "503".into() };
    let mut events =
        vec![Event::RunStarted { lane: LaneId::production("shop"), origin, trigger: "git push".into() }];
    for stage in Stage::ALL {
        events.push(Event::StageStarted { stage, attempt: 1, deadline_ms: NOW_MS });
    }
    for stage in Stage::ALL {
        let facts = facts(stage, settings());
        events.push(Event::StageSucceeded { stage, attempt: 1, facts, took_ms: 5, output: output.clone() });
    }
    for stage in Stage::ALL {
        events.push(Event::StageFailed {
            stage,
            attempt: 1,
            failure: failure.clone(),
            took_ms: 5,
            output: None,
        });
        let (reason, retry_due_ms) = ("no answer".to_owned(), Some(NOW_MS));
        events.push(Event::StageErrored { stage, attempt: 1, reason: reason.clone(), retry_due_ms });
        events.push(Event::StageErrored { stage, attempt: 1, reason, retry_due_ms: None });
        events.push(Event::StageRecovered { stage, attempt: 1, found: Found::Running });
        events.push(Event::StageUndone { stage, attempt: 1 });
        events.push(Event::StageSkipped { stage, reason: "by hand".into() });
    }
    events.push(Event::StageStarted { stage: Stage::Test, attempt: 2, deadline_ms: NOW_MS });
    events.extend([
        Event::DeploymentStarted {
            branch: Some("main".into()),
            replaces: Some(Box::new(release(7))),
            generation: 1,
        },
        Event::CancelRequested { reason: "no".into() },
        Event::RollbackStarted { attempt: 1, cause: cause.clone(), deadline_ms: NOW_MS },
        Event::RollbackStarted { attempt: 2, cause: cause.clone(), deadline_ms: NOW_MS },
        Event::RollbackSucceeded {
            attempt: 1,
            serving: Some("sha256:d0".into()),
            proof: "GET / = 200".into(),
            hold: Some(HeldCommit { sha: commit().sha, reason: "smoke: 503".into() }),
            took_ms: 5,
        },
        Event::RollbackErrored { attempt: 1, reason: "no answer".into(), retry_due_ms: Some(NOW_MS) },
        Event::RunParked { at: Blocked::Stage { stage: Stage::Test, attempt: 1 }, reason: "unknown".into() },
        Event::RunParked { at: Blocked::Stage { stage: Stage::Smoke, attempt: 1 }, reason: "unknown".into() },
        Event::RunParked { at: Blocked::Rollback { attempt: 1 }, reason: "unknown".into() },
        Event::RunUnparked { decision: Decision::Retry },
        Event::RunUnparked { decision: Decision::Skip { reason: "by hand".into() } },
        Event::RunUnparked { decision: Decision::Abort { reason: "no".into() } },
        Event::RunLive { release: Box::new(release(1)) },
        Event::RunFailed { cause: cause.clone() },
        Event::RunFailed { cause: Cause::Cancelled { reason: "no".into() } },
        Event::RunFailed { cause: Cause::Superseded { by: run_id(2) } },
        Event::RunFailed { cause: Cause::Held { since: Some(run_id(2)) } },
        Event::RunFailed { cause: Cause::Aborted { reason: "no".into() } },
        Event::NoticeStarted { notice: notice.clone(), attempt: 1 },
        Event::NoticeSent { notice: notice.clone(), receipt: "200".into() },
        Event::NoticeErrored { notice: notice.clone(), attempt: 1, reason: "503".into(), retry_due_ms: None },
        Event::RunClosed,
        Event::UndoRecovered { stage: Stage::Test, attempt: 1 },
        Event::RollbackRecovered { attempt: 1 },
        Event::NoticeRecovered { notice, attempt: 1 },
        Event::RunFailed { cause: Cause::Held { since: None } },
        Event::Ledger(LedgerEvent::LaneResumed { lane: LaneId::production("shop") }),
        Event::ApprovalRequested { until_ms: NOW_MS },
        Event::RunApproved,
        Event::RunRejected { reason: "not before the sale".into() },
        Event::RunFailed { cause: Cause::Rejected { reason: "not before the sale".into() } },
        Event::RunFailed { cause: Cause::NotApproved { until_ms: NOW_MS } },
    ]);
    events
}

/// Compares with a checked-in text. `UPDATE_EXPECT=1` writes it anew.
#[track_caller]
pub fn same_as_file(name: &str, found: &str) {
    let path = format!("{}/tests/it/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, found).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(
        expected == found,
        "{name} differs from line {:?} on (UPDATE_EXPECT=1 writes it anew):\n{found}",
        line.map(|line| line + 1)
    );
}
