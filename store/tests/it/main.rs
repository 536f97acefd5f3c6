//! The store's own tests, in one binary.

#![expect(clippy::unwrap_used, reason = "a test says no by panicking")]

mod backup;
mod checkpoints;
mod common;
mod contract;
mod damage;
mod faults;
mod index;
mod limits;
mod model;
mod open;
mod output;
mod processes;
mod read_only;
mod shapes;
mod torn_tail;
