//! A signed envelope around a document, as DSSE 1.0 has it: what tools for supply chains read.
//!
//! What is signed starts with `DSSEv1`, what a checkpoint signs with `{`: neither can be taken for the other.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::key::CheckpointKey;

/// A document with its signature.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DsseEnvelope {
    /// The document, in base64.
    payload: String,
    /// What the document is.
    payload_type: String,
    signatures: [DsseSignature; 1],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct DsseSignature {
    /// A hint: the fingerprint of the key.
    keyid: String,
    sig: String,
}

impl DsseEnvelope {
    /// Signs a document.
    pub fn sign(key: &CheckpointKey, payload_type: &str, payload: &[u8]) -> Self {
        let sig = BASE64_STANDARD.encode(key.sign(&encoded(payload_type, payload)));
        Self {
            payload: BASE64_STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: [DsseSignature { keyid: key.public().to_string(), sig }],
        }
    }
}

/// Returns the bytes that are signed: DSSE's pre-authentication encoding.
fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_what_the_standard_says() {
        // The example in the standard's protocol.md.
        let bytes = encoded("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        let key = CheckpointKey::of_seed([9; 32]);
        let envelope = DsseEnvelope::sign(&key, "http://example.com/HelloWorld", b"hello world");
        assert_eq!(envelope.payload, "aGVsbG8gd29ybGQ=");
        let sig = BASE64_STANDARD.decode(&envelope.signatures[0].sig).unwrap();
        assert!(key.public().signed(&bytes, sig.try_into().unwrap()));
    }
}
