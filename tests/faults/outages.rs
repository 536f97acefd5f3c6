//! Outages of what a run leans on: the registry, the proxy, the index, the log. (Docker has a file of its own.)
//!
//! What was broken comes back or is mended; then every run ends as it would have ended, and the invariants hold.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_tests::counters::publish;
use serde_json::Value;

use crate::alone;
use crate::fault_proxy::{FaultProxy, Mood};
use crate::invariants::{Checked, check};
use crate::witness::Witness;
use crate::yard::{App, Server, Yard, sh, wait_for};

/// A registry that came back is not asked again before the backoff is over: 1 s, then 2 s.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// A server with one version live, and what listens to it.
struct Stage {
    yard: Arc<Yard>,
    app: App,
    server: Server,
    witness: Witness,
    checked: Checked,
}

impl Stage {
    fn new(yard: Arc<Yard>, app: App) -> Self {
        let server = Server::start(&yard);
        app.version("0.0.0");
        app.push(&server);
        assert_eq!(server.ended()["state"], "live");
        let witness = Witness::of(&yard);
        witness.listen(&yard);
        Self { yard, app, server, witness, checked: Checked::default() }
    }

    fn holds(&mut self) {
        check(&self.yard, &self.server, &self.witness, &mut self.checked);
        assert!(self.checked.violations.is_empty(), "{:#?}", self.checked.violations);
    }

    /// Kills the server, does something to what is on the disk, and starts it again.
    fn while_dead(mut self, deed: impl FnOnce(&Path)) -> Self {
        self.server.kill();
        deed(self.yard.data.path());
        self.server = Server::start(&self.yard);
        self.witness.listen(&self.yard);
        self
    }

    fn publishes(&self, proof: &str, faults: u64) {
        let mut counted = vec![("faults".into(), faults)];
        counted.extend(self.checked.counted());
        publish(env!("CARGO_TARGET_TMPDIR"), proof, &counted).unwrap();
    }
}

fn events(server: &Server, run: &Value) -> Vec<Value> {
    let (_, history) =
        server.api("GET", &format!("/v1/runs/{}/events", run["id"].as_str().unwrap()), None).unwrap();
    history["events"].as_array().unwrap().clone()
}

fn until_event(server: &Server, kind: &str) -> Value {
    wait_for(kind, || {
        let run = server.newest();
        events(server, &run).into_iter().find(|event| event["event"]["type"] == kind)
    })
}

#[test]
fn a_registry_that_breaks_refuses_or_hangs_stops_no_run_for_ever_and_red_says_what_to_check() {
    let _alone = alone();
    let yard = Yard::new();
    let registry = FaultProxy::before(yard.registry.address);
    let app = App::new(registry.address);
    let mut stage = Stage::new(yard, app);

    // 500, and then well again: tried again, live.
    registry.set(Mood::Broken);
    let version = stage.app.version("1.0.0");
    stage.app.push_and_hang_up(&stage.server);
    let errored = until_event(&stage.server, "stage_errored");
    assert!(errored.to_string().contains("500"), "{errored}");
    registry.set(Mood::Well);
    let since = Instant::now();
    assert_eq!(stage.server.ended()["state"], "live");
    assert!(since.elapsed() < BACK_WITHIN, "{:?}", since.elapsed());
    assert_eq!(stage.yard.serves(), Some(version.clone()));
    stage.holds();

    // 401 is an answer: red at once, with the login, the registry, and where the password comes from.
    registry.set(Mood::Refusing);
    stage.app.version("2.0.0");
    stage.app.push_and_hang_up(&stage.server);
    let refused = stage.server.ended();
    assert_eq!(refused["state"], "failed", "{refused}");
    for text in ["ci", &registry.address.to_string(), "REGISTRY_PASSWORD"] {
        assert!(refused["cause"].to_string().contains(text), "{text}: {refused}");
    }
    let tries = events(&stage.server, &refused);
    let tries = tries.iter().filter(|event| event["event"]["data"]["stage"] == "push_image");
    assert_eq!(tries.count(), 2, "one intent, one answer: nobody knocks again with a wrong password");
    assert_eq!(stage.yard.serves(), Some(version.clone()));
    registry.set(Mood::Well);
    stage.holds();

    // Silence: each try ends with the stage's own limit, the tries are used up, a person decides.
    registry.set(Mood::Hanging);
    // The first push had all layers to carry; now there is little, and the limit may be short.
    stage.app.edit("landfall.toml", |text| {
        text.replace("username = \"ci\"", "username = \"ci\"\ntimeout = \"3s\"")
    });
    let version = stage.app.version("3.0.0");
    let since = Instant::now();
    stage.app.push_and_hang_up(&stage.server);
    let parked = until_event(&stage.server, "run_parked");
    assert!(parked.to_string().contains("within 3s"), "it says what it waited for: {parked}");
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
    registry.set(Mood::Well);
    stage.holds();
    let id = stage.server.newest()["id"].as_str().unwrap().to_owned();
    let (status, _) = stage.server.api("POST", &format!("/v1/runs/{id}/retry"), None).unwrap();
    assert!(status < 300, "{status}");
    assert_eq!(stage.server.ended()["state"], "live");
    assert_eq!(stage.yard.serves(), Some(version));
    stage.holds();
    stage.publishes("outages_of_the_registry", registry.faults());
    stage.server.stop();
}

#[test]
fn a_proxy_that_is_killed_comes_back_with_its_table_and_the_run_ends_as_it_should() {
    let _alone = alone();
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    let mut stage = Stage::new(yard, app);
    let kill = |pid: u32| sh(Command::new("kill").args(["-KILL", &pid.to_string()]));

    // At rest.
    let before = stage.yard.proxy_pid();
    let served = stage.yard.serves();
    kill(before);
    wait_for("the proxy", || (stage.yard.serves() == served).then_some(()));
    assert_ne!(stage.yard.proxy_pid(), before);
    stage.holds();

    // In the middle of the switch: it is frozen before, so that the switch is asked for and never answered.
    let version = stage.app.version("1.0.0");
    stage.app.push_and_hang_up(&stage.server);
    stage.server.until_in("smoke");
    let frozen = stage.yard.proxy_pid();
    sh(Command::new("kill").args(["-STOP", &frozen.to_string()]));
    stage.server.until_in("go_live");
    kill(frozen);
    assert_eq!(stage.server.ended()["state"], "live");
    assert_eq!(stage.yard.serves(), Some(version));
    stage.holds();

    // Dead together with the engine: the next one brings it back before it goes on.
    let version = stage.app.version("2.0.0");
    stage.app.push_and_hang_up(&stage.server);
    stage.server.until_in("deploy");
    let pid = stage.yard.proxy_pid();
    let mut stage = stage.while_dead(|_| drop(kill(pid)));
    assert_eq!(stage.server.ended()["state"], "live");
    assert_eq!(stage.yard.serves(), Some(version));
    stage.holds();
    stage.publishes("outages_of_the_proxy", 3);
    stage.server.stop();
}

/// Something that is done to a data folder.
type Deed = fn(&Path);

/// The files of the index.
fn index_files(data: &Path) -> Vec<std::path::PathBuf> {
    fn below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { below(&entry, found) } else { found.push(entry) }
        }
    }
    let mut found = Vec::new();
    below(&data.join("index.sled"), &mut found);
    assert!(!found.is_empty(), "there is an index");
    found
}

#[test]
fn an_index_that_is_gone_cut_or_noise_is_made_anew_and_nothing_is_lost() {
    let _alone = alone();
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    app.edit("tests/test_app.py", |text| {
        text + "\n\ndef test_slowly():\n    import time\n    time.sleep(1)\n"
    });
    let mut stage = Stage::new(yard, app);
    let deeds: [(&str, Deed); 5] = [
        ("deleted", |data| fs::remove_dir_all(data.join("index.sled")).unwrap()),
        ("cut", |data| {
            for path in index_files(data) {
                let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }
        }),
        ("emptied", |data| index_files(data).iter().for_each(|path| fs::write(path, "").unwrap())),
        ("noise", |data| {
            for (nth, path) in index_files(data).iter().enumerate() {
                let length = fs::metadata(path).unwrap().len();
                let noise = (0..length).map(|at| ((at * 2_654_435_761 + nth as u64) >> 7) as u8);
                fs::write(path, noise.collect::<Vec<_>>()).unwrap();
            }
        }),
        ("a leftover of its own crash", |data| {
            fs::write(data.join("index.sled/snap.0000000000000001.generating"), "half").unwrap();
        }),
    ];
    let count = deeds.len() as u64;
    for (nth, (name, deed)) in deeds.into_iter().enumerate() {
        let version = stage.app.version(&format!("{}.0.0", nth + 1));
        stage.app.push_and_hang_up(&stage.server);
        stage.server.until_in("test");
        let said = stage.yard.server_log().len();
        stage = stage.while_dead(deed);
        let log = stage.yard.server_log();
        let log = &log[said..];
        assert!(!log.contains("panicked"), "{name}: {log}");
        assert!(log.contains("the index was"), "{name}: it says what became of the index: {log}");
        if name != "a leftover of its own crash" {
            assert!(
                log.contains("the index was built"),
                "{name}: it says that the index was made anew: {log}"
            );
        }
        assert_eq!(stage.server.ended()["state"], "live", "{name}");
        assert_eq!(stage.yard.serves(), Some(version), "{name}");
        assert_eq!(stage.server.runs().len(), nth + 2, "{name}: every run is still listed");
        stage.holds();
    }
    stage.publishes("outages_of_the_index", count);
    stage.server.stop();
}
