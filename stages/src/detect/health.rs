//! The path that shows whether the app serves.

use std::collections::BTreeMap;

use super::python::{self, Statement};
use super::source::Source;

/// Where such an answer usually is.
const PATHS: [&str; 13] = [
    "/healthz",
    "/health",
    "/healthcheck",
    "/health-check",
    "/health_check",
    "/_health",
    "/livez",
    "/readyz",
    "/ready",
    "/up",
    "/ping",
    "/api/health",
    "/status",
];

/// Returns the path and the file that has it. None: there is no such route.
pub(crate) fn find(source: &Source) -> Option<(String, String)> {
    let is_test = |path: &str| path.split('/').any(|part| part.starts_with("test"));
    let texts = source.python_texts();
    let modules: Vec<(&str, Vec<Statement>)> = texts
        .iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (*path, python::statements(text)))
        .collect();
    let registered: Vec<Registered> = modules.iter().flat_map(|(_, module)| registered(module)).collect();
    let routes: Vec<(String, &str)> = modules
        .iter()
        .flat_map(|(path, module)| {
            routes(path, module, &registered).into_iter().map(move |route| (route, *path))
        })
        .collect();
    PATHS.iter().find_map(|path| {
        let (route, file) =
            routes.iter().find(|(route, _)| route == path || route.strip_suffix('/') == Some(path))?;
        Some((route.clone(), (*file).to_owned()))
    })
}

/// `app.register_blueprint(module.name, url_prefix="/x")`.
struct Registered {
    module: Option<String>,
    name: String,
    /// What it is given. None: nothing.
    prefix: Option<Prefix>,
}

/// What stands before the routes of a blueprint. None: it can't be told from the text.
type Prefix = Option<String>;

fn registered(module: &[Statement]) -> Vec<Registered> {
    let call = |statement: &Statement| {
        let (target, rest) = statement.text.split_once(".register_blueprint(")?;
        let parts = python::arguments(&rest[..python::closing(rest)?]);
        let name = *parts.first()?;
        // One in another has the prefixes of both.
        let is_nested = !target.ends_with("app") && !target.ends_with("application") && !target.contains('(');
        let is_flask =
            module.iter().any(|s| s.assigned().is_some_and(|(n, v)| n == target && v.contains("Flask(")));
        let prefix = if is_nested && !is_flask { Some(None) } else { prefix(&parts[1..]) };
        // `from .main import main as main_blueprint`.
        let there = module.iter().filter_map(Statement::imported_from).find_map(|(from, names)| {
            let (_, there) = names.into_iter().find(|(here, _)| *here == name)?;
            Some((from.rsplit('.').next().unwrap_or_default().to_owned(), there.to_owned()))
        });
        let (module, name) = match (there, name.rsplit_once('.')) {
            (Some((module, name)), _) => (Some(module).filter(|module| !module.is_empty()), name),
            (None, Some((module, name))) => (module.rsplit('.').next().map(str::to_owned), name.to_owned()),
            (None, None) => (None, name.to_owned()),
        };
        Some(Registered { module, name, prefix })
    };
    module.iter().filter_map(call).collect()
}

/// Returns what `url_prefix=` says. None: it is not there.
fn prefix(arguments: &[&str]) -> Option<Prefix> {
    let value = arguments.iter().find_map(|argument| {
        let (name, value) = argument.split_once('=')?;
        (name.trim() == "url_prefix").then(|| value.trim())
    })?;
    Some(match value {
        "None" => Some(String::new()),
        _ => python::literal(value).map(|text| text.trim_end_matches('/').to_owned()),
    })
}

/// Returns the routes of a module that answer GET, as far as their whole path can be told.
fn routes(path: &str, module: &[Statement], registered: &[Registered]) -> Vec<String> {
    let mut prefixes: BTreeMap<&str, Prefix> =
        ["app", "application", "server"].map(|name| (name, Some(String::new()))).into();
    for (name, value) in module.iter().filter_map(Statement::assigned) {
        if value.contains("Flask(") {
            prefixes.insert(name, Some(String::new()));
        } else if let Some((_, rest)) = value.split_once("Blueprint(") {
            let parts = python::closing(rest).map(|end| python::arguments(&rest[..end])).unwrap_or_default();
            prefixes.insert(name, of_blueprint(path, name, prefix(&parts), registered));
        }
    }
    let route = |statement: &Statement| {
        let (decorator, rest) = statement.text.strip_prefix('@')?.split_once('(')?;
        let (object, kind) = decorator.rsplit_once('.')?;
        let parts = python::arguments(&rest[..python::closing(rest)?]);
        let takes_get =
            parts.iter().find(|part| part.starts_with("methods")).is_none_or(|part| part.contains("GET"));
        let route = python::literal(parts.first()?)?;
        let prefix = prefixes.get(object)?.as_ref()?;
        (matches!(kind, "route" | "get") && takes_get).then(|| format!("{prefix}{route}"))
    };
    module.iter().filter_map(route).collect()
}

/// Returns what stands before the routes of a blueprint, where all who register it agree.
fn of_blueprint(path: &str, name: &str, own: Option<Prefix>, registered: &[Registered]) -> Prefix {
    let path = path.strip_suffix("/__init__.py").unwrap_or(path);
    let path = path.strip_suffix(".py").unwrap_or(path);
    let is_it = |call: &&Registered| {
        let is_there = |module: &String| path.split('/').any(|part| part == module);
        call.name == name && call.module.as_ref().is_none_or(is_there)
    };
    let mut said = registered
        .iter()
        .filter(is_it)
        .map(|call| call.prefix.clone().or(own.clone()).unwrap_or(Some(String::new())));
    let first = said.next()??;
    said.all(|other| other.as_ref() == Some(&first)).then_some(first)
}
