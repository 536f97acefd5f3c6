//! The server in this process: HTTP, SSE and a real git client on loopback, with stages that only pretend.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod binary;
mod contract;
mod fake;
mod fixture;
mod health;
mod http;
mod limits;
mod live;
mod malformed;
mod moody;
mod prune;
mod push;
mod tokens;
mod waiting;
