//! The path that shows whether the app serves.

use super::python;
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
    let texts = source.python_texts();
    let is_test = |path: &str| path.split('/').any(|part| part.starts_with("test"));
    // What is called bp, api or so may have a prefix, which can't be told from here.
    let routes = texts.iter().filter(|(path, _)| !is_test(path)).flat_map(|(path, text)| {
        python::statements(text).into_iter().filter_map(move |statement| {
            let (decorator, arguments) = statement.text.strip_prefix('@')?.split_once('(')?;
            let is_route = ["app.route", "application.route", "app.get", "application.get", "server.route"];
            let arguments = &arguments[..python::closing(arguments)?];
            let parts = python::arguments(arguments);
            let takes_get =
                parts.iter().find(|part| part.starts_with("methods")).is_none_or(|part| part.contains("GET"));
            let route = python::literal(parts.first()?)?.to_owned();
            (is_route.contains(&decorator) && takes_get).then(|| (route, (*path).to_owned()))
        })
    });
    let routes: Vec<(String, String)> = routes.collect();
    PATHS.iter().find_map(|path| {
        let (route, file) =
            routes.iter().find(|(route, _)| route == path || route.strip_suffix('/') == Some(path))?;
        Some((route.clone(), file.clone()))
    })
}
