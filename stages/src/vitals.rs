//! Whether what the stages depend on answers: asked without doing anything, for monitoring.

use std::time::Duration;

use crate::context::Context;
use crate::registry;

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
