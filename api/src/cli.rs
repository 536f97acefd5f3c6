//! The command line: what can be asked, and how it is explained.
//!
//! Secrets are never taken here: a process list shows every argument.

mod installation;
mod secret;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueHint};
use ipnet::IpNet;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_stages::secrets::KEY_VARIABLE;

pub use installation::{
    AppAddArgs, AppArgs, AppCommand, ForgeArgs, ForgeName, JsonArgs, ScopeName, TokenArgs, TokenCommand,
};
pub use secret::{
    SecretArgs, SecretCommand, SecretImportArgs, SecretListArgs, SecretRekeyArgs, SecretRmArgs, SecretSetArgs,
};

use crate::commands::hook::HookArgs;
use crate::commands::serve::ServeArgs;
use crate::logging::{LogFormat, log_filter};
use crate::proxy::TlsOptions;
use crate::retention::{KEEP, OLDER_THAN, span_ms};

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

/// Replay a run from its log.
#[derive(Args, Debug)]
#[command(after_help = REPLAY_HELP)]
pub struct ReplayArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Show the run as it was after this event.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    pub at: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// List every event, too.
    #[arg(long)]
    pub events: bool,
}

const REPLAY_HELP: &str = "\
Nothing is done again and nothing is changed: the log is read, its hashes are computed anew, and each
event is checked against the table of legal moves. It works beside a running server and on a copy
of the data folder. The exit code is 65 when anything does not verify.

Examples:
  landfall replay last
  landfall replay last --at 7             as it was after its seventh event
  landfall replay 9f3e1c2a7b4d --events
  landfall replay last --data /backup/landfall";

/// Verify the whole log.
#[derive(Args, Debug)]
#[command(after_help = VERIFY_HELP)]
pub struct VerifyArgs {
    /// A checkpoint that was kept elsewhere, to hold the log against. Can be given several times.
    #[arg(long = "checkpoint", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub checkpoints: Vec<PathBuf>,
    /// The fingerprint of the key that must have signed. Can be given several times. Default: whichever
    /// key signed the checkpoints that were given, if any were.
    #[arg(long = "key", value_name = "SHA256", value_parser = fingerprint)]
    pub keys: Vec<String>,
    /// Print the public key that signs the checkpoints, and its fingerprint, and do nothing else.
    #[arg(long, conflicts_with_all = ["checkpoints", "keys", "json"])]
    pub show_key: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const VERIFY_HELP: &str = "\
Every checksum, hash, number and move of every event is checked. When a run ends, the head of the log is
signed and written to DATA/checkpoints. Keep copies of those files, and of the key's fingerprint, where
nobody can write who can write to the data folder: they alone show that the end of a log was cut off,
or that all of it was written anew. The exit code is 65 when anything differs.

It works beside a running server and on a copy of the data folder.

Examples:
  landfall verify
  landfall verify --checkpoint /safe/00000000000000004711.json
  landfall verify --data /backup/landfall --key sha256:3f2a…
  landfall verify --show-key";

/// Export a run from the log.
#[derive(Args, Debug)]
#[command(after_help = EXPORT_HELP)]
pub struct ExportArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// What to export.
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Print the statement itself, without the envelope that signs it.
    #[arg(long)]
    pub unsigned: bool,
}

/// What a run is exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// SLSA v1 provenance of the image that the run pushed
    Slsa,
    /// in-toto test result of the commit, and of the image that was built from it
    InToto,
    /// Every event with its hash and stored text, the checkpoint that covers them, and the verification
    Json,
}

const EXPORT_HELP: &str = "\
The log is verified first, and nothing is exported as a statement from one that does not verify. Both
statements name the events that they stand on (tests green, image pushed, deploy started), with their
places in the log, their hashes and their stored texts, and the signed checkpoint that covers them. They
are wrapped in a DSSE envelope that is signed with the key of the checkpoints.

A run that pushed no image has no provenance, and one whose tests gave no answer or were skipped has no
test result: that is said, with exit code 77. An open run is tied to the head of the log as it is now.

Examples:
  landfall export last --format slsa > provenance.dsse.json
  landfall export last --format in-toto | jq -r .payload | base64 -d | jq .predicate.result
  landfall export last --format json | jq .tests_green_before_deploy";

/// Stop a run.
#[derive(Args, Debug)]
pub struct CancelArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Why, for the log.
    #[arg(long, default_value = "no reason was given")]
    pub reason: String,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

/// Try a parked run again where it stopped, or do one that is over again.
#[derive(Args, Debug)]
#[command(after_help = RETRY_HELP)]
pub struct RetryArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Do a run that is over again, as a new one, from this stage on: checkout, test, build, push_image,
    /// release_command or deploy.
    #[arg(long, value_name = "STAGE", value_parser = stage)]
    pub from: Option<Stage>,
    /// Do a commit again that is held since it was rolled back.
    #[arg(long, requires = "from")]
    pub release_hold: bool,
    /// Print each event as JSON, one a line, instead of the picture.
    #[arg(long, requires = "from")]
    pub json: bool,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

const RETRY_HELP: &str = "\
Without --from, a parked run goes on where it stopped. With it, a run that is over is done again from that
stage on, with the configuration, the test result and the image that it had: `--from deploy` deploys its
image by digest. What is gone is made again: the commit is laid out anew for tests and builds, and
`--from push_image` builds first, since the image on this machine was swept with its run.

A deploy that must be approved is asked for again.

Examples:
  landfall retry last                   where it is parked
  landfall retry 9f3e1c2a7b4d --from build";

/// Let a deploy begin that waits to be approved.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

/// Fail a run whose deploy waits to be approved.
#[derive(Args, Debug)]
pub struct RejectArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Why, for the log.
    #[arg(long, default_value = "no reason was given")]
    pub reason: String,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

/// Make a release of one environment live in another.
#[derive(Args, Debug)]
#[command(after_help = PROMOTE_HELP)]
pub struct PromoteArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// The environment that has the release.
    #[arg(long, value_name = "NAME")]
    pub from: String,
    /// The environment that is to have it.
    #[arg(long, value_name = "NAME")]
    pub to: String,
    /// The release, by its run, its commit or its digest. Default: the one that is live.
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<String>,
    /// Why, for the log.
    #[arg(long, default_value = "no reason was given")]
    pub reason: String,
    /// Print each event as JSON, one a line, instead of the picture.
    #[arg(long)]
    pub json: bool,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

const PROMOTE_HELP: &str = "\
The image is deployed by its digest: nothing is tested or built again. Its configuration is what its own
commit says of the other environment, in [env.NAME] of landfall.toml.

Exit codes: 0 Live, 1 Failed, 2 RolledBack, 3 parked or waiting to be approved.

Example:
  landfall promote shop --from staging --to production";

/// Let no run of an app begin to deploy.
#[derive(Args, Debug)]
#[command(after_help = PAUSE_HELP)]
pub struct PauseArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Environment.
    #[arg(long, value_name = "NAME", default_value = "production")]
    pub env: String,
    /// Why, for the log.
    #[arg(long, default_value = "no reason was given")]
    pub reason: String,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

const PAUSE_HELP: &str = "\
Pushes are taken, tested, built and pushed to the registry, and wait before their deploy; of one branch the
newest goes on when the app is resumed. What is being deployed is finished, and what serves goes on serving.
`landfall rollback` works all the same.";

/// Let the runs of a paused app deploy again.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Environment.
    #[arg(long, value_name = "NAME", default_value = "production")]
    pub env: String,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

/// Keep a commit of an app from being deployed.
#[derive(Args, Debug)]
pub struct HoldArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// The commit: its full hash, or the beginning of one that the app had a run of.
    #[arg(value_name = "SHA")]
    pub commit: String,
    /// Environment.
    #[arg(long, value_name = "NAME", default_value = "production")]
    pub env: String,
    /// Why, for the log.
    #[arg(long, default_value = "no reason was given")]
    pub reason: String,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

/// Let a held commit of an app be deployed again.
#[derive(Args, Debug)]
pub struct ReleaseArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// The commit, by its hash or the beginning of it.
    #[arg(value_name = "SHA")]
    pub commit: String,
    /// Environment.
    #[arg(long, value_name = "NAME", default_value = "production")]
    pub env: String,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

/// Let a parked run go on without the stage that it stopped at.
#[derive(Args, Debug)]
pub struct SkipArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Why, for the log: nobody saw the stage succeed.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub reason: String,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

/// Give a parked run up, and say why.
#[derive(Args, Debug)]
pub struct AbortArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Why, for the log.
    #[arg(long, default_value = "no reason was given")]
    pub reason: String,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

/// Make a former release of an app live again.
#[derive(Args, Debug)]
#[command(after_help = ROLLBACK_HELP)]
pub struct RollbackArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Environment.
    #[arg(long, value_name = "NAME", default_value = "production")]
    pub env: String,
    /// The release that is to be live, by its run, its commit or its digest. Default: the one before the live one.
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,
    /// Why, for the log.
    #[arg(long, default_value = "no reason was given")]
    pub reason: String,
    /// Print each event as JSON, one a line, instead of the picture.
    #[arg(long)]
    pub json: bool,
    /// How to reach the world, when no server is running.
    #[command(flatten)]
    pub world: World,
}

const ROLLBACK_HELP: &str = "\
The former image is in the registry, so nothing is tested or built again: it is started, checked and
given the traffic, as a run of its own.

Exit codes: 0 Live, 1 Failed, 2 RolledBack, 3 parked.";

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

/// Give up what is old: outputs, and images that no release needs.
#[derive(Args, Debug)]
#[command(after_help = PRUNE_HELP)]
pub struct PruneArgs {
    /// Only what closed runs printed that have not moved for so long.
    #[arg(long, value_name = "TIME", default_value = OLDER_THAN, value_parser = span)]
    pub older_than: String,
    /// Keep what the newest so many closed runs of each app and environment printed, however old they are.
    #[arg(long, value_name = "N", default_value_t = KEEP)]
    pub keep: usize,
    /// First copy the histories and outputs of these runs into a tar, and read it back.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub archive: Option<PathBuf>,
    /// Remove nothing; say what would be.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const PRUNE_HELP: &str = "\
The event log is never shortened: every run can be replayed for as long as the log is kept. What goes is
what old runs printed; when and how much is noted in its place, and the events keep its length and hash.

Never touched: what serves, the `retain` releases before it that `landfall rollback` can go back to, and
everything of runs that are open or parked. Images in the registry are the registry's.

A server that has the data folder does it; without one the folder is opened here, and no run is driven.

Examples:
  landfall prune --dry-run
  landfall prune --older-than 90d --keep 20 --archive /backup/landfall-2026.tar";

/// Copy the log and the outputs into one file.
#[derive(Args, Debug)]
#[command(after_help = BACKUP_HELP)]
pub struct BackupArgs {
    /// The file to make, or - for stdout. One that is there is replaced once the new one verifies.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Include the keys that sign the heads of the log. Keep such a backup like the keys themselves.
    #[arg(long)]
    pub with_keys: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const BACKUP_HELP: &str = "\
In it are all events that were durable when it began, what their stages printed, and the signed heads
of the log. It is read back, hash by hash, before it gets its name.

Not in it: tokens and secrets, the git repositories (a push brings them again), and the routes of the
traffic proxy (they go with the machine).

Examples:
  landfall backup /backup/landfall.tar
  landfall backup - | ssh elsewhere landfall restore - --data /srv/landfall";

/// Restore a backup into a new data folder.
#[derive(Args, Debug)]
#[command(after_help = RESTORE_HELP)]
pub struct RestoreArgs {
    /// The backup, or - for stdin.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// No other server works on this log any more, and none will: let one start on the restored folder.
    #[arg(long)]
    pub take_over: bool,
    /// Only verify the backup, and restore nothing.
    #[arg(long, conflicts_with = "take_over")]
    pub check: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const RESTORE_HELP: &str = "\
The folder (--data) must be empty or not there yet. All is restored and verified, or nothing is there.

The restored log is the same log as the one that it is a copy of. Two servers on it would undo each
other's work on one Docker engine: both go on with the same open runs, and each removes containers of
runs that it does not know. So no server starts on the folder until somebody has said, here or with
`landfall serve --take-over`, that the other one is gone. Reading it (`runs`, `show`, `replay`) is safe.

After a loss of the machine nothing serves until the next deploy; `landfall rollback APP --to RUN` makes
a release of the restored log live at once.

Examples:
  landfall restore /backup/landfall.tar --check
  landfall restore /backup/landfall.tar --data /srv/landfall
  landfall serve --data /srv/landfall --take-over";

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

fn span(text: &str) -> Result<String, String> {
    span_ms(text).map(|_| text.to_owned())
}

fn stage(text: &str) -> Result<Stage, String> {
    let from = || Stage::ALL.into_iter().filter(|stage| *stage <= Stage::Deploy);
    let wanted = text.replace('-', "_").to_lowercase();
    let found = from().find(|stage| stage.name() == wanted);
    let names = || from().map(Stage::name).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("expected one of {}", names()))
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

fn fingerprint(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text).to_lowercase();
    match hex.len() == 64 && hex.chars().all(|char| char.is_ascii_hexdigit()) {
        true => Ok(hex),
        false => {
            Err("expected sha256: and 64 hex digits, as `landfall verify --show-key` prints them".into())
        }
    }
}

fn output_name(text: &str) -> Result<String, String> {
    let name = text.replace('-', "_");
    let names = || Stage::ALL.into_iter().map(Stage::name).chain(["rollback"]);
    match names().any(|known| known == name) {
        true => Ok(name),
        false => Err(format!("expected one of {}", names().collect::<Vec<_>>().join(", "))),
    }
}
