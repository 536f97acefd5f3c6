//! Ten thousand requests that nobody should send, to the real binary: each is answered with a 4xx or a closed
//! connection, and the server is afterwards as it was before.
//!
//! `LANDFALL_SEED=N` repeats what a failure names.

use std::collections::BTreeMap;
use std::path::Path;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::binary::{Process, end_proxy};
use crate::fixture::PATIENCE;

/// What is sent before memory is looked at: buffers and tables get the size that they keep.
const WARM_UP: usize = 3_000;
/// What is sent then.
const REQUESTS: usize = 10_000;
/// How much more memory the server may have afterwards: what the allocator keeps of the largest few requests. A leak
/// of 1 KiB a request would be 10 MB.
const GROWTH_KIB_MAX: u64 = 6 * 1024;
/// Requests under way at once.
const AT_ONCE: usize = 16;
/// An answer is read no further: its first line is what counts.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_no_5xx_no_panic_and_no_memory() {
    let seed = std::env::var("LANDFALL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("stderr");
    let server = Process::start_with_stderr(&data.path().join("data"), &log).await;
    let address = server.address();
    let token = std::fs::read_to_string(server.value("token")).unwrap().trim().to_owned();
    let mut rng = Rng::with_seed(seed);
    send(&address, &token, WARM_UP, &mut rng, seed).await;
    let before_kib = server.resident_kib();
    let answered = send(&address, &token, REQUESTS, &mut rng, seed).await;
    let grown_kib = server.resident_kib().saturating_sub(before_kib);
    let well = exchange(&address, &healthz()).await;
    assert_eq!(status_of(&well), Some(200), "seed {seed}");
    assert!(grown_kib <= GROWTH_KIB_MAX, "seed {seed}: {grown_kib} KiB more than {before_kib} KiB");
    assert_eq!(server.end().await, Some(0));
    end_proxy(&data.path().join("data")).await;
    let said = std::fs::read_to_string(&log).unwrap();
    let bad: Vec<&str> =
        said.lines().filter(|line| line.contains("panicked") || line.contains("ERROR")).collect();
    assert_eq!(bad, Vec::<&str>::new(), "seed {seed}");
    // They get past the door, past the routes, and as far as what reads bodies.
    for status in [400, 401, 404, 405, 413] {
        assert!(answered.contains_key(&Some(status)), "seed {seed}: no {status} among {answered:?}");
    }
    println!(
        "{REQUESTS} malformed requests (seed {seed}): {grown_kib} KiB more than {before_kib} KiB; {answered:?}"
    );
}

/// Sends so many and returns how often each status was the answer.
async fn send(address: &str, token: &str, count: usize, rng: &mut Rng, seed: u64) -> Statuses {
    let (mut under_way, mut answered) = (JoinSet::new(), Statuses::new());
    for _ in 0..count {
        while under_way.len() >= AT_ONCE {
            *answered.entry(under_way.join_next().await.unwrap().unwrap()).or_default() += 1;
        }
        let (address, request) = (address.to_owned(), request(rng, token));
        under_way.spawn(async move {
            let answer = exchange(&address, &request).await;
            // No answer at all is one too, for what is no HTTP.
            let status = status_of(&answer);
            // There is no Docker here, and that is the truth which /readyz is asked for.
            let line = request.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let is_unready = status == Some(503) && String::from_utf8_lossy(line).contains(" /readyz");
            assert!(
                is_unready || status.is_none_or(|status| status < 500),
                "seed {seed}: {}\nanswered {}",
                String::from_utf8_lossy(&request.bytes[..request.bytes.len().min(2_000)]),
                String::from_utf8_lossy(&answer[..answer.len().min(2_000)])
            );
            status
        });
    }
    while let Some(status) = under_way.join_next().await {
        *answered.entry(status.unwrap()).or_default() += 1;
    }
    answered
}

type Statuses = BTreeMap<Option<u16>, usize>;

/// Sends a request and returns what is answered. One that is not whole is ended, or the server would wait for the rest;
/// one that is whole is not, or the server would take it for a client that hung up.
async fn exchange(address: &str, request: &Request) -> Vec<u8> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.expect("the server is there");
        // It may hang up before it has read all.
        let _ = stream.write_all(&request.bytes).await;
        if !request.is_whole {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let mut buffer = [0; 8 * 1024];
        while answer.len() < ANSWER_BYTES_MAX {
            match stream.read(&mut buffer).await {
                Ok(1..) if answer.starts_with(b"HTTP/1.1 2") && is_stream(&answer) => break,
                Ok(read @ 1..) => answer.extend_from_slice(&buffer[..read]),
                Ok(0) | Err(_) => break,
            }
        }
        answer
    };
    timeout(PATIENCE, talk).await.expect("every request comes to an end")
}

fn is_stream(answer: &[u8]) -> bool {
    String::from_utf8_lossy(answer).contains("text/event-stream")
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.get(..12)?).ok()?;
    line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

const METHODS: [&str; 12] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "BREW", "PRI"];
const ROUTES: [&str; 26] = [
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1",
    "/v1/server",
    "/v1/openapi.json",
    "/v1/apps",
    "/v1/apps/{}",
    "/v1/apps/{}/runs",
    "/v1/apps/{}/rollback",
    "/v1/apps/{}/secrets/{}",
    "/v1/runs",
    "/v1/runs/{}",
    "/v1/runs/{}/events",
    "/v1/runs/{}/output",
    "/v1/runs/{}/cancel",
    "/v1/runs/{}/retry",
    "/v1/runs/{}/skip",
    "/v1/tokens",
    "/v1/tokens/{}",
    "/v1/prune",
    "/v1/hooks/github/{}",
    "/v1/hooks/gitlab/{}",
    "/git/{}.git/info/refs",
    "/git/{}.git/git-receive-pack",
];
const NAMES: [&str; 14] = [
    "shop",
    "..",
    "%2e%2e",
    "%00",
    "%ff",
    "a%2Fb",
    "-shop",
    "",
    "01890000-0000-7000-8000-000000000000",
    "last",
    "%C3%A9t%C3%A9",
    "'%20OR%201=1",
    "${jndi:x}",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];
const QUERIES: [&str; 12] = [
    "",
    "?",
    "?limit=-1",
    "?limit=99999999999999999999",
    "?app=%ff",
    "?state=nothing",
    "?before=1&before=2",
    "?after=%00",
    "?stage=../../etc/passwd&attempt=0",
    "?attempt=-1",
    "?service=git-receive-pack",
    "?&&=&=",
];
const HEADERS: [&str; 16] = [
    "Content-Type: application/json",
    "Content-Type: text/plain",
    "Content-Type: application/x-www-form-urlencoded",
    "Accept: text/event-stream",
    "Last-Event-ID: 18446744073709551616",
    "Last-Event-ID: \u{fe}",
    "Idempotency-Key: ",
    "Idempotency-Key: \u{1f4a5}",
    "If-None-Match: \"",
    "If-Match: *",
    "Expect: 100-continue",
    "X-Hub-Signature-256: sha256=zz",
    "X-GitHub-Event: push",
    "X-Gitlab-Token: wrong",
    "Content-Encoding: gzip",
    "Range: bytes=5-1",
];
const BODIES: [&str; 18] = [
    "",
    "{",
    "null",
    "[]",
    "\"text\"",
    "{\"reason\":7}",
    "{\"commit\":\"../..\"}",
    "{\"ref\":\"--upload-pack=x\"}",
    "{\"repository\":\"ext::sh -c id\"}",
    "{\"unknown\":1}",
    "{\"a\":1,\"a\":2}",
    "{\"env\":\"\\u0000\"}",
    "{\"older_than\":\"-1d\"}",
    "{\"label\":\"engine\",\"scope\":\"admin\"}",
    "{\"git\":\"http://\"}",
    "\u{feff}{}",
    "{\"value\":1e999}",
    "{\"to\":\"00000000-0000-0000-0000-000000000000\"}",
];

/// What is sent.
struct Request {
    bytes: Vec<u8>,
    /// The server can tell where it ends.
    is_whole: bool,
}

fn healthz() -> Request {
    let bytes = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec();
    Request { bytes, is_whole: true }
}

fn cut_off(bytes: Vec<u8>) -> Request {
    Request { bytes, is_whole: false }
}

/// Returns a request that is wrong in one way at least.
fn request(rng: &mut Rng, token: &str) -> Request {
    match rng.u8(..8) {
        0 => cut_off(noise(rng, 400)),
        1 => cut_off(
            [format!("{} ", pick(rng, &METHODS)).into_bytes(), noise(rng, 60), b"\r\n\r\n".to_vec()].concat(),
        ),
        2 => {
            let body = nested(rng);
            framed(rng, token, body)
        }
        3 => abused(rng, token),
        4 => {
            let length = rng.usize(..200_000);
            let head =
                format!("POST /v1/apps/shop/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
            let head = format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
            Request { bytes: [head.into_bytes(), vec![b'x'; length]].concat(), is_whole: true }
        }
        5 => {
            let mut body = pick(rng, &BODIES).as_bytes().to_vec();
            body.truncate(rng.usize(..=body.len()));
            body.extend(noise(rng, 20));
            framed(rng, token, body)
        }
        _ => {
            let body = pick(rng, &BODIES).as_bytes().to_vec();
            framed(rng, token, body)
        }
    }
}

/// Puts a head before a body.
fn framed(rng: &mut Rng, token: &str, body: Vec<u8>) -> Request {
    let mut path = String::new();
    for (i, part) in pick(rng, &ROUTES).split("{}").enumerate() {
        if i > 0 {
            path += pick(rng, &NAMES);
        }
        path += part;
    }
    let mut head = format!("{} {path}{} HTTP/1.1\r\nHost: x\r\n", pick(rng, &METHODS), pick(rng, &QUERIES));
    match rng.u8(..4) {
        0 => {}
        1 => head += "Authorization: Basic %%%\r\n",
        2 => head += "Authorization: Bearer\r\n",
        // Most of what can be wrong is behind the door.
        _ => head += &format!("Authorization: Bearer {token}\r\n"),
    }
    for _ in 0..rng.usize(..5) {
        head += &format!("{}\r\n", pick(rng, &HEADERS));
    }
    let (length, is_whole) = match rng.u8(..10) {
        0 => ("Transfer-Encoding: chunked\r\n".to_owned(), false),
        1 => (format!("Content-Length: {}\r\n", body.len() + 10), false),
        2 => (format!("Content-Length: {0}\r\nContent-Length: {0}1\r\n", body.len()), false),
        _ => (format!("Content-Length: {}\r\n", body.len()), true),
    };
    let bytes = [format!("{head}{length}Connection: close\r\n\r\n").into_bytes(), body].concat();
    Request { bytes, is_whole }
}

/// A head that is too much of something.
fn abused(rng: &mut Rng, token: &str) -> Request {
    let mut head = format!("GET /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
    match rng.u8(..4) {
        0 => (0..300).for_each(|i| head += &format!("X-Header-{i}: {i}\r\n")),
        1 => head += &format!("X-Long: {}\r\n", "y".repeat(600_000)),
        2 => head = format!("GET /v1/{} HTTP/1.1\r\nHost: x\r\n", "z".repeat(rng.usize(1_000..100_000))),
        _ => head += "Transfer-Encoding: chunked, identity\r\nContent-Length: 5\r\n",
    }
    // A tunnel in a tunnel.
    cut_off(
        format!("{head}Connection: close\r\n\r\n5;ext=\"\r\nGET /v1/tokens HTTP/1.1\r\n\r\n").into_bytes(),
    )
}

fn nested(rng: &mut Rng) -> Vec<u8> {
    let depth = rng.usize(1..30_000);
    let open = pick(rng, &["[", "{\"a\":"]);
    open.repeat(depth).into_bytes()
}

fn noise(rng: &mut Rng, most: usize) -> Vec<u8> {
    (0..rng.usize(1..most)).map(|_| rng.u8(..)).collect()
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

/// Returns how much memory of a process is in use, in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
