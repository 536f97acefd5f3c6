//! Names of apps and environments: they end in paths, URLs, container names and host names, so there is one rule.

/// The longest name: it is part of container names and of one DNS label.
const NAME_BYTES_MAX: usize = 40;

/// Returns the name of an app or an environment if it is one: `[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?`.
///
/// # Errors
///
/// For people: what is expected of the name of a `what`, and one that comes close.
pub fn checked<'a>(what: &str, name: &'a str) -> Result<&'a str, String> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    let is_plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    match fits && is_plain && !name.starts_with('-') && !name.ends_with('-') {
        true => Ok(name),
        false => Err(format!(
            "{name:?} can't be the name of an {what}: expected 1 to {NAME_BYTES_MAX} of a-z, 0-9 and '-', with no '-' at \
             the beginning or end, such as {:?}",
            made_valid(name)
        )),
    }
}

/// Returns a name that is as close to this one as can be.
pub fn made_valid(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '-' })
        .collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let cut: String = words.join("-").chars().take(NAME_BYTES_MAX).collect();
    match cut.trim_end_matches('-') {
        "" => "app".into(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_named_like_a_part_of_a_host_name() {
        for good in ["a", "shop", "shop-2", "shop--2", &"x".repeat(40)] {
            assert!(checked("app", good).is_ok(), "{good}");
        }
        for bad in ["", "-shop", "shop-", "Shop", "shöp", "a/b", "..", "a.b", "a b", &"x".repeat(41)] {
            let said = checked("app", bad).expect_err(bad);
            let (_, proposed) = said.rsplit_once("such as ").expect("one is proposed");
            assert!(checked("app", proposed.trim_matches('"')).is_ok(), "{said}");
        }
    }

    #[test]
    fn any_folder_name_makes_a_valid_name() {
        for (folder, app) in [("Été 2026", "t-2026"), ("日本", "app"), ("--a--b--", "a-b"), ("", "app")] {
            assert_eq!(made_valid(folder), app);
        }
        assert!(made_valid(&"ab-".repeat(40)).len() <= NAME_BYTES_MAX);
    }
}
