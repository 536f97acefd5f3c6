//! Follows the output of one attempt: what is in the file, then what comes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::sync::watch;

use super::writer::{Live, Progress};
use super::{blocking, locked};

/// How much a follower reads at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Some whole lines of an output; one that is very long comes in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputChunk {
    /// The text, with line ends.
    pub text: String,
    /// The offset behind it: where to follow on after a hang-up.
    pub next: u64,
}

/// A reader that goes along with an output.
#[derive(Debug)]
pub(super) struct Follower {
    file: File,
    live: Option<Arc<Live>>,
    progress: Option<watch::Receiver<Progress>>,
    offset: u64,
}

impl Follower {
    /// Follows an output that this process writes.
    pub(super) fn of_live(live: Arc<Live>, offset: u64) -> io::Result<Self> {
        let file = locked(&live.pen).file.try_clone()?;
        let progress = Some(live.progress.subscribe());
        Ok(Self { file, live: Some(live), progress, offset })
    }

    /// Reads an output that nobody in this process writes.
    pub(super) const fn of_file(file: File, offset: u64) -> Self {
        Self { file, live: None, progress: None, offset }
    }

    /// Returns the next chunk and the follower behind it; None at the end.
    pub(super) async fn next(mut self) -> io::Result<Option<(OutputChunk, Self)>> {
        loop {
            let is_last = match &mut self.progress {
                Some(progress) => {
                    let offset = self.offset;
                    let moved = progress.wait_for(|progress| progress.done || progress.len > offset).await;
                    moved.is_ok_and(|progress| progress.done)
                }
                None => true,
            };
            let (chunk, follower) = blocking(move || self.read()).await?;
            self = follower;
            match chunk {
                Some(chunk) => return Ok(Some((chunk, self))),
                None if is_last => return Ok(None),
                // The disk refused what it was woken for.
                None => {}
            }
        }
    }

    fn read(mut self) -> io::Result<(Option<OutputChunk>, Self)> {
        if let Some(live) = &self.live {
            live.bring_up_to_date();
        }
        let mut bytes = vec![0; CHUNK_BYTES];
        let read = self.file.read_at(&mut bytes, self.offset)?;
        if read == 0 {
            return Ok((None, self));
        }
        bytes.truncate(read);
        bytes.truncate(whole(&bytes));
        self.offset += bytes.len() as u64;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok((Some(OutputChunk { text, next: self.offset }), self))
    }
}

/// Returns how many of the bytes are whole lines; of a line that is longer than that, whole characters.
fn whole(bytes: &[u8]) -> usize {
    if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
        return end + 1;
    }
    match std::str::from_utf8(bytes) {
        Err(cut) if cut.error_len().is_none() && cut.valid_up_to() > 0 => cut.valid_up_to(),
        _ => bytes.len(),
    }
}
