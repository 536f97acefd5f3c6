//! Logging in with a token, and out again.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::extract::{Params, Sent};
use super::gate::Viewer;
use super::page::{self, Chrome, Oops};
use crate::error::ApiError;
use crate::server::session::{COOKIE, LIFE_SECONDS, is_same_origin, logged_in};
use crate::server::{App, Peer, log_in as open};

/// Where people go who come from nowhere.
const HOME: &str = "/";

#[derive(Debug, Template)]
#[template(path = "login.html")]
struct LoginPage {
    chrome: Chrome,
    next: String,
    name: String,
    problem: Option<String>,
}

/// Where to go after logging in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Next {
    next: String,
}

/// What the form of the page says.
#[derive(Deserialize)]
pub(super) struct Credentials {
    token: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Params(Next { next }): Params<Next>,
) -> Response {
    if logged_in(&app, &headers).is_some() {
        return Redirect::to(local(&next)).into_response();
    }
    let next = local(&next).to_owned();
    page::html(&LoginPage { chrome: Chrome::of_stranger(), next, name: String::new(), problem: None })
}

pub(super) async fn log_in(
    State(app): State<Arc<App>>,
    extensions: Extensions,
    headers: HeaderMap,
    Sent(given): Sent<Credentials>,
) -> Result<Response, Oops> {
    if !is_same_origin(&headers) {
        return Err(ApiError::Forbidden("log in on this server's own page".into()).into());
    }
    let next = local(&given.next).to_owned();
    let cookie = match open(&app, &given.token, &given.name, &extensions, &headers) {
        Ok(cookie) => cookie,
        Err(error) => {
            let problem = match &error {
                ApiError::Unauthorized => {
                    "This token opens nothing: it is mistyped, revoked or expired.".into()
                }
                other => other.problem().detail,
            };
            let status = StatusCode::from_u16(error.problem().status).unwrap_or(StatusCode::UNAUTHORIZED);
            let chrome = Chrome::of_stranger();
            let page = LoginPage { chrome, next, name: given.name, problem: Some(problem) };
            return Ok((status, page::html(&page)).into_response());
        }
    };
    let encrypted = extensions.get::<Peer>().is_some_and(|peer| peer.is_encrypted(&headers));
    Ok((keeping(&cookie, LIFE_SECONDS, encrypted), Redirect::to(&next)).into_response())
}

/// What the button says.
#[derive(Debug, Deserialize)]
pub(super) struct Leave {
    #[serde(default)]
    csrf: String,
}

pub(super) async fn log_out(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    extensions: Extensions,
    mut headers: HeaderMap,
    Sent(Leave { csrf }): Sent<Leave>,
) -> Result<Response, Oops> {
    page::meant(&viewer, &mut headers, &csrf)?;
    app.sessions.close(&headers);
    let encrypted = extensions.get::<Peer>().is_some_and(|peer| peer.is_encrypted(&headers));
    Ok((keeping("", 0, encrypted), Redirect::to("/login")).into_response())
}

fn keeping(cookie: &str, seconds: u64, encrypted: bool) -> [(header::HeaderName, HeaderValue); 1] {
    let secure = if encrypted { "; Secure" } else { "" };
    // Lax: a link in a mail or on a forge leads to the page. What another site sends decides nothing all the same, since
    // a GET changes nothing, and all else has to come from this origin with what only its pages know.
    let text = format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    [(header::SET_COOKIE, HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("")))]
}

/// Returns the page that asks for a token, and leads back here.
pub(super) fn way_back(here: &str) -> String {
    match local(here) {
        HOME => "/login".into(),
        here => {
            let escaped: String = here.bytes().map(escaped).collect();
            format!("/login?next={escaped}")
        }
    }
}

fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    }
}

/// Returns a way on this server; whatever leads elsewhere leads home.
fn local(next: &str) -> &str {
    let stays = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && next.bytes().all(|byte| byte.is_ascii_graphic())
        && !next.starts_with("/login")
        && !next.starts_with("/logout");
    if stays { next } else { HOME }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_never_leads_to_another_server() {
        for away in [
            "https://evil.example.com",
            "//evil.example.com",
            "/\\evil.example.com",
            "\\\\evil.example.com",
            "/\t/evil.example.com",
            "javascript:alert(1)",
            "",
            "/login?next=/login",
            "/x\r\nset-cookie: a=b",
        ] {
            assert_eq!(local(away), HOME, "{away:?}");
        }
        assert_eq!(local("/runs/7?at=3"), "/runs/7?at=3");
        assert_eq!(way_back("/runs?app=shop&x=1"), "/login?next=/runs%3Fapp%3Dshop%26x%3D1");
        assert_eq!(way_back("/"), "/login");
    }
}
