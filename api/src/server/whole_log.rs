//! The log of all runs and of the installation, as pages or as a stream.
//!
//! Ids are opaque and exact: a reader that sends the last one that it saw gets the next event, whoever answers and
//! however long it was away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::ledger::Scope;
use landfall_engine::ports::{Cursor, ReadError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use super::auth::Identity;
use super::describe::LastEventId;
use super::extract::Params;
use super::tail::{Apps, Next};
use super::{App, page, sse};
use crate::error::ApiError;

/// How long a page may take to be found among what is left out of it. What was looked at by then is behind `next`.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// What `GET /v1/events` takes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichEvents {
    /// Only what comes after this: `next` of a page, or the id of an event of the stream. `now`: what is yet to come.
    after: Option<String>,
    /// Only events about this app.
    app: Option<String>,
    /// Only these, by name, with commas between: `run_live,run_failed`.
    #[param(pattern = "^[a-z_]+(,[a-z_]+)*$")]
    types: Option<String>,
    /// How many at most in a page. Default: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    /// The events, in the order of the log.
    pub events: Vec<Envelope>,
    /// What to give as `after` for what comes next, now or later.
    pub next: String,
}

/// `GET /v1/events`: the log of all runs and of the installation, page by page, or followed as SSE.
#[utoipa::path(
    get,
    path = "/events",
    tag = "streams",
    params(WhichEvents, LastEventId),
    responses(
        (status = 200, description = "A page of the log; with `Accept: text/event-stream`, the log followed",
            content((EventPage = "application/json"), (String = "text/event-stream")),
            headers(("Link" = Option<String>, description = "The next page, with `rel=\"next\"`, if there is more now")))
    )
)]
pub(super) async fn whole_log(
    State(app): State<Arc<App>>,
    identity: Option<Extension<Identity>>,
    uri: Uri,
    headers: HeaderMap,
    Params(which): Params<WhichEvents>,
) -> Result<Response, ApiError> {
    let limit = page::limit(which.limit)?;
    let is_admin = identity.is_some_and(|Extension(identity)| identity.may(Scope::Admin).is_ok());
    let wanted = Wanted { ledger: is_admin, ..Wanted::new(which.app, which.types.as_deref())? };
    let is_stream = sse::is_wanted(&headers);
    let last: Option<String> = if is_stream { sse::last_event_id(&headers)? } else { None };
    let cursor = match last.or(which.after).as_deref() {
        None => Cursor::start(),
        Some("now") => app.engine.store().near_end(0).await,
        Some(cursor) => Cursor(cursor.to_owned()),
    };
    if is_stream {
        return sse::answer(&app, frames(Arc::clone(&app), cursor, wanted).await?);
    }
    let (page, has_more) = one_page(&app, cursor, &wanted, limit).await?;
    let link = page::next(&uri, "after", Some(&page.next).filter(|_| has_more));
    Ok((link, Json(page)).into_response())
}

/// Which events a reader wants.
#[derive(Debug)]
struct Wanted {
    app: Option<String>,
    types: Option<BTreeSet<String>>,
    /// Decisions about the installation as well: who has which token is the administrator's to know.
    ledger: bool,
}

impl Wanted {
    fn new(app: Option<String>, types: Option<&str>) -> Result<Self, ApiError> {
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
        if let Some(wrong) = types.and_then(|types| types.split(',').find(|name| !is_name(name))) {
            return Err(ApiError::BadRequest(format!(
                "{wrong:?} is no name of an event: expected names such as run_live, with commas between"
            )));
        }
        Ok(Self {
            app,
            types: types.map(|types| types.split(',').map(str::to_owned).collect()),
            ledger: false,
        })
    }

    fn takes(&self, envelope: &Envelope, app: Option<&str>) -> bool {
        (self.ledger || !matches!(envelope.event, Event::Ledger(_)))
            && self.types.as_ref().is_none_or(|types| types.contains(envelope.event.name()))
            && self.app.as_deref().is_none_or(|wanted| app == Some(wanted))
    }

    /// Tells whether an event has to be looked up to be taken or left.
    const fn asks_for_app(&self) -> bool {
        self.app.is_some()
    }
}

type Events = BoxStream<'static, Result<(Cursor, Envelope), ReadError>>;

/// Where a reader reads.
enum Source {
    /// Along the log, since it is behind.
    Disk(Events),
    /// Where the log ends.
    Tail,
}

/// A reader of the stream, and how far it is.
struct Reader {
    app: Arc<App>,
    wanted: Wanted,
    moves: watch::Receiver<u64>,
    apps: Apps,
    seen: u64,
    cursor: Cursor,
    source: Source,
}

/// Returns what is sent to a reader, from a cursor on.
async fn frames(
    app: Arc<App>,
    cursor: Cursor,
    wanted: Wanted,
) -> Result<impl Stream<Item = Bytes> + Send + 'static, ApiError> {
    let moves = app.tail.moves();
    let (source, seen) = match app.tail.place_of(&cursor) {
        Some(seen) => (Source::Tail, seen),
        None => (Source::Disk(checked(&app, &cursor)?), 0),
    };
    let reader = Reader { app, wanted, moves, apps: Apps::default(), seen, cursor, source };
    Ok(stream::unfold(Some(reader), |reader| async move { reader?.next().await }))
}

/// Follows the log from a cursor that it gave out.
fn checked(app: &App, cursor: &Cursor) -> Result<Events, ApiError> {
    use futures_util::FutureExt;
    let mut events = app.engine.store().follow(cursor.clone()).peekable();
    // Only the store can tell whether it gave a cursor out, and does so with its first answer.
    let first = std::pin::Pin::new(&mut events).peek().now_or_never();
    if *cursor != Cursor::start()
        && let Some(Some(Err(error))) = first
    {
        tracing::info!(%error, "a cursor was not taken");
        return Err(sse::not_ours());
    }
    Ok(events.boxed())
}

impl Reader {
    /// Returns what is sent next, and the reader behind it; no reader once the stream ends.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            let frame = match &mut self.source {
                Source::Disk(events) => match events.next().await? {
                    Ok((cursor, envelope)) => self.take_from_disk(cursor, &envelope).await,
                    Err(error) => return Some((sse::broken(&error), None)),
                },
                Source::Tail => self.take_from_tail().await?,
            };
            if let Some(frame) = frame {
                return Some((frame, Some(self)));
            }
            // Much may be left out in a row.
            tokio::task::consume_budget().await;
        }
    }

    async fn take_from_disk(&mut self, cursor: Cursor, envelope: &Envelope) -> Option<Bytes> {
        let app = match self.wanted.asks_for_app() {
            true => self.apps.of(&**self.app.engine.store(), envelope).await,
            false => None,
        };
        let takes = self.wanted.takes(envelope, app.as_deref());
        let frame = takes.then(|| sse::frame(envelope.event.name(), &cursor.0, envelope));
        (self.seen, self.cursor) = (envelope.global_seq, cursor);
        if !matches!(self.app.tail.after(self.seen), Next::Behind) {
            (self.source, self.apps) = (Source::Tail, Apps::default());
        }
        frame
    }

    /// Returns what the tail has next. The outer None: there is no more, ever.
    async fn take_from_tail(&mut self) -> Option<Option<Bytes>> {
        // Marked before looking: what comes meanwhile wakes the wait.
        self.moves.mark_unchanged();
        match self.app.tail.after(self.seen) {
            Next::Told(told) => {
                (self.seen, self.cursor) = (told.envelope.global_seq, told.cursor.clone());
                let takes = self.wanted.takes(&told.envelope, told.app.as_deref());
                Some(takes.then(|| told.frame.clone()))
            }
            Next::Nothing => self.moves.changed().await.ok().map(|()| None),
            Next::Behind => {
                self.source = Source::Disk(self.app.engine.store().follow(self.cursor.clone()));
                Some(None)
            }
        }
    }
}

/// Returns what there is now behind a cursor, and whether there is more.
async fn one_page(
    app: &App,
    cursor: Cursor,
    wanted: &Wanted,
    limit: usize,
) -> Result<(EventPage, bool), ApiError> {
    let store = app.engine.store();
    let end = store.near_end(0).await;
    let mut page = EventPage { events: Vec::new(), next: cursor.0.clone() };
    if cursor == end {
        return Ok((page, false));
    }
    let (mut events, mut apps) = (checked(app, &cursor)?, Apps::default());
    let out_of_time = tokio::time::sleep(PAGE_TIMEOUT);
    tokio::pin!(out_of_time);
    while page.events.len() < limit {
        let next = tokio::select! {
            next = events.next() => next,
            () = &mut out_of_time => break,
        };
        let Some(next) = next else { break };
        let (cursor, envelope) = next?;
        page.next = cursor.0;
        let app = match wanted.asks_for_app() {
            true => apps.of(&**store, &envelope).await,
            false => None,
        };
        if wanted.takes(&envelope, app.as_deref()) {
            page.events.push(envelope);
        }
        if page.next == end.0 {
            return Ok((page, false));
        }
    }
    Ok((page, true))
}
