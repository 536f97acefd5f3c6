//! A git server over HTTP, as small as it gets: git's own `http-backend` behind a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) struct GitServer {
    pub(crate) port: u16,
    pub(crate) requests: Arc<AtomicUsize>,
    /// What clients said of themselves, in base64.
    pub(crate) credentials: Arc<Mutex<Vec<String>>>,
}

/// Who is let in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    Open,
    Closed,
    /// Whoever says this, in base64.
    For(&'static str),
}

impl GitServer {
    /// Serves the repositories in a folder, or asks everybody for a password.
    pub(crate) fn start(root: &Path, wants_password: bool) -> Self {
        Self::behind(root, if wants_password { Door::Closed } else { Door::Open })
    }

    /// Serves the repositories in a folder to those who are let in.
    pub(crate) fn behind(root: &Path, door: Door) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let (root, counted) = (root.to_owned(), Arc::clone(&requests));
        let credentials = Arc::new(Mutex::default());
        let heard = Arc::clone(&credentials);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let (root, heard) = (root.clone(), Arc::clone(&heard));
                std::thread::spawn(move || answer(stream.unwrap(), &root, door, &heard));
            }
        });
        Self { port, requests, credentials }
    }
}

fn answer(mut stream: TcpStream, root: &PathBuf, door: Door, heard: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let Some(first) = head.first() else { return };
    let header = |name: &str| {
        let lines = head.iter().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let said = header("authorization").map(|value| value.trim_start_matches("Basic ").to_owned());
    heard.lock().unwrap().extend(said.clone());
    let is_let_in = match door {
        Door::Open => true,
        Door::Closed => false,
        Door::For(wanted) => said.as_deref() == Some(wanted),
    };
    if !is_let_in {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(refusal.as_bytes()).unwrap();
        return;
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let length: usize = header("content-length").map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();

    let mut backend = Command::new("git");
    backend.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    backend.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    backend.env("CONTENT_TYPE", header("content-type").unwrap_or_default());
    backend.env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default());
    backend.env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default());
    let mut backend = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    backend.stdin.take().unwrap().write_all(&body).unwrap();
    let said = backend.wait_with_output().unwrap().stdout;
    let end = said.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let headers = String::from_utf8_lossy(&said[..end]).into_owned();
    let status =
        headers.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    let length = said.len() - end - 4;
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&said[end + 4..]).unwrap();
}
