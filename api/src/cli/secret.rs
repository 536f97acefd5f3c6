//! What can be asked about the secrets of an app. Values are never taken here: a process list shows every argument.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use landfall_stages::secrets::KEY_VARIABLE;

/// Keep the secrets of an app: sealed, for its containers, and shown to nobody.
#[derive(Args, Debug)]
#[command(after_help = SECRET_HELP)]
pub struct SecretArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub command: SecretCommand,
    /// File with the key that seals them, when no server is running. Default: ~/.config/landfall/vault.key
    /// (root: /etc/landfall/vault.key), made when it is not there
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(env = KEY_VARIABLE, hide_env_values = true)]
    pub vault_key: Option<PathBuf>,
}

const SECRET_HELP: &str = "\
A secret is named in landfall.toml, under [env] secret, [env] files, [build] secrets, [registry] password
or [notify], and kept here. A value for one environment stands before that for the whole app, and both before
the environment of the landfall process. What is set counts from the next stage that begins.

Values are sealed in the data folder by a key that is not in it: keep a copy of the key elsewhere.
They are masked in all that a run prints. `docker inspect` shows the variables of a container to
whoever may speak with Docker; a secret under [env] files is not shown there.

Examples:
  landfall secret set shop DATABASE_URL                       asks for the value, and does not show it
  pass show shop/db | landfall secret set shop DATABASE_URL --env staging
  landfall secret set shop SIGNING_KEY --from-file key.pem
  landfall secret import shop --env-file .env.production";

/// What can be asked about secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Keep a value, in the place of the one before. It is read from stdin, or asked for at a terminal.
    Set(SecretSetArgs),
    /// List the secrets of an app: their names, and when they were set.
    List(SecretListArgs),
    /// Take a secret away.
    Rm(SecretRmArgs),
    /// Keep every value of a file, NAME=value a line.
    Import(SecretImportArgs),
    /// Seal everything with another key, while no server is running.
    Rekey(SecretRekeyArgs),
}

/// Keep a value.
#[derive(Args, Debug)]
pub struct SecretSetArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Name of the secret: A-Z, 0-9 and _
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Only in this environment.
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Read the value from this file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// List the secrets of an app.
#[derive(Args, Debug)]
pub struct SecretListArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Print JSON, one a line.
    #[arg(long)]
    pub json: bool,
}

/// Take a secret away.
#[derive(Args, Debug)]
pub struct SecretRmArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// Name of the secret.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The one of this environment alone. Default: the one of the whole app.
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Keep every value of a file.
#[derive(Args, Debug)]
pub struct SecretImportArgs {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// The file: NAME=value a line, quotes and comments as in any dotenv file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub env_file: PathBuf,
    /// Only in this environment.
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Seal everything with another key.
#[derive(Args, Debug)]
pub struct SecretRekeyArgs {
    /// File of the new key; it is made when it is not there. The old one is left as it is.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub new_key: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
