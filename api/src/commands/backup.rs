//! `landfall backup`: the log and the outputs in one file, verified.

use std::io;
use std::path::Path;

use landfall_engine::ports::{Clock, SystemClock};
use landfall_engine::timeline::timestamp;
use landfall_store::backup::{BackupError, BackupOptions, Contents, backup_to_file, backup_to_stream};

use super::source::data_folder;
use super::stdout;
use super::world::said;
use crate::cli::{BackupArgs, Global};
use crate::fault::Fault;
use crate::picture::words::bytes;

/// Makes a backup of the data folder, whoever has it.
///
/// # Errors
///
/// [`Fault`] when there is none then. [`Fault::Unsound`] when there is one, and something in the folder is not as
/// its log says.
pub async fn run(global: &Global, args: BackupArgs) -> Result<u8, Fault> {
    if global.server.is_some() {
        return Err(Fault::Usage(
            "a backup is copied from the data folder: run this on the server's machine, without --server"
                .into(),
        ));
    }
    let data = data_folder(global)?;
    let options = BackupOptions { with_keys: args.with_keys };
    let now_ms = SystemClock.now_ms();
    if args.file == Path::new("-") {
        let sent = blocking(move || backup_to_stream(&data, io::stdout().lock(), now_ms, options)).await?;
        said(&text("sent; what arrived is verified by whoever restores it", &sent));
        return outcome(&sent);
    }
    let file = args.file.clone();
    let contents = blocking(move || backup_to_file(&data, &file, now_ms, options)).await?;
    match args.json {
        true => stdout::json(&contents)?,
        false => {
            let done = format!("{} was read back and verifies", args.file.display());
            stdout::print(&(text(&done, &contents) + "\n"))?;
        }
    }
    outcome(&contents)
}

/// Returns what a backup has, for people.
pub(super) fn text(headline: &str, contents: &Contents) -> String {
    let Contents { log_id, created_ms, head_seq, head_hash, runs, open_runs, .. } = contents;
    let Contents { outputs, output_bytes, pruned_runs, checkpoints, keys, .. } = contents;
    format!(
        "{headline}\n  \
         log      {log_id}, as of {}\n  \
         head     event {head_seq}, {head_hash}\n  \
         runs     {runs}, {} of them open\n  \
         outputs  {outputs} ({}); those of {pruned_runs} runs were pruned before\n  \
         signed   {checkpoints} heads of the log, {keys} keys",
        timestamp(*created_ms),
        open_runs.len(),
        bytes(*output_bytes),
    )
}

/// Tells what is not as the log says: the copy has it as it is.
pub(super) fn outcome(contents: &Contents) -> Result<u8, Fault> {
    match &contents.unsound[..] {
        [] => Ok(0),
        unsound => Err(Fault::Unsound(format!(
            "something is not as the log says, in the folder and so in the copy:\n  {}",
            unsound.join("\n  ")
        ))),
    }
}

/// Does work that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(broken) => Err(Fault::unavailable("the work on the backup broke off", broken)),
    }
}
