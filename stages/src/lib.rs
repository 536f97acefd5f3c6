//! What Landfall does in the world: git, Docker, the registry, the proxy, notices.
//!
//! One file a stage; [`executor`] holds the one `match` over them. Each stage looks before it makes,
//! names what it makes after the run, and can say after a crash what became of it.

pub mod context;
pub mod docker;
mod plan;
pub mod proxy;
pub mod secrets;
