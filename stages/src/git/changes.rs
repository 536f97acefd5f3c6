//! What a commit says of itself, and what differs between two: what the filters of a push look at.

use std::path::Path;

use super::{GitError, checked_sha, git, nul_separated, run, tree_of};

/// A message is looked through for a marker; more of it than this is no message.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Returns the whole message of a commit, as far as anybody reads it.
///
/// # Errors
///
/// [`GitError`] when there is no such commit.
pub async fn message(repository: &Path, sha: &str) -> Result<String, GitError> {
    let sha = checked_sha(sha)?;
    let mut log = git(repository);
    log.args(["log", "-1", "--no-show-signature", "--format=%B", "--end-of-options", sha, "--"]);
    let mut bytes = run(&mut log, "reading the commit's message").await?;
    bytes.truncate(MESSAGE_BYTES_MAX);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the paths that differ between two commits. None: the repository does not have both.
///
/// # Errors
///
/// [`GitError`] with what git says.
pub async fn changed_paths(
    repository: &Path,
    before: &str,
    after: &str,
) -> Result<Option<Vec<String>>, GitError> {
    let (Some(before), Some(after)) = (tree_of(repository, before).await?, tree_of(repository, after).await?)
    else {
        return Ok(None);
    };
    let mut diff = git(repository);
    // A file that was moved is one that is gone and one that is new.
    diff.args(["diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", &before, &after]);
    let listed = run(&mut diff, "comparing two commits").await?;
    Ok(Some(nul_separated(&listed).map(|path| path.to_string_lossy().into_owned()).collect()))
}
