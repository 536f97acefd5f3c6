//! What can be asked about what happened: replay, verify, export.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Replay a run from its log.
#[derive(Args, Debug)]
#[command(after_help = REPLAY_HELP)]
pub struct ReplayArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Show the run as it was after this event.
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    pub at: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// List every event, too.
    #[arg(long)]
    pub events: bool,
}

const REPLAY_HELP: &str = "\
Nothing is done again and nothing is changed: the log is read, its hashes are computed anew, and each
event is checked against the table of legal moves. It works beside a running server and on a copy
of the data folder. The exit code is 65 when anything does not verify.

Examples:
  landfall replay last
  landfall replay last --at 7             as it was after its seventh event
  landfall replay 9f3e1c2a7b4d --events
  landfall replay last --data /backup/landfall";

/// Verify the whole log.
#[derive(Args, Debug)]
#[command(after_help = VERIFY_HELP)]
pub struct VerifyArgs {
    /// A checkpoint that was kept elsewhere, to hold the log against. Can be given several times.
    #[arg(long = "checkpoint", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub checkpoints: Vec<PathBuf>,
    /// The fingerprint of the key that must have signed. Can be given several times. Default: whichever
    /// key signed the checkpoints that were given, if any were.
    #[arg(long = "key", value_name = "SHA256", value_parser = fingerprint)]
    pub keys: Vec<String>,
    /// Print the public key that signs the checkpoints, and its fingerprint, and do nothing else.
    #[arg(long, conflicts_with_all = ["checkpoints", "keys", "json"])]
    pub show_key: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const VERIFY_HELP: &str = "\
Every checksum, hash, number and move of every event is checked. When a run ends, the head of the log is
signed and written to DATA/checkpoints. Keep copies of those files, and of the key's fingerprint, where
nobody can write who can write to the data folder: they alone show that the end of a log was cut off,
or that all of it was written anew. The exit code is 65 when anything differs.

It works beside a running server and on a copy of the data folder.

Examples:
  landfall verify
  landfall verify --checkpoint /safe/00000000000000004711.json
  landfall verify --data /backup/landfall --key sha256:3f2a…
  landfall verify --show-key";

/// Export a run from the log.
#[derive(Args, Debug)]
#[command(after_help = EXPORT_HELP)]
pub struct ExportArgs {
    /// The run.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// What to export.
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Print the statement itself, without the envelope that signs it.
    #[arg(long)]
    pub unsigned: bool,
}

/// What a run is exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// SLSA v1 provenance of the image that the run pushed
    Slsa,
    /// in-toto test result of the commit, and of the image that was built from it
    InToto,
    /// Every event with its hash and stored text, the checkpoint that covers them, and the verification
    Json,
}

const EXPORT_HELP: &str = "\
The log is verified first, and nothing is exported as a statement from one that does not verify. Both
statements name the events that they stand on (tests green, image pushed, deploy started), with their
places in the log, their hashes and their stored texts, and the signed checkpoint that covers them. They
are wrapped in a DSSE envelope that is signed with the key of the checkpoints.

A run that pushed no image has no provenance, and one whose tests gave no answer or were skipped has no
test result: that is said, with exit code 77. An open run is tied to the head of the log as it is now.

Examples:
  landfall export last --format slsa > provenance.dsse.json
  landfall export last --format in-toto | jq -r .payload | base64 -d | jq .predicate.result
  landfall export last --format json | jq .tests_green_before_deploy";

fn fingerprint(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text).to_lowercase();
    match hex.len() == 64 && hex.chars().all(|char| char.is_ascii_hexdigit()) {
        true => Ok(hex),
        false => {
            Err("expected sha256: and 64 hex digits, as `landfall verify --show-key` prints them".into())
        }
    }
}
