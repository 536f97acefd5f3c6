//! What a forge delivers, whatever the forge: refs that were moved, or something that starts no run.
//!
//! Made by one file a forge. Everything in it is checked: names are names of git's, hashes are hashes.

use axum::http::HeaderMap;
use serde::Deserialize;

use crate::sources::refs::{Reference, Sha};

/// Longer ids than this are no forge's; all of them send UUIDs.
const ID_BYTES_MAX: usize = 100;

/// A delivery that can't be read. The sender is told why; the signature was right, so it is no stranger.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) String);

/// A delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Names it: sent again, it has the same. None: the forge gave none.
    pub(super) id: Option<String>,
    /// Who pushed, as the forge knows them.
    pub(super) sender: Option<String>,
    /// What happened.
    pub(super) event: Event,
}

/// What happened at a forge.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Refs were moved.
    Push(Vec<RefChange>),
    /// The forge tries whether it reaches us.
    Ping,
    /// Something else.
    Ignored {
        /// Why it starts no run.
        why: String,
    },
}

/// A ref that was moved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RefChange {
    /// The branch or tag.
    pub(super) reference: Reference,
    /// Where it was. None: it is new.
    pub(super) before: Option<Sha>,
    /// What it is at now. None: it was deleted.
    pub(super) after: Option<Head>,
}

/// What a ref is at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The commit; for a tag with a message the one that it marks.
    pub(super) sha: Sha,
    /// Its whole message, if it was delivered.
    pub(super) message: Option<String>,
    /// Its author's name, if that was delivered.
    pub(super) author: Option<String>,
    /// Its author's e-mail address, if that was delivered.
    pub(super) email: Option<String>,
    /// The paths that the push changed. None: they were not all delivered.
    pub(super) paths: Option<Vec<String>>,
}

impl Head {
    /// Returns a head of which nothing but the hash is known.
    pub(super) const fn bare(sha: Sha) -> Self {
        Self { sha, message: None, author: None, email: None, paths: None }
    }
}

/// A name with an address, as GitHub, GitLab, Gitea and Forgejo write the author of a commit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Person {
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
}

/// A commit as GitHub, GitLab, Gitea and Forgejo write it in a push.
#[derive(Debug, Deserialize)]
pub(super) struct Commit {
    pub(super) id: String,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) author: Option<Person>,
    #[serde(default)]
    pub(super) added: Option<Vec<String>>,
    #[serde(default)]
    pub(super) removed: Option<Vec<String>>,
    #[serde(default)]
    pub(super) modified: Option<Vec<String>>,
}

impl Commit {
    /// Returns it as what a ref is at.
    pub(super) fn into_head(self, sha: Sha, paths: Option<Vec<String>>) -> Head {
        let Person { name, email } = self.author.unwrap_or_default();
        Head { sha, message: self.message, author: name, email, paths }
    }
}

/// Returns the project that a delivery says it is of: `owner/name`. None: it does not say.
pub(super) fn project(body: &[u8]) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Of {
        repository: Option<Repository>,
        project: Option<Project>,
    }
    #[derive(Deserialize)]
    struct Repository {
        full_name: Option<String>,
    }
    #[derive(Deserialize)]
    struct Project {
        path_with_namespace: Option<String>,
    }
    let Of { repository, project } = serde_json::from_slice(body).ok()?;
    let of_gitlab = project.and_then(|project| project.path_with_namespace);
    of_gitlab.or_else(|| repository?.full_name)
}

/// Returns every path that some of these commits changed. None: one of them does not say.
pub(super) fn paths_of(commits: &[Commit]) -> Option<Vec<String>> {
    let mut paths = Vec::new();
    for commit in commits {
        let lists = [&commit.added, &commit.removed, &commit.modified];
        if lists.iter().all(|list| list.is_none()) {
            return None;
        }
        paths.extend(lists.into_iter().flatten().flatten().cloned());
    }
    paths.sort_unstable();
    paths.dedup();
    Some(paths)
}

/// Reads a body as JSON of a shape.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body)
        .map_err(|error| Malformed(format!("the body is not the JSON expected here: {error}")))
}

/// Returns a header's text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
}

/// Returns what names a delivery: the first of these headers that is there.
pub(super) fn id(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    let id = names.iter().find_map(|name| text(headers, name))?;
    // It is part of a name in the log.
    let fits = id.len() <= ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| id.to_owned())
}

/// Reads a hash that a forge sent; zeros are none.
pub(super) fn hash(field: &str, text: &str) -> Result<Option<Sha>, Malformed> {
    if crate::sources::refs::is_nothing(text) {
        return Ok(None);
    }
    let wrong = || Malformed(format!("expected the hash of a commit (40 or 64 hex digits) as `{field}`"));
    Sha::parse(text).map(Some).ok_or_else(wrong)
}

/// Reads a ref that a forge sent. Of other refs than branches and tags nothing is ever deployed.
pub(super) fn reference(text: &str) -> Result<Reference, Event> {
    let shown: String = text.chars().filter(|char| !char.is_control()).take(80).collect();
    let why = format!("{shown:?} is neither a branch nor a tag");
    Reference::parse(text).ok_or(Event::Ignored { why })
}

/// Returns the event of one moved ref.
pub(super) fn moved(change: RefChange) -> Event {
    let stands =
        change.before.is_some() && change.before.as_ref() == change.after.as_ref().map(|head| &head.sha);
    if stands {
        // What Gitea and Forgejo send to try a webhook.
        return Event::Ignored { why: "nothing was moved: this is a test delivery".into() };
    }
    Event::Push(vec![change])
}
