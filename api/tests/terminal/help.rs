//! `landfall help`: commands and topics, as a person asks for them.

use std::path::Path;

use crate::{command, fails, ok};

const NOWHERE: &str = "/nonexistent";

fn help(args: &[&str]) -> String {
    ok(Path::new(NOWHERE), &[&["help"], args].concat())
}

#[test]
fn help_alone_lists_commands_and_topics() {
    let text = help(&[]);
    for wanted in ["Usage: landfall", "rollback  ", "Topics:", "  first-deploy  ", "  what-happens-when  "] {
        assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
    }
}

#[test]
fn a_command_is_explained_as_by_its_own_help() {
    let nowhere = Path::new(NOWHERE);
    assert_eq!(help(&["rollback"]), ok(nowhere, &["rollback", "--help"]));
    assert_eq!(help(&["app", "add"]), ok(nowhere, &["app", "add", "--help"]));
}

#[test]
fn a_topic_is_shown_in_lines_that_fit_and_without_an_escape_where_no_terminal_reads_it() {
    let output =
        command(Path::new(NOWHERE), &["help", "what-happens-when"]).env("COLUMNS", "60").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.starts_with("What happens when…\n"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("**"), "{text}");
    // Code is there to be copied, and keeps its lines.
    let is_code = |line: &str| line.starts_with("      ");
    let is_too_long = |line: &&str| line.chars().count() > 60 && !is_code(line) && line.trim().contains(' ');
    let long: Vec<_> = text.lines().filter(is_too_long).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn colour_that_is_asked_for_makes_headings_bold_also_for_a_pager() {
    let shown = |variable, value| {
        let output =
            command(Path::new(NOWHERE), &["help", "glossary"]).env(variable, value).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(
        shown("CLICOLOR_FORCE", "1").starts_with("\u{1b}[1mGlossary"),
        "{:?}",
        shown("CLICOLOR_FORCE", "1")
    );
    assert!(shown("NO_COLOR", "1").starts_with("Glossary"));
}

#[test]
fn a_name_that_nothing_has_is_told_with_the_nearest() {
    let said = |args: &[&str]| fails(Path::new(NOWHERE), &[&["help"], args].concat(), 64);
    for (args, wanted) in [
        (vec!["configuratoin"], "did you mean `configuration`?"),
        (vec!["rolback"], "did you mean `rollback`?"),
        (vec!["app", "ad"], "did you mean `add`?"),
        (vec!["app", "ad"], "no command of `landfall app`"),
        (vec!["xyzzy"], "`landfall help` lists them all"),
        (vec!["audit", "more"], "no command or topic of the name \"audit\""),
    ] {
        let text = said(&args);
        assert!(text.contains(wanted), "{args:?}: no {wanted:?} in {text}");
    }
}
