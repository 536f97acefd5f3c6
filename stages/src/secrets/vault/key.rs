//! The key of the vault: where it is, how it is made, what it seals.
//!
//! ```text
//! $CREDENTIALS_DIRECTORY/landfall.key ▶ --vault-key FILE ▶ ~/.config/landfall/vault.key (root: /etc/landfall)
//! ```
//!
//! **A key in the data folder is refused**: whoever takes a copy of that folder would have both.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The environment variable that names the file of the key.
pub const KEY_VARIABLE: &str = "LANDFALL_VAULT_KEY_FILE";

/// The name under which systemd passes the key on.
const CREDENTIAL: &str = "landfall.key";

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Why there is no key. A variant per reaction.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It lies beside what it locks. **Move it.**
    #[error(
        "the key of the vault {} is inside the data folder {}: whoever copies that folder would have both; move it out, \
         and name it by --vault-key", key.display(), data.display()
    )]
    Inside {
        /// The key.
        key: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// It is not there, and what it locks is. **Bring it back.**
    #[error(
        "the key of the vault is not at {}: bring it back, or name it by --vault-key or ${KEY_VARIABLE}; if it is lost, \
         remove the vault and set its secrets anew", key.display()
    )]
    Gone {
        /// Where it was looked for.
        key: PathBuf,
    },
    /// Nobody said where it is, and there is no usual place. **Say it.**
    #[error(
        "there is no home folder for the key of the vault: name its file by --vault-key or ${KEY_VARIABLE}"
    )]
    Nowhere,
    /// It is something else. **Name the right file.**
    #[error(
        "{} is no key of a vault: expected 64 hex digits, as `openssl rand -hex 32` prints them", key.display()
    )]
    Malformed {
        /// The file.
        key: PathBuf,
    },
    /// The disk says no. **Look at its rights.**
    #[error("could not {doing} the key of the vault {}", key.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// The file.
        key: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// Where the key is, whether or not it is there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    path: Option<PathBuf>,
    /// A key that systemd passes on has to be there; its folder can't be written to.
    can_be_made: bool,
}

impl KeyPlace {
    /// Returns where the key of this process is: passed on by systemd, named, or in its usual place.
    pub fn find(named: Option<&Path>) -> Self {
        Self::find_by(named, |name| std::env::var_os(name), rustix::process::geteuid().is_root())
    }

    /// Returns the place of a key that is in this file, or will be.
    pub fn named(file: &Path) -> Self {
        Self { path: Some(file.to_owned()), can_be_made: true }
    }

    fn find_by(named: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Self {
        let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let credential = folder("CREDENTIALS_DIRECTORY").map(|folder| folder.join(CREDENTIAL));
        if let Some(credential) = credential.filter(|file| file.exists()) {
            return Self { path: Some(credential), can_be_made: false };
        }
        let usual = || {
            let of_user = || folder("HOME").map(|home| home.join(".config"));
            let of_root = || Some(PathBuf::from("/etc"));
            let config = folder("XDG_CONFIG_HOME").or_else(|| if is_root { of_root() } else { of_user() });
            config.map(|config| config.join("landfall/vault.key"))
        };
        Self { path: named.map(Path::to_owned).or_else(usual), can_be_made: true }
    }

    /// Returns the file, for people.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns the key. None: there is none yet.
    pub(super) fn read(&self, data: &Path) -> Result<Option<Key>, KeyError> {
        let path = self.outside(data)?;
        let text = match fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(KeyError::Malformed { key: path.to_owned() });
            }
            Err(source) => return Err(KeyError::Disk { doing: "read", key: path.to_owned(), source }),
        };
        if self.can_be_made {
            warn_when_others_can_read(path);
        }
        Key::parse(&text).map(Some).ok_or_else(|| KeyError::Malformed { key: path.to_owned() })
    }

    /// Returns the key that is there.
    pub(super) fn read_existing(&self, data: &Path) -> Result<Key, KeyError> {
        self.read(data)?.ok_or_else(|| match &self.path {
            Some(path) => KeyError::Gone { key: path.clone() },
            None => KeyError::Nowhere,
        })
    }

    /// Makes the key, which only its owner can read.
    pub(super) fn make(&self, data: &Path) -> Result<Key, KeyError> {
        let path = self.outside(data)?;
        if !self.can_be_made {
            return Err(KeyError::Gone { key: path.to_owned() });
        }
        let key = Key::random();
        match write_new(path, &key) {
            Ok(()) => {
                tracing::info!(file = %path.display(), "made the key of the vault; keep a copy of it elsewhere");
                Ok(key)
            }
            Err(source) => Err(KeyError::Disk { doing: "write", key: path.to_owned(), source }),
        }
    }

    /// Returns the path if it is not below the data folder, links followed.
    fn outside(&self, data: &Path) -> Result<&Path, KeyError> {
        let path = self.path.as_deref().ok_or(KeyError::Nowhere)?;
        match resolved(path).starts_with(resolved(data)) {
            true => Err(KeyError::Inside { key: path.to_owned(), data: data.to_owned() }),
            false => Ok(path),
        }
    }
}

/// Returns where a path leads, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(existing), path.strip_prefix(existing)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path
}

fn write_new(path: &Path, key: &Key) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // A key that is there is never overwritten: it may lock what nobody could open any more.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.text().as_bytes())?;
    file.sync_all()?;
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn warn_when_others_can_read(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        let mode = format!("{mode:o}");
        tracing::warn!(file = %path.display(), mode, "others can read the key of the vault; `chmod 600` it");
    }
}

/// A text that only the key opens, and only for the purpose that it was sealed for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    nonce: String,
    text: String,
}

/// The key itself. Shown nowhere, and wiped when it is dropped.
pub(super) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    fn random() -> Self {
        Self(Zeroizing::new(random()))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if digits.len() != KEY_BYTES * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    fn text(&self) -> Zeroizing<String> {
        use std::fmt::Write as _;
        let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES * 2 + 1));
        for byte in self.0.iter() {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
        text
    }

    /// Seals a text for a purpose, under a nonce that is never used again.
    pub(super) fn seal(&self, purpose: &[u8], text: &str) -> Sealed {
        let nonce: [u8; NONCE_BYTES] = random();
        let sealed =
            self.cipher().encrypt(&XNonce::from(nonce), Payload { msg: text.as_bytes(), aad: purpose });
        let sealed = sealed.expect("only texts of more than 256 GiB can't be sealed");
        Sealed { nonce: BASE64.encode(nonce), text: BASE64.encode(sealed) }
    }

    /// Opens what was sealed for this purpose. None: it is damaged, was for another purpose, or by another key.
    pub(super) fn open(&self, purpose: &[u8], sealed: &Sealed) -> Option<Zeroizing<String>> {
        let nonce: [u8; NONCE_BYTES] = BASE64.decode(&sealed.nonce).ok()?.try_into().ok()?;
        let text = BASE64.decode(&sealed.text).ok()?;
        let opened =
            self.cipher().decrypt(&XNonce::from(nonce), Payload { msg: &text, aad: purpose }).ok()?;
        match String::from_utf8(opened) {
            Ok(text) => Some(Zeroizing::new(text)),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                None
            }
        }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("Linux has had random numbers to give since it booted");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(named: Option<&str>, variables: &[(&str, &str)], is_root: bool) -> KeyPlace {
        let found =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        KeyPlace::find_by(named.map(Path::new), found, is_root)
    }

    #[track_caller]
    fn check(found: KeyPlace, expected: &str) {
        assert_eq!(found.path(), Some(Path::new(expected)));
    }

    #[test]
    fn the_key_is_where_systemd_puts_it_else_where_it_is_named_else_in_its_usual_place() {
        let credentials = tempfile::tempdir().unwrap();
        let folder = credentials.path().to_str().unwrap();
        check(place(Some("/k"), &[("CREDENTIALS_DIRECTORY", folder)], false), "/k");
        let file = credentials.path().join(CREDENTIAL);
        fs::write(&file, "").unwrap();
        check(place(Some("/k"), &[("CREDENTIALS_DIRECTORY", folder)], false), file.to_str().unwrap());
        let home = [("HOME", "/h"), ("XDG_CONFIG_HOME", "relative")];
        check(place(None, &home, false), "/h/.config/landfall/vault.key");
        check(place(None, &[("XDG_CONFIG_HOME", "/x")], false), "/x/landfall/vault.key");
        check(place(None, &home, true), "/etc/landfall/vault.key");
        assert!(matches!(place(None, &[], false).read(Path::new("/d")), Err(KeyError::Nowhere)));
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_never_overwritten() {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = folder.path().join("a/b/vault.key");
        let place = KeyPlace { path: Some(file.clone()), can_be_made: true };
        assert!(place.read(data.path()).unwrap().is_none());
        let made = place.make(data.path()).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*place.read_existing(data.path()).unwrap().0, *made.0);
        assert!(matches!(place.make(data.path()), Err(KeyError::Disk { doing: "write", .. })));
        assert_eq!(format!("{made:?}"), "Key(…)");
    }

    #[test]
    fn a_key_inside_the_data_folder_is_refused_by_whatever_way_it_gets_there() {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(data.path(), &link).unwrap();
        let around = folder.path().join("..").join(data.path().file_name().unwrap());
        for inside in [data.path(), &link, &around] {
            let place = KeyPlace { path: Some(inside.join("keys/vault.key")), can_be_made: true };
            let said = place.make(data.path()).unwrap_err().to_string();
            assert!(said.contains("is inside the data folder") && said.contains("--vault-key"), "{said}");
        }
        assert!(fs::read_dir(data.path()).unwrap().next().is_none(), "nothing was made");
    }

    #[test]
    fn a_file_that_is_no_key_is_told_without_showing_it() {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for text in ["", "hunter2", &"0".repeat(63), &"g".repeat(64), "\u{fffd}"] {
            let file = folder.path().join("key");
            fs::write(&file, text).unwrap();
            let place = KeyPlace { path: Some(file), can_be_made: true };
            let said = place.read(data.path()).unwrap_err().to_string();
            assert!(said.contains("expected 64 hex digits") && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn what_is_sealed_opens_by_the_same_key_for_the_same_purpose_alone() {
        let (key, other) = (Key::random(), Key::random());
        let (one, two) = (key.seal(b"a", "hunter2"), key.seal(b"a", "hunter2"));
        assert_ne!((&one.nonce, &one.text), (&two.nonce, &two.text), "the nonce is fresh each time");
        assert_eq!(key.open(b"a", &one).unwrap().as_str(), "hunter2");
        assert!(key.open(b"b", &one).is_none() && other.open(b"a", &one).is_none());
        let mixed = Sealed { nonce: one.nonce.clone(), text: two.text };
        assert!(key.open(b"a", &mixed).is_none());
    }
}
