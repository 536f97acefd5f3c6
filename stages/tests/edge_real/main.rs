//! Smoke commands, notices of evidence and rollbacks against a real Docker engine.
//!
//! The proxy is the fake of the unit tests, with the rules of the real one: what is tried here is what
//! Docker does. Each test has a log id of its own, and removes what carries it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(dead_code, reason = "the fakes serve other tests too")]

#[path = "../../src/testing/proxy.rs"]
mod fake_proxy;
mod rollback;
#[path = "../../src/testing/server.rs"]
mod server;
mod smoke_command;
mod world;

/// Where the fakes look for the words of the proxy.
mod proxy {
    pub(crate) use landfall_stages::proxy::*;
}
