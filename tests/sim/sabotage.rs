//! Engines that are broken on purpose: each must be caught, or the proofs prove nothing.
//!
//! One after the other lives the same seeds and the same scenarios, with a crash at each point, that the whole engine
//! lives; what caught it, and under which invariant, is printed as a table.

use std::sync::Mutex;
use std::time::Instant;

use landfall_engine::sabotage::{Sabotage, commit};
use landfall_tests::counters;

use crate::boundaries::{Scenario, ends_at, scenarios, setup as scenario_setup};
use crate::life::{Told, live};
use crate::seeds::setup;

/// No more seeds than the ordinary run has.
const SEEDS: u64 = 2_000;

/// What caught a sabotage.
struct Caught {
    invariant: String,
    by: String,
    what: String,
}

fn caught(by: String, told: &Told) -> Option<Caught> {
    let what = told.violations.first()?;
    let (invariant, what) = what.split_once(": ").unwrap_or(("?", what));
    Some(Caught { invariant: invariant.to_owned(), by, what: what.to_owned() })
}

/// Returns what catches this sabotage first. The thread is broken in this way already.
///
/// Looks where it is quick to look: in whole scenarios; then, a part of each at a time, in the seeds and in the
/// scenarios with a crash at each point. Which of the two finds a fault sooner differs by a thousand histories.
fn catch() -> Option<Caught> {
    let scenarios = scenarios();
    let parts = scenarios.len() as u64;
    let seeds = |part: u64| SEEDS * part / parts..SEEDS * (part + 1) / parts;
    scenarios.iter().find_map(in_whole).or_else(|| {
        (0..)
            .zip(&scenarios)
            .find_map(|(part, scenario)| seeds(part).find_map(in_seed).or_else(|| in_crashed(scenario)))
    })
}

fn in_whole(scenario: &Scenario) -> Option<Caught> {
    caught(scenario.name.clone(), &live(&scenario_setup(&scenario.script, Vec::new())))
}

fn in_seed(seed: u64) -> Option<Caught> {
    caught(format!("seed {seed}"), &live(&setup(seed)))
}

fn in_crashed(scenario: &Scenario) -> Option<Caught> {
    let whole = live(&scenario_setup(&scenario.script, Vec::new()));
    let points = (1..).zip(&whole.trails[0]).skip(whole.acts_at[scenario.from_act] as usize);
    points.flat_map(|(at, point)| ends_at(at, point)).find_map(|crash| {
        let told = live(&scenario_setup(&scenario.script, vec![crash]));
        caught(format!("{}, {:?} at {}", scenario.name, crash.how, crash.at), &told)
    })
}

#[test]
fn every_sabotage_is_caught() {
    let only = std::env::var("LANDFALL_SABOTAGE").ok();
    let wanted = |sabotage: &&Sabotage| only.as_ref().is_none_or(|only| sabotage.to_string() == *only);
    let next = Mutex::new(Sabotage::ALL.iter().filter(wanted));
    let rows: Mutex<Vec<(Sabotage, Option<Caught>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let sabotage = next.lock().unwrap().next();
                    let Some(sabotage) = sabotage else { return };
                    commit(Some(*sabotage));
                    let began = Instant::now();
                    let found = catch();
                    commit(None);
                    let by = found.as_ref().map_or("nothing", |caught| &caught.by);
                    eprintln!("{sabotage}: caught by {by} after {:?}", began.elapsed());
                    rows.lock().unwrap().push((*sabotage, found));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_unstable_by_key(|(sabotage, _)| *sabotage);
    let table: String = rows
        .iter()
        .map(|(sabotage, found)| match found {
            Some(Caught { invariant, by, what }) => {
                let what: String = what.chars().take(90).collect();
                format!("{:<24} {invariant:<4} {by:<44} {what}\n", sabotage.to_string())
            }
            None => format!("{:<24} NOT CAUGHT\n", sabotage.to_string()),
        })
        .collect();
    if only.is_none() {
        counters::write(env!("CARGO_TARGET_TMPDIR"), "sabotages", &table).unwrap();
    }
    assert!(!rows.is_empty(), "there is no sabotage {only:?}");
    let missed: Vec<&Sabotage> =
        rows.iter().filter(|(_, found)| found.is_none()).map(|(sabotage, _)| sabotage).collect();
    assert!(missed.is_empty(), "nothing notices {missed:?}; the others:\n{table}");
    assert!(only.is_some() || rows.len() >= 25, "only {} sabotages were tried", rows.len());
}
