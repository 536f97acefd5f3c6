//! Who may ask: whoever has the token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::App;
use crate::error::ApiError;

/// The header in which a client says on whose behalf it asks; for the log, and no permission hangs on it.
pub(crate) const ACTOR_HEADER: &str = "landfall-actor";
/// An actor is a name, and stands in every event.
const ACTOR_BYTES_MAX: usize = 100;

/// Lets a request pass that has the token.
pub(super) async fn bearer(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match has_token(&app, request.headers()) {
        true => Ok(next.run(request).await),
        false => Err(ApiError::Unauthorized),
    }
}

/// Tells whether a request has the token.
pub(super) fn has_token(app: &App, headers: &HeaderMap) -> bool {
    credentials(headers, "bearer").is_some_and(|token| app.opens(token.trim()))
}

/// Returns the user name of a request by Basic authentication whose password is the token.
pub(crate) fn basic_user(app: &App, headers: &HeaderMap) -> Result<String, ApiError> {
    let user_and_password = || {
        let decoded = BASE64_STANDARD.decode(credentials(headers, "basic")?.trim()).ok()?;
        String::from_utf8(decoded).ok()
    };
    let decoded = user_and_password().ok_or(ApiError::Unauthorized)?;
    let (user, password) = decoded.split_once(':').ok_or(ApiError::Unauthorized)?;
    if !app.opens(password) {
        return Err(ApiError::Unauthorized);
    }
    Ok(plain_actor(user).unwrap_or("git").to_owned())
}

/// Returns who asks, as the client says.
pub(super) fn actor(headers: &HeaderMap) -> String {
    let named = headers.get(ACTOR_HEADER).and_then(|value| value.to_str().ok()).and_then(plain_actor);
    named.unwrap_or("api").to_owned()
}

/// Returns a name that may stand in the log. `engine` is how the engine signs its own events.
fn plain_actor(name: &str) -> Option<&str> {
    let name = name.trim();
    let fits = (1..=ACTOR_BYTES_MAX).contains(&name.len()) && name != "engine";
    (fits && name.chars().all(|char| !char.is_control())).then_some(name)
}

fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (given, rest) = value.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_signs_as_the_engine_or_with_control_characters() {
        assert_eq!(plain_actor("ada"), Some("ada"));
        assert_eq!(plain_actor("engine"), None);
        assert_eq!(plain_actor("a\nb"), None);
        assert_eq!(plain_actor(""), None);
    }
}
