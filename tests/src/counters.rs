//! What a proof counted: seeds, crash points, faults, kills, checks, violations.
//!
//! A test says here what it did; `./run test` prints the tables of all of them when it ends. A proof that did not
//! run leaves no table, so nothing of an earlier run is taken for this one's.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Returns the folder with one file a proof: `LANDFALL_PROOF`, or `proof` in the build's own folder.
///
/// `tmp` is the caller's `env!("CARGO_TARGET_TMPDIR")`.
pub fn folder(tmp: &str) -> PathBuf {
    env::var_os("LANDFALL_PROOF").map_or_else(|| Path::new(tmp).with_file_name("proof"), PathBuf::from)
}

/// Writes down what a proof counted, in the order given, and replaces what it said before.
///
/// # Errors
///
/// What the disk said.
pub fn publish(tmp: &str, proof: &str, counted: &[(String, u64)]) -> io::Result<()> {
    let mut text = String::new();
    for (what, count) in counted {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{count}\t{what}");
    }
    write(tmp, proof, &text)
}

/// Writes down a table that a proof drew itself, and replaces what it said before.
///
/// # Errors
///
/// What the disk said.
pub fn write(tmp: &str, proof: &str, text: &str) -> io::Result<()> {
    let folder = folder(tmp);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(proof), text)
}

/// Tells whether the long form is asked for (`./run test --long`).
pub fn is_long() -> bool {
    env::var_os("LANDFALL_TEST_LONG").is_some()
}
