//! What must hold after every fault, as far as the real world lets one see it: one function, for every test.
//!
//! The log is read from the disk, not from the server; Docker and the proxy are asked what they have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use landfall_engine::core::event::Envelope;
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{Cursor, EventStore};
use landfall_store::contract::take;
use landfall_store::open_read_only;
use serde_json::Value;

use super::witness::Witness;
use super::yard::{Server, Yard};

/// Within this time after the last fault every run is over or waits for a person. A whole run takes a few seconds;
/// five tries that give no answer take fifteen more.
const SETTLED_LIMIT: Duration = Duration::from_secs(90);

/// Within this time after that, what nobody owns is gone.
const SWEPT_LIMIT: Duration = Duration::from_secs(30);

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
    /// How many manifests may have been put more than once: the engine was killed in the middle of a push.
    pub pushes_cut: u64,
    /// Runs whose replays were compared.
    replayed: BTreeSet<String>,
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
            ("violations".into(), self.violations.len() as u64),
        ]
    }
}

/// Waits until the world is at rest, and holds it against the log. Call it with no fault going on.
pub fn check(yard: &Yard, server: &Server, witness: &Witness, checked: &mut Checked) {
    checked.times += 1;
    at_rest(server, checked);
    let log = log(yard, checked);
    what_was_told_is_there(&log, &witness.events(), checked);
    let runs = by_run(&log);
    for (run, history) in &runs {
        is_dense(run, history, checked);
        every_intent_ended(run, history, checked);
    }
    effects_have_an_intent_and_one_object(&log, &witness.containers(), checked);
    checked.holds(yard.registry.pushes() as u64 <= pushed(&log) + checked.pushes_cut, || {
        format!("I3: {} manifests were put by {} pushes", yard.registry.pushes(), pushed(&log))
    });
    what_serves_is_recorded(yard, &log, checked);
    nothing_is_left(yard, server, checked);
    for run in runs.keys() {
        replays_agree(yard, run, checked);
    }
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

/// I1 and I10: what a subscriber was told is the log's beginning: each event once, in order, and none vanished.
fn what_was_told_is_there(log: &[Envelope], told: &[Value], checked: &mut Checked) {
    checked.holds(told.len() <= log.len(), || {
        format!("I1: {} events were told, {} are in the log", told.len(), log.len())
    });
    for (told, there) in told.iter().zip(log) {
        let there = serde_json::to_value(there).unwrap();
        checked.holds(*told == there, || format!("I1, I10: told {told}, and the log has {there}"));
    }
}

/// I2: one event for each place.
fn is_dense(run: &RunId, history: &[&Envelope], checked: &mut Checked) {
    let seqs: Vec<u64> = history.iter().map(|envelope| envelope.seq).collect();
    let dense: Vec<u64> = (1..=history.len() as u64).collect();
    checked.holds(seqs == dense, || format!("I2: run {run} has the places {seqs:?}"));
}

/// I6: every intent is concluded, undone, or waits for a person.
fn every_intent_ended(run: &RunId, history: &[&Envelope], checked: &mut Checked) {
    let mut begun: BTreeSet<String> = BTreeSet::new();
    for envelope in history {
        let Some(key) = envelope.effect_key.clone() else { continue };
        match envelope.event.name() {
            "stage_started" | "rollback_started" | "notice_started" => {
                begun.insert(key);
            }
            "stage_recovered" => {}
            _ => {
                begun.remove(&key);
            }
        }
    }
    let parked = history.iter().rposition(|envelope| envelope.event.name() == "run_parked");
    let is_closed = history.last().is_some_and(|last| last.event.name() == "run_closed");
    let unparked = history.iter().rposition(|envelope| envelope.event.name() == "run_unparked");
    let waits = parked.is_some() && parked > unparked;
    checked.holds(begun.is_empty() || waits, || format!("I6: run {run} left {begun:?} unconcluded"));
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

fn pushed(log: &[Envelope]) -> u64 {
    let pushes = log.iter().filter(|envelope| {
        let event = serde_json::to_value(&envelope.event).unwrap();
        event["type"] == "stage_started" && event["data"]["stage"] == "push_image"
    });
    pushes.count() as u64
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

/// I8: a replay of the same history says the same, to the byte. A run that is over is compared once.
fn replays_agree(yard: &Yard, run: &RunId, checked: &mut Checked) {
    if !checked.replayed.insert(run.to_string()) {
        return;
    }
    let replay = || {
        let mut command: Command = yard.landfall();
        command.args(["replay", &run.to_string(), "--json", "--events"]).output().unwrap()
    };
    let (first, second) = (replay(), replay());
    checked.holds(first.status.success() && first.stdout == second.stdout, || {
        format!(
            "I8: two replays of {run} differ, or fail: {}{}",
            String::from_utf8_lossy(&first.stdout),
            String::from_utf8_lossy(&first.stderr)
        )
    });
}
