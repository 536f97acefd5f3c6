//! Gitea and Forgejo: commit statuses. They have no deployments.

use serde_json::json;

use super::CommitState;
use super::DESCRIPTION_BYTES_MAX;
use super::Status;
use super::endpoint::Endpoint;
use super::endpoint::Request;
use crate::lines::clip;

/// `POST /repos/{owner}/{repo}/statuses/{sha}`.
pub(super) fn status(endpoint: &Endpoint, status: &Status) -> Request {
    let state = match status.state {
        CommitState::Pending | CommitState::Running => "pending",
        CommitState::Success => "success",
        CommitState::Failure => "failure",
        CommitState::Cancelled => "error",
    };
    Request::post(
        endpoint.below_owner_and_name("repos", &["statuses", &status.sha]),
        json!({
            "context": status.context,
            "state": state,
            "description": clip(&status.description, DESCRIPTION_BYTES_MAX),
            "target_url": status.url.as_deref().unwrap_or_default(),
        }),
    )
}
