//! What every page has: its frame, its policy, and a face for what went wrong.

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::assets;
use super::gate::Viewer;
use super::words::Tone;
use crate::error::ApiError;
use crate::server::session::CSRF_HEADER;

/// What a page may do: show what this server sends, and speak with this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The frame of a page.
#[derive(Debug)]
pub(super) struct Chrome {
    /// Who looks at it; empty before they said so.
    pub(super) who: String,
    /// What they may.
    pub(super) scope: String,
    /// What their forms show.
    pub(super) csrf: String,
    /// Which part of the navigation this is.
    pub(super) part: &'static str,
    /// What the icon of the page says.
    pub(super) tone: Tone,
}

impl Chrome {
    pub(super) fn new(viewer: &Viewer, part: &'static str, tone: Tone) -> Self {
        Self { who: viewer.name(), scope: viewer.scope(), csrf: viewer.session.csrf.clone(), part, tone }
    }

    pub(super) fn of_stranger() -> Self {
        let nothing = String::new();
        Self { who: nothing.clone(), scope: nothing.clone(), csrf: nothing, part: "", tone: Tone::Idle }
    }

    /// Returns where a style, a script or an icon is, with the hash of what it is now.
    pub(super) fn asset(&self, name: &str) -> String {
        assets::address(name)
    }

    /// Returns where the icon is.
    pub(super) fn icon(&self) -> String {
        assets::address(&format!("icon-{}.svg", self.tone.name()))
    }
}

/// Answers with a page.
pub(super) fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => html_text(text),
        // Writing to a String can't fail, and no template of ours gives up.
        Err(error) => ApiError::internal("writing the page", error).into_response(),
    }
}

fn html_text(text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    (headers, text).into_response()
}

/// Says no to a form that no page of ours sent. What it shows goes where scripts show it, and is looked at there.
pub(super) fn meant(viewer: &Viewer, headers: &mut HeaderMap, csrf: &str) -> Result<(), Oops> {
    if let Ok(csrf) = HeaderValue::from_str(csrf) {
        headers.insert(CSRF_HEADER, csrf);
    }
    Ok(viewer.session.meant(&Method::POST, headers)?)
}

/// What went wrong, for people.
#[derive(Debug)]
pub(super) struct Oops(pub(super) ApiError);

impl<E: Into<ApiError>> From<E> for Oops {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

#[derive(Debug, Template)]
#[template(path = "oops.html")]
struct OopsPage {
    chrome: Chrome,
    status: u16,
    title: String,
    detail: String,
}

impl IntoResponse for Oops {
    fn into_response(self) -> Response {
        let problem = self.0.problem();
        // It writes to the log what the log is to know.
        let told = self.0.into_response();
        let (title, detail) = (problem.title, problem.detail);
        let chrome = Chrome { tone: Tone::Bad, ..Chrome::of_stranger() };
        let mut page = html(&OopsPage { chrome, status: problem.status, title, detail });
        *page.status_mut() =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(seconds) = told.headers().get(header::RETRY_AFTER) {
            page.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
        }
        page
    }
}
