//! Bitbucket Cloud: build statuses. It takes none without a link.

use serde_json::json;

use super::CommitState;
use super::DESCRIPTION_BYTES_MAX;
use super::Status;
use super::Unreported;
use super::endpoint::Endpoint;
use super::endpoint::Request;
use crate::lines::clip;

/// The longest key that Bitbucket takes, in characters.
const KEY_BYTES_MAX: usize = 40;

/// `POST /repositories/{workspace}/{repo}/commit/{sha}/statuses/build`.
pub(super) fn status(endpoint: &Endpoint, status: &Status) -> Result<Request, Unreported> {
    let url = status.url.as_deref().ok_or_else(|| {
        Unreported::refused(
            "Bitbucket takes no status without a link: start `landfall serve` with --public-url",
        )
    })?;
    let state = match status.state {
        CommitState::Pending | CommitState::Running => "INPROGRESS",
        CommitState::Success => "SUCCESSFUL",
        CommitState::Failure => "FAILED",
        CommitState::Cancelled => "STOPPED",
    };
    Ok(Request::post(
        endpoint.below_owner_and_name("repositories", &["commit", &status.sha, "statuses", "build"]),
        json!({
            "key": clip(&status.context, KEY_BYTES_MAX),
            "name": status.context,
            "state": state,
            "description": clip(&status.description, DESCRIPTION_BYTES_MAX),
            "url": url,
        }),
    ))
}
