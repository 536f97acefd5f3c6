//! Signed heads of the log, which can be kept elsewhere. A chain of hashes shows every change but one: that its
//! end was cut off, or all of it written anew. A signed head that somebody else has shows that too.
//!
//! ```text
//! DATA/checkpoint.key               the private key, PKCS#8 in PEM, for its owner's eyes alone
//! DATA/checkpoints/public-key.pem   the public key
//! DATA/checkpoints/<global-seq>.json  one head each, written soon after a run ended
//! ```
//!
//! [`note`] is the text of a checkpoint, [`keeper`] writes them beside the log, [`folder`] finds them again,
//! [`audit`] holds a log against them. [`dsse`] signs what is exported with the same [`key`].
//!
//! # With public tools
//!
//! A checkpoint is signed over its own bytes from the first to the end of the line before `"signature"`:
//!
//! ```sh
//! sed '/^  "signature"/,$d' CHECKPOINT > signed
//! sed -n 's/^  "signature": "\(.*\)"$/\1/p' CHECKPOINT | base64 -d > signature
//! openssl pkeyutl -verify -pubin -inkey public-key.pem -rawin -in signed -sigfile signature
//! openssl pkey -pubin -in public-key.pem -outform DER | sha256sum      # the key's fingerprint
//! ```
//!
//! The hash of an event is the SHA-256 of the 32 bytes of the hash before it (zeros before the first) and the
//! text of its record. `landfall export RUN --format json` prints both, so for each event
//!
//! ```sh
//! { printf %s "$before" | xxd -r -p; printf %s "$record"; } | sha256sum
//! ```
//!
//! is its hash; the records of the whole log, one after the other, lead to the `head` of a checkpoint.

pub(crate) mod audit;
pub(crate) mod dsse;
pub(crate) mod folder;
pub(crate) mod keeper;
pub(crate) mod key;
pub(crate) mod note;

use std::sync::Arc;

use crate::disk::Disk;
use key::CheckpointKey;

/// Where the checkpoints of a log go, and what signs them.
#[derive(Debug)]
pub(crate) struct CheckpointPlace {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) key: CheckpointKey,
}
