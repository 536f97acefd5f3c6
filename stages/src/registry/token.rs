//! Logging in the way a registry wants it: with the password, or with a token that the password is given for.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use super::{ANSWER_LIMIT, Login, is_loopback, no_answer, refused};
use crate::context::Context;
use crate::stopped::Stopped;

/// Adds to a request what the registry asked for.
pub(super) async fn log_in(
    context: &Context,
    login: Option<&Login>,
    host: &str,
    headers: &HeaderMap,
    request: RequestBuilder,
) -> Result<RequestBuilder, Stopped> {
    let asked = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let challenges: Vec<Challenge> = asked.filter_map(Challenge::parse).collect();
    if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
        let token = token(context, login, host, bearer).await?;
        return Ok(request.bearer_auth(token));
    }
    match login {
        Some(Login::Password { username, password, .. })
            if challenges.iter().any(|challenge| challenge.scheme == "basic") =>
        {
            Ok(request.basic_auth(username, Some(password)))
        }
        _ => Ok(request),
    }
}

async fn token(
    context: &Context,
    login: Option<&Login>,
    host: &str,
    challenge: &Challenge,
) -> Result<String, Stopped> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let wrong = |what: &str| Stopped::errored(format!("the registry {host} asks for a token {what}"));
    let realm = challenge.get("realm").ok_or_else(|| wrong("and does not say where"))?;
    let mut url: Url = realm.parse().map_err(|_| wrong("from no usable address"))?;
    // The password goes there: in the clear only on this machine.
    if url.scheme() != "https" && !url.host_str().is_some_and(is_loopback) {
        return Err(Stopped::failed(format!(
            "the registry {host} wants the password sent in the clear to {}: it has to use https",
            url.host_str().unwrap_or_default()
        )));
    }
    for name in ["service", "scope"] {
        if let Some(value) = challenge.get(name) {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    let mut request = context.http.get(url).timeout(ANSWER_LIMIT);
    if let Some(Login::Password { username, password, .. }) = login {
        request = request.basic_auth(username, Some(password));
    }
    let response = request.send().await.map_err(|error| no_answer(host, &error))?;
    match response.status() {
        status if status.is_success() => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(refused(login, host, challenge.get("scope").unwrap_or("the image")));
        }
        status => return Err(wrong(&format!("and answers {status} when asked for it"))),
    }
    let token: Token = response.json().await.map_err(|error| no_answer(host, &error))?;
    token.token.or(token.access_token).ok_or_else(|| wrong("and gives none"))
}

/// What a registry wants to see: `Bearer realm="…",service="…",scope="…"`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ')?;
        let mut parameters = Vec::new();
        while let Some((name, value)) = rest.split_once('=') {
            let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
            let (value, after) = match value.strip_prefix('"') {
                // A quoted value may have commas in it: `scope="repository:a:pull,push"`.
                Some(quoted) => quoted.split_once('"')?,
                None => value.split_once(',').unwrap_or((value, "")),
            };
            parameters.push((name, value.to_owned()));
            rest = after;
        }
        Some(Self { scheme: scheme.to_ascii_lowercase(), parameters })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}
