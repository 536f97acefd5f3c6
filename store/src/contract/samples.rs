//! Legal histories for tests, made of plain values.

use landfall_engine::core::event::{Cause, Commit, Event, Origin};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, Failure, PushedImage, SmokeReport, Switched, TestReport,
};
use landfall_engine::core::lane::{LaneId, Release};
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Append, Draft};
use uuid::Uuid;

/// When everything happens.
pub const AT_MS: u64 = 1_780_000_000_000;

/// Returns a new run's id, later than all before it.
pub fn new_run() -> RunId {
    RunId(Uuid::now_v7())
}

/// Returns a draft with an id of its own.
pub fn draft(event: Event) -> Draft {
    Draft { event_id: Uuid::now_v7(), effect_key: None, event }
}

/// Returns an append of events behind `expected`, without claims.
pub fn append(run_id: RunId, expected: u64, events: impl IntoIterator<Item = Event>) -> Append {
    Append {
        run_id,
        expected,
        events: events.into_iter().map(draft).collect(),
        at_ms: AT_MS + expected,
        actor: "ada".into(),
        claims: Vec::new(),
    }
}

/// Returns the first event of a run of this app.
pub fn started(app: &str) -> Event {
    Event::RunStarted { lane: LaneId::production(app), origin: push(app), trigger: "git push".into() }
}

/// Returns the intent of a first attempt.
pub fn begun(stage: Stage) -> Event {
    Event::StageStarted { stage, attempt: 1, deadline_ms: AT_MS + 600_000 }
}

/// Returns the good end of a first attempt.
pub fn succeeded(facts: Facts) -> Event {
    Event::StageSucceeded { stage: facts.stage(), attempt: 1, facts, took_ms: 12, output: None }
}

/// Returns a whole life: from the trigger through every stage to live, and closed.
pub fn life(run: RunId, app: &str) -> Vec<Event> {
    let image = image(app);
    let mut events = vec![started(app)];
    let checkout = Checkout {
        tree: "9".repeat(40),
        settings: Box::default(),
        configured_by: "defaults".into(),
        guesses: vec![],
    };
    stage(&mut events, Facts::Checkout(checkout));
    stage(&mut events, Facts::Test(TestReport::default()));
    let reference = format!("{}:{}", image.repository, image.tag);
    stage(
        &mut events,
        Facts::Build(BuiltImage { image_id: "sha256:1".into(), reference, generated_dockerfile: false }),
    );
    stage(&mut events, Facts::PushImage(image));
    events.push(Event::DeploymentStarted { branch: Some("main".into()), replaces: None, generation: 1 });
    stage(&mut events, Facts::Deploy(candidate(app)));
    stage(&mut events, Facts::Smoke(SmokeReport::default()));
    stage(&mut events, Facts::GoLive(Switched { generation: 1, address: "http://127.0.0.1:80".into() }));
    stage(&mut events, Facts::PublicSmoke(SmokeReport::default()));
    events.push(Event::RunLive { release: Box::new(release(run, app)) });
    events.push(Event::RunClosed);
    events
}

/// Returns a short life: a red checkout, and closed.
pub fn red_life(app: &str) -> Vec<Event> {
    let failure = Failure::new("2 keys are wrong: \"größer\"\nand more");
    let cause = Cause::StageFailed { stage: Stage::Checkout, reason: failure.reason.clone() };
    vec![
        started(app),
        begun(Stage::Checkout),
        Event::StageFailed { stage: Stage::Checkout, attempt: 1, failure, took_ms: 9, output: None },
        Event::RunFailed { cause },
        Event::RunClosed,
    ]
}

/// Returns the release that [`life`] makes live.
pub fn release(run: RunId, app: &str) -> Release {
    Release { run, commit: commit(app), image: image(app), candidate: candidate(app), live_at_ms: AT_MS }
}

fn stage(events: &mut Vec<Event>, facts: Facts) {
    events.push(begun(facts.stage()));
    events.push(succeeded(facts));
}

fn push(app: &str) -> Origin {
    Origin::Push { commit: commit(app), repository: format!("/srv/git/{app}.git"), release_hold: false }
}

fn commit(app: &str) -> Commit {
    Commit {
        sha: "0123456789abcdef0123456789abcdef01234567".into(),
        branch: Some("main".into()),
        subject: format!("{app}: a better greeting"),
        author: "Ada".into(),
        email: "ada@example.com".into(),
    }
}

fn image(app: &str) -> PushedImage {
    let digest = format!("sha256:{}", "a".repeat(64));
    PushedImage { repository: format!("127.0.0.1:5000/{app}"), tag: "run-1".into(), digest }
}

fn candidate(app: &str) -> Candidate {
    Candidate {
        container: format!("landfall-{app}-1"),
        container_id: "c0ffee".into(),
        address: ([127, 0, 0, 1], 20_001).into(),
        healthy_after_ms: 170,
    }
}
