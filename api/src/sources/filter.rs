//! Which pushes start a run, and in which environment: branches, tags, paths and `[skip ci]`.
//!
//! Patterns are those of GitHub's workflows: `*` is anything but a slash, `**` is anything, `?` one character,
//! `[a-z]` one of them, `{a,b}` either. Written out, a name wins over every pattern; then the longer pattern does.

use globset::{GlobBuilder, GlobMatcher};
use landfall_engine::core::ledger::{Registration, Source};

use super::refs::Reference;

/// Where `main` and `master` go when nobody says where.
const PRODUCTION: &str = "production";

/// What the message of a push's last commit says when its author wants no run. Upper or lower case.
const SKIP_MARKERS: [&str; 3] = ["[skip ci]", "[ci skip]", "[no ci]"];

/// A pattern that can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} can't be used: {why}")]
pub struct PatternError {
    /// As it was given.
    pattern: String,
    /// What is wrong with it.
    why: String,
}

/// Why a push starts nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Skip {
    /// The branch is none of those that are deployed.
    #[error("branch {branch} is not deployed; these are: {deployed}")]
    Branch { branch: String, deployed: String },
    /// The tag is none of those that are deployed.
    #[error("tag {tag} is not deployed; these are: {deployed}")]
    Tag { tag: String, deployed: String },
    /// The commit says so.
    #[error("the message of the last commit says {0}")]
    Marker(&'static str),
    /// Nothing that matters was changed.
    #[error("no path was changed that matches {0}")]
    Paths(String),
}

/// What is known of a push.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed<'a> {
    /// What was pushed to.
    pub(crate) reference: &'a Reference,
    /// The message of its last commit, if it is known.
    pub(crate) message: Option<&'a str>,
    /// The paths that it changed. None: not all of them are known, and the push is taken to change what matters.
    pub(crate) paths: Option<&'a [String]>,
}

/// Which pushes of an app start a run.
#[derive(Debug)]
pub(crate) struct Filter {
    /// None: the app's own configuration says so.
    branches: Option<Vec<Rule>>,
    tags: Vec<Rule>,
    paths: Vec<PathRule>,
}

/// Where a push goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goes {
    /// To this environment.
    To(String),
    /// Wherever the app's own configuration sends its branches.
    AsConfigured,
}

#[derive(Debug)]
struct Rule {
    pattern: String,
    glob: GlobMatcher,
    environment: String,
}

#[derive(Debug)]
struct PathRule {
    pattern: String,
    glob: GlobMatcher,
    excludes: bool,
}

impl Filter {
    /// Returns the filter of an app.
    ///
    /// # Errors
    ///
    /// [`PatternError`] names the first pattern that can't be used.
    pub(crate) fn of(registration: &Registration) -> Result<Self, PatternError> {
        let rules = |map: &std::collections::BTreeMap<String, String>| {
            map.iter().map(|(pattern, environment)| Rule::new(pattern, environment)).collect::<Result<_, _>>()
        };
        let branches = match (&registration.source, registration.branches.is_empty()) {
            (_, false) => Some(rules(&registration.branches)?),
            (Source::Push, true) => None,
            (Source::Git { .. }, true) => {
                Some(vec![Rule::new("main", PRODUCTION)?, Rule::new("master", PRODUCTION)?])
            }
        };
        Ok(Self {
            branches,
            tags: rules(&registration.tags)?,
            paths: registration.paths.iter().map(|path| PathRule::new(path)).collect::<Result<_, _>>()?,
        })
    }

    /// Tells where a push goes, or why nowhere.
    ///
    /// A marker stops tags as well, as it does on GitHub, GitLab and Gitea.
    pub(crate) fn admit(&self, pushed: Pushed<'_>) -> Result<Goes, Skip> {
        let goes = self.goes(pushed.reference)?;
        if let Some(marker) = pushed.message.and_then(skip_marker) {
            return Err(Skip::Marker(marker));
        }
        match pushed.paths {
            // A tag marks a version and not a change.
            Some(paths) if pushed.reference.as_branch().is_some() && !self.touches(paths) => {
                Err(Skip::Paths(
                    self.paths.iter().map(|rule| rule.pattern.as_str()).collect::<Vec<_>>().join(", "),
                ))
            }
            _ => Ok(goes),
        }
    }

    /// Tells where pushes to a branch or tag go, whatever they change.
    pub(crate) fn goes(&self, reference: &Reference) -> Result<Goes, Skip> {
        match reference {
            Reference::Branch(branch) => match &self.branches {
                None => Ok(Goes::AsConfigured),
                Some(rules) => best(rules, branch)
                    .map(|rule| Goes::To(rule.environment.clone()))
                    .ok_or_else(|| Skip::Branch { branch: branch.clone(), deployed: listed(rules) }),
            },
            Reference::Tag(tag) => best(&self.tags, tag)
                .map(|rule| Goes::To(rule.environment.clone()))
                .ok_or_else(|| Skip::Tag { tag: tag.clone(), deployed: listed(&self.tags) }),
        }
    }

    /// Tells whether a branch is named as it is, and not by a pattern.
    pub(crate) fn names(&self, branch: &str) -> bool {
        self.branches.iter().flatten().any(|rule| rule.pattern == branch)
    }

    /// Tells whether paths matter at all.
    pub(crate) fn looks_at_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    /// An empty commit is pushed for the sake of its run.
    fn touches(&self, paths: &[String]) -> bool {
        self.paths.is_empty() || paths.is_empty() || paths.iter().any(|path| self.counts(path))
    }

    /// The last pattern that matches decides. A list that begins by leaving something out begins with everything.
    fn counts(&self, path: &str) -> bool {
        let from = self.paths.first().is_some_and(|first| first.excludes);
        self.paths.iter().rev().find(|rule| rule.glob.is_match(path)).map_or(from, |rule| !rule.excludes)
    }
}

/// Checks what is to be known of an app, before it is recorded.
///
/// # Errors
///
/// [`PatternError`] names the first pattern that can't be used.
pub fn check_patterns(registration: &Registration) -> Result<(), PatternError> {
    Filter::of(registration).map(drop)
}

/// Returns the marker in a message that says that no run is wanted.
fn skip_marker(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    SKIP_MARKERS.into_iter().find(|marker| message.contains(marker))
}

impl Rule {
    fn new(pattern: &str, environment: &str) -> Result<Self, PatternError> {
        Ok(Self { pattern: pattern.to_owned(), glob: glob(pattern)?, environment: environment.to_owned() })
    }
}

impl PathRule {
    fn new(pattern: &str) -> Result<Self, PatternError> {
        let bare = pattern.strip_prefix('!');
        let glob = glob(bare.unwrap_or(pattern))?;
        Ok(Self { pattern: pattern.to_owned(), glob, excludes: bare.is_some() })
    }
}

fn glob(pattern: &str) -> Result<GlobMatcher, PatternError> {
    let wrong = |why: String| PatternError { pattern: pattern.to_owned(), why };
    if pattern.is_empty() || pattern.starts_with('!') {
        return Err(wrong("expected a name or a pattern such as `main`, `release/*` or `docs/**`".into()));
    }
    if pattern.split('/').any(|part| part.contains("**") && part != "**") {
        return Err(wrong(
            "`**` stands for whole parts between slashes, as in `docs/**` and `**/test_*.py`".into(),
        ));
    }
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| wrong(error.kind().to_string()))
}

fn best<'a>(rules: &'a [Rule], name: &str) -> Option<&'a Rule> {
    let matching = rules.iter().filter(|rule| rule.pattern == name || rule.glob.is_match(name));
    matching.max_by_key(|rule| (rule.pattern == name, rule.pattern.len()))
}

fn listed(rules: &[Rule]) -> String {
    let each = rules.iter().map(|rule| format!("{} (to {})", rule.pattern, rule.environment));
    let all = each.collect::<Vec<_>>().join(", ");
    if all.is_empty() { "none".into() } else { all }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
