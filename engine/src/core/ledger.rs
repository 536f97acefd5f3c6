//! What is true of the installation and not of one run: which apps there are, what is paused or held, who has
//! a token. One stream of the log, beside those of the runs, named by the log's own id.
//!
//! Every event here is the record of a command that somebody gave; the envelope says who. Folding them is all
//! there is: nothing in this stream is ever due, retried or parked.
//!
//! **Invariant:** no value of a secret stands here, and of a token only its hash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::event::{Envelope, Event};
use super::lane::LaneId;
use super::run::RunId;
use super::settings::SecretName;

/// Returns the id of the ledger's stream in a log.
pub const fn ledger_of(log_id: Uuid) -> RunId {
    RunId(log_id)
}

/// One thing that somebody decided about the installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum LedgerEvent {
    /// An app was made known, or what is known of it was changed.
    AppRegistered {
        /// The app.
        app: String,
        /// All that is known of it now.
        registration: Box<Registration>,
    },
    /// What was known of an app is forgotten. Its runs stay in the log.
    AppRemoved {
        /// The app.
        app: String,
    },
    /// No run enters the lane until it is resumed; what serves goes on serving.
    LanePaused {
        /// App and environment.
        lane: LaneId,
        /// Why.
        reason: String,
    },
    /// Runs enter the lane again.
    LaneResumed {
        /// App and environment.
        lane: LaneId,
    },
    /// A person keeps a commit from being deployed.
    CommitHeld {
        /// App and environment.
        lane: LaneId,
        /// Full hash.
        sha: String,
        /// Why.
        reason: String,
    },
    /// A held commit may be deployed again.
    HoldReleased {
        /// App and environment.
        lane: LaneId,
        /// Full hash.
        sha: String,
    },
    /// A token was handed out.
    TokenCreated {
        /// What it opens.
        token: TokenGrant,
    },
    /// A token opens nothing any more.
    TokenRevoked {
        /// Which.
        id: Uuid,
    },
    /// A secret got a value.
    SecretSet {
        /// The app.
        app: String,
        /// Only in this environment. None: in all that have none of their own.
        env: Option<String>,
        /// Its name.
        name: String,
    },
    /// A secret was taken away.
    SecretRemoved {
        /// The app.
        app: String,
        /// Only in this environment. None: the one of all environments.
        env: Option<String>,
        /// Its name.
        name: String,
    },
    /// Outputs of old runs, and what nobody needed any more, were given up.
    Pruned {
        /// How many runs' outputs.
        runs: u64,
        /// How many containers, images and folders.
        swept: u64,
    },
}

impl LedgerEvent {
    /// Returns what was decided, in words.
    pub fn in_words(&self) -> String {
        let of = |env: &Option<String>| env.as_ref().map_or(String::new(), |env| format!(" in {env}"));
        match self {
            Self::AppRegistered { app, .. } => format!("registered the app {app}"),
            Self::AppRemoved { app } => format!("removed the app {app}"),
            Self::LanePaused { lane, reason } => format!("paused {lane}: {reason}"),
            Self::LaneResumed { lane } => format!("resumed {lane}"),
            Self::CommitHeld { lane, sha, reason } => format!("held commit {sha} in {lane}: {reason}"),
            Self::HoldReleased { lane, sha } => format!("released commit {sha} in {lane}"),
            Self::TokenCreated { token } => format!("created the token {} ({})", token.label, token.id),
            Self::TokenRevoked { id } => format!("revoked the token {id}"),
            Self::SecretSet { app, env, name } => format!("set the secret {name} of {app}{}", of(env)),
            Self::SecretRemoved { app, env, name } => {
                format!("removed the secret {name} of {app}{}", of(env))
            }
            Self::Pruned { runs, swept } => format!("pruned outputs of {runs} runs and {swept} leftovers"),
        }
    }

    /// Returns the lane whose runs it concerns, if there is one.
    pub const fn lane(&self) -> Option<&LaneId> {
        match self {
            Self::LanePaused { lane, .. }
            | Self::LaneResumed { lane }
            | Self::CommitHeld { lane, .. }
            | Self::HoldReleased { lane, .. } => Some(lane),
            Self::AppRegistered { .. }
            | Self::AppRemoved { .. }
            | Self::TokenCreated { .. }
            | Self::TokenRevoked { .. }
            | Self::SecretSet { .. }
            | Self::SecretRemoved { .. }
            | Self::Pruned { .. } => None,
        }
    }
}

/// What is known of an app before any of its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Registration {
    /// Where its commits come from.
    pub source: Source,
    /// Environment by branch, a glob pattern. Empty: the app's own configuration says which branches are deployed;
    /// behind a URL, where it can't be read before the run, `main` and `master` go to production.
    pub branches: BTreeMap<String, String>,
    /// Environment by tag, a glob pattern. Empty: tags start nothing.
    pub tags: BTreeMap<String, String>,
    /// Only pushes that change one of these paths, glob patterns; those that begin with `!` are left out. Empty: all.
    pub paths: Vec<String>,
    /// How often a URL is asked for new heads, in milliseconds. None: seldom, to find a push whose delivery was lost.
    pub poll_ms: Option<u64>,
    /// Name of the secret with which deliveries are signed.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub webhook_secret: Option<SecretName>,
    /// Where the state of a run is reported to.
    pub forge: Option<Forge>,
    /// Shows its badge to whoever asks: what is live, and how the last run ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub public_badge: bool,
}

/// Where the commits of an app come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// They are pushed to the git remote of the server.
    #[default]
    Push,
    /// They are fetched.
    Git {
        /// An https or ssh URL without credentials.
        url: String,
        /// Name of the secret that holds the private ssh key, or the token for https.
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        credential: Option<SecretName>,
    },
}

/// The place where an app's commits are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Forge {
    /// What it speaks.
    pub kind: ForgeKind,
    /// Root of its API: `https://api.github.com`, `https://gitlab.example.com/api/v4`.
    pub api: String,
    /// `owner/name`.
    pub project: String,
    /// Name of the secret that holds the token.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub token: SecretName,
}

/// What a forge speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ForgeKind {
    /// GitHub, and its Enterprise server.
    #[serde(rename = "github")]
    GitHub,
    /// GitLab.
    #[serde(rename = "gitlab")]
    GitLab,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
    /// Bitbucket Cloud.
    Bitbucket,
}

impl ForgeKind {
    /// Returns its name in addresses and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
            Self::Bitbucket => "bitbucket",
        }
    }
}

/// How much a token opens; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look.
    Read,
    /// Start runs of commits: push, trigger, retry what is parked.
    Trigger,
    /// Decide what is deployed: roll back, promote, approve, cancel, pause, hold.
    Deploy,
    /// Everything: apps, tokens, secrets, prune.
    Admin,
}

/// A token, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TokenGrant {
    /// Its name in lists and in the log.
    pub id: Uuid,
    /// Whom or what it is for.
    pub label: String,
    /// What it opens.
    pub scope: Scope,
    /// Only for this app. None: for all.
    pub app: Option<String>,
    /// Until when, in milliseconds since 1970. None: until it is revoked.
    pub expires_ms: Option<u64>,
    /// SHA-256 of the token in hex. The token has 244 random bits, so a slow hash would add nothing.
    pub sha256: String,
}

/// What the ledger says now, and since when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// The seq of its last event: what the next append expects.
    pub seq: u64,
    /// The apps that were made known.
    pub apps: BTreeMap<String, Registration>,
    /// The tokens that were handed out and not revoked. Those that have expired are among them.
    pub tokens: BTreeMap<Uuid, TokenGrant>,
}

impl Ledger {
    /// Returns the fold of a ledger's events, in order.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Envelope>) -> Self {
        let mut ledger = Self::default();
        for envelope in events {
            ledger.seq = envelope.seq;
            if let Event::Ledger(event) = &envelope.event {
                ledger.apply(event);
            }
        }
        ledger
    }

    /// Takes in one more event. What concerns a lane is folded where lanes are.
    pub fn apply(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::AppRegistered { app, registration } => {
                self.apps.insert(app.clone(), (**registration).clone());
            }
            LedgerEvent::AppRemoved { app } => drop(self.apps.remove(app)),
            LedgerEvent::TokenCreated { token } => drop(self.tokens.insert(token.id, token.clone())),
            LedgerEvent::TokenRevoked { id } => drop(self.tokens.remove(id)),
            LedgerEvent::LanePaused { .. }
            | LedgerEvent::LaneResumed { .. }
            | LedgerEvent::CommitHeld { .. }
            | LedgerEvent::HoldReleased { .. }
            | LedgerEvent::SecretSet { .. }
            | LedgerEvent::SecretRemoved { .. }
            | LedgerEvent::Pruned { .. } => {}
        }
    }
}
