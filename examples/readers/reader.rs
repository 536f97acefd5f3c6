//! A reader of the event stream that counts, and accepts no gap.

use std::error::Error;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// What one call reads at most.
const CHUNK_BYTES: usize = 16 * 1024;

/// A connection to the event stream.
#[derive(Debug)]
pub(crate) struct Reader {
    stream: TcpStream,
    /// The rest of what was read and is no line yet.
    rest: Vec<u8>,
    seen: u64,
}

impl Reader {
    /// Connects, and waits until the stream has begun.
    pub(crate) async fn connect(address: &str) -> Result<Self, Box<dyn Error>> {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /v1/events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\nauthorization: Bearer {}\r\n\r\n",
            crate::server::TOKEN
        );
        stream.write_all(request.as_bytes()).await?;
        let mut reader = Self { stream, rest: Vec::new(), seen: 0 };
        while !reader.rest.windows(6).any(|bytes| bytes == b"retry:") {
            if reader.more().await? == 0 {
                return Err(format!("no stream: {}", String::from_utf8_lossy(&reader.rest)).into());
            }
        }
        Ok(reader)
    }

    /// Reads until it has so many events, which may be known later. 0: not known yet.
    pub(crate) async fn read(
        mut self,
        mut wanted: watch::Receiver<u64>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        loop {
            let until = *wanted.borrow_and_update();
            if until > 0 && self.seen >= until {
                return Ok(());
            }
            tokio::select! {
                read = self.more() => match read? {
                    0 => return Err(format!("the stream ended after event {}", self.seen).into()),
                    _ => self.count()?,
                },
                changed = wanted.changed() => changed?,
            }
        }
    }

    async fn more(&mut self) -> std::io::Result<usize> {
        // Nothing is lost when this is dropped: what is read is in `rest`.
        self.rest.reserve(CHUNK_BYTES);
        self.stream.read_buf(&mut self.rest).await
    }

    /// Takes the ids out of the whole lines. An id is opaque to clients; this one looks, since it counts.
    fn count(&mut self) -> Result<(), String> {
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        for line in lines.split(|byte| *byte == b'\n') {
            let Some(id) = line.strip_prefix(b"id: ") else { continue };
            let id = String::from_utf8_lossy(id);
            let seq: u64 =
                id.split('@').next().and_then(|seq| seq.parse().ok()).ok_or("an id of another form")?;
            if seq != self.seen + 1 {
                return Err(format!("event {seq} came after event {}", self.seen));
            }
            self.seen = seq;
        }
        Ok(())
    }
}
