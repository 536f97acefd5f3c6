//! Which Python an app is written for, as far as it says so.

use super::manifest::Manifest;
use super::source::Source;

/// The one that is taken wherever it may be.
const USUAL: u32 = 12;
/// What there are maintained images of.
const OLDEST: u32 = 9;
const NEWEST: u32 = 14;

/// A version of Python 3, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) minor: u32,
    pub(crate) reason: String,
}

impl Version {
    /// Returns the image that has it.
    pub(crate) fn image(&self) -> String {
        format!("python:3.{}-slim", self.minor)
    }
}

/// Returns the version that the source asks for. None: it does not say.
pub(crate) fn find(source: &Source, manifest: &Manifest) -> Option<Version> {
    let first_line = |file: &str| {
        let text = source.text(&manifest.path(file)).or_else(|| source.text(file))?;
        let line =
            text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?.to_owned();
        Some(line)
    };
    let tool_versions = || {
        let text = source.text(".tool-versions")?;
        text.lines().find_map(|line| line.trim().strip_prefix("python ").map(|rest| rest.trim().to_owned()))
    };
    let pinned = [
        (".python-version", first_line(".python-version")),
        (
            "runtime.txt",
            first_line("runtime.txt").and_then(|line| line.strip_prefix("python-").map(str::to_owned)),
        ),
        (".tool-versions", tool_versions()),
        ("Pipfile", pipfile(source, manifest)),
        ("Dockerfile", source.text("Dockerfile").and_then(|text| base_version(&text))),
    ];
    let pinned =
        pinned.into_iter().find_map(|(file, said)| Some((file, said.filter(|said| minor(said).is_some())?)));
    if let Some((file, said)) = pinned {
        let asked = minor(&said)?;
        return Some(match (OLDEST..=NEWEST).contains(&asked) {
            true => Version { minor: asked, reason: format!("{file} says {said}") },
            false => Version {
                minor: USUAL,
                reason: format!("{file} says {said}, of which there is no maintained image"),
            },
        });
    }
    let project =
        manifest.pyproject.get("project").and_then(|project| project.get("requires-python")?.as_str());
    let poetry = manifest
        .pyproject
        .get("tool")
        .and_then(|tool| tool.get("poetry")?.get("dependencies")?.get("python")?.as_str());
    let (range, key) =
        project.map(|range| (range, "requires-python")).or(poetry.map(|range| (range, "python")))?;
    let order = std::iter::once(USUAL).chain((OLDEST..=NEWEST).rev());
    let minor = order.clone().find(|minor| allows(range, *minor))?;
    Some(Version { minor, reason: format!("pyproject.toml says {key} = {range:?}") })
}

fn pipfile(source: &Source, manifest: &Manifest) -> Option<String> {
    let pipfile = source.toml(&manifest.path("Pipfile"))?;
    let requires = pipfile.get("requires")?;
    let version = requires.get("python_version").or(requires.get("python_full_version"))?;
    version.as_str().map(str::to_owned)
}

/// Returns the version of `FROM python:3.11-slim`, in the last stage that has one.
fn base_version(dockerfile: &str) -> Option<String> {
    let images = dockerfile.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| word.eq_ignore_ascii_case("from"))?;
        words.find(|word| !word.starts_with("--"))
    });
    let version = |image: &str| {
        image.strip_prefix("python:").map(|tag| tag.split('-').next().unwrap_or_default().to_owned())
    };
    images.filter_map(version).next_back()
}

/// Returns the minor version of `3.11`, `3.11.4`, `cpython-3.11`.
fn minor(said: &str) -> Option<u32> {
    let digits = said
        .trim()
        .trim_start_matches("cpython")
        .trim_start_matches(['-', '@', 'v', '=', '~', '>', '<', '^', ' ']);
    let mut parts = digits.split('.');
    if parts.next()? != "3" {
        return None;
    }
    let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    minor.parse().ok()
}

/// Tells whether a range of versions has Python 3.`minor`, in some patch release.
fn allows(range: &str, minor: u32) -> bool {
    range.split("||").any(|one| one.split(',').all(|part| allows_part(part.trim(), minor)))
}

fn allows_part(part: &str, minor: u32) -> bool {
    if let [low, high] = part.split_whitespace().collect::<Vec<_>>()[..]
        && high.starts_with(['<', '>', '=', '^', '~', '!'])
        && !low.trim_start_matches(['<', '>', '=', '^', '~', '!']).is_empty()
    {
        return allows_part(low, minor) && allows_part(high, minor);
    }
    let at = part.find(|c: char| c.is_ascii_digit() || c == '*').unwrap_or(part.len());
    let (operator, version) = (part[..at].trim(), part[at..].trim());
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let (major, asked) = (numbers.next().flatten(), numbers.next().flatten());
    let patch = numbers.next().flatten().unwrap_or(0);
    let Some(major) = major else { return true };
    let asked = match major {
        3 => asked.unwrap_or(0),
        0..3 => 0,
        // Before 4 is any 3.
        _ => u32::MAX,
    };
    match operator {
        ">=" => minor >= asked,
        ">" => minor > asked || (minor == asked && version.matches('.').count() >= 2),
        "<=" => minor <= asked,
        "<" => minor < asked || (minor == asked && patch > 0),
        "!=" => minor != asked || version.matches('.').count() >= 2 && !version.ends_with('*'),
        "^" => minor >= asked && major == 3,
        "~=" if version.matches('.').count() < 2 => minor >= asked,
        "~" | "~=" | "==" | "===" | "=" | "" => version.matches('.').count() == 0 || minor == asked,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_the_versions_that_it_has() {
        for (range, all) in [
            (">=3.8", "9 10 11 12 13 14"),
            (">=3.13", "13 14"),
            ("^3.11", "11 12 13 14"),
            ("~3.10", "10"),
            ("~3.10.2", "10"),
            ("~=3.11", "11 12 13 14"),
            ("~=3.11.2", "11"),
            (">=3.9,<3.12", "9 10 11"),
            (">=3.9, <4.0", "9 10 11 12 13 14"),
            (">=3.9 <3.11", "9 10"),
            ("<3.12.1,>3.11", "12"),
            ("==3.11.*", "11"),
            ("3.10", "10"),
            ("*", "9 10 11 12 13 14"),
            ("3.9 || 3.11", "9 11"),
            (">=2.7,!=3.10.*", "9 11 12 13 14"),
            ("nonsense", "9 10 11 12 13 14"),
            ("<3", ""),
        ] {
            let found: Vec<String> = (OLDEST..=NEWEST)
                .filter(|minor| allows(range, *minor))
                .map(|minor| minor.to_string())
                .collect();
            assert_eq!(found.join(" "), all, "{range}");
        }
    }
}
