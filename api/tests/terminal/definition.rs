//! The command line as others take it: programs by `--json`, shells by completions, people by `man`.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use landfall::cli::Cli;

use crate::{landfall, ok, said};

/// Commands without an answer that a program could want: they serve, carry, or print a form of their own.
const WITHOUT_JSON: [&str; 7] = ["serve", "proxy", "hook", "completions", "man", "export", "help"];

#[test]
fn every_command_answers_in_json_when_asked() {
    let cli = Cli::command();
    let mut asked = 0;
    let mut missing = Vec::new();
    let mut left: Vec<(String, &clap::Command)> =
        cli.get_subcommands().map(|command| (command.get_name().to_owned(), command)).collect();
    while let Some((name, command)) = left.pop() {
        if command.has_subcommands() {
            let below = command.get_subcommands();
            left.extend(below.map(|below| (format!("{name} {}", below.get_name()), below)));
            continue;
        }
        asked += 1;
        let has_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        if has_json == WITHOUT_JSON.contains(&name.as_str()) {
            missing.push(name);
        }
    }
    assert!(asked > 30, "only {asked} commands were looked at");
    assert_eq!(missing, Vec::<String>::new(), "these need --json, or are in WITHOUT_JSON and have it");
}

/// Asks a real bash what it would offer after these words.
fn offered(words: &[&str]) -> String {
    let nowhere = Path::new("/nonexistent");
    let script = ok(nowhere, &["completions", "bash"]);
    let ask = r#"source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); \
        _landfall landfall "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("landfall.bash");
    std::fs::write(&file, script).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", ask, "bash"]).arg(&file).args(words).stdin(Stdio::null());
    let output = bash.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_commands_and_options() {
    let commands = offered(&["landfall", "ro"]);
    assert_eq!(commands.trim(), "rollback");
    let options = offered(&["landfall", "logs", "--"]);
    for wanted in ["--follow", "--stage", "--plain", "--json", "--data"] {
        assert!(options.lines().any(|line| line == wanted), "no {wanted} in:\n{options}");
    }
    assert_eq!(offered(&["landfall", "token", "cr"]).trim(), "create");
    assert!(!offered(&["landfall", ""]).lines().any(|line| line == "hook"), "what is hidden is not offered");
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ok(Path::new("/nonexistent"), &["completions", shell]);
        assert!(script.contains("rollback"), "{shell}: {script}");
    }
    let output = landfall(Path::new("/nonexistent"), &["completions", "csh"]);
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn the_manual_has_a_page_for_each_command_and_man_can_set_them() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    ok(folder.path(), &["man", pages.to_str().unwrap()]);
    let mut names: Vec<String> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|page| page.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for wanted in ["landfall.1", "landfall-run.1", "landfall-token-create.1", "landfall-doctor.1"] {
        assert!(names.iter().any(|name| name == wanted), "no {wanted} in {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("hook")), "{names:?}");
    let page = std::fs::read_to_string(pages.join("landfall-run.1")).unwrap();
    assert!(page.contains("landfall run") && page.contains(".SH"), "{page}");
    assert_eq!(ok(folder.path(), &["man"]), std::fs::read_to_string(pages.join("landfall.1")).unwrap());
    // Debian's `groff-base` sets them for `man`; a machine without it has nothing to read them with either.
    if Command::new("groff").arg("--version").output().is_err() {
        return;
    }
    for name in &names {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-ww", "-z", "-Tutf8", "-K", "utf8"]).arg(pages.join(name));
        let output = groff.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{name}: {}", said(&output));
    }
}
