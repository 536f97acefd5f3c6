//! What the rest of Landfall asks git.

use landfall_stages::git;

use crate::world::World;

#[tokio::test]
async fn a_working_copy_tells_its_commit_its_branch_and_whether_it_is_dirty() {
    let world = World::new();
    let sha = world.commit(&[("app.py", "1\n"), ("sub/deep.txt", "\0binary\n")]);
    let inside = world.repository().join("sub");
    let head = git::head(&inside).await.unwrap();
    assert_eq!((head.sha.as_str(), head.branch.as_deref()), (sha.as_str(), Some("main")));
    assert_eq!((head.subject.as_str(), head.author.as_str()), ("A change", "Ada"));
    assert_eq!(head.email, "ada@example.com");
    assert_eq!(git::top_level(&inside).await.unwrap(), world.repository().canonicalize().unwrap());

    assert!(!git::is_dirty(&inside).await.unwrap());
    std::fs::write(world.repository().join("new.txt"), "").unwrap();
    assert!(git::is_dirty(&inside).await.unwrap());

    world.git(&["checkout", "-q", "--detach"]);
    assert_eq!(git::head(&inside).await.unwrap().branch, None);
}

#[tokio::test]
async fn commits_and_their_files_are_read_by_hash() {
    let world = World::new();
    let old = world.commit(&[("app.py", "1\n"), ("sub/deep.txt", "\0binary\n")]);
    let new = world.commit(&[("app.py", "2\n")]);
    let repository = world.repository();
    let file = async |sha: &str, path: &str| git::show_file(&repository, sha, path).await.unwrap();
    assert_eq!(file(&old, "app.py").await.as_deref(), Some(b"1\n".as_slice()));
    assert_eq!(file(&new, "app.py").await.as_deref(), Some(b"2\n".as_slice()));
    assert_eq!(file(&old, "sub/deep.txt").await.as_deref(), Some(b"\0binary\n".as_slice()));
    for missing in ["nothing.py", "sub", "../app.py", "a\nb"] {
        assert_eq!(file(&old, missing).await, None, "{missing}");
    }
    assert_eq!(file(&"a".repeat(40), "app.py").await, None);
    assert!(git::show_file(&repository, "HEAD", "app.py").await.is_err());

    assert_eq!(git::commit(&repository, &old).await.unwrap().subject, "A change");
    assert!(git::commit(&repository, &"a".repeat(40)).await.is_err());
    assert_eq!(git::resolve(&repository, "main").await.unwrap().as_ref(), Some(&new));
    assert_eq!(git::resolve(&repository, &old[..8]).await.unwrap().as_ref(), Some(&old));
    for nothing in ["no-such-branch", "--all", "-h", "HEAD:app.py"] {
        assert_eq!(git::resolve(&repository, nothing).await.unwrap(), None, "{nothing}");
    }
}

#[tokio::test]
async fn a_bare_repository_is_made_once_and_takes_pushes() {
    let world = World::new();
    let sha = world.commit(&[("app.py", "1\n")]);
    let bare = world.dir.path().join("shop.git");
    git::init_bare(&bare).await.unwrap();
    world.git(&["push", "-q", bare.to_str().unwrap(), "main"]);
    git::init_bare(&bare).await.unwrap();
    assert_eq!(git::resolve(&bare, "refs/heads/main").await.unwrap(), Some(sha));
    assert!(git::top_level(&bare).await.is_err());
}

#[tokio::test]
async fn a_folder_that_is_no_repository_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let error = git::head(dir.path()).await.unwrap_err().to_string();
    assert!(error.contains("not a git repository") && !error.contains('\n'), "{error}");
}
