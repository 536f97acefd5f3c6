//! `server.toml`: what an operator writes down about a server instead of saying it command by command.
//!
//! It is read once, at the start, and what differs from the ledger is recorded there: so the log says what was known when.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::server::AppRequest;

/// How the file signs in the ledger.
pub const SERVER_CONFIG: &str = "server.toml";

/// What `server.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// What is to be known of each app. An app that is not named here is left as it is.
    pub apps: BTreeMap<String, AppRequest>,
}

/// Why `server.toml` can't be used. **Mend it.**
#[derive(Debug, thiserror::Error)]
pub enum ServerConfigError {
    /// The file could not be read.
    #[error("could not read {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// It is no TOML, or has a key that means nothing here.
    #[error("{}: {message}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, and what was expected there.
        message: String,
    },
}

impl ServerConfig {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`ServerConfigError`] with the line.
    pub fn read(file: &Path) -> Result<Self, ServerConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ServerConfigError::Unreadable { file: file.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| ServerConfigError::Malformed {
            file: file.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServerConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        std::fs::write(&file, text).unwrap();
        ServerConfig::read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn apps_are_written_as_the_api_takes_them() {
        let config = read(
            "[apps.shop]\ngit = \"https://git.example.com/shop.git\"\nbranches = { main = \"production\" }\n\n[apps.blog]\n",
        );
        let apps = config.unwrap().apps;
        assert_eq!(apps.keys().collect::<Vec<_>>(), ["blog", "shop"]);
        assert_eq!(apps["shop"].branches["main"], "production");
        assert_eq!(apps["blog"], AppRequest::default());
    }

    #[test]
    fn a_key_that_means_nothing_is_told_with_its_line() {
        let said = read("[apps.shop]\nurl = \"https://git.example.com/shop.git\"\n").unwrap_err();
        assert!(
            said.contains("line 2") && said.contains("unknown field `url`") && said.contains("`git`"),
            "{said}"
        );
        let said = ServerConfig::read(Path::new("/nowhere/server.toml")).unwrap_err().to_string();
        assert_eq!(said, "could not read /nowhere/server.toml");
    }
}
