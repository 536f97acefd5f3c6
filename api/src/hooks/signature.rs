//! Who delivers: whoever knows the app's secret. Over the body as it came, compared in constant time.
//!
//! ```text
//! GitHub          X-Hub-Signature-256: sha256=HEX
//! Bitbucket       X-Hub-Signature:     sha256=HEX
//! Gitea, Forgejo  X-Gitea-Signature, X-Forgejo-Signature: HEX     (X-Hub-Signature-256 as well)
//! GitLab          X-Gitlab-Token: the secret itself, or
//!                 webhook-signature: v1,BASE64 of "webhook-id.webhook-timestamp.body"    (Standard Webhooks)
//! ```
//!
//! A signature covers the body and none of the other headers. So a delivery's id proves nothing, and what was
//! pushed is claimed by (app, ref, before, after) as well. SHA-1 signatures are not looked at.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::delivery::text;
use crate::hooks::Forge;

/// How far a delivery's clock may be from ours, in seconds, where the delivery says when it was signed.
const TOLERANCE_SECONDS: u64 = 300;
/// A delivery is signed by the old and the new secret while one is replaced; more signatures are an attempt at ours.
const SIGNATURES_MAX: usize = 10;
/// How a secret of Standard Webhooks begins; what follows is its bytes in base64.
const STANDARD_PREFIX: &str = "whsec_";

/// Tells whether a delivery is signed with a secret.
pub(super) fn is_signed(
    forge: Forge,
    headers: &HeaderMap,
    body: &[u8],
    secret: &str,
    now_seconds: u64,
) -> bool {
    match forge {
        Forge::GitHub => is_hex_of(text(headers, "x-hub-signature-256").and_then(prefixed), body, secret),
        Forge::Bitbucket => is_hex_of(text(headers, "x-hub-signature").and_then(prefixed), body, secret),
        Forge::Gitea | Forge::Forgejo => {
            let bare = text(headers, "x-forgejo-signature").or_else(|| text(headers, "x-gitea-signature"));
            let given = bare.or_else(|| text(headers, "x-hub-signature-256").and_then(prefixed));
            is_hex_of(given, body, secret)
        }
        Forge::GitLab if headers.contains_key("webhook-signature") => {
            is_standard(headers, body, secret, now_seconds)
        }
        Forge::GitLab => is_token(headers, secret),
    }
}

fn prefixed(value: &str) -> Option<&str> {
    value.strip_prefix("sha256=")
}

fn is_hex_of(given: Option<&str>, body: &[u8], secret: &str) -> bool {
    let expected = mac(secret.as_bytes(), &[body]);
    let given = given.and_then(bytes_of_hex);
    // Without a signature the work is the same.
    let given = given.unwrap_or_default();
    bool::from(given.as_slice().ct_eq(&expected))
}

/// Compares digests, so that not even the length of the secret shows.
fn is_token(headers: &HeaderMap, secret: &str) -> bool {
    let given = headers.get("x-gitlab-token").map(|value| value.as_bytes()).unwrap_or_default();
    let digest = |bytes: &[u8]| mac(b"compare", &[bytes]);
    let same = digest(given).ct_eq(&digest(secret.as_bytes()));
    bool::from(same) && !secret.is_empty()
}

fn is_standard(headers: &HeaderMap, body: &[u8], secret: &str, now_seconds: u64) -> bool {
    let (Some(id), Some(timestamp), Some(signatures)) =
        (text(headers, "webhook-id"), text(headers, "webhook-timestamp"), text(headers, "webhook-signature"))
    else {
        return false;
    };
    let is_fresh =
        timestamp.parse::<u64>().is_ok_and(|signed| signed.abs_diff(now_seconds) <= TOLERANCE_SECONDS);
    let key = secret.strip_prefix(STANDARD_PREFIX).and_then(|key| BASE64_STANDARD.decode(key).ok());
    let key = key.unwrap_or_else(|| secret.as_bytes().to_vec());
    let expected = mac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    let given =
        signatures.split(' ').take(SIGNATURES_MAX).filter_map(|signature| signature.strip_prefix("v1,"));
    // Not `any`: which of them was right is nobody's business.
    let is_right = given.fold(false, |is_right, given| {
        let given = BASE64_STANDARD.decode(given).unwrap_or_default();
        bool::from(given.as_slice().ct_eq(&expected)) | is_right
    });
    is_right && is_fresh
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of HMAC has any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
