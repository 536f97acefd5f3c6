//! A token, and what it opens.

use landfall_engine::core::ledger::{Ledger, Scope, TokenGrant};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::error::ApiError;
use crate::server::App;

/// What every token that is handed out begins with, so that scanners for leaked secrets can find one.
const TOKEN_PREFIX: &str = "lft_";

/// Whoever asks, by their token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// One of the server's own tokens: everything.
    Server,
    /// A token that was handed out.
    Granted(Box<TokenGrant>),
}

impl Identity {
    /// Returns the identity behind the token that the server left in its data folder.
    pub(super) fn of_local(app: &App, token: &str) -> Option<Self> {
        app.local.is(token).then_some(Self::Server)
    }

    /// Returns the identity behind a token. None: it opens nothing.
    pub(super) fn of(app: &App, token: &str, now_ms: u64) -> Option<Self> {
        if app.opens(token) {
            return Some(Self::Server);
        }
        granted(&app.engine.ledger().borrow(), token, now_ms).map(|grant| Self::Granted(Box::new(grant)))
    }

    /// Returns what a token that was handed out opens now. None: it was revoked, or has expired.
    pub(super) fn of_grant(app: &App, id: Uuid, now_ms: u64) -> Option<Self> {
        let ledger = app.engine.ledger();
        let ledger = ledger.borrow();
        let grant = ledger.tokens.get(&id).filter(|grant| is_live(grant, now_ms))?;
        Some(Self::Granted(Box::new(grant.clone())))
    }

    /// Says no to what the token does not open.
    pub(crate) fn may(&self, scope: Scope) -> Result<(), ApiError> {
        match self {
            Self::Granted(grant) if grant.scope < scope => Err(ApiError::Forbidden(format!(
                "this takes a token of the scope `{}`, and yours has `{}`",
                scope_name(scope),
                scope_name(grant.scope)
            ))),
            Self::Server | Self::Granted(_) => Ok(()),
        }
    }

    /// Says no to an app that the token does not open.
    pub(crate) fn may_for(&self, scope: Scope, app: &str) -> Result<(), ApiError> {
        self.may(scope)?;
        match self.only() {
            Some(only) if only != app => {
                Err(ApiError::Forbidden(format!("this token is for the app {only} alone")))
            }
            _ => Ok(()),
        }
    }

    /// Returns the one app that the token opens, if it is only one.
    pub(crate) fn only(&self) -> Option<&str> {
        match self {
            Self::Server => None,
            Self::Granted(grant) => grant.app.as_deref(),
        }
    }

    /// Returns the name with which the token signs. None: whoever has it may say who they are.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Server => None,
            Self::Granted(grant) => Some(&grant.label),
        }
    }
}

/// Returns how people write a scope.
pub(crate) const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Trigger => "trigger",
        Scope::Deploy => "deploy",
        Scope::Admin => "admin",
    }
}

/// Finds a token among those that were handed out and have not expired.
fn granted(ledger: &Ledger, token: &str, now_ms: u64) -> Option<TokenGrant> {
    let given = hash_of(token);
    let is_it = |grant: &TokenGrant| bool::from(grant.sha256.as_bytes().ct_eq(given.as_bytes()));
    // Each is compared, so that the time tells nothing about which it was.
    let found =
        ledger.tokens.values().fold(None, |found, grant| if is_it(grant) { Some(grant) } else { found });
    found.filter(|grant| is_live(grant, now_ms)).cloned()
}

fn is_live(grant: &TokenGrant, now_ms: u64) -> bool {
    grant.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
}

fn hash_of(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token that was just made: shown once, to whoever asked for it.
#[derive(Clone)]
pub(crate) struct NewToken {
    /// What is remembered of it.
    pub(crate) grant: TokenGrant,
    /// The token.
    pub token: String,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken").field("grant", &self.grant).finish_non_exhaustive()
    }
}

impl NewToken {
    /// Makes a token of 244 random bits.
    pub fn random(label: String, scope: Scope, app: Option<String>, expires_ms: Option<u64>) -> Self {
        let token = format!("{TOKEN_PREFIX}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let sha256 = hash_of(&token);
        Self { grant: TokenGrant { id: Uuid::now_v7(), label, scope, app, expires_ms, sha256 }, token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(tokens: &[&NewToken]) -> Ledger {
        let tokens = tokens.iter().map(|token| (token.grant.id, token.grant.clone())).collect();
        Ledger { tokens, ..Ledger::default() }
    }

    #[test]
    fn a_token_opens_until_it_expires_and_another_never_does() {
        let ci = NewToken::random("ci".into(), Scope::Trigger, Some("shop".into()), Some(1_000));
        let bob = NewToken::random("bob".into(), Scope::Read, None, None);
        let ledger = ledger(&[&ci, &bob]);
        assert_eq!(granted(&ledger, &ci.token, 999), Some(ci.grant.clone()));
        assert_eq!(granted(&ledger, &ci.token, 1_000), None);
        assert_eq!(granted(&ledger, &bob.token, u64::MAX), Some(bob.grant.clone()));
        for wrong in ["", "lft_", &ci.grant.sha256, &bob.token[..bob.token.len() - 1]] {
            assert_eq!(granted(&ledger, wrong, 0), None, "{wrong}");
        }
    }

    #[test]
    fn a_scope_opens_what_is_below_it_and_one_app_where_it_is_bound() {
        let deploy = NewToken::random("ci".into(), Scope::Deploy, Some("shop".into()), None);
        let identity = Identity::Granted(Box::new(deploy.grant));
        assert!(identity.may_for(Scope::Trigger, "shop").is_ok());
        assert!(identity.may_for(Scope::Deploy, "shop").is_ok());
        assert!(identity.may_for(Scope::Read, "blog").is_err());
        let said = identity.may(Scope::Admin).unwrap_err().problem().detail;
        assert!(said.contains("`admin`") && said.contains("`deploy`"), "{said}");
        assert!(Identity::Server.may_for(Scope::Admin, "blog").is_ok());
    }

    #[test]
    fn neither_the_token_nor_its_debug_form_is_what_is_remembered() {
        let token = NewToken::random("ci".into(), Scope::Read, None, None);
        let remembered = format!("{token:?} {}", serde_json::to_string(&token.grant).unwrap());
        assert!(!remembered.contains(&token.token), "{remembered}");
    }
}
