//! Tells ops that the disk is low: once each time that it becomes so, however often the server starts meanwhile.
//!
//! ```text
//! fine ──free < mark──▶ low: each channel is told once ──free ≥ mark + a quarter──▶ fine
//! ```
//!
//! The quarter keeps a disk that hovers around the mark from being told of each time it crosses it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landfall_engine::core::command::NotSent;
use landfall_engine::ports::{EventStore, Low};
use landfall_stages::notify::{Notifier, ServerNotice};
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::data_dir::write_private;

/// A disk has no event to wait for. Looking costs two system calls, and half a minute is soon enough for a person.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Who is told, and by what.
#[derive(Debug)]
pub struct DiskWatch {
    /// Knows the mark.
    pub store: Arc<dyn EventStore>,
    /// Sends the notices.
    pub notifier: Notifier,
    /// Where they go: `slack:OPS_WEBHOOK`.
    pub channels: Vec<String>,
    /// The data folder.
    pub data: PathBuf,
    /// Names this server to people.
    pub server: String,
}

/// What the disk was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Low(Low),
    Free(u64),
}

/// What is known of the disk and who was told, kept in `DATA/disk-low.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Alarm {
    /// How often the disk became low.
    times: u64,
    /// Set while it is.
    now: Option<Raised>,
}

/// The disk is low.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Raised {
    /// The mark that it fell below, in bytes.
    needed_bytes: u64,
    /// What was found then.
    reason: String,
    /// The channels that need not be told any more: they were, or said no.
    told: BTreeSet<String>,
}

impl DiskWatch {
    /// Watches until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        let mut alarm = read(&self.data).unwrap_or_else(|error| {
            tracing::warn!(%error, "disk-low.json could not be read; ops may be told once more that the disk is low");
            Alarm::default()
        });
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let Some(found) = self.look().await else { continue };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.heed(&mut alarm, found) => {}
            }
        }
    }

    async fn look(&self) -> Option<Found> {
        if let Err(low) = self.store.admits().await {
            return Some(Found::Low(low));
        }
        let disk = rustix::fs::statvfs(&self.data)
            .inspect_err(|error| tracing::warn!(%error, "the disk could not be asked for its free space"))
            .ok()?;
        Some(Found::Free(disk.f_bavail.saturating_mul(disk.f_frsize)))
    }

    async fn heed(&self, alarm: &mut Alarm, found: Found) {
        if alarm.heed(found) {
            self.keep(alarm);
        }
        let Some(raised) = alarm.now.clone() else { return };
        for channel in self.channels.iter().filter(|channel| !raised.told.contains(*channel)) {
            if self.tell(channel, alarm.times, &raised.reason).await
                && let Some(raised) = &mut alarm.now
            {
                raised.told.insert(channel.clone());
                self.keep(alarm);
            }
        }
    }

    /// Tells a channel and returns whether it need not be told again.
    async fn tell(&self, channel: &str, times: u64, reason: &str) -> bool {
        let key = format!("{}/disk_low/{times}/ops/{channel}", self.store.log_id());
        match self.notifier.send(channel, &key, &self.notice(reason)).await {
            Ok(receipt) => {
                tracing::info!(channel, receipt, "ops were told that the disk is low");
                true
            }
            Err(NotSent::Failed { reason }) => {
                tracing::error!(channel, reason, "ops can't be told that the disk is low");
                true
            }
            Err(NotSent::Errored { reason, .. }) => {
                tracing::warn!(
                    channel,
                    reason,
                    "ops could not be told that the disk is low; it is tried again"
                );
                false
            }
        }
    }

    fn notice(&self, reason: &str) -> ServerNotice {
        ServerNotice {
            event: "disk_low",
            server: self.server.clone(),
            what: "the disk is low".into(),
            reason: reason.to_owned(),
            then: "Pushes are refused until there is room; what serves goes on serving.".into(),
            command: "landfall prune".into(),
        }
    }

    /// A disk that is low may refuse this too: then this process remembers, and the next one may tell again.
    fn keep(&self, alarm: &Alarm) {
        if let Err(error) = write(&self.data, alarm) {
            tracing::warn!(%error, "disk-low.json could not be written");
        }
    }
}

impl Alarm {
    /// Takes in what was found and returns whether that changed anything.
    fn heed(&mut self, found: Found) -> bool {
        match (&self.now, found) {
            (None, Found::Low(low)) => {
                tracing::warn!(%low, "the disk is low");
                self.times += 1;
                self.now = Some(Raised {
                    needed_bytes: low.needed_bytes,
                    reason: low.to_string(),
                    told: BTreeSet::new(),
                });
                true
            }
            (Some(raised), Found::Free(bytes))
                if bytes >= raised.needed_bytes.saturating_add(raised.needed_bytes / 4) =>
            {
                tracing::info!(free_mib = bytes >> 20, "the disk has room again");
                self.now = None;
                true
            }
            (None, Found::Free(_)) | (Some(_), _) => false,
        }
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("disk-low.json")
}

fn read(data: &Path) -> io::Result<Alarm> {
    match std::fs::read(path(data)) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Alarm::default()),
        Err(error) => Err(error),
    }
}

fn write(data: &Path, alarm: &Alarm) -> io::Result<()> {
    write_private(&path(data), &serde_json::to_vec(alarm)?)
}

#[cfg(test)]
mod tests;
