//! What forges were told, kept in `DATA/statuses.json`, so that a restart tells nothing twice and nothing of old.
//!
//! Whoever is told twice is told the same: a note that a crash took away costs one repetition, and no more.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use landfall_engine::core::run::RunId;
use landfall_engine::ports::{Cursor, EventStore, RunQuery};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::standing::Line;
use crate::data_dir::write_private;

/// How many runs of one app are kept in mind. A forge that is away for longer than so many runs take learns of the
/// newest.
const APP_RUNS_MAX: usize = 100;

/// What the forge of a run was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) app: String,
    /// Of the commit, last.
    pub(super) commit: Option<Line>,
    /// Of the deploy, last.
    pub(super) deploy: Option<Line>,
    /// The number that the forge gave the deploy.
    pub(super) deployment: Option<u64>,
}

/// What all forges were told of the runs that are not over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    log: Uuid,
    /// Every run that began before this place in the log is below, or over and told.
    cursor: String,
    /// The newest run of the time before there was a book: what began up to there is history.
    history_to: Option<RunId>,
    runs: BTreeMap<RunId, Told>,
}

fn path(data: &Path) -> PathBuf {
    data.join("statuses.json")
}

impl Book {
    /// Reads the book of a data folder. One that is missing, broken or of another log is begun anew, at the present.
    pub(super) async fn open(data: &Path, store: &dyn EventStore) -> Self {
        match read(data) {
            Ok(Some(book)) if book.log == store.log_id() => return book,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "statuses.json could not be read; forges are told how all stands now");
            }
        }
        let newest = store.runs(RunQuery { limit: 1, ..RunQuery::default() }).await;
        let newest = newest.inspect_err(|error| tracing::warn!(%error, "the newest run could not be read"));
        let history_to = newest.unwrap_or_default().first().map(|run| run.id);
        Self { log: store.log_id(), history_to, ..Self::default() }
    }

    /// Writes the book, whole or not at all. May wait for the disk.
    pub(super) fn write(&self, data: &Path) -> io::Result<()> {
        write_private(&path(data), &serde_json::to_vec(self)?)
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor(self.cursor.clone())
    }

    /// Moves on in the log.
    pub(super) fn pass(&mut self, cursor: Cursor) {
        self.cursor = cursor.0;
    }

    /// Tells whether the run that begins here began after the book did.
    pub(super) fn is_news(&mut self, run: RunId) -> bool {
        match self.history_to {
            None => true,
            Some(last) => {
                if last == run {
                    self.history_to = None;
                }
                false
            }
        }
    }

    /// Keeps a run in mind from now on. Returns false when it was already, and what was let go of to make room.
    pub(super) fn take_up(&mut self, run: RunId, app: &str) -> (bool, Option<RunId>) {
        if self.runs.contains_key(&run) {
            return (false, None);
        }
        self.runs.insert(run, Told { app: app.to_owned(), ..Told::default() });
        let of_app = || self.runs.iter().filter(|(_, told)| told.app == app);
        let oldest =
            (of_app().count() > APP_RUNS_MAX).then(|| of_app().next().map(|(run, _)| *run)).flatten();
        if let Some(oldest) = oldest {
            self.runs.remove(&oldest);
        }
        (true, oldest)
    }

    /// Returns what was told of a run; None when it is not kept in mind.
    pub(super) fn told(&self, run: RunId) -> Option<&Told> {
        self.runs.get(&run)
    }

    /// Notes what was told of a run.
    pub(super) fn note(&mut self, run: RunId, note: impl FnOnce(&mut Told)) {
        if let Some(told) = self.runs.get_mut(&run) {
            note(told);
        }
    }

    /// Lets go of a run. Returns false when it was not kept in mind.
    pub(super) fn let_go(&mut self, run: RunId) -> bool {
        self.runs.remove(&run).is_some()
    }

    /// Returns every run that is kept in mind, with its app.
    pub(super) fn runs(&self) -> Vec<(RunId, String)> {
        self.runs.iter().map(|(run, told)| (*run, told.app.clone())).collect()
    }
}

fn read(data: &Path) -> io::Result<Option<Book>> {
    match std::fs::read(path(data)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> RunId {
        RunId(Uuid::from_u128(n))
    }

    #[test]
    fn of_too_many_runs_the_oldest_of_the_same_app_is_let_go() {
        let mut book = Book::default();
        book.take_up(id(1), "other");
        for n in 0..APP_RUNS_MAX as u128 {
            assert_eq!(book.take_up(id(10 + n), "shop"), (true, None));
        }
        assert_eq!(book.take_up(id(10), "shop"), (false, None));
        assert_eq!(book.take_up(id(1_000), "shop"), (true, Some(id(10))));
        assert!(book.told(id(1)).is_some() && book.told(id(1_000)).is_some());
    }

    #[test]
    fn what_began_up_to_the_newest_run_of_before_is_history() {
        let mut book = Book { history_to: Some(id(2)), ..Book::default() };
        assert!(!book.is_news(id(1)) && !book.is_news(id(2)));
        assert!(book.is_news(id(3)) && book.is_news(id(1)));
    }

    #[test]
    fn a_book_is_read_as_it_was_written() {
        let data = tempfile::tempdir().unwrap();
        let mut book = Book { log: Uuid::from_u128(9), cursor: "7@9".into(), ..Book::default() };
        book.take_up(id(1), "shop");
        book.note(id(1), |told| told.deployment = Some(42));
        book.write(data.path()).unwrap();
        assert_eq!(read(data.path()).unwrap(), Some(book));
    }
}
