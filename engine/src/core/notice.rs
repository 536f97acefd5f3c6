//! Who is told what: derived from the state of a run, so that a restart forgets and repeats nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::Cause;
use super::run::{NoticeProgress, Phase, Run, RunState};

/// For whom a notice is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Whoever pushed.
    Developer,
    /// Whoever keeps the service running.
    Ops,
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Developer => "developer",
            Self::Ops => "ops",
        })
    }
}

/// What the notice is about. Part of its identity: each outcome is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The run failed before its deploy.
    Failed,
    /// The deploy was rolled back.
    RolledBack,
    /// The deploy waits for a person who approves it.
    Approval,
    /// The run waits for a person, since this event.
    Parked {
        /// The seq of the event that parked it.
        seq: u64,
    },
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed => f.write_str("failed"),
            Self::RolledBack => f.write_str("rolled_back"),
            Self::Approval => f.write_str("approval"),
            Self::Parked { seq } => write!(f, "parked-{seq}"),
        }
    }
}

/// One notice through one channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NoticeId {
    /// What it is about.
    pub occasion: Occasion,
    /// For whom.
    pub audience: Audience,
    /// Through which channel, as configured: `slack:OPS_WEBHOOK`.
    pub channel: String,
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.occasion, self.audience, self.channel)
    }
}

impl Serialize for NoticeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NoticeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("expected occasion/audience/channel, found {text:?}"))
        })
    }
}

fn parse(text: &str) -> Option<NoticeId> {
    let mut parts = text.splitn(3, '/');
    let occasion = match parts.next()? {
        "failed" => Occasion::Failed,
        "rolled_back" => Occasion::RolledBack,
        "approval" => Occasion::Approval,
        other => Occasion::Parked { seq: other.strip_prefix("parked-")?.parse().ok()? },
    };
    let audience = match parts.next()? {
        "developer" => Audience::Developer,
        "ops" => Audience::Ops,
        _ => return None,
    };
    Some(NoticeId { occasion, audience, channel: parts.next()?.to_owned() })
}

/// Returns the notices that the run's present state calls for, begun or not, in a fixed order.
pub fn called_for(run: &Run) -> Vec<NoticeId> {
    let Some((occasion, audience)) = occasion(run) else { return Vec::new() };
    let Some(settings) = &run.settings else { return Vec::new() };
    let channels = match audience {
        Audience::Developer => &settings.notify.developer,
        Audience::Ops => &settings.notify.ops,
    };
    let mut ids: Vec<NoticeId> =
        channels.iter().map(|channel| NoticeId { occasion, audience, channel: channel.clone() }).collect();
    ids.dedup();
    ids
}

/// Returns the first notice that is called for and not concluded, with how it stands.
pub fn owed(run: &Run) -> Option<(NoticeId, Option<NoticeProgress>)> {
    called_for(run).into_iter().find_map(|id| match run.notices.get(&id).copied() {
        Some(NoticeProgress::Sent | NoticeProgress::Abandoned) => None,
        progress => Some((id, progress)),
    })
}

fn occasion(run: &Run) -> Option<(Occasion, Audience)> {
    match (&run.phase, run.state) {
        (Phase::AwaitingApproval { .. }, _) => Some((Occasion::Approval, Audience::Ops)),
        (Phase::Parked(_), _) => Some((Occasion::Parked { seq: run.parked_seq }, Audience::Ops)),
        (Phase::Ended, RunState::Failed) => match run.cause {
            Some(Cause::StageFailed { .. }) => Some((Occasion::Failed, Audience::Developer)),
            _ => None,
        },
        (Phase::Ended, RunState::RolledBack) => Some((Occasion::RolledBack, Audience::Ops)),
        _ => None,
    }
}
