//! The store's own tests, in one binary.

mod contract;
