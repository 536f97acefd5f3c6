//! `landfall serve`: engine, HTTP API and git remote, until it is told to stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use landfall_stages::secrets::KEY_VARIABLE;
use landfall_store::DataDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::source::data_folder;
use super::stdout;
use super::world::said;
use crate::cli::Global;
use crate::compose::{ComposeOptions, Landfall};
use crate::data_dir::{ServerNote, TOKEN_VARIABLE, Token, server_token};
use crate::fault::Fault;
use crate::git_remote::{GitRemote, HookError};
use crate::hooks::Hooks;
use crate::limits::LimitArgs;
use crate::server::{App, FailedLogins, Places, Server, serve_app};
use crate::server_config::{SERVER_CONFIG, ServerConfig};
use crate::service;
use crate::sources::Sources;

/// The exit code of a server whose log takes no more events: a supervisor may start it again.
const HALTED: u8 = 70;

/// Take `git push`, answer over HTTP, and drive the runs.
#[derive(Args, Debug)]
#[command(after_help = SERVE_HELP)]
pub struct ServeArgs {
    /// Address of the HTTP API and the git remote.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Address at which the apps are reached. Default: the one they have, or had last; else 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR")]
    pub proxy_listen: Option<SocketAddr>,
    /// File with secrets, NAME=value a line. Secrets are also read from the environment.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secrets: Option<PathBuf>,
    /// File with the key of the secrets that were set. Default: the systemd credential landfall.key, else
    /// ~/.config/landfall/vault.key (root: /etc/landfall/vault.key), which the first secret makes.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(env = KEY_VARIABLE, hide_env_values = true)]
    pub vault_key: Option<PathBuf>,
    /// Start no traffic proxy: adopt the one that somebody else keeps running on DATA/proxy, such as systemd.
    #[arg(long, conflicts_with = "proxy_listen")]
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
    /// How much is taken on.
    #[command(flatten)]
    pub limits: LimitArgs,
}

const SERVE_HELP: &str = "\
The first push to http://…/git/APP.git makes the app. Every run that was open when the server last ended
goes on. SIGTERM and Ctrl-C end it in order; the apps' traffic is carried on by the proxy process.

Nothing is encrypted: to be reached from elsewhere, put a proxy with HTTPS in front of it.

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
    let data = data_folder(global)?;
    let exe =
        std::env::current_exe().map_err(|error| Fault::io("could not tell which program this is", error))?;
    let config = args.config.as_deref().map(ServerConfig::read).transpose().map_err(not_started)?;
    // Before anything else: a port that is taken must not have started a proxy.
    let server = Server::bind(args.listen).await.map_err(not_started)?;
    let options = ComposeOptions {
        data: data.clone(),
        secrets: args.secrets.clone(),
        vault_key: args.vault_key.clone(),
        proxy_listen: args.proxy_listen,
        adopt_proxy: args.adopt_proxy,
        exe: exe.clone(),
        limits: args.limits.engine(),
        store: args.limits.store(),
    };
    if args.take_over && DataDir::take_over(&data).map_err(not_started)? {
        said(
            "the restored folder is taken over; runs that were open go on, containers of runs that are not in its log are removed",
        );
    }
    let landfall = Landfall::open(options).await.map_err(not_started)?;
    let served = serve(&landfall, server, &data, &exe, &args, config.unwrap_or_default(), signals).await;
    landfall.shutdown().await;
    served
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
    let local = Token::random();
    let stop = CancellationToken::new();
    let app = Arc::new(App {
        engine: landfall.engine.clone(),
        outputs: Arc::clone(&landfall.outputs),
        data: std::path::absolute(data).unwrap_or_else(|_| data.to_owned()),
        tokens: vec![token],
        local: local.clone(),
        failed_logins: FailedLogins::default(),
        secrets: landfall.secrets.clone(),
        git: GitRemote::prepare(data, exe).map_err(not_started)?,
        sources: Sources::new(data, landfall.secrets.clone()),
        hooks: Hooks::default(),
        places: Places::default(),
        stop: stop.clone(),
    });
    for (name, known) in config.apps {
        app.registers(&name, known, SERVER_CONFIG).await.map_err(|error| {
            Fault::Usage(format!(
                "[apps.{name}] of {SERVER_CONFIG} can't be used: {}",
                error.problem().detail
            ))
        })?;
    }
    let url = url_of(server.address());
    let _note = ServerNote::write(&url, &local, data).map_err(not_started)?;
    let mut serving = tokio::spawn(serve_app(server, app));
    // Whoever reads stdout may have gone; that is no reason not to serve.
    let _ = stdout::print(&greeting(&url, &origin, data, landfall));
    warn_when_open_to_others(args.listen);
    service::ready();
    let code = tokio::select! {
        () = signals.any() => 0,
        reason = landfall.engine.halted() => {
            said(&format!("the event log takes no more events, so nothing can go on: {reason}"));
            said("free the disk or mend it, then start again: what was recorded goes on, and nothing is done twice");
            HALTED
        }
        ended = &mut serving => return outcome(ended, 0),
    };
    service::stopping();
    tracing::info!("stopping: no one new is served, answers are finished");
    stop.cancel();
    tokio::select! {
        ended = &mut serving => outcome(ended, code),
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

fn greeting(url: &str, token: &str, data: &Path, landfall: &Landfall) -> String {
    format!(
        "landfall {} serves {url}\n  \
         data     {}\n  \
         token    {token}\n  \
         push to  {url}/git/APP.git  (any user name, the token as password)\n  \
         traffic  http://{}\n",
        env!("CARGO_PKG_VERSION"),
        data.display(),
        landfall.proxy.listen,
    )
}

fn warn_when_open_to_others(listen: SocketAddr) {
    if !listen.ip().is_loopback() {
        said(&format!(
            "warning: {listen} can be reached from other machines, and nothing is encrypted: whoever listens in has \
             the token. Put a proxy with HTTPS in front, or listen on 127.0.0.1"
        ));
    }
}

/// Returns where clients on this machine reach the server.
fn url_of(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
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
