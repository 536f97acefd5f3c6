//! What Landfall does in the world: git, Docker, the registry, the proxy, notices.
//!
//! One file a stage; [`executor`] holds the one `match` over them. Each stage looks before it makes,
//! names what it makes after the run, and can say after a crash what became of it.

mod build;
mod build_context;
mod build_progress;
mod build_secrets;
mod checkout;
pub mod config;
mod container;
pub mod context;
pub mod docker;
mod dockerfile;
mod dockerignore;
pub mod git;
mod junit;
mod lines;
mod plan;
pub mod proxy;
mod push_image;
mod registry;
pub mod secrets;
mod stopped;
