//! What can be asked about a source that has no configuration yet.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Write the `landfall.toml` that an app without one is run by.
#[derive(Args, Debug)]
#[command(after_help = INIT_HELP)]
pub struct InitArgs {
    /// The app's folder; - prints what is found in this one.
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub path: PathBuf,
    /// Write the Dockerfile as well that is generated otherwise, and a .dockerignore if there is none.
    #[arg(long)]
    pub dockerfile: bool,
    /// Print to stdout, and write nothing.
    #[arg(long)]
    pub print: bool,
    /// Replace files that are there.
    #[arg(long)]
    pub force: bool,
    /// Print JSON: the text, and each guess with its reason.
    #[arg(long)]
    pub json: bool,
}

const INIT_HELP: &str = "\
An app needs no landfall.toml: what it does not say is read off its source at each commit, and every
guess is shown with its reason. This writes those guesses down, so that they can be read and changed.

Examples:
  landfall init                 write landfall.toml in this folder
  landfall init --print         only show it
  landfall init --dockerfile    write the Dockerfile, too";
