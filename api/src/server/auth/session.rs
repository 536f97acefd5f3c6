//! Who is logged in by a browser: a cookie that stands for a token, until it is logged out, expires, or the token does.
//!
//! ```text
//! token ──log in──▶ cookie (random, known to the browser alone)
//! cookie ──SHA-256──▶ session ──▶ the token's grant in the ledger, looked up each time ──▶ identity
//! ```
//!
//! **Invariant:** a session opens what its token opens now. One whose token was revoked or has expired opens nothing.
//! Sessions are in memory alone: a restart ends them all, and nothing of them is ever on a disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, Method, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::identity::Identity;
use crate::error::ApiError;
use crate::server::App;

/// The cookie that a browser shows.
pub(crate) const COOKIE: &str = "landfall_session";
/// The header in which a script proves that it read the page that it acts for.
pub(crate) const CSRF_HEADER: &str = "landfall-csrf";
/// A working day, and the evening after it.
pub(crate) const LIFE_SECONDS: u64 = 16 * 60 * 60;
/// So many people and screens at once are a large company; a session takes some 200 bytes.
const SESSIONS_MAX: usize = 10_000;
/// So many of them by one token: whoever logs in again and again pushes out themselves, and nobody else.
const SESSIONS_OF_TOKEN_MAX: usize = 50;

/// Whose a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// One of the server's own tokens opened it. Those last as long as the process, and so as the session.
    Server,
    /// This token opened it.
    Granted(Uuid),
}

/// Somebody who is logged in.
#[derive(Clone)]
pub(crate) struct Session {
    whose: Whose,
    /// What a form, or a script, has to show beside the cookie: other sites can send that, and can't read this.
    pub(crate) csrf: String,
    /// Under which name it acts, where the token has none of its own.
    pub(crate) actor: Option<String>,
    ends_ms: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("whose", &self.whose)
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

/// Everybody who is logged in.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

impl Sessions {
    /// Logs somebody in and returns what their browser is to keep.
    pub(crate) fn open(&self, identity: &Identity, actor: Option<String>, now_ms: u64) -> String {
        let whose = match identity {
            Identity::Server => Whose::Server,
            Identity::Granted(grant) => Whose::Granted(grant.id),
        };
        let cookie = random();
        let session = Session { whose, csrf: random(), actor, ends_ms: now_ms + LIFE_SECONDS * 1_000 };
        let mut sessions = self.all();
        let is_own = |session: &Session| session.whose == whose;
        if sessions.values().filter(|session| is_own(session)).count() >= SESSIONS_OF_TOKEN_MAX {
            end_oldest(&mut sessions, is_own);
        }
        if sessions.len() >= SESSIONS_MAX {
            sessions.retain(|_, session| session.ends_ms > now_ms);
        }
        if sessions.len() >= SESSIONS_MAX {
            end_oldest(&mut sessions, |_| true);
        }
        sessions.insert(key_of(&cookie), session);
        cookie
    }

    /// Logs out whoever shows this cookie.
    pub(crate) fn close(&self, headers: &HeaderMap) {
        if let Some(cookie) = shown(headers) {
            self.all().remove(&key_of(cookie));
        }
    }

    fn of(&self, cookie: &str, now_ms: u64) -> Option<Session> {
        // Found by its hash: how long that takes tells nothing of the cookie.
        self.all().get(&key_of(cookie)).filter(|session| session.ends_ms > now_ms).cloned()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Says no to a request that another site may have made this browser send.
    ///
    /// # Errors
    ///
    /// [`ApiError::Forbidden`], with what to do.
    pub(crate) fn meant(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let given = headers.get(CSRF_HEADER).map(|given| given.as_bytes()).unwrap_or_default();
        match is_same_origin(headers) && bool::from(given.ct_eq(self.csrf.as_bytes())) {
            true => Ok(()),
            false => Err(ApiError::Forbidden(
                "this did not come from a page of this server that you are logged in to: load the page again, and \
                 then decide"
                    .into(),
            )),
        }
    }
}

/// Returns who is logged in by the cookie of a request, and what they may now.
pub(crate) fn logged_in(app: &App, headers: &HeaderMap) -> Option<(Session, Identity)> {
    let now_ms = app.now_ms();
    let session = app.sessions.of(shown(headers)?, now_ms)?;
    let identity = match session.whose {
        Whose::Server => Identity::Server,
        Whose::Granted(id) => Identity::of_grant(app, id, now_ms)?,
    };
    Some((session, identity))
}

/// Tells whether the browser says that a page of this server sends this.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    // Browsers leave that out where the page is not encrypted; this they always send with a form.
    let origin = text("origin").and_then(|origin| origin.split_once("://"));
    match (origin, text("host")) {
        (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

fn end_oldest(sessions: &mut HashMap<[u8; 32], Session>, is_meant: impl Fn(&Session) -> bool) {
    let meant = sessions.iter().filter(|(_, session)| is_meant(session));
    if let Some(oldest) = meant.min_by_key(|(_, session)| session.ends_ms).map(|(key, _)| *key) {
        sessions.remove(&oldest);
    }
}

fn shown(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

fn key_of(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}

/// Returns 244 random bits.
fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use landfall_engine::core::ledger::{Scope, TokenGrant};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_session_ends_when_it_is_closed_or_its_time_is_up() {
        let sessions = Sessions::default();
        let cookie = sessions.open(&Identity::Server, None, 1_000);
        let ends_ms = 1_000 + LIFE_SECONDS * 1_000;
        assert!(sessions.of(&cookie, ends_ms - 1).is_some() && sessions.of(&cookie, ends_ms).is_none());
        assert!(sessions.of("", 1_000).is_none() && sessions.of(&cookie[1..], 1_000).is_none());
        sessions.close(&headers(&[("cookie", &format!("theme=dark; {COOKIE}={cookie}"))]));
        assert!(sessions.of(&cookie, 1_000).is_none());
    }

    #[test]
    fn there_are_so_many_sessions_and_the_oldest_makes_room() {
        let sessions = Sessions::default();
        let first = sessions.open(&Identity::Server, None, 0);
        for n in 1..=SESSIONS_MAX as u64 {
            sessions.open(&granted(n.into()), None, n);
        }
        assert_eq!(sessions.all().len(), SESSIONS_MAX);
        assert!(sessions.of(&first, 1).is_none());
    }

    #[test]
    fn whoever_logs_in_again_and_again_pushes_out_their_own_oldest_session_and_nobody_else() {
        let sessions = Sessions::default();
        let other = sessions.open(&Identity::Server, None, 0);
        let own: Vec<String> =
            (1..=SESSIONS_OF_TOKEN_MAX as u64 + 1).map(|n| sessions.open(&granted(7), None, n)).collect();
        assert!(sessions.of(&other, 1).is_some());
        assert!(sessions.of(&own[0], 1).is_none());
        assert!(own[1..].iter().all(|cookie| sessions.of(cookie, 1).is_some()));
        assert_eq!(sessions.all().len(), SESSIONS_OF_TOKEN_MAX + 1);
    }

    fn granted(id: u128) -> Identity {
        Identity::Granted(Box::new(TokenGrant {
            id: Uuid::from_u128(id),
            label: "ada".into(),
            scope: Scope::Read,
            app: None,
            expires_ms: None,
            sha256: String::new(),
        }))
    }

    #[test]
    fn a_change_is_meant_when_it_comes_from_our_page_with_what_only_that_page_knows() {
        let session = Session { whose: Whose::Server, csrf: "known".into(), actor: None, ends_ms: 1 };
        let meant = |pairs: &[(&'static str, &str)]| session.meant(&Method::POST, &headers(pairs)).is_ok();
        let host = ("host", "ci.example.com");
        assert!(meant(&[("sec-fetch-site", "same-origin"), (CSRF_HEADER, "known")]));
        assert!(meant(&[("origin", "https://ci.example.com"), host, (CSRF_HEADER, "known")]));
        for bad in [
            &[("sec-fetch-site", "same-origin"), (CSRF_HEADER, "guessed")][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "cross-site"), (CSRF_HEADER, "known")],
            &[
                ("sec-fetch-site", "same-site"),
                ("origin", "https://ci.example.com"),
                host,
                (CSRF_HEADER, "known"),
            ],
            &[("origin", "https://evil.example.com"), host, (CSRF_HEADER, "known")],
            &[("origin", "null"), host, (CSRF_HEADER, "known")],
            &[host, (CSRF_HEADER, "known")],
        ] {
            assert!(!meant(bad), "{bad:?}");
        }
        assert!(session.meant(&Method::GET, &HeaderMap::new()).is_ok());
    }
}
