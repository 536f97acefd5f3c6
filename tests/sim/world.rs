//! The world outside the engine: containers, images, a registry, a proxy, folders, receivers of notices.
//!
//! What is asked of it happens later, also when whoever asked is gone: a daemon goes on with a request whose client
//! was killed. So a dead engine's requests may still land while the next one is looking around.
//!
//! **Invariant:** it keeps the contract of real things. A container's name is taken once, a tag is the run's own, the
//! proxy takes a switch only from a lower generation. What must never be seen it writes down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;
use landfall_engine::core::stage::Stage;

/// What somebody else pushes under a run's tag.
pub const HIJACKED: &str = "sha256:somebody-else";

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub run: RunId,
    pub stage: Stage,
    pub key: String,
    /// The image that it runs, by digest.
    pub digest: String,
    /// When it begins to answer. None: never.
    pub ready_ms: Option<u64>,
    /// When it ends by itself, and with what.
    pub exit: Option<(u64, i64)>,
}

impl Container {
    pub fn is_running(&self, at_ms: u64) -> bool {
        self.exit.is_none_or(|(ends_ms, _)| at_ms < ends_ms)
    }

    pub fn answers(&self, at_ms: u64) -> bool {
        self.is_running(at_ms) && self.ready_ms.is_some_and(|ready_ms| ready_ms <= at_ms)
    }
}

/// Where a lane's traffic goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    pub generation: u64,
    /// Digest and container.
    pub target: Option<(String, String)>,
    /// The run that set it.
    pub run: Option<RunId>,
}

/// Something that is asked of the world.
#[derive(Clone, Debug)]
pub enum Op {
    MakeFolder(RunId),
    RemoveFolder(RunId),
    /// Create and start a container, unless its name is taken.
    Run(String, Container),
    Remove(String),
    Build(RunId, String),
    RemoveImage(RunId),
    Push(String, String),
    Switch(LaneId, Route),
    Notify(String),
}

/// How often a key was given to the executor, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    inputs: String,
    deadline_ms: u64,
}

/// What is there.
#[derive(Debug, Default)]
pub struct Things {
    pub containers: BTreeMap<String, Container>,
    /// Local images by run, as digests.
    pub images: BTreeMap<RunId, String>,
    /// The registry's tags.
    pub tags: BTreeMap<String, String>,
    pub folders: BTreeSet<RunId>,
    pub routes: BTreeMap<LaneId, Route>,
    /// Every switch that the proxy took.
    pub switches: Vec<(LaneId, Route)>,
    pub notices: BTreeMap<String, u32>,
    /// How often a release command ran, by run.
    pub released: BTreeMap<RunId, u32>,
    /// What was asked and has not happened, by the time at which it will.
    pending: BTreeMap<(u64, u64), Op>,
    asked: u64,
    given: BTreeMap<String, Given>,
    /// What the engine was told of a key last: true for red.
    pub answers: BTreeMap<String, bool>,
    /// The keys that were undone.
    pub undone: BTreeSet<String>,
    /// How many effects happened.
    pub effects: u64,
    pub violations: BTreeSet<String>,
}

/// The world.
#[derive(Debug, Default)]
pub struct World(Mutex<Things>);

impl World {
    /// Returns what is there at this time.
    pub fn at(&self, now_ms: u64) -> MutexGuard<'_, Things> {
        let mut things = self.0.lock().unwrap();
        things.settle(now_ms);
        things
    }
}

impl Things {
    /// Asks for something that will happen at this time.
    pub fn ask(&mut self, at_ms: u64, op: Op) {
        self.asked += 1;
        self.pending.insert((at_ms, self.asked), op);
    }

    /// Notes that a key is acted on: never with other inputs than before, never with another deadline.
    pub fn give(&mut self, key: &str, inputs: String, deadline_ms: u64) {
        let given = Given { inputs, deadline_ms };
        match self.given.get(key) {
            None => _ = self.given.insert(key.to_owned(), given),
            Some(before) if before.inputs != given.inputs => {
                let (before, now) = (before.inputs.clone(), given.inputs);
                self.violation("I3", format!("{key} was done with {before}, and now with {now}"));
            }
            Some(before) if before.deadline_ms != given.deadline_ms => {
                let before = before.deadline_ms;
                self.violation(
                    "I11",
                    format!("the deadline of {key} was {before}, and is now {deadline_ms}"),
                );
            }
            Some(_) => {}
        }
    }

    /// Somebody tidies up behind the engine's back: what has ended is removed.
    pub fn prune(&mut self, now_ms: u64) {
        self.containers.retain(|_, container| container.is_running(now_ms));
    }

    pub fn violation(&mut self, invariant: &str, what: String) {
        self.violations.insert(format!("{invariant}: {what}"));
    }

    fn settle(&mut self, now_ms: u64) {
        while let Some(entry) = self.pending.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let at_ms = entry.key().0;
            let op = entry.remove();
            self.effects += 1;
            self.happen(at_ms, op);
            self.look_as_a_visitor(at_ms);
        }
    }

    fn happen(&mut self, at_ms: u64, op: Op) {
        match op {
            Op::MakeFolder(run) => _ = self.folders.insert(run),
            Op::RemoveFolder(run) => _ = self.folders.remove(&run),
            Op::Run(name, mut container) => {
                if self.containers.contains_key(&name) {
                    return;
                }
                if container.stage == Stage::ReleaseCommand {
                    *self.released.entry(container.run).or_default() += 1;
                }
                // Its times were given from its start on.
                container.ready_ms = container.ready_ms.map(|ready_ms| at_ms + ready_ms);
                container.exit = container.exit.map(|(after_ms, code)| (at_ms + after_ms, code));
                let twin = self.containers.values().any(|other| other.key == container.key);
                if twin {
                    self.violation("I3", format!("{} has two containers", container.key));
                }
                self.containers.insert(name, container);
            }
            Op::Remove(name) => _ = self.containers.remove(&name),
            Op::Build(run, digest) => _ = self.images.insert(run, digest),
            Op::RemoveImage(run) => _ = self.images.remove(&run),
            Op::Push(tag, digest) => {
                let before = self.tags.insert(tag.clone(), digest.clone());
                if before.is_some_and(|before| before != digest && before != HIJACKED) {
                    self.violation("I3", format!("{tag} was pushed with two contents"));
                }
            }
            Op::Switch(lane, route) => {
                let in_force = self.routes.get(&lane).map_or(0, |route| route.generation);
                if route.generation > in_force || landfall_engine::sabotaged!(SwitchBlindly) {
                    self.switches.push((lane.clone(), route.clone()));
                    self.routes.insert(lane, route);
                }
            }
            Op::Notify(key) => *self.notices.entry(key).or_default() += 1,
        }
    }

    /// A visitor is always there: where the proxy sends traffic, somebody answers.
    fn look_as_a_visitor(&mut self, at_ms: u64) {
        let mut broken = Vec::new();
        for (lane, route) in &self.routes {
            let Some((digest, name)) = &route.target else { continue };
            let answered = self.containers.get(name).is_some_and(|container| container.answers(at_ms));
            if !answered {
                broken.push(format!("{lane} is sent to {name} ({digest}), which does not answer"));
            }
        }
        for what in broken {
            self.violation("I5", what);
        }
    }
}
