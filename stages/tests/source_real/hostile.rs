//! Repositories that try to run something here, or to write where they must not.

use std::io::Write;
use std::process::{Command, Stdio};

use landfall_engine::core::command::Outcome;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::StageExecutor;

use crate::git_server::GitServer;
use crate::world::{Lines, World, failure};

/// A repository behind a URL, and a file that only what it tries to run would make.
struct Hostile {
    world: World,
    url: String,
}

impl Hostile {
    fn new() -> Self {
        let world = World::new();
        let server = GitServer::start(world.dir.path(), false);
        Self { url: format!("http://127.0.0.1:{}/app/.git", server.port), world }
    }

    fn trap(&self) -> String {
        format!("touch {}", self.world.dir.path().join("SPRUNG").display())
    }

    async fn check_out(&self, sha: &str) -> Outcome {
        let order = self.world.order(&self.world.pushed(sha, &self.url), Stage::Checkout, 1);
        let outcome = self.world.stages.execute(&order, &Lines::default().output()).await;
        assert!(!self.world.dir.path().join("SPRUNG").exists(), "the repository ran something: {outcome:?}");
        outcome
    }

    /// Hands git something to read and returns what it prints.
    fn feed(&self, args: &[&str], input: &str) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.world.repository()).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut git = git.spawn().unwrap();
        git.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = git.wait_with_output().unwrap();
        assert!(output.status.success(), "git {args:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits a tree that `git add` would never make.
    fn commit_tree(&self, entries: &str) -> String {
        let tree = self.feed(&["mktree", "--missing"], entries);
        let sha = self.world.git(&["commit-tree", &tree, "-m", "Hostile"]);
        self.world.git(&["update-ref", "refs/heads/hostile", &sha]);
        sha
    }
}

#[tokio::test]
async fn hooks_filters_and_settings_in_a_tree_run_nothing() {
    let hostile = Hostile::new();
    let trap = hostile.trap();
    // A tree that is a bare repository itself, with settings that git would follow if it worked in there.
    let config = format!(
        "[core]\n\tbare = true\n\tfsmonitor = {trap}\n\thooksPath = hooks\n[alias]\n\tstatus = !{trap}\n"
    );
    let hook = format!("#!/bin/sh\n{trap}\n");
    let attributes = "* filter=trap diff=trap merge=trap\n";
    let sha = hostile.world.commit(&[
        ("app.py", "VERSION = 1\n"),
        ("HEAD", "ref: refs/heads/main\n"),
        ("config", &config),
        ("objects/keep", ""),
        ("refs/keep", ""),
        ("hooks/post-checkout", &hook),
        ("hooks/post-index-change", &hook),
        (".gitattributes", attributes),
        (".gitconfig", &config),
    ]);
    // Hooks of the repository that is fetched are its own.
    std::fs::write(hostile.world.repository().join(".git/hooks/post-checkout"), &hook).unwrap();
    let outcome = hostile.check_out(&sha).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    // Looked at once more, as after a restart.
    let run = hostile.world.pushed(&sha, &hostile.url);
    let order = hostile.world.order(&run, Stage::Checkout, 1);
    hostile.world.stages.execute(&order, &Lines::default().output()).await;
    hostile.world.stages.probe(&order).await.unwrap();
    assert!(!hostile.world.dir.path().join("SPRUNG").exists());
}

#[tokio::test]
async fn a_submodule_that_would_run_a_command_is_refused_by_name() {
    let hostile = Hostile::new();
    let modules = format!("[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c '{}'\n", hostile.trap());
    let modules = hostile.feed(&["hash-object", "-w", "--stdin"], &modules);
    let one = hostile.world.commit(&[("app.py", "")]);
    let sha = hostile.commit_tree(&format!("100644 blob {modules}\t.gitmodules\n160000 commit {one}\tx\n"));
    let reason = failure(hostile.check_out(&sha).await).reason;
    assert!(reason.contains("submodules (x)"), "{reason}");
}

#[tokio::test]
async fn a_tree_with_a_git_folder_in_it_is_not_laid_out() {
    let hostile = Hostile::new();
    let config = format!("[core]\n\tfsmonitor = {}\n", hostile.trap());
    let config = hostile.feed(&["hash-object", "-w", "--stdin"], &config);
    let inner = hostile.feed(&["mktree"], &format!("100644 blob {config}\tconfig\n"));
    let target = hostile.feed(&["hash-object", "-w", "--stdin"], "../../../../etc");
    for entries in [
        format!("040000 tree {inner}\t.git\n"),
        format!("040000 tree {inner}\t.GIT\n"),
        format!("040000 tree {inner}\tgit~1\n"),
        format!("120000 blob {target}\t.git\n"),
        format!("120000 blob {target}\t.gitmodules\n"),
        format!("040000 tree {inner}\t..\n"),
    ] {
        let sha = hostile.commit_tree(&entries);
        let reason = failure(hostile.check_out(&sha).await).reason;
        assert!(reason.contains("fsck error"), "{entries}: {reason}");
    }
}

#[tokio::test]
async fn what_old_tools_wrote_sloppily_is_fetched_all_the_same() {
    let hostile = Hostile::new();
    hostile.world.commit(&[("app.py", "VERSION = 1\n")]);
    let tree = hostile.world.git(&["rev-parse", "HEAD^{tree}"]);
    let sloppy = format!("tree {tree}\nauthor Ada<ada@example.com> 1 +0\ncommitter Ada <> 1 +0\n\nOld\n");
    let sha = hostile.feed(&["hash-object", "-t", "commit", "-w", "--literally", "--stdin"], &sloppy);
    hostile.world.git(&["update-ref", "refs/heads/old", &sha]);
    let outcome = hostile.check_out(&sha).await;
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
}
