//! Checkout, tests and release command against real git, a real Docker engine and a real machine.
//!
//! Each test has a log id of its own, and removes what carries it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod checkout;
mod container_tests;
mod fetch;
mod git;
mod git_server;
mod host_tests;
mod hostile;
mod private;
mod release_command;
mod services;
mod world;
