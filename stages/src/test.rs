//! Runs the app's tests in a container of the configured image.
//!
//! The source is copied in and the dependencies come from a volume, so a test can neither touch what is built
//! later nor wait for what was installed before. With `[test] host = true` this is [`host_test`]'s work.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bollard::models::ContainerCreateBody;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::settings::{Settings, TestSettings};
use landfall_engine::ports::{Order, Output, Probe};

use crate::confinement::Limits;
use crate::container::files::{self, Files};
use crate::container::{self, Ended, OneShot, Standing};
use crate::context::Context;
use crate::deps::{self, Dependencies};
use crate::junit::Report;
use crate::secret_files::SecretFiles;
use crate::stopped::Stopped;
use crate::{host_test, junit, plan};

mod known;
mod script;
mod services;
pub(crate) mod verdict;
mod volumes;

use verdict::Finished;

/// The working directory: the source. Its path is part of what is installed, since packages can be editable.
const SOURCE: &str = "/landfall/source";
/// Where the volume of the dependencies is.
const DEPS: &str = "/landfall/deps";
/// Where pip and its relatives keep what they downloaded, for all apps.
const PIP_CACHE: &str = "/landfall/pip-cache";
/// The volume of that.
const PIP_CACHE_VOLUME: &str = "landfall-pip-cache";

/// A report of ten thousand failing tests has a tenth of this.
const REPORT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Runs the tests, or follows or reads what is there already.
pub(crate) async fn run(context: &Context, order: &Order, output: &Output) -> Outcome {
    let settings = match plan::settings(order) {
        Ok(settings) if settings.test.host && !context.host_tests => {
            return Outcome::failed(
                "`[test] host = true` is not allowed here: whoever pushes would run commands on the server itself. Run the \
                 tests in a container, or start the server with --allow-host-tests",
            );
        }
        Ok(settings) if settings.test.host && !settings.test.services.is_empty() => {
            return Outcome::failed(
                "`[test.services]` are reached by their names from a container alone: take `host = true` out of `[test]`, \
                 or start what the tests need by other means",
            );
        }
        Ok(settings) if settings.test.host => {
            return host_test::run(context, order, &settings.test, output).await;
        }
        Ok(settings) => settings,
        Err(reason) => return Outcome::failed(reason),
    };
    let shot = match prepared(context, order, settings, output).await {
        Ok(shot) => shot,
        Err(not_run) => return not_run.into(),
    };
    let name = shot.name.clone();
    let ended = match with_services(context, order, settings, &name, output).await {
        Ok(()) => container::run_to_end(context, shot, output).await,
        Err(stopped) => Err(stopped),
    };
    let outcome = concluded(context, &settings.test, &name, ended).await;
    end_services(context, order, &settings.test, &outcome, output).await;
    if let Outcome::Succeeded(facts) = &outcome {
        if verdict::is_of_nothing(&settings.test, facts) {
            output.line("no tests were found: nothing was tested");
        }
        volumes::forget_old(context, order).await;
    }
    outcome
}

/// Says what became of the container of this attempt.
pub(crate) async fn probe(context: &Context, order: &Order) -> Result<Probe, String> {
    let settings = plan::settings(order)?;
    if settings.test.host {
        return host_test::probe(context, order, &settings.test).await;
    }
    let name = plan::one_shot_name("test", order)?;
    match container::look(context, order, &name).await? {
        Standing::Absent => {
            services::remove(context, order).await?;
            Ok(Probe::NotStarted)
        }
        Standing::Created => {
            container::remove(context, order, &name).await?;
            services::remove(context, order).await?;
            Ok(Probe::NotStarted)
        }
        Standing::Running => Ok(Probe::Running),
        Standing::Ended(_) => {
            let ended = container::reread(context, &name).await?;
            let outcome = outcome(context, &settings.test, &name, ended).await?;
            services::remove(context, order).await?;
            Ok(Probe::Done(outcome))
        }
    }
}

/// Follows the tests that another engine started.
pub(crate) async fn attach(context: &Context, order: &Order, output: &Output) -> Outcome {
    let (settings, name) = match (plan::settings(order), plan::one_shot_name("test", order)) {
        (Ok(settings), Ok(name)) => (settings, name),
        (Err(reason), _) | (_, Err(reason)) => return Outcome::failed(reason),
    };
    if settings.test.host {
        return host_test::attach(context, order, &settings.test, output).await;
    }
    let ended = container::follow(context, &name, output).await;
    let outcome = concluded(context, &settings.test, &name, ended).await;
    end_services(context, order, &settings.test, &outcome, output).await;
    outcome
}

/// Kills the tests and removes their container, and their services. The volume of the dependencies stays: it is whole or not marked.
pub(crate) async fn undo(context: &Context, order: &Order) -> Result<(), String> {
    if plan::settings(order)?.test.host {
        return host_test::undo(context, order).await;
    }
    container::remove(context, order, &plan::one_shot_name("test", order)?).await?;
    services::remove(context, order).await
}

/// Returns what a test finds in its environment, on the host and in a container.
pub(crate) fn environment(order: &Order, settings: &TestSettings) -> BTreeMap<String, String> {
    let commit = order.run.commit();
    let mut env = BTreeMap::from([
        ("CI".to_owned(), "true".to_owned()),
        ("CI_COMMIT_SHA".to_owned(), commit.sha.clone()),
        ("GIT_REV".to_owned(), commit.sha.clone()),
        ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
    ]);
    if let Some(branch) = &commit.branch {
        env.insert("CI_COMMIT_BRANCH".into(), branch.clone());
    }
    env.extend(settings.env.clone());
    env
}

/// Starts what the tests need, unless they have begun already.
async fn with_services(
    context: &Context,
    order: &Order,
    settings: &Settings,
    name: &str,
    output: &Output,
) -> Result<(), Stopped> {
    if settings.test.services.is_empty() {
        return Ok(());
    }
    match container::look(context, order, name).await.map_err(Stopped::errored)? {
        Standing::Running | Standing::Ended(_) => Ok(()),
        Standing::Absent | Standing::Created => services::start(context, order, settings, output).await,
    }
}

/// Removes what the tests needed. What can't be removed now is swept once the run is over.
async fn end_services(
    context: &Context,
    order: &Order,
    settings: &TestSettings,
    outcome: &Outcome,
    output: &Output,
) {
    if settings.services.is_empty() {
        return;
    }
    if !matches!(outcome, Outcome::Succeeded(_)) {
        services::tell_ended(context, order, settings, output).await;
    }
    if let Err(reason) = services::remove(context, order).await {
        tracing::warn!(reason, run = %order.run.id, "services of the tests were left to the sweep");
    }
}

async fn prepared<'a>(
    context: &Context,
    order: &'a Order,
    settings: &'a Settings,
    output: &Output,
) -> Result<OneShot<'a>, Stopped> {
    let source = context.source_dir(order.run.id);
    if !source.is_dir() {
        let gone = format!("the run's checkout at {} is gone: start a new run", source.display());
        return Err(Stopped::errored(gone));
    }
    let name = plan::one_shot_name("test", order).map_err(Stopped::failed)?;
    let network = services::network(order, &settings.test).map_err(Stopped::failed)?;
    let image = &settings.test.image;
    let image_id = container::ensure_image(context, image, &settings.registry, output).await?;
    let reading = (source.clone(), settings.test.command.clone());
    let found = tokio::task::spawn_blocking(move || deps::find(&reading.0, &reading.1, &image_id)).await;
    let needed = found
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|error| Stopped::errored(format!("reading what the tests need: {error}")))?
        .map(|needed| needed.with_packages(&settings.build.packages));
    Ok(OneShot {
        name,
        body: body(order, &settings.test, needed.as_ref(), &source, network),
        registry: &settings.registry,
        secret_files: SecretFiles::default(),
        files: Some(laid_in(&settings.test, needed.as_ref(), &source)),
        order,
    })
}

fn laid_in(settings: &TestSettings, needed: Option<&Dependencies>, source: &Path) -> Files {
    let mut texts = vec![
        ("run.sh", script::run(needed, &settings.junit)),
        ("command.sh", format!("{}\n", settings.command)),
    ];
    texts.extend(needed.map(|needed| ("install.sh", needed.install.clone())));
    Files { texts, folder: Some((source.to_owned(), "source")) }
}

/// Returns the container of the tests.
fn body(
    order: &Order,
    settings: &TestSettings,
    needed: Option<&Dependencies>,
    source: &Path,
    network: Option<String>,
) -> ContainerCreateBody {
    let mut body = container::basis(order, &settings.image, "exec sh /landfall/run.sh </dev/null");
    files::expect(&mut body);
    body.working_dir = Some(SOURCE.into());
    // The source is laid in as root's, and an image of the app's own may run as somebody else.
    body.user = Some("0:0".into());
    body.env = Some(plan::environment(&in_container(order, settings, source)));
    let host = body.host_config.get_or_insert_default();
    Limits::of_tests(settings).apply(host);
    host.network_mode = network;
    host.mounts = needed.map(|needed| {
        let cache = volumes::mount(PIP_CACHE_VOLUME.into(), PIP_CACHE, plan::shared_labels(order.log_id));
        vec![volumes::of(order, needed, DEPS), cache]
    });
    body
}

fn in_container(order: &Order, settings: &TestSettings, source: &Path) -> BTreeMap<String, String> {
    // As `python -m pytest` and gunicorn do it: the app is found from its root.
    let python_path =
        if source.join("src").is_dir() { format!("{SOURCE}:{SOURCE}/src") } else { SOURCE.to_owned() };
    let mut env = BTreeMap::from(
        [
            ("PYTHONPATH", python_path.as_str()),
            ("PIP_CACHE_DIR", PIP_CACHE),
            ("UV_CACHE_DIR", "/landfall/pip-cache/uv"),
            ("POETRY_CACHE_DIR", "/landfall/pip-cache/poetry"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PIP_NO_INPUT", "1"),
            ("PIP_PROGRESS_BAR", "off"),
            ("PIP_ROOT_USER_ACTION", "ignore"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    env.extend(services::environment(settings));
    env.extend(environment(order, settings));
    env
}

async fn concluded(
    context: &Context,
    settings: &TestSettings,
    name: &str,
    ended: Result<Ended, Stopped>,
) -> Outcome {
    match ended {
        Ok(ended) => outcome(context, settings, name, ended).await.unwrap_or_else(Outcome::errored),
        Err(not_run) => not_run.into(),
    }
}

/// Reads from the ended container what its exit code does not say.
async fn outcome(
    context: &Context,
    settings: &TestSettings,
    name: &str,
    ended: Ended,
) -> Result<Outcome, String> {
    if files::is_not_filled(&ended) {
        return Ok(verdict::not_filled(settings, &ended.tail));
    }
    let is_not_installed = ended.exit_code == script::NOT_INSTALLED
        && files::download(context, name, script::NOT_INSTALLED_MARKER, usize::MAX).await?.is_some();
    if is_not_installed {
        return Ok(verdict::not_installed(ended.tail));
    }
    let cut_off = ended.is_cut_off();
    let Ended { exit_code, oom, tail, marked } = ended;
    let report = report(context, settings, name, marked.as_deref()).await?;
    Ok(verdict::of(settings, Finished { exit_code, oom, cut_off, tail, report }))
}

/// Reads the report that came with the output, or the file itself when it did not come whole.
async fn report(
    context: &Context,
    settings: &TestSettings,
    name: &str,
    sent: Option<&str>,
) -> Result<Option<Report>, String> {
    if settings.junit.is_empty() || sent == Some("") {
        return Ok(None);
    }
    let decoded = sent.and_then(|sent| BASE64.decode(sent).ok());
    if let Some(report) = decoded.as_deref().and_then(junit::read).filter(|report| report.counts.is_some()) {
        return Ok(Some(report));
    }
    let path = format!("{SOURCE}/{}", settings.junit);
    let file = files::download(context, name, &path, REPORT_BYTES_MAX).await?;
    Ok(file.as_deref().and_then(junit::read))
}

#[cfg(test)]
#[path = "test_tests.rs"]
mod tests;
