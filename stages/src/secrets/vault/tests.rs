//! A vault on a real disk: what it keeps, what damage costs, and what a wrong key is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

struct Place {
    data: TempDir,
    keys: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { data: tempfile::tempdir().unwrap(), keys: tempfile::tempdir().unwrap() }
    }

    fn vault(&self) -> Vault {
        self.with_key("vault.key")
    }

    fn with_key(&self, name: &str) -> Vault {
        Vault::new(self.data.path(), KeyPlace::find(Some(&self.keys.path().join(name))))
    }

    fn file(&self) -> PathBuf {
        self.data.path().join("vault/secrets")
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.file()).unwrap().lines().map(str::to_owned).collect()
    }
}

fn scope(app: &str, env: Option<&str>) -> Scope {
    Scope { app: app.into(), env: env.map(str::to_owned) }
}

fn value(vault: &Vault, app: &str, env: Option<&str>, name: &str) -> Option<String> {
    let opened = vault.of(app, env).unwrap();
    opened.values.get(name).and_then(Option::as_ref).map(|value| value.to_string())
}

#[test]
fn the_environment_stands_before_the_app_and_no_app_sees_another() {
    let place = Place::new();
    let vault = place.vault();
    for (app, env, text) in
        [("shop", None, "of shop"), ("shop", Some("staging"), "staged"), ("blog", None, "of blog")]
    {
        vault.set(&scope(app, env), "A", text, 1).unwrap();
    }
    vault.set(&scope("shop", Some("staging")), "B", "only staged", 1).unwrap();
    // Opened anew: it is the disk that is asked.
    let vault = place.vault();
    assert_eq!(value(&vault, "shop", Some("staging"), "A").as_deref(), Some("staged"));
    assert_eq!(value(&vault, "shop", Some("production"), "A").as_deref(), Some("of shop"));
    assert_eq!(value(&vault, "shop", Some("production"), "B"), None);
    assert_eq!(value(&vault, "blog", None, "A").as_deref(), Some("of blog"));
    assert_eq!(vault.of("shop", Some("staging")).unwrap().hidden[0].as_str(), "of shop");
}

#[test]
fn nothing_of_a_value_is_in_the_file_and_only_its_owner_can_read_it() {
    let place = Place::new();
    place.vault().set(&scope("shop", None), "A", "correct-horse", 7).unwrap();
    let text = fs::read_to_string(place.file()).unwrap();
    assert!(
        text.contains("\"A\"") && !text.contains("correct-horse") && !text.contains("Y29ycmVjdC"),
        "{text}"
    );
    assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(place.data.path().join("vault")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_secret_is_replaced_listed_without_its_value_and_removed() {
    let place = Place::new();
    let vault = place.vault();
    assert_eq!(vault.list("shop").unwrap(), []);
    vault.set(&scope("shop", None), "B", "first", 1).unwrap();
    vault.set(&scope("shop", None), "B", "second", 2).unwrap();
    vault.set(&scope("shop", Some("staging")), "A", "third", 3).unwrap();
    let listed: Vec<_> =
        vault.list("shop").unwrap().into_iter().map(|l| (l.name, l.scope.env, l.set_ms)).collect();
    assert_eq!(listed, [("A".into(), Some("staging".into()), 3), ("B".into(), None, 2)]);
    assert_eq!(value(&vault, "shop", None, "B").as_deref(), Some("second"));
    assert!(vault.remove(&scope("shop", None), "B").unwrap());
    assert!(!vault.remove(&scope("shop", None), "B").unwrap(), "it is gone already");
    assert_eq!(value(&vault, "shop", None, "B"), None);
    assert_eq!(place.lines().len(), 2, "the first line and the secret that is left");
}

#[test]
fn a_wrong_key_is_told_from_damage_and_changes_nothing() {
    let place = Place::new();
    place.vault().set(&scope("shop", None), "A", "value", 1).unwrap();
    let before = place.lines();
    fs::write(place.keys.path().join("other.key"), "0f".repeat(32)).unwrap();
    let other = place.with_key("other.key");
    let said = other.of("shop", None).err().unwrap().to_string();
    assert!(said.contains("other.key is not the one") && said.contains("--vault-key"), "{said}");
    assert!(matches!(other.set(&scope("shop", None), "A", "new", 2), Err(VaultError::WrongKey { .. })));
    let gone = place.with_key("gone.key");
    assert!(matches!(gone.of("shop", None), Err(VaultError::Key(KeyError::Gone { .. }))));
    assert!(matches!(
        gone.set(&scope("shop", None), "A", "new", 2),
        Err(VaultError::Key(KeyError::Gone { .. }))
    ));
    assert!(!place.keys.path().join("gone.key").exists(), "no second key is made for a vault that has one");
    assert_eq!(place.lines(), before);
}

#[test]
fn damage_to_one_line_costs_that_line_alone() {
    let place = Place::new();
    for name in ["A", "B", "C"] {
        place.vault().set(&scope("shop", None), name, &format!("value of {name}"), 1).unwrap();
    }
    for nth in 0..4 {
        let whole = place.lines();
        let mut lines = whole.clone();
        lines[nth] = lines[nth].replacen("\"text\":\"", "\"text\":\"AAAA", 1);
        fs::write(place.file(), lines.join("\n")).unwrap();
        let opened = place.vault().of("shop", None).unwrap();
        let lost: Vec<_> = opened
            .values
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        let expected: &[&str] = [&[][..], &["A"], &["B"], &["C"]][nth];
        assert_eq!((opened.values.len(), lost.as_slice()), (3, expected), "line {nth}");
        fs::write(place.file(), whole.join("\n")).unwrap();
    }
}

#[test]
fn a_line_that_cannot_be_read_is_kept_through_changes() {
    let place = Place::new();
    place.vault().set(&scope("shop", None), "A", "value", 1).unwrap();
    let mut lines = place.lines();
    lines.insert(1, "{\"app\":\"shop\",\"na".into());
    fs::write(place.file(), lines.join("\n")).unwrap();
    place.vault().set(&scope("shop", None), "B", "other", 2).unwrap();
    assert!(place.lines().contains(&"{\"app\":\"shop\",\"na".to_owned()));
    assert_eq!(value(&place.vault(), "shop", None, "A").as_deref(), Some("value"));
    assert_eq!(value(&place.vault(), "shop", None, "B").as_deref(), Some("other"));
}

#[test]
fn a_file_of_which_nothing_is_whole_is_damaged_and_not_overwritten() {
    let place = Place::new();
    place.vault().set(&scope("shop", None), "A", "value", 1).unwrap();
    fs::write(place.file(), b"\xff\xfe garbage\nmore of it").unwrap();
    let said = place.vault().of("shop", None).err().unwrap().to_string();
    assert!(said.contains("no line of it is whole"), "{said}");
    assert!(matches!(place.vault().set(&scope("shop", None), "A", "x", 1), Err(VaultError::Damaged { .. })));
    assert!(fs::read(place.file()).unwrap().starts_with(b"\xff\xfe"));
}

#[test]
fn a_value_that_was_moved_to_another_name_or_app_does_not_open() {
    let place = Place::new();
    place.vault().set(&scope("shop", None), "A", "value", 1).unwrap();
    let moved: Vec<String> =
        place.lines().iter().map(|line| line.replace("\"app\":\"shop\"", "\"app\":\"evil\"")).collect();
    fs::write(place.file(), moved.join("\n")).unwrap();
    assert_eq!(place.vault().of("evil", None).unwrap().values["A"], None);
}

#[test]
fn what_no_container_could_be_given_is_refused_before_anything_is_made() {
    let place = Place::new();
    assert!(matches!(place.vault().set(&scope("shop", None), "PORT", "80", 1), Err(VaultError::Unfit(_))));
    assert!(matches!(place.vault().set(&scope("shop", None), "A", "", 1), Err(VaultError::Unfit(_))));
    assert!(!place.file().exists() && fs::read_dir(place.keys.path()).unwrap().next().is_none());
}

#[test]
fn a_draft_that_a_crash_left_behind_is_no_hindrance() {
    let place = Place::new();
    let vault = place.vault();
    vault.set(&scope("shop", None), "A", "value", 1).unwrap();
    fs::write(place.file().with_extension("tmp"), "half of").unwrap();
    vault.set(&scope("shop", None), "B", "other", 1).unwrap();
    assert_eq!(value(&vault, "shop", None, "A").as_deref(), Some("value"));
}

#[test]
fn another_key_opens_everything_and_the_old_one_nothing_and_nothing_is_lost_on_the_way() {
    let place = Place::new();
    let vault = place.vault();
    vault.set(&scope("shop", None), "A", "value", 1).unwrap();
    vault.set(&scope("shop", Some("staging")), "B", "other", 2).unwrap();
    let new = place.keys.path().join("new.key");
    assert_eq!(vault.rekey(&KeyPlace::named(&new)).unwrap(), 2);
    assert!(matches!(vault.of("shop", None), Err(VaultError::WrongKey { .. })));
    let vault = place.with_key("new.key");
    assert_eq!(value(&vault, "shop", Some("staging"), "B").as_deref(), Some("other"));
    assert_eq!(vault.list("shop").unwrap()[0].set_ms, 1, "a new key is no new value");

    let lines = place.lines();
    let damaged: Vec<String> =
        lines.iter().map(|line| line.replace("\"name\":\"A\"", "\"name\":\"C\"")).collect();
    fs::write(place.file(), damaged.join("\n")).unwrap();
    let said = vault.rekey(&KeyPlace::named(&place.keys.path().join("third.key"))).unwrap_err().to_string();
    assert!(said.starts_with("C of shop can't be opened"), "{said}");
    assert!(!place.keys.path().join("third.key").exists());
    assert_eq!(place.lines(), damaged);
}
