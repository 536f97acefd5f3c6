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

/// By what right a run wants its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A rollback by hand: it goes first, also where others are kept out, and is never superseded.
    ByHand,
    /// A promotion: it goes in its turn, and no other takes its place.
    Alone,
    /// A push: a newer one of the branch takes its place.
    Branch(String),
}

#[derive(Debug, Default)]
struct Queue {
    holder: Option<RunId>,
    waiting: BTreeMap<RunId, Waiter>,
    /// While it is set, rollbacks by hand alone enter.
    paused: bool,
}

#[derive(Debug)]
struct Waiter {
    claim: Claim,
    /// False: it waits to be approved, and is here to be superseded meanwhile.
    may_enter: bool,
    turn: oneshot::Sender<Turn>,
}

impl Lanes {
    /// Gives the lane to a run that had entered it before a restart.
    pub(crate) fn claim(&self, lane: &LaneId, run: RunId) {
        self.lock().entry(lane.clone()).or_default().holder = Some(run);
    }

    /// Waits for the lane. Dropping the future leaves the queue.
    pub(crate) async fn enter(&self, lane: &LaneId, run: RunId, claim: Claim) -> Turn {
        if crate::sabotaged!(IgnoreLane) {
            return Turn::Enter;
        }
        self.wait(lane, run, claim, true).await
    }

    /// Waits beside the lane until a newer run of the branch that is as far makes this one pointless, and returns that.
    pub(crate) async fn superseded(&self, lane: &LaneId, run: RunId, branch: String) -> RunId {
        match self.wait(lane, run, Claim::Branch(branch), false).await {
            Turn::Superseded(by) => by,
            // Nobody lets it in from here.
            Turn::Enter => std::future::pending().await,
        }
    }

    /// Keeps all but rollbacks by hand from entering. Who has the lane keeps it.
    pub(crate) fn pause(&self, lane: &LaneId) {
        self.lock().entry(lane.clone()).or_default().paused = !crate::sabotaged!(IgnorePause);
    }

    /// Lets runs enter again.
    pub(crate) fn resume(&self, lane: &LaneId) {
        if let Some(queue) = self.lock().get_mut(lane) {
            queue.paused = false;
            queue.admit_next();
        }
    }

    async fn wait(&self, lane: &LaneId, run: RunId, claim: Claim, may_enter: bool) -> Turn {
        let mut place = Place { lanes: self, lane, run, entered: false };
        let turn = {
            let mut queues = self.lock();
            queues.entry(lane.clone()).or_default().join(run, claim, may_enter)
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
    fn join(&mut self, run: RunId, claim: Claim, may_enter: bool) -> oneshot::Receiver<Turn> {
        let (turn, receiver) = oneshot::channel();
        if self.holder == Some(run) {
            let _ = turn.send(Turn::Enter);
            return receiver;
        }
        self.waiting.insert(run, Waiter { claim: claim.clone(), may_enter, turn });
        if matches!(claim, Claim::Branch(_)) && !crate::sabotaged!(IgnoreNewer) {
            self.supersede_older(&claim);
        }
        self.admit_next();
        receiver
    }

    /// Ends the wait of all runs of a branch for which a newer one waits that is as far: one that is yet to be approved
    /// may come to nothing, so it takes the place of none that queues.
    fn supersede_older(&mut self, branch: &Claim) {
        let newest = |may_enter: bool| {
            let same = |waiter: &Waiter| waiter.claim == *branch && waiter.may_enter == may_enter;
            self.waiting.iter().rev().find(|(_, waiter)| same(waiter)).map(|(run, _)| *run)
        };
        let (queueing, asking) = (newest(true), newest(false));
        let of_branch = self.waiting.iter().filter(|(_, waiter)| waiter.claim == *branch);
        let older: Vec<(RunId, RunId)> = of_branch
            .filter_map(|(run, waiter)| {
                let by = if waiter.may_enter { queueing } else { queueing.max(asking) }?;
                (by > *run).then_some((*run, by))
            })
            .collect();
        for (run, by) in older {
            if let Some(waiter) = self.waiting.remove(&run) {
                let _ = waiter.turn.send(Turn::Superseded(by));
            }
        }
    }

    /// Gives a lane that nobody has to the next in the queue.
    fn admit_next(&mut self) {
        while self.holder.is_none() {
            let is_by_hand = |waiter: &Waiter| waiter.claim == Claim::ByHand;
            let by_hand = self.waiting.iter().find(|(_, waiter)| is_by_hand(waiter));
            let in_turn = || self.waiting.iter().find(|(_, waiter)| waiter.may_enter && !self.paused);
            let Some(run) = by_hand.or_else(in_turn).map(|(run, _)| *run) else { return };
            if let Some(waiter) = self.waiting.remove(&run)
                && waiter.turn.send(Turn::Enter).is_ok()
            {
                self.holder = Some(run);
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

    fn main_branch() -> Claim {
        Claim::Branch("main".into())
    }

    async fn waits(lanes: &Arc<Lanes>, n: u128, claim: Claim) -> tokio::task::JoinHandle<Turn> {
        let waiter = Arc::clone(lanes);
        let lane = LaneId::production("shop");
        let task = tokio::spawn(async move { waiter.enter(&lane, run(n), claim).await });
        joined(lanes, n, task).await
    }

    async fn asks(lanes: &Arc<Lanes>, n: u128) -> tokio::task::JoinHandle<RunId> {
        let waiter = Arc::clone(lanes);
        let lane = LaneId::production("shop");
        let task = tokio::spawn(async move { waiter.superseded(&lane, run(n), "main".into()).await });
        joined(lanes, n, task).await
    }

    async fn joined<T>(
        lanes: &Arc<Lanes>,
        n: u128,
        task: tokio::task::JoinHandle<T>,
    ) -> tokio::task::JoinHandle<T> {
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
        let by_hand = waits(&lanes, 3, Claim::ByHand).await;
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
        let gone = waits(&lanes, 2, Claim::Branch("a".into())).await;
        gone.abort();
        let _ = gone.await;
        let stays = waits(&lanes, 3, Claim::Branch("b".into())).await;
        lanes.leave(&lane, run(1));
        assert_eq!(stays.await.expect("the waiter ran"), Turn::Enter);
    }

    #[tokio::test]
    async fn a_run_that_waits_to_be_approved_is_superseded_and_never_enters() {
        let lanes = Arc::new(Lanes::default());
        let older = asks(&lanes, 1).await;
        let newer = asks(&lanes, 2).await;
        assert_eq!(older.await.expect("the waiter ran"), run(2));
        let queues = lanes.enter(&LaneId::production("shop"), run(3), main_branch()).await;
        assert_eq!(queues, Turn::Enter);
        assert_eq!(newer.await.expect("the waiter ran"), run(3));
    }

    #[tokio::test]
    async fn a_run_that_is_yet_to_be_approved_takes_the_place_of_none_that_queues() {
        let lanes = Arc::new(Lanes::default());
        let lane = LaneId::production("shop");
        lanes.claim(&lane, run(1));
        let approved = waits(&lanes, 2, main_branch()).await;
        let asking = asks(&lanes, 3).await;
        lanes.leave(&lane, run(1));
        assert_eq!(approved.await.expect("the waiter ran"), Turn::Enter);
        assert!(!asking.is_finished());
    }

    #[tokio::test]
    async fn a_paused_lane_is_entered_by_a_rollback_by_hand_alone_until_it_is_resumed() {
        let lanes = Arc::new(Lanes::default());
        let lane = LaneId::production("shop");
        lanes.pause(&lane);
        let push = waits(&lanes, 1, main_branch()).await;
        let promotion = waits(&lanes, 2, Claim::Alone).await;
        assert_eq!(lanes.enter(&lane, run(3), Claim::ByHand).await, Turn::Enter);
        lanes.leave(&lane, run(3));
        assert!(!push.is_finished() && !promotion.is_finished());
        lanes.resume(&lane);
        assert_eq!(push.await.expect("the waiter ran"), Turn::Enter);
        lanes.leave(&lane, run(1));
        assert_eq!(promotion.await.expect("the waiter ran"), Turn::Enter);
    }
}
