//! What a git of ours is let in by, and where that is seen.

use landfall_engine::core::ledger::Registration;
use std::collections::BTreeMap;

use super::*;

const KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----";

fn opened(access: &Access) -> BTreeMap<String, String> {
    let mut command = super::super::bare_git();
    access.open(&mut command);
    let command = command.as_std();
    assert!(command.get_args().all(|argument| !argument.to_string_lossy().contains("s3cret")));
    let set = command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn refusal(url: &str, credential: &str) -> String {
    let data = tempfile::tempdir().unwrap();
    Access::with("shop", url, credential, data.path()).unwrap_err().to_string()
}

#[test]
fn a_token_is_handed_to_its_own_host_and_stands_in_no_argument() {
    let data = tempfile::tempdir().unwrap();
    let access =
        Access::with("shop", "https://git.example.com:8443/a/shop.git", "s3cret", data.path()).unwrap();
    let env = opened(&access);
    assert_eq!(env["GIT_CONFIG_KEY_0"], "credential.helper");
    assert_eq!(env["GIT_CONFIG_VALUE_0"], "", "the user's own helpers are left out");
    assert_eq!(env["GIT_CONFIG_KEY_1"], "credential.https://git.example.com:8443.helper");
    assert!(!env["GIT_CONFIG_VALUE_1"].contains("s3cret"), "the helper finds it in its environment");
    assert_eq!((env["LANDFALL_GIT_USER"].as_str(), env["LANDFALL_GIT_TOKEN"].as_str()), (USER, "s3cret"));
    assert!(!format!("{access:?}").contains("s3cret"));
    assert_eq!(access.without_token("denied: s3cret"), "denied: ***");

    let named = Access::with("shop", "https://bitbucket.org/a/shop", "ada:s3cret\n", data.path()).unwrap();
    assert_eq!(opened(&named)["LANDFALL_GIT_USER"], "ada");
    let alone = Access::with("shop", "https://bitbucket.org/a/shop", "s3cret", data.path()).unwrap();
    assert_eq!(opened(&alone)["LANDFALL_GIT_USER"], USER_OF_BITBUCKET);
}

#[test]
fn a_key_lies_in_a_file_that_only_we_can_read_and_goes_with_its_access() {
    let data = tempfile::tempdir().unwrap();
    let access =
        Access::with("shop", "git@example.com:a/shop.git", &KEY.replace('\n', "\r\n"), data.path()).unwrap();
    let command = opened(&access)["GIT_SSH_COMMAND"].clone();
    let key = command.split('\'').nth(1).map(PathBuf::from).unwrap();
    assert_eq!(fs::read_to_string(&key).unwrap(), format!("{KEY}\n"));
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(key.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let known_hosts = data.path().join("sources/known_hosts");
    for option in [
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=accept-new",
        &format!("UserKnownHostsFile=\"{}\"", known_hosts.display()),
    ] {
        assert!(command.contains(&format!("-o '{option}'")), "{command}");
    }
    drop(access);
    assert!(!key.parent().unwrap().exists());
}

#[test]
fn a_credential_that_does_not_fit_its_url_is_refused_and_not_repeated() {
    for (url, credential, why) in [
        ("http://git.example.com/shop.git", "s3cret", "unencrypted"),
        ("https://git.example.com/shop.git", "s3cret\nmore", "on one line"),
        ("https://git.example.com/shop.git", KEY, "on one line"),
        ("ssh://git@example.com/shop.git", "s3cret", "expected a private ssh key"),
        ("git@example.com:shop.git", "s3cret", "expected a private ssh key"),
    ] {
        let said = refusal(url, credential);
        assert!(said.contains(why) && !said.contains("s3cret"), "{url}: {said}");
    }
    let data = tempfile::tempdir().unwrap();
    for url in ["http://127.0.0.1:3000/shop.git", "http://localhost/shop.git", "http://[::1]:3000/shop.git"] {
        assert!(Access::with("shop", url, "s3cret", data.path()).is_ok(), "{url}");
    }
}

#[test]
fn a_path_with_a_quote_or_a_space_is_one_word_of_the_ssh_command() {
    let command = ssh_command(Path::new("/tmp/o'brien's key"), Path::new("/da ta/known_hosts"));
    let words = std::process::Command::new("sh").args(["-c", &format!("printf '%s\\n' {command}")]).output();
    let words = String::from_utf8(words.unwrap().stdout).unwrap();
    let words: Vec<&str> = words.lines().collect();
    assert_eq!(words[..3], ["ssh", "-i", "/tmp/o'brien's key"]);
    assert!(words.contains(&"UserKnownHostsFile=\"/da ta/known_hosts\""), "{words:?}");
}

#[test]
fn a_credential_is_for_the_registered_url_of_its_app_alone() {
    let url = "https://example.com/shop";
    let ledger = |secret: &str| {
        let source = Source::Git { url: url.into(), credential: Some(secret.into()) };
        let mut ledger = Ledger::default();
        ledger.apps.insert("shop".into(), Registration { source, ..Registration::default() });
        ledger
    };
    let keys = RepositoryKeys::default();
    keys.clone().begin(ledger("OLD"));
    assert_eq!(keys.of("shop", url).as_deref(), Some("OLD"));
    let (changes, engine) = watch::channel(Arc::new(ledger("NEW")));
    keys.follow(engine);
    assert_eq!(keys.of("shop", url).as_deref(), Some("NEW"));
    changes.send_replace(Arc::new(ledger("NEWEST")));
    assert_eq!(keys.of("shop", url).as_deref(), Some("NEWEST"));
    assert_eq!(keys.of("shop", "https://evil.example/shop"), None);
    assert_eq!(keys.of("blog", url), None);
}

/// Stands in for ssh: notes the key that it was given, then does on this machine what it was to do on the other.
const SSH: &str = r#"#!/bin/sh
test "$1" = -i && stat -c %a "$2" > "$SAW" && cat "$2" >> "$SAW"
printf '%s\n' "$@" >> "$SAW"
test -z "$SSH_AUTH_SOCK" || echo agent >> "$SAW"
for last; do :; done
exec sh -c "git ${last#git-}"
"#;

#[tokio::test]
async fn git_reaches_a_repository_behind_ssh_with_the_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (ssh, saw, repository) =
        (dir.path().join("bin/ssh"), dir.path().join("saw"), dir.path().join("shop.git"));
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::write(&ssh, SSH).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    super::super::init_bare(&repository).await.unwrap();

    let url = format!("ssh://git@example.com{}", repository.display());
    let access = Access::with("shop", &url, KEY, dir.path()).unwrap();
    let mut list = super::super::bare_git();
    list.args(["ls-remote", "--", &url]);
    list.env("SSH_AUTH_SOCK", "/run/agent").env("SAW", &saw);
    access.open(&mut list);
    let path = std::env::var("PATH").unwrap();
    list.env("PATH", format!("{}:{path}", ssh.parent().unwrap().display()));
    super::super::run(&mut list, "asking").await.unwrap();

    let seen = fs::read_to_string(&saw).unwrap();
    assert!(seen.starts_with(&format!("600\n{KEY}\n-i\n")), "{seen}");
    assert!(seen.contains("git@example.com") && !seen.contains("agent"), "{seen}");
}
