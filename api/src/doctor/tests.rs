//! The report against checked-in text.

use super::report::Report;
use super::*;
use crate::picture::screen::text;

#[test]
fn each_finding_is_a_line_and_below_it_stands_what_to_do() {
    let findings = crate::picture::tests::findings();
    let drawn = text(&Report::of(&findings).lines(), false) + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/doctor/expected.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, &drawn).unwrap();
    }
    assert_eq!(drawn, std::fs::read_to_string(path).unwrap());
    assert!(!Report::of(&findings).ok);
    assert!(Report::of(&findings[..1]).ok, "a finding that is well is no problem");
}

#[tokio::test]
async fn a_check_that_hangs_is_a_problem_and_keeps_nobody_waiting() {
    let found = limited("docker", Duration::from_millis(20), std::future::pending()).await;
    assert_eq!((found[0].verdict, found[0].name), (Verdict::Problem, "docker"));
    assert!(found[0].found.contains("0.02 s"), "{found:?}");
}
