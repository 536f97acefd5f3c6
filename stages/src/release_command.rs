//! Runs the app's release command (migrations) once, in a container of the image that is going to be deployed.
//!
//! **Whether it ran must never be guessed.** Its container is kept until the run has moved on; a later attempt
//! that finds the end of an earlier one takes that for its own, and a container that is gone is `Unknown`. One that
//! was ended from outside, as by a restart of Docker, may have done half of its work: that is for a person.

use std::time::Duration;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::effect::EffectKey;
use landfall_engine::core::facts::{Facts, Failure};
use landfall_engine::core::settings::{ReleaseSettings, Settings};
use landfall_engine::ports::{Clock, Order, Output, Probe, SystemClock};

use crate::confinement::Limits;
use crate::container::{self, Ended, OneShot, SEND_MARK, Standing};
use crate::context::Context;
use crate::deploy;
use crate::plan;
use crate::secret_files::SecretFiles;
use crate::stopped::Stopped;

/// How long a command that is out of time may clear up behind itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// Runs its first argument, and prints the mark once that has ended by itself. It passes the signal on with which
/// the container is stopped, waits for what comes of it, and prints no mark then.
const SCRIPT: &str = r#"cut=; code=0
sh -ec "$1" </dev/null &
trap 'cut=1; kill -TERM $!' TERM
wait $! || code=$?
if [ -n "$cut" ]; then
  late=0; wait $! || late=$?
  # The shell knew of the end already.
  [ "$late" = 127 ] || code=$late
else
  SEND_MARK
fi
exit $code"#;

/// Runs the command, or follows or reads what is there already.
pub(crate) async fn run(context: &Context, order: &Order, output: &Output) -> Outcome {
    match run_once(context, order, output).await {
        Ok(outcome) => outcome,
        Err(stopped) => stopped.into(),
    }
}

/// Says what became of the command.
pub(crate) async fn probe(context: &Context, order: &Order) -> Result<Probe, String> {
    let (_, release) = settings(order)?;
    let name = plan::one_shot_name("release", order)?;
    match container::look(context, order, &name).await? {
        Standing::Absent => Ok(Probe::Unknown(format!(
            "the container {name} of the release command `{}` is gone: whether it ran can't be told; look at the \
             database, then retry or skip",
            release.command
        ))),
        // It is started after it is made, so the command has not run.
        Standing::Created => {
            container::remove(context, order, &name).await?;
            Ok(Probe::NotStarted)
        }
        Standing::Running => Ok(Probe::Running),
        Standing::Ended(_) => Ok(Probe::Done(outcome(release, container::reread(context, &name).await?))),
    }
}

/// Follows the command that another engine started.
pub(crate) async fn attach(context: &Context, order: &Order, output: &Output) -> Outcome {
    let (release, name) = match (settings(order), plan::one_shot_name("release", order)) {
        (Ok((_, release)), Ok(name)) => (release, name),
        (Err(reason), _) | (_, Err(reason)) => return Outcome::failed(reason),
    };
    match container::follow(context, &name, output).await {
        Ok(ended) => outcome(release, ended),
        Err(stopped) => stopped.into(),
    }
}

/// Stops a command that is out of time, with a grace. What ended stays: a later attempt has to know of it. And
/// what runs within its time goes on: the attempt after this one follows it.
pub(crate) async fn undo(context: &Context, order: &Order) -> Result<(), String> {
    let name = plan::one_shot_name("release", order)?;
    match container::look(context, order, &name).await? {
        Standing::Absent | Standing::Ended(_) => Ok(()),
        Standing::Created => container::remove(context, order, &name).await,
        Standing::Running if order.deadline_ms > SystemClock.now_ms() => Ok(()),
        Standing::Running => container::stop(context, &name, STOP_GRACE).await,
    }
}

async fn run_once(context: &Context, order: &Order, output: &Output) -> Result<Outcome, Stopped> {
    let (settings, release) = settings(order).map_err(Stopped::failed)?;
    if let Some(ended) = earlier_attempt(context, order, output).await? {
        return Ok(outcome(release, ended));
    }
    let image = order.run.image.as_ref().ok_or_else(|| {
        Stopped::failed(format!(
            "run {} has no image: its push was not concluded; start a new run",
            order.run.id
        ))
    })?;
    let name = plan::one_shot_name("release", order).map_err(Stopped::failed)?;
    let mut body = container::basis(order, &image.by_digest(), &SCRIPT.replace("SEND_MARK", SEND_MARK));
    body.cmd.get_or_insert_default().extend(["sh".to_owned(), release.command.clone()]);
    body.env = Some(plan::environment(&deploy::environment(context, order, settings)?));
    Limits::of_app(&settings.deploy).apply(body.host_config.get_or_insert_default());
    let secret_files = SecretFiles::of(context, settings, false)?;
    let shot = OneShot { name, body, registry: &settings.registry, files: None, secret_files, order };
    Ok(outcome(release, container::run_to_end(context, shot, output).await?))
}

/// Returns how an earlier attempt ended, if one did run: the engine lost its word, not its deed.
async fn earlier_attempt(
    context: &Context,
    order: &Order,
    output: &Output,
) -> Result<Option<Ended>, Stopped> {
    for attempt in (1..order.attempt).rev() {
        let key = EffectKey::stage(order.run.id, order.stage, attempt);
        let former = Order { attempt, key, ..order.clone() };
        let name = plan::one_shot_name("release", &former).map_err(Stopped::failed)?;
        match container::look(context, &former, &name).await.map_err(Stopped::errored)? {
            Standing::Absent | Standing::Created => continue,
            Standing::Ended(_) => {
                let ended = container::reread(context, &name).await.map_err(Stopped::errored)?;
                // A person knows of that one, and said to try again.
                if ended.is_cut_off() {
                    continue;
                }
            }
            Standing::Running => {}
        }
        output.line(&format!("attempt {attempt} did run; its outcome counts"));
        return container::follow(context, &name, output).await.map(Some);
    }
    Ok(None)
}

fn settings(order: &Order) -> Result<(&Settings, &ReleaseSettings), String> {
    let settings = plan::settings(order)?;
    let release = settings.release.as_ref();
    Ok((settings, release.ok_or("the app has no `[release] command`, so there is nothing to run")?))
}

fn outcome(release: &ReleaseSettings, ended: Ended) -> Outcome {
    if ended.exit_code == 0 {
        return Outcome::Succeeded(Facts::ReleaseCommand);
    }
    let command = crate::lines::clip(&release.command, 120);
    let code = ended.exit_code;
    if ended.is_cut_off() {
        return Outcome::errored(format!(
            "the release command `{command}` was ended from outside (exit code {code}), by hand or by a restart of \
             Docker or of this machine: how far it came can't be told; look at the database, then retry or skip"
        ));
    }
    let reason = match ended.tail.last() {
        _ if ended.oom => format!("the release command `{command}` ran out of memory (exit code {code})"),
        Some(last) => format!("the release command `{command}` ended with exit code {code}: {last}"),
        None => format!("the release command `{command}` ended with exit code {code} and said nothing"),
    };
    Outcome::Failed(Failure::new(reason).with_tail(ended.tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_ended_from_outside_has_given_no_answer() {
        let release = ReleaseSettings { command: "flask db upgrade".into(), timeout_ms: 1_000 };
        let ended = |exit_code, oom| outcome(&release, Ended { exit_code, oom, ..Ended::default() });
        for code in [137, 143, 255] {
            assert!(matches!(ended(code, false), Outcome::Errored { .. }), "{code}");
            let own = Ended { exit_code: code, marked: Some(String::new()), ..Ended::default() };
            assert!(matches!(outcome(&release, own), Outcome::Failed(_)), "{code} is its own answer");
        }
        assert!(matches!(ended(1, false), Outcome::Failed(_)), "its own answer");
        assert!(matches!(ended(137, true), Outcome::Failed(_)), "want of memory is the app's own");
    }
}
