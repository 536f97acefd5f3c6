//! The command line: what can be asked, and how it is explained.
//!
//! Secrets are never taken here: a process list shows every argument.

mod audit;
mod control;
mod init;
mod installation;
mod keeping;
mod secret;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use ipnet::IpNet;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_stages::secrets::KEY_VARIABLE;

pub use audit::{ExportArgs, ExportFormat, ReplayArgs, VerifyArgs};
pub use control::{
    AbortArgs, ApproveArgs, CancelArgs, HoldArgs, PauseArgs, PromoteArgs, RejectArgs, ReleaseArgs,
    ResumeArgs, RetryArgs, RollbackArgs, SkipArgs,
};
pub use init::InitArgs;
pub use installation::{
    AppAddArgs, AppArgs, AppCommand, ForgeArgs, ForgeName, JsonArgs, ScopeName, TokenArgs, TokenCommand,
};
pub use keeping::{BackupArgs, PruneArgs, RestoreArgs};
pub use secret::{
    SecretArgs, SecretCommand, SecretImportArgs, SecretListArgs, SecretRekeyArgs, SecretRmArgs, SecretSetArgs,
};

use crate::commands::hook::HookArgs;
use crate::commands::serve::ServeArgs;
use crate::logging::{LogFormat, log_filter};
use crate::proxy::TlsOptions;

/// Takes a Flask app from git push to live, and remembers how.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Data folder: the log, what stages printed, work files. Default: ~/.local/share/landfall
    #[arg(long, global = true, env = "LANDFALL_DATA", value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(help_heading = EVERYWHERE, hide_env_values = true)]
    pub data: Option<PathBuf>,
    /// Ask this server instead of a data folder. Its token is read from LANDFALL_TOKEN
    #[arg(long, global = true, env = "LANDFALL_SERVER", value_name = "URL")]
    #[arg(help_heading = EVERYWHERE, hide_env_values = true)]
    pub server: Option<String>,
    /// File with the certificate (PEM) of the authority that signed the server's, beside those that the
    /// system knows
    #[arg(long, global = true, env = "LANDFALL_SERVER_CA", value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = EVERYWHERE, hide_env_values = true)]
    pub server_ca: Option<PathBuf>,
    /// Log more to stderr; twice for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = EVERYWHERE)]
    pub verbose: u8,
    /// What is logged: debug,hyper=warn
    #[arg(long, global = true, env = "LANDFALL_LOG", value_name = "FILTER", value_parser = log_filter)]
    #[arg(help_heading = EVERYWHERE, hide_env_values = true)]
    pub log_filter: Option<String>,
    /// How the log is written: for people, or a JSON object a line
    #[arg(long, global = true, env = "LANDFALL_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    #[arg(help_heading = EVERYWHERE, hide_env_values = true, default_value_t = LogFormat::Pretty)]
    #[arg(hide_default_value = true)]
    pub log_format: LogFormat,
}

/// The heading of the options that every command takes.
const EVERYWHERE: &str = "Options of every command";

impl Global {
    /// Returns what must be added to a command so that it finds the same log: ` --data DIR`, or nothing.
    pub fn flags(&self) -> String {
        let from_environment = |name, value: &str| std::env::var_os(name).is_some_and(|set| set == value);
        let flag = |name: &str, variable, value: &str| match from_environment(variable, value) {
            true => String::new(),
            false => format!(" --{name} {value}"),
        };
        match (&self.server, &self.data) {
            (Some(server), _) => flag("server", "LANDFALL_SERVER", server),
            (None, Some(data)) => flag("data", "LANDFALL_DATA", &data.display().to_string()),
            (None, None) => String::new(),
        }
    }
}

const LONG_ABOUT: &str = "\
Takes a Flask app from git push to live, and remembers how.

Landfall runs the tests of a commit, builds its image, pushes it to a registry, starts it beside the
version that serves, checks it there, and only then sends it traffic. Red tests stop the run; a red
check rolls the deploy back. Every step is an event in a log, so a run outlives a crash of the engine
and can be replayed for as long as the log is kept.";

const AFTER_HELP: &str = "\
A RUN is given by its id, by the short form that `landfall runs` prints, by any beginning or end of
its id that no other run shares, or as `last`.

Exit codes:
  0   done; for `run` and `rollback`: Live
  1   Failed: the run stopped before its deploy
  2   RolledBack: the deploy was undone
  3   parked: the run waits for a person
  64  wrong usage                 65  a history does not verify
  66  nothing of that name        69  a log, server or repository can't be reached
  77  refused, with the reason    130 left while the run went on

Examples:
  landfall run                    deploy HEAD of the repository in this folder
  landfall serve                  take `git push`, and answer on http://127.0.0.1:7070
  landfall runs --app shop        list the runs of an app
  landfall replay last            what happened in the last run, step by step, verified";

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deploy HEAD of a git repository, and show how it goes.
    Run(RunArgs),
    /// Write down what is guessed of an app that has no configuration.
    Init(InitArgs),
    /// Take `git push`, answer over HTTP, and drive the runs.
    Serve(Box<ServeArgs>),
    /// List runs, newest first.
    Runs(RunsArgs),
    /// Show what is known about a run, and what it waits for.
    Show(ShowArgs),
    /// Show what the stages of a run printed.
    Logs(LogsArgs),
    /// Replay a run from its log: the execution table, the variable tracker, and whether it verifies.
    Replay(ReplayArgs),
    /// Verify the whole log, by itself and by the checkpoints that were signed of it.
    Verify(VerifyArgs),
    /// Export a run from the log: SLSA provenance, an in-toto test result, or all events.
    Export(ExportArgs),
    /// Stop a run; from its deploy on that means to roll it back.
    Cancel(CancelArgs),
    /// Try a parked run again where it stopped, or do one that is over again from a stage on.
    Retry(RetryArgs),
    /// Let a deploy begin that waits to be approved.
    Approve(ApproveArgs),
    /// Fail a run whose deploy waits to be approved.
    Reject(RejectArgs),
    /// Let a parked run go on without the stage that it stopped at.
    Skip(SkipArgs),
    /// Give a parked run up; from its deploy on that means to roll it back.
    Abort(AbortArgs),
    /// Make a former release of an app live again.
    Rollback(RollbackArgs),
    /// Make a release of one environment live in another, as it is.
    Promote(PromoteArgs),
    /// Let no run of an app begin to deploy, until it is resumed.
    Pause(PauseArgs),
    /// Let the runs of a paused app deploy again.
    Resume(ResumeArgs),
    /// Keep a commit of an app from being deployed.
    Hold(HoldArgs),
    /// Let a held commit of an app be deployed again.
    Release(ReleaseArgs),
    /// Make apps known: where their commits come from, and what starts a run.
    App(AppArgs),
    /// Hand out, list and revoke the tokens that open the server.
    Token(TokenArgs),
    /// List what was decided about apps, tokens, secrets, pauses and holds: when, and by whom.
    Ledger(JsonArgs),
    /// Keep the secrets of an app: sealed, for its containers, and shown to nobody.
    Secret(SecretArgs),
    /// Give up what is old: outputs, and images that no release needs.
    Prune(PruneArgs),
    /// Copy the log and the outputs into one file, beside a running server, and verify it.
    Backup(BackupArgs),
    /// Restore a backup into a new data folder.
    Restore(RestoreArgs),
    /// Carry the traffic of the apps. The engine starts this by itself.
    Proxy(ProxyArgs),
    /// Run by git on the server, never by hand.
    #[command(hide = true)]
    Hook(HookArgs),
    /// Print the version, and what it found of Docker.
    Version(VersionArgs),
}

/// Deploy HEAD of a git repository, and show how it goes.
#[derive(Args, Debug)]
#[command(after_help = RUN_HELP)]
pub struct RunArgs {
    /// The working copy.
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub path: PathBuf,
    /// Name of the app. Default: the `service` in landfall.toml, else the folder's name.
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Environment to deploy to. Default: the one whose `branches` in landfall.toml name this branch, else production.
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Deploy a commit that is held since it was rolled back.
    #[arg(long)]
    pub release_hold: bool,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
    /// Print each event as JSON, one a line, instead of the picture.
    #[arg(long)]
    pub json: bool,
}

const RUN_HELP: &str = "\
What runs is the commit, not the files of the working copy: what is not committed is said and left out.
When a server has the data folder, the run is done by that server and followed from here.

Ctrl-C cancels the run: it fails, or is rolled back if its deploy had begun. A second Ctrl-C leaves
at once; the run then goes on when an engine next starts on the data folder.

Exit codes: 0 Live, 1 Failed, 2 RolledBack, 3 parked, 130 left while it went on.

Examples:
  landfall run                          the repository in this folder
  landfall run ~/src/shop --env staging
  landfall run --json | jq .event.type  the events as they happen";

/// List runs, newest first.
#[derive(Args, Debug)]
pub struct RunsArgs {
    /// Only runs of this app.
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Only runs in this state: pushed, tested, built, image_pushed, deployed, smoked, live, failed or
    /// rolled_back.
    #[arg(long, value_parser = state)]
    pub state: Option<RunState>,
    /// Only runs that are not over.
    #[arg(long)]
    pub open: bool,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u16,
    /// Print JSON, one run a line.
    #[arg(long)]
    pub json: bool,
}

/// Show what is known about a run, and what it waits for.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Print the folded run as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Show what the stages of a run printed.
#[derive(Args, Debug)]
#[command(after_help = LOGS_HELP)]
pub struct LogsArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Only this stage: checkout, test, build, push_image, release_command, deploy, smoke, go_live,
    /// public_smoke or rollback.
    #[arg(long, value_parser = output_name)]
    pub stage: Option<String>,
    /// Go on until the run is over.
    #[arg(short, long)]
    pub follow: bool,
}

const LOGS_HELP: &str = "\
Secrets were masked before anything was written.

Examples:
  landfall logs last --stage test
  landfall logs last -f";

/// How to reach the world, when no server is running.
#[derive(Args, Clone, Debug, Default)]
pub struct World {
    /// Address at which the apps are reached. Default: the one they have, or had last; else 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR")]
    pub proxy_listen: Option<SocketAddr>,
    /// File with secrets, NAME=value a line. Secrets are also read from the environment.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secrets: Option<PathBuf>,
    /// File with the key of the secrets that were set. Default: ~/.config/landfall/vault.key (root:
    /// /etc/landfall/vault.key)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(env = KEY_VARIABLE, hide_env_values = true)]
    pub vault_key: Option<PathBuf>,
}

/// Carry the traffic of the apps.
#[derive(Args, Debug)]
pub struct ProxyArgs {
    /// Folder of the route table and of the socket by which the proxy is steered.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Address for the traffic.
    #[arg(long, value_name = "ADDR", default_value_t = crate::compose::PROXY_LISTEN)]
    pub listen: SocketAddr,
    /// Address for encrypted traffic. Default: none is taken.
    #[arg(long, value_name = "ADDR", requires = "certs")]
    pub tls_listen: Option<SocketAddr>,
    /// Folder with the certificates of the hosts: HOST.crt with HOST.key, or HOST/fullchain.pem with
    /// HOST/privkey.pem. They are read again when they change.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "tls_listen")]
    pub certs: Option<PathBuf>,
    /// Send plain requests to the encrypted address, for hosts that have a certificate.
    #[arg(long, requires = "tls_listen")]
    pub https_redirect: bool,
    /// Network of a load balancer whose X-Forwarded headers are true, beside this machine itself. Can be
    /// given several times.
    #[arg(long = "trust", value_name = "NET")]
    pub trusts: Vec<IpNet>,
}

impl ProxyArgs {
    /// Returns how encrypted traffic is taken, if it is.
    pub fn tls(&self) -> Option<TlsOptions> {
        let (listen, certs) = self.tls_listen.zip(self.certs.clone())?;
        Some(TlsOptions { listen, certs, redirect: self.https_redirect })
    }
}

/// Print the version.
#[derive(Args, Debug)]
pub struct VersionArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn state(text: &str) -> Result<RunState, String> {
    let wanted = text.replace('-', "_").to_lowercase();
    serde_json::from_value(serde_json::Value::String(wanted))
        .or_else(|_| {
            RunState::ALL.into_iter().find(|state| state.label().eq_ignore_ascii_case(text)).ok_or(())
        })
        .map_err(|()| {
            "expected pushed, tested, built, image_pushed, deployed, smoked, live, failed or rolled_back"
                .into()
        })
}

fn output_name(text: &str) -> Result<String, String> {
    let name = text.replace('-', "_");
    let names = || Stage::ALL.into_iter().map(Stage::name).chain(["rollback"]);
    match names().any(|known| known == name) {
        true => Ok(name),
        false => Err(format!("expected one of {}", names().collect::<Vec<_>>().join(", "))),
    }
}
