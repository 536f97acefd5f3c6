//! The few words that fit beside a step.

use landfall_engine::audit::short_digest;
use landfall_engine::core::facts::{Facts, TestReport};
use landfall_engine::core::stage::Stage;

/// Says where a pushed commit comes from.
pub(super) fn origin_in_words(branch: Option<&str>, author: &str) -> String {
    match branch {
        Some(branch) => format!("{branch}, by {author}"),
        None => format!("by {author}"),
    }
}

/// Says what goes on, where the title of the step does not.
pub(super) const fn doing(stage: Stage) -> &'static str {
    match stage {
        Stage::Checkout => "laying the commit out",
        Stage::ReleaseCommand => "running the release command",
        Stage::GoLive => "switching the traffic",
        Stage::PublicSmoke => "checking the public address",
        Stage::Test | Stage::Build | Stage::PushImage | Stage::Deploy | Stage::Smoke => "",
    }
}

/// Returns what a stage found out in the few words that fit beside its step.
pub(super) fn fact(facts: &Facts) -> String {
    match facts {
        Facts::Checkout(checkout) => format!("configured by {}", checkout.configured_by),
        Facts::Test(report) => counts(report),
        Facts::Build(built) if built.generated_dockerfile => {
            format!("{}, by a generated Dockerfile", short_digest(&built.image_id))
        }
        Facts::Build(built) => short_digest(&built.image_id),
        Facts::PushImage(image) => format!("{}@{}", image.repository, short_digest(&image.digest)),
        Facts::ReleaseCommand => "the release command is done".into(),
        Facts::Deploy(candidate) => {
            format!("{} healthy in {} ms", candidate.address, candidate.healthy_after_ms)
        }
        Facts::Smoke(report) | Facts::PublicSmoke(report) => checks(report.checks.len()),
        Facts::GoLive(switched) => format!("traffic switched at {}", switched.address),
    }
}

fn checks(count: usize) -> String {
    format!("{count} {} passed", if count == 1 { "check" } else { "checks" })
}

/// Returns a number of bytes in the unit that a person would say.
pub fn bytes(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        // One digit behind the point, cut and not rounded: 999,999 bytes are no megabyte.
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} bytes"),
    }
}

/// Returns the counts of a test report in a few words.
pub fn counts(report: &TestReport) -> String {
    let Some(counts) = report.counts else { return format!("exit code {}", report.exit_code) };
    let parts = [(counts.failed, "failed"), (counts.passed, "passed"), (counts.skipped, "skipped")];
    let said: Vec<_> = parts
        .into_iter()
        .filter(|(count, word)| *count > 0 || *word == "passed")
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    said.join(", ")
}
