//! A run seen through a server: its events and outputs, taken up again when the connection breaks.

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use landfall_engine::core::run::RunId;
use landfall_store::OutputChunk;

use super::feed::{Events, Outputs};
use crate::client::{Client, ClientError};
use crate::fault::Fault;

/// The pause before a broken connection is taken up again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often that is tried in a row. A server that is being upgraded is back within a minute.
const TRIES_MAX: u32 = 60;

/// Follows a run through a server, across its restarts.
pub fn events(client: Client, run_id: RunId) -> Events {
    let seat = Seat { client, run_id, seen: 0, failures: 0, events: None };
    stream::unfold(Some(seat), |seat| async move {
        let mut seat = seat?;
        match seat.next().await {
            Ok(envelope) => Some((Ok(*envelope), Some(seat))),
            Err(fault) => Some((Err(fault), None)),
        }
    })
    .boxed()
}

/// A place in a run's history, and the stream that goes on from there.
struct Seat {
    client: Client,
    run_id: RunId,
    seen: u64,
    failures: u32,
    events: Option<BoxStream<'static, Result<landfall_engine::core::event::Envelope, ClientError>>>,
}

impl Seat {
    async fn next(&mut self) -> Result<Box<landfall_engine::core::event::Envelope>, Fault> {
        loop {
            let broken = match &mut self.events {
                None => match self.client.watch(self.run_id, self.seen).await {
                    Ok(events) => {
                        self.events = Some(events);
                        continue;
                    }
                    Err(error) => error,
                },
                Some(events) => match events.next().await {
                    Some(Ok(envelope)) if envelope.seq <= self.seen => continue,
                    Some(Ok(envelope)) => {
                        (self.seen, self.failures) = (envelope.seq, 0);
                        return Ok(Box::new(envelope));
                    }
                    Some(Err(error)) => error,
                    // The server ends streams when it stops.
                    None => ClientError::Broken { url: self.client.url().to_owned() },
                },
            };
            self.events = None;
            self.failures += 1;
            let is_answer = broken.status().is_some_and(|status| status < 500);
            if is_answer || self.failures > TRIES_MAX {
                return Err(broken.into());
            }
            tracing::info!(%broken, "following the run again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What stages printed, read from a server.
#[derive(Clone, Debug)]
pub struct ServerOutputs {
    client: Client,
    /// Goes along with an output that is being written; otherwise it is read as far as it is now.
    is_live: bool,
}

impl ServerOutputs {
    /// Returns outputs that are followed while they grow.
    pub const fn live(client: Client) -> Self {
        Self { client, is_live: true }
    }

    /// Returns outputs as they are now.
    pub const fn so_far(client: Client) -> Self {
        Self { client, is_live: false }
    }

    async fn open(
        self,
        run_id: RunId,
        name: String,
        attempt: u32,
    ) -> BoxStream<'static, Result<String, Fault>> {
        let outputs = match self.client.outputs(run_id).await {
            Ok(outputs) => outputs,
            Err(error) => return stream::iter([Err(error.into())]).boxed(),
        };
        let Some(found) =
            outputs.outputs.into_iter().find(|output| output.stage == name && output.attempt == attempt)
        else {
            return stream::empty().boxed();
        };
        let end = (found.live && !self.is_live).then_some(found.len);
        match self.client.output(run_id, &name, attempt).await {
            Ok(_) if end == Some(0) => stream::empty().boxed(),
            Ok(pieces) => pieces.map(|piece| piece.map_err(Fault::from)).scan(0, up_to(end)).boxed(),
            Err(error) => stream::iter([Err(error.into())]).boxed(),
        }
    }
}

type Piece = Result<String, Fault>;

/// Lets pieces through until so many bytes are read.
fn up_to(end: Option<u64>) -> impl FnMut(&mut u64, Piece) -> std::future::Ready<Option<Piece>> {
    move |read, piece| {
        let is_over = end.is_some_and(|end| *read >= end);
        *read += piece.as_ref().map_or(0, |text| text.len() as u64);
        std::future::ready((!is_over).then_some(piece))
    }
}

impl Outputs for ServerOutputs {
    fn follow(
        &self,
        run_id: RunId,
        name: &str,
        attempt: u32,
        offset: u64,
    ) -> BoxStream<'static, Result<OutputChunk, Fault>> {
        let opening = self.clone().open(run_id, name.to_owned(), attempt);
        let pieces = stream::once(opening).flatten();
        let mut read = 0;
        pieces
            .filter_map(move |piece| {
                let chunk = piece.map(|text| {
                    let skipped = usize::try_from(offset.saturating_sub(read)).unwrap_or(usize::MAX);
                    read += text.len() as u64;
                    let unseen = text.get(skipped..).unwrap_or_default().to_owned();
                    OutputChunk { text: unseen, next: read }
                });
                let is_new = chunk.as_ref().map_or(true, |chunk| !chunk.text.is_empty());
                std::future::ready(is_new.then_some(chunk))
            })
            .boxed()
    }
}
