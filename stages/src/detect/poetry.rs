//! What a project of Poetry asks for, as pip takes it.
//!
//! A lock file is left to Poetry, which alone knows its forms. Poetry would also install it, but asks the index's JSON
//! interface for every package, which many a mirror does not have; pip needs no more than the files.

use toml::{Table, Value};

use super::manifest::{Manifest, is_test_group, strings};

/// Installs Poetry with what turns its lock file into requirements; `tools` is a virtual environment.
pub(crate) fn tools(tools: &str) -> String {
    format!("{tools}/bin/pip install poetry poetry-plugin-export")
}

/// Writes what is locked as requirements, in the project's folder. `options` choose the groups and extras.
pub(crate) fn export(tools: &str, options: &str, target: &str) -> String {
    format!("{tools}/bin/poetry export --no-interaction --format requirements.txt{options} --output {target}")
}

/// Returns what the project asks for where there is no lock file: for the app, or for its tests as well.
pub(crate) fn wanted(manifest: &Manifest, for_tests: bool) -> Vec<String> {
    let poetry = manifest.tool("poetry");
    let table = |key: &str| poetry.and_then(|poetry| poetry.get(key)).and_then(Value::as_table);
    let mut wanted = manifest.project_dependencies().unwrap_or_default();
    let mut tables: Vec<&Table> = table("dependencies").into_iter().collect();
    if for_tests {
        let groups = table("group").into_iter().flatten().filter(|(name, _)| is_test_group(name));
        tables.extend(groups.filter_map(|(_, group)| group.get("dependencies")?.as_table()));
        tables.extend(table("dev-dependencies"));
        manifest.test_extras().iter().for_each(|extra| wanted.extend(manifest.extra(extra)));
        wanted.extend(manifest.test_groups());
    }
    let entries = tables.into_iter().flatten().filter(|(name, _)| *name != "python");
    wanted.extend(entries.flat_map(|(name, value)| match value {
        // One for each version of Python, told apart by markers.
        Value::Array(all) => all.iter().filter_map(|value| requirement(name, value)).collect(),
        value => requirement(name, value).into_iter().collect::<Vec<_>>(),
    }));
    wanted
}

fn requirement(name: &str, value: &Value) -> Option<String> {
    let table = match value {
        Value::String(version) => return Some(format!("{name}{}", specifier(version))),
        Value::Table(table) => table,
        _ => return None,
    };
    if table.get("optional").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let text = |key: &str| table.get(key).and_then(Value::as_str);
    let extras = strings(table.get("extras")).join(",");
    let extras = if extras.is_empty() { extras } else { format!("[{extras}]") };
    let marker = text("markers").map(|marker| format!("; {marker}")).unwrap_or_default();
    if let Some(git) = text("git") {
        let at = ["rev", "tag", "branch"]
            .into_iter()
            .find_map(text)
            .map(|at| format!("@{at}"))
            .unwrap_or_default();
        return Some(format!("{name}{extras} @ git+{git}{at}"));
    }
    if let Some(url) = text("url") {
        return Some(format!("{name}{extras} @ {url}"));
    }
    if let Some(path) = text("path") {
        return Some(format!("./{path}"));
    }
    Some(format!("{name}{extras}{}{marker}", specifier(text("version").unwrap_or("*"))))
}

/// Returns Poetry's `^1.2` and `~1.2` as `>=1.2,<2` and `>=1.2,<1.3`; all else is as pip knows it.
fn specifier(version: &str) -> String {
    // One or the other can't be said to pip, which then takes what suits the rest.
    if version.contains('|') {
        return String::new();
    }
    let parts = version.split(',').map(|part| {
        let part = part.trim();
        match part.chars().next() {
            Some('^') => below(part[1..].trim(), |numbers| {
                let first = numbers.iter().position(|number| *number > 0);
                first.unwrap_or(numbers.len() - 1)
            }),
            Some('~') if !part.starts_with("~=") => {
                below(part[1..].trim(), |numbers| numbers.len().min(2) - 1)
            }
            Some(first) if first.is_ascii_digit() => format!("=={part}"),
            _ if part == "*" => String::new(),
            _ => part.to_owned(),
        }
    });
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
}

/// Returns the range from a version to where the number at a place, which is told by all of them, is one higher.
fn below(version: &str, place: impl Fn(&[u64]) -> usize) -> String {
    let numbers: Vec<u64> = version.split('.').map_while(|number| number.parse().ok()).collect();
    if numbers.is_empty() {
        return String::new();
    }
    let at = place(&numbers);
    let mut next: Vec<String> = numbers[..at].iter().map(u64::to_string).collect();
    next.push(numbers[at].saturating_add(1).to_string());
    format!(">={version},<{}", next.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_said_as_pip_takes_them() {
        for (poetry, pip) in [
            ("^3.0", ">=3.0,<4"),
            ("^0.2.3", ">=0.2.3,<0.3"),
            ("^0.0.3", ">=0.0.3,<0.0.4"),
            ("^0.0", ">=0.0,<0.1"),
            ("^0", ">=0,<1"),
            ("~1.2.3", ">=1.2.3,<1.3"),
            ("~1.2", ">=1.2,<1.3"),
            ("~1", ">=1,<2"),
            ("~=1.2", "~=1.2"),
            ("1.2.3", "==1.2.3"),
            (">=1.2, <2", ">=1.2,<2"),
            ("*", ""),
            ("^1.0 || ^2.0", ""),
            ("^", ""),
            ("", ""),
            ("^18446744073709551615", ">=18446744073709551615,<18446744073709551615"),
        ] {
            assert_eq!(specifier(poetry), pip, "{poetry}");
        }
    }

    #[test]
    fn every_form_of_a_dependency_becomes_a_requirement() {
        let table: Table = "a = {version = \"^1.0\", extras = [\"x\", \"y\"], markers = \"os_name == 'nt'\"}\n\
             b = {git = \"https://example.com/b.git\", tag = \"v1\"}\nc = {path = \"lib/c\", develop = true}\n\
             d = {version = \"1\", optional = true}\ne = 1\n"
            .parse()
            .unwrap();
        let all: Vec<String> = table.iter().filter_map(|(name, value)| requirement(name, value)).collect();
        assert_eq!(
            all,
            ["a[x,y]>=1.0,<2; os_name == 'nt'", "b @ git+https://example.com/b.git@v1", "./lib/c"]
        );
    }
}
