//! Who listens while the server lives: to every event that it tells, and to what Docker says happened.
//!
//! What was heard can't be unsaid. After a kill it is held against the log.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::yard::{TOKEN, Yard};

/// What was heard, from all lives of a server.
pub struct Witness {
    heard: Arc<Mutex<Heard>>,
    docker: Arc<Mutex<Vec<Value>>>,
    listener: Child,
}

#[derive(Default)]
struct Heard {
    /// The place from which to listen on, as the server named it.
    cursor: Option<String>,
    events: Vec<Value>,
}

impl Witness {
    /// Begins to listen to Docker. The log's id has to be known, so a server was started before.
    pub fn of(yard: &Yard) -> Self {
        let log = yard.log_id().expect("a server was started once");
        let filter = format!("label=landfall.log={log}");
        let mut listener = yard
            .docker(&["events", "--since", "0", "--filter", &filter, "--format", "{{json .}}"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let docker = Arc::new(Mutex::new(Vec::new()));
        let (lines, kept) = (BufReader::new(listener.stdout.take().unwrap()), Arc::clone(&docker));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                kept.lock().unwrap().extend(serde_json::from_str::<Value>(&line));
            }
        });
        Self { heard: Arc::default(), docker, listener }
    }

    /// Listens to a server that has started, from where the one before it was cut off, until it is gone.
    pub fn listen(&self, yard: &Yard) -> thread::JoinHandle<()> {
        let (heard, port) = (Arc::clone(&self.heard), yard.port);
        thread::spawn(move || {
            let _ = hear(&heard, port);
        })
    }

    /// Returns every event that a server told, in the order in which it was told.
    pub fn events(&self) -> Vec<Value> {
        self.heard.lock().unwrap().events.clone()
    }

    /// Returns what happened to containers of this log, as Docker told it.
    pub fn containers(&self) -> Vec<Value> {
        self.docker.lock().unwrap().iter().filter(|event| event["Type"] == "container").cloned().collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
    }
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
