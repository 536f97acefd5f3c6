//! Holds what stages printed against what the log says of it: length and hash.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use landfall_engine::core::event::{Envelope, Event, EventHash, OutputRef};
use landfall_engine::core::run::RunId;
use sha2::{Digest, Sha256};

use super::{OutputDir, blocking, found, parse};

impl OutputDir {
    /// Returns the files of a run that are not what its events say that was printed. One that no event speaks of is
    /// none of them.
    ///
    /// # Errors
    ///
    /// What the disk said.
    pub async fn differing(&self, run_id: RunId, events: &[Envelope]) -> io::Result<Vec<String>> {
        let (folder, said) = (self.run_folder(run_id), said(events));
        blocking(move || differing(&folder, &said)).await
    }
}

fn differing(folder: &Path, said: &HashMap<(String, u32), OutputRef>) -> io::Result<Vec<String>> {
    let Some(entries) = found(fs::read_dir(folder))? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(name) = entry.file_name().into_string().ok() else { continue };
        let Some(said) = parse(&name).and_then(|output| said.get(&output)) else { continue };
        // A length that is another needs no hash.
        let is_as_said = entry.metadata()?.len() == said.len && {
            let (len, sha256) = sum(File::open(entry.path())?)?;
            *said == OutputRef { len, sha256 }
        };
        names.extend((!is_as_said).then_some(name));
    }
    names.sort_unstable();
    Ok(names)
}

/// Returns what the events say was printed.
pub(crate) fn said(events: &[Envelope]) -> HashMap<(String, u32), OutputRef> {
    let said = events.iter().filter_map(|envelope| match &envelope.event {
        Event::StageSucceeded { stage, attempt, output: Some(output), .. }
        | Event::StageFailed { stage, attempt, output: Some(output), .. } => {
            Some(((stage.name().to_owned(), *attempt), output.clone()))
        }
        _ => None,
    });
    said.collect()
}

/// Returns the length and the hash of all that can be read.
pub(crate) fn sum(mut content: impl Read) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 256 * 1024];
    let mut len = 0;
    loop {
        match content.read(&mut chunk) {
            Ok(0) => return Ok((len, EventHash(hash.finalize().into()).to_string())),
            Ok(read) => {
                hash.update(&chunk[..read]);
                len += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
