//! What lies between two commits: the commits, and the files that they change. All of it is bounded.

use std::path::{Path, PathBuf};

use landfall_engine::core::event::Commit;

use super::remote::{Place, deepen, place};
use super::{
    Access, FIELD_BYTES_MAX, GitError, checked_sha, finish, git, is_shallow, nul_separated, refused, run,
    tree_of,
};
use crate::lines::clip;

/// Commits that are told; more of them nobody reads at once.
pub const COMMITS_MAX: usize = 100;
/// Files that are told.
pub const FILES_MAX: usize = 300;

/// A commit, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The commit; its branch is not known from its hash.
    pub commit: Commit,
    /// When it was committed, in milliseconds since 1970.
    pub committed_ms: u64,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFile {
    /// Where it is. What is not UTF-8 in a name is replaced.
    pub path: String,
    /// Lines that are new. None: it is not text.
    pub added: Option<u64>,
    /// Lines that are gone. None: it is not text.
    pub deleted: Option<u64>,
}

/// The way from one commit to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// Commits that the second one has and the first one has not: the newest of them.
    pub added: Vec<Told>,
    /// How many of them there are.
    pub added_count: u64,
    /// Commits that the first one has and the second one has not: the newest of them.
    pub dropped: Vec<Told>,
    /// How many of them there are.
    pub dropped_count: u64,
    /// Files that differ, in the order of their paths: the first of them.
    pub files: Vec<ChangedFile>,
    /// How many of them there are.
    pub files_count: u64,
}

/// Why there is no way from one commit to another.
#[derive(Debug, thiserror::Error)]
pub enum NoWay {
    /// The repository does not have it any more, such as after a push by force.
    #[error("the repository does not have the commit {0} any more: was its history rewritten?")]
    Gone(String),
    /// No commit is a forebear of both.
    #[error("the commits {0} and {1} have no history in common, as far as this server has it")]
    Unrelated(String, String),
    /// Git or the remote says no.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Returns the repository with two commits of it and what lies between them, fetching what a mirror is without.
///
/// # Errors
///
/// [`GitError`] with what git or the remote says, without credentials.
pub async fn with_history(
    data: &Path,
    repository: &str,
    commits: [&str; 2],
    access: &Access,
) -> Result<PathBuf, GitError> {
    match place(repository).map_err(GitError::Credential)? {
        Place::Local(path) => Ok(path),
        Place::Remote(url) => deepen(data, &url, commits, access).await,
    }
}

/// Returns the way from one commit to another in a repository on this machine.
///
/// # Errors
///
/// [`NoWay`], by what is to be said of it.
pub async fn between(repository: &Path, from: &str, to: &str) -> Result<Between, NoWay> {
    let (from, to) = (checked_sha(from)?, checked_sha(to)?);
    let tree = async |sha: &str| {
        tree_of(repository, sha).await?.ok_or_else(|| NoWay::Gone(sha.chars().take(12).collect()))
    };
    let (tree_from, tree_to) = (tree(from).await?, tree(to).await?);
    if !are_related(repository, from, to).await? {
        let short = |sha: &str| sha.chars().take(12).collect();
        return Err(NoWay::Unrelated(short(from), short(to)));
    }
    let (added, added_count) = commits(repository, from, to).await?;
    let (dropped, dropped_count) = commits(repository, to, from).await?;
    let (files, files_count) = files(repository, &tree_from, &tree_to).await?;
    Ok(Between { added, added_count, dropped, dropped_count, files, files_count })
}

async fn are_related(repository: &Path, from: &str, to: &str) -> Result<bool, GitError> {
    const DOING: &str = "looking for a history in common";
    let mut base = git(repository);
    base.args(["merge-base", from, to]);
    let answer = finish(&mut base, DOING).await?;
    match answer.status.code() {
        Some(0) => Ok(true),
        Some(1) if answer.stderr.is_empty() => Ok(false),
        _ => Err(refused(DOING, &String::from_utf8_lossy(&answer.stderr))),
    }
}

/// Returns the newest commits that `to` has and `from` has not, and how many there are.
async fn commits(repository: &Path, from: &str, to: &str) -> Result<(Vec<Told>, u64), GitError> {
    const DOING: &str = "listing commits";
    let range = format!("{from}..{to}");
    let mut count = git(repository);
    count.args(["rev-list", "--count", &range, "--"]);
    let counted = String::from_utf8_lossy(&run(&mut count, DOING).await?).trim().to_owned();
    let counted: u64 = counted.parse().map_err(|_| refused(DOING, &counted))?;
    if counted == 0 {
        return Ok((Vec::new(), 0));
    }
    let mut log = git(repository);
    log.args(["log", "-z", "--no-show-signature", "--format=%H%x1f%ct%x1f%an%x1f%ae%x1f%s"]);
    log.arg(format!("--max-count={COMMITS_MAX}")).args([&range, "--"]);
    let listed = run(&mut log, DOING).await?;
    Ok((nul_separated(&listed).filter_map(|line| told(&line.to_string_lossy())).collect(), counted))
}

fn told(line: &str) -> Option<Told> {
    let mut fields = line.splitn(5, '\u{1f}').map(|field| clip(field, FIELD_BYTES_MAX));
    let (sha, seconds) = (fields.next()?, fields.next()?.parse::<u64>().ok()?);
    let (author, email, subject) = (fields.next()?, fields.next()?, fields.next()?);
    let commit = Commit { sha, branch: None, subject, author, email };
    Some(Told { commit, committed_ms: seconds.saturating_mul(1_000) })
}

async fn files(repository: &Path, from: &str, to: &str) -> Result<(Vec<ChangedFile>, u64), GitError> {
    let mut diff = git(repository);
    // What a repository says of its files runs no command of its choice. A file that was moved is one that is gone and
    // one that is new.
    diff.args(["diff-tree", "-r", "-z", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv"]);
    diff.args([from, to]);
    let listed = run(&mut diff, "comparing two commits").await?;
    let count = nul_separated(&listed).count();
    let files = nul_separated(&listed).take(FILES_MAX).filter_map(|line| changed(&line.to_string_lossy()));
    Ok((files.collect(), count as u64))
}

/// Reads `added TAB deleted TAB path`; both are `-` where a file is not text.
fn changed(line: &str) -> Option<ChangedFile> {
    let mut fields = line.splitn(3, '\t');
    let (added, deleted) = (fields.next()?.parse().ok(), fields.next()?.parse().ok());
    Some(ChangedFile { path: fields.next()?.to_owned(), added, deleted })
}

/// Tells whether what lies between two commits may be cut off in a mirror.
pub(super) async fn is_cut(mirror: &Path, commits: [&str; 2]) -> Result<bool, GitError> {
    if !is_shallow(mirror).await? {
        return Ok(false);
    }
    let [one, other] = commits;
    for sha in commits {
        if tree_of(mirror, sha).await?.is_none() {
            return Ok(true);
        }
    }
    Ok(!are_related(mirror, one, other).await?)
}

#[cfg(test)]
#[path = "between_tests.rs"]
mod tests;
