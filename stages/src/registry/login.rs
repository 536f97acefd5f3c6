//! Who we are for a registry: by the settings, or by Docker's own configuration.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use bollard::auth::DockerCredentials;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use landfall_engine::core::settings::RegistrySettings;

use super::HUB;
use crate::context::Context;
use crate::stopped::Stopped;

/// The name of Docker Hub in Docker's configuration.
const HUB_CONFIG: &str = "https://index.docker.io/v1/";

/// Who we are for a registry. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    /// A user with a password, and where the password came from.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
        /// For people: which secret, or whose configuration.
        from: String,
    },
    /// A token that Docker keeps instead of a password; only Docker itself can use it.
    IdentityToken(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, from, .. } => write!(f, "Password({username:?}, from {from})"),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, from, .. } => write!(f, "{username}, with the password of {from}"),
            Self::IdentityToken(_) => f.write_str("a token in Docker's configuration"),
        }
    }
}

impl Login {
    /// Returns it in the form that Docker takes with a push, a pull or a build.
    pub(crate) fn for_docker(&self, host: &str) -> DockerCredentials {
        let serveraddress = Some(if host == HUB { HUB_CONFIG.to_owned() } else { host.to_owned() });
        match self.clone() {
            Self::Password { username, password, .. } => DockerCredentials {
                username: Some(username),
                password: Some(password),
                serveraddress,
                ..DockerCredentials::default()
            },
            Self::IdentityToken(token) => DockerCredentials {
                identitytoken: Some(token),
                serveraddress,
                ..DockerCredentials::default()
            },
        }
    }
}

/// Returns how to log in at `host`: by the settings when they name a user, else by Docker's own configuration.
pub(crate) async fn login(
    context: &Context,
    settings: &RegistrySettings,
    host: &str,
) -> Result<Option<Login>, Stopped> {
    match (&settings.username, &settings.password) {
        (Some(username), Some(secret)) => {
            let password = context.secrets.get(secret).map_err(|missing| {
                Stopped::failed(format!("the password of {username} at the registry {host}: {missing}"))
            })?;
            let from = format!("the secret {secret}");
            Ok(Some(Login::Password { username: username.clone(), password: password.to_owned(), from }))
        }
        (None, None) => docker_login(host).await,
        _ => Err(Stopped::failed(
            "`[registry]` needs `username` and `password` together: the password is the name of a secret",
        )),
    }
}

/// Reads Docker's configuration and asks its helpers: files and processes, so on a thread of its own.
async fn docker_login(host: &str) -> Result<Option<Login>, Stopped> {
    let server = if host == HUB { HUB_CONFIG.to_owned() } else { host.to_owned() };
    let looking = tokio::task::spawn_blocking(move || read_docker_config(&server));
    match looking.await {
        Ok(Ok(DockerCredential::UsernamePassword(username, password))) => {
            let from = format!("Docker's configuration (`docker login {host}`)");
            Ok(Some(Login::Password { username, password, from }))
        }
        Ok(Ok(DockerCredential::IdentityToken(token))) => Ok(Some(Login::IdentityToken(token))),
        Ok(Err(
            CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound,
        )) => Ok(None),
        // A helper that knows nothing of this registry says so by failing.
        Ok(Err(CredentialRetrievalError::HelperFailure { stdout, .. }))
            if stdout.contains("credentials not found") =>
        {
            Ok(None)
        }
        // What a helper printed could be a password.
        Ok(Err(CredentialRetrievalError::HelperFailure { helper, .. })) => Err(Stopped::failed(format!(
            "Docker's credential helper {helper} failed for {host}: try `docker login {host}`, or set \
             `[registry] username` and `password`"
        ))),
        Ok(Err(error)) => Err(Stopped::failed(format!(
            "Docker's configuration gives no login for {host} ({error}): try `docker login {host}`, or set \
             `[registry] username` and `password`"
        ))),
        Err(error) => Err(Stopped::errored(format!("looking for a login at {host}: {error}"))),
    }
}

/// A machine where nobody ever logged in has no such file, which is no error.
fn read_docker_config(server: &str) -> Result<DockerCredential, CredentialRetrievalError> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
    let file = File::open(folder.ok_or(CredentialRetrievalError::ConfigNotFound)?.join("config.json"));
    match file {
        Ok(file) => docker_credential::get_credential_from_reader(BufReader::new(file), server),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(CredentialRetrievalError::ConfigNotFound)
        }
        Err(_) => Err(CredentialRetrievalError::ConfigReadError),
    }
}
