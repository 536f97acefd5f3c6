//! GitLab: commit statuses, which it takes once for each state, and deployments.

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
use super::github::number;
use crate::lines::clip;

const fn name_of(state: CommitState) -> &'static str {
    match state {
        CommitState::Pending => "pending",
        CommitState::Running => "running",
        CommitState::Success => "success",
        CommitState::Failure => "failed",
        CommitState::Cancelled => "canceled",
    }
}

/// `POST /projects/{id}/statuses/{sha}`.
pub(super) fn status(endpoint: &Endpoint, status: &Status) -> Request {
    let mut body = json!({
        "state": name_of(status.state),
        "name": status.context,
        "description": clip(&status.description, DESCRIPTION_BYTES_MAX),
    });
    if let Some(branch) = &status.branch {
        body["ref"] = json!(branch);
    }
    if let Some(url) = &status.url {
        body["target_url"] = json!(url);
    }
    Request::post(endpoint.below_path("projects", &["statuses", &status.sha]), body)
}

/// Takes GitLab's refusal to be told the same again for what it is: it was told.
pub(super) fn told(answer: Result<Value, Unreported>, state: CommitState) -> Result<(), Unreported> {
    match answer {
        Err(Unreported::Refused { reason }) if is_repetition(&reason, state) => Ok(()),
        answer => answer.map(drop),
    }
}

/// `Cannot transition status via :run from :running (Reason(s): …)`.
fn is_repetition(reason: &str, state: CommitState) -> bool {
    let Some((_, transition)) = reason.split_once("Cannot transition status via :") else { return false };
    let from = transition.split_once(" from :").map_or("", |(_, from)| from);
    from.split(|char: char| !char.is_ascii_alphabetic()).next() == Some(name_of(state))
}

/// Makes the deployment unless it is there, and says how it stands. Returns its number.
pub(super) async fn deploy(
    call: &Call<'_>,
    endpoint: &Endpoint,
    deployment: &Deployment,
    known: Option<u64>,
) -> Result<u64, Unreported> {
    let known = match known {
        Some(id) => Some(id),
        // It may have been made by somebody who did not live to note its number.
        None => unfinished(&call.send(look(endpoint, deployment)).await?, deployment),
    };
    match known {
        Some(id) => update(call, endpoint, deployment, id).await,
        None => number(&call.send(creation(endpoint, deployment)).await?),
    }
}

/// Says how a deployment stands. GitLab refuses to be told the same again, in no words that could be relied on.
async fn update(
    call: &Call<'_>,
    endpoint: &Endpoint,
    deployment: &Deployment,
    id: u64,
) -> Result<u64, Unreported> {
    let url = endpoint.below_path("projects", &["deployments", &id.to_string()]);
    let state = name_of(deployment.state);
    match call.send(Request::put(url.clone(), json!({ "status": state }))).await {
        Err(refused @ Unreported::Refused { .. }) => {
            let stands = call.send(Request::get(url)).await?;
            if stands["status"] == state { Ok(id) } else { Err(refused) }
        }
        answer => answer.map(|_| id),
    }
}

/// `GET /projects/{id}/deployments?environment=…`, newest first.
pub(super) fn look(endpoint: &Endpoint, deployment: &Deployment) -> Request {
    let mut url = endpoint.below_path("projects", &["deployments"]);
    url.query_pairs_mut().extend_pairs([
        ("environment", deployment.env.as_str()),
        ("order_by", "id"),
        ("sort", "desc"),
        ("per_page", "20"),
    ]);
    Request::get(url)
}

/// Returns the number of a deployment of the commit that has not ended: an environment takes one at a time.
fn unfinished(list: &Value, deployment: &Deployment) -> Option<u64> {
    let is_ours = |found: &&Value| {
        found["sha"] == deployment.sha && matches!(found["status"].as_str(), Some("created" | "running"))
    };
    list.as_array()?.iter().find(is_ours)?["id"].as_u64()
}

/// `POST /projects/{id}/deployments`.
pub(super) fn creation(endpoint: &Endpoint, deployment: &Deployment) -> Request {
    Request::post(
        endpoint.below_path("projects", &["deployments"]),
        json!({
            "environment": deployment.env,
            "sha": deployment.sha,
            "ref": deployment.branch.as_ref().unwrap_or(&deployment.sha),
            "tag": false,
            "status": name_of(deployment.state),
        }),
    )
}
