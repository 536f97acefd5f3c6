//! What is seen on a real terminal, and what where there is none: `script` gives the command a pty.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::folder::Folder;
use crate::{LIVE, command, ok, said};

/// Runs a command on a pty of this width and returns what it wrote there.
#[track_caller]
fn on_a_terminal(data: &Path, columns: u16, words: &str, variables: &[(&str, &str)]) -> String {
    let typed = format!("stty cols {columns} rows 40; exec {} {words}", env!("CARGO_BIN_EXE_landfall"));
    let mut script = Command::new("script");
    script.args(["-qec", &typed, "/dev/null"]).env_clear().env("LANDFALL_DATA", data).env("HOME", data);
    script.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TERM", "xterm-256color");
    script.envs(variables.iter().copied()).env("SHELL", "/bin/sh").stdin(Stdio::null());
    let output = script.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{words}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What is left of it without escapes: a line is drawn over another behind a carriage return.
fn plain(written: &str) -> String {
    written.split(['\n', '\r']).map(landfall::picture::text::harmless).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_run_that_is_followed_on_a_terminal_is_the_picture_with_its_summary() {
    let folder = Folder::written();
    let words = format!("logs {LIVE} -f");
    let written = on_a_terminal(folder.path(), 90, &words, &[]);
    let drawn = plain(&written);
    for wanted in [" ✓ 2 Run tests", " ✓ 8 Release live", "Live: ", "what happened: landfall replay"] {
        assert!(drawn.contains(wanted), "no {wanted:?} in:\n{drawn}");
    }
    assert!(!drawn.contains("==> test <=="), "{drawn}");
    assert!(written.contains("\u{1b}[32m"), "a terminal has colours: {written:?}");

    let lines = on_a_terminal(folder.path(), 90, &format!("{words} --plain"), &[]);
    assert_eq!(lines.replace("\r\n", "\n"), ok(folder.path(), &["logs", LIVE]));
    let stage = on_a_terminal(folder.path(), 90, &format!("{words} --stage test"), &[]);
    assert!(stage.contains("14 passed") && !stage.contains("Release live"), "{stage}");
}

#[test]
fn nobody_who_asks_for_no_colour_gets_any_and_whoever_forces_it_does() {
    let folder = Folder::written();
    let written = on_a_terminal(folder.path(), 90, &format!("logs {LIVE} -f"), &[("NO_COLOR", "1")]);
    assert!(plain(&written).contains("Live: "), "{written:?}");
    for colour in ["\u{1b}[1m", "\u{1b}[2m", "\u{1b}[32m"] {
        assert!(!written.contains(colour), "{written:?}");
    }
    let piped = |variable: &str| {
        let mut doctor = command(folder.path(), &["doctor"]);
        doctor.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").env(variable, "1");
        String::from_utf8(doctor.output().unwrap().stdout).unwrap()
    };
    assert!(piped("CLICOLOR_FORCE").contains("\u{1b}[31m"));
    assert!(!piped("UNRELATED").contains('\u{1b}'));
}

#[test]
fn a_narrow_terminal_gets_steps_of_its_width() {
    let folder = Folder::written();
    let drawn = plain(&on_a_terminal(folder.path(), 40, &format!("logs {LIVE} -f"), &[]));
    let steps = drawn.lines().filter(|line| line.contains(" ✓ ")).map(str::trim_end);
    let mut count = 0;
    for step in steps {
        count += 1;
        assert!(landfall::picture::text::width_of(step) <= 40, "{step:?}");
    }
    assert!(count >= 8, "{drawn}");
}
