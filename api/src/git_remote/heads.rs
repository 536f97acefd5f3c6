//! Where the branches of a repository of ours stand, as git says.

use std::io;
use std::path::Path;
use std::time::Duration;

use landfall_stages::git;

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
pub(crate) async fn head(repository: &Path, branch: &str) -> io::Result<Option<String>> {
    let heads = branch_heads(repository).await?;
    Ok(heads.into_iter().find_map(|(other, sha)| (other == branch).then_some(sha)))
}

async fn branch_heads_within(repository: &Path, limit: Duration) -> io::Result<Vec<(String, String)>> {
    let heads = tokio::time::timeout(limit, git::branch_heads(repository)).await?;
    Ok(heads.map_err(io::Error::other)?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_git_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path();
        git::init_bare(repository).await.unwrap();
        assert_eq!(branch_heads(repository).await.unwrap(), []);
        // Nobody ever writes to it, so git waits for ever to open it.
        let made = Command::new("mkfifo").arg(repository.join("packed-refs")).status().await.unwrap();
        assert!(made.success());
        let error = branch_heads_within(repository, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
