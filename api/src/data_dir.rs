//! What of a data folder belongs to the server: where it is, its token, and the note by which commands find it.
//!
//! ```text
//! landfall serve ──writes──▶ DATA/server.json {url, token, pid} ◀──reads── landfall runs, cancel, …
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// The environment variable that holds the token.
pub const TOKEN_VARIABLE: &str = "LANDFALL_TOKEN";
/// A token that can be guessed is none: 16 characters at least.
const TOKEN_BYTES_MIN: usize = 16;
/// Longer ones don't fit into one header line of every client.
const TOKEN_BYTES_MAX: usize = 1_000;

/// Returns the data folder when nobody names one: `$LANDFALL_DATA`, else `landfall` in `$XDG_DATA_HOME`, which
/// is `~/.local/share` unless told otherwise. None: there is no home either.
pub fn default_path() -> Option<PathBuf> {
    path_from(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn path_from(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // The XDG specification: a relative path is ignored.
    let shared = variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let shared = || shared.or_else(|| Some(variable("HOME")?.join(".local/share")));
    variable("LANDFALL_DATA").or_else(|| Some(shared()?.join("landfall")))
}

/// A secret that opens the server's API. Shown nowhere; compared in constant time.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Returns a new random token.
    pub fn random() -> Self {
        Self(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    /// Returns the token if it is one: long enough, and of characters that fit into a header and a URL.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unusable`] otherwise, naming `origin`.
    pub fn parse(text: &str, origin: &str) -> Result<Self, TokenError> {
        let token = text.trim();
        let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
        match fits && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Self(token.to_owned())),
            false => Err(TokenError::Unusable { origin: origin.to_owned() }),
        }
    }

    /// Tells whether a given text is this token, in a time that tells nothing about how much of it is right.
    pub fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// Returns the token itself, for a header.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is too short, or has spaces in it. **Choose another.**
    #[error(
        "the token in {origin} can't be used: expected {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} printable characters \
         without spaces; `openssl rand -hex 32` makes one"
    )]
    Unusable {
        /// Where it came from.
        origin: String,
    },
    /// The file could not be read or made. **Check its path and permissions.**
    #[error("could not {doing} the token file {}", file.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// Returns the server's token and where it is: from the environment, from the named file, or from `DATA/token`,
/// which is made when it is not there.
///
/// # Errors
///
/// [`TokenError`] when a token that is there can't be used.
pub fn server_token(
    data: &Path,
    environment: Option<String>,
    file: Option<&Path>,
) -> Result<(Token, String), TokenError> {
    if let Some(text) = environment {
        let origin = format!("${TOKEN_VARIABLE}");
        return Ok((Token::parse(&text, &origin)?, origin));
    }
    let own = data.join("token");
    let path = file.unwrap_or(&own);
    let failed = |doing| {
        let file = path.to_owned();
        move |source| TokenError::File { doing, file, source }
    };
    match fs::read_to_string(path) {
        Ok(text) => Ok((Token::parse(&text, &path.display().to_string())?, path.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
            let token = Token::random();
            write_private(path, format!("{}\n", token.reveal()).as_bytes()).map_err(failed("write"))?;
            Ok((token, path.display().to_string()))
        }
        Err(error) => Err(failed("read")(error)),
    }
}

/// How to reach the server that has a data folder.
#[derive(Clone, Serialize, Deserialize)]
pub struct ServerNote {
    /// Where it answers: `http://127.0.0.1:7070`.
    pub url: String,
    /// A token that this process of the server made for whoever may read its folder.
    pub token: String,
    /// The process.
    pub pid: i32,
}

impl fmt::Debug for ServerNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerNote").field("url", &self.url).field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// A note that is removed when it is dropped.
#[derive(Debug)]
pub struct NoteGuard(PathBuf);

impl Drop for NoteGuard {
    fn drop(&mut self) {
        // One that stays behind names a process that is gone, and is ignored.
        let _ = fs::remove_file(&self.0);
    }
}

impl ServerNote {
    /// Writes the note for this process.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn write(url: &str, token: &Token, data: &Path) -> io::Result<NoteGuard> {
        let pid = std::process::id().cast_signed();
        let note = Self { url: url.to_owned(), token: token.reveal().to_owned(), pid };
        let path = data.join("server.json");
        write_private(&path, &serde_json::to_vec(&note)?)?;
        Ok(NoteGuard(path))
    }

    /// Returns the note of a server that may be running. None: there is none, or its process is gone.
    pub fn find(data: &Path) -> Option<Self> {
        let text = fs::read(data.join("server.json")).ok()?;
        let note: Self = serde_json::from_slice(&text).ok()?;
        let pid = Pid::from_raw(note.pid)?;
        match test_kill_process(pid) {
            Err(rustix::io::Errno::SRCH) => None,
            // Alive, or somebody else's: asking it will tell.
            _ => Some(note),
        }
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file: File =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    // A draft that was left behind keeps the mode it had.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // A name is durable once its folder is.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(variables: &[(&str, &str)]) -> Option<String> {
        let found = path_from(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
        });
        found.map(|path| path.display().to_string())
    }

    #[test]
    fn the_data_folder_is_where_the_xdg_specification_puts_it_unless_named() {
        assert_eq!(path(&[("LANDFALL_DATA", "here"), ("HOME", "/h")]).as_deref(), Some("here"));
        assert_eq!(path(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]).as_deref(), Some("/x/landfall"));
        assert_eq!(
            path(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")]).as_deref(),
            Some("/h/.local/share/landfall")
        );
        assert_eq!(path(&[]), None);
    }

    #[test]
    fn a_token_is_made_once_and_only_its_owner_can_read_it() {
        let data = tempfile::tempdir().unwrap();
        let (made, origin) = server_token(data.path(), None, None).unwrap();
        let (read, _) = server_token(data.path(), None, None).unwrap();
        assert!(read.is(made.reveal()));
        assert_eq!(fs::metadata(&origin).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{made:?}"), "Token(…)");
    }

    #[test]
    fn a_token_that_is_short_or_has_spaces_is_refused_without_showing_it() {
        let data = tempfile::tempdir().unwrap();
        for bad in ["hunter2", "a token that has spaces in it", ""] {
            let error = server_token(data.path(), Some(bad.into()), None).unwrap_err().to_string();
            assert!(error.contains("$LANDFALL_TOKEN can't be used"), "{error}");
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_named_token_file_has_to_be_there() {
        let data = tempfile::tempdir().unwrap();
        let error = server_token(data.path(), None, Some(Path::new("/nowhere/token"))).unwrap_err();
        assert_eq!(error.to_string(), "could not read the token file /nowhere/token");
    }

    #[test]
    fn a_note_is_found_while_its_process_lives_and_gone_with_its_guard() {
        let data = tempfile::tempdir().unwrap();
        let guard = ServerNote::write("http://127.0.0.1:1", &Token::random(), data.path()).unwrap();
        assert_eq!(ServerNote::find(data.path()).unwrap().url, "http://127.0.0.1:1");
        drop(guard);
        assert!(ServerNote::find(data.path()).is_none());

        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let stale = ServerNote { url: String::new(), token: String::new(), pid: child.id().cast_signed() };
        fs::write(data.path().join("server.json"), serde_json::to_vec(&stale).unwrap()).unwrap();
        assert!(ServerNote::find(data.path()).is_none());
    }
}
