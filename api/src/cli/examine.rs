//! What can be asked of this machine and of the command line itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::Shell;

use super::World;

/// Examine this machine.
#[derive(Args, Debug)]
#[command(after_help = DOCTOR_HELP)]
pub struct DoctorArgs {
    /// Address that the HTTP API and the git remote are to have.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// How to reach the world.
    #[command(flatten)]
    pub world: World,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const DOCTOR_HELP: &str = "\
It works beside a running server and without one, and changes nothing. The registry is the one that
landfall.toml in the current folder names, else 127.0.0.1:5000.

Exit codes: 0 nothing is a problem, 1 something is.

Examples:
  landfall doctor
  landfall doctor --json | jq '.findings[] | select(.verdict != \"ok\")'";

/// Print the completions of a shell.
#[derive(Args, Debug)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

const COMPLETIONS_HELP: &str = "\
Examples:
  source <(landfall completions bash)
  landfall completions zsh > ~/.zfunc/_landfall
  landfall completions fish > ~/.config/fish/completions/landfall.fish";

/// Print the manual.
#[derive(Args, Debug)]
#[command(after_help = MAN_HELP)]
pub struct ManArgs {
    /// Folder that gets a page for each command. Default: the first page is printed.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: Option<PathBuf>,
}

const MAN_HELP: &str = "\
Examples:
  landfall man | man -l -
  landfall man ~/.local/share/man/man1 && man landfall-run";
