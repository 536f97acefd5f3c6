//! A run in a few lines of plain text: what a commit page shows, and a mail or a chat.
//!
//! Made of the same lines as the last screen of the terminal, so that both say one thing.

use landfall_engine::audit::seconds;
use landfall_engine::core::event::Envelope;
use landfall_engine::core::run::RunState;

use crate::picture::model::Picture;
use crate::picture::summary::summary;
use crate::picture::text::harmless;
use crate::picture::words::counts;

/// More lines than this nobody reads on a commit page.
pub const LINES_MAX: usize = 20;
/// How many lines stay before what is left out: the commit, how it ended, and what was made of it.
const HEAD_LINES: usize = 5;
/// A line is cut here: commit pages break longer ones, and a message of a test may be a page.
const LINE_CHARS_MAX: usize = 200;

/// Returns a run in at most [`LINES_MAX`] lines, each ended by a newline. `link` is where there is more of it. None: its
/// history does not begin with a run.
pub fn plain(history: &[Envelope], link: &str) -> Option<String> {
    let mut picture = Picture::default();
    history.iter().for_each(|envelope| picture.take(envelope));
    let run = picture.run.as_ref()?;
    let commit = run.commit();
    let branch = commit.branch.as_ref().map(|branch| format!(" on {branch}")).unwrap_or_default();
    let mut lines = vec![format!("{} {}{branch}: {}", run.lane, commit.short(), commit.subject)];
    let said = summary(&picture, "");
    // Behind the empty line is what to type next, which is no matter of a commit page.
    let said = said.iter().map(|line| line.paint(false)).take_while(|line| !line.is_empty());
    let mut said = said.collect::<Vec<_>>().into_iter();
    lines.extend(said.next());
    if let Some(tests) = &run.tests {
        lines.push(format!("  tests: {}", counts(tests)));
    }
    // What is live says so itself.
    if let Some(image) = run.image.as_ref().filter(|_| run.state != RunState::Live) {
        lines.push(format!("  image {}", image.by_digest()));
    }
    if matches!(run.state, RunState::Failed | RunState::RolledBack) {
        lines.push(format!("  after {}", seconds(picture.last_ms.saturating_sub(run.started_ms))));
    }
    lines.extend(said);
    let room = LINES_MAX - 1;
    if lines.len() > room {
        // The end of what was printed says more than its beginning.
        let end = lines.split_off(lines.len() - (room - HEAD_LINES - 1));
        let missing = lines.len() - HEAD_LINES;
        lines.truncate(HEAD_LINES);
        lines.push(format!("  … {missing} lines …"));
        lines.extend(end);
    }
    lines.push(link.to_owned());
    let cut = |line: String| {
        let plain = harmless(&line);
        match plain.char_indices().nth(LINE_CHARS_MAX) {
            Some((end, _)) => format!("{}…\n", &plain[..end]),
            None => format!("{plain}\n"),
        }
    };
    Some(lines.into_iter().map(cut).collect())
}
