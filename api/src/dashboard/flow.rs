//! The ten rows of the execution table as a diagram: eight in a line, and the two that a red answer leads to.
//!
//! ```text
//! 1 ─▶ 2 ─▶ 3 ─▶ 4 ─▶ 5 ─▶ 6 ─▶ 7 ─▶ 8
//!      └─▶ 9 stop                └─▶ 10 roll back
//! ```
//!
//! It is laid out here and drawn by the template, twice: lying down for wide screens, and upright for narrow ones.

use landfall_engine::audit::{Mark, Replay, Row, row_of, seconds};
use landfall_engine::core::event::{Envelope, Event};

/// The diagram of a run.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) wide: Layout,
    pub(super) tall: Layout,
    /// What it shows, for those who don't see it.
    pub(super) summary: String,
}

/// The diagram in one of its two forms.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) name: &'static str,
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

/// A row, as a box.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) number: u8,
    pub(super) label: &'static str,
    /// How it went, as a colour.
    pub(super) class: &'static str,
    pub(super) mark: &'static str,
    /// How it went, in a word or a time.
    pub(super) word: String,
    /// All of it, for those who don't see it.
    pub(super) spoken: String,
    /// Since when it is going on, in milliseconds since 1970.
    pub(super) since_ms: Option<u64>,
}

/// A way from one box to another.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) path: String,
    /// Whether the run went this way.
    pub(super) class: &'static str,
}

const LABELS: [&str; 10] = [
    "Code pushed",
    "Run tests",
    "Build image",
    "Push image",
    "Start deploy",
    "Deploy",
    "Smoke tests",
    "Release live",
    "Stop, notify",
    "Roll back, notify",
];
/// Where a red answer is expected to come from, until one comes from elsewhere.
const RED_AT: [(usize, u8); 2] = [(8, 2), (9, 7)];

impl Flow {
    /// Lays out a run as its history shows it, up to and including event `until`.
    pub(super) fn of(replay: &Replay, history: &[Envelope], until: u64) -> Self {
        let (took, since) = times(history.iter().filter(|envelope| envelope.seq <= until));
        let is_now = history.last().is_none_or(|last| last.seq <= until);
        let nodes: Vec<Node> = replay
            .rows
            .iter()
            .zip(LABELS)
            .enumerate()
            .map(|(place, (row, label))| node(row, label, took[place], since[place]))
            // What was going on then is over now: no clock counts it on.
            .map(|node| Node { since_ms: node.since_ms.filter(|_| is_now), ..node })
            .collect();
        let sources = RED_AT.map(|(place, usual)| source(replay, place, usual));
        let summary =
            nodes.iter().filter(|node| node.class != "not_reached").map(|node| node.spoken.as_str());
        let summary = summary.collect::<Vec<_>>().join("; ");
        Self { wide: wide(&nodes, sources), tall: tall(&nodes, sources), summary }
    }
}

/// Returns how long each row took, and since when it is going on, if it is.
fn times<'a>(history: impl Iterator<Item = &'a Envelope>) -> ([Option<u64>; 10], [Option<u64>; 10]) {
    let (mut took, mut since) = ([None; 10], [None; 10]);
    for envelope in history {
        match &envelope.event {
            Event::StageStarted { stage, .. } => {
                since[usize::from(row_of(*stage)) - 1] = Some(envelope.recorded_at_ms);
            }
            Event::StageSucceeded { stage, took_ms, .. } | Event::StageFailed { stage, took_ms, .. } => {
                let place = usize::from(row_of(*stage)) - 1;
                took[place] = Some(took[place].unwrap_or(0) + took_ms);
                since[place] = None;
            }
            Event::StageErrored { stage, .. } | Event::StageUndone { stage, .. } => {
                since[usize::from(row_of(*stage)) - 1] = None;
            }
            Event::RollbackStarted { .. } => since[9] = Some(envelope.recorded_at_ms),
            Event::RollbackSucceeded { took_ms, .. } => (took[9], since[9]) = (Some(*took_ms), None),
            Event::RollbackErrored { .. } => since[9] = None,
            _ => {}
        }
    }
    (took, since)
}

fn node(row: &Row, label: &'static str, took: Option<u64>, since_ms: Option<u64>) -> Node {
    // The last two rows are what a red answer leads to: done well, they are no green.
    let is_end = row.number > 8;
    let (class, mark, word) = match row.mark {
        Mark::NotReached => ("not_reached", "", "not reached"),
        Mark::Begun if since_ms.is_some() || row.number == 10 => ("busy", "●", "going on"),
        Mark::Begun if row.number == 5 => ("wait", "‖", "waits"),
        Mark::Begun => ("busy", "●", "begun"),
        Mark::Passed if row.number == 9 => ("bad", "■", "stopped"),
        Mark::Passed if is_end => ("back", "↩", "rolled back"),
        Mark::Passed => ("good", "✓", "done"),
        Mark::Failed => ("bad", "✗", "failed"),
        Mark::Skipped => ("idle", "↷", "skipped"),
    };
    let time = took.filter(|_| row.mark != Mark::Begun).map(seconds);
    let spoken = match &time {
        Some(time) => format!("{} {label}: {word} in {time}", row.number),
        None => format!("{} {label}: {word}", row.number),
    };
    let word = match (row.mark, time) {
        (Mark::Passed, Some(time)) => time,
        (Mark::Failed, Some(time)) => format!("{word}, {time}"),
        (Mark::NotReached, _) => String::new(),
        _ => word.to_owned(),
    };
    let since_ms = since_ms.filter(|_| row.mark == Mark::Begun);
    Node { x: 0, y: 0, width: 0, height: 0, number: row.number, label, class, mark, word, spoken, since_ms }
}

/// Returns from which row the run came to one of the last two.
fn source(replay: &Replay, place: usize, usual: u8) -> u8 {
    let is_reached = replay.rows.get(place).is_some_and(|row| row.mark != Mark::NotReached);
    let red =
        replay.rows.iter().take(8).filter(|row| row.mark == Mark::Failed).map(|row| row.number).next_back();
    red.filter(|_| is_reached).unwrap_or(usual)
}

fn class_of(to: &Node) -> &'static str {
    match (to.class, to.number) {
        ("not_reached", 9 | 10) => "maybe",
        ("not_reached", _) => "ahead",
        ("back", _) => "took_back",
        (_, 9) => "took_bad",
        (_, 10) => "took_back",
        _ => "took",
    }
}

fn wide(nodes: &[Node], sources: [u8; 2]) -> Layout {
    const STEP: i32 = 142;
    let mut placed: Vec<Node> = nodes.to_vec();
    for (node, x) in placed.iter_mut().zip((0..8).map(|place| 2 + place * STEP)) {
        (node.x, node.y, node.width, node.height) = (x, 2, 122, 62);
    }
    for (node, x) in placed.iter_mut().skip(8).zip([STEP + 30, STEP * 6 - 19]) {
        (node.x, node.y, node.width, node.height) = (x, 116, 164, 62);
    }
    let mut edges = Vec::new();
    for pair in placed.windows(2).take(7) {
        let (from, to) = (&pair[0], &pair[1]);
        edges.push(Edge { path: format!("M{} 33H{}", from.x + from.width, to.x - 2), class: class_of(to) });
    }
    for (to, source) in placed.iter().skip(8).zip(sources) {
        let from = &placed[usize::from(source) - 1];
        let (x, middle) = (from.x + from.width / 2, to.x + to.width / 2);
        let path = format!("M{x} {}V90H{middle}V{}", from.y + from.height, to.y - 2);
        edges.push(Edge { path, class: class_of(to) });
    }
    Layout { name: "wide", width: 7 * STEP + 126, height: 182, nodes: placed, edges }
}

fn tall(nodes: &[Node], sources: [u8; 2]) -> Layout {
    const STEP: i32 = 62;
    let mut placed: Vec<Node> = nodes.to_vec();
    for (node, y) in placed.iter_mut().zip((0..8).map(|place| 2 + place * STEP)) {
        (node.x, node.y, node.width, node.height) = (2, y, 176, 48);
    }
    for (node, y) in placed.iter_mut().skip(8).zip([2 + STEP * 2, 2 + STEP * 6]) {
        (node.x, node.y, node.width, node.height) = (204, y, 138, 48);
    }
    let mut edges = Vec::new();
    for pair in placed.windows(2).take(7) {
        let (from, to) = (&pair[0], &pair[1]);
        edges.push(Edge { path: format!("M90 {}V{}", from.y + from.height, to.y - 2), class: class_of(to) });
    }
    for (to, source) in placed.iter().skip(8).zip(sources) {
        let from = &placed[usize::from(source) - 1];
        let path = format!(
            "M{} {}H191V{}H{}",
            from.x + from.width,
            from.y + from.height / 2,
            to.y + to.height / 2,
            to.x - 2
        );
        edges.push(Edge { path, class: class_of(to) });
    }
    Layout { name: "tall", width: 344, height: STEP * 8, nodes: placed, edges }
}

#[cfg(test)]
mod tests {
    use landfall_engine::audit::replay;

    use super::*;

    #[test]
    fn a_run_without_a_history_is_ten_boxes_that_were_not_reached() {
        let flow = Flow::of(&replay(&[], None), &[], 0);
        for layout in [&flow.wide, &flow.tall] {
            assert_eq!((layout.nodes.len(), layout.edges.len()), (10, 9));
            let fits = |node: &Node| {
                node.x >= 0
                    && node.y >= 0
                    && node.x + node.width <= layout.width
                    && node.y + node.height <= layout.height
            };
            assert!(layout.nodes.iter().all(fits), "{layout:?}");
            assert!(layout.nodes.iter().all(|node| node.class == "not_reached"));
        }
        assert_eq!(flow.summary, "");
    }
}
