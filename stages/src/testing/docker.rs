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
pub(crate) struct FakeDocker(Arc<Mutex<BTreeMap<String, Container>>>);

#[derive(Clone, Debug)]
struct Container {
    labels: BTreeMap<String, String>,
    running: bool,
    port: u16,
}

impl FakeDocker {
    /// Starts one at `socket`.
    pub(crate) fn start(socket: &Path) -> Self {
        let docker = Self::default();
        let containers = docker.0.clone();
        unix(socket, move |request| answer(&mut containers.lock().unwrap(), request));
        docker
    }

    /// Adds a container; its id is `id-<name>`.
    pub(crate) fn add(&self, name: &str, labels: &[(&str, String)], running: bool, port: u16) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.0.lock().unwrap().insert(name.into(), Container { labels, running, port });
    }

    /// Returns the names of the containers, those that run marked with a `+`.
    pub(crate) fn containers(&self) -> Vec<String> {
        let containers = self.0.lock().unwrap();
        let shown = |(name, container): (&String, &Container)| {
            format!("{name}{}", if container.running { "+" } else { "" })
        };
        containers.iter().map(shown).collect()
    }
}

fn answer(containers: &mut BTreeMap<String, Container>, request: &Request) -> Reply {
    let path = request.path().trim_start_matches("/containers/");
    let (name, verb) = path.split_once('/').unwrap_or((path, ""));
    let name = name.trim_start_matches("id-").to_owned();
    match (request.method.as_str(), verb) {
        ("GET", "") if name == "json" => Reply::json(200, &listed(containers, request)),
        _ if !containers.contains_key(&name) => {
            Reply::json(404, &json!({ "message": format!("No such container: {name}") }))
        }
        ("GET", "json") => Reply::json(200, &inspected(&name, &containers[&name])),
        ("POST", "start") => run(containers, &name, true),
        ("POST", "stop") => run(containers, &name, false),
        ("DELETE", "") => {
            containers.remove(&name);
            Reply::new(204, "")
        }
        _ => Reply::json(500, &json!({ "message": format!("not known here: {}", request.target) })),
    }
}

fn run(containers: &mut BTreeMap<String, Container>, name: &str, running: bool) -> Reply {
    if let Some(container) = containers.get_mut(name) {
        container.running = running;
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
    json!({
        "Id": format!("id-{name}"),
        "Config": { "Labels": container.labels },
        "State": { "Status": status, "Running": container.running, "ExitCode": 0 },
        "HostConfig": { "PortBindings": { "8000/tcp": [{ "HostIp": "127.0.0.1", "HostPort": container.port.to_string() }] } },
    })
}
