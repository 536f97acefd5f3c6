//! The disk of a simulated machine: what survives kill -9, and what survives a power cut.
//!
//! It is the store's own [`FaultyDisk`], which forgets what was not synced in units of 512 bytes, and it passes a
//! point of the engine's [`Fate`] before and after each call that changes something.
//!
//! After kill -9 the same disk goes on, with all that was written **and with nothing more durable than before**: the
//! next power cut may still take it. Intents count as durable once the bytes that name them are synced.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use landfall_store::disk::{Disk, DiskFile, FaultyDisk, Kept};

use crate::fate::Fate;

/// The disk, as it outlives engines. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inner: FaultyDisk,
    seen: Arc<Mutex<Seen>>,
}

/// What is known of the bytes that went by.
#[derive(Debug, Default)]
struct Seen {
    /// Intents in bytes that were written and not synced.
    written: Vec<String>,
    durable: BTreeSet<String>,
}

impl SimDisk {
    pub fn new() -> Self {
        Self { inner: FaultyDisk::new(), seen: Arc::default() }
    }

    /// Returns the disk itself, to let it fail.
    pub fn faulty(&self) -> &FaultyDisk {
        &self.inner
    }

    /// Returns what is found after the power came back.
    #[must_use]
    pub fn power_cut(&self, kept: Kept) -> Self {
        let seen = Seen { written: Vec::new(), durable: self.seen().durable.clone() };
        Self { inner: self.inner.crash(kept), seen: Arc::new(Mutex::new(seen)) }
    }

    /// Tells whether the intent of an effect is durable: `stage_started`, `rollback_started`, `notice_started`.
    pub fn has_intent(&self, key: &str) -> bool {
        self.seen().durable.contains(key)
    }

    /// Returns the disk for one life of an engine.
    pub fn for_life(&self, fate: Arc<Fate>) -> LivingDisk {
        LivingDisk { disk: self.clone(), fate }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn wrote(&self, bytes: &[u8]) {
        let found = intents(bytes);
        self.seen().written.extend(found);
    }

    fn synced(&self) {
        let mut seen = self.seen();
        let written = std::mem::take(&mut seen.written);
        seen.durable.extend(written);
    }
}

/// Returns the effect keys of the intents in these bytes.
fn intents(bytes: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\"effect_key\":\"";
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'e') {
        // The quote before it was passed already.
        rest = &rest[at..];
        let Some(key) = rest.strip_prefix(&KEY[1..]) else {
            rest = &rest[1..];
            continue;
        };
        let Some(end) = key.iter().position(|byte| *byte == b'"') else { return found };
        let after = &key[end..];
        let is_intent = [&b"stage_started"[..], b"rollback_started", b"notice_started"]
            .iter()
            .any(|name| after.strip_prefix(b"\",\"type\":\"").is_some_and(|rest| rest.starts_with(name)));
        if is_intent {
            found.push(String::from_utf8_lossy(&key[..end]).into_owned());
        }
        rest = after;
    }
    found
}

/// The disk as one engine has it.
#[derive(Clone, Debug)]
pub struct LivingDisk {
    disk: SimDisk,
    fate: Arc<Fate>,
}

impl LivingDisk {
    fn pass(&self, point: &'static str) -> io::Result<()> {
        match self.fate.is_dead_at(point) {
            true => Err(io::Error::other("the engine is dead")),
            false => Ok(()),
        }
    }

    fn file(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(LivingFile { disk: self.clone(), inner })
    }
}

impl Disk for LivingDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.pass("before creating a file")?;
        let file = self.disk.inner.create(name)?;
        self.pass("after creating a file")?;
        Ok(self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.disk.inner.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.pass("before renaming a file")?;
        self.disk.inner.rename(from, to)?;
        self.pass("after renaming a file")
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.pass("before removing a file")?;
        self.disk.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.pass("before syncing the folder")?;
        self.disk.inner.sync_dir()?;
        self.pass("after syncing the folder")
    }
}

#[derive(Debug)]
struct LivingFile {
    disk: LivingDisk,
    inner: Arc<dyn DiskFile>,
}

impl DiskFile for LivingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.pass("before a write")?;
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        self.inner.write_at(offset, first)?;
        self.disk.pass("inside a write")?;
        self.inner.write_at(offset + first.len() as u64, rest)?;
        self.disk.disk.wrote(bytes);
        self.disk.pass("after a write")
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.pass("before cutting a file")?;
        self.inner.truncate(len)?;
        self.disk.pass("after cutting a file")
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.pass("before a sync")?;
        // What a failed sync should have written is not written by the next one.
        self.inner.sync_data().inspect_err(|_| self.disk.disk.seen().written.clear())?;
        self.disk.disk.synced();
        self.disk.pass("after a sync")
    }
}
