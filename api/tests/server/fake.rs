//! Stages that only pretend, and that a test can hold, fail or leave without an answer.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use landfall_engine::core::command::{NotSent, Outcome, RollbackOutcome};
use landfall_engine::core::facts::{
    BuiltImage, Candidate, Checkout, Facts, Failure, PushedImage, SmokeReport, Switched, TestReport,
};
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Keep, NoticeOrder, Order, Output, Probe, RollbackOrder, StageExecutor};
use landfall_stages::config::{CONFIG_FILE, read_at_commit};
use landfall_stages::git;
use tokio::sync::Semaphore;

/// An executor that touches nothing but the repository, whose configuration it reads.
#[derive(Debug, Default)]
pub struct FakeStages {
    gates: Mutex<HashMap<Stage, Arc<Semaphore>>>,
    outcomes: Mutex<HashMap<Stage, Outcome>>,
    lines: Mutex<HashMap<Stage, String>>,
}

impl FakeStages {
    /// Keeps the stage from ending until it is released.
    pub fn hold(&self, stage: Stage) {
        self.gates.lock().unwrap().insert(stage, Arc::new(Semaphore::new(0)));
    }

    /// Lets a held stage end, now and from now on.
    pub fn release(&self, stage: Stage) {
        if let Some(gate) = self.gates.lock().unwrap().remove(&stage) {
            gate.add_permits(1_000);
        }
    }

    /// Ends the stage like this from now on.
    pub fn end(&self, stage: Stage, outcome: Outcome) {
        self.outcomes.lock().unwrap().insert(stage, outcome);
    }

    /// Prints a line during the stage from now on.
    pub fn print(&self, stage: Stage, line: &str) {
        self.lines.lock().unwrap().insert(stage, line.to_owned());
    }

    /// Ends the stage green from now on.
    pub fn mend(&self, stage: Stage) {
        self.outcomes.lock().unwrap().remove(&stage);
    }

    async fn do_stage(&self, order: &Order, output: &Output) -> Outcome {
        output.line(&format!("{} begins", order.stage));
        let line = self.lines.lock().unwrap().get(&order.stage).cloned();
        if let Some(line) = line {
            output.line(&line);
        }
        let gate = self.gates.lock().unwrap().get(&order.stage).cloned();
        if let Some(gate) = gate {
            let _ = gate.acquire().await;
        }
        output.line(&format!("{} ends", order.stage));
        let told = self.outcomes.lock().unwrap().get(&order.stage).cloned();
        match told {
            Some(outcome) => outcome,
            None if order.stage == Stage::Checkout => checkout(&order.run).await,
            None => Outcome::Succeeded(facts(order)),
        }
    }
}

async fn checkout(run: &Run) -> Outcome {
    let Some((commit, repository)) = run.origin.source() else { return Outcome::failed("no commit") };
    let repository = repository.strip_prefix("file://").unwrap_or(repository);
    let file = match git::show_file(Path::new(repository), &commit.sha, CONFIG_FILE).await {
        Ok(file) => file,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    match read_at_commit(|name| file.clone().filter(|_| name == CONFIG_FILE), &run.lane.app) {
        Ok((settings, configured_by)) => Outcome::Succeeded(Facts::Checkout(Checkout {
            tree: "7ree".into(),
            settings: Box::new(settings.for_environment(&run.lane.env)),
            configured_by,
            guesses: vec![],
        })),
        Err(reason) => Outcome::Failed(Failure::new(reason)),
    }
}

fn facts(order: &Order) -> Facts {
    let short = order.run.id.short();
    let report = |address: &str| SmokeReport { address: address.into(), checks: Vec::new() };
    match order.stage {
        Stage::Checkout | Stage::Test => Facts::Test(TestReport::default()),
        Stage::Build => Facts::Build(BuiltImage {
            image_id: format!("sha256:{short}"),
            reference: format!("127.0.0.1:5000/shop:run-{short}"),
            generated_dockerfile: false,
        }),
        Stage::PushImage => Facts::PushImage(PushedImage {
            repository: "127.0.0.1:5000/shop".into(),
            tag: format!("run-{short}"),
            digest: format!("sha256:{short}"),
        }),
        Stage::ReleaseCommand => Facts::ReleaseCommand,
        Stage::Deploy => Facts::Deploy(Candidate {
            container: format!("landfall-shop-{short}"),
            container_id: short,
            address: ([127, 0, 0, 1], 20_001).into(),
            healthy_after_ms: 1,
        }),
        Stage::Smoke => Facts::Smoke(report("http://127.0.0.1:20001")),
        Stage::GoLive => Facts::GoLive(Switched { generation: 1, address: "http://127.0.0.1:8080".into() }),
        Stage::PublicSmoke => Facts::PublicSmoke(report("http://127.0.0.1:8080")),
    }
}

#[async_trait]
impl StageExecutor for FakeStages {
    async fn execute(&self, order: &Order, output: &Output) -> Outcome {
        self.do_stage(order, output).await
    }

    async fn probe(&self, _: &Order) -> Result<Probe, String> {
        Ok(Probe::NotStarted)
    }

    async fn attach(&self, order: &Order, output: &Output) -> Outcome {
        self.do_stage(order, output).await
    }

    async fn undo(&self, _: &Order) -> Result<(), String> {
        Ok(())
    }

    async fn rollback(&self, order: &RollbackOrder, _: &Output) -> RollbackOutcome {
        let before = order.run.entry.as_ref().and_then(|entry| entry.replaces.as_ref());
        let serving = before.map(|release| release.image.digest.clone());
        RollbackOutcome::Succeeded { serving, proof: "pretended".into() }
    }

    async fn notify(&self, _: &NoticeOrder) -> Result<String, NotSent> {
        Ok("200".into())
    }

    async fn sweep(&self, _: &Keep) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}
