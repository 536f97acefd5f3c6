//! The server in this process: HTTP, SSE and a real git client on loopback, with stages that only pretend.

mod fake;
mod fixture;
mod health;
mod http;
mod live;
mod push;
