//! Whole runs, drawn: each ending against checked-in text in `expected/`.
//!
//! `UPDATE_EXPECTED=1 cargo test -p landfall picture` writes what is drawn now; the diff is the review.

use landfall_engine::core::event::{Cause, Commit, Envelope, Event, EventHash, HeldCommit, Origin};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, Failure, PushedImage, SmokePassed, SmokeReport, Switched,
    TestCounts, TestFailure, TestReport,
};
use landfall_engine::core::lane::{LaneId, Release};
use landfall_engine::core::notice::{Audience, NoticeId, Occasion};
use landfall_engine::core::run::{Blocked, RunId};
use landfall_engine::core::settings::Settings;
use landfall_engine::core::stage::Stage;
use uuid::Uuid;

use super::frame::{Size, draw};
use super::model::Picture;
use super::screen::text;
use super::summary::summary;

const START_MS: u64 = 1_700_000_000_000;
const SIZE: Size = Size { width: 78, height: 40 };

/// A run on its way, and every frame that was asked for.
struct Story {
    picture: Picture,
    seq: u64,
    now_ms: u64,
    drawn: String,
}

impl Story {
    fn begin(origin: Origin) -> Self {
        let story = Self { picture: Picture::default(), seq: 0, now_ms: START_MS, drawn: String::new() };
        story.then(
            0,
            Event::RunStarted { lane: LaneId::production("shop"), origin, trigger: "landfall run".into() },
        )
    }

    /// One more event, so many milliseconds later.
    fn then(mut self, later_ms: u64, event: Event) -> Self {
        self.now_ms += later_ms;
        self.seq += 1;
        self.picture.take(&Envelope {
            run_id: run_id(),
            seq: self.seq,
            global_seq: self.seq,
            event_id: Uuid::from_u128(u128::from(self.seq)),
            schema: 1,
            recorded_at_ms: self.now_ms,
            actor: "ada".into(),
            engine: "0.1.0".into(),
            effect_key: None,
            event,
            hash: EventHash::default(),
        });
        assert_eq!(self.picture.run.as_ref().map(|run| run.seq), Some(self.seq), "the story is not legal");
        self
    }

    fn starts(self, stage: Stage) -> Self {
        self.then(1, Event::StageStarted { stage, attempt: 1, deadline_ms: START_MS + 600_000 })
    }

    fn passes(self, took_ms: u64, facts: Facts) -> Self {
        let stage = facts.stage();
        self.starts(stage)
            .then(took_ms, Event::StageSucceeded { stage, attempt: 1, facts, took_ms, output: None })
    }

    fn fails(self, took_ms: u64, stage: Stage, failure: Failure) -> Self {
        self.starts(stage)
            .then(took_ms, Event::StageFailed { stage, attempt: 1, failure, took_ms, output: None })
    }

    fn prints(mut self, lines: &[&str]) -> Self {
        lines.iter().for_each(|line| self.picture.print(line));
        self
    }

    /// Draws the picture as it is so many milliseconds after the last event.
    fn look(mut self, after_ms: u64, what: &str) -> Self {
        let frame = text(&draw(&self.picture, self.now_ms + after_ms, SIZE), false);
        self.drawn += &format!("== {what}\n{frame}\n\n");
        self
    }

    #[track_caller]
    fn is(mut self, name: &str) {
        self = self.look(0, "the last frame");
        self.drawn += &format!("== the summary\n{}\n", text(&summary(&self.picture, " --data /data"), false));
        let path = format!("{}/src/picture/expected/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&path, &self.drawn).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(self.drawn, expected, "{name}: drawn (left) differs from {path} (right)");
    }
}

fn run_id() -> RunId {
    "018bcfe5-6800-7000-8000-9f3e1c2a7b4d".parse().unwrap()
}

fn push() -> Origin {
    Origin::Push { commit: commit(), repository: "/src/shop".into(), release_hold: false }
}

fn commit() -> Commit {
    Commit {
        sha: "3f2a91c0b7de4a55aa0011223344556677889900".into(),
        branch: Some("main".into()),
        subject: "Add the cart".into(),
        author: "Ada Lovelace".into(),
        email: "ada@example.com".into(),
    }
}

fn settings() -> Settings {
    let mut settings = Settings { service: "shop".into(), ..Settings::default() };
    settings.notify.developer = vec!["slack:DEV_WEBHOOK".into()];
    settings.notify.ops = vec!["slack:OPS_WEBHOOK".into()];
    settings
}

fn checkout() -> Facts {
    Facts::Checkout(Checkout {
        tree: "t".into(),
        settings: Box::new(settings()),
        configured_by: "landfall.toml".into(),
        guesses: vec![],
    })
}

fn tests_pass() -> Facts {
    let counts = Some(TestCounts { passed: 14, failed: 0, skipped: 1 });
    Facts::Test(TestReport { exit_code: 0, counts, first_failures: Vec::new() })
}

fn built() -> Facts {
    Facts::Build(BuiltImage {
        image_id: "sha256:5e1f00aa11bb22cc".into(),
        reference: "127.0.0.1:5000/shop:run-9f3e1c2a7b4d".into(),
        generated_dockerfile: false,
    })
}

fn image() -> PushedImage {
    PushedImage {
        repository: "127.0.0.1:5000/shop".into(),
        tag: "run-9f3e1c2a7b4d".into(),
        digest: "sha256:90ab12cd34ef56789012".into(),
    }
}

fn candidate() -> Candidate {
    Candidate {
        container: "landfall-shop-production-9f3e1c2a7b4d".into(),
        container_id: "c0ffee".into(),
        address: "127.0.0.1:20113".parse().unwrap(),
        healthy_after_ms: 310,
    }
}

fn checked(address: &str) -> SmokeReport {
    let checks = ["GET /healthz = 200", "GET / contains \"Shop\""];
    let passed = |check: &str| SmokePassed { check: check.into(), took_ms: 3 };
    SmokeReport { address: address.into(), checks: checks.map(passed).into() }
}

fn release() -> Release {
    Release { run: run_id(), commit: commit(), image: image(), candidate: candidate(), live_at_ms: START_MS }
}

fn pushed_image() -> Story {
    Story::begin(push())
        .passes(180, checkout())
        .passes(4_100, tests_pass())
        .passes(820, built())
        .passes(95, Facts::PushImage(image()))
}

fn deployed() -> Story {
    let former = Release { commit: Commit { sha: "aaaabbbbccccdddd".into(), ..commit() }, ..release() };
    pushed_image()
        .then(
            0,
            Event::DeploymentStarted {
                branch: Some("main".into()),
                replaces: Some(Box::new(former)),
                generation: 4,
            },
        )
        .passes(560, Facts::Deploy(candidate()))
}

fn told(story: Story, occasion: Occasion, audience: Audience, channel: &str) -> Story {
    let notice = NoticeId { occasion, audience, channel: channel.into() };
    story
        .then(1, Event::NoticeStarted { notice: notice.clone(), attempt: 1 })
        .then(40, Event::NoticeSent { notice, receipt: "200 ok".into() })
}

#[test]
fn a_run_that_goes_live() {
    deployed()
        .passes(12, Facts::Smoke(checked("127.0.0.1:20113")))
        .passes(3, Facts::GoLive(Switched { generation: 4, address: "http://127.0.0.1:8080".into() }))
        .look(40, "the traffic is switched")
        .passes(9, Facts::PublicSmoke(checked("http://127.0.0.1:8080")))
        .then(0, Event::RunLive { release: Box::new(release()) })
        .then(0, Event::RunClosed)
        .is("live");
}

#[test]
fn a_run_whose_tests_are_red() {
    let first_failures = vec![
        TestFailure { name: "tests.test_app::test_cart".into(), message: "assert 500 == 200".into() },
        TestFailure { name: "tests.test_app::test_total".into(), message: String::new() },
    ];
    let counts = Some(TestCounts { passed: 11, failed: 3, skipped: 0 });
    let failure = Failure {
        tests: Some(TestReport { exit_code: 1, counts, first_failures }),
        ..Failure::new("3 of 14 tests failed")
    };
    let story = Story::begin(push())
        .look(20, "the run has begun")
        .passes(180, checkout())
        .starts(Stage::Test)
        .prints(&["one", "two", "three", "four", "five", "six", "\u{1b}[31mseven\u{1b}[0m"])
        .prints(&["a line that is much longer than what is left of the width of this small terminal"])
        .look(2_300, "the tests are going on")
        .then(
            4_100,
            Event::StageFailed { stage: Stage::Test, attempt: 1, failure, took_ms: 4_100, output: None },
        )
        .then(
            0,
            Event::RunFailed {
                cause: Cause::StageFailed { stage: Stage::Test, reason: "3 of 14 tests failed".into() },
            },
        );
    told(story, Occasion::Failed, Audience::Developer, "slack:DEV_WEBHOOK")
        .then(0, Event::RunClosed)
        .is("failed");
}

#[test]
fn a_run_whose_smoke_test_is_red() {
    let reason = "GET /healthz: expected status 200, found 500";
    let cause = Cause::StageFailed { stage: Stage::Smoke, reason: reason.into() };
    let failure = Failure::new(reason)
        .with_tail(vec!["[INFO] Listening at :8000".into(), "KeyError: 'DATABASE_URL'".into()]);
    let story = deployed()
        .fails(21, Stage::Smoke, failure)
        .then(0, Event::RollbackStarted { attempt: 1, cause, deadline_ms: START_MS + 900_000 })
        .prints(&["switching back to generation 5"])
        .look(90, "the rollback is going on")
        .then(
            400,
            Event::RollbackErrored {
                attempt: 1,
                reason: "the proxy did not answer".into(),
                retry_due_ms: Some(START_MS + 10_000),
            },
        )
        .look(200, "the rollback waits to be tried again")
        .then(
            1_000,
            Event::RollbackStarted {
                attempt: 2,
                cause: Cause::StageFailed { stage: Stage::Smoke, reason: reason.into() },
                deadline_ms: START_MS + 900_000,
            },
        )
        .then(
            210,
            Event::RollbackSucceeded {
                attempt: 2,
                serving: Some("sha256:aaaa0000bbbb1111".into()),
                proof: "GET / through the proxy answered 200 from aaaabbbbcccc".into(),
                hold: Some(HeldCommit { sha: commit().sha, reason: reason.into() }),
                took_ms: 210,
            },
        );
    told(story, Occasion::RolledBack, Audience::Ops, "slack:OPS_WEBHOOK")
        .then(0, Event::RunClosed)
        .is("rolled_back");
}

#[test]
fn a_run_that_waits_for_a_person() {
    let errored = |attempt, retry_due_ms| Event::StageErrored {
        stage: Stage::Smoke,
        attempt,
        reason: "the Docker engine did not answer: connection refused".into(),
        retry_due_ms,
    };
    deployed()
        .starts(Stage::Smoke)
        .then(10, errored(1, Some(START_MS + 9_000)))
        .look(1, "the smoke test waits to be tried again")
        .then(1_000, Event::StageStarted { stage: Stage::Smoke, attempt: 2, deadline_ms: START_MS + 900_000 })
        .look(100, "the smoke test is tried again")
        .then(10, errored(2, None))
        .then(
            0,
            Event::RunParked {
                at: Blocked::Stage { stage: Stage::Smoke, attempt: 2 },
                reason: "smoke gave no answer in 2 tries: connection refused".into(),
            },
        )
        .is("parked");
}

#[test]
fn a_run_that_is_cancelled_while_it_waits_for_its_turn() {
    pushed_image()
        .look(30_000, "it waits for its turn")
        .then(0, Event::CancelRequested { reason: "Ctrl-C".into() })
        .look(10, "the cancel is recorded")
        .then(0, Event::RunFailed { cause: Cause::Cancelled { reason: "Ctrl-C".into() } })
        .then(0, Event::RunClosed)
        .is("cancelled");
}

#[test]
fn a_run_that_makes_a_former_release_live_again() {
    let origin = Origin::Release {
        release: Box::new(release()),
        settings: Box::new(settings()),
        reason: "the cart is slow".into(),
    };
    Story::begin(origin).is("relaunched");
}

#[test]
fn a_low_terminal_keeps_the_steps_and_gives_up_the_output() {
    let lines: Vec<String> = (1..=6).map(|n| format!("line {n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let story = Story::begin(push()).passes(10, checkout()).starts(Stage::Test).prints(&lines);
    let drawn = |height| text(&draw(&story.picture, story.now_ms, Size { width: 80, height }), false);
    assert!(drawn(24).contains("line 1"), "{}", drawn(24));
    assert!(drawn(16).contains("line 5") && !drawn(16).contains("line 4"), "{}", drawn(16));
    assert!(!drawn(10).contains("line 6") && drawn(10).contains("Release live"), "{}", drawn(10));
}
