//! Why a command could not do what was asked: one message, and the exit code that scripts go by.
//!
//! 0 to 3 belong to the endings of a run, so faults begin at 64, as in `sysexits.h`.

use std::error::Error;
use std::io;

use landfall_engine::EngineError;
use landfall_engine::core::command::Rejected;
use landfall_engine::ports::{BoxError, ReadError};
use landfall_store::backup::BackupError;

use crate::client::ClientError;

/// The command line is wrong.
pub const USAGE: u8 = 64;

/// Why a command could not do what was asked. A variant per exit code.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The command line, or what it names, is wrong.
    #[error("{0}")]
    Usage(String),
    /// A history does not verify.
    #[error("{0}")]
    Unsound(String),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// Something that is needed can't be reached, opened or read.
    #[error("{doing}")]
    Unavailable {
        /// What was being done, and what to do.
        doing: String,
        /// Why it went wrong.
        #[source]
        source: BoxError,
    },
    /// The rules say no.
    #[error("{0}")]
    Refused(String),
    /// Whoever read our output has seen enough.
    #[error("the reader hung up")]
    HungUp,
}

impl Fault {
    /// Returns a fault about something that can't be reached, opened or read.
    pub fn unavailable(doing: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Unavailable { doing: doing.into(), source: source.into() }
    }

    /// Returns a fault for an error that says by itself what was being done, and what to do.
    pub fn not_had(error: impl Error + Send + Sync + 'static) -> Self {
        // Its own text is not repeated among the causes.
        Self::Unavailable { doing: error.to_string(), source: error.into() }
    }

    /// Returns a fault of input or output; a reader that hung up is none.
    pub fn io(doing: &str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::HungUp,
            _ => Self::unavailable(doing, error),
        }
    }

    /// Returns the exit code.
    pub const fn code(&self) -> u8 {
        match self {
            Self::HungUp => 0,
            Self::Usage(_) => USAGE,
            Self::Unsound(_) => 65,
            Self::NotFound(_) => 66,
            Self::Unavailable { .. } => 69,
            Self::Refused(_) => 77,
        }
    }

    /// Returns what is said on stderr: the message, then the causes, one a line.
    pub fn message(&self) -> Option<String> {
        if matches!(self, Self::HungUp) {
            return None;
        }
        let mut text = format!("landfall: {self}\n");
        let mut said = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let why = error.to_string();
            // Libraries repeat their cause in their own text; once is enough.
            if !said.contains(&why) {
                text += &format!("  caused by: {why}\n");
                said = why;
            }
            cause = error.source();
        }
        Some(text)
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unreadable { .. } => Self::Unsound(error.to_string()),
            ReadError::Backend { .. } => Self::unavailable("could not read the log", error),
        }
    }
}

impl From<BackupError> for Fault {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Open(error) => Self::not_had(error),
            BackupError::Damaged { .. } | BackupError::Refused { .. } => Self::Unsound(error.to_string()),
            BackupError::Occupied { .. } | BackupError::Exists { .. } => Self::Refused(error.to_string()),
            BackupError::Disk { .. } => Self::not_had(error),
        }
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        match (error.status(), &error) {
            (Some(404 | 410), _) => Self::NotFound(error.to_string()),
            (Some(409), _) => Self::Refused(error.to_string()),
            (Some(429), _) => Self::unavailable("the server took no new run", error),
            (Some(400..=499), _) => Self::Usage(error.to_string()),
            (_, ClientError::Address { .. } | ClientError::Authority { .. }) => {
                Self::Usage(error.to_string())
            }
            _ => Self::unavailable("the server did not do it", error),
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rejected(held @ Rejected::Held { .. }) => {
                Self::Refused(format!("{held}: `landfall run --release-hold`"))
            }
            EngineError::Rejected(rejected) => Self::Refused(rejected.to_string()),
            EngineError::NoSuchRun(_)
            | EngineError::NoSuchRelease { .. }
            | EngineError::NoSuchApp(_)
            | EngineError::NoSuchCommit { .. } => Self::NotFound(error.to_string()),
            EngineError::Illegal(illegal) => Self::Unsound(illegal.to_string()),
            EngineError::NotDriven(_) => Self::Unsound(error.to_string()),
            EngineError::Read(error) => error.into(),
            EngineError::Busy(_) | EngineError::Low(_) => Self::unavailable("no new run was begun", error),
            EngineError::Append(_) | EngineError::Stopping => {
                Self::unavailable("the engine could not go on", error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_said_once_with_its_causes_below() {
        let disk = io::Error::other("No space left on device");
        let read = ReadError::Backend { doing: "the events of run 7".into(), source: disk.into() };
        assert_eq!(
            Fault::from(read).message().unwrap(),
            "landfall: could not read the log\n  \
             caused by: could not read the events of run 7\n  \
             caused by: No space left on device\n"
        );
    }

    #[test]
    fn no_fault_shares_a_code_with_an_ending_of_a_run() {
        let faults = [
            Fault::Usage(String::new()),
            Fault::Unsound(String::new()),
            Fault::NotFound(String::new()),
            Fault::unavailable("", io::Error::other("")),
            Fault::Refused(String::new()),
        ];
        assert!(faults.iter().all(|fault| fault.code() >= 64));
    }

    #[test]
    fn a_reader_that_hung_up_is_not_complained_about() {
        let fault = Fault::io("writing", io::ErrorKind::BrokenPipe.into());
        assert_eq!((fault.code(), fault.message()), (0, None));
    }
}
