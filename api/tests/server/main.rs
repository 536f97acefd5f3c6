//! The server in this process: HTTP, SSE and a real git client on loopback, with stages that only pretend.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod binary;
mod caddy;
mod contract;
mod control;
mod dashboard;
mod encrypted;
mod fake;
mod fixture;
mod forge;
mod health;
mod hooks;
mod hostile;
mod http;
mod limits;
mod live;
mod logs;
mod malformed;
mod monitoring;
mod moody;
mod prune;
mod push;
mod ready;
mod secrets;
mod sources;
mod statuses;
mod tokens;
mod traces;
mod waiting;
