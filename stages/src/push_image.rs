//! Pushes the run's image and reads its digest back from the registry.
//!
//! From here on the digest is the image: what was tested and pushed is what is deployed.

use std::time::Duration;

use bollard::query_parameters::PushImageOptionsBuilder;
use futures_util::StreamExt;
use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::{Facts, PushedImage};
use landfall_engine::ports::{Order, Output, Probe};

use crate::context::Context;
use crate::docker::{explain, is_unreachable, message};
use crate::plan::{self, ImageName};
use crate::registry::{self, Login};
use crate::stopped::Stopped;

/// Docker reports on a transfer several times a second; silence for so long means that nothing moves.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// Pushes the image, or finds it pushed.
pub(crate) async fn run(context: &Context, order: &Order, output: &Output) -> Outcome {
    match try_run(context, order, output).await {
        Ok(image) => Outcome::Succeeded(Facts::PushImage(image)),
        Err(stopped) => stopped.into(),
    }
}

async fn try_run(context: &Context, order: &Order, output: &Output) -> Result<PushedImage, Stopped> {
    let settings = plan::settings(order).map_err(Stopped::failed)?;
    let name = plan::image_name(order).map_err(Stopped::failed)?;
    let login = registry::login(context, &settings.registry, &name.host).await?;
    if let Some(image) = find(context, order, &name, login.as_ref()).await? {
        output.line(&format!("{name} is in the registry already: {}", image.digest));
        return Ok(image);
    }
    let said = push(context, &name, login.as_ref(), output).await?;
    let found = registry::manifest(context, login.as_ref(), &name.host, &name.path, &name.tag).await?;
    let Some(found) = found else {
        return Err(Stopped::errored(format!("{name} was pushed, and the registry does not have it")));
    };
    if said.as_ref().is_some_and(|said| *said != found.digest) {
        let said = said.unwrap_or_default();
        return Err(Stopped::errored(format!(
            "{name} was pushed as {said}, and the registry has {} under this tag: does somebody else use it?",
            found.digest
        )));
    }
    output.line(&format!("{name} is {}", found.digest));
    Ok(pushed(&name, found.digest))
}

/// Says whether the registry has the image of this run.
pub(crate) async fn probe(context: &Context, order: &Order) -> Result<Probe, String> {
    let probing = async {
        let settings = plan::settings(order).map_err(Stopped::failed)?;
        let name = plan::image_name(order).map_err(Stopped::failed)?;
        let login = registry::login(context, &settings.registry, &name.host).await?;
        find(context, order, &name, login.as_ref()).await
    };
    match probing.await {
        Ok(Some(image)) => Ok(Probe::Done(Outcome::Succeeded(Facts::PushImage(image)))),
        // What is wrong with the login is said by the attempt itself.
        Ok(None) | Err(Stopped::Failed(_)) => Ok(Probe::NotStarted),
        Err(Stopped::Errored(reason)) => Err(reason),
    }
}

/// Leaves the registry as it is: the tag is the run's own, and is simply pushed again.
pub(crate) async fn undo(_context: &Context, _order: &Order) -> Result<(), String> {
    Ok(())
}

fn pushed(name: &ImageName, digest: String) -> PushedImage {
    PushedImage { repository: name.repository.clone(), tag: name.tag.clone(), digest }
}

/// Returns what the registry has under the run's tag, when it is the image that the run built.
async fn find(
    context: &Context,
    order: &Order,
    name: &ImageName,
    login: Option<&Login>,
) -> Result<Option<PushedImage>, Stopped> {
    let found = registry::manifest(context, login, &name.host, &name.path, &name.tag).await?;
    let Some(found) = found else { return Ok(None) };
    let built = order.run.built.as_ref().map(|built| built.image_id.as_str());
    // Docker knows an image by its configuration, or by its manifest where containerd stores it.
    let ours = built == Some(found.digest.as_str())
        || registry::image_id(context, login, &name.host, &name.path, &found.digest).await?.as_deref()
            == built;
    Ok(ours.then(|| pushed(name, found.digest)))
}

/// Pushes and returns the digest that Docker names at the end.
async fn push(
    context: &Context,
    name: &ImageName,
    login: Option<&Login>,
    output: &Output,
) -> Result<Option<String>, Stopped> {
    let options = PushImageOptionsBuilder::default().tag(&name.tag).build();
    let credentials = login.map(|login| login.for_docker(&name.host));
    let mut stream = Box::pin(context.docker.api().push_image(&name.repository, Some(options), credentials));
    let mut digest = None;
    // Docker names no layer here, so its steps are counted instead of repeated.
    let (mut pushed, mut there) = (0_u32, 0_u32);
    loop {
        let next = tokio::time::timeout(IDLE_LIMIT, stream.next());
        let message = next
            .await
            .map_err(|_| Stopped::errored(format!("pushing {name}: nothing moved for {IDLE_LIMIT:?}")))?;
        let Some(message) = message else { break };
        let status = message.map_err(|error| judge(&error, "pushing", name, login))?.status;
        match status.as_deref() {
            Some("Pushed") => pushed += 1,
            Some("Layer already exists") => there += 1,
            Some("Preparing" | "Waiting" | "Pushing") | None => {}
            Some(status) => {
                digest = digest_in(status, &name.tag).or(digest);
                output.line(status);
            }
        }
    }
    output.line(&format!("layers pushed: {pushed}, in the registry already: {there}"));
    Ok(digest)
}

/// Finds the digest in `TAG: digest: sha256:… size: N`.
fn digest_in(status: &str, tag: &str) -> Option<String> {
    let rest = status.strip_prefix(tag)?.strip_prefix(": digest: ")?;
    let digest = rest.split_whitespace().next()?;
    plan::check_digest(digest).is_ok().then(|| digest.to_owned())
}

/// Tells a registry that says no from one that says nothing. All of it comes in the stream, with HTTP 200.
pub(crate) fn judge(
    error: &bollard::errors::Error,
    doing: &str,
    name: &ImageName,
    login: Option<&Login>,
) -> Stopped {
    let doing = format!("{doing} {name}");
    if is_unreachable(error) {
        return Stopped::errored(explain(&doing, error));
    }
    let said = message(error);
    let has = |signs: &[&str]| signs.iter().any(|sign| said.contains(sign));
    if has(&["unauthorized", "no basic auth credentials", "access denied", "denied:", "403 Forbidden"]) {
        return registry::refused(login, &name.host, &name.path);
    }
    if has(&["server gave HTTP response to HTTPS client"]) {
        return Stopped::failed(format!(
            "{doing}: the registry {} speaks plain http, which Docker allows on this machine alone: give it TLS, or \
             name it in Docker's `insecure-registries`",
            name.host
        ));
    }
    if has(&["does not exist locally", "tag does not exist"]) {
        return Stopped::failed(format!("{doing}: the image is gone from this machine; start a new run"));
    }
    if has(&["quota", "denied by policy", "immutable", "invalid repository name"]) {
        return Stopped::failed(format!("{doing}: the registry says no: {said}"));
    }
    Stopped::errored(format!("{doing}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ImageName {
        ImageName {
            repository: "127.0.0.1:5000/shop".into(),
            host: "127.0.0.1:5000".into(),
            path: "shop".into(),
            tag: "run-1".into(),
        }
    }

    fn judged(text: &str) -> Stopped {
        judge(&bollard::errors::Error::DockerStreamError { error: text.into() }, "pushing", &name(), None)
    }

    #[test]
    fn the_digest_is_found_in_the_line_of_our_tag() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(digest_in(&format!("run-1: digest: {digest} size: 1"), "run-1"), Some(digest.clone()));
        assert_eq!(digest_in(&format!("run-10: digest: {digest} size: 1"), "run-1"), None);
        assert_eq!(digest_in("run-1: digest: sha256:../x size: 1", "run-1"), None);
        assert_eq!(digest_in("Pushed", "run-1"), None);
    }

    #[test]
    fn a_refusal_is_an_answer_and_silence_is_none() {
        for text in ["unauthorized: authentication required", "no basic auth credentials", "denied: no"] {
            assert!(matches!(judged(text), Stopped::Failed(_)), "{text}");
        }
        for text in [
            "Get http://127.0.0.1:5000/v2/: dial tcp 127.0.0.1:5000: connect: connection refused",
            "received unexpected HTTP status: 503 Service Unavailable",
        ] {
            assert!(matches!(judged(text), Stopped::Errored(_)), "{text}");
        }
        assert!(judged("server gave HTTP response to HTTPS client").reason().contains("insecure-registries"));
    }
}
