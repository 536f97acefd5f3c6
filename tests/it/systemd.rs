//! The units for systemd: it understands them, they open little, and the binary knows what they ask of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::real::yard::{landfall, said};

const UNITS: [&str; 2] = ["landfall.service", "landfall-proxy.service"];

/// Of 100. systemd calls everything up to 49 "OK" or better; what is left here is the network and the sockets.
const EXPOSURE_MAX: u32 = 20;

fn text(unit: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/systemd");
    fs::read_to_string(folder.join(unit)).unwrap()
}

/// Writes the units as they are, with the binary where it was built.
fn laid_out() -> (TempDir, Vec<PathBuf>) {
    let folder = TempDir::new().unwrap();
    let binary = landfall().display().to_string();
    let write = |unit: &&str| {
        let path = folder.path().join(unit);
        fs::write(&path, text(unit).replace("/usr/local/bin/landfall", &binary)).unwrap();
        path
    };
    let units = UNITS.iter().map(write).collect();
    (folder, units)
}

fn analyze(verb: &str, arguments: &[&str], units: &[PathBuf]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.arg(verb).args(arguments).args(units).env("SYSTEMD_PAGER", "");
    command.output().expect("systemd-analyze is installed by ./run setup")
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let (_folder, units) = laid_out();
    let verified = analyze("verify", &["--man=no"], &units);
    let ours: String = said(&verified).lines().filter(|line| line.contains("landfall")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{}", said(&verified));
}

#[test]
fn the_units_leave_little_open() {
    let (_folder, units) = laid_out();
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    for unit in units {
        let judged =
            analyze("security", &["--offline=true", "--no-pager", &threshold], std::slice::from_ref(&unit));
        assert!(judged.status.success(), "{}: {}", unit.display(), said(&judged));
    }
}

#[test]
fn the_binary_knows_every_option_that_the_units_give_it() {
    for unit in UNITS {
        let text = text(unit);
        let command = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let arguments = command.split_whitespace().skip(1);
        // An option that is not known is told before the help is shown.
        let asked = Command::new(landfall()).args(arguments).arg("--help").output().unwrap();
        assert!(asked.status.success(), "{unit}: {}", said(&asked));
    }
}
