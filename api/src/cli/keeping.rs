//! What can be asked about a data folder: give up what is old, copy it, bring it back.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::retention::{KEEP, OLDER_THAN, span_ms};

/// Give up what is old: outputs, and images that no release needs.
#[derive(Args, Debug)]
#[command(after_help = PRUNE_HELP)]
pub struct PruneArgs {
    /// Only what closed runs printed that have not moved for so long.
    #[arg(long, value_name = "TIME", default_value = OLDER_THAN, value_parser = span)]
    pub older_than: String,
    /// Keep what the newest so many closed runs of each app and environment printed, however old they are.
    #[arg(long, value_name = "N", default_value_t = KEEP)]
    pub keep: usize,
    /// First copy the histories and outputs of these runs into a tar, and read it back.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub archive: Option<PathBuf>,
    /// Remove nothing; say what would be.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const PRUNE_HELP: &str = "\
The event log is never shortened: every run can be replayed for as long as the log is kept. What goes is
what old runs printed; when and how much is noted in its place, and the events keep its length and hash.

Never touched: what serves, the `retain` releases before it that `landfall rollback` can go back to, and
everything of runs that are open or parked. Images in the registry are the registry's.

A server that has the data folder does it; without one the folder is opened here, and no run is driven.

Examples:
  landfall prune --dry-run
  landfall prune --older-than 90d --keep 20 --archive /backup/landfall-2026.tar";

/// Copy the log and the outputs into one file.
#[derive(Args, Debug)]
#[command(after_help = BACKUP_HELP)]
pub struct BackupArgs {
    /// The file to make, or - for stdout. One that is there is replaced once the new one verifies.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Include the keys that sign the heads of the log. Keep such a backup like the keys themselves.
    #[arg(long)]
    pub with_keys: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const BACKUP_HELP: &str = "\
In it are all events that were durable when it began, what their stages printed, and the signed heads
of the log. It is read back, hash by hash, before it gets its name.

Not in it: tokens and secrets, the git repositories (a push brings them again), and the routes of the
traffic proxy (they go with the machine).

Examples:
  landfall backup /backup/landfall.tar
  landfall backup - | ssh elsewhere landfall restore - --data /srv/landfall";

/// Restore a backup into a new data folder.
#[derive(Args, Debug)]
#[command(after_help = RESTORE_HELP)]
pub struct RestoreArgs {
    /// The backup, or - for stdin.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// No other server works on this log any more, and none will: let one start on the restored folder.
    #[arg(long)]
    pub take_over: bool,
    /// Only verify the backup, and restore nothing.
    #[arg(long, conflicts_with = "take_over")]
    pub check: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const RESTORE_HELP: &str = "\
The folder (--data) must be empty or not there yet. All is restored and verified, or nothing is there.

The restored log is the same log as the one that it is a copy of. Two servers on it would undo each
other's work on one Docker engine: both go on with the same open runs, and each removes containers of
runs that it does not know. So no server starts on the folder until somebody has said, here or with
`landfall serve --take-over`, that the other one is gone. Reading it (`runs`, `show`, `replay`) is safe.

After a loss of the machine nothing serves until the next deploy; `landfall rollback APP --to RUN` makes
a release of the restored log live at once.

Examples:
  landfall restore /backup/landfall.tar --check
  landfall restore /backup/landfall.tar --data /srv/landfall
  landfall serve --data /srv/landfall --take-over";

fn span(text: &str) -> Result<String, String> {
    span_ms(text).map(|_| text.to_owned())
}
