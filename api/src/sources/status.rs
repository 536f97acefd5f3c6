//! How it stands with the looking at a repository: for people, who are told once when that changes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// After the first failure it is asked again so soon; then half as often each time.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// Nobody waits longer than this for a repository to be asked again.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(600);

/// How it stands with an app's repository behind a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceStatus {
    /// When its branches were last read, in milliseconds since 1970.
    pub looked_at_ms: Option<u64>,
    /// Why they could not be, the last time. None: they could.
    pub error: Option<String>,
    /// How often in a row they could not be.
    pub failures: u32,
}

/// What people are to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It stands as before.
    None,
    /// It could be read again.
    Mended,
    /// It could not be read, or for another reason than before.
    Broken,
}

impl SourceStatus {
    /// Takes in what came of a look.
    pub(super) fn note(&mut self, now_ms: u64, looked: Result<(), String>) -> News {
        match looked {
            Ok(()) => {
                self.looked_at_ms = Some(now_ms);
                self.failures = 0;
                if self.error.take().is_some() { News::Mended } else { News::None }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let is_news = self.error.as_ref() != Some(&error);
                self.error = Some(error);
                if is_news { News::Broken } else { News::None }
            }
        }
    }

    /// Returns how long to wait until the next look, where all being well it is looked at so often.
    pub(super) fn pause(&self, interval: Duration) -> Duration {
        match self.failures {
            0 => interval,
            failures => FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(PAUSE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_once_and_so_is_its_end() {
        let mut status = SourceStatus::default();
        let gone = || Err("the host is gone".to_owned());
        assert_eq!(status.note(1, Ok(())), News::None);
        assert_eq!(status.note(2, gone()), News::Broken);
        assert_eq!(status.note(3, gone()), News::None);
        assert_eq!(status.note(4, Err("access denied".into())), News::Broken);
        assert_eq!(status.looked_at_ms, Some(1));
        assert_eq!(status.note(5, Ok(())), News::Mended);
        assert_eq!(status, SourceStatus { looked_at_ms: Some(5), error: None, failures: 0 });
    }

    #[test]
    fn a_repository_that_does_not_answer_is_asked_less_and_less_often() {
        let mut status = SourceStatus::default();
        let interval = Duration::from_secs(10);
        assert_eq!(status.pause(interval), interval);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            status.note(0, Err("gone".into()));
            pauses.push(status.pause(interval).as_secs());
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 600, 600]);
    }
}
