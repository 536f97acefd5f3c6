//! What runs beside the tests, where the source says that its tests need it: the services of a workflow on GitHub, else
//! those of a compose file that the tests speak of.
//!
//! No YAML parser: what is read is `services:`, the names below it, their `image:`, and variables that name a database.

use std::collections::BTreeMap;

use super::source::Source;

/// What the tests need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Services {
    /// Name to image.
    pub(crate) images: BTreeMap<String, String>,
    /// Variables by which the tests find them.
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) file: String,
}

/// Compose files, those for the tests first.
const COMPOSE_FILES: [&str; 7] = [
    "docker-compose.test.yml",
    "docker-compose.ci.yml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-compose.dev.yml",
];

/// Images that tests ask for, and the words by which it is seen.
const ASKED_FOR: [(&str, &[&str]); 8] = [
    ("postgres", &["postgres", "psycopg", "pg8000"]),
    ("mysql", &["mysql"]),
    ("mariadb", &["mariadb", "mysql"]),
    ("redis", &["redis"]),
    ("mongo", &["mongo"]),
    ("rabbitmq", &["rabbitmq", "amqp"]),
    ("memcached", &["memcache"]),
    ("elasticsearch", &["elasticsearch"]),
];

/// Returns what the tests need.
pub(crate) fn find(source: &Source) -> Option<Services> {
    of_workflow(source).or_else(|| of_compose(source))
}

/// The services of a compose file, where a test speaks of their kind or of a variable that leads to them. Others are the
/// app's own affair: a service that no test uses would only cost its start.
fn of_compose(source: &Source) -> Option<Services> {
    let is_test = |path: &str| path.split('/').any(|part| part.starts_with("test") || part == "conftest.py");
    let tests: Vec<String> = source
        .python_texts()
        .into_iter()
        .filter(|(path, _)| is_test(path))
        .map(|(_, text)| text.to_lowercase())
        .collect();
    let speak_of = |word: &str| tests.iter().any(|text| text.contains(&word.to_lowercase()));
    COMPOSE_FILES.iter().find_map(|file| {
        let text = source.text(file)?;
        let mut images = images(&text);
        let mut variables = variables(&text, &images);
        images.retain(|name, image| {
            let kind = image.rsplit('/').next().unwrap_or_default().split([':', '@']).next();
            let words = ASKED_FOR.iter().find(|(known, _)| Some(*known) == kind).map(|(_, words)| *words);
            let leads_here =
                |(variable, value): (&String, &String)| is_host(value, name) && speak_of(variable);
            words.is_some_and(|words| {
                words.iter().any(|word| speak_of(word)) || variables.iter().any(leads_here)
            })
        });
        variables.retain(|_, value| images.keys().any(|name| is_host(value, name)));
        (!images.is_empty()).then(|| Services { images, variables, file: (*file).to_owned() })
    })
}

fn is_host(url: &str, name: &str) -> bool {
    url.split(['@', '/', ':', '?']).any(|part| part == name)
}

/// Returns the services of the first workflow that runs tests with some.
fn of_workflow(source: &Source) -> Option<Services> {
    let is_workflow = |path: &&str| {
        path.starts_with(".github/workflows/") && (path.ends_with(".yml") || path.ends_with(".yaml"))
    };
    source.files().filter(is_workflow).find_map(|path| {
        let text = source.text(path).filter(|text| {
            text.contains("pytest") || text.contains("unittest") || text.contains("flask test")
        })?;
        let images = images(&text);
        let variables = variables(&text, &images);
        (!images.is_empty()).then(|| Services { images, variables, file: path.to_owned() })
    })
}

fn images(text: &str) -> BTreeMap<String, String> {
    let mut images = BTreeMap::new();
    let mut services: Option<usize> = None;
    let mut name: Option<(usize, String)> = None;
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default();
        let (indent, line) = (line.len() - line.trim_start().len(), line.trim());
        if line.is_empty() {
            continue;
        }
        if services.is_some_and(|at| indent <= at) {
            (services, name) = (None, None);
        }
        if line == "services:" {
            services = Some(indent);
            continue;
        }
        if services.is_none() {
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        match &name {
            Some((at, name)) if indent > *at => {
                let name = name.replace('_', "-");
                if key == "image" && !value.contains("${") && !value.is_empty() && is_name(&name) {
                    images.insert(name, value.to_owned());
                }
            }
            _ => name = Some((indent, key.to_owned())),
        }
    }
    images
}

/// What the configuration takes for the name of a service.
fn is_name(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=40).contains(&name.len())
        && name.bytes().all(is_plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Ports on which services are reached on their own network, whatever port a workflow's machine had for them.
const PORTS: [(&str, u16); 7] = [
    ("postgres", 5432),
    ("mysql", 3306),
    ("mariadb", 3306),
    ("redis", 6379),
    ("mongodb", 27_017),
    ("amqp", 5672),
    ("http", 9200),
];

/// Returns an address that leads to a service by its name, and to its own port.
fn led_to(service: &str, kind: &str, value: &str) -> String {
    let mut led = value.replace(&service.replace('-', "_"), service);
    for machine in ["localhost", "127.0.0.1"] {
        let Some(at) = led.find(machine) else { continue };
        let rest = &led[at + machine.len()..];
        let given =
            rest.strip_prefix(':').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        let own = PORTS
            .iter()
            .find(|(known, _)| *known == kind)
            .filter(|_| given > 0)
            .map(|(_, port)| port.to_string());
        let port = own.unwrap_or_else(|| rest.get(1..=given).unwrap_or_default().to_owned());
        let colon = if given > 0 { ":" } else { "" };
        let after = rest.get(if given > 0 { given + 1 } else { 0 }..).unwrap_or_default();
        led = format!("{}{service}{colon}{port}{after}", &led[..at]);
    }
    led
}

/// A service is reached by its name, not as the workflow's own machine.
fn variables(text: &str, images: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        // Compose files have `- NAME=value` as well.
        let line = line.trim().trim_start_matches("- ");
        let Some((name, value)) = line.split_once(": ").or_else(|| line.split_once('=')) else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        let is_variable = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        let kind = value.split(['+', ':']).next().unwrap_or_default();
        if !is_variable || value.contains([' ', '\t']) || value.contains("${") || !value.contains("://") {
            continue;
        }
        let kind = if kind == "postgresql" { "postgres" } else { kind };
        let service = images.iter().find(|(name, image)| {
            image.contains(kind) || name.contains(kind) || (kind == "mysql" && image.contains("mariadb"))
        });
        if let Some((service, _)) = service.filter(|_| !kind.is_empty()) {
            found.insert(name.to_owned(), led_to(service, kind, value));
        }
    }
    found
}
