//! Names that come from outside: they end in paths, URLs and container names, so they are checked here, once.

use std::path::{Path, PathBuf};

use landfall_stages::secrets::{DEPLOY_KEY, GIT_TOKEN};

use crate::error::ApiError;
use crate::naming;

/// Returns the name of an app if it is one: `[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?`.
pub(crate) fn app_name(name: &str) -> Result<&str, ApiError> {
    checked("app", name)
}

/// Returns the name of an environment if it is one, by the same rule.
pub(crate) fn env_name(name: &str) -> Result<&str, ApiError> {
    checked("environment", name)
}

fn checked<'a>(what: &str, name: &'a str) -> Result<&'a str, ApiError> {
    naming::checked(what, name).map_err(ApiError::BadRequest)
}

/// Returns the name of a secret if it is one: what a shell takes for a variable.
pub(crate) fn secret_name(name: &str) -> Result<&str, ApiError> {
    let fits = (1..=100).contains(&name.len()) && !name.as_bytes()[0].is_ascii_digit();
    let is_plain =
        name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    // The server's own token and key are nothing that a forge or a git server is given.
    let is_ours = name.starts_with("LANDFALL_") && !matches!(name, DEPLOY_KEY | GIT_TOKEN);
    match fits && is_plain && !is_ours {
        true => Ok(name),
        // It may be the secret itself, given by mistake.
        false => Err(ApiError::BadRequest(
            "expected the name of a secret: up to 100 of A-Z, 0-9 and '_', with no digit and no LANDFALL_ at the \
             beginning; its value is set with `landfall secret set`"
                .into(),
        )),
    }
}

/// Returns where the repository of an app is that people push to.
pub(crate) fn bare_repository(data: &Path, app: &str) -> PathBuf {
    data.join("git").join(format!("{app}.git"))
}

/// Returns a repository that may stand in the log and on git's command line: an absolute path, or a URL that
/// holds no password.
pub(super) fn repository(given: &str) -> Result<&str, ApiError> {
    let wrong = |why: &str| Err(ApiError::BadRequest(format!("the repository can't be used: {why}")));
    if given.chars().any(char::is_control) || given.starts_with('-') {
        return wrong("expected an absolute path or a URL");
    }
    let Some((scheme, rest)) = given.split_once("://") else {
        let is_path = given.starts_with('/');
        let is_scp = given.split_once(':').is_some_and(|(host, path)| {
            !host.is_empty() && !host.contains('/') && !path.starts_with(':') && !path.is_empty()
        });
        return match is_path || is_scp {
            true => Ok(given),
            false => wrong("expected an absolute path or a URL"),
        };
    };
    if !matches!(scheme, "http" | "https" | "ssh" | "file") {
        return wrong("expected a URL with https, http, ssh or file");
    }
    let user = rest.split('/').next().and_then(|host| host.rsplit_once('@')).map(|(user, _)| user);
    match user {
        Some(user) if user.contains(':') || (scheme != "ssh" && !user.is_empty()) => wrong(
            "leave user and password out of the URL, since it is recorded for ever; \
             the server's git finds them by its credential helper",
        ),
        _ => Ok(given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_path_or_a_url_without_a_password() {
        for good in [
            "/srv/shop.git",
            "https://example.com/shop.git",
            "ssh://git@example.com/shop",
            "git@host:shop.git",
        ] {
            assert!(repository(good).is_ok(), "{good}");
        }
        for bad in [
            "shop.git",
            "../shop",
            "ext::sh -c true",
            "--upload-pack=evil",
            "https://user:secret@example.com/shop",
            "https://token@example.com/shop",
            "ssh://git:secret@example.com/shop",
            "ftp://example.com/shop",
            "/srv/\nshop",
        ] {
            let error = repository(bad).err().map(|error| error.problem().detail);
            assert!(error.as_ref().is_some_and(|text| !text.contains("secret")), "{bad}: {error:?}");
        }
    }
}
