//! Where the branches of a repository of ours stand, as git says.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

/// How long git may take to read what takes it milliseconds. Whoever asks also asks for other apps: one repository
/// that is stuck is no reason to forget them.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns every branch of a repository of ours, with its head.
///
/// # Errors
///
/// What git says, and when it says nothing in [`READ_TIMEOUT`].
pub(super) async fn branch_heads(repository: &Path) -> io::Result<Vec<(String, String)>> {
    branch_heads_within(repository, READ_TIMEOUT).await
}

/// Returns the head of one branch; None when there is no such branch.
pub(super) async fn head(repository: &Path, branch: &str) -> io::Result<Option<String>> {
    let heads = branch_heads(repository).await?;
    Ok(heads.into_iter().find_map(|(other, sha)| (other == branch).then_some(sha)))
}

async fn branch_heads_within(repository: &Path, limit: Duration) -> io::Result<Vec<(String, String)>> {
    let mut command = Command::new("git");
    command.args(["-c", "safe.directory=*", "-C"]).arg(repository);
    command.args(["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/"]).kill_on_drop(true);
    let answer = tokio::time::timeout(limit, command.output()).await??;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
        return Err(io::Error::other(format!("git for-each-ref: {said}")));
    }
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let heads = text.lines().filter_map(|line| {
        let (sha, reference) = line.split_once(' ')?;
        Some((reference.strip_prefix("refs/heads/")?.to_owned(), sha.to_owned()))
    });
    Ok(heads.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_git_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path();
        landfall_stages::git::init_bare(repository).await.unwrap();
        assert_eq!(branch_heads(repository).await.unwrap(), []);
        // Nobody ever writes to it, so git waits for ever to open it.
        let made = Command::new("mkfifo").arg(repository.join("packed-refs")).status().await.unwrap();
        assert!(made.success());
        let error = branch_heads_within(repository, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
