//! What is laid out is what was pushed, or there is a word why not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use landfall_engine::core::command::Outcome;
use landfall_engine::core::facts::Facts;
use landfall_engine::core::run::Run;
use landfall_engine::core::stage::Stage;
use landfall_engine::ports::{Probe, StageExecutor};

use crate::world::{Lines, World, failure, git_in};

async fn checked_out(world: &World, run: &Run) -> Outcome {
    world.stages.execute(&world.order(run, Stage::Checkout, 1), &Lines::default().output()).await
}

async fn refused(world: &World, sha: &str, repository: &Path) -> String {
    let run = world.pushed(sha, repository.to_str().unwrap());
    failure(checked_out(world, &run).await).reason
}

#[tokio::test]
async fn exactly_the_pushed_commit_is_laid_out_and_nothing_of_git() {
    let world = World::new();
    std::os::unix::fs::symlink("app.py", world.repository().join("link")).unwrap_or_else(|_| panic!());
    let sha = world.commit(&[
        ("app.py", "version = 1\n"),
        ("bin/run.sh", "#!/bin/sh\n"),
        ("tests/secret.txt", "$Format:%H$\n"),
        ("grün und weit.txt", "ü\n"),
        (".gitattributes", "tests/** export-ignore export-subst\n*.bat text eol=crlf\n"),
        ("start.bat", "one\ntwo\n"),
        (".gitignore", "*.log\n"),
    ]);
    world.git(&["update-index", "--chmod=+x", "bin/run.sh"]);
    let sha = {
        world.git(&["commit", "-q", "-m", "executable"]);
        let newer = world.git(&["rev-parse", "HEAD"]);
        assert_ne!(newer, sha);
        newer
    };
    world.commit(&[("app.py", "version = 2\n"), ("later.txt", "")]);
    let bare = world.dir.path().join("bare.git");
    git_in(world.dir.path(), &["clone", "-q", "--bare", "app", bare.to_str().unwrap()]);

    for repository in [world.repository(), bare] {
        let run = world.pushed(&sha, repository.to_str().unwrap());
        let outcome = checked_out(&world, &run).await;
        let Outcome::Succeeded(Facts::Checkout(facts)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(facts.tree, world.git(&["rev-parse", &format!("{sha}^{{tree}}")]));
        assert_eq!(facts.configured_by, "defaults");

        let source = world.work_dir(&run).join("source");
        let read = |name: &str| fs::read_to_string(source.join(name)).unwrap();
        assert_eq!(read("app.py"), "version = 1\n");
        assert_eq!(read("tests/secret.txt"), "$Format:%H$\n");
        assert_eq!(read("grün und weit.txt"), "ü\n");
        assert_eq!(read("start.bat"), "one\r\ntwo\r\n");
        assert_eq!(fs::read_link(source.join("link")).unwrap(), Path::new("app.py"));
        assert_ne!(fs::metadata(source.join("bin/run.sh")).unwrap().permissions().mode() & 0o111, 0);
        assert!(!source.join(".git").exists() && !source.join("later.txt").exists());
    }
    // The repository itself was only read.
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_probe_believes_files_that_are_the_commits_and_no_others() {
    let world = World::new();
    let run = world.checked_out(&[("app.py", "1\n"), (".gitignore", "*.log\n")]).await;
    let order = world.order(&run, Stage::Checkout, 1);
    let source = world.work_dir(&run).join("source");
    let found = || async {
        match world.stages.probe(&order).await.unwrap() {
            Probe::Done(Outcome::Succeeded(Facts::Checkout(_))) => true,
            Probe::NotStarted => false,
            other => panic!("{other:?}"),
        }
    };
    assert!(found().await);

    let again = || async { checked_out(&world, &run).await };
    for (name, content) in [("app.py", "2\n"), ("new.py", ""), ("hidden.log", "")] {
        fs::write(source.join(name), content).unwrap();
        assert!(!found().await, "{name}");
        assert!(matches!(again().await, Outcome::Succeeded(_)));
        assert!(found().await);
    }
    fs::remove_file(source.join("app.py")).unwrap();
    assert!(!found().await);
    again().await;
    fs::remove_file(world.work_dir(&run).join("checkout.json")).unwrap();
    assert!(!found().await);

    world.stages.undo(&order).await.unwrap();
    assert!(!world.work_dir(&run).exists());
    world.stages.undo(&order).await.unwrap();
    assert!(!found().await);
}

#[tokio::test]
async fn a_commit_that_is_not_there_is_said() {
    let world = World::new();
    world.commit(&[("app.py", "")]);
    let reason = refused(&world, &"a".repeat(40), &world.repository()).await;
    assert!(reason.contains("aaaaaaaaaaaa does not exist") && reason.contains("push it"), "{reason}");
    let reason = refused(&world, "--output=/etc/passwd", &world.repository()).await;
    assert!(reason.contains("is not a full commit hash"), "{reason}");
    let reason = refused(&world, &"a".repeat(40), Path::new("/nowhere/at/all")).await;
    assert!(reason.contains("no git repository at /nowhere/at/all"), "{reason}");
}

#[tokio::test]
async fn a_shallow_clone_that_lacks_the_commit_is_said_and_one_that_has_it_is_good_enough() {
    let world = World::new();
    let old = world.commit(&[("app.py", "1")]);
    let new = world.commit(&[("app.py", "2")]);
    let shallow = world.dir.path().join("shallow");
    let url = format!("file://{}", world.repository().display());
    git_in(world.dir.path(), &["clone", "-q", "--depth", "1", &url, shallow.to_str().unwrap()]);
    let reason = refused(&world, &old, &shallow).await;
    assert!(reason.contains("shallow clone") && reason.contains("git fetch --unshallow"), "{reason}");
    let run = world.pushed(&new, shallow.to_str().unwrap());
    assert!(matches!(checked_out(&world, &run).await, Outcome::Succeeded(_)));
}

#[tokio::test]
async fn submodules_are_said() {
    let world = World::new();
    let head = world.commit(&[("app.py", "")]);
    world.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},vendor/lib")]);
    world.git(&["commit", "-q", "-m", "submodule"]);
    let reason = refused(&world, &world.git(&["rev-parse", "HEAD"]), &world.repository()).await;
    assert!(reason.contains("submodules (vendor/lib)"), "{reason}");
}

#[tokio::test]
async fn files_that_stayed_in_git_lfs_are_said() {
    let world = World::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let sha = world.commit(&[
        (".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n"),
        ("logo.bin", pointer),
        ("real.bin", "bytes"),
        ("notes.txt", pointer),
    ]);
    let reason = refused(&world, &sha, &world.repository()).await;
    assert!(reason.contains("git-lfs") && reason.contains("(logo.bin)"), "{reason}");
    assert!(reason.contains("git lfs install"), "{reason}");
}

#[tokio::test]
async fn a_configuration_that_can_not_be_read_is_red_with_its_own_message() {
    let world = World::new();
    let sha = world.commit(&[("landfall.toml", "[test]\ncomand = \"pytest\"\n")]);
    let reason = refused(&world, &sha, &world.repository()).await;
    assert!(reason.contains("comand") && reason.contains("landfall.toml"), "{reason}");
}

#[tokio::test]
async fn a_secret_in_clear_text_of_any_environment_is_refused_before_it_is_recorded() {
    let world = World::new();
    let named = "[env]\nsecret = [\"DATABASE_URL\"]\n";
    for section in ["", "[env.staging]\n"] {
        let config = format!("{named}{section}clear = {{ URL = \"postgres://s3cret\" }}\n");
        let sha = world.commit(&[("landfall.toml", config.as_str())]);
        let reason = refused(&world, &sha, &world.repository()).await;
        assert!(reason.contains("the value of the secret DATABASE_URL in URL"), "{section}: {reason}");
        assert!(!reason.contains("s3cret"), "{section}: {reason}");
    }
}

#[tokio::test]
async fn a_secret_that_nobody_set_is_missed_before_anything_is_tested_or_built() {
    let world = World::new();
    for config in [
        "[env]\nsecret = [\"DATABASE_URL\", \"STRIPE_KEY\"]\n",
        "[env]\nfiles = { \"/run/key.pem\" = \"STRIPE_KEY\" }\n",
        "[build]\nsecrets = [\"STRIPE_KEY\"]\n",
        "[registry]\nserver = \"127.0.0.1:5000\"\nusername = \"ci\"\npassword = [\"STRIPE_KEY\"]\n",
        "[env.production]\nsecret = [\"STRIPE_KEY\"]\n",
    ] {
        let sha = world.commit(&[("landfall.toml", config)]);
        let reason = refused(&world, &sha, &world.repository()).await;
        assert!(reason.starts_with("landfall.toml: the secret STRIPE_KEY is not set"), "{config}: {reason}");
    }
    let sha = world.commit(&[("landfall.toml", "[env.staging]\nsecret = [\"STRIPE_KEY\"]\n")]);
    let run = world.pushed(&sha, world.repository().to_str().unwrap());
    assert!(matches!(checked_out(&world, &run).await, Outcome::Succeeded(_)), "another environment's");
}

#[tokio::test]
async fn hooks_and_filters_of_the_repository_are_not_run() {
    let world = World::new();
    let sha = world.commit(&[("app.py", "1\n")]);
    let trap = world.dir.path().join("sprung");
    let hook = world.repository().join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", trap.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    world.git(&["config", "core.fsmonitor", &format!("touch {}", trap.display())]);
    let run = world.pushed(&sha, world.repository().to_str().unwrap());
    assert!(matches!(checked_out(&world, &run).await, Outcome::Succeeded(_)));
    assert!(!trap.exists());
}
