//! `landfall verify`: whether a log is what it was, by itself and by the checkpoints that were signed of it.
//!
//! **Invariant:** nothing is locked, written or asked of a server: this works beside one and on a copy.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use landfall_store::{Audit, CheckpointFile, PublicKey, Trust};
use serde::Serialize;

use super::replay::in_words;
use super::source::{Source, data_folder};
use super::stdout;
use crate::cli::{Global, VerifyArgs};
use crate::fault::Fault;

/// An audit as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    verified: bool,
    audit: &'a Audit,
}

/// Verifies a log, or shows the key that signs its checkpoints.
///
/// # Errors
///
/// [`Fault::Unsound`] when anything differs; [`Fault`] when the log or a checkpoint can't be read at all.
pub async fn run(global: &Global, args: VerifyArgs) -> Result<u8, Fault> {
    let Source::Folder { log, .. } = Source::open(global).await? else {
        return Err(Fault::Usage(
            "a log is verified where its files are: name the data folder, or a copy, with --data DIR".into(),
        ));
    };
    let folder = data_folder(global)?;
    if args.show_key {
        return show_key(&folder);
    }
    let given = args.checkpoints.iter().map(given).collect::<Result<_, _>>()?;
    let audit = log.audit(Trust { given, keys: args.keys }).await?;
    let verified = audit.log.problems.is_empty();
    match args.json {
        true => stdout::json(&Report { verified, audit: &audit })?,
        false => stdout::print(&text(&folder, &audit))?,
    }
    if verified {
        return Ok(0);
    }
    let problems: Vec<String> = audit.log.problems.iter().map(in_words).collect();
    Err(Fault::Unsound(format!("the log does not verify:\n  {}", problems.join("\n  "))))
}

fn show_key(folder: &Path) -> Result<u8, Fault> {
    match PublicKey::read(folder).map_err(Fault::not_had)? {
        Some(key) => stdout::print(&format!("{}{key}\n", key.pem()))?,
        None => {
            let folder = folder.display();
            return Err(Fault::NotFound(format!(
                "{folder} has no key yet; the first start of an engine makes it"
            )));
        }
    }
    Ok(0)
}

fn given(path: &PathBuf) -> Result<CheckpointFile, Fault> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path)
        .map_err(|error| Fault::unavailable(format!("could not read the checkpoint {name}"), error))?;
    Ok(CheckpointFile { name, bytes })
}

/// Returns what was verified, in lines.
fn text(folder: &Path, audit: &Audit) -> String {
    let Audit { log_id, log, last_seq, unfinished, checkpoints, covered } = audit;
    let mut text = format!("Log {log_id} in {}\n", folder.display());
    let mut line = |name: &str, what: String| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {name:<12} {what}");
    };
    let (events, runs) = (counted(log.events, "event"), counted(log.runs, "run"));
    line("events", format!("{events} of {runs}: each checksum, hash, number and move was checked"));
    line("head", format!("event {last_seq}, {}", log.head));
    if let Some(torn) = unfinished {
        let what = format!(
            "{} behind the last event: part of a write that did not come to its end",
            counted(torn.bytes, "byte")
        );
        line("unfinished", what);
    }
    let given = checkpoints.iter().filter(|seen| seen.given).count();
    let fit = checkpoints.iter().filter(|seen| seen.fits).count();
    line(
        "checkpoints",
        match checkpoints.len() {
            0 => "none: that the end was cut off, or all of it written anew, can't be seen".into(),
            all => format!("{} in the folder, {given} given, {fit} of {all} fit", all - given),
        },
    );
    if fit > 0 {
        let what = match last_seq - covered.min(last_seq) {
            0 => "every event is covered by a checkpoint".into(),
            bare => {
                format!("events up to {covered} are covered; the {bare} behind it by the next checkpoint")
            }
        };
        line("covered", what);
    }
    let mut keys: Vec<&str> = checkpoints.iter().filter_map(|seen| seen.key.as_deref()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.iter().for_each(|key| line("signed by", format!("sha256:{key}")));
    if log.problems.is_empty() {
        text += "\nVerified: nothing was changed, dropped or moved";
        text += if fit > 0 { ", and nothing that is covered was cut off\n" } else { "\n" };
    }
    text
}

fn counted(n: u64, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {what}{s}")
}
