//! Files into a container before its script begins, and out of it after its end, as tar streams.
//!
//! Nothing of the host is mounted: what runs inside can't touch the source that is built later, and the engine
//! may be on another machine.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use bytes::Bytes;
use futures_util::StreamExt;
use landfall_engine::ports::Output;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Ended;
use crate::context::Context;
use crate::docker;

/// One piece of a tar stream.
const PIECE_BYTES: usize = 128 * 1024;

/// Pieces that wait for Docker to take them: a megabyte hides the latency, and bounds the memory.
const PIECES_QUEUED: usize = 8;

/// Where the files end up.
pub(crate) const FOLDER: &str = "/landfall";

/// How a container ends that did not get its files whole, and what it says last. A test may end like this by
/// chance, and does not say this.
const NOT_FILLED: i64 = 214;
const NOT_FILLED_LINE: &str = "landfall: the source did not arrive whole";

/// What is laid into a container: texts by name, and one folder.
#[derive(Debug)]
pub(crate) struct Files {
    /// Names with their contents.
    pub(crate) texts: Vec<(&'static str, String)>,
    /// A folder of this machine, and its name inside. Links in it stay links.
    pub(crate) folder: Option<(PathBuf, &'static str)>,
}

/// Makes a container take [`Files`] from its stdin before its script begins. Its working directory is the folder
/// of the files or one in it, since that is made by Docker.
///
/// Docker's own way in mounts and unmounts the container's disk, which takes as long as a small test run. The
/// image needs a `tar`; every one that has a shell and a package manager has.
pub(crate) fn expect(body: &mut ContainerCreateBody) {
    body.attach_stdin = Some(true);
    body.open_stdin = Some(true);
    // Stdin ends when we do: half a stream is known for that, and not waited for.
    body.stdin_once = Some(true);
    for script in body.cmd.iter_mut().flatten() {
        *script =
            format!("tar -xf - -C {FOLDER} || {{ echo '{NOT_FILLED_LINE}'; exit {NOT_FILLED}; }}\n{script}");
    }
}

/// Tells whether a container ended because it did not get its files.
pub(crate) fn is_not_filled(ended: &Ended) -> bool {
    ended.exit_code == NOT_FILLED && ended.tail.iter().any(|line| line == NOT_FILLED_LINE)
}

/// Sends files into a container that has just started. Where they do not arrive, its own end says so.
pub(crate) async fn pour(
    files: Option<Files>,
    mut stdin: std::pin::Pin<Box<dyn AsyncWrite + Send>>,
    output: &Output,
) {
    let Some(files) = files else { return };
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES_QUEUED);
    let packing = tokio::task::spawn_blocking(move || {
        pack(&files, &mut Pieces { pending: Vec::with_capacity(PIECE_BYTES), sender })
    });
    let mut sent = Ok(());
    while let Some(piece) = receiver.recv().await {
        sent = stdin.write_all(&piece).await;
        if sent.is_err() {
            break;
        }
    }
    drop(receiver);
    let _ = stdin.shutdown().await;
    match (packing.await, sent) {
        (Ok(Err(error)), Ok(())) => output.line(&format!("the source could not be read: {error}")),
        (Err(error), _) => output.line(&format!("the source could not be read: {error}")),
        (_, Err(error)) => output.line(&format!("the source could not be sent: {error}")),
        (Ok(Ok(())), Ok(())) => {}
    }
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
    sender: mpsc::Sender<Bytes>,
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
        self.sender.blocking_send(piece.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
