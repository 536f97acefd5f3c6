//! What the tests that cross crates have in common: the counters of a proof.

pub mod counters;
