//! How a git of ours shows who it is to a repository that is somewhere else.
//!
//! ```text
//! ssh    the key in a file (0600) in a folder (0700) of this git's own, gone when it has ended
//! https  the token in the environment of this git, handed over by a credential helper for that host alone
//! ```
//!
//! Roads not taken: a command line is seen by every user of the machine; a URL with a token ends in messages and
//! in the log; `http.extraHeader` is sent along to whichever host a redirect names, while git asks its helpers
//! anew for every host. The user's own helpers are left out: one that stores would write the token to the disk.
//!
//! **Invariant:** no credential in an argument, an error, or a file that outlives the git that it was for.

use std::fmt;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use landfall_engine::core::ledger::{Ledger, Source};
use landfall_engine::core::settings::SecretName;
use reqwest::Url;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::watch;

use super::GitError;

/// Answers git with what is in its environment, and never stores anything.
const HELPER: &str = "!f() { test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' \"$LANDFALL_GIT_USER\" \
                      \"$LANDFALL_GIT_TOKEN\"; }; f";

/// What stands beside a token that is given alone: GitHub's word, and any word does for GitLab, Gitea and Forgejo.
const USER: &str = "x-access-token";
/// What Bitbucket wants to stand there.
const USER_OF_BITBUCKET: &str = "x-token-auth";

/// What opens the repositories of the apps, as the ledger says at the time of asking. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct RepositoryKeys(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What the log said before there was an engine: runs that were open go on before anybody can tell us.
    before: OnceLock<Ledger>,
    ledger: OnceLock<watch::Receiver<Arc<Ledger>>>,
}

impl RepositoryKeys {
    /// Begins with what the log says, before an engine drives anything.
    pub fn begin(&self, ledger: Ledger) {
        let _ = self.0.before.set(ledger);
    }

    /// Goes on with what the engine says, from now on and for ever.
    pub fn follow(&self, ledger: watch::Receiver<Arc<Ledger>>) {
        let _ = self.0.ledger.set(ledger);
    }

    /// Returns the name of the secret with which an app opens a repository. None: it has none for that one.
    ///
    /// A credential is shown to its own address alone: whoever may trigger a run may name another repository.
    pub fn of(&self, app: &str, url: &str) -> Option<SecretName> {
        match self.0.ledger.get() {
            Some(ledger) => key_in(&ledger.borrow(), app, url),
            None => key_in(self.0.before.get()?, app, url),
        }
    }
}

fn key_in(ledger: &Ledger, app: &str, url: &str) -> Option<SecretName> {
    match &ledger.apps.get(app)?.source {
        Source::Git { url: registered, credential } if registered == url => credential.clone(),
        Source::Git { .. } | Source::Push => None,
    }
}

/// What one or more gits are let in by, for as long as this is kept.
pub struct Access {
    kind: Kind,
    /// The app whose credential it is: what was fetched with it is for nobody else.
    owner: Option<String>,
}

enum Kind {
    /// With what is the user's own.
    Own,
    Ssh {
        command: String,
        /// Removed when this is dropped.
        _folder: TempDir,
    },
    Https {
        origin: String,
        user: String,
        token: String,
    },
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Own => "Access(own)",
            Kind::Ssh { .. } => "Access(ssh key)",
            Kind::Https { .. } => "Access(token)",
        })
    }
}

impl Access {
    /// Returns access with nothing but what the user who runs us has.
    pub const fn own() -> Self {
        Self { kind: Kind::Own, owner: None }
    }

    /// Returns access of an app to a URL with an ssh key or a token, whichever it takes. Hosts that ssh meets for the first time
    /// are noted in DATA, and held to it from then on.
    ///
    /// # Errors
    ///
    /// [`GitError::Credential`] when it can't be used there; [`GitError::Io`] when the key can't be put into a file.
    pub fn with(app: &str, url: &str, credential: &str, data: &Path) -> Result<Self, GitError> {
        let kind = match Url::parse(url) {
            Ok(url) if matches!(url.scheme(), "https" | "http") => Kind::token(&url, credential)?,
            Ok(url) if url.scheme() == "ssh" => Kind::key(credential, data)?,
            // `git@host:path`; a path on this machine needs no key.
            Err(_) if !url.starts_with('/') && url.contains(':') => Kind::key(credential, data)?,
            _ => Kind::Own,
        };
        Ok(Self { kind, owner: Some(app.to_owned()) })
    }

    /// Returns the app that alone may see what was fetched with it.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Lets a git in.
    pub(crate) fn open(&self, command: &mut Command) {
        match &self.kind {
            Kind::Own => {}
            Kind::Ssh { command: ssh, .. } => {
                command.env("GIT_SSH_COMMAND", ssh).env_remove("SSH_AUTH_SOCK");
            }
            Kind::Https { origin, user, token } => {
                command.env("LANDFALL_GIT_USER", user).env("LANDFALL_GIT_TOKEN", token);
                command.env("GIT_CONFIG_COUNT", "2");
                command.env("GIT_CONFIG_KEY_0", "credential.helper").env("GIT_CONFIG_VALUE_0", "");
                command.env("GIT_CONFIG_KEY_1", format!("credential.{origin}.helper"));
                command.env("GIT_CONFIG_VALUE_1", HELPER);
            }
        }
    }

    /// Returns a text of git's without the token, should it ever repeat it.
    pub(crate) fn without_token(&self, said: &str) -> String {
        match &self.kind {
            Kind::Https { token, .. } => said.replace(token, "***"),
            Kind::Own | Kind::Ssh { .. } => said.to_owned(),
        }
    }
}

impl Kind {
    fn token(url: &Url, credential: &str) -> Result<Self, GitError> {
        let wrong = |why: &str| Err(GitError::Credential(why.to_owned()));
        let credential = credential.trim();
        if credential.is_empty() || credential.chars().any(char::is_control) {
            return wrong("expected a token on one line, or `user:token`, for a repository behind https");
        }
        let host = url.host_str().unwrap_or_default();
        if url.scheme() == "http" && !is_loopback(host) {
            return wrong("the token would cross the network unencrypted: give the repository's https URL");
        }
        let (user, token) = match credential.split_once(':') {
            Some((user, token)) => (user, token),
            None if host == "bitbucket.org" => (USER_OF_BITBUCKET, credential),
            None => (USER, credential),
        };
        let origin = url.origin().ascii_serialization();
        Ok(Self::Https { origin, user: user.to_owned(), token: token.to_owned() })
    }

    fn key(credential: &str, data: &Path) -> Result<Self, GitError> {
        if !credential.contains("PRIVATE KEY-----") {
            return Err(GitError::Credential(
                "expected a private ssh key (`-----BEGIN … PRIVATE KEY-----`) without a passphrase, for a \
                 repository behind ssh"
                    .into(),
            ));
        }
        let io = |source| GitError::Io { doing: "writing the deploy key to a file", source };
        let ours_alone = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("landfall-key-").permissions(ours_alone).tempdir();
        let folder = folder.map_err(io)?;
        let key = folder.path().join("key");
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key).map_err(io)?;
        // ssh takes a key without its last line end for none.
        writeln!(file, "{}", credential.replace("\r\n", "\n").trim_end()).map_err(io)?;
        let known_hosts = known_hosts(data).map_err(io)?;
        Ok(Self::Ssh { command: ssh_command(&key, &known_hosts), _folder: folder })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns the file in which ssh notes hosts, in a folder that only we can look into.
fn known_hosts(data: &Path) -> std::io::Result<PathBuf> {
    let folder = std::path::absolute(data)?.join("sources");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder.join("known_hosts"))
}

/// Returns what git starts in the place of ssh. It goes through a shell, and through ssh's own reading of options.
fn ssh_command(key: &Path, known_hosts: &Path) -> String {
    let options = [
        "BatchMode=yes".to_owned(),
        // No key of the user's is tried beside ours: a forge closes the door after a few.
        "IdentitiesOnly=yes".into(),
        "IdentityAgent=none".into(),
        "StrictHostKeyChecking=accept-new".into(),
        format!("UserKnownHostsFile=\"{}\"", known_hosts.display()),
        // A host that does not answer is told within our limit, and not after minutes.
        "ConnectTimeout=15".into(),
    ];
    let options: String = options.iter().map(|option| format!(" -o {}", quoted(option))).collect();
    format!("ssh -i {}{options}", quoted(&key.display().to_string()))
}

/// Returns a word that a shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
