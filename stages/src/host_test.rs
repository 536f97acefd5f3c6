//! Runs the app's tests on this machine, for apps that ask for it (`[test] host = true`).
//!
//! ```text
//! work/<run>/test-<attempt>/
//!   source/   a copy of the checkout: what the tests write is not built
//!   lock      held by the wrapper for as long as it lives; nobody else ever sees it free before the end
//!   output    what the tests print
//!   exit      their exit code, written last and at once
//! ```
//!
//! The tests outlive the engine. **The lock is the truth about them**: it can't be left behind by a process that
//! is gone and it can't be taken for somebody else's, as a number of a process can.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::settings::TestSettings;
use landfall_engine::ports::{Order, Output, Probe};
use tokio::process::Command;

use crate::context::Context;
use crate::lines::Tail;
use crate::test::verdict::{self, Finished};
use crate::{deps, junit, test};

mod process;
mod watch;

/// Runs in a process group of its own with the lock as its stdin, and reads nothing from it: whoever has the
/// lock's file open has the lock. The tests get another stdin, so that nothing they leave behind keeps the lock.
const WRAPPER: &str = r#"
cd source || exit 1
sh -e ../command.sh </dev/null >../output 2>&1
code=$?
cd .. && printf '%s\n' "$code" >exit.new && mv exit.new exit
"#;

/// The variable by which processes of an attempt are known, wherever they went.
const KEY_VARIABLE: &str = "LANDFALL_KEY";

/// Runs the tests, or follows or reads what is there already.
pub(crate) async fn run(
    context: &Context,
    order: &Order,
    settings: &TestSettings,
    output: &Output,
) -> Outcome {
    let place = Place::of(context, order);
    let started = match place.standing() {
        Ok(Standing::NotStarted) => start(context, order, settings, &place).await,
        Ok(Standing::Running | Standing::Ended(_)) => Ok(()),
        Err(error) => Err(error),
    };
    match started {
        Ok(()) => attach(context, order, settings, output).await,
        Err(error) => Outcome::errored(format!("starting the tests on this machine: {error}")),
    }
}

/// Says what became of the tests of this attempt.
pub(crate) async fn probe(
    context: &Context,
    order: &Order,
    settings: &TestSettings,
) -> Result<Probe, String> {
    let place = Place::of(context, order);
    match place.standing().map_err(|error| format!("looking at {}: {error}", place.folder.display()))? {
        Standing::NotStarted => Ok(Probe::NotStarted),
        Standing::Running => Ok(Probe::Running),
        Standing::Ended(exit_code) => {
            let mut tail = Tail::default();
            watch::read_all(&place.file("output"), |line| tail.push(line));
            Ok(Probe::Done(place.concluded(settings, exit_code, tail)))
        }
    }
}

/// Follows the tests from their first line to their end, whoever started them.
pub(crate) async fn attach(
    context: &Context,
    order: &Order,
    settings: &TestSettings,
    output: &Output,
) -> Outcome {
    let place = Place::of(context, order);
    let (printed, lock) = (place.file("output"), place.file("lock"));
    let mut tail = Tail::default();
    let followed = watch::to_the_end(&printed, &lock, |line| {
        output.line(line);
        tail.push(line);
    });
    if let Err(error) = followed.await {
        return Outcome::errored(format!("following the tests on this machine: {error}"));
    }
    process::kill_all(KEY_VARIABLE, order.key.as_str());
    match place.standing() {
        Ok(Standing::Ended(exit_code)) => place.concluded(settings, exit_code, tail),
        Ok(_) => Outcome::errored("the tests were killed from outside before they ended"),
        Err(error) => Outcome::errored(format!("reading how the tests ended: {error}")),
    }
}

/// Kills the tests with all that they started, and removes their folder.
pub(crate) async fn undo(context: &Context, order: &Order) -> Result<(), String> {
    let place = Place::of(context, order);
    process::kill_all(KEY_VARIABLE, order.key.as_str());
    if place.folder.exists() {
        watch::released(&place.file("lock"))
            .await
            .map_err(|error| format!("waiting for the tests on this machine to end: {error}"))?;
        // What they had been starting meanwhile.
        process::kill_all(KEY_VARIABLE, order.key.as_str());
    }
    match tokio::fs::remove_dir_all(&place.folder).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("could not remove {}: {error}", place.folder.display()))
        }
        _ => Ok(()),
    }
}

/// The folder of an attempt.
struct Place {
    folder: PathBuf,
}

/// How the tests of an attempt stand.
enum Standing {
    NotStarted,
    Running,
    Ended(i64),
}

impl Place {
    fn of(context: &Context, order: &Order) -> Self {
        let folder = context.work_dir(order.run.id).join(format!("test-{}", order.attempt));
        Self { folder: std::path::absolute(&folder).unwrap_or(folder) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where the tests leave their report. None: nowhere, or outside of their own folder.
    fn report(&self, settings: &TestSettings) -> Option<PathBuf> {
        let path =
            deps::inside(Path::new(""), &settings.junit).filter(|path| !path.as_os_str().is_empty())?;
        Some(self.file("source").join(path))
    }

    fn standing(&self) -> io::Result<Standing> {
        match File::open(self.file("lock")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::NotStarted),
            Err(error) => return Err(error),
            // Shared: those who only look must not take each other for the tests.
            Ok(lock) => match lock.try_lock_shared() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Standing::Running),
                Err(TryLockError::Error(error)) => return Err(error),
            },
        }
        match std::fs::read_to_string(self.file("exit")) {
            Ok(code) => code.trim().parse().map(Standing::Ended).map_err(io::Error::other),
            // It was killed, or its machine went down: nothing of it goes on, so it can be done again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Standing::NotStarted),
            Err(error) => Err(error),
        }
    }

    fn concluded(&self, settings: &TestSettings, exit_code: i64, tail: Tail) -> Outcome {
        let report = self.report(settings).and_then(|path| std::fs::read(path).ok());
        let report = report.as_deref().and_then(junit::read);
        // The wrapper outlived the tests, or there were no exit code: whatever it is, it is theirs.
        verdict::of(settings, Finished { exit_code, tail: tail.into_lines(), report, ..Finished::default() })
    }
}

async fn start(context: &Context, order: &Order, settings: &TestSettings, place: &Place) -> io::Result<()> {
    match tokio::fs::remove_dir_all(&place.folder).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    tokio::fs::create_dir_all(&place.folder).await?;
    copy(&context.source_dir(order.run.id), &place.file("source")).await?;
    if let Some(committed) = place.report(settings) {
        // A report that was committed would be read as today's.
        let _ = tokio::fs::remove_file(committed).await;
    }
    tokio::fs::write(place.file("command.sh"), format!("{}\n", settings.command)).await?;
    tokio::fs::write(place.file("output"), "").await?;
    let lock = File::create(place.file("lock"))?;
    lock.try_lock()?;

    let mut wrapper = Command::new("sh");
    wrapper.args(["-c", WRAPPER]).current_dir(&place.folder).process_group(0);
    wrapper.env_clear().envs(test::environment(order, settings)).env(KEY_VARIABLE, order.key.as_str());
    for (name, otherwise) in [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/"), ("LANG", "C.UTF-8")] {
        if !settings.env.contains_key(name) {
            wrapper.env(name, std::env::var_os(name).unwrap_or_else(|| otherwise.into()));
        }
    }
    let mut child = wrapper.stdin(Stdio::from(lock)).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    // Nobody waits for its code, which is in a file; this takes it off the list of processes.
    tokio::spawn(async move { child.wait().await });
    Ok(())
}

/// Copies the checkout as it is: links stay links and scripts stay executable.
async fn copy(source: &Path, target: &Path) -> io::Result<()> {
    let copied = Command::new("cp").arg("-a").arg("--").arg(source).arg(target).output().await?;
    if copied.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&copied.stderr).trim().to_owned()))
}
