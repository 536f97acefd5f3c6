//! Pushes that try to leave something behind which git, or a checkout, would follow.

use std::process::Stdio;

use landfall_engine::core::run::RunState;
use tokio::io::AsyncWriteExt;

use crate::fixture::{TestServer, WorkingCopy, stderr};

/// Hands git something to read and returns what it prints.
async fn feed(copy: &WorkingCopy, arguments: &[&str], input: &str) -> String {
    let mut git = copy.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    git.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = git.wait_with_output().await.unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_tree_with_a_git_folder_in_it_is_refused_before_a_branch_moves() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let config =
        feed(&copy, &["hash-object", "-w", "--stdin"], "[core]\n\tfsmonitor = touch /tmp/sprung\n").await;
    let inner = feed(&copy, &["mktree"], &format!("100644 blob {config}\tconfig\n")).await;
    for name in [".git", ".Git", "git~1"] {
        let tree = feed(&copy, &["mktree"], &format!("040000 tree {inner}\t{name}\n")).await;
        let sha = copy.git(&["commit-tree", &tree, "-m", "Hostile"]).await;
        let refspec = format!("{}:refs/heads/main", sha.trim());
        let output = copy.try_git(&["push", &server.remote("shop"), &refspec]).await;
        let seen = stderr(&output);
        assert!(!output.status.success() && seen.contains("hasDotgit"), "{name}: {seen}");
    }
    assert!(server.runs().await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn what_old_tools_wrote_sloppily_is_taken() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path()).await;
    let copy = WorkingCopy::new().await;
    let tree = copy.git(&["rev-parse", "HEAD^{tree}"]).await;
    let sloppy =
        format!("tree {}\nauthor Ada<ada@example.com> 1 +0\ncommitter Ada <> 1 +0\n\nOld\n", tree.trim());
    let sha = feed(&copy, &["hash-object", "-t", "commit", "-w", "--literally", "--stdin"], &sloppy).await;
    copy.push(&server.remote("shop"), &[&format!("{sha}:refs/heads/main")]).await;
    assert_eq!(server.states().await, [RunState::Live]);
    server.stop().await;
}
