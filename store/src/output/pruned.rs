//! Gives up what the stages of a run printed, and says so in its place.
//!
//! ```text
//! DATA/output/<run>/pruned.json      when, and what there was; the events keep length and hash
//! ```
//!
//! **Invariant:** the note is durable before the first file goes. A crash in between leaves both, and the next
//! pruning goes on; at no time is an output gone without a word.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use landfall_engine::core::run::RunId;
use serde::{Deserialize, Serialize};

use super::{OutputDir, blocking, found, locked, parse};
use crate::disk::sync_folder;

/// The file in the folder of a run that says what was pruned.
pub(crate) const PRUNED_FILE: &str = "pruned.json";

/// What was pruned of a run. Stored: a new field gets a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pruned {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What there was, by name and attempt.
    pub outputs: Vec<PrunedOutput>,
    /// The archive that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
}

/// An output that was pruned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PrunedOutput {
    /// Of which stage, or whatever else printed it.
    pub name: String,
    /// Which try.
    pub attempt: u32,
    /// How long it was, in bytes.
    pub len: u64,
}

impl Pruned {
    /// Returns what is said of an attempt whose output was pruned; None when it was not.
    pub fn of(&self, name: &str, attempt: u32) -> Option<&PrunedOutput> {
        self.outputs.iter().find(|output| output.name == name && output.attempt == attempt)
    }

    /// Returns the sum of all lengths, in bytes.
    pub fn bytes(&self) -> u64 {
        self.outputs.iter().map(|output| output.len).sum()
    }
}

impl OutputDir {
    /// Returns what was pruned of a run; None when nothing was.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub async fn pruned(&self, run_id: RunId) -> io::Result<Option<Pruned>> {
        let folder = self.run_folder(run_id);
        blocking(move || read_note(&folder)).await
    }

    /// Gives up all outputs of a run and returns what that was; None when there are none. Whoever calls this
    /// knows that the run is closed. `archive` names what has a copy. `dry`: nothing is removed.
    ///
    /// # Errors
    ///
    /// What the disk said. What is not removed then is removed by the next call.
    pub async fn prune(
        &self,
        run_id: RunId,
        at_ms: u64,
        archive: Option<String>,
        dry: bool,
    ) -> io::Result<Option<Pruned>> {
        if locked(&self.live).keys().any(|(run, ..)| *run == run_id) {
            return Ok(None);
        }
        let folder = self.run_folder(run_id);
        blocking(move || prune(&folder, at_ms, archive, dry)).await
    }
}

fn prune(folder: &Path, at_ms: u64, archive: Option<String>, dry: bool) -> io::Result<Option<Pruned>> {
    let Some(entries) = found(fs::read_dir(folder))? else { return Ok(None) };
    let mut outputs = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some((name, attempt)) = entry.file_name().to_str().and_then(parse) else { continue };
        outputs.push(PrunedOutput { name, attempt, len: entry.metadata()?.len() });
    }
    if outputs.is_empty() {
        return Ok(None);
    }
    outputs.sort_unstable();
    let pruned = Pruned { at_ms, outputs, archive };
    if dry {
        return Ok(Some(pruned));
    }
    // What an interrupted pruning noted is true still.
    let mut noted = pruned.clone();
    let before = read_note(folder)?.into_iter().flat_map(|before| before.outputs);
    noted.outputs.extend(before.filter(|gone| pruned.of(&gone.name, gone.attempt).is_none()));
    noted.outputs.sort_unstable();
    write_note(folder, &noted)?;
    for PrunedOutput { name, attempt, .. } in &pruned.outputs {
        _ = found(fs::remove_file(folder.join(format!("{name}-{attempt}.log"))))?;
    }
    sync_folder(folder)?;
    Ok(Some(pruned))
}

fn read_note(folder: &Path) -> io::Result<Option<Pruned>> {
    let Some(text) = found(fs::read(folder.join(PRUNED_FILE)))? else { return Ok(None) };
    let note = serde_json::from_slice(&text).map_err(|error| {
        let what = format!("{} can't be read: {error}", folder.join(PRUNED_FILE).display());
        io::Error::new(io::ErrorKind::InvalidData, what)
    })?;
    Ok(Some(note))
}

fn write_note(folder: &Path, note: &Pruned) -> io::Result<()> {
    let draft = folder.join("pruned.json.new");
    let mut file = File::create(&draft)?;
    writeln!(file, "{}", serde_json::to_string(note)?)?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(PRUNED_FILE))?;
    sync_folder(folder)
}
