//! Nothing: this package holds the tests that cross crates, in `it/`.
