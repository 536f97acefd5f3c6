//! Builds the image of a commit, with BuildKit, under the tag of its run.
//!
//! ```text
//! source ──.dockerignore──▶ tar ──▶ BuildKit ──▶ server/service:run-…  with the labels of this attempt
//! ```
//!
//! The tag is how it is found again and the label says whose it is, so a repeated build finds its image made.

use std::collections::HashMap;

use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::{BuildInfo, BuildInfoAux, ImageInspect};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion, RemoveImageOptionsBuilder};
use futures_util::StreamExt;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::{BuiltImage, Facts, Failure};
use landfall_engine::core::settings::Settings;
use landfall_engine::ports::{Order, Output, Probe};

use crate::build_context::BuildContext;
use crate::build_progress::{FailedStep, Progress};
use crate::build_secrets;
use crate::context::Context;
use crate::docker::{explain, is_conflict, is_not_found, is_unreachable, message};
use crate::dockerfile::{self, Dockerfile};
use crate::plan::{self, ImageName};
use crate::registry;
use crate::secrets::exposed;
use crate::stopped::Stopped;

/// Remembers in the image that its Dockerfile was generated.
const LABEL_GENERATED: &str = "landfall.generated-dockerfile";

/// Builds the image, or finds it built.
pub(crate) async fn run(context: &Context, order: &Order, output: &Output) -> Outcome {
    match try_run(context, order, output).await {
        Ok(built) => Outcome::Succeeded(Facts::Build(built)),
        Err(stopped) => stopped.into(),
    }
}

async fn try_run(context: &Context, order: &Order, output: &Output) -> Result<BuiltImage, Stopped> {
    let settings = plan::settings(order).map_err(Stopped::failed)?;
    let name = plan::image_name(order).map_err(Stopped::failed)?;
    if let Some(built) = find(context, order, &name).await.map_err(Stopped::Errored)? {
        output.line(&format!("{name} is built already"));
        return Ok(built);
    }
    // What is a secret now need not have been one at the checkout.
    if let Some(leak) = exposed(&context.secrets, settings) {
        return Err(Stopped::failed(leak));
    }
    let dockerfile = choose_dockerfile(context, order, settings).await?;
    if let Dockerfile::Generated(text) = &dockerfile {
        output.line("The app has no Dockerfile. This one is used; copy it into the app to change it:");
        text.lines().for_each(|line| output.line(&format!("    {line}")));
    }
    let labels = labels(order, &dockerfile);
    let credentials = credentials(context, settings, &name).await;
    let source = context.source_dir(order.run.id);
    let file = dockerfile.path().to_owned();
    let reading = tokio::task::spawn_blocking(move || BuildContext::new(source, dockerfile)).await;
    let build_context = reading
        .map_err(|error| Stopped::errored(format!("reading the source: {error}")))?
        .map_err(|reason| Stopped::failed(format!("the build context: {reason}")))?;
    let request = Request { settings, name: &name, file: &file, labels, credentials };
    if settings.build.secrets.is_empty() {
        build(context, &request, build_context, output).await?;
    } else {
        build_secrets::build(context, order, &request, build_context, output).await?;
    }
    find(context, order, &name).await.map_err(Stopped::Errored)?.ok_or_else(|| {
        Stopped::errored(format!("Docker ended the build of {name} without an error, and has no such image"))
    })
}

/// What is built, and how.
pub(crate) struct Request<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) name: &'a ImageName,
    /// Path of the Dockerfile inside the context.
    pub(crate) file: &'a str,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) credentials: HashMap<String, DockerCredentials>,
}

async fn choose_dockerfile(
    context: &Context,
    order: &Order,
    settings: &Settings,
) -> Result<Dockerfile, Stopped> {
    let source = context.source_dir(order.run.id);
    let settings = settings.clone();
    let choosing = tokio::task::spawn_blocking(move || dockerfile::choose(&source, &settings));
    let chosen = choosing.await.map_err(|error| Stopped::errored(format!("reading the source: {error}")))?;
    chosen.map_err(Stopped::failed)
}

fn labels(order: &Order, dockerfile: &Dockerfile) -> HashMap<String, String> {
    let mut labels = plan::image_labels(order);
    if matches!(dockerfile, Dockerfile::Generated(_)) {
        labels.insert(LABEL_GENERATED.into(), "true".into());
    }
    labels
}

/// A private base image is most likely in the registry that the app is pushed to. Most builds need no login, so what
/// is wrong with it is for the push to say.
async fn credentials(
    context: &Context,
    settings: &Settings,
    name: &ImageName,
) -> HashMap<String, DockerCredentials> {
    let login = registry::login(context, &settings.registry, &name.host).await.ok().flatten();
    login.map(|login| (name.host.clone(), login.for_docker(&name.host))).into_iter().collect()
}

async fn build(
    context: &Context,
    request: &Request<'_>,
    build_context: BuildContext,
    output: &Output,
) -> Result<(), Stopped> {
    let options = BuildImageOptions {
        dockerfile: request.file.to_owned(),
        t: Some(request.name.to_string()),
        buildargs: Some(request.settings.build.args.clone().into_iter().collect()),
        labels: Some(request.labels.clone()),
        rm: true,
        forcerm: true,
        version: BuilderVersion::BuilderBuildKit,
        // BuildKit drops a build whose session it knows already.
        session: Some(uuid::Uuid::new_v4().simple().to_string()),
        ..BuildImageOptions::default()
    };
    let (pieces, reading) = build_context.stream();
    let body = bollard::body_try_stream(futures_util::stream::unfold(pieces, async |mut pieces| {
        pieces.recv().await.map(|piece| (piece, pieces))
    }));
    let credentials = Some(request.credentials.clone());
    let mut progress = Progress::default();
    let mut said = String::new();
    let mut stream = Box::pin(context.docker.api().build_image(options, credentials, Some(body)));
    while let Some(message) = stream.next().await {
        match message {
            Ok(BuildInfo { aux: Some(BuildInfoAux::BuildKit(report)), .. }) => {
                progress.take(report, |line| output.line(line));
            }
            // An engine without BuildKit speaks like this.
            Ok(BuildInfo { stream: Some(text), .. }) => said.push_str(&text),
            Ok(_) => {}
            Err(error) => {
                drop(stream);
                // The source could not be read to its end: that is the cause, whatever Docker makes of it.
                if let Ok(Err(unreadable)) = reading.await
                    && unreadable.kind() != std::io::ErrorKind::BrokenPipe
                {
                    return Err(Stopped::errored(format!("reading the source for the build: {unreadable}")));
                }
                return Err(judge(&error, progress.failed_step()));
            }
        }
    }
    said.lines().for_each(|line| output.line(line));
    Ok(())
}

/// Tells a build that says no from one that could not be tried.
pub(crate) fn judge(error: &Error, step: Option<FailedStep>) -> Stopped {
    if is_unreachable(error) {
        return Stopped::errored(explain("building the image", error));
    }
    let said = message(error);
    if step.is_none() && said.contains("session healthcheck failed") {
        return Stopped::errored(explain("building the image", error));
    }
    let reason = match &step {
        Some(step) => format!("the build failed at {}: {}", step.name, without_command(&step.error)),
        None => format!("the build failed: {}", plain(&said)),
    };
    let advice = advice(&said).or_else(|| step.as_ref().and_then(|step| advice(&step.error)));
    let reason = advice.map_or(reason.clone(), |advice| format!("{reason}; {advice}"));
    if is_out_of_reach(&said) {
        return Stopped::Errored(reason);
    }
    let tail = step.map(|step| step.tail).unwrap_or_default();
    Stopped::Failed(Box::new(Failure::new(reason).with_tail(tail)))
}

/// Removes what BuildKit puts before the cause: the names of its own parts.
fn plain(said: &str) -> String {
    const PREFIXES: [&str; 8] = [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve: ",
        "failed to create LLB definition: ",
        "failed to build LLB: ",
        "rpc error: code = Unknown desc = ",
        "rpc error: code = InvalidArgument desc = ",
        "rpc error: code = NotFound desc = ",
        "failed to compute cache key: ",
    ];
    let mut said = said;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| said.strip_prefix(prefix)) {
        said = rest;
    }
    said.trim().to_owned()
}

/// BuildKit repeats the whole command before its exit code, and the step's name has it already.
fn without_command(error: &str) -> String {
    match error.rfind("exit code: ") {
        Some(at) if error.starts_with("executor failed running") || error.starts_with("process ") => {
            error[at..].to_owned()
        }
        _ => plain(error),
    }
}

fn advice(said: &str) -> Option<&'static str> {
    if said.contains("docker/dockerfile") {
        Some(
            "a `# syntax=` line makes Docker fetch its parser from Docker Hub: remove the line, or let Docker reach the Hub",
        )
    } else if said.contains("dockerfile parse error") || said.contains("unknown instruction") {
        Some("correct the Dockerfile")
    } else if is_out_of_reach(said) {
        Some("can this machine reach the registry of the base image?")
    } else {
        None
    }
}

/// Tells whether a registry that the build needs gave no answer.
fn is_out_of_reach(said: &str) -> bool {
    const SIGNS: [&str; 8] = [
        "no such host",
        "i/o timeout",
        "connection refused",
        "network is unreachable",
        "TLS handshake timeout",
        "Temporary failure in name resolution",
        "server misbehaving",
        "503 Service Unavailable",
    ];
    // Words of a command in the Dockerfile are the app's own affair.
    let by_engine = said.contains("failed to do request") || said.contains("failed to authorize");
    by_engine && SIGNS.iter().any(|sign| said.contains(sign))
}

/// Says whether the image of this attempt is there.
pub(crate) async fn probe(context: &Context, order: &Order) -> Result<Probe, String> {
    let name = match plan::image_name(order) {
        Ok(name) => name,
        Err(reason) => return Ok(Probe::Done(Outcome::failed(reason))),
    };
    let found = find(context, order, &name).await?;
    Ok(found.map_or(Probe::NotStarted, |built| Probe::Done(Outcome::Succeeded(Facts::Build(built)))))
}

/// Takes the tag of this attempt away; an image without any other name goes with it.
pub(crate) async fn undo(context: &Context, order: &Order) -> Result<(), String> {
    let Ok(name) = plan::image_name(order) else { return Ok(()) };
    if find(context, order, &name).await?.is_none() {
        return Ok(());
    }
    let options = RemoveImageOptionsBuilder::default().build();
    let docker = &context.docker;
    match docker.ask(docker.api().remove_image(&name.to_string(), Some(options), None)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        // A container runs from it; the sweep removes it when nobody needs it any more.
        Err(error) if is_conflict(&error) => Ok(()),
        Err(error) => Err(explain(&format!("removing the image {name}"), &error)),
    }
}

/// Returns the image of the run's tag, when this very attempt made it.
async fn find(context: &Context, order: &Order, name: &ImageName) -> Result<Option<BuiltImage>, String> {
    let docker = &context.docker;
    let image: ImageInspect = match docker.ask(docker.api().inspect_image(&name.to_string())).await {
        Ok(image) => image,
        Err(error) if is_not_found(&error) => return Ok(None),
        Err(error) => return Err(explain(&format!("looking for the image {name}"), &error)),
    };
    let labels = image.config.and_then(|config| config.labels);
    if !plan::is_of(order, labels.as_ref()) {
        return Ok(None);
    }
    let generated = labels.is_some_and(|labels| labels.contains_key(LABEL_GENERATED));
    Ok(image.id.map(|image_id| BuiltImage {
        image_id,
        reference: name.to_string(),
        generated_dockerfile: generated,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Error {
        Error::DockerStreamError { error: text.into() }
    }

    #[test]
    fn a_dockerfile_that_does_not_parse_is_a_failure_that_names_the_line() {
        let stopped = judge(
            &said(
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse \
                 error line 3: unknown instruction: RUNN",
            ),
            None,
        );
        assert!(matches!(stopped, Stopped::Failed(_)));
        assert_eq!(
            stopped.reason(),
            "the build failed: dockerfile parse error line 3: unknown instruction: RUNN; correct the Dockerfile"
        );
    }

    #[test]
    fn a_step_that_fails_is_named_with_its_last_lines() {
        let step = FailedStep {
            name: "[2/3] RUN false".into(),
            error: "executor failed running [/bin/sh -c false]: exit code: 1".into(),
            tail: vec!["oh no".into()],
        };
        let Stopped::Failed(failure) = judge(&said("executor failed running"), Some(step)) else {
            panic!("it was no answer")
        };
        assert_eq!(failure.reason, "the build failed at [2/3] RUN false: exit code: 1");
        assert_eq!(failure.tail, ["oh no"]);
    }

    #[test]
    fn a_base_image_that_is_out_of_reach_is_no_answer() {
        let text =
            "failed to do request: Head https://registry-1.docker.io/v2/x: dial tcp: lookup: no such host";
        assert!(matches!(judge(&said(text), None), Stopped::Errored(_)));
        let text = "executor failed running [curl x]: no such host";
        assert!(matches!(judge(&said(text), None), Stopped::Failed(_)));
        assert!(matches!(judge(&Error::RequestTimeoutError, None), Stopped::Errored(_)));
    }
}
