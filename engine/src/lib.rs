//! The rules of a deploy and the loop that follows them.
//!
//! - [`core`]: pure. What may happen, what happened, what comes next.
//! - [`ports`]: what the engine asks of the world.
//! - [`engine`]: the handle that people embed.
//! - [`retention`]: which runs are so old that what they printed may go.
//! - [`audit`] and [`timeline`]: a run's history checked, and drawn. No executor is in reach.
//!
//! No Docker, no disk, no HTTP: those are `landfall-stages`, `landfall-store` and `landfall`.

mod attempts;
pub mod audit;
pub mod core;
mod driver;
pub mod engine;
mod lanes;
pub mod ports;
pub mod retention;
mod sweep;
pub mod timeline;
mod wording;

pub use engine::{Engine, EngineError, Parts, Triggered};
pub use sweep::{Swept, sweep_at_rest};
