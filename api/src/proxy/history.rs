//! How the requests to one release went, moment by moment, over the last day.
//!
//! ```text
//! request ──▶ open bucket (atomics) ──5 s──▶ fine buckets ──1 h──▶ minutes ──1 d──▶ forgotten
//! ```
//!
//! A request costs a read of the clock and a few atomic additions; the lock is taken once a bucket. A stretch without
//! requests takes no memory, and a release that is busy all day takes less than 250 KB. It is all in memory: it is
//! lost with the proxy, and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::StatusCode;
use landfall_stages::proxy::ANSWER_TIME_BOUNDS_MS;
use landfall_stages::proxy::ANSWER_TIMES;
use landfall_stages::proxy::COARSE_FOR_MS;
use landfall_stages::proxy::COARSE_MS;
use landfall_stages::proxy::FINE_FOR_MS;
use landfall_stages::proxy::FINE_MS;
use landfall_stages::proxy::TrafficBucket;
use landfall_stages::proxy::TrafficOfRelease;

/// Buckets of each length that there can be: of a clock that goes back and forth there would be more.
const FINE_MAX: usize = (FINE_FOR_MS / FINE_MS) as usize + 1;
const COARSE_MAX: usize = (COARSE_FOR_MS / COARSE_MS) as usize + 1;

/// The requests to one run's release.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) release: String,
    pub(super) run: String,
    generation: AtomicU64,
    open: ArcSwapOption<Moment>,
    kept: Mutex<Kept>,
}

/// The requests that came in one stretch of [`FINE_MS`].
#[derive(Debug, Default)]
pub(super) struct Moment {
    at_ms: u64,
    requests: AtomicU32,
    server_errors: AtomicU32,
    unanswered: AtomicU32,
    within: [AtomicU32; ANSWER_TIMES],
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first; the open one is among them, so an answer that comes late is still counted.
    fine: VecDeque<Arc<Moment>>,
    /// Oldest first, before all of `fine`.
    coarse: VecDeque<Minute>,
}

/// The requests of a minute that is over.
#[derive(Debug, Default)]
struct Minute {
    at_ms: u64,
    requests: u32,
    server_errors: u32,
    unanswered: u32,
    within: [u32; ANSWER_TIMES],
}

impl History {
    pub(super) fn of(release: &str, run: &str) -> Self {
        Self { release: release.to_owned(), run: run.to_owned(), ..Self::default() }
    }

    /// Notes that a generation sends its requests here.
    pub(super) fn serves(&self, generation: u64) {
        self.generation.fetch_max(generation, Relaxed);
    }

    /// Counts a request that came at `now_ms`, and returns where its answer is counted.
    pub(super) fn begin(&self, now_ms: u64) -> Arc<Moment> {
        let at_ms = now_ms - now_ms % FINE_MS;
        let open = self.open.load();
        let moment = match &*open {
            Some(open) if open.at_ms == at_ms => Arc::clone(open),
            _ => self.opened(at_ms),
        };
        moment.requests.fetch_add(1, Relaxed);
        moment
    }

    /// Opens the bucket that begins at `at_ms`, unless somebody else just did.
    fn opened(&self, at_ms: u64) -> Arc<Moment> {
        let mut kept = self.kept();
        let moment = kept.at(at_ms);
        kept.age(at_ms);
        self.open.store(Some(Arc::clone(&moment)));
        moment
    }

    /// Returns what came from `from_ms` on.
    pub(super) fn read(&self, from_ms: u64, now_ms: u64) -> TrafficOfRelease {
        TrafficOfRelease {
            release: self.release.clone(),
            run: self.run.clone(),
            generation: self.generation.load(Relaxed),
            buckets: self.buckets(from_ms, now_ms),
        }
    }

    /// Returns the buckets that end after `from_ms`, oldest first.
    pub(super) fn buckets(&self, from_ms: u64, now_ms: u64) -> Vec<TrafficBucket> {
        let mut kept = self.kept();
        kept.age(now_ms);
        let coarse = kept.coarse.iter().map(Minute::read);
        let fine = kept.fine.iter().map(|moment| moment.minute().read_as(FINE_MS));
        coarse.chain(fine).filter(|bucket| bucket.at_ms + bucket.length_ms > from_ms).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Counts are whole after each step, so a panic elsewhere costs no more than one of them.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moment {
    /// Counts an answer of the app, and how long it took to begin.
    pub(super) fn answered(&self, status: StatusCode, took: Duration) {
        if status.is_server_error() {
            self.server_errors.fetch_add(1, Relaxed);
        }
        let bound = |ms: &u64| Duration::from_millis(*ms) >= took;
        let index = ANSWER_TIME_BOUNDS_MS.iter().position(bound).unwrap_or(ANSWER_TIMES - 1);
        self.within[index].fetch_add(1, Relaxed);
    }

    /// Counts an answer that the proxy had to give itself.
    pub(super) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Relaxed);
    }

    fn minute(&self) -> Minute {
        Minute {
            at_ms: self.at_ms,
            requests: self.requests.load(Relaxed),
            server_errors: self.server_errors.load(Relaxed),
            unanswered: self.unanswered.load(Relaxed),
            within: self.within.each_ref().map(|within| within.load(Relaxed)),
        }
    }
}

impl Kept {
    /// Returns the bucket that begins at `at_ms`; makes it in its place when there is none.
    fn at(&mut self, at_ms: u64) -> Arc<Moment> {
        // The latest is at the end, and only a clock that was set back leads elsewhere.
        let before = self.fine.iter().rposition(|moment| moment.at_ms <= at_ms);
        if let Some(there) = before.map(|index| &self.fine[index]).filter(|moment| moment.at_ms == at_ms) {
            return Arc::clone(there);
        }
        let moment = Arc::new(Moment { at_ms, ..Moment::default() });
        self.fine.insert(before.map_or(0, |index| index + 1), Arc::clone(&moment));
        moment
    }

    /// Makes minutes of what is older than an hour, and forgets what is older than a day.
    fn age(&mut self, now_ms: u64) {
        let is_old = |at_ms: u64, limit_ms: u64| at_ms.saturating_add(limit_ms) <= now_ms;
        // One stays in any case: it may be the open one, of a clock that was set forward.
        while let Some(oldest) = self.fine.front()
            && self.fine.len() > 1
            && (is_old(oldest.at_ms, FINE_FOR_MS) || self.fine.len() > FINE_MAX)
        {
            let minute = oldest.minute();
            self.fine.pop_front();
            self.fold(minute);
        }
        while self.coarse.front().is_some_and(|oldest| is_old(oldest.at_ms, COARSE_FOR_MS))
            || self.coarse.len() > COARSE_MAX
        {
            self.coarse.pop_front();
        }
    }

    fn fold(&mut self, moment: Minute) {
        let at_ms = moment.at_ms - moment.at_ms % COARSE_MS;
        match self.coarse.back_mut() {
            Some(last) if last.at_ms >= at_ms => last.add(&moment),
            _ => self.coarse.push_back(Minute { at_ms, ..moment }),
        }
    }
}

impl Minute {
    fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.server_errors = self.server_errors.saturating_add(other.server_errors);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
        for (ours, theirs) in self.within.iter_mut().zip(&other.within) {
            *ours = ours.saturating_add(*theirs);
        }
    }

    fn read(&self) -> TrafficBucket {
        self.read_as(COARSE_MS)
    }

    fn read_as(&self, length_ms: u64) -> TrafficBucket {
        let Self { at_ms, requests, server_errors, unanswered, within } = self;
        TrafficBucket {
            at_ms: *at_ms,
            length_ms,
            requests: (*requests).into(),
            server_errors: (*server_errors).into(),
            unanswered: (*unanswered).into(),
            within: within.iter().map(|count| u64::from(*count)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: u64 = 1_764_244_800_000;
    const HOUR_MS: u64 = FINE_FOR_MS;

    fn asked(history: &History, at_ms: u64, times: usize) {
        (0..times).for_each(|_| history.begin(at_ms).answered(StatusCode::OK, Duration::ZERO));
    }

    #[track_caller]
    fn check(history: &History, now_ms: u64, expected: &[(u64, u64, u64)]) {
        let buckets = history.buckets(0, now_ms);
        let seen: Vec<_> = buckets.iter().map(|b| (b.at_ms - NOON_MS, b.length_ms, b.requests)).collect();
        assert_eq!(seen, expected);
        assert!(buckets.iter().all(|b| b.within.iter().sum::<u64>() == b.requests), "{buckets:?}");
    }

    #[test]
    fn requests_stand_where_they_came_and_nothing_stands_where_none_did() {
        let history = History::of("sha256:aa", "r1");
        asked(&history, NOON_MS, 2);
        asked(&history, NOON_MS + 4_999, 1);
        asked(&history, NOON_MS + 60_000, 4);
        check(&history, NOON_MS + 61_000, &[(0, FINE_MS, 3), (60_000, FINE_MS, 4)]);
        let later = history.buckets(NOON_MS + 5_000, NOON_MS + 61_000);
        assert_eq!(later.len(), 1, "what ended before is not asked for: {later:?}");
    }

    #[test]
    fn an_answer_is_counted_where_its_request_came() {
        let history = History::of("sha256:aa", "r1");
        let slow = history.begin(NOON_MS);
        asked(&history, NOON_MS + 7_000, 1);
        slow.answered(StatusCode::BAD_GATEWAY, Duration::from_secs(40));
        history.begin(NOON_MS + 8_000).unanswered();
        let buckets = history.buckets(0, NOON_MS + 9_000);
        let seen: Vec<_> = buckets.iter().map(|b| (b.requests, b.server_errors, b.unanswered)).collect();
        assert_eq!(seen, [(1, 1, 0), (2, 0, 1)]);
        assert_eq!(buckets[0].within[ANSWER_TIMES - 1], 1, "beyond every bound");
    }

    #[test]
    fn after_an_hour_there_are_minutes_and_after_a_day_nothing() {
        let history = History::of("sha256:aa", "r1");
        for second in 0..120 {
            asked(&history, NOON_MS + second * 1_000, 1);
        }
        // The latest stays as it is until another opens: it may still be counted in.
        asked(&history, NOON_MS + HOUR_MS + 120_000, 1);
        let last = (HOUR_MS + 120_000, FINE_MS, 1);
        check(&history, NOON_MS + HOUR_MS + 120_000, &[(0, COARSE_MS, 60), (60_000, COARSE_MS, 60), last]);
        check(&history, NOON_MS + COARSE_FOR_MS, &[(60_000, COARSE_MS, 60), last]);
        check(&history, NOON_MS + COARSE_FOR_MS + 60_000, &[last]);
    }

    #[test]
    fn a_clock_that_goes_back_and_forth_neither_loses_requests_nor_takes_more_memory() {
        let history = History::of("sha256:aa", "r1");
        asked(&history, NOON_MS + 10_000, 1);
        asked(&history, NOON_MS, 2);
        asked(&history, NOON_MS + 10_000, 1);
        check(&history, NOON_MS + 10_000, &[(0, FINE_MS, 2), (10_000, FINE_MS, 2)]);
        for turn in 0..5_000 {
            asked(&history, NOON_MS + (turn % 7) * HOUR_MS / 8 + turn * FINE_MS, 1);
        }
        let kept = history.kept();
        assert!(kept.fine.len() <= FINE_MAX && kept.coarse.len() <= COARSE_MAX);
    }

    #[test]
    fn many_who_ask_at_once_are_all_counted() {
        let history = Arc::new(History::of("sha256:aa", "r1"));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5_000).for_each(|n| asked(&history, NOON_MS + n * 10, 1)));
            }
        });
        let total: u64 = history.buckets(0, NOON_MS + 50_000).iter().map(|b| b.requests).sum();
        assert_eq!(total, 20_000);
    }
}
