//! The server's end of the hooks' socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::protocol::{Report, Told};
use super::telling;
use crate::server::App;

/// A hook says everything at once, as soon as it is connected.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// A push of 10,000 branches has a report of 2 MB; more than that is no push of an app.
const REPORT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Lines that wait for a slow terminal. More, and the telling waits; the run does not.
const LINES_MAX: usize = 64;
/// How long the last lines may take when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after the kernel refuses to accept: it refuses again until some file is closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why hooks can't be heard.
#[derive(Debug, thiserror::Error)]
#[error("could not open the hooks' socket {}", path.display())]
pub struct HookError {
    path: PathBuf,
    source: io::Error,
}

/// Hears hooks until the server stops. Nobody but this user can reach the socket.
///
/// # Errors
///
/// [`HookError`] at once, when the socket can't be opened.
pub fn serve_hooks(app: Arc<App>) -> Result<impl Future<Output = ()>, HookError> {
    let path = app.git.socket.clone();
    let listener = listen(&path).map_err(|source| HookError { path, source })?;
    Ok(accept(listener, app))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    // The folder's lock is ours, so a socket that is there belongs to nobody.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, app: Arc<App>) {
    let hooks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => drop(hooks.spawn(hear(stream, Arc::clone(&app)))),
            Err(error) => {
                tracing::warn!(%error, "a hook could not be heard");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Each is told that the server stops, and ends; one whose terminal stands still is left alone.
    hooks.close();
    let _ = tokio::time::timeout(STOP_TIMEOUT, hooks.wait()).await;
    let _ = std::fs::remove_file(&app.git.socket);
}

async fn hear(stream: UnixStream, app: Arc<App>) {
    let (reader, writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(REPORT_BYTES_MAX));
    let read = tokio::time::timeout(REPORT_TIMEOUT, reader.read_line(&mut line)).await;
    let report: Report = match (read, serde_json::from_str(&line)) {
        (Ok(Ok(_)), Ok(report)) => report,
        _ => return tracing::warn!("something that is no hook spoke on the hooks' socket"),
    };
    let Some(push) = app.git.pushes.get(report.push) else {
        return tracing::warn!("a hook spoke for a push that is not going on");
    };
    let (lines, told) = mpsc::channel(LINES_MAX);
    // Two tasks in one: what is told does not wait for what is written, and a hook that hangs up ends only
    // the telling.
    let gone = push.gone.clone();
    let writing = async {
        write(told, writer).await;
        gone.cancel();
    };
    tokio::join!(telling::tell(&app, &push, report.updates, lines), writing);
}

/// Writes lines until there are no more, or the hook hangs up.
async fn write(mut told: mpsc::Receiver<Told>, mut writer: OwnedWriteHalf) {
    while let Some(line) = told.recv().await {
        if writer.write_all(line.to_wire().as_bytes()).await.is_err() {
            return;
        }
    }
}
