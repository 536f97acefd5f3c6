//! What can be asked about the installation: its apps and its tokens.

use clap::{ArgGroup, Args, Subcommand};
use landfall_engine::core::ledger::{ForgeKind, Scope};

/// Make apps known: where their commits come from, and what starts a run.
#[derive(Args, Debug)]
pub struct AppArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub command: AppCommand,
}

/// What can be asked about apps.
#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Make an app known, or replace what is known of it.
    Add(Box<AppAddArgs>),
    /// List the apps that were made known.
    List(JsonArgs),
    /// Show what is known of an app, as JSON.
    Show(AppNameArgs),
    /// Forget what an app was made known with: its forge is not heard and its URL not asked any more. What it serves
    /// goes on serving, and its runs stay in the log.
    Rm(AppNameArgs),
}

/// Make an app known, or replace what is known of it.
#[derive(Args, Debug)]
#[command(after_help = ADD_HELP, group = ArgGroup::new("source").required(true))]
pub struct AppAddArgs {
    /// Its name, which is also that of its git remote.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Fetch its commits from this URL, https or ssh.
    #[arg(long, value_name = "URL", group = "source")]
    pub git: Option<String>,
    /// Its commits are pushed to this server.
    #[arg(long, group = "source")]
    pub push: bool,
    /// Name of the secret that opens the URL: a private ssh key, or a token for https.
    #[arg(long, value_name = "SECRET", requires = "git")]
    pub credential: Option<String>,
    /// Deploy this branch, to production or to the environment that is named. Can be given several times. Default: as
    /// the app's own configuration says; behind a URL, main and master to production.
    #[arg(long = "branch", value_name = "PATTERN[=ENV]")]
    pub branches: Vec<String>,
    /// Deploy these tags, to production or to the environment that is named. Can be given several times.
    #[arg(long = "tag", value_name = "PATTERN[=ENV]")]
    pub tags: Vec<String>,
    /// Only pushes that change one of these paths; those that begin with ! are left out.
    #[arg(long = "path", value_name = "PATTERN")]
    pub paths: Vec<String>,
    /// Ask the URL for new commits so often, since the forge can't reach this server.
    #[arg(long, value_name = "TIME", requires = "git")]
    pub poll: Option<String>,
    /// Name of the secret with which the forge signs. Default: WEBHOOK_SECRET
    #[arg(long, value_name = "SECRET")]
    pub webhook_secret: Option<String>,
    /// Where the state of each run is reported to.
    #[command(flatten)]
    pub forge: ForgeArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where the state of each run is reported to.
#[derive(Args, Debug, Default)]
pub struct ForgeArgs {
    /// Report the state of each run to a forge of this kind.
    #[arg(long, value_enum, requires = "forge_api", requires = "project", requires = "forge_token")]
    pub forge: Option<ForgeName>,
    /// Root of the forge's API: https://api.github.com
    #[arg(long, value_name = "URL", requires = "forge")]
    pub forge_api: Option<String>,
    /// The project there.
    #[arg(long, value_name = "OWNER/NAME", requires = "forge")]
    pub project: Option<String>,
    /// Name of the secret that holds the forge's token.
    #[arg(long, value_name = "SECRET", requires = "forge")]
    pub forge_token: Option<String>,
}

const ADD_HELP: &str = "\
An app that is pushed to this server's git remote needs no registration: its first push makes it. What
it is registered for are deliveries of a forge (POST /v1/hooks/github/APP), polls and statuses.

Examples:
  landfall app add shop --git https://github.com/ada/shop.git --branch main --branch develop=staging
  landfall app add shop --git git@git.example.com:ada/shop.git --credential DEPLOY_KEY --poll 1m
  landfall app add blog --push --tag 'v*'";

/// What a forge speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ForgeName {
    /// GitHub, and its Enterprise server
    Github,
    /// GitLab
    Gitlab,
    /// Gitea
    Gitea,
    /// Forgejo
    Forgejo,
    /// Bitbucket Cloud
    Bitbucket,
}

impl From<ForgeName> for ForgeKind {
    fn from(name: ForgeName) -> Self {
        match name {
            ForgeName::Github => Self::GitHub,
            ForgeName::Gitlab => Self::GitLab,
            ForgeName::Gitea => Self::Gitea,
            ForgeName::Forgejo => Self::Forgejo,
            ForgeName::Bitbucket => Self::Bitbucket,
        }
    }
}

/// Which app.
#[derive(Args, Debug)]
pub struct AppNameArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// How a list is printed.
#[derive(Args, Debug)]
pub struct JsonArgs {
    /// Print JSON, one a line.
    #[arg(long)]
    pub json: bool,
}

/// Hand out, list and revoke the tokens that open the server.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What can be asked about tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Hand out a token. It is shown once; only its hash is kept.
    Create(TokenCreateArgs),
    /// List the tokens that were handed out.
    List(JsonArgs),
    /// Take a token back.
    Revoke(TokenRevokeArgs),
}

/// Hand out a token.
#[derive(Args, Debug)]
#[command(after_help = CREATE_HELP)]
pub struct TokenCreateArgs {
    /// Whom or what it is for: whatever it is used for is signed with this in the log.
    #[arg(value_name = "LABEL")]
    pub label: String,
    /// What it opens; each scope includes those before it.
    #[arg(long, value_enum)]
    pub scope: ScopeName,
    /// Only for this app.
    #[arg(long, value_name = "APP")]
    pub app: Option<String>,
    /// For how long: 90d, 12h. Default: until it is revoked.
    #[arg(long, value_name = "TIME")]
    pub expires_in: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const CREATE_HELP: &str = "\
Scopes:
  read      look at runs, events and outputs; fetch from the git remote
  trigger   start runs: git push, POST /v1/apps/APP/runs, retry what is parked
  deploy    decide: roll back, promote, approve, cancel, skip, abort, pause, hold
  admin     everything: apps, tokens, secrets, prune

Examples:
  landfall token create github-actions --scope trigger --app shop --expires-in 90d
  landfall token create grafana --scope read";

/// How much a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ScopeName {
    /// Look
    Read,
    /// Start runs
    Trigger,
    /// Decide what is deployed
    Deploy,
    /// Everything
    Admin,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Read => Self::Read,
            ScopeName::Trigger => Self::Trigger,
            ScopeName::Deploy => Self::Deploy,
            ScopeName::Admin => Self::Admin,
        }
    }
}

/// Take a token back.
#[derive(Args, Debug)]
pub struct TokenRevokeArgs {
    /// Its label, or its id.
    #[arg(value_name = "TOKEN")]
    pub token: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
