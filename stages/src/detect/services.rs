//! What runs beside the tests, where the source says that its tests need it: the services of a workflow on GitHub.
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

/// Returns the services of the first workflow that runs tests with some.
pub(crate) fn find(source: &Source) -> Option<Services> {
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
                if key == "image" && !value.contains("${") && !value.is_empty() {
                    images.insert(name.clone(), value.to_owned());
                }
            }
            _ => name = Some((indent, key.to_owned())),
        }
    }
    images
}

/// A service is reached by its name, not as the workflow's own machine.
fn variables(text: &str, images: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some((name, value)) = line.trim().split_once(": ") else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        let is_variable = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        let kind = value.split(['+', ':']).next().unwrap_or_default();
        if !is_variable || value.contains("${{") || !value.contains("://") {
            continue;
        }
        let kind = if kind == "postgresql" { "postgres" } else { kind };
        let service = images.iter().find(|(name, image)| {
            image.contains(kind) || name.contains(kind) || (kind == "mysql" && image.contains("mariadb"))
        });
        if let Some((service, _)) = service.filter(|_| !kind.is_empty()) {
            let value = value.replace("localhost", service).replace("127.0.0.1", service);
            found.insert(name.to_owned(), value);
        }
    }
    found
}
