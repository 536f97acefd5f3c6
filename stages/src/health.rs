//! Waits until a candidate is healthy, by our own requests.
//!
//! Docker's health check would tell 280 ms later than its app's first good answer. The first probes here are a few
//! milliseconds apart and the pause grows, and an exit of the app ends the wait at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bollard::errors::Error;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use landfall_engine::core::settings::{HealthCheck, Settings};
use reqwest::header::HOST;

use crate::candidate::{self, Found};
use crate::context::Context;
use crate::docker::{explain, is_not_found};

/// The pause after the first probe; an app that is up at once is seen at once.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// What is left of the stage's own limit for reading the last lines of the app.
const REPORT_RESERVE_MS: u64 = 3_000;

/// An app that ended once ends again within this time, or runs now.
const NEXT_EXIT_LIMIT: Duration = Duration::from_secs(2);

/// Docker tells of events that are over from memory.
const EVENTS_LIMIT: Duration = Duration::from_secs(2);

/// Linux says so when a process was killed, which for want of memory is the usual way.
const KILLED: i64 = 137;

/// Why a candidate did not become healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unhealthy {
    /// It said so, or did not say anything in time.
    Red(String),
    /// Docker does not answer, so nobody can tell.
    NoAnswer(String),
}

/// Until when a candidate may become healthy, in milliseconds since 1970.
///
/// Counted from its start, so that a crash of the engine does not give it more time.
pub(crate) fn deadline_ms(settings: &Settings, started_ms: u64, order_deadline_ms: u64) -> u64 {
    let by_settings = started_ms.saturating_add(settings.deploy.timeout_ms);
    by_settings.min(order_deadline_ms.saturating_sub(REPORT_RESERVE_MS))
}

/// Returns the wall clock, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Probes until the first good answer. At least one probe is made, however late it is.
pub(crate) async fn until_healthy(
    context: &Context,
    settings: &Settings,
    container: &Found,
    address: SocketAddr,
    deadline_ms: u64,
) -> Result<(), Unhealthy> {
    let check = &settings.proxy.healthcheck;
    let longest = Duration::from_millis(check.interval_ms.max(1));
    let left = Duration::from_millis(deadline_ms.saturating_sub(now_ms()));
    let until = Instant::now() + left;
    let mut exit = std::pin::pin!(until_exit(context, container));
    let mut pause = FIRST_PAUSE;
    let mut probes = 0_u32;
    loop {
        probes += 1;
        // The first probe has its whole time, however late it is; a later one ends with the deadline.
        let left = until.saturating_duration_since(Instant::now());
        let limit = if probes == 1 { probe_limit(check) } else { probe_limit(check).min(left) };
        let answer = tokio::select! {
            answer = probe(context, settings, address, limit) => answer,
            exited = &mut exit => return Err(exited),
        };
        let Err(said) = answer else { return Ok(()) };
        if Instant::now() + pause >= until {
            return Err(Unhealthy::Red(too_late(context, settings, container, check, &said, probes).await));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            exited = &mut exit => return Err(exited),
        }
        pause = (pause * 3 / 2).min(longest);
    }
}

async fn too_late(
    context: &Context,
    settings: &Settings,
    container: &Found,
    check: &HealthCheck,
    said: &str,
    probes: u32,
) -> String {
    // An exit that came with the deadline says more than the deadline.
    if let Ok(Some(now)) = candidate::find(context, &container.name).await
        && (!now.is_running() || now.restarts > container.restarts)
    {
        return ended(&now, last_exit_code(context, &now.id).await);
    }
    format!(
        "the app did not become healthy within {:?}: the last of {probes} probes, GET {}, {said}; expected {} \
         on port {} of the container (`[proxy] healthcheck` and `app_port`, `[deploy] timeout`)",
        Duration::from_millis(settings.deploy.timeout_ms),
        check.path,
        check.expected(),
        settings.proxy.app_port,
    )
}

/// Returns how long one probe may take.
pub(crate) fn probe_limit(check: &HealthCheck) -> Duration {
    Duration::from_millis(check.timeout_ms.max(1))
}

/// Makes one probe. The error completes the sentence "GET /path …".
pub(crate) async fn probe(
    context: &Context,
    settings: &Settings,
    address: SocketAddr,
    limit: Duration,
) -> Result<(), String> {
    let check = &settings.proxy.healthcheck;
    let slash = if check.path.starts_with('/') { "" } else { "/" };
    let url = format!("http://{address}{slash}{}", check.path);
    let mut request = context.http.get(url).timeout(limit);
    if let Some(host) = &settings.proxy.host {
        request = request.header(HOST, host);
    }
    match request.send().await {
        Ok(response) if check.takes(response.status().as_u16()) => Ok(()),
        Ok(response) => Err(format!("gave {}", response.status())),
        Err(error) if error.is_timeout() => Err(format!("gave no answer within {limit:.1?}")),
        Err(error) => Err(format!("gave no answer ({})", cause(&error))),
    }
}

fn cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(deeper) = deepest.source() {
        deepest = deeper;
    }
    deepest.to_string()
}

/// Waits for the end of the container, and says how it ended.
async fn until_exit(context: &Context, container: &Found) -> Unhealthy {
    let name = &container.name;
    // Docker answers this one when the container ends, and at once when it has ended already. One that ended before
    // we asked and was started again is found by its count of restarts.
    let mut waiting = std::pin::pin!(context.docker.api().wait_container(name, None));
    let restarted = async {
        match candidate::find(context, name).await {
            Ok(Some(now)) if now.restarts > container.restarts => {}
            Ok(Some(_)) | Err(_) => std::future::pending().await,
            Ok(None) => {}
        }
    };
    let answer = tokio::select! {
        answer = waiting.next() => answer,
        // Its next exit tells the code that the first one had, and comes soon or never.
        () = restarted => match tokio::time::timeout(NEXT_EXIT_LIMIT, waiting.next()).await {
            Ok(answer) => answer,
            Err(_) => return of_container(context, name, None).await,
        },
    };
    match answer {
        Some(Ok(answer)) => of_container(context, name, Some(answer.status_code)).await,
        Some(Err(Error::DockerContainerWaitError { code, .. })) => {
            of_container(context, name, Some(code)).await
        }
        Some(Err(error)) if is_not_found(&error) => of_container(context, name, None).await,
        Some(Err(error)) => {
            Unhealthy::NoAnswer(explain(&format!("waiting for the container {name}"), &error))
        }
        None => Unhealthy::NoAnswer("Docker stopped waiting for the candidate; is it shutting down?".into()),
    }
}

async fn of_container(context: &Context, name: &str, code: Option<i64>) -> Unhealthy {
    match candidate::find(context, name).await {
        Ok(Some(now)) => Unhealthy::Red(ended(&now, last_exit_code(context, &now.id).await.or(code))),
        Ok(None) => Unhealthy::Red(format!("the container {name} is gone: did somebody remove it?")),
        Err(reason) => Unhealthy::NoAnswer(reason),
    }
}

/// Returns the exit code of the last life of a container, if Docker remembers it.
///
/// It forgets the code when it starts the container again, and then tells 0 also to who waited for the exit: whether it
/// has started it by then is chance. Its memory of events, some hundred long, keeps what happened.
async fn last_exit_code(context: &Context, container_id: &str) -> Option<i64> {
    let filters = HashMap::from([("container", vec![container_id]), ("event", vec!["die"])]);
    let now_ms = now_ms();
    let until = format!("{}.{:03}000000", now_ms / 1_000, now_ms % 1_000);
    let options = EventsOptionsBuilder::new().since("1").until(&until).filters(&filters).build();
    let deaths = context
        .docker
        .api()
        .events(Some(options))
        .filter_map(async |event| event.ok()?.actor?.attributes?.get("exitCode")?.parse::<i64>().ok());
    let codes: Vec<i64> = tokio::time::timeout(EVENTS_LIMIT, deaths.collect()).await.ok()?;
    codes.last().copied()
}

/// Says how an app ended that should have kept running. `code` is its exit code, where it is known.
pub(crate) fn ended(now: &Found, code: Option<i64>) -> String {
    let code = code.or((!now.is_running()).then_some(now.exit_code));
    let how = code.map_or(String::new(), |code| format!(" with exit code {code}"));
    let why = match code {
        _ if now.oom_killed => "; it used more memory than it may (`[deploy] memory`)",
        Some(KILLED) => "; it was killed, most likely for want of memory (`[deploy] memory`)",
        Some(127) => "; its command was not found",
        Some(0) => "; a web app must keep running",
        _ => "",
    };
    let again = match now.status {
        Some(ContainerStateStatusEnum::RESTARTING | ContainerStateStatusEnum::RUNNING) => {
            ", and Docker starts it again and again"
        }
        _ => "",
    };
    format!("the app ended{how} before it was healthy{again}{why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_counts_from_the_start_and_leaves_time_to_report() {
        let settings = Settings::default();
        assert_eq!(deadline_ms(&settings, 1_000, 1_000_000), 31_000);
        assert_eq!(deadline_ms(&settings, 1_000, 20_000), 17_000);
        assert_eq!(deadline_ms(&settings, 1_000, 0), 0);
    }
}
