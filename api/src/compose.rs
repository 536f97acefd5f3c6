//! A data folder made to work: its log, its outputs, its traffic proxy, its stages and its engine.
//!
//! ```text
//! open: lock and log ▶ secrets ▶ proxy ▶ stages ▶ engine        shutdown: engine ▶ watch over the proxy ▶ log
//! ```
//!
//! A missing Docker is no reason not to open: runs that need it wait, are tried again and park.
//! The proxy outlives all this: closing never drops a request of an app's user.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use landfall_engine::core::ledger::{Ledger, ledger_of};
use landfall_engine::engine::Parts;
use landfall_engine::ports::{EventStore, StageExecutor, SystemClock};
use landfall_engine::{Engine, EngineError, Limits};
use landfall_stages::executor::{FlaskStages, FlaskStagesConfig, SetupError};
use landfall_stages::forge::Forges;
use landfall_stages::notify::Notifier;
use landfall_stages::proxy::{ADMIN_SOCKET, ProxyClient, ProxyInfo};
use landfall_stages::secrets::{KeyPlace, Secrets, SecretsError, Vault};
use landfall_stages::vitals::Vitals;
use landfall_store::{DataDir, OpenError, Opened, OutputDir};
use serde::{Deserialize, Serialize};

pub use landfall_store::Options;

use crate::metrics::Metrics;
use crate::proxy::TlsOptions;
use crate::proxy::kept::{adopt_running, watch_running};
use crate::proxy::spawn::{SpawnError, Supervisor, Wanted, ensure_running, keep_running};

/// Where the apps' traffic comes in when nobody ever said where.
pub const PROXY_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Holds the address at which the proxy was last started, so that commands need not be told again.
const LAST_ADDRESS: &str = "listen";

/// Holds the rest of what the proxy was last started with.
const LAST_EDGE: &str = "edge.json";

/// What a composition is told.
#[derive(Clone, Debug)]
pub struct ComposeOptions {
    /// The data folder; made when it is not there.
    pub data: PathBuf,
    /// A dotenv file with secrets, beside the environment and the vault.
    pub secrets: Option<PathBuf>,
    /// The key of the vault. None: passed on by systemd, or in its usual place.
    pub vault_key: Option<PathBuf>,
    /// Where the apps' traffic comes in. None: where it does, or did last; else [`PROXY_LISTEN`].
    pub proxy_listen: Option<SocketAddr>,
    /// Never starts a proxy: somebody else keeps one running on the folder `proxy` of the data folder.
    pub adopt_proxy: bool,
    /// What else is wanted of the traffic proxy.
    pub edge: EdgeWish,
    /// Apps may have their tests run on this machine, as this user.
    pub host_tests: bool,
    /// The `landfall` binary, which is also the proxy.
    pub exe: PathBuf,
    /// How much the engine takes on.
    pub limits: Limits,
    /// How the data folder is kept.
    pub store: Options,
}

/// What is wanted of the traffic proxy beside its address.
#[derive(Clone, Debug, Default)]
pub enum EdgeWish {
    /// As it is, or was last: for commands that only pass by.
    #[default]
    AsBefore,
    /// This, and it is remembered.
    Given(Edge),
}

/// How the traffic proxy meets the world beside its plain address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// How it takes encrypted traffic, if it does.
    pub tls: Option<TlsOptions>,
    /// Networks whose forwarding headers it believes beside this machine's own.
    #[serde(default)]
    pub trusts: Vec<IpNet>,
}

/// Why a data folder could not be made to work. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The folder is in use, read-only, or not ours.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// The log is damaged. **Nothing is begun on a history that can't be trusted.**
    #[error(
        "the event log in {} is damaged ({damage}), so nothing is deployed from it; `landfall replay` still reads what \
         is whole. Restore the folder from a copy, or use another one",
        folder.display()
    )]
    Damaged {
        /// The data folder.
        folder: PathBuf,
        /// Where and how.
        damage: String,
    },
    /// The secrets can't be read.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// There is no traffic proxy.
    #[error(transparent)]
    Proxy(#[from] SpawnError),
    /// The machine's own settings are wrong. A Docker that does not answer is none of this.
    #[error(transparent)]
    Stages(#[from] SetupError),
    /// The engine could not read its log.
    #[error("the engine did not start")]
    Engine(#[from] EngineError),
}

/// A data folder that works.
#[derive(Debug)]
pub struct Landfall {
    /// The engine.
    pub engine: Engine,
    /// What stages printed.
    pub outputs: Arc<OutputDir>,
    /// The traffic proxy.
    pub proxy: ProxyInfo,
    /// The values behind names, and the vault.
    pub secrets: Secrets,
    /// Sends the server's own notices.
    pub notifier: Notifier,
    /// Tells forges how runs stand.
    pub forges: Forges,
    /// What is counted of the log.
    pub metrics: Arc<Metrics>,
    /// Asks what the stages depend on.
    pub vitals: Vitals,
    /// Asks the proxy.
    pub proxy_client: ProxyClient,
    supervisor: Supervisor,
}

impl Landfall {
    /// Opens a data folder and goes on with every run that its log shows open.
    ///
    /// # Errors
    ///
    /// [`ComposeError`], one message that says what to do.
    pub async fn open(options: ComposeOptions) -> Result<Self, ComposeError> {
        Self::open_with(options, |stages| Arc::new(stages)).await
    }

    /// Opens a data folder with stages of your own around, or instead of, ours.
    ///
    /// # Errors
    ///
    /// [`ComposeError`], one message that says what to do.
    pub async fn open_with(
        options: ComposeOptions,
        stages: impl FnOnce(FlaskStages) -> Arc<dyn StageExecutor>,
    ) -> Result<Self, ComposeError> {
        let ComposeOptions {
            data,
            secrets,
            vault_key,
            proxy_listen,
            adopt_proxy,
            edge,
            host_tests,
            exe,
            limits,
            store,
        } = options;
        let Opened { store, outputs, report } = open_folder(data.clone(), store).await?;
        if let Some(damage) = &report.damage {
            return Err(ComposeError::Damaged { folder: data, damage: damage.to_string() });
        }
        let data = absolute(&data);
        let vault = Vault::new(&data, KeyPlace::find(vault_key.as_deref()));
        let secrets = Secrets::from_process(secrets.as_deref())?.with_vault(vault);
        let proxy_dir = data.join("proxy");
        let executor = FlaskStages::new(FlaskStagesConfig {
            data,
            secrets: secrets.clone(),
            proxy_socket: proxy_dir.join(ADMIN_SOCKET),
            docker: None,
        })?
        .with_host_tests(host_tests);
        // Before anything is driven: a checkout that goes on may need a key.
        let keys = executor.repository_keys().clone();
        keys.begin(Ledger::of(&store.events(ledger_of(store.log_id())).await.map_err(EngineError::Read)?));
        let (proxy, supervisor) = match adopt_proxy {
            true => {
                let proxy = adopt_running(&proxy_dir).await?;
                (proxy.clone(), watch_running(&proxy_dir, proxy))
            }
            false => {
                let listen = match proxy_listen {
                    Some(listen) => listen,
                    None => usual_address(&proxy_dir).await,
                };
                let Edge { tls, trusts } = edge_of(&proxy_dir, edge);
                let proxy = ensure_running(&proxy_dir, Wanted { listen, tls, trusts }, &exe).await?;
                (proxy.clone(), keep_running(&proxy_dir, proxy, &exe))
            }
        };
        remember_address(&proxy_dir, proxy.listen);
        let (notifier, forges) = (executor.notifier(), executor.forges());
        let (metrics, vitals) = (Arc::<Metrics>::default(), executor.vitals());
        let parts = Parts {
            store: metrics.watch(store),
            executor: stages(executor),
            outputs: Arc::clone(&outputs) as _,
            clock: Arc::new(SystemClock),
        };
        match Engine::start_within(parts, limits).await {
            Ok(engine) => {
                keys.follow(engine.ledger());
                let proxy_client = ProxyClient::in_dir(&proxy_dir);
                Ok(Self {
                    engine,
                    outputs,
                    proxy,
                    secrets,
                    notifier,
                    forges,
                    metrics,
                    vitals,
                    proxy_client,
                    supervisor,
                })
            }
            Err(error) => {
                supervisor.shutdown().await;
                Err(error.into())
            }
        }
    }

    /// Stops the engine and the watch over the proxy. Open runs go on at the next start; the proxy serves on.
    ///
    /// The folder is free once every clone of the engine is dropped.
    pub async fn shutdown(self) {
        self.engine.shutdown().await;
        self.supervisor.shutdown().await;
    }
}

/// A data folder that is held, with stages that can sweep, and no engine: nothing is driven.
#[derive(Debug)]
pub struct AtRest {
    /// What an engine would be made of.
    pub parts: Parts,
    /// What stages printed.
    pub outputs: Arc<OutputDir>,
}

impl AtRest {
    /// Opens a data folder and leaves its runs and its proxy as they are.
    ///
    /// # Errors
    ///
    /// [`ComposeError`], one message that says what to do.
    pub async fn open(data: PathBuf, store: Options) -> Result<Self, ComposeError> {
        let Opened { store, outputs, report } = open_folder(data.clone(), store).await?;
        if let Some(damage) = &report.damage {
            return Err(ComposeError::Damaged { folder: data, damage: damage.to_string() });
        }
        let data = absolute(&data);
        let proxy_socket = data.join("proxy").join(ADMIN_SOCKET);
        let secrets = Secrets::from_process(None)?;
        let executor = FlaskStages::new(FlaskStagesConfig { data, secrets, proxy_socket, docker: None })?;
        let parts = Parts {
            store,
            executor: Arc::new(executor),
            outputs: Arc::clone(&outputs) as _,
            clock: Arc::new(SystemClock),
        };
        Ok(Self { parts, outputs })
    }
}

/// Returns where the traffic comes in: where the proxy that runs has it, or had it last.
pub(crate) async fn usual_address(proxy_dir: &Path) -> SocketAddr {
    if let Ok(info) = ProxyClient::in_dir(proxy_dir).info().await {
        return info.listen;
    }
    let last = std::fs::read_to_string(proxy_dir.join(LAST_ADDRESS));
    last.ok().and_then(|address| address.trim().parse().ok()).unwrap_or(PROXY_LISTEN)
}

/// Returns what is wanted of the proxy, and remembers what was given.
fn edge_of(proxy_dir: &Path, wish: EdgeWish) -> Edge {
    let path = proxy_dir.join(LAST_EDGE);
    match wish {
        EdgeWish::AsBefore => {
            let last = std::fs::read(path).ok();
            last.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
        }
        EdgeWish::Given(mut edge) => {
            if let Some(tls) = &mut edge.tls {
                tls.certs = absolute(&tls.certs);
            }
            // A path need not be UTF-8, and JSON has to be.
            let text = serde_json::to_vec(&edge).map_err(std::io::Error::from);
            let made = std::fs::create_dir_all(proxy_dir);
            let written = made.and(text).and_then(|text| std::fs::write(path, text));
            if let Err(error) = written {
                tracing::warn!(%error, "how the proxy is to be started could not be written down for the next start");
            }
            edge
        }
    }
}

/// A convenience, so a disk that refuses it is no reason to stop.
fn remember_address(proxy_dir: &Path, listen: SocketAddr) {
    if let Err(error) = std::fs::write(proxy_dir.join(LAST_ADDRESS), format!("{listen}\n")) {
        tracing::warn!(%error, "the proxy's address could not be written down for the next start");
    }
}

/// Reading a long log back is no work for a thread that others wait for.
async fn open_folder(data: PathBuf, options: Options) -> Result<Opened, ComposeError> {
    let opening = tokio::task::spawn_blocking(move || DataDir::open(data, &options));
    match opening.await {
        Ok(opened) => Ok(opened?),
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

/// Containers and a proxy with another current folder must find what we mean.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
