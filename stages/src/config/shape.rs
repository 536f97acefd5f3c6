//! The tables of the file and their keys: one function a table, in the order of the file.

use std::ops::Range;

use landfall_engine::core::settings::CommandCheck;
use landfall_engine::core::settings::DeploySettings;
use landfall_engine::core::settings::EnvSettings;
use landfall_engine::core::settings::HttpCheck;
use landfall_engine::core::settings::Mount;
use landfall_engine::core::settings::NotifySettings;
use landfall_engine::core::settings::ProxySettings;
use landfall_engine::core::settings::ReleaseSettings;
use landfall_engine::core::settings::RollbackSettings;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::settings::SmokeCheck;

use super::environments::environments;
use super::problem::Problem;
use super::section::Section;
use super::values;

/// A migration that names no limit of its own.
const RELEASE_TIMEOUT_MS: u64 = 10 * 60_000;
/// A deploy that nobody approved for a week is one that nobody wants.
const APPROVAL_TIMEOUT_MS: u64 = 7 * 24 * 3_600_000;

/// A lane remembers 50 former releases.
const RETAIN_MAX: i64 = 50;

/// Returns the settings of the whole file; what it does not say is as in `base`. Problems are in the section's collection.
pub(super) fn settings(mut top: Section<'_>, app: &str, base: Settings) -> Settings {
    let mut settings = Settings { service: app.to_owned(), ..base };
    let named = top.read("service", values::service);
    match named {
        Some(name) => settings.service = name,
        None if top.place_of("service").is_none() && !values::is_service(app) => top.complain(
            Problem::of_file(format!("the app's name {app:?} can't name its images and containers"))
                .help(format!("add a line such as service = \"shop\": {}", values::SERVICE_RULE)),
        ),
        None => {}
    }
    on(top.section("on"), &mut settings);
    test(top.section("test"), &mut settings);
    build(top.section("build"), &mut settings);
    web(top.section("web"), &mut settings);
    registry(top.section("registry"), &mut settings);
    let mut envs = top.section("env");
    settings.env = env(&mut envs);
    settings.release = release(top.section("release"), settings.release.as_ref());
    proxy(top.section("proxy"), &mut settings.proxy);
    deploy(top.section("deploy"), &mut settings.deploy);
    let mount = settings.proxy.mount.as_ref();
    settings.smoke = top.sections("smoke").into_iter().filter_map(|section| smoke(section, mount)).collect();
    rollback(top.section("rollback"), &mut settings.rollback);
    notify(top.section("notify"), &mut settings.notify);
    settings.environments.named = environments(&mut envs, &settings);
    envs.end();
    top.end();
    settings
}

fn on(mut on: Section<'_>, settings: &mut Settings) {
    let mut push = on.section("push");
    push.set("branches", &mut settings.on_push.branches, values::list(values::branch));
    push.end();
    on.end();
}

fn test(mut section: Section<'_>, settings: &mut Settings) {
    let test = &mut settings.test;
    section.set("image", &mut test.image, values::image);
    section.set("command", &mut test.command, values::text);
    section.set("timeout", &mut test.timeout_ms, values::duration_ms(false));
    section.set("host", &mut test.host, values::boolean);
    section.set("allow_none", &mut test.allow_none, values::boolean);
    section.set("memory", &mut test.memory_mb, values::memory_mb);
    section.set("pids", &mut test.pids, values::integer(16..=1_000_000));
    section.set("cpus", &mut test.cpu_millis, values::cpu_millis);
    section.set("junit", &mut test.junit, values::source_path);
    section.set("env", &mut test.env, values::variables);
    section.set("services", &mut test.services, values::services);
    section.end();
}

fn build(mut section: Section<'_>, settings: &mut Settings) {
    let build = &mut settings.build;
    section.set("dockerfile", &mut build.dockerfile, values::source_path);
    section.set("args", &mut build.args, values::variables);
    section.set("secrets", &mut build.secrets, values::list(values::secret_name));
    section.set("timeout", &mut build.timeout_ms, values::duration_ms(false));
    build.image = section.read("image", values::image).or(build.image.take());
    section.set("packages", &mut build.packages, values::list(values::package));
    section.end();
}

fn web(mut section: Section<'_>, settings: &mut Settings) {
    let web = &mut settings.web;
    web.command = section.read("command", values::text).or(web.command.take());
    section.end();
}

fn registry(mut section: Section<'_>, settings: &mut Settings) {
    let registry = &mut settings.registry;
    section.set("server", &mut registry.server, values::registry_server);
    registry.username = section.read("username", values::text);
    registry.password = section.read("password", values::one_secret);
    section.set("timeout", &mut registry.timeout_ms, values::duration_ms(false));
    for (given, missing) in [("username", "password"), ("password", "username")] {
        if let (Some(at), None) = (section.place_of(given), section.place_of(missing)) {
            section.report(given, Problem::at(at, format!("`{missing}` is missing beside it")));
        }
    }
    section.end();
}

pub(super) fn env(section: &mut Section<'_>) -> EnvSettings {
    let mut env = EnvSettings::default();
    section.set("clear", &mut env.clear, values::variables);
    section.set("secret", &mut env.secret, values::list(values::secret_name));
    section.set("files", &mut env.files, values::secret_files);
    if let Some(twice) = env.secret.iter().find(|name| env.clear.contains_key(*name)) {
        let at = section.place_of("secret").unwrap_or(0..0);
        section.report("secret", Problem::at(at, format!("{twice} is in `clear` as well: choose one")));
    }
    env
}

/// Reads the release command; what is not said of it is as in `over`.
pub(super) fn release(mut section: Section<'_>, over: Option<&ReleaseSettings>) -> Option<ReleaseSettings> {
    let command = section.read("command", values::text).or(over.map(|release| release.command.clone()));
    let timeout_ms = section.read("timeout", values::duration_ms(false));
    let timeout_ms = timeout_ms.or(over.map(|release| release.timeout_ms)).unwrap_or(RELEASE_TIMEOUT_MS);
    if let (Some(at), None, None) = (section.place_of("timeout"), section.place_of("command"), over) {
        section.report("timeout", Problem::at(at, "`command` is missing beside it"));
    }
    section.end();
    command.map(|command| ReleaseSettings { command, timeout_ms })
}

pub(super) fn proxy(mut section: Section<'_>, proxy: &mut ProxySettings) {
    proxy.host = section.read("host", values::host_name).or(proxy.host.take());
    let prefix = section.read("path_prefix", values::path_prefix);
    let strip = section.read("strip_prefix", values::boolean);
    section.set("app_port", &mut proxy.app_port, values::integer(1..=65_535));
    let over = proxy.mount.take();
    if let (Some(at), None, None) = (section.place_of("strip_prefix"), section.place_of("path_prefix"), &over)
    {
        section.report("strip_prefix", Problem::at(at, "`path_prefix` is missing beside it"));
    }
    let is_new = prefix.is_some();
    proxy.mount = match (prefix, over) {
        (Some(prefix), _) => Some(Mount { prefix, strip: strip.unwrap_or(true) }),
        (None, Some(over)) => Some(Mount { strip: strip.unwrap_or(over.strip), ..over }),
        (None, None) => None,
    };
    let mut health = section.section("healthcheck");
    if let Some(Mount { prefix, strip: false }) = proxy.mount.as_ref().filter(|_| is_new) {
        proxy.healthcheck.path.clone_from(prefix);
    }
    health.set("path", &mut proxy.healthcheck.path, values::url_path);
    // Whoever names a path says what it answers, too: well.
    if health.place_of("path").is_some() {
        proxy.healthcheck.any_answer = false;
    }
    health.set("any_answer", &mut proxy.healthcheck.any_answer, values::boolean);
    if let Some(at) = health.place_of("path") {
        below_the_prefix(&health, at, proxy.mount.as_ref(), &proxy.healthcheck.path);
    }
    health.set("interval", &mut proxy.healthcheck.interval_ms, values::duration_ms(false));
    health.set("timeout", &mut proxy.healthcheck.timeout_ms, values::duration_ms(false));
    health.end();
    section.end();
}

/// Refuses a path that nobody could reach from outside: an app that sees its prefix has no others.
fn below_the_prefix(section: &Section<'_>, at: Range<usize>, mount: Option<&Mount>, path: &str) {
    let Some(mount) = mount.filter(|mount| !mount.strip && !mount.has(path)) else { return };
    let message = format!("expected a path below the app's prefix {:?}, found {path:?}", mount.prefix);
    let help = "with strip_prefix = false the app sees whole paths, and other paths reach other apps";
    section.report("path", Problem::at(at, message).help(help));
}

pub(super) fn deploy(mut section: Section<'_>, deploy: &mut DeploySettings) {
    section.set("timeout", &mut deploy.timeout_ms, values::duration_ms(false));
    section.set("drain", &mut deploy.drain_ms, values::duration_ms(true));
    section.set("keep_warm", &mut deploy.keep_warm_ms, values::duration_ms(true));
    section.set("retain", &mut deploy.retain, values::integer(1..=RETAIN_MAX));
    deploy.memory_mb = section.read("memory", values::memory_mb).or(deploy.memory_mb);
    deploy.cpu_millis = section.read("cpus", values::cpu_millis).or(deploy.cpu_millis);
    section.set("pids", &mut deploy.pids, values::integer(16..=1_000_000));
    section.set("read_only", &mut deploy.read_only, values::boolean);
    let approval = section.read("approval", values::boolean).unwrap_or(deploy.approval_ms.is_some());
    let timeout_ms = section.read("approval_timeout", values::duration_ms(false));
    if let (Some(at), false) = (section.place_of("approval_timeout"), approval) {
        section.report("approval_timeout", Problem::at(at, "`approval = true` is missing beside it"));
    }
    let timeout_ms = timeout_ms.or(deploy.approval_ms).unwrap_or(APPROVAL_TIMEOUT_MS);
    deploy.approval_ms = approval.then_some(timeout_ms);
    section.end();
}

/// Reads one check: a `path` or a `command` makes it one of two kinds, each with its keys.
pub(super) fn smoke(section: Section<'_>, mount: Option<&Mount>) -> Option<SmokeCheck> {
    match (section.place_of("path"), section.place_of("command")) {
        (Some(_), None) => http_check(section, mount).map(SmokeCheck::Http),
        (None, Some(_)) => command_check(section).map(SmokeCheck::Command),
        (Some(_), Some(at)) => {
            section.report("command", Problem::at(at, "a check has a `path` or a `command`, not both"));
            None
        }
        (None, None) if section.is_there() => {
            let message =
                format!("{} has neither `path` nor `command`: there is nothing to check", section.title());
            section.complain(Problem { at: section.place(), ..Problem::of_file(message) });
            None
        }
        (None, None) => None,
    }
}

fn http_check(mut section: Section<'_>, mount: Option<&Mount>) -> Option<HttpCheck> {
    let path = section.read("path", values::url_path);
    if let (Some(at), Some(path)) = (section.place_of("path"), &path) {
        below_the_prefix(&section, at, mount, path);
    }
    let check = HttpCheck {
        path: path.clone().unwrap_or_default(),
        status: section.read("status", values::integer(100..=599)),
        contains: section.read("contains", values::text),
        json: section.read("json", values::json),
        within_ms: section.read("within", values::duration_ms(false)),
        header: section.read("header", values::headers).unwrap_or_default(),
    };
    section.end();
    path.map(|_| check)
}

fn command_check(mut section: Section<'_>) -> Option<CommandCheck> {
    let command = section.read("command", values::text);
    let image = section.read("image", values::image);
    let within_ms = section.read("within", values::duration_ms(false));
    section.end();
    command.map(|command| CommandCheck { command, image, within_ms })
}

pub(super) fn rollback(mut section: Section<'_>, rollback: &mut RollbackSettings) {
    section.set("automatic", &mut rollback.automatic, values::boolean);
    section.set("hold", &mut rollback.hold, values::boolean);
    section.end();
}

pub(super) fn notify(mut section: Section<'_>, notify: &mut NotifySettings) {
    section.set("developer", &mut notify.developer, values::list(values::channel));
    section.set("ops", &mut notify.ops, values::list(values::channel));
    section.end();
}
