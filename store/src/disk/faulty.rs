//! A disk in memory that fails where it is told to, and forgets what was not synced.
//!
//! It is as forgetful as a disk may be: after [`FaultyDisk::crash`] any part of an unsynced write may be
//! there, by sector, in any order; an unsynced name may be lost. And it is as false as Linux is: a sync that failed
//! leaves its pages clean, so that the next one succeeds without them (<https://lwn.net/Articles/752063/>). It is no
//! more forgetful than that: what was written and synced stays.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Creating a file.
    Create,
    /// Writing to a file: half of the bytes are written.
    Write,
    /// Syncing a file: nobody knows what is durable.
    Sync,
    /// Syncing the folder.
    SyncDir,
    /// Cutting a file.
    Truncate,
    /// Renaming a file.
    Rename,
    /// Reading from a file.
    Read,
}

/// What a crash leaves of the writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// Everything, as after kill -9.
    Everything,
    /// Some sectors, chosen by this seed.
    Sectors(u64),
}

/// A disk in memory that fails where it is told to. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    names: BTreeMap<String, Content>,
    durable_names: BTreeMap<String, Content>,
    /// For each call: how many succeed before one fails, and with what.
    faults: BTreeMap<Op, (u64, io::ErrorKind)>,
    capacity: Option<u64>,
    syncs: u64,
    /// How often each call failed because it was told to.
    fired: BTreeMap<Op, u64>,
    /// How often a write found no room.
    found_full: u64,
}

type Content = Arc<Mutex<Bytes>>;

#[derive(Clone, Debug, Default)]
struct Bytes {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What the next sync will write, as starts and ends.
    dirty: Vec<(usize, usize)>,
}

impl Bytes {
    fn whole(bytes: Vec<u8>) -> Self {
        Self { now: bytes.clone(), durable: bytes, dirty: Vec::new() }
    }

    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for (start, end) in self.dirty.drain(..) {
            let end = end.min(self.now.len());
            if start < end {
                self.durable[start..end].copy_from_slice(&self.now[start..end]);
            }
        }
    }
}

impl FaultyDisk {
    /// Returns an empty disk on which all goes well.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `after` more calls succeed, and the one behind them fail. Calls after that succeed again.
    pub fn fail(&self, op: Op, after: u64, error: io::ErrorKind) {
        locked(&self.0).faults.insert(op, (after, error));
    }

    /// Forgets the faults that were to come, and any limit.
    pub fn heal(&self) {
        let mut platter = locked(&self.0);
        platter.faults.clear();
        platter.capacity = None;
    }

    /// Limits the sum of all file lengths. None: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        locked(&self.0).capacity = bytes;
    }

    /// Returns the sum of all file lengths.
    pub fn used(&self) -> u64 {
        locked(&self.0).used()
    }

    /// Returns how often each call has failed because it was told to.
    pub fn fired(&self) -> BTreeMap<Op, u64> {
        locked(&self.0).fired.clone()
    }

    /// Returns how often a write found no room.
    pub fn found_full(&self) -> u64 {
        locked(&self.0).found_full
    }

    /// Returns how often a file was synced.
    pub fn syncs(&self) -> u64 {
        locked(&self.0).syncs
    }

    /// Returns the disk as it is found after a power cut at this moment. This one goes on untouched.
    #[must_use]
    pub fn crash(&self, kept: Kept) -> Self {
        let platter = locked(&self.0);
        let names = match kept {
            Kept::Everything => &platter.names,
            Kept::Nothing | Kept::Sectors(_) => &platter.durable_names,
        };
        let found: BTreeMap<String, Content> = names
            .iter()
            .map(|(name, content)| (name.clone(), found_after(&locked(content), kept)))
            .map(|(name, bytes)| (name, Arc::new(Mutex::new(Bytes::whole(bytes)))))
            .collect();
        let (fired, found_full) = (platter.fired.clone(), platter.found_full);
        let names = found.clone();
        let platter = Platter { names, durable_names: found, fired, found_full, ..Platter::default() };
        Self(Arc::new(Mutex::new(platter)))
    }

    /// Returns the bytes of a file, to be looked at.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        Some(locked(locked(&self.0).names.get(name)?).now.clone())
    }

    /// Replaces the bytes of a file behind everybody's back, durably.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let content = Bytes::whole(bytes);
        let mut platter = locked(&self.0);
        match platter.names.get(name) {
            Some(there) => *locked(there) = content,
            None => {
                let content = Arc::new(Mutex::new(content));
                platter.names.insert(name.to_owned(), Arc::clone(&content));
                platter.durable_names.insert(name.to_owned(), content);
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(locked(&self.0).names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut platter = locked(&self.0);
        platter.attempt(Op::Create)?;
        let content = Content::default();
        platter.names.insert(name.to_owned(), Arc::clone(&content));
        Ok(Arc::new(FaultyFile { disk: Arc::clone(&self.0), content }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let platter = locked(&self.0);
        let content = platter.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile { disk: Arc::clone(&self.0), content: Arc::clone(content) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut platter = locked(&self.0);
        platter.attempt(Op::Rename)?;
        let content = platter.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        platter.names.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = locked(&self.0).names.remove(name);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn free(&self) -> io::Result<Option<u64>> {
        let platter = locked(&self.0);
        Ok(platter.capacity.map(|capacity| capacity.saturating_sub(platter.used())))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut platter = locked(&self.0);
        platter.attempt(Op::SyncDir)?;
        platter.durable_names = platter.names.clone();
        Ok(())
    }
}

impl Platter {
    fn attempt(&mut self, op: Op) -> io::Result<()> {
        let Some((left, error)) = self.faults.get_mut(&op) else { return Ok(()) };
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        let error = *error;
        self.faults.remove(&op);
        *self.fired.entry(op).or_default() += 1;
        Err(error.into())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|content| locked(content).now.len() as u64).sum()
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: Arc<Mutex<Platter>>,
    content: Content,
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.content).now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        locked(&self.disk).attempt(Op::Read)?;
        let content = locked(&self.content);
        let rest = content.now.get(place(offset)..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut platter = locked(&self.disk);
        let fault = platter.attempt(Op::Write);
        let used = platter.used();
        let mut content = locked(&self.content);
        let grown = (place(offset) + bytes.len()).saturating_sub(content.now.len()) as u64;
        let room = platter.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used));
        let written = match &fault {
            Err(_) => bytes.len() / 2,
            Ok(()) if grown > room => bytes.len() - place(grown - room),
            Ok(()) => bytes.len(),
        };
        let end = place(offset) + written;
        if content.now.len() < end {
            content.now.resize(end, 0);
        }
        content.now[place(offset)..end].copy_from_slice(&bytes[..written]);
        content.dirty.push((place(offset), end));
        fault?;
        if written < bytes.len() {
            platter.found_full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        locked(&self.disk).attempt(Op::Truncate)?;
        let mut content = locked(&self.content);
        let (before, len) = (content.now.len(), place(len));
        content.now.resize(len, 0);
        content.dirty.push((before.min(len), before.max(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = locked(&self.disk);
        let mut content = locked(&self.content);
        platter.attempt(Op::Sync).inspect_err(|_| content.dirty.clear())?;
        platter.syncs += 1;
        content.sync();
        Ok(())
    }
}

/// Returns what a crash leaves of a file.
fn found_after(content: &Bytes, kept: Kept) -> Vec<u8> {
    let Kept::Sectors(seed) = kept else {
        return if kept == Kept::Nothing { content.durable.clone() } else { content.now.clone() };
    };
    let mut dice = seed | 1;
    let mut found = content.durable.clone();
    let longest = content.now.len().max(content.durable.len());
    for start in (0..longest).step_by(SECTOR) {
        // Xorshift: a sequence of coin flips that the seed repeats.
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        if dice % 2 == 0 || start >= content.now.len() {
            continue;
        }
        let end = content.now.len().min(start + SECTOR);
        if found.len() < end {
            found.resize(end, 0);
        }
        found[start..end].copy_from_slice(&content.now[start..end]);
    }
    found
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
