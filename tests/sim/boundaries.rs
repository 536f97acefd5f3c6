//! Every boundary: each scenario, ended at each point of its life, and again inside the recovery.
//!
//! A point lies before and after each write, sync and name on the disk, before and after each acknowledgement, and
//! before, inside and after each effect on the world. At the disk's points the power goes, too: with all that was not
//! synced lost, and with some of its sectors.

use std::collections::BTreeMap;
use std::sync::Mutex;

use landfall_engine::core::event::Decision;
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::stage::Stage;
use landfall_store::disk::Kept;
use landfall_tests::counters;

use crate::life::{Crash, How, Setup, live};
use crate::script::{Act, Nature, Poison, Script, Verdict, push, sha};

/// Longer than any run of a scenario takes by itself, in milliseconds.
const A_RUN_MS: u64 = 20 * 60 * 1_000;

/// Of the pairs of a crash and a second one in its recovery, one in this many is tried.
const PAIRS_STRIDE: u64 = 400;
const PAIRS_STRIDE_LONG: u64 = 40;

/// A scenario, and from which of its acts on it is crashed into.
pub struct Scenario {
    pub name: String,
    pub script: Script,
    pub from_act: usize,
    /// What happens in it when nothing is crashed.
    pub expects: Vec<String>,
}

fn pushed(letter: char, pause_ms: u64) -> (u64, Act) {
    let push = Box::new(push("shop", "main", letter, &format!("push of {letter}")));
    (pause_ms, Act::Push { push, claim: Some(format!("delivery-{letter}")) })
}

/// A first release goes live; then a commit of this nature is pushed, and more happens.
fn after_a_release(
    name: impl Into<String>,
    nature: Nature,
    more: impl IntoIterator<Item = (u64, Act)>,
    expects: &[&str],
) -> Scenario {
    let acts = [pushed('a', 0), pushed('b', A_RUN_MS)].into_iter().chain(more).collect();
    let natures = BTreeMap::from([(sha('b'), nature)]);
    let expects = expects.iter().map(ToString::to_string).collect();
    Scenario { name: name.into(), script: Script { natures, acts }, from_act: 1, expects }
}

fn saying(stage: Stage, verdict: Verdict) -> Nature {
    let release_command = stage == Stage::ReleaseCommand;
    Nature { verdicts: BTreeMap::from([(stage, verdict)]), release_command, ..Nature::default() }
}

fn silent(stage: Stage, tries: u32) -> Nature {
    let release_command = stage == Stage::ReleaseCommand;
    Nature { silent: BTreeMap::from([(stage, tries)]), release_command, ..Nature::default() }
}

fn poisoned(poison: Poison, red: Option<Stage>) -> Nature {
    let verdicts = red.map(|stage| (stage, Verdict::Red)).into_iter().collect();
    Nature { poison: Some(poison), verdicts, ..Nature::default() }
}

/// Tells whether a stage has scenarios of its own that others of its kind have not: each has in the long form.
fn is_telling(stage: Stage) -> bool {
    counters::is_long()
        || matches!(stage, Stage::Test | Stage::ReleaseCommand | Stage::Deploy | Stage::Smoke | Stage::GoLive)
}

fn decisions() -> [Decision; 3] {
    let skip = Decision::Skip { reason: "it is fine".into() };
    [Decision::Retry, skip, Decision::Abort { reason: "enough".into() }]
}

/// Returns every scenario.
pub fn scenarios() -> Vec<Scenario> {
    let mut all = endings();
    all.extend(retries_and_parkings());
    all.extend(runs_beside_each_other());
    all.extend(what_people_decide());
    all
}

/// Green, red at each stage, cancelled at each stage, hanging at each stage.
fn endings() -> Vec<Scenario> {
    let with_release_command = Nature { release_command: true, ..Nature::default() };
    let first = |name: &str, natures, expected: &str| Scenario {
        name: name.into(),
        script: Script { natures, acts: vec![pushed('a', 0)] },
        from_act: 0,
        expects: vec![expected.into()],
    };
    let red_first = BTreeMap::from([(sha('a'), saying(Stage::Smoke, Verdict::Red))]);
    let mut all = vec![
        after_a_release("success", with_release_command.clone(), [], &["stage_succeeded release_command"]),
        first("first deploy", BTreeMap::new(), "run_live"),
        first("first deploy, red", red_first, "rollback_succeeded"),
    ];
    for stage in Stage::ALL {
        let red = format!("stage_failed {stage}");
        all.push(after_a_release(format!("red at {stage}"), saying(stage, Verdict::Red), [], &[&red]));
        let cancel = [(0, Act::CancelIn(stage))];
        let name = format!("cancel at {stage}");
        all.push(after_a_release(name, with_release_command.clone(), cancel, &["cancel_requested"]));
        if !is_telling(stage) {
            continue;
        }
        // A candidate that is not healthy in time is red; so is a stage whose slowness is the app's.
        let started = format!("stage_started {stage}");
        all.push(after_a_release(format!("{stage} hangs"), saying(stage, Verdict::Hang), [], &[&started]));
    }
    all
}

/// No answer, twice or for ever; a person's decision; what kills the engine.
fn retries_and_parkings() -> Vec<Scenario> {
    let mut all = Vec::new();
    for stage in Stage::ALL {
        let tries = if stage == Stage::ReleaseCommand { 1 } else { 5 };
        let parked = format!("run_parked {stage}");
        if tries > 1 {
            let errored = format!("stage_errored {stage}");
            all.push(after_a_release(
                format!("{stage} is retried"),
                silent(stage, 2),
                [],
                &[&errored, "run_live"],
            ));
        }
        if !is_telling(stage) {
            continue;
        }
        for decision in decisions() {
            let name = format!("parked at {stage}, then {decision:?}");
            let decided = [(A_RUN_MS, Act::Decide(0, decision))];
            all.push(after_a_release(name, silent(stage, tries), decided, &[&parked]));
        }
        let poison = poisoned(Poison::Stage(stage), None);
        all.push(after_a_release(format!("{stage} kills the engine"), poison, [], &[]));
    }
    let red = || saying(Stage::Smoke, Verdict::Red);
    for decision in decisions() {
        let decided = || [(A_RUN_MS, Act::Decide(0, decision.clone()))];
        let manual = Nature { automatic: false, ..red() };
        let name = format!("parked before a rollback, then {decision:?}");
        all.push(after_a_release(name, manual, decided(), &["run_parked rollback"]));
        let stubborn = Nature { silent_rollbacks: 8, ..red() };
        let name = format!("parked at a rollback, then {decision:?}");
        all.push(after_a_release(name, stubborn, decided(), &["run_parked rollback"]));
    }
    let slow = Nature { silent_rollbacks: 2, ..red() };
    let expected = ["rollback_errored", "rollback_succeeded"];
    all.push(after_a_release("a rollback is retried", slow, [], &expected));
    for (name, poison) in [("a rollback", Poison::Rollback), ("a notice", Poison::Notice)] {
        let poison = poisoned(poison, Some(Stage::Smoke));
        all.push(after_a_release(format!("{name} kills the engine"), poison, [], &["rollback_started"]));
    }
    let frozen = Nature { late_switch_ms: Some(400_000), ..Nature::default() };
    let abort = [(300_000, Act::Decide(0, Decision::Abort { reason: "enough".into() }))];
    all.push(after_a_release("the switch comes too late", frozen, abort, &["run_parked go_live"]));
    // When its run is long over and swept.
    let frozen = Nature { late_test_ms: Some(1_800_000), ..Nature::default() };
    let cancel = [(0, Act::CancelIn(Stage::Test))];
    all.push(after_a_release("the container of the test comes too late", frozen, cancel, &["run_failed"]));
    all.push(after_a_release("never an answer", silent(Stage::Build, u32::MAX), [], &["run_parked build"]));
    all
}

/// A rollback by hand, a newer push, a push of what is held.
fn runs_beside_each_other() -> Vec<Scenario> {
    let with_release_command = Nature { release_command: true, ..Nature::default() };
    let by_hand = [(A_RUN_MS, Act::RollBack(LaneId::production("shop")))];
    let newer = [pushed('c', 0), pushed('d', 10)];
    let again = Act::Push { push: Box::new(push("shop", "main", 'b', "push of b, again")), claim: None };
    let red = saying(Stage::Smoke, Verdict::Red);
    vec![
        after_a_release("rollback by hand", Nature::default(), by_hand, &["deployment_started"]),
        after_a_release("superseded", with_release_command, newer, &["run_failed superseded"]),
        after_a_release("a held commit is pushed again", red, [(A_RUN_MS, again)], &["rollback_succeeded"]),
    ]
}

/// Approvals, runs that are done again, promotions, pauses and holds.
fn what_people_decide() -> Vec<Scenario> {
    let gated = || Nature { approval_ms: Some(A_RUN_MS), ..Nature::default() };
    let decided = |yes| [(A_RUN_MS / 2, Act::Approve(0, yes))];
    let shop = || LaneId::production("shop");
    let again = |from| [(A_RUN_MS, Act::Again(0, from, true))];
    let red = || saying(Stage::Smoke, Verdict::Red);
    let newer = [pushed('c', A_RUN_MS / 2)];
    let promoted = [(A_RUN_MS, Act::Promote)];
    let held = [(1_000, Act::Hold(shop(), 'b', true)), (A_RUN_MS, Act::Hold(shop(), 'b', false))];
    let by_hand = [(A_RUN_MS, Act::RollBack(shop())), (A_RUN_MS, Act::Pause(shop(), false))];
    let shut = |more: &[(u64, Act)], expected: &str| {
        let first =
            [pushed('a', 0), pushed('b', A_RUN_MS), (A_RUN_MS, Act::Pause(shop(), true)), pushed('c', 1_000)];
        Scenario {
            name: format!("a paused lane, {expected}"),
            script: Script {
                natures: BTreeMap::new(),
                acts: first.into_iter().chain(more.iter().cloned()).collect(),
            },
            from_act: 2,
            expects: vec!["deployment_started".into()],
        }
    };
    vec![
        after_a_release("approved", gated(), decided(true), &["run_approved", "deployment_started"]),
        after_a_release("rejected", gated(), decided(false), &["run_failed rejected"]),
        after_a_release("approved too late", gated(), [], &["run_failed not approved"]),
        after_a_release(
            "superseded while it waits to be approved",
            gated(),
            newer,
            &["run_failed superseded"],
        ),
        after_a_release("done again from the build", red(), again(Stage::Build), &["run_started again"]),
        after_a_release("done again from the deploy", red(), again(Stage::Deploy), &["run_started again"]),
        after_a_release("promoted", Nature::default(), promoted, &["run_started promoted"]),
        after_a_release("held by hand on its way", Nature::default(), held, &["run_failed held"]),
        shut(&[(A_RUN_MS, Act::Pause(shop(), false))], "resumed"),
        shut(&by_hand, "rolled back by hand"),
    ]
}

/// Returns a history of a scenario with these crashes, and nothing else that goes wrong.
pub fn setup(script: &Script, crashes: Vec<Crash>) -> Setup {
    Setup {
        seed: 7,
        script: script.clone(),
        crashes,
        troubles: 0,
        tidies_up: false,
        low_limit: None,
        disk_fails_in_recovery: false,
    }
}

/// Returns the ends that a point can bring.
pub fn ends_at(at: u64, point: &str) -> Vec<Crash> {
    let is_of_the_disk = ["write", "sync", "file", "folder"].iter().any(|word| point.contains(word));
    let mut ends = vec![Crash { at, how: How::Kill }];
    // Before a call the disk is as it was after the one before.
    if is_of_the_disk && !point.starts_with("before") {
        let cuts = [How::PowerCut(Kept::Nothing), How::PowerCut(Kept::Sectors(at))];
        // The short form takes the two in turn.
        let nth = usize::try_from(at % 2).unwrap();
        let wanted = if counters::is_long() { &cuts[..] } else { &cuts[nth..=nth] };
        ends.extend(wanted.iter().map(|how| Crash { at, how: *how }));
    }
    ends
}

/// Counts of what was tried.
#[derive(Default)]
struct Tried {
    points: BTreeMap<String, u64>,
    single: u64,
    pairs: u64,
    checks: u64,
    broken: Vec<String>,
}

/// Crashes into one scenario at each of its points.
fn crash_into(scenario: &Scenario, stride: u64, tried: &Mutex<Tried>) {
    let whole = live(&setup(&scenario.script, Vec::new()));
    tried.lock().unwrap().note(&format!("{}: no crash", scenario.name), &whole.violations, whole.checks);
    for expected in &scenario.expects {
        assert!(
            whole.happened.contains(expected),
            "{}: {expected:?} never happened: {:?}",
            scenario.name,
            whole.happened
        );
    }
    let from = whole.acts_at[scenario.from_act] + 1;
    for (at, point) in (1..).zip(&whole.trails[0]).skip(usize::try_from(from).unwrap() - 1) {
        *tried.lock().unwrap().points.entry((*point).to_owned()).or_default() += 1;
        for crash in ends_at(at, point) {
            let once = live(&setup(&scenario.script, vec![crash]));
            let name = format!("{}: {crash:?} ({point})", scenario.name);
            {
                let mut tried = tried.lock().unwrap();
                tried.single += 1;
                tried.note(&name, &once.violations, once.checks);
            }
            let recovery = once.trails.get(1).map(Vec::as_slice).unwrap_or_default();
            for (second, point) in (1..).zip(recovery).filter(|(second, _)| (at * 31 + second) % stride == 0)
            {
                // Of any kind, whatever the first was.
                let ends = ends_at(second, point);
                let then = ends[usize::try_from(at + second / stride).unwrap() % ends.len()];
                let twice = live(&setup(&scenario.script, vec![crash, then]));
                let mut tried = tried.lock().unwrap();
                tried.pairs += 1;
                tried.note(&format!("{name}, then at {second}"), &twice.violations, twice.checks);
            }
        }
        if !tried.lock().unwrap().broken.is_empty() {
            return;
        }
    }
}

impl Tried {
    fn note(&mut self, name: &str, violations: &[String], checks: u64) {
        self.checks += checks;
        if !violations.is_empty() {
            self.broken.push(format!("{name}\n    {}", violations.join("\n    ")));
        }
    }
}

#[test]
fn a_crash_at_any_point_of_any_scenario_breaks_no_invariant() {
    let stride = if counters::is_long() { PAIRS_STRIDE_LONG } else { PAIRS_STRIDE };
    let scenarios = scenarios();
    let only = std::env::var("LANDFALL_SCENARIO").ok();
    let wanted = |scenario: &&Scenario| only.as_ref().is_none_or(|only| scenario.name.contains(only));
    let next = Mutex::new(scenarios.iter().filter(wanted));
    let tried = Mutex::new(Tried::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let scenario = next.lock().unwrap().next();
                    let Some(scenario) = scenario else { return };
                    crash_into(scenario, stride, &tried);
                }
            });
        }
    });
    let tried = tried.into_inner().unwrap();
    assert!(
        tried.broken.is_empty(),
        "{} histories break invariants; LANDFALL_SCENARIO=NAME tries one scenario alone:\n  {}",
        tried.broken.len(),
        tried.broken.iter().take(10).cloned().collect::<Vec<_>>().join("\n  ")
    );
    if only.is_some() {
        return;
    }
    let mut counted = vec![("scenarios".to_owned(), scenarios.len() as u64)];
    counted.extend(tried.points.into_iter().map(|(point, count)| (format!("crash points: {point}"), count)));
    counted.extend([
        ("histories with one crash".to_owned(), tried.single),
        ("histories with a second crash in the recovery".to_owned(), tried.pairs),
        ("invariant checks".to_owned(), tried.checks),
        ("violations".to_owned(), 0),
    ]);
    counters::publish(env!("CARGO_TARGET_TMPDIR"), "boundaries", &counted).unwrap();
}
