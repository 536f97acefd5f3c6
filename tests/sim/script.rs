//! What people and forges do to the engine, and what their commits are like.

use std::collections::BTreeMap;

use fastrand::Rng;
use landfall_engine::core::command::Push;
use landfall_engine::core::event::{Commit, Decision};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::settings::{
    DeploySettings, NotifySettings, ReleaseSettings, RollbackSettings, Settings,
};
use landfall_engine::core::stage::Stage;

/// What a stage says of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Green,
    Red,
    /// Nothing, for ever.
    Hang,
}

/// What kills the engine that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    Stage(Stage),
    Rollback,
    Notice,
}

/// What a commit is like. The rest of its stages are green.
#[derive(Clone, Debug)]
pub struct Nature {
    pub verdicts: BTreeMap<Stage, Verdict>,
    /// What kills the engine, each time.
    pub poison: Option<Poison>,
    /// How many tries of a stage get no answer.
    pub silent: BTreeMap<Stage, u32>,
    /// How many tries of a rollback get no answer.
    pub silent_rollbacks: u32,
    pub release_command: bool,
    pub automatic: bool,
    pub hold: bool,
    pub retain: u32,
    /// The proxy is frozen when it is asked to switch to this commit, and takes it so much later, in milliseconds.
    pub late_switch_ms: Option<u64>,
    /// Docker is frozen when it is asked for the container of the test, and makes it so much later, in milliseconds.
    pub late_test_ms: Option<u64>,
    /// Somebody else pushes another image under the run's tag, before it is deployed.
    pub hijacked: bool,
    /// A person has to approve the deploy, and has this long, in milliseconds.
    pub approval_ms: Option<u64>,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            verdicts: BTreeMap::new(),
            poison: None,
            silent: BTreeMap::new(),
            silent_rollbacks: 0,
            release_command: false,
            automatic: true,
            hold: true,
            retain: 2,
            late_switch_ms: None,
            late_test_ms: None,
            hijacked: false,
            approval_ms: None,
        }
    }
}

/// Something that is done to the engine, or to its machine.
#[derive(Clone, Debug)]
pub enum Act {
    Push {
        push: Box<Push>,
        claim: Option<String>,
    },
    /// Cancels the nth newest run.
    Cancel(usize),
    /// Cancels the next run once it is in this stage.
    CancelIn(Stage),
    /// Decides about the nth newest run that is parked.
    Decide(usize, Decision),
    RollBack(LaneId),
    /// Approves, or rejects, the nth newest run that waits for it.
    Approve(usize, bool),
    /// Does the nth newest run again from this stage on.
    Again(usize, Stage, bool),
    /// Makes what the app serves in production live in staging.
    Promote,
    /// Shuts the lane, or opens it.
    Pause(LaneId, bool),
    /// Holds the commit of this letter, or releases it.
    Hold(LaneId, char, bool),
    /// Follows the nth newest run, to its end.
    Watch(usize),
    /// Follows the log.
    Follow,
    ClockStep(i64),
    /// Leaves this many bytes.
    DiskFull(u64),
    /// The nth sync from now fails.
    SyncFails(u64),
    /// The nth write from now fails, half done.
    WriteFails(u64),
}

impl Act {
    /// Returns what kind of fault it is, for the counters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Push { claim: Some(_), .. } => "acts: push with a delivery id",
            Self::Push { claim: None, .. } => "acts: push",
            Self::Cancel(_) | Self::CancelIn(_) => "acts: cancel",
            Self::Decide(..) => "acts: decision about a parked run",
            Self::RollBack(_) => "acts: rollback by hand",
            Self::Approve(..) => "acts: approval or rejection",
            Self::Again(..) => "acts: a run is done again",
            Self::Promote => "acts: promotion",
            Self::Pause(..) => "acts: pause or resumption",
            Self::Hold(..) => "acts: hold or release by hand",
            Self::Watch(_) | Self::Follow => "acts: subscription",
            Self::ClockStep(_) => "acts: clock step",
            Self::DiskFull(_) | Self::SyncFails(_) | Self::WriteFails(_) => {
                "acts: trouble with the disk arranged"
            }
        }
    }
}

/// A history's outside.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub natures: BTreeMap<String, Nature>,
    /// What is done, each this many milliseconds after the one before.
    pub acts: Vec<(u64, Act)>,
}

/// The commits of a script, by letter.
const COMMITS: [char; 6] = ['a', 'b', 'c', 'd', 'e', 'f'];

impl Script {
    /// Returns what the seed makes people do.
    pub fn random(dice: &mut Rng) -> Self {
        let natures = COMMITS.iter().map(|letter| (sha(*letter), nature(dice))).collect();
        let mut script = Self { natures, acts: Vec::new() };
        // Something is live before things go wrong, or not.
        let acts = dice.usize(1..8);
        for nth in 0..acts {
            let act = script.random_act(dice, nth);
            let pause_ms = match dice.u32(0..4) {
                0 => 0,
                1 => dice.u64(0..1_000),
                2 => dice.u64(0..60_000),
                _ => dice.u64(0..900_000),
            };
            let again = (matches!(act, Act::Push { claim: Some(_), .. }) && dice.bool()).then(|| act.clone());
            script.acts.push((pause_ms, act));
            // A forge delivers at least once.
            script.acts.extend(again.map(|act| (dice.u64(0..5_000), act)));
        }
        script
    }

    /// Lets people of other dice decide about deploys, releases and lanes in between: all else stays as it was.
    pub fn control(&mut self, dice: &mut Rng) {
        for nature in self.natures.values_mut() {
            nature.approval_ms = (dice.u32(0..3) == 0).then(|| dice.u64(1_000..1_800_000));
        }
        let (shop, mut acts) = (LaneId::production("shop"), Vec::new());
        for act in self.acts.drain(..) {
            acts.push(act);
            while dice.bool() {
                let nth = dice.usize(0..2);
                let act = match dice.u32(0..8) {
                    0..=2 => Act::Approve(nth, dice.u32(0..4) != 0),
                    3 => Act::Again(nth, Stage::ALL[dice.usize(..Stage::ALL.len())], dice.bool()),
                    4 => Act::Promote,
                    5 | 6 => Act::Pause(shop.clone(), dice.bool()),
                    _ => Act::Hold(shop.clone(), COMMITS[dice.usize(..COMMITS.len())], dice.bool()),
                };
                acts.push((dice.u64(0..600_000), act));
            }
        }
        self.acts = acts;
    }

    fn random_act(&self, dice: &mut Rng, nth: usize) -> Act {
        let newest = dice.usize(0..3);
        match dice.u32(0..if nth == 0 { 10 } else { 25 }) {
            0..=10 => {
                let letter = COMMITS[dice.usize(..COMMITS.len())];
                let app = if dice.u32(0..4) == 0 { "blog" } else { "shop" };
                let branch = if dice.u32(0..4) == 0 { "next" } else { "main" };
                let mut push = push(app, branch, letter, &format!("act {nth}"));
                push.release_hold = dice.u32(0..6) == 0;
                let claim = dice.bool().then(|| format!("delivery-{nth}"));
                Act::Push { push: Box::new(push), claim }
            }
            11..=13 => Act::Cancel(newest),
            14..=15 => Act::Decide(newest, decision(dice)),
            16..=17 => Act::RollBack(LaneId::production("shop")),
            18..=19 => Act::Watch(newest),
            20 => Act::Follow,
            21 => Act::ClockStep(dice.i64(-3_600_000..3_600_000)),
            22 => Act::DiskFull(dice.u64(0..20_000)),
            23 => Act::SyncFails(dice.u64(0..20)),
            _ => Act::WriteFails(dice.u64(0..20)),
        }
    }

    pub fn verdict(&self, sha: &str, stage: Stage) -> Verdict {
        let nature = self.natures.get(sha);
        nature.and_then(|nature| nature.verdicts.get(&stage).copied()).unwrap_or(Verdict::Green)
    }

    pub fn late_switch_ms(&self, sha: &str) -> Option<u64> {
        self.natures.get(sha).and_then(|nature| nature.late_switch_ms)
    }

    pub fn late_test_ms(&self, sha: &str) -> Option<u64> {
        self.natures.get(sha).and_then(|nature| nature.late_test_ms)
    }

    pub fn is_poison(&self, sha: &str, poison: Poison) -> bool {
        self.natures.get(sha).is_some_and(|nature| nature.poison == Some(poison))
    }

    pub fn is_silent_rollback(&self, sha: &str, attempt: u32) -> bool {
        self.natures.get(sha).is_some_and(|nature| attempt <= nature.silent_rollbacks)
    }

    pub fn is_silent(&self, sha: &str, stage: Stage, attempt: u32) -> bool {
        let nature = self.natures.get(sha);
        nature.and_then(|nature| nature.silent.get(&stage)).is_some_and(|tries| attempt <= *tries)
    }

    pub fn is_hijacked(&self, sha: &str) -> bool {
        self.natures.get(sha).is_some_and(|nature| nature.hijacked)
    }

    /// Returns the configuration at a commit.
    pub fn settings(&self, sha: &str) -> Settings {
        let nature = self.natures.get(sha).cloned().unwrap_or_default();
        let release = ReleaseSettings { command: "flask db upgrade".into(), timeout_ms: 300_000 };
        Settings {
            service: "app".into(),
            release: nature.release_command.then_some(release),
            deploy: DeploySettings {
                retain: nature.retain,
                keep_warm_ms: 600_000,
                approval_ms: nature.approval_ms,
                ..Default::default()
            },
            rollback: RollbackSettings { automatic: nature.automatic, hold: nature.hold },
            notify: NotifySettings {
                developer: vec!["webhook:DEV".into()],
                ops: vec!["webhook:OPS".into(), "slack:OPS".into()],
            },
            ..Settings::default()
        }
    }
}

pub fn decision(dice: &mut Rng) -> Decision {
    match dice.u32(0..3) {
        0 => Decision::Retry,
        1 => Decision::Skip { reason: "it is fine".into() },
        _ => Decision::Abort { reason: "enough".into() },
    }
}

fn nature(dice: &mut Rng) -> Nature {
    let mut verdicts = BTreeMap::new();
    if dice.u32(0..10) < 4 {
        let verdict = if dice.u32(0..3) == 0 { Verdict::Hang } else { Verdict::Red };
        verdicts.insert(Stage::ALL[dice.usize(..Stage::ALL.len())], verdict);
    }
    let mut silent = BTreeMap::new();
    if dice.u32(0..8) == 0 {
        silent.insert(Stage::ALL[dice.usize(..Stage::ALL.len())], dice.u32(1..8));
    }
    let poison = match dice.u32(0..40) {
        0 => Some(Poison::Stage(Stage::ALL[dice.usize(..Stage::ALL.len())])),
        1 => Some(Poison::Rollback),
        2 => Some(Poison::Notice),
        _ => None,
    };
    Nature {
        verdicts,
        poison,
        silent,
        silent_rollbacks: if dice.u32(0..12) == 0 { dice.u32(1..10) } else { 0 },
        release_command: dice.u32(0..3) == 0,
        automatic: dice.u32(0..6) != 0,
        hold: dice.u32(0..5) != 0,
        retain: dice.u32(1..4),
        late_switch_ms: (dice.u32(0..20) == 0).then(|| dice.u64(0..600_000)),
        late_test_ms: None,
        hijacked: dice.u32(0..5) == 0,
        approval_ms: None,
    }
}

pub fn sha(letter: char) -> String {
    letter.to_string().repeat(40)
}

pub fn push(app: &str, branch: &str, letter: char, trigger: &str) -> Push {
    Push {
        lane: LaneId::production(app),
        commit: Commit {
            sha: sha(letter),
            branch: Some(branch.into()),
            subject: format!("Change {letter}"),
            author: "Ada".into(),
            email: "ada@example.com".into(),
        },
        repository: "/srv/git/shop.git".into(),
        trigger: trigger.into(),
        release_hold: false,
    }
}
