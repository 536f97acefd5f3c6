//! Whether what the stages depend on answers: asked without doing anything, for monitoring.

use std::time::Duration;

use landfall_engine::core::settings::RegistrySettings;

use crate::context::Context;
use crate::docker::{self, DockerVersion};
use crate::stopped::Stopped;
use crate::{plan, registry};

/// A question here is answered from memory; whoever asks wants to know soon.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks after what the stages depend on.
#[derive(Clone, Debug)]
pub struct Vitals {
    context: Context,
}

impl Vitals {
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }

    /// Asks the Docker engine who it is.
    ///
    /// # Errors
    ///
    /// Why it can't be worked with, in words.
    pub async fn docker(&self) -> Result<(), String> {
        match tokio::time::timeout(LIMIT, self.context.docker.check()).await {
            Ok(found) => found.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err(format!("Docker did not answer within {} s", LIMIT.as_secs())),
        }
    }

    /// Asks a registry whether it is one. `server` is its host, with a path where it has several tenants.
    ///
    /// # Errors
    ///
    /// Why it is none, in words.
    pub async fn registry(&self, server: &str) -> Result<(), String> {
        let host = server.split('/').next().unwrap_or(server);
        match tokio::time::timeout(LIMIT, registry::answers(&self.context, host)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("the registry {host} did not answer within {} s", LIMIT.as_secs())),
        }
    }

    /// Asks the Docker engine what it is made of.
    ///
    /// # Errors
    ///
    /// Why it can't be worked with, in words that say what to do.
    pub async fn engine(&self) -> Result<EngineFound, String> {
        let docker = &self.context.docker;
        let asked = async {
            let version = docker.check().await.map_err(|error| error.to_string())?;
            let explained = |error| docker::explain("asking Docker about itself", &error);
            let info = docker.ask(docker.api().info()).await.map_err(explained)?;
            Ok(EngineFound {
                version,
                host: docker.host().to_owned(),
                root: info.docker_root_dir,
                time: info.system_time,
            })
        };
        let silent = |_| Err(format!("Docker did not answer within {} s: restart it", LIMIT.as_secs()));
        tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(silent)
    }

    /// Tells whether Docker has an image already.
    ///
    /// # Errors
    ///
    /// Why Docker can't say.
    pub async fn has_image(&self, image: &str) -> Result<bool, String> {
        let docker = &self.context.docker;
        match tokio::time::timeout(LIMIT, docker.ask(docker.api().inspect_image(image))).await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) if docker::is_not_found(&error) => Ok(false),
            Ok(Err(error)) => Err(docker::explain(&format!("looking for {image}"), &error)),
            Err(_) => Err(format!("Docker did not answer within {} s", LIMIT.as_secs())),
        }
    }

    /// Tells whether an image is in its registry, for us.
    ///
    /// # Errors
    ///
    /// Why the registry can't say, or does not let us in.
    pub async fn in_registry(&self, image: &str) -> Result<bool, String> {
        let (host, path, reference) = parts_of(image);
        let asked = async {
            let login = registry::login(&self.context, &RegistrySettings::default(), &host).await?;
            registry::manifest(&self.context, login.as_ref(), &host, &path, &reference).await
        };
        match tokio::time::timeout(LIMIT, asked).await {
            Ok(found) => {
                found.map(|found| found.is_some()).map_err(|stopped: Stopped| stopped.reason().to_owned())
            }
            Err(_) => Err(format!("the registry {host} did not answer within {} s", LIMIT.as_secs())),
        }
    }

    /// Logs in at a registry as a push of an app would, and returns as whom.
    ///
    /// # Errors
    ///
    /// Why it does not let us in, in words that say what to check; never the password.
    pub async fn login(&self, settings: &RegistrySettings, service: &str) -> Result<Option<String>, String> {
        let repository = format!("{}/{service}", settings.server);
        let (host, path) = plan::split_repository(&repository)?;
        let asked = async {
            let login = registry::login(&self.context, settings, host).await?;
            // There is no such tag: being told so is being let in.
            registry::manifest(&self.context, login.as_ref(), host, path, "landfall-doctor").await?;
            Ok(login.map(|login| login.to_string()))
        };
        match tokio::time::timeout(LIMIT, asked).await {
            Ok(answer) => answer.map_err(|stopped: Stopped| stopped.reason().to_owned()),
            Err(_) => Err(format!("the registry {host} did not answer within {} s", LIMIT.as_secs())),
        }
    }

    /// Returns what time a registry says it is, as it wrote it. None: it does not say.
    pub async fn time_of_registry(&self, server: &str) -> Option<String> {
        let host = server.split('/').next().unwrap_or(server);
        tokio::time::timeout(LIMIT, registry::date(&self.context, host)).await.ok()?
    }

    /// Asks the traffic proxy who it is.
    ///
    /// # Errors
    ///
    /// Why it can't be steered, in words.
    pub async fn proxy(&self) -> Result<(), String> {
        let silent = |_| Err(format!("the traffic proxy did not answer within {} s", LIMIT.as_secs()));
        let asked = tokio::time::timeout(LIMIT, self.context.proxy.info()).await;
        asked.map_or_else(silent, |info| info.map(drop).map_err(|error| error.to_string()))
    }
}

/// A Docker engine that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFound {
    /// Which one it is.
    pub version: DockerVersion,
    /// Where it was asked.
    pub host: String,
    /// The folder of its images and containers, on its machine.
    pub root: Option<String>,
    /// What time it says it is, as RFC 3339.
    pub time: Option<String>,
}

/// Returns host, path and tag or digest of an image, as Docker reads a name.
fn parts_of(image: &str) -> (String, String, String) {
    let (name, reference) = match (image.split_once('@'), image.rsplit_once(':')) {
        (Some((name, digest)), _) => (name, digest),
        (None, Some((name, tag))) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    };
    let is_host = |part: &str| part == "localhost" || part.contains(['.', ':']);
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path.to_owned()),
        Some(_) => ("docker.io", name.to_owned()),
        None => ("docker.io", format!("library/{name}")),
    };
    (host.to_owned(), path, reference.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_looked_for_where_docker_would() {
        let check = |image: &str, host: &str, path: &str, reference: &str| {
            assert_eq!(parts_of(image), (host.to_owned(), path.to_owned(), reference.to_owned()), "{image}");
        };
        check("python:3.12-slim", "docker.io", "library/python", "3.12-slim");
        check("acme/base", "docker.io", "acme/base", "latest");
        check("localhost:5000/shop", "localhost:5000", "shop", "latest");
        check("ghcr.io/acme/shop@sha256:00", "ghcr.io", "acme/shop", "sha256:00");
    }
}
