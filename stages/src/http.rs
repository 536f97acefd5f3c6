//! One GET and its whole answer, within a limit: what smoke checks and proofs are made of.
//!
//! No redirect is followed and nothing is tried twice: an answer is what the first request got.

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use reqwest::StatusCode;
use reqwest::header::HOST;
use reqwest::header::HeaderMap;
use reqwest::header::RETRY_AFTER;

use crate::proxy::PROBE_HEADER;

/// As much of a body as a check looks at; a page is smaller, and a download is not to fill our memory.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A question to an app.
#[derive(Clone, Debug)]
pub(crate) struct Get<'a> {
    /// Where it is sent.
    pub(crate) address: SocketAddr,
    /// The app's own host name. None: the address stands for it.
    pub(crate) host: Option<&'a str>,
    /// Path and query.
    pub(crate) path: &'a str,
    /// Asks the proxy which release answers.
    pub(crate) probe: bool,
    /// Until the last byte of the body.
    pub(crate) limit: Duration,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Its body, or the first [`BODY_BYTES_MAX`] of it.
    pub(crate) body: Vec<u8>,
    /// True when the body went on.
    pub(crate) cut: bool,
    /// To the last byte that was read.
    pub(crate) took: Duration,
}

impl Answer {
    /// Returns a header as text, if it is there and plain.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Nobody took the connection.
    Unconnected(String),
    /// The limit passed.
    Late,
    /// The connection broke, or what came is no HTTP.
    Broken(String),
}

/// Asks once.
pub(crate) async fn get(http: &reqwest::Client, get: Get<'_>) -> Result<Answer, NoAnswer> {
    let Get { address, host, path, probe, limit } = get;
    let mut request = http.get(format!("http://{address}{path}"));
    if let Some(host) = host {
        request = request.header(HOST, host);
    }
    if probe {
        request = request.header(PROBE_HEADER, "1");
    }
    match tokio::time::timeout(limit, whole(request)).await {
        Ok(answer) => answer,
        Err(_) => Err(NoAnswer::Late),
    }
}

async fn whole(request: reqwest::RequestBuilder) -> Result<Answer, NoAnswer> {
    let asked = Instant::now();
    let mut response = request.send().await.map_err(|error| no_answer(&error))?;
    let mut answer = Answer {
        status: response.status().as_u16(),
        headers: std::mem::take(response.headers_mut()),
        ..Answer::default()
    };
    while let Some(piece) = response.chunk().await.map_err(|error| no_answer(&error))? {
        let room = BODY_BYTES_MAX - answer.body.len();
        answer.body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            answer.cut = true;
            break;
        }
    }
    answer.took = asked.elapsed();
    Ok(answer)
}

fn no_answer(error: &reqwest::Error) -> NoAnswer {
    if error.is_connect() {
        return NoAnswer::Unconnected(cause(error));
    }
    NoAnswer::Broken(cause(error))
}

/// Returns what went wrong at the bottom of an error, without the URL that reqwest would print.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut deepest: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(below) = deepest.and_then(std::error::Error::source) {
        deepest = Some(below);
    }
    let text = deepest.map_or_else(|| "the request could not be sent".to_owned(), ToString::to_string);
    // "Connection refused (os error 111)": the number says nothing to people.
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// So much of an answer that is only quoted is read.
const QUOTABLE_BYTES_MAX: usize = 4_096;

/// Returns the beginning of a body as text; what can't be read is left out.
pub(crate) async fn beginning(mut response: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() >= QUOTABLE_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Tells whether the same request may be answered otherwise later: it came too early, too often, or to a server that
/// is in trouble. Any other refusal is an answer.
pub(crate) fn may_change(status: StatusCode) -> bool {
    let early_or_often =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    early_or_often || status.is_server_error()
}

/// Returns how long a server asks to be left alone. Those that say it with a date are taken not to have said it.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Returns a duration as it is written in `landfall.toml`.
pub(crate) fn written(limit: Duration) -> String {
    let whole_ms = Duration::from_millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    humantime::format_duration(whole_ms).to_string().replace(' ', "")
}
