//! How soon a forge that gives no answer is asked again.

use std::time::Duration;

/// How soon a forge that gives no answer is asked again: each pause is twice the last, up to a limit, less some chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first pause.
    pub first: Duration,
    /// The longest pause, whatever the forge asks for.
    pub longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        // A forge restarts in a minute; one that is down for hours is told within five minutes of its return.
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(300) }
    }
}

impl Pace {
    /// Returns how long to wait after so many tries without an answer, from 1, and no shorter than the forge asks.
    pub(super) fn pause(&self, tries: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(self.longest);
        // Half of it by chance, so that many apps on one forge do not come back in step.
        let pause = doubled.mul_f64(0.5 + fastrand::f64() / 2.0);
        pause.max(asked.unwrap_or_default()).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_respect_what_the_forge_asks_for() {
        let pace = Pace::default();
        for (tries, limit_s) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (u32::MAX, 300)] {
            let (pause, limit) = (pace.pause(tries, None), Duration::from_secs(limit_s));
            assert!(pause >= limit / 2 && pause <= limit, "{tries}: {pause:?}");
        }
        assert_eq!(pace.pause(1, Some(Duration::from_secs(60))), Duration::from_secs(60));
        assert_eq!(pace.pause(1, Some(Duration::from_secs(86_400))), Duration::from_secs(300));
    }
}
