//! A running proxy: its folder, its two listeners, its connections.
//!
//! ```text
//! start: lock ▶ routes ▶ traffic port ▶ admin socket        stop: both listeners shut ▶ unlock ▶ drain
//! ```
//!
//! **Invariant:** the folder is let go before the last requests end, so a successor takes the port
//! at once while this process still finishes what it has begun.

use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use landfall_stages::proxy::ADMIN_SOCKET;
use landfall_stages::proxy::ProxyInfo;
use landfall_stages::proxy::SPEAKS;
use rustix::process::Resource;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::ProxyOptions;
use super::admin;
use super::admin::Admin;
use super::encrypted::Encrypted;
use super::front::Front;
use super::front::Sender;
use super::limits::Limits;
use super::switchboard::Switchboard;
use super::traffic;
use crate::tls::Acceptor;

/// The longest path a unix socket may have.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Files that are not connections: logs, the folder, the runtime.
const FILES_RESERVED: u64 = 64;
/// More clients than this wait in the kernel's queue, whatever the machine allows.
const CLIENTS_MAX: u64 = 32_768;
/// What the last calls to the admin interface are given to end; a switch waits for two fsyncs.
const ADMIN_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after the kernel refuses to accept: it refuses again until some file is closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyStartError {
    /// Another proxy has the folder. **Use that one, or stop it.**
    #[error("the traffic proxy of {} is running already as process {pid}; to replace it: kill {pid}", dir.display())]
    AlreadyRunning {
        /// The folder.
        dir: PathBuf,
        /// The process, as it wrote it down itself.
        pid: String,
    },
    /// The folder does not serve. **Choose another, or mend its rights.**
    #[error("{doing} {}: choose a folder on a local disk that this user may write to", path.display())]
    Folder {
        /// What was being done.
        doing: &'static str,
        /// The file or folder it was done to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificates can't be looked at. **Name the right folder.**
    #[error("the certificates can't be used")]
    Certificates(#[from] crate::tls::PairError),
    /// The address does not serve. **Free it, or choose another.**
    #[error("cannot take traffic on {listen}: {advice}")]
    Listen {
        /// The address that was asked for.
        listen: SocketAddr,
        /// What to do about it.
        advice: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A proxy that serves.
#[derive(Debug)]
pub(super) struct Proxy {
    info: ProxyInfo,
    dir: PathBuf,
    lock: File,
    board: Arc<Switchboard>,
    accepting: JoinHandle<()>,
    admin: JoinHandle<io::Result<()>>,
}

impl Proxy {
    /// Starts to serve; when it returns, both listeners answer.
    pub(super) async fn start(options: &ProxyOptions, limits: Limits) -> Result<Self, ProxyStartError> {
        let lock = take(&options.dir)?;
        let served = Self::serve(options, limits, lock).await;
        if served.is_err() {
            // The number may soon belong to a stranger; when it stays, it is only read by people.
            let _ = fs::remove_file(options.dir.join("proxy.pid"));
        }
        served
    }

    async fn serve(options: &ProxyOptions, limits: Limits, lock: File) -> Result<Self, ProxyStartError> {
        let dir = options.dir.clone();
        let (plain, listen) = bind(options.listen).await?;
        let encrypted = match &options.tls {
            Some(tls) => Some(Encrypted::bind(tls).await?),
            None => None,
        };
        let addresses = [listen].into_iter().chain(encrypted.as_ref().map(|encrypted| encrypted.address));
        let front = Front {
            trusts: options.trusts.clone(),
            redirect: encrypted.as_ref().and_then(Encrypted::redirect),
        };
        let board = Switchboard::open(&dir, addresses.collect(), front, limits);
        let board = Arc::new(board.map_err(folder("cannot read the routes in", &dir))?);
        let info = ProxyInfo {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            listen,
            started_at_ms: now_ms(),
            speaks: SPEAKS,
            tls: encrypted.as_ref().map(Encrypted::info),
            trusts: options.trusts.iter().map(ToString::to_string).collect(),
        };
        let socket = admin::bind(&dir).map_err(folder("cannot open the admin socket in", &dir))?;
        let certificates = encrypted.as_ref().map(|encrypted| encrypted.acceptor.certificates().clone());
        let admin = Admin { board: board.clone(), info: info.clone(), certificates: certificates.clone() };
        if let Some(certificates) = certificates {
            tokio::spawn(certificates.follow(board.stopping.clone()));
        }
        Ok(Self {
            info,
            dir,
            lock,
            accepting: tokio::spawn(accept_all(plain, encrypted, board.clone())),
            admin: tokio::spawn(admin::serve(socket, admin)),
            board,
        })
    }

    pub(super) fn info(&self) -> &ProxyInfo {
        &self.info
    }

    /// Takes nothing new and finishes what is in flight, as long as the limit allows.
    /// Connections that were upgraded have no end to wait for and are closed.
    pub(super) async fn stop(self) {
        self.board.stopping.cancel();
        // Each ends by itself now; what they end with changes nothing any more.
        let _ = self.accepting.await;
        let _ = tokio::time::timeout(ADMIN_STOP_TIMEOUT, self.admin).await;
        // A successor writes its own; an error leaves files that it replaces.
        let _ = fs::remove_file(self.dir.join(ADMIN_SOCKET));
        let _ = fs::remove_file(self.dir.join("proxy.pid"));
        drop(self.lock);
        self.board.tasks.close();
        if tokio::time::timeout(self.board.limits.shutdown, self.board.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.board.tasks.len(), "requests were still in flight when time was up");
        }
    }
}

/// Makes the folder ours, for as long as the file returned is open.
fn take(dir: &Path) -> Result<File, ProxyStartError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(folder("cannot make", dir))?;
    let socket = dir.join(ADMIN_SOCKET);
    if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let source =
            io::Error::new(io::ErrorKind::InvalidInput, "a unix socket's path has at most 107 bytes");
        return Err(folder("the path is too long for a socket:", &socket)(source));
    }
    let path = dir.join("LOCK");
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(folder("cannot open", &path))?;
    let pid_path = dir.join("proxy.pid");
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&pid_path).unwrap_or_else(|_| "unknown".into());
            return Err(ProxyStartError::AlreadyRunning { dir: dir.to_owned(), pid: pid.trim().into() });
        }
        Err(TryLockError::Error(source)) => return Err(folder("cannot lock", &path)(source)),
    }
    fs::write(&pid_path, format!("{}\n", std::process::id())).map_err(folder("cannot write", &pid_path))?;
    Ok(lock)
}

fn folder(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProxyStartError {
    let path = path.to_owned();
    move |source| ProxyStartError::Folder { doing, path, source }
}

/// Takes a port, and returns the address that it really got.
pub(super) async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), ProxyStartError> {
    let refused = |source| listen_error(listen, source);
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

fn listen_error(listen: SocketAddr, source: io::Error) -> ProxyStartError {
    let port = listen.port();
    let advice = match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another process has port {port}; `ss -ltnp 'sport = :{port}'` names it: stop it, or choose another port"
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "port {port} is for root: choose one from 1024 up, or grant the binary cap_net_bind_service"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no address {}; 0.0.0.0 stands for all it has", listen.ip())
        }
        _ => "choose another address".into(),
    };
    ProxyStartError::Listen { listen, advice, source }
}

async fn accept_all(plain: TcpListener, encrypted: Option<Encrypted>, board: Arc<Switchboard>) {
    let clients = Arc::new(Semaphore::new(clients_max()));
    let over_tls = async {
        if let Some(Encrypted { listener, acceptor, .. }) = encrypted {
            accept(listener, Some(acceptor), board.clone(), clients.clone()).await;
        }
    };
    tokio::join!(accept(plain, None, board.clone(), clients.clone()), over_tls);
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<Acceptor>,
    board: Arc<Switchboard>,
    clients: Arc<Semaphore>,
) {
    loop {
        let stopping = board.stopping.cancelled();
        let next = async {
            let place = clients.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stopping => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (board, acceptor) = (board.clone(), acceptor.clone());
                let tasks = board.tasks.clone();
                tasks.spawn(async move {
                    welcome(stream, peer, acceptor, board).await;
                    drop(place);
                });
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no client can be accepted at the moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::ConnectionAborted;
    use io::ErrorKind::ConnectionRefused;
    use io::ErrorKind::ConnectionReset;
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn welcome(stream: TcpStream, peer: SocketAddr, acceptor: Option<Acceptor>, board: Arc<Switchboard>) {
    // Small answers are sent at once; a socket that cannot do so is slower, not wrong.
    let _ = stream.set_nodelay(true);
    let sender = board.front.sender(peer, acceptor.is_some());
    let Some(acceptor) = acceptor else { return serve_client(stream, sender, board).await };
    let accepted = tokio::select! {
        accepted = acceptor.accept(stream) => accepted,
        () = board.stopping.cancelled() => return,
    };
    match accepted {
        Ok(stream) => serve_client(stream, sender, board).await,
        Err(error) => tracing::debug!(%peer, %error, "a client's handshake failed"),
    }
}

async fn serve_client<S>(stream: S, sender: Sender, board: Arc<Switchboard>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let board = board.clone();
        async move { Ok::<_, std::convert::Infallible>(traffic::answer(&board, sender, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(board.limits.client_idle)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = board.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %sender.address, %error, "a client's connection broke off");
    }
}

/// Lets this process have as many files as it may, and returns how many clients that serves.
fn clients_max() -> usize {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if rustix::process::setrlimit(Resource::Nofile, raised).is_ok() {
        limit.current = limit.maximum;
    }
    // A client has a file of its own and one towards its app.
    let clients = limit.current.map_or(CLIENTS_MAX, |files| files.saturating_sub(FILES_RESERVED) / 2);
    usize::try_from(clients.clamp(1, CLIENTS_MAX)).unwrap_or(1)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
