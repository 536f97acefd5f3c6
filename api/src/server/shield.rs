//! Headers that every answer has, so that a browser does nothing with it that was not meant.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::peer::Peer;

/// What every answer says, unless it says something else of its own: a page has its own policy.
const ALWAYS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Half a year: long enough to count, short enough to regret.
const STRICT_TRANSPORT: &str = "max-age=15552000";

/// Adds what the answer does not say by itself.
pub(super) async fn shield(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let encrypted = peer.is_some_and(|peer| peer.is_encrypted(request.headers()));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if encrypted {
        let strict = HeaderValue::from_static(STRICT_TRANSPORT);
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(strict);
    }
    response
}
