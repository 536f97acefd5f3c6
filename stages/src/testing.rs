//! For tests: small servers that speak as much HTTP as they need to and note what they heard, and a world
//! of them — a proxy, a Docker engine, an app — around one run.
//!
//! The fakes refuse what the real ones refuse: a forgiving fake hides the bug.

mod docker;
mod proxy;
mod server;
mod smtp;
mod world;

pub(crate) use docker::FakeDocker;
pub(crate) use server::Reply;
pub(crate) use server::Request;
pub(crate) use server::tcp;
pub(crate) use smtp::mail_server;
pub(crate) use world::Lines;
pub(crate) use world::World;
pub(crate) use world::former_run;
pub(crate) use world::log_id;
pub(crate) use world::order;
pub(crate) use world::release;
pub(crate) use world::rollback_order;
pub(crate) use world::run;
pub(crate) use world::world_route;
