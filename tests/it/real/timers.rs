//! I11, on the log of a real run: what waits for a time begins at that time or later, and a deadline is neither early
//! nor put off by a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::RunId;

use super::invariants::Checked;

/// An attempt that is out of time is concluded within this time. The engine may be dead for a part of it.
const CONCLUDED_WITHIN: Duration = Duration::from_secs(60);

/// Holds the times in one run's history against each other.
pub fn no_timer_fires_early(run: &RunId, history: &[&Envelope], checked: &mut Checked) {
    let mut due: BTreeMap<String, u64> = BTreeMap::new();
    let mut deadlines: BTreeMap<&str, u64> = BTreeMap::new();
    for envelope in history {
        let at_ms = envelope.recorded_at_ms;
        let key = envelope.effect_key.as_deref().unwrap_or_default();
        match &envelope.event {
            Event::StageErrored { retry_due_ms: Some(due_ms), .. }
            | Event::RollbackErrored { retry_due_ms: Some(due_ms), .. }
            | Event::NoticeErrored { retry_due_ms: Some(due_ms), .. } => {
                due.insert(without_attempt(key), *due_ms);
            }
            // A person need not wait.
            Event::RunUnparked { .. } | Event::CancelRequested { .. } => due.clear(),
            Event::StageStarted { .. } | Event::RollbackStarted { .. } | Event::NoticeStarted { .. } => {
                let due_ms = due.remove(&without_attempt(key));
                checked.holds(due_ms.is_none_or(|due_ms| due_ms <= at_ms), || {
                    format!("I11: {key} of {run} began at {at_ms}, and was due at {due_ms:?}")
                });
            }
            _ => {}
        }
        match &envelope.event {
            Event::StageStarted { deadline_ms, .. } | Event::RollbackStarted { deadline_ms, .. } => {
                deadlines.insert(key, *deadline_ms);
            }
            Event::StageSucceeded { .. } | Event::RollbackSucceeded { .. } => {
                is_kept(run, envelope, deadlines.remove(key), false, checked);
            }
            Event::StageFailed { failure, .. } => {
                is_kept(run, envelope, deadlines.remove(key), is_out_of_time(key, &failure.reason), checked);
            }
            Event::StageErrored { reason, .. } | Event::RollbackErrored { reason, .. } => {
                is_kept(run, envelope, deadlines.remove(key), is_out_of_time(key, reason), checked);
            }
            _ => {}
        }
    }
}

fn is_kept(
    run: &RunId,
    end: &Envelope,
    deadline_ms: Option<u64>,
    is_out_of_time: bool,
    checked: &mut Checked,
) {
    let (Some(deadline_ms), at_ms) = (deadline_ms, end.recorded_at_ms) else { return };
    let last_ms = deadline_ms + u64::try_from(CONCLUDED_WITHIN.as_millis()).unwrap();
    let is_kept = at_ms <= last_ms && (!is_out_of_time || deadline_ms <= at_ms);
    checked.holds(is_kept, || {
        format!("I11: {:?} of {run} was recorded at {at_ms}, its deadline was {deadline_ms}", end.event)
    });
}

/// Tells whether this was said of an attempt whose own deadline had come.
fn is_out_of_time(key: &str, said: &str) -> bool {
    let stage = key.split('/').nth(1).unwrap_or_default();
    let words = [&format!("{stage} gave no answer within"), " stopped after ", "time ran out"];
    words.iter().any(|words| said.contains(words))
}

/// Returns the key of the effect whose attempt this is: `<run>/<stage>/<attempt>` without the number. A notice has none.
fn without_attempt(key: &str) -> String {
    match key.rsplit_once('/') {
        Some((what, attempt)) if attempt.bytes().all(|b| b.is_ascii_digit()) => what.to_owned(),
        _ => key.to_owned(),
    }
}
