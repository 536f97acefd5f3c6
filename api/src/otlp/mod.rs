//! Runs as traces, for a collector that speaks OTLP: a run is a trace, an attempt at a stage a span.
//!
//! ```text
//! log ──follow──▶ run_closed ──▶ its events ──▶ spans (pure) ──POST /v1/traces──▶ collector
//!                                                      └── sent: the place in DATA/otlp.json
//! ```
//!
//! Spans are made from the log, when a run is over. **Invariant:** ids come from the run and its events, so
//! a trace that is sent again after a crash is the same trace; and the place is written down behind the
//! answer, so none is lost.

mod settings;
mod spans;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{Clock, Cursor, EventStore, ReadError, SystemClock};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use settings::{OtlpError, Settings};

/// The first pause after a collector did not answer; doubled each time.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest pause: a collector that is back has what it missed within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Sends the traces of runs that are over.
#[derive(Debug)]
pub struct Exporter {
    settings: Settings,
    store: Arc<dyn EventStore>,
    http: reqwest::Client,
    file: PathBuf,
    place: Place,
}

/// How far the log was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// The store's own mark of the last run that was sent. Empty: none was.
    cursor: String,
    /// Runs that were over before are not sent: they are of the time before anybody wanted traces.
    since_ms: u64,
}

/// What a collector said.
enum Answer {
    Taken,
    /// It will never take it.
    Refused(StatusCode),
    /// Not now.
    Later(String),
}

impl Exporter {
    /// Returns the exporter that the environment asks for. None: it asks for none.
    ///
    /// # Errors
    ///
    /// [`OtlpError`] names the variable that can't be used.
    pub fn from_environment(store: &Arc<dyn EventStore>, data: &Path) -> Result<Option<Self>, OtlpError> {
        let settings = Settings::read(|name| std::env::var(name).ok())?;
        settings.map(|settings| Self::new(settings, Arc::clone(store), data)).transpose()
    }

    /// Returns an exporter; nothing is sent yet. Runs that end from now on are, whenever it begins.
    ///
    /// # Errors
    ///
    /// [`OtlpError::Http`] when HTTPS can't be spoken.
    pub fn new(settings: Settings, store: Arc<dyn EventStore>, data: &Path) -> Result<Self, OtlpError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(settings.headers.clone());
        let http = builder.build().map_err(OtlpError::Http)?;
        let file = data.join("otlp.json");
        Ok(Self { settings, store, http, place: place(&file), file })
    }

    /// Sends until `stop`. What was not sent by then is sent after the next start.
    pub async fn run(self, stop: CancellationToken) {
        tracing::info!(endpoint = %self.settings.shown(), "runs are exported as traces when they are over");
        tokio::select! {
            () = self.forever() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn forever(&self) {
        let mut place = self.place.clone();
        let mut events = self.store.follow(Cursor(place.cursor.clone()));
        while let Some(next) = events.next().await {
            match next {
                Ok((cursor, envelope)) if is_over(&envelope, place.since_ms) => {
                    self.export(envelope.run_id).await;
                    place.cursor = cursor.0;
                    keep(&self.file, &place);
                }
                Ok(_) => {}
                // One run that can't be read; the others can.
                Err(error @ ReadError::Unreadable { .. }) => tracing::warn!(%error, "a run has no trace"),
                Err(error) if !place.cursor.is_empty() => {
                    tracing::warn!(%error, "the place in the log is not of this log: traces are looked for anew");
                    place.cursor.clear();
                    events = self.store.follow(Cursor::start());
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "the log can't be followed, so no traces are exported any more");
                    return;
                }
            }
        }
    }

    /// Sends the trace of a run, however long the collector is away.
    async fn export(&self, run_id: RunId) {
        let events = match self.store.events(run_id).await {
            Ok(events) => events,
            Err(error) => return tracing::warn!(%error, %run_id, "a run has no trace"),
        };
        let Some(trace) = spans::request(&events, &self.settings.resource) else { return };
        let mut backoff = BACKOFF_FIRST;
        loop {
            match self.post(&trace).await {
                Answer::Taken => return,
                Answer::Refused(status) => {
                    return tracing::error!(%status, %run_id, "the collector refused a trace: it is given up");
                }
                Answer::Later(reason) => {
                    tracing::warn!(reason, %run_id, "the collector did not take a trace: it is sent again");
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn post(&self, trace: &serde_json::Value) -> Answer {
        match self.http.post(self.settings.endpoint.clone()).json(trace).send().await {
            Ok(answer) if answer.status().is_success() => Answer::Taken,
            // What the protocol calls retryable.
            Ok(answer) if matches!(answer.status().as_u16(), 429 | 502 | 503 | 504) => {
                Answer::Later(format!("it answered {}", answer.status()))
            }
            Ok(answer) => Answer::Refused(answer.status()),
            // The address may hold a password.
            Err(error) => Answer::Later(error.without_url().to_string()),
        }
    }
}

/// Returns how far the log was sent. The first time that is: up to now.
fn place(file: &Path) -> Place {
    let kept = std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok());
    kept.unwrap_or_else(|| {
        let place = Place { cursor: String::new(), since_ms: SystemClock.now_ms() };
        keep(file, &place);
        place
    })
}

/// Keeps the place. A disk that refuses costs traces that are sent twice.
fn keep(file: &Path, place: &Place) {
    let draft = file.with_extension("json.tmp");
    let text = serde_json::to_vec(place).expect("a place is plain data");
    let kept = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, file));
    if let Err(error) = kept {
        tracing::warn!(%error, "how far traces were sent could not be written down");
    }
}

fn is_over(envelope: &Envelope, since_ms: u64) -> bool {
    envelope.event == Event::RunClosed && envelope.recorded_at_ms >= since_ms
}
