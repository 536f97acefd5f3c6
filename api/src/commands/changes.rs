//! `landfall changes`: the commits and files between two releases.

use std::fmt::Write as _;

use landfall_engine::core::lane::LaneId;
use landfall_engine::ledger_at_rest;
use landfall_engine::timeline::timestamp;
use landfall_stages::secrets::Secrets;

use super::installation::Installation;
use super::source::data_folder;
use super::stdout;
use super::target::checked;
use crate::changes::{Changes, Compared, End, changes};
use crate::cli::{ChangesArgs, Global};
use crate::error::ApiError;
use crate::fault::Fault;
use crate::picture::text::harmless;
use crate::sources::Sources;

/// Compares two releases.
///
/// # Errors
///
/// [`Fault`] when one of them is not known, or is gone.
pub async fn run(global: &Global, args: ChangesArgs) -> Result<u8, Fault> {
    let ChangesArgs { app, from, to, env, json } = args;
    let lane = LaneId { app: checked("app", &app)?, env: checked("environment", &env)? };
    let compared = Compared { from, to };
    let found = match Installation::open(global).await? {
        Installation::Server(client) => client.changes(&lane, &compared).await?,
        Installation::Here(at_rest) => {
            let store = &*at_rest.parts.store;
            let known = ledger_at_rest(store).await?.apps.remove(&lane.app);
            let data = data_folder(global)?;
            let secrets = Secrets::from_process(None).map_err(|error| {
                Fault::unavailable("could not read the secrets of the environment", error)
            })?;
            let sources = Sources::new(&data, secrets);
            let data = std::path::absolute(&data).unwrap_or(data);
            changes(store, &sources, &data, known.as_ref(), lane, compared).await.map_err(fault)?
        }
    };
    match json {
        true => stdout::json(&found)?,
        false => stdout::print(&text(&found))?,
    }
    Ok(0)
}

fn fault(error: ApiError) -> Fault {
    let problem = error.problem();
    match problem.status {
        404 => Fault::NotFound(problem.detail),
        _ => Fault::Usage(problem.detail),
    }
}

fn text(changes: &Changes) -> String {
    let Changes { app, env, from, to, reverted, commits, files, .. } = changes;
    let mut text = format!("{app}/{env}: {} → {}\n", named(from), named(to));
    let count = commits.len() as u64 + changes.more_commits;
    // Writing to a String can't fail.
    let _ = match (count, reverted) {
        (0, _) => writeln!(text, "\nno commit lies between them"),
        (_, true) => writeln!(text, "\n{} taken back:", counted(count, "commit is", "commits are")),
        (_, false) => writeln!(text, "\n{}:", counted(count, "commit", "commits")),
    };
    for commit in commits {
        let sha = commit.sha.get(..12).unwrap_or(&commit.sha);
        // To the minute: it is the committer's clock.
        let at = timestamp(commit.committed_ms).get(..16).unwrap_or_default().replace('T', " ");
        let (subject, author) = (harmless(&commit.subject), harmless(&commit.author));
        let _ = writeln!(text, "  {sha}  {at}  {subject}  ({author})");
    }
    more(&mut text, changes.more_commits);
    if changes.left_out > 0 {
        let left_out = counted(changes.left_out, "commit", "commits");
        let _ = writeln!(text, "  {left_out} of {} are not in {}", named(from), named(to));
    }
    if !files.is_empty() {
        let count = files.len() as u64 + changes.more_files;
        let _ = writeln!(text, "\n{}:", counted(count, "file", "files"));
    }
    for file in files {
        let path = harmless(&file.path);
        let _ = match (file.added, file.deleted) {
            (Some(added), Some(deleted)) => {
                writeln!(text, "  {:>6} {:>6}  {path}", format!("+{added}"), format!("-{deleted}"))
            }
            _ => writeln!(text, "  {:>13}  {path}", "not text"),
        };
    }
    more(&mut text, changes.more_files);
    text
}

fn named(end: &End) -> String {
    let sha = end.sha.get(..12).unwrap_or(&end.sha);
    end.run.map_or_else(|| sha.to_owned(), |run| format!("{sha} (run {})", run.short()))
}

fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn more(text: &mut String, count: u64) {
    if count > 0 {
        let _ = writeln!(text, "  … and {count} more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::{CommitLine, FileLine};

    fn end(digit: &str) -> End {
        End { sha: digit.repeat(40), subject: None, run: None, digest: None }
    }

    fn between() -> Changes {
        let commit = CommitLine {
            sha: "b".repeat(40),
            subject: "Count \u{1b}[31mwhat is sold".into(),
            author: "Ada".into(),
            committed_ms: 1_764_244_800_000,
        };
        let file = |path: &str, added, deleted| FileLine { path: path.into(), added, deleted };
        Changes {
            app: "shop".into(),
            env: "production".into(),
            from: end("a"),
            to: end("b"),
            reverted: false,
            commits: vec![commit],
            more_commits: 2,
            left_out: 0,
            files: vec![file("app.py", Some(12), Some(3)), file("logo.png", None, None)],
            more_files: 0,
        }
    }

    #[test]
    fn commits_and_files_are_listed_and_what_is_not_is_counted() {
        let expected = "\
shop/production: aaaaaaaaaaaa → bbbbbbbbbbbb

3 commits:
  bbbbbbbbbbbb  2025-11-27 12:00  Count what is sold  (Ada)
  … and 2 more

2 files:
     +12     -3  app.py
       not text  logo.png
";
        assert_eq!(text(&between()), expected);
    }

    #[test]
    fn the_way_back_and_no_way_are_said() {
        let back = Changes { reverted: true, more_commits: 0, files: vec![], ..between() };
        assert!(text(&back).contains("1 commit is taken back:\n"), "{}", text(&back));
        let none = Changes { commits: vec![], more_commits: 0, files: vec![], ..between() };
        assert!(text(&none).contains("no commit lies between them"));
    }
}
