//! What serves the app: the command that its author wrote down, or gunicorn on the app that the source has.
//!
//! ```text
//! Procfile `web:` ──▶ as it is        FLASK_APP, wsgi.py, app.py, a package … ──▶ module:object ──▶ gunicorn
//! ```

use super::manifest::Manifest;
use super::modules::{Entry, Start};
use super::procfile;
use super::source::Source;

/// Where gunicorn's own settings are usually kept. It finds the first one by itself.
const GUNICORN_FILES: [&str; 7] = [
    "gunicorn.conf.py",
    "gunicorn_config.py",
    "gunicorn_conf.py",
    "gunicorn.py",
    "gunicorn.config.py",
    "config/gunicorn.py",
    "conf/gunicorn.conf.py",
];

/// What serves the app, and why it is believed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Web {
    /// A shell command.
    pub(crate) command: String,
    /// Why.
    pub(crate) reason: String,
    /// The port that it listens on by itself, whatever `PORT` says.
    pub(crate) port: Option<(u16, String)>,
}

/// Returns what serves the app. None: nothing was found that could.
pub(crate) fn find(source: &Source, manifest: &Manifest, entry: Option<&Entry>) -> Option<Web> {
    if let Some(web) = of_procfile(source, entry) {
        return Some(web);
    }
    let entry = entry?;
    Some(match &entry.start {
        Start::Served { object } => gunicorn(source, manifest, entry, object),
        Start::Script => script(entry),
    })
}

/// The author's own words, unless they start Flask's server where nobody outside the container reaches it.
fn of_procfile(source: &Source, entry: Option<&Entry>) -> Option<Web> {
    let text = source.text("Procfile")?;
    let command = procfile::process(&text, "web")?;
    let words: Vec<&str> = command.split_whitespace().collect();
    let starts_python = words.first().is_some_and(|word| word.starts_with("python")) && words.len() == 2;
    let is_served = matches!(entry, Some(Entry { start: Start::Served { .. }, .. }));
    if starts_python && is_served && !entry.is_some_and(|entry| entry.listens_to_all) {
        return None;
    }
    Some(Web {
        port: written_port(&command).map(|port| (port, "Procfile names this port".to_owned())),
        reason: format!("Procfile says web: {command}"),
        command: reachable(&command),
    })
}

/// Makes a server that is told to listen to its own machine alone listen to all: in a container that is nobody.
fn reachable(command: &str) -> String {
    let flask_run = command.contains("flask") && command.split_whitespace().any(|word| word == "run");
    let command = command.replace("127.0.0.1:", "0.0.0.0:").replace("localhost:", "0.0.0.0:");
    if flask_run && !command.contains("--host") && !command.contains(" -h ") {
        let port = if command.contains("--port") || command.contains(" -p ") { "" } else { " --port=$PORT" };
        return format!("{command} --host=0.0.0.0{port}");
    }
    command
}

/// Returns the port in `-b host:5000`, `--bind=:5000`, `--port 5000`.
pub(crate) fn written_port(command: &str) -> Option<u16> {
    let words: Vec<&str> =
        command.split(|c: char| c.is_whitespace() || c == '=').filter(|word| !word.is_empty()).collect();
    let options = ["-b", "--bind", "-p", "--port", "--http", "--listen", "--http-socket"];
    words.windows(2).find_map(|pair| {
        let is_option = options.contains(&pair[0]);
        let value = pair[1].trim_matches(['"', '\'', ',']);
        let port = value.rsplit(':').next()?;
        is_option.then(|| port.parse().ok())?
    })
}

fn gunicorn(source: &Source, manifest: &Manifest, entry: &Entry, object: &str) -> Web {
    let config = GUNICORN_FILES.iter().find(|file| {
        source.has(file)
            && source.text(file).is_some_and(|text| text.contains("bind") || text.contains("workers"))
    });
    let config_text = config.and_then(|file| source.text(file)).unwrap_or_default();
    let sets = |name: &str| {
        super::python::statements(&config_text)
            .iter()
            .any(|s| s.assigned().is_some_and(|(found, _)| found == name))
    };
    let mut words = vec!["gunicorn".to_owned()];
    if let Some(file) = config.filter(|file| **file != GUNICORN_FILES[0]) {
        words.push(format!("-c {file}"));
    }
    // In a container the loopback address is nobody's.
    words.push("--bind 0.0.0.0:$PORT".into());
    if entry.uses_socketio {
        // More than one worker would need sticky sessions.
        words.push("--workers 1".into());
        match ["eventlet", "gevent"].iter().find(|name| manifest.names(name)) {
            Some(name) => words.push(format!("--worker-class {name}")),
            None => words.push("--threads 100".into()),
        }
    } else if !sets("threads") && !sets("worker_class") {
        // One process keeps what an app has in memory in one place; `WEB_CONCURRENCY` makes it more.
        words.push("--threads 8".into());
    }
    words.push("--worker-tmp-dir /dev/shm --access-logfile -".into());
    match entry.folder.as_deref() {
        // What is below `src` is imported from there, and finds its files from the root.
        Some("src") if !source.has("src/requirements.txt") => words.push("--pythonpath src".into()),
        Some(folder) => words.push(format!("--chdir {}", quoted(folder))),
        None => {}
    }
    words.push(quoted(&format!("{}:{object}", entry.module)));
    let mut command = words.join(" ");
    if entry.runs_at_import {
        // Flask itself then takes `app.run()` for a slip and goes on.
        command = format!("FLASK_RUN_FROM_CLI=true {command}");
    }
    let port = bound_port(&config_text).zip(config);
    Web {
        command,
        reason: entry.reason.clone(),
        port: port.map(|(port, file)| (port, format!("{file} binds this port"))),
    }
}

fn bound_port(config: &str) -> Option<u16> {
    let statements = super::python::statements(config);
    let (_, value) = statements.iter().filter_map(|s| s.assigned()).find(|(name, _)| *name == "bind")?;
    let value = value.trim_matches(['[', ']']);
    super::python::literal(value)?.rsplit(':').next()?.parse().ok()
}

fn script(entry: &Entry) -> Web {
    let file = format!("{}.py", entry.module.replace('.', "/"));
    let place = entry.folder.as_ref().map(|folder| format!("cd {} && ", quoted(folder))).unwrap_or_default();
    let command = if place.is_empty() {
        format!("python {}", quoted(&file))
    } else {
        format!("{place}exec python {}", quoted(&file))
    };
    Web {
        command,
        reason: entry.reason.clone(),
        port: entry.port.map(|port| (port, format!("{file} listens on it"))),
    }
}

/// Returns a word that a shell takes as it is; quotes are double, since TOML has those escaped seldom.
fn quoted(word: &str) -> String {
    crate::deps::quoted(word)
}
