//! The certificates in force, and how they follow their files.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::pair::{Files, PairError, Stamp};

/// How often the files are looked at. A look is a few calls of `stat`; a notice of the kernel's would be
/// sooner and is lost behind links, mounts and network disks, which is where certificates come from.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The name of the pair that answers for hosts without one of their own.
const DEFAULT: &str = "default";

/// Where certificates come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Two files, for every host.
    Pair {
        /// The certificate, and those between it and its root.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// A folder: `HOST.crt` with `HOST.key`, or `HOST/fullchain.pem` with `HOST/privkey.pem` as certbot has them.
    ///
    /// `_wildcard.example.com` stands for every host right below `example.com`, and `default` for all others.
    Folder(PathBuf),
}

/// Certificates that follow their files.
#[derive(Debug)]
pub struct Certificates {
    origin: Origin,
    in_force: ArcSwap<InForce>,
    seen: Mutex<BTreeMap<String, Seen>>,
}

/// What a handshake looks at.
#[derive(Debug, Default)]
struct InForce {
    hosts: HashMap<String, Arc<CertifiedKey>>,
    problems: Vec<String>,
}

/// A pair as it was last seen.
#[derive(Clone, Debug)]
struct Seen {
    stamp: Stamp,
    /// The last that could be used.
    key: Option<Arc<CertifiedKey>>,
    problem: Option<String>,
}

impl Certificates {
    /// Reads the certificates.
    ///
    /// # Errors
    ///
    /// [`PairError`] when a pair that was named can't be used. A folder is taken as it is: hosts whose
    /// certificates are bad don't keep the others from being served.
    pub fn open(origin: Origin) -> Result<Arc<Self>, PairError> {
        if let Origin::Pair { cert, key } = &origin {
            Files { cert: cert.clone(), key: key.clone() }.read()?;
        }
        let certificates = Self { origin, in_force: ArcSwap::default(), seen: Mutex::default() };
        certificates.look();
        Ok(Arc::new(certificates))
    }

    /// Looks at the files until `stop`, and takes in what has changed. Connections that are open stay as they are.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            let certificates = Arc::clone(&self);
            // A network disk may take its time; it is not to take the runtime's.
            if let Err(error) = tokio::task::spawn_blocking(move || certificates.look()).await {
                tracing::error!(%error, "a look at the certificates broke off");
            }
        }
    }

    /// Returns what is wrong with files that are not in force, in words. Empty: all are.
    pub fn problems(&self) -> Vec<String> {
        self.in_force.load().problems.clone()
    }

    /// Returns the hosts that have a certificate, in order.
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<_> = self.in_force.load().hosts.keys().cloned().collect();
        hosts.sort_unstable();
        hosts
    }

    /// Tells whether a handshake for this host (lower case) would find a certificate.
    pub fn serve(&self, host: &str) -> bool {
        self.in_force.load().find(Some(host)).is_some()
    }

    /// Looks at the files once.
    pub(super) fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match self.origin.pairs() {
            Ok(pairs) => {
                let fresh = pairs.into_iter().map(|(name, files)| {
                    let now = look_at(&name, &files, seen.get(&name));
                    (name, now)
                });
                *seen = fresh.collect();
                self.in_force.store(Arc::new(InForce::of(&seen, None)));
            }
            Err(problem) => {
                let known = self.in_force.load().problems.contains(&problem);
                if !known {
                    tracing::error!(problem, "the certificates could not be looked at: those in force stay");
                }
                self.in_force.store(Arc::new(InForce::of(&seen, Some(problem))));
            }
        }
    }
}

fn look_at(name: &str, files: &Files, before: Option<&Seen>) -> Seen {
    let stamp = files.stamp();
    if let Some(before) = before.filter(|before| before.stamp == stamp) {
        return before.clone();
    }
    match files.read() {
        Ok(key) => {
            tracing::info!(name, cert = %files.cert.display(), "a certificate is in force");
            Seen { stamp, key: Some(Arc::new(key)), problem: None }
        }
        Err(error) => {
            let problem = in_words(&error);
            let key = before.and_then(|before| before.key.clone());
            let kept = key.is_some();
            tracing::error!(
                name,
                problem,
                kept,
                "a certificate can't be used: the one before stays in force"
            );
            Seen { stamp, key, problem: Some(problem) }
        }
    }
}

fn in_words(error: &PairError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Origin {
    /// Returns the pairs that are there, by name.
    fn pairs(&self) -> Result<BTreeMap<String, Files>, String> {
        match self {
            Self::Pair { cert, key } => {
                let files = Files { cert: cert.clone(), key: key.clone() };
                Ok([(DEFAULT.to_owned(), files)].into())
            }
            Self::Folder(folder) => pairs_in(folder)
                .map_err(|error| format!("could not read the folder {}: {error}", folder.display())),
        }
    }
}

fn pairs_in(folder: &Path) -> io::Result<BTreeMap<String, Files>> {
    let mut pairs = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some((name, files)) = pair_at(&path) else { continue };
        pairs.insert(name.to_ascii_lowercase(), files);
    }
    Ok(pairs)
}

/// Returns the pair that an entry of the folder stands for.
fn pair_at(path: &Path) -> Option<(String, Files)> {
    let text = |name: Option<&OsStr>| name?.to_str().map(str::to_owned);
    if path.extension().is_some_and(|extension| extension == "crt") {
        let files = Files { cert: path.to_owned(), key: path.with_extension("key") };
        return Some((text(path.file_stem())?, files));
    }
    let files = Files { cert: path.join("fullchain.pem"), key: path.join("privkey.pem") };
    files.cert.exists().then_some((text(path.file_name())?, files))
}

impl InForce {
    fn of(seen: &BTreeMap<String, Seen>, problem: Option<String>) -> Self {
        let hosts = seen.iter().filter_map(|(name, seen)| Some((name.clone(), seen.key.clone()?)));
        let problems = seen.values().filter_map(|seen| seen.problem.clone()).chain(problem);
        Self { hosts: hosts.collect(), problems: problems.collect() }
    }

    fn find(&self, host: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let of_host = |host: &str| {
            let wild = || self.hosts.get(&format!("_wildcard.{}", host.split_once('.')?.1));
            self.hosts.get(host).or_else(wild)
        };
        host.and_then(of_host).or_else(|| self.hosts.get(DEFAULT))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands names over in lower case.
        self.in_force.load().find(hello.server_name()).cloned()
    }
}
