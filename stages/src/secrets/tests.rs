//! Where values come from, which one wins, and that none is shown.

use super::*;

fn pairs(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let owned: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    owned.into_iter()
}

#[test]
fn the_environment_wins_over_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "A=from file\nB=only in file\n").unwrap();
    let secrets = Secrets::new(pairs(&[("A", "from env")]), Some(file.path())).unwrap();
    assert_eq!(secrets.get("A"), Ok("from env"));
    assert_eq!(secrets.get("B"), Ok("only in file"));
}

#[test]
fn a_missing_secret_says_where_to_put_it() {
    let missing = Secrets::default().get("DATABASE_URL").unwrap_err();
    assert_eq!(
        missing.to_string(),
        "the secret DATABASE_URL is not set: put it into the environment of the landfall process"
    );
}

#[test]
fn a_bad_line_is_named_and_not_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "A=1\nhunter2 without a name\n").unwrap();
    let error = Secrets::new(pairs(&[]), Some(file.path())).unwrap_err().to_string();
    assert!(error.ends_with(":2: expected NAME=value"), "{error}");
}

#[test]
fn no_value_is_shown_by_debug() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "TOKEN=hunter2\n").unwrap();
    let secrets = Secrets::new(pairs(&[("HOME", "/home/hunter2")]), Some(file.path())).unwrap();
    let shown = format!("{secrets:?} {:?}", secrets.masker(None));
    assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn every_secret_that_the_settings_name_is_masked() {
    let mut settings = Settings::default();
    settings.registry.password = Some("REGISTRY".into());
    settings.env.secret = vec!["DATABASE_URL".into()];
    settings.build.secrets = vec!["PIP".into()];
    settings.notify.developer = vec!["webhook:HOOK".into(), "email:author".into()];
    settings.notify.ops = vec!["slack:OPS".into()];
    let values = [
        ("REGISTRY", "registry-pw"),
        ("DATABASE_URL", "postgres://pw"),
        ("PIP", "pip-token"),
        ("HOOK", "https://hooks.example.com/in/T1/B2/abcdefgh"),
        ("OPS", "https://slack.example.com/services/zyxw"),
        (SMTP_URL, "smtp://mailer:mail%20pw@127.0.0.1:25"),
        ("OTHER", "not-named"),
    ];
    let masker = Secrets::new(pairs(&values), None).unwrap().masker(Some(&settings));
    let said = "registry-pw postgres://pw pip-token /in/T1/B2/abcdefgh /services/zyxw mail pw not-named";
    assert_eq!(masker.mask(said), "*** *** *** *** *** *** not-named");
}

/// Returns the secrets of a process with one variable, and of a vault with a value for the app and one environment.
fn with_vault(folder: &Path) -> Secrets {
    let key = KeyPlace::find(Some(&folder.join("vault.key")));
    let vault = Vault::new(&folder.join("data"), key);
    std::fs::create_dir(folder.join("data")).unwrap();
    let set = |env: Option<&str>, name: &str, value: &str| {
        let scope = Scope { app: "shop".into(), env: env.map(str::to_owned) };
        vault.set(&scope, name, value, 1).unwrap();
    };
    set(None, "A", "vault-app");
    set(None, "B", "vault-app-b");
    set(Some("staging"), "A", "vault-staging");
    Secrets::new(pairs(&[("A", "process-a"), ("C", "process-c")]), None).unwrap().with_vault(vault)
}

#[test]
fn the_vault_wins_over_the_process_and_the_environment_over_the_app() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = with_vault(folder.path());
    let get = |app: &str, env: Option<&str>, name: &str| {
        secrets.for_app(app, env).unwrap().get(name).map(str::to_owned).ok()
    };
    assert_eq!(get("shop", Some("staging"), "A").as_deref(), Some("vault-staging"));
    assert_eq!(get("shop", Some("production"), "A").as_deref(), Some("vault-app"));
    assert_eq!(get("shop", None, "B").as_deref(), Some("vault-app-b"));
    assert_eq!(get("blog", Some("staging"), "A").as_deref(), Some("process-a"));
    assert_eq!(get("shop", Some("staging"), "C").as_deref(), Some("process-c"));
    let missing = secrets.for_app("shop", Some("staging")).unwrap().get("D").unwrap_err().to_string();
    assert_eq!(
        missing,
        "the secret D is not set: set it by `landfall secret set shop D` (with --env staging for this environment \
         alone), or put it into the environment of the landfall process"
    );
}

#[test]
fn what_is_set_while_the_server_runs_counts_for_the_next_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = with_vault(folder.path());
    let before = secrets.for_app("shop", None).unwrap();
    let scope = Scope { app: "shop".into(), env: None };
    secrets.vault().unwrap().set(&scope, "A", "new", 2).unwrap();
    assert_eq!(before.get("A"), Ok("vault-app"), "a stage that runs keeps what it began with");
    assert_eq!(secrets.clone().for_app("shop", None).unwrap().get("A"), Ok("new"));
}

#[test]
fn everything_in_the_vault_is_masked_named_or_not_and_superseded_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = with_vault(folder.path()).for_app("shop", Some("staging")).unwrap();
    let said = "vault-app vault-staging vault-app-b process-c";
    // The longest one wins where one begins another.
    assert_eq!(secrets.masker(None).mask(said), "*** *** *** process-c");
    let shown = format!("{secrets:?}");
    assert!(shown.contains("\"B\"") && !shown.contains("vault-app"), "{shown}");
}

#[test]
fn a_damaged_secret_is_said_to_be_so_and_no_other_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = with_vault(folder.path());
    let file = folder.path().join("data/vault/secrets");
    let text = std::fs::read_to_string(&file).unwrap();
    let damaged: Vec<String> = text
        .lines()
        .map(|line| match line.contains("\"staging\"") {
            true => line.replacen("\"text\":\"", "\"text\":\"AAAA", 1),
            false => line.to_owned(),
        })
        .collect();
    std::fs::write(&file, damaged.join("\n")).unwrap();
    let secrets = secrets.for_app("shop", Some("staging")).unwrap();
    let said = secrets.get("A").unwrap_err().to_string();
    assert!(
        said.starts_with(
            "the secret A is damaged in the vault: set it again by `landfall secret set shop A`"
        ),
        "{said}"
    );
    assert_eq!(secrets.get("B"), Ok("vault-app-b"));
}
