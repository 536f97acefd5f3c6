//! One container that answers requests, and the count of what it still owes.
//!
//! ```text
//! admit ──Ticket──▶ request ──▶ response head ──▶ last byte of the body ──drop──▶ one less in flight
//! ```
//!
//! **Invariant:** once `close` has returned, whoever reads `in_flight` sees every request that was
//! admitted; none is admitted after. So "closed and nothing in flight" means that the container
//! can go without anybody noticing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::time::Instant;

use http::StatusCode;
use landfall_stages::proxy::ANSWER_TIME_BOUNDS_MS;
use landfall_stages::proxy::AnswerTimes;
use landfall_stages::proxy::ReleaseTraffic;
use landfall_stages::proxy::Responses;
use landfall_stages::proxy::TargetStatus;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::history::History;
use super::upstream::Upstream;

/// The least time between two log lines about one container that does not answer.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(5);

/// A container that runs a release.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) target: SocketAddr,
    pub(super) release: String,
    pub(super) run: String,
    pub(super) upstream: Upstream,
    pub(super) traffic: Arc<Traffic>,
    pub(super) history: Arc<History>,
    pub(super) complaints: Complaints,
    in_flight: AtomicU64,
    closed: AtomicBool,
    idle: Notify,
    cut: CancellationToken,
}

impl Backend {
    pub(super) fn new(
        target: SocketAddr,
        traffic: Arc<Traffic>,
        history: Arc<History>,
        upstream: Upstream,
    ) -> Self {
        Self {
            target,
            release: traffic.release.clone(),
            run: history.run.clone(),
            upstream,
            traffic,
            history,
            complaints: Complaints::default(),
            in_flight: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            idle: Notify::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Counts a request in, or returns `None` when the traffic has moved elsewhere.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Ticket> {
        // Counted before the look at `closed`: either we see the closing, or the closer sees us.
        self.in_flight.fetch_add(1, SeqCst);
        let ticket = Ticket { backend: self.clone() };
        (!self.closed.load(SeqCst)).then_some(ticket)
    }

    /// Lets no request in any more; those that are in go on.
    pub(super) fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    /// Lets requests in again.
    pub(super) fn reopen(&self) {
        self.closed.store(false, SeqCst);
    }

    /// Ends what is still in flight. For good: a backend that was cut is not opened again.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(SeqCst)
    }

    /// Waits until a closed backend has nothing in flight.
    pub(super) async fn idle(&self) {
        loop {
            let mut notified = std::pin::pin!(self.idle.notified());
            notified.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }

    pub(super) fn status(&self, draining: bool) -> TargetStatus {
        TargetStatus {
            target: self.target,
            release: self.release.clone(),
            run: self.run.clone(),
            in_flight: self.in_flight(),
            draining,
        }
    }
}

/// The right to have one request answered. It counts until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    backend: Arc<Backend>,
}

impl Ticket {
    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Returns what fires when this request may go on no longer.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.backend.cut
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let last = self.backend.in_flight.fetch_sub(1, SeqCst) == 1;
        if last && self.backend.closed.load(SeqCst) {
            self.backend.idle.notify_waiters();
        }
    }
}

/// What one release answered since the proxy started, over all containers that ran it.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) release: String,
    requests: AtomicU64,
    unanswered: AtomicU64,
    /// By class of status, from 1xx.
    responses: [AtomicU64; 5],
    /// By how long they took to begin, see [`ANSWER_TIME_BOUNDS_MS`].
    times: [AtomicU64; ANSWER_TIME_BOUNDS_MS.len()],
    answers: AtomicU64,
    times_sum_us: AtomicU64,
}

impl Traffic {
    pub(super) fn of(release: &str) -> Self {
        Self { release: release.to_owned(), ..Self::default() }
    }

    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn count_response(&self, status: StatusCode) {
        if let Some(class) = self.responses.get(usize::from(status.as_u16() / 100).saturating_sub(1)) {
            class.fetch_add(1, Relaxed);
        }
    }

    /// Counts how long an answer took to begin.
    pub(super) fn count_time(&self, took: Duration) {
        let bound = |ms: &u64| Duration::from_millis(*ms) >= took;
        if let Some(index) = ANSWER_TIME_BOUNDS_MS.iter().position(bound) {
            self.times[index].fetch_add(1, Relaxed);
        }
        self.answers.fetch_add(1, Relaxed);
        self.times_sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn count_unanswered(&self) {
        self.unanswered.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> ReleaseTraffic {
        let [informational, success, redirection, client_error, server_error] =
            self.responses.each_ref().map(|class| class.load(Relaxed));
        ReleaseTraffic {
            release: self.release.clone(),
            requests: self.requests.load(Relaxed),
            responses: Responses { informational, success, redirection, client_error, server_error },
            unanswered: self.unanswered.load(Relaxed),
            times: AnswerTimes {
                sum_us: self.times_sum_us.load(Relaxed),
                count: self.answers.load(Relaxed),
                within: self.times.iter().map(|within| within.load(Relaxed)).collect(),
            },
        }
    }
}

/// Keeps a container that is down from filling the disk with log lines.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: std::sync::Mutex<Option<Instant>>,
    unsaid: AtomicU64,
}

impl Complaints {
    /// Returns how many complaints went unsaid since the last one, when it is time for another.
    pub(super) fn due(&self) -> Option<u64> {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.is_some_and(|last| now.duration_since(last) < COMPLAINT_INTERVAL) {
            self.unsaid.fetch_add(1, Relaxed);
            return None;
        }
        *last = Some(now);
        Some(self.unsaid.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Arc<Backend> {
        let target = ([127, 0, 0, 1], 9).into();
        let traffic = Arc::new(Traffic::of("sha256:aa"));
        let history = Arc::new(History::of("sha256:aa", "r1"));
        Arc::new(Backend::new(target, traffic, history, Upstream::new(target, Duration::from_secs(1))))
    }

    #[tokio::test]
    async fn a_closed_backend_is_idle_when_the_last_ticket_is_gone() {
        let backend = backend();
        let ticket = backend.admit().unwrap();
        backend.close();
        assert!(backend.admit().is_none());
        assert_eq!(backend.in_flight(), 1, "the refused request still counts");
        let waiting = tokio::spawn({
            let backend = backend.clone();
            async move { backend.idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(ticket);
        waiting.await.unwrap();
    }

    #[test]
    fn answers_are_counted_by_class() {
        let traffic = Traffic::of("sha256:aa");
        for status in [101, 200, 204, 302, 404, 503] {
            traffic.count_response(StatusCode::from_u16(status).unwrap());
        }
        traffic.count_response(StatusCode::from_u16(999).unwrap());
        let responses = traffic.read().responses;
        let expected =
            Responses { informational: 1, success: 2, redirection: 1, client_error: 1, server_error: 1 };
        assert_eq!(responses, expected);
    }

    #[test]
    fn answers_are_counted_by_how_long_they_took_to_begin() {
        let traffic = Traffic::of("sha256:aa");
        for ms in [0, 5, 6, 99, 30_000, 30_001] {
            traffic.count_time(Duration::from_millis(ms));
        }
        let AnswerTimes { sum_us, count, within } = traffic.read().times;
        assert_eq!((sum_us, count), (60_111_000, 6));
        assert_eq!(within, [2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_container_that_is_down_is_not_complained_about_on_every_request() {
        let complaints = Complaints::default();
        assert_eq!(complaints.due(), Some(0));
        assert_eq!(complaints.due(), None);
    }
}
