//! The way between commits of real repositories.

use tempfile::TempDir;
use tokio::process::Command;

use super::*;

struct Repository(TempDir);

impl Repository {
    async fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        made.git(&["init", "--quiet", "--initial-branch=main"]).await;
        made
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path()).args(arguments).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.path());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
            command.env(format!("GIT_{who}_DATE"), "1764244800 +0000");
        }
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn commit(&self, file: &str, text: &[u8], subject: &str) -> String {
        std::fs::write(self.path().join(file), text).unwrap();
        self.git(&["add", "--all"]).await;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]).await;
        self.git(&["rev-parse", "HEAD"]).await
    }
}

fn subjects(told: &[Told]) -> Vec<&str> {
    told.iter().map(|told| told.commit.subject.as_str()).collect()
}

#[tokio::test]
async fn commits_and_files_are_told_forwards_and_backwards() {
    let repository = Repository::new().await;
    let first = repository.commit("app.py", b"one\ntwo\n", "First").await;
    repository.commit("app.py", b"one\nthree\nfour\n", "Second\n\nwith a body").await;
    let last = repository.commit("logo.png", b"\x89PNG\0\0", "A \t picture").await;

    let way = between(repository.path(), &first, &last).await.unwrap();
    assert_eq!(subjects(&way.added), ["A \t picture", "Second"]);
    assert_eq!((way.added_count, way.dropped_count, way.files_count), (2, 0, 2));
    assert_eq!(
        (way.added[0].commit.sha.as_str(), way.added[0].committed_ms),
        (last.as_str(), 1_764_244_800_000)
    );
    assert_eq!(
        (way.added[0].commit.author.as_str(), way.added[0].commit.email.as_str()),
        ("Ada", "ada@example.com")
    );
    let text = ChangedFile { path: "app.py".into(), added: Some(2), deleted: Some(1) };
    let picture = ChangedFile { path: "logo.png".into(), added: None, deleted: None };
    assert_eq!(way.files, [text, picture]);

    let back = between(repository.path(), &last, &first).await.unwrap();
    assert_eq!((back.added_count, subjects(&back.dropped)), (0, vec!["A \t picture", "Second"]));
    assert_eq!(back.files[0], ChangedFile { path: "app.py".into(), added: Some(1), deleted: Some(2) });
    let none = between(repository.path(), &last, &last).await.unwrap();
    assert_eq!(none, Between::default());
}

#[tokio::test]
async fn what_is_long_is_cut_and_counted() {
    let repository = Repository::new().await;
    let first = repository.commit("app.py", b"one\n", "First").await;
    for file in 0..FILES_MAX + 5 {
        std::fs::write(repository.path().join(format!("file-{file:04}")), "x\n").unwrap();
    }
    let mut last = String::new();
    for nth in 0..COMMITS_MAX + 3 {
        last = repository.commit("app.py", format!("{nth}\n").as_bytes(), &format!("Commit {nth}")).await;
    }
    let way = between(repository.path(), &first, &last).await.unwrap();
    assert_eq!((way.added.len(), way.added_count), (COMMITS_MAX, 103));
    assert_eq!((way.files.len(), way.files_count), (FILES_MAX, 306));
    assert_eq!(way.added[0].commit.subject, "Commit 102", "the newest are told");
}

#[tokio::test]
async fn two_branches_have_what_the_other_has_not() {
    let repository = Repository::new().await;
    repository.commit("app.py", b"one\n", "First").await;
    repository.git(&["switch", "--quiet", "-c", "left"]).await;
    let left = repository.commit("left.py", b"l\n", "Left").await;
    repository.git(&["switch", "--quiet", "main"]).await;
    let right = repository.commit("right.py", b"r\n", "Right").await;
    let way = between(repository.path(), &left, &right).await.unwrap();
    assert_eq!((subjects(&way.added), subjects(&way.dropped)), (vec!["Right"], vec!["Left"]));
}

#[tokio::test]
async fn a_commit_that_is_gone_a_stranger_and_an_option_are_each_refused() {
    let repository = Repository::new().await;
    let first = repository.commit("app.py", b"one\n", "First").await;
    repository.git(&["switch", "--quiet", "--orphan", "other"]).await;
    let other = repository.commit("other.py", b"o\n", "Other").await;
    let refused = async |from: &str, to: &str| between(repository.path(), from, to).await.unwrap_err();
    let error = refused(&first, &other).await;
    assert!(matches!(error, NoWay::Unrelated(..)), "{error}");
    let error = refused(&first, &"a".repeat(40)).await;
    assert_eq!(
        error.to_string(),
        "the repository does not have the commit aaaaaaaaaaaa any more: was its history rewritten?"
    );
    for odd in ["--output=/tmp/x", "HEAD", "main..other", ""] {
        let error = refused(&first, odd).await;
        assert!(matches!(error, NoWay::Git(GitError::NotASha(_))), "{odd}: {error}");
    }
}

#[tokio::test]
async fn a_mirror_that_has_single_commits_fetches_what_lies_between() {
    let (repository, data) = (Repository::new().await, tempfile::tempdir().unwrap());
    let first = repository.commit("app.py", b"one\n", "First").await;
    repository.commit("app.py", b"two\n", "Second").await;
    let last = repository.commit("app.py", b"three\n", "Third").await;
    repository.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]).await;
    // A URL, so that it is mirrored as one that is elsewhere.
    let url = format!("file://{}", repository.path().display());
    let access = Access::own();
    for sha in [&first, &last] {
        super::super::remote::fetch_commit(data.path(), &url, sha, &access).await.unwrap();
    }
    let mirror = deepen(data.path(), &url, [&first, &last], &access).await.unwrap();
    let way = between(&mirror, &first, &last).await.unwrap();
    assert_eq!((subjects(&way.added), way.dropped_count), (vec!["Third", "Second"], 0));
    // Once more, from another commit that was fetched alone since.
    let newest = repository.commit("app.py", b"four\n", "Fourth").await;
    super::super::remote::fetch_commit(data.path(), &url, &newest, &access).await.unwrap();
    let mirror = deepen(data.path(), &url, [&first, &newest], &access).await.unwrap();
    assert_eq!(between(&mirror, &first, &newest).await.unwrap().added_count, 3);
}
