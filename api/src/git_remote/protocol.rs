//! What a hook and the server say to each other, over a socket in the data folder.
//!
//! ```text
//! hook ──▶ one line: {"push": id, "updates": [{"old", "new", "reference"}]}
//! hook ◀── lines for the pusher, as JSON strings, those that the next one is written over in brackets;
//!          at the end the hook's exit code, as a number
//! ```
//!
//! The id of the push is a secret between the server and the git that it started: no one else's hook is heard.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The environment variable that tells a hook which push it belongs to.
pub const PUSH_VARIABLE: &str = "LANDFALL_PUSH";
/// The environment variable that tells a hook where the server is.
pub const SOCKET_VARIABLE: &str = "LANDFALL_HOOK_SOCKET";

/// A ref that was moved, as git tells its hooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The hash before; zeros when the ref is new.
    pub old: String,
    /// The hash now; zeros when the ref was deleted.
    pub new: String,
    /// The whole name: `refs/heads/main`.
    pub reference: String,
}

impl Update {
    /// Returns the update on a line that git wrote to a hook.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.trim_end().splitn(3, ' ').map(str::to_owned);
        Some(Self { old: words.next()?, new: words.next()?, reference: words.next()? })
    }
}

/// What a hook says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) push: Uuid,
    pub(super) updates: Vec<Update>,
}

/// What the server says to a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A line for the pusher.
    Line(String),
    /// A line that the next one is written over.
    Passing(String),
    /// The end: the hook's exit code.
    Exit(u8),
}

impl Told {
    pub(super) fn to_wire(&self) -> String {
        match self {
            // A string has no line end of its own in JSON.
            Self::Line(line) => format!("{}\n", serde_json::Value::from(line.as_str())),
            Self::Passing(line) => format!("{}\n", serde_json::Value::from(vec![line.as_str()])),
            Self::Exit(code) => format!("{code}\n"),
        }
    }

    pub(super) fn from_wire(line: &str) -> io::Result<Self> {
        serde_json::from_str(line)
            .map(Self::Line)
            .or_else(|_| serde_json::from_str(line).map(|[line]: [String; 1]| Self::Passing(line)))
            .or_else(|_| serde_json::from_str(line).map(Self::Exit))
            .map_err(io::Error::other)
    }
}

/// Tells the server what was pushed, and `show`s each line that it answers with, its end with it. Returns the exit code.
///
/// # Errors
///
/// When the server can't be reached, goes away before the end, or when `show` fails.
pub fn say_to_server(
    socket: &Path,
    push: Uuid,
    updates: Vec<Update>,
    mut show: impl FnMut(&str) -> io::Result<()>,
) -> io::Result<u8> {
    let mut stream = UnixStream::connect(socket)?;
    let mut report = serde_json::to_vec(&Report { push, updates })?;
    report.push(b'\n');
    stream.write_all(&report)?;
    for line in BufReader::new(stream).lines() {
        match Told::from_wire(&line?)? {
            Told::Line(line) => show(&(line + "\n"))?,
            // Git puts its `remote: ` before what follows a carriage return, too, and clears what stood there.
            Told::Passing(line) => show(&(line + "\r"))?,
            Told::Exit(code) => return Ok(code),
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server went away"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_arrives_as_it_was_said() {
        for told in [
            Told::Line("a \"b\"\nc ✓".into()),
            Told::Line("1".into()),
            Told::Passing("…".into()),
            Told::Exit(0),
            Told::Exit(1),
        ] {
            let wire = told.to_wire();
            assert_eq!(wire.matches('\n').count(), 1, "{wire:?}");
            assert_eq!(Told::from_wire(wire.trim_end()).unwrap(), told);
        }
        assert!(Told::from_wire("what?").is_err());
    }

    #[test]
    fn a_hooks_line_is_two_hashes_and_a_ref() {
        let update = Update::parse("00 c0ffee refs/heads/a b\n").unwrap();
        assert_eq!((update.new.as_str(), update.reference.as_str()), ("c0ffee", "refs/heads/a b"));
        assert_eq!(Update::parse("00 c0ffee"), None);
    }
}
