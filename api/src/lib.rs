//! Landfall as a service: HTTP API, git remote, traffic proxy, and what composes the engine with them.
//!
//! - [`compose`]: a data folder opened, with its proxy, its stages and its engine.
//! - [`server`]: the HTTP API. [`git_remote`]: `git push` over the same port.
//! - `dashboard`: pages for people, on the same port.
//! - [`hooks`]: deliveries of forges. [`sources`]: where commits come from, and which start a run.
//! - [`client`] and [`data_dir`]: how commands find a server, and speak with it.
//! - [`retention`]: what is old is given up, for the server and for the command alike.
//! - [`lines`]: a run told line by line. [`picture`]: a run drawn live on a terminal.
//! - [`topics`]: the pages that explain it all, on a terminal and on the web.
//! - [`proxy`]: the process that carries the apps' traffic. [`service`]: what systemd is told of both.
//! - [`tls`]: encrypted connections, for the API and the traffic.
//! - [`metrics`], [`otlp`], [`logging`], [`checks`]: what monitoring gets to see: numbers, traces, lines, answers.
//! - [`doctor`]: what is examined before the first run, and when something does not work.
//! - [`usual`]: how long each step of a run takes as a rule. [`changes`]: what differs between two releases.
//! - [`badge`] and [`summary`]: an app as a picture for a README, a run as a few lines for a commit page.
//! - [`attest`]: what the log says of a run, as signed statements for others.
//! - [`naming`]: the one rule for names of apps and environments.
//! - [`cli`], [`commands`], [`limits`], [`fault`]: the command line, what each command does, and why one could not.

pub mod attest;
pub mod badge;
pub mod changes;
pub mod checks;
pub mod cli;
pub mod client;
pub mod commands;
pub mod compose;
pub(crate) mod dashboard;
pub mod data_dir;
pub mod disk_watch;
pub mod doctor;
pub mod error;
pub mod fault;
pub mod git_remote;
pub mod hooks;
pub mod limits;
pub mod lines;
pub mod logging;
pub mod metrics;
pub mod naming;
pub mod otlp;
pub mod picture;
pub mod proxy;
pub mod retention;
pub mod server;
pub mod server_config;
pub mod service;
pub mod sources;
pub mod statuses;
pub mod summary;
pub mod tls;
pub mod topics;
pub mod usual;
