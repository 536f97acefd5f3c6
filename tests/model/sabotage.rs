//! Engines, stores and stages that are broken on purpose: the search has to find each of them.

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The store takes an append at whatever version it was decided for.
    IgnoreVersion,
    /// The engine begins an effect before its intent is recorded.
    ActBeforeAppend,
    /// The engine does an unconcluded attempt again without a probe.
    NoProbe,
    /// The proxy takes any route, whatever its generation.
    SwitchWithoutCompare,
    /// A rollback removes the candidate first and gives the traffic back second.
    ForwardUndo,
    /// A rollback that finds the former release serving leaves the generation as it is.
    LateSwitchIsNotShutOut,
    /// The store does not look whether a name is claimed.
    ClaimTakenTwice,
    /// A restarted engine does not know who holds a lane.
    LaneForgotten,
    /// The engine takes the lack of an answer for success.
    SilenceIsSuccess,
    /// A candidate that is out of time is removed before the end of its deploy is recorded.
    RemoveBeforeRecord,
}
