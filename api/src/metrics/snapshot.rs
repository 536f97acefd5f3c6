//! What is true now: read from the log, the proxy and the disk when somebody asks.

use std::collections::BTreeMap;
use std::fmt;

use landfall_engine::core::lane::{Lane, LaneId};
use landfall_engine::core::run::RunState;
use landfall_engine::core::summary::RunSummary;
use landfall_engine::ports::{EventStore, ReadError};
use landfall_stages::proxy::{ANSWER_TIME_BOUNDS_MS, ReleaseTraffic, RouteStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::counted::{LANES_MAX, Labels, labels, state_name};

/// Rows of a metric: labels and a value.
type Rows<V> = Vec<(Labels, V)>;

/// How a server stands at this moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Every run to which something is owed.
    pub open: Vec<RunSummary>,
    /// Every lane.
    pub lanes: Vec<(LaneId, Lane)>,
    /// The routes of the traffic proxy. None: it does not answer.
    pub routes: Option<Vec<RouteStatus>>,
    /// How much is free on the disk of the data folder, in bytes. None: the disk does not say.
    pub disk_free_bytes: Option<u64>,
    /// The checks of `/readyz`, and whether each is passed.
    pub checks: Vec<(&'static str, bool)>,
    /// Certificates that could not be taken in.
    pub certificate_problems: usize,
}

impl Snapshot {
    /// Reads what the log shows; the rest is still to be filled in.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the log can't be read.
    pub async fn of_log(store: &dyn EventStore) -> Result<Self, ReadError> {
        let mut open = Vec::new();
        for run in store.open_runs().await? {
            // One whose line can't be read is counted by nobody; the log says so elsewhere.
            open.extend(store.run(run).await?);
        }
        let mut lanes = store.lanes().await?;
        lanes.truncate(LANES_MAX);
        Ok(Self { open, lanes, ..Self::default() })
    }

    fn open_rows(&self) -> Rows<u64> {
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for run in &self.open {
            let stage = run.stage.map_or("none", |stage| stage.name());
            *counts.entry((state_name(run.state), stage)).or_default() += 1;
        }
        let row = |((state, stage), count): ((&str, &str), u64)| {
            (vec![("state", state.to_owned()), ("stage", stage.to_owned())], count)
        };
        counts.into_iter().map(row).collect()
    }

    /// Counts runs by lane. Every lane has a row, so that a zero is told from a gap.
    fn by_lane(&self, counts: impl Fn(&RunSummary, &Lane) -> bool) -> Rows<u64> {
        let rows = self.lanes.iter().map(|(id, lane)| {
            let of_lane = self.open.iter().filter(|run| run.lane == *id && counts(run, lane)).count();
            (labels(&id.app, &id.env), of_lane as u64)
        });
        rows.collect()
    }

    fn releases(&self) -> impl Iterator<Item = (&RouteStatus, &ReleaseTraffic)> {
        let routes = self.routes.iter().flatten();
        routes.flat_map(|status| status.releases.iter().map(move |traffic| (status, traffic)))
    }

    fn request_rows(&self) -> Rows<u64> {
        let rows = self.releases().flat_map(|(status, traffic)| {
            let responses = &traffic.responses;
            let classes = [
                ("1xx", responses.informational),
                ("2xx", responses.success),
                ("3xx", responses.redirection),
                ("4xx", responses.client_error),
                ("5xx", responses.server_error),
                ("none", traffic.unanswered),
            ];
            let of_release = release_labels(status, &traffic.release);
            classes.map(move |(class, count)| {
                ([of_release.clone(), vec![("status", class.into())]].concat(), count)
            })
        });
        rows.collect()
    }

    fn in_flight_rows(&self) -> Rows<u64> {
        let mut rows: BTreeMap<Labels, u64> = BTreeMap::new();
        for status in self.routes.iter().flatten() {
            for target in &status.targets {
                *rows.entry(release_labels(status, &target.release)).or_default() += target.in_flight;
            }
        }
        rows.into_iter().collect()
    }

    fn live_rows(&self) -> Rows<u64> {
        let rows = self.lanes.iter().filter_map(|(id, lane)| {
            let release = lane.live.as_ref()?;
            let mut row = labels(&id.app, &id.env);
            row.push(("release", short(&release.image.digest)));
            row.push(("commit", release.commit.short().to_owned()));
            row.push(("run", release.run.to_string()));
            Some((row, 1))
        });
        rows.collect()
    }

    fn times(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = ("proxy_answer", "How long the apps' answers took to begin");
        let mut metric =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (status, traffic) in self.releases().filter(|(_, traffic)| !traffic.times.within.is_empty()) {
            let times = &traffic.times;
            let bounds = ANSWER_TIME_BOUNDS_MS.iter().map(|ms| *ms as f64 / 1_000.0);
            let mut buckets: Vec<_> = bounds.zip(times.within.iter().copied()).collect();
            let counted: u64 = buckets.iter().map(|(_, count)| count).sum();
            // The counts are read one after the other while requests go on.
            let count = times.count.max(counted);
            buckets.push((f64::INFINITY, count - counted));
            let sum_s = times.sum_us as f64 / 1_000_000.0;
            let labels = release_labels(status, &traffic.release);
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum_s, count, &buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let alone = |value| vec![(Labels::new(), value)];
        let version = vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1)];
        gauge(encoder, "build_info", "Which version answers", None, version)?;
        gauge(
            encoder,
            "runs_open",
            "Runs that are not over, by state and stage in flight",
            None,
            self.open_rows(),
        )?;
        let parked = self.by_lane(|run, _| run.parked.is_some());
        gauge(encoder, "runs_parked", "Runs that wait for a person, by app and environment", None, parked)?;
        let help = "Runs that are ready to deploy and wait for another to leave the lane";
        gauge(encoder, "lane_waiting", help, None, self.by_lane(waits_for_lane))?;
        let held = self.lanes.iter().map(|(id, lane)| (labels(&id.app, &id.env), lane.held.len() as u64));
        gauge(encoder, "commits_held", "Commits that are not to be deployed again", None, held.collect())?;
        gauge(encoder, "live_release_info", "What each app serves", None, self.live_rows())?;
        if let Some(bytes) = self.disk_free_bytes {
            let help = "Free space on the disk of the data folder";
            gauge(encoder, "disk_free", help, Some(&Unit::Bytes), alone(bytes))?;
        }
        let checks =
            self.checks.iter().map(|(name, ok)| (vec![("check", (*name).to_owned())], u64::from(*ok)));
        gauge(encoder, "ready", "The checks of /readyz: 1 is passed", None, checks.collect())?;
        let help = "Certificates whose files can't be used; the ones before them stay in force";
        gauge(encoder, "certificate_problems", help, None, alone(self.certificate_problems as u64))?;
        let up = alone(u64::from(self.routes.is_some()));
        gauge(encoder, "proxy_up", "Whether the traffic proxy answers", None, up)?;
        let help = "Requests begun and not ended, by release";
        gauge(encoder, "proxy_in_flight", help, None, self.in_flight_rows())?;
        let help =
            "Answers by release and class of status since the proxy started; none: the app gave no answer";
        counter(encoder, "proxy_requests", help, self.request_rows())?;
        self.times(encoder)
    }
}

/// Tells whether a run has an image and waits to enter its lane.
fn waits_for_lane(run: &RunSummary, lane: &Lane) -> bool {
    let idle = run.stage.is_none() && run.parked.is_none();
    run.state == RunState::ImagePushed && idle && lane.holder != Some(run.id)
}

fn release_labels(status: &RouteStatus, release: &str) -> Labels {
    [labels(&status.route.app, &status.route.env), vec![("release", short(release))]].concat()
}

/// Returns enough of a digest to tell it from all others.
fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    rows: Rows<u64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    rows.iter().try_for_each(|(labels, value)| ConstGauge::new(*value).encode(metric.encode_family(labels)?))
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, rows: Rows<u64>) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    rows.iter()
        .try_for_each(|(labels, value)| ConstCounter::new(*value).encode(metric.encode_family(labels)?))
}
