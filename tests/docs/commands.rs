//! Command lines between words: each is one that the program takes, with something sensible in the place of what is
//! written in capitals.

use std::collections::BTreeSet;

use clap::CommandFactory;
use clap::error::ErrorKind;
use landfall::cli::Cli;

use crate::page::pages;

/// Returns what stands for a placeholder. Any other word in capitals stands for itself.
fn filled(word: &str) -> &str {
    match word {
        "APP" | "NAME" => "shop",
        "ENV" => "staging",
        "SHA" => "0123456789abcdef0123456789abcdef01234567",
        "SEQ" | "N" => "7",
        "ADDR" => "127.0.0.1:7070",
        "NET" => "10.0.0.0/8",
        "SIZE" => "1GiB",
        "TIME" => "90d",
        "URL" => "https://example.com/ada/shop.git",
        "STAGE" => "build",
        "SHELL" => "bash",
        other => other,
    }
}

/// Splits a command line as a shell would, up to what is another command's.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for char in line.chars() {
        match (char, quote) {
            ('\'' | '"', None) => quote = Some(char),
            (char, Some(open)) if char == open => quote = None,
            ('|' | '>' | '<' | '&' | ';' | '#', None) => break,
            (' ', None) => words.push(String::new()),
            // What may be left out is there.
            ('[' | ']', None) => {}
            (char, _) => words.last_mut().unwrap().push(char),
        }
    }
    words.retain(|word| !word.is_empty() && word != "…");
    words.iter().map(|word| filled(word).to_owned()).collect()
}

/// Tells whether a line names a command and asks for nothing.
fn is_a_name(line: &str) -> bool {
    let mut command = Cli::command();
    line.split(' ').skip(1).all(|word| {
        let below = command.find_subcommand(word).cloned();
        below.is_some_and(|below| {
            command = below;
            true
        })
    })
}

fn is_taken(line: &str) -> Result<(), String> {
    if is_a_name(line) {
        return Ok(());
    }
    match Cli::command().try_get_matches_from(words(line)) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn every_command_line_between_words_is_one() {
    let mut tried = 0;
    for page in pages() {
        let console = page.blocks().into_iter().filter(|block| block.language == "console");
        let shown = console.flat_map(|block| {
            let lines = block.text.replace("\\\n", "");
            let lines = lines.lines().filter_map(|line| line.strip_prefix(['$', '#'])).map(str::trim);
            lines.map(|line| (block.line, line.to_owned())).collect::<Vec<_>>()
        });
        let spans = page.code_spans().into_iter().chain(shown);
        for (line, span) in spans.filter(|(_, span)| span.starts_with("landfall ")) {
            if let Err(why) = is_taken(&span) {
                panic!("{}:{line}: `{span}` is refused: {why}", page.path);
            }
            tried += 1;
        }
    }
    assert!(tried > 60, "only {tried} command lines were found, so this test sees little");
}

#[test]
fn every_flag_between_words_is_one() {
    let flags = flags();
    for page in pages() {
        for (line, span) in page.code_spans() {
            let Some(flag) = span.strip_prefix("--").and_then(|rest| rest.split([' ', '=']).next()) else {
                continue;
            };
            // The proofs are ./run's, and labels Docker's.
            let is_anothers = flag == "long" || flag == "filter" || flag.is_empty();
            assert!(is_anothers || flags.contains(flag), "{}:{line}: nothing takes --{flag}", page.path);
        }
    }
}

fn flags() -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        flags.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
        commands.extend(command.get_subcommands().cloned());
    }
    flags
}

#[test]
fn what_is_no_command_line_is_found_out() {
    assert_eq!(
        words("landfall hold APP 'a b' [--env ENV] | head"),
        ["landfall", "hold", "shop", "a b", "--env", "staging"]
    );
    assert!(is_taken("landfall rnu").is_err());
    assert!(is_taken("landfall retry last --from nowhere").is_err());
    assert!(is_taken("landfall app add shop").is_err());
    assert!(is_taken("landfall replay --frm").is_err());
    assert!(is_taken("landfall help run").is_ok() && is_taken("landfall secret set").is_ok());
}
