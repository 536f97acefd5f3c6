//! kill -9 at moments that nobody chose: in the middle of whatever is going on, and again in the recovery from it.
//!
//! After every kill the next engine ends what the last one began, and the invariants hold. Users notice nothing.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use landfall_tests::counters::{is_long, publish};
use serde_json::{Value, json};

use crate::alone;
use crate::crowd::Crowd;
use crate::dice::Dice;
use crate::invariants::{Checked, check, check_log};
use crate::witness::Witness;
use crate::yard::{App, Server, Yard, sh, wait_for};

const KILLS_SHORT: u64 = 6;
const KILLS_LONG: u64 = 200;

/// An engine that starts has found what is open, and begun to probe it, within this time.
const RECOVERY_LASTS: Duration = Duration::from_millis(600);

/// No run needs a person more often than this, when nothing is killed any more.
const DECISIONS_MAX: usize = 3;

/// What is done before the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scenario {
    Green,
    RedTests,
    RedSmoke,
    Cancel,
    RollbackByHand,
    ThreePushes,
}

impl Scenario {
    /// Returns how much of the time of a whole run passes before its own run is over, in percent: a first guess.
    fn part(self) -> u32 {
        match self {
            Self::Green | Self::RedSmoke | Self::Cancel | Self::ThreePushes => 100,
            Self::RedTests | Self::RollbackByHand => 50,
        }
    }
}

const SCENARIOS: [Scenario; 6] = [
    Scenario::Green,
    Scenario::RedTests,
    Scenario::RedSmoke,
    Scenario::Cancel,
    Scenario::RollbackByHand,
    Scenario::ThreePushes,
];

/// What is known of one round when it is over.
#[derive(Default)]
struct Promised {
    /// Commits whose pushes the server said yes to.
    pushed: Vec<(String, Scenario)>,
    /// A run that the server said it would cancel, or start for a rollback.
    accepted: Vec<(String, &'static str)>,
}

#[test]
fn an_engine_that_is_killed_at_any_moment_is_replaced_by_one_that_goes_on_where_it_was() {
    let _alone = alone();
    let kills_wanted = if is_long() { KILLS_LONG } else { KILLS_SHORT };
    let mut dice = Dice::new();
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    let mut server = Server::start(&yard);
    for version in ["0.0.1", "0.0.2"] {
        app.version(version);
        app.push(&server);
        assert_eq!(server.ended()["state"], "live");
    }
    // The newest: the one before it also fetched what the later ones have.
    let whole = length_of(&server.newest());
    let mut lasts = BTreeMap::from(SCENARIOS.map(|scenario| (scenario, whole * scenario.part() / 100)));
    let witness = Witness::of(&yard);
    witness.listen(&yard);
    let crowd = Crowd::start(&yard, 2, 2);
    let mut checked = Checked::default();
    let (mut kills, mut at_rest, mut points) = (0, 0, BTreeMap::<String, u64>::new());
    let first = usize::try_from(dice.below(SCENARIOS.len() as u64)).unwrap();
    let mut round = 0_usize;
    while kills < kills_wanted {
        // In turn, so that the long form has seen each of them often; with which it begins, and when it is killed, is chance.
        let scenario = SCENARIOS[(first + round) % SCENARIOS.len()];
        round += 1;
        let mut promised = Promised::default();
        let before = server.newest()["id"].clone();
        let mut pushes = begin(scenario, &app, &server, round, &mut dice, &mut promised);
        // One in six comes at any moment from the push on; the others wait for the run that they are to hit.
        if dice.below(6) > 0 {
            wait_for("the run", || {
                let is_there = server.newest()["id"] != before;
                let is_over = pushes.iter_mut().all(|(push, _)| push.try_wait().unwrap().is_some());
                (is_there || is_over).then_some(())
            });
        }
        let again = dice.below(3);
        for nth in 0..=again {
            let span = if nth == 0 { lasts[&scenario] } else { RECOVERY_LASTS };
            thread::sleep(dice.time_below(span));
            if nth == 0 {
                ask_on_the_way(scenario, &server, &mut promised);
            }
            server.kill();
            let hit = in_flight(&yard);
            if let Some(hit) = &hit {
                kills += 1;
                let point = if nth == 0 { hit.clone() } else { format!("recovery, {hit}") };
                eprintln!("kill {kills}: {scenario:?}, {point}");
                *points.entry(point).or_default() += 1;
            } else {
                at_rest += 1;
                // Too late, or too early for there to be a run. In the first case the log has how long there was.
                let newest = listed(&yard, &[]).swap_remove(0);
                if newest["id"] != before {
                    lasts.insert(scenario, length_of(&newest));
                }
                eprintln!("a kill at rest: {scenario:?}");
            }
            // What the next kill leaves no time to see at rest is seen in what lies there now.
            check_log(&yard, &witness, &mut checked);
            server = Server::launch(&yard, |_| {});
            if hit.is_none() {
                break;
            }
        }
        for (mut push, commit) in pushes {
            // One that was answered with yes is acknowledged; one that was cut off may or may not be.
            if push.wait().unwrap().success() {
                promised.pushed.push((commit, scenario));
            }
        }
        server.until_ready();
        witness.listen(&yard);
        check(&yard, &server, &witness, &mut checked);
        for _ in 0..DECISIONS_MAX {
            if decide_what_is_parked(&server) == 0 {
                break;
            }
            check(&yard, &server, &witness, &mut checked);
        }
        kept(&server, &promised, &mut checked);
        assert!(checked.violations.is_empty(), "after kill {kills}: {:#?}", checked.violations);
    }
    let (asked, failed) = crowd.leave();
    let mut counted = vec![("kills of an open run".into(), kills), ("kills at rest".into(), at_rest)];
    counted.push(("rounds".into(), round as u64));
    counted.extend(points.into_iter().map(|(point, times)| (format!("kills in {point}"), times)));
    counted.extend(checked.counted());
    counted.push(("requests at the public address".into(), asked));
    counted.push(("failed requests".into(), failed.len() as u64));
    publish(env!("CARGO_TARGET_TMPDIR"), "kills_at_random_moments", &counted).unwrap();
    assert!(failed.is_empty(), "{} of {asked} requests failed: {:?}", failed.len(), failed.first());
    assert!(asked > 100, "hardly anybody asked for anything: {asked}");
    server.stop();
}

/// Sets a scenario going, and returns the pushes that are under way.
fn begin(
    scenario: Scenario,
    app: &App,
    server: &Server,
    round: usize,
    dice: &mut Dice,
    promised: &mut Promised,
) -> Vec<(Child, String)> {
    let red_tests = app.path().join("tests/test_red.py");
    let config = app.path().join("landfall.toml");
    let good = fs::read_to_string(&config).unwrap().replace("\"Goodbye\"", "\"Hello from Landfall\"");
    let _ = fs::remove_file(&red_tests);
    fs::write(&config, &good).unwrap();
    match scenario {
        Scenario::RedTests => fs::write(&red_tests, "def test_red():\n    assert 1 == 2\n").unwrap(),
        Scenario::RedSmoke => {
            fs::write(&config, good.replace("\"Hello from Landfall\"", "\"Goodbye\"")).unwrap();
        }
        Scenario::RollbackByHand => {
            let because = json!({ "reason": "the tests said so" });
            if let Some((202, link)) = server.api("POST", "/v1/apps/hello/rollback", Some(&because)) {
                promised.accepted.extend(id_in(&link).map(|id| (id, "run_started")));
            }
            return Vec::new();
        }
        Scenario::Green | Scenario::Cancel | Scenario::ThreePushes => {}
    }
    let count = if scenario == Scenario::ThreePushes { 3 } else { 1 };
    (0..count)
        .map(|nth| {
            app.version(&format!("{round}.{nth}.0"));
            let commit = app.git(&["rev-parse", "HEAD"]);
            let mut push = app.pushing(server);
            let push = push.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if nth + 1 < count {
                thread::sleep(dice.time_below(Duration::from_millis(700)));
            }
            (push, commit)
        })
        .collect()
}

/// Asks for what the scenario asks for in the middle of the run.
fn ask_on_the_way(scenario: Scenario, server: &Server, promised: &mut Promised) {
    if scenario != Scenario::Cancel {
        return;
    }
    let newest = server.newest();
    let (Some(id), Some(true)) = (newest["id"].as_str(), newest["open"].as_bool()) else { return };
    let because = json!({ "reason": "never mind" });
    let answer = server.api("POST", &format!("/v1/runs/{id}/cancel"), Some(&because));
    if answer.is_some_and(|(status, _)| status < 300) {
        promised.accepted.push((id.to_owned(), "cancel_requested"));
    }
}

fn id_in(answer: &Value) -> Option<String> {
    answer["id"].as_str().or(answer["run"].as_str()).map(str::to_owned)
}

/// Returns the runs that are in the log, newest first, with no engine to ask.
fn listed(yard: &Yard, flags: &[&str]) -> Vec<Value> {
    let printed = sh(yard.landfall().args(["runs", "--json"]).args(flags));
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns how long a run lasted that is over.
fn length_of(run: &Value) -> Duration {
    Duration::from_millis(run["updated_ms"].as_u64().unwrap() - run["started_ms"].as_u64().unwrap())
}

/// Names what every open run was doing when the engine was killed, as the log has it. None: there was no open run.
fn in_flight(yard: &Yard) -> Option<String> {
    // One that waits for a person is at rest.
    let runs = listed(yard, &["--open"]);
    let doing = runs.iter().filter(|run| run["parked"].is_null()).map(|run| {
        let state = run["state"].as_str().unwrap_or("unknown");
        run["stage"].as_str().map_or_else(|| format!("between stages ({state})"), str::to_owned)
    });
    let mut doing: Vec<String> = doing.collect();
    doing.sort();
    (!doing.is_empty()).then(|| doing.join(" and "))
}

/// A run that was killed too often at one point waits for a person: here is one, who says "try again".
fn decide_what_is_parked(server: &Server) -> usize {
    let runs = server.runs();
    let parked: Vec<&Value> =
        runs.iter().filter(|run| run["open"] == true && run["parked"].is_string()).collect();
    for run in &parked {
        let id = run["id"].as_str().unwrap();
        eprintln!("parked: {}", run["parked"]);
        server.api("POST", &format!("/v1/runs/{id}/retry"), None);
    }
    parked.len()
}

/// What the server said yes to is in the log, and ended as it should.
fn kept(server: &Server, promised: &Promised, checked: &mut Checked) {
    let runs = server.runs();
    for (commit, scenario) in &promised.pushed {
        let run = runs.iter().find(|run| run["commit"]["sha"] == commit.as_str());
        let ends: &[&str] = match scenario {
            Scenario::RedTests => &["failed"],
            Scenario::RedSmoke => &["rolled_back"],
            Scenario::Cancel => &["failed", "rolled_back", "live"],
            // An older one may be superseded by a newer one.
            Scenario::ThreePushes => &["failed", "live"],
            Scenario::Green | Scenario::RollbackByHand => &["live"],
        };
        let ended = run.and_then(|run| run["state"].as_str());
        checked.holds(ended.is_some_and(|state| ends.contains(&state)), || {
            format!("{scenario:?} of {commit} was acknowledged and ended {ended:?}: {run:?}")
        });
    }
    for (id, event) in &promised.accepted {
        let history = server.api("GET", &format!("/v1/runs/{id}/events"), None);
        let is_there = history.is_some_and(|(_, history)| history.to_string().contains(event));
        checked.holds(is_there, || format!("I1: {event} of run {id} was acknowledged and is gone"));
    }
}
