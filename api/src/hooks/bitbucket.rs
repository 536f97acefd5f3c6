//! What Bitbucket Cloud delivers: `X-Event-Key: repo:push`, and several refs in one delivery.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::delivery::{Delivery, Event, Head, Malformed, RefChange, hash, id, json, text};
use crate::sources::refs::Reference;

#[derive(Deserialize)]
struct Body {
    push: Push,
    #[serde(default)]
    actor: Option<Actor>,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(default)]
    nickname: Option<String>,
    #[serde(default)]
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Push {
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    /// `null` for a ref that is new.
    old: Option<At>,
    /// `null` for a ref that was deleted.
    new: Option<At>,
}

#[derive(Deserialize)]
struct At {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    target: Target,
}

#[derive(Deserialize)]
struct Target {
    hash: String,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    author: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    /// `Ada Lovelace <ada@example.com>`.
    #[serde(default)]
    raw: Option<String>,
}

/// Reads a delivery.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Delivery, Malformed> {
    let id = id(headers, &["x-request-uuid"]);
    let key = text(headers, "x-event-key")
        .ok_or_else(|| Malformed("expected the header X-Event-Key, which Bitbucket sends".into()))?;
    let (sender, event) = match key {
        "repo:push" => push(json(body)?)?,
        "diagnostics:ping" => (None, Event::Ping),
        other => {
            (None, Event::Ignored { why: format!("the event {other:?} starts no run; `repo:push` does") })
        }
    };
    Ok(Delivery { id, sender, event })
}

fn push(body: Body) -> Result<(Option<String>, Event), Malformed> {
    let sender = body.actor.and_then(|actor| actor.nickname.or(actor.display_name));
    let mut changes = Vec::new();
    for change in body.push.changes {
        changes.extend(ref_change(change)?);
    }
    if changes.is_empty() {
        let why = "it names neither a branch nor a tag that was moved".into();
        return Ok((sender, Event::Ignored { why }));
    }
    Ok((sender, Event::Push(changes)))
}

/// None: neither a branch nor a tag, such as a bookmark of Mercurial's.
fn ref_change(change: Change) -> Result<Option<RefChange>, Malformed> {
    let Some(named) = change.new.as_ref().or(change.old.as_ref()) else { return Ok(None) };
    let reference = match named.kind.as_str() {
        "branch" | "named_branch" => Reference::branch(&named.name),
        "tag" | "annotated_tag" => Reference::tag(&named.name),
        _ => None,
    };
    let Some(reference) = reference else { return Ok(None) };
    let before = match &change.old {
        Some(old) => hash("old.target.hash", &old.target.hash)?,
        None => None,
    };
    let after = match change.new {
        Some(At { target, .. }) => hash("new.target.hash", &target.hash)?.map(|sha| head(sha, target)),
        None => None,
    };
    Ok(Some(RefChange { reference, before, after }))
}

/// Bitbucket never says which paths were changed.
fn head(sha: crate::sources::refs::Sha, target: Target) -> Head {
    let raw = target.author.and_then(|author| author.raw).unwrap_or_default();
    let (name, email) = match raw.split_once('<') {
        Some((name, email)) => (name.trim(), email.trim_end().trim_end_matches('>')),
        None => (raw.trim(), ""),
    };
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Head { message: target.message, author: known(name), email: known(email), ..Head::bare(sha) }
}
