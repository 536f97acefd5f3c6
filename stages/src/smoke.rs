//! Checks the candidate, which no user sees yet: requests and commands, in the order of `[[smoke]]`.
//!
//! The first check that is not passed ends the stage. Nothing is tried again: the candidate is healthy
//! already, and a check that passes at the second try would fail some user. A candidate that somebody stopped has
//! given no answer: see [`watched`].

mod command_check;
mod http_check;
mod json;
mod watched;

use std::net::SocketAddr;
use std::time::Duration;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::Facts;
use landfall_engine::core::facts::SmokePassed;
use landfall_engine::core::facts::SmokeReport;
use landfall_engine::core::settings::HttpCheck;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::settings::SmokeCheck;
use landfall_engine::ports::Order;
use landfall_engine::ports::Output;
use landfall_engine::ports::Probe;

use crate::container;
use crate::context::Context;
use crate::plan;
use crate::stopped::Stopped;

pub(crate) use watched::Watched;

/// The last lines of a log are read from memory; the evidence is not worth a longer wait.
const LOG_LIMIT: Duration = Duration::from_secs(5);

/// The status after the last good one, where a check names none: of 2xx, of 2xx and 3xx, and of all but an app's own errors.
const GOOD_END: u16 = 300;
const REDIRECTS_END: u16 = 400;
const ANY_ANSWER_END: u16 = 500;

/// Where checks are sent.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// Who is checked, at whichever address.
    pub(crate) watched: &'a Watched<'a>,
    /// An address of this machine.
    pub(crate) address: SocketAddr,
    /// The app's own host name.
    pub(crate) host: Option<&'a str>,
    /// Whether a refused connection says something about the app: nobody else listens there.
    pub(crate) is_app: bool,
}

/// Checks the candidate.
pub(crate) async fn run(context: &Context, order: &Order, output: &Output) -> Outcome {
    match checked(context, order, output).await {
        Ok(report) => Outcome::Succeeded(Facts::Smoke(report)),
        Err(stopped) => with_app_log(context, order, stopped).await,
    }
}

async fn checked(context: &Context, order: &Order, output: &Output) -> Result<SmokeReport, Stopped> {
    let settings = plan::settings(order).map_err(Stopped::Errored)?;
    let watched = Watched::begin(context, order, settings, output).await?;
    let (address, host) = (watched.candidate.address, settings.proxy.host.as_deref());
    let target = Target { watched: &watched, address, host, is_app: true };
    let checks = check_all(context, order, settings, &target, output).await?;
    Ok(SmokeReport { address: format!("http://{address}"), checks })
}

/// Returns the outcome of checks that were not passed, with what the app printed last as evidence.
pub(crate) async fn with_app_log(context: &Context, order: &Order, stopped: Stopped) -> Outcome {
    let Stopped::Failed(failure) = stopped else { return stopped.into() };
    let candidate = order.run.candidate.as_ref().filter(|_| failure.tail.is_empty());
    let Some(candidate) = candidate else { return Outcome::Failed(*failure) };
    // Without it the answer still stands.
    let tail = tokio::time::timeout(LOG_LIMIT, container::tail(context, &candidate.container)).await;
    Outcome::Failed(failure.with_tail(tail.ok().and_then(Result::ok).unwrap_or_default()))
}

/// Says that checks are made again: they change nothing.
pub(crate) async fn probe(_: &Context, _: &Order) -> Result<Probe, String> {
    Ok(Probe::NotStarted)
}

/// Removes the containers of commands.
pub(crate) async fn undo(context: &Context, order: &Order) -> Result<(), String> {
    let Ok(settings) = plan::settings(order) else { return Ok(()) };
    for nth in (1..).zip(&settings.smoke).filter(|(_, check)| matches!(check, SmokeCheck::Command(_))) {
        container::remove(context, order, &command_check::name(order, nth.0)?).await?;
    }
    Ok(())
}

/// Makes every check, in order, and returns those that passed when all did.
pub(crate) async fn check_all(
    context: &Context,
    order: &Order,
    settings: &Settings,
    target: &Target<'_>,
    output: &Output,
) -> Result<Vec<SmokePassed>, Stopped> {
    let health = HttpCheck { path: settings.proxy.healthcheck.path.clone(), ..HttpCheck::default() };
    let mut passed = Vec::new();
    if settings.smoke.is_empty() {
        // A plain app may answer its first page with a redirect to a login.
        let end = if settings.proxy.healthcheck.any_answer { ANY_ANSWER_END } else { REDIRECTS_END };
        let found = http_check::check(context, settings, target, &health, end).await;
        passed.push(said(found, output)?);
        if let Some(first_page) = first_page(settings) {
            let found = http_check::check(context, settings, target, &first_page, ANY_ANSWER_END).await;
            passed.push(said(found, output)?);
        }
    }
    for (nth, check) in (1..).zip(&settings.smoke) {
        let found = match check {
            SmokeCheck::Http(check) => http_check::check(context, settings, target, check, GOOD_END).await,
            SmokeCheck::Command(check) => {
                command_check::check(context, order, settings, target, nth, check, output).await
            }
        };
        passed.push(said(found, output)?);
    }
    Ok(passed)
}

/// Returns the check of an app's first page, where nobody wrote down what to check: a page for monitors can be well while
/// the one for people is broken.
fn first_page(settings: &Settings) -> Option<HttpCheck> {
    let proxy = &settings.proxy;
    let is_guessed = proxy.healthcheck.any_answer && proxy.healthcheck.path != "/";
    // An app that sees its prefix has no other pages.
    let has_root = proxy.mount.as_ref().is_none_or(|mount| mount.strip);
    (is_guessed && has_root).then(|| HttpCheck { path: "/".into(), ..HttpCheck::default() })
}

/// Prints how a check ended.
pub(crate) fn said(found: Result<SmokePassed, Stopped>, output: &Output) -> Result<SmokePassed, Stopped> {
    match &found {
        Ok(passed) => output.line(&format!("passed  {} ({} ms)", passed.check, passed.took_ms)),
        Err(Stopped::Failed(failure)) => output.line(&format!("failed  {}", failure.reason)),
        Err(Stopped::Errored(reason)) => output.line(&format!("unknown {reason}")),
    }
    found
}

#[cfg(test)]
#[path = "smoke/tests.rs"]
mod tests;
