//! `landfall init`: what is guessed of a source, written down where it can be changed.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use landfall_engine::core::facts::Guess;
use landfall_stages::config::{CONFIG_FILE, Initial, initial};
use serde::Serialize;

use super::stdout;
use super::target::made_valid;
use crate::cli::InitArgs;
use crate::fault::Fault;

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
            stdout::line(&format!("  {key} = {value}: {reason}"))?;
        }
    }
    Ok(0)
}

fn write(file: &Path, text: &str, force: bool) -> Result<(), Fault> {
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
