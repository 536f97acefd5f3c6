//! What may be in a backup, and under which path.
//!
//! **Invariant:** a path that is not spelled exactly as we write it is none of ours. So no path leads out of the
//! folder that is restored, whatever somebody put into the tar.

use std::fmt;

use landfall_engine::core::event::EventHash;
use landfall_engine::core::run::RunId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::output::{PRUNED_FILE, parse as parse_output};
use crate::segment::files;

/// Version of the layout of a backup.
pub(super) const FORMAT: u32 = 1;

/// The longest name of a file that is copied under its own name.
const NAME_BYTES_MAX: usize = 60;

/// The first entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) format: u32,
    /// Version of the program that wrote it.
    pub(super) version: String,
    pub(super) log_id: Uuid,
    pub(super) created_ms: u64,
}

/// The last entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) head_seq: u64,
    pub(super) head_hash: EventHash,
    /// How many entries stand before this one.
    pub(super) entries: u64,
    /// Over path, length and content of each of them.
    pub(super) sha256: EventHash,
    /// Outputs that were not as the log says when they were copied, or not there.
    #[serde(default)]
    pub(super) unsound: Vec<Unsound>,
}

/// An output that is not as the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unsound {
    pub(super) path: String,
    pub(super) what: String,
}

impl Unsound {
    pub(super) fn changed(part: &Part) -> Self {
        Self { path: part.path(), what: "is not what the log says that was printed".into() }
    }

    pub(super) fn unreadable(part: &Part) -> Self {
        Self { path: part.path(), what: "can't be read, so nobody knows what was pruned".into() }
    }

    pub(super) fn missing(part: &Part) -> Self {
        Self { path: part.path(), what: "is not there, and was not pruned".into() }
    }
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.what)
    }
}

/// One entry of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Start,
    Meta,
    Checkpoint(String),
    Key(String),
    Segment(u64),
    Output { run: RunId, name: String, attempt: u32 },
    Pruned(RunId),
    End,
}

impl Part {
    /// Tells whether it is a signed head: the public key lies beside them.
    pub(super) fn is_signed_head(&self) -> bool {
        matches!(self, Self::Checkpoint(name) if name.ends_with(".json"))
    }

    /// Returns the path in the tar, and in the data folder.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Start => "landfall-backup.json".into(),
            Self::Meta => "META".into(),
            Self::Checkpoint(name) => format!("checkpoints/{name}"),
            Self::Key(name) => name.clone(),
            Self::Segment(first) => format!("log/{}", files::name(*first)),
            Self::Output { run, name, attempt } => format!("output/{run}/{name}-{attempt}.log"),
            Self::Pruned(run) => format!("output/{run}/{PRUNED_FILE}"),
            Self::End => "landfall-backup-end.json".into(),
        }
    }

    /// Returns what a path names; None when it is none of ours, or spelled in another way.
    pub(super) fn parse(path: &[u8]) -> Option<Self> {
        let path = std::str::from_utf8(path).ok()?;
        let part = match path.split('/').collect::<Vec<_>>()[..] {
            ["landfall-backup.json"] => Self::Start,
            ["META"] => Self::Meta,
            ["landfall-backup-end.json"] => Self::End,
            [name] if is_key(name) => Self::Key(name.into()),
            ["checkpoints", name] if is_key(name) => Self::Key(path.into()),
            ["checkpoints", name] if is_plain(name) => Self::Checkpoint(name.into()),
            ["log", name] => Self::Segment(files::parse(name)?),
            ["output", run, PRUNED_FILE] => Self::Pruned(run.parse().ok()?),
            ["output", run, name] => {
                let run = run.parse().ok()?;
                let (name, attempt) = parse_output(name)?;
                let is_known = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
                (is_known && !name.is_empty()).then_some(Self::Output { run, name, attempt })?
            }
            _ => return None,
        };
        // Numbers and ids have more than one spelling; the file must be found under the one that we use.
        (part.path() == path).then_some(part)
    }
}

/// Tells whether a file is a key: kept from others, and out of a backup unless it is asked for.
pub(super) fn is_key(name: &str) -> bool {
    is_plain(name) && name.ends_with(".key")
}

/// Tells whether a file may be copied under its own name.
pub(super) fn is_plain(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && name.bytes().all(is_usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_found_under_its_path_and_no_other() {
        let run = RunId(Uuid::from_u128(7));
        let parts = [
            Part::Start,
            Part::Meta,
            Part::Checkpoint("00000000000000000009.json".into()),
            Part::Key("signing.key".into()),
            Part::Key("checkpoints/signing.key".into()),
            Part::Segment(1),
            Part::Output { run, name: "push_image".into(), attempt: 12 },
            Part::Pruned(run),
            Part::End,
        ];
        for part in parts {
            let path = part.path();
            assert_eq!(Part::parse(path.as_bytes()), Some(part));
            for other in [format!("/{path}"), format!("./{path}"), format!("{path}/"), format!("../{path}")] {
                assert_eq!(Part::parse(other.as_bytes()), None, "{other}");
            }
        }
    }

    #[test]
    fn no_path_leads_out_or_to_what_is_not_ours() {
        let run = Uuid::from_u128(7);
        let loud = run.to_string().to_uppercase();
        let others = [
            "../META".into(),
            "log/../META".into(),
            "checkpoints/..".into(),
            "checkpoints/.hidden".into(),
            "checkpoints/a/b".into(),
            "..key".into(),
            "LOCK".into(),
            "RESTORED".into(),
            "token".into(),
            "log/1.seg".into(),
            "log/00000000000000000001.seg.new".into(),
            format!("output/{run}/../x-1.log"),
            format!("output/{run}/test-01.log"),
            format!("output/{run}/te/st-1.log"),
            format!("output/{run}/-1.log"),
            format!("output/{loud}/test-1.log"),
            format!("output/{}/test-1.log", run.simple()),
            String::new(),
        ];
        for other in others {
            // The nil-like id has no letters, so its upper case is itself.
            let is_same = other == format!("output/{run}/test-1.log");
            assert!(is_same || Part::parse(other.as_bytes()).is_none(), "{other}");
        }
        assert_eq!(Part::parse(b"log/\xff"), None);
    }
}
