//! `landfall runs`: runs in one line each.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use landfall_engine::audit::seconds;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{Clock, RunQuery, SystemClock};

use super::control::standing;
use super::source::Source;
use super::stdout;
use crate::cli::{Global, RunsArgs};
use crate::fault::Fault;
use crate::picture::screen::width_of_stdout;
use crate::picture::text::harmless;

/// Lists runs, newest first.
///
/// # Errors
///
/// [`Fault`] when the log can't be read.
pub async fn run(global: &Global, args: RunsArgs) -> Result<u8, Fault> {
    let source = Source::open(global).await?;
    let query = RunQuery {
        app: args.app,
        state: args.state,
        open: args.open,
        before: None,
        limit: usize::from(args.limit),
    };
    let runs = source.runs(query).await?;
    if args.json {
        runs.iter().try_for_each(stdout::json)?;
    } else if runs.is_empty() {
        stdout::line("no runs; `landfall run` in a git repository makes one")?;
    } else {
        stdout::line(&table(&runs, SystemClock.now_ms(), width_of_stdout()))?;
        let shut = source.lanes().await?.into_iter();
        let shut = shut.filter(|(id, lane)| runs.iter().any(|run| run.lane == *id) && lane.paused.is_some());
        shut.flat_map(|(id, lane)| standing(&id, &lane)).try_for_each(|line| stdout::line(&line))?;
    }
    Ok(0)
}

fn table(runs: &[RunSummary], now_ms: u64, width: usize) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX))
        .set_header(["RUN", "APP", "STATE", "COMMIT", "BRANCH", "SUBJECT", "AGE", "TOOK"]);
    for run in runs {
        let took_ms = if run.open { now_ms } else { run.updated_ms }.saturating_sub(run.started_ms);
        let text = [
            run.id.short(),
            run.lane.to_string(),
            state(run),
            run.commit.short().to_owned(),
            run.commit.branch.clone().unwrap_or_default(),
            run.commit.subject.clone(),
        ];
        let cells = text.iter().map(|text| Cell::new(harmless(text)));
        let times = [age(now_ms.saturating_sub(run.started_ms)), seconds(took_ms)];
        let times = times.into_iter().map(|time| Cell::new(time).set_alignment(CellAlignment::Right));
        table.add_row(cells.chain(times));
    }
    table.to_string().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Returns how far a run got, and what it is at.
fn state(run: &RunSummary) -> String {
    match (&run.parked, run.stage) {
        (Some(_), _) => format!("{}, parked", run.state),
        (None, _) if run.approval_until_ms.is_some() => format!("{}, to be approved", run.state),
        (None, Some(stage)) if run.open && !run.state.is_terminal() => format!("{}, {stage}", run.state),
        _ => run.state.to_string(),
    }
}

/// Returns a span in the one unit that a person would say.
pub(super) fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use landfall_engine::core::event::Commit;
    use landfall_engine::core::lane::LaneId;
    use landfall_engine::core::run::RunState;
    use landfall_engine::core::stage::Stage;

    use super::*;

    fn summary(id: &str, state: RunState) -> RunSummary {
        RunSummary {
            id: id.parse().unwrap(),
            lane: LaneId::production("shop"),
            commit: Commit {
                sha: "3f2a91c0b7de4a55aa00".into(),
                branch: Some("main".into()),
                subject: "Add the cart".into(),
                author: "Ada".into(),
                email: "ada@example.com".into(),
            },
            trigger: "git push".into(),
            actor: "ada".into(),
            state,
            stage: None,
            parked: None,
            approval_until_ms: None,
            cause: None,
            started_ms: 1_000_000,
            updated_ms: 1_005_700,
            seq: 20,
            open: false,
        }
    }

    #[test]
    fn a_run_is_one_line_with_its_state_and_what_it_is_at() {
        let live = summary("018bcfe5-6800-7000-8000-9f3e1c2a7b4d", RunState::Live);
        let testing = RunSummary {
            stage: Some(Stage::Test),
            open: true,
            ..summary("018bcfe5-6800-7000-8000-111111111111", RunState::Pushed)
        };
        let parked = RunSummary {
            parked: Some("why".into()),
            open: true,
            ..summary("018bcfe5-6800-7000-8000-222222222222", RunState::Deployed)
        };
        let drawn = table(&[testing, parked, live], 1_200_000, 120);
        assert_eq!(drawn, include_str!("expected/runs.txt").trim_end_matches('\n'), "drawn:\n{drawn}");
    }

    #[test]
    fn an_age_is_said_in_one_unit() {
        let said = [59_999, 60_000, 3_599_999, 7_200_000, 200_000_000].map(age);
        assert_eq!(said, ["59 s", "1 min", "59 min", "2 h", "2 d"]);
    }
}
