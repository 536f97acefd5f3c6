//! What a stage found out. Later stages and audits read it; nobody computes it twice.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::settings::Settings;

/// What a stage that succeeded found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Facts {
    /// The commit is laid out.
    Checkout(Checkout),
    /// The tests are green.
    Test(TestReport),
    /// The image is built.
    Build(BuiltImage),
    /// The image is in the registry.
    PushImage(PushedImage),
    /// The release command ended with 0.
    ReleaseCommand,
    /// The candidate is healthy.
    Deploy(Candidate),
    /// The candidate passed its checks.
    Smoke(SmokeReport),
    /// The traffic is switched.
    GoLive(Switched),
    /// The public address passed its checks.
    PublicSmoke(SmokeReport),
}

/// A commit in a folder of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Checkout {
    /// Git's hash of the tree: what was tested, built and deployed.
    pub tree: String,
    /// The configuration at this commit.
    pub settings: Box<Settings>,
    /// Where the configuration came from: a file's name, or "defaults".
    pub configured_by: String,
    /// What the configuration did not say and the source did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guesses: Vec<Guess>,
}

/// A setting that nobody wrote down, read off the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Guess {
    /// Key of the setting, `test.command`; or what was found, where no setting says it: `dependencies`.
    pub key: String,
    /// What it was taken to be.
    pub value: String,
    /// Why, for people: `Procfile says web: …`.
    pub reason: String,
}

/// The result of the tests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TestReport {
    /// Exit code of the command.
    pub exit_code: i64,
    /// Counts, where a report could be read.
    pub counts: Option<TestCounts>,
    /// The first failing tests, with the first line of what they said.
    pub first_failures: Vec<TestFailure>,
}

/// The counts of a JUnit report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TestCounts {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed or broke.
    pub failed: u32,
    /// Tests that were skipped.
    pub skipped: u32,
}

/// One failing test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TestFailure {
    /// Name, with its class or file.
    pub name: String,
    /// The first line of what it said.
    pub message: String,
}

/// An image in the local engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BuiltImage {
    /// Docker's id of the image.
    pub image_id: String,
    /// The tag of this run, `server/service:tag`.
    pub reference: String,
    /// True when the app has no Dockerfile and one was generated.
    pub generated_dockerfile: bool,
}

/// An image in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PushedImage {
    /// `server/service`.
    pub repository: String,
    /// The immutable tag of the run.
    pub tag: String,
    /// `sha256:…`, read back from the registry. Deploys go by this and nothing else.
    pub digest: String,
}

impl PushedImage {
    /// Returns `server/service@sha256:…`.
    pub fn by_digest(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

/// A container of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// Name of the container.
    pub container: String,
    /// Docker's id of the container.
    pub container_id: String,
    /// Loopback address that only the proxy and the smoke checks use. Fixed: it survives restarts.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub address: SocketAddr,
    /// How long it took from the start to the first good answer, in milliseconds.
    pub healthy_after_ms: u64,
}

/// What was checked, and how it went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SmokeReport {
    /// Where the checks were sent.
    pub address: String,
    /// Each check with its time.
    pub checks: Vec<SmokePassed>,
}

/// One check that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SmokePassed {
    /// For people: `GET /healthz = 200`.
    pub check: String,
    /// Time to the whole answer, in milliseconds.
    pub took_ms: u64,
}

/// A traffic switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Switched {
    /// The generation that the proxy took on.
    pub generation: u64,
    /// The public address, as `http://host:port`.
    pub address: String,
}

/// Why a stage said no.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Failure {
    /// One line for people: what was expected, what was found, what to do.
    pub reason: String,
    /// The last lines of what the failing thing printed, secrets masked.
    pub tail: Vec<String>,
    /// The test report, when tests failed and left one.
    pub tests: Option<TestReport>,
}

impl Failure {
    /// Returns a failure with a reason alone.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), tail: Vec::new(), tests: None }
    }

    /// Adds the last lines of output.
    #[must_use]
    pub fn with_tail(mut self, tail: Vec<String>) -> Self {
        self.tail = tail;
        self
    }
}

impl Facts {
    /// Returns the stage that finds these out.
    pub const fn stage(&self) -> super::stage::Stage {
        use super::stage::Stage;
        match self {
            Self::Checkout(_) => Stage::Checkout,
            Self::Test(_) => Stage::Test,
            Self::Build(_) => Stage::Build,
            Self::PushImage(_) => Stage::PushImage,
            Self::ReleaseCommand => Stage::ReleaseCommand,
            Self::Deploy(_) => Stage::Deploy,
            Self::Smoke(_) => Stage::Smoke,
            Self::GoLive(_) => Stage::GoLive,
            Self::PublicSmoke(_) => Stage::PublicSmoke,
        }
    }
}
