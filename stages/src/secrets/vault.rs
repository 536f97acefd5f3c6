//! Secrets at rest: per app and environment, sealed by a key that is not in the data folder.
//!
//! ```text
//! set, remove ─▶ DATA/vault/secrets ─▶ of(app, env) ─▶ values of the environment, over those of the app
//! ```
//!
//! The file is read for each stage of a run, so what was set counts from the next stage on, without a restart.
//! One entry that can't be opened costs no other: it is named, and whoever asks for it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

mod file;
mod key;

use file::{Content, Entry, Fit};
use key::Key;
pub use key::{KEY_VARIABLE, KeyError, KeyPlace};

use super::rules::{self, Unfit};

/// The vault is read for each stage, so it has to stay something that is read in milliseconds.
const SECRETS_MAX: usize = 2_000;

/// Whose a secret is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// The app.
    pub app: String,
    /// The environment. None: every environment of the app that has none of the name itself.
    pub env: Option<String>,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.env {
            Some(env) => write!(f, "{}/{env}", self.app),
            None => f.write_str(&self.app),
        }
    }
}

/// A secret without its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub scope: Scope,
    /// When it was set, in milliseconds since 1970.
    pub set_ms: u64,
}

/// Why the vault gave no answer. A variant per reaction.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The name or the value can't be. **Choose another.**
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// There is no key to open it with. **Bring it.**
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key is one, and not that of this vault. **Name the right one.**
    #[error(
        "the key {} is not the one that {} was sealed with: name the right one by --vault-key or ${KEY_VARIABLE}",
        key.display(), vault.display()
    )]
    WrongKey {
        /// The key.
        key: PathBuf,
        /// The file of the vault.
        vault: PathBuf,
    },
    /// Nothing in the file can be read. **Restore it.**
    #[error(
        "the vault {} can't be read: no line of it is whole; restore it from a copy, or move it away and set its \
         secrets anew", vault.display()
    )]
    Damaged {
        /// The file of the vault.
        vault: PathBuf,
    },
    /// It holds too much. **Remove some.**
    #[error("the vault {} holds {SECRETS_MAX} secrets, and takes no more: remove some", vault.display())]
    Full {
        /// The file of the vault.
        vault: PathBuf,
    },
    /// Some can't be opened, and would be lost. **Set them again, or remove them.**
    #[error("{} can't be opened: set them again or remove them first", names.join(", "))]
    Unopened {
        /// Whose they are, and their names.
        names: Vec<String>,
    },
    /// The disk says no. **Look at it.**
    #[error("could not {doing} the vault {}", vault.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// The file of the vault.
        vault: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// What an app finds in the vault, in one environment.
#[derive(Default)]
pub(super) struct Opened {
    /// Values by name; None for what is there and can't be opened.
    pub(super) values: BTreeMap<String, Option<Zeroizing<String>>>,
    /// Values that those of the environment stand before. They are not handed out, and they are secrets.
    pub(super) hidden: Vec<Zeroizing<String>>,
}

/// The vault of a data folder. Nothing is kept open between two questions.
#[derive(Debug)]
pub struct Vault {
    data: PathBuf,
    key: KeyPlace,
    /// One change at a time; between processes that is the lock of the data folder.
    changing: Mutex<()>,
}

impl Vault {
    /// Returns the vault of a data folder. Neither it nor its key has to be there yet.
    pub fn new(data: &Path, key: KeyPlace) -> Self {
        Self { data: data.to_owned(), key, changing: Mutex::new(()) }
    }

    /// Returns where the key is, or will be once it is made.
    pub fn key_place(&self) -> &KeyPlace {
        &self.key
    }

    /// Returns the secrets of an app in all its environments, by name, without their values. It needs no key.
    ///
    /// # Errors
    ///
    /// [`VaultError`] when the file can't be read.
    pub fn list(&self, app: &str) -> Result<Vec<Listed>, VaultError> {
        let Some(content) = self.read()? else { return Ok(Vec::new()) };
        let of_app = content.entries.into_iter().filter(|entry| entry.app == app);
        let mut listed: Vec<Listed> = of_app
            .map(|Entry { app, env, name, set_ms, .. }| Listed { name, scope: Scope { app, env }, set_ms })
            .collect();
        listed.sort_unstable();
        Ok(listed)
    }

    /// Returns how many secrets there are, once the key is seen to be the one that sealed them.
    ///
    /// # Errors
    ///
    /// [`VaultError`] when the file or its key can't be read, or the key is another one.
    pub fn check(&self) -> Result<usize, VaultError> {
        let Some(content) = self.read()? else { return Ok(0) };
        self.key_of(&content)?;
        Ok(content.entries.len())
    }

    /// Keeps a secret, durably, in the place of the one of that name. The first one makes the key.
    ///
    /// # Errors
    ///
    /// [`VaultError`]; nothing is changed then.
    pub fn set(&self, scope: &Scope, name: &str, value: &str, now_ms: u64) -> Result<(), VaultError> {
        rules::check_name(name)?;
        rules::check_value(value)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut content, key) = match self.read()? {
            Some(content) => {
                let key = self.key_of(&content)?;
                (content, key)
            }
            None => {
                let key = match self.key.read(&self.data)? {
                    Some(key) => key,
                    None => self.key.make(&self.data)?,
                };
                (Content::new(&key), key)
            }
        };
        content.entries.retain(|entry| !entry.is(scope, name));
        if content.entries.len() >= SECRETS_MAX {
            return Err(VaultError::Full { vault: self.file() });
        }
        content.entries.push(Entry::seal(&key, scope, name, value, now_ms));
        content.write(&self.file(), &key).map_err(self.disk("write"))
    }

    /// Takes a secret away, durably, and tells whether it was there.
    ///
    /// # Errors
    ///
    /// [`VaultError`]; nothing is changed then.
    pub fn remove(&self, scope: &Scope, name: &str) -> Result<bool, VaultError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut content) = self.read()? else { return Ok(false) };
        let before = content.entries.len();
        content.entries.retain(|entry| !entry.is(scope, name));
        if content.entries.len() == before {
            return Ok(false);
        }
        let key = self.key.read_existing(&self.data)?;
        content.write(&self.file(), &key).map_err(self.disk("write"))?;
        Ok(true)
    }

    /// Seals every secret with another key, durably, and returns how many there are. The other key is made if it is not
    /// there. The old one opens nothing from then on, and is left where it is.
    ///
    /// # Errors
    ///
    /// [`VaultError`]; nothing is changed then.
    pub fn rekey(&self, to: &KeyPlace) -> Result<usize, VaultError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(content) = self.read()? else { return Ok(0) };
        let old = self.key_of(&content)?;
        let unopened = content.entries.iter().filter(|entry| entry.open(&old).is_none());
        let names: Vec<String> = unopened.map(Entry::to_string).collect();
        if !names.is_empty() {
            return Err(VaultError::Unopened { names });
        }
        let new = match to.read(&self.data)? {
            Some(key) => key,
            None => to.make(&self.data)?,
        };
        let mut resealed = Content::new(&new);
        resealed.damaged = content.damaged;
        resealed.entries = content.entries.iter().filter_map(|entry| entry.resealed(&old, &new)).collect();
        resealed.write(&self.file(), &new).map_err(self.disk("write"))?;
        Ok(resealed.entries.len())
    }

    /// Opens what an app has: the secrets of the environment stand before those of the whole app.
    pub(super) fn of(&self, app: &str, env: Option<&str>) -> Result<Opened, VaultError> {
        let mut opened = Opened::default();
        let Some(content) = self.read()? else { return Ok(opened) };
        let is_ours =
            |entry: &&Entry| entry.app == app && (entry.env.is_none() || entry.env.as_deref() == env);
        let mut ours: Vec<&Entry> = content.entries.iter().filter(is_ours).collect();
        if ours.is_empty() && content.damaged.is_empty() {
            return Ok(opened);
        }
        let key = self.key_of(&content)?;
        ours.sort_by_key(|entry| entry.env.is_some());
        for entry in ours {
            let value = entry.open(&key);
            if value.is_none() {
                tracing::error!(app, name = entry.name, "a secret in the vault is damaged; set it again");
            }
            let before = opened.values.insert(entry.name.clone(), value);
            opened.hidden.extend(before.flatten());
        }
        Ok(opened)
    }

    fn read(&self) -> Result<Option<Content>, VaultError> {
        let file = self.file();
        let content = Content::read(&file).map_err(self.disk("read"))?;
        for (line, _) in content.iter().flat_map(|content| &content.damaged) {
            tracing::error!(vault = %file.display(), line, "a line of the vault can't be read; it is kept as it is");
        }
        Ok(content)
    }

    /// Returns the key, if it is the one that this was sealed with.
    fn key_of(&self, content: &Content) -> Result<Key, VaultError> {
        let key = self.key.read_existing(&self.data)?;
        match content.fits(&key) {
            Fit::Right => Ok(key),
            Fit::Wrong => Err(VaultError::WrongKey {
                key: self.key.path().unwrap_or(Path::new("?")).to_owned(),
                vault: self.file(),
            }),
            Fit::Unknown => Err(VaultError::Damaged { vault: self.file() }),
        }
    }

    fn file(&self) -> PathBuf {
        self.data.join("vault").join("secrets")
    }

    fn disk(&self, doing: &'static str) -> impl FnOnce(io::Error) -> VaultError {
        let vault = self.file();
        move |source| VaultError::Disk { doing, vault, source }
    }
}

#[cfg(test)]
#[path = "vault/tests.rs"]
mod tests;
