//! The connections to one container: a pool of its own, a body that tells how far it got.
//!
//! A pool belongs to one backend, never to an address: two releases that had the same port one
//! after the other share no connection.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::Response;
use http::Uri;
use http::uri::Authority;
use http::uri::PathAndQuery;
use http::uri::Scheme;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use tokio::time::Instant;

/// How long a connection may lie unused. gunicorn closes its own after 2 s, and a request sent
/// into that moment would be lost; the side that speaks first must also be the one to hang up.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How many unused connections to one container are kept, so that a burst does not hold its files.
const POOL_IDLE_MAX: usize = 256;

/// The way to one container.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    authority: Authority,
    http: Client<HttpConnector, Upload>,
}

impl Upstream {
    pub(super) fn new(target: SocketAddr, connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .retry_canceled_requests(true)
            .build(connector);
        let authority =
            Authority::try_from(target.to_string()).expect("an address with a port is an authority");
        Self { authority, http }
    }

    /// Returns the address of `path` in this container.
    pub(super) fn uri(&self, path: Option<&PathAndQuery>) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        Uri::from_parts(parts).expect("scheme, authority and path are all there")
    }

    pub(super) async fn send(
        &self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        self.http.request(request).await
    }
}

/// Returns whether a connection ended before it brought a byte of the answer: what a container
/// does to a connection that it has just decided to close.
pub(super) fn hung_up_unanswered(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
        }
        cause = error.source();
    }
    false
}

/// A request's body on its way to the container.
#[derive(Debug)]
pub(super) enum Upload {
    Empty,
    Streaming { body: Incoming, progress: Arc<Progress> },
}

/// How far a request got on its way to the container.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    /// When the last piece was handed on, in milliseconds after `begun`.
    last_ms: AtomicU64,
    /// Whether the next piece has to come from the client.
    starved: AtomicBool,
    /// Whether the client's body broke off or broke its own framing.
    broken: AtomicBool,
}

impl Progress {
    pub(super) fn begin() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            last_ms: AtomicU64::new(0),
            starved: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }

    /// Returns when something last happened.
    pub(super) fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.last_ms.load(Relaxed))
    }

    pub(super) fn is_starved(&self) -> bool {
        self.starved.load(Relaxed)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    fn note(&self, piece: &Poll<Option<Result<Frame<Bytes>, hyper::Error>>>) {
        self.starved.store(piece.is_pending(), Relaxed);
        if piece.is_ready() {
            let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last_ms.store(elapsed, Relaxed);
        }
        if matches!(piece, Poll::Ready(Some(Err(_)))) {
            self.broken.store(true, Relaxed);
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming { body, progress } => {
                let piece = Pin::new(body).poll_frame(cx);
                progress.note(&piece);
                piece
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { body, .. } => body.size_hint(),
        }
    }
}
