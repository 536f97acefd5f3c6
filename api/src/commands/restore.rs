//! `landfall restore`: a backup, verified, as a new data folder.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use landfall_engine::ports::{Clock, SystemClock};
use landfall_store::backup::{BackupError, check_file, restore};

use super::backup::{blocking, outcome, text};
use super::source::data_folder;
use super::stdout;
use super::world::said;
use crate::cli::{Global, RestoreArgs};
use crate::fault::Fault;

/// Restores a backup, or only verifies it.
///
/// # Errors
///
/// [`Fault::Unsound`] when it is not whole; [`Fault::Refused`] when something is in the folder;
/// [`Fault::Unavailable`] when the disk refuses. Nothing is restored then. What was not as the log says when the
/// backup was made is restored as it was, and told.
pub async fn run(global: &Global, args: RestoreArgs) -> Result<u8, Fault> {
    let from_stdin = args.file == Path::new("-");
    if args.check {
        if from_stdin {
            return Err(Fault::Usage("a stream is verified by restoring it; name a file for --check".into()));
        }
        let file = args.file.clone();
        let contents = blocking(move || check_file(&file)).await?;
        match args.json {
            true => stdout::json(&contents)?,
            false => stdout::line(&text(&format!("{} verifies", args.file.display()), &contents))?,
        }
        return outcome(&contents);
    }
    let folder = data_folder(global)?;
    let (to, file, take_over, now_ms) =
        (folder.clone(), args.file.clone(), args.take_over, SystemClock.now_ms());
    let contents = blocking(move || {
        if from_stdin {
            return restore(io::stdin().lock(), None, &to, now_ms, take_over);
        }
        let opening = |source| BackupError::Disk { doing: format!("opening {}", file.display()), source };
        let input = File::open(&file).map_err(opening)?;
        let limit = input.metadata().map_err(opening)?.len();
        restore(BufReader::new(input), Some(limit), &to, now_ms, take_over)
    })
    .await?;
    match args.json {
        true => stdout::json(&contents)?,
        false => stdout::line(&text(&format!("restored to {}", folder.display()), &contents))?,
    }
    for run in &contents.open_runs {
        said(&format!("run {run} is open, and goes on when a server starts on the folder"));
    }
    said(
        "nothing of it serves yet: on another machine, `landfall rollback APP --to RUN` makes a release live again, and so \
         does the next push",
    );
    if !args.take_over {
        said(&format!(
            "no server starts here until you say that the one that had this log is gone: `landfall serve --data {} \
             --take-over`",
            folder.display()
        ));
    }
    if !contents.unsound.is_empty() {
        said(&format!(
            "warning: all of it was restored; when the backup was made, this was not as the log says:\n  {}",
            contents.unsound.join("\n  ")
        ));
    }
    Ok(0)
}
