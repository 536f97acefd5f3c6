//! Follows the log and notes which runs have moved. Never waits for a forge.

use std::sync::Arc;

use futures_util::StreamExt;
use landfall_engine::core::event::{Envelope, Event};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{Cursor, ReadError};

use super::Telling;

/// Follows until the server stops, or its log does.
pub(super) async fn follow(telling: Arc<Telling>) {
    let mut ledger = telling.parts.ledger.clone();
    // Whatever changed while nobody was here: each is told as it is now, if that is news.
    for (run, app) in telling.book().runs() {
        telling.enqueue(&app, run);
    }
    telling.take_up_what_is_open().await;
    let mut failures = 0;
    loop {
        let mut events = telling.parts.store.follow(telling.book().cursor());
        loop {
            tokio::select! {
                () = telling.parts.stop.cancelled() => return,
                Ok(()) = ledger.changed() => telling.take_up_what_is_open().await,
                next = events.next() => match next {
                    Some(Ok((cursor, envelope))) => {
                        failures = 0;
                        telling.heed(cursor, &envelope);
                    }
                    Some(Err(error)) => tracing::warn!(%error, "an event can't be read, so no forge is told of it"),
                    None => break,
                },
            }
        }
        failures += 1;
        tokio::select! {
            () = telling.parts.stop.cancelled() => return,
            _ = telling.parts.store.failed() => return,
            () = tokio::time::sleep(telling.parts.pace.pause(failures, None)) => {}
        }
    }
}

impl Telling {
    /// Takes up the open runs of apps that have a forge and had none when the runs began.
    async fn take_up_what_is_open(self: &Arc<Self>) {
        // Looked at before the open ones are: a run that is let go of meanwhile is over, and not taken up again.
        let known: Vec<RunId> = self.book().runs().into_iter().map(|(run, _)| run).collect();
        let taken_up = async {
            for run in self.parts.store.open_runs().await? {
                if !known.contains(&run)
                    && let Some(summary) = self.parts.store.run(run).await?
                {
                    self.take_up(run, &summary.lane.app);
                }
            }
            Ok::<(), ReadError>(())
        };
        if let Err(error) = taken_up.await {
            tracing::warn!(%error, "the open runs could not be read, so forges are not told of all");
        }
    }

    fn take_up(self: &Arc<Self>, run: RunId, app: &str) {
        if self.forge(app).is_none() {
            return;
        }
        let (is_new, let_go) = self.book().take_up(run, app);
        if let Some(let_go) = let_go {
            tracing::warn!(app, run = %let_go, "its forge was away for too long: how this run ended is not told");
        }
        if is_new {
            self.changed.notify_one();
            self.enqueue(app, run);
        }
    }

    fn heed(self: &Arc<Self>, cursor: Cursor, envelope: &Envelope) {
        let run = envelope.run_id;
        if let Event::RunStarted { lane, .. } = &envelope.event {
            if self.book().is_news(run) {
                self.take_up(run, &lane.app);
            }
        } else if moves(&envelope.event) {
            let app = self.book().told(run).map(|told| told.app.clone());
            if let Some(app) = app {
                self.enqueue(&app, run);
            }
        }
        // Behind what it led to: a book that was written in between leads to the same once more.
        self.book().pass(cursor);
    }
}

/// Tells whether a run may stand otherwise after an event. What is not named here does at worst cost a look.
fn moves(event: &Event) -> bool {
    !matches!(
        event,
        Event::NoticeStarted { .. }
            | Event::NoticeRecovered { .. }
            | Event::NoticeSent { .. }
            | Event::NoticeErrored { .. }
            | Event::StageRecovered { .. }
            | Event::UndoRecovered { .. }
            | Event::RollbackRecovered { .. }
            | Event::Ledger(_)
    )
}
