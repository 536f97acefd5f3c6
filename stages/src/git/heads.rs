//! Where the branches of a repository stand: of one of ours, and of one that is somewhere else.

use std::collections::BTreeMap;
use std::path::Path;

use super::remote::{Place, place};
use super::{Access, GitError, bare_git, checked_sha, git, refused, run};

/// Branches beyond these are no deployment's; the answer of a remote is read into memory.
const BRANCHES_MAX: usize = 50_000;

/// Where the branches of a repository stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// The branch that a clone checks out.
    pub default: Option<String>,
    /// The full hash of each branch's head, by the branch's name.
    pub branches: BTreeMap<String, String>,
}

/// Returns every branch of a repository on this machine, with its head.
///
/// # Errors
///
/// [`GitError`] with what git says.
pub async fn branch_heads(repository: &Path) -> Result<BTreeMap<String, String>, GitError> {
    let mut list = git(repository);
    list.args(["for-each-ref", "--format=%(objectname)%09%(refname)", "refs/heads/"]);
    let answer = run(&mut list, "listing the branches").await?;
    Ok(parse(&String::from_utf8_lossy(&answer)).branches)
}

/// Asks a repository that is anywhere for its branches, and fetches nothing.
///
/// # Errors
///
/// [`GitError`] with what git or the remote says, without credentials.
pub async fn remote_heads(repository: &str, access: &Access) -> Result<Heads, GitError> {
    const DOING: &str = "asking the repository for its branches";
    // What could run a command, or be taken for an option, is none of these.
    let url = match place(repository).map_err(GitError::Credential)? {
        Place::Local(path) => path.display().to_string(),
        Place::Remote(url) => url,
    };
    let mut list = bare_git();
    list.args(["ls-remote", "--quiet", "--symref", "--", &url, "HEAD", "refs/heads/*"]);
    access.open(&mut list);
    let answer = run(&mut list, DOING).await.map_err(|error| without_token(error, access))?;
    let heads = parse(&String::from_utf8_lossy(&answer));
    match heads.branches.len() > BRANCHES_MAX {
        true => Err(refused(DOING, &format!("there are more than {BRANCHES_MAX} branches"))),
        false => Ok(heads),
    }
}

/// Returns an error of git's without the token that it was given.
pub(super) fn without_token(error: GitError, access: &Access) -> GitError {
    match error {
        GitError::Refused { doing, said } => GitError::Refused { doing, said: access.without_token(&said) },
        error => error,
    }
}

/// Reads `hash<TAB>ref`, and `ref: refs/heads/main<TAB>HEAD`. What is neither is no branch of ours to know.
fn parse(answer: &str) -> Heads {
    let mut heads = Heads::default();
    for (what, name) in answer.lines().filter_map(|line| line.split_once('\t')) {
        if let (Some(default), "HEAD") = (what.strip_prefix("ref: refs/heads/"), name) {
            heads.default = Some(default.to_owned());
        }
        if let (Ok(sha), Some(branch)) = (checked_sha(what), name.strip_prefix("refs/heads/")) {
            heads.branches.insert(branch.to_owned(), sha.to_owned());
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_remote_answers_is_branches_and_the_one_that_is_checked_out() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let answer = format!(
            "ref: refs/heads/trunk\tHEAD\n{one}\tHEAD\n{one}\trefs/heads/trunk\n{two}\trefs/heads/a/b\n\
             {two}\trefs/tags/v1\nnonsense\trefs/heads/odd\nERR\n"
        );
        let heads = parse(&answer);
        assert_eq!(heads.default.as_deref(), Some("trunk"));
        assert_eq!(heads.branches, BTreeMap::from([("trunk".into(), one), ("a/b".into(), two)]));
    }

    #[tokio::test]
    async fn nothing_that_runs_a_command_is_asked() {
        for repository in ["ext::sh -c id", "-oProxyCommand=id:x", "ftp://example.com/shop"] {
            let error = remote_heads(repository, &Access::own()).await.unwrap_err();
            assert!(matches!(error, GitError::Credential(_)), "{error}");
        }
    }
}
