//! The events that a statement stands on, as anybody can check them again.
//!
//! The content of an event is the 32 bytes of the hash before it and the text of its record, so the SHA-256 of
//! the content is the event's hash: `base64 -d | sha256sum` shows it, and what follows leads to the checkpoint.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use landfall_engine::core::event::{Event, EventHash};
use landfall_engine::core::stage::Stage;
use landfall_engine::timeline::timestamp;
use landfall_store::{Checkpoint, CheckpointFile, StoredEvent};
use serde_json::{Value, json};
use uuid::Uuid;

/// What the events of a run are tied to.
#[derive(Clone, Debug)]
pub enum Cover {
    /// A checkpoint that covers them.
    Checkpoint {
        /// Its bytes.
        file: CheckpointFile,
        /// What it says.
        note: Box<Checkpoint>,
    },
    /// The head of the log as it was verified for this statement: no checkpoint covers them yet.
    Head {
        /// The last event.
        global_seq: u64,
        /// Its hash.
        hash: EventHash,
    },
}

/// Returns what an event means for an audit, if it matters to one.
pub const fn landmark(event: &Event) -> Option<&'static str> {
    match event {
        Event::RunStarted { .. } => Some("run triggered"),
        Event::StageSucceeded { stage: Stage::Test, .. } => Some("tests green"),
        Event::StageFailed { stage: Stage::Test, .. } => Some("tests red"),
        Event::StageSkipped { stage: Stage::Test, .. } => Some("tests skipped by a person"),
        Event::StageSucceeded { stage: Stage::Build, .. } => Some("image built"),
        Event::StageSucceeded { stage: Stage::PushImage, .. } => Some("image pushed"),
        Event::DeploymentStarted { .. } => Some("deploy started"),
        Event::RunLive { .. } => Some("live"),
        Event::RunFailed { .. } => Some("failed"),
        Event::RollbackSucceeded { .. } => Some("rolled back"),
        _ => None,
    }
}

/// Tells whether the tests were green before the deploy began; None when it never began.
pub fn tested_before_deploy(events: &[StoredEvent]) -> Option<bool> {
    let marks: Vec<&str> = events.iter().filter_map(|stored| landmark(&stored.envelope.event)).collect();
    let deploy = marks.iter().position(|mark| *mark == "deploy started")?;
    Some(marks[..deploy].iter().rfind(|mark| mark.starts_with("tests")) == Some(&"tests green"))
}

/// Returns the events that matter, in order, and what they are tied to.
pub fn descriptors(log_id: Uuid, events: &[StoredEvent], cover: &Cover) -> Vec<Value> {
    let marked = events.iter().filter_map(|stored| Some((landmark(&stored.envelope.event)?, stored)));
    let mut all: Vec<Value> = marked.map(|(name, stored)| event(name, log_id, stored)).collect();
    all.push(covered_by(log_id, cover));
    all
}

fn event(name: &str, log_id: Uuid, stored: &StoredEvent) -> Value {
    let StoredEvent { envelope, before, record } = stored;
    json!({
        "name": name,
        "digest": { "sha256": envelope.hash },
        "mediaType": "application/vnd.landfall.event",
        "content": BASE64_STANDARD.encode([before.0.as_slice(), record].concat()),
        "annotations": {
            "logId": log_id,
            "globalSeq": envelope.global_seq,
            "run": envelope.run_id,
            "seq": envelope.seq,
            "type": envelope.event.name(),
            "recordedAt": timestamp(envelope.recorded_at_ms),
        },
    })
}

fn covered_by(log_id: Uuid, cover: &Cover) -> Value {
    match cover {
        Cover::Checkpoint { file, note } => json!({
            "name": "checkpoint",
            "digest": { "sha256": file.sha256() },
            "mediaType": "application/vnd.landfall.checkpoint+json",
            "content": BASE64_STANDARD.encode(&file.bytes),
            "annotations": { "logId": log_id, "globalSeq": note.global_seq, "head": note.head },
        }),
        Cover::Head { global_seq, hash } => json!({
            "name": "head of the log when this was exported",
            "digest": { "sha256": hash },
            "annotations": { "logId": log_id, "globalSeq": global_seq, "head": hash },
        }),
    }
}
