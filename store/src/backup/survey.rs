//! What a log says should be there: its head, its open runs, and the outputs of the attempts that ended.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use landfall_engine::core::event::{Event, OutputRef};
use landfall_engine::core::run::RunId;
use uuid::Uuid;

use super::{BackupError, disk};
use crate::index::facts;
use crate::segment::files::Segments;
use crate::segment::reader::Mark;
use crate::segment::walk::{Walk, Walked};

/// The name under which a rollback prints.
const ROLLBACK: &str = "rollback";

/// The attempts of a run that ended, by name and number, with what the log says that each printed. None: it does
/// not say, as of one that gave no answer, and of rollbacks.
pub(super) type Attempts = BTreeMap<(&'static str, u32), Option<OutputRef>>;

/// What a log says should be there.
#[derive(Debug)]
pub(super) struct Survey {
    /// Behind the last event.
    pub(super) mark: Mark,
    pub(super) runs: u64,
    pub(super) open: BTreeSet<RunId>,
    /// The attempts that ended, of the runs whose outputs were not pruned.
    pub(super) attempts: BTreeMap<RunId, Attempts>,
}

/// Reads a log to its present end, checking every sum and the chain. Runs in `pruned` have no outputs any more.
pub(super) fn survey(
    segments: &Segments,
    log_id: Uuid,
    pruned: &HashSet<RunId>,
) -> Result<Survey, BackupError> {
    let mut walk = Walk::from_start(segments.clone(), log_id);
    let mut survey = Survey { mark: Mark::START, runs: 0, open: BTreeSet::new(), attempts: BTreeMap::new() };
    loop {
        match walk.next().map_err(disk("reading the log"))? {
            Walked::Frame(at, frame) => facts(at, &frame, |fact, _, _| {
                if let Ok(event) = fact.event {
                    survey.take(fact.run_id, event, pruned);
                }
            }),
            Walked::Damage(damage) => return Err(BackupError::Damaged { damage: damage.to_string() }),
            Walked::Torn(_) | Walked::End => break,
        }
    }
    survey.mark = walk.mark();
    Ok(survey)
}

/// Makes everything up to a mark durable: what was read may have been written a moment ago.
pub(super) fn make_durable(segments: &Segments, mark: Mark) -> io::Result<()> {
    for first in segments.list()?.into_iter().filter(|first| *first <= mark.segment) {
        segments.file(first)?.sync_data()?;
    }
    segments.disk().sync_dir()
}

impl Survey {
    fn take(&mut self, run: RunId, event: &Event, pruned: &HashSet<RunId>) {
        let (name, attempt, output) = match event {
            Event::RunStarted { .. } => {
                self.runs += 1;
                self.open.insert(run);
                return;
            }
            Event::RunClosed => {
                self.open.remove(&run);
                return;
            }
            Event::StageSucceeded { stage, attempt, output, .. }
            | Event::StageFailed { stage, attempt, output, .. } => (stage.name(), attempt, output.clone()),
            Event::StageErrored { stage, attempt, .. } | Event::StageUndone { stage, attempt } => {
                (stage.name(), attempt, None)
            }
            Event::RollbackSucceeded { attempt, .. } | Event::RollbackErrored { attempt, .. } => {
                (ROLLBACK, attempt, None)
            }
            Event::StageStarted { .. }
            | Event::StageRecovered { .. }
            | Event::UndoRecovered { .. }
            | Event::RollbackRecovered { .. }
            | Event::NoticeRecovered { .. }
            | Event::StageSkipped { .. }
            | Event::ApprovalRequested { .. }
            | Event::RunApproved
            | Event::RunRejected { .. }
            | Event::DeploymentStarted { .. }
            | Event::CancelRequested { .. }
            | Event::RollbackStarted { .. }
            | Event::RunParked { .. }
            | Event::RunUnparked { .. }
            | Event::RunLive { .. }
            | Event::RunFailed { .. }
            | Event::NoticeStarted { .. }
            | Event::NoticeSent { .. }
            | Event::NoticeErrored { .. }
            | Event::Ledger(_) => return,
        };
        if !pruned.contains(&run) {
            let said = self.attempts.entry(run).or_default().entry((name, *attempt)).or_default();
            // An attempt that was undone later has ended with its output all the same.
            *said = said.take().or(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landfall_engine::ports::EventStore;

    use super::*;
    use crate::SegmentStore;
    use crate::contract::samples::{append, new_run, red_life};
    use crate::disk::{Disk, FaultyDisk, Kept};

    const FIRST: &str = "00000000000000000001.seg";

    #[tokio::test]
    async fn what_is_copied_is_durable_in_the_log_first() {
        let disk = FaultyDisk::new();
        let log_id = Uuid::from_u128(7);
        let (store, _) = SegmentStore::on_disk(Arc::new(disk.clone()), log_id, 1 << 20).unwrap();
        store.append(append(new_run(), 0, red_life("shop"))).await.unwrap();
        let durable = disk.bytes(FIRST).unwrap();
        store.append(append(new_run(), 0, red_life("shop"))).await.unwrap();
        // Written, and not durable: a reader of the file sees it all the same.
        let written = disk.bytes(FIRST).unwrap();
        disk.set_bytes(FIRST, durable);
        disk.open(FIRST).unwrap().write_at(0, &written).unwrap();
        let segments = Segments::new(Arc::new(disk.clone()));
        let mark = survey(&segments, log_id, &HashSet::new()).unwrap().mark;
        let (_, lost) = SegmentStore::on_disk(Arc::new(disk.crash(Kept::Nothing)), log_id, 1 << 20).unwrap();
        assert!(lost.events < mark.seq, "a power cut now would take it back");
        make_durable(&segments, mark).unwrap();
        let (_, kept) = SegmentStore::on_disk(Arc::new(disk.crash(Kept::Nothing)), log_id, 1 << 20).unwrap();
        assert_eq!(kept.events, mark.seq);
    }
}
