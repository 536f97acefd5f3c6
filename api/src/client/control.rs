//! What a client asks of deploys, releases and lanes.

use landfall_engine::core::run::RunId;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ANSWER_TIMEOUT, Client, ClientError};
use crate::server::{AppLine, HoldRequest, LaneRequest, PromoteRequest, RetryRequest, RunLink};

impl Client {
    /// Lets the deploy of a run begin that waits for that.
    ///
    /// # Errors
    ///
    /// As for all methods: [`ClientError`].
    pub async fn approve(&self, run_id: RunId) -> Result<RunLink, ClientError> {
        self.change(run_id, "approve", None).await
    }

    /// Fails a run whose deploy waits to be approved.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn reject(&self, run_id: RunId, reason: &str) -> Result<RunLink, ClientError> {
        self.change(run_id, "reject", Some(reason)).await
    }

    /// Does a run that is over again, as a new run.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn rerun(&self, run_id: RunId, request: &RetryRequest) -> Result<RunLink, ClientError> {
        self.post(&format!("/v1/runs/{run_id}/retry"), request, "starting a run again").await
    }

    /// Starts a run that makes a release of one environment live in another.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn promote(&self, app: &str, request: &PromoteRequest) -> Result<RunLink, ClientError> {
        self.post(&format!("/v1/apps/{app}/promote"), request, "promoting a release").await
    }

    /// Lets no run enter a lane.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn pause(&self, app: &str, request: &LaneRequest) -> Result<AppLine, ClientError> {
        self.post(&format!("/v1/apps/{app}/pause"), request, "pausing an app").await
    }

    /// Lets runs enter a lane again.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn resume(&self, app: &str, request: &LaneRequest) -> Result<AppLine, ClientError> {
        self.post(&format!("/v1/apps/{app}/resume"), request, "resuming an app").await
    }

    /// Keeps a commit from being deployed.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn hold(&self, app: &str, request: &HoldRequest) -> Result<AppLine, ClientError> {
        self.post(&format!("/v1/apps/{app}/hold"), request, "holding a commit").await
    }

    /// Lets a commit be deployed again.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn release_hold(&self, app: &str, request: &HoldRequest) -> Result<AppLine, ClientError> {
        self.post(&format!("/v1/apps/{app}/release"), request, "releasing a commit").await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        doing: &'static str,
    ) -> Result<T, ClientError> {
        self.json(self.request(Method::POST, path).json(body).timeout(ANSWER_TIMEOUT), doing).await
    }
}
