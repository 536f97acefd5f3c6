//! What can be asked about an app without changing anything.

use clap::Args;

/// List the commits and files between two releases of an app.
#[derive(Args, Debug)]
#[command(after_help = CHANGES_HELP)]
pub struct ChangesArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// What is compared: a run or a commit. Default: the release before the live one.
    #[arg(long, value_name = "RUN|SHA")]
    pub from: Option<String>,
    /// With what: a run or a commit. Default: what is live.
    #[arg(long, value_name = "RUN|SHA")]
    pub to: Option<String>,
    /// The environment.
    #[arg(long, value_name = "NAME", default_value = "production")]
    pub env: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const CHANGES_HELP: &str = "\
When `--to` is the older one, the commits are those that it takes back. At most 100 commits and 300
files are listed.

Examples:
  landfall changes shop                     what the last release brought
  landfall changes shop --from 3f2a91c      everything since that commit";

/// Print the Markdown that shows an app's badge.
#[derive(Args, Debug)]
#[command(after_help = BADGE_HELP)]
pub struct BadgeArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// The environment.
    #[arg(long, value_name = "NAME", default_value = "production")]
    pub env: String,
    /// Look at the newest run of this branch, and not of all.
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const BADGE_HELP: &str = "\
A README has no token, so the app must say that its badge is open: `landfall app add APP … --public-badge`.
An app that does not is, for whoever has no token, as if it were not there.

Example:
  landfall badge shop --server https://landfall.example.com >> README.md";
