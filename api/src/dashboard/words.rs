//! How a run stands, in a word, a mark and a colour; and times as people say them.

use askama::Template;
use landfall_engine::core::event::Cause;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::timeline::timestamp;

/// What a colour stands for. There is a mark and a word beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// It serves, or is green.
    Good,
    /// It is red.
    Bad,
    /// It was rolled back.
    Back,
    /// It is going on.
    Busy,
    /// It waits for a person.
    Wait,
    /// It is over, or has not begun.
    Idle,
}

impl Tone {
    pub(super) const ALL: [Self; 6] = [Self::Good, Self::Bad, Self::Back, Self::Busy, Self::Wait, Self::Idle];

    /// Returns the name that styles and icons go by.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Back => "back",
            Self::Busy => "busy",
            Self::Wait => "wait",
            Self::Idle => "idle",
        }
    }

    /// Returns the colour of the icon, which is seen on light and on dark.
    pub(super) const fn colour(self) -> &'static str {
        match self {
            Self::Good => "#2e9e5b",
            Self::Bad => "#d6453d",
            Self::Back => "#d9822b",
            Self::Busy => "#3b7ddd",
            Self::Wait => "#9a5bd6",
            Self::Idle => "#7d8794",
        }
    }
}

/// How something stands.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<span class="badge {{ tone.name() }}" data-tone="{{ tone.name() }}"><span class="mark" aria-hidden="true">{{ mark }}</span> {{ label }}</span>"#,
    ext = "html"
)]
pub(super) struct Badge {
    pub(super) tone: Tone,
    pub(super) mark: &'static str,
    pub(super) label: String,
}

impl Badge {
    pub(super) fn new(tone: Tone, mark: &'static str, label: impl Into<String>) -> Self {
        Self { tone, mark, label: label.into() }
    }

    /// Returns how a run stands.
    pub(super) fn of(run: &RunSummary) -> Self {
        match run.state {
            RunState::Live => return Self::new(Tone::Good, "✓", "Live"),
            RunState::RolledBack => return Self::new(Tone::Back, "↩", "Rolled back"),
            RunState::Failed => return Self::of_failed(run.cause.as_ref()),
            RunState::Pushed
            | RunState::Tested
            | RunState::Built
            | RunState::ImagePushed
            | RunState::Deployed
            | RunState::Smoked => {}
        }
        if run.parked.is_some() {
            return Self::new(Tone::Wait, "⚠", "Parked: needs a person");
        }
        if run.approval_until_ms.is_some() {
            return Self::new(Tone::Wait, "‖", "Waits for approval");
        }
        match (run.stage, &run.cause) {
            (Some(stage), _) => Self::new(Tone::Busy, "●", going_on(stage)),
            (None, Some(_)) => Self::new(Tone::Back, "↩", "Rolling back"),
            (None, None) if run.state == RunState::ImagePushed => {
                Self::new(Tone::Busy, "●", "Waits for its turn")
            }
            (None, None) => Self::new(Tone::Busy, "●", run.state.label()),
        }
    }

    fn of_failed(cause: Option<&Cause>) -> Self {
        match cause {
            Some(Cause::StageFailed { stage, .. }) => {
                Self::new(Tone::Bad, "✗", format!("Failed: {}", stage.spoken().trim_start_matches("the ")))
            }
            Some(Cause::Cancelled { .. }) => Self::new(Tone::Idle, "⊘", "Cancelled"),
            Some(Cause::Superseded { .. }) => Self::new(Tone::Idle, "⊘", "Superseded"),
            Some(Cause::Held { .. }) => Self::new(Tone::Idle, "⊘", "Held"),
            Some(Cause::Aborted { .. }) => Self::new(Tone::Bad, "✗", "Given up"),
            Some(Cause::Rejected { .. }) => Self::new(Tone::Idle, "⊘", "Rejected"),
            Some(Cause::NotApproved { .. }) => Self::new(Tone::Idle, "⊘", "Not approved"),
            None => Self::new(Tone::Bad, "✗", "Failed"),
        }
    }
}

const fn going_on(stage: Stage) -> &'static str {
    match stage {
        Stage::Checkout => "Checking out",
        Stage::Test => "Testing",
        Stage::Build => "Building",
        Stage::PushImage => "Pushing the image",
        Stage::ReleaseCommand => "Release command",
        Stage::Deploy => "Deploying",
        Stage::Smoke => "Smoke tests",
        Stage::GoLive => "Going live",
        Stage::PublicSmoke => "Checking in public",
    }
}

/// A moment: how long ago it was, and when exactly.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(source = r#"<time datetime="{{ exactly }}" title="{{ exactly }}">{{ ago }}</time>"#, ext = "html")]
pub(super) struct When {
    pub(super) exactly: String,
    pub(super) ago: String,
}

impl When {
    pub(super) fn new(at_ms: u64, now_ms: u64) -> Self {
        Self { exactly: timestamp(at_ms), ago: ago(now_ms.saturating_sub(at_ms) / 1_000) }
    }
}

/// The pages' scripts count on in the same words.
fn ago(seconds: u64) -> String {
    match seconds {
        0..5 => "just now".into(),
        5..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Returns a subject as it is shown: there may be none.
pub(super) fn subject(subject: &str) -> &str {
    if subject.trim().is_empty() { "(no subject)" } else { subject }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_as_long_ago_as_people_say() {
        for (seconds, said) in [
            (4, "just now"),
            (59, "59 s ago"),
            (61, "1 min ago"),
            (7_199, "1 h ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(ago(seconds), said);
        }
    }

    #[test]
    fn what_is_named_from_outside_is_escaped_in_a_badge() {
        let badge = Badge::new(Tone::Bad, "✗", "<script>");
        assert!(badge.render().unwrap().contains("&#60;script&#62;"), "{}", badge.render().unwrap());
    }
}
