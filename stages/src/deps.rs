//! What the tests need installed: found in the source, installed once, kept under the hash of all that it
//! depends on.
//!
//! Pure: reads the source and returns text. The hash covers the image, the files that pin the dependencies and
//! the installation itself, so a volume under that name is right or is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::Table;

/// Extras and dependency groups by these names are for the tests.
const TEST_GROUPS: [&str; 5] = ["dev", "test", "tests", "testing", "ci"];

/// Files of a `requirements` folder that are installed where nothing says "test".
const BASE_REQUIREMENTS: [&str; 5] = ["base", "common", "main", "prod", "production"];

/// What has to be installed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependencies {
    /// Where it is written, for people: `requirements.txt, requirements-dev.txt`.
    pub(crate) named_by: String,
    /// A shell script that makes `$VENV`, in the source's folder.
    pub(crate) install: String,
    /// The image has it already when this command ends with 0, and then nothing is installed.
    pub(crate) unless: Option<String>,
    /// Over the image, the files and the script.
    pub(crate) hash: String,
}

/// Finds what the tests of a source need. None: nothing.
pub(crate) fn find(source: &Path, test_command: &str, image_id: &str) -> io::Result<Option<Dependencies>> {
    let uses_pytest =
        test_command.split(|c: char| !c.is_alphanumeric() && c != '.' && c != '_').any(is_pytest);
    let Some(recipe) = Recipe::of(source)? else {
        return Ok(uses_pytest.then(|| only_pytest(image_id)));
    };
    let mut install = recipe.install;
    if uses_pytest {
        install.push_str(PYTEST_IF_MISSING);
    }
    let files = with_references(source, recipe.files)?;
    let hash = hash(image_id, &install, &files);
    Ok(Some(Dependencies { named_by: recipe.named_by, install, unless: None, hash }))
}

fn is_pytest(word: &str) -> bool {
    matches!(word, "pytest" | "py.test")
}

fn only_pytest(image_id: &str) -> Dependencies {
    let install = format!("{VENV}pip install pytest\n");
    let hash = hash(image_id, &install, &BTreeMap::new());
    let unless = Some("python3 -c 'import pytest' 2>/dev/null && command -v pytest >/dev/null".into());
    Dependencies { named_by: "pytest".into(), install, unless, hash }
}

const VENV: &str = r#"python3 -m venv "$VENV"
PATH="$VENV/bin:$PATH"
export VIRTUAL_ENV="$VENV"
"#;

/// Tools that install what a lock file says live apart: the tests shall not meet them.
const TOOLS: &str = r#"python3 -m venv "$TOOLS"
"#;

/// uv makes environments without pip.
const PYTEST_IF_MISSING: &str = r#"if ! "$VENV/bin/python" -c 'import pytest' 2>/dev/null; then
  if [ -x "$TOOLS/bin/uv" ]; then "$TOOLS/bin/uv" pip install --python "$VENV/bin/python" pytest
  else "$VENV/bin/python" -m pip install pytest; fi
fi
"#;

/// How a source says what it needs.
struct Recipe {
    named_by: String,
    install: String,
    files: BTreeSet<PathBuf>,
}

impl Recipe {
    /// A lock file is the most exact, requirements come next, then what the project says of itself.
    fn of(source: &Path) -> io::Result<Option<Self>> {
        let has = |name: &str| source.join(name).is_file();
        let pyproject = read_table(&source.join("pyproject.toml"))?;
        let lock = |name: &str, also: &[&str], install: String| {
            let files = also.iter().chain([&name]).filter(|file| has(file)).map(PathBuf::from).collect();
            Some(Self { named_by: name.to_owned(), install, files })
        };
        if has("uv.lock") && pyproject.is_some() {
            return Ok(lock("uv.lock", &["pyproject.toml", ".python-version"], uv(pyproject.as_ref())));
        }
        if has("poetry.lock") && pyproject.is_some() {
            return Ok(lock("poetry.lock", &["pyproject.toml", "poetry.toml"], poetry(pyproject.as_ref())));
        }
        if has("Pipfile.lock") {
            return Ok(lock("Pipfile.lock", &["Pipfile"], pipenv()));
        }
        if let Some(recipe) = requirements(source)? {
            return Ok(Some(recipe));
        }
        if let Some(recipe) = pyproject.as_ref().and_then(project) {
            return Ok(Some(recipe));
        }
        let own = ["setup.py", "setup.cfg", "pyproject.toml"];
        if has("setup.py") {
            return Ok(lock("setup.py", &own, format!("{VENV}pip install -e .\n")));
        }
        Ok(None)
    }
}

fn uv(pyproject: Option<&Table>) -> String {
    let extras: String =
        extras(pyproject).into_iter().map(|extra| format!(" --extra {}", quoted(&extra))).collect();
    format!(
        "{TOOLS}\"$TOOLS/bin/pip\" install uv\n\
         UV_PROJECT_ENVIRONMENT=\"$VENV\" UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_PROGRESS=1 \
         \"$TOOLS/bin/uv\" sync --frozen --all-groups --python \"$(command -v python3)\"{extras}\n"
    )
}

fn poetry(pyproject: Option<&Table>) -> String {
    // A project that is no package can't be installed, and poetry takes the try for an error.
    let is_package = pyproject.is_some_and(|table| table.contains_key("build-system"));
    let root = if is_package { "" } else { " --no-root" };
    format!(
        "{TOOLS}\"$TOOLS/bin/pip\" install poetry\n\
         # Poetry has certificates of its own and does not look at this variable.\n\
         [ -z \"${{SSL_CERT_FILE:-}}\" ] || export REQUESTS_CA_BUNDLE=\"$SSL_CERT_FILE\"\n\
         {VENV}POETRY_VIRTUALENVS_CREATE=false \"$TOOLS/bin/poetry\" install --no-interaction --all-groups{root}\n"
    )
}

fn pipenv() -> String {
    format!(
        "{TOOLS}\"$TOOLS/bin/pip\" install pipenv\n\
         \"$TOOLS/bin/pipenv\" requirements --dev >\"$TOOLS/requirements.txt\"\n\
         {VENV}pip install -r \"$TOOLS/requirements.txt\"\n"
    )
}

/// `requirements.txt` and what is named after the tests beside it, or in a folder `requirements`.
fn requirements(source: &Path) -> io::Result<Option<Recipe>> {
    let mut here = names(source)?;
    here.retain(|name| is_requirements(name));
    let mut folder = names(&source.join("requirements"))?;
    folder.retain(|name| name.ends_with(".txt"));

    let for_tests = |name: &&String| {
        let stem =
            name.trim_end_matches(".txt").trim_start_matches("requirements").trim_end_matches("requirements");
        stem.split(['-', '_', '.']).any(|part| TEST_GROUPS.contains(&part))
    };
    let mut installed: Vec<String> =
        here.iter().filter(|name| *name == "requirements.txt").cloned().collect();
    installed.extend(here.iter().filter(for_tests).cloned());
    installed.extend(folder.iter().filter(for_tests).map(|name| format!("requirements/{name}")));
    if installed.is_empty() {
        let base = BASE_REQUIREMENTS.iter().map(|stem| format!("{stem}.txt"));
        installed
            .extend(base.filter(|name| folder.contains(name)).map(|n| format!("requirements/{n}")).take(1));
    }
    if installed.is_empty() {
        return Ok(None);
    }
    let options: String = installed.iter().map(|name| format!(" -r {}", quoted(name))).collect();
    let mut files: BTreeSet<PathBuf> = here.into_iter().map(PathBuf::from).collect();
    files.extend(folder.into_iter().map(|name| Path::new("requirements").join(name)));
    let install = format!("{VENV}pip install{options}\n");
    Ok(Some(Recipe { named_by: installed.join(", "), install, files }))
}

fn is_requirements(name: &str) -> bool {
    let stem = name.strip_suffix(".txt");
    stem.is_some_and(|stem| {
        stem.starts_with("requirements") || stem.ends_with("-requirements") || stem.starts_with("constraints")
    })
}

/// `[project]` of a `pyproject.toml`: installed as a package when it can be built, else its lists alone.
fn project(pyproject: &Table) -> Option<Recipe> {
    let groups = groups(pyproject);
    let project = pyproject.get("project").and_then(toml::Value::as_table);
    let is_package = pyproject.contains_key("build-system");
    let mut wanted: Vec<String> = groups;
    if is_package {
        let extras = extras(Some(pyproject)).join(",");
        let package = if extras.is_empty() { ".".to_owned() } else { format!(".[{extras}]") };
        wanted.splice(0..0, ["-e".to_owned(), package]);
    } else {
        wanted.splice(0..0, project.map(|project| strings(project.get("dependencies"))).unwrap_or_default());
        for extra in extras(Some(pyproject)) {
            let all = project.and_then(|project| project.get("optional-dependencies"));
            wanted.extend(strings(all.and_then(|all| all.get(&extra))));
        }
    }
    if wanted.is_empty() {
        return None;
    }
    let arguments: String = wanted.iter().map(|wanted| format!(" {}", quoted(wanted))).collect();
    let files = ["pyproject.toml", "setup.py", "setup.cfg"].map(PathBuf::from);
    Some(Recipe {
        named_by: "pyproject.toml".into(),
        install: format!("{VENV}pip install{arguments}\n"),
        files: files.into(),
    })
}

/// Returns the names of the extras that are for the tests.
fn extras(pyproject: Option<&Table>) -> Vec<String> {
    let project = pyproject.and_then(|table| table.get("project"));
    let extras = project.and_then(|project| project.get("optional-dependencies"));
    let names = extras.and_then(toml::Value::as_table).into_iter().flat_map(Table::keys);
    names.filter(|name| TEST_GROUPS.contains(&name.as_str())).cloned().collect()
}

/// Returns what the dependency groups for the tests ask for, with the groups that they include.
fn groups(pyproject: &Table) -> Vec<String> {
    let Some(groups) = pyproject.get("dependency-groups").and_then(toml::Value::as_table) else {
        return Vec::new();
    };
    let mut open: Vec<&str> = groups.keys().map(String::as_str).filter(|g| TEST_GROUPS.contains(g)).collect();
    let (mut seen, mut wanted) = (BTreeSet::new(), Vec::new());
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        for entry in groups.get(name).and_then(toml::Value::as_array).into_iter().flatten() {
            match entry {
                toml::Value::String(requirement) => wanted.push(requirement.clone()),
                other => open.extend(other.get("include-group").and_then(toml::Value::as_str)),
            }
        }
    }
    wanted
}

fn strings(value: Option<&toml::Value>) -> Vec<String> {
    let list = value.and_then(toml::Value::as_array).into_iter().flatten();
    list.filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
}

/// Returns the files with their contents, and those that they refer to with `-r`, `-c` or `-e`.
fn with_references(source: &Path, files: BTreeSet<PathBuf>) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut open: Vec<PathBuf> = files.into_iter().collect();
    let mut contents = BTreeMap::new();
    while let Some(file) = open.pop() {
        let path = source.join(&file);
        // A link could lead out of the source; what it leads to is not of this commit.
        let is_file = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        if contents.contains_key(&file) || !is_file {
            continue;
        }
        let content = std::fs::read(&path)?;
        if file.extension().is_some_and(|extension| extension == "txt" || extension == "in") {
            let folder = file.parent().unwrap_or(Path::new(""));
            open.extend(references(&String::from_utf8_lossy(&content)).filter_map(|at| inside(folder, &at)));
        }
        contents.insert(file, content);
    }
    Ok(contents)
}

fn references(requirements: &str) -> impl Iterator<Item = String> {
    requirements.lines().flat_map(|line| {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let option = |names: [&str; 2]| {
            let rest = names.iter().find_map(|name| line.strip_prefix(name))?;
            let value = rest.trim_start_matches(['=', ' ', '\t']).trim();
            // `-requirements` is no option with a value.
            (!value.is_empty()).then(|| value.to_owned())
        };
        let file = option(["--requirement", "-r"]).or_else(|| option(["--constraint", "-c"]));
        let package =
            option(["--editable", "-e"]).map(|at| at.split('[').next().unwrap_or_default().to_owned());
        let own = package
            .into_iter()
            .flat_map(|at| ["pyproject.toml", "setup.py", "setup.cfg"].map(|name| format!("{at}/{name}")));
        file.into_iter().chain(own).collect::<Vec<_>>()
    })
}

/// Returns a path below the source, as written in a file in `folder`. None: it leads out of the source.
pub(crate) fn inside(folder: &Path, written: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in folder.join(written).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => path.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

fn hash(image_id: &str, install: &str, files: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    field(image_id.as_bytes());
    field(install.as_bytes());
    for (path, content) in files {
        field(path.as_os_str().as_encoded_bytes());
        field(content);
    }
    hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// A file that does not parse names no dependencies; the tools that read it say so better than we could.
fn read_table(path: &Path) -> io::Result<Option<Table>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.parse().unwrap_or_default())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns a word that a shell takes as it is.
pub(crate) fn quoted(word: &str) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b'=' | b':' | b',');
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
#[path = "deps_tests.rs"]
mod tests;
