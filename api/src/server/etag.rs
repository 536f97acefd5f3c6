//! Entity tags: an answer that the client has is not sent again, and a change is made to what the client saw.

use axum::http::{HeaderMap, HeaderName, header};
use landfall_engine::core::event::EventHash;
use sha2::{Digest, Sha256};

use crate::error::ApiError;

/// How many bytes of a hash stand in a tag: enough that no two states of one thing ever share it.
const HASH_BYTES: usize = 12;

/// Returns the tag of a run whose last event this is. It covers the whole history: each hash covers the one before.
pub(crate) fn of_run(seq: u64, hash: &EventHash) -> String {
    format!("\"{seq}-{}\"", hex(&hash.0))
}

/// Returns the tag of bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(&Sha256::digest(bytes)))
}

fn hex(hash: &[u8]) -> String {
    hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// Tells whether the client has what the tag stands for: `If-None-Match`.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    // A cache in between may have weakened ours; for reading, that is the same.
    tags(headers, header::IF_NONE_MATCH).any(|given| given == "*" || given.trim_start_matches("W/") == tag)
}

/// Tells whether the client saw what the tag stands for, if it asks for that: `If-Match`.
///
/// # Errors
///
/// [`ApiError::Moved`] when it saw something else.
pub(crate) fn expect(headers: &HeaderMap, tag: &str) -> Result<(), ApiError> {
    let asks = headers.contains_key(header::IF_MATCH);
    match !asks || tags(headers, header::IF_MATCH).any(|given| given == "*" || given == tag) {
        true => Ok(()),
        false => Err(ApiError::Moved(format!(
            "it moved on since you looked: its ETag is {tag} now; look again, then decide"
        ))),
    }
}

fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn a_tag_is_known_by_any_in_a_list_and_a_weak_one_will_do() {
        for given in ["\"7-ab\"", "\"1\", W/\"7-ab\"", "*"] {
            assert!(is_known(&with(header::IF_NONE_MATCH, given), "\"7-ab\""), "{given}");
        }
        assert!(
            !is_known(&with(header::IF_NONE_MATCH, "\"7\""), "\"7-ab\"") && !is_known(&HeaderMap::new(), "x")
        );
    }

    #[test]
    fn a_change_is_made_to_what_was_seen_and_to_nothing_else() {
        assert!(expect(&HeaderMap::new(), "\"7-ab\"").is_ok());
        for given in ["\"7-ab\"", "\"1\",\"7-ab\"", "*"] {
            assert!(expect(&with(header::IF_MATCH, given), "\"7-ab\"").is_ok(), "{given}");
        }
        for given in ["\"6-ab\"", "W/\"7-ab\"", ""] {
            assert!(expect(&with(header::IF_MATCH, given), "\"7-ab\"").is_err(), "{given}");
        }
    }
}
