//! `landfall prune`: gives up what is old, through the server that has the folder or on the folder itself.
//!
//! With an archive: what would go is asked for first, copied and read back, and only that is given up then.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use landfall_engine::core::event::Envelope;
use landfall_engine::core::run::RunId;
use landfall_engine::ports::{Clock, SystemClock};
use landfall_engine::sweep_at_rest;
use landfall_store::backup::{BackupError, archive_runs};
use tokio::runtime::Handle;

use super::source::{data_folder, named_server};
use super::stdout;
use super::world::said;
use crate::cli::{Global, PruneArgs};
use crate::client::Client;
use crate::compose::AtRest;
use crate::fault::Fault;
use crate::limits::LimitArgs;
use crate::picture::words::bytes;
use crate::retention::{PruneReport, PruneRequest, Within, prune, span_ms};

/// How many runs are named in one request: its body has a limit, and an id takes 39 bytes of it.
const RUNS_AT_ONCE: usize = 1_000;

/// How often a sweep is begun that has no time to end: a daemon that hangs is not waited for all night.
const SWEEPS_MAX: usize = 3;

/// What prunes.
enum Access {
    Server(Client),
    Here(AtRest),
}

/// Gives up what is old.
///
/// # Errors
///
/// [`Fault`] when it can't be told what is needed, or the archive can't be made: nothing went then. When something
/// could not be given up, after the rest was.
pub async fn run(global: &Global, args: PruneArgs) -> Result<u8, Fault> {
    let access = Access::open(global).await?;
    let mut request = PruneRequest {
        older_than: args.older_than,
        keep: args.keep,
        dry_run: args.dry_run,
        ..PruneRequest::default()
    };
    let mut report = match args.archive {
        Some(file) if !args.dry_run => {
            let mut plan = PruneReport::default();
            access.to_the_end(&PruneRequest { dry_run: true, ..request.clone() }, &mut plan).await?;
            let runs: Vec<RunId> = plan.runs.iter().map(|run| run.run_id).collect();
            if !runs.is_empty() {
                request.archive = Some(archive(global, &access, &runs, &file).await?);
            }
            // What the plan leaves out is in no request behind it.
            let mut report = PruneReport { unfinished: plan.unfinished, ..PruneReport::default() };
            // One request, for the sweep, when there is no run.
            for some in runs.chunks(RUNS_AT_ONCE).chain(runs.is_empty().then_some(&[][..])) {
                let runs: BTreeSet<RunId> = some.iter().copied().collect();
                access.to_the_end(&PruneRequest { runs: Some(runs), ..request.clone() }, &mut report).await?;
            }
            report
        }
        _ => {
            let mut report = PruneReport { dry_run: args.dry_run, ..PruneReport::default() };
            access.to_the_end(&request, &mut report).await?;
            report
        }
    };
    report.unfinished.sort_unstable();
    report.unfinished.dedup();
    match args.json {
        true => stdout::json(&report)?,
        false => stdout::print(&text(&report))?,
    }
    let undone = undone(&report);
    match undone.is_empty() {
        true => Ok(0),
        false => Err(Fault::unavailable("not everything could be pruned", undone.join("; "))),
    }
}

/// Returns what was not done and is not told by the lines about what was.
fn undone(report: &PruneReport) -> Vec<String> {
    let sweep = report
        .sweep_unfinished
        .as_ref()
        .map(|reason| format!("the sweep of images and containers: {reason}"));
    let more =
        (report.more && sweep.is_none()).then(|| "the server did not come to the end: run this again".into());
    report.unfinished.iter().cloned().chain(sweep).chain(more).collect()
}

/// Copies the runs into a file and returns its name, for the notes in their places.
async fn archive(global: &Global, access: &Access, runs: &[RunId], file: &Path) -> Result<String, Fault> {
    if global.server.is_some() {
        return Err(Fault::Usage(
            "an archive is copied from the data folder: run this on the server's machine, without --server"
                .into(),
        ));
    }
    let (data, handle) = (data_folder(global)?, Handle::current());
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    // The copy is made on a thread that may block; the histories are asked for on those that may not.
    let archived = tokio::task::block_in_place(|| {
        let histories = runs.iter().map(|run| Ok((*run, handle.block_on(access.events(*run))?)));
        archive_runs(&data, histories, &file, SystemClock.now_ms())
    })?;
    said(&format!(
        "{} has the histories and outputs of {} runs ({} outputs, {}), and reads back as it was written",
        file.display(),
        runs.len(),
        archived.outputs,
        bytes(archived.output_bytes)
    ));
    Ok(file.display().to_string())
}

impl Access {
    async fn open(global: &Global) -> Result<Self, Fault> {
        if let Some(server) = named_server(global)? {
            return Ok(Self::Server(server));
        }
        let data: PathBuf = data_folder(global)?;
        if !data.join("META").exists() {
            return Err(Fault::NotFound(format!(
                "there is no data folder {}, so there is nothing to prune; --data DIR names another",
                data.display()
            )));
        }
        match Client::of_data_dir(&data).await {
            Some(server) => Ok(Self::Server(server)),
            None => {
                let store = LimitArgs::from_environment()?.store();
                Ok(Self::Here(AtRest::open(data, store).await.map_err(Fault::not_had)?))
            }
        }
    }

    async fn prune(&self, request: &PruneRequest) -> Result<PruneReport, Fault> {
        match self {
            Self::Server(client) => Ok(client.prune(request).await?),
            Self::Here(AtRest { parts, outputs }) => {
                let older_than_ms = span_ms(&request.older_than).map_err(Fault::Usage)?;
                let sweep = async |dry| sweep_at_rest(parts, dry).await;
                let now_ms = parts.clock.now_ms();
                Ok(prune(&*parts.store, outputs, now_ms, older_than_ms, request, Within::default(), sweep)
                    .await?)
            }
        }
    }

    async fn to_the_end(&self, request: &PruneRequest, whole: &mut PruneReport) -> Result<(), Fault> {
        to_the_end(request, whole, async |request| self.prune(request).await).await
    }

    async fn events(&self, run_id: RunId) -> Result<Vec<Envelope>, BackupError> {
        let events = match self {
            Self::Server(client) => client.events(run_id).await.map_err(io::Error::other),
            Self::Here(here) => here.parts.store.events(run_id).await.map_err(io::Error::other),
        };
        events.map_err(|source| BackupError::Disk {
            doing: format!("reading the history of run {run_id}"),
            source,
        })
    }
}

/// Asks again until nothing of it is left, each time for what comes behind the last run that was looked at.
async fn to_the_end(
    request: &PruneRequest,
    whole: &mut PruneReport,
    ask: impl AsyncFn(&PruneRequest) -> Result<PruneReport, Fault>,
) -> Result<(), Fault> {
    let mut request = request.clone();
    let mut sweeps = 0;
    loop {
        let part = ask(&request).await?;
        whole.runs.extend(part.runs);
        whole.swept.extend(part.swept);
        whole.unfinished.extend(part.unfinished);
        // The last word on the sweep counts: it went on where the one before stood.
        (whole.sweep_unfinished, whole.more) = (part.sweep_unfinished, part.more);
        let goes_on = part.until != request.before;
        sweeps = if goes_on { 0 } else { sweeps + 1 };
        if !part.more || sweeps >= SWEEPS_MAX {
            return Ok(());
        }
        request.before = part.until;
    }
}

fn text(report: &PruneReport) -> String {
    let (pruned, removed) = match report.dry_run {
        true => ("would prune", "would remove"),
        false => ("pruned", "removed"),
    };
    let mut text = String::new();
    for run in &report.runs {
        text +=
            &format!("{pruned} the {} outputs of run {} ({})\n", run.outputs, run.run_id, bytes(run.bytes));
    }
    report.swept.iter().for_each(|line| text += &format!("{removed} {line}\n"));
    let sum = report.runs.iter().map(|run| run.bytes).sum();
    let (runs, swept) = (report.runs.len(), report.swept.len());
    text + &format!("{pruned} {} of output of {runs} runs, and {swept} leftovers\n", bytes(sum))
}

#[cfg(test)]
mod tests {
    use crate::retention::PrunedRun;

    use super::*;

    fn run_id(nth: u8) -> RunId {
        RunId(uuid::Uuid::from_u128(0x018b_cfe5_6800_7000_8000_0000_0000_0000 + u128::from(nth)))
    }

    /// Answers as a server that has time for one run a request, and for the sweep or not.
    async fn asked(oldest: u8, ends_sweep: bool, whole: &mut PruneReport) -> usize {
        let requests = std::cell::Cell::new(0);
        let answer = async |request: &PruneRequest| {
            requests.set(requests.get() + 1);
            assert!(requests.get() < 100, "it comes to no end");
            let next = request.before.map_or(9, |before| before.0.as_bytes()[15] - 1);
            if next >= oldest {
                let runs = vec![PrunedRun { run_id: run_id(next), outputs: 1, bytes: 1 }];
                let unfinished = vec![format!("run {next}: it is evidence")];
                return Ok(PruneReport {
                    runs,
                    unfinished,
                    more: true,
                    until: Some(run_id(next)),
                    ..PruneReport::default()
                });
            }
            let is_finished = ends_sweep && requests.get() > 4;
            let sweep_unfinished = (!is_finished).then(|| "no time".into());
            let (until, dry_run) = (request.before, request.dry_run);
            Ok(PruneReport { dry_run, sweep_unfinished, until, more: !is_finished, ..PruneReport::default() })
        };
        to_the_end(&PruneRequest { dry_run: true, ..PruneRequest::default() }, whole, answer).await.unwrap();
        requests.get()
    }

    #[tokio::test]
    async fn a_dry_run_that_takes_several_requests_tells_of_each_run_once_and_of_the_last_sweep_only() {
        let mut whole = PruneReport::default();
        asked(7, true, &mut whole).await;
        let told: Vec<RunId> = whole.runs.iter().map(|run| run.run_id).collect();
        assert_eq!(told, [run_id(9), run_id(8), run_id(7)]);
        assert_eq!(
            whole.unfinished,
            ["run 9: it is evidence", "run 8: it is evidence", "run 7: it is evidence"]
        );
        assert_eq!(whole.sweep_unfinished, None, "the last sweep was finished");
    }

    #[tokio::test]
    async fn a_sweep_that_never_has_time_enough_is_given_up_and_told() {
        let mut whole = PruneReport::default();
        assert_eq!(asked(10, false, &mut whole).await, SWEEPS_MAX);
        assert_eq!(undone(&whole), ["the sweep of images and containers: no time"]);
    }

    #[test]
    fn what_was_pruned_is_told_by_run_and_in_sum() {
        let run_id = "018bcfe5-6800-7000-8000-9f3e1c2a7b4d".parse().unwrap();
        let report = PruneReport {
            dry_run: true,
            runs: vec![PrunedRun { run_id, outputs: 2, bytes: 4_200_000 }],
            swept: vec!["image 127.0.0.1:5000/shop:run-1".into()],
            ..PruneReport::default()
        };
        assert_eq!(
            text(&report),
            "would prune the 2 outputs of run 018bcfe5-6800-7000-8000-9f3e1c2a7b4d (4.2 MB)\n\
             would remove image 127.0.0.1:5000/shop:run-1\n\
             would prune 4.2 MB of output of 1 runs, and 1 leftovers\n"
        );
    }
}
