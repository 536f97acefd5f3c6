//! What the proxy's tests share: routes, apps to send traffic to, and a proxy with its callers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use http::Response;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use landfall_stages::proxy::ProxyClient;
use landfall_stages::proxy::Route;
use landfall_stages::proxy::RouteStatus;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

use super::ProxyOptions;
use super::TlsOptions;
use super::limits::Limits;
use super::server::Proxy;

/// Long enough that only a hang reaches it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) type AppBody = BoxBody<Bytes, Infallible>;

/// Returns the first route of an app in production.
pub(super) fn route(app: &str, host: Option<&str>, port: u16) -> Route {
    Route {
        app: app.into(),
        env: "production".into(),
        host: host.map(str::to_owned),
        mount: None,
        generation: 1,
        target: Some(([127, 0, 0, 1], port).into()),
        release: format!("sha256:{port}"),
        run: format!("run-{port}"),
        drain_ms: 30_000,
    }
}

pub(super) fn text(text: impl Into<String>) -> Response<AppBody> {
    Response::new(Full::new(Bytes::from(text.into())).boxed())
}

/// An app on a port of this machine. When it is dropped it is gone, connections and all.
pub(super) struct App {
    pub(super) addr: SocketAddr,
    serving: JoinHandle<()>,
}

impl App {
    pub(super) async fn start<F, R>(handle: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Response<AppBody>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let handle = Arc::new(move |request| -> BoxFuture<'static, _> { Box::pin(handle(request)) });
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let handle = handle.clone();
                let service = service_fn(move |request| {
                    let answer = handle(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(connection.with_upgrades());
                while connections.try_join_next().is_some() {}
            }
        });
        Self { addr, serving }
    }

    /// Starts an app that answers everything with `name`.
    pub(super) async fn saying(name: &str) -> Self {
        let name = name.to_owned();
        Self::start(move |_| {
            let name = name.clone();
            async move { text(name) }
        })
        .await
    }

    /// Starts an app whose answers are what is sent into the channels that it hands out, one an answer.
    pub(super) async fn streaming() -> (Self, mpsc::Receiver<mpsc::Sender<&'static str>>) {
        let (hand_out, streams) = mpsc::channel(8);
        let app = Self::start(move |_| {
            let hand_out = hand_out.clone();
            async move {
                let (send, receive) = mpsc::channel(8);
                hand_out.send(send).await.unwrap();
                let pieces = tokio_stream::wrappers::ReceiverStream::new(receive);
                let frames = futures_util::StreamExt::map(pieces, |piece: &'static str| {
                    Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece.as_bytes())))
                });
                Response::new(BodyExt::boxed(StreamBody::new(frames)))
            }
        })
        .await;
        (app, streams)
    }

    pub(super) fn route(&self, app: &str, host: Option<&str>) -> Route {
        route(app, host, self.addr.port())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A proxy in this process, with a client for its switch and one for its traffic.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) proxy: Proxy,
    pub(super) admin: ProxyClient,
    pub(super) http: reqwest::Client,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), limits).await
    }

    pub(super) async fn in_dir(dir: TempDir, limits: Limits) -> Self {
        let options = options(dir.path());
        Self::told(dir, options, limits).await
    }

    /// Starts one that takes encrypted traffic, too, with the certificates in its folder's `certs`.
    pub(super) async fn encrypted(redirect: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certs = dir.path().join("certs");
        std::fs::create_dir(&certs).unwrap();
        let tls = TlsOptions { listen: ([127, 0, 0, 1], 0).into(), certs, redirect };
        let options = ProxyOptions { tls: Some(tls), ..options(dir.path()) };
        Self::told(dir, options, Limits::default()).await
    }

    async fn told(dir: TempDir, options: ProxyOptions, limits: Limits) -> Self {
        let proxy = Proxy::start(&options, limits).await.unwrap();
        let admin = ProxyClient::in_dir(dir.path());
        Self { dir, proxy, admin, http: http_client() }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.proxy.info().listen
    }

    pub(super) fn get(&self, host: &str, path: &str) -> reqwest::RequestBuilder {
        self.request(http::Method::GET, host, path)
    }

    pub(super) fn request(&self, method: http::Method, host: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.addr());
        self.http.request(method, url).header("host", host).timeout(PATIENCE)
    }

    #[track_caller]
    pub(super) fn switch(&self, route: Route) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        let admin = self.admin.clone();
        async move {
            let switched = admin.switch(route).await;
            assert!(matches!(&switched, Ok(switched) if switched.applied), "{switched:?} at {at}");
        }
    }

    pub(super) async fn status(&self, app: &str) -> RouteStatus {
        self.admin.route(app, "production").await.unwrap().unwrap()
    }

    /// Sends `request` as it is and returns everything that comes back until the proxy hangs up.
    pub(super) async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}

pub(super) fn options(dir: &std::path::Path) -> ProxyOptions {
    ProxyOptions { dir: dir.to_owned(), listen: ([127, 0, 0, 1], 0).into(), tls: None, trusts: Vec::new() }
}

pub(super) fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    builder.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

#[track_caller]
pub(super) fn says(response: reqwest::Response, status: u16, body: &str) -> impl Future<Output = ()> {
    let at = std::panic::Location::caller();
    async move {
        let got = (response.status().as_u16(), response.text().await.unwrap());
        assert_eq!(got, (status, body.to_owned()), "at {at}");
    }
}
