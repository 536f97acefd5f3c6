//! What GitLab delivers: `object_kind` in the body tells pushes of branches and tags; a deletion has no
//! `checkout_sha`.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::delivery::{
    Commit, Delivery, Event, Head, Malformed, RefChange, hash, id, json, moved, paths_of, reference,
};

#[derive(Deserialize)]
struct Kind {
    /// System hooks have `event_name` alone.
    #[serde(default)]
    object_kind: Option<String>,
    #[serde(default)]
    event_name: Option<String>,
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    before: String,
    after: String,
    /// The commit, also where `after` is a tag with a message. `null` when the ref was deleted.
    checkout_sha: Option<String>,
    #[serde(default)]
    user_username: Option<String>,
    #[serde(default)]
    user_name: Option<String>,
    #[serde(default)]
    commits: Vec<Commit>,
    /// No more than 20 commits are delivered.
    #[serde(default)]
    total_commits_count: Option<usize>,
}

/// Reads a delivery.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Delivery, Malformed> {
    // Not X-Gitlab-Event-UUID: an event that another webhook led to has that one's.
    let id = id(headers, &["webhook-id", "idempotency-key"]);
    let kind: Kind = json(body)?;
    let kind = kind
        .object_kind
        .or(kind.event_name)
        .ok_or_else(|| Malformed("expected `object_kind` in the body, which GitLab sends".into()))?;
    let (sender, event) = match kind.as_str() {
        "push" | "tag_push" => push(json(body)?)?,
        other => {
            let why = format!("the event {other:?} starts no run; pushes of branches and tags do");
            (None, Event::Ignored { why })
        }
    };
    Ok(Delivery { id, sender, event })
}

fn push(push: Push) -> Result<(Option<String>, Event), Malformed> {
    let sender = push.user_username.or(push.user_name);
    let reference = match reference(&push.reference) {
        Ok(reference) => reference,
        Err(ignored) => return Ok((sender, ignored)),
    };
    let before = hash("before", &push.before)?;
    let all_told = before.is_some() && push.total_commits_count == Some(push.commits.len());
    // A branch that was only set back has no commits, and changed all the same.
    let paths = if all_told && !push.commits.is_empty() { paths_of(&push.commits) } else { None };
    let after = match (hash("after", &push.after)?, push.checkout_sha) {
        (None, _) => None,
        (Some(after), None) => Some(Head::bare(after)),
        (Some(after), Some(checkout)) => {
            let sha = hash("checkout_sha", &checkout)?.unwrap_or(after);
            let commit = push.commits.into_iter().find(|commit| commit.id.eq_ignore_ascii_case(sha.as_str()));
            Some(match commit {
                Some(commit) => commit.into_head(sha, paths),
                None => Head { paths, ..Head::bare(sha) },
            })
        }
    };
    Ok((sender, moved(RefChange { reference, before, after })))
}
