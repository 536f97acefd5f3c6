//! Whole runs, drawn: each ending against checked-in text in `expected/`.
//!
//! `UPDATE_EXPECTED=1 cargo test -p landfall picture` writes what is drawn now; the diff is the review.

use landfall_engine::core::event::{Cause, Commit, Envelope, Event, EventHash, HeldCommit, Origin};
use landfall_engine::core::facts::Guess;
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
use super::svg;
use super::text::Line;
use crate::doctor::report::Report;
use crate::doctor::{Finding, Verdict};
use crate::lines::EventLines;
use crate::usual::Usual;

const START_MS: u64 = 1_700_000_000_000;
const SIZE: Size = Size { width: 78, height: 40 };

/// A run on its way, and every frame that was asked for.
struct Story {
    picture: Picture,
    told: Vec<Envelope>,
    seq: u64,
    now_ms: u64,
    drawn: String,
}

impl Story {
    fn begin(origin: Origin) -> Self {
        let story = Self {
            picture: Picture::default(),
            told: Vec::new(),
            seq: 0,
            now_ms: START_MS,
            drawn: String::new(),
        };
        story.then(
            0,
            Event::RunStarted { lane: LaneId::production("shop"), origin, trigger: "landfall run".into() },
        )
    }

    /// One more event, so many milliseconds later.
    fn then(mut self, later_ms: u64, event: Event) -> Self {
        self.now_ms += later_ms;
        self.seq += 1;
        let envelope = Envelope {
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
        };
        self.picture.take(&envelope);
        self.told.push(envelope);
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

    fn usually(mut self, times: &[(Stage, u64)]) -> Self {
        self.picture.usual = Usual { steps: times.iter().copied().collect() };
        self
    }

    /// The picture and, of a run that stands still, its summary: what is on the terminal then.
    fn screen(&self, after_ms: u64, with_summary: bool) -> Vec<Line> {
        let mut lines = draw(&self.picture, self.now_ms + after_ms, SIZE);
        if with_summary {
            lines.push(Line::default());
            lines.extend(summary(&self.picture, ""));
        }
        lines
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

fn guesses() -> Vec<Guess> {
    let guess = |key: &str, value: &str, reason: &str| Guess {
        key: key.into(),
        value: value.into(),
        reason: reason.into(),
    };
    vec![
        guess("python", "3.12", ".python-version says so"),
        guess("test.command", "python -m pytest", "pytest is in requirements-dev.txt"),
        guess("web.command", "gunicorn shop:app", "Procfile says web: gunicorn shop:app"),
        guess("proxy.app_port", "8000", "nothing says another"),
        guess("proxy.healthcheck.path", "/healthz", "shop/__init__.py has that route"),
        guess("release.command", "flask db upgrade", "there is a folder migrations"),
        guess("build.packages", "libpq5", "psycopg2 needs it"),
    ]
}

fn guessed_checkout() -> Facts {
    match checkout() {
        Facts::Checkout(checkout) => Facts::Checkout(Checkout { guesses: guesses(), ..checkout }),
        other => other,
    }
}

fn usual_times() -> [(Stage, u64); 4] {
    [(Stage::Test, 3_900), (Stage::Build, 800), (Stage::Deploy, 540), (Stage::Smoke, 11)]
}

#[test]
fn what_was_guessed_is_shown_below_the_header_and_gives_way_to_the_steps() {
    Story::begin(push())
        .passes(180, guessed_checkout())
        .starts(Stage::Test)
        .prints(&["collected 14 items"])
        .look(900, "the tests are going on")
        .is("guessed");
    let story = Story::begin(push()).passes(180, guessed_checkout()).starts(Stage::Test).prints(&["one"]);
    for height in 10..40 {
        let drawn = draw(&story.picture, story.now_ms, Size { width: 80, height });
        assert!(drawn.len() < height.max(14), "{height} rows, and {} are drawn", drawn.len());
    }
}

#[test]
fn a_step_shows_its_usual_time_while_it_goes_on_and_is_marked_when_it_takes_twice_as_long() {
    let story = || Story::begin(push()).usually(&usual_times()).passes(180, checkout()).starts(Stage::Test);
    let at = |after_ms| text(&story().screen(after_ms, false), false);
    assert!(at(2_000).contains("2.1 s (usually 3.9 s)"), "{}", at(2_000));
    assert!(at(8_000).contains("8.1 s ▲ usually 3.9 s"), "{}", at(8_000));
    let ended = |took_ms| {
        let story = Story::begin(push()).usually(&usual_times()).passes(180, checkout());
        text(&story.passes(took_ms, tests_pass()).screen(0, false), false)
    };
    assert!(!ended(4_000).contains("usually"), "{}", ended(4_000));
    assert!(ended(9_000).contains("▲ usually 3.9 s  14 passed"), "{}", ended(9_000));
    // Of a step that takes no time, three times that is none.
    let quick = deployed().usually(&usual_times()).passes(40, Facts::Smoke(checked("127.0.0.1:20113")));
    assert!(!text(&quick.screen(0, false), false).contains('▲'));
}

#[test]
fn a_narrow_terminal_cuts_every_line_and_halves_no_wide_character() {
    let mut story = Story::begin(push()).passes(180, guessed_checkout()).starts(Stage::Test);
    story = story.prints(&["テストを実行しています。これはとても長い行です。最後まで。"]);
    for width in [1, 10, 39, 40, 41] {
        for line in draw(&story.picture, story.now_ms, Size { width, height: 30 }) {
            let drawn = line.paint(false);
            assert!(super::text::width_of(&drawn) <= width, "{width}: {drawn}");
        }
    }
    let narrow = text(&draw(&story.picture, story.now_ms, Size { width: 40, height: 30 }), false);
    assert!(narrow.contains(" 8 Release live") && narrow.contains("│ テストを"), "{narrow}");
}

#[test]
fn the_subject_of_a_commit_can_not_write_on_the_terminal() {
    let commit = Commit { subject: "clear\u{1b}[2Jed".into(), ..commit() };
    let origin = Origin::Push { commit, repository: "/src/shop".into(), release_hold: false };
    let story = Story::begin(origin);
    let drawn = text(&story.screen(0, true), false);
    assert!(!drawn.contains('\u{1b}') && drawn.contains("cleared"), "{drawn}");
}

#[test]
fn red_tests_show_what_was_asserted_and_a_red_check_what_was_expected_and_got() {
    let failure = Failure {
        tests: Some(TestReport {
            exit_code: 1,
            counts: None,
            first_failures: vec![TestFailure {
                name: "test_cart".into(),
                message: "assert 500 == 200".into(),
            }],
        }),
        ..Failure::new("1 of 14 tests failed")
    };
    let tail = [
        "=== FAILURES ===",
        ">       assert answer.status_code == 200",
        "E       assert 500 == 200",
        "tests/test_app.py:12: AssertionError",
        "1 failed",
    ];
    let story = Story::begin(push())
        .passes(180, guessed_checkout())
        .fails(4_100, Stage::Test, failure.with_tail(tail.map(str::to_owned).into()))
        .ended_by(Stage::Test, "1 of 14 tests failed");
    let said = text(&story.screen(0, true), false);
    assert!(said.contains("│ >       assert answer.status_code == 200"), "{said}");
    assert!(said.contains("│ tests/test_app.py:12: AssertionError"), "{said}");
    assert!(!said.contains("=== FAILURES") && !said.contains("│ 1 failed"), "{said}");
    assert!(said.contains("guessed, and perhaps wrong: test.command = python -m pytest"), "{said}");
    assert!(!said.contains("perhaps wrong: web.command"), "{said}");
}

impl Story {
    fn ended_by(self, stage: Stage, reason: &str) -> Self {
        let cause = Cause::StageFailed { stage, reason: reason.into() };
        told(
            self.then(0, Event::RunFailed { cause }),
            Occasion::Failed,
            Audience::Developer,
            "slack:DEV_WEBHOOK",
        )
        .then(0, Event::RunClosed)
    }
}

/// Findings of each kind, with what stands in them on a machine such as ours.
pub(crate) fn findings() -> Vec<Finding> {
    let finding = |name, verdict, found: &str, advice: Option<&str>| Finding {
        name,
        verdict,
        found: found.into(),
        advice: advice.map(str::to_owned),
    };
    vec![
        finding("git", Verdict::Ok, "2.39.5, with http-backend", None),
        finding(
            "docker",
            Verdict::Ok,
            "20.10.24, API 1.41, at unix:///var/run/docker.sock, which builds with BuildKit",
            None,
        ),
        finding(
            "docker disk",
            Verdict::Warning,
            "7.4 GB free in /var/lib/docker",
            Some("make room: `landfall prune`, then `docker system df` shows what is left"),
        ),
        finding(
            "registry",
            Verdict::Problem,
            "the registry 127.0.0.1:5000 refused the login of ci for shop: check the password (the secret REGISTRY_PASSWORD)",
            Some("check `username` and `password` below [registry]"),
        ),
        finding(
            "data folder",
            Verdict::Ok,
            "/var/lib/landfall: 41.2 GB free, a write is durable in 0.9 ms",
            None,
        ),
        finding("log", Verdict::Ok, "4711 events, runs: 212; they verify", None),
        finding(
            "port",
            Verdict::Problem,
            "127.0.0.1:7070 is taken by process 812 (python3)",
            Some("stop that process, or choose another address: landfall serve --listen ADDR"),
        ),
        finding("clock", Verdict::Ok, "Docker, the registry and this machine agree", None),
    ]
}

/// What a terminal shows in each ending, as pictures for the README. `UPDATE_EXPECTED=1` draws them anew.
#[test]
fn the_screenshots_show_what_the_terminal_shows() {
    let red = || Failure {
        tests: Some(TestReport {
            exit_code: 1,
            counts: Some(TestCounts { passed: 13, failed: 1, skipped: 0 }),
            first_failures: vec![TestFailure {
                name: "tests.test_app::test_cart".into(),
                message: "assert 500 == 200".into(),
            }],
        }),
        ..Failure::new("1 of 14 tests failed: tests.test_app::test_cart").with_tail(vec![
            ">       assert client.get(\"/cart\").status_code == 200".into(),
            "E       assert 500 == 200".into(),
            "tests/test_app.py:12: AssertionError".into(),
        ])
    };
    let running = Story::begin(push())
        .usually(&usual_times())
        .passes(180, guessed_checkout())
        .starts(Stage::Test)
        .prints(&["collected 14 items", "tests/test_app.py ......", "tests/test_cart.py ..."]);
    let live = deployed()
        .passes(12, Facts::Smoke(checked("127.0.0.1:20113")))
        .passes(3, Facts::GoLive(Switched { generation: 4, address: "http://127.0.0.1:8080".into() }))
        .passes(9, Facts::PublicSmoke(checked("http://127.0.0.1:8080")))
        .then(0, Event::RunLive { release: Box::new(release()) })
        .then(0, Event::RunClosed);
    let tests = Story::begin(push())
        .passes(180, checkout())
        .fails(4_100, Stage::Test, red())
        .ended_by(Stage::Test, "1 of 14 tests failed: tests.test_app::test_cart");
    let build = Failure::new("the build failed at [4/6] RUN pip install -r requirements.txt: exit code: 1")
        .with_tail(vec![
            "Collecting flask==3.0".into(),
            "ERROR: No matching distribution found for flaskk==3.0".into(),
        ]);
    let build = Story::begin(push())
        .passes(180, checkout())
        .passes(4_100, tests_pass())
        .fails(9_300, Stage::Build, build)
        .ended_by(
            Stage::Build,
            "the build failed at [4/6] RUN pip install -r requirements.txt: exit code: 1",
        );
    let smoke = "GET /cart expected status 200, found 500 Internal Server Error (\"KeyError\")";
    let cause = || Cause::StageFailed { stage: Stage::Smoke, reason: smoke.into() };
    let tail = ["[INFO] Listening at: http://0.0.0.0:8000", "KeyError: 'DATABASE_URL'"].map(str::to_owned);
    let smoked = deployed().fails(21, Stage::Smoke, Failure::new(smoke).with_tail(tail.into()));
    let undone = smoked
        .then(0, Event::RollbackStarted { attempt: 1, cause: cause(), deadline_ms: START_MS + 900_000 })
        .then(
            210,
            Event::RollbackSucceeded {
                attempt: 1,
                serving: Some("sha256:aaaa0000bbbb1111".into()),
                proof: "GET / through the proxy answered 200 from aaaabbbbcccc".into(),
                hold: Some(HeldCommit { sha: commit().sha, reason: smoke.into() }),
                took_ms: 210,
            },
        );
    let undone =
        told(undone, Occasion::RolledBack, Audience::Ops, "slack:OPS_WEBHOOK").then(0, Event::RunClosed);
    let parked = deployed()
        .starts(Stage::Smoke)
        .then(
            10,
            Event::StageErrored {
                stage: Stage::Smoke,
                attempt: 1,
                reason: "the Docker engine did not answer: connection refused".into(),
                retry_due_ms: None,
            },
        )
        .then(
            0,
            Event::RunParked {
                at: Blocked::Stage { stage: Stage::Smoke, attempt: 1 },
                reason: "smoke gave no answer in 5 tries: connection refused".into(),
            },
        );
    svg::is("running", "landfall run", &running.screen(2_600, false));
    svg::is("live", "landfall run", &live.screen(0, true));
    svg::is("failed-tests", "landfall run", &tests.screen(0, true));
    svg::is("failed-build", "landfall logs last -f", &build.screen(0, true));
    svg::is("rolled-back", "landfall run", &undone.screen(0, true));
    svg::is("parked", "landfall run", &parked.screen(0, true));
    let mut teller = EventLines::new().without_beginnings();
    let mut told = tests.told.clone();
    if let Event::RunStarted { trigger, .. } = &mut told[0].event {
        *trigger = "git push".into();
    }
    let mut pushed: Vec<Line> = told.iter().flat_map(|envelope| teller.tell(envelope)).collect();
    pushed.extend(teller.not_live());
    let pushed: Vec<Line> = pushed
        .iter()
        .map(|line| Line::new(super::text::Tone::Plain, format!("remote: {}", line.paint(false))))
        .collect();
    svg::is("git-push", "git push live main", &pushed);
    svg::is("doctor", "landfall doctor", &Report::of(&findings()).lines());
}
