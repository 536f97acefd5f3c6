//! `landfall version`: what this is, and what it found of Docker.

use landfall_engine::core::event::SCHEMA;
use landfall_stages::docker::DockerHandle;
use serde::Serialize;

use super::stdout;
use crate::cli::VersionArgs;
use crate::fault::Fault;

/// What this is, and what it found.
#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    commit: Option<&'static str>,
    event_schema: u16,
    docker: Docker,
}

/// What was found of Docker.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Docker {
    Found { version: String, api: String, at: String },
    Missing { reason: String },
}

/// Prints the version. A missing Docker engine is said, and is no fault of this command.
///
/// # Errors
///
/// [`Fault`] when stdout can't be written.
pub async fn run(args: VersionArgs) -> Result<u8, Fault> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("LANDFALL_COMMIT"),
        event_schema: SCHEMA,
        docker: docker().await,
    };
    match args.json {
        true => stdout::json(&version)?,
        false => stdout::print(&text(&version))?,
    }
    Ok(0)
}

async fn docker() -> Docker {
    let handle = match DockerHandle::connect(None) {
        Ok(handle) => handle,
        Err(error) => return Docker::Missing { reason: error.to_string() },
    };
    match handle.check().await {
        Ok(found) => Docker::Found { version: found.version, api: found.api, at: handle.host().to_owned() },
        Err(error) => Docker::Missing { reason: error.to_string() },
    }
}

fn text(version: &Version) -> String {
    let Version { version, commit, event_schema, docker } = version;
    let commit = commit.unwrap_or("unknown to this build");
    let docker = match docker {
        Docker::Found { version, api, at } => format!("{version}, API {api}, at {at}"),
        Docker::Missing { reason } => format!("not usable: {reason}"),
    };
    format!("landfall {version}\n  commit  {commit}\n  events  schema {event_schema}\n  Docker  {docker}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_docker_is_said_with_its_reason() {
        let version = Version {
            version: "0.1.0",
            commit: None,
            event_schema: 1,
            docker: Docker::Missing { reason: "is the daemon running?".into() },
        };
        assert_eq!(
            text(&version),
            "landfall 0.1.0\n  commit  unknown to this build\n  events  schema 1\n  \
             Docker  not usable: is the daemon running?\n"
        );
    }
}
