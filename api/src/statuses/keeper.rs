//! Writes the book down whenever it has changed, one write at a time: what changes meanwhile is in the next.

use std::sync::Arc;

use super::Telling;

/// Writes until all is told that this server tells, and once more then.
pub(super) async fn keep(telling: Arc<Telling>) {
    let mut is_failing = false;
    loop {
        let stops = tokio::select! {
            () = telling.changed.notified() => false,
            () = telling.is_told.cancelled() => true,
        };
        let (book, data) = (telling.book().clone(), telling.parts.data.clone());
        let written = tokio::task::spawn_blocking(move || book.write(&data)).await;
        // A disk that refuses costs a repetition after a restart; it is said once and not for every status.
        match written {
            Ok(Err(error)) if !is_failing => {
                tracing::warn!(%error, "statuses.json could not be written; a restart may tell forges some things twice");
                is_failing = true;
            }
            Ok(Ok(())) => is_failing = false,
            _ => {}
        }
        if stops {
            return;
        }
    }
}
