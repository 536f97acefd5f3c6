//! What a log says of a run, in the words that tools for supply chains read: in-toto Statements.
//!
//! - [`slsa`]: how the image came to be, as SLSA v1 provenance.
//! - [`test_result`]: how the tests went, as an in-toto test result.
//! - [`proof`]: the events and the checkpoint that either stands on.
//!
//! # The build type
//!
//! `https://github.com/landfall-rs/landfall/build/v1` takes these external parameters: `source` (the git
//! repository and the ref that was pushed), `app`, `environment` and `trigger`. Its internal parameters are the
//! `build` and `test` sections of the configuration at the commit, and where that came from. Its byproducts are
//! the events of the log that matter, in order, each with what its hash is made of, and the checkpoint that
//! covers them: a green test that stands before the start of the deploy did so when it was signed.
//!
//! Nothing here reads a disk, a clock or a key.

pub mod proof;
pub mod slsa;
pub mod test_result;

use landfall_engine::core::run::Run;
use landfall_store::StoredEvent;
use serde_json::{Value, json};
use uuid::Uuid;

use proof::Cover;

/// What the payload of an envelope around a statement is called.
pub const STATEMENT_MEDIA_TYPE: &str = "application/vnd.in-toto+json";

/// A run, and all that the log has of it.
#[derive(Debug)]
pub struct Story<'a> {
    /// The log.
    pub log_id: Uuid,
    /// The run after its last event.
    pub run: &'a Run,
    /// Its events, in order.
    pub events: &'a [StoredEvent],
    /// What they are tied to.
    pub cover: &'a Cover,
}

/// Why a statement can't be made of a run: what the run lacks, and what to ask for instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lacking(String);

impl Lacking {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

fn statement(subject: Vec<Value>, predicate_type: &str, predicate: Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": predicate_type,
        "predicate": predicate,
    })
}

/// Returns the digest of an image as a statement has it: `{"sha256": …}`.
fn digest_set(digest: &str) -> Value {
    let (algorithm, hex) = digest.split_once(':').unwrap_or(("sha256", digest));
    json!({ algorithm: hex })
}

/// Returns a repository as a URI, as package managers write it.
fn git_uri(repository: &str) -> String {
    match repository.contains("://") {
        true => format!("git+{repository}"),
        false if repository.starts_with('/') => format!("git+file://{repository}"),
        false => format!("git+ssh://{}", repository.replacen(':', "/", 1)),
    }
}
