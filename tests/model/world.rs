//! The world that the stages work on: folders, containers, images, a registry and the proxy's route.
//!
//! It keeps the contract of the real stages, request by request: a container's name is taken once, a switch is a
//! compare-and-set on the generation, a rollback looks, switches, removes and proves. Between two requests of an
//! effect anything may happen. An image is made of its commit alone: two builds of one commit are one image.

use landfall_engine::core::effect::Effect;
use landfall_engine::core::event::Origin;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;

use crate::facts::Ending;
use crate::sabotage::Sabotage;

/// A container of a release, by the attempt that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Container {
    pub run: u8,
    pub attempt: u8,
}

/// What the proxy has in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    pub generation: u64,
    /// The commit whose image is served and the container that serves it. None: nothing is served.
    pub serves: Option<(u8, Container)>,
}

/// What an effect is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    Stage(Stage, u32),
    Rollback(u32),
    Notice,
    #[default]
    Nothing,
}

/// All that an effect is done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Order {
    pub run: u8,
    pub what: What,
    pub commit: u8,
    pub generation: u64,
    pub replaces: Option<(u8, Container)>,
    pub candidate: Option<Container>,
    /// The container of the release that is to be live again.
    pub warm: Option<Container>,
    /// A switch may have been asked for.
    pub may_have_switched: bool,
}

impl Order {
    pub fn of(number: u8, run: &Run, owed: Option<&Effect>) -> Self {
        let what = match owed {
            Some(Effect::RunStage { stage, attempt, .. } | Effect::Undo { stage, attempt }) => {
                What::Stage(*stage, *attempt)
            }
            Some(Effect::Rollback { attempt, .. }) => What::Rollback(*attempt),
            Some(Effect::Notify { .. }) => What::Notice,
            _ => return Self::default(),
        };
        let warm = match &run.origin {
            Origin::Release { release, .. } => Some(container_named(&release.candidate.container)),
            Origin::Push { .. } | Origin::Promotion { .. } | Origin::Rerun(_) => None,
        };
        let replaces = run.entry.as_ref().and_then(|entry| entry.replaces.as_ref());
        Self {
            run: number,
            what,
            commit: run
                .image
                .as_ref()
                .map_or_else(|| number_in(&run.commit().sha), |image| number_in(&image.digest)),
            generation: run.entry.as_ref().map_or(0, |entry| entry.generation),
            replaces: replaces.map(|release| {
                (number_in(&release.image.digest), container_named(&release.candidate.container))
            }),
            candidate: run.candidate.as_ref().map(|candidate| container_named(&candidate.container)),
            warm,
            may_have_switched: run.done >= Some(Stage::Smoke),
        }
    }

    /// Returns the container that the attempt makes.
    pub fn own(&self) -> Container {
        let attempt = match self.what {
            What::Stage(_, attempt) => attempt,
            _ => 1,
        };
        Container { run: self.run, attempt: u8::try_from(attempt).unwrap() }
    }
}

pub fn number_in(text: &str) -> u8 {
    text.parse().unwrap()
}

pub fn container_named(name: &str) -> Container {
    let (run, attempt) = name.split_once('-').unwrap();
    Container { run: number_in(run), attempt: number_in(attempt) }
}

/// What is asked of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Probe,
    /// Clears away the former attempt, then executes.
    UndoFormer,
    Execute,
    /// Follows what a probe found running.
    Attach,
    /// Removes what an attempt that is out of time left.
    UndoTimedOut,
    /// Removes what a cancelled attempt left.
    UndoCancelled,
    Rollback,
    Notify,
}

/// An effect on its way: the next of its requests is sent, and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight {
    pub order: Order,
    pub kind: Kind,
    pub step: u8,
    /// The route that a rollback is about to set.
    pub plan: Option<Route>,
    /// It is done again after a probe, so its deadline may have passed before it began.
    pub probed: bool,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// The effect goes on with this.
    Next(Flight),
    /// The effect ended.
    Ended(Ending),
    /// A probe found this: whether it runs, and how it ended if it did.
    Found(Found),
    /// A rollback saw this serve.
    Proved(Option<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Found {
    NotStarted,
    Running,
    Done(Ending),
    Unknown,
}

/// What the app, or the moment, says where both are possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Says {
    Green,
    Red,
    /// A candidate that is not healthy yet.
    NotYet,
}

/// Everything outside the engines and their log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct World {
    pub route: Route,
    /// Containers of releases.
    pub containers: Vec<Container>,
    /// Containers of tests and release commands: who, whether they ended, and how.
    pub one_shots: Vec<(Stage, Container, Option<bool>)>,
    /// Runs with a folder, an image, a tag in the registry: a bit each.
    pub folders: u8,
    pub images: u8,
    pub tags: u8,
}

impl World {
    /// Tells whether the app's answer decides what comes of this request.
    pub fn asks_the_app(&self, flight: &Flight) -> &'static [Says] {
        use Says::{Green, NotYet, Red};
        let What::Stage(stage, _) = flight.order.what else { return &[Green] };
        match (flight.kind, stage, flight.step) {
            (Kind::Probe, Stage::Deploy, _) => &[Green, NotYet],
            (Kind::Execute, Stage::Deploy | Stage::ReleaseCommand, 0) => &[Green],
            (Kind::Execute, Stage::PushImage | Stage::GoLive, _) => &[Green],
            (Kind::Execute | Kind::Attach, _, _) => &[Green, Red],
            _ => &[Green],
        }
    }

    /// Tells whether a request that nobody waits for any more can still change something.
    pub fn can_change(&self, flight: &Flight, sabotage: Option<Sabotage>) -> bool {
        let mut after = self.clone();
        after.land(flight, Says::Green, sabotage);
        if let What::Stage(Stage::GoLive, _) = flight.order.what
            && flight.kind == Kind::Execute
        {
            // The generation never falls.
            return after.route != self.route;
        }
        match flight.kind {
            Kind::Probe | Kind::Notify | Kind::Attach => false,
            Kind::Rollback if flight.step == 1 => after.route != self.route,
            Kind::Rollback => flight.step == 2,
            Kind::Execute => {
                !matches!(flight.order.what, What::Stage(Stage::Smoke | Stage::PublicSmoke, _))
                    && after != *self
            }
            Kind::UndoFormer | Kind::UndoTimedOut | Kind::UndoCancelled => after != *self,
        }
    }

    /// Does one request.
    pub fn land(&mut self, flight: &Flight, says: Says, sabotage: Option<Sabotage>) -> Landed {
        match (flight.kind, flight.order.what) {
            (Kind::Probe, What::Stage(stage, _)) => Landed::Found(self.probe(&flight.order, stage, says)),
            (Kind::UndoFormer, What::Stage(stage, attempt)) => {
                let former = Order { what: What::Stage(stage, attempt - 1), ..flight.order };
                match self.undo(&former) {
                    Ending::Green(_) => Landed::Next(Flight { kind: Kind::Execute, ..*flight }),
                    ending => Landed::Ended(ending),
                }
            }
            (Kind::UndoTimedOut | Kind::UndoCancelled, _) => Landed::Ended(self.undo(&flight.order)),
            (Kind::Execute | Kind::Attach, What::Stage(stage, _)) => {
                self.execute(flight, stage, says, sabotage)
            }
            (Kind::Rollback, _) => self.roll_back(flight, sabotage),
            _ => Landed::Ended(Ending::Green(Container::default())),
        }
    }

    fn probe(&self, order: &Order, stage: Stage, says: Says) -> Found {
        let bit = 1 << order.run;
        let green = Found::Done(Ending::Green(order.own()));
        let there = |is_there: bool| if is_there { green } else { Found::NotStarted };
        match stage {
            Stage::Checkout => there(self.folders & bit != 0),
            Stage::Build => there(self.images & bit != 0),
            Stage::PushImage => there(self.tags & bit != 0),
            Stage::Test | Stage::ReleaseCommand => match self.one_shot(stage, order.own()) {
                Some(None) => Found::Running,
                Some(Some(true)) => green,
                Some(Some(false)) => Found::Done(Ending::Red),
                None if stage == Stage::ReleaseCommand => Found::Unknown,
                None => Found::NotStarted,
            },
            Stage::Deploy if !self.containers.contains(&order.own()) => Found::NotStarted,
            Stage::Deploy if says == Says::NotYet => Found::Running,
            Stage::Deploy => green,
            Stage::GoLive if self.route == switched(order) => green,
            Stage::GoLive => {
                if self.route.generation < order.generation {
                    Found::NotStarted
                } else {
                    Found::Unknown
                }
            }
            Stage::Smoke | Stage::PublicSmoke => Found::NotStarted,
        }
    }

    fn one_shot(&self, stage: Stage, container: Container) -> Option<Option<bool>> {
        let found = self.one_shots.iter().find(|(of, named, _)| (*of, *named) == (stage, container));
        found.map(|(_, _, ended)| *ended)
    }

    fn put(&mut self, stage: Stage, container: Container, ended: Option<bool>) {
        self.one_shots.retain(|(of, named, _)| (*of, *named) != (stage, container));
        self.one_shots.push((stage, container, ended));
        self.one_shots.sort_unstable();
    }

    fn execute(&mut self, flight: &Flight, stage: Stage, says: Says, sabotage: Option<Sabotage>) -> Landed {
        let order = &flight.order;
        let bit = 1 << order.run;
        let green = Landed::Ended(Ending::Green(order.own()));
        let said = if says == Says::Red { Landed::Ended(Ending::Red) } else { green };
        let next = Landed::Next(Flight { kind: Kind::Attach, ..*flight });
        match stage {
            Stage::Checkout => {
                self.folders |= bit;
                said
            }
            Stage::Build => {
                if says == Says::Green {
                    self.images |= bit;
                }
                said
            }
            Stage::PushImage if (self.images | self.tags) & bit == 0 => Landed::Ended(Ending::Red),
            Stage::PushImage => {
                self.tags |= bit;
                green
            }
            // The one attempt that ran decides: a command is not run twice.
            Stage::ReleaseCommand if flight.kind == Kind::Execute => {
                let ran = |ended: &(Stage, Container, _)| ended.0 == stage && ended.1.run == order.run;
                let ran: Option<(Stage, Container, Option<bool>)> = self.one_shots.iter().copied().find(ran);
                match ran {
                    Some((_, _, Some(true))) => green,
                    Some((_, _, Some(false))) => Landed::Ended(Ending::Red),
                    Some((_, _, None)) => next,
                    None => {
                        self.put(stage, order.own(), None);
                        next
                    }
                }
            }
            Stage::ReleaseCommand => {
                let running = self
                    .one_shots
                    .iter()
                    .copied()
                    .find(|(of, container, _)| *of == stage && container.run == order.run);
                match running {
                    Some((_, container, None)) => self.put(stage, container, Some(says == Says::Green)),
                    Some((_, _, Some(true))) => return green,
                    _ => return Landed::Ended(Ending::Red),
                }
                said
            }
            // A test that ended is read, not run again.
            Stage::Test => match self.one_shot(stage, order.own()) {
                Some(Some(true)) => green,
                Some(Some(false)) => Landed::Ended(Ending::Red),
                _ => {
                    self.put(stage, order.own(), Some(says == Says::Green));
                    said
                }
            },
            // The name is taken once: whoever comes second adopts what the first one made.
            Stage::Deploy if flight.kind == Kind::Execute => {
                if order.warm.is_none_or(|warm| !self.containers.contains(&warm)) {
                    self.start(order.own());
                }
                next
            }
            Stage::Deploy => {
                let mut serving = [order.warm, Some(order.own())].into_iter().flatten();
                match serving.find(|container| self.containers.contains(container)) {
                    None => Landed::Ended(Ending::Red),
                    Some(_) if says == Says::Red => Landed::Ended(Ending::Red),
                    Some(container) => Landed::Ended(Ending::Green(container)),
                }
            }
            Stage::Smoke => match order.candidate {
                Some(candidate) if self.containers.contains(&candidate) => said,
                _ => Landed::Ended(Ending::Red),
            },
            Stage::GoLive => match self.switch(switched(order), sabotage) {
                true => green,
                false => Landed::Ended(Ending::Red),
            },
            Stage::PublicSmoke => match self.route.serves {
                Some((commit, container))
                    if commit == order.commit && self.containers.contains(&container) =>
                {
                    said
                }
                _ => Landed::Ended(Ending::Red),
            },
        }
    }

    fn start(&mut self, container: Container) {
        if !self.containers.contains(&container) {
            self.containers.push(container);
            self.containers.sort_unstable();
        }
    }

    fn switch(&mut self, to: Route, sabotage: Option<Sabotage>) -> bool {
        let wins = to.generation > self.route.generation || sabotage == Some(Sabotage::SwitchWithoutCompare);
        if wins {
            self.route = to;
        }
        wins || self.route == to
    }

    fn undo(&mut self, order: &Order) -> Ending {
        let What::Stage(stage, _) = order.what else { return Ending::Green(Container::default()) };
        let bit = !(1 << order.run);
        match stage {
            Stage::Checkout => self.folders &= bit,
            Stage::Build => self.images &= bit,
            Stage::Test => {
                self.one_shots.retain(|(of, container, _)| (*of, *container) != (stage, order.own()))
            }
            Stage::Deploy if self.route.serves.is_some_and(|(_, container)| container == order.own()) => {
                return Ending::Silent;
            }
            Stage::Deploy => self.containers.retain(|container| *container != order.own()),
            Stage::PushImage | Stage::ReleaseCommand | Stage::Smoke | Stage::GoLive | Stage::PublicSmoke => {}
        }
        Ending::Green(Container::default())
    }

    /// Looks, switches, removes, proves: a request each.
    fn roll_back(&mut self, flight: &Flight, sabotage: Option<Sabotage>) -> Landed {
        let order = &flight.order;
        let former = order.replaces;
        let at = |step: u8, plan: Option<Route>| Landed::Next(Flight { step, plan, ..*flight });
        let forward = sabotage == Some(Sabotage::ForwardUndo);
        match flight.step {
            0 if forward && flight.plan.is_none() && !flight.probed => {
                self.remove_candidates(order);
                Landed::Next(Flight { probed: true, ..*flight })
            }
            0 => {
                let back = Route { generation: order.generation + 1, serves: former };
                let in_force = self.route.generation;
                let may_still_switch = order.may_have_switched
                    && in_force < back.generation
                    && sabotage != Some(Sabotage::LateSwitchIsNotShutOut);
                if self.route.serves == former && !may_still_switch {
                    return at(2, None);
                }
                if in_force > back.generation {
                    return Landed::Ended(Ending::Silent);
                }
                if former.is_some_and(|(_, container)| !self.containers.contains(&container)) {
                    return Landed::Ended(Ending::Silent);
                }
                at(1, Some(back))
            }
            1 => match flight.plan.is_none_or(|plan| self.switch(plan, sabotage)) {
                true => at(2, None),
                false => Landed::Ended(Ending::Silent),
            },
            2 => {
                self.remove_candidates(order);
                at(3, None)
            }
            _ => {
                let serves = self.route.serves;
                let is_up = serves.is_none_or(|(_, container)| self.containers.contains(&container));
                match serves == former && is_up {
                    true => Landed::Proved(former.map(|(commit, _)| commit)),
                    false => Landed::Ended(Ending::Silent),
                }
            }
        }
    }

    fn remove_candidates(&mut self, order: &Order) {
        let former = order.replaces.map(|(_, container)| container);
        self.containers.retain(|container| container.run != order.run || Some(*container) == former);
    }
}

fn switched(order: &Order) -> Route {
    Route { generation: order.generation, serves: order.candidate.map(|container| (order.commit, container)) }
}
