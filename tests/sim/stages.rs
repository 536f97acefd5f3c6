//! The stages of a simulated machine: the contract of the real ones, on a world in memory.
//!
//! They look before they make, name things after keys, adopt what is theirs, switch by compare-and-set, roll back in
//! reverse order and prove it, and sweep what nobody owns: `stages/src` does the same with Docker.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fastrand::Rng;
use landfall_engine::core::command::{NotSent, Outcome, RollbackOutcome};
use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::event::{Origin, OutputRef};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, Failure, PushedImage, SmokePassed, SmokeReport, Switched,
    TestCounts, TestReport,
};
use landfall_engine::core::run::{Run, RunId};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{
    BoxError, Keep, NoticeOrder, Order, Output, OutputLog, OutputWriter, Probe, RollbackOrder, StageExecutor,
};
use landfall_engine::sabotaged;

use crate::book::Book;
use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::fate::Fate;
use crate::script::{Poison, Script, Verdict};
use crate::world::{Container, HIJACKED, Op, Route, Things, World};

/// Leftovers of runs as young as this when the list of what to keep was made are the next sweep's, in milliseconds.
const TOO_YOUNG_MS: u64 = 2_000;

/// The stages of one engine's life.
#[derive(Debug)]
pub struct SimStages {
    pub world: Arc<World>,
    pub script: Arc<Script>,
    pub disk: SimDisk,
    pub book: Arc<Book>,
    pub clock: Arc<SimClock>,
    pub fate: Arc<Fate>,
    pub dice: Mutex<Rng>,
    /// How many requests may still go wrong.
    pub troubles: Mutex<u32>,
}

/// What becomes of a request.
enum Trouble {
    /// All is well.
    None,
    /// It is refused at once.
    Refused,
    /// It happens, and nobody says so.
    AnswerLost,
}

impl SimStages {
    fn now_ms(&self) -> u64 {
        self.clock.true_ms()
    }

    fn up_to(&self, ms: u64) -> u64 {
        self.dice.lock().unwrap().u64(0..=ms)
    }

    fn trouble(&self) -> Trouble {
        let mut left = self.troubles.lock().unwrap();
        if *left == 0 || self.up_to(9) != 0 {
            return Trouble::None;
        }
        *left -= 1;
        match self.up_to(1) {
            0 => {
                self.book.count("faults: request refused");
                Trouble::Refused
            }
            _ => {
                self.book.count("faults: answer lost");
                Trouble::AnswerLost
            }
        }
    }

    /// Asks something of the world and waits for the answer.
    async fn ask(&self, op: Op) -> Result<(), String> {
        self.fate.pass("before an effect").await;
        let trouble = self.trouble();
        if matches!(trouble, Trouble::Refused) {
            self.clock.pass_ms(self.up_to(50)).await;
            return Err("the daemon refused".into());
        }
        // Most requests take milliseconds; now and then something is frozen for minutes.
        let is_frozen = self.up_to(30) == 0;
        if is_frozen {
            self.book.count("faults: request frozen for up to two minutes");
        }
        let lands_after_ms = if is_frozen { self.up_to(120_000) } else { self.up_to(200) };
        let now_ms = self.now_ms();
        self.world.at(now_ms).ask(now_ms + lands_after_ms, op);
        self.fate.pass("inside an effect").await;
        self.clock.pass_ms(lands_after_ms).await;
        drop(self.world.at(self.now_ms()));
        self.fate.pass("after an effect").await;
        match trouble {
            Trouble::AnswerLost => Err("the daemon did not answer".into()),
            _ => Ok(()),
        }
    }

    /// Asks something of somebody who is frozen for so long.
    async fn ask_late(&self, op: Op, late_ms: u64) {
        self.book.count("faults: a certain request frozen for minutes");
        self.fate.pass("before an effect").await;
        let now_ms = self.now_ms();
        self.world.at(now_ms).ask(now_ms + late_ms, op);
        self.fate.pass("inside an effect").await;
        self.clock.pass_ms(late_ms).await;
        self.fate.pass("after an effect").await;
    }

    /// Asks the world how it stands, which may fail too.
    async fn look<T>(&self, look: impl FnOnce(&Things) -> T) -> Result<T, String> {
        self.clock.pass_ms(self.up_to(5)).await;
        if !matches!(self.trouble(), Trouble::None) {
            return Err("the daemon did not answer".into());
        }
        let now_ms = self.now_ms();
        Ok(look(&self.world.at(now_ms)))
    }

    /// Notes that a stage begins, as what is known of it asks for.
    fn begins_stage(&self, order: &Order) {
        let run = &order.run;
        let inputs = format!(
            "{} of {} with image {:?}, candidate {:?}, entry {:?}",
            order.stage,
            run.commit().sha,
            run.image.as_ref().map(|image| &image.digest),
            run.candidate.as_ref().map(|candidate| &candidate.container),
            run.entry.as_ref().map(|entry| entry.generation),
        );
        self.begins(&order.key, inputs, order.deadline_ms);
    }

    /// Notes what the engine is told, to see whether the log says so.
    fn answered(&self, order: &Order, outcome: Outcome) -> Outcome {
        if !self.fate.is_dead() {
            let is_red = matches!(outcome, Outcome::Failed(_));
            self.world.at(self.now_ms()).answers.insert(order.key.as_str().to_owned(), is_red);
        }
        outcome
    }

    /// Notes that an effect begins: after its intent, with the inputs that its key always had.
    fn begins(&self, key: &EffectKey, inputs: String, deadline_ms: u64) {
        let mut things = self.world.at(self.now_ms());
        if !self.disk.has_intent(key.as_str()) {
            things.violation("I4", format!("{key} begins, and its intent is not durable"));
        }
        things.give(key.as_str(), inputs, deadline_ms);
    }

    fn verdict(&self, order: &Order) -> Verdict {
        self.script.verdict(&order.run.commit().sha, order.stage)
    }

    /// Hangs for ever, where that is what the commit does.
    async fn hang(&self, order: &Order) {
        if self.verdict(order) == Verdict::Hang {
            self.book.count("faults: stage hangs");
            std::future::pending::<()>().await;
        }
    }

    async fn die_of(&self, run: &Run, poison: Poison) {
        if self.script.is_poison(&run.commit().sha, poison) {
            self.book.count("faults: effect that kills the engine");
            self.fate.die("at an effect that kills the engine");
            std::future::pending::<()>().await;
        }
    }

    fn container(&self, order: &Order, digest: &str) -> Container {
        Container {
            run: order.run.id,
            stage: order.stage,
            key: order.key.as_str().to_owned(),
            digest: digest.to_owned(),
            ready_ms: None,
            exit: None,
        }
    }

    async fn checkout(&self, order: &Order) -> Result<Outcome, String> {
        self.hang(order).await;
        self.ask(Op::MakeFolder(order.run.id)).await?;
        if self.verdict(order) != Verdict::Green {
            return Ok(Outcome::failed("landfall.toml has an unknown key"));
        }
        Ok(Outcome::Succeeded(self.checked_out(&order.run)))
    }

    fn checked_out(&self, run: &Run) -> Facts {
        let settings = Box::new(self.script.settings(&run.commit().sha));
        Facts::Checkout(Checkout {
            tree: "7ree".into(),
            settings,
            configured_by: "landfall.toml".into(),
            guesses: vec![],
        })
    }

    async fn test(&self, order: &Order) -> Result<Outcome, String> {
        let name = one_shot(order, order.attempt);
        let exit = match self.verdict(order) {
            Verdict::Green => Some((self.up_to(20_000), 0)),
            Verdict::Red => Some((self.up_to(20_000), 1)),
            Verdict::Hang => None,
        };
        let run = Op::Run(name.clone(), Container { exit, ..self.container(order, "base") });
        match self.script.late_test_ms(&order.run.commit().sha) {
            None => self.ask(run).await?,
            Some(late_ms) => self.ask_late(run, late_ms).await,
        }
        self.follow_test(order, &name).await
    }

    async fn follow_test(&self, order: &Order, name: &str) -> Result<Outcome, String> {
        let code = self.until_ended(order, name).await?;
        self.ask(Op::Remove(name.to_owned())).await?;
        Ok(tested(code))
    }

    /// Waits for the end of a container and returns its exit code.
    async fn until_ended(&self, order: &Order, name: &str) -> Result<i64, String> {
        loop {
            let found = self.look(|things| things.containers.get(name).cloned()).await?;
            let container = found.filter(|container| container.key == order.key.as_str());
            match container.ok_or_else(|| format!("the container {name} is gone"))?.exit {
                None => std::future::pending().await,
                Some((at_ms, code)) if at_ms <= self.now_ms() => return Ok(code),
                Some((at_ms, _)) => self.clock.pass_ms(at_ms - self.now_ms()).await,
            }
        }
    }

    async fn build(&self, order: &Order) -> Result<Outcome, String> {
        self.hang(order).await;
        if self.verdict(order) == Verdict::Red {
            return Ok(Outcome::failed("the Dockerfile has no FROM"));
        }
        let digest = digest_of(&order.run);
        self.ask(Op::Build(order.run.id, digest.clone())).await?;
        Ok(Outcome::Succeeded(built(digest)))
    }

    async fn push_image(&self, order: &Order) -> Result<Outcome, String> {
        self.hang(order).await;
        if self.verdict(order) == Verdict::Red {
            return Ok(Outcome::failed("the registry says no"));
        }
        let run = order.run.id;
        let Some(digest) = self.look(|things| things.images.get(&run).cloned()).await? else {
            return Ok(Outcome::failed("the image is gone from this machine"));
        };
        self.ask(Op::Push(tag_of(run), digest.clone())).await?;
        Ok(Outcome::Succeeded(pushed(run, digest)))
    }

    async fn release_command(&self, order: &Order) -> Result<Outcome, String> {
        for attempt in (1..order.attempt).rev() {
            let key = EffectKey::stage(order.run.id, order.stage, attempt);
            let former = Order { attempt, key, ..order.clone() };
            let name = one_shot(&former, attempt);
            if self.look(|things| things.containers.contains_key(&name)).await? {
                return Ok(released(self.until_ended(&former, &name).await?));
            }
        }
        let name = one_shot(order, order.attempt);
        let exit = match self.verdict(order) {
            Verdict::Green => Some((self.up_to(10_000), 0)),
            Verdict::Red => Some((self.up_to(10_000), 1)),
            Verdict::Hang => None,
        };
        self.ask(Op::Run(name.clone(), Container { exit, ..self.container(order, "released") })).await?;
        Ok(released(self.until_ended(order, &name).await?))
    }

    async fn deploy(&self, order: &Order) -> Result<Outcome, String> {
        if let Origin::Release { release, .. } = &order.run.origin {
            let name = &release.candidate.container;
            let now_ms = self.now_ms();
            let is_named = release.candidate.container_id == *name;
            let answers = |things: &Things| things.containers.get(name).is_some_and(|c| c.answers(now_ms));
            if is_named && self.look(answers).await? {
                return Ok(Outcome::Succeeded(candidate(name)));
            }
        }
        let image = order.run.image.as_ref().ok_or("the run has no image")?;
        if self.script.is_hijacked(&order.run.commit().sha) {
            self.book.count("faults: tag taken by somebody else");
            self.world.at(self.now_ms()).tags.insert(image.tag.clone(), HIJACKED.into());
        }
        let digest = if sabotaged!(TrustTag) {
            self.look(|things| things.tags.get(&image.tag).cloned()).await?.unwrap_or_default()
        } else {
            image.digest.clone()
        };
        let name = candidate_name(order);
        let (ready_ms, exit) = match self.verdict(order) {
            Verdict::Green => (Some(self.up_to(3_000)), None),
            Verdict::Red => (None, Some((self.up_to(3_000), 1))),
            Verdict::Hang => (None, None),
        };
        let there = self.look(|things| things.containers.get(&name).cloned()).await?;
        if there.is_some_and(|container| !container.is_running(self.now_ms())) {
            self.ask(Op::Remove(name.clone())).await?;
        }
        self.ask(Op::Run(name.clone(), Container { ready_ms, exit, ..self.container(order, &digest) }))
            .await?;
        self.until_healthy(order, &name).await
    }

    async fn until_healthy(&self, order: &Order, name: &str) -> Result<Outcome, String> {
        let timeout_ms = order.run.settings.as_ref().map_or(30_000, |settings| settings.deploy.timeout_ms);
        let give_up_ms = self.now_ms() + timeout_ms;
        while self.now_ms() < give_up_ms {
            let now_ms = self.now_ms();
            let found = self.look(|things| things.containers.get(name).cloned()).await?;
            match found.filter(|container| container.key == order.key.as_str()) {
                None => return Err(format!("the candidate {name} is gone")),
                Some(container) if container.answers(now_ms) => {
                    return Ok(Outcome::Succeeded(candidate(name)));
                }
                Some(container) if !container.is_running(now_ms) => {
                    return Ok(Outcome::failed(format!("the candidate {name} ended")));
                }
                Some(_) => self.clock.pass_ms(500).await,
            }
        }
        Ok(Outcome::failed(format!("the candidate {name} was not healthy in time")))
    }

    async fn smoke(&self, order: &Order) -> Result<Outcome, String> {
        self.hang(order).await;
        if self.verdict(order) == Verdict::Red {
            return Ok(Outcome::failed("GET / gave 500, expected 200"));
        }
        let candidate = order.run.candidate.as_ref().ok_or("the run has no candidate")?;
        let now_ms = self.now_ms();
        let name = candidate.container.clone();
        match self.look(|things| things.containers.get(&name).is_some_and(|c| c.answers(now_ms))).await? {
            true => Ok(Outcome::Succeeded(Facts::Smoke(report()))),
            false => Ok(Outcome::failed(format!("{name} does not answer"))),
        }
    }

    async fn go_live(&self, order: &Order) -> Result<Outcome, String> {
        let run = &order.run;
        self.hang(order).await;
        if self.verdict(order) == Verdict::Red {
            return Ok(Outcome::failed("the host belongs to another app already"));
        }
        let entry = run.entry.as_ref().ok_or("the run has no lane")?;
        let image = run.image.as_ref().ok_or("the run has no image")?;
        let candidate = run.candidate.as_ref().ok_or("the run has no candidate")?;
        let target = Some((image.digest.clone(), candidate.container.clone()));
        let route = Route { generation: entry.generation, target, run: Some(run.id) };
        let switch = Op::Switch(run.lane.clone(), route);
        match self.script.late_switch_ms(&run.commit().sha) {
            None => self.ask(switch).await?,
            Some(late_ms) => self.ask_late(switch, late_ms).await,
        }
        let lane = run.lane.clone();
        let found = self.look(|things| things.routes.get(&lane).cloned().unwrap_or_default()).await?;
        if found.generation == entry.generation && found.run == Some(run.id) {
            return Ok(Outcome::Succeeded(switched(entry.generation)));
        }
        Ok(Outcome::failed(format!("generation {} is in force, set by somebody else", found.generation)))
    }

    async fn public_smoke(&self, order: &Order) -> Result<Outcome, String> {
        self.hang(order).await;
        if self.verdict(order) == Verdict::Red {
            return Ok(Outcome::failed("GET / at the public address gave 500"));
        }
        let lane = order.run.lane.clone();
        let serving =
            self.look(|things| things.routes.get(&lane).and_then(|route| route.target.clone())).await?;
        let ours = order.run.image.as_ref().map(|image| image.digest.clone());
        match serving.map(|(digest, _)| digest) == ours {
            true => Ok(Outcome::Succeeded(Facts::PublicSmoke(report()))),
            false => Ok(Outcome::failed("the public address serves another release")),
        }
    }

    async fn roll_back(&self, order: &RollbackOrder) -> Result<RollbackOutcome, String> {
        if sabotaged!(ForwardUndoOrder) {
            self.remove_candidates(order).await?;
            self.traffic_back(order).await?;
        } else {
            self.traffic_back(order).await?;
            self.remove_candidates(order).await?;
        }
        let former = order.run.entry.as_ref().and_then(|entry| entry.replaces.as_ref());
        let former = former.map(|release| release.image.digest.clone());
        let lane = order.run.lane.clone();
        let target =
            self.look(|things| things.routes.get(&lane).and_then(|route| route.target.clone())).await?;
        let serving = target.map(|(digest, _)| digest);
        if serving == former || sabotaged!(RollBackUnproven) {
            return Ok(RollbackOutcome::Succeeded { serving: former, proof: "the proxy was asked".into() });
        }
        Err(format!("expected {former:?} to serve, found {serving:?}"))
    }

    async fn traffic_back(&self, order: &RollbackOrder) -> Result<(), String> {
        if sabotaged!(RollBackUnproven) {
            return Ok(());
        }
        let run = &order.run;
        let entry = run.entry.as_ref().ok_or("the run did not enter its lane")?;
        let lane = run.lane.clone();
        let current = self.look(|things| things.routes.get(&lane).cloned()).await?;
        let target = entry
            .replaces
            .as_ref()
            .map(|former| (former.image.digest.clone(), former.candidate.container.clone()));
        let generation = entry.generation + 1;
        let in_force = current.as_ref().map_or(0, |route| route.generation);
        let is_right = current.map_or(target.is_none(), |route| route.target == target);
        let may_still_switch =
            run.done >= Some(Stage::Smoke) && in_force < generation && !sabotaged!(LetLateSwitchIn);
        if is_right && !may_still_switch {
            return Ok(());
        }
        if in_force > generation {
            return Err(format!("the traffic was switched by somebody else, generation {in_force}"));
        }
        if let Some((digest, name)) = &target {
            let now_ms = self.now_ms();
            if !self.look(|things| things.containers.get(name).is_some_and(|c| c.answers(now_ms))).await? {
                return Err(format!("the former release {digest} does not answer"));
            }
        }
        let by = entry.replaces.as_ref().map_or(run.id, |former| former.run);
        self.ask(Op::Switch(run.lane.clone(), Route { generation, target, run: Some(by) })).await
    }

    async fn remove_candidates(&self, order: &RollbackOrder) -> Result<(), String> {
        let former = order.run.entry.as_ref().and_then(|entry| entry.replaces.as_ref());
        let keep = former.map(|former| former.candidate.container.clone());
        let run = order.run.id;
        let names: Vec<String> = self
            .look(|things| {
                let ours = things.containers.iter().filter(|(_, container)| container.run == run);
                ours.map(|(name, _)| name.clone()).collect()
            })
            .await?;
        for name in names.into_iter().filter(|name| Some(name) != keep.as_ref()) {
            self.ask(Op::Remove(name)).await?;
        }
        Ok(())
    }

    async fn clear_away(&self, order: &Order) -> Result<(), String> {
        let name = match order.stage {
            Stage::Test => one_shot(order, order.attempt),
            Stage::Deploy => candidate_name(order),
            Stage::Build => return self.ask(Op::RemoveImage(order.run.id)).await,
            Stage::Checkout => return self.ask(Op::RemoveFolder(order.run.id)).await,
            // What a release command did stays known; a switch is switched back; the rest leaves nothing.
            Stage::ReleaseCommand | Stage::PushImage | Stage::Smoke | Stage::GoLive | Stage::PublicSmoke => {
                return Ok(());
            }
        };
        let (has, routed) = self
            .look(|things| {
                let routed = things
                    .routes
                    .values()
                    .any(|route| route.target.as_ref().is_some_and(|(_, container)| *container == name));
                let ours = things.containers.get(&name).is_some_and(|c| c.key == order.key.as_str());
                (ours, routed)
            })
            .await?;
        match (has, routed) {
            (true, true) => Err(format!("{name} has the app's traffic, so it is not removed")),
            (true, false) => self.ask(Op::Remove(name)).await,
            (false, _) => Ok(()),
        }
    }
}

#[async_trait]
impl StageExecutor for SimStages {
    async fn execute(&self, order: &Order, output: &Output) -> Outcome {
        let run = &order.run;
        self.begins_stage(order);
        if order.attempt > 1 {
            let former = EffectKey::stage(run.id, order.stage, order.attempt - 1);
            let mut things = self.world.at(self.now_ms());
            if !things.undone.contains(former.as_str()) {
                things.violation("I6", format!("{} begins, and {former} was not undone", order.key));
            }
        }
        output.line(order.key.as_str());
        self.die_of(run, Poison::Stage(order.stage)).await;
        if self.script.is_silent(&run.commit().sha, order.stage, order.attempt) {
            self.fate.pass("inside an effect").await;
            return self.answered(order, Outcome::errored("the daemon did not answer"));
        }
        let done = match order.stage {
            Stage::Checkout => self.checkout(order).await,
            Stage::Test => self.test(order).await,
            Stage::Build => self.build(order).await,
            Stage::PushImage => self.push_image(order).await,
            Stage::ReleaseCommand => self.release_command(order).await,
            Stage::Deploy => self.deploy(order).await,
            Stage::Smoke => self.smoke(order).await,
            Stage::GoLive => self.go_live(order).await,
            Stage::PublicSmoke => self.public_smoke(order).await,
        };
        self.answered(order, done.unwrap_or_else(Outcome::errored))
    }

    async fn probe(&self, order: &Order) -> Result<Probe, String> {
        self.fate.pass("before a probe").await;
        self.begins_stage(order);
        let (run, now_ms) = (&order.run, self.now_ms());
        let green = self.verdict(order) == Verdict::Green;
        let name = match order.stage {
            Stage::Deploy => candidate_name(order),
            _ => one_shot(order, order.attempt),
        };
        let key = order.key.as_str();
        self.look(|things| {
            let ours = things.containers.get(&name).filter(|container| container.key == key);
            match order.stage {
                Stage::Checkout if green && things.folders.contains(&run.id) => {
                    Probe::Done(Outcome::Succeeded(self.checked_out(run)))
                }
                Stage::Test => match ours {
                    None => Probe::NotStarted,
                    Some(container) => match container.exit {
                        Some((at_ms, code)) if at_ms <= now_ms => Probe::Done(tested(code)),
                        _ => Probe::Running,
                    },
                },
                Stage::Build => match things.images.get(&run.id) {
                    Some(digest) => Probe::Done(Outcome::Succeeded(built(digest.clone()))),
                    None => Probe::NotStarted,
                },
                Stage::PushImage => {
                    let ours = things.images.get(&run.id);
                    match things.tags.get(&tag_of(run.id)).filter(|digest| Some(*digest) == ours) {
                        Some(digest) => Probe::Done(Outcome::Succeeded(pushed(run.id, digest.clone()))),
                        None => Probe::NotStarted,
                    }
                }
                Stage::ReleaseCommand => match ours {
                    None => Probe::Unknown(format!("the container {name} is gone")),
                    Some(container) => match container.exit {
                        Some((at_ms, code)) if at_ms <= now_ms => Probe::Done(released(code)),
                        _ => Probe::Running,
                    },
                },
                Stage::Deploy => match ours {
                    None => Probe::NotStarted,
                    Some(container) if container.answers(now_ms) => {
                        Probe::Done(Outcome::Succeeded(candidate(&name)))
                    }
                    Some(container) if !container.is_running(now_ms) => {
                        Probe::Done(Outcome::failed(format!("the candidate {name} ended")))
                    }
                    Some(_) => Probe::Running,
                },
                Stage::GoLive => {
                    let promised = run.entry.as_ref().map_or(0, |entry| entry.generation);
                    let route = things.routes.get(&run.lane).cloned().unwrap_or_default();
                    if route.generation == promised && route.run == Some(run.id) {
                        Probe::Done(Outcome::Succeeded(switched(promised)))
                    } else if route.generation < promised {
                        Probe::NotStarted
                    } else {
                        Probe::Unknown(format!("generation {} is in force", route.generation))
                    }
                }
                Stage::Checkout | Stage::Smoke | Stage::PublicSmoke => Probe::NotStarted,
            }
        })
        .await
    }

    async fn attach(&self, order: &Order, _: &Output) -> Outcome {
        self.fate.pass("before attaching").await;
        self.begins_stage(order);
        let done = match order.stage {
            Stage::Test => self.follow_test(order, &one_shot(order, order.attempt)).await,
            Stage::ReleaseCommand => {
                self.until_ended(order, &one_shot(order, order.attempt)).await.map(released)
            }
            Stage::Deploy => self.until_healthy(order, &candidate_name(order)).await,
            _ => Err(format!("{} can't be followed", order.stage)),
        };
        self.answered(order, done.unwrap_or_else(Outcome::errored))
    }

    async fn undo(&self, order: &Order) -> Result<(), String> {
        self.fate.pass("before undoing").await;
        self.clear_away(order).await?;
        self.world.at(self.now_ms()).undone.insert(order.key.as_str().to_owned());
        Ok(())
    }

    async fn rollback(&self, order: &RollbackOrder, _: &Output) -> RollbackOutcome {
        let former = order.run.entry.as_ref().and_then(|entry| entry.replaces.as_ref());
        let inputs = format!("rollback to {:?}", former.map(|former| &former.image.digest));
        self.begins(&order.key, inputs, order.deadline_ms);
        self.die_of(&order.run, Poison::Rollback).await;
        if self.script.is_silent_rollback(&order.run.commit().sha, order.attempt) {
            self.fate.pass("inside an effect").await;
            return RollbackOutcome::Errored { reason: "the daemon did not answer".into() };
        }
        match self.roll_back(order).await {
            Ok(outcome) => outcome,
            Err(reason) => RollbackOutcome::Errored { reason },
        }
    }

    async fn notify(&self, order: &NoticeOrder) -> Result<String, NotSent> {
        self.begins(&order.key, order.notice.to_string(), 0);
        self.die_of(&order.run, Poison::Notice).await;
        self.ask(Op::Notify(order.key.as_str().to_owned())).await.map_err(NotSent::errored)?;
        Ok("200".into())
    }

    async fn sweep(&self, keep: &Keep) -> Result<Vec<String>, String> {
        self.fate.pass("before a sweep").await;
        let before_ms = keep.as_of_ms.saturating_sub(TOO_YOUNG_MS);
        let is_over = |run: RunId| !keep.runs.contains(&run) && began_ms(run) < before_ms;
        let (containers, folders, images) = self
            .look(|things| {
                let routed: Vec<&String> = things
                    .routes
                    .values()
                    .filter_map(|route| route.target.as_ref().map(|(_, container)| container))
                    .collect();
                let orphans = things.containers.iter().filter(|(name, container)| {
                    is_over(container.run) && !keep.containers.contains(*name) && !routed.contains(name)
                });
                let images = things.images.iter().filter(|(run, digest)| {
                    is_over(**run) && !keep.images.contains(&format!("registry/app@{digest}"))
                });
                (
                    orphans.map(|(name, _)| name.clone()).collect::<Vec<_>>(),
                    things.folders.iter().copied().filter(|run| is_over(*run)).collect::<Vec<_>>(),
                    images.map(|(run, _)| *run).collect::<Vec<_>>(),
                )
            })
            .await?;
        let ops = containers.into_iter().map(Op::Remove);
        let ops = ops.chain(folders.into_iter().map(Op::RemoveFolder));
        let ops: Vec<Op> = ops.chain(images.into_iter().map(Op::RemoveImage)).collect();
        let mut removed = Vec::new();
        for op in ops {
            removed.push(format!("{op:?}"));
            self.ask(op).await?;
        }
        Ok(removed)
    }
}

/// Returns when a run was triggered, as its id says.
fn began_ms(run: RunId) -> u64 {
    u64::try_from(run.0.as_u128() >> 80).unwrap()
}

fn one_shot(order: &Order, attempt: u32) -> String {
    format!("{}-{}-{attempt}", order.stage, order.run.id.short())
}

fn candidate_name(order: &Order) -> String {
    format!("app-{}-{}", order.run.id.short(), order.attempt)
}

fn tag_of(run: RunId) -> String {
    format!("run-{}", run.short())
}

/// Builds are not reproducible: each run's image has a digest of its own.
fn digest_of(run: &Run) -> String {
    format!("sha256:{}-{}", &run.commit().sha[..6], run.id.short())
}

fn tested(code: i64) -> Outcome {
    let counts = Some(TestCounts { passed: 3, failed: u32::from(code != 0), skipped: 0 });
    let report = TestReport { exit_code: code, counts, first_failures: Vec::new() };
    match code {
        0 => Outcome::Succeeded(Facts::Test(report)),
        _ => Outcome::Failed(Failure { tests: Some(report), ..Failure::new("1 of 4 tests failed") }),
    }
}

fn built(digest: String) -> Facts {
    Facts::Build(BuiltImage { image_id: digest, reference: "app:run".into(), generated_dockerfile: false })
}

fn pushed(run: RunId, digest: String) -> Facts {
    Facts::PushImage(PushedImage { repository: "registry/app".into(), tag: tag_of(run), digest })
}

fn released(code: i64) -> Outcome {
    match code {
        0 => Outcome::Succeeded(Facts::ReleaseCommand),
        _ => Outcome::failed("the release command ended with exit code 1"),
    }
}

fn candidate(name: &str) -> Facts {
    Facts::Deploy(Candidate {
        container: name.to_owned(),
        container_id: name.to_owned(),
        address: "127.0.0.1:20000".parse().unwrap(),
        healthy_after_ms: 1,
    })
}

fn switched(generation: u64) -> Facts {
    Facts::GoLive(Switched { generation, address: "http://127.0.0.1:8080".into() })
}

fn report() -> SmokeReport {
    let check = SmokePassed { check: "GET / = 200".into(), took_ms: 1 };
    SmokeReport { address: "http://127.0.0.1:20000".into(), checks: vec![check] }
}

/// Output that goes nowhere: it is no event, and losing it is allowed.
#[derive(Debug)]
pub struct NoOutput;

impl OutputLog for NoOutput {
    fn open(&self, _: RunId, _: &str, _: u32) -> Result<Box<dyn OutputWriter>, BoxError> {
        Ok(Box::new(Self))
    }
}

impl OutputWriter for NoOutput {
    fn line(&mut self, _: &str) -> Result<(), BoxError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        Ok(OutputRef { len: 0, sha256: String::new() })
    }
}
