//! Where the configuration is: one of two files, or nowhere.

use std::path::Path;

use landfall_engine::core::settings::Settings;

use super::CONFIG_FILE;
use super::ConfigError;
use super::PYPROJECT_FILE;
use super::parse;
use super::problem::Problem;

/// A configuration of a few kilobytes is long; what is larger is something else.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// Returns the settings in a folder with an app's source, and the name of the file that they came from
/// (`defaults` when there is none).
///
/// # Errors
///
/// For people: the first line says the first problem, the next ones show it and all others.
pub fn read_at_checkout(source_dir: &Path, app: &str) -> Result<(Settings, String), String> {
    refuse_links(source_dir)?;
    read_at_commit(|name| std::fs::read(source_dir.join(name)).ok(), app)
}

/// Returns the text that configures the app in a folder, and the name of its file. None: nothing does.
pub(super) fn written_at(source_dir: &Path) -> Result<Option<(String, &'static str)>, String> {
    refuse_links(source_dir)?;
    let Some((bytes, file)) = chosen(|name| std::fs::read(source_dir.join(name)).ok())? else {
        return Ok(None);
    };
    Ok(Some((checked(&bytes, file)?.to_owned(), file)))
}

fn refuse_links(source_dir: &Path) -> Result<(), String> {
    let outside = |name: &str| {
        let path = source_dir.join(name);
        let real = path.canonicalize().ok()?;
        let root = source_dir.canonicalize().ok()?;
        // Errors quote lines: a link out of the source would quote somebody else's file.
        (!real.starts_with(root) || !real.is_file())
            .then(|| format!("{name} is no regular file of the source: expected a file of its own"))
    };
    [CONFIG_FILE, PYPROJECT_FILE].into_iter().find_map(outside).map_or(Ok(()), Err)
}

/// Returns the settings at a commit, whose files `show_file` returns by their path, and the name of the
/// file that they came from.
///
/// # Errors
///
/// As [`read_at_checkout`].
pub fn read_at_commit(
    show_file: impl Fn(&str) -> Option<Vec<u8>>,
    app: &str,
) -> Result<(Settings, String), String> {
    match chosen(show_file)? {
        Some((bytes, file)) => settings(&bytes, file, app),
        None => defaults(app),
    }
}

/// Returns the file that counts.
fn chosen(show_file: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Option<(Vec<u8>, &'static str)>, String> {
    let ours = show_file(CONFIG_FILE);
    let python = show_file(PYPROJECT_FILE).filter(|bytes| mentions_us(bytes));
    match (ours, python) {
        (Some(_), Some(python)) if has_our_table(&python) == Some(true) => Err(format!(
            "there are two configurations: {CONFIG_FILE} and [tool.landfall] in {PYPROJECT_FILE}; remove one"
        )),
        (Some(bytes), _) => Ok(Some((bytes, CONFIG_FILE))),
        (None, Some(bytes)) if has_our_table(&bytes) != Some(false) => Ok(Some((bytes, PYPROJECT_FILE))),
        (None, _) => Ok(None),
    }
}

fn defaults(app: &str) -> Result<(Settings, String), String> {
    let settings = parse("", CONFIG_FILE, app).map_err(|error| error.to_string())?;
    Ok((settings, "defaults".into()))
}

fn settings(bytes: &[u8], file: &str, app: &str) -> Result<(Settings, String), String> {
    let text = checked(bytes, file)?;
    let settings = parse(text, file, app).map_err(|error| error.to_string())?;
    Ok((settings, file.to_owned()))
}

fn checked<'b>(bytes: &'b [u8], file: &str) -> Result<&'b str, String> {
    let of_file = |message: String| ConfigError::new(file, "", vec![Problem::of_file(message)]).to_string();
    if bytes.len() > FILE_BYTES_MAX {
        return Err(of_file(format!(
            "expected at most {} KiB, found {}; is it another kind of file?",
            FILE_BYTES_MAX / 1024,
            bytes.len().div_ceil(1024)
        )));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        of_file(format!("expected UTF-8, found another encoding in line {line}; save the file as UTF-8"))
    })
}

/// Most `pyproject.toml`s have nothing to do with us, and are not read further.
fn mentions_us(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| window == b"landfall")
}

/// Tells whether `[tool.landfall]` is in there. None: it can't be read.
fn has_our_table(bytes: &[u8]) -> Option<bool> {
    let table: toml::Table = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(table.get("tool").is_some_and(|tool| tool.get("landfall").is_some()))
}
