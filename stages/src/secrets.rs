//! The values behind the names in the settings: looked up here, masked here, shown nowhere.
//!
//! ```text
//! process environment ─┐
//!                      ├─▶ Secrets ──get(name)──▶ the one stage that needs the value
//! dotenv file (0600)  ─┘      └─────masker──────▶ everything that a run prints or says
//! ```
//!
//! **Invariant:** no value leaves through `Debug`, `Display` or an error; only [`Secrets::get`] hands it out.

mod dotenv;
mod masker;

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use landfall_engine::core::settings::Settings;

use crate::notify::Channel;

pub use masker::MaskedWriter;
pub use masker::Masker;
#[cfg(test)]
pub(crate) use masker::percent_decoded;

/// The secret that holds the address of the mail server, with its user and password.
pub const SMTP_URL: &str = "LANDFALL_SMTP_URL";
/// The secret that holds the sender of e-mail.
pub const MAIL_FROM: &str = "LANDFALL_MAIL_FROM";

/// A secret that is named and has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret {name} is not set: put it into {}", places(file.as_deref()))]
pub struct MissingSecret {
    /// Its name.
    pub name: String,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
}

fn places(file: Option<&Path>) -> String {
    let environment = "the environment of the landfall process";
    file.map_or(environment.to_owned(), |file| format!("{} or {environment}", file.display()))
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

/// Values by name. `Debug` shows the names of the file's secrets alone.
#[derive(Clone, Default)]
pub struct Secrets {
    values: BTreeMap<String, String>,
    from_file: Vec<String>,
    file: Option<PathBuf>,
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
        let mut secrets = Self { file: file.map(Path::to_owned), ..Self::default() };
        if let Some(file) = file {
            warn_when_others_can_read(file);
            let text = std::fs::read_to_string(file)
                .map_err(|source| SecretsError::Unreadable { file: file.to_owned(), source })?;
            secrets.values = dotenv::parse(&text).map_err(|error| SecretsError::Malformed {
                file: file.to_owned(),
                line: error.line,
                message: error.message,
            })?;
            secrets.from_file = secrets.values.keys().cloned().collect();
        }
        secrets.values.extend(env);
        Ok(secrets)
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

    /// Returns a value.
    ///
    /// # Errors
    ///
    /// [`MissingSecret`] says where the value can be put.
    pub fn get(&self, name: &str) -> Result<&str, MissingSecret> {
        self.values
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| MissingSecret { name: name.to_owned(), file: self.file.clone() })
    }

    /// Returns what hides every value that these settings name.
    pub fn masker(&self, settings: Option<&Settings>) -> Masker {
        let named = settings.map(names_in).unwrap_or_default();
        let found = named.iter().map(String::as_str).chain([SMTP_URL]).filter_map(|name| self.get(name).ok());
        Masker::new(found)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("file", &self.file).field("names", &self.from_file).finish()
    }
}

/// Returns the names of all secrets that the settings mention.
fn names_in(settings: &Settings) -> Vec<String> {
    let channels = settings.notify.developer.iter().chain(&settings.notify.ops);
    let in_channels = channels
        .filter_map(|channel| Channel::parse(channel).ok())
        .flat_map(|channel| channel.secrets())
        .map(str::to_owned);
    let listed = settings.env.secret.iter().chain(&settings.build.secrets).chain(&settings.registry.password);
    listed.cloned().chain(in_channels).collect()
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
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        let owned: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        owned.into_iter()
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "A=from file\nB=only in file\n").unwrap();
        let secrets = Secrets::new(pairs(&[("A", "from env")]), Some(file.path())).unwrap();
        assert_eq!(secrets.get("A"), Ok("from env"));
        assert_eq!(secrets.get("B"), Ok("only in file"));
    }

    #[test]
    fn a_missing_secret_says_where_to_put_it() {
        let missing = Secrets::default().get("DATABASE_URL").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the secret DATABASE_URL is not set: put it into the environment of the landfall process"
        );
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "A=1\nhunter2 without a name\n").unwrap();
        let error = Secrets::new(pairs(&[]), Some(file.path())).unwrap_err().to_string();
        assert!(error.ends_with(":2: expected NAME=value"), "{error}");
    }

    #[test]
    fn no_value_is_shown_by_debug() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "TOKEN=hunter2\n").unwrap();
        let secrets = Secrets::new(pairs(&[("HOME", "/home/hunter2")]), Some(file.path())).unwrap();
        let shown = format!("{secrets:?} {:?}", secrets.masker(None));
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn every_secret_that_the_settings_name_is_masked() {
        let mut settings = Settings::default();
        settings.registry.password = Some("REGISTRY".into());
        settings.env.secret = vec!["DATABASE_URL".into()];
        settings.build.secrets = vec!["PIP".into()];
        settings.notify.developer = vec!["webhook:HOOK:KEY".into(), "email:author".into()];
        settings.notify.ops = vec!["slack:OPS".into()];
        let values = [
            ("REGISTRY", "registry-pw"),
            ("DATABASE_URL", "postgres://pw"),
            ("PIP", "pip-token"),
            ("HOOK", "https://hooks.example.com/in/T1/B2/abcdefgh"),
            ("KEY", "whsec_c2lnbmluZyBrZXkgb2YgMjQgYnl0ZXM="),
            ("OPS", "https://slack.example.com/services/zyxw"),
            (SMTP_URL, "smtp://mailer:mail%20pw@127.0.0.1:25"),
            ("OTHER", "not-named"),
        ];
        let masker = Secrets::new(pairs(&values), None).unwrap().masker(Some(&settings));
        let said = "registry-pw postgres://pw pip-token /in/T1/B2/abcdefgh /services/zyxw mail pw not-named";
        assert_eq!(masker.mask(said), "*** *** *** *** *** *** not-named");
        assert_eq!(masker.mask("whsec_c2lnbmluZyBrZXkgb2YgMjQgYnl0ZXM="), "***");
    }
}
