//! Who listens while the server lives: to every event that it tells, and to what Docker says happened.
//!
//! What was heard can't be unsaid. After a kill it is held against the log. An engine of Docker that was restarted has
//! forgotten what it did before, so what was heard from each of its lives is kept here, with the time it was heard in.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::yard::{TOKEN, Yard};

/// What was heard, from all lives of a server.
pub struct Witness {
    heard: Arc<Mutex<Heard>>,
    hearing: Mutex<Option<thread::JoinHandle<()>>>,
    docker: Arc<Mutex<OfDocker>>,
    listener: Child,
}

#[derive(Default)]
struct Heard {
    /// The place from which to listen on, as the server named it.
    cursor: Option<String>,
    events: Vec<Value>,
}

#[derive(Default)]
struct OfDocker {
    events: Vec<Value>,
    /// The spans, in milliseconds since 1970, in which nothing can have been missed. No end: to this moment.
    spans: Vec<(u64, Option<u64>)>,
}

impl Witness {
    /// Begins to listen to Docker. The log's id has to be known, so a server was started before.
    pub fn of(yard: &Yard) -> Self {
        let docker = Arc::new(Mutex::new(OfDocker::default()));
        let listener = hear_docker(yard, &docker);
        Self { heard: Arc::default(), hearing: Mutex::default(), docker, listener }
    }

    /// Listens to a server that has started, from where the one before it was cut off, until it is gone.
    pub fn listen(&self, yard: &Yard) {
        let mut hearing = self.hearing.lock().unwrap();
        // What the one before told to the last is heard out first, or it would be heard twice.
        let _ = hearing.take().map(thread::JoinHandle::join);
        let (heard, port) = (Arc::clone(&self.heard), yard.port);
        *hearing = Some(thread::spawn(move || {
            let _ = hear(&heard, port);
        }));
    }

    /// Listens to a Docker engine that was started again.
    pub fn listen_to_docker(&mut self, yard: &Yard) {
        // The one before has ended with the engine that it listened to.
        let _ = self.listener.wait();
        self.listener = hear_docker(yard, &self.docker);
    }

    /// Returns every event that a server told, in the order in which it was told.
    pub fn events(&self) -> Vec<Value> {
        self.heard.lock().unwrap().events.clone()
    }

    /// Returns what happened to containers of this log, as Docker told it.
    pub fn containers(&self) -> Vec<Value> {
        let docker = self.docker.lock().unwrap();
        docker.events.iter().filter(|event| event["Type"] == "container").cloned().collect()
    }

    /// Tells whether all that happened between two moments was heard.
    pub fn heard_all(&self, from_ms: u64, until_ms: u64) -> bool {
        let docker = self.docker.lock().unwrap();
        docker.spans.iter().any(|(from, end)| *from <= from_ms && end.is_none_or(|end| until_ms <= end))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
}

/// Starts `docker events`, and keeps what it says.
fn hear_docker(yard: &Yard, docker: &Arc<Mutex<OfDocker>>) -> Child {
    let log = yard.log_id().expect("a server was started once");
    let filter = format!("label=landfall.log={log}");
    let kept = Arc::clone(docker);
    let span = {
        let mut docker = docker.lock().unwrap();
        docker.spans.push((now_ms(), None));
        docker.spans.len() - 1
    };
    // Since 0: with what happened before it has connected, as far as the engine remembers.
    let mut listener = yard
        .docker(&["events", "--since", "0", "--filter", &filter, "--format", "{{json .}}"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(listener.stdout.take().unwrap());
    thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            kept.lock().unwrap().events.extend(serde_json::from_str::<Value>(&line));
        }
        kept.lock().unwrap().spans[span].1 = Some(now_ms());
    });
    listener
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn hear(heard: &Mutex<Heard>, port: u16) -> Option<()> {
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let mut stream = TcpStream::connect(address).ok()?;
    let after = heard.lock().unwrap().cursor.clone();
    let after = after.map_or(String::new(), |cursor| format!("last-event-id: {cursor}\r\n"));
    // HTTP/1.0 has no chunks, so what comes is the events as they are.
    write!(
        stream,
        "GET /v1/events HTTP/1.0\r\nauthorization: Bearer {TOKEN}\r\naccept: text/event-stream\r\n{after}\r\n"
    )
    .ok()?;
    let mut cursor = None;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Some(id) = line.strip_prefix("id:") {
            cursor = Some(id.trim().to_owned());
        } else if let Some(data) = line.strip_prefix("data:")
            && let Ok(event) = serde_json::from_str(data)
        {
            let mut heard = heard.lock().unwrap();
            heard.cursor = cursor.take();
            heard.events.push(event);
        }
    }
    None
}
