//! What monitoring is told in numbers: counted where events are recorded, or read when somebody asks.
//!
//! ```text
//! engine ──append──▶ Watched store ──▶ log        what was recorded is counted:   Counted
//! GET /metrics ──▶ log, proxy, disk, checks       what is true now is read:       Snapshot
//! ```
//!
//! Counters begin at zero with the process, as Prometheus expects; gauges are read from the log, so a
//! restart loses nothing of them. **Invariant:** no label takes more values than there are apps,
//! environments and retained releases; beyond [`LANES_MAX`](counted::LANES_MAX) lanes the rest is one.

mod counted;
mod snapshot;
mod watched;

use std::sync::Arc;

use landfall_engine::ports::EventStore;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use counted::Counted;
pub use snapshot::Snapshot;
use watched::Watched;

/// The type of an exposition, for its header.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The numbers of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    counted: Counted,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("landfall");
        let counted = Counted::register(&mut registry);
        Self { registry, counted }
    }
}

impl Metrics {
    /// Returns a store that counts and times what is recorded in this one.
    pub fn watch(self: &Arc<Self>, store: Arc<dyn EventStore>) -> Arc<dyn EventStore> {
        Arc::new(Watched::new(store, Arc::clone(self)))
    }

    /// Returns everything as OpenMetrics text.
    pub fn expose(&self, now: Snapshot) -> String {
        let mut read = Registry::with_prefix("landfall");
        read.register_collector(Box::new(now));
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &read))
            .and_then(|()| encode_eof(&mut text));
        written.expect("a string takes everything that is written to it");
        text
    }
}
