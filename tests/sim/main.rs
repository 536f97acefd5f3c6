//! The whole engine, simulated: one seed is one history.
//!
//! The real driver and the real segment log, on a disk, a clock and a world that are simulated and go wrong. A history
//! that breaks an invariant is printed with the command that repeats it.
//!
//! Left out, and tried on real ones elsewhere: the written index, checkpoints, the reserve, Docker itself. The stages are
//! drawn after the real ones; a sabotage of a stage is one of its drawing.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected ends")]

mod book;
mod boundaries;
mod clock;
mod disk;
mod fate;
mod invariants;
mod life;
#[cfg(feature = "sabotage")]
mod sabotage;
mod script;
mod seeds;
mod stages;
mod store;
mod world;
