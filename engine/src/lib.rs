//! The rules of a deploy and the loop that follows them.
//!
//! - [`core`]: pure. What may happen, what happened, what comes next.
//! - [`ports`]: what the engine asks of the world.
//!
//! No Docker, no disk, no HTTP: those are `landfall-stages`, `landfall-store` and `landfall`.

pub mod core;
pub mod ports;
