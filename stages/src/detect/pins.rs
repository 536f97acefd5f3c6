//! Old lists of requirements that no longer give what their author had: a package that they pin asks for "some
//! version" of another, and today's is too new for it.

use super::manifest::Manifest;

/// A package up to a version, and what must not be newer beside it.
const OLD: [(&str, (u32, u32), &[&str]); 12] = [
    ("flask", (0, 12), &["werkzeug<1.0", "jinja2<3.0", "itsdangerous<2.0", "click<8.0", "markupsafe<2.1"]),
    ("flask", (1, 1), &["werkzeug<2.0", "jinja2<3.0", "itsdangerous<2.0", "click<8.0", "markupsafe<2.1"]),
    ("flask", (2, 0), &["werkzeug<2.1"]),
    ("flask", (2, 1), &["werkzeug<2.2"]),
    ("flask", (2, 2), &["werkzeug<3.0"]),
    ("flask-sqlalchemy", (2, 5), &["sqlalchemy<2.0", "flask<2.3", "werkzeug<3.0"]),
    ("flask-login", (0, 5), &["flask<2.3", "werkzeug<2.1"]),
    ("flask-wtf", (0, 14), &["flask<2.3", "werkzeug<2.1", "jinja2<3.1"]),
    ("flask-wtf", (0, 15), &["flask<2.3", "werkzeug<3.0"]),
    (
        "flask-restplus",
        (0, 13),
        &["flask<2.0", "werkzeug<1.0", "jinja2<3.0", "itsdangerous<2.0", "markupsafe<2.1"],
    ),
    (
        "flask-script",
        (2, 0),
        &["flask<2.0", "werkzeug<2.0", "jinja2<3.0", "itsdangerous<2.0", "markupsafe<2.1"],
    ),
    ("jinja2", (2, 11), &["markupsafe<2.1"]),
];

/// Returns what must be added to what the app names, as pip takes it. Only what the app pins itself is believed.
pub(crate) fn older_than(manifest: &Manifest) -> Vec<String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut added: Vec<(String, (u32, u32))> = Vec::new();
    for (package, up_to, others) in OLD {
        let Some(version) = manifest.named.get(package).and_then(|said| pinned(said)) else { continue };
        if version > up_to || seen.contains(&package) {
            continue;
        }
        seen.push(package);
        for other in others {
            let (name, limit) = other.split_once('<').unwrap_or((other, "0"));
            // What the app says of it stands.
            let is_said = manifest.named.get(name).is_some_and(|said| said.contains(['=', '<', '~']));
            let limit = numbers(limit);
            match added.iter_mut().find(|(known, _)| known == name) {
                _ if is_said => {}
                Some((_, known)) => *known = limit.min(*known),
                None => added.push((name.to_owned(), limit)),
            }
        }
    }
    added.into_iter().map(|(name, (major, minor))| format!("{name}<{major}.{minor}")).collect()
}

/// Tells whether something is named that needs `pkg_resources`, which new Pythons no longer bring.
pub(crate) fn needs_setuptools(manifest: &Manifest) -> bool {
    let at_most = |package: &str, up_to: (u32, u32)| {
        manifest.anywhere.contains_key(package)
            && manifest
                .named
                .get(package)
                .and_then(|said| pinned(said))
                .is_some_and(|version| version <= up_to)
    };
    let old = at_most("gunicorn", (20, 0))
        || at_most("apscheduler", (3, 10))
        || at_most("flask-migrate", (2, 5))
        || at_most("flask", (1, 1));
    let always = ["flask-restplus", "flask-script", "flask-jwt", "flask-bootstrap"];
    !manifest.anywhere.contains_key("setuptools")
        && (old || always.iter().any(|name| manifest.anywhere.contains_key(*name)))
}

fn pinned(said: &str) -> Option<(u32, u32)> {
    let version = said.trim().strip_prefix("==").or_else(|| said.trim().strip_prefix("~="))?;
    Some(numbers(version.trim_start_matches('=')))
}

fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version
        .trim()
        .split('.')
        .map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
