//! What nobody wrote down and the source told: shown with its reason, so that a wrong guess is seen and not looked for.

use landfall_engine::core::facts::Guess;
use landfall_engine::core::stage::Stage;

use super::text::{Line, Tone, harmless};

/// How many are shown beside a run. All of them are in `landfall show`.
pub const SHOWN_MAX: usize = 6;

/// Returns the guesses as a block of at most so many lines; `all` is the command that shows the rest.
pub fn block(guesses: &[Guess], rows_max: usize, all: &str) -> Vec<Line> {
    let shown = match guesses.len() <= rows_max.min(SHOWN_MAX) {
        true => guesses.len(),
        // One line is for those that are left out.
        false => rows_max.saturating_sub(1).min(SHOWN_MAX),
    };
    let more = guesses.len() - shown;
    let rest = (more > 0 && rows_max > 0).then(|| Line::new(Tone::Dim, format!(" ≈ and {more} more: {all}")));
    guesses[..shown]
        .iter()
        .map(|guess| Line::new(Tone::Dim, format!(" ≈ {}", said(guess))))
        .chain(rest)
        .collect()
}

/// Returns a guess with its reason, in one line.
pub fn said(guess: &Guess) -> String {
    harmless(&format!("{} = {} ({})", guess.key, guess.value, guess.reason).replace('\n', " "))
}

/// Returns the guesses that a red stage may be red for.
pub fn behind(guesses: &[Guess], stage: Stage) -> impl Iterator<Item = &Guess> {
    guesses.iter().filter(move |guess| {
        let section = guess.key.split('.').next().unwrap_or_default();
        sections(stage).contains(&section)
    })
}

/// Returns the sections of the configuration, and the things that are found without one, that a stage works by.
const fn sections(stage: Stage) -> &'static [&'static str] {
    match stage {
        Stage::Test => &["test", "dependencies", "python"],
        Stage::Build => &["build", "dependencies", "python", "dockerfile"],
        Stage::PushImage => &["registry"],
        Stage::ReleaseCommand => &["release"],
        Stage::Deploy => &["web", "proxy", "port", "health", "env"],
        Stage::Smoke | Stage::PublicSmoke => &["smoke", "web", "proxy", "health"],
        Stage::Checkout | Stage::GoLive => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::screen::text;

    fn guesses(count: usize) -> Vec<Guess> {
        let guess = |nth| Guess {
            key: format!("test.key{nth}"),
            value: "x".into(),
            reason: "a\u{1b}[31m file\nsays so".into(),
        };
        (1..=count).map(guess).collect()
    }

    fn drawn(count: usize, rows_max: usize) -> String {
        text(&block(&guesses(count), rows_max, "landfall show 7"), false)
    }

    #[test]
    fn a_guess_is_one_harmless_line() {
        assert_eq!(drawn(1, 6), " ≈ test.key1 = x (a file says so)");
    }

    #[test]
    fn what_does_not_fit_is_counted_with_the_command_that_shows_it() {
        assert_eq!(drawn(6, 7).lines().count(), 6);
        let eight = drawn(8, 7);
        assert!(eight.contains("key6 ") && eight.ends_with("and 2 more: landfall show 7"), "{eight}");
        let low = drawn(8, 3);
        assert!(low.lines().count() == 3 && low.ends_with("and 6 more: landfall show 7"), "{low}");
        assert_eq!(drawn(8, 0), "");
    }

    #[test]
    fn only_guesses_that_a_stage_works_by_can_be_behind_its_end() {
        assert_eq!(behind(&guesses(2), Stage::Test).count(), 2);
        assert_eq!(behind(&guesses(2), Stage::Smoke).count(), 0);
    }
}
