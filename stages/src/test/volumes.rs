//! The volumes of installed dependencies: one for each hash of what they depend on, and only the newest ones.

use std::collections::HashMap;

use bollard::models::{Mount, MountType, MountVolumeOptions, Volume};
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder};
use landfall_engine::ports::Order;

use crate::context::Context;
use crate::deps::Dependencies;
use crate::docker;
use crate::plan;

/// How many an app keeps: its branches differ, and a rollback of a lock file should find its own.
const KEPT: usize = 5;

const PREFIX: &str = "landfall-deps-";

/// Returns the volume of these dependencies, and whose it is.
pub(super) fn of(order: &Order, needed: &Dependencies, target: &str) -> Mount {
    let mut labels = plan::shared_labels(order.log_id);
    labels.insert(plan::LABEL_APP.into(), order.run.lane.app.clone());
    mount(format!("{PREFIX}{}", needed.hash), target, labels)
}

/// Returns a volume that is made when it is not there.
pub(super) fn mount(name: String, target: &str, labels: HashMap<String, String>) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name),
        target: Some(target.to_owned()),
        volume_options: Some(MountVolumeOptions { labels: Some(labels), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

/// Removes the app's oldest dependencies. What is in use stays, and what fails is left to the next time.
pub(super) async fn forget_old(context: &Context, order: &Order) {
    let labels = [(plan::LABEL_LOG, order.log_id.to_string()), (plan::LABEL_APP, order.run.lane.app.clone())];
    let labels = labels.map(|(name, value)| format!("{name}={value}")).to_vec();
    let filters = HashMap::from([("label", labels)]);
    let docker = &context.docker;
    let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
    let listed = match docker.ask(docker.api().list_volumes(Some(options))).await {
        Ok(listed) => listed.volumes.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(reason = docker::explain("listing volumes", &error), "old dependencies stay");
            return;
        }
    };
    for name in outdated(listed) {
        let options = RemoveVolumeOptionsBuilder::default().build();
        match docker.ask(docker.api().remove_volume(&name, Some(options))).await {
            Err(error) if !docker::is_conflict(&error) && !docker::is_not_found(&error) => {
                tracing::warn!(
                    reason = docker::explain("removing a volume", &error),
                    name,
                    "old dependencies stay"
                );
            }
            _ => {}
        }
    }
}

fn outdated(mut volumes: Vec<Volume>) -> impl Iterator<Item = String> {
    volumes.retain(|volume| volume.name.starts_with(PREFIX));
    volumes.sort_by_key(|volume| std::cmp::Reverse(volume.created_at));
    volumes.into_iter().skip(KEPT).map(|volume| volume.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dependencies_beyond_the_newest_ones_are_outdated() {
        let volume = |name: &str, day: u32| Volume {
            name: name.to_owned(),
            created_at: Some(format!("2026-11-{day:02}T10:00:00Z").parse().unwrap()),
            ..Volume::default()
        };
        let mut volumes: Vec<_> = (1..=9).map(|day| volume(&format!("landfall-deps-{day}"), day)).collect();
        volumes.push(volume("of-the-user", 1));
        volumes.rotate_left(4);
        assert_eq!(
            outdated(volumes).collect::<Vec<_>>(),
            ["4", "3", "2", "1"].map(|day| format!("{PREFIX}{day}"))
        );
    }
}
