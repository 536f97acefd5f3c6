//! What every stage works with: connections, secrets and folders. Made once, shared by all.

use std::path::PathBuf;
use std::sync::Arc;

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
    /// The values behind the names in the settings.
    pub secrets: Arc<Secrets>,
    /// Which secrets open the repositories behind URLs.
    pub keys: RepositoryKeys,
    /// The process that carries the traffic.
    pub proxy: ProxyClient,
    /// The data folder; work folders are below it.
    pub data: PathBuf,
}

impl Context {
    /// Returns the folder that belongs to one run: its checkout and its scratch files.
    pub fn work_dir(&self, run: RunId) -> PathBuf {
        self.data.join("work").join(run.to_string())
    }

    /// Returns the folder with exactly the files of the run's commit, and no `.git`.
    pub fn source_dir(&self, run: RunId) -> PathBuf {
        self.work_dir(run).join("source")
    }
}
