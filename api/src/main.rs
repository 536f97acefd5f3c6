//! The `landfall` command.

use std::process::ExitCode;

use clap::Parser;
use landfall::cli::{Cli, Command};
use landfall::fault::{Fault, USAGE};
use landfall::picture::screen::{LogLines, colour_on};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before anything can open a TLS connection. It fails only when a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own code for wrong usage is 2, which here means "rolled back".
            let code = if error.use_stderr() { USAGE } else { 0 };
            // A reader that hung up has seen enough.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    log_to_stderr(&cli);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return said(&Fault::io("could not start the runtime", error)),
    };
    let ended = runtime.block_on(landfall::commands::dispatch(cli));
    // What was asked is done and recorded: nothing that still runs here is worth waiting for.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(fault) => said(&fault),
    }
}

fn said(fault: &Fault) -> ExitCode {
    if let Some(message) = fault.message() {
        use std::io::Write as _;
        let _ = write!(LogLines, "{message}");
    }
    ExitCode::from(fault.code())
}

/// Logs to stderr: `LANDFALL_LOG` decides, then `-v`, then what is usual for the command.
fn log_to_stderr(cli: &Cli) {
    let usual = match (cli.global.verbose, &cli.command) {
        (0, Command::Serve(_) | Command::Proxy(_)) => "info",
        (0, _) => "error",
        (1, _) => "info",
        (2, _) => "debug,hyper=info,h2=info,sled=info",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("LANDFALL_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LogLines)
        .with_ansi(colour_on(&std::io::stderr()))
        .with_target(false)
        .init();
}
