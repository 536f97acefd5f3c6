//! What a person decides about runs, releases and lanes.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use landfall_engine::core::stage::Stage;

use super::World;

/// Stop a run.
#[derive(Args, Debug)]
pub struct CancelArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Why, for the log.
    #[arg(long, default_value = "no reason was given")]
    pub reason: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    #[arg(long)]
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
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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

fn stage(text: &str) -> Result<Stage, String> {
    let from = || Stage::ALL.into_iter().filter(|stage| *stage <= Stage::Deploy);
    let wanted = text.replace('-', "_").to_lowercase();
    let found = from().find(|stage| stage.name() == wanted);
    let names = || from().map(Stage::name).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("expected one of {}", names()))
}
