//! Faults of the real world, each with the real binary: kill -9 at random moments, and outages of all that it leans on.
//!
//! A target of its own, whose tests on the shared Docker engine run one after the other: they measure what users
//! notice.

#![expect(clippy::panic, reason = "a test that meets the unexpected ends")]
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected ends")]

use std::sync::{Mutex, MutexGuard, PoisonError};

mod dice;
mod docker_outage;
mod fault_proxy;
mod kills;
mod outages;
mod private_docker;
mod segment;

#[path = "../it/real/crowd.rs"]
mod crowd;
#[path = "../it/real/invariants.rs"]
mod invariants;
#[path = "../it/real/timers.rs"]
mod timers;
#[path = "../it/real/witness.rs"]
mod witness;
#[path = "../it/real/yard.rs"]
#[expect(dead_code, reason = "the other target uses the rest")]
mod yard;

/// Waits until no other test of this target has a server on the shared engine; none begins while the guard lives.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    // A test that failed has left nothing here that could be half done.
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
