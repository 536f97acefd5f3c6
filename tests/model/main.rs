//! Every interleaving of small histories, on the real rules: model checking of the pure core.
//!
//! ```text
//! log ──▶ folds of engine A, engine B ──▶ requests on their way ──▶ world: containers, registry, proxy
//!  ▲            (each may be stale)           (each may be late)             │
//!  └── append at the version it was decided for ◀── decide ◀── answers ◀─────┘
//! ```
//!
//! The search is our own: breadth first over a set of fingerprints, with a shortest trace to what breaks. Stateright
//! would do that too; it brings a web server (`tiny_http`) and 38 crates for an explorer that nobody opens here, and
//! has no check that *every* path ends, which is what "no dead state" means. `search.rs` is shorter than the adapter.
//!
//! What is real: `decide`, `evolve`, `next_effect`, `Lane::apply`. What is drawn after the original, step by step: the
//! driver, the attempts, the queue of the lane (`engine.rs`) and the stages' contract (`world.rs`). Left out: the sweep,
//! disks, clocks (each wait may end at any moment, which is more than any clock does), and the content of outputs.
//!
//! **Two live engines on one log** keep the log dense and whole, use no key with two inputs, act on recorded
//! intents alone and call nothing live that does not serve. They do **not** have everything that one has: an effect may
//! be under way in both at once (its key protects it), what one engine knows of a deadline or of the lane's queue the
//! other does not. The last test shows what comes of that; it is why a data folder has a lock.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected ends")]
#![expect(clippy::panic, reason = "a test that meets the unexpected ends")]

mod engine;
mod facts;
mod history;
mod sabotage;
mod search;
mod state;
mod world;

use engine::{Setting, Trigger};
use facts::App;
use landfall_tests::counters;
use sabotage::Sabotage;
use search::{Broken, Searched, search};
use state::Budget;

const PUSH: &[Trigger] = &[Trigger::Push { commit: 2, claim: Some(1) }];
const TWO_PUSHES: &[Trigger] =
    &[Trigger::Push { commit: 2, claim: None }, Trigger::Push { commit: 3, claim: None }];
const SAME_CLAIM: &[Trigger] =
    &[Trigger::Push { commit: 2, claim: Some(1) }, Trigger::Push { commit: 2, claim: Some(1) }];
const BY_HAND: &[Trigger] = &[Trigger::Relaunch];
const PUSH_AND_BY_HAND: &[Trigger] = &[Trigger::Push { commit: 2, claim: None }, Trigger::Relaunch];

const PLAIN: App = App { notices: false, release_command: false, manual_rollback: false };
const TOLD: App = App { notices: true, ..PLAIN };
const MIGRATES: App = App { notices: true, release_command: true, manual_rollback: true };
const NOTHING: Budget = Budget { crashes: 0, reds: 0, silences: 0, timeouts: 0, asks: 0 };
const A_CRASH: Budget = Budget { crashes: 1, ..NOTHING };

fn setting(
    name: &'static str,
    engines: usize,
    triggers: &'static [Trigger],
    app: App,
    budget: Budget,
) -> Setting {
    Setting { name, app, engines, releases: 2, triggers, budget, cold: false, sabotage: None }
}

/// What is searched: small questions, each with what goes wrong in it.
fn settings() -> Vec<Setting> {
    let long = u8::from(counters::is_long());
    let first = Setting {
        releases: 0,
        ..setting(
            "a first deploy",
            1,
            PUSH,
            PLAIN,
            Budget { reds: 1, silences: 1, timeouts: long, ..A_CRASH },
        )
    };
    let cold = Setting {
        cold: true,
        ..setting(
            "by hand, to a release that is gone",
            1,
            BY_HAND,
            PLAIN,
            Budget { crashes: 2, reds: 1, asks: 1, silences: long, ..NOTHING },
        )
    };
    vec![
        first,
        cold,
        setting("a push, three engine starts", 1, PUSH, TOLD, Budget { crashes: 3, reds: long, ..NOTHING }),
        setting(
            "a push, answers lost and late",
            1,
            PUSH,
            PLAIN,
            Budget { reds: 1, silences: 1, timeouts: 1, crashes: 1 + long, asks: 0 },
        ),
        setting(
            "a push, people decide",
            1,
            PUSH,
            MIGRATES,
            Budget { reds: 1, asks: 2, crashes: 1, silences: long, ..NOTHING },
        ),
        setting("two pushes of a branch", 1, TWO_PUSHES, PLAIN, Budget { reds: long, ..A_CRASH }),
        setting(
            "a push and a rollback by hand",
            1,
            PUSH_AND_BY_HAND,
            PLAIN,
            Budget { reds: 1, crashes: long, ..NOTHING },
        ),
        setting("two engines, by hand", 2, BY_HAND, PLAIN, Budget { reds: 1, crashes: long, ..NOTHING }),
        setting(
            "two engines, by hand, cancelled",
            2,
            BY_HAND,
            PLAIN,
            Budget { asks: 1, crashes: long, ..NOTHING },
        ),
        setting("two engines, a push", 2, PUSH, PLAIN, Budget { reds: long, ..NOTHING }),
    ]
}

#[test]
fn no_interleaving_breaks_a_rule_and_every_path_ends() {
    let mut counted = Vec::new();
    let mut sum = Searched::default();
    for setting in settings() {
        let at = std::time::Instant::now();
        let searched = search(&setting).unwrap_or_else(|broken| {
            panic!("{}: {} after {} steps:\n{}", setting.name, broken.what, broken.steps, broken.trace)
        });
        println!("{}: {searched:?} {:?}", setting.name, at.elapsed());
        assert!(searched.states > 500, "{}: only {} states", setting.name, searched.states);
        counted.push((format!("states of: {}", setting.name), searched.states));
        sum.states += searched.states;
        sum.transitions += searched.transitions;
        sum.longest = sum.longest.max(searched.longest);
    }
    let mut table = vec![
        ("configurations".to_owned(), counted.len() as u64),
        ("states".to_owned(), sum.states),
        ("transitions".to_owned(), sum.transitions),
        ("steps of the longest shortest trace".to_owned(), sum.longest),
        ("dead states".to_owned(), 0),
        ("violations".to_owned(), 0),
    ];
    table.extend(counted);
    counters::publish(env!("CARGO_TARGET_TMPDIR"), "model_checking", &table).unwrap();
}

/// Searches for what a sabotage breaks.
#[track_caller]
fn found(sabotage: Option<Sabotage>, setting: Setting, sign: &str) -> Broken {
    let sabotaged = Setting { sabotage, ..setting };
    let broken = search(&sabotaged).expect_err("the search did not find what is broken");
    println!("{sabotage:?}: {} in {}", broken.what, broken.steps);
    assert!(broken.what.starts_with(sign), "{sabotage:?}: found {}:\n{}", broken.what, broken.trace);
    *broken
}

#[test]
fn each_broken_engine_store_and_stage_is_found() {
    let reds = Budget { reds: 1, ..NOTHING };
    let table = [
        (Sabotage::IgnoreVersion, "I2", setting("", 2, BY_HAND, PLAIN, NOTHING)),
        (Sabotage::ActBeforeAppend, "I4", setting("", 1, BY_HAND, PLAIN, NOTHING)),
        (Sabotage::NoProbe, "I4", setting("", 1, BY_HAND, PLAIN, A_CRASH)),
        (
            Sabotage::SwitchWithoutCompare,
            "I5",
            setting("", 1, BY_HAND, PLAIN, Budget { crashes: 1, silences: 1, ..reds }),
        ),
        (Sabotage::ForwardUndo, "I5", setting("", 1, PUSH, PLAIN, reds)),
        (
            Sabotage::LateSwitchIsNotShutOut,
            "I5",
            setting("", 1, BY_HAND, PLAIN, Budget { silences: 1, asks: 1, ..NOTHING }),
        ),
        (Sabotage::ClaimTakenTwice, "I2", setting("", 2, SAME_CLAIM, PLAIN, NOTHING)),
        (Sabotage::LaneForgotten, "I7", setting("", 1, PUSH_AND_BY_HAND, PLAIN, A_CRASH)),
        (Sabotage::SilenceIsSuccess, "I5", setting("", 1, BY_HAND, PLAIN, Budget { silences: 2, ..NOTHING })),
    ];
    let mut counted = vec![("mutations".to_owned(), table.len() as u64)];
    for (sabotage, sign, setting) in table {
        let broken = found(Some(sabotage), setting, sign);
        counted.push((format!("steps to the end of {sabotage:?} ({sign})"), broken.steps as u64));
    }
    counters::publish(env!("CARGO_TARGET_TMPDIR"), "model_checking_mutations", &counted).unwrap();
}

#[test]
fn what_the_engine_relies_on_is_needed() {
    // One process a data folder: two engines let two runs into one lane.
    found(None, setting("", 2, PUSH_AND_BY_HAND, PLAIN, NOTHING), "two runs have the lane");
    // One process a data folder: an engine that lags behind removes a candidate that the other is about to switch to.
    let out_of_time = Budget { timeouts: 1, ..NOTHING };
    found(None, Setting { cold: true, ..setting("", 2, BY_HAND, PLAIN, out_of_time) }, "I5");
    // A removal ends soon after its engine: one that comes later takes away what the next engine found healthy.
    let out_of_time = Budget { crashes: 1, ..out_of_time };
    found(Some(Sabotage::LateRemoval), setting("", 1, PUSH, PLAIN, out_of_time), "I5");
}
