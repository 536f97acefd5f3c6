//! Which recipe installs what, found from the files of an app.

use super::*;

fn source(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

fn found(files: &[(&str, &str)], command: &str) -> Option<Dependencies> {
    find(source(files).path(), command, "sha256:1").unwrap()
}

#[track_caller]
fn check(files: &[(&str, &str)], named_by: &str, pip: &str) {
    let found = found(files, "true").unwrap();
    assert_eq!(found.named_by, named_by);
    assert!(found.install.contains(&format!("{pip}\n")), "{}", found.install);
}

#[test]
fn requirements_and_those_for_the_tests_are_installed_together() {
    check(&[("requirements.txt", "flask")], "requirements.txt", "pip install -r requirements.txt");
    check(
        &[("requirements.txt", ""), ("requirements-dev.txt", ""), ("requirements-docs.txt", "")],
        "requirements.txt, requirements-dev.txt",
        "pip install -r requirements.txt -r requirements-dev.txt",
    );
    check(
        &[("test-requirements.txt", ""), ("requirements_latest.txt", "")],
        "requirements_latest.txt, test-requirements.txt",
        "pip install -r requirements_latest.txt -r test-requirements.txt",
    );
    check(
        &[("requirements/base.txt", ""), ("requirements/test.txt", "")],
        "requirements/base.txt, requirements/test.txt",
        "pip install -r requirements/base.txt -r requirements/test.txt",
    );
    check(
        &[("requirements/prod.txt", ""), ("requirements/docs.txt", "")],
        "requirements/prod.txt",
        "pip install -r requirements/prod.txt",
    );
}

#[test]
fn a_project_that_can_be_built_is_installed_with_its_test_extras_and_groups() {
    let pyproject = r#"
        [build-system]
        requires = ["setuptools"]
        [project]
        name = "shop"
        dependencies = ["flask>=3"]
        [project.optional-dependencies]
        test = ["pytest"]
        docs = ["sphinx"]
        [dependency-groups]
        dev = ["ruff", { include-group = "lint" }]
        lint = ["mypy>1", { include-group = "dev" }]
    "#;
    check(&[("pyproject.toml", pyproject)], "pyproject.toml", "pip install -e '.[test]' ruff 'mypy>1'");
}

#[test]
fn a_project_that_is_no_package_gives_its_lists() {
    let pyproject = r#"
        [project]
        name = "shop"
        dependencies = ["flask>=3", "it's; odd"]
        [project.optional-dependencies]
        dev = ["pytest"]
    "#;
    check(
        &[("pyproject.toml", pyproject)],
        "pyproject.toml",
        r"pip install 'flask>=3' 'it'\''s; odd' pytest",
    );
}

#[test]
fn a_lock_file_is_believed_before_anything_else() {
    let pyproject = ("pyproject.toml", "[project]\nname = 'shop'\noptional-dependencies.dev = ['x']");
    let named = |lock: &str| {
        found(&[pyproject, (lock, ""), ("requirements.txt", "flask")], "true").map(|found| found.named_by)
    };
    assert_eq!(named("uv.lock").as_deref(), Some("uv.lock"));
    assert_eq!(named("poetry.lock").as_deref(), Some("poetry.lock"));
    assert_eq!(named("Pipfile.lock").as_deref(), Some("Pipfile.lock"));
}

#[test]
fn a_source_that_names_nothing_needs_pytest_alone_and_only_where_the_image_has_none() {
    let found_pytest = found(&[("app.py", "")], "pytest -q").unwrap();
    assert!(found_pytest.unless.is_some());
    assert_eq!(found(&[("app.py", "")], "python -m unittest"), None);
    assert_eq!(found(&[("pyproject.toml", "[tool.ruff]\n")], "true"), None);
    assert_eq!(found(&[("pyproject.toml", "this is no toml")], "true"), None);
    assert!(found(&[("app.py", "")], "coverage run -m pytest").is_some());
    assert!(found(&[("app.py", "")], "./run-pytests.sh").is_none());
}

#[test]
fn the_hash_follows_everything_that_the_installation_reads() {
    let files = [
        ("requirements.txt", "-r deps/app.in\n--constraint=limits.txt # why\n-e ./lib[x]"),
        ("deps/app.in", "flask"),
        ("limits.txt", "flask<4"),
        ("lib/setup.py", "1"),
        ("app.py", "1"),
    ];
    let hash = |files: &[(&str, &str)], command: &str, image: &str| {
        find(source(files).path(), command, image).unwrap().unwrap().hash
    };
    let first = hash(&files, "pytest", "sha256:1");
    assert_eq!(first.len(), 24);
    assert_eq!(first, hash(&files, "pytest -q", "sha256:1"));
    assert_ne!(first, hash(&files, "pytest", "sha256:2"));
    assert_ne!(first, hash(&files, "true", "sha256:1"));
    for (at, (name, _)) in files.iter().enumerate() {
        let mut changed = files;
        changed[at].1 = if *name == "requirements.txt" { "flask" } else { "2" };
        assert_eq!(first == hash(&changed, "pytest", "sha256:1"), *name == "app.py", "{name}");
    }
}

#[test]
fn a_reference_out_of_the_source_is_not_followed() {
    assert_eq!(inside(Path::new("requirements"), "../base.txt"), Some("base.txt".into()));
    assert_eq!(inside(Path::new(""), "../base.txt"), None);
    assert_eq!(inside(Path::new(""), "/etc/passwd"), None);
}
