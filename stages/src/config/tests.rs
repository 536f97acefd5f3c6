//! Every message is compared as text: `problems.txt` holds configurations and what is said about them.

use std::collections::BTreeMap;

use landfall_engine::core::settings::CommandCheck;
use landfall_engine::core::settings::HttpCheck;
use landfall_engine::core::settings::ReleaseSettings;
use landfall_engine::core::settings::Settings;
use landfall_engine::core::settings::SmokeCheck;

use super::*;

const PROBLEMS: &str = include_str!("problems.txt");

fn read(files: &[(&str, &[u8])]) -> Result<(Settings, String), String> {
    let files: BTreeMap<&str, Vec<u8>> = files.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect();
    read_at_commit(|name| files.get(name).cloned(), "shop")
}

#[test]
fn every_problem_is_shown_with_its_place_and_what_to_do() {
    let mut shown = String::new();
    for case in PROBLEMS.split("=== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (text, _) = rest.split_once("--- says\n").unwrap();
        let file = if text.contains("[tool.") { PYPROJECT_FILE } else { CONFIG_FILE };
        let said = match parse(text, file, "shop") {
            Ok(_) => "nothing: it is accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        shown.push_str(&format!("=== {title}\n{text}--- says\n{said}\n\n"));
    }
    expect("problems.txt", PROBLEMS, &shown);
}

/// Compares with a checked-in text. `UPDATE_EXPECT=1` writes it anew; the diff is the review.
#[track_caller]
fn expect(name: &str, expected: &str, found: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config").join(name);
        std::fs::write(path, found).unwrap();
    } else {
        let line = expected.lines().zip(found.lines()).position(|(expected, found)| expected != found);
        assert!(
            expected == found,
            "{name} differs from line {line:?} on (UPDATE_EXPECT=1 writes it anew):\n{found}"
        );
    }
}

#[test]
fn a_plain_flask_app_needs_no_configuration() {
    let (settings, configured_by) = read(&[]).unwrap();
    assert_eq!(settings, Settings { service: "shop".into(), ..Settings::default() });
    assert_eq!(configured_by, "defaults");
}

#[test]
fn every_key_reaches_its_place() {
    let text = include_bytes!("everything.toml");
    let (settings, configured_by) = read(&[(CONFIG_FILE, text)]).unwrap();
    assert_eq!(configured_by, "landfall.toml");
    let shown = serde_json::to_string_pretty(&settings).unwrap();
    expect("everything.json", include_str!("everything.json"), &format!("{shown}\n"));
}

#[test]
fn pyproject_says_the_same_under_its_own_heading() {
    let text = include_str!("everything.toml");
    let moved = text.replace("\n[[", "\n[[tool.landfall.").replace("\n[", "\n[tool.landfall.");
    let moved = moved.replace("[tool.landfall.[tool.landfall.", "[[tool.landfall.");
    let python = format!("[project]\nname = \"shop\"\n\n[tool.landfall]\n{moved}");
    let (settings, configured_by) = read(&[(PYPROJECT_FILE, python.as_bytes())]).unwrap();
    assert_eq!(configured_by, "pyproject.toml");
    assert_eq!(settings, parse(text, CONFIG_FILE, "shop").unwrap());
}

#[test]
fn two_configurations_are_refused_by_name() {
    let error = read(&[(CONFIG_FILE, b""), (PYPROJECT_FILE, b"[tool.landfall]\n")]).unwrap_err();
    assert_eq!(
        error,
        "there are two configurations: landfall.toml and [tool.landfall] in pyproject.toml; remove one"
    );
}

#[test]
fn a_pyproject_of_other_tools_is_left_alone() {
    for other in ["[project]\nname = \"landfall-demo\"\n", "[tool.ruff]\nbroken =", ""] {
        assert_eq!(read(&[(PYPROJECT_FILE, other.as_bytes())]).unwrap().1, "defaults");
    }
    let ours = read(&[(CONFIG_FILE, b"service = \"a\""), (PYPROJECT_FILE, b"# landfall\nbroken =")]).unwrap();
    assert_eq!((ours.0.service.as_str(), ours.1.as_str()), ("a", "landfall.toml"));
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let error = read(&[(CONFIG_FILE, b"service = \"a\"\n# \xe9\n")]).unwrap_err();
    assert_eq!(
        error,
        "landfall.toml: expected UTF-8, found another encoding in line 2; save the file as UTF-8"
    );
    let error = read(&[(CONFIG_FILE, &vec![b'#'; 300 * 1024])]).unwrap_err();
    assert_eq!(error, "landfall.toml: expected at most 256 KiB, found 300; is it another kind of file?");
}

#[test]
fn a_link_out_of_the_source_is_not_read() {
    let (outside, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("secret"), "hunter2").unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), source.path().join(CONFIG_FILE)).unwrap();
    let error = read_at_checkout(source.path(), "shop").unwrap_err();
    assert_eq!(error, "landfall.toml is no regular file of the source: expected a file of its own");
}

#[test]
fn a_checkout_is_read_from_its_folder() {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join(CONFIG_FILE), "[release]\ncommand = \"flask db upgrade\"\n").unwrap();
    let (settings, _) = read_at_checkout(source.path(), "shop").unwrap();
    let expected = ReleaseSettings { command: "flask db upgrade".into(), timeout_ms: 600_000 };
    assert_eq!(settings.release, Some(expected));
}

#[test]
fn an_app_whose_name_cannot_name_an_image_must_say_its_service() {
    let error = parse("", CONFIG_FILE, "My App").unwrap_err().to_string();
    assert_eq!(
        error,
        "landfall.toml: the app's name \"My App\" can't name its images and containers\n  \
         add a line such as service = \"shop\": 1 to 40 of a-z, 0-9 and '-', with a letter or digit at both ends"
    );
    assert_eq!(parse("service = \"my-app\"", CONFIG_FILE, "My App").unwrap().service, "my-app");
}

#[test]
fn checks_keep_their_order_and_their_kind() {
    let text = "[[smoke]]\npath = \"/a\"\n[[smoke]]\ncommand = \"true\"\n[[smoke]]\npath = \"/b\"\n";
    let http = |path: &str| SmokeCheck::Http(HttpCheck { path: path.into(), ..HttpCheck::default() });
    let command = CommandCheck { command: "true".into(), ..CommandCheck::default() };
    assert_eq!(
        parse(text, CONFIG_FILE, "shop").unwrap().smoke,
        [http("/a"), SmokeCheck::Command(command), http("/b")]
    );
}

#[test]
fn settings_that_no_event_could_hold_are_refused() {
    let large = format!("[build.args]\nLARGE = \"{}\"\n", "x".repeat(40_000));
    let refused = parse(&large, "landfall.toml", "shop").unwrap_err().to_string();
    assert!(refused.contains("expected settings of at most 32768 bytes, found 4"), "{refused:.300}");
}
