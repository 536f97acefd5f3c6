//! What the process says of itself on stderr: for people, or a JSON object a line for machines.
//!
//! The filter is `--log-filter` or `LANDFALL_LOG`, then `-v`, then `RUST_LOG`, then what is usual for the command.

use std::sync::OnceLock;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::cli::Global;
use crate::picture::screen::{LogLines, colour_on};

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people, in colour on a terminal
    #[default]
    Pretty,
    /// A JSON object a line, with timestamp, level, message and fields
    Json,
}

/// How this process logs, for those that it starts.
static CHOICE: OnceLock<Choice> = OnceLock::new();

#[derive(Debug)]
struct Choice {
    format: LogFormat,
    /// Given on the command line, where a child does not see it.
    filter: Option<String>,
}

/// Begins to log to stderr. `usual` is the filter of a command that was told nothing.
pub fn begin(global: &Global, usual: &str) {
    let filter = filter(global, std::env::var("RUST_LOG").ok(), usual);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogLines);
    // A second subscriber is refused; whoever installed the first has chosen.
    let _ = match global.log_format {
        LogFormat::Pretty => {
            subscriber.with_ansi(colour_on(&std::io::stderr())).with_target(false).try_init()
        }
        LogFormat::Json => {
            subscriber.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
    let _ = CHOICE.set(Choice { format: global.log_format, filter: global.log_filter.clone() });
}

/// Returns the arguments that make a process of ours log as this one does.
pub(crate) fn arguments() -> Vec<String> {
    let Some(Choice { format, filter }) = CHOICE.get() else { return Vec::new() };
    let mut arguments = Vec::new();
    if *format == LogFormat::Json {
        arguments.extend(["--log-format".into(), "json".into()]);
    }
    if let Some(filter) = filter {
        arguments.extend(["--log-filter".into(), filter.clone()]);
    }
    arguments
}

fn filter(global: &Global, rust_log: Option<String>, usual: &str) -> EnvFilter {
    let by_verbosity = match global.verbose {
        0 => None,
        1 => Some("info"),
        2 => Some("debug,hyper=info,h2=info,sled=info"),
        _ => Some("trace"),
    };
    let named = global.log_filter.as_deref().or(by_verbosity);
    // RUST_LOG is meant for all programs: one that is not understood here is not worth an error.
    let shared = || rust_log.and_then(|filter| EnvFilter::try_new(filter).ok());
    match named {
        Some(filter) => EnvFilter::new(filter),
        None => shared().unwrap_or_else(|| EnvFilter::new(usual)),
    }
}

/// Returns a filter as it is written, if it is one.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| {
        format!("{error}; expected a level, or TARGET=LEVEL pairs with commas between: info,hyper=warn")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: Option<&str>, verbose: u8, rust_log: Option<&str>, expected: &str) {
        let global = Global { log_filter: given.map(str::to_owned), verbose, ..Global::default() };
        let filter = filter(&global, rust_log.map(str::to_owned), "error");
        assert_eq!(filter.to_string(), expected);
    }

    #[test]
    fn a_filter_that_was_named_comes_before_v_and_v_before_what_is_meant_for_all_programs() {
        check(Some("warn"), 1, Some("trace"), "warn");
        check(None, 1, Some("trace"), "info");
        check(None, 0, Some("trace"), "trace");
        check(None, 0, Some("=="), "error");
        check(None, 0, None, "error");
    }

    #[test]
    fn a_filter_that_is_none_is_told_apart() {
        assert!(log_filter("info,hyper=warn").is_ok());
        assert!(log_filter("info,hyper=loud").unwrap_err().contains("expected a level"));
    }
}
