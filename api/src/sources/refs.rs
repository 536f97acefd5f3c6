//! Names and hashes that a payload or a remote brings: checked here, before they reach git, a path or the log.

use std::fmt;

/// Longer names than this are no file names, so no git has them as loose refs.
const NAME_BYTES_MAX: usize = 250;

/// The full hash of a commit: 40 or 64 hex digits, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sha(String);

impl Sha {
    /// Returns a hash if it is one that names a commit. Zeros do not: they say that there is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_full = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_full && !is_nothing(text)).then(|| Self(text.to_ascii_lowercase()))
    }

    /// Returns it as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what people are shown of it.
    pub(crate) fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells whether a hash says that there is no commit, as forges and git say it.
pub(crate) fn is_nothing(sha: &str) -> bool {
    matches!(sha.len(), 40 | 64) && sha.bytes().all(|byte| byte == b'0')
}

/// What was pushed to. Its `Display` is git's whole name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    /// A branch, by its name without `refs/heads/`.
    Branch(String),
    /// A tag, by its name without `refs/tags/`.
    Tag(String),
}

impl Reference {
    /// Reads git's whole name of a branch or a tag. None: it names neither, or no git would have it.
    pub(crate) fn parse(whole: &str) -> Option<Self> {
        if let Some(name) = whole.strip_prefix("refs/heads/") {
            return Self::branch(name);
        }
        whole.strip_prefix("refs/tags/").and_then(Self::tag)
    }

    /// Returns a branch, if it can be one.
    pub(crate) fn branch(name: &str) -> Option<Self> {
        is_ref_name(name).then(|| Self::Branch(name.to_owned()))
    }

    /// Returns a tag, if it can be one.
    pub(crate) fn tag(name: &str) -> Option<Self> {
        is_ref_name(name).then(|| Self::Tag(name.to_owned()))
    }

    /// Returns the name that people use.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Branch(name) | Self::Tag(name) => name,
        }
    }

    /// Returns the branch that a run of it counts to.
    pub(crate) fn as_branch(&self) -> Option<&str> {
        match self {
            Self::Branch(name) => Some(name),
            Self::Tag(_) => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "refs/heads/{name}"),
            Self::Tag(name) => write!(f, "refs/tags/{name}"),
        }
    }
}

/// Tells whether git would take this for the name of a branch or tag, as `git check-ref-format` says, and whether its
/// commands would take it for nothing else.
fn is_ref_name(name: &str) -> bool {
    let forbidden = |byte: u8| byte <= b' ' || byte == 0x7f || b"~^:?*[\\".contains(&byte);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    name.len() <= NAME_BYTES_MAX
        && !name.bytes().any(forbidden)
        && name.split('/').all(part)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && !name.starts_with('-')
        && !matches!(name, "@" | "HEAD")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_hash_is_whole_and_zeros_are_none() {
        assert_eq!(Sha::parse(&"A".repeat(40)).unwrap().as_str(), "a".repeat(40));
        assert!(Sha::parse(&"a".repeat(64)).is_some());
        for bad in ["", "a1b2", &"0".repeat(40), &"g".repeat(40), &"a".repeat(41), "../../etc/passwd"] {
            assert_eq!(Sha::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_is_taken_exactly_when_git_takes_it() {
        let names = [
            "main",
            "a/b",
            "release/1.2",
            "fix#1",
            "ünïcode",
            "a.b",
            "a@b",
            "feature/@",
            "refs/heads/x",
            "a-",
            "",
            "@",
            "HEAD",
            "-x",
            ".a",
            "a/.b",
            "a..b",
            "a.",
            "a/",
            "/a",
            "a//b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "a@{1}",
            "a.lock",
            "a.lock/b",
            "a\u{7f}",
            "a\tb",
            "a\nb",
            "../x",
            "$(id)",
            "`id`",
            "a;b",
            "a|b",
        ];
        for name in names {
            let git = Command::new("git")
                .args(["check-ref-format", &format!("refs/heads/{name}")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            // Names that git's commands take for something else, and would not make.
            let is_other = matches!(name, "@" | "HEAD" | "-x");
            assert_eq!(Reference::branch(name).is_some(), git.success() && !is_other, "{name:?}");
        }
        assert_eq!(Reference::branch(&"x".repeat(251)), None);
    }

    #[test]
    fn a_reference_is_a_branch_or_a_tag_and_nothing_else() {
        let main = Reference::parse("refs/heads/main").unwrap();
        assert_eq!((main.to_string().as_str(), main.as_branch()), ("refs/heads/main", Some("main")));
        assert_eq!(Reference::parse("refs/tags/v1"), Some(Reference::Tag("v1".into())));
        for other in ["main", "refs/notes/commits", "refs/heads/", "refs/pull/1/head", "refs/heads/../x"] {
            assert_eq!(Reference::parse(other), None, "{other}");
        }
    }
}
