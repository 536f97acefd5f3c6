//! Reads frames into a view.

use std::io;

use landfall_engine::core::event::EventHash;
use uuid::Uuid;

use super::view::{Fact, View};
use crate::record::{Record, skim_run_ids};
use crate::segment::files::Segments;
use crate::segment::frame::Frame;
use crate::segment::reader::{FrameAt, Mark};
use crate::segment::walk::{Damage, Walk, Walked};

/// Calls `each` with every event of a frame.
pub(crate) fn facts(at: FrameAt, frame: &Frame, mut each: impl FnMut(&Fact<'_>, &Record, EventHash)) {
    for (text, hash) in frame.chained() {
        let mut record = match Record::parse(text) {
            Ok(record) => record,
            Err(error) => {
                let runs = skim_run_ids(text);
                tracing::error!(%at, ?runs, %error, "a record is whole and can't be parsed");
                continue;
            }
        };
        let event = record.event();
        let fact = Fact {
            run_id: record.run_id,
            seq: record.seq,
            at_ms: record.recorded_at_ms,
            actor: &record.actor,
            claim: record.claim.as_deref(),
            event: event.as_ref().map_err(String::as_str),
            frame: at,
        };
        each(&fact, &record, hash);
    }
}

/// Reads whatever can be read of a log, whole or damaged.
pub(crate) fn salvage(segments: Segments, log_id: Uuid) -> io::Result<(View, Mark, Vec<Damage>)> {
    let mut view = View::default();
    let mut damages = Vec::new();
    let mut walk = Walk::from_start(segments, log_id);
    let mark = salvage_on(&mut walk, &mut view, &mut damages)?;
    Ok((view, mark, damages))
}

/// Reads on from where a walk stands.
pub(crate) fn salvage_on(walk: &mut Walk, view: &mut View, damages: &mut Vec<Damage>) -> io::Result<Mark> {
    loop {
        match walk.next()? {
            Walked::Frame(at, frame) => facts(at, &frame, |fact, _, _| {
                view.apply(fact);
            }),
            Walked::Damage(damage) => damages.push(damage),
            Walked::Torn(_) | Walked::End => break,
        }
    }
    // A hole in the middle of a run shows by itself. One at its end is known by what can be read of the damage.
    for damage in &*damages {
        for run in &damage.runs {
            if let Some(entry) = view.runs.get_mut(run) {
                entry.spoil(entry.seq + 1, format!("the log is damaged in {}", damage.segment));
            }
        }
    }
    Ok(walk.mark())
}
