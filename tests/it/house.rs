//! The house keeps its shape: imports point inward, and the core stays pure.

use std::fs;
use std::path::{Path, PathBuf};

/// Each crate, and the crates of this house that it may depend on outside its tests.
const INWARD: [(&str, &str, &[&str]); 4] = [
    ("engine", "landfall_engine", &[]),
    ("store", "landfall_store", &["landfall_engine"]),
    ("stages", "landfall_stages", &["landfall_engine"]),
    ("api", "landfall", &["landfall_engine", "landfall_store", "landfall_stages"]),
];

/// What the pure core may not even name.
const IMPURE: [&str; 12] = [
    "std::fs",
    "std::net::Tcp",
    "std::time",
    "std::thread",
    "std::env",
    "tokio",
    "async ",
    "SystemTime",
    "Instant",
    "now_v7",
    "rand",
    "tracing",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there").map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).expect("sources are text");
            found.push((entry, text));
        }
    }
    found
}

/// Returns a source without its comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns the manifest's own dependencies, without those of its tests.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]"
            && let Some((name, _)) = line.split_once(['.', ' ', '='])
        {
            names.push(name.replace('-', "_"));
        }
    }
    names
}

#[test]
fn imports_point_inward() {
    for (folder, _, allowed) in INWARD {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let found = dependencies(&manifest);
        assert!(!found.is_empty(), "{folder}: no dependencies were read, so this test sees nothing");
        for (_, other, _) in INWARD {
            let depends = found.iter().any(|name| name == other);
            assert!(!depends || allowed.contains(&other), "{folder} must not depend on {other}");
        }
        for (path, text) in sources(&root().join(folder).join("src")) {
            let text = code(&text);
            for (_, other, _) in INWARD.iter().filter(|(_, other, _)| *other != "landfall") {
                let own = INWARD.iter().any(|(f, name, _)| f == &folder && name == other);
                let names = text.contains(&format!("{other}::"));
                assert!(own || !names || allowed.contains(other), "{} names {other}", path.display());
            }
        }
    }
}

#[test]
fn only_stages_names_docker_and_only_stages_and_api_speak_http() {
    for (folder, ..) in INWARD.iter().filter(|(folder, ..)| *folder != "stages") {
        for (path, text) in sources(&root().join(folder).join("src")) {
            assert!(!text.contains("bollard::"), "{} names bollard", path.display());
        }
    }
    for folder in ["engine", "store"] {
        for (path, text) in sources(&root().join(folder).join("src")) {
            assert!(
                !text.contains("reqwest::") && !text.contains("hyper::"),
                "{} speaks HTTP",
                path.display()
            );
        }
    }
}

#[test]
fn the_core_reads_no_clock_no_disk_no_socket_and_no_random_number() {
    let core = sources(&root().join("engine/src/core"));
    assert!(core.len() > 5, "the core was not found");
    for (path, text) in core {
        for word in IMPURE {
            let text = code(&text);
            let line = text.lines().find(|line| line.contains(word));
            assert!(line.is_none(), "{} names {word}: {}", path.display(), line.unwrap_or(""));
        }
    }
}

#[test]
fn the_top_level_holds_the_house_and_nothing_else() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "engine",
        "stages",
        "store",
        "api",
        "examples",
        "tests",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "deny.toml",
        "run",
        "target",
    ];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "{name} does not belong there");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (folder, ..) in INWARD {
        for (path, text) in sources(&root().join(folder).join("src")) {
            assert!(text.starts_with("//!"), "{} opens without its purpose", path.display());
        }
    }
}
