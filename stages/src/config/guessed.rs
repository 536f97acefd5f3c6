//! Settings at a checkout: what was written, over what the source suggests, over the defaults.
//!
//! ```text
//! source ──detect──▶ findings ──▶ text of a landfall.toml ──parse──▶ settings ◀──over them── what was written
//! ```
//!
//! **What is guessed goes the same way as what is written**: `landfall init` gives that text away, so it can't mean
//! something else than its lack does.

use std::collections::BTreeSet;
use std::path::Path;

use landfall_engine::core::facts::Guess;
use landfall_engine::core::settings::Settings;

use super::CONFIG_FILE;
use super::PYPROJECT_FILE;
use super::parse_over;
use super::source;
use crate::detect;
use crate::detect::{Finding, Source, Written};
use crate::dockerfile;

/// The settings of a checkout.
#[derive(Clone, Debug, PartialEq)]
pub struct Configured {
    /// All of them.
    pub settings: Settings,
    /// The file with what was written, or "defaults".
    pub configured_by: String,
    /// What was not written and the source suggests, with remarks.
    pub guesses: Vec<Guess>,
}

/// What `landfall init` writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Initial {
    /// The text of `landfall.toml`.
    pub config: String,
    /// The Dockerfile that would be generated, or why there is none.
    pub dockerfile: Result<String, String>,
    /// What stands behind the text.
    pub guesses: Vec<Guess>,
}

/// Returns the settings in a folder with an app's source, with what it suggests where nothing is written.
///
/// # Errors
///
/// For people: the first line says the first problem, the next ones show it and all others.
pub fn read_and_guess(source_dir: &Path, app: &str) -> Result<Configured, String> {
    let written = source::written_at(source_dir)?;
    let (text, file) = written.as_ref().map_or(("", CONFIG_FILE), |(text, file)| (text.as_str(), *file));
    let parsed = |base: Settings| parse_over(text, file, app, base).map_err(|error| error.to_string());
    let settings = parsed(Settings::default())?;
    let keys = keys(text, file);
    let found = usable(detect::find(&Source::of(source_dir), &Written { settings: &settings, keys: &keys }));
    let base = parse_over(&sections(&found), CONFIG_FILE, app, Settings::default()).unwrap_or_default();
    Ok(Configured {
        settings: parsed(base)?,
        configured_by: if written.is_some() { file.to_owned() } else { "defaults".to_owned() },
        guesses: found.iter().map(Finding::guess).collect(),
    })
}

/// Returns the configuration that a source without one would have, as text.
pub fn initial(source_dir: &Path, app: &str) -> Initial {
    let (settings, keys) = (Settings::default(), BTreeSet::new());
    let found = usable(detect::find(&Source::of(source_dir), &Written { settings: &settings, keys: &keys }));
    let mut config = String::from(
        "# What Landfall read off this source. Each line can be changed, or taken out: then it is guessed again.\n",
    );
    config.push_str(&format!("service = {}\n", toml::Value::from(app)));
    for remark in found.iter().filter(|finding| !finding.is_setting()) {
        let Guess { key, value, reason } = remark.guess();
        config.push_str(&comment(&format!("{key}: {value}; {reason}")));
    }
    config.push_str(&sections(&found));
    let settings = parse_over(&config, CONFIG_FILE, app, Settings::default()).unwrap_or_default();
    let dockerfile = dockerfile::generate(source_dir, &settings);
    Initial { config, dockerfile, guesses: found.iter().map(Finding::guess).collect() }
}

/// Leaves out what no configuration could hold, such as a command of 10,000 characters.
fn usable(found: Vec<Finding>) -> Vec<Finding> {
    let is_usable = |finding: &Finding| {
        let text = sections(std::slice::from_ref(finding));
        !finding.is_setting() || parse_over(&text, CONFIG_FILE, "app", Settings::default()).is_ok()
    };
    let mut usable: Vec<Finding> = found.into_iter().filter(is_usable).collect();
    // Addresses of services that there will not be lead nowhere.
    if !usable.iter().any(|finding| finding.key == "test.services") {
        usable.retain(|finding| finding.key != "test.env");
    }
    usable
}

/// Returns the findings that are settings as sections of a file, each with its reason above it.
fn sections(found: &[Finding]) -> String {
    let settings: Vec<(&str, &str, &Finding)> = found
        .iter()
        .filter_map(|finding| finding.key.rsplit_once('.').map(|(section, key)| (section, key, finding)))
        .collect();
    let mut order: Vec<&str> = Vec::new();
    for (section, ..) in &settings {
        if !order.contains(section) {
            order.push(section);
        }
    }
    let mut text = String::new();
    for section in order {
        text.push_str(&format!("\n[{section}]\n"));
        for (_, key, finding) in settings.iter().filter(|(of, ..)| *of == section) {
            text.push_str(&comment(&finding.guess().reason));
            text.push_str(&format!("{key} = {}\n", finding.written()));
        }
    }
    text
}

/// A comment is one line, whatever the source has put into it.
fn comment(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("# {plain}\n")
}

/// Returns every key of a text, and every section: `test`, `test.command`.
fn keys(text: &str, file: &str) -> BTreeSet<String> {
    let mut table: toml::Table = text.parse().unwrap_or_default();
    if file == PYPROJECT_FILE {
        let ours = table.get("tool").and_then(|tool| tool.get("landfall")).and_then(toml::Value::as_table);
        table = ours.cloned().unwrap_or_default();
    }
    let mut keys = BTreeSet::new();
    collect("", &table, &mut keys);
    keys
}

fn collect(path: &str, table: &toml::Table, keys: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if let Some(below) = value.as_table() {
            collect(&key, below, keys);
        }
        keys.insert(key);
    }
}
