//! What changed between two releases: their commits, as `GET /v1/apps/{app}/changes` tells them.

use serde::Deserialize;

/// The commits between two releases.
#[derive(Debug, Deserialize)]
pub(super) struct Changes {
    /// The commits, newest first.
    #[serde(default)]
    pub(super) commits: Vec<Changed>,
    /// How many there are beyond those.
    #[serde(default)]
    pub(super) more: u64,
}

/// A commit.
#[derive(Debug, Deserialize)]
pub(super) struct Changed {
    pub(super) sha: String,
    #[serde(default)]
    pub(super) subject: String,
    #[serde(default)]
    pub(super) author: String,
}

impl Changed {
    pub(super) fn short(&self) -> &str {
        self.sha.get(..12).unwrap_or(&self.sha)
    }
}
