//! The life of a run, as plain functions over plain values.
//!
//! ```text
//! Command ──▶ decide ──▶ [Event] ──▶ (store) ──▶ evolve ──▶ Run ──▶ next_effect ──▶ Effect
//! ```
//!
//! **Invariant:** nothing below this module reads a clock, a disk, a socket or a random number. Audits
//! replay years-old logs through it, so two calls with the same arguments agree for ever.

pub mod command;
pub mod decide;
pub mod effect;
pub mod environment;
pub mod event;
pub mod evolve;
pub mod facts;
pub mod lane;
pub mod ledger;
pub mod length;
pub mod notice;
mod recovery;
pub mod releases;
pub mod rerun;
pub mod retry;
pub mod run;
pub mod settings;
pub mod stage;
pub mod summary;
pub mod ways;
