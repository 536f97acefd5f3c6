//! Secrets where they would stay for ever: in the configuration, and so in the event log; in an image's history.

use landfall_engine::core::settings::Settings;

use super::{Masker, Secrets};

/// A value that is found inside a longer text is no coincidence from this length on.
const INSIDE_CHARS_MIN: usize = 8;

/// Returns what to say when the configuration holds a secret itself instead of its name.
///
/// Build arguments end in the history of the image, where everybody reads them who may pull it; and all settings are
/// recorded with each run.
pub(crate) fn exposed(secrets: &Secrets, settings: &Settings) -> Option<String> {
    let places = [
        ("[build] args", "name it in `[build] secrets`, for `RUN --mount=type=secret`", &settings.build.args),
        ("[env] clear", "name it in `[env] secret`", &settings.env.clear),
        ("[test] env", "give the tests a value of their own", &settings.test.env),
    ];
    let known = secrets.known(Some(settings));
    for (place, better, variables) in places {
        for (variable, text) in variables {
            let Some((name, _)) = known.iter().find(|(_, value)| holds(text, value)) else { continue };
            return Some(format!(
                "`{place}` has the value of the secret {name} in {variable}, where it would be kept for ever: in the \
                 log, and in the history of an image that it is built into; {better} instead, and since it was \
                 committed, change it"
            ));
        }
    }
    None
}

fn holds(text: &str, value: &str) -> bool {
    let value = value.trim();
    match value.chars().count() {
        0..super::SECRET_CHARS_MIN => false,
        super::SECRET_CHARS_MIN..INSIDE_CHARS_MIN => text.trim() == value,
        _ => Masker::new([value]).hides(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(args: &[(&str, &str)]) -> Option<String> {
        let values = [("TOKEN", "correct-horse"), ("SHORT", "prod"), ("TINY", "abc")];
        let secrets =
            Secrets::new(values.map(|(n, v)| (n.to_owned(), v.to_owned())).into_iter(), None).unwrap();
        let mut settings = Settings::default();
        settings.env.secret = vec!["TOKEN".into(), "SHORT".into(), "TINY".into()];
        settings.build.args = args.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        exposed(&secrets, &settings)
    }

    #[test]
    fn a_build_argument_that_holds_a_secret_is_refused_by_name_and_not_by_value() {
        for leak in ["correct-horse", "https://u:correct-horse@pypi/", "Y29ycmVjdC1ob3JzZQ=="] {
            let said = said(&[("A", "1"), ("PIP", leak)]).unwrap();
            assert!(said.starts_with("`[build] args` has the value of the secret TOKEN in PIP"), "{said}");
            assert!(said.contains("`[build] secrets`") && !said.contains("correct-horse"), "{said}");
        }
        assert!(said(&[("A", "prod")]).is_some());
    }

    #[test]
    fn a_short_value_inside_a_word_is_no_leak() {
        assert_eq!(said(&[("A", "production"), ("B", "abc"), ("C", "1.2")]), None);
    }
}
