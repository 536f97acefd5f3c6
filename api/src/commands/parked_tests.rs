//! Each way to be parked, as a person reads it. `UPDATE_EXPECTED=1` writes the texts anew.

use landfall_engine::core::event::{Cause, Commit, EventHash, Origin};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, Failure, PushedImage, SmokeReport, Switched, TestReport,
};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::{ReleaseSettings, RollbackSettings, Settings};
use landfall_engine::core::ways::ways_on;
use uuid::Uuid;

use super::*;

const START_MS: u64 = 1_700_000_000_000;
const DIGEST: &str = "sha256:90ab12cd34ef5678901290ab12cd34ef5678901290ab12cd34ef567890129012";

/// A run and its history, one event a second.
struct Story {
    run: Option<Run>,
    events: Vec<Envelope>,
    output: Vec<String>,
    run_events_max: u64,
}

impl Story {
    /// Begins with a push that got as far as its image.
    fn pushed(settings: Settings) -> Self {
        let origin = Origin::Push {
            commit: commit("3f2a", "Add the cart"),
            repository: "/src/shop".into(),
            release_hold: false,
        };
        let lane = LaneId::production("shop");
        let story = Self { run: None, events: Vec::new(), output: Vec::new(), run_events_max: u64::MAX };
        let checkout = Checkout {
            tree: "t".into(),
            settings: Box::new(settings),
            configured_by: "landfall.toml".into(),
            guesses: vec![],
        };
        let built = BuiltImage {
            image_id: "sha256:5e1f00aa11bb22cc".into(),
            reference: "127.0.0.1:5000/shop:run-9f3e1c2a7b4d".into(),
            generated_dockerfile: false,
        };
        story
            .then(Event::RunStarted { lane, origin, trigger: "git push".into() })
            .passes(Facts::Checkout(checkout))
            .passes(Facts::Test(TestReport::default()))
            .passes(Facts::Build(built))
            .passes(Facts::PushImage(image()))
            .then(Event::DeploymentStarted {
                branch: Some("main".into()),
                replaces: Some(Box::new(former())),
                generation: 4,
            })
    }

    fn then(mut self, event: Event) -> Self {
        let seq = self.events.len() as u64 + 1;
        let at_ms = START_MS + 1_000 * seq;
        let place = Place { run_id: run_id(), seq, at_ms };
        self.run = Some(evolve(self.run.take(), place, &event).unwrap());
        self.events.push(Envelope {
            run_id: run_id(),
            seq,
            global_seq: seq,
            event_id: Uuid::from_u128(u128::from(seq)),
            schema: 1,
            recorded_at_ms: at_ms,
            actor: "ada".into(),
            engine: "0.1.0".into(),
            effect_key: None,
            event,
            hash: EventHash::default(),
        });
        self
    }

    fn starts(self, stage: Stage, attempt: u32) -> Self {
        self.then(Event::StageStarted { stage, attempt, deadline_ms: START_MS + 600_000 })
    }

    fn passes(self, facts: Facts) -> Self {
        let stage = facts.stage();
        let passed = Event::StageSucceeded { stage, attempt: 1, facts, took_ms: 900, output: None };
        self.starts(stage, 1).then(passed)
    }

    fn red(self, stage: Stage, reason: &str) -> Self {
        let failure = Failure::new(reason);
        self.starts(stage, 1).then(Event::StageFailed {
            stage,
            attempt: 1,
            failure,
            took_ms: 900,
            output: None,
        })
    }

    fn rolls_back(self, attempt: u32) -> Self {
        let cause = Cause::StageFailed { stage: Stage::PublicSmoke, reason: "GET / gave 503".into() };
        self.then(Event::RollbackStarted { attempt, cause, deadline_ms: START_MS + 600_000 })
    }

    fn parks(self, at: Blocked, reason: &str) -> Self {
        self.then(Event::RunParked { at, reason: reason.into() })
    }

    fn prints(mut self, lines: &[&str]) -> Self {
        self.output = lines.iter().map(ToString::to_string).collect();
        self
    }

    #[track_caller]
    fn is(self, name: &str) {
        let run = self.run.as_ref().unwrap();
        let live = former();
        let ways = ways_on(self.run_events_max, run);
        let report = report(
            run,
            run.parked().unwrap(),
            &self.events,
            Some(&live),
            self.output,
            " --data /data",
            &ways,
        );
        let json = serde_json::to_string_pretty(&report).unwrap();
        let shown = format!("{}\n== as JSON\n{json}\n", report.text());
        let path = format!("{}/src/commands/expected/parked_{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&path, &shown).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(shown, expected, "{name}: shown (left) differs from {path} (right)");
    }
}

fn run_id() -> RunId {
    "018bcfe5-6800-7000-8000-9f3e1c2a7b4d".parse().unwrap()
}

fn commit(sha: &str, subject: &str) -> Commit {
    Commit {
        sha: sha.repeat(10),
        branch: Some("main".into()),
        subject: subject.into(),
        author: "Ada Lovelace".into(),
        email: "ada@example.com".into(),
    }
}

fn image() -> PushedImage {
    PushedImage {
        repository: "127.0.0.1:5000/shop".into(),
        tag: "run-9f3e1c2a7b4d".into(),
        digest: DIGEST.into(),
    }
}

fn candidate(name: &str) -> Candidate {
    Candidate {
        container: format!("landfall-shop-production-{name}"),
        container_id: "c0ffee".into(),
        address: "127.0.0.1:20113".parse().unwrap(),
        healthy_after_ms: 310,
    }
}

fn former() -> Release {
    Release {
        run: "018bcfe5-6700-7000-8000-0f0f0f0f0f0f".parse().unwrap(),
        commit: commit("beef", "Sell more"),
        image: PushedImage { digest: format!("sha256:{}", "d".repeat(64)), ..image() },
        candidate: candidate("0f0f0f0f0f0f"),
        live_at_ms: START_MS - 86_400_000,
    }
}

fn settings() -> Settings {
    Settings { service: "shop".into(), ..Settings::default() }
}

fn deployed(settings: Settings) -> Story {
    Story::pushed(settings).passes(Facts::Deploy(candidate("9f3e1c2a7b4d")))
}

fn switched() -> Story {
    deployed(settings())
        .passes(Facts::Smoke(SmokeReport::default()))
        .passes(Facts::GoLive(Switched { generation: 4, address: "http://127.0.0.1:8080".into() }))
}

#[test]
fn at_a_release_command_that_may_or_may_not_have_run() {
    let release = ReleaseSettings { command: "flask db upgrade".into(), timeout_ms: 60_000 };
    let (stage, attempt) = (Stage::ReleaseCommand, 1);
    Story::pushed(Settings { release: Some(release), ..settings() })
        .starts(stage, attempt)
        .then(Event::StageRecovered { stage, attempt, found: Found::Unknown })
        .parks(
            Blocked::Stage { stage, attempt },
            "it can't be told whether release_command happened: its container landfall-release-shop-9f3e1c2a7b4d-1 \
             is gone",
        )
        .prints(&["INFO  [alembic] Running upgrade 12 -> 13"])
        .is("release_command");
}

#[test]
fn after_five_tries_without_an_answer() {
    let stage = Stage::PushImage;
    let reason = "the registry 127.0.0.1:5000 did not answer: connection refused";
    let checkout = Checkout {
        tree: "t".into(),
        settings: Box::new(settings()),
        configured_by: "landfall.toml".into(),
        guesses: vec![],
    };
    let built = BuiltImage {
        image_id: "sha256:5e1f00aa11bb22cc".into(),
        reference: "127.0.0.1:5000/shop:run-9f3e1c2a7b4d".into(),
        generated_dockerfile: false,
    };
    let origin = Origin::Push {
        commit: commit("3f2a", "Add the cart"),
        repository: "/src/shop".into(),
        release_hold: false,
    };
    let mut story = Story { run: None, events: Vec::new(), output: Vec::new(), run_events_max: u64::MAX }
        .then(Event::RunStarted { lane: LaneId::production("shop"), origin, trigger: "git push".into() })
        .passes(Facts::Checkout(checkout))
        .passes(Facts::Test(TestReport::default()))
        .passes(Facts::Build(built));
    for attempt in 1..=5 {
        let retry_due_ms = (attempt < 5).then_some(START_MS);
        story = story.starts(stage, attempt).then(Event::StageErrored {
            stage,
            attempt,
            reason: reason.into(),
            retry_due_ms,
        });
    }
    let at = Blocked::Stage { stage, attempt: 5 };
    story.parks(at, &format!("push_image gave no answer in 5 tries: {reason}")).is("five_tries");
}

#[test]
fn at_a_rollback_that_could_not_be_finished() {
    let mut story = switched().red(Stage::PublicSmoke, "GET / gave 503");
    let reason = "the traffic proxy did not answer: connection refused";
    for attempt in 1..=8 {
        let retry_due_ms = (attempt < 8).then_some(START_MS);
        story = story.rolls_back(attempt).then(Event::RollbackErrored {
            attempt,
            reason: reason.into(),
            retry_due_ms,
        });
    }
    let at = Blocked::Rollback { attempt: 8 };
    story
        .parks(at, &format!("the rollback could not be finished in 8 tries: {reason}"))
        .prints(&["switching back to generation 5", reason])
        .is("rollback");
}

#[test]
fn at_a_stage_that_may_be_what_stops_the_engine() {
    let (stage, attempt) = (Stage::Test, 1);
    let origin = Origin::Push {
        commit: commit("3f2a", "Add the cart"),
        repository: "/src/shop".into(),
        release_hold: false,
    };
    let checkout = Checkout {
        tree: "t".into(),
        settings: Box::new(settings()),
        configured_by: "landfall.toml".into(),
        guesses: vec![],
    };
    let mut story = Story { run: None, events: Vec::new(), output: Vec::new(), run_events_max: u64::MAX }
        .then(Event::RunStarted { lane: LaneId::production("shop"), origin, trigger: "git push".into() })
        .passes(Facts::Checkout(checkout))
        .starts(stage, attempt);
    for _ in 0..3 {
        story = story.then(Event::StageRecovered { stage, attempt, found: Found::Running });
    }
    story
        .parks(
            Blocked::Stage { stage, attempt },
            "3 engine starts found test unconcluded: it may be what stops the engine",
        )
        .prints(&["collected 14 items", "tests/test_memory.py ..."])
        .is("poison_guard");
}

#[test]
fn at_a_red_deploy_whose_rollback_is_not_automatic() {
    let rollback = RollbackSettings { automatic: false, hold: true };
    deployed(Settings { rollback, ..settings() })
        .red(Stage::Smoke, "GET /healthz gave 503")
        .parks(
            Blocked::Rollback { attempt: 0 },
            "smoke failed (GET /healthz gave 503) and automatic rollback is off",
        )
        .is("automatic_rollback_off");
}

#[test]
fn at_a_traffic_switch_that_was_cancelled_and_gave_no_answer_only_the_end_is_left() {
    let (stage, attempt) = (Stage::GoLive, 1);
    deployed(settings())
        .passes(Facts::Smoke(SmokeReport::default()))
        .starts(stage, attempt)
        .then(Event::CancelRequested { reason: "wrong branch".into() })
        .then(Event::StageRecovered { stage, attempt, found: Found::Unknown })
        .parks(
            Blocked::Stage { stage, attempt },
            "it can't be told whether go_live happened: the proxy serves generation 9",
        )
        .is("cancelled_switch");
}

#[test]
fn at_a_stage_that_a_long_run_does_not_begin_only_the_end_is_left() {
    let mut story = deployed(settings());
    story.run_events_max = 12;
    let reason = "the run has 12 events and begins no more stages from 12 on";
    story.parks(Blocked::Stage { stage: Stage::Smoke, attempt: 0 }, reason).is("too_long");
}
