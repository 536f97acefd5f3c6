//! The dashboard as people have it: in a real browser, on a real server, with a log that has a run in each ending.

#![expect(clippy::panic, reason = "a test that meets the unexpected ends")]
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected ends")]

mod access;
mod browser;
mod lists;
mod runs;
mod seed;
mod world;
