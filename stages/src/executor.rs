//! The executor for Flask apps: one `match` over the stages, and what is the same around each of them.
//!
//! **Invariant:** nothing that a stage prints or says leaves here unmasked.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use landfall_engine::core::command::NotSent;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::command::RollbackOutcome;
use landfall_engine::core::event::OutputRef;
use landfall_engine::core::facts::Failure;
use landfall_engine::core::facts::TestFailure;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::BoxError;
use landfall_engine::ports::Keep;
use landfall_engine::ports::NoticeOrder;
use landfall_engine::ports::Order;
use landfall_engine::ports::Output;
use landfall_engine::ports::OutputWriter;
use landfall_engine::ports::Probe;
use landfall_engine::ports::RollbackOrder;
use landfall_engine::ports::StageExecutor;

use crate::build;
use crate::checkout;
use crate::container;
use crate::context::Context;
use crate::deploy;
use crate::docker::DockerError;
use crate::docker::DockerHandle;
use crate::evidence;
use crate::forge::Forges;
use crate::git::RepositoryKeys;
use crate::go_live;
use crate::notify;
use crate::notify::Notifier;
use crate::proxy::ProxyClient;
use crate::public_smoke;
use crate::push_image;
use crate::release_command;
use crate::rollback;
use crate::secrets::MaskedWriter;
use crate::secrets::Masker;
use crate::secrets::Secrets;
use crate::smoke;
use crate::sweep;
use crate::test;
use crate::vitals::Vitals;

/// What the executor works with.
#[derive(Debug)]
pub struct FlaskStagesConfig {
    /// The data folder; work folders are made below it.
    pub data: PathBuf,
    /// The values behind the names in the settings.
    pub secrets: Secrets,
    /// The admin socket of the traffic proxy.
    pub proxy_socket: PathBuf,
    /// The Docker engine. None: the one that `DOCKER_HOST` names, or this machine's.
    pub docker: Option<DockerHandle>,
}

/// Why there is no executor. Nobody was asked anything yet: what is not running is found when it is needed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The Docker engine can't be meant. **Fix `DOCKER_HOST`.**
    #[error("the Docker engine can't be used")]
    Docker(#[from] DockerError),
    /// The machine's certificates could not be read. **Install `ca-certificates`.**
    #[error("no HTTPS client could be made")]
    Http(#[source] reqwest::Error),
}

/// Does what a Flask app needs from its push to its being live.
#[derive(Clone, Debug)]
pub struct FlaskStages {
    context: Context,
}

impl FlaskStages {
    /// Returns an executor; nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when the Docker engine is named in no form we know, or HTTPS can't be spoken.
    pub fn new(config: FlaskStagesConfig) -> Result<Self, SetupError> {
        // Somebody else's provider, installed before, does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let docker = match config.docker {
            Some(docker) => docker,
            None => DockerHandle::connect(None)?,
        };
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
            // An answer is what a new connection gets: one that was kept may lead to a dead container.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(SetupError::Http)?;
        let context = Context {
            docker,
            http,
            secrets: Arc::new(config.secrets),
            keys: RepositoryKeys::default(),
            proxy: ProxyClient::new(config.proxy_socket),
            data: config.data,
        };
        Ok(Self { context })
    }

    /// Returns the Docker engine, for a check before the first run.
    pub fn docker(&self) -> &DockerHandle {
        &self.context.docker
    }

    /// Returns what asks whether that which the stages depend on answers.
    pub fn vitals(&self) -> Vitals {
        Vitals::new(self.context.clone())
    }

    /// Returns what sends the server's own notices.
    pub fn notifier(&self) -> Notifier {
        Notifier::new(self.context.http.clone(), Arc::clone(&self.context.secrets))
    }

    /// Returns what tells forges how runs stand.
    pub fn forges(&self) -> Forges {
        Forges::new(self.context.http.clone(), Arc::clone(&self.context.secrets))
    }

    /// Returns the list of what opens the apps' repositories, which is empty at first.
    pub fn repository_keys(&self) -> &RepositoryKeys {
        &self.context.keys
    }

    /// Returns what a run works with, and what hides its secrets.
    async fn within(&self, run: &Run) -> Result<(Context, Masker), String> {
        let context = self.context.of(&run.lane).await?;
        let masker = context.secrets.masker(run.settings.as_deref());
        Ok((context, masker))
    }

    /// Returns the same for what has to be done even when the vault can't be opened, as taking the traffic back is.
    /// Without a masker nothing that others said may be shown.
    async fn within_or_without(&self, run: &Run) -> (Context, Result<Masker, String>) {
        match self.within(run).await {
            Ok((context, masker)) => (context, Ok(masker)),
            Err(reason) => (self.context.clone(), Err(reason)),
        }
    }

    async fn concluded(&self, order: &Order, masker: &Masker, outcome: Outcome) -> Outcome {
        let outcome = masked(masker, outcome);
        if let Outcome::Failed(failure) = &outcome {
            evidence::keep(&self.context, &order.run, order.stage, failure).await;
        }
        outcome
    }

    /// Removes what stages before this one left for the case of a crash. What it does not get to is swept later.
    async fn clear(&self, order: &Order) {
        // The stages that follow one with a container of its own.
        if !matches!(order.stage, Stage::Build | Stage::Deploy | Stage::GoLive) {
            return;
        }
        if let Err(reason) = container::clear_ended(&self.context, order).await {
            tracing::warn!(reason, run = %order.run.id, "ended containers were left to the sweep");
        }
    }
}

#[async_trait]
impl StageExecutor for FlaskStages {
    async fn execute(&self, order: &Order, output: &Output) -> Outcome {
        let (context, masker) = &match self.within(&order.run).await {
            Ok(within) => within,
            Err(reason) => return Outcome::errored(reason),
        };
        self.clear(order).await;
        let shown = shown(masker, output);
        let outcome = match order.stage {
            Stage::Checkout => checkout::run(context, order, &shown).await,
            Stage::Test => test::run(context, order, &shown).await,
            Stage::Build => build::run(context, order, &shown).await,
            Stage::PushImage => push_image::run(context, order, &shown).await,
            Stage::ReleaseCommand => release_command::run(context, order, &shown).await,
            Stage::Deploy => deploy::run(context, order, &shown).await,
            Stage::Smoke => smoke::run(context, order, &shown).await,
            Stage::GoLive => go_live::run(context, order, &shown).await,
            Stage::PublicSmoke => public_smoke::run(context, order, &shown).await,
        };
        shown.finish();
        self.concluded(order, masker, outcome).await
    }

    async fn probe(&self, order: &Order) -> Result<Probe, String> {
        let (context, masker) = &self.within(&order.run).await?;
        let probe = match order.stage {
            Stage::Checkout => checkout::probe(context, order).await,
            Stage::Test => test::probe(context, order).await,
            Stage::Build => build::probe(context, order).await,
            Stage::PushImage => push_image::probe(context, order).await,
            Stage::ReleaseCommand => release_command::probe(context, order).await,
            Stage::Deploy => deploy::probe(context, order).await,
            Stage::Smoke => smoke::probe(context, order).await,
            Stage::GoLive => go_live::probe(context, order).await,
            Stage::PublicSmoke => public_smoke::probe(context, order).await,
        };
        match probe {
            Ok(Probe::Done(outcome)) => Ok(Probe::Done(self.concluded(order, masker, outcome).await)),
            Ok(Probe::Unknown(evidence)) => Ok(Probe::Unknown(masker.mask(&evidence))),
            Ok(probe @ (Probe::NotStarted | Probe::Running)) => Ok(probe),
            Err(reason) => Err(masker.mask(&reason)),
        }
    }

    async fn attach(&self, order: &Order, output: &Output) -> Outcome {
        let (context, masker) = &match self.within(&order.run).await {
            Ok(within) => within,
            Err(reason) => return Outcome::errored(reason),
        };
        let shown = shown(masker, output);
        let outcome = match order.stage {
            Stage::Test => test::attach(context, order, &shown).await,
            Stage::ReleaseCommand => release_command::attach(context, order, &shown).await,
            Stage::Deploy => deploy::attach(context, order, &shown).await,
            // Their probes never find them running.
            Stage::Checkout
            | Stage::Build
            | Stage::PushImage
            | Stage::Smoke
            | Stage::GoLive
            | Stage::PublicSmoke => {
                Outcome::errored(format!("{} can't be followed; it is done again", order.stage))
            }
        };
        shown.finish();
        self.concluded(order, masker, outcome).await
    }

    async fn undo(&self, order: &Order) -> Result<(), String> {
        let (context, masker) = &self.within_or_without(&order.run).await;
        let undone = match order.stage {
            Stage::Checkout => checkout::undo(context, order).await,
            Stage::Test => test::undo(context, order).await,
            Stage::Build => build::undo(context, order).await,
            Stage::PushImage => push_image::undo(context, order).await,
            Stage::ReleaseCommand => release_command::undo(context, order).await,
            Stage::Deploy => deploy::undo(context, order).await,
            Stage::Smoke => smoke::undo(context, order).await,
            Stage::GoLive => go_live::undo(context, order).await,
            Stage::PublicSmoke => public_smoke::undo(context, order).await,
        };
        undone.map_err(|reason| told(masker, &reason))
    }

    async fn rollback(&self, order: &RollbackOrder, output: &Output) -> RollbackOutcome {
        let (context, masker) = self.within_or_without(&order.run).await;
        let shown = match &masker {
            Ok(masker) => shown(masker, output),
            Err(reason) => {
                output.line(&format!(
                    "what is printed here is not shown, since secrets can't be hidden: {reason}"
                ));
                Output::new(Box::new(Unshown))
            }
        };
        let outcome = rollback::run(&context, order, &shown).await;
        shown.finish();
        match outcome {
            RollbackOutcome::Succeeded { serving, proof } => {
                RollbackOutcome::Succeeded { serving, proof: told(&masker, &proof) }
            }
            RollbackOutcome::Errored { reason } => {
                RollbackOutcome::Errored { reason: told(&masker, &reason) }
            }
        }
    }

    async fn notify(&self, order: &NoticeOrder) -> Result<String, NotSent> {
        let context = self.context.of(&order.run.lane).await.map_err(NotSent::errored)?;
        notify::run(&context, order).await
    }

    async fn sweep(&self, keep: &Keep) -> Result<Vec<String>, String> {
        sweep::sweep(&self.context, keep).await
    }
}

/// Returns an output that hides secrets before they reach the engine's.
fn shown(masker: &Masker, output: &Output) -> Output {
    Output::new(Box::new(MaskedWriter::new(masker.clone(), Box::new(Onward(output.clone())))))
}

/// Passes lines on to the engine's output, whose end is the engine's to declare.
#[derive(Debug)]
struct Onward(Output);

impl OutputWriter for Onward {
    fn line(&mut self, text: &str) -> Result<(), BoxError> {
        self.0.line(text);
        Ok(())
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        Ok(OutputRef { len: 0, sha256: String::new() })
    }
}

/// Drops lines in which nobody knows what to hide.
#[derive(Debug)]
struct Unshown;

impl OutputWriter for Unshown {
    fn line(&mut self, _: &str) -> Result<(), BoxError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        Ok(OutputRef { len: 0, sha256: String::new() })
    }
}

/// Returns what may be told of a text when the vault may be closed.
fn told(masker: &Result<Masker, String>, text: &str) -> String {
    match masker {
        Ok(masker) => masker.mask(text),
        Err(reason) => format!("what was said is not shown, since secrets can't be hidden: {reason}"),
    }
}

/// Hides secrets in what a stage says. Facts are names, numbers and digests, and settings name secrets only.
fn masked(masker: &Masker, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Succeeded(facts) => Outcome::Succeeded(facts),
        Outcome::Errored { reason } => Outcome::Errored { reason: masker.mask(&reason) },
        Outcome::Failed(failure) => Outcome::Failed(masked_failure(masker, failure)),
    }
}

fn masked_failure(masker: &Masker, failure: Failure) -> Failure {
    let Failure { reason, tail, tests } = failure;
    let tests = tests.map(|mut report| {
        for TestFailure { name, message } in &mut report.first_failures {
            *name = masker.mask(name);
            *message = masker.mask(message);
        }
        report
    });
    Failure { reason: masker.mask(&reason), tail: masker.mask_lines(&tail), tests }
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
