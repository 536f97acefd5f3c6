//! Fetching one commit from a repository that is somewhere else, into a mirror of our own.
//!
//! A mirror is shared by all runs of a repository, so that the next fetch brings only what is new. Whoever
//! fetches holds the mirror's lock, **and so does the git that it started**: after a crash of ours the next
//! engine waits for a git that is still writing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use regex::Regex;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::between::is_cut;
use super::heads::without_token;
use super::{Access, GitError, checked_sha, git, init_bare, is_shallow, run, tree_of};

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this machine.
    Local(PathBuf),
    /// Behind a URL.
    Remote(String),
}

/// Tells where a repository is, from the way it is written.
pub(crate) fn place(repository: &str) -> Result<Place, String> {
    if let Some(path) = repository.strip_prefix("file://") {
        return Ok(Place::Local(PathBuf::from(path)));
    }
    let remote = || Ok(Place::Remote(repository.to_owned()));
    if let Some((scheme, _)) = repository.split_once("://") {
        return match scheme {
            "http" | "https" | "ssh" => remote(),
            _ => Err(format!(
                "the repository {:?} can't be reached: expected a path or a URL with https, http or ssh",
                without_credentials(repository)
            )),
        };
    }
    match repository.split_once(':') {
        // `user@host:path`, and not a path that happens to have a colon.
        Some((host, _)) if !host.contains('/') && !Path::new(repository).exists() => {
            if host.is_empty() || host.starts_with('-') || repository.contains("::") {
                return Err(format!("the repository {repository:?} is neither a path nor a URL"));
            }
            remote()
        }
        _ => Ok(Place::Local(PathBuf::from(repository))),
    }
}

/// Returns a repository on this machine that has a commit of one that is anywhere.
///
/// # Errors
///
/// [`GitError`] with what git or the remote says, without credentials.
pub async fn at_hand(data: &Path, repository: &str, sha: &str, access: &Access) -> Result<PathBuf, GitError> {
    match place(repository).map_err(GitError::Credential)? {
        Place::Local(path) => Ok(path),
        Place::Remote(url) => fetch_commit(data, &url, sha, access).await,
    }
}

/// Brings a commit into the mirror of its repository and returns the mirror; does nothing if it is there.
pub(crate) async fn fetch_commit(
    data: &Path,
    url: &str,
    sha: &str,
    access: &Access,
) -> Result<PathBuf, GitError> {
    fetch_into_mirror(data, url, sha, access).await.map_err(|error| without_token(error, access))
}

/// How many commits back a mirror is deepened: more than are told of, so that merges do not end a list early.
const DEPTH: usize = 500;

/// Brings two commits into the mirror of their repository, with what lies between them unless that is very long.
pub(crate) async fn deepen(
    data: &Path,
    url: &str,
    commits: [&str; 2],
    access: &Access,
) -> Result<PathBuf, GitError> {
    let deepened = async {
        let mut mirror = PathBuf::new();
        for sha in commits {
            mirror = fetch_into_mirror(data, url, sha, access).await?;
        }
        let lock = lock(mirror.with_extension("lock")).await.map_err(io)?;
        if !is_cut(&mirror, commits).await? {
            return Ok(mirror);
        }
        remove_stale_locks(&mirror).await;
        let mut command = fetch(&mirror, &lock, access).map_err(io)?;
        command.arg(format!("--depth={DEPTH}")).args(["--", url]);
        run(command.args(commits.map(|sha| format!("+{sha}:{}", ref_of(sha)))), FETCHING).await?;
        Ok(mirror)
    };
    deepened.await.map_err(|error| without_token(error, access))
}

fn io(source: std::io::Error) -> GitError {
    GitError::Io { doing: "making the mirror", source }
}

async fn fetch_into_mirror(data: &Path, url: &str, sha: &str, access: &Access) -> Result<PathBuf, GitError> {
    let sha = checked_sha(sha)?;
    let mirrors = data.join("mirror");
    // What was fetched with an app's credential is not handed to whoever knows the address and the hash.
    let hash = match access.owner() {
        None => Sha256::digest(url),
        Some(app) => Sha256::digest(format!("{app}\n{url}")),
    };
    let name: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let mirror = mirrors.join(format!("{name}.git"));
    tokio::fs::create_dir_all(&mirrors).await.map_err(io)?;
    let lock = lock(mirrors.join(format!("{name}.lock"))).await.map_err(io)?;
    init_bare(&mirror).await?;
    if has_ref(&mirror, sha).await? {
        return Ok(mirror);
    }
    remove_stale_locks(&mirror).await;
    let refspec = format!("+{sha}:{}", ref_of(sha));
    let fetched =
        run(fetch(&mirror, &lock, access).map_err(io)?.args(["--depth=1", "--", url, &refspec]), FETCHING)
            .await;
    match fetched {
        // A server may hand out branches and nothing else.
        Err(GitError::Refused { said, .. }) if refuses_hashes(&said) => {
            fetch_branches(&mirror, &lock, url, sha, access).await?;
        }
        other => drop(other?),
    }
    Ok(mirror)
}

const FETCHING: &str = "fetching the commit";

/// What is checked of every object that comes from elsewhere is whether it is what it says, and whether it names
/// `.git`, `.gitmodules` or `..` where it must not. These are old tools' sloppiness instead, in the histories of
/// honest repositories, and harm nobody; the forges take them, too.
pub const FSCK_LENIENT: [&str; 8] = [
    "badTimezone",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "multipleAuthors",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
];

async fn fetch_branches(
    mirror: &Path,
    lock: &File,
    url: &str,
    sha: &str,
    access: &Access,
) -> Result<(), GitError> {
    let mut command =
        fetch(mirror, lock, access).map_err(|source| GitError::Io { doing: FETCHING, source })?;
    if is_shallow(mirror).await? {
        command.arg("--unshallow");
    }
    run(command.args(["--", url, "+refs/heads/*:refs/remotes/fetched/*"]), FETCHING).await?;
    if tree_of(mirror, sha).await?.is_some() {
        let mut update = git(mirror);
        update.args(["update-ref", &ref_of(sha), sha]);
        run(&mut update, "keeping the commit").await?;
    }
    Ok(())
}

fn fetch(mirror: &Path, lock: &File, access: &Access) -> std::io::Result<Command> {
    let mut command = git(mirror);
    access.open(&mut command);
    for leniency in FSCK_LENIENT {
        command.arg("-c").arg(format!("fetch.fsck.{leniency}=ignore"));
    }
    command.args(["-c", "fetch.fsckObjects=true"]);
    command.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"]);
    // Git reads nothing here. It holds our lock by having the file open, for as long as it lives.
    command.stdin(Stdio::from(lock.try_clone()?));
    Ok(command)
}

async fn lock(path: PathBuf) -> std::io::Result<File> {
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    });
    locked.await.map_err(std::io::Error::other)?
}

/// Git leaves these behind when it is killed; we hold the mirror's lock, so nobody else uses them.
async fn remove_stale_locks(mirror: &Path) {
    for name in ["shallow.lock", "packed-refs.lock", "config.lock"] {
        let _ = tokio::fs::remove_file(mirror.join(name)).await;
    }
}

fn ref_of(sha: &str) -> String {
    format!("refs/landfall/{sha}")
}

/// The ref is written when all of the commit is there; an object alone may be half of a broken fetch.
async fn has_ref(mirror: &Path, sha: &str) -> Result<bool, GitError> {
    Ok(super::resolve(mirror, &ref_of(sha)).await?.as_deref() == Some(sha))
}

fn refuses_hashes(said: &str) -> bool {
    ["not our ref", "unadvertised object", "couldn't find remote ref", "no such remote ref"]
        .iter()
        .any(|text| said.contains(text))
}

/// Tells whether a remote gave an answer (no such repository, no right to read it) rather than none.
pub(crate) fn is_answer(said: &str) -> bool {
    let said = said.to_lowercase();
    let answers = [
        "authentication failed",
        "could not read username",
        "could not read password",
        "permission denied",
        "access denied",
        "not found",
        "host key verification failed",
        "does not appear to be a git repository",
        "does not exist",
        "returned error: 401",
        "returned error: 403",
        "returned error: 404",
        "not allowed",
        // What the pack holds is the same at the next try.
        "fsck error",
    ];
    answers.iter().any(|text| said.contains(text))
}

/// Returns a text with `user:password@` taken out of its URLs.
pub fn without_credentials(text: &str) -> String {
    static USERINFO: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]+@").expect("the pattern is fixed"));
    USERINFO.replace_all(text, "$1").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_path_or_a_url_and_nothing_that_runs_a_command() {
        let local = |path: &str| Ok(Place::Local(PathBuf::from(path)));
        let remote = |url: &str| Ok(Place::Remote(url.to_owned()));
        assert_eq!(place("/srv/git/shop.git"), local("/srv/git/shop.git"));
        assert_eq!(place("../shop"), local("../shop"));
        assert_eq!(place("./odd:name"), local("./odd:name"));
        assert_eq!(place("file:///srv/git/shop.git"), local("/srv/git/shop.git"));
        assert_eq!(place("https://example.com/shop.git"), remote("https://example.com/shop.git"));
        assert_eq!(place("git@example.com:shop.git"), remote("git@example.com:shop.git"));
        assert!(place("ext::sh -c id").is_err());
        assert!(place("ftp://example.com/shop.git").is_err());
        assert!(place("-oProxyCommand=id:x").is_err());
    }

    #[test]
    fn credentials_in_a_url_are_not_repeated() {
        let said = "unable to access 'https://ci:s3cret@example.com/shop.git/': 403";
        assert_eq!(without_credentials(said), "unable to access 'https://example.com/shop.git/': 403");
        assert_eq!(
            without_credentials("user@example.com wrote https://x/@y"),
            "user@example.com wrote https://x/@y"
        );
    }

    #[test]
    fn a_refusal_is_an_answer_and_silence_is_none() {
        assert!(is_answer("Authentication failed for 'https://example.com/shop.git/'"));
        assert!(is_answer("unable to access 'https://example.com/': The requested URL returned error: 403"));
        assert!(!is_answer("unable to access 'https://example.com/': Could not resolve host: example.com"));
        assert!(!is_answer("The requested URL returned error: 503"));
    }
}
