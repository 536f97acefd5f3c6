//! The files of a source, read so that nothing in them can do harm: no link is followed, nothing is read that is
//! too large, and every encoding gives some text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// So many files tell what there is to tell; the rest of a huge repository is not looked at.
const FILES_MAX: usize = 8_000;
/// Deeper folders hold assets and other people's code.
const DEPTH_MAX: usize = 7;
/// A source file that is longer was generated.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;
/// What is read of all Python files together.
const PYTHON_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Folders with nothing of the app's own.
const SKIPPED: [&str; 12] = [
    "node_modules",
    "__pycache__",
    "venv",
    "env",
    "virtualenv",
    "site-packages",
    "bower_components",
    "static",
    "build",
    "dist",
    "vendor",
    "htmlcov",
];

/// A folder with an app in it.
#[derive(Debug)]
pub(crate) struct Source {
    root: PathBuf,
    /// Every file that is looked at, by its path from the root, sorted.
    files: BTreeSet<String>,
}

impl Source {
    /// Lists the files. What can't be listed is not there.
    pub(crate) fn of(root: &Path) -> Self {
        let mut source = Self { root: root.to_owned(), files: BTreeSet::new() };
        source.list("", 0);
        source
    }

    fn list(&mut self, folder: &str, depth: usize) {
        let Ok(entries) = std::fs::read_dir(self.root.join(folder)) else { return };
        let mut folders = Vec::new();
        for entry in entries.flatten() {
            let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type()) else { continue };
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if kind.is_dir() && depth < DEPTH_MAX && is_looked_into(&name, self.root.join(&path).as_path()) {
                folders.push(path);
            } else if kind.is_file() && self.files.len() < FILES_MAX {
                self.files.insert(path);
            }
        }
        folders.sort();
        folders.iter().for_each(|folder| self.list(folder, depth + 1));
    }

    /// Tells whether there is a file at this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains(path)
    }

    /// Tells whether there is a file below this folder.
    pub(crate) fn has_folder(&self, folder: &str) -> bool {
        let below = format!("{folder}/");
        self.files.range(below.clone()..).next().is_some_and(|file| file.starts_with(&below))
    }

    /// Returns the paths of all files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// Returns the paths of the Python files.
    pub(crate) fn python_files(&self) -> impl Iterator<Item = &str> {
        self.files().filter(|path| path.ends_with(".py"))
    }

    /// Returns the names of the files right in a folder; "" is the root.
    pub(crate) fn names_in<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        self.files().filter_map(move |path| match folder {
            "" => (!path.contains('/')).then_some(path),
            _ => path.strip_prefix(folder)?.strip_prefix('/').filter(|rest| !rest.contains('/')),
        })
    }

    /// Returns the names of the folders right in a folder.
    pub(crate) fn folders_in(&self, folder: &str) -> Vec<String> {
        let start = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let names = self.files().filter_map(|path| Some(path.strip_prefix(&start)?.split_once('/')?.0));
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.dedup();
        names
    }

    /// Returns the text of a file. None: there is none, or it is too large.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        if !self.has(path) {
            return None;
        }
        read(&self.root.join(path))
    }

    /// Returns the text of every Python file with its path, as far as they are read.
    pub(crate) fn python_texts(&self) -> Vec<(&str, String)> {
        let mut left = PYTHON_BYTES_MAX;
        let mut texts = Vec::new();
        for path in self.python_files() {
            let Some(text) = self.text(path) else { continue };
            let Some(rest) = left.checked_sub(text.len()) else { break };
            left = rest;
            texts.push((path, text));
        }
        texts
    }

    /// Returns a table of TOML. None: there is no such file, or it can't be read.
    pub(crate) fn toml(&self, path: &str) -> Option<toml::Table> {
        self.text(path)?.parse().ok()
    }
}

fn is_looked_into(name: &str, path: &Path) -> bool {
    let is_hidden = name.starts_with('.') && name != ".github";
    // `python -m venv` leaves this file, whatever its folder is called.
    !is_hidden
        && !SKIPPED.contains(&name)
        && !name.ends_with(".egg-info")
        && !path.join("pyvenv.cfg").exists()
}

/// Reads a file of unknown encoding. A link is not followed: what it leads to is not of this source.
pub(crate) fn read(path: &Path) -> Option<String> {
    let metadata = path.symlink_metadata().ok()?;
    if !metadata.is_file() || metadata.len() > TEXT_BYTES_MAX {
        return None;
    }
    Some(decoded(&std::fs::read(path).ok()?))
}

/// Returns a text: UTF-8, UTF-16 where it says so, else Latin-1, in which every byte is a character.
pub(crate) fn decoded(bytes: &[u8]) -> String {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes),
        _ => {
            let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
            match std::str::from_utf8(bytes) {
                Ok(text) => text.to_owned(),
                Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
            }
        }
    }
}
