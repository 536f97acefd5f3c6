//! What a secret may be called, and what it may hold.
//!
//! **No message quotes what it refuses**: people paste a value where a name belongs.

/// The secret that holds the address of the mail server, with its user and password.
pub const SMTP_URL: &str = "LANDFALL_SMTP_URL";
/// The secret that holds the sender of e-mail.
pub const MAIL_FROM: &str = "LANDFALL_MAIL_FROM";
/// The secret that holds the ssh key by which an app's repository is read.
pub const DEPLOY_KEY: &str = "LANDFALL_DEPLOY_KEY";
/// The secret that holds the token by which an app's repository is read over https.
pub const GIT_TOKEN: &str = "LANDFALL_GIT_TOKEN";

/// What Landfall itself looks up for an app. No container is given these.
pub(super) const OWN: [&str; 4] = [SMTP_URL, MAIL_FROM, DEPLOY_KEY, GIT_TOKEN];

/// Linux takes no argument or variable above 128 KiB, its name included; keys and certificates have a tenth of this.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A name stands in tables, URLs and file names.
const NAME_BYTES_MAX: usize = 100;

/// What a container finds set already, whatever a secret of that name says.
static SET_BY_LANDFALL: [&str; 5] = ["PORT", "GIT_REV", "CI", "CI_COMMIT_SHA", "CI_COMMIT_BRANCH"];

/// What decides which programs run, and how: an app that needs another one sets it in its image.
static SET_BY_SYSTEM: [&str; 6] = ["PATH", "HOME", "HOSTNAME", "USER", "SHELL", "IFS"];

/// A name or value that no secret can have. **Choose another.**
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no name of a variable.
    #[error(
        "that is no name of a secret: expected 1 to {NAME_BYTES_MAX} of A-Z, 0-9 and '_', not beginning with a digit, \
         such as DATABASE_URL"
    )]
    NoName,
    /// The name is Landfall's.
    #[error(
        "names that begin with LANDFALL_ are Landfall's own; of those, {} can be set for an app", OWN.join(", ")
    )]
    Ours,
    /// Landfall sets a variable of this name.
    #[error("{0} is set by Landfall in every container, so a secret of this name would never be seen")]
    SetByLandfall(&'static str),
    /// The system reads a variable of this name.
    #[error(
        "{0} decides which programs a container runs, and how: set it in the image, and give the secret another name"
    )]
    SetBySystem(&'static str),
    /// The value is empty.
    #[error("the value is empty: to take a secret away, remove it")]
    Empty,
    /// The value is too long.
    #[error(
        "the value is longer than {} KiB: Linux passes no variable much above that on; keep what is larger in a \
         store of its own, and the key to that here", VALUE_BYTES_MAX / 1024
    )]
    TooLong,
    /// The value can't be a variable.
    #[error("the value has a NUL byte in it, and no variable can hold one: keep it in base64")]
    Nul,
}

/// Tells whether a text has the form of a secret's name.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Tells whether a name is Landfall's own, so that no app can name it in its configuration.
pub(crate) fn is_ours(name: &str) -> bool {
    name.starts_with("LANDFALL_")
}

/// Checks the name of a secret that is to be kept.
///
/// # Errors
///
/// [`Unfit`] says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), Unfit> {
    let same = |taken: &&&str| **taken == name;
    if !is_name(name) {
        return Err(Unfit::NoName);
    }
    if is_ours(name) && !OWN.contains(&name) {
        return Err(Unfit::Ours);
    }
    if let Some(taken) = SET_BY_LANDFALL.iter().find(same) {
        return Err(Unfit::SetByLandfall(taken));
    }
    // What the dynamic loader reads begins with LD_, and is refused as a whole.
    let loader = name.starts_with("LD_").then_some(&"LD_…");
    match SET_BY_SYSTEM.iter().find(same).or(loader) {
        Some(taken) => Err(Unfit::SetBySystem(taken)),
        None => Ok(()),
    }
}

/// Checks the value of a secret that is to be kept.
///
/// # Errors
///
/// [`Unfit`] says what is wrong with it.
pub fn check_value(value: &str) -> Result<(), Unfit> {
    match value {
        "" => Err(Unfit::Empty),
        _ if value.len() > VALUE_BYTES_MAX => Err(Unfit::TooLong),
        _ if value.contains('\0') => Err(Unfit::Nul),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_like_a_variable_that_nobody_else_sets() {
        for good in ["DATABASE_URL", "_A1", "S3_KEY", SMTP_URL, DEPLOY_KEY, &"X".repeat(100)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "1A", "database_url", "A-B", "A=B", "Ä", "A B", "../A", &"X".repeat(101)] {
            assert_eq!(check_name(bad), Err(Unfit::NoName), "{bad}");
        }
        assert_eq!(check_name("LANDFALL_TOKEN"), Err(Unfit::Ours));
        assert_eq!(check_name("PORT"), Err(Unfit::SetByLandfall("PORT")));
        assert_eq!(check_name("PATH"), Err(Unfit::SetBySystem("PATH")));
        assert_eq!(check_name("LD_PRELOAD"), Err(Unfit::SetBySystem("LD_…")));
    }

    #[test]
    fn a_value_that_no_variable_can_hold_is_refused_and_not_quoted() {
        assert_eq!(check_value(&"x".repeat(VALUE_BYTES_MAX)), Ok(()));
        assert_eq!(check_value(""), Err(Unfit::Empty));
        assert_eq!(check_value(&"x".repeat(VALUE_BYTES_MAX + 1)), Err(Unfit::TooLong));
        let said = check_value("hunter2\0").unwrap_err().to_string();
        assert!(said.contains("NUL") && !said.contains("hunter2"), "{said}");
        assert!(!check_name("hunter2 pasted").unwrap_err().to_string().contains("hunter2"));
    }
}
