//! A repository that wants to know who asks, and a token that nobody else gets to see.

use std::path::Path;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::ledger::{Ledger, Registration, Source};
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::StageExecutor;
use landfall_stages::git::{self, Access};

use crate::git_server::{Door, GitServer};
use crate::world::{Lines, World, failure};

const TOKEN: &str = "t0ken-0f-the-tests";
/// `x-access-token:t0ken-0f-the-tests` in base64, as HTTP carries it.
const BASIC: &str = "eC1hY2Nlc3MtdG9rZW46dDBrZW4tMGYtdGhlLXRlc3Rz";

/// Returns the command lines of all processes that hold a text.
fn command_lines_with(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(text)).collect()
}

/// Returns the files below a folder that hold a text.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let found = std::process::Command::new("grep").args(["-rlaF", "--", text]).arg(folder).output().unwrap();
    String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
}

fn ledger(url: &str) -> Ledger {
    let source = Source::Git { url: url.to_owned(), credential: Some("GIT_TOKEN".into()) };
    let mut ledger = Ledger::default();
    ledger.apps.insert("shop".into(), Registration { source, ..Registration::default() });
    ledger
}

async fn check_out(world: &World, sha: &str, url: &str) -> Outcome {
    let order = world.order(&world.pushed(sha, url), Stage::Checkout, 1);
    world.stages.execute(&order, &Lines::default().output()).await
}

#[tokio::test]
async fn a_token_opens_its_repository_and_is_seen_nowhere() {
    let world = World::new();
    let sha = world.commit(&[("app.py", "VERSION = 1\n")]);
    let server = GitServer::behind(world.dir.path(), Door::For(BASIC));
    let url = format!("http://127.0.0.1:{}/app/.git", server.port);

    let reason = failure(check_out(&world, &sha, &url).await).reason;
    assert!(reason.contains("may read it"), "without a token nobody gets in: {reason}");

    world.stages.repository_keys().begin(ledger(&url));
    let watching = std::thread::spawn({
        let heard = std::sync::Arc::clone(&server.credentials);
        move || {
            let mut seen = Vec::new();
            // Until git has said who it is; it is running then.
            while heard.lock().unwrap().is_empty() {
                seen.extend(command_lines_with(TOKEN));
                std::thread::yield_now();
            }
            seen.extend(command_lines_with(TOKEN));
            seen
        }
    });
    let outcome = check_out(&world, &sha, &url).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    assert_eq!(watching.join().unwrap(), Vec::<String>::new());
    for text in [TOKEN, BASIC] {
        assert_eq!(files_with(&world.dir.path().join("data"), text), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_token_is_shown_to_its_own_repository_alone() {
    let world = World::new();
    let sha = world.commit(&[("app.py", "VERSION = 1\n")]);
    let private = GitServer::behind(world.dir.path(), Door::For(BASIC));
    let stranger = GitServer::behind(world.dir.path(), Door::Closed);
    let url = format!("http://127.0.0.1:{}/app/.git", private.port);
    world.stages.repository_keys().begin(ledger(&url));

    // Whoever may trigger a run may name any repository.
    let elsewhere = format!("http://127.0.0.1:{}/app/.git", stranger.port);
    failure(check_out(&world, &sha, &elsewhere).await);
    assert_eq!(*stranger.credentials.lock().unwrap(), Vec::<String>::new());

    // What was fetched with it is not there for those who know the address and the hash.
    assert!(matches!(check_out(&world, &sha, &url).await, Outcome::Succeeded(_)));
    let data = world.dir.path().join("data");
    assert!(git::at_hand(&data, &url, &sha, &Access::own()).await.is_err());
}

#[tokio::test]
async fn a_repository_tells_its_branches_to_whoever_has_the_token() {
    let world = World::new();
    let sha = world.commit(&[("app.py", "VERSION = 1\n")]);
    world.git(&["branch", "try"]);
    let server = GitServer::behind(world.dir.path(), Door::For(BASIC));
    let url = format!("http://127.0.0.1:{}/app/.git", server.port);
    let data = world.dir.path().join("data");
    let access = Access::with("shop", &url, TOKEN, &data).unwrap();
    let heads = git::remote_heads(&url, &access).await.unwrap();
    assert_eq!(heads.default.as_deref(), Some("main"));
    assert_eq!(
        heads.branches.into_iter().collect::<Vec<_>>(),
        [("main".into(), sha.clone()), ("try".into(), sha)]
    );

    let wrong = Access::with("shop", &url, "an0ther-token", &data).unwrap();
    let said = git::remote_heads(&url, &wrong).await.unwrap_err().to_string();
    assert!(said.contains("Authentication failed") && !said.contains("an0ther-token"), "{said}");
}
