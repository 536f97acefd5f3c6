//! Requests and errors by release, before and after each switch: a plot, and a table that says the same.
//!
//! What is told comes from `GET /v1/apps/{app}/traffic`; here it is put into bars of equal length.

use std::collections::BTreeMap;

use landfall_engine::audit::short_digest;
use landfall_engine::timeline::timestamp;
use serde::Deserialize;

use super::words::subject;

/// How the requests of an app went, as the API tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Traffic {
    now_ms: u64,
    releases: Vec<OfRelease>,
    nothing_released: Vec<Bucket>,
    switches: Vec<Switched>,
}

/// A switch of the traffic.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Switched {
    at_ms: u64,
    kind: String,
    commit: Named,
}

/// A commit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    sha: String,
    subject: String,
}

impl Named {
    fn short(&self) -> &str {
        self.sha.get(..12).unwrap_or(&self.sha)
    }
}

/// How the requests went that one release was sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OfRelease {
    digest: String,
    run: Option<String>,
    commit: Option<Named>,
    points: Vec<Bucket>,
}

/// The requests that came in a stretch of time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Bucket {
    at_ms: u64,
    requests: u64,
    server_errors: u64,
    unanswered: u64,
}

/// The plot, and what it says.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) width: u64,
    pub(super) height: u64,
    pub(super) bars: Vec<Bar>,
    pub(super) switches: Vec<Switch>,
    pub(super) most: u64,
    pub(super) span: &'static str,
    pub(super) rows: Vec<PlotRow>,
}

/// The requests of a stretch of time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) x: u64,
    pub(super) width: u64,
    pub(super) y: u64,
    pub(super) height: u64,
    pub(super) error_y: u64,
    pub(super) error_height: u64,
    pub(super) says: String,
}

/// The moment at which a release took over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) x: u64,
    /// Where its name begins or ends, so that it stays inside.
    pub(super) text_x: u64,
    pub(super) anchor: &'static str,
    pub(super) label: String,
}

/// A release, in the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlotRow {
    pub(super) release: String,
    pub(super) run: Option<String>,
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// In percent, with one digit behind the point.
    pub(super) rate: String,
}

const WIDTH: u64 = 960;
const HEIGHT: u64 = 150;
/// Room for the names of switches above, and for the line below.
const TOP: u64 = 22;
const BARS: u64 = 96;
const HOUR_MS: u64 = 60 * 60 * 1_000;

impl Bucket {
    const fn errors(&self) -> u64 {
        self.server_errors + self.unanswered
    }
}

impl Plot {
    /// Draws what was told; None when there was no request at all.
    pub(super) fn of(traffic: &Traffic) -> Option<Self> {
        let all = || traffic.releases.iter().flat_map(|each| &each.points).chain(&traffic.nothing_released);
        let first = all().filter(|bucket| bucket.requests > 0).map(|bucket| bucket.at_ms).min()?;
        // The last hour, unless the newest switch is before it.
        let newest = traffic.switches.iter().map(|switch| switch.at_ms).max().unwrap_or(first);
        let now_ms = traffic.now_ms.max(all().map(|bucket| bucket.at_ms).max().unwrap_or(0));
        let is_recent = now_ms.saturating_sub(newest) < HOUR_MS;
        let (span_ms, span) =
            if is_recent { (HOUR_MS, "the last hour") } else { (24 * HOUR_MS, "the last day") };
        let from_ms = now_ms.saturating_sub(span_ms);
        let mut counted: BTreeMap<u64, Bucket> = BTreeMap::new();
        for bucket in all().filter(|bucket| bucket.at_ms >= from_ms) {
            let place = ((bucket.at_ms - from_ms) * BARS / span_ms).min(BARS - 1);
            let bar = counted
                .entry(place)
                .or_insert_with(|| Bucket { at_ms: from_ms + place * span_ms / BARS, ..Bucket::default() });
            bar.requests += bucket.requests;
            bar.server_errors += bucket.errors();
        }
        let most = counted.values().map(|bar| bar.requests).max().unwrap_or(0).max(1);
        let x_of = |at_ms: u64| (at_ms.saturating_sub(from_ms)) * WIDTH / span_ms;
        let inside = traffic.switches.iter().filter(|switch| (from_ms..=now_ms).contains(&switch.at_ms));
        let switches = inside.map(|switch| {
            let x = x_of(switch.at_ms);
            let (text_x, anchor) = if x > WIDTH / 2 { (x - 6, "end") } else { (x + 6, "start") };
            let label = match switch.kind.as_str() {
                "rollback" => format!("↩ {} rolled back", switch.commit.short()),
                _ => switch.commit.short().to_owned(),
            };
            Switch { x, text_x, anchor, label }
        });
        Some(Self {
            width: WIDTH,
            height: HEIGHT,
            bars: counted.into_iter().map(|(place, bar)| drawn(place, &bar, most)).collect(),
            switches: switches.collect(),
            most,
            span,
            rows: rows(traffic, from_ms),
        })
    }
}

fn drawn(place: u64, bar: &Bucket, most: u64) -> Bar {
    let room = HEIGHT - TOP - 1;
    // What there is is seen, however little of the most it is.
    let tall = |count: u64| if count == 0 { 0 } else { (count * room / most).clamp(2, room) };
    let (height, error_height) = (tall(bar.requests), tall(bar.errors()).min(tall(bar.requests)));
    let step = WIDTH / BARS;
    Bar {
        x: place * step,
        width: step - 2,
        y: HEIGHT - 1 - height,
        height,
        error_y: HEIGHT - 1 - error_height,
        error_height,
        says: format!("{}: {} requests, {} errors", timestamp(bar.at_ms), bar.requests, bar.errors()),
    }
}

/// Returns what the bars show, in numbers: what came since the plot begins.
fn rows(traffic: &Traffic, from_ms: u64) -> Vec<PlotRow> {
    let sum = |buckets: &[Bucket]| {
        buckets
            .iter()
            .filter(|bucket| bucket.at_ms >= from_ms)
            .fold((0, 0), |(requests, errors), bucket| (requests + bucket.requests, errors + bucket.errors()))
    };
    let row = |release: String, run: Option<String>, (requests, errors): (u64, u64)| PlotRow {
        release,
        run,
        requests,
        errors,
        rate: rate(requests, errors),
    };
    let mut rows: Vec<PlotRow> = traffic
        .releases
        .iter()
        .rev()
        .map(|each| {
            let digest = short_digest(&each.digest);
            let named = |commit: &Named| format!("{} {}", commit.short(), subject(&commit.subject));
            row(each.commit.as_ref().map_or(digest, named), each.run.clone(), sum(&each.points))
        })
        .collect();
    let nothing = sum(&traffic.nothing_released);
    if nothing.0 > 0 {
        rows.push(row("Nothing was released".into(), None, nothing));
    }
    rows
}

fn rate(requests: u64, errors: u64) -> String {
    let thousandths = (errors * 1_000).checked_div(requests).unwrap_or(0);
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stand_before_and_after_the_switch_and_errors_are_part_of_them() {
        let bucket =
            |at_ms, requests, server_errors| Bucket { at_ms, requests, server_errors, unanswered: 0 };
        let now_ms = 100 * HOUR_MS;
        let half = now_ms - HOUR_MS / 2;
        let of = |run: &str, points| OfRelease { digest: run.into(), points, ..OfRelease::default() };
        let traffic = Traffic {
            now_ms,
            releases: vec![
                of("one", vec![bucket(now_ms - 2 * HOUR_MS, 999, 999), bucket(half - 60_000, 200, 0)]),
                of("two", vec![bucket(half + 60_000, 100, 50), bucket(now_ms, 1, 0)]),
            ],
            switches: vec![Switched { at_ms: half, ..Switched::default() }],
            nothing_released: vec![bucket(now_ms - 3 * HOUR_MS, 5, 5)],
        };
        let plot = Plot::of(&traffic).unwrap();
        assert_eq!(plot.span, "the last hour");
        let (before, after, last) = (&plot.bars[0], &plot.bars[1], &plot.bars[2]);
        assert!(before.x < plot.switches[0].x && after.x > plot.switches[0].x);
        assert_eq!((before.height, before.error_height), (HEIGHT - TOP - 1, 0));
        assert_eq!((after.height, after.error_height), (before.height / 2, before.height / 4));
        assert_eq!((last.height, last.x + last.width <= WIDTH), (2, true));
        assert_eq!(plot.rows[0].rate, "49.5 %");
        // What came before the plot begins is in no bar, and so in no sum.
        let sums: Vec<_> = plot.rows.iter().map(|row| (row.requests, row.errors)).collect();
        assert_eq!(sums, [(101, 50), (200, 0)]);
        assert!(Plot::of(&Traffic::default()).is_none());
    }
}
