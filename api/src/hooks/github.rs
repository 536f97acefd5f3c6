//! What GitHub delivers: `X-GitHub-Event`, `X-GitHub-Delivery`, one ref a push.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::delivery::{
    Commit, Delivery, Event, Head, Malformed, RefChange, hash, id, json, moved, paths_of, reference, text,
};
use crate::sources::refs::Reference;

/// GitHub delivers this many commits of a push and no more.
const COMMITS_MAX: usize = 2_048;

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    before: String,
    after: String,
    #[serde(default)]
    forced: bool,
    #[serde(default)]
    commits: Vec<Commit>,
    head_commit: Option<Commit>,
    #[serde(default)]
    sender: Option<Sender>,
}

#[derive(Deserialize)]
struct Sender {
    login: String,
}

/// Reads a delivery.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Delivery, Malformed> {
    let id = id(headers, &["x-github-delivery"]);
    let event = text(headers, "x-github-event")
        .ok_or_else(|| Malformed("expected the header X-GitHub-Event, which GitHub sends".into()))?;
    let (sender, event) = match event {
        "ping" => (None, Event::Ping),
        "push" => push(json(body)?)?,
        other => (None, Event::Ignored { why: format!("the event {other:?} starts no run; `push` does") }),
    };
    Ok(Delivery { id, sender, event })
}

fn push(push: Push) -> Result<(Option<String>, Event), Malformed> {
    let sender = push.sender.map(|sender| sender.login);
    let reference = match reference(&push.reference) {
        Ok(reference) => reference,
        Err(ignored) => return Ok((sender, ignored)),
    };
    let before = hash("before", &push.before)?;
    // What a push took away from a branch, and what a new branch has, is not among the commits.
    let all_told = before.is_some() && !push.forced && push.commits.len() < COMMITS_MAX;
    let paths = if all_told { paths_of(&push.commits) } else { None };
    let after = match (hash("after", &push.after)?, push.head_commit) {
        (None, _) => None,
        (Some(after), None) => Some(Head::bare(after)),
        (Some(after), Some(commit)) => {
            // A tag with a message is an object of its own; the commit is what is deployed.
            let sha = match (&reference, hash("head_commit.id", &commit.id)?) {
                (Reference::Tag(_), Some(marked)) => marked,
                (Reference::Branch(_) | Reference::Tag(_), _) => after,
            };
            Some(commit.into_head(sha, paths))
        }
    };
    Ok((sender, moved(RefChange { reference, before, after })))
}
