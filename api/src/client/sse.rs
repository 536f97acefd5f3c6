//! Server-Sent Events out of bytes.

use futures_util::Stream;
use futures_util::stream::{self, StreamExt};

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its name.
    pub(super) event: String,
    /// What it says.
    pub(super) data: String,
}

/// Returns the events in a stream of bytes, as they come whole. Comments are left out; ids are in the data.
pub(super) fn frames<B: AsRef<[u8]>, E>(
    bytes: impl Stream<Item = Result<B, E>>,
) -> impl Stream<Item = Result<Frame, E>> {
    bytes
        .scan(Reader::default(), |reader, next| {
            let frames: Vec<_> = match next {
                Ok(bytes) => reader.take(bytes.as_ref()).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            std::future::ready(Some(stream::iter(frames)))
        })
        .flatten()
}

#[derive(Debug, Default)]
struct Reader {
    line: Vec<u8>,
    frame: Frame,
    has_data: bool,
}

impl Reader {
    fn take(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                frames.extend(self.line(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n'])));
            }
        }
        frames
    }

    fn line(&mut self, line: &str) -> Option<Frame> {
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            return std::mem::take(&mut self.has_data).then_some(frame);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.frame.event = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_are_whole_wherever_the_bytes_are_cut() {
        let text = ": hello\n\nid: 1\nevent: a\ndata: {\"x\":\ndata: \"\u{fc}\"}\n\ndata:b\r\n\r\nevent: no data\n\n";
        let expected = [
            Frame { event: "a".into(), data: "{\"x\":\n\"\u{fc}\"}".into() },
            Frame { event: String::new(), data: "b".into() },
        ];
        for size in 1..text.len() {
            let chunks = text.as_bytes().chunks(size).map(Ok::<_, ()>);
            let found: Vec<_> = frames(stream::iter(chunks)).map(Result::unwrap).collect().await;
            assert_eq!(found, expected, "in chunks of {size}");
        }
    }
}
