//! The live picture of a run: eight steps, drawn anew as its events come in.
//!
//! ```text
//! Envelope, output line ──▶ model (a pure fold) ──▶ frame, summary (text) ──▶ screen (the terminal)
//! ```
//!
//! Only `screen` touches a terminal; everything before it is compared with checked-in text.

pub mod frame;
pub mod guesses;
pub mod model;
pub mod screen;
pub mod summary;
#[cfg(test)]
mod svg;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;
pub mod words;
