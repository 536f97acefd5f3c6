//! Faults of the real world, each with the real binary: kill -9 at random moments, and outages of all that it leans on.
//!
//! A target of its own, so that nothing else runs beside it: it measures what users notice.

#![expect(clippy::panic, reason = "a test that meets the unexpected ends")]
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected ends")]

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
#[path = "../it/real/witness.rs"]
mod witness;
#[path = "../it/real/yard.rs"]
#[expect(dead_code, reason = "the other target uses the rest")]
mod yard;
