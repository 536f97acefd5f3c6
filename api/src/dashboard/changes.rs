//! What changed between two releases: commits and files, as `GET /v1/apps/{app}/changes` tells them.

use serde::Deserialize;

/// What is between two releases.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Changes {
    /// True when the second one is older: the commits are those that it takes back.
    pub(super) reverted: bool,
    /// Newest first.
    pub(super) commits: Vec<Changed>,
    pub(super) more_commits: u64,
    pub(super) files: Vec<File>,
    pub(super) more_files: u64,
}

/// A commit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Changed {
    pub(super) sha: String,
    pub(super) subject: String,
    pub(super) author: String,
}

/// A file that differs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) path: String,
    /// None: it is not text.
    pub(super) added: Option<u64>,
    pub(super) deleted: Option<u64>,
}

impl Changed {
    pub(super) fn short(&self) -> &str {
        self.sha.get(..12).unwrap_or(&self.sha)
    }
}
