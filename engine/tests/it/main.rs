//! Tests of the pure core: its rules, its table of legal moves, the text that it stores.

#![expect(clippy::panic, reason = "a test that meets the unexpected ends")]

mod control;
mod legal_moves;
mod length;
mod rules;
mod sample;
mod stored_shapes;
