//! What `landfall doctor` finds: whether this machine can take an app live, and what to do where it can't.
//!
//! ```text
//! checks (side by side, each with a limit) ──▶ findings ──▶ text, or JSON
//! ```
//!
//! What a server's `/readyz` asks is asked here by the same functions, and of a server that runs its own answer is
//! shown. **Nothing is changed**: a file that is written to try the disk is removed again.

mod checks;
mod machine;
mod ports;
pub mod report;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use landfall_engine::core::settings::Settings;
use landfall_stages::secrets::{Secrets, Vault};
use landfall_stages::vitals::Vitals;
use serde::Serialize;

use crate::client::Client;

/// What one check may take, whatever limits it has itself: whoever calls the doctor is waiting.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works now, and may not for long or not for everything.
    Warning,
    /// Something can't work.
    Problem,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of what.
    pub name: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn problem(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Problem, found: found.into(), advice: Some(advice.into()) }
    }
}

/// What is examined.
#[derive(Debug)]
pub struct Patient {
    /// The data folder, which need not be there yet.
    pub data: PathBuf,
    /// The server that has it, if one answers.
    pub server: Option<Client>,
    /// Where the API is to listen.
    pub listen: SocketAddr,
    /// Where the apps' traffic is to come in.
    pub proxy_listen: SocketAddr,
    /// The configuration of the app in the current folder, or the defaults; or why it can't be read.
    pub settings: Result<Settings, String>,
    /// What opens the registry: the app's secrets, or why they can't be opened.
    pub secrets: Result<Secrets, String>,
    /// The vault and its key.
    pub vault: Vault,
    /// Asks what the stages depend on; or why Docker can't even be meant.
    pub vitals: Result<Vitals, String>,
}

type Check<'a> = (&'static str, Pin<Box<dyn Future<Output = Vec<Finding>> + Send + 'a>>);

/// Examines everything, side by side, and returns the findings in the order in which people set things up.
pub async fn examine(patient: &Patient) -> Vec<Finding> {
    let checks: Vec<Check<'_>> = vec![
        ("git", Box::pin(machine::git())),
        ("docker", Box::pin(checks::docker(patient))),
        ("base image", Box::pin(checks::base_image(patient))),
        ("registry", Box::pin(checks::registry(patient))),
        ("data folder", Box::pin(machine::data_folder(&patient.data))),
        ("log", Box::pin(checks::log(patient))),
        ("vault", Box::pin(checks::vault(patient))),
        ("port", Box::pin(ports::api(patient))),
        ("traffic", Box::pin(ports::traffic(patient))),
        ("server", Box::pin(checks::server(patient))),
        ("clock", Box::pin(checks::clock(patient))),
    ];
    let limited = checks.into_iter().map(|(name, check)| limited(name, CHECK_TIMEOUT, check));
    join_all(limited).await.concat()
}

async fn limited(
    name: &'static str,
    limit: Duration,
    check: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    tokio::time::timeout(limit, check).await.unwrap_or_else(|_| {
        let found = format!("this was not known after {} s", limit.as_secs_f32());
        vec![Finding::problem(name, found, "look whether it hangs, then ask again")]
    })
}

#[cfg(test)]
mod tests;
