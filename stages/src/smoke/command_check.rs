//! One command in a container of its own, which finds the app at `LANDFALL_URL`.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use landfall_engine::core::effect::SMOKE_COMMAND_LIMIT_MS;
use landfall_engine::core::facts::Failure;
use landfall_engine::core::facts::SmokePassed;
use landfall_engine::core::settings::CommandCheck;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::Order;
use landfall_engine::ports::Output;

use super::LOG_LIMIT;
use super::Target;
use crate::container;
use crate::container::OneShot;
use crate::container::SEND_MARK;
use crate::context::Context;
use crate::http::written;
use crate::lines::clip;
use crate::plan;
use crate::secret_files::SecretFiles;
use crate::stopped::Stopped;

/// Runs its first argument, and prints the mark once that has ended by itself.
const SCRIPT: &str = r#"code=0; sh -ec "$1" || code=$?; SEND_MARK; exit $code"#;

/// A script of many lines is named by its beginning.
const NAMED_BYTES_MAX: usize = 80;

/// Returns the name of the container of the check with this number.
pub(super) fn name(order: &Order, nth: usize) -> Result<String, String> {
    let what = if order.stage == Stage::PublicSmoke { "public-smoke" } else { "smoke" };
    plan::one_shot_name(&format!("{what}-{nth}"), order)
}

/// Runs the command of a check to its end; its exit code decides.
pub(super) async fn check(
    context: &Context,
    order: &Order,
    settings: &Settings,
    target: &Target<'_>,
    nth: usize,
    check: &CommandCheck,
    output: &Output,
) -> Result<SmokePassed, Stopped> {
    let limit = Duration::from_millis(check.within_ms.unwrap_or(SMOKE_COMMAND_LIMIT_MS));
    let said = clip(&check.command.split_whitespace().collect::<Vec<_>>().join(" "), NAMED_BYTES_MAX);
    let name = name(order, nth).map_err(Stopped::Errored)?;
    let shot = shot(order, settings, target, check, name.clone()).map_err(Stopped::Errored)?;
    let begun = Instant::now();
    let ended = match tokio::time::timeout(limit, container::run_to_end(context, shot, output)).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(Stopped::Failed(failure))) => {
            let reason = format!("`{said}`: {}", failure.reason);
            return Err(Stopped::Failed(Box::new(Failure { reason, ..*failure })));
        }
        Ok(Err(silence)) => return Err(silence),
        Err(_) => {
            let tail = tokio::time::timeout(LOG_LIMIT, container::tail(context, &name)).await;
            let tail = tail.unwrap_or(Ok(Vec::new())).unwrap_or_default();
            container::remove(context, order, &name).await.map_err(Stopped::Errored)?;
            let reason =
                format!("`{said}` expected an end within {}, found it still running", written(limit));
            return Err(target.watched.red(Failure::new(reason).with_tail(tail)).await);
        }
    };
    let code = ended.exit_code;
    if ended.is_cut_off() {
        return Err(Stopped::errored(format!(
            "`{said}` was ended from outside (exit code {code}): by hand, or by a restart of Docker or of this machine"
        )));
    }
    if code != 0 {
        let memory = if ended.oom { " (out of memory)" } else { "" };
        let reason = format!("`{said}` expected exit code 0, found {code}{memory}");
        return Err(target.watched.red(Failure::new(reason).with_tail(ended.tail)).await);
    }
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(SmokePassed { check: format!("`{said}` = 0"), took_ms })
}

/// Describes the container: on the host's network, where the candidate's loopback address is.
fn shot<'a>(
    order: &'a Order,
    settings: &'a Settings,
    target: &Target<'_>,
    check: &CommandCheck,
    name: String,
) -> Result<OneShot<'a>, String> {
    let pushed = order.run.image.as_ref();
    let own = || pushed.map(landfall_engine::core::facts::PushedImage::by_digest);
    let image = check.image.clone().or_else(own).ok_or_else(|| {
        format!("run {} has no image in the registry: its push was not concluded", order.run.id)
    })?;
    let mut body = container::basis(order, &image, &SCRIPT.replace("SEND_MARK", SEND_MARK));
    body.cmd.get_or_insert_default().extend(["sh".to_owned(), check.command.clone()]);
    body.env = Some(plan::environment(&variables(order, settings, target)));
    if let Some(host) = &mut body.host_config {
        host.network_mode = Some("host".into());
    }
    Ok(OneShot {
        name,
        body,
        registry: &settings.registry,
        files: None,
        secret_files: SecretFiles::default(),
        order,
    })
}

fn variables(order: &Order, settings: &Settings, target: &Target<'_>) -> BTreeMap<String, String> {
    let commit = order.run.commit();
    // What a command appends are paths as the app has them.
    let mount = settings.proxy.mount.as_ref().filter(|mount| mount.strip && !target.is_app);
    let prefix = mount.map_or("", |mount| mount.prefix.as_str());
    let address = target.address.to_string();
    let pairs = [
        ("LANDFALL_URL", format!("http://{address}{prefix}")),
        ("LANDFALL_HOST", target.host.map_or(address, str::to_owned)),
        ("CI", "true".into()),
        ("CI_COMMIT_SHA", commit.sha.clone()),
        ("CI_COMMIT_BRANCH", commit.branch.clone().unwrap_or_default()),
        ("GIT_REV", commit.sha.clone()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
