//! What a source says of how it is tested, built and served, where no configuration does.
//!
//! ```text
//! files ──▶ manifest, entry, version, tests, web, … ──▶ findings: a key, its value, the reason
//! ```
//!
//! Pure: reads a folder and returns values. **Nothing of the source is ever run here**, no link is followed, and no file,
//! however odd, is more than a finding that is not made.

mod container;
mod health;
mod image;
mod imports;
mod manifest;
mod modules;
mod own_server;
mod packages;
mod pins;
pub(crate) mod poetry;
mod procfile;
mod python;
mod release;
mod services;
mod source;
mod tests;
mod version;
mod web;

#[cfg(test)]
#[path = "detect/shapes.rs"]
mod shapes;

use std::collections::BTreeSet;

use landfall_engine::core::facts::Guess;
use landfall_engine::core::settings::Settings;
use toml::Value;

pub(crate) use image::recipe as image_recipe;
pub(crate) use manifest::Kind;
pub(crate) use manifest::Manifest;
pub(crate) use manifest::is_requirements;
pub(crate) use manifest::is_test_group;
pub(crate) use packages::at_run_time;
pub(crate) use pins::needs_setuptools;
pub(crate) use pins::older_than;
pub(crate) use source::Source;

use modules::Entry;
use release::{Preparation, Told};
use web::Web;

/// What one line says at most.
const TEXT_CHARS_MAX: usize = 400;
/// An event holds so many with ease.
const FINDINGS_MAX: usize = 40;

/// A setting that the source suggests, or something else that it says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    /// `test.command`; without a dot it is no setting, but a remark.
    pub(crate) key: &'static str,
    pub(crate) value: Value,
    pub(crate) reason: String,
}

impl Finding {
    fn new(key: &'static str, value: impl Into<Value>, reason: impl Into<String>) -> Self {
        Self { key, value: value.into(), reason: reason.into() }
    }

    /// Tells whether it is a setting, which can be written down.
    pub(crate) fn is_setting(&self) -> bool {
        self.key.contains('.')
    }

    /// Returns the value as a configuration has it.
    pub(crate) fn written(&self) -> String {
        self.value.to_string()
    }

    /// Returns it as it is recorded.
    pub(crate) fn guess(&self) -> Guess {
        let value = match &self.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let short = |text: &str| crate::lines::clip(text, TEXT_CHARS_MAX);
        Guess { key: self.key.to_owned(), value: short(&value), reason: short(&self.reason) }
    }
}

/// What people wrote down: it is never guessed over.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    /// The settings that they make, with defaults for the rest.
    pub(crate) settings: &'a Settings,
    /// Their keys: `test.command`.
    pub(crate) keys: &'a BTreeSet<String>,
}

impl Written<'_> {
    fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Tells whether the app is told, in any environment, of a database that is not a file of its own.
    fn has_database(&self) -> bool {
        self.names_any(&["DATABASE", "DB_", "POSTGRES", "PGHOST", "MYSQL", "SQL"])
    }

    /// Tells whether anything that the app is told might lead it to a database elsewhere. What empties or fills a database
    /// is then nothing to guess.
    fn may_have_database(&self) -> bool {
        let words = [
            "DB", "SQL", "PG", "MARIA", "MONGO", "ORACLE", "DSN", "URI", "URL", "HOST", "CONFIG", "SETTINGS",
        ];
        let has_files = |settings: &Settings| !settings.env.files.is_empty();
        self.has_database()
            || self.names_any(&words)
            || self.everywhere().any(|settings| has_files(&settings))
    }

    fn names_any(&self, words: &[&str]) -> bool {
        self.everywhere().any(|settings| {
            let mut names =
                settings.env.clear.keys().chain(&settings.env.secret).map(|name| name.to_uppercase());
            names.any(|name| words.iter().any(|word| name.contains(word)))
        })
    }

    /// Returns the settings of each environment.
    fn everywhere(&self) -> impl Iterator<Item = Settings> {
        let named = self.settings.environments.named.keys();
        let of_one = |name: &String| self.settings.clone().for_environment(name);
        std::iter::once(self.settings.clone()).chain(named.map(of_one))
    }
}

/// Returns what the source says and nobody wrote down.
pub(crate) fn find(source: &Source, written: &Written<'_>) -> Vec<Finding> {
    let manifest = Manifest::of(source);
    let entry = modules::find(source);
    let mut found = Vec::new();
    dependencies(source, &manifest, &mut found);
    python(source, &manifest, written, &mut found);
    testing(source, &manifest, written, &mut found);
    if let Some((packages, reason)) = packages::find(source, &manifest) {
        found.push(Finding::new("build.packages", packages, reason));
    }
    serving(source, &manifest, entry.as_ref(), written, &mut found);
    healthy(source, written, &mut found);
    if let Some((file, names)) = procfile::example(source) {
        let names = names.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
        let reason =
            format!("{file} names them: give what the app needs in [env], or by `landfall secret set`");
        found.push(Finding::new("variables", names, reason));
    }
    found.retain(|finding| !written.has(finding.key) && !finding.value.to_string().is_empty());
    found.truncate(FINDINGS_MAX);
    found
}

fn dependencies(source: &Source, manifest: &Manifest, found: &mut Vec<Finding>) {
    let (said, reason) = match &manifest.kind {
        Kind::Uv => ("uv.lock".to_owned(), "it pins every version"),
        Kind::Poetry if source.has(&manifest.path("poetry.lock")) => {
            ("poetry.lock".into(), "it pins every version")
        }
        Kind::Poetry => ("pyproject.toml".into(), "[tool.poetry] lists them"),
        Kind::PipfileLock => ("Pipfile.lock".into(), "it pins every version"),
        Kind::Pipfile => ("Pipfile".into(), "there is no lock file beside it"),
        Kind::Requirements { app, tests } => {
            let all: Vec<String> = app.iter().chain(tests).map(|file| manifest.path(file)).collect();
            let reason = if tests.is_empty() {
                "pip installs what it lists"
            } else {
                "the last ones are for the tests alone"
            };
            (all.join(", "), reason)
        }
        Kind::Project => ("pyproject.toml".into(), "[project] lists them"),
        Kind::Setup => ("setup.py or setup.cfg".into(), "it lists them"),
        Kind::Imports(packages) if packages.is_empty() => return,
        Kind::Imports(packages) => (packages.join(", "), "the source imports them and lists them nowhere"),
    };
    found.push(Finding::new("dependencies", said, reason));
    let older = older_than(manifest);
    if !older.is_empty() {
        let reason = "versions in the app's list need these older ones, and do not say so";
        found.push(Finding::new("constraints", older.join(" "), reason));
    }
}

fn python(source: &Source, manifest: &Manifest, written: &Written<'_>, found: &mut Vec<Finding>) {
    let Some(version) = version::find(source, manifest) else { return };
    found.push(Finding::new("test.image", version.image(), version.reason.clone()));
    if !source.is_file(&written.settings.build.dockerfile) {
        found.push(Finding::new("build.image", version.image(), version.reason));
    }
}

fn testing(source: &Source, manifest: &Manifest, written: &Written<'_>, found: &mut Vec<Finding>) {
    if !written.has("test.command") {
        let tests = tests::find(source, manifest);
        if tests.none {
            let reason = "no tests were found, so nothing is tested: add some, and this guess is gone";
            found.push(Finding::new("test.allow_none", true, reason));
        } else {
            found.push(Finding::new("test.command", tests.command, tests.reason));
        }
    }
    // On the host there is no network that they could be reached on.
    let Some(services) = services::find(source).filter(|_| !written.settings.test.host) else { return };
    let table = |values: &std::collections::BTreeMap<String, String>| {
        let pairs = values.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        Value::Table(pairs.collect())
    };
    let reason = format!("{} has them for the tests", services.file);
    found.push(Finding::new("test.services", table(&services.images), reason));
    if !services.variables.is_empty() {
        let reason = format!("{} sets them", services.file);
        found.push(Finding::new("test.env", table(&services.variables), reason));
    }
}

fn serving(
    source: &Source,
    manifest: &Manifest,
    entry: Option<&Entry>,
    written: &Written<'_>,
    found: &mut Vec<Finding>,
) {
    let dockerfile = &written.settings.build.dockerfile;
    let preparation = release::find(
        source,
        entry,
        Told { has_database: written.has_database(), may_have_database: written.may_have_database() },
    );
    if source.is_file(dockerfile) {
        let said = container::read(source, dockerfile, entry);
        if let Some((port, reason)) = said.port {
            found.push(Finding::new("proxy.app_port", i64::from(port), reason));
        }
        // What such an image needs before it serves is its own affair, but for what the Procfile says.
        if let Some(Preparation::Release { command, reason }) = preparation.filter(|_| source.has("Procfile"))
        {
            found.push(Finding::new("release.command", command, reason));
        }
        return;
    }
    let web = web::find(source, manifest, entry);
    let mut prefix = String::new();
    let mut because = String::new();
    match preparation {
        Some(Preparation::Release { command, reason }) => {
            found.push(Finding::new("release.command", command, reason))
        }
        Some(Preparation::AtStart { command, reason }) => {
            prefix = command;
            because = format!("; {reason}");
        }
        None => {}
    }
    let Some(Web { command, reason, port, .. }) = web else { return };
    if let Some((port, reason)) = port {
        found.push(Finding::new("proxy.app_port", i64::from(port), reason));
    }
    let joined = if prefix.is_empty() { command } else { format!("{prefix}{}", exec(&command)) };
    found.push(Finding::new("web.command", joined, format!("{reason}{because}")));
}

fn healthy(source: &Source, written: &Written<'_>, found: &mut Vec<Finding>) {
    if written.has("proxy.healthcheck.path") || written.has("proxy.path_prefix") {
        return;
    }
    let (path, reason) = match health::find(source) {
        Some((path, file)) => (path, format!("{file} has this route")),
        None => ("/".to_owned(), "no route of the source is called as health checks are".to_owned()),
    };
    found.push(Finding::new("proxy.healthcheck.path", path, reason));
    let reason = "the path is a guess, and any answer but a server error shows that the app serves";
    found.push(Finding::new("proxy.healthcheck.any_answer", true, reason));
}

/// Returns a shell command that takes the place of its shell, so that signals reach it.
pub(crate) fn exec(command: &str) -> String {
    let first = command.split_whitespace().next().unwrap_or_default();
    let quoted: String = command.split(['"', '\'']).step_by(2).collect();
    let is_compound = quoted.contains(['&', '|', ';', '\n', '<', '>', '(']);
    let is_builtin = matches!(
        first,
        "" | "exec" | "cd" | "export" | "set" | "." | "if" | "for" | "while" | "{" | "[" | "eval"
    );
    match first.contains('=') {
        _ if is_compound || is_builtin => command.to_owned(),
        true => format!("exec env {command}"),
        false => format!("exec {command}"),
    }
}

/// Returns what a generated image installs to serve this source with the command.
pub(crate) fn servers(source: &Source, manifest: &Manifest, command: &str) -> Vec<&'static str> {
    let uses_socketio = source.python_texts().iter().any(|(_, text)| text.contains("SocketIO("));
    let known = ["gunicorn", "waitress", "uvicorn", "uwsgi", "gevent", "eventlet", "hypercorn"];
    let word = |name: &&&str| {
        command
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .any(|word| word.trim_end_matches("-serve") == **name)
    };
    let mut servers: Vec<&'static str> = known.iter().filter(word).copied().collect();
    if uses_socketio && command.contains("--threads") {
        servers.push("simple-websocket");
    }
    servers.retain(|name| !manifest.names(name));
    servers
}

/// Returns the command that serves a source of which nobody said it.
pub(crate) fn web_command(source: &Source, manifest: &Manifest) -> Option<String> {
    web::find(source, manifest, modules::find(source).as_ref()).map(|web| web.command)
}
