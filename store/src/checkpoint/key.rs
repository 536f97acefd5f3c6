//! The Ed25519 key of a data folder: made once, by the first engine that opens it.
//!
//! The files are what `openssl` reads: PKCS#8 and SubjectPublicKeyInfo in PEM (RFC 8410).
//!
//! **Invariant:** the seed is in one file that only its owner can read, and in no text that is printed: there is
//! no way from a key to its seed but [`CheckpointKey::read`].

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::disk::sync_folder;

/// The private key, in the data folder.
const PRIVATE: &str = "checkpoint.key";

/// The public key, beside the checkpoints: who copies them has it too.
const PUBLIC: &str = "checkpoints/public-key.pem";

/// What stands before the 32 bytes of a seed in PKCS#8.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What stands before the 32 bytes of a public key in a SubjectPublicKeyInfo.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why there is no key. A variant per reaction.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is not in this folder. **Sign where it is.**
    #[error(
        "{} is not there: a copy of a data folder has no key to sign with; sign in the server's own data folder",
        path.display()
    )]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// It can't be read or made. **Mend what the system says.**
    #[error("the key in {} can't be read or made; it belongs to the user that the server runs as", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is something else. **Restore it.**
    #[error(
        "{} is no Ed25519 key in PEM; restore it from a copy, or move it away and the next start makes a new one",
        path.display()
    )]
    Broken {
        /// Which file.
        path: PathBuf,
    },
}

/// A key that signs.
#[derive(Clone)]
pub struct CheckpointKey(SigningKey);

impl CheckpointKey {
    /// Reads the key of a data folder.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says what is in the way and what to do.
    pub fn read(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(PRIVATE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let seed = from_pem(&text, "PRIVATE KEY", &PKCS8).ok_or(KeyError::Broken { path })?;
                Ok(Self(SigningKey::from_bytes(&seed)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeyError::Missing { path }),
            Err(source) => Err(KeyError::Disk { path, source }),
        }
    }

    /// Reads the key of a data folder that this process holds; makes it when there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, KeyError> {
        let failed = |name| move |source| KeyError::Disk { path: folder.join(name), source };
        let key = match Self::read(folder) {
            Err(KeyError::Missing { .. }) => Self::make(folder).map_err(failed(PRIVATE))?,
            other => other?,
        };
        let others_may = fs::metadata(folder.join(PRIVATE))
            .map(|found| found.permissions().mode() & 0o077 != 0)
            .map_err(failed(PRIVATE))?;
        if others_may {
            tracing::warn!("{PRIVATE} can be read by others than its owner; mend it with chmod 600");
        }
        key.public().show(folder).map_err(failed(PUBLIC))?;
        Ok(key)
    }

    fn make(folder: &Path) -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let key = Self(SigningKey::from_bytes(&seed));
        write_whole(folder, PRIVATE, 0o600, &to_pem("PRIVATE KEY", &PKCS8, &seed))?;
        tracing::info!(fingerprint = %key.public(), "a key that signs checkpoints was made");
        Ok(key)
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }

    #[cfg(test)]
    pub(crate) fn of_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointKey({})", self.public())
    }
}

/// A key that tells whether something was signed. Shown by its fingerprint, stored as base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads the public key of a data folder, or of a copy. None: it has none.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says what is in the way and what to do.
    pub fn read(folder: &Path) -> Result<Option<Self>, KeyError> {
        let path = folder.join(PUBLIC);
        match fs::read_to_string(&path) {
            Ok(text) => from_pem(&text, "PUBLIC KEY", &SPKI)
                .and_then(Self::from_bytes)
                .map(Some)
                .ok_or(KeyError::Broken { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeyError::Disk { path, source }),
        }
    }

    /// Returns the SHA-256 of the key's DER form, in hex: what `openssl … -outform DER | sha256sum` prints.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::new().chain_update(SPKI).chain_update(self.0.as_bytes()).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the key in PEM, as `openssl` reads it.
    pub fn pem(&self) -> String {
        to_pem("PUBLIC KEY", &SPKI, self.0.as_bytes())
    }

    /// Tells whether this key signed these bytes.
    pub(crate) fn signed(&self, bytes: &[u8], signature: [u8; 64]) -> bool {
        self.0.verify_strict(bytes, &Signature::from_bytes(&signature)).is_ok()
    }

    fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(&bytes).ok().map(Self)
    }

    /// Writes the public key down beside the checkpoints, unless it is there.
    fn show(&self, folder: &Path) -> io::Result<()> {
        if matches!(Self::read(folder), Ok(Some(found)) if found == *self) {
            return Ok(());
        }
        write_whole(folder, PUBLIC, 0o644, &self.pem())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.fingerprint())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(self.0.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        let wrong = || de::Error::custom(format!("expected an Ed25519 key in base64, found {text:?}"));
        bytes.and_then(Self::from_bytes).ok_or_else(wrong)
    }
}

fn to_pem(label: &str, before: &[u8], key: &[u8; 32]) -> String {
    // 48 and 44 bytes: one line of base64.
    let text = BASE64_STANDARD.encode([before, key].concat());
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

fn from_pem(text: &str, label: &str, before: &[u8]) -> Option<[u8; 32]> {
    let text = text.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let text: String = text.strip_suffix(&format!("-----END {label}-----"))?.split_whitespace().collect();
    BASE64_STANDARD.decode(text).ok()?.strip_prefix(before)?.try_into().ok()
}

/// Writes a file so that it is there as a whole or not at all.
fn write_whole(folder: &Path, name: &str, mode: u32, text: &str) -> io::Result<()> {
    let path = folder.join(name);
    let new = path.with_extension("new");
    // Whatever an earlier start left there may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("checkpoints")).unwrap();
        assert!(matches!(CheckpointKey::read(folder.path()), Err(KeyError::Missing { .. })));
        let key = CheckpointKey::open(folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join(PRIVATE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(CheckpointKey::open(folder.path()).unwrap().public(), key.public());
        assert_eq!(PublicKey::read(folder.path()).unwrap(), Some(key.public()));
        assert_eq!(format!("{key:?}"), format!("CheckpointKey(sha256:{})", key.public().fingerprint()));
        fs::write(folder.path().join(PRIVATE), "-----BEGIN PRIVATE KEY-----\n").unwrap();
        assert!(matches!(CheckpointKey::open(folder.path()), Err(KeyError::Broken { .. })));
    }

    #[test]
    fn the_files_are_those_of_rfc_8410() {
        // The example of RFC 8410, section 10.
        let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                       -----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                      -----END PUBLIC KEY-----\n";
        let key = CheckpointKey::of_seed(from_pem(private, "PRIVATE KEY", &PKCS8).unwrap());
        assert_eq!(key.public().pem(), public);
        assert_eq!(to_pem("PRIVATE KEY", &PKCS8, key.0.as_bytes()), private);
    }
}
