//! The rules of a deploy and the loop that follows them.
//!
//! - [`core`]: pure. What may happen, what happened, what comes next.
//! - [`ports`]: what the engine asks of the world.
//! - [`engine`]: the handle that people embed.
//! - [`limits`]: how much it takes on.
//! - [`retention`]: which runs are so old that what they printed may go.
//! - [`audit`] and [`timeline`]: a run's history checked, and drawn. No executor is in reach.
//!
//! No Docker, no disk, no HTTP: those are `landfall-stages`, `landfall-store` and `landfall`.

mod attempts;
pub mod audit;
mod control;
pub mod core;
mod driver;
pub mod engine;
mod lanes;
mod ledger;
pub mod limits;
pub mod ports;
pub mod retention;
#[cfg(feature = "sabotage")]
pub mod sabotage;
#[cfg(feature = "schema")]
mod schema;
mod sweep;
mod terms;
pub mod timeline;
mod wording;

pub use control::{Promotion, Rollback};
pub use engine::{Engine, EngineError, Parts, Triggered};
pub use ledger::{ledger_at_rest, record_at_rest};
pub use limits::Limits;
pub use sweep::{Swept, sweep_at_rest};
pub use terms::{Claim, Terms};

/// Tells whether this thread is broken on purpose in the way that is named; never, in what people run.
#[cfg(feature = "sabotage")]
#[macro_export]
macro_rules! sabotaged {
    ($which:ident) => {
        $crate::sabotage::is_active($crate::sabotage::Sabotage::$which)
    };
}

/// Tells whether this thread is broken on purpose in the way that is named; never, in what people run.
#[cfg(not(feature = "sabotage"))]
#[macro_export]
macro_rules! sabotaged {
    ($which:ident) => {
        $crate::NEVER
    };
}

/// What [`sabotaged!`] is in all that people run.
#[cfg(not(feature = "sabotage"))]
#[doc(hidden)]
pub const NEVER: bool = false;
