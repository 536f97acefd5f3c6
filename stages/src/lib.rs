//! What Landfall does in the world: git, Docker, the registry, the proxy, notices.
//!
//! One file a stage; [`executor`] holds the one `match` over them. Each stage looks before it makes,
//! names what it makes after the run, and can say after a crash what became of it.

mod build;
mod build_context;
mod build_progress;
mod build_secrets;
mod candidate;
mod checkout;
pub mod config;
mod confinement;
mod container;
pub mod context;
mod deploy;
mod deps;
mod detect;
pub mod docker;
mod dockerfile;
mod dockerignore;
mod evidence;
pub mod executor;
pub mod forge;
mod former_route;
pub mod git;
mod go_live;
mod health;
mod host_test;
mod http;
mod junit;
mod lines;
pub mod look;
pub mod notify;
mod plan;
pub mod proxy;
mod public_address;
mod public_smoke;
mod push_image;
mod registry;
mod release_command;
mod rollback;
mod secret_files;
pub mod secrets;
mod smoke;
mod stopped;
mod sweep;
mod test;
#[cfg(test)]
mod testing;
pub mod vitals;
