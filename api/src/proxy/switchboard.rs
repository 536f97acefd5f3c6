//! Where each host's requests go at this moment, and how that changes.
//!
//! ```text
//! switch ──judge──▶ routes.json (durable) ──▶ live table swapped ──▶ former backend closed ──▶ drained, or cut
//! requests ────────────────────pick────────────────▲ (no lock)
//! ```
//!
//! **Invariant:** the new way is open before the old one closes. A request that looked the old way
//! up and comes too late looks again and finds the new one, so a switch fails nobody.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use landfall_engine::core::settings::Mount;
use landfall_stages::proxy::Refusal;
use landfall_stages::proxy::Route;
use landfall_stages::proxy::RouteStatus;
use landfall_stages::proxy::RouteTraffic;
use landfall_stages::proxy::Switched;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backend::Backend;
use super::backend::Ticket;
use super::backend::Traffic;
use super::file::RoutesFile;
use super::front::Front;
use super::history::History;
use super::limits::Limits;
use super::table::Key;
use super::table::Table;
use super::table::Verdict;
use super::table::key_of;
use super::upstream::Upstream;

/// How many releases of an app are counted apart; a few more than anybody keeps warm.
const RELEASES_COUNTED_MAX: usize = 8;
/// How many releases of an app are told apart moment by moment; more than one a quarter of an hour, all day.
const HISTORIES_MAX: usize = 100;

/// The routes in force. Requests read them without a lock; switches come one after the other.
#[derive(Debug)]
pub(super) struct Switchboard {
    pub(super) limits: Limits,
    /// What is believed and asked of those who send requests.
    pub(super) front: Front,
    /// Work that outlives its request: drains, and connections that became something else.
    pub(super) tasks: TaskTracker,
    /// Fires when the process is about to end.
    pub(super) stopping: CancellationToken,
    /// Where this proxy itself takes traffic.
    listen: Vec<SocketAddr>,
    /// Since when requests are counted.
    since_ms: u64,
    live: ArcSwap<Live>,
    state: Mutex<State>,
}

/// Why no container can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nobody {
    /// No app has this host.
    NoSuchApp,
    /// The app is known and serves nothing.
    NothingReleased,
}

#[derive(Debug)]
struct State {
    file: RoutesFile,
    table: Table,
    slots: BTreeMap<Key, Slot>,
}

/// The containers of one app and environment.
#[derive(Debug, Default)]
struct Slot {
    serving: Option<Arc<Backend>>,
    former: Vec<Former>,
    /// The latest release last.
    traffic: Vec<Arc<Traffic>>,
    /// By release and run, the latest last.
    histories: Vec<Arc<History>>,
    /// Of requests that came while nothing was released.
    nobody: Arc<History>,
}

/// A container that lost its traffic and still has requests in flight.
#[derive(Clone, Debug)]
struct Former {
    backend: Arc<Backend>,
    /// The generation that took its traffic away; tells one drain of a backend from the next.
    since: u64,
}

/// What requests look at.
#[derive(Debug, Default)]
struct Live {
    hosts: HashMap<String, Places>,
    any_host: Places,
}

/// The apps of one host, the longest prefix first.
#[derive(Debug, Default)]
struct Places(Vec<Place>);

/// A part of a host's paths. An app that serves nothing is there without a backend.
#[derive(Debug)]
struct Place {
    mount: Option<Arc<Mount>>,
    backend: Option<Arc<Backend>>,
    /// Counts what comes while there is no backend.
    nobody: Arc<History>,
}

/// Who answers a request.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) ticket: Ticket,
    /// By which part of the host's paths it was found.
    pub(super) mount: Option<Arc<Mount>>,
}

impl Switchboard {
    /// Opens the routes kept in `dir`.
    pub(super) fn open(
        dir: &Path,
        listen: Vec<SocketAddr>,
        front: Front,
        limits: Limits,
    ) -> io::Result<Self> {
        let (file, table) = RoutesFile::load(dir)?;
        let mut slots = BTreeMap::<Key, Slot>::new();
        for route in table.routes() {
            slots.entry(key_of(route)).or_default().point_at(route, &limits);
        }
        let state = State { file, table, slots };
        Ok(Self {
            limits,
            front,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            listen,
            since_ms: now_ms(),
            live: ArcSwap::from_pointee(state.live()),
            state: Mutex::new(state),
        })
    }

    /// Finds who answers for `host` (lower case, no port) at `path`, and counts the request in.
    pub(super) fn pick(&self, host: &str, path: &str) -> Result<Picked, Nobody> {
        loop {
            let live = self.live.load();
            let place = live.find(host, path).ok_or(Nobody::NoSuchApp)?;
            let Some(backend) = &place.backend else {
                place.nobody.begin(now_ms()).unanswered();
                return Err(Nobody::NothingReleased);
            };
            if let Some(ticket) = backend.admit() {
                return Ok(Picked { ticket, mount: place.mount.clone() });
            }
            // It was closed between the two lines above, so another way is open by now.
        }
    }

    /// Moves the traffic of a route. Blocks for the disk; must be called within a tokio runtime.
    pub(super) fn switch(self: &Arc<Self>, route: Route) -> Result<Switched, Refusal> {
        let route = route.checked().map_err(|message| Refusal::Invalid { message })?;
        self.refuse_a_loop(&route)?;
        let mut state = self.state();
        if state.table.judge(&route)? == Verdict::AlreadyThere {
            return Ok(Switched { applied: false });
        }
        let table = state.table.with(route.clone());
        state.file.save(&table).map_err(not_saved)?;
        state.table = table;
        let former = state.slots.entry(key_of(&route)).or_default().point_at(&route, &self.limits);
        self.live.store(Arc::new(state.live()));
        if let Some(former) = former {
            former.backend.close();
            self.tasks.spawn(self.clone().drain(key_of(&route), former, route.drain_ms));
        }
        tracing::info!(
            app = route.app,
            env = route.env,
            generation = route.generation,
            target = ?route.target,
            release = route.release,
            run = route.run,
            "traffic switched"
        );
        Ok(Switched { applied: true })
    }

    pub(super) fn status(&self, key: &Key) -> Option<RouteStatus> {
        let state = self.state();
        Some(state.slots.get(key)?.status(state.table.get(key)?.clone()))
    }

    pub(super) fn statuses(&self) -> Vec<RouteStatus> {
        let state = self.state();
        let with_slot = |route: &Route| Some(state.slots.get(&key_of(route))?.status(route.clone()));
        state.table.routes().filter_map(with_slot).collect()
    }

    /// Returns how the requests of a route went from `from_ms` on.
    pub(super) fn traffic(&self, key: &Key, from_ms: u64) -> Option<RouteTraffic> {
        let (generation, histories, nobody) = {
            let state = self.state();
            let slot = state.slots.get(key)?;
            (state.table.get(key)?.generation, slot.histories.clone(), Arc::clone(&slot.nobody))
        };
        let now_ms = now_ms();
        let read = histories.iter().map(|history| history.read(from_ms, now_ms));
        Some(RouteTraffic {
            generation,
            since_ms: self.since_ms,
            now_ms,
            releases: read.filter(|release| !release.buckets.is_empty()).collect(),
            nothing_released: nobody.buckets(from_ms, now_ms),
        })
    }

    /// Waits until the former targets of a route have nothing in flight.
    pub(super) async fn drained(&self, key: &Key) {
        let former = self.state().slots.get(key).map(|slot| slot.former.clone()).unwrap_or_default();
        for former in former {
            former.backend.idle().await;
        }
    }

    /// Waits for a former target to fall idle, and cuts it off when it takes too long.
    async fn drain(self: Arc<Self>, key: Key, former: Former, limit_ms: u64) {
        let limit = tokio::time::sleep(Duration::from_millis(limit_ms));
        let overdue = tokio::select! {
            () = former.backend.idle() => false,
            () = limit => true,
            () = self.stopping.cancelled() => return,
        };
        let mut state = self.state();
        let Some(slot) = state.slots.get_mut(&key) else { return };
        let before = slot.former.len();
        slot.former.retain(|other| !other.is(&former));
        let taken_back = slot.former.len() == before;
        if overdue && !taken_back {
            let in_flight = former.backend.in_flight();
            tracing::warn!(app = key.0, env = key.1, in_flight, "the drain took too long: requests are cut");
            former.backend.cut();
        }
    }

    /// A proxy that is its own container would answer each request by asking itself again.
    fn refuse_a_loop(&self, route: &Route) -> Result<(), Refusal> {
        let Some(target) = route.target else { return Ok(()) };
        let is_here = |here: &SocketAddr| {
            let same_host =
                here.ip() == target.ip() || (here.ip().is_unspecified() && target.ip().is_loopback());
            same_host && target.port() == here.port()
        };
        if self.listen.iter().any(is_here) {
            return Err(Refusal::Invalid { message: format!("the target {target} is this proxy itself") });
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each step under the lock leaves the state whole, so a panic elsewhere must not stop switches.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn live(&self) -> Live {
        let mut live = Live::default();
        for route in self.table.routes() {
            let Some(slot) = self.slots.get(&key_of(route)) else { continue };
            let places = match &route.host {
                Some(host) => live.hosts.entry(host.clone()).or_default(),
                None => &mut live.any_host,
            };
            places.put(route.mount.as_ref(), slot);
        }
        live
    }
}

impl Live {
    /// Finds the app of a host and a path: its own host's before one that answers for any.
    fn find(&self, host: &str, path: &str) -> Option<&Place> {
        self.hosts.get(host).and_then(|places| places.find(path)).or_else(|| self.any_host.find(path))
    }
}

impl Places {
    fn find(&self, path: &str) -> Option<&Place> {
        self.0.iter().find(|place| place.mount.as_ref().is_none_or(|mount| mount.has(path)))
    }

    fn put(&mut self, mount: Option<&Mount>, slot: &Slot) {
        let prefix = |mount: Option<&Mount>| mount.map_or(0, |mount| mount.prefix.len());
        let same = |place: &Place| place.mount.as_deref().map(|m| &m.prefix) == mount.map(|m| &m.prefix);
        let (backend, nobody) = (slot.serving.clone(), Arc::clone(&slot.nobody));
        let place = Place { mount: mount.cloned().map(Arc::new), backend, nobody };
        match self.0.iter().position(same) {
            // Of those with one place only one serves; the others must not hide it.
            Some(at) if place.backend.is_some() => self.0[at] = place,
            Some(_) => {}
            None => {
                let at = self.0.partition_point(|other| prefix(other.mount.as_deref()) >= prefix(mount));
                self.0.insert(at, place);
            }
        }
    }
}

impl Slot {
    /// Makes `route` the one that serves; returns the backend that has to make room.
    fn point_at(&mut self, route: &Route, limits: &Limits) -> Option<Former> {
        if let Some(backend) = self.serving.as_ref().filter(|backend| runs(backend, route)) {
            backend.history.serves(route.generation);
            return None;
        }
        let next = route.target.map(|target| {
            self.take_back(route).unwrap_or_else(|| {
                let upstream = Upstream::new(target, limits.connect);
                let (traffic, history) = (self.traffic_of(&route.release), self.history_of(route));
                Arc::new(Backend::new(target, traffic, history, upstream))
            })
        });
        next.iter().for_each(|backend| backend.history.serves(route.generation));
        let backend = std::mem::replace(&mut self.serving, next)?;
        let former = Former { backend, since: route.generation };
        self.former.push(former.clone());
        Some(former)
    }

    /// Returns the backend of `route` when it is one that still drains, and opens it again.
    fn take_back(&mut self, route: &Route) -> Option<Arc<Backend>> {
        let index = self.former.iter().position(|former| runs(&former.backend, route))?;
        let backend = self.former.swap_remove(index).backend;
        backend.reopen();
        Some(backend)
    }

    fn traffic_of(&mut self, release: &str) -> Arc<Traffic> {
        let known = self.traffic.iter().position(|traffic| traffic.release == release);
        let traffic = match known {
            Some(index) => self.traffic.remove(index),
            None => Arc::new(Traffic::of(release)),
        };
        if self.traffic.len() >= RELEASES_COUNTED_MAX {
            self.traffic.remove(0);
        }
        self.traffic.push(traffic.clone());
        traffic
    }

    fn history_of(&mut self, route: &Route) -> Arc<History> {
        let is_it = |history: &Arc<History>| history.release == route.release && history.run == route.run;
        let history = match self.histories.iter().position(is_it) {
            Some(index) => self.histories.remove(index),
            None => Arc::new(History::of(&route.release, &route.run)),
        };
        if self.histories.len() >= HISTORIES_MAX {
            self.histories.remove(0);
        }
        self.histories.push(history.clone());
        history
    }

    fn status(&self, route: Route) -> RouteStatus {
        let serving = self.serving.iter().map(|backend| backend.status(false));
        let former = self.former.iter().map(|former| former.backend.status(true));
        RouteStatus {
            route,
            targets: serving.chain(former).collect(),
            releases: self.traffic.iter().map(|traffic| traffic.read()).collect(),
        }
    }
}

impl Former {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend) && self.since == other.since
    }
}

fn runs(backend: &Backend, route: &Route) -> bool {
    Some(backend.target) == route.target && backend.release == route.release && backend.run == route.run
}

/// Returns the wall clock, in milliseconds since 1970: what is counted is laid beside the times in the log.
pub(super) fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

fn not_saved(error: io::Error) -> Refusal {
    tracing::error!(%error, "the route table could not be written: nothing was switched");
    Refusal::NotSaved { message: format!("the route table could not be written: {error}") }
}
