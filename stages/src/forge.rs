//! Tells a forge how far the run of a commit got: a commit status, and a deployment where the forge has them.
//!
//! ```text
//! Status, Deployment ─▶ github | gitlab | gitea | bitbucket: a request, pure ─▶ call ─▶ done | Unreported
//! ```
//!
//! Nothing is remembered here: whoever asks knows what was told before. **No error names the token.**

mod bitbucket;
mod call;
mod endpoint;
mod gitea;
mod github;
mod gitlab;

use std::sync::Arc;
use std::time::Duration;

use landfall_engine::core::ledger::Forge;
use landfall_engine::core::ledger::ForgeKind;
use landfall_engine::core::run::RunId;
use zeroize::Zeroizing;

use crate::secrets::Secrets;
use call::Call;
use endpoint::Endpoint;

/// Forges answer in tenths of a second; who waits longer is down, and is asked again later.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest line that every forge shows: GitHub's.
const DESCRIPTION_BYTES_MAX: usize = 140;

/// How a commit stands, in the terms that all forges have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitState {
    /// Its checks have not ended.
    Pending,
    /// Its checks were passed; it is on its way.
    Running,
    /// It serves.
    Success,
    /// A stage said no, or its deploy was rolled back.
    Failure,
    /// It was stopped, by a person or by a newer commit.
    Cancelled,
}

/// What is said of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The commit's full hash.
    pub sha: String,
    /// The branch that was pushed.
    pub branch: Option<String>,
    /// Whose word it is: a forge keeps one for each.
    pub context: String,
    /// How it stands.
    pub state: CommitState,
    /// The same in a line.
    pub description: String,
    /// Where more is said.
    pub url: Option<String>,
}

/// What is said of the deploy of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The run that deploys.
    pub run: RunId,
    /// The commit's full hash.
    pub sha: String,
    /// The branch that was pushed.
    pub branch: Option<String>,
    /// Where to.
    pub env: String,
    /// How it stands; never [`CommitState::Pending`].
    pub state: CommitState,
    /// The same in a line.
    pub description: String,
    /// Where more is said.
    pub url: Option<String>,
}

/// Why a forge was not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreported {
    /// An answer: no. **Mend the registration, its token, or the project.**
    #[error("{reason}")]
    Refused {
        /// What the forge said, or what is missing here.
        reason: String,
    },
    /// No answer, or the word to come again later. **Ask again.**
    #[error("{reason}")]
    Unanswered {
        /// What went wrong.
        reason: String,
        /// How long the forge wants to be left alone, where it said so.
        retry_after: Option<Duration>,
    },
}

/// Speaks to forges.
#[derive(Clone, Debug)]
pub struct Forges {
    http: reqwest::Client,
    secrets: Arc<Secrets>,
    limit: Duration,
}

impl Forges {
    pub(crate) const fn new(http: reqwest::Client, secrets: Arc<Secrets>) -> Self {
        Self { http, secrets, limit: LIMIT }
    }

    /// Returns one that waits for each answer no longer than this.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Tells the forge of an app how a commit stands. Saying it twice is saying it once.
    ///
    /// # Errors
    ///
    /// [`Unreported`]: whether to ask again.
    pub async fn status(&self, app: &str, forge: &Forge, status: &Status) -> Result<(), Unreported> {
        let (endpoint, call) = self.to(app, forge)?;
        match forge.kind {
            ForgeKind::GitHub => call.send(github::status(&endpoint, status)).await.map(drop),
            ForgeKind::GitLab => {
                gitlab::told(call.send(gitlab::status(&endpoint, status)).await, status.state)
            }
            ForgeKind::Gitea | ForgeKind::Forgejo => {
                call.send(gitea::status(&endpoint, status)).await.map(drop)
            }
            ForgeKind::Bitbucket => call.send(bitbucket::status(&endpoint, status)?).await.map(drop),
        }
    }

    /// Tells the forge of an app how a deploy stands, and returns its number there; `known` is the number if it is
    /// known. None: this forge has no deployments.
    ///
    /// # Errors
    ///
    /// [`Unreported`]: whether to ask again.
    pub async fn deployment(
        &self,
        app: &str,
        forge: &Forge,
        deployment: &Deployment,
        known: Option<u64>,
    ) -> Result<Option<u64>, Unreported> {
        let (endpoint, call) = self.to(app, forge)?;
        match forge.kind {
            ForgeKind::GitHub => github::deploy(&call, &endpoint, deployment, known).await.map(Some),
            ForgeKind::GitLab => gitlab::deploy(&call, &endpoint, deployment, known).await.map(Some),
            ForgeKind::Gitea | ForgeKind::Forgejo | ForgeKind::Bitbucket => Ok(None),
        }
    }

    fn to(&self, app: &str, forge: &Forge) -> Result<(Endpoint, Call<'_>), Unreported> {
        let endpoint = Endpoint::of(forge)?;
        let token = self.token(app, forge)?;
        Ok((endpoint, Call::new(&self.http, forge.kind, &token, self.limit)?))
    }

    /// Returns the token. One that is missing is an answer: asking again does not set it.
    fn token(&self, app: &str, forge: &Forge) -> Result<Zeroizing<String>, Unreported> {
        let of_app =
            self.secrets.for_app(app, None).map_err(|error| Unreported::unanswered(error.to_string()))?;
        let token = of_app.get(&forge.token).map_err(|missing| Unreported::refused(missing.to_string()))?;
        Ok(Zeroizing::new(token.to_owned()))
    }
}

impl Unreported {
    fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    fn unanswered(reason: impl Into<String>) -> Self {
        Self::Unanswered { reason: reason.into(), retry_after: None }
    }
}

#[cfg(test)]
#[path = "forge/tests.rs"]
mod tests;
