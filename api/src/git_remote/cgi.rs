//! `git http-backend` behind our server: a process for each request, both bodies streamed.
//!
//! **Who is killed when the client hangs up?** A fetch is: nobody is left to read it. A push is not. Until its
//! body has arrived whole, the end of the body ends git by itself, and no ref has moved. From then on git is
//! about to move refs and to call the hook that triggers the run: killed in between, there would be a new
//! head on the server and no run for it. So git is let finish with its output thrown away, and what it
//! streams into the terminal is ended at its source.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use landfall_stages::git::FSCK_LENIENT;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::GitRemote;
use super::gate::{Admitted, Service};
use super::pushes::PushGuard;
use crate::error::ApiError;
use crate::server::App;

/// Packs larger than this are no app's source; git says so to the pusher.
const PUSH_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// A client that sends nothing for so long is not coming back. Packing happens before sending begins.
const SEND_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// A reader that takes nothing for so long is not reading.
const READ_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// CGI headers of http-backend are four short lines.
const HEADERS_BYTES_MAX: u64 = 8 * 1024;
/// Chunks that wait for a slow client: 16 of at most 16 KiB, so that a slow reader slows git and fills no memory.
const CHUNKS_MAX: usize = 16;
const CHUNK_BYTES: usize = 16 * 1024;
/// What is logged of git's own complaints.
const COMPLAINT_BYTES_MAX: u64 = 8 * 1024;

/// Lets git answer.
pub(super) async fn relay(app: &Arc<App>, admitted: Admitted) -> Result<Response, ApiError> {
    let is_push = admitted.service == Service::ReceivePack && admitted.acts;
    let push = is_push.then(|| app.git.pushes.begin(&admitted.app, &admitted.actor));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .envs(environment(&app.git, &admitted, push.as_ref(), std::env::var_os("PATH")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C at the server is not meant for a push that is moving refs.
        .process_group(0)
        .kill_on_drop(!is_push)
        .spawn()
        .map_err(|error| ApiError::internal("starting git (is it installed?)", error))?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(ApiError::Unavailable("git has no pipes".into()));
    };
    tokio::spawn(log_complaints(stderr, admitted.path_info));
    // On its own, so that it goes on when this request is dropped.
    let shows_progress = push.as_ref().map(|push| Arc::clone(&push.shows_progress));
    let feeding = feed(admitted.body, stdin, shows_progress);
    let (chunks, body) = mpsc::channel(CHUNKS_MAX);
    let (heads, head) = tokio::sync::oneshot::channel();
    let answering = answer(child, stdout, heads, chunks, push);
    app.git.receiving.spawn(async move {
        tokio::pin!(answering);
        tokio::select! {
            () = feeding => answering.await,
            // Git has ended; whatever else the client sends is for nobody.
            () = &mut answering => {}
        }
    });
    let head = head.await.map_err(|_| ApiError::internal("asking git", "git ended without an answer"))??;
    response(head, body)
}

/// Returns the environment of git: CGI, our settings, and nothing that was there before.
///
/// `CONTENT_LENGTH` is left out although we may know it: with it http-backend waits for that many bytes for
/// ever when the client hangs up early; without it the end of the body is the end.
fn environment(
    git: &GitRemote,
    admitted: &Admitted,
    push: Option<&PushGuard>,
    path: Option<OsString>,
) -> Vec<(String, OsString)> {
    let given = |name: &str| admitted.headers.get(name).map(|value| OsString::from(lossy(value)));
    let mut env: Vec<(&str, OsString)> = vec![
        ("PATH", path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())),
        ("LC_ALL", "C.UTF-8".into()),
        ("GIT_PROJECT_ROOT", git.root.clone().into()),
        ("GIT_HTTP_EXPORT_ALL", "1".into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
        ("REMOTE_USER", admitted.actor.clone().into()),
        ("REQUEST_METHOD", admitted.method.as_str().into()),
        ("PATH_INFO", admitted.path_info.clone().into()),
        ("QUERY_STRING", admitted.query.clone().into()),
    ];
    let from_headers = [
        ("CONTENT_TYPE", given("content-type")),
        ("HTTP_CONTENT_ENCODING", given("content-encoding")),
        ("GIT_PROTOCOL", given("git-protocol")),
    ];
    env.extend(from_headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
    if let Some(push) = push {
        env.push((super::PUSH_VARIABLE, push.id.to_string().into()));
        env.push((super::SOCKET_VARIABLE, git.socket.clone().into()));
        env.push(("LANDFALL_EXE", git.exe.clone().into()));
    }
    let mut env: Vec<(String, OsString)> =
        env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let settings = settings(&git.hooks);
    env.push(("GIT_CONFIG_COUNT".into(), settings.len().to_string().into()));
    for (nth, (key, value)) in settings.into_iter().enumerate() {
        env.push((format!("GIT_CONFIG_KEY_{nth}"), key.into()));
        env.push((format!("GIT_CONFIG_VALUE_{nth}"), value));
    }
    env
}

/// Settings of git that win over what is in the repository.
fn settings(hooks: &Path) -> Vec<(String, OsString)> {
    let lenient = FSCK_LENIENT.map(|what| (format!("receive.fsck.{what}"), "ignore".into()));
    let fixed: [(&str, OsString); 9] = [
        ("core.hooksPath", hooks.into()),
        ("core.fsmonitor", "false".into()),
        // What is pushed is checked before a ref moves: broken objects, and paths that are `.git` in disguise.
        ("receive.fsckObjects", "true".into()),
        // A git that serves reaches for no other repository.
        ("protocol.allow", "never".into()),
        ("submodule.recurse", "false".into()),
        ("http.receivepack", "true".into()),
        ("receive.maxInputSize", PUSH_BYTES_MAX.to_string().into()),
        // Deploys hang on the log and not on branches: a branch may be deleted, even the one HEAD names.
        ("receive.denyDeleteCurrent", "ignore".into()),
        ("safe.directory", "*".into()),
    ];
    fixed.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(lenient).collect()
}

/// Hands the request's body to git. Ends early when the client does, which ends git, too.
async fn feed(body: Body, mut stdin: ChildStdin, mut shows_progress: Option<Arc<AtomicBool>>) {
    let mut chunks = body.into_data_stream();
    loop {
        let chunk = match tokio::time::timeout(SEND_IDLE_TIMEOUT, chunks.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                tracing::info!(%error, "a git client hung up while it sent");
                break;
            }
            Err(_) => {
                tracing::info!("a git client fell silent while it sent");
                break;
            }
        };
        // Before git has it, and with it can call the hook that asks.
        if let Some(shows_progress) = shows_progress.take() {
            shows_progress.store(wants_progress(&chunk), Ordering::Release);
        }
        if stdin.write_all(&chunk).await.is_err() {
            // Git has read all it wants.
            break;
        }
    }
}

/// Tells whether a git that pushes shows progress, by what its first line says that it can. A git without a terminal asks
/// for quiet; of one whose first line is cut off it is not known, and nothing is drawn over.
fn wants_progress(start: &[u8]) -> bool {
    let length = start.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
    let length = length.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    let Some(line) = length.and_then(|length| start.get(4..length)) else { return false };
    let Some(nul) = line.iter().position(|byte| *byte == 0) else { return false };
    let abilities = String::from_utf8_lossy(&line[nul + 1..]);
    let mut abilities = abilities.split_ascii_whitespace();
    abilities.clone().any(|ability| ability == "side-band-64k")
        && !abilities.any(|ability| ability == "quiet")
}

/// What stands before the body of git's answer.
#[derive(Debug)]
pub(super) struct Head {
    status: StatusCode,
    headers: HeaderMap,
}

/// Hands git's answer on. Returns when git has ended.
async fn answer(
    mut child: Child,
    stdout: ChildStdout,
    heads: tokio::sync::oneshot::Sender<Result<Head, ApiError>>,
    chunks: mpsc::Sender<std::io::Result<Bytes>>,
    push: Option<PushGuard>,
) {
    let mut stdout = BufReader::with_capacity(CHUNK_BYTES, stdout);
    let head = read_head(&mut stdout).await;
    let mut listens = head.is_ok() && !chunks.is_closed();
    listens &= heads.send(head).is_ok();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        if !listens {
            match &push {
                Some(push) => push.gone.cancel(),
                None => break,
            }
        }
        let read = tokio::select! {
            read = stdout.read(&mut buffer) => read,
            () = chunks.closed(), if listens => {
                listens = false;
                continue;
            }
        };
        let chunk = match read {
            Ok(0) | Err(_) => break,
            Ok(length) => Bytes::copy_from_slice(&buffer[..length]),
        };
        if listens {
            let sent = tokio::time::timeout(READ_IDLE_TIMEOUT, chunks.send(Ok(chunk))).await;
            listens = matches!(sent, Ok(Ok(())));
        }
    }
    if push.is_none() && !listens {
        let _ = child.start_kill();
    }
    match child.wait().await {
        Ok(status) if status.success() || !listens => {}
        // The client must not take a cut answer for a whole one.
        Ok(status) => {
            tracing::warn!(%status, "git http-backend ended badly");
            let _ = chunks.send(Err(std::io::Error::other("git ended badly"))).await;
        }
        Err(error) => tracing::warn!(%error, "git http-backend could not be waited for"),
    }
}

pub(super) async fn read_head(
    stdout: &mut (impl AsyncRead + Unpin + AsyncBufReadExt),
) -> Result<Head, ApiError> {
    let wrong = |what: String| ApiError::internal("reading git's answer", what);
    let mut head = Head { status: StatusCode::OK, headers: HeaderMap::new() };
    let mut left = stdout.take(HEADERS_BYTES_MAX);
    loop {
        let mut line = String::new();
        let length = left.read_line(&mut line).await.map_err(|error| wrong(error.to_string()))?;
        let line = line.trim_end_matches(['\r', '\n']);
        if length == 0 {
            return Err(wrong("it ended within its headers".into()));
        }
        if line.is_empty() {
            return Ok(head);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| wrong(format!("{line:?} is no header")))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            head.status = code.parse().map_err(|_| wrong(format!("{value:?} is no status")))?;
        } else if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            head.headers.append(name, value);
        }
    }
}

fn response(head: Head, body: mpsc::Receiver<std::io::Result<Bytes>>) -> Result<Response, ApiError> {
    let mut response = Response::new(Body::from_stream(ReceiverStream::new(body)));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    // A length that git names may be cut short by its own end; chunks tell the difference.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(response)
}

async fn log_complaints(stderr: ChildStderr, path: String) {
    let mut said = Vec::new();
    let mut stderr = stderr;
    // A pipe that breaks has said what it had to say.
    let _ = (&mut stderr).take(COMPLAINT_BYTES_MAX).read_to_end(&mut said).await;
    let said = String::from_utf8_lossy(&said);
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        tracing::info!(path, "git: {line}");
    }
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_head_of_a_cgi_answer_is_a_status_and_headers() {
        let mut answer: &[u8] = b"Status: 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nbody";
        let head = read_head(&mut answer).await.unwrap();
        assert_eq!(head.status, StatusCode::FORBIDDEN);
        assert_eq!(head.headers["content-type"], "text/plain");
        assert_eq!(answer, b"body");
    }

    #[test]
    fn a_git_without_a_terminal_asks_for_quiet_and_is_shown_no_progress() {
        let line = |abilities: &str| {
            let text = format!("{} {} refs/heads/main\0{abilities}", "0".repeat(40), "1".repeat(40));
            format!("{:04x}{text}0000PACK", text.len() + 4)
        };
        let can = " report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5";
        assert!(wants_progress(line(can).as_bytes()));
        assert!(!wants_progress(line(&format!("{can} quiet")).as_bytes()));
        assert!(!wants_progress(line(" report-status quietly").as_bytes()));
        for cut in ["", "00", "0000", "zzzz", &line(can)[..60]] {
            assert!(!wants_progress(cut.as_bytes()), "{cut:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_ends_in_its_head_or_has_none_is_an_error() {
        for bad in ["", "Content-Type: text/plain\r\n", "no header here\r\n\r\n", "Status: many\r\n\r\n"] {
            assert!(read_head(&mut bad.as_bytes()).await.is_err(), "{bad:?}");
        }
    }
}
