//! A change that is sent again is done once: the `Idempotency-Key` header.
//!
//! ```text
//! key, and of what ──────────▶ claim      it was asked: for as long as the log is kept
//! key, and the whole request ─▶ event id   what was asked: the first event that it led to has it
//! ```
//!
//! Both are in the log, so an answer is the same after a restart, and years later.

use axum::http::{HeaderMap, HeaderName};
use landfall_engine::Claim;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::ApiError;

/// The header that says under which name a change is asked for.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Idempotency keys are UUIDs or delivery ids.
const KEY_BYTES_MAX: usize = 200;

/// Returns the claim of a change of `what` (an app, a run), if it is to be done once. `doing` and `request` are
/// all that it asks for.
///
/// # Errors
///
/// [`ApiError::BadRequest`] when the key is none.
pub(super) fn claim(
    headers: &HeaderMap,
    what: &str,
    doing: &str,
    request: &impl Serialize,
) -> Result<Option<Claim>, ApiError> {
    let Some(key) = key(headers)? else { return Ok(None) };
    let name = format!("api:{what}:{key}");
    let request =
        serde_json::to_vec(request).map_err(|error| ApiError::internal("reading the request", error))?;
    let event_id = Some(id_of(&[name.as_bytes(), doing.as_bytes(), &request]));
    Ok(Some(Claim { name, event_id }))
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.contains(char::is_whitespace) => {
            Ok(Some(key))
        }
        _ => Err(ApiError::BadRequest(format!(
            "an Idempotency-Key is 1 to {KEY_BYTES_MAX} printable characters without spaces, such as a UUID"
        ))),
    }
}

/// Returns an id that these parts alone have.
fn id_of(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length: where one part ends is not to be moved.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, what: &str, doing: &str, request: &str) -> Option<Claim> {
        let headers = [(IDEMPOTENCY_KEY, key.parse().unwrap())].into_iter().collect();
        claim(&headers, what, doing, &request).ok().flatten()
    }

    #[test]
    fn the_same_request_has_the_same_claim_and_another_one_another_id() {
        let first = of("k", "shop", "rollback", "a").unwrap();
        assert_eq!(of("k", "shop", "rollback", "a"), Some(first.clone()));
        assert_eq!(of("k", "shop", "rollback", "b").unwrap().name, first.name);
        let ids = ["a", "b"].map(|request| of("k", "shop", "rollback", request).unwrap().event_id);
        assert_ne!(ids[0], ids[1]);
        assert_ne!(of("k", "shop", "trigger", "a").unwrap().event_id, first.event_id);
        assert_ne!(of("k", "blog", "rollback", "a").unwrap().name, first.name);
    }

    #[test]
    fn a_key_is_printable_and_no_novel() {
        assert!(of("delivery-1", "shop", "", "").is_some());
        assert!(of(&"x".repeat(201), "shop", "", "").is_none() && of("a b", "shop", "", "").is_none());
        assert_eq!(claim(&HeaderMap::new(), "shop", "", &()).ok(), Some(None));
    }
}
