//! Stands before a registry, and answers in its stead when it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How a registry behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it is.
    Well = 0,
    /// 500 to everything.
    Broken = 1,
    /// 401 to everything, with and without a password.
    Refusing = 2,
    /// Takes every request and never answers.
    Hanging = 3,
}

/// A registry's place on the network, with a mood that can be changed at any moment.
pub struct FaultProxy {
    pub address: SocketAddr,
    mood: Arc<AtomicU8>,
    faults: Arc<AtomicU64>,
}

/// Within this time after a change of mood no connection has the former one.
const NOTICED_WITHIN: Duration = Duration::from_millis(50);

impl FaultProxy {
    pub fn before(registry: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, faults) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicU64::new(0)));
        let (now, counted) = (Arc::clone(&mood), Arc::clone(&faults));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (now, counted) = (Arc::clone(&now), Arc::clone(&counted));
                thread::spawn(move || {
                    let _ = serve(stream, registry, &now, &counted);
                });
            }
        });
        Self { address, mood, faults }
    }

    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
        thread::sleep(NOTICED_WITHIN * 2);
    }

    /// Returns how many requests met with a fault.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, registry: SocketAddr, now: &AtomicU8, faults: &AtomicU64) -> std::io::Result<()> {
    let mood = now.load(Ordering::SeqCst);
    client.set_read_timeout(Some(NOTICED_WITHIN))?;
    if mood == Mood::Well as u8 {
        let server = TcpStream::connect(registry)?;
        server.set_read_timeout(Some(NOTICED_WITHIN))?;
        return thread::scope(|scope| {
            scope.spawn(|| pump(&server, &client, now));
            pump(&client, &server, now);
            Ok(())
        });
    }
    faults.fetch_add(1, Ordering::SeqCst);
    let mut piece = [0; 4096];
    let mut head = Vec::new();
    while now.load(Ordering::SeqCst) == mood {
        match (&client).read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => head.extend_from_slice(&piece[..read]),
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(error),
        }
        if mood != Mood::Hanging as u8 && head.windows(4).any(|end| end == b"\r\n\r\n") {
            let status = if mood == Mood::Broken as u8 {
                "500 Internal Server Error\r\n"
            } else {
                "401 Unauthorized\r\nwww-authenticate: Basic realm=\"tests\"\r\n"
            };
            write!(&client, "HTTP/1.1 {status}content-length: 0\r\nconnection: close\r\n\r\n")?;
            return client.shutdown(Shutdown::Both);
        }
    }
    client.shutdown(Shutdown::Both)
}

/// Carries bytes one way until either side ends or the mood changes.
fn pump(mut from: &TcpStream, mut to: &TcpStream, now: &AtomicU8) {
    let mut piece = vec![0; 64 * 1024];
    while now.load(Ordering::SeqCst) == Mood::Well as u8 {
        match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                if to.write_all(&piece[..read]).is_err() {
                    break;
                }
            }
            Err(error) if is_silence(&error) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
