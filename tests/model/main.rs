//! Every interleaving of small histories, on the real rules: model checking of the pure core.
//!
//! ```text
//! log ──▶ folds of engine A, engine B ──▶ requests on their way ──▶ world: containers, registry, proxy
//!  ▲            (each may be stale)           (each may be late)             │
//!  └── append at the version it was decided for ◀── decide ◀── answers ◀─────┘
//! ```
//!
//! The search is our own: breadth first over a set of fingerprints, with a shortest trace to what breaks. Stateright
//! would do that too; it brings some 35 crates, a web server among them, for an explorer that nobody opens here, and
//! its "eventually" overlooks circles, while here *every* path has to end: that is what "no dead state" means.
//!
//! What is real: `decide`, `evolve`, `next_effect`, `Lane::apply`. What is drawn after the original, step by step: the
//! driver, the attempts, the queue of the lane (`engine.rs`) and the stages' contract (`world.rs`). Left out: the sweep,
//! disks, clocks (each wait may end at any moment, which is more than any clock does), and the content of outputs.
//!
//! **Two live engines on one run** keep its log dense and whole, use no key with two inputs, act on recorded intents
//! alone and call nothing live that does not serve, as long as no deadline passes. They do **not** have what one engine
//! has: an effect may be under way in both at once (its key protects it), what one knows of a deadline the other does
//! not, and two runs may enter one lane. The last test shows what comes of that: it is why a data folder has a lock.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected ends")]

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

const PLAIN: App = App { notices: false, release_command: false, manual_rollback: false, approval: false };
const TOLD: App = App { notices: true, ..PLAIN };
const MIGRATES: App = App { notices: true, release_command: true, manual_rollback: true, approval: false };
const GATED: App = App { approval: true, ..PLAIN };
const GATED_AND_TOLD: App = App { approval: true, ..TOLD };
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
    let first = Budget { crashes: 1, reds: 1, silences: 1, timeouts: long, asks: 0 };
    let gone = Budget { crashes: 2, reds: 1, silences: long, timeouts: 0, asks: 1 };
    let starts = Budget { crashes: 3, reds: long, ..NOTHING };
    let late = Budget { crashes: 1, reds: 1, silences: 1, timeouts: 1, asks: 0 };
    let deeper = Budget { crashes: 2, reds: long, silences: long, ..NOTHING };
    let people = Budget { crashes: 1, reds: 1, silences: long, timeouts: 0, asks: 2 };
    let by_hand = Budget { crashes: 1, reds: 1, silences: long, ..NOTHING };
    let engines = Budget { crashes: 1 + long, reds: 1, ..NOTHING };
    let gated = Budget { crashes: 1, silences: 1, asks: 2, ..NOTHING };
    let gated_pushes = Budget { crashes: long, asks: 2, ..NOTHING };
    let cancelled = Budget { crashes: long, reds: long, asks: 1, ..NOTHING };
    vec![
        Setting { releases: 0, ..setting("a first deploy", 1, PUSH, PLAIN, first) },
        Setting { cold: true, ..setting("by hand, to a release that is gone", 1, BY_HAND, PLAIN, gone) },
        setting("a push, three crashes", 1, PUSH, TOLD, starts),
        setting("a push, answers lost and late", 1, PUSH, PLAIN, late),
        setting("a push, two crashes", 1, PUSH, PLAIN, deeper),
        setting("a push, people decide", 1, PUSH, MIGRATES, people),
        setting("two pushes of a branch", 1, TWO_PUSHES, PLAIN, Budget { reds: long, ..A_CRASH }),
        setting("a push and a rollback by hand", 1, PUSH_AND_BY_HAND, PLAIN, by_hand),
        Setting { releases: 0, ..setting("a push that must be approved", 1, PUSH, GATED_AND_TOLD, gated) },
        Setting { releases: 0, ..setting("two pushes to be approved", 1, TWO_PUSHES, GATED, gated_pushes) },
        setting("two engines, by hand", 2, BY_HAND, TOLD, engines),
        Setting { cold: true, ..setting("two engines, cancelled", 2, BY_HAND, PLAIN, cancelled) },
        setting("two engines, one delivery twice", 2, SAME_CLAIM, PLAIN, Budget { reds: long, ..NOTHING }),
    ]
}

#[test]
fn no_interleaving_breaks_a_rule_and_every_path_ends() {
    let mut counted = Vec::new();
    let mut sum = Searched::default();
    let mut violations: Vec<String> = Vec::new();
    for setting in settings() {
        let searched = match search(&setting) {
            Ok(searched) => searched,
            Err(broken) => {
                violations.push(format!(
                    "{}: {} after {} steps:\n{}",
                    setting.name, broken.what, broken.steps, broken.trace
                ));
                continue;
            }
        };
        assert!(searched.states > 500, "{}: only {} states", setting.name, searched.states);
        counted.push((format!("states of: {}", setting.name), searched.states));
        sum.states += searched.states;
        sum.transitions += searched.transitions;
        sum.longest = sum.longest.max(searched.longest);
    }
    let mut table = vec![
        ("configurations".to_owned(), settings().len() as u64),
        ("states".to_owned(), sum.states),
        ("transitions".to_owned(), sum.transitions),
        ("steps of the longest shortest trace".to_owned(), sum.longest),
        ("dead states".to_owned(), violations.iter().filter(|what| what.contains(": I7: ")).count() as u64),
        ("violations".to_owned(), violations.len() as u64),
    ];
    table.extend(counted);
    counters::publish(env!("CARGO_TARGET_TMPDIR"), "model_checking", &table).unwrap();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// Searches for what a sabotage breaks.
#[track_caller]
fn found(sabotage: Option<Sabotage>, setting: Setting, sign: &str) -> Broken {
    let sabotaged = Setting { sabotage, ..setting };
    let broken = search(&sabotaged).expect_err("the search did not find what is broken");
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
        (
            Sabotage::RemoveBeforeRecord,
            "I5",
            setting("", 1, PUSH, PLAIN, Budget { crashes: 1, timeouts: 1, ..NOTHING }),
        ),
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
}
