//! Patterns, markers and paths, as the forges mean them.

use std::collections::BTreeMap;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(pattern, env)| ((*pattern).to_owned(), (*env).to_owned())).collect()
}

fn behind_url() -> Registration {
    let source = Source::Git { url: "https://example.com/shop".into(), credential: None };
    Registration { source, ..Registration::default() }
}

fn filter(registration: &Registration) -> Filter {
    Filter::of(registration).unwrap()
}

fn branch(name: &str) -> Reference {
    Reference::Branch(name.into())
}

#[track_caller]
fn check(branches: &[(&str, &str)], name: &str, expected: Option<&str>) {
    let filter = filter(&Registration { branches: map(branches), ..behind_url() });
    let goes = filter.goes(&branch(name)).ok();
    assert_eq!(goes, expected.map(|env| Goes::To(env.into())), "{name} by {branches:?}");
}

#[track_caller]
fn check_paths(paths: &[&str], changed: &[&str], starts: bool) {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let changed: Vec<String> = changed.iter().map(|path| (*path).to_owned()).collect();
    let filter = filter(&Registration { paths, ..behind_url() });
    let pushed = Pushed { reference: &branch("main"), message: None, paths: Some(&changed) };
    assert_eq!(filter.admit(pushed).is_ok(), starts, "{changed:?}");
}

#[test]
fn a_pattern_means_what_it_means_to_github() {
    check(&[("release/*", "staging")], "release/1.2", Some("staging"));
    check(&[("release/*", "staging")], "release/1/2", None);
    check(&[("release/**", "staging")], "release/1/2", Some("staging"));
    check(&[("**", "review")], "a/b/c", Some("review"));
    check(&[("*", "review")], "a/b", None);
    check(&[("v?.[0-9]", "staging")], "v1.5", Some("staging"));
    check(&[("{main,trunk}", "production")], "trunk", Some("production"));
    check(&[("main", "production")], "maintenance", None);
    check(&[("Main", "production")], "main", None);
}

#[test]
fn a_written_out_name_wins_over_patterns_and_the_longer_pattern_over_the_shorter() {
    let branches = [("**", "review"), ("release/*", "staging"), ("release/1", "production")];
    check(&branches, "release/1", Some("production"));
    check(&branches, "release/2", Some("staging"));
    check(&branches, "try/it", Some("review"));
}

#[test]
fn without_branches_an_app_behind_a_url_deploys_main_and_master_and_one_that_is_pushed_says_itself() {
    check(&[], "main", Some("production"));
    check(&[], "master", Some("production"));
    check(&[], "try", None);
    let pushed = filter(&Registration::default());
    assert_eq!(pushed.goes(&branch("anything")), Ok(Goes::AsConfigured));
}

#[test]
fn tags_start_nothing_unless_they_are_named() {
    let tag = Reference::Tag("v1.2".into());
    let said = filter(&behind_url()).goes(&tag).unwrap_err().to_string();
    assert_eq!(said, "tag v1.2 is not deployed; these are: none");
    let registration = Registration { tags: map(&[("v*", "production")]), ..behind_url() };
    assert_eq!(filter(&registration).goes(&tag), Ok(Goes::To("production".into())));
}

#[test]
fn the_last_commit_can_say_that_no_run_is_wanted() {
    let registration = Registration { tags: map(&[("v*", "production")]), ..behind_url() };
    let filter = filter(&registration);
    for (message, skipped) in [
        ("Mend the cart\n\n[skip ci]", true),
        ("[CI Skip] Mend the cart", true),
        ("Mend the cart [no ci]", true),
        ("Skip ci", false),
        ("", false),
    ] {
        for reference in [branch("main"), Reference::Tag("v1".into())] {
            let pushed = Pushed { reference: &reference, message: Some(message), paths: None };
            assert_eq!(filter.admit(pushed).is_err(), skipped, "{message:?}");
        }
    }
}

#[test]
fn paths_that_matter_are_named_or_left_out_and_the_last_pattern_decides() {
    check_paths(&[], &["README.md"], true);
    check_paths(&["app/**", "*.toml"], &["README.md"], false);
    check_paths(&["app/**", "*.toml"], &["README.md", "app/a/b.py"], true);
    check_paths(&["!docs/**", "!*.md"], &["docs/a.txt", "README.md"], false);
    check_paths(&["!docs/**", "!*.md"], &["docs/a.txt", "app.py"], true);
    check_paths(&["!docs/**", "docs/openapi.json"], &["docs/openapi.json"], true);
    check_paths(&["**/*.py", "!**/test_*.py"], &["shop/test_cart.py"], false);
    // An empty commit is pushed for the sake of its run.
    check_paths(&["app/**"], &[], true);
}

#[test]
fn a_push_whose_paths_are_not_all_known_is_taken_to_change_what_matters() {
    let filter = filter(&Registration { paths: vec!["app/**".into()], ..behind_url() });
    let pushed = Pushed { reference: &branch("main"), message: None, paths: None };
    assert!(filter.admit(pushed).is_ok());
}

#[test]
fn a_pattern_that_can_not_be_used_is_named() {
    for (pattern, why) in [("release/[", "unclosed"), ("**-alpha", "whole parts"), ("", "expected a name")] {
        let error = check_patterns(&Registration { branches: map(&[(pattern, "x")]), ..behind_url() });
        let said = error.unwrap_err().to_string();
        assert!(said.contains(why) && said.contains(&format!("{pattern:?}")), "{said}");
    }
    assert!(check_patterns(&Registration { paths: vec!["!".into()], ..behind_url() }).is_err());
}
