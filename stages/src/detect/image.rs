//! How the image gets what the app needs to serve: nothing that is for its tests alone.
//!
//! ```text
//! files that name packages ──COPY──▶ install ──▶ source ──COPY──▶ finish
//!     a layer that stays while they stay             a layer of each commit
//! ```

use super::manifest::Kind;
use super::manifest::Manifest;
use super::pins;
use super::poetry;
use super::source::Source;
use crate::deps::quoted;

/// The cache of pip, as a build mounts it.
const PIP_CACHE: &str = "--mount=type=cache,target=/root/.cache/pip";

/// The steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// What the first step reads: paths from the root. "." is the whole source.
    pub(crate) copied: Vec<String>,
    /// Commands, each with its mounts.
    pub(crate) steps: Vec<String>,
    /// Commands that need the whole source.
    pub(crate) finish: Vec<String>,
}

/// Returns the steps; `servers` are installed beside what the app names.
pub(crate) fn recipe(source: &Source, manifest: &Manifest, servers: &[&str]) -> Recipe {
    let mut recipe = Recipe::default();
    let copied = |names: &[&str]| {
        let there = names.iter().map(|name| manifest.path(name)).filter(|path| source.has(path));
        there.collect::<Vec<_>>()
    };
    let cd = manifest.cd();
    let pip = |what: &str| format!("{PIP_CACHE} {cd}pip install {what}");
    if pins::needs_setuptools(manifest) {
        recipe.steps.push(format!("{PIP_CACHE} pip install 'setuptools<81'"));
    }
    match &manifest.kind {
        Kind::Uv => {
            recipe.copied = copied(&["pyproject.toml", "uv.lock", ".python-version"]);
            recipe.steps.push(format!("{PIP_CACHE} python3 -m venv /tools && /tools/bin/pip install uv"));
            recipe.steps.push(format!(
                "--mount=type=cache,target=/root/.cache/uv {cd}UV_PROJECT_ENVIRONMENT=/venv UV_LINK_MODE=copy \
                 UV_PYTHON_DOWNLOADS=never /tools/bin/uv sync --frozen --inexact --no-default-groups --no-install-project \
                 --python /venv/bin/python"
            ));
        }
        Kind::Poetry if source.has(&manifest.path("poetry.lock")) => {
            recipe.copied = copied(&["pyproject.toml", "poetry.lock", "poetry.toml"]);
            let tools = poetry::tools("/tools");
            recipe.steps.push(format!("{PIP_CACHE} python3 -m venv /tools && {tools}"));
            let export = poetry::export("/tools", "", "/tmp/requirements.txt");
            recipe.steps.push(format!("{PIP_CACHE} {cd}{export} && pip install -r /tmp/requirements.txt"));
        }
        Kind::Poetry => {
            let wanted = poetry::wanted(manifest, false);
            let step = pip(&words(&wanted));
            match wanted.iter().any(|wanted| wanted.starts_with('.')) {
                // A path is a package in the source.
                true => recipe.finish.push(step),
                false if wanted.is_empty() => {}
                false => recipe.steps.push(step),
            }
        }
        Kind::PipfileLock => {
            recipe.copied = copied(&["Pipfile", "Pipfile.lock"]);
            recipe.steps.push(format!("{PIP_CACHE} python3 -m venv /tools && /tools/bin/pip install pipenv"));
            recipe.steps.push(format!(
                "{PIP_CACHE} {cd}/tools/bin/pipenv requirements >/tmp/requirements.txt && pip install -r /tmp/requirements.txt"
            ));
        }
        Kind::Pipfile => {
            recipe.steps.push(pip(&words(&with_older(manifest, manifest.pipfile(source, "packages")))));
        }
        Kind::Requirements { app, tests } => requirements(source, manifest, app, tests, &mut recipe),
        Kind::Project => match manifest.project_dependencies() {
            Some(wanted) if wanted.is_empty() => {}
            Some(wanted) => recipe.steps.push(pip(&words(&wanted))),
            None => recipe.finish.push(pip(".")),
        },
        Kind::Setup => recipe.finish.push(pip(".")),
        Kind::Imports(packages) if packages.is_empty() => recipe.steps.push(pip("flask")),
        Kind::Imports(packages) => recipe.steps.push(pip(&words(packages))),
    }
    if knows_itself(source, manifest) && recipe.finish.is_empty() {
        recipe.finish.push(pip("--no-deps ."));
    }
    if !servers.is_empty() {
        recipe.steps.push(format!("{PIP_CACHE} pip install {}", servers.join(" ")));
    }
    recipe
}

/// Tells whether the app looks itself up among what is installed, or is started by a name that only an installation gives.
fn knows_itself(source: &Source, manifest: &Manifest) -> bool {
    let is_package = match &manifest.kind {
        Kind::Uv | Kind::Poetry | Kind::Project => manifest.is_package(),
        _ => false,
    };
    is_package
        && source
            .python_texts()
            .iter()
            .any(|(_, text)| text.contains("importlib.metadata") || text.contains("get_distribution("))
}

fn requirements(source: &Source, manifest: &Manifest, app: &[String], tests: &[String], recipe: &mut Recipe) {
    let files: Vec<String> = if app.is_empty() { tests.to_vec() } else { app.to_vec() };
    let options: String = files.iter().map(|file| format!(" -r {}", quoted(&manifest.path(file)))).collect();
    let older = words(&pins::older_than(manifest));
    let older = if older.is_empty() { older } else { format!(" {older}") };
    let step = format!("{PIP_CACHE} pip install{options}{older}");
    // Whatever may be referred to.
    let mut copied: Vec<String> = source
        .names_in(&manifest.folder)
        .filter(|name| super::manifest::is_requirements(name))
        .map(|name| manifest.path(name))
        .collect();
    copied
        .extend(files.iter().map(|file| manifest.path(file)).filter(|path| !path.contains("requirements/")));
    if source.has_folder(&manifest.path("requirements")) {
        copied.push(manifest.path("requirements/"));
    }
    copied.sort();
    copied.dedup();
    // A path in the list is a package in the source.
    let names_paths = files.iter().any(|file| {
        let text = source.text(&manifest.path(file)).unwrap_or_default();
        text.lines().map(str::trim).any(|line| {
            let line =
                line.strip_prefix("-e").or(line.strip_prefix("--editable")).unwrap_or(line).trim_start();
            line.starts_with('.')
                || line.starts_with("file:")
                || line.ends_with(".whl") && !line.contains("://")
        })
    });
    match names_paths {
        true => recipe.finish.push(step),
        false => {
            recipe.copied = copied;
            recipe.steps.push(step);
        }
    }
}

fn with_older(manifest: &Manifest, mut wanted: Vec<String>) -> Vec<String> {
    wanted.extend(pins::older_than(manifest));
    wanted
}

fn words(words: &[String]) -> String {
    // A line break would begin an instruction of the Dockerfile.
    let plain = words.iter().filter(|word| !word.contains(char::is_control));
    plain.map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}
