//! A build that may mount secrets: `RUN --mount=type=secret,id=NAME`.
//!
//! Docker's plain build request has no place for secrets, so such a build goes to BuildKit itself. That way
//! has no place for a progress report: the output is the end alone. A build argument would be simpler,
//! and would keep the secret in the image's history for ever.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bollard::grpc::build::{ImageBuildFrontendOptions, ImageBuildLoadInput, SecretSource};
use bollard::grpc::driver::Build;
use bollard::grpc::driver::moby::Moby;
use bollard::grpc::error::GrpcError;
use bytes::Bytes;
use landfall_engine::ports::{Order, Output};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::build::{Request, judge};
use crate::build_context::BuildContext;
use crate::context::Context;
use crate::stopped::Stopped;

/// The context is held in memory for this way; a source of more than this does not belong in an image.
const CONTEXT_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Builds with the secrets that the settings name.
pub(crate) async fn build(
    context: &Context,
    order: &Order,
    request: &Request<'_>,
    build_context: BuildContext,
    output: &Output,
) -> Result<(), Stopped> {
    let folder = context.work_dir(order.run.id);
    let secrets = SecretFiles::write(context, request, &folder)?;
    let mut options = ImageBuildFrontendOptions::builder().dockerfile(Path::new(request.file));
    for (name, value) in &request.settings.build.args {
        options = options.buildarg(name, value);
    }
    for (name, value) in &request.labels {
        options = options.label(name, value);
    }
    for name in &request.settings.build.secrets {
        options = options.set_secret(name, &SecretSource::File(secrets.folder.path().join(name)));
    }
    let tar = collect(build_context).await?;
    output.line("building with secrets: Docker reports no progress in this mode");
    let (docker, options) = (context.docker.api().clone(), options.build());
    let (name, credentials) = (request.name.to_string(), request.credentials.clone());
    let building = on_a_thread_of_its_own(move || async move {
        let credentials = credentials.iter().map(|(host, login)| (host.as_str(), login.clone())).collect();
        let driver = Moby::new(&docker);
        let input = ImageBuildLoadInput::Upload(tar);
        driver.docker_build(&name, options, input, Some(credentials), None).await
    });
    match building.await {
        Some(built) => built.map_err(|error| refuse(error, output)),
        None => Err(Stopped::errored("building the image: the session with BuildKit broke off")),
    }
}

/// Drives what can't move between threads, as bollard's session with BuildKit. Dropping the future ends it.
async fn on_a_thread_of_its_own<T, F>(work: impl FnOnce() -> F + Send + 'static) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let dropped = CancellationToken::new();
    let _tells = dropped.clone().drop_guard();
    let runtime = Handle::current();
    let driving = tokio::task::spawn_blocking(move || {
        runtime.block_on(async move { dropped.run_until_cancelled(work()).await })
    });
    driving.await.ok().flatten()
}

fn refuse(error: GrpcError, output: &Output) -> Stopped {
    match error {
        GrpcError::DockerError { err } => judge(&err, None),
        GrpcError::TonicStatus { err } => {
            output.line(err.message());
            judge(&bollard::errors::Error::DockerStreamError { error: err.message().to_owned() }, None)
        }
        other => Stopped::errored(format!("building the image: BuildKit does not answer: {other}")),
    }
}

async fn collect(build_context: BuildContext) -> Result<Bytes, Stopped> {
    let (mut pieces, _reading) = build_context.stream();
    let mut tar = Vec::new();
    while let Some(piece) = pieces.recv().await {
        let piece =
            piece.map_err(|error| Stopped::errored(format!("reading the source for the build: {error}")))?;
        tar.extend_from_slice(&piece);
        if tar.len() > CONTEXT_BYTES_MAX {
            return Err(Stopped::failed(format!(
                "the build context is larger than {} MiB: name what the image does not need in .dockerignore",
                CONTEXT_BYTES_MAX / (1024 * 1024)
            )));
        }
    }
    Ok(tar.into())
}

/// The values, for as long as the build takes: in files of a folder that only we can read.
struct SecretFiles {
    folder: TempDir,
}

impl SecretFiles {
    fn write(context: &Context, request: &Request<'_>, folder: &Path) -> Result<Self, Stopped> {
        let wrong =
            |error: std::io::Error| Stopped::errored(format!("keeping the secrets of the build: {error}"));
        let folder = tempfile::Builder::new().prefix("secrets-").tempdir_in(folder).map_err(wrong)?;
        for name in &request.settings.build.secrets {
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if name.is_empty() || !plain {
                return Err(Stopped::failed(format!(
                    "`[build] secrets` has {name:?}: expected the name of a secret (letters, digits, '_', '-')"
                )));
            }
            let value = context
                .secrets
                .get(name)
                .map_err(|missing| Stopped::failed(format!("`[build] secrets`: {missing}")))?;
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(folder.path().join(name))
                .map_err(wrong)?;
            file.write_all(value.as_bytes()).map_err(wrong)?;
        }
        Ok(Self { folder })
    }
}
