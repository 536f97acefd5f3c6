//! What exit codes and reports mean.

use landfall_engine::core::facts::TestCounts;

use super::*;

fn report(passed: u32, failing: &[&str]) -> Option<Report> {
    let failed = u32::try_from(failing.len()).unwrap();
    let failures = failing.iter().map(|name| TestFailure { name: (*name).into(), message: "m".into() });
    Some(Report { counts: Some(TestCounts { passed, failed, skipped: 0 }), failures: failures.collect() })
}

fn ended(exit_code: i64, report: Option<Report>) -> Finished {
    Finished { exit_code, report, tail: vec!["the last line".into()], ..Finished::default() }
}

#[track_caller]
fn check_failed(settings: &TestSettings, finished: Finished, reason: &str) {
    match of(settings, finished) {
        Outcome::Failed(failure) => assert_eq!(failure.reason, reason),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_green(settings: &TestSettings, finished: Finished) {
    let outcome = of(settings, finished);
    assert!(matches!(outcome, Outcome::Succeeded(Facts::Test(_))), "{outcome:?}");
}

#[test]
fn the_exit_code_decides() {
    let settings = TestSettings::default();
    check_green(&settings, ended(0, report(14, &[])));
    check_green(&settings, ended(0, None));
    check_green(&settings, ended(0, report(13, &["known_to_fail"])));
    check_failed(
        &settings,
        ended(1, None),
        "the tests failed: `pytest --junitxml=report.xml` ended with exit code 1: the last line",
    );
}

#[test]
fn red_tests_are_counted_and_the_first_ones_named() {
    let settings = TestSettings::default();
    let failing = ["tests.test_app::test_a", "tests.test_app::test_b[1]"];
    check_failed(&settings, ended(1, report(12, &failing)), "2 of 14 tests failed: test_a, test_b[1]");
    let many = ["a::1", "a::2", "a::3", "a::4", "a::5"];
    check_failed(&settings, ended(1, report(0, &many)), "5 of 5 tests failed: 1, 2, 3 and 2 more");
    let cut = report(0, &failing).map(|report| Report { counts: None, ..report });
    check_failed(
        &settings,
        ended(1, cut),
        "tests failed: test_a, test_b[1] (the report breaks off; exit code 1)",
    );
}

#[test]
fn no_tests_are_a_failure_that_says_how_to_opt_out() {
    let settings = TestSettings::default();
    let reason = "no tests found: `pytest --junitxml=report.xml` ran none; add a test, or opt out with \
                  `allow_none = true` below `[test]`";
    check_failed(&settings, ended(5, report(0, &[])), reason);
    check_failed(&settings, ended(5, None), reason);
    check_failed(&settings, ended(0, report(0, &[])), reason);
    let allowed = TestSettings { allow_none: true, ..settings.clone() };
    check_green(&allowed, ended(5, report(0, &[])));
    check_green(&allowed, ended(0, report(0, &[])));
    // Some other tool's 5 is its own.
    let other = TestSettings { command: "make check".into(), ..settings };
    check_failed(
        &other,
        ended(5, None),
        "the tests failed: `make check` ended with exit code 5: the last line",
    );
}

#[test]
fn want_of_memory_names_the_limit_and_how_to_raise_it() {
    let settings = TestSettings { memory_mb: 64, ..TestSettings::default() };
    check_failed(
        &settings,
        Finished { oom: true, ..ended(137, None) },
        "the tests ran out of memory: the limit is 64 MiB; raise it with `memory = \"128MiB\"` below `[test]`",
    );
}

#[test]
fn an_end_from_outside_is_no_answer() {
    let cut_off = |report| Finished { cut_off: true, ..ended(143, report) };
    let outcome = of(&TestSettings::default(), cut_off(None));
    assert!(matches!(outcome, Outcome::Errored { .. }), "{outcome:?}");
    let outcome = of(&TestSettings::default(), cut_off(report(3, &["test_red"])));
    assert!(matches!(outcome, Outcome::Failed(_)), "it had said red before: {outcome:?}");
}

#[test]
fn the_exit_codes_of_an_end_from_outside_are_red_when_the_tests_themselves_gave_them() {
    for code in [137, 143, 255] {
        let reason = format!(
            "the tests failed: `pytest --junitxml=report.xml` ended with exit code {code}: the last line"
        );
        check_failed(&TestSettings::default(), ended(code, None), &reason);
    }
}

#[test]
fn a_command_that_is_not_there_is_said() {
    let settings = TestSettings::default();
    check_failed(
        &settings,
        ended(127, None),
        "the test command could not be run in the image python:3.12-slim (exit code 127): the last line; check \
         `command` below `[test]`",
    );
}

#[test]
fn dependencies_that_do_not_exist_are_red_and_an_index_that_is_silent_is_not() {
    let tail = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let wrong = tail(&["ERROR: No matching distribution found for nope==1", "[notice] a new pip"]);
    match not_installed(wrong) {
        Outcome::Failed(failure) => assert_eq!(
            failure.reason,
            "dependencies could not be installed: ERROR: No matching distribution found for nope==1"
        ),
        other => panic!("{other:?}"),
    }
    let silent = not_installed(tail(&[
        "WARNING: Retrying: NewConnectionError('...: Temporary failure in name resolution')",
        "ERROR: No matching distribution found for flask",
    ]));
    assert!(matches!(silent, Outcome::Errored { .. }), "{silent:?}");
}
