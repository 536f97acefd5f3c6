//! The doors: addresses with their connections, limits, and an end that lets answers finish.
//!
//! ```text
//! the door that was asked for     encrypted where there is a certificate
//! the door for commands           plain, on this machine alone; there when the first one is encrypted
//! the door for monitoring         /metrics, /healthz and /readyz, without a token
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::peer::Peer;
use crate::tls::Acceptor;

/// How long the head of a request may take. Also ends connections that nothing is asked on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How many clients are served at once; more wait in the kernel's queue. A team's dashboards and pushes are
/// dozens; each costs a file and some 20 KiB.
const CLIENTS_MAX: usize = 1_000;
/// How many of those who monitor are served at once. They have a door of their own so that a crowd at the
/// other does not make the server look dead.
const MONITORS_MAX: usize = 32;
/// How long answers may take to finish when the server stops. Streams are ended, so what is left is short.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after the kernel refuses to accept: it refuses again until some file is closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What is spoken inside an encrypted connection.
pub const PROTOCOLS: [&str; 1] = ["http/1.1"];

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

/// Ports that are ours.
#[derive(Debug)]
pub struct Server {
    main: Door,
    others: Vec<Door>,
}

/// One port.
#[derive(Debug)]
struct Door {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: Option<Acceptor>,
    for_monitoring: bool,
}

impl Server {
    /// Takes a port; port 0 takes any free one. Clients that come now wait for [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// [`ServerError`] says what to do.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        Ok(Self { main: Door::bind(address).await?, others: Vec::new() })
    }

    /// Encrypts what goes through the port, and takes another for the commands of this machine: they need no
    /// certificate to trust, and what they say goes over no wire.
    ///
    /// # Errors
    ///
    /// [`ServerError`] says what to do.
    pub async fn encrypted(mut self, acceptor: Acceptor) -> Result<Self, ServerError> {
        self.main.acceptor = Some(acceptor);
        self.others.push(Door::bind((Ipv4Addr::LOCALHOST, 0).into()).await?);
        Ok(self)
    }

    /// Takes a port for those who monitor.
    ///
    /// # Errors
    ///
    /// [`ServerError`] says what to do.
    pub async fn monitored(mut self, address: SocketAddr) -> Result<Self, ServerError> {
        self.others.push(Door { for_monitoring: true, ..Door::bind(address).await? });
        Ok(self)
    }

    /// Returns the address that was asked for.
    pub fn address(&self) -> SocketAddr {
        self.main.address
    }

    /// Returns the address by which commands on this machine reach it, in the clear.
    pub fn address_for_commands(&self) -> SocketAddr {
        let plain = |door: &&Door| door.acceptor.is_none() && !door.for_monitoring;
        [&self.main].into_iter().chain(&self.others).find(plain).unwrap_or(&self.main).address
    }

    /// Returns the address for those who monitor, if there is one.
    pub fn address_for_monitoring(&self) -> Option<SocketAddr> {
        self.others.iter().find(|door| door.for_monitoring).map(|door| door.address)
    }

    /// Returns what encrypts, if anything does.
    pub fn acceptor(&self) -> Option<&Acceptor> {
        self.main.acceptor.as_ref()
    }

    /// Serves until `stop`, then takes no one new and lets answers finish.
    pub async fn serve(self, router: Router, for_monitoring: Router, stop: CancellationToken) {
        let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
        let monitors = Arc::new(Semaphore::new(MONITORS_MAX));
        let doors = [self.main].into_iter().chain(self.others).map(|door| match door.for_monitoring {
            true => door.serve(for_monitoring.clone(), Arc::clone(&monitors), stop.clone()),
            false => door.serve(router.clone(), Arc::clone(&clients), stop.clone()),
        });
        join_all(doors).await;
    }
}

impl Door {
    async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServerError::InUse { address },
            _ => ServerError::Refused { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, acceptor: None, for_monitoring: false })
    }

    async fn serve(self, router: Router, places: Arc<Semaphore>, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        loop {
            let next = async {
                // The semaphore is never closed.
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => break,
            };
            match (place, accepted) {
                (Ok(place), Ok((stream, peer))) => {
                    let peer = Peer { address: peer, tls: self.acceptor.is_some() };
                    let client = Client { peer, router: router.clone(), watcher: graceful.watcher() };
                    tokio::spawn(client.welcome(stream, self.acceptor.clone(), place));
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

/// A connection.
struct Client {
    peer: Peer,
    router: Router,
    watcher: Watcher,
}

impl Client {
    async fn welcome(self, stream: TcpStream, acceptor: Option<Acceptor>, _place: OwnedSemaphorePermit) {
        // Lines of a run are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else { return self.converse(stream).await };
        match acceptor.accept(stream).await {
            Ok(stream) => self.converse(stream).await,
            Err(error) => tracing::debug!(peer = %self.peer.address, %error, "a client's handshake failed"),
        }
    }

    async fn converse<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { peer, router, watcher } = self;
        let router = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a client's connection broke");
        }
    }
}
