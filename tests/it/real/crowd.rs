//! Users who ask for the page all the while: some with a connection for each request, some who keep theirs.
//!
//! A request that fails is kept with the time at which it failed; what else was going on then, the test knows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use super::yard::Yard;

/// The pause of a user between two requests.
const PAUSE: Duration = Duration::from_millis(10);

/// An answer takes a few milliseconds; on a busy machine, and with a candidate starting beside it, a few seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Users of both kinds, until they leave.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    users: Vec<thread::JoinHandle<()>>,
}

impl Crowd {
    /// Begins with so many users who come anew for each request, and so many who keep their connection.
    pub fn start(yard: &Arc<Yard>, new: usize, kept: usize) -> Self {
        let mut crowd =
            Self { stop: Arc::default(), asked: Arc::default(), failed: Arc::default(), users: Vec::new() };
        for nth in 0..new + kept {
            let (stop, asked) = (Arc::clone(&crowd.stop), Arc::clone(&crowd.asked));
            let (failed, yard) = (Arc::clone(&crowd.failed), Arc::clone(yard));
            crowd.users.push(thread::spawn(move || {
                let mut connection = None;
                while !stop.load(Ordering::SeqCst) {
                    if let Err(what) = ask(&yard, &mut connection) {
                        failed.lock().unwrap().push(format!("{:?}: {what}", SystemTime::now()));
                        connection = None;
                    }
                    if nth < new {
                        connection = None;
                    }
                    asked.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(PAUSE);
                }
            }));
        }
        crowd
    }

    /// Returns how many requests were made, and what became of those that failed.
    pub fn leave(mut self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        for user in self.users.drain(..) {
            user.join().unwrap();
        }
        let failed = self.failed.lock().unwrap().clone();
        (self.asked.load(Ordering::SeqCst), failed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Asks for the page once, on the connection that is there or a new one.
fn ask(yard: &Yard, connection: &mut Option<BufReader<TcpStream>>) -> Result<(), String> {
    let said = |doing: &'static str| move |error: std::io::Error| format!("{doing}: {error}");
    if connection.is_none() {
        let address: SocketAddr = ([127, 0, 0, 1], yard.proxy_port).into();
        let stream = TcpStream::connect(address).map_err(said("connecting"))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(said("setting the limit"))?;
        *connection = Some(BufReader::new(stream));
    }
    let Some(stream) = connection.as_mut() else { return Err("no connection".into()) };
    stream.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: hello.test\r\n\r\n").map_err(said("asking"))?;
    let mut head = String::new();
    let (mut length, mut closes) = (0, false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).map_err(said("reading"))? == 0 {
            return Err(format!("the connection was closed after {head:?}"));
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| format!("an odd length: {line}"))?;
        }
        closes |= lower.starts_with("connection: close");
        head.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(said("reading the page"))?;
    if closes {
        *connection = None;
    }
    if head.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(head.lines().next().unwrap_or("").to_owned()) }
}
