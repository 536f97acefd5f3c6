//! What is live, as a badge: a flat picture of a few words, for a README.
//!
//! ```text
//! the lane, its newest run ──▶ Badge (words and a tone) ──▶ SVG
//! ```

use std::fmt::Write as _;

use landfall_engine::core::event::Cause;
use landfall_engine::core::lane::Lane;
use landfall_engine::core::run::RunState;
use landfall_engine::core::stage::Stage;
use landfall_engine::core::summary::RunSummary;

/// The words on the left.
const LABEL: &str = "landfall";
/// Space beside the words, in pixels.
const PADDING: f64 = 6.0;
/// Text is Verdana of this many pixels.
const FONT_PX: f64 = 11.0;

/// Widths of the letters of Verdana from the space on, in units of 1/2048 of its size. A badge is drawn by the reader's
/// machine, which may have another font: the text is then stretched to what is said here.
const WIDTHS: [u16; 95] = [
    720, 806, 940, 1676, 1302, 2204, 1487, 550, 930, 930, 1302, 1676, 745, 930, 745, 930, 1302, 1302, 1302,
    1302, 1302, 1302, 1302, 1302, 1302, 1302, 930, 930, 1676, 1676, 1676, 1117, 2048, 1400, 1404, 1430, 1578,
    1295, 1177, 1588, 1539, 862, 931, 1419, 1140, 1726, 1532, 1612, 1235, 1612, 1424, 1400, 1262, 1499, 1400,
    2025, 1403, 1260, 1403, 930, 930, 930, 1676, 1302, 1302, 1230, 1276, 1067, 1276, 1220, 720, 1276, 1296,
    562, 705, 1212, 562, 1992, 1296, 1243, 1276, 1276, 874, 1067, 807, 1296, 1212, 1676, 1212, 1212, 1076,
    1300, 930, 1300, 1676,
];
/// A letter that is not in the table is taken for a wide one.
const WIDTH_OTHER: u16 = 1400;
/// The dot between two words.
const WIDTH_DOT: u16 = 745;

/// How a badge is coloured. Its words say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Good,
    Bad,
    Warn,
    Busy,
    Nothing,
}

impl Tone {
    /// Returns a colour on which white can be read: a contrast of 4.5 at least.
    const fn colour(self) -> &'static str {
        match self {
            Self::Good => "#2a7d1f",
            Self::Bad => "#c0322b",
            Self::Warn => "#a65a00",
            Self::Busy => "#1f6fb5",
            Self::Nothing => "#6b6b6b",
        }
    }
}

/// What a badge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    words: String,
    tone: Tone,
}

impl Badge {
    /// Returns what is to be said of a lane and its newest run, which may be that of one branch.
    pub fn of(lane: &Lane, newest: Option<&RunSummary>, now_ms: u64) -> Self {
        let say = |words: &str, tone| Self { words: words.to_owned(), tone };
        if let Some(run) = newest {
            if run.parked.is_some() {
                return say("parked", Tone::Warn);
            }
            if run.approval_until_ms.is_some() {
                return say("to be approved", Tone::Warn);
            }
            if let (RunState::Failed, Some(words)) = (run.state, run.cause.as_ref().and_then(failing)) {
                return say(words, Tone::Bad);
            }
            if run.state == RunState::RolledBack {
                return say("rolled back", Tone::Warn);
            }
        }
        match (&lane.live, newest) {
            (Some(live), _) => {
                let sha = live.commit.sha.get(..7).unwrap_or(&live.commit.sha);
                let since = span(now_ms.saturating_sub(live.live_at_ms));
                say(&format!("live {sha} · {since}"), Tone::Good)
            }
            (None, Some(run)) if run.open => say("running", Tone::Busy),
            (None, _) => say("nothing live", Tone::Nothing),
        }
    }

    /// Returns the words on the right.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Returns the picture.
    pub fn svg(&self) -> String {
        let (left, right) = (width(LABEL), width(&self.words));
        let (left_box, right_box) = ((left + 2.0 * PADDING).round(), (right + 2.0 * PADDING).round());
        let whole = left_box + right_box;
        let (left_at, right_at) = (left_box / 2.0, left_box + right_box / 2.0);
        let (label, words, colour) = (escaped(LABEL), escaped(&self.words), self.tone.colour());
        let mut svg = String::new();
        // Writing to a String can't fail.
        let _ = write!(
            svg,
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" viewBox="0 0 {whole} 20" role="img" aria-labelledby="t">
<title id="t">{label}: {words}</title>
<clipPath id="c"><rect width="{whole}" height="20" rx="3"/></clipPath>
<g clip-path="url(#c)"><rect width="{left_box}" height="20" fill="#444"/><rect x="{left_box}" width="{right_box}" height="20" fill="{colour}"/></g>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11" text-rendering="geometricPrecision" aria-hidden="true">
<text x="{left_at}" y="14" textLength="{left:.1}">{label}</text>
<text x="{right_at}" y="14" textLength="{right:.1}">{words}</text>
</g>
</svg>
"##
        );
        svg
    }
}

/// Returns what a badge says of a run that failed. None: somebody wanted it so, and what is live is the better news.
const fn failing(cause: &Cause) -> Option<&'static str> {
    match cause {
        Cause::StageFailed { stage, .. } => Some(match stage {
            Stage::Checkout => "checkout failing",
            Stage::Test => "tests failing",
            Stage::Build => "build failing",
            Stage::PushImage => "push failing",
            Stage::ReleaseCommand => "release command failing",
            Stage::Deploy => "deploy failing",
            Stage::Smoke | Stage::PublicSmoke => "smoke test failing",
            Stage::GoLive => "go-live failing",
        }),
        Cause::Aborted { .. } => Some("given up"),
        Cause::Cancelled { .. }
        | Cause::Superseded { .. }
        | Cause::Held { .. }
        | Cause::Rejected { .. }
        | Cause::NotApproved { .. } => None,
    }
}

/// Returns a span of time by its largest unit.
fn span(ms: u64) -> String {
    let minutes = ms / 60_000;
    match (minutes / 1_440, minutes / 60) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h"),
        (days, _) => format!("{days} d"),
    }
}

/// Returns how wide a text is, in pixels.
fn width(text: &str) -> f64 {
    let of = |char: char| match (char, u32::from(char).checked_sub(u32::from(' '))) {
        ('·', _) => WIDTH_DOT,
        (_, Some(index)) => WIDTHS.get(index as usize).copied().unwrap_or(WIDTH_OTHER),
        (_, None) => 0,
    };
    text.chars().map(|char| f64::from(of(char))).sum::<f64>() * FONT_PX / 2_048.0
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no way to write these.
            char if char.is_control() => {}
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use landfall_engine::core::event::Commit;
    use landfall_engine::core::facts::{Candidate, PushedImage};
    use landfall_engine::core::lane::{LaneId, Release};
    use landfall_engine::core::run::RunId;
    use uuid::Uuid;

    use super::*;

    const NOW_MS: u64 = 1_764_244_800_000;
    const DAY_MS: u64 = 86_400_000;

    fn live(since_ms: u64) -> Lane {
        let release = Release {
            run: RunId(Uuid::from_u128(7)),
            commit: Commit { sha: "3f2a91c0".repeat(5), ..Commit::default() },
            image: PushedImage { repository: "r".into(), tag: "t".into(), digest: "sha256:aa".into() },
            candidate: Candidate {
                container: "c".into(),
                container_id: "c".into(),
                address: ([127, 0, 0, 1], 20_001).into(),
                healthy_after_ms: 1,
            },
            live_at_ms: NOW_MS - since_ms,
        };
        Lane { live: Some(release), ..Lane::default() }
    }

    fn run(state: RunState, cause: Option<Cause>) -> RunSummary {
        RunSummary {
            id: RunId(Uuid::from_u128(8)),
            lane: LaneId::production("shop"),
            commit: Commit::default(),
            trigger: "git push".into(),
            actor: "ada".into(),
            state,
            stage: None,
            parked: None,
            approval_until_ms: None,
            cause,
            started_ms: 0,
            updated_ms: 0,
            seq: 1,
            open: !state.is_terminal(),
        }
    }

    #[track_caller]
    fn says(lane: &Lane, newest: Option<&RunSummary>, words: &str, tone: Tone) {
        assert_eq!(Badge::of(lane, newest, NOW_MS), Badge { words: words.into(), tone });
    }

    #[test]
    fn what_is_live_is_said_unless_the_last_run_has_worse_news() {
        let green = run(RunState::Live, None);
        says(&live(2 * DAY_MS + 5), Some(&green), "live 3f2a91c · 2 d", Tone::Good);
        says(&live(3_600_000), None, "live 3f2a91c · 1 h", Tone::Good);
        says(&live(59_000), Some(&run(RunState::Tested, None)), "live 3f2a91c · 0 min", Tone::Good);
        let failed =
            |stage| run(RunState::Failed, Some(Cause::StageFailed { stage, reason: "1 failed".into() }));
        says(&live(1), Some(&failed(Stage::Test)), "tests failing", Tone::Bad);
        says(&live(1), Some(&failed(Stage::Build)), "build failing", Tone::Bad);
        says(&live(1), Some(&run(RunState::RolledBack, None)), "rolled back", Tone::Warn);
        let cancelled = Some(Cause::Cancelled { reason: "enough".into() });
        says(&live(1), Some(&run(RunState::Failed, cancelled)), "live 3f2a91c · 0 min", Tone::Good);
        let parked = RunSummary { parked: Some("Docker".into()), ..run(RunState::Tested, None) };
        says(&live(1), Some(&parked), "parked", Tone::Warn);
        let asked = RunSummary { approval_until_ms: Some(NOW_MS), ..run(RunState::ImagePushed, None) };
        says(&live(1), Some(&asked), "to be approved", Tone::Warn);
        says(&Lane::default(), Some(&run(RunState::Tested, None)), "running", Tone::Busy);
        says(&Lane::default(), None, "nothing live", Tone::Nothing);
    }

    #[test]
    fn the_picture_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/expected/badge.svg");
        let drawn = Badge::of(&live(2 * DAY_MS), None, NOW_MS).svg();
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(path, &drawn).unwrap();
        }
        assert_eq!(drawn, std::fs::read_to_string(path).unwrap());
    }

    #[test]
    fn nothing_that_is_said_ends_the_text_that_it_is_in() {
        let odd = Badge { words: "<b>&\"'\u{1b}\u{7}</title>".into(), tone: Tone::Bad };
        let svg = odd.svg();
        assert!(svg.contains("landfall: &lt;b&gt;&amp;&quot;&#39;&lt;/title&gt;</title>"), "{svg}");
        assert!(!svg.chars().any(|char| char.is_control() && char != '\n'));
    }

    #[test]
    fn letters_are_as_wide_as_verdanas() {
        let near = |text: &str, px: f64| assert!((width(text) - px).abs() < 0.06, "{text}: {}", width(text));
        near("landfall", 40.0);
        near("iiii", 12.1);
        near("WWWW", 43.5);
        near("0123456789", 69.9);
    }
}
