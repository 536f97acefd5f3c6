//! A world in memory: containers, a registry, a proxy and receivers of notices, with faults on demand.
//!
//! It keeps the contract of real stages: it looks before it makes, and names things after keys. What it
//! must never see (one key with two inputs, two pushes of one tag) it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use landfall_engine::core::command::{NotSent, Outcome, Push, RollbackOutcome};
use landfall_engine::core::event::{Commit, OutputRef};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, PushedImage, SmokePassed, SmokeReport, Switched, TestCounts,
    TestReport,
};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::{NotifySettings, ReleaseSettings, Settings};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{
    BoxError, Clock, Keep, NoticeOrder, Order, Output, OutputLog, OutputWriter, Probe, RollbackOrder,
    StageExecutor,
};
use tokio::sync::Notify;

/// What a stage answers instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Red, each time.
    Red,
    /// No answer this many times, then success.
    Silent(u32),
    /// Never ends by itself.
    Hang,
    /// Red, with more to say than an event may hold.
    Huge,
}

/// Where the world stops the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The effect has not happened.
    Before,
    /// It has happened; nobody was told.
    After,
}

/// What is there.
#[derive(Debug, Default)]
pub struct Things {
    /// Live objects by name, with the run that owns them.
    pub containers: BTreeMap<String, RunId>,
    /// Tags in the registry with their digests.
    pub tags: BTreeMap<String, String>,
    /// Images by run.
    pub images: BTreeMap<RunId, String>,
    /// Folders by run.
    pub folders: BTreeSet<RunId>,
    /// What the proxy serves: generation, digest, container.
    pub route: (u64, Option<(String, String)>),
    /// What receivers took, by idempotency key: a repeat changes nothing.
    pub notices: BTreeMap<String, u32>,
    /// Every effect that happened, by key.
    pub done: Vec<String>,
    /// What must never be seen.
    pub violations: Vec<String>,
}

/// A world in memory.
pub struct World {
    things: Mutex<Things>,
    answers: Mutex<BTreeMap<Stage, Answer>>,
    /// Counts effects down to the one at which the engine is stopped.
    stop_at: Mutex<Option<(u32, Moment)>>,
    effects: AtomicU32,
    /// Effects whose key has this in it stop every engine that begins them.
    deadly: Mutex<Option<&'static str>>,
    /// Commits have a release command.
    migrates: AtomicBool,
    /// One time for all the engines that live and die in this world.
    pub clock: Arc<TestClock>,
    /// Told when the engine is to be stopped.
    pub stopped: Notify,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            things: Mutex::default(),
            answers: Mutex::default(),
            stop_at: Mutex::default(),
            effects: AtomicU32::new(0),
            deadly: Mutex::default(),
            migrates: AtomicBool::new(false),
            clock: TestClock::new(),
            stopped: Notify::new(),
        })
    }

    pub fn answering(stage: Stage, answer: Answer) -> Arc<Self> {
        let world = Self::new();
        world.answer(stage, Some(answer));
        world
    }

    /// Returns a world whose commits have a release command.
    pub fn migrating() -> Arc<Self> {
        let world = Self::new();
        world.migrates.store(true, Ordering::SeqCst);
        world
    }

    fn settings(&self) -> Settings {
        let release = ReleaseSettings { command: "flask db upgrade".into(), timeout_ms: 60_000 };
        let migrates = self.migrates.load(Ordering::SeqCst);
        Settings { release: migrates.then_some(release), ..settings() }
    }

    pub fn answer(&self, stage: Stage, answer: Option<Answer>) {
        let mut answers = self.answers.lock().unwrap();
        match answer {
            Some(answer) => answers.insert(stage, answer),
            None => answers.remove(&stage),
        };
    }

    pub fn things(&self) -> MutexGuard<'_, Things> {
        self.things.lock().unwrap()
    }

    /// Stops the engine at the nth effect from now.
    pub fn stop_at(&self, nth: u32, moment: Moment) {
        self.effects.store(0, Ordering::SeqCst);
        *self.stop_at.lock().unwrap() = Some((nth, moment));
    }

    pub fn go_on(&self) {
        *self.stop_at.lock().unwrap() = None;
        *self.deadly.lock().unwrap() = None;
    }

    /// Stops every engine that begins an effect whose key has this in it.
    pub fn stop_at_each(&self, key: &'static str) {
        *self.deadly.lock().unwrap() = Some(key);
    }

    async fn die_if_deadly(&self, key: &str) {
        let deadly = *self.deadly.lock().unwrap();
        if deadly.is_some_and(|deadly| key.contains(deadly)) {
            self.die().await;
        }
    }

    /// Returns the digest that is served.
    pub fn serves(&self) -> Option<String> {
        self.things().route.1.as_ref().map(|(digest, _)| digest.clone())
    }

    /// Does one effect, with the engine stopped before or after it when that is asked for.
    async fn effect<T>(&self, key: &str, act: impl FnOnce(&mut Things) -> T) -> T {
        let nth = self.effects.fetch_add(1, Ordering::SeqCst) + 1;
        let stop = *self.stop_at.lock().unwrap();
        if stop == Some((nth, Moment::Before)) {
            self.die().await;
        }
        self.die_if_deadly(key).await;
        tokio::task::yield_now().await;
        let result = {
            let mut things = self.things();
            things.done.push(key.to_owned());
            act(&mut things)
        };
        tokio::task::yield_now().await;
        if stop == Some((nth, Moment::After)) {
            self.die().await;
        }
        result
    }

    async fn die(&self) {
        self.stopped.notify_one();
        std::future::pending::<()>().await;
    }

    fn scripted(&self, stage: Stage) -> Option<Outcome> {
        let mut answers = self.answers.lock().unwrap();
        match answers.get_mut(&stage)? {
            Answer::Red => Some(Outcome::failed(format!("{stage} is red"))),
            Answer::Huge => Some(Outcome::failed("x".repeat(100_000))),
            Answer::Silent(0) | Answer::Hang => None,
            Answer::Silent(left) => {
                *left -= 1;
                Some(Outcome::errored("no reply"))
            }
        }
    }

    fn hangs(&self, stage: Stage) -> bool {
        self.answers.lock().unwrap().get(&stage) == Some(&Answer::Hang)
    }
}

pub fn settings() -> Settings {
    Settings {
        service: "shop".into(),
        notify: NotifySettings { developer: vec!["webhook:DEV".into()], ops: vec!["webhook:OPS".into()] },
        ..Settings::default()
    }
}

pub fn push(sha: char) -> Push {
    Push {
        lane: LaneId::production("shop"),
        commit: Commit {
            sha: sha.to_string().repeat(40),
            branch: Some("main".into()),
            subject: format!("Change {sha}"),
            author: "Ada".into(),
            email: "ada@example.com".into(),
        },
        repository: "/srv/git/shop.git".into(),
        trigger: "git push".into(),
        release_hold: false,
    }
}

pub fn digest_of(sha: &str) -> String {
    format!("sha256:{}", &sha[..12])
}

fn candidate_name(order: &Order) -> String {
    format!("app-{}", order.run.id.short())
}

fn image_of(order: &Order) -> PushedImage {
    let digest = digest_of(&order.run.commit().sha);
    PushedImage { repository: "registry/shop".into(), tag: format!("run-{}", order.run.id.short()), digest }
}

fn candidate(order: &Order) -> Facts {
    Facts::Deploy(Candidate {
        container: candidate_name(order),
        container_id: "c".into(),
        address: "127.0.0.1:20000".parse().unwrap(),
        healthy_after_ms: 1,
    })
}

fn report() -> SmokeReport {
    let check = SmokePassed { check: "GET / = 200".into(), took_ms: 1 };
    SmokeReport { address: "http://127.0.0.1:20000".into(), checks: vec![check] }
}

#[async_trait]
impl StageExecutor for World {
    async fn execute(&self, order: &Order, output: &Output) -> Outcome {
        let key = order.key.as_str();
        let run = order.run.id;
        output.line(&format!("doing {key}"));
        if self.hangs(order.stage) {
            self.things().containers.insert(format!("{}-{}", order.stage, run.short()), run);
            std::future::pending::<()>().await;
        }
        if let Some(outcome) = self.scripted(order.stage) {
            if order.stage == Stage::Deploy {
                // A candidate that never gets healthy is there all the same.
                self.effect(key, |things| things.containers.insert(candidate_name(order), run)).await;
            }
            return outcome;
        }
        let facts = match order.stage {
            Stage::Checkout => {
                self.effect(key, |things| things.folders.insert(run)).await;
                Facts::Checkout(Checkout {
                    tree: "7ree".into(),
                    settings: Box::new(self.settings()),
                    configured_by: "defaults".into(),
                    guesses: vec![],
                })
            }
            Stage::Test => {
                self.effect(key, |_| ()).await;
                let counts = Some(TestCounts { passed: 3, failed: 0, skipped: 0 });
                Facts::Test(TestReport { exit_code: 0, counts, first_failures: Vec::new() })
            }
            Stage::Build => {
                let image_id = digest_of(&order.run.commit().sha);
                self.effect(key, |things| things.images.insert(run, image_id.clone())).await;
                Facts::Build(BuiltImage {
                    image_id,
                    reference: "shop:run".into(),
                    generated_dockerfile: false,
                })
            }
            Stage::PushImage => {
                let image = image_of(order);
                self.effect(key, |things| {
                    if things.tags.insert(image.tag.clone(), image.digest.clone()).is_some() {
                        things.violations.push(format!("{} was pushed twice", image.tag));
                    }
                })
                .await;
                Facts::PushImage(image)
            }
            Stage::ReleaseCommand => Facts::ReleaseCommand,
            Stage::Deploy => {
                self.effect(key, |things| things.containers.insert(candidate_name(order), run)).await;
                candidate(order)
            }
            Stage::Smoke => Facts::Smoke(report()),
            Stage::GoLive => {
                let generation = order.run.entry.as_ref().unwrap().generation;
                let digest = order.run.image.as_ref().unwrap().digest.clone();
                self.effect(key, |things| {
                    if generation > things.route.0 {
                        things.route = (generation, Some((digest, candidate_name(order))));
                    }
                })
                .await;
                Facts::GoLive(Switched { generation, address: "http://127.0.0.1:8080".into() })
            }
            Stage::PublicSmoke => {
                let serving = self.serves();
                if serving != order.run.image.as_ref().map(|image| image.digest.clone()) {
                    return Outcome::failed(format!("the public address serves {serving:?}"));
                }
                Facts::PublicSmoke(report())
            }
        };
        Outcome::Succeeded(facts)
    }

    async fn probe(&self, order: &Order) -> Result<Probe, String> {
        let things = self.things();
        let run = order.run.id;
        Ok(match order.stage {
            Stage::PushImage => {
                let image = image_of(order);
                match things.tags.contains_key(&image.tag) {
                    true => Probe::Done(Outcome::Succeeded(Facts::PushImage(image))),
                    false => Probe::NotStarted,
                }
            }
            Stage::Build => match things.images.get(&run) {
                Some(image_id) => Probe::Done(Outcome::Succeeded(Facts::Build(BuiltImage {
                    image_id: image_id.clone(),
                    reference: "shop:run".into(),
                    generated_dockerfile: false,
                }))),
                None => Probe::NotStarted,
            },
            Stage::Deploy if things.containers.contains_key(&candidate_name(order)) => Probe::Running,
            Stage::GoLive => {
                let generation = order.run.entry.as_ref().unwrap().generation;
                match things.route.0.cmp(&generation) {
                    std::cmp::Ordering::Less => Probe::NotStarted,
                    std::cmp::Ordering::Equal => Probe::Done(Outcome::Succeeded(Facts::GoLive(Switched {
                        generation,
                        address: "http://127.0.0.1:8080".into(),
                    }))),
                    std::cmp::Ordering::Greater => Probe::Unknown("somebody else switched".into()),
                }
            }
            _ => Probe::NotStarted,
        })
    }

    async fn attach(&self, order: &Order, _output: &Output) -> Outcome {
        self.scripted(order.stage).unwrap_or_else(|| Outcome::Succeeded(candidate(order)))
    }

    async fn undo(&self, order: &Order) -> Result<(), String> {
        self.die_if_deadly(order.key.as_str()).await;
        let mut things = self.things();
        things.containers.remove(&format!("{}-{}", order.stage, order.run.id.short()));
        if order.stage == Stage::Deploy {
            things.containers.remove(&candidate_name(order));
        }
        Ok(())
    }

    async fn rollback(&self, order: &RollbackOrder, _output: &Output) -> RollbackOutcome {
        let run = &order.run;
        let entry = run.entry.as_ref().unwrap();
        let former = entry.replaces.as_ref();
        self.effect(order.key.as_str(), |things| {
            if things.route.0 == entry.generation {
                let back =
                    former.map(|release| (release.image.digest.clone(), release.candidate.container.clone()));
                things.route = (entry.generation + 1, back);
            }
            things.containers.retain(|_, owner| *owner != run.id);
        })
        .await;
        let serving = self.serves();
        if serving == former.map(|release| release.image.digest.clone()) {
            RollbackOutcome::Succeeded { serving, proof: "the proxy was asked".into() }
        } else {
            RollbackOutcome::Errored { reason: format!("{serving:?} serves") }
        }
    }

    async fn notify(&self, order: &NoticeOrder) -> Result<String, NotSent> {
        self.effect(order.key.as_str(), |things| {
            *things.notices.entry(order.key.as_str().to_owned()).or_default() += 1;
        })
        .await;
        Ok("200".into())
    }

    async fn sweep(&self, keep: &Keep) -> Result<Vec<String>, String> {
        let mut things = self.things();
        let mut removed = Vec::new();
        things.containers.retain(|name, run| {
            let stays = keep.runs.contains(run) || keep.containers.contains(name);
            if !stays {
                removed.push(format!("container {name}"));
            }
            stays || keep.dry
        });
        things.folders.retain(|run| keep.runs.contains(run) || keep.dry);
        Ok(removed)
    }
}

/// Output that goes nowhere.
#[derive(Debug)]
pub struct NoOutput;

impl OutputLog for NoOutput {
    fn open(&self, _: RunId, _: &str, _: u32) -> Result<Box<dyn OutputWriter>, BoxError> {
        Ok(Box::new(Self))
    }
}

impl OutputWriter for NoOutput {
    fn line(&mut self, _: &str) -> Result<(), BoxError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        Ok(OutputRef { len: 0, sha256: String::new() })
    }
}

/// A clock on tokio's time, which a paused test moves by waiting.
#[derive(Debug)]
pub struct TestClock(tokio::time::Instant);

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }

    async fn sleep_until(&self, at_ms: u64) {
        let left = at_ms.saturating_sub(self.now_ms());
        tokio::time::sleep(Duration::from_millis(left)).await;
    }
}
