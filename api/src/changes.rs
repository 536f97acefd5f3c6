//! What changed between two releases of an app: the commits, and the files that they change.
//!
//! The commits are read where the app's commits come from: the repository that it is pushed to, the mirror of the one
//! that it is fetched from, or the working copy that `landfall run` was told. Nothing that a request says ends on
//! git's command line before it is a full hash that git itself gave, or that the log has.
//!
//! **Invariant:** only commits that the log knows are fetched. Whoever may read would otherwise make this server fetch
//! any commit of a remote, and keep it for ever.

use std::path::{Path, PathBuf};

use landfall_engine::core::event::{Commit, Event};
use landfall_engine::core::lane::{Lane, LaneId, Release};
use landfall_engine::core::ledger::{Registration, Source};
use landfall_engine::core::releases::{NoRelease, named};
use landfall_engine::core::run::RunId;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{EventStore, RunQuery};
use landfall_stages::git::{Access, Between, GitError, NoWay, Told, between, resolve, with_history};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::server::bare_repository;
use crate::sources::{AccessError, Sources};

/// How many of the app's last runs are looked through for one that is named by a part of its id or its commit.
const RUNS_LOOKED_AT: usize = 1_000;
/// The fewest digits that name something.
const DIGITS_MIN: usize = 4;

/// Which releases are compared.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// A run or a commit. None: the release before the live one.
    pub from: Option<String>,
    /// A run or a commit. None: what is live.
    pub to: Option<String>,
}

/// One end of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct End {
    /// Full hash of its commit.
    pub sha: String,
    /// First line of the commit's message, as far as the log has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The run that it was named by, or that made it live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Its image, when it is or was a release here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A commit in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommitLine {
    /// Full hash.
    pub sha: String,
    /// First line of its message.
    pub subject: String,
    /// Name of its author.
    pub author: String,
    /// When it was committed, in milliseconds since 1970, as the committer's clock had it.
    pub committed_ms: u64,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileLine {
    /// Where it is.
    pub path: String,
    /// Lines that are new. None: it is not text.
    pub added: Option<u64>,
    /// Lines that are gone. None: it is not text.
    pub deleted: Option<u64>,
}

/// What `GET /v1/apps/{app}/changes` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// Name of the app.
    pub app: String,
    /// Name of the environment.
    pub env: String,
    /// What is compared.
    pub from: End,
    /// With what.
    pub to: End,
    /// True when `to` is older: the commits are those that it takes back.
    pub reverted: bool,
    /// The commits that `to` has more than `from`, or takes back, newest first; at most 100.
    pub commits: Vec<CommitLine>,
    /// How many more there are.
    pub more_commits: u64,
    /// How many commits of `from` are not in `to`, where each has some that the other lacks.
    pub left_out: u64,
    /// The files that differ, in the order of their paths; at most 300.
    pub files: Vec<FileLine>,
    /// How many more there are.
    pub more_files: u64,
}

/// Compares two releases of a lane.
///
/// # Errors
///
/// [`ApiError`], which says which end is missing, gone or not related, and what to name instead.
pub async fn changes(
    store: &dyn EventStore,
    sources: &Sources,
    data: &Path,
    known: Option<&Registration>,
    lane_id: LaneId,
    compared: Compared,
) -> Result<Changes, ApiError> {
    let lane = store.lane(&lane_id).await?;
    let (from, to) = (compared.from.as_deref(), compared.to.as_deref());
    let to = match to {
        Some(wanted) => logged(store, &lane_id, &lane, wanted).await?,
        None => Found::End(end_of(lane.live.as_ref().ok_or_else(|| {
            ApiError::NotFound(format!("{lane_id} serves nothing: name a commit or a run as `to`"))
        })?)),
    };
    let from = match from {
        Some(wanted) => logged(store, &lane_id, &lane, wanted).await?,
        None => Found::End(end_of(lane.former.first().ok_or_else(|| {
            ApiError::NotFound(format!(
                "{lane_id} has no former release to compare with: name a commit or a run as `from`"
            ))
        })?)),
    };
    let places = places(store, data, &lane_id.app, known, [&from, &to]).await?;
    let fetched = fetched([&from, &to], &lane);
    let mut refused = ApiError::NotFound(format!("no repository of the app {} is known here", lane_id.app));
    for place in places {
        let access = access(sources, &lane_id.app, known, &place)?;
        match compare(data, &place, &access, [&from, &to], fetched).await {
            Ok((from, to, way)) => return Ok(told(lane_id, from, to, way)),
            // Another repository of the app may have it.
            Err(Refused::Gone(error)) => refused = error,
            Err(Refused::ForGood(error)) => return Err(error),
        }
    }
    Err(refused)
}

/// What somebody named.
#[derive(Clone, Debug)]
enum Found {
    /// The log knows it.
    End(End),
    /// Digits of a commit that the log does not know.
    Digits(String),
}

enum Refused {
    Gone(ApiError),
    ForGood(ApiError),
}

fn end_of(release: &Release) -> End {
    let Release { run, commit, image, .. } = release;
    End {
        sha: commit.sha.clone(),
        subject: Some(commit.subject.clone()),
        run: Some(*run),
        digest: Some(image.digest.clone()),
    }
}

/// Finds a release, a run or a commit in the log.
async fn logged(
    store: &dyn EventStore,
    lane_id: &LaneId,
    lane: &Lane,
    wanted: &str,
) -> Result<Found, ApiError> {
    match named(lane, usize::MAX, wanted) {
        Ok(release) => return Ok(Found::End(end_of(release))),
        Err(several @ NoRelease::Several { .. }) => {
            return Err(ApiError::BadRequest(format!("{lane_id} {several}")));
        }
        Err(_) => {}
    }
    let digits = wanted.replace('-', "").to_lowercase();
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !(DIGITS_MIN..=64).contains(&digits.len()) {
        return Err(ApiError::BadRequest(format!(
            "{wanted:?} names neither a commit nor a run: expected at least {DIGITS_MIN} digits of its hash or its id"
        )));
    }
    let query = RunQuery { app: Some(lane_id.app.clone()), limit: RUNS_LOOKED_AT, ..RunQuery::default() };
    let runs = store.runs(query).await?;
    let mut meant: Vec<End> = runs.iter().filter_map(|run| meant_by(run, &digits)).collect();
    meant.sort_by(|one, other| one.sha.cmp(&other.sha));
    meant.dedup_by(|one, other| one.sha == other.sha);
    match meant.len() {
        0 => Ok(Found::Digits(digits)),
        1 => Ok(Found::End(meant.remove(0))),
        _ => {
            Err(ApiError::BadRequest(format!("{wanted:?} can mean several commits or runs: say more of it")))
        }
    }
}

fn meant_by(run: &RunSummary, digits: &str) -> Option<End> {
    let id = run.id.0.simple().to_string();
    let Commit { sha, subject, .. } = &run.commit;
    let is_run = id.starts_with(digits) || id.ends_with(digits);
    let end = || End { sha: sha.clone(), subject: Some(subject.clone()), run: None, digest: None };
    match is_run {
        true => Some(End { run: Some(run.id), ..end() }),
        false => sha.starts_with(digits).then(end),
    }
}

/// Returns where the app's commits may be, the likeliest first.
async fn places(
    store: &dyn EventStore,
    data: &Path,
    app: &str,
    known: Option<&Registration>,
    ends: [&Found; 2],
) -> Result<Vec<String>, ApiError> {
    let mut places = Vec::new();
    if let Some(Registration { source: Source::Git { url, .. }, .. }) = known {
        places.push(url.clone());
    }
    let bare = bare_repository(data, app);
    if bare.is_dir() {
        places.push(bare.display().to_string());
    }
    for end in ends {
        let Found::End(End { run: Some(run), .. }) = end else { continue };
        let history = store.events(*run).await?;
        let Some(Event::RunStarted { origin, .. }) = history.first().map(|first| &first.event) else {
            continue;
        };
        if let Some((_, repository)) = origin.source() {
            let path = repository.strip_prefix("file://").unwrap_or(repository);
            // One that is elsewhere is asked with the app's own credential or not at all.
            if path.starts_with('/') && Path::new(path).is_dir() {
                places.push(path.to_owned());
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    places.retain(|place| seen.insert(place.clone()));
    Ok(places)
}

fn access(
    sources: &Sources,
    app: &str,
    known: Option<&Registration>,
    place: &str,
) -> Result<Access, ApiError> {
    let registered = known.filter(|known| matches!(&known.source, Source::Git { url, .. } if url == place));
    let Some(known) = registered else { return Ok(Access::own()) };
    sources.access(app, known).map_err(|error| match error {
        AccessError::Secret(error) => ApiError::Unprocessable(error.to_string()),
        AccessError::Git(error) => ApiError::Unprocessable(error.to_string()),
    })
}

/// Returns the two commits that a mirror is to have, with what lies between them. They are the ends, or where the log
/// does not know one, a release of the lane in its place. None: the log knows nothing that could be fetched.
fn fetched<'a>(ends: [&'a Found; 2], lane: &'a Lane) -> Option<[&'a str; 2]> {
    if let [Found::End(from), Found::End(to)] = ends {
        return Some([&from.sha, &to.sha]);
    }
    let known = ends.into_iter().filter_map(|end| match end {
        Found::End(end) => Some(end.sha.as_str()),
        Found::Digits(_) => None,
    });
    let releases = lane.live.iter().chain(&lane.former).map(|release| release.commit.sha.as_str());
    let mut commits = known.chain(releases);
    let first = commits.next()?;
    Some([first, commits.find(|sha| *sha != first).unwrap_or(first)])
}

async fn compare(
    data: &Path,
    place: &str,
    access: &Access,
    [from, to]: [&Found; 2],
    fetched: Option<[&str; 2]>,
) -> Result<(End, End, Between), Refused> {
    let repository = match fetched {
        Some(commits) => with_history(data, place, commits, access).await.map_err(refused)?,
        None => PathBuf::from(place.strip_prefix("file://").unwrap_or(place)),
    };
    let (from, to) = (in_full(&repository, from).await?, in_full(&repository, to).await?);
    match between(&repository, &from.sha, &to.sha).await {
        Ok(way) => Ok((from, to, way)),
        Err(gone @ NoWay::Gone(_)) => Err(Refused::Gone(ApiError::NotFound(gone.to_string()))),
        Err(unrelated @ NoWay::Unrelated(..)) => {
            Err(Refused::ForGood(ApiError::Unprocessable(unrelated.to_string())))
        }
        Err(NoWay::Git(error)) => Err(refused(error)),
    }
}

/// Returns an end with its full hash; digits that the log does not know are looked up in what is on this machine.
async fn in_full(repository: &Path, found: &Found) -> Result<End, Refused> {
    let digits = match found {
        Found::End(end) => return Ok(end.clone()),
        Found::Digits(digits) => digits,
    };
    let unknown = || {
        Refused::Gone(ApiError::NotFound(format!(
            "there is no commit or run {digits} of this app, as far as this server has its history"
        )))
    };
    let sha = match repository.is_dir() {
        true => resolve(repository, digits).await.map_err(refused)?,
        false => None,
    };
    Ok(End { sha: sha.ok_or_else(unknown)?, subject: None, run: None, digest: None })
}

/// Sorts what git says: what it does not have may be elsewhere.
fn refused(error: GitError) -> Refused {
    match error {
        GitError::Refused { .. } => Refused::Gone(ApiError::Unprocessable(error.to_string())),
        GitError::Credential(_) | GitError::NotASha(_) => {
            Refused::ForGood(ApiError::Unprocessable(error.to_string()))
        }
        GitError::NotInstalled(_) | GitError::Io { .. } => {
            Refused::ForGood(ApiError::internal("comparing two commits", error))
        }
    }
}

fn told(lane: LaneId, from: End, to: End, way: Between) -> Changes {
    let Between { added, added_count, dropped, dropped_count, files, files_count } = way;
    let reverted = added_count == 0 && dropped_count > 0;
    let (commits, count, left_out) = match reverted {
        true => (dropped, dropped_count, 0),
        false => (added, added_count, dropped_count),
    };
    let commits: Vec<_> = commits.into_iter().map(commit_line).collect();
    let line = |file: landfall_stages::git::ChangedFile| FileLine {
        path: file.path,
        added: file.added,
        deleted: file.deleted,
    };
    let files: Vec<_> = files.into_iter().map(line).collect();
    Changes {
        app: lane.app,
        env: lane.env,
        from,
        to,
        reverted,
        more_commits: count.saturating_sub(commits.len() as u64),
        commits,
        left_out,
        more_files: files_count.saturating_sub(files.len() as u64),
        files,
    }
}

fn commit_line(Told { commit, committed_ms }: Told) -> CommitLine {
    let Commit { sha, subject, author, .. } = commit;
    CommitLine { sha, subject, author, committed_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_that_the_log_does_not_know_is_asked_of_nobody() {
        let data = tempfile::tempdir().unwrap();
        let remote = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        remote.set_nonblocking(true).unwrap();
        let url = format!("http://{}/shop.git", remote.local_addr().unwrap());
        let ends = ["a", "b"].map(|digit| Found::Digits(digit.repeat(40)));
        let (ends, lane) = ([&ends[0], &ends[1]], Lane::default());
        let answer = compare(data.path(), &url, &Access::own(), ends, fetched(ends, &lane)).await;
        assert!(matches!(answer, Err(Refused::Gone(ApiError::NotFound(_)))));
        assert_eq!(remote.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "there is no mirror");
    }

    #[test]
    fn what_is_fetched_is_what_the_log_knows() {
        let known = |sha: &str| Found::End(End { sha: sha.into(), subject: None, run: None, digest: None });
        let (one, two, other) = (known("one"), known("two"), Found::Digits("abcd".into()));
        let lane = Lane::default();
        assert_eq!(fetched([&one, &two], &lane), Some(["one", "two"]));
        assert_eq!(fetched([&one, &other], &lane), Some(["one", "one"]));
        assert_eq!(fetched([&other, &two], &lane), Some(["two", "two"]));
        assert_eq!(fetched([&other, &other], &lane), None);
    }
}
