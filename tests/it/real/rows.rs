//! The ten rows of the execution table, each on a real app, Docker and registry, from a real `git push`.

use crate::real::yard::{App, PASSWORD, Server, Visitor, Yard, docker, said, wait_for};

#[test]
fn rows_1_to_10_happen_as_the_table_says_and_users_notice_nothing() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    let server = Server::start(&yard);

    // Rows 1 to 8: a push goes live.
    let first = app.version("1.0.0");
    let pushed = app.push(&server);
    let terminal = said(&pushed);
    assert!(pushed.status.success(), "{terminal}");
    assert!(terminal.contains("remote:"), "the pusher sees the steps: {terminal}");
    let live = server.ended();
    assert_eq!(live["state"], "live", "{terminal}");
    assert_eq!(yard.serves().as_deref(), Some(first.as_str()));
    let replayed = server.replay(&live);
    for (number, state) in [
        (1, "Pushed"),
        (2, "Tested"),
        (3, "Built"),
        (4, "Pushed(image)"),
        (6, "Deployed"),
        (7, "Smoked"),
        (8, "Live"),
    ] {
        let row = row(&replayed, number);
        assert!(row.contains('✓') && row.contains(state), "row {number}: {replayed}");
    }
    assert!(row(&replayed, 2).contains("passed"), "the report was read: {replayed}");
    assert!(row(&replayed, 5).contains("Deployment started"), "{replayed}");
    assert_eq!(yard.registry.pushes(), 1);
    the_served_digest_is_the_one_in_the_registry(&yard, &server, &live);

    // Row 9: red tests stop the pipeline, the developer is told.
    let visitor = Visitor::start(&yard);
    app.edit("tests/test_app.py", |text| text + "\n\ndef test_of_the_rows():\n    assert 1 == 2\n");
    app.version("1.1.0");
    app.push(&server);
    let failed = server.ended();
    assert_eq!(failed["state"], "failed");
    let notice = wait_for("the developer's notice", || yard.developer.notices().pop());
    assert!(notice.to_string().contains("test_of_the_rows"), "{notice}");
    assert!(yard.ops.notices().is_empty());
    let replayed = server.replay(&failed);
    assert!(row(&replayed, 2).contains('✗') && row(&replayed, 2).contains("test_of_the_rows"), "{replayed}");
    assert!(row(&replayed, 9).contains("developer notified"), "{replayed}");
    assert_eq!(yard.registry.pushes(), 1, "nothing was built or pushed");
    assert_eq!(yard.serves().as_deref(), Some(first.as_str()));

    // Row 10: a red smoke test rolls back, ops are told.
    app.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    app.edit("app.py", |text| text.replace("Hello from Landfall", "Hallo von Landfall"));
    app.edit("tests/test_app.py", |text| text.replace("Hello from Landfall", "Hallo von Landfall"));
    app.version("1.2.0");
    app.git(&["commit", "--quiet", "--amend", "-m", "Speak German"]);
    let push = app.git(&["rev-parse", "HEAD"]);
    let forced =
        format!("http://landfall:{}@127.0.0.1:{}/git/hello.git", crate::real::yard::TOKEN, yard.port);
    app.git(&["push", "--quiet", "--force", &forced, "HEAD:main"]);
    let rolled_back = server.ended();
    assert_eq!(rolled_back["commit"]["sha"], push.as_str());
    assert_eq!(rolled_back["state"], "rolled_back", "{rolled_back}");
    let notice = wait_for("the notice to ops", || yard.ops.notices().pop());
    assert!(notice.to_string().contains("Hello from Landfall"), "it says what was expected: {notice}");
    let replayed = server.replay(&rolled_back);
    assert!(row(&replayed, 7).contains('✗'), "{replayed}");
    assert!(
        row(&replayed, 10).contains("Deployment rolled back") && row(&replayed, 10).contains("ops notified"),
        "{replayed}"
    );
    assert_eq!(yard.serves().as_deref(), Some(first.as_str()));
    visitor.leave();

    // The next good push goes live, and a rollback by hand is one switch back.
    let visitor = Visitor::start(&yard);
    app.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let second = app.version("2.0.0");
    app.git(&["push", "--quiet", "--force", &forced, "HEAD:main"]);
    assert_eq!(server.ended()["state"], "live");
    assert_eq!(yard.serves().as_deref(), Some(second.as_str()));
    let rollback =
        yard.landfall().args(["rollback", "hello", "--reason", "the tests said so"]).output().unwrap();
    assert!(rollback.status.success(), "{}", said(&rollback));
    assert_eq!(yard.serves().as_deref(), Some(first.as_str()));
    visitor.leave();

    // Nothing but the live release and the warm one is left, and the log verifies, also as a copy.
    wait_for("the sweep", || (yard.containers().len() == 2).then_some(()));
    let copy = tempfile::TempDir::new().unwrap();
    crate::real::yard::sh(
        std::process::Command::new("cp")
            .arg("-r")
            .arg(yard.data.path().join("META"))
            .arg(yard.data.path().join("log"))
            .arg(copy.path()),
    );
    for run in [&live, &failed, &rolled_back] {
        let id = run["id"].as_str().unwrap();
        let elsewhere =
            crate::real::yard::sh(yard.landfall().args(["replay", id, "--data"]).arg(copy.path()));
        assert_eq!(elsewhere, server.replay(run));
    }
    server.stop();
    assert_eq!(yard.serves().as_deref(), Some(first.as_str()), "the proxy outlives the server");
    secrets_are_nowhere(&yard);
}

#[test]
fn a_red_build_stops_the_run_and_tells_the_developer() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    let server = Server::start(&yard);
    app.edit("Dockerfile", |text| text + "\nRUN echo no more disk >&2; exit 7\n");
    app.commit("Break the build");
    app.push(&server);
    let run = server.ended();
    assert_eq!(run["state"], "failed", "{run}");
    let notice = wait_for("the developer's notice", || yard.developer.notices().pop());
    assert!(notice.to_string().contains("build"), "{notice}");
    assert!(row(&server.replay(&run), 3).contains('✗'));
    assert_eq!(yard.serves(), None, "nothing was released");
}

#[test]
fn an_app_that_does_not_come_up_is_rolled_back_with_its_last_words() {
    let yard = Yard::new();
    let app = App::new(yard.registry.address);
    let server = Server::start(&yard);
    app.edit("Dockerfile", |text| {
        text + "\nCMD [\"python\", \"-c\", \"raise SystemExit('the database is missing')\"]\n"
    });
    app.commit("Break the start");
    app.push(&server);
    let run = server.ended();
    assert_eq!(run["state"], "rolled_back", "{run}");
    let events =
        server.api("GET", &format!("/v1/runs/{}/events", run["id"].as_str().unwrap()), None).unwrap().1;
    assert!(
        events.to_string().contains("the database is missing"),
        "the last lines are in the event: {events}"
    );
    assert_eq!(yard.serves(), None);
    wait_for("the sweep", || yard.containers().is_empty().then_some(()));
}

/// Returns the row of the execution table with this number, each cell's wrapped lines joined.
fn row(replayed: &str, number: u8) -> String {
    let mut cells = vec![String::new(); 6];
    let mut inside = false;
    for line in replayed.lines().filter(|line| line.starts_with('│')) {
        let line: Vec<&str> = line.trim_matches('│').split('┆').map(str::trim).collect();
        if !line[0].is_empty() {
            inside = line[0] == number.to_string();
        }
        if inside {
            for (cell, text) in cells.iter_mut().zip(&line) {
                *cell = format!("{cell} {text}").trim().to_owned();
            }
        }
    }
    assert_eq!(cells[0], number.to_string(), "there is no such row: {replayed}");
    cells.join(" | ")
}

fn the_served_digest_is_the_one_in_the_registry(yard: &Yard, server: &Server, run: &serde_json::Value) {
    let id = run["id"].as_str().unwrap();
    let (_, shown) = server.api("GET", &format!("/v1/runs/{id}"), None).unwrap();
    let image = &shown["run"]["image"];
    let digest = image["digest"].as_str().unwrap_or_else(|| panic!("no digest: {shown}"));
    let tag = image["tag"].as_str().unwrap_or_else(|| panic!("no tag: {shown}"));
    assert_eq!(yard.registry.digest_of("hello", tag), digest, "the registry has another image under {tag}");
    let container = shown["run"]["candidate"]["container"].as_str().unwrap();
    let served = docker(&["inspect", "--format", "{{.Config.Image}}", container]);
    assert!(served.ends_with(digest), "{served} runs, {digest} was pushed");
}

/// The registry's password, and the webhook addresses, are in no file of the data folder, in no spelling.
fn secrets_are_nowhere(yard: &Yard) {
    let in_json = serde_json::json!(PASSWORD).to_string();
    let in_json = in_json.trim_matches('"');
    assert_ne!(in_json, PASSWORD, "the password has something that JSON escapes");
    // What comes before the first symbol that any format escapes, too.
    let (plain, _) = PASSWORD.split_once('"').unwrap();
    for secret in [PASSWORD, in_json, plain, &yard.ops.url, &yard.developer.url] {
        let found = std::process::Command::new("grep")
            .args(["-rlaF", "--", secret])
            .arg(yard.data.path())
            .output()
            .unwrap();
        assert_eq!(
            found.status.code(),
            Some(1),
            "{secret:?} is in these files, or grep failed: {}",
            said(&found)
        );
    }
}
