//! Encrypted connections: certificates from files, read again when they change, and the handshake.
//!
//! ```text
//! files ──look──▶ Certificates (in force) ◀──host name── handshake ──▶ a stream of plain bytes
//! ```
//!
//! **Invariant:** a pair that can't be used never takes the place of one that can. What is wrong with
//! it is kept, for `/readyz` and the log, until its files change again.

mod certificates;
mod handshake;
mod pair;
#[cfg(test)]
mod tests;

pub use certificates::{Certificates, Origin};
pub use handshake::Acceptor;
pub use pair::PairError;
