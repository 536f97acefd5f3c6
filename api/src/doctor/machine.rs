//! What this machine has by itself: git, and a disk that keeps what is written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use landfall_store::Options;
use tokio::process::Command;

use super::Finding;
use crate::picture::words::bytes;

/// What older gits do otherwise: `GIT_CONFIG_COUNT`, by which the server tells its git what it may do, came with it.
const GIT_MIN: (u32, u32) = (2, 31);

/// Each event waits for the disk. More than this, and a run is felt to be slow.
const SYNC_SLOW: Duration = Duration::from_millis(50);

/// How often the disk is tried; the middle one counts.
const SYNC_TRIES: usize = 5;

/// Below so many times what the server needs free, it will not last long.
const ROOM_TIMES: u64 = 4;

/// Looks for git, and for the part of it that takes pushes.
pub(super) async fn git() -> Vec<Finding> {
    const NAME: &str = "git";
    let install = "install git: `apt-get install git`";
    let Some(version) = said_by_git("--version").await else {
        return vec![Finding::problem(NAME, "there is no `git` in PATH", install)];
    };
    let version = version.trim_start_matches("git version ").to_owned();
    if number(&version).is_none_or(|number| number < GIT_MIN) {
        let (major, minor) = GIT_MIN;
        let found = format!("git {version} is too old: at least {major}.{minor} is needed");
        return vec![Finding::problem(NAME, found, "update git")];
    }
    let backend = said_by_git("--exec-path").await.map(|path| PathBuf::from(path).join("git-http-backend"));
    vec![match backend.filter(|backend| backend.is_file()) {
        Some(_) => Finding::ok(NAME, format!("{version}, with http-backend")),
        None => Finding::warning(
            NAME,
            format!("{version}, without `git http-backend`: nobody can push to this server"),
            "install the whole of git: `apt-get install git`, on Alpine `apk add git-daemon`",
        ),
    }]
}

async fn said_by_git(argument: &str) -> Option<String> {
    let mut git = Command::new("git");
    let output = git.arg(argument).stdin(Stdio::null()).kill_on_drop(true).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Tries the disk of the data folder: whether it may be written, how fast that is durable, and how much room there is.
pub(super) async fn data_folder(data: &Path) -> Vec<Finding> {
    let data = data.to_owned();
    // A disk that hangs keeps its thread; the check ends by its limit.
    tokio::task::spawn_blocking(move || vec![disk_of(&data)]).await.unwrap_or_default()
}

fn disk_of(data: &Path) -> Finding {
    const NAME: &str = "data folder";
    let Some(there) = data.ancestors().find(|folder| folder.is_dir()) else {
        return Finding::problem(
            NAME,
            format!("{} can't be made: no folder above it is there", data.display()),
            "name another one with --data DIR",
        );
    };
    let place = match there == data {
        true => data.display().to_string(),
        false => format!("{}, which is made at the first start", data.display()),
    };
    let sync = match sync_time(there) {
        Ok(sync) => sync,
        Err(error) => {
            let advice = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room: `landfall prune` gives up old outputs and images".to_owned()
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    "mount it for writing, or name another --data DIR".into()
                }
                _ => format!("run as its owner, or `chown` {} to this user", there.display()),
            };
            return Finding::problem(NAME, format!("{place} can't be written: {error}"), advice);
        }
    };
    let free = free_bytes(there);
    let found = format!(
        "{place}: {} free, a write is durable in {:.1} ms",
        free.map_or_else(|| "nobody knows how much".into(), bytes),
        sync.as_secs_f64() * 1_000.0
    );
    let Options { reserve_bytes, disk_low_bytes, .. } = Options::default();
    let needed = reserve_bytes.saturating_add(disk_low_bytes);
    let prune = "make room: `landfall prune` gives up old outputs and images";
    match free {
        Some(free) if free < needed => {
            Finding::problem(NAME, format!("{found}; pushes are refused below {}", bytes(needed)), prune)
        }
        Some(free) if free < needed.saturating_mul(ROOM_TIMES) => {
            Finding::warning(NAME, format!("{found}; pushes are refused below {}", bytes(needed)), prune)
        }
        _ if sync > SYNC_SLOW => Finding::warning(
            NAME,
            found,
            "each event waits for that: put the data folder on a faster disk, and not on a network's",
        ),
        _ => Finding::ok(NAME, found),
    }
}

/// Returns how many bytes a folder's disk has for us.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    rustix::fs::statvfs(folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Writes a file, waits until it is durable, removes it, and returns how long the middle one of some tries took.
fn sync_time(folder: &Path) -> io::Result<Duration> {
    let path = folder.join(format!(".landfall-doctor-{}", std::process::id()));
    let tried = try_to_sync(&path);
    let removed = fs::remove_file(&path);
    let mut took = tried?;
    removed?;
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

fn try_to_sync(path: &Path) -> io::Result<[Duration; SYNC_TRIES]> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    let mut took = [Duration::ZERO; SYNC_TRIES];
    for took in &mut took {
        let begun = Instant::now();
        file.write_all(&[b'.'; 4096])?;
        file.sync_data()?;
        *took = begun.elapsed();
    }
    Ok(took)
}
