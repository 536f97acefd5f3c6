//! Files into a container before it starts, and out of it after its end, as tar streams.
//!
//! Nothing of the host is mounted: what runs inside can't touch the source that is built later, and the engine
//! may be on another machine.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::no_answer;
use crate::context::Context;
use crate::docker;
use crate::stopped::Stopped;

/// One piece of a tar stream.
const PIECE_BYTES: usize = 128 * 1024;

/// Pieces that wait for Docker to take them: a megabyte hides the latency, and bounds the memory.
const PIECES_QUEUED: usize = 8;

/// What is laid into a container: texts by name, and one folder.
#[derive(Debug)]
pub(crate) struct Files {
    /// Names with their contents.
    pub(crate) texts: Vec<(&'static str, String)>,
    /// A folder of this machine, and its name inside. Links in it stay links.
    pub(crate) folder: Option<(PathBuf, &'static str)>,
}

/// Lays files into a folder of a container that is not started yet.
pub(crate) async fn upload(context: &Context, name: &str, folder: &str, files: Files) -> Result<(), Stopped> {
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes, io::Error>>(PIECES_QUEUED);
    let packing = tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { pending: Vec::with_capacity(PIECE_BYTES), sender };
        if let Err(error) = pack(&files, &mut pieces) {
            // Docker hears of it as a stream that breaks off.
            let said = io::Error::new(error.kind(), error.to_string());
            let _ = pieces.sender.blocking_send(Err(said));
            return Err(error);
        }
        Ok(())
    });
    let pieces = stream::poll_fn(move |context| receiver.poll_recv(context));
    let options = UploadToContainerOptionsBuilder::default().path(folder).build();
    let body = bollard::body_try_stream(pieces);
    let uploaded = context.docker.api().upload_to_container(name, Some(options), body).await;
    match packing.await {
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Stopped::errored(format!(
                "reading the source to copy it into the container: {error}"
            )));
        }
        Err(error) => {
            return Err(Stopped::errored(format!("copying the source into the container: {error}")));
        }
        _ => {}
    }
    uploaded.map_err(|error| no_answer("copying the source into the container", &error))
}

/// Returns a file of a container. None: there is no such file, or it is longer than `bytes_max`.
pub(crate) async fn download(
    context: &Context,
    name: &str,
    path: &str,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, String> {
    let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
    let mut pieces = std::pin::pin!(context.docker.api().download_from_container(name, Some(options)));
    let mut archive = Vec::new();
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => archive.extend_from_slice(&piece),
            Err(error) if docker::is_not_found(&error) => return Ok(None),
            Err(error) => return Err(docker::explain("copying a file out of the container", &error)),
        }
        if archive.len() > bytes_max {
            return Ok(None);
        }
    }
    Ok(first_file(&archive).unwrap_or_default())
}

/// Returns the content of the only entry, unless that is a folder or a link.
fn first_file(archive: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(archive);
    let Some(entry) = archive.entries()?.next() else { return Ok(None) };
    let mut entry = entry?;
    if !entry.header().entry_type().is_file() {
        return Ok(None);
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content)?;
    Ok(Some(content))
}

fn pack(files: &Files, pieces: &mut Pieces) -> io::Result<()> {
    let mut archive = tar::Builder::new(&mut *pieces);
    archive.follow_symlinks(false);
    // Owner and times of this machine mean nothing inside.
    archive.mode(tar::HeaderMode::Deterministic);
    for (name, text) in &files.texts {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    if let Some((folder, name)) = &files.folder {
        archive.append_dir_all(name, folder)?;
    }
    archive.into_inner()?.flush()
}

/// Collects what is written into pieces and hands them over, waiting while nobody takes them.
struct Pieces {
    pending: Vec<u8>,
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.pending, Vec::with_capacity(PIECE_BYTES));
        // Nobody takes them any more: Docker said no, or the stage was dropped.
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
