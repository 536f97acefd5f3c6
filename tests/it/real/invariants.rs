//! What must hold after every fault, as far as the real world lets one see it: one function, for every test.
//!
//! The log is read from the disk, not from the server; Docker and the proxy are asked what they have.
//!
//! I4 shows less here than its name says: that an intent was *recorded* before Docker did what it is the intent of, by
//! the clock. That it was durable by then, only a disk that loses what was not synced can show: the simulation has one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::{Envelope, Event, Found};
use landfall_engine::core::facts::Facts;
use landfall_engine::core::run::{Blocked, RunId};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Cursor, EventStore};
use landfall_store::contract::take;
use landfall_store::open_read_only;
use serde_json::Value;

use super::timers::no_timer_fires_early;
use super::witness::Witness;
use super::yard::{Server, Yard, said};

/// Within this time after the last fault every run is over or waits for a person. A whole run takes a few seconds;
/// five tries that give no answer take fifteen more.
const SETTLED_LIMIT: Duration = Duration::from_secs(90);

/// Within this time after that, what nobody owns is gone.
const SWEPT_LIMIT: Duration = Duration::from_secs(30);

/// Within this time a listener has heard what is in the log, or in Docker's memory.
const HEARD_LIMIT: Duration = Duration::from_secs(20);

/// Of the runs whose replays were compared already, so many are replayed anew in each check, in turn.
const REPLAYED_ANEW: usize = 6;

/// How many releases can be rolled back to, unless `[deploy] retain` says otherwise.
const RETAINED: usize = 5;

/// What was looked at, over the whole test.
#[derive(Debug, Default)]
pub struct Checked {
    /// How often the function below was called.
    pub times: u64,
    /// Single questions that it answered.
    pub questions: u64,
    /// What did not hold.
    pub violations: Vec<String>,
    /// Attempts whose containers had to be heard of, and were.
    pub containers: BTreeSet<String>,
    /// What a replay of each run said when it was over.
    replayed: BTreeMap<RunId, Value>,
    /// How many of these were replayed anew.
    anew: usize,
}

impl Checked {
    /// Takes in one more thing that must hold.
    pub fn holds(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.questions += 1;
        if !holds {
            let what = what();
            eprintln!("violated: {what}");
            self.violations.push(what);
        }
    }

    /// Returns the lines of a table of counters.
    pub fn counted(&self) -> Vec<(String, u64)> {
        vec![
            ("invariant checks".into(), self.times),
            ("questions asked by them".into(), self.questions),
            ("container starts heard of".into(), self.containers.len() as u64),
            ("replays compared".into(), (self.replayed.len() + self.anew) as u64),
            ("violations".into(), self.violations.len() as u64),
        ]
    }
}

/// Waits until the world is at rest, and holds it against the log. Call it with no fault going on, and with the witness
/// listening.
pub fn check(yard: &Yard, server: &Server, witness: &Witness, checked: &mut Checked) {
    at_rest(server, checked);
    let log = check_log(yard, witness, checked);
    everything_was_told(&log, witness, checked);
    let runs = by_run(&log);
    for (run, history) in &runs {
        every_intent_ended(run, history, checked);
    }
    every_container_was_heard_of(&log, witness, checked);
    what_serves_is_recorded(yard, &log, checked);
    nothing_is_left(yard, server, checked);
    replays_agree(yard, &runs, checked);
}

/// Holds the log against what was seen and heard so far: what must hold with the engine dead and work half done, too.
pub fn check_log(yard: &Yard, witness: &Witness, checked: &mut Checked) -> Vec<Envelope> {
    checked.times += 1;
    let (told, containers, pushes) = (witness.events(), witness.containers(), yard.registry.pushes_by_tag());
    let log = log(yard, checked);
    what_was_told_is_there(&log, &told, checked);
    for (run, history) in &by_run(&log) {
        is_dense(run, history, checked);
        no_timer_fires_early(run, history, checked);
    }
    effects_have_an_intent_and_one_object(&log, &containers, checked);
    each_push_was_one(&log, &pushes, checked);
    log
}

/// I7: once faults stop, every run is over or waits for a person.
fn at_rest(server: &Server, checked: &mut Checked) {
    let until = Instant::now() + SETTLED_LIMIT;
    loop {
        let runs = server.api("GET", "/v1/runs?open=true", None).map(|(_, page)| page["runs"].clone());
        let moving: Option<Vec<Value>> = runs.and_then(|runs| {
            Some(runs.as_array()?.iter().filter(|run| run["parked"].is_null()).cloned().collect())
        });
        if moving.as_ref().is_some_and(Vec::is_empty) {
            return checked.holds(true, String::new);
        }
        if Instant::now() > until {
            return checked.holds(false, || format!("I7: after {SETTLED_LIMIT:?} there is still {moving:?}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads the whole log beside the server, in its order, and audits it (the second half of I8).
fn log(yard: &Yard, checked: &mut Checked) -> Vec<Envelope> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = open_read_only(yard.data.path()).unwrap();
        let found = log.verify().await.unwrap();
        checked.holds(found.problems.is_empty(), || {
            format!("I8: the log does not verify: {:?}", found.problems)
        });
        let events = take(&mut log.follow(Cursor::start()), usize::try_from(found.events).unwrap()).await;
        events.into_iter().map(|(_, envelope)| envelope).collect()
    })
}

fn by_run(log: &[Envelope]) -> BTreeMap<RunId, Vec<&Envelope>> {
    let mut runs: BTreeMap<RunId, Vec<&Envelope>> = BTreeMap::new();
    for envelope in log {
        runs.entry(envelope.run_id).or_default().push(envelope);
    }
    runs
}

/// I1 and I10: what a subscriber was told is in the log: each event once, in order, and none vanished.
fn what_was_told_is_there(log: &[Envelope], told: &[Value], checked: &mut Checked) {
    checked.holds(told.len() <= log.len(), || {
        format!("I1: {} events were told, {} are in the log", told.len(), log.len())
    });
    for (told, there) in told.iter().zip(log) {
        let there = serde_json::to_value(there).unwrap();
        checked.holds(*told == there, || format!("I1, I10: told {told}, and the log has {there}"));
    }
}

/// I10: and nothing was kept from it.
fn everything_was_told(log: &[Envelope], witness: &Witness, checked: &mut Checked) {
    let until = Instant::now() + HEARD_LIMIT;
    let mut told = witness.events();
    while told.len() < log.len() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        told = witness.events();
    }
    checked.holds(told.len() >= log.len(), || {
        format!("I10: {} events are in the log, {} were told within {HEARD_LIMIT:?}", log.len(), told.len())
    });
    what_was_told_is_there(log, &told[..told.len().min(log.len())], checked);
}

/// I2: one event for each place.
fn is_dense(run: &RunId, history: &[&Envelope], checked: &mut Checked) {
    let seqs: Vec<u64> = history.iter().map(|envelope| envelope.seq).collect();
    let dense: Vec<u64> = (1..=history.len() as u64).collect();
    checked.holds(seqs == dense, || format!("I2: run {run} has the places {seqs:?}"));
}

/// I6: every intent is concluded or undone, or was left to a person: the decision then is its end.
fn every_intent_ended(run: &RunId, history: &[&Envelope], checked: &mut Checked) {
    let mut begun: BTreeSet<String> = BTreeSet::new();
    let mut waits = false;
    for envelope in history {
        let key = envelope.effect_key.clone().unwrap_or_default();
        match &envelope.event {
            Event::StageStarted { .. } | Event::RollbackStarted { .. } | Event::NoticeStarted { .. } => {
                begun.insert(key);
            }
            Event::StageSucceeded { .. }
            | Event::StageFailed { .. }
            | Event::StageErrored { .. }
            | Event::StageUndone { .. }
            | Event::RollbackSucceeded { .. }
            | Event::RollbackErrored { .. }
            | Event::NoticeSent { .. }
            | Event::NoticeErrored { .. } => _ = begun.remove(&key),
            Event::RunParked { at, .. } => {
                let left = match at {
                    Blocked::Stage { stage, attempt } => EffectKey::stage(*run, *stage, *attempt),
                    Blocked::Rollback { attempt } => EffectKey::rollback(*run, *attempt),
                };
                begun.remove(left.as_str());
                waits = true;
            }
            Event::RunUnparked { .. } => waits = false,
            _ => {}
        }
    }
    let is_closed = history.last().is_some_and(|last| last.event == Event::RunClosed);
    checked.holds(begun.is_empty(), || format!("I6: run {run} left {begun:?} unconcluded"));
    checked.holds(is_closed || waits, || format!("I7: run {run} is neither over nor parked"));
}

/// I3 and I4: each container was made for an intent that was recorded before it, and no key has two that ran.
fn effects_have_an_intent_and_one_object(log: &[Envelope], containers: &[Value], checked: &mut Checked) {
    let mut intents: BTreeMap<&str, u64> = BTreeMap::new();
    for envelope in log.iter().filter(|envelope| envelope.event.name() == "stage_started") {
        intents.extend(envelope.effect_key.as_deref().map(|key| (key, envelope.recorded_at_ms)));
    }
    let mut started: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut inputs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in containers {
        let labels = &event["Actor"]["Attributes"];
        let (Some(key), Some(action)) = (labels["landfall.key"].as_str(), event["Action"].as_str()) else {
            continue;
        };
        if action != "create" && action != "start" {
            continue;
        }
        let at_ms = event["timeNano"].as_u64().unwrap_or(0) / 1_000_000;
        let intent = intents.get(key);
        checked.holds(intent.is_some_and(|recorded_ms| *recorded_ms <= at_ms), || {
            format!("I4: {action} of {key} at {at_ms}, its intent is of {intent:?}")
        });
        inputs
            .entry(key.into())
            .or_default()
            .insert(format!("{} {}", labels["image"], labels["landfall.commit"]));
        if action == "start" {
            started.entry(key.into()).or_default().insert(event["Actor"]["ID"].to_string());
        }
    }
    for (key, inputs) in inputs {
        checked.holds(inputs.len() == 1, || format!("I3: {key} was done with {inputs:?}"));
    }
    for (key, ids) in started {
        checked.holds(ids.len() == 1, || format!("I3: {key} ran as {ids:?}"));
    }
}

/// I3: a manifest is put once for each intent to push it, and once more where an engine found the push cut off.
fn each_push_was_one(log: &[Envelope], pushes: &BTreeMap<String, usize>, checked: &mut Checked) {
    let mut allowed: BTreeMap<String, usize> = BTreeMap::new();
    for envelope in log {
        let is_push = match &envelope.event {
            Event::StageStarted { stage, .. } => *stage == Stage::PushImage,
            Event::StageRecovered { stage, found, .. } => *stage == Stage::PushImage && *found != Found::Done,
            _ => false,
        };
        *allowed.entry(format!("run-{}", envelope.run_id.short())).or_default() += usize::from(is_push);
    }
    for (tag, puts) in pushes {
        let allowed = allowed.get(tag).copied().unwrap_or(0);
        checked
            .holds(*puts <= allowed, || format!("I3: {puts} manifests were put as {tag}, {allowed} may be"));
    }
}

/// I4 from the other side: where the log says that a container did it, Docker said that one started. Only of attempts
/// that were heard of from their intent to their outcome.
fn every_container_was_heard_of(log: &[Envelope], witness: &Witness, checked: &mut Checked) {
    let mut begun: BTreeMap<&str, u64> = BTreeMap::new();
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    for envelope in log {
        let Some(key) = envelope.effect_key.as_deref() else { continue };
        match &envelope.event {
            Event::StageStarted { .. } => drop(begun.insert(key, envelope.recorded_at_ms)),
            Event::StageSucceeded { facts, .. } => {
                let has_container = match facts {
                    Facts::Test(_) | Facts::ReleaseCommand => true,
                    // A rollback takes the container that is still warm.
                    Facts::Deploy(candidate) => candidate.container.contains(&envelope.run_id.short()),
                    _ => false,
                };
                let is_known = begun
                    .get(key)
                    .is_some_and(|from_ms| witness.heard_all(*from_ms, envelope.recorded_at_ms));
                if has_container && is_known {
                    wanted.insert(key);
                }
            }
            _ => {}
        }
    }
    let until = Instant::now() + HEARD_LIMIT;
    loop {
        let events = witness.containers();
        let started = events.iter().filter(|event| event["Action"] == "start");
        let started: BTreeSet<&str> =
            started.filter_map(|event| event["Actor"]["Attributes"]["landfall.key"].as_str()).collect();
        let silent: Vec<_> = wanted.difference(&started).collect();
        if silent.is_empty() || Instant::now() > until {
            checked.holds(silent.is_empty(), || format!("I4: Docker told of no container for {silent:?}"));
            checked.containers.extend(wanted.intersection(&started).map(|key| (*key).to_owned()));
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// I5: what serves is what went live last; a run that failed or was rolled back changed nothing.
fn what_serves_is_recorded(yard: &Yard, log: &[Envelope], checked: &mut Checked) {
    let last = log.iter().rfind(|envelope| envelope.event.name() == "run_live");
    let Some(last) = last.map(|envelope| serde_json::to_value(&envelope.event).unwrap()) else { return };
    let release = &last["data"]["release"];
    let digest = release["image"]["digest"].as_str().unwrap();
    let address = release["candidate"]["address"].as_str().unwrap();
    let table = fs::read(yard.data.path().join("proxy/routes.json")).unwrap();
    let table: Value = serde_json::from_slice(&table).unwrap();
    let route = &table["routes"][0];
    checked.holds(route["target"] == address && route["release"] == digest, || {
        format!("I5: the log has {digest} at {address} live, the proxy serves {route}")
    });
    let container = release["candidate"]["container_id"].as_str().unwrap();
    let image = yard.docker(&["inspect", "--format", "{{.Config.Image}}", container]).output().unwrap();
    let image = String::from_utf8_lossy(&image.stdout).trim().to_owned();
    checked
        .holds(image.ends_with(digest), || format!("I5: {digest} is live, and {container} runs {image:?}"));
    let version = release["commit"]["sha"].as_str().unwrap().get(..12);
    let serves = yard.serves();
    checked.holds(serves.as_deref() == version, || format!("I5: {version:?} is live, users see {serves:?}"));
}

/// I9: of ours there is nothing that no open run owns, but what is live, warm, or may be rolled back to.
fn nothing_is_left(yard: &Yard, server: &Server, checked: &mut Checked) {
    let until = Instant::now() + SWEPT_LIMIT;
    loop {
        let left = leftovers(yard, server);
        if left.as_ref().is_some_and(Vec::is_empty) {
            return checked.holds(true, String::new);
        }
        if Instant::now() > until {
            return checked.holds(false, || format!("I9: after {SWEPT_LIMIT:?} there is still {left:?}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn leftovers(yard: &Yard, server: &Server) -> Option<Vec<String>> {
    let (_, apps) = server.api("GET", "/v1/apps", None)?;
    let (_, open) = server.api("GET", "/v1/runs?open=true", None)?;
    let open: Vec<String> = open["runs"].as_array()?.iter().map(|run| run["id"].to_string()).collect();
    let (mut containers, mut commits) = (BTreeSet::new(), BTreeSet::new());
    for app in apps["apps"].as_array()? {
        let releases = [&app["live"]].into_iter().chain(app["former"].as_array()?);
        for (nth, release) in releases.take(1 + RETAINED).enumerate() {
            if nth < 2 {
                containers.extend(release["candidate"]["container"].as_str().map(str::to_owned));
            }
            commits.extend(release["commit"]["sha"].as_str().map(str::to_owned));
        }
    }
    let filter = format!("label=landfall.log={}", yard.log_id()?);
    let listed = |kind: &[&str], format: &str| -> Option<Vec<Vec<String>>> {
        let listed = yard.docker(kind).args(["--filter", &filter, "--format", format]).output().ok()?;
        let text = String::from_utf8(listed.stdout).ok().filter(|_| listed.status.success())?;
        Some(text.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect())
    };
    let quoted = |run: &str| format!("\"{run}\"");
    let mut left = Vec::new();
    for line in listed(&["ps", "--all"], "{{.Names}} {{.Label \"landfall.run\"}}")? {
        if !containers.contains(&line[0]) && !open.contains(&quoted(line.get(1)?)) {
            left.push(format!("container {}", line[0]));
        }
    }
    for kind in ["network", "volume"] {
        for line in listed(&[kind, "ls"], "{{.Name}} {{.Label \"landfall.run\"}}")? {
            // What has no run belongs to all of them: what pip has downloaded, and the like.
            if line.get(1).is_some_and(|run| !run.is_empty() && !open.contains(&quoted(run))) {
                left.push(format!("{kind} {}", line[0]));
            }
        }
    }
    for line in listed(&["images"], "{{.ID}}")? {
        let labels = "{{index .Config.Labels \"landfall.run\"}} {{index .Config.Labels \"landfall.commit\"}}";
        let labels = yard.docker(&["image", "inspect", "--format", labels, &line[0]]).output().ok()?;
        let labels = String::from_utf8_lossy(&labels.stdout).trim().to_owned();
        if let Some((run, commit)) = labels.split_once(' ')
            && !commits.contains(commit)
            && !open.contains(&quoted(run))
        {
            left.push(format!("image {} of {run}", line[0]));
        }
    }
    for folder in fs::read_dir(yard.data.path().join("work")).into_iter().flatten() {
        let name = folder.ok()?.file_name().into_string().ok()?;
        if name.len() == 36 && !open.contains(&quoted(&name)) {
            left.push(format!("folder {name}"));
        }
    }
    Some(left)
}

/// I8: a replay of the same history says the same: to the byte when a run has just ended, and ever after.
fn replays_agree(yard: &Yard, runs: &BTreeMap<RunId, Vec<&Envelope>>, checked: &mut Checked) {
    let replay = |run: &RunId, checked: &mut Checked| -> Vec<u8> {
        let mut command: Command = yard.landfall();
        let replayed = command.args(["replay", &run.to_string(), "--json", "--events"]).output().unwrap();
        checked
            .holds(replayed.status.success(), || format!("I8: a replay of {run} fails: {}", said(&replayed)));
        replayed.stdout
    };
    let former: Vec<RunId> = checked.replayed.keys().copied().collect();
    for nth in 0..former.len().min(REPLAYED_ANEW) {
        let run = &former[(checked.anew + nth) % former.len()];
        let now = of_the_run(&replay(run, checked));
        let is_same = checked.replayed.get(run) == Some(&now);
        checked.holds(is_same, || format!("I8: {run} is replayed otherwise than before: {now}"));
    }
    checked.anew += former.len().min(REPLAYED_ANEW);
    for (run, history) in runs {
        // What a parked run says is not its last word.
        let is_over = history.last().is_some_and(|last| last.event == Event::RunClosed);
        if is_over && !checked.replayed.contains_key(run) {
            let (first, second) = (replay(run, checked), replay(run, checked));
            checked.holds(first == second, || format!("I8: two replays of {run} differ"));
            checked.replayed.insert(*run, of_the_run(&first));
        }
    }
}

/// Returns what a replay said, without what it said of the whole log: that grows.
fn of_the_run(replayed: &[u8]) -> Value {
    let mut replayed: Value = serde_json::from_slice(replayed).unwrap_or_default();
    let log = replayed.as_object_mut().and_then(|all| all.remove("log"));
    assert!(log.is_some(), "it says how the log was audited: {replayed}");
    replayed
}
