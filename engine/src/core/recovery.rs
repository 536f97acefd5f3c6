//! What is recorded when an engine starts and finds an effect without an outcome.
//!
//! The poison guard: an effect that several engine starts found unconcluded may be what stops the engine, so it
//! is not tried for ever. A stage, its undoing and a rollback wait for a person; a notice is given up.

use super::command::Rejected;
use super::event::{Event, Found};
use super::notice;
use super::retry::RECOVERIES_MAX;
use super::run::{Blocked, NoticeProgress, Run, Work};

pub(super) fn on_recovery(work: &Work, found: Found, evidence: &str) -> Vec<Event> {
    let Work { stage, attempt, recoveries, .. } = *work;
    let recovered = Event::StageRecovered { stage, attempt, found };
    let at = Blocked::Stage { stage, attempt };
    if found == Found::Unknown {
        let reason = format!("it can't be told whether {stage} happened: {evidence}");
        return vec![recovered, Event::RunParked { at, reason }];
    }
    if found != Found::Done && is_poison(recoveries) {
        return vec![recovered, Event::RunParked { at, reason: poison(stage.name()) }];
    }
    vec![recovered]
}

pub(super) fn on_undo_recovery(work: &Work) -> Vec<Event> {
    let Work { stage, attempt, recoveries, .. } = *work;
    let parked = is_poison(recoveries).then(|| Event::RunParked {
        at: Blocked::Stage { stage, attempt },
        reason: poison(&format!("the undoing of {stage}")),
    });
    [Event::UndoRecovered { stage, attempt }].into_iter().chain(parked).collect()
}

pub(super) fn on_rollback_recovery(attempt: u32, recoveries: u32) -> Vec<Event> {
    let parked = is_poison(recoveries)
        .then(|| Event::RunParked { at: Blocked::Rollback { attempt }, reason: poison("the rollback") });
    [Event::RollbackRecovered { attempt }].into_iter().chain(parked).collect()
}

/// A notice must never hold a run: one that may be what stops the engine is given up.
pub(super) fn on_notice_recovery(
    run: &Run,
    notice: notice::NoticeId,
    attempt: u32,
) -> Result<Vec<Event>, Rejected> {
    let recoveries = match run.notices.get(&notice) {
        Some(NoticeProgress::Sending { attempt: nth, recoveries }) if *nth == attempt => *recoveries,
        _ => return Err(Rejected::Stale { stage: "notice", attempt }),
    };
    let abandoned = is_poison(recoveries).then(|| Event::NoticeErrored {
        notice: notice.clone(),
        attempt,
        reason: poison("the notice"),
        retry_due_ms: None,
    });
    Ok([Event::NoticeRecovered { notice, attempt }].into_iter().chain(abandoned).collect())
}

/// Tells whether one more engine start that finds an effect unconcluded is one too many.
fn is_poison(recoveries: u32) -> bool {
    recoveries + 1 >= RECOVERIES_MAX && !crate::sabotaged!(SkipPoisonGuard)
}

fn poison(what: &str) -> String {
    format!("{RECOVERIES_MAX} engine starts found {what} unconcluded: it may be what stops the engine")
}
