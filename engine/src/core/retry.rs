//! How often, and after how long, what gave no answer is tried again.

use super::stage::Stage;

/// How often a stage is tried before its run is parked. Five tries span 15 s of backoff: longer than a
/// daemon takes to restart, shorter than a person's patience.
pub const STAGE_ATTEMPTS_MAX: u32 = 5;

/// How often a rollback is tried before its run is parked. More than a stage: it stands between users
/// and a broken release.
pub const ROLLBACK_ATTEMPTS_MAX: u32 = 8;

/// How often a notice is tried before it is abandoned.
pub const NOTICE_ATTEMPTS_MAX: u32 = 4;

/// How often an engine may start and find the same attempt unconcluded before the run is parked: the
/// effect may be what kills the engine.
pub const RECOVERIES_MAX: u32 = 3;

/// The first pause, in milliseconds. Each later one is twice as long.
const BACKOFF_FIRST_MS: u64 = 1_000;

/// The longest pause, in milliseconds.
const BACKOFF_MAX_MS: u64 = 30_000;

/// Returns how often this stage is tried.
///
/// A release command is tried once: half a migration must not be run again unasked.
pub const fn attempts_max(stage: Stage) -> u32 {
    match stage {
        Stage::ReleaseCommand => 1,
        _ => STAGE_ATTEMPTS_MAX,
    }
}

/// Returns when the try after `attempt` is due, or None when there is none.
pub fn due_after(attempt: u32, attempts_max: u32, now_ms: u64) -> Option<u64> {
    if attempt >= attempts_max && !crate::sabotaged!(RetryForEver) {
        return None;
    }
    let doublings = attempt.saturating_sub(1).min(16);
    Some(now_ms + (BACKOFF_FIRST_MS << doublings).min(BACKOFF_MAX_MS))
}

/// The longest that a receiver of notices is left alone on its own word, in milliseconds: a run is open for so long.
const RETRY_AFTER_MAX_MS: u64 = 15 * 60_000;

/// Returns when the try of a notice after `attempt` is due: with the usual pause, and not before the receiver wants it.
pub fn notice_due_after(attempt: u32, retry_after_ms: Option<u64>, now_ms: u64) -> Option<u64> {
    let due_ms = due_after(attempt, NOTICE_ATTEMPTS_MAX, now_ms)?;
    let asked_ms = retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MAX_MS);
    Some(due_ms.max(now_ms.saturating_add(asked_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_end() {
        let pauses: Vec<_> =
            (1..=ROLLBACK_ATTEMPTS_MAX).map(|attempt| due_after(attempt, ROLLBACK_ATTEMPTS_MAX, 0)).collect();
        assert_eq!(
            pauses,
            [
                Some(1_000),
                Some(2_000),
                Some(4_000),
                Some(8_000),
                Some(16_000),
                Some(30_000),
                Some(30_000),
                None
            ]
        );
    }

    #[test]
    fn a_receiver_is_left_alone_for_as_long_as_it_asks_within_reason() {
        assert_eq!(notice_due_after(1, None, 50), Some(1_050));
        assert_eq!(notice_due_after(1, Some(10), 50), Some(1_050));
        assert_eq!(notice_due_after(1, Some(30_000), 50), Some(30_050));
        assert_eq!(notice_due_after(1, Some(u64::MAX), 50), Some(50 + RETRY_AFTER_MAX_MS));
        assert_eq!(notice_due_after(NOTICE_ATTEMPTS_MAX, Some(10), 50), None);
    }

    #[test]
    fn a_release_command_is_never_tried_twice() {
        assert_eq!(due_after(1, attempts_max(Stage::ReleaseCommand), 0), None);
    }
}
