//! The server in this process: HTTP, SSE and a real git client on loopback, with stages that only pretend.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod binary;
mod contract;
mod fake;
mod fixture;
mod forge;
mod health;
mod hooks;
mod hostile;
mod http;
mod limits;
mod live;
mod malformed;
mod moody;
mod prune;
mod push;
mod secrets;
mod sources;
mod tokens;
mod waiting;
