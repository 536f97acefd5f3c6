//! How the engine gets a traffic proxy, and gets it back when it dies.
//!
//! ```text
//! ensure_running: ask DIR/admin.sock ── answers ──▶ adopt it
//!                          └── silence ──▶ spawn, wait for its line `ready ADDRESS`
//! keep_running:   hold a connection open; when it ends, ensure_running again
//! ```
//!
//! **Invariant:** nothing here ever ends a proxy that serves. The engine goes, the traffic stays.

use std::ffi::OsString;
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

use ipnet::IpNet;
use landfall_stages::proxy::ProxyClient;
use landfall_stages::proxy::ProxyError;
use landfall_stages::proxy::ProxyInfo;
use landfall_stages::proxy::TlsInfo;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::TlsOptions;
use crate::logging;

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
pub(super) const ENV_KEPT: [&str; 9] = [
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "LANDFALL_LOG",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "LD_LIBRARY_PATH",
    "LLVM_PROFILE_FILE",
];

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
    /// One is running, and takes no encrypted traffic there. **A person decides** whether to renew it.
    #[error(
        "the traffic proxy (process {pid}) takes no encrypted traffic on {asked}: \
         end it with `kill {pid}` and start again, and it will; its requests in flight are finished"
    )]
    OtherEncryption {
        /// What was asked for.
        asked: SocketAddr,
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

/// What is wanted of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it takes traffic. Port 0 agrees with any address that a running proxy has.
    pub listen: SocketAddr,
    /// How it takes encrypted traffic. None: not at all, or as one that runs has it.
    pub tls: Option<TlsOptions>,
    /// Networks whose forwarding headers it believes beside this machine's own.
    pub trusts: Vec<IpNet>,
}

impl From<SocketAddr> for Wanted {
    fn from(listen: SocketAddr) -> Self {
        Self { listen, tls: None, trusts: Vec::new() }
    }
}

impl From<&ProxyInfo> for Wanted {
    fn from(info: &ProxyInfo) -> Self {
        let options = |tls: &TlsInfo| {
            let TlsInfo { listen, certs, redirect, .. } = tls.clone();
            TlsOptions { listen, certs, redirect }
        };
        let trusts = info.trusts.iter().filter_map(|net| net.parse().ok()).collect();
        Self { listen: info.listen, tls: info.tls.as_ref().map(options), trusts }
    }
}

/// Returns the proxy of the folder `dir`: the one that answers, else a new one made of the binary `exe`.
pub async fn ensure_running(
    dir: &Path,
    wanted: impl Into<Wanted>,
    exe: &Path,
) -> Result<ProxyInfo, SpawnError> {
    let wanted = wanted.into();
    fs::create_dir_all(dir).map_err(process("cannot make the folder", dir))?;
    let dir = fs::canonicalize(dir).map_err(process("cannot find the folder", dir))?;
    let client = ProxyClient::in_dir(&dir);
    if let Ok(info) = client.info().await {
        return adopt(info, &wanted);
    }
    let log = dir.join("proxy.log");
    let started = start(&dir, &wanted, exe, &log).await;
    match (client.info().await, started) {
        (Ok(info), Ok(())) => {
            tracing::info!(pid = info.pid, listen = %info.listen, "the traffic proxy was started");
            Ok(info)
        }
        // Somebody else was faster.
        (Ok(info), Err(_)) => adopt(info, &wanted),
        (Err(_), Err(error)) => Err(error),
        (Err(source), Ok(())) => Err(SpawnError::Silent { log, source }),
    }
}

fn adopt(info: ProxyInfo, wanted: &Wanted) -> Result<ProxyInfo, SpawnError> {
    let has = Wanted::from(&info);
    let agrees = |asked: SocketAddr, has: SocketAddr| asked.port() == 0 || asked == has;
    let pid = info.pid;
    if !agrees(wanted.listen, has.listen) {
        return Err(SpawnError::OtherAddress { asked: wanted.listen, has: has.listen, pid });
    }
    if let Some(asked) = &wanted.tls {
        match &has.tls {
            Some(has) if agrees(asked.listen, has.listen) => {}
            Some(_) | None => return Err(SpawnError::OtherEncryption { asked: asked.listen, pid }),
        }
    }
    let same_tls = wanted.tls.as_ref().is_none_or(|asked| {
        has.tls.as_ref().is_some_and(|has| (&has.certs, has.redirect) == (&asked.certs, asked.redirect))
    });
    let same_trusts = wanted.trusts.is_empty() || has.trusts == wanted.trusts;
    if !same_tls || !same_trusts {
        tracing::warn!(pid, ?has, ?wanted, "the traffic proxy was started otherwise; `kill {pid}` renews it");
    }
    let ours = env!("CARGO_PKG_VERSION");
    if info.version != ours {
        let its = &info.version;
        tracing::warn!(pid, its, ours, "the traffic proxy is of another version; `kill {pid}` renews it");
    }
    tracing::info!(pid = info.pid, listen = %info.listen, "the traffic proxy was adopted");
    Ok(info)
}

/// Starts a proxy that outlives this process, and waits until it serves.
async fn start(dir: &Path, wanted: &Wanted, exe: &Path, log: &Path) -> Result<(), SpawnError> {
    let stderr = File::options().create(true).append(true).open(log);
    let stderr = stderr.map_err(process("cannot write the log", log))?;
    let log_length = stderr.metadata().map_or(0, |metadata| metadata.len());
    let exe = std::path::absolute(exe).map_err(process("cannot find the binary", exe))?;
    let mut child = Command::new(&exe)
        .arg("proxy")
        .arg("--dir")
        .arg(dir)
        .args(arguments(wanted))
        .args(logging::arguments())
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

fn arguments(wanted: &Wanted) -> Vec<OsString> {
    let mut arguments = vec!["--listen".into(), wanted.listen.to_string().into()];
    if let Some(TlsOptions { listen, certs, redirect }) = &wanted.tls {
        // It runs in another folder than we do.
        let certs = std::path::absolute(certs).unwrap_or_else(|_| certs.clone());
        arguments.extend(["--tls-listen".into(), listen.to_string().into(), "--certs".into(), certs.into()]);
        arguments.extend(redirect.then(|| "--https-redirect".into()));
    }
    for net in &wanted.trusts {
        arguments.extend(["--trust".into(), net.to_string().into()]);
    }
    arguments
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
    let watch = Watch { dir: dir.to_owned(), wanted: Wanted::from(&info), exe: exe.to_owned(), tell };
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
    wanted: Wanted,
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
            match ensure_running(&self.dir, self.wanted.clone(), &self.exe).await {
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
