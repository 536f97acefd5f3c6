//! What happens to a run, as one stream: its events, and between them what the stages print.
//!
//! **Invariant:** every line of an attempt comes after the event that began it and before the event that
//! ended it, so that a reader never sees a result before what led to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::RunId;
use landfall_store::{OutputChunk, OutputDir};

use crate::fault::Fault;

/// How soon an output that is not there yet is looked for again. The intent is recorded before the
/// output is opened, and nothing announces the file.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The name under which a rollback prints.
pub const ROLLBACK: &str = "rollback";

/// Something that happens to a run.
#[derive(Clone, Debug)]
pub enum Happening {
    /// One more event.
    Event(Box<Envelope>),
    /// A line that the running stage printed.
    Line(String),
}

/// What happens to a run, as it happens.
pub type Feed = BoxStream<'static, Result<Happening, Fault>>;

/// The events of a run, as they are recorded.
pub type Events = BoxStream<'static, Result<Envelope, Fault>>;

/// Where outputs are read.
pub trait Outputs: Send + Sync {
    /// Follows the output of an attempt from an offset on. Ends when nobody writes to it, or there is none.
    fn follow(
        &self,
        run_id: RunId,
        name: &str,
        attempt: u32,
        offset: u64,
    ) -> BoxStream<'static, Result<OutputChunk, Fault>>;
}

impl Outputs for OutputDir {
    fn follow(
        &self,
        run_id: RunId,
        name: &str,
        attempt: u32,
        offset: u64,
    ) -> BoxStream<'static, Result<OutputChunk, Fault>> {
        let chunks = Self::follow(self, run_id, name, attempt, offset);
        chunks
            .map(|chunk| chunk.map_err(|error| Fault::io("could not read what a stage printed", error)))
            .boxed()
    }
}

/// Joins the events of a run with what its stages print. Ends with the events.
pub fn feed(events: Events, outputs: Arc<dyn Outputs>) -> Feed {
    let feeder = Feeder { events, outputs, ready: VecDeque::new(), printing: None, is_over: false };
    stream::unfold(feeder, |mut feeder| async move { feeder.next().await.map(|next| (next, feeder)) }).boxed()
}

/// Returns the output that an event begins, by name and attempt.
pub fn begins(event: &Event) -> Option<(&'static str, u32)> {
    match event {
        Event::StageStarted { stage, attempt, .. } => Some((stage.name(), *attempt)),
        Event::RollbackStarted { attempt, .. } => Some((ROLLBACK, *attempt)),
        _ => None,
    }
}

const fn ends(event: &Event) -> bool {
    matches!(
        event,
        Event::StageSucceeded { .. }
            | Event::StageFailed { .. }
            | Event::StageErrored { .. }
            | Event::StageUndone { .. }
            | Event::RollbackSucceeded { .. }
            | Event::RollbackErrored { .. }
    )
}

struct Feeder {
    events: Events,
    outputs: Arc<dyn Outputs>,
    ready: VecDeque<Happening>,
    printing: Option<Printing>,
    is_over: bool,
}

/// The output that is being followed.
struct Printing {
    run_id: RunId,
    name: &'static str,
    attempt: u32,
    offset: u64,
    chunks: BoxStream<'static, Result<OutputChunk, Fault>>,
}

impl Feeder {
    async fn next(&mut self) -> Option<Result<Happening, Fault>> {
        loop {
            if let Some(happening) = self.ready.pop_front() {
                return Some(Ok(happening));
            }
            if self.is_over {
                return None;
            }
            let printed = async {
                match &mut self.printing {
                    Some(printing) => printing.chunks.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                chunk = printed => self.take_chunk(chunk),
                event = self.events.next() => match event {
                    Some(Ok(envelope)) => self.take_event(envelope).await,
                    Some(Err(fault)) => return Some(Err(fault)),
                    None => {
                        self.is_over = true;
                        self.drain().await;
                    }
                },
            }
        }
    }

    fn take_chunk(&mut self, chunk: Option<Result<OutputChunk, Fault>>) {
        match (chunk, &mut self.printing) {
            (Some(Ok(chunk)), Some(printing)) => {
                printing.offset = chunk.next;
                self.ready.extend(lines(&chunk.text));
            }
            // A run is worth following without what it prints.
            (Some(Err(fault)), _) => {
                tracing::warn!(%fault, "the output of a stage is out of sight");
                self.printing = None;
            }
            (_, _) => self.printing = None,
        }
    }

    async fn take_event(&mut self, envelope: Envelope) {
        if ends(&envelope.event) {
            self.drain().await;
        }
        if let Some((name, attempt)) = begins(&envelope.event) {
            let run_id = envelope.run_id;
            let chunks = follow_on(Arc::clone(&self.outputs), run_id, name, attempt);
            self.printing = Some(Printing { run_id, name, attempt, offset: 0, chunks });
        }
        self.ready.push_back(Happening::Event(Box::new(envelope)));
    }

    /// Takes in the rest of an output whose attempt has ended.
    async fn drain(&mut self) {
        let Some(Printing { run_id, name, attempt, offset, chunks }) = self.printing.take() else { return };
        drop(chunks);
        let mut rest = self.outputs.follow(run_id, name, attempt, offset);
        while let Some(Ok(chunk)) = rest.next().await {
            self.ready.extend(lines(&chunk.text));
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = Happening> + '_ {
    text.lines().map(|line| Happening::Line(line.to_owned()))
}

/// Follows an output across its beginnings: before it is opened, and when it ends for a moment.
fn follow_on(
    outputs: Arc<dyn Outputs>,
    run_id: RunId,
    name: &'static str,
    attempt: u32,
) -> BoxStream<'static, Result<OutputChunk, Fault>> {
    let begin = outputs.follow(run_id, name, attempt, 0);
    stream::unfold((begin, 0, outputs), move |(mut chunks, mut offset, outputs)| async move {
        loop {
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    offset = chunk.next;
                    return Some((Ok(chunk), (chunks, offset, outputs)));
                }
                Some(Err(fault)) => return Some((Err(fault), (chunks, offset, outputs))),
                None => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    chunks = outputs.follow(run_id, name, attempt, offset);
                }
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use landfall_engine::core::event::EventHash;
    use landfall_engine::core::facts::{Facts, TestReport};
    use landfall_engine::core::stage::Stage;
    use landfall_engine::ports::OutputLog;
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::*;

    fn envelope(seq: u64, event: Event) -> Envelope {
        Envelope {
            run_id: RunId(Uuid::nil()),
            seq,
            global_seq: seq,
            event_id: Uuid::nil(),
            schema: 1,
            recorded_at_ms: 0,
            actor: "engine".into(),
            engine: "0.1.0".into(),
            effect_key: None,
            event,
            hash: EventHash::default(),
        }
    }

    fn started() -> Envelope {
        envelope(1, Event::StageStarted { stage: Stage::Test, attempt: 1, deadline_ms: 0 })
    }

    fn succeeded() -> Envelope {
        let facts = Facts::Test(TestReport::default());
        envelope(2, Event::StageSucceeded { stage: Stage::Test, attempt: 1, facts, took_ms: 0, output: None })
    }

    fn told(happening: &Happening) -> String {
        match happening {
            Happening::Event(envelope) => envelope.event.name().into(),
            Happening::Line(line) => line.clone(),
        }
    }

    fn outputs() -> (tempfile::TempDir, Arc<OutputDir>) {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Arc::new(OutputDir::new(folder.path()));
        (folder, outputs)
    }

    async fn all(feed: Feed) -> Vec<String> {
        feed.map(|happening| told(&happening.unwrap())).collect().await
    }

    #[tokio::test]
    async fn a_history_is_told_with_what_was_printed_before_each_result() {
        let (_folder, outputs) = outputs();
        let mut output = outputs.open(RunId(Uuid::nil()), "test", 1).unwrap();
        ["one", "two"].iter().for_each(|line| output.line(line).unwrap());
        output.finish().unwrap();
        let events = stream::iter([Ok(started()), Ok(succeeded())]).boxed();
        assert_eq!(all(feed(events, outputs)).await, ["stage_started", "one", "two", "stage_succeeded"]);
    }

    #[tokio::test]
    async fn an_output_that_is_opened_after_its_intent_is_followed_as_it_grows() {
        let (_folder, outputs) = outputs();
        let (events, received) = mpsc::unbounded_channel();
        let received = tokio_stream::wrappers::UnboundedReceiverStream::new(received).boxed();
        let mut feed = feed(received, Arc::clone(&outputs) as _);
        events.send(Ok(started())).unwrap();
        assert_eq!(told(&feed.next().await.unwrap().unwrap()), "stage_started");
        // Nothing is there yet: the feed waits, and must not take that for the end.
        let waiting = tokio::time::timeout(LOOK_AGAIN * 2, feed.next()).await;
        assert!(waiting.is_err());
        let mut output = outputs.open(RunId(Uuid::nil()), "test", 1).unwrap();
        output.line("one").unwrap();
        assert_eq!(told(&feed.next().await.unwrap().unwrap()), "one");
        output.line("two").unwrap();
        output.finish().unwrap();
        events.send(Ok(succeeded())).unwrap();
        drop(events);
        assert_eq!(all(feed).await, ["two", "stage_succeeded"]);
    }

    #[tokio::test]
    async fn what_an_open_attempt_has_printed_so_far_is_told_before_the_end_of_the_feed() {
        let (_folder, outputs) = outputs();
        let mut output = outputs.open(RunId(Uuid::nil()), "test", 1).unwrap();
        output.line("half").unwrap();
        drop(output);
        let events = stream::iter([Ok(started())]).boxed();
        assert_eq!(all(feed(events, outputs)).await, ["stage_started", "half"]);
    }
}
