//! Lays exactly the pushed commit into a folder of its own, without `.git`, and reads its configuration.
//!
//! Git itself writes the files, through an index that is thrown away: unlike `git archive` it leaves nothing
//! out and rewrites nothing, so what is tested is what was pushed.
//!
//! **The marker is written last.** A folder without it, or one that differs from the commit, is made anew.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::{Checkout, Facts, Guess};
use landfall_engine::core::settings::Settings;
use landfall_engine::ports::{Order, Output, Probe};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use crate::config::{self, Configured};
use crate::context::Context;
use crate::git::{self, Access, GitError, Place};
use crate::lines::clip;
use crate::secrets::exposed;
use crate::stopped::Stopped;

mod guessed_image;

/// A commit's entry that is a submodule.
const GITLINK: &str = "160000";

/// How a file begins that stands for one in git-lfs.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// How many names a message holds before it only counts.
const NAMES_MAX: usize = 3;

/// Says that the folder is whole, and what is in it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    sha: String,
    tree: String,
}

impl From<GitError> for Stopped {
    fn from(error: GitError) -> Self {
        match &error {
            GitError::NotASha(_) | GitError::Credential(_) => Self::failed(error.to_string()),
            _ => Self::errored(described(&error)),
        }
    }
}

/// Lays the commit out, or finds it laid out already.
pub(crate) async fn run(context: &Context, order: &Order, output: &Output) -> Outcome {
    match standing(context, order).await {
        Ok(Some(marker)) => return told(concluded(context, order, marker).await, output),
        Ok(None) => {}
        Err(reason) => return Outcome::errored(reason),
    }
    match check_out(context, order, output).await {
        Ok(marker) => told(concluded(context, order, marker).await, output),
        Err(stopped) => stopped.into(),
    }
}

/// Says whether the commit lies there whole. The files are compared, not only the marker: a power cut can
/// keep a small file that was synced and lose what was written before it.
pub(crate) async fn probe(context: &Context, order: &Order) -> Result<Probe, String> {
    Ok(match standing(context, order).await? {
        Some(marker) => Probe::Done(concluded(context, order, marker).await),
        None => Probe::NotStarted,
    })
}

/// Removes the run's folder.
pub(crate) async fn undo(context: &Context, order: &Order) -> Result<(), String> {
    remove(&context.work_dir(order.run.id)).await
}

/// Tells where the repository of a run is, and fetches the commit if that is elsewhere.
async fn repository(context: &Context, order: &Order) -> Result<PathBuf, Stopped> {
    let Some((commit, repository)) = order.run.origin.source() else {
        return Err(Stopped::failed("this run starts from a release and has no repository"));
    };
    match git::place(repository).map_err(Stopped::failed)? {
        Place::Local(path) if git::is_repository(&path).await? => Ok(path),
        Place::Local(path) => Err(Stopped::failed(format!(
            "there is no git repository at {}: was it moved or removed since the push?",
            path.display()
        ))),
        Place::Remote(url) => {
            let access = access(context, &order.run.lane.app, &url)?;
            git::fetch_commit(&context.data, &url, &commit.sha, &access).await.map_err(|error| match &error {
                GitError::Refused { said, .. } if git::is_answer(said) => Stopped::failed(format!(
                    "the repository can't be fetched: {said}; check its address, and that this machine may read it"
                )),
                _ => error.into(),
            })
        }
    }
}

/// Returns what opens the repository of an app.
fn access(context: &Context, app: &str, url: &str) -> Result<Access, Stopped> {
    let Some(name) = context.keys.of(app, url) else { return Ok(Access::own()) };
    let credential = context.secrets.get(&name).map_err(|missing| {
        Stopped::failed(format!("the repository can't be fetched: {missing}, or register the app without it"))
    })?;
    Ok(Access::with(app, url, credential, &context.data)?)
}

async fn check_out(context: &Context, order: &Order, output: &Output) -> Result<Marker, Stopped> {
    let sha = git::checked_sha(&order.run.commit().sha)?.to_owned();
    let repository = repository(context, order).await?;
    let Some(tree) = git::tree_of(&repository, &sha).await? else {
        return Err(missing(&repository, &sha).await);
    };
    let entries = Entries::of(&repository, &tree).await?;
    entries.refuse_submodules()?;

    let (work, source) = (context.work_dir(order.run.id), context.source_dir(order.run.id));
    remove(&work).await.map_err(Stopped::errored)?;
    tokio::fs::create_dir_all(&source).await.map_err(|error| disk("making the run's folder", &error))?;
    output.line(&format!("checking out {} ({} files)", order.run.commit().short(), entries.files.len()));
    let laid_out = lay_out(&repository, &sha, &work, &source).await;
    laid_out.map_err(|stopped| explain_lfs(stopped, &repository, &sha))?;
    refuse_lfs_pointers(&repository, &work, &source, &entries).await?;

    let marker = Marker { sha, tree };
    write_marker(&work, &marker).await.map_err(|error| disk("recording the checkout", &error))?;
    Ok(marker)
}

/// A file with more problems than fit here shows the first ones.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Prints what was guessed.
fn told(outcome: Outcome, output: &Output) -> Outcome {
    if let Outcome::Succeeded(Facts::Checkout(checkout)) = &outcome {
        for Guess { key, value, reason } in &checkout.guesses {
            output.line(&format!("guessed {key} = {value:?}: {reason}"));
        }
    }
    outcome
}

/// Reads the configuration of the commit that lies there, and what its source says beside it.
async fn concluded(context: &Context, order: &Order, marker: Marker) -> Outcome {
    let (source, app) = (context.source_dir(order.run.id), order.run.lane.app.clone());
    let reading = tokio::task::spawn_blocking(move || config::read_and_guess(&source, &app)).await;
    let read = match reading {
        Ok(read) => read,
        Err(error) => return Outcome::errored(format!("reading the configuration: {error}")),
    };
    match read {
        // Before they are recorded.
        Ok(configured) => match exposed_anywhere(context, order, &configured.settings) {
            Some(leak) => Outcome::failed(format!("{}: {leak}", configured.configured_by)),
            None => {
                let Configured { settings, configured_by, guesses } =
                    guessed_image::within_reach(context, configured).await;
                Outcome::Succeeded(Facts::Checkout(Checkout {
                    tree: marker.tree,
                    settings: Box::new(settings.for_environment(&order.run.lane.env)),
                    configured_by,
                    guesses,
                }))
            }
        },
        Err(message) => Outcome::failed(clip(&message, MESSAGE_BYTES_MAX)),
    }
}

/// Returns what to say when the configuration of any environment holds a secret itself: all of it is recorded.
fn exposed_anywhere(context: &Context, order: &Order, settings: &Settings) -> Option<String> {
    let app = &order.run.lane.app;
    let of_file = exposed(&context.secrets, settings);
    let named = settings.environments.named.keys();
    of_file.or_else(|| {
        named.into_iter().find_map(|env| {
            let there = settings.clone().for_environment(env);
            // A vault that can't be opened now has stopped this stage before it came here.
            let own = context.secrets.for_app(app, Some(env)).ok();
            exposed(own.as_ref().unwrap_or(&context.secrets), &there)
        })
    })
}

async fn missing(repository: &Path, sha: &str) -> Stopped {
    let short = sha.get(..12).unwrap_or(sha);
    Stopped::failed(match git::is_shallow(repository).await {
        Ok(true) => format!(
            "commit {short} is not in {}, which is a shallow clone: bring in its history with \
             `git fetch --unshallow`, then start the run again",
            repository.display()
        ),
        Ok(false) => format!(
            "commit {short} does not exist in {}: push it there first, or check the hash",
            repository.display()
        ),
        Err(error) => return error.into(),
    })
}

/// What a commit consists of.
struct Entries {
    files: Vec<OsString>,
    submodules: Vec<OsString>,
}

impl Entries {
    async fn of(repository: &Path, tree: &str) -> Result<Self, GitError> {
        let mut list = git::git(repository);
        list.args(["ls-tree", "-r", "-z", "--full-tree", tree]);
        let listed = git::run(&mut list, "listing the commit's files").await?;
        let mut entries = Self { files: Vec::new(), submodules: Vec::new() };
        for entry in git::nul_separated(&listed) {
            // `mode type hash<TAB>path`
            let bytes = entry.as_bytes();
            let Some(tab) = bytes.iter().position(|byte| *byte == b'\t') else { continue };
            let path = std::ffi::OsStr::from_bytes(&bytes[tab + 1..]).to_owned();
            match bytes.starts_with(GITLINK.as_bytes()) {
                true => entries.submodules.push(path),
                false => entries.files.push(path),
            }
        }
        Ok(entries)
    }

    fn refuse_submodules(&self) -> Result<(), Stopped> {
        if self.submodules.is_empty() {
            return Ok(());
        }
        Err(Stopped::failed(format!(
            "the commit has git submodules ({}), which are not fetched: add their files to the repository, or \
             install them as packages",
            named(&self.submodules)
        )))
    }
}

/// Lets git write the files, as a checkout would, into a folder that is no working copy.
async fn lay_out(repository: &Path, sha: &str, work: &Path, source: &Path) -> Result<(), Stopped> {
    let mut read = Index::new(repository, source, &work.join("index")).git();
    read.args(["read-tree", "--reset", "-u", "--no-recurse-submodules", sha]);
    git::run(&mut read, "checking out the commit").await?;
    Ok(())
}

/// An index of our own beside the repository's, and the folder that it describes.
///
/// Absolute paths: git stands in the repository while it works.
struct Index {
    repository: PathBuf,
    work_tree: PathBuf,
    file: PathBuf,
}

impl Index {
    fn new(repository: &Path, work_tree: &Path, file: &Path) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { repository: absolute(repository), work_tree: absolute(work_tree), file: absolute(file) }
    }

    fn git(&self) -> tokio::process::Command {
        // `.git` of a working copy (a file in a linked one), or the bare repository itself.
        let inside = self.repository.join(".git");
        let git_dir = if inside.exists() { &inside } else { &self.repository };
        let mut command = git::git(&self.repository);
        command.env("GIT_INDEX_FILE", &self.file).env("GIT_WORK_TREE", &self.work_tree);
        // With a work tree given, git looks for no repository by itself.
        command.arg("--git-dir").arg(git_dir);
        command
    }
}

/// The filter of git-lfs is not there, or could not get at its files: git's own words do not say what to do.
fn explain_lfs(stopped: Stopped, repository: &Path, sha: &str) -> Stopped {
    let Stopped::Errored(said) = stopped else { return stopped };
    if !said.contains("lfs") {
        return Stopped::Errored(said);
    }
    Stopped::failed(format!(
        "commit {} has files in git-lfs that could not be brought in ({}): install git-lfs on this machine, run \
         `git lfs install` and `git lfs fetch --all` in {}, then start the run again",
        sha.get(..12).unwrap_or(sha),
        clip(&said, 300),
        repository.display()
    ))
}

async fn refuse_lfs_pointers(
    repository: &Path,
    work: &Path,
    source: &Path,
    entries: &Entries,
) -> Result<(), Stopped> {
    if !mentions_lfs(source, entries) {
        return Ok(());
    }
    let mut list: Vec<u8> = Vec::new();
    for file in &entries.files {
        list.extend_from_slice(file.as_bytes());
        list.push(0);
    }
    let mut check = Index::new(repository, source, &work.join("index")).git();
    check.args(["check-attr", "--cached", "-z", "--stdin", "filter"]);
    let answer = git::run_with_input(&mut check, list, "looking for files in git-lfs").await?;
    let fields: Vec<_> = git::nul_separated(&answer).collect();
    let pointers: Vec<OsString> = fields
        .chunks_exact(3)
        .filter(|field| field[2] == "lfs" && is_pointer(&source.join(field[0])))
        .map(|field| field[0].to_owned())
        .collect();
    if pointers.is_empty() {
        return Ok(());
    }
    Err(Stopped::failed(format!(
        "files of this commit are in git-lfs and were not brought in ({}): install git-lfs on this machine, run \
         `git lfs install` and `git lfs fetch --all` in the repository, then start the run again",
        named(&pointers)
    )))
}

fn mentions_lfs(source: &Path, entries: &Entries) -> bool {
    let attributes = entries.files.iter().filter(|file| Path::new(file).ends_with(".gitattributes"));
    attributes
        .filter_map(|file| std::fs::read(source.join(file)).ok())
        .any(|text| String::from_utf8_lossy(&text).contains("filter=lfs"))
}

fn is_pointer(path: &Path) -> bool {
    use std::io::Read;
    let mut start = Vec::new();
    let is_file = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    is_file
        && std::fs::File::open(path)
            .and_then(|file| file.take(LFS_POINTER.len() as u64).read_to_end(&mut start))
            .is_ok_and(|_| start == LFS_POINTER)
}

/// Returns the marker of a folder that is exactly the commit. None: there is none, or it is not.
async fn standing(context: &Context, order: &Order) -> Result<Option<Marker>, String> {
    let (work, source) = (context.work_dir(order.run.id), context.source_dir(order.run.id));
    let Ok(text) = tokio::fs::read(work.join("checkout.json")).await else { return Ok(None) };
    let Ok(marker) = serde_json::from_slice::<Marker>(&text) else { return Ok(None) };
    if marker.sha != order.run.commit().sha || !source.is_dir() {
        return Ok(None);
    }
    let repository = match repository(context, order).await {
        Ok(repository) => repository,
        // Laying it out again says the same, with its own words.
        Err(Stopped::Failed(_)) => return Ok(None),
        Err(Stopped::Errored(reason)) => return Err(reason),
    };
    match is_unchanged(&repository, &marker, &work, &source).await {
        Ok(true) => Ok(Some(marker)),
        Ok(false) => Ok(None),
        Err(GitError::Refused { .. } | GitError::NotASha(_)) => Ok(None),
        Err(error) => Err(described(&error)),
    }
}

async fn is_unchanged(
    repository: &Path,
    marker: &Marker,
    work: &Path,
    source: &Path,
) -> Result<bool, GitError> {
    const DOING: &str = "comparing the checkout with its commit";
    if git::tree_of(repository, &marker.sha).await?.as_ref() != Some(&marker.tree) {
        return Ok(false);
    }
    // A fresh index knows no times, so that every file is read.
    let index = Index::new(repository, source, &work.join("index.probe"));
    let _ = tokio::fs::remove_file(&index.file).await;
    git::run(index.git().args(["read-tree", &marker.sha]), DOING).await?;
    let mut status = index.git();
    status.args(["status", "--porcelain", "-z", "--untracked-files=all", "--ignored=matching"]);
    // The head of the repository is not our commit: only what differs between index and folder counts.
    let answer = git::run(&mut status, DOING).await?;
    let differs = git::nul_separated(&answer).any(|entry| {
        let entry = entry.as_bytes();
        entry.starts_with(b"??") || entry.starts_with(b"!!") || entry.get(1).is_some_and(|y| *y != b' ')
    });
    let _ = tokio::fs::remove_file(&index.file).await;
    Ok(!differs)
}

async fn write_marker(work: &Path, marker: &Marker) -> std::io::Result<()> {
    let (path, temporary) = (work.join("checkout.json"), work.join("checkout.json.new"));
    let mut file = tokio::fs::File::create(&temporary).await?;
    file.write_all(&serde_json::to_vec(marker)?).await?;
    file.sync_all().await?;
    tokio::fs::rename(&temporary, &path).await?;
    let _ = tokio::fs::remove_file(work.join("index")).await;
    tokio::fs::File::open(work).await?.sync_all().await
}

async fn remove(folder: &Path) -> Result<(), String> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("could not remove {}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn disk(doing: &str, error: &std::io::Error) -> Stopped {
    Stopped::errored(format!("{doing}: {error}"))
}

fn named(paths: &[OsString]) -> String {
    let names: Vec<_> = paths.iter().take(NAMES_MAX).map(|path| path.to_string_lossy()).collect();
    match paths.len().saturating_sub(NAMES_MAX) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn described(error: &GitError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
