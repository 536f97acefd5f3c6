//! `landfall init`: what is guessed of a source, written down where it can be changed.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use landfall_engine::core::facts::Guess;
use landfall_stages::config::{CONFIG_FILE, Initial, initial};
use serde::Serialize;

use super::stdout;
use crate::cli::InitArgs;
use crate::fault::Fault;
use crate::naming::made_valid;
use crate::picture::text::harmless;

/// What an image never needs, and what would make each build a new one.
const DOCKERIGNORE: &str = "\
.git
.github
.venv
venv
**/__pycache__
**/*.pyc
.pytest_cache
.env
Dockerfile
.dockerignore
";

/// What was found and written.
#[derive(Debug, Serialize)]
struct Report {
    config: String,
    dockerfile: Option<String>,
    guesses: Vec<Guess>,
    written: Vec<PathBuf>,
}

/// Writes or prints the configuration.
///
/// # Errors
///
/// [`Fault::Refused`] when a file is there already; [`Fault`] when it can't be written.
pub fn run(args: InitArgs) -> Result<u8, Fault> {
    let is_here = args.path.as_os_str() == "-";
    let path = if is_here { Path::new(".") } else { args.path.as_path() };
    let folder = path.canonicalize().ok().filter(|folder| folder.is_dir());
    let folder = folder.ok_or_else(|| Fault::NotFound(format!("there is no folder {}", path.display())))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let Initial { config, dockerfile, guesses } = initial(&folder, &made_valid(&name));
    let dockerfile = match (args.dockerfile, dockerfile) {
        (true, Ok(text)) => Some(text),
        (true, Err(why)) => return Err(Fault::Refused(why)),
        (false, _) => None,
    };
    let mut written = Vec::new();
    let prints = args.print || is_here;
    if !prints {
        let mut files = vec![(folder.join(CONFIG_FILE), config.as_str())];
        files.extend(dockerfile.as_deref().map(|text| (folder.join("Dockerfile"), text)));
        // All or none: a second file that is there shall not leave the first one behind.
        if let Some((file, _)) = files.iter().find(|(file, _)| file.exists() && !args.force) {
            return Err(there_already(file));
        }
        let ignore = folder.join(".dockerignore");
        if dockerfile.is_some() && !ignore.exists() {
            files.push((ignore, DOCKERIGNORE));
        }
        for (file, text) in files {
            write(&file, text, args.force)?;
            written.push(file);
        }
    }
    if args.json {
        stdout::json(&Report { config, dockerfile, guesses, written })?;
    } else if prints {
        stdout::print(&config)?;
        dockerfile.iter().try_for_each(|text| stdout::print(&format!("\n# --- Dockerfile ---\n{text}")))?;
    } else {
        for file in written {
            stdout::line(&format!("wrote {}", file.display()))?;
        }
        for Guess { key, value, reason } in guesses {
            // The source may have put anything into them.
            stdout::line(&harmless(&format!("  {key} = {value}: {reason}")))?;
        }
    }
    Ok(0)
}

fn write(file: &Path, text: &str, force: bool) -> Result<(), Fault> {
    // A link in a cloned repository may lead anywhere.
    if file.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(Fault::Refused(format!(
            "{} is no plain file: remove it, or use --print",
            file.display()
        )));
    }
    let opened = OpenOptions::new().write(true).create_new(!force).create(force).truncate(force).open(file);
    match opened.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(there_already(file)),
        Err(error) => Err(Fault::unavailable(format!("could not write {}", file.display()), error)),
    }
}

fn there_already(file: &Path) -> Fault {
    Fault::Refused(format!("{} is there already: --force replaces it, --print only shows", file.display()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn app() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("app.py"), "from flask import Flask\napp = Flask(__name__)\n")
            .unwrap();
        dir
    }

    fn args(path: &Path) -> InitArgs {
        InitArgs { path: path.to_owned(), dockerfile: false, print: false, force: false, json: false }
    }

    #[test]
    fn what_is_there_is_replaced_only_by_force() {
        let dir = app();
        let file = dir.path().join(CONFIG_FILE);
        assert!(matches!(run(args(dir.path())), Ok(0)));
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(written.contains("app:app"), "{written}");
        std::fs::write(&file, "service = \"mine\"\n").unwrap();
        assert!(matches!(run(args(dir.path())), Err(Fault::Refused(_))));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "service = \"mine\"\n");
        assert!(matches!(run(InitArgs { force: true, ..args(dir.path()) }), Ok(0)));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    }

    #[test]
    fn a_dockerfile_that_is_there_keeps_everything_from_being_written() {
        let dir = app();
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        assert!(matches!(run(InitArgs { dockerfile: true, ..args(dir.path()) }), Err(Fault::Refused(_))));
        assert!(!dir.path().join(CONFIG_FILE).exists());
        std::fs::remove_file(dir.path().join("Dockerfile")).unwrap();
        assert!(matches!(run(InitArgs { dockerfile: true, ..args(dir.path()) }), Ok(0)));
        for name in [CONFIG_FILE, "Dockerfile", ".dockerignore"] {
            assert!(dir.path().join(name).exists(), "{name}");
        }
    }

    #[test]
    fn printing_writes_nothing() {
        let dir = app();
        assert!(matches!(run(InitArgs { print: true, dockerfile: true, ..args(dir.path()) }), Ok(0)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(matches!(run(args(&dir.path().join("gone"))), Err(Fault::NotFound(_))));
    }
}
