//! The values that the searched runs are made of, small enough to be told apart by a number.

use landfall_engine::core::command::{Outcome, Push};
use landfall_engine::core::event::Commit;
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, PushedImage, SmokeReport, Switched, TestReport,
};
use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;
use landfall_engine::core::settings::{
    DeploySettings, NotifySettings, ReleaseSettings, RollbackSettings, Settings,
};
use landfall_engine::core::stage::Stage;
use uuid::Uuid;

use crate::world::{Container, Order};

/// The moment at which everything is decided: the search lets each wait end whenever it likes.
pub const NOW_MS: u64 = 1_000_000;

/// How long a deploy may wait to be approved.
const APPROVAL_MS: u64 = 60_000;

/// What the searched app has configured.
#[derive(Clone, Copy, Debug, Default)]
pub struct App {
    /// Who is told.
    pub notices: bool,
    /// A release command.
    pub release_command: bool,
    /// A red deploy waits for a person.
    pub manual_rollback: bool,
    /// A deploy waits for a person who approves it.
    pub approval: bool,
}

impl App {
    /// Returns the settings at the commit.
    pub fn settings(self) -> Settings {
        let notify =
            NotifySettings { developer: vec!["webhook:DEV".into()], ops: vec!["webhook:OPS".into()] };
        Settings {
            service: "shop".into(),
            notify: if self.notices { notify } else { NotifySettings::default() },
            release: self
                .release_command
                .then(|| ReleaseSettings { command: "flask db upgrade".into(), timeout_ms: 60_000 }),
            rollback: RollbackSettings { automatic: !self.manual_rollback, ..RollbackSettings::default() },
            deploy: DeploySettings {
                approval_ms: self.approval.then_some(APPROVAL_MS),
                ..DeploySettings::default()
            },
            ..Settings::default()
        }
    }
}

pub fn lane() -> LaneId {
    LaneId::production("shop")
}

pub fn run_id(number: u8) -> RunId {
    RunId(Uuid::from_u128(u128::from(number) + 1))
}

pub fn push(commit: u8) -> Push {
    Push {
        lane: lane(),
        commit: Commit { sha: commit.to_string(), branch: Some("main".into()), ..Commit::default() },
        repository: "/srv/git/shop.git".into(),
        trigger: "git push".into(),
        release_hold: false,
    }
}

/// Returns what the stage finds out when it ends green.
pub fn facts(app: App, order: &Order, stage: Stage, container: Container) -> Facts {
    let report = SmokeReport::default();
    match stage {
        Stage::Checkout => Facts::Checkout(Checkout {
            tree: "7ree".into(),
            settings: Box::new(app.settings()),
            configured_by: "defaults".into(),
            guesses: vec![],
        }),
        Stage::Test => Facts::Test(TestReport::default()),
        Stage::Build => Facts::Build(BuiltImage {
            image_id: order.commit.to_string(),
            reference: "shop:run".into(),
            generated_dockerfile: false,
        }),
        Stage::PushImage => Facts::PushImage(PushedImage {
            repository: "registry/shop".into(),
            tag: order.run.to_string(),
            digest: order.commit.to_string(),
        }),
        Stage::ReleaseCommand => Facts::ReleaseCommand,
        Stage::Deploy => Facts::Deploy(Candidate {
            container: format!("{}-{}", container.run, container.attempt),
            container_id: "c".into(),
            address: ([127, 0, 0, 1], 20_000).into(),
            healthy_after_ms: 1,
        }),
        Stage::Smoke => Facts::Smoke(report),
        Stage::GoLive => {
            Facts::GoLive(Switched { generation: order.generation, address: "http://shop".into() })
        }
        Stage::PublicSmoke => Facts::PublicSmoke(report),
    }
}

/// How an effect ended, for the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ending {
    /// Green; a deploy names its container.
    Green(Container),
    /// An answer: no.
    Red,
    /// No answer.
    Silent,
}

pub fn outcome(app: App, order: &Order, stage: Stage, ending: Ending) -> Outcome {
    match ending {
        Ending::Green(container) => Outcome::Succeeded(facts(app, order, stage, container)),
        Ending::Red => Outcome::failed("red"),
        Ending::Silent => Outcome::errored("no answer"),
    }
}
