//! What the tests need installed: found in the source, installed once, kept under the hash of all that it
//! depends on.
//!
//! Pure: reads the source and returns text. The hash covers the image, the files that pin the dependencies and
//! the installation itself, so a volume under that name is right or is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::detect::{
    Kind, Manifest, Source, is_requirements, is_test_group, needs_setuptools, older_than, poetry,
};

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
    /// Debian packages that have to be there, while it is installed and while the tests run.
    pub(crate) packages: Vec<String>,
}

impl Dependencies {
    /// Returns the same with Debian packages. What is compiled against them is kept apart.
    pub(crate) fn with_packages(self, packages: &[String]) -> Self {
        if packages.is_empty() {
            return self;
        }
        let hash = hash(&self.hash, &packages.join(" "), &BTreeMap::new());
        Self { hash, packages: packages.to_vec(), ..self }
    }
}

/// Finds what the tests of a source need. None: nothing.
pub(crate) fn find(source: &Path, test_command: &str, image_id: &str) -> io::Result<Option<Dependencies>> {
    let uses_pytest =
        test_command.split(|c: char| !c.is_alphanumeric() && c != '.' && c != '_').any(is_pytest);
    let Some(recipe) = Recipe::of(&Source::of(source)) else {
        return Ok(uses_pytest.then(|| only_pytest(image_id)));
    };
    let mut install = recipe.install;
    if uses_pytest {
        install.push_str(PYTEST_IF_MISSING);
    }
    let files = with_references(source, recipe.files)?;
    let hash = hash(image_id, &install, &files);
    Ok(Some(Dependencies { named_by: recipe.named_by, install, unless: None, hash, packages: vec![] }))
}

fn is_pytest(word: &str) -> bool {
    matches!(word, "pytest" | "py.test")
}

fn only_pytest(image_id: &str) -> Dependencies {
    let install = format!("{VENV}pip install pytest\n");
    let hash = hash(image_id, &install, &BTreeMap::new());
    let unless = Some("python3 -c 'import pytest' 2>/dev/null && command -v pytest >/dev/null".into());
    Dependencies { named_by: "pytest".into(), install, unless, hash, packages: vec![] }
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
    fn of(source: &Source) -> Option<Self> {
        let manifest = Manifest::of(source);
        let cd = manifest.cd();
        let files = |names: &[&str]| -> BTreeSet<PathBuf> {
            names.iter().map(|name| manifest.path(name).into()).collect()
        };
        let first = if needs_setuptools(&manifest) { "pip install 'setuptools<81'\n" } else { "" };
        let recipe = |named_by: &str, install: String, also: &[&str]| {
            Some(Self {
                named_by: manifest.path(named_by),
                install,
                files: files(&[&[named_by], also].concat()),
            })
        };
        match &manifest.kind {
            Kind::Uv => recipe("uv.lock", uv(&manifest), &["pyproject.toml", ".python-version"]),
            Kind::Poetry if source.has(&manifest.path("poetry.lock")) => {
                recipe("poetry.lock", poetry(&manifest), &["pyproject.toml", "poetry.toml"])
            }
            Kind::Poetry => recipe("pyproject.toml", poetry_without_lock(&manifest), &[]),
            Kind::PipfileLock => recipe("Pipfile.lock", pipenv(&manifest), &["Pipfile"]),
            Kind::Pipfile => {
                let mut wanted = manifest.pipfile(source, "packages");
                wanted.extend(manifest.pipfile(source, "dev-packages"));
                wanted.extend(older_than(&manifest));
                recipe("Pipfile", format!("{VENV}{first}{cd}pip install{}\n", words(&wanted)), &[])
            }
            Kind::Requirements { app, tests } => Some(requirements(source, &manifest, app, tests, first)),
            Kind::Project => project(&manifest),
            Kind::Setup => {
                let named_by = if source.has(&manifest.path("setup.py")) { "setup.py" } else { "setup.cfg" };
                let extras = setup_extras(source, &manifest).join(",");
                let package =
                    if extras.is_empty() { ".".to_owned() } else { quoted(&format!(".[{extras}]")) };
                let install = format!("{VENV}{first}{cd}pip install -e {package}\n");
                recipe(named_by, install, &["setup.py", "setup.cfg", "pyproject.toml"])
            }
            Kind::Imports(packages) if packages.is_empty() => None,
            Kind::Imports(packages) => Some(Self {
                named_by: "what the source imports".into(),
                install: format!("{VENV}pip install{}\n", words(packages)),
                files: BTreeSet::new(),
            }),
        }
    }
}

fn uv(manifest: &Manifest) -> String {
    let extras: String =
        manifest.test_extras().into_iter().map(|extra| format!(" --extra {}", quoted(&extra))).collect();
    format!(
        "{TOOLS}\"$TOOLS/bin/pip\" install uv\n{}\
         UV_PROJECT_ENVIRONMENT=\"$VENV\" UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_PROGRESS=1 \
         \"$TOOLS/bin/uv\" sync --frozen --all-groups --python \"$(command -v python3)\"{extras}\n",
        manifest.cd()
    )
}

fn poetry(manifest: &Manifest) -> String {
    let extras: String =
        manifest.test_extras().into_iter().map(|extra| format!(" --extras {}", quoted(&extra))).collect();
    let cd = manifest.cd();
    format!(
        "{TOOLS}{}\n\
         ( {cd}{} )\n\
         {VENV}( {cd}pip install -r \"$TOOLS/requirements.txt\" )\n{}",
        poetry::tools("\"$TOOLS\""),
        poetry::export("\"$TOOLS\"", &format!(" --all-groups{extras}"), "\"$TOOLS/requirements.txt\""),
        itself(manifest)
    )
}

/// Without a lock file, pip finds the versions.
fn poetry_without_lock(manifest: &Manifest) -> String {
    let wanted = words(&poetry::wanted(manifest, true));
    let install =
        if wanted.is_empty() { String::new() } else { format!("( {}pip install{wanted} )\n", manifest.cd()) };
    format!("{VENV}{install}{}", itself(manifest))
}

/// Installs the app itself where it says that it is a package. Many that say so never were built, and are found from
/// their folder.
fn itself(manifest: &Manifest) -> String {
    if !manifest.is_package() {
        return String::new();
    }
    let cd = manifest.cd();
    format!(
        "( {cd}pip install --no-deps -e . ) || echo 'the app is no package that can be built: it is found from its folder'\n"
    )
}

fn pipenv(manifest: &Manifest) -> String {
    format!(
        "{TOOLS}\"$TOOLS/bin/pip\" install pipenv\n\
         ( {}\"$TOOLS/bin/pipenv\" requirements --dev ) >\"$TOOLS/requirements.txt\"\n\
         {VENV}pip install -r \"$TOOLS/requirements.txt\"\n",
        manifest.cd()
    )
}

/// The app's requirements and those for its tests, together.
fn requirements(
    source: &Source,
    manifest: &Manifest,
    app: &[String],
    tests: &[String],
    first: &str,
) -> Recipe {
    let installed: Vec<String> = app.iter().chain(tests).map(|file| manifest.path(file)).collect();
    let options: String = installed.iter().map(|file| format!(" -r {}", quoted(file))).collect();
    let here = source.names_in(&manifest.folder).filter(|name| is_requirements(name));
    let mut files: BTreeSet<PathBuf> = here.map(|name| manifest.path(name).into()).collect();
    let folder = manifest.path("requirements");
    files.extend(
        source
            .names_in(&folder)
            .filter(|name| name.ends_with(".txt"))
            .map(|name| Path::new(&folder).join(name)),
    );
    files.extend(installed.iter().map(PathBuf::from));
    let install = format!("{VENV}{first}pip install{options}{}\n", words(&older_than(manifest)));
    Recipe { named_by: installed.join(", "), install, files }
}

/// `[project]` of a `pyproject.toml`: installed as a package when it can be built, else its lists alone.
fn project(manifest: &Manifest) -> Option<Recipe> {
    let groups = manifest.test_groups();
    let extras = manifest.test_extras();
    let mut lists = manifest.project_dependencies().unwrap_or_default();
    extras.iter().for_each(|extra| lists.extend(manifest.extra(extra)));
    lists.extend(groups.iter().cloned());
    let cd = manifest.cd();
    let install = if manifest.is_package() {
        let extras = extras.join(",");
        let package = if extras.is_empty() { ".".to_owned() } else { format!(".[{extras}]") };
        let package = format!("{cd}pip install -e {}{}", quoted(&package), words(&groups));
        match lists.is_empty() {
            true => format!("{VENV}{package}\n"),
            // Many an app says how it is built and was never built.
            false => format!("{VENV}if ! (\n{package}\n); then\n{cd}pip install{}\nfi\n", words(&lists)),
        }
    } else {
        if lists.is_empty() {
            return None;
        }
        format!("{VENV}pip install{}\n", words(&lists))
    };
    let files = ["pyproject.toml", "setup.py", "setup.cfg"].map(|name| PathBuf::from(manifest.path(name)));
    Some(Recipe { named_by: manifest.path("pyproject.toml"), install, files: files.into() })
}

/// Returns the extras for the tests that a `setup.cfg` or `setup.py` has.
fn setup_extras(source: &Source, manifest: &Manifest) -> Vec<String> {
    let config = source.text(&manifest.path("setup.cfg")).unwrap_or_default();
    let section = config
        .split_once("[options.extras_require]")
        .map(|(_, rest)| rest.split("\n[").next().unwrap_or_default());
    let of_config = section.into_iter().flat_map(str::lines).filter(|line| !line.starts_with([' ', '\t']));
    let mut names: Vec<String> =
        of_config.filter_map(|line| Some(line.split_once('=')?.0.trim().to_owned())).collect();
    let script = source.text(&manifest.path("setup.py")).unwrap_or_default();
    let inner = script
        .split_once("extras_require")
        .and_then(|(_, rest)| Some(rest.split_once('{')?.1.split_once('}')?.0));
    let keys = inner
        .into_iter()
        .flat_map(|inner| inner.split(':'))
        .filter_map(|before| before.rsplit(['"', '\'']).nth(1));
    names.extend(keys.map(str::to_owned));
    names.retain(|name| is_test_group(name));
    names
}

fn words(words: &[String]) -> String {
    words.iter().map(|word| format!(" {}", quoted(word))).collect()
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

pub(crate) fn references(requirements: &str) -> impl Iterator<Item = String> {
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
