//! Everything for real: the binary, git, Docker, a registry with a password, the proxy.
//!
//! Each test has its own data folder, ports and log id, and removes what it made when it ends, red or green.

mod apps;
mod bad_input;
mod crowd;
mod deliveries;
mod invariants;
mod killed;
mod retention;
mod rows;
mod run_command;
mod secrets;
mod timers;
#[expect(dead_code, reason = "the other target uses the rest")]
mod witness;
pub mod yard;
