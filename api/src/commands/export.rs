//! `landfall export`: what the log says of a run, for tools and people who were not there.
//!
//! **Invariant:** nothing is signed of a log that does not verify.

use std::io::Write as _;

use landfall_engine::audit::replay;
use landfall_engine::core::event::Envelope;
use landfall_engine::core::run::Run;
use landfall_store::{Audit, CheckpointKey, DsseEnvelope, PublicKey, ReadOnlyLog, StoredEvent, Trust};
use serde_json::{Value, json};

use super::replay::in_words;
use super::source::{Source, data_folder};
use super::stdout;
use crate::attest::proof::{Cover, landmark, tested_before_deploy};
use crate::attest::{Lacking, STATEMENT_MEDIA_TYPE, Story, slsa, test_result};
use crate::cli::{ExportArgs, ExportFormat, Global};
use crate::fault::Fault;
use crate::picture::screen::LogLines;

/// Exports a run.
///
/// # Errors
///
/// [`Fault::Unsound`] when the log does not verify; [`Fault::Refused`] when the run lacks what is asked for;
/// [`Fault::Unavailable`] when there is no key to sign with.
pub async fn run(global: &Global, args: ExportArgs) -> Result<u8, Fault> {
    let source = Source::open(global).await?;
    let run_id = source.resolve(&args.run).await?;
    let Source::Folder { log, .. } = &source else {
        return Err(Fault::Usage(
            "a run is exported where the log's files are: name the data folder, or a copy, with --data DIR"
                .into(),
        ));
    };
    let events = log.stored(run_id).await?;
    if events.is_empty() {
        return Err(Fault::NotFound(format!(
            "there is no run {run_id}; `landfall runs` lists what there is"
        )));
    }
    let audit = log.audit(Trust::default()).await?;
    let run = folded(&events)?;
    let own = PublicKey::read(&data_folder(global)?).map_err(Fault::not_had)?.map(|key| key.fingerprint());
    let cover = cover(log, &audit, &run, &events, own.as_deref()).await?;
    let story = Story { log_id: audit.log_id, run: &run, events: &events, cover: &cover };
    if args.format == ExportFormat::Json {
        stdout::json(&everything(&story, &audit))?;
        return whole(&audit).map(|()| 0);
    }
    whole(&audit)?;
    let made = match args.format {
        ExportFormat::Slsa => slsa::provenance(&story),
        ExportFormat::InToto | ExportFormat::Json => test_result::statement(&story),
    };
    let statement = made.map_err(|lacking: Lacking| Fault::Refused(lacking.to_string()))?;
    if matches!(cover, Cover::Head { .. }) {
        say(&format!(
            "no checkpoint covers run {run_id} yet (it is {}); the verified head of the log stands for it",
            run.state
        ));
    }
    if args.unsigned {
        say("this is not signed: anybody can have written it");
        stdout::json(&statement)?;
        return Ok(0);
    }
    let key = CheckpointKey::read(&data_folder(global)?).map_err(|error| {
        say("--unsigned prints the statement without a signature");
        Fault::not_had(error)
    })?;
    stdout::json(&DsseEnvelope::sign(&key, STATEMENT_MEDIA_TYPE, statement.to_string().as_bytes()))?;
    Ok(0)
}

/// What is said beside the export goes to stderr.
fn say(what: &str) {
    // A reader that hung up has seen enough.
    let _ = writeln!(LogLines, "landfall: {what}");
}

fn folded(events: &[StoredEvent]) -> Result<Run, Fault> {
    let envelopes: Vec<Envelope> = events.iter().map(|stored| stored.envelope.clone()).collect();
    let replay = replay(&envelopes, None);
    match (replay.run, replay.problems.as_slice()) {
        (Some(run), []) => Ok(run),
        (_, problems) => {
            Err(Fault::Unsound(format!("the run does not verify:\n  {}", problems.join("\n  "))))
        }
    }
}

fn whole(audit: &Audit) -> Result<(), Fault> {
    if audit.log.problems.is_empty() {
        return Ok(());
    }
    let problems: Vec<String> = audit.log.problems.iter().map(in_words).collect();
    Err(Fault::Unsound(format!("the log does not verify:\n  {}", problems.join("\n  "))))
}

/// Returns the oldest checkpoint that covers the run up to its end; the head of the log when there is none. Only one
/// that the folder's own key signed: whoever can write to the folder can lay another beside it.
async fn cover(
    log: &ReadOnlyLog,
    audit: &Audit,
    run: &Run,
    events: &[StoredEvent],
    own: Option<&str>,
) -> Result<Cover, Fault> {
    let head = Cover::Head { global_seq: audit.last_seq, hash: audit.log.head };
    let mut marks = events.iter().filter(|stored| landmark(&stored.envelope.event).is_some());
    let Some(last) = marks.next_back().filter(|_| run.state.is_terminal()) else { return Ok(head) };
    let covers = |seq: Option<u64>| seq.is_some_and(|seq| seq >= last.envelope.global_seq);
    let is_own = |key: Option<&str>| own.is_some() && key == own;
    let mut ours = audit.checkpoints.iter().filter(|seen| seen.fits && is_own(seen.key.as_deref()));
    let Some(seen) = ours.find(|seen| covers(seen.global_seq)) else { return Ok(head) };
    let file = log.checkpoints().await?.into_iter().find(|file| file.name == seen.name);
    Ok(match file.map(|file| (file.parse(), file)) {
        Some((Ok(note), file)) => Cover::Checkpoint { file, note: Box::new(note) },
        _ => head,
    })
}

/// Returns all that the log has of a run, and what it was held against.
fn everything(story: &Story<'_>, audit: &Audit) -> Value {
    let events = story.events.iter().map(|StoredEvent { envelope, before, record }| {
        json!({
            "seq": envelope.seq,
            "global_seq": envelope.global_seq,
            "mark": landmark(&envelope.event),
            "before": before,
            "record": String::from_utf8_lossy(record),
            "hash": envelope.hash,
        })
    });
    let checkpoint = match story.cover {
        Cover::Checkpoint { file, .. } => {
            json!({ "name": file.name, "text": String::from_utf8_lossy(&file.bytes) })
        }
        Cover::Head { .. } => Value::Null,
    };
    json!({
        "log_id": story.log_id,
        "run": story.run,
        "events": events.collect::<Vec<_>>(),
        "tests_green_before_deploy": tested_before_deploy(story.events),
        "checkpoint": checkpoint,
        "verified": audit.log.problems.is_empty(),
        "audit": audit,
    })
}
