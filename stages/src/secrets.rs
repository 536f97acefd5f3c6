//! The values behind the names in the settings: looked up here, masked here, shown nowhere.
//!
//! ```text
//! vault: app, environment ─┐
//! vault: app ──────────────┤
//! process environment ─────┼─▶ Secrets ──get(name)──▶ the one stage that needs the value
//! dotenv file (0600) ──────┘      └─────masker──────▶ everything that a run prints or says
//! ```
//!
//! **Invariant:** no value leaves through `Debug`, `Display` or an error; only [`Secrets::get`] hands it out.

mod dotenv;
mod exposed;
mod masker;
mod rules;
mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use landfall_engine::core::settings::Settings;
use zeroize::Zeroizing;

use crate::notify::Channel;
pub(crate) use exposed::exposed;

pub use masker::MaskedWriter;
pub use masker::Masker;
pub use masker::SECRET_CHARS_MIN;
#[cfg(test)]
pub(crate) use masker::percent_decoded;
pub use rules::DEPLOY_KEY;
pub use rules::GIT_TOKEN;
pub use rules::MAIL_FROM;
pub use rules::SMTP_URL;
pub use rules::Unfit;
pub use rules::VALUE_BYTES_MAX;
pub use rules::check_name;
pub use rules::check_value;
pub(crate) use rules::is_name;
pub(crate) use rules::is_ours;
pub use vault::KEY_VARIABLE;
pub use vault::KeyError;
pub use vault::KeyPlace;
pub use vault::Listed;
pub use vault::Scope;
pub use vault::Vault;
pub use vault::VaultError;

/// A secret that is named and has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret {name} {}", told(name, file.as_deref(), vault.as_ref(), *damaged))]
pub struct MissingSecret {
    /// Its name.
    pub name: String,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Whose it would be in the vault, if there is a vault.
    pub vault: Option<Scope>,
    /// It is in the vault, and can't be opened.
    pub damaged: bool,
}

fn told(name: &str, file: Option<&Path>, vault: Option<&Scope>, damaged: bool) -> String {
    let set = vault.map(|scope| match &scope.env {
        Some(env) => format!(
            "`landfall secret set {} {name}` (with --env {env} for this environment alone)",
            scope.app
        ),
        None => format!("`landfall secret set {} {name}`", scope.app),
    });
    let environment = "the environment of the landfall process";
    let places = file.map_or(environment.to_owned(), |file| format!("{} or {environment}", file.display()));
    match set {
        Some(set) if damaged => format!("is damaged in the vault: set it again by {set}"),
        Some(set) => format!("is not set: set it by {set}, or put it into {places}"),
        None => format!("is not set: put it into {places}"),
    }
}

/// Why a file of secrets could not be used. Names the line, never its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file could not be read. **Check the path and its permissions.**
    #[error("could not read the secrets file {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the disk said.
        source: std::io::Error,
    },
    /// A line is no assignment. **Mend it.**
    #[error("{}:{line}: {message}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was expected.
        message: &'static str,
    },
}

/// Values by name: those of the process, and, after [`Secrets::for_app`], those that the vault has for one app before
/// them. A clone shares them. `Debug` shows names alone.
#[derive(Clone, Default)]
pub struct Secrets {
    process: Arc<Process>,
    vault: Option<Arc<Vault>>,
    own: Arc<Own>,
}

/// What this process was started with.
#[derive(Default)]
struct Process {
    values: BTreeMap<String, Zeroizing<String>>,
    from_file: Vec<String>,
    file: Option<PathBuf>,
}

/// What the vault has for one app.
#[derive(Default)]
struct Own {
    scope: Option<Scope>,
    values: BTreeMap<String, Zeroizing<String>>,
    damaged: BTreeSet<String>,
    /// Values that no name leads to any more.
    hidden: Vec<Zeroizing<String>>,
}

impl Secrets {
    /// Returns the values of the environment and of a dotenv file; the environment wins.
    ///
    /// # Errors
    ///
    /// A file that is named has to be readable and well-formed.
    pub fn new(
        env: impl Iterator<Item = (String, String)>,
        file: Option<&Path>,
    ) -> Result<Self, SecretsError> {
        let mut process = Process { file: file.map(Path::to_owned), ..Process::default() };
        if let Some(file) = file {
            warn_when_others_can_read(file);
            let read = read_env_file(file)?;
            process.from_file = read.iter().map(|(name, _)| name.clone()).collect();
            process.values = read.into_iter().collect();
        }
        process.values.extend(env.map(|(name, value)| (name, Zeroizing::new(value))));
        Ok(Self { process: Arc::new(process), ..Self::default() })
    }

    /// Returns the values of this process's environment and of a dotenv file.
    ///
    /// # Errors
    ///
    /// As [`Secrets::new`]. Variables that are not UTF-8 are left out.
    pub fn from_process(file: Option<&Path>) -> Result<Self, SecretsError> {
        let utf8 = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::new(utf8, file)
    }

    /// Returns the same with a vault, whose values come first.
    pub fn with_vault(self, vault: Vault) -> Self {
        Self { vault: Some(Arc::new(vault)), ..self }
    }

    /// Returns the vault, if there is one.
    pub fn vault(&self) -> Option<&Arc<Vault>> {
        self.vault.as_ref()
    }

    /// Returns what an app finds in one of its environments, as the vault is now. None: only what holds for all of
    /// them. It reads the disk.
    ///
    /// # Errors
    ///
    /// [`VaultError`] when the vault can't be opened: then it is not known what has to be hidden, either.
    pub fn for_app(&self, app: &str, env: Option<&str>) -> Result<Self, VaultError> {
        let Some(vault) = &self.vault else { return Ok(self.clone()) };
        let opened = vault.of(app, env)?;
        let scope = Scope { app: app.to_owned(), env: env.map(str::to_owned) };
        let mut own = Own { scope: Some(scope), hidden: opened.hidden, ..Own::default() };
        for (name, value) in opened.values {
            match value {
                Some(value) => drop(own.values.insert(name, value)),
                None => drop(own.damaged.insert(name)),
            }
        }
        Ok(Self { own: Arc::new(own), ..self.clone() })
    }

    /// Returns a value.
    ///
    /// # Errors
    ///
    /// [`MissingSecret`] says where the value can be put.
    pub fn get(&self, name: &str) -> Result<&str, MissingSecret> {
        let damaged = self.own.damaged.contains(name);
        let of_process = || self.process.values.get(name).filter(|_| !damaged);
        let found = self.own.values.get(name).or_else(of_process);
        found.map(|value| value.as_str()).ok_or_else(|| MissingSecret {
            name: name.to_owned(),
            file: self.process.file.clone(),
            vault: self.own.scope.clone(),
            damaged,
        })
    }

    /// Returns what hides every value that the app has in the vault, and every other that these settings name.
    pub fn masker(&self, settings: Option<&Settings>) -> Masker {
        let hidden = self.own.hidden.iter().map(|value| value.as_str());
        let known = self.known(settings);
        Masker::new(known.iter().map(|(_, value)| *value).chain(hidden))
    }

    /// Returns the first secret without which these settings can't be built, pushed and deployed, if one has no value.
    pub(crate) fn missing(&self, settings: &Settings) -> Option<MissingSecret> {
        let Settings { env, build, registry, .. } = settings;
        let names =
            env.secret.iter().chain(env.files.values()).chain(&build.secrets).chain(&registry.password);
        names.into_iter().find_map(|name| self.get(name).err())
    }

    /// Returns the secrets of the vault and those of the process that have a use: by the settings, or by Landfall's own.
    fn known(&self, settings: Option<&Settings>) -> Vec<(&str, &str)> {
        let named: BTreeSet<String> = settings.map(names_in).unwrap_or_default();
        let own = self.own.values.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let used = |name: &str| named.contains(name) || rules::OWN.contains(&name) && name != MAIL_FROM;
        let of_process = self.process.values.iter().filter(|(name, _)| used(name));
        own.chain(of_process.map(|(name, value)| (name.as_str(), value.as_str()))).collect()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("file", &self.process.file)
            .field("names", &self.process.from_file)
            .field("scope", &self.own.scope)
            .field("own", &self.own.values.keys())
            .finish()
    }
}

/// Returns the assignments of a dotenv file, by name.
///
/// # Errors
///
/// [`SecretsError`] names the line that is none.
pub fn read_env_file(file: &Path) -> Result<Vec<(String, Zeroizing<String>)>, SecretsError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| SecretsError::Unreadable { file: file.to_owned(), source })?;
    let text = Zeroizing::new(text);
    let values = dotenv::parse(&text).map_err(|error| SecretsError::Malformed {
        file: file.to_owned(),
        line: error.line,
        message: error.message,
    })?;
    Ok(values.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect())
}

/// Returns the names of all secrets that the settings mention.
fn names_in(settings: &Settings) -> BTreeSet<String> {
    let channels = settings.notify.developer.iter().chain(&settings.notify.ops);
    let in_channels =
        channels.filter_map(|channel| Channel::parse(channel).ok()).flat_map(|channel| channel.secrets());
    let in_files = settings.env.files.values();
    let listed = settings.env.secret.iter().chain(&settings.build.secrets).chain(&settings.registry.password);
    listed.chain(in_files).map(String::as_str).chain(in_channels).map(str::to_owned).collect()
}

/// A readable file is a leak in waiting and no reason to stop a deploy.
fn warn_when_others_can_read(file: &Path) {
    let Ok(found) = std::fs::metadata(file) else { return };
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %file.display(),
            mode = format!("{mode:o}"),
            "others can read the secrets file; `chmod 600` it"
        );
    }
}

#[cfg(test)]
#[path = "secrets/tests.rs"]
mod tests;
