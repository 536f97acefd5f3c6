//! Real apps of every shape, none of which has heard of Landfall: from `git push` to Live, to red tests, to a rollback.
//!
//! What is guessed of each stands in `apps/<shape>.txt` beside this file; `UPDATE_EXPECTED=1` writes it anew.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use serde_json::Value;

use crate::real::yard::{App, Registry, Server, Yard, said, sh};

/// How long a registry may take that can be reached; the same as in `./run`.
const PULL_TIMEOUT_S: &str = "60";

/// Works where the tests run and not where the app does: `CI` is set there alone.
const CRASH: &str = "import os\n\nos.environ[\"CI\"]\n";

const PYTEST_RED: &str = "\n\ndef test_of_the_proof():\n    assert 1 == 2\n";
const UNITTEST_RED: &str = "\n\nclass OfTheProof(unittest.TestCase):\n    def test_of_the_proof(self):\n        self.assertEqual(1, 2)\n";

/// One app, and how it is made to fail.
struct Shape {
    /// Its folder below `tests/apps`, and what it is pushed as.
    name: &'static str,
    /// A page, and what it shows.
    page: (&'static str, &'static str),
    /// A file, and the red test that is added to it. None: the app has no tests.
    red: Option<(&'static str, &'static str)>,
    /// How it breaks where no test sees it.
    breaks: Break,
}

enum Break {
    /// This file can't be loaded.
    AtStart(&'static str),
    /// In this file, this text becomes that one: the page by which health is told answers 500.
    InPage(&'static str, &'static str, &'static str),
}

#[test]
fn one_file_with_unittest() {
    live_red_and_rolled_back(&Shape {
        name: "one-file",
        page: ("/", "Sign our guestbook"),
        red: Some(("tests.py", UNITTEST_RED)),
        breaks: Break::AtStart("app.py"),
    });
}

#[test]
fn a_factory_in_a_package_with_extras() {
    live_red_and_rolled_back(&Shape {
        name: "factory",
        page: ("/", "What do you think?"),
        red: Some(("tests/test_pages.py", PYTEST_RED)),
        breaks: Break::InPage(
            "polls/__init__.py",
            "        return {\"status\": \"ok\"}",
            "        import os\n\n        return {\"status\": os.environ[\"CI\"] and \"ok\"}",
        ),
    });
}

#[test]
fn a_package_below_src() {
    live_red_and_rolled_back(&Shape {
        name: "src-layout",
        page: ("/books/9780141439518", "Jane Austen, 1813"),
        red: Some(("tests/test_app.py", PYTEST_RED)),
        breaks: Break::AtStart("src/bookshelf/app.py"),
    });
}

#[test]
fn poetry_with_a_lock_and_groups() {
    live_red_and_rolled_back(&Shape {
        name: "poetry",
        page: ("/on/2024-02-29", "There was snow on 29.02.2024"),
        red: Some(("tests/test_report.py", PYTEST_RED)),
        breaks: Break::AtStart("weather/report.py"),
    });
}

#[test]
fn uv_with_a_lock_and_dependency_groups() {
    live_red_and_rolled_back(&Shape {
        name: "uv",
        page: ("/", "Make it short"),
        red: Some(("tests/test_web.py", PYTEST_RED)),
        breaks: Break::AtStart("links/web.py"),
    });
}

#[test]
fn pipenv_with_a_lock() {
    live_red_and_rolled_back(&Shape {
        name: "pipenv",
        page: ("/scones", "<strong>ten minutes</strong>"),
        red: Some(("test_cookbook.py", PYTEST_RED)),
        breaks: Break::AtStart("cookbook.py"),
    });
}

#[test]
fn a_procfile_with_web_and_release() {
    live_red_and_rolled_back(&Shape {
        name: "procfile",
        page: ("/", "Dear journal"),
        red: Some(("tests/test_entries.py", PYTEST_RED)),
        // The release command loads the app, too: what crashes there comes to no deploy.
        breaks: Break::InPage(
            "journal_app/main.py",
            "    return render_template(\"index.html\")",
            "    import os\n\n    return os.environ[\"CI\"] and render_template(\"index.html\")",
        ),
    });
}

#[test]
fn a_dockerfile_of_its_own() {
    live_red_and_rolled_back(&Shape {
        name: "own-dockerfile",
        page: ("/", "Roll the dice"),
        red: Some(("tests/test_roll.py", PYTEST_RED)),
        breaks: Break::AtStart("dice/web.py"),
    });
}

#[test]
fn a_configuration_of_gunicorn() {
    live_red_and_rolled_back(&Shape {
        name: "gunicorn-conf",
        page: ("/", "All is well, as far as we know"),
        red: Some(("statuspage/tests/test_views.py", PYTEST_RED)),
        breaks: Break::AtStart("statuspage/views.py"),
    });
}

#[test]
fn a_folder_of_requirements() {
    live_red_and_rolled_back(&Shape {
        name: "requirements-folder",
        page: ("/", "In the storeroom"),
        red: Some(("tests/test_stock.py", PYTEST_RED)),
        breaks: Break::AtStart("inventory/stock.py"),
    });
}

#[test]
fn a_setup_cfg_with_extras() {
    live_red_and_rolled_back(&Shape {
        name: "setup-cfg",
        page: ("/", "The quote of the day"),
        red: Some(("tests/test_quotes.py", PYTEST_RED)),
        breaks: Break::AtStart("quotes/collection.py"),
    });
}

#[test]
fn tests_that_need_a_database_and_a_cache() {
    for (image, folder) in [("postgres:16", "postgres"), ("redis:7", "redis")] {
        have_image(image, folder);
    }
    live_red_and_rolled_back(&Shape {
        name: "database",
        page: ("/", "Things to do"),
        red: Some(("tests/test_tasks.py", PYTEST_RED)),
        breaks: Break::AtStart("todo/views.py"),
    });
}

#[test]
fn an_app_without_any_tests() {
    live_red_and_rolled_back(&Shape {
        name: "no-tests",
        page: ("/", "The best bread of Ghent"),
        red: None,
        breaks: Break::AtStart("content.py"),
    });
}

#[test]
fn an_app_that_is_started_as_a_program() {
    live_red_and_rolled_back(&Shape {
        name: "main-only",
        page: ("/", "Count your words"),
        red: Some(("test_words.py", UNITTEST_RED)),
        breaks: Break::AtStart("words.py"),
    });
}

/// Pushes an app as it is, then with a red test, then with what only breaks once it is deployed.
#[track_caller]
fn live_red_and_rolled_back(shape: &Shape) {
    let yard = Yard::beside(usual_registry());
    let app = App::of_shape(shape.name);
    let server = Server::start(&yard);
    let (path, text) = shape.page;
    let serves = || {
        let answer = yard.get(path);
        assert!(matches!(&answer, Some((200, body)) if body.contains(text)), "GET {path}: {answer:?}");
    };

    app.commit("As it is");
    let pushed = app.push(&server);
    let live = server.ended();
    assert_eq!(live["state"], "live", "{}", said(&pushed));
    assert!(pushed.status.success(), "{}", said(&pushed));
    serves();
    compare(shape.name, &guesses(&events(&server, &live)));

    if let Some((file, test)) = shape.red {
        app.edit(file, |code| code + test);
        app.commit("A red test");
        let pushed = said(&app.push(&server));
        let failed = server.ended();
        assert_eq!(failed["state"], "failed", "{pushed}");
        let cause = failure_of(&events(&server, &failed), "test");
        assert!(cause["reason"].as_str().unwrap_or_default().contains("test_of_the_proof"), "{cause}");
        serves();
        app.git(&["revert", "--no-edit", "HEAD"]);
    }

    match shape.breaks {
        Break::AtStart(file) => app.edit(file, |code| CRASH.to_owned() + &code),
        Break::InPage(file, before, after) => app.edit(file, |code| code.replace(before, after)),
    }
    app.commit("What no test sees");
    let pushed = said(&app.push(&server));
    let rolled_back = server.ended();
    assert_eq!(rolled_back["state"], "rolled_back", "{pushed}");
    let cause = failure_of(&events(&server, &rolled_back), "deploy");
    let said = cause.to_string();
    // gunicorn tells of its worker's error at length, and what it says last depends on how far it came.
    assert!(
        said.contains("KeyError") || said.contains("Worker failed to boot"),
        "its last words are kept: {cause}"
    );
    serves();
    let replayed = server.replay(&rolled_back);
    assert!(replayed.contains("Deployment rolled back"), "{replayed}");
}

/// Returns an open registry where an app without a configuration looks for one, shared by all who need it now.
fn usual_registry() -> Arc<Registry> {
    static SHARED: Mutex<Weak<Registry>> = Mutex::new(Weak::new());
    // A test that failed here has told why.
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    shared.upgrade().unwrap_or_else(|| {
        let registry = Arc::new(Registry::usual());
        *shared = Arc::downgrade(&registry);
        registry
    })
}

/// Makes sure of an image that an app's tests ask for: there, or pulled, or made from Debian's packages.
fn have_image(image: &str, folder: &str) {
    let is_there =
        || Command::new("docker").args(["image", "inspect", image]).output().unwrap().status.success();
    let pull = ["docker", "pull", "--quiet", image];
    if is_there() || Command::new("timeout").arg(PULL_TIMEOUT_S).args(pull).output().unwrap().status.success()
    {
        return;
    }
    eprintln!("{image} can't be pulled here: a STAND-IN from Debian's packages takes its name");
    let services = root().join("stages/tests/source_real/services");
    let mut build = Command::new("docker");
    build.env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--label", "landfall.stand-in=true"]);
    sh(build.args(["--tag", image]).arg(services.join(folder)));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn events(server: &Server, run: &Value) -> Value {
    let id = run["id"].as_str().unwrap();
    server.api("GET", &format!("/v1/runs/{id}/events"), None).unwrap().1
}

/// Returns why a stage failed.
#[track_caller]
fn failure_of(events: &Value, stage: &str) -> Value {
    let list = events["events"].as_array().unwrap_or_else(|| panic!("no events: {events}"));
    let failed = list.iter().map(|envelope| &envelope["event"]).find(|event| event["type"] == "stage_failed");
    let failed = failed.unwrap_or_else(|| panic!("no stage failed: {events}"));
    assert_eq!(failed["data"]["stage"], stage, "{failed}");
    failed["data"]["failure"].clone()
}

/// Returns what the checkout's event holds of guesses, a line each; each has its reason.
fn guesses(events: &Value) -> String {
    let envelopes = events["events"].as_array().into_iter().flatten();
    let guesses =
        envelopes.filter_map(|envelope| envelope.pointer("/event/data/facts/checkout/guesses")?.as_array());
    let mut lines = String::new();
    for guess in guesses.flatten() {
        let text = |name: &str| guess[name].as_str().unwrap_or_default().to_owned();
        assert!(!text("reason").is_empty(), "{guess}");
        lines += &format!("{} = {}\n", text("key"), text("value"));
    }
    lines
}

#[track_caller]
fn compare(shape: &str, found: &str) {
    let file = root().join("tests/it/real/apps").join(format!("{shape}.txt"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, found).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(found, expected, "{} (UPDATE_EXPECTED=1 writes it anew)", file.display());
}
