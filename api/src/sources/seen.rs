//! What the last look at a repository found: which heads are settled, so that only what is new is asked for.
//!
//! In a file, so that a restart tells branches that were always there from those that came while we were down.
//! The log is the truth; without the file an app is looked at as on its first day, and what has a run gets no
//! second one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landfall_stages::git::Heads;
use serde::{Deserialize, Serialize};

use super::filter::{Filter, Goes};
use super::refs::{Reference, Sha};

/// The heads of one app that are settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Where they were found.
    url: String,
    /// By which rules.
    rules: BTreeMap<String, String>,
    /// Hash by branch.
    pub(super) heads: BTreeMap<String, String>,
}

/// A head that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) branch: String,
    pub(super) sha: Sha,
    pub(super) environment: String,
}

impl Seen {
    /// Returns what is settled of a repository as it is now, and what is not.
    ///
    /// An app that is made known is to be live without another push: what is **named** is deployed, of several branches
    /// to one environment the one that a clone checks out. A **pattern** stands for what will be pushed: what was there
    /// before is settled.
    pub(super) fn compare(
        &self,
        url: &str,
        rules: &BTreeMap<String, String>,
        filter: &Filter,
        heads: &Heads,
    ) -> (Self, Vec<Found>) {
        let is_first = self.url != url;
        let (mut settled, mut found) = (BTreeMap::new(), Vec::new());
        for (branch, head) in &heads.branches {
            let (Some(reference), Some(sha)) = (Reference::branch(branch), Sha::parse(head)) else {
                continue;
            };
            let Ok(Goes::To(environment)) = filter.goes(&reference) else { continue };
            let before = self.heads.get(branch).filter(|_| !is_first);
            let was_there = before.is_none() && (is_first || self.rules != *rules) && !filter.names(branch);
            if before == Some(head) || was_there {
                settled.insert(branch.clone(), head.clone());
            } else {
                found.push(Found { branch: branch.clone(), sha, environment });
            }
        }
        if is_first {
            settled.extend(keep_one_each(&mut found, heads.default.as_deref()));
        }
        (Self { url: url.to_owned(), rules: rules.clone(), heads: settled }, found)
    }

    /// Reads what an earlier server found. What can't be read is as good as nothing.
    pub(super) fn load(data: &Path, app: &str) -> Self {
        let text = fs::read(file(data, app)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Writes it for the next server. Not synced: what a power cut takes is found again.
    pub(super) fn save(&self, data: &Path, app: &str) -> io::Result<()> {
        let file = file(data, app);
        let draft = file.with_extension("new");
        fs::create_dir_all(file.parent().unwrap_or(data))?;
        fs::write(&draft, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&draft, &file)
    }
}

/// Leaves one branch for each environment, and returns the others.
fn keep_one_each(found: &mut Vec<Found>, default: Option<&str>) -> Vec<(String, String)> {
    let is_default = |found: &Found| default == Some(found.branch.as_str());
    // By name, but the default first.
    found.sort_by_key(|found| !is_default(found));
    let mut environments = Vec::new();
    let mut others = Vec::new();
    found.retain(|found| {
        let is_first = !environments.contains(&found.environment);
        environments.push(found.environment.clone());
        if !is_first {
            others.push((found.branch.clone(), found.sha.to_string()));
        }
        is_first
    });
    others
}

/// The app's name was checked when it was made known.
fn file(data: &Path, app: &str) -> PathBuf {
    data.join("sources").join(format!("{app}.json"))
}

#[cfg(test)]
mod tests {
    use landfall_engine::core::ledger::{Registration, Source};

    use super::*;

    const URL: &str = "https://example.com/shop";

    fn rules(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(pattern, env)| ((*pattern).to_owned(), (*env).to_owned())).collect()
    }

    fn heads(pairs: &[(&str, char)], default: &str) -> Heads {
        let branches =
            pairs.iter().map(|(branch, digit)| ((*branch).to_owned(), digit.to_string().repeat(40)));
        Heads { default: Some(default.into()), branches: branches.collect() }
    }

    fn compare(seen: &Seen, branches: &[(&str, &str)], heads: &Heads) -> (Seen, Vec<String>) {
        let source = Source::Git { url: URL.into(), credential: None };
        let registration = Registration { source, branches: rules(branches), ..Registration::default() };
        let filter = Filter::of(&registration).unwrap();
        let (next, found) = seen.compare(URL, &registration.branches, &filter, heads);
        (next, found.into_iter().map(|found| format!("{} to {}", found.branch, found.environment)).collect())
    }

    #[test]
    fn at_first_sight_what_is_named_is_deployed_and_what_matches_a_pattern_is_not() {
        let heads = heads(&[("main", 'a'), ("release/1", 'b'), ("try", 'c'), ("next", 'd')], "main");
        let branches = [("main", "production"), ("release/*", "production"), ("next", "staging")];
        let (seen, found) = compare(&Seen::default(), &branches, &heads);
        assert_eq!(found, ["main to production", "next to staging"]);
        assert_eq!(seen.heads.keys().collect::<Vec<_>>(), ["release/1"]);
    }

    #[test]
    fn of_several_branches_to_one_environment_the_default_is_deployed_at_first_sight() {
        let (_, found) = compare(&Seen::default(), &[], &heads(&[("main", 'a'), ("master", 'b')], "master"));
        assert_eq!(found, ["master to production"]);
        let (seen, found) =
            compare(&Seen::default(), &[], &heads(&[("main", 'a'), ("master", 'b')], "trunk"));
        assert_eq!(found, ["main to production"]);
        assert_eq!(seen.heads.keys().collect::<Vec<_>>(), ["master"]);
    }

    #[test]
    fn later_whatever_was_moved_or_is_new_is_found() {
        let branches = [("main", "production"), ("release/*", "staging")];
        let before = heads(&[("main", 'a'), ("release/1", 'b')], "main");
        let (mut seen, _) = compare(&Seen::default(), &branches, &before);
        seen.heads.insert("main".into(), "a".repeat(40));
        assert_eq!(compare(&seen, &branches, &before).1, Vec::<String>::new());
        let after = heads(&[("main", 'e'), ("release/1", 'b'), ("release/2", 'b')], "main");
        assert_eq!(compare(&seen, &branches, &after).1, ["main to production", "release/2 to staging"]);
    }

    #[test]
    fn a_pattern_that_is_added_later_stands_for_what_will_be_pushed_too() {
        let all = heads(&[("main", 'a'), ("next", 'b'), ("release/1", 'c')], "main");
        let (mut seen, _) = compare(&Seen::default(), &[("main", "production")], &all);
        seen.heads.insert("main".into(), "a".repeat(40));
        let more = [("main", "production"), ("next", "staging"), ("release/*", "staging")];
        assert_eq!(compare(&seen, &more, &all).1, ["next to staging"]);
    }

    #[test]
    fn what_was_seen_outlives_the_server() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Seen::load(data.path(), "shop"), Seen::default());
        let (seen, _) = compare(&Seen::default(), &[("*", "x")], &heads(&[("main", 'a')], "main"));
        seen.save(data.path(), "shop").unwrap();
        assert_eq!(Seen::load(data.path(), "shop"), seen);
    }
}
