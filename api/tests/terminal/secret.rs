//! `landfall secret` on a folder that no server has: what goes in, what is shown, and what is refused.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::{command, said};

/// A data folder, and beside it a place for keys.
struct Place {
    data: TempDir,
    beside: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { data: tempfile::tempdir().unwrap(), beside: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    fn key(&self) -> PathBuf {
        self.beside.path().join("keys/vault.key")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.beside.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&self.data(), &[&["secret"], args].concat());
        command.env("LANDFALL_VAULT_KEY_FILE", self.key()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", said(&output));
        said(&output)
    }

    /// Sets a secret by a pipe.
    fn pipe(&self, args: &[&str], value: &[u8]) -> Output {
        let mut command = self.command(&[&["set"], args].concat());
        let mut setting =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Who refuses the name has not waited for the value.
        let _ = setting.stdin.take().unwrap().write_all(value);
        setting.wait_with_output().unwrap()
    }
}

fn vault(data: &Path) -> String {
    fs::read_to_string(data.join("vault/secrets")).unwrap()
}

#[test]
fn a_secret_goes_in_by_a_pipe_or_a_file_is_listed_by_name_and_taken_away() {
    let place = Place::new();
    assert!(place.ok(&["list", "shop"]).contains("no secrets are set for shop"));
    let set = place.pipe(&["shop", "DATABASE_URL"], b"postgres://hunter2\n");
    let stdout = String::from_utf8_lossy(&set.stdout);
    assert!(set.status.success() && stdout.contains("DATABASE_URL is set for shop;"), "{}", said(&set));
    let pem = place.file("key.pem", "-----BEGIN KEY-----\nabc\n-----END KEY-----\n");
    place.ok(&["set", "shop", "SIGNING_KEY", "--env", "staging", "--from-file", &pem]);

    let listed = place.ok(&["list", "shop"]);
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(rows, [["NAME", "ENVIRONMENT"], ["DATABASE_URL", "every"], ["SIGNING_KEY", "staging"]]);
    let json = place.ok(&["list", "shop", "--json"]);
    assert!(json.lines().all(|line| line.starts_with("{\"name\":\"")) && json.lines().count() == 2, "{json}");
    for shown in [&listed, &json, &vault(&place.data())] {
        assert!(!shown.contains("hunter2") && !shown.contains("BEGIN KEY"), "{shown}");
    }
    assert_eq!(fs::metadata(place.key()).unwrap().permissions().mode() & 0o777, 0o600);

    assert!(place.ok(&["rm", "shop", "DATABASE_URL"]).contains("is taken away from shop"));
    let gone = place.fails(&["rm", "shop", "DATABASE_URL"], 66);
    assert!(gone.contains("shop has no secret \"DATABASE_URL\" of its own"), "{gone}");
}

#[test]
fn what_can_not_be_kept_is_said_before_anybody_types_it_in_vain() {
    let place = Place::new();
    for (args, said_of_it) in [
        (&["shop", "database_url"][..], "no name of a secret"),
        (&["shop", "PORT"], "is set by Landfall in every container"),
        (&["Shop!", "A"], "can't be the name of an app"),
        (&["shop", "A", "--env", "No!"], "can't be the name of an environment"),
    ] {
        let refused = place.pipe(args, b"hunter2");
        assert!(
            refused.status.code() == Some(64) && said(&refused).contains(said_of_it),
            "{}",
            said(&refused)
        );
    }
    for (value, said_of_it) in [
        (&b""[..], "the value is empty"),
        (b"\n", "the value is empty"),
        (b"hunter2\xff", "no UTF-8 text"),
        (b"hunter2\0", "NUL"),
        (&[b'x'; 70_000], "longer than 64 KiB"),
    ] {
        let refused = place.pipe(&["shop", "A"], value);
        let told = said(&refused);
        assert!(refused.status.code() == Some(64) && told.contains(said_of_it), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    assert!(!place.key().exists() && !place.data().join("vault").exists(), "nothing was made");
    assert_eq!(place.pipe(&["shop", "A"], &[b'x'; 64 * 1024]).status.code(), Some(0));
    let short = place.pipe(&["shop", "B"], b"abc");
    assert!(short.status.success() && said(&short).contains("it is not masked"), "{}", said(&short));
}

#[test]
fn a_file_of_values_is_imported_whole_or_not_at_all() {
    let place = Place::new();
    let file = place.file("env", "# of the shop\nA='p$w #1'\nexport B=\"two\\nlines\"\n");
    let kept = place.ok(&["import", "shop", "--env-file", &file, "--env", "staging"]);
    assert_eq!(kept, "A is set for shop/staging\nB is set for shop/staging\n");
    let file = place.file("bad", "C=1\nPORT=80\n");
    let refused = place.fails(&["import", "shop", "--env-file", &file], 64);
    assert!(refused.contains("PORT in") && refused.contains("so nothing was"), "{refused}");
    let file = place.file("worse", "C=1\nhunter2\n");
    let refused = place.fails(&["import", "shop", "--env-file", &file], 69);
    assert!(refused.contains("worse:2: expected NAME=value") && !refused.contains("hunter2"), "{refused}");
    assert!(!place.ok(&["list", "shop"]).contains('C'), "nothing of a bad file is kept");
}

#[test]
fn a_key_inside_the_data_folder_and_one_that_is_gone_are_refused_with_what_to_do() {
    let place = Place::new();
    let inside = place.data().join("vault.key");
    let mut command = place.command(&["set", "shop", "A", "--from-file", "/etc/hostname"]);
    let refused = command.env("LANDFALL_VAULT_KEY_FILE", &inside).output().unwrap();
    let told = said(&refused);
    assert_eq!(refused.status.code(), Some(69), "{told}");
    assert!(
        told.contains("is inside the data folder") && told.contains("--vault-key") && !inside.exists(),
        "{told}"
    );

    assert!(place.pipe(&["shop", "A"], b"first value").status.success());
    fs::rename(place.key(), place.key().with_extension("away")).unwrap();
    let refused = place.pipe(&["shop", "A"], b"second value");
    assert!(
        refused.status.code() == Some(69) && said(&refused).contains("bring it back"),
        "{}",
        said(&refused)
    );
    assert!(!place.key().exists(), "no second key is made");
    fs::write(place.key(), "0f".repeat(32)).unwrap();
    let refused = place.pipe(&["shop", "A"], b"second value");
    assert!(said(&refused).contains("is not the one that"), "{}", said(&refused));
}

#[test]
fn another_key_takes_the_place_of_the_old_one() {
    let place = Place::new();
    assert!(place.pipe(&["shop", "A"], b"the value").status.success());
    let before = vault(&place.data());
    let new = place.beside.path().join("new.key").display().to_string();
    let told = place.ok(&["rekey", "--new-key", &new]);
    assert!(told.starts_with("1 secrets are sealed with the key in"), "{told}");
    assert_ne!(vault(&place.data()), before);
    assert_eq!(place.pipe(&["shop", "B"], b"another").status.code(), Some(69), "the old key opens nothing");
    let with_new = place.pipe(&["shop", "B", "--vault-key", &new], b"another");
    assert!(with_new.status.success(), "{}", said(&with_new));
}

#[test]
fn who_set_what_is_in_the_log_and_no_value_is() {
    let place = Place::new();
    assert!(place.pipe(&["shop", "DATABASE_URL"], b"hunter2-of-the-shop").status.success());
    let log = fs::read(place.data().join("log/00000000000000000001.seg")).unwrap();
    let holds = |text: &str| log.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("secret_set") && holds("DATABASE_URL") && holds("\"ada\""));
    assert!(!holds("hunter2-of-the-shop"));
}
