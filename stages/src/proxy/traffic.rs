//! How the requests of a route went over the last day, release by release, as the proxy tells it.
//!
//! **Invariant:** a request belongs to the moment at which it came and to the release that it was sent to, also when
//! it is answered after a switch. So what stands before and after a switch can be compared.

use serde::Deserialize;
use serde::Serialize;

use super::ANSWER_TIME_BOUNDS_MS;

/// The answer times that [`TrafficBucket::within`] counts: one for each bound, and one for what took longer.
pub const ANSWER_TIMES: usize = ANSWER_TIME_BOUNDS_MS.len() + 1;

/// The length of a bucket of the last hour.
pub const FINE_MS: u64 = 5_000;
/// How far back buckets are [`FINE_MS`] long.
pub const FINE_FOR_MS: u64 = 60 * 60 * 1_000;
/// The length of a bucket before that.
pub const COARSE_MS: u64 = 60 * 1_000;
/// How far back there are buckets.
pub const COARSE_FOR_MS: u64 = 24 * 60 * 60 * 1_000;

/// How the requests of a route went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTraffic {
    /// The generation of the route that is in force.
    pub generation: u64,
    /// Since when this proxy counts, in milliseconds since 1970. What was counted before is lost with its process.
    pub since_ms: u64,
    /// What time it is for the proxy, in milliseconds since 1970.
    pub now_ms: u64,
    /// Each release by each run that gave it traffic, the latest last.
    pub releases: Vec<TrafficOfRelease>,
    /// Requests that came while nothing was released: the proxy answered them with 503 itself.
    pub nothing_released: Vec<TrafficBucket>,
}

/// How the requests went that one run's release was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficOfRelease {
    /// The image digest.
    pub release: String,
    /// The run that put it in place.
    pub run: String,
    /// The highest generation that sent requests its way.
    pub generation: u64,
    /// Oldest first. A stretch of time without a request has none.
    pub buckets: Vec<TrafficBucket>,
}

/// The requests that came in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficBucket {
    /// When it begins, in milliseconds since 1970: a multiple of its length.
    pub at_ms: u64,
    /// How long it is.
    pub length_ms: u64,
    /// Requests that came.
    pub requests: u64,
    /// Those that the app answered with 5xx.
    pub server_errors: u64,
    /// Those that the proxy answered with 502, 503 or 504 itself, because the app did not. Requests that their client
    /// broke off are none of these.
    pub unanswered: u64,
    /// How many answers of the app took longer to begin than the bound before and no longer than this one, by
    /// [`ANSWER_TIME_BOUNDS_MS`]; the last one counts what took longer.
    pub within: Vec<u64>,
}

impl TrafficBucket {
    /// Takes in the requests of another bucket.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.server_errors += other.server_errors;
        self.unanswered += other.unanswered;
        self.within.resize(self.within.len().max(other.within.len()), 0);
        for (ours, theirs) in self.within.iter_mut().zip(&other.within) {
            *ours += theirs;
        }
    }

    /// Returns the bound, in milliseconds, within which so many hundredths of the app's answers began. None: there were
    /// no answers, or it is beyond the last bound.
    pub fn percentile_ms(&self, hundredths: u64) -> Option<u64> {
        let answers: u64 = self.within.iter().sum();
        let wanted = (answers * hundredths).div_ceil(100).max(1);
        let mut seen = 0;
        let bound = self.within.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        ANSWER_TIME_BOUNDS_MS.get(bound?).copied()
    }
}

/// Returns these buckets as ones of the length `step_ms`, oldest first. A bucket that is longer stays as it is.
pub fn in_steps(buckets: &[TrafficBucket], step_ms: u64) -> Vec<TrafficBucket> {
    let mut steps: Vec<TrafficBucket> = Vec::new();
    for bucket in buckets {
        let length_ms = step_ms.max(bucket.length_ms).max(1);
        let at_ms = bucket.at_ms - bucket.at_ms % length_ms;
        match steps.last_mut() {
            Some(last) if last.at_ms == at_ms => last.add(bucket),
            _ => steps.push(TrafficBucket { at_ms, length_ms, ..bucket.clone() }),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(at_ms: u64, requests: u64, within: &[u64]) -> TrafficBucket {
        TrafficBucket { at_ms, length_ms: FINE_MS, requests, within: within.to_vec(), ..Default::default() }
    }

    #[test]
    fn a_percentile_is_the_bound_within_which_so_many_answers_began() {
        let mut of_hundred = vec![0; ANSWER_TIMES];
        (of_hundred[0], of_hundred[3], of_hundred[ANSWER_TIMES - 1]) = (50, 49, 1);
        let bucket = bucket(0, 100, &of_hundred);
        assert_eq!(bucket.percentile_ms(50), Some(5));
        assert_eq!(bucket.percentile_ms(51), Some(50));
        assert_eq!(bucket.percentile_ms(99), Some(50));
        assert_eq!(bucket.percentile_ms(100), None, "it took longer than any bound");
        assert_eq!(TrafficBucket::default().percentile_ms(95), None);
        assert_eq!(TrafficBucket { within: vec![0; ANSWER_TIMES], ..bucket }.percentile_ms(50), None);
    }

    #[test]
    fn longer_steps_have_the_same_requests() {
        let buckets = [bucket(55_000, 1, &[1, 0]), bucket(60_000, 2, &[0, 2]), bucket(115_000, 3, &[3])];
        let steps = in_steps(&buckets, COARSE_MS);
        let seen: Vec<_> =
            steps.iter().map(|b| (b.at_ms, b.length_ms, b.requests, b.within.clone())).collect();
        assert_eq!(seen, [(0, COARSE_MS, 1, vec![1, 0]), (60_000, COARSE_MS, 5, vec![3, 2])]);
        assert_eq!(in_steps(&steps, FINE_MS), steps, "what is longer already stays");
    }
}
