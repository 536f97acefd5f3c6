//! The image of a container is there before the container is made, or there is a clear word why not.

use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt;
use landfall_engine::core::settings::RegistrySettings;
use landfall_engine::ports::Output;

use super::no_answer;
use crate::context::Context;
use crate::stopped::Stopped;
use crate::{docker, registry};

/// Refuses what is no reference of an image. It ends in a URL, where Docker takes it unescaped.
pub(crate) fn check_reference(image: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@');
    let starts_plain = image.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts_plain
        && image.len() <= 400
        && image.bytes().all(plain)
        && !image.contains("..")
        && !image.contains("//")
    {
        return Ok(());
    }
    Err(format!("{image:?} is no name of an image: expected something like python:3.12-slim"))
}

/// Returns the id of an image, after a pull if it was not there.
pub(crate) async fn ensure_image(
    context: &Context,
    image: &str,
    registry: &RegistrySettings,
    output: &Output,
) -> Result<String, Stopped> {
    check_reference(image).map_err(Stopped::failed)?;
    if let Some(id) = id_of(context, image).await? {
        return Ok(id);
    }
    output.line(&format!("pulling {image}"));
    pull(context, image, registry).await?;
    id_of(context, image)
        .await?
        .ok_or_else(|| Stopped::errored(format!("{image} was pulled and is not there")))
}

async fn id_of(context: &Context, image: &str) -> Result<Option<String>, Stopped> {
    let docker = &context.docker;
    match docker.ask(docker.api().inspect_image(image)).await {
        Ok(found) => Ok(found.id),
        Err(error) if docker::is_not_found(&error) => Ok(None),
        Err(error) => Err(no_answer(&format!("looking for the image {image}"), &error)),
    }
}

async fn pull(context: &Context, image: &str, registry: &RegistrySettings) -> Result<(), Stopped> {
    let (name, tag) = split(image);
    let host = host_of(name);
    let is_apps_own = registry.server.split('/').next() == Some(host);
    let docker_config = RegistrySettings { username: None, password: None, ..RegistrySettings::default() };
    let settings = if is_apps_own { registry } else { &docker_config };
    let login = registry::login(context, settings, host).await?;
    let credentials = login.map(|login| login.for_docker(host));
    let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
    let progress = context.docker.api().create_image(Some(options), None, credentials);
    match progress.try_for_each(|_| async { Ok(()) }).await {
        Ok(()) => Ok(()),
        Err(error) if is_refusal(&error) => Err(Stopped::failed(format!(
            "the image {image} is not on this machine and can't be pulled: {}; check its name, or load it with \
             `docker load` or `docker build`",
            docker::message(&error)
        ))),
        Err(error) => Err(no_answer(
            &format!("the image {image} is not on this machine and could not be pulled"),
            &error,
        )),
    }
}

/// Splits a reference into what Docker wants apart. **Never an empty tag: that pulls all of them.**
fn split(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        return (name, digest);
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && !tag.is_empty() => (name, tag),
        _ => (image.trim_end_matches(':'), "latest"),
    }
}

/// Returns the registry of an image's name, by Docker's own rule.
fn host_of(name: &str) -> &str {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// Tells whether the registry said no, rather than nothing.
fn is_refusal(error: &Error) -> bool {
    let said = docker::message(error).to_lowercase();
    let refusals =
        ["not found", "manifest unknown", "denied", "unauthorized", "does not exist", "no basic auth"];
    let is_silence = ["timeout", "no such host", "connection refused", "dial tcp"];
    docker::status(error) == Some(404)
        || docker::status(error) == Some(400)
        || (refusals.iter().any(|text| said.contains(text))
            && !is_silence.iter().any(|text| said.contains(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_split_where_docker_wants_it_and_never_has_an_empty_tag() {
        assert_eq!(split("python:3.12-slim"), ("python", "3.12-slim"));
        assert_eq!(split("python"), ("python", "latest"));
        assert_eq!(split("python:"), ("python", "latest"));
        assert_eq!(split("127.0.0.1:5000/shop"), ("127.0.0.1:5000/shop", "latest"));
        assert_eq!(split("127.0.0.1:5000/shop:v1"), ("127.0.0.1:5000/shop", "v1"));
        assert_eq!(split("a/b@sha256:00"), ("a/b", "sha256:00"));
    }

    #[test]
    fn what_would_reach_another_endpoint_is_no_image() {
        for good in ["python:3.12-slim", "127.0.0.1:5000/a/b@sha256:0f", "python"] {
            check_reference(good).unwrap();
        }
        for bad in ["", "../containers/x", "a/../b", "a?b", "-a", "/a", "a b", "a#b", "a//b", "grün"] {
            check_reference(bad).unwrap_err();
        }
    }

    #[test]
    fn a_registry_that_says_no_is_told_from_one_that_says_nothing() {
        let stream = |error: &str| Error::DockerStreamError { error: error.into() };
        assert!(is_refusal(&stream("manifest for python:9 not found: manifest unknown")));
        assert!(is_refusal(&stream("pull access denied for nope, repository does not exist")));
        assert!(!is_refusal(&stream(
            "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup x: no such host"
        )));
        assert!(!is_refusal(&stream("received unexpected HTTP status: 503 Service Unavailable")));
    }
}
