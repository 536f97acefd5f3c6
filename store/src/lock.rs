//! One process a data folder: the lock, and who holds it.
//!
//! The lock is the kernel's and ends with the process, however that ends. The text in the file is for whoever
//! finds it locked; nothing is concluded from it.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::data_dir::{OpenError, classify};

/// How much of the command line is told: program and subcommand. What follows may be secret.
const COMMAND_WORDS: usize = 2;

/// The process that has a data folder, as it said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id. None: it had no time to say.
    pub pid: Option<u32>,
    /// Its program and subcommand.
    pub command: String,
    /// When it started to use the folder, in milliseconds since 1970.
    pub since_ms: u64,
}

impl Holder {
    fn this_process() -> Self {
        let words = std::env::args_os().take(COMMAND_WORDS);
        let command: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            pid: Some(std::process::id()),
            command: command.join(" "),
            since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { pid: Some(pid), command, since_ms } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let ago = now.saturating_sub(since_ms / 1000);
                write!(f, "process {pid} (`{command}`, started {} ago)", span(ago))
            }
            Self { pid: None, .. } => f.write_str("another process that is just starting"),
        }
    }
}

/// Takes the lock of a data folder. It is held until the file is unlocked, or the process ends.
pub(crate) fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("LOCK");
    let failed = |source| classify(folder, &path, "locking the data folder", source);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            sign(&mut file).map_err(failed)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let holder = read_holder(&mut file).unwrap_or_default();
            Err(OpenError::Locked { folder: folder.to_owned(), holder })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", serde_json::to_string(&Holder::this_process())?)
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
