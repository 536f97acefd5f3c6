//! What has to happen to the database before the app can serve: migrations, tables, a first content.
//!
//! A database that is a file lives in the container that serves, so what prepares it runs there, before the server. One
//! elsewhere is prepared once for all, by the release command.

use super::modules::{Entry, Start};
use super::procfile;
use super::python::{self, Block};
use super::source::Source;
use crate::deps::quoted;

/// Commands of apps that make their tables.
const INITIALISERS: [&str; 14] = [
    "init-db",
    "init_db",
    "initdb",
    "create-db",
    "create_db",
    "createdb",
    "db-create",
    "db_create",
    "create-tables",
    "create_tables",
    "create-all",
    "create_all",
    "init-database",
    "setup-db",
];

/// What has to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Preparation {
    /// Once, before the deploy.
    Release { command: String, reason: String },
    /// In each container, before the server. Ends with what joins it to the server's command.
    AtStart { command: String, reason: String },
}

/// What the settings say of a database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// They name one, which is then not a file in the container.
    pub(crate) has_database: bool,
    /// They say something that may lead to one.
    pub(crate) may_have_database: bool,
}

/// Returns what has to happen.
pub(crate) fn find(source: &Source, entry: Option<&Entry>, told: Told) -> Option<Preparation> {
    let Told { has_database, may_have_database } = told;
    if let Some(command) = source.text("Procfile").and_then(|text| procfile::process(&text, "release")) {
        let reason = format!("Procfile says release: {command}");
        let is_local = !has_database && is_sqlite(source);
        return Some(match is_local {
            true => Preparation::AtStart {
                command: format!("{command} && "),
                reason: format!("{reason}; the database is a file in the container"),
            },
            false => Preparation::Release { command, reason },
        });
    }
    let entry = entry?;
    if procfile_web(source).is_some_and(|web| web.contains("db upgrade") || web.contains("init")) {
        return None;
    }
    let migrations = [
        "migrations/env.py".to_owned(),
        format!("{}/migrations/env.py", entry.folder.as_deref().unwrap_or(".")),
    ];
    if let Some(found) = migrations.iter().find(|path| source.has(path)) {
        let folder = found.strip_suffix("/env.py").unwrap_or(found);
        let command = flask(entry, "db upgrade");
        let reason = format!("{folder}/ has migrations of Flask-Migrate");
        return Some(match !has_database && is_sqlite(source) {
            true => Preparation::AtStart {
                command: format!("{command} && "),
                reason: format!("{reason}, and the database is a file in the container"),
            },
            false => Preparation::Release { command, reason },
        });
    }
    // These may begin by dropping every table. They are for a file that is new with each container, and for nothing else.
    if may_have_database || names_one_elsewhere(source) {
        return None;
    }
    initialiser(source, entry).or_else(|| main_guard(source, entry))
}

fn procfile_web(source: &Source) -> Option<String> {
    procfile::process(&source.text("Procfile")?, "web")
}

/// Returns a command of the `flask` tool for this app.
fn flask(entry: &Entry, command: &str) -> String {
    let variable = format!("FLASK_APP={}", quoted(&entry.flask_app()));
    match entry.folder.as_deref() {
        None => format!("{variable} flask {command}"),
        Some("src") => format!("PYTHONPATH=src {variable} flask {command}"),
        Some(folder) => format!("(cd {} && {variable} flask {command})", quoted(folder)),
    }
}

/// Once in the life of a container: such commands begin with an empty database each time.
fn once(command: &str) -> String {
    format!("{{ [ -e /tmp/prepared ] || {{ {command} && : >/tmp/prepared; }}; }}; ")
}

fn is_sqlite(source: &Source) -> bool {
    let is_test = |path: &str| path.split('/').any(|part| part.starts_with("test"));
    source.python_texts().iter().any(|(path, text)| !is_test(path) && text.contains("sqlite"))
}

/// Tells whether the source itself has the address of a database: `mysql://user:word@host/shop`.
fn names_one_elsewhere(source: &Source) -> bool {
    const KINDS: [&str; 6] = ["postgres", "mysql", "mariadb", "oracle", "mssql", "mongodb"];
    let is_test = |path: &str| path.split('/').any(|part| part.starts_with("test"));
    let has_address = |text: &str| {
        text.match_indices("://").any(|(at, _)| {
            let scheme = text[..at]
                .rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '+')
                .next()
                .unwrap_or_default();
            let rest = text[at + 3..].split(['"', '\'', '\n']).next().unwrap_or_default();
            KINDS.iter().any(|kind| scheme.starts_with(kind)) && rest.contains('@')
        })
    };
    source.python_texts().iter().any(|(path, text)| !is_test(path) && has_address(text))
}

/// A command such as `flask init-db`.
fn initialiser(source: &Source, entry: &Entry) -> Option<Preparation> {
    if !is_sqlite(source) || !matches!(entry.start, Start::Served { .. }) {
        return None;
    }
    source.python_texts().iter().find_map(|(path, text)| {
        let statements = python::statements(text);
        let name = statements.iter().enumerate().find_map(|(at, statement)| {
            let rest = statement.text.strip_prefix('@')?;
            let (decorator, arguments) = rest.split_once('(')?;
            let is_cli = decorator.ends_with("cli.command") || decorator == "click.command";
            let following = || statements[at + 1..].iter().take_while(|s| !s.text.starts_with("class "));
            let (function, parameters) = following().find_map(|s| s.defined())?;
            let written = python::arguments(arguments.trim_end_matches(')'))
                .first()
                .and_then(|first| python::literal(first));
            let name = written.map_or_else(|| function.replace('_', "-"), str::to_owned);
            let asks = following()
                .take_while(|s| s.defined().is_none())
                .any(|s| s.text.contains("argument(") || s.text.contains("prompt"));
            (is_cli && INITIALISERS.contains(&name.as_str()) && !asks && parameters.trim().is_empty())
                .then_some(name)
        })?;
        Some(Preparation::AtStart {
            command: once(&flask(entry, &name)),
            reason: format!("{path} has the command {name}, and a new container has no database yet"),
        })
    })
}

/// `if __name__ == "__main__": db.create_all(); app.run()`: run without its last line, which Flask leaves out by itself.
fn main_guard(source: &Source, entry: &Entry) -> Option<Preparation> {
    if entry.folder.is_some() || entry.uses_socketio || !matches!(entry.start, Start::Served { .. }) {
        return None;
    }
    let file = format!("{}.py", entry.module.replace('.', "/"));
    let statements = python::statements(&source.text(&file)?);
    let in_main = || statements.iter().filter(|s| s.within.first() == Some(&Block::Main));
    let prepares = |text: &str| {
        let text = text.to_lowercase();
        [
            "create_all(",
            "init_db(",
            "initdb(",
            "create_tables(",
            "create_table(",
            "create_db(",
            "setup_db(",
            "init_database(",
        ]
        .iter()
        .any(|call| text.contains(call))
    };
    let serves_otherwise = in_main().any(|s| {
        s.text.contains("serve(") || s.text.contains("serve_forever") || s.text.contains("manager.run")
    });
    let runs = in_main().any(|s| s.text.contains(".run("));
    (runs && !serves_otherwise && in_main().any(|s| prepares(&s.text))).then(|| Preparation::AtStart {
        command: format!("FLASK_RUN_FROM_CLI=true python {}; ", quoted(&file)),
        reason: format!("{file} makes its tables only where it is run by itself"),
    })
}
