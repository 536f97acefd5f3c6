//! Whose turn it is: one run at a time per app and environment, from its deploy on.
//!
//! Nothing here is stored. Who holds a lane follows from the log, so a crash leaves no lock behind: a
//! restart claims the lanes of the runs that had entered, and the others queue again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::core::lane::LaneId;
use crate::core::run::{Run, RunId};

/// What became of a run that queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The lane is free and kept for this run.
    Enter,
    /// A newer run of the same branch queues too.
    Superseded(RunId),
}

/// The queues of all lanes.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    queues: Mutex<HashMap<LaneId, Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    holder: Option<RunId>,
    waiting: BTreeMap<RunId, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    /// None: a rollback by hand, which goes first and is never superseded.
    branch: Option<String>,
    turn: oneshot::Sender<Turn>,
}

impl Lanes {
    /// Gives the lane to a run that had entered it before a restart.
    pub(crate) fn claim(&self, lane: &LaneId, run: RunId) {
        self.lock().entry(lane.clone()).or_default().holder = Some(run);
    }

    /// Waits for the lane. Dropping the future leaves the queue.
    pub(crate) async fn enter(&self, lane: &LaneId, run: RunId, branch: Option<String>) -> Turn {
        if crate::sabotaged!(IgnoreLane) {
            return Turn::Enter;
        }
        let mut place = Place { lanes: self, lane, run, entered: false };
        let turn = {
            let mut queues = self.lock();
            queues.entry(lane.clone()).or_default().join(run, branch)
        };
        // A sender is dropped only with its queue, which lives as long as the engine.
        let turn = turn.await.unwrap_or(Turn::Enter);
        place.entered = true;
        turn
    }

    /// Gives the lane on when a run that is not in it wants it no more: one that is over, before its last notices are
    /// sent, and one that was parked when its turn came.
    pub(crate) fn leave_if_done(&self, run: &Run) {
        if !run.holds_lane() && (run.state.is_terminal() || run.parked().is_some()) {
            self.leave(&run.lane, run.id);
        }
    }

    /// Gives the lane to the next in the queue, if this run had it.
    pub(crate) fn leave(&self, lane: &LaneId, run: RunId) {
        if let Some(queue) = self.lock().get_mut(lane) {
            queue.waiting.remove(&run);
            if queue.holder == Some(run) {
                queue.holder = None;
                queue.admit_next();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LaneId, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn join(&mut self, run: RunId, branch: Option<String>) -> oneshot::Receiver<Turn> {
        let (turn, receiver) = oneshot::channel();
        if self.holder == Some(run) {
            let _ = turn.send(Turn::Enter);
            return receiver;
        }
        self.waiting.insert(run, Waiter { branch: branch.clone(), turn });
        if branch.is_some() && !crate::sabotaged!(IgnoreNewer) {
            self.supersede_all_but_newest(&branch);
        }
        if self.holder.is_none() {
            self.admit_next();
        }
        receiver
    }

    fn supersede_all_but_newest(&mut self, branch: &Option<String>) {
        let same: Vec<RunId> =
            self.waiting.iter().filter(|(_, waiter)| waiter.branch == *branch).map(|(run, _)| *run).collect();
        if let Some((newest, older)) = same.split_last() {
            for run in older {
                if let Some(waiter) = self.waiting.remove(run) {
                    let _ = waiter.turn.send(Turn::Superseded(*newest));
                }
            }
        }
    }

    fn admit_next(&mut self) {
        loop {
            let by_hand = self.waiting.iter().find(|(_, waiter)| waiter.branch.is_none());
            let Some(run) = by_hand.or_else(|| self.waiting.iter().next()).map(|(run, _)| *run) else {
                return;
            };
            if let Some(waiter) = self.waiting.remove(&run)
                && waiter.turn.send(Turn::Enter).is_ok()
            {
                self.holder = Some(run);
                return;
            }
        }
    }
}

/// A run's place in a queue, given up when the run stops waiting.
struct Place<'a> {
    lanes: &'a Lanes,
    lane: &'a LaneId,
    run: RunId,
    entered: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.entered {
            self.lanes.leave(self.lane, self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;

    fn run(n: u128) -> RunId {
        RunId(Uuid::from_u128(n))
    }

    fn main_branch() -> Option<String> {
        Some("main".into())
    }

    async fn waits(lanes: &Arc<Lanes>, n: u128, branch: Option<String>) -> tokio::task::JoinHandle<Turn> {
        let waiter = Arc::clone(lanes);
        let task =
            tokio::spawn(async move { waiter.enter(&LaneId::production("shop"), run(n), branch).await });
        let queues = || {
            let queues = lanes.lock();
            queues.get(&LaneId::production("shop")).is_some_and(|queue| queue.waiting.contains_key(&run(n)))
        };
        while !queues() && !task.is_finished() {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn a_free_lane_is_entered_at_once_and_the_next_run_waits_for_its_end() {
        let lanes = Arc::new(Lanes::default());
        let lane = LaneId::production("shop");
        assert_eq!(lanes.enter(&lane, run(1), main_branch()).await, Turn::Enter);
        let second = waits(&lanes, 2, main_branch()).await;
        assert!(!second.is_finished());
        lanes.leave(&lane, run(1));
        assert_eq!(second.await.expect("the waiter ran"), Turn::Enter);
    }

    #[tokio::test]
    async fn a_newer_run_of_the_branch_supersedes_the_waiting_one_whichever_came_first() {
        let lanes = Arc::new(Lanes::default());
        let lane = LaneId::production("shop");
        lanes.claim(&lane, run(1));
        let older = waits(&lanes, 2, main_branch()).await;
        let newer = waits(&lanes, 4, main_branch()).await;
        assert_eq!(older.await.expect("the waiter ran"), Turn::Superseded(run(4)));
        assert_eq!(lanes.enter(&lane, run(3), main_branch()).await, Turn::Superseded(run(4)));
        lanes.leave(&lane, run(1));
        assert_eq!(newer.await.expect("the waiter ran"), Turn::Enter);
    }

    #[tokio::test]
    async fn a_rollback_by_hand_goes_before_waiting_pushes() {
        let lanes = Arc::new(Lanes::default());
        let lane = LaneId::production("shop");
        lanes.claim(&lane, run(1));
        let push = waits(&lanes, 2, main_branch()).await;
        let by_hand = waits(&lanes, 3, None).await;
        lanes.leave(&lane, run(1));
        assert_eq!(by_hand.await.expect("the waiter ran"), Turn::Enter);
        assert!(!push.is_finished());
        lanes.leave(&lane, run(3));
        assert_eq!(push.await.expect("the waiter ran"), Turn::Enter);
    }

    #[tokio::test]
    async fn a_run_that_stops_waiting_is_not_given_the_lane() {
        let lanes = Arc::new(Lanes::default());
        let lane = LaneId::production("shop");
        lanes.claim(&lane, run(1));
        let gone = waits(&lanes, 2, Some("a".into())).await;
        gone.abort();
        let _ = gone.await;
        let stays = waits(&lanes, 3, Some("b".into())).await;
        lanes.leave(&lane, run(1));
        assert_eq!(stays.await.expect("the waiter ran"), Turn::Enter);
    }
}
