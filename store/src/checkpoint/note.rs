//! The text of a checkpoint: JSON that a person can read, signed over its own bytes.
//!
//! What is signed ends before the line with the signature, so a checkpoint is checked with `sed` and `openssl`
//! and without any idea of how JSON is to be written. A signed note would not be JSON, and an envelope would
//! hide the text in base64.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use landfall_engine::core::event::EventHash;
use landfall_engine::core::run::{RunId, RunState};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::key::{CheckpointKey, PublicKey};

/// Names this shape. Another shape gets another name.
pub(crate) const FORMAT: &str = "landfall checkpoint 1";

/// More than any checkpoint has, with all the runs that one may name: a longer file is none, and is not read.
pub(crate) const CHECKPOINT_BYTES_MAX: usize = 1024 * 1024;

/// What stands between the signed bytes and the signature.
const BEFORE_SIGNATURE: &str = "  \"signature\": \"";

/// What stands behind the signature.
const BEHIND_SIGNATURE: &str = "\"\n}\n";

/// Why a text is no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is something else, or was changed beyond recognition.
    #[error("it is no checkpoint that this version can read: {0}")]
    Unreadable(String),
    /// It was changed after it was signed.
    #[error("its signature is wrong: it was changed, or signed by another key than it names")]
    WrongSignature,
}

/// A signed head of a log: up to this event, the log was this one and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    format: String,
    /// Which log.
    pub log_id: Uuid,
    /// The place in the log of the last event that is covered.
    pub global_seq: u64,
    /// The hash of that event, which covers all before it.
    pub head: EventHash,
    /// The runs that ended since the checkpoint before; the newest thousand where there were more.
    pub runs: Vec<Ended>,
    /// The runs that went on since the checkpoint before and are open; the newest thousand where there were more.
    pub open: Vec<Reached>,
    /// When it was signed, for people.
    pub at: String,
    /// Version of the engine that signed.
    pub engine: String,
    /// The key that the signature is checked with. Whether it is the right one is for its reader to know.
    pub public_key: PublicKey,
}

/// A run that ended: the event that ended it, or, when it was told of before, the one that closed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// Which run.
    pub run: RunId,
    /// How it ended.
    pub state: RunState,
    /// The event's place in the run.
    pub seq: u64,
    /// The event's place in the log.
    pub global_seq: u64,
    /// The event's hash.
    pub hash: EventHash,
}

/// A run that is open, and how far it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// Which run.
    pub run: RunId,
    /// The place of its last event that is covered.
    pub seq: u64,
}

impl Checkpoint {
    /// Signs a head, and returns the bytes to keep.
    pub(crate) fn sign(
        key: &CheckpointKey,
        log_id: Uuid,
        (global_seq, head): (u64, EventHash),
        (runs, open): (Vec<Ended>, Vec<Reached>),
        at: String,
    ) -> serde_json::Result<Vec<u8>> {
        let engine = env!("CARGO_PKG_VERSION").to_owned();
        let public_key = key.public();
        let format = FORMAT.to_owned();
        let note = Self { format, log_id, global_seq, head, runs, open, at, engine, public_key };
        let mut text = serde_json::to_string_pretty(&note)?;
        text.truncate(text.len() - "\n}".len());
        text.push_str(",\n");
        let signature = BASE64_STANDARD.encode(key.sign(text.as_bytes()));
        Ok([&text, BEFORE_SIGNATURE, &signature, BEHIND_SIGNATURE].concat().into_bytes())
    }

    /// Reads a checkpoint and checks its signature with the key that it names.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] when it is none, or was changed.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let unreadable = |what: &str| CheckpointError::Unreadable(what.to_owned());
        if bytes.len() > CHECKPOINT_BYTES_MAX {
            return Err(CheckpointError::Unreadable(format!(
                "it is longer than {CHECKPOINT_BYTES_MAX} bytes"
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| unreadable("it is no text"))?;
        let (signed, signature) = text
            .strip_suffix(BEHIND_SIGNATURE)
            .and_then(|text| text.rsplit_once(BEFORE_SIGNATURE))
            .ok_or_else(|| unreadable("it does not end with a signature"))?;
        let signature = BASE64_STANDARD.decode(signature).ok().and_then(|bytes| bytes.try_into().ok());
        let signature: [u8; 64] = signature.ok_or_else(|| unreadable("its signature is none of Ed25519"))?;
        let object =
            signed.strip_suffix(",\n").ok_or_else(|| unreadable("its signature stands elsewhere"))?;
        let note: Self = serde_json::from_str(&format!("{object}\n}}"))
            .map_err(|error| CheckpointError::Unreadable(error.to_string()))?;
        if note.format != FORMAT {
            return Err(CheckpointError::Unreadable(format!("its format is {:?}", note.format)));
        }
        match note.public_key.signed(signed.as_bytes(), signature) {
            true => Ok(note),
            false => Err(CheckpointError::WrongSignature),
        }
    }
}

/// A checkpoint where it was found.
#[derive(Clone, Debug)]
pub struct CheckpointFile {
    /// What it is called in what people read.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl CheckpointFile {
    /// Reads and checks it.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::parse`].
    pub fn parse(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::parse(&self.bytes)
    }

    /// Returns the SHA-256 of its bytes, in hex.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let ended = Ended {
            run: RunId(Uuid::from_u128(7)),
            state: RunState::Live,
            seq: 20,
            global_seq: 44,
            hash: EventHash([2; 32]),
        };
        let open = Reached { run: RunId(Uuid::from_u128(8)), seq: 1 };
        let key = CheckpointKey::of_seed([1; 32]);
        let at = "2026-11-27T00:26:43.000Z".into();
        Checkpoint::sign(&key, Uuid::from_u128(5), (45, EventHash([3; 32])), (vec![ended], vec![open]), at)
            .unwrap()
    }

    #[test]
    fn the_text_of_a_checkpoint_is_for_ever() {
        let pinned = include_str!("../../fixtures/checkpoint-1.json");
        let text = String::from_utf8(sample()).unwrap();
        // The engine's version moves on, and the signature with it.
        let without = |text: &str| {
            let moving = |line: &&str| !line.contains("\"engine\"") && !line.contains("\"signature\"");
            text.lines().filter(moving).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(without(&text), without(pinned), "{text}");
        let read = Checkpoint::parse(pinned.as_bytes()).unwrap();
        assert_eq!((read.global_seq, read.runs[0].state), (45, RunState::Live));
    }

    #[test]
    fn no_changed_bit_and_no_cut_of_a_checkpoint_goes_unseen() {
        let bytes = sample();
        assert!(Checkpoint::parse(&bytes).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::parse(&changed).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Checkpoint::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let twice =
            String::from_utf8(bytes).unwrap().replacen("  \"head\"", "  \"head\": \"\",\n  \"head\"", 1);
        assert!(Checkpoint::parse(twice.as_bytes()).is_err());
    }
}
