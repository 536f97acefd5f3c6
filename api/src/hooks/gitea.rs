//! What Gitea and Forgejo deliver: GitHub's push with headers of their own, and without its `forced`.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::delivery::{
    Commit, Delivery, Event, Head, Malformed, RefChange, hash, id, json, moved, paths_of, reference, text,
};
use crate::sources::refs::Reference;

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    before: String,
    after: String,
    /// `null` when a ref was deleted.
    commits: Option<Vec<Commit>>,
    /// How many commits were pushed; no more than the server's `PAGING_NUM` are delivered.
    #[serde(default)]
    total_commits: Option<usize>,
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
    let id = id(headers, &["x-forgejo-delivery", "x-gitea-delivery"]);
    let event =
        text(headers, "x-forgejo-event").or_else(|| text(headers, "x-gitea-event")).ok_or_else(|| {
            Malformed(
                "expected the header X-Gitea-Event or X-Forgejo-Event, which Gitea and Forgejo send".into(),
            )
        })?;
    let (sender, event) = match event {
        "push" => push(json(body)?)?,
        "ping" => (None, Event::Ping),
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
    let commits = push.commits.unwrap_or_default();
    let all_told = before.is_some() && push.total_commits.is_none_or(|total| total == commits.len());
    // A branch that was only set back has no commits, and changed all the same.
    let paths = if all_told && !commits.is_empty() { paths_of(&commits) } else { None };
    let after = match hash("after", &push.after)? {
        None => None,
        Some(after) => {
            let newest = commits.into_iter().find(|commit| commit.id.eq_ignore_ascii_case(after.as_str()));
            Some(match push.head_commit.or(newest) {
                None => Head::bare(after),
                Some(commit) => {
                    let sha = match (&reference, hash("head_commit.id", &commit.id)?) {
                        (Reference::Tag(_), Some(marked)) => marked,
                        (Reference::Branch(_) | Reference::Tag(_), _) => after,
                    };
                    commit.into_head(sha, paths)
                }
            })
        }
    };
    Ok((sender, moved(RefChange { reference, before, after })))
}
