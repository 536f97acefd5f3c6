//! One certificate with its key: two PEM files that belong together.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A chain of certificates has a few kilobytes; something longer is another file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a pair can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file is not there or can't be read. **Check its path and permissions.**
    #[error("could not read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// A file holds something else. **Name the right one.**
    #[error("{} holds no {expected}: expected PEM, as in -----BEGIN {label}-----", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// How it begins.
        label: &'static str,
        /// What is wrong. Never a part of the file, which may be a key.
        source: pem::Error,
    },
    /// The two don't belong together, or are of a kind that is not known. **Put the right ones side by side.**
    #[error("the certificate {} and the key {} can't be used together", cert.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// The files of one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// By what a change of the files is seen: two looks that are the same saw the same files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<(u64, u64, i64, i64)>; 2]);

impl Files {
    pub(super) fn stamp(&self) -> Stamp {
        // Followed through links: certbot and Kubernetes change where a link leads.
        let of = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
        };
        Stamp([of(&self.cert), of(&self.key)])
    }

    /// Reads the pair and checks that the key is the certificate's.
    pub(super) fn read(&self) -> Result<CertifiedKey, PairError> {
        let Self { cert, key } = self;
        let unexpected = |path: &Path, expected, label| {
            let path = path.to_owned();
            move |source| PairError::Unexpected { path, expected, label, source }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(cert)?).collect();
        let chain = match chain {
            Ok(chain) if chain.is_empty() => Err(pem::Error::NoItemsFound),
            other => other,
        };
        let chain = chain.map_err(unexpected(cert, "certificate", "CERTIFICATE"))?;
        let der = PrivateKeyDer::from_pem_slice(&bytes(key)?);
        let der = der.map_err(unexpected(key, "private key", "PRIVATE KEY"))?;
        let pair = CertifiedKey::from_der(chain, der, &default_provider());
        pair.map_err(|source| PairError::Mismatch { cert: cert.clone(), key: key.clone(), source })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, PairError> {
    let unreadable = |source| PairError::Unreadable { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB")));
    }
    fs::read(path).map_err(unreadable)
}
