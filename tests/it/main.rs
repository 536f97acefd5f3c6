//! Tests that cross crates: the house, whole runs on fakes, crashes, and everything on a real Docker.

#![expect(clippy::panic, reason = "a test that meets the unexpected ends")]
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected ends")]

mod crash;
mod house;
mod lifecycle;
mod limits;
mod poison;
mod real;
mod replay;
mod systemd;
mod world;
