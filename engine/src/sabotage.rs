//! Faults that are built in on purpose, to see that the proofs can fail. None of it is in what people run: without the
//! feature `sabotage` every [`sabotaged!`](crate::sabotaged) is the constant `false`.
//!
//! A thread has at most one sabotage: histories are simulated one a thread.

use std::cell::Cell;
use std::fmt;

macro_rules! sabotages {
    ($($(#[doc = $what:literal])+ $name:ident,)+) => {
        /// One way to break the engine, the log, or a stage.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Sabotage {
            $($(#[doc = $what])+ $name,)+
        }

        impl Sabotage {
            /// Every sabotage.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns what is broken, in words.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($what,)+),)+
                }
            }
        }
    };
}

sabotages! {
    /// The log answers before it has synced.
    AckBeforeSync,
    /// The log never syncs a frame.
    SkipFrameSync,
    /// The log does not sync the folder after it named a new segment.
    SkipDirSync,
    /// What kill -9 left unsynced is believed when the log is opened, and not synced first.
    TrustUnsyncedTail,
    /// Readers see events that are not durable.
    PublishBeforeDurable,
    /// The version that an append expects is not looked at.
    IgnoreExpectedVersion,
    /// An append that is repeated is recorded again.
    ForgetEventIds,
    /// A claim is not looked up, so a delivery that is repeated starts a second run.
    ForgetClaims,
    /// An append is written as two frames.
    SplitAppends,
    /// A full disk is answered with success.
    AckOnFullDisk,
    /// The log goes on after a sync failed.
    GoOnAfterFailedSync,
    /// A torn tail is left where it is, and written behind.
    WriteBehindTornTail,
    /// The checksum of a frame is not looked at.
    SkipChecksum,
    /// A segment is sealed without its hash.
    SealWithoutHash,
    /// A stage begins before its intent is recorded.
    ActBeforeIntent,
    /// After a restart a stage is done again without a probe.
    SkipProbe,
    /// "It can't be told" is taken for "it had not begun".
    TakeUnknownForNotStarted,
    /// Deadlines begin anew with each engine.
    ResetDeadlines,
    /// A timer does not wait.
    FireTimersEarly,
    /// A red answer is tried again.
    RetryFailed,
    /// A stage that never answers is tried for ever.
    RetryForEver,
    /// What a former attempt left is not cleared away.
    SkipUndo,
    /// A restart forgets the runs that had not begun to deploy.
    ForgetOpenRuns,
    /// Runs don't wait for their lane.
    IgnoreLane,
    /// An older push is deployed over a newer one.
    IgnoreNewer,
    /// A commit that was rolled back is deployed again.
    IgnoreHold,
    /// A run enters a lane that is paused.
    IgnorePause,
    /// A deploy that nobody approved in time begins.
    PassTheGate,
    /// A cancel cuts the switch of the traffic in half.
    InterruptSwitch,
    /// A cancel from the deploy on fails the run and leaves what it deployed.
    FailInsteadOfRollback,
    /// A rollback removes the candidate before it sends the traffic back.
    ForwardUndoOrder,
    /// A rollback does not look whether the former release serves.
    RollBackUnproven,
    /// A rollback does not shut a late switch out.
    LetLateSwitchIn,
    /// A deploy trusts the tag instead of the digest.
    TrustTag,
    /// The switch of the traffic does not look at the generation.
    SwitchBlindly,
    /// A sweep takes what open runs own.
    SweepOpenRuns,
    /// A sweep never looks.
    SkipSweep,
    /// A sweep follows the end of a run, and nothing else.
    ForgetLateLeftovers,
    /// A notice gets a new key with each try.
    RekeyNotices,
    /// A subscriber is told an event twice.
    TellTwice,
    /// The poison guard is off.
    SkipPoisonGuard,
    /// A run's id may be below one before it.
    ForgetNewestRun,
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

thread_local! {
    static ACTIVE: Cell<Option<Sabotage>> = const { Cell::new(None) };
}

/// Breaks what this thread does from now on; None mends it.
pub fn commit(sabotage: Option<Sabotage>) {
    ACTIVE.set(sabotage);
}

/// Tells whether this thread is broken in this way.
pub fn is_active(sabotage: Sabotage) -> bool {
    ACTIVE.get() == Some(sabotage)
}
