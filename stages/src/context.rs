//! What every stage works with: connections, secrets and folders. Made once, shared by all.

use std::path::PathBuf;
use std::sync::Arc;

use landfall_engine::core::lane::LaneId;
use landfall_engine::core::run::RunId;

use crate::docker::DockerHandle;
use crate::git::RepositoryKeys;
use crate::proxy::ProxyClient;
use crate::secrets::Secrets;

/// What every stage works with.
#[derive(Clone, Debug)]
pub struct Context {
    /// The Docker engine.
    pub docker: DockerHandle,
    /// For health probes, smoke checks, registries and webhooks. Follows no redirects, uses no system proxy.
    pub http: reqwest::Client,
    /// The values behind the names in the settings: of the process alone, until [`Context::of`] an app.
    pub secrets: Arc<Secrets>,
    /// Which secrets open the repositories behind URLs.
    pub keys: RepositoryKeys,
    /// The process that carries the traffic.
    pub proxy: ProxyClient,
    /// The data folder; work folders are below it.
    pub data: PathBuf,
    /// True: `[test] host = true` runs tests on this machine, as this user.
    pub host_tests: bool,
}

impl Context {
    /// Returns the same with what the vault has for an app and environment, as it is now.
    ///
    /// # Errors
    ///
    /// Says why the vault can't be opened. What has to be hidden is not known then, so nothing may be printed.
    pub async fn of(&self, lane: &LaneId) -> Result<Self, String> {
        if self.secrets.vault().is_none() {
            return Ok(self.clone());
        }
        let (secrets, LaneId { app, env }) = (Arc::clone(&self.secrets), lane.clone());
        let opening = tokio::task::spawn_blocking(move || secrets.for_app(&app, Some(&env))).await;
        let opened = opening.map_err(|error| format!("opening the vault of secrets: {error}"))?;
        match opened {
            Ok(secrets) => Ok(Self { secrets: Arc::new(secrets), ..self.clone() }),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Returns the folder that belongs to one run: its checkout and its scratch files.
    pub fn work_dir(&self, run: RunId) -> PathBuf {
        self.data.join("work").join(run.to_string())
    }

    /// Returns the folder with exactly the files of the run's commit, and no `.git`.
    pub fn source_dir(&self, run: RunId) -> PathBuf {
        self.work_dir(run).join("source")
    }
}

/// Returns an error with its cause.
fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or(error.to_string(), |cause| format!("{error}: {cause}"))
}
