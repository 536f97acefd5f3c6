//! How a source says what it needs: which of the many files counts, and what is in it.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::imports;
use super::source::Source;

/// Extras, groups and requirements by these names are for the tests.
const TEST_GROUPS: [&str; 8] = ["dev", "test", "tests", "testing", "ci", "develop", "development", "local"];

/// Those that are for nothing else.
const TESTS_ALONE: [&str; 4] = ["test", "tests", "testing", "ci"];

/// Files of a `requirements` folder that are for production, the best first.
const BASE_REQUIREMENTS: [&str; 9] =
    ["prod", "production", "requirements", "base", "common", "main", "app", "core", "default"];

/// Folders that may have an app of their own, when the root has none.
const FOLDERS: [&str; 8] = ["backend", "server", "api", "app", "src", "web", "flask_app", "flask"];

/// Which kind of list counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Uv,
    /// With or without a lock file.
    Poetry,
    PipfileLock,
    Pipfile,
    /// What is installed for the app, and what for its tests: paths from the folder.
    Requirements {
        app: Vec<String>,
        tests: Vec<String>,
    },
    /// `[project]` in `pyproject.toml`.
    Project,
    /// `setup.py` or `setup.cfg`.
    Setup,
    /// Nothing is written down: what the source imports, by the names under which it is installed.
    Imports(Vec<String>),
}

/// What a source needs.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) kind: Kind,
    /// The folder of the files, from the root; empty for the root.
    pub(crate) folder: String,
    /// Every package that is named for the app itself, with what is said of its version.
    pub(crate) named: BTreeMap<String, String>,
    /// Every package that is named anywhere, and the file.
    pub(crate) anywhere: BTreeMap<String, String>,
    pub(crate) pyproject: Table,
}

impl Manifest {
    /// Finds what counts: a lock file is the most exact, requirements come next, then what the project says of itself.
    pub(crate) fn of(source: &Source) -> Self {
        let folder = folder(source);
        let pyproject = source.toml(&joined(&folder, "pyproject.toml")).unwrap_or_default();
        let mut manifest = Self {
            kind: Kind::Imports(vec![]),
            folder,
            named: BTreeMap::new(),
            anywhere: BTreeMap::new(),
            pyproject,
        };
        manifest.kind = manifest.choose(source);
        manifest.named = manifest.names_of_app(source);
        manifest.anywhere = manifest.names_anywhere(source);
        manifest
    }

    /// Tells whether a package is named for the app.
    pub(crate) fn names(&self, package: &str) -> bool {
        self.named.contains_key(package)
    }

    /// Returns a path from the root.
    pub(crate) fn path(&self, name: &str) -> String {
        joined(&self.folder, name)
    }

    /// Returns what has to stand before a command that works in the folder of the files.
    pub(crate) fn cd(&self) -> String {
        if self.folder.is_empty() {
            String::new()
        } else {
            format!("cd {} && ", crate::deps::quoted(&self.folder))
        }
    }

    fn choose(&self, source: &Source) -> Kind {
        let has = |name: &str| source.has(&self.path(name));
        let poetry = self.tool("poetry").is_some();
        let is_project = self.pyproject.contains_key("project");
        if has("uv.lock") && has("pyproject.toml") {
            return Kind::Uv;
        }
        if has("poetry.lock") && has("pyproject.toml") {
            return Kind::Poetry;
        }
        if has("Pipfile.lock") {
            return Kind::PipfileLock;
        }
        let requirements = self.requirements(source);
        if let Some(Kind::Requirements { app, tests }) = &requirements {
            // Requirements for the tests alone, beside a project that says what it needs itself.
            let all: Vec<String> = app.iter().chain(tests).cloned().collect();
            let names = names_in_files(source, &self.folder, &all);
            let says_more = is_project || has("setup.py") || has("setup.cfg") || poetry;
            if !says_more || names.keys().any(|name| name.starts_with("flask")) {
                return requirements.unwrap_or(Kind::Setup);
            }
        }
        if has("Pipfile") {
            return Kind::Pipfile;
        }
        if poetry {
            return Kind::Poetry;
        }
        if is_project || self.pyproject.contains_key("dependency-groups") {
            return Kind::Project;
        }
        if has("setup.py")
            || (has("setup.cfg")
                && source.text(&self.path("setup.cfg")).is_some_and(|t| t.contains("install_requires")))
        {
            return Kind::Setup;
        }
        requirements.unwrap_or_else(|| Kind::Imports(imports::packages(source)))
    }

    fn requirements(&self, source: &Source) -> Option<Kind> {
        let mut here: Vec<String> =
            source.names_in(&self.folder).filter(|name| is_requirements(name)).map(str::to_owned).collect();
        here.sort();
        let below = self.path("requirements");
        let folder: Vec<&str> = source.names_in(&below).filter(|name| name.ends_with(".txt")).collect();
        let is_for = |groups: &[&str], name: &str| {
            let stem = name.strip_suffix(".txt").unwrap_or(name).to_lowercase();
            let stem = stem.trim_start_matches("requirements").trim_end_matches("requirements");
            stem.split(['-', '_', '.']).any(|part| groups.contains(&part))
        };
        let mut app: Vec<String> = here.iter().filter(|name| *name == "requirements.txt").cloned().collect();
        if app.is_empty() {
            let best = BASE_REQUIREMENTS.iter().find(|stem| folder.contains(&format!("{stem}.txt").as_str()));
            app.extend(best.map(|stem| format!("requirements/{stem}.txt")));
        }
        let mut tests: Vec<String> = here.iter().filter(|name| is_for(&TEST_GROUPS, name)).cloned().collect();
        tests.extend(
            folder
                .iter()
                .filter(|name| is_for(&TEST_GROUPS, name))
                .map(|name| format!("requirements/{name}")),
        );
        // What a developer has beside them is not needed for the tests.
        if tests.iter().any(|name| is_for(&TESTS_ALONE, name.rsplit('/').next().unwrap_or(name))) {
            tests.retain(|name| is_for(&TESTS_ALONE, name.rsplit('/').next().unwrap_or(name)));
        }
        if app.is_empty() {
            // One that has another name, such as requirements_latest.txt.
            let other = here.iter().find(|name| {
                !is_for(&TEST_GROUPS, name)
                    && !is_for(&["docs", "doc", "lint"], name)
                    && !name.starts_with("constraints")
            });
            app.extend(other.cloned());
        }
        // Those for the tests that name the others need not be given both.
        (!app.is_empty() || !tests.is_empty()).then_some(Kind::Requirements { app, tests })
    }

    /// Returns what is said below `[tool.name]`.
    pub(crate) fn tool(&self, name: &str) -> Option<&Table> {
        self.pyproject.get("tool")?.get(name)?.as_table()
    }

    /// Tells whether the project can be built into a package.
    pub(crate) fn is_package(&self) -> bool {
        self.pyproject.contains_key("build-system")
            && self.tool("poetry").and_then(|poetry| poetry.get("package-mode")).and_then(Value::as_bool)
                != Some(false)
    }

    /// Returns what `[project]` needs. None: it says so elsewhere.
    pub(crate) fn project_dependencies(&self) -> Option<Vec<String>> {
        let project = self.pyproject.get("project").and_then(Value::as_table)?;
        let dynamic = strings(project.get("dynamic"));
        (!dynamic.iter().any(|name| name == "dependencies")).then(|| strings(project.get("dependencies")))
    }

    /// Returns the names of the extras that are for the tests.
    pub(crate) fn test_extras(&self) -> Vec<String> {
        let project = self.pyproject.get("project").and_then(|project| project.get("optional-dependencies"));
        let poetry = self.tool("poetry").and_then(|poetry| poetry.get("extras"));
        let names = project.or(poetry).and_then(Value::as_table).into_iter().flat_map(Table::keys);
        names.filter(|name| is_test_group(name)).cloned().collect()
    }

    /// Returns what an extra of `[project]` needs.
    pub(crate) fn extra(&self, name: &str) -> Vec<String> {
        let extras = self.pyproject.get("project").and_then(|project| project.get("optional-dependencies"));
        strings(extras.and_then(|extras| extras.get(name)))
    }

    /// Returns what the dependency groups for the tests ask for, with the groups that they include.
    pub(crate) fn test_groups(&self) -> Vec<String> {
        let Some(groups) = self.pyproject.get("dependency-groups").and_then(Value::as_table) else {
            return Vec::new();
        };
        let mut open: Vec<&str> =
            groups.keys().map(String::as_str).filter(|name| is_test_group(name)).collect();
        let (mut seen, mut wanted) = (BTreeSet::new(), Vec::new());
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            for entry in groups.get(name).and_then(Value::as_array).into_iter().flatten() {
                match entry {
                    Value::String(requirement) => wanted.push(requirement.clone()),
                    other => open.extend(other.get("include-group").and_then(Value::as_str)),
                }
            }
        }
        wanted
    }

    /// Returns what a Pipfile asks for, as pip takes it.
    pub(crate) fn pipfile(&self, source: &Source, section: &str) -> Vec<String> {
        let pipfile = source.toml(&self.path("Pipfile")).unwrap_or_default();
        let packages = pipfile.get(section).and_then(Value::as_table).into_iter().flatten();
        packages.filter_map(|(name, value)| pipfile_requirement(name, value)).collect()
    }

    fn names_of_app(&self, source: &Source) -> BTreeMap<String, String> {
        match &self.kind {
            Kind::Requirements { app, .. } => names_in_files(source, &self.folder, app),
            Kind::Imports(packages) => packages.iter().map(|name| (name.clone(), String::new())).collect(),
            Kind::Pipfile | Kind::PipfileLock => pairs(&self.pipfile(source, "packages")),
            Kind::Uv | Kind::Project => pairs(&self.project_dependencies().unwrap_or_default()),
            Kind::Poetry => {
                let mut named = pairs(&self.project_dependencies().unwrap_or_default());
                let poetry = self
                    .tool("poetry")
                    .and_then(|poetry| poetry.get("dependencies"))
                    .and_then(Value::as_table);
                named.extend(poetry.into_iter().flatten().map(|(name, _)| (normal(name), String::new())));
                named
            }
            Kind::Setup => {
                let texts = ["setup.cfg", "setup.py"].iter().filter_map(|name| source.text(&self.path(name)));
                texts.flat_map(|text| pairs(&words_of_setup(&text))).collect()
            }
        }
    }

    /// All that any file of the source names, for the tests as well.
    fn names_anywhere(&self, source: &Source) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut add = |names: BTreeMap<String, String>, file: &str| {
            for name in names.into_keys() {
                found.entry(name).or_insert_with(|| file.to_owned());
            }
        };
        if let Kind::Requirements { app, tests } = &self.kind {
            for file in app.iter().chain(tests) {
                add(names_in_files(source, &self.folder, std::slice::from_ref(file)), &self.path(file));
            }
        }
        for section in ["packages", "dev-packages"] {
            add(pairs(&self.pipfile(source, section)), "Pipfile");
        }
        add(pairs(&self.test_groups()), "pyproject.toml (dependency groups)");
        for extra in self.test_extras() {
            add(pairs(&self.extra(&extra)), &format!("pyproject.toml (extra {extra})"));
        }
        if let Some(poetry) = self.tool("poetry") {
            let groups = poetry.get("group").and_then(Value::as_table).into_iter().flatten();
            let of_groups = groups.filter_map(|(_, group)| group.get("dependencies")?.as_table());
            let all = of_groups.chain(poetry.get("dev-dependencies").and_then(Value::as_table));
            for table in all {
                add(
                    table.keys().map(|name| (normal(name), String::new())).collect(),
                    "pyproject.toml (a group of Poetry)",
                );
            }
        }
        if let Some(uv) = self.tool("uv") {
            add(pairs(&strings(uv.get("dev-dependencies"))), "pyproject.toml (uv's dev-dependencies)");
        }
        if self.kind == Kind::Setup {
            for name in ["setup.cfg", "setup.py"] {
                let text = source.text(&self.path(name)).unwrap_or_default();
                add(pairs(&words_of_setup(&text)), name);
            }
        }
        add(self.named.clone(), "the app's dependencies");
        found
    }
}

/// Tells whether a group by this name is for the tests.
pub(crate) fn is_test_group(name: &str) -> bool {
    TEST_GROUPS.contains(&name)
}

fn folder(source: &Source) -> String {
    let marks = ["requirements.txt", "pyproject.toml", "Pipfile", "setup.py", "setup.cfg", "uv.lock"];
    let has = |folder: &str| {
        marks.iter().any(|mark| source.has(&joined(folder, mark)))
            || source.has_folder(&joined(folder, "requirements"))
    };
    let here = source.names_in("").any(is_requirements);
    if here || has("") {
        return String::new();
    }
    let folders = source.folders_in("");
    let known = FOLDERS.iter().copied().find(|folder| has(folder)).map(str::to_owned);
    known.or_else(|| folders.into_iter().find(|folder| has(folder))).unwrap_or_default()
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

pub(crate) fn is_requirements(name: &str) -> bool {
    let stem = name.strip_suffix(".txt").or_else(|| name.strip_suffix(".pip"));
    stem.is_some_and(|stem| {
        stem.starts_with("requirements")
            || stem.ends_with("-requirements")
            || stem.ends_with("_requirements")
            || stem.starts_with("constraints")
            || stem == "requirement"
            || stem == "reqs"
    })
}

/// Returns the requirements in files, with those that they name by `-r`.
fn names_in_files(source: &Source, folder: &str, files: &[String]) -> BTreeMap<String, String> {
    let mut open: Vec<String> = files.iter().map(|file| joined(folder, file)).collect();
    let (mut seen, mut named) = (BTreeSet::new(), BTreeMap::new());
    while let Some(file) = open.pop() {
        let Some(text) = source.text(&file).filter(|_| seen.insert(file.clone())) else { continue };
        let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        named.extend(pairs(&lines));
        let folder = std::path::Path::new(&file).parent().unwrap_or(std::path::Path::new(""));
        let inside = crate::deps::references(&text).filter_map(|at| crate::deps::inside(folder, &at));
        open.extend(inside.filter_map(|path| path.to_str().map(str::to_owned)));
    }
    named
}

/// Returns the names of requirements with what is said of their versions.
pub(crate) fn pairs(requirements: &[String]) -> BTreeMap<String, String> {
    let pair = |line: &String| {
        let line = line.split(" #").next().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if let Some((_, egg)) = line.split_once("#egg=") {
            return Some((normal(egg), String::new()));
        }
        let end = line
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'))
            .unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let rest = rest.trim_start();
        let rest =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(rest, |(_, rest)| rest);
        let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let version = if rest.trim_start().starts_with('@') { "" } else { rest.trim() };
        (is_name && (!line.contains("://") || rest.trim_start().starts_with('@')))
            .then(|| (normal(name), version.to_owned()))
    };
    requirements.iter().filter_map(pair).collect()
}

/// Returns the name as the index has it.
pub(crate) fn normal(name: &str) -> String {
    let name: String = name
        .trim()
        .chars()
        .map(|c| if matches!(c, '_' | '.') { '-' } else { c.to_ascii_lowercase() })
        .collect();
    name.trim_end_matches('-').to_owned()
}

pub(crate) fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
}

fn pipfile_requirement(name: &str, value: &Value) -> Option<String> {
    let with_version = |version: &str| match version.trim() {
        "*" | "" => String::new(),
        version => version.to_owned(),
    };
    match value {
        Value::String(version) => Some(format!("{name}{}", with_version(version))),
        Value::Table(table) => {
            let text = |key: &str| table.get(key).and_then(Value::as_str);
            let extras = strings(table.get("extras")).join(",");
            let extras = if extras.is_empty() { extras } else { format!("[{extras}]") };
            if let Some(git) = text("git") {
                let at = text("ref").map(|at| format!("@{at}")).unwrap_or_default();
                return Some(format!("{name}{extras} @ git+{git}{at}"));
            }
            if let Some(path) = text("path") {
                return Some(path.to_owned());
            }
            let marker = text("markers").map(|marker| format!("; {marker}")).unwrap_or_default();
            Some(format!("{name}{extras}{}{marker}", with_version(text("version").unwrap_or("*"))))
        }
        _ => None,
    }
}

/// Returns what looks like a requirement in a `setup.py` or `setup.cfg`: its strings, and its indented lines.
fn words_of_setup(text: &str) -> Vec<String> {
    let quoted = text.split(['"', '\'']).skip(1).step_by(2).map(str::to_owned);
    let lines = text.lines().filter(|line| line.starts_with([' ', '\t'])).map(|line| line.trim().to_owned());
    let wanted = text.lines().filter_map(|line| {
        line.strip_prefix("install_requires")?.trim().strip_prefix('=').map(|rest| rest.trim().to_owned())
    });
    quoted
        .chain(lines)
        .chain(wanted)
        .filter(|word| word.len() < 80 && !word.contains(' ') || word.contains('='))
        .collect()
}
