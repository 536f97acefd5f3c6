//! One request to a forge and what became of it.

use std::time::Duration;

use landfall_engine::core::ledger::ForgeKind;
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use reqwest::header::AUTHORIZATION;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use reqwest::header::USER_AGENT;
use serde_json::Value;

use super::Unreported;
use super::endpoint::Request;
use crate::http;
use crate::lines::clip;
use crate::secrets::Masker;

/// So much of a refusal is enough to see why.
const QUOTED_BYTES_MAX: usize = 200;
/// A list of deployments is the longest answer that is read: thirty of some 3 KB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// The version of GitHub's API that this was written against.
const GITHUB_VERSION: &str = "2022-11-28";

/// Carries requests to one forge, with its token.
pub(super) struct Call<'a> {
    http: &'a reqwest::Client,
    headers: HeaderMap,
    masker: Masker,
    limit: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        http: &'a reqwest::Client,
        kind: ForgeKind,
        token: &str,
        limit: Duration,
    ) -> Result<Self, Unreported> {
        let headers = headers(kind, token.trim()).ok_or_else(|| {
            Unreported::refused("the forge's token has characters that no header can carry")
        })?;
        Ok(Self { http, headers, masker: Masker::new([token.trim()]), limit })
    }

    /// Asks once and returns the body of the answer; null when it is no JSON.
    pub(super) async fn send(&self, request: Request) -> Result<Value, Unreported> {
        match tokio::time::timeout(self.limit, self.answered(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(Unreported::unanswered(format!(
                "the forge gave no answer within {}",
                http::written(self.limit)
            ))),
        }
    }

    async fn answered(&self, request: Request) -> Result<Value, Unreported> {
        let Request { method, url, body } = request;
        let doing = format!("{method} {}", url.path());
        let mut request = self.http.request(method, url).headers(self.headers.clone());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let silence = |error: &reqwest::Error| {
            Unreported::unanswered(format!("{doing} got no answer: {}", http::cause(error)))
        };
        let mut response = request.send().await.map_err(|error| silence(&error))?;
        let status = response.status();
        if !status.is_success() {
            let headers = std::mem::take(response.headers_mut());
            let said = self.masker.mask(&http::beginning(response).await);
            return Err(refusal(&doing, status, &headers, &said));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| silence(&error))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Unreported::refused(format!("{doing} was answered with more than 1 MiB")));
            }
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

fn refusal(doing: &str, status: StatusCode, headers: &HeaderMap, said: &str) -> Unreported {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = format!("{doing} was answered {status} ({:?})", clip(&said, QUOTED_BYTES_MAX));
    let retry_after = http::retry_after(headers);
    // GitHub says "too often" with a 403, too.
    let is_spent = headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
    let too_often = status == StatusCode::FORBIDDEN && (retry_after.is_some() || is_spent);
    // GitLab's 409 is a lock that somebody else holds for a moment.
    if too_often || status == StatusCode::CONFLICT || http::may_change(status) {
        return Unreported::Unanswered { reason, retry_after };
    }
    Unreported::Refused { reason }
}

fn headers(kind: ForgeKind, token: &str) -> Option<HeaderMap> {
    let (name, value) = match kind {
        ForgeKind::GitHub | ForgeKind::Bitbucket => (AUTHORIZATION, format!("Bearer {token}")),
        ForgeKind::GitLab => (HeaderName::from_static("private-token"), token.to_owned()),
        ForgeKind::Gitea | ForgeKind::Forgejo => (AUTHORIZATION, format!("token {token}")),
    };
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::from_iter([(name, value)]);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // GitHub refuses whoever does not say who asks.
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("landfall/", env!("CARGO_PKG_VERSION"))));
    if kind == ForgeKind::GitHub {
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert("x-github-api-version", HeaderValue::from_static(GITHUB_VERSION));
    }
    Some(headers)
}
