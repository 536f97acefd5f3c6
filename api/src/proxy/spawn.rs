//! How the engine gets a traffic proxy, and gets it back when it dies.
//!
//! ```text
//! ensure_running: ask DIR/admin.sock ── answers ──▶ adopt it
//!                          └── silence ──▶ spawn, wait for its line `ready ADDRESS`
//! keep_running:   hold a connection open; when it ends, ensure_running again
//! ```
//!
//! **Invariant:** nothing here ever ends a proxy that serves. The engine goes, the traffic stays.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use landfall_stages::proxy::ProxyClient;
use landfall_stages::proxy::ProxyError;
use landfall_stages::proxy::ProxyInfo;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A proxy is ready in some 20 ms; a machine that is swapping may need seconds.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// The first pause after a proxy could not be started; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause: a port that was freed is taken within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A proxy that lived less long counts as one that could not be started.
const LIFE_MIN: Duration = Duration::from_secs(10);
/// What is shown of the words of a proxy that did not start.
const LAST_WORDS_BYTES_MAX: u64 = 2_000;
/// What a proxy inherits. The engine's environment has secrets that traffic has no use for.
pub(super) const ENV_KEPT: [&str; 8] =
    ["PATH", "HOME", "LANG", "TZ", "LANDFALL_LOG", "RUST_BACKTRACE", "LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"];

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// One is running, on another address. **A person decides** which address is right.
    #[error(
        "the traffic proxy (process {pid}) takes traffic on {has}, not on {asked}: \
         say --proxy-listen {has}, or end it with `kill {pid}` and start again to move it"
    )]
    OtherAddress {
        /// What was asked for.
        asked: SocketAddr,
        /// What it has.
        has: SocketAddr,
        /// The process.
        pid: u32,
    },
    /// It ended before it served. **Do what it says**, then try again.
    #[error("the traffic proxy did not start: {said}")]
    NotStarted {
        /// Its last words.
        said: String,
    },
    /// It is there and does not answer. **Look at its log, or end it.**
    #[error("the traffic proxy does not answer; its log is {}", log.display())]
    Silent {
        /// Where it writes to.
        log: PathBuf,
        /// What was wrong with asking it.
        source: ProxyError,
    },
    /// Somebody else was to keep one running. **Have it started.**
    #[error(
        "no traffic proxy answers in {}, and this server was told to start none (--adopt-proxy): start it, as by \
         `systemctl start landfall-proxy` or `landfall proxy --dir {}`", dir.display(), dir.display()
    )]
    NotKept {
        /// Its folder.
        dir: PathBuf,
        /// What was wrong with asking it.
        source: ProxyError,
    },
    /// The process could not be made.
    #[error("{doing} {}", path.display())]
    Process {
        /// What was being done.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Returns the proxy of the folder `dir`: the one that answers, else a new one made of the binary `exe`.
///
/// A `listen` with port 0 agrees with any address that a running proxy has.
pub async fn ensure_running(dir: &Path, listen: SocketAddr, exe: &Path) -> Result<ProxyInfo, SpawnError> {
    fs::create_dir_all(dir).map_err(process("cannot make the folder", dir))?;
    let dir = fs::canonicalize(dir).map_err(process("cannot find the folder", dir))?;
    let client = ProxyClient::in_dir(&dir);
    if let Ok(info) = client.info().await {
        return adopt(info, listen);
    }
    let log = dir.join("proxy.log");
    let started = start(&dir, listen, exe, &log).await;
    match (client.info().await, started) {
        (Ok(info), Ok(())) => {
            tracing::info!(pid = info.pid, listen = %info.listen, "the traffic proxy was started");
            Ok(info)
        }
        // Somebody else was faster.
        (Ok(info), Err(_)) => adopt(info, listen),
        (Err(_), Err(error)) => Err(error),
        (Err(source), Ok(())) => Err(SpawnError::Silent { log, source }),
    }
}

fn adopt(info: ProxyInfo, listen: SocketAddr) -> Result<ProxyInfo, SpawnError> {
    if listen.port() != 0 && listen != info.listen {
        return Err(SpawnError::OtherAddress { asked: listen, has: info.listen, pid: info.pid });
    }
    let ours = env!("CARGO_PKG_VERSION");
    if info.version != ours {
        let (pid, its) = (info.pid, &info.version);
        tracing::warn!(pid, its, ours, "the traffic proxy is of another version; `kill {pid}` renews it");
    }
    tracing::info!(pid = info.pid, listen = %info.listen, "the traffic proxy was adopted");
    Ok(info)
}

/// Starts a proxy that outlives this process, and waits until it serves.
async fn start(dir: &Path, listen: SocketAddr, exe: &Path, log: &Path) -> Result<(), SpawnError> {
    let stderr = File::options().create(true).append(true).open(log);
    let stderr = stderr.map_err(process("cannot write the log", log))?;
    let log_length = stderr.metadata().map_or(0, |metadata| metadata.len());
    let exe = std::path::absolute(exe).map_err(process("cannot find the binary", exe))?;
    let mut child = Command::new(&exe)
        .arg("proxy")
        .arg("--dir")
        .arg(dir)
        .arg("--listen")
        .arg(listen.to_string())
        .env_clear()
        .envs(ENV_KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .current_dir(dir)
        // A group of its own: neither Ctrl-C nor `kill -- -GROUP` at the engine reaches it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .kill_on_drop(false)
        .spawn()
        .map_err(process("cannot start", &exe))?;
    let said = match tokio::time::timeout(START_TIMEOUT, first_line(&mut child)).await {
        Ok(Some(line)) if line.starts_with("ready ") => return Ok(()),
        Ok(Some(line)) => line,
        // The end of its output; its end follows, and leaves no zombie when it is waited for.
        Ok(None) => match tokio::time::timeout(START_TIMEOUT, child.wait()).await {
            Ok(Ok(status)) => {
                last_words(log, log_length).unwrap_or_else(|| format!("it ended with {status}"))
            }
            Ok(Err(_)) | Err(_) => "it closed its output without a word".into(),
        },
        Err(_) => {
            format!("it was not ready within {} s; its log is {}", START_TIMEOUT.as_secs(), log.display())
        }
    };
    // One that never served carries no traffic.
    let _ = child.start_kill();
    Err(SpawnError::NotStarted { said })
}

async fn first_line(child: &mut Child) -> Option<String> {
    let stdout = child.stdout.take()?;
    BufReader::new(stdout).lines().next_line().await.ok().flatten()
}

/// Returns what was appended to the log since it had `length` bytes.
fn last_words(log: &Path, length: u64) -> Option<String> {
    let mut log = File::open(log).ok()?;
    let end = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(length.max(end.saturating_sub(LAST_WORDS_BYTES_MAX)))).ok()?;
    let mut words = Vec::new();
    log.read_to_end(&mut words).ok()?;
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    (!words.is_empty()).then_some(words)
}

fn process(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpawnError {
    let path = path.to_owned();
    move |source| SpawnError::Process { doing, path, source }
}

/// How the watched proxy is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyState {
    /// It serves.
    Serving(ProxyInfo),
    /// It is gone and could not be started again yet.
    Down {
        /// Why not, for people.
        reason: String,
    },
}

/// Keeps a proxy alive for as long as it is held; it never ends one.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) state: watch::Receiver<ProxyState>,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Supervisor {
    /// Returns how the proxy is doing; the receiver tells of changes.
    pub fn state(&self) -> watch::Receiver<ProxyState> {
        self.state.clone()
    }

    /// Ends the watch and waits for its end. The proxy goes on.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the watch over the traffic proxy broke");
        }
    }
}

/// Starts the proxy `info` of the folder `dir` again whenever it dies, on the address it had.
pub fn keep_running(dir: &Path, info: ProxyInfo, exe: &Path) -> Supervisor {
    let (tell, state) = watch::channel(ProxyState::Serving(info.clone()));
    let stop = CancellationToken::new();
    let watch = Watch { dir: dir.to_owned(), listen: info.listen, exe: exe.to_owned(), tell };
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = watch.forever() => {}
            () = stopped.cancelled() => {}
        }
    });
    Supervisor { state, stop, task }
}

struct Watch {
    dir: PathBuf,
    listen: SocketAddr,
    exe: PathBuf,
    tell: watch::Sender<ProxyState>,
}

impl Watch {
    async fn forever(&self) {
        let client = ProxyClient::in_dir(&self.dir);
        let mut backoff = BACKOFF_FIRST;
        loop {
            let since = Instant::now();
            // An error means that it is gone already.
            let _ = client.until_gone().await;
            if since.elapsed() >= LIFE_MIN {
                backoff = BACKOFF_FIRST;
            } else {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
            tracing::warn!("the traffic proxy is gone: starting it again");
            match ensure_running(&self.dir, self.listen, &self.exe).await {
                Ok(info) => self.tell.send_replace(ProxyState::Serving(info)),
                Err(error) => {
                    let cause: &dyn std::error::Error = &error;
                    tracing::error!(cause, "the traffic proxy could not be started");
                    self.tell.send_replace(ProxyState::Down { reason: error.to_string() })
                }
            };
        }
    }
}
