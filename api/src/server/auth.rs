//! Who asks, and what they may: a token opens so much, for one app or for all, until a time.
//!
//! ```text
//! request ──▶ limiter (failed logins of the address) ──▶ token ──▶ identity ──▶ table of scopes ──▶ handler
//! ```
//!
//! **Invariant:** a route that is not in the table needs [`Scope::Admin`], so one that is forgotten is closed.

mod identity;
mod limiter;
pub(crate) mod session;
mod table;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use landfall_engine::core::ledger::{Scope, ledger_of};

use self::table::About;
use super::App;
use super::extract::run_in;
use super::peer::Peer;
use crate::error::ApiError;

pub(super) use identity::NewToken;
pub(crate) use identity::{Identity, scope_name};
pub use limiter::FailedLogins;
pub use session::Sessions;

/// The header in which a client says on whose behalf it asks; for the log, and no permission hangs on it.
pub(crate) const ACTOR_HEADER: &str = "landfall-actor";
/// Where every app's numbers are.
pub(super) const METRICS: &str = "/metrics";
/// An actor is a name, and stands in every event.
const ACTOR_BYTES_MAX: usize = 100;

/// Lets a request pass whose token opens what is asked.
pub(super) async fn bearer(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (identity, signs) = whoever_asks(&app, &request)?;
    if let Some((scope, about)) = asked_for(&request) {
        identity.may(scope)?;
        is_a_run(&app, &about)?;
        may_ask(&app, &identity, about).await?;
    }
    if let Some(name) = signs {
        let name = HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("token"));
        request.headers_mut().insert(ACTOR_HEADER, name);
    }
    request.extensions_mut().insert(identity);
    Ok(next.run(request).await)
}

/// Returns who asks, by their token or by the cookie of a browser, and the name with which they sign, if it is settled:
/// a token that was handed out signs with its own, whatever the client says.
fn whoever_asks(app: &App, request: &Request) -> Result<(Identity, Option<String>), ApiError> {
    let headers = request.headers();
    if !headers.contains_key(header::AUTHORIZATION)
        && let Some((session, identity)) = session::logged_in(app, headers)
    {
        session.meant(request.method(), headers)?;
        let name = identity.name().map(str::to_owned).or(session.actor).unwrap_or_else(|| "dashboard".into());
        return Ok((identity, Some(name)));
    }
    let token = credentials(headers, "bearer").map(str::trim).unwrap_or_default();
    let identity = known(app, token, address(request.extensions(), headers))?;
    let name = identity.name().map(str::to_owned);
    Ok((identity, name))
}

/// Logs a browser in by a token, which is looked at as every other is, and returns the cookie's value.
///
/// # Errors
///
/// [`ApiError::Unauthorized`] and [`ApiError::Limited`].
pub(crate) fn log_in(
    app: &App,
    token: &str,
    name: &str,
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Result<String, ApiError> {
    let identity = known(app, token.trim(), address(extensions, headers))?;
    Ok(app.sessions.open(&identity, plain_actor(name).map(str::to_owned), app.now_ms()))
}

/// Tells whether a request has a token that opens the whole server to be read.
pub(super) fn reads_everything(app: &App, extensions: &Extensions, headers: &HeaderMap) -> bool {
    let token = credentials(headers, "bearer").map(str::trim).unwrap_or_default();
    let identity = known(app, token, address(extensions, headers));
    identity.is_ok_and(|identity| identity.may(Scope::Read).is_ok() && identity.only().is_none())
}

/// Tells whether a request has a token that opens this app to be read. One without a token is no guess at one.
pub(super) fn reads_app(app: &App, extensions: &Extensions, headers: &HeaderMap, name: &str) -> bool {
    let token = credentials(headers, "bearer").map(str::trim).unwrap_or_default();
    known(app, token, address(extensions, headers)).is_ok_and(|who| who.may_for(Scope::Read, name).is_ok())
}

/// Returns who asks by Basic authentication, whose password is the token, and their name.
pub(crate) fn basic(
    app: &App,
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Result<(Identity, String), ApiError> {
    let user_and_password = || {
        let decoded = BASE64_STANDARD.decode(credentials(headers, "basic")?.trim()).ok()?;
        String::from_utf8(decoded).ok()
    };
    let decoded = user_and_password().ok_or(ApiError::Unauthorized)?;
    let (user, password) = decoded.split_once(':').ok_or(ApiError::Unauthorized)?;
    let identity = known(app, password, address(extensions, headers))?;
    let name = identity.name().or_else(|| plain_actor(user)).unwrap_or("git").to_owned();
    Ok((identity, name))
}

/// Returns who asks, as the client says, or as the token says where it was handed out to somebody.
pub(super) fn actor(headers: &HeaderMap) -> String {
    // `to_str` takes ASCII alone, and people have other letters in their names.
    let text = headers.get(ACTOR_HEADER).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let named = text.and_then(plain_actor);
    named.unwrap_or("api").to_owned()
}

fn known(app: &App, token: &str, from: Option<IpAddr>) -> Result<Identity, ApiError> {
    let now_ms = app.now_ms();
    if let Some(local) = Identity::of_local(app, token) {
        // Random, and known to whoever can read the data folder: nobody's guesses close the machine's own commands.
        return Ok(local);
    }
    if token.is_empty() {
        // Nothing is guessed by that.
        return Err(ApiError::Unauthorized);
    }
    app.failed_logins.hears(from, now_ms)?;
    Identity::of(app, token, now_ms).ok_or_else(|| {
        app.failed_logins.note(from, now_ms);
        tracing::warn!(?from, "a token was refused");
        ApiError::Unauthorized
    })
}

/// Returns what a request takes. None: there is no such route, so there is nothing to protect, and the answer says so.
fn asked_for(request: &Request) -> Option<(Scope, About)> {
    let matched = request.extensions().get::<MatchedPath>()?.as_str();
    if matched == METRICS {
        return Some((Scope::Read, About::Everything));
    }
    let route = matched.strip_prefix("/v1")?;
    Some((table::needed(request.method(), route), table::about(request.method(), route, request.uri())))
}

/// Says no to what is no run: an id that is written so that others would read another one there, and the ledger's.
fn is_a_run(app: &App, about: &About) -> Result<(), ApiError> {
    let About::Run(text) = about else { return Ok(()) };
    if text.contains('%') {
        return Err(ApiError::BadRequest(format!(
            "{text:?} is not the id of a run: expected a UUID, as it is"
        )));
    }
    match run_in(text) {
        Some(run_id) if run_id == ledger_of(app.engine.store().log_id()) => {
            Err(super::live::no_such_run(run_id))
        }
        // The handler says what an id looks like.
        _ => Ok(()),
    }
}

async fn may_ask(app: &App, identity: &Identity, about: About) -> Result<(), ApiError> {
    let Some(only) = identity.only() else { return Ok(()) };
    let asked = match about {
        About::App(app) => Some(app),
        About::Run(run) => match run_in(&run) {
            Some(run_id) => app.engine.store().run(run_id).await?.map(|run| run.lane.app),
            None => None,
        },
        About::Server => return Ok(()),
        About::Everything => None,
    };
    match asked.as_deref() == Some(only) {
        true => Ok(()),
        false => Err(ApiError::Forbidden(format!(
            "this token is for the app {only} alone: name it in the path, or in the query as `app={only}`"
        ))),
    }
}

/// Returns the address that a request comes from: the client's, where a proxy on this machine passes it on.
fn address(extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
    extensions.get::<Peer>().map(|peer| peer.client(headers))
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

/// Tells whether a text may stand in the log as who did it.
pub(super) fn is_actor(name: &str) -> bool {
    plain_actor(name) == Some(name)
}

/// Tells whether a request may name any repository: whoever may has the machine's own keys for it, and its disk.
pub(super) fn may_name_repositories(identity: Option<&Identity>) -> Result<(), ApiError> {
    let identity = identity.ok_or(ApiError::Unauthorized)?;
    match identity.may(Scope::Admin).is_ok() && identity.only().is_none() {
        true => Ok(()),
        false => Err(ApiError::Forbidden(
            "only an administrator's token names a `repository`: leave it out, and the commit is looked for where the \
             app's commits come from"
                .into(),
        )),
    }
}

/// Tells whether a request may lift a hold: that is a decision about what is deployed, and no mere trigger.
pub(super) fn may_release(identity: Option<&Identity>) -> Result<(), ApiError> {
    identity.map_or(Err(ApiError::Unauthorized), |identity| identity.may(Scope::Deploy))
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

    #[test]
    fn a_name_may_have_any_letters_and_what_is_no_text_is_no_name() {
        let signed = |bytes: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(ACTOR_HEADER, HeaderValue::from_bytes(bytes).unwrap());
            actor(&headers)
        };
        assert_eq!(signed("Zoë Müller".as_bytes()), "Zoë Müller");
        assert_eq!(signed(b"Zo\xeb"), "api");
    }

    #[test]
    fn only_a_proxy_on_this_machine_is_believed_about_the_client() {
        let from = |peer: &str, forwarded: &'static str| {
            let mut extensions = Extensions::new();
            extensions.insert(Peer { address: peer.parse().unwrap(), tls: false });
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
            address(&extensions, &headers).unwrap().to_string()
        };
        assert_eq!(from("203.0.113.7:9", "198.51.100.1"), "203.0.113.7");
        assert_eq!(from("127.0.0.1:9", "10.1.1.1, 198.51.100.1"), "198.51.100.1");
        assert_eq!(from("[::ffff:127.0.0.1]:9", "no address"), "127.0.0.1");
    }
}
