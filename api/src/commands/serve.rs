//! `landfall serve`: engine, HTTP API and git remote, until it is told to stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use ipnet::IpNet;
use landfall_stages::secrets::KEY_VARIABLE;
use landfall_store::DataDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::source::data_folder;
use super::stdout;
use super::telling::{Telling, TellingArgs};
use super::world::said;
use crate::checks;
use crate::cli::Global;
use crate::compose::{ComposeOptions, Edge, EdgeWish, Landfall};
use crate::data_dir::{ServerNote, TOKEN_VARIABLE, Token, server_token};
use crate::fault::Fault;
use crate::git_remote::HookError;
use crate::limits::LimitArgs;
use crate::otlp::Exporter;
use crate::proxy::TlsOptions;
use crate::server::{App, Checks, PROTOCOLS, Server, Vitals, serve_app};
use crate::server_config::{SERVER_CONFIG, ServerConfig};
use crate::service;
use crate::tls::{Acceptor, Certificates, Origin};

/// The exit code of a server whose log takes no more events: a supervisor may start it again.
const HALTED: u8 = 70;

/// Take `git push`, answer over HTTP, and drive the runs.
#[derive(Args, Debug)]
#[command(after_help = SERVE_HELP)]
pub struct ServeArgs {
    /// Address of the HTTP API and the git remote.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Certificate (PEM) with which the API and the git remote are encrypted; it is read again when it changes.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Address at which /metrics, /healthz and /readyz are answered to whoever can reach it. Without it
    /// /metrics takes the token.
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,
    /// Address at which the apps are reached. Default: the one they have, or had last; else 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR")]
    pub proxy_listen: Option<SocketAddr>,
    /// Address at which the apps are reached encrypted. Default: nowhere.
    #[arg(long, value_name = "ADDR", requires = "proxy_certs")]
    pub proxy_tls_listen: Option<SocketAddr>,
    /// Folder with the certificates of the apps' hosts: HOST.crt with HOST.key, or HOST/fullchain.pem with
    /// HOST/privkey.pem. They are read again when they change.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "proxy_tls_listen")]
    pub proxy_certs: Option<PathBuf>,
    /// Send plain requests for the apps to the encrypted address, for hosts that have a certificate.
    #[arg(long, requires = "proxy_tls_listen")]
    pub proxy_https_redirect: bool,
    /// Network of a load balancer whose X-Forwarded headers the apps may believe, beside this machine
    /// itself. Can be given several times.
    #[arg(long = "proxy-trust", value_name = "NET")]
    pub proxy_trusts: Vec<IpNet>,
    /// Run tests on this machine for apps that say `[test] host = true`. Whoever can push to one can then do here whatever
    /// the server's user can.
    #[arg(long)]
    pub allow_host_tests: bool,
    /// File with secrets, NAME=value a line. Secrets are also read from the environment.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secrets: Option<PathBuf>,
    /// File with the key of the secrets that were set. Default: the systemd credential landfall.key, else
    /// ~/.config/landfall/vault.key (root: /etc/landfall/vault.key), which the first secret makes.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(env = KEY_VARIABLE, hide_env_values = true)]
    pub vault_key: Option<PathBuf>,
    /// Start no traffic proxy: adopt the one that somebody else keeps running on DATA/proxy, such as systemd.
    #[arg(long, conflicts_with_all = ["proxy_listen", "proxy_tls_listen", "proxy_trusts"])]
    pub adopt_proxy: bool,
    /// The data folder was restored from a backup, and no other server works on its log any more.
    #[arg(long)]
    pub take_over: bool,
    /// File with the token that opens the API. Default: $LANDFALL_TOKEN, else DATA/token, which is made.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// File with the apps of this server, `[apps.NAME]` with the fields of `PUT /v1/apps/NAME`.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Who is told what.
    #[command(flatten)]
    pub telling: TellingArgs,
    /// How much is taken on.
    #[command(flatten)]
    pub limits: LimitArgs,
}

const SERVE_HELP: &str = "\
The first push to http://…/git/APP.git makes the app. Every run that was open when the server last ended
goes on. SIGTERM and Ctrl-C end it in order; the apps' traffic is carried on by the proxy process.

To be reached from elsewhere, give it a certificate (--tls-cert, --tls-key), or put a proxy with HTTPS in
front of it. Where runs are to be seen as traces, OTEL_EXPORTER_OTLP_ENDPOINT names their collector.

Exit codes: 0 stopped, 70 the event log takes no more events, 69 something was not to be had.

Examples:
  landfall serve --secrets /etc/landfall/secrets.env
  git remote add live http://landfall:$(cat ~/.local/share/landfall/token)@127.0.0.1:7070/git/shop.git
  git push live main";

/// Serves until SIGTERM, SIGINT, or the end of the log's health.
///
/// # Errors
///
/// [`Fault`] when the port, the data folder or the proxy can't be had.
pub async fn run(global: &Global, args: ServeArgs) -> Result<u8, Fault> {
    let signals = Signals::listen()?;
    raise_open_files();
    let data = data_folder(global)?;
    let exe =
        std::env::current_exe().map_err(|error| Fault::io("could not tell which program this is", error))?;
    let config = args.config.as_deref().map(ServerConfig::read).transpose().map_err(not_started)?;
    // Before anything else: a port that is taken must not have started a proxy.
    let server = doors(&args).await?;
    let options = ComposeOptions {
        data: data.clone(),
        secrets: args.secrets.clone(),
        vault_key: args.vault_key.clone(),
        proxy_listen: args.proxy_listen,
        adopt_proxy: args.adopt_proxy,
        host_tests: args.allow_host_tests,
        edge: EdgeWish::Given(args.edge()),
        exe: exe.clone(),
        limits: args.limits.engine(),
        store: args.limits.store(),
    };
    if args.take_over && DataDir::take_over(&data).map_err(not_started)? {
        said(
            "the restored folder is taken over; runs that were open go on, containers of runs that are not in its log are removed",
        );
    }
    args.telling.check()?;
    let landfall = Landfall::open(options).await.map_err(not_started)?;
    let served = serve(&landfall, server, &data, &exe, &args, config.unwrap_or_default(), signals).await;
    landfall.shutdown().await;
    served
}

/// Takes the ports. A certificate that can't be used is found here.
async fn doors(args: &ServeArgs) -> Result<Server, Fault> {
    let mut server = Server::bind(args.listen).await.map_err(not_started)?;
    if let Some((cert, key)) = args.tls_cert.clone().zip(args.tls_key.clone()) {
        let certificates = Certificates::open(Origin::Pair { cert, key }).map_err(not_started)?;
        let acceptor = Acceptor::new(certificates, &PROTOCOLS);
        server = server.encrypted(acceptor).await.map_err(not_started)?;
    }
    match args.metrics_listen {
        Some(address) => server.monitored(address).await.map_err(not_started),
        None => Ok(server),
    }
}

impl ServeArgs {
    fn edge(&self) -> Edge {
        let tls = self.proxy_tls_listen.zip(self.proxy_certs.clone());
        let redirect = self.proxy_https_redirect;
        let tls = tls.map(|(listen, certs)| TlsOptions { listen, certs, redirect });
        Edge { tls, trusts: self.proxy_trusts.clone() }
    }
}

async fn serve(
    landfall: &Landfall,
    server: Server,
    data: &Path,
    exe: &Path,
    args: &ServeArgs,
    config: ServerConfig,
    mut signals: Signals,
) -> Result<u8, Fault> {
    let given = std::env::var(TOKEN_VARIABLE).ok();
    let (token, origin) = server_token(data, given, args.token_file.as_deref()).map_err(not_started)?;
    let exporter = Exporter::from_environment(landfall.engine.store(), data).map_err(not_started)?;
    let certificates = server.acceptor().map(|acceptor| Arc::clone(acceptor.certificates()));
    let local = Token::random();
    let stop = CancellationToken::new();
    let telling = Telling::begin(landfall, data, &args.telling, &stop).await;
    let (engine, outputs, secrets) =
        (landfall.engine.clone(), Arc::clone(&landfall.outputs), landfall.secrets.clone());
    let vitals = vitals(landfall, certificates.clone());
    let app = App::new(engine, outputs, data, exe, vec![token], secrets, vitals).map_err(not_started)?;
    let app = Arc::new(App { local: local.clone(), statuses: telling.statuses(), stop: stop.clone(), ..app });
    for (name, known) in config.apps {
        app.registers(&name, known, SERVER_CONFIG).await.map_err(|error| {
            Fault::Usage(format!(
                "[apps.{name}] of {SERVER_CONFIG} can't be used: {}",
                error.problem().detail
            ))
        })?;
    }
    let for_commands = format!("http://{}", on_this_machine(server.address_for_commands()));
    let _note = ServerNote::write(&for_commands, &local, data).map_err(not_started)?;
    let greeting = greeting(&server, &origin, data, landfall);
    let is_encrypted = certificates.is_some();
    if let Some(certificates) = certificates {
        tokio::spawn(certificates.follow(stop.clone()));
    }
    let tracing = exporter.map(|exporter| tokio::spawn(exporter.run(stop.clone())));
    let mut serving = tokio::spawn(serve_app(server, app));
    // Whoever reads stdout may have gone; that is no reason not to serve.
    let _ = stdout::print(&greeting);
    warn_when_open_to_others(args.listen, is_encrypted);
    service::ready();
    let code = tokio::select! {
        () = signals.any() => 0,
        reason = landfall.engine.halted() => {
            said(&format!("the event log takes no more events, so nothing can go on: {reason}"));
            said("free the disk or mend it, then start again: what was recorded goes on, and nothing is done twice");
            HALTED
        }
        ended = &mut serving => {
            stop.cancel();
            telling.finished().await;
            return outcome(ended, 0);
        }
    };
    service::stopping();
    tracing::info!("stopping: no one new is served, answers are finished");
    stop.cancel();
    let ended = async {
        let ended = (&mut serving).await;
        if let Some(tracing) = tracing {
            // What it has not sent is sent after the next start.
            let _ = tracing.await;
        }
        ended
    };
    tokio::select! {
        ended = async { (ended.await, telling.finished().await) } => outcome(ended.0, code),
        () = signals.any() => {
            said("asked twice: stopping at once");
            Ok(code)
        }
    }
}

fn outcome(ended: Result<Result<(), HookError>, JoinError>, code: u8) -> Result<u8, Fault> {
    match ended {
        Ok(Ok(())) => Ok(code),
        Ok(Err(error)) => Err(not_started(error)),
        Err(broken) => Err(Fault::unavailable("the server broke off", broken)),
    }
}

fn vitals(landfall: &Landfall, certificates: Option<Arc<Certificates>>) -> Vitals {
    let checks = checks::all(&landfall.vitals, landfall.engine.store(), certificates.clone());
    Vitals {
        metrics: Arc::clone(&landfall.metrics),
        checks: Checks::new(checks),
        proxy: Some(landfall.proxy_client.clone()),
        certificates,
    }
}

fn greeting(server: &Server, token: &str, data: &Path, landfall: &Landfall) -> String {
    let scheme = if server.acceptor().is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", on_this_machine(server.address()));
    let metrics =
        server.address_for_monitoring().map(|address| format!("  metrics  http://{address}/metrics\n"));
    let encrypted = landfall.proxy.tls.as_ref().map(|tls| format!(" and https://{}", tls.listen));
    // A variable is one already; a file is named and not shown, since people keep what terminals print.
    let in_a_shell =
        if token.starts_with('$') { token.to_owned() } else { format!("$(cat {})", quoted(token)) };
    let with_token = url.replacen("://", &format!("://landfall:{in_a_shell}@"), 1);
    format!(
        "landfall {} serves {url}\n  \
         data     {}\n  \
         token    {token}\n  \
         push to  {url}/git/APP.git  (any user name, the token as password)\n\
         {}  traffic  http://{}{}\n\n\
         in the folder of an app:\n  \
         git remote add live \"{with_token}/git/APP.git\"\n  \
         git push live HEAD\n",
        env!("CARGO_PKG_VERSION"),
        data.display(),
        metrics.unwrap_or_default(),
        landfall.proxy.listen,
        encrypted.unwrap_or_default(),
    )
}

fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn warn_when_open_to_others(listen: SocketAddr, is_encrypted: bool) {
    if !listen.ip().is_loopback() && !is_encrypted {
        said(&format!(
            "warning: {listen} can be reached from other machines, and nothing is encrypted: whoever listens in has \
             the token. Give it a certificate with --tls-cert, put a proxy with HTTPS in front, or listen on 127.0.0.1"
        ));
    }
}

/// Returns where clients on this machine reach what listens there.
fn on_this_machine(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// Lets this process have as many files open as it may: each client and each run needs some, and 1,024 is what most
/// systems begin with.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = ?limit.current, "the limit of open files stays as it is");
    }
}

fn not_started(error: impl Into<landfall_engine::ports::BoxError>) -> Fault {
    Fault::unavailable("the server could not be started", error)
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Fault> {
        let listen = |kind| signal(kind).map_err(|error| Fault::io("could not listen for signals", error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
