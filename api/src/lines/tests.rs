//! The lines of five runs, compared with `expected.txt`.

use landfall_engine::core::command::{Command, Outcome, Push, RollbackOutcome};
use landfall_engine::core::decide::decide;
use landfall_engine::core::effect::{Effect, next_effect};
use landfall_engine::core::event::{Commit, EventHash};
use landfall_engine::core::evolve::{Place, evolve};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, PushedImage, SmokePassed, SmokeReport, Switched, TestCounts,
    TestFailure, TestReport,
};
use landfall_engine::core::facts::{Facts, Failure};
use landfall_engine::core::lane::Release;
use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::{NotifySettings, Settings};
use uuid::Uuid;

use super::*;

/// A run that is driven by hand, and what is told of it.
struct Story {
    lane: Lane,
    run: Option<Run>,
    teller: EventLines,
    told: String,
    now_ms: u64,
}

impl Story {
    fn new(lane: Lane) -> Self {
        Self { lane, run: None, teller: EventLines::new(), told: String::new(), now_ms: 1_700_000_000_000 }
            .when(Command::Push(Push {
                lane: LaneId::production("shop"),
                commit: commit(),
                repository: "/srv/git/shop.git".into(),
                trigger: "git push".into(),
                release_hold: false,
            }))
    }

    fn when(mut self, command: Command) -> Self {
        self.now_ms += 250;
        let events = decide(&self.lane, self.run.as_ref(), command, self.now_ms).expect("a legal command");
        for event in events {
            let run_id = RunId(Uuid::from_u128(7));
            let seq = self.run.as_ref().map_or(0, |run| run.seq) + 1;
            let place = Place { run_id, seq, at_ms: self.now_ms };
            self.run = Some(evolve(self.run.take(), place, &event).expect("a legal move"));
            let envelope = Envelope {
                run_id,
                seq,
                global_seq: seq,
                event_id: Uuid::nil(),
                schema: 1,
                recorded_at_ms: self.now_ms,
                actor: "ada".into(),
                engine: String::new(),
                effect_key: None,
                event,
                hash: EventHash::default(),
            };
            for line in self.teller.tell(&envelope) {
                self.told += &line.paint(false);
                self.told += "\n";
            }
            assert_eq!(self.teller.tell(&envelope), Vec::<Line>::new(), "an event is told once");
        }
        self
    }

    /// Ends stages green until this one is in flight.
    fn until(mut self, stage: Stage) -> Self {
        loop {
            self = match next_effect(self.run.as_ref().expect("a run")) {
                Some(Effect::RunStage { stage: now, .. }) if now == stage => return self,
                Some(Effect::RunStage { stage: now, .. }) => {
                    self.when(report(now, Outcome::Succeeded(facts(now))))
                }
                Some(Effect::EnterLane) => self.when(Command::EnterLane),
                other => panic!("{other:?} on the way to {stage}"),
            };
        }
    }

    /// Sends what is to be sent and closes the run.
    fn closed(mut self) -> Self {
        loop {
            self = match next_effect(self.run.as_ref().expect("a run")) {
                Some(Effect::BeginNotice(notice)) => self.when(Command::Notify { notice }),
                Some(Effect::Notify { notice, attempt }) => {
                    self.when(Command::ReportNotice { notice, attempt, receipt: Ok("200".into()) })
                }
                Some(Effect::Proceed) => self.when(Command::Proceed),
                _ => return self,
            };
        }
    }
}

fn commit() -> Commit {
    Commit {
        sha: "c0ffee0000000000000000000000000000000000".into(),
        branch: Some("main".into()),
        subject: "Sell more".into(),
        author: "Ada".into(),
        email: "ada@example.com".into(),
    }
}

fn image() -> PushedImage {
    let digest = format!("sha256:{}", "d1".repeat(32));
    PushedImage { repository: "127.0.0.1:5000/shop".into(), tag: "run-1".into(), digest }
}

fn candidate() -> Candidate {
    Candidate {
        container: "landfall-shop-1".into(),
        container_id: "c1".into(),
        address: "127.0.0.1:20001".parse().expect("an address"),
        healthy_after_ms: 120,
    }
}

fn facts(stage: Stage) -> Facts {
    let checks = vec![SmokePassed { check: "GET / = 200".into(), took_ms: 3 }];
    let report = |address: &str| SmokeReport { address: address.into(), checks: checks.clone() };
    match stage {
        Stage::Checkout => Facts::Checkout(Checkout {
            tree: "7ree".into(),
            settings: Box::new(Settings {
                service: "shop".into(),
                notify: NotifySettings {
                    developer: vec!["email:author".into()],
                    ops: vec!["slack:OPS".into()],
                },
                ..Settings::default()
            }),
            configured_by: "landfall.toml".into(),
            guesses: vec![],
        }),
        Stage::Test => Facts::Test(TestReport {
            counts: Some(TestCounts { passed: 12, failed: 0, skipped: 1 }),
            ..TestReport::default()
        }),
        Stage::Build => Facts::Build(BuiltImage {
            image_id: format!("sha256:{}", "b1".repeat(32)),
            reference: "127.0.0.1:5000/shop:run-1".into(),
            generated_dockerfile: false,
        }),
        Stage::PushImage => Facts::PushImage(image()),
        Stage::ReleaseCommand => Facts::ReleaseCommand,
        Stage::Deploy => Facts::Deploy(candidate()),
        Stage::Smoke => Facts::Smoke(report("http://127.0.0.1:20001")),
        Stage::GoLive => Facts::GoLive(Switched { generation: 1, address: "http://127.0.0.1:8080".into() }),
        Stage::PublicSmoke => Facts::PublicSmoke(report("http://127.0.0.1:8080")),
    }
}

fn report(stage: Stage, outcome: Outcome) -> Command {
    Command::Report { stage, attempt: 1, outcome, took_ms: 640, output: None }
}

fn red_tests() -> Failure {
    Failure {
        reason: "1 of 13 tests failed".into(),
        tail: vec!["E   assert 1 == 2\u{1b}[0m".into(), "\u{1b}[31m1 failed\u{1b}[0m, 12 passed".into()],
        tests: Some(TestReport {
            exit_code: 1,
            counts: None,
            first_failures: vec![TestFailure {
                name: "tests/test_app.py::test_price".into(),
                message: "assert 1 == 2".into(),
            }],
        }),
    }
}

#[test]
fn five_runs_are_told_in_the_lines_of_the_picture() {
    let release = Release {
        run: RunId(Uuid::from_u128(1)),
        commit: Commit { sha: "decade000000".into(), ..commit() },
        image: image(),
        candidate: candidate(),
        live_at_ms: 0,
    };
    let first = || Lane { live: Some(release.clone()), ..Lane::default() };
    let runs = [
        ("live", {
            let story = Story::new(Lane::default()).until(Stage::PublicSmoke);
            story.when(report(Stage::PublicSmoke, Outcome::Succeeded(facts(Stage::PublicSmoke)))).closed()
        }),
        (
            "red tests",
            Story::new(first())
                .until(Stage::Test)
                .when(report(Stage::Test, Outcome::Failed(red_tests())))
                .closed(),
        ),
        (
            "red smoke",
            Story::new(first())
                .until(Stage::Smoke)
                .when(report(Stage::Smoke, Outcome::failed("GET / gave 503, expected 200")))
                .when(Command::ReportRollback {
                    attempt: 1,
                    outcome: RollbackOutcome::Succeeded {
                        serving: Some(image().digest),
                        proof: "the public address answers with it".into(),
                    },
                    took_ms: 90,
                })
                .closed(),
        ),
        (
            "wrong configuration",
            Story::new(first())
                .when(report(
                    Stage::Checkout,
                    Outcome::failed(
                        "landfall.toml:1:1: there is no key `tset`\n  tset = 1\n  did you mean `test`?",
                    ),
                ))
                .closed(),
        ),
        (
            "no answer, then cancelled",
            Story::new(first())
                .until(Stage::Build)
                .when(report(Stage::Build, Outcome::errored("Docker did not reply")))
                .when(Command::Cancel { reason: "not today".into() })
                .closed(),
        ),
    ];
    let mut told = String::new();
    for (name, story) in runs {
        assert!(story.teller.is_settled(), "{name} has an end");
        told += &format!("# {name}\n{}\n", story.told);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lines/expected.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, &told).unwrap();
    }
    assert_eq!(told, std::fs::read_to_string(path).unwrap(), "told:\n{told}");
}
