//! What Landfall works with: Docker, the registry, the log, the vault, a running server, and whether they agree on the time.

use std::path::Path;
use std::time::{Duration, SystemTime};

use landfall_engine::core::settings::Settings;
use landfall_store::open_read_only;

use super::machine::free_bytes;
use super::{Finding, Patient};
use crate::commands::replay::in_words;
use crate::picture::words::bytes;

/// Images of a handful of apps; Docker does badly when its disk is full.
const DOCKER_ROOM_MIN: u64 = 2_000_000_000;
const DOCKER_ROOM_LOW: u64 = 10_000_000_000;

/// An answer takes some time itself, and a registry's clock tells whole seconds.
const SKEW_MAX: Duration = Duration::from_secs(5);

/// A long log is verified by a command of its own.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the Docker engine who it is, and looks at its disk.
pub(super) async fn docker(patient: &Patient) -> Vec<Finding> {
    const NAME: &str = "docker";
    let vitals = match &patient.vitals {
        Ok(vitals) => vitals,
        Err(why) => return vec![Finding::problem(NAME, why, "set DOCKER_HOST right, or not at all")],
    };
    let engine = match vitals.engine().await {
        Ok(engine) => engine,
        Err(why) => {
            let advice = if why.contains("ermission denied") {
                "let this user use Docker: `sudo usermod -aG docker $USER`, then log in again"
            } else if why.contains("did not answer within") {
                "it hangs: `sudo journalctl -u docker` may say why, `sudo systemctl restart docker` ends it"
            } else {
                "start Docker: `sudo systemctl start docker`; install it: `sudo apt-get install docker.io`"
            };
            return vec![Finding::problem(NAME, why, advice)];
        }
    };
    let found = format!(
        "{}, API {}, at {}, which builds with BuildKit",
        engine.version.version, engine.version.api, engine.host
    );
    let mut findings = vec![Finding::ok(NAME, found)];
    // The folder of an engine elsewhere is none of ours.
    let is_here = engine.host.starts_with("unix:");
    if let Some(root) = engine.root.filter(|root| is_here && Path::new(root).is_dir()) {
        findings.extend(free_bytes(Path::new(&root)).map(|free| docker_disk(&root, free)));
    }
    findings
}

fn docker_disk(root: &str, free: u64) -> Finding {
    const NAME: &str = "docker disk";
    let found = format!("{} free in {root}", bytes(free));
    let advice = "make room: `landfall prune`, then `docker system df` shows what is left";
    match free {
        0..DOCKER_ROOM_MIN => Finding::problem(NAME, found, advice),
        DOCKER_ROOM_MIN..DOCKER_ROOM_LOW => Finding::warning(NAME, found, advice),
        _ => Finding::ok(NAME, found),
    }
}

/// Looks for the image in which tests run, here or where it is pulled from.
pub(super) async fn base_image(patient: &Patient) -> Vec<Finding> {
    const NAME: &str = "base image";
    let (Ok(vitals), Ok(settings)) = (&patient.vitals, &patient.settings) else { return Vec::new() };
    let image = &settings.test.image;
    match vitals.has_image(image).await {
        Ok(true) => return vec![Finding::ok(NAME, format!("{image} is here"))],
        // Docker's silence is said once.
        Err(_) => return Vec::new(),
        Ok(false) => {}
    }
    let pull = format!("`docker pull {image}` shows more");
    vec![match vitals.in_registry(image).await {
        Ok(true) => Finding::ok(NAME, format!("{image} is not here yet, and can be pulled")),
        Ok(false) => Finding::problem(NAME, format!("{image} is neither here nor in its registry"), pull),
        Err(why) => Finding::problem(NAME, format!("{image} is not here, and can't be pulled: {why}"), pull),
    }]
}

/// Asks the registry whether it is one, and logs in.
pub(super) async fn registry(patient: &Patient) -> Vec<Finding> {
    const NAME: &str = "registry";
    let settings = match &patient.settings {
        Ok(settings) => settings,
        Err(why) => return vec![Finding::problem("settings", why, "mend landfall.toml")],
    };
    let server = &settings.registry.server;
    let Ok(vitals) = &patient.vitals else { return Vec::new() };
    if let Err(why) = vitals.registry(server).await {
        return vec![Finding::problem(
            NAME,
            why,
            "start one (`docker-registry serve`), or name yours: `server` below [registry] in landfall.toml",
        )];
    }
    if let Err(why) = &patient.secrets {
        return vec![Finding::problem(
            NAME,
            format!("{server} answers; {why}"),
            "mend what opens the secrets",
        )];
    }
    let service = if settings.service.is_empty() { "app" } else { &settings.service };
    vec![match vitals.login(&settings.registry, service).await {
        Ok(Some(who)) => Finding::ok(NAME, format!("{server} lets us in as {who}")),
        Ok(None) => Finding::ok(NAME, format!("{server} lets us in without a password")),
        Err(why) => Finding::problem(
            NAME,
            why,
            "check `username` and `password` below [registry]: the password is the name of a secret, which is in the \
             environment, in --secrets FILE, or set by `landfall secret set`",
        ),
    }]
}

/// Reads the log, beside a server that has it as well as without one.
pub(super) async fn log(patient: &Patient) -> Vec<Finding> {
    const NAME: &str = "log";
    if !patient.data.join("META").exists() {
        return vec![Finding::ok(NAME, "there is none yet")];
    }
    let restore =
        "nothing is deployed from it; `landfall verify` says more, `landfall restore` brings a copy back";
    let data = patient.data.clone();
    let opened = tokio::task::spawn_blocking(move || open_read_only(&data)).await;
    let log = match opened {
        Ok(Ok(log)) => log,
        Ok(Err(error)) => return vec![Finding::problem(NAME, error.to_string(), "mend that first")],
        Err(_) => return Vec::new(),
    };
    vec![match tokio::time::timeout(VERIFY_TIMEOUT, log.verify()).await {
        Ok(Ok(found)) => match found.problems.first() {
            None => Finding::ok(NAME, format!("{} events, runs: {}; they verify", found.events, found.runs)),
            Some(problem) => {
                Finding::problem(NAME, format!("it does not verify: {}", in_words(problem)), restore)
            }
        },
        Ok(Err(error)) => Finding::problem(NAME, format!("it can't be read: {error}"), restore),
        Err(_) => Finding::warning(
            NAME,
            format!("it is too long to be verified within {} s", VERIFY_TIMEOUT.as_secs()),
            "`landfall verify` does it, and says how it ends",
        ),
    }]
}

/// Looks whether the key opens the vault.
pub(super) async fn vault(patient: &Patient) -> Vec<Finding> {
    const NAME: &str = "vault";
    let key =
        patient.vault.key_place().path().map_or_else(|| "nowhere".into(), |path| path.display().to_string());
    vec![match patient.vault.check() {
        Ok(0) => Finding::ok(NAME, format!("no secret was set yet; the key will be {key}")),
        Ok(count) => Finding::ok(NAME, format!("{count} secrets, sealed by {key}")),
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Finding::problem(
                NAME,
                format!("{error}{cause}"),
                "name the key with --vault-key FILE, or bring it back; without it the secrets are set anew",
            )
        }
    }]
}

/// Asks a running server what is not well, in its own words.
pub(super) async fn server(patient: &Patient) -> Vec<Finding> {
    const NAME: &str = "server";
    let Some(client) = &patient.server else {
        return vec![Finding::ok(NAME, "none is running on this data folder; `landfall serve` starts one")];
    };
    let advice = "`landfall serve` logs more about it";
    match client.readiness().await {
        Ok(readiness) if readiness.checks.values().all(|check| check.reason.is_none()) => {
            vec![Finding::ok(NAME, format!("{} is ready", client.url()))]
        }
        Ok(readiness) => {
            let failed = readiness
                .checks
                .into_iter()
                .filter_map(|(name, check)| Some((name, check.reason?, check.decides)));
            let said = |(name, why, decides): (String, String, bool)| {
                let found = format!("{} is not well: {name}: {why}", client.url());
                match decides {
                    true => Finding::problem(NAME, found, advice),
                    false => Finding::warning(NAME, found, advice),
                }
            };
            failed.map(said).collect()
        }
        Err(error) => vec![Finding::problem(NAME, error.to_string(), advice)],
    }
}

/// Compares our clock with Docker's and the registry's. Time zones do not matter.
pub(super) async fn clock(patient: &Patient) -> Vec<Finding> {
    const NAME: &str = "clock";
    let Ok(vitals) = &patient.vitals else { return Vec::new() };
    let default = Settings::default();
    let settings = patient.settings.as_ref().unwrap_or(&default);
    let (engine, date) = tokio::join!(vitals.engine(), vitals.time_of_registry(&settings.registry.server));
    let now = SystemTime::now();
    let docker = engine.ok().and_then(|engine| humantime::parse_rfc3339_weak(engine.time?.get(..19)?).ok());
    let registry = date.and_then(|date| http_date(&date));
    let told: Vec<_> = [("Docker", docker), ("the registry", registry)]
        .into_iter()
        .filter_map(|(who, time)| Some((who, time?)))
        .collect();
    let skew = |time: SystemTime| now.duration_since(time).unwrap_or_else(|early| early.duration());
    let wrong = told.iter().find(|(_, time)| skew(*time) > SKEW_MAX);
    vec![match wrong {
        Some((who, time)) => Finding::warning(
            NAME,
            format!("{who} is {} s away from this machine", skew(*time).as_secs()),
            "set the clocks by the network: `timedatectl set-ntp true`; tokens and certificates expire by them",
        ),
        None if told.is_empty() => {
            Finding::warning(NAME, "there was nobody to compare it with", "mend Docker or the registry first")
        }
        None => {
            let who: Vec<_> = told.iter().map(|(who, _)| *who).collect();
            Finding::ok(NAME, format!("{} and this machine agree", who.join(", ")))
        }
    }]
}

/// Reads the date of an HTTP answer: `Fri, 27 Nov 2026 19:00:00 GMT`.
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    humantime::parse_rfc3339_weak(&format!("{year}-{month:02}-{day} {time}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read_as_it_is_written() {
        let read = |text| http_date(text).map(|time| humantime::format_rfc3339_seconds(time).to_string());
        assert_eq!(read("Fri, 27 Nov 2026 19:00:07 GMT").as_deref(), Some("2026-11-27T19:00:07Z"));
        for bad in
            ["", "yesterday", "Fri, 27 Nov", "Fri, 27 Foo 2026 19:00:07 GMT", "Fri, 99 Nov 2026 19:00:07 GMT"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
