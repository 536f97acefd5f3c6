//! How the tests are run, and whether there are any.

use super::manifest::Manifest;
use super::python;
use super::source::Source;
use crate::deps::quoted;

/// How the tests are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tests {
    /// A shell command.
    pub(crate) command: String,
    pub(crate) reason: String,
    /// There are none, and nothing that looks as if there should be some.
    pub(crate) none: bool,
}

/// Finds the tests. Pytest runs those of unittest as well and leaves a report, so it is what runs them.
pub(crate) fn find(source: &Source, manifest: &Manifest) -> Tests {
    let configured = configuration(source, manifest);
    let files: Vec<&str> = source.python_files().filter(|path| has_tests(source, path)).collect();
    let collected: Vec<&str> = files.iter().copied().filter(|path| pytest_collects(path)).collect();
    let by_other_names: Vec<&str> = files.iter().copied().filter(|path| !pytest_collects(path)).collect();
    let looks_tested = source.python_files().any(|path| path.split('/').any(is_test_name));

    let mut options = String::new();
    if !by_other_names.is_empty() && !configured.as_ref().is_some_and(|(_, names_files)| *names_files) {
        let mut names: Vec<&str> = if collected.is_empty() { vec![] } else { vec!["test_*.py", "*_test.py"] };
        for path in &by_other_names {
            let name = path.rsplit('/').next().unwrap_or(path);
            // The option is a list with spaces between.
            if !names.contains(&name) && names.len() < 20 && !name.contains(char::is_whitespace) {
                names.push(name);
            }
        }
        options = format!(" -o {}", quoted(&format!("python_files={}", names.join(" "))));
    }
    let reason = match (&configured, collected.first(), by_other_names.first()) {
        (_, None, Some(path)) => format!("{path} has tests, and pytest runs those of unittest, too"),
        (Some((file, _)), _, _) => format!("{file} configures pytest"),
        (None, Some(path), _) => match manifest.anywhere.get("pytest") {
            Some(file) => format!("pytest is in {file}"),
            None => format!("{path} has tests"),
        },
        (None, None, None) => "no tests were found".into(),
    };
    Tests {
        command: command(source, manifest, &files, &options),
        reason,
        none: files.is_empty() && !looks_tested,
    }
}

fn command(source: &Source, manifest: &Manifest, files: &[&str], options: &str) -> String {
    let folder = &manifest.folder;
    let below = format!("{folder}/");
    let is_below =
        !folder.is_empty() && !files.is_empty() && files.iter().all(|path| path.starts_with(&below));
    let is_configured_above = ["pytest.ini", "conftest.py", "tox.ini"].iter().any(|file| source.has(file));
    if is_below && !is_configured_above {
        // From its own folder an app finds its modules, and files beside them.
        return format!("{}python -m pytest{options} --junitxml=\"$OLDPWD/report.xml\"", manifest.cd());
    }
    format!("pytest{options} --junitxml=report.xml")
}

/// Returns the file that configures pytest, and whether it says which files have tests.
fn configuration(source: &Source, manifest: &Manifest) -> Option<(String, bool)> {
    let places = [
        ("pytest.ini", "[pytest]"),
        ("pyproject.toml", "[tool.pytest.ini_options]"),
        ("setup.cfg", "[tool:pytest]"),
        ("tox.ini", "[pytest]"),
    ];
    let found = places.into_iter().find_map(|(name, section)| {
        let file = if source.has(name) { name.to_owned() } else { manifest.path(name) };
        let text = source.text(&file).filter(|text| text.contains(section))?;
        Some((file, text.contains("python_files")))
    });
    found.or_else(|| {
        let conftest = source.python_files().find(|path| path.rsplit('/').next() == Some("conftest.py"))?;
        Some((conftest.to_owned(), false))
    })
}

fn pytest_collects(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("test_") || name.ends_with("_test.py")
}

/// Tells whether a name says that tests are in there.
fn is_test_name(part: &str) -> bool {
    let stem = part.strip_suffix(".py").unwrap_or(part);
    matches!(stem, "test" | "tests" | "conftest")
        || stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem.ends_with("_tests")
}

fn has_tests(source: &Source, path: &str) -> bool {
    if !path.split('/').any(is_test_name) {
        return false;
    }
    let Some(text) = source.text(path) else { return false };
    let is_conftest = path.ends_with("conftest.py");
    !is_conftest
        && python::statements(&text).iter().any(|statement| {
            let is_test = statement.defined().is_some_and(|(name, _)| name.starts_with("test"));
            let is_case = statement.text.starts_with("class ") && statement.text.contains("TestCase");
            let is_class = statement.text.starts_with("class Test");
            is_test || (is_case && pytest_collects(path)) || is_class
        })
}
