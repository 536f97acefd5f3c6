//! `landfall hook`: what git runs when a push has arrived. It hands on what git says, and shows the answer.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use uuid::Uuid;

use crate::fault::Fault;
use crate::git_remote::{PUSH_VARIABLE, SOCKET_VARIABLE, Update, say_to_server};

/// Run by git on the server, never by hand.
#[derive(Args, Debug)]
pub struct HookArgs {
    /// Which hook.
    pub hook: Hook,
}

/// The hooks that we are.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Hook {
    /// Refs were moved.
    PostReceive,
}

/// Tells the server what was pushed and prints its answer, which git shows to the pusher.
///
/// # Errors
///
/// [`Fault::Usage`] when it was not run by a server's git.
pub fn run(args: HookArgs) -> Result<u8, Fault> {
    let HookArgs { hook: Hook::PostReceive } = args;
    let by_hand =
        || Fault::Usage("`landfall hook` is run by the git of `landfall serve`, not by hand".into());
    let socket = std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from).ok_or_else(by_hand)?;
    let push = std::env::var(PUSH_VARIABLE).ok().and_then(|id| Uuid::parse_str(&id).ok());
    let push = push.ok_or_else(by_hand)?;
    let lines = io::stdin().lock().lines();
    let lines: Vec<String> = lines
        .collect::<io::Result<_>>()
        .map_err(|error| Fault::io("could not read what git says was pushed", error))?;
    let updates = lines.iter().filter_map(|line| Update::parse(line)).collect();
    let mut out = io::stdout().lock();
    let show = |line: &str| {
        out.write_all(line.as_bytes())?;
        out.flush()
    };
    match say_to_server(&socket, push, updates, show) {
        Ok(code) => Ok(code),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => {
            // Git hands this to the pusher, whose push has arrived all the same.
            println!(
                "landfall: the server went away ({error}); what was pushed is looked at when it is back"
            );
            Ok(1)
        }
    }
}
