//! A data folder with two runs in it: one that went live, and one that waits for a person.

use std::fs;
use std::path::{Path, PathBuf};

use landfall_engine::core::event::{Cause, Commit, Decision, Event, Origin};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, Failure, PushedImage, SmokePassed, SmokeReport, Switched,
    TestCounts, TestFailure, TestReport,
};
use landfall_engine::core::lane::{LaneId, Release};
use landfall_engine::core::run::{Blocked, RunId};
use landfall_engine::core::settings::Settings;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Append, Draft, EventStore, OutputLog};
use landfall_store::{DataDir, Opened, Options};
use tempfile::TempDir;
use uuid::Uuid;

const START_MS: u64 = 1_700_000_000_000;

/// A data folder of one's own.
pub struct Folder(TempDir);

impl Folder {
    /// Returns a folder as an engine leaves it.
    pub fn written() -> Self {
        Self::written_and_held().0
    }

    /// Returns a folder and what holds it, as an engine does, under its lock.
    pub fn written_and_held() -> (Self, Opened) {
        let folder = Self(tempfile::tempdir().unwrap());
        let opened = DataDir::open(folder.path(), &options()).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut live = Writer::new(super::LIVE);
            for event in live_story(live.run_id) {
                live.add(&opened, event).await;
            }
            for (stage, lines) in
                [("test", vec!["collected 14 items", "14 passed"]), ("build", vec!["Step 1/2"])]
            {
                let mut output = opened.outputs.open(live.run_id, stage, 1).unwrap();
                lines.iter().for_each(|line| output.line(line).unwrap());
                output.finish().unwrap();
            }
            let mut parked = Writer::new(super::PARKED);
            for event in parked_story() {
                parked.add(&opened, event).await;
            }
        });
        (folder, opened)
    }

    /// Opens it as an engine does.
    pub fn open(&self) -> Opened {
        DataDir::open(self.path(), &Options::default()).unwrap()
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns how many events the run has that went live.
    pub fn live_events(&self) -> u64 {
        live_story(super::LIVE.parse().unwrap()).len() as u64
    }

    /// Returns a copy, without what can be rebuilt.
    pub fn copy(&self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(self.path().join("META"), copy.path().join("META")).unwrap();
        fs::create_dir(copy.path().join("log")).unwrap();
        for entry in fs::read_dir(self.path().join("log")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join("log").join(entry.file_name())).unwrap();
        }
        Self(copy)
    }

    /// Returns every file with its length.
    pub fn listing(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => found.push((entry.path(), entry.metadata().unwrap().len())),
                }
            }
        }
        found.sort();
        found
    }

    /// Leaves one checkpoint, of all that is there, however long it took to write it.
    pub fn sign_anew(&self) {
        for entry in fs::read_dir(self.path().join("checkpoints")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                fs::remove_file(path).unwrap();
            }
        }
        drop(DataDir::open(self.path(), &options()).unwrap());
    }

    /// Cuts the log off behind this many writes, as if there had never been more.
    pub fn cut_to(&self, writes: usize) {
        let path = self.path().join("log").join("00000000000000000001.seg");
        let mut bytes = fs::read(&path).unwrap();
        let frame = [0xff, b'L', b'F', 0xf1];
        let mut starts =
            bytes.windows(4).enumerate().filter(|(_, window)| *window == frame).map(|(at, _)| at);
        let end = starts.nth(writes).unwrap();
        bytes[end..].fill(0);
        fs::write(&path, bytes).unwrap();
    }

    /// Changes bytes in the log behind everybody's back.
    pub fn tamper(&self, from: &[u8], to: &[u8]) {
        let mut changed = false;
        for entry in fs::read_dir(self.path().join("log")).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
                bytes[at..at + to.len()].copy_from_slice(to);
                fs::write(&path, bytes).unwrap();
                changed = true;
            }
        }
        assert!(changed, "there was nothing to change");
    }
}

fn options() -> Options {
    Options { segment_bytes: 1024 * 1024, ..Options::default() }
}

/// Adds a run whose tests were red.
pub fn add_red(opened: &Opened, id: &str) {
    let mut story = deployed();
    story.truncate(3);
    let reason = "1 of 14 tests failed";
    let failed = TestFailure { name: "test_cart".into(), message: "assert 1 == 2".into() };
    let counts = Some(TestCounts { passed: 13, failed: 1, skipped: 0 });
    let tests = Some(TestReport { exit_code: 1, counts, first_failures: vec![failed] });
    let failure = Failure { reason: reason.into(), tail: Vec::new(), tests };
    let (stage, attempt) = (Stage::Test, 1);
    story.push(started(stage));
    story.push(Event::StageFailed { stage, attempt, failure, took_ms: 500, output: None });
    story.push(Event::RunFailed { cause: Cause::StageFailed { stage, reason: reason.into() } });
    let mut writer = Writer::new(id);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for event in story {
            writer.add(opened, event).await;
        }
    });
}

/// Adds a run that was parked at its smoke test, tried again, and is at it.
pub fn add_retried(opened: &Opened, id: &str) {
    let mut story = parked_story();
    story.push(Event::RunUnparked { decision: Decision::Retry });
    story.push(Event::StageStarted { stage: Stage::Smoke, attempt: 2, deadline_ms: START_MS + 600_000 });
    let mut writer = Writer::new(id);
    let mut output = opened.outputs.open(writer.run_id, "smoke", 2).unwrap();
    output.line("checked again").unwrap();
    output.finish().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for event in story {
            writer.add(opened, event).await;
        }
    });
}

/// Returns a text without what depends on today's date.
pub fn without_ages(text: &str) -> String {
    let cut = |line: &str| match line.split_once("Z, ") {
        Some((before, after)) if after.ends_with(" ago") => format!("{before}Z, … ago"),
        _ => line.to_owned(),
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n") + "\n"
}

/// Appends events to one run.
struct Writer {
    run_id: RunId,
    seq: u64,
}

impl Writer {
    fn new(id: &str) -> Self {
        Self { run_id: id.parse().unwrap(), seq: 0 }
    }

    async fn add(&mut self, opened: &Opened, event: Event) {
        let draft = Draft { event_id: Uuid::now_v7(), effect_key: None, event };
        let append = Append {
            run_id: self.run_id,
            expected: self.seq,
            events: vec![draft],
            at_ms: START_MS + 500 * self.seq,
            actor: if self.seq == 0 { "ada".into() } else { "engine".into() },
            claims: Vec::new(),
        };
        opened.store.append(append).await.unwrap();
        self.seq += 1;
    }
}

fn live_story(run: RunId) -> Vec<Event> {
    let mut events = deployed();
    events.extend(stage(Facts::Smoke(SmokeReport {
        address: "127.0.0.1:20113".into(),
        checks: vec![SmokePassed { check: "GET /healthz = 200".into(), took_ms: 3 }],
    })));
    events.extend(stage(Facts::GoLive(Switched { generation: 1, address: "http://127.0.0.1:8080".into() })));
    events.extend(stage(Facts::PublicSmoke(SmokeReport::default())));
    let release = Release {
        run,
        commit: commit(),
        image: image(),
        candidate: candidate(),
        live_at_ms: START_MS + 9_000,
    };
    events.push(Event::RunLive { release: Box::new(release) });
    events.push(Event::RunClosed);
    events
}

fn parked_story() -> Vec<Event> {
    let reason = "the Docker engine did not answer: connection refused";
    let mut events = deployed();
    events.push(started(Stage::Smoke));
    events.push(Event::StageErrored {
        stage: Stage::Smoke,
        attempt: 1,
        reason: reason.into(),
        retry_due_ms: None,
    });
    events.push(Event::RunParked {
        at: Blocked::Stage { stage: Stage::Smoke, attempt: 1 },
        reason: format!("smoke gave no answer in 1 try: {reason}"),
    });
    events
}

fn deployed() -> Vec<Event> {
    let origin = Origin::Push { commit: commit(), repository: "/src/shop".into(), release_hold: false };
    let lane = LaneId::production("shop");
    let mut events = vec![Event::RunStarted { lane, origin, trigger: "landfall run".into() }];
    events.extend(stage(Facts::Checkout(Checkout {
        tree: "t".into(),
        settings: Box::new(Settings { service: "shop".into(), ..Settings::default() }),
        configured_by: "landfall.toml, 14 passed but".into(),
        guesses: vec![],
    })));
    let counts = Some(TestCounts { passed: 14, failed: 0, skipped: 0 });
    events.extend(stage(Facts::Test(TestReport { exit_code: 0, counts, first_failures: Vec::new() })));
    events.extend(stage(Facts::Build(BuiltImage {
        image_id: "sha256:5e1f00aa11bb22cc".into(),
        reference: "127.0.0.1:5000/shop:run-9f3e1c2a7b4d".into(),
        generated_dockerfile: false,
    })));
    events.extend(stage(Facts::PushImage(image())));
    events.push(Event::DeploymentStarted { branch: Some("main".into()), replaces: None, generation: 1 });
    events.extend(stage(Facts::Deploy(candidate())));
    events
}

fn started(stage: Stage) -> Event {
    Event::StageStarted { stage, attempt: 1, deadline_ms: START_MS + 600_000 }
}

fn stage(facts: Facts) -> [Event; 2] {
    let stage = facts.stage();
    [started(stage), Event::StageSucceeded { stage, attempt: 1, facts, took_ms: 500, output: None }]
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

/// Adds a run that failed long ago and is closed, with what its checkout printed.
pub fn add_failed(opened: &Opened, id: &str) {
    let mut writer = Writer::new(id);
    let mut output = opened.outputs.open(writer.run_id, "checkout", 1).unwrap();
    output.line("no such commit").unwrap();
    let output = Some(output.finish().unwrap());
    let failure = Failure::new("no such commit");
    let cause = Cause::StageFailed { stage: Stage::Checkout, reason: failure.reason.clone() };
    let lane = LaneId::production("shop");
    let origin = Origin::Push { commit: commit(), repository: "/src/shop".into(), release_hold: false };
    let story = [
        Event::RunStarted { lane, origin, trigger: "git push".into() },
        started(Stage::Checkout),
        Event::StageFailed { stage: Stage::Checkout, attempt: 1, failure, took_ms: 5, output },
        Event::RunFailed { cause },
        Event::RunClosed,
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for event in story {
            writer.add(opened, event).await;
        }
    });
}
