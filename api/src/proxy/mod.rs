//! The traffic proxy: the process that carries an app's requests to the release that is live.
//!
//! ```text
//!  users ──HTTP──▶ traffic ──pick──▶ switchboard ──▶ backend ──▶ container
//!                                        ▲
//!  go live, rollback ──unix socket──▶ admin          file: DIR/routes.json, written first
//! ```
//!
//! It is a process of its own, so that the engine can be killed or upgraded without a request being
//! dropped; `spawn` is how the engine starts, adopts and watches it. It knows nothing of runs,
//! Docker or the event log: it has routes, and a route has a generation.

mod admin;
mod backend;
mod encrypted;
mod file;
mod front;
mod headers;
mod history;
pub mod kept;
mod limits;
mod reply;
mod server;
pub mod spawn;
mod switchboard;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod traffic;
mod upstream;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use serde::Serialize;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::service;
use limits::Limits;
use server::Proxy;

pub use server::ProxyStartError;

/// What `landfall proxy` is told.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// The folder of its routes and its admin socket; made when it is not there.
    pub dir: PathBuf,
    /// Where it takes traffic; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where it takes encrypted traffic. None: nowhere.
    pub tls: Option<TlsOptions>,
    /// Networks whose forwarding headers are believed, beside this machine's own.
    pub trusts: Vec<IpNet>,
}

/// How a proxy is to take encrypted traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsOptions {
    /// Where; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The folder of the certificates, see [`Origin::Folder`](crate::tls::Origin::Folder).
    pub certs: PathBuf,
    /// Sends plain requests there, for hosts that have a certificate.
    pub redirect: bool,
}

/// Serves until SIGTERM or SIGINT, then finishes what is in flight.
///
/// Prints one line to stdout, `ready ADDRESS`, when it serves; a caller waits for that line. A
/// second signal ends it at once. Logs go to `tracing`, whose subscriber must not write to stdout.
pub async fn run(options: ProxyOptions) -> Result<(), ProxyStartError> {
    let no_signals = |source| ProxyStartError::Folder {
        doing: "cannot listen for signals in",
        path: options.dir.clone(),
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let proxy = Proxy::start(&options, Limits::default()).await?;
    let listen = proxy.info().listen;
    tracing::info!(%listen, dir = %options.dir.display(), "the traffic proxy serves");
    // Nobody may be reading, and traffic does not depend on it.
    let _ = writeln!(std::io::stdout(), "ready {listen}");
    service::ready();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    service::stopping();
    tracing::info!("the traffic proxy ends: no new requests, finishing those in flight");
    tokio::select! {
        () = proxy.stop() => {}
        _ = terminate.recv() => tracing::warn!("asked twice: ending at once"),
        _ = interrupt.recv() => tracing::warn!("asked twice: ending at once"),
    }
    Ok(())
}
