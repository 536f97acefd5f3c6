//! The git command, run so that nothing in a repository or around it can surprise us.
//!
//! No hooks, no system configuration, no prompts, an environment of our own, only the transports that
//! we name. The user's own configuration stays in reach: it holds the credential helpers and `git lfs`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use landfall_engine::core::event::Commit;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::lines::clip;

mod access;
mod between;
mod changes;
mod heads;
mod remote;

pub use access::Access;
pub use access::RepositoryKeys;
pub use between::Between;
pub use between::COMMITS_MAX;
pub use between::ChangedFile;
pub use between::FILES_MAX;
pub use between::NoWay;
pub use between::Told;
pub use between::between;
pub use between::with_history;
pub use changes::changed_paths;
pub use changes::message;
pub use heads::Heads;
pub use heads::branch_heads;
pub use heads::remote_heads;
pub use remote::FSCK_LENIENT;
pub(crate) use remote::Place;
pub use remote::at_hand;
pub(crate) use remote::fetch_commit;
pub(crate) use remote::is_answer;
pub(crate) use remote::place;
pub use remote::without_credentials;

/// A commit that is checked out somewhere, and its branch.
pub type Head = Commit;

/// A commit's subject or author may be of any length; people and events are told this much of it.
const FIELD_BYTES_MAX: usize = 300;

/// What git may read from the environment: where things are, and how to reach a remote.
const ENV_PASSED: [&str; 20] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "GIT_SSH_COMMAND",
    "GIT_CONFIG_GLOBAL",
];

/// Given on every command line, where they win over every file.
const CONFIG: [&str; 14] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    // No file of a repository is laid out under a name that some file system takes for `.git`.
    "core.protectHFS=true",
    "core.protectNTFS=true",
    // The environment says so already; this holds for a git that git starts with another environment.
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    // A mirror has no use for what a repository says of other addresses.
    "transfer.bundleURI=false",
    "core.attributesFile=/dev/null",
    "core.sparseCheckout=false",
    "core.autocrlf=false",
    "safe.directory=*",
    "advice.detachedHead=false",
    // A mirror's commits hang on no branch; nothing may collect them between the fetch and the checkout.
    "gc.auto=0",
];

/// The transports that a repository may be reached by. `ext::` would run a command of the URL's choice.
const PROTOCOLS: &str = "file:http:https:ssh";

/// Why git did not do what it was asked. A variant per reaction.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The command is not there. **Tell the operator.**
    #[error("git could not be started: install git (Debian: `apt-get install git`)")]
    NotInstalled(#[source] std::io::Error),
    /// The machine refused. **Try again.**
    #[error("git could not be run while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the machine said.
        #[source]
        source: std::io::Error,
    },
    /// Git said no. **Show it.**
    #[error("{doing}: {said}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// What git said, on one line and without credentials.
        said: String,
    },
    /// The repository, or what opens it, can't be used. **Fix what is known of the app.**
    #[error("the repository can't be asked: {0}")]
    Credential(String),
    /// The hash is not one that names a commit for ever. **Fix the caller.**
    #[error("{0:?} is not a full commit hash (40 or 64 hex digits)")]
    NotASha(String),
}

/// Returns the checked-out commit of a working copy, with its branch unless it is detached.
pub async fn head(path: &Path) -> Result<Head, GitError> {
    let described = describe(path, "HEAD").await?;
    let mut symbolic = git(path);
    symbolic.args(["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let answer = finish(&mut symbolic, "reading the branch").await?;
    let branch = answer.status.success().then(|| text(&answer.stdout)).filter(|name| !name.is_empty());
    Ok(Commit { branch, ..described })
}

/// Tells whether a working copy has anything that its commit has not: changed, staged or untracked files.
pub async fn is_dirty(path: &Path) -> Result<bool, GitError> {
    let mut status = git(path);
    status.args(["--no-optional-locks", "status", "--porcelain", "-z", "--untracked-files=normal"]);
    Ok(!run(&mut status, "looking for uncommitted changes").await?.is_empty())
}

/// Returns who made a commit and what its first line says; the branch is not known from a hash.
pub async fn commit(repository: &Path, sha: &str) -> Result<Commit, GitError> {
    describe(repository, checked_sha(sha)?).await
}

/// Returns a file as it is at a commit. None: the commit has no such file, or there is no such commit.
pub async fn show_file(repository: &Path, sha: &str, path: &str) -> Result<Option<Vec<u8>>, GitError> {
    const DOING: &str = "reading a file of a commit";
    let sha = checked_sha(sha)?;
    // Git reads these as relative to some folder, or as the end of the question.
    if path.contains(['\n', '\0']) || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Ok(None);
    }
    let mut cat = git(repository);
    cat.args(["cat-file", "--batch"]);
    let answer = run_with_input(&mut cat, format!("{sha}:{path}\n").into_bytes(), DOING).await?;
    let Some(end) = answer.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let header = String::from_utf8_lossy(&answer[..end]).into_owned();
    match header.split(' ').collect::<Vec<_>>()[..] {
        [_, "blob", size] => {
            let size: usize = size.parse().map_err(|_| refused(DOING, &header))?;
            Ok(answer.get(end + 1..end + 1 + size).map(<[u8]>::to_vec))
        }
        _ => Ok(None),
    }
}

/// Returns the full hash of the commit that a revision names. None: it names none.
pub async fn resolve(repository: &Path, rev: &str) -> Result<Option<String>, GitError> {
    let mut parse = git(repository);
    parse.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]).arg(format!("{rev}^{{commit}}"));
    let answer = finish(&mut parse, "resolving a revision").await?;
    match answer.status.code() {
        Some(0) => Ok(Some(text(&answer.stdout))),
        // Quiet and 1: no such revision. Anything else has a message.
        _ if answer.stderr.is_empty() => Ok(None),
        _ => Err(refused("resolving a revision", &String::from_utf8_lossy(&answer.stderr))),
    }
}

/// Makes a bare repository that can be pushed to. One that is there already stays as it is.
pub async fn init_bare(path: &Path) -> Result<(), GitError> {
    let mut init = bare_git();
    init.args(["init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--"]).arg(path);
    run(&mut init, "making a bare repository").await.map(drop)
}

/// Returns the root of the working copy that a path is in.
pub async fn top_level(path: &Path) -> Result<PathBuf, GitError> {
    let mut parse = git(path);
    parse.args(["rev-parse", "--show-toplevel"]);
    let answer = run(&mut parse, "looking for the root of the working copy").await?;
    Ok(PathBuf::from(text(&answer)))
}

/// Returns the hash if it is one that may stand on a command line.
pub(crate) fn checked_sha(sha: &str) -> Result<&str, GitError> {
    let is_full = matches!(sha.len(), 40 | 64);
    if is_full && sha.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(sha)
    } else {
        Err(GitError::NotASha(sha.to_owned()))
    }
}

/// Returns the hash of a commit's tree. None: the repository does not have the commit.
pub(crate) async fn tree_of(repository: &Path, sha: &str) -> Result<Option<String>, GitError> {
    const DOING: &str = "reading the commit";
    let sha = checked_sha(sha)?;
    let mut cat = git(repository);
    cat.args(["cat-file", "--batch-check=%(objectname) %(objecttype)"]);
    let asked = format!("{sha}^{{commit}}\n{sha}^{{tree}}\n");
    let answer = run_with_input(&mut cat, asked.into_bytes(), DOING).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let tree = answer.lines().find_map(|line| line.strip_suffix(" tree")).map(str::to_owned);
    let is_commit = answer.lines().any(|line| line.strip_suffix(" commit") == Some(sha));
    Ok(tree.filter(|_| is_commit))
}

/// Tells whether a repository has only the newest part of its history.
pub(crate) async fn is_shallow(repository: &Path) -> Result<bool, GitError> {
    let mut parse = git(repository);
    parse.args(["rev-parse", "--is-shallow-repository"]);
    Ok(run(&mut parse, "looking at the repository").await? == b"true\n")
}

/// Tells whether a path is a git repository, bare or not.
pub(crate) async fn is_repository(path: &Path) -> Result<bool, GitError> {
    let mut parse = git(path);
    parse.args(["rev-parse", "--git-dir"]);
    Ok(path.is_dir() && finish(&mut parse, "looking for the repository").await?.status.success())
}

async fn describe(repository: &Path, rev: &str) -> Result<Commit, GitError> {
    let mut log = git(repository);
    log.args([
        "log",
        "-1",
        "--no-show-signature",
        "--format=%H%x00%s%x00%an%x00%ae",
        "--end-of-options",
        rev,
    ]);
    log.arg("--");
    let answer = text(&run(&mut log, "reading the commit").await?);
    let mut fields = answer.split('\0').map(str::to_owned);
    let mut next = || clip(&fields.next().unwrap_or_default(), FIELD_BYTES_MAX);
    Ok(Commit { sha: next(), branch: None, subject: next(), author: next(), email: next() })
}

/// Returns git with its settings, working on a repository.
pub(crate) fn git(repository: &Path) -> Command {
    let mut command = bare_git();
    command.arg("-C").arg(repository);
    command
}

/// Returns git with its settings alone.
pub(crate) fn bare_git() -> Command {
    let mut command = Command::new("git");
    command.env_clear().envs(environment(|name| std::env::var_os(name)));
    for setting in CONFIG {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn environment(look_up: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    let mut env: Vec<_> =
        ENV_PASSED.into_iter().filter_map(|name| look_up(name).map(|value| (name, value))).collect();
    let fixed = [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ALLOW_PROTOCOL", PROTOCOLS),
        ("GIT_ASKPASS", ""),
        ("SSH_ASKPASS", ""),
        // Messages are read by people and, for what a remote refuses, by us.
        ("LC_ALL", "C.UTF-8"),
    ];
    env.extend(fixed.map(|(name, value)| (name, OsString::from(value))));
    if look_up("GIT_SSH_COMMAND").is_none() {
        env.push(("GIT_SSH_COMMAND", "ssh -o BatchMode=yes".into()));
    }
    env
}

/// Runs git to its end and returns what it printed; a refusal is an error.
pub(crate) async fn run(command: &mut Command, doing: &'static str) -> Result<Vec<u8>, GitError> {
    let answer = finish(command, doing).await?;
    if answer.status.success() {
        Ok(answer.stdout)
    } else {
        Err(refused(doing, &String::from_utf8_lossy(&answer.stderr)))
    }
}

/// Runs git with something to read and returns what it printed; a refusal is an error.
pub(crate) async fn run_with_input(
    command: &mut Command,
    input: Vec<u8>,
    doing: &'static str,
) -> Result<Vec<u8>, GitError> {
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(|source| not_started(doing, source))?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A git that ends early closes the pipe; what it says on stderr is the better message.
            let _ = stdin.write_all(&input).await;
        }
    };
    let (answer, ()) = tokio::join!(child.wait_with_output(), feed);
    let answer = answer.map_err(|source| GitError::Io { doing, source })?;
    if answer.status.success() {
        Ok(answer.stdout)
    } else {
        Err(refused(doing, &String::from_utf8_lossy(&answer.stderr)))
    }
}

/// Runs git to its end and returns all of its answer.
pub(crate) async fn finish(command: &mut Command, doing: &'static str) -> Result<Output, GitError> {
    command.output().await.map_err(|source| not_started(doing, source))
}

fn not_started(doing: &'static str, source: std::io::Error) -> GitError {
    match source.kind() {
        std::io::ErrorKind::NotFound => GitError::NotInstalled(source),
        _ => GitError::Io { doing, source },
    }
}

fn refused(doing: &'static str, stderr: &str) -> GitError {
    GitError::Refused { doing, said: one_line(stderr) }
}

/// Returns what git said in one line, without what is only noise and without credentials in URLs.
fn one_line(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(|line| line.trim().trim_start_matches("fatal: ").trim_start_matches("error: "))
        .filter(|line| !line.is_empty() && !line.starts_with("hint:"))
        .collect();
    let joined = if lines.is_empty() { "git gave no reason".to_owned() } else { lines.join("; ") };
    clip(&without_credentials(&joined), 2_000)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\r']).to_owned()
}

/// Returns the paths in a list that git ended with NUL bytes.
pub(crate) fn nul_separated(list: &[u8]) -> impl Iterator<Item = &OsStr> {
    use std::os::unix::ffi::OsStrExt;
    list.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(OsStr::from_bytes)
}
