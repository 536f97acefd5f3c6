//! What happened, in the words that people read: in a replay, on a terminal, in a listing.

use crate::core::event::Cause;
use crate::core::facts::{Facts, SmokeReport, TestReport};
use crate::core::stage::Stage;

/// Returns what a stage found out, in a line.
pub fn finding(facts: &Facts) -> String {
    match facts {
        Facts::Checkout(checkout) => format!("commit laid out, configured by {}", checkout.configured_by),
        Facts::Test(report) => format!("Tests pass{}", counts(report)),
        Facts::Build(built) => format!("Image built: {}", short_digest(&built.image_id)),
        Facts::PushImage(image) => {
            format!("Image pushed: {}@{}", image.repository, short_digest(&image.digest))
        }
        Facts::ReleaseCommand => "release command done".into(),
        Facts::Deploy(candidate) => format!(
            "App deployed: candidate healthy at {} after {}",
            candidate.address,
            seconds(candidate.healthy_after_ms)
        ),
        Facts::Smoke(report) => format!("Smoke tests pass: {}", checks(report)),
        Facts::GoLive(switched) => format!("traffic switched at {}", switched.address),
        Facts::PublicSmoke(report) => format!("{} through {}", checks(report), report.address),
    }
}

fn checks(report: &SmokeReport) -> String {
    match report.checks.len() {
        1 => "1 check".into(),
        n => format!("{n} checks"),
    }
}

fn counts(report: &TestReport) -> String {
    match report.counts {
        Some(counts) if counts.skipped > 0 => {
            format!(": {} passed, {} skipped", counts.passed, counts.skipped)
        }
        Some(counts) => format!(": {} passed", counts.passed),
        None => String::new(),
    }
}

/// Returns a cause in a few words.
pub fn cause_in_words(cause: &Cause) -> String {
    match cause {
        Cause::StageFailed { stage, reason } => format!("{stage} failed: {reason}"),
        Cause::Cancelled { reason } => format!("cancelled: {reason}"),
        Cause::Superseded { by } => format!("superseded by run {by}"),
        Cause::Held { since: Some(since) } => format!("the commit is held since run {since} was rolled back"),
        Cause::Held { since: None } => "the commit is held by hand".into(),
        Cause::Aborted { reason } => format!("aborted: {reason}"),
        Cause::Rejected { reason } => format!("rejected: {reason}"),
        Cause::NotApproved { until_ms } => {
            format!("not approved until {}", crate::timeline::timestamp(*until_ms))
        }
    }
}

pub(crate) const fn doing(stage: Stage) -> &'static str {
    match stage {
        Stage::Checkout => "checkout",
        Stage::Test => "test run",
        Stage::Build => "build",
        Stage::PushImage => "image push",
        Stage::ReleaseCommand => "release command",
        Stage::Deploy => "deploy",
        Stage::Smoke => "smoke test",
        Stage::GoLive => "traffic switch",
        Stage::PublicSmoke => "smoke test of the public address",
    }
}

pub(crate) const fn failing(stage: Stage) -> &'static str {
    match stage {
        Stage::Checkout => "Checkout fails",
        Stage::Test => "Tests fail",
        Stage::Build => "Build fails",
        Stage::PushImage => "Image push fails",
        Stage::ReleaseCommand => "Release command fails",
        Stage::Deploy => "Deploy fails",
        Stage::Smoke => "Smoke fails",
        Stage::GoLive => "Traffic switch fails",
        Stage::PublicSmoke => "Public smoke fails",
    }
}

/// Returns the first twelve digits of a digest, with its algorithm left out.
pub fn short_digest(digest: &str) -> String {
    let hex = digest.rsplit(':').next().unwrap_or(digest);
    format!("sha256:{}", hex.get(..12).unwrap_or(hex))
}

pub(crate) fn short_sha(sha: &str) -> &str {
    sha.get(..12).unwrap_or(sha)
}

/// Returns a time in the unit that a person would choose.
pub fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}
