//! Signatures of webhooks in the form of [Standard Webhooks](https://www.standardwebhooks.com): what was sent, when,
//! and under which id, so that a receiver knows the sender and drops what is old or repeated.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;

/// Stands before every signing secret.
const PREFIX: &str = "whsec_";
/// The lengths that the standard allows, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What signs. Has no `Debug`: it is a secret.
pub(super) struct SigningKey(Vec<u8>);

/// What was expected in the place of a signing key.
pub(super) const EXPECTED: &str =
    "whsec_ and 24 to 64 bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes one";

impl SigningKey {
    /// Reads a key as it is handed to both sides. None: it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text.trim().strip_prefix(PREFIX)?).ok()?;
        KEY_BYTES.contains(&key.len()).then_some(Self(key))
    }

    /// Returns the value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_is_met() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_key_that_is_short_or_in_another_form_is_none() {
        for text in [
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_c2hvcnQ=",
            "whsec_",
            "whsec_not base64 at all!!!!!!!!!",
        ] {
            assert!(SigningKey::parse(text).is_none(), "{text}");
        }
    }
}
