//! What a run was asked to do: `landfall.toml` at the commit, with every default filled in.
//!
//! A snapshot of this is stored with the checkout's outcome, so that an audit sees the configuration
//! the run had and not the one of today. Secrets are named here, never held.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::environment::Environments;

/// The name of a secret. The value is looked up at the edge, when an effect needs it.
pub type SecretName = String;

/// The configuration of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Settings {
    /// Name of the service: part of image and container names.
    pub service: String,
    /// Which pushes start a run.
    pub on_push: OnPush,
    /// How the tests are run.
    pub test: TestSettings,
    /// How the image is built.
    pub build: BuildSettings,
    /// What the app's container runs.
    #[serde(skip_serializing_if = "WebSettings::is_default")]
    pub web: WebSettings,
    /// Where the image is pushed.
    pub registry: RegistrySettings,
    /// What the app finds in its environment.
    pub env: EnvSettings,
    /// The command that is run once before the deploy, if there is one.
    pub release: Option<ReleaseSettings>,
    /// How traffic reaches the app.
    pub proxy: ProxySettings,
    /// How the app is deployed.
    pub deploy: DeploySettings,
    /// What must hold of the candidate before it gets traffic.
    pub smoke: Vec<SmokeCheck>,
    /// What happens when a deploy turns red.
    pub rollback: RollbackSettings,
    /// Who is told.
    pub notify: NotifySettings,
    /// The environments that have something of their own. What stands above is of the run's.
    #[serde(skip_serializing_if = "Environments::is_empty")]
    pub environments: Environments,
}

/// `[on.push]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct OnPush {
    /// Branches that are deployed.
    pub branches: Vec<String>,
}

impl Default for OnPush {
    fn default() -> Self {
        Self { branches: vec!["main".into(), "master".into()] }
    }
}

impl OnPush {
    /// Tells whether a push to this branch starts a run.
    pub fn names(&self, branch: &str) -> bool {
        self.branches.iter().any(|deployed| deployed == branch)
    }
}

/// `[test]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct TestSettings {
    /// Image in which the tests run.
    pub image: String,
    /// Shell command whose exit code decides.
    pub command: String,
    /// Limit of the whole stage, in milliseconds.
    pub timeout_ms: u64,
    /// Runs the tests on the host instead of in a container.
    pub host: bool,
    /// Takes "no tests found" for green.
    pub allow_none: bool,
    /// Memory limit of the container, in MiB.
    pub memory_mb: u64,
    /// Limit of processes in the container.
    pub pids: u64,
    /// CPU limit of the container, in thousandths of a core.
    pub cpu_millis: u64,
    /// Where the test run leaves its JUnit report, from the source's root.
    pub junit: String,
    /// Environment of the tests, beside `CI` and its relatives.
    pub env: BTreeMap<String, String>,
    /// What runs beside the tests, each in a container of its own that they reach by its name: name to image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, String>,
}

impl Default for TestSettings {
    fn default() -> Self {
        Self {
            image: "python:3.12-slim".into(),
            command: "pytest --junitxml=report.xml".into(),
            timeout_ms: 10 * 60_000,
            host: false,
            allow_none: false,
            memory_mb: 2_048,
            pids: 1_024,
            cpu_millis: 2_000,
            junit: "report.xml".into(),
            env: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }
}

/// `[build]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct BuildSettings {
    /// Path of the Dockerfile, from the source's root. A missing default one is generated.
    pub dockerfile: String,
    /// Build arguments. They end in the image's history, so no secret belongs here.
    pub args: BTreeMap<String, String>,
    /// Secrets that the build may mount.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub secrets: Vec<SecretName>,
    /// Limit of the whole stage, in milliseconds.
    pub timeout_ms: u64,
    /// Image that a generated Dockerfile starts from. None: the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Debian packages that a generated Dockerfile installs, for those who build and for those who run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            dockerfile: "Dockerfile".into(),
            args: BTreeMap::new(),
            secrets: Vec::new(),
            timeout_ms: 20 * 60_000,
            image: None,
            packages: Vec::new(),
        }
    }
}

/// `[web]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct WebSettings {
    /// Shell command that serves the app. None: what the image says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl WebSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[registry]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct RegistrySettings {
    /// Host and port, and a path where the registry has several tenants: `ghcr.io/acme`.
    pub server: String,
    /// User name, when the registry asks for one.
    pub username: Option<String>,
    /// Name of the secret that holds the password.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub password: Option<SecretName>,
    /// Limit of the push, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self { server: "127.0.0.1:5000".into(), username: None, password: None, timeout_ms: 10 * 60_000 }
    }
}

/// `[env]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct EnvSettings {
    /// Variables in clear text.
    pub clear: BTreeMap<String, String>,
    /// Variables whose values are secrets of the same name.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub secret: Vec<SecretName>,
    /// Files of the container, by their paths, and the secrets that they hold.
    pub files: BTreeMap<String, SecretName>,
}

/// `[release]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReleaseSettings {
    /// Shell command, run once in the new image before the deploy.
    pub command: String,
    /// Limit of the command, in milliseconds.
    pub timeout_ms: u64,
}

/// `[proxy]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ProxySettings {
    /// Host name of the app. None: the app answers for every host that no other app has.
    pub host: Option<String>,
    /// The part of the host's paths that is the app's. None: all that no other app has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<Mount>,
    /// Port on which the app listens inside its container.
    pub app_port: u16,
    /// How a healthy candidate is told.
    pub healthcheck: HealthCheck,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self { host: None, mount: None, app_port: 8000, healthcheck: HealthCheck::default() }
    }
}

impl ProxySettings {
    /// Returns the path at which users find what the app itself has at `path`.
    pub fn public_path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        self.mount.as_ref().map_or(Cow::Borrowed(path), |mount| mount.public_path(path))
    }
}

/// The part of a host's paths that belongs to one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Mount {
    /// `/shop`: this path and all below it. Begins with '/' and does not end with one.
    pub prefix: String,
    /// Takes the prefix off before the app sees the path; the app is told it in `X-Forwarded-Prefix`.
    pub strip: bool,
}

impl Mount {
    /// Returns the path at which users find what the app itself has at `path`: below the prefix in any case.
    pub fn public_path<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match self.strip {
            true => Cow::Owned(format!("{}{path}", self.prefix)),
            false if self.has(path) => Cow::Borrowed(path),
            false => Cow::Owned(self.prefix.clone()),
        }
    }

    /// Tells whether a path belongs here: `/shop` and `/shop/cart` do, `/shopping` does not.
    pub fn has(&self, path: &str) -> bool {
        path.strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    }
}

/// `[proxy] healthcheck`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct HealthCheck {
    /// Path that answers 2xx or 3xx once the app is ready.
    pub path: String,
    /// Longest pause between two probes, in milliseconds. The first ones come much faster.
    pub interval_ms: u64,
    /// Limit of one probe, in milliseconds.
    pub timeout_ms: u64,
    /// Takes every answer below 500 for good: the path was guessed, and an app that says "not found" serves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub any_answer: bool,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { path: "/".into(), interval_ms: 1_000, timeout_ms: 5_000, any_answer: false }
    }
}

impl HealthCheck {
    /// Tells whether an answer with this status shows that the app serves.
    pub fn takes(&self, status: u16) -> bool {
        let end = if self.any_answer { 500 } else { 400 };
        (200..end).contains(&status)
    }

    /// Says which statuses those are.
    pub fn expected(&self) -> &'static str {
        if self.any_answer { "any status below 500" } else { "2xx or 3xx" }
    }
}

/// `[deploy]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct DeploySettings {
    /// How long the candidate may take to become healthy, in milliseconds.
    pub timeout_ms: u64,
    /// How long the former release may finish its requests after the switch, in milliseconds.
    pub drain_ms: u64,
    /// How long the former release is kept running for an instant rollback, in milliseconds.
    pub keep_warm_ms: u64,
    /// How many releases can be rolled back to.
    pub retain: u32,
    /// Memory limit of the app's container in MiB. None: no limit.
    pub memory_mb: Option<u64>,
    /// A person has to approve each deploy, and has this long, in milliseconds. None: nobody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_ms: Option<u64>,
    /// CPU limit of the app's container, in thousandths of a core. None: no limit.
    pub cpu_millis: Option<u64>,
    /// Limit of processes and threads in the app's container.
    pub pids: u64,
    /// Keeps the app from writing anywhere but to `/tmp` and its volumes.
    pub read_only: bool,
}

impl Default for DeploySettings {
    fn default() -> Self {
        Self {
            timeout_ms: 30_000,
            drain_ms: 30_000,
            keep_warm_ms: 600_000,
            retain: 5,
            memory_mb: None,
            approval_ms: None,
            cpu_millis: None,
            // A busy app of many threads has some hundred; a fork bomb ends here.
            pids: 4_096,
            read_only: false,
        }
    }
}

/// One `[[smoke]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SmokeCheck {
    /// A request and what its answer must be.
    Http(HttpCheck),
    /// A command in a container of the image, with `LANDFALL_URL` set; its exit code decides.
    Command(CommandCheck),
}

/// A request and what its answer must be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct HttpCheck {
    /// Path and query.
    pub path: String,
    /// Expected status. None: any 2xx.
    pub status: Option<u16>,
    /// Text that the body must contain.
    pub contains: Option<String>,
    /// JSON that the body must include: objects may have more keys than named here.
    pub json: Option<serde_json::Value>,
    /// Limit of the answer, in milliseconds. None: the stage's own limit.
    pub within_ms: Option<u64>,
    /// Headers that the answer must have; an empty value asks for presence alone.
    pub header: BTreeMap<String, String>,
}

/// A command that checks the candidate from a container of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct CommandCheck {
    /// Shell command.
    pub command: String,
    /// Image in which it runs. None: the candidate's own.
    pub image: Option<String>,
    /// Limit of the command, in milliseconds. None: the stage's own limit.
    pub within_ms: Option<u64>,
}

/// `[rollback]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct RollbackSettings {
    /// Rolls back without asking. Otherwise the run is parked for a person.
    pub automatic: bool,
    /// Keeps the commit from being deployed again until somebody releases the hold.
    pub hold: bool,
}

impl Default for RollbackSettings {
    fn default() -> Self {
        Self { automatic: true, hold: true }
    }
}

/// `[notify]`. Each channel is written `kind:target`: `email:author`; `slack:`, `discord:`, `teams:` or `webhook:` and the
/// name of a secret; `webhook:SECRET:SIGNING_SECRET` is signed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct NotifySettings {
    /// Told of red tests and red builds.
    pub developer: Vec<String>,
    /// Told of rollbacks and parked runs.
    pub ops: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(strip: bool) -> ProxySettings {
        let mount = Mount { prefix: "/shop".into(), strip };
        ProxySettings { mount: Some(mount), ..ProxySettings::default() }
    }

    #[test]
    fn the_text_of_a_mount_is_pinned_and_its_lack_leaves_no_trace() {
        let text = serde_json::to_string(&mounted(true)).expect("settings are plain data");
        assert!(text.contains(r#""mount":{"prefix":"/shop","strip":true}"#), "{text}");
        let text = serde_json::to_string(&ProxySettings::default()).expect("settings are plain data");
        assert!(!text.contains("mount"), "{text}");
        let read: ProxySettings = serde_json::from_str(&text).expect("it is read again");
        assert_eq!(read, ProxySettings::default());
    }

    #[test]
    fn a_prefix_ends_where_a_name_ends() {
        let mount = mounted(true).mount.expect("it is there");
        for (path, has) in [
            ("/shop", true),
            ("/shop/", true),
            ("/shop/cart", true),
            ("/shop?item=1", true),
            ("/shopping", false),
            ("/", false),
            ("/a/shop", false),
        ] {
            assert_eq!(mount.has(path), has, "{path}");
        }
    }

    #[test]
    fn users_find_a_path_below_the_prefix_where_it_is_taken_off() {
        assert_eq!(mounted(true).public_path("/healthz"), "/shop/healthz");
        assert_eq!(mounted(false).public_path("/shop/healthz"), "/shop/healthz");
        assert_eq!(mounted(false).public_path("/healthz"), "/shop");
        assert_eq!(ProxySettings::default().public_path("/healthz"), "/healthz");
    }
}
