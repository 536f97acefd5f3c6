//! The file of the vault: a line that tells the right key from a wrong one, then a line for each secret.
//!
//! ```text
//! {"format":1,"check":{"nonce":…,"text":…}}
//! {"app":"shop","env":null,"name":"DATABASE_URL","set_ms":…,"sealed":{"nonce":…,"text":…}}
//! ```
//!
//! A line that can't be read is kept as it is and costs no other line. Names can be read without the key.
//! Written whole: beside the old file, synced, and put in its place.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Scope;
use super::key::{Key, Sealed};

const FORMAT: u32 = 1;

/// What the check of the key was sealed for.
const CHECK: &[u8] = b"landfall vault: the key fits";

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    format: u32,
    check: Sealed,
}

/// A secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) app: String,
    pub(super) env: Option<String>,
    pub(super) name: String,
    pub(super) set_ms: u64,
    sealed: Sealed,
}

impl Entry {
    /// Seals a value under its scope and name.
    pub(super) fn seal(key: &Key, scope: &Scope, name: &str, value: &str, set_ms: u64) -> Self {
        let Scope { app, env } = scope.clone();
        let sealed = key.seal(&purpose(&app, env.as_deref(), name), value);
        Self { app, env, name: name.to_owned(), set_ms, sealed }
    }

    /// Opens the value. None: it is damaged, or stood in another place.
    pub(super) fn open(&self, key: &Key) -> Option<zeroize::Zeroizing<String>> {
        key.open(&purpose(&self.app, self.env.as_deref(), &self.name), &self.sealed)
    }

    /// Seals the same value with another key.
    pub(super) fn resealed(&self, old: &Key, new: &Key) -> Option<Self> {
        let scope = Scope { app: self.app.clone(), env: self.env.clone() };
        Some(Self::seal(new, &scope, &self.name, &self.open(old)?, self.set_ms))
    }

    pub(super) fn is(&self, scope: &Scope, name: &str) -> bool {
        self.name == name && self.app == scope.app && self.env == scope.env
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, env, name, .. } = self;
        write!(f, "{name} of {}", Scope { app: app.clone(), env: env.clone() })
    }
}

/// Ties a value to its place. JSON keeps the parts apart, whatever is in them.
fn purpose(app: &str, env: Option<&str>, name: &str) -> Vec<u8> {
    serde_json::json!(["landfall vault: a secret", app, env, name]).to_string().into_bytes()
}

/// What is in the file.
#[derive(Debug)]
pub(super) struct Content {
    /// None: the first line can't be read.
    header: Option<Header>,
    pub(super) entries: Vec<Entry>,
    /// Lines that can't be read, with their places from 1.
    pub(super) damaged: Vec<(usize, Vec<u8>)>,
}

/// Whether a key is the one that the file was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Right,
    Wrong,
    /// Nothing is left by which it could be told.
    Unknown,
}

impl Content {
    /// Returns an empty vault that this key opens.
    pub(super) fn new(key: &Key) -> Self {
        let header = Header { format: FORMAT, check: key.seal(CHECK, "") };
        Self { header: Some(header), entries: Vec::new(), damaged: Vec::new() }
    }

    /// Reads the file. None: there is none.
    pub(super) fn read(file: &Path) -> io::Result<Option<Self>> {
        match fs::read(file) {
            Ok(bytes) => Ok(Some(Self::parse(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let header = serde_json::from_slice(first).ok().filter(|header: &Header| header.format == FORMAT);
        let mut damaged: Vec<_> = header.is_none().then(|| (1, first.to_owned())).into_iter().collect();
        let mut entries = Vec::new();
        for (line, nth) in lines.zip(2..).filter(|(line, _)| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(entry) => entries.push(entry),
                Err(_) => damaged.push((nth, line.to_owned())),
            }
        }
        Self { header, entries, damaged }
    }

    /// Tells whether a key is the right one: a secret that it opens tells it as well as the first line.
    pub(super) fn fits(&self, key: &Key) -> Fit {
        let checks = self.header.as_ref().is_some_and(|header| key.open(CHECK, &header.check).is_some());
        if checks || self.entries.iter().any(|entry| entry.open(key).is_some()) {
            return Fit::Right;
        }
        match self.header.is_some() || !self.entries.is_empty() {
            true => Fit::Wrong,
            false => Fit::Unknown,
        }
    }

    /// Puts the content in the place of the file's, durably; a first line that was damaged is mended.
    pub(super) fn write(&self, file: &Path, key: &Key) -> io::Result<()> {
        let mut text = Vec::new();
        let header =
            self.header.clone().unwrap_or_else(|| Header { format: FORMAT, check: key.seal(CHECK, "") });
        serde_json::to_writer(&mut text, &header)?;
        text.push(b'\n');
        for entry in &self.entries {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        for (_, line) in self.damaged.iter().filter(|(nth, _)| *nth > 1) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        replace(file, &text)
    }
}

fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // The folder's own name has to be durable, too.
        File::open(folder.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    }
    let draft = file.with_extension("tmp");
    let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    // A draft that was left behind keeps the mode it had.
    written.set_permissions(fs::Permissions::from_mode(0o600))?;
    written.write_all(bytes)?;
    written.sync_all()?;
    fs::rename(&draft, file)?;
    File::open(folder)?.sync_all()
}
