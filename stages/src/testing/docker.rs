//! A Docker engine that knows containers, and nothing of what is in them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use serde_json::Value;
use serde_json::json;

use super::server::Reply;
use super::server::Request;
use super::server::unix;

/// A Docker engine; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeDocker(Arc<Mutex<Engine>>);

#[derive(Debug, Default)]
struct Engine {
    containers: BTreeMap<String, Container>,
    is_away: bool,
}

#[derive(Clone, Debug)]
struct Container {
    labels: BTreeMap<String, String>,
    running: bool,
    port: u16,
    /// After exits of its own, since it was last started otherwise.
    restarts: u32,
    /// How often it was started at all, which is also the second in which that happened.
    starts: u32,
    /// It was told to end, and does so when it is waited for.
    is_ending: bool,
    /// Files were laid into it before it was started.
    has_files: bool,
}

impl Container {
    fn start(&mut self, restarts: u32) {
        *self = Self { running: true, restarts, starts: self.starts + 1, ..self.clone() };
    }
}

impl FakeDocker {
    /// Starts one at `socket`.
    pub(crate) fn start(socket: &Path) -> Self {
        let docker = Self::default();
        let engine = docker.0.clone();
        unix(socket, move |request| {
            let mut engine = engine.lock().unwrap();
            if engine.is_away { Reply::HangUp } else { answer(&mut engine.containers, request) }
        });
        docker
    }

    /// Adds a container; its id is `id-<name>`.
    pub(crate) fn add(&self, name: &str, labels: &[(&str, String)], running: bool, port: u16) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let container =
            Container { labels, running, port, restarts: 0, starts: 1, is_ending: false, has_files: false };
        self.0.lock().unwrap().containers.insert(name.into(), container);
    }

    /// Goes away, or comes back.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.0.lock().unwrap().is_away = is_away;
    }

    /// Ends the app of a container by itself, and starts it again as Docker does then.
    pub(crate) fn crash(&self, name: &str) {
        self.change(name, |container| container.start(container.restarts + 1));
    }

    /// Stops a container, as a person does.
    pub(crate) fn stop(&self, name: &str) {
        self.change(name, |container| container.running = false);
    }

    /// Tells a container to end, which it does when it is waited for.
    pub(crate) fn begin_stop(&self, name: &str) {
        self.change(name, |container| container.is_ending = true);
    }

    /// Starts a container again from outside, as a person does, or a Docker engine that came back.
    pub(crate) fn restart(&self, name: &str) {
        self.change(name, |container| container.start(0));
    }

    /// Removes a container.
    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().unwrap().containers.remove(name);
    }

    /// Tells whether files were laid into a container before it was started.
    pub(crate) fn has_files(&self, name: &str) -> bool {
        self.0.lock().unwrap().containers.get(name).is_some_and(|container| container.has_files)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Container)) {
        change(self.0.lock().unwrap().containers.get_mut(name).unwrap());
    }

    /// Returns the names of the containers, those that run marked with a `+`.
    pub(crate) fn containers(&self) -> Vec<String> {
        let containers = &self.0.lock().unwrap().containers;
        let shown = |(name, container): (&String, &Container)| {
            format!("{name}{}", if container.running { "+" } else { "" })
        };
        containers.iter().map(shown).collect()
    }
}

fn answer(containers: &mut BTreeMap<String, Container>, request: &Request) -> Reply {
    if request.path().starts_with("/images/") {
        return Reply::json(200, &json!({ "Id": "sha256:there" }));
    }
    if let Some(name) = request.target.strip_prefix("/containers/create?name=") {
        return created(containers, name, request);
    }
    let path = request.path().trim_start_matches("/containers/");
    let (name, verb) = path.split_once('/').unwrap_or((path, ""));
    let name = name.trim_start_matches("id-").to_owned();
    match (request.method.as_str(), verb) {
        ("GET", "") if name == "json" => Reply::json(200, &listed(containers, request)),
        _ if !containers.contains_key(&name) => {
            Reply::json(404, &json!({ "message": format!("No such container: {name}") }))
        }
        ("PUT", "archive") => {
            let laid = containers.get_mut(&name).filter(|container| !container.running);
            laid.map_or(Reply::new(500, ""), |container| {
                container.has_files = true;
                Reply::new(200, "")
            })
        }
        ("GET", "json") => Reply::json(200, &inspected(&name, &containers[&name])),
        ("POST", verb) if ["start", "stop", "wait"].contains(&verb) => {
            containers.get_mut(&name).map_or(Reply::new(404, ""), |container| told(container, verb))
        }
        ("DELETE", "") => {
            containers.remove(&name);
            Reply::new(204, "")
        }
        _ => Reply::json(500, &json!({ "message": format!("not known here: {}", request.target) })),
    }
}

fn created(containers: &mut BTreeMap<String, Container>, name: &str, request: &Request) -> Reply {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = body["Labels"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value)));
    let port = text(&body["HostConfig"]["PortBindings"]["8000/tcp"][0]["HostPort"]).parse().unwrap();
    let container = Container {
        labels: labels.collect(),
        running: false,
        port,
        restarts: 0,
        starts: 0,
        is_ending: false,
        has_files: false,
    };
    let name = name.split('&').next().unwrap();
    containers.insert(name.to_owned(), container);
    // Docker gives it another id than the one before it had.
    Reply::json(201, &json!({ "Id": format!("another-{name}"), "Warnings": [] }))
}

fn told(container: &mut Container, verb: &str) -> Reply {
    match verb {
        "start" if !container.running => container.start(0),
        "stop" => container.running = false,
        "wait" if container.running && !container.is_ending => return Reply::Silence,
        "wait" => {
            container.running = false;
            return Reply::json(200, &json!({ "StatusCode": 0 }));
        }
        _ => {}
    }
    Reply::new(204, "")
}

fn listed(containers: &BTreeMap<String, Container>, request: &Request) -> Value {
    let filters = crate::secrets::percent_decoded(&request.target).replace('+', " ");
    let has = |(_, container): &(&String, &Container)| {
        let asked = |(label, value): (&String, &String)| filters.contains(&format!("\"{label}={value}\""));
        // Those of another run have another value in the place that is asked for.
        container.labels.iter().all(asked)
    };
    let shown = |(name, container): (&String, &Container)| json!({ "Id": format!("id-{name}"), "Names": [format!("/{name}")], "Labels": container.labels });
    containers.iter().filter(has).map(shown).collect()
}

fn inspected(name: &str, container: &Container) -> Value {
    let status = if container.running { "running" } else { "exited" };
    let at = |second: u32| format!("2026-11-27T04:19:{second:02}.984447257Z");
    let has_ended = !container.running || container.starts > 1;
    let finished = if has_ended { at(container.starts) } else { "0001-01-01T00:00:00Z".to_owned() };
    json!({
        "Id": format!("id-{name}"),
        "Config": { "Labels": container.labels },
        "RestartCount": container.restarts,
        "State": {
            "Status": status, "Running": container.running, "ExitCode": 0,
            "StartedAt": at(container.starts), "FinishedAt": finished,
        },
        "HostConfig": { "PortBindings": { "8000/tcp": [{ "HostIp": "127.0.0.1", "HostPort": container.port.to_string() }] } },
    })
}
