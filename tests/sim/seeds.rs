//! Histories at random: as many seeds as there is time for, and any one of them again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use landfall_store::disk::Kept;
use landfall_tests::counters;

use crate::life::{Crash, How, LowLimit, Setup, Told, live};
use crate::script::Script;

const SEEDS: u64 = 2_000;
const SEEDS_LONG: u64 = 100_000;

/// The long form has the most of them in an optimised build, which lives ten times as many in the same time.
fn seeds() -> u64 {
    match (counters::is_long(), cfg!(debug_assertions)) {
        (true, false) => SEEDS_LONG,
        _ => SEEDS,
    }
}

/// Returns all that a seed stands for.
pub fn setup(seed: u64) -> Setup {
    let mut dice = Rng::with_seed(seed ^ 0x5eed);
    let mut script = Script::random(&mut dice);
    let crashes = (0..dice.usize(0..6)).map(|_| crash(&mut dice)).collect();
    let troubles = if dice.bool() { dice.u32(0..8) } else { 0 };
    let (tidies_up, disk_fails_in_recovery) = (dice.bool(), dice.u32(0..3) == 0);
    let mut others = Rng::with_seed(seed ^ 0xc0_4720);
    if others.u32(0..3) == 0 {
        script.control(&mut others);
    }
    let low_limit = low_limit(seed);
    let tidies_up = tidies_up || low_limit.is_some();
    Setup { seed, script, crashes, troubles, tidies_up, disk_fails_in_recovery, low_limit }
}

/// Has dice of its own: all else in the history of a seed stays as it was.
fn low_limit(seed: u64) -> Option<LowLimit> {
    let mut dice = Rng::with_seed(seed ^ 0x11317);
    (dice.u32(0..10) == 0).then(|| LowLimit { run_events_max: dice.u64(5..40), lives: dice.usize(1..4) })
}

fn crash(dice: &mut Rng) -> Crash {
    // Soon after the start as often as late.
    let reach = 1 << dice.u32(1..11);
    let how = match dice.u32(0..5) {
        0 | 1 => How::Kill,
        2 => How::PowerCut(Kept::Nothing),
        3 => How::PowerCut(Kept::Everything),
        _ => How::PowerCut(Kept::Sectors(dice.u64(..))),
    };
    Crash { at: dice.u64(1..=reach), how }
}

/// Lives many histories, on all cores, and returns what was counted and the first that broke something.
pub fn explore(seeds: impl Iterator<Item = u64> + Send) -> (BTreeMap<String, u64>, Option<(u64, Told)>) {
    let seeds = Mutex::new(seeds);
    let counts: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let broken: Mutex<Option<(u64, Told)>> = Mutex::default();
    let lived = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = seeds.lock().unwrap().next();
                    let Some(seed) = next.filter(|_| broken.lock().unwrap().is_none()) else { return };
                    let told = live(&setup(seed));
                    lived.fetch_add(1, Ordering::SeqCst);
                    let mut counts = counts.lock().unwrap();
                    for (what, count) in &told.counts {
                        *counts.entry(what.clone()).or_default() += count;
                    }
                    *counts.entry("events recorded".into()).or_default() += told.events;
                    *counts.entry("lives of engines".into()).or_default() += told.points.len() as u64;
                    *counts.entry("invariant checks".into()).or_default() += told.checks;
                    if !told.violations.is_empty() {
                        let mut broken = broken.lock().unwrap();
                        if broken.as_ref().is_none_or(|(first, _)| seed < *first) {
                            *broken = Some((seed, told));
                        }
                    }
                }
            });
        }
    });
    let mut counts = counts.into_inner().unwrap();
    counts.insert("seeds".into(), lived.into_inner());
    (counts, broken.into_inner().unwrap())
}

/// Says what a seed broke, and how to see it again.
pub fn report(seed: u64, told: &Told) -> String {
    let acts = format!("{:#?}", setup(seed));
    format!(
        "seed {seed} breaks {} invariants:\n  {}\nlives ended: {:?}\nrepeat it with\n  LANDFALL_SEED={seed} cargo test -p landfall-tests --test sim seeds -- --nocapture\n{}",
        told.violations.len(),
        told.violations.join("\n  "),
        told.deaths,
        if std::env::var_os("LANDFALL_SEED").is_some() { acts } else { String::new() },
    )
}

#[test]
fn random_histories_break_no_invariant() {
    let one = std::env::var("LANDFALL_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let (counts, broken) = match one {
        Some(seed) => explore(seed..seed + 1),
        None => explore(0..seeds()),
    };
    let is_whole = one.is_none();
    if let Some((seed, told)) = broken {
        panic!("{}", report(seed, &told));
    }
    let mut counted: Vec<(String, u64)> = counts.into_iter().collect();
    counted.push(("violations".into(), 0));
    if is_whole {
        counters::publish(env!("CARGO_TARGET_TMPDIR"), "simulation", &counted).unwrap();
    }
}

#[test]
fn seeds_beyond_the_short_form_that_broke_something_once_break_nothing() {
    for seed in [40_127, 70_624] {
        let told = live(&setup(seed));
        assert!(told.violations.is_empty(), "{}", report(seed, &told));
    }
}

#[test]
fn a_seed_is_one_history() {
    for seed in 0..20 {
        let (first, again) = (live(&setup(seed)), live(&setup(seed)));
        assert_eq!(first.head, again.head, "seed {seed}");
        assert_eq!(first.points, again.points, "seed {seed}");
        assert_eq!(first.counts, again.counts, "seed {seed}");
    }
}
