//! Reports as test runners wrote them.

use super::*;

/// As pytest 8 wrote it.
const PYTEST: &str = r#"<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="2" skipped="1" tests="6" time="0.030" timestamp="2026-11-23T19:43:39.140241+00:00" hostname="vm"><testcase classname="tests.test_app" name="test_ok" time="0.001" /><testcase classname="tests.test_app" name="test_prices[ü-1]" time="0.001"><failure message="AssertionError: expected &lt;b&gt;&#10;assert 1 == 2">def test_prices():
&gt;       assert 1 == 2
E       assert 1 == 2

tests/test_app.py:7: AssertionError</failure></testcase><testcase classname="tests.test_app" name="test_skipped" time="0.000"><skipped type="pytest.skip" message="not today">tests/test_app.py:9: not today</skipped></testcase><testcase classname="tests.test_app" name="test_both" time="0.001"><failure message="assert False">x</failure><error message="failed on teardown with &quot;ValueError: gone&quot;">y</error></testcase><testcase classname="" name="tests.test_broken" time="0.000"><error message="collection failure">ImportError while importing test module '/src/tests/test_broken.py'.
Traceback:
E   ModuleNotFoundError: No module named 'nope'</error></testcase><testcase classname="tests.test_app" name="test_last" time="0.001"><system-out>error failure</system-out></testcase></testsuite></testsuites>"#;

fn failure(name: &str, message: &str) -> TestFailure {
    TestFailure { name: name.into(), message: message.into() }
}

#[test]
fn pytests_own_report_is_read() {
    let report = read(PYTEST.as_bytes()).unwrap();
    assert_eq!(report.counts, Some(TestCounts { passed: 2, failed: 3, skipped: 1 }));
    assert_eq!(
        report.failures,
        [
            failure("tests.test_app::test_prices[ü-1]", "AssertionError: expected <b>"),
            failure("tests.test_app::test_both", "assert False"),
            failure("tests.test_broken", "ModuleNotFoundError: No module named 'nope'"),
        ]
    );
}

#[test]
fn a_single_suite_with_missing_attributes_and_foreign_elements_is_read() {
    let xml = r#"<testsuite xmlns:x="urn:x"><properties><property name="a"/></properties>
        <testcase name="plain"><x:extra/></testcase>
        <testcase file="tests/a.py" name="cdata"><failure><![CDATA[  first <line>
second]]></failure></testcase>
        <testcase><error/></testcase></testsuite>"#;
    let report = read(xml.as_bytes()).unwrap();
    assert_eq!(report.counts, Some(TestCounts { passed: 1, failed: 2, skipped: 0 }));
    assert_eq!(report.failures, [failure("tests/a.py::cdata", "first <line>"), failure("", "")]);
}

#[test]
fn a_report_of_no_tests_counts_none() {
    let report = read(br#"<testsuites><testsuite name="pytest" tests="0"/></testsuites>"#).unwrap();
    assert_eq!(report.counts, Some(TestCounts::default()));
}

#[test]
fn a_report_that_breaks_off_keeps_its_failures_and_loses_its_counts() {
    let cut = &PYTEST[..PYTEST.find("<testcase classname=\"\"").unwrap()];
    let report = read(cut.as_bytes()).unwrap();
    assert_eq!(report.counts, None);
    assert_eq!(report.failures.len(), 2);
}

#[test]
fn what_is_no_report_is_none() {
    assert_eq!(read(b""), None);
    assert_eq!(read(b"not xml at all"), None);
    assert_eq!(read(b"<html><body>404</body></html>"), None);
    assert_eq!(read(b"\xff\xfe\x00"), None);
}

#[test]
fn names_messages_and_their_number_are_bounded() {
    let case = format!(
        r#"<testcase name="{}"><failure message="{}"/></testcase>"#,
        "n".repeat(5_000),
        "ü".repeat(5_000)
    );
    let report = read(format!("<testsuite>{}</testsuite>", case.repeat(100)).as_bytes()).unwrap();
    assert_eq!(report.counts.unwrap().failed, 100);
    assert_eq!(report.failures.len(), FAILURES_MAX);
    let first = &report.failures[0];
    assert!(first.name.len() <= NAME_BYTES_MAX && first.message.len() <= MESSAGE_BYTES_MAX);
}
