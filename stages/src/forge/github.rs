//! GitHub: commit statuses, and deployments with statuses of their own.

use serde_json::Value;
use serde_json::json;

use super::CommitState;
use super::DESCRIPTION_BYTES_MAX;
use super::Deployment;
use super::Status;
use super::Unreported;
use super::call::Call;
use super::endpoint::Endpoint;
use super::endpoint::Request;
use crate::lines::clip;

/// What tells our deployments from those of others for the same commit.
const TASK: &str = "deploy";

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
            "target_url": status.url,
        }),
    )
}

/// Makes the deployment unless it is there, and says how it stands. Returns its number.
pub(super) async fn deploy(
    call: &Call<'_>,
    endpoint: &Endpoint,
    deployment: &Deployment,
    known: Option<u64>,
) -> Result<u64, Unreported> {
    let id = match known {
        Some(id) => id,
        // It may have been made by somebody who did not live to note its number.
        None => match ours(&call.send(look(endpoint, deployment)).await?, deployment) {
            Some(id) => id,
            None => number(&call.send(creation(endpoint, deployment)).await?)?,
        },
    };
    call.send(deployment_status(endpoint, deployment, id)).await?;
    Ok(id)
}

/// `GET /repos/{owner}/{repo}/deployments?sha=…`, newest first.
pub(super) fn look(endpoint: &Endpoint, deployment: &Deployment) -> Request {
    let mut url = endpoint.below_owner_and_name("repos", &["deployments"]);
    let Deployment { sha, env, .. } = deployment;
    url.query_pairs_mut().extend_pairs([("sha", sha.as_str()), ("environment", env), ("task", TASK)]);
    Request::get(url)
}

/// Returns the number of the deployment that the run made, if it is in the list.
fn ours(list: &Value, deployment: &Deployment) -> Option<u64> {
    let run = deployment.run.to_string();
    let made_by = |found: &Value| match &found["payload"] {
        // GitHub gives a payload back as it came, and older servers as a text.
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        payload => payload.clone(),
    };
    let found = list.as_array()?.iter().find(|found| made_by(found)["landfall_run"] == run)?;
    found["id"].as_u64()
}

/// `POST /repos/{owner}/{repo}/deployments`. The tests were ours, so it waits for no checks of others, and merges
/// nothing.
pub(super) fn creation(endpoint: &Endpoint, deployment: &Deployment) -> Request {
    Request::post(
        endpoint.below_owner_and_name("repos", &["deployments"]),
        json!({
            "ref": deployment.sha,
            "task": TASK,
            "auto_merge": false,
            "required_contexts": [],
            "environment": deployment.env,
            "production_environment": deployment.env == "production",
            "description": "landfall",
            "payload": { "landfall_run": deployment.run.to_string() },
        }),
    )
}

/// `POST /repos/{owner}/{repo}/deployments/{id}/statuses`.
pub(super) fn deployment_status(endpoint: &Endpoint, deployment: &Deployment, id: u64) -> Request {
    let state = match deployment.state {
        CommitState::Pending => "queued",
        CommitState::Running => "in_progress",
        CommitState::Success => "success",
        CommitState::Failure => "failure",
        CommitState::Cancelled => "error",
    };
    let mut body = json!({
        "state": state,
        "environment": deployment.env,
        "description": clip(&deployment.description, DESCRIPTION_BYTES_MAX),
    });
    if let Some(url) = &deployment.url {
        body["log_url"] = json!(url);
    }
    Request::post(endpoint.below_owner_and_name("repos", &["deployments", &id.to_string(), "statuses"]), body)
}

/// Returns the number of what was made.
pub(super) fn number(made: &Value) -> Result<u64, Unreported> {
    made["id"]
        .as_u64()
        .ok_or_else(|| Unreported::refused("the forge made a deployment and gave it no number"))
}
