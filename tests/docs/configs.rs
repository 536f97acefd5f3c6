//! Configurations of the documentation, read by what reads them in earnest; and the page that names every key.

use std::collections::{BTreeMap, BTreeSet};

use landfall::server_config::ServerConfig;
use landfall_stages::config::{CONFIG_FILE, PYPROJECT_FILE, parse};

use crate::page::{Page, page, pages};

#[test]
fn every_configuration_is_read_as_what_it_is() {
    let mut read = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "toml") {
            let at = format!("{}:{}", page.path, block.line);
            let kind = block.mark("toml").unwrap_or(CONFIG_FILE);
            match kind.strip_prefix("write ").unwrap_or(kind) {
                file @ (CONFIG_FILE | PYPROJECT_FILE) => {
                    parse(&block.text, file, "shop").unwrap_or_else(|error| panic!("{at}: {error}"));
                }
                "server.toml" => {
                    let file = tempfile::NamedTempFile::new().unwrap();
                    std::fs::write(file.path(), &block.text).unwrap();
                    let config =
                        ServerConfig::read(file.path()).unwrap_or_else(|error| panic!("{at}: {error}"));
                    assert!(!config.apps.is_empty(), "{at}: no app is in there");
                }
                other => panic!("{at}: nothing is known of a {other:?}"),
            }
            read += 1;
        }
    }
    assert!(read > 10, "only {read} configurations were found, so this test sees little");
}

/// A key that no table has.
const NONSENSE: &str = "no_such_key_at_all";

/// Returns the keys that a table takes, in the words of the program itself. None: it is no table of known keys.
fn keys_of(table: &str) -> Option<Vec<String>> {
    let (text, titles) = match table {
        "" => (format!("{NONSENSE} = 1\n"), vec!["the file".to_owned()]),
        // A check takes other keys as a request than as a command.
        "smoke" => {
            let check = |key| format!("[[smoke]]\n{key} = \"/\"\n{NONSENSE} = 1\n");
            (
                check("path") + &check("command"),
                vec!["[[smoke]] no. 1".to_owned(), "[[smoke]] no. 2".to_owned()],
            )
        }
        table => (format!("[{table}]\n{NONSENSE} = 1\n"), vec![format!("[{table}]")]),
    };
    let said = parse(&text, CONFIG_FILE, "shop").err()?.to_string();
    let lists = titles.iter().filter_map(|title| said.split_once(&format!("{title} takes: ")));
    let keys: Vec<_> = lists
        .filter_map(|(_, list)| list.lines().next())
        .flat_map(|list| list.split(", ").map(|key| key.trim().to_owned()))
        .collect();
    (!keys.is_empty()).then_some(keys)
}

/// Returns every key that the program knows, table by table.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let mut known = BTreeMap::new();
    let mut tables = vec![String::new(), "env.name".to_owned()];
    while let Some(table) = tables.pop() {
        let Some(keys) = keys_of(&table) else { continue };
        // An environment has the tables of the file again.
        let below: Vec<_> = match table.starts_with("env.") {
            true => Vec::new(),
            false => keys
                .iter()
                .map(|key| if table.is_empty() { key.clone() } else { format!("{table}.{key}") })
                .collect(),
        };
        let is_table: BTreeSet<_> = below.iter().filter(|path| keys_of(path).is_some()).cloned().collect();
        tables.extend(is_table.iter().cloned());
        known.insert(table, keys.into_iter().collect());
    }
    known
}

/// Returns the keys of the page, table by table, each with its default where that is written as a value.
fn documented(page: &Page) -> BTreeMap<String, BTreeMap<String, Option<String>>> {
    let mut documented: BTreeMap<String, BTreeMap<String, Option<String>>> = BTreeMap::new();
    let mut table = None;
    for (_, line) in page.prose() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = match heading {
                "Top of the file" => Some(String::new()),
                heading => heading.split('`').nth(1).map(|name| name.trim_matches(['[', ']']).to_lowercase()),
            };
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let (Some(table), Some(key)) = (&table, cells.get(1).and_then(|cell| value(cell))) {
            let default = cells.get(3).and_then(|cell| value(cell));
            documented.entry(table.clone()).or_default().insert(key, default);
        }
    }
    documented
}

/// Returns what stands between backticks, if nothing else does.
fn value(cell: &str) -> Option<String> {
    let inside = cell.strip_prefix('`')?.strip_suffix('`')?;
    (!inside.contains('`')).then(|| inside.to_owned())
}

#[test]
fn the_page_of_the_configuration_names_every_key_that_there_is_and_no_other() {
    let documented = documented(&page("api/docs/configuration.md"));
    let known = known();
    assert!(known.values().map(BTreeSet::len).sum::<usize>() > 60, "few keys were found: {known:?}");
    for (table, keys) in &known {
        // Tables that only hold tables have no keys of their own to explain.
        let own: BTreeSet<_> = keys
            .iter()
            .filter(|key| {
                !known.contains_key(&if table.is_empty() { (*key).clone() } else { format!("{table}.{key}") })
            })
            .cloned()
            .collect();
        let told: BTreeSet<_> =
            documented.get(table).map(|keys| keys.keys().cloned().collect()).unwrap_or_default();
        let missing: Vec<_> = own.difference(&told).collect();
        let made_up: Vec<_> = told.difference(keys).collect();
        assert!(
            missing.is_empty() && made_up.is_empty(),
            "[{table}] lacks {missing:?}, and has {made_up:?} that is not"
        );
    }
    let tables: BTreeSet<_> = known.keys().collect();
    let extra: Vec<_> = documented.keys().filter(|table| !tables.contains(table)).collect();
    assert!(extra.is_empty(), "there is no table {extra:?}");
}

#[test]
fn a_default_that_is_written_as_a_value_is_the_default() {
    let mut checked = 0;
    for (table, keys) in documented(&page("api/docs/configuration.md")) {
        for (key, default) in keys {
            let Some(default) = default.filter(|_| !table.starts_with("env.")) else { continue };
            // A limit of a command is no setting without one.
            let beside = if table == "release" { "command = \"true\"\n" } else { "" };
            let head = if table.is_empty() { String::new() } else { format!("[{table}]\n{beside}") };
            let read = |text: &str| {
                parse(text, CONFIG_FILE, "shop").unwrap_or_else(|error| panic!("{text}: {error}"))
            };
            let text = format!("{head}{key} = {default}\n");
            assert_eq!(read(&text), read(&head), "{text}is not the default");
            checked += 1;
        }
    }
    assert!(checked > 25, "only {checked} defaults are written down");
}
