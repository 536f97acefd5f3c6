//! A container that does one thing and ends: created, attached to, started, followed, read.
//!
//! ```text
//! look ─absent─▶ create ─▶ attach ─▶ start ─▶ files in, lines out … ─▶ wait ─▶ inspect
//!   └─running, ended──────────────────────▶ lines from the first one ─────┘
//! ```
//!
//! **Nothing is removed here after the end**: the engine may die before the outcome is recorded, and then the
//! container is the only one who knows it. [`clear_ended`] does that once the run has moved on.

use std::collections::HashMap;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ListContainersOptionsBuilder,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::{Stream, StreamExt, TryStreamExt};
use landfall_engine::core::settings::RegistrySettings;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Order, Output};

use crate::confinement::{self, Limits};
use crate::context::Context;
use crate::docker;
use crate::plan;
use crate::secret_files::SecretFiles;
use crate::stopped::Stopped;

pub(crate) mod files;
mod image;
mod printer;

pub(crate) use image::ensure_image;
use printer::Printer;
pub(crate) use printer::SEND_MARK;

/// What is seen of a container that was ended from outside: 128 + SIGKILL; 128 + SIGTERM, with which Docker ends
/// containers when it is restarted; and what Docker says of those that a power cut ended.
const FROM_OUTSIDE: [i64; 3] = [137, 143, 255];

/// How long output may still come after the end: what was printed is on its way already.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// A container that does one thing and ends.
pub(crate) struct OneShot<'a> {
    /// Its name, from `plan::one_shot_name`.
    pub(crate) name: String,
    /// How it is made; [`basis`] has what all of them share.
    pub(crate) body: ContainerCreateBody,
    /// How to log in at the app's registry, if the image has to be pulled from there.
    pub(crate) registry: &'a RegistrySettings,
    /// What it gets through its stdin; its body is made ready for that by [`files::expect`].
    pub(crate) files: Option<files::Files>,
    /// What is laid into it before it starts.
    pub(crate) secret_files: SecretFiles,
    /// Whose it is.
    pub(crate) order: &'a Order,
}

/// Returns that Docker gave no answer.
fn no_answer(doing: &str, error: &Error) -> Stopped {
    Stopped::errored(docker::explain(doing, error))
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The exit code of its command.
    pub(crate) exit_code: i64,
    /// True when something in it was killed for want of memory.
    pub(crate) oom: bool,
    /// The last lines that it printed.
    pub(crate) tail: Vec<String>,
    /// What it printed after [`printer::MARK`], as one line: what is for us and not for people.
    /// Its shell prints the mark once the command has ended by itself, with whatever exit code.
    pub(crate) marked: Option<String>,
}

impl Ended {
    /// Tells whether somebody else ended it, so that it gave no answer of its own.
    ///
    /// The exit code alone can't say: ssh, xargs, `timeout` and `sys.exit(-1)` have the same ones. Who ends the whole
    /// container ends the shell too, which prints no mark then.
    pub(crate) fn is_cut_off(&self) -> bool {
        !self.oom && self.marked.is_none() && FROM_OUTSIDE.contains(&self.exit_code)
    }
}

/// How a container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is none of this name.
    Absent,
    /// It was made and never started.
    Created,
    /// It runs.
    Running,
    /// It ran, and ended. The tail is not read yet.
    Ended(Ended),
}

/// Returns what every one-shot container has: our labels, an init that passes signals on, bounded output, the usual
/// limits, and no way to more rights. The command is run by the shell, from `script`.
pub(crate) fn basis(order: &Order, image: &str, script: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["sh".into(), "-ec".into()]),
        // Two streams would reach us in any order; in one, what is printed last comes last.
        cmd: Some(vec![format!("exec 2>&1; {script}")]),
        labels: Some(plan::labels(order)),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(confinement::host_config(Limits::USUAL)),
        ..ContainerCreateBody::default()
    }
}

/// Runs a container to its end, or follows or reads the one that is there already under the order's key.
pub(crate) async fn run_to_end(
    context: &Context,
    shot: OneShot<'_>,
    output: &Output,
) -> Result<Ended, Stopped> {
    match look(context, shot.order, &shot.name).await.map_err(Stopped::errored)? {
        Standing::Running | Standing::Ended(_) => return follow(context, &shot.name, output).await,
        // Whoever made it did not get to the start: what was laid into it may be half of it.
        Standing::Created => remove(context, shot.order, &shot.name).await.map_err(Stopped::errored)?,
        Standing::Absent => {}
    }
    let image = shot.body.image.clone().unwrap_or_default();
    ensure_image(context, &image, shot.registry, output).await?;
    let name = shot.name.clone();
    create(context, &name, shot.body).await?;
    let started = match shot.secret_files.lay_into(context, &name).await {
        Ok(()) => start(context, &name, shot.files, output).await,
        Err(stopped) => Err(stopped),
    };
    if let Err(Stopped::Failed(_)) = &started {
        // It never ran, so nothing is lost with it. After "no answer" a probe has to find it.
        let _ = remove(context, shot.order, &name).await;
    }
    started
}

/// Prints a container's output from its first line and waits for its end.
pub(crate) async fn follow(context: &Context, name: &str, output: &Output) -> Result<Ended, Stopped> {
    follow_quietly(context, name, &|line| output.line(line)).await
}

/// Reads how a container ended and what it printed, and prints nothing.
pub(crate) async fn reread(context: &Context, name: &str) -> Result<Ended, String> {
    let ended = follow_quietly(context, name, &|_| ()).await;
    ended.map_err(|stopped| stopped.reason().to_owned())
}

async fn follow_quietly(context: &Context, name: &str, print: &impl Fn(&str)) -> Result<Ended, Stopped> {
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
    let logs = context.docker.api().logs(name, Some(options));
    to_the_end(context, name, logs, std::future::ready(()), print).await
}

/// Says how the container of this name stands; an error when it is not the order's own, or Docker is silent.
pub(crate) async fn look(context: &Context, order: &Order, name: &str) -> Result<Standing, String> {
    let docker = &context.docker;
    let found = match docker.ask(docker.api().inspect_container(name, None)).await {
        Ok(found) => found,
        Err(error) if docker::is_not_found(&error) => return Ok(Standing::Absent),
        Err(error) => return Err(docker::explain("looking for the container", &error)),
    };
    let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
    if !plan::is_of(order, labels) {
        return Err(format!(
            "the container {name} is there and not ours: remove it or rename it, then try again"
        ));
    }
    Ok(standing(&found))
}

/// Returns the last lines of a container that ended.
pub(crate) async fn tail(context: &Context, name: &str) -> Result<Vec<String>, String> {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail("100").build();
    let mut printer = Printer::default();
    let mut logs = std::pin::pin!(context.docker.api().logs(name, Some(options)));
    while let Some(piece) =
        logs.try_next().await.map_err(|error| docker::explain("reading the container's output", &error))?
    {
        printer.take(piece, &|_| ());
    }
    printer.finish(&|_| ());
    Ok(printer.into_parts().0)
}

/// Kills and removes a container, with the volumes that only it knows. One that is not ours is left alone.
pub(crate) async fn remove(context: &Context, order: &Order, name: &str) -> Result<(), String> {
    let docker = &context.docker;
    let inspected = docker.ask(docker.api().inspect_container(name, None)).await;
    match inspected {
        Ok(found) => {
            let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
            if !plan::is_of(order, labels) {
                return Ok(());
            }
        }
        Err(error) if docker::is_not_found(&error) => return Ok(()),
        Err(error) => return Err(docker::explain("looking for the container", &error)),
    }
    remove_by_name(context, name).await
}

/// Stops a container with a grace for it to end by itself.
pub(crate) async fn stop(context: &Context, name: &str, grace: Duration) -> Result<(), String> {
    let grace_s = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
    let options = StopContainerOptionsBuilder::default().t(grace_s).build();
    match context.docker.api().stop_container(name, Some(options)).await {
        Err(error) if !docker::is_not_found(&error) => Err(docker::explain("stopping the container", &error)),
        _ => Ok(()),
    }
}

/// Removes the ended one-shot containers of the order's run that belong to other stages.
///
/// The executor calls this when a stage begins: its intent is durable, so the outcomes of the stages before it
/// are too, and their containers have nothing left to tell. What it does not get to is left to the sweep.
pub(crate) async fn clear_ended(context: &Context, order: &Order) -> Result<(), String> {
    let label = |name: &str, value: &str| format!("{name}={value}");
    let filters = HashMap::from([
        (
            "label",
            vec![
                label(plan::LABEL_LOG, &order.log_id.to_string()),
                label(plan::LABEL_RUN, &order.run.id.to_string()),
            ],
        ),
        ("status", vec!["created".into(), "exited".into(), "dead".into()]),
    ]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let docker = &context.docker;
    let listed = docker.ask(docker.api().list_containers(Some(options))).await;
    let listed = listed.map_err(|error| docker::explain("listing the run's containers", &error))?;
    for container in listed {
        let stage = container.labels.as_ref().and_then(|labels| labels.get(plan::LABEL_STAGE));
        let stage = stage.and_then(|name| Stage::from_name(name));
        let is_one_shot =
            matches!(stage, Some(Stage::Test | Stage::ReleaseCommand | Stage::Smoke | Stage::PublicSmoke));
        if let Some(id) = container.id.filter(|_| is_one_shot && stage != Some(order.stage)) {
            remove_by_name(context, &id).await?;
        }
    }
    Ok(())
}

/// Reads how a container stands.
pub(crate) fn standing(found: &ContainerInspectResponse) -> Standing {
    let Some(state) = &found.state else { return Standing::Created };
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) | None => Standing::Created,
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => Standing::Ended(Ended {
            exit_code: state.exit_code.unwrap_or(-1),
            oom: state.oom_killed.unwrap_or(false),
            ..Ended::default()
        }),
        Some(_) => Standing::Running,
    }
}

/// Makes a container, and does not start it.
pub(crate) async fn create(context: &Context, name: &str, body: ContainerCreateBody) -> Result<(), Stopped> {
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    let docker = &context.docker;
    match docker.ask(docker.api().create_container(Some(options), body)).await {
        Ok(_) => Ok(()),
        Err(error) if docker::status(&error) == Some(400) => {
            Err(Stopped::failed(format!("Docker refused the container: {}", docker::message(&error))))
        }
        Err(error) => Err(no_answer("making the container", &error)),
    }
}

async fn start(
    context: &Context,
    name: &str,
    files: Option<files::Files>,
    output: &Output,
) -> Result<Ended, Stopped> {
    let api = context.docker.api();
    let options = AttachContainerOptionsBuilder::default().stream(true).stdin(files.is_some());
    let options = options.stdout(true).stderr(true).build();
    let attached = context.docker.ask(api.attach_container(name, Some(options))).await;
    let attached = attached.map_err(|error| no_answer("attaching to the container", &error))?;
    match api.start_container(name, None).await {
        Ok(()) => {
            let pouring = files::pour(files, attached.input, output);
            to_the_end(context, name, attached.output, pouring, &|line| output.line(line)).await
        }
        Err(error) if docker::status(&error) == Some(400) => {
            Err(Stopped::failed(format!("the container could not be started: {}", docker::message(&error))))
        }
        Err(error) => Err(no_answer("starting the container", &error)),
    }
}

/// Prints what comes and waits for the end. A stream that ends is not yet an end: only Docker's word is.
async fn to_the_end(
    context: &Context,
    name: &str,
    stream: impl Stream<Item = Result<LogOutput, Error>>,
    pouring: impl Future<Output = ()>,
    print: &impl Fn(&str),
) -> Result<Ended, Stopped> {
    let mut printer = Printer::default();
    {
        let mut streaming = std::pin::pin!(async { tokio::join!(pouring, printer.print(stream, print)) });
        let mut waiting = std::pin::pin!(wait(context, name));
        tokio::select! {
            _ = &mut streaming => waiting.await?,
            ended = &mut waiting => {
                ended?;
                let _ = tokio::time::timeout(DRAIN_LIMIT, &mut streaming).await;
            }
        }
    }
    printer.finish(print);
    let docker = &context.docker;
    let found = docker.ask(docker.api().inspect_container(name, None)).await;
    let found = found.map_err(|error| no_answer("reading how the container ended", &error))?;
    match standing(&found) {
        Standing::Ended(ended) => {
            let (tail, marked) = printer.into_parts();
            Ok(Ended { tail, marked, ..ended })
        }
        other => Err(Stopped::errored(format!("the container {name} should have ended and is {other:?}"))),
    }
}

async fn wait(context: &Context, name: &str) -> Result<(), Stopped> {
    let mut ended = std::pin::pin!(context.docker.api().wait_container(name, None));
    match ended.next().await {
        // An exit code other than 0 comes as an error.
        Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => Ok(()),
        Some(Err(error)) => Err(no_answer("waiting for the container", &error)),
        None => Err(Stopped::errored("Docker stopped waiting for the container; is it shutting down?")),
    }
}

async fn remove_by_name(context: &Context, name: &str) -> Result<(), String> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match context.docker.api().remove_container(name, Some(options)).await {
        // A conflict says that somebody else is removing it.
        Err(error) if !docker::is_not_found(&error) && !docker::is_conflict(&error) => {
            Err(docker::explain("removing the container", &error))
        }
        _ => Ok(()),
    }
}
