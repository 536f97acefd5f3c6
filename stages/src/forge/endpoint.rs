//! Where a project is in the API of its forge, and what is asked of it there.

use landfall_engine::core::ledger::Forge;
use landfall_engine::core::ledger::ForgeKind;
use reqwest::Method;
use reqwest::Url;
use serde_json::Value;

use super::Unreported;

/// One question to a forge, without the token.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Value>,
}

impl Request {
    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, body: None }
    }

    pub(super) fn post(url: Url, body: Value) -> Self {
        Self { method: Method::POST, url, body: Some(body) }
    }

    pub(super) fn put(url: Url, body: Value) -> Self {
        Self { method: Method::PUT, url, body: Some(body) }
    }
}

/// A project in the API of its forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    root: Url,
    project: Vec<String>,
}

impl Endpoint {
    /// Reads what a registration says of its forge.
    pub(super) fn of(forge: &Forge) -> Result<Self, Unreported> {
        let root = Url::parse(&forge.api)
            .ok()
            .filter(|url| {
                matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
            })
            .ok_or_else(|| {
                Unreported::refused(
                    "the forge's API is no address: expected its root, such as https://api.github.com or \
                     https://gitlab.example.com/api/v4",
                )
            })?;
        let project: Vec<String> = forge.project.split('/').map(str::to_owned).collect();
        // Only GitLab has groups in groups.
        let deep_enough = project.len() == 2 || (project.len() > 2 && forge.kind == ForgeKind::GitLab);
        if !deep_enough || !project.iter().all(|part| is_name(part)) {
            return Err(Unreported::refused(format!(
                "{:?} is no project of a forge: expected owner/name",
                forge.project
            )));
        }
        Ok(Self { root, project })
    }

    /// Returns an address below `/…/owner/name`.
    pub(super) fn below_owner_and_name(&self, prefix: &str, rest: &[&str]) -> Url {
        let project = self.project.iter().map(String::as_str);
        self.at([prefix].into_iter().chain(project).chain(rest.iter().copied()))
    }

    /// Returns an address below `/…/owner%2Fname`.
    pub(super) fn below_path(&self, prefix: &str, rest: &[&str]) -> Url {
        self.at([prefix, &self.project.join("/")].into_iter().chain(rest.iter().copied()))
    }

    fn at<'a>(&self, segments: impl Iterator<Item = &'a str>) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            // What stands in a segment is escaped, a slash and dots included.
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

fn is_name(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    !part.is_empty() && part.bytes().all(plain) && !matches!(part, "." | "..")
}
