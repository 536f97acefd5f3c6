//! Styles, scripts and icons. They are in the binary, and a browser that has them does not ask again.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::page::Oops;
use super::words::Tone;
use crate::error::ApiError;
use crate::server::etag;

/// An address with the hash in it is of these bytes and no others.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// One without is asked for again, and answered with "you have it".
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

struct Asset {
    kind: &'static str,
    text: String,
    tag: String,
}

static ASSETS: LazyLock<BTreeMap<String, Asset>> = LazyLock::new(|| {
    let files = [
        ("dashboard.css", "text/css; charset=utf-8", include_str!("../../assets/dashboard.css")),
        ("theme.js", JS, include_str!("../../assets/theme.js")),
        ("common.js", JS, include_str!("../../assets/common.js")),
        ("list.js", JS, include_str!("../../assets/list.js")),
        ("run.js", JS, include_str!("../../assets/run.js")),
        ("output.js", JS, include_str!("../../assets/output.js")),
    ];
    let files = files.map(|(name, kind, text)| (name.to_owned(), kind, text.to_owned()));
    let icons = Tone::ALL.map(|tone| {
        let text = include_str!("../../assets/icon.svg").replace("{{fill}}", tone.colour());
        (format!("icon-{}.svg", tone.name()), "image/svg+xml", text)
    });
    let all = files.into_iter().chain(icons);
    all.map(|(name, kind, text)| {
        let tag = etag::of_bytes(text.as_bytes());
        (name, Asset { kind, text, tag })
    })
    .collect()
});

const JS: &str = "text/javascript; charset=utf-8";

/// Returns where an asset is, with the hash of what it is.
pub(super) fn address(name: &str) -> String {
    match ASSETS.get(name) {
        Some(asset) => format!("/assets/{name}?v={}", asset.tag.trim_matches('"')),
        None => format!("/assets/{name}"),
    }
}

pub(super) async fn serve(
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Oops> {
    let missing = || ApiError::NotFound(format!("there is no asset {name}"));
    let Asset { kind, text, tag } = ASSETS.get(&name).ok_or_else(missing)?;
    let is_named = query.is_some_and(|query| query == format!("v={}", tag.trim_matches('"')));
    let caching = (header::CACHE_CONTROL, if is_named { FOR_EVER } else { ASK_AGAIN });
    let tagged = [(header::ETAG, tag.as_str())];
    if etag::is_known(&headers, tag) {
        return Ok((StatusCode::NOT_MODIFIED, [caching], tagged).into_response());
    }
    let kind = [(header::CONTENT_TYPE, *kind)];
    Ok(([caching], tagged, kind, text.as_str()).into_response())
}

/// What browsers ask for on pages that name no icon.
pub(super) async fn favicon() -> Redirect {
    Redirect::permanent("/assets/icon-idle.svg")
}
