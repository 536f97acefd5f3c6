//! A log that has a run in each ending, as it would be after some hours of work on three apps.
//!
//! **Invariant:** what is written here is a history that the engine could have written: each run is replayed once it is
//! told, and a move that is not legal fails the test.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use landfall_engine::audit::replay;
use landfall_engine::core::event::{Cause, Commit, Event, HeldCommit, Origin};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, Failure, Guess, PushedImage, SmokePassed, SmokeReport, Switched,
    TestCounts, TestFailure, TestReport,
};
use landfall_engine::core::lane::{LaneId, Release};
use landfall_engine::core::ledger::{LedgerEvent, ledger_of};
use landfall_engine::core::notice::{Audience, NoticeId, Occasion};
use landfall_engine::core::run::{Blocked, RunId};
use landfall_engine::core::settings::Settings;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Append, Draft, EventStore};
use landfall_store::MemoryStore;
use uuid::{NoContext, Timestamp, Uuid};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// The runs that tests look at.
#[derive(Clone, Copy, Debug)]
pub struct Seeded {
    pub live: RunId,
    pub former: RunId,
    pub failed: RunId,
    pub rolled_back: RunId,
    pub waiting: RunId,
    pub parked: RunId,
}

/// Lines of an output that is long: the number of the last one.
pub const LONG_OUTPUT: usize = 100_000;

/// Writes a run in each ending.
pub fn all<'a>(store: &'a MemoryStore, outputs: &'a Path) -> BoxFuture<'a, Seeded> {
    Box::pin(async move {
        let begin = |app: &'static str, subject: &'static str, author: &'static str, ago: u64| {
            Story::begin(store, outputs, app, "production", subject, author, ago)
        };
        let (former, first) = begin("shop", "Sell more than one thing", "Ada Lovelace", 27 * HOUR)
            .await
            .goes_live(None, 1)
            .await;
        let mut failed = begin("shop", "Count the basket", "Grace Hopper", 5 * HOUR).await;
        failed.stage(Stage::Checkout, 412, &[]).await;
        failed.red_tests().await;
        let mut rolled_back = begin("shop", "Cache the price list", "Ada Lovelace", 4 * HOUR).await;
        rolled_back.up_to_smoke(Some(&first), 2).await;
        rolled_back.rolled_back(&first).await;
        let (live, _) = begin("shop", "Show prices with their taxes", "Grace Hopper", 2 * HOUR)
            .await
            .goes_live(Some(&first), 4)
            .await;
        begin("blog", "Write posts in Markdown", "Linus", 50 * HOUR).await.goes_live(None, 1).await;
        let mut cancelled = begin("blog", "Try another font", "Linus", 3 * HOUR).await;
        cancelled.stage(Stage::Checkout, 380, &[]).await;
        cancelled.cancelled("not before the weekend").await;
        let mut waiting = begin("blog", "Comments, with moderation", "Ada Lovelace", 35 * MINUTE).await;
        waiting.up_to_image().await;
        let until_ms = now_ms() + 23 * HOUR;
        waiting.record(900, "engine", Event::ApprovalRequested { until_ms }).await;
        let mut parked = begin("api", "Answer in JSON", "Grace Hopper", 18 * MINUTE).await;
        parked.stage(Stage::Checkout, 402, &[]).await;
        parked.parked().await;
        cancelled.told().await;
        Story::begin(
            store,
            outputs,
            "shop",
            "staging",
            "Show prices with their taxes",
            "Grace Hopper",
            150 * MINUTE,
        )
        .await
        .goes_live(None, 1)
        .await;
        let lane = LaneId { app: "shop".into(), env: "staging".into() };
        let reason = "the database is moved tonight".into();
        decided(store, LedgerEvent::LanePaused { lane, reason }).await;
        Seeded {
            live,
            former,
            failed: failed.told().await,
            rolled_back: rolled_back.told().await,
            waiting: waiting.told().await,
            parked: parked.told().await,
        }
    })
}

/// Writes so many short runs.
pub fn many(store: &MemoryStore, runs: u64) -> BoxFuture<'_, Seeded> {
    Box::pin(async move {
        let nowhere = Path::new("/nowhere");
        let mut last = RunId(Uuid::nil());
        for n in 0..runs {
            let subject = format!("Change number {n}");
            let mut run = Story::begin(
                store,
                nowhere,
                "shop",
                "production",
                &subject,
                "Ada Lovelace",
                (runs - n) * MINUTE,
            )
            .await;
            let cause = Cause::Superseded { by: run.id };
            run.record(2_000, "engine", Event::RunFailed { cause }).await;
            run.record(1, "engine", Event::RunClosed).await;
            last = run.id;
        }
        Seeded { live: last, former: last, failed: last, rolled_back: last, waiting: last, parked: last }
    })
}

async fn decided(store: &MemoryStore, event: LedgerEvent) {
    let run_id = ledger_of(store.log_id());
    let expected = store.events(run_id).await.unwrap().len() as u64;
    let draft = Draft { event_id: Uuid::new_v4(), effect_key: None, event: Event::Ledger(event) };
    let at_ms = now_ms() - 40 * MINUTE;
    let append = Append { run_id, expected, events: vec![draft], at_ms, actor: "ada".into(), claims: vec![] };
    store.append(append).await.unwrap();
}

/// Returns a commit that nobody has made.
pub fn commit(subject: &str, author: &str) -> Commit {
    let id = Uuid::new_v4().simple().to_string();
    Commit {
        sha: format!("{id}{}", &id[..8]),
        branch: Some("main".into()),
        subject: subject.into(),
        author: author.into(),
        email: format!("{}@example.com", author.split(' ').next().unwrap().to_lowercase()),
    }
}

/// Returns what a stage finds out when all is well.
pub fn facts(stage: Stage, sha: &str, run: RunId) -> Facts {
    let short = run.short();
    let report = |address: &str| SmokeReport {
        address: address.into(),
        checks: vec![
            SmokePassed { check: "GET /healthz = 200".into(), took_ms: 4 },
            SmokePassed { check: "GET / = 200".into(), took_ms: 11 },
        ],
    };
    match stage {
        Stage::Checkout => Facts::Checkout(Checkout {
            tree: sha.chars().rev().collect(),
            settings: Box::new(Settings { service: "shop".into(), ..Settings::default() }),
            configured_by: "defaults".into(),
            guesses: guesses(),
        }),
        Stage::Test => Facts::Test(TestReport {
            exit_code: 0,
            counts: Some(TestCounts { passed: 48, failed: 0, skipped: 2 }),
            first_failures: vec![],
        }),
        Stage::Build => Facts::Build(BuiltImage {
            image_id: format!("sha256:{}", digits(run)),
            reference: format!("127.0.0.1:5000/shop:run-{short}"),
            generated_dockerfile: true,
        }),
        Stage::PushImage => Facts::PushImage(pushed(run)),
        Stage::ReleaseCommand => Facts::ReleaseCommand,
        Stage::Deploy => Facts::Deploy(candidate(run)),
        Stage::Smoke => Facts::Smoke(report("http://127.0.0.1:20001")),
        Stage::GoLive => Facts::GoLive(Switched { generation: 1, address: "http://127.0.0.1:8080".into() }),
        Stage::PublicSmoke => Facts::PublicSmoke(report("http://127.0.0.1:8080")),
    }
}

fn guesses() -> Vec<Guess> {
    let guess = |key: &str, value: &str, reason: &str| Guess {
        key: key.into(),
        value: value.into(),
        reason: reason.into(),
    };
    vec![
        guess("test.command", "python -m pytest", "pyproject.toml has [tool.pytest.ini_options]"),
        guess("web.command", "gunicorn shop:app", "shop/__init__.py makes `app = Flask(…)`"),
        guess("proxy.health", "/healthz", "shop/views.py has a route /healthz"),
    ]
}

fn digits(run: RunId) -> String {
    let id = run.0.simple().to_string();
    let random = &id[16..];
    random.repeat(4)
}

fn pushed(run: RunId) -> PushedImage {
    PushedImage {
        repository: "127.0.0.1:5000/shop".into(),
        tag: format!("run-{}", run.short()),
        digest: format!("sha256:{}", digits(run)),
    }
}

fn candidate(run: RunId) -> Candidate {
    Candidate {
        container: format!("landfall-shop-{}", run.short()),
        container_id: run.short(),
        address: ([127, 0, 0, 1], 20_001).into(),
        healthy_after_ms: 740,
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// A run that is being told.
struct Story<'a> {
    store: &'a MemoryStore,
    outputs: &'a Path,
    id: RunId,
    commit: Commit,
    seq: u64,
    at_ms: u64,
}

impl<'a> Story<'a> {
    async fn begin(
        store: &'a MemoryStore,
        outputs: &'a Path,
        app: &str,
        env: &str,
        subject: &str,
        author: &str,
        ago_ms: u64,
    ) -> Self {
        let at_ms = now_ms() - ago_ms;
        let since = Duration::from_millis(at_ms);
        let id = Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos()));
        let commit = commit(subject, author);
        let mut story = Self { store, outputs, id: RunId(id), commit: commit.clone(), seq: 0, at_ms };
        let origin = Origin::Push { commit, repository: "/srv/git/shop.git".into(), release_hold: false };
        let lane = LaneId { app: app.into(), env: env.into() };
        let actor = author.split(' ').next().unwrap().to_lowercase();
        let started = Event::RunStarted { lane, origin, trigger: "git push".into() };
        story.record(0, &actor, started).await;
        story
    }

    async fn record(&mut self, after_ms: u64, actor: &str, event: Event) {
        self.at_ms += after_ms;
        let draft = Draft { event_id: Uuid::new_v4(), effect_key: None, event };
        let append = Append {
            run_id: self.id,
            expected: self.seq,
            events: vec![draft],
            at_ms: self.at_ms,
            actor: actor.into(),
            claims: vec![],
        };
        self.store.append(append).await.unwrap();
        self.seq += 1;
    }

    /// Ends the story: it has to be one that the engine could have written.
    async fn told(&mut self) -> RunId {
        let history = self.store.events(self.id).await.unwrap();
        assert_eq!(replay(&history, None).problems, Vec::<String>::new());
        self.id
    }

    fn prints(&self, name: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        let folder = self.outputs.join(self.id.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let text: String = lines.into_iter().map(|line| format!("{}\n", line.as_ref())).collect();
        std::fs::write(folder.join(format!("{name}-1.log")), text).unwrap();
    }

    async fn starts(&mut self, stage: Stage) {
        let deadline_ms = self.at_ms + 10 * MINUTE;
        self.record(3, "engine", Event::StageStarted { stage, attempt: 1, deadline_ms }).await;
    }

    async fn stage(&mut self, stage: Stage, took_ms: u64, lines: &[&str]) {
        self.starts(stage).await;
        self.prints(stage.name(), lines);
        let facts = facts(stage, &self.commit.sha, self.id);
        let done = Event::StageSucceeded { stage, attempt: 1, facts, took_ms, output: None };
        self.record(took_ms, "engine", done).await;
    }

    async fn red(&mut self, stage: Stage, took_ms: u64, failure: Failure) {
        let failed = Event::StageFailed { stage, attempt: 1, failure, took_ms, output: None };
        self.record(took_ms, "engine", failed).await;
    }

    async fn up_to_image(&mut self) {
        self.stage(Stage::Checkout, 412, &["HEAD is laid out: 41 files, 212 KiB"]).await;
        let tests = [
            "\u{1b}[1m============================= test session starts ==============================\u{1b}[0m",
            "platform linux -- Python 3.12.4, pytest-8.3.2",
            "collected 50 items",
            "",
            "tests/test_basket.py \u{1b}[32m.......................\u{1b}[0m                        [ 46%]",
            "tests/test_prices.py \u{1b}[32m.........................\u{1b}[33mss\u{1b}[0m                    [100%]",
            "",
            "\u{1b}[32m======================== \u{1b}[1m48 passed\u{1b}[0m, \u{1b}[33m2 skipped\u{1b}[32m in 3.20s =========================\u{1b}[0m",
        ];
        self.stage(Stage::Test, 6_240, &tests).await;
        let build = [
            "#1 [internal] load build definition from Dockerfile",
            "#4 [build 2/5] RUN --mount=type=cache pip install -r requirements.txt",
            "#4 0.61 Collecting flask==3.0.3",
            "#4 1.92 Successfully installed flask-3.0.3 gunicorn-22.0.0",
            "#7 exporting to image",
        ];
        self.stage(Stage::Build, 18_410, &build).await;
        self.stage(Stage::PushImage, 2_930, &["5f70bf18a086: Layer already exists", "run: digest: sha256:…"])
            .await;
    }

    async fn up_to_smoke(&mut self, replaces: Option<&Release>, generation: u64) {
        self.up_to_image().await;
        let replaces = replaces.cloned().map(Box::new);
        let entered = Event::DeploymentStarted { branch: Some("main".into()), replaces, generation };
        self.record(4, "engine", entered).await;
        self.stage(
            Stage::Deploy,
            1_870,
            &["[INFO] Listening at: http://0.0.0.0:8000 (1)", "healthy after 740 ms"],
        )
        .await;
        self.starts(Stage::Smoke).await;
    }

    async fn goes_live(mut self, replaces: Option<&Release>, generation: u64) -> (RunId, Release) {
        self.up_to_smoke(replaces, generation).await;
        self.prints("smoke", ["GET /healthz = 200 in 4 ms", "GET / = 200 in 11 ms"]);
        let smoked = Event::StageSucceeded {
            stage: Stage::Smoke,
            attempt: 1,
            facts: facts(Stage::Smoke, "", self.id),
            took_ms: 120,
            output: None,
        };
        self.record(120, "engine", smoked).await;
        self.stage(Stage::GoLive, 35, &[]).await;
        self.stage(Stage::PublicSmoke, 88, &["GET / = 200 in 9 ms"]).await;
        let release = Release {
            run: self.id,
            commit: self.commit.clone(),
            image: pushed(self.id),
            candidate: candidate(self.id),
            live_at_ms: self.at_ms,
        };
        self.record(1, "engine", Event::RunLive { release: Box::new(release.clone()) }).await;
        self.record(1, "engine", Event::RunClosed).await;
        (self.told().await, release)
    }

    async fn red_tests(&mut self) {
        self.starts(Stage::Test).await;
        let noise = (1..=LONG_OUTPUT - 8)
            .map(|n| format!("tests/test_basket.py::test_case_{n} \u{1b}[32mPASSED\u{1b}[0m"));
        let end = [
            "=================================== FAILURES ===================================",
            "\u{1b}[31m____________________________ test_two_of_the_same ____________________________\u{1b}[0m",
            "    def test_two_of_the_same():",
            "        basket.add(\"tea\"); basket.add(\"tea\")",
            ">       assert basket.count(\"tea\") == 2",
            "\u{1b}[31mE       assert 1 == 2\u{1b}[0m",
            "<script>document.title = 'stolen'</script>",
            "\u{1b}[31m==================== 1 failed, 47 passed, 2 skipped in 3.31s ===================\u{1b}[0m",
        ];
        self.prints("test", noise.chain(end.into_iter().map(str::to_owned)));
        let tests = TestReport {
            exit_code: 1,
            counts: Some(TestCounts { passed: 47, failed: 1, skipped: 2 }),
            first_failures: vec![TestFailure {
                name: "tests/test_basket.py::test_two_of_the_same".into(),
                message: "assert 1 == 2".into(),
            }],
        };
        let tail = end[..6].iter().map(|line| (*line).to_owned()).collect();
        let failure = Failure { reason: "1 of 50 tests failed".into(), tail, tests: Some(tests) };
        self.red(Stage::Test, 5_980, failure).await;
        let cause = Cause::StageFailed { stage: Stage::Test, reason: "1 of 50 tests failed".into() };
        self.record(0, "engine", Event::RunFailed { cause }).await;
        self.tells(Occasion::Failed, Audience::Developer).await;
        self.record(1, "engine", Event::RunClosed).await;
    }

    async fn tells(&mut self, occasion: Occasion, audience: Audience) {
        let notice = NoticeId { occasion, audience, channel: "slack:TEAM_WEBHOOK".into() };
        self.record(1, "engine", Event::NoticeStarted { notice: notice.clone(), attempt: 1 }).await;
        self.record(310, "engine", Event::NoticeSent { notice, receipt: "200 ok".into() }).await;
    }

    async fn rolled_back(&mut self, former: &Release) {
        let reason = "GET / gave 503, expected 200";
        self.prints("smoke", ["GET /healthz = 200 in 4 ms", "GET / = 503 in 15 ms: expected 200"]);
        let tail = vec![
            "  File \"/app/shop/views.py\", line 41, in prices".to_owned(),
            "    return render(cache[\"prices\"])".to_owned(),
            "KeyError: 'prices'".to_owned(),
        ];
        self.red(Stage::Smoke, 640, Failure { reason: reason.into(), tail, tests: None }).await;
        let cause = Cause::StageFailed { stage: Stage::Smoke, reason: reason.into() };
        let deadline_ms = self.at_ms + 10 * MINUTE;
        self.record(0, "engine", Event::RollbackStarted { attempt: 1, cause, deadline_ms }).await;
        let hold = HeldCommit { sha: self.commit.sha.clone(), reason: reason.into() };
        let done = Event::RollbackSucceeded {
            attempt: 1,
            serving: Some(former.image.digest.clone()),
            proof: "GET / = 200 from the former release".into(),
            hold: Some(hold),
            took_ms: 410,
        };
        self.prints("rollback", ["the candidate is stopped", "GET / = 200 from the former release"]);
        self.record(410, "engine", done).await;
        self.tells(Occasion::RolledBack, Audience::Ops).await;
        self.record(1, "engine", Event::RunClosed).await;
    }

    async fn cancelled(&mut self, reason: &str) {
        self.starts(Stage::Test).await;
        self.record(1_200, "linus", Event::CancelRequested { reason: reason.into() }).await;
        self.record(90, "engine", Event::StageUndone { stage: Stage::Test, attempt: 1 }).await;
        let cause = Cause::Cancelled { reason: reason.into() };
        self.record(0, "engine", Event::RunFailed { cause }).await;
        self.record(1, "engine", Event::RunClosed).await;
    }

    async fn parked(&mut self) {
        self.starts(Stage::Test).await;
        let reason = "the Docker engine did not answer within 30 s";
        let silent =
            Event::StageErrored { stage: Stage::Test, attempt: 1, reason: reason.into(), retry_due_ms: None };
        self.record(30_000, "engine", silent).await;
        let at = Blocked::Stage { stage: Stage::Test, attempt: 1 };
        self.record(0, "engine", Event::RunParked { at, reason: reason.into() }).await;
    }
}
