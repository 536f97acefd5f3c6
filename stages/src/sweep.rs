//! Removes what nobody owns any more: containers, images, volumes, networks, work folders.
//!
//! Whose a thing is, its labels say. **What has another log's label, or none, is left alone**, and so is what may be of
//! a run that began after the list of runs to keep was made.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use landfall_engine::core::run::RunId;
use landfall_engine::ports::Keep;

use crate::candidate::remove_container;
use crate::context::Context;
use crate::docker::{explain, is_conflict, is_not_found};
use crate::plan::{LABEL_LOG, LABEL_PORT, LABEL_RUN};

/// How long a swept container may take to end; its requests were drained long before.
const GRACE: Duration = Duration::from_secs(10);

/// A run's id is made a moment before the run is known. Leftovers of runs as young as this when the list of what
/// to keep was made are the next sweep's.
const TOO_YOUNG_MS: u64 = 2_000;

/// Removes what nobody owns, and returns a line for each thing; a dry sweep only tells. One that can't be removed does not stop the others.
pub(crate) async fn sweep(context: &Context, keep: &Keep) -> Result<Vec<String>, String> {
    let owners = Owners { keep };
    let mut removed = Vec::new();
    removed.extend(work_folders(context, &owners).await?);
    removed.extend(containers(context, &owners).await?);
    removed.extend(volumes(context, &owners).await?);
    removed.extend(networks(context, &owners).await?);
    removed.extend(images(context, &owners).await?);
    Ok(removed)
}

struct Owners<'a> {
    keep: &'a Keep,
}

impl Owners<'_> {
    fn filters(&self) -> HashMap<&'static str, Vec<String>> {
        HashMap::from([("label", vec![format!("{LABEL_LOG}={}", self.keep.log_id)])])
    }

    /// Tells whether labels name a run of ours that is over. What names no run belongs to all of them.
    fn is_orphan(&self, labels: &HashMap<String, String>) -> bool {
        let is_ours = labels.get(LABEL_LOG).is_some_and(|log| *log == self.keep.log_id.to_string());
        is_ours && labels.get(LABEL_RUN).and_then(|run| run.parse().ok()).is_some_and(|run| self.is_over(run))
    }

    fn is_over(&self, run: RunId) -> bool {
        let before_ms = self.keep.as_of_ms.saturating_sub(TOO_YOUNG_MS);
        !self.keep.runs.contains(&run) && began_ms(run).is_none_or(|began| began < before_ms)
    }
}

/// Returns when a run was triggered: a UUID v7 begins with it.
fn began_ms(run: RunId) -> Option<u64> {
    let (seconds, nanos) = run.0.get_timestamp()?.to_unix();
    Some(seconds.saturating_mul(1_000).saturating_add(u64::from(nanos) / 1_000_000))
}

async fn containers(context: &Context, owners: &Owners<'_>) -> Result<Vec<String>, String> {
    let docker = &context.docker;
    let options = ListContainersOptionsBuilder::default().all(true).filters(&owners.filters()).build();
    let listed = docker.ask(docker.api().list_containers(Some(options))).await;
    let listed = listed.map_err(|error| explain("listing containers for the sweep", &error))?;
    // The log says what serves; a proxy that disagrees is believed for as long as it does.
    let routed = match context.proxy.routes().await {
        Ok(routes) => routes.into_iter().filter_map(|status| status.route.target).collect(),
        Err(_) => HashSet::new(),
    };
    let mut removed = Vec::new();
    for container in listed {
        let labels = container.labels.unwrap_or_default();
        let names = container.names.unwrap_or_default();
        let Some(name) = names.first().map(|name| name.trim_start_matches('/').to_owned()) else { continue };
        let port = labels.get(LABEL_PORT).and_then(|port| port.parse::<u16>().ok());
        let address = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let is_routed = address.is_some_and(|address| routed.contains(&address));
        if !owners.is_orphan(&labels) || owners.keep.containers.contains(&name) || is_routed {
            continue;
        }
        let done = if owners.keep.dry { Ok(()) } else { remove_container(context, &name, GRACE).await };
        match done {
            Ok(()) => removed.push(format!("container {name}")),
            Err(reason) => tracing::warn!(reason, "a container could not be swept"),
        }
    }
    Ok(removed)
}

async fn volumes(context: &Context, owners: &Owners<'_>) -> Result<Vec<String>, String> {
    let docker = &context.docker;
    let options = ListVolumesOptionsBuilder::default().filters(&owners.filters()).build();
    let listed = docker.ask(docker.api().list_volumes(Some(options))).await;
    let listed = listed.map_err(|error| explain("listing volumes for the sweep", &error))?;
    let mut removed = Vec::new();
    for volume in listed.volumes.unwrap_or_default() {
        if !owners.is_orphan(&volume.labels) {
            continue;
        }
        if owners.keep.dry {
            removed.push(format!("volume {}", volume.name));
            continue;
        }
        let options = RemoveVolumeOptionsBuilder::default().build();
        match docker.ask(docker.api().remove_volume(&volume.name, Some(options))).await {
            Ok(()) => removed.push(format!("volume {}", volume.name)),
            Err(error) => warn("volume", &volume.name, &error),
        }
    }
    Ok(removed)
}

async fn networks(context: &Context, owners: &Owners<'_>) -> Result<Vec<String>, String> {
    let docker = &context.docker;
    let options = ListNetworksOptionsBuilder::default().filters(&owners.filters()).build();
    let listed = docker.ask(docker.api().list_networks(Some(options))).await;
    let listed = listed.map_err(|error| explain("listing networks for the sweep", &error))?;
    let mut removed = Vec::new();
    for network in listed {
        let (Some(id), Some(labels)) = (network.id, network.labels) else { continue };
        if !owners.is_orphan(&labels) {
            continue;
        }
        let name = network.name.unwrap_or_else(|| id.clone());
        if owners.keep.dry {
            removed.push(format!("network {name}"));
            continue;
        }
        match docker.ask(docker.api().remove_network(&id)).await {
            Ok(()) => removed.push(format!("network {name}")),
            Err(error) => warn("network", &name, &error),
        }
    }
    Ok(removed)
}

async fn images(context: &Context, owners: &Owners<'_>) -> Result<Vec<String>, String> {
    let docker = &context.docker;
    let options = ListImagesOptionsBuilder::default().filters(&owners.filters()).build();
    let listed = docker.ask(docker.api().list_images(Some(options))).await;
    let listed = listed.map_err(|error| explain("listing images for the sweep", &error))?;
    let mut removed = Vec::new();
    for image in listed {
        let is_kept = image.repo_digests.iter().any(|digest| owners.keep.images.contains(digest));
        if is_kept || !owners.is_orphan(&image.labels) {
            continue;
        }
        // Without force, and name by name: an image that somebody else has tagged too stays theirs.
        let ours = |name: &&String| !name.starts_with("<none>");
        let names: Vec<&String> = image.repo_tags.iter().filter(ours).collect();
        let names = if names.is_empty() { vec![&image.id] } else { names };
        for name in names {
            if owners.keep.dry {
                removed.push(format!("image {name}"));
                continue;
            }
            let options = RemoveImageOptionsBuilder::default().build();
            match docker.ask(docker.api().remove_image(name, Some(options), None)).await {
                Ok(_) => removed.push(format!("image {name}")),
                Err(error) => warn("image", name, &error),
            }
        }
    }
    Ok(removed)
}

/// What is in use, or was removed in between, is no reason to worry.
fn warn(kind: &str, name: &str, error: &bollard::errors::Error) {
    if !is_conflict(error) && !is_not_found(error) {
        tracing::warn!(kind, name, reason = explain("removing it", error), "it could not be swept");
    }
}

/// Removes the folders of runs that are over. Only folders that are named after a run are ever looked at.
async fn work_folders(context: &Context, owners: &Owners<'_>) -> Result<Vec<String>, String> {
    let parent = context.data.join("work");
    let listing = tokio::task::spawn_blocking(move || folders_in(&parent)).await;
    let listed = listing.map_err(|error| format!("listing the work folders: {error}"))?;
    let listed = listed.map_err(|error| format!("listing the work folders: {error}"))?;
    let mut removed = Vec::new();
    for (run, path) in listed {
        if !owners.is_over(run) {
            continue;
        }
        let done = if owners.keep.dry { Ok(()) } else { tokio::fs::remove_dir_all(&path).await };
        match done {
            Ok(()) => removed.push(format!("folder {}", path.display())),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a work folder could not be swept");
            }
        }
    }
    Ok(removed)
}

fn folders_in(parent: &PathBuf) -> std::io::Result<Vec<(RunId, PathBuf)>> {
    let entries = match std::fs::read_dir(parent) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let run = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        folders.extend(run.map(|run| (run, path)));
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn run_at(ms: u64) -> RunId {
        let at = uuid::Timestamp::from_unix(uuid::NoContext, ms / 1_000, (ms % 1_000) as u32 * 1_000_000);
        RunId(Uuid::new_v7(at))
    }

    fn labels(log: Uuid, run: Option<RunId>) -> HashMap<String, String> {
        let log = [(LABEL_LOG.to_owned(), log.to_string())];
        log.into_iter().chain(run.map(|run| (LABEL_RUN.to_owned(), run.to_string()))).collect()
    }

    #[test]
    fn only_what_is_ours_and_of_a_run_that_is_over_is_an_orphan() {
        let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (over, open, young) = (run_at(1_000), run_at(1_001), run_at(50_000));
        let keep = Keep { log_id: ours, as_of_ms: 50_001, runs: [open].into(), ..Keep::default() };
        let owners = Owners { keep: &keep };
        assert!(owners.is_orphan(&labels(ours, Some(over))));
        assert!(!owners.is_orphan(&labels(ours, Some(open))), "an open run's");
        assert!(!owners.is_orphan(&labels(ours, Some(young))), "a run's that may be missing in the list");
        assert!(!owners.is_orphan(&labels(theirs, Some(over))), "another log's");
        assert!(!owners.is_orphan(&labels(ours, None)), "what all runs share");
        assert!(!owners.is_orphan(&HashMap::new()));
    }

    #[test]
    fn a_folder_that_is_not_named_after_a_run_is_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        let run = run_at(1_000);
        for name in [run.to_string(), "notes".into(), "..data".into()] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let found = folders_in(&dir.path().to_owned()).unwrap();
        assert_eq!(found, [(run, dir.path().join(run.to_string()))]);
        assert!(folders_in(&dir.path().join("absent")).unwrap().is_empty());
    }
}
