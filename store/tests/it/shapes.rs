//! What is stored is for ever: the text of each record is pinned, and the log of each past schema is read.
//!
//! After a change that is meant, `LANDFALL_WRITE_FIXTURES=1 cargo test -p landfall-store shapes` writes the texts
//! anew; the difference is for the reviewer. The log of a past schema is never written again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use landfall_engine::core::environment::{Environment, Environments, Sections};
use landfall_engine::core::event::{Cause, Decision, Event, Found, HeldCommit, Origin, OutputRef, SCHEMA};
use landfall_engine::core::facts::{Failure, TestCounts, TestFailure, TestReport};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::ledger::{Forge, ForgeKind, LedgerEvent, Registration, Scope, Source, TokenGrant};
use landfall_engine::core::notice::{Audience, NoticeId, Occasion};
use landfall_engine::core::rerun::Rerun;
use landfall_engine::core::run::{Blocked, RunId};
use landfall_engine::core::settings::{DeploySettings, Settings};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Append, Draft, EventStore};
use landfall_store::contract::samples::{AT_MS, append, life, new_run, red_life, release, started};
use landfall_store::disk::FaultyDisk;
use landfall_store::open_read_only;
use uuid::Uuid;

use crate::common::{FIRST, copy, end, frames, on, open};

const RUN: RunId = RunId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn is_writing() -> bool {
    std::env::var_os("LANDFALL_WRITE_FIXTURES").is_some()
}

#[tokio::test]
async fn the_text_of_each_record_is_as_it_always_was() {
    let disk = FaultyDisk::new();
    let (store, _) = on(&disk);
    for (n, event) in every_event().into_iter().enumerate() {
        let n = n as u64;
        let draft = Draft {
            event_id: Uuid::from_u128(0x0192_0000_0000_7000_9000_0000_0000_0000 + u128::from(n)),
            effect_key: matches!(event, Event::StageStarted { .. }).then(|| "0123456789ab/test/1".into()),
            event,
        };
        let claims = (n == 0).then(|| "delivery-1".into()).into_iter().collect();
        let append = Append {
            run_id: RUN,
            expected: n,
            events: vec![draft],
            at_ms: AT_MS,
            actor: "ada".into(),
            claims,
        };
        store.append(append).await.unwrap();
    }
    let segment = disk.bytes(FIRST).unwrap();
    let mut shapes = String::new();
    for start in frames(&segment) {
        let length = u32::from_le_bytes(segment[start + 56..start + 60].try_into().unwrap()) as usize;
        let text = std::str::from_utf8(&segment[start + 60..start + 60 + length]).unwrap();
        shapes.push_str(&text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
        shapes.push('\n');
    }
    let pinned = fixtures().join("shapes.txt");
    if is_writing() {
        fs::write(&pinned, &shapes).unwrap();
    }
    let pinned = fs::read_to_string(pinned).unwrap();
    for (stored, pinned) in shapes.lines().zip(pinned.lines()) {
        assert_eq!(stored, pinned);
    }
    assert_eq!(shapes.lines().count(), pinned.lines().count());
}

#[tokio::test]
async fn each_event_reads_back_from_its_record() {
    let (store, _) = on(&FaultyDisk::new());
    let events = every_event();
    for (n, event) in events.iter().enumerate() {
        store.append(append(RUN, n as u64, [event.clone()])).await.unwrap();
    }
    let read: Vec<Event> = store.events(RUN).await.unwrap().into_iter().map(|read| read.event).collect();
    assert_eq!(read, events);
}

#[tokio::test]
async fn a_log_of_each_schema_is_read() {
    for schema in 1..=SCHEMA {
        let folder = fixtures().join(format!("schema-{schema}"));
        if is_writing() && schema == SCHEMA && !folder.exists() {
            write_log(&folder).await;
        }
        let log = open_read_only(&folder).unwrap();
        let found = log.verify().await.unwrap();
        assert_eq!((found.runs, found.problems), (3, vec![]), "schema {schema}");
        let mut read = String::new();
        for run in log.runs(Default::default()).await.unwrap() {
            for envelope in log.events(run.id).await.unwrap() {
                read.push_str(&serde_json::to_string(&envelope).unwrap());
                read.push('\n');
            }
        }
        let expected = fixtures().join(format!("schema-{schema}.txt"));
        if is_writing() {
            fs::write(&expected, &read).unwrap();
        }
        assert_eq!(read, fs::read_to_string(expected).unwrap(), "schema {schema}");
        let copied = tempfile::tempdir().unwrap();
        copy(&folder, copied.path());
        let opened = open(copied.path());
        assert_eq!((opened.report.events, &opened.report.damage), (found.events, &None), "schema {schema}");
        opened.store.append(append(new_run(), 0, [started("shop")])).await.unwrap();
    }
}

async fn write_log(folder: &Path) {
    let data = tempfile::tempdir().unwrap();
    let store: Arc<dyn EventStore> = open(data.path()).store;
    let (green, red, waiting) = (new_run(), new_run(), new_run());
    store.append(append(green, 0, life(green, "shop"))).await.unwrap();
    let claims = vec!["delivery-1".into()];
    store.append(Append { claims, ..append(red, 0, red_life("shop")) }).await.unwrap();
    store.append(append(waiting, 0, [started("blog")])).await.unwrap();
    drop(store);
    fs::create_dir_all(folder.join("log")).unwrap();
    fs::copy(data.path().join("META"), folder.join("META")).unwrap();
    let segment = fs::read(data.path().join("log").join(FIRST)).unwrap();
    // The zeros behind the last frame are no part of the log.
    fs::write(folder.join("log").join(FIRST), &segment[..end(&segment)]).unwrap();
}

#[tokio::test]
async fn an_event_of_the_future_stops_its_run_and_no_other() {
    for (from, to, why) in [
        ("\"type\":\"cancel_requested\"", "\"type\":\"cancel_suggested\"", "cancel_suggested"),
        ("\"schema\":1", "\"schema\":9", "schema 9"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let opened = open(folder.path());
        let (odd, plain) = (new_run(), new_run());
        opened.store.append(append(plain, 0, [started("blog")])).await.unwrap();
        opened.store.append(append(odd, 0, [started("shop")])).await.unwrap();
        opened.store.append(append(odd, 1, [Event::CancelRequested { reason: "no".into() }])).await.unwrap();
        drop(opened);
        rewrite_last_frame(&folder.path().join("log").join(FIRST), from, to);
        fs::remove_dir_all(folder.path().join("index.sled")).unwrap();
        let opened = open(folder.path());
        assert_eq!(opened.report.damage, None);
        let answer = opened.store.events(odd).await.unwrap_err().to_string();
        assert!(answer.starts_with(&format!("run {odd}, event 2: ")) && answer.contains(why), "{answer}");
        let line = opened.store.run(odd).await.unwrap().unwrap();
        assert!(line.open && line.parked.as_ref().is_some_and(|parked| parked.contains(why)), "{line:?}");
        assert_eq!(opened.store.events(plain).await.unwrap().len(), 1);
        assert_eq!(opened.store.open_runs().await.unwrap(), [odd, plain]);
        let told = opened.store.append(append(plain, 1, [Event::RunClosed])).await.unwrap();
        assert_eq!(told[0].global_seq, 4);
    }
}

/// Changes the text of the one record in the last frame, as another version might have written it.
fn rewrite_last_frame(segment: &Path, from: &str, to: &str) {
    let mut bytes = fs::read(segment).unwrap();
    let (start, end) = (*frames(&bytes).last().unwrap(), end(&bytes));
    let text = std::str::from_utf8(&bytes[start + 60..end]).unwrap().replace(from, to);
    assert_eq!(text.len(), end - start - 60);
    bytes[start + 60..end].copy_from_slice(text.as_bytes());
    let crc = crc32c::crc32c(&bytes[start + 8..end]);
    bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    fs::write(segment, bytes).unwrap();
}

/// Stops the compiler when there is a new event: it needs a place below.
fn place(event: &Event) -> usize {
    match event {
        Event::RunStarted { .. } => 0,
        Event::StageStarted { .. } => 1,
        Event::StageRecovered { .. } => 2,
        Event::StageSucceeded { .. } => 3,
        Event::StageFailed { .. } => 4,
        Event::StageErrored { .. } => 5,
        Event::StageUndone { .. } => 6,
        Event::StageSkipped { .. } => 7,
        Event::DeploymentStarted { .. } => 8,
        Event::CancelRequested { .. } => 9,
        Event::RollbackStarted { .. } => 10,
        Event::RollbackSucceeded { .. } => 11,
        Event::RollbackErrored { .. } => 12,
        Event::RunParked { .. } => 13,
        Event::RunUnparked { .. } => 14,
        Event::RunLive { .. } => 15,
        Event::RunFailed { .. } => 16,
        Event::NoticeStarted { .. } => 17,
        Event::NoticeSent { .. } => 18,
        Event::NoticeErrored { .. } => 19,
        Event::RunClosed => 20,
        Event::UndoRecovered { .. } => 21,
        Event::RollbackRecovered { .. } => 22,
        Event::NoticeRecovered { .. } => 23,
        Event::Ledger(event) => 24 + ledger_place(event),
        Event::ApprovalRequested { .. } => 35,
        Event::RunApproved => 36,
        Event::RunRejected { .. } => 37,
    }
}

/// Stops the compiler when there is a new event of the ledger.
fn ledger_place(event: &LedgerEvent) -> usize {
    match event {
        LedgerEvent::AppRegistered { .. } => 0,
        LedgerEvent::AppRemoved { .. } => 1,
        LedgerEvent::LanePaused { .. } => 2,
        LedgerEvent::LaneResumed { .. } => 3,
        LedgerEvent::CommitHeld { .. } => 4,
        LedgerEvent::HoldReleased { .. } => 5,
        LedgerEvent::TokenCreated { .. } => 6,
        LedgerEvent::TokenRevoked { .. } => 7,
        LedgerEvent::SecretSet { .. } => 8,
        LedgerEvent::SecretRemoved { .. } => 9,
        LedgerEvent::Pruned { .. } => 10,
    }
}

/// Returns every kind of event that the ledger has.
fn every_ledger_event() -> Vec<Event> {
    let lane = LaneId { app: "shop".into(), env: "staging".into() };
    let (app, sha, reason) = ("shop".to_owned(), "a".repeat(40), "the shop is closed today".to_owned());
    let registration = Registration {
        source: Source::Git {
            url: "https://git.example.com/ada/shop.git".into(),
            credential: Some("GIT_TOKEN".into()),
        },
        branches: [("release/*".to_owned(), "production".to_owned())].into(),
        tags: [("v*".to_owned(), "staging".to_owned())].into(),
        paths: vec!["src/**".into(), "!docs/**".into()],
        poll_ms: Some(60_000),
        webhook_secret: Some("WEBHOOK_SECRET".into()),
        forge: Some(Forge {
            kind: ForgeKind::GitHub,
            api: "https://api.github.com".into(),
            project: "ada/shop".into(),
            token: "GITHUB_TOKEN".into(),
        }),
        public_badge: false,
    };
    let token = TokenGrant {
        id: RUN.0,
        label: "the forge".into(),
        scope: Scope::Trigger,
        app: Some(app.clone()),
        expires_ms: Some(AT_MS),
        sha256: "c".repeat(64),
    };
    let (env, name) = (Some("staging".to_owned()), "DATABASE_URL".to_owned());
    [
        LedgerEvent::AppRegistered { app: app.clone(), registration: Box::new(registration) },
        LedgerEvent::AppRegistered { app: app.clone(), registration: Box::default() },
        LedgerEvent::AppRemoved { app: app.clone() },
        LedgerEvent::LanePaused { lane: lane.clone(), reason: reason.clone() },
        LedgerEvent::LaneResumed { lane: lane.clone() },
        LedgerEvent::CommitHeld { lane: lane.clone(), sha: sha.clone(), reason },
        LedgerEvent::HoldReleased { lane, sha },
        LedgerEvent::TokenCreated { token },
        LedgerEvent::TokenRevoked { id: RUN.0 },
        LedgerEvent::SecretSet { app: app.clone(), env: env.clone(), name: name.clone() },
        LedgerEvent::SecretRemoved { app, env: None, name },
        LedgerEvent::Pruned { runs: 3, swept: 2 },
    ]
    .map(Event::Ledger)
    .into()
}

/// Returns what came with approvals, reruns and promotions.
fn what_people_decide() -> Vec<Event> {
    let release = release(RUN, "shop");
    let settings = Settings {
        deploy: DeploySettings { approval_ms: Some(60_000), ..DeploySettings::default() },
        ..Settings::default()
    };
    let staging = Environment { branches: vec!["next".into()], sections: Sections::of(&settings) };
    let environments = Environments {
        named: [("staging".to_owned(), staging)].into(),
        own: Some(Box::new(Sections::of(&Settings::default()))),
    };
    let settings = Box::new(Settings { environments, ..settings });
    let (image, commit) = (Some(release.image.clone()), release.commit.clone());
    let rerun = Rerun {
        of: RUN,
        from: Stage::Deploy,
        commit,
        repository: "/srv/git/shop.git".into(),
        release_hold: true,
        settings: Some(settings.clone()),
        tests: Some(TestReport::default()),
        image,
    };
    let from = LaneId { app: "shop".into(), env: "staging".into() };
    let reason = || "the sale is over".to_owned();
    let promotion = Origin::Promotion { from, release: Box::new(release), settings, reason: reason() };
    let lane = || LaneId::production("shop");
    let begun = |origin, trigger: &str| Event::RunStarted { lane: lane(), origin, trigger: trigger.into() };
    vec![
        begun(Origin::Rerun(Box::new(rerun)), "retry"),
        begun(promotion, "promote"),
        Event::ApprovalRequested { until_ms: AT_MS + 60_000 },
        Event::RunApproved,
        Event::RunRejected { reason: reason() },
        Event::RunFailed { cause: Cause::Rejected { reason: reason() } },
        Event::RunFailed { cause: Cause::NotApproved { until_ms: AT_MS } },
    ]
}

/// Returns every kind of event, and every kind of fact, cause, decision and origin in one.
fn every_event() -> Vec<Event> {
    let output = Some(OutputRef { len: 1_234, sha256: "e".repeat(64) });
    let (stage, attempt, took_ms) = (Stage::Test, 1, 1_500);
    let notice = NoticeId {
        occasion: Occasion::Parked { seq: 9 },
        audience: Audience::Ops,
        channel: "slack:OPS_WEBHOOK".into(),
    };
    let report = TestReport {
        exit_code: 1,
        counts: Some(TestCounts { passed: 3, failed: 1, skipped: 0 }),
        first_failures: vec![TestFailure { name: "test_home".into(), message: "assert 500 == 200".into() }],
    };
    let failure =
        Failure { reason: "1 test failed".into(), tail: vec!["E  500".into()], tests: Some(report) };
    let origin = Origin::Release {
        release: Box::new(release(RUN, "shop")),
        settings: Box::<Settings>::default(),
        reason: "back to what worked".into(),
    };
    let causes = [
        Cause::StageFailed { stage, reason: "1 test failed".into() },
        Cause::Cancelled { reason: "wrong branch".into() },
        Cause::Superseded { by: RUN },
        Cause::Held { since: Some(RUN) },
        Cause::Aborted { reason: "no time".into() },
    ];
    let reason = || "the registry did not answer".to_owned();
    let mut events = vec![
        started("shop"),
        Event::RunStarted {
            lane: LaneId { app: "shop".into(), env: "staging".into() },
            origin,
            trigger: "api".into(),
        },
        Event::StageStarted { stage, attempt, deadline_ms: AT_MS + 600_000 },
    ];
    events.extend(
        [Found::NotStarted, Found::Running, Found::Done, Found::Unknown].map(|found| Event::StageRecovered {
            stage,
            attempt,
            found,
        }),
    );
    // A whole life has every kind of fact.
    let green = life(RUN, "shop").into_iter().filter(|event| matches!(event, Event::StageSucceeded { .. }));
    events.extend(green);
    events.extend([
        Event::StageFailed { stage, attempt, failure, took_ms, output },
        Event::StageErrored { stage, attempt, reason: reason(), retry_due_ms: Some(AT_MS + 1_000) },
        Event::StageErrored { stage, attempt, reason: reason(), retry_due_ms: None },
        Event::StageUndone { stage, attempt },
        Event::StageSkipped { stage, reason: "known to be flaky".into() },
        Event::DeploymentStarted {
            branch: Some("main".into()),
            replaces: Some(Box::new(release(RUN, "shop"))),
            generation: 7,
        },
        Event::CancelRequested { reason: "wrong branch".into() },
    ]);
    events.extend(causes.clone().map(|cause| Event::RollbackStarted { attempt, cause, deadline_ms: AT_MS }));
    events.extend([
        Event::RollbackSucceeded {
            attempt,
            serving: Some(format!("sha256:{}", "a".repeat(64))),
            proof: "GET /healthz = 200".into(),
            hold: Some(HeldCommit { sha: "f".repeat(40), reason: "GET / = 500".into() }),
            took_ms,
        },
        Event::RollbackErrored { attempt, reason: reason(), retry_due_ms: None },
        Event::RunParked { at: Blocked::Stage { stage, attempt }, reason: reason() },
        Event::RunParked { at: Blocked::Rollback { attempt }, reason: reason() },
        Event::RunUnparked { decision: Decision::Retry },
        Event::RunUnparked { decision: Decision::Skip { reason: reason() } },
        Event::RunUnparked { decision: Decision::Abort { reason: reason() } },
        Event::RunLive { release: Box::new(release(RUN, "shop")) },
    ]);
    events.extend(causes.map(|cause| Event::RunFailed { cause }));
    events.extend([
        Event::NoticeStarted { notice: notice.clone(), attempt },
        Event::NoticeSent { notice: notice.clone(), receipt: "200 ok".into() },
        Event::NoticeErrored {
            notice: notice.clone(),
            attempt,
            reason: reason(),
            retry_due_ms: Some(AT_MS + 1_000),
        },
        Event::RunClosed,
        Event::UndoRecovered { stage, attempt },
        Event::RollbackRecovered { attempt },
        Event::NoticeRecovered { notice, attempt },
    ]);
    events.push(Event::RunFailed { cause: Cause::Held { since: None } });
    events.extend(every_ledger_event());
    events.extend(what_people_decide());
    let open = Registration { public_badge: true, ..Registration::default() };
    events
        .push(Event::Ledger(LedgerEvent::AppRegistered { app: "shop".into(), registration: Box::new(open) }));
    assert!((0..=37).all(|at| events.iter().any(|event| place(event) == at)));
    events
}
