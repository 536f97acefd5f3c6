//! The `landfall` command.

use std::process::ExitCode;

use clap::Parser;
use landfall::cli::{Cli, Command};
use landfall::fault::{Fault, USAGE};
use landfall::logging;
use landfall::picture::screen::LogLines;

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
    let usual = match cli.command {
        Command::Serve(_) | Command::Proxy(_) => "info",
        _ => "error",
    };
    logging::begin(&cli.global, usual);
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
