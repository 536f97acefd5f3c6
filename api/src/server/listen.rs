//! The listener: connections with limits, and an end that lets answers finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Peer;

/// How long the head of a request may take. Also ends connections that nothing is asked on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How many clients are served at once; more wait in the kernel's queue. A team's dashboards and pushes are
/// dozens; each costs a file and some 20 KiB.
const CLIENTS_MAX: usize = 1_000;
/// How long answers may take to finish when the server stops. Streams are ended, so what is left is short.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after the kernel refuses to accept: it refuses again until some file is closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the server can't listen. A variant per reaction.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody has the port. **Stop that one, or choose another.**
    #[error(
        "{address} is in use by another process (`ss -ltnp` shows which); stop it, or choose another port with --listen"
    )]
    InUse {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The system says no. **Choose another address.**
    #[error("can't listen on {address}; choose another address with --listen")]
    Refused {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A port that is ours.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes a port; port 0 takes any free one. Clients that come now wait for [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// [`ServerError`] says what to do.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServerError::InUse { address },
            _ => ServerError::Refused { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Returns the address that clients on this machine reach it by.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then takes no one new and lets answers finish.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
        let graceful = GracefulShutdown::new();
        loop {
            let next = async {
                // The semaphore is never closed.
                let place = Arc::clone(&clients).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => break,
            };
            match (place, accepted) {
                (Ok(place), Ok((stream, peer))) => {
                    let router = router.clone().layer(Extension(Peer(peer)));
                    tokio::spawn(converse(stream, router, graceful.watcher(), place));
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                (Err(_), _) => break,
            }
        }
        drop(self.listener);
        if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::warn!("some clients were still being answered when time was up");
        }
    }
}

async fn converse(stream: TcpStream, router: Router, watcher: Watcher, _place: OwnedSemaphorePermit) {
    // Lines of a run are small and wanted at once.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a client's connection broke");
    }
}
