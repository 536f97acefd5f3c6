//! A traffic proxy with one app, by the rules of the real one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use super::server::Reply;
use super::server::Request;
use super::server::tcp;
use super::server::unix;
use crate::proxy::ADMIN_SOCKET;
use crate::proxy::PROBE_HEADER;
use crate::proxy::ProxyInfo;
use crate::proxy::RELEASE_HEADER;
use crate::proxy::Refusal;
use crate::proxy::Route;
use crate::proxy::RouteStatus;
use crate::proxy::SPEAKS;
use crate::proxy::Switched;

/// A proxy; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct FakeProxy {
    state: Arc<Mutex<State>>,
    /// Where its traffic comes in.
    pub(crate) public: SocketAddr,
}

#[derive(Debug)]
struct State {
    route: Option<Route>,
    host_taken_by: Option<String>,
    /// What the app answers through the proxy.
    app: Reply,
    switches: Vec<Route>,
}

impl FakeProxy {
    /// Starts one with its admin socket in `dir`.
    pub(crate) async fn start(dir: &Path) -> Self {
        let state =
            State { route: None, host_taken_by: None, app: Reply::new(200, "hello"), switches: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let traffic = state.clone();
        let (public, _) = tcp(move |request| through(&traffic.lock().unwrap(), request)).await;
        let admin = state.clone();
        unix(&dir.join(ADMIN_SOCKET), move |request| administer(&mut admin.lock().unwrap(), public, request));
        Self { state, public }
    }

    /// Puts a route in force, whatever was there.
    pub(crate) fn set(&self, route: Option<Route>) {
        self.state.lock().unwrap().route = route;
    }

    /// Gives the host to another app.
    pub(crate) fn take_host(&self, by: &str) {
        self.state.lock().unwrap().host_taken_by = Some(by.into());
    }

    /// Changes what the app answers.
    pub(crate) fn app_answers(&self, reply: Reply) {
        self.state.lock().unwrap().app = reply;
    }

    /// Returns the route in force.
    pub(crate) fn route(&self) -> Option<Route> {
        self.state.lock().unwrap().route.clone()
    }

    /// Returns the switches that were applied.
    pub(crate) fn switches(&self) -> Vec<Route> {
        self.state.lock().unwrap().switches.clone()
    }
}

fn through(state: &State, request: &Request) -> Reply {
    match state.route.as_ref().filter(|route| route.target.is_some()) {
        None if state.route.is_some() => Reply::new(503, "landfall proxy: nothing is released here yet"),
        None => Reply::new(404, "landfall proxy: no app has this host"),
        Some(Route { mount: Some(mount), .. }) if !mount.has(&request.target) => {
            Reply::new(404, "landfall proxy: no app has this host")
        }
        Some(route) if request.header(PROBE_HEADER).is_some() => {
            state.app.clone().with(RELEASE_HEADER, &route.release)
        }
        Some(_) => state.app.clone(),
    }
}

fn administer(state: &mut State, public: SocketAddr, request: &Request) -> Reply {
    let status = |route: &Route| RouteStatus { route: route.clone(), targets: vec![], releases: vec![] };
    let of_shop = request.path().starts_with("/v1/routes/shop/production");
    match (request.method.as_str(), request.path(), &state.route) {
        ("GET", "/v1/proxy", _) => Reply::json(
            200,
            &ProxyInfo {
                pid: 1,
                version: "0".into(),
                listen: public,
                started_at_ms: 0,
                speaks: SPEAKS,
                tls: None,
                trusts: Vec::new(),
            },
        ),
        ("GET", "/v1/routes", route) => Reply::json(200, &route.iter().map(status).collect::<Vec<_>>()),
        ("GET", _, Some(route)) if of_shop => Reply::json(200, &status(route)),
        ("PUT", "/v1/routes/shop/production", _) => {
            switch(state, serde_json::from_str(&request.body).unwrap())
        }
        _ => Reply::json(404, &Refusal::NotFound { message: "no such route".into() }),
    }
}

fn switch(state: &mut State, route: Route) -> Reply {
    let route = match route.checked() {
        Ok(route) => route,
        Err(message) => return Reply::json(400, &Refusal::Invalid { message }),
    };
    if let Some(by) = &state.host_taken_by {
        return Reply::json(409, &Refusal::HostTaken { message: "taken".into(), by: by.clone() });
    }
    match &state.route {
        Some(current) if *current == route => return Reply::json(200, &Switched { applied: false }),
        Some(current) if current.generation >= route.generation => {
            let current = current.generation;
            return Reply::json(409, &Refusal::StaleGeneration { message: "stale".into(), current });
        }
        _ => {}
    }
    state.switches.push(route.clone());
    state.route = Some(route);
    Reply::json(200, &Switched { applied: true })
}
